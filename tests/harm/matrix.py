"""The kill matrix: each life in `scenarios.py`, ended at each effect on disk that it causes, and started again.

The list of points is what a run passes. Points that every start passes are cut off once, with nothing in the inbox
and in one scenario, and not in all of them.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.harm.kit import Forge, Harmed, until
from tests.harm.scenarios import OTHER_VOLUME, Scenario
from watchrender.disk import DIED

#: Files that are written anew every two seconds: cut off so often and not more.
_BEATS = ("service.json", "queue.json", "index.html")
_BEATS_CUT = 2
#: A point that is not reached, because two threads came in another order, is tried so often.
TRIES = 3
#: And an effect of a start is looked for after so many deaths that led to it.
DEATHS = 5


@dataclass(kw_only=True)
class Tally:
    """What one scenario came to."""

    points: int = 0  # that its life passes
    cut: int = 0  # where the process was ended
    missed: int = 0  # not reached in any of the runs that were to end there: order of threads
    faults: dict[str, list[str]] = field(default_factory=dict)  # by point

    def add(self, other: Tally) -> None:
        self.points += other.points
        self.cut += other.cut
        self.missed += other.missed
        self.faults |= other.faults


@contextmanager
def laid(scenario: Scenario, forge: Forge, tmp: Path) -> Iterator[Harmed]:
    """The scenario's files, with no service yet. All of it is gone afterwards."""
    home = Path(mkdtemp(dir=tmp))
    changes: dict[str, Any] = {name: dict(value) for name, value in scenario.changes.items()}
    other = None
    if scenario.other_volume:
        section, _, key = scenario.other_volume.partition(".")
        other = Path(mkdtemp(prefix="watchrender-", dir=OTHER_VOLUME))
        changes.setdefault(section, {})[key] = str(other / key)
    harmed = Harmed(home=home / "home", forge=forge, changes=changes)
    try:
        scenario.lay(harmed)
        yield harmed
    finally:
        harmed.end()
        shutil.rmtree(home)
        if other is not None:
            shutil.rmtree(other)


def come_to_rest(harmed: Harmed, scenario: Scenario) -> list[str]:
    """Let a service that runs finish everything, stop it, and look. What is wrong."""
    found = []
    try:
        until(lambda: at_rest(harmed, scenario) or not harmed.running(), 20)
    except AssertionError:
        states = {record["name"]: record.get("state", "pending") for record in harmed.records().values()}
        found.append(f"it did not come to rest: {states}")
    code = harmed.stop()
    if code != 0:
        found.append(f"the service ended with {code}")
    return [*found, *harmed.faults(scenario.expected)]


def at_rest(harmed: Harmed, scenario: Scenario) -> bool:
    return harmed.all_over(scenario.expected) and scenario.rests(harmed)


def record(scenario: Scenario, forge: Forge, tmp: Path) -> list[str]:
    """The points that this life passes when nobody disturbs it. It must be a good one."""
    with laid(scenario, forge, tmp) as harmed:
        passed = harmed.home.parent / "points"
        harmed.start(POINTS=str(passed))
        faults = come_to_rest(harmed, scenario)
        assert not faults, f"{scenario.name}, undisturbed: {faults}"
        return passed.read_text(encoding="utf-8").splitlines()


def cuts(points: Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """The points worth a cut: not those that another run is cut off at, and few of what is written again and again."""
    chosen = []
    for point in dict.fromkeys(points):
        name, _, number = point.rpartition("#")
        if point not in set(known) and not (name.endswith(_BEATS) and int(number) > _BEATS_CUT):
            chosen.append(point)
    return chosen


def sample(points: Sequence[str], most: int, salt: str) -> list[str]:
    """So many of the points, always the same ones, spread over their names before their numbers."""

    def rank(point: str) -> tuple[int, int]:
        number = point.rpartition("#")[2]
        return int(number) if number.isdecimal() else 0, zlib.crc32(f"{salt} {point}".encode())

    chosen = set(sorted(points, key=rank)[:most])
    return [point for point in points if point in chosen]


def cut(
    scenario: Scenario,
    point: str,
    forge: Forge,
    tmp: Path,
    *,
    lose_record: bool = False,
    recoveries: Recoveries | None = None,
) -> Tally:
    """Live until this point, end there, start again, and look. `recoveries` is told what that start has passed."""
    died, faults = False, list[str]()
    for _ in range(TRIES):
        with laid(scenario, forge, tmp) as harmed:
            died = die_at(harmed, scenario, point)
            if died and lose_record:
                harmed.lose_record()
            passed = harmed.home.parent / "points"
            harmed.start(**({"POINTS": str(passed)} if recoveries is not None else {}))
            faults = come_to_rest(harmed, scenario)
            if died and recoveries is not None:
                recoveries.passed(point, passed.read_text(encoding="utf-8").splitlines())
        if died or faults:
            break
    return Tally(cut=int(died), missed=int(not died), faults={point: faults} if faults else {})


def die_at(harmed: Harmed, scenario: Scenario, point: str) -> bool:
    """Run until the process dies at this point. False: it was not reached."""
    harmed.start(DIE_AT=point)
    until(lambda: not harmed.running() or at_rest(harmed, scenario), 20)
    code = harmed.stop()
    died = code == DIED
    harmed.kills += died
    assert died or code == 0, f"the service ended with {code}"
    return died


@dataclass(kw_only=True)
class Recoveries:
    """What starts after a death have passed that an undisturbed life does not: each of these effects by its name, with
    a few of the deaths that led to it."""

    plain: set[str]  # the names of the points of an undisturbed life
    found: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # name → deaths, and points of the starts

    def passed(self, death: str, points: Sequence[str]) -> None:
        for point in cuts(points):
            name = point.rpartition("#")[0]
            if name not in self.plain or ":recover." in point:
                self.found.setdefault(name, []).append((death, point))


def names(points: Sequence[str]) -> set[str]:
    """The names of these points: what is done, without how often."""
    return {point.rpartition("#")[0] for point in points}


def cut_recoveries(
    scenario: Scenario, recoveries: Recoveries, forge: Forge, tmp: Path, *, most: int | None, lose_record: bool
) -> Tally:
    """End the starts after a death at each effect that only they have, and the start after that at the same one."""
    total = Tally(points=len(recoveries.found))
    effects = list(recoveries.found)
    for effect in effects if most is None else sample(effects, most, scenario.name):
        tally = Tally(missed=1)
        for first, second in recoveries.found[effect][:DEATHS]:
            tally = cut_thrice(scenario, first, second, forge, tmp, lose_record=lose_record)
            if tally.cut or tally.faults:
                break
        total.add(tally)
    return total


def cut_thrice(
    scenario: Scenario, first: str, second: str, forge: Forge, tmp: Path, *, lose_record: bool = False
) -> Tally:
    """Live until the first point and end there; end the start after it at the second, and the start after that, where
    it comes there, too. Start again, and look."""
    died, words, faults = 0, "", list[str]()
    for _ in range(TRIES):
        with laid(scenario, forge, tmp) as harmed:
            if not die_at(harmed, scenario, first):
                continue
            if lose_record:
                harmed.lose_record()
            died = int(die_at(harmed, scenario, second))
            died += died and die_at(harmed, scenario, second)
            harmed.start()
            faults = come_to_rest(harmed, scenario)
            words = f"{first}, then {second}{' twice' if died > 1 else ''}"
        if died or faults:
            break
    return Tally(cut=died, missed=int(not died), faults={words: faults} if faults else {})
