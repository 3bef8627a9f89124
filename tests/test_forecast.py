"""What past renders say about the queue: learned, kept, and told for every queued job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from watchrender import forecast as forecasts
from watchrender.core.clock import moment, seconds_between
from watchrender.core.job import DELIVERING, Job, Progress
from watchrender.core.states import Event
from watchrender.forecast import Forecast
from watchrender.ledger.ledger import RENDERS, Ledger

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Desk:
    """A ledger whose wall clock stands still, and a forecast whose other clock is turned by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = 0.0
        self.stopped: str | None = None
        self.lanes = 1
        self.waiting: set[str] = set()  # jobs of a farm that no worker has taken
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self.folder / "ledger", now=lambda: NOON, sync="never")
        self.forecast = Forecast(
            self.ledger,
            "render-01",
            stopped=lambda: self.stopped,
            lanes=lambda: self.lanes,
            waits=lambda job_id: job_id in self.waiting,
            clock=lambda: self.time,
        )

    def project(self, name: str = "spot", content: str = "a project") -> Path:
        path = self.folder / f"{name}.aep"
        path.write_text(content)
        return path

    def job(self, name: str, project: Path | None = None, **fields: Any) -> Job:
        path = project or self.folder / "spot.aep"
        fields = {"composition": "Main", "template": path.name, "template_path": str(path)} | fields
        job = self.ledger.add(why="seen", name=name, file=f"{name}.json", **fields)
        self.ledger.apply(job.id, Event.CHECK, "complete")
        return self.ledger.apply(job.id, Event.ACCEPT, "accepted")

    def learn(self, job: Job, *seconds: float, frames: int | None = 100) -> None:
        for value in seconds:
            self.forecast.learn(job, value, frames)

    def told(self, job: Job) -> dict[str, Any]:
        self.time += 2.0  # what was told a moment ago is told again
        return self.forecast.queue()[job.id]

    def span(self, job: Job) -> tuple[float, float]:
        told = self.told(job)
        return tuple(round((moment(told[name]) - NOON).total_seconds(), 1) for name in ("starts_at", "done_at"))  # type: ignore[return-value]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.project()
    yield made
    made.ledger.close()


@pytest.mark.timeout(30)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
def test_a_project_that_became_a_pipe_is_told_apart_by_its_name(desk: Desk) -> None:
    job = desk.job("a")
    (desk.folder / "spot.aep").unlink()
    os.mkfifo(desk.folder / "spot.aep")

    desk.learn(job, 5.0)

    assert desk.told(job)["basis"].startswith("1 render of spot.aep")


def test_without_history_a_job_says_so_rather_than_guess(desk: Desk) -> None:
    first, second = desk.job("a"), desk.job("b")

    unknown = {"starts_at": None, "done_at": None, "low": None, "high": None, "basis": "no history yet"}
    assert desk.told(first) == unknown | {"starts_at": "2026-11-24T12:00:00.000Z"}  # nothing stands before it
    assert desk.told(second) == unknown


def test_every_queued_job_says_when_it_starts_and_ends_and_why(desk: Desk) -> None:
    first, second = desk.job("a"), desk.job("b")
    desk.learn(first, *[60.0] * 12)

    assert (desk.span(first), desk.span(second)) == ((0, 60), (60, 120))
    told = desk.told(second)
    assert told["low"] < told["done_at"] < told["high"]
    assert told["basis"] == "12 renders of spot.aep/Main"


def test_a_job_behind_one_nobody_knows_says_so(desk: Desk) -> None:
    desk.job("a", composition="Other")
    second = desk.job("b")
    desk.learn(second, 60.0)

    assert desk.told(second)["basis"] == "no history yet for a job before it"


def test_what_was_learned_is_kept_over_a_restart(desk: Desk) -> None:
    job = desk.job("a")
    desk.learn(job, 60.0, 60.0)
    desk.ledger.close()

    desk.open()

    assert desk.told(job)["basis"] == "2 renders of spot.aep/Main"


def test_a_project_that_was_saved_again_is_another_one(desk: Desk) -> None:
    job = desk.job("a")
    desk.learn(job, 60.0)
    path = desk.project(content="another cut")
    os.utime(path, (1, 1))
    assert desk.told(job)["basis"] == "1 render of spot.aep/Main"  # looked at a moment ago

    desk.time += forecasts.LOOK_SECONDS

    assert desk.told(job)["basis"] == "no history yet"


def test_the_same_project_in_another_place_is_the_same_one(desk: Desk) -> None:
    desk.learn(desk.job("a"), 60.0)
    copy = desk.folder / "bundle" / "spot.aep"
    copy.parent.mkdir()
    copy.write_text("a project")

    assert desk.told(desk.job("b", copy))["basis"] == "1 render of spot.aep/Main"


def test_a_large_project_is_told_from_another_by_its_ends_and_middle(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "SAMPLE_BYTES", 4)
    large = "begin" + "x" * 20 + "middle" + "x" * 20 + "end"
    job = desk.job("a", desk.project("large", large))
    desk.learn(job, 60.0)

    assert "1 render" in desk.told(desk.job("b", desk.project("copy", large)))["basis"]
    for number, other in enumerate((large.replace("middle", "centre"), large.replace("begin", "start"), large + "x")):
        told = desk.told(desk.job(f"c{number}", desk.project(f"other{number}", other)))
        assert told["basis"].startswith("no history yet")


def test_a_project_that_cannot_be_read_here_is_known_by_its_name(desk: Desk) -> None:
    gone = desk.folder / "gone.aep"
    job = desk.job("a", gone)
    fetched = desk.job("b", template="far.aep", template_path=None)
    desk.learn(job, 60.0)
    desk.learn(fetched, 30.0)

    assert desk.told(job)["basis"] == "1 render of gone.aep/Main"
    assert desk.told(fetched)["basis"] == "1 render of far.aep/Main"


def test_a_whole_composition_is_expected_as_long_as_the_last_whole_one(desk: Desk) -> None:
    whole, part = desk.job("whole"), desk.job("part", frames=10)
    desk.learn(part, *[10.0] * 5, frames=10)
    desk.learn(whole, 100.0, frames=100)

    (starts, ends), again = desk.span(whole), desk.forecast.predict(part)

    assert ends - starts == pytest.approx(100, abs=5)
    assert again is not None and again.seconds == pytest.approx(10, abs=1)


def test_what_was_told_a_moment_ago_is_not_told_of_another_queue(desk: Desk) -> None:
    first = desk.job("a")
    desk.learn(first, 10.0)
    assert desk.told(first)["done_at"]

    desk.stopped = "the queue is paused"
    second = desk.job("b")
    desk.forecast.changed()

    assert {told["basis"] for told in desk.forecast.queue().values()} == {"the queue is paused"}
    assert second.id in desk.forecast.queue()


def test_a_held_job_delays_nobody(desk: Desk) -> None:
    held, free = desk.job("a", marked_hold=True), desk.job("b")
    desk.learn(free, 60.0)

    assert desk.told(held) == {"starts_at": None, "done_at": None, "low": None, "high": None, "basis": "held"}
    assert desk.span(free) == (0, 60)


def test_a_job_that_may_start_later_lets_others_go_first(desk: Desk) -> None:
    late = desk.job("a", scheduled_at="2026-11-24T12:01:30.000Z")
    free, next_one = desk.job("b"), desk.job("c")
    desk.learn(free, 60.0)

    assert (desk.span(free), desk.span(next_one), desk.span(late)) == ((0, 60), (60, 120), (120, 180))


def test_a_queue_that_is_stopped_promises_nothing(desk: Desk) -> None:
    job = desk.job("a")
    desk.learn(job, 60.0)

    desk.stopped = "the queue is paused"

    assert (desk.told(job)["done_at"], desk.told(job)["basis"]) == (None, "the queue is paused")
    desk.stopped = None
    assert desk.span(job) == (0, 60)


def test_a_running_render_is_told_by_its_own_pace_and_the_queue_behind_it_too(desk: Desk) -> None:
    running, waiting = desk.job("a"), desk.job("b")
    desk.learn(running, *[60.0] * 3)
    desk.ledger.apply(running.id, Event.START, "next", started_at=desk.ledger.stamp())
    desk.ledger.note(running.id, begun=True)
    desk.forecast.start(running.id)
    desk.time += 60.0
    desk.ledger.progress(running.id, Progress(percent=50.0, stage="rendering"))
    job = desk.ledger.get(running.id)
    assert job is not None

    own = desk.forecast.running(job)
    behind = desk.forecast.queue()[waiting.id]

    assert own["starts_at"] is None  # it has started
    assert 10 < seconds_between(desk.ledger.stamp(), own["done_at"]) < 60  # half is done after 60 s, 60 s in the past
    assert behind["starts_at"] == own["done_at"]


def test_a_farm_is_told_by_how_many_render_at_once_and_what_waits_there_comes_first(desk: Desk) -> None:
    desk.lanes = 2
    first, second, handed, queued = (desk.job(name) for name in ("a", "b", "c", "d"))
    desk.learn(first, *[60.0] * 5)
    for job in (first, second, handed):
        desk.ledger.apply(job.id, Event.START, "next", started_at=desk.ledger.stamp())
        desk.ledger.note(job.id, begun=True)
        desk.forecast.start(job.id)
    desk.waiting = {handed.id}
    desk.stopped = "the queue is paused"
    desk.time += 40.0  # the first is further than it seems: each has its own beginning
    desk.forecast.start(second.id)

    def told(job: Job) -> list[int | None]:
        found = desk.ledger.get(job.id)
        assert found is not None
        times = [desk.forecast.running(found)[name] for name in ("starts_at", "done_at")]
        return [None if time is None else round((moment(time) - NOON).total_seconds()) for time in times]

    assert (told(first), told(second)) == ([None, 20], [None, 60])
    assert told(handed) == [20, 80]  # although the queue is paused: it is out of our hands
    desk.stopped = None
    assert desk.span(queued) == (58, 118)  # two seconds later

    desk.waiting = set()
    desk.time += 10.0
    assert told(handed)[1] == 50  # a worker has had it for ten seconds, and not since it was handed over


def test_a_film_on_its_way_to_done_holds_no_lane(desk: Desk) -> None:
    delivered, running, queued = (desk.job(name) for name in ("a", "b", "c"))
    desk.learn(delivered, *[60.0] * 5)
    for job in (delivered, running):
        desk.ledger.apply(job.id, Event.START, "next", started_at=desk.ledger.stamp())
        desk.ledger.note(job.id, begun=True)
        desk.forecast.start(job.id)
    desk.ledger.progress(delivered.id, Progress(stage=DELIVERING))

    assert desk.span(queued) == (58, 118)


def test_a_first_render_is_told_by_its_pace_alone(desk: Desk) -> None:
    desk.ledger.apply(desk.job("a").id, Event.START, "next", started_at=desk.ledger.stamp())
    job = desk.ledger.live()[0]
    desk.forecast.start(job.id)
    assert desk.forecast.running(job)["basis"] == "no history yet"

    desk.time += 30.0
    desk.ledger.progress(job.id, Progress(percent=25.0))
    told = desk.forecast.running(desk.ledger.live()[0])

    assert seconds_between(desk.ledger.stamp(), told["done_at"]) == pytest.approx(90)
    assert told["basis"] == "the pace of this render of spot.aep/Main"


def test_what_tells_nothing_is_not_learned(desk: Desk) -> None:
    job, nameless = desk.job("a"), desk.job("b", composition=None)

    desk.learn(job, 0.0)
    desk.learn(nameless, 60.0)

    assert desk.told(job)["basis"] == "no history yet"
    assert desk.forecast.predict(nameless) is None


def test_the_record_keeps_the_newest_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasts, "KEPT", 5)
    desk.learn(desk.job("a"), *range(1, 10))

    assert [found["seconds"] for found in desk.ledger.db.documents(RENDERS).values()] == [5, 6, 7, 8, 9]
