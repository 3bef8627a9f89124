"""Which jobs, in which order, page by page.

Those that render, then the queue in its order, then those that are still arriving, then those over, newest first. Who
asks for a first page gets the jobs as they stand at that moment, each once, however they move while the other pages are
fetched: the line of those that are not over is kept for a while. A cursor names that line, and a place in the order
beside it: where the line is forgotten (a restart, many readers), the pages go on from the place.
"""

from __future__ import annotations

import re
import secrets
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from watchrender.core import naming
from watchrender.core.job import Job
from watchrender.core.states import OVER, State
from watchrender.ledger.ledger import Ledger

MOST = 500
#: What a cursor looks like: a place, and the line it belongs to with the number of jobs of it that were looked at.
CURSOR = r"[0-3](\.-?[0-9]{1,18}){0,3}(_[0-9a-f]{12}\.[0-9]{1,9})?"
#: Jobs over that one request looks at: a search in a long history comes in several pages, some of them short.
MOST_LOOKED_AT = 20_000
#: Lines that are kept, and the jobs in all of them.
MOST_LINES, MOST_IN_LINES = 50, 300_000

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
        if self.sub is not None and not _is_inside(_folded(job.sub), _folded(self.sub)):
            return False
        if self.tag is not None and self.tag not in job.tags:
            return False
        code = str(job.error.get("code", "")) if job.error else ""
        if self.code is not None and code != self.code:
            return False
        return self.q is None or _has_words(self.q, job, code)

    def may_be(self, states: frozenset[State]) -> bool:
        return self.states is None or bool(self.states & states)


@lru_cache(maxsize=4096)
def _folded(sub: str) -> str:
    """A sub-folder as keys are compared, however its ends are written."""
    return naming.fold(sub).strip("/")


def _is_inside(sub: str, wanted: str) -> bool:
    return sub == wanted or bool(wanted and sub.startswith(f"{wanted}/"))


def _has_words(q: str, job: Job, code: str) -> bool:
    text = " ".join((job.key, job.id, job.template or "", job.composition or "", code, *job.tags))
    folded = naming.fold(text)
    return all(word in folded for word in naming.fold(q).split())


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A job, and its position in the queue if it is queued."""

    job: Job
    position: int | None


@dataclass(frozen=True, kw_only=True)
class _Line:
    """The jobs that were not over when a first page was asked for, in order."""

    stands: list[Place]  # their numbers come last in each; made of the ledger's own, which costs nothing for each job
    newest: int  # the number of the newest job at that moment: later ones belong to no page of this line

    @cached_property
    def known(self) -> frozenset[int]:
        """Their numbers."""
        return frozenset(stand[-1] for stand in self.stands)


@dataclass(frozen=True, kw_only=True)
class _Cursor:
    """A place, and how much of which line was looked at."""

    place: Place
    line: str = ""
    looked_at: int = 0

    @classmethod
    def read(cls, text: str) -> _Cursor:
        if not re.fullmatch(CURSOR, text):
            raise NoCursor(text)
        place, _, rest = text.partition("_")
        line, _, looked_at = rest.partition(".")
        return cls(place=tuple(map(int, place.split("."))), line=line, looked_at=int(looked_at or 0))

    def __str__(self) -> str:
        place = ".".join(map(str, self.place))
        return f"{place}_{self.line}.{self.looked_at}" if self.line else place


class Pages:
    """Pages of jobs, and the lines that somebody is in the middle of. Thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._lines: OrderedDict[str, _Line] = OrderedDict()

    def page(self, wanted: Wanted, *, limit: int, cursor: str | None) -> tuple[list[Listed], str | None]:
        """A page of jobs, and the cursor of the next one. Raises `NoCursor`."""
        at = _Cursor(place=(0,)) if cursor is None else _Cursor.read(cursor)
        line = self._known(at.line)
        if line is None:
            line, at = _line_up(self._ledger, wanted, at.place), _Cursor(place=at.place)
        found: list[Listed] = []
        over = 0
        for looked_at, stands, job in _walk(self._ledger, wanted, line, at):
            if len(found) >= limit or over >= MOST_LOOKED_AT:
                return found, str(_Cursor(place=at.place, line=self._keep(at.line, line), looked_at=at.looked_at))
            over += job.over
            at = _Cursor(place=stands or at.place, line=at.line, looked_at=looked_at)
            if wanted.matches(job):
                found.append(Listed(job=job, position=self._ledger.position(job)))
        return found, None

    def _known(self, name: str) -> _Line | None:
        with self._lock:
            line = self._lines.get(name)
            if line is not None:
                self._lines.move_to_end(name)
            return line

    def _keep(self, name: str, line: _Line) -> str:
        """The name of a line that is gone on with; none for one without jobs."""
        if name or not line.stands:
            return name
        name = secrets.token_hex(6)
        with self._lock:
            self._lines[name] = line
            while len(self._lines) > MOST_LINES or (
                len(self._lines) > 1 and sum(len(kept.stands) for kept in self._lines.values()) > MOST_IN_LINES
            ):
                self._lines.popitem(last=False)
        return name


def every(ledger: Ledger, wanted: Wanted) -> Iterator[Job]:
    """All jobs that match, however many."""
    start = _Cursor(place=(0,))
    return (job for _, _, job in _walk(ledger, wanted, _line_up(ledger, wanted, (0,)), start) if wanted.matches(job))


def place(job: Job) -> Place:
    """Where a job stands in the order."""
    if job.over:
        return (_OVER, -job.serial)
    if job.state is State.QUEUED:
        return (_RANKS[job.state], -job.priority, job.arrival, job.serial)
    return (_RANKS[job.state], job.arrival, job.serial)


def _line_up(ledger: Ledger, wanted: Wanted, after: Place) -> _Line:
    newest = ledger.serial  # before the look: what comes in between is in the line, and nowhere else
    if after[0] >= _OVER or not wanted.may_be(frozenset(State) - OVER):
        return _Line(stands=[], newest=newest)
    running, queue, arriving = ledger.line()
    begun = sorted((job.arrival, job.serial) for job in running)
    parts: list[tuple[int, Sequence[Place]]] = [(0, begun), (1, queue), (2, arriving)]
    ranks = {_RANKS[state] for state in _RANKS if wanted.may_be(frozenset({state}))}
    stands: list[Place] = []
    for rank, stand in parts:
        if rank in ranks and rank >= after[0]:
            stands += stand[bisect_right(stand, after[1:]) :] if rank == after[0] else stand
    return _Line(stands=stands, newest=newest)


def _walk(ledger: Ledger, wanted: Wanted, line: _Line, at: _Cursor) -> Iterator[tuple[int, Place | None, Job]]:
    """Jobs from a cursor on, each with how much of the line was looked at then, and its place; one of the line that has
    ended meanwhile has none in it any more."""
    for number in range(at.looked_at, len(line.stands)):
        job = ledger.by_number(line.stands[number][-1])
        if job is not None:
            yield number + 1, None if job.over else place(job), job
    if not wanted.may_be(OVER):
        return
    below = -at.place[1] if at.place[0] == _OVER and len(at.place) > 1 else line.newest + 1
    for job in ledger.over(below=below):
        if job.serial not in line.known:
            yield len(line.stands), place(job), job
