"""Two services and one root, as real processes: on one machine by any path, and on two machines (two host names, each
with its own locks) by the heartbeat; and the host that wakes up after another has taken over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.line import until
from tests.mounts import mount, mounting, unmount
from tests.real import Real

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


def second(real: Real, root: Path, name: str, *, host: str | None = None) -> subprocess.Popen[str]:
    """Another service, with a `state_dir` of its own; with `host`, on a machine of that name."""
    config = real.home / f"{name}.yaml"
    config.write_text(yaml.safe_dump(real.settings | {"root": str(root), "state_dir": str(real.home / name)}))
    command = [sys.executable, "-m", "watchrender", "run", "-c", str(config)]
    if host is not None:
        # Another machine has another name, and knows nothing of the locks of this one.
        alone = 'hostname "$0" && mkdir -p /tmp/watchrender-locks && mount -t tmpfs tmpfs /tmp/watchrender-locks'
        script = f'{alone} && exec "$@"'
        command = ["unshare", "--uts", "--mount", "--propagation", "private", "sh", "-c", script, host, *command]
    return subprocess.Popen(
        command, env=real.environment, cwd=real.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def told(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str]:
    """How it ended, and what it said."""
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        raise AssertionError(f"it serves: {said}") from None
    return process.returncode, said


def test_a_second_service_of_this_machine_leaves_with_4_by_whatever_path_it_comes(real: Real) -> None:
    real.start()
    linked = real.home / "other-way"
    linked.symlink_to(real.root)

    here = told(second(real, real.root, "state-b"))
    there = told(second(real, linked, "state-c"))
    real.drop("spot.json", real.project("spot"))

    assert (here[0], there[0]) == (4, 4)
    assert "another watchrender of this machine serves" in here[1] and "another watchrender" in there[1]
    assert real.wait("spot", "completed")
    assert real.end() == 0


@mounting
def test_nor_does_the_same_folder_mounted_in_another_place_get_past_it(real: Real) -> None:
    real.start()
    other = real.home / "other-mount"
    other.mkdir()
    mount("--bind", str(real.root), str(other))
    try:
        code, said = told(second(real, other, "state-b"))
    finally:
        unmount(other)

    assert code == 4
    assert "another watchrender of this machine serves" in said
    assert real.end() == 0


@mounting
def test_a_service_of_another_machine_leaves_with_4_while_the_heartbeat_rises(real: Real) -> None:
    real.start()

    code, said = told(second(real, real.root, "state-b", host="render-02"))

    assert code == 4
    assert "its heartbeat" in said and "rises" in said
    assert real.end() == 0


@mounting
def test_a_host_that_wakes_up_after_another_took_over_ends_its_render_and_leaves_with_4(real: Real) -> None:
    real.drop("spot.json", real.project("spot", behaviour={"seconds_per_frame": 0.4, "ignores_signals": True}))
    sleeper = real.start()
    real.rendering("spot")
    sleeper.send_signal(signal.SIGSTOP)  # as a machine that sleeps; its renderer goes on a while

    other = second(real, real.root, "state-b", host="render-02")
    try:
        until(lambda: real.overview("service").get("host") == "render-02", 60)
        until(lambda: real.status("spot")["node"] == "render-02", 60)
        sleeper.send_signal(signal.SIGCONT)
        code = sleeper.wait(60)
        done = real.wait("spot", "completed", "failed")
        other.send_signal(signal.SIGTERM)
        left, said = told(other)
    finally:
        for process in (sleeper, other):
            if process.poll() is None:
                process.kill()
                process.wait()

    assert code == 4
    assert "watchrender on render-02 has taken over this root; this one leaves" in real.said()
    assert (done["state"], done["node"], len(done["attempts"])) == ("completed", "render-02", 1)
    assert real.places("spot") == ["done"]
    assert [path.name for path in (real.root / "done").iterdir()] == ["spot"]
    assert real.overview("service")["host"] == "render-02"
    assert left == 0, said
    assert real.stray() == []


def fake_beat(real: Real, number: int, instance: str = "01FAKEFAKEFAKEFAKEFAKEFAKE") -> None:
    """What another host's service would write."""
    path = real.root / "status" / "service.json"
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(".of-another-host.tmp")
    beside.write_text(json.dumps({"instance": instance, "host": "render-99", "pid": 4711, "beat": number}))
    beside.replace(path)


@pytest.mark.parametrize("delay", [0.1, 0.6, 1.1, 1.6, 2.1])
def test_one_beat_of_another_host_is_enough_whenever_it_comes(real: Real, delay: float) -> None:
    process = real.start()
    beat = real.overview("service")["beat"]
    until(lambda: real.overview("service")["beat"] != beat)  # from here, its next is two seconds away

    time.sleep(delay)
    fake_beat(real, 1)

    assert process.wait(30) == 4
    assert real.overview("service")["host"] == "render-99"
    assert "watchrender on render-99 has taken over this root; this one leaves" in real.said()


def test_who_was_taken_over_from_and_goes_on_beating_is_left_to_it(real: Real) -> None:
    fake_beat(real, 1)
    process = real.start(up=False)
    until(lambda: real.overview("service").get("pid") == process.pid, 60)

    for number in range(2, 100):  # it was only slow: it beats on, and heeds nobody
        fake_beat(real, number)
        if process.poll() is not None:
            break
        time.sleep(0.5)

    assert process.wait(30) == 4
    assert real.overview("service")["host"] == "render-99"
