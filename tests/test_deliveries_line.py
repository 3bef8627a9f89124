"""Where a job may have its film put, tried by somebody who means harm: through the service, with real nexrender."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.real import Real

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")]

OVER = ("completed", "failed", "cancelled")


#: Dropped name → what its `output:` is. Each would lie in a folder of ours, by its words or by what is filled in.
INTO_OURS = {
    "status.json": "{job}/queue.mp4",
    "active/deep.json": "{sub}/other/film.mp4",
    "composed.json": "{composition}/film.mp4",
    "plain.json": "inbox/film.mp4",
    "dotted.json": "films/../failed/x/film.mp4",
    "another.json": "done/first/first.mp4",
    "linked.json": "shortcut/film.mp4",
}


def test_no_delivery_leads_into_our_folders_or_takes_somebody_elses_away(real: Real) -> None:
    project = real.project("spot", behaviour={"seconds_per_frame": 0.01})
    files = real.root / "templates"
    files.mkdir()
    (files / "precious.aep").write_text("of a designer")
    (files / "frame_00000.png").write_text("of somebody")
    (real.root / "shortcut").symlink_to(real.root / "status")
    (real.root / "reel").mkdir()
    (real.root / "reel" / "old_00000.png").write_bytes(b"an older frame")
    real.drop("first.json", project)
    real.start()
    first = real.wait("first", *OVER)
    assert first["state"] == "completed"
    before = {path.name: path.read_bytes() for path in (real.root / "done" / "first").iterdir()}

    for name, output in INTO_OURS.items():
        composition = "status" if "composition" in output else "Main"
        real.put(name, json.dumps(_wishing(real.job(project, composition), output)))
    frames: dict[str, Any] = {"src": str(project), "composition": "Main", "outputExt": "png", "frameEnd": 2}
    frames |= {"frameStart": 0}
    for name, output in {"of-ours": "inbox.png", "of-others": "templates.png", "of-frames": "reel.png"}.items():
        real.put(f"{name}.json", json.dumps(_wishing({"template": frames}, output)))

    for name, output in INTO_OURS.items():
        status = real.wait(name.removesuffix(".json"), *OVER)
        assert (status["state"], status["error"]["code"], status["attempts"]) == ("failed", "POLICY_DENIED", []), output
        letter = until(lambda name=name: _letter(real, name))
        assert "output:" in letter and "keeps for itself" in letter and "No setting allows this." in letter
        told = real.call("check", str(real.root / status["folder"] / Path(name).name), "--json")
        if name not in ("active/deep.json",):  # where a copy lies decides its {sub}
            assert json.loads(told.stdout)["error"]["message"] == status["error"]["message"]
    ended = {name: real.wait(name, *OVER) for name in ("of-ours", "of-others", "of-frames")}

    assert (ended["of-ours"]["state"], ended["of-ours"]["error"]["code"]) == ("failed", "POLICY_DENIED")
    assert (real.root / "inbox").is_dir()
    assert (files / "precious.aep").read_text() == "of a designer"
    assert (files / "frame_00000.png").read_text() == "of somebody"
    assert ended["of-others"]["state"] == "completed"
    assert ended["of-others"]["outputs"][0]["path"].startswith(str(real.root / "templates~2"))
    assert any("was not replaced" in found for found in ended["of-others"]["warnings"])
    assert ended["of-frames"]["outputs"][0]["path"].startswith(str(real.root / "reel/"))
    assert not (real.root / "reel" / "old_00000.png").exists()
    assert {path.name: path.read_bytes() for path in (real.root / "done" / "first").iterdir()} == before
    assert sorted(path.name for path in (real.root / "status").iterdir() if path.suffix == ".mp4") == []
    assert real.end() == 0


def _wishing(job: dict[str, Any], output: str) -> dict[str, Any]:
    return job | {"watchrender": {"output": output, "on_exists": "replace"}}


def _letter(real: Real, name: str) -> str:
    try:
        return (real.root / "failed" / name.removesuffix(".json") / "WHY.txt").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
