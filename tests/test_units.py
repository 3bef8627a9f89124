"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("10m", 600), ("4h", 14400), ("7d", 604800), ("1.5h", 5400), (" 3 s ", 3), ("0s", 0)],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10 mins", '"10 mins" is not a duration (write 10m)'),
        ("30", '"30" is not a duration (write 30s)'),
        ("2 hours", '"2 hours" is not a duration (write 2h)'),
        ("5 Seconds", '"5 Seconds" is not a duration (write 5s)'),
        ("20 msec", '"20 msec" is not a duration (write 20ms)'),
        ("2 weeks", '"2 weeks" is not a duration (write 14d)'),
        ("1 month", '"1 month" is not a duration (write for example 30s, 10m or 2h)'),
        ("1h30m", '"1h30m" is not a duration (write for example 30s, 10m or 2h)'),
        ("soon", '"soon" is not a duration (write for example 30s, 10m or 2h)'),
        ("-5m", '"-5m" is not a duration (write for example 30s, 10m or 2h)'),
        ("", '"" is not a duration (write for example 30s, 10m or 2h)'),
        ("9999999d", '"9999999d" is too long (write at most 3650d)'),
        ("٣s", '"٣s" is not a duration (write for example 30s, 10m or 2h)'),
    ],
)
def test_what_is_no_duration_is_answered_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_duration(text)

    assert str(refused.value) == words


def test_a_text_of_any_length_is_refused_in_a_short_sentence() -> None:
    with pytest.raises(ValueError) as refused:
        parse_duration("9" * 100_000)

    assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    ("text", "count"),
    [("5MiB", 5 * 1024**2), ("2 GiB", 2 * 1024**3), ("1KB", 1000), ("7", 7), ("7B", 7), ("1.5kib", 1536), ("0", 0)],
)
def test_a_size_is_a_number_with_a_unit(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5M", '"5M" is not a size (write 5MiB)'),
        ("5 megabytes", '"5 megabytes" is not a size (write 5MiB)'),
        ("large", '"large" is not a size (write for example 500KiB, 5MiB or 2GiB)'),
        ("5 apples", '"5 apples" is not a size (write for example 500KiB, 5MiB or 2GiB)'),
        ("9999TiB", '"9999TiB" is too large (write at most 1024TiB)'),
    ],
)
def test_what_is_no_size_is_answered_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_size(text)

    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (90, "90s"),
        (600, "10m"),
        (5400, "90m"),
        (86400, "1d"),
        (604800, "7d"),
        (12.5, "12.5s"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_without_a_fraction(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.one_of(st.integers(0, 3650 * 86400), st.integers(0, 10**9).map(lambda number: number / 1000)))
def test_a_written_duration_reads_back_as_itself(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_sizes_are_shown_in_round_numbers() -> None:
    assert [format_size(count) for count in (12, 1024, 1536, 5 * 1024**2, 3 * 1024**3)] == [
        "12B", "1KiB", "1.5KiB", "5MiB", "3GiB",
    ]  # fmt: skip
