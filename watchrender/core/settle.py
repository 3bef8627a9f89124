"""When is a dropped file complete? Pure: it is told what was seen and when.

Two rules. A JSON object that parses is complete, because a cut-off one never does. Everything else has to keep its size
and time for a while. How long ago something was seen is told by a monotonic clock; a file's own time is only compared
with itself, so that a copy from a machine with a wrong clock settles like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class Completeness(StrEnum):
    """What a file's content says about whether it is all there."""

    COMPLETE = "complete"  # a JSON object that parses
    CUT_OFF = "cut off"  # right so far: still arriving, or cut for good
    BROKEN = "broken"  # wrong before its end: no more bytes can mend it
    OPAQUE = "opaque"  # content does not tell (YAML, zip, folders, footage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What one look at a file found, by open and fstat, at a moment of the monotonic clock."""

    size: int
    mtime_ns: int
    at: float
    inode: int = 0  # kept for the caller; not compared, because some shares invent a new one at each look

    @property
    def fingerprint(self) -> Hashable:
        return self.size, self.mtime_ns


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSighting:
    """What one look at a whole folder found, kept as a digest so that a folder of any size costs the same."""

    files: int
    size: int
    digest: str
    at: float

    @classmethod
    def of(cls, entries: Iterable[tuple[str, int, int]], *, at: float) -> Self:
        """From (relative path, size, mtime_ns) of everything in the tree, in any order. None of them is kept."""
        digest = files = total = 0
        for path, size, mtime_ns in entries:
            entry = hashlib.sha256(f"{path!r} {size} {mtime_ns}\n".encode()).digest()
            digest = (digest + int.from_bytes(entry, "big")) % (1 << 256)
            files += 1
            total += max(size, 0)
        return cls(files=files, size=total, digest=f"{digest:064x}", at=at)

    @property
    def fingerprint(self) -> Hashable:
        return self.digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Settle:
    """Since when something looks the same: `settle = Settle.first(sighting)`, then `settle = settle.see(sighting)`."""

    latest: Sighting | TreeSighting
    since: float

    @classmethod
    def first(cls, sighting: Sighting | TreeSighting) -> Self:
        return cls(latest=sighting, since=sighting.at)

    def see(self, sighting: Sighting | TreeSighting) -> Self:
        """What is known after another look."""
        same = sighting.fingerprint == self.latest.fingerprint
        return replace(self, latest=sighting, since=self.since if same else sighting.at)

    @property
    def unchanged_for(self) -> float:
        """Seconds between the first and the latest look that found it as it is; what came after nobody has seen."""
        return self.latest.at - self.since

    def settled(self, settle_seconds: float) -> bool:
        """Has it kept its size and time long enough, by at least two looks?"""
        return self.latest.at > self.since and self.unchanged_for >= settle_seconds


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
