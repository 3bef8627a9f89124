"""What the endpoints work with: one value, handed to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from watchrender.control import Control
from watchrender.core import status
from watchrender.core.failure import Failure
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.gate import Gate
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import Folders
from watchrender.web.answers import Problem
from watchrender.web.aside import Aside
from watchrender.web.etas import Etas
from watchrender.web.guard import Sessions
from watchrender.web.hub import Hub
from watchrender.web.keys import Keys
from watchrender.web.listing import Pages
from watchrender.web.metrics import Counted
from watchrender.web.pulse import Pulse
from watchrender.web.retries import Retries
from watchrender.web.tally import Tally

Drop = Callable[[str, str, dict[str, Any], dict[str, Any] | None, str | None], str]


@dataclass(frozen=True, kw_only=True)
class Site:
    """The service as the web sees it."""

    ledger: Ledger
    control: Control
    gate: Gate
    folders: Folders
    log_of: Callable[[Job], bytes]
    document_of: Callable[[Job], dict[str, Any] | None]
    drop: Drop
    ready: Callable[[], list[Failure]]
    sessions: Sessions | None
    most_bytes: int  # of a job that is dropped
    defaults: Mapping[str, Any]  # what the configuration says where a job's settings are silent

    hub: Hub
    etas: Etas
    pulse: Pulse
    tally: Tally
    counted: Counted
    retries: Retries
    keys: Keys
    pages: Pages
    record: Aside  # threads that ask the ledger
    share: Aside  # threads that touch the hot folder

    async def job(self, job_id: str) -> Job:
        """The job of an id. Raises `Problem` where there is none."""
        found = await self.record(self.ledger.get, job_id)
        if found is None:
            raise Problem(404, f"there is no job {job_id[:100]}")
        return found

    async def document(self, job: Job) -> dict[str, Any]:
        """A job's status document, with its position and when it is expected."""
        if job.state is State.QUEUED:
            await self.etas.refresh()
        eta = self.etas.of(job)
        return await self.record(lambda: status.document(job, position=self.ledger.position(job), eta=eta))
