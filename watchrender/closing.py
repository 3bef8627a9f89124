"""The end of a job: its folder gets all it will ever hold, one rename takes it to its place, the ledger records it.

Move, then record; cut anywhere, the next start completes it forwards (`core/recovery.py`). The one exception is a
waiting job that is cancelled: that is recorded first, so that nobody renders it meanwhile, and moved then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
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
_AGAIN_AFTER_A_FAULT_SECONDS = 60.0

#: Called between the final status and the move, with the folder and the job as it will be; may change what it says.
BeforeMove = Callable[[Path, Job], Job]
#: Does something about a job; True: a folder that is kept open may be copied. Raises `Busy` and OSError: again later.
Attempt = Callable[[bool], None]


@dataclass(kw_only=True)
class _Waiting:
    """Something that is to be done about one job, until it goes."""

    attempt: Attempt
    since: float
    due: float = 0.0
    said: str = ""


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """A folder that has arrived while its record was refused: it must not be moved again."""

    event: Event
    why: str
    taken: dict[str, Any]


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
        self._waiting: dict[str, _Waiting] = {}
        self._running: set[str] = set()  # one thread at a time for each job
        self._moved: dict[str, _Moved] = {}
        self._litter: set[Path] = set()
        #: Told of each refusal of a disk, so that the queue can wait for it.
        self.refused: Callable[[OSError], None] = lambda _error: None

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
        moved = self._moved.get(job.id)
        if moved is None:
            stamp = self._ledger.stamp()
            final = job.advance(event, at=stamp, why=why, finished_at=stamp, **changes)
            final = self._move(job, final, copy=copy, before_move=before_move)
            taken = {name: getattr(final, name) for name in (*changes, "finished_at", "folder")}
            moved = self._moved[job.id] = _Moved(event=event, why=why, taken=taken)
        # At the moment that the status in its folder tells: the two must not differ.
        done = self._ledger.apply(job.id, moved.event, moved.why, at=moved.taken.get("finished_at"), **moved.taken)
        del self._moved[job.id]
        return done

    def reject(self, job: Job, failure: Failure) -> None:
        """A job that does not pass goes to failed/. If its file is held open, again and again until it goes."""

        def attempt(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is None or current.over:
                return
            self.close(
                current,
                Event.REJECT,
                failure.message,
                copy=copy,
                error=failure.to_dict(),
                waiting_for=(),
                cancel_requested=False,
            )

        self.later(job.id, attempt)

    def cancelled(self, job: Job) -> None:
        """The files of a job that is recorded as cancelled go to cancelled/."""
        self.later(job.id, self._move_cancelled(job.id))

    def soon(self, job: Job) -> None:
        """As `cancelled`, with the next turn: for listeners, which must not block."""
        with self._lock:
            self._waiting[job.id] = _Waiting(attempt=self._move_cancelled(job.id), since=self._clock())

    def _move_cancelled(self, job_id: str) -> Attempt:
        def attempt(copy: bool) -> None:
            current = self._ledger.get(job_id)
            if current is None or current.state is not State.CANCELLED or self.is_closed(current):
                return
            moved = self._moved.get(job_id)
            if moved is None:
                folder = self._move(current, current, copy=copy).folder
                moved = self._moved[job_id] = _Moved(event=Event.CANCEL, why="", taken={"folder": folder})
            self._ledger.note(job_id, **moved.taken)
            del self._moved[job_id]

        return attempt

    def is_closed(self, job: Job) -> bool:
        """Do its files lie where they belong (or were they withdrawn)?"""
        if not job.folder:
            return True
        folder = self._folders.absolute(job.folder)
        return not (folder.is_relative_to(self._folders.inbox) or folder.is_relative_to(self._folders.active))

    # -- again later ----------------------------------------------------------------------------------------

    def later(self, job_id: str, attempt: Attempt) -> None:
        """Do it now if it goes, else with each turn until it goes; after a minute by copying. What was waiting to be
        done about this job before is overtaken."""
        with self._lock:
            self._waiting[job_id] = _Waiting(attempt=attempt, since=self._clock())
        self._try(job_id)

    def pending(self) -> bool:
        return bool(self._waiting)

    def busy(self) -> bool:
        """Is something of it being done at this moment?"""
        return bool(self._running)

    def turn(self) -> None:
        """Try again what is due. Never long: a copy is made in a thread of its own."""
        for job_id in list(self._waiting):
            self._try(job_id)
        for path in list(self._litter):
            if disk.remove_tree(path):
                self._litter.discard(path)

    def _try(self, job_id: str) -> None:
        with self._lock:
            waiting = self._waiting.get(job_id)
            now = self._clock()
            if waiting is None or job_id in self._running or now < waiting.due:
                return
            self._running.add(job_id)
        if now - waiting.since >= COPY_AFTER_SECONDS:
            name = f"copy of {job_id}"
            threading.Thread(target=self._run, args=(job_id, waiting, True), name=name, daemon=True).start()
        else:
            self._run(job_id, waiting, False)

    def _run(self, job_id: str, waiting: _Waiting, copy: bool) -> None:
        again = _AGAIN_SECONDS
        try:
            done = self._has_gone(job_id, waiting, copy)
        except Exception:
            logger.bind(job=job_id).exception("a fault in watchrender itself; the line goes on")
            done, again = False, _AGAIN_AFTER_A_FAULT_SECONDS
        with self._lock:
            self._running.discard(job_id)
            waiting.due = self._clock() + again
            if done and self._waiting.get(job_id) is waiting:
                del self._waiting[job_id]

    def _has_gone(self, job_id: str, waiting: _Waiting, copy: bool) -> bool:
        try:
            waiting.attempt(copy)
        except (Busy, FileExistsError) as busy:
            self._say_busy(job_id, str(busy))
            return False
        except (Refused, KeyError):
            return True  # somebody else ended it meanwhile
        except OSError as error:
            if waiting.said != str(error):
                waiting.said = str(error)
                logger.bind(job=job_id).warning("not possible yet, and tried again until it is: {}", str(error))
            self.refused(error)
            return False
        return True

    def _say_busy(self, job_id: str, words: str) -> None:
        job = self._ledger.get(job_id)
        if job is not None and job.waiting_for != (words,):
            with suppress(OSError):
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
        self.arrive(folder, target, job.id, copy=copy)
        return final

    def rewrite_final(self, folder: Path, name: str, final: dict[str, Any]) -> None:
        """The final status again, because its folder goes to another place than it said."""
        disk.write(folder / status_name(name), to_json(final))

    def arrive(self, folder: Path, target: Path, job_id: str, *, copy: bool) -> None:
        try:
            gone = self._folders.close(folder, target, job_id)
        except Busy:
            if not copy:
                raise
            gone = self._folders.close_by_copy(folder, target, job_id)
        if not gone:
            self._litter.add(folder)

    def write_final(self, folder: Path, final: Job) -> None:
        """All that a closed folder holds besides the user's files and films: log, letter, and last the status."""
        disk.write(folder / f"{final.name}.log", self._log_of(final))
        if final.state is not State.COMPLETED:
            failure = Failure.from_dict(final.error) if final.error is not None else None
            disk.write(folder / "WHY.txt", letters.why(final, failure))
        disk.write(folder / status_name(final.name), to_json(status.document(final)))
