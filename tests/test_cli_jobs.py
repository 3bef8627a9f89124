"""Commands on jobs and the queue: without a service, and beside one whose HTTP is off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.process import Lived, living


def _said(lived: Lived, *words: str, code: int = 0) -> str:
    done = lived.command(*words)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def _json(lived: Lived, *words: str, code: int = 0) -> Any:
    done = lived.command(*words, "--json")
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def _file(lived: Lived, name: str, document: Any = None) -> Path:
    path = lived.home / name
    path.write_text(json.dumps(document or lived.job()), encoding="utf-8")
    return path


def test_without_a_service_all_commands_lay_their_wish_into_the_folder(lived: Lived) -> None:
    inbox = lived.root / "inbox"
    file = _file(lived, "spot.json")

    assert _json(lived, "submit", str(file), "--priority", "80", "--sub", "clientA") == [
        str(inbox / "clientA" / "p80_spot.json")
    ]
    assert [job["job"] for job in _json(lived, "list")] == ["clientA/spot"]
    assert _json(lived, "show", "clientA/spot")["priority"] == 80
    assert "(when the service runs again)" in _said(lived, "hold", "clientA/spot")
    assert (inbox / "clientA" / "spot.hold").exists()
    assert "released" in _said(lived, "release", "clientA/spot")
    assert not (inbox / "clientA" / "spot.hold").exists()
    _said(lived, "prioritize", "clientA/spot", "5")
    assert (inbox / "clientA" / "spot.p05").exists()
    assert "paused" in _said(lived, "pause")
    assert (inbox / "_PAUSE").exists()
    assert "resumed" in _said(lived, "resume")
    assert not (inbox / "_PAUSE").exists()
    assert _json(lived, "drain") == {
        "asked": "drain",
        "service": False,
        "said": "no service runs: there is nothing to drain",
    }
    assert "paused for its next start" in _said(lived, "stop")
    assert (inbox / "_PAUSE").exists()
    assert not (inbox / "_STOP").exists()
    assert _json(lived, "cancel", "--all")["jobs"] == 1
    assert (inbox / "_CANCEL_ALL").exists()

    with living(lived):
        lived.wait("clientA/spot", "cancelled")


def test_what_needs_a_live_service_says_so(lived: Lived) -> None:
    file = _file(lived, "spot.json")
    _said(lived, "submit", str(file))

    assert "needs a running service" in _said(lived, "submit", str(file), "--wait", code=3)
    assert "needs a running service" in _said(lived, "logs", "spot", "-f", code=3)
    assert "needs a running service" in _said(lived, "top", code=3)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("show", "ghost"), 1, "there is no job ghost"),
        (("cancel", "ghost"), 1, "there is no job ghost"),
        (("cancel",), 2, "name a job"),
        (("cancel", "--state", "sleeping"), 2, "the states are pending, validating, queued, rendering"),
        (("list", "--state", "sleeping"), 2, "the states are"),
        (("prioritize", "spot", "101"), 2, "0 to 100"),
        (("retry",), 2, "name a job"),
        (("retry", "--failed", "--since", "10 mins"), 2, "(write 10m)"),
        (("retry", "--failed", "--since", "yesterday"), 2, "2026-03-01T08:00"),
        (("submit", "nothing.json"), 2, "is not there"),
        (("submit", "--sub", "../x", "watchrender.yaml"), 2, "is no sub-folder of the inbox"),
        (("logs", "spot"), 1, "no log yet"),
        (("retry", "--failed"), 0, "there is no such job"),
        (("cancel", "--state", "rendering"), 0, "there is no such job"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    lived: Lived, words: tuple[str, ...], code: int, told: str
) -> None:
    lived.drop("spot.json")

    assert told in _said(lived, *words, code=code)


def test_a_job_that_is_named_twice_is_ordered_once(lived: Lived) -> None:
    lived.drop("spot.json")
    with living(lived):
        lived.wait("spot", "completed")
        (lived.root / "inbox" / "_PAUSE").touch()
        until(lambda: lived.said().get("paused"))
        lived.drop("next.json")
        job = lived.wait("next", "queued")

        assert _said(lived, "cancel", "next", job["id"]) == "next: cancelled\n"


def test_what_is_no_job_is_not_submitted(lived: Lived) -> None:
    file = lived.home / "film.mov"
    file.write_bytes(b"x")

    assert "is no job" in _said(lived, "submit", str(file), code=2)


def test_what_would_never_become_a_job_is_not_submitted(lived: Lived) -> None:
    """An empty file is never taken, and a folder without a job is a sub-folder for good: `--wait` would never end."""
    empty = lived.home / "empty.json"
    empty.touch()
    (lived.home / "folder").mkdir()

    assert "is empty" in _said(lived, "submit", str(empty), code=2)
    assert "job.json" in _said(lived, "submit", str(lived.home / "folder"), code=2)
    assert lived.files("inbox") == []


def test_settings_that_lie_beside_a_job_are_submitted_with_it(lived: Lived) -> None:
    """As `check` takes them for the job's, and under its name: beside a job of that name they would be its settings."""
    bundle = lived.home / "clip"
    bundle.mkdir()
    (bundle / "job.yaml").write_text("template: clip.aep\ncomposition: Main\n")
    (lived.home / "clip.yml").write_text("tags: [one]\n")
    file = _file(lived, "p80_spot.json")
    (lived.home / "spot.yaml").write_text("hold: true\n")
    _said(lived, "submit", str(_file(lived, "spot.json")), "--priority", "80")  # it took the settings too
    (lived.root / "inbox" / "p80_spot.yaml").unlink()

    dropped = _json(lived, "submit", str(file), str(bundle))

    names = ["p80_spot~2.json", "p80_spot~2.yaml", "clip", "clip.yml"]
    assert dropped == [str(lived.root / "inbox" / name) for name in names]
    (lived.home / "spot.yml").write_text("hold: false\n")
    assert "spot.yml" in _said(lived, "submit", str(file), code=2)


def test_the_same_name_from_two_folders_goes_with_its_own_settings(lived: Lived) -> None:
    given = []
    for folder in ("a", "b"):
        (lived.home / folder).mkdir()
        (lived.home / folder / "spot.yaml").write_text(f"tags: [{folder}]\n")
        given += [str(lived.home / folder / "spot.yaml"), str(_file(lived, f"{folder}/spot.json"))]

    _said(lived, "submit", *given)

    inbox = lived.root / "inbox"
    assert [(inbox / f"{name}.yaml").read_text() for name in ("spot", "spot~2")] == ["tags: [a]\n", "tags: [b]\n"]


def test_a_priority_that_is_asked_for_beats_the_one_a_job_gives_itself(lived: Lived) -> None:
    (lived.root / "inbox" / "_PAUSE").touch()
    own = _file(lived, "own.json", lived.job() | {"watchrender": {"priority": 10}})
    beside = _file(lived, "beside.json")
    (lived.home / "beside.yaml").write_text("priority: 10\n")
    with living(lived):
        _said(lived, "submit", str(own), str(beside), str(_file(lived, "plain.json")), "--priority", "77")

        for name, source in (("own", "request"), ("beside", "request"), ("plain", "filename")):
            lived.wait(name, "queued")
            until(lambda name=name: lived.status(name)["priority"] == 77)  # type: ignore[misc]
            assert lived.status(name)["priority_from"] == source
        until(lambda: not [name for name in lived.files("inbox") if name.endswith(".p77")])
        assert not [name for name in lived.files("inbox") if "WHY" in name]


def test_beside_a_service_without_http_orders_are_obeyed_at_once_and_answered(lived: Lived) -> None:
    (lived.root / "inbox" / "_PAUSE").touch()
    with living(lived):
        for name in ("a", "b", "c"):
            _said(lived, "submit", str(_file(lived, f"{name}.json", lived.job(f"Comp{name}"))))
        lived.wait("c", "queued")

        assert [found["hold"] for found in _json(lived, "hold", "a", "b")] == [True, True]
        assert [found["hold"] for found in _json(lived, "release", "b")] == [False]
        assert [found["priority"] for found in _json(lived, "prioritize", "c", "90")] == [90]
        assert [found["state"] for found in _json(lived, "cancel", "a")] == ["cancelled"]
        assert "already cancelled" in _said(lived, "cancel", "a", code=1)
        assert _json(lived, "resume")["service"]
        lived.wait("b", "completed")
        assert lived.starts() == ["Compc", "Compb"]

        assert [job["job"] for job in _json(lived, "list", "--state", "completed")] == ["b", "c"]
        assert "completed" in _said(lived, "show", lived.status("b")["id"][:14])
        assert f"id           {lived.status('b')['id']}" in _said(lived, "show", "b")
        shared = lived.status("b")["id"][:4]
        assert f"{lived.status('b')['id']} (b)" in _said(lived, "show", shared, code=1)
        assert "rendering job" in _said(lived, "logs", "b")
        told = _json(lived, "logs", "b")
        assert (told["job"], told["from"]) == ("b", 0) and "rendering job" in told["log"]
        assert _json(lived, "schema", "status")["title"]
        assert "server.enabled is false" in _said(lived, "top", code=3)
        first = lived.status("b")["id"]
        assert lived.terminate() == 0
    (lived.root / "status" / "b.status.json").unlink()  # as after a day: its folder alone tells of it
    assert _json(lived, "show", first[:-1])["job"] == "b"
    assert "needs a running service" in _said(lived, "logs", "b", "-f", code=3)


def test_submit_waits_for_the_end_and_says_how_it_was(lived: Lived) -> None:
    with living(lived):
        good, bad = _file(lived, "good.json"), _file(lived, "bad.json", {"template": 7})
        assert _json(lived, "submit", str(good), "--wait")[0]["state"] == "completed"
        ended = _said(lived, "submit", str(good), str(bad), "--wait", code=1)
        assert "bad: failed" in ended and "(JOB_INVALID)" in ended


def test_settings_are_submitted_before_their_job(lived: Lived) -> None:
    (lived.home / "spot.yaml").write_text("hold: true\n")
    with living(lived):
        _said(lived, "submit", str(_file(lived, "spot.json")), str(lived.home / "spot.yaml"))

        assert lived.wait("spot", "queued")["hold"] is True


def test_a_render_is_followed_and_cannot_be_held(lived: Lived) -> None:
    with living(lived):
        lived.drop("spot.json", lived.job("Slow"))
        lived.wait("spot", "rendering")

        assert "is rendering" in _said(lived, "hold", "spot", code=1)
        log = _said(lived, "logs", "spot", "-f")
        assert "Finished composition" in log
        lived.wait("spot", "completed")


def test_failed_jobs_are_tried_again_once_each(lived: Lived) -> None:
    with living(lived):
        for name in ("a", "b"):
            lived.drop(f"{name}.json", lived.job("NoComp"), sub="show")
        lived.wait("show/a", "failed")
        old = lived.wait("show/b", "failed")
        until(lambda: (lived.root / "failed/show/b").is_dir())
        (lived.root / "inbox" / "_PAUSE").touch()
        until(lambda: lived.said().get("paused"))

        assert _json(lived, "retry", "--failed", "--since", "2999-01-01T00:00") == []
        assert len(_json(lived, "retry", "--failed", "--since", old["created_at"])) == 2
        new = lived.wait("show/b", "queued")
        assert new["retry_of"] == old["id"]
        assert (lived.root / "failed/show/b/b.json").exists()
        lived.wait("show/a", "queued")
        assert _json(lived, "retry", "--failed") == []
        assert [job["state"] for job in _json(lived, "cancel", "--state", "queued")] == ["cancelled"] * 2


def test_stop_now_by_command(lived: Lived) -> None:
    lived.change(limits={"terminate_grace": "30s"})
    with living(lived):
        lived.drop("spot.json", lived.job("Stubborn"))
        lived.wait("spot", "rendering")
        until(lambda: lived.starts())
        assert _said(lived, "stop", "--now") == "stopping\n"

        assert lived.ends(20) == 0
        assert (lived.root / "inbox" / "_PAUSE").exists()


def test_a_pause_that_holds_something_is_not_emptied(lived: Lived) -> None:
    (lived.root / "inbox" / "_pause").mkdir()
    (lived.root / "inbox" / "_pause" / "mine.txt").touch()

    assert "empty it" in _said(lived, "resume", code=1)
    assert (lived.root / "inbox" / "_pause" / "mine.txt").exists()


def test_check_says_what_would_happen_without_a_service(lived: Lived) -> None:
    file = lived.drop("p80_spot.json")
    lived.drop("spot.yaml", b"hold: true\n")

    answer = _json(lived, "check", str(file))

    assert (answer["accepted"], answer["priority"], answer["settings"]) == (True, 80, {"hold": True})
    assert lived.files("inbox") == ["p80_spot.json", "spot.yaml"]
