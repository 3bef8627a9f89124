"""The machine is kept awake while the real service renders, and may sleep before, between and after; whoever keeps it
awake does not outlive a service that is killed. The inhibitor is a stand-in that tells of its beginning and end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.line import until
from tests.mounts import mounting
from tests.real import Real
from watchrender.render.nexrender import Nexrender

pytestmark = [pytest.mark.nexrender, mounting, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

INHIBITOR = """#!/bin/sh
echo "begins $$ $*" >> {told}
for last; do :; done
"$last"
echo "ends $$" >> {told}
"""


class OnSystemd(Real):
    """A machine on which systemd seems to run: the service sees another /run, in a mount namespace."""

    def command(self, *words: str) -> list[str]:
        script = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec "$@"'
        alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        return [*alone, *super().command(*words)]

    @property
    def told(self) -> list[list[str]]:
        """What the inhibitor told of itself: each line in words."""
        try:
            return [line.split() for line in (self.home / "inhibited").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def inhibitors(self) -> list[int]:
        """Who keeps the machine awake now."""
        return [int(words[1]) for words in self.told if words[0] == "begins" and _lives(int(words[1]))]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def real(tmp_path: Path, nexrender_set: Nexrender, simulator: Path) -> Iterator[OnSystemd]:
    assert nexrender_set.root is not None
    made = OnSystemd(tmp_path, nexrender_set.root.parent, simulator)
    program = tmp_path / "bin" / "systemd-inhibit"
    program.parent.mkdir()
    program.write_text(INHIBITOR.format(told=tmp_path / "inhibited"))
    program.chmod(0o755)
    made.environment["PATH"] = f"{program.parent}:{made.environment['PATH']}"
    yield made
    made.kill()


def test_each_render_keeps_the_machine_awake_and_nothing_else_does(real: OnSystemd) -> None:
    real.start()
    assert real.told == []

    real.drop("one.json", real.project("slow", behaviour={"seconds_per_frame": 0.1}))
    real.rendering("one")
    during = real.inhibitors()
    real.wait("one", "completed")
    until(lambda: not real.inhibitors(), 60)
    real.drop("two.json", real.project("quick"))
    real.wait("two", "completed")
    until(lambda: not real.inhibitors(), 60)
    assert real.end() == 0

    assert len(during) == 1
    assert [words[0] for words in real.told] == ["begins", "ends"] * 2
    assert {"--what=sleep:idle", "--who=watchrender", "--mode=block"} <= set(real.told[0])
    assert real.stray() == []


def test_nobody_keeps_the_machine_awake_for_a_service_that_was_killed(real: OnSystemd) -> None:
    real.drop("spot.json", real.project("slow", behaviour={"seconds_per_frame": 0.3}))
    process = real.start()
    real.rendering("spot")
    assert len(real.inhibitors()) == 1

    process.send_signal(signal.SIGKILL)
    process.wait()

    until(lambda: not real.inhibitors(), 60)
    (real.root / "inbox" / "_PAUSE").touch()
    real.start()
    real.wait("spot", "queued")
    assert real.end() == 0
    assert real.stray() == []
