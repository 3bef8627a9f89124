"""The stream over real connections: who reads, who does not, who comes back, and how it ends. A web server alone, on a
record of its own."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.line import until
from watchrender.config.model import Folders as Names
from watchrender.config.model import Server
from watchrender.control import Control
from watchrender.core.job import Progress
from watchrender.core.states import Event
from watchrender.gate import Gate
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import Folders
from watchrender.web import hub, protocol, pulse, server
from watchrender.web.app import ROUTES
from watchrender.web.server import PortTaken, WebServer


class Alone:
    """A web server and what it stands on."""

    def __init__(self, home: Path, **settings: Any) -> None:
        (home / "root").mkdir(exist_ok=True)
        self.ledger = Ledger(home / "ledger", sync="never")
        self.folders = Folders(home / "root", Names())
        self.folders.prepare()
        self.gate = Gate(stamp=self.ledger.stamp)
        control = Control(ledger=self.ledger, folders=self.folders, gate=self.gate, look=lambda: None)
        self.web = WebServer(
            config=Server(**({"port": 0} | settings)),
            ledger=self.ledger,
            control=control,
            gate=self.gate,
            folders=self.folders,
            service_document=lambda: {"version": "1", "node": "here", "uptime": 1.0, "health": {}},
            queue_document=lambda: {"queue": [], "total": 0, "counts": {}},
            log_of=lambda _job: b"one\ntwo\nthree\n",
            drop=lambda *_: "",
            document_of=lambda _job: None,
            ready=list,
        )
        self.web.start()
        self.hub = self.web._site.hub
        assert self.web._loop is not None
        self.loop = self.web._loop

    @property
    def host(self) -> str:
        return "{}:{}".format(*self.web.address)

    def client(self, **more: Any) -> httpx2.Client:
        return httpx2.Client(base_url=f"http://{self.host}", trust_env=False, timeout=10, **more)

    def socket(self, rest: str = "") -> Any:
        return connect(f"ws://{self.host}/api/v1/ws{rest}", proxy=None, close_timeout=1)

    def follow(self) -> socket.socket:
        """A bare connection that has asked for the events and reads nothing by itself."""
        sock = socket.create_connection(self.web.address, timeout=10)
        sock.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        return sock

    def render(self, name: str) -> str:
        job = self.ledger.add(why="test", name=name)
        for event in (Event.CHECK, Event.ACCEPT, Event.START):
            self.ledger.apply(job.id, event, "test")
        return job.id

    def flood(self, job: str, count: int) -> None:
        for number in range(count):
            self.ledger.progress(job, Progress(frame=number), {"basis": "x" * 200})

    def close(self) -> None:
        self.web.stop()
        self.ledger.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Alone]:
    made = Alone(tmp_path)
    yield made
    made.close()


def _events(client: httpx2.Client, **more: Any) -> Iterator[dict[str, Any]]:
    with client.stream("GET", "/api/v1/events", **more) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data:"):
                yield json.loads(line[5:])


# -- who reads ----------------------------------------------------------------------------------------------


def test_an_event_has_its_id_and_type_beside_its_data(alone: Alone) -> None:
    with alone.client() as client, client.stream("GET", "/api/v1/events") as answer:
        lines = answer.iter_lines()
        event = [next(line for line in lines if line.startswith(start)) for start in ("id:", "event:", "data:")]

    found = json.loads(event[2][5:])
    assert event[0] == f"id: {found['id']}"
    assert event[1] == "event: snapshot"
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_ids_begin_at_the_start_in_milliseconds_and_above_those_of_the_life_before(tmp_path: Path) -> None:
    before = time.time() * 1000
    first = Alone(tmp_path)
    assert before - 1 <= first.hub.head <= time.time() * 1000 + 1000
    for number in range(20):
        first.hub.publish("service", {"number": number})
    first.ledger.know(stream_id=int(time.time() * 1000) + 3_600_000)  # as if it had run ahead of the clock
    first.hub._next_id = first.ledger.facts()["stream_id"] + 1
    last = first.hub.newest
    first.close()

    second = Alone(tmp_path)
    try:
        with second.client() as client:
            found = next(_events(client, headers={"Last-Event-ID": str(last)}))
    finally:
        second.close()
    assert found["data"]["gap"] is True
    assert found["id"] > last


@pytest.mark.parametrize("last", ["17", "99999999999999999", "-5", "x", "١٧", "1.5", "9" * 100])
def test_an_id_that_is_too_old_unknown_or_of_the_future_begins_with_a_gap(alone: Alone, last: str) -> None:
    with alone.client() as client:
        found = next(_events(client, params={"last_event_id": last}))

    assert found["type"] == "snapshot"
    assert found["data"]["gap"] is True


def test_the_id_of_the_header_is_newer_than_that_of_the_address(alone: Alone) -> None:
    last = alone.hub.head
    alone.render("spot")
    until(lambda: alone.hub.head >= last + 4)
    with alone.client() as client:
        found = next(_events(client, headers={"Last-Event-ID": str(last + 2)}, params={"last_event_id": str(last)}))

    assert found["id"] == last + 3


def test_the_socket_says_what_the_events_say(alone: Alone) -> None:
    with alone.client() as client, alone.socket() as reader:
        first = json.loads(reader.recv(5))
        job = alone.render("spot")
        alone.ledger.progress(job, Progress(percent=50))
        told = [json.loads(reader.recv(5)) for _ in range(5)]
        again = _events(client, headers={"Last-Event-ID": str(first["id"])})

        assert first["type"] == "snapshot"
        assert told == [next(again) for _ in range(5)]
        assert told[-1]["data"]["progress"]["percent"] == 50


def test_what_is_replayed_is_word_for_word_what_was_said(alone: Alone) -> None:
    """One follows all the time; one is cut off again and again, and comes back by either door with its last id."""
    whole: list[str] = []
    pieces: list[str] = []
    with alone.socket() as follower:
        first = json.loads(follower.recv(10))
        last = first["id"]
        for number in range(6):
            job = alone.render(f"spot{number}")
            alone.flood(job, 3)
            alone.ledger.apply(job, Event.FINISH, "test")
            whole += [str(follower.recv(10)) for _ in range(8)]
            door = f"?last_event_id={last}"
            if number % 2:
                with alone.socket(door) as again:
                    pieces += [str(again.recv(10)) for _ in range(8)]
            else:
                with alone.client() as client, client.stream("GET", f"/api/v1/events{door}") as answer:
                    lines = answer.iter_lines()
                    said = (line[6:] for line in lines if line.startswith("data: "))
                    pieces += [next(said) for _ in range(8)]
            last = json.loads(pieces[-1])["id"]

    ids = [json.loads(text)["id"] for text in whole]
    assert ids == list(range(first["id"] + 1, first["id"] + 1 + len(ids)))
    assert pieces == whole


def test_who_follows_one_job_hears_of_no_other(alone: Alone) -> None:
    job, other = alone.render("spot"), alone.render("other")
    with alone.socket(f"?job={job}") as reader:
        first = json.loads(reader.recv(5))
        alone.ledger.progress(other, Progress(percent=1))
        alone.ledger.progress(job, Progress(percent=2))
        told = json.loads(reader.recv(5))
        while told["type"] == "service":
            told = json.loads(reader.recv(5))

    assert [shown["id"] for shown in first["data"]["jobs"]] == [job]
    assert (told["type"], told["data"]["id"]) == ("progress", job)


def test_a_job_that_is_not_there_cannot_be_followed(alone: Alone) -> None:
    with alone.client() as client:
        answer = client.get("/api/v1/events", params={"job": "nobody"})
    with pytest.raises(InvalidStatus) as refused, alone.socket("?job=nobody"):
        pass

    assert answer.status_code == 404
    assert refused.value.response.status_code == 404
    assert refused.value.response.headers["content-type"] == "application/problem+json"


def test_a_foreign_page_gets_no_socket_and_is_no_fault_of_ours(alone: Alone, caplog: pytest.LogCaptureFixture) -> None:
    address = f"ws://{alone.host}/api/v1/ws"
    with pytest.raises(InvalidStatus) as refused, connect(address, proxy=None, origin="http://evil.example"):
        pass
    with alone.client() as client:
        client.get("/healthz")

    assert refused.value.response.status_code == 403
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_no_more_streams_than_a_server_can_bear(alone: Alone) -> None:
    alone.hub.most_readers = 2
    with alone.client() as client, alone.socket() as one, alone.socket() as two:
        one.recv(5)
        two.recv(5)
        answer = client.get("/api/v1/events")

        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "2 streams" in answer.json()["detail"]
        one.close()
        until(lambda: alone.hub.readers == 1)
        assert next(_events(client))["type"] == "snapshot"


def test_the_bound_holds_for_those_who_come_at_once_too(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    alone.hub.most_readers = 3
    go_on = _hold_the_snapshots(alone, monkeypatch)
    socks = [alone.follow() for _ in range(8)]
    until(lambda: len(_answered(socks)) == 5)
    refused = _answered(socks)

    go_on.set()
    heads = [sock.recv(12) for sock in refused]
    served = [sock.recv(12) for sock in socks if sock not in refused]
    for sock in socks:
        sock.close()

    assert heads == [b"HTTP/1.1 503"] * 5
    assert served == [b"HTTP/1.1 200"] * 3
    until(lambda: alone.hub.readers == 0)


def test_who_leaves_before_the_first_message_takes_up_no_place(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = _hold_the_snapshots(alone, monkeypatch)
    assert alone.web._server is not None
    connections = alone.web._server.server_state.connections
    sock = alone.follow()
    until(lambda: alone.hub.readers == 1)
    sock.close()
    until(lambda: not connections)

    go_on.set()

    until(lambda: alone.hub.readers == 0)


def _hold_the_snapshots(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Who comes has to wait until this is set."""
    go_on = threading.Event()

    async def refresh() -> None:
        while not go_on.is_set():
            await asyncio.sleep(0.005)

    monkeypatch.setattr(alone.web._site.etas, "refresh", refresh)
    return go_on


def _answered(socks: list[socket.socket]) -> list[socket.socket]:
    return select.select(socks, [], [], 0)[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has a bound of its own")
def test_the_bound_follows_what_the_system_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_open_files", lambda: 300)
    alone = Alone(tmp_path)
    try:
        assert alone.hub.most_readers == 150
    finally:
        alone.close()


def test_a_reader_of_an_older_http_gets_the_same_words(alone: Alone) -> None:
    sock = socket.create_connection(alone.web.address, timeout=10)
    sock.sendall(f"GET /api/v1/events HTTP/1.0\r\nHost: {alone.host}\r\n\r\n".encode())
    text = b""
    while b"event: snapshot" not in text:
        text += sock.recv(65536)
    until(lambda: alone.hub.readers == 1)
    alone.render("spot")
    while text.count(b"event: job") < 4:
        text += sock.recv(65536)
    sock.close()

    body = text.partition(b"\r\n\r\n")[2]
    fields = {line.partition(b":")[0] for line in body.split(b"\n") if line}
    assert fields <= {b"retry", b"id", b"event", b"data"}


# -- who does not -------------------------------------------------------------------------------------------


def test_a_reader_that_never_reads_is_closed_and_the_others_miss_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "STUCK_SECONDS", 0.5)
    alone = Alone(tmp_path)
    try:
        job = alone.render("spot")
        lazy = alone.follow()
        heard: list[int] = []

        def read() -> None:
            with alone.client() as client:
                heard.extend(message["id"] for message in _events(client) if message["type"] != "bye")

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        until(lambda: alone.hub.readers == 2 and heard)
        for _ in range(20):
            alone.flood(job, 500)
            until(lambda: heard[-1] >= alone.hub.newest - 100)
        until(lambda: alone.hub.dropped_readers == 1)
        lazy.settimeout(5)
        with pytest.raises(ConnectionError):
            while lazy.recv(65536):
                pass
        until(lambda: heard[-1] == alone.hub.head)

        assert heard == list(range(heard[0], heard[0] + len(heard)))
        lazy.close()
    finally:
        alone.close()
    reader.join(5)


def test_a_reader_that_does_not_read_costs_a_few_pieces_and_no_more(alone: Alone) -> None:
    socks = [alone.follow() for _ in range(10)]
    until(lambda: alone.hub.readers == 10)
    for _ in range(20):
        for _ in range(50):
            alone.hub.publish("service", {"words": "x" * 4000})  # nothing of this is merged
        last = alone.hub.newest
        until(lambda last=last: alone.hub.head >= last)
    until(lambda: all(reader.waiting() for reader in alone.hub._readers))
    waiting = [reader.waiting() for reader in alone.hub._readers]
    for sock in socks:
        sock.close()

    assert len(waiting) == 10
    assert max(waiting) <= protocol.STREAM_WAITING_BYTES + 2 * hub.CHUNK_BYTES


def test_a_reader_that_falls_behind_starts_over_and_is_told(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "RING_MESSAGES", 50)
    job = alone.render("spot")
    sock = alone.follow()
    until(lambda: alone.hub.readers == 1)
    for _ in range(40):  # in pieces, so that the loop has its turns and the connection fills
        last = alone.hub.newest
        alone.flood(job, 200)
        until(lambda last=last: alone.hub.head >= last + 200)
    sock.settimeout(2)
    data = b""
    while b'"gap":true' not in data:
        data += sock.recv(65536)
    sock.close()

    assert alone.hub.dropped_readers == 0


def test_a_client_that_leaves_is_forgotten_at_once(alone: Alone) -> None:
    socks = [alone.follow() for _ in range(20)]
    until(lambda: alone.hub.readers == 20)
    began = time.monotonic()
    for sock in socks:
        sock.close()
    until(lambda: alone.hub.readers == 0)

    assert time.monotonic() - began < 2


# -- how it ends --------------------------------------------------------------------------------------------


def test_the_end_says_goodbye_to_all_and_takes_less_than_a_second(tmp_path: Path) -> None:
    alone = Alone(tmp_path)
    reading, lazy, silent = alone.follow(), alone.follow(), socket.create_connection(alone.web.address)
    with alone.socket() as over_socket:
        over_socket.recv(5)
        until(lambda: alone.hub.readers == 3)
        began = time.monotonic()
        alone.close()
        took = time.monotonic() - began

        with pytest.raises(ConnectionClosed) as closed:
            while True:
                over_socket.recv(5)
    text = b""
    while piece := reading.recv(65536):
        text += piece
    for sock in (reading, lazy, silent):
        sock.close()

    assert b"event: bye" in text
    assert text.endswith(b"0\r\n\r\n")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert took < 1.5  # a second, and what a busy machine adds


def test_a_change_after_the_end_hurts_nobody(tmp_path: Path) -> None:
    alone = Alone(tmp_path)
    alone.web.stop()
    alone.render("spot")
    alone.web.service_changed()
    alone.web.stop()
    alone.ledger.close()


# -- the door -----------------------------------------------------------------------------------------------


def test_what_is_no_handshake_is_a_problem_too(alone: Alone) -> None:
    with socket.create_connection(alone.web.address, timeout=10) as sock:
        lines = ["GET /api/v1/ws HTTP/1.1", f"Host: {alone.host}", "Connection: Upgrade", "Upgrade: websocket", "", ""]
        sock.sendall("\r\n".join(lines).encode())
        head, _, body = b"".join(iter(lambda: sock.recv(4096), b"")).decode().partition("\r\n\r\n")

    assert head.startswith("HTTP/1.1 400 ")
    assert head.lower().count("content-type: ") == 1
    assert "application/problem+json" in head
    assert json.loads(body)["detail"].endswith("missing Sec-WebSocket-Key header.")


def test_what_is_no_http_is_a_problem_too(alone: Alone) -> None:
    with socket.create_connection(alone.web.address, timeout=5) as sock:
        sock.sendall(b"hello there\r\n\r\n")
        text = sock.recv(65536)

    assert text.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in text


def test_who_connects_and_asks_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "FIRST_REQUEST_SECONDS", 0.3)
    alone = Alone(tmp_path)
    try:
        for beginning in (b"", b"GET / HTTP/1.1\r\nHost: local"):
            with socket.create_connection(alone.web.address, timeout=5) as sock:
                sock.sendall(beginning)
                try:
                    assert sock.recv(100) == b""
                except ConnectionError:
                    pass
        with alone.client() as client:  # a connection in use is not
            client.get("/healthz")
            time.sleep(0.5)  # longer than the limit: it must not count for a connection that has asked
            assert client.get("/healthz").status_code == 200
    finally:
        alone.close()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"priority": 5', "application/json", 400),
        (b"priority=5", "application/x-www-form-urlencoded", 415),
        (b"", "application/json", 400),
        (b'{"priority": "5"}', "application/json", 422),
        (b'{"priority": true}', "application/json", 422),
        (b'{"priority": 101}', "application/json", 422),
        (b'{"priority": 5, "hold": true}', "application/json", 422),
        (b"[]", "application/json", 422),
        (b'"' + b"x" * 600_000 + b'"', "application/json", 413),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"priority": 5}', "application/json; charset=utf-8", 200),
        (b'{"priority": 5.0}', "application/json", 200),
    ],
)
def test_a_body_is_judged_whole(alone: Alone, body: bytes, kind: str, status: int) -> None:
    job = alone.ledger.add(why="test", name="spot")
    with alone.client() as client:
        answer = client.patch(f"/api/v1/jobs/{job.id}", content=body, headers={"content-type": kind})

    assert answer.status_code == status
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "name: is missing; job: is missing"),
        ({"name": "spot", "job": {}, "priority": 5}, "priority: is no key here; leave it out"),
        ({"name": "spot", "job": "spot.aep"}, "job: is no JSON object"),
        ([], "the body is no JSON object"),
    ],
)
def test_what_is_wrong_with_a_body_is_told_in_words(alone: Alone, body: Any, words: str) -> None:
    with alone.client() as client:
        assert client.post("/api/v1/jobs", json=body).json()["detail"] == words


def test_a_body_that_is_packed_is_told_so(alone: Alone) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    with alone.client() as client:
        answer = client.post("/api/v1/jobs", content=b"{}", headers=headers)

    assert answer.status_code == 415
    assert "content-encoding" in answer.json()["detail"]


@pytest.mark.parametrize("sub", ["/abs", "a//b", "a/", "..", "a/../b", ".", "/", " "])
def test_a_sub_folder_that_leads_out_of_the_inbox_is_refused(alone: Alone, sub: str) -> None:
    with alone.client() as client:
        answer = client.post("/api/v1/jobs", json={"name": "spot", "sub": sub, "job": {}})

    assert answer.status_code == 422
    assert "sub" in answer.json()["detail"]


def test_parameters_that_a_form_sends_empty_count_as_left_out(alone: Alone) -> None:
    alone.ledger.add(why="test", name="spot")
    with alone.client() as client:
        found = client.get("/api/v1/jobs?state=&q=&limit=&cursor=&tag=&code=").json()

    assert [job["job"] for job in found["jobs"]] == ["spot"]
    assert found["next"] is None


def test_a_body_without_a_length_is_limited_too(alone: Alone) -> None:
    job = alone.ledger.add(why="test", name="spot")

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 65536

    with alone.client() as client:
        try:
            answer = client.patch(
                f"/api/v1/jobs/{job.id}", content=endless(), headers={"content-type": "application/json"}
            )
        except httpx2.WriteError:
            return  # it was closed before all was sent: as good
    assert answer.status_code == 413


def test_an_order_for_nothing_in_particular_is_refused(alone: Alone) -> None:
    """`{}` must not mean "all"."""
    alone.ledger.add(why="test", name="spot")
    with alone.client() as client:
        for wanted in ({}, {"state": []}, {"q": None}, {"ids": []}, {"ids": [""]}, {"ids": ["0" * 26], "q": "spot"}):
            assert client.post("/api/v1/jobs/cancel", json=wanted).status_code == 422, wanted
        found = client.post("/api/v1/jobs/cancel", json={"state": "pending", "q": "sp"}).json()

    assert (found["done"], found["refused"]) == (1, 0)


def test_a_method_that_is_not_there_says_which_are(alone: Alone) -> None:
    with alone.client() as client:
        answer = client.delete("/api/v1/jobs")
        nowhere = client.get("/api/v2")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert nowhere.status_code == 404
    assert nowhere.headers["content-type"] == "application/problem+json"


def test_a_head_is_an_answer_without_a_body_even_of_the_stream(alone: Alone) -> None:
    with alone.client() as client:
        for path in ("/", "/healthz", "/api/v1/jobs", "/api/v1/events"):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b""), path
    until(lambda: alone.hub.readers == 0)


def test_the_last_lines_of_a_log(alone: Alone) -> None:
    job = alone.ledger.add(why="test", name="spot")
    with alone.client() as client:
        lines = [client.get(f"/api/v1/jobs/{job.id}/log", params={"tail": number}).text for number in (0, 1, 2, 99)]

    assert lines == ["", "three\n", "two\nthree\n", "one\ntwo\nthree\n"]


def test_a_taken_port_is_told_with_who_has_it(alone: Alone) -> None:
    with pytest.raises(
        PortTaken, match=r"server\.port: \d+ on 127\.0\.0\.1 is taken by .*; end that, or set server\.port"
    ):
        server.listen("127.0.0.1", alone.web.address[1])
    with pytest.raises(PortTaken, match=r"server\.host: 203\.0\.113\.7 is no address of this machine"):
        server.listen("203.0.113.7", 0)
    with pytest.raises(PortTaken, match=r"server\.host: no\.such\.host\.invalid is no address"):
        server.listen("no.such.host.invalid", 0)


# -- the three rules, at every door ---------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Alone]:
    made = Alone(tmp_path, token="open-sesame")
    yield made
    made.close()


DOORS = [
    (method, path.replace("{id}", "x").replace("{n}", "0").replace("{version}", "v").replace("{name}", "page.css"))
    for path, handlers in ROUTES.items()
    for method in handlers
]


def _asked(client: httpx2.Client, method: str, path: str, **headers: str) -> httpx2.Response:
    with client.stream(method, path, headers=headers) as answer:  # one of them would not end
        if answer.status_code >= 400:
            answer.read()
        return answer


def test_with_a_token_every_door_but_healthz_and_the_sign_in_wants_it(locked: Alone) -> None:
    with locked.client() as client:
        told = {(method, path): _asked(client, method, path) for method, path in DOORS}
        wrong = {
            door: _asked(client, *door, Authorization="Bearer open-sesam").status_code
            for door in DOORS
            if door[1] not in ("/healthz", "/api/v1/session")
        }

    told_open = {door for door, answer in told.items() if answer.status_code != 401}
    assert told_open == {("GET", "/healthz"), ("POST", "/api/v1/session")}
    for door, answer in told.items():
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", door
            assert answer.json()["status"] == answer.status_code
    assert set(wrong.values()) == {401}
    with pytest.raises(InvalidStatus) as refused, locked.socket():
        pass
    assert refused.value.response.status_code == 401


def test_no_door_opens_for_a_foreign_host_token_or_not(locked: Alone) -> None:
    for headers in ({}, {"Authorization": "Bearer open-sesame"}):
        with locked.client() as client:
            for method, path in DOORS:
                answer = _asked(client, method, path, Host="evil.example", **headers)
                assert answer.status_code == 403, (method, path)
                assert answer.headers["content-type"] == "application/problem+json"
        with pytest.raises(InvalidStatus) as refused:
            connect(
                f"ws://evil.example:{locked.web.address[1]}/api/v1/ws",
                proxy=None,
                sock=socket.create_connection(locked.web.address),
                additional_headers=headers,
            )
        assert refused.value.response.status_code == 403


def test_nothing_is_changed_for_a_foreign_page_token_or_not(locked: Alone) -> None:
    for headers in ({}, {"Authorization": "Bearer open-sesame"}):
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{locked.web.address[1] + 1}"):
            with locked.client() as client:
                for method, path in DOORS:
                    if method != "GET":
                        answer = _asked(client, method, path, Origin=origin, **headers)
                        assert answer.status_code == 403, (method, path, origin)
            with pytest.raises(InvalidStatus) as refused:
                connect(f"ws://{locked.host}/api/v1/ws", proxy=None, origin=origin, additional_headers=headers)
            assert refused.value.response.status_code == 403
    assert not locked.gate.paused
    assert not locked.gate.draining


def test_the_socket_opens_with_the_token_and_with_the_cookie(locked: Alone) -> None:
    with locked.client() as client:
        client.post("/api/v1/session", json={"token": "open-sesame"}).raise_for_status()
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    for headers in ({"Authorization": "Bearer open-sesame"}, {"Cookie": cookie}):
        with connect(f"ws://{locked.host}/api/v1/ws", proxy=None, additional_headers=headers, close_timeout=1) as talk:
            assert json.loads(talk.recv(10))["type"] == "snapshot"
