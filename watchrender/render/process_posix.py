"""Hold a process tree on POSIX: a session of its own, and in it the process group of the same number."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Container, Iterable
from contextlib import suppress
from typing import Any

import psutil

from watchrender.render.process_hold import MARKER, Seen, look_with_psutil

assert sys.platform != "win32"


class SessionHold:
    """A session keeps its number while anybody is in it, and its first process is not buried before `close`."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def options(self) -> dict[str, Any]:
        return {"start_new_session": True}

    def take(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child

    def session(self) -> int | None:
        # Once the first process is buried its number may go to a stranger, and with it the name of the session.
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    def pids(self) -> Container[int]:
        return ()

    def ask(self) -> bool:
        """Members are asked one by one: a second SIGTERM means "at once" to some programs."""
        return True

    def kill(self) -> None:
        number = self.session()
        if number is not None:
            kill_groups((number,))

    def cpu_seconds(self) -> float | None:
        return None

    def close(self) -> None:
        self._child = None


def new_hold() -> SessionHold:
    return SessionHold()


def ask(member: psutil.Process) -> None:
    with suppress(psutil.Error):
        member.send_signal(signal.SIGTERM)
        member.send_signal(signal.SIGCONT)  # one that was stopped would hear nothing


def kill_groups(groups: Iterable[int]) -> None:
    """Kill process groups. The kernel signals a group as a whole, so not even a chain of processes that each live for
    a millisecond gets away, faster though it is than any look at them."""
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def groups_above_us() -> set[int | None]:
    """The process groups of ourselves and of those above us."""
    return {os.getpgrp(), *(_ask_kernel(os.getpgid, above.pid) for above in psutil.Process().parents())}


def exit_of(child: subprocess.Popen[bytes]) -> int | None:
    """How it ended, None while it runs. It is not buried where the system lets us look without: until then its pid,
    which is also the number of its group and session, cannot go to a stranger."""
    if sys.platform == "darwin" or child.returncode is not None:
        return child.poll()
    try:
        found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return child.poll()
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def is_readable(descriptor: int) -> bool:
    """Is there something to read, or the end of it? Waits a tenth of a second."""
    waiting = select.poll()  # not select(): that one knows no descriptor above 1023
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(100))


def _ask_kernel(question: Any, pid: int) -> int | None:
    try:
        return int(question(pid))
    except OSError:
        return None


if sys.platform == "linux":
    _MARK = f"{MARKER}=".encode()

    def look_at(pid: int) -> Seen | None:
        """One process; None if it is gone. Read from /proc: five times as fast as psutil, and a look that is too slow
        misses what lives for some milliseconds."""
        try:
            stat = _read(f"/proc/{pid}/stat")
            state, parent, group, session = stat[stat.rindex(b")") + 2 :].split(None, 4)[:4]
            is_zombie = state in b"ZXx"
            is_of_the_kernel = group == session == b"0"
            marker = None if is_zombie or is_of_the_kernel else _marker_in(f"/proc/{pid}/environ")
        except (OSError, ValueError):
            return None
        return Seen(pid, int(parent), int(group), int(session), is_zombie, marker)

    def _marker_in(file: str) -> str | None:
        try:
            environment = _read(file)
        except PermissionError:
            return None
        if not environment:
            return None
        found = [entry for entry in environment.split(b"\0") if entry.startswith(_MARK)]
        return os.fsdecode(found[0][len(_MARK) :]) if found else ""

    def _read(file: str) -> bytes:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(descriptor, 64 * 1024):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

else:

    def look_at(pid: int) -> Seen | None:
        """One process; None if it is gone."""
        seen = look_with_psutil(pid)
        if seen is None:
            return None
        return seen._replace(group=_ask_kernel(os.getpgid, pid), session=_ask_kernel(os.getsid, pid))
