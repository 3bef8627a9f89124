"""When again, or never? Waits, the breaker, and who rests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.failure import Code, Kind, fail
from watchrender.core.retry import Breaker, Rest, longest_probe, probe_wait, wait_before_next

CRASH, LIMIT = fail(Code.RENDER_CRASHED), fail(Code.RENDER_TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class Settings:
    max_retries: int = 3
    first_wait: float = 30.0
    max_wait: float = 600.0
    jitter: float = 0.0


def test_waits_double_up_to_the_longest() -> None:
    waits = [wait_before_next(Settings(), 7, number, CRASH) for number in range(1, 9)]

    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, None]


@given(st.integers(1, 1000), st.floats(0, 1), st.floats(0.05, 3600), st.floats(0.05, 86400))
def test_a_wait_is_spread_by_its_share_and_never_longer_than_the_longest(
    number: int, jitter: float, first: float, longest: float
) -> None:
    settings = Settings(first_wait=first, max_wait=longest, jitter=jitter)
    plain = wait_before_next(Settings(first_wait=first, max_wait=longest), number, number, CRASH)

    wait = wait_before_next(settings, number, number, CRASH)

    assert plain is not None and wait is not None
    assert plain <= wait <= min(longest, plain * (1 + jitter))


def test_waits_with_jitter_are_not_all_the_same() -> None:
    assert len({wait_before_next(Settings(jitter=0.2), 3, 1, CRASH) for _ in range(20)}) > 10


@pytest.mark.parametrize("code", [code for code in Code if fail(code).kind is not Kind.TRANSIENT])
def test_only_what_may_pass_by_itself_is_tried_again(code: Code) -> None:
    assert wait_before_next(Settings(), 3, 1, fail(code)) is None


def test_a_render_that_ran_into_its_limit_is_tried_once_more_only() -> None:
    assert wait_before_next(Settings(), 3, 1, LIMIT) is not None
    assert wait_before_next(Settings(), 3, 2, LIMIT) is None


def test_no_retries_means_none_for_any_code() -> None:
    assert wait_before_next(Settings(), 0, 1, CRASH) is None
    assert wait_before_next(Settings(), 0, 1, LIMIT) is None


def test_looks_at_a_broken_machine_come_ever_less_often_up_to_a_minute() -> None:
    assert [probe_wait(tries) for tries in (0, 1, 2, 3, 6, 7, 5000)] == [1, 1, 2, 4, 32, 60, 60]


def test_a_broken_machine_is_tried_as_often_as_a_job_within_reason() -> None:
    assert [longest_probe(wait) for wait in (0.1, 5, 30, 600)] == [5, 5, 30, 60]


# -- the breaker -----------------------------------------------------------------------------------------------------


def trip(breaker: Breaker, *jobs: str, line: str = "boom") -> list[Counter[str]]:
    return [breaker.failed(job, CRASH, line) for job in jobs]


def test_five_different_jobs_in_a_row_with_the_same_words_are_the_machines_fault() -> None:
    answers = trip(Breaker(), "a", "b", "c", "d", "e")

    assert answers[:4] == [Counter()] * 4
    assert answers[4] == Counter("abcde")


def test_one_job_that_fails_again_and_again_is_its_own_fault() -> None:
    assert trip(Breaker(), *"aaaaaaaa") == [Counter()] * 8


def test_every_try_of_the_row_is_given_back_also_where_a_job_had_two() -> None:
    assert trip(Breaker(), "a", "b", "a", "c", "d", "e")[-1] == Counter({"a": 2, "b": 1, "c": 1, "d": 1, "e": 1})


def test_once_it_has_tripped_each_further_try_is_given_back_once() -> None:
    breaker = Breaker()
    trip(breaker, "a", "b", "c", "d", "e")

    assert trip(breaker, "a", "f") == [Counter("a"), Counter("f")]
    assert breaker.jobs == 6


def test_other_words_begin_a_new_row() -> None:
    breaker = Breaker()
    trip(breaker, "a", "b", "c", "d")

    assert breaker.failed("e", CRASH, "something else") == Counter()
    assert breaker.failed("f", fail(Code.RENDER_FAILED), "something else") == Counter()
    assert breaker.jobs == 1


def test_a_success_ends_the_row() -> None:
    breaker = Breaker()
    trip(breaker, "a", "b", "c", "d")
    breaker.succeeded()

    assert trip(breaker, "e", "a", "b", "c") == [Counter()] * 4
    assert trip(breaker, "d") == [Counter("eabcd")]


# -- rest ------------------------------------------------------------------------------------------------------------


def test_a_job_rests_until_its_moment_and_others_do_not() -> None:
    rest = Rest()
    rest.until("a", 10.0)

    assert (rest.ready("a", 9.9), rest.ready("a", 10.0), rest.ready("b", 0.0)) == (False, True, True)
    assert (rest.known("a"), rest.known("b")) == (True, False)

    rest.over("a")
    rest.over("never rested")
    assert rest.ready("a", 0.0)
    assert not rest.known("a")
