"""Expected times for who asks: as they are now, and never waited for long."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.test_statusfile import job
from watchrender.core.states import State
from watchrender.web import etas
from watchrender.web.etas import Etas, Told

QUEUED = job(id="id", state=State.QUEUED)
TOLD = {"id": {"basis": "12 renders of spot.aep/main"}}


def test_a_queued_job_is_told_what_was_looked_up_and_every_other_tells_itself() -> None:
    async def look() -> Told:
        return TOLD

    async def play() -> list[Any]:
        known = Etas(look)
        before = known.of(QUEUED)
        await known.refresh()
        return [before, known.of(QUEUED), known.of(job(id="id", state=State.RENDERING)), known.of(job(id="other"))]

    assert asyncio.run(play()) == [None, TOLD["id"], None, None]


def test_a_share_that_does_not_answer_is_waited_for_once_and_what_was_told_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(etas, "PATIENCE_SECONDS", 0.1)
    looks = 0

    async def look() -> Told:
        nonlocal looks
        looks += 1
        if looks > 1:
            await asyncio.sleep(60)
        return TOLD

    async def play() -> Any:
        known = Etas(look)
        for _ in range(10):
            await known.refresh()
        return known.of(QUEUED)

    began = time.monotonic()
    assert asyncio.run(play()) == TOLD["id"]
    assert looks == 2
    assert time.monotonic() - began < 5


def test_many_who_ask_at_once_share_a_look_that_began_after_they_asked() -> None:
    looks = 0

    async def look() -> Told:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return TOLD

    async def play() -> list[Any]:
        known = Etas(look)

        async def ask() -> Any:
            await known.refresh()
            return known.of(QUEUED)

        return await asyncio.gather(*(ask() for _ in range(1000)))

    assert asyncio.run(play()) == [TOLD["id"]] * 1000
    assert looks == 2


def test_a_fault_while_looking_costs_nobody_an_answer() -> None:
    async def look() -> Told:
        raise RuntimeError("a fault")

    known = Etas(look)
    asyncio.run(known.refresh())

    assert known.of(QUEUED) is None
