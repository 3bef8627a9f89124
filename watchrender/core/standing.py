"""How a job that was handed over stands, and what follows from it. Pure: it is told what was heard, and when.

Nothing that a farm says is the end of a job. What goes wrong with a uid is told from what goes wrong with the job: the
first costs no try.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from watchrender.core.failure import Code, Failure, fail

#: A job that the server lacks in so many good answers in a row is not there.
_MISSING_OFTEN = 2
#: A server that loses a job so often is at fault itself.
_FORGETS_OFTEN = 3
#: So often a job is handed over again because its uid seems spoiled; then it is gone on with, and a copy is judged.
_SPOILED_OFTEN = 3
#: Once may be a share that tells of the last bytes late.
_MOVES_OFTEN = 2
#: A share that tells late of other machines' files does so within so many times what a file needs to settle.
_COMES_WITHIN_SETTLES = 3.0


class Phase(StrEnum):
    """What nexrender-server's many states mean to us."""

    WAITING = "waiting"  # no worker has it
    WORKING = "working"
    FINISHED = "finished"  # so says the worker: the film is still to be judged
    FAILED = "failed"


_PHASES = {
    "created": Phase.WAITING,
    "queued": Phase.WAITING,
    "finished": Phase.FINISHED,
    "error": Phase.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the server says of one job."""

    uid: str
    state: str
    percent: float | None = None  # nexrender's own: coarse, and sometimes of an earlier run
    error: str = ""
    executor: str | None = None  # None: its worker did not pick it up by the server's lock, so another may have it too
    updated: str | None = None
    seconds: float | None = None  # how long After Effects rendered, by the worker's clock
    copies: int = 1  # how often the server has this uid

    @property
    def phase(self) -> Phase:
        return _PHASES.get(self.state, Phase.WORKING)

    @property
    def news(self) -> tuple[str, float | None, str | None]:
        """What is different when a render has come further. The time of a change is not: it may change by itself."""
        return self.state, self.percent, self.executor

    @property
    def who(self) -> str:
        return f"the worker {self.executor}" if self.executor else "a worker"


@dataclass(frozen=True, kw_only=True)
class Standings:
    """How the jobs stand. A job that was asked for and is not in `jobs` is not known to the server."""

    jobs: Mapping[str, Standing]
    strangers: tuple[str, ...] = ()  # jobs that were not asked for; nothing where each was asked for by itself


# --- handing over -----------------------------------------------------------------------------------------------------


def has_room(*, most: int, handed: int, leaving: int, landing: int, closed: bool) -> bool:
    """May one more job be handed over? Few are, so that a late urgent one goes first; a uid that is given up counts
    until it has left; and films that come back faster than they can be looked into do not pile up. Where the queue
    waits for something, one at a time tries."""
    if handed + leaving >= most or landing >= most:
        return False
    return not (closed and handed)


# --- a uid of which nothing good can come -----------------------------------------------------------------------------


def spoiled(before: Standing | None, now: Standing) -> str | None:
    """Why nothing good can come of this uid any more."""
    if now.copies > 1:
        return "nexrender-server has it twice"
    if before is None:
        return None
    if now.phase is Phase.WAITING and before.phase is Phase.WORKING:
        return "nexrender-server says that no worker has it any more (an older database, or its worker was stopped)"
    if before.executor and now.executor and before.executor != now.executor:
        return "a second worker took it"
    # Workers without the lock say "started" once, and nothing more until the end: a second time was a second worker.
    is_again = now.state == before.state == "started" and now.executor is None
    if is_again and now.updated != before.updated and now.percent == before.percent:
        return "two workers took it at once"
    return None


def is_tried_anew(spoiled_before: int) -> bool:
    """Is a job whose uid is spoiled handed over again? So often, it is the server that tells it wrongly, or a farm on
    which it cannot be helped."""
    return spoiled_before < _SPOILED_OFTEN


def is_gone(missing: int) -> bool:
    """Is a job gone that so many good answers in a row lack?"""
    return missing >= _MISSING_OFTEN


def is_forgetful(vanished: int) -> bool:
    """Is a server at fault itself that has lost one job so often?"""
    return vanished >= _FORGETS_OFTEN


# --- a render that takes too long -------------------------------------------------------------------------------------


def over_limit(said: Standing, *, worked: float, silent: float, render: float, stall: float) -> Failure | None:
    """Has its worker had it for too long, or given no sign of life for too long? Seconds, all of them."""
    of_whom = f" by {said.executor}" if said.executor else ""
    if worked >= render:
        return fail(Code.RENDER_TIMEOUT, f"The render{of_whom} took longer than it may ({render:g} s).")
    if silent < stall:
        return None
    return fail(
        Code.RENDER_STALLED,
        f"The render{of_whom} stood still for {stall:g} s: no news from the worker (last: {said.state}),"
        " and the film did not grow.",
        cure="See whether the worker still runs; if frames take that long, raise limits.stall or stall_timeout.",
    )


def failed_without_a_word(said: Standing) -> Failure:
    """Old workers' errors lose their words on the way."""
    who = said.who[0].upper() + said.who[1:]
    return fail(
        Code.RENDER_FAILED,
        f"{who} ended the render with an error and did not say which.",
        cure="See the log of the workers; newer ones than 1.8 tell the server their errors.",
    )


# --- a film that comes back -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Stillness:
    """Does a film stand still into which a second worker may be writing?"""

    size: Any = None
    since: float | None = None
    moves: int = 0

    def seen(self, size: Any, now: float) -> Stillness:
        """It has this size now."""
        if self.since is None:
            return replace(self, size=size, since=now)
        return self if size == self.size else self.moved()

    def moved(self) -> Stillness:
        return Stillness(moves=self.moves + 1)

    def has_lasted(self, now: float, seconds: float) -> bool:
        return self.since is not None and now - self.since >= seconds

    @property
    def is_disturbed(self) -> bool:
        """Is somebody else at it?"""
        return self.moves >= _MOVES_OFTEN


def may_come_yet(since: float, settle: float) -> bool:
    """So many seconds after its worker was finished, may a film that is not there, or not whole, still show up?"""
    return since < _COMES_WITHIN_SETTLES * settle
