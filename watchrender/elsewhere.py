"""A film that goes elsewhere (`output:`): copied to a hidden name beside its target, flushed, renamed; with its status.

What has arrived is not copied again, and what cannot arrive stays in its job's folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from watchrender import disk
from watchrender.core import naming
from watchrender.render import outputs
from watchrender.spool.folders import ATTEMPT, STATUS_SUFFIX
from watchrender.spool.plain import NotPlain, read_plain


def deliver_elsewhere(folder: Path, deliveries: Iterable[Any]) -> None:
    """Copy films to their targets: hidden name, flush, rename; then a copy of the status file beside each. One that
    has arrived is not copied again."""
    known = [
        found
        for found in deliveries
        if isinstance(found, dict) and isinstance(found.get("from"), str) and isinstance(found.get("to"), str)
    ]
    for found in known:
        source, target = folder / PurePath(found["from"]), Path(found["to"])
        if _is_sequence(source):
            _deliver_sequence(source.parent, target, replace_it=found.get("replace") is True)
        elif source.exists():
            _deliver_file(source, target, replace_it=found.get("replace") is True)
    for said in folder.glob(f"*{STATUS_SUFFIX}"):
        with suppress(NotPlain):  # a link or a pipe that somebody put into the job's folder is none of ours
            content = read_plain(said)
            for found in known:
                _write_beside(Path(found["to"]), content)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is to be told of a job whose films could not all be delivered elsewhere."""

    outputs: tuple[dict[str, Any], ...]
    deliveries: tuple[dict[str, Any], ...]  # those that are where they should be
    warnings: tuple[str, ...]


def keep_here(
    folder: Path, deliveries: Iterable[dict[str, Any]], told: Iterable[dict[str, Any]], why: OSError | str
) -> Kept:
    """Give up delivering elsewhere: what has not arrived stays in its folder, and the outputs say so. A place that is
    not allowed (`why` in words) is not even looked at."""
    known = tuple(deliveries)
    refused = [found for found in known if isinstance(why, str) or not _has_arrived(folder, found)]
    here = {str(found.get("shown")): str(found["from"]) for found in refused}
    for found in refused if isinstance(why, OSError) else ():
        with suppress(OSError):  # a place that refuses may do so for what is left of a copy, too
            hidden = _hidden(Path(found["to"]))
            disk.remove_tree(hidden) if hidden.is_dir() else disk.remove(hidden)
    outputs = tuple(entry | {"path": here[entry["path"]]} if entry.get("path") in here else entry for entry in told)
    reason = why if isinstance(why, str) else str(why.strerror or why)
    said = f"could not be delivered to {', '.join(here)} ({reason}); the film is in this folder"
    return Kept(
        outputs=outputs,
        deliveries=tuple(found for found in known if found.get("shown") not in here),
        warnings=(said,) if here else (),
    )


def _has_arrived(folder: Path, delivery: dict[str, Any]) -> bool:
    source, target = folder / PurePath(delivery["from"]), Path(delivery["to"])
    if _is_sequence(source):
        return not source.parent.is_dir() or _same_frames(source.parent, target)
    return not source.exists() or _same_content(source, target)


def tell_beside(deliveries: Iterable[dict[str, Any]], said: bytes) -> None:
    """The final status once more beside films that were delivered elsewhere. A place that refuses has had its time."""
    for found in deliveries:
        with suppress(OSError):
            _write_beside(Path(found["to"]), said)


def _is_sequence(source: Path) -> bool:
    return "[" in source.name and not source.exists()


def _deliver_file(source: Path, target: Path, *, replace_it: bool) -> None:
    disk.mkdirs(target.parent)
    hidden = _hidden(target)
    if _same_content(source, target):
        disk.remove(source)  # it has arrived; the cut came before the original was removed
        return
    disk.remove(hidden)
    disk.copy(source, hidden)
    disk.replace(hidden, target) if replace_it else disk.rename(hidden, target)
    disk.flush_folder(target.parent)
    disk.remove(source)


def _hidden(target: Path) -> Path:
    return target.with_name(f".{disk.shortened(target.name)}.watchrender-part")


def _same_content(source: Path, target: Path) -> bool:
    try:
        if not target.is_file() or target.stat().st_size != source.stat().st_size:
            return False
        return outputs.sha256(source) == outputs.sha256(target)
    except OSError:
        return False


def _deliver_sequence(source: Path, target: Path, *, replace_it: bool) -> None:
    if not source.is_dir():
        return
    old = target.with_name(f".{disk.shortened(target.name)}.watchrender-old")
    if not _same_frames(source, target):
        hidden = _hidden(target)
        disk.mkdirs(target.parent)
        disk.remove_tree(hidden)
        disk.copy_tree(source, hidden)
        if replace_it and target.is_dir():
            disk.remove_tree(old)
            disk.rename(target, old)
        disk.rename(hidden, target)
        disk.flush_folder(target.parent)
    disk.remove_tree(old)
    # At once, before it is removed bit by bit: what a cut leaves of it must not be taken for the frames.
    delivered = source.with_name(f"{ATTEMPT}delivered")
    disk.remove_tree(delivered)
    disk.rename(source, delivered)
    disk.remove_tree(delivered)


def _same_frames(source: Path, target: Path) -> bool:
    """Is this folder of frames there, whole, and nothing else?"""
    try:
        names = {entry.name for entry in os.scandir(target) if not entry.name.startswith(".")}
        return names == set(os.listdir(source)) and all(_same_content(source / name, target / name) for name in names)
    except OSError:
        return False


def _write_beside(target: Path, said: bytes) -> None:
    """A copy of the status file beside a film that was delivered elsewhere."""
    disk.write(target.parent / f"{naming.fit(target.stem)}{STATUS_SUFFIX}", said)
