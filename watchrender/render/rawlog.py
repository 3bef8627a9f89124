"""The output of an attempt as it came, appended to the job's log. Nothing here raises: a full disk ends no render.

The file is open only while it is written, and whole lines are written: others append to the same log. What the disk
refuses is lost and counted, and so is what is beyond the size limit; the last lines are then added at the end, for
there the reason stands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from watchrender import disk

CAP = 50 * 2**20
_FLUSH_SECONDS = 1.0
_FLUSH_BYTES = 2**20
_LONGEST_LINE = 64 * 1024
_NOTES_BEYOND_CAP = 2**18


class RawLog:
    """One attempt's part of the log."""

    def __init__(self, path: Path, now: Callable[[], float], *, cap: int = CAP) -> None:
        self._path = path
        self._now = now
        self._cap = cap
        self._room = cap
        self._buffer = bytearray()
        self._flushed_at = now()
        self._lost = 0
        self._left_out = 0
        self._reason = ""
        with suppress(OSError):
            disk.mkdirs(path.parent)

    def add(self, chunk: bytes) -> None:
        """Output as it came."""
        fits = chunk[: self._room]
        self._buffer += fits
        self._room -= len(fits)
        self._left_out += len(chunk) - len(fits)
        if len(self._buffer) >= _FLUSH_BYTES:
            self.flush()

    def note(self, text: str) -> None:
        """Our own words, each line marked as ours; the limit on size is not for them."""
        self._end_line()
        lines = (f"[watchrender] {line}\n" for line in text[:_NOTES_BEYOND_CAP].splitlines())
        self._buffer += "".join(lines).encode("utf-8", errors="replace")

    def tick(self) -> None:
        """Write if a second has passed since the last time."""
        if self._buffer and self._now() - self._flushed_at >= _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the whole lines there are."""
        end = self._buffer.rfind(b"\n") + 1
        if not end and len(self._buffer) > _LONGEST_LINE:
            end = len(self._buffer)
        ready = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._write(ready)

    def close(self, last_lines: Iterable[str] = ()) -> None:
        """Write the rest, and the last lines again where the end was left out."""
        if self._left_out:
            self.note(
                f"the log of this attempt is cut at {_size(self._cap)}; {_size(self._left_out)} are left out, then:"
            )
            for line in last_lines:
                self._buffer += line.encode("utf-8", errors="replace")[:_LONGEST_LINE] + b"\n"
        self._end_line()
        self.flush()
        self._write(b"")

    def _end_line(self) -> None:
        if self._buffer and not self._buffer.endswith(b"\n"):
            self._buffer += b"\n"

    def _write(self, data: bytes) -> None:
        self._flushed_at = self._now()
        lost = self._lost
        if lost:
            data = f"[watchrender] {_size(lost)} of output could not be written here: {self._reason}\n".encode() + data
        if not data:
            return
        written = 0
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
            try:
                while written < len(data):
                    written += os.write(descriptor, data[written:])
            finally:
                os.close(descriptor)
            self._lost = 0
        except OSError as error:
            self._reason = error.strerror or str(error)
            self._lost = lost + len(data) - written


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count} bytes"
