"""The start after any kind of end: make record and folders agree, and bring back what a lost record knew.

Looks once where each job really lies, asks `core/recovery.py`, and does what the table says. A record that is lost is
rebuilt from status/ and the folders: jobs, films, tries, holds and requests are all in there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.core import naming
from watchrender.core.failure import Code, fail
from watchrender.core.job import Form, Job
from watchrender.core.recovery import Place, Repair, repair
from watchrender.core.states import Event, State, is_over
from watchrender.finish import deliver_elsewhere
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import STATUS_SUFFIX, Closing, Folders, read_status
from watchrender.spool.statusfile import read_statuses

#: The machine went down so often while this job rendered: it is held, so that it cannot do it again.
INTERRUPTED_LIMIT = 3


class Recovery:
    """One start."""

    def __init__(self, *, folders: Folders, ledger: Ledger, closer: Closer, rebooted: bool, max_attempts: int) -> None:
        self._folders = folders
        self._ledger = ledger
        self._closer = closer
        self._rebooted = rebooted  # the machine itself has started anew since the last beat
        self._max_attempts = max_attempts
        self._closings: dict[str, Closing] = {}
        self.repaired: list[tuple[str, Repair]] = []

    def run(self) -> None:
        self._closings = {str(found.status["id"]): found for found in self._folders.closings()}
        self._bring_back()
        for job in (*self._ledger.live(), *self._unmoved()):
            self._mend(job)
        for closing in self._closings.values():
            self._drop_copy_left_behind(closing)

    def _unmoved(self) -> list[Job]:
        """Jobs recorded as cancelled whose files may still lie where they waited."""
        found = []
        for number, job in enumerate(self._ledger.over()):
            if number >= 1000:
                break  # that move is tried until it succeeds: nothing this old is open
            if job.state is State.CANCELLED and not self._closer.is_closed(job):
                found.append(job)
        return found

    # -- record and folders ---------------------------------------------------------------------------------

    def _mend(self, job: Job) -> None:
        place, folder = self._where(job)
        what = repair(place, job.state)
        if what is Repair.NOTHING or (what is Repair.CLAIMED and job.begun and folder == job.folder):
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
            case Repair.WITHDRAWN:
                pass  # the inbox is asked twice, some seconds apart, before a job counts as withdrawn
            case Repair.LOST:
                self._lost(job)

    def _where(self, job: Job) -> tuple[Place, str]:
        """Where a job's files lie, and that folder as statuses say it."""
        if job.id in self._closings:
            return Place.CLOSING, self._folders.relative(self._closings[job.id].folder)
        if job.begun and os.path.lexists(self._folders.source(job)):
            return Place.ACTIVE, job.folder
        if not job.begun and job.file and os.path.lexists(self._folders.source(job)):
            return Place.INBOX, job.folder
        claimed = self._claimed_folder(job)
        if claimed is not None:
            return Place.ACTIVE, self._folders.relative(claimed)
        for place, top in (
            (Place.DONE, self._folders.done),
            (Place.FAILED, self._folders.failed),
            (Place.CANCELLED, self._folders.cancelled),
        ):
            arrived = self._arrived(top, job)
            if arrived is not None:
                return place, self._folders.relative(arrived)
        return Place.NOWHERE, job.folder

    def _claimed_folder(self, job: Job) -> Path | None:
        """A claim whose rename happened before it was recorded."""
        parent = self._folders.active / job.sub if job.sub else self._folders.active
        for candidate in self._named(parent, job.name):
            name = "bundle" if job.form is Form.BUNDLE else job.file
            if os.path.lexists(candidate / name):
                return candidate
        return None

    def _arrived(self, top: Path, job: Job) -> Path | None:
        for folder in self._named(top / job.sub if job.sub else top, job.name):
            status = _status_in(folder)
            if status is not None and status["id"] == job.id:
                return folder
        return None

    @staticmethod
    def _named(parent: Path, name: str) -> list[Path]:
        """The folders `name`, `name~2`, … that are there."""
        try:
            names = [entry.name for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        return [parent / found for found in names if found == name or found.startswith(f"{name}~")]

    # -- repairs --------------------------------------------------------------------------------------------

    def _put_back(self, job: Job, place: Place, folder: str) -> None:
        changes: dict[str, Any] = {"progress": None}
        if place is Place.ACTIVE:
            changes |= {"begun": True, "folder": folder}
            self._clear(self._folders.absolute(folder), job)
        interrupted = job.interrupted + self._rebooted
        why = "the service was interrupted during the render; no try is used"
        if self._rebooted:
            why = f"the machine itself went down during the render ({interrupted} times so far); no try is used"
            changes["interrupted"] = interrupted
        if interrupted >= INTERRUPTED_LIMIT and self._rebooted:
            changes["held_because"] = (
                f"the machine went down {interrupted} times while this job rendered; release it to try again"
            )
        job = self._ledger.apply(job.id, Event.RESTORE, why, **changes)
        self._folders.bring_followers(job, self._folders.absolute(folder)) if job.begun else None

    def _adopt_claim(self, job: Job, folder: str) -> None:
        if job.state is not State.QUEUED:
            if job.state is State.PENDING:
                self._ledger.apply(job.id, Event.CHECK, "found in active/")
            job = self._ledger.apply(job.id, Event.ACCEPT, "found in active/: it had been taken", queued_at=self._ledger.stamp())
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
            self._closer.cancelled(job)
            return
        status = closing.status

        def attempt(copy: bool) -> None:
            current = self._ledger.get(job.id)
            if current is None or (current.over and self._closer.is_closed(current)):
                return
            self._folders.clear_attempts(closing.folder)
            self._folders.bring_files(current, closing.folder)
            deliver_elsewhere(closing.folder, status.get("record", {}).get("deliveries", ()))
            state = State(status["state"])
            target = self._folders.target(state, current.sub, current.name)
            status["folder"] = self._folders.relative(target)
            self._closer.rewrite_final(closing.folder, current.name, status)
            self._closer.arrive(closing.folder, target, copy=copy)
            if current.over:
                self._ledger.note(job.id, folder=status["folder"])
            else:
                self._record_as(current, status, status["folder"])

        self._closer.later(job.id, attempt)

    def _record(self, job: Job, folder: str) -> None:
        status = _status_in(self._folders.absolute(folder))
        if status is not None:
            self._record_as(job, status, folder)
            self._remove_source_left_behind(job)

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
            **_told_by(status, ("outputs", "attempts", "warnings"), ("finished_at", "error")),
        )

    def _remove_source_left_behind(self, job: Job) -> None:
        """The copy has arrived, and the cut came before the original was removed."""
        parent = self._folders.active / job.sub if job.sub else self._folders.active
        for folder in self._named(parent, job.name):
            status = _status_in(folder)
            if status is not None and status["id"] == job.id:
                disk.remove_tree(folder)

    def _drop_copy_left_behind(self, closing: Closing) -> None:
        job = self._ledger.get(str(closing.status["id"]))
        if job is not None and job.over and self._closer.is_closed(job) and self._folders.absolute(job.folder).is_dir():
            disk.remove_tree(closing.folder)

    def _lost(self, job: Job) -> None:
        failure = fail(
            Code.JOB_UNREADABLE,
            f"the folder {job.folder} of this job is gone: somebody moved or deleted it while it was in work",
            cure="Leave active/ to watchrender; drop the job again.",
        )
        self._ledger.apply(
            job.id, Event.GIVE_UP, failure.message, error=failure.to_dict(), finished_at=self._ledger.stamp(), folder=""
        )

    # -- a lost record --------------------------------------------------------------------------------------

    def _bring_back(self) -> None:
        """Jobs that the folders know and the record does not."""
        statuses = read_statuses(self._folders.status)
        for status in sorted(statuses.values(), key=_arrival_of):
            if self._ledger.get(str(status["id"])) is None and not is_over(_state_of(status)):
                self._bring_back_one(status)
        for folder in self._active_folders():
            self._adopt_folder(folder, statuses)

    def _bring_back_one(self, status: dict[str, Any]) -> None:
        job = job_from_status(status)
        if job is None or self._ledger.live_by_key(job["key"]) is not None:
            return
        folder = self._folders.absolute(job["fields"]["folder"])
        in_active = folder.is_relative_to(self._folders.active)
        name = "bundle" if in_active and job["fields"]["form"] is Form.BUNDLE else job["fields"]["file"]
        closing = self._closings.get(str(status["id"]))
        if not os.path.lexists(folder / name) and closing is None:
            parent = self._folders.active / job["fields"]["sub"] / job["fields"]["name"]
            moved = "bundle" if job["fields"]["form"] is Form.BUNDLE else job["fields"]["file"]
            if not os.path.lexists(parent / moved):
                return  # it was closed or withdrawn; done/, failed/ and cancelled/ are read in the background
            folder, in_active = parent, True
        fields = job["fields"] | {"folder": self._folders.relative(folder), "begun": in_active}
        fields["state"] = State.QUEUED if in_active or closing is not None else State.PENDING
        self._ledger.add(why="brought back from status/: the record was lost", **fields)

    def _active_folders(self) -> Iterable[Path]:
        """Folders in active/ that hold somebody's job."""
        for place, folders, names in os.walk(self._folders.active):
            path = Path(place)
            if path == self._folders.active:
                folders[:] = [name for name in folders if not name.startswith(".trial-")]
                continue
            if path.name.startswith(".closing-"):
                folders[:] = []
                yield path
                continue
            if _job_file(names) is not None or "bundle" in folders or any(name.startswith(".attempt-") for name in folders):
                folders[:] = []
                yield path
            else:
                folders[:] = [name for name in folders if not name.startswith(".") or name.startswith(".closing-")]

    def _adopt_folder(self, folder: Path, statuses: dict[str, dict[str, Any]]) -> None:
        """A folder in active/ that no job of the record owns."""
        relative = self._folders.relative(folder)
        if any(job.folder == relative for job in self._ledger.begun()):
            return
        closing = next((found for found in self._closings.values() if found.folder == folder), None)
        if closing is not None:
            self._adopt_closing(closing)
            return
        if folder.name.startswith(".closing-"):
            return
        inside = folder.relative_to(self._folders.active)
        sub = inside.parent.as_posix() if inside.parent != Path() else ""
        status = statuses.get(naming.fold(inside.as_posix()))
        names = [entry.name for entry in os.scandir(folder)]
        file = _job_file(names)
        if status is not None and self._ledger.get(str(status["id"])) is not None:
            return
        known = self._claim_in_flight(sub, file, "bundle" in names)
        if known is not None or (file is None and "bundle" not in names):
            return
        self._ledger.add(
            why="found in active/ without a record",
            name=inside.name,
            sub=sub,
            file=file or inside.name,
            form=Form.BUNDLE if file is None else Form.ZIP if file.lower().endswith(".zip") else Form.FILE,
            folder=relative,
            begun=True,
            state=State.QUEUED,
            queued_at=self._ledger.stamp(),
            max_attempts=self._max_attempts,
        )

    def _claim_in_flight(self, sub: str, file: str | None, is_bundle: bool) -> Job | None:
        """The job of the record whose claim this folder is."""
        for job in self._ledger.live_in(sub):
            if not job.begun and (job.file == file or (is_bundle and job.form is Form.BUNDLE)):
                if not os.path.lexists(self._folders.source(job)):
                    return job
        return None

    def _adopt_closing(self, closing: Closing) -> None:
        if self._ledger.get(str(closing.status["id"])) is not None:
            return
        job = job_from_status(closing.status)
        if job is None:
            return
        begun = not closing.folder.name.startswith(".closing-")
        fields = job["fields"] | {"begun": begun, "state": State.QUEUED}
        if begun:
            fields["folder"] = self._folders.relative(closing.folder)
        else:
            fields["folder"] = self._folders.relative(self._folders.inbox_folder(job["fields"]["sub"]))
        self._ledger.add(why="brought back from its folder: the record was lost", **fields)


def import_history(folders: Folders, ledger: Ledger, stopped: Callable[[], bool], limit: int = 100_000) -> int:
    """Bring the jobs that are over back into a lost record: done/, failed/ and cancelled/, newest first. Slow, and in
    the background. Returns how many."""
    found = []
    for top in (folders.done, folders.failed, folders.cancelled):
        for folder, status in folders.job_folders(top):
            if stopped():
                return 0
            if is_over(_state_of(status)):
                found.append((str(status.get("finished_at") or ""), folder, status))
    count = 0
    for _, folder, status in sorted(found, key=lambda entry: entry[0])[-limit:]:
        if stopped():
            break
        job = job_from_status(status)
        if job is None or ledger.get(str(status["id"])) is not None:
            continue
        fields = job["fields"] | {"folder": folders.relative(folder), "state": _state_of(status), "begun": True}
        ledger.add(why="brought back from its folder: the record was lost", **fields)
        count += 1
    return count


def job_from_status(status: dict[str, Any]) -> dict[str, Any] | None:
    """A job as its status file tells of it: `{"key", "fields"}`; None where the file tells too little.

    Whoever may write on the share may write such a file, so each value is checked for its type, and names stay bare.
    """
    files = status.get("files")
    name, sub = status.get("name"), status.get("sub")
    if not isinstance(files, dict) or not _is_bare(name) or not isinstance(sub, str):
        return None
    if sub and any(not _is_bare(part) for part in sub.split("/")):
        return None
    told = status.get("record")
    record: dict[str, Any] = told if isinstance(told, dict) else {}
    form = Form(status["form"]) if status.get("form") in set(Form) else Form.FILE
    file = files.get("job") if _is_bare(files.get("job")) else f"{name}.json"
    if form is Form.BUNDLE and file == "bundle":
        file = str(name)
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
        "history": tuple(line for line in status.get("history") or () if isinstance(line, dict)),
        **_told_by(
            status,
            ("attempts", "outputs", "warnings", "tags"),
            ("retry_of", "created_at", "queued_at", "started_at", "finished_at", "template", "composition", "node", "error", "superseded_by"),
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


def _job_file(names: Iterable[str]) -> str | None:
    """The job file among the names in a folder of active/."""
    for ending in (".json", ".zip", ".yaml", ".yml"):
        for name in sorted(names):
            if name.lower().endswith(ending) and not name.endswith(STATUS_SUFFIX) and not name.startswith("."):
                return name
    return None
