"""The REST client: what of nexrender-server's answers is believed, tried on the real server and on one that lies."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.farm import SECRET, Answering, Farm, farming
from watchrender.config import load
from watchrender.core.failure import Code, Failure, Kind
from watchrender.core.standing import Phase, Standing, Standings
from watchrender.render.server import Server, server_failure


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with farming(tmp_path_factory.mktemp("farm")) as found:
        yield found


@pytest.fixture
def real(farm: Farm) -> Iterator[Server]:
    for uid in farm.jobs():
        farm.ask("DELETE", f"/jobs/{uid}")
    server = Server(farm.url, SECRET)
    yield server
    server.close()


@pytest.fixture
def answering() -> Iterator[Answering]:
    found = Answering()
    yield found
    found.stop()


def document(uid: str, **more: Any) -> dict[str, Any]:
    template = {"src": "file:///projects/spot.aep", "composition": "Main"}
    return {"uid": uid, "template": template, "assets": [], "actions": {"postrender": []}, **more}


def standing(found: Standings | Failure, uid: str) -> Standing:
    assert isinstance(found, Standings)
    return found.jobs[uid]


def trouble(found: object) -> Failure:
    assert isinstance(found, Failure)
    assert (found.code, found.kind) == (Code.NEXRENDER_SERVER_UNREACHABLE, Kind.ENVIRONMENT)
    return found


# --- the real one -----------------------------------------------------------------------------------------------------


def test_the_real_server_is_well(real: Server) -> None:
    assert real.failure() is None


def test_a_wrong_secret_is_told_as_such(farm: Farm) -> None:
    found = trouble(Server(farm.url, "another").failure())

    assert "secret" in found.message and "nexrender_server.secret" in found.cure


def test_a_posted_job_stands_in_the_list(real: Server) -> None:
    assert real.post(document("A1", priority=7, tags="fast")) is None

    found = standing(real.standings(["A1"]), "A1")
    assert (found.phase, found.executor, found.error, found.copies) == (Phase.WAITING, None, "", 1)


def test_an_unknown_job_is_in_no_answer(real: Server) -> None:
    real.post(document("A1"))

    found = real.standings(["A1", "nope"])

    assert isinstance(found, Standings)
    assert list(found.jobs) == ["A1"]


def test_a_job_posted_twice_is_seen_to_be_there_twice(real: Server, farm: Farm) -> None:
    farm.ask("POST", "/jobs", document("A1"))
    farm.ask("POST", "/jobs", document("A1"))

    assert standing(real.standings(["A1"]), "A1").copies == 2


def test_a_job_picked_up_by_the_lock_has_an_executor_and_one_that_was_taken_has_none(real: Server, farm: Farm) -> None:
    real.post(document("A1"))
    real.post(document("A2"))
    picked = farm.ask("GET", "/jobs/pickup")
    farm.ask("PUT", "/jobs/A2", {"state": "started"})

    found = real.standings(["A1", "A2"])

    assert picked["uid"] == "A1"
    assert standing(found, "A1").executor and standing(found, "A1").phase is Phase.WORKING
    assert standing(found, "A2").executor is None and standing(found, "A2").phase is Phase.WORKING


def test_this_server_goes_by_no_tags_and_knows_workers_by_their_address_alone(real: Server, farm: Farm) -> None:
    """As docs/farm.md and doctor say of 1.38: whoever asks for a tag gets nothing, and whoever does not gets all."""
    real.post(document("A1", tags="gpu"))
    headers = {"nexrender-secret": SECRET, "nexrender-name": "w1"}

    by_tag = httpx2.get(f"{farm.url}/api/v1/jobs/pickup/gpu", headers=headers, trust_env=False)
    by_turn = httpx2.get(f"{farm.url}/api/v1/jobs/pickup", headers=headers, trust_env=False)

    assert by_tag.content == b""
    assert by_turn.json()["uid"] == "A1"
    assert standing(real.standings(["A1"]), "A1").executor in ("127.0.0.1", "::1")


def test_a_removed_job_is_gone_and_removing_it_again_is_no_fault(real: Server) -> None:
    real.post(document("A1"))

    assert real.delete("A1") is None
    assert real.delete("A1") is None
    found = real.standings(["A1"])
    assert isinstance(found, Standings) and not found.jobs


def test_jobs_of_others_are_told_apart(real: Server) -> None:
    real.post(document("A1"))
    real.post(document("theirs"))

    found = real.standings(["A1"])

    assert isinstance(found, Standings)
    assert found.strangers == ("theirs",)


def test_where_the_list_is_mostly_of_others_each_job_is_asked_for_by_itself(
    real: Server, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchrender.render.server._STRANGERS_ANYWAY", -100)
    real.post(document("A1"))
    for number in range(3):
        real.post(document(f"theirs{number}"))
    real.standings(["A1", "nope"])

    found = real.standings(["A1", "nope"])  # the server answers the second with a 500

    assert isinstance(found, Standings)
    assert list(found.jobs) == ["A1"]


def test_only_a_list_that_lacks_a_job_says_that_it_is_gone(answering: Answering) -> None:
    """Whoever knows nothing of nexrender answers everything with a 204."""
    server = Server(answering.url)
    server._singles = 5

    trouble(server.standings(["A1"]))
    answering.says("/jobs/status", 200, [], rest=(204, b""))
    found = server.standings(["A1"])

    assert isinstance(found, Standings) and not found.jobs


def test_a_job_the_server_does_not_take_is_the_fault_of_the_job(real: Server) -> None:
    found = real.post(document("A1", assets=[{"type": "picture"}]))

    assert isinstance(found, Failure)
    assert found.code is Code.JOB_INVALID and "picture" in found.message


def test_a_server_that_is_down_is_the_fault_of_the_environment(tmp_path: Path) -> None:
    server = Server("http://127.0.0.1:9")

    for found in (server.failure(), server.post(document("A1")), server.standings(["A1"]), server.delete("A1")):
        assert "cannot be reached" in trouble(found).message


# --- one that lies ----------------------------------------------------------------------------------------------------

GOOD = {"uid": "A1", "state": "started", "renderProgress": 40, "jobExecutor": "w1", "updatedAt": "x", "error": None}


def test_an_entry_is_read_for_what_it_says(answering: Answering) -> None:
    timings = {"render:dorender": 1_000_000, "render:postrender": 1_004_500}
    answering.says("/jobs/status", 200, [GOOD | {"timings": timings, "error": ["Error: a", "Error: b"]}])

    found = standing(Server(answering.url).standings(["A1"]), "A1")

    assert found == Standing(
        uid="A1",
        state="started",
        percent=40.0,
        error="Error: a\nError: b",
        executor="w1",
        updated="x",
        seconds=4.5,
    )


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({}, ""),  # what an old worker's Error becomes
        (None, ""),
        ("Error: a", "Error: a"),
        ({"message": "why"}, "why"),
        ({"errno": -2, "code": "ENOENT", "syscall": "open", "path": "/a.aep"}, "Error: ENOENT: open '/a.aep'"),
        ({"odd": 1}, '{"odd": 1}'),
        (17, ""),
    ],
)
def test_an_error_comes_in_many_forms(answering: Answering, said: Any, read: str) -> None:
    answering.says("/jobs/status", 200, [GOOD | {"state": "error", "error": said}])

    found = standing(Server(answering.url).standings(["A1"]), "A1")

    assert (found.phase, found.error) == (Phase.FAILED, read)


@pytest.mark.parametrize("said", ["90", None, True, -5, 1e300, pytest.param(10**400, id="huge"), [], {}])
def test_progress_that_is_none_is_not_believed(answering: Answering, said: Any) -> None:
    answering.says("/jobs/status", 200, [GOOD | {"renderProgress": said}])

    percent = standing(Server(answering.url).standings(["A1"]), "A1").percent

    assert percent is None or 0 <= percent <= 100


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (204, b""),
        (200, b""),
        (200, b"<html>a proxy's page</html>"),
        (200, b"null"),
        (200, b"{}"),
        (200, b"[17]"),
        (200, b'[{"uid": "A1"}]'),
        (200, b'[{"uid": 7, "state": "queued"}]'),
        (200, json.dumps([GOOD]).encode()[:-3]),
        (200, b"[" * 100_000),
        (200, b"\xff\xfe\x00"),
        (500, b"Internal Server Error"),
        (502, json.dumps([GOOD]).encode()),
    ],
)
def test_rubbish_is_no_answer(answering: Answering, status: int, body: bytes) -> None:
    answering.says("/jobs/status", status, body)

    found = trouble(Server(answering.url).standings(["A1"]))

    assert "not understood" in found.message and len(found.message) < 500


def test_a_server_that_sends_us_elsewhere_is_not_followed_and_says_where(answering: Answering) -> None:
    answering.answer = lambda _method, _path: (302, b"")

    found = trouble(Server(answering.url).standings(["A1"]))

    assert "elsewhere (302 to https://farm.example/login)" in found.message and "nexrender_server.url" in found.cure
    assert len(answering.asked) == 1


def test_words_that_no_file_can_hold_are_made_writable(answering: Answering) -> None:
    odd = {"state": "st\ud800", "jobExecutor": "w\ud800\x00", "error": ["a\x1b[31m\ud800", [[[[[["deep"]]]]]]]}
    answering.says("/jobs/status", 200, [GOOD | odd])

    found = standing(Server(answering.url).standings(["A1"]), "A1")

    for text in (found.state, found.executor or "", found.error):
        assert text.encode("utf-8") and "\x00" not in text and "\x1b" not in text
    assert found.error.startswith("a") and "deep" not in found.error


@pytest.mark.parametrize("status", [401, 403, 407])
def test_every_way_to_refuse_a_secret_is_told_as_such(answering: Answering, status: int) -> None:
    answering.answer = lambda _method, _path: (status, b"")

    assert "nexrender_server.secret" in trouble(Server(answering.url).failure()).cure


@pytest.mark.parametrize("said", [b"\n<!DOCTYPE html><html>no</html>", b"Invalid JSON"])
def test_a_job_is_not_to_blame_for_a_proxys_page_or_for_a_body_that_was_spoiled(
    answering: Answering, said: bytes
) -> None:
    answering.answer = lambda _method, _path: (400, said)

    trouble(Server(answering.url).post(document("A1")))


def test_entries_of_others_that_cannot_be_read_are_left_out(answering: Answering) -> None:
    answering.says("/jobs/status", 200, [{"uid": "theirs", "state": 7}, GOOD])

    assert standing(Server(answering.url).standings(["A1"]), "A1").state == "started"


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_trickles_byte_by_byte_costs_no_more_than_the_deadline(part: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            if part == "body":
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            with suppress(OSError):
                while not over.wait(0.05):
                    connection.sendall(b"x")

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    began = time.monotonic()

    found = trouble(Server(f"http://127.0.0.1:{listener.getsockname()[1]}", deadline=0.5).standings(["A1"]))

    assert "slow" in found.message and time.monotonic() - began < 30
    over.set()
    thread.join()
    listener.close()


def test_who_answers_but_is_no_nexrender_server_is_found_out(answering: Answering) -> None:
    answering.answer = lambda _method, _path: (200, b"<html>hello</html>")

    assert "not understood" in trouble(Server(answering.url).failure()).message


def test_a_list_that_fails_is_asked_for_again_before_the_server_counts_as_well(answering: Answering) -> None:
    server = Server(answering.url)
    answering.says("/jobs/status", 500, b"", rest=(200, b"ok"))
    trouble(server.standings(["A1"]))

    assert trouble(server.failure())
    answering.says("/jobs/status", 200, [])
    assert server.failure() is None


def test_a_slow_server_costs_no_more_than_the_deadline(answering: Answering) -> None:
    answering.delay = 5.0

    found = trouble(Server(answering.url, deadline=0.2).standings(["A1"]))

    assert "slow" in found.message


def test_an_endless_answer_is_not_read_to_its_end(answering: Answering) -> None:
    answering.says("/jobs/status", 200, b" " * 100_000)

    found = trouble(Server(answering.url, limit=50_000).standings(["A1"]))

    assert "more than 50000 bytes" in found.message


def test_a_post_that_is_answered_with_rubbish_leaves_open_whether_it_arrived(answering: Answering) -> None:
    for status, body in ((200, b""), (204, b""), (500, b"x"), (200, b'{"uid": "B2"}')):
        answering.answer = lambda _method, _path, said=(status, body): said  # type: ignore[misc]

        assert trouble(Server(answering.url).post(document("A1")))


def test_a_job_too_large_for_a_proxy_is_the_fault_of_the_job(answering: Answering) -> None:
    answering.answer = lambda _method, _path: (413, b"")

    found = Server(answering.url).post(document("A1"))

    assert isinstance(found, Failure) and found.code is Code.JOB_TOO_LARGE


def test_a_single_that_the_server_knows_and_cannot_tell_of_is_no_answer(answering: Answering) -> None:
    answering.answer = lambda _method, path: (
        (500, b"Internal Server Error") if path.endswith("/status") else (200, json.dumps(document("A1")).encode())
    )
    server = Server(answering.url)
    server._singles = 5

    trouble(server.standings(["A1"]))


def test_the_secret_is_shown_to_the_server_and_to_nobody_else(answering: Answering) -> None:
    server = Server(answering.url.replace("http://", "http://user:pass@"), "s3cret")

    found = trouble(server.standings(["A1"]))

    assert answering.asked[0][2]["nexrender-secret"] == "s3cret"
    assert "s3cret" not in found.message and "pass" not in found.message


def test_the_check_of_the_config_asks_the_server_that_it_names(tmp_path: Path, farm: Farm) -> None:
    def config(**settings: Any) -> Any:
        return load(json.dumps({"root": str(tmp_path / "root"), **settings}), "test", {})

    good = {"url": farm.url + "/", "secret": SECRET}

    assert server_failure(config()) is None
    assert server_failure(config(engine="nexrender-server", nexrender_server=good)) is None
    assert server_failure(config(engine="nexrender-server", nexrender_server=good | {"secret": "x"})) is not None
