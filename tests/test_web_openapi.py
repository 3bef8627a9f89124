"""The OpenAPI document against the running service: every route is in it, and every answer is as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.line import Line
from watchrender.web.app import EVENTS, ROUTES, SOCKET
from watchrender.web.openapi import document

TOKEN = "a-token-for-tests"
#: A stream never ends, a WebSocket is no HTTP, and the page's own files are not part of the API.
APART = (EVENTS, SOCKET, "/", "/assets/{version}/{name}")
#: These end the service that is asked.
ENDS = ("/api/v1/queue/drain", "/api/v1/queue/stop")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    made = Line(tmp_path_factory.mktemp("line"), server={"enabled": True, "port": 0, "token": TOKEN})
    made.drop("film.json")
    made.drop("bad.json", made.job("NoComp"))
    made.drop("held.json", made.job() | {"watchrender": {"hold": True, "tags": ["tv"]}})
    made.start()
    made.wait("film", "completed")
    made.wait("bad", "failed")
    made.wait("held", "queued")
    yield made
    made.stop()


_AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
schema = schemathesis.openapi.from_dict(document(with_token=True))


@schema.exclude(path=[*APART, *ENDS]).parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_the_document_says(case: Any, line: Line) -> None:
    assert line.service is not None
    host, port = line.service.web.address
    base = f"http://{host}:{port}"

    # Which names a file may have is for its disk to say, not for a schema.
    apart = [positive_data_acceptance] if case.path == "/api/v1/jobs" and case.method == "POST" else []
    case.call_and_validate(base_url=base, headers=_AUTHORIZED, excluded_checks=apart)
    if "{id}" in case.path and case.meta.generation.mode.is_positive:
        # Ids that anybody could invent are not there: the same for jobs that are.
        for key in ("film", "bad", "held"):
            case.path_parameters["id"] = line.status(key)["id"]
            case.call_and_validate(base_url=base, headers=_AUTHORIZED)


def test_every_route_and_method_is_in_the_document() -> None:
    told = {path: {method.upper() for method in found} for path, found in document(with_token=False)["paths"].items()}

    apart = {"/", "/assets/{version}/{name}", "/openapi.json", SOCKET}
    assert {path: set(handlers) for path, handlers in ROUTES.items() if path not in apart} == {
        path: methods for path, methods in told.items() if path not in apart
    }


def test_with_a_token_every_route_but_healthz_says_so(tmp_path: Path) -> None:
    whole = document(with_token=True)

    assert whole["security"] == [{"token": []}]
    for path, operations in whole["paths"].items():
        for operation in operations.values():
            if path == "/healthz":
                assert operation["security"] == []
            elif path != "/api/v1/session":
                assert "401" in operation["responses"]
                assert "security" not in operation
