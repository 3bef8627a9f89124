"""What lies in the inbox and no service has seen yet, told as a status file would tell it.

By the names alone, and by what is at the top of a folder: whether a job passes, the service says when it reads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from watchrender.config import Config
from watchrender.core import naming, priority, status
from watchrender.core.clock import stamp
from watchrender.core.job import Form, Job
from watchrender.core.naming import Kind
from watchrender.spool import bundle, jobfile, returned
from watchrender.spool.folders import Folders
from watchrender.spool.plain import read_plain


def unseen(config: Config, folders: Folders) -> Iterator[dict[str, Any]]:
    """The jobs among the files and folders of the inbox, each with the status document that it has before anything is
    known of it."""
    for place, names, files in os.walk(folders.inbox):
        sub = Path(place).relative_to(folders.inbox).as_posix()
        sub = "" if sub == "." else sub
        inner = []
        for name in sorted(names, key=naming.natural_key):
            if naming.classify(name, is_dir=True, extra_ignore=config.watch.ignore) is not Kind.FOLDER:
                continue
            found = _folder(config, folders, sub, name)
            if found is None:
                inner.append(name)  # a sub-folder
            else:
                yield found
        names[:] = inner
        for name in sorted(files, key=naming.natural_key):
            kind = naming.classify(name, is_dir=False, extra_ignore=config.watch.ignore)
            if kind in (Kind.JOB, Kind.ZIP) or (kind is Kind.YAML and _is_job(config, Path(place) / name)):
                yield _status(config, folders, sub, name, Form.ZIP if kind is Kind.ZIP else Form.FILE)


def _folder(config: Config, folders: Folders, sub: str, name: str) -> dict[str, Any] | None:
    """The job that a folder is: one that came back, or a bundle."""
    path = folders.inbox_folder(sub) / name
    back = returned.read(path)
    if back is not None:
        return _status(config, folders, sub, name, Form.FILE, file=back.job, retry_of=back.id)
    try:
        return _status(config, folders, sub, name, Form.BUNDLE) if bundle.is_bundle(path) else None
    except OSError:
        return None


def _is_job(config: Config, path: Path) -> bool:
    try:
        return jobfile.is_yaml_job(read_plain(path, config.watch.max_job_size))
    except OSError:
        return False


def _status(
    config: Config, folders: Folders, sub: str, name: str, form: Form, *, file: str = "", retry_of: str | None = None
) -> dict[str, Any]:
    named = naming.parse_name(name, is_dir=form is Form.BUNDLE or bool(file))
    wanted, origin = priority.resolve(
        filename=named.priority,
        folder=priority.of_folder(sub, config.queue.folder_priorities),
        default=config.queue.default_priority,
    )
    seen = _changed(folders.inbox_folder(sub) / name)
    job = Job(
        id="", serial=0, arrival=0, name=naming.fit(named.name), sub=sub, form=form, file=file or name,
        folder=folders.relative(folders.inbox_folder(sub)), retry_of=retry_of, priority=wanted, priority_from=origin,
        max_attempts=config.retry.max_retries + 1, created_at=seen, updated_at=seen,
    )  # fmt: skip
    return status.document(job)


def _changed(path: Path) -> str:
    """When it was saved; the moment of asking where it has just gone."""
    try:
        return stamp(datetime.fromtimestamp(path.lstat().st_mtime, UTC))
    except OSError:
        return stamp(datetime.now(UTC))
