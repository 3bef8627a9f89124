"""The ledger's files: how they are named, how a line and a snapshot look, and how they are written.

    state.json               a snapshot in TinyDB's own layout, each document on a line of its own; its `_journal`
                             table names the journal that follows it
    state.previous.json      the snapshot before it, should the disk spoil the newest
    state.00000007.journal   one line for each transaction after snapshot 7: crc32, a space, JSON
    state.json.lock          held by the one process that writes

The file's own rule: a line is there with its right checksum, or it is not there at all. A snapshot of generation N is
written only after journal N exists, and journals are kept back to the generation of `state.previous.json`; so every
mixture of these files that a crash can leave gives the same state. A line holds whole documents: what lies after a
damaged spot is certain for the documents it names, and the gap in the numbering tells how many lines are lost.

In memory a document is the JSON that stands in those files (`Rows`), and is read when somebody asks for it: a hundred
thousand need a fifth of the room that they need as values, and nobody waits at a start until all have been read.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tenacity
from pydantic_core import from_json, to_json

from watchrender import disk

T = TypeVar("T")
Raw = dict[str, Any]
Tables = dict[str, "Rows"]

FORMAT = 1

_DEPTH = 100  # of documents that need the standard library's parser, which would end the process's stack, not refuse
_CHUNK = 200  # documents written at a stretch: the other threads get their turn in between
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


def packed(document: Mapping[str, Any]) -> bytes:
    """The document as JSON. Raises TypeError for what JSON has no word for, ValueError for what is nested so deeply
    that a line with it in it could not be read again."""
    found = dumps(document)
    if found.count(b"{") + found.count(b"[") > _DEPTH:  # else it cannot be that deep
        loads(b'{"t":{"t":{"t":{"t":%b}}}}' % found)
    return found


class Rows(MutableMapping[int, Raw]):
    """The documents of one table, each as JSON. What it gives is read anew each time, and shared with nobody."""

    __slots__ = ("_packed",)

    def __init__(self, packed: dict[int, bytes] | None = None) -> None:
        self._packed: dict[int, bytes] = {} if packed is None else packed

    def __getitem__(self, doc_id: int) -> Raw:
        found: Raw = loads(self._packed[doc_id])
        return found

    def __setitem__(self, doc_id: int, document: Mapping[str, Any]) -> None:
        self._packed[doc_id] = packed(document)

    def __delitem__(self, doc_id: int) -> None:
        del self._packed[doc_id]

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._packed

    def __iter__(self) -> Iterator[int]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def clear(self) -> None:
        self._packed.clear()

    def packed(self, doc_id: int) -> bytes | None:
        """A document as JSON; None if there is none."""
        return self._packed.get(doc_id)

    def put(self, packed: Mapping[int, bytes]) -> None:
        """Set documents that are JSON already."""
        self._packed.update(packed)

    def copy(self) -> Rows:
        return Rows(self._packed.copy())

    def lines(self) -> Iterator[bytes]:
        """As they stand in a snapshot: each on a line of its own. JSON has no line break within a text."""
        entries, comma = iter(self._packed.items()), b""
        while some := list(itertools.islice(entries, _CHUNK)):
            yield comma + b",".join([b'\n"%d":%b' % entry for entry in some])
            comma = b","

    @classmethod
    def of(cls, rows: Mapping[Any, Raw]) -> Rows:
        return cls({int(key): packed(row) for key, row in rows.items()})


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What one line says about one table."""

    clear: bool = False
    remove: tuple[int, ...] = ()
    put: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Change:
        put = {int(key): packed(document) for key, document in said.get("put", {}).items()}
        return cls(clear=bool(said.get("clear")), remove=tuple(said.get("remove", ())), put=put)

    def text(self) -> bytes:
        parts = [b'"clear":true'] if self.clear else []
        if self.remove:
            parts.append(b'"remove":%b' % dumps(self.remove))
        if self.put:
            parts.append(b'"put":{%b}' % b",".join([b'"%d":%b' % entry for entry in self.put.items()]))
        return b"{%b}" % b",".join(parts)


Changes = Mapping[str, Change | None]  # by table; None: it is dropped


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


def line(generation: int, sequence: int, changes: Changes) -> bytes:
    """The line of one transaction."""
    tables = [b"%b:%b" % (dumps(name), b"null" if one is None else one.text()) for name, one in changes.items()]
    body = b'{"g":%d,"n":%d,"t":{%b}}' % (generation, sequence, b",".join(tables))
    return b"%08x %b\n" % (zlib.crc32(body), body)


def apply(tables: Tables, changes: Changes) -> None:
    """Do what one line says. The same function serves a commit and the reading after a crash."""
    for name, change in changes.items():
        if change is None:
            tables.pop(name, None)
            continue
        rows = tables.setdefault(name, Rows())
        if change.clear:
            rows.clear()
        for doc_id in change.remove:
            rows.pop(doc_id, None)
        rows.put(change.put)


def header(generation: int, sequence: int) -> bytes:
    """A journal's first line."""
    return encode({"format": FORMAT, "generation": generation, "after": sequence})


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The whole state as a file that TinyDB itself can open, with a checksum over everything before it at its end:
    piece by piece, because all of it at once would be as large as all documents together."""

    tables: Tables
    generation: int
    sequence: int
    version: int  # of the format

    def __iter__(self) -> Iterator[bytes]:
        checksum = 0
        for piece in self._pieces():
            checksum = zlib.crc32(piece, checksum)
            yield piece
        yield _SUFFIX % checksum

    def _pieces(self) -> Iterator[bytes]:
        yield b"{"
        for name, rows in self.tables.items():
            yield b"%b:{" % dumps(name)
            yield from rows.lines()
            yield b"\n},"
        facts = {"format": self.version, "generation": self.generation, "sequence": self.sequence}
        yield b'"_journal":{"1":%b,' % dumps(facts)[:-1]


def is_whole(data: bytes) -> bool:
    """Is this a snapshot of ours, unharmed?"""
    return data[-_SUFFIX_BYTES:] == _SUFFIX % zlib.crc32(memoryview(data)[:-_SUFFIX_BYTES])


def tables_of(data: bytes) -> tuple[Tables, Raw]:
    """The tables of a whole snapshot, and what its `_journal` says."""
    end = data.rindex(b'"_journal":')
    facts = loads(b"{%b" % data[end:])["_journal"]["1"]
    if data.find(b"\n", 0, end) >= 0:
        return dict(_tables_by_line(data, end)), facts
    return {name: Rows.of(rows) for name, rows in loads(data).items() if name != "_journal"}, facts  # of version 1.0


def _tables_by_line(data: bytes, end: int) -> Iterator[tuple[str, Rows]]:
    """A line is `{"table":{`, `},"table":{`, `"7":{…}` with a comma if another follows, or the `},` at the end."""
    start, rows = 0, {}
    while start < end:
        stop = data.find(b"\n", start, end)
        if stop < 0:
            return
        if data[start] == ord('"'):
            colon = data.index(b":", start)
            rows[int(data[start + 1 : colon - 1])] = data[colon + 1 : stop - (data[stop - 1] == ord(","))]
        else:
            rows = {}
            yield loads(data[start:stop].lstrip(b"{},")[:-2]), Rows(rows)
        start = stop + 1


def write_snapshot(files: Files, snapshot: Snapshot) -> int:
    """Put a snapshot in place and keep the one before. Cut anywhere, a whole one can be found. How large it is."""
    patiently(disk.write, files.next, snapshot)
    size = files.next.stat().st_size
    if files.snapshot.exists():
        patiently(disk.replace, files.snapshot, files.previous)
    patiently(disk.replace, files.next, files.snapshot)
    disk.flush_folder(files.snapshot.parent)
    return size


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
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:
            os.fsync(descriptor)  # not every disk knows the other (a share, exFAT); a sick one refuses this too
    else:
        getattr(os, "fdatasync", os.fsync)(descriptor)
