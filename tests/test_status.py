"""The status document: what every reader of a job's state may rely on."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core import status
from watchrender.core.failure import Code, fail
from watchrender.core.job import Form, Job, Progress
from watchrender.core.states import OVER, State

AT = "2026-11-24T12:00:00.000Z"
SCHEMA = jsonschema_rs.Draft202012Validator(status.schema_status())

#: The names that people, scripts and other tools hold on to.
PROMISED = {
    "schema", "id", "job", "name", "sub", "retry_of", "state", "folder", "files", "priority", "priority_from",
    "position", "hold", "cancel_requested", "attempt", "max_attempts", "not_before", "waiting_for", "warnings",
    "progress", "eta", "created_at", "queued_at", "started_at", "finished_at", "updated_at", "template",
    "composition", "node", "outputs", "attempts", "history", "superseded_by", "error", "tags",
}  # fmt: skip


def job(**changes: Any) -> Job:
    fields = {"id": "01JD" + "0" * 22, "serial": 1, "arrival": 1, "name": "spot", "file": "p80_spot.json"}
    return Job(**(fields | {"created_at": AT, "updated_at": AT} | changes))


def faults(document: dict[str, Any]) -> list[str]:
    return [f"{error.instance_path}: {error.message}" for error in SCHEMA.iter_errors(document)]


def test_a_new_job_tells_all_that_is_promised() -> None:
    found = status.document(job(sub="clientA", folder="inbox/clientA"))

    assert found.keys() >= PROMISED
    assert found["schema"] == "watchrender.status/1"
    assert (found["job"], found["name"], found["sub"]) == ("clientA/spot", "spot", "clientA")
    assert found["files"] == {"job": "p80_spot.json", "sidecar": None}
    assert found["progress"] == {"percent": None, "frame": None, "frames": None, "fps": None, "stage": "pending"}
    assert found["eta"] == {"starts_at": None, "done_at": None, "low": None, "high": None, "basis": None}
    assert (found["position"], found["error"], found["retry_of"]) == (None, None, None)
    assert (found["waiting_for"], found["warnings"], found["tags"], found["outputs"]) == ([], [], [], [])
    assert faults(found) == []


def test_a_job_far_behind_says_whose_times_are_told() -> None:
    queued = job(state=State.QUEUED)

    assert status.document(queued, position=501)["eta"]["basis"] == "told for the first 500 of the queue"
    assert status.document(queued, position=500)["eta"]["basis"] is None
    assert status.document(queued, position=501, eta={"basis": "the queue is paused"})["eta"] == {
        "basis": "the queue is paused"
    }


def test_the_name_is_the_one_that_was_dropped_whole_and_unchanged() -> None:
    assert status.document(job(name="spot~2"))["name"] == "spot"
    assert status.document(job(name="xxx-0badcafe", file="x" * 240 + ".json"))["name"] == "x" * 240
    assert status.document(job(name="spot.v2", file="spot.v2", form=Form.BUNDLE))["name"] == "spot.v2"


SHAPES: dict[str, dict[str, Any]] = {
    "rendering": {
        "state": State.RENDERING, "progress": Progress(percent=42.5, frame=51, frames=120, fps=3.4, stage="rendering"),
        "eta": {"starts_at": AT, "done_at": AT, "low": AT, "high": AT, "basis": "12 renders of spot.aep/main"},
        "attempts": ({"number": 1, "started_at": AT, "finished_at": AT, "exit_code": 1,
                      "error": fail(Code.RENDER_CRASHED).to_dict()},),
    },
    "failed": {
        "state": State.FAILED, "error": fail(Code.JOB_INVALID, "no", path="assets[2].src", line=3, column=9).to_dict(),
    },
    "completed": {
        "state": State.COMPLETED, "finished_at": AT,
        "outputs": ({"path": "spot.mp4", "bytes": 12, "sha256": "0" * 64},
                    {"path": "frames/spot_[00000-00119].png", "frames": 120, "bytes": 9, "sha256": None}),
        "history": ({"at": AT, "from": None, "to": "pending", "why": "seen"},),
    },
    "bundle": {"form": Form.BUNDLE, "begun": True, "state": State.QUEUED, "file": "spot"},
    "held": {"held_because": "the machine went down", "tags": ("a",), "waiting_for": ("x.mov is not there",)},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_job_fits_the_schema(shape: str) -> None:
    assert faults(status.document(job(**SHAPES[shape]))) == []


@given(
    st.fixed_dictionaries(
        {"state": st.sampled_from(State), "form": st.sampled_from(Form)},
        optional={
            "priority": st.integers(0, 100),
            "sidecar": st.none() | st.text(max_size=9),
            "progress": st.none() | st.builds(Progress, percent=st.floats(0, 100), frame=st.integers(0, 10**7)),
            "retry_at": st.none() | st.just(AT),
            "template": st.none() | st.text(max_size=9),
            "error": st.none() | st.sampled_from(Code).map(lambda code: fail(code).to_dict()),
            "waiting_for": st.lists(st.text(max_size=9), max_size=3).map(tuple),
        },
    ),
    st.none() | st.integers(1, 10**6),
)
def test_any_job_fits_the_schema(changes: dict[str, Any], position: int | None) -> None:
    assert faults(status.document(job(**changes), position=position)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("state", "running"), ("priority", 101), ("progress", {}), ("error", {"code": "NO_SUCH"}), ("outputs", [{}])],
)
def test_the_schema_refuses_what_is_no_status(name: str, value: object) -> None:
    assert faults(status.document(job()) | {name: value})


def test_a_bundle_is_called_as_it_lies() -> None:
    waiting = status.document(job(form=Form.BUNDLE, file="p80_spot"))
    begun = status.document(job(form=Form.BUNDLE, file="p80_spot", begun=True))

    assert (waiting["files"]["job"], begun["files"]["job"]) == ("p80_spot", "bundle")


@pytest.mark.parametrize("state", State)
def test_percent_is_100_when_completed_and_unknown_where_nothing_renders(state: State) -> None:
    shown = status.document(job(state=state, progress=Progress(percent=42.5, stage="rendering")))["progress"]

    assert shown["percent"] == {State.COMPLETED: 100, State.RENDERING: 42.5}.get(state)
    assert shown["stage"] == ("rendering" if state is State.RENDERING else str(state))


def test_a_render_before_its_first_line_has_no_percent() -> None:
    assert status.document(job(state=State.RENDERING))["progress"]["percent"] is None


@pytest.mark.parametrize("state", sorted(OVER))
def test_what_is_over_expects_nothing(state: State) -> None:
    eta = {"starts_at": AT, "done_at": AT, "low": AT, "high": AT, "basis": "x"}

    assert set(status.document(job(state=state, eta=eta), eta=eta)["eta"].values()) == {None}


def test_an_estimate_of_the_queue_comes_before_the_jobs_own() -> None:
    assert status.document(job(eta={"basis": "own"}), eta={"basis": "queue"})["eta"] == {"basis": "queue"}
    assert status.document(job(eta={"basis": "own"}))["eta"] == {"basis": "own"}


def test_what_a_rebuild_needs_is_in_the_document() -> None:
    record = status.document(job(asked_priority=90, released=True, launches=3, retry_at=AT, digest="d"))["record"]

    assert record | {"deliveries": []} == record
    assert (record["asked_priority"], record["released"], record["launches"], record["retry_at"], record["digest"]) == (
        90, True, 3, AT, "d",
    )  # fmt: skip
