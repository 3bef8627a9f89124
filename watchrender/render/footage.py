"""Are the job's sources there and still, and are they in a form that nexrender can be given?

Local files are looked at by opening them and asking the open file, never by a listing: a share answers listings from
memory. What cannot be used in place is handed over under another name: files whose path nexrender would misread,
`data:` sources, and what is fetched from http(s) (`Fetcher`).

Only paths that `core.policy` has admitted may come here: looking at a file on a foreign server is a log-in there.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from watchrender import disk
from watchrender.core import paths
from watchrender.core.access import said
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.policy import FOOTAGE_TYPES, sources_of
from watchrender.render.ahead import Ahead, copyable
from watchrender.render.fetch import Fetcher, link_or_copy

_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")
#: The largest file that a `data:` source may become.
_DATA_BYTES = 64 * 1024 * 1024
_DATA = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.IGNORECASE | re.DOTALL)
_FILLED_IN = re.compile(r"\$[A-Za-z_]\w*|%[A-Za-z_]\w*%")
#: Files that a name in a `data:` URI tells of; whatever else comes gets no extension.
_ENDING_OF = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/tiff": ".tif",
    "image/svg+xml": ".svg",
    "image/vnd.adobe.photoshop": ".psd",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/aac": ".aac",
    "audio/mp4": ".m4a",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "application/json": ".json",
    "text/csv": ".csv",
    "text/plain": ".txt",
}
_MOST_SIGHTINGS = 20_000
_MOST_NEIGHBOURS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What was last seen of a file."""

    size: int
    modified_ns: int
    since: float  # monotonic seconds: unchanged at least since then
    changed: bool = False  # it changed under our eyes


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """A source that cannot be used yet."""

    path: str  # JSON path of the `src`
    file: Path
    growing: bool  # False: it is missing
    words: str


def look(
    wanted: Mapping[str, Path], memory: dict[str, Sighting], *, now: float, wall: float, settle: float
) -> list[Trouble]:
    """Which of these files are missing or still growing? `now` is monotonic, `wall` is the clock that files tell.

    A file last modified longer than `settle` ago is complete at first sight, so that jobs with old footage never wait;
    one that is younger, that claims to come from the future, or that changed between two looks has to keep still.
    """
    found = (_look_at(path, file, memory, now=now, wall=wall, settle=settle) for path, file in wanted.items())
    return [trouble for trouble in found if trouble]


class Footage:
    """The sources of all jobs of this service. Thread-safe."""

    def __init__(
        self,
        work_dir: Path,
        *,
        fetcher: Fetcher | None = None,
        ahead: Ahead | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.work_dir = work_dir
        self._fetcher = fetcher
        self.ahead = ahead
        self._clock, self._wall = clock, wall
        self._memory: dict[str, Sighting] = {}
        self._lock = threading.Lock()

    def look(self, wanted: Mapping[str, Path], *, settle: float) -> dict[str, str]:
        """What is missing or growing, in words, by JSON path. May block as long as a dead share does."""
        troubles: dict[str, str] = {}
        for path, file in wanted.items():
            with self._lock:
                memory = {str(file): known} if (known := self._memory.get(str(file))) else {}
            found = look({path: file}, memory, now=self._clock(), wall=self._wall(), settle=settle)
            self._remember(str(file), memory.get(str(file)))
            troubles |= {trouble.path: trouble.words for trouble in found}
        return troubles

    def _remember(self, file: str, sighting: Sighting | None) -> None:
        with self._lock:
            self._memory.pop(file, None)  # to the end: the one not looked at for longest goes first
            if sighting:
                self._memory[file] = sighting
            if len(self._memory) > _MOST_SIGHTINGS:
                del self._memory[next(iter(self._memory))]

    def bring(
        self,
        document: Mapping[str, Any],
        *,
        resolved: Mapping[str, Path],
        links: Mapping[str, str],
        folder: Path,
        environment: Collection[str] | None = None,
        windows: bool = os.name == "nt",
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, str] | Failure:
        """The file for each `src` of an admitted job, as `document.build` wants them; new ones are put into `folder`.

        `environment` are the names of the variables nexrender will have, which it would fill into paths.
        """
        ahead = self.ahead
        if ahead is None:
            return self._bring(document, resolved, links, folder, environment, windows, stop)
        with ahead.taking(files=resolved.values(), links=links.values(), stop=stop):
            return self._bring(document, resolved, links, folder, environment, windows, stop)

    def bring_ahead(
        self,
        document: Mapping[str, Any],
        *,
        resolved: Mapping[str, Path],
        links: Mapping[str, str],
        stop: Callable[[], bool],
        later: Callable[[], bool] = lambda: False,
    ) -> None:
        """Bring near what an admitted job that is still queued will need. Nothing is promised. `later`: had copies from
        a slow volume better wait?"""
        if self.ahead is not None:
            holders = {path: holder for path, _, holder in sources_of(document)}
            files = [file for path, file in resolved.items() if copyable(holders.get(path, {}), FOOTAGE_TYPES)]
            self.ahead.bring(files=files, links=links.values(), stop=stop, later=later)

    def _bring(
        self,
        document: Mapping[str, Any],
        resolved: Mapping[str, Path],
        links: Mapping[str, str],
        folder: Path,
        environment: Collection[str] | None,
        windows: bool,
        stop: Callable[[], bool],
    ) -> dict[str, str] | Failure:
        ready: dict[str, str] = {}
        for number, (path, src, holder) in enumerate(sources_of(document)):
            stem = "t" if path == "template.src" else f"a{number:02d}"
            in_script = holder.get("type") in FOOTAGE_TYPES
            file: Path | Failure | None
            if path in resolved:
                file = resolved[path]
                if self.ahead and copyable(holder, FOOTAGE_TYPES) and (near := self.ahead.near(file, folder, stem)):
                    file = near
                elif paths.needs_copy(str(file), windows=windows, environment=environment, in_script=in_script):
                    file = hand_over(file, folder, stem, path=path)
            elif path in links:
                file = self._fetch(links[path], folder, stem, path, stop)
            else:
                file = unpack(src, folder, stem, path=path, limit=_DATA_BYTES, holder=holder)
            if isinstance(file, Failure):
                return file
            if file is not None:
                ready[path] = str(file)
        return ready

    def _fetch(self, url: str, folder: Path, stem: str, path: str, stop: Callable[[], bool]) -> Path | Failure:
        if self._fetcher is None:
            return fail(Code.DOWNLOAD_FAILED, f"{path}: nothing is fetched here", path=path)
        return self._fetcher.fetch(url, folder, stem=stem, path=path, stop=stop)


def hand_over(file: Path, folder: Path, stem: str, *, path: str) -> Path | Failure:
    """The file under a short ASCII name in `folder`: a link where the disks allow it, else a copy.

    A project finds its relative footage beside the path it is opened by, so its neighbours come with it, as links.
    Where that cannot be, it comes alone.
    """
    try:
        disk.mkdirs(folder)
        if path == "template.src" and (through := _through_folder(file, folder / stem)):
            return through
        target = folder / f"{stem}{_ending(file.name) or ''}"
        link_or_copy(file, target)
        return target
    except OSError as error:
        return _write_failure(error, path, str(file))


def unpack(
    src: str, folder: Path, stem: str, *, path: str, limit: int, holder: Mapping[str, Any]
) -> Path | Failure | None:
    """The content of a `data:` source as a file in `folder`. None for a source of any other kind."""
    if src.lstrip()[:5].lower() != "data:":
        return None
    found = _DATA.fullmatch(src.strip())
    content = _decoded(found[3], found[2]) if found else None
    if found is None or content is None:
        return fail(Code.JOB_INVALID, f"{path}: this data: source cannot be decoded.", path=path)
    if len(content) > limit:
        return fail(Code.JOB_TOO_LARGE, f"{path}: this data: source is larger than {limit} bytes.", path=path)
    names = (holder.get("name"), f".{holder.get('extension')}")
    ending = _ENDING_OF.get(found[1].strip().lower()) or next(filter(None, map(_ending, names)), "")
    try:
        disk.mkdirs(folder)
        target = folder / f"{stem}{ending}"
        disk.write(target, content, durable=False)
        return target
    except OSError as error:
        return _write_failure(error, path, "a data: source")


def _look_at(
    path: str, file: Path, memory: dict[str, Sighting], *, now: float, wall: float, settle: float
) -> Trouble | None:
    seen = _seen(file, now)
    if not isinstance(seen, Sighting):
        memory.pop(str(file), None)
        words, growing = seen
        return Trouble(path=path, file=file, growing=growing, words=words)
    known = memory.get(str(file))
    if known:
        same = (known.size, known.modified_ns) == (seen.size, seen.modified_ns)
        seen = known if same else replace(seen, changed=True)
    memory[str(file)] = seen
    if seen.size == 0:
        return Trouble(path=path, file=file, growing=True, words=f"{_told(file)} is empty so far")
    is_old = wall - seen.modified_ns / 1e9 > settle and not seen.changed
    if is_old or now - seen.since >= settle:
        return None
    return Trouble(path=path, file=file, growing=True, words=f"{_told(file)} is still growing, or just came")


def _seen(file: Path, now: float) -> Sighting | tuple[str, bool]:
    """The size and time of an open file, or what is wrong with it and whether it is on its way."""
    if not file.is_absolute():
        return f"{_told(file)} is a path of another machine (see path_map)", False
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # before it is opened: a pipe would block, a device would act
            return _no_file(file), False
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(file, flags)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        return _refused(file, error)
    if not stat.S_ISREG(found.st_mode):
        return _no_file(file), False
    return Sighting(size=found.st_size, modified_ns=found.st_mtime_ns, since=now)


def _no_file(file: Path) -> str:
    return f"{_told(file)} is {'a folder' if file.is_dir() else 'no regular file'}; name a file"


def _refused(file: Path, error: OSError | ValueError) -> tuple[str, bool]:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        hint = " (names of variables are not filled in)" if _FILLED_IN.search(str(file)) else ""
        return f"{_told(file)} is not there{hint}", False
    if getattr(error, "winerror", None) in (32, 33):
        return f"{_told(file)} is still open in another program", True
    if isinstance(error, PermissionError):
        return f"{_told(file)} may not be read by this service", False
    why = (error.strerror if isinstance(error, OSError) else None) or error
    return f"{_told(file)} cannot be read: {why}", False


def _told(file: Path) -> str:
    return said(str(file), limit=300)[1:-1].replace("\\\\", "\\")


def _through_folder(project: Path, folder: Path) -> Path | None:
    """The project by a path of ours that has its own neighbours beside it: its folder by another name, or, where its
    own name is at fault, a folder of links. None where the system gives no links (Windows keeps them for admins)."""
    try:
        if not paths.needs_copy(str(folder / project.name), windows=os.name == "nt"):
            _symlink(project.parent, folder)
            return folder / project.name
        neighbours = sorted(project.parent.iterdir())
        if len(neighbours) > _MOST_NEIGHBOURS:
            return None
        disk.mkdir(folder)
        for neighbour in neighbours:
            name = f"t{_ending(project.name) or ''}" if neighbour == project else neighbour.name
            _symlink(neighbour, folder / name)
        return folder / f"t{_ending(project.name) or ''}"
    except OSError:
        return None


def _symlink(target: Path, link: Path) -> None:
    with disk.effect("symlink", link):
        os.symlink(target, link, target_is_directory=target.is_dir())


def _ending(name: object) -> str | None:
    suffix = Path(name).suffix if isinstance(name, str) else ""
    return suffix.lower() if _ENDING.fullmatch(suffix) else None


def _decoded(text: str, parameters: str) -> bytes | None:
    content = unquote_to_bytes(text)
    if not re.search(r";\s*base64\s*$", parameters, re.IGNORECASE):
        return content
    packed = re.sub(rb"\s+", b"", content).translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _write_failure(error: OSError, path: str, what: str) -> Failure:
    if disk.is_full(error):
        return fail(Code.DISK_FULL, f"There is no room for {what}: {error.strerror}.", path=path)
    code = Code.TEMPLATE_MISSING if path.startswith("template") else Code.ASSET_MISSING
    return fail(code, f"{path}: {said(what)} cannot be used: {error.strerror or error}.", path=path)
