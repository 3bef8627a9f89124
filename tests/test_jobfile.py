"""Bytes of a job file or sidecar → document and settings, or a failure that names line and column."""

from __future__ import annotations

import codecs
import json
import sys
import time
import tracemalloc
from typing import Any

import pytest
import yaml

from watchrender.core import jsontext, yamltext
from watchrender.core.failure import Code, Failure
from watchrender.core.settings import Settings
from watchrender.core.settle import Completeness
from watchrender.core.textual import Unreadable
from watchrender.spool.jobfile import (
    JobText,
    completeness,
    is_yaml_job,
    read,
    read_sidecar,
    schema_job,
    schema_sidecar,
    too_large,
)

MIB = 1024 * 1024
JOB: dict[str, Any] = {"template": {"src": "spot.aep", "composition": "Main"}}


def job(text: str | bytes, name: str = "spot.json", max_size: int = 5 * MIB) -> JobText:
    found = read(text.encode() if isinstance(text, str) else text, name, max_size)
    assert isinstance(found, JobText), found
    return found


def failure(text: str | bytes, name: str = "spot.json", max_size: int = 5 * MIB) -> Failure:
    found = read(text.encode() if isinstance(text, str) else text, name, max_size)
    assert isinstance(found, Failure), found
    return found


def document(**changes: Any) -> str:
    return json.dumps(JOB | changes)


def with_assets(*assets: Any) -> str:
    return document(assets=list(assets))


# -- JSON that is right -----------------------------------------------------------------------------------------


def test_a_nexrender_job_is_read_as_it_is() -> None:
    actions = {"postrender": [{"module": "@nexrender/action-copy", "output": "x.mp4"}]}
    found = job(json.dumps(JOB | {"actions": actions, "custom": {"of": ["anybody"]}}))

    assert found.document == JOB | {"assets": [], "actions": actions, "custom": {"of": ["anybody"]}}
    assert found.settings == Settings()
    assert (found.short, found.warnings, found.priority) == (False, (), None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_any_unicode_encoding_is_read_with_or_without_its_mark(encoding: str) -> None:
    text = json.dumps({"template": {"src": "spöt 🎬.aep", "composition": "Main"}}, ensure_ascii=False)
    data = text.encode(encoding)

    assert job(data).document["template"]["src"] == "spöt 🎬.aep"
    assert completeness(data, "spot.json") is Completeness.COMPLETE


def test_the_watchrender_key_is_taken_out_and_becomes_the_settings() -> None:
    found = job(document(watchrender={"priority": "high", "tags": ["tv"]}))

    assert "watchrender" not in found.document
    assert (found.settings.priority, found.settings.tags) == (70, ("tv",))
    assert found.settings.source_of("priority") == "job"


def test_null_and_empty_text_are_as_good_as_absent() -> None:
    template = JOB["template"] | {"outputModule": None, "outputExt": "", "frameStart": None}

    assert job(json.dumps({"template": template, "assets": None, "actions": None})).document == JOB | {"assets": []}


def test_quoted_numbers_where_numbers_belong_are_read_as_numbers() -> None:
    found = job(json.dumps({"template": JOB["template"] | {"frameStart": "0", "frameEnd": 10.0}}))

    assert found.document["template"]["frameStart"] == 0
    assert isinstance(found.document["template"]["frameEnd"], int)


@pytest.mark.parametrize(("given", "told"), [(None, None), (0, None), (1, 1), (100, 100)])
def test_nexrenders_own_priority_counts_from_one(given: int | None, told: int | None) -> None:
    assert job(document(priority=given)).priority == told


def test_fields_that_look_like_a_slip_of_the_hand_are_a_warning_and_pass() -> None:
    template = JOB["template"] | {"frameStrt": 1, "frameIncrement": 2, "myOwn": 3}
    found = job(json.dumps({"template": template, "asset": []}))

    assert found.warnings == (
        "template.frameStrt means nothing to nexrender; did you mean frameStart?",
        "template.frameIncrement means nothing to nexrender; did you mean incrementFrame?",
        "asset means nothing to nexrender; did you mean assets?",
    )
    assert found.document["template"]["myOwn"] == 3


def test_a_place_in_the_document_has_its_line_and_column_in_the_file() -> None:
    found = job(
        '{\n  "template": {"src": "ä🎬", "composition": "M"},\n  "assets": [\n    {"type": "static", "src": "x"}]}'
    )

    assert found.at(("template", "composition")) == "spot.json:2:44"
    assert found.at(("assets", 0, "src")) == "spot.json:4:31"
    assert found.place(("assets", 7, "src")) == (3, 13)
    assert found.place(("nowhere",)) == (1, 1)
    assert found.name(("assets", 0, "src")) == "assets[0].src"


# -- JSON that is wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "spot.json is empty"),
        (" \n ", "spot.json is empty"),
        ("\0" * 500, "spot.json is empty"),
        ("{", '1:2: the job ends here, but a name in double quotes, like "template", should stand here'),
        ('{"a"', '1:5: the job ends here, but a colon should stand after "a"'),
        ('{"a":', "1:6: the job ends here, but a value should stand here"),
        ('{"a": "x', "1:9: the text that begins in line 1 has no closing quote"),
        ('{"a": tru', "1:10: the job ends here, in the middle of a word"),
        ('{"a": 1.', "1:9: the job ends here, in the middle of a number"),
        ('{"a": 1 "b": 2}', "1:9: a comma or } should stand here"),
        ('{\n "a": 1,\n}', "2:8: a comma stands before }; take it out"),
        ('{"a": [1, 2,]}', "1:12: a comma stands before ]; take it out"),
        ('{"a": 1}}', "1:9: there is more after the end of the job"),
        ("{a: 1}", '1:2: a name in double quotes, like "template", should stand here'),
        ("{'a': 1}", "1:2: names stand in double quotes, not single ones"),
        ("{\"a\": 'x'}", "1:7: texts stand in double quotes, not single ones"),
        ('{"a": 1, // note\n"b": 2}', '1:10: a name in double quotes, like "template", should stand here'),
        ("// note\n{}", "1:1: JSON has no comments; take it out"),
        ('{"a": NaN}', "1:7: NaN is not a number that JSON has"),
        ('{"a": -Infinity}', "1:7: -Infinity is not a number that JSON has"),
        ('{"a": yes}', "1:7: yes is neither a text in double quotes nor true, false, null or a number"),
        ('{"a": 01}', "1:8: a comma or } should stand here"),
        ('{"a": "x\ny"}', "1:9: a text may not go over the end of its line or hold control characters; write \\n"),
        (
            '{"a": "C:\\Users"}',
            "1:10: \\U is no escape; a backslash in double quotes begins an escape; write paths with / or with \\\\",
        ),
        ('\N{NO-BREAK SPACE}{"a": 1}', "1:1: a value should stand here"),
    ],
)
def test_what_is_no_json_is_told_with_its_place_and_what_should_stand_there(text: str, message: str) -> None:
    found = failure(text)

    assert found.code is Code.JOB_UNREADABLE
    assert found.message == (message if message.startswith("spot") else f"spot.json:{message}")
    assert found.cure


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{}, {}]", "1:1: the job is a list of 2, not an object with a template; one file is one job"),
        ("null", "1:1: the job is null, not an object with a template"),
        ('\n "text"', '2:2: the job is "text", not an object with a template'),
        ("12", "1:1: the job is 12, not an object with a template"),
        ("{}", '1:1: template is missing; write "template": {"src": "spot.aep", "composition": "Main"}'),
        ('{"a": 1,\n "a": 2}', '2:2: "a" is set twice; first in line 1'),
        ('{"a": {"b": 1, "\\u0062": 2}}', '1:16: "b" is set twice; first in line 1'),
        ('{"a": 1e999}', "1:7: this number is larger than any program can hold"),
        ('{"a": ' + "9" * 5000 + "}", "1:7: this number is larger than any program can hold"),
    ],
)
def test_what_is_json_and_no_job_is_told_with_its_place(text: str, message: str) -> None:
    found = failure(text)

    assert (found.code, found.message) == (Code.JOB_INVALID, f"spot.json:{message}")
    assert (found.line, found.column) == tuple(map(int, message.split(":")[:2]))


def test_bytes_in_an_old_encoding_are_told_with_their_offset() -> None:
    found = failure('{"template":\n {"src": "café.aep"}}'.encode("latin-1"))

    assert found.code is Code.JOB_UNREADABLE
    assert found.message == "spot.json:2:14: byte 0xE9 (at offset 26) is not UTF-8; save the file as UTF-8"
    assert (found.line, found.column) == (2, 14)


def test_the_offset_counts_from_the_files_first_byte_even_behind_a_mark() -> None:
    assert "offset 4)" in failure(codecs.BOM_UTF8 + b'"\xff"').message


@pytest.mark.parametrize("size", [30 * MIB, 5 * MIB + 1])
def test_a_file_that_is_too_large_is_refused_by_its_size_alone(size: int) -> None:
    started = time.process_time()
    found = read(b"{" * size, "spot.json", 5 * MIB)

    assert isinstance(found, Failure)
    assert found.code is Code.JOB_TOO_LARGE
    assert "a job may have 5MiB" in found.message
    assert time.process_time() - started < 0.5


def test_the_size_alone_can_be_asked_before_anything_is_read() -> None:
    assert too_large(5, "spot.json", 5) is None
    refused = too_large(30 * MIB, "spot.json", 5 * MIB)
    assert refused is not None
    assert refused.message == "spot.json has 30MiB; a job may have 5MiB"


HOSTILE = {
    "brackets": "[" * 200_000,
    "brackets in an object": '{"a":' + "[" * 200_000,
    "objects": '{"a":' * 200_000,
    "closed brackets": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    "quotes": '"' * 200_000,
    "backslashes": '{"a":"' + "\\" * 1_000_001,
    "escaped quotes": '{"a":"' + '\\"' * 1_000_000,
    "one long number": '{"a":' + "1" * 2_000_000 + "}",
    "one long exponent": '{"a":1e' + "1" * 2_000_000 + "}",
    "blanks": " " * 4_000_000 + "x",
    "faults": '{"template": 1, "assets": [' + "3," * 9_000 + "3]}",
    "one long name": '{"' + "x" * 2_000_000 + '": 1, "watchrender": {"' + "y" * 2_000_000 + '": 1}}',
    "one long name twice": '{"' + "x" * 2_000_000 + '": 1, "' + "x" * 2_000_000 + '": 1}',
    "assets": '{"template": 1, "assets": [' + "{}," * 1_000_000 + "{}]}",
    "phases": '{"actions": {' + ",".join(f'"p{number}": 1' for number in range(50_000)) + "}}",
    "settings": '{"watchrender": {' + ",".join(f'"p{number}": 1' for number in range(50_000)) + "}}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_quickly_and_in_few_words(name: str) -> None:
    started = time.process_time()

    found = failure(HOSTILE[name])
    completeness(HOSTILE[name].encode(), "spot.json")

    assert found.code in (Code.JOB_INVALID, Code.JOB_UNREADABLE)
    assert len(found.message) < 4000
    # Of the processor's time; most take some milliseconds, and more where each line is traced (coverage).
    assert time.process_time() - started < (60 if sys.gettrace() else 10)


def test_the_largest_job_of_nothing_but_objects_stays_in_bounds() -> None:
    text = ('{"template": 1, "x": [' + "{}," * 100_000 + "{}]}").encode()

    tracemalloc.start()
    try:
        failure(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 40 * len(text)  # 200 MiB for the largest job there may be


def test_nesting_that_people_write_is_fine_and_deeper_is_refused_at_its_place() -> None:
    def nested(levels: int) -> str:
        return '{"template": {"src": "a", "composition": "b"}, "x": ' + "[" * levels + "]" * levels + "}"

    job(nested(63))
    found = failure(nested(64))

    assert (found.code, found.message) == (Code.JOB_INVALID, "spot.json:1:116: nested deeper than 64 levels")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"a\\u0000b"', "template.src holds the character NUL"),
        ('"a\\ud800b"', "template.src holds half a character (\\ud800)"),
        ('"C:\\new.aep"', "template.src has the control character '\\n' in it"),
        ('"x", "__proto__": {"output": "/etc/passwd"}', "template.__proto__ is a name that JavaScript obeys"),
        ('"x", "\\u005f_proto__": {}', "template.__proto__ is a name that JavaScript obeys"),
    ],
)
def test_texts_that_mean_something_else_further_down_the_line_are_refused(value: str, words: str) -> None:
    found = failure('{"template": {"composition": "M", "src": ' + value + "}}")

    assert found.code is Code.JOB_INVALID
    assert words in found.message


def test_a_message_can_be_written_whatever_it_quotes() -> None:
    name = "a\nb\udcff.json"
    twice = read(b'{"\\ud800\\n": 1, "\\ud800\\n": 2}', name, MIB)
    unknown = read(b'{"watchrender": {"\\ud800\\u0000": 1}}', name, MIB)

    for found in (twice, unknown):
        assert isinstance(found, Failure)
        found.message.encode("utf-8")
        assert found.message.startswith("a\\nb\\udcff.json:1:")
        assert all(line.startswith("a\\nb") for line in found.message.splitlines())


def test_a_pair_of_halves_is_one_character() -> None:
    assert (
        job('{"template": {"src": "\\ud83c\\udfac.aep", "composition": "M"}}').document["template"]["src"] == "🎬.aep"
    )


# -- the form of a job ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"template": "spot.aep"}', '1:14: template is "spot.aep"; write an object with src and composition'),
        ('{"template": {"composition": "M"}}', "1:14: template.src is missing; write for example spot.aep"),
        ('{"template": {"src": "", "composition": "M"}}', "1:22: template.src is missing; write for example spot.aep"),
        (
            '{"template": {"src": "a", "composition": 2026}}',
            "1:42: template.composition is 2026; write a text in quotes",
        ),
        (
            '{"template": {"src": "a", "composition": "M", "frameStart": 9, "frameEnd": 3}}',
            "1:76: template.frameEnd is 3, before the first frame 9; swap them",
        ),
        (
            '{"template": {"src": "a", "composition": "M", "incrementFrame": 0}}',
            "1:65: template.incrementFrame is 0; write a whole number from 1 to 100000000",
        ),
        (
            '{"template": {"src": "a", "composition": "M", "useOriginal": "yes"}}',
            '1:62: template.useOriginal is "yes"; write true or false',
        ),
        (with_assets(5), "assets[0] is 5; write an object with a type"),
        (
            with_assets({"src": "x"}),
            "assets[0].type is missing; write one of image, audio, video, data, script, static",
        ),
        (with_assets({"type": "vidoe"}), 'assets[0].type is "vidoe"; did you mean video?'),
        (with_assets({"type": "image", "src": "x"}), "assets[0] (image) needs layerName or layerIndex"),
        (with_assets({"type": "video", "layerName": "x"}), "assets[0] (video) needs src"),
        (
            with_assets({"type": "data", "layerName": "x", "property": "y"}),
            "assets[0] (data) needs value or expression",
        ),
        (with_assets({"type": "data", "layerIndex": 1, "value": 0}), "assets[0] (data) needs property"),
        (with_assets({"type": "script"}), "assets[0] (script) needs src"),
        (
            with_assets({"type": "image", "src": "x", "layerIndex": 0}),
            "assets[0].layerIndex is 0; write a whole number from 1 to 100000",
        ),
        (document(assets={}), "assets is an object; write a list"),
        (document(actions=[]), "actions is a list of 0; write an object with lists like postrender"),
        (document(actions={"postRender": []}), "actions.postRender is not a phase; did you mean postrender?"),
        (document(actions={"prerender": {}}), "actions.prerender is an object; write a list of actions"),
        (
            document(actions={"prerender": ["x"]}),
            'actions.prerender[0] is "x"; write an object like {"module": "@nexrender/action-copy"}',
        ),
        (
            document(actions={"prerender": [{"module": ""}]}),
            "actions.prerender[0] needs module, the action's name as a text",
        ),
        (document(priority=500), "priority is 500; write a number from 1 to 100 (0 means none is given)"),
        (document(priority="5"), 'priority is "5"; write a number from 1 to 100 (0 means none is given)'),
        (document(output=5), "output is 5; write a text in quotes"),
        (
            document(watchrender={"priority": 5000}),
            "watchrender.priority is 5000; write a number from 0 to 100, or urgent, high, normal, low",
        ),
        (document(watchrender={"hld": True}), "watchrender.hld is not a setting; did you mean hold?"),
        (document(watchrender=[]), "watchrender is a list of 0; write settings as lines like priority: 80"),
    ],
)
def test_a_job_that_nexrender_could_not_use_is_told_what_to_write(text: str, message: str) -> None:
    found = failure(text)

    assert found.code is Code.JOB_INVALID
    assert found.message == f"spot.json:1:{found.column}: {message.removeprefix(f'1:{found.column}: ')}"


def test_all_faults_are_told_at_once_in_the_order_in_which_they_stand() -> None:
    found = failure('{"watchrender": {"priority": -1},\n "assets": [3],\n "template": {"src": 1}}')

    assert found.message.splitlines() == [
        "spot.json:1:30: watchrender.priority is -1; write a number from 0 to 100, or urgent, high, normal, low",
        "spot.json:2:13: assets[0] is 3; write an object with a type",
        "spot.json:3:14: template.composition is missing; write for example Main",
        "spot.json:3:22: template.src is 1; write a text in quotes",
    ]
    assert (found.path, found.line, found.column) == ("watchrender.priority", 1, 30)


def test_a_job_has_a_bounded_number_of_values() -> None:
    most = jsontext.MOST_VALUES
    rest = json.dumps({"template": {"src": "a.aep", "composition": "Main"}})[:-1]
    commas = '"' + "," * most + '"'

    job(rest + ',"x":[' + "1," * (most - 10) + commas + "]}")
    found = failure(rest + ',"x":[' + "1," * most + "1]}")

    assert found.code is Code.JOB_INVALID
    assert "more than 500000 values" in found.message


def test_of_many_faults_eight_are_told_and_the_rest_is_counted() -> None:
    lines = failure(with_assets(*range(20))).message.splitlines()

    assert len(lines) == 9
    assert lines[-1] == "and 12 more"


# -- YAML -------------------------------------------------------------------------------------------------------

SHORT = """\
# a job as people write it
template: spot.aep
composition: 2026
frames: 0-99
output_module: H.264
ext: .mp4
assets:
  - {type: data, layerName: 010, property: Source Text, value: off}
watchrender:
  priority: urgent
  not_before: 18:30
  aerender: 24.10
"""


def test_the_short_form_becomes_nexrenders() -> None:
    found = job(SHORT, "spot.yaml")

    assert found.short
    assert found.document == {
        "template": {
            "src": "spot.aep",
            "composition": "2026",
            "frameStart": 0,
            "frameEnd": 99,
            "outputModule": "H.264",
            "outputExt": "mp4",
        },
        "assets": [{"type": "data", "layerName": "010", "property": "Source Text", "value": "off"}],
    }
    assert found.settings.to_dict() == {"priority": 90, "not_before": "18:30", "aerender": "24.10"}


def test_a_place_of_nexrenders_form_is_found_where_the_short_form_has_it() -> None:
    found = job(SHORT, "spot.yaml")

    assert found.at(("template", "src")) == "spot.yaml:2:1"
    assert found.at(("template", "composition")) == "spot.yaml:3:1"
    assert found.at(("template", "frameEnd")) == "spot.yaml:4:1"
    assert found.at(("assets", 0, "layerName")) == "spot.yaml:8:18"
    assert found.name(("template", "src")) == "template"


@pytest.mark.parametrize(("written", "frames"), [("0-99", (0, 99)), ("5", (5, 5)), ("3 - 7", (3, 7)), ("1..2", (1, 2))])
def test_frames_are_a_range_or_one(written: str, frames: tuple[int, int]) -> None:
    template = job(f"template: a.aep\ncomposition: M\nframes: {written}", "spot.yml").document["template"]

    assert (template["frameStart"], template["frameEnd"]) == frames


def test_nexrenders_form_may_be_written_in_yaml() -> None:
    found = job("template:\n  src: spot.aep\n  composition: true\n  frameEnd: 5\nactions: {postrender: []}", "s.yaml")

    assert not found.short
    assert found.document["template"] == {"src": "spot.aep", "composition": "true", "frameEnd": 5}
    assert found.at(("template", "frameEnd")) == "s.yaml:4:3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "template: a\ncompositon: b\ncomposition: c",
            "2:1: compositon is not a key of a job; did you mean composition?",
        ),
        (
            "template: a\ncomposition: b\noutputModule: c",
            "3:1: outputModule is not a key of a job; did you mean output_module?",
        ),
        (
            "template: a\ncomposition: b\npriority: 5",
            "3:1: priority is not a key of a job; it is a setting: write it below watchrender:, or in a sidecar",
        ),
        (
            "template: a\ncomposition: b\nactions: {}",
            "3:1: actions is not a key of a job; actions need nexrender's form:"
            " write template: with src: and composition: below it",
        ),
        ("template: a", "1:1: composition is missing; write for example Main"),
        ("template:\ncomposition: b", "1:1: template is missing; write for example spot.aep"),
        ("template: [a]\ncomposition: b", "1:1: template is a list of 1; write a text in quotes"),
        ("template: a\ncomposition: b\nframes: 9-3", "3:1: frames is 3, before the first frame 9; swap them"),
        ("template: a\ncomposition: b\nframes: all", '3:1: frames is "all"; write the first and last frame, like 0-99'),
        ("- a\n- b", "1:1: the job is a list of 2, not an object with a template; one file is one job"),
        ("template: a\ntemplate: b", "2:1: template is set twice; first in line 1"),
        ("a: &x [1]\nb: *x", "1:4: &x names something for repeating; take it out"),
        ("a: *x", "1:4: *x repeats something by reference; write it out"),
        ("<<: {a: 1}", "1:1: << merges by reference; write it out"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "1:4: the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed;"
            " write a plain text, number, list or mapping",
        ),
        ("template: a\n---\ntemplate: b", "2:1: a second document begins here; one file is one job"),
        ("? [a]\n: b", "1:3: a name should stand here, not a list or a mapping"),
        ("[" * 100, "1:65: nested deeper than 64 levels"),
        ("a: [" + "1," * 100_001, "1:199999: this has more than 100000 values; write a job of that size as JSON"),
    ],
)
def test_yaml_that_is_no_job_is_told_with_its_place(text: str, message: str) -> None:
    found = failure(text, "spot.yaml")

    assert (found.code, found.message) == (Code.JOB_INVALID, f"spot.yaml:{message}")


LOADERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('a: "C:\\Users"', (1, 9), "write the path in single quotes or with /"),
        ('a: "C:\\data"', (1, 8), "write the path in single quotes or with /"),
        ("a: 1\n\tb: 2", (2, 1), "indented with blanks, not with tabs"),
        ("a: b: c", (1, 5), "put a text with a colon and a blank in it into quotes"),
        ("é: x: y", (1, 5), "mapping values"),
        ('a: "x', (1, 6), "unexpected end of stream"),
        ("a: \x07", (1, 4), "U+0007 may not stand in YAML"),
        ("a: @x", (1, 4), "cannot start any token"),
    ],
)
def test_broken_yaml_is_told_with_its_place_by_either_scanner(
    loader: Any, text: str, place: tuple[int, int], words: str
) -> None:
    with pytest.raises(Unreadable) as refused:
        yamltext.parse(text, loader=loader)

    assert refused.value.line == place[0]
    assert abs(refused.value.column - place[1]) <= 1  # one means the backslash, the other what follows it
    assert words in refused.value.problem


@pytest.mark.parametrize("loader", LOADERS)
def test_yaml_has_no_surprises_by_either_scanner(loader: Any) -> None:
    text = (
        "[off, no, yes, 010, 0x10, 1_000, 1e3, 2026-11-24, 18:30, .5, +5, ~, null, true, 5, -5, 1.50, 'true', '5', =]"
    )

    assert yamltext.parse(text, loader=loader).value == [
        "off", "no", "yes", "010", "0x10", "1_000", "1e3", "2026-11-24", "18:30", ".5", "+5",
        None, None, True, 5, -5, 1.5, "true", "5", "=",
    ]  # fmt: skip


def test_an_exploding_yaml_costs_nothing() -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    started = time.process_time()

    assert failure(laughs, "spot.yaml").code is Code.JOB_INVALID
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"template: spot.aep", True),
        (b"# note\ntemplate: {src: a}", True),
        (b'{"template": "spot.aep"}', True),
        ("template: spot.aep".encode("utf-16"), True),
        (b"template : spot.aep", True),
        (b"priority: 80", False),
        (b"tags: [template]", False),
        (b"expect:\n  template: 1", False),
        (b"", False),
        (b"- template: 1", False),
        (b"a: [\ntemplate: x", True),  # cannot be read, but a line says so
        (b"a: [\n  template: x", False),
        (b"template: caf\xe9.aep", True),
        (b"x: caf\xe9\n", False),
        (b"a: &a 1\ntemplate: *a", True),
    ],
)
def test_a_yaml_file_is_a_job_if_it_has_a_template_at_its_top(data: bytes, expected: bool) -> None:
    assert is_yaml_job(data) is expected


# -- sidecars ---------------------------------------------------------------------------------------------------


def sidecar_failure(text: str | bytes) -> str:
    found = read_sidecar(text.encode() if isinstance(text, str) else text, "spot.yaml")
    assert isinstance(found, Failure), found
    assert found.code is Code.SIDECAR_INVALID
    return found.message


def test_a_sidecar_is_read() -> None:
    found = read_sidecar(b"# for the client\npriority: 80\naerender: 2024.10\nnot_before: 7:05\n", "spot.yaml")

    assert isinstance(found, Settings)
    assert found.to_dict() == {"priority": 80, "aerender": "2024.10", "not_before": "7:05"}


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"---\n", b"{}", codecs.BOM_UTF8])
def test_an_empty_sidecar_asks_for_nothing(data: bytes) -> None:
    assert read_sidecar(data, "spot.yaml") == Settings()


def test_the_faults_of_a_sidecar_read_like_a_colleague() -> None:
    assert sidecar_failure("# x\n\npriority: 5000\nprority: 3\nhold: yes\nstall_timeout: 10 mins\n").splitlines() == [
        "spot.yaml:3: priority is 5000; write a number from 0 to 100, or urgent, high, normal, low",
        "spot.yaml:4: prority is not a setting; did you mean priority?",
        'spot.yaml:5: hold is "yes"; write true or false',
        'spot.yaml:6: stall_timeout: "10 mins" is not a duration (write 10m)',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "spot.yaml:1: the settings file is a list of 1; write settings as lines like priority: 80"),
        ("priority 80", 'spot.yaml:1: the settings file is "priority 80"; write settings as lines like priority: 80'),
        ("a: &a 1", "spot.yaml:1:4: &a names something for repeating; take it out"),
        (b"tags: caf\xe9", "spot.yaml:1:10: the file ends in the middle of a character; save it whole, as UTF-8"),
    ],
)
def test_what_is_no_sidecar_is_told(text: str | bytes, message: str) -> None:
    assert sidecar_failure(text) == message


def test_a_sidecar_of_a_megabyte_is_something_else() -> None:
    assert sidecar_failure(b"#" * MIB) == "spot.yaml has 1MiB; a settings file has at most 256KiB"


# -- complete or not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Completeness.CUT_OFF),
        (b"  \n", Completeness.CUT_OFF),
        (b"\0" * 4096, Completeness.CUT_OFF),
        (b"{}", Completeness.COMPLETE),
        (b' {"a": [1]} \r\n', Completeness.COMPLETE),
        (b'{"a": NaN, "a": 1}', Completeness.COMPLETE),  # complete; whether it is right is another question
        (b'{"a": 1', Completeness.CUT_OFF),
        (b'{"a": 1}\0\0\0\0', Completeness.CUT_OFF),  # room given before the writing is over
        (b'{"a": [1,\0\0\0\0', Completeness.CUT_OFF),
        (b'{"a": \0 1}', Completeness.BROKEN),
        (b'{"a": 1} x', Completeness.BROKEN),
        (b'{"a": 1,}', Completeness.BROKEN),
        (b'{"a": 1 "b"', Completeness.BROKEN),
        (b"[1, 2]", Completeness.BROKEN),
        (b"[1, 2", Completeness.BROKEN),  # can never become an object
        (b"12", Completeness.BROKEN),
        (b"template: spot.aep", Completeness.BROKEN),
        (b"\x89PNG\r\n\x1a\n", Completeness.BROKEN),
        (b'{"a": "caf\xe9"}', Completeness.BROKEN),
        ('{"a": "caf\u00e9'.encode()[:-1], Completeness.CUT_OFF),
        (b"\xef\xbb", Completeness.CUT_OFF),
        (b'\xef\xbb\xbf{"a"', Completeness.CUT_OFF),
        ('{"a": 1}'.encode("utf-16")[:-1], Completeness.CUT_OFF),
        ('{"a": 1}'.encode("utf-16-le") + b"\0\0\0", Completeness.CUT_OFF),
        (b'{"a":' + b"[" * 200_000, Completeness.BROKEN),
        (b'{"a": "' + b"x" * 100_000, Completeness.CUT_OFF),
    ],
)
def test_json_tells_whether_it_is_all_there(data: bytes, expected: Completeness) -> None:
    assert completeness(data, "spot.json") is expected


def test_every_cut_of_a_job_is_cut_off_and_only_the_whole_is_complete() -> None:
    text = json.dumps({"a": [1.5e-3, -0, True, None, "x\\ \u00e9 \n"], "ü": {"b": {}, "c": []}}, ensure_ascii=True)
    data = (text + json.dumps("")).encode()[: len(text)]

    for end in range(len(data)):
        assert completeness(data[:end], "spot.json") is Completeness.CUT_OFF, data[:end]
    assert completeness(data, "spot.json") is Completeness.COMPLETE


def test_yaml_never_tells() -> None:
    assert completeness(b"template: a", "spot.yaml") is Completeness.OPAQUE
    assert completeness(b"", "spot.yaml") is Completeness.CUT_OFF


def test_zeros_behind_a_job_that_stay_there_do_no_harm() -> None:
    assert job(document().encode() + b"\0" * 100).document["template"] == JOB["template"]


# -- the published schemas --------------------------------------------------------------------------------------


def test_the_schemas_can_be_written_and_say_what_the_check_says() -> None:
    validators = pytest.importorskip("jsonschema_rs")
    schema, sidecar = schema_job(), schema_sidecar()
    jobs = validators.validator_for(json.loads(json.dumps(schema)))
    settings = validators.validator_for(json.loads(json.dumps(sidecar)))

    assert jobs.is_valid(JOB)
    assert jobs.is_valid(yamltext.parse(SHORT.replace("24.10", "'24.10'").replace("2026", "Main")).value)
    assert jobs.is_valid(json.loads(with_assets({"type": "data", "layerName": "x", "property": "y", "value": None})))
    assert jobs.is_valid({"template": "a.aep", "composition": "Main", "frames": "0 - 99"})
    assert not jobs.is_valid({"template": "a.aep", "composition": "Main", "frames": "9-1x"})
    assert not jobs.is_valid({})
    assert not jobs.is_valid(json.loads(with_assets({"type": "image", "src": "x"})))
    assert not jobs.is_valid(JOB | {"watchrender": {"prority": 1}})
    assert settings.is_valid({"priority": "high", "stall_timeout": "5m", "expect": {"frames": 5}})
    assert not settings.is_valid({"priority": 101})
    assert not settings.is_valid({"stall_timeout": "10 mins"})


def test_the_scanner_and_the_parser_agree_on_a_job() -> None:
    text = document(watchrender={"tags": ["ä", "\\"]})

    assert jsontext.parse(text) == json.loads(text)
    assert jsontext.places(text, [()]) == {(): (1, 1)}
