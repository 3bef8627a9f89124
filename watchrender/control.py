"""What a person may ask: cancel, retry, hold, release, prioritize, pause, drain, stop.

The page, the API, the command and the control files all end here. Standing wishes (hold, pause) are marks in the inbox
and nothing else: one truth, visible to all who see the folder. Each order answers with the job as it is afterwards, or
raises `Denied` with the words for the person.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from watchrender import disk
from watchrender.core import naming
from watchrender.core.job import DELIVERING, Form, Job
from watchrender.core.states import Event, State
from watchrender.gate import Gate
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import Folders, remove_empty
from watchrender.spool.plain import NotPlain, read_plain
from watchrender.spool.returned import settings_name

PAUSE = "_PAUSE"


class Denied(Exception):
    """The order cannot be done for this job as it stands; the words say why and what to do."""


class Control:
    """Orders on jobs and on the queue."""

    def __init__(self, *, ledger: Ledger, folders: Folders, gate: Gate, look: Callable[[], None]) -> None:
        self._ledger = ledger
        self._folders = folders
        self._gate = gate
        self._look = look  # "look at the inbox now"

    # -- one job --------------------------------------------------------------------------------------------

    def cancel(self, job_id: str, *, by: str, superseded_by: str | None = None, why: str | None = None) -> Job:
        """Cancel a job. A waiting one is cancelled at once; a running one is asked to end (`cancel_requested`)."""
        self._job(job_id)
        with self._ledger.together():  # it must not start, or end, between the look and the record
            job = self._job(job_id)
            denied = self._why_not(job)
            if denied is None:
                job = self._cancelled(job, why or f"cancelled by {by}", superseded_by)
        if denied is not None:
            raise Denied(denied)
        if job.over:
            self._look()
        else:
            self._gate.wake.set()
        return job

    @staticmethod
    def _why_not(job: Job) -> str | None:
        """Why it cannot be cancelled any more."""
        if job.over:
            return f"{job.key} is already {job.state}; there is nothing to cancel"
        if job.state is State.RENDERING and job.progress is not None and job.progress.stage == DELIVERING:
            return f"the film of {job.key} is finished and being delivered; it can no longer be cancelled"
        return None

    def _cancelled(self, job: Job, reason: str, superseded_by: str | None) -> Job:
        if job.state is State.RENDERING:
            words = f"{reason}: the render is being ended"
            return self._ledger.note(job.id, words, cancel_requested=True, superseded_by=superseded_by)
        return self._ledger.apply(
            job.id,
            Event.CANCEL,
            reason,
            finished_at=self._ledger.stamp(),
            superseded_by=superseded_by,
            waiting_for=(),
        )

    def retry(self, job_id: str, *, by: str) -> str:
        """Drop the files of a job that is over into the inbox again, as a new job. Returns the name dropped.

        Its films stay where they are: only the job file (or bundle, or zip) and the sidecar are copied.
        """
        job = self._job(job_id)
        if not job.over:
            raise Denied(f"{job.key} is {job.state}; only a job that is over can be tried again")
        folder = self._folders.absolute(job.folder) if job.folder else None
        source = None if folder is None else folder / ("bundle" if job.form is Form.BUNDLE else job.file)
        if source is None or not os.path.lexists(source):
            raise Denied(f"the files of {job.key} are not in {job.folder or 'any folder'} any more; drop the job again")
        try:
            return self._drop_again(job, source, by)
        except NotPlain as error:
            raise Denied(f"{error.filename} cannot be copied: {error.strerror}; drop the job again") from None

    def _drop_again(self, job: Job, source: Path, by: str) -> str:
        inbox = self._folders.inbox_folder(job.sub)
        disk.mkdirs(inbox)
        is_dir = job.form is Form.BUNDLE
        name = next(
            found for found in naming.file_candidates(job.file, is_dir=is_dir) if not os.path.lexists(inbox / found)
        )
        sidecar = source.parent / job.sidecar if job.sidecar else None
        if sidecar is not None and sidecar.is_file():
            beside = inbox / settings_name(inbox, sidecar.name, name, is_dir=is_dir)
            if not os.path.lexists(beside):
                disk.write_new(beside, read_plain(sidecar))
        place = f"{job.sub}/{name}" if job.sub else name
        self._ledger.know(retries={**self._ledger.facts().get("retries", {}), place: job.id})
        if source.is_dir():
            hidden = inbox / f".retry-{job.id}"
            disk.remove_tree(hidden)
            disk.copy_tree(source, hidden)
            disk.rename(hidden, inbox / name)
        else:
            disk.write_new(inbox / name, read_plain(source))
        logger.bind(job=job.id).info("{} asked for another try of {}", by, job.key)
        self._look()
        return name

    def hold(self, job_id: str, *, by: str) -> Job:
        """Lay a NAME.hold beside the job: it is not taken while the mark lies there."""
        job = self._waiting(job_id, "held")
        disk.mkdirs(self._folders.inbox_folder(job.sub))
        self._make_mark(self._folders.inbox_folder(job.sub) / f"{job.name}.hold")
        return self._ledger.note(job.id, f"held by {by}", marked_hold=True, released=False)

    def release(self, job_id: str, *, by: str) -> Job:
        """Take the mark away; a person's release also beats the sidecar's hold."""
        job = self._waiting(job_id, "released")
        for mark in self.marks_of(job, naming.Order.HOLD):
            take_away(mark)
        released = self._ledger.note(
            job.id, f"released by {by}", marked_hold=False, released=True, held_because=None, interrupted=0
        )
        self._gate.wake.set()
        return released

    def prioritize(self, job_id: str, priority: int, *, by: str) -> Job:
        """What a person asked last comes first among all sources of a priority."""
        job = self._job(job_id)
        if job.over:
            raise Denied(f"{job.key} is already {job.state}; its priority means nothing any more")
        if not 0 <= priority <= 100:
            raise Denied(f"priority {priority} is out of range; write a number from 0 to 100")
        job = self._ledger.note(
            job.id,
            f"priority {priority} asked for by {by}",
            priority=priority,
            priority_from="request",
            asked_priority=priority,
        )
        self._gate.wake.set()
        return job

    def _job(self, job_id: str) -> Job:
        job = self._ledger.get(job_id)
        if job is None:
            raise KeyError(job_id)
        return job

    def _waiting(self, job_id: str, asked: str) -> Job:
        job = self._job(job_id)
        if job.over or job.state is State.RENDERING:
            raise Denied(f"{job.key} is {job.state}; only a job that waits can be {asked}")
        return job

    def marks_of(self, job: Job, order: naming.Order) -> list[Path]:
        """The marks of a kind that lie in the inbox for a job, in any case, with or without .txt."""
        folder = self._folders.inbox_folder(job.sub)
        found = []
        try:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in os.scandir(folder)]
        except OSError:
            return []
        for name, is_dir in names:
            control = naming.control(name, is_dir=is_dir)
            if control is not None and control.order is order and self._is_of(control.target or "", job):
                found.append(folder / name)
        return found

    def _is_of(self, target: str, job: Job) -> bool:
        """As orders are understood: who has just this name goes before those whose file has it too."""
        exact = self._ledger.live_by_key(f"{job.sub}/{target}" if job.sub else target)
        return is_meant(target, job) if exact is None else exact.id == job.id

    # -- the queue ------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._make_mark(self._folders.inbox / PAUSE)
        self._gate.pause(True)

    def resume(self) -> None:
        with os.scandir(self._folders.inbox) as entries:
            marks = [Path(entry.path) for entry in entries if is_pause(entry)]
        for mark in marks:
            take_away(mark)
        self._gate.pause(False)

    def drain(self) -> None:
        self._gate.drain()

    def stop(self, *, now: bool = False) -> None:
        """End the running render, put it back, and leave the queue paused for the next start. `now`: without giving
        the render time to end by itself."""
        self._make_mark(self._folders.inbox / PAUSE)
        self._gate.stop(put_back=True, now=now)

    def _make_mark(self, path: Path) -> None:
        try:
            disk.write_new(path, b"")
        except FileExistsError:
            pass

    def cancel_all(self, *, by: str) -> list[Job]:
        """Cancel every job that has not begun."""
        done = []
        with self._ledger.together():
            for job in self._ledger.live():
                if not job.begun and job.state is not State.RENDERING:
                    done.append(self.cancel(job.id, by=by))
        return done


def is_pause(entry: os.DirEntry[str]) -> bool:
    """Is this thing in the inbox a mark that pauses the queue?"""
    control = naming.control(entry.name, is_dir=entry.is_dir(follow_symlinks=False))
    return control is not None and control.order is naming.Order.PAUSE


def take_away(mark: Path) -> None:
    """Remove a mark. A folder with something in it is somebody's, and is never emptied."""
    if mark.is_symlink() or not mark.is_dir():
        disk.remove(mark)
        return
    try:
        remove_empty(mark)
    except OSError:
        raise Denied(f"{mark.name} in the inbox is a folder with something in it; empty it and take it away") from None


def is_meant(target: str, job: Job) -> bool:
    """Does the NAME of a control file mean this job: its name, its last part of the key, or its whole file name?"""
    return naming.target_matches(target, job.name, [name for name in (job.file, job.sidecar) if name])
