"""Disks that fill up, shares that go away and shares that hang: real mounts, for the tests that may make them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.line import until

IS_ROOT = sys.platform == "linux" and os.geteuid() == 0
mounting = pytest.mark.skipif(not IS_ROOT, reason="mounting needs Linux and root rights")
hanging = pytest.mark.skipif(
    not (IS_ROOT and shutil.which("bindfs") and os.path.exists("/dev/fuse")),
    reason="needs root rights, /dev/fuse and bindfs",
)


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """A disk of its own, of this size, at this place."""
    place.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place))
    try:
        yield place
    finally:
        unmount(place)


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


def unmount(place: Path) -> None:
    """Take it away under whoever uses it, as a share goes."""
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=True)


@contextmanager
def filled(disk: Path, *, leaving: int = 0) -> Iterator[None]:
    """Somebody else's file takes all the room but so many bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        left = shutil.disk_usage(disk).free - leaving
        try:
            while left > 0:
                left -= file.write(b"\0" * min(left, 64 * 1024))
        except OSError:
            pass  # full: that is what was wanted
    try:
        yield
    finally:
        ballast.unlink(missing_ok=True)


class Share:
    """A folder served by a process of its own (FUSE), which can be made to answer nobody."""

    def __init__(self, source: Path, place: Path) -> None:
        source.mkdir(parents=True, exist_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self._server = subprocess.Popen(
            ["bindfs", "-f", str(source), str(place)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        until(lambda: os.path.ismount(place) or self._server.poll() is not None, 60)
        if self._server.poll() is not None:
            assert self._server.stderr is not None
            pytest.skip(f"bindfs cannot be used here: {self._server.stderr.read().decode()}")

    def hang(self) -> None:
        self._server.send_signal(signal.SIGSTOP)

    def answer(self) -> None:
        self._server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """The server dies and nobody unmounts: everything there is refused from now on."""
        self._server.kill()
        self._server.wait()

    def close(self) -> None:
        self.end()
        subprocess.run(["umount", "--lazy", str(self.place)], capture_output=True, check=False)
        assert self._server.stderr is not None
        self._server.stderr.close()
