"""`python -m benchmarks.scale`: what a farm of 10, 100, 1 000 workers asks of one watchrender, on virtual time.

The queue is the real one: `ledger.Ledger` on a real disk with its order, its table of states and its journal,
`core.standing` telling whether one more may be handed over, `core.retry` deciding about each failure, `core.estimate`
foretelling the end. Renders, workers, server and the steps of the line that wait for a disk are modelled: each takes
the seconds given below, which were measured (`benchmarks.farm`) or are asked for (`--render`). Nothing sleeps; a day of
a farm takes some seconds.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from watchrender.core import clock as clocks
from watchrender.core import estimate, retry, standing
from watchrender.core.estimate import Past
from watchrender.core.failure import Code, fail
from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.ledger.ledger import Ledger

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One farm and its load. Seconds, unless it says otherwise."""

    workers: int
    jobs_per_worker: int = 10
    render: float = 300.0  # the middle one; they spread as real renders of many projects do
    spread: float = 0.6  # of their logarithm
    fails: float = 0.03  # share of tries
    in_flight_per_worker: float = 1.25
    poll: float = 2.0  # nexrender_server.poll_interval
    worker_poll: float = 5.0  # how often an idle worker asks
    hand_over: float = 0.08  # look, claim, our copy, POST
    finish: float = 0.25  # look into the film, previews, checksum, one rename
    urgent_every: float = 600.0  # somebody drops a job with priority 99
    server_request: float = 0.001  # nexrender-server: one request …
    server_job: float = 0.000_012  # … and for each job that it knows (measured with up to 10 000)
    seed: int = 7


@dataclass(kw_only=True)
class Retries:
    """The defaults of the config's `retry`."""

    max_retries: int = 3
    first_wait: float = 30.0
    max_wait: float = 600.0
    jitter: float = 0.2


@dataclass(kw_only=True)
class Found:
    """What the run showed."""

    setup: Setup
    done: int = 0
    tries: int = 0
    took: float = 0.0  # until nothing was left to hand over: what the last renders take is no matter of scale
    busy: float = 0.0  # share of the workers' time in it that was spent rendering
    foretold: float = 0.0  # how long it would take, by the estimate
    hand_busy: float = 0.0
    finish_busy: float = 0.0
    server_busy: float = 0.0
    urgent: list[float] = field(default_factory=list)  # from its drop until a worker had it
    scheduler_ms: float = 0.0  # of real time, for each job: everything that the real code did
    longest_ms: float = 0.0


class Clock:
    """Virtual seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def wall(self) -> datetime:
        return _BEGIN + timedelta(seconds=self.now)

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, what))

    def run(self, until: Callable[[], bool]) -> None:
        while self._events and not until():
            self.now, _, what = heapq.heappop(self._events)
            what()


class Simulation:
    """One watchrender, one nexrender-server, many workers."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup, self.found = setup, Found(setup=setup)
        self.clock = Clock()
        self.ledger = Ledger(folder, now=self.clock.wall, sync="never")
        self.chance = random.Random(setup.seed)
        self.rest, self.retries = retry.Rest(), Retries()
        self.most = max(1, round(setup.workers * setup.in_flight_per_worker))
        self.seconds: dict[str, float] = {}  # of each job's render
        self.in_flight = 0
        self.waiting: list[tuple[int, int, str]] = []  # at the server: priority, order of arrival, id
        self.posted = 0
        self.idle = setup.workers
        self.idle_since = 0.0
        self.idle_seconds = 0.0  # of all workers together
        self.ended: list[tuple[str, bool]] = []  # the server knows, we do not yet
        self.to_finish: list[tuple[str, bool]] = []
        self.handing = self.finishing = False
        self.dropped: dict[str, float] = {}  # urgent jobs that no worker has yet
        self.spent: list[float] = []
        self.total = setup.workers * setup.jobs_per_worker

    # -- the run --------------------------------------------------------------------------------------------

    def run(self) -> Found:
        for number in range(self.total):
            self.drop(f"job{number:06d}", priority=50)
        self.found.foretold = self.foretell()
        self.clock.after(0.0, self.hand_over)
        self.clock.after(self.setup.poll, self.poll)
        self.clock.after(self.setup.urgent_every, self.drop_urgent)
        self.clock.run(until=self.is_nothing_left)
        self.sum_up()
        self.ledger.close()
        return self.found

    def is_nothing_left(self) -> bool:
        """The queue is empty, but for urgent ones that still come."""
        return self.ledger.counts[State.QUEUED] == 0 and not self.waiting and self.posted >= self.total - 1

    def drop(self, name: str, *, priority: int) -> Job:
        with self.measured():
            job = self.ledger.add(
                why="dropped", name=name, state=State.QUEUED, file=f"{name}.json", priority=priority, folder="inbox",
                template=f"project{self.chance.randrange(40)}.aep", composition="Main", queued_at=self.ledger.stamp(),
            )  # fmt: skip
        self.seconds[job.id] = self.setup.render * self.chance.lognormvariate(0.0, self.setup.spread)
        return job

    def drop_urgent(self) -> None:
        job = self.drop(f"urgent{len(self.seconds):06d}", priority=99)
        self.total += 1
        self.dropped[job.id] = self.clock.now
        self.wake()
        self.clock.after(self.setup.urgent_every, self.drop_urgent)

    # -- handing over: one thread ---------------------------------------------------------------------------

    def wake(self) -> None:
        if not self.handing:
            self.clock.after(0.0, self.hand_over)

    def hand_over(self) -> None:
        has_room = standing.has_room(
            most=self.most, handed=self.in_flight, leaving=0, landing=len(self.to_finish), closed=False
        )
        if self.handing or not has_room:
            return
        with self.measured():
            job = self.ledger.first(lambda found: self.rest.ready(found.id, self.clock.now))
            if job is None:
                self.clock.after(1.0, self.wake)
                return
            self.ledger.apply(job.id, Event.START, "next in the queue", launches=job.launches + 1)
            self.ledger.note(job.id, begun=True, folder=f"active/{job.name}")
        self.handing = True
        self.in_flight += 1
        self.found.hand_busy += self.setup.hand_over
        self.clock.after(self.setup.hand_over, lambda: self.post(job))

    def post(self, job: Job) -> None:
        self.handing = False
        self.posted += 1
        self.request()
        heapq.heappush(self.waiting, (-job.priority, self.posted, job.id))
        self.offer()
        self.hand_over()

    # -- workers --------------------------------------------------------------------------------------------

    def offer(self) -> None:
        """The first of the idle workers that asks gets it."""
        if self.idle > 0 and self.waiting:
            delay = self.setup.worker_poll * (1 - self.chance.random() ** (1 / self.idle))
            self.clock.after(delay, self.pick)

    def pick(self) -> None:
        if not self.waiting or self.idle == 0:
            return
        _, _, job_id = heapq.heappop(self.waiting)
        self.now_idle(-1)
        self.request(3)  # the question, "started", the end
        if job_id in self.dropped:
            self.found.urgent.append(self.clock.now - self.dropped.pop(job_id))
        is_good = self.chance.random() >= self.setup.fails
        seconds = self.seconds[job_id] * (1.0 if is_good else self.chance.random())
        self.clock.after(seconds, lambda: self.end(job_id, is_good))
        self.offer()

    def end(self, job_id: str, is_good: bool) -> None:
        self.now_idle(1)
        self.ended.append((job_id, is_good))
        self.offer()

    def now_idle(self, change: int) -> None:
        self.idle_seconds += self.idle * (self.clock.now - self.idle_since)
        self.idle, self.idle_since = self.idle + change, self.clock.now

    # -- following: one thread, and finishing: one thread ---------------------------------------------------

    def poll(self) -> None:
        self.request()
        self.to_finish += self.ended
        self.in_flight -= len(self.ended)
        if self.ended:
            self.ended = []
            self.wake()
        self.finish()
        self.clock.after(self.setup.poll, self.poll)

    def finish(self) -> None:
        if self.finishing or not self.to_finish:
            return
        job_id, is_good = self.to_finish.pop(0)
        seconds = self.setup.finish if is_good else 0.05
        self.finishing = True
        self.found.finish_busy += seconds
        self.clock.after(seconds, lambda: self.record(job_id, is_good))

    def record(self, job_id: str, is_good: bool) -> None:
        self.finishing = False
        self.found.tries += 1
        self.request(2)  # DELETE, and the list without it
        with self.measured():
            job = self.ledger.get(job_id)
            assert job is not None
            if is_good:
                self.ledger.apply(job_id, Event.FINISH, "rendered", finished_at=self.ledger.stamp(), folder="done")
                self.found.done += 1
            else:
                self.again(job)
        self.wake()
        self.finish()

    def again(self, job: Job) -> None:
        failure = fail(Code.RENDER_CRASHED)
        tried = (*job.attempts, {"number": len(job.attempts) + 1, "error": failure.to_dict()})
        wait = retry.wait_before_next(self.retries, self.retries.max_retries, len(tried), failure)
        if wait is None:
            self.ledger.apply(job.id, Event.GIVE_UP, "failed", attempts=tried, finished_at=self.ledger.stamp())
            self.found.done += 1
            return
        self.rest.until(job.id, self.clock.now + wait)
        self.ledger.apply(
            job.id, Event.RETRY, "again", attempts=tried, retry_at=clocks.later(self.ledger.stamp(), wait)
        )

    # -- figures --------------------------------------------------------------------------------------------

    def request(self, count: int = 1) -> None:
        known = self.in_flight + len(self.to_finish)
        self.found.server_busy += count * (self.setup.server_request + self.setup.server_job * known)

    def foretell(self) -> float:
        """What the estimate says of the whole, from thirty past renders of such jobs."""
        pasts = [
            Past(seconds=self.setup.render * self.chance.lognormvariate(0.0, self.setup.spread)) for _ in range(30)
        ]
        prediction = estimate.predict(pasts)
        assert prediction is not None
        mean = prediction.seconds * 2.718281828 ** (prediction.spread**2 / 2)
        return mean * self.total / self.setup.workers

    @contextmanager
    def measured(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.spent.append(time.perf_counter() - began)

    def sum_up(self) -> None:
        self.now_idle(0)
        found, took = self.found, self.clock.now
        found.took = took
        found.busy = 1 - self.idle_seconds / (took * self.setup.workers)
        for name in ("hand_busy", "finish_busy", "server_busy"):
            setattr(found, name, getattr(found, name) / took)
        found.scheduler_ms = 1000 * sum(self.spent) / max(1, found.tries)
        found.longest_ms = 1000 * max(self.spent)


def simulate(setup: Setup) -> Found:
    with tempfile.TemporaryDirectory(prefix="watchrender-scale-") as folder:
        return Simulation(setup, Path(folder)).run()


HEAD = (
    "workers", "render", "tries", "busy", "÷ foretold", "urgent waits", "hand over", "finish", "server", "scheduler",
)  # fmt: skip


def row(found: Found) -> tuple[str, ...]:
    urgent = statistics.median(found.urgent) if found.urgent else 0.0
    return (
        f"{found.setup.workers}",
        f"{found.setup.render:g} s",
        f"{found.tries}",
        f"{found.busy:.0%}",
        f"{found.took / found.foretold:.2f}",
        f"{urgent:.0f} s",
        f"{found.hand_busy:.0%}",
        f"{found.finish_busy:.0%}",
        f"{found.server_busy:.0%}",
        f"{found.scheduler_ms:.2f} ms",
    )


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--render", type=float, nargs="*", default=[60.0, 300.0], help="seconds of the middle render")
    parser.add_argument("--jobs", type=int, default=10, help="jobs for each worker")
    parser.add_argument("--finish", type=float, default=Setup.finish, help="seconds for judging and delivering a film")
    asked = parser.parse_args(words)
    print("| " + " | ".join(HEAD) + " |", "| " + " | ".join("---" for _ in HEAD) + " |", sep="\n")
    for render in asked.render:
        for workers in asked.workers:
            more: dict[str, Any] = {"jobs_per_worker": asked.jobs, "render": render, "finish": asked.finish}
            print("| " + " | ".join(row(simulate(Setup(workers=workers, **more)))) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
