"""Moves that are refused, as a file server refuses them while somebody has a file open: here by mount points, which the
system will not rename. A claim leaves the job queued, a delivery keeps it rendering, others go on meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.line import Line, serving, until
from tests.mounts import mount, mounting, unmount
from tests.real import Watched
from watchrender import finish

pytestmark = [mounting, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


@contextmanager
def held_open(path: Path) -> Iterator[None]:
    """Nobody can rename this file or folder now (EBUSY)."""
    mount("--bind", str(path), str(path))
    try:
        yield
    finally:
        unmount(path)


def test_a_claim_that_is_refused_leaves_the_job_queued_and_blocks_nobody(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    path = line.drop("p90_spot.json")
    line.drop("next.json")

    with serving(line):
        line.wait("next", "queued")
        with held_open(path):
            (line.root / "inbox" / "_PAUSE").unlink()
            line.wait("next", "completed")
            waiting = until(lambda: (s := line.status("spot"))["state"] == "queued" and s["waiting_for"] and s, 60)
            lies = line.files("active")
        done = line.wait("spot", "completed", 60)

    assert "somebody has it open" in waiting["waiting_for"][0]
    assert "p90_spot.json" in waiting["waiting_for"][0]
    assert (waiting["attempts"], waiting["folder"], lies) == ([], "inbox", [])
    assert len(done["attempts"]) == 1
    assert line.waits_for() == []


@pytest.mark.parametrize("patience", [60.0, 1.0])
def test_a_delivery_that_is_refused_goes_on_delivering_and_is_copied_in_the_end(
    line: Line, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(finish, "COPY_AFTER_SECONDS", patience)
    line.drop("spot.json", line.job("Slow"))

    with serving(line):
        until(lambda: line.starts() and line.status("spot").get("state") == "rendering")
        folder = line.root / "active" / "spot"
        with held_open(folder):
            line.drop("next.json")
            line.wait("next", "completed")
            waiting = until(lambda: (s := line.status("spot"))["waiting_for"] and s, 60)
            if patience < 60:
                line.wait("spot", "completed", 60)
        done = line.wait("spot", "completed", 60)
        until(lambda: not folder.exists(), 60)

    assert (waiting["state"], waiting["progress"]["stage"]) == ("rendering", "delivering")
    assert "somebody has it open" in waiting["waiting_for"][0]
    assert (done["state"], done["waiting_for"], len(done["attempts"])) == ("completed", [], 1)
    assert line.files("done", "spot") == ["spot.json", "spot.log", "spot.mp4", "spot.status.json"]
    assert line.starts().count("Slow") == 1
    assert not [path for path in (line.root / "done").iterdir() if path.name.startswith(".")]


@pytest.mark.nexrender
def test_a_folder_that_is_held_open_under_the_real_service_is_delivered_when_it_is_let_go(watched: Watched) -> None:
    watched.drop("spot.json", watched.project("slow", behaviour={"seconds_per_frame": 0.2}))
    watched.up()
    watched.rendering("spot")

    with held_open(watched.root / "active" / "spot"):
        watched.drop("next.json", watched.project("next"))
        following = watched.wait("next", "completed", "failed")
        waiting = until(lambda: (s := watched.status("spot"))["waiting_for"] and s, 60)
        asked = watched.ask(f"/api/v1/jobs/{waiting['id']}")[1]
        ready = watched.ask("/readyz")[0]
        seen = [path.name for path in (watched.root / "done").iterdir()]
    done = watched.wait("spot", "completed", "failed")

    assert (following["state"], len(following["attempts"])) == ("completed", 1)
    for said in (waiting, asked):
        assert (said["state"], said["progress"]["stage"]) == ("rendering", "delivering")
        assert "somebody has it open" in said["waiting_for"][0]
    assert ready == 200  # others may render
    assert seen == ["next"]
    assert (done["state"], done["waiting_for"], len(done["attempts"])) == ("completed", [], 1)
    assert [line["to"] for line in done["history"]].count("rendering") == 1
    assert watched.places("spot") == ["done"]
    until(lambda: not list((watched.root / "active").iterdir()), 60)
    assert watched.end() == 0
    assert watched.stray() == []
