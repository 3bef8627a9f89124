"""What the service tells of itself: `status/service.json`, `status/queue.json`, what /readyz says, a job's log."""

from __future__ import annotations

import os
import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from watchrender import __version__
from watchrender.core import clock as clocks
from watchrender.core import status
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.states import State
from watchrender.forecast import Forecast
from watchrender.gate import Gate
from watchrender.intake import Intake, Pace
from watchrender.judge import Judge
from watchrender.ledger.ledger import Ledger, utc_now
from watchrender.prepare import Places
from watchrender.spool import jobfile
from watchrender.spool.folders import Folders
from watchrender.spool.plain import read_plain
from watchrender.spool.volume import Volume, free_bytes

QUEUE_LIMIT = 500
RECENT_LIMIT = 20
#: A folder of frames that somebody dropped here by mistake must not make every look at the service a long one.
IGNORED_TOLD = 1000


class Reports:
    """The documents about the service and its queue, made anew each time they are asked for."""

    def __init__(
        self, *, root: Path, node: str, volume: Volume, pace: Pace, ledger: Ledger, gate: Gate, forecast: Forecast,
        work_dir: Path, engine: str,
    ) -> None:  # fmt: skip
        self.instance = uuid.uuid4().hex
        self.host = socket.gethostname()
        self.state = "starting"
        self.intake: Intake | None = None
        self.hears = False  # do events of the inbox reach us?
        self.address: Callable[[], list[Any] | None] = lambda: None  # of the page and the API
        self.disk: Callable[[], Mapping[str, Any]] = dict  # what was found out about the disk of root
        self.status_refused: Callable[[], Any] = lambda: None
        self._root, self._node, self._volume, self._pace = root, node, volume, pace
        self._ledger, self._gate, self._forecast, self._work_dir = ledger, gate, forecast, work_dir
        self._engine = engine
        self._started = time.monotonic()
        self._started_at = clocks.stamp(utc_now())
        self._beat = 0

    def service_document(self) -> dict[str, Any]:
        """`status/service.json`, and what GET /api/v1/status says."""
        self._beat += 1
        ignored = list(self.intake.ignored.items()) if self.intake is not None else []
        return {
            "schema": "watchrender.service/1",
            "instance": self.instance,
            "host": self.host,
            "pid": os.getpid(),
            "address": self.address(),
            "beat": self._beat,
            "at": clocks.stamp(utc_now()),
            "started_at": self._started_at,
            "version": __version__,
            "node": self._node,
            "platform": platform.platform(terse=True),
            "uptime": round(time.monotonic() - self._started, 1),
            "state": self.state if self.state != "running" else self._gate.mood(),
            "paused": self._gate.paused,
            "draining": self._gate.draining,
            "waiting": [failure.to_dict() for failure in self._gate.waiting()],
            "waiting_since": self._gate.waiting_since(),
            "why": self._gate.why(),
            "counts": self.counts(),
            "rendering": [job.key for job in self._in_work()],
            "health": self.health(),
            "ignored": [{"path": path, "why": why} for path, why in sorted(ignored)[:IGNORED_TOLD]],
            "ignored_total": len(ignored),
        }

    def _in_work(self) -> list[Job]:
        """The jobs that render, the first to start first: several on a farm."""
        found = [job for job in self._ledger.begun() if job.state is State.RENDERING]
        return sorted(found, key=lambda job: (job.started_at or "", job.arrival))

    def health(self) -> dict[str, Any]:
        intake = self.intake
        scanned = intake.scanned_at if intake is not None else None
        # In a long queue the oldest is where nobody looks: at its end. (A rebuilt record is numbered by its folders.)
        known = [*self._ledger.queue(QUEUE_LIMIT), *filter(None, [self._ledger.eldest()])]
        oldest = min((job.created_at for job in known), default=None)
        return {
            "root": str(self._root),
            "engine": self._engine,
            "volume": self._volume.kind,
            "share": self._volume.is_share,
            "events": self.hears and not (intake is not None and intake.events_missed),
            **self.disk(),
            "scan_interval": self._pace.scan,
            "settle": self._pace.settle,
            "scan_age": None if scanned is None else round(time.monotonic() - scanned, 1),
            "scan_seconds": None if intake is None else round(intake.scan_seconds, 4),
            "free_bytes": {"root": free_bytes(self._root), "work": free_bytes(self._work_dir)},
            "oldest_queued_at": oldest,
            "status_refused": self.status_refused(),
            "ledger": {"documents": self._ledger.db.stats.documents, "warnings": list(self._ledger.db.warnings)},
        }

    def queue_document(self) -> dict[str, Any]:
        """`status/queue.json`: what renders, the first five hundred of the queue, the last that are over, totals."""
        recent: list[Job] = []
        for job in self._ledger.over():
            recent.append(job)
            if len(recent) >= RECENT_LIMIT:
                break
        etas = self._forecast.queue()
        return {
            "schema": "watchrender.queue/1",
            "at": clocks.stamp(utc_now()),
            "instance": self.instance,
            "paused": self._gate.paused,
            "waiting": [failure.to_dict() for failure in self._gate.waiting()],
            "counts": self.counts(),
            "total": self._ledger.counts[State.QUEUED],
            "rendering": [_short(job, None) for job in self._in_work()],
            "queue": [
                _short(job, place, etas.get(job.id)) for place, job in enumerate(self._ledger.queue(QUEUE_LIMIT), 1)
            ],
            "recent": [_short(job, None) for job in recent],
        }

    def not_ready(self) -> list[Failure]:
        """What keeps the service from rendering now: /readyz."""
        found = self._gate.waiting()
        if self.state != "running" or self._gate.stopping or self._gate.draining:
            mood = self.state if self.state != "running" else "draining"
            found = [*found, fail(Code.SERVICE_NOT_RUNNING, f"the service is {mood}")]
        return found

    def counts(self) -> dict[str, int]:
        return {str(state): number for state, number in self._ledger.counts.items()}


def log_of(places: Places, job: Job, *, growing: bool = False) -> bytes:
    """A job's own log: its history, and what its renders have said. `growing`: for somebody who may read on behind it,
    so that nothing may come in between later."""
    try:
        data = places.log(job.id).read_bytes()
    except OSError:
        data = b""
    told = "".join(
        f"{line['at']}  {line['to']}: {line['why']}\n" for line in _head(job.history, growing and bool(data))
    )
    return told.encode("utf-8", "replace") + (b"\n" + data if data else b"")


def _head(history: Sequence[Mapping[str, Any]], only_head: bool) -> Iterator[Mapping[str, Any]]:
    """The history, or of it what came before the renders' own words: those tell the rest."""
    for line in history:
        yield line
        if only_head and line["to"] == State.RENDERING:
            return


def document_of(folders: Folders, judge: Judge, job: Job) -> dict[str, Any] | None:
    """The job's own document, as it lies in its folder now."""
    if not job.folder:
        return None
    source = folders.source(job)
    try:
        data = read_plain(source, judge.max_job_size + 1) if job.form is Form.FILE else None
    except OSError:
        return None
    read = judge.read(job, source, data)
    if not isinstance(read, Failure):
        return read.text.document
    # What is wrong with a job is seen best in the job.
    return None if data is None or len(data) > judge.max_job_size else jobfile.as_written(data, job.file)


def _short(job: Job, position: int | None, eta: dict[str, Any] | None = None) -> dict[str, Any]:
    full = status.document(job, position=position, eta=eta)
    keys = (
        "id", "job", "name", "sub", "state", "folder", "priority", "priority_from", "position", "hold", "attempt",
        "max_attempts", "not_before", "waiting_for", "progress", "eta", "created_at", "queued_at", "started_at",
        "finished_at", "template", "composition", "tags", "outputs", "error",
    )  # fmt: skip
    return {key: full[key] for key in keys}
