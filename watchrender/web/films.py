"""Sending a file of a job: whole or a range of it, without keeping it open.

A film in done/ is its owner's: it may be moved or deleted while somebody watches it, and on Windows that is refused
while a file is open. So each piece is read by an open of its own, and a file that has changed ends the answer.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from watchrender.core import naming
from watchrender.core.job import Job
from watchrender.spool.folders import Folders
from watchrender.spool.plain import open_plain
from watchrender.web.answers import Problem
from watchrender.web.aside import Aside
from watchrender.web.protocol import Connection

PIECE_BYTES = 512 * 1024
#: A player that pauses stops reading: its connection is kept this long, then the player asks again.
PAUSE_SECONDS = 600.0
#: What a browser may show in place; everything else is downloaded, because a page among it would speak for us.
_SHOWN = re.compile(r"(video|audio)/[\w.+-]+|image/(png|jpeg|gif|webp|avif|bmp|tiff)")
_MEDIA = re.compile(r"(video|audio|image)/.+")
_TYPES = {
    ".mov": "video/quicktime", ".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mxf": "application/mxf", ".avi": "video/x-msvideo", ".exr": "image/x-exr", ".dpx": "image/x-dpx",
    ".tga": "image/x-tga", ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".wav": "audio/wav", ".mp3": "audio/mpeg", ".aif": "audio/aiff", ".aiff": "audio/aiff", ".m4a": "audio/mp4",
}  # fmt: skip
#: The pattern of a sequence's frames; what stands before it is the job's own name, and may have brackets too.
_SEQUENCE = re.compile(r"\[(\d+)-(\d+)\](?=[^\[\]/\\]*$)")


class Gone(Exception):
    """The file is not there (any more)."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file as it was when it was looked at."""

    path: Path
    size: int
    modified_ns: int

    @property
    def tag(self) -> str:
        return f'"{self.modified_ns:x}-{self.size:x}"'

    @property
    def modified(self) -> str:
        return formatdate(self.modified_ns / 1e9, usegmt=True)


# -- which file ---------------------------------------------------------------------------------------------


def output_path(folders: Folders, job: Job, number: int, frame: int | None) -> Path:
    """Where an output of a job lies. Raises `Problem` where there is no such output, or none that we may show."""
    if not 0 <= number < len(job.outputs):
        count = len(job.outputs)
        raise Problem(404, f"{job.key} has {count} output{'s' * (count != 1)}, numbered from 0")
    output = job.outputs[number]
    text = str(output.get("path", ""))
    sequence = _SEQUENCE.search(text) if output.get("frames") is not None else None  # else a film may be called so
    if sequence is None and frame is not None:
        raise Problem(404, "frame is for image sequences; this output is one file")
    if sequence is not None:
        text = f"{text[: sequence.start()]}{_frame_name(sequence, frame)}{text[sequence.end() :]}"
    return _inside(folders, job, text)


def preview_path(folders: Folders, job: Job, kind: str, number: int) -> Path:
    """Where the thumbnail or the contact sheet of a job's output lies."""
    if not job.folder:
        raise Gone(kind)
    return _inside(folders, job, f"{naming.preview_prefix(job.name, number)}{kind}.jpg")


def _frame_name(sequence: re.Match[str], frame: int | None) -> str:
    first, last = int(sequence[1]), int(sequence[2])
    if frame is not None and not first <= frame <= last:
        raise Problem(404, f"there are frames {first} to {last}")
    return f"{first if frame is None else frame:0{len(sequence[1])}d}"


def _inside(folders: Folders, job: Job, text: str) -> Path:
    """The path an output stands for. What the record says may come from a status file that somebody has edited: beside
    its job folder only films, sounds and pictures are given out."""
    folder = folders.absolute(job.folder)
    path = folder / text
    real = Path(os.path.realpath(path))
    if job.folder and real.is_relative_to(os.path.realpath(folder)):
        return real
    if path == Path(text) and path.is_absolute() and _MEDIA.fullmatch(media_type(real)):
        return real
    raise Problem(403, f"{text} lies outside the folder of {job.key} and is no film; fetch it there")


def media_type(path: Path) -> str:
    suffix = path.suffix.lower()
    return _TYPES.get(suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def look(path: Path) -> Found:
    """Raises `Gone`."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        raise Gone(str(path)) from None
    if not stat.S_ISREG(found.st_mode):
        raise Gone(str(path))
    return Found(path=path, size=found.st_size, modified_ns=found.st_mtime_ns)


# -- which part of it ---------------------------------------------------------------------------------------


def range_of(headers: Headers, found: Found) -> range | None:
    """The one range that is asked for; None for the whole. Raises `Problem` 416 for one outside.

    Several ranges at once, other units and malformed ones are answered with the whole, as HTTP allows.
    """
    asked = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,1000})\s*-\s*(\d{0,1000})\s*", headers.get("range", ""))
    if asked is None or asked[1] == asked[2] == "":
        return None
    condition = headers.get("if-range")
    if condition is not None and condition not in (found.tag, found.modified):
        return None
    if asked[1] == "":
        start, stop = max(0, found.size - int(asked[2])), found.size
        empty = int(asked[2]) == 0
    else:
        start = int(asked[1])
        stop = min(found.size, int(asked[2]) + 1) if asked[2] else found.size
        if asked[2] and int(asked[2]) < start:
            return None
        empty = start >= found.size
    if empty or start >= stop:
        raise Problem(416, f"the file has {found.size} bytes", headers={"content-range": f"bytes */{found.size}"})
    return range(start, stop)


def is_known(headers: Headers, found: Found) -> bool:
    """Does whoever asks have this version already?"""
    tags = headers.get("if-none-match")
    if tags is not None:
        return any(tag.strip().removeprefix("W/") in (found.tag, "*") for tag in tags.split(","))
    try:
        since = parsedate_to_datetime(headers.get("if-modified-since", "")).timestamp()
    except (ValueError, OverflowError):
        return False
    return found.modified_ns // 1_000_000_000 <= since


def pieces(part: range) -> Iterator[range]:
    for start in range(part.start, part.stop, PIECE_BYTES):
        yield range(start, min(part.stop, start + PIECE_BYTES))


def read(found: Found, part: range) -> bytes:
    """Raises `Gone` if the file is not the one that was looked at."""
    try:
        with open_plain(found.path) as file:
            now = os.fstat(file.fileno())
            if (now.st_size, now.st_mtime_ns) != (found.size, found.modified_ns):
                raise Gone(str(found.path))
            file.seek(part.start)
            data = file.read(len(part))
    except OSError:
        raise Gone(str(found.path)) from None
    if len(data) != len(part):
        raise Gone(str(found.path))
    return data


# -- the answer ---------------------------------------------------------------------------------------------


class Film:
    """The answer: a file or a range of it."""

    def __init__(self, share: Aside, found: Found, request: Request, *, name: str) -> None:
        self._share = share
        self._found = found
        # A part is for GET alone (RFC 9110, 14.2); a HEAD tells of the whole.
        self._part = range_of(request.headers, found) if request.method == "GET" else None
        self._same = is_known(request.headers, found)
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._same:
            await _start(send, 304, {"etag": self._found.tag, "last-modified": self._found.modified})
            await send({"type": "http.response.body", "body": b""})
            return
        part = self._part or range(self._found.size)
        first = next(pieces(part), None)
        # The first piece is read before anything is said: a file that is gone can still be told as a problem.
        data = b"" if first is None or scope["method"] == "HEAD" else await self._share(read, self._found, first)
        await _start(send, 200 if self._part is None else 206, self._headers(part))
        if scope["method"] == "HEAD" or first is None:
            await send({"type": "http.response.body", "body": b""})
            return
        await self._send(send, data, range(first.stop, part.stop), scope["state"]["connection"])

    async def _send(self, send: Send, data: bytes, rest: range, connection: Connection) -> None:
        for piece in pieces(rest):
            if not await _patiently(send, data, connection):
                return
            try:
                data = await self._share(read, self._found, piece)
            except Gone:
                connection.cut()  # the length is promised: only a broken connection says that this is not all
                return
        await send({"type": "http.response.body", "body": data, "more_body": False})

    def _headers(self, part: range) -> dict[str, str]:
        kind = media_type(self._found.path)
        shown = _SHOWN.fullmatch(kind) is not None
        headers = {
            "content-type": kind if shown else "application/octet-stream",
            "content-length": str(len(part)),
            "content-disposition": f"{'inline' if shown else 'attachment'}; filename*=utf-8''{_quoted(self._name)}",
            "content-security-policy": "default-src 'none'; media-src 'self'; img-src 'self'; "
            "style-src 'unsafe-inline'",
            "accept-ranges": "bytes",
            "etag": self._found.tag,
            "last-modified": self._found.modified,
            "cache-control": "private, no-cache",
        }
        if self._part is not None:
            headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{self._found.size}"
        return headers


async def _patiently(send: Send, data: bytes, connection: Connection) -> bool:
    """Hand over a piece; False when nobody takes it any more."""
    timer = asyncio.get_running_loop().call_later(PAUSE_SECONDS, connection.cut)
    try:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    finally:
        timer.cancel()
    return not connection.is_gone


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    pairs = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


def _quoted(name: str) -> str:
    return quote(name.encode("utf-8", "replace"), safe="")
