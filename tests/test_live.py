"""`watchrender top`: the stream folded into a view, and the view as it is drawn, over the real server."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console

from tests.line import Line, serving, until
from tests.waiting import free_port
from watchrender.cli import live
from watchrender.cli.live import OVER_KEPT, View, follow, messages, picture
from watchrender.cli.reach import Reach
from watchrender.config import load


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path, server={"enabled": True, "port": str(free_port())})
    yield made
    made.stop()


@contextmanager
def client_of(line: Line) -> Iterator[Any]:
    config = load(yaml.safe_dump(line.settings), "watchrender.yaml", {})
    client = until(lambda: Reach(config).http())
    try:
        yield client
    finally:
        client.close()


def drawn(view: View) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(picture(view))
    return console.export_text()


def job(name: str, **said: Any) -> dict[str, Any]:
    usual = {"id": name, "job": name, "state": "queued", "priority": 50, "attempt": 0, "max_attempts": 4}
    return usual | {"created_at": "2026-11-24T12:00:00.000Z", "record": {"arrival": 1}} | said


# -- messages ---------------------------------------------------------------------------------------------------------


def test_messages_are_read_from_a_stream_whatever_else_is_in_it() -> None:
    lines = [
        "retry: 2000", "", ": quiet", "", "id: 17", "event: job", 'data: {"type": "job",', 'data: "id": 17}', "",
        "data: no json", "", "data: [1]", "", 'data: {"type": "cut off"}',
    ]  # fmt: skip

    assert list(messages(iter(lines))) == [{"type": "job", "id": 17}]


def test_a_snapshot_replaces_what_was_known_and_messages_change_it() -> None:
    view = View()
    view.take({"type": "snapshot", "data": {"service": {"node": "a"}, "counts": {"queued": 1}, "jobs": [job("old")]}})
    view.take({"type": "snapshot", "data": {"service": {"node": "b"}, "counts": {"queued": 2}, "jobs": [job("spot")]}})
    view.take({"type": "progress", "data": {"id": "spot", "progress": {"percent": 5}, "eta": {"done_at": "x"}}})
    view.take({"type": "progress", "data": {"id": "nobody", "progress": {"percent": 5}}})
    view.take({"type": "queue", "data": {"counts": {"queued": 3}, "queue": [{"id": "spot", "position": 2, "eta": {}}]}})
    view.take({"type": "service", "data": {"node": "b", "state": "paused"}})
    view.take({"type": "of a newer version", "data": None})

    assert view.service == {"node": "b", "state": "paused", "counts": {"queued": 3}}
    assert view.jobs == {"spot": job("spot", progress={"percent": 5}, position=2, eta={})}


def test_somebody_who_looks_for_weeks_keeps_only_the_last_that_are_over() -> None:
    view = View()
    view.take({"type": "job", "data": job("live")})
    for number in range(3 * OVER_KEPT):
        over = job(f"j{number}", state="completed", finished_at=f"2026-11-24T12:00:00.{number:03}Z")
        view.take({"type": "job", "data": over})

    assert len(view.jobs) == OVER_KEPT + 1
    assert view.over()[0]["id"] == f"j{3 * OVER_KEPT - 1}"
    assert "live" in view.jobs


# -- the drawing ------------------------------------------------------------------------------------------------------


def test_the_view_shows_renders_the_queue_in_its_order_and_what_is_over() -> None:
    view = View(service={"node": "render-01", "state": "running", "counts": {"queued": 2, "failed": 1, "pending": 0}})
    for found in (
        job("low", priority=10),
        job("high", priority=90, eta={"starts_at": "2026-11-24T12:00:00.000Z"}),
        job("held", hold=True, record={"arrival": 0}),
        job("runs", state="rendering", attempt=2, progress={"percent": 40.0, "frame": 51, "frames": 120, "fps": 3.4}),
        job("begins", state="rendering", progress={"percent": None, "stage": "starting"}),
        job("bad", state="failed", finished_at="2026-11-24T12:00:00.000Z", error={"code": "RENDER_CRASHED"}),
    ):
        view.take({"type": "job", "data": found})

    shown = drawn(view)

    assert "render-01  running  queued 2  failed 1" in shown
    assert "51/120" in shown and "2/4" in shown and "starting" in shown
    assert shown.index("high") < shown.index("held  ") < shown.index("low")
    assert "QUEUE (3)" in shown and "RENDER_CRASHED" in shown


@pytest.mark.parametrize("height", [24, 32, 60])
@pytest.mark.parametrize("width", [80, 160])
def test_it_fits_the_terminal_however_much_there_is_to_tell(height: int, width: int) -> None:
    view = View(service={"state": "waiting", "waiting": [{"message": "m" * 300, "cure": "c" * 300}] * 2})
    names = [f"client/{'a-very-long-name' * 9}{number}" for number in range(200)]
    for number, name in enumerate(names):
        told: dict[str, Any] = {"waiting_for": ["w" * 300], "error": {"code": "ASSET_MISSING", "message": "e" * 300}}
        view.take({"type": "job", "data": job(name, state=("queued", "failed")[number % 2], **told)})
    view.service["counts"] = {"queued": 5000}
    console = Console(width=width, file=io.StringIO(), record=True)

    console.print(picture(view, height))

    shown = console.export_text()
    assert len(shown.splitlines()) <= height
    assert "QUEUE (5000)" in shown
    assert f"and {5000 - len(re.findall(r'client.* queued ', shown))} more" in shown
    assert shown.count(" failed ") >= 2


def test_names_and_reasons_are_shown_as_they_are() -> None:
    view = View(service={"waiting": [{"message": "[red]a disk[/] is full.", "cure": "Free [space]."}]})
    view.take({"type": "job", "data": job("[bold]spot[/]", waiting_for=["[link]x.mov is not there"])})

    shown = drawn(view)

    assert "[bold]spot[/]" in shown and "[link]x.mov is not there" in shown
    assert "the queue waits: [red]a disk[/] is full." in shown and "Free [space]." in shown


# -- over the stream --------------------------------------------------------------------------------------------------


def test_a_render_is_followed_from_the_queue_to_its_end(line: Line) -> None:
    line.drop("spot.json", line.job("Slow"))
    seen: list[tuple[str, float | None]] = []

    def enough(view: View) -> bool:
        for found in view.jobs.values():
            seen.append((found["state"], (found.get("progress") or {}).get("percent")))
        return bool(view.over())

    with serving(line), client_of(line) as client:
        follow(client, until=enough)

    states = [state for state, _ in seen]
    percents = [percent for state, percent in seen if state == "rendering" and percent]
    assert states[-1] == "completed"
    assert len(set(percents)) >= 3 and percents == sorted(percents)


def test_it_ends_with_3_when_the_service_goes(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    begun = threading.Event()

    def look() -> None:
        def shown(_view: View) -> bool:
            begun.set()
            return False

        try:
            with client_of(line) as client:
                follow(client, until=shown)
        except typer.Exit as left:
            codes.append(left.exit_code)

    with serving(line):
        looker = threading.Thread(target=look, daemon=True)
        looker.start()
        assert begun.wait(10)
    looker.join(20)

    assert codes == [3]
    assert "the service has gone" in capsys.readouterr().err


def test_a_service_that_refuses_is_no_service(line: Line) -> None:
    line.change(server={"token": "a-secret-of-the-tests"})
    with serving(line):
        import httpx2

        address = f"http://127.0.0.1:{line.settings['server']['port']}/api/v1"
        with httpx2.Client(base_url=address, trust_env=False) as stranger, pytest.raises(typer.Exit) as left:
            follow(stranger)

    assert left.value.exit_code == 3


def test_a_clock_is_the_readers_own() -> None:
    assert live._clock(None) == ""
    assert len(live._clock("2026-11-24T12:00:00.000Z")) == 8
