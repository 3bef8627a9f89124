"""What the server says of the jobs that are with it: asked by one request for all of them, again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from loguru import logger

from watchrender.core import standing as rules
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Progress
from watchrender.core.standing import Phase, Standing
from watchrender.core.states import State
from watchrender.farm.ends import Ends
from watchrender.farm.flights import Flight, Flights
from watchrender.farm.landings import Landings
from watchrender.gate import Gate
from watchrender.handover import FarmPreparer, Slips
from watchrender.ledger.ledger import Ledger
from watchrender.render.engine import Limits
from watchrender.render.server import Server

_LOOK_SECONDS = 5.0  # an idle farm is asked this often whether it is there
_SWEEP_SECONDS = 30.0
#: Of so many polls the busiest tells how many workers there are.
_POLLS_REMEMBERED = 300
_WAITING, _RENDERING = "waiting for a worker", "rendering"


class Follower:
    """Follows every flight until it is back, or given up."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        gate: Gate,
        server: Server,
        preparer: FarmPreparer,
        flights: Flights,
        slips: Slips,
        ends: Ends,
        landings: Landings,
        poll_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._server = server
        self._preparer = preparer
        self._flights = flights
        self._slips = slips
        self._ends = ends
        self._landings = landings
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._asked_at = clock()
        self._at_work: deque[int] = deque(maxlen=_POLLS_REMEMBERED)
        self._poll_due = self._look_due = self._sweep_due = 0.0
        self._was_away = False

    def turn(self) -> None:
        self._obey()
        now = self._clock()
        if now >= self._poll_due or self._flights.poll_now:
            self._flights.poll_now, self._poll_due = False, now + self._poll_seconds
            self._poll()
        if now >= self._sweep_due:
            self._sweep_due = now + _SWEEP_SECONDS
            self._ends.sweep()

    def at_work(self) -> int:
        """So many were seen to render at once."""
        return max(tuple(self._at_work), default=0)

    def wait_for(self, failure: Failure) -> None:
        # Once: each further word would put off the next look.
        if all(known.code is not failure.code for known in self._gate.waiting()):
            self._gate.wait_for(failure)

    def is_handed(self, flight: Flight) -> None:
        """It has just been posted."""
        flight.posted = flight.news = self._clock()
        self._tell(flight, None, _WAITING)
        self._flights.poll_now = True

    # -- people ---------------------------------------------------------------------------------------------

    def _obey(self) -> None:
        """What people asked of jobs that are with the farm."""
        for flight in self._flights.posted():  # any other is being handed over right now
            job = self._ledger.get(flight.job_id)
            if job is None or job.state is not State.RENDERING:
                self._ends.end(flight)
            elif job.cancel_requested:
                self._ends.cancel(flight, job)
            elif (why := self._put_back(flight)) is not None:
                self._ends.put_back(flight, job, why)

    def _put_back(self, flight: Flight) -> str | None:
        if flight.put_back is None and self._gate.stopping and self._gate.put_back:
            return "somebody stopped the service; it starts again with the next start"
        return flight.put_back

    # -- polls ----------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        flights, doomed = self._flights.posted(), self._slips.doomed()
        if not flights and not doomed:
            self._look_at_idle_farm()
            return
        asked_at = self._clock()
        found = self._server.standings([*(flight.uid for flight in flights), *doomed])
        since, self._asked_at = self._asked_at, self._clock()
        if isinstance(found, Failure):
            self._unheard(found, self._asked_at - since)
            return
        self._is_back()
        for flight in flights:
            with logger.contextualize(job=flight.job_id):
                self._hear_safely(flight, found.jobs.get(flight.uid), asked_at)
        self._at_work.append(sum(flight.working is not None for flight in flights))
        self._ends.tidy(found, doomed)

    def _look_at_idle_farm(self) -> None:
        if self._clock() < self._look_due or self._gate.waiting():
            return
        self._look_due = self._clock() + _LOOK_SECONDS
        self._gate.looked(self._preparer.look(), self._preparer.LOOKED_FOR)

    def _unheard(self, failure: Failure, seconds: float) -> None:
        """The server is away. Its workers render on, and nobody is blamed for the silence: for so many seconds there
        was nothing to hear. No more than that is forgiven, for there are servers that answer now and then."""
        self.wait_for(failure)
        self._was_away = True
        now = self._clock()
        for flight in self._flights.all():
            flight.news = min(now, flight.news + seconds)
            flight.shared = flight.shared or "the server was away for a while"

    def _is_back(self) -> None:
        """It answers again: nobody has to wait for the next look, which after a long while is a minute away."""
        if self._was_away:
            self._was_away = False
            self._gate.looked(self._preparer.look(), self._preparer.LOOKED_FOR)

    # -- one job --------------------------------------------------------------------------------------------

    def _hear_safely(self, flight: Flight, standing: Standing | None, asked_at: float) -> None:
        try:
            self._hear(flight, standing, asked_at)
        except OSError as error:
            logger.warning("{} could not be followed, and is asked for again: {}", flight.uid, str(error))
        except Exception as error:
            self._ends.own_fault(flight, error)

    def _hear(self, flight: Flight, standing: Standing | None, asked_at: float) -> None:
        """What the server says now of one job."""
        if standing is None:
            self._missing(flight, asked_at)
            return
        flight.missing = 0
        if (why := rules.spoiled(flight.standing, standing)) is not None:
            if self._flights.is_tried_anew(flight.job_id):
                self._ends.give_back(flight, f"{why}; it is handed over again under a new uid")
                return
            flight.shared = flight.shared or why
        before, flight.standing = flight.standing, standing
        if standing.phase is not Phase.WAITING and flight.working is None:
            self._is_taken(flight, standing)
        match standing.phase:
            case Phase.WAITING:
                flight.news = self._clock()
                self._tell(flight, None, _WAITING)
                self._wait_for_a_worker(flight)
            case Phase.WORKING:
                self._works(flight, standing, is_news=before is None or before.news != standing.news)
            case _:
                self._landings.lands(flight, standing)

    def _missing(self, flight: Flight, asked_at: float) -> None:
        assert flight.posted is not None
        if flight.posted >= asked_at:
            return  # the question was older than the job
        flight.missing += 1
        if not rules.is_gone(flight.missing):
            return
        self._flights.vanished[flight.job_id] += 1
        if rules.is_forgetful(self._flights.vanished[flight.job_id]):
            words = f"nexrender-server forgets what it is handed: {flight.uid} is not there any more"
            self.wait_for(fail(Code.NEXRENDER_SERVER_UNREACHABLE, f"{words}."))
        self._ends.give_back(flight, "nexrender-server does not know it; it is handed over again")

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
        self._flights.vanished.pop(flight.job_id, None)
        if standing.executor is None:
            self._flights.has_lockless = True
            flight.shared = flight.shared or "its worker did not pick it up by the server's lock"
        node = {"node": standing.executor} if standing.executor else {}
        self._ledger.note(flight.job_id, f"{standing.who} has it", waiting_for=(), **node)
        logger.info("{} has it, as {}", standing.who, flight.uid)

    def _works(self, flight: Flight, standing: Standing, *, is_news: bool) -> None:
        now = self._clock()
        if is_news or self._is_blind():
            flight.news = now
        limits = self._limits(flight)
        self._look_at_growth(flight, limits, now)
        self._tell(flight, standing, _RENDERING)
        assert flight.working is not None
        failure = rules.over_limit(
            standing,
            worked=now - flight.working,
            silent=now - flight.news,
            render=limits.render,
            stall=limits.stall,
        )
        if failure is not None:
            self._ends.give_up(flight, failure)

    def _is_blind(self) -> bool:
        """While the share is away nobody can be seen to work."""
        return any(failure.code is Code.SHARE_OFFLINE for failure in self._gate.waiting())

    def _limits(self, flight: Flight) -> Limits:
        job = self._ledger.get(flight.job_id)
        return self._preparer.limits(job) if job is not None else flight.prepared.attempt.limits

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

    def _tell(self, flight: Flight, standing: Standing | None, stage: str) -> None:
        percent = None if standing is None or not standing.percent else min(99.9, standing.percent)
        self._ledger.progress(
            flight.job_id,
            Progress(percent=percent, frames=flight.transcript.frames, stage=stage),
            self._preparer.eta(flight.job_id, flight.transcript),
        )
