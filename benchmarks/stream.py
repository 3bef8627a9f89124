"""The stream under load: up to a thousand readers and one that never reads. How late is a change, what does it cost?

The server runs in a process of its own, with a real ledger whose every change is on the disk before it is told; the
readers in another, each on a connection of its own. Both read the same monotonic clock (Linux, macOS): a change
carries the moment just before it was made, in its reason.
"""

from __future__ import annotations

import json
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import Figure, ms, part
from benchmarks.stand import CannotMeasure, wait_until

CHANGES_A_SECOND = 20
GOAL_SECONDS = 0.050
#: More than the system's own buffers hold for one connection.
FLOOD = 8000
_MOMENT = re.compile(rb"at=(\d+\.\d+)")
_HELLO_SECONDS = 60.0
_REQUEST = b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was seen with so many readers."""

    delays: list[float]
    burst: float
    cpu: float
    memory: str
    lazy: str
    refused: int


def measure(*, quick: bool) -> list[Figure]:
    if sys.platform == "win32":
        raise CannotMeasure("the clock that two processes share is read on Linux and macOS only")
    _many_files()
    seconds = 4 if quick else 20
    found = {readers: _with(readers, seconds) for readers in (50, 200, 1000)}
    rows: list[list[str]] = [["", *(f"{readers:,} readers" for readers in found)]]
    for what, shown in _ROWS.items():
        rows.append([what, *map(shown, found.values())])
    p99 = part(found[200].delays, 0.99)
    refused = sum(one.refused for one in found.values())
    gone = all(one.lazy.startswith("closed") for one in found.values())
    return [
        Figure(
            name="stream",
            title="The stream: 50, 200 and 1,000 readers, and one that nobody waits for",
            method=(
                f"{CHANGES_A_SECOND} changes of state a second for {seconds} s, each saved and told to all readers of"
                " Server-Sent Events; one more is connected and never reads. The readers share one process on this"
                f" machine with the server: with 1,000 it reads {CHANGES_A_SECOND * 1000:,} messages a second itself."
            ),
            rows=rows,
            goals=[
                ("99 % within 50 ms with 200 readers", f"{p99 * 1000:.1f} ms", p99 <= GOAL_SECONDS),
                ("a reader that does not read is closed", found[200].lazy, gone),
                ("nobody is refused", f"{refused:,}", not refused),
            ],
        )
    ]


_ROWS: dict[str, Callable[[Found], str]] = {
    "readers that were refused": lambda found: f"{found.refused:,}",
    "change to arrival, median (5 % – 95 %)": lambda found: ms(found.delays),
    "change to arrival, 99 %": lambda found: f"{part(found.delays, 0.99) * 1000:.1f} ms",
    "change to arrival, the latest": lambda found: f"{max(found.delays) * 1000:.1f} ms",
    "one burst of 200 messages to all, until the last has it": lambda found: f"{found.burst:.2f} s",
    "CPU of the server meanwhile (of one core)": lambda found: f"{found.cpu:.1f} %",
    "memory: idle, with readers, after the burst, at the end": lambda found: f"{found.memory} MiB",
    f"the reader that never reads, once {FLOOD:,} messages are on their way": lambda found: found.lazy,
}


def _with(count: int, seconds: int) -> Found:
    with _server() as server:
        idle = server.use()
        readers = Readers(server.port, count, lazy=1)
        quiet = server.use()
        server.tell({"changes": CHANGES_A_SECOND * seconds, "pause": 1 / CHANGES_A_SECOND, "kind": "job"})
        delays = readers.delays(CHANGES_A_SECOND * seconds * readers.count)
        busy = server.use()
        server.tell({"changes": 200, "pause": 0, "kind": "progress"})
        burst = readers.delays(200 * readers.count)
        after = server.use()
        server.tell({"changes": FLOOD, "pause": 0, "kind": "progress"})
        readers.delays(FLOOD * readers.count, at_least=0.0)  # progress may be merged for those that are behind
        gone = readers.wait_for_lazy(40)
        end = server.use()
        readers.close()
    return Found(
        delays=delays,
        burst=max(burst),
        cpu=(busy.cpu - quiet.cpu) / (busy.at - quiet.at) * 100,
        memory=_mb(idle, quiet, after, end),
        lazy=gone,
        refused=readers.refused,
    )


def _many_files() -> None:
    """A connection is an open file, here and in the server, which gets our limit."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))


# -- the readers --------------------------------------------------------------------------------------------


class Readers:
    """Connections that read, and some that do not."""

    def __init__(self, port: int, count: int, *, lazy: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._rest: dict[socket.socket, bytes] = {}
        self._hellos: set[socket.socket] = set()  # that have not had their first message
        self.refused = 0
        for _ in range(count):
            sock = self._connect(port)
            sock.setblocking(False)
            self._rest[sock] = b""
            self._hellos.add(sock)
            self._selector.register(sock, selectors.EVENT_READ)
        deadline = time.monotonic() + _HELLO_SECONDS
        while self._hellos:
            if time.monotonic() > deadline:
                raise CannotMeasure(f"{len(self._hellos)} of {count} readers had no answer in {_HELLO_SECONDS:.0f} s")
            self._drain(0.1)
        self._lazy = [self._connect(port) for _ in range(lazy)]
        self._drain(0.5)

    @property
    def count(self) -> int:
        """How many are served."""
        return len(self._rest)

    def _connect(self, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(_REQUEST)
        return sock

    def _drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _ in self._arrivals(0.05):
                pass

    def _refuse(self, sock: socket.socket) -> None:
        self.refused += 1
        self._hellos.discard(sock)
        self._selector.unregister(sock)
        del self._rest[sock]
        sock.close()

    def delays(self, count: int, *, at_least: float = 1.0) -> list[float]:
        """How late each message was, until all are here, or nothing has come for a while."""
        found: list[float] = []
        heard = time.monotonic()
        while len(found) < count:
            before = len(found)
            found += self._arrivals(0.2)
            if len(found) > before:
                heard = time.monotonic()
            elif time.monotonic() - heard > 5:
                break
        if len(found) < count * at_least:
            raise CannotMeasure(f"only {len(found)} of {count} messages arrived")
        return found

    def _arrivals(self, patience: float) -> Iterator[float]:
        for key, _ in self._selector.select(patience):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            data = sock.recv(256 * 1024)
            now = time.monotonic()
            if not data:
                self._selector.unregister(sock)
                continue
            if sock in self._hellos and data.startswith(b"HTTP/1.1 503 "):
                self._refuse(sock)
                continue
            *whole, self._rest[sock] = (self._rest[sock] + data).split(b"\n\n")
            if sock in self._hellos and any(b"event: snapshot" in frame for frame in whole):
                self._hellos.remove(sock)
            for frame in whole:
                moments = _MOMENT.findall(frame)
                if moments and b"event: snapshot" not in frame:
                    yield now - float(moments[-1])

    def wait_for_lazy(self, seconds: float) -> str:
        """Until the server has closed those who do not read."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self._drain(0.5)
            if all(_is_reset(sock) for sock in self._lazy):
                return f"closed after {time.monotonic() - began:.0f} s"
        return f"still open after {seconds:.0f} s"

    def close(self) -> None:
        for sock in (*self._rest, *self._lazy):
            sock.close()


def _is_reset(sock: socket.socket) -> bool:
    """Was it closed by the other end? Asked without reading what lies there."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0 or not _is_established(sock)


def _is_established(sock: socket.socket) -> bool:
    mine = sock.getsockname()
    return any(
        found.laddr == mine and found.status == psutil.CONN_ESTABLISHED
        for found in psutil.Process().net_connections(kind="tcp4")
    )


# -- the server ---------------------------------------------------------------------------------------------


class Use:
    """What a process has used so far."""

    def __init__(self, process: psutil.Process) -> None:
        times = process.cpu_times()
        self.at = time.monotonic()
        self.cpu = times.user + times.system
        self.rss = process.memory_info().rss


def _mb(*uses: Use) -> str:
    return ", ".join(f"{use.rss / 2**20:.0f}" for use in uses)


class Server:
    """The process that serves."""

    def __init__(self, child: subprocess.Popen[str], port: int) -> None:
        self._child = child
        self._process = psutil.Process(child.pid)
        self.port = port

    def tell(self, order: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(order) + "\n")
        self._child.stdin.flush()

    def use(self) -> Use:
        time.sleep(0.3)
        return Use(self._process)


@contextmanager
def _server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="watchrender-bench-"))
    command = [sys.executable, "-m", "benchmarks.stream", str(folder)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line.strip().isdecimal():
            raise CannotMeasure("the server did not start")
        port = int(line)
        wait_until(lambda: _answers(port), 10, what="the server")
        yield Server(child, port)
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)


def serve(folder: Path) -> None:
    """The child: a server on an empty record, and changes as they are ordered on stdin."""
    from watchrender.config.model import Folders as Names
    from watchrender.config.model import Server as ServerConfig
    from watchrender.control import Control
    from watchrender.core.job import Progress
    from watchrender.core.states import Event
    from watchrender.gate import Gate
    from watchrender.ledger.ledger import Ledger
    from watchrender.spool.folders import Folders
    from watchrender.web.server import WebServer

    (folder / "root").mkdir()
    ledger = Ledger(folder / "ledger")
    folders = Folders(folder / "root", Names())
    folders.prepare()
    gate = Gate(stamp=ledger.stamp)
    counts: dict[str, Any] = {"version": "", "node": "bench", "uptime": 0, "health": {}, "waiting": [], "counts": {}}
    web = WebServer(
        config=ServerConfig(port=0),
        ledger=ledger,
        control=Control(ledger=ledger, folders=folders, gate=gate, look=lambda: None),
        gate=gate,
        folders=folders,
        service_document=lambda: counts,
        queue_document=lambda: {"queue": [], "total": 0, "counts": {}},
        log_of=lambda _job: b"",
        drop=lambda *_: "",
        document_of=lambda _job: None,
        ready=list,
    )
    web.start()
    print(web.address[1], flush=True)

    def change(number: int) -> None:
        """The life of a job, step by step: each call is one change of state."""
        at = f"at={time.monotonic():.6f}"
        if number % 4 == 0:
            change.job = ledger.add(why=at, name=f"job{number}").id  # type: ignore[attr-defined]
        else:
            event = (Event.CHECK, Event.ACCEPT, Event.CANCEL)[number % 4 - 1]
            ledger.apply(change.job, event, at)  # type: ignore[attr-defined]

    runs = ledger.add(why="renders", name="runs").id
    for event in (Event.CHECK, Event.ACCEPT, Event.START):
        ledger.apply(runs, event, "renders")

    def progress(number: int) -> None:
        shown = Progress(percent=number % 100, frame=number, stage="rendering")
        ledger.progress(runs, shown, {"basis": f"at={time.monotonic():.6f}"})

    for line in sys.stdin:
        order = json.loads(line)
        do = change if order["kind"] == "job" else progress
        pause, due = threading.Event(), time.monotonic()
        for number in range(order["changes"]):
            do(number)
            due += order["pause"]
            if order["pause"]:
                pause.wait(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
