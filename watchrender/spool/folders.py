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
import queue
import re
import threading
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Protocol

from watchrender import disk
from watchrender.core import naming
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.states import State
from watchrender.spool.lock import read_beat
from watchrender.spool.plain import read_plain
from watchrender.spool.volume import volume_of

STATUS_SUFFIX = ".status.json"
_CLOSING = ".closing-"
#: What in a job's folder begins so is an attempt's, and goes with it.
ATTEMPT = ".attempt-"
#: Who asks who serves this root waits so long for a share that may hang.
BEAT_SECONDS = 2.0
#: Where the rest of a returned job waits, hidden beside its job file, until the job is claimed.
BEFORE = ".before-"
#: A bundle that is being copied back into the inbox for another try (control.retry).
#: A status file is never larger; what is cut off here is no JSON.
_STATUS_BYTES = 4 * 1024 * 1024
_RETRY = re.compile(r"^\.retry-[0-9A-Z]{26}$")
_ENDS = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
#: What people drop: never removed by us, not even where we know nothing of it.
_DROPPED = (".json", ".yaml", ".yml", ".zip", ".aep", ".aepx")


#: Clocks closer than this are not told apart from a disk's rough times, or from a slow share.
_CLOCKS_AGREE_SECONDS = 5.0


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
        self.clock_ahead = 0.0  # seconds by which the disk's clock is ahead of ours, where it is worth a word
        self.folds_case: bool | None = None  # are `Spot` and `spot` one name on this disk? None: not known
        self.folds_accents: bool | None = None  # and the two ways to write é?
        self.instances: set[str] = (
            set()
        )  # who has written service.json here, as far as we know: we, and those before us
        self._done_identity: tuple[int, int] | None = None  # where done/ lies outside the root
        self._done_mount = ""
        self._prober = Prober()
        self._beats = Prober(limit=BEAT_SECONDS)
        self._rival: Callable[[], str | None] = lambda: None

    # -- the root itself ------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make what is missing below the root (never the root) and prove that renames work. Raises `Unfit`, and `Busy`
        where somebody holds even a trial open: call again."""
        if not self.root.is_dir():
            raise Unfit(f"root: {self.root} is not there; make it, or mount the share, then start again")
        for folder in self.own:
            try:
                disk.mkdirs(folder)
            except OSError as error:
                raise Unfit(f"{folder} cannot be made: {error.strerror}; check the rights of this user there") from None
        self._sweep_trials()
        self._look_at_the_disk()
        for other in (self.active, self.failed, self.cancelled, self.status):
            self._trial(self.inbox, other)
        self.identity = identity(self.root)
        if not self.done.is_relative_to(self.root):
            self._done_identity, self._done_mount = identity(self.done), volume_of(self.done).mount

    def looks_lost(self) -> bool:
        """Is the root an empty folder, such as a mount point without its share? To be asked before `prepare`."""
        return not any(os.path.lexists(folder) for folder in (self.inbox, self.active, self.status))

    def keep_watch(self, rival: Callable[[], str | None] = lambda: None) -> None:
        """From now on nothing is done below the root, or below a done/ elsewhere, while it is not what it was, or while
        `rival` tells of somebody else who serves it."""
        self._rival = rival
        disk.guard(self.root, self._guard)
        if self._done_identity is not None:
            disk.guard(self.done, self._guard)

    def end_watch(self) -> None:
        disk.unguard(self.root)
        disk.unguard(self.done)
        self._prober.stop()
        self._beats.stop()

    def beat(self) -> dict[str, Any] | None:
        """What `service.json` says of who serves this root; None also while the share does not answer."""
        try:
            found: dict[str, Any] | None = self._beats.ask(lambda: read_beat(self.status / "service.json"))
        except TimeoutError:
            return None
        return found

    def _guard(self) -> None:
        trouble = self._trouble() or self._rival()
        if trouble is not None:
            raise disk.Away(errno.ENODEV, trouble, str(self.root))

    @property
    def own(self) -> tuple[Path, ...]:
        """The folders that hold what we put there: nothing else is delivered into them, not even a film."""
        return (self.inbox, self.active, self.done, self.failed, self.cancelled, self.status)

    def _sweep_trials(self) -> None:
        for folder in self.own:
            for left in folder.glob(".trial-*"):
                _remove_trial(left)

    def _look_at_the_disk(self) -> None:
        """How does it keep times and names? A server gives files its own time, and some disks keep whole seconds, or
        every second one, only."""
        trial = self.inbox / f".trial-{uuid.uuid4().hex[:8]}-\u00e9"
        try:
            disk.write(trial, b"x", durable=False)
            ahead = trial.stat().st_mtime - time.time()
            self.folds_case = os.path.lexists(trial.with_name(trial.name.replace(".trial", ".TRIAL")))
            self.folds_accents = os.path.lexists(trial.with_name(unicodedata.normalize("NFD", trial.name)))
            disk.remove(trial)
        except (OSError, ValueError):
            return  # the next trial says what is wrong
        self.clock_ahead = round(ahead, 1) if abs(ahead) > _CLOCKS_AGREE_SECONDS else 0.0

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
                _remove_trial(left)
            if disk.is_held(error):
                raise Busy(one / name, error) from None
            raise Unfit(
                f"{one} and {other} must be on one volume and writable, because a job moves between them by one"
                f" rename; a trial rename was refused: {error.strerror}"
            ) from None

    def health(self, *, proven: bool = False) -> Failure | None:
        """Is the root still the one we started on? Gone is not empty: nothing may be concluded while it is away.
        `proven`: something was refused there, and only a file that can be written says that it is well again.

        Asked in a thread of its own: a share that hangs must not hang who asks.
        """
        try:
            trouble = self._prober.ask(partial(self._trouble_or_missing, proven=proven))
        except TimeoutError:
            trouble = f"{self.root} does not answer: the share hangs"
        return None if trouble is None else fail(Code.SHARE_OFFLINE, trouble)

    def _trouble_or_missing(self, *, proven: bool) -> str | None:
        trouble = self._trouble()
        if trouble is not None:
            return trouble
        for folder in (self.inbox, self.active, self.status):
            try:
                os.stat(folder)
            except OSError as error:
                return f"{folder} cannot be reached: {error.strerror or error}"
        return self._unwritable() if proven else None

    def _unwritable(self) -> str | None:
        """Which of our folders takes no file, in words. A full one has words of its own (`Code.DISK_FULL`)."""
        elsewhere = () if self.done.is_relative_to(self.root) else (self.done,)
        for folder in (self.inbox, self.active, self.status, *elsewhere):
            trial = folder / f".trial-{uuid.uuid4().hex[:8]}"
            try:
                disk.write(trial, b"", durable=False)
                disk.remove(trial)
            except OSError as error:
                if not disk.is_full(error):
                    return f"nothing can be written in {folder}: {error.strerror or error}"
        return None

    def _trouble(self) -> str | None:
        """What keeps us from using the root now, in words."""
        try:
            found = identity(self.root)
            elsewhere = identity(self.done) if self._done_identity is not None else None
        except OSError as error:
            return f"{error.filename or self.root} cannot be reached: {error.strerror or error}"
        if self.identity is not None and found != self.identity:
            if not self._is_ours_again():
                return (
                    f"{self.root} is not the folder it was: another disk, or an empty mount point, stands in its place"
                )
            self.identity = found
        if elsewhere != self._done_identity:
            if volume_of(self.done).mount != self._done_mount:
                return f"{self.done} is not the folder it was: the disk that was mounted there is not there now"
            self._done_identity = elsewhere
        return None

    def _is_ours_again(self) -> bool:
        # A share mounted anew has another device number; what was written there last says whether it is the same one.
        if not all(folder.is_dir() for folder in (self.inbox, self.active, self.status)):
            return False
        beat = read_beat(self.status / "service.json")
        return beat is not None and beat["instance"] in self.instances

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

    def is_there(self, job: Job) -> bool:
        """Does a job lie where its record says? By a direct look."""
        return os.path.lexists(self.source(job))

    def sidecar(self, job: Job) -> Path | None:
        if job.sidecar is None:
            return None
        beside = self.absolute(job.folder) / job.sidecar
        if job.begun and not beside.exists():
            return self.inbox_folder(job.sub) / job.sidecar
        return beside

    def taken(self, sub: str, name: str) -> bool:
        """Is this key's place in our folders taken: a folder in done/, or a sub-folder of that name anywhere?"""
        place = _place(sub, name)
        return (
            self.is_told_of(sub, name)
            or os.path.lexists(f"{self.active}{place}")
            or any(is_subfolder(f"{folder}{place}") for folder in (self.failed, self.cancelled))
        )

    def is_told_of(self, sub: str, name: str) -> bool:
        """Is there something of this name in done/, or a sub-folder of it in status/?"""
        place = _place(sub, name)
        return os.path.lexists(f"{self.done}{place}") or os.path.isdir(f"{self.status}{place}")

    # -- claim ----------------------------------------------------------------------------------------------

    def claim(self, job: Job) -> Path:
        """Take a job out of the inbox: mkdir, then ONE rename that decides; the sidecar follows.

        Returns its folder in active/. Raises `ClaimLost` where the file is gone, `Busy` where it is held open.
        """
        source = self.source(job)
        if not self.is_there(job):
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
        rest = self.inbox_folder(job.sub) / before_name(job.file)
        if rest.is_dir():
            try:
                disk.rename(rest, folder / "before")
            except OSError:
                pass  # the next start brings it

    def bring_sidecar(self, job: Job, folder: Path, *, newer: bool = False) -> bool:
        """Move a job's sidecar from the inbox into its folder. True if it is there now. `newer`: its owner saved it
        again, so it takes the place of the one there."""
        if job.sidecar is None:
            return False
        source, target = self.inbox_folder(job.sub) / job.sidecar, folder / job.sidecar
        if target.exists() and not newer:
            return True
        try:
            (disk.replace if newer else disk.rename)(source, target)
        except OSError:
            return False  # read before; the next start brings it
        return True

    # -- attempts -------------------------------------------------------------------------------------------

    def attempt_folder(self, job_folder: Path, uid: str) -> Path:
        """The hidden place an attempt renders into, on the same volume as the film's final place."""
        return job_folder / f"{ATTEMPT}{uid}"

    def clear_attempts(self, job_folder: Path) -> bool:
        """Remove what attempts left in a job's folder. False if something held on."""
        try:
            left = [Path(entry.path) for entry in os.scandir(job_folder) if entry.name.startswith(ATTEMPT)]
        except OSError:
            return False
        removed = [disk.remove_tree(path) for path in left]  # each, also where one before it held on
        return all(removed)

    def clear_leftovers(self, job_folder: Path, job: Job) -> None:
        """Remove what a cut-off closing left in a job's folder: all but what was dropped or returned with it, and
        whatever might have been (a sidecar that a lost record does not name)."""
        kept = {job.file, job.sidecar, "bundle", "before"}
        try:
            left = [entry for entry in os.scandir(job_folder) if entry.name not in kept]
        except OSError:
            return
        for entry in left:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                disk.remove_tree(path)
            elif entry.name.endswith(STATUS_SUFFIX) or not entry.name.lower().endswith(_DROPPED):
                disk.remove(path)

    def clear_half_written(self, folder: Path) -> None:
        """Remove what a killed writer left in a folder of ours."""
        try:
            left = [Path(entry.path) for entry in os.scandir(folder) if disk.is_half_written(entry.name)]
        except OSError:
            return
        for path in left:
            disk.remove(path)

    # -- closing --------------------------------------------------------------------------------------------

    def open_closing(self, job: Job) -> Path:
        """The folder in which this job is closed: its own in active/, or a hidden one for a job that never began, or
        whose folder somebody took away."""
        if job.begun and (folder := self.absolute(job.folder)).is_dir():
            return folder
        folder = self.closing_folder(job)
        disk.mkdirs(folder)
        return folder

    def closing_folder(self, job: Job) -> Path:
        """Where a job that never began is closed."""
        return (self.active / job.sub if job.sub else self.active) / f"{_CLOSING}{job.id}"

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

    def close(self, folder: Path, target: Path, job_id: str) -> bool:
        """One rename: the whole job folder appears at its target. Raises `Busy`, and FileExistsError if somebody
        took the name in between. False where it was copied, and the original could not be removed yet."""
        hidden = self._hidden(target, job_id)
        if hidden != folder:
            disk.remove_tree(hidden)  # of a copy that was cut off
        try:
            disk.rename(folder, target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno == errno.EXDEV:
                return self.close_by_copy(folder, target, job_id)
            if disk.is_busy(error):
                raise Busy(folder, error) from None
            raise
        return True

    def close_by_copy(self, folder: Path, target: Path, job_id: str) -> bool:
        """For done/ on another volume, and for a folder that somebody keeps open: copy to a hidden sibling of the
        target, flush, rename that, then remove the original. False if that could not be removed yet."""
        hidden = self._hidden(target, job_id)
        disk.remove_tree(hidden)
        disk.copy_tree(folder, hidden)
        disk.flush_folder(hidden)
        disk.rename(hidden, target)
        disk.flush_folder(target.parent)
        return disk.remove_tree(folder)

    @staticmethod
    def _hidden(target: Path, job_id: str) -> Path:
        # Named by the job: another start, to another free name, finds and removes what this one left.
        return target.parent / f"{_CLOSING}{job_id}"

    # -- looking around at start ----------------------------------------------------------------------------

    def jobs_in_active(self) -> Iterator[tuple[Path, list[str]]]:
        """Every job's folder in active/, with the names of the files in it. What lies deeper is the job's own."""
        for place, folders, names in os.walk(self.active):
            path = Path(place)
            if path != self.active and self._is_job_folder(path, folders, names):
                folders[:] = []
                yield path, names

    @staticmethod
    def _is_job_folder(path: Path, folders: list[str], names: list[str]) -> bool:
        if path.name.startswith(_CLOSING) or any(name.startswith(ATTEMPT) for name in folders):
            return True
        if any(is_our_own(name) or is_job_file(name) for name in names):
            return True
        return "bundle" in folders and _is_bundle(path / "bundle")

    def closings(self) -> list[Closing]:
        """Folders in active/ whose end is decided but which have not arrived."""
        found = []
        for path, names in self.jobs_in_active():
            status = final_status(path, names, partial(self._is_its_folder, path))
            if status is not None:
                found.append(Closing(folder=path, status=status))
        return found

    def _is_its_folder(self, folder: Path, status: dict[str, Any]) -> bool:
        """Is this the folder in active/ of the job that a status tells of? One of another job may lie in it by
        mistake, and decides nothing here."""
        sub = naming.fold(folder.parent.relative_to(self.active).as_posix())
        if sub != naming.fold(str(status.get("sub") or ".")):
            return False
        if folder.name.startswith(_CLOSING):
            return folder.name == f"{_CLOSING}{status['id']}"
        return naming.is_candidate(folder.name, str(status.get("name")))

    def sweep_active(self) -> None:
        """Remove what only a crash leaves in active/: closings that never began, and empty folders."""
        for path, names in list(self.jobs_in_active()):
            if path.name.startswith(_CLOSING) and self._holds_only_ours(path, names):
                disk.remove_tree(path)
        for place, _, _ in os.walk(self.active, topdown=False):
            if Path(place) != self.active and not os.listdir(place):
                _rmdir_quietly(Path(place))

    @staticmethod
    def _holds_only_ours(path: Path, names: list[str]) -> bool:
        # The final status comes before anybody's file: without it, none has come. One that cannot be read stays.
        if any(name.endswith(STATUS_SUFFIX) for name in names):
            return False
        return all(is_our_own(name) or disk.is_half_written(name) for name in names) and len(names) == len(
            os.listdir(path)
        )

    def sweep_half_written(self) -> None:
        """Remove what killed writers left beside status files, and what a cut-off retry left in the inbox."""
        for top in (self.status, self.inbox):
            for place, folders, names in os.walk(top):
                for name in names:
                    if disk.is_half_written(name) and _is_ours_beside(name, top == self.inbox):
                        disk.remove(Path(place) / name)
                for name in folders:
                    if top == self.inbox and _RETRY.match(name):
                        disk.remove_tree(Path(place) / name)
                folders[:] = [
                    name for name in folders if not name.startswith(".") and not _is_bundle(Path(place) / name)
                ]

    def job_folders(self, top: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
        """All folders below `top` that hold a status file of ours, with what it says."""
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".") and not _is_bundle(Path(folder) / name)]
            for name in names:
                if name.endswith(STATUS_SUFFIX) and (status := read_status(Path(folder) / name)) is not None:
                    if "before" in folders:  # what a returned job left: its story, not a job that lies here
                        folders.remove("before")
                    yield Path(folder), status


_STALE = "the answer to an older question"


class Prober:
    """Asks one question at a time in a thread of its own, and waits only so long for the answer."""

    def __init__(self, limit: float = 20.0) -> None:
        self.limit = limit
        self._asked: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._hanging = False
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer. Raises TimeoutError while there is none; who asks again then does not wait long."""
        with self._one:
            answer = self._ask(question)
            return self._ask(question) if answer is _STALE else answer

    def _ask(self, question: Callable[[], Any]) -> Any:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="health", daemon=True)
            self._thread.start()
        if not self._hanging:
            self._asked.put(question)
        try:
            answer = self._answers.get(timeout=min(self.limit, 0.2) if self._hanging else self.limit)
        except queue.Empty:
            self._hanging = True
            raise TimeoutError from None
        was_hanging, self._hanging = self._hanging, False
        return _STALE if was_hanging else answer

    def stop(self) -> None:
        self._asked.put(None)
        self._thread = None

    def _work(self) -> None:
        while (question := self._asked.get()) is not None:
            self._answers.put(question())


def holds_nothing(folder: Path) -> bool:
    """Is nothing in this folder but what systems lay into every folder? Raises OSError."""
    with os.scandir(folder) as entries:
        return all(naming.is_litter(entry.name) and entry.is_file(follow_symlinks=False) for entry in entries)


def remove_empty(folder: Path) -> None:
    """Remove a folder that holds nothing. Raises OSError, as for any folder that has something in it."""
    if holds_nothing(folder):
        for name in os.listdir(folder):
            disk.remove(folder / name)
    disk.rmdir(folder)


def before_name(file: str) -> str:
    """Where the rest of a returned job waits, beside its file of that name. A name at a disk's limit is cut for it."""
    name = f"{BEFORE}{file}"
    return name if len(os.fsencode(name)) <= 255 else f"{BEFORE}{naming.fit(file)}"


def read_status(path: Path) -> dict[str, Any] | None:
    """What a status file of ours says, or None: a file on a share may hold anything."""
    found = read_any_status(path)
    return found if found is not None and isinstance(found.get("state"), str) else None


def read_any_status(path: Path) -> dict[str, Any] | None:
    """The same of one that somebody brought back, of which no more than the id need be there."""
    try:
        found = json.loads(read_plain(path, _STATUS_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not str(found.get("schema", "")).startswith("watchrender.status/"):
        return None
    return found if isinstance(found.get("id"), str) else None


def final_status(
    folder: Path, names: list[str], is_meant: Callable[[dict[str, Any]], bool] = lambda _status: True
) -> dict[str, Any] | None:
    """The final status in a folder of active/: its being there means that the job's end is decided."""
    for name in names:
        if name.endswith(STATUS_SUFFIX):
            status = read_status(folder / name)
            if status is not None and status["state"] in _ENDS and is_meant(status):
                return status
    return None


def is_our_own(name: str) -> bool:
    """Is this a file that we write into a job's folder when it is closed?"""
    return name.endswith((STATUS_SUFFIX, ".log")) or name == "WHY.txt"


def is_job_file(name: str) -> bool:
    """May this be the file that a job was dropped as?"""
    return (
        name.lower().endswith((".json", ".yaml", ".yml", ".zip")) and not name.startswith(".") and not is_our_own(name)
    )


def _is_ours_beside(name: str, in_inbox: bool) -> bool:
    # In the inbox other programs write beside too: only what has one of our own names is ours.
    ours = (".WHY.txt.", ".hold.", "_PAUSE.", ".json.", ".yaml.", ".trial-")
    return not in_inbox or any(part in name for part in ours)


def identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _place(sub: str, name: str) -> str:
    """A key as it stands behind one of our folders. Text: asked for each that comes."""
    return f"{os.sep}{sub}{os.sep}{name}" if sub else f"{os.sep}{name}"


def is_subfolder(path: Path | str) -> bool:
    """A folder that has folders in it and is not a job's own: no status file of ours. An empty one, or one with files
    of somebody's only, is in the way of a folder there, and not of a key."""
    try:
        with os.scandir(path) as entries:
            found = list(entries)
        is_a_jobs = any(entry.name.endswith(STATUS_SUFFIX) for entry in found)
        return not is_a_jobs and any(entry.is_dir(follow_symlinks=False) for entry in found)
    except OSError:
        return False


def _is_empty_claim(folder: Path) -> bool:
    try:
        return not os.listdir(folder)
    except OSError:
        return False


def _is_bundle(folder: Path) -> bool:
    """Somebody's own folder inside a job's: whatever lies in it is not ours."""
    return folder.name == "bundle" and any((folder / f"job{end}").exists() for end in (".json", ".yaml", ".yml"))


def _remove_trial(left: Path) -> None:
    """What a trial has left. One that is held open goes at another start."""
    try:
        disk.remove_tree(left) if left.is_dir() else disk.remove(left)
    except OSError:
        pass


def _rmdir_quietly(folder: Path) -> None:
    try:
        disk.rmdir(folder)
    except OSError:
        pass
