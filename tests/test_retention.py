"""How long things are kept: by age, by room, told first, and never a job that is not over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from tests.line import Line, serving, until
from watchrender import retention as keeping
from watchrender.config import load
from watchrender.core import clock as clocks
from watchrender.core.job import Job
from watchrender.core.states import Event
from watchrender.ledger.ledger import JOBS, Ledger
from watchrender.retention import Retention, expired
from watchrender.spool.folders import Folders

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class House:
    """The folders, the record and the terms of one service, with a clock of our own."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home, self.at, self.now = home, 1000.0, NOW
        config = load(json.dumps({"root": str(home / "root"), **settings}), "watchrender.yaml", {})
        self.folders = Folders(home / "root", config.folders)
        for folder in self.folders.own:
            folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(home / "state" / "ledger", now=lambda: self.now, sync="never")
        self.gone: list[str] = []
        self.said: list[str] = []
        self.config = config
        self.retention = self.new()

    def new(self) -> Retention:
        """As after a start of the service."""
        return Retention(
            config=self.config,
            folders=self.folders,
            ledger=self.ledger,
            state_dir=self.home / "state",
            work_dir=self.home / "work",
            is_closed=lambda job: not job.folder.startswith(("active", "inbox")),
            gone=self.gone.append,
            clock=lambda: self.at,
        )

    def round(self) -> None:
        """The next hour's round."""
        self.at += keeping.ROUND_SECONDS + keeping.FIRST_ROUND_SECONDS
        self.retention.round()

    def live(self, name: str, *, folder: str = "inbox") -> Job:
        job = self.ledger.add(why="dropped", name=name, file=f"{name}.json", folder=folder)
        self.ledger.apply(job.id, Event.CHECK, "complete")
        return self.ledger.apply(job.id, Event.ACCEPT, "accepted")

    def over(self, name: str, days: float, *, to: str = "done") -> Job:
        """A job that ended so many days ago, with its folder and its status file."""
        ended = self.now - timedelta(days=days)
        before, self.now = self.now, ended
        job = self.live(name)
        job = self.ledger.apply(job.id, Event.CANCEL, "over", folder=f"{to}/{name}", finished_at=clocks.stamp(ended))
        self.now = before
        self.lay(self.folders.root / to / name, job.id, ended)
        return job

    def lay(self, folder: Path, job_id: str, ended: datetime, **more: Any) -> Path:
        folder.mkdir(parents=True)
        status = {
            "schema": "watchrender.status/1",
            "id": job_id,
            "state": "completed",
            "finished_at": clocks.stamp(ended),
            "outputs": [{"path": "spot.mp4", "bytes": 3 * 2**30}],
            **more,
        }
        (folder / f"{folder.name}.status.json").write_text(json.dumps(status), encoding="utf-8")
        (folder / "spot.mp4").write_bytes(b"film")
        for path in (*folder.iterdir(), folder):
            os.utime(path, (ended.timestamp(), ended.timestamp()))
        return folder

    def names(self, top: str) -> list[str]:
        return sorted(path.name for path in (self.folders.root / top).iterdir())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    made: list[House] = []
    said: list[str] = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="INFO")

    def house(**settings: Any) -> House:
        made.append(House(tmp_path, **settings))
        made[-1].said = said
        return made[-1]

    yield house
    logger.remove(sink)
    for one in made:
        one.retention.stop()
        one.ledger.close()


def statuses(house: House, *names: str) -> None:
    for name in names:
        path = house.folders.status / f"{name}.status.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        job = house.ledger.newest_over(name)
        said = {"schema": "watchrender.status/1", "id": job.id if job else "x" * 26, "state": "completed", "job": name,
                "finished_at": job.finished_at if job else "2020-01-01T00:00:00.000Z"}  # fmt: skip
        path.write_text(json.dumps(said), encoding="utf-8")


# --------------------------------------------------------------------------------------------------- folders, by age


def test_nothing_goes_where_no_term_is_set(make: Any) -> None:
    house = make()
    house.over("old", days=4000)

    house.round()
    house.round()

    assert house.names("done") == ["old"]


def test_old_job_folders_go_with_the_second_round_and_the_first_one_says_so(make: Any) -> None:
    house = make(retention={"done": "30d"})
    house.over("old", days=31)
    house.over("young", days=29)

    house.round()
    after_first = house.names("done")
    house.round()

    assert after_first == ["old", "young"]
    assert any(
        "retention.done: the next round removes 1 job folder (3.0 GiB of films): old" in text for text in house.said
    )
    assert house.names("done") == ["young"]


def test_a_term_that_was_in_force_before_is_kept_without_a_word_after_a_restart(make: Any) -> None:
    house = make(retention={"done": "30d"})
    house.round()
    house.over("old", days=31)
    house.retention = house.new()

    house.round()

    assert house.names("done") == []


def test_a_shorter_term_is_told_first_again(make: Any) -> None:
    house = make(retention={"done": "30d"})
    house.round()
    house.over("old", days=20)
    house.config = load(json.dumps({"root": str(house.home / "root"), "retention": {"done": "7d"}}), "w.yaml", {})
    house.retention = house.new()

    house.round()
    after_first = house.names("done")
    house.round()

    assert (after_first, house.names("done")) == (["old"], [])


def test_failed_and_cancelled_have_a_term_of_their_own(make: Any) -> None:
    house = make(retention={"failed": "7d"})
    house.over("film", days=100)
    house.over("bad", days=8, to="failed")
    house.over("gone", days=8, to="cancelled")

    house.round()
    house.round()

    assert (house.names("done"), house.names("failed"), house.names("cancelled")) == (["film"], [], [])


def test_a_job_that_is_not_over_is_never_removed_whatever_its_folder_says(make: Any) -> None:
    house = make(retention={"done": "1s", "failed": "1s"})
    live = house.live("spot")
    house.lay(house.folders.done / "looks-over", live.id, NOW - timedelta(days=400))

    house.round()
    house.round()

    assert house.names("done") == ["looks-over"]
    assert house.ledger.live_by_key("spot") is not None


def test_a_cancelled_job_whose_files_still_lie_in_active_stays(make: Any) -> None:
    house = make(retention={"history": "1s", "status": "1s"})
    job = house.over("stuck", days=30)
    house.ledger.note(job.id, folder="active/stuck")

    house.retention.turn()

    assert house.ledger.get(job.id) is not None


def test_folders_in_sub_folders_go_and_the_sub_folders_and_other_folders_stay(make: Any) -> None:
    house = make(retention={"done": "30d"})
    old = NOW - timedelta(days=90)
    house.lay(house.folders.done / "clientA" / "show" / "spot", "1" * 26, old)
    (house.folders.done / "clientA" / "not ours").mkdir()
    (house.folders.done / "clientA" / "not ours" / "film.mov").write_bytes(b"x")
    os.utime(house.folders.done / "clientA" / "not ours", (0, 0))

    house.round()
    house.round()

    left = sorted(path.relative_to(house.folders.done).as_posix() for path in house.folders.done.rglob("*"))
    assert left == ["clientA", "clientA/not ours", "clientA/not ours/film.mov", "clientA/show"]


def test_a_folder_into_which_somebody_has_put_something_stays(make: Any) -> None:
    house = make(retention={"done": "30d"})
    house.over("mine", days=90)
    (house.folders.done / "mine" / "notes.txt").write_text("keep", encoding="utf-8")  # now, by the disk's clock

    house.round()
    house.round()

    assert house.names("done") == ["mine"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_not_followed(make: Any, tmp_path: Path) -> None:
    house = make(retention={"done": "30d"})
    elsewhere = house.lay(tmp_path / "archive" / "spot", "1" * 26, NOW - timedelta(days=90))
    (house.folders.done / "link").symlink_to(tmp_path / "archive", target_is_directory=True)

    house.round()
    house.round()

    assert elsewhere.is_dir()


def test_a_removal_that_was_cut_off_is_completed(make: Any) -> None:
    house = make()
    half = house.folders.done / "sub" / f".removing-{'1' * 26}"
    half.mkdir(parents=True)
    (half / "film.mp4").write_bytes(b"x")

    house.round()

    assert not half.exists()


def test_a_dry_run_names_what_would_go_and_changes_nothing(make: Any) -> None:
    house = make()
    house.over("old", days=31)
    house.over("young", days=1)

    found = list(expired([house.folders.done], clocks.stamp(NOW - timedelta(days=30)), lambda _id: False))

    assert [one.folder.name for one in found] == ["old"]
    assert house.names("done") == ["old", "young"]


def test_nothing_on_the_share_is_touched_while_it_is_away(make: Any) -> None:
    house = make(retention={"done": "1d"})
    house.over("old", days=31)
    house.retention._is_online = lambda: False

    house.round()
    house.round()

    assert house.names("done") == ["old"]


# ------------------------------------------------------------------------------------------ the record, status files


def test_old_jobs_leave_the_record_with_their_logs_and_young_ones_stay(make: Any) -> None:
    house = make(retention={"history": "7d"})
    old, young = house.over("old", days=8), house.over("young", days=6)
    for job in (old, young):
        log = house.home / "state" / "logs" / "jobs" / f"{job.id}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("said", encoding="utf-8")

    house.retention.turn()

    assert [record["name"] for record in house.ledger.db.documents(JOBS).values()] == ["young"]
    assert [path.stem for path in (house.home / "state" / "logs" / "jobs").iterdir()] == [young.id]


def test_a_job_that_took_long_keeps_no_other_in_the_record(make: Any) -> None:
    house = make(retention={"history": "7d"})
    slow = house.live("slow")  # dropped first, over last
    house.over("old", days=8)
    house.ledger.apply(slow.id, Event.CANCEL, "over", folder="", finished_at=clocks.stamp(NOW))

    house.retention.turn()

    assert [record["name"] for record in house.ledger.db.documents(JOBS).values()] == ["slow"]


def test_a_status_file_goes_when_its_day_is_over(make: Any) -> None:
    house = make()
    house.over("spot", days=0)
    house.retention.turn()
    before = list(house.gone)
    house.now += timedelta(hours=24, seconds=1)
    house.retention.turn()
    house.retention.turn()

    assert (before, house.gone) == ([], ["spot"])


def test_a_status_file_that_tells_of_a_newer_job_of_that_name_stays(make: Any) -> None:
    house = make()
    house.over("spot", days=0.99)
    house.over("again", days=0.99)
    house.live("spot")
    house.now += timedelta(hours=1)

    house.retention.turn()

    assert house.gone == ["again"]


def test_status_files_from_before_the_start_go_with_the_first_round(make: Any) -> None:
    house = make()
    house.over("old", days=2)
    house.over("sub", days=0.5)
    live = house.live("waits")
    statuses(house, "old", "sub", "clientA/nobody-knows")
    (house.folders.status / "waits.status.json").write_text(
        json.dumps({"schema": "watchrender.status/1", "id": live.id, "state": "queued"}), encoding="utf-8"
    )
    house.retention = house.new()

    house.round()

    assert sorted(house.gone) == ["clientA/nobody-knows", "old"]


# ----------------------------------------------------------------------------------------------------- logs and room


def test_old_logs_of_the_service_go_and_other_files_stay(make: Any) -> None:
    house = make(retention={"logs": "14d"})
    folder = house.home / "state" / "logs"
    folder.mkdir(parents=True)
    for name, days in (("watchrender_2026-01-01.log", 15), ("watchrender_2026-01-02.log", 13), ("mine.log", 99)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - days * 86400,) * 2)

    house.round()

    assert sorted(path.name for path in folder.iterdir()) == ["mine.log", "watchrender_2026-01-02.log"]


def test_what_launchd_writes_does_not_grow_for_months(make: Any) -> None:
    house = make(log={"rotation": "1KiB"})
    log = house.home / "state" / "launchd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab", buffering=0) as held:  # as launchd holds it
        held.write(b"short\n")
        house.round()
        kept = log.read_bytes()
        held.write(b"x" * 2000)
        house.round()
        held.write(b"on it goes\n")

    assert kept == b"short\n"
    assert log.read_bytes() == b"on it goes\n"


def test_logs_of_jobs_that_no_record_knows_go_and_those_of_waiting_jobs_stay(make: Any) -> None:
    house = make()
    jobs = house.home / "state" / "logs" / "jobs"
    jobs.mkdir(parents=True)
    live = house.live("waits")
    for name in (live.id, "0" * 26):
        (jobs / f"{name}.log").touch()
        os.utime(jobs / f"{name}.log", (0, 0))

    house.round()

    assert [path.stem for path in jobs.iterdir()] == [live.id]


def test_while_there_is_room_caches_stay_and_when_there_is_none_they_go_oldest_first(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make(limits={"min_free_disk": "1GiB"})
    cache = house.home / "work" / "cache"
    cache.mkdir(parents=True)
    for name, age in (("old.bin", 300), ("new.bin", 10)):
        (cache / name).write_bytes(b"x")
        os.utime(cache / name, (time.time() - age,) * 2)
    (house.home / "work" / "failed" / "try").mkdir(parents=True)
    film = house.over("film", days=5)
    os.utime(house.home / "work" / "failed" / "try", (time.time() - 100,) * 2)

    def room(_path: Path) -> int:  # each thing that goes makes 600 MiB free
        there = len(list(cache.iterdir())) + len(list((house.home / "work" / "failed").iterdir()))
        return (1000 + 600 * (3 - there)) * 2**20

    monkeypatch.setattr(keeping, "free_bytes", lambda _path: 100 * 2**30)
    house.round()
    with_room = sorted(path.name for path in cache.iterdir())
    monkeypatch.setattr(keeping, "free_bytes", room)
    house.retention.turn()
    until(lambda: house.retention._thread and not house.retention._thread.is_alive())

    assert with_room == ["new.bin", "old.bin"]
    assert [path.name for path in cache.iterdir()] == ["new.bin"]
    assert house.names("done") == ["film"]
    assert house.ledger.get(film.id) is not None


# -------------------------------------------------------------------------------------------------- the whole service


def test_the_service_keeps_house_and_a_term_of_seconds_to_the_second(tmp_path: Path) -> None:
    line = Line(tmp_path, retention={"history": "1s", "status": "1s", "done": "1s", "failed": "1s"})
    line.drop("spot.json")
    line.drop("nope.json", line.job(project="missing"))

    with serving(line):
        until(lambda: line.files("done") and line.files("failed"))
        until(lambda: not line.files("done") and not line.files("failed"))
        until(lambda: not line.status("spot") and not line.status("nope"))
        assert line.service is not None
        ledger = line.service.ledger
        until(lambda: len(ledger.db.documents(JOBS)) == 0)
