"""A lost record, made anew from status/ and the folders: jobs, films, tries, holds and requests are all in there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from watchrender.core import naming
from watchrender.core.failure import Failure
from watchrender.core.job import Form, Job
from watchrender.core.states import Event, State, is_over
from watchrender.judge import Judge, Sidecar
from watchrender.ledger.ledger import Ledger
from watchrender.recover.believed import arrival_of, job_from_status, outputs_told, state_of
from watchrender.recover.places import Places, folders_named
from watchrender.spool.folders import Closing, Folders, is_job_file
from watchrender.spool.plain import read_plain
from watchrender.spool.statusfile import read_statuses

#: Jobs brought back from done/ get numbers below this, newest first, and those of the new record above it.
HISTORY_SERIALS = 1_000_000
_BROUGHT_BACK = "brought back from {}: the record was lost"


class LostRecord:
    """Adds the jobs that the folders know and the record does not."""

    def __init__(self, *, folders: Folders, ledger: Ledger, judge: Judge, places: Places, max_attempts: int) -> None:
        self._folders = folders
        self._ledger = ledger
        self._judge = judge
        self._places = places
        self._max_attempts = max_attempts

    def bring_back(self, statuses: dict[str, dict[str, Any]]) -> None:
        """Jobs that are not over. Those that are: `import_history`."""
        for status in sorted(statuses.values(), key=arrival_of):
            if self._ledger.knows(str(status["id"])):
                continue
            if not is_over(state_of(status)) or self._waits_to_be_moved(status):
                self._bring_back_one(status)
        # A cancelled job owns its folder until that has been moved.
        owned = {job.folder for job in (*self._ledger.begun(), *self._places.unmoved())}
        for folder, names in self._folders.jobs_in_active():
            if self._folders.relative(folder) not in owned:
                self._adopt_folder(folder, names)

    def _waits_to_be_moved(self, status: dict[str, Any]) -> bool:
        """Cancelled where it waited, and cut off before its files were moved from there."""
        if state_of(status) is not State.CANCELLED or str(status["id"]) in self._places.closings:
            return False
        folder = self._folders.absolute(str(status.get("folder") or ""))
        waited = any(folder.is_relative_to(top) for top in (self._folders.inbox, self._folders.active))
        sub, name = str(status.get("sub") or ""), naming.last_of(str(status["job"]), str(status.get("sub") or ""))
        return waited and name is not None and self._places.arrived(str(status["id"]), sub, name) is None

    def _bring_back_one(self, status: dict[str, Any]) -> None:
        job = job_from_status(status)
        if job is None or self._ledger.has_live(job["key"]):
            return
        fields = job["fields"]
        sub, name, job_id = fields["sub"], fields["name"], fields["id"]
        inbox = self._folders.inbox_folder(sub)
        active = self._active_folder(status, fields)
        if active is None and job_id not in self._places.closings and not os.path.lexists(inbox / fields["file"]):
            if self._places.arrived(job_id, sub, name) is not None:
                return
            if self._had_begun(status):
                active = (self._folders.active / sub if sub else self._folders.active) / name  # gone, and it says so
        begun = active is not None
        fields |= {
            "folder": self._folders.relative(active if active is not None else inbox),
            "begun": begun,
            "state": State.QUEUED if begun or job_id in self._places.closings else State.PENDING,
        }
        added = self._add(fields, "status/")
        was_cancelled = is_over(state_of(status)) and not added.over
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
        folders = folders_named(parent, fields["name"])
        folders.sort(key=lambda folder: self._folders.relative(folder) != said)
        owned = {job.folder for job in self._ledger.begun()}
        for folder in folders:
            if os.path.lexists(folder / inside) and self._folders.relative(folder) not in owned:
                return folder
        return None

    def _adopt_folder(self, folder: Path, names: list[str]) -> None:
        """A folder in active/ that no job of the record owns."""
        closing = next((found for found in self._places.closings.values() if found.folder == folder), None)
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
        if not self._ledger.has_live(inside.as_posix()):
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
        if not self._ledger.has_live(job["key"]):
            self._add(fields | {"outputs": ()}, "its folder")

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
        text = None if isinstance(read, Failure) else read.text  # what is wrong with it the worker finds out, and says
        settled = self._judge.settle_settings(job, sidecar, text)
        return job if isinstance(settled, Failure) else self._ledger.note(job.id, **settled)


#: So many jobs that are over come back into a lost record, the newest.
_MOST_HISTORY = 100_000


def import_history(
    folders: Folders,
    ledger: Ledger,
    stopped: Callable[[], bool],
    may_deliver: Callable[[str], bool],
) -> int:
    """Bring the jobs that are over back into a lost record: done/, failed/ and cancelled/, newest first, and those that
    were withdrawn, of which only status/ tells. Slow, and in the background. Returns how many."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for top in (folders.done, folders.failed, folders.cancelled):
        for folder, status in folders.job_folders(top):
            if stopped():
                return 0
            if is_over(state_of(status)):
                found.append((str(status.get("finished_at") or ""), folders.relative(folder), status))
    for status in read_statuses(folders.status).values():
        if state_of(status) is State.CANCELLED and status.get("folder") == "":
            found.append((str(status.get("finished_at") or ""), "", status))
    count = 0
    serial = min((job.serial for job in ledger.over() if job.serial < HISTORY_SERIALS), default=HISTORY_SERIALS)
    for _, place, status in sorted(found, key=lambda entry: entry[0], reverse=True)[:_MOST_HISTORY]:
        if stopped():
            break
        job = job_from_status(status)
        if job is None or ledger.get(str(status["id"])) is not None:
            continue
        fields = job["fields"] | {"folder": place, "state": state_of(status), "begun": place != ""}
        fields["outputs"] = outputs_told(status, may_deliver)
        serial -= 1
        ledger.add(why=_BROUGHT_BACK.format("its folder"), serial=serial, **fields)
        count += 1
    return count


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
