"""The machine is at fault, under the real service with real nexrender: programs that are gone or not prepared, a
machine that fails every job, a machine that goes down. No job pays for it."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import pytest

from tests.line import until
from tests.mounts import mount, mounting, unmount
from tests.real import Watched
from watchrender.render.nexrender import Nexrender

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")]


@pytest.fixture
def real(watched: Watched) -> Watched:
    return watched


def assert_waits_and_goes_on(real: Watched, code: str, *, well: str, ill: str) -> None:
    """`ill` and `well` are what the log says once each; the job that waited is rendered on its first try."""
    status = real.wait("spot", "completed", "failed")
    assert (status["state"], len(status["attempts"])) == ("completed", 1)
    assert real.overview("service")["waiting"] == []
    assert real.times_said(f"{ill}") == real.times_said(f"{well}{code}") == 1
    assert real.end() == 0
    assert real.stray() == []


def test_nexrender_that_is_gone_is_waited_for(real: Watched, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    link = data / "nexrender"
    link.symlink_to(Path(real.environment["WATCHRENDER_DATA_DIR"]) / "nexrender")
    real.environment |= {"WATCHRENDER_DATA_DIR": str(data), "PATH": "/usr/bin:/bin"}
    real.up()
    link.rename(data / "away")

    real.drop("spot.json", real.project("spot"))
    until(lambda: real.waits_for() == ["NEXRENDER_NOT_FOUND"], 60)
    told = until(lambda: (s := real.overview("service"))["waiting"] and s, 60)
    (data / "away").rename(link)

    assert told["waiting"][0]["cure"] in told["why"]
    assert_waits_and_goes_on(real, "NEXRENDER_NOT_FOUND", ill="the queue waits:", well="the queue goes on: ")


def test_after_effects_that_is_gone_is_waited_for(real: Watched) -> None:
    applications = real.aerender.parent
    away = applications.rename(applications.with_name("being updated"))
    real.drop("spot.json", real.project("spot"))
    real.up()

    until(lambda: real.waits_for() == ["AERENDER_NOT_FOUND"], 60)
    queued = until(lambda: (s := real.status("spot")).get("state") == "queued" and s, 60)
    away.rename(applications)

    assert queued["attempts"] == []
    assert_waits_and_goes_on(real, "AERENDER_NOT_FOUND", ill="the queue waits:", well="the queue goes on: ")


def test_a_licence_that_is_missing_is_waited_for(real: Watched) -> None:
    sick = real.aerender.with_name("behaviour.json")
    sick.write_text(json.dumps({"mode": "licence"}))
    real.settings["retry"] = {"max_retries": 0}
    real.drop("spot.json", real.project("spot"))
    real.drop("other.json", real.project("other"))
    real.up()

    until(lambda: real.waits_for() == ["LICENSE"], 60)
    told = until(lambda: (s := real.overview("service"))["waiting"] and s, 60)
    until(lambda: [real.status(name).get("state") for name in ("spot", "other")] == ["queued"] * 2, 60)
    tries = [real.status(name)["attempts"] for name in ("spot", "other")]
    sick.unlink()
    other = real.wait("other", "completed", "failed")

    assert told["waiting"][0]["kind"] == "environment" and told["waiting"][0]["cure"]
    assert (tries, other["state"], len(other["attempts"])) == ([[], []], "completed", 1)
    assert_waits_and_goes_on(real, "LICENSE", ill="the queue waits:", well="the queue goes on: ")


@mounting
def test_after_effects_that_nexrender_may_not_prepare_is_waited_for(real: Watched) -> None:
    applications = real.aerender.parent
    mount("--bind", str(applications), str(applications))
    try:
        mount("-o", "remount,bind,ro", str(applications))
        real.drop("spot.json", real.project("spot"))
        real.up()
        until(lambda: real.waits_for() == ["AERENDER_NOT_PATCHED"], 60)
        queued = real.status("spot")
    finally:
        unmount(applications)

    assert (queued["state"], queued["attempts"]) == ("queued", [])
    assert_waits_and_goes_on(real, "AERENDER_NOT_PATCHED", ill="the queue waits:", well="the queue goes on: ")


def test_a_machine_that_fails_every_job_stops_the_queue_and_gives_the_tries_back(real: Watched) -> None:
    sick = real.aerender.with_name("behaviour.json")
    sick.write_text(json.dumps({"mode": "exit_1_at_launch"}))
    real.settings["retry"] = {"max_retries": 2, "first_wait": "30s", "max_wait": "30s"}
    names = [f"j{number}" for number in range(6)]
    for name in names:
        real.drop(f"{name}.json", real.project("spot"))
    real.up()

    until(lambda: real.waits_for() == ["RENDERS_KEEP_FAILING"], 60)
    until(lambda: all(real.status(name).get("state") == "queued" for name in names), 60)
    given_back = [len(real.status(name)["attempts"]) for name in names]
    sick.unlink()
    real.comes_back()
    ended = [real.wait(name, "completed", "failed") for name in names]

    assert sum(given_back) == 0
    assert [(status["state"], len(status["attempts"])) for status in ended] == [("completed", 1)] * len(names)
    assert real.times_said("the queue waits:") == real.times_said("the queue goes on:") == 1
    assert real.end() == 0


class Falling(Watched):
    """A machine that can be made to have started anew: the service sees another boot id, in a mount namespace."""

    def command(self, *words: str) -> list[str]:
        command = super().command(*words)
        if words[0] != "run":
            return command
        boot = self.home / "boot_id"
        boot.write_text(f"{uuid.uuid4()}\n")
        script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(boot), *command]


@mounting
def test_a_job_during_which_the_machine_went_down_three_times_is_held(
    tmp_path: Path, nexrender_set: Nexrender, simulator: Path
) -> None:
    assert nexrender_set.root is not None
    real = Falling(tmp_path, nexrender_set.root.parent, simulator)
    real.drop("killer.json", real.project("killer", behaviour={"seconds_per_frame": 0.2}))
    try:
        for _ in range(3):
            process = real.start()
            real.rendering("killer")
            process.kill()
            process.wait()
        real.start()
        held = until(lambda: (s := real.status("killer"))["state"] == "queued" and s["hold"] and s, 60)
        real.drop("next.json", real.project("next"))
        real.wait("next", "completed")
        still = real.status("killer")
        released = real.call("release", "killer")
        done = real.wait("killer", "completed", "failed")

        assert held["attempts"] == []
        assert "the machine went down 3 times" in held["held_because"]
        assert (still["state"], still["hold"]) == ("queued", True)
        assert released.returncode == 0, released.stderr
        assert (done["state"], len(done["attempts"])) == ("completed", 1)
        assert real.end() == 0
    finally:
        if real.process is not None and real.process.poll() is None:
            real.process.kill()
            real.process.wait()
