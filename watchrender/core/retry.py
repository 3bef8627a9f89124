"""When again, or never? Pure: tenacity's strategies put together, and the breaker for a machine that fails everybody.

Nothing sleeps here: a wait is a number of seconds that the ledger keeps as `not_before`, so a restart resumes it.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_exponential
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from watchrender.core.failure import CATALOGUE, Code, Failure, Kind


class RetrySettings(Protocol):
    """The part of the config that decides about retries; times in seconds."""

    @property
    def max_retries(self) -> int: ...
    @property
    def first_wait(self) -> float: ...
    @property
    def max_wait(self) -> float: ...
    @property
    def jitter(self) -> float: ...


class Spread(wait_base):
    """Another strategy's wait and up to a share of it more, never beyond `longest`."""

    def __init__(self, wait: wait_base, share: float, longest: float) -> None:
        self.wait, self.share, self.longest = wait, share, longest

    def __call__(self, retry_state: RetryCallState) -> float:
        return min(self.longest, self.wait(retry_state) * (1 + random.random() * self.share))


def waiting(settings: RetrySettings) -> wait_base:
    """Exponential from `first_wait`, spread by `jitter` so that machines do not march in step, at most `max_wait`."""
    backoff = wait_exponential(multiplier=settings.first_wait, max=settings.max_wait)
    return Spread(backoff, settings.jitter, settings.max_wait)


def stopping(max_retries: int, failure: Failure) -> stop_base:
    """One try and `max_retries` more, or fewer where the catalogue says so for this code."""
    fewer = CATALOGUE[failure.code].retries
    return stop_after_attempt(1 + (max_retries if fewer is None else min(max_retries, fewer)))


#: Only what may pass by itself is tried again.
RETRY: retry_base = retry_if_result(lambda failure: failure.kind is Kind.TRANSIENT)


def wait_before_next(settings: RetrySettings, max_retries: int, number: int, failure: Failure) -> float | None:
    """Seconds until the next try after try `number` (from 1) ended with `failure`; None: never again.

    A code with fewer retries counts its own repeats only through `number`: the caller passes how often this job
    has ended with this code where the catalogue limits it.
    """
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = number
    state.set_result(failure)
    if not RETRY(state) or stopping(max_retries, failure)(state):
        return None
    return float(waiting(settings)(state))


def probe_wait(tries: int, *, longest: float = 60.0) -> float:
    """Seconds between two looks at a broken environment: doubling from 1, at most `longest`."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = max(1, tries)
    return float(wait_exponential(multiplier=1.0, max=longest)(state))


def longest_probe(max_wait: float) -> float:
    """Seconds at most between two jobs that try a machine that is broken: as long as a job waits at most for its next
    try, within reason."""
    return min(60.0, max(5.0, max_wait))


@dataclass(kw_only=True)
class Rest:
    """When a queued job may be looked at again, by the monotonic clock: the wall clock may jump."""

    _until: dict[str, float] = field(default_factory=dict)

    def until(self, job_id: str, moment: float) -> None:
        self._until[job_id] = moment

    def over(self, job_id: str) -> None:
        self._until.pop(job_id, None)

    def known(self, job_id: str) -> bool:
        return job_id in self._until

    def ready(self, job_id: str, now: float) -> bool:
        return now >= self._until.get(job_id, now)


@dataclass(kw_only=True)
class Breaker:
    """Five attempts of different jobs in a row with the same code and last error line: the machine is at fault.

    Once it has tripped, every further attempt that ends the same way is the machine's fault too, until one success,
    or other words, show that it is not.
    """

    limit: int = 5
    _words: tuple[Code, str] | None = None
    _row: list[str] = field(default_factory=list)  # job ids, one for each attempt whose try still counts
    _different: set[str] = field(default_factory=set)

    @property
    def jobs(self) -> int:
        """How many different jobs have ended this way in a row."""
        return len(self._different)

    def succeeded(self) -> None:
        self._words, self._row, self._different = None, [], set()

    def failed(self, job_id: str, failure: Failure, last_line: str) -> Counter[str]:
        """One more attempt has failed. How many tries of which jobs do not count; empty: the machine is not at fault.

        Each try is given back once: this attempt's is among them, and once tripped it is the only one.
        """
        if self._words != (failure.code, last_line):
            self.succeeded()
            self._words = (failure.code, last_line)
        self._row.append(job_id)
        self._different.add(job_id)
        if self.jobs < self.limit:
            return Counter()
        row, self._row = self._row, []
        return Counter(row)
