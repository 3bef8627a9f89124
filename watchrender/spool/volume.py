"""What kind of disk a folder is on: local or a share, how much room it has. Asked, never assumed."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

_SHARES = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "webdav", "davfs", "ncpfs", "9p", "afs", "ceph"}
    | {"glusterfs", "lustre", "gpfs", "beegfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs"}
)
#: File systems of which it is certain that a folder's time moves with each name that comes or goes: not FAT, where it
#: does so on some systems only, and nothing behind which another system may stand.
_DATE_FOLDERS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "apfs", "hfs"})
_DRIVE_REMOTE = 4


@dataclass(frozen=True, kw_only=True)
class Volume:
    """The volume a path lies on. `kind` is the system's own word for its file system."""

    kind: str
    is_share: bool
    mount: str

    @property
    def dates_folders(self) -> bool:
        """Does a folder's own time tell that no name has come or gone in it?"""
        return self.kind in _DATE_FOLDERS


def volume_of(path: Path) -> Volume:
    """The volume of a path that exists. FUSE mounts count as shares: most of them are, and waiting longer is safe."""
    text = os.path.realpath(path)
    if sys.platform == "win32":
        return _windows_volume(text)
    best = Volume(kind="unknown", is_share=False, mount="/")
    for found in psutil.disk_partitions(all=True):
        mount = found.mountpoint.rstrip("/") or "/"
        inside = text == mount or text.startswith("/" if mount == "/" else f"{mount}/")
        if inside and len(mount) >= len(best.mount):
            kind = found.fstype.lower()
            is_share = kind in _SHARES or kind.startswith(("fuse", "macfuse", "osxfuse"))
            best = Volume(kind=kind, is_share=is_share, mount=mount)
    return best


def _windows_volume(text: str) -> Volume:
    if text.startswith("\\\\"):
        return Volume(kind="unc", is_share=True, mount="\\\\" + "\\".join(text[2:].split("\\")[:2]))
    import ctypes

    drive = f"{os.path.splitdrive(text)[0]}\\"
    windll = getattr(ctypes, "windll")  # noqa: B009  (not there on other systems, whose types are checked too)
    is_remote = windll.kernel32.GetDriveTypeW(drive) == _DRIVE_REMOTE
    return Volume(kind="remote" if is_remote else "local", is_share=is_remote, mount=drive)


def free_bytes(path: Path) -> int | None:
    """Room on a path's volume for this user; None where it cannot be told."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
