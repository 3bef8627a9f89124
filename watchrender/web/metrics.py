"""/metrics for Prometheus: what is known at the moment it is asked, and what was counted since the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from watchrender import __version__
from watchrender.core import clock
from watchrender.core.failure import CATALOGUE, Code, Kind
from watchrender.core.states import State
from watchrender.ledger.ledger import Change

if TYPE_CHECKING:
    from watchrender.web.site import Site

CONTENT_TYPE = CONTENT_TYPE_LATEST
_RENDER_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 12 * 3600, 24 * 3600)
_WAIT_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600)


class Counted:
    """What happens, counted. `heard` is a listener of the ledger."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.finished = Counter(
            "watchrender_jobs_finished",
            "Jobs that came to their end since the start, by state and error code.",
            ("state", "code"),
            registry=self.registry,
        )
        self.failures = Counter(
            "watchrender_failures",
            "Tries that failed, and jobs that were refused, since the start, by error code.",
            ("code",),
            registry=self.registry,
        )
        self.attempts = Counter(
            "watchrender_attempts",
            "Tries that ended since the start, by result: completed or failed.",
            ("result",),
            registry=self.registry,
        )
        self.render_seconds = Histogram(
            "watchrender_render_seconds",
            "From the start of a try to its end, by result.",
            ("result",),
            buckets=_RENDER_SECONDS,
            registry=self.registry,
        )
        self.wait_seconds = Histogram(
            "watchrender_wait_seconds",
            "From the queue to the start of the first render.",
            buckets=_WAIT_SECONDS,
            registry=self.registry,
        )
        for result in ("completed", "failed"):  # a rate needs the zero, for the first of its kind too
            self.attempts.labels(result)
        for state in ("completed", "cancelled"):
            self.finished.labels(state, "")
        for code in (code for code, entry in CATALOGUE.items() if entry.kind is not Kind.ENVIRONMENT):
            self.finished.labels("failed", str(code))
            self.failures.labels(str(code))

    def heard(self, change: Change) -> None:
        job, before = change.job, change.before
        if change.progress or before is None:
            return
        tries = job.attempts[len(before.attempts) :]
        for attempt in tries:
            self._tried(attempt)
        if job.launches == 1 and before.launches == 0 and job.queued_at and job.started_at:
            self.wait_seconds.observe(max(0.0, clock.seconds_between(job.queued_at, job.started_at)))
        if job.over and not before.over:
            self.finished.labels(str(job.state), _code(job.error)).inc()
            if job.state is State.FAILED and not tries:
                self.failures.labels(_code(job.error)).inc()

    def _tried(self, attempt: Mapping[str, Any]) -> None:
        error = attempt.get("error")
        result = "failed" if error else "completed"
        self.attempts.labels(result).inc()
        if error:
            self.failures.labels(_code(error)).inc()
        if attempt.get("started_at") and attempt.get("finished_at"):
            took = clock.seconds_between(str(attempt["started_at"]), str(attempt["finished_at"]))
            self.render_seconds.labels(result).observe(max(0.0, took))


def _code(error: Mapping[str, Any] | None) -> str:
    code = str((error or {}).get("code") or "")
    return code if code in Code.__members__ else ""  # a label may have few values


def exposition(site: Site, document: Mapping[str, Any]) -> bytes:
    """The text that Prometheus reads: `document` is the service's."""
    registry = CollectorRegistry()
    registry.register(_Now(site, document))
    return generate_latest(registry) + generate_latest(site.counted.registry)


class _Now(Collector):
    """What is so at this moment."""

    def __init__(self, site: Site, document: Mapping[str, Any]) -> None:
        self._site = site
        self._document = document

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "watchrender", "This watchrender.", {"version": __version__, "node": str(self._document.get("node", ""))}
        )
        yield from self._jobs()
        yield from self._queue()
        yield from self._service()
        yield from self._streams()

    def _jobs(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("watchrender_jobs", "Jobs in the record, by state.", labels=["state"])
        for state in State:
            jobs.add_metric([str(state)], self._site.ledger.counts[state])
        yield jobs

    def _queue(self) -> Iterator[Metric]:
        ledger = self._site.ledger
        yield _gauge("watchrender_queue_depth", "Jobs that are queued.", ledger.counts[State.QUEUED])
        oldest = (self._document.get("health") or {}).get("oldest_queued_at")
        age = clock.seconds_between(oldest, ledger.stamp()) if oldest else 0.0
        yield _gauge("watchrender_oldest_queued_seconds", "Age of the oldest job in the queue.", max(0.0, age))
        speeds = [job.progress.fps for job in ledger.begun() if job.state is State.RENDERING and job.progress]
        fps = sum(speed for speed in speeds if speed is not None)
        yield _gauge("watchrender_frames_per_second", "Frames that are rendered now; 0 when nothing renders.", fps)

    def _service(self) -> Iterator[Metric]:
        gate, document = self._site.gate, self._document
        health = document.get("health") or {}
        yield _gauge("watchrender_uptime_seconds", "Since the start.", document.get("uptime"))
        yield _gauge("watchrender_paused", "1 while the queue is paused.", gate.paused)
        waiting = GaugeMetricFamily("watchrender_waiting", "1 for each thing the queue waits for.", labels=["code"])
        for failure in gate.waiting():
            waiting.add_metric([str(failure.code)], 1)
        yield waiting
        yield _gauge(
            "watchrender_scan_seconds", "How long the last look at the inbox took.", health.get("scan_seconds")
        )
        yield _gauge("watchrender_scan_age_seconds", "Since the last look at the inbox.", health.get("scan_age"))
        free = GaugeMetricFamily("watchrender_disk_free_bytes", "Free space, by place.", labels=["place"])
        places = health.get("free_bytes")
        for place, number in places.items() if isinstance(places, Mapping) else ():
            if number is not None:
                free.add_metric([str(place)], number)
        yield free

    def _streams(self) -> Iterator[Metric]:
        hub = self._site.hub
        yield _gauge("watchrender_stream_readers", "Who follows the stream now.", hub.readers)
        yield CounterMetricFamily("watchrender_stream_messages", "Messages since the start.", hub.told)
        yield CounterMetricFamily(
            "watchrender_stream_dropped", "Readers that were closed because they did not read.", hub.dropped_readers
        )


def _gauge(name: str, words: str, value: Any) -> GaugeMetricFamily:
    """A gauge of one value; without a sample where it is not known."""
    family = GaugeMetricFamily(name, words)
    if isinstance(value, int | float):
        family.add_metric([], float(value))
    return family
