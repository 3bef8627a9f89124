"""When queued jobs will start and end, for who asks now. Looked at aside: what is known of a project hangs on its file,
and that may lie on a share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from loguru import logger

from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.web.aside import Overloaded

#: A share that does not answer makes nobody wait longer than this, and then nobody for a while.
PATIENCE_SECONDS = 1.0
REST_SECONDS = 10.0

Told = Mapping[str, dict[str, Any]]


class Etas:
    """The last that was told, by the id of a job. Lives on the loop."""

    def __init__(self, look: Callable[[], Awaitable[Told]]) -> None:
        self._look = look
        self._told: Told = {}
        self._rests_until = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._begun = self._ended = 0  # looks

    async def refresh(self) -> None:
        """Look anew; where that takes too long, what was told last stays. All who ask while somebody looks share the
        next look: a thousand readers that come back at once are two."""
        wanted = self._begun + 1
        while self._ended < wanted and time.monotonic() >= self._rests_until:
            if self._looking is None or self._looking.done():
                self._begun += 1
                self._looking = asyncio.create_task(self._look_once(self._begun))
            await asyncio.wait({self._looking})

    async def _look_once(self, number: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                self._told = await self._look()
        except (TimeoutError, Overloaded):
            self._rests_until = time.monotonic() + REST_SECONDS
        except Exception as error:
            logger.warning("the expected times could not be looked at: {}", repr(error))
        self._ended = number

    def of(self, job: Job) -> dict[str, Any] | None:
        """None: nothing is known but what the job itself tells."""
        return self._told.get(job.id) if job.state is State.QUEUED else None
