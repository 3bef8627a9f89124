"""Every order that a file can give and every command on top of it, HTTP off: each is answered, in the status or by a
letter, whatever its form, and whomever it names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.line import until
from tests.process import Lived, living

_LONG = 60.0

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="drives the service by POSIX signals, and makes links and pipes"
)


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Lived]:
    made = Lived(tmp_path)
    assert made.settings["server"] == {"enabled": False}
    (made.root / "inbox" / "_PAUSE").touch()
    yield made


def _ignored(lived: Lived) -> dict[str, str]:
    return {found["path"]: found["why"] for found in lived.said().get("ignored", [])}


def test_an_order_counts_in_every_form_and_each_is_answered(lived: Lived) -> None:
    inbox = lived.root / "inbox"
    lived.drop("gone.json", b'{"template": 7}')
    with living(lived):
        lived.wait("gone", "failed", _LONG)
        names = ("plain", "capitals", "suffix", "content", "folder", "file", "raised", "lowest", "highest", "many")
        for name in names:
            lived.drop(f"p30_{name}.json")
        lived.drop("held.json")
        lived.drop("late.json")
        for name in (*names, "held", "late"):
            lived.wait(name, "queued", _LONG)

        (inbox / "plain.cancel").touch()
        (inbox / "CAPITALS.CaNcEl").touch()
        (inbox / "suffix.cancel.TXT").touch()
        (inbox / "content.cancel").write_bytes(os.urandom(3 * 2**20))
        (inbox / "folder.cancel").mkdir()
        (inbox / "p30_file.json.cancel").touch()
        (inbox / "Raised.P95.txt").write_text("please", encoding="utf-8")
        (inbox / "lowest.p00").mkdir()
        (inbox / "highest.p100").touch()
        for number in (11, 22, 33):
            (inbox / f"many.p{number}").touch()
            until(lambda number=number: lived.status("many").get("priority") == number, _LONG)
        (inbox / "held.HOLD").mkdir()
        (inbox / "nobody.hold").touch()
        answered = {
            "nobody.cancel": "no job called nobody",
            "nobody.p90": "no job called nobody",
            "Nobody.Release.txt": "no job called Nobody",
            "gone.cancel": "is already failed",
            "gone.p10": "is already failed",
            "gone.json.cancel": "is already failed",
            "sub.cancel": "no job called sub",
        }
        for name in answered:
            (inbox / name).touch()

        for name in ("plain", "capitals", "suffix", "content", "folder", "file"):
            status = lived.wait(name, "cancelled", _LONG)
            assert "the control file" in status["history"][-1]["why"]
            assert until((lived.root / "cancelled" / name / "WHY.txt").is_file, _LONG)
        for name, priority in (("raised", 95), ("lowest", 0), ("highest", 100), ("many", 33)):
            until(lambda name=name, priority=priority: lived.status(name).get("priority") == priority, _LONG)
            assert lived.status(name)["priority_from"] == "request"
        until(lambda: lived.status("held").get("hold"), _LONG)
        for name, words in answered.items():
            letter = inbox / f"{name.removesuffix('.txt')}.WHY.txt"
            until(letter.is_file, _LONG)
            assert words in until(lambda letter=letter: letter.read_text(encoding="utf-8"), _LONG)
            until(lambda name=name: not (inbox / name).exists(), _LONG)
        until(lambda: "nobody.hold" in _ignored(lived), _LONG)
        assert "no job of this name" in _ignored(lived)["nobody.hold"]

        lived.drop("nobody.json")  # the mark was there first
        until(lambda: lived.status("nobody").get("hold"), _LONG)
        until(lambda: "nobody.hold" not in _ignored(lived), _LONG)
        (inbox / "held.release").touch()
        until(lambda: not lived.status("held").get("hold") and not (inbox / "held.release").exists(), _LONG)
        until(lambda: not (inbox / "held.HOLD").exists(), _LONG)
        assert lived.terminate() == 0
        assert "a fault in watchrender itself" not in lived.output()


def test_what_only_looks_like_an_order_is_left_alone_and_named(lived: Lived) -> None:
    inbox = lived.root / "inbox"
    with living(lived):
        lived.drop("spot.json")
        lived.drop("client/spot.json")
        lived.wait("spot", "queued", _LONG)
        lived.wait("client/spot", "queued", _LONG)
        (inbox / "spot.cancel").symlink_to(inbox / "spot.json")
        os.mkfifo(inbox / "spot.p90")
        (inbox / "_STOP").symlink_to("/etc/hostname")
        os.mkfifo(inbox / "_DRAIN")
        (inbox / "client" / "_CANCEL_ALL").touch()
        (inbox / "client" / "_stop.txt").touch()
        for name in ("spot.p7", "spot.p101", "spot.cancelled", "_CANCEL", "PAUSE", "spot.cancel.bak"):
            (inbox / name).touch()
        full = inbox / "spot.p80"
        full.mkdir()
        (full / "mine.txt").touch()
        named = {
            "spot.cancel": "opens only plain files",
            "spot.p90": "opens only plain files",
            "_STOP": "opens only plain files",
            "_DRAIN": "opens only plain files",
            "client/_CANCEL_ALL": "only at the top",
            "client/_stop.txt": "only at the top",
            **dict.fromkeys(("spot.p7", "spot.p101", "spot.cancelled", "_CANCEL", "PAUSE"), "not a job file"),
        }
        until(lambda: named.keys() <= _ignored(lived).keys(), _LONG)
        assert all(words in _ignored(lived)[name] for name, words in named.items()), _ignored(lived)
        lived.drop("last.json")
        lived.wait("last", "queued", _LONG)
        for key in ("spot", "client/spot"):
            assert (lived.status(key)["state"], lived.status(key)["priority"]) == ("queued", 50)
        assert (full / "mine.txt").exists()
        assert all(os.path.lexists(inbox / name) for name in named)
        assert lived.terminate() == 0


def test_brakes_work_in_every_form_together_and_one_after_another(lived: Lived) -> None:
    """_PAUSE, _CANCEL_ALL, _DRAIN and _STOP, as files, folders, in any case; two lives."""
    inbox = lived.root / "inbox"
    (inbox / "_PAUSE").unlink()
    (inbox / "_pause.TXT").mkdir()
    with living(lived):
        until(lambda: lived.said().get("paused"), _LONG)
        for name in ("a", "b"):
            lived.drop(f"{name}.json", sub="client")
            lived.wait(f"client/{name}", "queued", _LONG)
        (inbox / "_Cancel_All.txt").mkdir()
        for name in ("a", "b"):
            lived.wait(f"client/{name}", "cancelled", _LONG)
        until(lambda: not (inbox / "_Cancel_All.txt").exists(), _LONG)
        lived.drop("spot.json", lived.job("Slow"))
        lived.wait("spot", "queued", _LONG)
        (inbox / "_pause.TXT").rmdir()
        lived.wait("spot", "rendering", _LONG)
        lived.drop("next.json")
        lived.wait("next", "queued", _LONG)
        (inbox / "_drain").mkdir()
        assert lived.ends() == 0
    assert (lived.status("spot")["state"], lived.status("next")["state"]) == ("completed", "queued")
    assert not (inbox / "_drain").exists()

    lived.drop("again.json", lived.job("Slower"), sub="client")
    with living(lived):
        lived.wait("next", "completed", _LONG)
        lived.wait("client/again", "rendering", _LONG)
        (inbox / "_STOP").mkdir()
        assert lived.ends() == 0
    assert (lived.status("client/again")["state"], lived.status("client/again")["attempts"]) == ("queued", [])
    assert sorted(os.listdir(inbox)) == ["_PAUSE", "client"]


def _said(lived: Lived, *words: str, code: int = 0) -> Any:
    done = lived.command(*words, "--json")
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if done.stdout.strip() else done.stderr


def test_every_command_is_answered_without_http(lived: Lived) -> None:
    with living(lived):
        for name in ("a", "b", "c"):
            lived.drop(f"{name}.json", sub="show")
        lived.drop("bad.json", lived.job("NoComp"), sub="show")
        for name in ("a", "b", "c", "bad"):
            lived.wait(f"show/{name}", "queued", _LONG)
        assert _said(lived, "hold", "show/a")[0]["hold"] is True
        assert _said(lived, "release", "show/A")[0]["hold"] is False
        assert _said(lived, "prioritize", "show/bad", "99")[0]["priority"] == 99
        assert _said(lived, "resume")["service"]
        lived.wait("show/bad", "failed", _LONG)
        lived.wait("show/c", "completed", _LONG)
        assert "No comp was found" in _said(lived, "logs", "show/bad")["log"]
        for words in (("cancel", "show/c"), ("hold", "show/c"), ("release", "show/c"), ("prioritize", "show/c", "5")):
            refused = lived.command(*words)
            assert refused.returncode == 1 and "already completed" in refused.stdout + refused.stderr, words
        for words in (("cancel", "ghost"), ("hold", "ghost"), ("logs", "ghost"), ("retry", "ghost")):
            refused = lived.command(*words)
            assert refused.returncode == 1 and "there is no job ghost" in refused.stdout + refused.stderr, words
        assert _said(lived, "pause")["service"]
        until(lambda: lived.said().get("paused"), _LONG)
        assert len(_said(lived, "retry", "--failed")) == 1
        again = lived.wait("show/bad", "queued", _LONG)
        assert again["retry_of"]
        assert _said(lived, "cancel", "--all")["jobs"] == 1
        lived.wait("show/bad", "cancelled", _LONG)
        assert _said(lived, "drain")["service"]
        assert lived.ends() == 0
    assert not [name for name in os.listdir(lived.root / "inbox") if name not in ("_PAUSE", "show")]
