"""Reading the names in the inbox: all of them, and not again where a folder's own time tells that nothing changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.turns import Hand
from watchrender.spool import watcher
from watchrender.spool.watcher import SURE_SECONDS, TRUSTED_SECONDS, Scanner


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose names are read."""
    found: list[Path] = []
    scandir = os.scandir

    def counted(path: Path) -> object:
        found.append(path)
        return scandir(path)

    monkeypatch.setattr(watcher.os, "scandir", counted)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scanner(tmp_path: Path, clock: Clock) -> Scanner:
    (tmp_path / "clientA").mkdir()
    (tmp_path / "a.json").touch()
    return Scanner(tmp_path, dated=True, clock=clock)


def look(scanner: Scanner) -> dict[str, set[str]]:
    return scanner.scan(lambda sub: sub == "clientA").subs


def settle(scanner: Scanner, clock: Clock) -> None:
    """Look until it is sure that nothing came within one tick of the folder's time."""
    look(scanner)
    clock.seconds += SURE_SECONDS
    look(scanner)


def test_a_folder_that_stands_still_is_not_read_again(
    scanner: Scanner, clock: Clock, reads: list[Path], tmp_path: Path
) -> None:
    settle(scanner, clock)
    reads.clear()
    clock.seconds += 2

    found = look(scanner)

    assert reads == []
    assert found == {"": {"a.json", "clientA"}, "clientA": set()}
    assert scanner.scan(lambda sub: sub == "clientA") is scanner.scan(lambda sub: sub == "clientA")


def test_what_comes_within_one_tick_of_the_folders_time_is_found(
    scanner: Scanner, clock: Clock, tmp_path: Path
) -> None:
    look(scanner)
    before = os.stat(tmp_path)
    (tmp_path / "b.json").touch()
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.seconds += SURE_SECONDS / 2

    assert "b.json" in look(scanner)[""]


def test_what_comes_and_goes_and_changes_its_case_is_found(scanner: Scanner, clock: Clock, tmp_path: Path) -> None:
    settle(scanner, clock)
    (tmp_path / "a.json").rename(tmp_path / "A.json")
    (tmp_path / "clientA" / "b.json").touch()

    assert look(scanner) == {"": {"A.json", "clientA"}, "clientA": {"b.json"}}

    settle(scanner, clock)
    (tmp_path / "clientA" / "b.json").unlink()
    (tmp_path / "clientA").rmdir()

    assert look(scanner) == {"": {"A.json"}}


def test_a_folder_is_read_again_after_a_while_whatever_its_time_says(
    scanner: Scanner, clock: Clock, reads: list[Path]
) -> None:
    settle(scanner, clock)
    reads.clear()
    clock.seconds += TRUSTED_SECONDS

    look(scanner)

    assert len(reads) == 2


def test_another_sub_folder_is_another_listing(scanner: Scanner, clock: Clock) -> None:
    settle(scanner, clock)

    assert set(scanner.scan(lambda _sub: False).subs) == {""}
    assert set(look(scanner)) == {"", "clientA"}


def test_where_folders_tell_no_time_they_are_read_each_time(tmp_path: Path, clock: Clock, reads: list[Path]) -> None:
    scanner = Scanner(tmp_path, clock=clock)
    settle(scanner, clock)
    clock.seconds += 1

    look(scanner)

    assert len(reads) == 3


def test_a_quiet_inbox_is_neither_read_nor_compared_again(
    tmp_path: Path, clock: Clock, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(tmp_path)
    hand.intake._scanner = Scanner(hand.inbox, dated=True, clock=clock)
    compared: list[int] = []
    compare = hand.intake._compare_names
    monkeypatch.setattr(hand.intake, "_compare_names", lambda *words: compared.append(1) or compare(*words))
    try:
        for number in range(5):
            hand.drop(f"spot{number}.json")
        hand.pass_time(8)
        clock.seconds += SURE_SECONDS
        hand.pass_time(2)
        assert len(hand.queue()) == 5
        reads.clear()
        compared.clear()

        hand.pass_time(6)

        assert (reads, compared) == ([], [])
        (hand.inbox / "spot3.json").unlink()
        hand.pass_time(6)
        assert hand.queue() == ["spot0", "spot1", "spot2", "spot4"]
    finally:
        hand.close()
