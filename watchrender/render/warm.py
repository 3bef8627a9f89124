"""A node that has loaded nexrender and waits for its job: most of nexrender's start is over before the slot is free.

It starts nothing before it is given a job, and it is given one only when the slot is free. It is a tree like any other
(`process.py`): it carries a marker from its start, is recorded before it is started, and ends with this service,
because its input does. It is made in the image of the last attempt; an attempt that differs from it in anything but
its own folders, and one that finds it dead or not ready, is started cold.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchrender.render.engine import Attempt, start_cold
from watchrender.render.process import Tree, TreeRecord

_WAITER = Path(__file__).parent / "nexrender_set" / "warm.cjs"
_CLI = ("@nexrender", "cli", "src", "bin.js")
_READY = b"\0warm\n"
_READY_SECONDS = 20.0
#: What differs from attempt to attempt: their own folders.
_OWN = frozenset({"HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"})
#: What the waiting node keeps of its own environment: its marker, and what our preload has made of the options.
_KEPT = ("WATCHRENDER_TREE", "NODE_OPTIONS")
_AGAIN_SECONDS, _LONGEST_SECONDS = 10.0, 600.0


@dataclass(frozen=True, kw_only=True)
class _Image:
    """What a waiting node is made of. Two attempts of one image differ in nothing it has loaded."""

    program: tuple[str, str]
    env: tuple[tuple[str, str], ...]
    stamps: tuple[tuple[int, int, int], ...]  # of node and of the script: nexrender may be installed anew meanwhile

    @classmethod
    def of(cls, attempt: Attempt) -> _Image | None:
        """None: not a program that can wait."""
        command = attempt.command
        if len(command) < 2 or Path(command[1]).parts[-4:] != _CLI:
            return None
        try:
            found = [os.stat(word) for word in command[:2]]
        except OSError:
            return None
        return cls(
            program=(command[0], command[1]),
            env=tuple(sorted((name, value) for name, value in attempt.env.items() if name not in _OWN)),
            stamps=tuple((stamp.st_size, stamp.st_mtime_ns, stamp.st_ino) for stamp in found),
        )


class WarmNode:
    """Starts attempts, with a node that waits where there is one that fits. Thread-safe."""

    def __init__(
        self,
        *,
        marker: str,
        folder: Path,
        recorded: Callable[[TreeRecord], None],
        forgotten: Callable[[str], None],
    ) -> None:
        """`marker` begins the marker of each; it waits in `folder`; `recorded` and `forgotten` keep it on disk."""
        self._marker = marker
        self._folder = folder
        self._recorded = recorded
        self._forgotten = forgotten
        self._wake = threading.Condition()
        self._wanted: tuple[_Image, Mapping[str, str]] | None = None
        self._ready: tuple[_Image, Tree] | None = None
        self._failures = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self.used = 0  # attempts that were started warm

    def start(self, attempt: Attempt, recorded: Callable[[TreeRecord], None]) -> Tree:
        """The tree of an attempt, warm or cold. Raises what a cold start raises."""
        image = _Image.of(attempt)
        tree = self._take(image)
        try:
            if tree is None or image is None or not self._told(tree, attempt):
                return start_cold(attempt, recorded)
            try:
                recorded(tree.record())
            except BaseException:
                tree.stop(0)
                tree.close()
                raise
            self.used += 1
            return tree
        finally:
            self._want(image, attempt.env)

    def ready(self) -> bool:
        """Does one wait?"""
        found = self._ready
        return found is not None and found[1].poll() is None

    def close(self) -> None:
        """End the one that waits; no more are made."""
        with self._wake:
            self._closed = True
            ready, self._ready = self._ready, None
            self._wake.notify_all()
        if ready is not None:
            self._drop(ready[1])
        if self._thread is not None:
            self._thread.join(_READY_SECONDS)

    # -- handing over ---------------------------------------------------------------------------------------

    def _take(self, image: _Image | None) -> Tree | None:
        with self._wake:
            ready, self._ready = self._ready, None
        if ready is None:
            return None
        if ready[0] == image and ready[1].poll() is None:
            return ready[1]
        self._drop(ready[1])
        return None

    def _told(self, tree: Tree, attempt: Attempt) -> bool:
        """Give it its job. False: it could not be told, and is gone; it cannot have begun with half a line."""
        words = {
            "cwd": str(attempt.cwd),
            "env": dict(attempt.env),
            "keep": _KEPT,
            "words": list(attempt.command[2:]),
        }
        try:
            tree.tell(json.dumps(words).encode("ascii") + b"\n")
            return True
        except OSError:
            self._drop(tree)
            return False

    # -- making one -----------------------------------------------------------------------------------------

    def _want(self, image: _Image | None, env: Mapping[str, str]) -> None:
        with self._wake:
            self._wanted = None if image is None else (image, env)
            if self._thread is None and self._wanted is not None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="warm", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._closed and (self._wanted is None or self._ready is not None):
                    self._wake.wait()
                if self._closed or self._wanted is None:
                    return
                image, env = self._wanted
            tree = self._made(image, env)
            with self._wake:
                keep = tree is not None and not self._closed and self._ready is None
                if keep and tree is not None:
                    self._ready, self._failures = (image, tree), 0
                    continue
                self._failures += 1
                if not self._closed and tree is None:  # it failed: not again and again, it costs the machine
                    self._wake.wait_for(lambda: self._closed, min(_AGAIN_SECONDS * 2**self._failures, _LONGEST_SECONDS))
            if tree is not None:
                self._drop(tree)

    def _made(self, image: _Image, env: Mapping[str, str]) -> Tree | None:
        """A node that has said it is ready; None where it did not come to that."""
        own = {name: str(self._folder) for name in _OWN if name in env}
        node, script = image.program
        try:
            tree = Tree.start(
                (node, str(_WAITER), script),
                env={**env, **own},
                cwd=self._folder,
                marker=f"{self._marker}.warm-{secrets.token_hex(6)}",
                recorded=self._recorded,
                listening=True,
            )
        except (OSError, ValueError):
            return None
        if self._says_ready(tree):
            return tree
        self._drop(tree)
        return None

    def _says_ready(self, tree: Tree) -> bool:
        deadline, said = time.monotonic() + _READY_SECONDS, b""
        while said != _READY and _READY.startswith(said) and not self._closed and time.monotonic() < deadline:
            chunk = tree.chunk(0.2)
            if chunk == b"":
                return False
            said += chunk or b""
        return said == _READY

    def _drop(self, tree: Tree) -> None:
        marker = tree.marker
        tree.stop(0)
        tree.close()
        with suppress(Exception):  # the ledger may be closed by now: a stale record names nobody and harms nobody
            self._forgotten(marker)
