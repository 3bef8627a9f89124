"""Folders that programs of ours serve through FUSE, each in a process of its own, and why there can be none."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.stand import CannotMeasure, end_process, wait_until


def cannot_mount() -> str | None:
    """Why nothing can be mounted by FUSE here; None: it can."""
    if not sys.platform.startswith("linux"):
        return "FUSE mounts are tried on Linux"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse that this user may open"
    if shutil.which("fusermount3") is None or ctypes.util.find_library("fuse3") is None:
        return "fuse3 is not installed"
    return None if importlib.util.find_spec("mfusepy") else "mfusepy is not installed"


class Mount:
    """A file system of our own, in a process of its own, at `path`."""

    def __init__(self, module: str, path: Path, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._log = path.with_name(f"{path.name}.log")
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[1],
                env=os.environ | dict(environment or {}),
            )  # fmt: skip
        try:
            wait_until(lambda: self._process.poll() is not None or self._is_mounted(), 60, 0.02, what=module)
            if not self._is_mounted():
                raise CannotMeasure(f"not mounted: {self.said()}")
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
        end_process(self._process, 10)
