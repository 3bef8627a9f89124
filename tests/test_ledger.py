"""The record of all jobs: one saved transaction for each change, an index for each question, listeners in order."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tinydb import TinyDB

from watchrender import disk
from watchrender.core.job import Form, Job, Progress
from watchrender.core.states import TABLE, Event, Refused, State, is_over
from watchrender.ledger import ledger as room
from watchrender.ledger.ledger import Change, Ledger
from watchrender.ledger.storage import read


class Clock:
    """A wall clock that goes on by a second with each look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger", now=Clock(), sync="never")
    yield made
    made.close()


def add(ledger: Ledger, name: str = "spot", **fields: Any) -> Job:
    fields.setdefault("file", f"{name}.json")
    return ledger.add(why="seen", name=name, **fields)


def queued(ledger: Ledger, name: str = "spot", **fields: Any) -> Job:
    job = add(ledger, name, **fields)
    ledger.apply(job.id, Event.CHECK, "complete")
    return ledger.apply(job.id, Event.ACCEPT, "accepted")


# -- changing --------------------------------------------------------------------------------------------------------


def test_a_new_job_gets_id_number_arrival_and_the_first_line_of_its_history(ledger: Ledger) -> None:
    first, second = add(ledger, "sh2"), add(ledger, "sh10")

    assert (first.serial, second.serial) == (1, 2)
    assert (first.arrival, second.arrival) == (1, 2)
    assert first.id < second.id
    assert first.state is State.PENDING
    assert first.history[0] | {"at": None} == {"at": None, "from": None, "to": "pending", "why": "seen"}


def test_a_change_is_on_the_disk_before_anybody_hears_of_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    seen: list[str] = []
    ledger.listen(lambda change: seen.append(f"{change.job.state} {_on_disk(tmp_path, change.job)}"))

    job = queued(ledger)
    ledger.apply(job.id, Event.START, "next")
    ledger.close()

    assert seen == [f"{state} {state}" for state in ("pending", "validating", "queued", "rendering")]


def _on_disk(tmp_path: Path, job: Job) -> str:
    """What another process would find."""
    record = read(tmp_path / "ledger" / "state.json")["jobs"][job.serial]
    return str(record.get("state", "pending"))


def test_what_the_table_refuses_is_not_saved_and_nobody_hears_of_it(ledger: Ledger) -> None:
    job = add(ledger)
    heard: list[Change] = []
    ledger.listen(heard.append)

    with pytest.raises(Refused):
        ledger.apply(job.id, Event.FINISH, "no")

    assert ledger.get(job.id) == job
    assert heard == []


def test_a_job_that_is_over_or_unknown_cannot_be_changed(ledger: Ledger) -> None:
    job = add(ledger)
    ledger.apply(job.id, Event.CANCEL, "asked")

    for job_id in (job.id, "nobody"):
        with pytest.raises(KeyError):
            ledger.apply(job_id, Event.CANCEL, "again")
    with pytest.raises(KeyError):
        ledger.note("nobody", "why")


def test_every_walk_through_the_table_leaves_the_same_after_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", now=Clock(), sync="never")
    rng = random.Random(7)
    for number in range(60):
        job = add(ledger, f"j{number}", priority=rng.randrange(101))
        for _ in range(rng.randrange(12)):
            events = [event for state, event in TABLE if state is job.state]
            if not events:
                break
            job = ledger.apply(job.id, rng.choice(events), "walk")
    before = _picture(ledger)
    ledger.close()

    ledger = Ledger(tmp_path / "ledger", sync="never")

    assert _picture(ledger) == before
    ledger.close()


def _picture(ledger: Ledger) -> dict[str, Any]:
    """All that can be asked of a ledger."""
    jobs = {job.id: job for job in (*ledger.live(), *ledger.over())}
    return {
        "jobs": jobs,
        "queue": ledger.queue(),
        "over": list(ledger.over()),
        "counts": dict(ledger.counts),
        "begun": {job.id for job in ledger.begun()},
        "found": {job.key: ledger.live_by_key(job.key) for job in jobs.values()},
        "newest": {job.key: ledger.newest_over(job.key) for job in jobs.values()},
        "serial": (ledger.serial, ledger.arrival),
    }


def test_progress_is_told_and_not_saved(ledger: Ledger) -> None:
    job = queued(ledger)
    ledger.apply(job.id, Event.START, "next")
    heard: list[Change] = []
    ledger.listen(heard.append)
    written = ledger.db.stats.transactions

    ledger.progress(job.id, Progress(percent=40.0), {"done_at": "soon"})

    assert [(change.progress, change.of_state, change.job.progress) for change in heard] == [
        (True, False, Progress(percent=40.0))
    ]
    assert ledger.get(job.id).eta == {"done_at": "soon"}  # type: ignore[union-attr]
    assert ledger.db.stats.transactions == written


def test_progress_of_a_job_that_does_not_render_is_nobodys(ledger: Ledger) -> None:
    job = queued(ledger)
    heard: list[Change] = []
    ledger.listen(heard.append)

    ledger.progress(job.id, Progress(percent=40.0))
    ledger.progress("nobody", Progress(percent=40.0))

    assert heard == []


def test_a_note_on_a_job_that_is_over_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", sync="never")
    job = add(ledger)
    ledger.apply(job.id, Event.CANCEL, "asked")
    ledger.note(job.id, folder="cancelled/spot~2")
    ledger.close()

    ledger = Ledger(tmp_path / "ledger", sync="never")

    assert ledger.get(job.id).folder == "cancelled/spot~2"  # type: ignore[union-attr]
    assert ledger.counts[State.CANCELLED] == 1
    ledger.close()


# -- together --------------------------------------------------------------------------------------------------------


def test_changes_together_are_heard_after_the_last_of_them(ledger: Ledger) -> None:
    heard: list[str] = []
    ledger.listen(lambda change: heard.append(change.job.name))

    with ledger.together():
        add(ledger, "a")
        with ledger.together():
            add(ledger, "b")
        assert heard == []

    assert heard == ["a", "b"]


def test_changes_together_are_all_kept_or_none(ledger: Ledger) -> None:
    kept = queued(ledger, "kept")
    before = _picture(ledger)
    heard: list[Change] = []
    ledger.listen(heard.append)

    with pytest.raises(RuntimeError), ledger.together():
        add(ledger, "lost")
        ledger.apply(kept.id, Event.START, "next")
        raise RuntimeError("a bug")

    assert _picture(ledger) | {"serial": None} == before | {"serial": None}
    assert heard == []
    assert add(ledger, "next").serial > kept.serial  # a number is never given twice


def test_a_full_disk_leaves_the_ledger_as_it_was(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = tmp_path / "faults"
    monkeypatch.setattr(disk, "_hooks", disk._Hooks({"WATCHRENDER_FAULTS": str(faults)}))
    job = queued(ledger)
    before = _picture(ledger)

    faults.write_text("ENOSPC *.journal\n")
    with pytest.raises(OSError, match="No space left"):
        ledger.apply(job.id, Event.START, "next")
    with pytest.raises(OSError, match="No space left"), ledger.together():
        ledger.note(job.id, "a word")
    assert _picture(ledger) == before

    faults.unlink()
    assert ledger.apply(job.id, Event.START, "next").state is State.RENDERING


# -- asking ----------------------------------------------------------------------------------------------------------


def test_the_queue_is_by_priority_then_arrival_and_follows_every_change(ledger: Ledger) -> None:
    jobs = {name: queued(ledger, name, priority=priority) for name, priority in
            (("a", 50), ("b", 90), ("c", 50), ("d", 50))}  # fmt: skip

    def order() -> str:
        return "".join(job.name for job in ledger.queue())

    assert order() == "bacd"
    ledger.note(jobs["d"].id, priority=95)
    assert order() == "dbac"
    ledger.apply(jobs["b"].id, Event.START, "next")
    assert order() == "dac"
    ledger.apply(jobs["b"].id, Event.RESTORE, "back")
    ledger.apply(jobs["a"].id, Event.CHANGE, "saved")
    assert order() == "dbc"
    ledger.apply(jobs["d"].id, Event.CANCEL, "asked")
    assert order() == "bc"
    assert [job.name for job in ledger.queue(1)] == ["b"]
    assert ledger.first(lambda job: job.name != "b").name == "c"  # type: ignore[union-attr]
    assert ledger.first(lambda _job: False) is None


def test_the_eldest_of_the_queue_is_the_one_that_came_first_wherever_it_stands(ledger: Ledger) -> None:
    assert ledger.eldest() is None
    queued(ledger, "old", priority=1)
    queued(ledger, "new", priority=90)

    found = ledger.eldest()

    assert found is not None and found.name == "old"
    newer = queued(ledger, "newest", priority=50)
    ledger.apply(found.id, Event.CANCEL, "not wanted")
    found = ledger.eldest()
    assert found is not None and found.name == "new"
    for job in (found, newer):
        ledger.apply(job.id, Event.CANCEL, "not wanted")
    assert ledger.eldest() is None


def test_a_position_is_a_place_in_the_queue(ledger: Ledger) -> None:
    jobs = [queued(ledger, f"j{number}", priority=number * 10) for number in range(5)]

    assert [ledger.position(job) for job in jobs] == [5, 4, 3, 2, 1]
    assert ledger.position(add(ledger, "pending")) is None


def test_a_job_is_found_by_id_prefix_and_key_the_live_one_first(ledger: Ledger) -> None:
    old = add(ledger, "spot", sub="clientA")
    ledger.apply(old.id, Event.CANCEL, "asked")
    older = ledger.newest_over("clientA/spot")
    new = add(ledger, "spot", sub="clientA")

    assert older is not None and older.id == old.id
    assert ledger.find("clientA/spot") == new
    assert ledger.find("CLIENTA/SPOT") == new
    assert ledger.find(new.id) == new
    assert ledger.find(new.id[:-1].lower()) == new
    assert ledger.find(old.id) == ledger.get(old.id)
    assert ledger.find("spot") is None
    assert ledger.find(new.id[:3]) is None  # too short to mean anybody
    assert ledger.find(new.id[:6]) is None  # both begin so

    ledger.apply(new.id, Event.CANCEL, "asked")
    assert ledger.find("clientA/spot").id == new.id  # type: ignore[union-attr]


def test_keys_are_compared_without_case_and_in_either_spelling_of_an_accent(ledger: Ledger) -> None:
    job = add(ledger, "Cafe\u0301")

    assert ledger.live_by_key("caf\u00e9") == job
    assert ledger.live_by_key("tea") is None


def test_jobs_are_found_by_file_until_they_begin_and_by_folder_until_they_are_over(ledger: Ledger) -> None:
    job = queued(ledger, "spot", sub="a", file="p80_spot.json")
    assert ledger.live_by_file("a", "p80_spot.json") == job
    assert ledger.begun() == []

    ledger.apply(job.id, Event.START, "next")
    begun = ledger.note(job.id, begun=True)

    assert ledger.live_by_file("a", "p80_spot.json") is None
    assert ledger.begun() == [begun]
    assert ledger.live_in("a") == [begun]

    ledger.apply(job.id, Event.FINISH, "good")
    assert (ledger.begun(), ledger.live_in("a"), list(ledger.live())) == ([], [], [])


def test_counts_are_those_of_all_jobs(ledger: Ledger) -> None:
    job = queued(ledger, "a")
    queued(ledger, "b")
    ledger.apply(job.id, Event.START, "next")
    ledger.apply(job.id, Event.GIVE_UP, "broken")

    assert {state: number for state, number in ledger.counts.items() if number} == {State.QUEUED: 1, State.FAILED: 1}


def test_over_ones_are_told_newest_first_and_forgotten_by_retention(ledger: Ledger) -> None:
    jobs = [add(ledger, f"j{number}") for number in range(5)]
    for job in jobs:
        ledger.apply(job.id, Event.CANCEL, "asked")
    live = add(ledger, "live")

    assert [job.name for job in ledger.over()] == ["j4", "j3", "j2", "j1", "j0"]
    assert [job.name for job in ledger.over(newest_first=False)] == ["j0", "j1", "j2", "j3", "j4"]

    ledger.forget([jobs[0].id, jobs[3].id, live.id, "nobody"])

    assert [job.name for job in ledger.over()] == ["j4", "j2", "j1"]
    assert ledger.get(jobs[3].id) is None
    assert ledger.newest_over("j3") is None
    assert ledger.counts[State.CANCELLED] == 3
    assert ledger.get(live.id) == live


def test_of_many_jobs_few_are_kept_as_values_but_all_are_there(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_VALUES", 20)
    ids = []
    for number in range(60):
        job = queued(ledger, f"j{number}")
        if number % 2:
            ledger.apply(job.id, Event.CANCEL, "asked")
        ids.append(job.id)

    assert len(ledger._values) == 20
    assert [found.id for found in map(ledger.get, ids) if found is not None] == ids
    assert len(ledger._values) == 20


def test_whether_a_job_lives_and_when_one_ended_is_told_without_making_a_value(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = queued(ledger, "Spot")
    for number, end in enumerate(("2030-01-01T00:00:00.000Z", "2030-01-02T00:00:00.000Z")):
        over = queued(ledger, f"over{number}", sub="client", history=({"at": "", "why": '"finished_at":"x"'},))
        ledger.apply(over.id, Event.CANCEL, "asked", at=end, finished_at=end if number else None)
    ledger._values.clear()
    monkeypatch.setattr(room, "job_of", lambda _record: pytest.fail("a value was made"))

    assert ledger.has_live("spot") and ledger.has_live(live.key) and not ledger.has_live("client/over1")
    assert ledger.ended_at("client/over0") == "2030-01-01T00:00:00.000Z"
    assert ledger.ended_at("CLIENT/over1") == "2030-01-02T00:00:00.000Z"
    assert ledger.ended_at("spot") is None


def test_two_events_can_be_recorded_as_one_and_are_told_one_after_the_other(ledger: Ledger) -> None:
    job, heard = add(ledger), []
    lines = ledger.db.stats.transactions
    ledger.listen(lambda change: heard.append((change.before and change.before.state, change.job.state, change.record)))
    after = ledger.apply(job.id, Event.ACCEPT, "accepted", after=(Event.CHECK, "complete"), digest="d")

    assert ledger.db.stats.transactions == lines + 1
    assert [line["to"] for line in after.history] == ["pending", "validating", "queued"]
    assert [line["why"] for line in after.history[1:]] == ["complete", "accepted"]
    assert (after.digest, after.state) == ("d", State.QUEUED)
    assert [entry[:2] for entry in heard] == [
        (State.PENDING, State.VALIDATING),
        (State.VALIDATING, State.QUEUED),
    ]
    assert [entry[2] is None for entry in heard] == [True, False]
    assert ledger.counts[State.VALIDATING] == 0 and ledger.counts[State.QUEUED] == 1
    with pytest.raises(Refused):
        ledger.apply(job.id, Event.ACCEPT, "again", after=(Event.CHECK, "complete"))
    assert ledger.get(job.id) == after


def test_the_first_that_may_start_is_found_behind_any_number_that_may_not(ledger: Ledger) -> None:
    later = "9000-01-01T00:00:00.000Z"
    for number in range(5):
        held = queued(ledger, f"held{number}", priority=90)
        ledger.note(held.id, settings_hold=True)
        ledger.note(queued(ledger, f"late{number}", priority=80).id, scheduled_at=later)
        ledger.note(queued(ledger, f"unwanted{number}", priority=70).id, cancel_requested=True)
    next_one = queued(ledger, "next")
    asked: list[str] = []

    def ask(job: Job) -> bool:
        asked.append(job.name)
        return True

    assert ledger.first(ask) == next_one
    assert asked == ["next"]

    ledger.note(held.id, released=True)

    assert ledger.first(lambda job: True) == ledger.get(held.id)


def test_jobs_that_ended_between_two_moments_are_found_without_making_values_of_the_others(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 8):
        job = queued(ledger, f"j{day}")
        at = f"2030-01-0{day}T00:00:00.000Z"
        ledger.apply(job.id, Event.CANCEL, "asked", at=at, finished_at=at)
    queued(ledger, "live")
    ledger._values.clear()
    made: list[bytes] = []
    job_of = room.job_of
    monkeypatch.setattr(room, "job_of", lambda record: made.append(record) or job_of(record))

    found = ledger.ended(since="2030-01-03T00:00:00.000Z", until="2030-01-05T00:00:00.000Z")

    assert [job.name for job in found] == ["j3", "j4", "j5"]
    assert len(made) == 3
    assert [job.name for job in ledger.over_since("2030-01-06T00:00:00.000Z")] == ["j6", "j7"]


# -- facts -----------------------------------------------------------------------------------------------------------


def test_facts_of_the_hot_folder_are_added_to_and_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", sync="never")
    ledger.know(subs=["a"])
    ledger.know(boot=7)
    ledger.remember_tree({"marker": "m1", "pid": 4})
    ledger.remember_tree({"marker": "m2", "pid": 5})
    ledger.remember_tree({"marker": "m1", "pid": 6})
    ledger.forget_tree("m2")
    ledger.forget_tree("never")
    ledger.close()

    ledger = Ledger(tmp_path / "ledger", sync="never")

    assert ledger.facts() == {"subs": ["a"], "boot": 7, "trees": {"m1": {"marker": "m1", "pid": 6}}}
    ledger.close()


def test_stock_tinydb_reads_the_jobs(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", sync="never")
    job = queued(ledger, "spot", form=Form.BUNDLE)
    ledger.db.compact()
    ledger.close()

    with TinyDB(tmp_path / "ledger" / "state.json") as stock:
        found = stock.table("jobs").all()

    assert [(record["id"], record["form"]) for record in found] == [(job.id, "bundle")]
    json.dumps(found)


# -- threads ---------------------------------------------------------------------------------------------------------


def test_threads_that_change_jobs_at_once_lose_nothing(ledger: Ledger) -> None:
    heard: list[int] = []
    ledger.listen(lambda change: heard.append(change.job.serial))

    def live(number: int) -> None:
        for turn in range(25):
            job = queued(ledger, f"t{number}-{turn}")
            ledger.apply(job.id, Event.START, "next")
            ledger.progress(job.id, Progress(percent=1.0))
            ledger.apply(job.id, Event.FINISH, "good")

    threads = [threading.Thread(target=live, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    jobs = list(ledger.over())
    assert len(jobs) == 150
    assert {job.serial for job in jobs} == set(range(1, 151))
    assert all(is_over(job.state) and len(job.history) == 5 for job in jobs)
    assert len(heard) == 150 * 6
    assert ledger.counts[State.COMPLETED] == 150
