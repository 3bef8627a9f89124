"""Look into a film: how long, how many frames, does the last one decode; and pictures of it for people.

The looking is done by `probe_child` in a process of its own, with limits on time and memory, because a damaged film may
crash a decoder or make it turn for ever. What it answers is checked like anything from outside. Without PyAV (the extra
`media`) nothing is known, and that is no fault of the film.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import queue
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import psutil

from watchrender import disk
from watchrender.render import probe_child

MEMORY = 4 << 30  # bytes; a frame of 8K in 16 bits takes 265 MB, and a decoder holds several
ANSWER_LIMIT = 16 << 20
SHEET = 12  # pictures of a contact sheet
_CHILD = Path(__file__).with_name("probe_child.py")
_TICK = 0.05
_DONE = b'"done"'  # the child's word that a request is answered
_MOST_REQUESTS = 500  # then a new child: decoders leak


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What is in a film or image. None: it does not have that, or it could not be told."""

    duration: float | None = None  # seconds
    fps: float | None = None
    frames: int | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    last_frame_decodes: bool | None = None
    detail: str = ""  # why not, in words


def is_available() -> bool:
    """Is PyAV installed, so that films can be looked into?"""
    return find_spec("av") is not None


def probe(
    path: Path, timeout: float = 60.0, *, memory: int = MEMORY, should_stop: Callable[[], bool] | None = None
) -> Probed | None:
    """Look into a film, or one image of a sequence. None where that cannot be told: no PyAV, or a format not known.

    A look that takes longer than `timeout` seconds, needs more than `memory` bytes or crashes says nothing for or
    against the film: `last_frame_decodes` is then None and `detail` tells why.
    """
    if not is_available() or not _is_file(path):
        return None
    request = {"do": "probe", "path": os.path.abspath(path)}
    answers, ended = _ask(request, timeout, memory, should_stop)
    if not answers:
        return Probed(detail=ended)
    return None if "unknown" in answers[0] else _probed(answers[0])


def previews(
    source: Path | Sequence[Path],
    folder: Path,
    timeout: float = 60.0,
    *,
    prefix: str = "",
) -> list[Path]:
    """Write `thumbnail.jpg` and `contact.jpg` of a film, or of the frames of a sequence, into `folder`, with `prefix`
    before their names. A file that is there under such a name stays: it may be somebody's output.

    What cannot be made in `timeout` seconds is left out; no PyAV or Pillow, or no picture in it: an empty list.
    """
    paths = [source] if isinstance(source, Path) else _evenly(source)
    if not (is_available() and find_spec("PIL")) or not paths or not all(_is_file(path) for path in paths):
        return []
    request = {"do": "previews", "paths": [os.path.abspath(path) for path in paths], "labels": _labels(paths)}
    answers, _ = _ask(request, timeout, MEMORY, None)
    return [written for answer in answers for written in _written(answer, folder, prefix)]


def may_have_pictures(path: Path) -> bool:
    """By its name: is it a film or an image?"""
    suffix = path.suffix.lower()
    return suffix in probe_child.IMAGES or suffix in probe_child.FILMS - probe_child.SOUNDS


def _evenly(paths: Sequence[Path]) -> list[Path]:
    """As many of the frames as a contact sheet shows, twice over: the thumbnail may be one between."""
    count = min(len(paths), 2 * SHEET)
    return [paths[int((number + 0.5) * len(paths) / count)] for number in range(count)]


def _labels(paths: Sequence[Path]) -> list[str]:
    return [path.stem[len(path.stem.rstrip("0123456789")) :] or path.stem[-20:] for path in paths]


def _written(answer: dict[str, Any], folder: Path, prefix: str) -> Iterator[Path]:
    if answer.get("name") not in ("thumbnail.jpg", "contact.jpg") or not isinstance(answer.get("data"), str):
        return
    try:
        picture = base64.b64decode(answer["data"], validate=True)
    except binascii.Error:
        return
    path = folder / f"{prefix}{answer['name']}"
    if picture.startswith(b"\xff\xd8") and not os.path.lexists(path):
        disk.write(path, picture, durable=False)
        yield path


def _is_file(path: Path) -> bool:
    """A regular file, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


# --- the child --------------------------------------------------------------------------------------------------------


def _ask(
    request: dict[str, Any], timeout: float, memory: int, should_stop: Callable[[], bool] | None
) -> tuple[list[dict[str, Any]], str]:
    """Put the request to the child; its answers, and why it ended where that was not by itself.

    One child serves many films, because loading PyAV costs more than looking into one; a child that crashed, hung or
    took too much is replaced.
    """
    with _lock:
        child = _Child.ready()
        answers, ended = child.ask(request | {"seconds": timeout, "memory": memory}, timeout, memory, should_stop)
        return answers, ended


_lock = threading.Lock()


class _Child:
    """The process that looks, waiting for requests. It ends by itself when nobody holds its input any more."""

    _idle: ClassVar[_Child | None] = None

    def __init__(self) -> None:
        self._program = _CHILD
        self._process = _start()
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._asked = 0
        threading.Thread(target=self._listen, name="probe", daemon=True).start()

    @classmethod
    def ready(cls) -> _Child:
        """A child that lives: the one that waits, or a new one."""
        child, cls._idle = cls._idle, None
        if child is not None and child._is_fit():
            return child
        if child is not None:
            child.end()
        return cls()

    def _is_fit(self) -> bool:
        return self._process.poll() is None and self._asked < _MOST_REQUESTS and self._program == _CHILD

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):
            while line := self._process.stdout.readline(ANSWER_LIMIT):
                self._said.put(line)
        self._said.put(None)

    def ask(
        self, request: dict[str, Any], timeout: float, memory: int, should_stop: Callable[[], bool] | None
    ) -> tuple[list[dict[str, Any]], str]:
        """One request; the child is kept for the next where all went well."""
        self._asked += 1
        lines: list[bytes] = []
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            ended = self._hear(lines, timeout, memory, should_stop)
        except OSError:
            ended = _end_of(self._process.wait())
        if ended is None:
            _Child._idle = self
        else:
            self.end()
        return list(_answers(b"".join(lines))), ended or "the look into it brought nothing"

    def _hear(
        self, lines: list[bytes], timeout: float, memory: int, should_stop: Callable[[], bool] | None
    ) -> str | None:
        """Collect its lines. None when it says it is done; words where it has ended or has to be ended."""
        deadline = time.monotonic() + timeout + 1  # it ends itself first where it can
        while time.monotonic() < deadline:
            try:
                line = self._said.get(timeout=_TICK)
            except queue.Empty:
                if should_stop and should_stop():
                    return "the look into it was stopped"
                if _memory_of(self._process.pid) > memory:
                    return "the look into it needed too much memory"
                continue
            if line is None:
                return _end_of(self._process.wait())
            if line.strip() == _DONE:
                return None
            lines.append(line)
        return f"the look into it took longer than {timeout:g} s"

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()


def _start() -> subprocess.Popen[bytes]:
    # By its path and with -P: the folder it lies in must not come before the standard library.
    command = [sys.executable, "-P", "-X", "utf8", str(_CHILD)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WATCHRENDER_")}
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, **options
    )


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _end_of(code: int) -> str:
    if code == 3:
        return "the look into it took too long"
    return f"the look into it crashed (status {code})" if code else "the look into it brought nothing"


def _answers(data: bytes) -> Iterator[dict[str, Any]]:
    """The answers that came whole."""
    for line in data.split(b"\n")[:10]:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _probed(answer: dict[str, Any]) -> Probed:
    """The answer, each fact only where it is of the right kind and size."""
    decodes, codec = answer.get("last_frame_decodes"), answer.get("codec")
    return Probed(
        duration=_number(answer.get("duration"), 1e8),
        fps=_number(answer.get("fps"), 1e5),
        frames=_whole(answer.get("frames"), 1 << 40),
        width=_whole(answer.get("width"), 1 << 20),
        height=_whole(answer.get("height"), 1 << 20),
        codec=codec[:40] if isinstance(codec, str) else None,
        last_frame_decodes=decodes if isinstance(decodes, bool) else None,
        detail=str(answer.get("detail", ""))[:300],
    )


def _number(value: object, limit: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 < value <= limit else None


def _whole(value: object, limit: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= limit else None
