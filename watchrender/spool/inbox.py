"""What is known of each thing in the inbox between two looks: when it was seen, how it looked, whose it is.

The memory of intake; it holds no decisions. One `Entry` per name, fifty thousand of them must stay cheap, and what
is quiet must cost nothing: whatever has something due is in one of the small sets of `Inbox`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import islice

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
    that they are there. Who only asks may do so on any thread."""

    def __init__(self) -> None:
        self._waiting: dict[Entry, naming.Kind] = {}
        self._names: dict[str, set[str]] = {}
        self._by_job: dict[str, dict[str, tuple[Entry, ...]]] = {}  # sub-folder → folded name of the job → its files

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, came: Mapping[Entry, naming.Kind], *, in_front: bool) -> None:
        """`in_front`: one file more does not wait for all that came before."""
        self._waiting = {**came, **self._waiting} if in_front else {**self._waiting, **came}
        for entry in came:
            self._names.setdefault(entry.sub, set()).add(entry.name)
            jobs, name = self._by_job.setdefault(entry.sub, {}), _job_name(entry.name)
            jobs[name] = (*jobs.get(name, ()), entry)

    def leave(self, entries: Iterable[Entry]) -> None:
        """They are met, or gone."""
        for entry in entries:
            if self._waiting.pop(entry, None) is None:
                continue
            self._names[entry.sub].discard(entry.name)
            jobs, name = self._by_job[entry.sub], _job_name(entry.name)
            jobs[name] = tuple(other for other in jobs[name] if other is not entry)
            if not jobs[name]:
                del jobs[name]

    def next(self, count: int) -> dict[Entry, naming.Kind]:
        """The next so many. Before each come those of its name that were there before: a job's name is whose file was
        seen first."""
        found: dict[Entry, naming.Kind] = {}
        for entry in islice(self._waiting, count):
            for other in self.called(entry.sub, entry.name):
                if other.arrival <= entry.arrival:
                    found[other] = self._waiting[other]
        return found

    def has_older(self, arrival: int) -> bool:
        """Did one of them come before? Where none was put in front, the first came first."""
        return any(entry.arrival < arrival for entry in islice(self._waiting, 1))

    def kinds(self, entries: Iterable[Entry]) -> dict[Entry, naming.Kind]:
        return {entry: self._waiting[entry] for entry in entries}

    def names(self, sub: str) -> Set[str]:
        """Their names in one sub-folder."""
        return self._names.get(sub, frozenset())

    def called(self, sub: str, file: str) -> list[Entry]:
        """Those that become a job of the name that this file's would have, in the order they came."""
        found = self._by_job.get(sub, {}).get(_job_name(file), ())
        return sorted(found, key=lambda entry: entry.arrival) if len(found) > 1 else list(found)


def _job_name(file: str) -> str:
    return naming.fold(naming.fit(naming.parse_name(file).name))


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
