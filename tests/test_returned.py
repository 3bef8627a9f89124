"""Jobs that come back: a folder dragged into the inbox, a lone file, and what anybody may have written in a status."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.turns import Hand
from watchrender.core import letters, status
from watchrender.core.states import State
from watchrender.spool import returned


def _failed(hand: Hand, name: str = "spot.json", key: str = "spot", **settings: Any) -> str:
    """A job that failed. Its id."""
    hand.drop(name)
    if settings:
        hand.sidecar(f"{name.rsplit('.', 1)[0]}.yaml", **settings)
    hand.pass_time(6)
    job = hand.start(key)
    hand.fail(key)
    return job.id


def _pipe(path: Path) -> None:
    if hasattr(os, "mkfifo"):  # Windows has none in folders
        os.mkfifo(path)


def test_a_folder_dragged_back_becomes_a_new_job_of_the_same_files(hand: Hand) -> None:
    old = _failed(hand, "p70_spot.json", tags=["x"])
    (hand.root / "failed/spot").rename(hand.inbox / "spot")
    hand.pass_time(8)

    job = hand.job("spot")
    assert (job.state, job.retry_of, job.file, job.priority, job.tags) == (
        State.QUEUED,
        old,
        "p70_spot.json",
        70,
        ("x",),
    )
    assert job.id != old


def test_the_rest_of_it_lies_in_before_in_the_new_folder(hand: Hand) -> None:
    _failed(hand)
    (hand.root / "failed/spot").rename(hand.inbox / "again")
    hand.pass_time(6)
    assert sorted(path.name for path in hand.inbox.iterdir() if not path.name.startswith(".")) == ["spot.json"]
    hand.start("spot")

    assert sorted(path.name for path in (hand.root / "active/spot/before").iterdir()) == [
        "WHY.txt",
        "spot.log",
        "spot.status.json",
    ]
    assert not list(hand.inbox.iterdir())


def test_a_folder_that_comes_back_twice_keeps_all_that_lay_in_it(hand: Hand) -> None:
    _failed(hand)
    (hand.root / "failed/spot/notes.txt").write_text("whose idea was this?", encoding="utf-8")
    (hand.root / "failed/spot").rename(hand.inbox / "again")
    hand.pass_time(6)
    second = hand.start("spot")
    hand.fail("spot")
    (hand.root / "failed/spot").rename(hand.inbox / "and again")
    hand.pass_time(6)
    third = hand.start("spot")

    assert third.retry_of == second.id
    before = hand.root / "active/spot/before"
    assert sorted(path.relative_to(before).as_posix() for path in before.rglob("*")) == [
        "WHY.txt",
        "before",
        "before/WHY.txt",
        "before/notes.txt",
        "before/spot.log",
        "before/spot.status.json",
        "spot.log",
        "spot.status.json",
    ]


def test_it_goes_back_to_the_sub_folder_it_came_from(hand: Hand) -> None:
    old = _failed(hand, "clientA/spot.json", "clientA/spot")
    (hand.root / "failed/clientA/spot").rename(hand.inbox / "somewhere")
    hand.pass_time(6)

    assert hand.job("clientA/spot").retry_of == old
    assert hand.lies("inbox/clientA/spot.json")


def test_a_returned_bundle_is_a_bundle_again(hand: Hand) -> None:
    hand.drop("show/job.json")
    hand.drop("show/clip.mov", b"x")
    hand.pass_time(6)
    hand.start("show")
    old = hand.fail("show").id
    (hand.root / "failed/show").rename(hand.inbox / "show")
    hand.pass_time(12)

    job = hand.job("show")
    assert (job.form, job.retry_of, job.state) == ("bundle", old, State.QUEUED)
    assert hand.lies("inbox/show/clip.mov")


def test_a_job_renamed_while_it_waits_keeps_what_it_brought(hand: Hand) -> None:
    _failed(hand)
    (hand.root / "failed/spot").rename(hand.inbox / "spot")
    hand.pass_time(6)
    (hand.inbox / "spot.json").rename(hand.inbox / "p90_spot.json")
    hand.pass_time(4)
    hand.start("spot")

    assert hand.lies("active/spot/before/WHY.txt")


def test_what_it_brought_is_not_lost_when_it_is_withdrawn(hand: Hand) -> None:
    _failed(hand)
    (hand.root / "failed/spot").rename(hand.inbox / "spot")
    hand.pass_time(6)
    (hand.inbox / "spot.json").unlink()
    hand.pass_time(6)

    assert hand.job("spot").state is State.CANCELLED
    assert hand.lies("cancelled/spot/WHY.txt")
    assert not list(hand.inbox.iterdir())


def test_a_folder_without_its_job_file_is_named_and_left_alone(hand: Hand) -> None:
    _failed(hand)
    (hand.root / "failed/spot/spot.json").unlink()
    (hand.root / "failed/spot").rename(hand.inbox / "spot")
    hand.pass_time(6)

    assert hand.intake.ignored == {"spot": letters.EMPTY_RETURN}
    assert hand.keys() == []
    assert hand.lies("inbox/spot/WHY.txt")


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"job": "../../../etc/passwd"}},
        {"files": {"job": "/etc/passwd"}},
        {"files": {"job": "..", "sidecar": "."}},
        {"files": {"job": "link.json"}},
        {"files": {"job": "pipe.json"}},
        {"files": {"job": "_STOP"}},  # an order, once it lies in the inbox
        {"files": {"job": "spot.cancel"}},
        {"files": {"job": "WHY.txt"}},  # never looked at there
        {"files": {"job": "spot.status.json"}},
        {"files": {"job": ".hidden.json"}},
        {"files": {"job": "bundle"}},  # a folder without a job
        {"files": ["spot.json"]},
        {"files": None},
        {"id": "../../x"},
        {"id": 7},
        {"schema": "other/1"},
    ],
)
def test_of_a_status_file_only_an_id_and_bare_names_are_believed(hand: Hand, change: dict[str, Any]) -> None:
    _failed(hand)
    folder = hand.root / "failed/spot"
    said = json.loads((folder / "spot.status.json").read_bytes())
    (folder / "spot.status.json").write_text(json.dumps(said | change))
    (folder / "link.json").symlink_to("/etc/passwd")
    _pipe(folder / "pipe.json")
    (folder / "bundle").mkdir()
    for name in ("_STOP", "spot.cancel", ".hidden.json"):
        (folder / name).touch()

    assert returned.read(folder) is None


@pytest.mark.parametrize(
    "sidecar", ["spot.json", "_STOP", "WHY.txt", "spot.log", "pipe.yaml", "gone.yaml", "../x.yaml"]
)
def test_what_is_no_settings_file_comes_back_as_a_part_of_the_rest(hand: Hand, sidecar: str) -> None:
    old = _failed(hand)
    folder = hand.root / "failed/spot"
    said = json.loads((folder / "spot.status.json").read_bytes())
    said["files"]["sidecar"] = sidecar
    (folder / "spot.status.json").write_text(json.dumps(said))
    (folder / "_STOP").touch()
    _pipe(folder / "pipe.yaml")
    folder.rename(hand.inbox / "spot")
    hand.pass_time(8)

    job = hand.job("spot")
    assert (job.retry_of, job.state, job.sidecar) == (old, State.QUEUED, None)
    assert sorted(path.name for path in hand.inbox.iterdir() if not path.name.startswith(".")) == ["spot.json"]


def test_what_else_a_status_file_says_is_not_believed(hand: Hand) -> None:
    _failed(hand)
    folder = hand.root / "failed/spot"
    said = json.loads((folder / "spot.status.json").read_bytes())
    said |= {"sub": "../../elsewhere", "priority": 100, "state": "completed", "folder": "/etc", "job": "../x"}
    (folder / "spot.status.json").write_text(json.dumps(said))
    folder.rename(hand.inbox / "spot")
    hand.pass_time(6)

    job = hand.job("spot")
    assert (job.sub, job.priority, job.state) == ("", 50, State.QUEUED)


def test_a_status_file_of_an_unknown_job_makes_a_job_where_it_was_dropped(hand: Hand) -> None:
    _failed(hand)
    said = json.loads((hand.root / "failed/spot/spot.status.json").read_bytes())
    said["id"] = "01KJMN8K206RVB2HR6K8WTD53G"
    (hand.root / "failed/spot/spot.status.json").write_text(json.dumps(said))
    (hand.root / "failed/spot").rename(hand.inbox / "spot")
    hand.pass_time(6)

    assert hand.job("spot").retry_of == "01KJMN8K206RVB2HR6K8WTD53G"


def test_a_copy_of_a_live_jobs_status_harms_it_not(hand: Hand) -> None:
    hand.drop("spot.json")
    hand.pass_time(1)
    live = hand.job("spot")
    folder = hand.inbox / "fake"
    folder.mkdir()
    (folder / "spot.status.json").write_text(json.dumps(status.document(live)))
    shutil.copy(hand.inbox / "spot.json", folder)
    hand.pass_time(8)

    assert hand.job("spot").id == live.id
    assert hand.job("spot~2").retry_of == live.id


def test_a_folder_that_comes_back_beside_a_newer_file_of_the_name_keeps_its_mark_and_its_settings(hand: Hand) -> None:
    _failed(hand, "spot.p80.json", tags=["old"])
    hand.drop("spot.p80.json")
    hand.pass_time(3)
    (hand.root / "failed/spot").rename(hand.inbox / "again")
    hand.pass_time(8)

    back, newer = hand.job("spot~2"), hand.job("spot")
    assert (back.file, back.sidecar, back.priority, back.tags) == ("spot~2.p80.json", "spot~2.p80.yaml", 80, ("old",))
    assert (newer.sidecar, newer.tags) == (None, ())


def test_settings_that_come_back_stay_with_their_job_where_another_is_called_like_them(hand: Hand) -> None:
    hand.drop("p80_spot.json")
    hand.sidecar("spot.yaml", tags=["old"])
    hand.pass_time(6)
    hand.start("spot")
    hand.fail("spot")
    hand.drop("spot.json")
    hand.pass_time(3)
    (hand.root / "failed/spot").rename(hand.inbox / "again")
    hand.pass_time(8)

    assert (hand.job("spot~2").file, hand.job("spot~2").tags) == ("p80_spot.json", ("old",))
    assert (hand.job("spot").file, hand.job("spot").tags) == ("spot.json", ())


def test_a_returned_bundle_with_a_dot_in_its_name_keeps_it_where_it_is_taken(hand: Hand) -> None:
    def bundle() -> None:
        (hand.inbox / "shot.v2").mkdir()
        hand.drop("shot.v2/job.json")
        hand.pass_time(8)

    bundle()
    hand.start("shot.v2")
    hand.fail("shot.v2")
    bundle()
    (hand.root / "failed/shot.v2").rename(hand.inbox / "again")
    hand.pass_time(8)

    assert hand.keys() == ["shot.v2", "shot.v2~2"]


def test_a_lone_file_dragged_back_is_a_retry(hand: Hand) -> None:
    old = _failed(hand)
    (hand.root / "failed/spot/spot.json").rename(hand.inbox / "spot.json")
    hand.pass_time(2)

    assert hand.job("spot").retry_of == old


def test_a_lone_file_is_a_new_job_if_its_folder_still_has_it_or_it_was_changed(hand: Hand) -> None:
    _failed(hand)
    shutil.copy(hand.root / "failed/spot/spot.json", hand.inbox)
    hand.pass_time(2)
    assert hand.job("spot").retry_of is None
    (hand.inbox / "spot.json").unlink()
    hand.pass_time(5)

    (hand.root / "failed/spot/spot.json").unlink()
    hand.drop("spot.json", hand.document("Other one"))
    hand.pass_time(2)
    assert hand.job("spot").retry_of is None


def test_a_retry_by_command_is_the_same_as_dragging(hand: Hand) -> None:
    old = _failed(hand, tags=["x"])
    hand.control.retry(old, by="a test")
    hand.pass_time(5)

    job = hand.job("spot")
    assert (job.retry_of, job.tags) == (old, ("x",))
    assert hand.lies("failed/spot/spot.json")


def test_a_name_at_the_limit_comes_back_too(hand: Hand) -> None:
    name = "x" * 245
    hand.drop(f"{name}.json")
    hand.pass_time(3)
    key = hand.keys()[0]
    hand.start(key)
    old = hand.fail(key)
    (hand.root / old.folder).rename(hand.inbox / "back")
    hand.pass_time(6)

    assert [job.retry_of for job in hand.ledger.live()] == [old.id]
