"""Folders mounted for a test by FUSE: shares with habits (`passthrough.py`), and a real SMB share (`smb_mount.py`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mounts import Mount, cannot_mount

__all__ = ["Mount", "Share", "cannot_mount", "needs_fuse"]

needs_fuse = pytest.mark.skipif(cannot_mount() is not None, reason=cannot_mount() or "")


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
