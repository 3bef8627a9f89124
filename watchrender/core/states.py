"""The life of a job: (state, event) → state. Pure.

Everything that may change a job's state is a row of `TABLE`; a pair without a row is refused.
Which states are over, which buttons the page offers and the diagram in the docs are derived from it.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands."""

    PENDING = "pending"  # seen, settling
    VALIDATING = "validating"  # being read and judged, or waiting for footage
    QUEUED = "queued"
    RENDERING = "rendering"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What happens to a job."""

    CHECK = "check"  # complete: read it
    CHANGE = "change"  # the file changed, or grows again
    ACCEPT = "accept"
    REJECT = "reject"  # it does not pass
    START = "start"
    FINISH = "finish"
    RETRY = "retry"  # transient failure: later again
    RESTORE = "restore"  # shutdown, crash, environment: put back, no try used
    GIVE_UP = "give up"
    CANCEL = "cancel"


TABLE: dict[tuple[State, Event], State] = {
    (State.PENDING, Event.CHECK): State.VALIDATING,
    (State.PENDING, Event.CANCEL): State.CANCELLED,
    (State.VALIDATING, Event.CHANGE): State.PENDING,
    (State.VALIDATING, Event.RESTORE): State.PENDING,
    (State.VALIDATING, Event.ACCEPT): State.QUEUED,
    (State.VALIDATING, Event.REJECT): State.FAILED,
    (State.VALIDATING, Event.CANCEL): State.CANCELLED,
    (State.QUEUED, Event.CHANGE): State.PENDING,
    (State.QUEUED, Event.START): State.RENDERING,
    (State.QUEUED, Event.REJECT): State.FAILED,
    (State.QUEUED, Event.CANCEL): State.CANCELLED,
    (State.RENDERING, Event.FINISH): State.COMPLETED,
    (State.RENDERING, Event.RETRY): State.QUEUED,
    (State.RENDERING, Event.RESTORE): State.QUEUED,
    (State.RENDERING, Event.GIVE_UP): State.FAILED,
    (State.RENDERING, Event.CANCEL): State.CANCELLED,
}

#: The states a job never leaves: those without a row.
OVER: frozenset[State] = frozenset(State) - {state for state, _ in TABLE}


class Refused(Exception):
    """This event cannot happen in this state. Not a fault of the job: the caller asked too late or too early."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a job that is {state} cannot {event}")
        self.state = state
        self.event = event


def next_state(state: State, event: Event) -> State:
    """The state after `event`. Raises `Refused` where the table has no row."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise Refused(state, event) from None


def is_over(state: State) -> bool:
    """Will this job never change again?"""
    return state in OVER


def allowed(state: State) -> list[str]:
    """What a person may ask of a job in this state: the page's buttons and the API's 409 come from here."""
    if is_over(state):
        return ["retry"]
    asked = ["cancel"]
    if (state, Event.START) in TABLE or state in (State.PENDING, State.VALIDATING):
        asked += ["hold", "release"]
    return [*asked, "prioritize"]


def diagram() -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.PENDING}"]
    lines += [f"    {state} --> {after}: {event}" for (state, event), after in TABLE.items()]
    lines += [f"    {state} --> [*]" for state in State if is_over(state)]
    return "\n".join(lines) + "\n"
