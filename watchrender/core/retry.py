"""When again, or never? Pure: tenacity's strategies put together, and the breaker for a machine that fails everybody.

Nothing sleeps here: a wait is a number of seconds that the ledger keeps as `not_before`, so a restart resumes it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Protocol

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_exponential, wait_random
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


def waiting(settings: RetrySettings) -> wait_base:
    """Exponential from `first_wait`, capped at `max_wait`, then spread by up to `jitter` of `first_wait`."""
    backoff = wait_exponential(multiplier=settings.first_wait, max=settings.max_wait)
    return backoff + wait_random(0, settings.first_wait * settings.jitter)


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


def probe_wait(tries: int, *, first: float = 1.0, longest: float = 60.0) -> float:
    """Seconds between two looks at a broken environment: doubling, at most a minute."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = max(1, tries)
    return float(wait_exponential(multiplier=first, max=longest)(state))


@dataclass(kw_only=True)
class Breaker:
    """Five attempts of different jobs in a row with the same code and last error line: the machine is at fault.

    `failed` answers the jobs of the row, each with its tries in it, when it is full; one success empties it.
    """

    limit: int = 5
    row: deque[tuple[str, Code, str]] = field(default_factory=lambda: deque(maxlen=1000))

    def succeeded(self) -> None:
        self.row.clear()

    def failed(self, job_id: str, failure: Failure, last_line: str) -> Counter[str]:
        """One more attempt of the row. The jobs in it with their tries when this one fills it, else nothing."""
        if self.row and self.row[-1][1:] != (failure.code, last_line):
            self.row.clear()
        self.row.append((job_id, failure.code, last_line))
        tries = Counter(entry[0] for entry in self.row)
        return tries if len(tries) >= self.limit else Counter()
