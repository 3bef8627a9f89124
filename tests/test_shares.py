"""Shares and their habits: a real mount (FUSE) that tells of no changes, refuses renames, is slow, hangs, does not tell
names apart, rounds times, and whose clock is wrong. The service finds out by itself, says so, and jobs get through."""

from __future__ import annotations

import json
import os
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuse import Share, needs_fuse
from tests.line import Line, serving, until

pytestmark = needs_fuse

_LONG = 60.0
_Shared = Callable[..., tuple[Share, Line]]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[_Shared]:
    """A line whose root is a share with these habits."""
    shares: list[Share] = []

    def make(**habits: Any) -> tuple[Share, Line]:
        share = Share(tmp_path / "home", mount="root", **habits)
        shares.append(share)
        return share, Line(tmp_path / "home")

    yield make
    for share in shares:
        share.behave()
        share.end()


def _put(share: Share, name: str, content: Any) -> None:
    """Another machine drops it: nobody here hears of it."""
    path = share.server / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.tmp")
    hidden.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    hidden.rename(path)


def _health(line: Line) -> dict[str, Any]:
    found: dict[str, Any] = line.overview().get("health", {})
    return found


def test_where_no_event_ever_comes_scans_find_everything_and_the_service_says_so(shared: _Shared) -> None:
    share, line = shared()
    with serving(line):
        until(lambda: _health(line))
        assert (_health(line)["share"], _health(line)["volume"], _health(line)["events"]) == (
            True,
            "fuse.passthrough",
            True,
        )
        for number in range(3):
            _put(share, f"clientA/job{number}.json", line.job())
        for number in range(3):
            line.wait(f"clientA/job{number}", "completed", _LONG)
        until(lambda: _health(line)["events"] is False, _LONG)

        (share.server / "inbox" / "_PAUSE").touch()
        until(lambda: line.overview().get("paused"), _LONG)
        _put(share, "held.json", line.job())
        line.wait("held", "queued", _LONG)
        _put(share, "held.yaml", b"priority: 77\n")
        until(lambda: line.status("held")["priority"] == 77, _LONG)
        (share.server / "inbox" / "held.json").rename(share.server / "inbox" / "p20_held.json")
        (share.server / "inbox" / "held.yaml").unlink()
        until(lambda: line.status("held")["priority"] == 20, _LONG)
        (share.server / "inbox" / "p20_held.json").unlink()
        line.wait("held", "cancelled", _LONG)


def test_a_refused_rename_is_tried_until_it_goes_and_costs_no_try(shared: _Shared) -> None:
    """As Linux tells a sharing violation: at the claim, at the status file, at the delivery."""
    share, line = shared()
    line.change(retry={"max_retries": 0})
    with serving(line):
        share.behave(refuse=[["rename", "*/p90_held.json", "EBUSY"]])
        _put(share, "p90_held.json", line.job())
        _put(share, "free.json", line.job())
        line.wait("free", "completed", _LONG)
        waits = until(lambda: (s := line.status("held")).get("waiting_for") and s, _LONG)
        assert (waits["state"], "p90_held.json" in waits["waiting_for"][0]) == ("queued", True)
        share.behave(refuse=[["rename", "/done/*", "EACCES"]])
        late = until(lambda: (s := line.status("held"))["state"] == "rendering" and s["waiting_for"] and s, _LONG)
        assert (late["progress"]["stage"], "active/held" in late["waiting_for"][0]) == ("delivering", True)
        share.behave(refuse=[["rename", "/status/held.status.json", "ETXTBSY"]])
        until(lambda: (line.root / "done" / "held" / "held.mp4").is_file(), _LONG)
        until(lambda: (_health(line).get("status_refused") or "").find("held.status.json") >= 0, _LONG)
        assert line.status("held")["state"] == "rendering"  # whole, and old
        share.behave()
        done = line.wait("held", "completed", _LONG)
        assert (len(done["attempts"]), done["waiting_for"], done["folder"]) == (1, [], "done/held")
        assert not [name for name in line.files("status") if name.endswith(".tmp")]


def test_a_refused_job_and_a_cancelled_one_leave_the_inbox_when_they_may(shared: _Shared) -> None:
    share, line = shared()
    line.mark("_PAUSE")
    with serving(line):
        share.behave(refuse=[["rename", "/inbox/*", "EBUSY"]])
        _put(share, "bad.json", b'{"template": oops}')
        _put(share, "gone.json", line.job())
        line.wait("gone", "queued", _LONG)
        (share.server / "inbox" / "gone.cancel").touch()
        line.wait("gone", "cancelled", _LONG)
        until(lambda: "bad.json" in str(line.status("bad").get("waiting_for")), _LONG)
        assert line.files("failed") == line.files("cancelled") == []
        share.behave()
        line.wait("bad", "failed", _LONG)
        until(lambda: {"gone/WHY.txt", "gone/gone.json"} <= set(line.files("cancelled")), _LONG)
        assert {"bad/WHY.txt", "bad/bad.json"} <= set(line.files("failed"))
        until(lambda: line.files("inbox") == ["_PAUSE"] and line.files("active") == [], _LONG)


def test_a_slow_share_makes_jobs_late_and_nothing_else(shared: _Shared) -> None:
    share, line = shared(slow=[["getattr", "*", 0.005], ["rename", "*", 0.1], ["readdir", "*", 0.1]])
    with serving(line):
        for number in range(1):
            _put(share, f"slow{number}.json", line.job())
        for number in range(1):
            assert len(line.wait(f"slow{number}", "completed", _LONG)["attempts"]) == 1
        assert line.overview()["waiting"] == []


def test_a_share_that_hangs_makes_the_queue_wait_and_loses_nothing(shared: _Shared) -> None:
    share, line = shared()
    line.change(server={"enabled": True, "port": 0})
    with serving(line):
        service = line.service
        assert service is not None
        service.intake._aside.limit = service.folders._prober.limit = 1.0
        line.mark("_PAUSE")
        until(lambda: line.overview().get("paused"), _LONG)
        for number in range(3):
            _put(share, f"job{number}.json", line.job())
        for number in range(3):
            line.wait(f"job{number}", "queued", _LONG)

        share.behave(hang=[["*", "*"]])
        until(lambda: [found.code for found in service.gate.waiting()] == ["SHARE_OFFLINE"], _LONG)
        assert _ask(service, "/healthz")[0] == 200
        ready, said = _ask(service, "/readyz")
        assert (ready, "SHARE_OFFLINE" in said, "hangs" in said) == (503, True, True)

        share.behave()
        (share.server / "inbox" / "_PAUSE").unlink()
        for number in range(3):
            done = line.wait(f"job{number}", "completed", _LONG)
            assert (len(done["attempts"]), done["attempt"]) == (1, 1)
        until(lambda: line.overview()["waiting"] == [], _LONG)


def _ask(service: Any, path: str) -> tuple[int, str]:
    import httpx2

    host, port = service.web.address
    answer = httpx2.get(f"http://{host}:{port}{path}", timeout=30, trust_env=False)
    return answer.status_code, answer.text


def test_names_that_the_share_does_not_tell_apart(shared: _Shared) -> None:
    """A disk that folds case and keeps accents in two letters, as macOS' and its servers do."""
    share, line = shared(fold=True, normal="NFD")
    line.mark("_PAUSE")
    name = unicodedata.normalize("NFC", "Café.json")
    with serving(line):
        line.drop(name)
        line.wait("Café", "queued", _LONG)
        line.drop("CAFÉ.yaml", b"priority: 80\n")
        until(lambda: line.status("Café").get("priority") == 80, _LONG)
        (line.root / "inbox" / "CAFÉ.HOLD").touch()
        until(lambda: line.status("Café").get("hold"), _LONG)
        (line.root / "inbox" / "café.hold").unlink()
        until(lambda: not line.status("Café").get("hold"), _LONG)
        _found(share, "Café.json").rename(share.server / "inbox" / unicodedata.normalize("NFD", "cafÉ.json"))
        until(lambda: any("renamed" in why for why in line.whys("Café")), _LONG)
        (line.root / "inbox" / "_PAUSE").unlink()
        done = line.wait("Café", "completed", _LONG)
        assert unicodedata.normalize("NFC", done["folder"]) == "done/Café"

        line.drop("CAFÉ.json")
        again = line.wait("CAFÉ~2", "completed", _LONG)
        assert again["id"] != done["id"]
        assert len(os.listdir(share.server / "done")) == 2
        assert [job.key for job in line.service.ledger.live()] == []


def _found(share: Share, name: str) -> Path:
    folded = unicodedata.normalize("NFC", name).casefold()
    return next(
        path for path in (share.server / "inbox").iterdir()
        if unicodedata.normalize("NFC", path.name).casefold() == folded
    )  # fmt: skip


def test_times_in_steps_of_two_seconds_hide_no_save(shared: _Shared) -> None:
    """FAT's: a second save of the same length within one tick looks like the first."""
    share, line = shared(tick=2.0)
    line.mark("_PAUSE")
    line.change(watch={"scan_interval": "50ms"})
    with serving(line):
        one, two = (json.dumps(line.job(composition)).encode() for composition in ("Main", "Slow"))
        assert len(one) == len(two)
        while time.time() % 2 > 0.3:  # early in a tick
            time.sleep(0.01)
        _put(share, "saved.json", one)
        line.wait("saved", "queued", _LONG)
        path = share.server / "inbox" / "saved.json"
        path.write_bytes(two)
        until(lambda: line.status("saved").get("composition") == "Slow", _LONG)


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_a_clock_that_is_wrong_takes_no_footage_that_is_still_being_copied(shared: _Shared, skew: int) -> None:
    share, line = shared(skew=skew)
    line.change(watch={"assets_deadline": "5m", "settle": "600ms"})
    footage = share.server / "footage.mov"
    footage.write_bytes(b"the first part")
    with serving(line):
        until(lambda: _health(line))
        assert abs(_health(line)["clock_ahead"] - skew) < 60
        job = line.job(assets=[{"type": "video", "layerName": "a", "src": str(line.root / "footage.mov")}])
        for number in range(40):
            with footage.open("ab") as file:
                file.write(b"more")
            if number == 5:
                _put(share, "job.json", job)
            if number > 5 and line.status("job"):
                assert line.status("job")["state"] in ("pending", "validating"), line.whys("job")
            time.sleep(0.05)
        done = line.wait("job", "completed", _LONG)
        assert len(done["attempts"]) == 1
