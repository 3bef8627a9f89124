"""The status files on the share: a listener of the ledger with its own writer thread.

`status/<sub>/<job>.status.json` for every job that is not over, and for a day after; `queue.json`, `service.json` and
`index.html`. Written beside and renamed over, newest state wins, a final one is tried until it is in. A share that
hangs blocks this thread and nobody else.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from loguru import logger
from pydantic_core import to_json as dumps

from watchrender import disk
from watchrender.core import clock, naming, status
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.spool.folders import STATUS_SUFFIX, read_status

TURN_SECONDS = 0.25
PROGRESS_SECONDS = 1.0
QUEUE_SECONDS = 2.0
BEAT_SECONDS = 2.0
PAGE_SECONDS = 4.0
#: Expected times move while nothing else does: a render that says nothing goes on all the same.
MOVING_SECONDS = 10.0
FRESH_POSITIONS = 20
RETRY_SECONDS = 2.0
MOVED_SECONDS = 2.0
#: A job that is over and whose files are about to move is told of when they lie in their place, or after so long.
ARRIVING_SECONDS = 0.5
#: A job that has just come is looked at next, and told of then, or after so long: else each would get two files.
NEW_SECONDS = 0.3
#: Files of jobs are written for so long before the overviews get their turn, so many at a stretch.
SLICE_SECONDS = 0.5
SLICE = 100
#: What a start asks of the file of a job that the record knows. There is one for each job of the last day, and whole
#: they would need more memory than the record.
_HEAD = ("id", "job", "state", "folder", "finished_at")


def to_json(value: Any) -> bytes:
    try:
        return dumps(value, indent=1)  # a tenth of the time that the standard library takes
    except ValueError:  # a file name that is no UTF-8
        pass
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")


def status_name(name: str) -> str:
    return f"{name}{STATUS_SUFFIX}"


class StatusWriter:
    """Hears of changes (`changed`), writes files in its own thread.

    `queue_document` and `service_document` are asked for the two overview files when they are due; `is_online` says
    whether the root may be written to at all, `may_beat` whether it is still ours to say that we serve it. With
    `newest`, which gives a job by its id, no job is kept here until its file is written: there may be fifty thousand.
    `is_moving` says whether the files of a job that is over are on their way to their last place.
    """

    def __init__(
        self,
        folder: Path,
        *,
        queue_document: Callable[[], Mapping[str, Any]],
        service_document: Callable[[], Mapping[str, Any]],
        positions: Callable[[], list[Job]],
        etas: Callable[[], Mapping[str, dict[str, Any]]] = dict,
        newest: Callable[[str], Job | None] | None = None,
        is_moving: Callable[[Job], bool] = lambda _job: False,
        page: Callable[[Mapping[str, Any], Mapping[str, Any]], str] | None = None,
        is_online: Callable[[], bool] = lambda: True,
        may_beat: Callable[[], bool] = lambda: True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._queue_document = queue_document
        self._service_document = service_document
        self._positions = positions
        self._etas = etas
        self._newest = newest
        self._is_moving = is_moving
        self._page = page  # (queue.json, service.json) → index.html
        self._page_due = 0.0
        self._is_online = is_online
        self._may_beat = may_beat
        self._clock = now
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._due: dict[str, tuple[Job | str, float]] = {}  # key → newest state, or its id; when it may be written
        self._new: dict[str, tuple[Job | str, float]] = {}  # the same of those that have just come
        self._written: dict[str, float] = {}  # key → when it was last written, of jobs that render
        self._placed: dict[str, tuple[int, Mapping[str, Any]]] = {}  # id → position and eta that its file says
        self._gone: set[str] = set()
        self._made: set[str] = set()
        self._queue_due = 0.0
        self._queue_dirty = True
        self._queue_told: Mapping[str, Any] | None = None
        self._beat_due = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="status", daemon=True)
        self.refused: str | None = None  # the last refusal, for the health page

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Write what is due, then end."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def changed(self, job: Job, *, progress: bool) -> None:
        """A job has changed. Never blocks."""
        # Who reads "cancelled" looks into cancelled/ next: the files are on their way there.
        arrives = self._clock() + ARRIVING_SECONDS if self._is_moving(job) else None
        one = job if self._newest is None else job.id
        with self._lock:
            self._gone.discard(job.key)
            self._queue_dirty = True
            if _has_just_come(job) and job.key not in self._due:
                if not self._new:
                    self._wake.set()  # so that it is waited for no longer than that
                _, due = self._new.get(job.key) or (one, self._clock() + NEW_SECONDS)
                self._new[job.key] = (one, due)
                return
            self._new.pop(job.key, None)
            last = self._written.get(job.key)
            due = last + PROGRESS_SECONDS if progress and last is not None else 0.0
            known = self._due.get(job.key)
            due = arrives if arrives is not None else min(due, known[1]) if known else due
            self._due[job.key] = (one, due)
        if not progress:
            self._wake.set()

    def gone(self, key: str) -> None:
        """Its day is over: remove the status file."""
        with self._lock:
            if key not in self._due and key not in self._new:
                self._gone.add(key)

    def beat_now(self) -> None:
        """The service's own state changed: write service.json at once, and the queue, which tells of it too."""
        self._beat_due = 0.0
        self._queue_dirty = True
        self._wake.set()

    def path(self, key: str) -> Path:
        sub, _, name = key.rpartition("/")
        return (self._folder / sub if sub else self._folder) / status_name(name)

    def tells(self, job: Job) -> bool:
        """Does the job's file tell of its newest change? Reads it."""
        said = read_status(self.path(job.key))
        return said is not None and said["id"] == job.id and str(said.get("updated_at") or "") >= job.updated_at

    # -- the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._wake.wait(self._rest())
            self._wake.clear()
            stopping = self._stopping
            if self._is_online():
                self._survive(stopping)
            if stopping:
                return

    def _rest(self) -> float:
        """How long to wait for news: a short while where a file is due soon, or a render tells how far it is."""
        if self._due or self._new or self._gone or self._written or self._queue_dirty:
            return TURN_SECONDS
        left = self._beat_due - self._clock()
        return TURN_SECONDS if left <= 0 else max(0.05, min(1.0, left))  # overdue: something refuses, or is away

    def _survive(self, stopping: bool) -> None:
        # A fault in one document must not leave all the others standing still for ever.
        try:
            self._turn(everything=stopping)
        except Exception:
            logger.exception("a fault while the status files were written; the next turn tries again")

    def _turn(self, *, everything: bool = False) -> None:
        now = self._clock()
        self._look_at_new(now, everything)
        left = len(self._due)  # not those that a disk refuses now: they are for another turn
        while left > 0 and (ready := self._ready(now, everything)):
            left -= len(ready)
            for job in ready:
                self._write_status(job, now)
            if not everything and self._clock() - now >= SLICE_SECONDS:
                self._wake.set()  # the beat must not stand still behind a full inbox: others would take us for dead
                break
        self._remove_gone()
        if everything or self._is_queue_due(now):
            self._queue_dirty = False
            self._queue_due = now + QUEUE_SECONDS
            self._queue_told = self._queue_document()
            self._write(self._folder / "queue.json", self._queue_told)
            self._refresh_positions()
        if everything or now >= self._beat_due:
            self._beat_due = now + BEAT_SECONDS
            if not self._may_beat():
                return
            self._write(self._folder / "service.json", self._service_document())
        if self._page is not None and (everything or now >= self._page_due):
            self._page_due = now + PAGE_SECONDS
            # What queue.json tells, told again: an idle service need not make it anew for the page every few seconds.
            text = self._page(self._queue_told or self._queue_document(), self._service_document())
            self._write_bytes(self._folder / "index.html", text.encode("utf-8", "replace"))

    def _is_queue_due(self, now: float) -> bool:
        if now < self._queue_due:
            return False
        return self._queue_dirty or (now >= self._queue_due + MOVING_SECONDS and bool(self._positions()))

    def _look_at_new(self, now: float, everything: bool) -> None:
        """Those that came a while ago are due now, though nothing is known of them yet."""
        with self._lock:
            waited = [key for key, _ in takewhile(lambda item: everything or now >= item[1][1], self._new.items())]
            self._due.update({key: (self._new.pop(key)[0], 0.0) for key in waited})

    def _ready(self, now: float, everything: bool) -> list[Job]:
        """The next whose files may be written, a handful; none when there are no more. Half of them are those that
        changed last: in a full inbox, who dropped one job more must not wait for the files of all others."""
        while True:
            with self._lock:
                ends = (self._due.items(), reversed(self._due.items()))
                due = ((key for key, (_, at) in items if everything or now >= at) for items in ends)
                keys = list(dict.fromkeys(chain.from_iterable(islice(half, SLICE // 2) for half in due)))
                found = [self._due.pop(key)[0] for key in keys]
                # now, not when it is done: what is heard meanwhile comes a second later
                self._written.update(dict.fromkeys(keys, now))
            ready = [job for one in found if (job := self._job(one)) is not None]
            rendering = {job.key for job in ready if job.state is State.RENDERING}
            with self._lock:
                for key in keys:
                    if key not in rendering:
                        self._written.pop(key, None)
            if ready or not keys:
                return ready

    def _job(self, one: Job | str) -> Job | None:
        if isinstance(one, Job):
            return one
        return self._newest(one) if self._newest is not None else None

    def _write_status(self, job: Job, now: float, position: int | None = None) -> None:
        placed = self._placed.get(job.id)
        if job.state is not State.QUEUED:
            self._placed.pop(job.id, None)
        elif position is None and placed is not None:
            position = placed[0]
        eta = self._etas().get(job.id) if position is not None else None
        if self._write(self.path(job.key), status.document(job, position=position, eta=eta)):
            return
        with self._lock:
            self._due.setdefault(job.key, (job if self._newest is None else job.id, now + RETRY_SECONDS))

    def _refresh_positions(self) -> None:
        first = self._positions()[:FRESH_POSITIONS]
        etas = self._etas()
        for position, job in enumerate(first, start=1):
            eta = etas.get(job.id, {})
            known = self._placed.get(job.id)
            if known is None or known[0] != position or _says_other(known[1], eta):
                self._placed[job.id] = (position, eta)
                self._write_status(job, self._clock(), position)
        for left in set(self._placed) - {job.id for job in first}:
            del self._placed[left]

    def _remove_gone(self) -> None:
        with self._lock:
            gone, self._gone = self._gone, set()
        for key in gone:
            try:
                disk.remove(self.path(key))
            except OSError:
                with self._lock:
                    self._gone.add(key)

    def _write(self, path: Path, found: Mapping[str, Any]) -> bool:
        return self._write_bytes(path, to_json(found))

    def _write_bytes(self, path: Path, data: bytes) -> bool:
        parent = os.path.dirname(path)  # as text: asked for each file of a full inbox
        try:
            if parent not in self._made:
                disk.mkdirs(path.parent)
                self._made.add(parent)
            disk.write(path, data, durable=False)
        except OSError as error:
            self._made.discard(parent)
            self.refused = f"{path}: {error.strerror or error}"
            return False
        self.refused = None
        return True


def _has_just_come(job: Job) -> bool:
    """Has nothing happened to it yet?"""
    return job.state is State.PENDING and len(job.history) == 1 and job.history[0]["at"] == job.updated_at


def _says_other(told: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if told.get("basis") != now.get("basis"):
        return True
    return any(_has_moved(told.get(name), now.get(name)) for name in ("starts_at", "done_at"))


def _has_moved(told: str | None, now: str | None) -> bool:
    """Has an expected time moved so far that people would notice?"""
    if told is None or now is None:
        return told != now
    return abs(clock.seconds_between(told, now)) >= MOVED_SECONDS


def read_statuses(folder: Path, *, known: Callable[[str], bool] = lambda _id: False) -> dict[str, dict[str, Any]]:
    """All status files below status/: folded key → document; of jobs that are `known` no more than `_HEAD`. For a
    rebuild from the folders."""
    found: dict[str, dict[str, Any]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.endswith(STATUS_SUFFIX):
                said = read_status(Path(place) / name)
                if said is not None and isinstance(said.get("job"), str):
                    is_known = known(str(said["id"]))
                    found[naming.fold(said["job"])] = {key: said.get(key) for key in _HEAD} if is_known else said
    return found
