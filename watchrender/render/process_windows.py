"""Hold a process tree on Windows: a job object that takes all its members along when it is closed.

Not yet run on Windows: written from the documentation and tested against a stand-in for kernel32.

The job dies with its last handle, so a crash of the service ends the tree too. A grandchild that is started in the
microseconds before the assignment escapes the job; its marker gives it away (`process.py`).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Container, Iterable
from contextlib import suppress
from typing import Any, Protocol

import psutil

from watchrender.render.process_hold import Seen, look_with_psutil

CREATE_NEW_PROCESS_GROUP = 0x00000200
CREATE_NO_WINDOW = 0x08000000
CTRL_BREAK_EVENT = 1

JOB_BASIC_ACCOUNTING = 1
JOB_PROCESS_LIST = 3
JOB_EXTENDED_LIMITS = 9
KILL_ON_JOB_CLOSE = 0x00002000

_MOST_MEMBERS = 4096
_TICKS_PER_SECOND = 10_000_000


class Kernel32(Protocol):
    """The functions of kernel32.dll that are used here."""

    def CreateJobObjectW(self, attributes: None, name: None) -> int | None: ...
    def SetInformationJobObject(self, job: int, kind: int, value: Any, size: int) -> int: ...
    def QueryInformationJobObject(self, job: int, kind: int, value: Any, size: int, returned: None) -> int: ...
    def AssignProcessToJobObject(self, job: int, process: int) -> int: ...
    def TerminateJobObject(self, job: int, code: int) -> int: ...
    def GenerateConsoleCtrlEvent(self, event: int, group: int) -> int: ...
    def CloseHandle(self, handle: int) -> int: ...


class Job:
    """A job object that ends all its members when the last handle to it is closed."""

    def __init__(self, kernel32: Kernel32 | None = None) -> None:
        self._kernel32 = kernel32 or load_kernel32()
        self._child: subprocess.Popen[bytes] | None = None
        self._assigned = False
        self._job: int | None = self._kernel32.CreateJobObjectW(None, None)
        if self._job and not self._limit(self._job):
            self.close()

    def options(self) -> dict[str, Any]:
        return {"creationflags": CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW}

    def take(self, child: subprocess.Popen[bytes]) -> None:
        """Put the first process into the job; its children are born into it."""
        self._child = child
        handle = int(getattr(child, "_handle", 0))
        self._assigned = bool(self._job and handle and self._kernel32.AssignProcessToJobObject(self._job, handle))

    def session(self) -> int | None:
        return None

    def pids(self) -> Container[int]:
        members = _Members()
        if not self._query(JOB_PROCESS_LIST, members):
            return ()
        return frozenset(members.pids[: members.listed])

    def ask(self) -> bool:
        """Ctrl-Break to the group. Best effort: without a console that we share nobody hears it."""
        if self._child is None:
            return False
        return bool(self._kernel32.GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self._child.pid))

    def kill(self) -> None:
        if self._assigned and self._job:
            self._kernel32.TerminateJobObject(self._job, 1)
        elif self._child is not None and self._child.poll() is None:
            # Popen keeps a handle to the child: while it is open nobody else gets this pid.
            taskkill(self._child.pid)

    def cpu_seconds(self) -> float | None:
        """Exact, members that are over included. None where the job does not hold the tree."""
        account = _Account()
        if not self._assigned or not self._query(JOB_BASIC_ACCOUNTING, account):
            return None
        return float(account.user + account.kernel) / _TICKS_PER_SECOND

    def close(self) -> None:
        job, self._job = self._job, None
        if job:
            self._kernel32.CloseHandle(job)

    def _limit(self, job: int) -> bool:
        limits = ExtendedLimits()
        limits.basic.flags = KILL_ON_JOB_CLOSE
        size = ctypes.sizeof(limits)
        return bool(self._kernel32.SetInformationJobObject(job, JOB_EXTENDED_LIMITS, ctypes.byref(limits), size))

    def _query(self, kind: int, into: ctypes.Structure) -> bool:
        if not self._job:
            return False
        size = ctypes.sizeof(into)
        return bool(self._kernel32.QueryInformationJobObject(self._job, kind, ctypes.byref(into), size, None))


def new_hold() -> Job:
    return Job()


def ask(member: psutil.Process) -> None:
    """There is no asking one process: `terminate` would be its end."""


def kill_groups(groups: Iterable[int]) -> None:
    """There are no process groups that could be signalled as one."""


def groups_above_us() -> set[int | None]:
    return set()


def exit_of(child: subprocess.Popen[bytes]) -> int | None:
    """How it ended, None while it runs. Its pid stays taken as long as Popen keeps its handle."""
    return child.poll()


def is_readable(descriptor: int) -> bool:
    """There is no asking a pipe: the read waits until the job is closed, which ends all who could write."""
    return True


def look_at(pid: int) -> Seen | None:
    """One process; None if it is gone."""
    return look_with_psutil(pid)


def taskkill(pid: int) -> None:
    """End a process and all its descendants by their parent links: for a tree that no job holds."""
    program = os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
    with suppress(OSError, subprocess.TimeoutExpired):  # the sweep by marker follows
        subprocess.run(
            [program, "/PID", str(pid), "/T", "/F"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=10,
            check=False,
            creationflags=CREATE_NO_WINDOW if sys.platform == "win32" else 0,
        )


if sys.platform == "win32":

    def load_kernel32() -> Kernel32:
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        handle, number, pointer = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p
        # Without these a 64-bit handle would be cut to 32.
        kernel32.CreateJobObjectW.restype = handle
        kernel32.CreateJobObjectW.argtypes = [pointer, ctypes.c_wchar_p]
        kernel32.SetInformationJobObject.argtypes = [handle, ctypes.c_int, pointer, number]
        kernel32.QueryInformationJobObject.argtypes = [handle, ctypes.c_int, pointer, number, pointer]
        kernel32.AssignProcessToJobObject.argtypes = [handle, handle]
        kernel32.TerminateJobObject.argtypes = [handle, number]
        kernel32.GenerateConsoleCtrlEvent.argtypes = [number, number]
        kernel32.CloseHandle.argtypes = [handle]
        return kernel32

else:

    def load_kernel32() -> Kernel32:
        raise OSError("kernel32 is there on Windows only")


# The layouts of winnt.h, in types whose size is the same on every system (wintypes.DWORD has 8 bytes on Linux).


class BasicLimits(ctypes.Structure):
    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("least_working_set", ctypes.c_size_t),
        ("most_working_set", ctypes.c_size_t),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
    )


class IoCounters(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("reads", "writes", "others", "read_bytes", "written_bytes", "other_bytes")
    )


class ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("basic", BasicLimits),
        ("io", IoCounters),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )


class _Account(ctypes.Structure):
    _fields_ = (
        ("user", ctypes.c_int64),
        ("kernel", ctypes.c_int64),
        ("period_user", ctypes.c_int64),
        ("period_kernel", ctypes.c_int64),
        ("page_faults", ctypes.c_uint32),
        ("processes", ctypes.c_uint32),
        ("active", ctypes.c_uint32),
        ("terminated", ctypes.c_uint32),
    )


class _Members(ctypes.Structure):
    _fields_ = (
        ("assigned", ctypes.c_uint32),
        ("listed", ctypes.c_uint32),
        ("pids", ctypes.c_size_t * _MOST_MEMBERS),
    )
