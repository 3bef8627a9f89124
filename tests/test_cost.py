"""What a job may cost: effects on the disk, flushes and looks at processes are counted, because counts are the same on
every machine and times are not. The times are in docs/performance.md.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.history import fill, instant
from benchmarks.stand import Stand, wait_until
from watchrender.core.states import State
from watchrender.ledger.ledger import Ledger
from watchrender.ledger.storage import JournalDB
from watchrender.render.process import Tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand counts starts with a shell script")

#: A line of the journal is one flush. Found: nine, from seen in the inbox to what was learned of its render, and now
#: and then one for all jobs together.
MOST_LINES_A_JOB = 9.5
#: Found: those lines, the claim, the film and the delivery moved, private folders made and removed, our copy of the
#: job.
MOST_EFFECTS_A_JOB = 21
JOBS = 8


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    with Stand() as found:
        instant(found)
        monkeypatch.setenv("WATCHRENDER_POINTS", str(found.folder / "points"))
        yield found


def effects_a_job(stand: Stand) -> Counter[str]:
    """Effects on the disk between the drop of some jobs, one after the other, and the end of the last, for each job."""
    project, points = stand.project(), stand.folder / "points"
    stand.start()
    try:
        quiet(points)
        before, done = len(points.read_text().splitlines()), stand.done()
        for number in range(JOBS):
            stand.drop(f"c{before}-{number}", stand.job(project))
            wait_until(lambda n=number: stand.done() > done + n, 30)  # type: ignore[misc]
        quiet(points)
    finally:
        stand.stop()
    found: Counter[str] = Counter()
    for line in points.read_text().splitlines()[before:]:
        if match := re.fullmatch(r"before:(.+):(\w+)#\d+", line):
            if match[1].startswith("statusfile."):
                found["status"] += 1  # written by the clock and not by the job
            else:
                found[match[2]] += 1
    assert found["append"] > 0 and found["rename"] > 0, points.read_text()[-500:]  # else nothing was counted
    return Counter({name: count / JOBS for name, count in found.items()})  # type: ignore[misc]


def quiet(points: Path) -> None:
    """Wait until nothing but the heartbeat happens."""
    size, since = -1, time.monotonic()
    wait_until(lambda: points.exists(), 30)
    while time.monotonic() - since < 0.7:
        now = len([line for line in points.read_text().splitlines() if ":statusfile." not in line])
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.05)


def test_a_job_costs_so_many_flushed_lines_and_effects_and_no_more(stand: Stand) -> None:
    found = effects_a_job(stand)

    assert found["append"] <= MOST_LINES_A_JOB, found
    assert sum(count for name, count in found.items() if name != "status") <= MOST_EFFECTS_A_JOB, found


def test_a_job_costs_the_same_with_a_long_history_behind_it(stand: Stand) -> None:
    few = effects_a_job(stand)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WATCHRENDER_POINTS")
        fill(stand, 3000)

    many = effects_a_job(stand)

    for name in few | many:
        if name != "status":
            assert many[name] <= few[name] + 0.5, name


def test_a_tree_that_ends_by_itself_costs_two_looks_at_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    pids = psutil.pids

    def counted() -> list[int]:
        nonlocal looks
        looks += 1
        return pids()

    monkeypatch.setattr(psutil, "pids", counted)
    marker = f"watchrender-test-cost-{os.getpid()}-{time.monotonic_ns()}"
    tree = Tree.start(["true"], env={"PATH": os.environ["PATH"]}, cwd=tmp_path, marker=marker, recorded=lambda _: None)
    with tree:
        assert tree.wait(10) == 0
        tree.stop(1)

    assert looks <= 3


def test_the_ledger_opens_a_long_history_without_making_a_job_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from watchrender.ledger import ledger as room

    db = JournalDB(tmp_path / "state.json", sync="never")
    with db.transaction():
        for number in range(1, 2001):
            record = {"id": f"J{number:05}", "serial": number, "arrival": number, "name": f"j{number}"}
            db.put(room.JOBS, number, record | {"state": "completed" if number % 4 else "queued"})
    db.close()
    made = 0
    from_record = room.Job.from_record

    def counted(record: dict[str, object]) -> object:
        nonlocal made
        made += 1
        return from_record(record)

    monkeypatch.setattr(room.Job, "from_record", counted)
    ledger = Ledger(tmp_path, sync="never")
    try:
        assert made == 500
        assert ledger.counts[State.COMPLETED] == 1500
        assert [job.name for job in ledger.queue(2)] == ["j4", "j8"]
        assert [job.name for job, _ in zip(ledger.over(), range(2), strict=False)] == ["j1999", "j1998"]
        assert [job.name for job, _ in zip(ledger.over(newest_first=False), range(2), strict=False)] == ["j1", "j2"]
        assert made == 506
        ledger.forget(["J01999"])
        assert next(ledger.over()).name == "j1998"
    finally:
        ledger.close()
