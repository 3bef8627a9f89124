"""Intake, turn by turn: what the inbox promises, told by a clock that only moves when it is told to."""

from __future__ import annotations

import json
import os
import shutil
import threading
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.turns import Hand
from watchrender.core import letters
from watchrender.core.failure import Code
from watchrender.core.states import Event, State
from watchrender.spool import watcher

# -- order --------------------------------------------------------------------------------------------------


def test_files_seen_in_one_scan_arrive_in_natural_order(hand: Hand) -> None:
    for name in ("sh10", "sh2", "SH1"):
        hand.drop(f"{name}.json")

    hand.turn()

    assert hand.queue() == ["SH1", "sh2", "sh10"]


def test_what_comes_in_a_later_scan_stands_behind(hand: Hand) -> None:
    hand.drop("b.json")
    hand.turn()
    hand.drop("a.json")
    hand.turn()

    assert hand.queue() == ["b", "a"]


def test_a_yaml_job_and_a_bundle_keep_the_place_at_which_they_were_first_seen(hand: Hand) -> None:
    hand.drop("a.yaml", f"template: {hand.projects / 'spot.aep'}\ncomposition: Main\n")
    hand.drop("b/job.json")
    hand.turn()
    hand.drop("c.json")
    hand.pass_time(6)

    assert hand.queue() == ["a", "b", "c"]


def test_priority_goes_before_arrival(hand: Hand) -> None:
    hand.drop("a.json")
    hand.drop("p80_b.json")
    hand.drop("c@urgent.json")
    hand.turn()

    assert hand.queue() == ["c", "b", "a"]


# -- complete or not ----------------------------------------------------------------------------------------


def test_a_json_object_that_parses_is_taken_at_first_sight(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.turn()

    assert hand.job("spot").state is State.QUEUED
    assert hand.lies("inbox/spot.json")


def test_cut_off_json_waits_and_is_taken_when_it_is_whole(hand: Hand) -> None:
    text = json.dumps(hand.document())
    hand.drop("spot.json", text[:30])
    hand.pass_time(10)
    assert hand.job("spot").state is State.PENDING

    hand.turn(hand.drop("spot.json", text))

    assert hand.job("spot").state is State.QUEUED


def test_cut_off_json_is_refused_after_its_time(hand: Hand) -> None:
    hand.drop("spot.json", '{"template": {')
    hand.pass_time(21)

    assert hand.job("spot").error is not None
    assert hand.job("spot").error["code"] == "JOB_UNREADABLE"
    assert hand.lies("failed/spot/WHY.txt")


def test_json_broken_before_its_end_is_refused_at_once(hand: Hand) -> None:
    hand.drop("spot.json", '{"template": oops}')
    hand.turn()

    assert hand.job("spot").state is State.FAILED


@pytest.mark.parametrize("name", ["spot.json", "spot.zip"])
def test_an_empty_file_is_never_taken_and_says_so(hand: Hand, name: str) -> None:
    hand.drop(name, b"")
    hand.pass_time(60)

    assert hand.job("spot").state is State.PENDING
    assert "empty" in hand.job("spot").waiting_for[0]


def test_an_empty_job_file_in_a_bundle_is_waited_for_too(hand: Hand) -> None:
    folder = hand.inbox / "spot"
    folder.mkdir()
    (folder / "job.json").touch()
    hand.pass_time(60)
    assert hand.job("spot").state is State.PENDING
    assert "its job file is empty" in hand.job("spot").waiting_for[0]

    (folder / "job.json").write_text(json.dumps(hand.document()))
    hand.pass_time(6)

    assert hand.job("spot").state is State.QUEUED


def test_a_bundle_of_very_many_files_settles_as_a_whole(hand: Hand) -> None:
    folder = hand.inbox / "spot"
    (folder / "footage").mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(hand.document()))
    for number in range(10_001):
        (folder / "footage" / f"{number:05}.png").touch()
    for _ in range(4):
        with open(folder / "footage" / "99999.png", "ab") as last:
            last.write(b"x")
        hand.pass_time(2)
        assert hand.keys() == []

    hand.pass_time(20)

    assert hand.job("spot").state is State.QUEUED


def test_a_folder_too_deep_to_be_looked_into_is_named(hand: Hand) -> None:
    deep = "/".join(f"{number}" for number in range(13))
    deeper = "/".join(f"{number}" for number in range(34))
    hand.drop(f"{deep}/spot.json")
    hand.drop(f"{deeper}/spot.json")
    hand.pass_time(130)

    assert hand.job(f"{deep}/spot").state is State.QUEUED
    assert hand.intake.ignored == {"/".join(deeper.split("/")[:33]): letters.TOO_DEEP}


def test_yaml_has_to_keep_still(hand: Hand) -> None:
    text = f"template: {hand.projects / 'spot.aep'}\ncomposition: Main\n"
    hand.drop("spot.yaml", text)
    hand.pass_time(1.5)
    assert hand.job("spot").state is State.PENDING
    hand.turn(hand.drop("spot.yaml", text + "frames: 0-9\n"))
    hand.pass_time(1.5)
    assert hand.job("spot").state is State.PENDING

    hand.pass_time(1)

    assert hand.job("spot").state is State.QUEUED


def test_a_zip_has_to_keep_still_and_one_cut_off_gets_longer(hand: Hand) -> None:
    whole = _zip({"job.json": json.dumps(hand.document())})
    hand.drop("good.zip", whole)
    hand.drop("cut.zip", whole[:-30])
    hand.turn()
    assert hand.job("good").state is State.PENDING

    hand.pass_time(3)
    assert hand.job("good").state is State.QUEUED
    assert hand.job("cut").state is State.PENDING

    hand.pass_time(20)
    assert hand.job("cut").state is State.FAILED


def test_a_job_that_is_too_large_is_refused_by_its_size(hand: Hand) -> None:
    hand.drop("big.json", b'{"a": "' + b"x" * (6 * 2**20) + b'"}')
    hand.drop("side.yaml", b"# " + b"x" * (6 * 2**20))
    hand.drop("job.yaml", b"template: spot.aep\n# " + b"x" * (6 * 2**20))
    hand.pass_time(6)

    assert hand.job("big").error["code"] == "JOB_TOO_LARGE"
    assert hand.job("job").error["code"] == "JOB_TOO_LARGE"
    assert "too large" in hand.intake.ignored["side.yaml"]


def test_a_save_within_one_tick_of_the_files_time_is_found(hand: Hand) -> None:
    path = hand.drop("spot.json", json.dumps(hand.document("Main")))
    hand.turn()
    found = path.stat()
    path.write_text(json.dumps(hand.document("Name")), encoding="utf-8")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    hand.pass_time(4)

    assert hand.job("spot").composition == "Name"


# -- saving, renaming, taking away ----------------------------------------------------------------------------


def test_saving_again_validates_again_and_keeps_the_place(hand: Hand) -> None:
    hand.drop("a.json")
    hand.drop("b.json")
    hand.turn()
    before = hand.job("a")
    hand.seconds += 1
    path = hand.drop("a.json", hand.document("Other one"))
    hand.turn(path)

    after = hand.job("a")
    assert (after.id, after.arrival, after.composition) == (before.id, before.arrival, "Other one")
    assert hand.queue() == ["a", "b"]
    assert "its file was saved again" in hand.whys("a")


def test_a_save_that_no_event_told_of_is_found(hand: Hand) -> None:
    hand.drop("a.json")
    hand.pass_time(5)
    hand.drop("a.json", hand.document("Other one"))
    hand.pass_time(2)

    assert hand.job("a").composition == "Other one"


def test_saving_a_queued_job_into_a_broken_one_refuses_it(hand: Hand) -> None:
    hand.drop("a.json")
    hand.pass_time(1)
    path = hand.drop("a.json", "{broken")
    hand.turn(path)

    assert hand.job("a").state is State.FAILED


def test_renaming_changes_the_priority_and_nothing_else(hand: Hand) -> None:
    path = hand.drop("spot.json")
    hand.drop("other.json")
    hand.pass_time(1)
    before = hand.job("spot")
    path.rename(hand.inbox / "p90_spot.json")
    hand.pass_time(4)

    after = hand.job("spot")
    assert (after.id, after.arrival, after.key) == (before.id, before.arrival, "spot")
    assert (after.priority, after.priority_from, after.file) == (90, "filename", "p90_spot.json")


def test_a_bundle_is_renamed_and_saved_like_a_file(hand: Hand) -> None:
    hand.drop("spot/job.json")
    hand.pass_time(5)
    before = hand.job("spot")
    (hand.inbox / "spot").rename(hand.inbox / "spot@high")
    hand.pass_time(3)
    hand.drop("spot@high/job.json", hand.document("Other one"))
    hand.pass_time(5)

    after = hand.job("spot")
    assert (after.id, after.priority, after.composition) == (before.id, 70, "Other one")


def test_a_rename_is_known_by_its_content_where_inodes_change(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    _inodes_that_change(monkeypatch)
    path = hand.drop("spot.json")
    hand.pass_time(3)
    before = hand.job("spot").id
    assert hand.job("spot").state is State.QUEUED
    path.rename(hand.inbox / "p90_spot.json")
    hand.pass_time(3)

    assert hand.job("spot").id == before
    assert hand.job("spot").priority == 90


def test_a_file_taken_away_is_withdrawn_after_two_looks(hand: Hand) -> None:
    path = hand.drop("spot.json")
    hand.turn()
    path.unlink()
    hand.turn()
    hand.seconds += 1.5
    hand.turn()
    assert hand.job("spot").state is State.QUEUED

    hand.seconds += 1
    hand.turn()

    job = hand.job("spot")
    assert (job.state, job.folder) == (State.CANCELLED, "")
    assert not hand.lies("cancelled/spot")


def test_a_file_that_comes_back_in_between_is_not_withdrawn(hand: Hand) -> None:
    path = hand.drop("spot.json")
    hand.turn()
    aside = path.rename(hand.home / "aside")
    hand.turn()
    aside.rename(path)
    hand.pass_time(5)

    assert hand.job("spot").state is State.QUEUED


def test_an_inbox_that_is_away_withdraws_nothing(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.turn()
    hand.inbox.rename(hand.root / "away")
    hand.pass_time(10)
    assert [failure.code for failure in hand.gate.waiting()] == [Code.SHARE_OFFLINE]

    (hand.root / "away").rename(hand.inbox)
    hand.pass_time(5)

    assert hand.job("spot").state is State.QUEUED
    assert hand.gate.waiting() == []


def test_a_look_that_fails_is_not_gone(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that answers with an error: the listing lacks the file, and nobody can say more."""
    path = hand.drop("spot.json")
    hand.turn()
    real = os.lstat

    def sick(found: Any, **more: Any) -> os.stat_result:
        if str(found) == str(path):
            raise OSError(5, "Input/output error", str(found))
        return real(found, **more)

    path.rename(hand.home / "aside")
    monkeypatch.setattr(os, "lstat", sick)
    hand.pass_time(10)
    assert hand.job("spot").state is State.QUEUED

    monkeypatch.undo()
    (hand.home / "aside").rename(path)
    hand.pass_time(5)
    assert hand.job("spot").state is State.QUEUED


def test_a_share_that_hangs_blocks_nobody(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    hand.drop("spot.json")
    hand.turn()
    goes_on = threading.Event()
    monkeypatch.setattr(hand.folders, "health", lambda **_: goes_on.wait(30) and None)
    hand.intake._aside.limit = 0.3
    hand.intake._aside._clock = watcher.time.monotonic

    hand.turn()
    hand.turn()

    assert [failure.code for failure in hand.gate.waiting()] == [Code.SHARE_OFFLINE]
    monkeypatch.undo()
    goes_on.set()
    hand.turn()
    hand.turn()
    assert hand.gate.waiting() == []


def test_a_job_put_back_before_its_claim_is_withdrawn_if_its_file_has_gone(hand: Hand) -> None:
    from watchrender.core.states import Event

    path = hand.drop("spot.json")
    hand.pass_time(1)
    job = hand.ledger.apply(hand.job("spot").id, Event.START, "next")
    path.unlink()
    hand.pass_time(1)
    hand.ledger.apply(job.id, Event.RESTORE, "its file is not in the inbox any more")
    hand.pass_time(5)

    assert hand.job("spot").state is State.CANCELLED


# -- keys -----------------------------------------------------------------------------------------------------


def test_a_key_is_taken_by_a_live_job_in_any_case_and_spelling(hand: Hand) -> None:
    hand.drop("Spöt.json")
    hand.turn()
    hand.drop("a/x.json")
    hand.drop(unicodedata.normalize("NFD", "spöt.zip"), _zip({"job.json": json.dumps(hand.document())}))
    hand.pass_time(3)

    assert sorted(job.name for job in hand.ledger.live_in("")) == ["Spöt", unicodedata.normalize("NFD", "spöt") + "~2"]


def test_a_key_is_taken_by_a_folder_in_done(hand: Hand) -> None:
    (hand.root / "done" / "SPOT").mkdir()
    hand.drop("spot.json")
    hand.turn()

    assert hand.keys() == ["spot~2"]


def test_a_key_is_taken_by_a_sub_folder(hand: Hand) -> None:
    hand.drop("clientA/spot.json")
    hand.pass_time(5)
    hand.drop("clienta.json")
    hand.turn()

    assert hand.keys() == ["clientA/spot", "clienta~2"]


@pytest.mark.parametrize("top", ["failed", "cancelled"])
def test_a_key_is_taken_by_a_sub_folder_of_what_has_ended_in_any_spelling(hand: Hand, top: str) -> None:
    (hand.root / top / "Spöt" / "shot").mkdir(parents=True)
    (hand.root / top / "Spöt" / "shot" / "WHY.txt").touch()
    hand.drop(unicodedata.normalize("NFD", "spöt.json"))
    hand.turn()

    assert hand.keys() == [unicodedata.normalize("NFD", "spöt") + "~2"]


def test_a_sub_folder_named_like_a_job_is_left_alone_until_the_job_is_over(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.turn()
    hand.drop("Spot/one.json")
    hand.pass_time(6)
    assert hand.keys() == ["spot"]
    assert "the job spot has this name already" in hand.intake.ignored["Spot"]

    (hand.inbox / "spot.json").unlink()
    hand.pass_time(20)

    assert hand.keys() == ["Spot/one"]
    assert "Spot" not in hand.intake.ignored


def test_a_sub_folder_named_like_a_finished_job_gets_a_letter_that_goes_with_the_name(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(5)
    hand.start("spot")
    hand.finish("spot")
    hand.drop("spot/one.json")
    hand.pass_time(6)
    letter = hand.inbox / "spot.WHY.txt"
    said = letter.read_text(encoding="utf-8")
    assert "the job in done/spot has this name already" in said and "spot-2" in said
    written = letter.stat().st_mtime_ns, letter.stat().st_ino
    hand.pass_time(30)
    assert (letter.stat().st_mtime_ns, letter.stat().st_ino) == written
    assert hand.keys() == []

    (hand.inbox / "spot").rename(hand.inbox / "spot-2")
    hand.pass_time(12)

    assert hand.keys() == ["spot-2/one"]
    assert not letter.exists()


def test_the_letter_beside_a_folder_goes_too_where_the_folder_becomes_a_job(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(5)
    hand.start("spot")
    hand.finish("spot")
    hand.drop("spot/footage/clip.mov", b"footage")
    hand.pass_time(6)
    assert hand.lies("inbox/spot.WHY.txt")

    hand.drop("spot/job.json")
    hand.pass_time(20)

    assert hand.keys() == ["spot~2"]
    assert not hand.lies("inbox/spot.WHY.txt")


def test_the_letter_beside_a_folder_goes_too_where_the_folder_went_while_we_were_down(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(5)
    hand.start("spot")
    hand.finish("spot")
    hand.drop("spot/one.json")
    hand.drop("other.WHY.txt", b"What is in the folder other is mine.")
    hand.pass_time(6)
    hand.close()

    (hand.inbox / "spot").rename(hand.inbox / "spot-2")
    hand.open()
    hand.pass_time(6)

    assert not hand.lies("inbox/spot.WHY.txt")
    assert hand.lies("inbox/other.WHY.txt")


def test_a_name_too_long_is_cut_and_the_whole_is_in_the_file(hand: Hand) -> None:
    hand.drop("x" * 245 + ".json")
    hand.turn()

    job = hand.ledger.live()[0]
    assert len(job.name) < 240
    assert job.file == "x" * 245 + ".json"


# -- folders --------------------------------------------------------------------------------------------------


def test_a_folder_with_a_job_at_its_top_is_one_job_once_it_is_still(hand: Hand) -> None:
    hand.drop("show/job.json", {"template": {"src": "spot.aep", "composition": "Main"}})
    hand.drop("show/other.json")
    hand.project("spot", hand.inbox / "show")
    hand.pass_time(1)
    assert hand.keys() == []
    hand.drop("show/footage/clip.mov", b"still coming")
    hand.pass_time(1.5)
    assert hand.keys() == []

    hand.pass_time(3)

    assert hand.keys() == ["show"]
    assert hand.job("show").form == "bundle"


def test_a_sub_folder_is_one_for_good(hand: Hand) -> None:
    hand.drop("clientA/spot.json")
    hand.pass_time(5)
    assert hand.keys() == ["clientA/spot"]

    hand.drop("clientA/job.json")
    hand.pass_time(5)
    hand.reopen()
    hand.pass_time(3)

    assert hand.keys() == ["clientA/spot", "clientA/job"]


def test_sub_folders_may_lie_in_sub_folders_and_go_away(hand: Hand) -> None:
    hand.drop("clientA/show/spot.json")
    hand.pass_time(8)
    assert hand.keys() == ["clientA/show/spot"]

    (hand.inbox / "clientA/show/spot.json").unlink()
    (hand.inbox / "clientA/show").rmdir()
    (hand.inbox / "clientA").rmdir()
    hand.pass_time(6)
    assert hand.keys() == []

    hand.drop("clientA/job.json")
    hand.pass_time(5)
    assert [(job.key, job.form) for job in hand.ledger.live()] == [("clientA", "bundle")]


def test_a_file_that_becomes_a_folder_is_a_new_thing(hand: Hand) -> None:
    hand.drop("thing", b"not a job")
    hand.turn()
    assert "thing" in hand.intake.ignored
    (hand.inbox / "thing").unlink()
    hand.drop("thing/one.json")
    hand.pass_time(5)

    assert hand.keys() == ["thing/one"]
    assert "thing" not in hand.intake.ignored


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as POSIX has them")
@pytest.mark.parametrize("state", [State.PENDING, State.QUEUED])
@pytest.mark.parametrize("new", ["link", "pipe", "bundle", "folder"])
def test_a_job_whose_file_became_something_else_is_withdrawn(hand: Hand, new: str, state: State) -> None:
    path = hand.drop("spot.json", None if state is State.QUEUED else b"{")
    hand.turn()
    job = hand.job("spot")
    assert job.state is state
    path.unlink()
    if new == "link":
        path.symlink_to(hand.drop("other.json"))
    elif new == "pipe":
        os.mkfifo(path)
    else:
        hand.drop(f"spot.json/{'job.json' if new == 'bundle' else 'one.json'}")
    hand.pass_time(10)

    assert hand.ledger.get(job.id).state is State.CANCELLED
    assert hand.whys("spot")[-1] == "withdrawn: spot.json is something else now"
    if new in ("link", "pipe"):
        assert hand.intake.ignored["spot.json"] == letters.NOT_PLAIN
    else:
        assert ("spot.json" if new == "bundle" else "spot.json/one") in hand.queue()


@pytest.mark.parametrize("is_link", [False, True])
def test_a_bundle_that_became_something_else_is_withdrawn(hand: Hand, is_link: bool) -> None:
    hand.drop("spot/job.json")
    hand.pass_time(6)
    job = hand.job("spot")
    (hand.inbox / "spot").rename(hand.home / "elsewhere")
    if is_link:
        (hand.inbox / "spot").symlink_to(hand.home / "elsewhere")
    else:
        hand.drop("spot", b"not a job")
    hand.pass_time(10)

    assert hand.ledger.get(job.id).state is State.CANCELLED
    assert "spot" in hand.intake.ignored


def test_a_file_that_is_itself_again_soon_is_not_withdrawn(hand: Hand) -> None:
    path = hand.drop("spot.json")
    hand.turn()
    job = hand.job("spot")
    path.rename(hand.home / "kept.json")
    path.mkdir()
    hand.turn()
    path.rmdir()
    (hand.home / "kept.json").rename(path)
    hand.pass_time(10)

    assert (hand.job("spot").id, hand.job("spot").state) == (job.id, State.QUEUED)


def test_a_bundle_with_two_jobs_is_refused(hand: Hand) -> None:
    hand.drop("show/job.json")
    hand.drop("show/job.yaml", "template: spot.aep\n")
    hand.pass_time(5)

    assert hand.job("show").error["code"] == "JOB_INVALID"
    assert hand.lies("failed/show/show/job.json") or hand.lies("failed/show/bundle/job.json")


def test_a_folder_that_may_not_be_read_is_named(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    hand.drop("clientA/spot.json")
    hand.pass_time(5)
    hand.drop("closed/spot.json")
    real = os.scandir

    def strict(path: Any) -> Any:
        if Path(path).name in ("closed", "clientA"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", strict)
    hand.pass_time(8)
    assert hand.intake.ignored["clientA"] == letters.UNREADABLE_FOLDER
    assert "cannot be read" in hand.intake.ignored["closed"]
    assert hand.keys() == ["clientA/spot"]

    monkeypatch.undo()
    hand.pass_time(8)
    assert hand.intake.ignored == {}
    assert hand.keys() == ["clientA/spot", "closed/spot"]


# -- sidecars -------------------------------------------------------------------------------------------------


def test_a_job_waits_for_the_settings_that_came_with_it(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.sidecar("spot.yaml", priority=80)
    hand.turn()
    assert hand.job("spot").state is State.PENDING
    assert "spot.yaml" in hand.job("spot").waiting_for[0]

    hand.pass_time(3)

    job = hand.job("spot")
    assert (job.state, job.priority, job.priority_from, job.sidecar) == (State.QUEUED, 80, "sidecar", "spot.yaml")


def test_a_sidecar_belongs_by_name_with_the_marks_taken_off(hand: Hand) -> None:
    hand.drop("p80_spot.json")
    hand.sidecar("spot@low.yml", tags=["a"])
    hand.pass_time(4)

    assert hand.job("spot").tags == ("a",)
    assert hand.job("spot").priority == 80


def test_an_exact_stem_goes_before_a_name(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.drop("p80_spot.json")
    hand.sidecar("p80_spot.yaml", tags=["eighty"])
    hand.sidecar("spot.yaml", tags=["plain"])
    hand.pass_time(4)

    tags = {job.file: job.tags for job in hand.ledger.live()}
    assert tags == {"spot.json": ("plain",), "p80_spot.json": ("eighty",)}


def test_two_sidecars_for_one_job_are_refused_by_name(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.sidecar("spot.yaml", priority=80)
    hand.sidecar("p20_spot.yml", priority=20)
    hand.pass_time(4)

    error = hand.job("spot").error
    assert error["code"] == "SIDECAR_INVALID"
    assert "p20_spot.yml and spot.yaml" in error["message"]


def test_a_broken_sidecar_goes_to_failed_with_its_job(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.sidecar("spot.yaml", prioritty=80)
    hand.pass_time(4)

    error = hand.job("spot").error
    assert error["code"] == "SIDECAR_INVALID"
    assert "did you mean priority?" in error["message"]
    assert hand.lies("failed/spot/spot.yaml")
    assert hand.lies("failed/spot/spot.json")


def test_a_sidecar_that_comes_changes_or_goes_while_the_job_waits_is_applied(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    path = hand.sidecar("spot.yaml", priority=80, hold=True)
    hand.pass_time(3)
    assert (hand.job("spot").priority, hand.job("spot").hold) == (80, True)

    hand.sidecar("spot.yaml", priority=20)
    hand.pass_time(5)
    assert (hand.job("spot").priority, hand.job("spot").hold) == (20, False)

    path.unlink()
    hand.pass_time(3)
    assert (hand.job("spot").priority, hand.job("spot").sidecar) == (50, None)


def test_a_sidecar_that_becomes_a_job_is_one_and_settings_no_more(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.sidecar("spot.yaml", priority=80)
    hand.pass_time(6)
    assert hand.job("spot").priority == 80

    hand.drop("spot.yaml", f"template: {hand.projects / 'spot.aep'}\ncomposition: Other\n")
    hand.pass_time(6)

    first, second = hand.job("spot"), hand.job("spot~2")
    assert (first.state, first.priority, first.sidecar) == (State.QUEUED, 50, None)
    assert (second.state, second.composition) == (State.QUEUED, "Other")


@pytest.mark.skipif(os.name == "nt", reason="links as POSIX has them")
def test_a_sidecar_that_becomes_a_link_counts_no_more(hand: Hand) -> None:
    hand.drop("spot.json")
    path = hand.sidecar("spot.yaml", priority=80)
    hand.pass_time(6)

    path.unlink()
    path.symlink_to(hand.projects / "spot.aep")
    hand.pass_time(6)

    assert (hand.job("spot").priority, hand.job("spot").sidecar) == (50, None)
    assert hand.intake.ignored == {"spot.yaml": letters.NOT_PLAIN}


def test_a_sidecar_that_breaks_while_the_job_waits_refuses_it(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.sidecar("spot.yaml", priority=500)
    hand.pass_time(4)

    assert hand.job("spot").error["code"] == "SIDECAR_INVALID"
    assert "0 to 100" in hand.job("spot").error["message"]


def test_a_sidecar_that_changed_or_went_while_we_were_down_is_noticed(hand: Hand) -> None:
    for name in ("a", "b", "c"):
        hand.drop(f"{name}.json")
        hand.sidecar(f"{name}.yaml", priority=80)
    hand.pass_time(4)
    hand.sidecar("a.yaml", priority=20)
    (hand.inbox / "b.yaml").unlink()
    lines = len(hand.job("c").history)

    hand.reopen()
    hand.pass_time(5)

    assert [hand.job(name).priority for name in ("a", "b", "c")] == [20, 50, 80]
    assert len(hand.job("c").history) == lines


def test_settings_without_a_job_are_named_until_one_comes(hand: Hand) -> None:
    hand.sidecar("spot.yaml", priority=80)
    hand.pass_time(4)
    assert hand.intake.ignored == {"spot.yaml": letters.LONELY_SIDECAR}

    hand.drop("spot.json")
    hand.pass_time(3)

    assert hand.intake.ignored == {}
    assert hand.job("spot").priority == 80


def test_an_empty_sidecar_is_waited_for_but_not_for_ever(hand: Hand) -> None:
    hand.drop("spot.yaml", b"")
    hand.drop("spot.json")
    hand.pass_time(5)
    assert hand.job("spot").state is State.PENDING

    hand.pass_time(20)

    assert hand.job("spot").state is State.QUEUED
    assert hand.intake.ignored == {"spot.yaml": letters.EMPTY_SIDECAR}


def test_a_sidecar_just_after_the_start_puts_the_job_back_if_it_changes_the_start(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    job = hand.start("spot")
    hand.seconds += 5
    hand.sidecar("spot.yaml", hold=True)
    hand.pass_time(3)

    assert hand.put_back == [(job.id, "spot.yaml came just after the start and changes hold")]
    assert hand.job("spot").settings_hold
    assert hand.lies("active/spot/spot.yaml")


def test_a_sidecar_just_after_the_start_that_changes_nothing_of_it_ends_nothing(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.start("spot")
    hand.sidecar("spot.yaml", tags=["x"])
    hand.pass_time(3)

    assert hand.put_back == []
    assert hand.job("spot").tags == ("x",)


def test_a_sidecar_saved_again_just_after_the_start_takes_the_place_of_the_old_one(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.sidecar("spot.yaml", priority=60)
    hand.pass_time(4)
    hand.start("spot")
    hand.sidecar("spot.yaml", priority=70)
    hand.pass_time(4)

    assert hand.job("spot").priority == 70
    assert "70" in (hand.root / "active/spot/spot.yaml").read_text(encoding="utf-8")
    assert len(hand.put_back) == 1
    assert not hand.lies("inbox/spot.yaml")


def test_two_files_that_change_names_with_one_another_are_both_rendered_as_they_say(hand: Hand) -> None:
    hand.drop("a.json", hand.document("First"))
    hand.drop("b.json", hand.document("Second"))
    hand.pass_time(2)
    (hand.inbox / "a.json").rename(hand.inbox / ".between")
    (hand.inbox / "b.json").rename(hand.inbox / "a.json")
    (hand.inbox / ".between").rename(hand.inbox / "b.json")
    hand.pass_time(6)

    assert hand.keys() == ["a", "b"]
    assert [(hand.job(key).state, hand.job(key).composition) for key in ("a", "b")] == [
        (State.QUEUED, "Second"),
        (State.QUEUED, "First"),
    ]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_job_that_moves_to_another_sub_folder_is_withdrawn_here_and_queued_there(hand: Hand, what: str) -> None:
    hand.drop("clientA/spot.json")
    hand.pass_time(6)
    assert hand.keys() == ["clientA/spot"]
    if what == "file":
        (hand.inbox / "clientB").mkdir()
        (hand.inbox / "clientA/spot.json").rename(hand.inbox / "clientB/spot.json")
    else:
        (hand.inbox / "clientA").rename(hand.inbox / "clientB")
    hand.pass_time(8)

    assert hand.keys() == ["clientB/spot"]
    assert hand.job("clientA/spot").state is State.CANCELLED
    assert not hand.lies("cancelled/clientA/spot")


def test_a_sidecar_read_before_the_start_did_not_come_after_it(hand: Hand) -> None:
    """The worker records the start first and moves the files then: a look between the two sees the settings still."""
    hand.sidecar("spot.yaml", priority=60)
    hand.drop("spot.json")
    hand.pass_time(4)
    hand.started[hand.job("spot").id] = hand.seconds
    hand.ledger.apply(hand.job("spot").id, Event.START, "next in the queue", started_at=hand.ledger.stamp())
    hand.turn()

    assert hand.put_back == []
    assert not [line["why"] for line in hand.job("spot").history if "after the start" in line["why"]]


def test_a_sidecar_that_comes_late_lies_untouched(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.start("spot")
    hand.seconds += 11
    hand.sidecar("spot.yaml", hold=True)
    hand.pass_time(4)

    assert hand.put_back == []
    assert hand.lies("inbox/spot.yaml")
    assert hand.intake.ignored == {"spot.yaml": letters.LONELY_SIDECAR}


def test_a_broken_sidecar_just_after_the_start_is_named_and_ends_nothing(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.start("spot")
    hand.sidecar("spot.yaml", holdd=True)
    hand.pass_time(4)

    assert hand.put_back == []
    assert "did you mean hold?" in hand.intake.ignored["spot.yaml"]


# -- footage --------------------------------------------------------------------------------------------------


def test_a_job_waits_for_its_footage_and_goes_on_when_it_is_there(hand: Hand) -> None:
    hand.drop("spot.json", {"template": {"src": str(hand.projects / "late.aep"), "composition": "Main"}})
    hand.pass_time(5)
    assert hand.job("spot").state is State.VALIDATING
    assert "late.aep" in hand.job("spot").waiting_for[0]

    hand.project("late")
    hand.pass_time(3)

    assert hand.job("spot").state is State.QUEUED


def test_footage_that_never_comes_is_missing_after_the_deadline_across_a_restart(hand: Hand) -> None:
    hand.drop("spot.json", {"template": {"src": str(hand.projects / "never.aep"), "composition": "Main"}})
    hand.pass_time(40)
    hand.ledger.apply(hand.job("spot").id, _restore(), "interrupted")
    hand.reopen()
    hand.pass_time(10)
    assert hand.job("spot").state is State.VALIDATING

    hand.pass_time(15)

    assert hand.job("spot").error["code"] == "TEMPLATE_MISSING"
    assert "never.aep" in hand.job("spot").error["message"]


# -- what is not a job ------------------------------------------------------------------------------------------


def test_any_other_file_is_left_alone_and_named(hand: Hand) -> None:
    hand.drop("notes.docx", b"x")
    hand.drop(".hidden.json", b"x")
    hand.drop("copying.json.part", b"x")
    (hand.inbox / "link.json").symlink_to(hand.projects / "spot.aep")
    os.mkfifo(hand.inbox / "pipe.json")
    hand.pass_time(5)

    assert hand.keys() == []
    assert hand.intake.ignored == {
        "notes.docx": letters.NO_JOB_FILE,
        "link.json": letters.NOT_PLAIN,
        "pipe.json": letters.NOT_PLAIN,
    }
    (hand.inbox / "notes.docx").unlink()
    hand.turn()
    assert "notes.docx" not in hand.intake.ignored


def test_a_lone_project_gets_a_letter_that_goes_with_it(hand: Hand) -> None:
    path = hand.project("film", hand.inbox)
    hand.pass_time(4)
    letter = hand.inbox / "film.aep.WHY.txt"
    assert "template: film.aep" in letter.read_text(encoding="utf-8")

    path.unlink()
    hand.pass_time(1)

    assert not letter.exists()


def test_a_letter_goes_when_a_job_refers_to_the_project(hand: Hand) -> None:
    hand.project("film", hand.inbox)
    hand.pass_time(4)
    hand.drop("film.yaml", "template: film.aep\ncomposition: Main\n")
    hand.pass_time(4)

    assert hand.keys() == ["film"]
    assert not hand.lies("inbox/film.aep.WHY.txt")
    assert "film.aep" not in hand.intake.ignored


def test_a_project_that_came_with_its_job_gets_no_letter(hand: Hand) -> None:
    hand.project("film", hand.inbox)
    hand.drop("film.yaml", "template: film.aep\ncomposition: Main\n")
    hand.pass_time(8)
    hand.start("film")
    hand.finish("film")
    hand.reopen()
    hand.pass_time(8)

    assert not hand.lies("inbox/film.aep.WHY.txt")


def test_a_letter_whose_project_went_while_we_were_down_goes_too(hand: Hand) -> None:
    path = hand.project("film", hand.inbox)
    hand.pass_time(4)
    hand.drop("mine.aep.WHY.txt", b"my own words")
    hand.close()
    path.unlink()
    hand.open()
    hand.pass_time(1)

    assert not hand.lies("inbox/film.aep.WHY.txt")
    assert hand.lies("inbox/mine.aep.WHY.txt")


# -- orders -----------------------------------------------------------------------------------------------------


def test_an_order_does_not_overtake_the_job_it_came_with(hand: Hand) -> None:
    hand.drop("a.yaml", f"template: {hand.projects / 'spot.aep'}\ncomposition: Main\n")
    hand.drop("b/job.json")
    hand.drop("c.json")
    for name in ("a", "b", "c"):
        hand.drop(f"{name}.cancel", b"")
    hand.pass_time(10)

    assert [hand.job(name).state for name in ("a", "b", "c")] == [State.CANCELLED] * 3
    assert not list(hand.inbox.glob("*.cancel*"))


def test_an_order_that_names_no_job_becomes_a_letter(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.drop("spto.cancel", b"")
    hand.drop("x.P90.TXT", b"whatever")
    hand.pass_time(5)

    assert "Did you mean spot?" in (hand.inbox / "spto.cancel.WHY.txt").read_text(encoding="utf-8")
    assert hand.lies("inbox/x.P90.WHY.txt")
    assert not hand.lies("inbox/spto.cancel")


def test_cancel_all_takes_what_has_not_begun(hand: Hand) -> None:
    hand.drop("a.json")
    hand.turn()
    hand.start("a")
    hand.drop("b.json")
    hand.drop("c.yaml", f"template: {hand.projects / 'spot.aep'}\ncomposition: Main\n")
    hand.drop("_CANCEL_ALL", b"")
    hand.pass_time(8)

    assert [hand.job(name).state for name in "abc"] == [State.RENDERING, State.CANCELLED, State.CANCELLED]


def test_hold_marks_work_while_they_lie_there(hand: Hand) -> None:
    hand.drop("spot.json")
    mark = hand.drop("SPOT.Hold.txt", b"please")
    hand.pass_time(1)
    assert hand.job("spot").hold

    mark.unlink()
    hand.pass_time(1)
    assert not hand.job("spot").hold


def test_a_mark_laid_by_a_command_since_the_scan_is_not_taken_back(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.turn()
    job = hand.control.hold(hand.job("spot").id, by="a test")
    hand.control.pause()
    hand.intake._inbox.changed = True
    hand.intake._orders.marks()  # with what the last scan saw

    assert hand.ledger.get(job.id).hold
    assert hand.gate.paused
    hand.pass_time(1)
    assert hand.job("spot").hold and hand.gate.paused

    hand.control.release(job.id, by="a test")
    hand.control.resume()
    hand.intake._orders.marks()
    assert not hand.job("spot").hold and not hand.gate.paused


def test_a_folder_with_something_in_it_is_no_order_and_is_never_taken_away(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.drop("spot.cancel/keep.txt", b"mine")
    (hand.inbox / "spot.p90").mkdir()
    (hand.inbox / "_pause").mkdir()
    hand.pass_time(5)

    assert hand.job("spot").state is State.QUEUED
    assert hand.job("spot").priority == 90
    assert hand.lies("inbox/spot.cancel/keep.txt")
    assert not hand.lies("inbox/spot.p90")
    assert hand.gate.paused


@pytest.mark.parametrize("litter", [".DS_Store", "Thumbs.db", "desktop.ini", "._spot"])
def test_a_folder_is_an_order_too_where_a_system_has_laid_something_into_it(hand: Hand, litter: str) -> None:
    for name in ("a", "b", "c"):
        hand.drop(f"{name}.json")
    hand.pass_time(1)
    for name in ("a.cancel", "b.p90", "c.hold"):
        hand.drop(f"{name}/{litter}", b"of a system")
    hand.pass_time(6)

    assert (hand.job("a").state, hand.job("b").priority, hand.job("c").hold) == (State.CANCELLED, 90, True)
    assert sorted(path.name for path in hand.inbox.iterdir()) == ["b.json", "c.hold", "c.json"]


def test_a_folder_called_like_an_order_that_has_something_in_it_is_told_what_to_do(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    for order in ("spot.cancel", "_CANCEL_ALL", "_DRAIN", "_stop"):
        hand.drop(f"{order}/note.txt", b"mine")
    hand.pass_time(8)

    letter = hand.inbox / "spot.cancel.WHY.txt"
    assert hand.job("spot").state is State.QUEUED and not hand.gate.draining
    assert "Take out what is in it, and the order is done" in letter.read_text(encoding="utf-8")
    assert all(
        "nothing is in it" in hand.intake.ignored[order] for order in ("spot.cancel", "_CANCEL_ALL", "_DRAIN", "_stop")
    )

    (hand.inbox / "spot.cancel/note.txt").unlink()
    hand.pass_time(20)

    assert hand.job("spot").state is State.CANCELLED
    assert not letter.exists() and not hand.lies("inbox/spot.cancel")


def test_a_mark_that_is_a_folder_holds_whatever_is_in_it(hand: Hand) -> None:
    hand.drop("spot.hold/note.txt", b"mine")
    hand.drop("spot.json")
    hand.pass_time(6)
    assert hand.job("spot").hold

    shutil.rmtree(hand.inbox / "spot.hold")
    hand.pass_time(3)
    assert not hand.job("spot").hold


def test_a_folder_that_begins_empty_and_fills_is_a_bundle_not_an_order(hand: Hand) -> None:
    hand.drop("spot.json")
    (hand.inbox / "spot.p90").mkdir()
    hand.pass_time(1)
    hand.drop("spot.p90/job.json")
    hand.pass_time(5)

    assert hand.job("spot").priority == 50
    assert hand.job("spot~2").priority == 90


def test_an_order_that_cannot_be_removed_is_done_once_and_named(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender import disk

    def busy(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    hand.drop("spot.json")
    hand.turn()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "remove", busy)
        hand.drop("spot.p90", b"")
        hand.pass_time(5)
        assert "cannot be removed" in hand.intake.ignored["spot.p90"]
        assert sum("priority 90" in why for why in hand.whys("spot")) == 1

    hand.pass_time(3)
    assert not hand.lies("inbox/spot.p90")
    assert hand.intake.ignored == {}


def test_top_orders_mean_nothing_in_a_sub_folder(hand: Hand) -> None:
    hand.drop("clientA/spot.json")
    hand.drop("clientA/_STOP", b"")
    hand.pass_time(5)

    assert not hand.gate.stopping
    assert "only at the top" in hand.intake.ignored["clientA/_STOP"]


@pytest.mark.parametrize(("content", "at_once"), [(b"", False), (b" now\n", True), (b"nowadays", False)])
def test_stop_leaves_a_pause_and_now_gives_no_time(hand: Hand, content: bytes, at_once: bool) -> None:
    hand.drop("_stop.txt", content)
    hand.turn()

    assert (hand.gate.stopping, hand.gate.put_back, hand.gate.at_once) == (True, True, at_once)
    assert hand.lies("inbox/_PAUSE")
    assert not hand.lies("inbox/_stop.txt")


# -- a file that is locked, replaced or removed at each step ----------------------------------------------------


class Mischief:
    """Does something to a file at the n-th look or read of it."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what, self.calls, self.at = path, what, 0, 0

    def step(self, path: object) -> None:
        if Path(os.fsdecode(path)) != self.path:  # type: ignore[arg-type]
            return
        self.calls += 1
        if self.calls == self.at:
            self.strike()

    def strike(self) -> None:
        if self.what == "locked":
            raise PermissionError(13, "Permission denied", str(self.path))
        self.path.unlink()
        if self.what == "a link":
            self.path.symlink_to("/etc/passwd")
        elif self.what == "a pipe":
            os.mkfifo(self.path)
        elif self.what == "a folder":
            self.path.mkdir()
        elif self.what == "another job":
            self.path.write_text('{"template": broken}')


@pytest.mark.parametrize("name", ["spot.json", "spot.yaml", "spot.zip"])
@pytest.mark.parametrize("what", ["locked", "removed", "a link", "a pipe", "a folder", "another job"])
def test_a_file_may_be_harmed_at_every_step_of_intake(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, what: str, name: str
) -> None:
    contents: dict[str, str | bytes] = {
        "spot.json": json.dumps(hand.document()),
        "spot.yaml": f"template: {hand.projects / 'spot.aep'}\ncomposition: Main\n",
        "spot.zip": _zip({"job.json": json.dumps(hand.document())}),
    }
    real_lstat, real_open = os.lstat, os.open
    mischief = Mischief(hand.inbox / name, what)

    def lstat(path: Any, **more: Any) -> os.stat_result:
        mischief.step(path)
        return real_lstat(path, **more)

    def open_(path: Any, *args: Any, **more: Any) -> int:
        mischief.step(path)
        return real_open(path, *args, **more)

    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(os, "open", open_)
    step = 0
    while True:
        step += 1
        assert step < 60
        mischief.calls, mischief.at = 0, step
        hand.drop(name, contents[name])
        hand.pass_time(4)
        struck = mischief.calls >= step
        mischief.at = 0
        _clear(hand, name)
        if not struck:
            break
        hand.drop("next.json")
        hand.pass_time(1)
        assert hand.job("next").state is State.QUEUED, f"after step {step} the next job was not taken"
        _clear(hand, "next.json")
    assert step > 3
    for job in hand.ledger.live():
        assert job.state is State.QUEUED or job.waiting_for


def _clear(hand: Hand, name: str) -> None:
    import shutil

    path = hand.inbox / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    hand.pass_time(25, step=1)
    assert not [job for job in hand.ledger.live() if job.file == name]


def test_a_fault_of_our_own_over_one_file_hurts_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(tmp_path)
    real = hand.intake._admission._judge.judge

    def judge(job: Any, *args: Any) -> Any:
        if job.name == "poison":
            raise ZeroDivisionError
        return real(job, *args)

    monkeypatch.setattr(hand.intake._admission._judge, "judge", judge)
    hand.drop("poison.json")
    hand.drop("spot.json")
    hand.turn()
    hand.close()

    assert hand.job("spot").state is State.QUEUED
    assert hand.job("poison").error["code"] == "JOB_INVALID"
    assert "stumbled" in hand.job("poison").error["message"]


def test_a_fault_of_our_own_in_a_turn_does_not_end_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(hand.folders, "health", lambda **_: 1 / 0)
        assert hand.turn() == 2.0
    hand.drop("spot.json")
    hand.turn()
    hand.close()

    assert hand.job("spot").state is State.QUEUED


# -- events -------------------------------------------------------------------------------------------------------


def test_what_only_scans_find_says_that_nobody_hears(hand: Hand) -> None:
    hand.turn()
    for name in ("a", "b"):
        hand.drop(f"{name}.json")
        hand.pass_time(3)
    assert hand.intake.events_missed == 2

    path = hand.drop("c.json")
    hand.turn(path)
    hand.pass_time(3)
    assert hand.intake.events_missed == 0


def test_an_announced_job_is_the_file_that_then_comes(hand: Hand) -> None:
    job = hand.intake.announce("", "spot.json")
    hand.drop("spot.json")
    hand.pass_time(1)

    assert hand.job("spot").id == job.id
    assert hand.job("spot").state is State.QUEUED


def _restore() -> Any:
    from watchrender.core.states import Event

    return Event.RESTORE


def _zip(members: dict[str, str]) -> bytes:
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return out.getvalue()


def _inodes_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some shares invent a new inode at each look."""
    from itertools import count

    numbers = count(1)

    def restless(found: watcher.Look | None) -> watcher.Look | None:
        if found is None:
            return None
        return watcher.Look(
            size=found.size, mtime_ns=found.mtime_ns, inode=next(numbers), is_dir=found.is_dir, regular=found.regular
        )

    from watchrender.intake import watch

    real_look, real_read = watcher.look, watcher.read

    def read(path: Path, limit: int) -> Any:
        found = real_read(path, limit)
        return None if found is None else (found[0], restless(found[1]))

    monkeypatch.setattr(watch, "look", lambda path: restless(real_look(path)))
    monkeypatch.setattr(watch, "read", read)
