"""What the API takes and gives, as models: requests are checked by them, the OpenAPI document is made from them.

Answers are made by `core/status.py` and the service, not by these models; a test holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from watchrender.core import naming
from watchrender.core.failure import Code, Kind
from watchrender.core.job import Form
from watchrender.core.states import State

MOST_IDS = 10_000


class Answer(BaseModel):
    """Something that we say. More may be added to it later."""

    model_config = ConfigDict(extra="allow", use_enum_values=True)


class Request(BaseModel):
    """Something that we are told. What we do not know is refused, so that a typing error is not taken for consent."""

    model_config = ConfigDict(extra="forbid", strict=True)


Time = Annotated[str, Field(description="ISO 8601, UTC", json_schema_extra={"format": "date-time"})]
JobId = Annotated[str, Field(min_length=1, max_length=100, description="The job's id, 26 letters and digits.")]


# -- what a job says ----------------------------------------------------------------------------------------


class Fault(Answer):
    """An error: what and where (`message`), and what to do (`cure`). The kind says who must act."""

    code: Code
    kind: Kind
    message: str
    cure: str
    path: str | None = Field(default=None, description="JSON path in the job.")
    line: int | None = None
    column: int | None = None


class Files(Answer):
    """The names of what was dropped, in the job's folder."""

    job: str
    sidecar: str | None


class Progress(Answer):
    """How far the render is; null where that is not known."""

    percent: float | None
    frame: int | None
    frames: int | None
    fps: float | None
    stage: str


class Eta(Answer):
    """When a job will start and be done, with the band in which it most likely ends."""

    starts_at: Time | None = None
    done_at: Time | None = None
    low: Time | None = None
    high: Time | None = None
    basis: str | None = None


class Output(Answer):
    """A film, or an image sequence (then `frames` is given)."""

    path: str
    bytes: int
    sha256: str | None
    frames: int | None = None


class Attempt(Answer):
    """A finished try that counts."""

    number: int
    started_at: Time | None = None
    finished_at: Time | None = None
    exit_code: int | None = None
    error: dict[str, Any] | None = None


class Step(Answer):
    """One line of a job's history; from and to are the same where only something was noted."""

    at: Time
    from_: State | None = Field(alias="from")
    to: State
    why: str


class Status(Answer):
    """A job's status document: the same as its status file."""

    schema_: Literal["watchrender.status/1"] = Field(alias="schema")
    id: str
    job: str = Field(description="The job's key: sub-folder and name.")
    name: str
    sub: str
    retry_of: str | None
    state: State
    folder: str
    form: Form
    files: Files
    priority: int
    priority_from: str
    position: int | None = Field(description="1 for the next one; null for a job that is not queued.")
    hold: bool
    cancel_requested: bool
    attempt: int
    max_attempts: int
    not_before: Time | None
    waiting_for: list[str]
    warnings: list[str]
    progress: Progress
    eta: Eta
    created_at: str
    queued_at: str | None
    started_at: str | None
    finished_at: str | None
    updated_at: str
    template: str | None
    composition: str | None
    tags: list[str]
    node: str | None
    outputs: list[Output]
    attempts: list[Attempt]
    history: list[Step]
    superseded_by: str | None
    held_because: str | None
    error: Fault | None
    record: dict[str, Any] = Field(description="What watchrender needs to rebuild its record; not for others.")


class JobPage(Answer):
    """A page of jobs: those in work, the queue in its order, those that arrive, then those over, newest first."""

    jobs: list[Status]
    next: str | None = Field(
        description="The cursor of the next page, also after one without jobs; null after the last."
    )


class Setting(Answer):
    """One setting of a job, and where it came from."""

    key: str
    value: Any
    source: str = Field(
        description="sidecar, job, configuration; of the priority also filename, folder, request, nexrender or default"
    )


class SettingsOf(Answer):
    """What was asked for a job, setting by setting, and what counts where nothing was asked."""

    id: str
    settings: list[Setting]


class DocumentOf(Answer):
    """The job's own document as it lies in its folder."""

    id: str
    document: dict[str, Any]


class ServiceStatus(Answer):
    """How the service stands."""

    version: str
    node: str
    uptime: float = Field(description="Seconds since the start.")
    state: str = Field(default="running", description="starting, running, paused, waiting, draining, stopping.")
    paused: bool
    draining: bool = False
    waiting: list[Fault] = Field(description="What the queue waits for; empty while it runs.")
    counts: dict[str, int] = Field(description="Jobs by state.")
    health: dict[str, Any]


class Hour(Answer):
    """What came to its end in one hour."""

    at: Time
    completed: int
    failed: int
    cancelled: int


class Throughput(Answer):
    """The last 24 hours, oldest first; the last one is under way."""

    hours: list[Hour]


class Ready(Answer):
    """Can a render start now?"""

    ready: bool
    waiting: list[Fault]


class Alive(Answer):
    """The process lives."""

    status: Literal["ok"]


class ProblemDocument(Answer):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class Accepted(Answer):
    """A job that was written into the inbox."""

    id: str
    job: str | None = Field(default=None, description="Its key.")
    state: State | None = None


class Message(Answer):
    """One message of the stream."""

    id: int = Field(description="Rises by one with each message.")
    type: Literal["snapshot", "job", "progress", "queue", "service", "bye"]
    at: Time
    data: dict[str, Any] = Field(
        description="snapshot: {service, counts, jobs}, and gap where messages were missed; job: its status document; "
        "progress: {id, job, progress, eta}; queue: counts and what waits; service: as /api/v1/status; bye: nothing."
    )


class OneOfMany(Answer):
    """What became of the order for one job."""

    id: str
    status: int = Field(description="As for the single order: 200, 202, 404 or 409.")
    state: State | None = None
    detail: str | None = None


class ManyDone(Answer):
    """What became of an order for many jobs."""

    done: int
    refused: int
    jobs: list[OneOfMany]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 80.0 is the whole number 80."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_fault(value: str, fault: str | None) -> str:
    if fault is not None:
        raise ValueError(fault)
    return value


# -- what we are told ---------------------------------------------------------------------------------------


class Drop(Request):
    """A job to be written into the inbox like any drop."""

    name: str = Field(
        min_length=1,
        max_length=200,
        description="The job's name; the file will be NAME.json.",
        json_schema_extra={"pattern": naming.job_pattern()},
    )
    sub: str = Field(
        default="",
        max_length=500,
        description="The sub-folder of the inbox, such as clientA.",
        json_schema_extra={"pattern": naming.sub_pattern()},
    )
    job: dict[str, Any] = Field(description="nexrender's job document.")
    settings: dict[str, Any] | None = Field(default=None, description="What a sidecar would say.")

    @field_validator("name")
    @classmethod
    def _is_a_job(cls, name: str) -> str:
        return _without_fault(name, naming.not_for_a_job(name))

    @field_validator("sub")
    @classmethod
    def _stays_inside(cls, sub: str) -> str:
        return _without_fault(sub, naming.not_for_a_sub(sub))


class Selection(Request):
    """Many jobs: by their ids, or all that match a filter. One of the two must be given."""

    ids: list[JobId] | None = Field(default=None, min_length=1, max_length=MOST_IDS)
    state: Annotated[list[str], Field(min_length=1)] | str | None = Field(default=None, description="One, or several.")
    sub: str | None = Field(default=None, max_length=500)
    q: str | None = Field(default=None, min_length=1, max_length=200)
    tag: str | None = Field(default=None, min_length=1, max_length=200)
    code: str | None = Field(default=None, min_length=1, max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, found: Any) -> Any:
        """A filter that came out empty by mistake must not choose more than was meant."""
        if isinstance(found, dict) and (nulls := [name for name, value in found.items() if value is None]):
            raise ValueError(f"{nulls[0]} is null; leave it out")
        return found

    @model_validator(mode="after")
    def _one_way(self) -> Selection:
        by_filter = any(value is not None for value in (self.state, self.sub, self.q, self.tag, self.code))
        if (self.ids is not None) == by_filter:
            raise ValueError("give either ids, or a filter (state, sub, q, tag, code)")
        return self


class PriorityChange(Request):
    """A new priority."""

    priority: Annotated[int, BeforeValidator(_whole)] = Field(ge=0, le=100, description="0 to 100, higher first.")


class PrioritySelection(Selection):
    """A new priority for many jobs."""

    priority: Annotated[int, BeforeValidator(_whole)] = Field(ge=0, le=100, description="0 to 100, higher first.")


class SignIn(Request):
    """The server's token, for a browser that will hold a cookie."""

    token: str = Field(min_length=1, max_length=4096)
