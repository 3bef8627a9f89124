"""What do the ledger's files say after any harm? Reads them, writes nothing, and tells what is lost.

The newest whole snapshot is the ground, and every good line after it is applied, also behind a damaged spot: a line
holds whole documents, so it is certain for those it names. Each line has a number; a gap in them is a loss and is said.
A last line without its end is no loss: it was being written, and nobody was told that it is kept.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchrender.ledger.journal import (
    FORMAT,
    Change,
    Changes,
    Files,
    Raw,
    Rows,
    Tables,
    apply,
    decode,
    header,
    is_whole,
    loads,
    patiently,
    tables_of,
)

#: What brings the tables of an older format to the next one. Format 0 is a plain TinyDB file.
MIGRATIONS: dict[int, Callable[[Tables], Mapping[str, Mapping[Any, Raw]]]] = {0: lambda tables: tables}


class NewerLedger(Exception):
    """These files were written by a newer version. Nothing was touched: use that version, or another state_dir."""

    def __init__(self, path: Path, found: int) -> None:
        super().__init__(f"{path} has format {found}; this version reads up to {FORMAT}: use the newer watchrender")


@dataclass(kw_only=True)
class Loaded:
    """What the files say, and what they have suffered."""

    tables: Tables = field(default_factory=dict)
    format: int = FORMAT
    source: Path | None = None  # the snapshot that was used
    snapshot_generation: int = 0
    snapshot_bytes: int = 0
    generation: int = 0  # of the newest journal
    sequence: int = 0  # transactions so far
    journal_bytes: int = 0
    good_bytes: int = 0  # of the newest journal: behind them lies a torn line or nothing
    spoiled: list[Path] = field(default_factory=list)  # files worth keeping for study
    warnings: list[str] = field(default_factory=list)
    incomplete: bool = False  # a file that should be there is not: lost, or a writer was faster than this reader

    def is_sound(self, files: Files) -> bool:
        """Can a writer simply go on with these files?"""
        return self.source in (files.snapshot, files.next) and not self.spoiled and not self.incomplete


def read(path: Path) -> Tables:
    """The state by table and document id, for another process at any moment: nothing is written, nothing locked."""
    return migrated(load(path))


def migrated(loaded: Loaded) -> Tables:
    """The tables in today's format."""
    tables = loaded.tables
    for number in range(loaded.format, FORMAT):
        tables = {name: Rows.of(rows) for name, rows in MIGRATIONS[number](tables).items()}
    return tables


def load(path: Path, *, tries: int = 5) -> Loaded:
    """The state, from the newest good snapshot and the journals behind it. Raises `NewerLedger`."""
    with collecting_nothing():
        return _loaded(path, tries)


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """While millions of values are made that all stay: the collector would walk them again and again (measured, for a
    hundred thousand jobs: 1.1 s of 1.8 s)."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _loaded(path: Path, tries: int) -> Loaded:
    loaded = _load(Files(snapshot=path))
    for number in range(1, tries):
        if not loaded.incomplete:
            break
        time.sleep(0.01 * number)  # two compactions overtook us between two files: what we missed is in a newer one
        loaded = _load(Files(snapshot=path))
    return loaded


def _load(files: Files) -> Loaded:
    loaded = _load_snapshot(files)
    expected = loaded.snapshot_generation or 1
    journals = {number: path for number, path in files.journals().items() if number >= expected}
    if loaded.format == 0 or not (journals or loaded.snapshot_generation):
        return loaded
    if expected not in journals:
        loaded.incomplete = True
        loaded.warnings.append(f"{files.journal(expected)} is missing: what it held is lost")
    for number, path in journals.items():
        data = _bytes(path)
        if data is None:
            loaded.incomplete = True
        else:
            _replay(loaded, _Journal.of(number, data, path))
    return loaded


def _load_snapshot(files: Files) -> Loaded:
    """The newest whole snapshot. All of them lead to the same state: the journals back to the oldest are kept."""
    data = _bytes(files.snapshot)
    if found := _parse_snapshot(files.snapshot, data):
        return found
    others = [_parse_snapshot(path, _bytes(path)) for path in (files.next, files.previous)]
    best = max(filter(None, others), key=lambda one: one.snapshot_generation, default=None)
    # An import that was cut off has begun its first journal, and nothing is in that yet.
    untouched = all(_bytes(path) == header(number, 0) for number, path in files.journals().items())
    if best is None and data is not None and untouched and (plain := _parse_plain(files.snapshot, data)):
        return plain
    loaded = best or Loaded()
    if data is not None:
        loaded.spoiled.append(files.snapshot)
        source = "the snapshot before it" if best else "the journals alone"
        loaded.warnings.append(f"{files.snapshot} is damaged: its state was taken from {source}")
    return loaded


def _parse_snapshot(path: Path, data: bytes | None) -> Loaded | None:
    if not data or not is_whole(data):
        return None
    tables, facts = tables_of(data)
    if facts["format"] > FORMAT:
        raise NewerLedger(path, facts["format"])
    return Loaded(
        source=path,
        tables=tables,
        format=facts["format"],
        snapshot_generation=facts["generation"],
        snapshot_bytes=len(data),
        generation=facts["generation"],
        sequence=facts["sequence"],
    )


def _parse_plain(path: Path, data: bytes) -> Loaded | None:
    """A file that stock TinyDB wrote, if that is what it is."""
    try:
        document = loads(data) if data.strip() else {}
        if "_journal" in document:
            return None
        return Loaded(source=path, tables={name: Rows.of(rows) for name, rows in document.items()}, format=0)
    except (ValueError, RecursionError, TypeError, AttributeError):
        return None


def _bytes(path: Path) -> bytes | None:
    try:
        return patiently(path.read_bytes, seconds=1)
    except FileNotFoundError:
        return None


@dataclass(kw_only=True)
class _Journal:
    """One journal, taken apart."""

    path: Path
    generation: int
    size: int
    after: int | None = None  # the transaction before its first, from its header
    records: list[tuple[int, Changes]] = field(default_factory=list)
    good_bytes: int = 0  # up to the end of the last good line
    first_bad: int | None = None  # where the first line lies that has an end, yet is not one of ours

    @classmethod
    def of(cls, generation: int, data: bytes, path: Path) -> _Journal:
        journal = cls(path=path, generation=generation, size=len(data))
        start = 0
        # A last line without its end was never acknowledged: it does not count, whatever it says.
        while (end := data.find(b"\n", start)) >= 0:
            if journal._take(decode(data[start:end])):
                journal.good_bytes = end + 1
            elif journal.first_bad is None:
                journal.first_bad = start
            start = end + 1
        return journal

    def _take(self, record: Raw | None) -> bool:
        if record is None:
            return False
        if "format" in record:
            if record["format"] > FORMAT:
                raise NewerLedger(self.path, record["format"])
            if record["generation"] == self.generation:
                self.after = record["after"]
                return True
        elif record.get("g") == self.generation:
            said = record["t"].items()
            self.records.append((record["n"], {name: None if one is None else Change.of(one) for name, one in said}))
            return True
        return False  # a whole line, but of another journal: an old block that a crash brought to light


def _replay(loaded: Loaded, journal: _Journal) -> None:
    """Apply one journal, telling by the numbers what is missing and what is out of place."""
    lost = stale = 0
    if journal.after is not None and journal.after > loaded.sequence:
        missing = journal.after - loaded.sequence
        loaded.warnings.append(f"{missing} transactions before {journal.path} are lost with the file that held them")
        loaded.sequence = journal.after
        loaded.incomplete = True
    for number, changes in journal.records:
        if number <= loaded.sequence:
            stale += 1
            continue
        lost += number - loaded.sequence - 1
        apply(loaded.tables, changes)
        loaded.sequence = number
    loaded.generation = journal.generation
    loaded.journal_bytes += journal.size
    loaded.good_bytes = journal.good_bytes
    _judge(loaded, journal, lost=lost, stale=stale)


def _judge(loaded: Loaded, journal: _Journal, *, lost: int, stale: int) -> None:
    if not lost and not stale and journal.first_bad is None and journal.after is not None:
        return  # at most a torn last line, as a kill in the middle of writing leaves it
    loaded.spoiled.append(journal.path)
    where = f"{journal.path} is damaged" + (f" at byte {journal.first_bad}" if journal.first_bad is not None else "")
    if lost:
        what = f"{lost} transactions are lost, all before and after them are kept"
    elif not journal.good_bytes:
        what = "nothing in it can be read, what it held is lost"
    elif journal.first_bad is not None and journal.first_bad >= journal.good_bytes:
        what = "all before that is kept; if this was a transaction, it is lost"
    else:
        what = "no transaction is lost by it"
    loaded.warnings.append(f"{where}: {what}")
