"""Settings files beside jobs: whose is it, when is it applied, what if it comes late or there are two.

Part of intake, on its thread. A sidecar is `loose` while its owner is to be found: when it came or changed, and when
a job came that may own it. What rests costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from watchrender.core import letters, naming
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.states import State
from watchrender.intake.room import Desk, Room
from watchrender.judge import Sidecar
from watchrender.spool.inbox import Entry, Role, aliases

#: How long after the start a sidecar that comes late still ends the attempt and puts the job back.
LATE_SECONDS = 10.0


class Sidecars(Room):
    """The settings files of the inbox."""

    def __init__(
        self,
        desk: Desk,
        *,
        put_back: Callable[[str, str], None],
        started_at: Callable[[str], float | None],
    ) -> None:
        super().__init__(desk)
        self._put_back = put_back  # end a running attempt and queue its job again: (job id, why)
        self._started_at = started_at  # monotonic start of a job's running attempt
        self._applied: dict[str, tuple[str, Any]] = {}  # job id → name and stamp of the sidecar that counts
        self._to_reread: dict[str, None] = {}  # jobs whose sidecar may have gone

    # -- for the judging of a job ---------------------------------------------------------------------------

    def settling(self, job: Job, now: float) -> str | None:
        """The YAML beside a job that may become its sidecar and is not settled yet."""
        for entry in self._may_be_settings(job):
            if _is_empty(entry) and entry.unchanged_for(now) >= self._pace.cut_off:
                continue  # never taken, and not waited for for ever
            if entry.role is Role.NEW or not self._watch.is_settled(entry, now):
                return entry.name
        return None

    def of(self, job: Job) -> tuple[Sidecar | None, Failure | None, str | None]:
        """The one sidecar of a job, read; or why there cannot be one; and the name of the one that is meant."""
        owned = self._owned(job)
        if len(owned) > 1:
            return None, two_sidecars(entry.name for entry in owned), None
        if not owned:
            self._applied.pop(job.id, None)
            return None, None, None
        entry = owned[0]
        data = self._watch.read(entry)
        if isinstance(data, Failure):
            return None, data, entry.name
        if data is None:
            return None, None, None
        self._applied[job.id] = (entry.name, entry.stamp)
        return Sidecar(name=entry.name, data=data), None, entry.name

    def _may_be_settings(self, job: Job) -> list[Entry]:
        """The YAML files that may be this job's settings, by their names."""
        found = self._inbox.called(job.sub, *aliases(job.file, is_dir=job.form is Form.BUNDLE))
        return [
            entry
            for entry in found
            if entry.role in (Role.NEW, Role.SIDECAR)
            and not entry.is_dir
            and entry.gone_at is None
            and entry.name != job.file
        ]

    def _owned(self, job: Job) -> list[Entry]:
        """The settled sidecars that belong to this job: by exact stem, else by name."""
        return [
            entry
            for entry in self._may_be_settings(job)
            if entry.role is Role.SIDECAR and not _is_empty(entry) and self._owner_file(entry, job) == job.file
        ]

    def _owner_file(self, entry: Entry, asking: Job) -> str | None:
        jobs = {(asking.file, asking.form is Form.BUNDLE)}
        for other in self._inbox.called(entry.sub, *aliases(entry.name)):
            if other.role is Role.JOB:
                jobs.add((other.name, other.is_dir))
        return naming.sidecar_owner(entry.name, jobs)

    # -- turn by turn ---------------------------------------------------------------------------------------

    def know_again(self, job: Job) -> None:
        """At start: the settings that were applied before."""
        if job.sidecar is not None:
            self._applied[job.id] = (job.sidecar, None)
            self._to_reread[job.id] = None

    def beside_changed(self, sub: str, file: str, *, is_dir: bool) -> None:
        """The job of this file came, or changed: who the settings beside it belong to may be another."""
        for entry in self._inbox.called(sub, *aliases(file, is_dir=is_dir)):
            if entry.role is Role.SIDECAR:
                self._inbox.loose[entry] = None

    def job_changed(self, job: Job) -> None:
        """The same of a job that may have left the inbox."""
        self.beside_changed(job.sub, job.file, is_dir=job.form is Form.BUNDLE)
        if job.over or job.begun:
            self._applied.pop(job.id, None)
            self._to_reread.pop(job.id, None)

    def gone(self, entry: Entry) -> None:
        """A settings file has left the inbox, or is something else now."""
        self._inbox.loose.pop(entry, None)
        for other in self._inbox.called(entry.sub, *aliases(entry.name)):
            if other.job_id is not None:
                self._to_reread[other.job_id] = None

    def turn(self, now: float) -> list[tuple[Entry, Job, Failure]]:
        """Apply what came, changed or went. Returns the jobs that cannot stay because of it."""
        refused: list[tuple[Entry, Job, Failure]] = []
        for entry in list(self._inbox.loose):
            if not _is_empty(entry) and not self._watch.is_settled(entry, now):
                continue
            del self._inbox.loose[entry]
            owner = self._find_owner(entry)
            if owner is None:
                why = letters.EMPTY_SIDECAR if _is_empty(entry) else letters.LONELY_SIDECAR
                self._ignored[entry.place] = why
                continue
            if not self._apply(owner, entry, now, refused):
                self._ignored.setdefault(entry.place, letters.LONELY_SIDECAR)
        for job_id in list(self._to_reread):
            job = self._ledger.get(job_id)
            if job is not None and self.settling(job, now) is not None:
                continue  # not gone: not looked into yet
            del self._to_reread[job_id]
            self._reread(job_id, refused)
        return refused

    def _find_owner(self, entry: Entry) -> Job | None:
        if _is_empty(entry):
            return None
        waiting = [
            job
            for other in self._inbox.called(entry.sub, *aliases(entry.name))
            if other.job_id is not None and (job := self._ledger.get(other.job_id)) is not None and not job.over
        ]
        for job in waiting:
            if self._owner_file(entry, job) == job.file:
                return job
        name = naming.parse_name(entry.name).name
        begun = [job for job in self._ledger.begun() if job.sub == entry.sub]
        return next((job for job in begun if naming.target_matches(name, job.name, [job.file])), None)

    def _apply(self, job: Job, entry: Entry, now: float, refused: list[tuple[Entry, Job, Failure]]) -> bool:
        """Whether the sidecar is this job's now, or will be when the job is judged."""
        if job.begun or job.state is State.RENDERING:
            return self._late(job, entry, now)
        self._ignored.pop(entry.place, None)
        if job.state is State.QUEUED and self._applied.get(job.id) != (entry.name, entry.stamp):
            self._reread(job.id, refused)
        return True

    def _reread(self, job_id: str, refused: list[tuple[Entry, Job, Failure]]) -> None:
        """Read the settings of a queued job anew."""
        job, entry = self._ledger.get(job_id), self._inbox.by_job.get(job_id)
        if job is None or entry is None or job.state is not State.QUEUED or job.begun:
            return
        sidecar, failure, name = self.of(job)
        settled = failure or self._judge.settle_settings(job, sidecar)
        if isinstance(settled, Failure):
            refused.append((entry, self._ledger.note(job.id, sidecar=name), settled))
            return
        if all(getattr(job, field) == value for field, value in settled.items()):
            return  # after a restart: it says what it said
        why = f"its settings in {name} were read" if name else "its settings file is gone"
        self._supersede(self._ledger.note(job.id, why, **settled))

    def _late(self, job: Job, entry: Entry, now: float) -> bool:
        """A sidecar for a job that has begun: True if it was taken."""
        if job.state is State.RENDERING and not self._started_just_now(job, entry):
            return False
        data = self._watch.read(entry)
        if not isinstance(data, bytes):
            self._inbox.loose[entry] = None
            return True
        settled = self._judge.settle_settings(job, Sidecar(name=entry.name, data=data))
        if isinstance(settled, Failure):
            self._ignored[entry.place] = settled.message
            return False
        changes = self._judge.changes_start(job, settled)
        # Where they say what is known, they did not come late: they were read, and the job was claimed at once.
        if any(getattr(job, field) != value for field, value in settled.items()):
            job = self._ledger.note(job.id, f"the settings in {entry.name} came after the start", **settled)
        if job.begun and self._folders.bring_sidecar(job, self._folders.absolute(job.folder), newer=True):
            self._inbox.drop(entry)
        self._ignored.pop(entry.place, None)
        if changes and job.state is State.RENDERING:
            self._put_back(job.id, f"{entry.name} came just after the start and changes {changes}")
        return True

    def _started_just_now(self, job: Job, entry: Entry) -> bool:
        """Was the sidecar first seen, or saved, within ten seconds after the start? By the monotonic clock."""
        started = self._started_at(job.id)
        return started is not None and max(entry.seen_at, entry.changed_at) - started <= LATE_SECONDS


def two_sidecars(names: Iterable[str]) -> Failure:
    return fail(
        Code.SIDECAR_INVALID,
        f"two settings files for one job: {' and '.join(sorted(names))}",
        cure="Keep one of them, take the other away, and drop the job again.",
    )


def _is_empty(entry: Entry) -> bool:
    return entry.stamp is not None and entry.stamp[0] == 0
