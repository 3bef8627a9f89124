"""One service for each root: the operating system's lock on this machine, a heartbeat among machines.

The lock is named by what the root *is* (device and file number) and by what it is called, so another path to the same
root, or another `state_dir`, does not get past it. It is free the moment its holder dies. On a share a second machine
sees `status/service.json` rise and leaves.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from watchrender.spool.plain import read_plain

#: How long a starter watches a foreign heartbeat, on its own clock.
WATCH_SECONDS = 15.0
#: How long a lock may be held by somebody who is about to end.
PATIENCE_SECONDS = 2.0


class Taken(Exception):
    """Another service serves this root."""


def _lock_folder() -> Path:
    """A folder that all users of this machine share."""
    if sys.platform == "win32":
        folder = Path(os.environ.get("PROGRAMDATA", "C:\\ProgramData")) / "watchrender" / "locks"
    else:
        # Not $TMPDIR: two users of one machine must meet at the same file.
        folder = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()) / "watchrender-locks"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        folder.chmod(0o1777)
    return folder


class RootLock:
    """Held by the service from start to end."""

    def __init__(self, root: Path, folder: Path | None = None) -> None:
        found = os.stat(root)
        names = {f"path {os.path.realpath(root)}", f"file {found.st_dev} {found.st_ino}"}
        digests = sorted(hashlib.sha256(os.fsencode(name)).hexdigest()[:24] for name in names)
        folder = folder or _lock_folder()
        self._root = root
        self._locks = [FileLock(folder / f"{digest}.lock", mode=0o666, thread_local=False) for digest in digests]

    def take(self, patience: float = PATIENCE_SECONDS) -> None:
        """Raises `Taken` if another service of this machine holds the root.

        A little patience: a process that was killed while it started another one leaves its lock with that one, for the
        moment that this takes.
        """
        try:
            for lock in self._locks:
                lock.acquire(timeout=patience, poll_interval=0.05)
        except (Timeout, PermissionError):
            self.free()
            raise Taken(f"another watchrender of this machine serves {self._root}") from None

    def refresh(self) -> None:
        """Keep the files young: what tidies a temporary folder up removes old ones, locked or not, and the next service
        would lock a new file of that name beside us."""
        for lock in self._locks:
            if lock.is_locked:
                with suppress(OSError):
                    os.utime(lock.lock_file)

    def free(self) -> None:
        for lock in self._locks:
            lock.release(force=True)


def read_beat(service_json: Path) -> dict[str, Any] | None:
    """What `service.json` says of who serves: `{instance, host, pid, beat, …}`; None where nobody has written."""
    try:
        found = json.loads(read_plain(service_json))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("instance"), str) else None


def wait_for_foreign(
    service_json: Path,
    host: str,
    *,
    seconds: float = WATCH_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """If another service has written last and may live, watch its beat: rising → `Taken`; still for `seconds` → it is
    dead, go on.

    One of this machine is asked for directly: it lives, or it does not. (The lock does not always tell: a service
    manager may give each service a temporary folder of its own.)
    """
    first = read_beat(service_json)
    if first is None or first.get("state") == "stopped":
        return
    if first.get("host") == host and not _lives_here(first.get("pid")):
        return
    until = clock() + seconds
    while clock() < until:
        sleep(0.25)
        found = read_beat(service_json)
        if found is not None and (found.get("instance"), found.get("beat")) != (first["instance"], first.get("beat")):
            if found.get("state") == "stopped":
                return
            raise Taken(
                f"watchrender on {found.get('host')} (process {found.get('pid')}) serves this root: its heartbeat in"
                f" {service_json} rises"
            )


def _lives_here(pid: object) -> bool:
    """Is there another process of this number on this machine? After a restart of a container ours may be the same."""
    return isinstance(pid, int) and pid > 0 and pid != os.getpid() and psutil.pid_exists(pid)
