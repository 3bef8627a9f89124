"""A file system that behaves as shares do: a folder seen through FUSE, with the bad habits a test asks for.

    python -m tests.passthrough FOLDER MOUNT HABITS

HABITS is a JSON file that is read anew when it changes, so that a test can turn a habit on and off:

    {"refuse": [["rename", "*/done/*", "EBUSY"]],   an operation on paths like this fails so
     "slow": [["getattr", "*", 0.05]],              … takes so long
     "hang": [["*", "*"]],                          … does not come back until the habit goes
     "fold": true, "normal": "NFD",                 names by letter, as such disks keep them (fixed from the start)
     "tick": 2.0, "skew": -300}                     times are rounded down to this, and wrong by this

What is changed in FOLDER itself is what another machine changes on its server: no event tells of it here.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import sys
import time
import unicodedata
from typing import Any

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")

import mfusepy

_STAT = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino")
_PATIENCE = 120.0


class Habits:
    """What the test wants now."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._seen = 0
        self._said: dict[str, Any] = {}

    def now(self) -> dict[str, Any]:
        try:
            seen = os.stat(self._file).st_mtime_ns
            if seen != self._seen:
                with open(self._file, encoding="utf-8") as file:
                    self._said = json.load(file)
                self._seen = seen
        except (OSError, ValueError):
            pass  # it is being written: what was said before still stands
        return self._said

    def practise(self, operation: str, *paths: str) -> None:
        until = time.monotonic() + _PATIENCE
        while self._wanted("hang", operation, paths) and time.monotonic() < until:
            time.sleep(0.02)
        for found in self._wanted("slow", operation, paths):
            time.sleep(float(found[2]))
        for found in self._wanted("refuse", operation, paths):
            raise mfusepy.FuseOSError(getattr(errno, found[2]))

    def _wanted(self, habit: str, operation: str, paths: tuple[str, ...]) -> list[list[Any]]:
        return [
            found
            for found in self.now().get(habit, ())
            if fnmatch.fnmatch(operation, found[0]) and any(fnmatch.fnmatchcase(path, found[1]) for path in paths)
        ]


class Passthrough(mfusepy.Operations):  # type: ignore[misc]
    """The folder, through its habits."""

    use_ns = True

    def __init__(self, folder: str, habits: Habits) -> None:
        self._folder, self._habits = folder, habits
        said = habits.now()
        self._folds, self._normal = bool(said.get("fold")), said.get("normal")

    # -- names ----------------------------------------------------------------------------------------------

    def _real(self, path: str) -> str:
        """Where this lies in the folder: where names are alike, under the name that is there."""
        if not (self._folds or self._normal):
            return self._folder + path
        place = self._folder
        for part in filter(None, path.split("/")):
            wanted = unicodedata.normalize(self._normal, part) if self._normal else part
            if not os.path.lexists(f"{place}/{wanted}"):
                wanted = self._alike(place, wanted)
            place = f"{place}/{wanted}"
        return place

    def _alike(self, place: str, wanted: str) -> str:
        try:
            return next((name for name in os.listdir(place) if self._key(name) == self._key(wanted)), wanted)
        except OSError:
            return wanted

    def _key(self, name: str) -> str:
        name = unicodedata.normalize("NFC", name) if self._normal else name
        return name.casefold() if self._folds else name

    # -- looking --------------------------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._habits.practise("getattr", path)
        found = os.lstat(self._real(path))
        said = self._habits.now()
        tick, skew = int(said.get("tick", 0) * 1e9), int(said.get("skew", 0) * 1e9)
        times = {}
        for name in ("st_atime", "st_mtime", "st_ctime"):
            at = getattr(found, f"{name}_ns") + skew
            times[name] = at - at % tick if tick else at
        return {name: getattr(found, name) for name in _STAT} | times

    def readdir(self, path: str, fh: int) -> list[str]:
        self._habits.practise("readdir", path)
        return [".", "..", *os.listdir(self._real(path))]

    def readlink(self, path: str) -> str:
        return os.readlink(self._real(path))

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._folder)
        names = (
            "f_bavail",
            "f_bfree",
            "f_blocks",
            "f_bsize",
            "f_favail",
            "f_ffree",
            "f_files",
            "f_frsize",
            "f_namemax",
        )
        return {name: getattr(found, name) for name in names}

    # -- files ----------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        self._habits.practise("open", path)
        return os.open(self._real(path), flags & ~os.O_NOFOLLOW)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._habits.practise("create", path)
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._habits.practise("read", path)
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._habits.practise("write", path)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._real(path), length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._real(path), ns=times)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._real(path), mode)
        return 0

    # -- names that change ----------------------------------------------------------------------------------

    def rename(self, old: str, new: str) -> int:
        self._habits.practise("rename", old, new)
        source, target = self._real(old), self._real(new)
        if source == target:  # by another spelling of the same name
            target = os.path.join(os.path.dirname(target), os.path.basename(new))
        os.rename(source, target)
        return 0

    def unlink(self, path: str) -> int:
        self._habits.practise("unlink", path)
        os.unlink(self._real(path))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._habits.practise("mkdir", path)
        os.mkdir(self._real(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        self._habits.practise("rmdir", path)
        os.rmdir(self._real(path))
        return 0


def main(folder: str, mount: str, habits: str) -> None:
    # A kernel that remembers names and sizes would hide what the other side does.
    mfusepy.FUSE(
        Passthrough(folder, Habits(habits)),
        mount,
        foreground=True,
        fsname="share",
        subtype="passthrough",
        attr_timeout=0,
        entry_timeout=0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
