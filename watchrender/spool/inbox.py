"""What is known of each thing in the inbox between two looks: when it was seen, how it looked, whose it is.

The memory of intake; it holds no decisions. One `Entry` per name, fifty thousand of them must stay cheap, and what
is quiet must cost nothing: whatever has something due is in one of the small sets of `Inbox`.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from watchrender.core import naming
from watchrender.spool.watcher import Listing, Look


class Role(StrEnum):
    """What an entry turned out to be."""

    NEW = "new"  # not decided: settling
    JOB = "job"
    SIDECAR = "sidecar"
    SUB = "sub"  # a sub-folder, for good
    CONTROL = "control"
    LETTER = "letter"  # a lone project
    OTHER = "other"


@dataclass(kw_only=True, slots=True, eq=False)
class Entry:
    """One name in the inbox."""

    sub: str
    name: str
    is_dir: bool
    role: Role = Role.NEW
    job_id: str | None = None
    seen_at: float = 0.0  # monotonic: first seen; the same for all of one scan
    created_at: str = ""  # the same moment as a stamp
    arrival: int = 0  # its place among all that came
    stamp: tuple[int, int, int] | None = None
    changed_at: float = 0.0  # monotonic: when it was last seen to look different
    looked_at: float = 0.0
    due: float = 0.0  # monotonic: the next time something is to be done about it, while it is restless
    gone_at: float | None = None  # monotonic: first direct look that did not find it
    read_at: float | None = None  # monotonic: taken at first sight then; its time may not tell a save just after
    obeyed: bool = False  # an order that is done and could not be removed yet

    @property
    def place(self) -> str:
        """Where it lies, as people say it."""
        return f"{self.sub}/{self.name}" if self.sub else self.name

    def saw(self, look: Look, now: float) -> bool:
        """Remember a look. True if it looks different from the last one."""
        self.looked_at = now
        self.gone_at = None
        before, self.stamp = self.stamp, look.stamp
        # The inode is kept, not compared: some shares invent a new one at each look.
        if before is not None and before[:2] == look.stamp[:2]:
            return False
        self.changed_at = now
        return True

    def unchanged_for(self, now: float) -> float:
        return now - self.changed_at

    def is_still(self, found: Look | None) -> bool:
        """Is what a look found of the same nature: a plain file, or a folder?"""
        return found is not None and found.regular and found.is_dir == self.is_dir


class Crowd:
    """Jobs' names that came together with very many others, and whose turn has not come: nothing is known of them but
    that they are there. What comes later is in front: one file more must not wait for all of them."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Entry, naming.Kind]] = []
        self._names: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, came: list[tuple[Entry, naming.Kind]]) -> None:
        self._waiting = came + self._waiting
        for entry, _ in came:
            self._names.setdefault(entry.sub, set()).add(entry.name)

    def take(self, count: int) -> list[tuple[Entry, naming.Kind]]:
        """The next so many."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        for entry, _ in taken:
            self._names[entry.sub].discard(entry.name)
        return taken

    def names(self, sub: str) -> Set[str]:
        """Their names in one sub-folder."""
        return self._names.get(sub, frozenset())

    def named(self, sub: str, name: str) -> str | None:
        """The file in a sub-folder that becomes a job of this name, if there is one."""
        folded = naming.fold(name)
        return next((file for file in self.names(sub) if naming.fold(naming.parse_name(file).name) == folded), None)


@dataclass(kw_only=True)
class Inbox:
    """All entries, by sub-folder and name, by job, and by the names that settings and orders call them."""

    subs: dict[str, dict[str, Entry]] = field(default_factory=dict)
    folders: dict[str, set[str]] = field(default_factory=dict)  # which of them are folders
    by_job: dict[str, Entry] = field(default_factory=dict)
    restless: dict[Entry, None] = field(default_factory=dict)  # something is due
    gone: dict[Entry, None] = field(default_factory=dict)  # jobs whose file was not found at the last look
    controls: dict[Entry, None] = field(default_factory=dict)
    crowd: Crowd = field(default_factory=Crowd)
    loose: dict[Entry, None] = field(default_factory=dict)  # sidecars whose owner is to be found
    changed: bool = True  # something came or went since this was last set to False
    edition: int = 0  # another one after each name that came or went
    _called: dict[str, dict[str, Entry | tuple[Entry, ...]]] = field(default_factory=dict)

    def get(self, sub: str, name: str) -> Entry | None:
        return self.subs.get(sub, {}).get(name)

    def add(self, entry: Entry) -> Entry:
        self.subs.setdefault(entry.sub, {})[entry.name] = entry
        if entry.is_dir:
            self.folders.setdefault(entry.sub, set()).add(entry.name)
        self.edition += 1
        self.changed = True
        if entry.job_id is not None:
            self.own(entry, entry.job_id)
        return entry

    def own(self, entry: Entry, job_id: str) -> None:
        """This entry is the file of that job from now on."""
        entry.role, entry.job_id = Role.JOB, job_id
        self.by_job[job_id] = entry
        self.call(entry)
        self.changed = True

    def drop(self, entry: Entry) -> None:
        """Whatever shows up under its name is a new thing."""
        names = self.subs.get(entry.sub)
        if names is not None and names.get(entry.name) is entry:
            del names[entry.name]
            self.folders.get(entry.sub, set()).discard(entry.name)
            if not names:
                del self.subs[entry.sub]
                self.folders.pop(entry.sub, None)
        if entry.job_id is not None and self.by_job.get(entry.job_id) is entry:
            del self.by_job[entry.job_id]
        for members in (self.restless, self.gone, self.controls, self.loose):
            members.pop(entry, None)
        self._uncall(entry)
        self.edition += 1
        self.changed = True

    def set_aside(self, entry: Entry) -> None:
        """Its name is another thing's now; it stays the file of its job, one that is not there."""
        self.edition += 1
        names = self.subs.get(entry.sub, {})
        if names.get(entry.name) is entry:
            del names[entry.name]
            self.folders.get(entry.sub, set()).discard(entry.name)
        self.restless.pop(entry, None)

    def forget_job(self, job_id: str) -> None:
        """The job has left the inbox (claimed, closed)."""
        entry = self.by_job.get(job_id)
        if entry is not None:
            self.drop(entry)

    def agrees_with(self, listing: Listing) -> bool:
        """Are these the names of a listing, no fewer and no more?"""
        return self.subs.keys() <= listing.subs.keys() and all(
            self.subs.get(sub, {}).keys() == names and self.folders.get(sub, set()) == listing.folders[sub]
            for sub, names in listing.subs.items()
        )

    def __iter__(self) -> Iterator[Entry]:
        for names in list(self.subs.values()):
            yield from list(names.values())

    # -- by name --------------------------------------------------------------------------------------------

    def call(self, entry: Entry) -> None:
        """Let it be found by the names that a sidecar or an order may call it."""
        names = self._called.setdefault(entry.sub, {})
        for alias in aliases(entry.name, is_dir=entry.is_dir):
            known = names.get(alias, ())
            others = known if isinstance(known, tuple) else (known,)
            if entry not in others:
                names[alias] = (*others, entry) if others else entry

    def _uncall(self, entry: Entry) -> None:
        names = self._called.get(entry.sub)
        if names is None:
            return
        for alias in aliases(entry.name, is_dir=entry.is_dir):
            known = names.get(alias, ())
            left = tuple(other for other in (known if isinstance(known, tuple) else (known,)) if other is not entry)
            if left:
                names[alias] = left if len(left) > 1 else left[0]
            else:
                names.pop(alias, None)
        if not names:
            del self._called[entry.sub]

    def called(self, sub: str, *words: str) -> list[Entry]:
        """The jobs, and what may become a job or a sidecar, that one of these names may mean."""
        names = self._called.get(sub, {})
        found: dict[Entry, None] = {}
        for word in words:
            known = names.get(word, ())
            found.update(dict.fromkeys(known if isinstance(known, tuple) else (known,)))
        return list(found)


@lru_cache(maxsize=4096)
def aliases(name: str, *, is_dir: bool = False) -> frozenset[str]:
    """What a file or folder may be called: its stem, and its name without the mark."""
    stem = naming.fold(naming.stem_of(name, is_dir=is_dir))
    return frozenset((stem, naming.fold(naming.parse_name(name, is_dir=is_dir).name)))
