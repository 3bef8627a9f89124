"""Where a job's files really lie, whatever the record says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from watchrender.closing import Closer
from watchrender.core import naming
from watchrender.core.job import Form, Job
from watchrender.core.recovery import Place
from watchrender.core.states import State
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import STATUS_SUFFIX, Closing, Folders, read_status


class Places:
    """`closings` are the decided ends that lie in active/, by job; who has dealt with one takes it out."""

    def __init__(self, folders: Folders, ledger: Ledger, closer: Closer) -> None:
        self._folders = folders
        self._ledger = ledger
        self._closer = closer
        self.closings = self._find_closings()

    def where(self, job: Job) -> tuple[Place, str]:
        """Where a job's files lie, and that folder as statuses say it."""
        if job.id not in self.closings and not job.begun and os.path.lexists(self._folders.source(job)):
            return Place.INBOX, job.folder  # most of them, at the cost of one look
        if not (job.over and self._closer.is_closed(job)):  # else where it is now is its owner's business
            arrived = self.arrived(job.id, job.sub, job.name)
            if arrived is not None:
                return arrived  # before any look into active/: a copy may have arrived, its original still be there
        if job.id in self.closings:
            return Place.CLOSING, self._folders.relative(self.closings[job.id].folder)
        if job.begun and os.path.lexists(self._folders.source(job)):
            return Place.ACTIVE, job.folder
        claimed = self._claimed_folder(job)
        if claimed is not None:
            return Place.ACTIVE, self._folders.relative(claimed)
        return (Place.VANISHED, "") if job.begun else (Place.NOWHERE, "" if job.over else job.folder)

    def unmoved(self) -> list[Job]:
        """Jobs recorded as cancelled whose files may still lie where they waited."""
        found = []
        for number, job in enumerate(self._ledger.over()):
            if number >= 1000:
                break  # that move is tried until it succeeds: nothing this old is open
            if job.state is State.CANCELLED and not self._closer.is_closed(job):
                found.append(job)
        return found

    def arrived(self, job_id: str, sub: str, name: str) -> tuple[Place, str] | None:
        """Where this job lies among those that are over, and that folder as statuses say it."""
        for place, top in (
            (Place.DONE, self._folders.done),
            (Place.FAILED, self._folders.failed),
            (Place.CANCELLED, self._folders.cancelled),
        ):
            for folder in folders_named(top / sub if sub else top, name):
                status = status_in(folder)
                if status is not None and status["id"] == job_id:
                    return place, self._folders.relative(folder)
        return None

    def is_of_another(self, folder: Path, job_id: str) -> bool:
        """Is this the folder of another job that has begun?"""
        relative = self._folders.relative(folder)
        return any(other.id != job_id and other.folder == relative for other in self._ledger.begun())

    def _find_closings(self) -> dict[str, Closing]:
        """Decided ends by job. A job in work has one only in its own folder: elsewhere somebody has copied it."""
        found = {}
        for closing in self._folders.closings():
            job_id = str(closing.status["id"])
            job = self._ledger.get(job_id)
            own = self._folders.absolute(job.folder) if job is not None and job.begun and not job.over else None
            is_its_own = own is None or own == closing.folder or not own.is_dir()
            if is_its_own and not self.is_of_another(closing.folder, job_id):
                found[job_id] = closing
        return found

    def _claimed_folder(self, job: Job) -> Path | None:
        """A claim whose rename happened before it was recorded."""
        parent = self._folders.active / job.sub if job.sub else self._folders.active
        for candidate in folders_named(parent, job.name):
            name = "bundle" if job.form is Form.BUNDLE else job.file
            if os.path.lexists(candidate / name) and not self.is_of_another(candidate, job.id):
                return candidate
        return None


def status_in(folder: Path) -> dict[str, Any] | None:
    """The status document that lies in a job's folder; None where there is none that can be read."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(STATUS_SUFFIX)]
    except OSError:
        return None
    return next((status for name in names if (status := read_status(folder / name)) is not None), None)


def folders_named(parent: Path, name: str) -> list[Path]:
    """The folders `name`, `name~2`, … that are there."""
    try:
        names = [entry.name for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [parent / found for found in sorted(names) if naming.is_candidate(found, name)]
