"""Keep the machine awake while a render runs, with what the system has for it, and let it sleep again afterwards.

Windows: a flag of the thread. macOS: `caffeinate`. Linux: `systemd-inhibit`, where systemd runs. Nowhere is it a fault
if that cannot be had. Whatever holds the machine awake ends with us, also when we are killed: the flag is the thread's,
`caffeinate` watches our pid, and what `systemd-inhibit` runs is `cat`, which ends when our end of its pipe closes.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ES_CONTINUOUS = 0x80000000
ES_SYSTEM_REQUIRED = 0x00000001

_END_SECONDS = 2.0
_SYSTEMD_RUNS = Path("/run/systemd/system")

SetState = Callable[[int], int]


@contextmanager
def keep_awake(
    why: str = "a render runs",
    *,
    platform: str = sys.platform,
    set_state: SetState | None = None,
    systemd: Path = _SYSTEMD_RUNS,
) -> Iterator[bool]:
    """While inside, the machine does not go to sleep by itself; True if something sees to that.

    To be left by the thread that entered it.
    """
    if platform == "win32":
        with _by_flag(set_state or _kernel_set_state()) as held:
            yield held
        return
    command = _command(why, platform, systemd)
    if command is None:
        yield False
        return
    with _by_program(command) as held:
        yield held


@contextmanager
def _by_flag(set_state: SetState) -> Iterator[bool]:
    held = bool(set_state(ES_CONTINUOUS | ES_SYSTEM_REQUIRED))
    try:
        yield held
    finally:
        set_state(ES_CONTINUOUS)


def _command(why: str, platform: str, systemd: Path) -> list[str] | None:
    """The program that keeps the machine awake as long as it runs and its standard input is open."""
    if platform == "darwin":
        found = shutil.which("caffeinate")
        return [found, "-i", "-s", "-w", str(os.getpid())] if found else None
    found, cat = shutil.which("systemd-inhibit"), shutil.which("cat")
    if not found or not cat or not systemd.is_dir():
        return None
    return [found, "--what=sleep:idle", "--who=watchrender", f"--why={why}", "--mode=block", cat]


@contextmanager
def _by_program(command: list[str]) -> Iterator[bool]:
    try:
        # A session of its own: Ctrl-C in our terminal is for us, and the render may go on to its end.
        program = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=os.name != "nt",
        )
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        _end(program)


def _end(program: subprocess.Popen[bytes]) -> None:
    if program.stdin is not None:
        with suppress(OSError):
            program.stdin.close()
    if "caffeinate" in str(program.args[0] if isinstance(program.args, list) else program.args):
        program.terminate()  # it reads nothing
    try:
        program.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


if sys.platform == "win32":

    def _kernel_set_state() -> SetState:
        function = ctypes.WinDLL("kernel32").SetThreadExecutionState
        function.argtypes = [ctypes.c_uint32]
        function.restype = ctypes.c_uint32
        return function

else:

    def _kernel_set_state() -> SetState:
        raise OSError("SetThreadExecutionState is there on Windows only")
