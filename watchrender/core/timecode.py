"""How many frames is a time as After Effects displays it? Pure."""

from __future__ import annotations

import re

#: Frames a second that footage really has; a rate told with two decimals is close to one of them.
RATES = (8, 12, 15, 23.976, 24, 25, 29.97, 30, 47.952, 48, 50, 59.94, 60, 100, 119.88, 120)


def count_frames(time: str, rate: float | None, frames_per_foot: int = 16) -> int | None:
    """The frames in a time as After Effects displays it: timecode, feet and frames, or frames. None: not known."""
    if "+" in time:
        feet, frames = time.split("+")
        return int(feet) * frames_per_foot + int(frames)
    if ":" not in time and ";" not in time:
        return int(time)
    return _count_timecode(time, rate) if rate else None


def _count_timecode(time: str, rate: float) -> int:
    sign = -1 if time.startswith("-") else 1
    hours, minutes, seconds, frames = (int(part) for part in re.split(r"[:;.]", time.lstrip("-")))
    base = -int(-(rate - 0.001) // 1)  # 29.97 is counted in thirties
    minutes += 60 * hours
    count = (60 * minutes + seconds) * base + frames
    if ";" in time:  # drop-frame: two numbers (of thirty) are left out each minute, but not in each tenth
        count -= round(base / 15) * (minutes - minutes // 10)
    return sign * count


def feet_of(times: list[str]) -> int:
    """Frames per foot: 16 on 35 mm film, 40 on 16 mm; start, end and duration may agree with one of them only."""
    for feet in (16, 40):
        counts = [count for time in times if "+" in time and (count := count_frames(time, None, feet)) is not None]
        if len(counts) >= 3 and counts[1] - counts[0] + 1 == counts[2]:
            return feet
    return 16
