"""How many streams a service bears."""

from __future__ import annotations

import pytest

from watchrender.core.streams import LEAST, MOST, ON_WINDOWS, most_streams


@pytest.mark.parametrize(
    ("open_files", "most"),
    [(256, 128), (1024, 512), (4000, 2000), (1_048_576, MOST), (None, MOST), (16, LEAST), (0, LEAST)],
)
def test_half_of_the_open_files_are_for_streams_within_bounds(open_files: int | None, most: int) -> None:
    assert most_streams(windows=False, open_files=open_files) == most


@pytest.mark.parametrize("open_files", [None, 256, 1_048_576])
def test_windows_selector_bounds_them_whatever_else_is_said(open_files: int | None) -> None:
    assert most_streams(windows=True, open_files=open_files) == ON_WINDOWS
