"""Commands on jobs and the queue: without a service, and beside one whose HTTP is off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.process import Lived, living


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    return Lived(tmp_path)


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
        (("retry", "--failed", "--since", "10 mins"), 2, "--since"),
        (("submit", "nothing.json"), 2, "is not there"),
        (("submit", "--sub", "../x", "watchrender.yaml"), 2, "is no sub-folder of the inbox"),
        (("logs", "spot"), 1, "no log yet"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    lived: Lived, words: tuple[str, ...], code: int, told: str
) -> None:
    lived.drop("spot.json")

    assert told in _said(lived, *words, code=code)


def test_what_is_no_job_is_not_submitted(lived: Lived) -> None:
    file = lived.home / "film.mov"
    file.write_bytes(b"x")

    assert "is no job" in _said(lived, "submit", str(file), code=2)


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
        assert "rendering job" in _said(lived, "logs", "b")
        told = _json(lived, "logs", "b")
        assert (told["job"], told["from"]) == ("b", 0) and "rendering job" in told["log"]
        assert _json(lived, "schema", "status")["title"]


def test_submit_waits_for_the_end_and_says_how_it_was(lived: Lived) -> None:
    with living(lived):
        good, bad = _file(lived, "good.json"), _file(lived, "bad.json", {"template": 7})
        assert _json(lived, "submit", str(good), "--wait")[0]["state"] == "completed"
        assert "bad: failed" in _said(lived, "submit", str(good), str(bad), "--wait", code=1)


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

        assert len(_json(lived, "retry", "--failed", "--since", "1h")) == 2
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
