"""What past renders say about the queue: learns from each finished film, tells each job when it starts and ends.

A render is remembered under the content of its project (a saved project is another one), composition and node. The
record keeps the last few thousand.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchrender import disk
from watchrender.core import clock as clocks
from watchrender.core import estimate
from watchrender.core.estimate import Past, Prediction, Span, Start, Turn
from watchrender.core.job import DELIVERING, Job
from watchrender.core.states import State
from watchrender.ledger.ledger import RENDERS, Ledger

NO_HISTORY = "no history yet"
KEPT = 5000
FRESH_SECONDS = 1.0
#: How long what is known of a project's content counts: a queue of hundreds must not ask a share for each.
LOOK_SECONDS = 30.0
SAMPLE_BYTES = 1024 * 1024
_Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """A project as it was when it was last looked at."""

    at: float  # monotonic
    stamp: tuple[int, int]
    digest: str


class Forecast:
    """Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        node: str,
        *,
        stopped: Callable[[], str | None] = lambda: None,
        lanes: Callable[[], int] = lambda: 1,
        waits: Callable[[str], bool] = lambda _job: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stopped` says in words why nothing starts now; nobody can tell then when it will. `lanes` is how many render
        at once, and `waits` whether a job that is rendering by its state still waits for a worker of a farm."""
        self._ledger = ledger
        self._node = node
        self._stopped = stopped
        self._lanes = lanes
        self._waits = waits
        self._clock = clock
        self._lock = threading.Lock()
        self._pasts: dict[_Key, deque[Past]] = defaultdict(lambda: deque(maxlen=estimate.MEMORY))
        self._digests: dict[str, _Looked] = {}
        self._numbers: deque[int] = deque()
        self._changes = 0
        self._cached: tuple[float, int, dict[str, dict[str, Any]]] = (-1.0, -1, {})
        self._predictions: dict[tuple[_Key, int | None], Prediction | None] = {}  # as the pasts are now
        self._started: dict[str, float] = {}  # of jobs that render, and some that did
        self._handed: dict[str, dict[str, Any]] = {}  # the eta of jobs that wait for a worker
        self._whole: dict[_Key, int] = {}  # the frames of a whole composition, where one was rendered
        for number, record in sorted(ledger.db.documents(RENDERS).items()):
            self._numbers.append(number)
            key = (record["project"], record["composition"], record["node"])
            self._remember(key, record["seconds"], record.get("frames"), record.get("whole") is True)

    # -- learning -------------------------------------------------------------------------------------------

    def learn(self, job: Job, seconds: float, frames: int | None) -> None:
        """A film was finished: its render took so long."""
        key = self._key(job)
        if key is None or seconds <= 0:
            return
        with self._lock:
            self._remember(key, seconds, frames, job.frames is None)
            number = (self._numbers[-1] if self._numbers else 0) + 1
            self._numbers.append(number)
            project, composition, node = key
            self._ledger.db.put(
                RENDERS,
                number,
                {
                    "project": project,
                    "composition": composition,
                    "node": node,
                    "seconds": round(seconds, 3),
                    "frames": frames,
                    "whole": job.frames is None,
                    "at": self._ledger.stamp(),
                },
            )
            while len(self._numbers) > KEPT:
                self._ledger.db.delete(RENDERS, self._numbers.popleft())

    def compositions(self, job: Job) -> list[str]:
        """What was rendered from this job's project before, as its content is now."""
        key = self._key(job)
        if key is None:
            return []
        with self._lock:
            return list(dict.fromkeys(composition for project, composition, _ in self._pasts if project == key[0]))

    def _remember(self, key: _Key, seconds: float, frames: int | None, whole: bool) -> None:
        self._predictions.clear()
        self._pasts[key].append(Past(seconds=seconds, frames=frames))
        if whole and frames is not None:
            self._whole[key] = frames

    def _key(self, job: Job) -> _Key | None:
        if job.composition is None or job.template is None:
            return None
        return self._digest(job), job.composition, self._node

    def _digest(self, job: Job) -> str:
        """The content of the job's project; where it cannot be read here, its name."""
        path, now = job.template_path, self._clock()
        if path is None:
            return f"name:{job.template}"
        known = self._digests.get(path)
        if known is not None and now - known.at < LOOK_SECONDS:
            return known.digest
        try:
            found = Path(path).stat()
            stamp = (found.st_size, found.st_mtime_ns)
            digest = known.digest if known is not None and known.stamp == stamp else _content(path, found.st_size)
        except (OSError, ValueError):
            return f"name:{job.template}"
        if len(self._digests) > KEPT:
            self._digests.clear()
        self._digests[path] = _Looked(at=now, stamp=stamp, digest=digest)
        return digest

    # -- telling --------------------------------------------------------------------------------------------

    def predict(self, job: Job) -> Prediction | None:
        key = self._key(job)
        if key is None:
            return None
        with self._lock:
            frames = job.frames if job.frames is not None else self._whole.get(key)
            if (key, frames) not in self._predictions:
                if len(self._predictions) > KEPT:
                    self._predictions.clear()
                pasts = list(self._pasts[key]) if key in self._pasts else []
                self._predictions[key, frames] = estimate.predict(pasts, frames)
            return self._predictions[key, frames]

    def running(self, job: Job) -> dict[str, Any]:
        """The eta of a job that renders, from its past and its own pace."""
        if self._is_handed(job):
            self.queue()
            return self._handed.get(job.id, _unknown(NO_HISTORY))
        left = self._left(job, self._clock())
        span = estimate.schedule([left], [])[0]
        return self._told(job, span, left) | {"starts_at": None}  # it has: `started_at`

    def start(self, job_id: str) -> None:
        """An attempt of this job starts now."""
        if len(self._started) > KEPT:
            self._started.clear()
        self._started[job_id] = self._clock()

    def _is_handed(self, job: Job) -> bool:
        """Does it wait for a worker? Then its render has not begun yet."""
        if not self._waits(job.id):
            return False
        self._started[job.id] = self._clock()
        return True

    def _left(self, job: Job, now: float) -> Prediction | None:
        started = self._started.setdefault(job.id, now)
        percent = job.progress.percent if job.progress is not None else None
        return estimate.remaining(self.predict(job), now - started, None if percent is None else percent / 100)

    def changed(self) -> None:
        """The queue is another one, or what stops it: what was told a moment ago is not told again."""
        self._changes += 1

    def queue(self, limit: int = 500) -> dict[str, dict[str, Any]]:
        """The eta of each of the first queued jobs, by id; at most a second old, and never of another queue."""
        now, changes = self._clock(), self._changes
        if now - self._cached[0] < FRESH_SECONDS and self._cached[1] == changes:
            return self._cached[2]
        jobs = self._ledger.queue(limit)
        rendering = [job for job in self._ledger.begun() if job.state is State.RENDERING]
        handed = [job for job in rendering if self._is_handed(job)]
        waits = {job.id for job in handed}
        left = [self._left(job, now) for job in rendering if job.id not in waits and not _is_rendered(job)]
        moment, stopped = self._ledger.stamp(), self._stopped()
        # What is handed over goes on, whatever stops the queue.
        waiting = handed + [job for job in jobs if not job.hold and stopped is None]
        turns = [Turn(prediction=self.predict(job), ready_in=_ready_in(job, moment)) for job in waiting]
        spans = estimate.schedule(left, turns, self._lanes())[len(left) :]
        told = {job.id: _unknown("held" if job.hold else stopped or "") for job in jobs}
        for job, span, turn in zip(waiting, spans, turns, strict=True):
            told[job.id] = self._told(job, span, turn.prediction)
        self._handed = {job.id: told.pop(job.id) for job in handed}
        self._cached = (now, changes, told)
        return told

    def _told(self, job: Job, span: Start | None, prediction: Prediction | None) -> dict[str, Any]:
        now = self._ledger.stamp()
        if not isinstance(span, Span) or prediction is None:
            before = "" if prediction is None else " for a job before it"
            starts = None if span is None else clocks.later(now, span.starts)
            return _unknown(f"{NO_HISTORY}{before}") | {"starts_at": starts}
        count = prediction.renders
        what = f"{job.template}/{job.composition}"
        basis = (
            f"{count} render{'s' if count != 1 else ''} of {what}" if count else f"the pace of this render of {what}"
        )
        return {
            "starts_at": clocks.later(now, span.starts),
            "done_at": clocks.later(now, span.ends),
            "low": clocks.later(now, span.low),
            "high": clocks.later(now, span.high),
            "basis": basis,
        }


def _unknown(basis: str) -> dict[str, Any]:
    return {"starts_at": None, "done_at": None, "low": None, "high": None, "basis": basis}


def _content(path: str, size: int) -> str:
    """What tells one project from another: all of it, or of a large one its size, beginning, middle and end."""
    digest = hashlib.sha256(str(size).encode())
    with disk.open_regular(path) as file:
        for place in (0,) if size <= 4 * SAMPLE_BYTES else (0, size // 2, size - SAMPLE_BYTES):
            file.seek(place)
            digest.update(file.read(4 * SAMPLE_BYTES if size <= 4 * SAMPLE_BYTES else SAMPLE_BYTES))
    return digest.hexdigest()[:24]


def _is_rendered(job: Job) -> bool:
    return job.progress is not None and job.progress.stage == DELIVERING


def _ready_in(job: Job, moment: str) -> float:
    """In how many seconds a job may start at the earliest."""
    return 0.0 if job.not_before is None else max(0.0, clocks.seconds_between(moment, job.not_before))
