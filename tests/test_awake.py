"""While a render runs the machine does not go to sleep, and afterwards it may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.waiting import until
from watchrender.render import awake
from watchrender.render.awake import keep_awake

posix = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


def children(name: str) -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.name() == name]


def stand_in(folder: Path, name: str, script: str) -> Path:
    """A program of that name, first in the PATH of a test."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_windows_is_told_by_a_flag_that_is_taken_back() -> None:
    told: list[int] = []

    def set_state(state: int) -> int:
        told.append(state)
        return 1

    with keep_awake(platform="win32", set_state=set_state) as held:
        assert held
        assert told == [0x80000001]

    assert told == [0x80000001, 0x80000000]


def test_the_flag_is_taken_back_after_an_error() -> None:
    told: list[int] = []

    def set_state(state: int) -> int:
        told.append(state)
        return 1

    with pytest.raises(RuntimeError), keep_awake(platform="win32", set_state=set_state):
        raise RuntimeError

    assert told[-1] == 0x80000000


@posix
def test_on_linux_the_inhibitor_runs_while_we_are_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    script = f'echo "$@" > {told}\nfor last; do :; done\n"$last"\necho over >> {told}'
    stand_in(tmp_path / "bin", "systemd-inhibit", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    with keep_awake("spot renders", platform="linux", systemd=tmp_path) as held:
        assert held
        until(lambda: told.exists() and told.read_text())
        assert "--what=sleep:idle" in told.read_text() and "--why=spot renders" in told.read_text()
        assert "over" not in told.read_text()

    assert told.read_text().endswith("over\n")
    assert children("systemd-inhibit") == []


@posix
def test_on_a_mac_caffeinate_watches_us_and_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    stand_in(tmp_path / "bin", "caffeinate", f'echo "$@" > {told}\nexec sleep 600')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    with keep_awake(platform="darwin") as held:
        assert held
        until(lambda: told.exists() and told.read_text())
        began = time.monotonic()

    assert time.monotonic() - began < 1.5
    assert told.read_text().split() == ["-i", "-s", "-w", str(os.getpid())]
    assert children("sleep") == []


@posix
def test_one_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "_END_SECONDS", 0.3)
    stand_in(tmp_path / "bin", "systemd-inhibit", "trap '' TERM\nwhile :; do sleep 1; done")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    with keep_awake(platform="linux", systemd=tmp_path):
        pass

    assert children("systemd-inhibit") == []


@pytest.mark.parametrize("platform", ["linux", "darwin", "freebsd14"])
def test_where_nothing_can_be_had_the_render_runs_all_the_same(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with keep_awake(platform=platform, systemd=tmp_path) as held:
        assert not held


def test_without_systemd_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "systemd-inhibit", f"touch {tmp_path}/asked")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    with keep_awake(platform="linux", systemd=tmp_path / "no") as held:
        assert not held

    assert not (tmp_path / "asked").exists()


@posix
def test_a_program_that_fails_at_once_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "systemd-inhibit", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    with keep_awake(platform="linux", systemd=tmp_path):
        until(lambda: [child.status() for child in children("systemd-inhibit")] == ["zombie"])


@posix
def test_when_we_are_killed_nothing_keeps_the_machine_awake(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    stand_in(tmp_path / "bin", "systemd-inhibit", f'echo $$ > {pid}\nfor last; do :; done\n"$last"')
    code = """
        import pathlib, time
        from watchrender.render.awake import keep_awake
        with keep_awake(platform="linux", systemd=pathlib.Path("/")):
            time.sleep(600)
    """
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    root = str(Path(awake.__file__).parents[2])
    us = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "PATH": path, "PYTHONPATH": root}
    )
    until(lambda: pid.exists() and pid.read_text().strip())

    us.send_signal(signal.SIGKILL)
    us.wait()

    number = int(pid.read_text())
    until(lambda: not psutil.pid_exists(number) or psutil.Process(number).status() == "zombie")
