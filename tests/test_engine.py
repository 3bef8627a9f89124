"""One attempt: it is read, held to its limits, and ended whole; and nothing of it is left."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from watchrender.render import life
from watchrender.render.engine import Attempt, CliEngine, Ended, Engine, Limits, Outcome
from watchrender.render.process import TreeRecord, reap, stray
from watchrender.render.transcript import Stage, Transcript

posix = pytest.mark.skipif(os.name == "nt", reason="uses POSIX signals and sessions")

LAUNCH = "print('[u1] rendering job...', flush=True)"
RENDER = "print('PROGRESS:  0:00:00:00 (1): 0 Seconds', flush=True)"
ELAPSED = "print('PROGRESS:  Total Time Elapsed: 3 Seconds', flush=True)"
RENDERED = "print('[u1] rendering took ~3 sec.', flush=True)"
SLEEP = "time.sleep(600)"

LONG = Limits(render=60, startup=60, stall=60, finish_grace=60, terminate_grace=5)


class Bench:
    """Runs small programs as attempts, and remembers what the engine said meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = f"test.{uuid.uuid4().hex}"
        self.log = folder / "logs" / "spot.log"
        self.film = folder / "film"
        self.film.mkdir()
        self.transcript = Transcript()
        self.records: list[TreeRecord] = []
        self.news: list[tuple[float, Stage]] = []

    def attempt(self, *lines: str, limits: Limits = LONG, **more: Any) -> Attempt:
        code = "\n".join(["import os, sys, time", *(textwrap.dedent(line) for line in lines)])
        found = Attempt(
            marker=self.marker,
            command=(sys.executable, "-c", code),
            env=dict(os.environ),
            cwd=self.folder,
            watch=(self.film,),
            log=self.log,
            limits=limits,
        )
        return dataclasses.replace(found, **more)

    def run(self, attempt: Attempt, engine: Engine | None = None, **more: Any) -> Outcome:
        told = {
            "asked": lambda: None,
            "recorded": self.records.append,
            "progress": lambda: self.news.append((time.monotonic(), self.transcript.stage)),
        }
        return (engine or CliEngine(awake=nullcontext, busy_seconds=0.2)).run(
            attempt, self.transcript, **{**told, **more}
        )

    def wishing(self, wish: Ended, when: Callable[[], bool]) -> Callable[[], Ended | None]:
        """An `asked` that wants it ended once `when` holds, and remembers the moment."""
        self.wished_at = 0.0

        def asked() -> Ended | None:
            if not self.wished_at and when():
                self.wished_at = time.monotonic()
            return wish if self.wished_at else None

        return asked

    def left(self) -> list[TreeRecord]:
        return stray(self.marker)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    for record in found.left():
        reap(record, 0)


def test_an_attempt_that_ends_by_itself_tells_how(bench: Bench) -> None:
    outcome = bench.run(bench.attempt(LAUNCH, RENDER, ELAPSED, RENDERED, "print('no newline', end='')", "sys.exit(3)"))

    assert (outcome.code, outcome.signal, outcome.ended) == (3, None, None)
    assert outcome.last_lines[-1] == "no newline"
    assert outcome.evidence is None and outcome.left == ()
    assert bench.transcript.rendered_seen and bench.transcript.frame == 1
    assert bench.log.read_text().splitlines()[0] == "[u1] rendering job..."
    assert bench.log.read_text().endswith("no newline\n")
    assert [record.pid is None for record in bench.records] == [True, False]
    assert bench.news[-1][1] == Stage.FINISHING


@posix
def test_a_crash_is_told_by_its_signal(bench: Bench) -> None:
    outcome = bench.run(bench.attempt("os.kill(os.getpid(), 11)"))

    assert (outcome.code, outcome.signal, outcome.ended) == (None, 11, None)


def test_a_command_that_cannot_be_started_is_told_and_no_exception(bench: Bench) -> None:
    outcome = bench.run(bench.attempt(command=(str(bench.folder / "no-such-node"), "x")))

    assert outcome.not_started is not None and "no-such-node" in outcome.not_started
    assert (outcome.code, outcome.signal, outcome.ended) == (None, None, None)
    assert "no-such-node" in bench.transcript.last_lines(1)[0]
    assert "could not be started" in bench.log.read_text()


def test_a_record_that_is_refused_starts_nothing(bench: Bench) -> None:
    def full(record: TreeRecord) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        bench.run(bench.attempt(SLEEP), recorded=full)

    assert bench.left() == []


def test_an_error_above_us_leaves_nothing_running(bench: Bench) -> None:
    def broken() -> None:
        raise RuntimeError("the ledger is gone")

    with pytest.raises(RuntimeError, match="ledger"):
        bench.run(bench.attempt(LAUNCH, SLEEP), progress=broken)

    assert bench.left() == []


# --- limits


def test_startup_runs_from_the_launch_to_the_first_line_of_the_render(bench: Bench) -> None:
    limits = dataclasses.replace(LONG, startup=0.5)
    outcome = bench.run(bench.attempt("time.sleep(0.6)", LAUNCH, SLEEP, limits=limits))

    assert outcome.ended is Ended.STARTUP
    assert outcome.seconds >= 1.1
    assert outcome.evidence is not None and "within 0.5 s" in outcome.evidence
    assert bench.left() == []


def test_startup_is_over_with_the_first_line_of_the_render(bench: Bench) -> None:
    limits = dataclasses.replace(LONG, startup=0.3)
    outcome = bench.run(bench.attempt(LAUNCH, RENDER, "time.sleep(0.8)", limits=limits))

    assert (outcome.code, outcome.ended) == (0, None)


def test_a_launch_that_goes_on_talking_comes_to_no_line_of_the_render(bench: Bench) -> None:
    limits = dataclasses.replace(LONG, startup=0.5)
    talk = "while True: print('PROGRESS: Launching After Effects...', flush=True); time.sleep(0.02)"
    outcome = bench.run(bench.attempt(LAUNCH, talk, limits=limits))

    assert outcome.ended is Ended.STARTUP


def test_the_render_limit_is_from_the_start(bench: Bench) -> None:
    limits = dataclasses.replace(LONG, render=0.7)
    outcome = bench.run(bench.attempt("while True: print('line', flush=True); time.sleep(0.05)", limits=limits))

    assert outcome.ended is Ended.RENDER
    assert 0.7 <= outcome.seconds < 5
    assert outcome.evidence is not None and "longer than 0.7 s" in outcome.evidence


def test_a_render_that_stands_still_is_ended_and_leaves_evidence(bench: Bench) -> None:
    limits = dataclasses.replace(LONG, stall=1)
    outcome = bench.run(bench.attempt(LAUNCH, RENDER, SLEEP, limits=limits))

    assert outcome.ended is Ended.STALL
    assert 1 <= outcome.seconds < 5
    assert outcome.evidence is not None
    assert str(bench.records[-1].pid) in outcome.evidence and "PROGRESS:  0:00:00:00 (1)" in outcome.evidence
    assert "[watchrender] --- evidence: no new line" in bench.log.read_text()
    assert bench.left() == []


@pytest.mark.parametrize(
    "sign",
    [
        "print('.', end='', flush=True)",
        "open('film/a.mov', 'ab').write(b'x')",
        "open(f'film/{n}.png', 'w').close()",
        "open('film/same.mov', 'wb').write(b'x')",
    ],
    ids=["a dot", "growth", "a further frame", "a file rewritten in place"],
)
def test_any_sign_of_life_counts(sign: str, bench: Bench) -> None:
    def limits() -> Limits:
        has_begun = (bench.folder / "begun").exists()  # the start of Python is no part of the silence
        return dataclasses.replace(LONG, stall=0.7) if has_begun else LONG

    signs = f"for n in range(11):\n    {sign}\n    time.sleep(0.1)"
    outcome = bench.run(bench.attempt("open('begun', 'w').close()", signs), limits=limits)

    assert (outcome.code, outcome.ended) == (0, None)


def test_what_keeps_us_from_listening_is_not_held_against_a_render(bench: Bench) -> None:
    """The record lies on a disk that takes seconds for an answer: the lines of that time wait to be read."""
    limits = dataclasses.replace(LONG, stall=0.5)
    signs = "for n in range(8):\n    print('.', end='', flush=True)\n    time.sleep(0.3)"

    def asked() -> None:
        began = bench.folder / "begun"
        if began.exists():
            time.sleep(0.75)

    outcome = bench.run(
        bench.attempt("open('begun', 'w').close()", signs),
        asked=asked,
        limits=lambda: limits if (bench.folder / "begun").exists() else LONG,
    )

    assert (outcome.code, outcome.ended) == (0, None)


def test_work_without_a_word_is_life(bench: Bench) -> None:
    busy = """
        import subprocess
        burn = "import time; end = time.time() + 2\\nwhile time.time() < end: pass"
        subprocess.run([sys.executable, "-c", burn])
    """
    limits = dataclasses.replace(LONG, stall=1)
    outcome = bench.run(bench.attempt(busy, limits=limits), CliEngine(awake=nullcontext, busy_seconds=0.03))

    assert (outcome.code, outcome.ended) == (0, None)


def test_a_share_that_hangs_does_not_hang_us(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()
    scandir = os.scandir

    def hanging(path: str) -> Any:
        return back.wait(30) and scandir(path)

    monkeypatch.setattr(life.os, "scandir", hanging)  # type: ignore[attr-defined]
    limits = dataclasses.replace(LONG, stall=0.6)
    try:
        outcome = bench.run(bench.attempt(SLEEP, limits=limits))
    finally:
        back.set()

    assert outcome.ended is Ended.STALL
    assert outcome.seconds < 5


def test_after_the_last_word_the_tree_is_ended(bench: Bench) -> None:
    limits = dataclasses.replace(LONG, finish_grace=0.4, stall=0.2, render=0.3)
    outcome = bench.run(bench.attempt(LAUNCH, RENDER, ELAPSED, SLEEP, limits=limits))

    assert outcome.ended is Ended.FINISH_GRACE
    assert outcome.evidence is None
    assert "did not end within 0.4 s" in bench.log.read_text()


def test_actions_after_the_render_may_take_their_time(bench: Bench) -> None:
    limits = dataclasses.replace(LONG, finish_grace=0.3)
    outcome = bench.run(bench.attempt(LAUNCH, RENDER, ELAPSED, RENDERED, "time.sleep(0.9)", limits=limits))

    assert (outcome.code, outcome.ended) == (0, None)


def test_limits_are_read_while_it_runs(bench: Bench) -> None:
    limits = {"now": LONG}
    asked_at: list[float] = []

    def asked() -> None:
        asked_at.append(time.monotonic())
        if len(asked_at) == 5:
            limits["now"] = dataclasses.replace(LONG, render=0.1)

    outcome = bench.run(bench.attempt(SLEEP), limits=lambda: limits["now"], asked=asked)

    assert outcome.ended is Ended.RENDER
    assert outcome.seconds < 3


def test_the_time_that_the_machine_slept_is_held_against_nobody(bench: Bench) -> None:
    began = time.monotonic()

    def now() -> float:
        at = time.monotonic()
        return at + 3600 if at - began > 0.3 else at

    outcome = bench.run(bench.attempt(LAUNCH, "time.sleep(0.8)"), now=now)

    assert (outcome.code, outcome.ended) == (0, None)
    assert outcome.seconds < 10


# --- wishes


@pytest.mark.parametrize("wish", [Ended.STOP, Ended.CANCEL])
def test_a_wish_is_heard_at_once(wish: Ended, bench: Bench) -> None:
    asked = bench.wishing(wish, lambda: bench.transcript.render_started)
    outcome = bench.run(bench.attempt(LAUNCH, RENDER, SLEEP), asked=asked)

    assert time.monotonic() - bench.wished_at < 1
    assert (outcome.ended, outcome.code) == (wish, None)
    assert outcome.signal == 15 or os.name == "nt"
    assert bench.left() == []


def test_a_wish_is_heard_ten_times_a_second(bench: Bench) -> None:
    heard: list[float] = []

    bench.run(bench.attempt("time.sleep(1)"), asked=lambda: heard.append(time.monotonic()))

    gaps = sorted(after - before for before, after in itertools.pairwise(heard))
    assert gaps[len(gaps) // 2] <= 0.1


@posix
def test_a_second_request_ends_the_waiting(bench: Bench) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    asked = bench.wishing(Ended.STOP, lambda: bench.transcript.render_started)
    outcome = bench.run(
        bench.attempt(deaf, RENDER, SLEEP),
        asked=asked,
        grace=lambda: 60.0 if time.monotonic() - bench.wished_at < 0.4 else 0.0,
    )

    assert 0.4 <= time.monotonic() - bench.wished_at < 3
    assert (outcome.ended, outcome.signal) == (Ended.STOP, 9)


@posix
def test_last_words_after_the_request_are_read(bench: Bench) -> None:
    polite = """
        import signal
        def end(*_):
            print(("x" * 999 + "\\n") * 8_000 + "bye", flush=True)
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
    """
    asked = bench.wishing(Ended.STOP, lambda: bench.transcript.render_started)
    outcome = bench.run(bench.attempt(polite, RENDER, SLEEP), asked=asked)

    assert (outcome.ended, outcome.code) == (Ended.STOP, 0)
    assert outcome.last_lines[-1] == "bye"


# --- what outlives its first process


@posix
def test_one_that_holds_the_output_is_ended_after_a_while(bench: Bench) -> None:
    holder = """
        import subprocess
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        print("done", flush=True)
    """
    outcome = bench.run(bench.attempt(holder))

    assert (outcome.code, outcome.ended) == (0, None)
    assert outcome.seconds < 6
    assert bench.left() == []


@posix
def test_one_that_goes_on_talking_is_heard_to_its_end(bench: Bench) -> None:
    talker = """
        if os.fork() == 0:
            for n in range(12):
                time.sleep(0.1); print(n, flush=True)
            os._exit(0)
    """
    outcome = bench.run(bench.attempt(talker))

    assert outcome.code == 0
    assert outcome.last_lines[-1] == "11"


# --- output


def test_progress_is_told_four_times_a_second_and_at_each_stage(bench: Bench) -> None:
    frames = "for n in range(1, 150): print(f'PROGRESS:  0:00:00:00 ({n}): 0 Seconds', flush=True); time.sleep(0.01)"
    bench.run(bench.attempt("print('[u1] setting up job...', flush=True); time.sleep(0.3)", LAUNCH, frames, RENDERED))

    stages = [stage for _, stage in bench.news]
    assert stages == sorted(stages, key=list(Stage).index)
    assert stages[-1] is Stage.FINISHING
    rendering = [at for at, stage in bench.news if stage is Stage.RENDERING]
    assert 3 <= len(rendering) <= (rendering[-1] - rendering[0]) * 4 + 2


@pytest.mark.parametrize(
    "flood", ["(b'x' * 30 + b'\\n') * 5000 + b'\\n' * 65536", "b'y' * 1_000_000"], ids=["lines", "one line"]
)
def test_a_flood_costs_no_memory_and_nobody_waits_for_it(flood: str, bench: Bench) -> None:
    asked_at: list[float] = []
    began = time.monotonic()
    before = psutil.Process().memory_info().rss

    def asked() -> Ended | None:
        asked_at.append(time.monotonic())
        is_full = bench.log.exists() and bench.log.stat().st_size > 900_000  # a busy machine takes its time
        return Ended.STOP if time.monotonic() - began > (0.9 if is_full else 20) else None

    engine = CliEngine(awake=nullcontext, log_cap=1_000_000)
    outcome = bench.run(bench.attempt(f"while True: os.write(1, {flood})"), engine, asked=asked)

    assert outcome.ended is Ended.STOP
    assert psutil.Process().memory_info().rss - before < 40_000_000
    gaps = sorted(after - before for before, after in itertools.pairwise(asked_at))
    assert gaps[len(gaps) // 2] < 0.2
    assert bench.log.stat().st_size < 1_600_000
    assert "are left out, then:" in bench.log.read_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_under_the_log_ends_no_render(bench: Bench) -> None:
    outcome = bench.run(bench.attempt(LAUNCH, "print('x' * 3_000_000)", RENDER, log=Path("/dev/full")))

    assert (outcome.code, outcome.ended) == (0, None)
    assert bench.transcript.render_started


def test_the_machine_is_kept_awake_meanwhile(bench: Bench) -> None:
    seen: list[str] = []

    class Awake(nullcontext[None]):
        def __enter__(self) -> None:
            seen.append("awake")

        def __exit__(self, *_: object) -> None:
            seen.append("may sleep")

    bench.run(bench.attempt("pass"), CliEngine(awake=Awake))

    assert seen == ["awake", "may sleep"]


def test_twenty_attempts_leave_no_thread_no_descriptor_and_no_process(bench: Bench) -> None:
    def held() -> tuple[int, int, int]:
        descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        return threading.active_count(), descriptors, len(psutil.Process().children())

    limits = dataclasses.replace(LONG, stall=1)
    attempt = bench.attempt(LAUNCH, "time.sleep(0.07)", limits=limits)
    bench.run(attempt)
    before = held()
    for _ in range(20):
        bench.run(attempt)

    assert held() == before
    assert bench.left() == []
