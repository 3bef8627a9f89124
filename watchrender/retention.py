"""How long things are kept, and what goes when a disk gets full. Never a job that is not over.

    retention.history   finished jobs in the record, with the local copy of their logs
    retention.status    their status files in status/
    retention.done      job folders in done/, films included        (null: for ever)
    retention.failed    job folders in failed/ and cancelled/       (null: for ever)
    retention.logs      the service's own logs

By age the record and the status files go on the main thread, in a moment, once a minute; folders and logs in a thread
of their own, once an hour; both more often where a term is so short that this would be late. A job folder is one that
holds a final status of ours; it goes whole, by one rename to a hidden name first. Where a term is new or shorter, the
first round says in the log what would go, and the next one removes it.

By free space only what can be had again goes: fetched sources, compiled scripts, the work of failed attempts. Films and
job folders never do.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender import disk, logs
from watchrender.config import Config
from watchrender.core import clock as clocks
from watchrender.core.job import Job
from watchrender.core.states import State, is_over
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import STATUS_SUFFIX, Folders, final_status, read_status
from watchrender.spool.volume import free_bytes

TURN_SECONDS = 60.0
ROUND_SECONDS = 3600.0
#: The first round waits until the start is over.
FIRST_ROUND_SECONDS = 120.0
#: A term of a few seconds is late by a quarter of itself at most.
LATE = 4
#: Caches go while less than so many times `limits.min_free_disk` is free: below once the queue waits.
PRESSURE = 2
_REMOVING = ".removing-"
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Expired:
    """A job folder whose time is over."""

    folder: Path
    job_id: str
    ended: str
    bytes: int  # of its films


#: Is the job of this id not over?
IsLive = Callable[[str], bool]


def expired(tops: Iterable[Path], before: str, is_live: IsLive) -> Iterator[Expired]:
    """Job folders below `tops` that ended before a moment, and that nobody has touched since. Changes nothing."""
    for top in tops:
        for place, folders, names in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            if not any(name.endswith(STATUS_SUFFIX) for name in names):
                continue
            folders.clear()  # a job's own folder: what lies in it goes or stays with it
            found = _expired(Path(place), names, before, is_live)
            if found is not None and Path(place) != top:
                yield found


def _expired(folder: Path, names: list[str], before: str, is_live: IsLive) -> Expired | None:
    status = final_status(folder, names)
    if status is None or is_live(status["id"]):
        return None
    ended = str(status.get("finished_at") or status.get("updated_at") or "")
    if not ended or ended >= before or _touched_since(folder, clocks.moment(before)):
        return None
    outputs = status.get("outputs")
    sizes = [output.get("bytes") for output in outputs if isinstance(output, dict)] if isinstance(outputs, list) else []
    return Expired(
        folder=folder, job_id=status["id"], ended=ended, bytes=sum(size for size in sizes if isinstance(size, int))
    )


def _touched_since(folder: Path, moment: datetime) -> bool:
    """Has somebody put or changed something in it since? Then it is somebody's, and stays."""
    try:
        times = [folder.stat().st_mtime, *(entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder))]
    except OSError:
        return True
    return max(times) >= moment.timestamp()


def in_words(found: Collection[Expired]) -> str:
    size = sum(one.bytes for one in found)
    names = ", ".join(one.folder.name for one in list(found)[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{len(found)} job folder{'s' if len(found) != 1 else ''} ({size / 2**30:.1f} GiB of films): {names}{more}"


class Retention:
    """Keeps the terms of one service."""

    def __init__(
        self,
        *,
        config: Config,
        folders: Folders,
        ledger: Ledger,
        state_dir: Path,
        work_dir: Path,
        is_closed: Callable[[Job], bool],
        gone: Callable[[str], None],
        is_online: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terms = config.retention
        self._rotation = config.log.rotation
        self._need = config.limits.min_free_disk
        self._folders = folders
        self._ledger = ledger
        self._logs = state_dir / "logs"
        self._caches = (work_dir / "cache", work_dir / "failed", state_dir / "node-cache")
        self._work_dir = work_dir
        self._is_closed = is_closed
        self._gone = gone  # remove the status file of this key
        self._is_online = is_online
        self._clock = clock
        terms = self._terms
        of_rounds = [term for term in (terms.status, terms.done, terms.failed, terms.logs) if term is not None]
        #: Seconds between two turns.
        self.turn_seconds = min(TURN_SECONDS, _in_time(terms.history, *of_rounds))
        self._round_seconds = min(ROUND_SECONDS, _in_time(*of_rounds))
        self._due = clock() + min(FIRST_ROUND_SECONDS, self._round_seconds)
        self._shown_before = self._before(self._terms.status)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def turn(self) -> None:
        """What is quick, now; a round in a thread when it is due, or a disk is nearly full.
        Call it every `turn_seconds`."""
        self._expire_records()
        if self._thread is not None and self._thread.is_alive():
            return
        if self._clock() >= self._due or self._is_tight():
            self._thread = threading.Thread(target=self._survive, name="retention", daemon=True)
            self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _before(self, seconds: float) -> str:
        return clocks.stamp(self._ledger.now() - timedelta(seconds=seconds))

    # -- the record, and status files -----------------------------------------------------------------------

    def _expire_records(self) -> None:
        shown, kept = self._before(self._terms.status), self._before(self._terms.history)
        forgotten: list[str] = []
        for job in self._ledger.ended(since=self._shown_before, until=shown):
            if self._shown_before < (job.finished_at or job.updated_at) <= shown:
                self._hide(job.key, job.id)
        for job in self._ledger.ended(until=kept):
            if (job.finished_at or job.updated_at) <= kept and self._is_closed(job):
                forgotten.append(job.id)
        self._shown_before = max(shown, self._shown_before)
        for job_id in forgotten:
            disk.remove(self._log(job_id))
        if forgotten:
            self._ledger.forget(forgotten)

    def _hide(self, key: str, job_id: str) -> None:
        """Remove a status file, unless it tells of another job of that name by now."""
        newest = self._ledger.newest_over(key)
        if not self._ledger.has_live(key) and (newest is None or newest.id == job_id):
            self._gone(key)

    def _log(self, job_id: str) -> Path:
        return self._logs / "jobs" / f"{job_id}.log"

    # -- a round --------------------------------------------------------------------------------------------

    def _survive(self) -> None:
        try:
            self.round()
        except OSError as error:
            logger.warning("keeping house was cut short: {} ({})", str(error.strerror or error), str(error.filename))
        except Exception:
            logger.exception("a fault in watchrender itself; the next round tries again")

    def round(self) -> None:
        """All that takes time. Ends early when the service stops."""
        is_due = self._clock() >= self._due
        if is_due:
            self._due = self._clock() + self._round_seconds
            self._old_logs()
            if self._is_online():
                self._old_statuses()
                self._old_folders()
        if self._is_tight():
            self._make_room()

    def _old_statuses(self) -> None:
        """Status files of jobs that were over before this service began, or that no record tells of."""
        shown = self._before(self._terms.status)
        for place, folders, names in os.walk(self._folders.status):
            folders[:] = [name for name in folders if not name.startswith(".")]
            sub = Path(place).relative_to(self._folders.status).as_posix()
            for name in names:
                if name.endswith(STATUS_SUFFIX) and not self._stopping.is_set():
                    stem = name.removesuffix(STATUS_SUFFIX)
                    self._old_status(stem if sub == "." else f"{sub}/{stem}", f"{place}{os.sep}{name}", shown)

    def _old_status(self, key: str, path: str, shown: str) -> None:
        if self._ledger.has_live(key):
            return
        ended = self._ledger.ended_at(key)
        if ended is None:
            status = read_status(Path(path))
            if status is None or status["state"] not in {str(state) for state in State if is_over(state)}:
                return
            ended = str(status.get("finished_at") or status.get("updated_at") or "")
        if ended and ended <= shown:
            self._gone(key)

    def _old_folders(self) -> None:
        places = self._folders
        terms: list[tuple[str, float | None, tuple[Path, ...]]] = [
            ("done", self._terms.done, (places.done,)),
            ("failed", self._terms.failed, (places.failed, places.cancelled)),
        ]
        for name, seconds, tops in terms:
            self._sweep(tops)
            if seconds is None:
                self._applied(name, None)
                continue
            found = list(expired(tops, self._before(seconds), self._is_live))
            if self._stopping.is_set():
                return
            if found and not self._is_applied(name, seconds):
                words = in_words(found)
                logger.warning("retention.{}: the next round removes {}", name, words)
            else:
                self._remove(name, found)
            self._applied(name, seconds)

    def _is_live(self, job_id: str) -> bool:
        job = self._ledger.get(job_id)
        return job is not None and not (job.over and self._is_closed(job))

    def _is_applied(self, name: str, seconds: float) -> bool:
        """Was this term, or a shorter one, in force in an earlier round?"""
        known = self._ledger.facts().get("retention", {}).get(name)
        return known is not None and known <= seconds

    def _applied(self, name: str, seconds: float | None) -> None:
        known: dict[str, Any] = dict(self._ledger.facts().get("retention", {}))
        if known.get(name) != seconds:
            self._ledger.know(retention={**known, name: seconds})

    def _remove(self, name: str, found: list[Expired]) -> None:
        removed = []
        for one in found:
            if self._stopping.is_set():
                break
            if self._is_live(one.job_id):
                continue
            hidden = one.folder.with_name(f"{_REMOVING}{one.job_id}")
            try:
                disk.rename(one.folder, hidden)
                disk.remove_tree(hidden)
                removed.append(one)
            except OSError as error:
                logger.warning("{} cannot be removed yet: {}", str(one.folder), str(error.strerror or error))
        if removed:
            logger.info("retention.{}: removed {}", name, in_words(removed))

    def _sweep(self, tops: Iterable[Path]) -> None:
        """What an earlier round had begun to remove."""
        for top in tops:
            for place, folders, _ in os.walk(top):
                for name in [name for name in folders if name.startswith(_REMOVING)]:
                    disk.remove_tree(Path(place) / name)
                folders[:] = [name for name in folders if not name.startswith(".")]

    def _old_logs(self) -> None:
        now = time.time()
        logs.empty_when_grown(self._logs.parent / logs.LAUNCHD, self._rotation)
        for path in logs.service_logs(self._logs, older_than=self._terms.logs, now=now):
            disk.remove(path)
        for entry in os.scandir(self._logs / "jobs") if (self._logs / "jobs").is_dir() else ():
            job_id = entry.name.removesuffix(".log")
            is_old = now - entry.stat(follow_symlinks=False).st_mtime > self._terms.logs
            if entry.is_file(follow_symlinks=False) and is_old and self._ledger.get(job_id) is None:
                disk.remove(Path(entry.path))

    # -- free space -----------------------------------------------------------------------------------------

    def _is_tight(self) -> bool:
        free = free_bytes(self._work_dir)
        return (
            free is not None and free < PRESSURE * self._need and any(_has_something(place) for place in self._caches)
        )

    def _make_room(self) -> None:
        """Remove what can be had again, what was not used for longest first, until there is room."""
        before = free_bytes(self._work_dir) or 0
        for path in _oldest_first(self._caches):
            free = free_bytes(self._work_dir)
            if self._stopping.is_set() or free is None or free >= PRESSURE * self._need:
                break
            try:
                disk.remove_tree(path) if path.is_dir() and not path.is_symlink() else disk.remove(path)
            except OSError:
                continue  # in use
        made = (free_bytes(self._work_dir) or 0) - before
        if made > 0:
            logger.warning("the disk of {} is nearly full: {} MiB of caches removed", str(self._work_dir), made >> 20)


def _in_time(*terms: float) -> float:
    """Look so often that the shortest of these terms is kept."""
    return max(1.0, min(terms) / LATE)


def _has_something(place: Path) -> bool:
    try:
        with os.scandir(place) as entries:
            return any(entries)
    except OSError:
        return False


def _oldest_first(places: Iterable[Path]) -> list[Path]:
    found = []
    for place in places:
        for entry in os.scandir(place) if place.is_dir() else ():
            try:
                found.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
            except OSError:
                continue
    return [Path(path) for _, path in sorted(found)]
