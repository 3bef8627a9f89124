"""Waiting for what a test looks at: with generous patience, because a busy machine is no fault."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

#: Seconds that anything may take before it counts as never.
PATIENCE = 30.0


def until(what: Callable[[], Any], seconds: float = PATIENCE, *, tick: float = 0.01) -> Any:
    """Wait until it is so; what it is. Fails the test if it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"this did not come within {seconds:g} s")
        time.sleep(tick)
    return found


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
