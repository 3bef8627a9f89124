"""The OpenAPI document: every route of the table, with what it takes and gives, made from the models."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from watchrender import __version__
from watchrender.core.states import State
from watchrender.web import models
from watchrender.web.answers import PROBLEM
from watchrender.web.listing import CURSOR, MOST

_PLACE = "#/components/schemas/{model}"
_ANSWERS: tuple[type[BaseModel], ...] = (
    models.Status, models.JobPage, models.SettingsOf, models.DocumentOf, models.ServiceStatus, models.Throughput,
    models.Ready, models.Alive, models.ProblemDocument, models.Accepted, models.ManyDone, models.Message,
)  # fmt: skip
_REQUESTS: tuple[type[BaseModel], ...] = (
    models.Drop, models.Selection, models.PrioritySelection, models.PriorityChange, models.SignIn,
)  # fmt: skip

Schema = dict[str, Any]


@cache
def document(*, with_token: bool) -> Schema:
    """The whole document. With a token everything but /healthz wants it."""
    whole: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "watchrender",
            "version": __version__,
            "description": "Jobs, the queue and the service. Errors are RFC 9457 problems.",
        },
        "paths": {path: _operations(path, with_token) for path in _PATHS},
        "components": {"schemas": _schemas()},
    }
    if with_token:
        whole["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{"token": []}]
    return whole


def _schemas() -> Schema:
    wanted = [(model, "serialization") for model in _ANSWERS] + [(model, "validation") for model in _REQUESTS]
    _, found = models_json_schema(wanted, ref_template=_PLACE, by_alias=True)  # type: ignore[arg-type]
    schemas: Schema = found["$defs"]
    # "Either ids or a filter" is a rule of the model that its schema cannot know.
    filters = ("state", "sub", "q", "tag", "code")
    for chosen in (schemas["Selection"], schemas["PrioritySelection"]):
        chosen["oneOf"] = [{"required": ["ids"]}, {"anyOf": [{"required": [name]} for name in filters]}]
        for name in ("ids", *filters):  # null is the same as left out, and would count as given above
            _without_null(chosen["properties"], name)
        chosen["properties"]["state"] = {"anyOf": [_STATE, {"type": "array", "items": _STATE, "minItems": 1}]}
    return schemas


def _without_null(properties: Schema, name: str) -> None:
    given = properties[name].pop("anyOf", None)
    for one in given or ():
        if one.get("type") != "null":
            properties[name] |= one
    properties[name].pop("default", None)


# -- the parts of an operation ------------------------------------------------------------------------------

_STATE: Schema = {"type": "string", "enum": [str(state) for state in State]}


def _query(name: str, schema: Schema, words: str, **more: Any) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": words} | more


def _text(longest: int, shortest: int = 1) -> Schema:
    return {"type": "string", "minLength": shortest, "maxLength": longest, "pattern": r"^[^\u0000]*$"}


def _or_empty(schema: Schema) -> Schema:
    """What a form sends for a field that nobody has filled counts as left out."""
    return {"anyOf": [schema, {"const": ""}]}


_ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The job's id.",
}
_NUMBER: Schema = {
    "name": "n", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0, "maximum": 999999},
    "description": "Its place in `outputs`, from 0.",
}  # fmt: skip
_FILTERS = [
    _query("state", {"type": "array", "items": _STATE}, "Only these states.", style="form", explode=False),
    _query("sub", _text(500, 0), "Only this sub-folder and those in it."),
    _query("q", _text(200, 0), "All these words in key, id, template, composition, tags or error code."),
    _query("tag", _text(200, 0), "Only with this tag."),
    _query("code", _text(100, 0), "Only with this error code."),
]
_LIMIT = _query(
    "limit", _or_empty({"type": "integer", "minimum": 1, "maximum": MOST, "default": 100}), "Jobs of one page."
)
_CURSOR = _query("cursor", {"type": "string", "pattern": f"^({CURSOR})?$"}, "`next` of the page before.")
_TAIL = _query("tail", _or_empty({"type": "integer", "minimum": 0, "maximum": 100000}), "Only the last so many lines.")
_FRAME = _query(
    "frame", _or_empty({"type": "integer", "minimum": 0, "maximum": 10**9}), "Of an image sequence: which frame."
)
_AFTER = _query(
    "after", _or_empty({"type": "integer", "minimum": 0, "maximum": 10**15}), "Only what follows so many bytes."
)
_LAST = _query("last_event_id", _text(100, 0), "The id of the last message that was read; as the header Last-Event-ID.")
_JOB = _query("job", _text(100, 0), "Only messages about this job, and the service's.")
_KEY: Schema = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": "Sent again with the same job, the same id is answered and nothing is dropped.",
}  # fmt: skip

_WORDS = {
    200: "As asked.", 202: "Accepted; the stream tells how it goes on.", 204: "Done.", 206: "A part of it.",
    303: "Go on to the page.", 304: "Unchanged.", 400: "No JSON, or cut off.", 401: "The token is wanted.",
    403: "Not from there: a foreign Host or Origin, or outside the hot folder.", 404: "There is none.",
    408: "Too slow.", 409: "The job's state, or the service's, forbids it.", 410: "It was there and is no more.",
    413: "Too large.", 415: "Send application/json.", 416: "Outside the file.",
    422: "Not like this; `detail` says why.",
    426: "Only as a WebSocket.", 503: "Not now; try again.", 101: "The stream, over WebSocket.",
}  # fmt: skip


_ANY: Schema = {"type": "object"}


def _given(model: type[BaseModel]) -> Schema:
    return {"application/json": {"schema": {"$ref": _PLACE.format(model=model.__name__)}}}


def _plain(kind: str, schema: Schema | None = None) -> Schema:
    return {kind: {"schema": schema or {"type": "string"}}}


_PROBLEM: Schema = {PROBLEM: {"schema": {"$ref": _PLACE.format(model="ProblemDocument")}}}


def _operation(
    name: str,
    words: str,
    answers: dict[int, Schema | None],
    problems: Iterable[int] = (),
    *,
    parameters: Iterable[Schema] = (),
    body: type[BaseModel] | None = None,
    open_to_all: bool = False,
) -> Schema:
    found: Schema = {"operationId": name, "summary": words, "responses": {}}
    for status, content in answers.items():
        found["responses"][str(status)] = {"description": _WORDS[status]} | ({"content": content} if content else {})
    wrong = {403, 422, *problems, *((400, 408, 413, 415) if body else ())}
    for status in sorted(wrong - set(answers)):
        found["responses"][str(status)] = {"description": _WORDS[status], "content": _PROBLEM}
    if parameters:
        found["parameters"] = list(parameters)
    if body is not None:
        found["requestBody"] = {"required": True, "content": _given(body)}
    if open_to_all:
        found["security"] = []
    return found


def _operations(path: str, with_token: bool) -> Schema:
    found: Schema = {}
    for method, operation in _PATHS[path].items():
        shown = dict(operation)
        if with_token and operation.get("security") != []:
            shown["responses"] = operation["responses"] | {"401": {"description": _WORDS[401], "content": _PROBLEM}}
        if not with_token:
            shown.pop("security", None)
        found[method] = shown
    return found


_ASSET = [
    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": words}
    for name, words in (("version", "The hash of all files."), ("name", "The file's name."))
]
_FILM = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_JPEG = _plain("image/jpeg", {"type": "string", "format": "binary"})
_EVENT: Schema = {
    "type": "object",
    "description": "A Server-Sent Event; its data is a message as JSON.",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"enum": ["snapshot", "job", "progress", "queue", "service", "bye"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": _PLACE.format(model="Message")},
        },
    },
}
_STATUS, _MANY, _SERVICE = _given(models.Status), _given(models.ManyDone), _given(models.ServiceStatus)


def _order(name: str, words: str, answers: dict[int, Schema | None] | None = None) -> Schema:
    return _operation(name, words, answers or {200: _STATUS}, (404, 409, 503), parameters=[_ID])


def _many(name: str, words: str, body: type[BaseModel] = models.Selection) -> Schema:
    return _operation(name, words, {200: _MANY}, (503,), body=body)


def _queue(name: str, words: str) -> Schema:
    return _operation(name, words, {200: _SERVICE}, (503,))


def _film(name: str, words: str, content: Schema, parameters: list[Schema]) -> Schema:
    answers: dict[int, Schema | None] = {200: content, 206: content, 304: None}
    return _operation(name, words, answers, (404, 410, 416, 503), parameters=parameters)


_PATHS: dict[str, Schema] = {
    "/": {"get": _operation("page", "The dashboard.", {200: _plain("text/html")})},
    "/assets/{version}/{name}": {
        "get": _operation("asset", "A file of the dashboard.", {200: _plain("*/*")}, (404,), parameters=_ASSET)
    },
    "/healthz": {"get": _operation("alive", "Does the process live?", {200: _given(models.Alive)}, open_to_all=True)},
    "/readyz": {
        "get": _operation(
            "ready", "Can a render start now?", {200: _given(models.Ready), 503: _given(models.Ready) | _PROBLEM}
        )
    },
    "/metrics": {"get": _operation("metrics", "For Prometheus.", {200: _plain("text/plain")}, (503,))},
    "/openapi.json": {"get": _operation("api", "This document.", {200: _plain("application/json", _ANY)})},
    "/api/v1/session": {
        "post": _operation(
            "signIn", "The token for a cookie.", {204: None}, (401, 409), body=models.SignIn, open_to_all=True
        ),
        "delete": _operation("signOut", "Give the cookie back.", {204: None}),
    },
    "/api/v1/status": {"get": _operation("service", "How the service stands.", {200: _SERVICE}, (503,))},
    "/api/v1/throughput": {"get": _operation("throughput", "The last day.", {200: _given(models.Throughput)})},
    "/api/v1/jobs": {
        "get": _operation(
            "jobs", "Jobs, page by page: live ones in queue order, then those over, newest first.",
            {200: _given(models.JobPage)}, (503,), parameters=[*_FILTERS, _LIMIT, _CURSOR],
        ),
        "post": _operation(
            "drop", "A job into the inbox, like any drop.", {202: _given(models.Accepted)}, (409, 503),
            parameters=[_KEY], body=models.Drop,
        ),
    },
    "/api/v1/jobs/cancel": {"post": _many("cancelMany", "Cancel many jobs.")},
    "/api/v1/jobs/retry": {"post": _many("retryMany", "Try many jobs again.")},
    "/api/v1/jobs/hold": {"post": _many("holdMany", "Hold many jobs.")},
    "/api/v1/jobs/release": {"post": _many("releaseMany", "Release many jobs.")},
    "/api/v1/jobs/priority": {
        "post": _many("prioritizeMany", "A new priority for many jobs.", models.PrioritySelection)
    },
    "/api/v1/jobs/{id}": {
        "get": _operation("job", "A job's status document.", {200: _STATUS}, (404, 503), parameters=[_ID]),
        "patch": _operation(
            "change", "A new priority.", {200: _STATUS}, (404, 409, 503), parameters=[_ID], body=models.PriorityChange
        ),
    },
    "/api/v1/jobs/{id}/settings": {
        "get": _operation(
            "settings", "What was asked for a job, and where.", {200: _given(models.SettingsOf)}, (404, 503),
            parameters=[_ID],
        )
    },
    "/api/v1/jobs/{id}/document": {
        "get": _operation(
            "document", "The job's own document.", {200: _given(models.DocumentOf)}, (404, 410, 503), parameters=[_ID]
        )
    },
    "/api/v1/jobs/{id}/log": {
        "get": _operation(
            "log", "The job's log.", {200: _plain("text/plain")}, (404, 503), parameters=[_ID, _TAIL, _AFTER]
        )
    },
    "/api/v1/jobs/{id}/thumbnail": {"get": _film("thumbnail", "A picture of the first film.", _JPEG, [_ID])},
    "/api/v1/jobs/{id}/contact": {"get": _film("contact", "A contact sheet of the first film.", _JPEG, [_ID])},
    "/api/v1/jobs/{id}/outputs/{n}": {
        "get": _film("output", "A film; of an image sequence, a frame.", _FILM, [_ID, _NUMBER, _FRAME])
    },
    "/api/v1/jobs/{id}/outputs/{n}/thumbnail": {
        "get": _film("thumbnailOf", "A picture of that film or sequence.", _JPEG, [_ID, _NUMBER])
    },
    "/api/v1/jobs/{id}/outputs/{n}/contact": {
        "get": _film("contactOf", "A contact sheet of that film or sequence.", _JPEG, [_ID, _NUMBER])
    },
    "/api/v1/jobs/{id}/cancel": {
        "post": _order("cancel", "Cancel a job.", {200: _STATUS, 202: _STATUS})
    },
    "/api/v1/jobs/{id}/retry": {
        "post": _order("retry", "Try a job again: the new job.", {200: _STATUS, 202: _STATUS})
    },
    "/api/v1/jobs/{id}/hold": {"post": _order("hold", "Hold a job.")},
    "/api/v1/jobs/{id}/release": {"post": _order("release", "Release a job.")},
    "/api/v1/queue/pause": {"post": _queue("pause", "Start nothing new.")},
    "/api/v1/queue/resume": {"post": _queue("resume", "Go on.")},
    "/api/v1/queue/drain": {"post": _queue("drain", "Finish the running render, then end the service.")},
    "/api/v1/queue/stop": {"post": _queue("stop", "End the running render, put it back, stay paused.")},
    "/api/v1/events": {
        "get": _operation(
            "events", "The stream, as Server-Sent Events.", {200: _plain("text/event-stream", _EVENT)}, (404, 503),
            parameters=[_JOB, _LAST],
        )
    },
    "/api/v1/ws": {
        "get": _operation(
            "socket", "The same messages over WebSocket.", {101: None}, (404, 426, 503), parameters=[_JOB, _LAST]
        )
    },
}  # fmt: skip
