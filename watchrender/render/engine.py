"""Run one attempt: start it, read it, watch its limits, end all of it. What became of the film is not judged here.

The limits, each read anew while it runs:

* `render`        from the start, altogether;
* `startup`       from the start of aerender to the first line of the render; what comes before it is not counted here;
* `stall`         no new line, no growing file, and next to no CPU time in the whole tree (`life.py`);
* `finish_grace`  from After Effects' last word ("Total Time Elapsed") to its end. It is off once nexrender has seen
                  aerender end: what runs then are the job's actions, and those may take their time.

The time that this machine slept, or that we ourselves were not run, is held against nobody.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from watchrender.render import evidence
from watchrender.render.awake import keep_awake
from watchrender.render.evidence import Evidence
from watchrender.render.life import Growth, Life
from watchrender.render.lines import Lines
from watchrender.render.process import Tree, TreeRecord
from watchrender.render.rawlog import CAP, RawLog

_TURN_SECONDS = 0.08  # `asked` is heard at least this often
_PROGRESS_SECONDS = 0.25
_LIMITS_SECONDS = 0.5  # how old a limit may be when it is used
_SLEPT_SECONDS = 30.0  # a turn that took longer was not a turn: the machine slept, or we were stopped
_HELD_SECONDS = 1.0  # how long to listen to silence when the first process is over and somebody holds its output
_AFTERMATH_SECONDS = 30.0  # and how long if that one goes on talking
_LAST_WORDS_SECONDS = 2.0
_LAST_LINES = 200
_LINE_LENGTH = 2000


@dataclass(frozen=True, kw_only=True)
class Limits:
    """In seconds."""

    render: float
    startup: float
    stall: float
    finish_grace: float
    terminate_grace: float


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What is to be run."""

    marker: str  # unique among all attempts of all services of this machine
    command: tuple[str, ...]
    env: Mapping[str, str]  # the whole environment; the marker is added
    cwd: Path
    watch: tuple[Path, ...]  # folders whose growth is a sign of life
    log: Path  # the output is appended to it as it comes
    limits: Limits


class Ended(StrEnum):
    """Which limit, or whose wish, ended the process tree."""

    STARTUP = "startup"
    STALL = "stall"
    RENDER = "render"
    FINISH_GRACE = "finish_grace"
    STOP = "stop"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    code: int | None = None  # exit code of the first process; None after a signal, or if it never ran
    signal: int | None = None
    ended: Ended | None = None  # None: it ended by itself
    seconds: float = 0.0
    evidence: str | None = None  # of an attempt that ran into a limit
    screenshot: Path | None = None
    last_lines: tuple[str, ...] = ()
    not_started: str | None = None  # what the system said instead of starting it
    left: tuple[int, ...] = ()  # pids that could not be ended


class Transcript(Protocol):
    """Who reads the lines, and what the limits need to know from it."""

    def feed(self, line: str, at: float) -> object: ...
    @property
    def stage(self) -> object: ...
    @property
    def aerender_started(self) -> bool: ...
    @property
    def render_started(self) -> bool: ...
    @property
    def elapsed_seen(self) -> bool: ...
    @property
    def rendered_seen(self) -> bool: ...


class Engine(Protocol):
    """What the worker needs of an engine: one attempt at a time, from its start to the end of its last process."""

    def run(
        self,
        attempt: Attempt,
        transcript: Transcript,
        *,
        asked: Callable[[], Ended | None],
        recorded: Callable[[TreeRecord], None],
        progress: Callable[[], None],
        limits: Callable[[], Limits] | None = None,
        grace: Callable[[], float] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> Outcome:
        """Run it. `asked`: shall it end, and as what? `recorded`: keep this on disk, before and after the start.
        `progress`: the transcript has something new. `limits`, `grace`: those of now, where they may change; `grace`
        is asked while a stop waits, so that a second request can make it 0."""


Starter = Callable[[Attempt, Callable[[TreeRecord], None]], Tree]


class CliEngine:
    """Runs a command and watches its process tree."""

    def __init__(
        self,
        *,
        awake: Callable[[], AbstractContextManager[object]] = keep_awake,
        busy_seconds: float = 1.0,
        log_cap: int = CAP,
        start: Starter | None = None,
    ) -> None:
        """`busy_seconds`: less CPU time than this within `limits.stall` is no work. `start` starts the tree of an
        attempt in a way of its own (`warm.py`)."""
        self._start = start or start_cold
        self._awake = awake
        self._busy_seconds = busy_seconds
        self._log_cap = log_cap

    def run(
        self,
        attempt: Attempt,
        transcript: Transcript,
        *,
        asked: Callable[[], Ended | None],
        recorded: Callable[[TreeRecord], None],
        progress: Callable[[], None],
        limits: Callable[[], Limits] | None = None,
        grace: Callable[[], float] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> Outcome:
        limits = limits or (lambda: attempt.limits)
        grace = grace or (lambda: limits().terminate_grace)
        log = RawLog(attempt.log, time.monotonic, cap=self._log_cap)
        watch = _Watch(
            attempt, transcript, log=log, progress=progress, limits=limits, now=now, busy_seconds=self._busy_seconds
        )
        try:
            tree = _start(attempt, recorded, self._start)
        except _NotStartedError as error:
            return watch.not_started(error.words)
        try:
            with tree, self._awake():  # leaving the tree ends it, also when something raises
                return watch.over(tree, asked, grace)
        finally:
            watch.close()


class _NotStartedError(Exception):
    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


def start_cold(attempt: Attempt, recorded: Callable[[TreeRecord], None]) -> Tree:
    """Start the tree of an attempt from nothing. Raises OSError and ValueError where the system refuses."""
    return Tree.start(attempt.command, env=attempt.env, cwd=attempt.cwd, marker=attempt.marker, recorded=recorded)


def _start(attempt: Attempt, recorded: Callable[[TreeRecord], None], start: Starter) -> Tree:
    refused: list[BaseException] = []

    def record(found: TreeRecord) -> None:
        try:
            recorded(found)
        except BaseException as error:
            refused.append(error)
            raise

    try:
        return start(attempt, record)
    except (OSError, ValueError) as error:
        if refused:
            raise  # our own record was refused, not the command
        raise _NotStartedError(f"{attempt.command[0] if attempt.command else '(nothing)'}: {error}") from error


class _Watch:
    """One attempt while it runs."""

    def __init__(
        self,
        attempt: Attempt,
        transcript: Transcript,
        *,
        log: RawLog,
        progress: Callable[[], None],
        limits: Callable[[], Limits],
        now: Callable[[], float],
        busy_seconds: float,
    ) -> None:
        self._attempt = attempt
        self._told = transcript
        self._log = log
        self._progress = progress
        self._clock = _Clock(now)
        self._limits = _Fresh(limits, self._clock)
        self._began = self._clock()
        self._life = Life(self._began, busy_seconds=busy_seconds)
        self._growth = Growth(attempt.watch)
        self._lines = Lines()
        self._waiting_lines: deque[str] = deque()
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._launched_at: float | None = None
        self._elapsed_at: float | None = None
        self._gone_at: float | None = None
        self._heard_at = self._began
        self._sampled_at = self._walked_at = self._began
        self._told_at = float("-inf")
        self._told_stage = transcript.stage
        self._is_news = False

    def over(self, tree: Tree, asked: Callable[[], Ended | None], grace: Callable[[], float]) -> Outcome:
        """Watch until it is over, by itself or by us."""
        ended = None
        while ended is None and not self._has_ended(tree):
            self._read(tree, _TURN_SECONDS)
            self._report()
            self._sample(tree)
            self._log.tick()
            ended = asked() or self._limit_reached()
            if ended in _OF_SILENCE and self._was_deaf(tree, ended):
                ended = None
        found = self._evidence(tree, ended) if ended else None
        # By itself or not: nobody of its tree may outlive it, the next render would share the machine with them.
        stopped = tree.stop(grace, meanwhile=lambda: self._read_while_stopping(tree))
        self._read_last_words(tree)
        code = tree.poll()
        return Outcome(
            code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            ended=ended,
            seconds=self._clock() - self._began,
            evidence=found.text if found else None,
            screenshot=found.screenshot if found else None,
            last_lines=tuple(self._last_lines),
            left=stopped.left,
        )

    def not_started(self, words: str) -> Outcome:
        """The command is not there, or may not be run."""
        self._feed(f"The command could not be started: {words}")
        self._log.note(f"the command could not be started: {words}")
        self.close()
        return Outcome(not_started=words, last_lines=tuple(self._last_lines))

    def close(self) -> None:
        self._growth.close()
        self._log.close(self._last_lines)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, tree: Tree, seconds: float) -> None:
        """Take what is printed, for so long. A flood is taken in portions: somebody may be asking."""
        until = time.monotonic() + seconds
        while self._feed_waiting(until) and (left := until - time.monotonic()) > 0:
            chunk = tree.chunk(left)
            if not chunk:
                return
            self._heard_at = self._clock()
            self._life.line(self._heard_at)
            self._log.add(chunk)
            self._waiting_lines.extend(self._lines.feed(chunk))

    def _was_deaf(self, tree: Tree, ended: Ended | None) -> bool:
        """Was it silent, or were we deaf? What kept us (a slow disk under the record) is not held against a render."""
        heard_at = self._heard_at
        self._read(tree, _TURN_SECONDS)
        if ended is Ended.STARTUP:  # a launch may go on talking: no line counts but one of the render
            return self._limit_reached() is not Ended.STARTUP
        return self._heard_at != heard_at

    def _feed_waiting(self, until: float) -> bool:
        """Hand on the lines that were read; False if there is no more time."""
        count = 0
        while self._waiting_lines:
            self._feed(self._waiting_lines.popleft())
            count += 1
            if count % 64 == 0 and time.monotonic() > until:
                return False
        return True

    def _feed(self, line: str) -> None:
        if line.strip():
            self._last_lines.append(line[:_LINE_LENGTH].rstrip())
        self._told.feed(line, self._clock())
        self._is_news = True

    def _read_while_stopping(self, tree: Tree) -> None:
        if not tree.drained:
            self._read(tree, _TURN_SECONDS / 4)

    def _read_last_words(self, tree: Tree) -> None:
        until = time.monotonic() + _LAST_WORDS_SECONDS
        while (self._waiting_lines or not tree.drained) and time.monotonic() < until:
            self._read(tree, _TURN_SECONDS)
            if self._gone_at is not None and not tree.drained and not self._waiting_lines:
                break  # somebody outside the tree holds its output
        for line in self._lines.end():
            self._feed(line)
        self._report(at_once=True)

    def _report(self, *, at_once: bool = False) -> None:
        at, stage = time.monotonic(), self._told.stage
        is_due = at_once or stage != self._told_stage or at - self._told_at >= _PROGRESS_SECONDS
        if self._is_news and is_due:
            self._is_news, self._told_at, self._told_stage = False, at, stage
            self._progress()

    def _has_ended(self, tree: Tree) -> bool:
        if tree.poll() is None:
            return False
        if tree.drained and not self._waiting_lines:
            return True
        at = self._clock()
        self._gone_at = at if self._gone_at is None else self._gone_at
        is_silent = not self._waiting_lines and at - max(self._heard_at, self._gone_at) >= _HELD_SECONDS
        return is_silent or at - self._gone_at >= _AFTERMATH_SECONDS

    # --- limits -------------------------------------------------------------------------------------------------------

    def _sample(self, tree: Tree) -> None:
        """Look for signs of life other than lines, while there are no lines."""
        at, pause = self._clock(), min(max(self._limits().stall / 20, 0.05), 1.0)
        found = self._growth.answer()
        if found is not None:
            self._life.grown(found, at)
        if at - self._sampled_at < pause or self._life.silence(at) < pause:
            return
        self._sampled_at = at
        self._life.worked(tree.cpu_seconds(), at)
        if (
            at - self._walked_at >= 10 * self._growth.took
        ):  # a folder of 100 000 frames is not to be walked all the time
            self._walked_at = at
            self._growth.ask()

    def _limit_reached(self) -> Ended | None:
        at, limits, told = self._clock(), self._limits(), self._told
        if told.elapsed_seen and not told.rendered_seen:
            self._elapsed_at = at if self._elapsed_at is None else self._elapsed_at
            return Ended.FINISH_GRACE if at - self._elapsed_at >= limits.finish_grace else None
        if at - self._began >= limits.render:
            return Ended.RENDER
        if told.aerender_started and not (told.render_started or told.rendered_seen):
            self._launched_at = at if self._launched_at is None else self._launched_at
            if at - self._launched_at >= limits.startup:
                return Ended.STARTUP
        return Ended.STALL if self._life.is_still(at, limits.stall) else None

    def _evidence(self, tree: Tree, ended: Ended) -> Evidence | None:
        why = _WHY[ended].format(limits=self._limits())
        if ended not in (Ended.STARTUP, Ended.STALL, Ended.RENDER):
            self._log.note(why)
            return None
        found = evidence.gather(
            why,
            processes=tree.processes(),
            last_lines=tuple(self._last_lines)[-30:],
            screenshot=self._attempt.log.with_suffix(".png"),
        )
        self._log.note(found.text)
        self._log.flush()
        return found


#: Limits of those who say nothing.
_OF_SILENCE = (Ended.STARTUP, Ended.STALL)
_WHY = {
    Ended.STARTUP: "After Effects was started and came to no line of the render within {limits.startup:g} s",
    Ended.STALL: "no new line, no growing file and next to no CPU time for {limits.stall:g} s",
    Ended.RENDER: "the render took longer than {limits.render:g} s",
    Ended.FINISH_GRACE: "After Effects was done and did not end within {limits.finish_grace:g} s; it is ended now",
    Ended.STOP: "the render is stopped and goes back into the queue",
    Ended.CANCEL: "the render is cancelled",
}


class _Clock:
    """Monotonic seconds, less the turns in which we were not run."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = now()
        self._slept = 0.0

    def __call__(self) -> float:
        now = self._now()
        if now - self._last > _SLEPT_SECONDS:
            self._slept += now - self._last
        self._last = now
        return now - self._slept


class _Fresh:
    """The limits of now, asked anew twice a second."""

    def __init__(self, limits: Callable[[], Limits], clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._asked_at = clock()
        self._known = limits()

    def __call__(self) -> Limits:
        at = self._clock()
        if at - self._asked_at >= _LIMITS_SECONDS:
            self._asked_at, self._known = at, self._limits()
        return self._known
