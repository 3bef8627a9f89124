"""A file that is locked, replaced or removed at each step of its way: seen, settling, being read, being claimed, while
its attempt is prepared, while it renders. The real service, on a share where another machine does it (FUSE)."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.fuse import Share, needs_fuse
from tests.line import Line, serving, until
from tests.website import Web, answer, website

pytestmark = needs_fuse

_LONG = 60.0


class Way:
    """One hot folder on a share, and a file of it at each step."""

    def __init__(self, share: Share, line: Line, web: Web) -> None:
        self.share, self.line, self.web = share, line, web
        self.arrived, self.go_on = threading.Event(), threading.Event()
        web.answers["/slow.png"] = self._answer_slowly

    def _answer_slowly(self, request: BaseHTTPRequestHandler) -> None:
        self.arrived.set()
        self.go_on.wait(_LONG)
        answer(b"a picture")(request)

    def path(self, *parts: str) -> Path:
        """As the other machine sees it."""
        return self.share.server.joinpath(*parts)

    def put(self, place: str, content: bytes | str | dict[str, Any]) -> Path:
        path = self.path(place)
        data = json.dumps(content) if isinstance(content, dict) else content
        hidden = path.with_name(f".{path.name}.tmp")
        hidden.write_bytes(data.encode() if isinstance(data, str) else data)
        hidden.rename(path)
        return path

    def other(self) -> dict[str, Any]:
        """The job that takes the place of another."""
        return self.line.job("Main", watchrender={"tags": ["other"]})

    def stands(self, operation: str, name: str) -> Callable[[], None]:
        """From now on this operation on the file does not come back, until what is answered is called."""
        self.share.behave(hang=[[operation, f"*{name}"]])
        return self.share.behave


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    share = Share(tmp_path / "home", mount="root")
    with website() as web:
        line = Line(tmp_path / "home", policy={"hosts": ["127.0.0.1"]}, retry={"max_retries": 0})
        line.change(watch={"settle": "1s", "cut_off": "60s"})
        yield Way(share, line, web)
        share.behave()
        share.end()


def _yaml(line: Line, *, tags: str = "") -> str:
    return f"template: {line.projects / 'spot.aep'}\ncomposition: Main\nwatchrender: {{tags: [{tags}]}}\n"


def _pause(way: Way, *, on: bool) -> None:
    mark = way.path("inbox/_PAUSE")
    mark.touch() if on else mark.unlink()
    until(lambda: way.line.overview().get("paused") is on, _LONG)


def _rendering(way: Way, name: str, composition: str = "Slow") -> Path:
    """A job whose render goes on: its file as it lies in active/."""
    way.put(f"inbox/{name}.json", way.line.job(composition))
    until(lambda: way.line.status(name).get("progress", {}).get("percent"), _LONG)
    return way.path("active", name, f"{name}.json")


def _prepared(way: Way, name: str) -> Path:
    """A job whose footage is being fetched: its file as it lies in active/."""
    way.arrived.clear()
    way.go_on.clear()
    picture = {"type": "image", "layerName": "a", "src": way.web.url("/slow.png")}
    way.put(f"inbox/{name}.json", way.line.job(assets=[picture]))
    assert way.arrived.wait(_LONG)
    file = way.path("active", name, f"{name}.json")
    until(file.exists, _LONG)
    return file


def test_a_file_that_is_removed_at_each_step(way: Way) -> None:
    line = way.line
    with serving(line):
        seen = way.put("inbox/seen.json", json.dumps(line.job())[:60])
        line.wait("seen", "pending", _LONG)
        seen.unlink()
        line.wait("seen", "cancelled", _LONG)

        settling = way.put("inbox/settling.yaml", _yaml(line))
        settling.unlink()

        go_on = way.stands("open", "read.json")
        way.put("inbox/read.json", line.job())
        until(lambda: line.status("read"), _LONG)
        way.path("inbox/read.json").unlink()
        go_on()
        line.wait("read", "cancelled", _LONG)

        _pause(way, on=True)
        way.put("inbox/claimed.json", line.job())
        line.wait("claimed", "queued", _LONG)
        go_on = way.stands("rename", "claimed.json")
        _pause(way, on=False)
        until(lambda: line.status("claimed").get("state") == "rendering", _LONG)
        way.path("inbox/claimed.json").unlink()
        go_on()
        line.wait("claimed", "cancelled", _LONG)

        prepared = _prepared(way, "prepared")
        prepared.unlink()
        way.go_on.set()
        prepared_end = until(lambda: (s := line.status("prepared")).get("finished_at") and s, _LONG)

        started = _rendering(way, "started")
        started.unlink()
        started_end = until(lambda: (s := line.status("started")).get("finished_at") and s, _LONG)

        way.put("inbox/last.json", line.job())
        line.wait("last", "completed", _LONG)

    assert line.status("settling") == {}  # it never was a job
    for name in ("seen", "read", "claimed"):
        assert any("withdrawn" in why for why in line.whys(name)), line.whys(name)
        assert not (line.root / "cancelled" / name).exists()
    for name, end in (("prepared", prepared_end), ("started", started_end)):
        # What was read counts: a film is a film. Else the letter says that the file is gone.
        assert end["state"] == "completed" or end["error"]["code"] == "JOB_UNREADABLE", (name, end)
    assert line.files("active") == [] and line.files("inbox") == []


def test_a_file_that_is_replaced_at_each_step(way: Way) -> None:
    line = way.line
    with serving(line):
        _pause(way, on=True)
        way.put("inbox/seen.json", json.dumps(line.job())[:60])
        line.wait("seen", "pending", _LONG)
        way.put("inbox/seen.json", way.other())

        way.put("inbox/settling.yaml", _yaml(line))
        way.put("inbox/settling.yaml", _yaml(line, tags="other"))

        go_on = way.stands("open", "read.json")
        way.put("inbox/read.json", line.job())
        until(lambda: line.status("read"), _LONG)
        way.put("inbox/read.json", way.other())
        go_on()
        for name in ("seen", "settling", "read"):
            until(lambda name=name: line.status(name).get("tags") == ["other"], _LONG)
            line.wait(name, "queued", _LONG)

        way.put("inbox/p90_claimed.json", line.job())
        line.wait("claimed", "queued", _LONG)
        go_on = way.stands("rename", "claimed.json")
        _pause(way, on=False)
        until(lambda: line.status("claimed").get("state") == "rendering", _LONG)
        way.put("inbox/p90_claimed.json", way.other())
        go_on()
        for name in ("claimed", "seen", "settling", "read"):
            assert line.wait(name, "completed", _LONG)["tags"] == ["other"], name

        prepared = _prepared(way, "prepared")
        prepared.write_text("not the job any more", encoding="utf-8")
        way.go_on.set()
        line.wait("prepared", "completed", _LONG)

        started = _rendering(way, "started")
        started.unlink()
        os.mkfifo(started)
        line.wait("started", "completed", _LONG)

        way.put("inbox/last.json", line.job())
        line.wait("last", "completed", _LONG)

    assert line.starts().count("Main") == 6
    assert (line.root / "done/prepared/prepared.json").read_text(encoding="utf-8") == "not the job any more"
    assert (line.root / "done/started/started.mp4").is_file()


def test_a_file_that_is_locked_at_each_step(way: Way) -> None:
    """As a share tells a sharing violation (EBUSY), or a server a lock (EACCES)."""
    line = way.line
    with serving(line):
        refuse = [["open", "*/read.json", "EACCES"], ["open", "*/settling.yaml", "EBUSY"]]
        way.share.behave(refuse=[*refuse, ["open", "*/seen.json", "EBUSY"]])
        way.put("inbox/seen.json", json.dumps(line.job())[:60])
        way.put("inbox/settling.yaml", _yaml(line))
        way.put("inbox/read.json", line.job())
        for name in ("seen", "read"):
            until(lambda name=name: "cannot be opened" in str(line.status(name).get("waiting_for")), _LONG)
        way.put("inbox/free.json", line.job())
        line.wait("free", "completed", _LONG)
        assert line.status("settling").get("state") in (None, "pending")
        way.put("inbox/seen.json", line.job())
        way.share.behave()
        for name in ("seen", "settling", "read"):
            line.wait(name, "completed", _LONG)

        way.share.behave(refuse=[["rename", "*/claimed.json", "EBUSY"]])
        way.put("inbox/claimed.json", line.job())
        until(lambda: "claimed.json" in str(line.status("claimed").get("waiting_for")), _LONG)
        assert line.status("claimed")["state"] == "queued"
        way.put("inbox/passing.json", line.job())
        line.wait("passing", "completed", _LONG)
        way.share.behave()
        line.wait("claimed", "completed", _LONG)

        _prepared(way, "prepared")
        way.share.behave(refuse=[["open", "*/prepared.json", "EACCES"]])
        way.go_on.set()
        line.wait("prepared", "completed", _LONG)
        way.share.behave()

        _rendering(way, "started")
        way.share.behave(refuse=[["rename", "/active/started", "EBUSY"], ["open", "*/started.json", "EBUSY"]])
        until(lambda: line.status("started").get("progress", {}).get("stage") == "delivering", _LONG)
        until(lambda: "active/started" in str(line.status("started").get("waiting_for")), _LONG)
        way.share.behave()
        line.wait("started", "completed", _LONG)

    for name in ("seen", "settling", "read", "free", "claimed", "passing", "prepared", "started"):
        assert len(line.status(name)["attempts"]) == 1, name
