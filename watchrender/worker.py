"""From the queue to the done folder: prepare → attempt → finish.

Two threads joined by a queue. The first takes the next job and holds the slot while ONE aerender runs; the second
judges, hashes and delivers what was rendered while the next job renders already. Taking is recorded, then moved;
closing is moved, then recorded. What becomes of an attempt without a film is told in `conclude.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from loguru import logger

from watchrender.closing import Closer
from watchrender.conclude import REST_SECONDS, Concluder
from watchrender.core import clock as clocks
from watchrender.core import retry
from watchrender.core.failure import Failure, Kind
from watchrender.core.job import DELIVERING, Job, Progress
from watchrender.core.states import Event, Refused, State
from watchrender.finish import Delivery, Finisher
from watchrender.gate import Gate
from watchrender.judge import Judged
from watchrender.ledger.ledger import Ledger
from watchrender.prepare import Attempted, Missing, Prepared, Preparer
from watchrender.render.engine import Ended, Engine
from watchrender.render.process import TreeRecord
from watchrender.spool.folders import Busy, ClaimLost, Folders

#: Between two looks at the machine where no job asks for one.
IDLE_LOOK_SECONDS = 5.0
#: A delivery that is refused is tried again after so many seconds, then less and less often.
BUSY_SECONDS = 2.0
LONGEST_BUSY_SECONDS = 15.0


@dataclass(kw_only=True)
class Slot:
    """What holds the slot now."""

    job_id: str
    started: float  # monotonic
    put_back: str | None = None  # why the attempt is to be ended and its job queued again


class Worker:
    """The line from the queue to the done folder."""

    def __init__(
        self,
        *,
        folders: Folders,
        ledger: Ledger,
        gate: Gate,
        preparer: Preparer,
        engine: Engine,
        finisher: Finisher,
        closer: Closer,
        retry_settings: retry.RetrySettings,
        node: str,
        finish_running: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._gate = gate
        self._preparer = preparer
        self._engine = engine
        self._finisher = finisher
        self._retry = retry_settings
        self._node = node
        self._finish_running = finish_running
        self._clock = clock
        self._concluder = Concluder(
            folders=folders,
            ledger=ledger,
            gate=gate,
            closer=closer,
            finisher=finisher,
            settings=retry_settings,
            clock=clock,
        )
        self._rest = self._concluder.rest
        self._footage_waits: dict[str, float] = {}  # job id → since when it waits for footage, monotonic
        self._idle_look_due = 0.0
        self._slot: Slot | None = None
        self._at_once = threading.Event()  # a second signal: no grace for anybody
        self._deliveries: list[Delivery] = []
        self._delivery_wake = threading.Condition()
        self._delivering = 0
        self._render_thread = threading.Thread(target=self._render_loop, name="attempt", daemon=True)
        self._finish_thread = threading.Thread(target=self._finish_loop, name="finish", daemon=True)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._concluder.cancel_left_over()
        self._render_thread.start()
        self._finish_thread.start()

    def stop(self, seconds: float) -> bool:
        """After the gate says stop: wait for the attempt to be ended and put back, and for deliveries. True if all
        is done in time."""
        self._gate.wake.set()
        deadline = self._clock() + seconds
        _join(self._render_thread, max(0.1, deadline - self._clock()))
        with self._delivery_wake:
            self._delivery_wake.notify_all()
        _join(self._finish_thread, max(0.1, deadline - self._clock()))
        return not (self._render_thread.is_alive() or self._finish_thread.is_alive())

    def end_at_once(self) -> None:
        """The second signal: the tree is killed without grace."""
        self._at_once.set()

    def _no_grace(self) -> bool:
        return self._at_once.is_set() or self._gate.at_once

    def idle(self) -> bool:
        """Nothing renders and nothing is being delivered."""
        return self._slot is None and self._delivering == 0

    def current(self) -> str | None:
        slot = self._slot
        return slot.job_id if slot is not None else None

    def started_at(self, job_id: str) -> float | None:
        """Monotonic start of the attempt that runs, for this job only."""
        slot = self._slot
        return slot.started if slot is not None and slot.job_id == job_id else None

    def lanes(self) -> int:
        """How many jobs can render at once."""
        return 1

    def waits(self, _job_id: str) -> bool:
        """Is this job of a farm, and has no worker taken it yet?"""
        return False

    def put_back(self, job_id: str, why: str) -> None:
        """End the running attempt of this job and queue it again; no try is used."""
        slot = self._slot
        if slot is not None and slot.job_id == job_id:
            slot.put_back = why

    # -- take -----------------------------------------------------------------------------------------------

    def _render_loop(self) -> None:
        while not self._gate.stopping:
            self._gate.wake.clear()
            job = self._next()
            if job is None:
                self._gate.wake.wait(0.5)
                continue
            self._slot = Slot(job_id=job.id, started=self._clock())
            try:
                with logger.contextualize(job=job.id):
                    self._render(job)
            except Exception as error:
                # The one catch-all: a bug in one job must not stand the whole queue still, and must not hide.
                self._concluder.own_fault(job.id, error)
            finally:
                self._slot = None

    def _next(self) -> Job | None:
        """The first job in the queue that may start now."""
        is_idle = not self._gate.waiting() and self._clock() >= self._idle_look_due
        if is_idle or self._gate.look_due():
            self._look()
        if not self._gate.may_start() or (self._gate.waiting() and self._delivering):
            return None  # a job that tries a closed gate is judged before the next one tries
        now, stamp = self._clock(), self._ledger.stamp()
        tried = self._concluder.has_tried
        found = self._ledger.first(lambda job: job.id not in tried and self._may_start(job, now, stamp))
        if found is None and tried:
            tried.clear()  # each has had its turn at the closed gate
            found = self._ledger.first(lambda job: self._may_start(job, now, stamp))
        return found

    def _look(self) -> None:
        """Look at the machine; also where nothing is queued: who asks whether it could render now is told the truth."""
        self._idle_look_due = self._clock() + IDLE_LOOK_SECONDS
        self._gate.looked(self._preparer.look(), self._preparer.LOOKED_FOR)

    def _may_start(self, job: Job, now: float, stamp: str) -> bool:
        if job.hold or job.cancel_requested:
            return False
        if job.scheduled_at is not None and job.scheduled_at > stamp:
            return False
        if job.retry_at is not None and not self._rest.known(job.id):
            # After a restart: what is left of the wait, and never more than the longest wait, wherever the clock is.
            left = min(clocks.seconds_between(stamp, job.retry_at), self._retry.max_wait)
            self._rest.until(job.id, now + max(0.0, left))
        return self._rest.ready(job.id, now)

    def _render(self, job: Job) -> None:
        """One job through the slot."""
        if not job.begun and not self._folders.is_there(job):
            # Somebody takes it out of the inbox, and intake has not seen it twice yet. Told without taking it: a start
            # is a line of its story, and news for whoever is told of starts.
            self._rest.until(job.id, self._clock() + REST_SECONDS)
            return
        if not self._machine_is_fit(job) or self._still_waits(job):
            return
        try:
            job = self._take(job)
        except (Refused, KeyError):
            return  # somebody cancelled it, or saved its file again, since it was chosen
        except OSError as error:
            self._concluder.refused(job, error, "the start of a job could not be recorded")
            self._rest.until(job.id, self._clock() + REST_SECONDS)
            return
        try:
            claimed = self._claim(job)
            prepared = self._prepare(claimed) if claimed is not None else None
            if claimed is not None and prepared is not None:
                self._attempt(claimed, prepared)
        except OSError as error:
            self._blame(self._ledger.get(job.id) or job, error, "the attempt was cut off by the disk")

    def _machine_is_fit(self, job: Job) -> bool:
        faults = self._preparer.look(job)
        if not faults:
            self._gate.looked({}, self._preparer.LOOKED_FOR)
            return True
        general = self._preparer.look()
        self._gate.looked(general, self._preparer.LOOKED_FOR)
        if not general:
            # What this one asks for is not here (another After Effects); nobody else has to wait for that.
            words = tuple(fault.message for fault in faults.values())
            self._rest.until(job.id, self._clock() + 10 * REST_SECONDS)
            if job.waiting_for != words:
                self._ledger.note(job.id, waiting_for=words)
        return False

    def _take(self, job: Job) -> Job:
        position = self._ledger.position(job) or 1
        why = (
            "next in the queue"
            if position == 1
            else f"number {position} in the queue; those before it wait or are held"
        )
        taken = self._ledger.apply(
            job.id,
            Event.START,
            f"{why}, priority {job.priority} ({job.priority_from})",
            started_at=self._ledger.stamp(),
            node=self._node,
            retry_at=None,
            waiting_for=(),
            launches=job.launches + 1,
        )
        self._rest.over(job.id)
        logger.info("{} starts, try {} of {}", taken.key, taken.attempt, taken.max_attempts)
        return taken

    # -- prepare --------------------------------------------------------------------------------------------

    def _claim(self, job: Job) -> Job | None:
        if job.begun:
            return job
        try:
            folder = self._folders.claim(job)
        except ClaimLost:
            self._concluder.put_back(job, f"{job.file} is not in the inbox any more", seconds=REST_SECONDS)
        except Busy as busy:
            why = "its file is held open by somebody"
            self._concluder.put_back(job, why, waiting_for=(str(busy),), seconds=REST_SECONDS)
        except OSError as error:
            self._blame(job, error, "the job could not be claimed")
        else:
            return self._ledger.note(job.id, begun=True, folder=self._folders.relative(folder))
        return None

    def _blame(self, job: Job, error: OSError, what: str) -> None:
        """An error of the disk before or during an attempt: no try is used, unless it is about this job alone."""
        failure = self._concluder.refused(job, error, what)
        if failure.kind is Kind.ENVIRONMENT:
            self._concluder.put_back(job, failure.message, seconds=REST_SECONDS)
        else:
            self._concluder.failed(job, failure, None)

    def _prepare(self, job: Job) -> Prepared | None:
        asked = self._asked(job)
        prepared = self._preparer.prepare(job, stop=lambda: asked() is not None)
        if isinstance(prepared, Prepared):
            self._footage_waits.pop(job.id, None)
            if job.waiting_since is not None:
                self._ledger.note(job.id, waiting_since=None)
            self._take_over(job, prepared.judged)
            return prepared
        if asked() is not None:
            self._ended_by_us(job, asked() or Ended.STOP)
        elif isinstance(prepared, Failure):
            self._concluder.failed(job, prepared, None)
        else:
            self._wait_for_footage(job, prepared)
        return None

    def _take_over(self, job: Job, judged: Judged) -> None:
        """A file that was saved between the last look at it and the claim: what renders is what the record tells."""
        if job.digest is None or judged.fields["digest"] == job.digest:
            return
        now = self._ledger.note(job.id, "its file was saved again before it was taken", **judged.fields)
        if now.hold or (now.scheduled_at is not None and now.scheduled_at > self._ledger.stamp()):
            self.put_back(job.id, "what was saved asks to wait")

    # -- footage that went away -----------------------------------------------------------------------------

    def _wait_for_footage(self, job: Job, missing: Missing) -> None:
        """Its footage went away after it was queued: it waits as a new job does, and not for ever."""
        if self._waited(job) >= missing.deadline_seconds:
            self._footage_waits.pop(job.id, None)
            self._concluder.failed(job, missing.failure, None)
            return
        why = "footage is missing or still growing"
        since = job.waiting_since or self._ledger.stamp()
        self._concluder.put_back(job, why, waiting_for=missing.words, waiting_since=since, seconds=REST_SECONDS)

    def _still_waits(self, job: Job) -> bool:
        """Does a job that waits for footage wait on? Looked at without taking it: each start is a line of its story."""
        if job.waiting_since is None:
            return False
        try:
            missing = self._preparer.missing(job)
        except OSError:
            return False  # it is taken: who takes it says what the disk refused
        if missing is None or self._waited(job) >= missing.deadline_seconds:
            return False
        self._rest.until(job.id, self._clock() + REST_SECONDS)
        if job.waiting_for != missing.words:
            with suppress(OSError):
                self._ledger.note(job.id, waiting_for=missing.words)
        return True

    def _waited(self, job: Job) -> float:
        """For how long it has waited for footage. What it waited before a restart counts, as far as the wall clock can
        be believed."""
        now = self._clock()
        if job.id not in self._footage_waits:
            stamp = self._ledger.stamp()
            self._footage_waits[job.id] = now - max(0.0, clocks.seconds_between(job.waiting_since or stamp, stamp))
        return now - self._footage_waits[job.id]

    def _asked(self, job: Job) -> Callable[[], Ended | None]:
        """Shall what this job does now be ended, and as what?"""
        slot = self._slot
        assert slot is not None

        def asked() -> Ended | None:
            current = self._ledger.get(job.id)
            if current is not None and current.cancel_requested:
                return Ended.CANCEL
            if slot.put_back is not None:
                return Ended.STOP
            stops = self._gate.stopping and (not self._finish_running or self._gate.put_back or self._no_grace())
            return Ended.STOP if stops else None

        return asked

    # -- attempt --------------------------------------------------------------------------------------------

    def _attempt(self, job: Job, prepared: Prepared) -> None:
        transcript = prepared.transcript()
        started_at = self._ledger.stamp()

        def tell() -> None:
            self._ledger.progress(
                job.id,
                Progress(
                    percent=_rounded(transcript.percent, 1),
                    frame=transcript.frame,
                    frames=transcript.frames,
                    fps=_rounded(transcript.fps, 2),
                    stage=str(transcript.stage),
                ),
                self._preparer.eta(job.id, transcript),
            )

        def recorded(record: TreeRecord) -> None:
            self._ledger.remember_tree(record.to_dict())

        try:
            outcome = self._engine.run(
                prepared.attempt,
                transcript,
                asked=self._asked(job),
                recorded=recorded,
                progress=tell,
                limits=lambda: self._preparer.limits(self._ledger.get(job.id) or job),
                grace=lambda: 0.0 if self._no_grace() else self._preparer.limits(job).terminate_grace,
            )
        except BaseException:
            self._finisher.discard(prepared)
            raise
        with suppress(OSError):  # a full disk: a record of a tree that is over names nobody, and the film is there
            self._ledger.forget_tree(prepared.attempt.marker)
        if outcome.ended in (Ended.STOP, Ended.CANCEL):
            self._finisher.discard(prepared)
            self._ended_by_us(job, outcome.ended)
            return
        attempted = Attempted(
            prepared=prepared,
            outcome=outcome,
            transcript=transcript,
            started_at=started_at,
            finished_at=self._ledger.stamp(),
        )
        self._hand_over(Delivery(job_id=job.id, attempted=attempted))

    def _ended_by_us(self, job: Job, ended: Ended) -> None:
        if ended is Ended.CANCEL:
            self._concluder.cancelled(job)
            return
        slot = self._slot
        why = slot.put_back if slot is not None else None
        self._concluder.put_back(job, why or "the service stops; it starts again with the next start")

    # -- finish ---------------------------------------------------------------------------------------------

    def _hand_over(self, delivery: Delivery) -> None:
        with self._delivery_wake:
            self._deliveries.append(delivery)
            self._delivering += 1
            self._delivery_wake.notify_all()

    def _finish_loop(self) -> None:
        while True:
            delivery = self._due()
            if delivery is None:
                return
            try:
                with logger.contextualize(job=delivery.job_id):
                    done = self._finish(delivery)
            except Exception as error:
                self._concluder.own_fault(delivery.job_id, error)
                done = True
            with self._delivery_wake:
                if done:
                    self._delivering -= 1
                else:
                    delivery.refused += 1
                    wait = min(BUSY_SECONDS * 2.0 ** min(delivery.refused - 1, 10), LONGEST_BUSY_SECONDS)
                    delivery.due = self._clock() + wait
                    self._deliveries.append(delivery)
            self._gate.wake.set()

    def _due(self) -> Delivery | None:
        """The next delivery whose time has come; None when the service stops and nothing is left to do now."""
        with self._delivery_wake:
            while True:
                now = self._clock()
                ready = [found for found in self._deliveries if now >= found.due]
                if ready:
                    self._deliveries.remove(ready[0])
                    return ready[0]
                if self._gate.stopping and not self._render_thread.is_alive():
                    return None  # what is refused now is finished by the next start
                self._delivery_wake.wait(0.2 if self._deliveries or self._gate.stopping else 1.0)

    def _finish(self, delivery: Delivery) -> bool:
        """Judge and deliver one attempt. False: refused for now, call again."""
        job = self._ledger.get(delivery.job_id)
        if job is None or job.state is not State.RENDERING:
            return True
        try:
            self._judge_and_deliver(job, delivery)
        except Busy as busy:
            with suppress(OSError):  # words for the status; what matters is that it is tried again
                if job.waiting_for != (str(busy),):
                    self._ledger.note(job.id, waiting_for=(str(busy),))
            return False
        except OSError as error:
            # The film is there and could not be put in its place: it stays, and is tried again.
            self._concluder.refused(job, error, f"the film of {job.key} could not be delivered")
            return False
        return True

    def _judge_and_deliver(self, job: Job, delivery: Delivery) -> None:
        failure = self._finisher.judge(job, delivery)
        if failure is None:
            if not delivery.begun and not self._begin_delivery(job.id):
                self._finisher.discard(delivery.attempted.prepared)
                self._concluder.cancelled(job)
                return
            delivery.begun = True
            failure = self._finisher.deliver(job, delivery)
        if failure is None:
            self._concluder.succeeded()
        else:
            self._concluder.failed(job, failure, delivery.attempted)

    def _begin_delivery(self, job_id: str) -> bool:
        """From here the film is delivered whatever is asked. False: somebody asked to cancel before."""
        with self._ledger.together():
            job = self._ledger.get(job_id)
            if job is None or job.cancel_requested or job.state is not State.RENDERING:
                return False
            self._ledger.progress(job_id, replace(job.progress or Progress(), stage=DELIVERING))
            return True


def _join(thread: threading.Thread, seconds: float) -> None:
    if thread.ident is not None:  # a service that is stopped while it starts has threads that never began
        thread.join(seconds)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
