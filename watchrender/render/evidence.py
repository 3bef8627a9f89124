"""What an attempt leaves that did not get on: its last lines, who ran and in what state, and a picture of the screen.

A dialog that waits for a click is the usual reason, and in the morning it is gone: only the picture shows it. Taking
evidence never fails and never takes long; what cannot be had is said in its place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from watchrender import disk

_SCREENSHOT_SECONDS = 15.0
_SAMPLE_SECONDS = 0.3
_COMMAND_LENGTH = 200
_MOST_PROCESSES = 60

#: Of interest wherever they came from: on macOS After Effects is no child of aerender, and its crash report never is.
_RELATIVES = (
    "afterfx",
    "after effects",
    "aerender",
    "adobe crash",
    "crash reporter",
    "crashpad",
    "werfault",
    "adobeipc",
)

_POWERSHELL = (
    "Add-Type -AssemblyName System.Windows.Forms,System.Drawing;"
    "$s=[System.Windows.Forms.SystemInformation]::VirtualScreen;"
    "$b=New-Object System.Drawing.Bitmap $s.Width,$s.Height;"
    "$g=[System.Drawing.Graphics]::FromImage($b);"
    "$g.CopyFromScreen($s.Left,$s.Top,0,0,$b.Size);"
    "$b.Save($env:WATCHRENDER_SCREENSHOT,[System.Drawing.Imaging.ImageFormat]::Png)"
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found."""

    text: str
    screenshot: Path | None = None


def gather(
    why: str,
    *,
    processes: Sequence[psutil.Process],
    last_lines: Sequence[str],
    screenshot: Path | None = None,
    tool: Sequence[str] | None = None,
) -> Evidence:
    """Take it now, while everything is still there. `screenshot`: where a picture may be put; `tool`: what takes it,
    None for what this system has."""
    picture, note = _picture(screenshot, tool)
    parts = [
        f"--- evidence: {why}",
        _machine(),
        "processes of the attempt:",
        *_table(processes),
        *_relatives(processes),
        note,
        "last lines:",
        *(f"  {line}" for line in last_lines or ("(none)",)),
        "--- end of evidence",
    ]
    return Evidence(text="\n".join(part for part in parts if part), screenshot=picture)


def screenshot_tool(platform: str = sys.platform) -> list[str] | None:
    """What takes a picture of the screen here. It gets the path as its last word, and in WATCHRENDER_SCREENSHOT."""
    if platform == "darwin":
        found = shutil.which("screencapture")
        return [found, "-x", "-t", "png"] if found else None
    if platform == "win32":
        found = shutil.which("powershell.exe")
        return [found, "-NoProfile", "-NonInteractive", "-Command", _POWERSHELL] if found else None
    return None


def _picture(target: Path | None, tool: Sequence[str] | None) -> tuple[Path | None, str]:
    tool = tool if tool is not None else screenshot_tool()
    if target is None or not tool:
        return None, ""
    beside = target.with_name(f".{target.name}")
    # PowerShell would take a further word for a part of its script.
    command = [*tool] if tool[-1] == _POWERSHELL else [*tool, str(beside)]
    try:
        subprocess.run(
            command,
            env={**os.environ, "WATCHRENDER_SCREENSHOT": str(beside)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SCREENSHOT_SECONDS,
            check=True,
            creationflags=0x08000000 if sys.platform == "win32" else 0,  # no window of its own in the picture
        )
        disk.replace(beside, target)
        return target, f"screenshot: {target.name}"
    except (OSError, subprocess.SubprocessError) as error:
        with suppress(OSError):
            disk.remove(beside)
        return None, f"screenshot: none ({error})"


def _machine() -> str:
    memory = psutil.virtual_memory()
    load = " ".join(f"{one:.1f}" for one in psutil.getloadavg()) if hasattr(psutil, "getloadavg") else "?"
    free = f"{memory.available // 2**20} of {memory.total // 2**20} MiB free"
    return f"machine: load {load} on {psutil.cpu_count()} cores, {free}"


def _table(processes: Iterable[psutil.Process]) -> list[str]:
    chosen = list(processes)[:_MOST_PROCESSES]
    if not chosen:
        return ["  (none)"]
    before = [_cpu(process) for process in chosen]
    began = time.monotonic()
    time.sleep(_SAMPLE_SECONDS)
    took = time.monotonic() - began
    head = f"  {'pid':>7} {'parent':>7} {'status':<10} {'cpu s':>8} {'cpu %':>6} {'MiB':>7} {'age s':>7}  command"
    return [head, *(_row(process, cpu, took) for process, cpu in zip(chosen, before, strict=True))]


def _row(process: psutil.Process, cpu_before: float | None, took: float) -> str:
    try:
        with process.oneshot():
            cpu, memory = _cpu(process), process.memory_info().rss // 2**20
            share = 100 * (cpu - cpu_before) / took if cpu is not None and cpu_before is not None else 0.0
            age = time.time() - process.create_time()
            return (
                f"  {process.pid:>7} {process.ppid():>7} {process.status():<10} {cpu or 0.0:>8.1f} {share:>6.0f}"
                f" {memory:>7} {age:>7.0f}  {_command(process)}"
            )
    except (psutil.Error, OSError):
        return f"  {process.pid:>7} (gone, or not ours to see)"


def _cpu(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
        return float(times.user + times.system)
    except (psutil.Error, OSError):
        return None


def _command(process: psutil.Process) -> str:
    try:
        words = " ".join(process.cmdline()) or process.name()
    except (psutil.Error, OSError):
        words = "?"
    words = " ".join(words.split())
    return words if len(words) <= _COMMAND_LENGTH else words[: _COMMAND_LENGTH - 1] + "…"


def _relatives(members: Iterable[psutil.Process]) -> list[str]:
    known = {member.pid for member in members}
    found = []
    for process in psutil.process_iter():
        try:
            name = process.name().lower()
        except (psutil.Error, OSError):
            continue
        if process.pid not in known and any(word in name for word in _RELATIVES):
            found.append(process)
    return ["others that look like After Effects:", *_table(found)] if found else []
