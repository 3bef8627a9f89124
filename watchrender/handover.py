"""What the farm gets: a copy of the job in which every path is as the workers see it, and the slip that remembers it.

All of an attempt lies on the share, in one hidden folder of its own: the film as it grows, and every source that
workers could not open where it lies (fetched ones, those of a zip, names that nexrender misreads). Each attempt has its
own uid and folder: a worker that was given up, and renders on, can spoil nothing. The folder lies beside active/, not
in the job's: a worker that holds a file open there would keep the job's folder from being moved, for as long as it
likes, and a job may have a name that is no good for a path on another system.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from watchrender import disk
from watchrender.core import paths
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.policy import FOOTAGE_TYPES, sources_of
from watchrender.core.states import State
from watchrender.judge import Judged
from watchrender.ledger.ledger import Ledger
from watchrender.prepare import Prepared, Preparer
from watchrender.render import document
from watchrender.render.document import Built, Delivery
from watchrender.render.engine import Attempt
from watchrender.render.server import Server
from watchrender.spool.folders import Folders

#: The ledger's table of slips.
HANDED = "handed"
#: The folder in the root that holds the attempts' own folders.
FARM = ".farm"
_OUR_UID = re.compile(r"([0-9A-HJKMNP-TV-Z]{26})-[0-9a-f]{8}")
_WINDOWS = re.compile(r"[A-Za-z]:(?:[\\/]|$)|\\\\|//")
_NOT_IN_A_TAG = re.compile(r"[^a-z0-9]+")


@dataclass(kw_only=True)
class FarmPreparer(Preparer):
    """Prepares attempts for the workers of a nexrender-server."""

    server: Server
    _warned: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False)

    LOOKED_FOR: ClassVar[frozenset[Code]] = frozenset({Code.NEXRENDER_SERVER_UNREACHABLE, Code.DISK_FULL})

    # -- the environment ------------------------------------------------------------------------------------

    def look(self, job: Job | None = None) -> dict[Code, Failure]:
        """What is wrong with the server and our disks now. Of After Effects only the workers know."""
        found = [*filter(None, [self.server.failure()]), *self._disks()]
        return {failure.code: failure for failure in found}

    def module_installed(self, name: str) -> bool:
        return True  # on the workers, or not: only a render can tell

    # -- one attempt ----------------------------------------------------------------------------------------

    def _prepare(self, job: Job, judged: Judged) -> Prepared | Failure:
        uid = f"{job.id}-{secrets.token_hex(4)}"
        unpacked = self._unpack_zip(job)
        if unpacked is not None:
            return unpacked
        private = self.private(uid)
        prepared: Prepared | Failure | None = None
        try:
            disk.mkdirs(private / "out")
            prepared = self._prepare_in(private, job, uid, judged)
        finally:
            if not isinstance(prepared, Prepared):
                disk.remove_tree(private)
        return prepared

    def _prepare_in(self, private: Path, job: Job, uid: str, judged: Judged) -> Prepared | Failure:
        brought = _Bringing(self, job, judged, private).bring()
        if isinstance(brought, Failure):
            return brought
        self._warned[uid] = (*brought.warnings, *_without_effect(judged))
        output_dir = self.as_workers_see(private / "out")
        windows = is_windows(output_dir)
        try:
            built = document.build(
                judged.text.document,
                uid=uid,
                output_dir=output_dir.replace("/", "\\") if windows else output_dir,
                stem=job.name,
                ext=document.film_ext(judged.text.document, platform="win32" if windows else sys.platform),
                resolved=brought.sources,
                windows=windows,
                allowances=judged.allowances,
            )
        except ValueError as error:  # even a copy's path would be misread: it is the root's own name
            return fail(Code.JOB_INVALID, f"{error}", cure="Give the hot folder a plainer path on the workers.")
        built.document.update(priority=job.priority, tags=self._tags(judged))
        prepared = self._prepared(job, uid, judged, built)
        disk.mkdirs(prepared.work)
        disk.write(prepared.work / "job.json", json.dumps(built.document, ensure_ascii=True), durable=False)
        return prepared

    def resume(self, job: Job, slip: Slip) -> Prepared | Failure:
        """An attempt of an earlier life of ours, as far as following and finishing it needs."""
        judged = self._judge_again(job)
        if isinstance(judged, Failure):
            return judged
        if not self.private(slip.uid).is_dir():
            return fail(Code.OUTPUT_MISSING, f"the folder of the attempt {slip.uid} is gone")
        prepared = self._prepared(job, slip.uid, judged, slip.built())
        disk.mkdirs(prepared.work)
        return prepared

    def warnings(self, uid: str) -> tuple[str, ...]:
        """What a person should know of how this attempt was handed over; said once."""
        return self._warned.pop(uid, ())

    def private(self, uid: str) -> Path:
        """The folder on the share that is this attempt's own."""
        return private_folder(self.folders, uid)

    def sweep(self, is_kept: Callable[[str], bool]) -> None:
        """Remove the folders of attempts that nobody waits for any more."""
        top = self.folders.root / FARM
        if not top.is_dir():
            return
        for name in os.listdir(top):  # all of them, before any is asked for: what is made meanwhile is not among them
            if not is_kept(name):
                disk.remove_tree(top / name)

    def as_workers_see(self, path: Path | str) -> str:
        """A path of ours as the workers write it."""
        rules = (paths.Rule(origin=rule.from_, target=rule.to) for rule in self.config.nexrender_server.path_map)
        return paths.map_path(os.path.abspath(path), rules)

    def _prepared(self, job: Job, uid: str, judged: Judged, built: Built) -> Prepared:
        disk.mkdirs(self.places.log(job.id).parent)
        self.places.log(job.id).touch()  # from here the service's own lines about this job go there too
        output, work = self.private(uid) / "out", self.places.attempts / uid
        attempt = Attempt(
            marker=uid,
            command=(),
            env={},
            cwd=work,
            watch=(output,),
            log=self.places.log(job.id),
            limits=self.limits(job),
        )
        return Prepared(uid=uid, attempt=attempt, judged=judged, built=built, output_folder=output, work=work)

    def _tags(self, judged: Judged) -> str:
        """Of the config and of the job, as nexrender writes them: small letters and digits, commas between."""
        words = (*self.config.nexrender_server.tags, *(judged.settings.tags or ()))
        plain = (_NOT_IN_A_TAG.sub(" ", word.lower()).strip() for word in words)
        return ", ".join(dict.fromkeys(filter(None, plain)))


def _without_effect(judged: Judged) -> Iterator[str]:
    if judged.settings.aerender is not None:
        yield (
            f"aerender: {judged.settings.aerender} has no effect on a farm: each worker has its own After Effects; use"
            " tags, and workers that pick by them"
        )


def private_folder(folders: Folders, uid: str) -> Path:
    return folders.root / FARM / uid


def is_windows(path: str) -> bool:
    """Is this the form of a path on Windows?"""
    return _WINDOWS.match(path) is not None


# --- sources ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Brought:
    """Every source as the workers write it, by the JSON path of its `src`."""

    sources: dict[str, str]
    warnings: tuple[str, ...] = ()


class _Bringing:
    """Brings the sources of one attempt to where workers can open them."""

    def __init__(self, preparer: FarmPreparer, job: Job, judged: Judged, private: Path) -> None:
        self._preparer, self._job, self._judged, self._private = preparer, job, judged, private
        self._windows = is_windows(preparer.as_workers_see(private))
        self._warnings: list[str] = []

    def bring(self) -> Brought | Failure:
        judged = self._judged
        document = judged.text.document
        # `environment` None: which variables the workers have is not known, so any $NAME counts as one.
        found = self._preparer.footage.bring(
            document,
            resolved=self._out_of_the_zip(),
            links=judged.links,
            folder=self._private / "footage",
            environment=None,
            stop=self._preparer._stop,
        )
        if isinstance(found, Failure):
            return found
        in_script = {path: holder.get("type") in FOOTAGE_TYPES for path, _, holder in sources_of(document)}
        seen = {path: self._seen(path, Path(file), in_script.get(path, False)) for path, file in found.items()}
        return Brought(sources=seen, warnings=tuple(self._warnings))

    def _out_of_the_zip(self) -> Mapping[str, Path]:
        """A zip is unpacked on our own disk, where it is judged; workers get a copy of all that was in it."""
        resolved = self._judged.resolved
        if self._job.form is not Form.ZIP:
            return resolved
        unpacked, copied = self._preparer.judge.unpacked(self._job), self._private / "zip"
        disk.copy_tree(unpacked, copied)
        real = Path(os.path.realpath(unpacked))
        return {path: _below(file, (unpacked, real), copied) for path, file in resolved.items()}

    def _seen(self, path: str, file: Path, in_script: bool) -> str:
        if _is_through_link(file, self._private):
            return self._copied(path, file)  # a link of ours leads to a place of this machine
        seen = self._preparer.as_workers_see(file)
        if is_windows(seen) != self._windows or paths.needs_copy(seen, windows=self._windows, in_script=in_script):
            return self._copied(path, file)
        return seen

    def _copied(self, path: str, file: Path) -> str:
        """The source alone, under a name that every worker can open."""
        stem = "project" if path == "template.src" else "".join(re.findall(r"[a-z0-9]+", path))
        target = self._private / "footage" / f"{stem}{file.suffix.lower() if file.suffix.isascii() else ''}"
        disk.mkdirs(target.parent)
        disk.remove(target)
        disk.copy(Path(os.path.realpath(file)), target)
        if path == "template.src":
            self._warnings.append(
                f"the workers cannot open {self._judged.resolved.get(path, file)} where it lies, and got a copy of it:"
                " footage that the project names relative to itself is not beside the copy"
            )
        return self._preparer.as_workers_see(target)


def _below(file: Path, tops: Iterable[Path], to: Path) -> Path:
    """The same file in the copy of the folder it lies in."""
    for top in tops:
        if file.is_relative_to(top):
            return to / file.relative_to(top)
    return file


def _is_through_link(file: Path, top: Path) -> bool:
    """Does a link that we made lie on the way to this file?"""
    if not file.is_relative_to(top):
        return False
    return any(folder.is_symlink() for folder in (file, *file.parents) if folder.is_relative_to(top))


# --- slips ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Slip:
    """What is remembered of a job that was handed over, from before the server hears of it until it has forgotten."""

    number: int  # in its table
    uid: str
    job: str
    at: str
    doomed: bool = False  # only to be removed from the server
    made: Mapping[str, Any] = field(default_factory=dict)

    def built(self) -> Built:
        """What was handed over, as far as judging and delivering the film needs it."""
        made = self.made
        return Built(
            document={
                "uid": self.uid,
                "template": {"composition": made.get("composition"), "src": made.get("src")},
                "assets": [],
                "actions": {"postrender": [{"module": name} for name in made.get("postrender", ())]},
            },
            output=str(made.get("output", "")),
            stem=str(made.get("stem", "")),
            ext=str(made.get("ext", "")),
            sequence=made.get("sequence") is True,
            frames=range(*made["frames"]) if made.get("frames") else None,
            further=tuple(made.get("further", ())),
            deliveries=tuple(Delivery(**found) for found in made.get("deliveries", ())),
        )


def _made(built: Built) -> dict[str, Any]:
    template, frames = built.document["template"], built.frames
    return {
        "composition": template.get("composition"),
        "src": template.get("src"),
        "postrender": [str(action.get("module")) for action in built.document["actions"]["postrender"]],
        "output": built.output,
        "stem": built.stem,
        "ext": built.ext,
        "sequence": built.sequence,
        "frames": [frames.start, frames.stop, frames.step] if frames is not None else None,
        "further": list(built.further),
        "deliveries": [{"path": found.path, "to": found.to, "of": found.of} for found in built.deliveries],
    }


class Slips:
    """Every slip, on disk before the server hears of the job. Thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._slips: dict[str, Slip] = {}
        self._next = 1
        for number, record in sorted(ledger.db.documents(HANDED).items()):
            self._next = number + 1
            slip = Slip(number=number, **record)
            self._slips[slip.uid] = slip

    def add(self, job: Job, prepared: Prepared) -> Slip:
        with self._lock:
            slip = Slip(
                number=self._next, uid=prepared.uid, job=job.id, at=self._ledger.stamp(), made=_made(prepared.built)
            )
            self._next += 1
            self._save(slip)
            return slip

    def adopt(self, uid: str, job_id: str) -> None:
        """A job of ours that the server still has, or has again, and that nobody waits for."""
        with self._lock:
            if uid not in self._slips:
                self._save(Slip(number=self._next, uid=uid, job=job_id, at=self._ledger.stamp(), doomed=True))
                self._next += 1

    def doom(self, uid: str) -> None:
        """Nobody waits for it any more: the server is to forget it."""
        with self._lock:
            slip = self._slips.get(uid)
            if slip is not None and not slip.doomed:
                self._save(replace(slip, doomed=True, made={}))

    def drop(self, uid: str) -> None:
        """The server has forgotten it, and so do we."""
        with self._lock:
            slip = self._slips.pop(uid, None)
            if slip is not None:
                self._ledger.db.delete(HANDED, slip.number)

    def doomed(self) -> list[str]:
        with self._lock:
            return [slip.uid for slip in self._slips.values() if slip.doomed]

    def all(self) -> list[Slip]:
        """Every slip, oldest first."""
        with self._lock:
            return sorted(self._slips.values(), key=lambda slip: slip.number)

    def __contains__(self, uid: object) -> bool:
        return uid in self._slips

    def _save(self, slip: Slip) -> None:
        record = {"uid": slip.uid, "job": slip.job, "at": slip.at, "doomed": slip.doomed, "made": dict(slip.made)}
        self._ledger.db.put(HANDED, slip.number, record)
        self._slips[slip.uid] = slip


def in_flight(ledger: Ledger) -> frozenset[str]:
    """The jobs that may be with the workers now: the start leaves them and their folders as they are."""
    found = set()
    for record in ledger.db.documents(HANDED).values():
        job = ledger.get(str(record["job"]))
        if not record["doomed"] and job is not None and job.state is State.RENDERING:
            found.add(job.id)
    return frozenset(found)


def abandon(ledger: Ledger, folders: Folders) -> None:
    """Another engine renders now: what is with a farm is not waited for, and whatever comes of it has no place."""
    slips = Slips(ledger)
    for slip in slips.all():
        if not slip.doomed:
            slips.doom(slip.uid)
            disk.remove_tree(private_folder(folders, slip.uid))


def job_of(uid: str) -> str | None:
    """The job that a uid of ours was made for; None for anybody else's."""
    found = _OUR_UID.fullmatch(uid)
    return found[1] if found else None
