"""The stream of messages: Server-Sent Events, and the same over WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected

from watchrender.core.job import Job
from watchrender.web.answers import Problem, refuse
from watchrender.web.asking import Parameters
from watchrender.web.hub import Hub, Reader, chunks, snapshot_frame
from watchrender.web.protocol import Connection
from watchrender.web.site import Site

#: A comment goes out where nothing else does, so that proxies keep the connection.
QUIET_SECONDS = 15.0
#: WebSocket: the service restarts, come again.
_GOING = 1012
_PARAMETERS = ("job", "last_event_id")

Snapshot = tuple[int, bytes]


async def events(site: Site, request: Request) -> ASGIApp:
    """GET /api/v1/events."""
    reader, snapshot = await _begin(site, request)
    if request.method == "HEAD":
        reader.over, snapshot = True, None
    return _Events(site.hub, reader, snapshot)


async def websocket(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """GET /api/v1/ws."""
    await receive()  # the handshake
    try:
        reader, snapshot = await _begin(site, HTTPConnection(scope))
    except Problem as problem:
        await refuse(problem)(scope, receive, send)
        return
    try:
        await send({"type": "websocket.accept"})
    except BaseException:
        site.hub.leave(reader)
        raise
    talk = asyncio.create_task(_talk(site.hub, reader, snapshot, scope, send))
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass  # what readers say means nothing
    finally:
        reader.over = True
        reader.wake.set()
        await asyncio.wait({talk})


async def _begin(site: Site, request: HTTPConnection) -> tuple[Reader, Snapshot | None]:
    """A reader at its place, and the snapshot that it needs first, if any. Whoever gets it lets it leave."""
    job_id, last_id = asked(request)
    reader = Reader(cursor=site.hub.head)
    # It counts from here on: however many come at once, and whatever they wait for, no more get in than may.
    if not site.hub.join(reader):
        raise Problem(503, site.hub.refusal(), headers={"retry-after": "5"})
    try:
        job = None if job_id is None else site.hub.picture.get(job_id) or await site.job(job_id)
        await site.etas.refresh()
        return reader, _place(site.hub, reader, job, last_id)
    except BaseException:
        site.hub.leave(reader)
        raise


def asked(request: HTTPConnection) -> tuple[str | None, str | None]:
    """Which job somebody wants to follow, and the last message they have. Raises `Problem`."""
    parameters = Parameters(request, _PARAMETERS)
    job_id, last_id = parameters.filled("job", 100), parameters.filled("last_event_id", 100)
    return job_id, request.headers.get("last-event-id") or last_id


def _place(hub: Hub, reader: Reader, job: Job | None, last_id: str | None) -> Snapshot | None:
    """Put a reader where it goes on from, or at the snapshot that it gets first."""
    reader.job = None if job is None else job.id
    if last_id is not None and last_id.isdecimal() and last_id.isascii() and hub.can_resume(int(last_id[:20])):
        reader.cursor = int(last_id)
        return None
    gap = last_id is not None
    one = None if job is None else hub.picture.get(job.id) or job
    snapshot = hub.snapshot(gap=gap) if one is None else hub.snapshot_of(one, gap=gap)
    reader.cursor = snapshot[0]
    return snapshot


def _connect(reader: Reader, scope: Scope) -> Connection:
    connection: Connection = scope["state"]["connection"]
    reader.cut, reader.waiting = connection.cut, lambda: connection.waiting_bytes
    connection.lost.append(lambda: _lost(reader))
    if connection.is_gone:  # before it had its place: nobody will tell us any more
        reader.over = True
    else:
        connection.keep_small()
    return connection


def _lost(reader: Reader) -> None:
    reader.over = True
    reader.wake.set()


async def _resync(hub: Hub, reader: Reader) -> Snapshot | None:
    """A reader that reads, but slower than things happened: it starts over, and is told of the gap. None: it follows
    a job that only the record knows by now, and is closed."""
    job = None if reader.job is None else hub.picture.get(reader.job)
    if reader.job is None or job is not None:
        snapshot = hub.snapshot(gap=True) if job is None else hub.snapshot_of(job, gap=True)
        reader.cursor = snapshot[0]
        return snapshot
    hub.dropped_readers += 1
    reader.over = True
    reader.cut()
    await asyncio.sleep(0)  # until the server knows that it is gone
    return None


class _Events:
    """The answer that does not end by itself."""

    def __init__(self, hub: Hub, reader: Reader, snapshot: Snapshot | None) -> None:
        self._hub = hub
        self._reader = reader
        self._snapshot = snapshot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # nginx would collect the stream otherwise
        ]
        try:
            connection = _connect(self._reader, scope)
            connection.chunked = scope["http_version"] >= "1.1"
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._write(send, [b"retry: 1000\n\n"])
            if self._snapshot is not None:
                await self._write(send, snapshot_frame(*self._snapshot))
                self._snapshot = None
            await self._follow(send, connection)
            if not connection.is_gone:
                await send({"type": "http.response.body", "body": self._goodbye(), "more_body": False})
        finally:
            self._hub.leave(self._reader)

    async def _follow(self, send: Send, connection: Connection) -> None:
        reader, hub = self._reader, self._hub

        def hand(frames: bytes) -> None:
            reader.given += len(frames)
            connection.write_body(frames)

        while not reader.over:
            messages = hub.since(reader, behind=connection.waiting_bytes > 0)
            if messages is None:
                snapshot = await _resync(hub, reader)
                if snapshot is not None:
                    await self._write(send, snapshot_frame(*snapshot))
            elif messages:
                await self._write(send, (message.frame for message in messages))
            else:
                given = reader.given
                reader.wake.clear()
                reader.hand = hand
                woken = await _woken(reader, QUIET_SECONDS)
                reader.hand = None
                if not woken and reader.given == given:
                    await self._write(send, [b": quiet\n\n"])

    async def _write(self, send: Send, frames: Iterable[bytes]) -> None:
        for chunk in chunks(frames):
            self._reader.sending_since = self._hub.now()
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._reader.sending_since = None
            self._reader.given += len(chunk)

    def _goodbye(self) -> bytes:
        return b"event: bye\ndata: %s\n\n" % self._hub.goodbye() if self._hub.closed else b""


async def _woken(reader: Reader, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await reader.wake.wait()
    except TimeoutError:
        return False
    return True


async def _talk(hub: Hub, reader: Reader, snapshot: Snapshot | None, scope: Scope, send: Send) -> None:
    """The WebSocket's own half: what we say."""
    try:
        connection = _connect(reader, scope)
        if snapshot is not None:
            await _say(hub, reader, send, snapshot[1])
            snapshot = None
        while not reader.over:
            messages = hub.since(reader, behind=connection.waiting_bytes > 0)
            if messages is None:
                snapshot = await _resync(hub, reader)
                if snapshot is not None:
                    await _say(hub, reader, send, snapshot[1])
                continue
            for message in messages:
                await _say(hub, reader, send, message.text)
            if not messages:
                reader.wake.clear()
                await reader.wake.wait()
        if hub.closed and not connection.is_gone:
            await send({"type": "websocket.close", "code": _GOING, "reason": "the service stops"})
    except ClientDisconnected:
        pass
    finally:
        hub.leave(reader)


async def _say(hub: Hub, reader: Reader, send: Send, text: bytes) -> None:
    reader.sending_since = hub.now()
    await send({"type": "websocket.send", "text": text.decode()})
    reader.sending_since = None
    reader.given += len(text)
