"""Who waits for the new job of a retry: the order writes a file, and the job is there when the inbox is looked at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from watchrender.core.job import Job
from watchrender.ledger.ledger import Change


class Retries:
    """Thread-safe: hears of changes in any thread, is awaited on the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: dict[str, list[asyncio.Future[Job]]] = {}

    def heard(self, change: Change) -> None:
        job = change.job
        if change.before is not None or job.retry_of is None or job.retry_of not in self._expected:
            return
        with self._lock:
            waiting = list(self._expected.get(job.retry_of, ()))
        for future in waiting:
            try:
                future.get_loop().call_soon_threadsafe(_settle, future, job)
            except RuntimeError:
                pass  # the loop has ended

    @contextmanager
    def expect(self, old_id: str) -> Iterator[asyncio.Future[Job]]:
        """The job that will say it is a retry of that one."""
        future: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._expected.setdefault(old_id, []).append(future)
        try:
            yield future
        finally:
            with self._lock:
                self._expected[old_id].remove(future)
                if not self._expected[old_id]:
                    del self._expected[old_id]


def _settle(future: asyncio.Future[Job], job: Job) -> None:
    if not future.done():
        future.set_result(job)
