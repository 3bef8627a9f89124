"""The end of an installation: does it really work? Three looks, from the outside in.

1. The service: its heartbeat rises, started by the manager that will start it from now on.
2. The line: a tiny job is dropped into the inbox, held, and taken away again. That it is seen, read, judged, queued
   and withdrawn proves the folders, the rights and the service's own session. Nothing renders, nothing stays.
3. The render: the real nexrender, with a simulated After Effects, in a hot folder of its own in a temporary place. A
   job for the real After Effects cannot be made up: it needs a project of this house. With one (`--test-job FILE`) that
   job is rendered by the service itself instead, and its film stays in done/.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from watchrender import disk
from watchrender.config import Config
from watchrender.config.variables import without_settings
from watchrender.install.presence import alive
from watchrender.install.report import Line, bad, ok
from watchrender.render.server import server_failure
from watchrender.render.simulator import install_simulator, write_project
from watchrender.spool.folders import STATUS_SUFFIX, Folders, read_status
from watchrender.spool.volume import volume_of

#: Quick on a local disk; a share is looked at less often, and trusted later.
_LINE_SECONDS = 40.0
_LINE_SECONDS_SHARE = 150.0
_START_SECONDS = 60.0
_RENDER_SECONDS = 180.0
_OVER = ("completed", "failed", "cancelled")


def service_serves(folders: Folders, *, seconds: float = _START_SECONDS) -> Line:
    """Look 1."""
    found: dict[str, Any] | None = None

    def serves() -> bool:
        nonlocal found
        found = alive(folders.status / "service.json", watch=1.0)
        return found is not None and found.get("state") not in ("starting", "stopping")

    if not _wait(serves, seconds):
        cure = "See its log, or run `watchrender run` in a terminal: it says what is wrong."
        return bad("service", f"no heartbeat within {seconds:g} s", cure)
    said = found or {}
    # Its user and its variables may be others than ours: what it finds wrong, the doctor here does not see.
    for waiting in said.get("waiting") or ():
        return bad("service", f"it serves, and cannot render: {waiting.get('message')}", str(waiting.get("cure")))
    return ok("service", f"process {said.get('pid')} serves {folders.root}")


def line_works(config: Config, folders: Folders, *, seconds: float | None = None) -> Line:
    """Look 2."""
    name = f"self-test-{uuid.uuid4().hex[:8]}"
    patience = seconds or (_LINE_SECONDS_SHARE if volume_of(folders.root).is_share else _LINE_SECONDS)
    patience += 4 * (config.watch.settle if isinstance(config.watch.settle, float) else 0)
    dropped = _drop_held(folders, name)
    status = folders.status / f"{name}{STATUS_SUFFIX}"
    try:
        if not _wait(lambda: _says(status, "queued", *_OVER), patience):
            return _not_seen(status, name, patience)
        if (said := read_status(status)) and said["state"] != "queued":
            words = f"a job that only waits was {said['state']}: {(said.get('error') or {}).get('message')}"
            return bad("line", words, str((said.get("error") or {}).get("cure")))
    finally:
        disk.remove_tree(dropped)
    if not _wait(lambda: _says(status, *_OVER), patience):
        cure = "Look whether the service's user sees the same folder: two mounts of a share may differ."
        return bad("line", f"a job that was taken away again is still queued after {patience:g} s", cure)
    return ok("line", "a held job was seen, judged, queued, and withdrawn again")


def _drop_held(folders: Folders, name: str) -> Path:
    """A bundle with a project that is none, held: complete from its first moment."""
    hidden, target = folders.inbox / f".{name}.tmp", folders.inbox / name
    disk.mkdir(hidden)
    disk.write(hidden / "nothing.aep", b"not a project: this job is never rendered\n", durable=False)
    job = {"template": {"src": "nothing.aep", "composition": "Nothing"}, "watchrender": {"hold": True}}
    disk.write(hidden / "job.json", json.dumps(job), durable=False)
    disk.rename(hidden, target)
    return target


def _not_seen(status: Path, name: str, seconds: float) -> Line:
    said = read_status(status)
    where = f"is {said['state']} ({', '.join(said.get('waiting_for') or ())})" if said else "has no status"
    cure = "Look into status/service.json (`ignored`, `waiting`) and into the service's log."
    return bad("line", f"the job {name} in the inbox {where} after {seconds:g} s", cure)


def renders(config: Config, *, seconds: float = _RENDER_SECONDS) -> Line:
    """Look 3, without a job: nexrender as configured, After Effects simulated, a service of its own."""
    with tempfile.TemporaryDirectory(prefix="watchrender-self-test-", ignore_cleanup_errors=True) as place:
        home = Path(place)
        root = home / "hot-folder"
        (root / "inbox").mkdir(parents=True)
        write_project(home / "test.aep", composition="Test", frames=10, behaviour={"seconds_per_frame": 0.01})
        settings = {
            "root": str(root),
            "state_dir": str(home / "state"),
            "nexrender": {
                "aerender": str(install_simulator(home / "After Effects")),
                **({"command": [str(word) for word in config.nexrender.command]} if config.nexrender.command else {}),
            },
            "limits": {"min_free_disk": "10MiB"},
            "retry": {"max_retries": 0},
            "server": {"enabled": False},
        }
        (home / "watchrender.yaml").write_text(json.dumps(settings), encoding="utf-8")
        job = {"template": {"src": str(home / "test.aep"), "composition": "Test", "outputExt": "mp4"}}
        (root / "inbox" / "test.json").write_text(json.dumps(job), encoding="utf-8")
        return _rendered(home, root, seconds)


def farm_answers(config: Config) -> Line:
    """Look 3 where a farm renders: what is here is proven by the server's answer, the rest by a job of this house."""
    failure = server_failure(config)
    if failure is not None:
        return bad("render", failure.message, failure.cure)
    return ok("render", "nexrender-server answers; that its workers render, only a job of yours can show (--test-job)")


def _rendered(home: Path, root: Path, seconds: float) -> Line:
    began = time.monotonic()
    with _service(home) as service:
        try:
            status = root / "status" / f"test{STATUS_SUFFIX}"
            _wait(lambda: _says(status, *_OVER) or service.poll() is not None, seconds)
        finally:
            _end(service)
    said = read_status(root / "status" / f"test{STATUS_SUFFIX}") or {}
    if said.get("state") == "completed":
        took = time.monotonic() - began
        return ok("render", f"nexrender rendered a film with a simulated After Effects, in {took:.0f} s")
    error = said.get("error") or {}
    told = (home / "service.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    words = error.get("message") or " / ".join(told) or f"no film within {seconds:g} s"
    return bad("render", str(words), str(error.get("cure") or "Run `watchrender doctor` and `watchrender demo`."))


def job_renders(folders: Folders, job: Path, *, seconds: float) -> Line:
    """Look 3, with a job of this house: the service renders it, and the film stays."""
    name = f"self-test-{uuid.uuid4().hex[:8]}"
    suffix = "" if job.is_dir() else job.suffix
    hidden = folders.inbox / f".{name}.tmp"
    disk.copy_tree(job, hidden) if job.is_dir() else disk.copy(job, hidden)
    disk.rename(hidden, folders.inbox / f"{name}{suffix}")
    status = folders.status / f"{name}{STATUS_SUFFIX}"
    _wait(lambda: _says(status, *_OVER), seconds)
    said = read_status(status) or {}
    if said.get("state") == "completed":
        films = ", ".join(str(output.get("path")) for output in said.get("outputs") or ())
        return ok("render", f"{job.name} was rendered: {said.get('folder')} ({films})")
    error = said.get("error") or {}
    state = said.get("state", "not seen")
    words = error.get("message") or f"{job.name} is {state} after {seconds:g} s"
    cure = error.get("cure") or f"`watchrender show {name}` tells how it stands; it goes on by itself."
    return bad("render", str(words), str(cure))


def _service(home: Path) -> subprocess.Popen[bytes]:
    with open(home / "service.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "watchrender", "run", "-c", str(home / "watchrender.yaml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=without_settings(os.environ),
            creationflags=0x08000000 if sys.platform == "win32" else 0,
        )


def _end(service: subprocess.Popen[bytes]) -> None:
    if service.poll() is None:
        service.send_signal(signal.SIGTERM)
    try:
        service.wait(30)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def _says(status: Path, *states: str) -> bool:
    said = read_status(status)
    return said is not None and said["state"] in states


def _wait(so: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if so():
            return True
        time.sleep(0.2)
    return so()


def looks(config: Config, folders: Folders, job: Path | None, *, seconds: float) -> Iterator[Line]:
    """All three, ended by the first that fails."""

    def render() -> Line:
        if job is not None:
            return job_renders(folders, job, seconds=seconds)
        return farm_answers(config) if config.engine == "nexrender-server" else renders(config)

    checks: list[Callable[[], Line]] = [
        lambda: service_serves(folders),
        lambda: line_works(config, folders),
        render,
    ]
    for check in checks:
        line = check()
        yield line
        if line.cure is not None:
            return
