"""Who may ask: the Host a request is for, the Origin it comes from, and the token it shows.

Three rules, in this order, for every route and the WebSocket:

1. `Host` is one of ours, else 403: a foreign name that points here is an attack on browsers (DNS rebinding).
2. What changes something, and a WebSocket, comes from our own page or from no page at all, else 403.
3. With a token, whoever asks shows it (`Authorization: Bearer`) or holds the page's cookie, else 401.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watchrender.web.answers import COMMON_HEADERS, Problem, refuse

OPEN_TO_ALL = "/healthz"
SIGN_IN = "/api/v1/session"
SESSION_SECONDS = 30 * 86400
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The names this server is called by."""

    bound: str  # server.host
    port: int
    names: set[str]  # this host's own
    allowed: frozenset[str]  # server.allowed_hosts

    @classmethod
    def of(cls, *, bound: str, port: int, allowed: Iterable[str]) -> Hosts:
        return cls(
            bound=_plain(bound),
            port=port,
            names={_plain(socket.gethostname())},
            allowed=frozenset(_plain((split_host(host) or (host,))[0]) for host in allowed),
        )

    def learn(self) -> None:
        """Ask for this host's full name. It may take its time: name servers do."""
        if full := _plain(socket.getfqdn()):
            self.names.add(full)

    def is_ours(self, name: str, here: str | None) -> bool:
        """`here` is this end's address of the connection: a bound address by nature."""
        found = _plain(name)
        if found == "localhost" or found.endswith(".localhost") or _is_loopback(found):
            return True
        return found in self.names or found in self.allowed or found in (self.bound, _plain(here or ""))

    def is_own_origin(self, origin: str, host: tuple[str, int | None], here: str | None) -> bool:
        """Is this the origin of a page of ours? Its scheme is free: a proxy may add the S."""
        try:
            parts = urlsplit(origin)
            name, port = parts.hostname, parts.port
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not name or parts.path or parts.query or parts.username:
            return False
        if _plain(name) in self.allowed:
            return True
        port = port or _DEFAULT_PORTS[parts.scheme]
        if (_plain(name), port) == (_plain(host[0]), host[1] or _DEFAULT_PORTS[parts.scheme]):
            return True
        return port == self.port and self.is_ours(name, here)


def split_host(header: str) -> tuple[str, int | None] | None:
    """`name:port` of a Host header, or None for what is none."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/\\@?#,]+)(?::(\d{1,5}))?", header.strip())
    return None if found is None else (found[1], int(found[2]) if found[2] else None)


def _plain(name: str) -> str:
    return name.strip("[]").rstrip(".").lower().removeprefix("::ffff:")


def _is_loopback(name: str) -> bool:
    return name == "::1" or re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None


class Sessions:
    """The token, and the cookies given for it: signed with it, so they outlive a restart and end with the token."""

    def __init__(self, token: str, port: int, *, clock: Callable[[], float] = time.time) -> None:
        self._token = hashlib.sha256(token.encode()).digest()
        self._key = hashlib.sha256(b"watchrender session\0" + token.encode()).digest()
        self._clock = clock
        # Cookies do not know ports: two services of one machine must not overwrite each other's.
        self.cookie = f"watchrender_{port}"

    def is_token(self, shown: str) -> bool:
        """In constant time, whatever the length of what is shown."""
        return hmac.compare_digest(hashlib.sha256(shown.encode("utf-8", "replace")).digest(), self._token)

    def begin(self) -> str:
        """A new cookie's value: when it ends, and our signature of that."""
        ends = str(int(self._clock()) + SESSION_SECONDS)
        return f"{ends}.{self._sign(ends)}"

    def holds(self, value: str) -> bool:
        ends, _, signature = value.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign(ends).encode()):
            return False
        return ends.isdecimal() and int(ends) > self._clock()

    def _sign(self, ends: str) -> str:
        return hmac.new(self._key, ends.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def lets_in(self, headers: Headers) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(shown.strip()):
            return True
        return any(self.holds(value) for value in _cookies(headers, self.cookie))


def _cookies(headers: Headers, name: str) -> list[str]:
    found = []
    for header in headers.getlist("cookie"):
        try:
            found += [morsel.value for key, morsel in SimpleCookie(header).items() if key == name]
        except CookieError:
            pass  # another program's cookie on this host may be malformed
    return found


class Guard:
    """The three rules before everything else, and our headers on every answer.

    `sign_in` makes the page that a browser without a session gets, with its 401; it says whether a token was wrong.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Hosts, sessions: Sessions | None, sign_in: Callable[[Problem, bool], Response]
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._sessions = sessions
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = _with_headers(send) if scope["type"] == "http" else send
        problem = self._objection(scope)
        if problem is None:
            await self._app(scope, receive, sender)
            return
        if scope["type"] == "websocket":
            await receive()  # its handshake: only then may it be refused
        await self._refusal(problem, scope)(scope, receive, sender)

    def _refusal(self, problem: Problem, scope: Scope) -> Response:
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        if problem.status == 401 and scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and wants_page:
            return self._sign_in(problem, scope["query_string"] == b"wrong")
        return refuse(problem)

    def _objection(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        here = (scope.get("server") or (None,))[0]
        host = split_host(headers.get("host", ""))
        if host is None or not self._hosts.is_ours(host[0], here):
            shown = headers.get("host", "")[:100] or "(none)"
            words = f"this server is not called {shown}; if it should be, add the name to server.allowed_hosts"
            return Problem(403, words)
        if scope["type"] == "websocket" or scope["method"] not in _SAFE:
            for origin in headers.getlist("origin"):
                if not self._hosts.is_own_origin(origin, host, here):
                    return Problem(403, f"a page of {origin[:100]} may not change or follow anything here")
        return self._unknown(scope, headers)

    def _unknown(self, scope: Scope, headers: Headers) -> Problem | None:
        if self._sessions is None or scope["path"] == OPEN_TO_ALL or self._sessions.lets_in(headers):
            return None
        if scope["path"] == SIGN_IN and scope["type"] == "http" and scope["method"] == "POST":
            return None  # the token is in its body
        return Problem(
            401,
            "this server wants its token: send it as `Authorization: Bearer …`, or sign in on the page",
            headers={"www-authenticate": 'Bearer realm="watchrender"'},
        )


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in COMMON_HEADERS if pair[0] not in given)]
        await send(message)

    return sender
