"""The judge at the front door: the attack corpus through a real service, and the same words from `check`."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.process import Lived, living
from tests.test_policy import ATTACKS, EXPECTED
from tests.turns import Hand
from watchrender import disk
from watchrender.cli.explain import explain
from watchrender.config import load
from watchrender.core.access import NO_SETTING
from watchrender.core.failure import Code
from watchrender.core.states import State
from watchrender.judge import Judged, json_path

#: What the reader of job files refuses before the policy is asked, at another place.
SEEN_BY_THE_READER = {
    "copy-with-more-fields": "actions.postrender[0].__proto__",
    "harmless-prototype": "__proto__",
    "harmless-unknown-phase": "actions.postinstall",
}


def test_every_attack_is_refused_by_a_real_service_with_path_setting_and_the_words_of_check(tmp_path: Path) -> None:
    lived = Lived(tmp_path)
    lived.change(watch={"assets_deadline": "10m"})  # what waits for its footage is still seen waiting at the end
    inbox = lived.root / "inbox"
    (inbox / "_PAUSE").touch()
    lived.project("spot", inbox)
    config = load(lived.config_file.read_text(encoding="utf-8"), "watchrender.yaml", {})
    names = sorted(path.stem for path in ATTACKS.glob("*.json"))
    checked = {}
    for name in names:
        shutil.copy(ATTACKS / f"{name}.json", inbox)
        checked[name] = explain(config, inbox / f"{name}.json")

    with living(lived):
        until(lambda: all(lived.status(name).get("state") in ("failed", "queued", "validating") for name in names), 60)
        found = {name: lived.status(name) for name in names}

    wrong = [name for name in EXPECTED if found[name]["state"] != "failed"]
    assert not wrong, "these were let in"
    for name, (code, path, setting) in EXPECTED.items():
        error = found[name]["error"]
        path = SEEN_BY_THE_READER.get(name, path)
        assert error["path"] == path, name
        assert error["code"] in (str(code), str(Code.JOB_INVALID)), name
        if error["code"] == Code.POLICY_DENIED:
            assert setting == NO_SETTING or setting in error["message"] + error["cure"], name
        assert checked[name]["error"] == error, name
        letter = (lived.root / "failed" / name / "WHY.txt").read_text(encoding="utf-8")
        assert path in letter, name
    for name in set(names) - set(EXPECTED):
        # What only looks like an attack is taken without it, or waits for its footage.
        is_in = found[name]["state"] in ("queued", "validating")
        assert is_in or found[name]["error"]["path"] == SEEN_BY_THE_READER.get(name), (name, found[name]["error"])
        assert checked[name]["accepted"] == is_in, name
    assert lived.starts() == []


def test_a_refusal_names_line_and_column(hand: Hand) -> None:
    hand.drop("spot.json", json.dumps(hand.document(actions={"postrender": [{"module": "./evil.js"}]}), indent=1))
    hand.turn()

    error = hand.job("spot").error
    assert (error["path"], error["line"]) == ("actions.postrender[0].module", 9)


def test_all_that_is_wrong_is_said_at_once(hand: Hand) -> None:
    bad = [{"module": f"./evil{number}.js"} for number in range(12)]
    hand.drop("spot.json", hand.document(actions={"postrender": bad}))
    hand.turn()

    message = hand.job("spot").error["message"]
    assert "evil0.js" in message and "evil7.js" in message
    assert "and 4 more" in message


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"aerender": "1999"}, "SIDECAR_INVALID", "there is no After Effects"),
        ({"notify": ["nobody"]}, "SIDECAR_INVALID", "no notification target"),
        ({"notify": ["https://10.0.0.1/x"]}, "POLICY_DENIED", "Name a configured target"),
        ({"output": "/etc/passwd"}, "POLICY_DENIED", "output"),
        ({"output": "../../x"}, "POLICY_DENIED", "output"),
        ({"priority": 101}, "SIDECAR_INVALID", "0 to 100"),
        ({"not_before": "tomorrow"}, "SIDECAR_INVALID", "18:30"),
    ],
)
def test_settings_that_ask_too_much_are_refused(hand: Hand, settings: dict[str, Any], code: str, words: str) -> None:
    hand.drop("spot.json")
    hand.sidecar("spot.yaml", **settings)
    hand.pass_time(4)

    error = hand.job("spot").error
    assert (error["code"], words in f"{error['message']} {error['cure']}") == (code, True), error


def test_the_strongest_source_of_a_priority_counts(tmp_path: Path) -> None:
    """request > sidecar > job > filename > nexrender > folder > default, taken away one by one."""
    hand = Hand(tmp_path, queue={"default_priority": 40, "folder_priorities": {"clientA": 45}})
    own = hand.document(priority=61, watchrender={"priority": 63})
    hand.drop("ClientA/keep.json")
    hand.pass_time(5)
    path = hand.drop("ClientA/p62_spot.json", own)
    beside = hand.sidecar("ClientA/spot.yaml", priority=64)
    hand.drop("ClientA/spot.p65", b"")
    hand.pass_time(4)
    seen = [_priority(hand)]
    hand.ledger.note(hand.job("ClientA/spot").id, asked_priority=None)
    beside.unlink()
    hand.pass_time(4)
    seen.append(_priority(hand))
    hand.drop("ClientA/p62_spot.json", hand.document(priority=61))
    hand.pass_time(3)
    seen.append(_priority(hand))
    path.rename(hand.inbox / "ClientA" / "spot.json")
    hand.pass_time(4)
    seen.append(_priority(hand))
    hand.drop("ClientA/spot.json", hand.document(priority=0))
    hand.pass_time(3)
    seen.append(_priority(hand))
    hand.drop("other.json", hand.document(priority=4711))
    hand.pass_time(1)
    other = hand.job("other")
    hand.close()

    assert seen == [(65, "request"), (63, "job"), (62, "filename"), (61, "nexrender"), (45, "folder")]
    assert (other.priority, other.priority_from) == (40, "default")


def _priority(hand: Hand) -> tuple[int, str]:
    job = hand.job("ClientA/spot")
    return job.priority, job.priority_from


def test_a_clock_time_means_the_next_one_after_it_was_first_read(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.sidecar("spot.yaml", not_before="23:59")
    hand.pass_time(4)
    before = hand.job("spot").scheduled_at
    hand.seconds += 86400
    hand.sidecar("spot.yaml", not_before="23:59", tags=["x"])
    hand.pass_time(6)

    assert hand.job("spot").tags == ("x",)
    assert hand.job("spot").scheduled_at == before


def test_a_zip_whose_footage_is_missing_in_it_is_refused_at_once(hand: Hand) -> None:
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("job.json", json.dumps({"template": {"src": "spot.aep", "composition": "Main"}}))
    hand.drop("show.zip", out.getvalue())
    hand.pass_time(4)

    assert hand.job("show").error["code"] == "TEMPLATE_MISSING"
    assert "spot.aep is not in show.zip" in hand.job("show").error["message"]


@pytest.mark.parametrize(
    ("free", "state", "code"),
    [
        (3 * 2**30, State.QUEUED, None),
        (2 * 2**30 + 1000, State.FAILED, "JOB_TOO_LARGE"),
        (2**30, State.QUEUED, None),  # the disk is full for everybody: the gate says so, and this job is not to blame
    ],
)
def test_a_zip_that_does_not_fit_on_the_disk_waits_alone_and_fails_with_its_reason(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, free: int, state: State, code: str | None
) -> None:
    monkeypatch.setattr("watchrender.judge.free_bytes", lambda _place: free)
    with zipfile.ZipFile(hand.inbox / "show.zip", "w") as packed:
        packed.writestr("job.json", json.dumps({"template": {"src": "spot.aep", "composition": "Main"}}))
        packed.writestr("spot.aep", bytes(5000))
    hand.pass_time(4)
    waited = hand.job("show").waiting_for

    hand.pass_time(1900)

    job = hand.job("show")
    assert (job.state, job.error and job.error["code"]) == (state, code)
    assert bool(waited) == (code is not None)
    assert all("show.zip needs" in words for words in waited)


def test_a_good_job_waits_in_the_queue(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.turn()

    assert hand.job("spot").state is State.QUEUED
    assert hand.job("spot").template == "spot.aep"


def test_json_paths_are_read_back() -> None:
    assert json_path("assets[2].src") == ("assets", 2, "src")
    assert json_path("template.src") == ("template", "src")


# -- the share is away just then --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["bundle", "spot.zip"])
def test_nothing_that_is_found_while_the_share_is_away_says_anything_about_a_job(hand: Hand, form: str) -> None:
    if form == "bundle":
        hand.drop("bundle/job.json", {"template": {"src": "spot.aep", "composition": "Main"}})
        hand.project("spot", hand.inbox / "bundle")
    else:
        with zipfile.ZipFile(hand.inbox / form, "w") as packed:
            packed.writestr("job.json", json.dumps(hand.document()))
    hand.pass_time(6)
    (job,) = hand.ledger.queue()
    source, away = hand.folders.source(job), hand.root.with_name("away")

    hand.root.rename(away)
    with pytest.raises(OSError, match=r"cannot be reached|No such file"):
        hand.judge.judge(job, source, None, None)
    away.rename(hand.root)

    assert isinstance(hand.judge.judge(job, source, None, None), Judged)


def test_footage_that_is_away_with_the_share_is_not_missing(hand: Hand) -> None:
    project = hand.project("near", hand.inbox)
    hand.drop("spot.json", {"template": {"src": str(project), "composition": "Main"}})
    hand.pass_time(3)
    (job,) = hand.ledger.queue()
    source, away = hand.folders.source(job), hand.root.with_name("away")
    data = source.read_bytes()

    hand.root.rename(away)
    with pytest.raises(disk.Away):
        hand.judge.judge(job, source, data, None)
    away.rename(hand.root)

    assert isinstance(hand.judge.judge(job, source, data, None), Judged)
