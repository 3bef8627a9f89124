"""A start after any kind of end, on real folders: record and folders agree afterwards, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.line import until
from watchrender.closing import Closer
from watchrender.config import load
from watchrender.core import status
from watchrender.core.job import Form, Job, new_id
from watchrender.core.recovery import Repair
from watchrender.core.states import State
from watchrender.judge import Judge
from watchrender.ledger import ledger as room
from watchrender.ledger.ledger import Ledger, utc_now
from watchrender.recover import HISTORY_SERIALS, Recovery, delivery_check, import_history
from watchrender.render.footage import Footage
from watchrender.spool.folders import Folders, read_status


class Clock:
    now = 1000.0


class House:
    """Folders and a record, without a service."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "root"
        self.root.mkdir()
        text = yaml.safe_dump({"root": str(self.root), "state_dir": str(home / "state")})
        self.config = load(text, str(home / "watchrender.yaml"), {})
        self.folders = Folders(self.root, self.config.folders)
        self.folders.prepare()
        self.ledger = Ledger(home / "state" / "ledger")
        self._build()

    def _build(self) -> None:
        self.clock = Clock()
        self.closer = Closer(
            folders=self.folders, ledger=self.ledger, log_of=lambda _job: b"the log\n", clock=lambda: self.clock.now
        )
        self.judge = Judge(
            config=self.config,
            folders=self.folders,
            ledger=self.ledger,
            footage=Footage(self.home / "work"),
            module_installed=lambda _name: True,
            now=utc_now,
        )

    def close(self) -> None:
        self.ledger.close()

    def lose_record(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.home / "state")
        self.ledger = Ledger(self.home / "state" / "ledger")
        self._build()

    def recover(self, *, rebooted: bool = False, is_new: bool = False, shown_since: str = "9999") -> Recovery:
        recovery = Recovery(
            folders=self.folders,
            ledger=self.ledger,
            closer=self.closer,
            judge=self.judge,
            may_deliver=delivery_check(self.config, self.folders),
            rebooted=rebooted,
            is_new=is_new,
            max_attempts=4,
            shown_since=shown_since,
        )
        recovery.run()
        return recovery

    # -- what lies around before ----------------------------------------------------------------------------

    def write(self, path: str, content: str = "content") -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content, encoding="utf-8")
        return place

    def job(self, name: str, folder: str, state: State = State.QUEUED, *, lies: bool = True, **fields: Any) -> Job:
        """A job in the record, and its file in that folder (or, where it does not lie there, only the record)."""
        form = fields.get("form", Form.FILE)
        fields = {"file": f"{name}.json", "begun": not folder.startswith("inbox"), "sub": "", **fields}
        if form is Form.FILE and lies:
            self.write(f"{folder}/{fields['file']}", json.dumps({"template": {"src": "x.aep", "composition": "Main"}}))
        return self.ledger.add(why="here for a test", name=name, folder=folder, state=state, **fields)

    def final(self, job: Job, folder: str, state: State, **more: Any) -> Path:
        """The final status in a folder, and the log that was written before it."""
        self.write(f"{folder}/{job.name}.log", "the log\n")
        said = status.document(job) | {"state": str(state), "folder": folder} | more
        return self.write(f"{folder}/{job.name}.status.json", json.dumps(said))

    def status(self, job: Job, **more: Any) -> dict[str, Any]:
        """The file in status/, as the service has last written it."""
        said = status.document(job) | more
        self.write(f"status/{job.key}.status.json", json.dumps(said))
        return said

    # -- and after ------------------------------------------------------------------------------------------

    def now(self, job: Job) -> Job:
        found = self.ledger.get(job.id)
        assert found is not None
        return found

    def files(self, folder: str = "") -> list[str]:
        top = self.root / folder
        return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())

    def said(self, path: str) -> dict[str, Any]:
        found = read_status(self.root / path)
        assert found is not None
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


# -- the cells of the table ---------------------------------------------------------------------------------


def test_a_job_that_was_being_read_is_read_again(house: House) -> None:
    job = house.job("spot", "inbox", State.VALIDATING)

    house.recover()

    assert house.now(job).state is State.PENDING


def test_a_job_that_was_recorded_as_taken_and_not_moved_is_queued_in_the_inbox(house: House) -> None:
    job = house.job("spot", "inbox", State.RENDERING)
    (house.root / "active" / "spot").mkdir()

    house.recover()

    found = house.now(job)
    assert (found.state, found.begun, found.folder, found.attempts) == (State.QUEUED, False, "inbox", ())
    assert house.files() == ["inbox/spot.json"]
    assert not (house.root / "active" / "spot").exists()


@pytest.mark.parametrize("state", [State.PENDING, State.VALIDATING, State.QUEUED, State.RENDERING])
def test_a_claim_that_was_not_recorded_counts_and_its_sidecar_follows(house: House, state: State) -> None:
    job = house.job("spot", "inbox", state, sub="", sidecar="spot.yaml")
    house.write("inbox/spot.yaml", "priority: 80\n")
    (house.root / "active" / "spot~2").mkdir()
    os.rename(house.root / "inbox" / "spot.json", house.root / "active" / "spot~2" / "spot.json")

    house.recover()

    found = house.now(job)
    assert (found.state, found.begun, found.folder) == (State.QUEUED, True, "active/spot~2")
    assert house.files() == ["active/spot~2/spot.json", "active/spot~2/spot.yaml"]


def test_a_claimed_bundle_is_found_by_its_folder(house: House) -> None:
    job = house.job("spot", "inbox", State.RENDERING, form=Form.BUNDLE, file="p80_spot")
    house.write("active/spot/bundle/job.json", "{}")
    house.write("active/spot/bundle/other.status.json", "{}")

    house.recover()

    assert (house.now(job).state, house.now(job).folder) == (State.QUEUED, "active/spot")
    assert house.files() == ["active/spot/bundle/job.json", "active/spot/bundle/other.status.json"]


def test_what_a_cut_off_render_left_is_removed_and_what_was_dropped_stays(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING, sidecar="spot.yaml")
    for left in (".attempt-1/half.mp4", "spot.mp4", "spot.log", "WHY.txt", ".x.0123abcd.tmp", "frames/f_1.png"):
        house.write(f"active/spot/{left}")
    for dropped in ("spot.yaml", "before/old.mp4", "spot.p90.yaml"):
        house.write(f"active/spot/{dropped}")

    house.recover()

    found = house.now(job)
    assert (found.state, found.attempts, found.interrupted) == (State.QUEUED, (), 0)
    assert "no try is used" in found.history[-1]["why"]
    assert house.files("active/spot") == ["before/old.mp4", "spot.json", "spot.p90.yaml", "spot.yaml"]


def test_a_job_that_takes_the_machine_down_three_times_is_held_with_the_reason(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    for number in (1, 2, 3):
        house.recover(rebooted=True)
        found = house.now(job)
        assert (found.state, found.interrupted, found.hold) == (State.QUEUED, number, number == 3)
        if number < 3:
            house.ledger.note(job.id, state=State.RENDERING)

    assert "machine went down 3 times" in (house.now(job).held_because or "")


def test_a_crash_of_the_service_alone_never_holds_a_job(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    for _ in range(5):
        house.recover()
        house.ledger.note(job.id, state=State.RENDERING)

    house.recover()

    assert not house.now(job).hold


@pytest.mark.parametrize("begun", [False, True])
def test_a_closing_that_was_cut_off_is_completed_as_its_final_status_says(house: House, begun: bool) -> None:
    folder = "active/spot" if begun else "inbox"
    job = house.job("spot", folder, State.RENDERING if begun else State.VALIDATING, sidecar="spot.yaml")
    house.write(f"{folder}/spot.yaml", "priority: 80\n")
    closing = "active/spot" if begun else f"active/.closing-{job.id}"
    error = {"code": "SCRIPT_ERROR", "kind": "job", "message": "m", "cure": "c"}
    house.final(job, closing, State.FAILED, error=error, finished_at="2026-01-01T00:00:00.000Z")
    house.write(f"{closing}/.half.0123abcd.tmp")

    house.recover()

    found = house.now(job)
    assert (found.state, found.folder, found.error) == (State.FAILED, "failed/spot", error)
    assert found.finished_at == "2026-01-01T00:00:00.000Z"
    assert house.files() == [f"failed/spot/spot.{end}" for end in ("json", "log", "status.json", "yaml")]
    assert house.said("failed/spot/spot.status.json")["folder"] == "failed/spot"


def test_a_closing_goes_to_the_next_free_name_and_its_status_says_so(house: House) -> None:
    house.write("failed/spot/somebodys.txt")
    job = house.job("spot", "active/spot", State.RENDERING)
    house.final(job, "active/spot", State.FAILED)

    house.recover()

    assert house.now(job).folder == "failed/spot~2"
    assert house.said("failed/spot~2/spot.status.json")["folder"] == "failed/spot~2"


def test_a_film_that_goes_elsewhere_arrives_once(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    film = house.write("active/spot/spot.mp4", "a film")
    target = house.root / "films" / "spot.mp4"
    delivery = {"from": "spot.mp4", "to": str(target), "shown": str(target), "replace": False}
    house.final(
        job,
        "active/spot",
        State.COMPLETED,
        record={"deliveries": [delivery]},
        outputs=[{"path": str(target), "bytes": 6, "sha256": None}],
    )
    target.parent.mkdir()
    shutil.copy(film, target)  # the copy had arrived when the cut came
    (target.parent / ".spot.status.json.0123abcd.tmp").touch()

    house.recover()

    assert house.now(job).state is State.COMPLETED
    assert house.files("films") == ["spot.mp4", "spot.status.json"]
    assert house.files("done") == ["spot/spot.json", "spot/spot.log", "spot/spot.status.json"]
    assert house.now(job).outputs[0]["path"] == str(target)


@pytest.mark.parametrize("half_removed", [False, True])
def test_a_copy_that_has_arrived_is_not_delivered_again(house: House, half_removed: bool) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.write("active/spot/spot.mp4", "a film")
    house.final(job, "active/spot", State.COMPLETED, outputs=[{"path": "spot.mp4", "bytes": 6, "sha256": None}])
    shutil.copytree(house.root / "active" / "spot", house.root / "done" / "spot")
    if half_removed:
        (house.root / "active" / "spot" / "spot.status.json").unlink()

    house.recover()

    assert (house.now(job).state, house.now(job).folder) == (State.COMPLETED, "done/spot")
    assert house.files("active") == []
    assert len(house.files("done")) == 4


def test_a_copy_that_was_cut_off_leaves_nothing(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.final(job, "active/spot", State.COMPLETED)
    house.write(f"done/.closing-{job.id}/spot.json", "hal")

    house.recover()

    assert house.files("done") == ["spot/spot.json", "spot/spot.log", "spot/spot.status.json"]


def test_what_is_left_of_an_original_after_its_record_is_removed(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.final(job, "done/spot", State.COMPLETED)
    house.recover()
    house.final(job, "active/spot", State.COMPLETED)

    recovery = house.recover()

    assert recovery.repaired == [(job.id, Repair.CLEAR)]
    assert house.files("active") == []


def a_drag(house: House, folder: str, content: str = "the job of a person") -> Job:
    """A job that failed, and its folder in active/, where a person has put it."""
    job = house.job("spot", "failed/spot", State.FAILED)
    house.write(f"{folder}/spot.json", content)
    house.final(job, folder, State.FAILED)
    return job


@pytest.mark.parametrize("failed", ["moved", "copied and edited"])
def test_a_failed_job_that_a_person_has_put_into_active_is_put_back_and_not_removed(house: House, failed: str) -> None:
    job = a_drag(house, "active/spot")
    if failed == "moved":
        shutil.rmtree(house.root / "failed" / "spot")

    house.recover()

    folder = "failed/spot" if failed == "moved" else "failed/spot~2"
    assert house.now(job).folder == folder
    assert house.said(f"{folder}/spot.status.json")["folder"] == folder
    assert (house.root / folder / "spot.json").read_text() == "the job of a person"
    assert house.files("active") == []
    assert [found.state for found in (*house.ledger.live(), *house.ledger.over())] == [State.FAILED]


def test_such_a_folder_is_put_back_too_where_the_record_is_lost(house: House) -> None:
    job = a_drag(house, "active/spot")
    shutil.rmtree(house.root / "failed")
    house.folders.prepare()

    house.lose_record()
    house.recover(is_new=True)

    assert (house.now(job).state, house.now(job).folder) == (State.FAILED, "failed/spot")
    assert (house.root / "failed" / "spot" / "spot.json").read_text() == "the job of a person"


@pytest.mark.parametrize("known", ["known", "lost"])
def test_the_final_status_of_another_job_decides_nothing(house: House, known: str) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    other = house.job("other", "failed/other", State.FAILED)
    house.final(other, "failed/other", State.FAILED)
    house.final(other, "active/spot", State.FAILED)
    house.status(job)

    if known == "lost":
        house.lose_record()
    house.recover(is_new=known == "lost")

    assert (house.now(job).state, house.now(job).folder) == (State.QUEUED, "active/spot")
    assert house.files("active") == ["spot/spot.json"]
    assert "failed/other/other.json" in house.files()


@pytest.mark.parametrize("known", ["known", "lost"])
def test_nor_does_that_of_one_whose_next_name_this_is(house: House, known: str) -> None:
    job = house.job("spot~2", "active/spot~2", State.RENDERING)
    first = house.job("spot", "failed/spot", State.FAILED)
    house.final(first, "failed/spot", State.FAILED)
    house.final(first, "active/spot~2", State.FAILED)
    house.status(job)

    if known == "lost":
        house.lose_record()
    house.recover(is_new=known == "lost")

    assert (house.now(job).state, house.now(job).folder) == (State.QUEUED, "active/spot~2")
    assert house.files("active") == ["spot~2/spot~2.json"]


def test_a_copy_of_a_decided_end_that_somebody_has_made_is_not_the_jobs_end(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.write("active/spot~2/spot.json", "an older spot")
    house.final(job, "active/spot~2", State.FAILED)

    house.recover()

    assert (house.now(job).state, house.now(job).folder) == (State.QUEUED, "active/spot")
    assert (house.root / "active" / "spot~2" / "spot.json").read_text() == "an older spot"


def test_an_original_with_more_in_it_than_its_copy_is_not_removed(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.final(job, "active/spot", State.COMPLETED)
    shutil.copytree(house.root / "active" / "spot", house.root / "done" / "spot")
    house.write("active/spot/spot.json", "saved by somebody since")

    house.recover()

    assert house.now(job).state is State.COMPLETED
    kept = house.now(job).folder
    assert kept == "done/spot~2"
    assert (house.root / kept / "spot.json").read_text() == "saved by somebody since"


def test_a_waiting_job_keeps_nothing_that_a_lost_record_did_not_know_of(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.status(job)
    house.write("active/spot/spot.mp4", "a film that was not judged")
    house.write("active/spot/.attempt-1/half.mp4")

    house.lose_record()
    house.recover(is_new=True)

    assert house.now(job).state is State.QUEUED
    assert house.files("active") == ["spot/spot.json"]


def test_a_begun_job_whose_folder_is_gone_has_failed_without_a_record_too(house: House) -> None:
    job = house.job("spot", "active/clientA/spot", State.RENDERING, sub="clientA")
    house.status(job)
    shutil.rmtree(house.root / "active" / "clientA")

    house.lose_record()
    house.recover(is_new=True)

    assert (house.now(job).state, house.now(job).folder) == (State.FAILED, "failed/clientA/spot")
    assert "somebody moved or deleted it" in (house.now(job).error or {})["message"]


def test_a_folder_in_active_that_was_emptied_ends_its_job(house: House) -> None:
    job = house.job("spot", "active/spot", State.QUEUED, sidecar="spot.yaml")
    house.write("active/spot/spot.yaml", "tags: [x]\n")
    (house.root / "active" / "spot" / ".attempt-1").mkdir()
    os.unlink(house.root / "active" / "spot" / "spot.json")

    house.recover()

    assert (house.now(job).state, house.now(job).folder) == (State.FAILED, "failed/spot")
    assert not (house.root / "failed" / "spot" / ".attempt-1").exists()
    assert "failed/spot/spot.yaml" in house.files()
    assert house.files("active") == []


def for_elsewhere(house: House, target: Path, name: str = "spot.mp4") -> Job:
    """A job whose end is decided, and whose film is to go there."""
    job = house.job("spot", "active/spot", State.RENDERING)
    delivery = {"from": name, "to": str(target), "shown": str(target), "replace": False}
    output = {"path": str(target), "bytes": 6, "sha256": None}
    house.final(job, "active/spot", State.COMPLETED, record={"deliveries": [delivery]}, outputs=[output])
    return job


def test_a_place_elsewhere_that_goes_on_refusing_keeps_the_film_in_its_folder_and_says_so(house: House) -> None:
    target = house.root / "films" / "spot.mp4"
    job = for_elsewhere(house, target)
    house.write("active/spot/spot.mp4", "a film")
    house.write("films/spot.mp4", "somebody's")

    house.recover()
    assert not house.now(job).over
    for _ in range(3):
        house.clock.now += 30
        house.closer.turn()
        until(lambda: not house.closer.busy())

    found = house.now(job)
    assert (found.state, found.folder, found.outputs[0]["path"]) == (State.COMPLETED, "done/spot", "spot.mp4")
    assert "could not be delivered" in found.warnings[-1] and str(target) in found.warnings[-1]
    said = house.said("done/spot/spot.status.json")
    assert (said["outputs"], said["warnings"]) == (list(found.outputs), list(found.warnings))
    assert (house.root / "done/spot/spot.mp4").read_text() == "a film"
    assert house.files("films") == ["spot.mp4"]
    assert target.read_text() == "somebody's"
    assert not house.closer.pending()


def test_a_place_elsewhere_that_is_not_allowed_any_more_keeps_the_film_here_too(house: House, tmp_path: Path) -> None:
    target = tmp_path / "outside" / "spot.mp4"
    job = for_elsewhere(house, target)
    house.write("active/spot/spot.mp4", "a film")

    house.recover()

    found = house.now(job)
    assert (found.state, found.outputs[0]["path"]) == (State.COMPLETED, "spot.mp4")
    assert "policy.roots" in found.warnings[-1]
    assert (house.root / "done/spot/spot.mp4").read_text() == "a film"
    assert not target.parent.exists()


@pytest.mark.parametrize("recorded", [State.QUEUED, State.RENDERING])
@pytest.mark.parametrize(
    ("top", "end"), [("done", State.COMPLETED), ("failed", State.FAILED), ("cancelled", State.CANCELLED)]
)
def test_a_folder_that_has_arrived_is_recorded(house: House, top: str, end: State, recorded: State) -> None:
    job = house.job("spot", "active/clientA/spot", recorded, lies=False, sub="clientA")
    house.final(
        job,
        f"{top}/clientA/spot~2",
        end,
        outputs=[{"path": "spot.mp4", "bytes": 1, "sha256": None}],
        attempts=[{"number": 1, "started_at": None, "finished_at": None}],
        history=[{"at": "", "from": None, "to": str(end), "why": "as it was"}],
    )

    house.recover()

    found = house.now(job)
    assert (found.state, found.folder) == (end, f"{top}/clientA/spot~2")
    assert len(found.outputs) == len(found.attempts) == 1
    assert found.history[-1]["why"] == "as it was"


@pytest.mark.parametrize("place", ["inbox", "active/spot"])
def test_a_job_that_was_recorded_as_cancelled_is_moved(house: House, place: str) -> None:
    job = house.job("spot", place, State.CANCELLED)
    closed_in = place if place != "inbox" else f"active/.closing-{job.id}"
    house.write(f"{closed_in}/.WHY.txt.0123abcd.tmp")  # the cut came while the letter was written

    house.recover()

    assert house.now(job).folder == "cancelled/spot"
    assert house.files() == [
        f"cancelled/spot/{name}" for name in ("WHY.txt", "spot.json", "spot.log", "spot.status.json")
    ]


def test_a_cancelled_job_that_has_arrived_is_noted_and_one_that_is_nowhere_too(house: House) -> None:
    there = house.job("there", "inbox", State.CANCELLED)
    os.unlink(house.root / "inbox" / "there.json")
    house.final(there, "cancelled/there", State.CANCELLED)
    nowhere = house.job("nowhere", "inbox", State.CANCELLED)
    os.unlink(house.root / "inbox" / "nowhere.json")

    house.recover()

    assert house.now(there).folder == "cancelled/there"
    assert house.now(nowhere).folder == ""
    assert len(house.files("cancelled")) == 2


@pytest.mark.parametrize("state", [State.QUEUED, State.RENDERING])
def test_a_begun_job_whose_folder_is_gone_has_failed_and_says_so(house: House, state: State) -> None:
    job = house.job("spot", "active/spot", state)
    shutil.rmtree(house.root / "active" / "spot")

    house.recover()

    found = house.now(job)
    assert (found.state, found.folder) == (State.FAILED, "failed/spot")
    assert (found.error or {})["code"] == "JOB_UNREADABLE"
    assert "active/spot" in (house.root / "failed" / "spot" / "WHY.txt").read_text(encoding="utf-8")
    assert house.files("active") == []


@pytest.mark.parametrize("state", [State.PENDING, State.VALIDATING, State.QUEUED, State.RENDERING])
def test_a_file_that_is_gone_waits_for_the_inbox_to_say_so(house: House, state: State) -> None:
    job = house.job("spot", "inbox", state)
    os.unlink(house.root / "inbox" / "spot.json")

    house.recover()

    assert not house.now(job).over
    assert house.now(job).state is not State.RENDERING


def test_a_job_of_another_with_the_same_file_name_is_not_taken_for_the_claim(house: House) -> None:
    begun = house.job("spot", "active/spot", State.QUEUED)
    waiting = house.job("spot~2", "inbox", State.QUEUED, file="spot.json")
    os.unlink(house.root / "inbox" / "spot.json")

    house.recover()

    assert house.now(begun).folder == "active/spot"
    assert house.now(waiting).begun is False


def test_a_job_that_is_over_is_its_owners_business(house: House) -> None:
    job = house.job("spot", "done/spot", State.COMPLETED, lies=False)

    assert house.recover().repaired == []
    assert house.now(job).folder == "done/spot"


def test_a_returned_jobs_old_status_is_no_closing(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    old = house.job("spot", "failed/spot", State.FAILED, lies=False)
    house.final(old, "active/spot/before", State.FAILED)

    house.recover()

    assert house.now(job).state is State.QUEUED
    assert "before/spot.status.json" in house.files("active/spot")


# -- a record that is lost ----------------------------------------------------------------------------------


def test_waiting_jobs_come_back_with_their_ids_order_priorities_tries_and_holds(house: House) -> None:
    first = house.job("first", "inbox", arrival=7, asked_priority=90, priority=90, priority_from="request")
    second = house.job(
        "second",
        "inbox/clientA",
        sub="clientA",
        arrival=3,
        attempts=({"number": 1, "started_at": "a", "finished_at": "b"},),
        launches=2,
        held_because="the machine went down 3 times",
        released=True,
        created_at="2026-01-01T00:00:00.000Z",
        retry_of="01OLD",
    )
    for job in (first, second):
        house.status(job)

    house.lose_record()
    house.recover(is_new=True)

    found = house.now(second)
    assert [job.id for job in sorted(house.ledger.live(), key=lambda job: job.arrival)] == [second.id, first.id]
    assert house.now(first).asked_priority == 90
    assert (found.folder, found.begun, found.state) == ("inbox/clientA", False, State.PENDING)
    assert found.attempts == second.attempts and found.launches == 2
    assert (found.held_because, found.released, found.retry_of) == (second.held_because, True, "01OLD")
    assert found.created_at == "2026-01-01T00:00:00.000Z"
    assert "the record was lost" in found.history[-1]["why"]


def test_a_begun_job_comes_back_with_its_tries_and_its_settings(house: House) -> None:
    job = house.job(
        "spot", "active/spot", State.RENDERING, sidecar="spot.yaml", attempts=({"number": 1},), cancel_requested=True
    )
    house.write("active/spot/spot.yaml", "priority: 83\nhold: true\nrender_timeout: 5m\ntags: [x]\n")
    document = {"template": {"src": "x.aep", "composition": "Main"}, "watchrender": {"max_retries": 7}}
    house.write("active/spot/spot.json", json.dumps(document))
    house.write("active/spot/.attempt-1/half.mp4")
    house.status(job)

    house.lose_record()
    house.recover(is_new=True)

    found = house.now(job)
    assert (found.state, found.begun, found.folder, found.cancel_requested) == (State.QUEUED, True, "active/spot", True)
    assert (found.priority, found.priority_from, found.settings_hold) == (83, "sidecar", True)
    assert (found.max_attempts, found.tags, len(found.attempts)) == (8, ("x",), 1)
    assert found.settings["sidecar"]["render_timeout"]


def test_a_cancelling_that_was_asked_for_while_the_job_was_taken_is_not_lost_with_the_record(house: House) -> None:
    job = house.job("spot", "inbox", State.RENDERING, cancel_requested=True)
    house.status(job)

    house.lose_record()
    house.recover(is_new=True)

    assert (house.now(job).state, house.now(job).folder) == (State.CANCELLED, "cancelled/spot")
    assert house.files("inbox") == []


def test_a_folder_in_active_without_any_status_is_a_job(house: House) -> None:
    house.write("active/clientA/spot~2/p80_spot.json", "{}")
    house.write("active/clientA/spot~2/spot.yaml", "priority: 83\n")
    house.write("active/clientA/.DS_Store")
    house.write("active/film/bundle/job.json", "{}")

    house.recover(is_new=True)

    jobs = {job.key: job for job in house.ledger.live()}
    assert set(jobs) == {"clientA/spot~2", "film"}
    assert (jobs["clientA/spot~2"].file, jobs["clientA/spot~2"].sidecar) == ("p80_spot.json", "spot.yaml")
    assert jobs["film"].form is Form.BUNDLE
    assert all(job.state is State.QUEUED and job.begun for job in jobs.values())


def test_a_closing_is_completed_without_a_record(house: House) -> None:
    begun = house.job("begun", "active/begun", State.RENDERING)
    house.final(begun, "active/begun", State.COMPLETED, outputs=[{"path": "begun.mp4", "bytes": 1, "sha256": None}])
    house.write("active/begun/begun.mp4")
    waiting = house.job("waiting", "inbox", State.VALIDATING)
    house.final(waiting, f"active/.closing-{waiting.id}", State.FAILED)
    for job in (begun, waiting):
        house.status(job)

    house.lose_record()
    house.recover(is_new=True)

    assert (house.now(begun).state, house.now(begun).folder) == (State.COMPLETED, "done/begun")
    assert house.now(begun).outputs[0]["path"] == "begun.mp4"
    assert (house.now(waiting).state, house.now(waiting).folder) == (State.FAILED, "failed/waiting")
    assert "failed/waiting/waiting.json" in house.files()
    assert house.files("active") == house.files("inbox") == []


def test_a_job_that_was_withdrawn_meanwhile_comes_back_to_be_recorded_as_that(house: House) -> None:
    job = house.job("spot", "inbox")
    house.status(job)
    os.unlink(house.root / "inbox" / "spot.json")

    house.lose_record()
    house.recover(is_new=True)

    assert house.now(job).state is State.PENDING


def test_a_job_that_has_arrived_while_its_status_says_otherwise_is_left_to_the_history(house: House) -> None:
    job = house.job("spot", "active/spot", State.RENDERING)
    house.status(job)
    shutil.rmtree(house.root / "active" / "spot")
    house.final(job, "done/spot", State.COMPLETED)

    house.lose_record()
    house.recover(is_new=True)
    assert house.ledger.get(job.id) is None

    assert import_history(house.folders, house.ledger, lambda: False, lambda _target: False) == 1
    assert (house.now(job).state, house.now(job).folder) == (State.COMPLETED, "done/spot")


def test_the_history_comes_back_newest_first_and_behind_whatever_is_new(house: House) -> None:
    old = [house.job(f"old{number}", f"done/old{number}", State.COMPLETED, lies=False) for number in range(4)]
    for number, job in enumerate(old):
        house.final(job, f"done/old{number}", State.COMPLETED, finished_at=f"2026-01-0{number + 1}T00:00:00.000Z")
    twice = house.job("old0", "failed/old0", State.FAILED, lies=False)
    house.final(twice, "failed/old0", State.FAILED, finished_at="2025-01-01T00:00:00.000Z")

    house.lose_record()
    house.recover(is_new=True)
    fresh = house.job("fresh", "failed/fresh", State.FAILED, lies=False)
    asked = iter([False] * 8 + [True] * 9)  # and the service is stopped in the middle of it
    import_history(house.folders, house.ledger, lambda: next(asked), lambda _target: False)
    assert 0 < sum(job.over for job in house.ledger.over()) < 6
    import_history(house.folders, house.ledger, lambda: False, lambda _target: False)

    names = [job.id for job in house.ledger.over()]
    assert names == [fresh.id, *(job.id for job in reversed(old)), twice.id]
    assert fresh.serial > HISTORY_SERIALS
    newest = house.ledger.newest_over("old0")
    assert newest is not None and newest.id == old[0].id


# -- status files are open to everybody -----------------------------------------------------------------------


def test_a_forged_status_leads_nowhere(house: House, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("secret")
    for number, more in enumerate(
        [
            {"folder": str(tmp_path), "files": {"job": "secret.json", "sidecar": None}},
            {"folder": "../", "files": {"job": "secret.json", "sidecar": None}},
            {"sub": "..", "name": "x"},
            {"name": "../../x"},
            {"files": {"job": "../../secret.json", "sidecar": None}},
            {"files": None},
            {"id": "../../x"},
            {"record": "x", "history": "x", "attempts": 3, "priority": "x", "max_attempts": -1},
        ]
    ):
        said = status.document(Job(id=new_id(number), serial=1, arrival=1, name=f"forged{number}", folder="inbox"))
        house.write(f"status/forged{number}.status.json", json.dumps(said | more))

    house.recover(is_new=True)

    for job in house.ledger.live():
        assert job.folder == "inbox" and not job.begun and "/" not in job.file
    assert secret.read_text() == "secret"


def test_a_forged_closing_takes_no_file_and_gives_none(house: House, tmp_path: Path) -> None:
    secret, target = tmp_path / "secret.txt", tmp_path / "elsewhere" / "x.mp4"
    secret.write_text("secret")
    job = house.job("spot", "active/spot", State.RENDERING)
    house.write("active/spot/spot.mp4", "a film")
    house.final(
        job,
        "active/spot",
        State.COMPLETED,
        record={
            "deliveries": [
                {"from": "spot.mp4", "to": str(target)},
                {"from": "../../../secret.txt", "to": str(house.root / "films" / "y.mp4")},
                {"from": 3, "to": None},
                "x",
            ]
        },
        outputs=[{"path": str(secret), "bytes": 1, "sha256": None}, {"path": "spot.mp4", "bytes": 1, "sha256": None}],
    )

    house.recover()

    assert secret.read_text() == "secret"
    assert not target.exists() and not (house.root / "films").exists()
    assert [entry["path"] for entry in house.now(job).outputs] == ["spot.mp4"]
    assert "done/spot/spot.mp4" in house.files()


# -- returned jobs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["before anything", "before the sidecar", "before the job", "before its record"])
def test_a_returned_job_whose_unpacking_was_cut_off_is_whole_again(house: House, cut: str) -> None:
    old = house.job("spot", "failed/clientA/spot", State.FAILED, lies=False, sub="clientA", sidecar="spot.yaml")
    folder = "inbox/clientA/spot" if cut == "before anything" else "inbox/clientA/.before-spot.json"
    house.final(old, folder, State.FAILED)
    house.write(f"{folder}/spot.mp4", "a film")
    house.write(f"{'inbox/clientA' if cut == 'before its record' else folder}/spot.json", "{}")
    moved = cut in ("before the job", "before its record")
    house.write(f"{'inbox/clientA' if moved else folder}/spot.yaml", "priority: 1\n")

    house.recover()

    files = house.files("inbox/clientA")
    if cut == "before anything":
        assert "spot/spot.json" in files  # the inbox takes it back, as any returned folder
        return
    assert [name for name in files if "/" not in name] == ["spot.json", "spot.yaml"]
    assert ".before-spot.json/spot.mp4" in files
    assert house.ledger.facts()["retries"] == {"clientA/spot.json": old.id}


# -- what only a crash leaves -------------------------------------------------------------------------------


def test_what_only_a_crash_leaves_is_swept_and_nothing_else(house: House) -> None:
    waiting = house.job("waiting", "inbox", State.QUEUED)
    for left in (
        f"active/.closing-{waiting.id}/waiting.log",
        f"active/.closing-{waiting.id}/.WHY.txt.0123abcd.tmp",
        "status/.queue.json.0123abcd.tmp",
        "status/clientA/.spot.status.json.0123abcd.tmp",
        "inbox/.spot.aep.WHY.txt.0123abcd.tmp",
        "inbox/..trial-89abcdef.0123abcd.tmp",
        f"inbox/.retry-{waiting.id}/job.json",
    ):
        house.write(left)
    (house.root / "active" / "clientA" / "empty").mkdir(parents=True)
    kept = [
        house.write("inbox/.somebodys.0123abcd.tmp"),
        house.write("inbox/.retry-notes/x"),
        house.write("inbox/clientA/.spot.json.partial"),
        house.write("active/.closing-unknown/somebodys.mp4"),
    ]

    house.recover()

    assert {house.root / path for path in house.files()} == {*kept, house.root / "inbox" / "waiting.json"}
    assert not (house.root / "active" / "clientA").exists()
    assert (house.root / "active").is_dir()


def test_a_closing_whose_status_cannot_be_read_is_left_alone(house: House) -> None:
    job = house.job("spot", "inbox", State.VALIDATING)
    house.write(f"active/.closing-{job.id}/spot.status.json", "{")

    house.recover()

    assert house.files("active") == [f".closing-{job.id}/spot.status.json"]


def test_status_files_that_say_what_was_are_named(house: House) -> None:
    job = house.job("spot", "done/spot", State.COMPLETED, lies=False)
    house.status(job, state="rendering", folder="active/spot")
    fine = house.job("fine", "failed/fine", State.FAILED, lies=False)
    house.status(fine)
    unknown = Job(id="01UNKNOWN", serial=1, arrival=1, name="unknown", state=State.CANCELLED, finished_at="2026")
    house.status(unknown)

    recovery = house.recover()

    assert [found.id for found in recovery.outdated] == [job.id]
    assert recovery.orphans == [("unknown", "2026")]


def test_jobs_that_have_ended_of_late_and_of_which_status_says_nothing_are_named(house: House) -> None:
    for name, day in (("old", "01"), ("late", "03"), ("again", "03")):
        house.job(name, f"failed/{name}", State.FAILED, lies=False, finished_at=f"2026-11-{day}T00:00:00Z")
    again = house.job("again", "failed/again~2", State.FAILED, lies=False, finished_at="2026-11-04T00:00:00Z")
    house.status(again)

    recovery = house.recover(shown_since="2026-11-02T00:00:00Z")

    assert [found.key for found in recovery.outdated] == ["late"]


@pytest.mark.parametrize("folder", ["inbox", "active/spot"])
def test_a_job_cancelled_where_it_waited_stays_cancelled_without_a_record_too(house: House, folder: str) -> None:
    job = house.job("spot", folder)
    house.status(job, state="cancelled", finished_at=job.updated_at)

    house.lose_record()
    house.recover(is_new=True)

    assert house.now(job).state is State.CANCELLED


def test_a_new_file_by_the_name_of_a_cancelled_job_that_has_arrived_is_a_new_job(house: House) -> None:
    job = house.job("spot", "inbox")
    house.status(job, state="cancelled", finished_at=job.updated_at)  # the move was not told any more
    house.final(job, "cancelled/spot", State.CANCELLED)

    house.lose_record()
    house.recover(is_new=True)

    assert house.ledger.get(job.id) is None
    assert "inbox/spot.json" in house.files()


def test_what_a_returned_job_left_before_is_no_job_of_its_own(house: House) -> None:
    new = house.job("spot", "done/spot", State.COMPLETED)
    house.final(new, "done/spot", State.COMPLETED)
    old = house.job("spot", "done/spot/before", State.FAILED)
    house.final(old, "done/spot/before", State.FAILED)

    house.lose_record()
    import_history(house.folders, house.ledger, lambda: False, lambda _path: False)

    assert [job.id for job in house.ledger.over()] == [new.id]


def test_a_withdrawn_job_of_which_only_status_tells_is_brought_back_too(house: House) -> None:
    job = house.job("spot", "", State.CANCELLED, lies=False, begun=False)
    house.status(job, finished_at=job.updated_at)

    house.lose_record()
    house.recover(is_new=True)
    import_history(house.folders, house.ledger, lambda: False, lambda _path: False)

    assert (house.now(job).state, house.now(job).folder, house.now(job).begun) == (State.CANCELLED, "", False)
    assert house.closer.is_closed(house.now(job))


def test_the_folder_of_a_job_that_was_cancelled_between_two_tries_is_no_new_job(house: House) -> None:
    job = house.job("spot", "active/spot", State.CANCELLED)

    house.recover()

    assert [found.id for found in house.ledger.live()] == []
    assert (house.now(job).state, house.now(job).folder) == (State.CANCELLED, "cancelled/spot")


def test_a_start_reads_the_record_of_each_job_of_the_last_day_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_VALUES", 10)
    for number in range(60):
        job = house.job(f"spot{number}", f"done/spot{number}", State.COMPLETED, finished_at="2026-03-01T00:00:00.000Z")
        if number % 2:
            house.status(job)
    made: list[bytes] = []
    job_of = room.job_of
    monkeypatch.setattr(room, "job_of", lambda record: made.append(record) or job_of(record))

    recovery = house.recover(shown_since="2026-01-01T00:00:00.000Z")

    assert len(recovery.outdated) == 30
    assert len(made) <= 3 * 60  # twice the last thousand are looked through for one that was cancelled and not moved
