"""The six folders of a hot folder: claim, close, deliver. The only code that moves a user's file.

Every move is one rename (`disk.rename`), never over something. A job is closed in one order, whatever its end:

1. its folder gets everything it will ever hold, the final status file last: from here the end is decided;
2. one rename takes the folder to done/, failed/ or cancelled/;
3. the ledger records it.

A job that never began has no folder in active/: it is closed from a hidden one beside, status file first, then the
user's files, so that a cut anywhere can be completed forwards (`core/recovery.py`).
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

from watchrender import disk
from watchrender.core import naming
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.states import State

STATUS_SUFFIX = ".status.json"
_CLOSING = ".closing-"
_ATTEMPT = ".attempt-"
#: Where the rest of a returned job waits, hidden beside its job file, until the job is claimed.
BEFORE = ".before-"


class FolderNames(Protocol):
    """The names of the six folders (config `folders`)."""

    @property
    def inbox(self) -> str: ...
    @property
    def active(self) -> str: ...
    @property
    def done(self) -> str: ...
    @property
    def failed(self) -> str: ...
    @property
    def cancelled(self) -> str: ...
    @property
    def status(self) -> str: ...


class ClaimLost(Exception):
    """The job's file is not there any more: somebody took it away before we did."""


class Busy(Exception):
    """A move was refused because somebody has a file open: try again later, it is nobody's fault."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: somebody has it open ({error.strerror})")
        self.path = path


class Unfit(Exception):
    """These folders cannot make a hot folder; the words say which and what to do."""


@dataclass(frozen=True, kw_only=True)
class Closing:
    """A folder in active/ whose final status is written: found at start."""

    folder: Path
    status: dict[str, Any]


class Folders:
    """The folders of one root."""

    def __init__(self, root: Path, names: FolderNames) -> None:
        self.root = root
        self.inbox = root / names.inbox
        self.active = root / names.active
        self.done = root / names.done  # an absolute name stands for itself
        self.failed = root / names.failed
        self.cancelled = root / names.cancelled
        self.status = root / names.status
        self.identity: tuple[int, int] | None = None

    # -- the root itself ------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make what is missing below the root (never the root) and prove that renames work. Raises `Unfit`."""
        if not self.root.is_dir():
            raise Unfit(f"root: {self.root} is not there; make it, or mount the share, then start again")
        for folder in self._all():
            try:
                disk.mkdirs(folder)
            except OSError as error:
                raise Unfit(f"{folder} cannot be made: {error.strerror}; check the rights of this user there") from None
        self._sweep_trials()
        for other in (self.active, self.failed, self.cancelled, self.status):
            self._trial(self.inbox, other)
        self.identity = identity(self.root)

    def _all(self) -> tuple[Path, ...]:
        return (self.inbox, self.active, self.done, self.failed, self.cancelled, self.status)

    def _sweep_trials(self) -> None:
        for folder in self._all():
            for left in folder.glob(".trial-*"):
                disk.remove_tree(left) if left.is_dir() else disk.remove(left)

    def _trial(self, one: Path, other: Path) -> None:
        name = f".trial-{uuid.uuid4().hex[:8]}"
        try:
            disk.write(one / name, b"", durable=False)
            disk.rename(one / name, other / name)
            disk.remove(other / name)
            disk.mkdir(one / name)
            disk.rename(one / name, other / name)
            disk.rmdir(other / name)
        except OSError as error:
            for left in (one / name, other / name):
                disk.remove_tree(left) if left.is_dir() else left.unlink(missing_ok=True)
            raise Unfit(
                f"{one} and {other} must be on one volume and writable, because a job moves between them by one"
                f" rename; a trial rename was refused: {error.strerror}"
            ) from None

    def health(self) -> Failure | None:
        """Is the root still the one we started on? Gone is not empty: nothing may be concluded while it is away."""
        try:
            found = identity(self.root)
        except OSError as error:
            return fail(Code.SHARE_OFFLINE, f"{self.root} cannot be reached: {error.strerror or error}")
        if self.identity is not None and found != self.identity:
            if not self._is_ours_again():
                return fail(
                    Code.SHARE_OFFLINE,
                    f"{self.root} is not the folder it was: another disk, or an empty mount point, stands in its place",
                )
            self.identity = found
        for folder in (self.inbox, self.active, self.status):
            try:
                os.stat(folder)
            except OSError as error:
                return fail(Code.SHARE_OFFLINE, f"{folder} cannot be reached: {error.strerror or error}")
        return None

    def _is_ours_again(self) -> bool:
        # A share mounted anew has another device number; its own folders say whether it is the same one.
        return all(folder.is_dir() for folder in (self.inbox, self.active, self.status)) and (
            self.status / "service.json"
        ).is_file()

    # -- where a job lies -----------------------------------------------------------------------------------

    def relative(self, path: Path) -> str:
        """A path as statuses say it: below the root with slashes, else absolute."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return str(path)

    def absolute(self, folder: str) -> Path:
        return self.root / PurePath(folder)

    def inbox_folder(self, sub: str) -> Path:
        return self.inbox / sub if sub else self.inbox

    def base(self, job: Job) -> Path:
        """The folder that the job's relative paths start from."""
        if job.form is Form.BUNDLE:
            return self.absolute(job.folder) / ("bundle" if job.begun else job.file)
        return self.inbox_folder(job.sub)

    def source(self, job: Job) -> Path:
        """The dropped thing itself: the job file, the bundle folder or the zip."""
        folder = self.absolute(job.folder)
        return folder / ("bundle" if job.begun and job.form is Form.BUNDLE else job.file)

    def sidecar(self, job: Job) -> Path | None:
        if job.sidecar is None:
            return None
        beside = self.absolute(job.folder) / job.sidecar
        if job.begun and not beside.exists():
            return self.inbox_folder(job.sub) / job.sidecar
        return beside

    def taken(self, sub: str, name: str) -> bool:
        """Is this key's place in our folders taken: a folder in done/, or a sub-folder of that name anywhere?"""
        place = PurePath(sub) / name
        if _exists(self.done / place) or _exists(self.active / place) or (self.status / place).is_dir():
            return True
        return any(_is_subfolder(folder / place) for folder in (self.failed, self.cancelled))

    # -- claim ----------------------------------------------------------------------------------------------

    def claim(self, job: Job) -> Path:
        """Take a job out of the inbox: mkdir, then ONE rename that decides; the sidecar follows.

        Returns its folder in active/. Raises `ClaimLost` where the file is gone, `Busy` where it is held open.
        """
        source = self.source(job)
        if not os.path.lexists(source):
            raise ClaimLost(str(source))
        parent = self.active / job.sub if job.sub else self.active
        disk.mkdirs(parent)
        folder = self._win(parent, job.name)
        target = folder / ("bundle" if job.form is Form.BUNDLE else job.file)
        try:
            disk.rename(source, target)
        except OSError as error:
            _rmdir_quietly(folder)
            if isinstance(error, FileNotFoundError):
                raise ClaimLost(str(source)) from None
            if disk.is_busy(error):
                raise Busy(source, error) from None
            raise
        self.bring_followers(job, folder)
        return folder

    def _win(self, parent: Path, name: str) -> Path:
        """The first free folder name: free means that our mkdir succeeded."""
        for candidate in naming.candidates(name):
            folder = parent / candidate
            if _is_empty_claim(folder):
                return folder  # our own mkdir of a claim that was cut off: nothing is in it
            try:
                disk.mkdir(folder)
            except FileExistsError:
                continue
            return folder
        raise AssertionError("candidates never end")

    def bring_followers(self, job: Job, folder: Path) -> None:
        """What belongs to the job file comes after it: its sidecar, and what a returned job left before."""
        self.bring_sidecar(job, folder)
        rest = self.inbox_folder(job.sub) / f"{BEFORE}{job.file}"
        if rest.is_dir():
            try:
                disk.rename(rest, folder / "before")
            except OSError:
                pass  # the next start brings it

    def bring_sidecar(self, job: Job, folder: Path) -> bool:
        """Move a job's sidecar from the inbox into its folder. True if it is there now."""
        if job.sidecar is None:
            return False
        source, target = self.inbox_folder(job.sub) / job.sidecar, folder / job.sidecar
        if target.exists():
            return True
        try:
            disk.rename(source, target)
        except OSError:
            return False  # read before; the next start brings it
        return True

    # -- attempts -------------------------------------------------------------------------------------------

    def attempt_folder(self, job_folder: Path, uid: str) -> Path:
        """The hidden place an attempt renders into, on the same volume as the film's final place."""
        return job_folder / f"{_ATTEMPT}{uid}"

    def clear_attempts(self, job_folder: Path) -> bool:
        """Remove what attempts left in a job's folder. False if something held on."""
        try:
            left = [Path(entry.path) for entry in os.scandir(job_folder) if entry.name.startswith(_ATTEMPT)]
        except OSError:
            return False
        return all([disk.remove_tree(path) for path in left])

    def clear_leftovers(self, job_folder: Path, job: Job) -> None:
        """Remove what a cut-off closing left in a job's folder: all but what was dropped or returned with it."""
        kept = {job.file, job.sidecar, "bundle", "before"}
        try:
            left = [entry for entry in os.scandir(job_folder) if entry.name not in kept]
        except OSError:
            return
        for entry in left:
            path = Path(entry.path)
            disk.remove_tree(path) if entry.is_dir(follow_symlinks=False) else disk.remove(path)

    # -- closing --------------------------------------------------------------------------------------------

    def open_closing(self, job: Job) -> Path:
        """The folder in which this job is closed: its own in active/, or a hidden one for a job that never began."""
        if job.begun:
            return self.absolute(job.folder)
        parent = self.active / job.sub if job.sub else self.active
        folder = parent / f"{_CLOSING}{job.id}"
        disk.mkdirs(folder)
        return folder

    def bring_files(self, job: Job, folder: Path) -> None:
        """Move the files of a job that never began into its closing folder. Raises `Busy`.

        What is gone is gone: a job may be closed because its file cannot be read or was taken away.
        """
        if job.begun:
            self.bring_followers(job, folder)
            return
        target = folder / job.file
        if job.file and not os.path.lexists(target):
            try:
                disk.rename(self.source(job), target)
            except FileNotFoundError:
                pass
            except OSError as error:
                if disk.is_busy(error):
                    raise Busy(self.source(job), error) from None
                raise
        self.bring_followers(job, folder)

    def target(self, state: State, sub: str, name: str) -> Path:
        """The free place for a closed job: `done/<sub>/<name>`, or the next `~N` that nobody has."""
        parent = {State.COMPLETED: self.done, State.FAILED: self.failed, State.CANCELLED: self.cancelled}[state]
        parent = parent / sub if sub else parent
        disk.mkdirs(parent)
        return next(
            parent / candidate for candidate in naming.candidates(name) if not os.path.lexists(parent / candidate)
        )

    def close(self, folder: Path, target: Path) -> None:
        """One rename: the whole job folder appears at its target. Raises `Busy`, and FileExistsError if somebody
        took the name in between."""
        try:
            disk.rename(folder, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno == errno.EXDEV:
                self.close_by_copy(folder, target)
            elif disk.is_busy(error):
                raise Busy(folder, error) from None
            else:
                raise

    def close_by_copy(self, folder: Path, target: Path) -> None:
        """For done/ on another volume, and for a folder that somebody keeps open: copy to a hidden sibling of the
        target, flush, rename that, then remove the original."""
        hidden = target.parent / f"{_CLOSING}{target.name[:100]}"
        disk.remove_tree(hidden)
        disk.copy_tree(folder, hidden)
        disk.flush_folder(hidden)
        disk.rename(hidden, target)
        disk.remove_tree(folder)

    # -- looking around at start ----------------------------------------------------------------------------

    def closings(self) -> list[Closing]:
        """Folders in active/ whose end is decided but which have not arrived; empty leftovers are removed."""
        found = []
        for folder, folders, names in os.walk(self.active):
            path = Path(folder)
            folders[:] = [name for name in folders if not name.startswith(_ATTEMPT) and not _is_bundle(path / name)]
            status = final_status(path, names)
            if status is not None:
                found.append(Closing(folder=path, status=status))
            elif path.name.startswith(_CLOSING) and not names:
                _rmdir_quietly(path)
        return found

    def job_folders(self, top: Path) -> list[tuple[Path, dict[str, Any]]]:
        """All folders below `top` that hold a status file of ours, with what it says."""
        found = []
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.endswith(STATUS_SUFFIX) and (status := read_status(Path(folder) / name)) is not None:
                    found.append((Path(folder), status))
        return found


def read_status(path: Path) -> dict[str, Any] | None:
    """What a status file of ours says, or None: a file on a share may hold anything."""
    try:
        if path.stat().st_size > 4 * 1024 * 1024:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not str(found.get("schema", "")).startswith("watchrender.status/"):
        return None
    return found if isinstance(found.get("id"), str) and isinstance(found.get("state"), str) else None


def final_status(folder: Path, names: list[str]) -> dict[str, Any] | None:
    """The final status in a folder of active/: its being there means that the job's end is decided."""
    for name in names:
        if name.endswith(STATUS_SUFFIX):
            status = read_status(folder / name)
            if status is not None and status["state"] in (State.COMPLETED, State.FAILED, State.CANCELLED):
                return status
    return None


def identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _is_subfolder(path: Path) -> bool:
    """A folder that is not a job's own: no status file of ours in it."""
    try:
        with os.scandir(path) as entries:
            return not any(entry.name.endswith(STATUS_SUFFIX) for entry in entries)
    except OSError:
        return False


def _is_empty_claim(folder: Path) -> bool:
    try:
        return not any(os.scandir(folder))
    except OSError:
        return False


def _is_bundle(folder: Path) -> bool:
    """Somebody's own folder inside a job's: whatever lies in it is not ours."""
    return folder.name == "bundle" and any((folder / f"job{end}").exists() for end in (".json", ".yaml", ".yml"))


def _rmdir_quietly(folder: Path) -> None:
    try:
        disk.rmdir(folder)
    except OSError:
        pass
