"""HTTP and the commands over it, beside a service that is a process of its own: how it begins, goes on, and ends."""

from __future__ import annotations

import json
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.line import until
from tests.process import Lived, living

STREAMS = 200


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    return Lived(tmp_path, server={"enabled": True, "port": "0"})


def _address(lived: Lived) -> tuple[str, int]:
    host, port = lived.said()["address"]
    return str(host), int(port)


def _client(lived: Lived) -> httpx2.Client:
    host, port = _address(lived)
    return httpx2.Client(base_url=f"http://{host}:{port}/api/v1", trust_env=False, timeout=60)


class _Streams:
    """Many bare connections that follow the events, read by one thread."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.heard: dict[socket.socket, bytes] = {}
        for _ in range(count):
            sock = socket.create_connection(address)
            sock.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode())
            self.heard[sock] = b""
            self._selector.register(sock, selectors.EVENT_READ)

    def read(self, until_heard: bytes, seconds: float = 60) -> None:
        """Until each has heard this, or was closed."""
        deadline = time.monotonic() + seconds
        while not all(until_heard in heard for heard in self.heard.values()) and time.monotonic() < deadline:
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                data = sock.recv(65536)
                self.heard[sock] += data
                if not data:
                    self._selector.unregister(sock)

    def close(self) -> None:
        for sock in self.heard:
            sock.close()


def test_with_two_hundred_streams_open_and_one_that_does_not_read_it_says_goodbye_and_is_gone(lived: Lived) -> None:
    with living(lived), ExitStack() as talks:
        streams = _Streams(_address(lived), STREAMS)
        deaf = _Streams(_address(lived), 1)
        host, port = _address(lived)
        address = f"ws://{host}:{port}/api/v1/ws"
        sockets = [talks.enter_context(connect(address, proxy=None, close_timeout=1)) for _ in range(20)]
        streams.read(b"event: snapshot")
        assert lived.process is not None
        began = time.monotonic()
        lived.process.send_signal(signal.SIGTERM)
        code = lived.ends()
        took = time.monotonic() - began
        streams.read(b"0\r\n\r\n")
        streams.close()
        deaf.close()
        codes = []
        for talk in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    talk.recv(60)
            codes.append(closed.value.rcvd.code if closed.value.rcvd else None)

    assert codes == [1012] * len(sockets)
    assert code == 0
    assert took < 5  # a second, on a machine that has nothing else to do
    assert all(heard.count(b"event: bye") == 1 and heard.endswith(b"0\r\n\r\n") for heard in streams.heard.values())


def test_a_drain_over_http_ends_it_when_the_render_is_finished(lived: Lived) -> None:
    lived.drop("spot.json", lived.job("Slow"))
    with living(lived), _client(lived) as client:
        lived.wait("spot", "rendering")
        said = client.post("/queue/drain").json()
        ready = client.get(str(client.base_url.copy_with(path="/readyz")))

        assert said["draining"] is True
        assert (ready.status_code, [found["code"] for found in ready.json()["waiting"]]) == (
            503,
            ["SERVICE_NOT_RUNNING"],
        )
        assert lived.ends() == 0
    assert lived.status("spot")["state"] == "completed"
    assert not (lived.root / "inbox" / "_PAUSE").exists()


def test_a_stop_over_http_puts_the_render_back_and_leaves_the_queue_paused(lived: Lived) -> None:
    lived.drop("spot.json", lived.job("Slower"))
    with living(lived), _client(lived) as client:
        lived.wait("spot", "rendering")
        client.post("/queue/stop").raise_for_status()

        assert lived.ends() == 0
    assert lived.status("spot")["state"] == "queued"
    assert (lived.root / "inbox" / "_PAUSE").exists()


def test_what_was_sent_once_is_known_after_a_restart(lived: Lived) -> None:
    body: dict[str, Any] = {"name": "spot", "job": lived.job(), "settings": {"hold": True}}
    key = {"Idempotency-Key": "order-4711"}
    with living(lived), _client(lived) as client:
        first = client.post("/jobs", json=body, headers=key)
        lived.wait("spot", "queued")
        assert lived.terminate() == 0
    with living(lived), _client(lived) as client:
        other = client.post("/jobs", json=body | {"name": "another"}, headers=key)
        again = client.post("/jobs", json=body, headers=key)

    assert first.status_code == again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert other.status_code == 409
    assert lived.files("inbox") == ["spot.json"]


@pytest.mark.parametrize("http", [True, False])
@pytest.mark.parametrize(("composition", "tries"), [("CrashTwice", 3), ("Slow", 1)])
def test_a_log_that_is_followed_is_told_once_and_whole(lived: Lived, composition: str, tries: int, http: bool) -> None:
    lived.change(server={"enabled": http})
    lived.drop("spot.json", lived.job(composition))
    with living(lived):
        until(lambda: lived.status("spot"), 60)
        followed = lived.command("logs", "spot", "-f")

    assert followed.returncode == 0
    lines = followed.stdout.splitlines()
    assert lines.count("spawning aerender process: aerender") == tries
    assert sum("Finished composition" in line for line in lines) == 1


@pytest.mark.parametrize("how", ["raise", "raise SystemExit(130) from None"])
def test_an_interrupt_amid_an_import_ends_with_130_too(tmp_path: Path, how: str) -> None:
    (tmp_path / "interrupted.py").write_text(
        f"""
import watchrender.cli, watchrender.cli.app as module
def interrupted():
    try:
        exec("raise KeyboardInterrupt")  # as when a data class is being made
    except KeyboardInterrupt:
        {how}
module.app = interrupted
watchrender.cli.main()
""",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "interrupted"]
    assert subprocess.run(command, cwd=tmp_path, stderr=subprocess.DEVNULL, check=False).returncode == 130


@pytest.mark.parametrize("words", [("top",), ("logs", "spot", "-f"), ("submit", "--wait", "other.json")])
def test_who_follows_is_told_that_the_service_has_gone(lived: Lived, words: tuple[str, ...]) -> None:
    (lived.home / "other.json").write_text(json.dumps(lived.job("Slower")), encoding="utf-8")
    lived.drop("spot.json", lived.job("Slower"))
    with living(lived):
        lived.wait("spot", "rendering")
        command = [sys.executable, "-m", "watchrender", "-c", str(lived.config_file), *words]
        out = lived.home / "follower.out"
        with open(out, "wb") as file:
            follower = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=lived.home)
        if words[0] == "submit":
            lived.wait("other", "queued", 60)
        else:
            # `top` tells no terminal anything before its end: whether it follows, the service's own figures say.
            metrics = "http://{}:{}/metrics".format(*_address(lived))
            until(lambda: out.stat().st_size or "stream_readers 1.0" in httpx2.get(metrics, trust_env=False).text, 60)
        assert lived.terminate() == 0
        code = follower.wait(60)

    assert code == 3
    assert "has gone" in out.read_text(encoding="utf-8")
    assert "Traceback" not in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("top",), ("logs", "spot", "-f"), ("submit", "--wait", "other.json")])
def test_who_follows_and_is_interrupted_ends_with_130(lived: Lived, words: tuple[str, ...]) -> None:
    (lived.home / "other.json").write_text(json.dumps(lived.job("Slower")), encoding="utf-8")
    lived.drop("spot.json", lived.job("Slower"))
    with living(lived):
        lived.wait("spot", "rendering", 60)
        command = [sys.executable, "-m", "watchrender", "-c", str(lived.config_file), *words]
        out = lived.home / "follower.out"
        with open(out, "wb") as file:
            follower = subprocess.Popen(
                command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, cwd=lived.home,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip
        if words[0] == "submit":
            lived.wait("other", "queued", 60)
        else:
            until(lambda: out.stat().st_size, 60)
        follower.send_signal(signal.SIGINT)
        code = follower.wait(60)

    assert code == 130
    assert "Traceback" not in out.read_text(encoding="utf-8")


def test_top_tells_a_pipe_line_by_line_and_a_program_at_once(lived: Lived) -> None:
    lived.drop("spot.json", lived.job("Slower"))
    lived.drop("next.json", lived.job() | {"watchrender": {"hold": True}})
    with living(lived):
        lived.wait("spot", "rendering", 60)
        lived.wait("next", "queued", 60)
        found = json.loads(lived.command("top", "--json").stdout)
        out = lived.home / "top.out"
        with open(out, "wb") as file:
            command = [sys.executable, "-m", "watchrender", "-c", str(lived.config_file), "top"]
            top = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        until(lambda: b"spot" in out.read_bytes(), 60)
        lived.command("cancel", "next")
        until(lambda: b"next: cancelled" in out.read_bytes(), 60)
        top.kill()
        top.wait()

    assert [job["job"] for job in found["rendering"]] == ["spot"]
    assert [job["job"] for job in found["queue"]] == ["next"]
    assert found["service"]["counts"]["rendering"] == 1


def test_submit_waits_with_1_for_what_was_cancelled_or_replaced(lived: Lived) -> None:
    lived.change(queue={"supersede": "same-job"})
    (lived.root / "inbox" / "_PAUSE").touch()
    command = [sys.executable, "-m", "watchrender", "-c", str(lived.config_file), "submit", "--wait", "--json"]
    with living(lived):
        waiters = {}
        for name in ("gone", "old"):
            (lived.home / f"{name}.json").write_text(json.dumps(lived.job()), encoding="utf-8")
            waiters[name] = subprocess.Popen(
                [*command, str(lived.home / f"{name}.json")], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
            lived.wait(name, "queued", 60)
        lived.command("cancel", "gone")
        lived.drop("p60_old.json", lived.job("Other"))
        told = {name: json.loads(waiter.communicate(timeout=60)[0])[0] for name, waiter in waiters.items()}

    assert {name: waiter.returncode for name, waiter in waiters.items()} == {"gone": 1, "old": 1}
    assert {name: job["state"] for name, job in told.items()} == {"gone": "cancelled", "old": "cancelled"}
    assert told["old"]["superseded_by"] and not told["gone"]["superseded_by"]


def test_a_port_that_is_taken_is_for_a_person_to_mend(lived: Lived) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        lived.change(server={"port": str(port)})
        lived.run(ready=False)

        assert lived.ends() == 2
    assert f"server.port: {port} on 127.0.0.1 is taken by" in lived.output()
    assert "set server.port to another number" in lived.output()


def test_other_machines_are_let_in_with_a_token_only(lived: Lived) -> None:
    lived.change(server={"host": "0.0.0.0", "port": "0"})
    lived.run(ready=False)

    assert lived.ends() == 2
    assert "set server.token" in lived.output()
