"""What is believed of a status file: whoever may write on the share may have written it.

Names are taken only where they are bare, places only where they are ours or films may be delivered to, values only of
their own type.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from watchrender.config.model import Config
from watchrender.core import access, naming
from watchrender.core.failure import Failure
from watchrender.core.job import Form
from watchrender.core.states import State
from watchrender.judge import facts_of, policy_of
from watchrender.spool.folders import Folders

_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")  # it becomes part of file names


def job_from_status(status: dict[str, Any]) -> dict[str, Any] | None:
    """A job as its status file tells of it: `{"key", "fields"}`; None where the file tells too little.

    Whoever may write on the share may write such a file, so each value is checked for its type, and names stay bare.
    """
    files = status.get("files")
    sub, key = status.get("sub"), status.get("job")
    name = naming.last_of(key, sub) if isinstance(key, str) and isinstance(sub, str) else None
    if not isinstance(files, dict) or not _is_bare(name) or not isinstance(sub, str) or not _ID.fullmatch(status["id"]):
        return None
    if sub and any(not _is_bare(part) for part in sub.split("/")):
        return None
    told = status.get("record")
    record: dict[str, Any] = told if isinstance(told, dict) else {}
    form = Form(status["form"]) if status.get("form") in set(Form) else Form.FILE
    file = files.get("job") if _is_bare(files.get("job")) else f"{name}.json"
    if form is Form.BUNDLE and file == "bundle":
        file = str(status["name"] if _is_bare(status.get("name")) else name)
    fields: dict[str, Any] = {
        "id": str(status["id"]),
        "name": name,
        "sub": sub,
        "form": form,
        "file": file,
        "sidecar": files.get("sidecar") if _is_bare(files.get("sidecar")) else None,
        "folder": str(status.get("folder") or ""),
        "priority": _number(status.get("priority"), 50, 0, 100),
        "priority_from": str(status.get("priority_from") or "default"),
        "max_attempts": _number(status.get("max_attempts"), 4, 1, 1001),
        "arrival": _number(record.get("arrival"), 0, 0, 2**53) or None,
        "launches": _number(record.get("launches"), 0, 0, 10**6),
        "interrupted": _number(record.get("interrupted"), 0, 0, 10**6),
        "released": record.get("released") is True,
        "settings_hold": record.get("settings_hold", record.get("released")) is True,
        "cancel_requested": status.get("cancel_requested") is True,
        "history": tuple(line for line in status.get("history") or () if isinstance(line, dict)),
        **told_by(
            status,
            ("attempts", "warnings", "tags"),
            (
                "retry_of",
                "created_at",
                "queued_at",
                "started_at",
                "finished_at",
                "template",
                "composition",
                "node",
                "error",
                "superseded_by",
            ),
        ),
    }
    asked = record.get("asked_priority")
    if isinstance(asked, int) and 0 <= asked <= 100:
        fields["asked_priority"] = asked
    for key in ("digest", "retry_at"):
        if isinstance(record.get(key), str):
            fields[key] = record[key]
    if isinstance(status.get("held_because"), str):
        fields["held_because"] = status["held_because"]
    return {"key": f"{sub}/{name}" if sub else name, "fields": fields}


def delivery_check(config: Config, folders: Folders) -> Callable[[str], bool]:
    """Answers whether the policy allows a film to be delivered to this full path."""
    facts = replace(facts_of(config, folders), rules=())  # what a status tells is a path of this machine already
    allowed = policy_of(config)

    def may_deliver(target: str) -> bool:
        if not PurePath(target).is_absolute():
            return False
        return not isinstance(access.delivery_target(target, path="output", facts=facts, policy=allowed), Failure)

    return may_deliver


def outputs_told(status: dict[str, Any], may_deliver: Callable[[str], bool]) -> tuple[dict[str, Any], ...]:
    """The outputs a status file names: beside it, or where films may be delivered; nothing else is handed out later."""
    said = status.get("outputs")
    found = []
    for entry in said if isinstance(said, list) else ():
        path = entry.get("path") if isinstance(entry, dict) else None
        if isinstance(path, str) and (is_inside(path) or may_deliver(path)):
            found.append(entry)
    return tuple(found)


def arrival_of(status: dict[str, Any]) -> int:
    """Its place among those of one priority; 0 where the file does not tell."""
    record = status.get("record")
    return _number(record.get("arrival") if isinstance(record, dict) else 0, 0, 0, 2**53)


def state_of(status: dict[str, Any]) -> State:
    """A state we do not know counts as failed: over, and to be looked at."""
    return State(status["state"]) if status["state"] in set(State) else State.FAILED


def told_by(status: dict[str, Any], lists: tuple[str, ...], values: tuple[str, ...]) -> dict[str, Any]:
    """Of these fields those that have a type a record may hold."""
    found: dict[str, Any] = {name: tuple(status[name]) for name in lists if isinstance(status.get(name), list)}
    return found | {name: status[name] for name in values if isinstance(status.get(name), (str, dict))}


def is_inside(name: object) -> bool:
    """Does this name lead to somewhere below the folder it is used in?"""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePath(name)
    return not path.is_absolute() and not path.drive and ".." not in path.parts


def _is_bare(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def _number(value: object, default: int, low: int, high: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high else default
