"""The ledger under harm: killed processes, damaged files, full disks. WATCHRENDER_KILLS sets how many kills."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from tinydb import TinyDB, where
from tinydb.table import Document

from tests.harm import figures
from watchrender import disk
from watchrender.ledger import reading
from watchrender.ledger.journal import Files, Tables, encode, header
from watchrender.ledger.storage import JournalDB, LedgerInUse, read

KILLS = int(os.environ.get("WATCHRENDER_KILLS", "500"))
TAILS = 2000

PROCESSES = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# A child is forked to be killed or to read; threads that other tests left in this process are no matter to it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "state.json"


def state(db: JournalDB) -> Tables:
    return {name: {doc.doc_id: dict(doc) for doc in db.table(name)} for name in db.tables()}


# --- a writer whose every transaction follows from its number, and the dict that does the same -----------------------

Step = tuple[Any, ...]
NAMES = ("jobs", "outbox", "facts")


def plan(number: int) -> list[Step]:
    """What transaction `number` does."""
    chance = random.Random(number)
    steps: list[Step] = [("put", "meta", 1, {"n": number})]
    for _ in range(chance.choice([1, 1, 2, 5])):
        table, doc_id = chance.choice(NAMES), chance.randrange(40)
        kind = chance.choices(["put", "delete", "update", "drop", "truncate"], [60, 20, 15, 1, 1])[0]
        if kind == "put":
            steps.append((kind, table, doc_id, {"n": number, "group": doc_id % 3, "text": "ü" * chance.randrange(300)}))
        elif kind == "delete":
            steps.append((kind, table, doc_id))
        elif kind == "update":
            steps.append((kind, table, chance.randrange(3), number))
        else:
            steps.append((kind, table))
    return steps


def do(db: JournalDB, steps: list[Step]) -> None:
    with db.transaction():
        for kind, table, *rest in steps:
            if kind == "put":
                db.put(table, *rest)
            elif kind == "delete":
                db.delete(table, *rest)
            elif kind == "update":
                db.table(table).update({"touched": rest[1]}, where("group") == rest[0])
            elif kind == "drop":
                db.drop_table(table)
            else:
                db.table(table).truncate()


def model(tables: Tables, steps: list[Step]) -> None:
    for kind, table, *rest in steps:
        if kind == "drop":
            tables.pop(table, None)
        elif kind == "delete":
            if table in tables:
                tables[table].pop(rest[0], None)
        else:
            rows = tables.setdefault(table, {})
            if kind == "put":
                rows[rest[0]] = dict(rest[1])
            elif kind == "truncate":
                rows.clear()
            for row in rows.values() if kind == "update" else ():
                if row.get("group") == rest[0]:
                    row["touched"] = rest[1]


def write_until_killed(path: Path, acknowledge: Connection) -> None:
    db = JournalDB(path, compact_at=8_000)
    assert db.warnings == (), db.warnings
    number = db.stats.transactions
    while True:
        number += 1
        do(db, plan(number))
        os.write(acknowledge.fileno(), number.to_bytes(8, "big"))


def kill_at_some_moment(path: Path, chance: random.Random) -> int:
    """Let a writer begin, kill it without warning, and tell the last transaction it had acknowledged (0: none)."""
    heard, acknowledge = PROCESSES.Pipe(duplex=False)
    writer = PROCESSES.Process(target=write_until_killed, args=(path, acknowledge))
    writer.start()
    acknowledge.close()
    # Some die while they open, most in full swing.
    if chance.random() < 0.1:
        time.sleep(chance.uniform(0, 0.02))
    else:
        assert heard.poll(30)
        time.sleep(chance.uniform(0, 0.04))
    writer.kill()
    writer.join(30)
    assert writer.exitcode in (-9, 1), f"the writer ended by itself: {writer.exitcode}"
    said = b""
    while chunk := os.read(heard.fileno(), 1 << 20):
        said += chunk
    heard.close()
    return int.from_bytes(said[-8:], "big")


def is_amid_a_compaction(path: Path) -> bool:
    files = Files(snapshot=path)
    loaded = reading.load(path)
    return bool(files.litter()) or files.next.exists() or loaded.generation > loaded.snapshot_generation


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_acknowledged_write_is_lost_by_kill_9(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(9)
    expected: Tables = {}
    reached = compactions = torn = 0
    began = time.monotonic()
    for _ in range(KILLS):
        acknowledged = max(reached, kill_at_some_moment(path, chance))

        loaded = reading.load(path)

        assert loaded.warnings == []
        assert acknowledged <= loaded.sequence <= acknowledged + 1
        for number in range(reached + 1, loaded.sequence + 1):
            model(expected, plan(number))
        reached = loaded.sequence
        assert loaded.tables == expected
        compactions += is_amid_a_compaction(path)
        torn += loaded.good_bytes < Files(snapshot=path).journal(loaded.generation).stat().st_size if reached else 0

    with JournalDB(path) as db:
        assert state(db) == expected
        assert db.stats.transactions == reached
        db.compact()  # a slow disk may have finished none for some lives: what they left goes with the next
    names = {file.name.partition(".")[2] for file in path.parent.iterdir()}
    assert {name for name in names if "journal" not in name} == {"json", "json.lock", "previous.json"}
    assert len(Files(snapshot=path).journals()) <= 4
    seconds = time.monotonic() - began
    figures.keep("record-kills", kills=KILLS, transactions=reached, compactions=compactions, torn=torn)
    with capsys.disabled():
        print(f"\n{KILLS} kills: {reached} transactions, {compactions} amid a compaction, {torn} torn, {seconds:.0f} s")


@needs_fork
def test_the_lock_of_a_killed_writer_is_free_at_once(path: Path) -> None:
    heard, acknowledge = PROCESSES.Pipe(duplex=False)
    writer = PROCESSES.Process(target=write_until_killed, args=(path, acknowledge))
    writer.start()
    assert heard.poll(30)
    with pytest.raises(LedgerInUse):
        JournalDB(path)

    writer.kill()
    writer.join(30)

    JournalDB(path).close()


def _life(path: Path, die_at: int, acknowledge: Connection) -> None:
    """Open, write, compact, close; and end at the `die_at`-th point of it. Sends the number of each transaction."""
    passed = itertools.count(1)

    def point(_name: str) -> None:
        if next(passed) == die_at:
            os._exit(137)

    disk.listen_to({"WATCHRENDER_DIE_AT": "none of these"})
    disk._point = point  # in the order of this life, whatever the points are called
    with JournalDB(path) as db:
        for number in range(1, 9):
            do(db, plan(number))
            acknowledge.send(number)
            if number % 3 == 0:
                db.compact()
    os._exit(0)


@needs_fork
@pytest.mark.parametrize("begin", ["from nothing", "from a plain TinyDB file", "from a damaged snapshot"])
def test_death_at_every_effect_on_the_disk_leaves_the_acknowledged_state(begin: str, path: Path) -> None:
    for die_at in range(1, 500):
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        expected: Tables = {}
        before = 0
        if begin == "from a plain TinyDB file":
            with TinyDB(path) as stock:
                stock.insert({"old": 1})
            expected = {"_default": {1: {"old": 1}}}
        elif begin == "from a damaged snapshot":
            with JournalDB(path) as db:
                db.put("old", 1, {"old": 1})
                db.compact()
                db.put("old", 2, {"old": 2})
                db.compact()
                before = 2
            path.write_bytes(path.read_bytes().replace(b"old", b"odd", 1))
            expected = {"old": {1: {"old": 1}, 2: {"old": 2}}}
        heard, acknowledge = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_life, args=(path, die_at, acknowledge))
        process.start()
        acknowledge.close()
        process.join(30)
        acknowledged = 0
        try:
            while True:
                acknowledged = heard.recv()
        except EOFError:
            heard.close()

        loaded = reading.load(path)
        for number in range(1, loaded.sequence - before + 1):
            model(expected, plan(number))

        assert acknowledged <= loaded.sequence - before <= acknowledged + 1
        assert reading.migrated(loaded) == expected
        with JournalDB(path) as db:
            assert state(db) == expected
            db.put("after", 1, {"a": 1})
        assert read(path) == {**expected, "after": {1: {"a": 1}}}
        if process.exitcode == 0:
            assert die_at > 30, "the points were not passed"
            return
        assert process.exitcode == 137
    pytest.fail("it never ended by itself")


# --- damaged tails ---------------------------------------------------------------------------------------------------


class Original:
    """A ledger that is whole, the lines of its newest journal, and the state that any choice of lines gives."""

    def __init__(self, path: Path) -> None:
        chance = random.Random(4)
        self.plans: list[list[Step]] = []
        self.before: Tables = {}
        with JournalDB(path, sync="never") as db:
            for number in range(60):
                steps: list[Step] = [("put", "meta", 1, {"n": number})]
                for _ in range(chance.randrange(4)):
                    # Only what does not depend on what was there before: so the lines may be chosen freely.
                    table, doc_id = chance.choice(NAMES), chance.randrange(12)
                    put = ("put", table, doc_id, {"n": number, "text": "y" * chance.randrange(90)})
                    steps.append(chance.choice([put, put, put, ("delete", table, doc_id), ("truncate", table)]))
                steps = [step for step in steps if step[0] != "delete" or step[1] in db.tables()]
                do(db, steps)
                if number < 20:
                    model(self.before, steps)
                else:
                    self.plans.append(steps)
                if number == 19:
                    db.compact()
        self.files = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.suffix != ".lock"}
        self.name = max(name for name in self.files if name.endswith(".journal"))
        self.journal = self.files[self.name]
        ends = list(itertools.accumulate(len(line) for line in self.journal.splitlines(keepends=True)))
        self.lines = list(itertools.pairwise(ends))  # without the header
        assert len(self.lines) == len(self.plans) == 40

    def survivors(self, damaged: bytes) -> list[int]:
        """The lines that stand in the damaged file where and as they stood."""
        return [
            number
            for number, (start, end) in enumerate(self.lines)
            if damaged[start - 1 : end] == b"\n" + self.journal[start:end]
        ]

    def after(self, numbers: list[int]) -> Tables:
        tables = {name: {doc_id: dict(row) for doc_id, row in rows.items()} for name, rows in self.before.items()}
        for number in numbers:
            model(tables, self.plans[number])
        return tables


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    return Original(tmp_path_factory.mktemp("original") / "state.json")


def damage(original: Original, chance: random.Random) -> tuple[str, bytes]:
    """The newest journal, harmed at its end in one of the ways that disks know."""
    whole = original.journal
    start = original.lines[-chance.choice([1, 1, 2, 3, 8, 40])][0]
    at = chance.randrange(start, len(whole))
    noise = chance.randbytes(chance.randrange(1, 400))
    kind = chance.choice(["cut", "garbage", "zeros", "flip", "block", "cut and garbage", "old lines", "newline gone"])
    if kind == "cut":
        return kind, whole[:at]
    if kind == "garbage":
        return kind, whole + noise
    if kind == "zeros":
        return kind, whole[:at] + bytes(len(whole) - at) + bytes(chance.randrange(4096))
    if kind == "flip":
        return kind, whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :]
    if kind == "block":
        return kind, (whole[:at] + noise + whole[at + len(noise) :])[: max(len(whole), at + len(noise))]
    if kind == "cut and garbage":
        return kind, whole[:at] + noise
    if kind == "newline gone":
        end = chance.choice(original.lines[-8:])[1]
        return kind, whole[: end - 1] + b" " + whole[end:]
    # What a block of the disk held before: lines of ours, whole, of this journal or another, after a line cut short.
    first = chance.randrange(len(original.lines))
    old = whole[original.lines[first][0] : original.lines[min(first + chance.randrange(1, 4), 39)][1]]
    foreign = encode({"g": 1, "n": 999, "t": {"jobs": {"put": {"1": {"foreign": True}}}}}) + header(1, 9999)
    return kind, whole[:at] + b"\n" + chance.choice([old, foreign, old + foreign])


def laid_out(folder: Path, original: Original, journal: bytes) -> Path:
    folder.mkdir()
    for name, data in {**original.files, original.name: journal}.items():
        (folder / name).write_bytes(data)
    return folder / "state.json"


def _recovered(original: Original, damaged: bytes) -> list[int]:
    # An old line that lies behind a cut may be the very one that was cut off: then it is as good as it was.
    known = {original.journal[start:end]: number for number, (start, end) in enumerate(original.lines)}
    found: list[int] = []
    for line in damaged.split(b"\n")[:-1]:
        number = known.get(line + b"\n")
        if number is not None and (not found or number > found[-1]):
            found.append(number)
    return found


def test_no_damaged_tail_gives_a_wrong_state(original: Original, tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    for number in range(TAILS):
        chance = random.Random(number)
        kind, damaged = damage(original, chance)
        kept = _recovered(original, damaged)
        assert kind == "old lines" or kept == original.survivors(damaged)
        path = laid_out(tmp_path / str(number), original, damaged)

        loaded = reading.load(path)

        what = f"tail {number}, {kind}: {loaded.warnings}"
        assert loaded.tables == original.after(kept), what
        gaps = (kept[-1] + 1 - len(kept)) if kept else 0
        assert bool(gaps) == any(f"{gaps} transactions are lost" in warning for warning in loaded.warnings), what
        assert gaps == 0 or loaded.warnings, what
        if number % 8 == 0:
            _goes_on(path, original.after(kept))
        seen[kind] = seen.get(kind, 0) + 1
        shutil.rmtree(path.parent)
    assert len(seen) == 8
    assert min(seen.values()) > 100


def _goes_on(path: Path, expected: Tables) -> None:
    with JournalDB(path, sync="never") as db:
        assert state(db) == expected
        db.put("after", 1, {"a": 1})
        warnings = db.warnings
    with JournalDB(path, sync="never") as db:
        assert state(db) == {**expected, "after": {1: {"a": 1}}}
        assert db.warnings == (), "the damage is behind us"
    evidence = list(path.parent.glob("*damaged*"))
    assert bool(evidence) == bool(warnings)


def test_damage_in_the_middle_is_told_and_all_good_lines_are_used(original: Original, tmp_path: Path) -> None:
    start, end = original.lines[10]
    damaged = original.journal[: start + 20] + b"#" + original.journal[start + 21 :]
    path = laid_out(tmp_path / "harmed", original, damaged)
    good = [number for number in range(40) if number != 10]

    with JournalDB(path) as db:
        assert state(db) == original.after(good)
        (warning,) = db.warnings
        assert f"at byte {start}: 1 transactions are lost" in warning
        assert original.name in warning
    (kept,) = path.parent.glob("*damaged*")
    assert kept.read_bytes() == damaged
    assert end > start


def test_a_journal_that_is_gone_or_empty_is_told(original: Original, tmp_path: Path) -> None:
    empty = laid_out(tmp_path / "empty", original, b"")
    gone = laid_out(tmp_path / "gone", original, b"")
    gone.with_name(original.name).unlink()

    for path, words in ((empty, "nothing in it can be read"), (gone, "is missing")):
        assert read(path) == original.before
        with JournalDB(path) as db:
            assert state(db) == original.before
            assert any(words in warning for warning in db.warnings)
            db.put("after", 1, {})
        with JournalDB(path) as db:
            assert db.warnings == ()
            assert state(db) == {**original.before, "after": {1: {}}}


def test_a_gap_between_journals_is_told_once(path: Path) -> None:
    for missing, words in ((2, "is missing"), (3, "1 transactions before")):
        shutil.rmtree(path.parent, ignore_errors=True)
        with JournalDB(path) as db:
            for number in range(1, 5):
                db.put("jobs", number, {"n": number})
                if number == 1:
                    db.compact()
            # Two journals more, and no snapshot: as if the compactions had failed.
            for _ in range(2):
                number += 1
                db._storage._change_journals()
                db.put("jobs", number, {"n": number})
        path.with_name(f"state.{missing:08d}.journal").unlink()
        lost = {2: {2, 3, 4}, 3: {5}}[missing]
        expected = {"jobs": {number: {"n": number} for number in range(1, 7) if number not in lost}}

        assert read(path) == expected
        with JournalDB(path) as db:
            assert any(words in warning for warning in db.warnings)
        with JournalDB(path) as db:
            assert state(db) == expected
            assert db.warnings == ()


# --- damaged snapshots -----------------------------------------------------------------------------------------------


def test_a_damaged_snapshot_is_made_good_from_the_one_before(original: Original, tmp_path: Path) -> None:
    whole = original.files["state.json"]
    expected = original.after(list(range(40)))
    for number in range(200):
        chance = random.Random(number)
        at = chance.randrange(len(whole))
        harm = [
            whole[:at],
            whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :],
            whole + chance.randbytes(5),
            whole[:at] + bytes(len(whole) - at),
            b"",
        ]
        path = laid_out(tmp_path / str(number), original, original.journal)
        path.write_bytes(harm[number % 5])

        loaded = reading.load(path)

        assert loaded.tables == expected
        assert len(loaded.warnings) == 1
        if number % 10 < 5:
            _goes_on(path, expected)
            assert path.with_name("state.damaged.json").read_bytes() == harm[number % 5]
        shutil.rmtree(path.parent)


def test_with_no_good_snapshot_left_the_lines_still_count(original: Original, tmp_path: Path) -> None:
    path = laid_out(tmp_path / "harmed", original, original.journal)
    path.write_bytes(b"{")
    path.with_name("state.previous.json").write_bytes(b"{")
    for file in path.parent.glob("*00000001.journal"):
        file.unlink()

    with JournalDB(path) as db:
        assert state(db)["meta"] == {1: {"n": 59}}
        assert any("is missing" in warning for warning in db.warnings)
        assert any("20 transactions before" in warning for warning in db.warnings)
        db.put("after", 1, {})
    with JournalDB(path) as db:
        assert db.warnings == ()


def test_a_crash_between_the_renames_of_a_snapshot_is_finished(path: Path) -> None:
    with JournalDB(path) as db:
        for number in range(1, 7):
            do(db, plan(number))
            if number in (2, 4):
                db.compact()
        expected = state(db)
    path.rename(path.with_name("state.next.json"))

    assert read(path) == expected
    with JournalDB(path) as db:
        assert state(db) == expected
        assert db.warnings == ()
    assert path.exists()
    assert not path.with_name("state.next.json").exists()


def test_a_journal_begun_and_never_used_does_no_harm(path: Path) -> None:
    with JournalDB(path) as db:
        do(db, plan(1))
        path.with_name("state.00000002.journal").write_bytes(header(2, 1))
        do(db, plan(2))
        expected = state(db)
        assert read(path) == expected
        db.compact()
        assert db.stats.generation == 3
        assert read(path) == expected
    path.with_name("state.00000004.journal").write_bytes(header(4, 2))
    with JournalDB(path) as db:
        do(db, plan(3))
        expected = state(db)
    with JournalDB(path) as db:
        assert state(db) == expected
        assert db.warnings == ()


# --- full disks ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


def wait_until_quiet(db: JournalDB) -> None:
    compactor = db._storage._compactor
    if compactor:
        compactor.join(20)


def until_full(db: JournalDB, table: str, size: int) -> int:
    """Put until the disk refuses; how many were acknowledged."""
    for number in itertools.count():
        try:
            db.put(table, number, {"text": "x" * size})
        except OSError as error:
            assert error.errno == errno.ENOSPC
            return number
    raise AssertionError


@pytest.mark.root
@pytest.mark.parametrize("compact_at", [1 << 22, 20_000])
def test_a_full_disk_takes_nothing_back_and_is_got_over(small_disk: Path, compact_at: int) -> None:
    path, ballast = small_disk / "state.json", small_disk / "ballast"
    with JournalDB(path, compact_at=compact_at) as db:
        for turn in range(4):
            ballast.write_bytes(bytes(800_000))
            until_full(db, f"turn {turn}", 700 + turn)
            wait_until_quiet(db)
            fill(ballast)
            expected = state(db)

            for attempt in (
                lambda: db.put("more", 1, {"text": "y" * 5000}),
                lambda: db.table("turn 0").update({"text": "y" * 9000}, doc_ids=[1]),
                lambda: db.insert_multiple({"text": "y" * 500} for _ in range(50)),
                lambda: db.compact(),
            ):
                with pytest.raises(OSError, match="No space"):
                    attempt()
                assert state(db) == expected
                assert read(path) == expected

            ballast.unlink()
            do(db, plan(turn + 1))
            db.compact()
            assert read(path) == state(db)
            for name in db.tables():
                for doc_id in range(3, 1000):
                    db.delete(name, doc_id)
            db.compact()
            db.compact()
        expected = state(db)
    with JournalDB(path) as db:
        assert state(db) == expected
        assert db.warnings == ()


@pytest.mark.root
def test_a_ledger_is_opened_on_a_full_disk(small_disk: Path) -> None:
    path, ballast = small_disk / "state.json", small_disk / "ballast"
    with JournalDB(path) as db:
        for number in range(1, 30):
            do(db, plan(number))
        expected = state(db)
    newest = path.with_name("state.00000001.journal")
    with newest.open("ab") as torn:
        torn.write(b"12345678 {torn")
    fill(ballast)

    with JournalDB(path) as db:
        assert state(db) == expected
        assert db.warnings == ()
        ballast.unlink()
        do(db, plan(30))

    good = newest.read_bytes()
    newest.write_bytes(good.replace(b'"n":7,', b'"n":8,', 1))
    fill(ballast)
    with JournalDB(path) as db:
        assert "1 transactions are lost" in db.warnings[0]
        assert "could not be replaced yet" in db.warnings[1]
        ballast.unlink()
        do(db, plan(31))
        expected = state(db)
    with JournalDB(path) as db:
        assert state(db) == expected
    with JournalDB(path) as db:
        assert db.warnings == ()


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Let no file of this process grow beyond a size: what fits is written, the rest refused, as by a full disk."""
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size if size >= 0 else before[0], before[1]))

    yield limit
    limit(-1)


def test_a_line_cut_short_by_the_disk_is_taken_back(path: Path, limit_files: Callable[[int], None]) -> None:
    with JournalDB(path) as db:
        do(db, plan(1))
        expected, size = state(db), path.with_name("state.00000001.journal").stat().st_size
        limit_files(size + 20)
        with pytest.raises(OSError, match="large"):
            db.put("more", 1, {"text": "y" * 100})
        with pytest.raises(OSError, match="large"), db.transaction():
            db.drop_table("meta")
            db.put("more", 1, {"text": "y" * 100})
        limit_files(-1)

        assert state(db) == expected
        assert path.with_name("state.00000001.journal").stat().st_size == size
        do(db, plan(2))
        expected = state(db)
    with JournalDB(path) as db:
        assert state(db) == expected
        assert db.warnings == ()


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="flushes by another call here")
def test_a_torn_line_that_could_not_be_taken_back_lets_nothing_follow(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with JournalDB(path) as db:
        do(db, plan(1))
        expected, size = state(db), path.with_name("state.00000001.journal").stat().st_size
        flush = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "the disk is sick")))

        for _ in range(3):
            with pytest.raises(OSError, match="sick"):
                db.put("more", 1, {"text": "y"})
            with pytest.raises(OSError, match="sick"):
                db.compact()
            assert state(db) == expected
            assert read(path) == expected

        monkeypatch.setattr(os, "fdatasync", flush)
        do(db, plan(2))
        assert path.with_name("state.00000001.journal").stat().st_size > size
        expected = state(db)
    assert read(path) == expected


def test_an_update_refused_before_a_byte_is_written_changes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = tmp_path / "faults"
    monkeypatch.setattr(disk, "_hooks", disk._Hooks({"WATCHRENDER_FAULTS": str(faults)}))
    with JournalDB(path) as db:
        db.insert(Document({"a": 1}, doc_id=5))
        faults.write_text("ENOSPC *.journal\n")
        with pytest.raises(OSError, match="No space") as caught:
            db.insert({"a": 2})
        assert disk.is_full(caught.value)
        faults.unlink()

        assert state(db) == read(path) == {"_default": {5: {"a": 1}}}
        assert db.insert({"a": 3}) == 6
