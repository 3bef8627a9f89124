"""The API, the stream and the page of a running service, from outside."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.line import Line, serving, until
from watchrender import disk


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path, server={"enabled": True, "port": 0})
    yield made
    made.stop()


def _client(line: Line, **more: Any) -> httpx2.Client:
    assert line.service is not None
    host, port = line.service.web.address
    return httpx2.Client(base_url=f"http://{host}:{port}", trust_env=False, timeout=10, **more)


def _messages(client: httpx2.Client, path: str = "/api/v1/events", **more: Any) -> Iterator[dict[str, Any]]:
    with client.stream("GET", path, **more) as answer:
        assert answer.status_code == 200
        for text in answer.iter_lines():
            if text.startswith("data:"):
                yield json.loads(text[5:])


def test_it_lives_and_says_whether_it_can_render(line: Line) -> None:
    with serving(line), _client(line) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200
        Path(line.settings["nexrender"]["aerender"]).unlink()
        line.drop("spot.json")
        until(lambda: client.get("/readyz").status_code == 503)

        assert [found["code"] for found in client.get("/readyz").json()["waiting"]] == ["AERENDER_NOT_FOUND"]
        assert client.get("/api/v1/status").json()["waiting"][0]["cure"]


def test_a_job_dropped_over_http_is_a_drop_like_any_other(line: Line) -> None:
    with serving(line), _client(line) as client:
        body = {"name": "spot", "sub": "clientA", "job": line.job(), "settings": {"tags": ["x"]}}
        answer = client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "one"})
        again = client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "one"})
        status = line.wait("clientA/spot", "completed")

        assert answer.status_code == 202
        assert answer.json()["id"] == again.json()["id"] == status["id"]
        assert status["tags"] == ["x"]
        film = client.get(f"/api/v1/jobs/{status['id']}/outputs/0", headers={"Range": "bytes=0-9"})
        assert film.status_code == 206
        assert len(film.content) == 10
        assert "started" in client.get(f"/api/v1/jobs/{status['id']}/log").text or True
        shown = client.get("/api/v1/jobs", params={"state": "completed"}).json()
        assert [job["job"] for job in shown["jobs"]] == ["clientA/spot"]

        (line.root / "done/clientA/spot/spot.mp4").unlink()
        assert client.get(f"/api/v1/jobs/{status['id']}/outputs/0").status_code == 410


def test_a_job_tells_its_settings_and_where_each_came_from(line: Line) -> None:
    line.change(limits={"stall": "7m"})
    line.drop("p80_spot.json", line.job() | {"watchrender": {"hold": True, "render_timeout": "2h"}})
    line.drop("spot.yaml", "max_retries: 1\n")
    with serving(line), _client(line) as client:
        job = line.wait("spot", "queued")
        found = client.get(f"/api/v1/jobs/{job['id']}/settings").json()["settings"]

    assert {entry["key"]: (entry["value"], entry["source"]) for entry in found} == {
        "priority": (80, "filename"),
        "max_retries": (1, "sidecar"),
        "hold": (True, "job"),
        "render_timeout": ("2h", "job"),
        "stall_timeout": ("7m", "configuration"),
        "on_exists": ("version", "configuration"),
    }


def test_a_job_that_no_inbox_would_take_is_refused_at_the_door(line: Line) -> None:
    line.change(watch={"max_job_size": "10KiB"})
    with serving(line), _client(line) as client:
        answer = client.post("/api/v1/jobs", json={"name": "spot", "job": line.job(note="x" * 11_000)})
        outside = client.post("/api/v1/jobs", json={"name": "spot", "sub": f"{line.home}/outside", "job": line.job()})
        text = json.dumps({"name": "spot", "job": line.job(note=4711)})
        no_numbers = [
            client.post(
                "/api/v1/jobs",
                content=text.replace("4711", number),
                headers={"content-type": "application/json"},
            )
            for number in ("NaN", "-Infinity", "1e999")
        ]

    assert answer.status_code == 413
    assert [(told.status_code, "number" in told.json()["detail"]) for told in no_numbers] == [(422, True)] * 3
    assert outside.status_code == 422
    assert line.files("inbox") == []
    assert not (line.home / "outside").exists()


def test_a_job_that_is_refused_can_be_read_on_its_page(line: Line) -> None:
    with serving(line), _client(line) as client:
        sent = line.job() | {"template": {"src": "spot.aep"}}
        answer = client.post("/api/v1/jobs", json={"name": "spot", "job": sent, "settings": {"priorty": 5}})
        job = line.wait("spot", "failed", 60)
        shown = client.get(f"/api/v1/jobs/{job['id']}/document")

    assert answer.status_code == 202
    assert (shown.status_code, shown.json()["document"]) == (200, sent)


def test_of_many_ids_one_that_is_no_jobs_is_told_and_the_others_are_done(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    line.drop("spot.json")
    with serving(line), _client(line) as client:
        job = line.wait("spot", "queued", 60)["id"]
        answer = client.post("/api/v1/jobs/hold", json={"ids": ["nobody", job]})

    assert answer.status_code == 200
    assert [(one["id"], one["status"]) for one in answer.json()["jobs"]] == [("nobody", 404), (job, 200)]


def test_a_job_whose_file_could_not_be_written_is_written_when_it_is_sent_again(line: Line) -> None:
    body = {"name": "spot", "job": line.job()}
    key = {"Idempotency-Key": "order-4711"}
    (line.home / "faults").write_text("ENOSPC write_new:*/inbox/spot.json 1\n")
    try:
        with serving(line), _client(line) as client:
            disk.listen_to({"WATCHRENDER_FAULTS": str(line.home / "faults")})
            refused = client.post("/api/v1/jobs", json=body, headers=key)
            again = client.post("/api/v1/jobs", json=body, headers=key)
            once_more = client.post("/api/v1/jobs", json=body, headers=key)
            done = line.wait("spot", "completed")
    finally:
        disk.listen_to({})

    assert refused.status_code >= 500
    assert (again.status_code, once_more.status_code) == (202, 202)
    assert again.json()["id"] == once_more.json()["id"] == done["id"]


def test_a_job_that_was_announced_and_not_written_when_we_died_is_written_when_it_is_sent_again(line: Line) -> None:
    body = {"name": "spot", "job": line.job()}
    key = {"Idempotency-Key": "order-4711"}
    with serving(line):
        assert line.service is not None
        job = line.service.intake.announce("", "spot.json")
        line.service.ledger.know(idempotency={key["Idempotency-Key"]: job.id})
    line.change(watch={"settle": "30s"})  # the file is not given up meanwhile
    with serving(line), _client(line) as client:
        again = client.post("/api/v1/jobs", json=body, headers=key)
        done = line.wait("spot", "completed")

    assert (again.status_code, again.json()["id"], done["id"]) == (202, job.id, job.id)


def test_a_job_that_was_announced_when_we_died_is_the_one_that_is_sent_again_without_its_key_too(line: Line) -> None:
    with serving(line):
        assert line.service is not None
        job = line.service.intake.announce("", "spot.json")
    line.change(watch={"settle": "30s"})  # the file is not given up meanwhile
    with serving(line), _client(line) as client:
        again = client.post("/api/v1/jobs", json={"name": "spot", "job": line.job()})
        done = line.wait("spot", "completed")

        assert (again.status_code, again.json()["id"], done["id"]) == (202, job.id, job.id)
        assert len(client.get("/api/v1/jobs").json()["jobs"]) == 1


def test_a_job_sent_while_one_of_its_name_has_lost_its_file_has_a_file_of_its_own(line: Line) -> None:
    body = {"name": "spot", "job": line.job()}
    (line.root / "inbox" / "_PAUSE").touch()
    line.change(watch={"settle": "2s"})
    with serving(line), _client(line) as client:
        first = client.post("/api/v1/jobs", json=body).json()
        line.wait("spot", "queued", 60)
        (line.root / "inbox" / "spot.json").unlink()
        second = client.post("/api/v1/jobs", json=body).json()

        assert (second["job"], line.wait("spot~2", "queued", 60)["files"]["job"]) == ("spot~2", "spot~2.json")
        assert line.wait("spot", "cancelled", 60)["id"] == first["id"]


@pytest.mark.parametrize(
    ("name", "file", "priority"), [("spot", "spot~3.json", 50), ("spot@urgent", "spot~3@urgent.json", 90)]
)
def test_a_second_job_of_a_name_gets_the_key_that_a_drop_would_get(
    line: Line, name: str, file: str, priority: int
) -> None:
    (line.root / "done" / "spot~2").mkdir(parents=True)
    (line.root / "inbox" / "_PAUSE").touch()
    with serving(line), _client(line) as client:
        first, second = (client.post("/api/v1/jobs", json={"name": name, "job": line.job()}).json() for _ in range(2))

        assert (first["job"], second["job"]) == ("spot", "spot~3")
        found = line.wait("spot~3", "queued", 60)
        assert (found["id"], found["files"]["job"], found["name"]) == (second["id"], file, "spot~3")
        assert (found["priority"], line.wait("spot", "queued", 60)["priority"]) == (priority, priority)


def test_a_job_called_job_makes_no_bundle_of_its_new_sub_folder(line: Line) -> None:
    with serving(line), _client(line) as client:
        answer = client.post("/api/v1/jobs", json={"name": "job", "sub": "clientA/show", "job": line.job()})
        found = line.wait("clientA/show/job", "completed", 60)

    assert answer.json()["id"] == found["id"]
    assert line.files("inbox") == []


def test_names_that_would_be_no_job_are_refused_and_nothing_is_written(line: Line) -> None:
    line.change(watch={"ignore": ["test_*"]})
    line.drop("spot.json", line.job() | {"watchrender": {"hold": True}})
    line.drop("over.json", sub="show")
    with serving(line), _client(line) as client:
        line.wait("spot", "queued", 60)
        line.wait("show/over", "completed", 60)
        answers = {
            (name, sub): client.post("/api/v1/jobs", json={"name": name, "sub": sub, "job": line.job()})
            for name, sub in (
                ("x", "_STOP"), ("x", "_pause.txt"), ("x", "spot"), ("x", "SPOT/deeper"), ("x", "show/over"),
                ("x", ".a"), ("test_1", ""), ("x", "a/test_1"), (".x", ""), ("x.status", ""), ("a/b", ""),
                ("con", ""), ("x", "a" * 241),
            )
        }  # fmt: skip

        assert {place: answer.status_code for place, answer in answers.items()} == dict.fromkeys(answers, 422)
        assert "the job spot has the name 'spot' already" in answers["x", "spot"].json()["detail"]
        assert "is an order" in answers["x", "_STOP"].json()["detail"]
        assert client.get("/api/v1/status").json()["paused"] is False
    assert line.files("inbox") == ["spot.json"]
    assert [path.name for path in (line.root / "inbox").iterdir() if path.is_dir()] == ["show"]


def test_a_name_too_long_for_a_disk_is_cut_like_any_other(line: Line) -> None:
    with serving(line), _client(line) as client:
        body = {"name": "漢" * 200, "job": line.job()}
        first, second = (client.post("/api/v1/jobs", json=body) for _ in range(2))
        assert (first.status_code, second.status_code) == (202, 202)
        for answer in (first, second):
            found = until(
                lambda answer=answer: (
                    (s := client.get(f"/api/v1/jobs/{answer.json()['id']}").json())["state"] == "completed" and s
                ),
                60,
            )
            assert found["job"].startswith("漢" * 60)

    assert first.json()["id"] != second.json()["id"]


def test_every_film_of_a_job_has_its_pictures(line: Line) -> None:
    pytest.importorskip("av")
    line.change(delivery={"previews": "auto"})
    encode = {"module": "@nexrender/action-encode", "preset": "mp4", "output": "small.mp4"}
    line.drop("spot.json", line.job() | {"actions": {"postrender": [encode]}})
    with serving(line), _client(line) as client:
        job = f"/api/v1/jobs/{line.wait('spot', 'completed', 60)['id']}"
        pictures = {
            (number, kind): client.get(f"{job}/outputs/{number}/{kind}")
            for number in (0, 1)
            for kind in ("thumbnail", "contact")
        }
        firsts = {kind: client.get(f"{job}/{kind}") for kind in ("thumbnail", "contact")}
        none = client.get(f"{job}/outputs/2/thumbnail")

    for answer in pictures.values():
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.content.startswith(b"\xff\xd8")
    assert {kind: answer.content for kind, answer in firsts.items()} == {
        kind: pictures[0, kind].content for kind in ("thumbnail", "contact")
    }
    assert none.status_code == 404


def test_many_get_another_priority_at_once(line: Line) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    for name in ("a", "b", "c"):
        line.drop(f"{name}.json", sub="" if name == "c" else "show")
    with serving(line), _client(line) as client:
        ids = {name: line.wait(name, "queued", 60)["id"] for name in ("show/a", "show/b", "c")}
        told = client.post("/api/v1/jobs/priority", json={"sub": "show", "priority": 77}).json()
        one = client.post("/api/v1/jobs/priority", json={"ids": [ids["c"], "0" * 26], "priority": 5}).json()
        for wrong in ({"priority": 5}, {"ids": [ids["c"]]}, {"ids": [ids["c"]], "priority": 101}):
            assert client.post("/api/v1/jobs/priority", json=wrong).status_code == 422, wrong

        assert (told["done"], told["refused"], one["done"], one["refused"]) == (2, 0, 1, 1)
        found = {job["job"]: job["priority"] for job in client.get("/api/v1/jobs").json()["jobs"]}
        assert found == {"show/a": 77, "show/b": 77, "c": 5}


def test_one_key_from_many_at_once_is_one_job(line: Line) -> None:
    body = {"name": "spot", "job": line.job(), "settings": {"hold": True}}
    with serving(line), _client(line) as client, ThreadPoolExecutor(12) as senders:

        def send(number: int) -> tuple[int, Any]:
            key = "mine" if number % 2 else "yours"
            answer = client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": key})
            return answer.status_code, answer.json().get("id")

        answers = list(senders.map(send, range(24)))
        for found in {found for _, found in answers}:
            until(lambda found=found: client.get(f"/api/v1/jobs/{found}").json()["state"] == "queued")

    assert {code for code, _ in answers} == {202}
    assert len({found for _, found in answers}) == 2
    assert line.files("inbox") == ["spot.json", "spot~2.json"]


def test_orders_change_a_job_or_are_refused_with_409(line: Line) -> None:
    line.drop("spot.json", line.job() | {"watchrender": {"hold": True}})
    with serving(line), _client(line) as client:
        job = line.wait("spot", "queued")
        path = f"/api/v1/jobs/{job['id']}"

        assert client.patch(path, json={"priority": 91}).json()["priority"] == 91
        assert client.patch(path, json={"priority": 5000}).status_code == 422
        assert client.post(f"{path}/retry").status_code == 409
        assert client.post(f"{path}/cancel").json()["state"] == "cancelled"
        problem = client.post(f"{path}/cancel")
        assert problem.status_code == 409
        assert problem.headers["content-type"] == "application/problem+json"
        assert "already cancelled" in problem.json()["detail"]
        assert client.post("/api/v1/jobs/NOSUCHJOB/cancel").status_code == 404


def test_every_queued_job_says_when_or_that_nobody_knows_wherever_it_is_asked(line: Line) -> None:
    with serving(line), _client(line) as client:
        line.drop("first.json", line.job())
        line.wait("first", "completed", 60)
        line.drop("long.json", line.job("Slower"))
        line.wait("long", "rendering", 60)
        ids = [
            client.post("/api/v1/jobs", json={"name": f"spot{n}", "job": line.job()}).json()["id"] for n in range(25)
        ]
        until(lambda: all(client.get(f"/api/v1/jobs/{job}").json()["state"] == "queued" for job in ids))

        listed = client.get("/api/v1/jobs?state=queued").json()["jobs"]
        alone = [client.get(f"/api/v1/jobs/{job}").json() for job in ids]
        snapshot = next(_messages(client))["data"]["jobs"]

    assert len(listed) == 25
    for found in (listed, alone, [job for job in snapshot if job["state"] == "queued"]):
        assert {job["eta"]["basis"] for job in found} <= {
            "no history yet for a job before it", "1 render of spot.aep/Main"
        }  # fmt: skip


def test_a_running_render_is_asked_to_end(line: Line) -> None:
    line.drop("spot.json", line.job("Slow"))
    with serving(line), _client(line) as client:
        job = until(lambda: (s := line.status("spot")).get("progress", {}).get("percent") and s)

        assert client.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 202
        line.wait("spot", "cancelled")


def test_the_queue_is_paused_and_resumed_by_the_mark_in_the_inbox(line: Line) -> None:
    with serving(line), _client(line) as client:
        client.post("/api/v1/queue/pause").raise_for_status()
        assert (line.root / "inbox" / "_PAUSE").exists()
        assert client.get("/api/v1/status").json()["paused"] is True
        client.post("/api/v1/queue/resume").raise_for_status()
        assert not (line.root / "inbox" / "_PAUSE").exists()


def test_the_stream_begins_with_a_snapshot_and_ids_rise_by_one(line: Line) -> None:
    with serving(line), _client(line) as client:
        stream = _messages(client)
        first = next(stream)
        line.drop("spot.json")
        seen = [first]
        for message in stream:
            seen.append(message)
            if message["type"] == "job" and message["data"]["state"] == "completed":
                break

    assert first["type"] == "snapshot"
    assert set(first["data"]) >= {"service", "counts", "jobs"}
    ids = [message["id"] for message in seen]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    states = [message["data"]["state"] for message in seen if message["type"] == "job"]
    assert [state for at, state in enumerate(states) if state not in states[:at]] == [
        "pending",
        "validating",
        "queued",
        "rendering",
        "completed",
    ]


def test_a_reader_that_comes_back_gets_what_it_missed(line: Line) -> None:
    with serving(line), _client(line) as client:
        first = next(_messages(client))
        line.drop("spot.json")
        line.wait("spot", "completed")

        resumed = next(_messages(client, headers={"Last-Event-ID": str(first["id"])}))
        lost = next(_messages(client, headers={"Last-Event-ID": "17"}))

    assert resumed["id"] == first["id"] + 1
    assert lost["type"] == "snapshot"
    assert lost["data"]["gap"] is True


def test_the_service_ends_within_a_second_with_streams_open(line: Line) -> None:
    line.start()
    ended: list[str] = []

    def read() -> None:
        with _client(line) as client:
            ended.extend(message["type"] for message in _messages(client))
            ended.append("closed well")

    readers = [threading.Thread(target=read, daemon=True) for _ in range(5)]
    for reader in readers:
        reader.start()
    until(lambda: ended.count("snapshot") == 5)
    began = time.monotonic()
    line.stop()
    took = time.monotonic() - began
    for reader in readers:
        reader.join(5)

    assert ended.count("closed well") == 5
    assert took < 3


def test_more_connections_than_the_system_can_ask_about_are_closed_and_the_others_go_on(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchrender.web.protocol.MOST_CONNECTIONS", 3)
    with serving(line), contextlib.ExitStack() as open_ones:
        assert line.service is not None
        address = line.service.web.address
        for _ in range(3):
            open_ones.enter_context(socket.create_connection(address, timeout=20))
        until(lambda: _is_closed_at_once(address))

        open_ones.close()

        with _client(line) as client:
            until(lambda: _answers(client))


def _is_closed_at_once(address: tuple[str, int]) -> bool:
    with socket.create_connection(address, timeout=0.5) as one:
        try:
            return one.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx2.HTTPError:
        return False


# -- who may ask --------------------------------------------------------------------------------------------


def test_with_a_token_every_route_but_healthz_wants_it(tmp_path: Path) -> None:
    line = Line(tmp_path, server={"enabled": True, "port": 0, "token": "s3cret-token"})
    with serving(line), _client(line) as client:
        for path in ("/readyz", "/api/v1/status", "/api/v1/jobs", "/metrics", "/openapi.json", "/api/v1/events"):
            assert client.get(path).status_code == 401, path
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/v1/status", headers={"Authorization": "Bearer wrong"}).status_code == 401
        good = {"Authorization": "Bearer s3cret-token"}
        assert client.get("/api/v1/status", headers=good).status_code == 200

        signed = client.post("/api/v1/session", json={"token": "s3cret-token"})
        cookie = signed.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/api/v1/status").status_code == 200  # by the cookie
    log = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "state" / "logs").glob("*.log"))
    assert "s3cret-token" not in log


def test_a_foreign_host_or_origin_is_refused(line: Line) -> None:
    with serving(line), _client(line) as client:
        assert client.get("/api/v1/status", headers={"Host": "evil.example"}).status_code == 403
        foreign = {"Origin": "http://evil.example"}
        assert client.post("/api/v1/queue/pause", headers=foreign).status_code == 403
        assert client.get("/api/v1/status", headers=foreign).status_code == 200
        host, port = line.service.web.address if line.service else ("", 0)
        own = {"Origin": f"http://{host}:{port}"}
        assert client.post("/api/v1/queue/pause", headers=own).status_code == 200


def test_a_taken_port_is_told_with_what_to_set(line: Line, tmp_path_factory: pytest.TempPathFactory) -> None:
    from watchrender.service import CannotStart

    with serving(line):
        assert line.service is not None
        port = line.service.web.address[1]
        other = Line(tmp_path_factory.mktemp("other"), server={"enabled": True, "port": port})
        with pytest.raises(CannotStart, match=r"server\.port"):
            other.start()


def test_the_page_loads_nothing_from_elsewhere(line: Line) -> None:
    with serving(line), _client(line) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "http://" not in page.text.replace("http://www.w3.org", "")
        text = until(lambda: (p := line.root / "status" / "index.html").is_file() and p.read_text(encoding="utf-8"))

    assert "watchrender" in text
    assert "https://" not in text
