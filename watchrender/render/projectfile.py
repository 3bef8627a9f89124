"""Which compositions does a project hold? Read from its file, as far as the form is known; After Effects is not asked.

An `.aep` is RIFX: chunks of a name, a size and content, some of them lists of chunks. An `.aepx` says the same in XML.
Only the lists of a project's items are entered, so a large project costs as little as a small one. Nothing depends on
what is found here: it is for "did you mean", and whatever is not as expected ends the look.
"""

from __future__ import annotations

import html
import os
import re
import stat
import struct
from collections import deque
from pathlib import Path
from typing import BinaryIO

_CHUNK = struct.Struct(">4sI")
_ITEM_LISTS = frozenset({b"Fold", b"Item", b"Sfdr"})
_COMPOSITION = 4
_MOST_CHUNKS = 200_000
_MOST_NAMES = 500
_LONGEST_NAME = 1000
_LARGEST_XML = 32 * 1024 * 1024
_XML_ITEM = re.compile(
    rb'<Item>\s*<idta\s+bdata="%04x[0-9a-fA-F]{0,400}"\s*/>\s*<string>([^<]{1,1000})</string>' % _COMPOSITION
)


def compositions(path: Path) -> tuple[str, ...]:
    """The names of a project's compositions; none where they cannot be told."""
    try:
        with open(path, "rb", opener=_carefully) as file:
            return tuple(name for name in _of(file, is_xml=path.suffix.lower() == ".aepx") if name.isprintable())
    except (OSError, ValueError):
        return ()


def _carefully(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _of(file: BinaryIO, *, is_xml: bool) -> list[str]:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        return []
    head = file.read(12)
    if head.startswith(b"RIFX") and head.endswith(b"Egg!"):
        return _of_chunks(file, found.st_size)
    return _of_xml(head + file.read(_LARGEST_XML)) if is_xml else []


def _of_chunks(file: BinaryIO, size: int) -> list[str]:
    names: list[str] = []
    lists, chunks = deque([(12, size)]), 0
    while lists and len(names) < _MOST_NAMES:
        at, end = lists.popleft()
        kind = None  # of the item whose list this is; its name is the first text behind
        while at + _CHUNK.size <= end and chunks < _MOST_CHUNKS:
            chunks += 1
            file.seek(at)
            head = file.read(_CHUNK.size)
            if len(head) < _CHUNK.size:
                return names
            name, length = _CHUNK.unpack(head)
            at += _CHUNK.size
            if name == b"LIST" and file.read(4) in _ITEM_LISTS:
                lists.append((at + 4, min(end, at + length)))
            elif name == b"idta":
                kind = int.from_bytes(file.read(2), "big")
            elif name == b"Utf8" and kind is not None:
                if kind == _COMPOSITION:
                    names.append(file.read(min(length, _LONGEST_NAME)).decode("utf-8", "replace"))
                kind = None
            at += length + length % 2
    return names


def _of_xml(data: bytes) -> list[str]:
    found = [html.unescape(name.decode("utf-8", "replace")) for name in _XML_ITEM.findall(data)]
    return found[:_MOST_NAMES]
