"""Why does nothing render? The gate: people, the environment, and the way back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger

from watchrender.core.failure import Code, fail
from watchrender.gate import TRIED_BY_RENDER, Gate


class Hall:
    """A gate with a clock of its own, and somebody who listens."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.changes = 0
        self.gate = Gate(stamp=lambda: "2026-01-01T00:00:00.000Z", clock=lambda: self.now)
        self.gate.listen(self._changed)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def hall() -> Hall:
    return Hall()


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    yield lines
    logger.remove(number)


def test_a_pause_closes_it_and_is_told_once(hall: Hall) -> None:
    hall.gate.pause(True)
    hall.gate.pause(True)

    assert not hall.gate.may_start() and not hall.gate.open()
    assert hall.changes == 1
    hall.gate.pause(False)
    assert hall.gate.may_start() and hall.gate.open()


def test_draining_and_stopping_close_it_for_good(hall: Hall) -> None:
    hall.gate.drain()
    assert not hall.gate.may_start()

    hall.gate.stop(put_back=True)
    hall.gate.stop(now=True)

    assert (hall.gate.stopping, hall.gate.put_back, hall.gate.at_once) == (True, True, True)
    assert hall.changes == 2


def test_the_environment_closes_it_and_the_log_says_so_once(hall: Hall, said: list[str]) -> None:
    gone = fail(Code.AERENDER_NOT_FOUND, "there is no aerender")

    for _ in range(5):
        hall.gate.wait_for(gone)

    assert not hall.gate.may_start()
    assert [failure.code for failure in hall.gate.waiting()] == [Code.AERENDER_NOT_FOUND]
    assert hall.gate.waiting_since() == {"AERENDER_NOT_FOUND": "2026-01-01T00:00:00.000Z"}
    assert hall.changes == 1
    assert len([line for line in said if "the queue waits" in line]) == 1


def test_it_is_looked_at_again_with_more_and_more_time_between(hall: Hall) -> None:
    gone = fail(Code.DISK_FULL, "the disk is full")
    waits = []
    for _ in range(9):
        hall.gate.wait_for(gone)
        before = hall.now
        while not hall.gate.look_due():
            hall.now += 0.5
        waits.append(hall.now - before)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_what_a_look_has_found_is_seen_mended_within_seconds_however_long_it_was_so(hall: Hall) -> None:
    gone = {Code.AERENDER_NOT_FOUND: fail(Code.AERENDER_NOT_FOUND, "there is no aerender")}
    waits = []
    for _ in range(9):
        hall.gate.looked(gone, frozenset(gone))
        before = hall.now
        while not hall.gate.look_due():
            hall.now += 0.5
        waits.append(hall.now - before)

    assert waits == [1, 2, 4, 5, 5, 5, 5, 5, 5]


def test_what_others_are_refused_before_the_look_is_due_puts_it_off_no_further(hall: Hall) -> None:
    gone = fail(Code.DISK_FULL, "the disk is full")
    hall.gate.wait_for(gone)

    for _ in range(9):
        hall.now += 0.1
        hall.gate.wait_for(gone)
    hall.now += 0.1

    assert hall.gate.look_due()


def test_a_look_that_finds_nothing_opens_it(hall: Hall, said: list[str]) -> None:
    looked_for = frozenset({Code.DISK_FULL, Code.AERENDER_NOT_FOUND})
    full, gone = fail(Code.DISK_FULL, "full"), fail(Code.AERENDER_NOT_FOUND, "gone")
    hall.gate.looked({Code.DISK_FULL: full, Code.AERENDER_NOT_FOUND: gone}, looked_for)

    hall.gate.looked({Code.DISK_FULL: full}, looked_for)
    assert [failure.code for failure in hall.gate.waiting()] == [Code.DISK_FULL]
    hall.gate.looked({}, looked_for)

    assert hall.gate.open()
    assert len([line for line in said if line.startswith("INFO the queue goes on: ")]) == 2


def test_a_look_says_nothing_about_what_was_not_looked_for(hall: Hall) -> None:
    hall.gate.wait_for(fail(Code.SHARE_OFFLINE, "away"))

    hall.gate.looked({}, frozenset({Code.DISK_FULL}))

    assert not hall.gate.open()


@pytest.mark.parametrize("code", sorted(TRIED_BY_RENDER))
def test_what_only_a_render_can_prove_lets_one_job_through_at_a_time(hall: Hall, code: Code) -> None:
    hall.gate.wait_for(fail(code, "so it is"))

    assert not hall.gate.may_start()
    hall.gate.looked({}, frozenset({code}))
    assert not hall.gate.open(), "no look opens this"

    hall.now += 1
    assert hall.gate.may_start() and not hall.gate.open()
    hall.gate.wait_for(fail(code, "so it is still"))
    assert not hall.gate.may_start()

    hall.now += 2
    hall.gate.rendered()
    assert hall.gate.open()


def test_one_thing_gone_is_not_all_gone(hall: Hall) -> None:
    hall.gate.wait_for(fail(Code.LICENSE, "no licence"))
    hall.gate.wait_for(fail(Code.SHARE_OFFLINE, "away"))
    hall.now += 100

    assert not hall.gate.may_start(), "a render may prove the licence, and not the share"
    hall.gate.clear(Code.SHARE_OFFLINE)
    assert hall.gate.may_start()


def test_a_person_may_have_it_looked_at_at_once(hall: Hall) -> None:
    for _ in range(6):
        hall.gate.wait_for(fail(Code.DISK_FULL, "full"))
    assert not hall.gate.look_due()

    hall.gate.hurry()

    assert hall.gate.look_due()


def test_the_wait_begins_anew_after_a_render_that_went_well(hall: Hall) -> None:
    for _ in range(6):
        hall.gate.wait_for(fail(Code.DISK_FULL, "full"))
        hall.now += 60
    hall.gate.clear(Code.DISK_FULL)
    hall.gate.wait_for(fail(Code.DISK_FULL, "full"))
    hall.now += 32
    assert not hall.gate.look_due(), "a disk that fills up again and again is not looked at each second"

    hall.gate.clear(Code.DISK_FULL)
    hall.gate.rendered()
    hall.gate.wait_for(fail(Code.DISK_FULL, "full"))
    hall.now += 1

    assert hall.gate.look_due()


def test_it_is_known_whether_the_queue_waited_meanwhile(hall: Hall) -> None:
    assert not hall.gate.waited_since(Code.SHARE_OFFLINE, 0.0)
    hall.gate.clear(Code.SHARE_OFFLINE)
    assert not hall.gate.waited_since(Code.SHARE_OFFLINE, 0.0)

    hall.gate.wait_for(fail(Code.SHARE_OFFLINE, "away"))
    assert hall.gate.waited_since(Code.SHARE_OFFLINE, hall.now + 5)
    hall.now += 10
    hall.gate.clear(Code.SHARE_OFFLINE)

    assert hall.gate.waited_since(Code.SHARE_OFFLINE, hall.now - 1)
    assert not hall.gate.waited_since(Code.SHARE_OFFLINE, hall.now + 1)
