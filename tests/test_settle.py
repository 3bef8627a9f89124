"""When is a dropped file complete?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.settle import Completeness, Ready, Settle, Sighting, TreeSighting, Verdict, ready


def seen(size: int, mtime_ns: int, at: float, inode: int = 1) -> Sighting:
    return Sighting(size=size, mtime_ns=mtime_ns, at=at, inode=inode)


def test_one_look_settles_nothing_whatever_the_limit() -> None:
    assert not Settle.first(seen(10, 5, 100.0)).settled(0.0)


def test_a_file_that_keeps_its_size_and_time_settles() -> None:
    settle = Settle.first(seen(10, 5, 100.0)).see(seen(10, 5, 101.0))
    assert not settle.settled(2.0)

    settle = settle.see(seen(10, 5, 102.0))
    assert settle.settled(2.0)
    assert settle.unchanged_for == 2.0


@pytest.mark.parametrize("changed", [(11, 5), (10, 6), (9, 4)])
def test_a_file_that_changes_starts_anew(changed: tuple[int, int]) -> None:
    settle = Settle.first(seen(10, 5, 100.0)).see(seen(10, 5, 110.0)).see(seen(*changed, 111.0))

    assert settle.unchanged_for == 0.0
    assert not settle.settled(1.0)


def test_a_file_whose_time_lies_in_the_future_settles_like_any_other() -> None:
    future = 4_000_000_000 * 10**9

    assert Settle.first(seen(10, future, 1.0)).see(seen(10, future, 4.0)).settled(2.0)


def test_a_share_that_invents_inodes_does_not_keep_a_file_from_settling() -> None:
    assert Settle.first(seen(10, 5, 1.0, inode=1)).see(seen(10, 5, 4.0, inode=2)).settled(2.0)


def test_time_in_which_nobody_looked_does_not_count() -> None:
    settle = Settle.first(seen(10, 5, 100.0)).see(seen(10, 5, 101.0))

    assert settle.unchanged_for == 1.0  # whatever the clock says now


# -- folders ----------------------------------------------------------------------------------------------------

TREE = [("job.json", 10, 5), ("footage/", 0, 0), ("footage/a.mov", 1000, 6)]


def test_a_folder_looks_the_same_in_any_order_of_its_files() -> None:
    one, other = TreeSighting.of(TREE, at=1.0), TreeSighting.of(reversed(TREE), at=4.0)

    assert Settle.first(one).see(other).settled(2.0)
    assert (one.files, one.size) == (3, 1010)


@pytest.mark.parametrize(
    "changed",
    [
        TREE[:2],
        [*TREE, ("new.txt", 0, 0)],
        [TREE[0], TREE[1], ("footage/a.mov", 1001, 6)],
        [TREE[0], TREE[1], ("footage/a.mov", 1000, 7)],
        [TREE[0], TREE[1], ("footage/b.mov", 1000, 6)],
    ],
)
def test_a_folder_in_which_anything_changed_starts_anew(changed: list[tuple[str, int, int]]) -> None:
    settle = Settle.first(TreeSighting.of(TREE, at=1.0)).see(TreeSighting.of(changed, at=9.0))

    assert not settle.settled(1.0)


def test_names_that_are_no_text_do_not_hurt() -> None:
    assert TreeSighting.of([("\udcff\n", -1, 0)], at=0.0).files == 1


# -- may it be taken? -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completeness", "unchanged", "expected"),
    [
        (Completeness.COMPLETE, 0.0, Ready(verdict=Verdict.TAKE)),
        (Completeness.BROKEN, 0.0, Ready(verdict=Verdict.REJECT)),
        (Completeness.CUT_OFF, 0.0, Ready(verdict=Verdict.WAIT, wait_seconds=20.0)),
        (Completeness.CUT_OFF, 15.0, Ready(verdict=Verdict.WAIT, wait_seconds=5.0)),
        (Completeness.CUT_OFF, 20.0, Ready(verdict=Verdict.REJECT)),
        (Completeness.OPAQUE, 0.0, Ready(verdict=Verdict.WAIT, wait_seconds=2.0)),
        (Completeness.OPAQUE, 0.5, Ready(verdict=Verdict.WAIT, wait_seconds=1.5)),
        (Completeness.OPAQUE, 2.0, Ready(verdict=Verdict.TAKE)),
    ],
)
def test_every_kind_of_file_is_taken_waited_for_or_rejected(
    completeness: Completeness, unchanged: float, expected: Ready
) -> None:
    assert ready(completeness, unchanged_for=unchanged, settle=2.0, cut_off=20.0) == expected


def test_a_first_look_takes_nothing_but_complete_json_even_with_no_settle_time() -> None:
    found = {kind: ready(kind, unchanged_for=0.0, settle=0.0, cut_off=0.0).verdict for kind in Completeness}

    assert [kind for kind, verdict in found.items() if verdict is Verdict.TAKE] == [Completeness.COMPLETE]


@given(st.sampled_from(Completeness), st.floats(0, 1e6), st.floats(0, 100), st.floats(0, 100))
def test_waiting_is_never_without_end(kind: Completeness, unchanged: float, settle: float, cut_off: float) -> None:
    answer = ready(kind, unchanged_for=unchanged, settle=settle, cut_off=cut_off)

    assert 0 <= answer.wait_seconds <= max(settle, cut_off)
