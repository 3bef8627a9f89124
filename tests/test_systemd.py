"""Installed on a machine that systemd itself has started: it starts, renders within its fences, is watched and ends."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.line import Line, until
from tests.machine import Machine, User, booting
from watchrender.render.nexrender import Nexrender
from watchrender.render.simulator import write_project

pytestmark = [booting, pytest.mark.root, pytest.mark.slow, pytest.mark.nexrender, pytest.mark.timeout(600)]


@pytest.fixture
def line(tmp_path: Path, nexrender_set: Nexrender) -> Iterator[Line]:
    made = Line(tmp_path / "a place & ä")
    made.change(nexrender={"command": list(nexrender_set.command)}, watch={"settle": "100ms"})
    for name, seconds in (("spot", 0.01), ("slow", 60)):
        project = made.projects / f"{name}.aep"
        write_project(project, composition="Main", frames=10, behaviour={"seconds_per_frame": seconds})
        made.age(project)
    yield made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "machine")
    yield made
    made.close()


@pytest.mark.parametrize("whose", ["the system's", "the user's"])
def test_the_whole_life_of_an_installed_service(line: Line, machine: Machine, whose: str) -> None:
    system = whose == "the system's"
    at: Machine | User = machine if system else machine.log_in(line.home)
    file = line.home / "watch render.yaml"
    file.write_text(yaml.safe_dump(line.settings, allow_unicode=True), encoding="utf-8")

    def service(*words: str) -> tuple[int, str]:
        kind = ["--system"] if system else []
        command = [sys.executable, "-m", "watchrender", "service", *words, *kind, "--name", "w", "-c", str(file)]
        done = at.run(*command, LANG="C.UTF-8")
        return done.returncode, done.stdout + done.stderr

    code, said = service("install", "--force", *(["--user", "root"] if system else ["--no-test"]))
    assert code == 0, said + at.said()
    assert not system or ("held job was seen" in said and "rendered a film" in said)

    # It renders: real nexrender within the fences of the unit.
    line.drop("spot.json", line.job())
    line.wait("spot", "completed", 120)
    assert at.show("w.service", "Type") == "notify"
    assert at.show("w.service", "NoNewPrivileges") == "yes"
    assert "(0 queued)" in until(lambda: at.show("w.service", "StatusText"), 60)
    told = json.loads(service("status", "--json")[1])
    assert (told["installed"], told["running"], told["starts_by_itself"]) == (True, True, True)
    assert told["serving"]["state"] == "running"

    # It is watched: a process that stands still is ended and started again, and the job loses no try.
    settings = "[Service]\\nWatchdogSec=5s\\nRestartSec=100ms\\n"
    at.run("sh", "-c", f'd="{at.units}/w.service.d"; mkdir "$d"; printf "{settings}" > "$d/quick.conf"')
    assert at.ctl("daemon-reload").returncode == 0 and at.ctl("restart", "w.service").returncode == 0
    assert at.show("w.service", "WatchdogUSec") == "5s"
    line.drop("slow.json", line.job(project="slow"))
    line.wait("slow", "rendering", 60)
    first = at.show("w.service", "MainPID")
    at.run("kill", f"-{signal.SIGSTOP:d}", first)
    until(lambda: at.show("w.service", "NRestarts") not in ("", "0"), 120)
    until(lambda: at.ctl("is-active", "w.service").returncode == 0, 60)
    assert at.show("w.service", "MainPID") != first
    line.wait("slow", "rendering", 60)

    # It ends: what renders is put back, and nothing is left.
    code, said = service("uninstall")
    assert code == 0, said
    assert line.status("slow")["state"] == "queued"
    assert line.status("slow")["attempts"] == []
    assert at.ctl("cat", "w.service").returncode != 0
    code, said = service("status", "--json")
    assert (code, json.loads(said)["installed"], json.loads(said)["serving"]) == (1, False, None)
    assert os.listdir(line.root / "inbox") == []
