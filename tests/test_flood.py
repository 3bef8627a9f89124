"""Very many drops at once: each gets its turn, and what belongs together stays together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.turns import Hand
from watchrender.core.failure import Code
from watchrender.core.states import State
from watchrender.intake import arrivals, watch
from watchrender.intake import turn as turns


@pytest.fixture
def flood(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Drops many jobs at once, more than a turn has time for: each turn records and judges two hundred."""
    hand.turn()
    monkeypatch.setattr(turns, "TURN_SECONDS", -1.0)

    def drop(count: int = 450) -> None:
        for number in range(count):
            hand.drop(f"sh{number}.json")

    yield drop


def test_the_first_of_a_flood_are_queued_before_all_are_recorded(hand: Hand, flood: Callable[..., None]) -> None:
    flood()
    hand.turn()
    assert hand.queue() == [f"sh{number}" for number in range(200)]
    assert len(hand.keys()) == 200

    hand.turn()
    hand.turn()
    assert hand.queue() == [f"sh{number}" for number in range(450)]


def test_the_first_of_a_flood_that_lay_there_before_the_service_began_are_queued_at_once(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", -1.0)
    hand.drop("known.json")
    hand.turn()
    hand.close()
    for number in range(450):
        hand.drop(f"sh{number}.json")
    hand.open()
    hand.turn()
    assert hand.queue() == ["known", *(f"sh{number}" for number in range(200))]


def test_a_folder_called_like_a_job_of_a_flood_is_not_taken_for_a_sub_folder(
    hand: Hand, flood: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "TOGETHER", 40)
    flood()
    hand.drop("SH449/inner.json")
    hand.pass_time(3)
    assert hand.ledger.live_by_key("sh449") is None  # its turn has not come
    hand.pass_time(10)

    assert hand.job("sh449").state is State.QUEUED
    assert hand.ledger.live_by_key("SH449/inner") is None
    assert (hand.inbox / "SH449.WHY.txt").exists()


def test_what_comes_amid_a_flood_does_not_wait_for_all_of_it(hand: Hand, flood: Callable[..., None]) -> None:
    flood()
    hand.turn()
    hand.drop("p90_urgent.json")
    hand.drop("late.json")
    hand.turn()

    assert hand.queue()[0] == "urgent"
    assert hand.job("late").state is State.QUEUED
    hand.turn()
    hand.turn()
    assert hand.queue()[-1] == "late"  # it came last, and is last in the queue


def test_a_second_reading_does_not_go_before_what_has_not_been_read(hand: Hand, flood: Callable[..., None]) -> None:
    flood(200)
    hand.turn()
    hand.seconds += 4  # all of them are to be read once more
    late = hand.drop("late.json")
    hand.turn(late)
    assert hand.job("late").state is State.QUEUED


def test_a_mark_and_settings_that_come_with_a_flood_count_for_its_last_job(
    hand: Hand, flood: Callable[..., None]
) -> None:
    flood()
    (hand.inbox / "sh449.hold").touch()
    hand.sidecar("sh448.yaml", priority=77)
    hand.turn()
    hand.pass_time(8)

    assert hand.job("sh449").hold
    assert hand.job("sh448").priority == 77
    holds = [line["why"] for line in hand.job("sh449").history]
    assert next(why for why in holds if "held" in why) != holds[-1]  # before it was in the queue


def test_settings_that_come_with_a_flood_without_any_mark_count_for_its_last_job(
    hand: Hand, flood: Callable[..., None]
) -> None:
    flood()
    hand.sidecar("sh449.yaml", priority=77, hold=True)
    hand.turn()
    hand.pass_time(8)

    job = hand.job("sh449")
    assert (job.priority, job.hold) == (77, True)
    assert job.history[-1]["to"] == "queued" and "accepted, priority 77" in job.history[-1]["why"]


def test_jobs_that_are_all_renamed_at_once_stay_the_jobs_they_are(
    hand: Hand, flood: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    flood(200)
    hand.turn()
    before = {hand.job(f"sh{number}").id for number in range(200)}
    monkeypatch.setattr(arrivals, "TOGETHER", 10)  # longer than a name may be missing
    for number in range(200):
        (hand.inbox / f"sh{number}.json").rename(hand.inbox / f"p90_sh{number}.json")
    hand.pass_time(12)

    jobs = [hand.job(key) for key in hand.queue()]
    assert {job.id for job in jobs} == before
    assert {job.priority for job in jobs} == {90}


def test_what_is_taken_away_amid_a_flood_is_no_job(hand: Hand, flood: Callable[..., None]) -> None:
    flood()
    hand.turn()
    (hand.inbox / "sh440.json").unlink()
    (hand.inbox / "sh441.json").unlink()
    (hand.inbox / "sh441.json").mkdir()
    hand.turn()
    hand.pass_time(8)

    assert len(hand.queue()) == 448
    assert hand.ledger.newest_over("sh440") is None


def test_a_lone_project_amid_a_flood_is_written_to_when_all_jobs_are_known(
    hand: Hand, flood: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "TOGETHER", 40)
    project = hand.project("alone", hand.inbox)
    used = hand.project("used", hand.inbox)
    flood()
    hand.drop("sh999.json", {"template": {"src": str(used), "composition": "Main"}})
    for _ in range(30):
        hand.turn()
        hand.seconds += 0.5
        assert not used.with_name("used.aep.WHY.txt").exists()

    assert project.with_name("alone.aep.WHY.txt").exists()


def test_settings_too_large_to_be_any_refuse_the_job_that_came_with_them(tmp_path: Path) -> None:
    hand = Hand(tmp_path, watch={"max_job_size": "2KiB"})
    hand.drop("spot.json")
    hand.drop("spot.yaml", f"hold: true\ntags: [{', '.join(['abc'] * 900)}]\n")
    hand.pass_time(8)

    job = hand.job("spot")
    assert job.state is State.FAILED and job.error is not None
    assert job.error["code"] == Code.SIDECAR_INVALID
    hand.close()


def test_a_newer_version_takes_the_place_of_one_that_waits_in_the_crowd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(tmp_path, queue={"supersede": "same-job"})
    hand.turn()
    monkeypatch.setattr(turns, "TURN_SECONDS", -1.0)
    for number in range(450):
        hand.drop(f"sh{number}.json")
    hand.drop("spot.json")
    hand.drop("posted@normal.json")
    hand.turn()
    hand.seconds += 1
    hand.drop("p80_spot.json")
    posted = hand.intake.announce("", "posted.json")  # as POST /jobs does
    hand.drop("posted.json")
    hand.pass_time(6)

    newer, older = hand.job("spot~2"), hand.job("spot")
    assert (older.file, older.state, older.superseded_by) == ("spot.json", State.CANCELLED, newer.id)
    assert (newer.file, newer.state) == ("p80_spot.json", State.QUEUED)
    older, newer = hand.job("posted"), hand.job("posted~2")
    assert (older.file, older.superseded_by) == ("posted@normal.json", newer.id)
    assert newer.id == posted.id and newer.state is State.QUEUED


def test_a_job_that_settings_name_is_superseded_though_its_turn_has_not_come(
    hand: Hand, flood: Callable[..., None]
) -> None:
    flood()
    hand.turn()
    hand.drop("new.json", hand.document() | {"watchrender": {"supersedes": "sh440"}})
    hand.turn()
    hand.pass_time(6)

    assert hand.job("sh440").superseded_by == hand.job("new").id
    assert len(hand.queue()) == 450


def test_a_file_sent_over_http_amid_a_flood_comes_after_what_lay_there(hand: Hand, flood: Callable[..., None]) -> None:
    flood()
    hand.turn()
    hand.intake.announce("", "posted.json")
    hand.drop("posted.json")
    hand.pass_time(6)

    assert hand.queue()[-1] == "posted"
    arrivals_of = [job.arrival for job in hand.ledger.live()]
    assert len(set(arrivals_of)) == len(arrivals_of) == 451


def test_a_name_is_that_of_the_file_that_was_seen_first(
    hand: Hand, flood: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "TOGETHER", 20)
    flood()
    hand.drop("spot.json")
    hand.drop("twin.json")
    hand.drop("yaml.json")
    hand.turn()
    hand.seconds += 1
    hand.drop("spot/job.json")
    hand.drop("p60_twin.json")
    hand.drop("yaml.yaml", "template: {src: x.aep, composition: Main}\n")
    hand.pass_time(20)

    files = {job.key: job.file for job in [*hand.ledger.live(), *hand.ledger.over()] if not job.key.startswith("sh")}
    assert files == {
        "spot": "spot.json", "spot~2": "spot", "twin": "twin.json", "twin~2": "p60_twin.json",
        "yaml": "yaml.json", "yaml~2": "yaml.yaml",
    }  # fmt: skip


def test_a_share_that_refuses_one_look_changes_no_order(
    hand: Hand, flood: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    look, refused = watch.look, []

    def refusing(path: str) -> Any:
        if path.endswith("sh250.json") and not refused:
            refused.append(path)
            raise OSError(5, "EIO", path)
        return look(path)

    monkeypatch.setattr(watch, "look", refusing)
    flood()
    hand.pass_time(6)

    assert refused and hand.queue() == [f"sh{number}" for number in range(450)]


@pytest.mark.parametrize("order", ["_CANCEL_ALL", "sh449.cancel"])
def test_a_folder_that_becomes_an_order_amid_a_flood_is_obeyed_for_all_of_it(
    hand: Hand, flood: Callable[..., None], monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setattr(arrivals, "TOGETHER", 20)
    monkeypatch.setattr(turns, "TOGETHER", 20)
    inside = hand.inbox / order / "x.txt"
    inside.parent.mkdir()
    inside.touch()
    flood()
    hand.turn()
    inside.unlink()
    hand.pass_time(30)

    assert hand.job("sh449").state is State.CANCELLED
    assert len(hand.queue()) == (0 if order == "_CANCEL_ALL" else 449)
    assert not (hand.inbox / order).exists()
    assert not list(hand.inbox.glob("*.WHY.txt"))


def test_a_sub_folder_can_be_asked_for_while_a_flood_is_worked_through(hand: Hand, flood: Callable[..., None]) -> None:
    flood(3000)
    hand.turn()
    stopping, faults = threading.Event(), []

    def ask() -> None:
        while not stopping.is_set():
            try:
                hand.intake.expect_sub("clientA/show")
            except Exception as fault:
                faults.append(fault)
                return

    thread = threading.Thread(target=ask)
    thread.start()
    while not faults and len(hand.queue()) < 3000:
        hand.turn()
    stopping.set()
    thread.join()
    assert not faults


def test_jobs_and_their_settings_go_on_after_a_restart_amid_a_flood(hand: Hand, flood: Callable[..., None]) -> None:
    for number in range(450):
        hand.sidecar(f"sh{number}.yaml", hold=True)
    flood()
    for _ in range(3):
        hand.turn()
    hand.reopen()
    hand.pass_time(20, step=1.0)

    assert len(hand.queue()) == 450
    assert all(hand.job(f"sh{number}").hold for number in (0, 200, 449))


def test_a_file_system_that_gives_a_part_at_a_time_is_read_to_the_end(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 1000)))
    hand.drop("big.json", hand.document() | {"pad": "x" * 20_000})
    hand.pass_time(4)
    assert hand.job("big").state is State.QUEUED


def test_files_that_live_for_a_moment_do_not_make_events_seem_lost(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    hand.turn()
    hand.drop("short.json")
    look = watch.look
    monkeypatch.setattr(watch, "look", lambda path: None if path.endswith("short.json") else look(path))
    hand.turn()
    (hand.inbox / "short.json").unlink()
    hand.pass_time(4)
    assert hand.intake.events_missed == 0
