"""Every lasting effect on a disk, one function each, and nowhere else.

Two promises hold for all of them: a reader never sees half a file, and nothing that exists is replaced unless the
function's name says so. Each effect passes a named point before and after it, so that the kill matrix can end the
process at every one of them (`docs/reliability.md`): the list of points is what a run passes, never typed by hand.

    WATCHRENDER_POINTS=FILE      append the name of each point that is passed
    WATCHRENDER_DIE_AT=N         end the process (os._exit) at the N-th point of its life
    WATCHRENDER_FAULTS=FILE      lines `ERRNO GLOB [COUNT]`: an effect on a path that matches fails with it
"""

from __future__ import annotations

import errno
import fnmatch
import itertools
import os
import shutil
import stat
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POINTS = os.environ.get("WATCHRENDER_POINTS")
_DIE_AT = int(os.environ.get("WATCHRENDER_DIE_AT", "0"))
_FAULTS = os.environ.get("WATCHRENDER_FAULTS")
_counter = itertools.count(1)
_count_lock = threading.Lock()

#: What a rename, removal or open says when somebody else holds the file open (Windows, and SMB servers).
BUSY = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.ETXTBSY, errno.ENOTEMPTY})


def is_busy(error: OSError) -> bool:
    """Is this the refusal of a file that somebody has open (or an indexer, or a virus scanner)?"""
    return getattr(error, "winerror", None) in (5, 32, 33) or error.errno in BUSY


def is_full(error: BaseException) -> bool:
    """Is this the word of a full disk or a used-up quota?"""
    return isinstance(error, OSError) and (
        error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
        or getattr(error, "winerror", None) in (39, 112)
    )


def _point(name: str) -> None:
    if not (_POINTS or _DIE_AT):
        return
    with _count_lock:
        number = next(_counter)
        if _POINTS:
            with open(_POINTS, "a", encoding="utf-8") as file:
                file.write(f"{number} {name}\n")
        if number == _DIE_AT:
            os._exit(137)


def _fault(path: Path) -> None:
    if not _FAULTS:
        return
    try:
        lines = Path(_FAULTS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, pattern = line.strip().partition(" ")
        if pattern and fnmatch.fnmatch(str(path), pattern):
            code = getattr(errno, name)
            raise OSError(code, os.strerror(code), str(path))


@contextmanager
def effect(name: str, path: Path) -> Iterator[None]:
    """Mark one lasting effect: a point before it and a point after it."""
    caller = sys._getframe(3).f_code.co_name if _POINTS else ""
    _point(f"before {caller}.{name}")
    _fault(path)
    yield
    _point(f"after {caller}.{name}")


def mkdir(path: Path) -> None:
    """Make one folder. Raises FileExistsError if anything of that name is there: that is how a name is won."""
    with effect("mkdir", path):
        path.mkdir()


def mkdirs(path: Path) -> None:
    """Make a folder and those above it; one that is there is fine."""
    if path.is_dir():
        return
    with effect("mkdirs", path):
        path.mkdir(parents=True, exist_ok=True)


def rename(source: Path, target: Path) -> None:
    """Move by one rename, never over something. A network server may report an error for a rename that happened
    (a repeated request): then the target is there and the source is gone, and that is success."""
    with effect("rename", target):
        _rename(source, target)


def _rename(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    identity = _identity(source)
    try:
        os.rename(source, target)
    except OSError:
        if identity is not None and not os.path.lexists(source) and _identity(target) == identity:
            return
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def replace(source: Path, target: Path) -> None:
    """Move by one rename, over what is there."""
    with effect("replace", target):
        os.replace(source, target)


def write(path: Path, data: bytes | str, *, durable: bool = True) -> None:
    """Write beside, flush, rename over: a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex[:8]}.tmp")
    with effect("write", path):
        try:
            with open(beside, "wb") as file:
                file.write(data.encode("utf-8") if isinstance(data, str) else data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_new(path: Path, data: bytes | str) -> None:
    """Write a file that must not be there yet, complete from its first moment. Raises FileExistsError."""
    beside = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex[:8]}.tmp")
    with effect("write_new", path):
        try:
            with open(beside, "xb") as file:
                file.write(data.encode("utf-8") if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            _rename(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def remove(path: Path) -> None:
    """Remove a file; one that is gone is fine."""
    with effect("remove", path):
        path.unlink(missing_ok=True)


def rmdir(path: Path) -> None:
    """Remove an empty folder. Raises OSError if something is in it."""
    with effect("rmdir", path):
        path.rmdir()


def remove_tree(path: Path) -> bool:
    """Remove a folder and all in it. False if something held on (a busy file): call again later."""
    if not os.path.lexists(path):
        return True
    with effect("remove_tree", path):
        shutil.rmtree(path, onerror=_unlock_and_retry)
    return not os.path.lexists(path)


def _unlock_and_retry(function: Callable[[str], object], name: str, _info: object) -> None:
    # A read-only bit (common in unpacked zips and on Windows) stops the removal; anything else is left for later.
    try:
        os.chmod(name, stat.S_IRWXU)
        function(name)
    except OSError:
        pass


def copy(source: Path, target: Path) -> None:
    """Copy one file's bytes and times, flushed to the disk. The target must not be there."""
    with effect("copy", target):
        with open(source, "rb") as reading, open(target, "xb") as writing:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
            writing.flush()
            os.fsync(writing.fileno())
        shutil.copystat(source, target)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder (regular files and folders only), each file flushed. The target must not be there."""
    mkdir(target)
    for entry in sorted(os.scandir(source), key=lambda found: found.name):
        if entry.is_dir(follow_symlinks=False):
            copy_tree(Path(entry.path), target / entry.name)
        elif entry.is_file(follow_symlinks=False):
            copy(Path(entry.path), target / entry.name)


def flush_folder(path: Path) -> None:
    """Ask the disk to keep the names in this folder, where the system knows how (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems refuse; the rename itself is still atomic
    finally:
        os.close(descriptor)
