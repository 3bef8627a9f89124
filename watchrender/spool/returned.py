"""Job folders that come back: somebody dragged one out of failed/, cancelled/ or done/ into the inbox.

Of a returned status file only `id` and `files` (bare names) are believed: anybody may have written in it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from watchrender import disk
from watchrender.core import naming
from watchrender.core.naming import Kind
from watchrender.spool.bundle import is_bundle
from watchrender.spool.folders import BEFORE, STATUS_SUFFIX, before_name, read_any_status

_ID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")


@dataclass(frozen=True, kw_only=True)
class Returned:
    """What a returned folder says of itself."""

    id: str
    job: str
    sidecar: str | None


def read(folder: Path) -> Returned | None:
    """Is this folder a returned job? None where no status file of ours, or no job file, is in it."""
    for name in _status_names(folder):
        status = read_any_status(folder / name)
        files = status.get("files") if status is not None else None
        if status is None or not isinstance(files, dict) or not _ID.fullmatch(status["id"]):
            continue
        job = bare(files.get("job"))
        if job is not None and _is_a_job(folder / job):
            return Returned(id=str(status["id"]), job=job, sidecar=_sidecar(folder, files.get("sidecar"), job))
    return None


def _is_a_job(path: Path) -> bool:
    """May this be what the job was dropped as? Any other file would lie in the inbox as an order, or unseen."""
    if path.name == "bundle":
        try:
            return not path.is_symlink() and is_bundle(path)
        except OSError:
            return False
    return naming.classify(path.name, is_dir=False) in (Kind.JOB, Kind.YAML, Kind.ZIP) and _is_plain(path)


def _sidecar(folder: Path, name: object, job: str) -> str | None:
    """The settings that came with it; None where that is no file of settings."""
    found = bare(name)
    if found is None or found == job or naming.classify(found, is_dir=False) is not Kind.YAML:
        return None
    return found if _is_plain(folder / found) else None


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def is_ours(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Is there a status file of ours in this folder? `names`: the files to ask, where they are known."""
    return any(
        read_any_status(folder / name) is not None for name in (_status_names(folder) if names is None else names)
    )


def _status_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.name.endswith(STATUS_SUFFIX) and entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return []


def bare(name: object) -> str | None:
    """A name that cannot lead anywhere else, or None."""
    if not isinstance(name, str) or not name or name in (".", "..") or any(sign in name for sign in "/\\\0"):
        return None
    return name


def unpack(folder: Path, back: Returned, target: Path, *, bundle_name: str) -> str:
    """Put a returned job's files into `target` under free names; the rest waits hidden beside them until the claim.

    Returns the new job file's name. Cut anywhere, a second call goes on.
    """
    disk.mkdirs(target)
    dropped = bundle_name if back.job == "bundle" else back.job
    name = _free(target, dropped, is_dir=back.job == "bundle", leaving=folder)
    rest = target / before_name(name)
    if rest != folder:
        disk.rename(folder, rest)
    _bring(rest, back, target, name)
    return name


def go_on(rest: Path) -> str | None:
    """Go on with an `unpack` that was cut off. The id of the job that has come back, or None if `rest` is not ours."""
    status = next(
        (found for path in rest.glob(f"*{STATUS_SUFFIX}") if (found := read_any_status(path)) is not None), None
    )
    if status is None:
        return None
    back, name = read(rest), rest.name.removeprefix(BEFORE)
    if back is not None and not os.path.lexists(rest.parent / name):
        _bring(rest, back, rest.parent, name)
    return str(status["id"])


def _bring(rest: Path, back: Returned, target: Path, name: str) -> None:
    if back.sidecar is not None and _is_plain(rest / back.sidecar):
        sidecar = settings_name(target, back.sidecar, name, is_dir=back.job == "bundle")
        if not os.path.lexists(target / sidecar):
            disk.rename(rest / back.sidecar, target / sidecar)
    disk.rename(rest / back.job, target / name)


def settings_name(folder: Path, sidecar: str, job: str, *, is_dir: bool) -> str:
    """How the settings of a job are called that is dropped into `folder` anew as `job`."""
    with os.scandir(folder) as entries:
        others = [
            (entry.name, entry.is_dir(follow_symlinks=False))
            for entry in entries
            if entry.name != job and not entry.name.startswith(".")
        ]
    jobs = (Kind.JOB, Kind.ZIP, Kind.FOLDER)
    others = [(name, is_dir) for name, is_dir in others if naming.classify(name, is_dir=is_dir) in jobs]
    return naming.settings_name(sidecar, job, others, is_dir=is_dir)


def _free(folder: Path, name: str, *, is_dir: bool, leaving: Path) -> str:
    """A free name; the one that `leaving` has now is about to be."""

    def is_free(path: Path) -> bool:
        return path == leaving or not os.path.lexists(path)

    return next(
        full
        for full in naming.file_candidates(name, is_dir=is_dir)
        if is_free(folder / full) and is_free(folder / before_name(full))
    )
