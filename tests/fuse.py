"""Folders mounted for a test by FUSE: shares with habits (`passthrough.py`), and a real SMB share (`smb_mount.py`)."""

from __future__ import annotations

import ctypes.util
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until


def cannot_mount() -> str | None:
    """Why nothing can be mounted by FUSE here; None: it can."""
    if not sys.platform.startswith("linux"):
        return "FUSE mounts are tried on Linux"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse that this user may open"
    if shutil.which("fusermount3") is None or ctypes.util.find_library("fuse3") is None:
        return "fuse3 is not installed"
    return None if importlib.util.find_spec("mfusepy") else "mfusepy is not installed"


needs_fuse = pytest.mark.skipif(cannot_mount() is not None, reason=cannot_mount() or "")


class Mount:
    """A file system of our own, in a process of its own, at `path`."""

    def __init__(self, module: str, path: Path, *words: str, environment: dict[str, str] | None = None) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._log = path.with_name(f"{path.name}.log")
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[1],
                env=os.environ | (environment or {}),
            )  # fmt: skip
        try:
            until(lambda: self._process.poll() is not None or self._is_mounted(), 60)
            assert self._is_mounted(), f"not mounted: {self.said()}"
        except BaseException:
            self.end()
            raise

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _is_mounted(self) -> bool:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
        return any(line.split()[1] == str(self.path).replace(" ", "\\040") for line in mounts.splitlines())

    def end(self) -> None:
        """Unmount it, whoever still uses it."""
        subprocess.run(["fusermount3", "-u", "-z", str(self.path)], capture_output=True, check=False)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Share(Mount):
    """A folder as a share: `path` is what we see of it, `server` what another machine changes on it."""

    def __init__(self, home: Path, *, mount: str = "share", **habits: Any) -> None:
        self.server = home / "server"
        self.server.mkdir(parents=True, exist_ok=True)
        self._habits = home / "habits.json"
        self._turn = 0
        self.behave(**habits)
        super().__init__("tests.passthrough", home / mount, str(self.server), str(home / mount), str(self._habits))

    def behave(self, **habits: Any) -> None:
        """From now on so, and not as before."""
        self._turn += 1
        beside = self._habits.with_suffix(".tmp")
        beside.write_text(json.dumps(habits), encoding="utf-8")
        os.utime(beside, ns=(self._turn, self._turn))  # another time than before, however fast we are
        beside.rename(self._habits)
