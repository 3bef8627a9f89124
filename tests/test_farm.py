"""The farm: a real nexrender-server, workers by hand, and everything that both are known to do wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm import SECRET, Farm, Picker, farm_set
from tests.line import FILM, Line, serving, until
from watchrender.handover import Slips
from watchrender.render import probe
from watchrender.render.simulator import install_simulator, write_project

pytestmark = pytest.mark.nexrender


@pytest.fixture(scope="session")
def packages() -> Path:
    return farm_set()


@pytest.fixture
def farm(packages: Path, tmp_path: Path) -> Iterator[Farm]:
    found = Farm(packages, tmp_path / "farm")
    found.start_server()
    yield found
    found.stop()


@pytest.fixture
def line(farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr("watchrender.farm.ends.REST_SECONDS", 0.1)
    monkeypatch.setattr("watchrender.worker.BUSY_SECONDS", 0.1)
    made = Line(
        tmp_path,
        engine="nexrender-server",
        nexrender_server={"url": farm.url, "secret": SECRET, "poll_interval": "50ms", "max_in_flight": 2},
        verify={"probe": "auto"},
    )
    yield made
    made.stop()


@pytest.fixture
def worker(farm: Farm) -> Picker:
    return Picker(farm)


def take_without_lock(farm: Farm) -> dict[str, Any]:
    """As old workers do: list, choose, say "started" over the whole job."""
    job = until(lambda: next((job for job in farm.jobs().values() if job["state"] == "queued"), None))
    farm.ask("PUT", f"/jobs/{job['uid']}", {**job, "state": "started"})
    return job  # type: ignore[no-any-return]


def left_behind(line: Line, farm: Farm) -> tuple[list[str], list[str]]:
    """What lies in the folder of attempts, and what the server knows."""
    return line.files(".farm"), list(farm.jobs())


def is_tidy(line: Line, farm: Farm) -> bool:
    return left_behind(line, farm) == ([], []) and not any((line.root / ".farm").iterdir())


# --- handing over -----------------------------------------------------------------------------------------------------


def test_a_job_goes_to_the_farm_and_its_film_lies_in_done(line: Line, farm: Farm, worker: Picker) -> None:
    line.change(nexrender_server={"tags": ["AE 2024", "fast"]})
    with serving(line):
        line.drop("spot.yaml", "tags: [client-a]\n")
        line.drop("p80_spot.json")
        job = worker.pick()
        assert line.wait("spot", "rendering")["progress"]["stage"] in ("waiting for a worker", "rendering")
        worker.render(job)
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))
        told = line.overview()["health"]["engine"]

    assert told == "nexrender-server"  # the page says whose health it is
    assert line.files("done") == [
        "spot/p80_spot.json",
        "spot/spot.log",
        "spot/spot.mp4",
        "spot/spot.status.json",
        "spot/spot.yaml",
    ]
    assert (line.root / "done/spot/spot.mp4").read_bytes() == FILM.read_bytes()
    assert (job["priority"], job["tags"]) == (80, "ae 2024, fast, client a")
    assert job["uid"].startswith(status["id"]) and job["uid"] != status["id"]
    assert job["output"] == str(line.root / ".farm" / job["uid"] / "out" / "spot.mp4")
    assert job["template"]["src"] == f"file://{line.projects / 'spot.aep'}"
    assert any("has it" in why for why in line.whys("spot"))


def test_few_are_handed_over_so_that_a_late_urgent_one_goes_first(line: Line, farm: Farm, worker: Picker) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    with serving(line):
        for name in ("a", "b", "c", "d"):
            line.drop(f"{name}.json", line.job(name))
        for name in ("a", "b", "c", "d"):
            line.wait(name, "queued")
        (line.root / "inbox" / "_PAUSE").unlink()
        until(lambda: len(farm.jobs()) == 2)
        line.drop("urgent.p99.json", line.job("urgent"))
        line.wait("urgent", "queued")
        assert len(farm.jobs()) == 2

        order = []
        for _ in range(5):
            job = worker.pick()
            order.append(job["template"]["composition"])
            worker.render(job)
        line.wait("d", "completed")

    assert order == ["a", "b", "urgent", "c", "d"] or order == ["a", "urgent", "b", "c", "d"]


def test_paths_are_written_as_the_workers_see_them(line: Line, farm: Farm, tmp_path: Path) -> None:
    rules = [{"from": str(tmp_path), "to": "R:/farm"}]
    line.change(nexrender_server={"path_map": rules})
    with serving(line):
        line.drop("spot.json")
        job = until(lambda: next(iter(farm.jobs().values()), None))

    assert job["output"] == rf"R:\farm\root\.farm\{job['uid']}\out\spot.mp4"
    assert job["template"]["src"] == "file:///R:/farm/projects/spot.aep"


def test_what_windows_workers_cannot_reach_lies_beside_the_film_and_the_status_says_so(
    line: Line, farm: Farm, tmp_path: Path
) -> None:
    line.change(nexrender_server={"path_map": [{"from": str(line.root), "to": "R:/"}]})
    with serving(line):
        line.drop("spot.json")
        job = until(lambda: next(iter(farm.jobs().values()), None))
        warnings = line.wait("spot", "rendering")["warnings"]

    assert job["template"]["src"] == f"file:///R:/.farm/{job['uid']}/footage/project.aep"
    assert (line.root / ".farm" / job["uid"] / "footage" / "project.aep").read_text() == "a project"
    assert any("relative to itself" in warning for warning in warnings)


def test_a_project_whose_name_nexrender_misreads_is_no_link_on_the_farm(line: Line, farm: Farm) -> None:
    project = line.project("50$OFF")
    line.drop("spot.json", line.job(project="50$OFF"))
    with serving(line):
        job = until(lambda: next(iter(farm.jobs().values()), None))
        copy = Path(job["template"]["src"].removeprefix("file://"))

        assert copy.is_relative_to(line.root / ".farm" / job["uid"])
        assert not copy.is_symlink() and not copy.parent.is_symlink()
        assert copy.read_bytes() == project.read_bytes()


def test_a_zip_is_unpacked_where_the_workers_can_see_it(line: Line, farm: Farm, worker: Picker, tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("job.json", json.dumps({"template": {"src": "a.aep", "composition": "Main"}, "assets": []}))
        zipped.writestr("a.aep", "a project")
        zipped.writestr("footage/beside.txt", "its footage")
    with serving(line):
        line.drop("spot.zip", packed.read_bytes())
        job = worker.pick()
        project = Path(job["template"]["src"].removeprefix("file://"))
        beside = (project.parent / "footage" / "beside.txt").read_text()
        worker.render(job)
        line.wait("spot", "completed")

    assert project.is_relative_to(line.root / ".farm" / job["uid"])
    assert beside == "its footage"


# --- the verdict is ours ----------------------------------------------------------------------------------------------


def test_half_a_film_that_the_worker_calls_finished_is_none(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json")
        first = worker.pick()
        worker.tell(first, state="render:dorender", renderProgress=30)
        Path(first["output"]).write_bytes(FILM.read_bytes()[: FILM.stat().st_size // 2])
        worker.tell(first, state="finished")
        second = worker.pick()
        worker.render(second)
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))

    assert second["uid"] != first["uid"]
    assert [found["error"] and found["error"]["code"] for found in status["attempts"]] == ["OUTPUT_TRUNCATED", None]


def test_finished_without_a_film_is_not_finished(line: Line, worker: Picker) -> None:
    line.change(retry={"max_retries": 0})
    with serving(line):
        line.drop("spot.json")
        worker.tell(worker.pick(), state="finished")
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "OUTPUT_MISSING"


def test_a_film_with_too_few_of_the_frames_that_the_job_asks_for_is_none(line: Line, worker: Picker) -> None:
    line.change(retry={"max_retries": 0})
    with serving(line):
        line.drop("spot.json", line.job(template={"frameStart": 0, "frameEnd": 9999}))
        worker.render(worker.pick())
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "OUTPUT_TRUNCATED" and "10000 frames" in status["error"]["message"]


def test_what_newer_workers_say_went_wrong_decides_about_retries(line: Line, worker: Picker) -> None:
    said = "Error: No comp was found with the given name.\n\n\nError: Couldn't find a result file: /x/result.mov"
    with serving(line):
        line.drop("spot.json")
        worker.tell(worker.pick(), state="error", error=[said])
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "COMPOSITION_NOT_FOUND"


def test_a_project_that_the_worker_cannot_open_is_named(line: Line, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json")
        worker.tell(
            worker.pick(),
            state="error",
            error={"errno": -2, "code": "ENOENT", "syscall": "open", "path": "/no/spot.aep"},
        )
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "TEMPLATE_MISSING" and "/no/spot.aep" in status["error"]["message"]


def test_an_old_workers_error_has_no_words_and_is_tried_again(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json")
        worker.tell(worker.pick(), state="error", error={})
        worker.render(worker.pick())
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))

    assert status["attempts"][0]["error"]["code"] == "RENDER_FAILED"


def test_an_image_sequence_comes_back_whole(line: Line, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json", line.job(template={"outputExt": "png", "frameStart": 0, "frameEnd": 2}))
        job = worker.pick()
        picture = bytes.fromhex(
            "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8ffff3f0005fe02fe"
            "dccc59e70000000049454e44ae426082"
        )
        for number in range(3):
            name = job["output"].replace("[#####]", f"{number:05d}")
            Path(name).write_bytes(picture + bytes(1000))
        worker.tell(job, state="finished")
        status = line.wait("spot", "completed")

    assert status["outputs"][0]["path"] == "frames/spot_[00000-00002].png"


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_died_is_given_up_and_its_late_film_is_thrown_away(
    line: Line, farm: Farm, worker: Picker
) -> None:
    line.change(limits={"stall": "600ms"})
    with serving(line):
        line.drop("spot.json")
        dead = worker.pick()
        worker.tell(dead, state="render:dorender", renderProgress=10)
        second = worker.pick()

        with pytest.raises(OSError):
            shutil.copyfile(FILM, dead["output"])  # it lives after all
        worker.tell(dead, state="finished")
        worker.render(second)
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))

    assert [found["error"] and found["error"]["code"] for found in status["attempts"]] == ["RENDER_STALLED", None]
    assert line.files("done", "spot").count("spot.mp4") == 1


def test_a_film_that_grows_is_a_sign_of_life(line: Line, farm: Farm) -> None:
    line.change(limits={"stall": "700ms"}, watch={"settle": "200ms"})
    with serving(line):
        line.drop("spot.json")
        job = take_without_lock(farm)
        data = FILM.read_bytes()
        with open(job["output"], "wb") as film:
            for begin in range(0, len(data), len(data) // 9):
                film.write(data[begin : begin + len(data) // 9])
                film.flush()
                time.sleep(0.25)
        farm.ask("PUT", f"/jobs/{job['uid']}", {**job, "state": "finished"})
        status = line.wait("spot", "completed")

    assert len(status["attempts"]) == 1


def test_a_render_that_takes_longer_than_it_may_is_given_up(line: Line, worker: Picker) -> None:
    line.change(limits={"render": "400ms"}, retry={"max_retries": 0})
    with serving(line):
        line.drop("spot.json")
        job = worker.pick()
        for percent in range(30):
            if line.status("spot").get("state") == "failed":
                break
            worker.farm.ask(
                "PUT", f"/jobs/{job['uid']}", {**job, "state": "render:dorender", "renderProgress": percent}
            )
            time.sleep(0.05)
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "RENDER_TIMEOUT"


def test_a_job_that_waits_for_a_worker_is_never_given_up(line: Line, worker: Picker) -> None:
    # What the worker by hand needs on a busy machine, and less than the job waits for it.
    line.change(limits={"stall": "1500ms", "render": "3s", "startup": "100ms"})
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "rendering")
        time.sleep(4.0)
        worker.render(worker.pick())
        status = line.wait("spot", "completed")

    assert len(status["attempts"]) == 1


def test_two_old_workers_that_take_one_job_are_noticed(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json")
        job = take_without_lock(farm)
        until(lambda: any("has it" in why for why in line.whys("spot")))
        farm.ask("PUT", f"/jobs/{job['uid']}", {**job, "state": "started"})
        second = worker.pick()
        worker.render(second)
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))

    assert second["uid"] != job["uid"]
    assert len(status["attempts"]) == 1  # no try was used
    assert any("two workers" in why for why in line.whys("spot"))


def test_a_film_that_is_still_written_after_the_end_was_told_is_not_believed(
    line: Line, farm: Farm, worker: Picker
) -> None:
    line.change(watch={"settle": "1s"})
    with serving(line):
        line.drop("spot.json")
        job = take_without_lock(farm)
        shutil.copyfile(FILM, job["output"])
        farm.ask("PUT", f"/jobs/{job['uid']}", {**job, "state": "finished"})
        until(lambda: line.status("spot").get("state") == "rendering" and not _picked(farm, job["uid"]))
        with open(job["output"], "r+b") as other:
            until(lambda: _keep_writing(other) or any("two workers" in why for why in line.whys("spot")))
        worker.render(worker.pick())
        status = line.wait("spot", "completed")

    assert len(status["attempts"]) == 1
    assert (line.root / "done/spot/spot.mp4").read_bytes() == FILM.read_bytes()


def _picked(farm: Farm, uid: str) -> bool:
    return bool(farm.jobs().get(uid, {}).get("state") in ("queued", "started"))


def _keep_writing(file: Any) -> bool:
    file.write(b"x")
    file.flush()
    return False


@pytest.mark.parametrize("by_lock", [True, False])
def test_only_a_film_that_nobody_else_can_write_into_is_moved_as_it_is(
    line: Line, farm: Farm, worker: Picker, by_lock: bool
) -> None:
    with serving(line):
        line.drop("spot.json")
        job = worker.pick() if by_lock else take_without_lock(farm)
        until(lambda: any("has it" in why for why in line.whys("spot")))
        shutil.copyfile(FILM, job["output"])
        written = os.stat(job["output"]).st_ino
        worker.tell(job, state="finished")
        line.wait("spot", "completed")

    assert (os.stat(line.root / "done/spot/spot.mp4").st_ino == written) is by_lock


# --- the server -------------------------------------------------------------------------------------------------------


def test_while_the_server_is_down_the_queue_waits_and_no_try_is_used(line: Line, farm: Farm, worker: Picker) -> None:
    farm.kill_server()
    with serving(line) as running:
        line.drop("spot.json")
        line.wait("spot", "queued")
        assert running.service is not None
        until(lambda: [found.code for found in running.service.gate.waiting()] == ["NEXRENDER_SERVER_UNREACHABLE"])
        assert running.service.reports.not_ready()
        farm.start_server()
        worker.render(worker.pick())
        status = line.wait("spot", "completed")

    assert len(status["attempts"]) == 1


def test_an_idle_farm_whose_server_goes_is_not_ready(line: Line, farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchrender.farm.follower._LOOK_SECONDS", 0.1)
    with serving(line) as running:
        service = running.service
        assert service is not None
        until(lambda: not service.reports.not_ready())
        farm.kill_server()
        until(service.reports.not_ready)
        farm.start_server()
        until(lambda: not service.reports.not_ready())


def test_a_server_that_goes_in_the_middle_costs_nothing(line: Line, farm: Farm, worker: Picker) -> None:
    line.change(limits={"stall": "1500ms"})
    with serving(line):
        line.drop("spot.json")
        job = worker.pick()
        worker.tell(job, state="render:dorender", renderProgress=10)
        until(lambda: any("has it" in why for why in line.whys("spot")))
        until(lambda: b"render:dorender" in farm.database.read_bytes())  # it answers first and writes then
        farm.kill_server()
        time.sleep(2.0)
        farm.start_server()
        time.sleep(0.4)  # polled again, and nothing new to tell
        worker.render(job)
        status = line.wait("spot", "completed")

    assert len(status["attempts"]) == 1


def test_a_job_that_the_server_has_forgotten_is_handed_over_under_a_new_uid(
    line: Line, farm: Farm, worker: Picker
) -> None:
    with serving(line):
        line.drop("spot.json")
        first = worker.pick()
        farm.kill_server()
        farm.database.unlink()
        farm.start_server()
        second = worker.pick()
        worker.render(second)
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))

    assert first["uid"] != second["uid"]
    assert len(status["attempts"]) == 1


def test_an_older_database_that_takes_a_job_back_makes_a_new_uid(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json")
        until(farm.jobs)
        older = until(lambda: farm.database.exists() and farm.database.read_bytes())
        first = worker.pick()
        until(lambda: any("has it" in why for why in line.whys("spot")))
        farm.kill_server()
        farm.database.write_bytes(older)
        farm.start_server()
        # No worker asks before we have: one that took the old job first would render it under its old uid.
        until(lambda: (jobs := farm.jobs()) and first["uid"] not in jobs)
        second = worker.pick()
        assert second["uid"] != first["uid"]
        worker.render(second)
        line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))


def test_an_older_database_brings_no_finished_job_back(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line) as running:
        line.drop("spot.json")
        job = until(lambda: next(iter(farm.jobs().values()), None))
        worker.render(worker.pick())
        line.wait("spot", "completed")
        until(lambda: running.service and not Slips(running.service.ledger).all())
        farm.ask("POST", "/jobs", job)
        farm.ask("POST", "/jobs", {**job, "uid": "somebody-elses"})
        line.drop("again.json")
        until(lambda: job["uid"] not in farm.jobs())

        assert "somebody-elses" in farm.jobs()


def test_a_job_that_is_there_twice_is_taken_away_and_handed_over_once(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json")
        job = until(lambda: next(iter(farm.jobs().values()), None))
        farm.ask("POST", "/jobs", job)
        until(lambda: farm.jobs() and job["uid"] not in farm.jobs())
        worker.render(worker.pick())
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))

    assert len(status["attempts"]) == 1


# --- people -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_job_leaves_the_server_and_what_comes_of_it_is_thrown_away(
    line: Line, farm: Farm, worker: Picker
) -> None:
    with serving(line):
        line.drop("spot.json")
        job = worker.pick()
        line.drop("spot.cancel", b"")
        line.wait("spot", "cancelled")
        with pytest.raises(OSError):
            shutil.copyfile(FILM, job["output"])
        farm.ask("PUT", f"/jobs/{job['uid']}", {**job, "state": "finished"})
        until(lambda: is_tidy(line, farm))

    assert line.files("done") == []


def test_a_job_held_at_its_start_comes_back_from_the_farm(line: Line, farm: Farm) -> None:
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "rendering")
        line.drop("spot.yaml", "hold: true\n")
        line.wait("spot", "queued")
        until(lambda: is_tidy(line, farm))

    assert line.status("spot")["hold"] and line.status("spot")["attempts"] == []


def test_draining_waits_for_the_farm(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line) as running:
        line.drop("spot.json")
        job = worker.pick()
        line.drop("_DRAIN", b"")
        thread = running._thread
        assert thread is not None
        until(lambda: running.service and running.service.gate.draining)
        assert thread.is_alive()
        worker.render(job)
        line.wait("spot", "completed")
        until(lambda: not thread.is_alive())


# --- our own restart --------------------------------------------------------------------------------------------------


def test_a_stop_leaves_jobs_with_the_farm_and_the_next_start_picks_them_up(
    line: Line, farm: Farm, worker: Picker
) -> None:
    with serving(line):
        for name in ("a", "b"):
            line.drop(f"{name}.json", line.job(name))
        jobs = [worker.pick(), worker.pick()]
        for name in ("a", "b"):
            until(lambda name=name: any("has it" in why for why in line.whys(name)))
    assert sorted(farm.jobs()) == sorted(job["uid"] for job in jobs)
    worker.render(jobs[0])  # while nobody watches

    with serving(line):
        worker.render(jobs[1])
        statuses = [line.wait(name, "completed") for name in ("a", "b")]
        until(lambda: is_tidy(line, farm))

    assert [len(status["attempts"]) for status in statuses] == [1, 1]
    assert all(any("picked up again" in line_["why"] for line_ in status["history"]) for status in statuses)


def test_with_shutdown_finish_a_stop_waits_for_the_farm(line: Line, farm: Farm, worker: Picker) -> None:
    line.change(shutdown="finish")
    with serving(line) as running:
        line.drop("spot.json")
        job = worker.pick()
        assert running.service is not None and running._thread is not None
        running.service.request_stop()
        until(lambda: running.service and running.service.gate.stopping)
        assert running._thread.is_alive()
        worker.render(job)
        until(lambda: running._thread and not running._thread.is_alive())

    assert "spot/spot.mp4" in line.files("done")


def test_another_engine_leaves_nothing_of_the_farm(line: Line, farm: Farm, worker: Picker) -> None:
    with serving(line):
        line.drop("spot.json")
        worker.pick()
        until(lambda: any("has it" in why for why in line.whys("spot")))
    line.change(engine="nexrender-cli", verify={"probe": "off"})

    with serving(line):
        line.wait("spot", "completed")

    assert line.files(".farm") == []
    assert line.starts() == ["Main"]


def test_a_film_lost_while_it_was_delivered_is_rendered_again_without_using_a_try(
    line: Line, farm: Farm, worker: Picker
) -> None:
    with serving(line):
        line.drop("spot.json")
        job = worker.pick()
        until(lambda: any("has it" in why for why in line.whys("spot")))
    (line.root / "active" / "spot" / "spot.mp4").write_bytes(b"moved here, and then the power went")
    worker.tell(job, state="finished")

    with serving(line):
        worker.render(worker.pick())
        status = line.wait("spot", "completed")

    assert len(status["attempts"]) == 1
    assert [name for name in line.files("done") if name.endswith(".mp4")] == ["spot/spot.mp4"]


# --- the real worker --------------------------------------------------------------------------------------------------


def test_what_the_real_worker_calls_finished_after_a_crash_is_rendered_again(
    line: Line, farm: Farm, tmp_path: Path
) -> None:
    failing = {"fail_times": 1, "failing": {"mode": "crash", "frame": 15}, "tries_file": str(tmp_path / "tries")}
    write_project(line.projects / "crash.aep", composition="Main", frames=25, behaviour=failing)
    line.age(line.projects / "crash.aep")
    farm.start_worker("w1", tmp_path / "Applications" / "Adobe After Effects 2024" / "aerender")
    with serving(line):
        line.drop("spot.json", line.job(project="crash"))
        status = line.wait("spot", "completed")
        until(lambda: is_tidy(line, farm))

    assert [found["error"] and found["error"]["code"] for found in status["attempts"]] == ["OUTPUT_TRUNCATED", None]
    assert probe.probe(line.root / "done/spot/spot.mp4").frames == 25


def test_what_the_real_worker_cannot_render_ends_in_failed_with_words(line: Line, farm: Farm, tmp_path: Path) -> None:
    line.change(retry={"max_retries": 1})
    write_project(line.projects / "real.aep", composition="Main", frames=5)
    line.age(line.projects / "real.aep")
    farm.start_worker("w1", tmp_path / "Applications" / "Adobe After Effects 2024" / "aerender")
    with serving(line):
        line.drop("spot.json", line.job("Nowhere", project="real"))
        status = line.wait("spot", "failed")

    assert (status["error"]["code"], len(status["attempts"])) == ("RENDER_FAILED", 2)
    assert "log of the workers" in status["error"]["cure"]


# --- the whole of it: two real workers, and kill -9 of everybody in turn ----------------------------------------------

JOBS = 40


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_forty_jobs_are_delivered_once_although_worker_server_and_watchrender_are_killed_in_turn(
    farm: Farm, tmp_path: Path
) -> None:
    work = Whole(farm, tmp_path)
    work.drop_jobs(JOBS)
    work.start()
    try:
        until(lambda: work.done() >= 4, 120)
        farm.kill_worker("w1")
        until(lambda: work.done() >= 10, 120)
        farm.start_worker("w1", work.aerender)
        farm.kill_server()
        time.sleep(1.0)
        farm.start_server()
        until(lambda: work.done() >= 18, 120)
        work.kill()
        time.sleep(1.0)
        work.start()
        until(lambda: work.done() >= 26, 120)
        farm.kill_worker("w2")
        farm.kill_server()
        work.kill()
        farm.start_server()
        farm.start_worker("w2", work.aerender)
        work.start()
        until(lambda: work.done() >= JOBS, 200)
        until(lambda: not farm.jobs() and not any((work.root / ".farm").iterdir()))
    finally:
        work.stop()

    folders = sorted(path.name for path in (work.root / "done").iterdir())
    assert folders == sorted(f"job{number:02d}" for number in range(JOBS))
    assert not list((work.root / "failed").iterdir()) and not list((work.root / "active").iterdir())
    frames = {path.name: work.frames(path / f"{path.name}.mp4") for path in (work.root / "done").iterdir()}
    assert set(frames.values()) == {12}, frames


class Whole:
    """The service as a process of its own, and two workers of the farm with the simulated After Effects."""

    def __init__(self, farm: Farm, home: Path) -> None:
        self.home, self.farm, self.root = home, farm, home / "root"
        self.aerender = install_simulator(home / "Applications", patched=True)
        (self.root / "inbox").mkdir(parents=True)
        self.project = home / "spot.aep"
        write_project(self.project, composition="Main", frames=12, behaviour={"seconds_per_frame": 0.02})
        self.config = home / "watchrender.yaml"
        settings = {
            "root": str(self.root),
            "state_dir": str(home / "state"),
            "engine": "nexrender-server",
            "nexrender_server": {"url": farm.url, "secret": SECRET, "poll_interval": "200ms", "max_in_flight": 3},
            "limits": {"min_free_disk": "1MiB", "stall": "4s"},
            "retry": {"first_wait": "200ms", "max_wait": "1s"},
            "watch": {"scan_interval": "500ms", "settle": "500ms"},
            "delivery": {"previews": "off"},
            "server": {"enabled": False},
        }
        self.config.write_text(json.dumps(settings), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None
        for name in ("w1", "w2"):
            farm.start_worker(name, self.aerender)

    def drop_jobs(self, count: int) -> None:
        template = {
            "src": str(self.project),
            "composition": "Main",
            "outputExt": "mp4",
            "frameStart": 0,
            "frameEnd": 11,
        }
        for number in range(count):
            (self.root / "inbox" / f"job{number:02d}.json").write_text(json.dumps({"template": template}))

    def start(self) -> None:
        with open(self.home / "service.log", "ab") as log:
            words = [sys.executable, "-m", "watchrender", "run", "-c", str(self.config)]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)

    def done(self) -> int:
        assert self.process is not None and self.process.poll() is None, (self.home / "service.log").read_text()[-3000:]
        try:
            return len(list((self.root / "done").iterdir()))
        except OSError:
            return 0

    @staticmethod
    def frames(film: Path) -> int | None:
        return probe.probe(film).frames
