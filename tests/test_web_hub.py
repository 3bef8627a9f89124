"""The hub: ids, the ring, resuming, merging, snapshots."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from watchrender.core.job import Progress
from watchrender.core.states import Event
from watchrender.ledger.ledger import Ledger
from watchrender.web import hub as hubs
from watchrender.web.hub import Hub, Message, Reader, merged
from watchrender.web.picture import Picture

FIRST = 1000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger", sync="never")
    yield made
    made.close()


def _on_loop(ledger: Ledger, work: Callable[[Hub], None]) -> None:
    """Run `work` on a loop, with a hub that hears of the ledger."""

    async def run() -> None:
        hub = Hub(first_id=FIRST, stamp=ledger.stamp)
        hub.begin(Picture(ledger.live(), ledger.over(), ledger.counts), hub.newest)
        ledger.listen(hub.heard)
        work(hub)

    asyncio.run(run())


def _render(ledger: Ledger, name: str) -> str:
    job = ledger.add(why="test", name=name)
    for event in (Event.CHECK, Event.ACCEPT, Event.START):
        ledger.apply(job.id, event, "test")
    return job.id


def _ids(messages: list[Message] | None) -> list[int]:
    assert messages is not None
    return [message.id for message in messages]


def _read(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.text)
    return found


def test_ids_rise_by_one_from_the_first_and_a_reader_that_keeps_up_gets_every_one(ledger: Ledger) -> None:
    def work(hub: Hub) -> None:
        reader = Reader(cursor=hub.head)
        job = _render(ledger, "spot")
        for frame in range(3000):
            ledger.progress(job, Progress(frame=frame))
        hub._deliver()

        got: list[int] = []
        while messages := hub.since(reader, behind=False):
            got += _ids(messages)
        assert got == list(range(FIRST + 1, FIRST + 3005))

    _on_loop(ledger, work)


def test_a_change_of_state_is_never_merged_progress_of_a_slow_reader_is(ledger: Ledger) -> None:
    def work(hub: Hub) -> None:
        reader = Reader(cursor=hub.head)
        job, other = _render(ledger, "one"), _render(ledger, "two")
        for frame in range(1000):
            ledger.progress(job, Progress(frame=frame))
            ledger.progress(other, Progress(frame=frame))
        ledger.apply(job, Event.FINISH, "test")
        hub._deliver()

        messages = hub.since(reader, behind=True)
        assert messages is not None
        kinds = [message.type for message in messages]
        assert kinds == ["job"] * 8 + ["progress"] * 2 + ["job"]
        assert _read(messages[8])["data"]["progress"]["frame"] == 999
        assert reader.cursor == hub.head

    _on_loop(ledger, work)


def test_a_batch_that_is_cut_goes_on_where_it_ended(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "BATCH_MESSAGES", 3)

    def work(hub: Hub) -> None:
        reader = Reader(cursor=hub.head)
        _render(ledger, "spot")
        hub._deliver()

        assert _ids(hub.since(reader, behind=False)) == [FIRST + 1, FIRST + 2, FIRST + 3]
        assert _ids(hub.since(reader, behind=False)) == [FIRST + 4]
        assert hub.since(reader, behind=False) == []

    _on_loop(ledger, work)


def test_who_follows_one_job_gets_its_messages_and_the_services(ledger: Ledger) -> None:
    def work(hub: Hub) -> None:
        job = _render(ledger, "spot")
        hub._deliver()
        reader = Reader(cursor=hub.head, job=job)
        hub.join(reader)
        _render(ledger, "other")
        hub._deliver()
        assert not reader.wake.is_set()
        ledger.progress(job, Progress(frame=1))
        hub.publish("queue", {"total": 1})
        hub.publish("service", {"version": "1"})
        hub._deliver()

        assert reader.wake.is_set()
        messages = hub.since(reader, behind=False)
        assert messages is not None
        assert [message.type for message in messages] == ["progress", "service"]

    _on_loop(ledger, work)


def test_resuming_is_for_ids_of_the_ring_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "RING_MESSAGES", 5)

    def work(hub: Hub) -> None:
        assert hub.can_resume(FIRST)
        assert not hub.can_resume(FIRST - 1)
        assert not hub.can_resume(FIRST + 1)
        for number in range(20):
            hub.publish("service", {"number": number})
        hub._deliver()

        assert hub.head == FIRST + 20
        assert [hub.can_resume(FIRST + number) for number in (14, 15, 20, 21)] == [False, True, True, False]
        assert hub.since(Reader(cursor=FIRST + 14), behind=False) is None
        assert _ids(hub.since(Reader(cursor=FIRST + 15), behind=False)) == list(range(FIRST + 16, FIRST + 21))

    _on_loop(ledger, work)


def test_the_ring_is_bounded_by_what_it_holds_too(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "RING_BYTES", 40_000)

    def work(hub: Hub) -> None:
        job = _render(ledger, "spot")
        for number in range(150):
            ledger.note(job, f"line {number}")
        hub._deliver()

        assert hub.oldest > FIRST + 100
        assert hub.since(Reader(cursor=hub.head - 1), behind=False)

    _on_loop(ledger, work)


def test_a_snapshot_is_of_the_time_of_its_id(ledger: Ledger) -> None:
    def work(hub: Hub) -> None:
        job = _render(ledger, "spot")
        hub._deliver()
        ledger.apply(job, Event.GIVE_UP, "test")  # heard, and not delivered yet

        last, text = hub.snapshot(gap=False)
        found = json.loads(text)
        assert last == found["id"] == FIRST + 4
        assert [shown["state"] for shown in found["data"]["jobs"]] == ["rendering"]
        assert found["data"]["counts"]["rendering"] == 1
        assert "gap" not in found["data"]
        assert json.loads(hub.snapshot(gap=True)[1])["data"]["gap"] is True

    _on_loop(ledger, work)


def test_a_snapshot_and_what_follows_it_are_what_the_record_says(ledger: Ledger) -> None:
    """The property that pages live by: whoever applies the messages to the snapshot has the record."""

    def work(hub: Hub) -> None:
        ids = [_render(ledger, f"job{number}") for number in range(10)]
        hub._deliver()
        last, text = hub.snapshot(gap=False)
        known = {job["id"]: job for job in json.loads(text)["data"]["jobs"]}
        reader = Reader(cursor=last)
        for number, job in enumerate(ids):
            ledger.apply(job, Event.FINISH if number % 2 else Event.RETRY, "test")
        ledger.note(ids[0], "raised", priority=90)
        hub._deliver()
        messages = hub.since(reader, behind=False)
        assert messages is not None
        known |= {_read(message)["data"]["id"]: _read(message)["data"] for message in messages}

        for job_id in ids:
            job = ledger.get(job_id)
            assert job is not None
            assert (known[job_id]["state"], known[job_id]["priority"]) == (str(job.state), job.priority)

    _on_loop(ledger, work)


def test_a_snapshot_holds_what_works_the_first_of_the_queue_and_the_last_that_are_over(ledger: Ledger) -> None:
    running = _render(ledger, "runs")
    for number in range(60):
        over = _render(ledger, f"over{number}")
        ledger.apply(over, Event.FINISH, "test", finished_at=f"2026-11-24T10:{number:02d}:00.000Z")
    with ledger.together():
        for number in range(250):
            job = ledger.add(why="test", name=f"queued{number}", priority=number % 100)
            ledger.apply(job.id, Event.CHECK, "test")
            ledger.apply(job.id, Event.ACCEPT, "test")

    def work(hub: Hub) -> None:
        jobs = json.loads(hub.snapshot(gap=False)[1])["data"]["jobs"]
        assert [jobs[0]["id"], len(jobs)] == [running, 1 + 200 + 50]
        queued = jobs[1:201]
        assert [job["position"] for job in queued] == list(range(1, 201))
        assert [job["id"] for job in queued] == [job.id for job in ledger.queue(200)]
        assert [job["name"] for job in jobs[201:]] == [f"over{number}" for number in range(59, 9, -1)]

    _on_loop(ledger, work)


def test_a_reader_that_takes_nothing_is_cut_off(ledger: Ledger) -> None:
    async def run() -> None:
        now = [0.0]
        hub = Hub(first_id=FIRST, stamp=ledger.stamp, clock=lambda: now[0])
        cut: list[str] = []
        stuck, reading = Reader(cursor=FIRST, sending_since=0.0), Reader(cursor=FIRST)
        stuck.cut = lambda: cut.append("stuck")
        reading.cut = lambda: cut.append("reading")
        hub.join(stuck)
        hub.join(reading)

        now[0] = 14.0
        hub.cut_the_stuck(15)
        assert cut == []
        now[0] = 16.0
        hub.cut_the_stuck(15)
        assert cut == ["stuck"]
        assert stuck.over
        assert hub.dropped_readers == 1

    asyncio.run(run())


def test_a_reader_whose_connection_is_full_and_stays_so_is_cut_off_too(ledger: Ledger) -> None:
    async def run() -> None:
        now = [0.0]
        hub = Hub(first_id=FIRST, stamp=ledger.stamp, clock=lambda: now[0])
        stuck, slow = Reader(cursor=FIRST, given=5000), Reader(cursor=FIRST, given=5000)
        stuck.waiting = slow.waiting = lambda: 3000
        hub.join(stuck)
        hub.join(slow)
        hub.cut_the_stuck(15)
        for now[0] in (10.0, 20.0):
            slow.given += 100  # it was given more, and as much lies there as before: it has taken some
            hub.cut_the_stuck(15)

        assert stuck.over
        assert not slow.over

    asyncio.run(run())


def test_there_are_no_more_readers_than_there_may_be(ledger: Ledger) -> None:
    hub = Hub(first_id=FIRST, stamp=ledger.stamp, most_readers=2)
    one, two, three = (Reader(cursor=FIRST) for _ in range(3))

    assert [hub.join(one), hub.join(two), hub.join(three)] == [True, True, False]
    hub.leave(one)
    assert hub.join(three)
    assert hub.readers == 2
    hub.close()
    assert not hub.join(one)


def test_a_reader_that_waits_is_handed_the_next_message_without_being_woken(ledger: Ledger) -> None:
    def work(hub: Hub) -> None:
        got: dict[str, list[bytes]] = {"idle": [], "behind": [], "full": [], "one job": []}
        readers = {name: Reader(cursor=FIRST, hand=got[name].append) for name in got}
        readers["behind"].cursor = FIRST - 1
        readers["full"].waiting = lambda: 1
        readers["one job"].job = "another"
        for reader in readers.values():
            hub.join(reader)
        hub.publish("service", {"number": 1})
        hub._deliver()

        assert [frame.split(b"\n")[0] for frame in got["idle"]] == [b"id: %d" % (FIRST + 1)]
        assert not readers["idle"].wake.is_set()
        assert hub.since(readers["idle"], behind=False) == []
        for name in ("behind", "full", "one job"):
            assert got[name] == []
            assert readers[name].wake.is_set()

        hub.publish("service", {"text": "x" * hubs.CHUNK_BYTES})
        hub._deliver()

        assert len(got["idle"]) == 1  # too much for one piece: its own task writes it, as fast as it is taken
        assert readers["idle"].wake.is_set()
        assert _ids(hub.since(readers["idle"], behind=False)) == [FIRST + 2]

    _on_loop(ledger, work)


def test_what_is_long_is_cut_into_pieces_only_as_they_are_asked_for() -> None:
    frames = [b"a" * 10, b"b" * (3 * hubs.CHUNK_BYTES), b"c" * 10, b"d" * (hubs.CHUNK_BYTES - 5)]
    asked: list[int] = []

    def told() -> Iterator[bytes]:
        for number, frame in enumerate(frames):
            asked.append(number)
            yield frame

    pieces = hubs.chunks(told())
    first = next(pieces)

    assert asked == [0, 1]
    found = [first, *pieces]
    assert b"".join(found) == b"".join(frames)
    assert max(map(len, found)) <= hubs.CHUNK_BYTES


def test_the_end_wakes_everybody_and_nothing_is_taken_any_more(ledger: Ledger) -> None:
    def work(hub: Hub) -> None:
        reader = Reader(cursor=hub.head)
        hub.join(reader)
        hub.close()
        assert reader.over
        assert reader.wake.is_set()
        hub.publish("service", {})
        hub._deliver()
        assert hub.head == FIRST

    _on_loop(ledger, work)


def test_what_is_merged_keeps_the_newest_progress_of_each_job() -> None:
    def message(number: int, kind: str, job: str) -> Message:
        return Message(number, kind, "", job, dict, 1)

    messages = [message(1, "progress", "a"), message(2, "job", "a"), message(3, "progress", "b")]
    messages += [message(4, "progress", "a"), message(5, "progress", "b")]

    assert [found.id for found in merged(messages)] == [2, 4, 5]


def test_a_name_that_is_no_unicode_breaks_no_stream(ledger: Ledger) -> None:
    def work(hub: Hub) -> None:
        ledger.add(why="test", name="caf\udce9")
        hub._deliver()
        messages = hub.since(Reader(cursor=FIRST), behind=False)
        assert messages is not None
        assert _read(messages[0])["data"]["name"] == "caf?"

    _on_loop(ledger, work)
