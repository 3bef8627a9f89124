"""What can be asked: the service, jobs, logs, films. Nothing here changes anything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from watchrender.core import status, units
from watchrender.core.job import Job
from watchrender.core.settings import KEYS
from watchrender.web import films, listing, metrics
from watchrender.web.answers import Problem, answer
from watchrender.web.asking import FILTERS, Parameters, wanted_of
from watchrender.web.site import Site

MOST_LINES = 100_000
PAGE_SIZE = 100


async def healthz(_site: Site, request: Request) -> ASGIApp:
    """The process lives, and this thread with it."""
    Parameters(request, ())
    return answer({"status": "ok"})


async def readyz(site: Site, request: Request) -> ASGIApp:
    """Can a render start now?"""
    Parameters(request, ())
    waiting = await site.share(site.ready)
    found = {"ready": not waiting, "waiting": [failure.to_dict() for failure in waiting]}
    return answer(found, 503 if waiting else 200)


async def service(site: Site, request: Request) -> ASGIApp:
    Parameters(request, ())
    return answer(await site.pulse.service())


async def throughput(site: Site, request: Request) -> ASGIApp:
    Parameters(request, ())
    return answer({"hours": site.tally.hours()})


async def prometheus(site: Site, request: Request) -> ASGIApp:
    Parameters(request, ())
    document = await site.pulse.service()
    text = await site.record(metrics.exposition, site, document)
    return Response(text, media_type=metrics.CONTENT_TYPE, headers={"cache-control": "no-store"})


# -- jobs ---------------------------------------------------------------------------------------------------


async def jobs(site: Site, request: Request) -> ASGIApp:
    parameters = Parameters(request, (*FILTERS, "limit", "cursor"))
    wanted = wanted_of(parameters)
    limit = parameters.number("limit", 1, listing.MOST) or PAGE_SIZE
    cursor = parameters.filled("cursor", 300)
    try:
        found, following = await site.record(site.pages.page, wanted, limit=limit, cursor=cursor)
    except listing.NoCursor:
        raise Problem(422, "cursor is none of ours; take `next` of the page before") from None
    if any(listed.position is not None for listed in found):
        await site.etas.refresh()
    shown = [status.document(listed.job, position=listed.position, eta=site.etas.of(listed.job)) for listed in found]
    return answer({"jobs": shown, "next": following})


async def job(site: Site, request: Request) -> ASGIApp:
    Parameters(request, ())
    return answer(await site.document(await site.job(request.path_params["id"])))


async def settings(site: Site, request: Request) -> ASGIApp:
    """What was asked for a job, and where each came from."""
    Parameters(request, ())
    found = await site.job(request.path_params["id"])
    return answer({"id": found.id, "settings": settings_of(found, site.defaults)})


def settings_of(found: Job, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The sidecar's settings, then the job's own that it does not replace, then what the configuration says where both
    are silent; the priority wherever it came from."""
    shown = [{"key": "priority", "value": found.priority, "source": found.priority_from}]
    seen = {"priority"}
    for source in ("sidecar", "job"):
        said = found.settings.get(source) or {}
        for key in KEYS:
            if key in said and key not in seen:
                seen.add(key)
                shown.append({"key": key, "value": _without_secrets(said[key]), "source": source})
    silent = [key for key in KEYS if key in defaults and key not in seen]
    return shown + [{"key": key, "value": _readable(key, defaults[key]), "source": "configuration"} for key in silent]


def _readable(key: str, value: Any) -> Any:
    """A duration as it is written in a sidecar."""
    is_duration = key.endswith("_timeout") and isinstance(value, int | float)
    return units.format_duration(value) if is_duration else value


def _without_secrets(value: Any) -> Any:
    """An address to notify is as good as a key to it: only its server is shown."""
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    if isinstance(value, str) and (address := re.match(r"(\w+://)(?:[^/@\s]*@)?([^/?#\s]+).", value)):
        return f"{address[1]}{address[2]}/…"
    return value


async def document(site: Site, request: Request) -> ASGIApp:
    """The job's own document, as it lies in its folder now."""
    Parameters(request, ())
    found = await site.job(request.path_params["id"])
    said = await site.share(site.document_of, found)
    if said is None:
        raise Problem(410, f"the file of {found.key} is not there any more, or cannot be read")
    return answer({"id": found.id, "document": said})


async def log(site: Site, request: Request) -> ASGIApp:
    parameters = Parameters(request, ("tail", "after"))
    lines, after = parameters.number("tail", 0, MOST_LINES), parameters.number("after", 0, 10**15) or 0
    found = await site.job(request.path_params["id"])
    data = (await site.share(site.log_of, found))[after:]
    text = (data if lines is None else tail(data, lines)).decode("utf-8", "replace")
    return Response(text, media_type="text/plain", headers={"cache-control": "no-store"})


def tail(data: bytes, lines: int) -> bytes:
    """The last so many lines."""
    if lines == 0:
        return b""
    place = len(data.removesuffix(b"\n"))
    for _ in range(lines):
        place = data.rfind(b"\n", 0, place)
        if place < 0:
            return data
    return data[place + 1 :]


# -- films --------------------------------------------------------------------------------------------------


async def output(site: Site, request: Request) -> ASGIApp:
    """A film, or one frame of an image sequence."""
    parameters = Parameters(request, ("frame",))
    frame = parameters.number("frame", 0, 10**9)
    found = await site.job(request.path_params["id"])
    number = _number(request)
    return await _film(site, request, found, lambda: films.output_path(site.folders, found, number, frame))


def _number(request: Request) -> int:
    """Which output is meant; without a word the first one."""
    number = request.path_params.get("n", "0")
    if not re.fullmatch(r"[0-9]{1,6}", number):
        raise Problem(404, "outputs are numbered from 0")
    return int(number)


async def thumbnail(site: Site, request: Request) -> ASGIApp:
    return await _preview(site, request, "thumbnail")


async def contact(site: Site, request: Request) -> ASGIApp:
    return await _preview(site, request, "contact")


async def _preview(site: Site, request: Request, kind: str) -> ASGIApp:
    Parameters(request, ())
    found = await site.job(request.path_params["id"])
    number = _number(request)
    try:
        return await _film(site, request, found, lambda: films.preview_path(site.folders, found, kind, number))
    except Problem as problem:
        if problem.status != 410:
            raise
        # Not every film gets one, so nothing was promised that is gone now.
        raise Problem(404, f"there is no {kind} of output {number} of {found.key}") from None


async def _film(site: Site, request: Request, found: Job, where: Callable[[], Path]) -> ASGIApp:
    def looked() -> tuple[Path, films.Found]:
        path = where()
        return path, films.look(path)

    try:
        path, file = await site.share(looked)
    except films.Gone:
        raise Problem(410, f"that file of {found.key} is not there any more") from None
    return films.Film(site.share, file, request, name=os.path.basename(path))
