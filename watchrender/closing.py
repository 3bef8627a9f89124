"""The end of a job: its folder gets all it will ever hold, one rename takes it to its place, the ledger records it.

Move, then record; cut anywhere, the next start completes it forwards (`core/recovery.py`). The one exception is a
waiting job that is cancelled: that is recorded first, so that nobody renders it meanwhile, and moved then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.core import letters, status
from watchrender.core.failure import Failure
from watchrender.core.job import Job
from watchrender.core.states import Event, Refused, State
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import Busy, Folders
from watchrender.spool.statusfile import status_name, to_json

#: A job folder that somebody keeps open is copied away after this long.
COPY_AFTER_SECONDS = 60.0
_AGAIN_SECONDS = 1.0

#: Called between the final status and the move, with the folder and the job as it will be; may change what it says.
BeforeMove = Callable[[Path, Job], Job]


class Closer:
    """Closes jobs. `close` is for whoever can wait and try again; `later` does that by itself, turn by turn."""

    def __init__(
        self,
        *,
        folders: Folders,
        ledger: Ledger,
        log_of: Callable[[Job], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._log_of = log_of
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[float, float, Callable[[bool], None]]] = {}  # id → since, due, what to do

    # -- closing now ----------------------------------------------------------------------------------------

    def close(
        self,
        job: Job,
        event: Event,
        why: str,
        *,
        copy: bool = False,
        before_move: BeforeMove | None = None,
        **changes: Any,
    ) -> Job:
        """Move a job's folder to where it belongs, then record it. Raises `Busy` and OSError: nothing is lost, call
        again. With `copy` a folder that somebody keeps open is copied. `before_move` runs when the end is decided."""
        final = job.advance(event, at=self._ledger.stamp(), why=why, finished_at=self._ledger.stamp(), **changes)
        final = self._move(job, final, copy=copy, before_move=before_move)
        taken = {name: getattr(final, name) for name in (*changes, "finished_at", "folder")}
        return self._ledger.apply(job.id, event, why, **taken)

    def reject(self, job: Job, failure: Failure) -> None:
        """A job that does not pass goes to failed/. If its file is held open, again and again until it goes."""

        def attempt(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is None or current.over:
                return
            self.close(
                current, Event.REJECT, failure.message, copy=copy, error=failure.to_dict(), waiting_for=(), cancel_requested=False
            )

        self.later(job.id, attempt)

    def cancelled(self, job: Job) -> None:
        """The files of a job that is recorded as cancelled go to cancelled/."""
        self.later(job.id, self._move_cancelled(job.id))

    def soon(self, job: Job) -> None:
        """As `cancelled`, with the next turn: for listeners, which must not block."""
        with self._lock:
            if job.id not in self._waiting:
                self._waiting[job.id] = (self._clock(), 0.0, self._move_cancelled(job.id))

    def _move_cancelled(self, job_id: str) -> Callable[[bool], None]:
        def attempt(copy: bool) -> None:
            current = self._ledger.get(job_id)
            if current is None or current.state is not State.CANCELLED or self.is_closed(current):
                return
            moved = self._move(current, current, copy=copy)
            self._ledger.note(job_id, folder=moved.folder)

        return attempt

    def is_closed(self, job: Job) -> bool:
        """Do its files lie where they belong (or were they withdrawn)?"""
        if not job.folder:
            return True
        folder = self._folders.absolute(job.folder)
        return not (folder.is_relative_to(self._folders.inbox) or folder.is_relative_to(self._folders.active))

    # -- again later ----------------------------------------------------------------------------------------

    def later(self, job_id: str, attempt: Callable[[bool], None]) -> None:
        """Do it now if it goes, else with each turn until it goes; after a minute by copying."""
        with self._lock:
            if job_id in self._waiting:
                return
            self._waiting[job_id] = (self._clock(), 0.0, attempt)
        self._try(job_id)

    def pending(self) -> bool:
        return bool(self._waiting)

    def turn(self) -> None:
        for job_id in list(self._waiting):
            self._try(job_id)

    def _try(self, job_id: str) -> None:
        with self._lock:
            known = self._waiting.get(job_id)
            now = self._clock()
            if known is None or now < known[1]:
                return
            since, _, attempt = known
            self._waiting[job_id] = (since, now + _AGAIN_SECONDS, attempt)
        try:
            attempt(now - since >= COPY_AFTER_SECONDS)
        except (Busy, FileExistsError) as busy:
            self._say_busy(job_id, str(busy))
            return
        except Refused:
            pass  # somebody else ended it meanwhile
        except OSError as error:
            logger.bind(job=job_id).warning("its folder cannot be moved yet: {}", str(error))
            return
        with self._lock:
            self._waiting.pop(job_id, None)

    def _say_busy(self, job_id: str, words: str) -> None:
        job = self._ledger.get(job_id)
        if job is not None and job.waiting_for != (words,):
            self._ledger.note(job_id, waiting_for=(words,))

    # -- the move -------------------------------------------------------------------------------------------

    def _move(self, job: Job, final: Job, *, copy: bool, before_move: BeforeMove | None = None) -> Job:
        folder = self._folders.open_closing(job)
        target = self._folders.target(final.state, final.sub, final.name)
        final = replace(final, folder=self._folders.relative(target), waiting_for=())
        self.write_final(folder, final)
        if before_move is not None:
            changed = before_move(folder, final)
            if changed is not final:
                final = changed
                self.write_final(folder, final)
        self._folders.bring_files(job, folder)
        self.arrive(folder, target, copy=copy)
        return final

    def rewrite_final(self, folder: Path, name: str, final: dict[str, Any]) -> None:
        """The final status again, because its folder goes to another place than it said."""
        disk.write(folder / status_name(name), to_json(final))

    def arrive(self, folder: Path, target: Path, *, copy: bool) -> None:
        try:
            self._folders.close(folder, target)
        except Busy:
            if not copy:
                raise
            self._folders.close_by_copy(folder, target)

    def write_final(self, folder: Path, final: Job) -> None:
        """All that a closed folder holds besides the user's files and films: log, letter, and last the status."""
        disk.write(folder / f"{final.name}.log", self._log_of(final))
        if final.state is not State.COMPLETED:
            failure = Failure.from_dict(final.error) if final.error is not None else None
            disk.write(folder / "WHY.txt", letters.why(final, failure))
        disk.write(folder / status_name(final.name), to_json(status.document(final)))
