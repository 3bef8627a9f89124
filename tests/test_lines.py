"""Bytes in chunks become the same lines, however they were cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from watchrender.render.lines import Lines


def test_lines_end_in_each_of_the_three_ways_even_when_cut_between_two_reads() -> None:
    whole = b"one\r\ntwo\nthree\rfour\r\n\r\nfive"

    for cut in range(len(whole) + 1):
        lines = Lines()
        found = lines.feed(whole[:cut]) + lines.feed(b"") + lines.feed(whole[cut:]) + lines.end()
        assert found == ["one", "two", "three", "four", "", "five"], whole[:cut]
    assert Lines().end() == []


def test_bytes_that_are_no_utf8_and_characters_cut_between_reads_are_read() -> None:
    lines = Lines()

    found = lines.feed("Komposition “ä".encode()[:-1]) + lines.feed("ä\n".encode()[1:]) + lines.feed(b"\xff\xfe\n")

    assert found == ["Komposition “ä", "\ufffd\ufffd"]


def test_a_line_without_end_is_cut_and_the_next_one_is_whole() -> None:
    lines = Lines(limit=100)

    for _ in range(1000):
        assert lines.feed(b"x" * 1000) == []
    found = lines.feed(b"\naerender ERROR: y\n")

    assert found == ["x" * 100, "aerender ERROR: y"]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=3000), size=st.integers(1, 50))
def test_lines_are_the_same_however_the_bytes_are_cut(data: bytes, size: int) -> None:
    whole, parts = Lines(), Lines()

    expected = whole.feed(data) + whole.end()
    found = [line for n in range(0, len(data), size) for line in parts.feed(data[n : n + size])] + parts.end()

    assert found == expected
