"""Stalled: no line, no growth and no work, all three, for the whole limit."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from watchrender.render.life import Growth, Life, Size, measure


def watched(limit_reached_at: float, *, cpu: float = 0.0, life: Life | None = None, begin: float = 0.0) -> Life:
    """A life in which each second `cpu` seconds were worked, and nothing else happened."""
    found = life or Life(begin)
    at = begin
    while at <= limit_reached_at:
        found.worked((at - begin) * cpu, at)
        at += 1
    return found


def test_nothing_at_all_is_a_stall_after_the_limit_and_not_before() -> None:
    assert not watched(99).is_still(99, 100)
    assert watched(100).is_still(100, 100)


def test_a_second_of_work_within_the_limit_is_life() -> None:
    assert not watched(100, cpu=0.011).is_still(100, 100)
    assert watched(100, cpu=0.009).is_still(100, 100)


def test_work_before_the_limit_does_not_count() -> None:
    life = Life(0)
    for at in range(201):
        life.worked(min(at, 50), at)

    assert not life.is_still(149, 100)
    assert life.is_still(150, 100)


def test_a_line_is_life_and_the_work_before_it_is_forgotten() -> None:
    life = watched(50, cpu=1)
    life.line(50)
    watched(150, life=life, begin=51)

    assert not life.is_still(149, 100)
    assert not life.is_still(150, 100)  # its CPU time is known for 99 seconds only
    assert life.is_still(151, 100)


def test_growth_is_life_and_so_is_a_file_that_goes() -> None:
    life = watched(100)
    life.grown(Size(10, 1, 5), 10)
    assert life.is_still(100, 90)

    life.grown(Size(10, 1, 5), 60)
    assert life.is_still(100, 90)

    life.grown(Size(11, 1, 5), 70)
    assert not life.is_still(159, 90)
    life.grown(Size(0, 0, 0), 80)
    assert life.silence(100) == 20


def test_the_first_look_of_a_silence_is_no_growth() -> None:
    life = Life(0)
    life.grown(Size(10, 1, 5), 10)
    life.line(20)
    life.grown(Size(90, 9, 9), 30)

    assert life.silence(40) == 20


def test_without_a_look_at_the_work_nothing_is_said() -> None:
    assert not Life(0).is_still(1000, 10)


def test_a_limit_that_is_raised_meanwhile_is_waited_for() -> None:
    life = watched(100)
    assert life.is_still(100, 50)

    assert not life.is_still(100, 80)
    watched(200, life=life, begin=101)
    assert life.is_still(180, 80)


def test_folders_are_measured_with_all_below_them(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "film.mov").write_bytes(b"12345")
    before = measure([tmp_path, tmp_path / "no"], time.monotonic() + 10)
    assert before is not None and before.files == 3

    with open(tmp_path / "a" / "b" / "film.mov", "ab") as film:
        film.write(b"6")

    after = measure([tmp_path, tmp_path / "no"], time.monotonic() + 10)
    assert after is not None and after.size == before.size + 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)

    found = measure([tmp_path], time.monotonic() + 10)

    assert found is not None and found.files == 1


def test_a_walk_that_takes_too_long_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").touch()

    assert measure([tmp_path], time.monotonic() - 1) is None


def test_growth_is_asked_in_a_thread_that_ends(tmp_path: Path) -> None:
    threads = threading.active_count()
    growth = Growth([tmp_path])
    assert threading.active_count() == threads

    growth.ask()
    growth.ask()
    deadline = time.monotonic() + 10
    while (found := growth.answer()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    assert found.files == 0
    assert growth.answer() is None
    growth.close()
    assert threading.active_count() == threads


def test_nothing_to_watch_is_no_thread() -> None:
    growth = Growth([])
    growth.ask()
    growth.close()

    assert growth.answer() is None
