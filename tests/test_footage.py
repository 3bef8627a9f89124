"""Sources are used when they are there and still, and fetched only from where they may come."""

from __future__ import annotations

import base64
import gzip
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.website import Web, answer, website
from watchrender.core.access import Policy
from watchrender.core.failure import Code, Failure
from watchrender.render.fetch import FetchCache, Fetcher
from watchrender.render.footage import Footage, Sighting, Trouble, hand_over, look, unpack

SETTLE = 2.0


# -- there and still -----------------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """A folder with files of a given age, and the looks at them."""

    folder: Path
    memory: dict[str, Sighting] = field(default_factory=dict)
    wall: float = 1_700_000_000.0
    now: float = 1000.0

    def put(self, name: str, content: bytes = b"x", *, age: float) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        os.utime(file, (self.wall - age, self.wall - age))
        return file

    def look(self, *files: Path) -> list[Trouble]:
        wanted = {f"assets[{number}].src": file for number, file in enumerate(files)}
        return look(wanted, self.memory, now=self.now, wall=self.wall, settle=SETTLE)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(folder=tmp_path)


def test_old_footage_is_complete_at_first_sight(shelf: Shelf) -> None:
    assert shelf.look(shelf.put("a.png", age=10), shelf.put("b.png", age=SETTLE + 0.1)) == []


def test_footage_that_just_came_has_to_keep_still(shelf: Shelf) -> None:
    file = shelf.put("a.png", age=0.5)

    assert [trouble.growing for trouble in shelf.look(file)] == [True]
    shelf.later(1.0)
    assert shelf.look(file)
    shelf.later(1.0)
    assert shelf.look(file) == []


def test_footage_that_changes_under_our_eyes_waits_although_its_date_is_old(shelf: Shelf) -> None:
    file = shelf.put("a.png", b"x", age=500)
    assert shelf.look(file) == []

    shelf.put("a.png", b"xy", age=500)
    shelf.later(1.0)

    assert "growing" in shelf.look(file)[0].words
    shelf.later(SETTLE)
    assert shelf.look(file) == []


def test_footage_from_the_future_has_to_keep_still(shelf: Shelf) -> None:
    file = shelf.put("a.png", age=-3600)

    assert shelf.look(file)[0].growing
    shelf.later(SETTLE)
    assert shelf.look(file) == []


def test_an_empty_file_is_never_complete(shelf: Shelf) -> None:
    file = shelf.put("a.png", b"", age=500)

    shelf.look(file)
    shelf.later(60)

    assert (shelf.look(file)[0].growing, "is empty" in shelf.look(file)[0].words) == (True, True)


def test_what_is_missing_is_named_with_its_place_in_the_job(shelf: Shelf) -> None:
    there, gone = shelf.put("a.png", age=10), shelf.folder / "no" / "b.png"

    (trouble,) = shelf.look(there, gone)

    assert (trouble.path, trouble.growing, trouble.words) == ("assets[1].src", False, f"{gone} is not there")


def test_a_file_that_went_and_came_again_starts_anew(shelf: Shelf) -> None:
    file = shelf.put("a.png", age=-3600)
    shelf.look(file)
    file.unlink()
    shelf.later(1.0)
    shelf.look(file)

    shelf.put("a.png", age=-3601)  # the very same date
    shelf.later(1.0)

    assert shelf.look(file)[0].growing


@pytest.mark.skipif(os.name == "nt", reason="POSIX kinds of files")
def test_only_regular_files_are_opened(shelf: Shelf) -> None:
    pipe = shelf.folder / "pipe.png"
    os.mkfifo(pipe)
    link = shelf.folder / "link.png"
    link.symlink_to(shelf.put("a.png", age=10))

    words = [trouble.words for trouble in shelf.look(pipe, Path("/dev/null"), shelf.folder, link)]

    assert [text.split(" is ")[1] for text in words] == [
        "no regular file; name a file",
        "no regular file; name a file",
        "a folder; name a file",
    ]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user for whom rights count")
def test_a_file_that_may_not_be_read_is_told_apart(shelf: Shelf) -> None:
    file = shelf.put("a.png", age=10)
    file.chmod(0)

    assert "may not be read" in shelf.look(file)[0].words


def test_a_path_that_cannot_be_opened_here_is_no_error(shelf: Shelf) -> None:
    odd = [Path("C:/x.png"), shelf.folder / "nul\0.png", shelf.folder / ("x" * 300), shelf.folder / "\udcff.png"]
    odd.append(shelf.put("a.png", age=10) / "below.png")
    odd.append(shelf.folder / "$ASSETS" / "x.png")

    words = [trouble.words for trouble in shelf.look(*odd)]

    assert "path_map" in words[0]
    assert "variables are not filled in" in words[5]
    assert all(text.encode("utf-8") for text in words)


def test_footage_remembers_between_looks_and_forgets_what_is_long_gone(tmp_path: Path) -> None:
    now = [1000.0]
    footage = Footage(tmp_path / "work", clock=lambda: now[0])
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    wanted = {"template.src": file, "assets[0].src": tmp_path / "b.png"}

    first = footage.look(wanted, settle=SETTLE)
    now[0] += SETTLE
    second = footage.look(wanted, settle=SETTLE)

    assert list(first) == ["template.src", "assets[0].src"]
    assert list(second) == ["assets[0].src"]


# -- handing over --------------------------------------------------------------------------------------------------


def test_footage_with_a_name_that_nexrender_misreads_gets_another(tmp_path: Path) -> None:
    odd = tmp_path / "a $HOME 'x' 'y'.PNG"
    odd.write_bytes(b"film")
    footage = Footage(tmp_path / "work")
    document = {"template": {"src": "t.aep"}, "assets": [{"type": "image", "src": "odd", "layerName": "x"}]}
    plain = tmp_path / "t.aep"

    ready = footage.bring(
        document,
        resolved={"template.src": plain, "assets[0].src": odd},
        links={},
        folder=tmp_path / "in",
        environment={"HOME"},
    )

    assert ready == {"template.src": str(plain), "assets[0].src": str(tmp_path / "in" / "a01.png")}
    assert (tmp_path / "in" / "a01.png").read_bytes() == b"film"


@pytest.mark.skipif(os.name == "nt", reason="links to folders are for administrators there")
def test_a_project_in_an_odd_folder_keeps_its_relative_footage(tmp_path: Path) -> None:
    folder = tmp_path / "a|b"
    (folder / "footage").mkdir(parents=True)
    (folder / "spot.aep").write_bytes(b"project")
    (folder / "footage" / "x.png").write_bytes(b"x")

    found = hand_over(folder / "spot.aep", tmp_path / "in", "t", path="template.src")

    assert found == tmp_path / "in" / "t" / "spot.aep"
    assert (found.parent / "footage" / "x.png").read_bytes() == b"x"


@pytest.mark.skipif(os.name == "nt", reason="links are for administrators there")
def test_a_project_with_an_odd_name_keeps_its_neighbours_too(tmp_path: Path) -> None:
    project = tmp_path / "project" / "$HOME.aep"
    (project.parent / "footage").mkdir(parents=True)
    project.write_bytes(b"project")
    (project.parent / "footage" / "x.png").write_bytes(b"x")

    found = hand_over(project, tmp_path / "in", "t", path="template.src")

    assert found == tmp_path / "in" / "t" / "t.aep"
    assert found.read_bytes() == b"project"
    assert (found.parent / "footage" / "x.png").read_bytes() == b"x"


def test_a_file_that_is_gone_when_it_is_handed_over_is_missing(tmp_path: Path) -> None:
    found = hand_over(tmp_path / "gone.png", tmp_path / "in", "a00", path="assets[0].src")

    assert isinstance(found, Failure) and found.code is Code.ASSET_MISSING


@pytest.mark.parametrize(
    ("src", "name", "content"),
    [
        ("data:image/png;base64," + base64.b64encode(b"\x89PNG").decode(), "a00.png", b"\x89PNG"),
        ("data:image/png;base64,iVBO%52w", "a00.png", b"\x89PNG"),
        ("DATA:text/plain;charset=utf-8,a%20b,c", "a00.txt", b"a b,c"),
        ("data:,hello", "a00.dat", b"hello"),
        ("data:image/png;base64,-_-_", "a00.png", b"\xfb\xff\xbf"),
        ("data:text/javascript;base64,AAAA", "a00.dat", b"\0\0\0"),
    ],
)
def test_a_data_source_becomes_a_file_of_our_naming(tmp_path: Path, src: str, name: str, content: bytes) -> None:
    found = unpack(src, tmp_path, "a00", path="assets[0].src", limit=100, holder={"name": "../x.dat", "extension": 5})

    assert found == tmp_path / name
    assert found.read_bytes() == content


def test_a_data_source_that_is_none_or_too_large_is_refused(tmp_path: Path) -> None:
    for src, code in (
        ("data:image/png;base64,!!!", Code.JOB_INVALID),
        ("data:nothing", Code.JOB_INVALID),
        ("data:," + "x" * 101, Code.JOB_TOO_LARGE),
    ):
        found = unpack(src, tmp_path, "a00", path="assets[0].src", limit=100, holder={})
        assert isinstance(found, Failure) and found.code is code


# -- fetching ------------------------------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[Web]:
    with website() as made:
        yield made


def fetcher(**changes: Any) -> Fetcher:
    plain = Fetcher(policy=Policy(hosts=("127.0.0.1",)), cap_bytes=1000, timeout_seconds=10)
    return replace(plain, **changes)


def fetch(url: str, folder: Path, found: Fetcher | None = None) -> Path | Failure:
    return (found or fetcher()).fetch(url, folder, stem="a00", path="assets[0].src")


def failed(found: Path | Failure, code: Code) -> str:
    assert isinstance(found, Failure)
    assert (found.code, found.path) == (code, "assets[0].src")
    return found.message


def test_a_file_is_fetched_whole_under_our_name_with_its_extension(web: Web, tmp_path: Path) -> None:
    web.answers["/logo.PNG"] = answer(b"picture")
    web.answers["/made"] = answer(b"made", Content_Type="image/jpeg; charset=x")

    named = fetch(web.url("/logo.PNG?size=2#part"), tmp_path / "in")
    made = fetcher().fetch(web.url("/made"), tmp_path / "in", stem="a01", path="x")

    assert (named, made) == (tmp_path / "in" / "a00.png", tmp_path / "in" / "a01.jpg")
    assert (tmp_path / "in" / "a00.png").read_bytes() == b"picture"
    assert web.asked[0][0] == "/logo.PNG?size=2"
    assert web.asked[0][1]["host"] == f"127.0.0.1:{web.port}"
    assert sorted(file.name for file in (tmp_path / "in").iterdir()) == ["a00.png", "a01.jpg"]


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (403, "403"), (410, "410"), (503, "503"), (204, "204")]
)
def test_an_answer_that_is_no_file_is_told_with_its_status(web: Web, tmp_path: Path, status: int, words: str) -> None:
    web.answers["/x.png"] = answer(b"" if status == 204 else b"words", status)

    message = failed(fetch(web.url("/x.png?key=secret"), tmp_path), Code.DOWNLOAD_FAILED)

    assert words in message and "/x.png?…" in message and "secret" not in message
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed_some_way(web: Web, tmp_path: Path) -> None:
    for number in range(10):
        web.answers[f"/{number}"] = answer(status=302, Location=f"/{number + 1}")
    web.answers["/10"] = answer(b"there", Content_Type="image/png")

    assert fetch(web.url("/5"), tmp_path) == tmp_path / "a00.png"
    assert "redirects" in failed(fetch(web.url("/4"), tmp_path), Code.DOWNLOAD_FAILED)


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:{port}/secret",
        "http://127.0.0.2:{port}/secret",
        "http://2130706433:{port}/secret",
        "http://[::ffff:127.0.0.1]:{port}/secret",
        "http://user@127.0.0.1:{port}/secret",
        "//10.0.0.1/secret",
    ],
)
def test_a_redirect_to_the_inside_is_refused(web: Web, tmp_path: Path, target: str) -> None:
    web.answers["/x.png"] = answer(status=302, Location=target.format(port=web.port))
    web.answers["/secret"] = answer(b"secret")

    failed(fetch(web.url("/x.png"), tmp_path), Code.POLICY_DENIED)

    assert [path for path, _ in web.asked] == ["/x.png"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.com/x", "data:,x", "gopher://x/"])
def test_a_redirect_to_another_scheme_is_refused(web: Web, tmp_path: Path, target: str) -> None:
    web.answers["/x.png"] = answer(status=302, Location=target)

    assert isinstance(fetch(web.url("/x.png"), tmp_path), Failure)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leads_inside_is_refused_when_it_is_connected(web: Web, tmp_path: Path) -> None:
    web.answers["/x.png"] = answer(b"secret")
    for inside in ("127.0.0.1", "::1", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "64:ff9b::7f00:1"):
        found = fetcher(policy=Policy(), resolve=lambda host, port, inside=inside: [inside])

        message = failed(fetch(web.url("/x.png", "films.example"), tmp_path, found), Code.POLICY_DENIED)

        assert "films.example leads to" in message
    assert web.asked == []


def test_one_address_inside_among_public_ones_is_one_too_many(web: Web, tmp_path: Path) -> None:
    found = fetcher(policy=Policy(), resolve=lambda host, port: ["93.184.216.34", "127.0.0.1"])

    failed(fetch(web.url("/x.png", "films.example"), tmp_path, found), Code.POLICY_DENIED)


def test_the_address_that_was_judged_is_the_one_that_is_connected(web: Web, tmp_path: Path) -> None:
    web.answers["/x.png"] = answer(b"film")
    lookups: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["127.0.0.2"]

    found = fetcher(policy=Policy(hosts=("127.0.0.1/32",)), resolve=resolve)

    assert fetch(web.url("/x.png", "films.example"), tmp_path, found) == tmp_path / "a00.png"
    assert lookups == ["films.example"]
    assert web.asked[0][1]["host"] == f"films.example:{web.port}"


def test_a_second_address_is_tried_where_the_first_does_not_answer(web: Web, tmp_path: Path) -> None:
    web.answers["/x.png"] = answer(b"film")
    found = fetcher(policy=Policy(hosts=("127.0.0.0/8",)), resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"])

    assert fetch(web.url("/x.png", "films.example"), tmp_path, found) == tmp_path / "a00.png"


def test_proxies_of_the_environment_are_not_asked(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.answers["/x.png"] = answer(b"film")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert fetch(web.url("/x.png"), tmp_path) == tmp_path / "a00.png"


def test_what_is_too_large_is_not_fetched(web: Web, tmp_path: Path) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"x" * 65536)

    web.answers["/told.png"] = answer(b"x", length=1001)
    web.answers["/endless.png"] = endless
    web.answers["/bomb.png"] = answer(gzip.compress(b"x" * 100_000), Content_Encoding="gzip")

    for path in ("/told.png", "/endless.png", "/bomb.png"):
        assert "larger than" in failed(fetch(web.url(path), tmp_path), Code.POLICY_DENIED)
    assert list(tmp_path.iterdir()) == []


def test_a_slow_server_is_left_when_the_time_is_up(web: Web, tmp_path: Path) -> None:
    done = threading.Event()

    def trickle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not done.wait(0.05):
            request.wfile.write(b"x")

    def trickle_head(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not done.wait(0.05):
            request.wfile.write(b"x")

    web.answers |= {
        "/body.png": trickle,
        "/head.png": trickle_head,
        "/mute.png": lambda request: (done.wait(5), None)[1],
    }
    try:
        for path in ("/body.png", "/head.png", "/mute.png"):
            started = time.monotonic()
            message = failed(fetch(web.url(path), tmp_path, fetcher(timeout_seconds=0.4)), Code.DOWNLOAD_FAILED)
            assert "in time" in message or "longer than" in message
            assert time.monotonic() - started < 3
    finally:
        done.set()
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing_behind(web: Web, tmp_path: Path) -> None:
    web.answers["/x.png"] = answer(b"half", length=500)

    failed(fetch(web.url("/x.png"), tmp_path), Code.DOWNLOAD_FAILED)

    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_and_a_name_nobody_knows_are_download_failures(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    failed(fetch(f"http://127.0.0.1:{port}/x.png", tmp_path), Code.DOWNLOAD_FAILED)
    message = failed(fetch("http://films.example/x.png", tmp_path, fetcher(resolve=unknown)), Code.DOWNLOAD_FAILED)
    assert "films.example" in message
    failed(fetch("http://films.example/", tmp_path, fetcher(resolve=lambda host, port: [])), Code.DOWNLOAD_FAILED)


def test_a_download_ends_when_its_job_does(web: Web, tmp_path: Path) -> None:
    web.answers["/x.png"] = answer(b"x" * 900)

    found = fetcher().fetch(web.url("/x.png"), tmp_path, stem="a00", path="assets[0].src", stop=lambda: True)

    assert "given up" in failed(found, Code.DOWNLOAD_FAILED)


def test_schemes_and_hosts_of_the_policy_count_for_fetching_too(tmp_path: Path) -> None:
    failed(fetch("http://example.com/", tmp_path, fetcher(policy=Policy(schemes=("https",)))), Code.POLICY_DENIED)
    failed(fetch("http://127.0.0.1/", tmp_path, fetcher(policy=Policy())), Code.POLICY_DENIED)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for films.example, signed by itself."""
    file = tmp_path / "films.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=films.example -addext subjectAltName=DNS:films.example"
    made = subprocess.run(
        ["openssl", *words.split(), "-keyout", str(file), "-out", str(tmp_path / "cert.pem")],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    file.write_bytes(file.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return file


def test_https_is_verified_by_name_although_the_connection_goes_to_an_address(
    web: Web, tmp_path: Path, certificate: Path
) -> None:
    web.answers["/x.png"] = answer(b"film")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, ctx: names.append(name)
    web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    hosts = Policy(hosts=("films.example", "other.example"))
    found = fetcher(policy=hosts, resolve=lambda host, port: ["127.0.0.1"], certificates=trusting)
    url = f"https://films.example:{web.port}/x.png"

    assert fetch(url, tmp_path / "in", found) == tmp_path / "in" / "a00.png"
    assert names == ["films.example"]
    failed(fetch(url.replace("films", "other"), tmp_path, found), Code.DOWNLOAD_FAILED)
    failed(fetch(url, tmp_path, replace(found, certificates=None)), Code.DOWNLOAD_FAILED)


# -- the cache -----------------------------------------------------------------------------------------------------


def with_cache(tmp_path: Path, max_bytes: int = 10_000) -> Fetcher:
    return fetcher(cache=FetchCache(tmp_path / "cache", max_bytes))


def tagged(content: bytes, tag: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def send(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("If-None-Match") == tag:
            request.send_response(304)
            request.end_headers()
        else:
            answer(content, ETag=tag)(request)

    return send


def statuses(web: Web) -> list[str | None]:
    return [headers.get("if-none-match") for _, headers in web.asked]


def test_what_did_not_change_comes_from_the_cache_and_what_did_is_fetched_again(web: Web, tmp_path: Path) -> None:
    found = with_cache(tmp_path)
    web.answers["/x.png"] = tagged(b"one", '"1"')
    first = fetch(web.url("/x.png"), tmp_path / "1", found)
    second = fetch(web.url("/x.png"), tmp_path / "2", found)
    web.answers["/x.png"] = tagged(b"other", '"2"')
    third = fetch(web.url("/x.png"), tmp_path / "3", found)

    assert statuses(web) == [None, '"1"', '"1"']
    assert [file.read_bytes() for file in (first, second, third) if isinstance(file, Path)] == [
        b"one",
        b"one",
        b"other",
    ]


def test_without_marks_of_the_server_or_against_its_will_nothing_is_kept(web: Web, tmp_path: Path) -> None:
    found = with_cache(tmp_path)
    web.answers["/plain.png"] = answer(b"x")
    web.answers["/secret.png"] = answer(b"x", ETag='"1"', Cache_Control="private, no-store")

    for path in ("/plain.png", "/secret.png"):
        fetch(web.url(path), tmp_path / path[1:], found)

    assert not (tmp_path / "cache").exists()


def test_a_date_is_a_mark_too(web: Web, tmp_path: Path) -> None:
    found = with_cache(tmp_path)
    date = "Tue, 24 Nov 2026 12:00:00 GMT"
    web.answers["/x.png"] = answer(b"x", Last_Modified=date)

    fetch(web.url("/x.png"), tmp_path / "1", found)
    fetch(web.url("/x.png"), tmp_path / "2", found)

    assert [headers.get("if-modified-since") for _, headers in web.asked] == [None, date]


def test_a_kept_file_that_lost_bytes_is_not_used(web: Web, tmp_path: Path) -> None:
    found = with_cache(tmp_path)
    web.answers["/x.png"] = tagged(b"whole", '"1"')
    fetch(web.url("/x.png"), tmp_path / "1", found)
    (content,) = (tmp_path / "cache").glob("*.bin")
    content.unlink()
    content.write_bytes(b"who")

    again = fetch(web.url("/x.png"), tmp_path / "2", found)

    assert isinstance(again, Path) and again.read_bytes() == b"whole"
    assert statuses(web) == [None, None]


def test_marks_of_one_place_are_not_shown_to_another(web: Web, tmp_path: Path) -> None:
    found = with_cache(tmp_path)
    web.answers["/latest.png"] = answer(status=302, Location="/1.png")
    web.answers["/1.png"] = tagged(b"one", '"same"')
    web.answers["/2.png"] = tagged(b"two", '"same"')
    fetch(web.url("/latest.png"), tmp_path / "1", found)
    web.answers["/latest.png"] = answer(status=302, Location="/2.png")

    second = fetch(web.url("/latest.png"), tmp_path / "2", found)

    assert isinstance(second, Path) and second.read_bytes() == b"two"


def test_the_cache_stays_small_and_lets_go_what_was_not_used_for_longest(web: Web, tmp_path: Path) -> None:
    found = with_cache(tmp_path, max_bytes=250)
    for name in ("a", "b", "c"):
        web.answers[f"/{name}.png"] = tagged(name.encode() * 100, f'"{name}"')
    fetch(web.url("/a.png"), tmp_path / "1", found)
    fetch(web.url("/b.png"), tmp_path / "2", found)
    for age, notes in enumerate(sorted((tmp_path / "cache").glob("*.json"), key=lambda file: file.stat().st_mtime)):
        os.utime(notes, (1000 + age, 1000 + age))
    fetch(web.url("/a.png"), tmp_path / "3", found)  # used again: b is the oldest now
    fetch(web.url("/c.png"), tmp_path / "4", found)

    for name in ("a", "c", "b"):
        fetch(web.url(f"/{name}.png"), tmp_path / f"again-{name}", found)

    assert statuses(web)[-3:] == ['"a"', '"c"', None]
    assert sum(file.stat().st_size for file in (tmp_path / "cache").glob("*.bin")) <= 250


def test_what_a_job_uses_stays_when_the_cache_lets_it_go(web: Web, tmp_path: Path) -> None:
    found = with_cache(tmp_path, max_bytes=150)
    for name in ("a", "b"):
        web.answers[f"/{name}.png"] = tagged(name.encode() * 100, f'"{name}"')
    first = fetch(web.url("/a.png"), tmp_path / "1", found)

    fetch(web.url("/b.png"), tmp_path / "2", found)

    assert isinstance(first, Path) and first.read_bytes() == b"a" * 100


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_job(web: Web, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file, no folder")
    web.answers["/x.png"] = tagged(b"x", '"1"')

    assert fetch(web.url("/x.png"), tmp_path / "1", with_cache(tmp_path)) == tmp_path / "1" / "a00.png"


def test_all_sources_of_a_job_are_brought_to_this_machine(web: Web, tmp_path: Path) -> None:
    web.answers["/logo.png"] = answer(b"logo")
    footage = Footage(tmp_path / "work", fetcher=fetcher())
    document = {
        "template": {"src": "spot.aep"},
        "assets": [
            {"type": "image", "src": web.url("/logo.png")},
            {"type": "data", "src": "ignored"},
            {"type": "static", "src": "data:application/json,{}"},
        ],
    }

    ready = footage.bring(
        document,
        resolved={"template.src": tmp_path / "spot.aep"},
        links={"assets[0].src": web.url("/logo.png")},
        folder=tmp_path / "in",
    )

    assert ready == {
        "template.src": str(tmp_path / "spot.aep"),
        "assets[0].src": str(tmp_path / "in" / "a01.png"),
        "assets[2].src": str(tmp_path / "in" / "a02.json"),
    }


def test_the_first_source_that_cannot_be_had_is_the_failure(web: Web, tmp_path: Path) -> None:
    document = {"assets": [{"type": "image", "src": web.url("/gone.png")}]}
    links = {"assets[0].src": web.url("/gone.png")}

    fetched = Footage(tmp_path, fetcher=fetcher()).bring(document, resolved={}, links=links, folder=tmp_path / "in")
    without = Footage(tmp_path).bring(document, resolved={}, links=links, folder=tmp_path / "in")

    assert isinstance(fetched, Failure) and "404" in fetched.message
    assert isinstance(without, Failure)
