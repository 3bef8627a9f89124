"""The OpenAPI document of the API, made from the models that requests are checked by and answers are tested with."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from watchrender import __version__
from watchrender.core.states import State
from watchrender.web import models
from watchrender.web.answers import PROBLEM

_REF = "#/components/schemas/{model}"
_USED: tuple[type[BaseModel], ...] = (
    models.Accepted,
    models.Alive,
    models.DocumentOf,
    models.Drop,
    models.JobPage,
    models.ManyDone,
    models.PriorityChange,
    models.ProblemDocument,
    models.Ready,
    models.Selection,
    models.ServiceStatus,
    models.SettingsOf,
    models.SignIn,
    models.Status,
    models.Throughput,
)

_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 100},
    "description": "The job's id.",
}
_FILTERS: list[dict[str, Any]] = [
    {
        "name": "state",
        "in": "query",
        "description": "Only these states, separated by commas or given several times.",
        "schema": {"type": "array", "items": {"type": "string", "enum": [str(state) for state in State]}},
        "style": "form",
        "explode": True,
    },
    {"name": "sub", "in": "query", "schema": {"type": "string", "maxLength": 500}},
    *(
        {"name": name, "in": "query", "schema": {"type": "string", "minLength": 1, "maxLength": most}}
        for name, most in (("q", 200), ("tag", 200), ("code", 100))
    ),
]


def _query(name: str, least: int, most: int) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": "integer", "minimum": least, "maximum": most}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _json(model: type[BaseModel], words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": _ref(model)}}}


def _text(kind: str, words: str) -> dict[str, Any]:
    return {"description": words, "content": {kind: {"schema": {"type": "string"}}}}


def _film(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}


def _problem(words: str) -> dict[str, Any]:
    return {"description": words, "content": {PROBLEM: {"schema": _ref(models.ProblemDocument)}}}


_PROBLEMS = {
    400: "the body cannot be read",
    404: "there is no such thing",
    405: "not that way",
    408: "too slow",
    409: "the state of the job forbids it",
    410: "it was there, and is not any more",
    413: "too large",
    415: "send application/json",
    416: "no such range",
    422: "something in the request is wrong; detail says what",
    503: "not now: the share, or the service, is out of reach",
}


def _operation(
    name: str,
    summary: str,
    answers: dict[int, dict[str, Any]],
    *problems: int,
    parameters: list[dict[str, Any]] | None = None,
    body: type[BaseModel] | None = None,
) -> dict[str, Any]:
    wrong = {400, 403, 422, 503, *problems} | ({408, 413, 415} if body else set())
    found: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {str(status): answer for status, answer in answers.items()},
    }
    for status in sorted(wrong - answers.keys()):
        found["responses"][str(status)] = _problem(_PROBLEMS.get(status, "this is not for you"))
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    return found


def _job_order(verb: str, words: str, *, later: str | None = None) -> dict[str, Any]:
    answers = {200: _json(models.Status, "The job as it is now.")}
    if later is not None:
        answers[202] = _json(models.Status, later)
    return {"post": _operation(f"{verb}Job", words, answers, 404, 409, parameters=[_ID])}


def _many(verb: str) -> dict[str, Any]:
    done = {200: _json(models.ManyDone, "What became of it, job by job.")}
    return {"post": _operation(f"{verb}Jobs", f"{verb.capitalize()} many jobs.", done, body=models.Selection)}


def _queue(verb: str, words: str) -> dict[str, Any]:
    done = {200: _json(models.ServiceStatus, "The service as it is now.")}
    return {"post": _operation(f"{verb}Queue", words, done)}


def _of_job(name: str, words: str, answer: dict[str, Any], *problems: int, **more: Any) -> dict[str, Any]:
    parameters = [_ID, *more.pop("parameters", [])]
    return {"get": _operation(name, words, {200: answer}, 404, *problems, parameters=parameters)}


def _film_of(name: str, words: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    answers = {200: _film("The file."), 206: _film("The asked-for ranges."), 304: {"description": "unchanged"}}
    return {"get": _operation(name, words, answers, 404, 410, 416, parameters=[_ID, *parameters])}


def _paths() -> dict[str, Any]:
    number: dict[str, Any] = {"name": "n", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
    key: dict[str, Any] = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    }
    page = [*_FILTERS, _query("limit", 1, 500), {"name": "cursor", "in": "query", "schema": {"type": "string"}}]
    session = {
        "post": _operation(
            "signIn", "A browser's sign-in: the token for a cookie.", {204: {"description": "signed in"}}, 401, 429,
            body=models.SignIn,
        ),
        "delete": _operation("signOut", "Forget the cookie.", {204: {"description": "signed out"}}),
    }  # fmt: skip
    ready = {200: _json(models.Ready, "A render can start."), 503: _json(models.Ready, "It cannot, and why.")}
    return {
        "/healthz": {"get": _operation("alive", "The process lives.", {200: _json(models.Alive, "It does.")})},
        "/readyz": {"get": _operation("ready", "Can a render start now?", ready)},
        "/metrics": {"get": _operation("metrics", "For Prometheus.", {200: _text("text/plain", "The metrics.")})},
        "/api/v1/session": session,
        "/api/v1/status": {
            "get": _operation("service", "How the service stands.", {200: _json(models.ServiceStatus, "So.")})
        },
        "/api/v1/throughput": {
            "get": _operation("throughput", "The last day.", {200: _json(models.Throughput, "Hour by hour.")})
        },
        "/api/v1/jobs": {
            "get": _operation("jobs", "Jobs, page by page.", {200: _json(models.JobPage, "A page.")}, parameters=page),
            "post": _operation(
                "dropJob", "Write a job into the inbox, like any drop.",
                {202: _json(models.Accepted, "It lies in the inbox.")}, 409, parameters=[key], body=models.Drop,
            ),
        },
        **{f"/api/v1/jobs/{verb}": _many(verb) for verb in ("cancel", "retry", "hold", "release")},
        "/api/v1/jobs/{id}": {
            **_of_job("job", "One job.", _json(models.Status, "Its status.")),
            "patch": _operation(
                "changeJob", "Another priority.", {200: _json(models.Status, "The job as it is now.")}, 404, 409,
                parameters=[_ID], body=models.PriorityChange,
            ),
        },
        "/api/v1/jobs/{id}/settings": _of_job("settings", "What was asked for it.", _json(models.SettingsOf, "So.")),
        "/api/v1/jobs/{id}/document": _of_job("document", "Its own document.", _json(models.DocumentOf, "It."), 410),
        "/api/v1/jobs/{id}/log": _of_job(
            "log", "What its renders said.", _text("text/plain", "The log."), parameters=[_query("tail", 0, 100_000)]
        ),
        "/api/v1/jobs/{id}/thumbnail": _film_of("thumbnail", "A picture of its film.", []),
        "/api/v1/jobs/{id}/contact": _film_of("contact", "A sheet of pictures of its film.", []),
        "/api/v1/jobs/{id}/outputs/{n}": _film_of("output", "A film.", [number, _query("frame", 0, 10**9)]),
        "/api/v1/jobs/{id}/cancel": _job_order("cancel", "Cancel it.", later="Its render is being ended."),
        "/api/v1/jobs/{id}/retry": _job_order("retry", "Try it again.", later="Its new job is not seen yet."),
        "/api/v1/jobs/{id}/hold": _job_order("hold", "Keep it from starting."),
        "/api/v1/jobs/{id}/release": _job_order("release", "Let it start."),
        "/api/v1/queue/pause": _queue("pause", "Start no more jobs."),
        "/api/v1/queue/resume": _queue("resume", "Start jobs again."),
        "/api/v1/queue/drain": _queue("drain", "Finish the running render, then end the service."),
        "/api/v1/queue/stop": _queue("stop", "End the running render, leave the queue paused, end the service."),
        "/api/v1/events": {
            "get": _operation(
                "events", "The stream, as Server-Sent Events.", {200: _text("text/event-stream", "Until you leave.")},
                parameters=[
                    {"name": "job", "in": "query", "schema": {"type": "string", "minLength": 1, "maxLength": 100}},
                    {"name": "last_event_id", "in": "query", "schema": {"type": "string", "maxLength": 40}},
                ],
            )
        },
    }  # fmt: skip


@cache
def document(*, with_token: bool) -> dict[str, Any]:
    """The whole document; with a token every route but /healthz says that it wants one."""
    _, schemas = models_json_schema([(model, "validation") for model in _USED], ref_template=_REF)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "watchrender", "version": __version__, "description": "The hot folder for After Effects."},
        "paths": _paths(),
        "components": {"schemas": schemas["$defs"]},
    }
    if with_token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
        for path, operations in found["paths"].items():
            for operation in operations.values():
                operation["responses"]["401"] = _problem("show the token")
            if path == "/healthz":
                operations["get"]["security"] = []
    return found
