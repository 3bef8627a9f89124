"""What is told, to programs and to people. Pure: what happened in, a message out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from watchrender.core import clock, status
from watchrender.core.failure import Failure
from watchrender.core.job import Job
from watchrender.core.states import State


class Event(StrEnum):
    """What a target can be told of (config `notify.NAME.on`)."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ENVIRONMENT = "environment"
    QUEUE_EMPTY = "queue-empty"
    TEST = "test"


#: How a job may end: what the job's own `notify` is about.
ENDS = {State.COMPLETED: Event.COMPLETED, State.FAILED: Event.FAILED, State.CANCELLED: Event.CANCELLED}
_LEFT_OUT = ("history", "record", "eta", "position")  # of a status: long, or old at once
_MOST_NAMED = 20


class Tone(StrEnum):
    """How a person should take it; apprise's words."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One thing to tell. The id stays the same however often it is sent: a receiver may see it twice."""

    id: str
    event: Event
    at: str
    title: str
    text: str
    tone: Tone
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The name programs know it by."""
        return f"job.{self.event}" if "job" in self.data else f"service.{self.event}"

    def payload(self) -> dict[str, Any]:
        """The body of a webhook."""
        return {"type": self.type, "timestamp": self.at, "data": self.data}

    def to_record(self) -> dict[str, Any]:
        return {"id": self.id, "event": str(self.event), "at": self.at, "title": self.title, "text": self.text,
                "tone": str(self.tone), "data": self.data}  # fmt: skip

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> Self:
        return cls(**{**found, "event": Event(found["event"]), "tone": Tone(found["tone"])})


def of_job(job: Job, *, node: str, at: str) -> Message | None:
    """What there is to tell of a job's new state; None: nothing."""
    event = ENDS.get(job.state) or (Event.STARTED if job.state is State.RENDERING and job.launches == 1 else None)
    if event is None:
        return None
    tones = {Event.COMPLETED: Tone.SUCCESS, Event.FAILED: Tone.FAILURE}
    whole = status.document(job)
    return Message(
        id=f"{job.id}.{event}",
        event=event,
        at=at,
        title=_title(job, event),
        text=_text(job, event, node),
        tone=tones.get(event, Tone.INFO),
        data={name: value for name, value in whole.items() if name not in _LEFT_OUT},
    )


def _title(job: Job, event: Event) -> str:
    code = f" ({job.error.get('code')})" if event is Event.FAILED and job.error else ""
    return f"{job.key} {event}{code}"


def _text(job: Job, event: Event, node: str) -> str:
    lines: list[str] = []
    if event is Event.STARTED:
        lines.append(f"{job.composition or job.name} renders on {node}.")
    elif event is Event.COMPLETED:
        lines += [f"{output.get('path')}{_size(output.get('bytes'))}" for output in job.outputs]
        lines.append(f"Rendered on {job.node or node}{_took(job)}{_tries(job)}.")
        lines += [f"Warning: {warning}" for warning in job.warnings[:3]]
    elif event is Event.FAILED and job.error:
        lines += [str(job.error.get("message", "")), f"What to do: {job.error.get('cure', '')}"]
    elif job.history:
        lines.append(str(job.history[-1].get("why", "")))
    if job.over and job.folder:
        lines.append(f"Folder: {job.folder}")
    return "\n".join(lines)


def _size(count: object) -> str:
    return f" ({count / 1e6:.1f} MB)" if isinstance(count, int) else ""


def _took(job: Job) -> str:
    if not (job.started_at and job.finished_at):
        return ""
    seconds = max(0.0, clock.seconds_between(job.started_at, job.finished_at))
    return f" in {seconds:.0f} s" if seconds < 120 else f" in {seconds / 60:.0f} min"


def _tries(job: Job) -> str:
    return f", on try {len(job.attempts)}" if len(job.attempts) > 1 else ""


def of_environment(
    fresh: Iterable[Failure], over: Iterable[str], now: Iterable[str], *, message_id: str, node: str, at: str
) -> Message:
    """The queue waits, or goes on: `fresh` is news, `over` was told of before and has passed, `now` is all that the
    queue waits for."""
    fresh, over, now = list(fresh), list(over), list(now)
    if fresh:
        title = f"{node}: the queue waits ({', '.join(str(failure.code) for failure in fresh)})"
    elif now:
        title = f"{node}: the queue still waits ({', '.join(now)})"
    else:
        title = f"{node}: the queue goes on"
    lines = [f"{failure.message}\nWhat to do: {failure.cure}" for failure in fresh]
    lines += [f"{code} is over." for code in over]
    return Message(
        id=message_id,
        event=Event.ENVIRONMENT,
        at=at,
        title=title,
        text="\n".join(lines),
        tone=Tone.WARNING if now else Tone.SUCCESS,
        data={"node": node, "waiting": [failure.to_dict() for failure in fresh], "over": over, "still": now},
    )


def of_empty_queue(last: Job, held: int, *, message_id: str, node: str, at: str) -> Message:
    rest = f" {held} held job{'s wait' if held != 1 else ' waits'} for a release." if held else ""
    return Message(
        id=message_id,
        event=Event.QUEUE_EMPTY,
        at=at,
        title=f"{node}: the queue is empty",
        text=f"The last job was {last.key} ({last.state}).{rest}",
        tone=Tone.INFO,
        data={"node": node, "last": last.key, "held": held},
    )


def of_test(*, message_id: str, node: str, at: str) -> Message:
    return Message(
        id=message_id,
        event=Event.TEST,
        at=at,
        title=f"watchrender on {node}: a test",
        text="Nothing happened. Somebody ran `watchrender notify test`, and it arrived.",
        tone=Tone.INFO,
        data={"node": node},
    )


def digest(messages: list[Message]) -> Message:
    """Many messages for a person as one."""
    first = messages[0]
    tones = [message.tone for message in messages]
    worst = next(tone for tone in (Tone.FAILURE, Tone.WARNING, Tone.INFO, Tone.SUCCESS) if tone in tones)
    named = [f"- {message.title}" for message in messages[:_MOST_NAMED]]
    if len(messages) > _MOST_NAMED:
        named.append(f"- and {len(messages) - _MOST_NAMED} more")
    return Message(
        id=first.id,
        event=first.event,
        at=messages[-1].at,
        title=f"{len(messages)} messages: {first.title} and others",
        text="\n".join(named),
        tone=worst,
        data=first.data,
    )
