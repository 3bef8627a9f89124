"""What is remembered of a render stays small, however long the render is."""

from __future__ import annotations

import tracemalloc

import pytest

from watchrender.render.memory import Frames, Kept, Pace, shortened


def test_texts_are_kept_from_both_ends_each_once_and_cut() -> None:
    kept = Kept(first=2, last=2)
    for text in ["a", "a", "b", "c", "d", "e", "x" * 1000]:
        kept.add(text)

    assert list(kept)[:3] == ["a", "b", "e"]
    assert len(kept) == 4
    assert len(list(kept)[3]) <= 500
    assert shortened("x" * 500) == "x" * 500


def test_ten_million_frames_take_little_memory() -> None:
    tracemalloc.start()
    frames = Frames()
    for number in range(1, 10_000_000, 997):
        frames.add(number)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert frames.count == len(range(1, 10_000_000, 997))
    assert not frames.add(1)
    assert not frames.add(Frames.LIMIT)
    assert peak < 4_000_000


def test_pace_is_that_of_late() -> None:
    pace = Pace()

    for second in range(100):
        pace.add(float(second), second)
    for frame in range(12):
        pace.add(100.0 + 10 * frame, 100 + frame)

    assert pace.fps == pytest.approx(0.1)


def test_pace_of_one_read_or_of_nothing_is_not_known() -> None:
    pace = Pace()
    assert pace.fps is None
    for frame in range(100):
        pace.add(5.0, frame)
    assert pace.fps is None

    pace.add(4.0, 100)  # a clock that goes back is no clock
    assert pace.fps is None


def test_pace_of_very_slow_frames_is_known() -> None:
    pace = Pace()
    for frame in range(3):
        pace.add(frame * 600.0, frame)

    assert pace.fps == pytest.approx(1 / 600)
