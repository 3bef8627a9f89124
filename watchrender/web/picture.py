"""What the stream knows of all jobs: kept from its own messages, so a snapshot is of exactly one message's time.

A job that waits is kept as its record, the very text that the ledger keeps: fifty thousand cost nothing twice.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from watchrender.core import status
from watchrender.core.job import Job
from watchrender.core.states import State, is_over
from watchrender.ledger.ledger import job_of

QUEUED_SHOWN = 200
ARRIVING_SHOWN = 200
OVER_SHOWN = 50

#: When a queued job will start and end; None where the job itself knows best.
Eta = Callable[[Job], dict[str, Any] | None]
_Place = tuple[int, int, str]


class Picture:
    """All jobs that are not over, and the last that are. Only the loop touches it."""

    def __init__(
        self,
        live: Iterable[Job],
        over: Iterable[Job],
        counts: Mapping[State, int],
        record_of: Callable[[Job], bytes | None] = lambda _job: None,
    ) -> None:
        self._live: dict[str, Job | bytes] = {}
        self._rendering: dict[str, None] = {}
        self._arriving: dict[str, None] = {}
        self._queue: list[_Place] = []
        self._over: dict[str, Job] = {}
        self._ended: list[tuple[str, str]] = []  # (when, id), oldest first
        self.counts = {str(state): counts.get(state, 0) for state in State}
        for job in live:
            self._put(job, record_of(job))
        for job in over:
            self._put_over(job)

    def take(self, job: Job, before: State | None, record: bytes | None = None) -> None:
        """A job has changed; `before` is its state until now, None for a new one; `record` its text in the ledger."""
        if before is not job.state:
            self.counts[job.state] += 1
            if before is not None:
                self.counts[before] -= 1
        self._drop(job.id)
        if not job.over:
            self._put(job, record)
        elif job.id in self._over or before is None or not is_over(before):
            self._put_over(job)

    def take_progress(self, job: Job) -> None:
        if job.id in self._live:
            self._live[job.id] = job

    def recount(self, counts: Mapping[str, int]) -> None:
        """Jobs that are forgotten (retention) leave without a message; the record's own counts put that right."""
        self.counts = {str(state): counts.get(str(state), 0) for state in State}

    def get(self, job_id: str) -> Job | None:
        return self._read(job_id) or self._over.get(job_id)

    def _read(self, job_id: str) -> Job | None:
        found = self._live.get(job_id)
        return job_of(found) if isinstance(found, bytes) else found

    def position(self, job: Job) -> int | None:
        if job.state is not State.QUEUED:
            return None
        return bisect_left(self._queue, _place(job)) + 1

    def queue(self, limit: int) -> list[str]:
        """The ids of the next ones."""
        return [job_id for _, _, job_id in self._queue[:limit]]

    def documents(self, eta: Eta) -> list[dict[str, Any]]:
        """The jobs in work, the first of the queue, and the last that are over, newest first."""
        ids = [*self._rendering, *self.queue(QUEUED_SHOWN), *islice(self._arriving, ARRIVING_SHOWN)]
        jobs = [job for job_id in ids if (job := self._read(job_id)) is not None]
        jobs += [self._over[job_id] for _, job_id in reversed(self._ended)]
        return [self.document(job, eta) for job in jobs]

    def document(self, job: Job, eta: Eta) -> dict[str, Any]:
        return status.document(job, position=self.position(job), eta=eta(job))

    # -- inside ---------------------------------------------------------------------------------------------

    def _put(self, job: Job, record: bytes | None) -> None:
        self._live[job.id] = job if record is None or job.state is State.RENDERING else record
        if job.state is State.QUEUED:
            insort(self._queue, _place(job))
        else:
            (self._rendering if job.state is State.RENDERING else self._arriving)[job.id] = None

    def _drop(self, job_id: str) -> None:
        if job_id in self._rendering or job_id in self._arriving:
            self._rendering.pop(job_id, None)
            self._arriving.pop(job_id, None)
            del self._live[job_id]
            return
        job = self._read(job_id)
        if job is not None:
            del self._live[job_id]
            index = bisect_left(self._queue, _place(job))
            if index < len(self._queue) and self._queue[index][2] == job_id:
                del self._queue[index]

    def _put_over(self, job: Job) -> None:
        ended = (job.finished_at or job.updated_at, job.id)
        if job.id in self._over:
            self._ended = [entry for entry in self._ended if entry[1] != job.id]
        insort(self._ended, ended)
        self._over[job.id] = job
        while len(self._ended) > OVER_SHOWN:
            del self._over[self._ended.pop(0)[1]]


def _place(job: Job) -> _Place:
    return (-job.priority, job.arrival, job.id)
