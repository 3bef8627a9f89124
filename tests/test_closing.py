"""The end of a job: moved, then recorded; refused, then again; and never twice."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_recover import House
from watchrender import disk
from watchrender.closing import Closer
from watchrender.core.failure import Code, fail
from watchrender.core.states import Event, State
from watchrender.spool.folders import Busy


class Closing(House):
    """A house whose closer has a clock of the test's."""

    def _build(self) -> None:
        super()._build()
        self.clock = 0.0
        self.refused: list[OSError] = []
        self.closer = Closer(
            folders=self.folders, ledger=self.ledger, log_of=lambda _job: b"the log\n", clock=lambda: self.clock
        )
        self.closer.refused = self.refused.append

    def fault(self, *lines: str) -> None:
        """From now on the disk refuses so."""
        (self.home / "faults").write_text("\n".join(lines))
        disk.listen_to({"WATCHRENDER_FAULTS": str(self.home / "faults")})


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Closing]:
    made = Closing(tmp_path)
    yield made
    disk.listen_to({})
    made.close()


FAILURE = fail(Code.SCRIPT_ERROR, "the script is wrong")


def test_a_job_that_does_not_pass_lies_in_failed_with_all_that_was_dropped(house: Closing) -> None:
    job = house.job("spot", "inbox/clientA", State.VALIDATING, sub="clientA", file="p80_spot.json", sidecar="spot.yaml")
    house.write("inbox/clientA/spot.yaml", "tags: [x]\n")

    house.closer.reject(job, FAILURE)

    assert (house.now(job).state, house.now(job).folder) == (State.FAILED, "failed/clientA/spot")
    names = ("WHY.txt", "p80_spot.json", "spot.log", "spot.status.json", "spot.yaml")
    assert house.files() == [f"failed/clientA/spot/{name}" for name in names]
    said = house.said("failed/clientA/spot/spot.status.json")
    assert (said["state"], said["folder"]) == ("failed", "failed/clientA/spot")


@pytest.mark.parametrize("place", ["inbox", "active/spot"])
def test_a_cancelled_job_is_moved_with_the_next_turn(house: Closing, place: str) -> None:
    job = house.job("spot", place, State.QUEUED)
    job = house.ledger.apply(job.id, Event.CANCEL, "cancelled by a test")

    house.closer.soon(job)
    assert house.closer.pending() and not house.closer.is_closed(house.now(job))
    house.closer.turn()

    assert house.closer.is_closed(house.now(job)) and not house.closer.pending()
    assert house.now(job).folder == "cancelled/spot"


def test_a_file_that_is_held_open_is_tried_again_until_it_goes_and_the_job_says_why_it_waits(house: Closing) -> None:
    job = house.job("spot", "inbox", State.VALIDATING)
    house.fault(f"EACCES rename:*/.closing-{job.id}/spot.json 3")

    house.closer.reject(job, FAILURE)
    assert "somebody has it open" in house.now(job).waiting_for[0]
    tries = 1
    while house.closer.pending():
        house.clock += 0.5
        house.closer.turn()
        tries += 1

    assert house.now(job).state is State.FAILED and house.now(job).waiting_for == ()
    assert tries == 2 * 3 + 1, "once a second, and not with every turn"


def test_a_folder_that_somebody_keeps_open_is_copied_after_a_minute(house: Closing) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.write("active/spot/before/old.mp4")
    house.fault("EBUSY rename:*/failed/spot")
    house.write("failed/other.txt")

    house.closer.later(job.id, lambda copy: _give_up(house, job, copy))
    for _ in range(59):
        house.clock += 1
        house.closer.turn()
    assert house.now(job).state is State.RENDERING
    house.fault("EBUSY rename:*/failed/spot 1")
    house.clock += 1
    house.closer.turn()
    _until(lambda: not house.closer.pending())

    assert (house.now(job).state, house.now(job).folder) == (State.FAILED, "failed/spot")
    assert house.files("active") == []
    assert "before/old.mp4" in house.files("failed/spot")
    assert not [name for name in os.listdir(house.root / "failed") if name.startswith(".")]


def _give_up(house: Closing, job: Any, copy: bool) -> None:
    house.closer.close(house.now(job), Event.GIVE_UP, "it is over", copy=copy, error=FAILURE.to_dict())


def _until(what: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(500):
        if what():
            return
        done.wait(0.01)
    raise AssertionError("it did not come")


def test_what_could_not_be_removed_after_a_copy_goes_later(house: Closing, monkeypatch: pytest.MonkeyPatch) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.fault("EXDEV rename:*/done/spot 1")
    held, remove = [True], disk.remove_tree
    monkeypatch.setattr(disk, "remove_tree", lambda path: False if held and path.name == "spot" else remove(path))

    house.closer.close(job, Event.FINISH, "rendered")
    assert house.now(job).folder == "done/spot"
    house.closer.turn()
    assert (house.root / "active" / "spot").is_dir()
    held.clear()
    house.closer.turn()

    assert not (house.root / "active" / "spot").exists()
    assert len(house.files("done")) == 3


def test_a_folder_that_has_arrived_is_not_moved_again_when_its_record_is_refused(house: Closing) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.fault("ENOSPC append:*/state.*.journal 2")

    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            house.closer.close(house.now(job), Event.FINISH, "rendered", tags=("x",))
    done = house.closer.close(house.now(job), Event.FINISH, "rendered", tags=("x",))

    assert (done.state, done.folder, done.tags) == (State.COMPLETED, "done/spot", ("x",))
    assert os.listdir(house.root / "done") == ["spot"]


def test_a_cancelled_folder_that_has_arrived_is_not_moved_again_either(house: Closing) -> None:
    job = house.job("spot", "inbox", State.CANCELLED)
    house.fault("ENOSPC append:*/state.*.journal 2")

    house.closer.cancelled(job)
    while house.closer.pending():
        house.clock += 1
        house.closer.turn()

    assert house.now(job).folder == "cancelled/spot"
    assert os.listdir(house.root / "cancelled") == ["spot"]
    assert [error.errno for error in house.refused] == [errno.ENOSPC] * 2


def test_a_place_that_was_taken_meanwhile_is_not_overwritten(house: Closing, monkeypatch: pytest.MonkeyPatch) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    target = house.folders.target

    def taken(state: State, sub: str, name: str) -> Path:
        found = target(state, sub, name)
        if found.name == "spot":
            house.write("failed/spot/somebodys.txt", "theirs")
        return found

    monkeypatch.setattr(house.folders, "target", taken)
    house.closer.later(job.id, lambda copy: _give_up(house, job, copy))
    house.clock += 1
    house.closer.turn()

    assert house.now(job).folder == "failed/spot~2"
    assert (house.root / "failed" / "spot" / "somebodys.txt").read_text() == "theirs"


def test_what_is_wanted_now_overtakes_what_was_waiting_to_be_done(house: Closing) -> None:
    job = house.job("spot", "inbox", State.VALIDATING)
    house.fault(f"EACCES rename:*/.closing-{job.id}/spot.json 1")
    house.closer.reject(job, FAILURE)

    house.closer.cancelled(house.ledger.apply(job.id, Event.CANCEL, "cancelled by a test"))
    while house.closer.pending():
        house.clock += 1
        house.closer.turn()

    assert (house.now(job).state, house.now(job).folder) == (State.CANCELLED, "cancelled/spot")
    assert house.said("cancelled/spot/spot.status.json")["state"] == "cancelled"


def test_one_job_is_never_closed_by_two_threads_at_once(house: Closing) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    inside, most, go_on = [0], [0], threading.Event()

    def slow(copy: bool) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        go_on.wait(5)
        inside[0] -= 1
        if not copy:
            raise Busy(house.root, OSError(errno.EBUSY, "busy"))

    house.closer.soon(job)
    first = threading.Thread(target=house.closer.later, args=(job.id, slow))
    first.start()
    _until(lambda: inside[0] == 1)
    for _ in range(3):
        house.clock += 61
        house.closer.turn()
    house.closer.later(job.id, slow)
    go_on.set()
    first.join(5)
    while house.closer.pending():
        house.clock += 61
        house.closer.turn()
        threading.Event().wait(0.01)

    assert most == [1]


def test_a_copy_does_not_keep_the_main_thread(house: Closing) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    threads: list[str] = []

    def attempt(copy: bool) -> None:
        threads.append(threading.current_thread().name)
        if not copy:
            raise Busy(house.root, OSError(errno.EBUSY, "busy"))

    house.closer.later(job.id, attempt)
    house.clock += 60
    house.closer.turn()
    _until(lambda: not house.closer.pending())

    assert len(threads) == 2 and threads[1] != threads[0]


def test_a_fault_of_our_own_does_not_end_the_turn(house: Closing) -> None:
    def broken(_copy: bool) -> None:
        raise ValueError("a bug")

    good = house.job("good", "inbox", State.CANCELLED)
    house.closer.later("01BAD", broken)
    house.closer.soon(good)

    house.closer.turn()

    assert house.now(good).folder == "cancelled/good"
    assert house.closer.pending(), "and it is tried again, a minute later"


def test_a_begun_job_whose_folder_is_gone_is_closed_all_the_same(house: Closing) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    shutil.rmtree(house.root / "active" / "spot")

    house.closer.close(job, Event.GIVE_UP, "its folder is gone", error=FAILURE.to_dict())

    assert house.files() == [f"failed/spot/{name}" for name in ("WHY.txt", "spot.log", "spot.status.json")]
