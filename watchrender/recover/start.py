"""The start after any kind of end: make record and folders agree, and bring back what a lost record knew.

Looks once where each job really lies, asks `core/recovery.py`, and does what the table says. A record that is lost is
rebuilt first. Whoever may write on the share may have written the files this reads: see `believed`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender.closing import Closer
from watchrender.core.failure import Code, fail
from watchrender.core.job import Job
from watchrender.core.recovery import Place, Repair, repair
from watchrender.core.states import Event, State, is_over
from watchrender.judge import Judge
from watchrender.ledger.ledger import Ledger
from watchrender.recover.believed import state_of
from watchrender.recover.ends import Ends
from watchrender.recover.lost import HISTORY_SERIALS, LostRecord
from watchrender.recover.places import Places
from watchrender.spool import returned
from watchrender.spool.folders import BEFORE, Folders
from watchrender.spool.statusfile import read_statuses

#: The machine went down so often while this job rendered: it is held, so that it cannot do it again.
INTERRUPTED_LIMIT = 3
_INTERRUPTED = "the service was interrupted during the render; no try is used"


class Recovery:
    """One start. `may_deliver` is asked about each place outside the root that a status file on the share names."""

    def __init__(
        self,
        *,
        folders: Folders,
        ledger: Ledger,
        closer: Closer,
        judge: Judge,
        may_deliver: Callable[[str], bool],
        rebooted: bool,
        is_new: bool,
        max_attempts: int,
        shown_since: str = "9999",
        in_flight: frozenset[str] = frozenset(),
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._closer = closer
        self._places = places = Places(folders, ledger, closer)
        self._ends = Ends(folders=folders, ledger=ledger, closer=closer, places=places, may_deliver=may_deliver)
        self._lost_record = LostRecord(
            folders=folders, ledger=ledger, judge=judge, places=places, max_attempts=max_attempts
        )
        self._rebooted = rebooted  # the machine itself has started anew since the last beat
        self._is_new = is_new  # the record was made anew, or never completed since
        self._shown_since = shown_since  # status/ has a file of each job that ended since
        self._in_flight = in_flight  # with a farm: they render on, whatever became of us
        self.repaired: list[tuple[str, Repair]] = []
        self.outdated: list[Job] = []  # over, and status/ does not say so
        self.orphans: list[tuple[str, str]] = []  # files in status/ of jobs that are over and not known: key, end

    def run(self) -> None:
        """What was mended is in `repaired` after it; what status/ has to be told in `outdated` and `orphans`."""
        if self._is_new:
            self._ledger.serial = max(self._ledger.serial, HISTORY_SERIALS)
        statuses = read_statuses(self._folders.status, known=self._ledger.knows)
        self._go_on_with_returns()
        self._lost_record.bring_back(statuses)
        for job in itertools.chain(self._ledger.live(), self._places.unmoved()):
            self._mend(job)
        for job_id, closing in list(self._places.closings.items()):
            known = self._ledger.get(job_id)
            if known is not None and known.over and not self._places.is_of_another(closing.folder, job_id):
                self._mend(known)
        self._folders.sweep_active()
        self._folders.sweep_half_written()
        self._compare(statuses)

    def _go_on_with_returns(self) -> None:
        """Returned jobs whose unpacking was cut off: their files lie hidden in the inbox."""
        retries = dict(self._ledger.facts().get("retries", {}))
        for place, folders, _ in os.walk(self._folders.inbox):
            for name in folders:
                if not name.startswith(BEFORE):
                    continue
                job_id = returned.go_on(Path(place) / name)
                sub = Path(place).relative_to(self._folders.inbox).as_posix()
                file = name.removeprefix(BEFORE)
                key = file if sub == "." else f"{sub}/{file}"
                if job_id is not None and self._ledger.live_by_file("" if sub == "." else sub, file) is None:
                    retries[key] = job_id
            folders[:] = [name for name in folders if not name.startswith(".")]
        if retries != self._ledger.facts().get("retries", {}):
            self._ledger.know(retries=retries)

    def _compare(self, statuses: dict[str, dict[str, Any]]) -> None:
        """What status/ says of jobs that are over: the record was written, and the cut came then."""
        told = {str(status["id"]): status for status in statuses.values()}
        for job in self._ledger.over_since(self._shown_since):  # one by one: of a busy day there are tens of thousands
            status = told.pop(job.id, None)
            if self._is_newest(job) if status is None else _says_other(status, job):
                self.outdated.append(job)
        for job_id, status in told.items():
            known = self._ledger.get(job_id)
            if known is not None:
                if known.over and _says_other(status, known):
                    self.outdated.append(known)
            elif is_over(state_of(status)):
                self.orphans.append((str(status["job"]), str(status.get("finished_at") or "")))

    def _is_newest(self, job: Job) -> bool:
        """Is there no later job of that name, whose file in status/ it would be?"""
        return not self._ledger.has_live(job.key) and self._ledger.is_newest_over(job)

    def _mend(self, job: Job) -> None:
        place, folder = self._places.where(job)
        what = repair(place, job.state)
        if place is Place.ACTIVE and job.id in self._in_flight:
            self._folders.bring_followers(job, self._folders.absolute(job.folder))
            return
        if what is Repair.NOTHING:
            return
        if what is Repair.CLAIMED and job.begun and folder == job.folder:
            if self._is_new:  # as it should be; but the lost record knew what the cut has left there
                self._clear(self._folders.absolute(folder), job)
            self._folders.bring_followers(job, self._folders.absolute(folder))
            return
        logger.bind(job=job.id).info("{}: recorded {}, found {}: {}", job.key, str(job.state), str(place), str(what))
        self.repaired.append((job.id, what))
        match what:
            case Repair.JUDGE_AGAIN:
                self._ledger.apply(job.id, Event.RESTORE, "the service was interrupted while it read this job")
            case Repair.PUT_BACK:
                self._put_back(job, place, folder)
            case Repair.CLAIMED:
                self._adopt_claim(job, folder)
            case Repair.CLOSE:
                self._ends.close(job)
            case Repair.RECORD:
                self._ends.record(job, folder)
            case Repair.NOTE:
                self._ledger.note(job.id, folder=folder)
            case Repair.CLEAR:
                self._ends.clear_up(job)
            case Repair.WITHDRAWN:
                pass  # the inbox is asked twice, some seconds apart, before a job counts as withdrawn
            case Repair.LOST:
                self._lost(job)

    def _put_back(self, job: Job, place: Place, folder: str) -> None:
        changes: dict[str, Any] = {"progress": None}
        if place is Place.ACTIVE:
            changes |= {"begun": True, "folder": folder}
            self._clear(self._folders.absolute(folder), job)
        interrupted = job.interrupted + self._rebooted
        why = _INTERRUPTED
        if self._rebooted:
            why = f"the machine itself went down during the render ({interrupted} times so far); no try is used"
            changes["interrupted"] = interrupted
        if interrupted >= INTERRUPTED_LIMIT and self._rebooted:
            changes["held_because"] = (
                f"the machine went down {interrupted} times while this job rendered; release it to try again"
            )
        job = self._ledger.apply(job.id, Event.RESTORE, why, **changes)
        if job.begun:
            self._folders.bring_followers(job, self._folders.absolute(folder))

    def _adopt_claim(self, job: Job, folder: str) -> None:
        if job.state is not State.QUEUED:
            if job.state is State.PENDING:
                self._ledger.apply(job.id, Event.CHECK, "found in active/")
            why = "found in active/: it had been taken"
            job = self._ledger.apply(job.id, Event.ACCEPT, why, queued_at=self._ledger.stamp())
        job = self._ledger.note(job.id, begun=True, folder=folder)
        self._clear(self._folders.absolute(folder), job)
        self._folders.bring_followers(job, self._folders.absolute(folder))

    def _clear(self, folder: Path, job: Job) -> None:
        self._folders.clear_attempts(folder)
        self._folders.clear_leftovers(folder, job)

    def _lost(self, job: Job) -> None:
        failure = fail(
            Code.JOB_UNREADABLE,
            f"the folder {job.folder} of this job is gone: somebody moved or deleted it while it was in work",
            cure="Leave active/ to watchrender; drop the job again.",
        )
        if job.state is State.PENDING:
            job = self._ledger.apply(job.id, Event.CHECK, "its folder is gone")
        event = Event.GIVE_UP if job.state is State.RENDERING else Event.REJECT
        if job.begun:
            self._clear(self._folders.absolute(job.folder), job)  # it may be there still, emptied of what was dropped

        def attempt(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is not None and not current.over:
                self._closer.close(current, event, failure.message, copy=copy, error=failure.to_dict(), waiting_for=())

        self._closer.later(job.id, attempt)


def _says_other(status: dict[str, Any], job: Job) -> bool:
    return (status["state"], status.get("folder")) != (job.state, job.folder)
