"""The queue handed to nexrender-server: up to `max_in_flight` jobs at once are with its workers.

Beside `worker.py`, and the same line: jobs are taken, claimed and prepared as there, and what comes back is judged and
delivered as there. In between, instead of one aerender, a job is posted and followed by polls. One thread hands over,
one follows, one finishes.

Nothing that server or worker say is the end of a job: finished means our own verdict on the file. Whatever goes wrong
on the way there (a worker that died, a server that forgot, two workers with one job) ends the uid, never the job: the
uid is removed from the server, its folder is removed from the share, and the job gets another one. So whatever a lost
worker still does, it does to nobody.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from loguru import logger

from watchrender import disk
from watchrender.conclude import REST_SECONDS
from watchrender.config.model import NexrenderServer
from watchrender.core import clock as clocks
from watchrender.core.failure import Code, Failure, Kind, fail
from watchrender.core.job import Job, Progress
from watchrender.core.states import State
from watchrender.finish import Delivery
from watchrender.handover import FarmPreparer, Slip, Slips, job_of
from watchrender.prepare import Attempted, Prepared
from watchrender.render import meanings
from watchrender.render.engine import Ended, Engine, Limits, Outcome
from watchrender.render.life import Growth, Size, measure
from watchrender.render.server import Phase, Server, Standing, Standings
from watchrender.render.transcript import Transcript
from watchrender.worker import Worker

_TICK_SECONDS = 0.2  # a wish to cancel is heard at least this often
_LOOK_SECONDS = 15.0  # an idle farm is asked this often whether it is there
_SWEEP_SECONDS = 30.0
_MEASURE_SECONDS = 30.0
#: A job that the server lacks in so many good answers in a row is not there.
_MISSING_TWICE = 2
#: A server that loses a job so often is at fault itself.
_FORGETS_OFTEN = 3
#: So often a job is handed over again because its uid seems spoiled; then it is gone on with, and a copy is judged.
_SPOILED_OFTEN = 3
#: A uid that is to leave the server counts as handed over until it has left, and no longer than this.
_LEAVES_SECONDS = 10.0
_MOVES_TWICE = 2
#: A share that tells late of other machines' files does so within so many times what a file needs to settle.
_COMES_WITHIN_SETTLES = 3.0
#: Of so many polls the busiest tells how many workers there are.
_POLLS_REMEMBERED = 300
WAITING, RENDERING = "waiting for a worker", "rendering"


@dataclass(kw_only=True)
class Flight:
    """One job that is with the farm."""

    job_id: str
    slip: Slip
    prepared: Prepared
    transcript: Transcript
    started_at: str
    started: float  # monotonic, as all times here
    posted: float | None = None  # None: the request is under way
    working: float | None = None  # since when a worker has it
    news: float = 0.0  # the last sign of life
    standing: Standing | None = None
    missing: int = 0
    shared: str | None = None  # why another worker may be writing into the same file
    told_to_wait: bool = False  # the status says that no worker has taken it
    put_back: str | None = None
    resumed: bool = False  # handed over by an earlier life of ours
    growth: Growth
    size: Size | None = None
    asked_growth: float = 0.0

    @property
    def uid(self) -> str:
        return self.slip.uid


@dataclass(kw_only=True)
class Landing:
    """One job that is back, on its way to the verdict."""

    flight: Flight
    at: float  # monotonic
    size: Size | None = None
    still_since: float | None = None
    changes: int = 0
    is_ours: bool = False  # nobody else can write into what is judged


class Farm(Worker):
    """The line from the queue to the done folder, through nexrender-server."""

    def __init__(
        self,
        *,
        server: Server,
        preparer: FarmPreparer,
        settings: NexrenderServer,
        settle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        **rest: Any,
    ) -> None:
        # No engine: nothing is rendered on this machine.
        super().__init__(preparer=preparer, engine=cast(Engine, None), clock=clock, **rest)
        self._server = server
        self._farm = preparer
        self._most = settings.max_in_flight
        self._poll_seconds = settings.poll_interval
        self._settle_seconds = settle_seconds
        self._slips = Slips(self._ledger)
        self._flights: dict[str, Flight] = {}  # by uid
        self._of_job: dict[str, Flight] = {}  # the same, by job
        self._landings: dict[str, Landing] = {}
        self._vanished: Counter[str] = Counter()  # by job, as the next one
        self._spoiled: Counter[str] = Counter()
        self._leaving: dict[str, float] = {}  # uids that a worker may have, and that nobody waits for; until when
        self._has_lockless = False  # a worker was seen that takes jobs without the server's lock
        self._asked_at = clock()
        self._at_work: deque[int] = deque(maxlen=_POLLS_REMEMBERED)
        self._poll_due = self._look_due = self._sweep_due = 0.0
        self._tick = threading.Event()
        # The worker's own loop hands over; deliveries go on for as long as this other one follows what was handed over.
        self._hand_thread = self._render_thread
        self._render_thread = threading.Thread(target=self._follow_loop, name="follow", daemon=True)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._resume()
        super().start()
        self._hand_thread.start()

    def stop(self, seconds: float) -> bool:
        """Jobs that are with the farm stay there, and the next start picks them up; unless they are to be finished."""
        deadline = self._clock() + seconds
        self._gate.wake.set()
        self._tick.set()
        self._hand_thread.join(max(0.05, seconds))
        done = super().stop(max(0.05, deadline - self._clock()))
        return done and not self._hand_thread.is_alive()

    def idle(self) -> bool:
        return super().idle() and not self._flights

    def current(self) -> str | None:
        flight = next(iter(list(self._flights.values())), None)
        return flight.job_id if flight is not None else super().current()

    def started_at(self, job_id: str) -> float | None:
        flight = self._flight_of(job_id)
        return flight.started if flight is not None else super().started_at(job_id)

    def lanes(self) -> int:
        """As many as were seen to render at once; before that, as many as may be handed over."""
        return max(tuple(self._at_work), default=0) or self._most

    def waits(self, job_id: str) -> bool:
        flight = self._flight_of(job_id)
        return flight is not None and flight.working is None

    def put_back(self, job_id: str, why: str) -> None:
        super().put_back(job_id, why)
        flight = self._flight_of(job_id)
        if flight is not None:
            flight.put_back = why
            self._tick.set()

    def _flight_of(self, job_id: str) -> Flight | None:
        return self._of_job.get(job_id)

    def _add(self, flight: Flight) -> None:
        self._flights[flight.uid] = self._of_job[flight.job_id] = flight

    def _drop(self, flight: Flight) -> None:
        self._flights.pop(flight.uid, None)
        if self._of_job.get(flight.job_id) is flight:
            del self._of_job[flight.job_id]

    def _resume(self) -> None:
        """What an earlier life handed over is picked up again by its uid."""
        for slip in self._slips.all():
            job = self._ledger.get(slip.job)
            if slip.doomed or job is None or job.state is not State.RENDERING:
                self._slips.doom(slip.uid)
                continue
            # A delivery that was cut off begins anew, from the film in the attempt's own folder.
            self._folders.clear_leftovers(self._folders.absolute(job.folder), job)
            prepared = self._farm.resume(job, slip)
            if isinstance(prepared, Failure):
                self._slips.doom(slip.uid)
                self._concluder.put_back(job, f"it was with a worker and cannot be picked up again: {prepared.message}")
                continue
            flight = self._flight(job, slip, prepared, started_at=job.started_at or slip.at)
            flight.started -= max(0.0, clocks.seconds_between(flight.started_at, self._ledger.stamp()))
            flight.posted, flight.resumed, flight.shared = 0.0, True, "nobody watched while watchrender was down"
            self._add(flight)
            self._ledger.note(job.id, "picked up again after a restart: it is with the farm")
            logger.bind(job=job.id).info("{} is picked up again as {}", job.key, slip.uid)
        self._farm.sweep(self._is_waited_for)

    def _flight(self, job: Job, slip: Slip, prepared: Prepared, *, started_at: str) -> Flight:
        now = self._clock()
        return Flight(
            job_id=job.id,
            slip=slip,
            prepared=prepared,
            transcript=prepared.transcript(),
            started_at=started_at,
            started=now,
            news=now,
            growth=Growth((prepared.output_folder,)),
        )

    # -- handing over ---------------------------------------------------------------------------------------

    def _next(self) -> Job | None:
        """The next job, if there is room for it: few are handed over, so that a late urgent one goes first; and films
        that come back faster than they can be looked into do not pile up."""
        is_full = len(self._flights) + self._still_there() >= self._most or len(self._landings) >= self._most
        if is_full or (self._gate.waiting() and self._flights):
            return None
        return super()._next()

    def _still_there(self) -> int:
        now = self._clock()
        return sum(now < until for until in list(self._leaving.values()))

    def _attempt(self, job: Job, prepared: Prepared) -> None:
        try:
            slip = self._slips.add(job, prepared)  # before the server hears of it: whatever ends us, the uid is known
        except BaseException:
            self._finisher.discard(prepared)
            disk.remove_tree(self._farm.private(prepared.uid))
            raise
        flight = self._flight(job, slip, prepared, started_at=self._ledger.stamp())
        flight.put_back = self._slot.put_back if self._slot is not None else None
        self._add(flight)
        self._say(job, self._farm.warnings(slip.uid))
        self._post(job, flight)

    def _post(self, job: Job, flight: Flight) -> None:
        failure = self._server.post(flight.prepared.built.document)
        if failure is not None and failure.kind is not Kind.ENVIRONMENT:
            self._concluder.failed(job, failure, self._attempted(flight, Outcome(code=1)))
            self._end(flight)
            return
        if failure is not None:
            # It may have arrived all the same, so it is followed, and never posted again under this uid.
            flight.shared = "it is not known whether it was handed over once"
            self._wait_for(failure)
        flight.posted = flight.news = self._clock()
        self._tell(flight, None, WAITING)
        logger.info("{} is handed to nexrender-server as {}", job.key, flight.uid)
        self._poll_due = 0.0

    def _say(self, job: Job, warnings: tuple[str, ...]) -> None:
        known = self._ledger.get(job.id) or job
        new = tuple(warning for warning in warnings if warning not in known.warnings)
        if new:
            self._ledger.note(job.id, warnings=(*known.warnings, *new))

    # -- following ------------------------------------------------------------------------------------------

    def _follow_loop(self) -> None:
        while not self._may_leave():
            try:
                self._turn()
            except Exception:
                logger.exception("a fault in watchrender itself, or of a disk; the farm is followed on")
            self._tick.wait(min(_TICK_SECONDS, self._poll_seconds))
            self._tick.clear()

    def _may_leave(self) -> bool:
        if not self._gate.stopping or self._hand_thread.is_alive():
            return False
        return not self._finish_running or self._at_once.is_set() or not self._flights

    def _turn(self) -> None:
        self._obey()
        now = self._clock()
        if now >= self._poll_due:
            self._poll_due = now + self._poll_seconds
            self._poll()
        if now >= self._sweep_due:
            self._sweep_due = now + _SWEEP_SECONDS
            self._sweep()

    def _sweep(self) -> None:
        """What is left on the share of uids that are over: held open when it was removed, or made anew by a worker."""
        with suppress(OSError):
            self._farm.sweep(self._is_waited_for)
        known = {flight.job_id for flight in list(self._flights.values())}
        for counter in (self._vanished, self._spoiled):
            for job_id in [found for found in counter if found not in known and self._is_over(found)]:
                del counter[job_id]

    def _is_waited_for(self, name: str) -> bool:
        # In this order: what is being prepared becomes a flight, and a flight becomes a landing.
        slot = self._slot
        is_prepared = slot is not None and job_of(name) == slot.job_id
        return is_prepared or name in self._flights or name in self._landings

    def _is_over(self, job_id: str) -> bool:
        job = self._ledger.get(job_id)
        return job is None or job.over

    def _obey(self) -> None:
        """What people asked of jobs that are with the farm."""
        for flight in list(self._flights.values()):
            job = self._ledger.get(flight.job_id)
            if flight.posted is None:
                continue  # it is being handed over right now
            if job is None or job.state is not State.RENDERING:
                self._end(flight)
            elif job.cancel_requested:
                self._end(flight)
                self._concluder.cancelled(job)
            elif flight.put_back is not None:
                self._end(flight)
                self._concluder.put_back(job, flight.put_back)

    def _poll(self) -> None:
        flights = [flight for flight in list(self._flights.values()) if flight.posted is not None]
        doomed = self._slips.doomed()
        if not flights and not doomed:
            self._look_at_idle_farm()
            return
        asked_at = self._clock()
        found = self._server.standings([*(flight.uid for flight in flights), *doomed])
        since, self._asked_at = self._asked_at, self._clock()
        if isinstance(found, Failure):
            self._unheard(found, self._asked_at - since)
            return
        for flight in flights:
            with logger.contextualize(job=flight.job_id):
                self._hear_safely(flight, found.jobs.get(flight.uid), asked_at)
        self._at_work.append(sum(flight.working is not None for flight in flights))
        self._tidy(found, doomed)

    def _hear_safely(self, flight: Flight, standing: Standing | None, asked_at: float) -> None:
        try:
            self._hear(flight, standing, asked_at)
        except OSError as error:
            logger.warning("{} could not be followed, and is asked for again: {}", flight.uid, str(error))
        except Exception as error:
            # A bug in one job must not stand the whole farm still, and must not hide.
            self._concluder.own_fault(flight.job_id, error)
            self._end(flight)

    def _look_at_idle_farm(self) -> None:
        if self._clock() < self._look_due or self._gate.waiting():
            return
        self._look_due = self._clock() + _LOOK_SECONDS
        self._gate.looked(self._farm.look(), self._farm.LOOKED_FOR)

    def _unheard(self, failure: Failure, seconds: float) -> None:
        """The server is away. Its workers render on, and nobody is blamed for the silence: for so many seconds there
        was nothing to hear. No more than that is forgiven, for there are servers that answer now and then."""
        self._wait_for(failure)
        now = self._clock()
        for flight in list(self._flights.values()):
            flight.news = min(now, flight.news + seconds)
            flight.shared = flight.shared or "the server was away for a while"

    def _wait_for(self, failure: Failure) -> None:
        # Once: each further word would put off the next look.
        if all(known.code is not failure.code for known in self._gate.waiting()):
            self._gate.wait_for(failure)

    def _hear(self, flight: Flight, standing: Standing | None, asked_at: float) -> None:
        """What the server says now of one job."""
        if standing is None:
            self._missing(flight, asked_at)
            return
        flight.missing = 0
        if (why := _spoiled(flight, standing)) is not None:
            self._spoiled[flight.job_id] += 1
            if self._spoiled[flight.job_id] <= _SPOILED_OFTEN:
                self._give_back(flight, f"{why}; it is handed over again under a new uid")
                return
            # So often, it is the server that tells it wrongly, or a farm on which it cannot be helped.
            flight.shared = flight.shared or why
        before, flight.standing = flight.standing, standing
        if standing.phase is not Phase.WAITING and flight.working is None:
            self._is_taken(flight, standing)
        match standing.phase:
            case Phase.WAITING:
                flight.news = self._clock()
                self._tell(flight, None, WAITING)
                self._wait_for_a_worker(flight)
            case Phase.WORKING:
                self._works(flight, standing, is_news=before is None or before.news != standing.news)
            case _:
                self._lands(flight, standing)

    def _wait_for_a_worker(self, flight: Flight) -> None:
        """It may wait for long, but not without a word: perhaps nobody asks for its tags, or nobody at all."""
        seconds = self._limits(flight).startup
        if flight.told_to_wait or flight.working is not None or self._clock() - flight.started < seconds:
            return
        flight.told_to_wait = True
        tags = flight.prepared.built.document.get("tags")
        asks = f"asks for jobs, and for the tags {tags}" if tags else "asks nexrender-server for jobs"
        words = f"a worker: none has taken it for {seconds:g} s; see whether one runs that {asks}"
        self._ledger.note(flight.job_id, waiting_for=(words,))
        logger.warning("{} waits for {}", flight.uid, words)

    def _is_taken(self, flight: Flight, standing: Standing) -> None:
        flight.working = flight.news = self._clock()
        self._vanished.pop(flight.job_id, None)
        if standing.executor is None:
            self._has_lockless = True
            flight.shared = flight.shared or "its worker did not pick it up by the server's lock"
        who = f"the worker {standing.executor}" if standing.executor else "a worker"
        node = {"node": standing.executor} if standing.executor else {}
        self._ledger.note(flight.job_id, f"{who} has it", waiting_for=(), **node)
        logger.info("{} has it, as {}", who, flight.uid)

    def _missing(self, flight: Flight, asked_at: float) -> None:
        assert flight.posted is not None
        if flight.posted >= asked_at:
            return  # the question was older than the job
        flight.missing += 1
        if flight.missing < _MISSING_TWICE:
            return
        self._vanished[flight.job_id] += 1
        if self._vanished[flight.job_id] >= _FORGETS_OFTEN:
            words = f"nexrender-server forgets what it is handed: {flight.uid} is not there any more"
            self._wait_for(fail(Code.NEXRENDER_SERVER_UNREACHABLE, f"{words}."))
        self._give_back(flight, "nexrender-server does not know it; it is handed over again")

    def _works(self, flight: Flight, standing: Standing, *, is_news: bool) -> None:
        now = self._clock()
        if is_news or self._gate_is_blind():
            flight.news = now
        limits = self._limits(flight)
        self._look_at_growth(flight, limits, now)
        self._tell(flight, standing, RENDERING)
        failure = self._over_limit(flight, limits, now)
        if failure is not None:
            self._give_up(flight, failure)

    def _gate_is_blind(self) -> bool:
        """While the share is away nobody can be seen to work."""
        return any(failure.code is Code.SHARE_OFFLINE for failure in self._gate.waiting())

    def _limits(self, flight: Flight) -> Limits:
        job = self._ledger.get(flight.job_id)
        return self._farm.limits(job) if job is not None else flight.prepared.attempt.limits

    def _look_at_growth(self, flight: Flight, limits: Limits, now: float) -> None:
        """Many workers tell nothing between start and end: then the growing film is the sign of life."""
        found = flight.growth.answer()
        if found is not None:
            if flight.size is not None and flight.size != found:
                flight.news = now
            flight.size = found
        if now - flight.asked_growth >= min(max(limits.stall / 20, self._poll_seconds), 30.0):
            flight.asked_growth = now
            flight.growth.ask()

    def _over_limit(self, flight: Flight, limits: Limits, now: float) -> Failure | None:
        assert flight.working is not None and flight.standing is not None
        said = flight.standing
        of_whom = f" by {said.executor}" if said.executor else ""
        if now - flight.working >= limits.render:
            return fail(Code.RENDER_TIMEOUT, f"The render{of_whom} took longer than it may ({limits.render:g} s).")
        if now - flight.news < limits.stall:
            return None
        return fail(
            Code.RENDER_STALLED,
            f"The render{of_whom} stood still for {limits.stall:g} s: no news from the worker (last: {said.state}),"
            " and the film did not grow.",
            cure="See whether the worker still runs; if frames take that long, raise limits.stall or stall_timeout.",
        )

    def _tell(self, flight: Flight, standing: Standing | None, stage: str) -> None:
        frames = flight.transcript.frames
        percent = None if standing is None or not standing.percent else min(99.9, standing.percent)
        self._ledger.progress(
            flight.job_id,
            Progress(percent=percent, frames=frames, stage=stage),
            self._farm.eta(flight.job_id, flight.transcript),
        )

    # -- the end of a uid -----------------------------------------------------------------------------------

    def _give_back(self, flight: Flight, why: str) -> None:
        """The uid is spoiled by nobody's fault: another one, and no try is used."""
        job = self._ledger.get(flight.job_id)
        self._end(flight)
        if job is not None and job.state is State.RENDERING:
            logger.warning("{}: {}", job.key, why)
            self._concluder.put_back(job, why, seconds=REST_SECONDS)

    def _give_up(self, flight: Flight, failure: Failure) -> None:
        """The attempt has failed, and its worker may still be at it."""
        job = self._ledger.get(flight.job_id)
        ended = Ended.RENDER if failure.code is Code.RENDER_TIMEOUT else Ended.STALL
        if job is not None and job.state is State.RENDERING:
            evidence = f"{failure.message}\nThe server's last word: {flight.standing}"
            self._concluder.failed(job, failure, self._attempted(flight, Outcome(ended=ended, evidence=evidence)))
        self._end(flight)

    def _end(self, flight: Flight) -> None:
        """Nobody waits for this uid any more: it leaves the server, and its folder the share."""
        flight.growth.close()
        if flight.uid not in self._landings:
            self._leaving[flight.uid] = self._clock() + _LEAVES_SECONDS
            self._poll_due = 0.0
        self._drop(flight)
        self._landings.pop(flight.uid, None)
        self._slips.doom(flight.uid)
        disk.remove_tree(flight.prepared.work)
        disk.remove_tree(self._farm.private(flight.uid))  # what a worker holds on to is swept later
        self._gate.wake.set()

    def _tidy(self, found: Standings, doomed: list[str]) -> None:
        """Remove from the server what nobody waits for: given up, cancelled, finished, or back with an old database."""
        for uid in doomed:
            if uid not in found.jobs:
                self._slips.drop(uid)
            elif self._server.delete(uid) is not None:
                break  # it is away, or slow: those that are waited for come first
            self._leaving.pop(uid, None)
        for uid in found.strangers:
            job_id = job_of(uid)
            if job_id is not None and uid not in self._slips and self._ledger.get(job_id) is not None:
                logger.bind(job=job_id).info("nexrender-server has {}, which nobody waits for; it is removed", uid)
                self._slips.adopt(uid, job_id)

    # -- the verdict ----------------------------------------------------------------------------------------

    def _lands(self, flight: Flight, standing: Standing) -> None:
        """The server says that it is over. It stays there until our own end of it is recorded."""
        failed = standing.phase is Phase.FAILED
        _feed(flight.transcript, flight.uid, standing, self._clock())
        seconds = standing.seconds or self._clock() - (flight.working or flight.started)
        attempted = self._attempted(flight, Outcome(code=1 if failed else 0, seconds=seconds))
        if failed and not standing.error:
            self._fails_without_a_word(flight, standing, attempted)
            return
        if flight.resumed and not failed and self._folders.health() is not None:
            return  # nobody can see now whether there is a film; it is asked for again
        if flight.resumed and not failed and not self._has_film(flight):
            self._give_back(flight, "watchrender was interrupted while it delivered the film; it is rendered again")
            return
        flight.growth.close()
        is_ours = failed or not self._may_be_shared(flight)
        self._landings[flight.uid] = Landing(flight=flight, at=self._clock(), is_ours=is_ours)
        self._hand_over(Delivery(job_id=flight.job_id, attempted=attempted))
        self._drop(flight)
        self._gate.wake.set()

    def _may_be_shared(self, flight: Flight) -> bool:
        """Where some workers take jobs without the lock, having one by the lock keeps none of them away."""
        return flight.shared is not None or self._has_lockless

    @staticmethod
    def _has_film(flight: Flight) -> bool:
        found = measure((flight.prepared.output_folder,), time.monotonic() + _MEASURE_SECONDS)
        return found is None or found.files > 0

    def _fails_without_a_word(self, flight: Flight, standing: Standing, attempted: Attempted) -> None:
        job = self._ledger.get(flight.job_id)
        if job is not None and job.state is State.RENDERING:
            who = f"The worker {standing.executor}" if standing.executor else "A worker"
            failure = fail(
                Code.RENDER_FAILED,
                f"{who} ended the render with an error and did not say which.",
                cure="See the log of the workers; newer ones than 1.8 tell the server their errors.",
            )
            self._concluder.failed(job, failure, attempted)
        self._end(flight)

    def _attempted(self, flight: Flight, outcome: Outcome) -> Attempted:
        return Attempted(
            prepared=flight.prepared,
            outcome=outcome,
            transcript=flight.transcript,
            started_at=flight.started_at,
            finished_at=self._ledger.stamp(),
        )

    def _finish(self, delivery: Delivery) -> bool:
        landing = self._landings.get(delivery.attempted.prepared.uid)
        if landing is None:
            return super()._finish(delivery)
        try:
            if not landing.is_ours and not self._make_ours(landing, delivery):
                return landing.flight.uid not in self._landings
            if self._may_come_yet(landing, delivery):
                return False
        except OSError as error:
            job = self._ledger.get(delivery.job_id)
            if job is not None:
                self._concluder.refused(job, error, f"the film of {job.key} could not be copied")
            return False
        done = super()._finish(delivery)
        if done:
            self._end(landing.flight)
        return done

    def _make_ours(self, landing: Landing, delivery: Delivery) -> bool:
        """Where a second worker may be writing into the file, a copy is judged and delivered: made when nothing has
        moved for a while, and believed if nothing moved meanwhile. False: not yet, or never (then it is given back)."""
        prepared, now = delivery.attempted.prepared, self._clock()
        if (offline := self._folders.health()) is not None:
            raise disk.Away(errno.ENODEV, offline.message, str(prepared.output_folder))  # no film that has shrunk
        size = measure((prepared.output_folder,), time.monotonic() + _MEASURE_SECONDS)
        if landing.still_since is None:
            landing.size, landing.still_since = size, now
        if size != landing.size:
            return self._has_moved(landing)
        if now - landing.still_since < self._settle_seconds:
            return False
        ours = prepared.output_folder.with_name("ours")
        disk.remove_tree(ours)
        disk.copy_tree(prepared.output_folder, ours)
        if measure((prepared.output_folder,), time.monotonic() + _MEASURE_SECONDS) != size:
            return self._has_moved(landing)
        delivery.attempted = replace(delivery.attempted, prepared=replace(prepared, output_folder=ours))
        landing.is_ours = True
        return True

    def _has_moved(self, landing: Landing) -> bool:
        """Once may be the share, which tells of the last bytes late; again is a second worker."""
        landing.changes += 1
        landing.size = landing.still_since = None
        if landing.changes >= _MOVES_TWICE and self._spoiled[landing.flight.job_id] < _SPOILED_OFTEN:
            self._spoiled[landing.flight.job_id] += 1
            self._give_back(landing.flight, "two workers rendered it at once into one file; it is handed over again")
        return False

    def _may_come_yet(self, landing: Landing, delivery: Delivery) -> bool:
        """The worker is finished and the film is not there, or not whole: a share may show late what was written on
        another machine. It is looked at again for a while before that is the verdict."""
        job = self._ledger.get(delivery.job_id)
        is_early = self._clock() - landing.at < _COMES_WITHIN_SETTLES * self._settle_seconds
        if not is_early or job is None or delivery.begun or delivery.attempted.outcome.code != 0:
            return False
        failure = self._finisher.judge(job, delivery)
        if failure is None or failure.code not in (Code.OUTPUT_MISSING, Code.OUTPUT_TRUNCATED):
            return False
        delivery.judged = False
        if delivery.attempted.prepared.output_folder.name == "ours":
            landing.is_ours = False  # a copy of what was there then
            landing.still_since = None
            out = landing.flight.prepared.output_folder
            delivery.attempted = replace(
                delivery.attempted, prepared=replace(delivery.attempted.prepared, output_folder=out)
            )
        return True


def _spoiled(flight: Flight, standing: Standing) -> str | None:
    """Why nothing good can come of this uid any more."""
    before = flight.standing
    if standing.copies > 1:
        return "nexrender-server has it twice"
    if before is None:
        return None
    if standing.phase is Phase.WAITING and before.phase is Phase.WORKING:
        return "nexrender-server says that no worker has it any more (an older database, or its worker was stopped)"
    if before.executor and standing.executor and before.executor != standing.executor:
        return "a second worker took it"
    # Workers without the lock say "started" once, and nothing more until the end: a second time was a second worker.
    is_again = standing.state == before.state == "started" and standing.executor is None
    if is_again and standing.updated != before.updated and standing.percent == before.percent:
        return "two workers took it at once"
    return None


def _feed(transcript: Transcript, uid: str, standing: Standing, at: float) -> None:
    """The little that a server tells of a render, in the words of a transcript."""
    lines = standing.error.splitlines()
    transcript.feed(f"[{uid}] setting up job...", at)
    if standing.phase is Phase.FINISHED or any(_is_of_the_render(line) for line in lines):
        transcript.feed(f"[{uid}] rendering job...", at)
    for line in lines:
        told = line.removeprefix("Error: ")
        known = meanings.of_nexrender([line], meanings.Around()) or meanings.of_source([line], meanings.Around())
        is_after_effects = told != line and known is None
        transcript.feed(f"[{uid}] rendering reached an error: {told}" if is_after_effects else line, at)


def _is_of_the_render(line: str) -> bool:
    return "aerender" in line or "result file" in line or "PROGRESS:" in line
