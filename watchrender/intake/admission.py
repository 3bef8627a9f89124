"""One job on its way into the queue: complete, read, judged, and what the verdict means.

Into the queue, into failed/, or waiting for footage. Looking, reading and judging happen at once; what follows from
them is a `Step` for the record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loguru import logger

from watchrender.core import clock as clocks
from watchrender.core import settle
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.settle import Completeness, Verdict
from watchrender.core.states import Event, State
from watchrender.intake.room import Desk, Room
from watchrender.intake.sidecars import Sidecars
from watchrender.intake.watch import Step, cannot_open
from watchrender.judge import Judged
from watchrender.spool import bundle
from watchrender.spool.inbox import Entry
from watchrender.spool.watcher import read

#: How often footage that a job waits for is looked for; more seldom where many wait.
FOOTAGE_SECONDS = 1.0
FOOTAGE_A_SECOND = 100
#: A file taken at first sight is read once more: within its time's granularity (FAT: 2 s) a save does not show.
READ_AGAIN_SECONDS = 3.0
_CHECKED = (Event.CHECK, "complete")


class Admission(Room):
    """Jobs not yet queued, and those saved again."""

    def __init__(self, desk: Desk, *, sidecars: Sidecars, meet_namesakes: Callable[[str, str, float], None]) -> None:
        super().__init__(desk)
        self._sidecars = sidecars
        self._meet_namesakes = meet_namesakes  # record what waits in the crowd under this name
        self._rejected: list[tuple[Job, Failure]] = []
        self.waits: dict[str, float] = {}  # job id → since when it waits for footage, monotonic

    def settle(self, entry: Entry, now: float) -> Step | None:
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun or job.state is State.RENDERING:
            self._watch.rest(entry)
            return None
        if job.state is State.QUEUED:
            return self._read_once_more(entry, job, now)
        if self._judge.replaces and self._inbox.crowd.has_older(job.arrival):
            self._watch.again(entry, now + 0.1)  # what it may take the place of is judged first
            return None
        if job.state is State.VALIDATING:
            return self._judge_now(entry, job, now)
        settling = self._sidecars.settling(job, now)
        if settling is not None:
            self._watch.again(entry, now + min(self._pace.settle, 0.5))
            return self._waits_for(job, f"{settling}, its settings, is still being written")
        if job.form is Form.FILE:
            return self._settle_file(entry, job, now)
        if job.form is Form.BUNDLE:
            return self._settle_bundle(entry, job, now)
        return self._settle_zip(entry, job, now)

    def _read_once_more(self, entry: Entry, job: Job, now: float) -> Step | None:
        """A file taken at first sight may have been saved again within the same tick of its time."""
        if job.form is not Form.FILE or entry.read_at is None:
            self._watch.rest(entry)
            return None
        at = entry.read_at + READ_AGAIN_SECONDS
        if now < at:
            entry.due = at
            self._watch.soon(at)
            return None
        entry.read_at = None
        self._watch.rest(entry)
        data = self._watch.read(entry)
        if not isinstance(data, bytes) or job.digest is None or self._judge.digest(data) == job.digest:
            return None

        def save_again() -> None:
            current = self._ledger.get(job.id)
            if current is not None and current.state is State.QUEUED and not current.begun:
                self.save_again(entry, current)
                self._watch.again(entry, now)

        return save_again

    def _settle_bundle(self, entry: Entry, job: Job, now: float) -> Step | None:
        if entry.stamp is not None and entry.stamp[0] == 0 and entry.stamp[1]:  # its job file is there, and empty
            entry.read_at = None
            return self._empty(entry, job, now)
        if entry.read_at is None and self._watch.sighting(entry, now) is None:
            return None
        entry.read_at = None
        return self._judge_now(entry, job, now)

    def _settle_zip(self, entry: Entry, job: Job, now: float) -> Step | None:
        if entry.stamp is not None and entry.stamp[0] == 0:
            return self._empty(entry, job, now)
        if not self._watch.is_settled(entry, now) or self._looks_other_when_opened(entry, now):
            return None
        if bundle.zip_complete(self._watch.path(entry)) is Completeness.CUT_OFF:
            left = self._pace.cut_off - entry.unchanged_for(now)
            if left > 0:
                self._watch.again(entry, now + left + 0.01)
                return None
        return self._judge_now(entry, job, now)

    def _looks_other_when_opened(self, entry: Entry, now: float) -> bool:
        """A share may answer looks from memory; the opened file tells."""
        found = read(self._watch.path(entry), 0)
        if found is not None and not entry.saw(found[1], now):
            return False
        self._watch.again(entry, now + self._pace.settle)
        return True

    def _settle_file(self, entry: Entry, job: Job, now: float) -> Step | None:
        """A job file: JSON that parses is complete, all else waits."""
        size = entry.stamp[0] if entry.stamp is not None else 0
        if size == 0:
            return self._empty(entry, job, now)
        if size > self._judge.max_job_size:
            if not self._watch.is_settled(entry, now):
                return None
            return self.refuse(entry, self._judge.too_large(job.file, size))
        data = self._watch.read(entry)
        if data is None:
            self._watch.again(entry, now + 0.2)
            return None
        if isinstance(data, Failure):
            return self.unreadable(entry, data, now) or self._waits_for(job, data.message)
        ready = settle.ready(
            self._judge.completeness(data, job.file),
            unchanged_for=entry.unchanged_for(now),
            settle=self._pace.settle,
            cut_off=self._pace.cut_off,
        )
        if ready.verdict is Verdict.WAIT:
            self._watch.again(entry, now + max(ready.wait_seconds + 0.01, 0.05))
            return None
        entry.read_at = now
        return self._judge_now(entry, job, now, data)

    def _empty(self, entry: Entry, job: Job, now: float) -> Step | None:
        self._watch.again(entry, now + self._pace.scan)
        what = "the file" if job.form is not Form.BUNDLE else "its job file"
        return self._waits_for(job, f"{what} is empty: it is still being written, or has nothing in it")

    def _waits_for(self, job: Job, what: str) -> Step | None:
        if job.waiting_for == (what,):
            return None
        return lambda: self._note(job, waiting_for=(what,))

    def _note(self, job: Job, **changes: Any) -> None:
        current = self._ledger.get(job.id)
        if current is not None and current.state is job.state:
            self._ledger.note(job.id, **changes)

    def _judge_now(self, entry: Entry, job: Job, now: float, data: bytes | None = None) -> Step | None:
        """Read and judge: into the queue, into failed/, or waiting for footage."""
        if job.form is Form.FILE and data is None:
            found = self._watch.read(entry)
            if not isinstance(found, bytes):
                self._watch.again(entry, now + 0.2)
                return None
            data = found
        sidecar, failure, name = self._sidecars.of(job)
        judged = failure or self._judge.judge(job, self._watch.path(entry), data, sidecar)
        if isinstance(judged, Judged) and (named := judged.settings.supersedes):
            self._meet_who_is_superseded(job, named.strip("/"), now)
        stamp = entry.stamp
        self._watch.rest(entry)

        def decide() -> None:
            current = self._ledger.get(job.id)
            if current is None or current.begun or current.state is not job.state:
                return  # cancelled, or taken by a repair, since it was read
            if isinstance(judged, Judged) and judged.may_run:
                self._accept(entry, current, judged, now, stamp)
                return
            if current.state is State.PENDING:
                current = self._ledger.apply(job.id, *_CHECKED, waiting_for=(), stamp=stamp)
            self._decide(entry, current, judged, name, now)

        return decide

    def _meet_who_is_superseded(self, job: Job, key: str, now: float) -> None:
        """A job that these settings name may not be recorded yet."""
        sub, _, name = key.rpartition("/")
        for place in dict.fromkeys((sub, f"{job.sub}/{sub}".strip("/"))):
            self._meet_namesakes(place, f"{name}.json", now)

    def _decide(self, entry: Entry, job: Job, judged: Judged | Failure, sidecar: str | None, now: float) -> None:
        if isinstance(judged, Failure):
            self.reject(entry, self._ledger.note(job.id, sidecar=sidecar), judged)
        elif judged.failure is not None:
            self.reject(entry, self._ledger.note(job.id, **judged.fields), judged.failure)
        else:
            self._wait_for_footage(entry, job, judged, now)

    def _accept(self, entry: Entry, job: Job, judged: Judged, now: float, stamp: tuple[int, int, int] | None) -> None:
        self.waits.pop(job.id, None)
        is_first = job.state is State.PENDING
        queued = self._ledger.apply(
            job.id,
            Event.ACCEPT,
            judged.why,
            after=_CHECKED if is_first else None,
            queued_at=job.queued_at or self._ledger.stamp(),
            stamp=stamp if is_first else job.stamp,
            waiting_for=(),
            waiting_since=None,
            **judged.fields,
        )
        logger.bind(job=job.id).info("{} queued, priority {} ({})", queued.key, queued.priority, queued.priority_from)
        if entry.read_at is not None and job.form is Form.FILE:
            self._watch.again(entry, now + READ_AGAIN_SECONDS)
        self._supersede(queued)
        self._gate.wake.set()

    def _wait_for_footage(self, entry: Entry, job: Job, judged: Judged, now: float) -> None:
        since = job.waiting_since or self._ledger.stamp()
        started = self.waits.get(job.id)
        if started is None:
            # What it waited before a restart counts, as far as the wall clock can be believed.
            waited = max(0.0, clocks.seconds_between(since, self._ledger.stamp()))
            started = self.waits[job.id] = now - min(waited, self._pace.assets_deadline)
        if now - started >= self._pace.assets_deadline and judged.missing is not None:
            self.waits.pop(job.id, None)
            self.reject(entry, self._ledger.note(job.id, **judged.fields), judged.missing)
            return
        if job.waiting_for != judged.waiting_for or job.waiting_since is None:
            self._ledger.note(job.id, waiting_for=judged.waiting_for, waiting_since=since, **judged.fields)
        self._watch.again(entry, now + max(FOOTAGE_SECONDS, len(self.waits) / FOOTAGE_A_SECOND))

    def settings_gone(self, entry: Entry) -> None:
        """What lies there is no settings file any more."""
        self._sidecars.gone(entry)

    def save_again(self, entry: Entry, job: Job) -> None:
        self.waits.pop(job.id, None)
        self._watch.trees.pop(entry, None)
        self._ledger.apply(job.id, Event.CHANGE, "its file was saved again", waiting_for=(), waiting_since=None)

    def troubled(self, entry: Entry, now: float, error: OSError) -> Step | None:
        """The disk refuses this one file: patience first, then it is refused, or named."""
        if entry.unchanged_for(now) < self._pace.cut_off:
            self._watch.again(entry, now + 0.5)
            return None
        return self.refuse(entry, cannot_open(entry.name, error))

    def unreadable(self, entry: Entry, failure: Failure, now: float) -> Step | None:
        if entry.unchanged_for(now) < self._pace.cut_off:
            self._watch.again(entry, now + 0.5)
            return None
        return self.refuse(entry, failure)

    def own_fault(self, entry: Entry, fault: Exception) -> Step | None:
        words = f"watchrender stumbled over {entry.name}: {type(fault).__name__}"
        cure = "Please report this with the file and the service's log; other jobs are not touched by it."
        return self.refuse(entry, fail(Code.JOB_INVALID, words, cure=cure))

    def refuse(self, entry: Entry, failure: Failure) -> Step | None:
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun:
            self._watch.ignore(entry, failure.message)
            return None
        return lambda: self.reject(entry, job, failure)

    def reject(self, entry: Entry, job: Job, failure: Failure) -> None:
        """It does not pass: its end is recorded once its files lie in failed/ (the closer moves them)."""
        current = self._ledger.get(job.id)
        if current is None or current.over or current.begun:
            return
        if current.state is State.PENDING:
            current = self._ledger.apply(
                job.id, Event.CHECK, "judged as it is", waiting_for=(), stamp=entry.stamp, sidecar=job.sidecar
            )
        self._watch.rest(entry)
        self.waits.pop(job.id, None)
        logger.bind(job=job.id).info("{} refused: {}", current.key, failure.message)
        self._rejected.append((current, failure))

    def close_rejected(self) -> None:
        """Moves come last: whoever waits for the record must not wait for a slow share."""
        rejected, self._rejected = self._rejected, []
        for job, failure in rejected:
            self._watch.alive()
            self._closer.reject(job, failure)
