"""What would happen to a job, and why: `watchrender check JOB`. The same judge as intake; nothing runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from watchrender.cli.reach import Reach, place_in_queue
from watchrender.config import Config, default_state_dir
from watchrender.core import letters, naming
from watchrender.core.failure import Failure
from watchrender.core.job import Form, Job
from watchrender.intake.sidecars import two_sidecars
from watchrender.intake.watch import cannot_open
from watchrender.judge import Judge, Judged, Sidecar
from watchrender.render import nexrender
from watchrender.render.footage import Footage
from watchrender.spool import jobfile
from watchrender.spool.folders import Folders
from watchrender.spool.plain import read_plain


def explain(config: Config, path: Path) -> dict[str, Any]:
    """The answer for one job file, bundle folder or zip: as data, and as text for people (`text`)."""
    path = path.absolute()
    folders = Folders(Path(config.root), config.folders)
    if not os.path.lexists(path):
        return _refused(
            path, f"{path} is not there", "Give the path of a job file, a bundle folder or a zip.", "JOB_UNREADABLE"
        )
    known = [found for found in Reach(config).jobs() if found["state"] in _WAITING]
    mine = _in_the_queue(path, folders, known)
    job = _job_of(path, folders, mine)
    if (nothing := _nothing_to_judge(path, job, folders)) is not None:
        return _refused(path, *nothing, "JOB_UNREADABLE")
    judge = _judge(config, folders)
    sidecar = sidecar_beside(path, judge.max_job_size)
    if isinstance(sidecar, Failure):
        return _failed(path, job, sidecar, None)
    source = Path(os.path.realpath(path))  # a link outside the inbox is the person's own, and is followed
    try:
        data = read_plain(source, judge.max_job_size + 1) if job.form is Form.FILE else None
        if data is not None and len(data) > judge.max_job_size:
            return _failed(path, job, judge.too_large(job.file, os.stat(source).st_size), None)
    except OSError as error:
        return _refused(
            path,
            f"{path.name} cannot be read: {error.strerror}",
            "Give this user the right to read it."
            if isinstance(error, PermissionError)
            else "Give the path of a job file, a bundle folder or a zip.",
            "JOB_UNREADABLE",
        )
    if data and jobfile.is_yaml(job.file) and not jobfile.is_yaml_job(data):
        return _settings(path, job, data)
    try:
        answer = judge.judge(job, source, data, sidecar)
    except OSError as error:
        return _refused(
            path,
            f"{path.name} cannot be read: {error.strerror or error}",
            "Look whether it is still there and complete, then check it again.",
            "JOB_UNREADABLE",
        )
    if isinstance(answer, Failure):
        return _failed(path, job, answer, None)
    if answer.failure is not None:
        return _failed(path, job, answer.failure, answer)
    others = [found for found in known if found is not mine]
    return _accepted(path, job, answer, _place(answer.fields["priority"], mine, others))


_WAITING = ("queued", "pending", "validating")


def _in_the_queue(path: Path, folders: Folders, known: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The waiting job whose file this is already."""
    try:
        sub = path.parent.relative_to(folders.inbox).as_posix()
    except ValueError:
        return None
    is_here = ("" if sub == "." else sub, path.name)
    return next((job for job in known if (job["sub"], (job.get("files") or {}).get("job")) == is_here), None)


def _place(priority: int, mine: dict[str, Any] | None, others: list[dict[str, Any]]) -> int:
    """Its place: behind all that are as strong and came before it; a file that is not there yet comes last of them."""
    if mine is None:
        return 1 + sum(1 for other in others if int(other.get("priority") or 0) >= priority)
    here = place_in_queue({**mine, "priority": priority})
    return 1 + sum(1 for other in others if place_in_queue(other) < here)


def _nothing_to_judge(path: Path, job: Job, folders: Folders) -> tuple[str, str] | None:
    """What a service would make of it where it is no job at all: what, and what to do."""
    if path.is_symlink() and path.is_relative_to(folders.inbox):
        return f"{path.name}: {letters.NOT_PLAIN}", "Put the file itself into the inbox."
    kind = naming.classify(path.name, is_dir=path.is_dir())
    if kind is naming.Kind.LETTER and job.form is Form.FILE:
        return f"{path.name} is a project, not a job", letters.lone_project(path.name)
    if kind is naming.Kind.OTHER:
        return f"{path.name} is {letters.NO_JOB_FILE}", "Give the path of a job file, a bundle folder or a zip."
    return None


def _settings(path: Path, job: Job, data: bytes) -> dict[str, Any]:
    """A YAML file without `template:` is a job's settings."""
    found = jobfile.read_sidecar(data, job.file)
    if isinstance(found, Failure):
        return _failed(path, job, found, None)
    cure = "Check the job that they belong to; a job in YAML has template: at its top."
    return _refused(path, f"{path.name}: {letters.LONELY_SIDECAR}", cure, "JOB_INVALID")


def _job_of(path: Path, folders: Folders, known: dict[str, Any] | None) -> Job:
    """The job that this file is or would be; in the queue already, it has its key, and what was asked for it."""
    form = Form.BUNDLE if path.is_dir() else Form.ZIP if path.suffix.lower() == ".zip" else Form.FILE
    try:
        sub = path.parent.relative_to(folders.inbox).as_posix()
    except ValueError:
        sub = ""
    name = naming.fit(naming.parse_name(path.name, is_dir=path.is_dir()).name)
    asked = None
    if known is not None:
        name = naming.last_of(str(known["job"]), str(known["sub"]))
        record = known.get("record")
        asked = record.get("asked_priority") if isinstance(record, dict) else None
    return Job(
        id="0" * 26, serial=0, arrival=0, name=name, sub="" if sub == "." else sub, form=form,
        folder=str(path.parent), file=path.name, asked_priority=asked,
    )  # fmt: skip


class _Anywhere(Folders):
    """A job may be checked wherever it lies: its relative paths start there."""

    def base(self, job: Job) -> Path:
        return Path(job.folder) / job.file if job.form is Form.BUNDLE else Path(job.folder)

    def health(self, *, proven: bool = False) -> Failure | None:
        """Nobody serves these folders here: what is wrong with a job is told, wherever they are."""
        return None


def _judge(config: Config, folders: Folders) -> Judge:
    engine = nexrender.find(_command(config))
    work = (
        Path(config.nexrender.work_dir)
        if config.nexrender.work_dir
        else default_state_dir(folders.root, config) / "work"
    )
    return Judge(
        config=config,
        folders=_Anywhere(folders.root, config.folders),
        ledger=None,
        footage=Footage(work),
        # On a farm the modules are the workers', and only a render can tell.
        module_installed=lambda name: (
            config.engine == "nexrender-server"
            or isinstance(engine, Failure)
            or nexrender.module_installed(engine, name)
        ),
        now=lambda: datetime.now(UTC),
        settle_seconds=0.0,
    )


def _command(config: Config) -> str | list[str] | None:
    command = config.nexrender.command
    if command is None:
        return None
    return [str(word) for word in command] if isinstance(command, (list, tuple)) else str(command)


def sidecar_beside(path: Path, limit: int) -> Sidecar | Failure | None:
    """The settings file that a service would take for this job's, or why there can be none."""
    jobs = [(path.name, path.is_dir())]
    found = []
    for entry in sorted(os.scandir(path.parent), key=lambda entry: entry.name):
        is_yaml = entry.name.lower().endswith((".yaml", ".yml")) and not naming.is_ignored(entry.name, is_dir=False)
        if not is_yaml or entry.name == path.name or not entry.is_file(follow_symlinks=False):
            continue
        if naming.sidecar_owner(entry.name, jobs) != path.name:
            continue
        try:
            data = read_plain(entry.path, limit + 1)
        except OSError as error:
            return cannot_open(entry.name, error)
        if data and not jobfile.is_yaml_job(data):
            found.append(Sidecar(name=entry.name, data=data))
    if len(found) > 1:
        return two_sidecars(side.name for side in found)
    return found[0] if found else None


def _refused(path: Path, message: str, cure: str, code: str) -> dict[str, Any]:
    text = f"{path.name}: refused ({code})\n  {message}\n  {cure}\n"
    return {
        "job": path.name,
        "accepted": False,
        "error": {"code": code, "kind": "job", "message": message, "cure": cure},
        "text": text,
    }


def _failed(path: Path, job: Job, failure: Failure, judged: Judged | None) -> dict[str, Any]:
    lines = [f"{path.name}: refused ({failure.code})", *(f"  {line}" for line in failure.message.splitlines())]
    if failure.line is not None:
        lines.append(f"  at line {failure.line}" + (f", column {failure.column}" if failure.column else ""))
    lines += [f"  what to do: {failure.cure}", ""]
    found = {"job": job.key, "accepted": False, "error": failure.to_dict(), "text": "\n".join(lines)}
    return found | (_priority(judged) if judged is not None else {})


def _priority(judged: Judged) -> dict[str, Any]:
    return {"priority": judged.fields["priority"], "priority_from": judged.fields["priority_from"]}


def _accepted(path: Path, job: Job, judged: Judged, place: int) -> dict[str, Any]:
    paths = {where: str(file) for where, file in judged.resolved.items()} | dict(judged.links)
    waits = list(judged.waiting_for)
    warnings = list(judged.fields["warnings"])
    lines = [
        f"{path.name}: " + ("accepted, but it would wait" if waits else "accepted"),
        f"  job          {job.key}",
        f"  composition  {judged.fields['composition']}",
        f"  priority     {judged.fields['priority']} (from {judged.fields['priority_from']})",
        f"  place        number {place} in the queue as it is now",
        *(f"  {where:<12} {file}" for where, file in paths.items()),
        *(f"  waits for    {what}" for what in waits),
        *(f"  warning      {warning}" for warning in warnings),
        "",
    ]
    return {
        "job": job.key,
        "accepted": True,
        **_priority(judged),
        "position": place,
        "composition": judged.fields["composition"],
        "paths": paths,
        "waiting_for": waits,
        "warnings": warnings,
        "settings": judged.settings.to_dict(),
        "error": None,
        "text": "\n".join(lines),
    }
