"""The ledger against a dict: whatever is done to it, in whatever order, it holds what the dict holds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tinydb import where
from tinydb.table import Document

from watchrender.ledger.storage import JournalDB, read

Model = dict[str, dict[int, dict[str, Any]]]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.fixed_dictionaries({"group": st.integers(0, 2)}, optional={"value": json_values, "näme": json_values})
names = st.sampled_from(["_default", "jobs", "outbox"])
ids = st.integers(1, 6)


class Stop(Exception):
    """Thrown out of a transaction."""


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.path = self.folder / "0" / "state.json"
        self.crashed: list[JournalDB] = []
        self.model: Model = {}
        self.lives = 0

    @initialize()
    def begin(self) -> None:
        self.db = self.opened()

    def opened(self) -> JournalDB:
        db = JournalDB(self.path, sync="never", compact_at=600)
        assert db.warnings == ()
        return db

    def teardown(self) -> None:
        for db in [*self.crashed, self.db]:
            db.close()
        shutil.rmtree(self.folder)

    # --- one change ---

    @rule(name=names, doc_id=ids, document=documents)
    def put(self, name: str, doc_id: int, document: dict[str, Any]) -> None:
        self.db.put(name, doc_id, document)
        self.model.setdefault(name, {})[doc_id] = deepcopy(document)

    @rule(name=names, doc_id=ids)
    def delete(self, name: str, doc_id: int) -> None:
        assert self.db.delete(name, doc_id) == (self.model.get(name, {}).pop(doc_id, None) is not None)

    @rule(name=names, document=documents)
    def insert(self, name: str, document: dict[str, Any]) -> None:
        doc_id = self.db.table(name).insert(document)

        rows = self.model.setdefault(name, {})
        assert doc_id > max(rows, default=0)
        rows[doc_id] = deepcopy(document)

    @rule(name=names, several=st.lists(documents, max_size=4))
    def insert_multiple(self, name: str, several: list[dict[str, Any]]) -> None:
        taken = self.db.table(name).insert_multiple(several)

        self.model.setdefault(name, {}).update(zip(taken, deepcopy(several), strict=True))

    @rule(name=names, doc_id=ids, document=documents)
    def upsert(self, name: str, doc_id: int, document: dict[str, Any]) -> None:
        assert self.db.table(name).upsert(Document(document, doc_id=doc_id)) == [doc_id]
        self.model.setdefault(name, {}).setdefault(doc_id, {}).update(deepcopy(document))

    @rule(name=names, group=st.integers(0, 2), value=json_values)
    def update(self, name: str, group: int, value: Any) -> None:
        rows = self.model.setdefault(name, {})
        chosen = [doc_id for doc_id, row in rows.items() if row["group"] == group]

        assert self.db.table(name).update({"value": value}, where("group") == group) == chosen
        for doc_id in chosen:
            rows[doc_id]["value"] = deepcopy(value)

    @rule(name=names, group=st.integers(0, 2))
    def remove(self, name: str, group: int) -> None:
        rows = self.model.setdefault(name, {})
        chosen = [doc_id for doc_id, row in rows.items() if row["group"] == group]

        assert self.db.table(name).remove(where("group") == group) == chosen
        for doc_id in chosen:
            del rows[doc_id]

    @rule(name=names)
    def truncate(self, name: str) -> None:
        self.db.table(name).truncate()
        self.model[name] = {}

    @rule(name=names)
    def drop_table(self, name: str) -> None:
        self.db.drop_table(name)
        self.model.pop(name, None)

    @rule()
    def drop_tables(self) -> None:
        self.db.drop_tables()
        self.model.clear()

    # --- several ---

    def changes(self, draw: Callable[[Any], Any]) -> None:
        for _ in range(draw(st.integers(0, 6))):
            kind = draw(st.sampled_from(["put", "delete", "insert", "update", "remove", "truncate", "drop", "inner"]))
            name = draw(names)
            if kind == "put":
                self.put(name, draw(ids), draw(documents))
            elif kind == "delete":
                self.delete(name, draw(ids))
            elif kind == "insert":
                self.insert(name, draw(documents))
            elif kind == "update":
                self.update(name, draw(st.integers(0, 2)), draw(json_values))
            elif kind == "remove":
                self.remove(name, draw(st.integers(0, 2)))
            elif kind == "truncate":
                self.truncate(name)
            elif kind == "drop":
                self.drop_table(name)
            else:
                self.in_a_transaction(draw)
            self.holds_what_the_dict_holds()

    def in_a_transaction(self, draw: Callable[[Any], Any]) -> None:
        before = deepcopy(self.model)
        is_stopped = draw(st.booleans())
        try:
            with self.db.transaction():
                self.changes(draw)
                if is_stopped:
                    raise Stop
        except Stop:
            self.model = before

    @rule(data=st.data())
    def transaction(self, data: st.DataObject) -> None:
        before = self.db.stats.transactions
        self.in_a_transaction(data.draw)

        assert self.db.stats.transactions - before in (0, 1)

    # --- its files ---

    @rule()
    def compact(self) -> None:
        self.db.compact()

    @rule()
    def reopen(self) -> None:
        self.db.close()
        self.db = self.opened()

    @rule(torn=st.binary(max_size=40))
    def crash(self, torn: bytes) -> None:
        """The files as they lie there, with a torn line at the end, are all that the next process finds."""
        if self.db._storage._compactor:
            self.db._storage._compactor.join()  # else the copy is not of one moment
        newest = max(self.path.parent.glob("*.journal")).name
        self.crashed.append(self.db)
        self.lives += 1
        shutil.copytree(self.path.parent, self.folder / str(self.lives))
        self.path = self.folder / str(self.lives) / "state.json"
        with self.path.with_name(newest).open("ab") as file:
            file.write(torn.replace(b"\n", b""))
        self.db = self.opened()

    @precondition(lambda self: self.lives < 3)
    @rule()
    def flip_the_newest_snapshot(self) -> None:
        self.db.close()
        if self.path.with_name("state.previous.json").exists():
            data = bytearray(self.path.read_bytes())
            data[len(data) // 2] ^= 4
            self.path.write_bytes(data)
            self.db = JournalDB(self.path, sync="never", compact_at=600)
            assert len(self.db.warnings) == 1
        else:
            self.db = self.opened()

    # --- what always holds ---

    @invariant()
    def holds_what_the_dict_holds(self) -> None:
        assert self.db.tables() == set(self.model)
        for name, rows in self.model.items():
            table = self.db.table(name)
            assert [(document.doc_id, document) for document in table] == list(rows.items())
            assert len(table) == len(rows)
            assert {doc_id: dict(document) for doc_id, document in self.db.documents(name).items()} == rows
            assert table.get(doc_id=3) == rows.get(3)
            assert table.count(where("group") == 1) == sum(row["group"] == 1 for row in rows.values())

    @invariant()
    def another_process_reads_the_same(self) -> None:
        found = read(self.path)
        assert found == self.model
        assert {name: list(rows) for name, rows in found.items()} == {
            name: list(rows) for name, rows in self.model.items()
        }


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
