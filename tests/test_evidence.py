"""A stalled attempt leaves what is needed to see why: lines, processes, a picture."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from watchrender.render import evidence
from watchrender.render.evidence import gather, screenshot_tool

posix = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    program = "import time; print('asleep', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", program, "-output", "spot.mov"], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline()  # a Python that starts works; this one has started
    yield psutil.Process(child.pid)
    child.kill()
    child.communicate()


def test_the_text_tells_why_who_ran_and_the_last_words(sleeper: psutil.Process) -> None:
    found = gather("no sign of life for 600 s", processes=[sleeper], last_lines=["PROGRESS: one", "PROGRESS: two"])

    lines = found.text.splitlines()
    assert lines[0] == "--- evidence: no sign of life for 600 s"
    row = next(line for line in lines if str(sleeper.pid) in line)
    assert "-output spot.mov" in row and sleeper.status() in row
    assert lines[-3:] == ["  PROGRESS: one", "  PROGRESS: two", "--- end of evidence"]
    assert found.screenshot is None


def test_one_who_works_is_told_from_one_who_sleeps(sleeper: psutil.Process) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        text = gather("stalled", processes=[sleeper, psutil.Process(busy.pid)], last_lines=[]).text
    finally:
        busy.kill()
        busy.wait()

    shares = {int(row.split()[0]): float(row.split()[4]) for row in text.splitlines() if "-c" in row and "%" not in row}
    assert shares[sleeper.pid] == 0
    assert shares[busy.pid] > 5


def test_a_process_that_went_meanwhile_is_no_fault() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(gone.pid)
    gone.wait()

    text = gather("stalled", processes=[process], last_lines=[]).text

    assert f"{process.pid} (gone" in text
    assert "  (none)\n--- end of evidence" in text


@posix
def test_after_effects_is_listed_wherever_it_came_from(tmp_path: Path) -> None:
    program = tmp_path / "AfterFX.com"
    shutil.copy(shutil.which("sleep") or "sleep", program)
    running = subprocess.Popen([program, "600"])
    try:
        text = gather("stalled", processes=[], last_lines=[]).text
    finally:
        running.kill()
        running.wait()

    assert "others that look like After Effects:" in text
    assert str(running.pid) in text


@posix
def test_a_picture_is_taken_with_the_tool_that_is_there(tmp_path: Path) -> None:
    target = tmp_path / "spot.png"
    tool = ["/bin/sh", "-c", 'test "$0" = "$WATCHRENDER_SCREENSHOT" && echo picture > "$0"']

    found = gather("stalled", processes=[], last_lines=[], screenshot=target, tool=tool)

    assert found.screenshot == target
    assert target.read_text() == "picture\n"
    assert "screenshot: spot.png" in found.text
    assert os.listdir(tmp_path) == ["spot.png"]


@posix
@pytest.mark.parametrize("tool", [["/bin/false"], ["/bin/true"], ["/no/such/tool"], ["/bin/sh", "-c", "sleep 60"]])
def test_a_tool_that_fails_is_said_and_no_fault(
    tool: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "_SCREENSHOT_SECONDS", 0.5)

    found = gather("stalled", processes=[], last_lines=[], screenshot=tmp_path / "spot.png", tool=tool)

    assert found.screenshot is None
    assert "screenshot: none (" in found.text


def test_each_system_has_its_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence.shutil, "which", lambda name: f"/bin/{name}")  # type: ignore[attr-defined]

    assert screenshot_tool("darwin") == ["/bin/screencapture", "-x", "-t", "png"]
    windows = screenshot_tool("win32")
    assert windows is not None and windows[0] == "/bin/powershell.exe" and "$env:WATCHRENDER_SCREENSHOT" in windows[-1]
    assert screenshot_tool("linux") is None
