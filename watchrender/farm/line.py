"""The line from the queue to the done folder, through nexrender-server: handing over, and what an earlier life did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

from loguru import logger

from watchrender import disk
from watchrender.config.model import NexrenderServer
from watchrender.core import clock as clocks
from watchrender.core.failure import Failure, Kind
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.farm.ends import Ends
from watchrender.farm.flights import Flight, Flights, Landing
from watchrender.farm.follower import Follower
from watchrender.farm.landings import Landings
from watchrender.finish import Delivery
from watchrender.handover import FarmPreparer, Slip, Slips, job_of
from watchrender.prepare import Prepared
from watchrender.render.engine import Engine, Outcome
from watchrender.render.life import Growth
from watchrender.render.server import Server
from watchrender.worker import Worker

_TICK_SECONDS = 0.2  # a wish to cancel is heard at least this often
#: When the service stops, so long a request may go on that hangs.
_HANGS_SECONDS = 2.0


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
        self._slips = Slips(self._ledger)
        self._flights = Flights(clock)
        self._ends = Ends(
            ledger=self._ledger,
            gate=self._gate,
            concluder=self._concluder,
            server=server,
            preparer=preparer,
            flights=self._flights,
            slips=self._slips,
            is_prepared=self._is_prepared,
        )
        self._landings = Landings(
            ledger=self._ledger,
            gate=self._gate,
            folders=self._folders,
            finisher=self._finisher,
            flights=self._flights,
            ends=self._ends,
            hand_over=self._hand_over,
            settle_seconds=settle_seconds,
            clock=clock,
        )
        self._follower = Follower(
            ledger=self._ledger,
            gate=self._gate,
            server=server,
            preparer=preparer,
            flights=self._flights,
            slips=self._slips,
            ends=self._ends,
            landings=self._landings,
            poll_seconds=settings.poll_interval,
            clock=clock,
        )
        self._stops_since: float | None = None
        # The worker's own loop hands over; deliveries go on for as long as this other one follows what was handed over.
        self._hand_thread = self._render_thread
        self._render_thread = threading.Thread(target=self._follow_loop, name="follow", daemon=True)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._resume()
        super().start()
        self._hand_thread.start()

    def stop(self, seconds: float) -> bool:
        """Jobs that are with the farm stay there, and the next start picks them up; unless they are to be finished, or
        a person said stop: then they are put back."""
        deadline = self._clock() + seconds
        if self._stops_since is None:
            self._stops_since = self._clock()
        self._gate.wake.set()
        self._flights.tick.set()
        if self._hand_thread.ident is not None:
            self._hand_thread.join(max(0.05, seconds))
        done = super().stop(max(0.05, deadline - self._clock())) and not self._hand_thread.is_alive()
        if not done and self._clock() - self._stops_since >= _HANGS_SECONDS and not self._waits_for_films():
            self._server.hang_up()
        return done

    def _waits_for_films(self) -> bool:
        """Is what is with the farm followed to its end, and nothing more handed over?"""
        is_cut_short = self._gate.put_back or self._no_grace()
        return self._finish_running and not is_cut_short and not self._hand_thread.is_alive()

    def idle(self) -> bool:
        return super().idle() and not len(self._flights)

    def current(self) -> str | None:
        flight = next(iter(self._flights.all()), None)
        return flight.job_id if flight is not None else super().current()

    def started_at(self, job_id: str) -> float | None:
        flight = self._flights.of_job(job_id)
        return flight.started if flight is not None else super().started_at(job_id)

    def lanes(self) -> int:
        """As many as were seen to render at once; before that, as many as may be handed over."""
        return self._follower.at_work() or self._most

    def waits(self, job_id: str) -> bool:
        flight = self._flights.of_job(job_id)
        return flight is not None and flight.working is None

    def put_back(self, job_id: str, why: str) -> None:
        super().put_back(job_id, why)
        flight = self._flights.of_job(job_id)
        if flight is not None:
            flight.put_back = why
            self._flights.tick.set()

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
            self._flights.add(flight)
            self._ledger.note(job.id, "picked up again after a restart: it is with the farm")
            logger.bind(job=job.id).info("{} is picked up again as {}", job.key, slip.uid)
        self._farm.sweep(self._flights.is_waited_for)

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
        """The next job, if there is room for it."""
        return super()._next() if self._flights.has_room(self._most, closed=bool(self._gate.waiting())) else None

    def _is_prepared(self, uid: str) -> bool:
        slot = self._slot
        return slot is not None and job_of(uid) == slot.job_id

    def _attempt(self, job: Job, prepared: Prepared) -> None:
        try:
            slip = self._slips.add(job, prepared)  # before the server hears of it: whatever ends us, the uid is known
        except BaseException:
            self._finisher.discard(prepared)
            disk.remove_tree(self._farm.private(prepared.uid))
            raise
        flight = self._flight(job, slip, prepared, started_at=self._ledger.stamp())
        flight.put_back = self._slot.put_back if self._slot is not None else None
        self._flights.add(flight)
        try:
            self._say(job, self._farm.warnings(slip.uid))
            self._post(job, flight)
        finally:
            if flight.posted is None:
                self._ends.end(flight)  # refused, or cut off: nobody follows it

    def _post(self, job: Job, flight: Flight) -> None:
        failure = self._server.post(flight.prepared.built.document)
        if failure is not None and failure.kind is not Kind.ENVIRONMENT:
            self._concluder.failed(job, failure, flight.attempted(Outcome(code=1), self._ledger.stamp()))
            return
        if failure is not None:
            # It may have arrived all the same, so it is followed, and never posted again under this uid.
            flight.shared = "it is not known whether it was handed over once"
            self._follower.wait_for(failure)
        self._follower.is_handed(flight)
        logger.info("{} is handed to nexrender-server as {}", job.key, flight.uid)

    def _say(self, job: Job, warnings: tuple[str, ...]) -> None:
        known = self._ledger.get(job.id) or job
        new = tuple(warning for warning in warnings if warning not in known.warnings)
        if new:
            self._ledger.note(job.id, warnings=(*known.warnings, *new))

    # -- following ------------------------------------------------------------------------------------------

    def _follow_loop(self) -> None:
        while not self._may_leave():
            self._follow()
            self._flights.tick.wait(min(_TICK_SECONDS, self._poll_seconds))
            self._flights.tick.clear()
        if self._gate.put_back and not self._at_once.is_set():
            self._follow()  # what was put back leaves the server now; what cannot, with the next start

    def _follow(self) -> None:
        try:
            self._follower.turn()
        except Exception:
            logger.exception("a fault in watchrender itself, or of a disk; the farm is followed on")

    def _may_leave(self) -> bool:
        if not self._gate.stopping or self._hand_thread.is_alive():
            return False
        stays = self._finish_running or self._gate.put_back
        return not stays or self._at_once.is_set() or not len(self._flights)

    # -- finishing ------------------------------------------------------------------------------------------

    def _finish(self, delivery: Delivery) -> bool:
        landing = self._flights.landings.get(delivery.attempted.prepared.uid)
        if landing is None:
            return super()._finish(delivery)
        if not self._is_ready(landing):
            return landing.flight.uid not in self._flights.landings
        done = super()._finish(delivery)
        if done:
            self._ends.end(landing.flight)
        return done

    def _is_ready(self, landing: Landing) -> bool:
        try:
            return self._landings.is_ready(landing)
        except OSError as error:
            job = self._ledger.get(landing.flight.job_id)
            if job is not None:
                self._concluder.refused(job, error, f"the film of {job.key} could not be copied")
            return False
