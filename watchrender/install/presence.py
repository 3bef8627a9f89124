"""Is a service of this root alive? Told by its heartbeat and, on this machine, by its process."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from watchrender.spool.lock import read_beat

#: A heartbeat file this young (by the clock of its disk) was written by a service that lives.
_FRESH_SECONDS = 15.0
#: Where the two clocks do not agree, the beat is watched this long.
_WATCH_SECONDS = 6.0


def alive(
    service_json: Path,
    *,
    watch: float = _WATCH_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any] | None:
    """What the running service says of itself; None where none runs."""
    beat = read_beat(service_json)
    if beat is None or beat.get("state") == "stopped":
        return None
    if beat.get("host") == socket.gethostname():
        return beat if _runs(beat.get("pid")) else None
    if _is_fresh(service_json):
        return beat
    until = clock() + watch
    while clock() < until:
        sleep(0.25)
        found = read_beat(service_json)
        if found is not None and found.get("beat") != beat.get("beat"):
            return None if found.get("state") == "stopped" else found
    return None


def _runs(pid: object) -> bool:
    """Does this process live, and is it a Python (numbers are used again)?"""
    if not isinstance(pid, int):
        return False
    try:
        found = psutil.Process(pid)
        return found.status() != psutil.STATUS_ZOMBIE and any(
            "python" in word.lower() or "watchrender" in word.lower() for word in (found.name(), *found.cmdline()[:3])
        )
    except psutil.AccessDenied:
        return True  # somebody else's: it is there
    except psutil.Error:
        return False


def _is_fresh(file: Path) -> bool:
    try:
        return 0 <= time.time() - file.stat().st_mtime < _FRESH_SECONDS
    except OSError:
        return False
