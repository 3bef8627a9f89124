"""Bytes as a process writes them → lines of text. Pure."""

from __future__ import annotations

LINE_LIMIT = 8 * 1024  # bytes of one line that are kept


class Lines:
    """Bytes in chunks → lines of text: LF, CRLF or CR, any bytes, each line cut at a limit."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a CRLF that was cut between two reads
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *complete, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        lines = []
        for part in complete:
            self._keep(part)
            lines.append(self._take())
        self._keep(rest)
        return lines

    def end(self) -> list[str]:
        """The last line, where it has no end."""
        return [self._take()] if self._rest else []

    def _keep(self, part: bytes) -> None:
        self._rest += part[: max(0, self._limit - len(self._rest))]

    def _take(self) -> str:
        line = self._rest.decode("utf-8", errors="replace")
        self._rest.clear()
        return line
