"""When is a dropped file complete?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.settle import Completeness, Ready, TreeSighting, Verdict, ready

# -- folders ----------------------------------------------------------------------------------------------------

TREE = [("job.json", 10, 5), ("footage/", 0, 0), ("footage/a.mov", 1000, 6)]


def test_a_folder_looks_the_same_in_any_order_of_its_files() -> None:
    one, other = TreeSighting.of(TREE, at=1.0), TreeSighting.of(reversed(TREE), at=4.0)

    assert one.digest == other.digest
    assert one.files == 3


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
def test_a_folder_in_which_anything_changed_looks_different(changed: list[tuple[str, int, int]]) -> None:
    assert TreeSighting.of(changed, at=9.0).digest != TreeSighting.of(TREE, at=1.0).digest


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
