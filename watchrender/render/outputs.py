"""What lies in an attempt's output folder: the film under whatever extension it got, image sequences, further outputs.

Only regular files count; a link is never followed. Nothing here judges: see `verdict`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from watchrender import disk

MISSING_LIMIT = 100  # frame numbers that are listed; the rest is counted


class Kind(StrEnum):
    """One file, or one for each frame."""

    FILM = "film"
    SEQUENCE = "sequence"


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """How the files of an image sequence are named: what stands before and after the number, and its width."""

    before: str
    after: str
    width: int
    numbers: tuple[int, ...]  # in order

    def name(self, number: int) -> str:
        """The file name of one frame."""
        return f"{self.before}{self._digits(number)}{self.after}"

    @property
    def pattern(self) -> str:
        """`spot_[00000-00119].png`"""
        first, last = self._digits(self.numbers[0]), self._digits(self.numbers[-1])
        return f"{self.before}[{first}-{last}]{self.after}"

    def _digits(self, number: int) -> str:
        return f"{'-' if number < 0 else ''}{abs(number):0{self.width}}"


@dataclass(frozen=True, kw_only=True)
class Output:
    """One thing that was rendered. The path of a sequence ends in its pattern, `spot_[00000-00119].png`."""

    path: Path
    kind: Kind = Kind.FILM
    bytes: int
    numbering: Numbering | None = None
    missing: tuple[int, ...] = ()  # numbers without a file between the first and the last, at most a hundred
    missing_count: int = 0
    empty: tuple[int, ...] = ()  # numbers whose file has no bytes
    damaged: tuple[int, ...] = ()  # numbers whose file is not whole, at most a hundred (see `frames`)
    damaged_count: int = 0
    damage: str = ""  # what is wrong with the first of them
    unseen: int = 0  # frames that nobody looked at: there were too many for the time

    @property
    def frames(self) -> int | None:
        return len(self.numbering.numbers) if self.numbering else None

    @property
    def first(self) -> int | None:
        return self.numbering.numbers[0] if self.numbering else None

    @property
    def last(self) -> int | None:
        return self.numbering.numbers[-1] if self.numbering else None

    @property
    def last_file(self) -> Path:
        """The file to look into: the film, or the last frame."""
        return self.path.with_name(self.numbering.name(self.numbering.numbers[-1])) if self.numbering else self.path

    def files(self) -> Iterator[Path]:
        """Every file of it, in order."""
        if self.numbering is None:
            yield self.path
            return
        for number in self.numbering.numbers:
            yield self.path.with_name(self.numbering.name(number))

    def moved(self, folder: Path) -> Output:
        """The same output in another folder."""
        return replace(self, path=folder / self.path.name)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What was found: the film or sequence that was asked for, and what else was made."""

    main: Output | None = None
    further: tuple[Output, ...] = ()

    def __iter__(self) -> Iterator[Output]:
        if self.main:
            yield self.main
        yield from self.further


def find(folder: Path, stem: str, sequence: bool, step: int = 1, *, ext: str | None = None) -> Outputs:
    """Look into an attempt's private folder for what was rendered as `stem`.

    After Effects chooses the extension by its output module, whatever it was asked for; `ext` decides only where
    several files have that stem. A folder that is not there holds nothing. Raises OSError where it cannot be read.
    """
    found = _Found(stem)
    for path, size in _files(folder):
        found.add(path, size)
    outputs = found.outputs(max(1, step))
    named = [output for output in outputs if _is_named(output, stem)]
    main = min(named, key=lambda output: _rank(output, sequence, ext), default=None)
    return Outputs(main=main, further=tuple(output for output in outputs if output is not main))


def describe(output: Output, *, beside: Path, sha256: str | None = None) -> dict[str, Any]:
    """The entry of a status file that lies in `beside`: the path is relative where the output lies there too."""
    try:
        path = output.path.relative_to(beside).as_posix()
    except ValueError:
        path = str(output.path)
    if output.kind is Kind.SEQUENCE:
        return {"path": path, "frames": output.frames, "bytes": output.bytes, "sha256": None}
    return {"path": path, "bytes": output.bytes, "sha256": sha256}


def sha256(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The file's SHA-256; `on_bytes` hears how many bytes each read has brought. A link, a pipe, and
    whatever else has taken the film's place, is refused (OSError)."""
    digest = hashlib.sha256()
    with opened(path) as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
            if on_bytes:
                on_bytes(len(chunk))
    return digest.hexdigest()


def opened(path: Path) -> BinaryIO:
    """The file, unbuffered, for reading. A link, a pipe, and whatever else is no plain file, is refused (OSError)."""
    return open(path, "rb", opener=_plainly, buffering=0)


def _plainly(name: str, flags: int) -> int:
    """Never through a link, and never waiting on a pipe."""
    descriptor = os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file", name)
    return descriptor


# --- looking ----------------------------------------------------------------------------------------------------------

_DEPTH = 3  # folders in the folder: `frames/`, what an encoder makes for a stream; not a tree somebody linked in
#: A minus belongs to the number only after a separator: `spot_-0001.png`, but not `spot-0001.png`.
_NUMBERED = re.compile(
    r"^(?P<before>.*?)(?P<number>(?:(?<=[_. ])-)?[0-9]{2,9})(?P<after>\.[A-Za-z][A-Za-z0-9]{0,7})$", re.DOTALL
)


def _suffixes(words: str) -> tuple[str, ...]:
    return tuple("." + word for word in words.split())


_IMAGES = _suffixes("png jpg jpeg tif tiff tga exr psd dpx cin bmp gif hdr rla rpf sgi iff pct pcx webp jp2")
_FILMS = _suffixes("mov mp4 avi mxf mkv webm m4v wmv mpg mpeg gif wav mp3")  # before any other, in this order
#: Beside a film, but none: notes of encoders and players.
_NOTES = _suffixes("xmp log txt json xml csv md5 epr pek cfa idx")
_UNFINISHED = _suffixes("tmp part partial crdownload lock")


def _files(folder: Path, depth: int = _DEPTH) -> Iterator[tuple[Path, int]]:
    """The regular files in a folder and those below, with their sizes; hidden and unfinished ones are left out."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith((".", "~")) or path.suffix.lower() in _UNFINISHED:
                continue
            try:
                # a directory entry of Windows may tell an old size; the file itself knows
                found = os.stat(path, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if disk.is_link(found):
                continue
            if stat.S_ISREG(found.st_mode):
                yield path, found.st_size
            elif stat.S_ISDIR(found.st_mode) and depth > 0:
                yield from _files(path, depth - 1)


@dataclass(kw_only=True)
class _Group:
    """Files of one image sequence so far."""

    path: Path  # of the first one seen
    bytes: int = 0
    width: int = 9
    numbers: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)


class _Found:
    """Files, those with numbers put together."""

    def __init__(self, stem: str) -> None:
        self._stem = stem
        self._films: list[Output] = []
        self._groups: dict[tuple[Path, str, str], _Group] = {}

    def add(self, path: Path, size: int) -> None:
        numbered = _NUMBERED.match(path.name)
        is_whole_name = path.stem.casefold() == self._stem.casefold()  # a still of the job `spot_2024`
        if numbered is None or is_whole_name or numbered["after"].lower() not in _IMAGES:
            self._films.append(Output(path=path, bytes=size))
            return
        group = self._groups.setdefault((path.parent, numbered["before"], numbered["after"]), _Group(path=path))
        number = int(numbered["number"])
        group.bytes += size
        group.width = min(group.width, len(numbered["number"].lstrip("-")))
        group.numbers.append(number)
        if size == 0:
            group.empty.append(number)

    def outputs(self, step: int) -> list[Output]:
        found = [*self._films]
        for (folder, before, after), group in self._groups.items():
            if len(group.numbers) == 1 and not _is_stem(before, self._stem):
                found.append(Output(path=group.path, bytes=group.bytes))
            else:
                found.append(_sequence((folder, before, after), group, step))
        return sorted(found, key=lambda output: (len(output.path.parts), output.path.as_posix()))


def _sequence(place: tuple[Path, str, str], group: _Group, step: int) -> Output:
    folder, before, after = place
    numbers = tuple(sorted(set(group.numbers)))
    numbering = Numbering(before=before, after=after, width=group.width, numbers=numbers)
    missing, count = _gaps(numbers, step)
    return Output(
        path=folder / numbering.pattern,
        kind=Kind.SEQUENCE,
        bytes=group.bytes,
        numbering=numbering,
        missing=missing,
        missing_count=count,
        empty=tuple(sorted(group.empty)[:MISSING_LIMIT]),
    )


def _gaps(numbers: tuple[int, ...], step: int) -> tuple[tuple[int, ...], int]:
    """Numbers left out between the first and the last. With a step, After Effects may number by frame or one by one."""
    if any((number - numbers[0]) % step for number in numbers):
        step = 1
    missing: list[int] = []
    count = 0
    for before, after in pairwise(numbers):
        gap = range(before + step, after, step)
        count += len(gap)
        missing.extend(gap[: max(0, MISSING_LIMIT - len(missing))])
    return tuple(missing), count


def _is_named(output: Output, stem: str) -> bool:
    if output.path.suffix.lower() in _NOTES:
        return False
    if output.numbering:
        return _is_stem(output.numbering.before, stem)
    return output.path.stem.casefold() == stem.casefold()


def _is_stem(before: str, stem: str) -> bool:
    return before.rstrip("_-. ").casefold() == stem.rstrip("_-. ").casefold()


def _rank(output: Output, sequence: bool, ext: str | None) -> tuple[bool, bool, int, int]:
    """What is asked for first: its kind, its extension, a film's extension before another, the larger one."""
    suffix = output.path.suffix.lower()
    order = _FILMS.index(suffix) if suffix in _FILMS else len(_FILMS)
    is_asked = ext is not None and suffix == "." + ext.lower().lstrip(".")
    return (output.kind is Kind.SEQUENCE) is not sequence, not is_asked, order, -output.bytes
