"""What a start puts right: every (place, state), cell by cell."""

from __future__ import annotations

import itertools

import pytest

from watchrender.core.recovery import TABLE, Place, Repair, repair
from watchrender.core.states import State, is_over

_ROWS = """
            pending      validating   queued       rendering    completed  failed     cancelled
inbox       nothing      judge-again  nothing      put-back     nothing    nothing    close
active      claimed      claimed      claimed      put-back     nothing    nothing    close
closing     close        close        close        close        clear      clear      close
done        record       record       record       record       nothing    nothing    nothing
failed      record       record       record       record       nothing    nothing    nothing
cancelled   record       record       record       record       nothing    nothing    note
nowhere     withdrawn    judge-again  withdrawn    put-back     nothing    nothing    note
vanished    lost         lost         lost         lost         nothing    nothing    note
"""


def _cells() -> list[tuple[Place, State, Repair]]:
    head, *rows = [line.split() for line in _ROWS.strip().splitlines()]
    return [
        (Place(row[0]), State(state), Repair(word.replace("-", " ")))
        for row in rows
        for state, word in zip(head, row[1:], strict=True)
    ]


@pytest.mark.parametrize(("place", "state", "expected"), _cells())
def test_what_is_put_right_for_a_job_found_there_and_recorded_so(place: Place, state: State, expected: Repair) -> None:
    assert repair(place, state) is expected


def test_every_pair_has_an_answer() -> None:
    assert {(place, state) for place, state, _ in _cells()} == set(itertools.product(Place, State))
    assert set(TABLE) == set(itertools.product(Place, State))


def test_a_job_that_is_over_is_never_rendered_again() -> None:
    again = {Repair.JUDGE_AGAIN, Repair.PUT_BACK, Repair.CLAIMED}

    assert not [place for place in Place for state in State if is_over(state) and repair(place, state) in again]


def test_a_folder_that_has_arrived_or_is_decided_is_never_rendered_again() -> None:
    decided = (Place.CLOSING, Place.DONE, Place.FAILED, Place.CANCELLED)
    allowed = {Repair.CLOSE, Repair.RECORD, Repair.CLEAR, Repair.NOTE, Repair.NOTHING}

    assert {repair(place, state) for place in decided for state in State} <= allowed
