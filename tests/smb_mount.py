"""An SMB share in the file tree: FUSE on this side, the protocol itself (smbprotocol) on the other.

    python -m tests.smb_mount PORT USER MOUNT

What a kernel's own SMB client does, where the kernel of a test machine has none: each call is a request to the server,
and what the server refuses is refused here with the same error that Linux makes of it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")

import mfusepy
import smbclient

from tests.smb import SmbClient

#: What Linux' SMB client makes of the words of a server, where smbprotocol makes something else of them.
_ERRORS = {
    0xC0000043: errno.EBUSY,  # sharing violation
    0xC0000022: errno.EACCES,  # access denied: a folder in which somebody has a file open, among other things
    0xC0000056: errno.EBUSY,  # delete pending
    0xC0000121: errno.EACCES,  # cannot delete
    0xC0000033: errno.ENOENT,  # no name
    0xC000003A: errno.ENOENT,  # no such path
    0xC0000034: errno.ENOENT,  # no such name
    0xC0000035: errno.EEXIST,  # name collision
    0xC0000101: errno.ENOTEMPTY,
    0xC00000BA: errno.EISDIR,
    0xC0000103: errno.ENOTDIR,
}


@contextmanager
def _as_linux_says() -> Iterator[None]:
    try:
        yield
    except smbclient._io.SMBOSError as error:
        raise mfusepy.FuseOSError(_ERRORS.get(error.ntstatus, error.errno or errno.EIO)) from None
    except ValueError as error:  # the connection is gone
        raise mfusepy.FuseOSError(errno.EHOSTDOWN) from error


class SmbMount(mfusepy.Operations):  # type: ignore[misc]
    """The share of one client."""

    use_ns = True

    def __init__(self, client: SmbClient) -> None:
        self._client, self._with = client, client._with
        self._files: dict[int, Any] = {}
        self._next = 1

    def _place(self, path: str) -> str:
        return self._client.path(path.lstrip("/"))

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        with _as_linux_says():
            found = smbclient.stat(self._place(path), **self._with)
        is_folder = stat.S_ISDIR(found.st_mode)
        return {
            "st_mode": stat.S_IFDIR | 0o755 if is_folder else stat.S_IFREG | 0o644,
            "st_nlink": 1, "st_size": found.st_size, "st_ino": found.st_ino, "st_uid": 0, "st_gid": 0,
            "st_mtime": found.st_mtime_ns, "st_atime": found.st_atime_ns, "st_ctime": found.st_ctime_ns,
        }  # fmt: skip

    def readdir(self, path: str, fh: int) -> list[str]:
        with _as_linux_says():
            return [".", "..", *smbclient.listdir(self._place(path), **self._with)]

    def statfs(self, path: str) -> dict[str, int]:
        blocks = 1 << 28  # a terabyte: nobody here asks how full a share is
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks,
                "f_files": blocks, "f_ffree": blocks, "f_favail": blocks, "f_namemax": 255}  # fmt: skip

    # -- files ----------------------------------------------------------------------------------------------

    def _open(self, path: str, mode: str) -> int:
        with _as_linux_says():
            # As Linux opens files: whatever others do with it meanwhile is theirs.
            file = smbclient.open_file(self._place(path), mode=mode, buffering=0, share_access="rwd", **self._with)
        number, self._next = self._next, self._next + 1
        self._files[number] = file
        return number

    def open(self, path: str, flags: int) -> int:
        return self._open(path, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "r+b")

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return self._open(path, "w+b")

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        file, parts = self._files[fh], bytearray()
        with _as_linux_says():
            file.seek(offset)
            while len(parts) < size and (part := file.read(min(size - len(parts), 65536))):
                parts += part
        return bytes(parts)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        file, written = self._files[fh], 0
        with _as_linux_says():
            file.seek(offset)
            while written < len(data):
                written += int(file.write(data[written : written + 65536]))
        return written

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        with _as_linux_says():
            smbclient.truncate(self._place(path), length, **self._with)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        return 0

    def release(self, path: str, fh: int) -> int:
        with _as_linux_says():
            self._files.pop(fh).close()
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        with _as_linux_says():
            smbclient.utime(self._place(path), ns=times, **self._with)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        return 0

    # -- names that change ----------------------------------------------------------------------------------

    def rename(self, old: str, new: str) -> int:
        with _as_linux_says():
            smbclient.replace(self._place(old), self._place(new), **self._with)
        return 0

    def unlink(self, path: str) -> int:
        with _as_linux_says():
            smbclient.remove(self._place(path), **self._with)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        with _as_linux_says():
            smbclient.mkdir(self._place(path), **self._with)
        return 0

    def rmdir(self, path: str) -> int:
        with _as_linux_says():
            smbclient.rmdir(self._place(path), **self._with)
        return 0


def main(port: str, user: str, mount: str) -> None:
    mfusepy.FUSE(
        SmbMount(SmbClient(int(port), user)), mount, foreground=True, nothreads=True,
        fsname="//127.0.0.1/renders", subtype="smb", attr_timeout=0, entry_timeout=0,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
