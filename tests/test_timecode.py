"""A time as After Effects displays it is a number of frames."""

from __future__ import annotations

import pytest

from watchrender.core.timecode import count_frames, feet_of


@pytest.mark.parametrize(
    ("time", "rate", "frames"),
    [
        ("0:00:06:16", 25.0, 166),
        ("0:00:06:16", None, None),
        ("0;00;01;00", 29.97, 30),
        ("0;01;00;02", 29.97, 1800),  # the numbers ;00 and ;01 are left out at the minute
        ("0;10;00;00", 29.97, 17982),
        ("1;00;00;00", 29.97, 107892),
        ("0;01;00;04", 59.94, 3600),
        ("0:00:01:00", 29.97, 30),
        ("0:00:01:00", 23.976, 24),
        ("0:00:01:00", 12.5, 13),
        ("-0:00:01:00", 25.0, -25),
        ("00120", None, 120),
        ("-12", None, -12),
        ("0007+08", None, 120),
    ],
)
def test_a_duration_in_each_display_is_counted_in_frames(time: str, rate: float | None, frames: int | None) -> None:
    assert count_frames(time, rate) == frames


@pytest.mark.parametrize(
    ("times", "feet"),
    [
        (["0000+00", "0007+07", "0007+08"], 16),
        (["0000+00", "0002+39", "0003+00"], 40),
        (["0000+00", "0002+39"], 16),  # two times tell nothing
        (["0:00:00:00", "0:00:04:19", "0:00:04:20"], 16),
    ],
)
def test_the_film_whose_feet_are_meant_is_the_one_on_which_the_times_agree(times: list[str], feet: int) -> None:
    assert feet_of(times) == feet
