"""Bringing sources near ahead of time: what is taken is what lies there now, and nobody waits for another's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waiting import until
from watchrender.ahead import OPENING_SECONDS, LookAhead
from watchrender.core.access import Policy
from watchrender.core.job import Progress
from watchrender.core.states import Event
from watchrender.ledger.ledger import Ledger
from watchrender.render.ahead import Ahead, copyable
from watchrender.render.fetch import FetchCache, Fetcher
from watchrender.render.footage import Footage

CONTENT = b"clip" * 1000


class Server(ThreadingHTTPServer):
    """Serves one clip, as slowly as it is told."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.etag: str | None = '"1"'
        self.content = CONTENT
        self.hold = threading.Event()
        self.hold.set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/clip.mov"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        mark = self.headers.get("If-None-Match")
        self.server.asked.append(mark)
        if mark is not None and mark == self.server.etag:
            self.send_response(304)
            self.end_headers()
            return
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.end_headers()
        try:
            self.wfile.write(content[:100])
            self.wfile.flush()
            self.server.hold.wait(10)
            self.wfile.write(content[100:])
        except OSError:
            pass  # nobody listens any more

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.hold.set()
    found.shutdown()
    found.server_close()
    thread.join()


class Near:
    """Footage with a look ahead. Every file counts as one of another volume, read as slowly as `fast` is high."""

    def __init__(self, folder: Path, *, hosts: tuple[str, ...] = ("127.0.0.1",), fast: float = 1e15) -> None:
        policy = Policy(actions=(), roots=None, schemes=("file", "http"), hosts=hosts, scripts=())
        self.cache = FetchCache(folder / "cache", 10**9)
        fetcher = Fetcher(policy=policy, cap_bytes=10**9, timeout_seconds=20, cache=self.cache)
        own = folder / "attempts"
        self.ahead = Ahead(
            fetcher=fetcher, cache=self.cache, folder=own, fast=fast, small=10, spare=0,
            device=lambda path: 1 if path == own else 2,
        )  # fmt: skip
        self.footage = Footage(folder, fetcher=fetcher, ahead=self.ahead)
        self.folder = folder / "job"

    def bring_ahead(
        self,
        document: dict[str, object],
        files: dict[str, Path],
        links: dict[str, str],
        later: Callable[[], bool] = lambda: False,
    ) -> None:
        self.footage.bring_ahead(document, resolved=files, links=links, stop=lambda: False, later=later)

    def bring(self, document: dict[str, object], files: dict[str, Path], links: dict[str, str]) -> dict[str, str]:
        found = self.footage.bring(document, resolved=files, links=links, folder=self.folder)
        assert isinstance(found, dict)
        return found


def document(src: str, **asset: object) -> dict[str, object]:
    return {"template": {"src": "x.aep"}, "assets": [{"src": src, "type": "video", "layerName": "l"} | asset]}


def clip(folder: Path) -> Path:
    path = folder / "Clip.MOV"
    path.write_bytes(CONTENT)
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_link_that_was_brought_near_is_only_asked_about_when_its_job_is_taken(tmp_path: Path, server: Server) -> None:
    near, links = Near(tmp_path), {"assets[0].src": server.url}

    near.bring_ahead(document(server.url), {}, links)
    found = near.bring(document(server.url), {}, links)

    assert Path(found["assets[0].src"]).read_bytes() == CONTENT
    assert server.asked == [None, '"1"']


def test_a_link_that_changed_since_is_fetched_again(tmp_path: Path, server: Server) -> None:
    near, links = Near(tmp_path), {"assets[0].src": server.url}
    near.bring_ahead(document(server.url), {}, links)
    server.etag, server.content = '"2"', b"new" * 100

    found = near.bring(document(server.url), {}, links)

    assert Path(found["assets[0].src"]).read_bytes() == server.content


def test_a_server_without_marks_is_not_asked_early_a_second_time(tmp_path: Path, server: Server) -> None:
    near, links = Near(tmp_path), {"assets[0].src": server.url}
    server.etag = None

    near.bring_ahead(document(server.url), {}, links)
    near.bring_ahead(document(server.url), {}, links)

    assert server.asked == [None]


def test_what_the_policy_forbids_is_not_asked_for(tmp_path: Path, server: Server) -> None:
    near = Near(tmp_path, hosts=())

    near.bring_ahead(document(server.url), {}, {"assets[0].src": server.url})

    assert server.asked == []


def test_the_job_that_is_taken_waits_for_its_own_download_and_asks_once(tmp_path: Path, server: Server) -> None:
    near, links = Near(tmp_path), {"assets[0].src": server.url}
    server.hold.clear()
    early = in_background(lambda: near.bring_ahead(document(server.url), {}, links))
    until(lambda: server.asked)
    found: list[dict[str, str]] = []
    taken = in_background(lambda: found.append(near.bring(document(server.url), {}, links)))

    server.hold.set()
    early.join(10)
    taken.join(10)

    assert Path(found[0]["assets[0].src"]).read_bytes() == CONTENT
    assert server.asked == [None, '"1"']


def test_a_download_stands_still_while_another_job_is_taken_and_goes_on_afterwards(
    tmp_path: Path, server: Server
) -> None:
    near = Near(tmp_path)
    server.content = CONTENT * 2000
    server.hold.clear()
    early = in_background(lambda: near.bring_ahead(document(server.url), {}, {"assets[0].src": server.url}))
    until(lambda: server.asked)

    with near.ahead.taking(files=[clip(tmp_path)], links=[], stop=lambda: False):
        server.hold.set()
        early.join(0.5)
        assert early.is_alive()
    early.join(10)

    assert not early.is_alive()
    assert near.cache.find(server.url) is not None
    assert server.asked == [None]


def test_a_file_on_a_slow_volume_is_taken_from_its_copy(tmp_path: Path) -> None:
    near, path = Near(tmp_path), clip(tmp_path)

    near.bring_ahead(document("x"), {"assets[0].src": path}, {})
    found = Path(near.bring(document("x"), {"assets[0].src": path}, {})["assets[0].src"])

    assert found == near.folder / "a01.mov"
    assert found.read_bytes() == CONTENT


def test_a_copy_from_a_slow_volume_waits_while_somebody_reads_there_and_a_link_does_not(
    tmp_path: Path, server: Server
) -> None:
    near, path, reads = Near(tmp_path), clip(tmp_path), threading.Event()
    reads.set()
    both = document("x") | {"assets": [*document("x")["assets"], {"src": server.url, "type": "video"}]}  # type: ignore[misc]
    early = in_background(
        lambda: near.bring_ahead(both, {"assets[0].src": path}, {"assets[1].src": server.url}, reads.is_set)
    )
    until(lambda: near.cache.find(server.url))
    time.sleep(0.2)
    assert near.cache.find(f"file:{path}") is None

    reads.clear()
    early.join(5)
    assert near.cache.find(f"file:{path}") is not None


def test_a_copy_that_waits_is_left_when_its_job_is_taken(tmp_path: Path) -> None:
    near, path = Near(tmp_path), clip(tmp_path)
    files = {"assets[0].src": path}
    early = in_background(lambda: near.bring_ahead(document("x"), files, {}, lambda: True))
    until(lambda: near.ahead._trip)

    assert near.bring(document("x"), files, {})["assets[0].src"] == str(path)
    early.join(5)
    assert not early.is_alive()


def test_copies_wait_for_the_first_frame_of_what_renders_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    ledger = Ledger(tmp_path / "ledger", now=lambda: now)
    job = ledger.add(why="seen", name="spot", file="spot.json")
    look = LookAhead(
        ledger=ledger, footage=Near(tmp_path).footage, judged=lambda _job: pytest.fail("not asked"),
        current=lambda: job.id,
    )  # fmt: skip
    assert not look._is_opening()

    for event in (Event.CHECK, Event.ACCEPT, Event.START):
        ledger.apply(job.id, event, "so", started_at=ledger.stamp())
    assert look._is_opening()
    ledger.progress(job.id, Progress(stage="rendering", frame=0))
    assert look._is_opening()
    now += timedelta(seconds=OPENING_SECONDS)
    assert not look._is_opening()
    now -= timedelta(seconds=OPENING_SECONDS)
    ledger.progress(job.id, Progress(stage="rendering", frame=1))
    assert not look._is_opening()
    ledger.close()


def test_a_file_that_changed_since_is_read_where_it_lies(tmp_path: Path) -> None:
    near, path = Near(tmp_path), clip(tmp_path)
    near.bring_ahead(document("x"), {"assets[0].src": path}, {})
    path.write_bytes(b"new" * 1000)

    found = near.bring(document("x"), {"assets[0].src": path}, {})

    assert found["assets[0].src"] == str(path)


def test_nothing_is_copied_from_a_fast_volume(tmp_path: Path) -> None:
    near, path = Near(tmp_path, fast=1.0), clip(tmp_path)

    near.bring_ahead(document("x"), {"assets[0].src": path}, {})

    assert near.bring(document("x"), {"assets[0].src": path}, {})["assets[0].src"] == str(path)


def test_a_project_and_a_numbered_sequence_stay_where_their_neighbours_are(tmp_path: Path) -> None:
    near, path = Near(tmp_path), clip(tmp_path)

    near.bring_ahead(document("x", sequence=True), {"assets[0].src": path, "template.src": path}, {})

    assert not (tmp_path / "cache").exists()
    assert not copyable({"type": "script"}, {"video"})


def test_what_is_kept_stays_within_its_bound(tmp_path: Path) -> None:
    near = Near(tmp_path)
    near.cache._max_bytes = 2 * len(CONTENT)
    for number in range(5):
        path = tmp_path / f"{number}.mov"
        path.write_bytes(CONTENT)
        near.bring_ahead(document("x"), {"assets[0].src": path}, {})

    kept = sum(file.stat().st_size for file in (tmp_path / "cache").glob("*.bin"))
    assert kept <= 2 * len(CONTENT)
    assert not list((tmp_path / "attempts").iterdir())


def test_a_disk_with_no_room_to_spare_gets_nothing(tmp_path: Path) -> None:
    near, path = Near(tmp_path), clip(tmp_path)
    near.ahead._spare = 1 << 60

    near.bring_ahead(document("x"), {"assets[0].src": path}, {})

    assert not (tmp_path / "cache").exists()
