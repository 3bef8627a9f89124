"""Who may ask: hosts, origins, tokens, cookies; tables, and the guard before a small app."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message

from watchrender.web import page
from watchrender.web.guard import SESSION_SECONDS, Guard, Hosts, Sessions, split_host

HOSTS = Hosts(
    bound="10.0.0.5",
    port=8790,
    names={"render-01", "render-01.studio.example"},
    allowed=frozenset({"renders.example"}),
)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("localhost", True), ("LOCALHOST.", True), ("127.0.0.1", True), ("127.9.9.9", True), ("[::1]", True),
        ("10.0.0.5", True), ("render-01", True), ("Render-01.studio.example", True), ("renders.example", True),
        ("192.168.1.7", True),  # this end of the connection
        ("evil.example", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False),
        ("10.0.0.6", False), ("render-01.evil.example", False), ("", False), ("1270.0.1", False),
    ],
)  # fmt: skip
def test_a_host_is_ours_or_not(name: str, ours: bool) -> None:
    assert HOSTS.is_ours(name, "192.168.1.7") is ours


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("render-01", ("render-01", None)), ("render-01:8790", ("render-01", 8790)), ("[::1]:80", ("[::1]", 80)),
        ("", None), ("a b", None), ("evil.example/x", None), ("user@evil.example", None), ("a:b", None),
        ("a:1:2", None),
    ],
)  # fmt: skip
def test_a_host_header_is_a_name_and_a_port(header: str, parts: Any) -> None:
    assert split_host(header) == parts


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://render-01:8790", True), ("http://RENDER-01:8790", True), ("https://renders.example", True),
        ("http://127.0.0.1:8790", True),  # another name of ours, our port
        ("http://127.0.0.1:3000", False),  # another program on this machine
        ("http://render-01", False), ("http://evil.example", False), ("http://evil.example:8790", False),
        ("null", False), ("", False), ("file://", False), ("http://render-01:8790/x", False),
        ("http://render-01:8790@evil.example", False), ("http://[", False), ("http://render-01:99999", False),
    ],
)  # fmt: skip
def test_an_origin_is_ours_or_foreign(origin: str, ours: bool) -> None:
    assert HOSTS.is_own_origin(origin, ("render-01", 8790), "10.0.0.5") is ours


def test_behind_a_proxy_with_tls_the_ports_default_by_scheme() -> None:
    assert HOSTS.is_own_origin("https://render-01", ("render-01", None), None)
    assert HOSTS.is_own_origin("https://render-01:443", ("render-01", 443), None)
    assert not HOSTS.is_own_origin("https://render-01:8443", ("render-01", None), None)


def test_a_cookie_outlives_a_restart_and_ends_with_the_token_and_with_time() -> None:
    now = [1000.0]
    sessions = Sessions("a-token", 8790, clock=lambda: now[0])
    cookie = sessions.begin()

    assert Sessions("a-token", 8790, clock=lambda: now[0]).holds(cookie)
    assert not Sessions("another", 8790, clock=lambda: now[0]).holds(cookie)
    ends, _, signature = cookie.partition(".")
    assert not sessions.holds(f"{int(ends) + 1}.{signature}")
    assert not sessions.holds(f"{ends}.")
    assert not sessions.holds("")
    assert not sessions.holds("x.y.z")
    assert "a-token" not in cookie
    now[0] += SESSION_SECONDS + 1
    assert not sessions.holds(cookie)


@pytest.mark.parametrize(
    ("headers", "lets_in"),
    [
        ({"authorization": "Bearer a-token"}, True), ({"authorization": "bearer  a-token"}, True),
        ({"authorization": "Bearer a-toke"}, False), ({"authorization": "Bearer"}, False),
        ({"authorization": "Basic a-token"}, False), ({"authorization": "Bearer é"}, False),
        ({"cookie": "watchrender_8790=1.2"}, False), ({"cookie": "=;;;a b"}, False), ({}, False),
    ],
)  # fmt: skip
def test_a_token_is_shown_as_bearer_or_not_at_all(headers: dict[str, str], lets_in: bool) -> None:
    assert Sessions("a-token", 8790).lets_in(Headers(headers)) is lets_in


def test_a_good_cookie_among_others_lets_in() -> None:
    sessions = Sessions("a-token", 8790)

    assert sessions.lets_in(Headers({"cookie": f"other=1; watchrender_8790={sessions.begin()}; more=2"}))
    assert not sessions.lets_in(Headers({"cookie": f"watchrender_8791={sessions.begin()}"}))


def _ask(method: str = "GET", path: str = "/x", kind: str = "http", **headers: str) -> int:
    """The status that the guard, or the app behind it (200), answers."""
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": f"{kind}.connect"}

    async def send(message: Message) -> None:
        told.append(message)

    guard = Guard(PlainTextResponse("in"), hosts=HOSTS, sessions=Sessions("a-token", 8790), sign_in=page.sign_in)
    names = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": kind, "method": method, "path": path, "headers": names, "query_string": b""}
    scope["server"] = ("10.0.0.5", 8790)
    scope["extensions"] = {"websocket.http.response": {}}
    asyncio.run(guard(scope, receive, send))
    return int(told[0].get("status", 200))


GOOD = {"host": "render-01:8790", "authorization": "Bearer a-token"}
OWN, FOREIGN = {"origin": "http://render-01:8790"}, {"origin": "http://evil.example"}


@pytest.mark.parametrize(
    ("method", "path", "kind", "headers", "status"),
    [
        ("GET", "/x", "http", GOOD, 200),
        ("GET", "/x", "http", GOOD | FOREIGN, 200),  # reading from elsewhere is for the browser to forbid
        ("POST", "/x", "http", GOOD | OWN, 200),
        ("POST", "/x", "http", GOOD | FOREIGN, 403),  # token or not
        ("PATCH", "/x", "http", GOOD | FOREIGN, 403),
        ("DELETE", "/x", "http", GOOD | FOREIGN, 403),
        ("GET", "/x", "websocket", GOOD | FOREIGN, 403),
        ("GET", "/x", "websocket", {"host": "render-01"}, 401),
        ("GET", "/x", "http", GOOD | {"host": "evil.example"}, 403),
        ("GET", "/healthz", "http", {"host": "evil.example"}, 403),
        ("GET", "/x", "http", {"authorization": "Bearer a-token"}, 403),  # no Host at all
        ("GET", "/x", "http", {"host": "render-01"}, 401),
        ("GET", "/", "http", {"host": "render-01", "accept": "text/html"}, 401),
        ("GET", "/healthz", "http", {"host": "render-01"}, 200),
        ("GET", "/healthz/", "http", {"host": "render-01"}, 401),
        ("POST", "/api/v1/session", "http", {"host": "render-01"}, 200),
        ("POST", "/api/v1/session", "http", {"host": "render-01"} | FOREIGN, 403),
        ("DELETE", "/api/v1/session", "http", {"host": "render-01"}, 401),
        ("GET", "/api/v1/session", "http", {"host": "render-01"}, 401),
    ],
)  # fmt: skip
def test_the_three_rules(method: str, path: str, kind: str, headers: dict[str, str], status: int) -> None:
    assert _ask(method, path, kind, **headers) == status
