"""May a render start now, and if not, why not? One answer for worker, page, command and status files.

Three things close the gate: a person (pause, drain, stop), the environment (a failure of that kind: the queue waits,
jobs keep their tries), and the end of the service. An environment failure is looked at again with backoff: where a look
tells (a file is there again, a disk has room) the look decides; where only a render tells (a licence), one job is let
through and its success opens the gate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from loguru import logger

from watchrender.core import retry
from watchrender.core.failure import Code, Failure

#: Failures that only a render can prove gone.
TRIED_BY_RENDER = frozenset({Code.LICENSE, Code.NEXRENDER_BROKEN, Code.RENDERS_KEEP_FAILING})
#: A look costs next to nothing: whoever has mended what a look had found waits no longer than this until it is seen.
#: What a render has found is tried by renders, or by one that follows a look, and those cost much.
LONGEST_LOOK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One thing that the queue waits for."""

    failure: Failure
    since: str
    tries: int
    look_at: float  # monotonic seconds
    by_render: bool


class Gate:
    """Thread-safe; `wake` is set whenever an answer may have changed."""

    def __init__(
        self, *, stamp: Callable[[], str], clock: Callable[[], float] = time.monotonic, longest_wait: float = 60.0
    ) -> None:
        """`longest_wait`: seconds between two jobs that try what a render has found wrong."""
        self._stamp = stamp
        self._clock = clock
        self._longest = longest_wait
        self._lock = threading.Lock()
        self._waiting: dict[Code, Waiting] = {}
        self._ended: dict[Code, float] = {}  # when it was last over
        self._tries: dict[Code, int] = {}  # kept until a render succeeds: a look may lie where a quota is full
        self._listeners: list[Callable[[], None]] = []
        self.wake = threading.Event()
        self.paused = False
        self.draining = False
        self.stopping = False
        self.put_back = False  # a person said stop: the running render is put back, whatever `shutdown` says
        self.at_once = False  # and is given no time to end by itself

    def listen(self, listener: Callable[[], None]) -> None:
        """Hear that something about the gate changed. Never blocks."""
        self._listeners.append(listener)

    def _changed(self) -> None:
        self.wake.set()
        for listener in self._listeners:
            listener()

    # -- people ---------------------------------------------------------------------------------------------

    def pause(self, paused: bool) -> None:
        if self.paused != paused:
            self.paused = paused
            logger.info("queue paused" if paused else "queue resumed")
            self._changed()

    def drain(self) -> None:
        """Finish what renders, then end the service."""
        if not self.draining:
            self.draining = True
            logger.info("draining: the running render is finished, then the service ends")
            self._changed()

    def stop(self, *, put_back: bool = False, now: bool = False) -> None:
        """The service ends."""
        self.put_back |= put_back
        self.at_once |= now
        if not self.stopping:
            self.stopping = True
            self._changed()

    # -- environment ----------------------------------------------------------------------------------------

    def wait_for(self, failure: Failure) -> None:
        """The environment is at fault: close, and look again with backoff. Said in the log once."""
        self._close(failure, self._longest)

    def _close(self, failure: Failure, longest: float) -> None:
        with self._lock:
            now, known = self._clock(), self._waiting.get(failure.code)
            if known is not None and now < known.look_at:
                # Others are refused the same meanwhile: that is no look in vain, and puts none off.
                self._waiting[failure.code] = replace(known, failure=failure)
            else:
                tries = self._tries[failure.code] = self._tries.get(failure.code, 0) + 1
                self._waiting[failure.code] = Waiting(
                    failure=failure,
                    since=known.since if known else self._stamp(),
                    tries=tries,
                    look_at=now + retry.probe_wait(tries, longest=longest),
                    by_render=failure.code in TRIED_BY_RENDER,
                )
        if known is None:
            said = failure.message.rstrip(".")
            logger.bind(code=str(failure.code)).warning("the queue waits: {}. {}", said, failure.cure)
        if known is None or known.failure.message != failure.message:
            self._changed()

    def clear(self, code: Code, how: str = "") -> None:
        with self._lock:
            known = self._waiting.pop(code, None)
            if known is not None:
                self._ended[code] = self._clock()
        if known is not None:
            logger.bind(code=str(code)).info("the queue goes on: {} is over{}", str(code), how)
            self._changed()

    def looked(self, found: dict[Code, Failure], looked_for: frozenset[Code]) -> None:
        """The answer of a look at the environment: what is found wrong now, of what was looked for."""
        for failure in found.values():
            self._close(failure, LONGEST_LOOK_SECONDS)
        for code in looked_for - set(found):
            known = self._waiting.get(code)
            if known is not None and not known.by_render:
                self.clear(code)

    def rendered(self) -> None:
        """A render succeeded: whatever only a render can prove is over."""
        self._tries.clear()
        for waiting in list(self._waiting.values()):
            if waiting.by_render:
                self.clear(waiting.failure.code, " (a render succeeded)")

    def look_due(self) -> bool:
        """Is it time to look at the environment again?"""
        now = self._clock()
        return any(not waiting.by_render and now >= waiting.look_at for waiting in list(self._waiting.values()))

    def hurry(self) -> None:
        """Look again at once (an operator asked, a probe elsewhere succeeded)."""
        with self._lock:
            self._waiting = {code: replace(found, look_at=0.0) for code, found in self._waiting.items()}
        self.wake.set()

    # -- answers --------------------------------------------------------------------------------------------

    def waiting(self) -> list[Failure]:
        return [found.failure for found in list(self._waiting.values())]

    def waiting_since(self) -> dict[str, str]:
        return {str(code): found.since for code, found in list(self._waiting.items())}

    def waited_since(self, code: Code, moment: float) -> bool:
        """Has the queue waited for this at any time since that moment of the monotonic clock?"""
        with self._lock:
            return code in self._waiting or self._ended.get(code, float("-inf")) >= moment

    def may_start(self) -> bool:
        """May a render start? While only renders can tell, one is let through each time its look is due."""
        if self.paused or self.draining or self.stopping:
            return False
        now = self._clock()
        return all(found.by_render and now >= found.look_at for found in list(self._waiting.values()))

    def open(self) -> bool:
        """Open without reservation: what /readyz says."""
        return not (self.paused or self.draining or self.stopping or self._waiting)

    def mood(self) -> str:
        """In one word, how the queue is."""
        if self.draining:
            return "draining"
        if self.paused:
            return "paused"
        return "waiting" if self.waiting() else "running"

    def why(self) -> str | None:
        """One sentence for whoever wonders why nothing renders."""
        waiting = self.waiting()
        if waiting:
            return f"{waiting[0].message.rstrip('.')}. {waiting[0].cure}"
        if self.paused:
            return "paused: a _PAUSE lies in the inbox; remove it, or run `watchrender resume`"
        if self.draining:
            return "draining: the running render is finished, then the service ends"
        return None

    def stopped(self) -> str | None:
        """Why nobody can tell when the next job starts; None: it starts when its turn comes."""
        return None if self.open() or self.stopping else f"the queue is {self.mood()}"
