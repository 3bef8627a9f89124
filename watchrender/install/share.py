"""How does this folder's disk behave? Measured by doing, on files of our own that are removed again."""

from __future__ import annotations

import os
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from watchrender import disk

_ROUNDS = 15
_REPLACES = 150
_REPLACE_SECONDS = 1.0
_SIZE = 8192


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was seen."""

    latency: float  # seconds for one small file: written, flushed, renamed, looked at (the median)
    folds_case: bool
    folds_accents: bool  # the two ways to write é name one file
    torn_reads: int  # a reader met half a file, or none, while another was renamed over it
    mkdir_wins: bool  # of two who make one folder, one is refused
    skew: float  # seconds by which the disk's clock is ahead of ours
    left_behind: bool = False  # our own files could not be removed again


@contextmanager
def trial_folder(above: Path) -> Iterator[Path]:
    """A hidden folder of our own. Its name is one that the next start of a service would sweep away."""
    folder = above / f".trial-{uuid.uuid4().hex[:8]}"
    disk.mkdir(folder)
    try:
        yield folder
    finally:
        disk.remove_tree(folder)


def measure(above: Path) -> Measured:
    """Measure the disk of a folder that is there. Raises OSError where we may not write."""
    with trial_folder(above) as folder:
        found = Measured(
            latency=_latency(folder),
            folds_case=_is_one_file(folder, "Case", "case"),
            folds_accents=_is_one_file(folder, "é", "e\u0301"),
            torn_reads=_torn_reads(folder),
            mkdir_wins=_mkdir_wins(folder),
            skew=_skew(folder),
        )
    return found if not folder.exists() else Measured(**{**vars(found), "left_behind": True})


def _latency(folder: Path) -> float:
    took = []
    for number in range(_ROUNDS):
        before = time.perf_counter()
        disk.write(folder / f"latency-{number}", b"x" * 200)
        (folder / f"latency-{number}").stat()
        took.append(time.perf_counter() - before)
    return statistics.median(took)


def _is_one_file(folder: Path, one: str, other: str) -> bool:
    (folder / one).write_bytes(b"")
    return (folder / other).exists()


def _mkdir_wins(folder: Path) -> bool:
    disk.mkdir(folder / "taken")
    try:
        disk.mkdir(folder / "taken")
    except FileExistsError:
        return True
    return False


def _torn_reads(folder: Path) -> int:
    """Read a file in a loop while another thread renames new ones over it: each read must meet a whole one."""
    file, torn, ended = folder / "replaced", 0, threading.Event()
    contents = (b"a" * _SIZE, b"b" * _SIZE)
    disk.write(file, contents[0], durable=False)

    def write() -> None:
        until = time.monotonic() + _REPLACE_SECONDS
        for number in range(_REPLACES):
            try:
                disk.write(file, contents[number % 2], durable=False)
            except OSError:
                pass  # refused because the reader holds it (Windows): the old one stands, which is whole
            if time.monotonic() > until:
                break
        ended.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    while not ended.is_set():
        try:
            torn += file.read_bytes() not in contents
        except FileNotFoundError:
            torn += 1
        except OSError:
            continue  # refused, not torn
    writer.join()
    return torn


def _skew(folder: Path) -> float:
    """By how much a time that the disk gives a file lies outside the moment in which it was written."""
    before = time.time()
    with open(folder / "clock", "wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        given = os.fstat(file.fileno()).st_mtime
    after = time.time()
    if given < before - 2.0:  # a disk may keep whole, or every second, seconds only
        return given - before
    return max(0.0, given - after)
