"""What a job is: a value. A change makes a new one, and every change of state passes the table. Pure.

Times are stamps (`core.clock`). What is None, empty or at its default is left out of the record, so that fifty
thousand waiting jobs stay small.
"""

from __future__ import annotations

import secrets
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, Self

from watchrender.core.states import Event, State, is_over, next_state

#: Crockford's base 32: what an id is written in.
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#: A job's history is cut in the middle beyond this, so that a job that waits for a week stays readable.
HISTORY_LIMIT = 200


def new_id(milliseconds: int) -> str:
    """A sortable id of 26 letters: 48 bits of time, 80 of chance (the ULID layout)."""
    number = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


class Form(StrEnum):
    """How a job was dropped."""

    FILE = "file"
    BUNDLE = "bundle"  # a folder
    ZIP = "zip"


#: The stage of a film that is good and on its way to its place.
DELIVERING = "delivering"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a render is. None means: not known."""

    percent: float | None = None
    frame: int | None = None
    frames: int | None = None
    fps: float | None = None
    stage: str = "setup"

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("percent", "frame", "frames", "fps", "stage")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job, from the drop to its end."""

    id: str
    serial: int  # its number in the ledger
    arrival: int  # first come, first served among equal priorities; kept when the file is saved or renamed
    name: str
    sub: str = ""
    form: Form = Form.FILE
    state: State = State.PENDING

    folder: str = ""  # where it lies, relative to the root (absolute where done is elsewhere)
    file: str = ""  # the job file's (or zip's, or bundle folder's) name as dropped
    sidecar: str | None = None
    stamp: tuple[int, int, int] | None = None  # size, mtime_ns and inode of what was last read
    digest: str | None = None  # sha-256 of the job file's bytes, for retries by dropping again
    begun: bool = False  # it has been claimed: it lies in active/, never again in the inbox

    retry_of: str | None = None
    superseded_by: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # sidecar over the job's own, as written
    priority: int = 50
    priority_from: str = "default"
    asked_priority: int | None = None  # what a person asked last
    marked_hold: bool = False  # a NAME.hold lies in the inbox
    settings_hold: bool = False
    released: bool = False  # a person's release beats the sidecar's hold
    held_because: str | None = None  # held by the service itself, with the reason
    cancel_requested: bool = False

    attempts: tuple[dict[str, Any], ...] = ()  # finished tries that count
    launches: int = 0  # every start of a renderer, counted or not
    interrupted: int = 0  # starts during which the machine itself went down
    max_attempts: int = 4
    retry_at: str | None = None  # the backoff
    scheduled_at: str | None = None  # the sidecar's not_before
    waiting_for: tuple[str, ...] = ()
    waiting_since: str | None = None
    warnings: tuple[str, ...] = ()
    progress: Progress | None = None
    eta: dict[str, Any] | None = None

    created_at: str = ""
    queued_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    updated_at: str = ""

    template: str | None = None
    template_path: str | None = None
    composition: str | None = None
    frames: int | None = None  # how many the job asks for, where it says so
    tags: tuple[str, ...] = ()
    node: str | None = None
    outputs: tuple[dict[str, Any], ...] = ()
    deliveries: tuple[dict[str, Any], ...] = ()  # films that go elsewhere: {"from": name in its folder, "to": path}
    history: tuple[dict[str, Any], ...] = ()
    error: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        return f"{self.sub}/{self.name}" if self.sub else self.name

    @property
    def over(self) -> bool:
        return is_over(self.state)

    @property
    def hold(self) -> bool:
        return self.marked_hold or self.held_because is not None or (self.settings_hold and not self.released)

    @property
    def attempt(self) -> int:
        """The number of the try that runs or ran last; 0 before the first."""
        return len(self.attempts) + (self.state is State.RENDERING)

    @property
    def not_before(self) -> str | None:
        """The later of the backoff and the sidecar's own wish."""
        return max(filter(None, (self.retry_at, self.scheduled_at)), default=None)

    def advance(self, event: Event, *, at: str, why: str, **changes: Any) -> Job:
        """The job after an event. Raises `states.Refused` where the table has no such row."""
        after = next_state(self.state, event)
        return self.but(**{"state": after, "updated_at": at, "history": self._told(at, after, why), **changes})

    def noted(self, *, at: str, why: str | None = None, **changes: Any) -> Job:
        """The job with other facts in the same state; `why` adds a line to its history."""
        history = self.history if why is None else self._told(at, self.state, why)
        return self.but(**{"updated_at": at, "history": history, **changes})

    def but(self, **changes: Any) -> Job:
        """The job with other facts. As `dataclasses.replace`, in half its time: a full inbox is 200 000 of these."""
        return Job(**{**dict(zip(_NAMES, _FACTS(self), strict=True)), **changes})

    def _told(self, at: str, after: State, why: str) -> tuple[dict[str, Any], ...]:
        line = {"at": at, "from": str(self.state), "to": str(after), "why": why}
        return _shortened((*self.history, line))

    def to_record(self) -> dict[str, Any]:
        """The ledger's document: only what differs from the defaults. Progress and eta are not kept."""
        return {
            name: value
            for (name, default), value in zip(_DEFAULTS.items(), _KEPT(self), strict=True)
            if value is not default and value != default and value not in (None, (), {})
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """The job a ledger document tells of; fields it does not know are left out."""
        found = {name: value for name, value in record.items() if name in _DEFAULTS}
        found["state"] = State(found.get("state", State.PENDING))
        found["form"] = Form(found.get("form", Form.FILE))
        for name in ("attempts", "waiting_for", "warnings", "tags", "outputs", "deliveries", "history", "stamp"):
            if name in found:
                found[name] = tuple(found[name])
        return cls(**found)


def _shortened(history: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    if len(history) <= HISTORY_LIMIT:
        return history
    kept_first = HISTORY_LIMIT // 4
    return history[:kept_first] + history[kept_first + len(history) - HISTORY_LIMIT :]


_NOT_KEPT = {"progress", "eta"}
_DEFAULTS: dict[str, Any] = {
    item.name: (item.default if item.default is not MISSING else None)
    for item in fields(Job)
    if item.name not in _NOT_KEPT
}
_NAMES = tuple(item.name for item in fields(Job))
_FACTS = attrgetter(*_NAMES)
_KEPT = attrgetter(*_DEFAULTS)
