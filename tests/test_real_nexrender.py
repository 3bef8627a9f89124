"""The real command, the real nexrender from npm, the simulated After Effects: the line as its user sees it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.real import Real
from watchrender.render.simulator import write_project

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


#: Each is one name of footage that the job names, of footage the project has beside it, of a project and of its folder.
_ODD_NAMES = [
    "100%", "a%20b", "a#b", "what?", "1+1", "a&b", "cost$5", "$HOME", "a,b", "it's", "it's 'two'", 'say "hi"',
    "two  words ",
    unicodedata.normalize("NFC", "Café Größe"), unicodedata.normalize("NFD", "Café Größe"), "🎬 emoji 👩‍🎤", "a;b=c@d",
    "semi|pipe", "12:30", "[1-3]", "-dash", "(x) {y} ~z`", "日本語", "%#?+&$,'\"",
]  # fmt: skip


@pytest.mark.timeout(400)
def test_footage_and_projects_of_every_name_are_rendered_once_and_are_what_after_effects_sees(real: Real) -> None:
    layers = [f"layer {number}" for number in range(len(_ODD_NAMES))]
    assets, seen = [], []
    for number, (name, layer) in enumerate(zip(_ODD_NAMES, layers, strict=True)):
        folder = real.projects / f"{number} {name}"
        folder.mkdir()
        footage = folder / f"{name}.png"
        footage.write_bytes(f"content of {number}".encode())
        os.utime(footage, (1e9, 1e9))
        assets.append({"type": "image", "src": str(footage), "layerName": layer})
        seen.append(hashlib.sha256(f"content of {number}".encode()).hexdigest())
    record = real.home / "seen.json"
    project = write_project(
        real.projects / "all.aep", frames=2, layers=layers, behaviour={"missing_footage": "fail", "sees": str(record)}
    )
    os.utime(project, (1e9, 1e9))
    real.drop("all.json", project, assets=assets)
    odd = {}
    for number, name in enumerate(_ODD_NAMES):
        folder = real.projects / f"{number} {name}"
        (folder / "beside.png").write_bytes(b"beside")
        odd[f"p{number}"] = folder / f"{name}.aep"
        write_project(
            odd[f"p{number}"], frames=2, layers=["logo"], footage=["beside.png"], behaviour={"missing_footage": "fail"}
        )
        os.utime(odd[f"p{number}"], (1e9, 1e9))
        real.drop(f"p{number}.json", odd[f"p{number}"])
    real.start()
    for key in ("all", *odd):
        status = real.wait(key, "completed", "failed")
        assert status["state"] == "completed", (key, status["error"])
        assert len(status["attempts"]) == 1
        assert (real.root / "done" / key / f"{key}.mp4").stat().st_size > 1000
    assert json.loads(record.read_text(encoding="utf-8")) == dict(zip(layers, seen, strict=True))
    assert real.end() == 0
