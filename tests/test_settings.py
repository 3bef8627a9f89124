"""What a person may ask for one job."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.settings import (
    KEYS,
    Expect,
    OnExists,
    Settings,
    merge,
    names_folder,
    nearest,
    parse,
    resolve_not_before,
    schema_sidecar,
)

EVERYTHING: dict[str, Any] = {
    "priority": 80,
    "hold": True,
    "not_before": "2026-12-24T18:30:00+01:00",
    "max_retries": 2,
    "render_timeout": "4h",
    "stall_timeout": "90s",
    "output": "/mnt/out/{job}_{date}.{ext}",
    "on_exists": "replace",
    "notify": ["slack", "https://example.com/hook"],
    "tags": ["tv", "2026"],
    "expect": {"frames": 100, "duration": "4s", "min_bytes": 5000},
    "supersedes": "clientA/spot",
    "aerender": "2024",
}


def faults_of(mapping: Any) -> list[str]:
    return [fault.message for fault in parse(mapping)[1]]


def test_every_setting_is_read() -> None:
    found, faults = parse(EVERYTHING)

    assert faults == []
    assert found.priority == 80
    assert found.render_timeout == 4 * 3600
    assert found.stall_timeout == 90
    assert found.on_exists is OnExists.REPLACE
    assert found.expect == Expect(frames=100, duration=4.0, min_bytes=5000)
    assert found.tags == ("tv", "2026")
    assert found.source_of("priority") == "sidecar"


@pytest.mark.parametrize(("written", "seconds"), [("4s", 4.0), (4, 4.0), (4.8, 4.8), ("1m", 60.0), (0.04, 0.04)])
def test_a_films_length_may_be_a_bare_number_of_seconds(written: Any, seconds: float) -> None:
    found, faults = parse({"expect": {"duration": written}})

    assert faults == []
    assert found.expect == Expect(duration=seconds)
    assert parse(found.to_dict())[0] == found


@pytest.mark.parametrize("written", [0, -1, True, "4", float("nan"), float("inf"), []])
def test_what_is_no_length_of_a_film_is_refused(written: Any) -> None:
    assert [fault.split(" ")[0].rstrip(":") for fault in faults_of({"expect": {"duration": written}})] == [
        "expect.duration"
    ]


def test_the_table_knows_every_field_and_the_sample_uses_every_key() -> None:
    names = {item.name for item in fields(Settings)} - {"sources"}

    assert set(KEYS) == names == set(EVERYTHING)


def test_settings_written_down_read_back_as_themselves() -> None:
    found, _ = parse(EVERYTHING)

    again, faults = parse(found.to_dict())

    assert faults == []
    assert again == found


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "priority": st.integers(0, 100),
            "hold": st.booleans(),
            "max_retries": st.integers(0, 100),
            "render_timeout": st.integers(1, 10**9).map(lambda number: f"{number / 1000}s"),
            "tags": st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), max_size=3),
            "expect": st.fixed_dictionaries({}, optional={"frames": st.integers(1, 999)}),
        },
    )
)
def test_any_settings_written_down_read_back_as_themselves(mapping: dict[str, Any]) -> None:
    found, faults = parse(mapping)
    again, _ = parse(found.to_dict())

    assert faults == []
    assert again.to_dict() == found.to_dict()


def test_nothing_is_needed_and_an_empty_line_is_nothing() -> None:
    assert parse({}) == (Settings(), [])
    assert parse(None) == (Settings(), [])
    assert parse({"priority": None, "tags": None}) == (Settings(), [])


@pytest.mark.parametrize(("word", "number"), [("urgent", 90), ("high", 70), ("Normal", 50), ("low", 20)])
def test_a_priority_may_be_a_word(word: str, number: int) -> None:
    assert parse({"priority": word})[0].priority == number


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"priority": 5000}, "priority is 5000; write a number from 0 to 100, or urgent, high, normal, low"),
        ({"priority": -1}, "priority is -1; write a number from 0 to 100, or urgent, high, normal, low"),
        ({"priority": "80"}, 'priority is "80"; write a number from 0 to 100, or urgent, high, normal, low'),
        ({"priority": True}, "priority is true; write a number from 0 to 100, or urgent, high, normal, low"),
        ({"priority": 5.5}, "priority is 5.5; write a number from 0 to 100, or urgent, high, normal, low"),
        ({"hold": "yes"}, 'hold is "yes"; write true or false'),
        ({"hold": 1}, "hold is 1; write true or false"),
        ({"max_retries": -1}, "max_retries is -1; write a whole number from 0 to 100"),
        ({"stall_timeout": "10 mins"}, 'stall_timeout: "10 mins" is not a duration (write 10m)'),
        ({"render_timeout": 600}, 'render_timeout: "600" is not a duration (write 600s)'),
        ({"render_timeout": "0s"}, 'render_timeout is "0s"; write a duration above 0, or leave the line out'),
        ({"not_before": "soon"}, 'not_before is "soon"; write a time like 18:30, or 2026-12-24T18:30:00+01:00'),
        (
            {"not_before": "2026-12-24T18:30"},
            'not_before is "2026-12-24T18:30", without a zone;'
            " write it like 2026-12-24T18:30:00+01:00, or with Z for UTC",
        ),
        ({"output": ""}, 'output is ""; write a text'),
        ({"output": "/x/{jb}.mov"}, "output holds {jb}; did you mean {job}?"),
        ({"on_exists": "overwrite"}, 'on_exists is "overwrite"; write version, replace or fail'),
        (
            {"notify": "http://x.example"},
            'notify holds "http://x.example"; write a configured target\'s name or an https URL',
        ),
        ({"tags": {"a": 1}}, "tags is an object; write a text"),
        ({"tags": ["a", None]}, "tags[1] is null; write a text"),
        ({"expect": 5}, "expect is 5; write frames, duration or min_bytes below it"),
        ({"expect": {"frame": 5}}, "expect.frame is not a setting; did you mean frames?"),
        ({"expect": {"min_bytes": "5 apples"}},
         'expect.min_bytes: "5 apples" is not a size (write for example 500KiB, 5MiB or 2GiB)'),
        ({"prority": 5}, "prority is not a setting; did you mean priority?"),
        ({"Priority": 5}, "Priority is not a setting; did you mean priority?"),
        ({"stall": "5m"}, "stall is not a setting; did you mean stall_timeout?"),
        ([1], "the settings file is a list of 1; write settings as lines like priority: 80"),
        ("text", 'the settings file is "text"; write settings as lines like priority: 80'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_what_to_write(mapping: Any, message: str) -> None:
    assert faults_of(mapping) == [message]


def test_a_backslash_that_became_a_line_end_is_explained() -> None:
    (message,) = faults_of({"output": "C:\new"})

    assert "single quotes" in message


def test_a_key_like_no_other_is_answered_with_all_there_are() -> None:
    (message,) = faults_of({"zzzz": 1})

    assert message.startswith("zzzz is not a setting; the settings are priority, hold, not_before")


def test_all_faults_are_told_and_what_is_right_is_kept() -> None:
    found, faults = parse({"priority": 5000, "hold": "x", "tags": "a, b"})

    assert len(faults) == 2
    assert found.tags == ("a", "b")


def test_a_fault_knows_its_place() -> None:
    _, (fault,) = parse({"expect": {"frames": 0}}, lambda path: (len(path), 7), at=("watchrender",), source="job")

    assert (fault.path, fault.line, fault.column) == (("watchrender", "expect", "frames"), 3, 7)
    assert fault.message.startswith("watchrender.expect.frames is 0")


def test_a_file_of_a_million_faults_is_told_in_a_hundred() -> None:
    assert len(faults_of({f"k{number}": 1 for number in range(5000)})) == 100


def test_a_version_that_looks_like_a_number_is_a_name() -> None:
    assert parse({"aerender": 2024})[0].aerender == "2024"


# -- who wins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "is_folder", "expected"),
    [
        ("/films/spot.mp4", False, False),
        ("/films/spot.mp4", True, True),  # somebody's folder may be called so
        ("/films/spot.mp4/", False, True),
        ("C:\\films\\", False, True),
        ("/films/spot", False, True),
        ("/films/v1.2", False, False),
        ("/films/.hidden", False, True),
    ],
)
def test_an_output_names_a_folder_by_its_slash_by_what_lies_there_or_without_an_extension(
    output: str, is_folder: bool, expected: bool
) -> None:
    assert names_folder(output, is_folder=is_folder) is expected


def test_the_sidecar_wins_key_by_key() -> None:
    job, _ = parse({"priority": 20, "hold": True, "expect": {"frames": 5, "min_bytes": 9}}, source="job")
    sidecar, _ = parse({"hold": False, "expect": {"frames": 7}})

    found = merge(job, sidecar)

    assert (found.priority, found.hold) == (20, False)
    assert found.expect == Expect(frames=7, min_bytes=9)
    assert (found.source_of("priority"), found.source_of("hold")) == ("job", "sidecar")
    assert found.source_of("output") is None


def test_merging_with_nothing_changes_nothing() -> None:
    found, _ = parse(EVERYTHING)

    assert merge(found, Settings()) == found
    assert merge(Settings(), found) == found


# -- not before -------------------------------------------------------------------------------------------------

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("18:30", "2026-11-24T12:00+01:00", "2026-11-24T17:30+00:00"),
        ("8:05", "2026-11-24T12:00+01:00", "2026-11-25T07:05+00:00"),
        ("12:00", "2026-11-24T12:00:59+01:00", "2026-11-24T11:00+00:00"),  # this minute is now
        ("12:00", "2026-11-24T12:01:00+01:00", "2026-11-25T11:00+00:00"),
        ("02:30", "2026-03-28T12:00+01:00", "2026-03-29T01:30+00:00"),  # an hour that the clock leaves out
        ("02:30", "2026-10-24T12:00+02:00", "2026-10-25T00:30+00:00"),  # an hour that comes twice: the first
        ("2026-12-24T18:30:00+01:00", "2026-11-24T12:00+01:00", "2026-12-24T17:30+00:00"),
        ("2026-12-24T18:30Z", "2026-11-24T12:00+01:00", "2026-12-24T18:30+00:00"),
    ],
)
def test_a_time_means_a_moment(text: str, now: str, expected: str) -> None:
    moment = resolve_not_before(text, now=datetime.fromisoformat(now), zone=BERLIN)

    assert moment == datetime.fromisoformat(expected)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("text", ["24:00", "18:60", "1830", "2026-12-24", "0001-01-01T00:00+14:00", "18:30 Uhr", ""])
def test_what_is_no_moment_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        resolve_not_before(text, now=datetime(2026, 1, 1, tzinfo=UTC), zone=BERLIN)


def test_the_nearest_word_is_found_in_any_case() -> None:
    assert nearest("PRIORTY", KEYS) == "priority"
    assert nearest("qqq", KEYS) is None


def test_the_published_schema_has_every_key_and_no_other() -> None:
    schema = schema_sidecar()

    assert list(schema["properties"]) == list(KEYS)
    assert schema["additionalProperties"] is False
    assert schema["$schema"].endswith("2020-12/schema")
