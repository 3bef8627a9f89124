"""While one job renders, what the next ones need is brought near (`render/ahead.py`). Nothing is recorded, moved or
decided: an urgent job that comes meanwhile still goes first, and a job is judged again when it is taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from loguru import logger

from watchrender.core import clock
from watchrender.core.failure import Failure
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.judge import Judged
from watchrender.ledger.ledger import Change, Ledger
from watchrender.render.footage import Footage

#: How many of the queue are looked at.
DEPTH = 3
#: A render that is over sooner leaves nothing to gain, and a look at the next job would be in its way.
AFTER_SECONDS = 0.5
#: Who has shown no frame for so long after its start may read on for long: the next job's footage waits no more.
OPENING_SECONDS = 10.0


class LookAhead:
    """A thread of its own; a fault in it costs nothing but the gain."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        footage: Footage,
        judged: Callable[[Job], Judged | Failure],
        current: Callable[[], str | None],
    ) -> None:
        """`judged`: may this job run, and what are its sources? `current`: the job that holds the slot."""
        self._ledger = ledger
        self._footage = footage
        self._judged = judged
        self._current = current
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._done: dict[str, tuple[str, object]] = {}  # job id → what it was when its sources were brought
        self._thread = threading.Thread(target=self._work, name="ahead", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def heard(self, change: Change) -> None:
        """A listener of the ledger. Never blocks."""
        if change.of_state and change.job.state in (State.RENDERING, State.QUEUED):
            self._wake.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            running = self._current()
            if running is None or self._stopping.wait(AFTER_SECONDS) or self._current() != running:
                continue
            try:
                self._look(running)
            except Exception as error:  # whoever takes the job will find out, and say so
                logger.debug("what the next job needs could not be brought near: {}", str(error))

    def _look(self, running: str) -> None:
        stamp = self._ledger.stamp()
        queue = self._ledger.queue(DEPTH)
        self._done = {job.id: self._done[job.id] for job in queue if job.id in self._done}
        wanted: list[tuple[Job, Judged]] = []
        for job in queue:
            if job.hold or (job.not_before or "") > stamp or self._done.get(job.id) == _version(job):
                continue
            judged = self._judged(job)
            if isinstance(judged, Judged) and judged.may_run:
                wanted.append((job, judged))
        for are_links in (True, False):  # links first: a copy may have to wait, and nothing has to wait for it
            for job, judged in wanted:
                if self._current() != running or self._stopping.is_set():
                    return
                self._bring(job, judged, are_links)

    def _bring(self, job: Job, judged: Judged, are_links: bool) -> None:
        self._footage.bring_ahead(
            judged.text.document,
            resolved={} if are_links else judged.resolved,
            links=judged.links if are_links else {},
            stop=lambda: self._stopping.is_set() or self._is_gone(job),
            later=self._is_opening,
        )
        if not are_links:
            self._done[job.id] = _version(job)

    def _is_opening(self) -> bool:
        """Does After Effects open its project, and read the footage that the first frame needs? A copy from the volume
        where that lies would share the line with it."""
        job = self._ledger.get(self._current() or "")
        if job is None or job.state is not State.RENDERING or job.started_at is None:
            return False
        if job.progress is not None and job.progress.frame:
            return False
        return 0 <= clock.seconds_between(job.started_at, self._ledger.stamp()) < OPENING_SECONDS

    def _is_gone(self, job: Job) -> bool:
        found = self._ledger.get(job.id)
        return found is None or found.over or found.cancel_requested


def _version(job: Job) -> tuple[str, object]:
    return job.file, job.stamp
