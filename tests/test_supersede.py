"""A newer drop in place of an older one: off by default, by name, by project, or as a sidecar says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.line import Line, serving, until
from tests.turns import Hand
from watchrender.core.states import State

Made = Callable[..., Hand]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    hands: list[Hand] = []

    def make(mode: str = "off") -> Hand:
        hands.append(Hand(tmp_path, queue={"supersede": mode}))
        return hands[-1]

    yield make
    for hand in hands:
        hand.close()


def test_by_default_nothing_is_superseded(made: Made) -> None:
    hand = made()
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.start("spot")
    hand.drop("spot.json")
    hand.drop("other.json")
    hand.pass_time(1)

    assert [hand.job(key).state for key in ("spot", "spot~2", "other")] == [
        State.RENDERING,
        State.QUEUED,
        State.QUEUED,
    ]


def test_same_job_cancels_the_older_one_that_waits_with_the_reason(made: Made) -> None:
    hand = made("same-job")
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.drop("p80_Spot.json", hand.document("Other one"))
    hand.pass_time(1)

    old, new = hand.job("spot"), hand.job("Spot~2")
    assert (old.state, old.superseded_by, new.state) == (State.CANCELLED, new.id, State.QUEUED)
    assert old.history[-1]["why"] == f"superseded by Spot~2 ({new.id})"
    assert hand.lies("cancelled/spot/spot.json")


def test_same_job_asks_a_running_one_to_end(made: Made) -> None:
    hand = made("same-job")
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.start("spot")
    hand.drop("spot.json", hand.document("Other one"))
    hand.pass_time(1)

    old, new = hand.job("spot"), hand.job("spot~2")
    assert (old.state, old.cancel_requested, old.superseded_by) == (State.RENDERING, True, new.id)


def test_same_job_means_one_sub_folder(made: Made) -> None:
    hand = made("same-job")
    hand.drop("spot.json")
    hand.pass_time(1)
    hand.drop("clientA/spot.json")
    hand.pass_time(5)

    assert hand.queue() == ["spot", "clientA/spot"]


def test_same_project_is_template_composition_and_sub_folder(made: Made) -> None:
    hand = made("same-project")
    hand.drop("monday.json")
    hand.pass_time(1)
    hand.drop("tuesday.json")
    hand.drop("wide.json", hand.document("Wide"))
    hand.pass_time(1)

    assert hand.job("monday").state is State.CANCELLED
    assert hand.job("monday").superseded_by == hand.job("tuesday").id
    assert hand.queue() == ["tuesday", "wide"]


@pytest.mark.parametrize("mode", ["same-project", "same-job"])
def test_files_first_seen_in_one_scan_are_no_versions_of_one_another(made: Made, mode: str) -> None:
    hand = made(mode)
    hand.drop("spot.json")
    hand.drop("p10_spot.json")
    hand.drop("spot/job.json")
    hand.pass_time(6)
    hand.reopen()
    hand.pass_time(3)

    assert len(hand.queue()) == 3


def test_jobs_that_fill_in_data_are_exempt(made: Made) -> None:
    hand = made("same-project")
    data: list[dict[str, Any]] = [{"type": "data", "layerName": "a", "property": "Source Text", "value": "x"}]
    hand.drop("one.json", hand.document(assets=data))
    hand.pass_time(1)
    hand.drop("two.json", hand.document(assets=data))
    hand.pass_time(1)
    hand.drop("three.json")
    hand.pass_time(1)

    assert hand.queue() == ["one", "two", "three"]


@pytest.mark.parametrize("said", ["clientA/spot", "ClientA/SPOT", "spot"])
def test_a_sidecar_says_what_it_supersedes_always(made: Made, said: str) -> None:
    hand = made()
    hand.drop("clientA/spot.json")
    hand.pass_time(5)
    hand.drop("clientA/new.json")
    hand.sidecar("clientA/new.yaml", supersedes=said)
    hand.pass_time(5)

    assert hand.job("clientA/spot").superseded_by == hand.job("clientA/new").id
    assert hand.queue() == ["clientA/new"]


def test_superseding_what_is_not_there_or_oneself_does_nothing(made: Made) -> None:
    hand = made()
    hand.drop("new.json", hand.document(watchrender={"supersedes": "new"}))
    hand.drop("other.json", hand.document(watchrender={"supersedes": "ghost"}))
    hand.pass_time(1)

    assert hand.queue() == ["new", "other"]


def test_settings_that_come_later_supersede_too(made: Made) -> None:
    hand = made()
    hand.drop("old.json")
    hand.drop("new.json")
    hand.pass_time(1)
    hand.sidecar("new.yaml", supersedes="old")
    hand.pass_time(4)

    assert hand.queue() == ["new"]


def test_a_film_that_is_being_delivered_is_not_taken_back(made: Made) -> None:
    from watchrender.core.job import Progress

    hand = made("same-job")
    hand.drop("spot.json")
    hand.pass_time(1)
    job = hand.start("spot")
    hand.ledger.progress(job.id, Progress(stage="delivering"))
    hand.drop("spot.json")
    hand.pass_time(1)

    assert not hand.job("spot").cancel_requested
    assert hand.job("spot~2").state is State.QUEUED


# -- through the service ----------------------------------------------------------------------------------------------

_LONG = 60.0


def _line(tmp_path: Path, mode: str | None) -> Line:
    line = Line(tmp_path)
    if mode is not None:
        line.change(queue={"supersede": mode})
    line.mark("_PAUSE")
    return line


def _is_superseded(line: Line, old: str, new: str) -> None:
    """Cancelled with the reason; files and letter where cancelled jobs lie."""
    gone = line.wait(old, "cancelled", _LONG)
    by = line.status(new)
    assert gone["superseded_by"] == by["id"], old
    assert gone["history"][-1]["why"].startswith(f"superseded by {new} ({by['id']})"), gone["history"][-1]
    folder = until(lambda: (place := line.status(old)["folder"]).startswith("cancelled/") and place, _LONG)
    letter = (line.root / folder / "WHY.txt").read_text(encoding="utf-8")
    assert f"Superseded by {new} ({by['id']})" in " ".join(letter.split())
    assert " was cancelled. Nothing is wrong with it." in letter


def _queued(line: Line, *keys: str) -> None:
    for key in keys:
        assert line.wait(key, "queued", _LONG)["superseded_by"] is None


def test_by_default_the_service_replaces_nothing_but_what_a_sidecar_names(tmp_path: Path) -> None:
    line = _line(tmp_path, None)
    with serving(line):
        line.drop("spot.json")
        _queued(line, "spot")
        line.drop("p60_spot.json")
        line.drop("other.json")
        _queued(line, "spot~2", "other", "spot")
        line.drop("new.yaml", "supersedes: Spot~2\n")
        line.drop("new.json", line.job("Tiny"))
        _is_superseded(line, "spot~2", "new")
        line.drop("late.json")
        _queued(line, "late", "spot", "other")
        line.drop("late.yaml", "supersedes: other\n")  # a sidecar that comes later counts too
        _is_superseded(line, "other", "late")
        _queued(line, "spot", "new", "late")


def test_the_same_job_is_replaced_whether_it_waits_or_renders(tmp_path: Path) -> None:
    line = _line(tmp_path, "same-job")
    with serving(line):
        line.drop("spot.json", line.job("Slower"))
        line.drop("spot.json", sub="client")
        line.drop("together.json")
        line.drop("p20_together.json")
        _queued(line, "spot", "client/spot", "together", "together~2")  # one scan: none is the newer one
        (line.root / "inbox" / "_PAUSE").unlink()
        until(lambda: line.status("spot").get("progress", {}).get("percent"), _LONG)
        line.mark("_PAUSE")
        until(lambda: line.overview().get("paused"), _LONG)
        line.drop("p80_SPOT.json", line.job("Tiny"))
        _is_superseded(line, "spot", "SPOT~2")
        line.drop("spot.yaml", f"template: {line.projects / 'spot.aep'}\ncomposition: Main\n")
        _is_superseded(line, "SPOT~2", "spot")  # the key is free again
        (line.root / "inbox" / "_PAUSE").unlink()
        for key in ("spot", "client/spot", "together", "together~2"):
            line.wait(key, "completed", _LONG)
        assert line.files("active") == []


def test_the_same_project_is_replaced_in_its_sub_folder_and_jobs_that_fill_in_data_are_not(tmp_path: Path) -> None:
    line = _line(tmp_path, "same-project")
    data = [{"type": "data", "layerName": "a", "property": "Source Text", "value": "x"}]
    line.project("other")
    with serving(line):
        for name, document in {
            "monday": line.job(),
            "filled": line.job("Filled", assets=data),
            "wide": line.job("Wide"),
            "project": line.job(project="other"),
        }.items():
            line.drop(f"{name}.json", document)
        line.drop("monday.json", sub="client")
        _queued(line, "monday", "filled", "wide", "project", "client/monday")
        line.drop("tuesday.json", line.job(template={"src": f"file://{line.projects}/x/../spot.aep"}))
        line.drop("filled-2.json", line.job("Filled", assets=data))
        line.drop("filled-3.json", line.job("Filled"))
        _is_superseded(line, "monday", "tuesday")
        _queued(line, "tuesday", "filled", "filled-2", "filled-3", "wide", "project", "client/monday")
        (line.root / "inbox" / "_PAUSE").unlink()
        line.wait("tuesday", "completed", _LONG)
        line.drop("wednesday.json")  # what is over is replaced by nobody
        line.wait("wednesday", "completed", _LONG)
        assert line.status("tuesday")["superseded_by"] is None
