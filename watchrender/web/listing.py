"""Which jobs, in which order, page by page.

Those that render, then the queue in its order, then those that are still arriving, then those over, newest first. A
cursor is a place in that order, not a count: what comes and goes meanwhile neither repeats nor hides a job.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from watchrender.core.job import Job
from watchrender.core.states import OVER, State
from watchrender.ledger.ledger import Ledger

MOST = 500
#: What a cursor looks like: a place.
CURSOR = r"[0-3](\.-?[0-9]{1,18}){0,3}"
#: Jobs over that one request looks at: a search in a long history comes in several pages, some of them short.
MOST_LOOKED_AT = 20_000

Place = tuple[int, ...]
_RANKS = {State.RENDERING: 0, State.QUEUED: 1, State.VALIDATING: 2, State.PENDING: 2}
_OVER = 3


class NoCursor(ValueError):
    """This is no cursor of ours."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A filter; what is None matches everything."""

    states: frozenset[State] | None = None
    sub: str | None = None  # with its own sub-folders
    q: str | None = None  # all words somewhere in key, id, template, composition, tags or error code
    tag: str | None = None
    code: str | None = None

    def matches(self, job: Job) -> bool:
        if self.states is not None and job.state not in self.states:
            return False
        if self.sub is not None and job.sub != self.sub and not (self.sub and job.sub.startswith(f"{self.sub}/")):
            return False
        if self.tag is not None and self.tag not in job.tags:
            return False
        code = str(job.error.get("code", "")) if job.error else ""
        if self.code is not None and code != self.code:
            return False
        return self.q is None or _has_words(self.q, job, code)

    def may_be(self, states: frozenset[State]) -> bool:
        return self.states is None or bool(self.states & states)


def _has_words(q: str, job: Job, code: str) -> bool:
    text = " ".join((job.key, job.id, job.template or "", job.composition or "", code, *job.tags)).casefold()
    return all(word in text for word in q.casefold().split())


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A job, and its position in the queue if it is queued."""

    job: Job
    position: int | None


def page(ledger: Ledger, wanted: Wanted, *, limit: int, cursor: str | None) -> tuple[list[Listed], str | None]:
    """A page of jobs, and the cursor of the next one. Raises `NoCursor`."""
    after = None if cursor is None else _read(cursor)
    found: list[Listed] = []
    looked_at, last = 0, after
    for listed in _all(ledger, wanted, after):
        if len(found) >= limit or looked_at >= MOST_LOOKED_AT:
            return found, _write(last or (0,))
        looked_at += listed.job.over
        last = place(listed.job)
        if wanted.matches(listed.job):
            found.append(listed)
    return found, None


def every(ledger: Ledger, wanted: Wanted) -> Iterator[Job]:
    """All jobs that match, however many."""
    return (listed.job for listed in _all(ledger, wanted, None) if wanted.matches(listed.job))


def place(job: Job) -> Place:
    """Where a job stands in the order."""
    if job.over:
        return (_OVER, -job.serial)
    if job.state is State.QUEUED:
        return (_RANKS[job.state], -job.priority, job.arrival, job.serial)
    return (_RANKS[job.state], job.arrival, job.serial)


def _all(ledger: Ledger, wanted: Wanted, after: Place | None) -> Iterator[Listed]:
    if wanted.may_be(frozenset(State) - OVER) and (after is None or after[0] < _OVER):
        yield from (listed for listed in _live(ledger, wanted) if after is None or place(listed.job) > after)
    if wanted.may_be(OVER):
        for job in ledger.over():
            if after is None or place(job) > after:
                yield Listed(job=job, position=None)


def _live(ledger: Ledger, wanted: Wanted) -> list[Listed]:
    found = []
    if wanted.may_be(frozenset({State.QUEUED})):
        found = [Listed(job=job, position=number) for number, job in enumerate(ledger.queue(), start=1)]
    others = frozenset({State.RENDERING, State.VALIDATING, State.PENDING})
    if wanted.may_be(others):
        found += [Listed(job=job, position=None) for job in ledger.live() if job.state in others]
    return sorted(found, key=lambda listed: place(listed.job))


def _write(found: Place) -> str:
    return ".".join(map(str, found))


def _read(cursor: str) -> Place:
    if not re.fullmatch(CURSOR, cursor):
        raise NoCursor(cursor)
    return tuple(map(int, cursor.split(".")))
