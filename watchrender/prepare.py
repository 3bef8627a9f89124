"""Everything an attempt needs before it may start: the environment looked at, the job judged again, its sources
brought, our own copy of the job written, private folders made.

Each attempt has its own id, output folder and workpath, so that a renderer orphaned by a crash can spoil nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from watchrender import disk
from watchrender.config.model import Config
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.judge import Judge, Judged, Sidecar, merged_settings
from watchrender.render import document, nexrender
from watchrender.render.aftereffects import find_aerender, patch_failure
from watchrender.render.document import Built
from watchrender.render.engine import Attempt, Limits, Outcome
from watchrender.render.footage import Footage
from watchrender.render.nexrender import Nexrender
from watchrender.render.transcript import Transcript
from watchrender.spool import bundle
from watchrender.spool.folders import Folders
from watchrender.spool.plain import NotPlain, read_plain
from watchrender.spool.volume import free_bytes


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An attempt that may start."""

    uid: str
    attempt: Attempt
    judged: Judged
    built: Built
    output_folder: Path  # private; in the job's folder, or in the work folder where root is a share
    work: Path  # private: nexrender's workpath, our copy of the job, what was fetched

    def transcript(self) -> Transcript:
        """A reader for its lines that knows what the job says of its frames."""
        frames = self.built.frames
        return Transcript(
            frames=len(frames) if frames is not None else None,
            first_frame=frames.start if frames is not None else None,
            step=frames.step if frames is not None else 1,
            uid=self.uid,
        )


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Footage that is not there, or not still, now: the job waits for it, so long and no longer."""

    words: tuple[str, ...]
    failure: Failure  # what is said when it has not come
    deadline_seconds: float


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """An attempt that has ended, one way or another."""

    prepared: Prepared
    outcome: Outcome
    transcript: Transcript
    started_at: str
    finished_at: str


@dataclass(kw_only=True)
class Places:
    """The folders of this service on local disks."""

    state_dir: Path
    work_dir: Path
    logs: Path
    render_to_work: bool  # films grow in work_dir: root is a share

    @property
    def attempts(self) -> Path:
        return self.work_dir / "attempts"

    def log(self, job_id: str) -> Path:
        return self.logs / "jobs" / f"{job_id}.log"


@dataclass(kw_only=True)
class Preparer:
    """Prepares attempts for nexrender-cli."""

    config: Config
    folders: Folders
    judge: Judge
    footage: Footage
    places: Places
    marker: str  # of every process of this root, before the attempt's own id
    estimate: Callable[[str, Transcript], Mapping[str, Any] | None] = lambda _job, _transcript: None
    _nexrender: Nexrender | None = field(default=None, init=False)
    _stop: Callable[[], bool] = field(default=lambda: False, init=False)

    #: What `look` can tell is gone; the rest of the environment only a render can prove.
    LOOKED_FOR: ClassVar[frozenset[Code]] = frozenset(
        {
            Code.NEXRENDER_NOT_FOUND,
            Code.AERENDER_NOT_FOUND,
            Code.AERENDER_NOT_PATCHED,
            Code.DISK_FULL,
        }
    )

    # -- the environment ------------------------------------------------------------------------------------

    def look(self, job: Job | None = None) -> dict[Code, Failure]:
        """What is wrong with this machine now; nothing: an attempt may start. Costs a few looks at files."""
        found: list[Failure] = []
        engine = nexrender.find(_command(self.config.nexrender.command))
        self._nexrender = None if isinstance(engine, Failure) else engine
        if isinstance(engine, Failure):
            found.append(engine)
        aerender = self.aerender(job)
        if isinstance(aerender, Failure):
            found.append(aerender)
        elif (unpatched := patch_failure(aerender, self._nexrender)) is not None:
            found.append(unpatched)
        found += self._disks()
        return {failure.code: failure for failure in found}

    def aerender(self, job: Job | None) -> Path | Failure:
        version = merged_settings(job.settings).aerender if job is not None else None
        return find_aerender(_versions(self.config.nexrender.aerender), version)

    def _disks(self) -> list[Failure]:
        need = self.config.limits.min_free_disk
        for place in dict.fromkeys(
            (self.folders.active, self.places.work_dir, self.places.state_dir, self.folders.done)
        ):
            free = free_bytes(place)
            if free is not None and free < need:
                return [
                    fail(
                        Code.DISK_FULL,
                        f"the disk of {place} has {free // 2**20} MiB free,"
                        f" and limits.min_free_disk wants {need // 2**20} MiB",
                    )
                ]
        return []

    def module_installed(self, name: str) -> bool:
        """Is an action module where nexrender will look? Unknown while nexrender itself is not there."""
        engine = self._nexrender or nexrender.find(_command(self.config.nexrender.command))
        return True if isinstance(engine, Failure) else nexrender.module_installed(engine, name)

    # -- one attempt ----------------------------------------------------------------------------------------

    def limits(self, job: Job) -> Limits:
        """The limits of a job's attempt, read anew whenever they are used."""
        said, limits = merged_settings(job.settings), self.config.limits
        return Limits(
            render=limits.render if said.render_timeout is None else said.render_timeout,
            startup=limits.startup,
            stall=limits.stall if said.stall_timeout is None else said.stall_timeout,
            finish_grace=limits.finish_grace,
            terminate_grace=limits.terminate_grace,
        )

    def eta(self, job_id: str, transcript: Transcript) -> Mapping[str, Any] | None:
        return self.estimate(job_id, transcript)

    def prepare(self, job: Job, *, stop: Callable[[], bool] = lambda: False) -> Prepared | Failure | Missing:
        """Make all that the attempt needs; `stop` ends a long fetch. Raises OSError where a disk refuses."""
        self._stop = stop
        judged = self._judge_again(job)
        if isinstance(judged, Failure):
            return judged
        if judged.failure is not None:
            return judged.failure
        return self._missing(judged) or self._prepare(job, judged)

    def missing(self, job: Job) -> Missing | None:
        """The footage that a queued job would wait for if it were taken now. Changes nothing. Raises OSError."""
        judged = self._judge_again(job)
        return None if isinstance(judged, Failure) or judged.failure is not None else self._missing(judged)

    def _missing(self, judged: Judged) -> Missing | None:
        if not judged.waiting_for or judged.missing is None:
            return None
        return Missing(
            words=judged.waiting_for,
            failure=judged.missing,
            deadline_seconds=self.config.watch.assets_deadline,
        )

    def judged_now(self, job: Job) -> Judged | Failure:
        """A queued job as it would be taken now. Changes nothing. Raises OSError."""
        return self._judge_again(job)

    def _judge_again(self, job: Job) -> Judged | Failure:
        for again in (True, False):
            try:
                return self._judge_as_it_lies(job)
            except FileNotFoundError:
                if self.folders.health() is not None:
                    raise  # gone is not gone while the share is away
                if not again:  # it may have gone and come back between two looks
                    break
        return fail(Code.JOB_UNREADABLE, f"{job.file} is not in {job.folder} any more")

    def _judge_as_it_lies(self, job: Job) -> Judged | Failure:
        source = self.folders.source(job)
        try:
            data = read_plain(source, self.judge.max_job_size + 1) if job.form is Form.FILE else None
        except NotPlain as error:
            return fail(Code.JOB_UNREADABLE, f"{job.file} cannot be read any more: {error.strerror}")
        except PermissionError as error:
            return fail(Code.RENDER_FAILED, f"{job.file} cannot be read any more: {error.strerror or error}")
        return self.judge.judge(job, source, data, self._sidecar(job))

    def _sidecar(self, job: Job) -> Sidecar | None:
        path = self.folders.sidecar(job)
        if path is None:
            return None
        try:
            return Sidecar(name=path.name, data=read_plain(path, self.judge.max_job_size + 1))
        except OSError:
            # It was read before; what it said is in the record, and a share that hiccups must not change it.
            said = job.settings.get("sidecar")
            return Sidecar(name=path.name, data=json.dumps(said).encode()) if said else None

    def _prepare(self, job: Job, judged: Judged) -> Prepared | Failure:
        uid = f"{job.id}-{secrets.token_hex(4)}"
        work, output_folder = self.places.attempts / uid, self._output_folder(job, uid)
        prepared: Prepared | Failure | None = None
        try:
            prepared = self._make(job, judged, uid, work, output_folder)
        finally:
            if not isinstance(prepared, Prepared):
                disk.remove_tree(output_folder)
                disk.remove_tree(work)
        return prepared

    def _make(self, job: Job, judged: Judged, uid: str, work: Path, output_folder: Path) -> Prepared | Failure:
        for folder in (work / "nexrender", work / "scratch", output_folder):
            disk.mkdirs(folder)
        unpacked = self._unpack_zip(job)
        if unpacked is not None:
            return unpacked
        engine, aerender = self._nexrender, self.aerender(job)
        if engine is None or isinstance(aerender, Failure):
            faults = self.look(job)
            return next(iter(faults.values()), fail(Code.NEXRENDER_NOT_FOUND))
        env = self._environment(work)
        brought = self.footage.bring(
            judged.text.document,
            resolved=judged.resolved,
            links=judged.links,
            folder=work / "footage",
            environment=set(env),
            stop=self._stop,
        )
        if isinstance(brought, Failure):
            return brought
        built = document.build(
            judged.text.document,
            uid=uid,
            output_dir=str(output_folder),
            stem=job.name,
            ext=document.film_ext(judged.text.document, platform=sys.platform),
            resolved=brought,
            windows=os.name == "nt",
            allowances=judged.allowances,
            environment=set(env),
        )
        job_file = work / "job.json"
        disk.write(job_file, json.dumps(built.document, ensure_ascii=True), durable=False)
        command = nexrender.command_line(engine, aerender, job_file, work / "nexrender", self.config.nexrender.args)
        disk.mkdirs(self.places.log(job.id).parent)
        self.places.log(job.id).touch()  # from here the service's own lines about this job go there too
        attempt = Attempt(
            marker=f"{self.marker}.{uid}",
            command=tuple(command),
            env=env,
            cwd=work,
            watch=(output_folder, work),
            log=self.places.log(job.id),
            limits=self.limits(job),
        )
        return Prepared(uid=uid, attempt=attempt, judged=judged, built=built, output_folder=output_folder, work=work)

    def _output_folder(self, job: Job, uid: str) -> Path:
        if self.places.render_to_work:
            return self.places.attempts / uid / "out"
        return self.folders.attempt_folder(self.folders.absolute(job.folder), uid)

    def _unpack_zip(self, job: Job) -> Failure | None:
        if job.form is not Form.ZIP:
            return None
        target = self.judge.unpacked(job)
        if target.is_dir():
            return None
        source = self.folders.source(job)
        plan = bundle.inspect_zip(source)
        if isinstance(plan, Failure):
            return plan
        fresh = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        disk.mkdirs(fresh.parent)
        try:
            broken = bundle.unpack(source, plan, fresh, should_stop=self._stop)
        except bundle.UnpackStopped:
            broken = fail(Code.RENDER_FAILED, f"{job.file} was still being unpacked")  # whoever asked knows better
        if isinstance(broken, Failure):
            disk.remove_tree(fresh)
            return broken
        disk.rename(fresh, target)
        return None

    def _environment(self, work: Path) -> dict[str, str]:
        home = work / "scratch" if sys.platform == "linux" else Path.home()
        return nexrender.environment(
            home=home,
            scratch=work / "scratch",
            extra=dict(self.config.nexrender.env),
            ffmpeg=str(self.config.nexrender.ffmpeg) if self.config.nexrender.ffmpeg else None,
            compile_cache=self.places.state_dir / "node-cache",
        )


def _command(command: Any) -> str | list[str] | None:
    if command is None or isinstance(command, str):
        return command
    return [str(command)] if isinstance(command, Path) else [str(word) for word in command]


def _versions(setting: Any) -> str | dict[str, str] | None:
    if setting is None:
        return None
    if isinstance(setting, Mapping):
        return {str(version): str(path) for version, path in setting.items()}
    return str(setting)
