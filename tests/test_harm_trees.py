"""Whole process trees under the real service with real nexrender: who resists is ended all the same, also by the next
life of a service that was killed; and what a stalled render leaves as evidence."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.line import until
from tests.real import Real

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")]

#: Ignores every request, does not notice that nobody reads, and leaves somebody in a session of its own behind.
STUBBORN = {"seconds_per_frame": 0.1, "ignores_signals": True, "ignores_closed_pipe": True}


@pytest.fixture
def real(real: Real) -> Real:
    real.settings["limits"]["terminate_grace"] = "500ms"
    return real


def resists(real: Real, kind: str) -> tuple[Path, Path]:
    """A project whose render cannot be asked to end, and the file that tells who took part in it."""
    pids = real.home / f"pids-{kind}"
    behaviour = {**STUBBORN, "hangs": "elapsed", "grandchild": kind, "pids": str(pids)}
    return real.project(f"stubborn-{kind}", behaviour=behaviour), pids


def took_part(pids: Path, number: int) -> list[psutil.Process]:
    """All processes that the simulated After Effects has told of, once there are so many."""

    until(lambda: len(told(pids)) >= number, 60)
    return [psutil.Process(pid) for pid in told(pids)]


def told(pids: Path) -> list[int]:
    return [int(line.split()[-1]) for line in pids.read_text().splitlines()] if pids.exists() else []


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def ended(processes: list[psutil.Process]) -> bool:
    return not any(lives(process) for process in processes)


@pytest.mark.parametrize("kind", ["session", "daemon"])
def test_who_resists_is_ended_on_cancel_and_on_stop(real: Real, kind: str) -> None:
    project, pids = resists(real, kind)
    real.drop("cancelled.json", project)
    real.start()
    family = took_part(pids, 2)
    assert all(lives(process) for process in family)
    (real.root / "inbox" / "cancelled.cancel").touch()
    real.wait("cancelled", "cancelled")
    until(lambda: ended(family), 60)

    pids.unlink()
    real.drop("stopped.json", project)
    family = took_part(pids, 2)
    assert real.end() == 0

    assert ended(family)
    assert real.stray() == []
    assert (real.status("stopped")["state"], real.status("stopped")["attempts"]) == ("queued", [])


@pytest.mark.parametrize("kind", ["session", "daemon"])
def test_who_outlives_a_killed_service_is_ended_by_the_next_one(real: Real, kind: str) -> None:
    project, pids = resists(real, kind)
    real.drop("spot.json", project)
    process = real.start()
    family = took_part(pids, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(lives(member) for member in family)

    (real.root / "inbox" / "_PAUSE").touch()
    real.start()

    until(lambda: ended(family), 60)
    assert real.wait("spot", "queued")["attempts"] == []
    assert not list((real.root / "active" / "spot").glob(".attempt-*"))
    assert list((real.home / "state" / "work" / "attempts").glob("*")) == []
    assert real.end() == 0
    assert real.stray() == []


def test_limits_end_the_whole_tree_and_a_stall_leaves_evidence(real: Real) -> None:
    real.settings["limits"] |= {"stall": "3s", "finish_grace": "1s"}
    real.settings["retry"] |= {"max_retries": 0}
    pids = {name: real.home / f"pids-{name}" for name in ("stalls", "late", "good")}
    common = {"ignores_signals": True, "ignores_closed_pipe": True, "grandchild": "session"}
    stalls = {**common, "hangs": "frame", "frame": 7, "pids": str(pids["stalls"])}
    late = {**common, "hangs": "frame", "works_while_hanging": True, "pids": str(pids["late"])}
    good = {**common, "hangs": "elapsed", "pids": str(pids["good"])}
    for name, behaviour, settings in (
        ("stalls", stalls, {}),
        ("late", late, {"render_timeout": "3s"}),
        ("good", good, {}),
    ):
        real.put(
            f"{name}.json", json.dumps(real.job(real.project(name, behaviour=behaviour)) | {"watchrender": settings})
        )
    real.start()

    over = {name: real.wait(name, "completed", "failed") for name in pids}

    assert (over["stalls"]["error"]["code"], over["late"]["error"]["code"]) == ("RENDER_STALLED", "RENDER_TIMEOUT")
    assert over["good"]["state"] == "completed"  # the film was there: After Effects just never ended
    for name in pids:
        assert len(told(pids[name])) == 2
        assert ended([psutil.Process(pid) for pid in told(pids[name]) if psutil.pid_exists(pid)])
    evidence = over["stalls"]["attempts"][0]["evidence"]
    assert (
        "watchrender.render.simulator" in evidence and "(6)" in evidence
    )  # who ran, and the last frame that was told of
    failed = real.root / "failed" / "stalls"
    assert "stood still" in (failed / "WHY.txt").read_text()
    log = (failed / "stalls.log").read_text()  # where a person looks in the morning
    assert "--- evidence: no new line" in log and "processes of the attempt:" in log and "last lines:" in log
    assert real.end() == 0
    assert real.stray() == []


def test_a_dialog_that_waits_for_a_click_is_ended_and_tried_again_and_leaves_evidence(real: Real) -> None:
    real.settings["limits"] |= {"startup": "3s", "stall": "1h"}
    real.settings["retry"] |= {"max_retries": 1}
    pids = real.home / "pids"
    dialog = {"mode": "licence_dialog", "ignores_signals": True, "grandchild": "session", "pids": str(pids)}
    real.drop("spot.json", real.project("dialog", behaviour=dialog))
    real.drop("next.json", real.project("next"))
    real.start()

    over = real.wait("spot", "completed", "failed")
    following = real.wait("next", "completed", "failed")

    assert (over["state"], over["error"]["code"]) == ("failed", "STARTUP_TIMEOUT")
    assert [entry["error"]["code"] for entry in over["attempts"]] == ["STARTUP_TIMEOUT"] * 2
    assert following["state"] == "completed"
    for entry in over["attempts"]:
        assert "came to no line of the render within 3 s" in entry["evidence"]
        assert "watchrender.render.simulator" in entry["evidence"]  # who ran
        assert "Launching After Effects" in entry["evidence"]  # the last word
    log = (real.root / "failed" / "spot" / "spot.log").read_text()
    assert log.count("--- evidence: After Effects was started") == 2
    assert len(told(pids)) == 4
    assert ended([psutil.Process(pid) for pid in told(pids) if psutil.pid_exists(pid)])
    assert real.end() == 0
    assert real.stray() == []


def test_whoever_is_asked_to_end_has_as_long_as_is_configured(real: Real) -> None:
    real.settings["limits"]["terminate_grace"] = "4s"
    project, pids = resists(real, "session")
    real.drop("stubborn.json", project)
    real.start()
    family = took_part(pids, 2)

    asked = time.monotonic()
    (real.root / "inbox" / "stubborn.cancel").touch()
    until(lambda: ended(family), 60)
    took = time.monotonic() - asked
    real.wait("stubborn", "cancelled")

    assert took >= 4
    assert real.end() == 0
    assert real.stray() == []
