"""The record of all jobs, and the only code that changes a job's state: check the table, save, tell the listeners.

A job is kept as its record, and made a value when somebody asks for it; those last asked for stay values for a while.
So fifty thousand that wait need little more than their files' own text, and a start makes no value of any history.

One lock. A change is one transaction that is on the disk before anybody hears of it. Listeners are called in order,
under the lock, and never block: they put what they hear on a queue of their own.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, overload

from watchrender.core import clock, naming
from watchrender.core.job import Job, Progress, new_id
from watchrender.core.states import Event, State, is_over
from watchrender.ledger.journal import loads
from watchrender.ledger.reading import collecting_nothing
from watchrender.ledger.storage import JournalDB

JOBS = "jobs"
FACTS = "facts"  # what is known of the hot folder itself: one document, number 1
OUTBOX = "outbox"
RENDERS = "renders"  # finished renders, for the estimate
#: Numbers of jobs that are over, taken at once by who walks through them.
_HANDFUL = 256
#: So many jobs stay values: more than any overview shows, than come in together, or end in an hour.
_VALUES = 1500
#: `2026-11-24T12:52:33.120Z`
_STAMP_BYTES = 24
_NUMBERED = re.compile(r"(.+)~\d+", re.DOTALL)
#: Later than any moment.
_EVER = "9999"
#: How a record begins (`Job.to_record`, in the order of its fields), where nothing in it is escaped. One that looks
#: otherwise is read whole.
_HEAD = re.compile(
    rb'\{"id":"([^"\\]+)","serial":\d+,"arrival":(\d+),"name":"([^"\\]*)"(?:,"sub":"([^"\\]*)")?'
    rb'(?:,"form":"\w+")?,"state":"(\w+)"'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a listener hears. `before` is None for a new job; `progress` tells that only its progress moved."""

    job: Job
    before: Job | None
    progress: bool = False
    record: bytes | None = None  # the job as its record says it, for who keeps many (`job_of`)

    @property
    def of_state(self) -> bool:
        return self.before is None or self.before.state is not self.job.state


Listener = Callable[[Change], None]


def utc_now() -> datetime:
    return datetime.now(UTC)


def job_of(record: bytes) -> Job:
    """The job that a record tells of."""
    return Job.from_record(loads(record))


class Ledger:
    """All jobs."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = utc_now, sync: str = "always") -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.db = JournalDB(path / "state.json", sync=sync)  # type: ignore[arg-type]
        self.now = now
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._live: dict[str, int] = {}  # id → number of its record, for jobs that are not over
        self._values: OrderedDict[int, Job] = OrderedDict()  # by number: those asked for last
        self._running: dict[int, Job] = {}  # those that render: their progress is in no record
        self._by_key: dict[str, int] = {}  # folded key → number of the job not over
        self._order: list[tuple[int, int, int]] = []  # the queue: (-priority, arrival, number)
        self._eldest: int | None = None  # the lowest number in it, where that is known
        self._asleep: dict[int, str] = {}  # queued, and may not start before this moment
        self._arriving: dict[int, int] = {}  # not queued yet: number → arrival
        self._serials: dict[str, int] = {}  # id → number of its record, for jobs that are over
        self._over: list[int] = []  # those numbers in order
        self._newest_over: dict[str, int] = {}  # folded key → number of the newest record that is over
        self._numbered: set[str] = set()  # folded keys that jobs over had with a number behind them
        self._by_sub: dict[str, dict[int, None]] = {}  # sub-folder → numbers of its jobs not over
        self._by_file: dict[str, dict[str, int]] = {}  # sub → file name → number of the job never begun
        self._begun: set[int] = set()
        self._told: list[Change] | None = None
        self.serial = 0
        self.arrival = 0
        self.counts: dict[State, int] = dict.fromkeys(State, 0)
        self._load()

    def _load(self) -> None:
        with collecting_nothing():
            self._load_all()

    def _load_all(self) -> None:
        over = {str(state).encode() for state in State if is_over(state)}
        counts: dict[str, int] = {}
        queued: list[Job] = []
        for serial, record in sorted(self.db.documents(JOBS).all_packed()):
            self.serial = serial
            head = _HEAD.match(record)
            if head is not None and head[5] in over:  # no `Job` is made of it: there may be a hundred thousand
                job_id, arrival, name, sub, state = head.groups()
                self.arrival = max(self.arrival, int(arrival))
                counts[state.decode()] = counts.get(state.decode(), 0) + 1
                key = f"{sub.decode()}/{name.decode()}" if sub else name.decode()
                self._index_over(job_id.decode(), key, serial)
                continue
            job = job_of(record)
            self.arrival = max(self.arrival, job.arrival)
            counts[job.state] = counts.get(job.state, 0) + 1
            if job.over:
                self._index_over(job.id, job.key, serial)
                continue
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
            for change in told:
                self._tell(change)

    def _remember(self) -> tuple[Any, ...]:
        # A failed transaction is rare (a full disk), so what it touched is put back job by job from the listeners'
        # list rather than by copying fifty thousand entries before each one.
        return (self.serial, self.arrival)

    def _recall(self, memory: tuple[Any, ...]) -> None:
        self._live.clear()
        self._values.clear()
        self._running.clear()
        self._by_key.clear()
        self._order.clear()
        self._eldest = None
        self._asleep.clear()
        self._arriving.clear()
        self._serials.clear()
        self._over.clear()
        self._newest_over.clear()
        self._numbered.clear()
        self._by_sub.clear()
        self._by_file.clear()
        self._begun.clear()
        self.counts = dict.fromkeys(State, 0)
        self._load()
        self.serial, self.arrival = max(self.serial, memory[0]), max(self.arrival, memory[1])

    # -- reading --------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            serial = self._live.get(job_id)
            if serial is None:
                serial = self._serials.get(job_id)
            return None if serial is None else self._from(serial)

    def knows(self, job_id: str) -> bool:
        """Is there a job of this id? Makes no value of it."""
        with self._lock:
            return job_id in self._live or job_id in self._serials

    def _from(self, serial: int) -> Job | None:
        """The job of a record, as a value that stays for a while."""
        with self._lock:
            found = self._running.get(serial) or self._values.get(serial)
            if found is not None:
                if serial in self._values:
                    self._values.move_to_end(serial)
                return found
            job = self._read(serial)
            if job is not None:
                self._keep_value(job)
            return job

    def _read(self, serial: int) -> Job | None:
        """The same, for who walks through many and asks for none again."""
        with self._lock:
            found = self._running.get(serial) or self._values.get(serial)
            if found is not None:
                return found
            record = self.db.documents(JOBS).packed(serial)
        return None if record is None else job_of(record)

    def _keep_value(self, job: Job) -> None:
        self._values[job.serial] = job
        self._values.move_to_end(job.serial)
        while len(self._values) > _VALUES:
            self._values.popitem(last=False)

    def record_of(self, job: Job) -> bytes | None:
        """A job's record, as text shared with the ledger: for who keeps many (`job_of`)."""
        return self.db.documents(JOBS).packed(job.serial)

    def live(self) -> Sequence[Job]:
        """All jobs that are not over at this moment, in no order; each is made a value when its turn comes."""
        with self._lock:
            return _Jobs(list(self._live.values()), self._read)

    def live_by_key(self, key: str) -> Job | None:
        with self._lock:
            serial = self._by_key.get(naming.fold(key))
            return None if serial is None else self._from(serial)

    def has_live(self, key: str) -> bool:
        """Is a job of this key not over? Makes no value of it."""
        with self._lock:
            return naming.fold(key) in self._by_key

    def live_by_file(self, sub: str, name: str) -> Job | None:
        """The job never begun whose file in the inbox has this name."""
        with self._lock:
            serial = self._by_file.get(sub, {}).get(name)
            return None if serial is None else self._from(serial)

    def live_in(self, sub: str) -> list[Job]:
        """The jobs not over of one sub-folder."""
        with self._lock:
            return self._all(self._by_sub.get(sub, ()))

    def _all(self, serials: Iterable[int]) -> list[Job]:
        return [job for serial in serials if (job := self._read(serial)) is not None]

    def begun(self) -> list[Job]:
        """The jobs not over that have left the inbox: few."""
        with self._lock:
            return list(filter(None, map(self._from, self._begun)))

    def newest_over(self, key: str) -> Job | None:
        with self._lock:
            serial = self._newest_over.get(naming.fold(key))
            return None if serial is None else self._from(serial)

    def ended_at(self, key: str) -> str | None:
        """When the newest job of this key that is over ended, or was noted upon last; None where there is none. Makes
        no value of it."""
        with self._lock:
            serial = self._newest_over.get(naming.fold(key))
            record = None if serial is None else self.db.documents(JOBS).packed(serial)
        if record is None:
            return None
        return (_stamp(record, b'"finished_at":"', b"") or _stamp(record, b'"updated_at":"', b"")).decode()

    def is_newest_over(self, job: Job) -> bool:
        """Is no later job of the same key over? Makes no value of any."""
        with self._lock:
            return self._newest_over.get(naming.fold(job.key), job.serial) == job.serial

    def has_numbered(self, key: str) -> bool:
        """Can there be jobs over that are called by this key and a number, as in `spot~2`?"""
        with self._lock:
            return naming.fold(key) in self._numbered

    def queue(self, limit: int | None = None) -> list[Job]:
        """The queued jobs in the order they will be taken."""
        with self._lock:
            if limit is not None:
                return list(filter(None, (self._from(entry[2]) for entry in self._order[:limit])))
            return self._all(entry[2] for entry in self._order)

    def eldest(self) -> Job | None:
        """The queued job that came first, wherever it stands."""
        with self._lock:
            if self._eldest is None:  # asked at each beat, of a queue of any length: looked for where it was lost
                self._eldest = min((entry[2] for entry in self._order), default=None)
            return None if self._eldest is None else self._from(self._eldest)

    def first(self, may_start: Callable[[Job], bool]) -> Job | None:
        """The first queued job, in order, that may start. One that is held, or whose time has not come, is not asked
        for: there may be thousands before it."""
        with self._lock:
            now = self.stamp()
            for _, _, serial in self._order:
                job = self._read(serial) if self._asleep.get(serial, "") <= now else None
                if job is not None and may_start(job):
                    return job
            return None

    def position(self, job: Job) -> int | None:
        """1 for the next one; None for a job that is not queued."""
        with self._lock:
            if job.state is not State.QUEUED:
                return None
            return bisect_left(self._order, _place(job)) + 1

    def line(self) -> tuple[list[Job], list[tuple[int, int, int]], list[tuple[int, int]]]:
        """All that are not over, of one moment, without making values of those that wait: the jobs that render; the
        queue as (-priority, arrival, number); what is still arriving as (arrival, number)."""
        with self._lock:
            running = list(filter(None, map(self._from, self._running)))
            return running, self._order[:], sorted((arrival, serial) for serial, arrival in self._arriving.items())

    def by_number(self, serial: int) -> Job | None:
        """The job with this number, if it is known."""
        with self._lock:
            return self._from(serial)

    def over(self, *, below: int | None = None, newest_first: bool = True) -> Iterator[Job]:
        """Jobs that are over, newest first by default; with `below`, those whose number is smaller. Made one by one
        from where it begins: a page of them costs a page, however deep it lies."""
        if not newest_first:
            with self._lock:
                serials = self._over[:]
            yield from filter(None, map(self._read, serials))
            return
        while serials := self._over_below(below):
            yield from filter(None, map(self._read, reversed(serials)))
            below = serials[0]

    def _over_below(self, below: int | None) -> list[int]:
        """The next numbers of jobs that are over, a handful."""
        with self._lock:
            end = len(self._over) if below is None else bisect_left(self._over, below)
            return self._over[max(0, end - _HANDFUL) : end]

    def over_since(self, stamp: str) -> Iterator[Job]:
        """Jobs that ended at that moment or after, each made a value when its turn comes."""
        return (job for job in self.ended(since=stamp) if _ended(job) >= stamp)

    def ended(self, *, since: str = "", until: str = _EVER) -> Iterator[Job]:
        """Jobs over that ended between two moments, or were noted upon then. No value is made of those that ended
        before, which may be a hundred thousand: their records' own last stamps tell."""
        first, last = since.encode(), until.encode()
        with self._lock:
            over, records = set(self._over), self.db.documents(JOBS).all_packed()
        for serial, record in records:
            if serial not in over:
                continue
            if _stamp(record, b'"updated_at":"', b"") >= first and _stamp(record, b'"finished_at":"', b"") <= last:
                job = job_of(record)
                if job.over:
                    yield job

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

    def take_arrival(self) -> int:
        """The next place among all that come, for one that is recorded later."""
        with self._lock:
            self.arrival += 1
            return self.arrival

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
            record = self._save(job)
            self.serial, self.arrival = max(self.serial, serial), max(self.arrival, arrival)
            self.counts[job.state] += 1
            if job.over:
                self._index_over(job.id, job.key, serial)
            else:
                self._index(job)
            self._tell(Change(job=job, before=None, record=record))
            return job

    def apply(
        self,
        job_id: str,
        event: Event,
        why: str,
        *,
        at: str | None = None,
        after: tuple[Event, str] | None = None,
        **changes: Any,
    ) -> Job:
        """Change a job's state by the table: one saved transaction. Raises `states.Refused`, and KeyError for a job
        that is over or unknown. `at`: when it came about, where that has been written down before. `after`: an event,
        and why, that came right before; recorded together with this one, told before it."""
        with self._lock:
            before = self._known(job_id)
            moment = self.stamp() if at is None else max(at, before.updated_at)
            found = before if after is None else before.advance(after[0], at=moment, why=after[1], waiting_for=())
            job = found.advance(event, at=moment, why=why, **changes)
            self._swap(before, job, between=None if found is before else found)
            return job

    def note(self, job_id: str, why: str | None = None, **changes: Any) -> Job:
        """Record facts about a job without changing its state; `why` adds a line to its history."""
        with self._lock:
            before = self.get(job_id)
            if before is None:
                raise KeyError(job_id)
            job = before.noted(at=self.stamp(), why=why, **changes)
            self._swap(before, job)
            return job

    def _known(self, job_id: str) -> Job:
        job = self._from(self._live[job_id])
        if job is None:
            raise KeyError(job_id)
        return job

    def progress(self, job_id: str, progress: Progress, eta: Mapping[str, Any] | None = None) -> None:
        """Tell the listeners how far a render is. Not saved: a restart begins the render anew."""
        with self._lock:
            before = self._running.get(self._live.get(job_id, 0))
            if before is None:
                return
            job = before.but(progress=progress, eta=dict(eta) if eta is not None else before.eta)
            self._running[job.serial] = job
            self._tell(Change(job=job, before=before, progress=True))

    def forget(self, job_ids: list[str]) -> None:
        """Drop jobs that are over from the record (retention)."""
        with self._lock, self.db.transaction():
            for job_id in job_ids:
                serial = self._serials.pop(job_id, None)
                if serial is None:
                    continue
                del self._over[bisect_left(self._over, serial)]
                job = self._read(serial)
                self.db.delete(JOBS, serial)
                self._values.pop(serial, None)
                if job is not None:
                    self.counts[job.state] -= 1
                    folded = naming.fold(job.key)
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

    def _save(self, job: Job) -> bytes:
        return self.db.put(JOBS, job.serial, job.to_record())

    def _swap(self, before: Job, job: Job, *, between: Job | None = None) -> None:
        """`between`: what it was for a moment, which no record tells, and those who listen hear of."""
        record = self._save(job)
        self.counts[before.state] -= 1
        self.counts[job.state] += 1
        if before.over:
            self._keep_value(job)
        elif job.over:
            self._unindex(before)
            self._index_over(job.id, job.key, job.serial)
            self._keep_value(job)
        elif _found_by(before) != _found_by(job):
            self._unindex(before)
            self._index(job)
        else:  # what it is found by stays as it is, and so do the texts that fifty thousand of them share
            self._unplace(before)
            self._put_in_place(job)
        if between is not None:
            self._tell(Change(job=between, before=before))
        self._tell(Change(job=job, before=between or before, record=record))

    def _index(self, job: Job, *, in_order: bool = True) -> None:
        self._live[job.id] = job.serial
        self._by_key[naming.fold(job.key)] = job.serial
        self._by_sub.setdefault(job.sub, {})[job.serial] = None
        if job.begun:
            self._begun.add(job.serial)
        else:
            self._by_file.setdefault(job.sub, {})[job.file] = job.serial
        self._put_in_place(job, in_order=in_order)

    def _put_in_place(self, job: Job, *, in_order: bool = True) -> None:
        if job.state is State.RENDERING:
            self._running[job.serial] = job
            return
        if job.state is not State.QUEUED:
            self._arriving[job.serial] = job.arrival
        else:
            if in_order:
                insort(self._order, _place(job))
            if self._eldest is not None:
                self._eldest = min(self._eldest, job.serial)
            if job.hold or job.cancel_requested:
                self._asleep[job.serial] = _EVER
            elif job.scheduled_at is not None:
                self._asleep[job.serial] = job.scheduled_at
        if in_order:
            self._keep_value(job)

    def _unindex(self, job: Job) -> None:
        self._unplace(job)
        del self._live[job.id]
        self._begun.discard(job.serial)
        self._by_sub.get(job.sub, {}).pop(job.serial, None)
        _drop(self._by_key, naming.fold(job.key), job.serial)
        _drop(self._by_file.get(job.sub, {}), job.file, job.serial)

    def _unplace(self, job: Job) -> None:
        self._values.pop(job.serial, None)
        self._running.pop(job.serial, None)
        self._arriving.pop(job.serial, None)
        self._asleep.pop(job.serial, None)
        if job.state is State.QUEUED:
            self._unqueue(job)

    def _index_over(self, job_id: str, key: str, serial: int) -> None:
        self._serials[job_id] = serial
        if self._over and self._over[-1] > serial:
            insort(self._over, serial)
        else:
            self._over.append(serial)
        folded = naming.fold(key)
        if self._newest_over.get(folded, 0) < serial:
            self._newest_over[folded] = serial
        if "~" in folded and (numbered := _NUMBERED.fullmatch(folded)):
            self._numbered.add(numbered[1])

    def _unqueue(self, job: Job) -> None:
        index = bisect_left(self._order, _place(job))
        if index < len(self._order) and self._order[index][2] == job.serial:
            del self._order[index]
            if self._eldest == job.serial:
                self._eldest = None


def _drop(index: dict[str, int], key: str, serial: int) -> None:
    if index.get(key) == serial:
        del index[key]


def _place(job: Job) -> tuple[int, int, int]:
    return (-job.priority, job.arrival, job.serial)


def _ended(job: Job) -> str:
    return job.finished_at or job.updated_at


def _stamp(record: bytes, name: bytes, otherwise: bytes) -> bytes:
    """The last stamp of this name in a record: a job's own comes after those of its attempts."""
    at = record.rfind(name)
    return record[at + len(name) : at + len(name) + _STAMP_BYTES] if at >= 0 else otherwise


class _Jobs(Sequence[Job]):
    """Jobs by their numbers, each read when it is asked for."""

    def __init__(self, serials: list[int], read: Callable[[int], Job | None]) -> None:
        self._serials = serials
        self._read = read

    def __len__(self) -> int:
        return len(self._serials)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        if isinstance(index, slice):
            return list(_Jobs(self._serials[index], self._read))
        job = self._read(self._serials[index])
        if job is None:
            raise IndexError(index)
        return job

    def __iter__(self) -> Iterator[Job]:
        for serial in self._serials:
            job = self._read(serial)
            if job is not None and not job.over:
                yield job


def _found_by(job: Job) -> tuple[object, ...]:
    return job.key, job.file, job.begun
