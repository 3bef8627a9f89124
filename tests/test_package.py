"""What is handed out: a wheel and an sdist that install into a clean environment and run the demo there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.line import until
from watchrender import __version__
from watchrender.render.nexrender import Nexrender

HOME = Path(__file__).parent.parent
BIN = "Scripts" if os.name == "nt" else "bin"

pytestmark = [pytest.mark.slow, pytest.mark.nexrender, pytest.mark.timeout(600), pytest.mark.xdist_group("package")]


def _run(*words: str | Path, **more: object) -> str:
    found = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=500, **more)  # type: ignore[call-overload]
    assert found.returncode == 0, f"{words}\n{found.stdout}\n{found.stderr}"
    return str(found.stdout)


def _environment(folder: Path, *packages: str) -> Path:
    """A new environment with nothing but these packages in it. Returns its python."""
    _run(sys.executable, "-m", "venv", folder)
    python = folder / BIN / "python"
    _run(python, "-m", "pip", "install", "-q", "--no-input", "-c", HOME / "constraints.txt", *packages)
    return python


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that wheel and sdist were built into."""
    folder = tmp_path_factory.mktemp("built")
    python = _environment(folder / "builder", "hatchling")
    _run(python, "-m", "hatchling", "build", "-d", folder / "dist", cwd=HOME)
    return folder


def test_the_wheel_installs_into_a_clean_environment_and_runs_the_demo(
    built: Path, tmp_path: Path, nexrender_set: Nexrender
) -> None:
    assert nexrender_set.root is not None
    wheel = next((built / "dist").glob("*.whl"))
    home = tmp_path / "home"
    home.mkdir()
    python = _environment(tmp_path / "venv", f"watchrender[media] @ {wheel.as_uri()}")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("WATCHRENDER_", "PYTHON"))}
    environment |= {"HOME": str(home), "WATCHRENDER_DATA_DIR": str(nexrender_set.root.parent)}
    watchrender = python.parent / "watchrender"

    version = _run(watchrender, "--version", cwd=home, env=environment)
    _run(watchrender, "demo", "--keep", home / "renders", cwd=home, env=environment)

    assert __version__ in version
    films = sorted(path.name for path in (home / "renders").rglob("done/*/*.mp4"))
    assert len(films) == 3
    assert list((home / "renders").rglob("failed/*/WHY.txt"))


@pytest.mark.skipif(os.name == "nt", reason="a window that is closed ends both there")
def test_a_demo_that_is_asked_to_end_takes_its_service_along(tmp_path: Path, nexrender_set: Nexrender) -> None:
    assert nexrender_set.root is not None
    home = tmp_path / "demo"
    words = [sys.executable, "-m", "watchrender", "demo", "--keep", str(home)]
    environment = {**os.environ, "WATCHRENDER_DATA_DIR": str(nexrender_set.root.parent)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as demo:
        until(lambda: (home / "hot-folder" / "status" / "service.json").exists(), 60)
        demo.send_signal(signal.SIGTERM)

        assert demo.wait(60) == 130
    said = json.loads((home / "hot-folder" / "status" / "service.json").read_bytes())
    assert said["state"] == "stopped"
    assert not psutil.pid_exists(said["pid"])


def test_the_sdist_holds_what_a_reader_needs_and_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    packed = next((built / "dist").glob("*.tar.gz"))
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    source = next(tmp_path.glob("watchrender-*"))

    _run(
        built / "builder" / BIN / "python",
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        tmp_path / "again",
        cwd=source,
    )

    for name in ("README.md", "CHANGELOG.md", "LICENSE", "config.example.yaml", "tests", "docs", "deploy", "Makefile"):
        assert (source / name).exists(), name
    assert not list(source.rglob("node_modules"))
    assert _names(next((tmp_path / "again").glob("*.whl"))) == _names(next((built / "dist").glob("*.whl")))


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())
