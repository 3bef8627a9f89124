"""Every lasting effect on a disk, one function each, and nowhere else.

Two promises hold for all of them: a reader never sees half a file, and nothing that exists is replaced unless the
function's name says so. Below a guarded folder (the root of a service) nothing happens while its guard objects: a share
that is gone must not be made anew in its place.

Each effect passes a named point before it, after it, and where it has two halves, within it, so that the kill matrix
can end the process at every one of them (`docs/reliability.md`). The list of points is what a run passes, never typed
by hand. A point is named by who causes the effect, and numbered by how often that name was passed before: threads do
not disturb each other's numbers.

    WATCHRENDER_POINTS=FILE      append the name of each point that is passed, as `before:folders.claim:rename#1`
    WATCHRENDER_DIE_AT=POINT     end the process (os._exit) at this point
    WATCHRENDER_FAULTS=FILE      lines `ERRNO GLOB [COUNT]`: the first COUNT effects on a path that matches fail so;
                                 `EFFECT:GLOB` means one effect only
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import shutil
import stat
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

#: The exit status of a process that was ended at a point.
DIED = 137
#: Modules that only carry out what others cause: they do not give a point its name.
_CARRIERS = frozenset({"disk", "contextlib", "__init__", "journal", "transactions", "storage", "ledger", "draft"})
#: So many bytes of a name fit with something before and behind it: a name may have 255.
_SHORTENED = 200
_BESIDE = re.compile(r"^\..+\.[0-9a-f]{8}\.tmp$", re.DOTALL)


class _Hooks:
    """What a test wants of this process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.points = environ.get("WATCHRENDER_POINTS")
        self.die_at = environ.get("WATCHRENDER_DIE_AT")
        self.faults = environ.get("WATCHRENDER_FAULTS")
        self.passed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.lock = threading.Lock()


_hooks = _Hooks(os.environ)
_guards: dict[str, Callable[[], None]] = {}  # by folder, as `_inside` compares it

#: What a rename, removal or open says when somebody else holds the file open (Windows, and SMB servers).
BUSY = frozenset({errno.EBUSY, errno.EACCES, errno.EPERM, errno.ETXTBSY, errno.ENOTEMPTY})


#: ERROR_NOT_READY, REM_NOT_LIST, BAD_NETPATH, NETWORK_BUSY, DEV_NOT_EXIST, UNEXP_NET_ERR, NETNAME_DELETED,
#: SHARING_PAUSED, SEM_TIMEOUT, NO_NET_OR_BAD_PATH, NETWORK_UNREACHABLE, HOST_UNREACHABLE. Not a name that the server
#: does not know (67): a typing error in the root is for a person to mend.
_NO_NETWORK = frozenset({21, 51, 53, 54, 55, 59, 64, 70, 121, 1203, 1231, 1232})


#: The bit of a reparse tag that says: the name of another place (IsReparseTagNameSurrogate).
_NAMES_ANOTHER = 0x20000000
_HAS_JUNCTIONS = os.name == "nt"


#: Windows' own limit where nobody has lifted it; folders may be shorter still, and what is written is longer at first.
_LONGEST_PATH, _SHORTER_FOLDERS, _BESIDE_LONGER = 259, 12, 14


class Away(OSError):
    """The guarded folder above is not the one it was: nothing was done."""


def listen_to(environ: Mapping[str, str]) -> None:
    """Take the hooks for tests from here instead of from the environment this process was started in."""
    global _hooks
    _hooks = _Hooks(environ)


def guard(folder: Path, check: Callable[[], None]) -> None:
    """Ask `check` before each effect below this folder; it raises `Away`."""
    _guards[_inside(folder)] = check


def unguard(folder: Path) -> None:
    _guards.pop(_inside(folder), None)


def _inside(path: Path) -> str:
    """A path as text that begins with that of each folder above it, and with no other's."""
    return os.path.normcase(os.path.join(path, ""))  # a third of the time that Path.is_relative_to takes


def is_busy(error: OSError) -> bool:
    """Is this the refusal of a file that somebody has open (or an indexer, or a virus scanner)?"""
    return not isinstance(error, Away) and (getattr(error, "winerror", None) in (5, 32, 33) or error.errno in BUSY)


def is_held(error: OSError) -> bool:
    """Is it certain that somebody has it open? A refusal that may be for want of rights is not."""
    return not isinstance(error, Away) and (
        getattr(error, "winerror", None) in (32, 33) or error.errno in (errno.EBUSY, errno.ETXTBSY)
    )


def is_unreachable(error: OSError) -> bool:
    """Is this the word of a network that is not there yet? Windows' errno says "no such file" of it, or "no right"."""
    return getattr(error, "winerror", None) in _NO_NETWORK


def is_full(error: BaseException) -> bool:
    """Is this the word of a full disk or a used-up quota?"""
    return isinstance(error, OSError) and (
        error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
        or getattr(error, "winerror", None) in (39, 112)
    )


def _point(name: str) -> None:
    with _hooks.lock:
        _hooks.passed[name] += 1
        point = f"{name}#{_hooks.passed[name]}"
        if _hooks.points:
            with open(_hooks.points, "a", encoding="utf-8") as file:
                file.write(f"{point}\n")
        if point == _hooks.die_at:
            os._exit(DIED)


def _cause() -> str:
    """Who causes an effect: the first function outside of what only carries effects out."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        last = module.rpartition(".")[2]
        if last not in _CARRIERS and not module.startswith("tenacity"):
            return f"{last}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "main"


def _fault(name: str, path: Path) -> None:
    if not _hooks.faults:
        return
    try:
        with open(_hooks.faults, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) < 2:
            continue
        effect_meant, _, pattern = words[1].rpartition(":")
        if effect_meant not in ("", name) or not fnmatch.fnmatch(str(path), pattern):
            continue
        with _hooks.lock:
            _hooks.failed[line] += 1
            if len(words) > 2 and _hooks.failed[line] > int(words[2]):
                continue
        code = getattr(errno, words[0])
        raise OSError(code, os.strerror(code), str(path))


def _ask_guards(path: Path) -> None:
    inside = _inside(path)
    for folder, check in list(_guards.items()):
        if inside.startswith(folder):
            check()


@contextmanager
def effect(name: str, path: Path) -> Iterator[Callable[[], None]]:
    """Mark one lasting effect: a point before it and a point after it. What it gives, called between two halves of the
    effect, is the point within."""
    if not (_hooks.points or _hooks.die_at):
        _ask_guards(path)
        _fault(name, path)
        with _named(name, path):
            yield _nothing
        return
    label = f"{_cause()}:{name}" + (f":{path.name}" if path.suffix == ".json" else "")
    _point(f"before:{label}")
    _ask_guards(path)
    _fault(name, path)
    with _named(name, path):
        yield lambda: _point(f"within:{label}")
    _point(f"after:{label}")


@contextmanager
def _named(name: str, path: Path) -> Iterator[None]:
    """A refusal says where: what a full disk answers to a write does not. And it says what: of a path that is too long
    for it Windows says that it is not there, which would be believed of what is moved."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and _is_too_long(name, path):
            words = f"the path has {len(str(path))} characters, too many for Windows as it is set up here"
            raise OSError(errno.ENAMETOOLONG, words, str(path)) from error
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@cache
def longest_path() -> int | None:
    """So many characters a path may have for this process; None: the disk decides, part by part."""
    if sys.platform != "win32":
        return None
    import ctypes

    asked = getattr(ctypes.windll.ntdll, "RtlAreLongPathsEnabled", None)
    if asked is None:
        return _LONGEST_PATH
    asked.restype = ctypes.c_ubyte
    return None if asked() else _LONGEST_PATH


def _is_too_long(name: str, path: Path) -> bool:
    longest, text = longest_path(), str(path)
    if longest is None or text.startswith("\\\\?\\"):
        return False
    more = _SHORTER_FOLDERS if name.startswith("mkdir") else _BESIDE_LONGER if name.startswith("write") else 0
    return len(text) + more > longest


def _nothing() -> None:
    pass


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


def write(path: Path, data: bytes | str | Iterable[bytes], *, durable: bool = True) -> None:
    """Write beside, flush, rename over: a reader sees the old file or the new one. `data` may come in pieces."""
    beside = _beside(path)
    with effect("write", path) as within:
        try:
            with open(beside, "wb", buffering=0 if isinstance(data, bytes) else -1) as file:
                _fill(file, data, durable=durable)
            within()
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_new(path: Path, data: bytes | str) -> None:
    """Write a file that must not be there yet, complete from its first moment. Raises FileExistsError."""
    beside = _beside(path)
    with effect("write_new", path) as within:
        try:
            with open(beside, "xb") as file:
                _fill(file, data, durable=True)
            within()
            _rename(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def _beside(path: Path) -> Path:
    return path.with_name(f".{shortened(path.name[:80])}.{uuid.uuid4().hex[:8]}.tmp")


def shortened(name: str) -> str:
    """The beginning of a name, with room on the disk for something before and behind it: a disk counts bytes, and one
    letter may have four."""
    while len(os.fsencode(name)) > _SHORTENED:
        name = name[:-1]
    return name


def _fill(file: BinaryIO, data: bytes | str | Iterable[bytes], *, durable: bool) -> None:
    if isinstance(data, str):
        data = data.encode("utf-8")
    for piece in [data] if isinstance(data, bytes) else data:
        rest = memoryview(piece)
        while rest:  # a file without a buffer may take a part
            rest = rest[file.write(rest) :]
    file.flush()
    if durable:
        os.fsync(file.fileno())


def is_half_written(name: str) -> bool:
    """Is this the name of a file that was being written beside its place when its writer was killed?"""
    return _BESIDE.match(name) is not None


def sweep_beside(path: Path) -> None:
    """Remove what killed writers left beside this file. Only where no writer of it lives."""
    start = f".{shortened(path.name[:80])}."
    try:
        names = os.listdir(path.parent)
    except OSError:
        return
    for name in names:
        if name.startswith(start) and is_half_written(name):
            remove(path.with_name(name))


def remove(path: Path) -> None:
    """Remove a file; one that is gone is fine."""
    with effect("remove", path):
        path.unlink(missing_ok=True)


def rmdir(path: Path) -> None:
    """Remove an empty folder. Raises OSError if something is in it."""
    with effect("rmdir", path):
        path.rmdir()


def remove_tree(path: Path) -> bool:
    """Remove a folder and all in it. False if something held on (a busy file, a share that is away): call again
    later."""
    if not os.path.lexists(path):
        return True
    try:
        with effect("remove_tree", path) as within:
            if within is not _nothing:
                _remove_one(path)
                within()
            shutil.rmtree(path, onerror=_unlock_and_retry)
    except Away:
        return False
    return not os.path.lexists(path)


def _remove_one(path: Path) -> None:
    """Begin a removal: a process that dies within it leaves a part."""
    first = next((entry.path for entry in os.scandir(path) if entry.is_file(follow_symlinks=False)), None)
    if first is not None:
        os.unlink(first)


def _unlock_and_retry(function: Callable[[str], object], name: str, _info: object) -> None:
    # A read-only bit (common in unpacked zips and on Windows) stops the removal; anything else is left for later.
    try:
        os.chmod(name, stat.S_IRWXU)
        function(name)
    except OSError:
        pass


def open_regular(path: Path | str, *, through_links: bool = True, buffering: int = -1) -> BinaryIO:
    """A file where others may write, open for reading. Raises OSError for anything else: a pipe that has taken its
    place since somebody looked would be waited on for ever."""

    def carefully(name: str, flags: int) -> int:
        links = 0 if through_links else getattr(os, "O_NOFOLLOW", 0)
        return os.open(name, flags | links | getattr(os, "O_NONBLOCK", 0))

    file: BinaryIO = open(path, "rb", buffering, opener=carefully)  # noqa: SIM115 - whoever asked closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return file


def copy(source: Path, target: Path, *, through_links: bool = True) -> None:
    """Copy one file's bytes and times, flushed to the disk. The target must not be there."""
    with effect("copy", target) as within:
        with open_regular(source, through_links=through_links) as reading, open(target, "xb") as writing:
            writing.write(reading.read(1024 * 1024))
            within()
            shutil.copyfileobj(reading, writing, 1024 * 1024)
            writing.flush()
            os.fsync(writing.fileno())
        shutil.copystat(source, target)


def is_link(found: os.stat_result) -> bool:
    """Is what was looked at, not through, a link of any kind? A junction of Windows is a folder by its mode; what is
    stored compressed there, or in a cloud, has a tag too and is none."""
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_reparse_tag", 0) & _NAMES_ANOTHER)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Is it a folder itself, and no link to one? No question to the disk: the listing has told."""
    is_dir = entry.is_dir(follow_symlinks=False)
    return is_dir and not (_HAS_JUNCTIONS and is_link(entry.stat(follow_symlinks=False)))


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder (regular files and folders only), each file flushed. The target must not be there."""
    mkdir(target)
    for entry in sorted(os.scandir(source), key=lambda found: found.name):
        if is_folder(entry):
            copy_tree(Path(entry.path), target / entry.name)
        elif entry.is_file(follow_symlinks=False):
            copy(Path(entry.path), target / entry.name, through_links=False)


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
