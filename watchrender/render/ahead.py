"""The sources of the next jobs, brought near while another job renders: http(s) into the cache of `fetch.py`, and files
on a slow volume beside them. Nothing depends on it: what is not there, or not the same any more, is fetched or read
where it lies when its job is taken.

A volume is slow when the first piece read from it says so. A local copy is taken for the file only while size, time and
inode of the file are those that were copied; a fetched one only when its server says that it is still the same.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from watchrender import disk
from watchrender.core.failure import Failure
from watchrender.render.fetch import FetchCache, Fetcher, Kept

#: A volume that reads so fast is not copied from: there is nothing to gain.
FAST = 150 * 2**20
_PIECE = 2**20
_PROBE = 4 * _PIECE
_REMEMBERED_SECONDS = 600.0
_SMALL = 2**20  # smaller files are not worth a second look
_SPARE = 2 * 2**30  # of the disk, which the cache leaves free


@dataclass(kw_only=True)
class _Trip:
    """One source on its way."""

    key: str
    over: threading.Event
    share: float = 0.0  # of a local file that is copied already
    is_local: bool = False
    dropped: bool = False  # whoever takes the job reads the source where it lies


class Ahead:
    """Brings sources near. One thread calls `bring`, others ask. Thread-safe."""

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        cache: FetchCache,
        folder: Path,
        fast: float = FAST,
        small: int = _SMALL,
        spare: int = _SPARE,
        device: Callable[[Path], int] = lambda path: path.stat().st_dev,
    ) -> None:
        """`folder`: on the disk of the cache, for what is on its way."""
        self._fetcher, self._cache, self._folder = fetcher, cache, folder
        self._fast, self._small, self._spare = fast, small, spare
        self._device = device
        self._lock = threading.Lock()
        self._trip: _Trip | None = None
        self._wanted: list[frozenset[str]] = []  # of the jobs that are being taken now
        self._fast_until: dict[int, float] = {}
        self._unkept: set[str] = set()  # addresses whose server gives no mark: fetching them early is in vain

    # -- for the next job -----------------------------------------------------------------------------------

    def bring(
        self,
        *,
        files: Collection[Path],
        links: Collection[str],
        stop: Callable[[], bool],
        later: Callable[[], bool] = lambda: False,
    ) -> None:
        """Bring these sources near, one after the other. What fails is left to whoever takes the job. `later`: had
        copies from a slow volume better wait, because somebody reads from there?"""
        if files or links:
            disk.mkdirs(self._folder)
        for url in links:
            if not stop() and url not in self._unkept:
                self._travel(url, lambda trip: self._fetch(trip, stop))
        for file in files:
            if not stop():
                self._travel(_key(file), partial(self._copy, file, stop, later))

    def _travel(self, key: str, go: Callable[[_Trip], None]) -> None:
        trip = _Trip(key=key, over=threading.Event())
        with self._lock:
            self._trip = trip
        try:
            go(trip)
        except OSError:
            pass  # a full disk, a share that went: the job will say so when it is taken
        finally:
            with self._lock:
                self._trip = None
            trip.over.set()

    def _is_over(self, trip: _Trip, stop: Callable[[], bool]) -> bool:
        """Asked between two pieces. While somebody takes a job that does not wait for this one the line is his: what
        is on its way stands still, and goes on afterwards."""
        while not (trip.dropped or stop()):
            with self._lock:
                if all(trip.key in keys for keys in self._wanted):
                    return False
            time.sleep(0.02)
        return True

    def _room(self, size: int) -> bool:
        return shutil.disk_usage(self._folder).free - size > self._spare

    def _fetch(self, trip: _Trip, stop: Callable[[], bool]) -> None:
        with self._own_folder() as folder:
            if not self._room(0):
                return
            found = self._fetcher.fetch(
                trip.key, folder, stem="a", path="assets", stop=lambda: self._is_over(trip, stop)
            )
            if not isinstance(found, Failure) and self._cache.find(trip.key) is None:
                self._unkept.add(trip.key)

    def _copy(self, file: Path, stop: Callable[[], bool], later: Callable[[], bool], trip: _Trip) -> None:
        trip.is_local = True
        while self._is_slow(file) and later():  # before it is opened: who holds a file may be in somebody's way
            if self._is_over(trip, stop):
                return
            time.sleep(0.05)
        with disk.open_regular(file, buffering=0) as reading:
            found = os.fstat(reading.fileno())
            mark = _mark(found)
            if found.st_size < self._small or not self._is_slow(file) or not self._room(found.st_size):
                return
            kept = self._cache.find(_key(file))
            if kept is not None and kept.etag == mark:
                return
            with self._own_folder() as folder:
                part = folder / "part"
                with disk.effect("fetch", part), open(part, "xb") as writing:
                    if not self._pour(reading.read, writing.write, found, trip, stop):
                        return
                if _mark(os.stat(file)) == mark and part.stat().st_size == found.st_size:
                    ending = file.suffix.lower()
                    size = found.st_size
                    self._cache.keep(
                        Kept(url=_key(file), final_url=_key(file), etag=mark, modified=None, bytes=size, ending=ending),
                        part,
                    )

    def _pour(
        self,
        read: Callable[[int], bytes],
        write: Callable[[bytes], object],
        found: os.stat_result,
        trip: _Trip,
        stop: Callable[[], bool],
    ) -> bool:
        began, size, probed = time.monotonic(), 0, False
        while piece := read(_PIECE):
            write(piece)
            size += len(piece)
            trip.share = size / max(found.st_size, 1)
            if not probed and size >= min(_PROBE, found.st_size):
                probed = True
                if size / max(time.monotonic() - began, 1e-6) >= self._fast:
                    self._fast_until[found.st_dev] = time.monotonic() + _REMEMBERED_SECONDS
                    return False
            if self._is_over(trip, stop):
                return False
        return True

    def _is_slow(self, file: Path) -> bool:
        """On another volume than ours, and not known to be fast."""
        device = self._device(file)
        return device != self._device(self._folder) and self._fast_until.get(device, 0.0) < time.monotonic()

    @contextmanager
    def _own_folder(self) -> Iterator[Path]:
        folder = self._folder / f"ahead-{secrets.token_hex(4)}"
        disk.mkdirs(folder)
        try:
            yield folder
        finally:
            disk.remove_tree(folder)

    # -- for the job that is taken --------------------------------------------------------------------------

    @contextmanager
    def taking(self, *, files: Collection[Path], links: Collection[str], stop: Callable[[], bool]) -> Iterator[None]:
        """While a job is taken: what is on its way for another job stands still; what is on its way for this one is
        waited for, a file only when most of it is here."""
        keys = frozenset([*links, *map(_key, files)])
        with self._lock:
            self._wanted.append(keys)
            trip = self._trip
        try:
            if trip is not None and trip.key in keys:
                trip.dropped = trip.is_local and trip.share < 0.5
                while not trip.over.wait(0.05) and not stop():
                    pass
            yield
        finally:
            with self._lock:
                self._wanted.remove(keys)

    def near(self, file: Path, folder: Path, stem: str) -> Path | None:
        """The copy of a file under a name of ours in `folder`, if there is one and the file is still the same."""
        kept = self._cache.find(_key(file))
        if kept is None:
            return None
        with suppress(OSError):
            if _mark(os.stat(file)) == kept.etag:
                disk.mkdirs(folder)
                target = folder / f"{stem}{kept.ending}"
                return target if self._cache.take(kept, target) else None
        return None


def _key(file: Path) -> str:
    return f"file:{file}"


def _mark(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def copyable(holder: Mapping[str, object], footage_types: Collection[str]) -> bool:
    """May After Effects be given a copy of this source? Not of a numbered sequence: its neighbours belong to it."""
    return holder.get("type") in footage_types and not holder.get("sequence")
