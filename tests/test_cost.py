"""What a job may cost: effects on the disk, flushes and looks at processes are counted, because counts are the same on
every machine and times are not. The times are in docs/performance.md.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.history import fill, instant
from benchmarks.stand import Stand, wait_until
from tests.turns import Hand
from watchrender.core import paths
from watchrender.core.states import Event, State
from watchrender.intake import turn
from watchrender.ledger import journal
from watchrender.ledger import ledger as room
from watchrender.ledger.ledger import Ledger
from watchrender.ledger.storage import JournalDB
from watchrender.render.process import Tree
from watchrender.web.listing import Pages, Wanted
from watchrender.web.picture import Picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand counts starts with a shell script")

#: A line of the journal is one flush. Found: nine, from seen in the inbox to what was learned of its render, and now
#: and then one for all jobs together.
MOST_LINES_A_JOB = 9.5
#: Found: those lines, the claim, the film and the delivery moved, private folders made and removed, our copy of the
#: job.
MOST_EFFECTS_A_JOB = 21
#: What indexes, the queue and the stream's picture add to a job's own text. Found: some 800.
MOST_BYTES_BESIDE_A_RECORD = 1100
#: How often the record of a job is made a value on its way into the queue, when none stays one for long.
MOST_READINGS_A_JOB = 3
#: What the system is asked for each job of a flood, from its name to the queue and once more three seconds later.
#: Found: 18 (how its file looks, two for its name, five to read it, four for its footage; six when it is read again).
MOST_QUESTIONS_A_JOB = 19
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


def test_a_burst_of_drops_costs_few_flushes_and_two_status_files_each(stand: Stand) -> None:
    project, points, burst = stand.project(), stand.folder / "points", 400
    stand.start()
    try:
        (stand.inbox / "_PAUSE").touch()
        time.sleep(2.5)
        quiet(points)
        before = len(points.read_text().splitlines())
        hidden = [stand.inbox / f".b{number}.tmp" for number in range(burst)]
        for path in hidden:
            path.write_text(json.dumps(stand.job(project)))
        for path in hidden:
            path.rename(path.with_name(f"{path.name[1:-4]}.json"))
        queue = stand.root / "status" / "queue.json"
        wait_until(lambda: json.loads(queue.read_text())["total"] == burst, 60)
        quiet(points)
    finally:
        stand.stop()
    lines = points.read_text().splitlines()[before:]
    flushes = [line for line in lines if line.startswith("before:") and ":append" in line]
    written = [line for line in lines if line.startswith("before:statusfile.") and ".status.json" in line]
    others = {line for line in lines if line.startswith("before:") and line not in {*flushes, *written}}

    assert 0 < len(flushes) <= burst / 20, flushes  # found: 6 to 12, by how many each turn of the inbox saw
    assert burst <= len(written) <= 2.2 * burst
    assert len([line for line in others if ":statusfile." not in line and "statusfile." not in line]) <= 20, others


def test_a_waiting_job_is_kept_as_little_more_than_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_VALUES", 100)
    ledger = Ledger(tmp_path, sync="never")
    picture = Picture((), (), {})
    ledger.listen(lambda change: picture.take(change.job, change.before and change.before.state, change.record))
    sizes = []
    try:
        for first in (0, 1000, 2000):
            wait_in(ledger, first, 1000)
            gc.collect()
            if not tracemalloc.is_tracing():
                tracemalloc.start()  # the first thousand fill what is bounded
            sizes.append(tracemalloc.get_traced_memory()[0])
        record = ledger.db.documents(room.JOBS).packed(3000)
    finally:
        tracemalloc.stop()
        ledger.close()

    assert record is not None
    assert (sizes[2] - sizes[0]) / 2000 <= len(record) + MOST_BYTES_BESIDE_A_RECORD


def wait_in(ledger: Ledger, first: int, count: int) -> None:
    """So many jobs more, queued, with a record as real ones have it."""
    with ledger.together():
        for number in range(first, first + count):
            name, why = f"spot{number}", "accepted, priority 50 (default)"
            job = ledger.add(name=name, why=f"seen in the inbox as {name}.json", file=f"{name}.json", folder="inbox")
            ledger.apply(job.id, Event.CHECK, "complete", stamp=(160, 1_700_000_000_000_000_000 + number, number))
            told = {"template": "spot.aep", "template_path": "/projects/spot.aep", "composition": "Main"}
            ledger.apply(job.id, Event.ACCEPT, why, queued_at=ledger.stamp(), digest="0" * 64, **told)


def test_the_next_job_and_a_page_cost_the_same_however_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_VALUES", 10)
    ledger = Ledger(tmp_path, sync="never")
    made: list[bytes] = []
    job_of = room.job_of
    try:
        wait_in(ledger, 0, 1500)
        monkeypatch.setattr(room, "job_of", lambda record: made.append(record) or job_of(record))

        assert ledger.first(lambda job: True) is not None
        assert len(made) == 1
        jobs, following = Pages(ledger).page(Wanted(), limit=50, cursor=None)
        assert (len(jobs), following is not None) == (50, True)
        assert len(made) <= 60
    finally:
        ledger.close()


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
    db = JournalDB(tmp_path / "state.json", sync="never")
    with db.transaction():
        for number in range(1, 2001):
            record = {"id": f"J{number:05}", "serial": number, "arrival": number, "name": f"j{number}"}
            db.put(room.JOBS, number, record | {"state": "completed" if number % 4 else "queued"})
    db.compact()
    db.close()
    made = 0
    from_record = room.Job.from_record

    def counted(record: dict[str, object]) -> object:
        nonlocal made
        made += 1
        return from_record(record)

    monkeypatch.setattr(room.Job, "from_record", counted)
    read: list[bytes] = []
    loads = journal.loads
    monkeypatch.setattr(journal, "loads", lambda text: read.append(text) or loads(text))
    ledger = Ledger(tmp_path, sync="never")
    try:
        assert made == 500
        assert len(read) < 10  # what the snapshot says of itself; no document
        assert ledger.counts[State.COMPLETED] == 1500
        assert [job.name for job in ledger.queue(2)] == ["j4", "j8"]
        assert [job.name for job, _ in zip(ledger.over(), range(2), strict=False)] == ["j1999", "j1998"]
        assert [job.name for job, _ in zip(ledger.over(newest_first=False), range(2), strict=False)] == ["j1", "j2"]
        assert made == 508  # the two of the queue, and three each of those that are over
        ledger.forget(["J01999"])
        assert next(ledger.over()).name == "j1998"
    finally:
        ledger.close()


def test_a_full_inbox_costs_each_job_few_readings_of_its_record_and_of_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_VALUES", 10)
    hand, burst = Hand(tmp_path), 300
    made: Counter[str] = Counter()
    job_of, read_path = room.job_of, paths.read_path
    monkeypatch.setattr(room, "job_of", lambda record: made.update(["value"]) or job_of(record))
    monkeypatch.setattr(paths, "read_path", lambda *some, **more: made.update(["path"]) or read_path(*some, **more))
    try:
        for number in range(burst):
            hand.drop(f"spot{number}.json")

        hand.pass_time(8)

        assert len(hand.queue()) == burst
        assert made["value"] <= MOST_READINGS_A_JOB * burst + burst  # those of `queue` among them
        assert made["path"] <= 10  # all of them name one project
    finally:
        hand.close()


def test_a_flood_asks_the_system_little_for_each_job_however_large_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, asked = Hand(tmp_path), Counter[str]()
    monkeypatch.setattr(turn, "LOOKS_A_TURN", 0)  # those go round all that lies there, at their own pace
    for name in ("lstat", "stat", "fstat", "open", "read", "close", "scandir", "listdir"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *some, real=real, name=name, **more: asked.update([name]) or real(*some, **more)
        )
    try:
        found = []
        for burst in (200, 800):
            hand.turn()
            for number in range(burst):
                hand.drop(f"b{burst}-{number}.json")
            asked.clear()
            hand.pass_time(8)
            found.append(asked.total() / burst)
        assert len(hand.queue()) == 1000
        assert max(found) <= MOST_QUESTIONS_A_JOB
        assert found[1] <= found[0]
    finally:
        hand.close()
