"""What lies in the inbox and what becomes of it: the rules that people rely on, seen from the folder."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.line import Line, serving, until
from watchrender.spool import bundle


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Paused: what is queued stays where it is."""
    made = Line(tmp_path)
    (made.root / "inbox" / "_PAUSE").touch()
    yield made
    made.stop()


def _service(line: Line) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((line.root / "status" / "service.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found


def _ignored(line: Line) -> dict[str, str]:
    return {found["path"]: found["why"] for found in _service(line).get("ignored", [])}


def _order(line: Line) -> list[str]:
    try:
        found = json.loads((line.root / "status" / "queue.json").read_bytes())
    except (OSError, ValueError):
        return []
    return [entry["job"] for entry in found["queue"]]


# -- arriving -----------------------------------------------------------------------------------------------


def test_files_seen_together_are_ordered_as_people_count(line: Line) -> None:
    for name in ("sh10", "sh2", "sh1"):
        line.drop(f"{name}.json")

    with serving(line):
        until(lambda: _order(line) == ["sh1", "sh2", "sh10"])


def test_a_half_copied_file_is_never_taken(line: Line) -> None:
    whole = json.dumps(line.job())
    line.drop("spot.json", whole[:40])

    with serving(line):
        line.wait("spot", "pending")
        line.drop("other.json")
        line.wait("other", "queued")
        assert line.status("spot")["state"] == "pending"
        (line.root / "inbox" / "spot.json").write_text(whole, encoding="utf-8")
        line.wait("spot", "queued")


def test_a_file_that_stays_cut_off_is_refused_with_its_place(line: Line) -> None:
    line.drop("spot.json", json.dumps(line.job())[:40])

    with serving(line):
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "JOB_UNREADABLE"
    assert status["error"]["line"] == 1
    assert "spot.json:1:" in (line.root / "failed/spot/WHY.txt").read_text(encoding="utf-8")


def test_a_file_dropped_while_we_were_down_is_found(line: Line) -> None:
    with serving(line):
        pass
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "queued")


def test_an_empty_file_waits_and_says_so(line: Line) -> None:
    (line.root / "inbox" / "spot.json").touch()

    with serving(line):
        status = until(lambda: (s := line.status("spot")).get("waiting_for") and s)

    assert status["state"] == "pending"
    assert "empty" in status["waiting_for"][0]


def test_a_job_waits_for_its_footage_and_names_it(line: Line) -> None:
    line.change(watch={"assets_deadline": "20s"})
    asset = line.projects / "logo.png"
    assets = [{"type": "image", "src": str(asset), "layerName": "logo"}]
    line.drop("spot.json", line.job(assets=assets))

    with serving(line):
        waiting = until(lambda: (s := line.status("spot")).get("waiting_for") and s)
        asset.write_bytes(b"png")
        line.wait("spot", "queued")

    assert waiting["state"] == "validating"
    assert "logo.png is not there" in waiting["waiting_for"][0]


def test_footage_that_never_comes_fails_the_job_at_its_deadline(line: Line) -> None:
    line.drop("spot.json", line.job(project="nowhere"))

    with serving(line):
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "TEMPLATE_MISSING"
    assert "nowhere.aep" in status["error"]["message"]


# -- names and keys -----------------------------------------------------------------------------------------


def test_names_that_differ_by_case_only_are_two_jobs(line: Line) -> None:
    line.drop("Spot.json")
    line.drop("spot.json")

    with serving(line):
        until(lambda: len(_order(line)) == 2)

    assert sorted(name.lower() for name in _order(line)) == ["spot", "spot~2"]


def test_a_name_that_done_has_already_gets_a_number(line: Line) -> None:
    (line.root / "done" / "spot").mkdir(parents=True)
    line.drop("spot.json")

    with serving(line):
        line.wait("spot~2", "queued")


def test_renaming_changes_the_priority_and_keeps_the_job(line: Line) -> None:
    line.drop("spot.json")

    with serving(line):
        before = line.wait("spot", "queued")
        (line.root / "inbox" / "spot.json").rename(line.root / "inbox" / "p90_spot.json")
        after = until(lambda: (s := line.status("spot")).get("priority") == 90 and s)

    assert after["id"] == before["id"]
    assert after["files"]["job"] == "p90_spot.json"
    assert after["record"]["arrival"] == before["record"]["arrival"]
    assert after["priority_from"] == "filename"


def test_saving_again_judges_anew_and_keeps_the_place(line: Line) -> None:
    line.drop("a.json")
    line.drop("b.json")

    with serving(line):
        before = line.wait("a", "queued")
        line.wait("b", "queued")
        line.drop("a.json", line.job("Tiny"))
        after = until(lambda: (s := line.status("a")).get("composition") == "Tiny" and s["state"] == "queued" and s)
        until(lambda: _order(line) == ["a", "b"])

    assert after["id"] == before["id"]
    assert "its file was saved again" in [entry["why"] for entry in after["history"]]


def test_deleting_the_file_withdraws_the_job(line: Line) -> None:
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "queued")
        (line.root / "inbox" / "spot.json").unlink()
        status = line.wait("spot", "cancelled")

    assert "withdrawn" in status["history"][-1]["why"]
    assert line.files("cancelled") == []


def test_a_queued_job_that_is_saved_broken_is_refused(line: Line) -> None:
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "queued")
        line.drop("spot.json", '{"template": oops}')
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "JOB_UNREADABLE"


# -- priority -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more", "sidecar", "priority", "origin"),
    [
        ("spot.json", {}, None, 50, "default"),
        ("clientA/spot.json", {}, None, 70, "folder"),
        ("clientA/spot.json", {"priority": 30}, None, 30, "nexrender"),
        ("clientA/spot.json", {"priority": 0}, None, 70, "folder"),
        ("spot@urgent.json", {"priority": 30}, None, 90, "filename"),
        ("p80_spot.json", {"watchrender": {"priority": 10}}, None, 10, "job"),
        ("p80_spot.json", {"watchrender": {"priority": 10}}, "priority: 99\n", 99, "sidecar"),
    ],
)
def test_the_strongest_source_of_a_priority_counts(
    line: Line, name: str, more: dict[str, Any], sidecar: str | None, priority: int, origin: str
) -> None:
    line.change(queue={"folder_priorities": {"clientA": 70}})
    sub = str(Path(name).parent) if "/" in name else ""
    if sub:
        (line.root / "inbox" / sub).mkdir()

    with serving(line):
        if sidecar is not None:
            line.drop("spot.yaml", sidecar, sub)
        line.drop(Path(name).name, line.job() | more, sub)
        status = line.wait(f"{sub}/spot" if sub else "spot", "queued")

    assert (status["priority"], status["priority_from"]) == (priority, origin)


def test_what_a_person_asked_last_beats_all_else(line: Line) -> None:
    line.drop("spot.json", line.job() | {"watchrender": {"priority": 10}})

    with serving(line):
        line.wait("spot", "queued")
        (line.root / "inbox" / "spot.p95.txt").touch()
        status = until(lambda: (s := line.status("spot")).get("priority") == 95 and s)
        until(lambda: not (line.root / "inbox" / "spot.p95.txt").exists())

    assert status["priority_from"] == "request"


# -- sidecars -----------------------------------------------------------------------------------------------


def test_a_sidecar_that_comes_changes_and_goes_is_followed(line: Line) -> None:
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "queued")
        line.drop("spot.yaml", "priority: 77\n")
        until(lambda: line.status("spot").get("priority") == 77)
        line.drop("spot.yaml", "priority: 66\ntags: [a]\n")
        until(lambda: line.status("spot").get("priority") == 66)
        (line.root / "inbox" / "spot.yaml").unlink()
        status = until(lambda: (s := line.status("spot")).get("priority") == 50 and s)

    assert status["tags"] == []
    assert status["files"]["sidecar"] is None


def test_a_broken_sidecar_fails_its_job_with_what_to_write(line: Line) -> None:
    line.drop("spot.json")
    line.drop("spot.yaml", "priorty: 80\n")

    with serving(line):
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "SIDECAR_INVALID"
    assert "did you mean priority" in status["error"]["message"]
    assert "spot/spot.yaml" in line.files("failed")


def test_two_sidecars_for_one_job_are_told_by_name(line: Line) -> None:
    line.drop("p80_spot.json")
    line.drop("spot.yaml", "tags: [a]\n")
    line.drop("spot.yml", "tags: [b]\n")

    with serving(line):
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "SIDECAR_INVALID"
    assert "spot.yaml" in status["error"]["message"]
    assert "spot.yml" in status["error"]["message"]


def test_settings_without_a_job_are_left_alone_and_named(line: Line) -> None:
    line.drop("nobody.yaml", "priority: 80\n")

    with serving(line):
        until(lambda: "settings without a job" in _ignored(line).get("nobody.yaml", ""))

    assert (line.root / "inbox" / "nobody.yaml").is_file()


def test_a_sidecar_just_after_the_start_puts_the_job_back(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").unlink()
    line.drop("spot.json", line.job("Slow"))

    with serving(line):
        until(lambda: line.status("spot").get("progress", {}).get("percent"))
        line.drop("spot.yaml", "hold: true\n")
        status = until(lambda: (s := line.status("spot")).get("state") == "queued" and s)

    assert status["hold"] is True
    assert status["attempts"] == []
    assert line.files("active") == ["spot/spot.json", "spot/spot.yaml"]


# -- YAML, bundles, zips ------------------------------------------------------------------------------------


def test_the_short_yaml_form_is_a_job(line: Line) -> None:
    text = f"template: {line.projects}/spot.aep\ncomposition: Main\nframes: 0-9\next: mp4\n"
    line.drop("spot.yaml", text)

    with serving(line):
        status = line.wait("spot", "queued")

    assert status["composition"] == "Main"
    assert status["files"]["job"] == "spot.yaml"


def test_a_bundle_is_one_job_and_its_relative_paths_stay_right(line: Line) -> None:
    stage = line.home / "stage"
    stage.mkdir()
    line.project("spot", stage)
    (stage / "job.json").write_text(json.dumps(line.job(template={"src": "spot.aep"})), encoding="utf-8")
    (stage / "other.json").write_text(json.dumps(line.job()), encoding="utf-8")
    stage.rename(line.root / "inbox" / "p80_bundle")
    (line.root / "inbox" / "_PAUSE").unlink()

    with serving(line):
        status = line.wait("bundle", "completed")

    assert status["priority"] == 80
    assert status["files"]["job"] == "bundle"
    assert {"bundle/bundle.mp4", "bundle/bundle/job.json", "bundle/bundle/spot.aep"} <= set(line.files("done"))
    assert not any(entry["job"].endswith("other") for entry in [line.status("bundle")])


def test_a_zip_is_one_job(line: Line) -> None:
    path = line.home / "film.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("film/job.json", json.dumps(line.job(template={"src": "film.aep"})))
        archive.writestr("film/film.aep", "a project")
    path.rename(line.root / "inbox" / "film.zip")
    (line.root / "inbox" / "_PAUSE").unlink()

    with serving(line):
        line.wait("film", "completed")

    assert {"film/film.mp4", "film/film.zip"} <= set(line.files("done"))


def test_a_zip_that_takes_long_to_unpack_can_be_cancelled(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_MIB", 1)  # it is unpacked byte by byte
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("job.json", json.dumps(line.job()))
        archive.writestr("footage.mov", bytes(90 * 2**20))
    line.drop("spot.zip", packed.getvalue())
    (line.root / "inbox/_PAUSE").unlink()
    with serving(line):
        line.wait("spot", "rendering")
        line.mark("spot.cancel")
        line.wait("spot", "cancelled")
        line.drop("next.json")
        line.wait("next", "completed")

    assert not list((line.home / "state").rglob("footage.mov"))


def test_a_zip_that_would_leave_its_folder_is_refused(line: Line) -> None:
    path = line.home / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("job.json", json.dumps(line.job(template={"src": "spot.aep"})))
        archive.writestr("../../evil.txt", "evil")
    path.rename(line.root / "inbox" / "evil.zip")

    with serving(line):
        status = line.wait("evil", "failed")

    assert status["error"]["code"] == "JOB_INVALID"
    assert "evil.txt" in status["error"]["message"]


def test_a_folder_without_a_job_file_is_a_sub_folder_for_good(line: Line) -> None:
    (line.root / "inbox" / "clientA").mkdir()
    line.drop("spot.json", sub="clientA")

    with serving(line):
        line.wait("clientA/spot", "queued")
        line.drop("job.json", sub="clientA")
        line.wait("clientA/job", "queued")


# -- what is left alone -------------------------------------------------------------------------------------


def test_other_files_are_left_alone_and_named_once(line: Line) -> None:
    line.drop("notes.txt", "hello")
    line.drop("Thumbs.db", "x")
    os.mkfifo(line.root / "inbox" / "pipe.json")
    (line.root / "inbox" / "link.json").symlink_to(line.projects / "spot.aep")

    with serving(line):
        until(lambda: {"notes.txt", "pipe.json", "link.json"} <= set(_ignored(line)))

    assert "Thumbs.db" not in _ignored(line)
    assert line.files("failed") == []


def test_of_very_many_other_files_a_thousand_are_named_and_all_are_counted(line: Line) -> None:
    for number in range(1100):
        (line.root / "inbox" / f"frame{number:04}.png").touch()

    with serving(line):
        until(lambda: line.overview().get("ignored_total") == 1100)
        assert len(line.overview()["ignored"]) == 1000


def test_a_lone_project_gets_a_letter_with_what_to_write(line: Line) -> None:
    line.project("lonely", line.root / "inbox")
    letter = line.root / "inbox" / "lonely.aep.WHY.txt"

    with serving(line):
        until(letter.is_file)

    assert "template: lonely.aep" in letter.read_text(encoding="utf-8")


def test_a_project_that_a_job_names_gets_no_letter(line: Line) -> None:
    line.project("spot", line.root / "inbox")
    line.drop("spot.json", line.job(template={"src": "spot.aep"}))

    with serving(line):
        line.wait("spot", "queued")
        line.drop("later.json")
        line.wait("later", "queued")

    assert not (line.root / "inbox" / "spot.aep.WHY.txt").exists()


# -- control files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spot.cancel", "SPOT.CANCEL", "spot.cancel.txt", "p80_spot.json.cancel"])
def test_a_waiting_job_is_cancelled_by_a_file(line: Line, name: str) -> None:
    line.drop("p80_spot.json")

    with serving(line):
        line.wait("spot", "queued")
        line.drop(name, "anything")
        status = line.wait("spot", "cancelled")
        until(lambda: (line.root / "cancelled/spot/p80_spot.json").is_file())
        until(lambda: not (line.root / "inbox" / name).exists())

    assert name.split("/")[-1] in status["history"][-1]["why"]
    assert "Nothing is wrong with it" in (line.root / "cancelled/spot/WHY.txt").read_text(encoding="utf-8")


def test_a_folder_of_that_name_counts_too(line: Line) -> None:
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "queued")
        (line.root / "inbox" / "spot.cancel").mkdir()
        line.wait("spot", "cancelled")


def test_an_order_that_names_no_job_is_answered_by_a_letter(line: Line) -> None:
    line.drop("nobody.cancel", "")

    with serving(line):
        until((line.root / "inbox" / "nobody.cancel.WHY.txt").is_file)

    assert not (line.root / "inbox" / "nobody.cancel").exists()


def test_a_hold_mark_holds_while_it_lies_there(line: Line) -> None:
    line.drop("spot.json")
    line.drop("spot.hold", "")

    with serving(line):
        until(lambda: line.status("spot").get("hold") is True)
        (line.root / "inbox" / "spot.hold").unlink()
        until(lambda: line.status("spot").get("hold") is False)


def test_a_pause_mark_pauses_while_it_lies_there(line: Line) -> None:
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "queued")
        assert until(lambda: _service(line).get("paused"))
        (line.root / "inbox" / "_PAUSE").unlink()
        line.wait("spot", "completed")


def test_cancel_all_cancels_what_has_not_begun(line: Line) -> None:
    for name in ("a", "b"):
        line.drop(f"{name}.json")

    with serving(line):
        line.wait("b", "queued")
        line.drop("_CANCEL_ALL", "")
        line.wait("a", "cancelled")
        line.wait("b", "cancelled")


def test_drain_ends_the_service_after_the_running_render(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").unlink()
    line.drop("p90_spot.json", line.job("Slow"))
    line.drop("other.json")
    line.start()
    until(lambda: line.status("spot").get("progress", {}).get("percent"))

    line.drop("_DRAIN", "")
    until(lambda: line.code == 0)

    assert line.status("spot")["state"] == "completed"
    assert line.status("other")["state"] == "queued"


def test_stop_puts_the_running_job_back_and_leaves_the_queue_paused(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").unlink()
    line.drop("spot.json", line.job("Slow"))
    line.start()
    until(lambda: line.status("spot").get("progress", {}).get("percent"))

    line.drop("_STOP", "")
    until(lambda: line.code == 0)

    assert line.status("spot")["state"] == "queued"
    assert (line.root / "inbox" / "_PAUSE").exists()
    assert not (line.root / "inbox" / "_STOP").exists()


# -- again --------------------------------------------------------------------------------------------------


def test_a_folder_dragged_back_is_tried_again(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").unlink()
    line.drop("spot.json", line.job("NoComp"))

    with serving(line):
        failed = line.wait("spot", "failed")
        shutil.move(line.root / "failed" / "spot", line.root / "inbox" / "spot")
        status = until(lambda: (s := line.status("spot")).get("retry_of") and s["state"] == "failed" and s)

    assert status["retry_of"] == failed["id"]
    assert "spot/before/WHY.txt" in line.files("failed")


def test_a_lone_file_dragged_back_is_a_retry(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").unlink()
    line.drop("spot.json", line.job("NoComp"))

    with serving(line):
        failed = line.wait("spot", "failed")
        shutil.move(line.root / "failed" / "spot" / "spot.json", line.root / "inbox" / "spot.json")
        status = until(lambda: (s := line.status("spot")).get("retry_of") and s["state"] == "failed" and s)

    assert status["retry_of"] == failed["id"]


def test_a_newer_drop_of_the_same_name_supersedes_the_older_where_configured(line: Line) -> None:
    line.change(queue={"supersede": "same-job"})
    line.drop("spot.json")

    with serving(line):
        old = line.wait("spot", "queued")
        line.drop("p60_spot.json", line.job("Tiny"))
        new = line.wait("spot~2", "queued")
        status = line.wait("spot", "cancelled")

    assert status["id"] == old["id"]
    assert status["superseded_by"] == new["id"]


def test_a_stranger_who_brings_his_own_module_is_refused(line: Line) -> None:
    line.drop("evil.json", line.job(actions={"postrender": [{"module": "/tmp/evil.js"}]}))

    with serving(line):
        status = line.wait("evil", "failed")

    assert status["error"]["code"] == "POLICY_DENIED"
    assert "actions.postrender[0]" in status["error"]["message"]
