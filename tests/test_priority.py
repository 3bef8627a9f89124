"""Which priority counts, and where it came from."""

from __future__ import annotations

from typing import Any

import pytest

from watchrender.core import priority

#: Strongest first, each with the word that statuses show for it.
SOURCES = [
    ("asked", "request"),
    ("sidecar", "sidecar"),
    ("job", "job"),
    ("filename", "filename"),
    ("nexrender", "nexrender"),
    ("folder", "folder"),
]


@pytest.mark.parametrize("place", range(len(SOURCES)))
def test_the_strongest_source_that_says_something_counts(place: int) -> None:
    said: dict[str, Any] = {name: 10 + number for number, (name, _) in enumerate(SOURCES) if number >= place}

    assert priority.resolve(**said, default=1) == (10 + place, SOURCES[place][1])


def test_without_any_source_it_is_the_default() -> None:
    assert priority.resolve(default=37) == (37, "default")


@pytest.mark.parametrize("name", ["asked", "sidecar", "job", "filename", "folder"])
def test_zero_is_a_priority_where_a_person_wrote_it(name: str) -> None:
    said: dict[str, Any] = {name: 0}

    assert priority.resolve(**said, default=50)[0] == 0


@pytest.mark.parametrize("value", [0, -1, 101, 5000, True, 50.0, "80", None, [80]])
def test_nexrenders_own_field_counts_only_as_a_whole_number_from_1_to_100(value: object) -> None:
    assert priority.resolve(nexrender=value) == (50, "default")


@pytest.mark.parametrize("value", [1, 100])
def test_nexrenders_own_field_counts_up_to_its_ends(value: int) -> None:
    assert priority.resolve(nexrender=value) == (value, "nexrender")


@pytest.mark.parametrize(
    ("sub", "expected"),
    [("", None), ("clientA", 70), ("clientA/show", 20), ("clientA/show/day2", 20), ("clientA/x", 70), ("client", None)],
)
def test_a_folder_without_a_priority_has_that_of_the_nearest_above_it(sub: str, expected: int | None) -> None:
    assert priority.of_folder(sub, {"clientA": 70, "clientA/show": 20}) == expected
