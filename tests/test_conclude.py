"""An attempt without a film: whose fault was it, and what happens next?"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from tests.line import Line, serving, until
from watchrender import disk
from watchrender.core import retry

pytestmark = pytest.mark.usefixtures("short_rests")


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


def test_a_full_disk_is_not_the_jobs_fault(line: Line) -> None:
    line.drop("job.json", line.job("Full"))

    with serving(line):
        service = until(lambda: (s := line.overview()).get("waiting") and s)
        line.wait("job", "queued")

    assert service["waiting"][0]["code"] == "DISK_FULL"
    assert line.status("job")["attempts"] == []


def test_the_queue_waits_for_aerender_and_goes_on_by_itself(line: Line) -> None:
    aerender = Path(line.settings["nexrender"]["aerender"])
    gone = aerender.with_name("gone")
    aerender.rename(gone)
    line.drop("job.json")

    with serving(line):
        until(lambda: line.waits_for() == ["AERENDER_NOT_FOUND"])
        assert line.wait("job", "queued")["attempts"] == []

        gone.rename(aerender)
        line.wait("job", "completed")

    assert line.waits_for() == []


def test_five_different_jobs_with_the_same_words_stop_the_queue_and_keep_their_tries(line: Line) -> None:
    line.change(retry={"first_wait": "5s", "max_wait": "5s"})
    for number in range(6):
        line.drop(f"j{number}.json", line.job("Crash"))

    with serving(line):
        until(lambda: "RENDERS_KEEP_FAILING" in line.waits_for())
        jobs = until(lambda: _all_queued(line, 6))

    assert sum(len(job["attempts"]) for job in jobs) <= 1


def test_five_films_broken_in_one_way_stop_the_queue_too_although_each_names_its_own_file(line: Line) -> None:
    line.change(retry={"first_wait": "5s", "max_wait": "5s"})
    for number in range(6):
        line.drop(f"j{number}.json", line.job("Tiny"))

    with serving(line):
        until(lambda: "RENDERS_KEEP_FAILING" in line.waits_for())
        waiting = line.overview()["waiting"][0]

    assert "j0" not in waiting["message"] and "j4" not in waiting["message"], waiting


def _all_queued(line: Line, count: int) -> list[dict[str, Any]] | None:
    jobs = [line.status(f"j{number}") for number in range(count)]
    return jobs if all(job.get("state") == "queued" for job in jobs) else None


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


def is_waiting(line: Line, code: str) -> bool:
    """Does the queue wait for this? Asked of the gate: a cause that goes within a second may be in no file."""
    return line.service is not None and code in [found.code for found in line.service.gate.waiting()]


# -- the machine ------------------------------------------------------------------------------------------------------


def test_a_licence_that_is_missing_is_tried_with_one_job_now_and_then_and_a_success_opens_the_queue(
    line: Line,
) -> None:
    line.sick_file.write_text("License")
    for number in range(3):
        line.drop(f"j{number}.json")

    with serving(line):
        until(lambda: line.waits_for() == ["LICENSE"])
        tried = len(line.starts())
        until(lambda: len(line.starts()) > tried)  # somebody tries it again, by itself
        line.sick_file.unlink()
        for number in range(3):
            assert len(line.wait(f"j{number}", "completed")["attempts"]) == 1

        until(lambda: line.waits_for() == [])


def test_a_gate_that_only_a_render_can_open_lets_one_job_through_for_each_wait(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "probe_wait", lambda _tries, **_: 0.6)
    line.sick_file.write_text("License")
    for number in range(8):
        line.drop(f"j{number}.json")

    with serving(line):
        until(lambda: len(line.starts()) >= 2)
        began, count = _now(), len(line.starts())
        line.sick_file.write_text("Crash")  # other words: still no success, so the next one waits all the same
        until(lambda: len(line.starts()) >= count + 3)

    assert _now() - began > 1.1


def _now() -> float:
    import time

    return time.monotonic()


def test_once_the_machine_is_well_all_jobs_are_rendered_and_no_try_was_used(line: Line) -> None:
    line.change(retry={"first_wait": "5s", "max_wait": "5s"})
    line.sick_file.write_text("Crash")
    for number in range(6):
        line.drop(f"j{number}.json")

    with serving(line):
        until(lambda: "RENDERS_KEEP_FAILING" in line.waits_for())
        line.sick_file.unlink()
        ended = [line.wait(f"j{number}", "completed", 30) for number in range(6)]

    assert [len(status["attempts"]) for status in ended] == [1] * 6
    waited = line.overview()
    assert waited["waiting"] == []


def test_what_one_job_asks_for_and_this_machine_has_not_delays_nobody_else(line: Line) -> None:
    here = Path(line.settings["nexrender"]["aerender"])
    line.change(nexrender={"aerender": {"2024": str(here), "2023": str(here.with_name("not-there"))}})
    line.drop("p90_old.json", line.job("Tiny") | {"watchrender": {"aerender": "2023"}})
    line.drop("new.json", line.job() | {"watchrender": {"aerender": "2024"}})

    with serving(line):
        waiting = until(lambda: (s := line.status("old")).get("waiting_for") and s)
        line.wait("new", "completed")

        assert line.waits_for() == []
    assert waiting["state"] == "queued"
    assert "2023" in waiting["waiting_for"][0]
    assert line.starts() == ["Main"]


def test_a_disk_that_refuses_the_record_of_a_start_is_waited_for(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = line.home / "faults"
    monkeypatch.setattr(disk, "_hooks", disk._Hooks({"WATCHRENDER_FAULTS": str(faults)}))
    line.mark("_PAUSE")
    line.drop("job.json")

    with serving(line):
        line.wait("job", "queued")
        faults.write_text("ENOSPC *.journal\n")
        (line.root / "inbox" / "_PAUSE").unlink()
        until(lambda: is_waiting(line, "DISK_FULL"))
        assert line.starts() == []
        faults.unlink()
        status = line.wait("job", "completed")

    assert len(status["attempts"]) == 1


def test_a_film_whose_end_the_disk_refuses_to_record_is_delivered_once(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = line.home / "faults"
    monkeypatch.setattr(disk, "_hooks", disk._Hooks({"WATCHRENDER_FAULTS": str(faults)}))
    line.drop("job.json", line.job("Slow"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        faults.write_text("ENOSPC *.journal\n")
        until(lambda: is_waiting(line, "DISK_FULL"))
        until(lambda: "job/job.mp4" in line.files("done"))
        faults.unlink()
        status = line.wait("job", "completed")

    assert len(status["attempts"]) == 1
    assert line.starts() == ["Slow"]
    assert line.files("active") == []


def test_a_cancel_that_the_disk_refuses_to_record_is_obeyed_when_there_is_room(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = line.home / "faults"
    monkeypatch.setattr(disk, "_hooks", disk._Hooks({"WATCHRENDER_FAULTS": str(faults)}))
    line.drop("job.json", line.job("Hang"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        faults.write_text("ENOSPC *.journal\n")
        line.mark("job.cancel")
        until(lambda: is_waiting(line, "DISK_FULL"))
        faults.unlink()
        line.wait("job", "cancelled")

    assert line.files("active") == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "DISK_FULL"),
        (errno.EDQUOT, "DISK_FULL"),
        (errno.EIO, "SHARE_OFFLINE"),
        (errno.EROFS, "SHARE_OFFLINE"),
        (errno.EHOSTDOWN, "SHARE_OFFLINE"),
        (errno.ENAMETOOLONG, "RENDER_FAILED"),
        (errno.ENOENT, "RENDER_FAILED"),
    ],
)
def test_an_error_of_a_disk_is_blamed_on_the_machine_unless_it_can_only_be_about_one_job(
    line: Line, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    from watchrender.prepare import Preparer

    prepare, refused = Preparer.prepare, []

    def broken(self: Preparer, job: Any, **more: Any) -> Any:
        if not refused:
            refused.append(job.name)
            raise OSError(number, "the disk says no", str(line.root / "active" / "x"))
        return prepare(self, job, **more)

    monkeypatch.setattr(Preparer, "prepare", broken)
    line.drop("job.json")

    with serving(line):
        status = line.wait("job", "completed")
        assert line.service is not None
        blamed = line.service.worker._concluder.blame(OSError(number, "the disk says no"), "a test")

    assert blamed.code == code
    counted = [entry["error"]["code"] for entry in status["attempts"] if entry["error"]]
    assert counted == (["RENDER_FAILED"] if code == "RENDER_FAILED" else [])
    if code != "RENDER_FAILED":
        assert any("the disk says no" in why for why in line.whys("job"))


def test_a_fault_while_a_film_is_judged_counts_as_a_try(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.finish import Finisher

    judge, faults = Finisher.judge, []

    def broken(self: Finisher, job: Any, delivery: Any) -> Any:
        if not faults:
            faults.append(job.name)
            raise RuntimeError("a bug")
        return judge(self, job, delivery)

    monkeypatch.setattr(Finisher, "judge", broken)
    line.drop("job.json")

    with serving(line):
        status = line.wait("job", "completed")

    assert "RuntimeError: a bug" in status["attempts"][0]["error"]["message"]
    assert list((line.root / "active").iterdir()) == []


# -- cancelling ------------------------------------------------------------------------------------------------------


def test_a_cancel_that_comes_while_the_film_is_judged_is_heard(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.finish import Finisher

    judge = Finisher.judge

    def slow(self: Finisher, job: Any, delivery: Any) -> Any:
        line.mark("job.cancel")
        until(lambda: line.status("job").get("cancel_requested"))
        return judge(self, job, delivery)

    monkeypatch.setattr(Finisher, "judge", slow)
    line.drop("job.json")

    with serving(line):
        status = line.wait("job", "cancelled")

    assert "control file job.cancel" in status["history"][-1]["why"]
    assert line.files("done") == []
    assert not [name for name in line.files("cancelled") if name.endswith(".mp4")]


@pytest.mark.parametrize("composition", ["Crash", "NoComp", "Full"])
def test_a_cancel_counts_more_than_the_failure_that_comes_with_it(
    line: Line, monkeypatch: pytest.MonkeyPatch, composition: str
) -> None:
    from watchrender.finish import Finisher

    judge = Finisher.judge

    def slow(self: Finisher, job: Any, delivery: Any) -> Any:
        line.mark("job.cancel")
        until(lambda: line.status("job").get("cancel_requested"))
        return judge(self, job, delivery)

    monkeypatch.setattr(Finisher, "judge", slow)
    line.drop("job.json", line.job(composition))

    with serving(line):
        line.wait("job", "cancelled")

    assert line.starts() == [composition]
    assert line.waits_for() == []


def test_a_cancel_while_the_file_is_held_open_is_heard(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.spool.folders import Busy, Folders

    def held_open(self: Folders, job: Any) -> Path:
        line.mark("job.cancel")
        until(lambda: line.status("job").get("cancel_requested"))
        raise Busy(self.source(job), OSError(16, "resource busy"))

    monkeypatch.setattr(Folders, "claim", held_open)
    line.drop("job.json")

    with serving(line):
        line.wait("job", "cancelled")
        until(lambda: line.files("inbox") == [])

    assert "job/job.json" in line.files("cancelled")


def test_a_cancel_that_a_crash_came_before_is_done_at_the_next_start(line: Line) -> None:
    from watchrender.core.states import Event
    from watchrender.ledger.ledger import Ledger

    line.mark("_PAUSE")
    line.drop("job.json")
    with serving(line):
        line.wait("job", "queued")
    ledger = Ledger(line.home / "state" / "ledger")
    job = ledger.live()[0]
    ledger.apply(job.id, Event.START, "next")
    ledger.note(job.id, "cancelled by the page: the render is being ended", cancel_requested=True)
    ledger.close()

    with serving(line):
        status = line.wait("job", "cancelled")
        until(lambda: "job/job.json" in line.files("cancelled"))

    assert status["history"][-1]["why"] == "cancelled by the page"


def test_a_download_that_takes_long_is_ended_by_a_cancel(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.core.failure import Code, fail
    from watchrender.render.footage import Footage

    def endless(self: Footage, *_: object, stop: Any, **__: object) -> Any:
        until(stop)
        return fail(Code.DOWNLOAD_FAILED, "it was stopped")

    monkeypatch.setattr(Footage, "bring", endless)
    line.drop("job.json")

    with serving(line):
        line.wait("job", "rendering")
        line.mark("job.cancel")
        status = line.wait("job", "cancelled")

    assert status["attempts"] == []
    assert list((line.home / "state" / "work" / "attempts").iterdir()) == []


def test_a_download_that_takes_long_does_not_keep_the_service_from_stopping(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    from watchrender.core.failure import Code, fail
    from watchrender.render.footage import Footage

    def endless(self: Footage, *_: object, stop: Any, **__: object) -> Any:
        until(stop)
        return fail(Code.DOWNLOAD_FAILED, "it was stopped")

    monkeypatch.setattr(Footage, "bring", endless)
    line.drop("job.json")

    with serving(line):
        line.wait("job", "rendering")

    assert line.status("job")["state"] == "queued"
    assert line.status("job")["attempts"] == []


# -- what failed attempts leave ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 2])
def test_the_newest_work_folders_of_failed_attempts_are_kept_for_study(line: Line, keep: int) -> None:
    line.change(nexrender={"keep_failed_work": str(keep)})
    line.drop("job.json", line.job("Crash") | {"watchrender": {"max_retries": 3}})

    with serving(line):
        line.wait("job", "failed")

    failed = line.home / "state" / "work" / "failed"
    assert len(list(failed.iterdir()) if failed.exists() else []) == keep
    assert list((line.home / "state" / "work" / "attempts").iterdir()) == []
