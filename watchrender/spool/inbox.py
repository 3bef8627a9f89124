"""What is known of each thing in the inbox between two scans: when it was seen, how it looked, whose it is.

The memory of intake; it holds no decisions. One `Entry` per name; fifty thousand of them must stay cheap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from watchrender.spool.watcher import Look


class Role(StrEnum):
    """What an entry turned out to be."""

    NEW = "new"  # not decided: settling
    JOB = "job"
    SIDECAR = "sidecar"
    SUB = "sub"  # a sub-folder, for good
    CONTROL = "control"
    LETTER = "letter"  # a lone project
    OTHER = "other"


@dataclass(kw_only=True, slots=True)
class Entry:
    """One name in the inbox."""

    sub: str
    name: str
    is_dir: bool
    role: Role = Role.NEW
    job_id: str | None = None
    seen_at: float = 0.0  # monotonic: first seen
    stamp: tuple[int, int, int] | None = None
    changed_at: float = 0.0  # monotonic: when it was last seen to look different
    looked_at: float = 0.0
    gone_at: float | None = None  # monotonic: first direct look that did not find it
    digest_of_tree: int = 0  # folders: what the whole tree looked like
    why: str = ""  # role OTHER: why it is ignored
    done: bool = False  # role NEW, LETTER: nothing more to decide until it changes

    @property
    def place(self) -> tuple[str, str]:
        return self.sub, self.name

    def saw(self, look: Look, now: float) -> bool:
        """Remember a look. True if it looks different from the last one."""
        self.looked_at = now
        self.gone_at = None
        if self.stamp == look.stamp:
            return False
        self.stamp = look.stamp
        self.changed_at = now
        self.done = False
        return True

    def unchanged_for(self, now: float) -> float:
        return now - self.changed_at


@dataclass(kw_only=True)
class Inbox:
    """All entries, by sub-folder and name."""

    subs: dict[str, dict[str, Entry]] = field(default_factory=dict)
    by_job: dict[str, Entry] = field(default_factory=dict)

    def get(self, sub: str, name: str) -> Entry | None:
        return self.subs.get(sub, {}).get(name)

    def add(self, entry: Entry) -> Entry:
        self.subs.setdefault(entry.sub, {})[entry.name] = entry
        if entry.job_id is not None:
            self.by_job[entry.job_id] = entry
        return entry

    def own(self, entry: Entry, job_id: str) -> None:
        entry.role = Role.JOB
        entry.job_id = job_id
        self.by_job[job_id] = entry

    def drop(self, entry: Entry) -> None:
        names = self.subs.get(entry.sub)
        if names is not None and names.get(entry.name) is entry:
            del names[entry.name]
        if entry.job_id is not None and self.by_job.get(entry.job_id) is entry:
            del self.by_job[entry.job_id]

    def forget_job(self, job_id: str) -> None:
        """The job has left the inbox (claimed, closed): whatever shows up under its name is a new thing."""
        entry = self.by_job.pop(job_id, None)
        if entry is not None:
            self.drop(entry)

    def __iter__(self) -> Iterator[Entry]:
        for names in self.subs.values():
            yield from list(names.values())
