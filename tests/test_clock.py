"""Times as text and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core import clock

MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2200, 1, 1), timezones=st.timezones())


def test_a_stamp_is_utc_with_milliseconds() -> None:
    noon = datetime(2026, 11, 24, 13, 52, 33, 120_900, tzinfo=timezone(timedelta(hours=1)))

    assert clock.stamp(noon) == "2026-11-24T12:52:33.120Z"


@given(MOMENTS)
def test_a_stamp_tells_its_moment_to_the_millisecond(moment: datetime) -> None:
    assert timedelta(0) <= moment - clock.moment(clock.stamp(moment)) < timedelta(milliseconds=1)


@given(MOMENTS, MOMENTS)
def test_stamps_sort_as_their_moments_do(one: datetime, other: datetime) -> None:
    if one <= other:
        assert clock.stamp(one) <= clock.stamp(other)


def test_a_time_without_a_zone_is_no_moment() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        clock.moment("2026-11-24T12:52:33")
    with pytest.raises(ValueError):
        clock.moment("tomorrow")


def test_a_moment_of_another_zone_is_told_in_utc() -> None:
    assert clock.moment("2026-11-24T13:00:00+01:00") == datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_later_and_between_are_each_others_inverse() -> None:
    start = "2026-12-31T23:59:59.500Z"

    assert clock.later(start, 0.75) == "2027-01-01T00:00:00.250Z"
    assert clock.seconds_between(start, clock.later(start, 90)) == 90.0
    assert clock.seconds_between(clock.later(start, 90), start) == -90.0
