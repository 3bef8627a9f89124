"""Opening what lies where others may write: only plain files, never through a link, never waiting on a pipe.

Between the look that found a file and the moment it is opened, anybody may put a link or a pipe in its place.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

_PIECE = 64 * 1024


class NotPlain(OSError):
    """A link, a pipe, a socket, a device or a folder lies where a plain file was looked for."""


def open_plain(path: Path | str, *, buffering: int = -1) -> BinaryIO:
    """The file, open for reading. Raises OSError, and of those `NotPlain`."""
    file = open(path, "rb", buffering, opener=_carefully)  # noqa: SIM115 - whoever asked closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotPlain(errno.EINVAL, "it is no plain file", str(path))
    return file


def read_plain(path: Path | str, limit: int = -1) -> bytes:
    """The first `limit` bytes of a plain file; all of it by default. Raises OSError."""
    left, parts = limit if limit >= 0 else sys.maxsize, []
    with open_plain(path, buffering=0) as file:  # read in pieces, a buffer of the limit's size costs more than a read
        while left > 0 and (part := file.read(min(left, _PIECE))):
            parts.append(part)
            left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _carefully(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotPlain(error.errno, "it is a link", path) from None
        if error.errno == errno.ENXIO:
            raise NotPlain(error.errno, "it is no plain file", path) from None
        raise
