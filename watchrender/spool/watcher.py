"""What lies in the inbox: watchdog's native observer hints, a scan is the truth.

Every operating system loses events (a queue overflows, a share has none, a folder was mounted anew), so an event only
says "look now". A scan reads names; only what is new, hinted at or due for a look is asked for its size and time, and
always by `os.stat` on the file itself, because a listing may be stale for a file that is being written.
A share that is gone blocks for a minute: the scan runs in a thread of its own with a limit.
"""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

#: Folders deeper than this below the inbox are not looked into: nobody sorts clients twelve levels deep.
DEEPEST = 12


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


def look(path: Path) -> Look | None:
    """Look at a path itself, never through a link. None: it is not there. Other refusals are raised."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Look(
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        inode=found.st_ino,
        is_dir=stat.S_ISDIR(found.st_mode),
        regular=stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode),
    )


@dataclass(kw_only=True)
class Listing:
    """The names in the inbox: sub-folder → name → is it a folder?"""

    subs: dict[str, dict[str, bool]] = field(default_factory=dict)
    seconds: float = 0.0
    refused: list[str] = field(default_factory=list)  # folders we may not read

    def items(self) -> Iterator[tuple[str, str, bool]]:
        for sub, names in self.subs.items():
            for name, is_dir in names.items():
                yield sub, name, is_dir


class IsSub(Protocol):
    """Answers whether a folder in the inbox is known to be a sub-folder (and not a bundle, or not settled yet)."""

    def __call__(self, sub: str) -> bool: ...


def scan(inbox: Path, is_sub: IsSub) -> Listing:
    """Read the names in the inbox and in its known sub-folders. Raises OSError if the inbox itself cannot be read."""
    listing = Listing()
    waiting = [""]
    while waiting:
        sub = waiting.pop()
        names: dict[str, bool] = {}
        try:
            with os.scandir(inbox / sub if sub else inbox) as entries:
                for entry in entries:
                    is_dir = entry.is_dir(follow_symlinks=False)
                    names[entry.name] = is_dir
                    below = f"{sub}/{entry.name}" if sub else entry.name
                    if is_dir and below.count("/") < DEEPEST and is_sub(below):
                        waiting.append(below)
        except OSError as error:
            if not sub:
                raise
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                continue  # it went while we looked: the next scan tells
            listing.refused.append(sub)
        listing.subs[sub] = names
    return listing


class ScanTooSlow(OSError):
    """The inbox did not answer in time: the share hangs."""


class Scanner:
    """Runs scans in a thread of its own, so that a share that hangs does not hang the service."""

    def __init__(self, inbox: Path, is_sub: IsSub, *, limit: float = 20.0) -> None:
        self._inbox = inbox
        self._is_sub = is_sub
        self._limit = limit
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Listing | OSError] = queue.SimpleQueue()
        self._running = False
        self._thread: threading.Thread | None = None

    def scan(self) -> Listing:
        """One scan. Raises OSError, and `ScanTooSlow` while one hangs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="scan", daemon=True)
            self._thread.start()
        if not self._running:
            self._running = True
            self._asked.put(True)
        try:
            answer = self._answers.get(timeout=self._limit)
        except queue.Empty:
            raise ScanTooSlow(None, f"the inbox did not answer within {self._limit:.0f} s", str(self._inbox)) from None
        self._running = False
        if isinstance(answer, OSError):
            raise answer
        return answer

    def stop(self) -> None:
        self._asked.put(False)

    def _work(self) -> None:
        while self._asked.get():
            try:
                self._answers.put(scan(self._inbox, self._is_sub))
            except OSError as error:
                self._answers.put(error)


def _hear_at_once() -> None:
    """Linux: watchdog holds back every event for half a second behind a file that was moved out of the inbox, to find
    out where to. Our own claims do just that, and nobody here asks where to: measured, the next drop waited 200 ms."""
    try:
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper
    except ImportError:  # another system, or another watchdog
        return
    InotifyMoveEventGrouper.delay = 0.0


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
            observer.schedule(self, str(self._inbox), recursive=True)
            observer.start()
        except Exception:  # watchdog raises OSError, RuntimeError or its own, by system
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
        if event.event_type in ("opened", "closed_no_write"):
            return
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
