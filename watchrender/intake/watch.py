"""The inbox as intake watches it: what lies there, how it looked last, when each thing is due to be looked at again.

Shared by the rooms of intake, used on its thread alone. It looks and reads; it decides nothing and records nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchrender.core import settle
from watchrender.core.failure import Code, Failure, fail
from watchrender.spool import bundle
from watchrender.spool.folders import Folders
from watchrender.spool.inbox import Entry, Inbox, Role
from watchrender.spool.watcher import Look, look, read

#: What follows from a look, for the record; done together with others.
Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds, resolved for this root (a share needs longer)."""

    scan: float
    settle: float
    cut_off: float
    assets_deadline: float


class Watch:
    """What is known of the inbox between two turns."""

    def __init__(
        self,
        *,
        folders: Folders,
        pace: Pace,
        clock: Callable[[], float],
        alive: Callable[[], None],
        max_job_size: int,
    ) -> None:
        self.folders = folders
        self.pace = pace
        self.clock = clock
        self.alive = alive  # tells whoever waits for us that the share still answers
        self.inbox = Inbox()
        self.trees: dict[Entry, settle.TreeSighting] = {}
        self.ignored: dict[str, str] = {}  # path → why, for service.json
        self.next_look: float | None = None
        self._max_job_size = max_job_size

    # -- looking --------------------------------------------------------------------------------------------

    def path(self, entry: Entry) -> Path:
        return self.folders.inbox_folder(entry.sub) / entry.name

    def prefix(self, sub: str) -> str:
        return f"{self.folders.inbox}{os.sep}{sub}{os.sep}" if sub else f"{self.folders.inbox}{os.sep}"

    def look(self, entry: Entry) -> Look | None:
        """A direct look; None only where it is not there. Raises OSError where the share does not answer."""
        self.alive()
        try:
            return look(f"{self.prefix(entry.sub)}{entry.name}")
        except PermissionError:  # its folder is closed to us: that is not gone
            size, mtime_ns, inode = entry.stamp or (0, 0, 0)
            return Look(size=size, mtime_ns=mtime_ns, inode=inode, is_dir=entry.is_dir, regular=True)

    def read(self, entry: Entry) -> bytes | Failure | None:
        """The bytes of a file, by one open; None if it changes or is gone; a failure if it may not be read."""
        self.alive()
        try:
            found = read(f"{self.prefix(entry.sub)}{entry.name}", self._max_job_size + 1)
        except OSError as error:
            if self.folders.health() is not None:
                raise
            return cannot_open(entry.name, error)
        if found is None:
            return None
        data, seen = found
        if entry.stamp is not None and seen.stamp[:2] != entry.stamp[:2]:
            entry.changed_at = self.clock()
        entry.stamp = seen.stamp
        return data

    def sighting(self, entry: Entry, now: float) -> settle.TreeSighting | None:
        """How a tree looks once it has been quiet; two looks, `settle` apart. None: not yet."""
        began = self.clock()
        tree = settle.TreeSighting.of(bundle.bundle_listing(self.path(entry), alive=self.alive), at=now)
        took = self.clock() - began
        known = self.trees.get(entry)
        if known is not None and known.digest == tree.digest and now - known.at >= self.pace.settle:
            del self.trees[entry]
            return tree
        if known is None or known.digest != tree.digest:
            self.trees[entry] = known = tree
        # A folder of very many files must not be all that is looked at.
        self.again(entry, max(known.at + self.pace.settle + 0.01, now + max(0.05, 5 * took)))
        return None

    def is_settled(self, entry: Entry, now: float) -> bool:
        """Has this file kept its size and time for `settle`, and is there anything in it? If not, it is looked at again
        when it may."""
        if entry.unchanged_for(now) >= self.pace.settle and entry.stamp is not None and entry.stamp[0] > 0:
            return True
        at = entry.changed_at + self.pace.settle + 0.01
        self.again(entry, at if at > now else now + self.pace.scan)
        return False

    # -- when again -----------------------------------------------------------------------------------------

    def soon(self, at: float) -> None:
        """Something is due at this moment of the monotonic clock: the next turn must not be later."""
        self.next_look = at if self.next_look is None else min(self.next_look, at)

    def again(self, entry: Entry, at: float) -> None:
        """This entry is to be looked at again then."""
        entry.due = at
        self.inbox.restless[entry] = None
        self.soon(at)

    def gone(self, entry: Entry, now: float) -> None:
        """It was not there, by a direct look: if it is not there later either, its owner took it back."""
        entry.gone_at = now
        self.inbox.gone[entry] = None
        self.soon(now + self.pace.settle + 0.01)

    def rest(self, entry: Entry) -> None:
        self.inbox.restless.pop(entry, None)

    def ignore(self, entry: Entry, why: str) -> None:
        entry.role = Role.OTHER
        self.ignored[entry.place] = why
        self.rest(entry)


def cannot_open(name: str, error: OSError) -> Failure:
    return fail(
        Code.JOB_UNREADABLE,
        f"{name} cannot be opened: {error.strerror or error}",
        cure="Give the service's user the right to read it, or close the program that holds it; then drop it anew.",
    )
