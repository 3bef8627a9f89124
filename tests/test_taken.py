"""Which names are taken: what was read of a large folder a while ago must neither hide a name nor invent one."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.turns import Hand
from watchrender.core.states import Event, State
from watchrender.intake import taken
from watchrender.intake.taken import Taken


@pytest.fixture
def names(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Taken:
    """What was read is believed for ever, as of a folder with very many names."""
    monkeypatch.setattr(taken, "_AT_LEAST", 1e9)
    found = Taken(hand.folders, hand.ledger)
    (hand.folders.done / "Old").mkdir()
    assert found.is_taken("", "old")
    return found


def test_a_name_that_came_since_is_taken_and_one_that_went_is_free(hand: Hand, names: Taken) -> None:
    (hand.folders.done / "new").mkdir()
    (hand.folders.done / "Old").rmdir()

    assert names.is_taken("", "new")
    assert not names.is_taken("", "old")
    assert not names.is_taken("", "never")


def test_a_film_that_came_since_is_known_by_the_record_however_its_name_is_written(hand: Hand, names: Taken) -> None:
    hand.drop("Spot.json")
    hand.pass_time(1)
    job = hand.job("Spot")
    hand.ledger.apply(job.id, Event.START, "so")
    (hand.folders.done / "Spot").mkdir()
    hand.ledger.apply(job.id, Event.FINISH, "so", folder="done/Spot")

    assert names.is_taken("", "spot")
    (hand.folders.done / "Spot").rmdir()
    assert not names.is_taken("", "spot")


def test_a_job_that_failed_leaves_its_name_free_and_somebodys_sub_folder_does_not(hand: Hand, names: Taken) -> None:
    hand.drop("spot.json", "{broken")
    hand.pass_time(1)
    assert hand.job("spot").state is State.FAILED
    (hand.folders.failed / "client" / "inside").mkdir(parents=True)
    fresh = Taken(hand.folders, hand.ledger)

    assert not fresh.is_taken("", "spot")
    assert fresh.is_taken("", "CLIENT")


def test_many_films_are_read_once_and_while_nobody_waits(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: read.update([Path(path).name]) or listdir(path))
    hand.turn()
    assert read["done"] == 1  # nothing has come yet

    monkeypatch.setattr(taken, "_AT_LEAST", 1e9)
    hand.pass_time(1)
    for number in range(5):
        hand.drop(f"sh{number}.json")
        (hand.folders.done / f"film{number}").mkdir()
        hand.turn()
    assert len(hand.queue()) == 5
    assert read["done"] <= 2
