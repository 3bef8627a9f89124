"""What a system must offer so that a whole tree can be held and ended: `process_posix.py`, `process_windows.py`."""

from __future__ import annotations

import subprocess
from collections.abc import Container
from typing import Any, NamedTuple, Protocol

import psutil

MARKER = "WATCHRENDER_TREE"


class Seen(NamedTuple):
    """One process at one moment."""

    pid: int
    parent: int
    group: int | None  # the process group, where the system has them
    session: int | None
    is_zombie: bool
    marker: str | None  # "" if it shows an environment without one; None if it shows no environment


class Hold(Protocol):
    """What the system itself gives us to hold a whole tree: a session on POSIX, a job object on Windows."""

    def options(self) -> dict[str, Any]:
        """What Popen must be told."""

    def take(self, child: subprocess.Popen[bytes]) -> None:
        """This is the process that was started."""

    def session(self) -> int | None:
        """The session that is the tree's own, where the system has them."""

    def pids(self) -> Container[int]:
        """Whom does the system count as a member, where it keeps a list?"""

    def ask(self) -> bool:
        """Ask all of them to end, where that is one stroke. False: nobody can have heard, do not wait."""

    def kill(self) -> None:
        """End all of them in one stroke."""

    def cpu_seconds(self) -> float | None:
        """The CPU time of the tree, dead members included; None where the system does not count it."""

    def close(self) -> None:
        """Let go; the first process may be buried from now on."""


def look_with_psutil(pid: int) -> Seen | None:
    """One process, as every system can show it; None if it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            is_zombie = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
            return Seen(pid, process.ppid(), None, None, is_zombie, None if is_zombie else _marker_of(process))
    except psutil.NoSuchProcess:
        return None
    except (psutil.Error, OSError):
        return Seen(pid, 0, None, None, False, None)  # somebody else's: it does not let us look


def _marker_of(process: psutil.Process) -> str | None:
    try:
        environment = process.environ()
    except (psutil.AccessDenied, psutil.ZombieProcess, OSError):
        return None
    return environment.get(MARKER, "") if environment else None
