"""What the service says about itself: on the terminal, in its log files, and in the log of the job concerned.

loguru stands behind this file. Everybody else says `logger.info("{} starts", job.key)` or binds values; a text from
outside is never itself a format, because a brace in a path would be one.

Log files are never renamed: their names carry the date and a number, so that a viewer which holds one open (Windows)
costs no line. A disk that takes no more stops no render: the lines are counted, and the number is told afterwards.
"""

from __future__ import annotations

import json as json_format
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

#: In state_dir: what launchd writes of the service's two outputs. It never begins a new file.
LAUNCHD = "launchd.log"
_LONGEST = 8000  # characters of one message; nexrender can print a whole job in one line
_TRACE = 5  # loguru's; the standard library has no such level
_SHORTEST_SECRET = 4  # masking shorter ones would eat ordinary words
_NAME = re.compile(r"watchrender_\d{4}-\d\d-\d\d(?:\.\d+)?\.log")

_secrets: list[str] = []
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"(authorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:bearer|basic)\s+)[^\s'\",]+", r"\1***"),
        (r"(nexrender-secret['\"]?\s{0,3}[:=]\s{0,3}['\"]?)[^\s'\",]+", r"\1***"),
        (r"([?&](?:token|access_token|api_?key|secret|sig|signature|x-amz-[a-z-]{1,30})=)[^&\s'\"]+", r"\1***"),
        (r"\b([a-z][a-z0-9+.-]{0,20}://[^\s/@:]{0,100}:)[^\s/@]+@", r"\1***@"),
        (r"\bwhsec_[\w+/=-]+", "whsec_***"),
    )
)
#: What these say below a warning is of their own insides: a line for each look into a folder, each part of a request.
_TALKATIVE = ("watchdog", "httpcore2")
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {9: " ", 10: "\\n", 13: "\\r"}
_COLOURS = {"TRACE": "2", "DEBUG": "2", "SUCCESS": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def setup(
    *,
    level: str = "INFO",
    json: bool = False,
    folder: Path | None = None,
    rotation: int = 10 * 1024 * 1024,
    terminal: TextIO | None = None,
    jobs: JobLogs | None = None,
) -> None:
    """Say things from now on as asked, in place of what was set up before.

    `terminal` is stderr for a command; `folder` gets the service's log files; `jobs` the lines of each job.
    The lines of other packages (uvicorn, watchdog) come here too.
    """
    logger.remove()
    line = _json_line if json else _plain_line
    if terminal is not None:
        say = line if json else _terminal_line(_is_colourful(terminal))
        logger.add(_Terminal(terminal, say), level=level, format="{message}", diagnose=False)
    if folder is not None:
        logger.add(_Files(folder, rotation, line), level=level, format="{message}", diagnose=False)
    if jobs is not None:
        logger.add(jobs.take, level=level, format="{message}", diagnose=False)
    logging.basicConfig(handlers=[_FromStdlib()], level=_TRACE if level == "TRACE" else level, force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "TRACE" else logging.WARNING)


def close() -> None:
    """Write what is left and let the files go."""
    logger.remove()


def log_uncaught() -> None:
    """A thread that dies, or the main one, says so in the log: a service has no terminal that somebody reads."""

    def in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
            name = found.thread.name if found.thread else "?"
            logger.opt(exception=found.exc_value).error("the thread {} ended by a fault in watchrender itself", name)

    def in_main(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, value, trace)
        else:
            logger.opt(exception=value).critical("watchrender ended by a fault of its own")

    threading.excepthook = in_thread
    sys.excepthook = in_main


def mask(*secrets: str | None) -> None:
    """From now on these are shown as *** wherever they would be written, whole or as part of an address."""
    for secret in secrets:
        for text in {secret or "", quote(secret or "", safe="")}:
            if len(text) >= _SHORTEST_SECRET and text not in _secrets:
                _secrets.append(text)
    _secrets.sort(key=len, reverse=True)


def masked(text: str) -> str:
    """A text without the secrets in it: those registered, and what looks like one."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def service_logs(folder: Path, *, older_than: float, now: float) -> list[Path]:
    """Log files of the service that nothing was written to for so many seconds, oldest first."""
    found = []
    for entry in os.scandir(folder) if folder.is_dir() else ():
        if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            written = entry.stat().st_mtime
            if now - written > older_than:
                found.append((written, Path(entry.path)))
    return [path for _, path in sorted(found)]


def empty_when_grown(path: Path, most: int) -> None:
    """Begin a log anew that another program holds open: it appends, so it goes on at the beginning."""
    try:
        if path.stat().st_size > most:
            os.truncate(path, 0)
    except OSError:
        pass  # not there, or not ours


class JobLogs:
    """One log for each job that is not over, in a local folder; it is delivered with the job.

    A file is open only while a line is written: the log may be copied, moved or removed at any time. A line about a
    job whose log was never begun, or is delivered already, goes to the service's log alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, job: str) -> Path:
        """Where the log of that job is. Job ids are our own, and yet no name leads out of the folder."""
        return self.folder / (re.sub(r"[^\w-]", "_", job) + ".log")

    def begin(self, job: str) -> Path:
        """Make the log, if it is not there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path(job).touch()
        return self.path(job)

    def append(self, job: str, text: str) -> None:
        """Add one line as it is, secrets masked. Where the disk refuses, the line is lost and nothing else."""
        try:
            with open(self.path(job), "a", encoding="utf-8", errors="backslashreplace", opener=_if_there) as file:
                file.write(masked(text.rstrip("\r\n")) + "\n")
        except OSError:
            pass

    def end(self, job: str) -> None:
        """Remove the log, when it is delivered."""
        self.path(job).unlink(missing_ok=True)

    def take(self, message: Message) -> None:
        """What `setup` hands every line to: those with a job bound go to that job's log."""
        job = message.record["extra"].get("job")
        if isinstance(job, str):
            self.append(job, _plain_line(message.record, with_job=False))


class _Terminal:
    """Lines for whoever watches. A closed terminal is no fault."""

    def __init__(self, stream: TextIO, line: Callable[[Record], str]) -> None:
        self._stream, self._line = stream, line

    def write(self, message: Message) -> None:
        text = self._line(message.record) + "\n"
        try:
            self._stream.write(_as_it_can(text, self._stream.encoding))
            self._stream.flush()
        except (OSError, ValueError):
            pass


class _Files:
    """The service's log: one file a day, and a further one each time it has grown to `rotation`."""

    def __init__(
        self,
        folder: Path,
        rotation: int,
        line: Callable[[Record], str],
        today: Callable[[], date] = lambda: datetime.now().astimezone().date(),
    ) -> None:
        self._folder, self._rotation, self._line, self._today = folder, rotation, line, today
        self._file: TextIO | None = None
        self._day = date.min
        self._size = 0
        self._lost = 0

    def write(self, message: Message) -> None:
        self.put(self._line(message.record))

    def put(self, line: str) -> None:
        try:
            if self._lost:
                self._put(f"({self._lost} lines are missing here: they could not be written)")
                self._lost = 0
            self._put(line)
        except OSError:
            self._lost += 1
            self.stop()

    def stop(self) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError:
            pass  # what the buffer held is lost with the disk that refuses it

    def _put(self, line: str) -> None:
        text = line + "\n"
        size = len(text.encode("utf-8", "backslashreplace"))
        file = self._open(size)
        file.write(text)
        file.flush()
        self._size += size

    def _open(self, more: int) -> TextIO:
        today = self._today()
        if self._file is not None and self._day == today and self._size + more <= self._rotation:
            return self._file
        self.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._day = today
        path = self._path(more)
        file = self._file = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 (kept open)
        self._size = path.stat().st_size
        return file

    def _path(self, more: int) -> Path:
        """The newest file of the day that has room, or the next."""
        stem = f"watchrender_{self._day.isoformat()}"
        number = 1
        while self._named(stem, number + 1).exists():
            number += 1
        newest = self._named(stem, number)
        has_room = not newest.exists() or not (size := newest.stat().st_size) or size + more <= self._rotation
        return newest if has_room else self._named(stem, number + 1)

    def _named(self, stem: str, number: int) -> Path:
        return self._folder / (f"{stem}.log" if number == 1 else f"{stem}.{number}.log")


class _FromStdlib(logging.Handler):
    """Hands on what other packages log."""

    def emit(self, record: logging.LogRecord) -> None:
        def as_theirs(found: Record) -> None:
            found["name"], found["function"], found["line"] = record.name, record.funcName, record.lineno

        known = record.levelname in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        level: str | int = record.levelname if known else record.levelno
        logger.patch(as_theirs).opt(exception=record.exc_info).log(level, "{}", record.getMessage())


def _plain_line(record: Record, *, with_job: bool = True) -> str:
    at = record["time"].astimezone().isoformat(timespec="milliseconds")
    return f"{at} {record['level'].name:<7} {_body(record, with_job=with_job)}"


def _terminal_line(colourful: bool) -> Callable[[Record], str]:
    def line(record: Record) -> str:
        level = f"{record['level'].name:<7}"
        if colourful and (colour := _COLOURS.get(record["level"].name)):
            level = f"\x1b[{colour}m{level}\x1b[0m"
        return f"{record['time']:%H:%M:%S} {level} {_body(record, with_job=False)}"

    return line


def _json_line(record: Record) -> str:
    extra = {name: masked(value) if isinstance(value, str) else value for name, value in record["extra"].items()}
    found: dict[str, Any] = {
        "at": record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record["level"].name,
        "message": masked(_cut(record["message"])),
        **extra,
        "where": f"{record['name']}:{record['line']}",
    }
    if trace := _trace(record):
        found["exception"] = masked(trace)
    return json_format.dumps(found, ensure_ascii=False, default=lambda value: masked(str(value)))


def _body(record: Record, *, with_job: bool) -> str:
    """Message and bound values in one line, whatever is in them; a trace follows, indented."""
    values = [
        f"{name}={value}"
        for name, value in record["extra"].items()
        if value is not None and (with_job or name != "job")
    ]
    text = masked("  ".join([_cut(record["message"]), *values])).translate(_VISIBLE)
    trace = masked(_trace(record))
    return text + "".join(f"\n    {line.translate(_VISIBLE)}" for line in trace.splitlines())


def _trace(record: Record) -> str:
    error = record["exception"]
    return "".join(traceback.format_exception(error.type, error.value, error.traceback)) if error and error.type else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _if_there(path: str, flags: int) -> int:
    """Open for appending, and never make a file that is not there."""
    return os.open(path, flags & ~os.O_CREAT)


def _is_colourful(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _as_it_can(text: str, encoding: str | None) -> str:
    """The same with what the terminal has no sign for written as \\u…: older Windows consoles have few."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding, "replace")
