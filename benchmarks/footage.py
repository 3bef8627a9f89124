"""Footage on a slow link: does After Effects wait for it? Beside the bare nexrender-cli in a loop, which fetches first
and renders then, and with footage that is near already, where there is nothing to gain."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.report import Figure, middle, sec
from benchmarks.stand import Stand, bare, bare_environment, timed, wait_until

_METHOD = (
    "{jobs} jobs, each with its own {size} MB of footage behind a local HTTP server whose line carries {rate} MB/s for "
    "all together, each render {seconds:g} s; {rounds} rounds by turns. Nobody can be faster than one download and all "
    "renders ({least:.0f} % of the loop's time). Then the same jobs with footage on this disk: nothing to gain."
)
_PIECE = 64 * 1024


@dataclass
class _Line:
    """A link of so many bytes a second, shared by all who use it."""

    rate: float
    free_at: float = 0.0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def wait(self, size: int) -> None:
        with self._lock:
            self.free_at = max(self.free_at, time.monotonic() - 0.05) + size / self.rate
            at = self.free_at
        time.sleep(max(0.0, at - time.monotonic()))


def measure(*, quick: bool) -> list[Figure]:
    jobs, size, rate, seconds, rounds = (4, 10, 20, 1.0, 1) if quick else (10, 50, 20, 5.0, 3)
    found: dict[str, list[float]] = {"ours": [], "loop": [], "near": [], "near loop": []}
    with _server(size * 10**6, rate * 1e6) as address:
        for _ in range(rounds):
            links = [f"{address}/clip{number}.mov" for number in range(jobs)]
            found["ours"].append(_ours(links, seconds))
            found["loop"].append(_loop(links, seconds))
            found["near"].append(_ours([""] * jobs, seconds))
            found["near loop"].append(_loop([""] * jobs, seconds))
    download = size / rate
    least = (download + jobs * seconds) / (jobs * (download + seconds))
    far, near = middle(found["ours"]) / middle(found["loop"]), middle(found["near"]) / middle(found["near loop"])
    waited = (middle(found["ours"]) - download - middle(found["near"])) / jobs
    rows = [
        (f"{jobs} jobs", "watchrender", "shell loop", "ratio"),
        ("footage over the link", sec(found["ours"]), sec(found["loop"]), f"{far:.2f}"),
        ("footage on this disk", sec(found["near"]), sec(found["near loop"]), f"{near:.2f}"),
    ]
    goals = [
        ("over the link ≤ 0.60 × the loop", f"{far:.2f} (the least that can be: {least:.2f})", far <= 0.6),
        (
            "After Effects waits for no footage but the first (against footage on this disk): ≤ 0.2 s a job",
            f"{waited:.2f} s",
            waited <= 0.2,
        ),
        ("never slower where there is nothing to gain", f"{near:.2f}", near <= 1.02),
    ]
    method = _METHOD.format(jobs=jobs, size=size, rate=rate, seconds=seconds, rounds=rounds, least=least * 100)
    return [Figure(name="footage", title="Footage on a slow link", method=method, rows=rows, goals=goals)]


def _assets(stand: Stand, link: str) -> list[dict[str, Any]]:
    source = link
    if not link:
        clip = stand.folder / "clip.mov"
        if not clip.exists():
            clip.write_bytes(os.urandom(2**20))
            os.utime(clip, (time.time() - 3600,) * 2)
        source = clip.as_uri()
    return [{"type": "video", "src": source, "layerName": "headline", "extension": "mov"}]


def _project(stand: Stand, seconds: float) -> Any:
    return stand.project(frames=10, layers=["headline"], behaviour={"seconds_per_frame": seconds / 10})


def _ours(links: list[str], seconds: float) -> float:
    policy = {"hosts": ["127.0.0.1"], "schemes": ["file", "http"]}
    with Stand(settings={"policy": policy}) as stand:
        project = _project(stand, seconds)
        stand.start()
        time.sleep(1.0)
        with timed() as took:
            for number, link in enumerate(links):
                stand.drop(f"j{number}", stand.job(project) | {"assets": _assets(stand, link)})
            wait_until(lambda: stand.done() == len(links), 300, what="our films")
        return took[0]


def _loop(links: list[str], seconds: float) -> float:
    with Stand() as stand:
        project = _project(stand, seconds)
        commands = []
        for number, link in enumerate(links):
            output = stand.folder / f"{number}.mp4"
            copy = {"module": "@nexrender/action-copy", "input": "result.mp4", "output": str(output)}
            job = stand.job(project) | {"assets": _assets(stand, link), "actions": {"postrender": [copy]}}
            path = stand.folder / f"{number}.json"
            path.write_text(json.dumps(job | {"uid": f"b{number}"}))
            commands.append((bare(stand, path, number), output))
        with timed() as took:
            for command, output in commands:
                quiet = subprocess.DEVNULL
                subprocess.run(command, env=bare_environment(stand), stdout=quiet, stderr=quiet, check=True)
                if not output.exists():
                    raise AssertionError(f"the loop made no {output}")
        return took[0]


@contextmanager
def _server(size: int, rate: float) -> Iterator[str]:
    line, piece = _Line(rate), os.urandom(_PIECE)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.headers.get("If-None-Match") == '"1"':
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.send_header("ETag", '"1"')
            self.send_header("Content-Type", "video/quicktime")
            self.end_headers()
            left = size
            with suppress(OSError):  # nexrender asks, hangs up and asks again
                while left:
                    part = min(left, _PIECE)
                    line.wait(part)
                    self.wfile.write(piece[:part])
                    left -= part

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
