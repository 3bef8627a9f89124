"""A volume on a slow link: clips that can only be read, all together so many bytes a second.

python -m benchmarks.slow_mount MOUNT CLIPS BYTES BYTES_A_SECOND
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from typing import Any

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")

import mfusepy

from benchmarks.line import Line

_PIECE = 2**20
_BLOCK = 4096


class SlowClips(mfusepy.Operations):  # type: ignore[misc]
    """`clip0.mov`, `clip1.mov`, …: each of other content, and an hour old."""

    use_ns = True

    def __init__(self, clips: int, size: int, rate: float) -> None:
        self._names = [f"clip{number}.mov" for number in range(clips)]
        self._size, self._line, self._piece = size, Line(rate), os.urandom(_PIECE)
        self._saved_ns = time.time_ns() - 3_600_000_000_000

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._saved_ns)
        if path == "/":
            return times | {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path[1:] not in self._names:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return times | {"st_mode": stat.S_IFREG | 0o444, "st_nlink": 1, "st_size": self._size}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *self._names]

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": _BLOCK, "f_frsize": _BLOCK, "f_blocks": len(self._names) * self._size // _BLOCK}

    def open(self, path: str, flags: int) -> int:
        return self._names.index(path[1:])

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        size = max(0, min(size, self._size - offset))
        self._line.wait(size)
        start = (offset + fh) % _PIECE
        around = self._piece[start:] + self._piece[:start]
        return (around * (size // _PIECE + 1))[:size]


def main(mount: str, clips: str, size: str, rate: str) -> None:
    # Nothing that was read is remembered: every reader pays for the line.
    mfusepy.FUSE(
        SlowClips(int(clips), int(size), float(rate)),
        mount,
        foreground=True,
        fsname="link",
        subtype="slow",
        ro=True,
        direct_io=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
