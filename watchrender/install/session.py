"""May After Effects render in the session we run in? It is a program with windows: it wants its user's own session."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

#: What is wrong, and what to do.
Trouble = tuple[str, str]

_OWN_SESSION = (
    "Run it in the session of the user who signed in to After Effects: `watchrender service install` does that."
)


@dataclass(frozen=True, kw_only=True)
class Session:
    """Where we run."""

    platform: str
    is_root: bool = False
    number: int | None = None  # Windows: 0 is the one of services
    manager: str | None = None  # macOS: Aqua is the one with windows


def this_session() -> Session:
    if sys.platform == "win32":
        return Session(platform="win32", number=_windows_number())
    is_root = os.geteuid() == 0
    return Session(platform=sys.platform, is_root=is_root, manager=_mac_manager() if sys.platform == "darwin" else None)


def trouble(session: Session) -> Trouble | None:
    """Why renders started from there would be unreliable; None: nothing speaks against it."""
    if session.number == 0:
        words = "this is session 0, the one of services: After Effects hangs there without a word, now and then"
        return words, _OWN_SESSION
    if session.platform == "darwin" and session.is_root:
        return "this is root: After Effects has no windows there", _OWN_SESSION
    if session.manager not in (None, "", "Aqua"):
        words = f"this session has no windows (it is {session.manager}): After Effects cannot be driven from it"
        return words, _OWN_SESSION
    if session.is_root:
        words = "this is root: what it renders belongs to root, and a job file reaches everything"
        return words, "Run watchrender as a user of its own."
    return None


def _windows_number() -> int | None:
    if sys.platform != "win32":
        return None
    import ctypes

    number = ctypes.c_ulong()
    asked = ctypes.windll.kernel32.ProcessIdToSessionId(os.getpid(), ctypes.byref(number))
    return number.value if asked else None


def _mac_manager() -> str | None:
    try:
        run = subprocess.run(["/bin/launchctl", "managername"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.decode("utf-8", "replace").strip()
