"""Whatever bytes lie in the inbox, reading them answers with a job or with a failure in words: never anything else.

What a search finds once is kept as a file in `corpus/jobfile/`; every file there is tried, cut and damaged each time.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watchrender.core import jobform, jsontext, yamltext
from watchrender.core.failure import Code, Failure
from watchrender.core.settings import KEYS, Settings
from watchrender.core.settle import Completeness
from watchrender.core.textual import DEEPEST, Unreadable
from watchrender.spool.jobfile import JobText, completeness, is_yaml_job, read, read_sidecar

CORPUS = sorted((Path(__file__).parent / "corpus" / "jobfile").iterdir())
CODES = {Code.JOB_INVALID, Code.JOB_UNREADABLE, Code.JOB_TOO_LARGE}
SIZE = 1024 * 1024

bounded = settings(max_examples=250, deadline=None)


def try_everything(data: bytes, name: str) -> JobText | Failure:
    """All the ways a file is read. Answers what `read` says, having checked that it is a fair answer."""
    found = read(data, name, SIZE)
    complete = completeness(data, name)
    is_yaml_job(data)
    sidecar = read_sidecar(data, "spot.yaml")
    assert isinstance(sidecar, Settings) or (sidecar.code is Code.SIDECAR_INVALID and sidecar.message)
    if isinstance(found, Failure):
        assert found.code in CODES
        assert found.message.startswith(name)
        assert found.cure
        assert found.line is None or (found.line >= 1 and found.column is not None and found.column >= 1)
        assert len(found.message) < 10_000
        found.message.encode("utf-8")  # it can be written into a status file and a letter
    else:
        assert complete is not Completeness.BROKEN
        json.dumps(found.document, ensure_ascii=False, allow_nan=False).encode(
            "utf-8"
        )  # nexrender's copy can be written
        assert isinstance(found.document["template"]["src"], str)
        assert isinstance(found.document["template"]["composition"], str)
        assert found.place(("assets", 0, "src"))[0] >= 1
    return found


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_every_file_of_the_corpus_has_a_fair_answer(path: Path) -> None:
    data = path.read_bytes()

    for name in ("spot.json", "spot.yaml"):
        try_everything(data, name)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_every_file_of_the_corpus_cut_anywhere_has_a_fair_answer(path: Path) -> None:
    data = path.read_bytes()
    is_right = isinstance(read(data, path.name, SIZE), JobText)

    for end in range(0, len(data), max(1, len(data) // 60)):
        try_everything(data[:end], path.name)
        if is_right:
            assert completeness(data[:end], path.name) is not Completeness.BROKEN, data[:end]


@bounded
@given(st.binary(max_size=300), st.sampled_from(["spot.json", "spot.yaml"]))
@example(b"\xff\xfe\x00", "spot.json")
@example(b"{\x00", "spot.json")
@example(b"\x00{", "spot.json")
def test_any_bytes_have_a_fair_answer(data: bytes, name: str) -> None:
    try_everything(data, name)


@bounded
@given(
    st.text(alphabet="{}[]:,\"\\'tfnu0123-+.eE \n\t\x00#&*!|>-?%@`~aé\ud7ff🎬", max_size=80),
    st.sampled_from([".json", ".yaml"]),
)
def test_any_text_of_telling_characters_has_a_fair_answer(text: str, suffix: str) -> None:
    try_everything(text.encode(), f"spot{suffix}")


@bounded
@given(st.sampled_from(CORPUS), st.data())
def test_every_file_of_the_corpus_damaged_anywhere_has_a_fair_answer(path: Path, draw: st.DataObject) -> None:
    data = path.read_bytes()
    at = draw.draw(st.integers(0, len(data)))
    length = draw.draw(st.integers(0, 8))
    damage = draw.draw(st.one_of(st.binary(max_size=6), st.sampled_from([b'"', b"\\", b"{", b"]", b"\0", b":", b"\n"])))

    try_everything(data[:at] + damage + data[at + length :], path.name)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12), st.sampled_from(["image", "data", "urgent", "10m", "18:30", "spot.aep", "__proto__"]),
)  # fmt: skip
KNOWN = st.sampled_from(
    sorted(
        {
            *jobform.TEMPLATE,
            *jobform.ASSET,
            *jobform.PHASES,
            *KEYS,
            *jobform.SHORT,
            "actions",
            "priority",
            "expect",
            "frames",
        }
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(KNOWN, st.text(max_size=6)), inner, max_size=6)
    ),
    max_leaves=20,
)
JOBS = st.fixed_dictionaries(
    {
        "template": st.one_of(
            ANYTHING, st.fixed_dictionaries({"src": st.text(min_size=1), "composition": st.text(min_size=1)})
        )
    },
    optional={"assets": ANYTHING, "actions": ANYTHING, "watchrender": ANYTHING, "priority": SCALARS, "output": SCALARS},
)


@bounded
@given(JOBS, st.booleans())
def test_any_document_in_the_form_of_a_job_has_a_fair_answer(document: Any, ascii_only: bool) -> None:
    data = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    found = try_everything(data, "spot.json")
    try_everything(data, "spot.yaml")  # JSON is YAML, as far as people know

    if isinstance(found, JobText):
        again = read(json.dumps(found.document).encode(), "spot.json", SIZE)
        assert isinstance(again, JobText)
        assert again.document == found.document  # what was judged is what a second judgement sees


@bounded
@given(st.text(alphabet='{}[]:,"\\tfnu01-+.eE \n', max_size=40))
@example('{"a":1e5}')
@example("[1.]")
@example('"\\u12"')
def test_the_scanner_and_the_standard_parser_agree_on_what_is_json(text: str) -> None:
    try:
        expected = json.loads(
            text, parse_constant=lambda _: pytest.fail("no constant can be written with these letters")
        )
    except ValueError:
        with pytest.raises(Unreadable):
            jsontext.parse(text)
        with pytest.raises(Unreadable):
            jsontext._scan(text)
        return
    try:
        assert jsontext.parse(text) == expected
        jsontext._scan(text)
    except Unreadable as fault:
        assert not fault.syntax  # a key twice, a number without end


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@bounded
@given(ANYTHING)
def test_what_was_written_as_json_is_read_as_it_was_and_every_value_has_its_place(value: Any) -> None:
    text = json.dumps(value, indent=1)
    assert _depth(value) <= DEEPEST
    assert jsontext.parse(text) == value

    for path, found in _walk(value):
        ((line, column),) = jsontext.places(text, [path]).values()
        rest = "\n".join(text.split("\n")[line - 1 :])[column - 1 :]
        told, _ = json.JSONDecoder().raw_decode(rest)
        assert told == found or (isinstance(told, float) and math.isclose(told, found))


def _walk(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _walk(inner, (*path, key))


@bounded
@given(JOBS)
def test_every_cut_of_any_job_may_still_be_arriving(document: Any) -> None:
    data = json.dumps(document).encode()

    for end in range(0, len(data), max(1, len(data) // 25)):
        assert completeness(data[:end], "spot.json") is Completeness.CUT_OFF
        assert completeness(data[:end] + b"\0" * 9, "spot.json") is Completeness.CUT_OFF
    assert completeness(data, "spot.json") is Completeness.COMPLETE


@bounded
@given(
    st.dictionaries(
        st.text(alphabet="abc", min_size=1), st.one_of(st.integers(-999, 999), st.text(alphabet="xyz .,'")), max_size=5
    )
)
def test_flat_yaml_is_read_as_it_was_written(mapping: dict[str, Any]) -> None:
    quoted = "\n".join(
        f"{key}: {value}" if isinstance(value, int) else f"{key}: '{value.replace(chr(39), chr(39) * 2)}'"
        for key, value in mapping.items()
    )

    assert (yamltext.parse(quoted).value or {}) == mapping
