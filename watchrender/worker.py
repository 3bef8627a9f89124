"""From the queue to the done folder: prepare → attempt → finish.

Two threads joined by a queue. The first takes the next job and holds the slot while ONE aerender runs; the second
judges, hashes and delivers what was rendered while the next job renders already. Taking is recorded, then moved;
closing is moved, then recorded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.core import clock as clocks
from watchrender.core import retry
from watchrender.core.failure import CATALOGUE, Code, Failure, Kind, fail
from watchrender.core.job import Job, Progress
from watchrender.core.states import Event
from watchrender.gate import Gate
from watchrender.ledger.ledger import Ledger
from watchrender.prepare import Attempted, Preparer, Prepared
from watchrender.finish import Delivery, Finisher
from watchrender.render.engine import Ended, Engine
from watchrender.render.process import TreeRecord
from watchrender.spool.folders import Busy, ClaimLost, Folders

#: A claim or delivery that was refused because somebody has a file open is tried again after so many seconds.
BUSY_SECONDS = 2.0


@dataclass(kw_only=True)
class Slot:
    """What holds the slot now."""

    job_id: str
    started: float  # monotonic
    put_back: str | None = None  # why the attempt is to be ended and its job queued again


@dataclass(kw_only=True)
class Rest:
    """When a queued job may be looked at again, by the monotonic clock: the wall clock may jump."""

    until: dict[str, float] = field(default_factory=dict)

    def ready(self, job_id: str, now: float) -> bool:
        return now >= self.until.get(job_id, 0.0)


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
        self._closer = closer
        self._retry = retry_settings
        self._node = node
        self._finish_running = finish_running
        self._clock = clock
        self._rest = Rest()
        self._breaker = retry.Breaker()
        self._slot: Slot | None = None
        self._last_slot: Slot | None = None
        self._at_once = threading.Event()  # a second signal: no grace for anybody
        self._deliveries: list[Delivery] = []
        self._delivery_wake = threading.Condition()
        self._delivering = 0
        self._render_thread = threading.Thread(
            target=self._survive, args=(self._render_loop,), name="attempt", daemon=True
        )
        self._finish_thread = threading.Thread(
            target=self._survive, args=(self._finish_loop,), name="finish", daemon=True
        )

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._render_thread.start()
        self._finish_thread.start()

    def stop(self, seconds: float) -> bool:
        """After the gate says stop: wait for the attempt to be ended and put back, and for deliveries. True if all
        is done in time."""
        self._gate.wake.set()
        deadline = self._clock() + seconds
        self._render_thread.join(max(0.1, deadline - self._clock()))
        with self._delivery_wake:
            self._delivery_wake.notify_all()
        self._finish_thread.join(max(0.1, deadline - self._clock()))
        return not (self._render_thread.is_alive() or self._finish_thread.is_alive())

    def end_at_once(self) -> None:
        """The second signal: the tree is killed without grace."""
        self._at_once.set()

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

    def put_back(self, job_id: str, why: str) -> None:
        """End the running attempt of this job and queue it again; no try is used."""
        slot = self._slot
        if slot is not None and slot.job_id == job_id:
            slot.put_back = why

    def _survive(self, loop: Callable[[], None]) -> None:
        # The one catch-all: a bug in one job must not stand the whole queue still, and must not hide.
        while True:
            try:
                loop()
                return
            except Exception:
                logger.exception("a fault in watchrender itself; the line goes on")
                time.sleep(1.0)

    # -- take -----------------------------------------------------------------------------------------------

    def _render_loop(self) -> None:
        while not self._gate.stopping:
            self._gate.wake.clear()
            if self._gate.look_due():
                self._gate.looked(self._preparer.look(), self._preparer.LOOKED_FOR)
            job = self._next() if self._gate.may_start() else None
            if job is None:
                self._gate.wake.wait(0.5)
                continue
            self._render(job)

    def _next(self) -> Job | None:
        """The first job in the queue that may start now."""
        now, stamp = self._clock(), self._ledger.stamp()
        return self._ledger.first(lambda job: self._may_start(job, now, stamp))

    def _may_start(self, job: Job, now: float, stamp: str) -> bool:
        if job.hold or job.cancel_requested:
            return False
        if job.scheduled_at is not None and job.scheduled_at > stamp:
            return False
        if job.retry_at is not None and job.id not in self._rest.until:
            # After a restart: what is left of the wait, and never more than the longest wait, wherever the clock is.
            left = min(clocks.seconds_between(stamp, job.retry_at), self._retry.max_wait * (1 + self._retry.jitter))
            self._rest.until[job.id] = now + max(0.0, left)
        return self._rest.ready(job.id, now)

    # -- prepare --------------------------------------------------------------------------------------------

    def _render(self, job: Job) -> None:
        faults = self._preparer.look(job)
        self._gate.looked(faults, self._preparer.LOOKED_FOR)
        if faults:
            return
        with logger.contextualize(job=job.id):
            self._slot = Slot(job_id=job.id, started=self._clock())
            try:
                self._take(job)
            finally:
                self._last_slot, self._slot = self._slot, None

    def _take(self, job: Job) -> None:
        position = self._ledger.position(job) or 1
        why = (
            "next in the queue"
            if position == 1
            else f"number {position} in the queue; those before it wait or are held"
        )
        job = self._ledger.apply(
            job.id,
            Event.START,
            f"{why}, priority {job.priority} ({job.priority_from})",
            started_at=self._ledger.stamp(),
            node=self._node,
            retry_at=None,
            waiting_for=(),
            launches=job.launches + 1,
        )
        logger.info("{} starts, try {} of {}", job.key, job.attempt, job.max_attempts)
        claimed = self._claim(job)
        if claimed is None:
            return
        prepared = self._preparer.prepare(claimed)
        if isinstance(prepared, Failure):
            self._conclude(claimed, prepared, None)
            return
        if isinstance(prepared, tuple):
            self._rest_for(claimed, "footage is missing or still growing", prepared, BUSY_SECONDS)
            return
        self._attempt(claimed, prepared)

    def _claim(self, job: Job) -> Job | None:
        if job.begun:
            return job
        try:
            folder = self._folders.claim(job)
        except ClaimLost:
            self._rest_for(job, f"{job.file} is not in the inbox any more", (), BUSY_SECONDS)
            return None
        except Busy as busy:
            self._rest_for(job, "its file is held open by somebody", (str(busy),), BUSY_SECONDS)
            return None
        except OSError as error:
            self._environment(job, error, "the job could not be claimed")
            return None
        return self._ledger.note(job.id, begun=True, folder=self._folders.relative(folder))

    def _rest_for(self, job: Job, why: str, waiting_for: tuple[str, ...], seconds: float) -> None:
        """Put back without using a try, and let others go first for a while."""
        self._rest.until[job.id] = self._clock() + seconds
        self._ledger.apply(job.id, Event.RESTORE, why, waiting_for=waiting_for, progress=None)

    def _environment(self, job: Job, error: OSError, what: str) -> None:
        failure = environment_failure(error, what)
        self._gate.wait_for(failure)
        self._rest_for(job, failure.message, (), BUSY_SECONDS)

    # -- attempt --------------------------------------------------------------------------------------------

    def _attempt(self, job: Job, prepared: Prepared) -> None:
        slot = self._slot
        assert slot is not None
        transcript = prepared.transcript()
        started_at = self._ledger.stamp()

        def asked() -> Ended | None:
            current = self._ledger.get(job.id)
            if current is not None and current.cancel_requested:
                return Ended.CANCEL
            if slot.put_back is not None:
                return Ended.STOP
            stops = self._gate.stopping and (not self._finish_running or self._at_once.is_set())
            return Ended.STOP if stops else None

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

        outcome = self._engine.run(
            prepared.attempt,
            transcript,
            asked=asked,
            recorded=recorded,
            progress=tell,
            limits=lambda: self._preparer.limits(self._ledger.get(job.id) or job),
            grace=lambda: 0.0 if self._at_once.is_set() else self._preparer.limits(job).terminate_grace,
        )
        self._ledger.forget_tree(prepared.attempt.marker)
        attempted = Attempted(
            prepared=prepared,
            outcome=outcome,
            transcript=transcript,
            started_at=started_at,
            finished_at=self._ledger.stamp(),
        )
        if outcome.ended in (Ended.STOP, Ended.CANCEL):
            self._ended_by_us(job, attempted, slot)
            return
        self._hand_over(Delivery(job_id=job.id, attempted=attempted))

    def _ended_by_us(self, job: Job, attempted: Attempted, slot: Slot) -> None:
        self._finisher.discard(attempted)
        if attempted.outcome.ended is Ended.CANCEL:
            self._closer.later(job.id, lambda copy: self._close_cancelled(job.id, copy))
            return
        why = slot.put_back or "the service stops; it starts again with the next start"
        self._rest.until.pop(job.id, None)
        self._ledger.apply(job.id, Event.RESTORE, why, progress=None)

    def _close_cancelled(self, job_id: str, copy: bool) -> None:
        job = self._ledger.get(job_id)
        if job is None or job.over:
            return
        reason = next(
            (
                str(line["why"])
                for line in reversed(job.history)
                if "cancel" in str(line["why"]) or "superseded" in str(line["why"])
            ),
            "cancelled",
        )
        self._folders.clear_attempts(self._folders.absolute(job.folder))
        self._closer.close(job, Event.CANCEL, reason.split(": the render is being ended")[0], copy=copy, waiting_for=())

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
            with logger.contextualize(job=delivery.job_id):
                done = self._finish(delivery)
            with self._delivery_wake:
                if done:
                    self._delivering -= 1
                else:
                    delivery.due = self._clock() + min(BUSY_SECONDS * 2 ** min(delivery.refused, 3), 15.0)
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
                self._delivery_wake.wait(0.2)

    def _finish(self, delivery: Delivery) -> bool:
        """Judge and deliver one attempt. False: refused for now, call again."""
        job = self._ledger.get(delivery.job_id)
        if job is None or job.over:
            return True
        try:
            failure = self._finisher.finish(job, delivery)
        except Busy as busy:
            delivery.refused += 1
            if job.waiting_for != (str(busy),):
                self._ledger.note(job.id, waiting_for=(str(busy),))
            return False
        except OSError as error:
            return self._delivery_fault(job, delivery, error)
        if failure is None:
            self._breaker.succeeded()
            self._gate.rendered()
            return True
        self._conclude(job, failure, delivery.attempted)
        return True

    def _delivery_fault(self, job: Job, delivery: Delivery, error: OSError) -> bool:
        """The film is there and could not be put in its place: the environment's fault; it stays, and is tried again."""
        failure = environment_failure(error, f"the film of {job.key} could not be delivered")
        self._gate.wait_for(failure)
        delivery.refused += 1
        logger.warning("{}", failure.message)
        return False

    def _conclude(self, job: Job, failure: Failure, attempted: Attempted | None) -> None:
        """An attempt that failed: whose fault was it, and what happens next?"""
        if attempted is not None:
            self._finisher.keep_for_study(attempted)
        if failure.kind is Kind.ENVIRONMENT:
            self._gate.wait_for(failure)
            self._rest_for(job, failure.message, (), 0.0)
            return
        tried = self._tried(job, failure, attempted)
        if failure.kind is Kind.TRANSIENT and self._machine_at_fault(job, failure, attempted):
            return
        number = len(tried)
        if CATALOGUE[failure.code].retries is not None:
            number = sum(1 for found in tried if (found.get("error") or {}).get("code") == failure.code)
        wait = retry.wait_before_next(self._retry, job.max_attempts - 1, max(number, 1), failure)
        if wait is None or len(tried) >= job.max_attempts:
            self._give_up(job, failure, tried)
            return
        self._rest.until[job.id] = self._clock() + wait
        self._ledger.apply(
            job.id,
            Event.RETRY,
            f"try {len(tried)} failed: {failure.message} Again in {wait:.0f} s",
            attempts=tried,
            retry_at=clocks.later(self._ledger.stamp(), wait),
            error=failure.to_dict(),
            progress=None,
            waiting_for=(),
        )
        logger.warning("{}: try {} failed ({}), again in {} s", job.key, len(tried), str(failure.code), round(wait))

    def _tried(self, job: Job, failure: Failure, attempted: Attempted | None) -> tuple[dict[str, Any], ...]:
        entry = {
            "number": len(job.attempts) + 1,
            "started_at": attempted.started_at if attempted else job.started_at,
            "finished_at": attempted.finished_at if attempted else self._ledger.stamp(),
            "exit_code": attempted.outcome.code if attempted else None,
            "error": failure.to_dict(),
        }
        if attempted is not None and attempted.outcome.evidence:
            entry["evidence"] = attempted.outcome.evidence[:4000]
        return (*job.attempts, entry)

    def _machine_at_fault(self, job: Job, failure: Failure, attempted: Attempted | None) -> bool:
        """Five attempts of different jobs in a row with the same words: the queue waits, their tries are given back."""
        line = attempted.transcript.last_error_line if attempted is not None else failure.message
        row = self._breaker.failed(job.id, failure, line)
        if not row:
            return False
        keep = fail(
            Code.RENDERS_KEEP_FAILING,
            f"{len(row)} different jobs in a row ended with {failure.code}: {line or failure.message}",
        )
        self._gate.wait_for(keep)
        for other_id, tries in row.items():
            self._give_back(other_id, tries - (other_id == job.id))
        self._rest_for(job, keep.message, (), 0.0)
        return True

    def _give_back(self, job_id: str, tries: int) -> None:
        """The machine was at fault: so many of a job's last tries do not count."""
        job = self._ledger.get(job_id)
        if job is None or job.over or not tries:
            return
        kept = job.attempts[: max(0, len(job.attempts) - tries)]
        self._ledger.note(job.id, "its last tries are given back: the machine was at fault", attempts=kept, retry_at=None)
        self._rest.until.pop(job.id, None)

    def _give_up(self, job: Job, failure: Failure, tried: tuple[dict[str, Any], ...]) -> None:
        def attempt(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is None or current.over:
                return
            self._folders.clear_attempts(self._folders.absolute(current.folder))
            self._closer.close(
                current,
                Event.GIVE_UP,
                failure.message,
                copy=copy,
                attempts=tried,
                error=failure.to_dict(),
                progress=None,
                waiting_for=(),
            )

        logger.error("{} failed: {} ({})", job.key, failure.message, str(failure.code))
        self._closer.later(job.id, attempt)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def environment_failure(error: OSError, what: str) -> Failure:
    """What an error of the disk means for the queue."""
    where = f" ({error.filename})" if error.filename else ""
    words = f"{what}: {error.strerror or error}{where}"
    return fail(Code.DISK_FULL if disk.is_full(error) else Code.SHARE_OFFLINE, words)
