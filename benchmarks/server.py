"""Beside nexrender's own queue: nexrender-server 1.38.0 and nexrender-worker 1.8.16, as they come and polling as often
as they can. From the job's hand-over to the start of aerender, and jobs per hour."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import Figure, ms, sec
from benchmarks.stand import CannotMeasure, Stand, bare_environment, installed, timed, wait_until
from watchrender.render.node import npm_command

_PACKAGES = ("@nexrender/server@1.38.0", "@nexrender/worker@1.8.16")
_FASTEST = 10  # milliseconds between two looks; less is not taken
_METHOD = (
    "{drops} jobs one after the other, then {jobs} jobs at once; one frame each, a simulated After Effects that is "
    "done at once. Server and worker come from npm and run on this machine, the worker's core {core}; as it comes it "
    "looks every 30 s, at its fastest every {fastest} ms. As they come, {few} jobs are enough to see it. Their worker "
    "is one node for all jobs, and takes whatever aerender leaves for a film; watchrender gives each try a node of its "
    "own, looks into each film, hashes it and makes previews."
)


def measure(*, quick: bool) -> list[Figure]:
    drops, jobs, few = (3, 6, 0) if quick else (15, 30, 2)
    folder = _installed_peers()
    ours_start, ours_wall = _ours(drops, jobs)
    fast_start, fast_wall = _theirs(folder, drops, jobs, polling=_FASTEST)
    rows = [
        ("", "hand-over → aerender", f"{jobs} jobs", "jobs an hour"),
        ("watchrender", ms(ours_start), sec([ours_wall]), f"{jobs / ours_wall * 3600:,.0f}"),
        ("server and worker, fastest", ms(fast_start), sec([fast_wall]), f"{jobs / fast_wall * 3600:,.0f}"),
    ]
    if few:
        slow_start, slow_wall = _theirs(folder, few, few, polling=None)
        rows.append(
            (
                "server and worker, as they come",
                ms(slow_start),
                f"{few}: {slow_wall:.0f} s",
                f"{few / slow_wall * 3600:,.0f}",
            )
        )
    core = json.loads((folder / "node_modules/@nexrender/core/package.json").read_text())["version"]
    method = _METHOD.format(drops=drops, jobs=jobs, fastest=_FASTEST, few=few, core=core)
    return [Figure(name="server", title="nexrender-server and nexrender-worker", method=method, rows=rows)]


def _installed_peers() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchrender-bench" / "nexrender-server"
    if not (base / "node_modules" / "@nexrender" / "worker").is_dir():
        node = shutil.which("node") or installed().command[0]
        npm = npm_command(Path(node))
        if not isinstance(npm, list):
            raise CannotMeasure(npm.message)
        base.mkdir(parents=True, exist_ok=True)
        words = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(base)]
        run = subprocess.run([*npm, *words, *_PACKAGES], capture_output=True, text=True, check=False)
        if run.returncode:
            raise CannotMeasure(f"npm could not install {' and '.join(_PACKAGES)}: {run.stderr.strip()[-300:]}")
    return base


def _ours(drops: int, jobs: int) -> tuple[list[float], float]:
    with Stand() as stand:
        project = stand.project()
        stand.start()
        time.sleep(1.0)
        waits = []
        for number in range(drops + 1):
            at = stand.drop(f"s{number}", stand.job(project))
            wait_until(lambda n=number: stand.done() > n, 60, what="a film")  # type: ignore[misc]
            waits.append(stand.started()[number] - at)
            time.sleep(0.3)
        with timed() as took:
            for number in range(jobs):
                stand.drop(f"m{number}", stand.job(project))
            wait_until(lambda: stand.done() == drops + 1 + jobs, 300, what="our films")
        return waits[1:], took[0]


def _theirs(folder: Path, drops: int, jobs: int, *, polling: int | None) -> tuple[list[float], float]:
    patience = 60 if polling else 60 * (drops + jobs)
    with Stand() as stand, _running(stand, folder, polling) as address:
        project, films = stand.project(), stand.folder / "films"
        films.mkdir()
        waits = []
        for number in range(drops + 1):
            at = time.time()
            _post(address, stand, project, films / f"s{number}.mp4")
            wait_until((films / f"s{number}.mp4").exists, patience, what="a film of the worker")
            waits.append(stand.started()[number] - at)
            time.sleep(0.3)
        with timed() as took:
            for number in range(jobs):
                _post(address, stand, project, films / f"m{number}.mp4")
            count = drops + 1 + jobs
            wait_until(lambda: len(os.listdir(films)) == count, 300 + patience, what="the worker's films")
        return waits[1:], took[0]


@contextmanager
def _running(stand: Stand, folder: Path, polling: int | None) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = shutil.which("node") or installed().command[0]
    environment: dict[str, str] = bare_environment(stand) | {"NEXRENDER_DATABASE": str(stand.folder / "db.json")}
    worker_environment = environment | ({"NEXRENDER_API_POLLING": str(polling)} if polling else {})
    address, scripts = f"http://127.0.0.1:{port}", folder / "node_modules" / "@nexrender"
    server = [node, str(scripts / "server/src/bin.js"), "--port", str(port), "--secret", "s"]
    worker = [
        node, str(scripts / "worker/src/bin.js"), "--host", address, "--secret", "s", "--binary", str(stand.aerender),
        "--workpath", str(stand.folder / "work"), "--no-license",
    ]  # fmt: skip
    log = open(stand.folder / "peers.log", "ab")  # noqa: SIM115 - as long as both run
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.append(subprocess.Popen(server, env=environment, stdout=log, stderr=log, start_new_session=True))
        wait_until(lambda: _answers(address), 30, 0.05, what="nexrender-server")
        running.append(subprocess.Popen(worker, env=worker_environment, stdout=log, stderr=log, start_new_session=True))
        time.sleep(2.0)
        if running[-1].poll() is not None:
            raise CannotMeasure(f"nexrender-worker ended: {(stand.folder / 'peers.log').read_text()[-300:]}")
        yield address
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _answers(address: str) -> bool:
    try:
        _ask(address, None)
    except (OSError, ValueError):
        return False
    return True


def _post(address: str, stand: Stand, project: Path, film: Path) -> None:
    copy: dict[str, Any] = {"module": "@nexrender/action-copy", "input": "result.mp4", "output": str(film)}
    job = stand.job(project)
    job["template"]["name"] = project.name  # the newest core cannot fetch a source that has none
    _ask(address, job | {"uid": film.stem, "actions": {"postrender": [copy]}})


def _ask(address: str, job: dict[str, Any] | None) -> None:
    headers = {"nexrender-secret": "s", "Content-Type": "application/json"}
    data = None if job is None else json.dumps(job).encode()
    asked = urllib.request.Request(f"{address}/api/v1/jobs", data=data, headers=headers)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        answer.read()
