"""All routes in one table, and what stands around every one of them: problems instead of traces, and the guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from loguru import logger
from starlette.requests import Request
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watchrender.web import openapi, orders, page, reading, stream
from watchrender.web.answers import Problem, answer, refuse
from watchrender.web.aside import Overloaded
from watchrender.web.asking import Parameters
from watchrender.web.films import Gone
from watchrender.web.guard import Guard, Hosts
from watchrender.web.site import Site

Handler = Callable[[Site, Request], Awaitable[ASGIApp]]

EVENTS, SOCKET = "/api/v1/events", "/api/v1/ws"


async def _openapi(site: Site, request: Request) -> ASGIApp:
    Parameters(request, ())
    return answer(openapi.document(with_token=site.sessions is not None))


async def _no_socket(_site: Site, request: Request) -> ASGIApp:
    stream.asked(request)
    raise Problem(426, "this address is a WebSocket", headers={"upgrade": "websocket", "connection": "upgrade"})


ROUTES: dict[str, dict[str, Handler]] = {
    "/": {"GET": page.dashboard},
    "/assets/{version}/{name}": {"GET": page.asset},
    "/healthz": {"GET": reading.healthz},
    "/readyz": {"GET": reading.readyz},
    "/metrics": {"GET": reading.prometheus},
    "/openapi.json": {"GET": _openapi},
    "/api/v1/session": {"POST": orders.sign_in, "DELETE": orders.sign_out},
    "/api/v1/status": {"GET": reading.service},
    "/api/v1/throughput": {"GET": reading.throughput},
    "/api/v1/jobs": {"GET": reading.jobs, "POST": orders.drop},
    "/api/v1/jobs/cancel": {"POST": orders.cancel_many},
    "/api/v1/jobs/retry": {"POST": orders.retry_many},
    "/api/v1/jobs/hold": {"POST": orders.hold_many},
    "/api/v1/jobs/release": {"POST": orders.release_many},
    "/api/v1/jobs/priority": {"POST": orders.prioritize_many},
    "/api/v1/jobs/{id}": {"GET": reading.job, "PATCH": orders.change},
    "/api/v1/jobs/{id}/settings": {"GET": reading.settings},
    "/api/v1/jobs/{id}/document": {"GET": reading.document},
    "/api/v1/jobs/{id}/log": {"GET": reading.log},
    "/api/v1/jobs/{id}/thumbnail": {"GET": reading.thumbnail},
    "/api/v1/jobs/{id}/contact": {"GET": reading.contact},
    "/api/v1/jobs/{id}/outputs/{n}": {"GET": reading.output},
    "/api/v1/jobs/{id}/outputs/{n}/thumbnail": {"GET": reading.thumbnail},
    "/api/v1/jobs/{id}/outputs/{n}/contact": {"GET": reading.contact},
    "/api/v1/jobs/{id}/cancel": {"POST": orders.cancel},
    "/api/v1/jobs/{id}/retry": {"POST": orders.retry},
    "/api/v1/jobs/{id}/hold": {"POST": orders.hold},
    "/api/v1/jobs/{id}/release": {"POST": orders.release},
    "/api/v1/queue/pause": {"POST": orders.pause},
    "/api/v1/queue/resume": {"POST": orders.resume},
    "/api/v1/queue/drain": {"POST": orders.drain},
    "/api/v1/queue/stop": {"POST": orders.stop},
    EVENTS: {"GET": stream.events},
    SOCKET: {"GET": _no_socket},
}


def application(site: Site, hosts: Hosts) -> ASGIApp:
    """The whole web side as one ASGI application."""
    routes = [WebSocketRoute(SOCKET, _Socket(site))]
    routes += [Route(path, _Endpoint(site, handlers)) for path, handlers in ROUTES.items()]  # type: ignore[misc]
    router = Router(routes, redirect_slashes=False, default=_nowhere)
    return Guard(router, hosts=hosts, sessions=site.sessions, sign_in=page.sign_in)


class _Endpoint:
    """One address with its methods."""

    def __init__(self, site: Site, handlers: Mapping[str, Handler]) -> None:
        self._site = site
        self._handlers = handlers
        self._allow = ", ".join(sorted({*handlers, *(("HEAD",) if "GET" in handlers else ())}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sender(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            found = await self._answer(scope, receive)
            await found(scope, receive, sender)
        except Exception as error:
            if begun:
                logger.opt(exception=error).error("an answer broke off")
                scope["state"]["connection"].cut()
                return
            await refuse(_problem_of(error, scope))(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        method = scope["method"]
        handler = self._handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise Problem(405, f"this address takes {self._allow}", headers={"allow": self._allow})
        return await handler(self._site, Request(scope, receive))


def _problem_of(error: Exception, scope: Scope) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, Gone):
        return Problem(410, "that file is not there any more")
    if isinstance(error, Overloaded):
        words = "the hot folder or the record does not answer in time; nothing is known to be changed, try again"
        return Problem(503, words, headers={"retry-after": "5"})
    logger.opt(exception=error).error("{} {} failed by a fault in watchrender itself", scope["method"], scope["path"])
    return Problem(500, "a fault in watchrender itself; its log says more")


class _Socket:
    """The WebSocket's address."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await stream.websocket(self._site, scope, receive, send)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
    await refuse(Problem(404, f"there is nothing at {scope['path'][:200]}"))(scope, receive, send)
