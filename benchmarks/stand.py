"""A stand for one measurement: a hot folder, a simulated After Effects that writes down when it is started, real
nexrender, and a service of its own. Everything lies in a temporary folder and is gone afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psutil

from watchrender.core.failure import Failure
from watchrender.render import nexrender
from watchrender.render.simulator import install_simulator, write_project

AERENDER = Path("Adobe After Effects 2024") / "aerender"
#: A renderer that takes no time at all: writes a film that was made before, says what nexrender says.
INSTANT = Path(__file__).with_name("instant.py")


class CannotMeasure(Exception):
    """Something that this measurement needs is not there."""


def end_process(process: subprocess.Popen[Any], patience: float) -> None:
    """Ask it to end, wait so many seconds, and kill it then. One that has ended is left alone."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Stand:
    """One hot folder and what belongs to it."""

    def __init__(self, *, settings: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="watchrender-bench-"))
        self.root = self.folder / "root"
        self.inbox = self.root / "inbox"
        self.inbox.mkdir(parents=True)
        self.starts = self.folder / "starts"
        install_simulator(self.folder / "AE")
        self.aerender = self._counting(self.folder / "AE" / AERENDER)
        self.settings = dict(settings or {})
        self._service: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _counting(self, aerender: Path) -> Path:
        """Every start of aerender leaves a line with its time: both sides of a comparison pay for it."""
        real = aerender.with_name("aerender-real")
        aerender.rename(real)
        aerender.write_text(f'#!/bin/sh\ndate +%s.%N >> "{self.starts}"\nexec "{real}" "$@"\n')
        aerender.chmod(0o755)
        return aerender

    # -- what is rendered -----------------------------------------------------------------------------------

    def project(self, name: str = "spot", **facts: Any) -> Path:
        path = self.folder / "projects" / f"{name}.aep"
        path.parent.mkdir(exist_ok=True)
        write_project(path, composition="Main", **({"frames": 1} | facts))
        _age(path)
        return path

    def job(self, project: Path, **more: Any) -> dict[str, Any]:
        template = {"src": project.as_uri(), "composition": "Main", "outputExt": "mp4"}
        return {"template": template, "assets": [], "actions": {}} | more

    def drop(self, name: str, job: Mapping[str, Any]) -> float:
        """Drop a job by one rename. The moment just before it."""
        hidden = self.inbox / f".{name}.tmp"
        hidden.write_text(json.dumps(job))
        at = time.time()
        hidden.rename(self.inbox / f"{name}.json")
        return at

    # -- the service ----------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, *, seconds: float = 60) -> float:
        """Start the service. How long until it is ready, in seconds."""
        config = {
            "root": str(self.root),
            "state_dir": str(self.state),
            "server": {"enabled": False},
            "limits": {"min_free_disk": "10MiB", "terminate_grace": "2s"},
            "log": {"level": "WARNING"},
        } | self.settings
        config["nexrender"] = {"aerender": str(self.aerender)} | dict(self.settings.get("nexrender", {}))
        path = self.folder / "watchrender.yaml"
        path.write_text(json.dumps(config))
        # An installed watchrender is compiled; one that may not write what it compiles would do so at each start.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        began = time.monotonic()
        with open(self.folder / "service.log", "ab") as log:
            command = [sys.executable, "-m", "watchrender", "run", "-c", str(path)]
            self._service = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        beat = self.root / "status" / "service.json"
        wait_until(lambda: _reads(beat).get("pid") == self.pid and _reads(beat).get("state") == "running", seconds)
        return time.monotonic() - began

    @property
    def pid(self) -> int:
        assert self._service is not None
        return self._service.pid

    def wait_for_quiet(self, limit: float = 300.0) -> None:
        """Until it has nothing left to do: all status files are written, what a start clears up is cleared up."""
        service, deadline = psutil.Process(self.pid), time.monotonic() + limit
        while time.monotonic() < deadline:
            before = sum(service.cpu_times()[:2])
            time.sleep(2.0)
            if sum(service.cpu_times()[:2]) - before < 0.2:
                return

    def stop(self) -> None:
        if self._service is None:
            return
        end_process(self._service, 60)
        self._service = None
        with contextlib.suppress(FileNotFoundError):
            (self.root / "status" / "service.json").unlink()

    # -- what is seen ---------------------------------------------------------------------------------------

    def started(self) -> list[float]:
        """When aerender (or the instant renderer) was started, each time."""
        with contextlib.suppress(FileNotFoundError):
            return [float(line) for line in self.starts.read_text().split()]
        return []

    def done(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return sum(not name.startswith(".") for name in os.listdir(self.root / "done"))
        return 0

    def clear(self) -> None:
        """Between two rounds."""
        self.starts.unlink(missing_ok=True)


def bare(stand: Stand, job_file: Path, number: int) -> list[str]:
    """nexrender-cli for one job, with the same words that watchrender gives it, `--debug` apart."""
    work = stand.folder / "bare" / str(number)
    return [
        *installed().command, "--file", str(job_file), "--binary", str(stand.aerender), "--workpath", str(work),
        "--no-analytics", "--no-license",
    ]  # fmt: skip


def bare_environment(stand: Stand) -> dict[str, str]:
    """What nexrender needs to run on Linux at all."""
    home = stand.folder / "home"
    home.mkdir(exist_ok=True)
    return nexrender.environment(home=home, scratch=home)


def bare_job(stand: Stand, project: Path, number: int, **more: Any) -> Path:
    """The job as somebody without watchrender writes it, with its own delivery."""
    output = stand.folder / "bare-done" / f"{number}.mp4"
    output.parent.mkdir(exist_ok=True)
    copy = {"module": "@nexrender/action-copy", "input": "result.mp4", "output": str(output)}
    job = stand.job(project) | {"uid": f"bare{number}", "actions": {"postrender": [copy]}} | more
    path = stand.folder / f"bare-{number}.json"
    path.write_text(json.dumps(job))
    return path


def installed() -> nexrender.Nexrender:
    found = nexrender.find(None)
    if isinstance(found, Failure):
        made = nexrender.install(lambda line: print(f"  {line}", flush=True))
        if isinstance(made, Failure):
            raise CannotMeasure(made.message)
        found = made.nexrender
    return found


def needs(program: str, package: str) -> str:
    """The path of a peer's program, installed from Debian where it is missing."""
    if shutil.which(program) is None and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "-qq", "update"], **quiet, check=False)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "-qq", "install", "-y", package], **quiet, check=False)  # type: ignore[call-overload]
    found = shutil.which(program)
    if found is None:
        raise CannotMeasure(f"{program} is not installed (Debian: {package})")
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until(is_so: Callable[[], bool], seconds: float, pause: float = 0.005, *, what: str = "it") -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise CannotMeasure(f"waited {seconds:g} s in vain for {what}")
        time.sleep(pause)


@contextlib.contextmanager
def timed() -> Iterator[list[float]]:
    """The seconds a block took, as the only entry of the list."""
    found: list[float] = []
    began = time.monotonic()
    yield found
    found.append(time.monotonic() - began)


def _reads(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _age(path: Path) -> None:
    """A project that was saved an hour ago: nothing waits for it to settle."""
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
