"""What a person may ask, and what is refused in which state."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.turns import Hand
from watchrender.control import Control, Denied
from watchrender.core.job import Job, Progress
from watchrender.core.states import Event, State


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    made = Hand(tmp_path)
    made.drop("spot.json")
    made.pass_time(1)
    yield made
    made.close()


def test_a_waiting_job_is_cancelled_at_once_and_its_file_goes(hand: Hand) -> None:
    job = hand.control.cancel(hand.job("spot").id, by="a test")
    hand.turn()

    assert job.state is State.CANCELLED
    assert hand.lies("cancelled/spot/spot.json")
    assert not hand.lies("inbox/spot.json")


def test_a_running_job_is_asked_to_end(hand: Hand) -> None:
    job = hand.control.cancel(hand.start("spot").id, by="a test")

    assert (job.state, job.cancel_requested) == (State.RENDERING, True)


def test_a_job_cannot_start_between_the_look_and_the_record(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    job, look, seen = hand.job("spot"), Control._why_not, []

    def start() -> None:
        try:
            hand.ledger.apply(job.id, Event.START, "its turn has come")
            seen.append("started")
        except KeyError:  # a job that is over
            seen.append("too late")

    worker = threading.Thread(target=start)

    def look_slowly(found: Job) -> str | None:
        worker.start()
        worker.join(0.3)  # as long as it takes where nothing stops it
        return look(found)

    monkeypatch.setattr(Control, "_why_not", staticmethod(look_slowly))

    cancelled = hand.control.cancel(job.id, by="a test")
    worker.join()

    assert (cancelled.state, seen) == (State.CANCELLED, ["too late"])


def test_a_film_being_delivered_is_not_cancelled(hand: Hand) -> None:
    job = hand.start("spot")
    hand.ledger.progress(job.id, Progress(stage="delivering"))

    with pytest.raises(Denied, match="being delivered"):
        hand.control.cancel(job.id, by="a test")


def test_what_is_over_can_only_be_tried_again(hand: Hand) -> None:
    hand.start("spot")
    job = hand.finish("spot")
    control = hand.control

    for order in (
        lambda: control.cancel(job.id, by="a test"),
        lambda: control.hold(job.id, by="a test"),
        lambda: control.release(job.id, by="a test"),
        lambda: control.prioritize(job.id, 5, by="a test"),
    ):
        with pytest.raises(Denied, match="completed"):
            order()
    assert control.retry(job.id, by="a test") == "spot.json"
    hand.pass_time(1)
    assert hand.job("spot~2").retry_of == job.id


def test_what_is_not_over_cannot_be_tried_again(hand: Hand) -> None:
    with pytest.raises(Denied, match="only a job that is over"):
        hand.control.retry(hand.job("spot").id, by="a test")


def test_a_retry_needs_the_files(hand: Hand) -> None:
    hand.start("spot")
    job = hand.fail("spot")
    (hand.root / "failed/spot/spot.json").unlink()

    with pytest.raises(Denied, match="not in failed/spot any more"):
        hand.control.retry(job.id, by="a test")


def test_a_retry_copies_nothing_through_a_link(hand: Hand) -> None:
    hand.start("spot")
    job = hand.fail("spot")
    secret = hand.root.parent / "secret"
    secret.write_text("not for the share")
    (hand.root / "failed/spot/spot.json").unlink()
    (hand.root / "failed/spot/spot.json").symlink_to(secret)

    with pytest.raises(Denied, match="it is a link"):
        hand.control.retry(job.id, by="a test")
    assert not hand.lies("inbox/spot.json")


@pytest.mark.parametrize(
    ("file", "again", "settings"),
    [
        ("p80_take.json", "p80_take~2.json", "p80_take~2.yaml"),
        ("take.p80.json", "take~2.p80.json", "take~2.p80.yaml"),
        ("take@high.json", "take~2@high.json", "take~2@high.yaml"),
    ],
)
def test_another_try_beside_a_newer_file_of_the_name_keeps_its_mark_and_its_settings(
    hand: Hand, file: str, again: str, settings: str
) -> None:
    hand.drop(file)
    hand.sidecar("take.yaml", tags=["old"])
    hand.pass_time(6)
    hand.start("take")
    old = hand.fail("take")
    hand.drop(file)
    hand.pass_time(3)

    assert hand.control.retry(old.id, by="a test") == again
    hand.pass_time(6)
    retried = hand.job("take~2")
    assert (retried.retry_of, retried.sidecar, retried.tags) == (old.id, settings, ("old",))
    assert retried.priority == old.priority != 50
    assert (hand.job("take").sidecar, hand.job("take").tags) == (None, ())


def test_the_settings_of_another_try_do_not_become_those_of_a_job_that_is_called_like_them(hand: Hand) -> None:
    hand.drop("p80_take.json")
    hand.sidecar("take.yaml", tags=["old"])
    hand.pass_time(6)
    hand.start("take")
    old = hand.fail("take")
    hand.drop("take.json")
    hand.pass_time(3)
    newer = hand.job("take")

    assert hand.control.retry(old.id, by="a test") == "p80_take.json"
    hand.pass_time(6)
    assert hand.ledger.get(newer.id) == newer
    assert hand.job("take~2").tags == ("old",)


def test_hold_and_release_are_marks_and_nothing_else(hand: Hand) -> None:
    job = hand.job("spot")
    assert hand.control.hold(job.id, by="a test").hold
    assert hand.lies("inbox/spot.hold")
    hand.drop("SPOT.json.HOLD.txt", b"")

    assert not hand.control.release(job.id, by="a test").hold
    assert not list(hand.inbox.glob("*[hH][oO][lL][dD]*"))


def test_a_release_beats_the_hold_of_a_sidecar(hand: Hand) -> None:
    hand.sidecar("spot.yaml", hold=True)
    hand.pass_time(4)
    assert hand.job("spot").hold

    assert not hand.control.release(hand.job("spot").id, by="a test").hold


def test_a_running_job_cannot_be_held(hand: Hand) -> None:
    with pytest.raises(Denied, match="only a job that waits"):
        hand.control.hold(hand.start("spot").id, by="a test")


@pytest.mark.parametrize("priority", [-1, 101])
def test_a_priority_out_of_range_is_refused(hand: Hand, priority: int) -> None:
    with pytest.raises(Denied, match="0 to 100"):
        hand.control.prioritize(hand.job("spot").id, priority, by="a test")


def test_pause_and_resume_are_one_mark_that_all_see(hand: Hand) -> None:
    hand.control.pause()
    hand.control.pause()
    assert hand.lies("inbox/_PAUSE") and hand.gate.paused
    hand.drop("_pause.TXT", b"mine too")

    hand.control.resume()

    assert not hand.gate.paused
    assert [path.name for path in hand.inbox.iterdir()] == ["spot.json"]


def test_stop_leaves_a_pause(hand: Hand) -> None:
    hand.control.stop()

    assert hand.lies("inbox/_PAUSE")
    assert (hand.gate.stopping, hand.gate.put_back, hand.gate.at_once) == (True, True, False)


def test_a_mark_that_holds_somebodys_files_is_not_emptied(hand: Hand) -> None:
    hand.drop("_PAUSE/mine.txt", b"x")

    with pytest.raises(Denied, match="empty it"):
        hand.control.resume()
    assert hand.lies("inbox/_PAUSE/mine.txt")


def test_a_mark_that_holds_nothing_but_a_systems_own_files_is_taken_away(hand: Hand) -> None:
    (hand.inbox / "_PAUSE").mkdir()
    (hand.inbox / "_PAUSE" / ".DS_Store").touch()
    hand.turn()
    assert hand.gate.paused

    hand.control.resume()
    assert not hand.lies("inbox/_PAUSE")


def test_an_order_for_nobody_is_a_key_error(hand: Hand) -> None:
    with pytest.raises(KeyError):
        hand.control.cancel("nobody", by="a test")
