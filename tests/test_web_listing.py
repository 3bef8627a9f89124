"""Which jobs, in which order, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.ledger.ledger import Ledger
from watchrender.web import listing
from watchrender.web.listing import NoCursor, Wanted, page


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger", sync="never")
    yield made
    made.close()


def _fill(ledger: Ledger, count: int) -> None:
    with ledger.together():
        for number in range(count):
            job = ledger.add(why="test", name=f"job{number}", sub=f"s{number % 3}", priority=number % 7 * 10)
            steps = (Event.CHECK, Event.ACCEPT, Event.START, Event.FINISH)
            for event in steps[: (0, 1, 2, 2, 3, 4)[number % 6]]:
                ledger.apply(job.id, event, "test")


def _all(ledger: Ledger, wanted: Wanted, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        listed, cursor = page(ledger, wanted, limit=limit, cursor=cursor)
        found += [entry.job.id for entry in listed]
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_pages_together_are_all_jobs_once_whatever_their_size(ledger: Ledger, limit: int) -> None:
    _fill(ledger, 60)

    found = _all(ledger, Wanted(), limit)

    assert len(found) == len(set(found)) == 60
    assert found == _all(ledger, Wanted(), 500)


def test_what_renders_comes_first_then_the_queue_in_its_order_then_what_is_over(ledger: Ledger) -> None:
    _fill(ledger, 60)
    listed, _ = page(ledger, Wanted(), limit=500, cursor=None)

    states = [entry.job.state for entry in listed]
    ranks = {State.RENDERING: 0, State.QUEUED: 1, State.VALIDATING: 2, State.PENDING: 2, State.COMPLETED: 3}
    assert [ranks[state] for state in states] == sorted(ranks[state] for state in states)
    queued = [entry for entry in listed if entry.job.state is State.QUEUED]
    assert [entry.job.id for entry in queued] == [job.id for job in ledger.queue()]
    assert [entry.position for entry in queued] == list(range(1, len(queued) + 1))
    over = [entry.job.serial for entry in listed if entry.job.over]
    assert over == sorted(over, reverse=True)


def test_a_page_goes_on_where_it_ended_though_jobs_come_and_go(ledger: Ledger) -> None:
    _fill(ledger, 60)
    first, cursor = page(ledger, Wanted(states=frozenset({State.QUEUED})), limit=5, cursor=None)
    for entry in first[:3]:
        ledger.apply(entry.job.id, Event.CANCEL, "test")
    late = ledger.add(why="test", name="urgent", priority=100)
    for event in (Event.CHECK, Event.ACCEPT):
        ledger.apply(late.id, event, "test")

    second, _ = page(ledger, Wanted(states=frozenset({State.QUEUED})), limit=500, cursor=cursor)

    rest = [job.id for job in ledger.queue() if job.id not in {late.id, *(entry.job.id for entry in first)}]
    assert [entry.job.id for entry in second] == rest


def test_a_long_history_is_searched_in_pieces(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_LOOKED_AT", 10)
    for number in range(50):
        ledger.add(why="test", name=f"old{number}", state=State.COMPLETED)

    listed, cursor = page(ledger, Wanted(q="old3"), limit=5, cursor=None)
    assert listed == []
    assert cursor is not None
    assert len(_all(ledger, Wanted(q="old3"), 5)) == 11


@pytest.mark.parametrize("cursor", ["", "x", "4", "0.a", "1..2", "1.2.3.4.5", "-1", "٣", "0." + "9" * 30])
def test_what_is_no_cursor_is_refused(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(NoCursor):
        page(ledger, Wanted(), limit=5, cursor=cursor)


JOB = Job(
    id="01JD", serial=1, arrival=1, name="Spot", sub="clientA/tv", state=State.FAILED, template="spot.aep",
    composition="Main", tags=("tv", "teaser"), error={"code": "ASSET_MISSING"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Wanted(), True),
        (Wanted(states=frozenset({State.FAILED, State.CANCELLED})), True),
        (Wanted(states=frozenset({State.QUEUED})), False),
        (Wanted(sub="clientA/tv"), True),
        (Wanted(sub="clientA"), True),
        (Wanted(sub="client"), False),
        (Wanted(sub=""), False),
        (Wanted(q="SPOT main"), True),
        (Wanted(q="asset_missing clienta"), True),
        (Wanted(q="spot nothing"), False),
        (Wanted(tag="tv"), True),
        (Wanted(tag="t"), False),
        (Wanted(code="ASSET_MISSING"), True),
        (Wanted(code="ASSET"), False),
    ],
)
def test_a_filter_matches_or_not(wanted: Wanted, matches: bool) -> None:
    assert wanted.matches(JOB) is matches
