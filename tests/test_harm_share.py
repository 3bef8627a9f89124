"""The share goes away and comes back, under the real service with real nexrender: gone is not empty.

While it is away nothing is made in its place, nothing counts as withdrawn, no try is used; the queue waits, says so,
and goes on by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.mounts import Share, hanging, mount, mounting, small_disk, unmount
from tests.real import Watched

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")]

SLOW = {"seconds_per_frame": 0.1}


@pytest.fixture
def real(watched: Watched) -> Watched:
    return watched


def has_waited(seconds: float) -> None:
    """Let some scans pass: that nothing happens can only be seen by waiting."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, seconds + 60)


def remounted(place: Path, how: str) -> bool:
    command = ["mount", "-o", f"remount,bind,{how}", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def renders(status: dict[str, Any]) -> int:
    return [line["to"] for line in status["history"]].count("rendering")


def assert_well(real: Watched, *keys: str) -> None:
    """Each is delivered on its first try, and nobody was ever withdrawn or put back as failed."""
    for key in keys:
        status = real.wait(key, "completed", "failed", "cancelled")
        assert (status["state"], len(status["attempts"])) == ("completed", 1), json.dumps(status, indent=1)
        assert real.places(key) == ["done"]
    assert not list((real.root / "failed").iterdir()) and not list((real.root / "cancelled").iterdir())


def test_a_root_that_is_renamed_away_and_back_costs_nothing(real: Watched) -> None:
    slow = real.project("slow", behaviour=SLOW)
    real.drop("p90_running.json", real.project("slower", behaviour={"seconds_per_frame": 0.3}))
    for name in ("first", "second"):
        real.drop(f"{name}.json", slow)
    real.up()
    real.rendering("running")

    away = real.root.with_name("elsewhere")
    real.root.rename(away)
    real.goes_offline()
    has_waited(2)
    told = real.ask("/api/v1/status")[1]
    seen = os.path.lexists(real.root)
    away.rename(real.root)
    real.comes_back()

    assert not seen
    assert told["counts"]["cancelled"] == told["counts"]["failed"] == 0
    assert "not the folder it was" in told["why"] or "cannot be reached" in told["why"]
    assert_well(real, "running", "first", "second")
    assert renders(real.status("running")) == 1  # the share came back in time: the render went on
    assert real.times_said("the queue waits") == real.times_said("the queue goes on:") == 1
    assert real.end() == 0
    assert real.stray() == []


@mounting
def test_an_empty_mount_point_is_not_an_empty_hot_folder(real: Watched) -> None:
    with small_disk(real.home / "disk", 64) as disk:
        share = disk / "renders"
        (share / "inbox").mkdir(parents=True)
        shutil.rmtree(real.root)
        real.root.mkdir()
        mount("--bind", str(share), str(real.root))
        try:
            slow = real.project("slow", behaviour=SLOW)
            real.drop("p90_running.json", slow)
            real.drop("waiting.json", slow)
            real.up()
            real.rendering("running")

            unmount(real.root)
            real.goes_offline()
            has_waited(2)
            made = list(real.root.iterdir())
            cancelled = real.ask("/api/v1/status")[1]["counts"]["cancelled"]
            mount("--bind", str(share), str(real.root))
            real.comes_back()

            assert (made, cancelled) == ([], 0)
            assert_well(real, "running", "waiting")
            assert real.end() == 0
        finally:
            unmount(real.root)
    assert list(real.root.iterdir()) == []


@mounting
def test_another_disk_in_its_place_is_not_touched(real: Watched) -> None:
    real.drop("first.json", real.project("quick"))
    with small_disk(real.home / "other", 16) as other:
        for name in ("inbox", "active", "done", "failed", "cancelled", "status"):
            (other / name).mkdir()
        (other / "inbox" / "foreign.json").write_text(json.dumps(real.job(real.project("foreign"))))
        real.up()
        real.wait("first", "completed")
        (real.root / "inbox" / "_PAUSE").touch()
        until(lambda: real.overview("service")["paused"], 60)
        real.drop("second.json", real.project("quick"))
        real.wait("second", "queued")

        mount("--bind", str(other), str(real.root))
        real.goes_offline()
        has_waited(2)
        found = sorted(path.relative_to(other).as_posix() for path in other.rglob("*"))
        unmount(real.root)
        real.comes_back()

    assert found == ["active", "cancelled", "done", "failed", "inbox", "inbox/foreign.json", "status"]
    (real.root / "inbox" / "_PAUSE").unlink()
    assert_well(real, "first", "second")
    assert real.end() == 0


@mounting
def test_a_root_that_can_only_be_read_is_waited_for_and_that_is_said_once(real: Watched) -> None:
    with small_disk(real.home / "disk", 64) as disk:
        shutil.rmtree(real.root)
        real.root.mkdir()
        mount("--bind", str(disk), str(real.root))
        try:
            (real.root / "inbox").mkdir()
            real.settings["nexrender"]["render_to"] = "work_dir"  # where a film grows, nobody can forbid writing
            slow = real.project("slow", behaviour=SLOW)
            real.drop("p90_running.json", slow)
            real.drop("waiting.json", slow)
            real.up()
            real.rendering("running")

            until(lambda: remounted(real.root, "ro"), 60)  # not in the moment that somebody writes there
            real.goes_offline()
            has_waited(5)
            told = real.ask("/api/v1/status")[1]
            assert remounted(real.root, "rw")
            real.comes_back()

            assert "Read-only" in told["why"]
            assert_well(real, "running", "waiting")
            assert real.times_said("the queue waits") == real.times_said("the queue goes on:") == 1
            assert real.end() == 0
            assert real.stray() == []
        finally:
            unmount(real.root)


@hanging
def test_a_share_that_hangs_holds_up_nobody_but_its_jobs(real: Watched) -> None:
    (real.root / "inbox").rmdir()
    share = Share(real.home / "server", real.root)
    try:
        (real.root / "inbox").mkdir()
        real.settings["nexrender"]["work_dir"] = str(real.home / "work")
        slow = real.project("slow", behaviour=SLOW)
        real.drop("p90_running.json", slow)
        real.drop("waiting.json", slow)
        real.up()
        real.rendering("running")

        share.hang()
        real.goes_offline()
        began = time.monotonic()
        alive = real.ask("/healthz")[0], real.ask("/api/v1/status")[0], real.ask("/api/v1/jobs")[0]
        took = time.monotonic() - began
        share.answer()
        real.comes_back()

        assert alive == (200, 200, 200)
        assert took < 20
        assert_well(real, "running", "waiting")
        assert real.end() == 0
        assert real.stray() == []
    finally:
        share.answer()
        share.close()


@hanging
@pytest.mark.parametrize("signs", [1, 2])
def test_a_stop_is_obeyed_while_the_share_hangs_and_nobody_has_noticed(real: Watched, signs: int) -> None:
    (real.root / "inbox").rmdir()
    share = Share(real.home / "server", real.root)
    try:
        (real.root / "inbox").mkdir()
        real.settings["nexrender"]["work_dir"] = str(real.home / "work")
        real.drop("spot.json", real.project("slow", behaviour=SLOW))
        real.up()
        real.rendering("spot")

        share.hang()
        assert real.process is not None
        for _ in range(signs):
            real.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        code = real.process.wait(60)
        stray = real.stray()
        share.answer()

        assert (code, stray) == (0, [])
        real.up()
        assert_well(real, "spot")
        assert real.end() == 0
    finally:
        share.answer()
        share.close()


@pytest.fixture
def hung(real: Watched) -> Iterator[Share]:
    """The root is a share that hangs before anybody starts a service on it; a job waits there."""
    (real.root / "inbox").rmdir()
    share = Share(real.home / "server", real.root)
    try:
        (real.root / "inbox").mkdir()
        real.settings["nexrender"]["work_dir"] = str(real.home / "work")
        real.drop("spot.json", real.project("quick"))
        share.hang()
        yield share
    finally:
        share.answer()
        share.close()


@hanging
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_start_on_a_share_that_hangs_says_so_and_can_be_stopped(real: Watched, hung: Share, sign: int) -> None:
    process = real.start(up=False)
    until(lambda: f"waiting for {real.root}" in real.said(), 60)

    began = time.monotonic()
    process.send_signal(sign)
    code = process.wait(60)
    took = time.monotonic() - began

    assert code == 0
    assert took < 20  # a second or two, where the machine has nothing else to do
    assert "Traceback" not in real.said()


@hanging
def test_a_start_on_a_share_that_hangs_goes_on_by_itself_when_it_answers(real: Watched, hung: Share) -> None:
    process = real.start(up=False)
    until(lambda: f"waiting for {real.root}" in real.said(), 60)

    hung.answer()

    assert_well(real, "spot")
    assert process.poll() is None
    assert real.times_said("waiting for") == real.times_said("going on") == 1
    assert real.end() == 0
    assert real.stray() == []


@hanging
def test_a_start_on_a_share_whose_server_is_dead_waits_for_it(real: Watched, hung: Share) -> None:
    hung.end()
    process = real.start(up=False)
    until(lambda: f"waiting for {real.root}: it cannot be reached" in real.said(), 60)
    has_waited(3)
    assert process.poll() is None and real.times_said("waiting for") == 1

    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process = real.start(up=False)
    until(lambda: real.times_said("it cannot be reached") == 2, 60)
    unmount(real.root)
    again = Share(real.home / "server", real.root)
    try:
        assert_well(real, "spot")
        assert process.poll() is None
        assert real.end() == 0
        assert "Traceback" not in real.said()
    finally:
        again.close()


def test_a_start_without_its_root_makes_none_and_says_what_to_do(real: Watched) -> None:
    away = real.root.rename(real.home / "away")

    started = real.call("run")

    assert started.returncode == 2
    assert f"root: {real.root} is not there; make it, or mount the share" in started.stderr
    assert not os.path.lexists(real.root) and [path.name for path in away.iterdir()] == ["inbox"]


@mounting
def test_a_start_on_the_mount_point_without_its_share_makes_nothing_there(real: Watched) -> None:
    with small_disk(real.home / "disk", 64) as disk:
        (disk / "inbox").mkdir()
        (real.root / "inbox").rmdir()
        mount("--bind", str(disk), str(real.root))
        try:
            real.drop("spot.json", real.project("quick"))
            (real.root / "inbox" / "_PAUSE").touch()
            real.up()
            real.wait("spot", "queued")
            assert real.end() == 0
        finally:
            unmount(real.root)

        started = real.call("run")

        assert started.returncode == 2
        assert "mount the share first" in started.stderr
        assert list(real.root.iterdir()) == []
        mount("--bind", str(disk), str(real.root))
        try:
            (real.root / "inbox" / "_PAUSE").unlink()
            real.up()
            assert_well(real, "spot")
            assert real.end() == 0
        finally:
            unmount(real.root)
