"""What is known of a thing in the inbox between two looks: since when has it looked the same?"""

from __future__ import annotations

import pytest

from watchrender.spool.inbox import Entry
from watchrender.spool.watcher import Look


def looked(size: int, mtime_ns: int, inode: int = 1) -> Look:
    return Look(size=size, mtime_ns=mtime_ns, inode=inode, is_dir=False, regular=True)


@pytest.fixture
def entry() -> Entry:
    return Entry(sub="", name="spot.yaml", is_dir=False)


def test_the_first_look_is_a_change(entry: Entry) -> None:
    assert entry.saw(looked(10, 5), 100.0)
    assert entry.unchanged_for(100.0) == 0.0


def test_a_file_that_keeps_its_size_and_time_has_been_so_since_the_first_look(entry: Entry) -> None:
    entry.saw(looked(10, 5), 100.0)

    assert not entry.saw(looked(10, 5), 102.0)
    assert entry.unchanged_for(102.0) == 2.0


@pytest.mark.parametrize("changed", [(11, 5), (10, 6), (9, 4)])
def test_a_file_that_changes_starts_anew(entry: Entry, changed: tuple[int, int]) -> None:
    entry.saw(looked(10, 5), 100.0)
    entry.saw(looked(10, 5), 110.0)

    assert entry.saw(looked(*changed), 111.0)
    assert entry.unchanged_for(111.0) == 0.0


def test_a_file_whose_time_lies_in_the_future_settles_like_any_other(entry: Entry) -> None:
    future = 4_000_000_000 * 10**9
    entry.saw(looked(10, future), 1.0)

    assert not entry.saw(looked(10, future), 4.0)
    assert entry.unchanged_for(4.0) == 3.0


def test_a_share_that_invents_inodes_does_not_keep_a_file_from_settling(entry: Entry) -> None:
    entry.saw(looked(10, 5, inode=1), 1.0)

    assert not entry.saw(looked(10, 5, inode=2), 4.0)
    assert entry.stamp == (10, 5, 2)  # the newest is kept: a file that was renamed is known by it
