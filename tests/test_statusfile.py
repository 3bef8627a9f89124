"""The status files on the share: whole, fresh, in time, and nobody's brake."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from watchrender.core.job import Job, Progress, new_id
from watchrender.core.states import State
from watchrender.spool import statusfile
from watchrender.spool.statusfile import StatusWriter, read_statuses


class Desk:
    """A status writer with all that it asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue: list[Job] = []
        self.etas: dict[str, dict[str, Any]] = {}
        self.online = self.ours = True
        self.moving = False
        self.beats = self.queues = self.asked = 0
        self.writer = StatusWriter(
            folder,
            queue_document=self._queue,
            service_document=self._service,
            positions=lambda: self.queue,
            etas=lambda: self.etas,
            is_online=lambda: self.online,
            may_beat=self._may_beat,
            is_moving=lambda _job: self.moving,
            page=lambda queue, service: f"<p>{queue['number']} {service['beat']}</p>",
        )

    def _may_beat(self) -> bool:
        self.asked += 1
        return self.ours

    def _queue(self) -> dict[str, Any]:
        self.queues += 1
        return {"number": self.queues}

    def _service(self) -> dict[str, Any]:
        self.beats += 1
        return {"beat": self.beats}

    def queue_one(self, eta: dict[str, Any]) -> None:
        """One job waits, and its file tells of its place."""
        waiting = job(id="id", state=State.QUEUED)
        self.queue, self.etas = [waiting], {"id": eta}
        self.writer.start()
        self.writer.changed(waiting, progress=False)
        until(lambda: self.read("spot").get("position"))

    def read(self, key: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / f"{key}.status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "status")
    yield made
    made.writer.stop()


def job(name: str = "spot", **changes: Any) -> Job:
    return Job(**({"id": new_id(5), "serial": 1, "arrival": 1, "name": name, "file": f"{name}.json"} | changes))


def test_a_change_of_state_is_written_at_once_in_its_sub_folder(desk: Desk) -> None:
    desk.writer.start()
    desk.writer.changed(job(sub="clientA/show", state=State.QUEUED), progress=False)

    found = until(lambda: desk.read("clientA/show/spot"), 1.0)

    assert (found["state"], found["job"]) == ("queued", "clientA/show/spot")
    assert desk.writer.path("clientA/show/spot") == desk.folder / "clientA" / "show" / "spot.status.json"


def test_a_job_that_has_just_come_gets_one_file_where_it_is_queued_soon(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str]] = []
    document = statusfile.status.document
    monkeypatch.setattr(
        statusfile.status,
        "document",
        lambda job, **more: written.append((job.name, str(job.state))) or document(job, **more),
    )
    first = {"history": ({"at": "t", "to": "pending"},), "updated_at": "t"}
    desk.writer.start()
    desk.writer.changed(job("soon", **first), progress=False)
    desk.writer.changed(job("settles", **first), progress=False)
    desk.writer.changed(job("asked", **first | {"updated_at": "u"}), progress=False)
    desk.writer.changed(job("soon", state=State.QUEUED), progress=False)
    until(lambda: desk.read("settles"), 2.0)

    assert sorted(written) == [("asked", "pending"), ("settles", "pending"), ("soon", "queued")]
    assert written[-1][0] == "settles"  # the others at once


def test_what_is_new_and_not_told_of_yet_is_written_when_the_service_stops(desk: Desk) -> None:
    desk.writer.start()
    desk.writer.changed(job(history=({"at": "t", "to": "pending"},), updated_at="t"), progress=False)
    desk.writer.stop()

    assert desk.read("spot")["state"] == "pending"


def test_the_last_of_many_changes_does_not_wait_for_the_files_of_all_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusfile, "SLICE", 4)
    for number in range(10):
        desk.writer.changed(job(f"j{number}", state=State.QUEUED), progress=False)

    ready = [[job.name for job in desk.writer._ready(time.monotonic(), False)] for _ in range(4)]

    assert ready == [["j0", "j1", "j9", "j8"], ["j2", "j3", "j7", "j6"], ["j4", "j5"], []]


def test_progress_is_written_at_most_once_a_second_and_a_change_of_state_at_once(desk: Desk) -> None:
    desk.writer.start()
    running = job(state=State.RENDERING)
    desk.writer.changed(running, progress=False)
    until(lambda: desk.read("spot"))

    seen: dict[float, float] = {}
    begin = time.monotonic()
    for number in range(1, 10**6):
        percent = float(number)
        desk.writer.changed(
            job(id=running.id, state=State.RENDERING, progress=Progress(percent=percent)), progress=True
        )
        shown = desk.read("spot")["progress"]["percent"]
        if shown is not None:
            seen.setdefault(shown, time.monotonic() - begin)
        if time.monotonic() - begin > 3.3:
            break
        time.sleep(0.005)
    times = sorted(seen.values())

    assert 2 <= len(times) <= 4
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times))
    desk.writer.changed(job(id=running.id, state=State.COMPLETED), progress=False)
    until(lambda: desk.read("spot")["state"] == "completed", 0.6)


def test_a_job_that_is_over_is_told_of_when_its_files_lie_in_their_place_or_soon(desk: Desk) -> None:
    desk.writer.start()
    spot = job("spot", state=State.QUEUED)
    over = replace(spot, state=State.CANCELLED)
    desk.writer.changed(spot, progress=False)
    until(lambda: desk.read("spot"))

    desk.moving = True
    began = time.monotonic()
    desk.writer.changed(over, progress=False)
    until(lambda: desk.read("spot")["state"] == "cancelled")
    waited = time.monotonic() - began
    desk.moving = False
    desk.writer.changed(replace(over, folder="cancelled/spot"), progress=False)

    assert waited >= statusfile.ARRIVING_SECONDS  # and a place that refuses hides nothing for long
    until(lambda: desk.read("spot")["folder"] == "cancelled/spot")


def test_the_newest_of_many_changes_wins(desk: Desk) -> None:
    for state in (State.PENDING, State.VALIDATING, State.QUEUED, State.RENDERING, State.FAILED):
        desk.writer.changed(job(state=state), progress=False)
    desk.writer.start()

    until(lambda: desk.read("spot"))

    assert desk.read("spot")["state"] == "failed"


def test_a_reader_never_sees_half_a_file(desk: Desk) -> None:
    desk.writer.start()
    running = job(state=State.RENDERING, warnings=("x" * 50_000,))
    stop = threading.Event()
    torn: list[bytes] = []

    def look() -> None:
        path = desk.writer.path("spot")
        while not stop.is_set():
            data = path.read_bytes() if path.exists() else b"{}"
            try:
                json.loads(data)
            except ValueError:
                torn.append(data[-50:])

    reader = threading.Thread(target=look)
    reader.start()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        desk.writer.changed(running, progress=False)
        time.sleep(0.002)
    stop.set()
    reader.join()

    assert torn == []
    until(lambda: not [path for path in desk.folder.iterdir() if path.name.startswith(".")])  # the last is on its way


def test_a_final_status_is_tried_until_it_is_in(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statusfile, "RETRY_SECONDS", 0.1)
    desk.folder.mkdir()
    (desk.folder / "clientA").write_text("somebody's file where our folder should be")
    desk.writer.start()
    desk.writer.changed(job(sub="clientA", state=State.COMPLETED), progress=False)
    until(lambda: desk.writer.refused)

    (desk.folder / "clientA").unlink()

    assert until(lambda: desk.read("clientA/spot"))["state"] == "completed"
    until(lambda: desk.writer.refused is None)


def test_a_newer_state_is_not_overtaken_by_an_older_one_that_was_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusfile, "RETRY_SECONDS", 0.3)
    desk.folder.mkdir()
    (desk.folder / "clientA").write_text("in the way")
    desk.writer.start()
    desk.writer.changed(job(sub="clientA", state=State.RENDERING), progress=False)
    until(lambda: desk.writer.refused)
    (desk.folder / "clientA").unlink()
    desk.writer.changed(job(sub="clientA", state=State.FAILED), progress=False)

    until(lambda: desk.read("clientA/spot"))
    time_to_retry = time.monotonic() + 0.6
    until(lambda: time.monotonic() > time_to_retry)

    assert desk.read("clientA/spot")["state"] == "failed"


def test_nothing_is_written_while_the_share_is_away_and_everything_after(desk: Desk) -> None:
    desk.online = False
    desk.writer.start()
    desk.writer.changed(job(state=State.QUEUED), progress=False)
    later = time.monotonic() + 0.7
    until(lambda: time.monotonic() > later)
    assert not desk.folder.exists()

    desk.online = True

    assert until(lambda: desk.read("spot"))["state"] == "queued"


def test_a_folder_that_somebody_removed_is_made_again(desk: Desk) -> None:
    desk.writer.start()
    desk.writer.changed(job(sub="a"), progress=False)
    until(lambda: desk.read("a/spot"))
    (desk.folder / "a" / "spot.status.json").unlink()
    (desk.folder / "a").rmdir()

    desk.writer.changed(job(sub="a", state=State.QUEUED), progress=False)

    assert until(lambda: desk.read("a/spot"))["state"] == "queued"


def test_a_status_whose_day_is_over_goes_unless_its_name_is_used_again(desk: Desk) -> None:
    desk.writer.start()
    desk.writer.changed(job("old", state=State.COMPLETED), progress=False)
    desk.writer.changed(job("reused", state=State.COMPLETED), progress=False)
    until(lambda: desk.read("old") and desk.read("reused"))

    desk.writer.gone("old")
    desk.writer.gone("reused")
    desk.writer.changed(job("reused", state=State.QUEUED), progress=False)
    desk.writer.gone("never-there")

    until(lambda: not desk.read("old"))
    until(lambda: desk.read("reused").get("state") == "queued")


def test_the_first_twenty_of_the_queue_are_told_their_place_and_its_changes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusfile, "QUEUE_SECONDS", 0.1)
    desk.queue = [job(f"j{number:02}", id=f"id{number:02}", state=State.QUEUED) for number in range(25)]
    desk.etas = {"id00": {"done_at": "2026-11-24T12:00:00.000Z", "basis": "x"}}
    desk.writer.start()
    for queued in desk.queue:
        desk.writer.changed(queued, progress=False)

    until(lambda: desk.read("j19").get("position") == 20)
    until(lambda: desk.read("j24"))
    assert desk.read("j00")["eta"]["basis"] == "x"
    assert desk.read("j20")["position"] is None

    first, desk.queue = desk.queue[0], desk.queue[1:]
    desk.writer.changed(job("j00", id=first.id, state=State.RENDERING), progress=False)

    until(lambda: desk.read("j20").get("position") == 20)
    assert desk.read("j01")["position"] == 1
    assert until(lambda: desk.read("j00")["position"] is None and desk.read("j00"))["state"] == "rendering"


def test_an_expected_end_that_moves_is_told_and_one_that_trembles_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusfile, "QUEUE_SECONDS", 0.05)
    desk.queue_one({"done_at": "2026-11-24T12:00:00.000Z"})

    def tell(done_at: str) -> None:
        before = desk.queues
        desk.etas = {"id": {"done_at": done_at}}
        desk.writer.changed(job("other", state=State.RENDERING), progress=True)
        until(lambda: desk.queues > before + 1 or not desk.writer._queue_dirty)

    stamp = (desk.folder / "spot.status.json").stat().st_ino
    tell("2026-11-24T12:00:01.000Z")
    assert (desk.folder / "spot.status.json").stat().st_ino == stamp
    tell("2026-11-24T12:00:09.000Z")

    assert until(lambda: desk.read("spot")["eta"].get("done_at") == "2026-11-24T12:00:09.000Z")


def test_the_overviews_are_written_the_beat_by_itself_and_the_queue_when_it_changed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusfile, "BEAT_SECONDS", 0.1)
    desk.writer.start()

    until(lambda: desk.beats >= 3)
    assert desk.queues <= 2  # one for itself, one for the page
    assert json.loads((desk.folder / "service.json").read_bytes())["beat"] >= 2
    assert (desk.folder / "index.html").read_text().startswith("<p>")


def test_a_change_of_the_service_is_told_at_once(desk: Desk) -> None:
    desk.writer.start()
    until(lambda: desk.beats)
    before = desk.beats

    desk.writer.beat_now()

    until(lambda: desk.beats > before, 0.5)


def test_the_queue_tells_of_a_pause_though_no_job_has_changed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statusfile, "QUEUE_SECONDS", 0.05)
    desk.queue_one({"done_at": None, "basis": "no history yet"})
    before = desk.queues

    desk.etas = {"id": {"done_at": None, "basis": "the queue is paused"}}
    desk.writer.beat_now()

    until(lambda: desk.queues > before)
    until(lambda: desk.read("spot")["eta"]["basis"] == "the queue is paused")


def test_expected_times_are_told_anew_though_a_render_says_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statusfile, "QUEUE_SECONDS", 0.05)
    monkeypatch.setattr(statusfile, "MOVING_SECONDS", 0.2)
    desk.queue_one({"done_at": "2026-11-24T12:00:00.000Z"})

    desk.etas = {"id": {"done_at": "2026-11-24T12:00:09.000Z"}}

    until(lambda: desk.read("spot")["eta"]["done_at"] == "2026-11-24T12:00:09.000Z")


def test_the_beat_of_somebody_else_is_not_overwritten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statusfile, "BEAT_SECONDS", 0.1)
    desk.writer.start()
    until(lambda: desk.beats >= 2)

    desk.ours = False
    asked = desk.asked
    until(lambda: desk.asked >= asked + 2)  # whatever was being written is written
    theirs = desk.folder / "service.json"
    theirs.write_text("theirs")
    asked = desk.asked
    until(lambda: desk.asked >= asked + 5)

    assert theirs.read_text() == "theirs"


def test_a_fault_in_one_document_does_not_stop_the_others(desk: Desk) -> None:
    good, calls = desk._service, []

    def broken() -> dict[str, Any]:
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("a bug")
        return good()

    desk.writer._service_document = broken
    desk.writer.start()
    desk.writer.changed(job(), progress=False)

    until(lambda: desk.read("spot"))
    until(lambda: len(calls) >= 3)


def test_stopping_writes_what_is_due_and_a_writer_that_never_began_can_be_stopped(desk: Desk, tmp_path: Path) -> None:
    desk.writer.start()
    running = job(state=State.RENDERING)
    desk.writer.changed(running, progress=False)
    until(lambda: desk.read("spot"))
    desk.writer.changed(job(id=running.id, state=State.RENDERING, progress=Progress(percent=7.0)), progress=True)

    desk.writer.stop()

    assert desk.read("spot")["progress"]["percent"] == 7.0
    Desk(tmp_path / "other").writer.stop()


def test_reading_all_statuses_passes_over_what_is_not_ours(desk: Desk) -> None:
    desk.writer.start()
    desk.writer.changed(job("Spot", sub="clientA"), progress=False)
    until(lambda: desk.read("clientA/Spot"))
    for name, text in (
        ("broken.status.json", '{"schema": '),
        ("foreign.status.json", '{"schema": "other/1", "id": "x", "state": "queued", "job": "foreign"}'),
        ("list.status.json", "[]"),
        ("nameless.status.json", '{"schema": "watchrender.status/1", "id": "x", "state": "queued"}'),
    ):
        (desk.folder / name).write_text(text)
    hidden = desk.folder / ".trash"
    hidden.mkdir()
    (hidden / "old.status.json").write_bytes((desk.folder / "clientA" / "Spot.status.json").read_bytes())

    assert {key: found["job"] for key, found in read_statuses(desk.folder).items()} == {"clienta/spot": "clientA/Spot"}
    assert read_statuses(desk.folder / "nowhere") == {}
