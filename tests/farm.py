"""A farm for tests: the real nexrender-server and nexrender-worker from npm with the simulated After Effects, a server
that answers what a test wants, and a worker in Python that picks up by the server's lock, as newer ones do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import filelock
import httpx2
import platformdirs
import pytest

from tests.line import FILM, until
from tests.waiting import free_port
from watchrender.core.failure import Failure
from watchrender.render import nexrender, node

SET = Path(__file__).parents[1] / "deploy" / "farm"
SECRET = "s3cret"


def farm_set() -> Path:
    """The packages of deploy/farm, from npm. Kept in the user's cache under their hash: only the first run fetches."""
    names = ("package.json", "package-lock.json")
    key = hashlib.sha256(b"".join((SET / name).read_bytes() for name in names)).hexdigest()[:16]
    place = Path(platformdirs.user_cache_dir("watchrender-tests", appauthor=False)) / f"farm-{key}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(place.with_name(f".{place.name}.lock")):  # several at once (xdist) wait for each other
        if not place.is_dir():
            _install(place, names)
    return place


def _install(place: Path, names: tuple[str, ...]) -> None:
    found = node.good_node()
    npm = found if isinstance(found, Failure) else node.npm_command(found[0])
    if isinstance(npm, Failure):
        pytest.fail(f"{npm.message} {npm.cure}")
    fresh = place.with_name(f".{place.name}-{uuid.uuid4().hex[:8]}.part")
    fresh.mkdir()
    for name in names:
        shutil.copy(SET / name, fresh / name)
    words = ["ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run([*npm, *words], cwd=fresh, check=True, capture_output=True)
    fresh.rename(place)


class Farm:
    """One nexrender-server and its workers, each a process of its own that a test may kill."""

    def __init__(self, packages: Path, home: Path) -> None:
        self.packages = packages
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = home / "database.json"
        self.server: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        home.mkdir(parents=True, exist_ok=True)

    def start_server(self) -> None:
        env = self._environment(NEXRENDER_DATABASE=str(self.database), NEXRENDER_ORDERING="priority")
        self.server = self._start("server", env, "-p", str(self.port), "--secret", SECRET)
        until(self.answers)

    def answers(self) -> bool:
        try:
            return bool(httpx2.get(f"{self.url}/api/v1/health", timeout=1).text == "ok")
        except httpx2.HTTPError:
            return False

    def start_worker(self, name: str, aerender: Path, *words: str) -> None:
        env = self._environment(NEXRENDER_MAX_UPDATE_TIMEOUT="86400", HOME=str(self.home))
        if sys.platform == "linux":
            env["NODE_OPTIONS"] = nexrender.preload_option(nexrender.SET / "preload.cjs")
        said = ("--host", self.url, "--secret", SECRET, "--binary", str(aerender), "--no-license")
        place = self.home / name
        place.mkdir(exist_ok=True)
        self.workers[name] = self._start("worker", env, *said, "--workpath", str(place), "--polling", "300", *words)

    def kill_server(self) -> None:
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def kill_worker(self, name: str) -> None:
        """kill -9 of the worker alone: what it started lives on, as on a real machine."""
        self.workers[name].kill()
        self.workers[name].wait()

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        answer = httpx2.request(
            method, f"{self.url}/api/v1{path}", json=document, headers={"nexrender-secret": SECRET}, timeout=5
        )
        return answer.json() if answer.content else None

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {str(job["uid"]): job for job in self.ask("GET", "/jobs")}

    def stop(self) -> None:
        for process in (*self.workers.values(), *filter(None, [self.server])):
            process.kill()
            process.wait()

    def _start(self, package: str, env: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
        script = self.packages / "node_modules" / "@nexrender" / package / "src" / "bin.js"
        found = node.good_node()
        assert not isinstance(found, Failure)
        with open(self.home / f"{package}.log", "ab") as log:
            command = [str(found[0]), str(script), *words]
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @staticmethod
    def _environment(**more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEXRENDER", "WATCHRENDER"))}
        return kept | more


@contextmanager
def farming(home: Path) -> Iterator[Farm]:
    """The real server, without workers so far."""
    farm = Farm(farm_set(), home)
    try:
        farm.start_server()
        yield farm
    finally:
        farm.stop()


class Picker:
    """A worker by hand: picks up by the server's lock and does what a test says, step by step."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm

    def pick(self) -> dict[str, Any]:
        """The next job, waited for."""
        return until(lambda: self.farm.ask("GET", "/jobs/pickup"))  # type: ignore[no-any-return]

    def tell(self, job: dict[str, Any], **facts: Any) -> None:
        self.farm.ask("PUT", f"/jobs/{job['uid']}", {**job, **facts})

    def render(self, job: dict[str, Any], film: Path = FILM) -> None:
        """Leave a film and say so."""
        self.tell(job, state="render:dorender", renderProgress=50)
        shutil.copyfile(film, job["output"])
        self.tell(job, state="finished", renderProgress=100)


class Answering:
    """A server that answers what a test wants, to see what is made of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[str, str], tuple[int, bytes]] = lambda _method, _path: (204, b"")
        self.delay = 0.0
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_words: object) -> None: ...

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                answering.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                time.sleep(answering.delay)
                status, said = answering.answer(self.command, self.path)
                self.send_response(status)
                if status in range(300, 400):
                    self.send_header("location", "https://farm.example/login?next=/")
                if status != 204:
                    self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST = do_PUT = do_DELETE = _any

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads, self._http.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def says(self, path_ends: str, status: int, body: Any, rest: tuple[int, bytes] = (200, b"ok")) -> None:
        """One answer for a path, another for all else."""
        said = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = lambda _method, path: (status, said) if path.endswith(path_ends) else rest

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, as a test may want to answer it itself."""

    method: str
    path: str  # below /api/v1
    body: bytes


class Pretended:
    """A nexrender-server in this process, by its REST shapes, with workers that are threads; and with whatever a test
    wants to go wrong: `odd` may answer any request itself."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.posts: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.renders: list[str] = []  # uids, as workers begin them
        self.most = 0  # so many were in its hands at once, waiting or rendering
        self.odd: Callable[[Asked], tuple[int, bytes] | None] = lambda _asked: None
        self.stamps = False  # does it say of each job, each time, that it changed just now?
        self.lock = threading.RLock()
        self._over = threading.Event()
        self._workers: list[threading.Thread] = []
        pretended = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_words: object) -> None: ...

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                asked = Asked(method=self.command, path=self.path.removeprefix("/api/v1"), body=body)
                answer = pretended.odd(asked) or pretended.answer(asked, self.headers.get("nexrender-secret"))
                if answer[0] == 0:
                    return  # the connection ends without a word
                self.send_response(answer[0])
                if answer[0] != 204:
                    self.send_header("content-length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_POST = do_PUT = do_DELETE = _any

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads, self._http.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        for worker in self._workers:
            worker.join(60)
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    # -- the server -----------------------------------------------------------------------------------------

    def answer(self, asked: Asked, secret: str | None = SECRET) -> tuple[int, bytes]:
        if asked.path == "/health":
            return 200, b"ok"
        if secret != SECRET:
            return 403, b"Wrong or no authentication secret provided."
        with self.lock:
            found = self._answer(asked)
        return found if isinstance(found, tuple) else (200, json.dumps(found).encode())

    def _answer(self, asked: Asked) -> Any:
        words = asked.path.strip("/").split("/")
        if (asked.method, words) == ("POST", ["jobs"]):
            return self.take(json.loads(asked.body))
        match asked.method, words:
            case "GET", ["jobs", "status"]:
                return [self._light(job) for job in self.jobs]
            case "GET", ["jobs"]:
                return self.jobs
            case "GET", ["jobs", "pickup"]:
                return self.pick() or {}
            case "GET", ["jobs", uid]:
                return self.job(uid) or (200, b"")
            case "GET", ["jobs", uid, "status"]:
                job = self.job(uid)
                return self._light(job) if job is not None else (500, b"Internal Server Error")
            case "PUT", ["jobs", uid]:
                return self.tell(uid, **json.loads(asked.body))
            case "DELETE", ["jobs", uid]:
                self.deleted.append(uid)
                job = self.job(uid)
                if job is not None:
                    self.jobs.remove(job)
                return {"id": uid, "removed": True}
        return 204, b""

    def take(self, document: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.posts.append(document)
            self.jobs.append({**document, "state": "queued", "creator": "::ffff:127.0.0.1", "updatedAt": _now()})
            self.most = max(self.most, sum(job["state"] not in ("finished", "error") for job in self.jobs))
            return self.jobs[-1]

    def job(self, uid: str) -> dict[str, Any] | None:
        return next((job for job in reversed(self.jobs) if job["uid"] == uid), None)

    def pick(self, executor: str | None = "::ffff:10.0.0.1") -> dict[str, Any] | None:
        with self.lock:
            queued = [job for job in self.jobs if job["state"] == "queued"]
            if not queued:
                return None
            job = max(queued, key=lambda found: found.get("priority") or 0)
            job.update(state="picked", updatedAt=_now(), **({"executor": executor} if executor else {}))
            return dict(job)

    def tell(self, uid: str, **facts: Any) -> dict[str, Any] | None:
        with self.lock:
            job = self.job(uid)
            if job is not None:
                job.update(facts, updatedAt=_now())
            return job

    def _light(self, job: dict[str, Any]) -> dict[str, Any]:
        names = ("uid", "state", "type", "tags", "createdAt", "startedAt", "finishedAt", "timings")
        return {name: job.get(name) for name in names} | {
            "renderProgress": job.get("renderProgress") or 0,
            "error": job.get("error"),
            "jobExecutor": job.get("executor"),
            "updatedAt": _now() if self.stamps else job["updatedAt"],
        }

    # -- the workers ----------------------------------------------------------------------------------------

    def work(self, count: int, *, seconds: float = 0.2, executor: str | None = "::ffff:10.0.0.1") -> None:
        """So many workers from now on; `executor` None: they take jobs without the lock."""
        for _ in range(count):
            self._workers.append(threading.Thread(target=self._work, args=(seconds, executor), daemon=True))
            self._workers[-1].start()

    def _work(self, seconds: float, executor: str | None) -> None:
        while not self._over.wait(0.03):
            job = self.pick(executor)
            if job is not None:
                self.render(job, seconds)

    def render(self, job: dict[str, Any], seconds: float = 0.0) -> None:
        self.renders.append(job["uid"])
        self.tell(job["uid"], state="started")
        self._over.wait(seconds / 2)
        self.tell(job["uid"], state="render:dorender", renderProgress=50)
        self._over.wait(seconds / 2)
        try:
            shutil.copyfile(FILM, job["output"])
        except OSError as error:
            self.tell(job["uid"], state="error", error=f"Error: {error}")
        else:
            self.tell(job["uid"], state="finished", renderProgress=100)


def _now() -> str:
    return datetime.now(UTC).isoformat()
