"""A job with its project and footage: a folder, or the same as a zip. What is it, may it be opened, and opening it.

A zip is somebody else's claim about what it holds. It is judged by its list of members first (nothing is unpacked to
find out), then unpacked by the very list that was judged, into a folder that appears by one rename, while the real
bytes are counted. Members are written under names that every system can hold, into a tree that holds nothing but what
we made.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from watchrender import disk
from watchrender.core import naming
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.settle import Completeness
from watchrender.core.textual import short
from watchrender.core.units import format_size
from watchrender.spool.plain import open_plain

JOB_FILES = ("job.json", "job.yaml", "job.yml")
STATUS_SUFFIX = ".status.json"

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a zip may unpack to."""

    members: int = 10_000
    single: int = 64 * 1024 * _MIB
    total: int = 256 * 1024 * _MIB
    ratio: int = 100
    ratio_from: int = 100 * _MIB  # below this a zip may be as dense as it likes
    path_bytes: int = 1000
    depth: int = 32


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a folder is, by the names at its top. Neither: a sub-folder."""

    job_file: str | None = None  # it is a bundle, and this is its job
    status_files: tuple[str, ...] = ()  # it is a returned job, if one of these is ours

    @property
    def is_bundle(self) -> bool:
        return self.job_file is not None and not self.status_files


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of a zip: its number there, where it goes, and the size that was claimed."""

    number: int
    path: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ZipPlan:
    """What unpacking a zip would make."""

    job: str  # the path of its job file
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.path for member in self.members)


class UnpackStopped(Exception):
    """Unpacking was asked to stop: nothing is left behind."""


def look(names: Iterable[str]) -> Shape | Failure:
    """Is a folder a bundle, a returned job or a sub-folder? `names`: the plain files at its top."""
    files = sorted(names)
    jobs = [name for name in files if naming.fold(name) in JOB_FILES]
    if len(jobs) > 1:
        return fail(
            Code.JOB_INVALID,
            f"the bundle holds {' and '.join(jobs)}; one bundle is one job",
            cure=f"Keep one of {', '.join(jobs)}, take the other out, and drop the bundle again.",
        )
    returned = tuple(name for name in files if name.lower().endswith(STATUS_SUFFIX))
    return Shape(job_file=jobs[0] if jobs else None, status_files=returned)


def is_bundle(folder: Path) -> bool:
    """Is there a job at the top of this folder, and no status file of a returned one? Raises OSError."""
    shape = look(plain_files(folder))
    return isinstance(shape, Failure) or shape.is_bundle


def job_name(folder: Path) -> str | Failure:
    """The name of a bundle's job file."""
    try:
        shape = look(plain_files(folder))
    except OSError as error:
        return fail(Code.JOB_UNREADABLE, f"{folder.name} cannot be read: {error.strerror or error}")
    if isinstance(shape, Failure):
        return shape
    if shape.job_file is None:
        return fail(Code.JOB_INVALID, f"{folder.name} holds no job any more: no {', '.join(JOB_FILES)} at its top")
    return shape.job_file


def bundle_listing(
    path: Path, *, alive: Callable[[], None] = lambda: None, opened: int = 10_000
) -> Iterator[tuple[str, int, int]]:
    """(relative path, size, mtime_ns) of everything below a folder, links not followed, in one fixed order.

    A folder ends with `/`; the size of a link, FIFO, socket, device or of what may not be looked at is -1. The first
    `opened` files are opened for it, because looks may be stale (SMB, NTFS); for more than that a look has to do.
    `alive` is called again and again. Raises OSError if the folder itself cannot be read.
    """
    for number, entry in enumerate(_walk(path, opened)):
        if number % 200 == 0:
            alive()
        yield entry


def zip_complete(path: Path) -> Completeness:
    """Is a zip all there, as far as its end tells? `OPAQUE`: its list of members is there, so only time can tell."""
    with open_plain(path) as file:
        size = file.seek(0, os.SEEK_END)
        if _find_end(file, size) is not None:
            return Completeness.OPAQUE
        file.seek(0)
        head = file.read(4)
    return Completeness.CUT_OFF if b"PK\x03\x04".startswith(head) or not head.strip(b"\0") else Completeness.BROKEN


def inspect_zip(path: Path, limits: Limits = Limits()) -> ZipPlan | Failure:
    """What unpacking would make, or why it may not be unpacked. Reads the list of members, nothing else."""
    with open_plain(path) as file:
        return _inspect(file, path.name, limits)


def read_member(path: Path, plan: ZipPlan, name: str, limit: int) -> bytes:
    """The bytes of one file in a zip, at most `limit` + 1 of them. Raises OSError, or ValueError in words."""
    member = next((member for member in plan.members if member.path == name), None)
    if member is None:
        raise ValueError("it is not in the zip")
    try:
        with open_plain(path) as file, _open_zip(file, Limits()) as archive:
            infos = archive.infolist()
            if member.number >= len(infos) or infos[member.number].file_size != member.size:
                raise ValueError("the zip was changed while it was being read")
            with archive.open(infos[member.number]) as packed:
                return packed.read(limit + 1)
    except _UNPACK_ERRORS as error:
        raise ValueError(f"it cannot be unpacked ({error})") from None


def unpack(
    path: Path,
    plan: ZipPlan,
    target: Path,
    *,
    limits: Limits = Limits(),
    should_stop: Callable[[], bool] = lambda: False,
) -> Failure | None:
    """Unpack a zip into a new folder, which appears when it is whole. `target` must not be there.

    A failure means that the zip is at fault. An OSError is the disk's (full, gone); `UnpackStopped` is ours. Nothing is
    left behind in any of these cases."""
    beside = target.with_name(f".{target.name}.unpacking")
    disk.remove_tree(beside)
    try:
        with open_plain(path) as file:
            # The same open file is judged again: what was put in its place since cannot be unpacked by the old plan.
            found = _inspect(file, path.name, limits)
            if isinstance(found, Failure):
                return found
            if found != plan:
                return _refused(path.name, None, "was changed while it was being read")
            disk.mkdir(beside)
            with disk.effect("unpack", beside):
                failure = _unpack(file, path.name, found, beside, limits, should_stop)
        if failure is None:
            disk.rename(beside, target)
        return failure
    finally:
        disk.remove_tree(beside)


# -- a folder ---------------------------------------------------------------------------------------------------


def plain_files(folder: Path) -> list[str]:
    """The names of the files at the top of a folder, links not followed. Raises OSError."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]


def _walk(root: Path, opened: int) -> Iterator[tuple[str, int, int]]:
    waiting = [""]
    seen = 0
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder if folder else root) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError:
            if not folder:
                raise
            yield f"{folder}/", -1, 0  # gone since, or not for us to read
            continue
        below: list[str] = []
        for name in names:
            path = f"{folder}/{name}" if folder else name
            seen += 1
            size, mtime_ns, is_folder = _measure(root / path, open_it=seen <= opened)
            yield (f"{path}/" if is_folder else path), size, mtime_ns
            if is_folder:
                below.append(path)
        waiting += reversed(below)


def _measure(path: Path, *, open_it: bool) -> tuple[int, int, bool]:
    """Size, time and whether it is a folder."""
    try:
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode) and not disk.is_link(found):
            return 0, 0, True
        if not stat.S_ISREG(found.st_mode):
            return -1, found.st_mtime_ns, False
        return (*(_measure_open(path, found) if open_it else (found.st_size, found.st_mtime_ns)), False)
    except OSError:
        return -1, 0, False


def _measure_open(path: Path, found: os.stat_result) -> tuple[int, int]:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return found.st_size, found.st_mtime_ns  # locked, or not for us to read
    try:
        opened = os.fstat(descriptor)
        return opened.st_size, opened.st_mtime_ns
    finally:
        os.close(descriptor)


# -- a zip's end: how many members, and where their list is -------------------------------------------------------

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")


@dataclass(frozen=True, kw_only=True)
class _End:
    members: int
    list_size: int
    disks: int


def _find_end(file: IO[bytes], size: int) -> _End | None:
    """The record at a zip's end; None if it is not there (still arriving, cut off, or not a zip)."""
    tail_size = min(size, _END.size + 0xFFFF + _END64_LOCATOR.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        return None
    _, disk_number, _, _, members, list_size, _, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        return None
    large = _find_end64(file, tail, at) if 0xFFFF in (members, disk_number) or list_size == 0xFFFFFFFF else None
    return large or _End(members=members, list_size=list_size, disks=disk_number)


def _find_end64(file: IO[bytes], tail: bytes, at: int) -> _End | None:
    if at < _END64_LOCATOR.size:
        return None
    mark, _, offset, _ = _END64_LOCATOR.unpack_from(tail, at - _END64_LOCATOR.size)
    if mark != b"PK\x06\x07" or offset >= 1 << 62:
        return None
    file.seek(offset)
    record = file.read(_END64.size)
    if len(record) < _END64.size or not record.startswith(b"PK\x06\x06"):
        return None
    _, _, _, _, disk_number, _, _, members, list_size, _ = _END64.unpack(record)
    return _End(members=members, list_size=list_size, disks=disk_number)


class _Guarded:
    """A file that is not read in bites larger than some limit.

    `zipfile` reads the whole list of members at once, and believes the zip about its size: two records at the end, or
    one that lies, would get past any check of ours. A list too large for the members allowed is refused here."""

    def __init__(self, file: IO[bytes], largest_bite: int) -> None:
        self._file = file
        self._largest = largest_bite
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self._largest:
            raise _BiteTooLarge("its list of members is too long")
        data = self._file.read(size if size >= 0 else self._largest + 1)
        if len(data) > self._largest:
            raise _BiteTooLarge("its end is too long")
        return data


class _BiteTooLarge(ValueError):
    pass


# -- judging a zip ------------------------------------------------------------------------------------------------

_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack to any size from a few bytes at once
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd", 99: "AES encryption"}
_BYTES_PER_MEMBER = 400  # of the list of members, on average: names, times and offsets take about 150


def _inspect(file: IO[bytes], name: str, limits: Limits) -> ZipPlan | Failure:
    size = file.seek(0, os.SEEK_END)
    end = _find_end(file, size)
    if end is None:
        file.seek(0)
        if file.read(4) == b"PK\x03\x04":
            return _refused(name, None, "is cut off: its list of members, which stands at the end, is missing")
        return _refused(name, None, "is not a zip")
    if end.disks:
        return _refused(name, None, "is one part of a zip in several; join them into one")
    # Asked before the list is read, because reading it costs memory for each member.
    if end.members > limits.members or end.list_size > _list_limit(limits):
        return _refused(name, None, f"holds more than {limits.members} files")
    try:
        with _open_zip(file, limits) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, struct.error) as error:
        return _refused(name, None, f"cannot be read as a zip ({error})")
    if len(infos) > limits.members:
        return _refused(name, None, f"holds more than {limits.members} files")
    return _judge(infos, name, size, limits)


def _open_zip(file: IO[bytes], limits: Limits) -> zipfile.ZipFile:
    guarded: Any = _Guarded(file, _list_limit(limits))
    return zipfile.ZipFile(guarded)


def _list_limit(limits: Limits) -> int:
    return max(limits.members * _BYTES_PER_MEMBER, 2 * _MIB)


def _judge(infos: list[zipfile.ZipInfo], name: str, size: int, limits: Limits) -> ZipPlan | Failure:
    kept: list[tuple[int, list[str], zipfile.ZipInfo]] = []
    for number, info in enumerate(infos):
        path = _path_of(info)
        if not path and info.is_dir():
            continue  # the folder that was packed, itself
        problem = _nature_problem(info) or _path_problem(path, limits)
        if problem:
            return _refused(name, path, problem)
        parts = [part for part in path.split("/") if part]
        if parts and not any(_is_clutter(part) for part in parts):
            kept.append((number, parts, info))
    files = [entry for entry in kept if not entry[2].is_dir()]
    failure = _size_problem(files, name, size, limits) or _overlap_problem(infos, name)
    if failure:
        return failure
    return _plan(_without_top_folder(files, kept), name)


def _plan(files: list[tuple[int, list[str], zipfile.ZipInfo]], name: str) -> ZipPlan | Failure:
    shape = look(parts[0] for _, parts, _ in files if len(parts) == 1)
    if isinstance(shape, Failure):
        return shape
    if shape.job_file is None:
        return fail(
            Code.JOB_INVALID,
            f"{short(name, 250)} holds no job: there is no {', '.join(JOB_FILES)} at its top",
            cure="Put the job into the zip as job.json, beside its project and footage, and drop it again.",
        )
    if failure := _collision(["/".join(parts) for _, parts, _ in files], name):
        return failure
    members = (Member(number=number, path="/".join(parts), size=info.file_size) for number, parts, info in files)
    return ZipPlan(job=shape.job_file, members=tuple(members))


def _path_of(info: zipfile.ZipInfo) -> str:
    """A member's path as whoever packed it meant it. macOS writes UTF-8 and does not say so."""
    path = info.orig_filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):  # then it is what it says: the old code page
            path = path.encode("cp437").decode("utf-8")
    while path.startswith("./"):  # as some packers write what lies at the top
        path = path[2:]
    return path


def _nature_problem(info: zipfile.ZipInfo) -> str | None:
    if info.flag_bits & 0x2041:
        return "is encrypted; pack it without a password"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link; pack the file itself"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if info.compress_type not in _READABLE:
        method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
        return f"is packed with {method}; pack it with the usual method (Deflate)"
    return None


def _path_problem(path: str, limits: Limits) -> str | None:
    if "\\" in path:
        return "has a backslash in its name; pack it with a program that writes / between folders"
    if path.startswith("/") or path[1:2] == ":":
        return "has an absolute path"
    parts = path.removesuffix("/").split("/")
    if ".." in parts or "." in parts:
        return "would leave the folder"
    if "" in parts:
        return "has a folder without a name in its path"
    if len(parts) > limits.depth:
        return f"lies deeper than {limits.depth} folders"
    if any(len(_bytes(part)) > naming.LONGEST for part in parts) or len(_bytes(path)) > limits.path_bytes:
        return "has a name that is too long for a disk"
    wrong = next((reason for part in parts if (reason := naming.not_for_windows(part))), None)
    return f"has a name that not every system can hold: {wrong}" if wrong else None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _is_clutter(part: str) -> bool:
    """What macOS and Windows put into zips beside the files."""
    return part.lower() in ("__macosx", ".ds_store", "thumbs.db", "desktop.ini") or part.startswith("._")


def _size_problem(
    files: list[tuple[int, list[str], zipfile.ZipInfo]], name: str, size: int, limits: Limits
) -> Failure | None:
    total = 0
    for _, parts, info in files:
        total += info.file_size
        if info.file_size > limits.single:
            words = f"would unpack to {format_size(info.file_size)}; a file may have {format_size(limits.single)}"
            return _refused(name, "/".join(parts), words)
    if total > limits.total:
        return _refused(
            name, None, f"would unpack to {format_size(total)}; a bundle may have {format_size(limits.total)}"
        )
    if total > limits.ratio_from and total > limits.ratio * size:
        largest = max(files, key=lambda entry: entry[2].file_size)
        words = (
            f"would unpack to {format_size(total)}, more than {limits.ratio} times its size; the largest is"
            f" {short('/'.join(largest[1]))} with {format_size(largest[2].file_size)}"
        )
        return _refused(name, None, words)
    return None


def _overlap_problem(infos: list[zipfile.ZipInfo], name: str) -> Failure | None:
    """Members that share their packed bytes: how a small zip unpacks to a large one without a dense member."""
    free_from = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < free_from:
            return _refused(name, _path_of(info), "lies over another member")
        free_from = info.header_offset + 30 + info.compress_size
    return None


def _without_top_folder(
    files: list[tuple[int, list[str], zipfile.ZipInfo]], kept: list[tuple[int, list[str], zipfile.ZipInfo]]
) -> list[tuple[int, list[str], zipfile.ZipInfo]]:
    tops = {parts[0] for _, parts, _ in kept}
    if len(tops) != 1 or any(len(parts) == 1 for _, parts, _ in files):
        return files
    return [(number, parts[1:], info) for number, parts, info in files]


def _collision(paths: list[str], name: str) -> Failure | None:
    """Two members that are one on a disk that does not tell capitals apart, or a file where a folder must be."""
    files: dict[str, str] = {}
    for path in paths:
        other = files.get(naming.fold(path))
        if other is not None:
            words = "is in it twice" if other == path else f"and {short(other)} are one name on many disks; rename one"
            return _refused(name, path, words)
        files[naming.fold(path)] = path
    for path in paths:
        folder = path
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if naming.fold(folder) in files:
                return _refused(name, files[naming.fold(folder)], f"is a file, and {short(path)} needs a folder there")
    return None


# -- unpacking ----------------------------------------------------------------------------------------------------

#: What `zipfile` says to packed bytes that are not what the list of members claims.
_UNPACK_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, struct.error)
#: What a disk says to a name it cannot hold.
_NAME_REFUSED = (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


def _unpack(
    file: IO[bytes], name: str, plan: ZipPlan, target: Path, limits: Limits, should_stop: Callable[[], bool]
) -> Failure | None:
    with _open_zip(file, limits) as archive:
        infos = archive.infolist()
        for member in plan.members:
            try:
                problem = _unpack_member(archive, infos[member.number], member, target / member.path, should_stop)
            except (*_UNPACK_ERRORS, ValueError) as error:
                problem = f"cannot be unpacked ({error})"
            except OSError as error:
                if error.errno not in _NAME_REFUSED:
                    raise
                problem = f"cannot be written under that name ({error.strerror})"
            if problem:
                return _refused(name, member.path, problem)
    return None


def _unpack_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: Member, target: Path, should_stop: Callable[[], bool]
) -> str | None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(info) as packed, open(target, "xb") as out:
        while chunk := packed.read(_MIB):
            if should_stop():
                raise UnpackStopped
            written += len(chunk)
            if written > member.size:
                return f"unpacks to more than the {format_size(member.size)} it claims"
            out.write(chunk)
    if written < member.size:
        return f"ends after {format_size(written)} of {format_size(member.size)}"
    return None


def _refused(name: str, member: str | None, problem: str) -> Failure:
    subject = f"{short(name, 250)}: {short(member, 120)}" if member else short(name, 250)
    cure = "Pack the bundle anew, with plain files only, and drop it again."
    return fail(Code.JOB_INVALID, f"{subject} {problem}", cure=cure)
