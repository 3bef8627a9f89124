"""Connections that end at a deadline: a timeout for each read is none where the other side trickles byte by byte."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpcore2
import httpx2

#: What a client may raise: httpx2's own errors, and those of the layer below that a checked one speaks with.
CLIENT_ERRORS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
)


class BoundedStream(httpcore2.NetworkStream):
    """A connection whose every read and write ends at the deadline, however slowly the other side trickles."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float, lines: Lines | None = None) -> None:
        self._stream, self._deadline, self._lines = stream, deadline, lines or Lines()
        self._lines.add(self)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, left(self._deadline, timeout))

    def close(self) -> None:
        self._lines.discard(self)
        self._stream.close()

    def hang_up(self) -> None:
        """Whoever reads or writes at this moment, in another thread, is told that the other side is gone."""
        found = self._stream.get_extra_info("socket")
        if isinstance(found, socket.socket):
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        inner = self._stream.start_tls(ssl_context, server_hostname, left(self._deadline, timeout))
        self._lines.discard(self)
        return BoundedStream(inner, self._deadline, self._lines)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Lines:
    """The connections that are open now. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[BoundedStream] = set()

    def add(self, stream: BoundedStream) -> None:
        with self._lock:
            self._open.add(stream)

    def discard(self, stream: BoundedStream) -> None:
        with self._lock:
            self._open.discard(stream)

    def hang_up(self) -> None:
        with self._lock:
            found = list(self._open)
        for stream in found:
            stream.hang_up()


class BoundedBackend(httpcore2.NetworkBackend):
    """Gives each connection so many seconds in all, from before it is made."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._plain = httpcore2.SyncBackend()
        self._lines = Lines()

    def hang_up(self) -> None:
        """End every request that is under way."""
        self._lines.hang_up()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        deadline = time.monotonic() + self._seconds
        stream = self._plain.connect_tcp(host, port, left(deadline, timeout), local_address, socket_options)
        return BoundedStream(stream, deadline, self._lines)


class PoolTransport(httpx2.BaseTransport):
    """httpx2 over a pool of ours: its own transport takes no backend."""

    def __init__(self, pool: httpcore2.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = httpcore2.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        asked = httpcore2.Request(
            method=request.method,
            url=url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        answer = self._pool.handle_request(asked)
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def left(deadline: float, timeout: float | None) -> float:
    """The seconds that a wait may take: its own, and never beyond the deadline."""
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise httpcore2.ReadTimeout("the time is up")
    return rest if timeout is None else min(timeout, rest)
