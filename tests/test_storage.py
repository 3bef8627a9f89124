"""The ledger's database: TinyDB's API as in stock TinyDB, transactions, threads, compaction, cost."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tinydb import Query, TinyDB, operations, where
from tinydb.storages import MemoryStorage
from tinydb.table import Document

from tests.waiting import until
from watchrender.ledger import journal, reading, transactions
from watchrender.ledger.storage import JournalDB, LedgerInUse, NewerLedger, read

# A child is forked to be killed or to read; threads that other tests left in this process are no matter to it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "state.json"


@pytest.fixture
def db(path: Path) -> Iterator[JournalDB]:
    with JournalDB(path) as opened:
        yield opened


def contents(db: TinyDB) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    return {name: [(doc.doc_id, dict(doc)) for doc in db.table(name)] for name in sorted(db.tables())}


# --- TinyDB's documented API, against stock TinyDB -------------------------------------------------------------------

Api = Callable[[TinyDB], Iterator[Any]]
SCENARIOS: list[Api] = []


def scenario(function: Api) -> Api:
    SCENARIOS.append(function)
    return function


def outcome(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call gives, or how it fails."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return type(error).__name__, str(error)


def filled(db: TinyDB) -> TinyDB:
    db.insert_multiple({"n": n, "kind": "ab"[n % 2], "tags": [n], "deep": {"x": n}} for n in range(6))
    return db


@scenario
def inserting(db: TinyDB) -> Iterator[Any]:
    yield db.insert({"int": 1, "char": "a"})
    yield db.insert_multiple([{"int": 2}, {"int": 3, "list": [1, {"a": None}], "text": "ü"}])
    yield db.insert_multiple({"int": n} for n in range(3))
    yield db.insert_multiple([])
    yield db.insert(Document({"own": "id"}, doc_id=40))
    yield db.insert({"after": "it"})
    yield db.insert_multiple([Document({"own": 1}, doc_id=50), Document({"own": 2}, doc_id=49)])
    yield outcome(db.insert, Document({"taken": 1}, doc_id=40))
    yield outcome(db.insert_multiple, [Document({"taken": 1}, doc_id=40)])
    yield outcome(db.insert, [1, 2])
    yield outcome(db.insert_multiple, [[1]])
    yield db.all()


@scenario
def looking(db: TinyDB) -> Iterator[Any]:
    filled(db)
    yield db.all()
    yield db.search(where("kind") == "a")
    yield [document.doc_id for document in db.search(where("n") > 2)]
    yield db.get(where("n") == 3)
    yield db.get(where("n") == 99)
    yield db.get(doc_id=2)
    yield db.get(doc_id=2).doc_id
    yield db.get(doc_id=99)
    yield db.get(doc_ids=[5, 1, 99])
    yield db.get(where("n") == 5, doc_id=1)
    yield outcome(db.get)
    yield db.contains(where("n") == 3), db.contains(where("n") == 99), db.contains(doc_id=1), db.contains(doc_id=99)
    yield outcome(db.contains)
    yield db.count(where("kind") == "b")
    yield len(db)
    yield list(db)
    yield [document.doc_id for document in iter(db)]
    yield [type(document) for document in db]


@scenario
def queries(db: TinyDB) -> Iterator[Any]:
    filled(db)
    db.insert({"name": "John", "groups": [{"name": "user"}, {"name": "sudo"}], "birthday": {"year": 1990}})
    user = Query()
    yield db.search(user.name.exists())
    yield db.search(user.name.matches("[jJ]o"))
    yield db.search(user.name.matches("JOHN", flags=re.IGNORECASE))
    yield db.search(user.name.search("oh"))
    yield db.search(user.n.test(lambda value, low, high: low <= value <= high, 2, 3))
    yield db.search(user.groups.any(Query().name == "sudo"))
    yield db.search(user.groups.all(Query().name.exists()))
    yield db.search(user.tags.any([1, 2]))
    yield db.search(user.tags.all([1]))
    yield db.search(user.birthday.year == 1990)
    yield db.search(user["deep"]["x"] == 2)
    yield db.search(user.n.one_of([1, 4]))
    yield db.search(~(user.n == 1) & user.n.exists())
    yield db.search((user.n == 1) | (user.n == 2))
    yield db.search((user.n != 1) & (user.n <= 3) & (user.n < 3) & (user.n >= 0))
    yield db.search(Query().fragment({"n": 2, "kind": "a"}))
    yield db.search(user.deep.fragment({"x": 3}))
    yield db.search(Query().noop())
    yield db.search(user.tags.map(len) == 1)
    yield db.search(lambda document: document.get("n") == 4)


@scenario
def updating(db: TinyDB) -> Iterator[Any]:
    filled(db)
    yield db.update({"new": [1]}, where("kind") == "a")
    yield db.update({"all": True})
    yield db.update({"some": True}, doc_ids=[2, 99, 4])
    yield db.update({"none": True}, where("n") == 99)
    yield db.update(lambda document: document["tags"].append("x"), where("n") == 2)
    yield db.update(operations.delete("kind"), where("n") == 0)
    yield db.update(operations.increment("n"), where("n") == 5)
    yield db.update(operations.decrement("n"), where("n") == 1)
    yield db.update(operations.add("n", 10), where("n") == 4)
    yield db.update(operations.subtract("n", 3), where("n") == 14)
    yield db.update(operations.set("deep", {"y": 1}), doc_ids=[1])
    yield db.update(operations.add("tags", [7]), doc_ids=[1, 2])
    yield outcome(db.update, operations.delete("missing"), doc_ids=[1])
    yield db.all()
    yield db.update_multiple([({"m": 1}, where("n") == 2), (operations.delete("deep"), where("m") == 1)])
    yield db.update_multiple([])
    yield db.all()


@scenario
def upserting(db: TinyDB) -> Iterator[Any]:
    filled(db)
    yield db.upsert({"n": 2, "seen": True}, where("n") == 2)
    yield db.upsert({"kind": "a", "seen": True}, where("kind") == "a")
    yield db.upsert({"n": 77}, where("n") == 77)
    yield db.upsert(Document({"by": "id"}, doc_id=3))
    yield db.upsert(Document({"by": "new id"}, doc_id=30))
    yield outcome(db.upsert, {"no": "condition"})
    yield db.insert({"next": 1})
    yield db.all()


@scenario
def removing(db: TinyDB) -> Iterator[Any]:
    filled(db)
    yield db.remove(where("kind") == "a")
    yield db.remove(doc_ids=[2, 99])
    yield db.remove(where("n") == 99)
    yield outcome(db.remove)
    yield outcome(db.remove, doc_ids=[4, 4])
    yield db.all()
    yield db.insert({"n": 100})
    yield db.remove(where("n") == 100)
    yield db.insert({"n": 101})
    yield db.truncate()
    yield len(db), db.all(), db.tables()
    yield db.insert({"n": 102})


@scenario
def tables(db: TinyDB) -> Iterator[Any]:
    yield db.tables()
    first, second = db.table("first"), db.table("second")
    yield first.name, db.tables()
    yield first.insert({"a": 1}), second.insert_multiple([{"b": 1}, {"b": 2}]), db.insert({"c": 1})
    yield db.tables(), len(first), len(second), len(db)
    yield db.table("first") is first
    yield db.table("kept", persist_empty=True).all(), db.tables()
    yield db.table("touched").update({"x": 1}), db.tables()
    yield db.table("sized", cache_size=0).search(where("a") == 1)
    yield second.search(where("b") == 2), first.all(), list(second)
    yield db.drop_table("first"), db.drop_table("never there"), db.tables()
    yield db.table("first").all(), db.table("first").insert({"again": 1})
    yield second.truncate(), db.tables(), second.insert({"b": 3})
    yield db.drop_tables(), db.tables(), db.all(), db.insert({"d": 1})
    yield db.default_table_name, TinyDB.default_table_name


@scenario
def order(db: TinyDB) -> Iterator[Any]:
    filled(db)
    db.insert(Document({"late": 1}, doc_id=20))
    db.insert(Document({"low": 1}, doc_id=10))
    db.remove(doc_ids=[2])
    db.insert(Document({"back": 1}, doc_id=2))
    db.update({"touched": 1}, doc_ids=[3])
    yield [document.doc_id for document in db]
    yield db.get(doc_ids=[2, 3, 10])


@pytest.mark.parametrize("api", SCENARIOS, ids=lambda api: api.__name__)
def test_tinydbs_documented_api_behaves_as_stock(api: Api, path: Path) -> None:
    stock = TinyDB(storage=MemoryStorage)
    expected = [json.loads(json.dumps(found, default=str)) for found in map(_plain, api(stock))]

    with JournalDB(path) as db:
        found = [json.loads(json.dumps(found, default=str)) for found in map(_plain, api(db))]

        assert found == expected
        assert contents(db) == contents(stock)
    with JournalDB(path) as reopened:
        assert contents(reopened) == contents(stock)
    assert contents(stock)


def _plain(found: Any) -> Any:
    return (
        sorted(found)
        if isinstance(found, set)
        else [_plain(one) for one in found]
        if isinstance(found, tuple)
        else found
    )


def test_the_repr_and_the_storage_are_tinydbs(db: JournalDB) -> None:
    db.insert({"a": [1]})

    assert "tables=['_default']" in repr(db)
    assert "total=1" in repr(db.table("_default"))
    assert db.storage.read() == {"_default": {"1": {"a": [1]}}}

    db.storage.write({"other": {"5": {"b": 2}}})

    assert contents(db) == {"other": [(5, {"b": 2})]}


def test_a_stock_table_on_our_storage_keeps_what_it_is_told(path: Path) -> None:
    with TinyDB(path, storage=transactions.JournalStorage) as stock:
        stock.insert({"a": 1})
        stock.update({"a": 2}, where("a") == 1)

    assert read(path) == {"_default": {1: {"a": 2}}}


# --- nobody outside holds a piece of the state -----------------------------------------------------------------------


def test_what_was_handed_out_can_be_changed_without_harm(db: JournalDB) -> None:
    db.insert({"list": [1], "deep": {"x": 1}})
    query = where("list").exists()

    for found in [
        db.get(doc_id=1),
        db.get(query),
        db.get(doc_ids=[1])[0],
        db.all()[0],
        db.search(query)[0],
        db.search(query)[0],
        next(iter(db)),
        db.table("_default")._read_table()["1"],
    ]:
        found["list"].append(2)
        found["deep"]["x"] = 5
        found["more"] = 1

    assert db.all() == [{"list": [1], "deep": {"x": 1}}]


def test_what_was_handed_in_can_be_changed_without_harm(db: JournalDB) -> None:
    inner = [1]
    with db.transaction():
        db.insert({"list": inner})
        inner.append(2)
        db.put("jobs", 1, {"list": inner})
        inner.append(3)
        db.update({"more": inner})
        inner.append(4)

    assert db.all() == [{"list": [1], "more": [1, 2, 3]}]
    assert db.table("jobs").all() == [{"list": [1, 2]}]


def test_an_update_that_fails_halfway_changes_nothing(db: JournalDB) -> None:
    filled(db)
    before = contents(db)

    def stumble(document: Any) -> None:
        document["deep"]["x"] = "changed"
        if document["n"] == 3:
            raise LookupError("halfway")

    with pytest.raises(LookupError):
        db.update(stumble)

    assert contents(db) == before
    assert read(db._storage._files.snapshot) == {"_default": dict(before["_default"])}


def test_an_updater_of_a_later_tinydb_that_changes_in_place_is_recorded(db: JournalDB, path: Path) -> None:
    filled(db)

    def updater(table: Any) -> None:
        table[1]["deep"]["x"] = "new"
        del table[2]
        table[7] = {"n": len(table)}
        assert sorted(table) == [1, 3, 4, 5, 6, 7]
        assert 2 not in table

    before = db.documents("_default")[1]
    db.table("_default")._update_table(updater)

    assert before["deep"] == {"x": 0}
    assert db.get(doc_id=1)["deep"] == {"x": "new"}
    assert read(path) == {"_default": dict(contents(db)["_default"])}


def test_memory_says_what_the_disk_will_say_after_a_restart(db: JournalDB, path: Path) -> None:
    db.put("odd", 1, {"when": datetime(2026, 1, 2, tzinfo=UTC), "pair": (1, 2), "path": Path("/x"), 5: "five"})

    assert db.documents("odd")[1] == {"when": "2026-01-02T00:00:00Z", "pair": [1, 2], "path": "/x", "5": "five"}
    assert read(path)["odd"][1] == db.documents("odd")[1]


def test_a_file_name_that_is_not_utf8_is_kept(db: JournalDB, path: Path) -> None:
    name = b"f\xffilm.json".decode("utf-8", "surrogateescape")
    db.put("jobs", 1, {"name": name, name: ["😀", name]})
    db.put("jobs", 2, {"plain": "ü"})

    assert read(path)["jobs"][1] == {"name": name, name: ["😀", name]}
    db.compact()
    assert read(path)["jobs"] == {1: {"name": name, name: ["😀", name]}, 2: {"plain": "ü"}}


@pytest.mark.parametrize("name", ["plain", "\udcff"])
def test_what_cannot_be_kept_is_refused_before_anything_changes(name: str, db: JournalDB, path: Path) -> None:
    db.insert({"a": 1})
    for depth in (150, 190, 195, 196, 197, 198, 199, 200, 250, 300, 800, 5000):
        deep: Any = name
        for _ in range(depth):
            deep = [deep]
        try:
            db.put("deep", depth, {"deep": deep})
        except (ValueError, RecursionError):
            continue
    with pytest.raises(TypeError):
        db.insert({"a": object()})
    with pytest.raises(ValueError, match="own table"):
        db.table("_journal").insert({"a": 1})
    with pytest.raises(ValueError, match="'x'"):
        db.insert(Document({}, doc_id="x"))  # type: ignore[arg-type]

    kept = {name: dict(rows) for name, rows in contents(db).items()}

    assert read(path) == kept
    db.compact()
    assert read(path) == kept
    with TinyDB(path, access_mode="r") as stock:
        assert stock.tables() == {*kept, "_journal"}


# --- the quick way in ------------------------------------------------------------------------------------------------


def test_put_and_delete_work_on_one_document(db: JournalDB) -> None:
    db.put("jobs", 7, {"a": 1})
    db.put("jobs", 3, {"a": 2})
    db.put("jobs", 7, {"b": 1})

    assert contents(db) == {"jobs": [(7, {"b": 1}), (3, {"a": 2})]}
    assert db.delete("jobs", 7) is True
    assert db.delete("jobs", 7) is False
    assert db.delete("never there", 7) is False
    assert contents(db) == {"jobs": [(3, {"a": 2})]}


def test_an_insert_after_a_put_takes_a_free_id(db: JournalDB) -> None:
    assert db.table("jobs").insert({"a": 1}) == 1
    db.put("jobs", 5, {"a": 2})

    assert db.table("jobs").insert({"a": 3}) == 6
    assert db.table("jobs").insert_multiple([Document({"own": 1}, doc_id=7), {"a": 4}]) == [7, 8]


def test_documents_is_a_live_view_that_cannot_be_written(db: JournalDB) -> None:
    view = db.documents("jobs")
    assert (len(view), list(view), dict(view), 1 in view, view.get(1)) == (0, [], {}, False, None)

    db.put("jobs", 1, {"a": 1})
    held = view[1]
    db.put("jobs", 1, {"a": 2})

    assert held == {"a": 1}
    assert view[1] == {"a": 2}
    assert [(doc_id, dict(document)) for doc_id, document in view.items()] == [(1, {"a": 2})]
    assert [dict(document) for document in view.values()] == [{"a": 2}]
    assert (1, {"a": 2}) in view.items()
    with pytest.raises(TypeError):
        view[1]["a"] = 3  # type: ignore[index]
    db.drop_table("jobs")
    assert len(view) == 0
    with pytest.raises(KeyError):
        view[1]


# --- transactions ----------------------------------------------------------------------------------------------------


def lines(path: Path) -> int:
    return sum(file.read_bytes().count(b"\n") - 1 for file in path.parent.glob("*.journal"))


def test_a_transaction_over_several_tables_is_one_line(db: JournalDB, path: Path) -> None:
    with db.transaction():
        db.insert({"a": 1})
        db.table("jobs").insert_multiple([{"b": 1}, {"b": 2}])
        db.put("facts", 1, {"c": 1})
        db.table("jobs").remove(doc_ids=[1])
        db.insert(Document({"a": 2}, doc_id=9))

        assert read(path) == {}

    assert lines(path) == 1
    assert read(path) == {"_default": {1: {"a": 1}, 9: {"a": 2}}, "jobs": {2: {"b": 2}}, "facts": {1: {"c": 1}}}


def test_an_upsert_that_inserts_is_one_line_and_nothing_is_none(db: JournalDB, path: Path) -> None:
    db.upsert({"a": 1}, where("a") == 1)
    assert lines(path) == 1

    with db.transaction():
        assert len(db) == 1
    db.drop_table("never there")
    db.remove(doc_ids=[44])
    assert lines(path) == 1


def test_an_exception_rolls_all_of_it_back(db: JournalDB, path: Path) -> None:
    filled(db)
    db.table("jobs").insert_multiple([{"b": 1}, {"b": 2}])
    before, size, handle = contents(db), db.stats.journal_bytes, db.table("jobs")

    with pytest.raises(LookupError), db.transaction():
        db.drop_table("jobs")
        assert db.tables() == {"_default"}
        db.table("jobs").insert({"new": 1})
        db.truncate()
        db.insert({"n": 1})
        db.drop_tables()
        db.put("facts", 1, {})
        assert contents(db) == {"facts": [(1, {})]}
        raise LookupError

    assert contents(db) == before
    assert db.stats.journal_bytes == size
    assert read(path) == {name: dict(rows) for name, rows in before.items()}
    assert handle.insert({"b": 3}) == 3
    assert db.table("jobs").insert({"b": 4}) == 4
    assert db.insert({"n": 7}) == 7


def test_a_transaction_inside_another_may_fail_alone(db: JournalDB, path: Path) -> None:
    filled(db)
    with db.transaction():
        db.update({"outer": 1}, doc_ids=[1])
        with pytest.raises(LookupError), db.transaction():
            db.update({"inner": 1}, doc_ids=[1])
            db.drop_table("_default")
            raise LookupError
        with db.transaction():
            db.remove(doc_ids=[2])
            db.insert(Document({"back": 1}, doc_id=2))
        db.remove(doc_ids=[6])

    assert [document.doc_id for document in db] == [1, 3, 4, 5, 2]
    assert db.get(doc_id=1) == {"n": 0, "kind": "a", "tags": [0], "deep": {"x": 0}, "outer": 1}
    assert list(read(path)["_default"].items()) == contents(db)["_default"]


def test_a_table_dropped_and_made_anew_in_one_transaction_is_the_new_one(db: JournalDB, path: Path) -> None:
    filled(db)
    with db.transaction():
        db.drop_table("_default")
        assert db.insert({"new": 1}) == 1

    assert contents(db) == {"_default": [(1, {"new": 1})]}
    with db.transaction():
        db.insert({"new": 2})
        db.drop_table("_default")
    assert db.tables() == set()
    assert read(path) == {}


def test_an_open_transaction_is_seen_by_its_own_thread_alone(db: JournalDB) -> None:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(len(db)))

    with db.transaction():
        db.insert({"a": 1})
        thread.start()
        time.sleep(0.05)
        assert seen == []
        db.insert({"a": 2})
    thread.join(10)

    assert seen == [2]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fcntl")
def test_a_disk_that_knows_no_full_flush_is_flushed_as_well_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def not_supported(*_words: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    flushed: list[int] = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", not_supported)
    monkeypatch.setattr(os, "fsync", flushed.append)
    monkeypatch.setattr("sys.platform", "darwin")

    journal._flush(7)

    assert flushed == [7]


@pytest.mark.skipif(sys.platform == "darwin", reason="flushes by another call here")
def test_a_line_is_flushed_before_it_is_acknowledged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "fdatasync" if hasattr(os, "fdatasync") else "fsync"
    flush, flushed = getattr(os, name), []

    def watched(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_size)
        flush(descriptor)

    with JournalDB(path) as db:
        monkeypatch.setattr(os, name, watched)
        for number in range(5):
            db.insert({"n": number})

            assert len(flushed) == number + 1
            assert flushed[-1] == path.with_name("state.00000001.journal").stat().st_size


# --- opening and closing ---------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_until_the_first_has_closed(path: Path) -> None:
    first = JournalDB(path)
    with pytest.raises(LedgerInUse, match=re.escape(str(path))):
        JournalDB(path)
    first.insert({"a": 1})

    closing = threading.Thread(target=first.close)  # not the thread that opened it
    closing.start()
    closing.join(10)

    with JournalDB(path) as second:
        assert second.all() == [{"a": 1}]


def test_a_closed_ledger_refuses_changes(path: Path) -> None:
    db = JournalDB(path)
    with pytest.raises(RuntimeError), db.transaction():
        db.close()
    with pytest.raises(RuntimeError), db.transaction():
        db.compact()
    db.close()
    db.close()

    with pytest.raises(ValueError, match="closed"):
        db.insert({"a": 1})
    with pytest.raises(ValueError, match="closed"):
        db.compact()
    assert read(path) == {}


def test_stock_tinydb_opens_the_snapshot(db: JournalDB, path: Path) -> None:
    filled(db)
    db.table("jobs").insert({"text": 'ü \x7f 😀 \\ "'})
    db.compact()

    with TinyDB(path, access_mode="r") as stock:
        assert {name: rows for name, rows in contents(stock).items() if name != "_journal"} == contents(db)
        assert stock.table("_journal").get(doc_id=1)["format"] == 1


def test_a_plain_tinydb_file_is_taken_over_and_a_copy_kept(path: Path) -> None:
    path.parent.mkdir()
    with TinyDB(path) as stock:
        filled(stock).table("jobs").insert({"a": 1})
        expected = contents(stock)
    assert read(path) == {name: dict(rows) for name, rows in expected.items()}

    with JournalDB(path) as db:
        assert contents(db) == expected
        assert db.warnings == ()
        db.insert({"new": 1})
    with JournalDB(path) as db:
        assert len(db) == 7
    with TinyDB(path.with_name("state.format-0.json")) as kept:
        assert {name: rows for name, rows in contents(kept).items() if name != "_journal"} == expected


def test_an_older_format_is_migrated_and_a_copy_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with JournalDB(path) as db:
        db.put("jobs", 1, {"a": 1})
        db.compact()
        db.put("jobs", 2, {"a": 2})
    for module in (journal, reading, transactions):
        monkeypatch.setattr(module, "FORMAT", 2)
    monkeypatch.setitem(reading.MIGRATIONS, 1, lambda tables: {"work": tables["jobs"]})

    assert read(path) == {"work": {1: {"a": 1}, 2: {"a": 2}}}
    with JournalDB(path) as db:
        assert contents(db) == {"work": [(1, {"a": 1}), (2, {"a": 2})]}
        db.put("work", 3, {"a": 3})
    with JournalDB(path) as db:
        assert len(db.table("work")) == 3

    monkeypatch.undo()
    assert read(path.with_name("state.format-1.json"))["jobs"] == {1: {"a": 1}, 2: {"a": 2}}


@pytest.mark.parametrize("compacted", [True, False])
def test_a_newer_format_is_refused_and_not_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, compacted: bool
) -> None:
    with JournalDB(path) as db:
        db.insert({"a": 1})
    for module in (journal, reading, transactions):
        monkeypatch.setattr(module, "FORMAT", 2)
    monkeypatch.setitem(reading.MIGRATIONS, 1, lambda tables: tables)
    JournalDB(path).close()
    monkeypatch.undo()
    if not compacted:
        path.unlink()
        path.with_name("state.previous.json").unlink()
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    with pytest.raises(NewerLedger, match="format 2"):
        read(path)
    with pytest.raises(NewerLedger, match="format 2"):
        JournalDB(path)

    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_reading_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none" / "state.json") == {}
    assert list(tmp_path.iterdir()) == []


# --- compaction ------------------------------------------------------------------------------------------------------


def test_the_journal_is_compacted_in_the_background_while_commits_go_on(path: Path) -> None:
    with JournalDB(path, compact_at=20_000) as db:
        for number in range(3000):
            db.put("jobs", number % 50, {"n": number, "text": "x" * 100})
        until(lambda: db.stats.journal_bytes < 200_000)

        assert db.stats.generation > 3
        assert db.stats.transactions == 3000
        assert db.stats.compaction_error is None
        expected = contents(db)
        assert read(path) == {name: dict(rows) for name, rows in expected.items()}
    with JournalDB(path) as db:
        assert contents(db) == expected
        assert db.warnings == ()
    names = sorted(file.name for file in path.parent.iterdir())
    journals = [name for name in names if name.endswith(".journal")]
    assert len(journals) <= 3
    assert names == [*journals, "state.json", "state.json.lock", "state.previous.json"]


def test_a_snapshot_is_of_one_moment_though_others_write(path: Path) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        number = 6000
        try:
            while not stop.is_set():
                number += 1
                with db.transaction():
                    for name in ("rows", "twins"):
                        db.put(name, number, {"n": number})
                        db.put(name, number % 6000, {"n": number})
                        db.delete(name, number - 5000)
        except BaseException as error:
            failures.append(error)

    with JournalDB(path) as db:
        with db.transaction():
            for name in ("rows", "twins"):
                db.table(name).insert_multiple({"n": number, "text": "x" * 300} for number in range(6000))
        thread = threading.Thread(target=write)
        thread.start()
        seen = []
        for _ in range(8):
            db.compact()
            found = json.loads(path.read_text())
            assert found["rows"] == found["twins"]
            seen.append(found["_journal"]["1"]["sequence"])
        stop.set()
        thread.join(20)

        assert failures == []
        assert len(set(seen)) > 5, "nothing was written meanwhile"


def test_a_compaction_that_fails_harms_nothing_and_is_tried_again(path: Path) -> None:
    with JournalDB(path, compact_at=2_000) as db:
        obstacle = path.with_name("state.next.json")
        obstacle.mkdir()
        (obstacle / "in the way").touch()
        numbers = iter(range(100_000))

        def put() -> bool:
            db.put("jobs", 1, {"n": next(numbers)})
            return True

        until(lambda: put() and db.stats.compaction_error is not None)
        with pytest.raises(OSError, match="next"):
            db.compact()
        assert read(path) == {"jobs": dict(contents(db)["jobs"])}

        (obstacle / "in the way").unlink()
        obstacle.rmdir()
        until(lambda: put() and db.stats.compaction_error is None)
        assert read(path) == {"jobs": dict(contents(db)["jobs"])}


def test_a_rename_that_is_refused_for_a_while_is_tried_again(
    db: JournalDB, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.insert({"a": 1})
    replace, refusals = os.replace, iter(range(6))

    def refused(source: Any, target: Any) -> None:
        if next(refusals, None) is not None:
            raise PermissionError(13, "somebody reads it", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    db.compact()

    assert next(refusals, None) is None
    assert json.loads(path.read_text())["_default"] == {"1": {"a": 1}}


def test_stats_tell_how_large_the_ledger_is(db: JournalDB, path: Path) -> None:
    filled(db)
    db.put("jobs", 1, {})

    assert (db.stats.documents, db.stats.transactions, db.stats.generation) == (7, 2, 1)
    header = path.with_name("state.00000001.journal").read_bytes().index(b"\n") + 1
    assert db.stats.journal_bytes + header == path.with_name("state.00000001.journal").stat().st_size
    db.compact()
    assert (db.stats.generation, db.stats.journal_bytes) == (2, 0)
    assert db.stats.snapshot_bytes == path.stat().st_size


# --- threads and other processes -------------------------------------------------------------------------------------


def test_many_threads_are_exact(path: Path) -> None:
    writers, rounds = 6, 150
    failures: list[BaseException] = []
    done = threading.Event()
    with JournalDB(path, compact_at=30_000) as db:
        db.put("counter", 1, {"n": 0})
        db.put("a", 1, {"money": 1000})
        db.put("b", 1, {"money": 1000})

        def write(own: int) -> None:
            for number in range(rounds):
                db.table("rows").insert({"writer": own, "number": number})
                db.table("counter").update(operations.increment("n"), doc_ids=[1])
                with db.transaction():
                    amount = number % 7
                    db.table("a").update(operations.subtract("money", amount), doc_ids=[1])
                    db.table("b").update(operations.add("money", amount), doc_ids=[1])
                if number % 10 == 0:
                    db.table("rows").remove((where("writer") == own) & (where("number") == number))

        def look() -> None:
            while not done.is_set():
                with db.transaction():
                    total = sum(db.documents(name)[1]["money"] for name in "ab")
                assert total == 2000
                found = db.table("rows").search(where("writer") == 1)
                numbers = [document["number"] for document in found]
                assert numbers == sorted(numbers)
                assert all(document["writer"] >= 0 for document in db.documents("rows").values())
                state = read(path)
                if "b" in state:
                    assert state["a"][1]["money"] + state["b"][1]["money"] == 2000

        def guarded(target: Callable[..., None], *args: Any) -> None:
            try:
                target(*args)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(write, number)) for number in range(writers)]
        readers = [threading.Thread(target=guarded, args=(look,)) for _ in range(2)]
        for thread in [*readers, *threads]:
            thread.start()
        for thread in threads:
            thread.join(120)
        done.set()
        for thread in readers:
            thread.join(20)

        assert failures == []
        assert db.documents("counter")[1] == {"n": writers * rounds}
        rows = db.table("rows").all()
        assert sorted((row["writer"], row["number"]) for row in rows) == [
            (own, number) for own in range(writers) for number in range(rounds) if number % 10
        ]
        assert len({row.doc_id for row in rows}) == len(rows)
        assert db.stats.transactions == 3 + writers * (rounds * 3 + rounds // 10)
        expected = contents(db)
    with JournalDB(path) as db:
        assert contents(db) == expected


def _read_until_told(path: Path, told: Any, answer: Any) -> None:
    last = reads = 0
    while not told.poll():
        loaded = reading.load(path)
        assert loaded.warnings == [], loaded.warnings
        rows, twins = loaded.tables.get("rows", {}), loaded.tables.get("twins", {})
        assert rows == twins, "half a transaction was seen"
        newest = max((row["n"] for row in rows.values()), default=0)
        assert newest >= last, "an older state was seen after a newer one"
        last, reads = newest, reads + 1
    answer.send((last, reads))


def test_another_process_reads_a_whole_state_at_any_moment(path: Path) -> None:
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    told, tell = context.Pipe(duplex=False)
    heard, answer = context.Pipe(duplex=False)
    reader = context.Process(target=_read_until_told, args=(path, told, answer))
    reader.start()
    answer.close()
    with JournalDB(path, compact_at=3_000) as db:
        limit = time.monotonic() + 2
        number = 0
        while time.monotonic() < limit or (db.stats.generation <= 10 and time.monotonic() < limit + 20):  # a slow disk
            number += 1
            with db.transaction():
                db.put("rows", number % 20, {"n": number, "x": "y" * 60})
                db.put("twins", number % 20, {"n": number, "x": "y" * 60})
        generations = db.stats.generation
    tell.send(None)

    assert heard.poll(20), "the reader failed"
    last, reads = heard.recv()
    reader.join(20)
    assert reader.exitcode == 0
    assert reads > 20
    assert last > 0
    assert generations > 10


# --- cost ------------------------------------------------------------------------------------------------------------


def _written() -> tuple[int, int]:
    """Bytes this process has written, and the calls it took."""
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["wchar"]), int(facts["syscw"])


def _cost_of_updates(path: Path, documents: int) -> tuple[float, float]:
    job = {"id": "01JD", "job": "clientA/spot", "state": "queued", "history": [{"at": "2026", "why": "x" * 100}] * 3}
    with JournalDB(path) as db:
        db.table("jobs").insert_multiple({**job, "n": number} for number in range(documents))
        db.compact()
        bytes_before, calls_before = _written()
        for number in range(200):
            db.table("jobs").update({"state": "rendering"}, doc_ids=[number % documents + 1])
            db.put("jobs", number % documents + 1, {**job, "n": 1})
            db.table("jobs").insert({**job, "n": 2})
            db.delete("jobs", documents + 1 + number)
        bytes_after, calls_after = _written()
        assert db.stats.transactions == 801
        # A snapshot is due after twice its size of journal: half a byte of it for each byte of line, at any size.
        assert db._storage._compact_due >= 2 * db.stats.snapshot_bytes
    return (bytes_after - bytes_before) / 800, (calls_after - calls_before) / 800


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's count of written bytes")
def test_a_change_costs_the_same_at_50_000_documents_as_at_100(path: Path) -> None:
    small_bytes, small_calls = _cost_of_updates(path.with_name("small.json"), 100)
    large_bytes, large_calls = _cost_of_updates(path.with_name("large.json"), 50_000)

    assert 300 < small_bytes < 1000
    assert large_bytes < 1.1 * small_bytes
    assert small_calls == large_calls == 1
