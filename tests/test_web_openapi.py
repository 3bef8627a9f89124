"""The OpenAPI document against the running service: every route is in it, and every answer is as it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from tests.line import Line
from tests.test_web_stream import Alone
from watchrender.web.app import EVENTS, ROUTES
from watchrender.web.openapi import document

TOKEN = "a-token-for-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
#: These end the service that is asked, or never end themselves: they are asked of a web server alone.
APART = (EVENTS, "/api/v1/queue/drain", "/api/v1/queue/stop")

#: Every check is on. A plain request for a WebSocket is answered with 426, whatever comes with it: that is what the
#: document promises there.
config = schemathesis.Config.from_dict(
    {
        "operations": [
            {
                "include-operation-id": "socket",
                "checks": {"positive_data_acceptance": {"expected-statuses": [401, 403, 404, 426]}},
            }
        ]
    }
)
schema = schemathesis.openapi.from_dict(document(with_token=True), config=config)
examples = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


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


@schema.exclude(path=[*APART]).parametrize()
@examples
def test_every_answer_is_as_the_document_says(case: Any, line: Line) -> None:
    assert line.service is not None
    host, port = line.service.web.address
    base = f"http://{host}:{port}"

    case.call_and_validate(base_url=base, headers=AUTHORIZED)
    if "{id}" in case.path and case.meta.generation.mode.is_positive:
        # Ids that anybody could invent are not there: the same for jobs that are.
        for key in ("film", "bad", "held"):
            case.path_parameters["id"] = line.status(key)["id"]
            case.call_and_validate(base_url=base, headers=AUTHORIZED)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """A web server with no service behind it, so that drain and stop can be asked again and again; each of its streams
    ends once it has begun, because a check reads an answer to its end."""
    made = Alone(tmp_path_factory.mktemp("alone"), token=TOKEN)
    made.render("spot")
    over = threading.Event()

    def end_streams() -> None:
        while not over.wait(0.02):
            for reader in list(made.hub._readers):
                reader.over = True
                made.loop.call_soon_threadsafe(reader.wake.set)

    ender = threading.Thread(target=end_streams, daemon=True)
    ender.start()
    yield made
    over.set()
    ender.join()
    made.close()


@schema.include(path=[*APART]).parametrize()
@examples
def test_streams_and_what_ends_the_service_are_as_the_document_says(case: Any, apart: Alone) -> None:
    base = f"http://{apart.host}"

    case.call_and_validate(base_url=base, headers=AUTHORIZED)
    if case.path == EVENTS and case.meta.generation.mode.is_positive:
        case.query["job"] = apart.ledger.live()[0].id
        case.call_and_validate(base_url=base, headers=AUTHORIZED)


def test_every_route_and_method_is_in_the_document() -> None:
    told = {path: {method.upper() for method in found} for path, found in document(with_token=False)["paths"].items()}

    assert {path: set(handlers) for path, handlers in ROUTES.items()} == told


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
