"""A farm whose server, workers and share behave oddly: nothing is lost, nothing is delivered twice, nobody is stuck."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm import SECRET, Asked, Pretended
from tests.line import FILM, Line, serving, until
from watchrender.core.failure import Code

LONG = 60.0
WELL: Callable[[Asked], tuple[int, bytes] | None] = lambda _asked: None  # noqa: E731 - the server answers by itself


@pytest.fixture
def farm() -> Iterator[Pretended]:
    found = Pretended()
    yield found
    found.stop()


@pytest.fixture
def line(farm: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr("watchrender.farm.ends.REST_SECONDS", 0.1)
    monkeypatch.setattr("watchrender.worker.BUSY_SECONDS", 0.1)
    server = {"url": farm.url, "secret": SECRET, "poll_interval": "50ms", "max_in_flight": 2}
    made = Line(tmp_path, engine="nexrender-server", nexrender_server=server, verify={"probe": "auto"})
    yield made
    made.stop()


def taken(farm: Pretended, executor: str | None = "::ffff:10.0.0.1") -> dict[str, Any]:
    """The next job, as a worker gets it that has said `started`."""
    job: dict[str, Any] = until(lambda: farm.pick(executor), LONG)
    farm.tell(job["uid"], state="started")
    return job


def waits(line: Line) -> list[str]:
    assert line.service is not None
    return [str(found.code) for found in line.service.gate.waiting()]


def is_tidy(line: Line, farm: Pretended) -> bool:
    return not farm.jobs and not any((line.root / ".farm").iterdir())


# --- a sick server ----------------------------------------------------------------------------------------------------

GIANT = b"[" + b" " * 70_000_000 + b"]"
SICK: dict[str, tuple[int, bytes]] = {
    "500": (500, b"Internal Server Error"),
    "502": (502, b"<html>Bad Gateway</html>"),
    "a page": (200, b"<html>sign in</html>"),
    "cut off": (200, b'[{"uid": "A1", "sta'),
    "nothing": (200, b""),
    "204": (204, b""),
    "null": (200, b"null"),
    "giant": (200, GIANT),
    "another address": (302, b""),
    "no secret": (401, b"who are you?"),
    "hangs up": (0, b""),
}


@pytest.mark.parametrize("sick", SICK.values(), ids=SICK)
def test_a_server_that_is_sick_while_a_job_renders_costs_nothing(
    line: Line, farm: Pretended, sick: tuple[int, bytes]
) -> None:
    line.change(limits={"stall": "1s"})
    answers = []

    def odd(_asked: Asked) -> tuple[int, bytes]:
        answers.append(sick[0])
        return sick

    with serving(line):
        line.drop("spot.json")
        job = taken(farm)
        until(lambda: any("has it" in why for why in line.whys("spot")), LONG)
        farm.odd = odd
        until(lambda: len(answers) >= 3, LONG)
        until(lambda: waits(line) == ["NEXRENDER_SERVER_UNREACHABLE"], LONG)
        farm.render(job)
        farm.odd = WELL
        status = line.wait("spot", "completed", LONG)
        until(lambda: is_tidy(line, farm), LONG)

    assert len(status["attempts"]) == 1 and len(farm.posts) == 1


def test_a_server_that_was_away_for_long_gets_jobs_as_soon_as_it_answers(line: Line, farm: Pretended) -> None:
    line.change(nexrender_server={"max_in_flight": 1})
    with serving(line) as running:
        line.drop("spot.json")
        job = taken(farm)
        until(lambda: any("has it" in why for why in line.whys("spot")), LONG)
        assert running.service is not None
        running.service.gate._tries[Code.NEXRENDER_SERVER_UNREACHABLE] = 20  # the next look is a minute away
        farm.odd = lambda _asked: (502, b"")
        until(lambda: waits(line), LONG)
        farm.odd = WELL
        until(lambda: waits(line) == [], 20)
        farm.render(job)
        line.wait("spot", "completed", LONG)


def test_a_wrong_secret_is_told_as_such_where_people_look(line: Line, farm: Pretended) -> None:
    line.change(nexrender_server={"secret": "another"})
    with serving(line) as running:
        line.drop("spot.json")
        until(lambda: waits(line), LONG)
        until(lambda: "NEXRENDER_SERVER_UNREACHABLE" in running.waits_for(), LONG)
        (found,) = running.overview()["waiting"]

    assert "secret" in found["message"] and "nexrender_server.secret" in found["cure"]
    assert farm.posts == []


@pytest.mark.parametrize("arrives", [True, False], ids=["arrived", "did not arrive"])
@pytest.mark.parametrize("answer", [(500, b"x"), (0, b""), (200, b""), (400, b"<html>bad request</html>")])
def test_a_post_of_which_nobody_knows_whether_it_arrived_makes_one_film(
    line: Line, farm: Pretended, answer: tuple[int, bytes], arrives: bool
) -> None:
    def once(asked: Asked) -> tuple[int, bytes] | None:
        if asked.method != "POST":
            return None
        farm.odd = WELL
        if arrives:
            farm.answer(asked)
        return answer

    farm.odd = once
    farm.work(1)
    with serving(line):
        line.drop("spot.json")
        status = line.wait("spot", "completed", LONG)
        until(lambda: is_tidy(line, farm), LONG)

    uids = [job["uid"] for job in farm.posts]
    assert len(set(uids)) == len(uids) == 1
    assert len(farm.renders) == 1 and len(status["attempts"]) == 1
    assert [name for name in line.files("done") if name.endswith(".mp4")] == ["spot/spot.mp4"]


@pytest.mark.parametrize("answer", [(201, None), (200, b'{"uid": "another"}')])
def test_a_server_that_takes_jobs_with_other_words_gets_each_once(line: Line, farm: Pretended, answer: Any) -> None:
    def odd(asked: Asked) -> tuple[int, bytes] | None:
        if asked.method != "POST":
            return None
        said = farm.answer(asked)
        return answer[0], answer[1] or said[1]

    farm.odd = odd
    farm.work(1)
    with serving(line):
        for name in ("a", "b", "c"):
            line.drop(f"{name}.json", line.job(name))
        for name in ("a", "b", "c"):
            line.wait(name, "completed", LONG)

    assert len(farm.posts) == len(farm.renders) == 3


def test_a_server_without_the_light_list_is_asked_for_the_whole_one(line: Line, farm: Pretended) -> None:
    farm.odd = lambda asked: (204, b"") if asked.path == "/jobs/status" else None
    farm.work(1)
    with serving(line):
        line.drop("spot.json")
        status = line.wait("spot", "completed", LONG)

    assert status["node"] == "10.0.0.1" and len(status["attempts"]) == 1


def test_a_server_that_removes_nothing_keeps_nobody_waiting(line: Line, farm: Pretended) -> None:
    farm.odd = lambda asked: (405, b"") if asked.method == "DELETE" else None
    farm.work(1, seconds=0.05)
    with serving(line):
        for name in ("a", "b", "c", "d"):
            line.drop(f"{name}.json", line.job(name))
        for name in ("a", "b", "c", "d"):
            line.wait(name, "completed", LONG)

    assert len(farm.posts) == 4


def test_a_job_of_others_that_cannot_be_read_hides_none_of_ours(line: Line, farm: Pretended) -> None:
    farm.jobs.append({"uid": "theirs", "state": None, "updatedAt": "x"})
    farm.work(1)
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "completed", LONG)
        until(lambda: [job["uid"] for job in farm.jobs] == ["theirs"], LONG)


@pytest.mark.parametrize("executor", ["::ffff:10.0.0.1", None], ids=["by the lock", "without"])
def test_a_server_that_says_of_every_job_that_it_changed_just_now_gets_its_films_through(
    line: Line, farm: Pretended, executor: str | None
) -> None:
    farm.stamps = True
    farm.work(1, seconds=1.0, executor=executor)
    with serving(line):
        line.drop("spot.json")
        status = line.wait("spot", "completed", LONG)

    assert len(status["attempts"]) == 1 and len(farm.posts) <= 4


def test_a_server_that_has_every_job_twice_gets_its_films_through(line: Line, farm: Pretended) -> None:
    def odd(asked: Asked) -> tuple[int, bytes] | None:
        if asked.path != "/jobs/status":
            return None
        status, said = farm.answer(asked)
        return status, json.dumps([*json.loads(said), *json.loads(said)]).encode()

    farm.odd = odd
    farm.work(1)
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "completed", LONG)

    assert len(farm.posts) <= 4
    assert [name for name in line.files("done") if name.endswith(".mp4")] == ["spot/spot.mp4"]


# --- dead workers -----------------------------------------------------------------------------------------------------


def test_news_that_are_none_keep_no_dead_worker_alive(line: Line, farm: Pretended) -> None:
    """The same percent again, stamped anew each time, is no progress."""
    line.change(limits={"stall": "1s"})
    farm.stamps = True
    with serving(line):
        line.drop("spot.json")
        dead = taken(farm)
        farm.tell(dead["uid"], state="render:dorender", renderProgress=40)
        second = taken(farm)
        farm.render(second)
        status = line.wait("spot", "completed", LONG)

    assert [found["error"] and found["error"]["code"] for found in status["attempts"]] == ["RENDER_STALLED", None]


def test_a_server_that_answers_now_and_then_keeps_no_dead_worker_alive(line: Line, farm: Pretended) -> None:
    line.change(limits={"stall": "1s"})
    asked_for = []

    def odd(asked: Asked) -> tuple[int, bytes] | None:
        if asked.path != "/jobs/status":
            return None
        asked_for.append(asked)
        return (502, b"") if len(asked_for) % 3 == 0 else None

    with serving(line):
        line.drop("spot.json")
        dead = taken(farm)
        farm.odd = odd
        second = taken(farm)
        assert second["uid"] != dead["uid"]
        farm.odd = WELL
        farm.render(second)
        status = line.wait("spot", "completed", LONG)

    assert [found["error"] and found["error"]["code"] for found in status["attempts"]] == ["RENDER_STALLED", None]


def test_a_late_worker_that_makes_its_folder_anew_is_swept_out(
    line: Line, farm: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchrender.farm.follower._SWEEP_SECONDS", 0.2)
    line.change(limits={"stall": "500ms"})
    with serving(line):
        line.drop("spot.json")
        dead = taken(farm)
        second = taken(farm)
        Path(dead["output"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FILM, dead["output"])
        until(lambda: not (line.root / ".farm" / dead["uid"]).exists(), LONG)
        assert (line.root / ".farm" / second["uid"]).is_dir()
        farm.render(second)
        line.wait("spot", "completed", LONG)


def test_never_more_is_handed_over_than_may_be_although_jobs_are_given_up_and_cancelled(
    line: Line, farm: Pretended
) -> None:
    line.change(limits={"stall": "400ms"}, retry={"max_retries": 1000})
    names = [f"j{number:02d}" for number in range(12)]
    with serving(line):
        for name in names:
            line.drop(f"{name}.json", line.job(name))
        for _ in range(4):
            taken(farm)  # and dies
        line.drop("j05.cancel", b"")
        farm.work(2, seconds=0.1)
        until(lambda: all(line.status(name).get("state") in ("completed", "cancelled") for name in names), LONG)

    assert farm.most <= 2
    assert len(line.files("done")) >= 3 * 11


# --- workers and jobs that do not meet --------------------------------------------------------------------------------


def test_a_job_that_no_worker_takes_does_not_wait_without_a_word(line: Line, farm: Pretended) -> None:
    line.change(limits={"startup": "300ms"}, nexrender_server={"tags": ["gpu"]})
    with serving(line):
        line.drop("spot.json")
        waiting = until(lambda: line.status("spot").get("waiting_for"), LONG)
        assert line.status("spot")["state"] == "rendering"
        job = taken(farm)
        until(lambda: line.status("spot").get("waiting_for") == [], LONG)
        farm.render(job)
        line.wait("spot", "completed", LONG)

    assert "worker" in waiting[0] and "gpu" in waiting[0]


def test_where_workers_without_the_lock_are_seen_no_film_is_moved_from_under_them(line: Line, farm: Pretended) -> None:
    """Having a job by the lock keeps none of them from taking it too."""
    inodes = []
    with serving(line):
        for name, executor in (("old", None), ("new", "::ffff:10.0.0.2")):
            line.drop(f"{name}.json")
            job = taken(farm, executor)
            until(lambda name=name: any("has it" in why for why in line.whys(name)), LONG)
            farm.render(job)
            inodes.append(Path(job["output"]).stat().st_ino if Path(job["output"]).exists() else None)
            line.wait(name, "completed", LONG)

    assert inodes[1] is None or inodes[1] != os.stat(line.root / "done/new/new.mp4").st_ino


# --- a share that tells late ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["::ffff:10.0.0.1", None], ids=["by the lock", "without"])
@pytest.mark.parametrize("whole", [False, True], ids=["half of it first", "nothing first"])
def test_a_film_that_is_seen_late_is_waited_for(
    line: Line, farm: Pretended, executor: str | None, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchrender.core.standing._COMES_WITHIN_SETTLES", 300.0)
    with serving(line):
        line.drop("spot.json")
        job = taken(farm, executor)
        film = FILM.read_bytes()
        if not whole:
            Path(job["output"]).write_bytes(film[: len(film) // 2])
        looks = []
        assert line.service is not None
        judge = line.service.worker._finisher.judge
        monkeypatch.setattr(
            line.service.worker._finisher, "judge", lambda *words: (looks.append(judge(*words)), looks[-1])[1]
        )
        farm.tell(job["uid"], state="finished")
        until(lambda: looks, LONG)
        Path(job["output"]).write_bytes(film)
        status = line.wait("spot", "completed", LONG)

    assert len(status["attempts"]) == 1
    assert (line.root / "done/spot/spot.mp4").read_bytes() == film


# --- several at once --------------------------------------------------------------------------------------------------


def test_a_restart_with_several_in_flight_renders_nothing_twice(line: Line, farm: Pretended) -> None:
    line.change(nexrender_server={"max_in_flight": 5})
    names = [f"j{number}" for number in range(5)]
    with serving(line):
        for name in names:
            line.drop(f"{name}.json", line.job(name))
        jobs = [taken(farm) for _ in names]
        until(lambda: all(any("has it" in why for why in line.whys(name)) for name in names), LONG)
        until(lambda: line.overview().get("rendering") == names, LONG)  # in the order in which they began
    for job in jobs[:2]:
        farm.render(job)  # while nobody watches
    with serving(line):
        for job in jobs[2:]:
            farm.render(job)
        for name in names:
            assert len(line.wait(name, "completed", LONG)["attempts"]) == 1
        until(lambda: is_tidy(line, farm), LONG)

    assert len(farm.posts) == len(farm.renders) == 5


def test_a_request_that_hangs_ends_with_its_deadline(line: Line, farm: Pretended) -> None:
    """A stop is obeyed while the server hangs."""
    held = threading.Event()
    with serving(line) as running:
        line.drop("spot.json")
        job = taken(farm)
        until(lambda: any("has it" in why for why in line.whys("spot")), LONG)
        farm.odd = lambda _asked: (held.wait(LONG), None)[1]
        assert running.service is not None
        running.service.request_stop()
        thread = running._thread
        assert thread is not None
        thread.join(LONG)
        is_alive = thread.is_alive()
        held.set()
    assert not is_alive
    farm.odd = WELL
    farm.render(job)
    with serving(line):
        line.wait("spot", "completed", LONG)


# --- the end of the service -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shutdown", ["requeue", "finish"])
def test_what_a_person_stops_leaves_the_farm_and_is_queued_again(line: Line, farm: Pretended, shutdown: str) -> None:
    line.change(shutdown=shutdown)
    with serving(line):
        for name in ("a", "b"):
            line.drop(f"{name}.json", line.job(name))
        first = taken(farm)  # the other one waits for a worker
        until(lambda: len(farm.posts) == 2, LONG)
        until(lambda: any("has it" in why for name in "ab" for why in line.whys(name)), LONG)
        line.mark("_STOP")
        thread = line._thread
        assert thread is not None
        thread.join(LONG)
        assert not thread.is_alive()

    assert [line.status(name)["state"] for name in ("a", "b")] == ["queued", "queued"]
    assert (line.root / "inbox" / "_PAUSE").exists() and farm.jobs == []
    farm.tell(first["uid"], state="finished")  # the worker is told that nobody wants it

    (line.root / "inbox" / "_PAUSE").unlink()
    farm.work(2)
    with serving(line):
        for name in ("a", "b"):
            assert len(line.wait(name, "completed", LONG)["attempts"]) == 1


def test_a_server_that_never_answers_keeps_no_service_from_ending(line: Line, farm: Pretended) -> None:
    held = threading.Event()
    farm.odd = lambda _asked: (held.wait(LONG), None)[1]
    try:
        with serving(line) as running:
            line.drop("spot.json")
            time.sleep(0.5)
            began = time.monotonic()
            running.stop()
            assert time.monotonic() - began < 8.0  # and not the ten seconds of each request
    finally:
        held.set()


def test_a_server_that_says_500_of_every_job_it_does_not_know_is_well(line: Line, farm: Pretended) -> None:
    def odd(asked: Asked) -> tuple[int, bytes] | None:
        words = asked.path.strip("/").split("/")
        is_single = asked.method == "GET" and words[:1] == ["jobs"] and words[1:] not in ([], ["status"], ["pickup"])
        return (500, b"Internal Server Error") if is_single and farm.job(words[1]) is None else None

    farm.odd = odd
    farm.work(1)
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "completed", LONG)
        assert waits(line) == []
