"""Footage on a slow link, behind a server and on a volume: does After Effects wait for it? Beside the bare
nexrender-cli in a loop, which fetches first and renders then, and with footage that is near already, where there is
nothing to gain."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.line import Line
from benchmarks.mounts import Mount, cannot_mount
from benchmarks.report import Figure, middle, sec
from benchmarks.stand import CannotMeasure, Stand, bare, bare_environment, timed, wait_until

_METHOD = (
    "{jobs} jobs, each with its own {size} MB of footage behind a line that carries {rate} MB/s for all together, each "
    "render {seconds:g} s; {rounds} by turns. The link is a local HTTP server, the volume a FUSE mount; there "
    "the simulated After Effects reads its footage whole before it renders, on both sides. The loop copies or fetches "
    "first and renders then. Nobody can be faster than one download and all renders ({least:.0f} % of the loop's time)."
    " Then the same jobs with footage on this disk: nothing to gain."
)
_PIECE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is rendered, and over which line it comes."""

    jobs: int
    size: float  # MB
    rate: float  # MB/s
    seconds: float  # a render

    @property
    def download(self) -> float:
        return self.size / self.rate

    @property
    def least(self) -> float:
        """The least share of the loop's time that is possible: one download, and all renders."""
        return (self.download + self.jobs * self.seconds) / (self.jobs * (self.download + self.seconds))


def measure(*, quick: bool) -> list[Figure]:
    work = _Work(jobs=4, size=10, rate=20, seconds=1.0) if quick else _Work(jobs=10, size=50, rate=20, seconds=5.0)
    rounds = 1
    found: dict[str, list[float]] = {
        name: [] for name in ("near", "near loop", "link", "link loop", "mount", "mount loop")
    }
    no_mount = cannot_mount()
    for _ in range(rounds):
        with _server(int(work.size * 1e6), work.rate * 1e6) as address:
            links = [f"{address}/clip{number}.mov" for number in range(work.jobs)]
            found["link"].append(_ours(links, work.seconds))
            found["link loop"].append(_loop(links, work.seconds))
        found["near"].append(_ours([""] * work.jobs, work.seconds))
        found["near loop"].append(_loop([""] * work.jobs, work.seconds))
        if no_mount is None:
            try:
                with _mount(work) as clips:
                    found["mount"].append(_ours(clips, work.seconds, reads=True))
                    found["mount loop"].append(_loop(clips, work.seconds, reads=True))
            except CannotMeasure as error:
                no_mount = " ".join(str(error).split())
    rows: list[tuple[str, ...]] = [(f"{work.jobs} jobs", "watchrender", "shell loop", "ratio")]
    goals: list[tuple[str, str, bool]] = []
    for name, where in (("link", "over the link"), ("mount", "on the slow volume")):
        if name == "mount" and no_mount is not None:
            rows.append((f"footage {where}", f"not measured: {no_mount}", "", ""))
            continue
        rows.append(_row(f"footage {where}", found, name))
        goals += _far_goals(found, name, where, work)
    rows.append(_row("footage on this disk", found, "near"))
    near = _ratio(found, "near")
    goals.append(("never slower where there is nothing to gain", f"{near:.2f}", near <= 1.02))
    method = _METHOD.format(
        jobs=work.jobs, size=work.size, rate=work.rate, seconds=work.seconds, least=work.least * 100,
        rounds="one round" if rounds == 1 else f"{rounds} rounds",
    )  # fmt: skip
    return [Figure(name="footage", title="Footage on a slow link", method=method, rows=rows, goals=goals)]


def _ratio(found: dict[str, list[float]], name: str) -> float:
    return middle(found[name]) / middle(found[f"{name} loop"])


def _row(what: str, found: dict[str, list[float]], name: str) -> tuple[str, ...]:
    return what, sec(found[name]), sec(found[f"{name} loop"]), f"{_ratio(found, name):.2f}"


def _far_goals(found: dict[str, list[float]], name: str, where: str, work: _Work) -> list[tuple[str, str, bool]]:
    ratio = _ratio(found, name)
    waited = (middle(found[name]) - work.download - middle(found["near"])) / work.jobs
    return [
        (f"{where} ≤ 0.60 × the loop", f"{ratio:.2f} (the least that can be: {work.least:.2f})", ratio <= 0.6),
        (
            f"{where}, After Effects waits for no footage but the first (against footage on this disk): ≤ 0.2 s a job",
            f"{waited:.2f} s",
            waited <= 0.2,
        ),
    ]


def _assets(stand: Stand, link: str) -> list[dict[str, Any]]:
    source = link
    if not link:
        clip = stand.folder / "clip.mov"
        if not clip.exists():
            clip.write_bytes(os.urandom(2**20))
            os.utime(clip, (time.time() - 3600,) * 2)
        source = clip.as_uri()
    return [{"type": "video", "src": source, "layerName": "headline", "extension": "mov"}]


def _project(stand: Stand, seconds: float, reads: bool) -> Any:
    """`reads`: its footage is read, which the simulator does only where it is told to."""
    sees = {"sees": str(stand.folder / "seen.json")} if reads else {}
    return stand.project(frames=10, layers=["headline"], behaviour={"seconds_per_frame": seconds / 10} | sees)


def _ours(links: list[str], seconds: float, *, reads: bool = False) -> float:
    policy = {"hosts": ["127.0.0.1"], "schemes": ["file", "http"]}
    with Stand(settings={"policy": policy}) as stand:
        project = _project(stand, seconds, reads)
        stand.start()
        time.sleep(1.0)
        with timed() as took:
            for number, link in enumerate(links):
                stand.drop(f"j{number}", stand.job(project) | {"assets": _assets(stand, link)})
            wait_until(lambda: stand.done() == len(links), 300, what="our films")
        return took[0]


def _loop(links: list[str], seconds: float, *, reads: bool = False) -> float:
    with Stand() as stand:
        project = _project(stand, seconds, reads)
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
def _mount(work: _Work) -> Iterator[list[str]]:
    """The clips on a volume of their own, as addresses."""
    with tempfile.TemporaryDirectory(prefix="watchrender-bench-") as folder:
        path = Path(folder) / "volume"
        words = (str(path), str(work.jobs), str(int(work.size * 1e6)), str(work.rate * 1e6))
        mount = Mount("benchmarks.slow_mount", path, *words)
        try:
            yield [(path / f"clip{number}.mov").as_uri() for number in range(work.jobs)]
        finally:
            mount.end()


@contextmanager
def _server(size: int, rate: float) -> Iterator[str]:
    line, piece = Line(rate), os.urandom(_PIECE)

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
