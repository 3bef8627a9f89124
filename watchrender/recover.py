"""The start after any kind of end: make record and folders agree, and bring back what a lost record knew.

Looks once where each job really lies, asks `core/recovery.py`, and does what the table says. A record that is lost is
rebuilt from status/ and the folders: jobs, films, tries, holds and requests are all in there. Whoever may write on the
share may have written those files: names are taken only where they are bare, places only where they are ours.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.config.model import Config
from watchrender.core import naming, paths, policy
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.policy import Facts
from watchrender.core.recovery import Place, Repair, repair
from watchrender.core.states import Event, State, is_over
from watchrender.finish import Elsewhere, deliver_elsewhere, keep_here, tell_beside
from watchrender.judge import Judge, Sidecar, policy_of
from watchrender.ledger.ledger import Ledger
from watchrender.spool import returned
from watchrender.spool.folders import BEFORE, STATUS_SUFFIX, Closing, Folders, is_job_file, is_our_own, read_status
from watchrender.spool.plain import read_plain
from watchrender.spool.statusfile import read_statuses, to_json

#: The machine went down so often while this job rendered: it is held, so that it cannot do it again.
INTERRUPTED_LIMIT = 3
#: Jobs brought back from done/ get numbers below this, newest first, and those of the new record above it.
HISTORY_SERIALS = 1_000_000
#: Files up to this size are compared by what is in them.
_READ_BYTES = 2**20
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")  # it becomes part of file names
_INTERRUPTED = "the service was interrupted during the render; no try is used"
_BROUGHT_BACK = "brought back from {}: the record was lost"


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
        self._judge = judge
        self._may_deliver = may_deliver
        self._rebooted = rebooted  # the machine itself has started anew since the last beat
        self._is_new = is_new  # the record was made anew, or never completed since
        self._max_attempts = max_attempts
        self._shown_since = shown_since  # status/ has a file of each job that ended since
        self._in_flight = in_flight  # with a farm: they render on, whatever became of us
        self._closings: dict[str, Closing] = {}
        self.repaired: list[tuple[str, Repair]] = []
        self.outdated: list[Job] = []  # over, and status/ does not say so
        self.orphans: list[tuple[str, str]] = []  # files in status/ of jobs that are over and not known: key, end

    def run(self) -> None:
        if self._is_new:
            self._ledger.serial = max(self._ledger.serial, HISTORY_SERIALS)
        self._closings = self._find_closings()
        statuses = read_statuses(self._folders.status)
        self._go_on_with_returns()
        self._bring_back(statuses)
        for job in (*self._ledger.live(), *self._unmoved()):
            self._mend(job)
        for job_id, closing in list(self._closings.items()):
            known = self._ledger.get(job_id)
            if known is not None and known.over and not self._is_of_another(closing.folder, job_id):
                self._mend(known)
        self._folders.sweep_active()
        self._folders.sweep_half_written()
        self._compare(statuses)

    def _find_closings(self) -> dict[str, Closing]:
        """Decided ends by job. A job in work has one only in its own folder: elsewhere somebody has copied it."""
        found = {}
        for closing in self._folders.closings():
            job_id = str(closing.status["id"])
            job = self._ledger.get(job_id)
            own = self._folders.absolute(job.folder) if job is not None and job.begun and not job.over else None
            is_its_own = own is None or own == closing.folder or not own.is_dir()
            if is_its_own and not self._is_of_another(closing.folder, job_id):
                found[job_id] = closing
        return found

    def _unmoved(self) -> list[Job]:
        """Jobs recorded as cancelled whose files may still lie where they waited."""
        found = []
        for number, job in enumerate(self._ledger.over()):
            if number >= 1000:
                break  # that move is tried until it succeeds: nothing this old is open
            if job.state is State.CANCELLED and not self._closer.is_closed(job):
                found.append(job)
        return found

    def _compare(self, statuses: dict[str, dict[str, Any]]) -> None:
        """What status/ says of jobs that are over: the record was written, and the cut came then."""
        for status in statuses.values():
            job = self._ledger.get(str(status["id"]))
            if job is None:
                if is_over(_state_of(status)):
                    self.orphans.append((str(status["job"]), str(status.get("finished_at") or "")))
            elif job.over and (status["state"], status.get("folder")) != (job.state, job.folder):
                self.outdated.append(job)
        told = {str(status["id"]) for status in statuses.values()}
        for job in self._ledger.over_since(self._shown_since):
            if job.id not in told and self._is_newest(job):
                self.outdated.append(job)

    def _is_newest(self, job: Job) -> bool:
        """Is there no later job of that name, whose file in status/ it would be?"""
        newest = self._ledger.newest_over(job.key)
        return self._ledger.live_by_key(job.key) is None and (newest is None or newest.id == job.id)

    # -- record and folders ---------------------------------------------------------------------------------

    def _mend(self, job: Job) -> None:
        place, folder = self._where(job)
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
                self._close(job)
            case Repair.RECORD:
                self._record(job, folder)
            case Repair.NOTE:
                self._ledger.note(job.id, folder=folder)
            case Repair.CLEAR:
                self._clear_up(job)
            case Repair.WITHDRAWN:
                pass  # the inbox is asked twice, some seconds apart, before a job counts as withdrawn
            case Repair.LOST:
                self._lost(job)

    def _where(self, job: Job) -> tuple[Place, str]:
        """Where a job's files lie, and that folder as statuses say it."""
        if job.id not in self._closings and not job.begun and os.path.lexists(self._folders.source(job)):
            return Place.INBOX, job.folder  # most of them, at the cost of one look
        arrived = self._arrived(job)
        if arrived is not None:
            return arrived  # before any look into active/: a copy may have arrived and its original still be there
        if job.id in self._closings:
            return Place.CLOSING, self._folders.relative(self._closings[job.id].folder)
        if job.begun and os.path.lexists(self._folders.source(job)):
            return Place.ACTIVE, job.folder
        claimed = self._claimed_folder(job)
        if claimed is not None:
            return Place.ACTIVE, self._folders.relative(claimed)
        return (Place.VANISHED, "") if job.begun else (Place.NOWHERE, "" if job.over else job.folder)

    def _claimed_folder(self, job: Job) -> Path | None:
        """A claim whose rename happened before it was recorded."""
        parent = self._folders.active / job.sub if job.sub else self._folders.active
        for candidate in _named(parent, job.name):
            name = "bundle" if job.form is Form.BUNDLE else job.file
            if os.path.lexists(candidate / name) and not self._is_of_another(candidate, job.id):
                return candidate
        return None

    def _is_of_another(self, folder: Path, job_id: str) -> bool:
        relative = self._folders.relative(folder)
        return any(other.id != job_id and other.folder == relative for other in self._ledger.begun())

    def _arrived(self, job: Job) -> tuple[Place, str] | None:
        if job.over and self._closer.is_closed(job):
            return None  # where it is now is its owner's business
        for place, top in (
            (Place.DONE, self._folders.done),
            (Place.FAILED, self._folders.failed),
            (Place.CANCELLED, self._folders.cancelled),
        ):
            for folder in _named(top / job.sub if job.sub else top, job.name):
                status = _status_in(folder)
                if status is not None and status["id"] == job.id:
                    return place, self._folders.relative(folder)
        return None

    # -- repairs --------------------------------------------------------------------------------------------

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

    def _close(self, job: Job) -> None:
        """Complete a closing that was cut off, as its final status says (or as recorded, for a cancelled job)."""
        closing = self._closings.pop(job.id, None)
        if closing is None:
            for folder in (self._folders.closing_folder(job), self._folders.absolute(job.folder)):
                if folder.is_relative_to(self._folders.active):
                    self._folders.clear_half_written(folder)
            self._closer.cancelled(job)
            return
        status = closing.status

        def attempt(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is None or (current.over and self._closer.is_closed(current)):
                return
            if closing.folder.is_dir():
                self._finish_closing(current, closing, copy)
            if current.over:
                self._ledger.note(job.id, folder=status["folder"])
            else:
                self._record_as(current, status, status["folder"])

        self._closer.later(job.id, attempt)

    def _finish_closing(self, job: Job, closing: Closing, copy: bool) -> None:
        status = closing.status
        self._folders.clear_attempts(closing.folder)
        self._folders.clear_half_written(closing.folder)
        self._folders.bring_files(job, closing.folder)
        self._deliver(job, closing.folder, status, last=copy)
        target = self._folders.target(State(status["state"]), job.sub, job.name)
        status["folder"] = self._folders.relative(target)
        self._closer.rewrite_final(closing.folder, job.name, status)
        self._closer.arrive(closing.folder, target, job.id, copy=copy)

    def _deliver(self, job: Job, folder: Path, status: dict[str, Any], *, last: bool) -> None:
        """Bring the films elsewhere that the final status says belong there. `last`: what is still refused stays in
        the folder, and the status tells so."""
        allowed, denied = self._deliveries(status)
        if denied:
            self._keep_here(
                job,
                folder,
                status,
                denied,
                "it may not be delivered there: policy.roots does not hold that place",
                allowed,
            )
        try:
            deliver_elsewhere(folder, allowed)
        except OSError as error:
            if not last:
                raise Elsewhere(error) from error
            self._keep_here(job, folder, status, allowed, error)

    def _deliveries(self, status: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What a final status says is to be delivered elsewhere: what the policy allows of it, and what not."""
        record = status.get("record")
        said = record.get("deliveries") if isinstance(record, dict) else None
        allowed: list[dict[str, Any]] = []
        denied: list[dict[str, Any]] = []
        for entry in said if isinstance(said, list) else ():
            if not isinstance(entry, dict) or not _is_inside(entry.get("from")) or not isinstance(entry.get("to"), str):
                continue
            if self._may_deliver(entry["to"]):
                allowed.append(entry)
                disk.sweep_beside(Path(entry["to"]).with_suffix(STATUS_SUFFIX))
            else:
                denied.append(entry)
        return allowed, denied

    def _keep_here(
        self,
        job: Job,
        folder: Path,
        status: dict[str, Any],
        refused: list[dict[str, Any]],
        why: OSError | str,
        others: Iterable[dict[str, Any]] = (),
    ) -> None:
        """These films stay in their folder: the final status is made to say so."""
        told = [entry for entry in status.get("outputs") or () if isinstance(entry, dict)]
        kept = keep_here(folder, refused, told, why)
        for words in kept.warnings:
            logger.bind(job=job.id).warning("{}: {}", job.key, words)
        status["outputs"] = list(kept.outputs)
        status["warnings"] = [*(status.get("warnings") or ()), *kept.warnings]
        status["record"] = {**status["record"], "deliveries": [*others, *kept.deliveries]}
        self._closer.rewrite_final(folder, job.name, status)
        tell_beside(kept.deliveries, to_json(status))

    def _record(self, job: Job, folder: str) -> None:
        status = _status_in(self._folders.absolute(folder))
        if status is not None:
            self._remove_original(job, self._folders.absolute(folder))
            self._record_as(job, status, folder)

    def _record_as(self, job: Job, status: dict[str, Any], folder: str) -> None:
        """Walk the table to the state that a job's folder says it has."""
        state = State(status["state"])
        if job.state is State.PENDING and state is not State.CANCELLED:
            job = self._ledger.apply(job.id, Event.CHECK, "found after an interruption")
        if state is State.COMPLETED and job.state is not State.RENDERING:
            if job.state is State.VALIDATING:
                job = self._ledger.apply(job.id, Event.ACCEPT, "found after an interruption")
            job = self._ledger.apply(job.id, Event.START, "found after an interruption: it had been rendered")
        event = {
            State.COMPLETED: Event.FINISH,
            State.FAILED: Event.GIVE_UP if job.state is State.RENDERING else Event.REJECT,
            State.CANCELLED: Event.CANCEL,
        }[state]
        last = status.get("history") or [{"why": "found after an interruption"}]
        self._ledger.apply(
            job.id,
            event,
            str(last[-1].get("why", "")),
            folder=folder,
            waiting_for=(),
            outputs=self._outputs(status),
            **_told_by(status, ("attempts", "warnings"), ("finished_at", "error")),
        )

    def _remove_original(self, job: Job, arrived: Path) -> None:
        """The copy has arrived, and the cut came before the original was removed, or within that."""
        originals = {self._folders.closing_folder(job)}
        if job.begun:
            originals.add(self._folders.absolute(job.folder))
        if job.id in self._closings:
            originals.add(self._closings[job.id].folder)
        for original in originals:
            if original.is_relative_to(self._folders.active) and original != self._folders.active and original.is_dir():
                self._remove_copied(job, original, arrived)

    def _remove_copied(self, job: Job, original: Path, arrived: Path) -> bool:
        """Remove a folder that has arrived as a copy; not one that holds anything that the copy does not."""
        if not _is_copied(original, arrived):
            return False
        self._closings.pop(job.id, None)
        disk.remove_tree(original)
        return True

    def _clear_up(self, job: Job) -> None:
        """The job is over, and a folder with its final status lies in active/: what a copy has left there. Or a person
        has put it there: it goes back to where its job belongs, whole."""
        closing = self._closings[job.id]
        if self._remove_copied(job, closing.folder, self._folders.absolute(job.folder)):
            return
        del self._closings[job.id]

        def attempt(copy: bool) -> None:
            if not closing.folder.is_dir():
                return
            target = self._folders.target(job.state, job.sub, job.name)
            status = closing.status | {"state": str(job.state), "folder": self._folders.relative(target)}
            self._closer.rewrite_final(closing.folder, job.name, status)
            self._closer.arrive(closing.folder, target, job.id, copy=copy)
            self._ledger.note(job.id, "its folder lay in active/, and is back in its place", folder=status["folder"])

        self._closer.later(job.id, attempt)

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

    # -- returned jobs --------------------------------------------------------------------------------------

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

    # -- a lost record --------------------------------------------------------------------------------------

    def _bring_back(self, statuses: dict[str, dict[str, Any]]) -> None:
        """Jobs that the folders know and the record does not."""
        for status in sorted(statuses.values(), key=_arrival_of):
            if self._ledger.get(str(status["id"])) is not None:
                continue
            if not is_over(_state_of(status)) or self._waits_to_be_moved(status):
                self._bring_back_one(status)
        # A cancelled job owns its folder until that has been moved.
        owned = {job.folder for job in (*self._ledger.begun(), *self._unmoved())}
        for folder, names in self._folders.jobs_in_active():
            if self._folders.relative(folder) not in owned:
                self._adopt_folder(folder, names)

    def _waits_to_be_moved(self, status: dict[str, Any]) -> bool:
        """Cancelled where it waited, and cut off before its files were moved from there."""
        if _state_of(status) is not State.CANCELLED or str(status["id"]) in self._closings:
            return False
        folder = self._folders.absolute(str(status.get("folder") or ""))
        waited = any(folder.is_relative_to(top) for top in (self._folders.inbox, self._folders.active))
        sub, name = str(status.get("sub") or ""), naming.last_of(str(status["job"]), str(status.get("sub") or ""))
        return waited and name is not None and not self._has_arrived(str(status["id"]), sub, name)

    def _has_arrived(self, job_id: str, sub: str, name: str) -> bool:
        """Does this job lie where jobs that are over lie? Those are read in the background."""
        for top in (self._folders.done, self._folders.failed, self._folders.cancelled):
            for folder in _named(top / sub if sub else top, name):
                if (found := _status_in(folder)) is not None and found["id"] == job_id:
                    return True
        return False

    def _bring_back_one(self, status: dict[str, Any]) -> None:
        job = job_from_status(status)
        if job is None or self._ledger.live_by_key(job["key"]) is not None:
            return
        fields = job["fields"]
        sub, name, job_id = fields["sub"], fields["name"], fields["id"]
        inbox = self._folders.inbox_folder(sub)
        active = self._active_folder(status, fields)
        if active is None and job_id not in self._closings and not os.path.lexists(inbox / fields["file"]):
            if self._has_arrived(job_id, sub, name):
                return
            if self._had_begun(status):
                active = (self._folders.active / sub if sub else self._folders.active) / name  # gone, and it says so
        begun = active is not None
        fields |= {
            "folder": self._folders.relative(active if active is not None else inbox),
            "begun": begun,
            "state": State.QUEUED if begun or job_id in self._closings else State.PENDING,
        }
        added = self._add(fields, "status/")
        was_cancelled = is_over(_state_of(status)) and not added.over
        if was_cancelled or (added.cancel_requested and added.state is State.PENDING):
            # It was cancelled and not moved yet, or it was being taken when that was asked for.
            why = "its cancelling had been asked for before the record was lost"
            self._ledger.apply(added.id, Event.CANCEL, why, finished_at=self._ledger.stamp(), waiting_for=())

    def _had_begun(self, status: dict[str, Any]) -> bool:
        """Did this job lie in active/ when its status was written?"""
        return self._folders.absolute(str(status.get("folder") or "")).is_relative_to(self._folders.active)

    def _active_folder(self, status: dict[str, Any], fields: dict[str, Any]) -> Path | None:
        """The folder in active/ that this job's files lie in; None if it never began."""
        parent = self._folders.active / fields["sub"] if fields["sub"] else self._folders.active
        inside = "bundle" if fields["form"] is Form.BUNDLE else fields["file"]
        said = str(status.get("folder") or "")
        folders = _named(parent, fields["name"])
        folders.sort(key=lambda folder: self._folders.relative(folder) != said)
        owned = {job.folder for job in self._ledger.begun()}
        for folder in folders:
            if os.path.lexists(folder / inside) and self._folders.relative(folder) not in owned:
                return folder
        return None

    def _add(self, fields: dict[str, Any], source: str) -> Job:
        why = _BROUGHT_BACK.format(source)
        known = fields.pop("history", ())
        line = {"at": self._ledger.stamp(), "from": None, "to": str(fields["state"]), "why": why}
        if known:
            line["from"] = str(known[-1].get("to"))
        job = self._ledger.add(why=why, history=(*known, line), **fields)
        return self._read_settings(job) if job.begun and not job.over else job

    def _read_settings(self, job: Job) -> Job:
        """What the files of a begun job say of priority, hold, limits and tags; the others are judged anew anyway."""
        source = self._folders.source(job)
        try:
            data = read_plain(source, self._judge.max_job_size + 1) if job.form is Form.FILE else None
            beside = self._folders.sidecar(job)
            said = read_plain(beside, self._judge.max_job_size + 1) if beside is not None else b""
            sidecar = Sidecar(name=beside.name, data=said) if beside is not None else None
        except OSError:
            return job
        read = self._judge.read(job, source, data)
        text = None if isinstance(read, Failure) else read[0]  # what is wrong with it the worker finds out, and says
        settled = self._judge.settle_settings(job, sidecar, text)
        return job if isinstance(settled, Failure) else self._ledger.note(job.id, **settled)

    def _adopt_folder(self, folder: Path, names: list[str]) -> None:
        """A folder in active/ that no job of the record owns."""
        closing = next((found for found in self._closings.values() if found.folder == folder), None)
        if closing is not None:
            self._adopt_closing(closing)
            return
        if folder.name.startswith("."):
            return
        inside = folder.relative_to(self._folders.active)
        sub = inside.parent.as_posix() if inside.parent != Path() else ""
        file, is_bundle = _job_file(names), (folder / "bundle").is_dir()
        if (file is None and not is_bundle) or self._claim_in_flight(sub, file, is_bundle):
            return
        form = Form.BUNDLE if file is None else Form.ZIP if file.lower().endswith(".zip") else Form.FILE
        fields = {
            "name": inside.name,
            "sub": sub,
            "file": file or inside.name,
            "sidecar": _sidecar_among(names, file),
            "form": form,
            "folder": self._folders.relative(folder),
            "begun": True,
            "state": State.QUEUED,
            "queued_at": self._ledger.stamp(),
            "max_attempts": self._max_attempts,
        }
        if self._ledger.live_by_key(inside.as_posix()) is None:
            self._add(fields, "active/")

    def _claim_in_flight(self, sub: str, file: str | None, is_bundle: bool) -> bool:
        """Is there a job of the record whose claim this folder may be?"""
        for job in self._ledger.live_in(sub):
            is_meant = job.file == file or (is_bundle and job.form is Form.BUNDLE)
            if not job.begun and is_meant and not os.path.lexists(self._folders.source(job)):
                return True
        return False

    def _adopt_closing(self, closing: Closing) -> None:
        job = job_from_status(closing.status)
        if job is None or self._ledger.get(str(closing.status["id"])) is not None:
            return
        begun = not closing.folder.name.startswith(".")
        place = closing.folder if begun else self._folders.inbox_folder(job["fields"]["sub"])
        fields = job["fields"] | {"begun": begun, "state": State.QUEUED, "folder": self._folders.relative(place)}
        if self._ledger.live_by_key(job["key"]) is None:
            self._add(fields | {"outputs": ()}, "its folder")

    def _outputs(self, status: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        return outputs_told(status, self._may_deliver)


def import_history(
    folders: Folders,
    ledger: Ledger,
    stopped: Callable[[], bool],
    may_deliver: Callable[[str], bool],
    limit: int = 100_000,
) -> int:
    """Bring the jobs that are over back into a lost record: done/, failed/ and cancelled/, newest first, and those that
    were withdrawn, of which only status/ tells. Slow, and in the background. Returns how many."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for top in (folders.done, folders.failed, folders.cancelled):
        for folder, status in folders.job_folders(top):
            if stopped():
                return 0
            if is_over(_state_of(status)):
                found.append((str(status.get("finished_at") or ""), folders.relative(folder), status))
    for status in read_statuses(folders.status).values():
        if _state_of(status) is State.CANCELLED and status.get("folder") == "":
            found.append((str(status.get("finished_at") or ""), "", status))
    count = 0
    serial = min((job.serial for job in ledger.over() if job.serial < HISTORY_SERIALS), default=HISTORY_SERIALS)
    for _, place, status in sorted(found, key=lambda entry: entry[0], reverse=True)[:limit]:
        if stopped():
            break
        job = job_from_status(status)
        if job is None or ledger.get(str(status["id"])) is not None:
            continue
        fields = job["fields"] | {"folder": place, "state": _state_of(status), "begun": place != ""}
        fields["outputs"] = outputs_told(status, may_deliver)
        serial -= 1
        ledger.add(why=_BROUGHT_BACK.format("its folder"), serial=serial, **fields)
        count += 1
    return count


def delivery_check(config: Config, folders: Folders) -> Callable[[str], bool]:
    """Answers whether the policy allows a film to be delivered to this full path."""
    root = os.path.realpath(folders.root)
    facts = Facts(
        root=root,
        base=root,
        windows=os.name == "nt",
        realpath=os.path.realpath,
        root_server=paths.server_of(str(folders.root)),
        rules=(),
        reserved=tuple(str(folder) for folder in folders.own),
    )
    rules = policy_of(config)

    def may_deliver(target: str) -> bool:
        if not PurePath(target).is_absolute():
            return False
        return not isinstance(policy.delivery_target(target, path="output", facts=facts, policy=rules), Failure)

    return may_deliver


def outputs_told(status: dict[str, Any], may_deliver: Callable[[str], bool]) -> tuple[dict[str, Any], ...]:
    """The outputs a status file names: beside it, or where films may be delivered; nothing else is handed out later."""
    said = status.get("outputs")
    found = []
    for entry in said if isinstance(said, list) else ():
        path = entry.get("path") if isinstance(entry, dict) else None
        if isinstance(path, str) and (_is_inside(path) or may_deliver(path)):
            found.append(entry)
    return tuple(found)


def job_from_status(status: dict[str, Any]) -> dict[str, Any] | None:
    """A job as its status file tells of it: `{"key", "fields"}`; None where the file tells too little.

    Whoever may write on the share may write such a file, so each value is checked for its type, and names stay bare.
    """
    files = status.get("files")
    sub, key = status.get("sub"), status.get("job")
    name = naming.last_of(key, sub) if isinstance(key, str) and isinstance(sub, str) else None
    if not isinstance(files, dict) or not _is_bare(name) or not isinstance(sub, str) or not _ID.fullmatch(status["id"]):
        return None
    if sub and any(not _is_bare(part) for part in sub.split("/")):
        return None
    told = status.get("record")
    record: dict[str, Any] = told if isinstance(told, dict) else {}
    form = Form(status["form"]) if status.get("form") in set(Form) else Form.FILE
    file = files.get("job") if _is_bare(files.get("job")) else f"{name}.json"
    if form is Form.BUNDLE and file == "bundle":
        file = str(status["name"] if _is_bare(status.get("name")) else name)
    fields: dict[str, Any] = {
        "id": str(status["id"]),
        "name": name,
        "sub": sub,
        "form": form,
        "file": file,
        "sidecar": files.get("sidecar") if _is_bare(files.get("sidecar")) else None,
        "folder": str(status.get("folder") or ""),
        "priority": _number(status.get("priority"), 50, 0, 100),
        "priority_from": str(status.get("priority_from") or "default"),
        "max_attempts": _number(status.get("max_attempts"), 4, 1, 1001),
        "arrival": _number(record.get("arrival"), 0, 0, 2**53) or None,
        "launches": _number(record.get("launches"), 0, 0, 10**6),
        "interrupted": _number(record.get("interrupted"), 0, 0, 10**6),
        "released": record.get("released") is True,
        "settings_hold": record.get("settings_hold", record.get("released")) is True,
        "cancel_requested": status.get("cancel_requested") is True,
        "history": tuple(line for line in status.get("history") or () if isinstance(line, dict)),
        **_told_by(
            status,
            ("attempts", "warnings", "tags"),
            (
                "retry_of",
                "created_at",
                "queued_at",
                "started_at",
                "finished_at",
                "template",
                "composition",
                "node",
                "error",
                "superseded_by",
            ),
        ),
    }
    asked = record.get("asked_priority")
    if isinstance(asked, int) and 0 <= asked <= 100:
        fields["asked_priority"] = asked
    for key in ("digest", "retry_at"):
        if isinstance(record.get(key), str):
            fields[key] = record[key]
    if isinstance(status.get("held_because"), str):
        fields["held_because"] = status["held_because"]
    return {"key": f"{sub}/{name}" if sub else name, "fields": fields}


def _told_by(status: dict[str, Any], lists: tuple[str, ...], values: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {name: tuple(status[name]) for name in lists if isinstance(status.get(name), list)}
    return found | {name: status[name] for name in values if isinstance(status.get(name), (str, dict))}


def _is_bare(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def _number(value: object, default: int, low: int, high: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else default


def _arrival_of(status: dict[str, Any]) -> int:
    record = status.get("record")
    return _number(record.get("arrival") if isinstance(record, dict) else 0, 0, 0, 2**53)


def _state_of(status: dict[str, Any]) -> State:
    return State(status["state"]) if status["state"] in set(State) else State.FAILED


def _status_in(folder: Path) -> dict[str, Any] | None:
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(STATUS_SUFFIX)]
    except OSError:
        return None
    return next((status for name in names if (status := read_status(folder / name)) is not None), None)


def _named(parent: Path, name: str) -> list[Path]:
    """The folders `name`, `name~2`, … that are there."""
    try:
        names = [entry.name for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [parent / found for found in sorted(names) if naming.is_candidate(found, name)]


def _is_copied(original: Path, copy: Path) -> bool:
    """Is every file of this folder in the other one, too? What we write anew into each place does not count."""
    for place, folders, names in os.walk(original):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            source = Path(place) / name
            if is_our_own(name) or disk.is_half_written(name) or not stat.S_ISREG(os.lstat(source).st_mode):
                continue
            if not _is_same(source, copy / source.relative_to(original)):
                return False
    return True


def _is_same(one: Path, other: Path) -> bool:
    try:
        found, wanted = os.stat(one), os.lstat(other)
    except OSError:
        return False
    if found.st_size != wanted.st_size or not stat.S_ISREG(wanted.st_mode):
        return False
    # A copy of ours has the times of its original; a share may keep them less exactly, so small files are read.
    if found.st_size <= _READ_BYTES:
        return read_plain(one) == read_plain(other)
    return abs(found.st_mtime - wanted.st_mtime) <= 2.0


def _job_file(names: Iterable[str]) -> str | None:
    """The job file among the names in a folder of active/."""
    for ending in (".json", ".zip", ".yaml", ".yml"):
        for name in sorted(names):
            if name.lower().endswith(ending) and is_job_file(name):
                return name
    return None


def _sidecar_among(names: Iterable[str], file: str | None) -> str | None:
    found = [name for name in names if name.lower().endswith((".yaml", ".yml")) and name != file]
    return found[0] if len(found) == 1 and is_job_file(found[0]) else None


def _is_inside(name: object) -> bool:
    """Does this name lead to somewhere below the folder it is used in?"""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePath(name)
    return not path.is_absolute() and not path.drive and ".." not in path.parts
