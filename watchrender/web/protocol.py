"""uvicorn's two protocols with what it leaves out: a time limit for the first request, problems for what is no HTTP,
and the connection itself for the streams, who must be able to cut off a reader that does not read.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from watchrender.web.answers import PROBLEM, Problem, encode

#: A connection that sends no complete request for so long is closed.
FIRST_REQUEST_SECONDS = 15.0
#: What the system buffers for one stream, at most about twice this: with more, a reader that sleeps costs megabytes.
STREAM_BUFFER_BYTES = 32 * 1024
#: What our side of a connection of a stream holds before its writer has to wait.
STREAM_WAITING_BYTES = 16 * 1024
#: Windows asks about 512 sockets at most at once; one more would end the server for good. Elsewhere the system's own
#: limit of open files is only waited for.
MOST_CONNECTIONS = 450 if sys.platform == "win32" else math.inf
#: struct linger: on, for 0 seconds. Two shorts on Windows, two ints elsewhere.
_AT_ONCE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


@dataclass(eq=False)
class Connection:
    """One connection as an endpoint may see it (`request.scope["state"]["connection"]`)."""

    transport: asyncio.Transport
    lost: list[Callable[[], None]] = field(default_factory=list)
    chunked: bool = True  # as its answer's body goes out

    @property
    def is_gone(self) -> bool:
        return self.transport.is_closing()

    @property
    def waiting_bytes(self) -> int:
        """What was written and the other end has not taken yet, beside what the system holds."""
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def keep_small(self) -> None:
        """Let little be buffered for this connection, here and by the system."""
        self.transport.set_write_buffer_limits(STREAM_WAITING_BYTES)
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)

    def write_body(self, data: bytes) -> None:
        """A piece of the body of an answer that has begun, past uvicorn and h11, who need three times as long for it
        as the system. Only while nothing else is being sent."""
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def cut(self) -> None:
        """Close without waiting for anything that is still to be sent, here or in the system's own buffers."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            try:
                # Else the system would go on for minutes, offering the rest to somebody who does not take it.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            except OSError:
                pass  # it is closed already
        self.transport.abort()

    def tell_lost(self) -> None:
        for listener in self.lost:
            listener()


class Http(H11Protocol):
    """HTTP/1.1."""

    connection: Connection | None = None
    _first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()  # before the loop has looked at it for the first time
            return
        self.connection = Connection(transport)
        self.app_state = {**self.app_state, "connection": self.connection}
        self._first = self.loop.call_later(FIRST_REQUEST_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)
        if self.connection is not None:
            self.connection.tell_lost()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None:
            self._arrived()

    def handle_websocket_upgrade(self, event: object) -> None:
        self._arrived()
        super().handle_websocket_upgrade(event)  # type: ignore[arg-type]

    def _arrived(self) -> None:
        if self._first is not None:
            self._first.cancel()
            self._first = None

    def _too_slow(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # an answer is under way: words in the middle of it would be taken for its own
            return
        body = encode(Problem(400, msg).to_dict())
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {PROBLEM}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()


class WebSocket(WebSocketsSansIOProtocol):
    """The WebSocket; its handshake was HTTP until here."""

    connection: Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self.connection = Connection(transport)
        self.app_state = {**self.app_state, "connection": self.connection}

    def handle_connect(self, event: Any) -> None:
        accept = self.conn.accept

        def accepted(request: Any) -> Any:
            response = accept(request)
            if response.status_code != 101:  # a handshake that is none: the words are plain text otherwise
                said = response.body.decode("utf-8", "replace").strip()
                response.body = encode(Problem(response.status_code, said).to_dict())
                for name, value in (("Content-Type", PROBLEM), ("Content-Length", str(len(response.body)))):
                    del response.headers[name]
                    response.headers[name] = value
            return response

        self.conn.accept = accepted  # type: ignore[method-assign]
        super().handle_connect(event)

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # refused is answered too: uvicorn would log each as a fault of ours

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.connection is not None:
            self.connection.tell_lost()
