"""A process that outlives the simulated aerender and keeps its output open, as helpers of After Effects do."""

from __future__ import annotations

import os
import subprocess
import sys


def start(kind: str, seconds: float) -> int:
    """Start it; returns its pid. `stdout` stays in the group, `session` leaves it, `daemon` has no parent either."""
    program = [sys.executable, "-I", "-S", "-c", f"import time; time.sleep({seconds})"]
    if kind == "daemon" and sys.platform != "win32":
        return _start_without_parent(program)
    return subprocess.Popen(program, stdin=subprocess.DEVNULL, start_new_session=kind != "stdout").pid


if sys.platform != "win32":

    def _start_without_parent(program: list[str]) -> int:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.write(writing, str(subprocess.Popen(program, stdin=subprocess.DEVNULL).pid).encode())
            os._exit(0)
        os.waitpid(child, 0)
        found = int(os.read(reading, 32))
        os.close(reading)
        os.close(writing)
        return found
