"""What the server calls finished, from there until it can be judged: is there a film, is it whole, is it ours alone?"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from watchrender import disk
from watchrender.core import standing as rules
from watchrender.core.failure import Code
from watchrender.core.standing import Phase, Standing
from watchrender.farm.ends import Ends
from watchrender.farm.flights import Flight, Flights, Landing
from watchrender.finish import Delivery, Finisher
from watchrender.gate import Gate
from watchrender.ledger.ledger import Ledger
from watchrender.render import retold
from watchrender.render.engine import Outcome
from watchrender.render.life import Size, measure
from watchrender.spool.folders import Folders

_MEASURE_SECONDS = 30.0
#: The copy of a film into which a second worker may be writing.
_OURS = "ours"


class Landings:
    """Takes what is back from the farm to the verdict."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        gate: Gate,
        folders: Folders,
        finisher: Finisher,
        flights: Flights,
        ends: Ends,
        hand_over: Callable[[Delivery], None],
        settle_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._folders = folders
        self._finisher = finisher
        self._flights = flights
        self._ends = ends
        self._hand_over = hand_over  # to the thread that judges and delivers
        self._settle_seconds = settle_seconds
        self._clock = clock

    # -- the follower's part --------------------------------------------------------------------------------

    def lands(self, flight: Flight, standing: Standing) -> None:
        """The server says that it is over. It stays there until our own end of it is recorded."""
        failed = standing.phase is Phase.FAILED
        retold.retell(flight.transcript, standing, self._clock())
        seconds = standing.seconds or self._clock() - (flight.working or flight.started)
        attempted = flight.attempted(Outcome(code=1 if failed else 0, seconds=seconds), self._ledger.stamp())
        if failed and not standing.error:
            self._ends.fails_without_a_word(flight, standing, attempted)
            return
        if flight.resumed and not failed and self._folders.health() is not None:
            return  # nobody can see now whether there is a film; it is asked for again
        if flight.resumed and not failed and not _has_film(flight):
            self._ends.give_back(
                flight, "watchrender was interrupted while it delivered the film; it is rendered again"
            )
            return
        flight.growth.close()
        delivery = Delivery(job_id=flight.job_id, attempted=attempted)
        is_ours = failed or not self._flights.may_be_shared(flight)
        # In this order: what is in neither list is swept away, and a farm without either is idle.
        self._flights.landings[flight.uid] = Landing(
            flight=flight, delivery=delivery, at=self._clock(), is_ours=is_ours
        )
        self._hand_over(delivery)
        self._flights.drop(flight)
        self._gate.wake.set()

    # -- the finisher's part --------------------------------------------------------------------------------

    def is_ready(self, landing: Landing) -> bool:
        """May it be judged now, once and for all? False: not yet, or never (then it has been given back)."""
        return (landing.is_ours or self._make_ours(landing)) and not self._may_come_yet(landing)

    def _make_ours(self, landing: Landing) -> bool:
        """Where a second worker may be writing into the file, a copy is judged and delivered: made when nothing has
        moved for a while, and believed if nothing moved meanwhile."""
        out = landing.flight.prepared.output_folder
        if (offline := self._folders.health()) is not None:
            raise disk.Away(errno.ENODEV, offline.message, str(out))  # no film that has shrunk
        size, now, before = _size(landing), self._clock(), landing.stillness
        landing.stillness = before.seen(size, now)
        if landing.stillness.moves > before.moves:
            return self._has_moved(landing)
        if not landing.stillness.has_lasted(now, self._settle_seconds):
            return False
        ours = out.with_name(_OURS)
        disk.remove_tree(ours)
        disk.copy_tree(out, ours)
        if _size(landing) != size:
            landing.stillness = landing.stillness.moved()
            return self._has_moved(landing)
        self._judges(landing, ours)
        landing.is_ours = True
        return True

    def _has_moved(self, landing: Landing) -> bool:
        job_id = landing.flight.job_id
        if landing.stillness.is_disturbed and self._flights.is_tried_anew(job_id):
            self._ends.give_back(
                landing.flight, "two workers rendered it at once into one file; it is handed over again"
            )
        return False

    def _may_come_yet(self, landing: Landing) -> bool:
        """The worker is finished and the film is not there, or not whole: a share may show late what was written on
        another machine. It is looked at again for a while before that is the verdict."""
        delivery = landing.delivery
        job = self._ledger.get(delivery.job_id)
        is_early = rules.may_come_yet(self._clock() - landing.at, self._settle_seconds)
        if not is_early or job is None or delivery.begun or delivery.attempted.outcome.code != 0:
            return False
        failure = self._finisher.judge(job, delivery)
        if failure is None or failure.code not in (Code.OUTPUT_MISSING, Code.OUTPUT_TRUNCATED):
            return False
        delivery.judged = False
        if delivery.attempted.prepared.output_folder.name == _OURS:
            landing.is_ours = False  # a copy of what was there then
            landing.stillness = replace(landing.stillness, since=None)
            self._judges(landing, landing.flight.prepared.output_folder)
        return True

    @staticmethod
    def _judges(landing: Landing, folder: Path) -> None:
        attempted = landing.delivery.attempted
        landing.delivery.attempted = replace(attempted, prepared=replace(attempted.prepared, output_folder=folder))


def _size(landing: Landing) -> Size | None:
    return measure((landing.flight.prepared.output_folder,), time.monotonic() + _MEASURE_SECONDS)


def _has_film(flight: Flight) -> bool:
    found = measure((flight.prepared.output_folder,), time.monotonic() + _MEASURE_SECONDS)
    return found is None or found.files > 0
