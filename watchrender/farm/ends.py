"""The end of a uid: it leaves the server, and its folder the share. Of a uid, not of its job, which may get another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from watchrender import disk
from watchrender.conclude import REST_SECONDS, Concluder
from watchrender.core import standing as rules
from watchrender.core.failure import Code, Failure
from watchrender.core.job import Job
from watchrender.core.standing import Standing, Standings
from watchrender.core.states import State
from watchrender.farm.flights import Flight, Flights
from watchrender.gate import Gate
from watchrender.handover import FarmPreparer, Slips, job_of
from watchrender.ledger.ledger import Ledger
from watchrender.prepare import Attempted
from watchrender.render.engine import Ended, Outcome
from watchrender.render.server import Server


class Ends:
    """Every way in which a uid ends, but for the one in which its film is delivered."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        gate: Gate,
        concluder: Concluder,
        server: Server,
        preparer: FarmPreparer,
        flights: Flights,
        slips: Slips,
        is_prepared: Callable[[str], bool],
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._concluder = concluder
        self._server = server
        self._preparer = preparer
        self._flights = flights
        self._slips = slips
        self._is_prepared = is_prepared  # is this the folder of what is being prepared now?

    def end(self, flight: Flight) -> None:
        """Nobody waits for this uid any more."""
        flight.growth.close()
        self._flights.over(flight)
        self._slips.doom(flight.uid)
        disk.remove_tree(flight.prepared.work)
        disk.remove_tree(self._preparer.private(flight.uid))  # what a worker holds on to is swept later
        self._gate.wake.set()

    def cancel(self, flight: Flight, job: Job) -> None:
        self.end(flight)
        self._concluder.cancelled(job)

    def put_back(self, flight: Flight, job: Job, why: str) -> None:
        self.end(flight)
        self._concluder.put_back(job, why)

    def give_back(self, flight: Flight, why: str) -> None:
        """The uid is spoiled by nobody's fault: another one, and no try is used."""
        job = self._rendering(flight)
        self.end(flight)
        if job is not None:
            logger.warning("{}: {}", job.key, why)
            self._concluder.put_back(job, why, seconds=REST_SECONDS)

    def give_up(self, flight: Flight, failure: Failure) -> None:
        """The attempt has failed, and its worker may still be at it."""
        job = self._rendering(flight)
        if job is not None:
            ended = Ended.RENDER if failure.code is Code.RENDER_TIMEOUT else Ended.STALL
            evidence = f"{failure.message}\nThe server's last word: {flight.standing}"
            outcome = Outcome(ended=ended, evidence=evidence)
            self._concluder.failed(job, failure, flight.attempted(outcome, self._ledger.stamp()))
        self.end(flight)

    def fails_without_a_word(self, flight: Flight, standing: Standing, attempted: Attempted) -> None:
        job = self._rendering(flight)
        if job is not None:
            self._concluder.failed(job, rules.failed_without_a_word(standing), attempted)
        self.end(flight)

    def own_fault(self, flight: Flight, error: Exception) -> None:
        """A bug in one job must not stand the whole farm still, and must not hide."""
        self._concluder.own_fault(flight.job_id, error)
        self.end(flight)

    def _rendering(self, flight: Flight) -> Job | None:
        job = self._ledger.get(flight.job_id)
        return job if job is not None and job.state is State.RENDERING else None

    # -- what is left of it ---------------------------------------------------------------------------------

    def tidy(self, found: Standings, doomed: list[str]) -> None:
        """Remove from the server what nobody waits for: given up, cancelled, finished, or back with an old database."""
        for uid in doomed:
            if uid not in found.jobs:
                self._slips.drop(uid)
            elif self._server.delete(uid) is not None:
                break  # it is away, or slow: those that are waited for come first
            self._flights.left(uid)
        for uid in found.strangers:
            job_id = job_of(uid)
            if job_id is not None and uid not in self._slips and self._ledger.get(job_id) is not None:
                logger.bind(job=job_id).info("nexrender-server has {}, which nobody waits for; it is removed", uid)
                self._slips.adopt(uid, job_id)

    def sweep(self) -> None:
        """What is left on the share of uids that are over: held open when it was removed, or made anew by a worker."""
        with suppress(OSError):
            self._preparer.sweep(self._is_kept)
        self._flights.forget(self._is_over)

    def _is_kept(self, name: str) -> bool:
        # In this order: what is being prepared becomes a flight, and a flight becomes a landing.
        return self._is_prepared(name) or self._flights.is_waited_for(name)

    def _is_over(self, job_id: str) -> bool:
        job = self._ledger.get(job_id)
        return job is None or job.over
