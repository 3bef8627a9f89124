"""When is a dropped file complete? Pure: it is told what was seen and when.

Two rules. A JSON object that parses is complete, because a cut-off one never does. Everything else has to keep its size
and time for a while. How long ago something was seen is told by a monotonic clock; a file's own time is only compared
with itself, so that a copy from a machine with a wrong clock settles like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Completeness(StrEnum):
    """What a file's content says about whether it is all there."""

    COMPLETE = "complete"  # a JSON object that parses
    CUT_OFF = "cut off"  # right so far: still arriving, or cut for good
    BROKEN = "broken"  # wrong before its end: no more bytes can mend it
    OPAQUE = "opaque"  # content does not tell (YAML, zip, folders, footage)


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSighting:
    """What one look at a whole folder found, kept as a digest so that a folder of any size costs the same."""

    files: int  # how many entries, folders among them
    digest: str  # of their paths, sizes and times: equal where nothing was changed
    at: float  # monotonic

    @classmethod
    def of(cls, entries: Iterable[tuple[str, int, int]], *, at: float) -> Self:
        """From (relative path, size, mtime_ns) of everything in the tree, in any order. None of them is kept."""
        digest = files = 0
        for path, size, mtime_ns in entries:
            entry = hashlib.sha256(f"{path!r} {size} {mtime_ns}\n".encode()).digest()
            digest = (digest + int.from_bytes(entry, "big")) % (1 << 256)
            files += 1
        return cls(files=files, digest=f"{digest:064x}", at=at)


class Verdict(StrEnum):
    """What to do with a file that lies there."""

    TAKE = "take"
    WAIT = "wait"
    REJECT = "reject"  # read it now: it will say what is wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """May a file be taken, and if not, when to look again."""

    verdict: Verdict
    wait_seconds: float = 0.0


def ready(completeness: Completeness, *, unchanged_for: float, settle: float, cut_off: float) -> Ready:
    """May it be taken? All times in seconds; `unchanged_for` is 0 at the first look."""
    if completeness is Completeness.COMPLETE:
        return Ready(verdict=Verdict.TAKE)
    if completeness is Completeness.BROKEN:
        return Ready(verdict=Verdict.REJECT)
    limit, after = (cut_off, Verdict.REJECT) if completeness is Completeness.CUT_OFF else (settle, Verdict.TAKE)
    if unchanged_for > 0 and unchanged_for >= limit:
        return Ready(verdict=after)
    return Ready(verdict=Verdict.WAIT, wait_seconds=max(limit - unchanged_for, 0.0))
