"""A job may do what the operator allows, and every other lever is refused by name or taken away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_access import FACTS, ROOT, WINDOWS
from watchrender.core.access import NO_SETTING, Facts, Policy, said
from watchrender.core.failure import Code, Failure, Kind
from watchrender.core.policy import Allowance, Spot, Use, objections, whole_number

ATTACKS = Path(__file__).parent / "corpus" / "attacks"

MODULE, SCRIPTS, SCHEMES, HOSTS = "policy.actions", "policy.scripts", "policy.schemes", "policy.hosts"
DENIED, INVALID = Code.POLICY_DENIED, Code.JOB_INVALID
POST = "actions.postrender[0].module"
SRC = "assets[0].src"

#: Each file of the corpus: the code, the JSON path that is named, and the setting that would allow it.
EXPECTED: dict[str, tuple[Code, str, str]] = {
    "module-by-absolute-path": (DENIED, POST, MODULE),
    "module-by-windows-path": (DENIED, POST, MODULE),
    "module-by-relative-path": (DENIED, "actions.prerender[0].module", MODULE),
    "module-by-dotted-path": (DENIED, POST, MODULE),
    "module-part-of-a-package": (DENIED, POST, MODULE),
    "module-by-name": (DENIED, POST, MODULE),
    "module-webhook": (DENIED, POST, MODULE),
    "module-of-node-itself": (DENIED, "actions.predownload[0].module", MODULE),
    "module-name-in-capitals": (DENIED, POST, MODULE),
    "module-no-text": (INVALID, "actions.postrender[0]", ""),
    "data-program-and-postdownload": (DENIED, SRC, NO_SETTING),
    "copy-before-the-render": (DENIED, "actions.predownload[0].module", MODULE),
    "copy-of-a-system-file": (DENIED, POST, MODULE),
    "copy-of-a-file-above": (DENIED, POST, MODULE),
    "copy-with-more-fields": (DENIED, POST, MODULE),
    "encode-with-ffmpeg-arguments": (DENIED, POST, MODULE),
    "encode-to-a-path": (DENIED, POST, MODULE),
    "encode-to-a-path-above": (DENIED, POST, MODULE),
    "encode-to-a-windows-path": (DENIED, POST, MODULE),
    "encode-to-a-status-file": (DENIED, POST, MODULE),
    "encode-to-an-option": (DENIED, POST, MODULE),
    "encode-without-preset": (DENIED, POST, MODULE),
    "encode-from-a-file": (DENIED, POST, MODULE),
    "encode-before-the-render": (DENIED, "actions.prerender[0].module", MODULE),
    "script-of-the-share": (DENIED, "assets[0].type", SCRIPTS),
    "script-as-data": (DENIED, "assets[0].type", SCRIPTS),
    "script-from-the-web": (DENIED, "assets[0].type", SCRIPTS),
    "composition-with-a-quote": (DENIED, "template.composition", NO_SETTING),
    "composition-with-a-backslash": (DENIED, "template.composition", NO_SETTING),
    "composition-with-a-newline": (DENIED, "template.composition", NO_SETTING),
    "composition-with-a-line-separator": (DENIED, "template.composition", NO_SETTING),
    "composition-with-a-replacement": (DENIED, "template.composition", NO_SETTING),
    "composition-with-a-marker": (DENIED, "template.composition", NO_SETTING),
    "composition-no-text": (INVALID, "template.composition", ""),
    "layer-index-with-code": (DENIED, "assets[0].layerIndex", NO_SETTING),
    "layer-index-behind-a-name": (DENIED, "assets[0].layerIndex", NO_SETTING),
    "layer-index-as-list": (DENIED, "assets[0].layerIndex", NO_SETTING),
    "layer-index-zero": (DENIED, "assets[0].layerIndex", NO_SETTING),
    "continue-on-missing-with-code": (DENIED, "template.continueOnMissing", NO_SETTING),
    "continue-on-missing-as-list": (DENIED, "template.continueOnMissing", NO_SETTING),
    "expression-on-an-attribute": (DENIED, "assets[0].expression", NO_SETTING),
    "expression-on-a-text-attribute": (DENIED, "assets[0].expression", NO_SETTING),
    "expression-on-a-dimension": (DENIED, "assets[0].expression", NO_SETTING),
    "expression-through-an-attribute": (DENIED, "assets[0].expression", NO_SETTING),
    "expression-that-loads-a-file": (DENIED, "assets[0].expression", NO_SETTING),
    "property-into-the-engine": (DENIED, "assets[0].property", NO_SETTING),
    "src-of-cloud-metadata": (DENIED, SRC, HOSTS),
    "src-of-cloud-metadata-by-name": (DENIED, SRC, HOSTS),
    "src-of-this-machine": (DENIED, SRC, HOSTS),
    "src-of-this-machine-by-number": (DENIED, SRC, HOSTS),
    "src-of-this-machine-by-zero": (DENIED, SRC, HOSTS),
    "src-by-decimal-number": (DENIED, SRC, HOSTS),
    "src-by-hex-number": (DENIED, SRC, HOSTS),
    "src-by-octal-number": (DENIED, SRC, HOSTS),
    "src-by-short-number": (DENIED, SRC, HOSTS),
    "src-by-wide-digits": (DENIED, SRC, HOSTS),
    "src-by-escaped-digits": (DENIED, SRC, HOSTS),
    "src-of-the-intranet": (DENIED, SRC, HOSTS),
    "src-of-the-intranet-by-name": (DENIED, SRC, HOSTS),
    "src-of-the-intranet-by-domain": (DENIED, SRC, HOSTS),
    "src-of-a-carrier-network": (DENIED, SRC, HOSTS),
    "src-by-ipv6-loopback": (DENIED, SRC, HOSTS),
    "src-by-ipv6-any": (DENIED, SRC, HOSTS),
    "src-by-ipv6-mapped": (DENIED, SRC, HOSTS),
    "src-by-ipv6-mapped-hex": (DENIED, SRC, HOSTS),
    "src-by-ipv6-compatible": (DENIED, SRC, HOSTS),
    "src-by-ipv6-translated": (DENIED, SRC, HOSTS),
    "src-by-ipv6-6to4": (DENIED, SRC, HOSTS),
    "src-by-ipv6-teredo": (DENIED, SRC, HOSTS),
    "src-by-ipv6-unique-local": (DENIED, SRC, HOSTS),
    "src-by-ipv6-link-local": (DENIED, SRC, HOSTS),
    "src-with-a-password": (DENIED, SRC, HOSTS),
    "src-with-a-hidden-host": (DENIED, SRC, HOSTS),
    "src-with-another-hidden-host": (DENIED, SRC, HOSTS),
    "src-by-ftp": (DENIED, SRC, SCHEMES),
    "src-by-s3": (DENIED, "template.src", SCHEMES),
    "src-by-a-made-up-scheme": (DENIED, "template.src", SCHEMES),
    "src-of-another-server": (DENIED, "template.src", HOSTS),
    "src-of-another-server-as-uri": (DENIED, SRC, HOSTS),
    "src-of-another-server-with-slashes": (DENIED, SRC, HOSTS),
    "src-from-the-environment": (INVALID, "template.src", ""),
    "src-of-a-device": (INVALID, SRC, ""),
    "src-with-a-nul": (INVALID, SRC, ""),
    "template-as-data": (DENIED, "template.src", NO_SETTING),
    "extension-with-a-path": (DENIED, "assets[0].extension", NO_SETTING),
    "output-extension-with-a-path": (DENIED, "template.outputExt", NO_SETTING),
    "output-module-with-a-control-character": (DENIED, "template.outputModule", NO_SETTING),
}


def attack(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ATTACKS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def judge(
    document: Mapping[str, Any], facts: Facts = FACTS, policy: Policy | None = None
) -> tuple[list[Failure], list[Allowance]]:
    return objections(document, facts, policy or Policy())


def job(*, src: str = "spot.aep", assets: object = None, post: object = None, **template: object) -> dict[str, Any]:
    document: dict[str, Any] = {"template": {"src": src, "composition": "Main", **template}}
    if assets is not None:
        document["assets"] = assets
    if post is not None:
        document["actions"] = {"postrender": post}
    return document


def test_the_corpus_and_its_table_name_the_same_attacks() -> None:
    files = {file.stem for file in ATTACKS.glob("*.json")}

    assert {name for name in files if not name.startswith("harmless-")} == set(EXPECTED)
    assert len(files) > len(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_attack_is_refused_with_its_place_and_the_setting_that_would_allow_it(name: str) -> None:
    code, path, setting = EXPECTED[name]

    failures, _ = judge(attack(name))

    found = [failure for failure in failures if failure.path == path]
    assert found, failures
    assert (found[0].code, found[0].kind) == (code, Kind.JOB)
    assert found[0].message.startswith(path)
    assert setting in found[0].cure


@pytest.mark.parametrize("name", sorted(file.stem for file in ATTACKS.glob("harmless-*.json")))
def test_what_is_taken_away_needs_no_refusal(name: str) -> None:
    failures, allowances = judge(attack(name))

    assert failures == []
    assert all(found.use in (Use.LEFT_OUT, Use.DELIVERY) for found in allowances)
    places = [found.to for found in allowances if found.to]
    assert all(place.startswith(f"{ROOT}/out/") for place in places)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith(("src-by-ipv6", "src-of-"))])
def test_the_same_attack_on_the_project_itself_is_refused_too(name: str) -> None:
    document = attack(name)
    src = document.get("assets", [document["template"]])[0]["src"]

    failures, _ = judge(job(src=src))

    assert [failure.path for failure in failures] == ["template.src"]


def test_an_ordinary_job_has_nothing_against_it() -> None:
    document = job(
        src="file:///mnt/projects/spot.aep",
        outputModule="H.264",
        outputExt="mp4",
        frameStart=0,
        frameEnd="99",
        continueOnMissing=False,
        assets=[
            {"type": "image", "src": "https://example.com:8443/logo.png?size=2", "layerName": "logo.png"},
            {"type": "image", "src": "data:image/png;base64,iVBORw==", "layerIndex": 1},
            {"type": "audio", "src": "/mnt/sound/it's $5.mp3", "layerIndex": "3", "composition": "A->B"},
            {"type": "data", "layerName": "Bob's title", "property": "Source Text", "value": "It's $HOME \\ 'x'"},
            {"type": "data", "layerName": "x", "property": "Effects->Slider Control->Slider", "expression": "time * 2"},
            {"type": "data", "layerName": "x", "property": "Source Text.font", "value": "Arial"},
            {"type": "data", "layerName": "x", "property": "opacity", "value": 50},
        ],
    )

    assert judge(document) == ([], [])


@pytest.mark.parametrize("composition", ["Main", "A->B", "Größe 100%", "Price $5", 'Say "hi"', "C:/x", "final_v2 (1)"])
def test_names_of_compositions_that_are_no_code_pass(composition: str) -> None:
    assert judge(job(composition=composition)) == ([], [])


@pytest.mark.parametrize("composition", ["a'b", "a\\b", "$$", "$&", "$`", "a\tb", "\x7f", "\u2029", "/*COMPOSITION*/"])
def test_names_of_compositions_that_the_script_would_read_as_code_do_not(composition: str) -> None:
    failures, _ = judge(job(composition=composition))

    assert [(found.code, found.path) for found in failures] == [(DENIED, "template.composition")]


def test_all_that_is_wrong_is_said_at_once() -> None:
    document = job(
        src="http://10.0.0.1/x.aep",
        composition="it's",
        assets=[{"type": "script", "src": "x.jsx"}, "x", {"type": "picture"}],
        post=[{"module": "evil"}, 5],
    )

    failures, _ = judge(document)

    assert [failure.path for failure in failures] == [
        "template.src",
        "template.composition",
        "assets[0].type",
        "assets[1]",
        "assets[2].type",
        "actions.postrender[0].module",
        "actions.postrender[1]",
    ]


# -- deliveries ----------------------------------------------------------------------------------------------------


def test_the_jobs_own_output_is_a_weak_delivery() -> None:
    document = job(output="/mnt/renders/a/x.mp4") | {"output": "/mnt/renders/b/x.mp4"}

    assert judge(document) == ([], [Allowance(path="template.output", use=Use.DELIVERY, to="/mnt/renders/a/x.mp4")])
    assert judge(job() | {"output": "x.mp4"}) == ([], [])
    assert judge(job() | {"output": ""}) == ([], [])


def test_a_delivery_that_policy_forbids_is_left_out_with_a_warning() -> None:
    failures, allowances = judge(job() | {"output": "/srv/films/x.mp4"})

    assert failures == []
    assert [found.use for found in allowances] == [Use.LEFT_OUT]
    assert "/srv/films/x.mp4" in str(allowances[0].warning)
    assert "policy.roots" in str(allowances[0].warning)


COPY = "@nexrender/action-copy"
ENCODE = "@nexrender/action-encode"


@pytest.mark.parametrize("given", [None, "", "result.mp4", "result_[#####].png", "RESULT.MOV", "out/own.mp4"])
def test_a_copy_of_the_result_is_a_delivery(given: str | None) -> None:
    action = {"module": COPY, "output": "/mnt/renders/out/x.mp4"} | ({} if given is None else {"input": given})

    failures, allowances = judge(job(post=[action], output="out/own.mp4"))

    assert failures == []
    assert allowances[0] == Allowance(path="actions.postrender[0]", use=Use.DELIVERY, to="/mnt/renders/out/x.mp4")


def test_a_copy_needs_no_installed_module_and_an_encode_does() -> None:
    facts = replace(FACTS, module_installed=lambda name: False)

    copied, _ = judge(job(post=[{"module": COPY, "output": "/mnt/renders/out/x.mp4"}]), facts)
    encoded, _ = judge(job(post=[{"module": ENCODE, "preset": "mp4", "output": "x.mp4"}]), facts)

    assert copied == []
    assert [(found.code, found.path) for found in encoded] == [(Code.ACTION_MISSING, POST)]


def test_a_copy_inside_the_work_folder_is_left_out() -> None:
    failures, allowances = judge(job(post=[{"module": COPY, "output": "copy.mp4"}]))

    assert failures == []
    assert allowances[0].use is Use.LEFT_OUT and "work folder" in str(allowances[0].warning)


def test_the_example_of_nexrender_itself_works_encode_then_copy() -> None:
    post = [
        {"module": ENCODE, "preset": "mp4", "output": "encoded.mp4"},
        {"module": COPY, "input": "encoded.mp4", "output": "/mnt/renders/out/final.mp4"},
    ]

    failures, allowances = judge(job(post=post))

    assert failures == []
    encode, copy = allowances
    assert (encode.use, encode.of, encode.aims[0].spot) == (Use.FURTHER, "encoded.mp4", Spot.FURTHER)
    assert (copy.use, copy.of, copy.to) == (Use.DELIVERY, "encoded.mp4", "/mnt/renders/out/final.mp4")


@pytest.mark.parametrize(
    "name", ["con.mp4", "NUL.gif", "a.b", ".mp4", "x.mp4 ", "x.mp4/", "a|b.mp4", "x.mp4:y.mp4", "x.sh"]
)
def test_an_encode_makes_a_film_with_a_name_for_every_disk(name: str) -> None:
    failures, _ = judge(job(post=[{"module": ENCODE, "preset": "mp4", "output": name}]))

    assert [found.path for found in failures] == [POST]


def test_two_encodes_cannot_write_one_file() -> None:
    encode = {"module": ENCODE, "preset": "mp4", "output": "x.mp4"}

    failures, _ = judge(job(post=[encode, encode | {"output": "X.MP4"}]))

    assert [found.path for found in failures] == ["actions.postrender[1].module"]


# -- trusted modules -----------------------------------------------------------------------------------------------


def test_a_module_that_is_listed_runs_in_every_phase_with_its_own_fields() -> None:
    document = job()
    document["actions"] = {
        phase: [{"module": "our-action", "key": "/videos/x"}] for phase in ("predownload", "prerender")
    }

    failures, allowances = judge(document, policy=Policy(actions=("our-action",)))

    assert failures == []
    assert [found.use for found in allowances] == [Use.ACTION, Use.ACTION]


def test_a_listed_module_that_is_not_installed_is_told() -> None:
    facts = replace(FACTS, module_installed=lambda name: name != "our-action")

    failures, allowances = judge(job(post=[{"module": "our-action"}]), facts, Policy(actions=("our-action",)))

    assert [(found.code, found.path) for found in failures] == [(Code.ACTION_MISSING, POST)]
    assert allowances == []


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("input", "result.mp4", True),
        ("input", "work.txt", True),
        ("input", "/mnt/footage/x.png", True),
        ("input", "/etc/passwd", False),
        ("input", "../x", False),
        ("input", "a/../../x", False),
        ("input", "file:///etc/passwd", False),
        ("input", "concat:/etc/passwd", False),
        ("input", "http://10.0.0.1/x", False),
        ("input", ["x"], False),
        ("output", "thumb.png", True),
        ("output", "/mnt/footage/out/x.png", True),
        ("output", "/mnt/renders/x.png", False),
        ("output", "..\\x", False),
        ("output", "C:\\x", False),
        ("params", {"-i": "/etc/passwd"}, False),
        ("params", {"-i": ["/mnt/footage/x.png", "/etc/passwd"]}, False),
        ("params", {"-i": "/mnt/footage/x.png"}, True),
    ],
)
def test_the_paths_of_a_listed_module_are_confined_like_the_jobs(field: str, value: object, fits: bool) -> None:
    policy = Policy(actions=(ENCODE,), roots=("/mnt/footage", "/mnt/projects"))
    document = job(src="/mnt/projects/x.aep", post=[{"module": ENCODE, field: value, "preset": "other"}])

    failures, _ = judge(document, policy=policy)

    assert (failures == []) is fits, failures
    assert all(str(found.path).startswith(f"actions.postrender[0].{field}") for found in failures)


def test_a_near_miss_of_a_module_is_named() -> None:
    failures, _ = judge(job(post=[{"module": "@nexrender/action-cpy", "output": "/mnt/renders/x.mp4"}]))

    assert "Did you mean @nexrender/action-copy?" in failures[0].cure


# -- scripts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asset", "path"),
    [
        ({}, None),
        ({"parameters": [{"key": "title", "value": "It's"}], "keyword": "NX"}, None),
        ({"parameters": [{"key": "list", "value": ["=>"], "type": "array"}]}, None),
        ({"src": "/mnt/renders/inbox/evil.jsx"}, "assets[0].src"),
        ({"src": "/mnt/scripts/../evil.jsx"}, "assets[0].src"),
        ({"src": "https://example.com/x.jsx"}, "assets[0].src"),
        ({"src": "data:text/javascript,x"}, "assets[0].src"),
        ({"keyword": "x;evil()"}, "assets[0].keyword"),
        ({"defaults": {"global": "x", "x": "evil()"}}, "assets[0].defaults"),
        ({"parameters": [{"key": "a',evil(),'", "value": 1}]}, "assets[0].parameters[0].key"),
        ({"parameters": [{"key": "a", "value": "(function(){evil()})()"}]}, "assets[0].parameters[0].value"),
        ({"parameters": [{"key": "a", "value": "() => { evil() }"}]}, "assets[0].parameters[0].value"),
        ({"parameters": [{"key": "a", "value": "x", "arguments": []}]}, "assets[0].parameters[0].value"),
        ({"parameters": [{"key": "a", "type": "function"}]}, "assets[0].parameters[0].type"),
        ({"parameters": {"a": 1}}, "assets[0].parameters"),
        ({"parameters": ["a"]}, "assets[0].parameters[0]"),
    ],
)
def test_scripts_come_from_allowed_folders_and_get_data_only(asset: dict[str, Any], path: str | None) -> None:
    document = job(assets=[{"type": "script", "src": "/mnt/scripts/x.jsx"} | asset])

    failures, _ = judge(document, policy=Policy(scripts=("/mnt/scripts",)))

    assert [found.path for found in failures] == ([path] if path else [])


# -- words ---------------------------------------------------------------------------------------------------------


def test_options_for_the_download_are_told_to_be_left_out() -> None:
    _, allowances = judge(job(params={"headers": {"a": "b"}}, frameIncrement=2))

    assert [found.path for found in allowances] == ["template.frameIncrement", "template.params"]
    assert all(found.path in str(found.warning) for found in allowances)


def test_messages_can_be_written_to_any_file() -> None:
    failures, _ = judge(job(composition="\ud800'" + "x" * 5000))

    assert len(failures[0].message.encode("utf-8")) < 400
    assert "\n" not in failures[0].message
    assert said("\u2028") == '"?"'


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), ("3", 3), (3.0, 3), ("-3", -3), (3.5, None), (True, None), ("3x", None), (None, None), (10**400, None)],
)
def test_whole_numbers_are_what_a_job_means_by_them(value: object, number: int | None) -> None:
    assert whole_number(value) == number


WORDS = """template assets actions src composition type layerName layerIndex property value expression postrender module
predownload input output preset params -i parameters key keyword outputExt frameStart continueOnMissing name"""
KEYS = st.sampled_from(WORDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_any_document_is_judged_without_an_error(document: dict[str, Any]) -> None:
    for facts in (FACTS, WINDOWS):
        failures, allowances = judge(document, facts, Policy(actions=("x", ENCODE), scripts=("/mnt/scripts",)))

        assert all(failure.path for failure in failures)
        assert all(found.path for found in allowances)
