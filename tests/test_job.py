"""What a job is: a value, its record, its history."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.job import HISTORY_LIMIT, Form, Job, Progress, new_id
from watchrender.core.states import Event, Refused, State

AT = "2026-11-24T12:00:00.000Z"
LATER = "2026-11-24T12:00:01.000Z"


def job(**changes: Any) -> Job:
    return Job(**({"id": new_id(1), "serial": 1, "arrival": 1, "name": "spot"} | changes))


def test_a_change_makes_a_new_job_and_leaves_the_old_one() -> None:
    old = job()

    new = old.advance(Event.CHECK, at=AT, why="complete", stamp=(1, 2, 3))

    assert (old.state, new.state) == (State.PENDING, State.VALIDATING)
    assert new.history == ({"at": AT, "from": "pending", "to": "validating", "why": "complete"},)
    assert (new.stamp, new.updated_at) == ((1, 2, 3), AT)
    with pytest.raises(FrozenInstanceError):
        new.state = State.QUEUED  # type: ignore[misc]


def test_what_the_table_refuses_changes_nothing() -> None:
    with pytest.raises(Refused):
        job().advance(Event.FINISH, at=AT, why="no")


def test_a_note_keeps_the_state_and_says_why_only_where_there_is_a_reason() -> None:
    noted = job(state=State.QUEUED).noted(at=AT, why="held by a person", marked_hold=True)
    silent = noted.noted(at=LATER, waiting_for=("a.mov",))

    assert noted.history[-1] == {"at": AT, "from": "queued", "to": "queued", "why": "held by a person"}
    assert (silent.history, silent.updated_at, silent.waiting_for) == (noted.history, LATER, ("a.mov",))


def test_a_long_history_loses_its_middle_and_never_its_ends() -> None:
    made = job(state=State.QUEUED)
    for number in range(3 * HISTORY_LIMIT):
        made = made.noted(at=AT, why=str(number))

    whys = [line["why"] for line in made.history]
    assert len(whys) == HISTORY_LIMIT
    assert whys[:3] == ["0", "1", "2"]
    assert whys[-1] == str(3 * HISTORY_LIMIT - 1)
    assert whys[-100:] == [str(number) for number in range(3 * HISTORY_LIMIT - 100, 3 * HISTORY_LIMIT)]


def test_the_key_is_the_sub_folder_and_the_name() -> None:
    assert job().key == "spot"
    assert job(sub="clientA/show").key == "clientA/show/spot"


@pytest.mark.parametrize(
    ("facts", "held"),
    [
        ({}, False),
        ({"marked_hold": True}, True),
        ({"settings_hold": True}, True),
        ({"settings_hold": True, "released": True}, False),
        ({"marked_hold": True, "released": True}, True),  # a mark laid after the release
        ({"held_because": "the machine went down"}, True),
    ],
)
def test_a_job_is_held_by_mark_settings_or_the_service(facts: dict[str, Any], held: bool) -> None:
    assert job(**facts).hold is held


def test_the_number_of_a_try_counts_finished_ones_and_the_one_that_runs() -> None:
    tries = ({"number": 1}, {"number": 2})

    assert job().attempt == 0
    assert job(state=State.RENDERING).attempt == 1
    assert job(state=State.QUEUED, attempts=tries).attempt == 2
    assert job(state=State.RENDERING, attempts=tries).attempt == 3


def test_not_before_is_the_later_of_backoff_and_wish() -> None:
    assert job().not_before is None
    assert job(retry_at=AT).not_before == AT
    assert job(retry_at=AT, scheduled_at=LATER).not_before == LATER
    assert job(retry_at=LATER, scheduled_at=AT).not_before == LATER


def test_ids_sort_by_their_time_and_are_never_the_same() -> None:
    ids = [new_id(milliseconds) for milliseconds in (0, 1, 1_764_000_000_000, 1_764_000_000_001, (1 << 48) - 1)]

    assert ids == sorted(ids)
    assert {len(found) for found in ids} == {26}
    assert len({new_id(5) for _ in range(1000)}) == 1000
    assert set("".join(ids)) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


# -- the record ---------------------------------------------------------------------------------------------------


def test_a_waiting_jobs_record_holds_only_what_is_not_usual() -> None:
    assert job().to_record().keys() == {"id", "serial", "arrival", "name"}


TEXT = st.text(max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "form": st.sampled_from(Form),
    "state": st.sampled_from(State),
    "sub": TEXT,
    "file": TEXT,
    "sidecar": st.none() | TEXT,
    "stamp": st.none() | st.tuples(*[st.integers(0, 2**63)] * 3),
    "begun": st.booleans(),
    "released": st.booleans(),
    "settings": st.dictionaries(TEXT, st.integers() | TEXT, max_size=3),
    "priority": st.integers(0, 100),
    "asked_priority": st.none() | st.integers(0, 100),
    "attempts": st.lists(st.dictionaries(TEXT, st.integers(), max_size=2), max_size=3).map(tuple),
    "waiting_for": st.lists(TEXT, max_size=3).map(tuple),
    "outputs": st.lists(st.dictionaries(TEXT, st.none() | TEXT, max_size=2), max_size=3).map(tuple),
    "max_attempts": st.integers(1, 1001),
    "error": st.none() | st.dictionaries(TEXT, TEXT, min_size=1, max_size=3),
    "frames": st.none() | st.integers(0, 10**6),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_a_record_gives_the_same_job_back_through_json(changes: dict[str, Any]) -> None:
    made = job(**changes)

    assert Job.from_record(json.loads(json.dumps(made.to_record()))) == made


def test_progress_and_eta_are_not_kept() -> None:
    made = job(progress=Progress(percent=5.0), eta={"done_at": AT})

    assert Job.from_record(made.to_record()).progress is None
    assert Job.from_record(made.to_record()).eta is None


def test_a_record_of_a_newer_version_is_read_without_what_it_does_not_know() -> None:
    assert Job.from_record(job().to_record() | {"colour": "blue"}).name == "spot"


def test_a_sequence_in_the_record_is_a_tuple_in_the_job() -> None:
    # A list in a frozen value could be changed behind the ledger's back.
    record = job().to_record() | {
        item.name: []
        for item in fields(Job)
        if str(item.type).startswith("tuple[dict") or str(item.type).startswith("tuple[str")
    }
    made = Job.from_record(record)

    assert all(not isinstance(getattr(made, item.name), list) for item in fields(Job))
