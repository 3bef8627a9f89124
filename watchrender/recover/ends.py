"""Ends that were decided and cut off: the final status lies in the job's folder, and says how it goes on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.elsewhere import deliver_elsewhere, keep_here, tell_beside
from watchrender.finish import Elsewhere
from watchrender.ledger.ledger import Ledger
from watchrender.recover.believed import is_inside, outputs_told, told_by
from watchrender.recover.places import Places, status_in
from watchrender.spool.folders import STATUS_SUFFIX, Closing, Folders, is_our_own
from watchrender.spool.plain import read_plain
from watchrender.spool.statusfile import to_json

#: Files up to this size are compared by what is in them.
_READ_BYTES = 2**20


class Ends:
    """Completes them: now, and where a move is refused again later (`closing.py`)."""

    def __init__(
        self,
        *,
        folders: Folders,
        ledger: Ledger,
        closer: Closer,
        places: Places,
        may_deliver: Callable[[str], bool],
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._closer = closer
        self._places = places
        self._may_deliver = may_deliver

    def close(self, job: Job) -> None:
        """Complete a closing that was cut off, as its final status says (or as recorded, for a cancelled job)."""
        closing = self._places.closings.pop(job.id, None)
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

    def record(self, job: Job, folder: str) -> None:
        """The job's folder has arrived, and the record does not know: what the folder says is recorded."""
        status = status_in(self._folders.absolute(folder))
        if status is not None:
            self._remove_original(job, self._folders.absolute(folder))
            self._record_as(job, status, folder)

    def clear_up(self, job: Job) -> None:
        """The job is over, and a folder with its final status lies in active/: what a copy has left there. Or a person
        has put it there: it goes back to where its job belongs, whole."""
        closing = self._places.closings[job.id]
        if self._remove_copied(job, closing.folder, self._folders.absolute(job.folder)):
            return
        del self._places.closings[job.id]

        def attempt(copy: bool) -> None:
            if not closing.folder.is_dir():
                return
            target = self._folders.target(job.state, job.sub, job.name)
            status = closing.status | {"state": str(job.state), "folder": self._folders.relative(target)}
            self._closer.rewrite_final(closing.folder, job.name, status)
            self._closer.arrive(closing.folder, target, job.id, copy=copy)
            self._ledger.note(job.id, "its folder lay in active/, and is back in its place", folder=status["folder"])

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
            if not isinstance(entry, dict) or not is_inside(entry.get("from")) or not isinstance(entry.get("to"), str):
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
            outputs=outputs_told(status, self._may_deliver),
            **told_by(status, ("attempts", "warnings"), ("finished_at", "error")),
        )

    def _remove_original(self, job: Job, arrived: Path) -> None:
        """The copy has arrived, and the cut came before the original was removed, or within that."""
        originals = {self._folders.closing_folder(job)}
        if job.begun:
            originals.add(self._folders.absolute(job.folder))
        if job.id in self._places.closings:
            originals.add(self._places.closings[job.id].folder)
        for original in originals:
            if original.is_relative_to(self._folders.active) and original != self._folders.active and original.is_dir():
                self._remove_copied(job, original, arrived)

    def _remove_copied(self, job: Job, original: Path, arrived: Path) -> bool:
        """Remove a folder that has arrived as a copy; not one that holds anything that the copy does not."""
        if not _is_copied(original, arrived):
            return False
        self._places.closings.pop(job.id, None)
        disk.remove_tree(original)
        return True


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
