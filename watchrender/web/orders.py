"""What can be ordered: jobs dropped, cancelled, tried again, held, raised; the queue paused, drained, stopped.

Every order is handed to `control`, aside from the loop, because marks are files on the share. What the state of a job
forbids is a 409 with the words of whoever refused it.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from loguru import logger
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from watchrender.control import Control, Denied
from watchrender.core.job import Job
from watchrender.core.states import Refused
from watchrender.web import listing
from watchrender.web.answers import Problem, answer, encode
from watchrender.web.asking import Parameters, body_of, model_of, problem_of, states_of
from watchrender.web.guard import SESSION_SECONDS
from watchrender.web.listing import Wanted
from watchrender.web.models import Drop, PriorityChange, PrioritySelection, Selection, SignIn
from watchrender.web.site import Site

#: How long a retry waits for its new job to be seen in the inbox.
RETRY_SECONDS = 5.0
#: A wrong token costs a guesser this much of each connection.
WRONG_TOKEN_SECONDS = 0.5

T = TypeVar("T")
Order = Callable[[str, str], Job]


# -- one job ------------------------------------------------------------------------------------------------


async def cancel(site: Site, request: Request) -> ASGIApp:
    job = await _ordered(site, request, lambda job_id, by: site.control.cancel(job_id, by=by))
    # A render is asked to end; everything else has ended.
    return answer(await site.document(job), 200 if job.over else 202)


async def hold(site: Site, request: Request) -> ASGIApp:
    job = await _ordered(site, request, lambda job_id, by: site.control.hold(job_id, by=by))
    return answer(await site.document(job))


async def release(site: Site, request: Request) -> ASGIApp:
    job = await _ordered(site, request, lambda job_id, by: site.control.release(job_id, by=by))
    return answer(await site.document(job))


async def retry(site: Site, request: Request) -> ASGIApp:
    """The new job, once it is seen in the inbox; 202 with the old one if that takes its time."""
    Parameters(request, ())
    old = await site.job(request.path_params["id"])
    with site.retries.expect(old.id) as arrival:
        await _done(site, lambda: site.control.retry(old.id, by=_by(request)))
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                job = await arrival
        except TimeoutError:
            return answer(await site.document(old), 202)
    return answer(await site.document(job), headers={"location": f"/api/v1/jobs/{job.id}"})


async def change(site: Site, request: Request) -> ASGIApp:
    """PATCH: a new priority."""
    Parameters(request, ())
    wanted = await model_of(request, PriorityChange)
    job = await _ordered(site, request, lambda job_id, by: site.control.prioritize(job_id, wanted.priority, by=by))
    return answer(await site.document(job))


async def _ordered(site: Site, request: Request, order: Order) -> Job:
    Parameters(request, ())
    job = await site.job(request.path_params["id"])
    return await _done(site, lambda: order(job.id, _by(request)))


# -- many jobs ----------------------------------------------------------------------------------------------


async def cancel_many(site: Site, request: Request) -> ASGIApp:
    return await _many(site, request, lambda job_id, by: site.control.cancel(job_id, by=by))


async def hold_many(site: Site, request: Request) -> ASGIApp:
    return await _many(site, request, lambda job_id, by: site.control.hold(job_id, by=by))


async def release_many(site: Site, request: Request) -> ASGIApp:
    return await _many(site, request, lambda job_id, by: site.control.release(job_id, by=by))


async def retry_many(site: Site, request: Request) -> ASGIApp:
    """The new jobs come when the inbox is looked at; each says `retry_of`."""

    def again(job_id: str, by: str) -> Job:
        site.control.retry(job_id, by=by)
        job = site.ledger.get(job_id)
        assert job is not None  # control would have raised KeyError
        return job

    return await _many(site, request, again)


async def prioritize_many(site: Site, request: Request) -> ASGIApp:
    Parameters(request, ())
    wanted = await model_of(request, PrioritySelection)
    return await _each(site, request, wanted, lambda id_, by: site.control.prioritize(id_, wanted.priority, by=by))


async def _many(site: Site, request: Request, order: Order) -> ASGIApp:
    Parameters(request, ())
    return await _each(site, request, await model_of(request, Selection), order)


async def _each(site: Site, request: Request, wanted: Selection, order: Order) -> ASGIApp:
    ids = await _chosen(site, wanted)
    by = _by(request)
    results: list[dict[str, Any]] = []
    for start in range(0, len(ids), 100):  # in pieces: what waits for the same threads gets its turn in between
        piece = ids[start : start + 100]
        results += await site.share(lambda piece=piece: [_one(order, job_id, by) for job_id in piece])  # type: ignore[misc]
    done = sum(result["status"] < 300 for result in results)
    return answer({"done": done, "refused": len(results) - done, "jobs": results})


async def _chosen(site: Site, wanted: Selection) -> list[str]:
    if wanted.ids is not None:
        return list(dict.fromkeys(wanted.ids))
    states = [wanted.state] if isinstance(wanted.state, str) else wanted.state or ()
    chosen = Wanted(states=states_of(states), sub=wanted.sub, q=wanted.q, tag=wanted.tag, code=wanted.code)
    return await site.record(lambda: [job.id for job in listing.every(site.ledger, chosen)])


def _one(order: Order, job_id: str, by: str) -> dict[str, Any]:
    """What the order for one job would have been answered with."""
    try:
        job = order(job_id, by)
    except KeyError:
        return {"id": job_id, "status": 404, "detail": f"there is no job {job_id}"}
    except (Denied, Refused) as denied:
        return {"id": job_id, "status": 409, "detail": str(denied)}
    except OSError as error:
        return {"id": job_id, "status": 503, "detail": _out_of_reach(error)}
    return {"id": job_id, "status": 202 if job.cancel_requested and not job.over else 200, "state": str(job.state)}


# -- the queue ----------------------------------------------------------------------------------------------


async def pause(site: Site, request: Request) -> ASGIApp:
    return await _queue(site, request, Control.pause)


async def resume(site: Site, request: Request) -> ASGIApp:
    return await _queue(site, request, Control.resume)


async def drain(site: Site, request: Request) -> ASGIApp:
    """Finish the running render, then end the service."""
    return await _queue(site, request, Control.drain)


async def stop(site: Site, request: Request) -> ASGIApp:
    """End the running render, put it back, and leave the queue paused."""
    return await _queue(site, request, Control.stop)


async def _queue(site: Site, request: Request, order: Callable[[Control], None]) -> ASGIApp:
    Parameters(request, ())
    await _done(site, lambda: order(site.control))
    logger.info("{}: {}", _by(request), order.__name__)
    ordered_at = time.monotonic()
    return answer(await site.pulse.service(since=ordered_at))


# -- a new job ----------------------------------------------------------------------------------------------


async def drop(site: Site, request: Request) -> ASGIApp:
    """POST /api/v1/jobs: a job into the inbox, like any drop."""
    Parameters(request, ())
    key = _idempotency_key(request)
    wanted = await model_of(request, Drop, site.most_bytes)

    def dropped() -> str:
        _refuse_what_json_has_not({"job": wanted.job, "settings": wanted.settings})
        with site.keys.lock:  # two with one key at once: the second must find the first's job
            if key is not None and not site.keys.agrees(key, encode(wanted.model_dump())):
                raise Problem(409, "this Idempotency-Key was used for another job; take a new one for a new job")
            return site.drop(wanted.name, wanted.sub, wanted.job, wanted.settings, key)

    job_id = await _done(site, dropped)
    job = await site.record(site.ledger.get, job_id)
    found = {"id": job_id} | ({} if job is None else await site.document(job))
    return answer(found, 202, {"location": f"/api/v1/jobs/{job_id}"})


def _refuse_what_json_has_not(said: dict[str, Any]) -> None:
    """NaN, and numbers beyond all measure, are read by our reader too: the inbox would refuse what we wrote."""
    for name, value in said.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise Problem(422, f"{name}: there is a number in it that JSON has not (NaN, Infinity, 1e999)") from None


def _idempotency_key(request: Request) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not re.fullmatch(r"[\x21-\x7e]{1,255}", keys[0]):
        raise Problem(422, "Idempotency-Key may hold 1 to 255 visible ASCII characters, once")
    return keys[0]


# -- signing in ---------------------------------------------------------------------------------------------


async def sign_in(site: Site, request: Request) -> ASGIApp:
    """The token for a cookie: as JSON from a program, as a form from the page."""
    Parameters(request, ())
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    token = await _form_token(request) if is_form else (await model_of(request, SignIn, 8192)).token
    if site.sessions is None:
        raise Problem(409, "this server has no token: nobody needs to sign in")
    if not site.sessions.is_token(token):
        await asyncio.sleep(WRONG_TOKEN_SECONDS)
        logger.warning("a sign-in with a wrong token from {}", _client(request))
        if is_form:
            return RedirectResponse("/?wrong", 303, {"cache-control": "no-store"})
        raise Problem(401, "this is not the token", headers={"www-authenticate": 'Bearer realm="watchrender"'})
    found: Response = RedirectResponse("/", 303) if is_form else Response(status_code=204)
    found.headers["cache-control"] = "no-store"
    found.set_cookie(
        site.sessions.cookie,
        site.sessions.begin(),
        max_age=SESSION_SECONDS,
        path="/",
        secure=request.headers.get("origin", "").startswith("https:"),
        httponly=True,
        samesite="strict",
    )
    return found


async def _form_token(request: Request) -> str:
    data = await body_of(request, 8192)
    fields = FormData(list(_pairs(data)))
    try:
        return SignIn(token=str(fields.get("token", ""))).token
    except ValidationError as wrong:
        raise problem_of(wrong) from None


def _pairs(data: bytes) -> Iterable[tuple[str, str]]:
    return parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10)


async def sign_out(site: Site, request: Request) -> ASGIApp:
    Parameters(request, ())
    found = Response(status_code=204, headers={"cache-control": "no-store"})
    if site.sessions is not None:
        found.delete_cookie(site.sessions.cookie, path="/", httponly=True, samesite="strict")
    return found


# -- inside -------------------------------------------------------------------------------------------------


async def _done(site: Site, call: Callable[[], T]) -> T:
    """Do it aside; what control refuses becomes a problem with its words."""
    try:
        return await site.share(call)
    except (Denied, Refused) as denied:
        raise Problem(409, str(denied)) from None
    except ValueError as error:
        raise Problem(422, str(error)) from None
    except KeyError as error:
        raise Problem(404, f"there is no job {error.args[0]}") from None
    except OSError as error:
        raise Problem(503, _out_of_reach(error), headers={"retry-after": "5"}) from None


def _out_of_reach(error: OSError) -> str:
    return f"the hot folder does not take it: {error.strerror or error}; nothing was changed, try again"


def _by(request: Request) -> str:
    """Who asks, for the job's history."""
    who = "the page" if request.headers.get("origin") else "the API"
    client = _client(request)
    return who if client in ("127.0.0.1", "::1") else f"{who} ({client})"


def _client(request: Request) -> str:
    return request.client.host if request.client else "?"
