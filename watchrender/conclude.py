"""An attempt that did not end in a film: whose fault was it, and what happens next?

The kind of the failure decides alone. `job`: it lies in failed/ at once. `transient`: another try when `core.retry`
says, or failed/ after the last. `environment`: the queue waits and no try is used; so it is, too, when different jobs
fail one after the other with the same words. A person who asked to cancel meanwhile is heard first, whatever happened.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.core import clock as clocks
from watchrender.core import retry
from watchrender.core.failure import CATALOGUE, Code, Failure, Kind, fail
from watchrender.core.job import Job
from watchrender.core.retry import Rest
from watchrender.core.states import Event, State
from watchrender.finish import Finisher
from watchrender.gate import TRIED_BY_RENDER, Gate
from watchrender.ledger.ledger import Ledger
from watchrender.prepare import Attempted
from watchrender.spool.folders import Folders

#: How long a job that could not begin lets others go first.
REST_SECONDS = 2.0
#: An attempt that has ended is judged so soon after.
_JUDGED_WITHIN_SECONDS = 60.0
#: What a control file or command writes into the history of a job that renders, after the reason.
_BEING_ENDED = ": the render is being ended"
#: Errors that one job's names or files can cause while the folders are well.
_OF_THE_JOB = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
)


class Concluder:
    """Puts jobs back, gives them up, closes those that were cancelled. What the disk refuses now is done later."""

    def __init__(
        self,
        *,
        folders: Folders,
        ledger: Ledger,
        gate: Gate,
        closer: Closer,
        finisher: Finisher,
        settings: retry.RetrySettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._gate = gate
        self._closer = closer
        self._finisher = finisher
        self._settings = settings
        self._clock = clock
        self._breaker = retry.Breaker()
        self.rest = Rest()
        self.has_tried: set[str] = set()  # jobs that have tried a closed gate in vain: the others come first

    # -- a good end -----------------------------------------------------------------------------------------

    def succeeded(self) -> None:
        """A film was rendered and verified: the machine is well."""
        self._breaker.succeeded()
        self._gate.rendered()
        self.has_tried.clear()

    # -- not begun, or ended by us --------------------------------------------------------------------------

    def put_back(
        self,
        job: Job,
        why: str,
        *,
        waiting_for: tuple[str, ...] = (),
        waiting_since: str | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Into the queue again without using a try; others go first for so many seconds."""
        self.rest.until(job.id, self._clock() + seconds)
        self._requeue(job, Event.RESTORE, why, waiting_for=waiting_for, waiting_since=waiting_since)

    def _requeue(self, job: Job, event: Event, why: str, **changes: Any) -> None:
        def record(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is None or current.state is not State.RENDERING:
                return
            if current.cancel_requested:
                self._close_cancelled(current, copy)
                return
            self._ledger.apply(job.id, event, why, progress=None, **changes)

        self._closer.later(job.id, record)

    def cancelled(self, job: Job) -> None:
        """A render that was ended because somebody asked for it."""

        def close(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is not None and not current.over:
                self._close_cancelled(current, copy)

        self._closer.later(job.id, close)

    def _close_cancelled(self, job: Job, copy: bool) -> None:
        self._clear(job)
        self._closer.close(job, Event.CANCEL, _why_cancelled(job), copy=copy, waiting_for=())
        logger.info("{} cancelled", job.key)

    def cancel_left_over(self) -> None:
        """Jobs whose cancelling a crash came before: they are back in the queue, and nobody wants them."""
        for job in self._ledger.queue():
            if job.cancel_requested:
                self._ledger.apply(
                    job.id, Event.CANCEL, _why_cancelled(job), finished_at=self._ledger.stamp(), waiting_for=()
                )

    def _clear(self, job: Job) -> None:
        if job.begun:
            self._folders.clear_attempts(self._folders.absolute(job.folder))

    # -- failures -------------------------------------------------------------------------------------------

    def refused(self, job: Job, error: OSError, what: str) -> Failure:
        """A disk refused something that every job needs, or only this one; the queue waits if it was every job."""
        failure = self.blame(error, what)
        if failure.kind is Kind.ENVIRONMENT:
            self._gate.wait_for(failure)
        logger.warning("{}: {}", job.key, failure.message)
        return failure

    def blame(self, error: OSError, what: str) -> Failure:
        """Whose fault is an error of the disk: the machine's, or is something odd about this one job?"""
        where = f" ({error.filename})" if error.filename else ""
        words = f"{what}: {error.strerror or error}{where}."
        if disk.is_full(error):
            return fail(Code.DISK_FULL, words)
        if error.errno in _OF_THE_JOB and self._folders.health() is None:
            return fail(
                Code.RENDER_FAILED, words, cure="See the log of the service; drop the job again when it is mended."
            )
        return fail(Code.SHARE_OFFLINE, words)

    def failed(self, job: Job, failure: Failure, attempted: Attempted | None) -> None:
        """An attempt (or, without one, its preparation) has failed."""
        if self._is_cancelled(job, attempted):
            return
        if attempted is not None:
            self._finisher.keep_for_study(attempted)
        if (away := self._away(attempted)) is not None:
            self.put_back(job, away)
            return
        self._keep_waiting(failure)
        if failure.kind is Kind.ENVIRONMENT:
            self._gate.wait_for(failure)
            self._let_others_try(job, failure.code)
            self.put_back(job, failure.message)
            return
        if failure.kind is Kind.TRANSIENT and self._machine_at_fault(job, failure, attempted):
            return
        tried = (*job.attempts, self._entry(job, failure, attempted))
        wait = self._wait(job, failure, tried)
        if wait is None:
            self._give_up(job, failure, tried)
        else:
            self._again(job, failure, tried, wait)

    def _is_cancelled(self, job: Job, attempted: Attempted | None) -> bool:
        current = self._ledger.get(job.id)
        if current is None or not current.cancel_requested:
            return False
        if attempted is not None:
            self._finisher.discard(attempted.prepared)
        self.cancelled(current)
        return True

    def own_fault(self, job_id: str, error: Exception) -> None:
        """A fault of watchrender itself: it counts as a try, so that it ends, and the line goes on."""
        logger.exception("a fault in watchrender itself; the line goes on")
        self.rest.until(job_id, self._clock() + REST_SECONDS)
        job = self._ledger.get(job_id)
        if job is None or job.state is not State.RENDERING:
            return
        self._clear(job)
        failure = fail(
            Code.RENDER_FAILED,
            f"watchrender itself failed on this job: {type(error).__name__}: {error}",
            cure="This is a fault in watchrender; the log of the service tells where. Please report it.",
        )
        self.failed(job, failure, None)

    def _away(self, attempted: Attempted | None) -> str | None:
        """Is the root away, or was it during this attempt? Then nothing that it ended with is its own fault."""
        offline = self._folders.health()
        if offline is not None:
            self._gate.wait_for(offline)
            return offline.message
        if attempted is None:
            return None
        began = self._clock() - attempted.outcome.seconds - _JUDGED_WITHIN_SECONDS
        if self._gate.waited_since(Code.SHARE_OFFLINE, began):
            return "the share was away while this job rendered; no try is used"
        return None

    def _let_others_try(self, job: Job, code: Code) -> None:
        """What only a render can prove over may be this job's alone: it must not stand before the others for ever."""
        if code in TRIED_BY_RENDER:
            self.has_tried.add(job.id)

    def _keep_waiting(self, failure: Failure) -> None:
        """A job that was let through to try a closed gate has failed, whatever its words: the next one waits again."""
        for known in self._gate.waiting():
            if known.code in TRIED_BY_RENDER and known.code is not failure.code:
                self._gate.wait_for(known)

    def _wait(self, job: Job, failure: Failure, tried: tuple[dict[str, Any], ...]) -> float | None:
        number = len(tried)
        if number >= job.max_attempts:
            return None
        if CATALOGUE[failure.code].retries is not None:
            number = sum(1 for entry in tried if (entry.get("error") or {}).get("code") == failure.code)
        return retry.wait_before_next(self._settings, job.max_attempts - 1, number, failure)

    def _again(self, job: Job, failure: Failure, tried: tuple[dict[str, Any], ...], wait: float) -> None:
        self.rest.until(job.id, self._clock() + wait)
        self._requeue(
            job,
            Event.RETRY,
            f"try {len(tried)} failed: {failure.message.rstrip('.')}. Again in {wait:.0f} s",
            attempts=tried,
            retry_at=clocks.later(self._ledger.stamp(), wait),
            error=failure.to_dict(),
            waiting_for=(),
        )
        logger.warning("{}: try {} failed ({}), again in {} s", job.key, len(tried), str(failure.code), round(wait))

    def _give_up(self, job: Job, failure: Failure, tried: tuple[dict[str, Any], ...]) -> None:
        def close(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is None or current.over:
                return
            self._clear(current)
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
        self._closer.later(job.id, close)

    def _entry(self, job: Job, failure: Failure, attempted: Attempted | None) -> dict[str, Any]:
        entry = {
            "number": len(job.attempts) + 1,
            "started_at": attempted.started_at if attempted else job.started_at,
            "finished_at": attempted.finished_at if attempted else self._ledger.stamp(),
            "exit_code": attempted.outcome.code if attempted else None,
            "error": failure.to_dict(),
        }
        if attempted is not None and attempted.outcome.evidence:
            entry["evidence"] = attempted.outcome.evidence[:4000]
        return entry

    # -- the machine ----------------------------------------------------------------------------------------

    def _machine_at_fault(self, job: Job, failure: Failure, attempted: Attempted | None) -> bool:
        """Five attempts of different jobs in a row with the same words: the queue waits, their tries are given back."""
        line = (attempted.transcript.last_error_line if attempted is not None else "") or _alike(job, failure.message)
        tries = self._breaker.failed(job.id, failure, line)
        if not tries:
            return False
        keep = fail(
            Code.RENDERS_KEEP_FAILING,
            f"{self._breaker.jobs} different jobs in a row ended with {failure.code}: {line}",
        )
        self._gate.wait_for(keep)
        self._let_others_try(job, keep.code)
        for job_id, count in tries.items():
            self._give_back(job_id, count - (job_id == job.id))
        self.put_back(self._ledger.get(job.id) or job, keep.message)
        return True

    def _give_back(self, job_id: str, tries: int) -> None:
        """So many of a job's last tries do not count."""
        job = self._ledger.get(job_id)
        if job is None or job.over or not tries:
            return
        kept = job.attempts[: max(0, len(job.attempts) - tries)]
        with suppress(OSError):  # a record on a full disk: then they count, and the job still goes on
            self._ledger.note(
                job.id, "its last tries are given back: the machine was at fault", attempts=kept, retry_at=None
            )
        self.rest.over(job.id)


def _why_cancelled(job: Job) -> str:
    """Who asked, as the history tells."""
    for line in reversed(job.history):
        why = str(line["why"])
        if why.endswith(_BEING_ENDED):
            return why.removesuffix(_BEING_ENDED)
    return "cancelled"


def _alike(job: Job, words: str) -> str:
    """What a failure says, without what differs from job to job, for one of which no line told: the same broken film
    of five jobs is the machine's fault, five films broken in five ways are not."""
    return re.sub(r"\d[\d.,]*", "…", words.replace(job.name, "…"))
