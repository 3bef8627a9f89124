"""The page in a real browser: progress seen moving, orders given, sign-in, a restart survived, nothing that axe finds.

With WATCHRENDER_PICTURES set, the pictures of README and docs are taken anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from tests.line import Line, serving, until
from tests.waiting import free_port
from watchrender.core import clock
from watchrender.core.states import Event, State
from watchrender.web import listing
from watchrender.web.page import standalone

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IMAGES = Path(__file__).parent.parent / "docs" / "images"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path, server={"enabled": True, "port": 0})
    yield made
    made.stop()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(60_000)
    found = context.new_page()
    found.faults = []
    found.on("pageerror", lambda error: found.faults.append(str(error)))
    found.on("request", lambda request: None if _is_here(request.url) else found.faults.append(request.url))
    yield found
    context.close()
    assert found.faults == []


def _is_here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "file:///", "data:"))


def _goto(page: Any, line: Line) -> None:
    assert line.service is not None
    host, port = line.service.web.address
    page.goto(f"http://{host}:{port}/")


@contextmanager
def _waiting(line: Line, page: Any, *names: str) -> Iterator[None]:
    """These jobs wait in a paused queue, and the page shows them."""
    (line.root / "inbox" / "_PAUSE").touch()
    for name in names:
        line.drop(f"{name}.json")
    with serving(line):
        line.wait(names[-1], "queued")
        _goto(page, line)
        yield


def _open(page: Any, line: Line) -> None:
    _goto(page, line)
    page.get_by_role("status").filter(has_text="running").wait_for()


def test_progress_is_seen_moving_and_the_film_plays_in_the_page(line: Line, page: Any) -> None:
    line.drop("spot.json", line.job("Slower"))
    with serving(line):
        _open(page, line)
        bar = page.get_by_role("progressbar", name="Progress of spot")
        seen: set[str] = set()
        until(lambda: seen.add(bar.get_attribute("value") or "") or len(seen) > 3)
        line.drop("short.json")
        page.get_by_role("spinbutton", name="Priority of short").wait_for()
        _cancel(page, "spot")
        page.get_by_role("button", name="Play short").click()
        until(lambda: page.locator("video").evaluate("video => video.currentTime > 0 && !video.error"))

        assert page.faults == []


def _cancel(page: Any, name: str) -> None:
    page.get_by_role("button", name=f"Cancel {name}").click()
    page.get_by_role("dialog", name=f"Cancel {name}?").get_by_role("button", name="Cancel the job").click()


def test_a_running_render_is_cancelled_and_tried_again_from_the_page(line: Line, page: Any) -> None:
    line.drop("spot.json", line.job("Slower"))
    with serving(line):
        _open(page, line)
        page.get_by_role("progressbar", name="Progress of spot").wait_for()
        page.get_by_role("button", name="Cancel spot").click()
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        assert line.status("spot")["state"] == "rendering"
        _cancel(page, "spot")
        line.wait("spot", "cancelled")
        page.get_by_role("button", name="Try spot again").click()
        until(lambda: line.status("spot").get("retry_of"))

        assert page.faults == []


def test_a_priority_is_changed_by_keyboard_and_many_are_held_at_once(line: Line, page: Any) -> None:
    with _waiting(line, page, "a", "b"):
        box = page.get_by_role("spinbutton", name="Priority of b")
        box.focus()
        page.keyboard.press("Control+A")
        page.keyboard.type("88")
        page.keyboard.press("Enter")
        until(lambda: line.status("b").get("priority") == 88)

        page.get_by_role("checkbox", name="Select a", exact=True).check()
        page.get_by_role("checkbox", name="Select b").check()
        page.get_by_role("group", name="Selected jobs").get_by_role("button", name="Hold").click()
        until(lambda: line.status("a").get("hold") and line.status("b").get("hold"))
        page.get_by_role("button", name="Resume").click()
        until(lambda: not (line.root / "inbox" / "_PAUSE").exists())


def test_a_queue_is_put_in_order_from_the_keyboard(line: Line, page: Any) -> None:
    with _waiting(line, page, "a", "b", "c"):
        page.get_by_role("checkbox", name="Select a", exact=True).focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("+")
        until(lambda: line.status("b").get("priority") == 60)
        page.keyboard.press("h")
        until(lambda: line.status("b").get("hold"))
        page.get_by_role("button", name="Release b").wait_for()
        page.keyboard.press("Delete")
        page.get_by_role("dialog", name="Cancel b?").wait_for()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        line.wait("b", "cancelled")
        page.get_by_role("checkbox", name="Select c", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="What happened, and why").wait_for()

        assert page.faults == []


def test_the_keyboard_keeps_its_place_when_what_it_was_at_goes_away(line: Line, page: Any) -> None:
    """After a question, a cancelled job, an order for many, more of a list, and a job's own page."""

    def at() -> str:
        where = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
        return str(page.evaluate(where)).strip()[:40]

    with _waiting(line, page, "a", "b", "c"):
        page.get_by_role("checkbox", name="Select b", exact=True).focus()
        page.keyboard.press("Delete")
        page.get_by_role("dialog", name="Cancel b?").wait_for()
        page.keyboard.press("Escape")
        until(lambda: at() == "Select b")
        page.get_by_role("button", name="Cancel b", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("dialog", name="Cancel b?").wait_for()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        until(lambda: at() == "Select c")

        page.keyboard.press("Space")
        page.get_by_role("button", name="Hold 1").focus()
        page.keyboard.press("Enter")
        page.get_by_role("group", name="Selected jobs").wait_for(state="detached")
        assert page.evaluate("document.activeElement.closest('main') !== null")
        page.get_by_role("link", name="c", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="What happened, and why").wait_for()
        page.go_back()
        until(lambda: at() == "c")


def test_a_list_that_is_gone_back_to_is_asked_for_again(line: Line, page: Any) -> None:
    with serving(line):
        assert line.service is not None
        for number in range(80):
            at = clock.stamp(datetime.now(UTC) - timedelta(hours=100 - number))
            line.service.ledger.add(why="a test", name=f"old{number}", state=State.COMPLETED, finished_at=at)
        _open(page, line)
        page.get_by_role("link", name="old79").wait_for()
        page.evaluate("location.hash = '#/?q=old3'")  # as a bookmark, or the browser's buttons
        page.get_by_role("link", name="old3", exact=True).wait_for()


def test_a_name_from_right_to_left_changes_the_place_of_nothing_beside_it(line: Line, page: Any) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    line.drop("עברית (1).json", sub="ש")
    with serving(line):
        line.wait("ש/עברית (1)", "queued")
        _goto(page, line)
        page.get_by_role("link", name="עברית (1)").wait_for()
        places = page.evaluate(
            "[...document.querySelectorAll('.jobs .what .folder, .jobs .what bdi')]"
            ".map((part) => part.getBoundingClientRect().left)"
        )

        assert len(places) >= 4  # folder, name, project, composition
        assert places == sorted(places)


def test_with_shift_all_jobs_in_between_are_selected(line: Line, page: Any) -> None:
    with _waiting(line, page, *"abcd"):
        page.get_by_role("checkbox", name="Select b", exact=True).click()
        page.get_by_role("checkbox", name="Select d", exact=True).click(modifiers=["Shift"])
        page.get_by_text("3 jobs selected").wait_for()
        page.get_by_role("checkbox", name="Select c", exact=True).click()
        page.get_by_text("2 jobs selected").wait_for()

        assert page.get_by_role("checkbox", name="Select a", exact=True).is_checked() is False
        assert page.faults == []


def test_the_plot_of_the_day_tells_what_ends_as_it_ends(line: Line, page: Any) -> None:
    with serving(line):
        _open(page, line)
        page.get_by_role("img", name="The last 24 hours: 0 completed").wait_for()
        line.drop("spot.json")
        page.get_by_role("img", name="The last 24 hours: 1 completed").wait_for()


def test_more_of_a_long_queue_and_of_what_is_over_is_fetched(line: Line, page: Any) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    with serving(line):
        assert line.service is not None
        ledger = line.service.ledger
        with ledger.together():
            for number in range(120):
                ledger.add(
                    why="a test", name=f"old{number}", state=State.COMPLETED, finished_at=clock.stamp(ledger.now())
                )
            for number in range(260):
                job = ledger.add(why="a test", name=f"new{number}", begun=True)
                ledger.apply(job.id, Event.CHECK, "a test")
                ledger.apply(job.id, Event.ACCEPT, "a test")
        _goto(page, line)
        queue = page.get_by_role("list", name="Queue").get_by_role("listitem")
        page.get_by_role("button", name="Show 100 more").click()
        page.get_by_role("button", name="Load more of the queue").click()
        page.get_by_role("button", name="Show 60 more").click()
        until(lambda: queue.count() == 260)
        page.get_by_role("checkbox", name="Select all 260").click()  # `check` wants it drawn at once
        page.get_by_role("button", name="Hold 260").wait_for()

        over = page.get_by_role("list", name="Finished and failed").get_by_role("listitem")
        for button, shown in (("Show more", 50), ("Load more", 60), ("Show more", 100), ("Show more", 120)):
            page.get_by_role("button", name=button, exact=True).click()
            until(lambda shown=shown: over.count() == shown)


def test_a_search_finds_what_the_page_was_not_sent(line: Line, page: Any) -> None:
    with serving(line):
        assert line.service is not None
        for number in range(80):
            at = clock.stamp(datetime.now(UTC) - timedelta(hours=100 - number))  # what is old is soon forgotten
            line.service.ledger.add(why="a test", name=f"old{number}", state=State.COMPLETED, finished_at=at)
        _open(page, line)
        page.get_by_role("link", name="old79").wait_for()
        assert page.get_by_role("link", name="old3", exact=True).count() == 0
        page.get_by_label("Search").fill("old3")
        page.get_by_role("link", name="old3", exact=True).wait_for()
        page.get_by_text("11 jobs found").wait_for()

        page.reload()  # what was asked for is in the address
        page.get_by_role("link", name="old3", exact=True).wait_for()
        page.get_by_role("button", name="Show all").click()
        page.get_by_role("link", name="old79").wait_for()


def test_a_search_in_a_long_history_goes_on_until_there_is_something_to_see(
    line: Line, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_LOOKED_AT", 50)
    with serving(line):
        assert line.service is not None
        ledger = line.service.ledger
        with ledger.together():
            for number in range(600):
                at = clock.stamp(ledger.now() - timedelta(minutes=600 - number))
                name = f"spot{number}" if 100 <= number < 400 else f"other{number}"
                ledger.add(why="a test", name=name, state=State.COMPLETED, finished_at=at)
        _open(page, line)
        page.get_by_label("Search").fill("spot")
        page.get_by_text("100 jobs found so far").wait_for()
        for _ in range(2):
            page.get_by_role("button", name="Show more").click()
        page.get_by_role("button", name="Load more").click()
        page.get_by_text("200 jobs found so far").wait_for()

        assert page.faults == []


def test_what_renders_is_told_with_frame_speed_time_left_and_its_log(line: Line, page: Any) -> None:
    line.drop("first.json", line.job("Slow"))
    with serving(line):
        line.wait("first", "completed", 60)
        line.drop("spot.json", line.job("Slower"))
        for number in range(3):
            line.drop(f"p{40 - number}_later{number}.json", line.job("Slow"))
        _open(page, line)
        now = page.get_by_role("article").filter(has_text="spot")
        told = ("Frame", "of 25", "frames/s", "Left", "Done", "Running for")
        until(lambda: all(words.lower() in now.inner_text().lower() for words in told), 60)
        until(lambda: "rendering" in now.get_by_role("region", name="Log of spot").inner_text(), 60)
        rows = page.get_by_role("list", name="Queue").get_by_role("listitem")
        wanted = ["later0", "later1", "later2"]
        until(lambda: rows.evaluate_all("rows => rows.map(row => row.dataset.job)") == wanted, 60)
        # What renders has no past: its pace alone tells when these will be done, and changes nothing else.
        until(lambda: ["done " in text for text in rows.all_inner_texts()] == [True] * 3, 60)


def test_tiles_and_banner_tell_how_the_machine_is(line: Line, page: Any) -> None:
    line.drop("held.json", line.job() | {"watchrender": {"hold": True}})
    with serving(line):
        line.wait("held", "queued", 60)
        _open(page, line)
        tiles = page.locator("dl.tiles > div")
        for name, value in (
            ("Queue", "1 job"), ("Oldest job", "ago"), ("After Effects", "ready"), ("Disk", "free"),
            ("Hot folder", "reachable"), ("Inbox looked at", "ago"), ("Finished", "0 films"), ("Failed", "0"),
        ):  # fmt: skip
            tiles.filter(has_text=name).filter(has_text=value).first.wait_for()
        aerender = Path(line.settings["nexrender"]["aerender"])
        aerender.rename(aerender.with_name("away"))
        line.drop("spot.json")
        banner = page.get_by_role("alert").filter(has_text="AERENDER_NOT_FOUND")
        banner.get_by_text("The queue waits:").wait_for()
        tiles.filter(has_text="After Effects").filter(has_text="not ready").wait_for()


def test_jobs_are_chosen_by_state_folder_tag_and_error_and_all_that_match_are_selected(line: Line, page: Any) -> None:
    (line.root / "inbox" / "_PAUSE").touch()
    with serving(line):
        assert line.service is not None
        ledger = line.service.ledger
        with ledger.together():
            for number in range(300):
                tags = ("tv",) if number < 250 else ()
                job = ledger.add(
                    why="a test", name=f"new{number}", sub="show" if number % 2 else "", tags=tags, begun=True
                )
                ledger.apply(job.id, Event.CHECK, "a test")
                ledger.apply(job.id, Event.ACCEPT, "a test")
            error = {"code": "ASSET_MISSING", "kind": "job", "message": "a.mov is not there", "cure": "put it there"}
            ledger.add(why="a test", name="bad", state=State.FAILED, error=error, finished_at=clock.stamp(ledger.now()))
        _goto(page, line)
        queue = page.get_by_role("list", name="Queue").get_by_role("listitem")
        until(lambda: queue.count() == 100, 60)
        page.get_by_label("Tag").select_option("tv")
        page.get_by_role("checkbox", name="Select all that match").or_(
            page.get_by_role("checkbox", name="Select all 250")
        ).first.check()
        page.get_by_text("250 jobs selected").first.wait_for()
        bar = page.get_by_role("group", name="Selected jobs")
        bar.get_by_role("spinbutton", name="Priority").fill("91")
        bar.get_by_role("button", name="Set for 250").click()
        until(lambda: sum(job.priority == 91 for job in ledger.live()) == 250, 60)
        page.get_by_role("button", name="Clear").click()
        page.get_by_label("Folder").select_option("show")
        until(lambda: queue.first.get_attribute("data-job") == "show/new1", 60)
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("Error").select_option("ASSET_MISSING")
        page.get_by_text("1 job found").wait_for()
        page.get_by_role("listitem").get_by_text("put it there").wait_for()
        page.get_by_role("button", name="Show all").click()
        page.get_by_label("State").select_option("failed")
        page.get_by_text("1 job found").wait_for()


def test_the_page_of_a_job_tells_its_tries_settings_document_and_every_film(line: Line, page: Any) -> None:
    pytest.importorskip("av")
    line.change(delivery={"previews": "auto"})
    encode = {"module": "@nexrender/action-encode", "preset": "mp4", "output": "small.mp4"}
    job = line.job("CrashTwice") | {"actions": {"postrender": [encode]}, "watchrender": {"tags": ["tv"]}}
    line.drop("spot.json", job)
    line.drop("spot.yaml", "max_retries: 3\n")
    with serving(line):
        line.wait("spot", "completed", 60)
        _open(page, line)
        shown = page.get_by_role("list", name="Finished and failed").locator("img.thumbnail")
        until(lambda: shown.evaluate("image => image.naturalWidth > 0"), 60)
        page.get_by_role("link", name="spot").first.click()
        for title in ("Films", "Tries", "What happened, and why", "Settings, and where each came from", "Log"):
            page.get_by_role("heading", name=title, exact=True).wait_for()
        page.get_by_text("Try 2").first.wait_for()
        page.get_by_text("RENDER_CRASHED").first.wait_for()
        page.get_by_role("row", name="max_retries 3 sidecar").wait_for()
        page.get_by_role("region", name="The job's document").get_by_text("CrashTwice").wait_for()
        for name in ("spot", "small.mp4"):
            sheet = page.get_by_role("img", name=f"Contact sheet of {name}")
            sheet.scroll_into_view_if_needed()
            until(lambda sheet=sheet: sheet.evaluate("image => image.naturalWidth > 0"), 60)
            film = page.get_by_label(f"Film of {name}")
            until(lambda film=film: film.evaluate("video => video.readyState > 0 && !video.error"), 60)


def test_no_script_and_no_picture_from_elsewhere_gets_into_the_page(line: Line, page: Any) -> None:
    with serving(line):
        _open(page, line)
        blocked = page.evaluate(
            """async () => {
              const found = [];
              document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
              const script = document.createElement("script");
              script.textContent = "window.evil = true";
              const image = document.createElement("img");
              image.src = "https://evil.example/x.png";
              document.body.append(script, image);
              const soon = () => new Promise((on) => setTimeout(on, 100));
              for (let tries = 0; tries < 600 && found.length < 2; tries++) await soon();
              return [found.sort(), window.evil ?? null];
            }"""
        )
    page.faults[:] = [url for url in page.faults if "evil.example" not in url]  # told though it was never sent

    assert blocked == [["img-src", "script-src-elem"], None]


def test_drain_and_stop_are_asked_for_by_keyboard(line: Line, page: Any) -> None:
    with serving(line):
        _open(page, line)
        page.get_by_role("button", name="Stop", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("dialog", name="Stop the service?").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")
        page.get_by_role("button", name="Drain", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("dialog", name="Drain the queue?").wait_for()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        until(lambda: line.code is not None, 60)

    assert line.code == 0
    assert not (line.root / "inbox" / "_PAUSE").exists()


def test_where_websockets_are_cut_the_page_follows_the_events(line: Line, page: Any) -> None:
    page.route_web_socket("**/ws*", lambda socket: socket.close())
    with serving(line):
        _goto(page, line)
        page.get_by_role("status").filter(has_text="running").wait_for()
        line.drop("spot.json")
        page.get_by_role("link", name="spot").first.wait_for()


def test_a_failed_job_shows_reason_and_cure_and_its_own_page(line: Line, page: Any) -> None:
    line.drop("bad.json", line.job("NoComp"))
    with serving(line):
        line.wait("bad", "failed")
        _open(page, line)
        page.get_by_role("listitem").get_by_text("COMPOSITION_NOT_FOUND").wait_for()
        page.get_by_role("link", name="bad").click()
        page.get_by_role("heading", name="What happened, and why").wait_for()

        assert page.get_by_text("seen in the inbox as bad.json", exact=True).is_visible()
        until(lambda: "No comp was found" in page.get_by_label("Log of bad").inner_text())


def test_the_page_reconnects_by_itself_and_says_when_it_is_stale(line: Line, page: Any) -> None:
    line.change(server={"port": free_port()})
    with serving(line):
        _open(page, line)
    page.get_by_role("alert").wait_for()

    with serving(line):
        line.drop("spot.json")
        page.get_by_role("link", name="spot").first.wait_for()
        until(lambda: page.get_by_role("alert").count() == 0)


def test_a_token_is_asked_for_once(tmp_path: Path, page: Any) -> None:
    line = Line(tmp_path, server={"enabled": True, "port": 0, "token": "let-me-in-please"})
    with serving(line):
        _goto(page, line)
        page.get_by_label("Token of this server").fill("not-the-token")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").filter(has_text="not the token").wait_for()
        page.get_by_label("Token of this server").fill("let-me-in-please")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("status").filter(has_text="running").wait_for()
        page.reload()
        page.get_by_role("status").filter(has_text="running").wait_for()


def test_the_folders_page_needs_no_server_and_says_when_it_is_stale(line: Line, page: Any) -> None:
    line.change(server={"enabled": False})
    line.drop("bad.json", line.job("NoComp"))
    with serving(line):
        line.wait("bad", "failed")
        index = line.root / "status" / "index.html"
        until(lambda: index.is_file() and "COMPOSITION_NOT_FOUND" in index.read_text(encoding="utf-8"), 15)
    page.goto(index.as_uri())

    page.get_by_text("The service has been stopped").wait_for()
    assert page.get_by_role("listitem").get_by_text("COMPOSITION_NOT_FOUND").is_visible()
    assert page.get_by_role("button", name="Cancel").count() == 0
    page.get_by_role("link", name="bad").click()
    page.get_by_role("heading", name="bad failed").wait_for()
    page.get_by_role("link", name="What is wrong, and what to do").click()
    page.get_by_text("COMPOSITION_NOT_FOUND").wait_for()


def test_the_folders_page_trusts_its_own_clock_when_the_service_is_silent(tmp_path: Path, page: Any) -> None:
    index = tmp_path / "index.html"
    at = datetime.now(UTC)

    def write(beat: int, moment: datetime) -> None:
        service = {"instance": "one", "beat": beat, "at": clock.stamp(moment), "state": "running", "counts": {}}
        index.write_text(standalone({"queue": []}, service, stale_seconds=2), encoding="utf-8")

    _stop_the_clock(page)
    write(1, at - timedelta(hours=1))
    page.goto(index.as_uri())
    page.get_by_role("alert").filter(has_text="has not written for").wait_for()  # nothing else to go by yet

    write(2, at - timedelta(hours=1))  # the service's clock is an hour behind, and it lives
    page.reload()
    page.get_by_role("heading", name="Rendering now").wait_for()
    assert page.get_by_role("alert").count() == 0
    page.clock.fast_forward(4000)
    page.get_by_role("alert").filter(has_text="has not written for").wait_for()  # and then it does not


def _stop_the_clock(page: Any) -> None:
    """The page's time goes on only when a test says so, however busy the machine is."""
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=1))


def test_what_somebody_does_to_the_folders_page_outlives_its_loading_itself_again(tmp_path: Path, page: Any) -> None:
    index = tmp_path / "index.html"
    at = clock.stamp(datetime.now(UTC))
    jobs = [
        {"id": f"id{number}", "job": f"spot{number}", "name": f"spot{number}", "sub": "", "state": "completed",
         "folder": f"done/spot{number}", "priority": 50, "finished_at": at, "outputs": [], "tags": []}
        for number in range(70)
    ]  # fmt: skip
    service = {"instance": "one", "beat": 1, "at": at, "state": "running", "counts": {"completed": 70}}
    index.write_text(standalone({"queue": [], "recent": jobs}, service), encoding="utf-8")
    _stop_the_clock(page)
    page.goto(index.as_uri())
    rows = page.get_by_role("list", name="Finished and failed").get_by_role("listitem")
    assert rows.count() == 20
    page.get_by_role("button", name="Show more").click()
    assert rows.count() == 60
    link = page.get_by_role("link", name="spot33")
    link.focus()

    with page.expect_navigation():
        page.clock.fast_forward(5100)

    assert rows.count() == 60
    assert link.evaluate("link => link === document.activeElement")

    page.get_by_label("Search").focus()
    for _ in range(10):
        page.clock.fast_forward(5100)
    page.get_by_text("Not brought up to date while").wait_for()
    assert page.get_by_role("alert").count() == 0  # nobody has looked, so nobody can say that it is silent
    link.focus()
    with page.expect_navigation():
        page.clock.fast_forward(5100)
    page.get_by_role("alert").filter(has_text="has not written for").wait_for()


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core from npm, fetched once."""
    cache = Path(platformdirs.user_cache_dir("watchrender-tests", appauthor=False)) / "axe"
    script = cache / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if not script.is_file():
        if npm is None:
            pytest.skip("axe-core is fetched by npm, and there is none")
        cache.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(cache), "--no-save", "--no-audit", "--no-fund", "axe-core@4.10.3"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode:
            pytest.skip(f"axe-core cannot be fetched: {done.stderr[-300:]}")
    return script.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("dashboard", 1200, "light"),
        ("dashboard-dark", 1200, "dark"),
        ("dashboard-small", 360, "light"),
    ],
)
def test_axe_finds_nothing_and_it_fits_a_phone(
    tmp_path: Path, browser: Any, axe: str, name: str, width: int, scheme: str
) -> None:
    line = Line(tmp_path, server={"enabled": True, "port": 0}, delivery={"previews": "auto"})
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    line.drop("p90_title.json")
    line.drop("p85_credits.json", line.job("NoComp"))
    if width < 400:  # a name that somebody's spreadsheet has made is cut by no window
        line.drop(f"p10_{'a-very-long-name' * 7}.json", sub="a-client-with-a-long-name")
    with serving(line):
        line.wait("title", "completed")
        line.wait("credits", "failed")
        for job, composition in (("p80_teaser", "Slower"), ("p60_spot", "Slower"), ("trailer", "Slower")):
            line.drop(f"{job}.json", line.job(composition) | {"watchrender": {"tags": ["tv"]}})
        _open(page, line)
        page.get_by_role("progressbar", name="Progress of teaser").wait_for()
        until(lambda: (line.status("teaser").get("progress", {}).get("percent") or 0) > 10)
        if os.environ.get("WATCHRENDER_PICTURES"):
            IMAGES.mkdir(exist_ok=True)
            page.screenshot(path=IMAGES / f"{name}.png")
        faults = _faults(page, axe)
        page.get_by_role("checkbox", name="Select spot", exact=True).check()
        page.get_by_label("Search").fill("t")
        if width > 400:
            page.get_by_text("Keyboard", exact=True).click()
        line.mark("_PAUSE")
        page.get_by_text("The queue is paused").wait_for()
        faults += _faults(page, axe)
        page.get_by_role("button", name="Show all").click()
        page.get_by_role("button", name="Cancel teaser").click()
        page.get_by_role("dialog").wait_for()
        faults += _faults(page, axe)
        page.keyboard.press("Escape")
        page.get_by_role("link", name="title").first.click()
        page.get_by_role("heading", name="What happened, and why").wait_for()
        faults += _faults(page, axe)
        for job in ("credits", "spot"):
            page.get_by_role("link", name="All jobs").click()
            page.get_by_role("link", name=job, exact=True).first.click()
            page.get_by_role("heading", name="The job itself").wait_for()
            faults += _faults(page, axe)
        page.goto((line.root / "status" / "index.html").as_uri())
        page.get_by_role("heading", name="Queue").wait_for()
        faults += _faults(page, axe)
    context.close()

    assert faults == []


def _faults(page: Any, axe: str) -> list[Any]:
    """What axe finds in the page as it is now, and whether it is wider than the window."""
    found = page.evaluate(f"{axe}; axe.run(document, {{resultTypes: ['violations']}})")
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    faults = [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found["violations"]]
    return faults + ([("wider than the window", too_wide)] if too_wide > 0 else [])
