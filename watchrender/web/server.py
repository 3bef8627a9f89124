"""The web server's life: its socket, its own thread and loop, and its end within a second.

uvicorn is run as a guest: we bind the socket (a taken port is ours to explain), signals stay with the service, and its
loop is a selector loop on every system, because a client that resets its connection can close a Proactor listening
socket for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import psutil
import uvicorn
from loguru import logger

from watchrender.control import Control
from watchrender.core.failure import Failure
from watchrender.core.job import Job
from watchrender.core.streams import MOST, most_streams
from watchrender.gate import Gate
from watchrender.ledger.ledger import Change, Ledger
from watchrender.spool.folders import Folders
from watchrender.web.app import application
from watchrender.web.aside import Aside
from watchrender.web.etas import Etas
from watchrender.web.guard import Hosts, Sessions
from watchrender.web.hub import Hub
from watchrender.web.keys import Keys
from watchrender.web.listing import Pages
from watchrender.web.metrics import Counted
from watchrender.web.picture import OVER_SHOWN, Picture
from watchrender.web.protocol import Http, WebSocket
from watchrender.web.pulse import Pulse
from watchrender.web.retries import Retries
from watchrender.web.site import Drop, Site
from watchrender.web.tally import Tally

START_SECONDS = 15.0
MOST_BYTES = 8 * 1024 * 1024
#: Connections that wait to be taken in: as many as there may be streams, which after a restart all come at once.
BACKLOG = MOST
#: The record's own place for the stream's ids: a life must begin above those of the one before.
_FACT = "stream_id"
#: Messages a life may be ahead of the clock before that is recorded: one for each millisecond.
_AHEAD = 60_000


class PortTaken(Exception):
    """The server cannot listen where it should; the words say why, and what to change."""


class ServerConfig(Protocol):
    """What is needed of the configuration (`server`)."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def token(self) -> str | None: ...
    @property
    def allowed_hosts(self) -> tuple[str, ...]: ...


class WebServer:
    """The page, the API and the stream of one service."""

    def __init__(
        self,
        *,
        config: ServerConfig,
        ledger: Ledger,
        control: Control,
        gate: Gate,
        folders: Folders,
        service_document: Callable[[], dict[str, Any]],
        queue_document: Callable[[], dict[str, Any]],
        etas: Callable[[], Mapping[str, dict[str, Any]]] = dict,
        log_of: Callable[[Job], bytes],
        drop: Drop,
        document_of: Callable[[Job], dict[str, Any] | None],
        ready: Callable[[], list[Failure]],
        most_bytes: int = MOST_BYTES,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._service_document = service_document
        self._queue_document = queue_document
        self._etas = etas
        self._parts: dict[str, Any] = {
            "ledger": ledger, "control": control, "gate": gate, "folders": folders, "log_of": log_of,
            "document_of": document_of, "drop": drop, "ready": ready, "most_bytes": most_bytes,
            "defaults": defaults or {},
        }  # fmt: skip
        self._started = threading.Event()
        self._fault: BaseException | None = None
        self._server: _Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.address = (config.host, config.port)

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, and answer from a thread of our own. Raises `PortTaken`."""
        sockets = listen(self._config.host, self._config.port)
        self.address = sockets[0].getsockname()[:2]
        self._site = self._build(self.address[1])
        self._ledger.listen(self.heard)
        picture, included = self._first_picture()
        self._thread = threading.Thread(target=self._run, args=(sockets, picture, included), name="web", daemon=True)
        self._thread.start()
        if not self._started.wait(START_SECONDS) or self._fault is not None:
            raise PortTaken(f"server: the web server did not start: {self._fault or 'no answer'}")

    def stop(self, seconds: float = 1.0) -> None:
        """Say goodbye to every stream and end, within so many seconds whatever the readers do."""
        loop, server = self._loop, self._server
        if loop is None or server is None:
            return
        with contextlib.suppress(RuntimeError):  # it has ended already
            loop.call_soon_threadsafe(self._leave, max(0.2, seconds - 0.5))
        self._thread.join(seconds)
        if self._thread.is_alive():
            logger.warning("the web server did not end in {} s; it is left behind", seconds)
        self._site.record.close()
        self._site.share.close()
        try:
            self._ledger.know(**{_FACT: self._site.hub.newest})
        except OSError as error:
            logger.warning("the stream's last id could not be recorded: {}", str(error))

    def heard(self, change: Change) -> None:
        """A listener of the ledger: never blocks, and never fails the one who changed something."""
        try:
            site = self._site
            site.hub.heard(change)
            site.counted.heard(change)
            site.retries.heard(change)
            if change.progress:
                return
            site.pulse.queue_due = True
            job, before = change.job, change.before
            if job.over and (before is None or not before.over):
                site.tally.take(job.state, job.finished_at or job.updated_at)
        except Exception as error:
            logger.opt(exception=error).error("the stream missed a change")

    def service_changed(self) -> None:
        """The service's own document, or the queue's, has changed. From any thread."""
        self._site.pulse.hurry()

    # -- building -------------------------------------------------------------------------------------------

    def _build(self, port: int) -> Site:
        ledger = self._ledger
        record, share = Aside("record", threads=4), Aside("share", threads=12)
        looks = Aside("looks", threads=2)  # of their own: requests that hang must not make the page stale
        etas = Etas(lambda: looks(self._etas))
        most = most_streams(windows=sys.platform == "win32", open_files=_open_files())
        hub = Hub(first_id=self._first_id(), stamp=ledger.stamp, eta=etas.of, most_readers=most)

        async def queue() -> dict[str, Any]:
            await etas.refresh()  # for snapshots and for what is told of a job in between
            return await looks(self._queue_document)

        pulse = Pulse(
            hub=hub,
            gate=self._parts["gate"],
            counts=lambda: {str(state): number for state, number in ledger.counts.items()},
            service=lambda: looks(self._service_document),
            queue=queue,
        )
        tally = Tally(ledger.now)
        tally.seed(ledger)
        token = self._config.token
        return Site(
            **self._parts,
            sessions=Sessions(token, port) if token else None,
            hub=hub,
            etas=etas,
            pulse=pulse,
            tally=tally,
            counted=Counted(),
            retries=Retries(),
            keys=Keys(ledger),
            pages=Pages(ledger),
            record=record,
            share=share,
        )

    def _first_id(self) -> int:
        """The start's time in ms, or above the ids of the life before if that went faster than the clock."""
        known = self._ledger.facts().get(_FACT)
        now = int(self._ledger.now().timestamp() * 1000)
        return max(now, known + 1) if isinstance(known, int) else now

    def _first_picture(self) -> tuple[Picture, int]:
        """All jobs as of one message: read until nothing has changed meanwhile."""
        hub = self._site.hub
        while True:
            included = hub.newest
            over = [job for job, _ in zip(self._ledger.over(), range(OVER_SHOWN), strict=False)]
            picture = Picture(self._ledger.live(), over, self._ledger.counts, self._ledger.record_of)
            if hub.newest == included:
                return picture, included

    # -- the thread -----------------------------------------------------------------------------------------

    def _run(self, sockets: list[socket.socket], picture: Picture, included: int) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve(sockets, picture, included))
        except BaseException as error:
            self._fault = error
            logger.opt(exception=error).error("the web server ended by a fault; renders go on without it")
        finally:
            self._started.set()
            for sock in sockets:
                sock.close()

    async def _serve(self, sockets: list[socket.socket], picture: Picture, included: int) -> None:
        site = self._site
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_loop_fault)
        site.hub.begin(picture, included)
        await site.pulse.service()
        hosts = Hosts.of(bound=self._config.host, port=self.address[1], allowed=self._config.allowed_hosts)
        threading.Thread(target=hosts.learn, name="web-names", daemon=True).start()
        self._server = _Server(_uvicorn_config(application(site, hosts)), on_start=self._started.set)
        beat = asyncio.create_task(site.pulse.beat())
        watch = asyncio.create_task(self._watch_ids())
        try:
            await self._server.serve(sockets)
        finally:
            beat.cancel()
            watch.cancel()

    async def _watch_ids(self) -> None:
        """Record how far the ids are, should they run ahead of the clock: the next life must begin above them."""
        recorded = 0
        while True:
            await asyncio.sleep(5)
            now = int(self._ledger.now().timestamp() * 1000)
            if self._site.hub.newest > now and self._site.hub.newest > recorded:
                recorded = self._site.hub.newest + _AHEAD
                await self._site.record(self._ledger.know, **{_FACT: recorded})

    def _leave(self, seconds: float) -> None:
        """On the loop: streams say goodbye, uvicorn ends, and who does not listen is cut off."""
        assert self._server is not None and self._loop is not None
        self._site.hub.close()
        self._server.end()
        self._loop.call_later(seconds, self._server.cut_all)


class _Server(uvicorn.Server):
    """uvicorn without its own signals, and with an end that waits for nobody."""

    def __init__(self, config: uvicorn.Config, *, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the service's

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def main_loop(self) -> None:
        """uvicorn's own looks ten times a second whether it is to end; here the end says so."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):  # each second has its own `date` in the answers
                    await self._ending.wait()

    def end(self) -> None:
        self.should_exit = True
        self._ending.set()

    def cut_all(self) -> None:
        self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _uvicorn_config(app: Any) -> uvicorn.Config:
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Config(
        app,
        http=Http,
        ws=WebSocket,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws_max_size=16 * 1024,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=5,
    )


def _log_loop_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, ConnectionError):
        return  # a client that left
    logger.opt(exception=error).warning("in the web server's loop: {}", str(context.get("message")))


# -- the socket ---------------------------------------------------------------------------------------------


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of a host. Raises `PortTaken`."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortTaken(f"server.host: {host} is no address of this machine ({error.strerror or error})") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        # Any free port (0) must be the same one on all addresses.
        wanted = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bound(family, kind, protocol, (address[0], wanted, *address[2:])))
        except OSError as error:
            if not sockets:
                raise PortTaken(_blame(host, wanted, error)) from None
    return sockets


def _bound(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        if sys.platform == "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` means every address; a second socket for IPv4 could not have the port otherwise.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_files() -> int | None:
    """How many files the system lets this process have open at once. None: it does not say, or any number."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _blame(host: str, port: int, error: OSError) -> str:
    change = "set server.port to another number (WATCHRENDER_SERVER__PORT), or server.enabled to off"
    if error.errno == errno.EADDRINUSE or getattr(error, "winerror", None) == 10048:
        return f"server.port: {port} on {host} is taken by {_holder(port)}; end that, or {change}"
    if error.errno == errno.EACCES or getattr(error, "winerror", None) == 10013:
        return f"server.port: {port} on {host} may not be used by this user; {change}"
    if error.errno == errno.EADDRNOTAVAIL or getattr(error, "winerror", None) == 10049:
        return f"server.host: {host} is no address of this machine; write one of its own, or 127.0.0.1"
    return f"server: cannot listen on {host}:{port}: {error.strerror or error}; {change}"


def _holder(port: int) -> str:
    """The program that listens on a port, as far as this user may know."""
    try:
        for found in psutil.net_connections(kind="tcp"):
            if found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN and found.pid:
                process = psutil.Process(found.pid)
                with process.oneshot():
                    words = " ".join(process.cmdline()[:4])[:120] or process.name()
                return f"process {found.pid} ({words})" if found.pid != os.getpid() else "this program itself"
    except (psutil.Error, OSError):
        pass
    return "another program"
