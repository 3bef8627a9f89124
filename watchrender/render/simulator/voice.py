"""aerender's mouth: puts lines where its reader is, whole or in pieces, and dies of a closed pipe as a program does."""

from __future__ import annotations

import os
import time

from watchrender.render.simulator.behaviour import Behaviour
from watchrender.render.simulator.stop import Unheard

_STDOUT = 1


class Voice:
    """Says lines, to standard output or into the log file that was asked for."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.is_quiet = False  # -v ERRORS: no progress
        self._log: int | None = None
        self._is_unheard = False

    def log_to(self, path: str) -> None:
        """Say everything from now on into this file."""
        self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    @property
    def has_log(self) -> bool:
        return self._log is not None

    def say(self, line: str) -> None:
        """One line. Lone surrogates are bytes that are no text (a console's own code page)."""
        if self.is_quiet and line.startswith(("PROGRESS", "INFO")):
            return
        data = line.encode("utf-8", "surrogateescape") + (b"\r\n" if self.behaviour.newline == "crlf" else b"\n")
        cut = data.find(b"(") if self.behaviour.cut_lines else -1
        if cut > 0:
            self.write(data[:cut])
            time.sleep(0.01)  # long enough that a reader gets the halves apart
            data = data[cut:]
        self.write(data)

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        target = _STDOUT if self._log is None else self._log
        while data and not self._is_unheard:
            try:
                data = data[os.write(target, data) :]
            except OSError as error:
                if not self.behaviour.ignores_closed_pipe:
                    raise Unheard from error
                self._is_unheard = True
