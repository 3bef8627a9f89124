"""An After Effects folder with the simulated aerender in it, laid out as nexrender expects to find it."""

from __future__ import annotations

import importlib.util
import io
import os
import shlex
import sys
import zipfile
from pathlib import Path

#: Stands where Adobe's command-line script stands. nexrender puts its own in its place before the first render.
_SCRIPT = "// Command line renderer for After Effects (a stand-in: watchrender's simulator reads its own arguments).\n"

_SOURCE = Path(__file__).resolve().parents[3]  # the folder that holds the package, installed or checked out


def install_simulator(folder: Path, *, year: str = "2024", patched: bool = False, platform: str = os.name) -> Path:
    """Make `folder`/Adobe After Effects `year` and return its aerender. Safe to do again.

    `patched`: with nexrender's mark already in the command-line script, so that nexrender writes nothing. On Windows
    the program is `Support Files\\aerender.exe`, made of the launcher that pip carries; without pip it is a `.cmd`,
    which can be run by hand but not by nexrender: node starts no `.cmd` without a shell.
    """
    home = folder / f"Adobe After Effects {year}"
    home = home / "Support Files" if platform == "nt" else home
    script = home / "Scripts" / "Startup" / "commandLineRenderer.jsx"
    script.parent.mkdir(parents=True, exist_ok=True)
    if not script.exists():
        mark = f"// nexrender-patch-v{'1.0.4' if year >= '2022' else '1.0.3'}\n" if patched else ""
        script.write_text(_SCRIPT + mark, encoding="utf-8")
    return _windows_program(home) if platform == "nt" else _posix_program(home)


def _posix_program(home: Path) -> Path:
    """A shell script: the quickest way to start this very Python, whatever the environment it is started with."""
    path = home / "aerender"
    program, source = shlex.quote(sys.executable), shlex.quote(str(_SOURCE))
    text = (
        "#!/bin/sh\n"
        f'WATCHRENDER_SIM_HOME="${{0%/*}}" PYTHONPATH={source} PYTHONDONTWRITEBYTECODE=1 '
        f'exec {program} -s -m watchrender.render.simulator "$@"\n'
    )
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def _windows_program(home: Path) -> Path:
    launcher = _launcher()
    if launcher is None:
        path = home / "aerender.cmd"
        path.write_text(
            f'@set "WATCHRENDER_SIM_HOME=%~dp0"\r\n@set "PYTHONPATH={_SOURCE}"\r\n'
            f'@"{sys.executable}" -s -m watchrender.render.simulator %*\r\n',
            encoding="utf-8",
        )
        return path
    # A launcher runs the zip behind it with the Python on the line between, as pip's own programs do.
    body = (
        "import os, runpy, sys\n"
        "os.environ['WATCHRENDER_SIM_HOME'] = os.path.dirname(os.path.abspath(sys.argv[0]))\n"
        f"sys.path.insert(0, {str(_SOURCE)!r})\n"
        "runpy.run_module('watchrender.render.simulator', run_name='__main__')\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", body)
    path = home / "aerender.exe"
    path.write_bytes(launcher + f'#!"{sys.executable}" -s\r\n'.encode() + packed.getvalue())
    return path


def _launcher() -> bytes | None:
    """pip's launcher for console programs; None where there is no pip in this Python."""
    spec = importlib.util.find_spec("pip")
    if spec is None or spec.origin is None:
        return None
    name = "t64-arm.exe" if "ARM64" in sys.version else "t64.exe"
    path = Path(spec.origin).parent / "_vendor" / "distlib" / name
    return path.read_bytes() if path.is_file() else None
