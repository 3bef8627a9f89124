"""The real command, the real nexrender from npm, the simulated After Effects: the line as its user sees it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.real import Real

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")]


def test_a_dropped_job_becomes_a_verified_film(real: Real) -> None:
    data = [{"type": "data", "layerName": "headline", "property": "Source Text", "value": "Grüße, it's $HOME"}]
    real.drop("p80_spot.json", real.project("spot"), assets=data)
    real.start()

    status = real.wait("spot", "completed")

    assert {path.name for path in (real.root / "done/spot").iterdir()} >= {
        "p80_spot.json", "spot.mp4", "spot.log", "spot.status.json",
    }  # fmt: skip
    assert status["progress"]["frames"] == 25
    assert status["outputs"][0]["sha256"]
    assert real.end() == 0
    assert real.stray() == []


def test_one_that_fails_twice_succeeds_at_the_third_try(real: Real) -> None:
    failing = {"fail_times": 2, "failing": {"mode": "crash", "frame": 5}}
    real.drop("flaky.json", real.project("flaky", behaviour=failing))
    real.start()

    status = real.wait("flaky", "completed")

    assert [(entry["error"] or {}).get("code") for entry in status["attempts"]] == ["RENDER_CRASHED"] * 2 + [None]
    assert real.end() == 0


@pytest.mark.parametrize(
    ("behaviour", "composition", "code"),
    [
        (None, "Wrong", "COMPOSITION_NOT_FOUND"),
        ("damaged", "Main", "PROJECT_DAMAGED"),
        ("layer_not_found", "Main", "LAYER_NOT_FOUND"),
        ("script_error", "Main", "SCRIPT_ERROR"),
        ("output_module_not_found", "Main", "OUTPUT_MODULE_NOT_FOUND"),
    ],
)
def test_what_the_job_did_wrong_fails_at_once(real: Real, behaviour: Any, composition: str, code: str) -> None:
    real.drop("bad.json", real.project("bad", behaviour=behaviour), composition)
    real.start()

    status = real.wait("bad", "failed")

    assert status["error"]["code"] == code
    assert len(status["attempts"]) == 1
    assert "What to do" in (real.root / "failed/bad/WHY.txt").read_text(encoding="utf-8")


def test_missing_footage_of_the_project_fails_the_film(real: Real) -> None:
    real.drop("bad.json", real.project("bad", footage=["logo.png"]))
    real.start()

    assert real.wait("bad", "failed")["error"]["code"] == "FOOTAGE_MISSING"


def test_ctrl_c_puts_the_job_back_and_leaves_no_process(real: Real) -> None:
    slow = {"seconds_per_frame": 0.2, "ignores_signals": True, "grandchild": "session"}
    real.drop("slow.json", real.project("slow", behaviour=slow))
    real.start()
    until(lambda: real.status("slow").get("progress", {}).get("percent"), 30)

    assert real.end(signal.SIGINT) == 0

    assert real.status("slow")["state"] == "queued"
    assert real.status("slow")["attempts"] == []
    until(lambda: real.stray() == [], 5)


def test_a_second_service_of_one_root_leaves_with_4(real: Real) -> None:
    real.start()

    assert real.call("run").returncode == 4


def test_all_faults_of_the_config_are_told_at_once(real: Real) -> None:
    real.settings |= {"limits": {"stall": "10 mins"}, "sever": {}}

    told = real.call("run")

    assert told.returncode == 2
    assert 'limits.stall: "10 mins" is not a duration (write 10m)' in told.stderr
    assert "did you mean server" in told.stderr


def test_submit_waits_and_says_how_it_ended(real: Real, tmp_path: Path) -> None:
    alone = tmp_path / "alone.json"
    alone.write_text(json.dumps(real.job(real.project("spot"))), encoding="utf-8")
    assert real.call("submit", "--wait", str(alone)).returncode == 3
    real.start()
    for name, composition, code in (("good", "Main", 0), ("bad", "Wrong", 1)):
        job = tmp_path / f"{name}.json"
        template = {"src": str(real.project("spot")), "composition": composition, "outputExt": "mp4"}
        job.write_text(json.dumps({"template": template}), encoding="utf-8")

        assert real.call("submit", "--wait", str(job)).returncode == code

    listed = json.loads(real.call("list", "--json").stdout)
    assert {job["job"]: job["state"] for job in listed} == {"good": "completed", "bad": "failed"}
    assert real.call("check", str(real.root / "done/good/good.json")).returncode == 0
