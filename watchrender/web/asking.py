"""Reading a request: its parameters, its body within limits, and what is wrong with them in words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, HTTPConnection, Request

from watchrender.core.states import State
from watchrender.web.answers import Problem
from watchrender.web.listing import Wanted

#: A body of this API other than a job.
SMALL_BODY = 512 * 1024
#: Nobody may hold a body open for longer.
BODY_SECONDS = 60.0
_STATES = tuple(str(state) for state in State)

M = TypeVar("M", bound=BaseModel)


async def body_of(request: Request, limit: int) -> bytes:
    """The whole body. Raises `Problem` for one that is too large, too slow, or cut off."""
    too_large = Problem(413, f"a body here may have {limit} bytes at most", headers={"connection": "close"})
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limit:
                    raise too_large
    except TimeoutError:
        raise Problem(408, "the body did not arrive in time", headers={"connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "the body was cut off") from None
    return bytes(found)


async def model_of(request: Request, model: type[M], limit: int = SMALL_BODY) -> M:
    """The body as a checked model. Raises `Problem`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "send application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(
            415, "send the JSON as it is, without a content-encoding", headers={"accept-encoding": "identity"}
        )
    data = await body_of(request, limit)
    try:
        return model.model_validate_json(data)
    except ValidationError as wrong:
        raise problem_of(wrong) from None


def problem_of(wrong: ValidationError) -> Problem:
    """All that is wrong with a body, each with its place."""
    faults = wrong.errors(include_url=False, include_context=False, include_input=False)
    if faults and faults[0]["type"] == "json_invalid":
        return Problem(400, f"the body is no JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}")
    errors = [{"path": ".".join(map(str, fault["loc"])), "message": _words(fault)} for fault in faults[:50]]
    told = "; ".join(f"{error['path']}: {error['message']}" if error["path"] else error["message"] for error in errors)
    return Problem(422, told[:2000], errors=errors)


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no key here; leave it out",
    "model_type": "the body is no JSON object",
    "model_attributes_type": "the body is no JSON object",
    "dict_type": "is no JSON object",
    "list_type": "is no list",
    "string_type": "is no text",
    "int_type": "is no whole number",
    "too_short": "is empty",
    "string_too_short": "is empty",
}


def _words(fault: Any) -> str:
    return _WORDS.get(fault["type"]) or str(fault["msg"]).removeprefix("Value error, ")


class Parameters:
    """The query string of a request, every parameter at most once unless it is a list."""

    def __init__(self, request: HTTPConnection, known: Iterable[str]) -> None:
        self._items = request.query_params
        self._known = frozenset(known)
        for name in self._items:
            if name not in self._known:
                names = ", ".join(sorted(self._known)) or "none"
                raise Problem(422, f"{name[:100]} is no parameter here; there are: {names}")

    def text(self, name: str, longest: int) -> str | None:
        """As it was given; where it is there and empty, that is its value."""
        values = self._items.getlist(name)
        if not values:
            return None
        if len(values) > 1:
            raise Problem(422, f"{name} is given {len(values)} times; give it once")
        if len(values[0]) > longest or "\0" in values[0]:
            raise Problem(422, f"{name} may have {longest} characters at most, and no NUL")
        return values[0]

    def filled(self, name: str, longest: int) -> str | None:
        """Forms and templates send all their fields: one that is empty is one that was left out."""
        return self.text(name, longest) or None

    def number(self, name: str, least: int, most: int) -> int | None:
        value = self.filled(name, 20)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,19}", value) or not least <= int(value) <= most:
            raise Problem(422, f"{name} is {value!r}; write a number from {least} to {most}")
        return int(value)

    def list(self, name: str) -> list[str]:
        return [part for value in self._items.getlist(name) if value for part in value.split(",")]


FILTERS = ("state", "sub", "q", "tag", "code")


def wanted_of(parameters: Parameters) -> Wanted:
    """Which jobs a query asks for."""
    return Wanted(
        states=states_of(parameters.list("state")),
        sub=parameters.text("sub", 500),
        q=parameters.filled("q", 200),
        tag=parameters.filled("tag", 200),
        code=parameters.filled("code", 100),
    )


def states_of(words: Iterable[str]) -> frozenset[State] | None:
    """The states that are named; None for no word at all. Raises `Problem` for one that is none."""
    found = set()
    for word in words:
        if word not in _STATES:
            raise Problem(422, f"state is {word[:100]!r}; there are: {', '.join(_STATES)}")
        found.add(State(word))
    return frozenset(found) or None
