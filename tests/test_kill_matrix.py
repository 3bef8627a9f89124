"""The kill matrix: every effect on disk of every kind of life, and the process ends before, within and after it.

WATCHRENDER_TEST_MATRIX=whole (`make kill-matrix`) cuts at all of them, and the starts after these deaths at each effect
that only such a start has; otherwise a part is taken, always the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.harm import figures
from tests.harm.kit import Expected, Forge
from tests.harm.matrix import Recoveries, Tally, cut, cut_recoveries, cuts, names, record, sample
from tests.harm.scenarios import OTHER_VOLUME, SCENARIOS, Scenario

WHOLE = os.environ.get("WATCHRENDER_TEST_MATRIX") == "whole"
#: How many points of each life are taken where not all are.
CUTS, CUTS_OF_A_START, CUTS_WITHOUT_RECORD = 8, 16, 2
#: In how many places the start after a death is cut off too, where not in all.
CUTS_OF_A_RECOVERY = 1

NOTHING = Scenario(name="nothing", lay=lambda _home: None, expected={})

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200 if WHOLE else 240),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="services are forked, which this system does not know"),
]


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    made = Forge()
    yield made
    made.close()


@pytest.fixture(scope="module")
def start(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The points that every start and stop pass."""
    return record(NOTHING, forge, tmp_path_factory.mktemp("start"))


def _lives(*, lose_record: bool = False) -> list[Any]:
    return [
        pytest.param(
            scenario,
            id=scenario.name.replace(" ", "-"),
            marks=pytest.mark.skipif(
                bool(scenario.other_volume) and not OTHER_VOLUME.is_dir(), reason=f"there is no {OTHER_VOLUME} here"
            ),
        )
        for scenario in SCENARIOS
        if not (lose_record and scenario.needs_record)
    ]


def _recoveries() -> list[Any]:
    return [
        pytest.param(*life.values, lose_record, id=f"{life.id}-{words}", marks=life.marks)
        for lose_record, words in ((False, "with-its-record"), (True, "without-its-record"))
        for life in _lives(lose_record=lose_record)
    ]


#: What the figures call it, with the record deleted before or not.
_RECOVERY = {False: "recovery", True: "recovery without record"}


def _keep(kind: str, scenario: Scenario, tally: Tally) -> None:
    words = f"{kind} {scenario.name}".replace(" ", "-")
    figures.keep(f"matrix-{words}", kind=kind, scenario=scenario.name, whole=WHOLE, **asdict(tally))


def _assert_well(*tallies: Tally) -> None:
    faults = [f"{point}: {found}" for tally in tallies for point, found in tally.faults.items()]
    assert not faults, "\n".join(faults)


def _cut_off(scenario: Scenario, forge: Forge, start: list[str], tmp_path: Path, most: int, *, lost: bool) -> None:
    """End this life at each of its points, or at so many of them; and in the whole run each start after it, too."""
    passed = record(scenario, forge, tmp_path)
    points = cuts(passed, start)
    tally, recoveries = Tally(points=len(points)), Recoveries(plain=names(passed)) if WHOLE else None
    kind, salt = ("lost", f"lost {scenario.name}") if lost else ("life", scenario.name)

    for point in points if WHOLE else sample(points, most, salt):
        tally.add(cut(scenario, point, forge, tmp_path, lose_record=lost, recoveries=recoveries))
    again = (
        cut_recoveries(scenario, recoveries, forge, tmp_path, most=None, lose_record=lost)
        if recoveries is not None
        else Tally()
    )

    if recoveries is not None:
        _keep(_RECOVERY[lost], scenario, again)
    _keep(kind, scenario, tally)
    _assert_well(tally, again)


@pytest.mark.parametrize("scenario", _lives())
def test_a_life_that_is_cut_off_anywhere_ends_as_if_it_had_not_been(
    scenario: Scenario, forge: Forge, start: list[str], tmp_path: Path
) -> None:
    _cut_off(scenario, forge, start, tmp_path, CUTS, lost=False)


def test_a_start_or_stop_that_is_cut_off_anywhere_is_made_up_for(
    forge: Forge, start: list[str], tmp_path: Path
) -> None:
    scenario = SCENARIOS[0]
    points = cuts(start)
    tally = Tally(points=len(points))

    for point in points if WHOLE else sample(points, CUTS_OF_A_START, "start"):
        tally.add(cut(scenario, point, forge, tmp_path))

    _keep("start", scenario, tally)
    _assert_well(tally)


@pytest.mark.parametrize("scenario", _lives(lose_record=True))
def test_a_life_that_is_cut_off_and_loses_its_record_is_found_again_in_its_folders(
    scenario: Scenario, forge: Forge, start: list[str], tmp_path: Path
) -> None:
    _cut_off(scenario, forge, start, tmp_path, CUTS_WITHOUT_RECORD, lost=True)


@pytest.mark.skipif(WHOLE, reason="in the whole run each life's own test cuts off the starts after all of its deaths")
@pytest.mark.parametrize(("scenario", "lose_record"), _recoveries())
def test_a_recovery_that_is_cut_off_twice_is_recovered_from(
    scenario: Scenario, lose_record: bool, forge: Forge, start: list[str], tmp_path: Path
) -> None:
    passed = record(scenario, forge, tmp_path)
    recoveries, kind = Recoveries(plain=names(passed)), _RECOVERY[lose_record]

    tally = Tally()
    for point in sample(cuts(passed, start), 3, f"{kind} of {scenario.name}"):
        tally = cut(scenario, point, forge, tmp_path, lose_record=lose_record, recoveries=recoveries)
        if recoveries.found or tally.faults:
            break
    most = CUTS_OF_A_RECOVERY
    again = cut_recoveries(scenario, recoveries, forge, tmp_path, most=most, lose_record=lose_record)

    _keep(kind, scenario, again)
    _assert_well(tally, again)


def test_the_points_are_those_of_every_step(forge: Forge, tmp_path: Path) -> None:
    passed = {point.rpartition("#")[0] for scenario in SCENARIOS[:3] for point in record(scenario, forge, tmp_path)}
    steps = ("arrivals.", "turn.", "worker._take", "folders._win", "folders.claim", "prepare.", "finish.", "closing.")

    for step in (*steps, "statusfile.", "folders.close", "closing.close"):
        assert any(step in point for point in passed), step
    assert {point.partition(":")[0] for point in passed} == {"before", "within", "after"}


def test_a_lost_file_a_double_and_a_leftover_would_be_seen(forge: Forge, tmp_path: Path) -> None:
    scenario = SCENARIOS[1]
    from tests.harm.matrix import come_to_rest, laid

    with laid(scenario, forge, tmp_path) as harmed:
        harmed.start()
        assert come_to_rest(harmed, scenario) == []
        done = harmed.root / "done" / "spot"
        for harm, word in (
            (lambda: (done / "spot.yaml").rename(harmed.home / "away.yaml"), "inbox/spot.yaml is there 0 times"),
            (lambda: (harmed.root / "x.json").write_bytes((done / "spot.json").read_bytes()), "is there 2 times"),
            (lambda: (harmed.root / "active" / ".closing-1").mkdir(), "was left"),
            (lambda: (done / "spot.mp4").write_bytes(b"a f"), "is not there whole"),
            (lambda: (harmed.root / "status" / "spot.status.json").unlink(), "status/ says spot is None"),
            (lambda: (done / "spot.status.json").unlink(), "lies in 0 folders"),
            (lambda: harmed.log.write_text("Traceback"), "the log holds a Traceback"),
        ):
            harm()
            assert any(word in fault for fault in harmed.faults(scenario.expected)), word
        wrong = {"spot": Expected(states=("failed",), starts=0), "other": Expected()}
        faults = " ".join(harmed.faults(wrong))
        assert "not failed" in faults and "other is in the record 0 times" in faults and "was started 1 times" in faults
