"""A job that comes over HTTP: written into the inbox like any drop."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from watchrender import disk
from watchrender.core import naming
from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.intake import Intake
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import Folders

#: So many Idempotency-Keys are remembered.
KEYS = 1000


class Drops:
    """The front door for programs."""

    def __init__(
        self,
        *,
        folders: Folders,
        ledger: Ledger,
        intake: Callable[[], Intake],
        dropped: Callable[[], None],
        ignore: tuple[str, ...] = (),
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._intake = intake
        self._dropped = dropped
        self._ignore = ignore  # watch.ignore
        self._one_at_a_time = threading.Lock()  # the same key twice at once is one job

    def drop(
        self, name: str, sub: str, document: dict[str, Any], settings: dict[str, Any] | None, key: str | None
    ) -> str:
        """Write a job into the inbox. Returns its id. Raises ValueError with words."""
        if fault := naming.not_for_a_sub(sub, self._ignore) or naming.not_for_a_job(name, self._ignore):
            raise ValueError(fault)
        with self._one_at_a_time:
            job_id = self._keys().get(key) if key is not None else None
            job = self._ledger.get(str(job_id)) if job_id is not None else None
            if job_id is not None and (job is None or self._came(job)):
                return str(job_id)
            if job is None or job.over:
                job = self._announce(name, sub, key)
            self._write(job, document, settings)
        self._dropped()
        return job.id

    def _announce(self, name: str, sub: str, key: str | None) -> Job:
        intake = self._intake()
        intake.expect_sub(sub)
        disk.mkdirs(self._folders.inbox_folder(sub))
        file = next(self._files(sub, name, intake))
        with self._ledger.together():  # a job in the record without its key would be another one for who asks again
            job = self._ledger.live_by_file(sub, file) or intake.announce(sub, file)
            if key is not None:
                known = [(other, job_id) for other, job_id in self._keys().items() if other != key]
                self._ledger.know(idempotency=dict([*known[1 - KEYS :], (key, job.id)]))
        return job

    def _keys(self) -> Mapping[str, str]:
        """Idempotency-Key → id of its job, the newest last."""
        return self._ledger.facts().get("idempotency", {})  # type: ignore[no-any-return]

    def _files(self, sub: str, name: str, intake: Intake) -> Iterator[str]:
        """What the file may be called. Where the name itself is free the key is found as for any drop; else the number
        that is added has to be free as a key too: a key `spot~2~2` would be nobody's idea of the second `spot`."""
        for number, stem in enumerate(naming.stem_candidates(name)):
            file = f"{stem}.json"
            if self._is_free(sub, stem, file) and (number == 0 or intake.is_free_key(sub, file)):
                yield file

    def _is_free(self, sub: str, stem: str, file: str) -> bool:
        """Nothing of that name lies there, and no job waits for its file to come back under it. One that is pending was
        announced by a service that ended before it could write the file: that name is still to be had."""
        inbox = self._folders.inbox_folder(sub)
        if any(os.path.lexists(inbox / f"{stem}{end}") for end in (".json", ".yaml", ".yml")):
            return False
        job = self._ledger.live_by_file(sub, file)
        return job is None or job.state is State.PENDING

    def _came(self, job: Job) -> bool:
        """Was the file of a job that was announced ever written? A full disk, or the end of the service, may have come
        before it; whoever sends the same again is told of a job that is there."""
        if job.state is State.PENDING:
            return os.path.lexists(self._folders.inbox_folder(job.sub) / job.file)
        was_seen = {line["to"] for line in job.history} - {State.PENDING, State.CANCELLED}
        return job.state is not State.CANCELLED or bool(was_seen or job.folder)

    def _write(self, job: Job, document: dict[str, Any], settings: dict[str, Any] | None) -> None:
        if settings:
            # In the job's own file: one file is there or it is not, and a sidecar beside it would have to settle.
            own = document.get("watchrender")
            document = {**document, "watchrender": {**(own if isinstance(own, dict) else {}), **settings}}
        try:
            path = self._folders.inbox_folder(job.sub) / job.file
            disk.write_new(path, json.dumps(document, ensure_ascii=False, indent=1))
        except OSError as error:
            self._ledger.apply(job.id, Event.CANCEL, f"its file could not be written: {error.strerror}", folder="")
            raise
