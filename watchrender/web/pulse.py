"""The service's own state, looked at now and then, and told to the streams.

Looking may touch a share, so it is done aside and one at a time; who asks in between gets the last look, with what can
be known without looking (paused, waiting, counts) as it is now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger

from watchrender.gate import Gate
from watchrender.web.hub import QUEUE, SERVICE, Hub

SERVICE_SECONDS = 5.0
QUEUE_SECONDS = 1.0
#: A reader that has not taken anything for so long is cut off.
STUCK_SECONDS = 15.0
_TURN_SECONDS = 0.25
#: How long a question waits for a new look.
_PATIENCE = 3.0
QUEUE_TOLD = 200
IGNORED_TOLD = 20

Look = Callable[[], Awaitable[dict[str, Any]]]


class Pulse:
    """Keeps the service's document fresh, publishes it and the queue. Lives on the loop; `hurry` is for any thread."""

    def __init__(
        self, *, hub: Hub, gate: Gate, counts: Callable[[], dict[str, int]], service: Look, queue: Look
    ) -> None:
        self._hub = hub
        self._gate = gate
        self._counts = counts
        self._look_at_service = service
        self._look_at_queue = queue
        self._document: dict[str, Any] = {}
        self._looked_at = 0.0  # when the last look began
        self._looking: asyncio.Task[None] | None = None
        self._queue_at = 0.0
        self._told_queue: dict[str, Any] | None = None
        self.service_due = True  # plain flags, set from any thread and read each turn
        self.queue_due = True

    def hurry(self) -> None:
        """The service's state or the queue has changed."""
        self.service_due = self.queue_due = True

    async def service(self, *, since: float | None = None) -> dict[str, Any]:
        """The service's document, from a look that began after `since` (monotonic; a second ago by default)."""
        wanted = time.monotonic() - 1.0 if since is None else since
        deadline = time.monotonic() + _PATIENCE
        while self._looked_at < wanted and time.monotonic() < deadline:
            await asyncio.wait({self._look()}, timeout=max(0.0, deadline - time.monotonic()))
        return self._as_of_now()

    def _as_of_now(self) -> dict[str, Any]:
        return self._document | {
            "paused": self._gate.paused,
            "draining": self._gate.draining,
            "waiting": [failure.to_dict() for failure in self._gate.waiting()],
            "counts": self._counts(),
        }

    def _look(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_once())
        return self._looking

    async def _look_once(self) -> None:
        began = time.monotonic()
        try:
            found = dict(await self._look_at_service())
        except Exception as error:  # the page shows the last look and its age
            logger.warning("the state of the service could not be looked at: {}", repr(error))
            await asyncio.sleep(_TURN_SECONDS)
            return
        ignored = list(found.get("ignored") or ())
        found["ignored"] = ignored[:IGNORED_TOLD]
        found.setdefault("ignored_total", len(ignored))
        self._document, self._looked_at = found, began
        self._hub.publish(SERVICE, self._as_of_now())

    # -- the beat -------------------------------------------------------------------------------------------

    async def beat(self) -> None:
        """For as long as the loop runs: look, tell, and cut off readers that are stuck."""
        while True:
            now = time.monotonic()
            if self.service_due or now - self._looked_at >= self._rest():
                self.service_due = False
                self._look()
            # Expected times change while nothing else does: by the pace of what renders.
            rest = QUEUE_SECONDS if self.queue_due else SERVICE_SECONDS
            if now - self._queue_at >= rest and self._hub.readers:
                self.queue_due = False
                self._queue_at = now
                await self._tell_queue()
            self._hub.cut_the_stuck(STUCK_SECONDS)
            await asyncio.sleep(_TURN_SECONDS)

    def _rest(self) -> float:
        """How long a look is good for: at the start things change fast."""
        return 2 * _TURN_SECONDS if self._document.get("state") == "starting" else SERVICE_SECONDS

    async def _tell_queue(self) -> None:
        try:
            found = await self._look_at_queue()
        except Exception as error:  # told again at the next change
            logger.warning("the queue could not be looked at: {}", repr(error))
            return
        told = {
            "paused": self._gate.paused,
            "total": found.get("total"),
            "counts": found.get("counts"),
            "queue": [_place(entry) for entry in (found.get("queue") or ())[:QUEUE_TOLD]],
        }
        if told != self._told_queue:
            self._told_queue = told
            self._hub.publish(QUEUE, told)


def _place(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry.get(key) for key in ("id", "job", "position", "priority", "eta")}
