"""What is with the farm, and what is back from it. One list, of which hand, follow and finish each change a part."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from watchrender.core import standing as rules
from watchrender.core.standing import Standing, Stillness
from watchrender.finish import Delivery
from watchrender.handover import Slip
from watchrender.prepare import Attempted, Prepared
from watchrender.render.engine import Outcome
from watchrender.render.life import Growth, Size
from watchrender.render.transcript import Transcript

#: A uid that is to leave the server counts as handed over until it has left, and no longer than this.
_LEAVES_SECONDS = 10.0


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

    def attempted(self, outcome: Outcome, stamp: str) -> Attempted:
        return Attempted(
            prepared=self.prepared,
            outcome=outcome,
            transcript=self.transcript,
            started_at=self.started_at,
            finished_at=stamp,
        )


@dataclass(kw_only=True)
class Landing:
    """One job that is back, on its way to the verdict."""

    flight: Flight
    delivery: Delivery
    at: float  # monotonic
    is_ours: bool = False  # nobody else can write into what is judged
    stillness: Stillness = field(default_factory=Stillness)


class Flights:
    """Every flight and landing, by uid. Whoever looks at all of them looks at a copy of the list."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flights: dict[str, Flight] = {}
        self._of_job: dict[str, Flight] = {}  # the same, by job
        self._leaving: dict[str, float] = {}  # uids that a worker may have, and that nobody waits for; until when
        self.landings: dict[str, Landing] = {}
        self.vanished: Counter[str] = Counter()  # by job: how often the server lost it
        self.spoiled: Counter[str] = Counter()  # by job: how often its uid came to nothing
        self.has_lockless = False  # a worker was seen that takes jobs without the server's lock
        self.poll_now = True  # something happened that is worth a question before its time
        self.tick = threading.Event()  # the same for a wish of people

    def __len__(self) -> int:
        return len(self._flights)

    def all(self) -> list[Flight]:
        return list(self._flights.values())

    def posted(self) -> list[Flight]:
        return [flight for flight in self.all() if flight.posted is not None]

    def of_job(self, job_id: str) -> Flight | None:
        return self._of_job.get(job_id)

    def add(self, flight: Flight) -> None:
        self._flights[flight.uid] = self._of_job[flight.job_id] = flight

    def drop(self, flight: Flight) -> None:
        self._flights.pop(flight.uid, None)
        if self._of_job.get(flight.job_id) is flight:
            del self._of_job[flight.job_id]

    def over(self, flight: Flight) -> None:
        """Nobody waits for it any more. It counts as handed over until it has left the server."""
        if flight.uid not in self.landings:
            self._leaving[flight.uid] = self._clock() + _LEAVES_SECONDS
            self.poll_now = True
        self.drop(flight)
        self.landings.pop(flight.uid, None)

    def left(self, uid: str) -> None:
        self._leaving.pop(uid, None)

    def is_waited_for(self, uid: str) -> bool:
        return uid in self._flights or uid in self.landings

    def has_room(self, most: int, *, closed: bool) -> bool:
        now = self._clock()
        leaving = sum(now < until for until in list(self._leaving.values()))
        return rules.has_room(most=most, handed=len(self), leaving=leaving, landing=len(self.landings), closed=closed)

    def may_be_shared(self, flight: Flight) -> bool:
        """Where some workers take jobs without the lock, having one by the lock keeps none of them away."""
        return flight.shared is not None or self.has_lockless

    def is_tried_anew(self, job_id: str) -> bool:
        """Its uid is spoiled: is the job handed over again? Counted."""
        self.spoiled[job_id] += 1
        return rules.is_tried_anew(self.spoiled[job_id] - 1)

    def forget(self, is_over: Callable[[str], bool]) -> None:
        """What was counted of jobs that are over."""
        known = {flight.job_id for flight in self.all()}
        for counter in (self.vanished, self.spoiled):
            for job_id in [found for found in list(counter) if found not in known and is_over(found)]:
                del counter[job_id]
