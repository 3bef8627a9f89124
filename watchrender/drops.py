"""A job that comes over HTTP: written into the inbox like any drop."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchrender import disk
from watchrender.core import naming
from watchrender.core.states import Event
from watchrender.intake import Intake
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import Folders

#: So many Idempotency-Keys are remembered.
KEYS = 1000


class Drops:
    """The front door for programs."""

    def __init__(
        self, *, folders: Folders, ledger: Ledger, intake: Callable[[], Intake], dropped: Callable[[], None]
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._intake = intake
        self._dropped = dropped
        self._one_at_a_time = threading.Lock()  # the same key twice at once is one job

    def drop(
        self, name: str, sub: str, document: dict[str, Any], settings: dict[str, Any] | None, key: str | None
    ) -> str:
        """Write a job into the inbox. Returns its id. Raises ValueError with words."""
        _check(name, sub)
        with self._one_at_a_time:
            known = dict(self._ledger.facts().get("idempotency", {}))
            if key is not None and key in known:
                return str(known[key])
            inbox = self._folders.inbox_folder(sub)
            disk.mkdirs(inbox)
            free = next(found for found in naming.candidates(name) if _is_free(inbox, found))
            job = self._intake().announce(sub, f"{free}.json")
            if key is not None:
                known = dict(list(known.items())[1 - KEYS :])
                self._ledger.know(idempotency=known | {key: job.id})
            if settings:
                # In the job's own file: one file is there or it is not, and a sidecar beside it would have to settle.
                own = document.get("watchrender")
                document = {**document, "watchrender": {**(own if isinstance(own, dict) else {}), **settings}}
            try:
                disk.write_new(inbox / f"{free}.json", json.dumps(document, ensure_ascii=False, indent=1))
            except OSError as error:
                self._ledger.apply(job.id, Event.CANCEL, f"its file could not be written: {error.strerror}", folder="")
                raise
        self._dropped()
        return job.id


def _is_free(inbox: Path, name: str) -> bool:
    return not any(os.path.lexists(inbox / f"{name}{end}") for end in (".json", ".yaml", ".yml"))


def _check(name: str, sub: str) -> None:
    for part in (name, *(sub.split("/") if sub else ())):
        if part in (".", "..") or set(part) & set("/\\\0") or not part.strip() or len(os.fsencode(part)) > 200:
            raise ValueError(f"{part!r} cannot be a file name")
        if naming.is_ignored(part, is_dir=False):
            raise ValueError(f"{part!r} is a name that watchrender leaves alone")
        if why := naming.not_for_windows(part):
            raise ValueError(f"{part!r} is no name for a job: {why}")
