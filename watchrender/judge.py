"""May this job run here, with which settings, and is what it needs there? Read and judge, moving nothing.

Intake asks before a job is queued, the worker asks again when it is taken (the inbox is open ground), and
`watchrender check` gives the same words without a service.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from watchrender import disk
from watchrender.config.model import Config
from watchrender.core import access, naming, paths, policy, priority
from watchrender.core import clock as clocks
from watchrender.core import settings as settings_of
from watchrender.core.access import Facts, Policy
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.policy import Allowance
from watchrender.core.settings import Settings
from watchrender.core.settle import Completeness
from watchrender.core.textual import shown
from watchrender.ledger.ledger import Ledger
from watchrender.render import document
from watchrender.render.footage import Footage
from watchrender.spool import bundle, jobfile
from watchrender.spool.bundle import ZipPlan
from watchrender.spool.folders import Folders
from watchrender.spool.jobfile import JobText
from watchrender.spool.plain import NotPlain, read_plain
from watchrender.spool.volume import free_bytes

_MOST_FAULTS = 8
_NOTHING_SAID = Settings()
#: So many of `spot`, `spot~2`, `spot~3`… are asked whether a file that is dropped was theirs.
_MOST_NUMBERS = 100
_PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """A settings file beside a job: its name and bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A job's own words, once its file could be read."""

    text: JobText
    digest: str  # SHA-256 of the job file, in hex
    base: Path  # the folder that its relative paths start from; of a zip, where it will be unpacked
    zip_plan: ZipPlan | None = None  # of a zip: what it holds, by the list of members this was read with


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of a job that could be read."""

    text: JobText
    settings: Settings
    fields: dict[str, Any]  # what the job's record takes over
    failure: Failure | None = None
    waiting_for: tuple[str, ...] = ()
    missing: Failure | None = None  # what to say when the footage has not come by its deadline
    allowances: tuple[Allowance, ...] = ()
    resolved: dict[str, Path] = field(default_factory=dict)  # JSON path of a src → the file on this machine
    links: dict[str, str] = field(default_factory=dict)  # JSON path of a src → its http(s) address

    @property
    def may_run(self) -> bool:
        """Nothing is against it, and nothing is missing."""
        return self.failure is None and not self.waiting_for

    @property
    def why(self) -> str:
        """The line for the job's history."""
        return f"accepted, priority {self.fields['priority']} ({self.fields['priority_from']})"


class Judge:
    """Judges jobs by the config of this service."""

    def __init__(
        self,
        *,
        config: Config,
        folders: Folders,
        ledger: Ledger | None,
        footage: Footage,
        module_installed: Callable[[str], bool],
        now: Callable[[], datetime],
        settle_seconds: float = 2.0,
    ) -> None:
        self._config = config
        self._folders = folders
        self._ledger = ledger
        self._footage = footage
        self._now = now
        self._settle_seconds = settle_seconds
        self._here = replace(facts_of(config, folders), module_installed=module_installed)
        self.policy = policy_of(config)
        self.max_job_size = config.watch.max_job_size
        #: May a job take the place of an older one that nobody has named?
        self.replaces = config.queue.supersede != "off"

    # -- reading --------------------------------------------------------------------------------------------

    def is_yaml_job(self, data: bytes) -> bool:
        return jobfile.is_yaml_job(data)

    @staticmethod
    def digest(data: bytes) -> str:
        """What tells one content of a job file from another."""
        return _digest(data)

    def completeness(self, data: bytes, name: str) -> Completeness:
        return jobfile.completeness(data, name)

    def too_large(self, name: str, size: int) -> Failure:
        found = jobfile.too_large(size, name, self.max_job_size)
        return found or fail(Code.JOB_TOO_LARGE, f"{name} is larger than a job may be")

    def read(self, job: Job, source: Path, data: bytes | None) -> Reading | Failure:
        """The job as it lies at `source`; `data` are the bytes of a job file, None for a bundle or zip. Raises OSError
        where the share is away: that says nothing about the job."""
        if job.form is not Form.FILE:
            read = self._read_packed(job, source)
            if not isinstance(read, Failure):
                return read
            self._trust()
            return self._read_packed(job, source)  # it may have gone and come back between the two looks
        if data is None:
            self._trust()
            return fail(Code.JOB_UNREADABLE, f"{job.file} cannot be read any more")
        text = jobfile.read(data, job.file, self.max_job_size)
        if isinstance(text, Failure):
            return text
        return Reading(text=text, digest=_digest(data), base=self._folders.base(job))

    def _trust(self) -> None:
        """What was found wrong counts only while the folders are there: gone is not broken. Raises `disk.Away`."""
        offline = self._folders.health()
        if offline is not None:
            raise disk.Away(errno.ENODEV, offline.message, str(self._folders.root))

    def _read_packed(self, job: Job, source: Path) -> Reading | Failure:
        return self._read_bundle(source) if job.form is Form.BUNDLE else self._read_zip(job, source)

    def _read_bundle(self, folder: Path) -> Reading | Failure:
        name = bundle.job_name(folder)
        if isinstance(name, Failure):
            return name
        try:
            size = (folder / name).lstat().st_size
            if refused := jobfile.too_large(size, f"{folder.name}/{name}", self.max_job_size):
                return refused
            data = _read_within(folder / name, self.max_job_size)
        except OSError as error:
            return fail(Code.JOB_UNREADABLE, f"{folder.name}/{name} cannot be read: {error.strerror or error}")
        text = jobfile.read(data, name, self.max_job_size)
        return text if isinstance(text, Failure) else Reading(text=text, digest=_digest(data), base=folder)

    def _read_zip(self, job: Job, source: Path) -> Reading | Failure:
        try:
            plan = bundle.inspect_zip(source)
        except NotPlain as error:
            return fail(Code.JOB_UNREADABLE, f"{job.file} cannot be read: {error.strerror}")
        if isinstance(plan, Failure):
            return plan
        try:
            data = bundle.read_member(source, plan, plan.job, self.max_job_size)
        except (OSError, ValueError) as error:
            words = f"{job.file}: {plan.job} in it cannot be read: {error}"
            return fail(Code.JOB_INVALID, words, cure="Copy or pack the zip anew, and drop it again.")
        text = jobfile.read(data, plan.job, self.max_job_size)
        if isinstance(text, Failure):
            return text
        return Reading(text=text, digest=_digest(data), base=self.unpacked(job), zip_plan=plan)

    def unpacked(self, job: Job) -> Path:
        """Where a zip is unpacked when its job is taken."""
        return self._footage.work_dir / "zip" / job.id

    # -- judging --------------------------------------------------------------------------------------------

    def judge(self, job: Job, source: Path, data: bytes | None, sidecar: Sidecar | None) -> Judged | Failure:
        """Everything that decides whether and how a job runs. A `Failure` where it cannot even be read. Raises OSError
        where the share is away: nothing that was found then says anything about the job."""
        judged = self._judge(job, source, data, sidecar)
        if isinstance(judged, Failure) or not judged.may_run:
            self._trust()
        return judged

    def _judge(self, job: Job, source: Path, data: bytes | None, sidecar: Sidecar | None) -> Judged | Failure:
        read = self.read(job, source, data)
        if isinstance(read, Failure):
            if sidecar is not None and isinstance(broken := jobfile.read_sidecar(sidecar.data, sidecar.name), Failure):
                return _combined([read, broken], read.code)
            return read
        text = read.text
        settled = self.settle_settings(job, sidecar, text)
        if isinstance(settled, Failure):
            return settled
        merged = merged_settings(settled["settings"])
        fields = settled | self._told(job, read)
        facts = self._facts(job, read.base)
        failures, allowances = policy.objections(text.document, facts, self.policy)
        failures = [_placed(found, text) for found in failures]
        failures += [
            _placed_setting(found, merged, text, sidecar)
            for found in self._settings_objections(merged, facts, job, text)
        ]
        fields["warnings"] = (*text.warnings, *(found.warning for found in allowances if found.warning))
        judged = Judged(text=text, settings=merged, fields=fields, allowances=tuple(allowances))
        if failures:
            return replace(judged, failure=_combined(failures))
        resolved, links = self._sources(text, facts)
        judged = replace(judged, resolved=resolved, links=links)
        return self._look_for_footage(job, read, judged)

    def _facts(self, job: Job, base: Path) -> Facts:
        return replace(self._here, base=str(base), own=str(base) if job.form is not Form.FILE else None)

    def _told(self, job: Job, read: Reading) -> dict[str, Any]:
        """What the job's record takes from its document."""
        written = read.text.document
        template = written.get("template", {})
        source = paths.read_source(
            str(template.get("src", "")), base=str(read.base), windows=self._here.windows, rules=self._here.rules
        )
        local = source.kind in (paths.Kind.LOCAL, paths.Kind.FOREIGN)
        name = re.split(r"[\\/]", source.text.rstrip("\\/"))[-1] if local or source.kind is paths.Kind.HTTP else None
        fields: dict[str, Any] = {
            "template": name,
            "template_path": source.text if local else None,
            "composition": template.get("composition"),
            "frames": None if (wanted := document.frames(written)) is None else len(wanted),
            "digest": read.digest,
        }
        retry_of = job.retry_of or self._dragged_back(job, read.digest)
        return fields | ({"retry_of": retry_of} if retry_of is not None else {})

    def _dragged_back(self, job: Job, digest: str) -> str | None:
        """A lone file is a retry if its name and content equal those of the newest over job whose folder lost it."""
        if self._ledger is None or job.begun or job.form is not Form.FILE:
            return None
        name = naming.fit(naming.parse_name(job.file).name)
        base = f"{job.sub}/{name}" if job.sub else name
        same = (
            old
            for key in islice(naming.candidates(base), _MOST_NUMBERS if self._ledger.has_numbered(base) else 1)
            if (old := self._ledger.newest_over(key)) is not None and old.file == job.file and old.folder
        )
        for old in sorted(same, key=lambda old: old.serial, reverse=True):
            if not os.path.lexists(self._folders.absolute(old.folder) / old.file):
                return old.id if old.digest == digest else None
        return None

    def _settings_objections(self, merged: Settings, facts: Facts, job: Job, text: JobText) -> list[Failure]:
        found: list[Failure] = []
        if merged.output is not None:
            # Filled in as it will be: a job may be called `status`, and a composition `inbox`.
            composition = text.document.get("template", {}).get("composition")
            named = replace(job, composition=composition if isinstance(composition, str) else None)
            ext = document.film_ext(text.document, platform=sys.platform)
            filled = settings_of.fill_in(merged.output, named, ext, self._now())
            target = access.delivery_target(filled, path="output", facts=facts, policy=self.policy)
            refused = target if isinstance(target, Failure) else self._place_taken(target, merged, job, text, ext)
            if refused is not None:
                found.append(refused)
        for number, name in enumerate(merged.notify or ()):
            if name not in self._config.notify and (refused := self._notify_objection(name, f"notify[{number}]")):
                found.append(refused)
        known = self._config.nexrender.aerender
        if merged.aerender is not None and not (isinstance(known, Mapping) and merged.aerender in known):
            versions = ", ".join(sorted(known)) if isinstance(known, Mapping) else "none"
            found.append(
                fail(
                    Code.SIDECAR_INVALID,
                    f"aerender: there is no After Effects {shown(merged.aerender)} here; configured are {versions}",
                    cure="Name one of them, or ask the operator to add it to nexrender.aerender.",
                    path="aerender",
                )
            )
        return found

    def _place_taken(self, target: str, merged: Settings, job: Job, text: JobText, ext: str) -> Failure | None:
        """`on_exists: fail` said before hours are spent on the render. Where the name is not sure yet, `finish` says
        it, as it does for a file that comes meanwhile."""
        on_exists = str(merged.on_exists or self._config.delivery.on_exists)
        if on_exists != "fail" or document.is_sequence(text.document, ext):
            return None
        path = Path(target)
        if settings_of.names_folder(target, is_folder=os.path.isdir(target)):
            path = path / f"{job.name}.{ext}"
        if path.suffix.lower() != f".{ext}" or not os.path.lexists(path):
            return None
        return output_exists(path)

    def _notify_objection(self, name: str, path: str) -> Failure | None:
        if re.match(r"https?://", name):
            from watchrender.core import hosts

            instead = "Name a configured target"
            return hosts.link_objection(name, path=path, schemes=("https",), hosts=self.policy.hosts, instead=instead)
        known = ", ".join(sorted(self._config.notify)) or "none"
        return fail(
            Code.SIDECAR_INVALID,
            f"{path}: there is no notification target {shown(name)}; configured are {known}",
            cure="Name one of them, or write an https address.",
            path=path,
        )

    def _sources(self, text: JobText, facts: Facts) -> tuple[dict[str, Path], dict[str, str]]:
        resolved: dict[str, Path] = {}
        links: dict[str, str] = {}
        for path, src, _ in policy.sources_of(text.document):
            source = paths.read_source(src, base=facts.base, windows=facts.windows, rules=facts.rules)
            if source.kind in (paths.Kind.LOCAL, paths.Kind.FOREIGN):
                resolved[path] = Path(source.text)
            elif source.kind is paths.Kind.HTTP:
                links[path] = source.text
        return resolved, links

    def _look_for_footage(self, job: Job, read: Reading, judged: Judged) -> Judged:
        """Is everything there that the job names on this machine's disks, or in its own zip?"""
        plan = read.zip_plan
        packed = (
            {
                path: file.relative_to(read.base)
                for path, file in judged.resolved.items()
                if file.is_relative_to(read.base)
            }
            if plan is not None
            else {}
        )
        loose = {path: file for path, file in judged.resolved.items() if path not in packed}
        troubles = self._footage.look(loose, settle=self._settle_seconds)
        names = frozenset(plan.names) if plan is not None else frozenset()
        for path, member in packed.items():
            if member.as_posix() not in names:
                troubles[path] = f"{member.as_posix()} is not in {job.file}"
        if not troubles:
            return judged if plan is None else self._look_for_room(job, read.base, plan, judged)
        code = Code.TEMPLATE_MISSING if "template.src" in troubles else Code.ASSET_MISSING
        missing = fail(code, "; ".join(troubles.values()), path=next(iter(troubles)))
        if troubles.keys() <= packed.keys():
            return replace(judged, failure=_placed(missing, judged.text))  # nothing will come into a closed zip
        return replace(judged, waiting_for=tuple(troubles.values()), missing=_placed(missing, judged.text))

    def _look_for_room(self, job: Job, unpacked: Path, plan: ZipPlan, judged: Judged) -> Judged:
        """A zip that does not fit on the disk waits alone. Found out while unpacking it would be a full disk, for which
        everybody waits; a disk that is full without it is no fault of this job."""
        place = next((folder for folder in unpacked.parents if folder.is_dir()), unpacked)
        free, kept = free_bytes(place), self._config.limits.min_free_disk
        if unpacked.is_dir() or free is None or free < kept or plan.size <= free - kept:
            return judged
        words = (
            f"{job.file} needs {plan.size / 2**30:.1f} GiB to be unpacked,"
            f" and the disk of {place} has {(free - kept) / 2**30:.1f} GiB beyond limits.min_free_disk"
        )
        cure = f"Make room on the disk of {place}, or name a larger one in nexrender.work_dir; then drop it again."
        return replace(judged, waiting_for=(words,), missing=fail(Code.JOB_TOO_LARGE, words, cure=cure))

    # -- settings -------------------------------------------------------------------------------------------

    def settle_settings(
        self, job: Job, sidecar: Sidecar | None, text: JobText | None = None
    ) -> dict[str, Any] | Failure:
        """The fields of a job that its settings decide: priority, hold, start, tries, tags."""
        said: dict[str, Any] = dict(job.settings)
        if text is not None:
            own = {"job": text.settings.to_dict(), "nexrender": text.document.get("priority")}
            own["has_data"] = _has_data(text.document)
            said = {key: value for key, value in {**said, **own}.items() if value}  # most jobs say nothing
        said.pop("sidecar", None)
        if sidecar is not None:
            settings = jobfile.read_sidecar(sidecar.data, sidecar.name)
            if isinstance(settings, Failure):
                return settings
            said["sidecar"] = settings.to_dict()
        return self.fields_of(job, said, sidecar.name if sidecar is not None else None)

    def fields_of(self, job: Job, said: dict[str, Any], sidecar: str | None) -> dict[str, Any] | Failure:
        merged = merged_settings(said)
        try:
            scheduled = self._scheduled(job, merged.not_before, said)
        except ValueError as error:
            return fail(Code.SIDECAR_INVALID, f"not_before {error}", path="not_before")
        retries = self._config.retry.max_retries if merged.max_retries is None else merged.max_retries
        value, origin = self._priority(job, said, job.file)
        return {
            "settings": said,
            "sidecar": sidecar,
            "priority": value,
            "priority_from": origin,
            "settings_hold": bool(merged.hold),
            # A release beats the hold that the settings had then, not one that is written into them afterwards.
            "released": job.released and (job.settings_hold or not merged.hold),
            "scheduled_at": scheduled,
            "max_attempts": retries + 1,
            "tags": tuple(merged.tags or ()),
        }

    def _scheduled(self, job: Job, text: str | None, said: dict[str, Any]) -> str | None:
        """`not_before` as a moment. A clock time means the next one after it was first read, not from now."""
        if text is None:
            said.pop("not_before_read", None)
            return None
        known = said.get("not_before_read")
        if isinstance(known, list) and len(known) == 2 and known[0] == text:
            return str(known[1])
        zone = self._now().astimezone().tzinfo
        assert zone is not None
        moment = clocks.stamp(settings_of.resolve_not_before(text, now=self._now(), zone=zone))
        said["not_before_read"] = [text, moment]
        return moment

    def _priority(self, job: Job, said: Mapping[str, Any], file: str) -> tuple[int, str]:
        return priority.resolve(
            asked=job.asked_priority,
            sidecar=said.get("sidecar", {}).get("priority"),
            job=said.get("job", {}).get("priority"),
            filename=naming.parse_name(file, is_dir=job.form is Form.BUNDLE).priority,
            nexrender=said.get("nexrender"),
            folder=priority.of_folder(job.sub, self._config.queue.folder_priorities),
            default=self._config.queue.default_priority,
        )

    def first_priority(self, sub: str, name: str, *, is_dir: bool = False) -> dict[str, Any]:
        """What a name and a folder say, before anything is read."""
        value, origin = priority.resolve(
            filename=naming.parse_name(name, is_dir=is_dir).priority,
            folder=priority.of_folder(sub, self._config.queue.folder_priorities),
            default=self._config.queue.default_priority,
        )
        return {"priority": value, "priority_from": origin, "max_attempts": self._config.retry.max_retries + 1}

    def priority_of(self, job: Job, name: str) -> dict[str, Any]:
        """The priority of a job whose file has another name now."""
        value, origin = self._priority(job, job.settings, name)
        return {"priority": value, "priority_from": origin}

    def changes_start(self, job: Job, fields: Mapping[str, Any]) -> str | None:
        """What new settings change of all that the start of an attempt depended on, in words; None: nothing."""
        before, after = merged_settings(job.settings), merged_settings(fields["settings"])
        keys = ("hold", "not_before", "priority", "max_retries", "render_timeout", "stall_timeout")
        changed = [key for key in keys if getattr(before, key) != getattr(after, key)]
        return " and ".join(changed) or None

    # -- a newer drop in place of an older ------------------------------------------------------------------

    def superseded(self, job: Job) -> list[Job]:
        """The older jobs that this one takes the place of."""
        mode = self._config.queue.supersede
        named = merged_settings(job.settings).supersedes
        if self._ledger is None or (named is None and mode == "off"):
            return []
        found = [other for other in (self._named(job, named),) if other is not None]
        if mode != "off":
            older = [other for other in self._ledger.live_in(job.sub) if other.arrival < job.arrival]
            # Files first seen in one scan belong together: none of them is the newer one.
            older = [other for other in older if other.created_at != job.created_at and not other.cancel_requested]
            is_same = _is_same_job if mode == "same-job" else _is_same_project
            found += [other for other in older if is_same(job, other)]
        return list({other.id: other for other in found}.values())

    def _named(self, job: Job, named: str | None) -> Job | None:
        """The job that `supersedes: KEY` means: its key, or its name in the same sub-folder."""
        if named is None or self._ledger is None:
            return None
        key = named.strip("/")
        found = self._ledger.live_by_key(key) or self._ledger.live_by_key(f"{job.sub}/{key}")
        return found if found is not None and found.id != job.id else None


def _is_same_job(job: Job, other: Job) -> bool:
    ours, theirs = (naming.parse_name(found.file, is_dir=found.form is Form.BUNDLE).name for found in (job, other))
    return naming.fold(ours) == naming.fold(theirs)


def _is_same_project(job: Job, other: Job) -> bool:
    """The same template and composition; jobs that fill in data are no versions of one another."""
    if job.template_path is None or job.settings.get("has_data") or other.settings.get("has_data"):
        return False
    return (other.template_path, other.composition) == (job.template_path, job.composition)


def output_exists(path: Path) -> Failure:
    return fail(Code.OUTPUT_EXISTS, f"{path} is there already, and on_exists is fail", path="output")


def facts_of(config: Config, folders: Folders) -> Facts:
    """What has to be known of this machine to judge a path that starts from root, with links resolved as of now."""
    root = os.path.realpath(folders.root)
    return Facts(
        root=root,
        base=root,
        windows=os.name == "nt",
        realpath=os.path.realpath,
        root_server=paths.server_of(str(folders.root)),
        rules=tuple(paths.Rule(origin=rule.from_, target=rule.to) for rule in config.path_map),
        reserved=tuple(str(folder) for folder in folders.own),
    )


def policy_of(config: Config) -> Policy:
    """What the operator allows, with links in its folders resolved."""
    said = config.policy
    return Policy(
        actions=tuple(said.actions),
        roots=None if said.roots is None else tuple(os.path.realpath(path) for path in said.roots),
        schemes=tuple(said.schemes),
        hosts=tuple(said.hosts),
        scripts=() if isinstance(said.scripts, str) else tuple(os.path.realpath(path) for path in said.scripts),
    )


def merged_settings(said: Mapping[str, Any]) -> Settings:
    """The settings that count for a job, from what its record keeps of both."""
    if not said.get("job") and not said.get("sidecar"):
        return _NOTHING_SAID  # most jobs
    own, _ = settings_of.parse(said.get("job") or {}, source="job")
    beside, _ = settings_of.parse(said.get("sidecar") or {}, source="sidecar")
    return settings_of.merge(own, beside)


def _has_data(document: Mapping[str, Any]) -> bool:
    assets = document.get("assets")
    return isinstance(assets, list) and any(isinstance(asset, dict) and asset.get("type") == "data" for asset in assets)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_within(path: Path, limit: int) -> bytes:
    return read_plain(path, limit + 1)


def json_path(text: str) -> tuple[str | int, ...]:
    """`assets[2].src` → ("assets", 2, "src")"""
    return tuple(int(number) if number else name for number, name in _PART.findall(text))


def _placed(failure: Failure, text: JobText) -> Failure:
    """The failure with the line and column of its place in the job file."""
    if failure.path is None or failure.line is not None:
        return failure
    try:
        line, column = text.place(json_path(failure.path))
    except (KeyError, IndexError, ValueError):
        return failure
    return Failure(
        code=failure.code, message=failure.message, cure=failure.cure, path=failure.path, line=line, column=column
    )


def _placed_setting(failure: Failure, merged: Settings, text: JobText, sidecar: Sidecar | None) -> Failure:
    """The same of a setting, which stands in the sidecar, or in the job under `watchrender`."""
    key = re.split(r"[.\[]", failure.path or "", maxsplit=1)[0]
    if sidecar is not None and merged.source_of(key) == "sidecar":
        return replace(failure, message=f"{sidecar.name}: {failure.message}")
    return _placed(replace(failure, path=f"watchrender.{failure.path}"), text)


def _combined(failures: list[Failure], code: Code | None = None) -> Failure:
    """One failure that tells of all: everything that is wrong at once, not the first thing only."""
    first = next((found for found in failures if found.code is code), failures[0])
    if len(failures) == 1:
        return first
    lines = [f"{found.message}" for found in failures[:_MOST_FAULTS]]
    if len(failures) > _MOST_FAULTS:
        lines.append(f"and {len(failures) - _MOST_FAULTS} more")
    cures = list(dict.fromkeys(found.cure for found in failures))[:3]
    return Failure(
        code=first.code,
        message="\n".join(lines),
        cure=" ".join(cures),
        path=first.path,
        line=first.line,
        column=first.column,
    )
