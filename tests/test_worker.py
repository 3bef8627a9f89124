"""From the queue to the done folder: order, tries, faults of the machine, cancelling, delivery."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.line import Line, serving, until


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.stop()


def test_a_job_becomes_a_film_in_done_with_all_that_belongs_to_it(line: Line) -> None:
    line.drop("p80_spot.json")
    line.drop("spot.yaml", "tags: [x]\n")

    with serving(line):
        status = line.wait("spot", "completed")

    assert line.files("done") == [
        "spot/p80_spot.json",
        "spot/spot.log",
        "spot/spot.mp4",
        "spot/spot.status.json",
        "spot/spot.yaml",
    ]
    assert status["progress"]["percent"] == 100
    assert status["outputs"][0]["path"] == "spot.mp4"
    assert len(status["outputs"][0]["sha256"]) == 64
    assert status["folder"] == "done/spot"
    assert (status["priority"], status["priority_from"], status["tags"]) == (80, "filename", ["x"])
    assert status["node"] == "render-01"
    assert json.loads((line.root / "done/spot/spot.status.json").read_bytes())["state"] == "completed"
    assert line.files("active") == []


def test_the_highest_priority_goes_first_then_the_first_that_came(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    with serving(line):
        for name, composition in (("sh10", "Main"), ("sh2", "NoComp"), ("p90_late", "Tiny")):
            line.drop(f"{name}.json", line.job(composition) | {"watchrender": {"max_retries": 0}})
        for name in ("sh10", "sh2", "late"):
            line.wait(name, "queued")

        (line.root / "inbox" / "_PAUSE").unlink()
        line.wait("sh10", "completed")

    assert line.starts()[0] == "Tiny"


def test_a_render_that_fails_is_tried_again_and_others_go_first_meanwhile(line: Line) -> None:
    line.change(retry={"first_wait": "1s", "max_wait": "1s"})
    line.drop("p90_flaky.json", line.job("CrashTwice"))
    line.drop("steady.json")

    with serving(line):
        waiting = line.wait("flaky", "queued")
        line.wait("steady", "completed")
        status = line.wait("flaky", "completed")

    assert waiting["state"] == "queued"
    assert line.starts() == ["CrashTwice", "Main", "CrashTwice", "CrashTwice"]
    assert [entry["number"] for entry in status["attempts"]] == [1, 2, 3]
    assert status["attempts"][0]["error"]["code"] == "RENDER_CRASHED"
    assert status["attempts"][2]["error"] is None
    assert status["error"] is None


def test_a_wait_goes_on_where_it_was_after_a_restart(line: Line) -> None:
    line.change(retry={"first_wait": "3s", "max_wait": "3s"})
    line.drop("flaky.json", line.job("CrashTwice"))

    with serving(line):
        before = until(lambda: (s := line.status("flaky")).get("not_before") and s)
    with serving(line):
        after = until(lambda: (s := line.status("flaky")).get("state") == "queued" and s)

    assert after["not_before"] == before["not_before"]
    assert len(after["attempts"]) == 1
    assert line.starts() == ["CrashTwice"]


def test_after_the_last_try_it_lies_in_failed_with_a_letter(line: Line) -> None:
    line.drop("bad.json", line.job("Crash") | {"watchrender": {"max_retries": 1}})

    with serving(line):
        status = line.wait("bad", "failed")

    assert line.starts() == ["Crash", "Crash"]
    assert status["folder"] == "failed/bad"
    assert status["error"]["code"] == "RENDER_CRASHED"
    assert set(line.files("failed")) == {"bad/WHY.txt", "bad/bad.json", "bad/bad.log", "bad/bad.status.json"}
    assert "tried 2 times" in (line.root / "failed/bad/WHY.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("composition", "code"),
    [("NoComp", "COMPOSITION_NOT_FOUND"), ("NoOutput", "OUTPUT_MISSING"), ("Tiny", "OUTPUT_TRUNCATED"), ("Half", None)],
)
def test_exit_status_0_is_not_success(line: Line, composition: str, code: str | None) -> None:
    line.drop("job.json", line.job(composition) | {"watchrender": {"max_retries": 0}})

    with serving(line):
        status = line.wait("job", "failed")

    assert status["error"]["code"] == (code or "OUTPUT_TRUNCATED")
    assert status["error"]["cure"]
    assert line.files("done") == []


def test_a_job_failure_is_not_tried_again(line: Line) -> None:
    line.drop("job.json", line.job("NoComp"))

    with serving(line):
        line.wait("job", "failed")

    assert line.starts() == ["NoComp"]


def test_a_render_that_takes_too_long_is_tried_once_more_only(line: Line) -> None:
    line.drop("job.json", line.job("Slow") | {"watchrender": {"render_timeout": "400ms"}})

    with serving(line):
        status = line.wait("job", "failed")

    assert status["error"]["code"] == "RENDER_TIMEOUT"
    assert line.starts() == ["Slow", "Slow"]


@pytest.mark.parametrize(
    ("composition", "limits", "code"),
    [
        ("HangAtStart", {"startup": "400ms"}, "STARTUP_TIMEOUT"),
        ("Hang", {"stall": "700ms"}, "RENDER_STALLED"),
    ],
)
def test_a_render_that_stands_still_is_ended(line: Line, composition: str, limits: dict[str, Any], code: str) -> None:
    line.change(limits=limits)
    line.drop("job.json", line.job(composition) | {"watchrender": {"max_retries": 0}})

    with serving(line):
        status = line.wait("job", "failed")

    assert status["error"]["code"] == code


def test_a_good_film_of_a_renderer_that_never_ends_is_a_success(line: Line) -> None:
    line.drop("job.json", line.job("HangAtEnd"))

    with serving(line):
        status = line.wait("job", "completed")

    assert status["outputs"][0]["path"] == "job.mp4"


def test_a_full_disk_is_not_the_jobs_fault(line: Line) -> None:
    line.drop("job.json", line.job("Full"))

    with serving(line):
        service = until(lambda: (s := _service(line)).get("waiting") and s)
        line.wait("job", "queued")

    assert service["waiting"][0]["code"] == "DISK_FULL"
    assert line.status("job")["attempts"] == []


def test_the_queue_waits_for_aerender_and_goes_on_by_itself(line: Line) -> None:
    aerender = Path(line.settings["nexrender"]["aerender"])
    gone = aerender.with_name("gone")
    aerender.rename(gone)
    line.drop("job.json")

    with serving(line):
        until(lambda: [found["code"] for found in _service(line).get("waiting", [])] == ["AERENDER_NOT_FOUND"])
        assert line.wait("job", "queued")["attempts"] == []

        gone.rename(aerender)
        line.wait("job", "completed")

    assert _service(line)["waiting"] == []


def test_five_different_jobs_with_the_same_words_stop_the_queue_and_keep_their_tries(line: Line) -> None:
    line.change(retry={"first_wait": "5s", "max_wait": "5s"})
    for number in range(6):
        line.drop(f"j{number}.json", line.job("Crash"))

    with serving(line):
        until(lambda: "RENDERS_KEEP_FAILING" in [found["code"] for found in _service(line).get("waiting", [])])
        jobs = until(lambda: _all_queued(line, 6))

    assert sum(len(job["attempts"]) for job in jobs) <= 1


def _all_queued(line: Line, count: int) -> list[dict[str, Any]] | None:
    jobs = [line.status(f"j{number}") for number in range(count)]
    return jobs if all(job.get("state") == "queued" for job in jobs) else None


def _service(line: Line) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((line.root / "status" / "service.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def test_a_running_render_is_cancelled_and_nothing_of_it_is_left(line: Line) -> None:
    line.drop("job.json", line.job("Stubborn"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        (line.root / "inbox" / "job.cancel").touch()
        status = line.wait("job", "cancelled")

    assert status["folder"] == "cancelled/job"
    assert status["attempts"] == []
    assert sorted(line.files("cancelled")) == [
        "job/WHY.txt",
        "job/job.json",
        "job/job.log",
        "job/job.status.json",
    ]
    assert list((line.root / "active").rglob("*")) == []


def test_stopping_puts_the_running_job_back_and_uses_no_try(line: Line) -> None:
    line.drop("job.json", line.job("Slow"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
    stopped = line.status("job")
    with serving(line):
        status = line.wait("job", "completed")

    assert (stopped["state"], stopped["folder"], stopped["attempts"]) == ("queued", "active/job", [])
    assert [entry["number"] for entry in status["attempts"]] == [1]


def test_stopping_lets_the_running_job_finish_where_that_is_configured(line: Line) -> None:
    line.change(shutdown="finish")
    line.drop("job.json", line.job("Slow"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))

    assert line.status("job")["state"] == "completed"


def test_an_image_sequence_is_one_output(line: Line) -> None:
    line.drop("job.json", line.job(template={"outputExt": "png"}))

    with serving(line):
        status = line.wait("job", "completed")

    assert status["outputs"] == [
        {"path": "frames/job_[00000-00024].png", "frames": 25, "bytes": 25 * 2004, "sha256": None}
    ]
    assert len(list((line.root / "done/job/frames").iterdir())) == 25


def test_a_film_goes_where_its_settings_say_and_nothing_there_is_overwritten(line: Line) -> None:
    target = line.root / "deliver" / "spot-Main.mp4"
    target.parent.mkdir()
    target.write_text("somebody's", encoding="utf-8")
    line.drop("spot.json", line.job() | {"watchrender": {"output": "deliver/{job}-{composition}.{ext}"}})

    with serving(line):
        status = line.wait("spot", "completed")

    assert target.read_text(encoding="utf-8") == "somebody's"
    assert status["outputs"][0]["path"] == str(target.with_name("spot-Main~2.mp4"))
    assert Path(status["outputs"][0]["path"]).stat().st_size > 1000
    assert (target.parent / "spot-Main~2.status.json").is_file()
    assert "spot/spot.mp4" not in line.files("done")


def test_a_film_replaces_the_old_one_only_where_it_is_asked_to(line: Line) -> None:
    target = line.root / "deliver" / "spot.mp4"
    target.parent.mkdir()
    target.write_text("the old one", encoding="utf-8")
    settings = {"output": "deliver/", "on_exists": "replace"}
    line.drop("spot.json", line.job() | {"watchrender": settings})

    with serving(line):
        line.wait("spot", "completed")

    assert target.stat().st_size > 1000


def test_a_place_that_is_taken_fails_the_job_where_it_is_asked_to(line: Line) -> None:
    target = line.root / "deliver" / "spot.mp4"
    target.parent.mkdir()
    target.write_text("the old one", encoding="utf-8")
    line.drop("spot.json", line.job() | {"watchrender": {"output": "deliver/spot.mp4", "on_exists": "fail"}})

    with serving(line):
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "OUTPUT_EXISTS"
    assert target.read_text(encoding="utf-8") == "the old one"


def test_the_jobs_own_copy_action_is_the_weakest_delivery(line: Line) -> None:
    copy = {"module": "@nexrender/action-copy", "output": str(line.root / "copies" / "film.mp4")}
    line.drop("spot.json", line.job() | {"actions": {"postrender": [copy]}})

    with serving(line):
        status = line.wait("spot", "completed")

    assert status["outputs"][0]["path"] == str(line.root / "copies" / "film.mp4")


def test_done_may_lie_on_another_volume(line: Line, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == line.root.stat().st_dev:
        pytest.skip("there is no second volume here")
    done = other / f"watchrender-test-{line.home.name}-{id(line)}"
    line.change(folders={"done": str(done)})
    line.drop("spot.json")

    try:
        with serving(line):
            status = line.wait("spot", "completed")

        assert status["folder"] == str(done / "spot")
        assert {path.name for path in (done / "spot").iterdir()} >= {"spot.mp4", "spot.json", "spot.status.json"}
        assert line.files("active") == []
    finally:
        shutil.rmtree(done, ignore_errors=True)


def test_a_claim_that_is_refused_blocks_nobody_and_uses_no_try(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.spool.folders import Busy, Folders

    claim, refused = Folders.claim, []

    def held_open(self: Folders, job: Any) -> Path:
        if job.name == "held" and len(refused) < 2:
            refused.append(job.name)
            raise Busy(self.source(job), OSError(16, "resource busy"))
        return claim(self, job)

    monkeypatch.setattr(Folders, "claim", held_open)
    line.drop("p90_held.json")
    line.drop("free.json")

    with serving(line):
        waiting = until(lambda: (s := line.status("held")).get("waiting_for") and s)
        line.wait("free", "completed")
        status = line.wait("held", "completed")

    assert waiting["state"] == "queued"
    assert "somebody has it open" in waiting["waiting_for"][0]
    assert len(status["attempts"]) == 1


def test_a_delivery_that_is_refused_is_tried_again_while_others_render(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    from watchrender.spool.folders import Busy, Folders

    close, refused = Folders.close, []

    def held_open(self: Folders, folder: Path, target: Path, job_id: str) -> bool:
        if target.name == "held" and len(refused) < 2:
            refused.append(target.name)
            raise Busy(folder, OSError(16, "resource busy"))
        return close(self, folder, target, job_id)

    monkeypatch.setattr(Folders, "close", held_open)
    line.drop("p90_held.json")
    line.drop("free.json")

    with serving(line):
        line.wait("free", "completed")
        status = line.wait("held", "completed")

    assert refused == ["held", "held"]
    assert line.starts() == ["Main", "Main"]
    assert len(status["attempts"]) == 1


def test_a_job_whose_file_goes_at_the_last_moment_is_withdrawn(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.spool.folders import Folders

    claim = Folders.claim

    def snatched(self: Folders, job: Any) -> Path:
        self.source(job).unlink(missing_ok=True)
        return claim(self, job)

    monkeypatch.setattr(Folders, "claim", snatched)
    line.drop("spot.json")

    with serving(line):
        status = line.wait("spot", "cancelled")

    assert "withdrawn" in status["history"][-1]["why"]
    assert line.files("cancelled") == []


def test_a_fault_in_one_job_does_not_stop_the_line(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.prepare import Preparer

    prepare, faults = Preparer.prepare, []

    def broken(self: Preparer, job: Any, **more: Any) -> Any:
        if job.name == "cursed" and not faults:
            faults.append(job.name)
            raise RuntimeError("a bug")
        return prepare(self, job, **more)

    monkeypatch.setattr(Preparer, "prepare", broken)
    line.drop("p90_cursed.json")
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "completed")
        cursed = line.wait("cursed", "completed")

    assert faults == ["cursed"]
    assert "watchrender itself failed on this job: RuntimeError: a bug" in cursed["attempts"][0]["error"]["message"]


def test_a_held_job_waits_until_it_is_released(line: Line) -> None:
    line.drop("spot.json", line.job() | {"watchrender": {"hold": True}})

    with serving(line):
        assert line.wait("spot", "queued")["hold"] is True
        (line.root / "inbox" / "spot.release").touch()
        line.wait("spot", "completed")


def test_not_before_is_kept(line: Line) -> None:
    line.drop("later.json", line.job("Tiny") | {"watchrender": {"not_before": "2099-01-01T00:00:00Z"}})
    line.drop("now.json")

    with serving(line):
        line.wait("now", "completed")
        later = line.wait("later", "queued")

    assert later["not_before"].startswith("2099-01-01")
    assert line.starts() == ["Main"]


def test_footage_that_goes_away_before_the_start_makes_the_job_wait_again(line: Line) -> None:
    line.project("other")
    (line.root / "inbox" / "_PAUSE").touch()
    line.drop("spot.json", line.job(project="other"))

    with serving(line):
        line.wait("spot", "queued")
        (line.projects / "other.aep").unlink()
        (line.root / "inbox" / "_PAUSE").unlink()
        waiting = until(lambda: (s := line.status("spot")).get("waiting_for") and s)
        line.project("other")
        line.wait("spot", "completed")

    assert "other.aep is not there" in waiting["waiting_for"][0]
