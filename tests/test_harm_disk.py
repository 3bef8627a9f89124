"""Disks that are full to the last byte, under the real service with real nexrender: of films, of work, of the record.

The queue waits and says so, no try is used, nothing is lost, and it goes on by itself when there is room again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.line import until
from tests.mounts import filled, mounting, small_disk
from tests.real import Watched

pytestmark = [pytest.mark.nexrender, mounting]

SLOW = {"seconds_per_frame": 0.1}


@pytest.fixture
def real(watched: Watched) -> Watched:
    watched.settings["nexrender"]["work_dir"] = str(watched.home / "work")
    return watched


@pytest.fixture(params=["films", "work", "record"])
def disk(request: pytest.FixtureRequest, real: Watched) -> Iterator[Path]:
    """A small disk that holds the root, the work folder, or the record."""
    place = {"films": real.root, "work": real.home / "work", "record": real.home / "state"}[request.param]
    with small_disk(place, 24) as made:
        (real.root / "inbox").mkdir(exist_ok=True)
        yield made


def test_a_disk_that_is_full_to_the_last_byte_costs_no_try_and_no_job(real: Watched, disk: Path) -> None:
    slow = real.project("slow", behaviour=SLOW)
    real.drop("p90_running.json", slow)
    real.drop("waiting.json", slow)
    real.up()
    real.rendering("running")

    with filled(disk):
        until(lambda: real.waits_for() == ["DISK_FULL"], 60)
        if disk != real.root:
            real.drop("late.json", slow)
            until(lambda: [found["code"] for found in real.overview("service")["waiting"]] == ["DISK_FULL"], 60)
        until(lambda: not real.stray_renders(), 60)
        why = until(lambda: real.ask("/api/v1/status")[1]["why"], 60)
    real.comes_back()
    if disk == real.root:
        real.drop("late.json", slow)
    ended = {name: real.wait(name, "completed", "failed") for name in ("running", "waiting", "late")}

    assert str(disk) in why
    assert {name: (status["state"], len(status["attempts"])) for name, status in ended.items()} == dict.fromkeys(
        ended, ("completed", 1)
    )
    assert [real.places(name) for name in ended] == [["done"]] * 3
    assert not list((real.root / "active").iterdir())
    assert real.times_said("the queue waits:") == real.times_said("the queue goes on:") == 1
    assert "Traceback" not in real.said()
    assert real.end() == 0
    assert real.stray() == []


def test_the_queue_waits_before_the_disk_is_full_and_the_folder_says_so(real: Watched) -> None:
    with small_disk(real.root, 24) as disk:
        (real.root / "inbox").mkdir()
        real.settings["limits"]["min_free_disk"] = "8MiB"
        real.up()
        with filled(disk, leaving=4 * 2**20):
            real.drop("spot.json", real.project("spot"))
            told = until(lambda: (s := real.overview("service"))["waiting"] and s, 60)
            page = (real.root / "status" / "index.html").read_text(encoding="utf-8")
            queued = real.status("spot")
        done = real.wait("spot", "completed")

        assert told["waiting"][0]["code"] == "DISK_FULL"
        assert told["state"] == "waiting"
        assert "limits.min_free_disk" in told["why"]
        assert "DISK_FULL" in page
        assert (queued["state"], queued["attempts"]) == ("queued", [])
        assert len(done["attempts"]) == 1
        assert real.end() == 0


def test_a_films_place_that_fills_up_while_it_renders_is_waited_for(real: Watched) -> None:
    """Where done/ is another disk, nobody sees half a folder there, and the film is not rendered again."""
    with small_disk(real.home / "films", 24) as disk:
        real.settings["folders"] = {"done": str(disk)}
        real.drop("spot.json", real.project("slow", behaviour=SLOW))
        real.up()
        real.rendering("spot")

        with filled(disk):
            until(lambda: real.status("spot")["progress"]["stage"] == "delivering", 60)
            until(lambda: real.waits_for() == ["DISK_FULL"], 60)
            seen = [path.name for path in disk.iterdir() if not path.name.startswith(".")]
            still = real.status("spot")
        done = real.wait("spot", "completed")

        assert seen == ["ballast"]
        assert (still["state"], still["attempts"]) == ("rendering", [])
        assert len(done["attempts"]) == 1
        assert (disk / "spot" / done["outputs"][0]["path"]).stat().st_size == done["outputs"][0]["bytes"]
        assert [path.name for path in disk.iterdir()] == ["spot"]
        assert real.end() == 0


def test_a_start_on_a_full_disk_waits_for_room(real: Watched) -> None:
    with small_disk(real.home / "state", 24) as disk:
        real.drop("p90_running.json", real.project("slow", behaviour=SLOW))
        real.drop("waiting.json", real.project("quick"))
        real.up()
        real.rendering("running")
        assert real.process is not None
        real.process.kill()
        real.process.wait()

        with filled(disk):
            process = real.start(up=False)
            until(lambda: process.poll() is not None or "the queue waits:" in real.said(), 60)
            code = process.poll()
        if code is not None:  # it may as well say so and leave
            real.start()
        ended = [real.wait(name, "completed", "failed") for name in ("running", "waiting")]

        assert [(status["state"], len(status["attempts"])) for status in ended] == [("completed", 1)] * 2
        assert real.end() == 0
        assert real.stray() == []
