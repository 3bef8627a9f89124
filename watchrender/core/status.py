"""The status document: what people and tools read about a job. Pure: a job in, a mapping out.

One shape for the files beside the outputs, the API, the stream and the page (`watchrender schema status`).
"""

from __future__ import annotations

from typing import Any

from watchrender.core import naming
from watchrender.core.failure import Code, Kind
from watchrender.core.job import Form, Job, Progress
from watchrender.core.states import State

SCHEMA = "watchrender.status/1"
_NO_ETA = {"starts_at": None, "done_at": None, "low": None, "high": None, "basis": None}
#: The expected times of so many of the queue are told: further off they would be guesses, and cost a look each.
ETAS_TOLD = 500
_FAR_OFF = _NO_ETA | {"basis": f"told for the first {ETAS_TOLD} of the queue"}


def document(job: Job, *, position: int | None = None, eta: dict[str, Any] | None = None) -> dict[str, Any]:
    """The status document of a job, version 1. `eta` where it is known better than the job itself tells."""
    files: dict[str, Any] = {"job": "bundle" if job.begun and job.form is Form.BUNDLE else job.file}
    files["sidecar"] = job.sidecar
    return {
        "schema": SCHEMA,
        "id": job.id,
        "job": job.key,
        "name": full_name(job),
        "sub": job.sub,
        "retry_of": job.retry_of,
        "state": str(job.state),
        "folder": job.folder,
        "form": str(job.form),
        "files": files,
        "priority": job.priority,
        "priority_from": job.priority_from,
        "position": position,
        "hold": job.hold,
        "cancel_requested": job.cancel_requested,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "not_before": job.not_before,
        "waiting_for": list(job.waiting_for),
        "warnings": list(job.warnings),
        "progress": progress(job),
        "eta": (eta or job.eta or dict(_FAR_OFF if (position or 0) > ETAS_TOLD else _NO_ETA))
        if not job.over
        else dict(_NO_ETA),
        "created_at": job.created_at,
        "queued_at": job.queued_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "updated_at": job.updated_at,
        "template": job.template,
        "composition": job.composition,
        "tags": list(job.tags),
        "node": job.node,
        "outputs": list(job.outputs),
        "attempts": list(job.attempts),
        "history": list(job.history),
        "superseded_by": job.superseded_by,
        "held_because": job.held_because,
        "error": job.error,
        # What a rebuild from the folders needs beside the above (the ledger may be lost, the folders are not).
        "record": _record(job),
    }


def full_name(job: Job) -> str:
    """The name as it was dropped, whole: the key has a `~2` where it was taken, and is cut where it is too long."""
    return naming.parse_name(job.file, is_dir=job.form is Form.BUNDLE).name if job.file else job.name


def progress(job: Job) -> dict[str, Any]:
    """Progress as it is shown: 100 when completed, nothing known before the render."""
    if job.state is State.COMPLETED:
        shown = (job.progress or Progress()).to_dict()
        return shown | {"percent": 100, "stage": "completed"}
    if job.state is State.RENDERING and job.progress is not None:
        return job.progress.to_dict()
    return Progress(stage=str(job.state)).to_dict()


def _record(job: Job) -> dict[str, Any]:
    return {
        "arrival": job.arrival,
        "asked_priority": job.asked_priority,
        "released": job.released,
        "settings_hold": job.settings_hold,
        "launches": job.launches,
        "interrupted": job.interrupted,
        "digest": job.digest,
        "retry_at": job.retry_at,
        "deliveries": list(job.deliveries),
    }


def schema_status() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a status file."""
    text, number, flag = {"type": "string"}, {"type": ["number", "null"]}, {"type": "boolean"}
    maybe_text = {"type": ["string", "null"]}
    texts = {"type": "array", "items": text}
    error = {
        "type": ["object", "null"],
        "required": ["code", "kind", "message", "cure"],
        "properties": {
            "code": {"enum": [str(code) for code in Code]},
            "kind": {"enum": [str(kind) for kind in Kind]},
            "message": text,
            "cure": text,
            "path": text,
            "line": {"type": "integer"},
            "column": {"type": "integer"},
        },
    }
    properties: dict[str, Any] = {
        "schema": {"const": SCHEMA},
        "state": {"enum": [str(state) for state in State]},
        "form": {"enum": [str(form) for form in Form]},
        "files": {"type": "object", "properties": {"job": text, "sidecar": maybe_text}, "required": ["job", "sidecar"]},
        "priority": {"type": "integer", "minimum": 0, "maximum": 100},
        "position": {"type": ["integer", "null"], "minimum": 1},
        "attempt": {"type": "integer", "minimum": 0},
        "max_attempts": {"type": "integer", "minimum": 1},
        "progress": {
            "type": "object",
            "properties": {"percent": number, "frame": number, "frames": number, "fps": number, "stage": text},
            "required": ["percent", "frame", "frames", "fps", "stage"],
        },
        "eta": {"type": "object", "properties": dict.fromkeys(_NO_ETA, maybe_text), "required": list(_NO_ETA)},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": text,
                    "bytes": {"type": "integer"},
                    "sha256": maybe_text,
                    "frames": {"type": "integer"},
                },
                "required": ["path", "bytes", "sha256"],
            },
        },
        "attempts": {"type": "array", "items": {"type": "object", "required": ["number", "started_at", "finished_at"]}},
        "history": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"at": text, "from": maybe_text, "to": text, "why": text},
                "required": ["at", "from", "to", "why"],
            },
        },
        "error": error,
        "record": {"type": "object"},
    }
    properties |= dict.fromkeys(
        ("id", "job", "name", "sub", "folder", "priority_from", "created_at", "updated_at"), text
    )
    properties |= dict.fromkeys(("hold", "cancel_requested"), flag)
    properties |= dict.fromkeys(("waiting_for", "warnings", "tags"), texts)
    properties |= dict.fromkeys(
        [
            "retry_of",
            "not_before",
            "queued_at",
            "started_at",
            "finished_at",
            "template",
            "composition",
            "node",
            "superseded_by",
            "held_because",
        ],
        maybe_text,
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "watchrender status",
        "description": "What NAME.status.json says about a job.",
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
    }
