"""What an answer looks like: JSON, and problems by RFC 9457."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response

PROBLEM = "application/problem+json"

#: On every answer: nothing of ours is for other sites, guessed types or referrers.
COMMON_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class Problem(Exception):
    """A request cannot be done: the words are for the person who reads the answer."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def to_dict(self) -> dict[str, Any]:
        title = http.HTTPStatus(self.status).phrase
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail} | self.more


def encode(value: Any) -> bytes:
    """JSON that any reader takes: names that are no Unicode (from a disk of another age) are shown with `?`."""
    try:
        return to_json(value, inf_nan_mode="null")
    except PydanticSerializationError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    found = Response(encode(value), status, media_type="application/json")
    found.headers["cache-control"] = "no-store"
    found.headers.update(headers or {})
    return found


def refuse(problem: Problem) -> Response:
    found = Response(encode(problem.to_dict()), problem.status, media_type=PROBLEM)
    found.headers["cache-control"] = "no-store"
    found.headers.update(problem.headers)
    return found
