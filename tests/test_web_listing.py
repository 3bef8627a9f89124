"""Which jobs, in which order, page by page."""

from __future__ import annotations

import pytest

from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.ledger.ledger import Ledger
from watchrender.web import listing
from watchrender.web.listing import NoCursor, Pages, Wanted


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
    pages = Pages(ledger)
    while True:
        listed, cursor = pages.page(wanted, limit=limit, cursor=cursor)
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
    listed, _ = Pages(ledger).page(Wanted(), limit=500, cursor=None)

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
    first, cursor = Pages(ledger).page(Wanted(states=frozenset({State.QUEUED})), limit=5, cursor=None)
    for entry in first[:3]:
        ledger.apply(entry.job.id, Event.CANCEL, "test")
    late = ledger.add(why="test", name="urgent", priority=100)
    for event in (Event.CHECK, Event.ACCEPT):
        ledger.apply(late.id, event, "test")

    second, _ = Pages(ledger).page(Wanted(states=frozenset({State.QUEUED})), limit=500, cursor=cursor)

    rest = [job.id for job in ledger.queue() if job.id not in {late.id, *(entry.job.id for entry in first)}]
    assert [entry.job.id for entry in second] == rest


def _move_everything(ledger: Ledger, number: int) -> None:
    """What a busy service does between two pages: jobs start, end, come, are raised, and are put back."""
    steps = {
        State.PENDING: Event.CHECK, State.VALIDATING: Event.ACCEPT, State.QUEUED: Event.START,
        State.RENDERING: Event.RESTORE if number % 2 else Event.FINISH,
    }  # fmt: skip
    for job in ledger.live()[number % 3 :: 3]:
        ledger.apply(job.id, steps[job.state], "test")
    queue = ledger.queue()
    if queue:
        ledger.note(queue[-1].id, priority=100)
    ledger.add(why="test", name=f"late{number}", priority=99)


@pytest.mark.parametrize("limit", [1, 4, 9])
def test_every_job_comes_once_however_they_move_between_two_pages(ledger: Ledger, limit: int) -> None:
    _fill(ledger, 60)
    there = {job.id for job in (*ledger.live(), *ledger.over())}
    pages, found, cursor = Pages(ledger), [], None
    for number in range(1000):
        listed, cursor = pages.page(Wanted(), limit=limit, cursor=cursor)
        found += [entry.job.id for entry in listed]
        if cursor is None:
            break
        _move_everything(ledger, number)

    assert len(found) == len(set(found))
    assert set(found) == there


def test_where_the_line_is_forgotten_the_pages_go_on_from_the_place(ledger: Ledger) -> None:
    _fill(ledger, 60)
    whole = _all(ledger, Wanted(), 500)
    found, cursor = [], None
    while True:
        listed, cursor = Pages(ledger).page(Wanted(), limit=7, cursor=cursor)  # as after a restart
        found += [entry.job.id for entry in listed]
        if cursor is None:
            break

    assert found == whole


def test_lines_that_nobody_goes_on_with_are_forgotten(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_IN_LINES", 100)
    _fill(ledger, 60)
    pages = Pages(ledger)
    for _ in range(listing.MOST_LINES * 2):
        pages.page(Wanted(), limit=1, cursor=None)

    assert sum(len(line.stands) for line in pages._lines.values()) <= 100


def test_a_page_costs_the_same_however_deep_it_lies(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with ledger.together():
        for number in range(3000):
            ledger.add(why="test", name=f"old{number}", state=State.COMPLETED)
    made: list[int] = []
    whole = Ledger._from

    def counted(self: Ledger, serial: int) -> Job | None:
        made.append(serial)
        return whole(self, serial)

    monkeypatch.setattr(Ledger, "_from", counted)
    pages, cursor, costs = Pages(ledger), None, []
    for _ in range(29):
        made.clear()
        _, cursor = pages.page(Wanted(), limit=100, cursor=cursor)
        costs.append(len(made))

    assert max(costs) <= 102


def test_a_long_history_is_searched_in_pieces(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_LOOKED_AT", 10)
    for number in range(50):
        ledger.add(why="test", name=f"old{number}", state=State.COMPLETED)

    listed, cursor = Pages(ledger).page(Wanted(q="old3"), limit=5, cursor=None)
    assert listed == []
    assert cursor is not None
    assert len(_all(ledger, Wanted(q="old3"), 5)) == 11


@pytest.mark.parametrize("cursor", ["", "x", "4", "0.a", "1..2", "1.2.3.4.5", "-1", "٣", "0." + "9" * 30])
def test_what_is_no_cursor_is_refused(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(NoCursor):
        Pages(ledger).page(Wanted(), limit=5, cursor=cursor)


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
        (Wanted(sub="CLIENTA/"), True),
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
