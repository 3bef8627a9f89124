"""When did a render last show a sign of life? `Life` is pure: it is told what was seen and when.

Stalled means all three, for as long as the limit says: no new line, no growth in the watched folders, and next to no
CPU time in the whole tree. One of them alone is no proof: a heavy frame prints nothing for an hour, a codec writes at
the end, and a download uses no CPU.
"""

from __future__ import annotations

import os
import queue
import stat
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_WALK_SECONDS = 30.0


class Size(NamedTuple):
    """What lies in some folders, in numbers; any difference is a sign of life."""

    size: int
    files: int
    newest: int  # ns: a file that is rewritten in place keeps its size


class Life:
    """Signs of life of one attempt."""

    def __init__(self, at: float, *, busy_seconds: float = 1.0) -> None:
        """`busy_seconds`: less CPU time than this within the limit is no work."""
        self._last_sign = at
        self._busy = busy_seconds
        self._cpu: deque[tuple[float, float]] = deque()
        self._size: Size | None = None

    def line(self, at: float) -> None:
        """Something was printed. What is measured before the next silence says nothing about it."""
        self._last_sign = at
        self._cpu.clear()
        self._size = None

    def grown(self, size: Size, at: float) -> None:
        """The folders were looked at; the first look of a silence only shows what to compare with."""
        if self._size not in (None, size):
            self._last_sign = at
        self._size = size

    def worked(self, cpu_seconds: float, at: float) -> None:
        """So much CPU time the tree has used in all."""
        self._cpu.append((at, cpu_seconds))

    def silence(self, at: float) -> float:
        """Seconds since the last line or growth."""
        return at - self._last_sign

    def is_still(self, at: float, limit: float) -> bool:
        """Has there been no sign of life for that long?"""
        begin = at - limit
        while len(self._cpu) > 1 and self._cpu[1][0] <= begin:
            self._cpu.popleft()
        if self._last_sign > begin or not self._cpu or self._cpu[0][0] > begin:
            return False  # alive, or not watched for long enough to know
        return self._cpu[-1][1] - self._cpu[0][1] < self._busy


class Growth:
    """How much lies in some folders? Asked in a thread of its own: a share that is gone may never answer."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.took = 0.0  # seconds of the last walk
        self._folders = tuple(folders)
        self._questions: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Size | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._waiting = False

    def ask(self) -> None:
        """Begin a walk, unless one is under way."""
        if self._waiting or not self._folders:
            return
        self._waiting = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="growth of an attempt", daemon=True)
            self._thread.start()
        self._questions.put(True)

    def answer(self) -> Size | None:
        """What the last walk found, once; None while there is nothing new."""
        with suppress(queue.Empty):
            found = self._answers.get_nowait()
            self._waiting = False
            return found
        return None

    def close(self) -> None:
        """End the thread; one that hangs in a dead share ends when the share lets it."""
        if self._thread is not None:
            self._questions.put(False)
            self._thread.join(timeout=0.5)

    def _work(self) -> None:
        while self._questions.get():
            began = time.monotonic()
            found = measure(self._folders, began + _WALK_SECONDS)
            self.took = time.monotonic() - began
            self._answers.put(found)


def measure(folders: Sequence[Path], deadline: float) -> Size | None:
    """Walk them; None if that is not done by the deadline (monotonic): half a sum would compare with nothing."""
    size = files = newest = 0
    rest = [str(folder) for folder in folders]
    while rest:
        for path in _entries(rest.pop()):
            if time.monotonic() > deadline:
                return None
            # By lstat, not by the listing: Windows lists a growing file with the size it had when it was opened.
            with suppress(OSError):
                found = os.lstat(path)
                if stat.S_ISDIR(found.st_mode):
                    rest.append(path)
                size, files, newest = size + found.st_size, files + 1, max(newest, found.st_mtime_ns)
    return Size(size, files, newest)


def _entries(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries]
    except OSError:
        return []
