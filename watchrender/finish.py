"""What follows a render: the verdict, the checksum, previews, and the film in its place.

A film is moved into its job's folder first, then the final status is written: from there the job's end is decided and
every start completes it. How a film gets elsewhere (`output:`) is told in `elsewhere.py`.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import COPY_AFTER_SECONDS, Closer
from watchrender.config.model import Config
from watchrender.core import access, naming, status
from watchrender.core.failure import Code, Failure
from watchrender.core.job import Job, Progress
from watchrender.core.settings import Settings, fill_in, names_folder
from watchrender.core.states import Event
from watchrender.elsewhere import deliver_elsewhere, keep_here, tell_beside
from watchrender.judge import facts_of, output_exists, policy_of
from watchrender.ledger.ledger import Ledger
from watchrender.prepare import Attempted, Places, Prepared
from watchrender.render import frames, outputs, probe, projectfile, verdict
from watchrender.render.outputs import Kind, Output
from watchrender.render.verdict import Ended, Exit, Expect, Rule, Verify
from watchrender.spool.folders import Busy, Folders
from watchrender.spool.statusfile import to_json

#: A target elsewhere that refuses for this long keeps nobody waiting: the film stays in done/, and says so.
ELSEWHERE_SECONDS = 60.0
#: For the previews of all films of a job together.
PREVIEW_SECONDS = 60.0


class Elsewhere(Busy):
    """A place that a film should go to besides done/ refuses it for now; nobody else has to wait for that."""

    def __init__(self, error: OSError) -> None:
        Exception.__init__(self, f"{error.filename or 'the place of its output'}: {error.strerror or error}")


@dataclass(kw_only=True)
class Delivery:
    """An attempt on its way to its end; kept while a move is refused, so that nothing is done twice."""

    job_id: str
    attempted: Attempted
    due: float = 0.0  # monotonic
    refused: int = 0
    since: float | None = None
    judged: bool = False
    failure: Failure | None = None  # the verdict, where it is one
    begun: bool = False  # the film is good and on its way: it can no longer be cancelled
    warnings: tuple[str, ...] = ()
    moved: list[Output] = field(default_factory=list)
    described: list[dict[str, Any]] | None = None
    elsewhere: tuple[dict[str, Any], ...] = ()


@dataclass(kw_only=True)
class Finisher:
    """Judges attempts and delivers films."""

    config: Config
    folders: Folders
    ledger: Ledger
    closer: Closer
    places: Places
    learn: Callable[[Job, float, int | None], None] = lambda _job, _seconds, _frames: None
    rendered: Callable[[Job], Iterable[str]] = lambda _job: ()  # compositions of the job's project, as far as known
    clock: Callable[[], float] = time.monotonic

    def judge(self, job: Job, delivery: Delivery) -> Failure | None:
        """The verdict on an attempt, found once. None: there is a good film. Raises OSError while the share is away
        that the film was rendered to: call again, it may be there."""
        if not delivery.judged:
            self._reach(delivery.attempted.prepared.output_folder)
            delivery.since = self.clock()
            delivery.failure = self._judge(job, delivery)
            delivery.judged = True
        return delivery.failure

    def deliver(self, job: Job, delivery: Delivery) -> Failure | None:
        """Put the film in its place. None: it is there, and the job is completed.

        Raises `Busy` and OSError where a move is refused for now: call again, nothing is done twice.
        """
        folder = self.folders.absolute(job.folder)
        self._move_in(job, delivery, folder)
        if delivery.described is None:
            settled = self._describe(job, delivery, folder)
            if isinstance(settled, Failure):
                return settled
        self._close(job, delivery, folder)
        told = delivery.attempted.transcript
        self.learn(job, delivery.attempted.outcome.seconds, told.frames or told.frame)
        self.forget(delivery.attempted.prepared)
        return None

    # -- the verdict ----------------------------------------------------------------------------------------

    def _reach(self, folder: Path) -> None:
        if folder.is_relative_to(self.folders.root) and (offline := self.folders.health()) is not None:
            raise disk.Away(errno.ENODEV, offline.message, str(folder))

    def _judge(self, job: Job, delivery: Delivery) -> Failure | None:
        attempted = delivery.attempted
        prepared = attempted.prepared
        found = outputs.find(
            prepared.output_folder,
            prepared.built.stem,
            prepared.built.sequence,
            prepared.built.frames.step if prepared.built.frames is not None else 1,
            ext=prepared.built.ext,
        )
        probed = None
        if self.config.verify.probe == "auto" and found.main is not None:
            probed = probe.probe(found.main.last_file)
            decodes = probed is not None and probed.last_frame_decodes is True
            found = replace(found, main=frames.looked_at(found.main, last_decodes=decodes))
        judged = partial(
            verdict.judge,
            self._exit(attempted),
            attempted.transcript,
            found,
            expect=self._expect(prepared.judged.settings, attempted),
            verify=self._verify(),
            probed=probed,
        )
        said = judged()
        if said.failure is not None and said.failure.code is Code.COMPOSITION_NOT_FOUND:
            said = judged(known_compositions=self._known_compositions(job, prepared))
        if said.failure is not None:
            return said.failure
        delivery.warnings = said.warnings
        delivery.moved = list(found)
        return None

    def _known_compositions(self, job: Job, prepared: Prepared) -> list[str]:
        """What the project holds, by its file and by what was rendered from it before."""
        file = prepared.judged.resolved.get("template.src")
        in_file = projectfile.compositions(file) if file is not None else ()
        return list(dict.fromkeys((*in_file, *self.rendered(job))))

    @staticmethod
    def _exit(attempted: Attempted) -> Exit:
        outcome = attempted.outcome
        ended = Ended(str(outcome.ended)) if outcome.ended is not None else None
        return Exit(code=outcome.code, signal=outcome.signal, ended_by=ended)

    @staticmethod
    def _expect(settings: Settings, attempted: Attempted) -> Expect:
        built, wished = attempted.prepared.built, settings.expect
        span = built.frames
        postrender = [str(action.get("module")) for action in built.document["actions"]["postrender"]]
        template = built.document["template"]
        return Expect(
            frames=wished.frames if wished is not None else None,
            duration=wished.duration if wished is not None else None,
            min_bytes=wished.min_bytes if wished is not None else None,
            first=span.start if span is not None else None,
            last=span[-1] if span is not None and len(span) else None,
            step=span.step if span is not None else 1,
            composition=template.get("composition"),
            template=template.get("src"),
            postrender=tuple(postrender),
        )

    def _verify(self) -> Verify:
        said = self.config.verify
        return Verify(
            min_bytes=said.min_bytes,
            frames=said.frames,
            missing_footage=Rule(said.missing_footage),
            missing_fonts=Rule(said.missing_fonts),
        )

    # -- into the job's folder ------------------------------------------------------------------------------

    def _move_in(self, job: Job, delivery: Delivery, folder: Path) -> None:
        """The outputs, under the job's name, beside its job file: by rename on one volume, else by a flushed copy."""
        prepared = delivery.attempted.prepared
        for number, output in enumerate(delivery.moved):
            if output.path.parent.is_relative_to(folder) and not output.path.is_relative_to(prepared.output_folder):
                continue  # moved before a refusal
            delivery.moved[number] = self._place(job, output, prepared.output_folder, folder, prepared.built.stem)

    def _place(self, job: Job, output: Output, inside: Path, folder: Path, stem: str) -> Output:
        if output.numbering is not None:
            return self._place_sequence(job, output, folder, stem)
        below = output.path.relative_to(inside)
        name = below.name
        if output.path.stem == stem:
            name = f"{job.name}{output.path.suffix}"
        target = folder / below.parent / self._unused(folder / below.parent, name)
        self._move(output.path, target)
        return replace(output, path=target)

    def _unused(self, folder: Path, name: str) -> str:
        stem, dot, suffix = name.rpartition(".")
        for candidate in naming.candidates(stem or name):
            full = f"{candidate}{dot}{suffix}" if stem else candidate
            if not os.path.lexists(folder / full):
                return full
        raise AssertionError("candidates never end")

    def _place_sequence(self, job: Job, output: Output, folder: Path, stem: str) -> Output:
        assert output.numbering is not None
        before = output.numbering.before
        ours = replace(
            output.numbering, before=f"{job.name}{before[len(stem) :]}" if before.startswith(stem) else before
        )
        target = folder / "frames"
        for number in output.numbering.numbers:
            source = output.path.with_name(output.numbering.name(number))
            self._move(source, target / ours.name(number))
        return replace(output, path=target / ours.pattern, numbering=ours)

    def _move(self, source: Path, target: Path) -> None:
        disk.mkdirs(target.parent)
        try:
            disk.rename(source, target)
        except FileExistsError:
            if os.path.lexists(source):
                raise
        except OSError as error:
            if not os.path.lexists(source) and os.path.lexists(target):
                return
            if disk.is_busy(error):
                raise Busy(source, error) from None
            self._copy_in(source, target)

    def _copy_in(self, source: Path, target: Path) -> None:
        hidden = target.with_name(f".{disk.shortened(target.name)}.part")
        disk.remove(hidden)
        disk.copy(source, hidden)
        disk.rename(hidden, target)
        disk.remove(source)

    # -- what there is to say of it -------------------------------------------------------------------------

    def _describe(self, job: Job, delivery: Delivery, folder: Path) -> Failure | None:
        elsewhere = self._elsewhere(job, delivery, folder)
        if isinstance(elsewhere, Failure):
            return elsewhere
        described = []
        for output in delivery.moved:
            digest = outputs.sha256(output.path) if self.config.delivery.checksum and output.kind is Kind.FILM else None
            entry = outputs.describe(output, beside=folder, sha256=digest)
            to = next((found["shown"] for found in elsewhere if found["from"] == entry["path"]), None)
            described.append(entry | ({"path": to} if to is not None else {}))
        if self.config.delivery.previews == "auto":
            make_previews(job, delivery.moved, folder, clock=self.clock)
        delivery.elsewhere = elsewhere
        delivery.described = described
        return None

    def _elsewhere(self, job: Job, delivery: Delivery, folder: Path) -> tuple[dict[str, Any], ...] | Failure:
        """Where films go besides done/: the settings' `output:`, else what the job itself asks for, weakest last."""
        if not delivery.moved:
            return ()
        prepared = delivery.attempted.prepared
        wished = prepared.judged.settings.output
        pairs: list[tuple[Output, str]] = []
        if wished is not None:
            pairs.append((delivery.moved[0], wished))
        else:
            for asked in prepared.built.deliveries:
                output = self._output_meant(delivery, asked.of)
                if output is not None and all(output is not known for known, _ in pairs):
                    pairs.append((output, asked.to))
        found: list[dict[str, Any]] = []
        for output, text in pairs:
            target = self._target(job, output, text, prepared.judged.settings, delivery)
            if isinstance(target, Failure) and wished is not None:
                return target
            if isinstance(target, Failure):  # the job's own wish is the weakest: the film lies in done/ anyway
                delivery.warnings += (f"left out: {target.message} {target.cure}",)
                continue
            entry = outputs.describe(output, beside=folder)
            found.append(
                {
                    "from": entry["path"],
                    "to": str(target),
                    "shown": str(target if output.kind is Kind.FILM else target / output.path.name),
                    "replace": self._on_exists(prepared.judged.settings) == "replace",
                }
            )
        return tuple(found)

    @staticmethod
    def _output_meant(delivery: Delivery, name: str | None) -> Output | None:
        if name is None:
            return delivery.moved[0]
        return next((output for output in delivery.moved if output.path.name == name), None)

    def _on_exists(self, settings: Settings) -> str:
        return str(settings.on_exists or self.config.delivery.on_exists)

    def _target(self, job: Job, output: Output, text: str, settings: Settings, delivery: Delivery) -> Path | Failure:
        """The file (or, for a sequence, the folder) that an `output:` names, versioned where it is taken."""
        ext = output.path.suffix.lstrip(".") if output.kind is Kind.FILM else output.last_file.suffix.lstrip(".")
        filled = fill_in(text, job, ext, datetime.now())
        facts, allowed = facts_of(self.config, self.folders), policy_of(self.config)
        judged = access.delivery_target(filled, path="output", facts=facts, policy=allowed)
        if isinstance(judged, Failure):
            return judged
        path = Path(judged)
        if names_folder(judged, is_folder=os.path.isdir(judged)):
            path = path / (output.path.name if output.kind is Kind.FILM else job.name)
        elif output.kind is Kind.SEQUENCE:
            path = path.with_suffix("")
        elif path.suffix.lstrip(".").lower() != ext.lower():
            delivery.warnings += (
                f"the film is {ext}, so it was delivered as {path.stem}.{ext} and not as {path.name}",
            )
            path = path.with_suffix(f".{ext}")
        if refused := access.target_objection(str(path), path="output", facts=facts, policy=allowed):
            return refused
        if not os.path.lexists(path):
            return path
        if self._on_exists(settings) == "fail":
            return output_exists(path)
        if self._on_exists(settings) == "replace":
            if _may_be_replaced(path, output):
                return path
            delivery.warnings += (f"{path} holds more than frames, so it was not replaced",)
        return path.with_name(self._unused(path.parent, path.name))

    # -- the end --------------------------------------------------------------------------------------------

    def _close(self, job: Job, delivery: Delivery, folder: Path) -> None:
        """Final status, deliveries elsewhere, one rename, the record."""
        assert delivery.since is not None
        copy = self.clock() - delivery.since >= COPY_AFTER_SECONDS
        self.folders.clear_attempts(folder)
        changes: dict[str, Any] = {
            "outputs": tuple(delivery.described or ()),
            "warnings": (*job.warnings, *delivery.warnings),
            "deliveries": delivery.elsewhere,
            "attempts": (*job.attempts, self._entry(job, delivery.attempted)),
            "error": None,
            "waiting_for": (),
            "progress": self._last_progress(delivery.attempted),
        }
        self.closer.close(
            job,
            Event.FINISH,
            f"rendered and verified on try {job.attempt}",
            copy=copy,
            before_move=lambda place, final: self._deliver(delivery, place, final),
            **changes,
        )
        logger.info("{} completed: {}", job.key, ", ".join(str(entry["path"]) for entry in delivery.described or ()))

    @staticmethod
    def _entry(job: Job, attempted: Attempted) -> dict[str, Any]:
        return {
            "number": len(job.attempts) + 1,
            "started_at": attempted.started_at,
            "finished_at": attempted.finished_at,
            "exit_code": attempted.outcome.code,
            "error": None,
        }

    @staticmethod
    def _last_progress(attempted: Attempted) -> Progress:
        told = attempted.transcript
        return Progress(percent=100.0, frame=told.frame, frames=told.frames, fps=told.fps, stage="completed")

    def _deliver(self, delivery: Delivery, folder: Path, final: Job) -> Job:
        """Deliver elsewhere. If a target refuses for too long the film stays in its folder, and the status says so."""
        if not delivery.elsewhere:
            return final
        try:
            deliver_elsewhere(folder, delivery.elsewhere)
        except OSError as error:
            if self.clock() - (delivery.since or 0.0) < ELSEWHERE_SECONDS:
                raise Elsewhere(error) from error
            return self._keep_here(delivery, folder, final, error)
        return final

    def _keep_here(self, delivery: Delivery, folder: Path, final: Job, error: OSError) -> Job:
        kept = keep_here(folder, delivery.elsewhere, delivery.described or (), error)
        delivery.elsewhere, delivery.described = kept.deliveries, list(kept.outputs)
        for said in kept.warnings:
            logger.warning("{}: {}", final.key, said)
        final = replace(
            final,
            outputs=kept.outputs,
            deliveries=kept.deliveries,
            warnings=(*final.warnings, *kept.warnings),
        )
        tell_beside(kept.deliveries, to_json(status.document(final)))
        return final

    # -- what an attempt leaves -----------------------------------------------------------------------------

    def discard(self, prepared: Prepared) -> None:
        """An attempt that was ended by us leaves nothing."""
        disk.remove_tree(prepared.output_folder)
        self.forget(prepared)

    def forget(self, prepared: Prepared) -> None:
        disk.remove_tree(prepared.work)
        unpacked = self.places.work_dir / "zip" / prepared.uid.rsplit("-", 1)[0]
        disk.remove_tree(unpacked)

    def keep_for_study(self, attempted: Attempted) -> None:
        """A failed attempt: its film goes, the newest few work folders are kept."""
        prepared, keep = attempted.prepared, self.config.nexrender.keep_failed_work
        disk.remove_tree(prepared.output_folder)
        if keep == 0:
            self.forget(prepared)
            return
        kept = self.places.work_dir / "failed"
        try:
            disk.mkdirs(kept)
            disk.rename(prepared.work, kept / prepared.uid)
            for old in sorted(kept.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
                disk.remove_tree(old)
        except OSError as error:
            logger.warning("the work of a failed attempt could not be kept: {}", str(error))
        self.forget(prepared)


def make_previews(
    job: Job, outputs: list[Output], folder: Path, *, clock: Callable[[], float] = time.monotonic
) -> None:
    """A thumbnail and a contact sheet of each film and each sequence, as far as the time for all of them goes."""
    began = clock()
    for number, output in enumerate(outputs):
        if number and not probe.may_have_pictures(output.last_file):
            continue
        left = PREVIEW_SECONDS - (clock() - began)
        if left < 1:
            logger.warning("{}: no time for previews of {}", job.key, output.path.name)
            return
        source: Any = list(output.files()) if output.kind is Kind.SEQUENCE else output.path
        try:
            probe.previews(source, folder, left, prefix=naming.preview_prefix(job.name, number))
        except OSError as error:
            logger.warning("no previews of {}: {}", output.path.name, str(error))


def _may_be_replaced(path: Path, output: Output) -> bool:
    """A film takes the place of a file. Frames take the place of a folder of frames, never of anything else: to replace
    a folder is to remove all that is in it."""
    if output.kind is Kind.FILM:
        return not path.is_dir()
    try:
        with os.scandir(path) as entries:
            suffix = output.last_file.suffix.lower()
            return all(
                entry.is_file(follow_symlinks=False) and entry.name.lower().endswith(suffix) for entry in entries
            )
    except OSError:
        return False
