"""What a name in the inbox says: kind, job name, mark, key, control file."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from watchrender.core.naming import (
    LONGEST,
    Control,
    Kind,
    MarkKind,
    Order,
    candidates,
    classify,
    control,
    fit,
    fold,
    job_pattern,
    natural_key,
    not_for_a_job,
    not_for_a_sub,
    not_for_windows,
    parse_name,
    sidecar_owner,
    stem_candidates,
    stem_of,
    sub_pattern,
    target_matches,
)

NFC, NFD = "Café.json", "Café.json"


# -- kinds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spot.json", Kind.JOB),
        ("SPOT.JSON", Kind.JOB),
        ("spot.yaml", Kind.YAML),
        ("spot.YML", Kind.YAML),
        ("spot.zip", Kind.ZIP),
        ("spot.aep", Kind.LETTER),
        ("spot.aepx", Kind.LETTER),
        ("spot.mov", Kind.OTHER),
        ("spot", Kind.OTHER),
        ("spot.json.bak", Kind.OTHER),
        ("-rf.json", Kind.JOB),
        ("$(reboot).json", Kind.JOB),
        ("a\nb.json", Kind.JOB),
        ("'quoted'.json", Kind.JOB),
        ("spot.hold", Kind.CONTROL),
        ("spot.p90", Kind.CONTROL),
        ("spot.p90.json", Kind.JOB),
        ("spot.p900", Kind.OTHER),
        ("spot.hold.json", Kind.JOB),
        ("_PAUSE", Kind.CONTROL),
        ("_pause.TXT", Kind.CONTROL),
        ("_PAUSED", Kind.OTHER),
        ("notes.txt", Kind.OTHER),
    ],
)
def test_a_file_is_what_its_name_says(name: str, kind: Kind) -> None:
    assert classify(name, is_dir=False) is kind


@pytest.mark.parametrize(
    "name",
    [
        ".spot.json", ".DS_Store", "~$spot.json", "spot.tmp", "spot.json.part", "x.PARTIAL", "x.crdownload", "x.lnk",
        "Thumbs.db", "desktop.ini", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "__MACOSX",
        "System Volume Information", "lost+found", "spot.status.json", "spot.log", "WHY.txt", "spot.aep.WHY.txt",
        "spot.cancel.why.txt", ".cancel", ".p90",
    ],
)  # fmt: skip
def test_what_systems_and_copying_tools_and_we_leave_behind_is_ignored(name: str) -> None:
    assert classify(name, is_dir=False) is Kind.IGNORED
    assert classify(name.upper(), is_dir=False) is Kind.IGNORED


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("clientA", Kind.FOLDER),
        ("p80_spot", Kind.FOLDER),
        ("spot.json", Kind.FOLDER),
        ("spot.zip", Kind.FOLDER),
        ("client.log", Kind.FOLDER),
        ("spot.status.json", Kind.FOLDER),
        ("#recycle", Kind.IGNORED),
        (".hidden", Kind.IGNORED),
        ("copying.tmp", Kind.IGNORED),
        ("_PAUSE", Kind.CONTROL),
        ("spot.cancel", Kind.CONTROL),
        ("spot.p80", Kind.FOLDER),  # a bundle with a mark, unless it proves empty
    ],
)
def test_a_folder_is_what_its_name_says(name: str, kind: Kind) -> None:
    assert classify(name, is_dir=True) is kind


def test_patterns_of_the_config_are_ignored_in_any_case_and_any_spelling() -> None:
    assert classify("Draft_1.json", is_dir=False, extra_ignore=["draft_*"]) is Kind.IGNORED
    assert classify(NFD, is_dir=False, extra_ignore=[NFC]) is Kind.IGNORED
    assert classify("spot.json", is_dir=False, extra_ignore=["draft_*"]) is Kind.JOB


def test_patterns_of_the_config_cannot_take_the_brakes_away() -> None:
    assert classify("_PAUSE", is_dir=False, extra_ignore=["_*"]) is Kind.CONTROL
    assert classify("spot.cancel.txt", is_dir=False, extra_ignore=["*.txt"]) is Kind.CONTROL


# -- names and marks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name", "priority", "mark"),
    [
        ("spot.json", "spot", None, None),
        ("spot.v2.json", "spot.v2", None, None),
        ("p80_spot.json", "spot", 80, MarkKind.PREFIX),
        ("p80-spot.json", "spot", 80, MarkKind.PREFIX),
        ("P80_spot.yaml", "spot", 80, MarkKind.PREFIX),
        ("p00_spot.zip", "spot", 0, MarkKind.PREFIX),
        ("p100_spot.yml", "spot", 100, MarkKind.PREFIX),
        ("spot.p80.json", "spot", 80, MarkKind.SUFFIX),
        ("spot.p100.json", "spot", 100, MarkKind.SUFFIX),
        ("spot@urgent.json", "spot", 90, MarkKind.WORD),
        ("spot@High.json", "spot", 70, MarkKind.WORD),
        ("spot@normal.json", "spot", 50, MarkKind.WORD),
        ("spot@LOW.json", "spot", 20, MarkKind.WORD),
        # one mark: prefix before suffix before word
        ("p80_spot.p20.json", "spot.p20", 80, MarkKind.PREFIX),
        ("p80_spot@low.json", "spot@low", 80, MarkKind.PREFIX),
        ("spot@low.p80.json", "spot@low", 80, MarkKind.SUFFIX),
        ("p80_p20_spot.json", "p20_spot", 80, MarkKind.PREFIX),
        # anything else is part of the name, never an error
        ("p1_intro.json", "p1_intro", None, None),
        ("p720_spot.json", "p720_spot", None, None),
        ("p101_spot.json", "p101_spot", None, None),
        ("p80spot.json", "p80spot", None, None),
        ("xp80_spot.json", "xp80_spot", None, None),
        ("spot.p5.json", "spot.p5", None, None),
        ("spot.p720.json", "spot.p720", None, None),
        ("spot@later.json", "spot@later", None, None),
        ("spot@urgent@.json", "spot@urgent@", None, None),
        ("p٨٠_spot.json", "p٨٠_spot", None, None),
        # a mark without a name is the name
        ("p80_.json", "p80_", None, None),
        ("@urgent.json", "@urgent", None, None),
        ("a\nb@low.json", "a\nb", 20, MarkKind.WORD),
    ],
)
def test_one_mark_is_taken_off_a_file_name(file: str, name: str, priority: int | None, mark: MarkKind | None) -> None:
    found = parse_name(file)

    assert (found.name, found.priority, found.mark) == (name, priority, mark)


def test_a_folder_has_marks_but_no_suffix() -> None:
    assert parse_name("p80_spot", is_dir=True).name == "spot"
    assert parse_name("spot.zip", is_dir=True).name == "spot.zip"
    assert parse_name("spot.p80", is_dir=True).priority == 80


@pytest.mark.parametrize("file", ["p80_..json", "p80_...json", "p80_.hidden.json", "p80_~x.json", "p80_ .json"])
def test_a_mark_is_not_taken_off_where_the_rest_would_leave_the_folder_or_hide(file: str) -> None:
    assert parse_name(file).name == stem_of(file)


@given(st.text(min_size=1, max_size=30).filter(lambda text: "/" not in text and "\0" not in text))
def test_a_name_that_is_not_ignored_never_becomes_one_that_is_hidden_or_leaves_its_folder(name: str) -> None:
    file = f"{name}.json"
    if classify(file, is_dir=False) is not Kind.IGNORED:
        found = parse_name(file).name
        assert found
        assert not found.startswith(".")


# -- keys -------------------------------------------------------------------------------------------------------


def test_keys_are_compared_without_case_and_in_one_spelling() -> None:
    assert fold("ClientA/Spot") == fold("clienta/spot")
    assert fold(NFC) == fold(NFD)
    assert fold("STRASSE") == fold("straße")
    assert fold("spot") != fold("spot2")


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))


def test_names_are_sorted_as_people_count() -> None:
    names = ["sh10", "sh2", "sh1", "SH3", "sh2b", "sh02", "a", "10", "9", "sh", "sh2a"]

    assert sorted(names, key=natural_key) == ["9", "10", "a", "sh", "sh1", "sh02", "sh2", "sh2a", "sh2b", "SH3", "sh10"]


@given(st.lists(st.text(alphabet="aAéé019.~_ ", max_size=8), unique=True, max_size=8))
def test_the_natural_order_is_total_and_does_not_depend_on_the_order_before(names: list[str]) -> None:
    expected = sorted(names, key=natural_key)

    assert all(sorted(shuffled, key=natural_key) == expected for shuffled in itertools.islice(
        itertools.permutations(names), 10))  # fmt: skip
    assert len({natural_key(name) for name in names}) == len(names)


def test_numbers_of_any_length_are_sorted() -> None:
    assert natural_key("a" + "1" * 6000) > natural_key("a" + "9" * 5999)


def test_a_name_that_fits_is_unchanged_whatever_it_is() -> None:
    for name in ("spot", "CON", "trailing.", "trailing ", "$(x)", "a\nb", NFD, "x" * 225):
        assert fit(name) == name


@pytest.mark.parametrize("character", ["x", "é", "é", "語", "🎬", "\udcff", "\ud83d"])
def test_a_name_that_is_too_long_is_cut_between_characters_and_gets_its_hash(character: str) -> None:
    name = character * 240

    cut = fit(name)

    stem, _, digest = cut.rpartition("-")
    errors = "surrogateescape" if character == "\udcff" else "surrogatepass"
    assert len(f"{cut}~99.status.json".encode("utf-8", errors)) <= LONGEST
    assert unicodedata.normalize("NFC", name).startswith(stem)
    assert len(digest) == 8
    assert int(digest, 16) >= 0
    assert fit(cut) == cut


def test_names_that_differ_only_behind_the_cut_stay_apart_and_spellings_of_one_name_do_not() -> None:
    assert fit("x" * 300 + "a") != fit("x" * 300 + "b")
    assert fit("é" * 300) == fit("é" * 300)
    assert fold(fit("X" * 300)) == fold(fit("x" * 300))


def test_candidates_for_a_taken_name_count_from_two() -> None:
    assert list(itertools.islice(candidates("spot"), 4)) == ["spot", "spot~2", "spot~3", "spot~4"]


@pytest.mark.parametrize(
    ("stem", "second"),
    [
        ("spot", "spot~2"), ("p80_spot", "p80_spot~2"), ("spot.p80", "spot~2.p80"), ("spot@urgent", "spot~2@urgent"),
        ("0.p90", "0~2.p90"), ("p1_spot", "p1_spot~2"), ("spot.json", "spot.json~2"),
    ],
)  # fmt: skip
def test_a_second_file_of_a_name_keeps_its_mark(stem: str, second: str) -> None:
    first, found = itertools.islice(stem_candidates(stem), 2)

    assert (first, found) == (stem, second)
    assert parse_name(f"{found}.json").priority == parse_name(f"{stem}.json").priority


# -- control files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "order", "target", "priority"),
    [
        ("spot.hold", Order.HOLD, "spot", None),
        ("Spot.HOLD", Order.HOLD, "Spot", None),
        ("spot.cancel", Order.CANCEL, "spot", None),
        ("spot.cancel.txt", Order.CANCEL, "spot", None),
        ("p80_spot.json.cancel", Order.CANCEL, "p80_spot.json", None),
        ("spot.p90", Order.PRIORITIZE, "spot", 90),
        ("spot.json.P100.TXT", Order.PRIORITIZE, "spot.json", 100),
        ("spot.p05", Order.PRIORITIZE, "spot", 5),
        ("_PAUSE", Order.PAUSE, None, None),
        ("_pause.txt", Order.PAUSE, None, None),
        ("_Drain", Order.DRAIN, None, None),
        ("_STOP", Order.STOP, None, None),
        ("_cancel_all", Order.CANCEL_ALL, None, None),
        ("x.txt.hold", Order.HOLD, "x.txt", None),
    ],
)
def test_a_control_file_says_what_is_asked_of_which_job(
    name: str, order: Order, target: str | None, priority: int | None
) -> None:
    found = control(name)

    assert found == Control(order=order, target=target, priority=priority)
    assert found.top_only == (target is None)


@pytest.mark.parametrize(
    "name", ["spot.json", "spot", ".hold", ".cancel.txt", "spot.p9", "spot.p101", "spot.p90.json", "_PAUSE.md", "hold"]
)
def test_other_names_ask_for_nothing(name: str) -> None:
    assert control(name) is None


def test_hold_and_pause_stand_and_all_else_is_done_once() -> None:
    standing = [name for name in ("a.hold", "_PAUSE", "a.cancel", "a.p90", "_DRAIN", "_STOP", "_CANCEL_ALL")
                if (found := control(name)) and found.standing]  # fmt: skip

    assert standing == ["a.hold", "_PAUSE"]


def test_a_folder_asks_too_but_one_with_a_priority_mark_only_while_it_is_empty() -> None:
    assert control("spot.cancel", is_dir=True) == Control(order=Order.CANCEL, target="spot")
    marked = control("spot.p90", is_dir=True)
    assert marked is not None
    assert marked.only_if_empty


@pytest.mark.parametrize("target", ["spot", "SPOT", "p80_spot.json", "P80_Spot.JSON", "p80_spot"])
def test_a_job_is_meant_by_its_name_or_by_its_files_name(target: str) -> None:
    assert target_matches(target, "spot", ["p80_spot.json"])


@pytest.mark.parametrize("file", ["p80_spot.json", "spot.p20.zip", "spot@low.yaml"])
def test_a_job_is_meant_by_its_name_without_the_mark_where_its_key_has_a_number(file: str) -> None:
    assert target_matches("spot", "spot~2", [file])


def test_a_job_is_not_meant_by_another_name_and_is_by_another_spelling() -> None:
    assert not target_matches("spo", "spot", ["p80_spot.json"])
    assert not target_matches("spot.yaml", "spot", ["p80_spot.json"])
    assert target_matches("Café", "Café", [])


# -- sidecars ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sidecar", "jobs", "owner"),
    [
        ("spot.yaml", ["spot.json"], "spot.json"),
        ("spot.yml", ["Spot.JSON"], "Spot.JSON"),
        ("spot.yaml", ["p80_spot.json"], "p80_spot.json"),
        ("p20_spot.yaml", ["spot.json"], "spot.json"),
        ("spot.p20.yaml", ["p80_spot.zip"], "p80_spot.zip"),
        ("spot.yaml", ["p80_spot.json", "spot.json"], "spot.json"),  # exact stem first
        ("spot.yaml", ["SPOT.json", "Spot.json", "spot.json"], "spot.json"),
        ("Spot.yaml", ["SPOT.json", "Spot.json", "spot.json"], "Spot.json"),
        ("spot.yaml", ["p80_Spot.json", "p90_spot.json"], "p90_spot.json"),
        ("sPot.yaml", ["SPOT.json", "Spot.json"], "SPOT.json"),
        ("spot.yaml", ["spot10.json", "sh.json"], None),
        ("spot.yaml", ["p90_spot.json", "p80_spot.json"], "p80_spot.json"),
        ("spot.yaml", [], None),
    ],
)
def test_a_sidecar_belongs_by_exact_stem_else_by_name_without_marks(
    sidecar: str, jobs: list[str], owner: str | None
) -> None:
    assert sidecar_owner(sidecar, [(job, False) for job in jobs]) == owner


def test_a_sidecar_belongs_to_a_bundle_folder_beside_it() -> None:
    assert sidecar_owner("spot.v1.yaml", [("p80_spot.v1", True)]) == "p80_spot.v1"


# -- Windows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["CON", "con", "nul.txt", "COM1", "lpt9.aep", "com¹", "a.", "a ", "a:b", "a<b", "a|b", 'a"b', "a?b", "a*b", "a\\b",
     "a\x01", "CON .txt"],
)  # fmt: skip
def test_names_that_windows_cannot_hold_are_named(name: str) -> None:
    assert not_for_windows(name)


@pytest.mark.parametrize("name", ["spot.aep", "console", "com10", "a b", ".hidden", "é", "a.b.c", "communication"])
def test_names_that_windows_can_hold_pass(name: str) -> None:
    assert not_for_windows(name) is None


# -- what a program may call its job -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spot", "p80_spot", "x.tmp", "x.hold", "a name", "Ü", "-rf", "con2", "\u3000"])
def test_a_program_may_call_a_job_so(name: str) -> None:
    assert not_for_a_job(name) is None
    assert re.fullmatch(job_pattern(), name)


@pytest.mark.parametrize(
    "name",
    ["", ".x", "~x", "x.status", "X.Status", "con", "NUL.x", "com1", "a.", "a ", "a:b", "a/b", "a\\b", "a\n", ".."],
)
def test_a_program_may_not_call_a_job_so(name: str) -> None:
    assert not_for_a_job(name)
    assert not re.fullmatch(job_pattern(), name)


def test_what_the_configuration_leaves_alone_is_no_name_either() -> None:
    assert not_for_a_job("test_1", ("test_*",))
    assert not_for_a_sub("a/test_1", ("test_*",))


@pytest.mark.parametrize(
    "sub", ["", "clientA", "a/b", "x.log", "x.p90", "WHY.txt", " a", "x" * 240, "é" * 120, "漢" * 80]
)
def test_a_program_may_name_a_sub_folder_so(sub: str) -> None:
    assert not_for_a_sub(sub) is None
    assert re.fullmatch(sub_pattern(), sub)


@pytest.mark.parametrize(
    "sub",
    [
        "/", "/a", "a/", "a//b", ".", "..", "a/../b", " ", "a /b", "a./b", ".hidden", "a/~b", "x.tmp", "a/thumbs.db/c",
        "$RECYCLE.BIN", "lost+found", "_PAUSE", "a/_stop", "_drain.txt", "x.hold", "x.Cancel.txt/b", "con/a", "a:b",
        "x" * 241, "é" * 121, "漢" * 81, "😀" * 61,
    ],
)  # fmt: skip
def test_a_program_may_not_name_a_sub_folder_so(sub: str) -> None:
    assert not_for_a_sub(sub)
    assert not re.fullmatch(sub_pattern(), sub)


_PIECES = st.one_of(
    st.sampled_from(
        [
            "/",
            ".",
            "..",
            "~",
            " ",
            "a",
            "Ab",
            "_pause",
            ".txt",
            ".hold",
            ".status",
            ".tmp",
            "con",
            "COM",
            "1",
            "$",
            "é",
            "漢",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=3),
)


@given(st.lists(_PIECES, max_size=6).map("".join))
def test_the_expressions_say_what_the_words_say(text: str) -> None:
    assume(not set(text) & {"ſ", "ı", "İ", "\u212a"} and "\n" not in text)  # letters that are others in another case

    assert bool(re.fullmatch(job_pattern(), text)) == (not_for_a_job(text) is None)
    assert bool(re.fullmatch(sub_pattern(), text)) == (not_for_a_sub(text) is None)
