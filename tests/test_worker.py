"""From the queue to the done folder: order, tries, faults of the machine, cancelling, delivery."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.line import Line, serving, until
from watchrender import worker

pytestmark = pytest.mark.usefixtures("short_rests")


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


def test_a_job_that_was_taken_out_of_the_inbox_is_not_started_while_nobody_has_seen_it_gone(line: Line) -> None:
    line.change(watch={"settle": "1500ms"})
    line.mark("_PAUSE")
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "queued")
        (line.root / "inbox" / "spot.json").unlink()
        (line.root / "inbox" / "_PAUSE").unlink()
        status = line.wait("spot", "cancelled")

    assert [step["to"] for step in status["history"]] == ["pending", "validating", "queued", "cancelled"]
    assert status["started_at"] is None


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


@pytest.mark.parametrize("composition", ["Hang", "Stubborn"])
def test_a_running_render_is_cancelled_and_nothing_of_it_is_left(line: Line, composition: str) -> None:
    line.drop("job.json", line.job(composition))

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


def test_a_film_whose_share_goes_before_it_is_judged_is_not_lost(line: Line) -> None:
    line.change(limits={"finish_grace": "2s"})
    line.drop("spot.json", line.job("HangAtEnd"))

    with serving(line):
        until(lambda: list((line.root / "active" / "spot").glob(".attempt-*/*.mp4")))
        away = line.root.with_name("away")
        line.root.rename(away)
        service = line.service
        assert service is not None
        until(lambda: service.gate.waiting())
        until(lambda: service.worker.current() is None, 60)  # the attempt is over, and its film out of reach
        away.rename(line.root)
        done = line.wait("spot", "completed", 60)

    assert line.starts() == ["HangAtEnd"]
    assert len(done["attempts"]) == 1
    assert [line["to"] for line in done["history"]].count("rendering") == 1


def test_a_begun_job_waits_for_its_footage_until_the_deadline_and_says_so_once(line: Line) -> None:
    line.change(watch={"assets_deadline": "6s"})
    line.project("other")
    (line.root / "inbox" / "_PAUSE").touch()
    line.drop("spot.json", line.job(project="other"))

    with serving(line):
        line.wait("spot", "queued")
        (line.projects / "other.aep").unlink()
        (line.root / "inbox" / "_PAUSE").unlink()
        until(lambda: line.status("spot").get("waiting_for"))
        line.drop("next.json")
        line.wait("next", "completed")
        waiting = line.status("spot")
        failed = line.wait("spot", "failed", 60)

    assert waiting["state"] == "queued"
    assert (failed["error"]["code"], failed["error"]["kind"]) == ("TEMPLATE_MISSING", "job")
    assert [line["to"] for line in failed["history"]].count("rendering") == 2  # at first, and when its time was up
    assert "other.aep" in (line.root / "failed" / "spot" / "WHY.txt").read_text()
    assert line.starts() == ["Main"]


def test_the_wait_for_footage_goes_on_where_it_was_after_a_restart(line: Line) -> None:
    line.change(watch={"assets_deadline": "1h"})
    line.project("other")
    (line.root / "inbox" / "_PAUSE").touch()
    line.drop("spot.json", line.job(project="other"))
    with serving(line):
        line.wait("spot", "queued")
        (line.projects / "other.aep").unlink()
        (line.root / "inbox" / "_PAUSE").unlink()
        until(lambda: line.status("spot").get("waiting_for"))

    line.change(watch={"assets_deadline": "1ms"})
    with serving(line):
        failed = line.wait("spot", "failed")

    assert failed["error"]["code"] == "TEMPLATE_MISSING"


def test_a_second_signal_gives_the_renderer_no_time(line: Line) -> None:
    line.change(limits={"terminate_grace": "60s"})
    line.drop("job.json", line.job("Stubborn"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        assert line.service is not None
        line.service.request_stop()
        until(lambda: line.overview().get("state") != "running" or line.service.reports.state == "stopping")
        line.service.request_stop()
        began = time.monotonic()

    assert time.monotonic() - began < 10
    assert line.code == 0
    assert line.status("job")["state"] == "queued"


def test_a_second_signal_ends_also_a_render_that_may_finish(line: Line) -> None:
    line.change(shutdown="finish")
    line.drop("job.json", line.job("Hang"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        assert line.service is not None
        line.service.request_stop()
        until(lambda: line.service.reports.state == "stopping")
        line.service.request_stop()

    assert line.code == 0
    assert (line.status("job")["state"], line.status("job")["attempts"]) == ("queued", [])


def test_draining_finishes_what_renders_and_takes_nothing_more(line: Line) -> None:
    line.drop("p90_job.json", line.job("Slow"))
    line.drop("later.json")

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        line.mark("_DRAIN")
        until(lambda: line.code == 0)

    assert (line.status("job")["state"], line.status("later")["state"]) == ("completed", "queued")
    assert line.starts() == ["Slow"]


def test_an_attempt_is_ended_and_put_back_when_its_settings_come_just_after_the_start(line: Line) -> None:
    line.drop("job.json", line.job("Slow"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        line.drop("job.yaml", "hold: true\n")
        status = until(lambda: (s := line.status("job")).get("state") == "queued" and s)

    assert (status["hold"], status["attempts"], status["folder"]) == (True, [], "active/job")
    assert any("came just after the start" in line["why"] for line in status["history"])


def test_a_wait_is_never_longer_than_the_longest_whatever_the_clock_says(line: Line) -> None:
    from watchrender.core.states import Event
    from watchrender.ledger.ledger import Ledger

    line.mark("_PAUSE")
    line.drop("job.json")
    with serving(line):
        line.wait("job", "queued")
    ledger = Ledger(line.home / "state" / "ledger")
    job = ledger.live()[0]
    ledger.apply(job.id, Event.START, "next")
    ledger.apply(job.id, Event.RETRY, "crashed while the clock was wrong", retry_at="2099-01-01T00:00:00.000Z")
    ledger.close()
    (line.root / "inbox" / "_PAUSE").unlink()

    with serving(line):
        line.wait("job", "completed")


def test_limits_of_a_settings_file_that_changes_count_at_once(line: Line) -> None:
    line.mark("_PAUSE")
    line.drop("job.json", line.job("Slow"))
    line.drop("job.yaml", "render_timeout: 1h\n")

    with serving(line):
        line.wait("job", "queued")
        (line.root / "inbox" / "_PAUSE").unlink()
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        line.drop("job.yaml", "render_timeout: 100ms\nmax_retries: 0\n")
        status = until(lambda: (s := line.status("job")).get("state") in ("failed", "completed") and s, 30)

    assert status["error"]["code"] == "RENDER_TIMEOUT"


def test_every_attempt_has_a_name_and_folder_of_its_own_and_leaves_nothing(line: Line) -> None:
    line.drop("job.json", line.job("CrashTwice"))

    with serving(line):
        line.wait("job", "completed")

    uids = [text.split()[1] for text in line.starts_file.read_text().splitlines()]
    assert len(set(uids)) == 3
    assert list((line.home / "state" / "work" / "attempts").iterdir()) == []
    assert line.files("done") == ["job/job.json", "job/job.log", "job/job.mp4", "job/job.status.json"]


def test_a_zip_is_unpacked_where_no_share_sees_it_and_goes_to_done_as_it_came(line: Line) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        made.writestr(
            "job.json", json.dumps({"template": {"src": "spot.aep", "composition": "Main", "outputExt": "mp4"}})
        )
        made.writestr("spot.aep", "a project")
    line.drop("spot.zip", data.getvalue())

    with serving(line):
        line.wait("spot", "completed")

    assert line.files("done") == ["spot/spot.log", "spot/spot.mp4", "spot/spot.status.json", "spot/spot.zip"]
    assert [path for path in (line.home / "state" / "work").rglob("*") if path.name == "spot.aep"] == []


def test_films_of_a_share_grow_in_the_work_folder_and_arrive_all_the_same(line: Line) -> None:
    line.change(nexrender={"render_to": "work_dir", "work_dir": str(line.home / "work")})
    line.drop("job.json", line.job("Slow"))

    with serving(line):
        until(lambda: line.status("job").get("progress", {}).get("percent"))
        assert [path.name for path in (line.root / "active" / "job").iterdir()] == ["job.json"]
        line.wait("job", "completed")

    assert "job/job.mp4" in line.files("done")


def test_a_machine_that_could_not_render_says_so_though_nothing_is_queued(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "IDLE_LOOK_SECONDS", 0.2)
    aerender = Path(line.settings["nexrender"]["aerender"])

    with serving(line):
        aerender.rename(aerender.with_name("away"))
        until(lambda: line.waits_for() == ["AERENDER_NOT_FOUND"])
        aerender.with_name("away").rename(aerender)
        until(lambda: line.overview().get("waiting") == [])
        line.drop("spot.json")
        line.wait("spot", "completed")
