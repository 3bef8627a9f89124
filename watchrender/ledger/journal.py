"""The ledger's files: how they are named, how a line and a snapshot look, and how they are written.

    state.json               a snapshot in TinyDB's own layout; its `_journal` table names the journal that follows it
    state.previous.json      the snapshot before it, should the disk spoil the newest
    state.00000007.journal   one line for each transaction after snapshot 7: crc32, a space, JSON
    state.json.lock          held by the one process that writes

The file's own rule: a line is there with its right checksum, or it is not there at all. A snapshot of generation N is
written only after journal N exists, and journals are kept back to the generation of `state.previous.json`; so every
mixture of these files that a crash can leave gives the same state. A line holds whole documents: what lies after a
damaged spot is certain for the documents it names, and the gap in the numbering tells how many lines are lost.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tenacity
from pydantic_core import from_json, to_json

from watchrender import disk

T = TypeVar("T")
Raw = dict[str, Any]
Tables = dict[str, dict[int, Raw]]

FORMAT = 1

_DEPTH = 100  # of documents that need the standard library's parser, which would end the process's stack, not refuse
_CHUNK = 200  # documents serialised at a stretch: the other threads get their turn in between
_SUFFIX = b'"crc32":"%08x"}}}'
_SUFFIX_BYTES = len(_SUFFIX % 0)


@dataclass(frozen=True, kw_only=True)
class Files:
    """The names beside one snapshot."""

    snapshot: Path

    @property
    def next(self) -> Path:
        return self.beside("next.json")

    @property
    def previous(self) -> Path:
        return self.beside("previous.json")

    @property
    def lock(self) -> Path:
        return self.snapshot.with_name(f"{self.snapshot.name}.lock")

    def journal(self, generation: int) -> Path:
        return self.beside(f"{generation:08d}.journal")

    def beside(self, ending: str) -> Path:
        return self.snapshot.with_name(f"{self.snapshot.stem}.{ending}")

    def free(self, ending: str) -> Path:
        """A name beside the snapshot that nothing has yet: `ending`, or `2.ending` and so on."""
        names = itertools.chain([ending], (f"{number}.{ending}" for number in itertools.count(2)))
        return next(path for path in map(self.beside, names) if not os.path.lexists(path))

    def journals(self) -> dict[int, Path]:
        """The journals that are there, oldest first."""
        pattern = re.compile(rf"{re.escape(self.snapshot.stem)}\.(\d{{8,}})\.journal")
        try:
            names = os.listdir(self.snapshot.parent)
        except FileNotFoundError:
            return {}
        found = {int(match[1]): self.snapshot.with_name(name) for name in names if (match := pattern.fullmatch(name))}
        return dict(sorted(found.items()))

    def litter(self) -> list[Path]:
        """What a crash in the middle of writing leaves: half files under names that nobody reads."""
        stem = re.escape(self.snapshot.stem)
        pattern = re.compile(rf"\.{stem}\.(\d{{8,}}\.journal|(.+\.)?(next|format-\d+)\.json)\.[0-9a-f]{{8}}\.tmp")
        return [self.snapshot.with_name(name) for name in os.listdir(self.snapshot.parent) if pattern.fullmatch(name)]


def dumps(value: Any) -> bytes:
    """JSON. Raises TypeError for what JSON has no word for."""
    try:
        return to_json(value)
    except ValueError:
        # A file name that is not UTF-8 holds lone surrogates, which only the escaped form can carry.
        if _depth(value) > _DEPTH:
            raise
        return json.dumps(value, separators=(",", ":")).encode()


def loads(data: bytes) -> Any:
    """The value of JSON that `dumps` wrote. Raises ValueError, also for documents nested too deeply (about 190)."""
    try:
        return from_json(data)
    except ValueError:
        if b"\\ud" not in data:
            raise
        return json.loads(data)


def copied(document: Mapping[str, Any]) -> Raw:
    """The document as the disk would give it back, sharing nothing with the one handed in."""
    found: Raw = loads(dumps(document))
    return found


def _depth(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list | tuple):
        return 1 + max(map(_depth, value), default=0)
    return 0


def encode(record: Mapping[str, Any]) -> bytes:
    """One line: checksum, space, JSON."""
    body = dumps(record)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Raw | None:
    """What a line (without its end) says, or None if it is not one of ours, whole and unharmed."""
    body = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(body):
        return None
    try:
        record = loads(body)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def apply(tables: Tables, changes: Mapping[str, Any]) -> None:
    """Do what one line says. The same function serves a commit and the reading after a crash."""
    for name, change in changes.items():
        if change is None:
            tables.pop(name, None)
            continue
        rows = tables.setdefault(name, {})
        if change.get("clear"):
            rows.clear()
        for doc_id in change.get("remove", ()):
            rows.pop(doc_id, None)
        for key, document in change.get("put", {}).items():
            rows[int(key)] = document


def header(generation: int, sequence: int) -> bytes:
    """A journal's first line."""
    return encode({"format": FORMAT, "generation": generation, "after": sequence})


def snapshot(tables: Tables, generation: int, sequence: int, *, version: int) -> bytes:
    """The whole state as a file that TinyDB itself can open, with a checksum over everything before it at its end."""
    facts = {"format": version, "generation": generation, "sequence": sequence}
    parts = [b"{"]
    for name, rows in tables.items():
        parts += [dumps(name), b":{", b",".join(_chunks(rows)), b"},"]
    parts += [b'"_journal":{"1":', dumps(facts)[:-1], b","]
    body = b"".join(parts)
    return body + _SUFFIX % zlib.crc32(body)


def is_whole(data: bytes) -> bool:
    """Is this a snapshot of ours, unharmed?"""
    return data[-_SUFFIX_BYTES:] == _SUFFIX % zlib.crc32(memoryview(data)[:-_SUFFIX_BYTES])


def _chunks(rows: Mapping[int, Raw]) -> Iterator[bytes]:
    items = iter(rows.items())
    while chunk := dict(itertools.islice(items, _CHUNK)):
        yield dumps(chunk)[1:-1]


def write_snapshot(files: Files, data: bytes) -> None:
    """Put a snapshot in place and keep the one before. Cut anywhere, a whole one can be found."""
    patiently(disk.write, files.next, data)
    if files.snapshot.exists():
        patiently(disk.replace, files.snapshot, files.previous)
    patiently(disk.replace, files.next, files.snapshot)
    disk.flush_folder(files.snapshot.parent)


def sweep(files: Files, oldest: int) -> None:
    """Remove the journals before `oldest`. One that a reader holds open (Windows) goes the next time."""
    for generation, path in files.journals().items():
        if generation < oldest:
            with suppress(OSError):
                disk.remove(path)


class Journal:
    """The open end of the newest journal. It appends a line so that it is there for good, or not there at all."""

    def __init__(self, path: Path, *, length: int, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._length = length
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the ledger is
        self._torn = self._file.tell() > length
        self.mend()

    @classmethod
    def begin(cls, files: Files, generation: int, sequence: int, *, durable: bool) -> Journal:
        """Make a journal and open it."""
        line = header(generation, sequence)
        path = files.journal(generation)
        disk.write_new(path, line)
        disk.flush_folder(path.parent)
        return cls(path, length=len(line), durable=durable)

    def append(self, line: bytes) -> None:
        """Write and flush one line. Raises OSError with the line taken back, so that the next one finds a clean end."""
        self.mend()
        try:
            with disk.effect("append", self._path):
                self._write(line)
        except BaseException:
            self._torn = True
            with suppress(OSError):  # tried again before the next line; until then none is accepted
                self.mend()
            raise
        self._length += len(line)

    def mend(self) -> None:
        """Take a torn line back. Raises OSError if the disk does not let us: then nothing may follow it."""
        if not self._torn:
            return
        with disk.effect("truncate", self._path):
            self._file.truncate(self._length)
            if self._durable:
                _flush(self._file.fileno())
        self._torn = False

    def close(self) -> None:
        self._file.close()

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:  # a disk that is getting full takes a part first and complains after
            rest = rest[self._file.write(rest) :]
        if self._durable:
            _flush(self._file.fileno())


def patiently(effect: Callable[..., T], *arguments: Any, seconds: float = 5) -> T:
    """On Windows nothing is renamed over a file that somebody reads, nor read while it is renamed: a reader of ours,
    a backup, a virus scanner."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(PermissionError),
        wait=tenacity.wait_random_exponential(multiplier=0.01, max=0.5),
        stop=tenacity.stop_after_delay(seconds),
        reraise=True,
    )
    return attempts(effect, *arguments)


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS leaves the bytes in the drive's own memory
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        getattr(os, "fdatasync", os.fsync)(descriptor)
