"""The life of a job: every pair of state and event, and what is derived from the table."""

from __future__ import annotations

from itertools import product

import pytest

from watchrender.core.states import (
    OVER,
    TABLE,
    Event,
    Refused,
    State,
    allowed,
    diagram,
    is_over,
    next_state,
)

#: The table once more, as people are told of it: a change of the rules has to be written down twice.
ROWS = {
    "pending": {"check": "validating", "cancel": "cancelled"},
    "validating": {
        "change": "pending",
        "restore": "pending",
        "accept": "queued",
        "reject": "failed",
        "cancel": "cancelled",
    },
    "queued": {"change": "pending", "start": "rendering", "reject": "failed", "cancel": "cancelled"},
    "rendering": {
        "finish": "completed",
        "retry": "queued",
        "restore": "queued",
        "give up": "failed",
        "cancel": "cancelled",
    },
    "completed": {},
    "failed": {},
    "cancelled": {},
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_leads_where_it_should_or_is_refused(state: State, event: Event) -> None:
    expected = ROWS[state].get(event)

    if expected is not None:
        assert next_state(state, event) is State(expected)
        return
    with pytest.raises(Refused, match=f"a job that is {state} cannot {event}") as refused:
        next_state(state, event)
    assert (refused.value.state, refused.value.event) == (state, event)


def test_over_is_what_has_no_way_out() -> None:
    assert sorted(OVER) == ["cancelled", "completed", "failed"]
    assert [state for state in State if is_over(state)] == [State.COMPLETED, State.FAILED, State.CANCELLED]


def test_every_state_can_be_reached_and_every_job_can_come_to_an_end() -> None:
    reached, ends = {State.PENDING}, set(OVER)
    for _ in State:
        reached |= {after for (before, _), after in TABLE.items() if before in reached}
        ends |= {before for (before, _), after in TABLE.items() if after in ends}

    assert reached == set(State)
    assert ends == set(State)


@pytest.mark.parametrize("state", State)
def test_the_buttons_are_those_the_table_has_rows_for(state: State) -> None:
    buttons = allowed(state)

    assert ("cancel" in buttons) == ((state, Event.CANCEL) in TABLE)
    assert ("retry" in buttons) == is_over(state)
    assert ("hold" in buttons) == ("release" in buttons) == (state in ("pending", "validating", "queued"))
    assert ("prioritize" in buttons) == (not is_over(state))


def test_the_diagram_has_one_line_for_each_row() -> None:
    lines = diagram().splitlines()

    assert lines[:2] == ["stateDiagram-v2", "    [*] --> pending"]
    assert "    rendering --> failed: give up" in lines
    assert len(lines) == 2 + len(TABLE) + len(OVER)
    assert diagram().endswith("    cancelled --> [*]\n")
