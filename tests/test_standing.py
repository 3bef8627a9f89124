from __future__ import annotations

from typing import Any

import pytest

from watchrender.core import standing as rules
from watchrender.core.failure import Code
from watchrender.core.standing import Phase, Standing, Stillness


def stands(state: str = "started", **facts: Any) -> Standing:
    return Standing(uid="A1", state=state, **facts)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("created", Phase.WAITING),
        ("queued", Phase.WAITING),
        ("picked", Phase.WORKING),
        ("started", Phase.WORKING),
        ("render:dorender", Phase.WORKING),
        ("a word of a later version", Phase.WORKING),
        ("finished", Phase.FINISHED),
        ("error", Phase.FAILED),
    ],
)
def test_every_state_means_one_of_four_things(state: str, phase: Phase) -> None:
    assert stands(state).phase is phase


def test_a_change_of_the_time_alone_is_no_news() -> None:
    assert stands(updated="1").news == stands(updated="2").news
    assert stands(percent=1.0).news != stands(percent=2.0).news


# --- handing over -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handed", "leaving", "landing", "closed", "room"),
    [
        (0, 0, 0, False, True),
        (1, 0, 0, False, True),
        (2, 0, 0, False, False),
        (1, 1, 0, False, False),  # a worker may still be at what was given up
        (0, 0, 2, False, False),  # films pile up before the verdict
        (0, 0, 0, True, True),  # one tries whether what closed the queue is over
        (1, 0, 0, True, False),
    ],
)
def test_few_are_handed_over(handed: int, leaving: int, landing: int, closed: bool, room: bool) -> None:
    assert rules.has_room(most=2, handed=handed, leaving=leaving, landing=landing, closed=closed) is room


# --- uids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "word"),
    [
        (None, stands("queued", copies=2), "twice"),
        (stands("started"), stands("queued"), "older database"),
        (stands(executor="a"), stands(executor="b"), "second worker"),
        (stands(updated="1"), stands(updated="2"), "two workers"),
    ],
)
def test_a_uid_that_is_spoiled_is_told_why(before: Standing | None, now: Standing, word: str) -> None:
    assert word in (rules.spoiled(before, now) or "")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, stands("queued")),
        (stands("queued"), stands("queued", updated="2")),
        (stands("queued"), stands("picked", executor="a")),
        (stands(executor="a", updated="1"), stands(executor="a", updated="2")),  # by the lock: its own second word
        (stands(updated="1"), stands(updated="1")),
        (stands(updated="1", percent=1.0), stands(updated="2", percent=2.0)),
        (stands("render:dorender", updated="1"), stands("render:dorender", updated="2")),
        (stands("render:dorender"), stands("finished")),
    ],
)
def test_the_ordinary_life_of_a_job_spoils_nothing(before: Standing | None, now: Standing) -> None:
    assert rules.spoiled(before, now) is None


def test_one_answer_that_lacks_a_job_is_none() -> None:
    assert [rules.is_gone(missing) for missing in (1, 2)] == [False, True]
    assert [rules.is_forgetful(lost) for lost in (1, 2, 3)] == [False, False, True]
    assert [rules.is_tried_anew(before) for before in range(4)] == [True, True, True, False]


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worked", "silent", "code"),
    [
        (50.0, 9.9, None),
        (50.0, 10.0, Code.RENDER_STALLED),
        (100.0, 0.0, Code.RENDER_TIMEOUT),
        (100.0, 10.0, Code.RENDER_TIMEOUT),
    ],
)
def test_a_render_is_given_up_when_it_is_silent_or_takes_too_long(
    worked: float, silent: float, code: Code | None
) -> None:
    said = stands("render:dorender", executor="w1")

    failure = rules.over_limit(said, worked=worked, silent=silent, render=100.0, stall=10.0)

    assert (failure and failure.code) == code
    assert failure is None or "w1" in failure.message


@pytest.mark.parametrize(("executor", "who"), [("w1", "The worker w1 "), (None, "A worker ")])
def test_an_error_without_words_names_whose_it_is(executor: str | None, who: str) -> None:
    failure = rules.failed_without_a_word(stands("error", executor=executor))

    assert failure.message.startswith(who) and failure.code is Code.RENDER_FAILED


# --- films ------------------------------------------------------------------------------------------------------------


def test_a_film_stands_still_once_it_has_had_one_size_for_long_enough() -> None:
    film = Stillness().seen(5, 10.0).seen(5, 11.0)

    assert not film.has_lasted(11.9, 2.0)
    assert film.has_lasted(12.0, 2.0)
    assert film.moves == 0


def test_a_film_that_moves_has_to_stand_still_anew_and_twice_is_a_second_worker() -> None:
    once = Stillness().seen(5, 10.0).seen(6, 11.0)
    twice = once.seen(6, 12.0).moved()

    assert not once.has_lasted(100.0, 2.0) and not once.is_disturbed
    assert twice.is_disturbed


def test_a_film_may_come_late_and_not_for_ever() -> None:
    assert rules.may_come_yet(5.9, 2.0)
    assert not rules.may_come_yet(6.0, 2.0)
