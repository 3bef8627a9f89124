"""The record of all jobs, and the only code that changes a job's state: check the table, save, tell the listeners.

One lock. A change is one transaction that is on the disk before anybody hears of it. Listeners are called in order,
under the lock, and never block: they put what they hear on a queue of their own.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from watchrender.core import clock, naming
from watchrender.core.job import Job, Progress, new_id
from watchrender.core.states import Event, State, is_over
from watchrender.ledger.reading import collecting_nothing
from watchrender.ledger.storage import JournalDB

JOBS = "jobs"
FACTS = "facts"  # what is known of the hot folder itself: one document, number 1
OUTBOX = "outbox"
RENDERS = "renders"  # finished renders, for the estimate
#: Numbers of jobs that are over, taken at once by who walks through them.
_HANDFUL = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a listener hears. `before` is None for a new job; `progress` tells that only its progress moved."""

    job: Job
    before: Job | None
    progress: bool = False

    @property
    def of_state(self) -> bool:
        return self.before is None or self.before.state is not self.job.state


Listener = Callable[[Change], None]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """All jobs: those not over as values in memory, those over as records."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = utc_now, sync: str = "always") -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.db = JournalDB(path / "state.json", sync=sync)  # type: ignore[arg-type]
        self.now = now
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._live: dict[str, Job] = {}
        self._by_key: dict[str, str] = {}  # folded key → id of the job not over
        self._order: list[tuple[int, int, str]] = []  # the queue: (-priority, arrival, id)
        self._serials: dict[str, int] = {}  # id → number of its record, for jobs that are over
        self._over: list[int] = []  # those numbers in order
        self._newest_over: dict[str, int] = {}  # folded key → number of the newest record that is over
        self._recent: OrderedDict[str, Job] = OrderedDict()
        self._by_sub: dict[str, dict[str, None]] = {}  # sub-folder → ids of its jobs not over
        self._by_file: dict[tuple[str, str], str] = {}  # (sub, file name) → id of the job never begun
        self._begun: set[str] = set()
        self._told: list[Change] | None = None
        self.serial = 0
        self.arrival = 0
        self.counts: dict[State, int] = dict.fromkeys(State, 0)
        self._load()

    def _load(self) -> None:
        with collecting_nothing():
            self._load_all()

    def _load_all(self) -> None:
        over = {str(state) for state in State if is_over(state)}
        counts: dict[str, int] = {}
        queued: list[Job] = []
        for serial, record in sorted(self.db.documents(JOBS).items()):
            self.serial = serial
            self.arrival = max(self.arrival, record.get("arrival", 0))
            state = record.get("state", State.PENDING)
            counts[state] = counts.get(state, 0) + 1
            if state in over:  # no `Job` is made of it: there may be a hundred thousand
                self._index_over(record["id"], _key(record), serial)
                continue
            job = Job.from_record(dict(record))
            self._index(job, in_order=False)
            if job.state is State.QUEUED:
                queued.append(job)
        self._order = sorted(map(_place, queued))
        for state, count in counts.items():
            self.counts[State(state)] += count

    def close(self) -> None:
        self.db.close()

    # -- listeners ------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def _tell(self, change: Change) -> None:
        if self._told is not None:
            self._told.append(change)
            return
        for listener in self._listeners:
            listener(change)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Several changes in one transaction: all are saved, or none; listeners hear of them afterwards."""
        with self._lock:
            if self._told is not None:
                yield
                return
            memory = self._remember()
            self._told = []
            try:
                with self.db.transaction():
                    yield
            except BaseException:
                self._told = None
                self._recall(memory)
                raise
            told, self._told = self._told, None
            self._share({change.job.id for change in told})
            for change in told:
                self._tell(change)

    def _share(self, job_ids: set[str]) -> None:
        """A job is kept as a value and as a record: made of the same pieces, fifty thousand need half the memory."""
        records = self.db.documents(JOBS)
        for job_id in job_ids:
            job = self._live.get(job_id)
            record = records.get(job.serial) if job is not None else None
            if job is not None and record is not None:
                self._live[job_id] = replace(Job.from_record(dict(record)), progress=job.progress, eta=job.eta)

    def _remember(self) -> tuple[Any, ...]:
        # A failed transaction is rare (a full disk), so what it touched is put back job by job from the listeners'
        # list rather than by copying fifty thousand entries before each one.
        return (self.serial, self.arrival)

    def _recall(self, memory: tuple[Any, ...]) -> None:
        self._live.clear()
        self._by_key.clear()
        self._order.clear()
        self._serials.clear()
        self._over.clear()
        self._newest_over.clear()
        self._recent.clear()
        self._by_sub.clear()
        self._by_file.clear()
        self._begun.clear()
        self.counts = dict.fromkeys(State, 0)
        self._load()
        self.serial, self.arrival = max(self.serial, memory[0]), max(self.arrival, memory[1])

    # -- reading --------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            live = self._live.get(job_id)
            if live is not None:
                return live
            recent = self._recent.get(job_id)
            if recent is not None:
                return recent
            serial = self._serials.get(job_id)
            return None if serial is None else self._from(serial)

    def _from(self, serial: int) -> Job | None:
        record = self.db.documents(JOBS).get(serial)
        return None if record is None else Job.from_record(dict(record))

    def live(self) -> list[Job]:
        """All jobs that are not over, in no order."""
        with self._lock:
            return list(self._live.values())

    def live_by_key(self, key: str) -> Job | None:
        with self._lock:
            return self._live.get(self._by_key.get(naming.fold(key), ""))

    def live_by_file(self, sub: str, name: str) -> Job | None:
        """The job never begun whose file in the inbox has this name."""
        with self._lock:
            return self._live.get(self._by_file.get((sub, name), ""))

    def live_in(self, sub: str) -> list[Job]:
        """The jobs not over of one sub-folder."""
        with self._lock:
            return [self._live[job_id] for job_id in self._by_sub.get(sub, ())]

    def begun(self) -> list[Job]:
        """The jobs not over that have left the inbox: few."""
        with self._lock:
            return [self._live[job_id] for job_id in self._begun]

    def newest_over(self, key: str) -> Job | None:
        with self._lock:
            serial = self._newest_over.get(naming.fold(key))
            return None if serial is None else self._from(serial)

    def queue(self, limit: int | None = None) -> list[Job]:
        """The queued jobs in the order they will be taken."""
        with self._lock:
            return [self._live[entry[2]] for entry in self._order[:limit]]

    def first(self, may_start: Callable[[Job], bool]) -> Job | None:
        """The first queued job, in order, that may start."""
        with self._lock:
            for entry in self._order:
                job = self._live[entry[2]]
                if may_start(job):
                    return job
            return None

    def position(self, job: Job) -> int | None:
        """1 for the next one; None for a job that is not queued."""
        with self._lock:
            if job.state is not State.QUEUED:
                return None
            return bisect_left(self._order, _place(job)) + 1

    def over(self, *, below: int | None = None, newest_first: bool = True) -> Iterator[Job]:
        """Jobs that are over, newest first by default; with `below`, those whose number is smaller. Made one by one
        from where it begins: a page of them costs a page, however deep it lies."""
        if not newest_first:
            with self._lock:
                serials = self._over[:]
            yield from filter(None, map(self._from, serials))
            return
        while serials := self._over_below(below):
            yield from filter(None, map(self._from, reversed(serials)))
            below = serials[0]

    def _over_below(self, below: int | None) -> list[int]:
        """The next numbers of jobs that are over, a handful."""
        with self._lock:
            end = len(self._over) if below is None else bisect_left(self._over, below)
            return self._over[max(0, end - _HANDFUL) : end]

    def over_since(self, stamp: str) -> list[Job]:
        """Jobs that ended at that moment or after. Looks through the records: no `Job` is made of the others."""
        with self._lock:
            records = self.db.documents(JOBS)
            found = [records.get(serial) for serial in self._over]
            return [
                Job.from_record(dict(record))
                for record in found
                if record is not None and (record.get("finished_at") or record.get("updated_at", "")) >= stamp
            ]

    def find(self, word: str) -> Job | None:
        """The job that a person means: id, id prefix (at least 4), or key: the one not over, else the newest."""
        with self._lock:
            found = self.get(word) or self.live_by_key(word) or self.newest_over(word)
            if found is not None or len(word) < 4:
                return found
            prefix = word.upper()
            matches = [job_id for job_id in (*self._live, *self._serials) if job_id.startswith(prefix)]
            return self.get(matches[0]) if len(matches) == 1 else None

    # -- changing -------------------------------------------------------------------------------------------

    def stamp(self) -> str:
        return clock.stamp(self.now())

    def add(self, *, why: str, **fields: Any) -> Job:
        """Record a new job. `serial`, `arrival`, `id` and times are given to it where they are missing."""
        with self._lock:
            at = self.stamp()
            serial = fields.pop("serial", None) or self.serial + 1
            arrival = fields.pop("arrival", None) or self.arrival + 1
            fields.setdefault("id", new_id(int(self.now().timestamp() * 1000)))
            fields.setdefault("created_at", at)
            fields.setdefault("history", ({"at": at, "from": None, "to": str(State.PENDING), "why": why},))
            job = Job(serial=serial, arrival=arrival, updated_at=at, **fields)
            self._save(job)
            self.serial, self.arrival = max(self.serial, serial), max(self.arrival, arrival)
            self.counts[job.state] += 1
            if job.over:
                self._index_over(job.id, job.key, serial)
            else:
                self._index(job)
            self._tell(Change(job=job, before=None))
            return job

    def apply(self, job_id: str, event: Event, why: str, *, at: str | None = None, **changes: Any) -> Job:
        """Change a job's state by the table: one saved transaction. Raises `states.Refused`, and KeyError for a job
        that is over or unknown. `at`: when it came about, where that has been written down before."""
        with self._lock:
            before = self._live[job_id]
            moment = self.stamp() if at is None else max(at, before.updated_at)
            job = before.advance(event, at=moment, why=why, **changes)
            self._swap(before, job)
            return job

    def note(self, job_id: str, why: str | None = None, **changes: Any) -> Job:
        """Record facts about a job without changing its state; `why` adds a line to its history."""
        with self._lock:
            before = self._live.get(job_id) or self.get(job_id)
            if before is None:
                raise KeyError(job_id)
            job = before.noted(at=self.stamp(), why=why, **changes)
            if before.over:
                self._save(job)
                self._keep_recent(job)
                self._tell(Change(job=job, before=before))
            else:
                self._swap(before, job)
            return job

    def progress(self, job_id: str, progress: Progress, eta: Mapping[str, Any] | None = None) -> None:
        """Tell the listeners how far a render is. Not saved: a restart begins the render anew."""
        with self._lock:
            before = self._live.get(job_id)
            if before is None or before.state is not State.RENDERING:
                return
            job = replace(before, progress=progress, eta=dict(eta) if eta is not None else before.eta)
            self._live[job_id] = job
            self._tell(Change(job=job, before=before, progress=True))

    def forget(self, job_ids: list[str]) -> None:
        """Drop jobs that are over from the record (retention)."""
        with self._lock, self.db.transaction():
            for job_id in job_ids:
                serial = self._serials.pop(job_id, None)
                if serial is None:
                    continue
                del self._over[bisect_left(self._over, serial)]
                record = self.db.documents(JOBS).get(serial)
                self.db.delete(JOBS, serial)
                self._recent.pop(job_id, None)
                if record is not None:
                    self.counts[State(record["state"])] -= 1
                    folded = naming.fold(_key(record))
                    if self._newest_over.get(folded) == serial:
                        del self._newest_over[folded]

    # -- what is known of the hot folder --------------------------------------------------------------------

    def facts(self) -> Mapping[str, Any]:
        with self._lock:
            return self.db.documents(FACTS).get(1, {})

    def know(self, **facts: Any) -> None:
        with self._lock:
            self.db.put(FACTS, 1, {**self.facts(), **facts})

    def remember_tree(self, record: Mapping[str, Any]) -> None:
        """A process tree is about to start, or has its pid now: the next start ends it if we cannot."""
        with self._lock:
            trees = {**self.facts().get("trees", {}), str(record["marker"]): dict(record)}
            self.know(trees=trees)

    def forget_tree(self, marker: str) -> None:
        with self._lock:
            trees = dict(self.facts().get("trees", {}))
            if trees.pop(marker, None) is not None:
                self.know(trees=trees)

    # -- inside ---------------------------------------------------------------------------------------------

    def _save(self, job: Job) -> None:
        self.db.put(JOBS, job.serial, job.to_record())

    def _swap(self, before: Job, job: Job) -> None:
        self._save(job)
        self.counts[before.state] -= 1
        self.counts[job.state] += 1
        self._unindex(before)
        if job.over:
            self._index_over(job.id, job.key, job.serial)
            self._keep_recent(job)
        else:
            self._index(job)
        self._tell(Change(job=job, before=before))

    def _keep_recent(self, job: Job) -> None:
        self._recent[job.id] = job
        self._recent.move_to_end(job.id)
        while len(self._recent) > 200:
            self._recent.popitem(last=False)

    def _index(self, job: Job, *, in_order: bool = True) -> None:
        self._live[job.id] = job
        self._by_key[naming.fold(job.key)] = job.id
        self._by_sub.setdefault(job.sub, {})[job.id] = None
        if job.begun:
            self._begun.add(job.id)
        else:
            self._by_file[job.sub, job.file] = job.id
        if in_order and job.state is State.QUEUED:
            insort(self._order, _place(job))

    def _unindex(self, job: Job) -> None:
        if job.state is State.QUEUED:
            self._unqueue(job)
        del self._live[job.id]
        self._begun.discard(job.id)
        self._by_sub.get(job.sub, {}).pop(job.id, None)
        _drop(self._by_key, naming.fold(job.key), job.id)
        _drop(self._by_file, (job.sub, job.file), job.id)

    def _index_over(self, job_id: str, key: str, serial: int) -> None:
        self._serials[job_id] = serial
        if self._over and self._over[-1] > serial:
            insort(self._over, serial)
        else:
            self._over.append(serial)
        folded = naming.fold(key)
        if self._newest_over.get(folded, 0) < serial:
            self._newest_over[folded] = serial

    def _unqueue(self, job: Job) -> None:
        index = bisect_left(self._order, _place(job))
        if index < len(self._order) and self._order[index][2] == job.id:
            del self._order[index]


def _drop(index: dict[Any, str], key: object, job_id: str) -> None:
    if index.get(key) == job_id:
        del index[key]


def _place(job: Job) -> tuple[int, int, str]:
    return (-job.priority, job.arrival, job.id)


def _key(record: Mapping[str, Any]) -> str:
    sub = record.get("sub", "")
    return f"{sub}/{record['name']}" if sub else str(record["name"])
