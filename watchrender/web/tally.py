"""What came to its end in each hour of the last day: for the plot. Thread-safe."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from watchrender.core import clock
from watchrender.core.states import OVER, State
from watchrender.ledger.ledger import Ledger

HOURS = 24


class Tally:
    """Counts by hour and state; what is older than a day is dropped."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, State]] = Counter()

    def seed(self, ledger: Ledger) -> None:
        """Take what the record knows already."""
        oldest = clock.stamp(self._hour() - timedelta(hours=HOURS))
        for job in ledger.ended(since=oldest):
            if job.finished_at is not None and job.finished_at >= oldest:
                self.take(job.state, job.finished_at)

    def take(self, state: State, ended: str) -> None:
        with self._lock:
            self._counts[_hour_of(ended), state] += 1

    def hours(self) -> list[dict[str, Any]]:
        """The last 24 hours, oldest first; the last one is under way."""
        this = self._hour()
        stamps = [clock.stamp(this - timedelta(hours=back)) for back in reversed(range(HOURS))]
        with self._lock:
            for key in [key for key in self._counts if key[0] < _hour_of(stamps[0])]:
                del self._counts[key]
            counts = dict(self._counts)
        return [
            {"at": stamp} | {str(state): counts.get((_hour_of(stamp), state), 0) for state in sorted(OVER)}
            for stamp in stamps
        ]

    def _hour(self) -> datetime:
        return self._now().replace(minute=0, second=0, microsecond=0)


def _hour_of(stamp: str) -> str:
    return stamp[:13]  # stamps are UTC, and sort as they read
