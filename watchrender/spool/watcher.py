"""What lies in the inbox: watchdog's native observer hints, a scan is the truth.

Every operating system loses events (a queue overflows, a share has none, a folder was mounted anew), so an event only
says "look now". A scan reads names (where a folder's own time tells that none came or went, only that is looked at);
only what is new, hinted at or due for a look is asked for its size and time, and
always by a look at the file itself, because a listing may be stale for a file that is being written.
A share that is gone blocks for a minute or for ever: looks are done in a thread of their own, with a limit (`Aside`).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from watchrender import disk

#: Folders deeper than this below the inbox are not looked into, and named: nobody sorts clients so many levels deep.
DEEPEST = 32
#: A folder's time has stood still for so long when its names are read: whatever comes later moves it, however coarse
#: the times of its file system are.
SURE_SECONDS = 2.5
#: And all the same its names are read again after so long: a clock may be set back.
TRUSTED_SECONDS = 30.0
#: Never through a link, never waiting on a pipe. A file object of Python's asks the system twice as much.
_READING = os.O_RDONLY | sum({getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")})


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one direct look at a path found."""

    size: int
    mtime_ns: int
    inode: int
    is_dir: bool
    regular: bool  # a plain file or folder, not a link, FIFO, socket or device

    @property
    def stamp(self) -> tuple[int, int, int]:
        return self.size, self.mtime_ns, self.inode


def look(path: Path | str) -> Look | None:
    """Look at a path itself, never through a link. None: it is not there. Other refusals are raised."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    is_dir = stat.S_ISDIR(found.st_mode) and not disk.is_link(found)
    return Look(
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        inode=found.st_ino,
        is_dir=is_dir,
        regular=stat.S_ISREG(found.st_mode) or is_dir,
    )


def read(path: Path | str, limit: int) -> tuple[bytes, Look] | None:
    """The first `limit` bytes of a file and how it looked, by one open: never through a link, never waiting on a pipe.

    None: it is gone, or it changed while it was read. Other refusals are raised."""
    try:
        descriptor = os.open(path, _READING)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return None  # a link, or a pipe or socket, has taken its place
        raise
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            return None
        data = _read_up_to(descriptor, min(limit, before.st_size))
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return None
    if len(data) != min(limit, after.st_size):
        return None
    return data, Look(size=after.st_size, mtime_ns=after.st_mtime_ns, inode=after.st_ino, is_dir=False, regular=True)


def _read_up_to(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := os.read(descriptor, size)):  # most files come whole; some file systems give parts
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(kw_only=True, eq=False)
class Listing:
    """The names in the inbox, by sub-folder, and which of them are folders."""

    subs: dict[str, set[str]] = field(default_factory=dict)
    folders: dict[str, set[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # folders we may not read


class IsSub(Protocol):
    """Answers whether a folder in the inbox is known to be a sub-folder (and not a bundle, or not settled yet)."""

    def __call__(self, sub: str) -> bool: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What one folder held when its names were read."""

    stamp: tuple[int, int, int, int] | None  # how the folder itself looked before that
    since: float  # when it was first seen to look so
    at: float
    names: set[str]
    folders: set[str]

    @property
    def is_sure(self) -> bool:
        return self.at - self.since >= SURE_SECONDS


class Scanner:
    """Reads the names in the inbox and in its known sub-folders.

    With `dated`, where a folder's own time moves with every name that comes or goes in it (`Volume.dates_folders`),
    a folder that stands still is asked for its time alone: reading fifty thousand names takes a while.
    """

    def __init__(self, inbox: Path, *, dated: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._inbox = inbox
        self._dated = dated
        self._clock = clock
        self._read: dict[str, _Read] = {}
        self._last = Listing()
        self.seconds = 0.0  # how long the names took when they were last read

    def scan(self, is_sub: IsSub, alive: Callable[[], None] = lambda: None) -> Listing:
        """All the names; the listing of the last time where nothing has changed. Raises OSError if the inbox itself
        cannot be read."""
        began = time.perf_counter()
        listing, known, self._read = Listing(), self._read, {}
        waiting = [""]
        while waiting:
            alive()
            sub = waiting.pop()
            try:
                found = self._folder(sub, known)
            except OSError as error:
                if not sub:
                    raise
                if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                    continue  # it went while we looked: the next scan tells
                listing.refused.append(sub)
                listing.subs[sub], listing.folders[sub] = set(), set()
                continue
            self._read[sub] = found
            listing.subs[sub], listing.folders[sub] = found.names, found.folders
            for name in found.folders:
                below = f"{sub}/{name}" if sub else name
                if below.count("/") < DEEPEST and is_sub(below):
                    waiting.append(below)
        return self._same_or(listing, began)

    def _same_or(self, listing: Listing, began: float) -> Listing:
        """The last listing, if none of its folders was read anew and no other has joined them."""
        last = self._last.subs
        is_same = listing.subs.keys() == last.keys() and all(listing.subs[sub] is last[sub] for sub in last)
        if not is_same or listing.refused or self._last.refused:
            self.seconds = time.perf_counter() - began
            self._last = listing
        return self._last

    def _folder(self, sub: str, known: dict[str, _Read]) -> _Read:
        path = self._inbox / sub if sub else self._inbox
        now, before = self._clock(), known.pop(sub, None)
        stamp = _folder_stamp(path) if self._dated else None
        stands = before is not None and stamp is not None and before.stamp == stamp
        if before is not None and stands and before.is_sure and now - before.at < TRUSTED_SECONDS:
            return before
        since = before.since if before is not None and stands else now
        del before  # the names of a full inbox need not be in memory twice
        names: set[str] = set()
        folders: set[str] = set()
        with os.scandir(path) as entries:
            for entry in entries:
                names.add(entry.name)
                if disk.is_folder(entry):
                    folders.add(entry.name)
        return _Read(stamp=stamp, since=since, at=now, names=names, folders=folders)


def _folder_stamp(path: Path) -> tuple[int, int, int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


class Hung(OSError):
    """What was asked of the inbox shows no sign of life: the share hangs."""


class Aside:
    """Does what may hang in a thread of its own: whoever asked goes on when there is no sign of life any more.

    One piece of work at a time. After one that hung, the next ask looks whether it has come back."""

    #: How long an ask waits for a piece of work that hung before.
    GLANCE = 0.2
    #: How long it waits at most once somebody is in a hurry.
    HURRIED = 3.0

    def __init__(self, name: str, *, limit: float = 20.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self.limit = limit
        self._clock = clock
        self._state = threading.Condition()
        self._work: Callable[[], Any] | None = None
        self._answer: tuple[Any, BaseException | None] | None = None
        self._life = 0.0
        self._stopping = False
        self.hurried = False
        self._thread: threading.Thread | None = None

    def hurry(self) -> None:
        """From now on nobody waits long for what shows no sign of life. May be called by a signal handler."""
        self.hurried = True

    def alive(self) -> None:
        """A sign of life, from inside the work."""
        self._life = self._clock()

    def do(self, work: Callable[[], Any]) -> Any:
        """Do it, and give what it returns or raises. Raises `Hung` while there is no sign of life."""
        with self._state:
            limit = self.limit if self._work is None else self.GLANCE
            if self._work is None:
                self._begin(work)
            asked = self._clock()
            while self._answer is None:
                self._state.wait(0.05 if limit < 1 else 1.0)
                patience = min(limit, self.HURRIED) if self.hurried else limit
                if self._answer is None and self._clock() - max(asked, self._life) > patience:
                    raise Hung(None, f"no answer for {self._clock() - self._life:.0f} s")
            answer, fault = self._answer
            self._work = self._answer = None
        if fault is not None:
            raise fault
        return answer

    def _begin(self, work: Callable[[], Any]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._work, self._life = work, self._clock()
        self._state.notify_all()

    def stop(self) -> None:
        with self._state:
            self._stopping = True
            self._state.notify_all()

    def _run(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._stopping or (self._work is not None and self._answer is None))
                if self._stopping:
                    return
                work = self._work
            assert work is not None
            try:
                answer: tuple[Any, BaseException | None] = (work(), None)
            except BaseException as fault:
                answer = (None, fault)
            with self._state:
                self._answer = answer
                self._state.notify_all()


def _hear_at_once() -> None:
    """Linux: watchdog holds back every event for half a second behind a file that was moved out of the inbox, to find
    out where to. Our own claims do just that, and nobody here asks where to: measured, the next drop waited 200 ms."""
    try:
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper
    except ImportError:  # another system, or another watchdog
        return
    InotifyMoveEventGrouper.delay = 0.0


#: What is asked of the system. Not that a file was opened or closed again: our own reading would tell of itself, four
#: times for each job. Nor that a folder has changed: what has changed in it is told of.
_HEARD = (
    FileCreatedEvent, FileModifiedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent,
    DirCreatedEvent, DirMovedEvent, DirDeletedEvent,
)  # fmt: skip


class Hints(FileSystemEventHandler):
    """Events → "look now", and at which paths. The observer is started anew when it goes deaf."""

    def __init__(self, inbox: Path, wake: threading.Event) -> None:
        self._inbox = inbox
        self._wake = wake
        self._paths: set[str] = set()
        self._lock = threading.Lock()
        self._observer: Any = None
        self.heard = 0

    def start(self) -> bool:
        """Begin to listen. False where this system or file system cannot: the scan alone does it all then."""
        self.stop()
        _hear_at_once()
        try:
            observer = Observer()
            observer.schedule(self, str(self._inbox), recursive=True, event_filter=list(_HEARD))
            observer.start()
        except Exception:
            return False
        self._observer = observer
        return True

    def stop(self) -> None:
        if self._observer is not None:
            self._observer.unschedule_all()
            self._observer.stop()
            self._observer.join(timeout=5)
            self._observer = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        with self._lock:
            self.heard += 1
            if len(self._paths) < 50_000:
                self._paths.update(os.fsdecode(path) for path in (event.src_path, event.dest_path) if path)
        self._wake.set()

    def take(self) -> set[str]:
        """The paths heard of since the last call."""
        with self._lock:
            paths, self._paths = self._paths, set()
        return paths
