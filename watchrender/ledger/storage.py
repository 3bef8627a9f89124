"""A TinyDB that survives kill -9, a full disk and threads, and costs the same however long the history is.

`JournalDB` is used like TinyDB; each change, or each block `with db.transaction():`, is one checksummed line, flushed
to the disk before it is acknowledged. What is handed in or out is a copy: nobody outside holds a piece of the state,
and for that reason there is no query cache.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from tinydb import TinyDB
from tinydb.queries import QueryLike
from tinydb.table import Document, Table

from watchrender.ledger.draft import Draft, Touching
from watchrender.ledger.journal import Raw, packed
from watchrender.ledger.reading import NewerLedger, read
from watchrender.ledger.transactions import COMPACT_AT, JournalStorage, LedgerInUse, Stats, Sync

__all__ = ["Documents", "JournalDB", "JournalTable", "LedgerInUse", "NewerLedger", "Stats", "read"]

Fields = Mapping[str, Any] | Callable[[MutableMapping[str, Any]], None]


class Documents(Mapping[int, Mapping[str, Any]]):
    """One table's documents as they stand at each look: for reading only. Each is read when it is asked for."""

    def __init__(self, storage: JournalStorage, table: str) -> None:
        self._storage = storage
        self._table = table

    def __getitem__(self, doc_id: int) -> Mapping[str, Any]:
        raw = self._storage.get(self._table, doc_id)
        if raw is None:
            raise KeyError(doc_id)
        return MappingProxyType(raw)

    def __iter__(self) -> Iterator[int]:
        return iter([doc_id for doc_id, _ in self._storage.all_packed(self._table)])

    def __len__(self) -> int:
        return self._storage.count(self._table)

    def items(self) -> ItemsView[int, Mapping[str, Any]]:
        return _Items(self)

    def values(self) -> ValuesView[Mapping[str, Any]]:
        return _Values(self)

    def at_once(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """All of one moment: a loop over them is not disturbed by what other threads do meanwhile."""
        return ((doc_id, MappingProxyType(raw)) for doc_id, raw in self._storage.items(self._table))

    def packed(self, doc_id: int) -> bytes | None:
        """One document as JSON."""
        return self._storage.packed(self._table, doc_id)

    def all_packed(self) -> list[tuple[int, bytes]]:
        """All of one moment, as JSON."""
        return self._storage.all_packed(self._table)


class _Items(ItemsView[int, Mapping[str, Any]]):
    _mapping: Documents

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        return self._mapping.at_once()


class _Values(ValuesView[Mapping[str, Any]]):
    _mapping: Documents

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (document for _, document in self._mapping.at_once())


class JournalTable(Table):
    """TinyDB's table, document by document where stock goes by the whole table."""

    _storage: JournalStorage

    def insert(self, document: Mapping[str, Any]) -> int:
        with self._storage.transaction():
            return super().insert(document)

    def insert_multiple(self, documents: Iterable[Mapping[str, Any]]) -> list[int]:
        with self._storage.transaction():
            return super().insert_multiple(documents)

    def upsert(self, document: Mapping[str, Any], cond: QueryLike | None = None) -> list[int]:
        with self._storage.transaction():
            return super().upsert(document, cond)

    def truncate(self) -> None:
        with self._storage.transaction():
            super().truncate()

    def update(self, fields: Fields, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None) -> list[int]:
        with self._storage.statement(self._name) as draft:
            chosen = _chosen(draft, cond, doc_ids)
            for doc_id in chosen:
                _change(draft.touch(doc_id), fields)
        return chosen

    def update_multiple(self, updates: Iterable[tuple[Fields, QueryLike]]) -> list[int]:
        changed = []
        with self._storage.statement(self._name) as draft:
            for doc_id in list(draft):
                for fields, cond in updates:
                    if cond(draft[doc_id]):
                        changed.append(doc_id)
                        _change(draft.touch(doc_id), fields)
        return changed

    def remove(self, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None) -> list[int]:
        if cond is None and doc_ids is None:
            raise RuntimeError("Use truncate() to remove all documents")
        with self._storage.statement(self._name) as draft:
            chosen = _chosen(draft, cond, doc_ids)
            for doc_id in chosen:
                del draft[doc_id]
        return chosen

    def search(self, cond: QueryLike) -> list[Document]:
        return [self._handed_out(doc_id, raw) for doc_id, raw in self._items() if cond(raw)]

    def count(self, cond: QueryLike) -> int:
        return sum(1 for _, raw in self._items() if cond(raw))

    def get(self, cond: QueryLike | None = None, doc_id: int | None = None, doc_ids: list[int] | None = None) -> Any:
        if doc_id is not None:
            raw = self._storage.get(self._name, doc_id)
            return None if raw is None else self._handed_out(doc_id, raw)
        if doc_ids is not None:
            wanted = set(doc_ids)
            return [self._handed_out(number, raw) for number, raw in self._items() if number in wanted]
        if cond is not None:
            return next((self._handed_out(number, raw) for number, raw in self._items() if cond(raw)), None)
        raise RuntimeError("You have to pass either cond or doc_id or doc_ids")

    def contains(self, cond: QueryLike | None = None, doc_id: int | None = None) -> bool:
        if doc_id is not None:
            return self._storage.packed(self._name, doc_id) is not None
        if cond is not None:
            return any(cond(raw) for _, raw in self._items())
        raise RuntimeError("You have to pass either cond or doc_id")

    def __len__(self) -> int:
        return self._storage.count(self._name)

    def __iter__(self) -> Iterator[Document]:
        return (self._handed_out(doc_id, raw) for doc_id, raw in self._items())

    def _items(self) -> Iterator[tuple[int, Raw]]:
        return self._storage.items(self._name)

    def _handed_out(self, doc_id: int, raw: Raw) -> Document:
        return self.document_class(raw, doc_id)

    # What stock TinyDB, this version or a later one, does in a way of its own comes through here.

    @property  # type: ignore[override] # stock's is a plain attribute, typed as None
    def _next_id(self) -> int | None:
        # One for all handles of a table: two of them, from before and after a drop, must not use one id twice.
        return self._storage.next_ids.get(self._name)

    @_next_id.setter
    def _next_id(self, value: int | None) -> None:
        if value is None:
            self._storage.next_ids.pop(self._name, None)
        else:
            self._storage.next_ids[self._name] = value

    def _get_next_id(self) -> int:
        known = self._next_id
        free = (
            known
            if known is not None
            else max((doc_id for doc_id, _ in self._storage.all_packed(self._name)), default=0) + 1
        )
        while self._storage.packed(self._name, free) is not None:
            free += 1
        self._next_id = free + 1
        return free

    def _read_table(self) -> dict[str, Mapping[str, Any]]:
        return {str(doc_id): raw for doc_id, raw in self._items()}

    def _update_table(self, updater: Callable[[dict[int, Mapping[str, Any]]], None]) -> None:
        with self._storage.statement(self._name) as draft:
            updater(cast(Any, Touching(draft)))


def _chosen(draft: Draft, cond: QueryLike | None, doc_ids: Iterable[int] | None) -> list[int]:
    if doc_ids is not None:
        return [doc_id for doc_id in doc_ids if doc_id in draft]
    return [doc_id for doc_id, raw in draft.items() if cond is None or cond(raw)]


def _change(document: Raw, fields: Fields) -> None:
    if callable(fields):
        fields(document)
    else:
        document.update(fields)


class JournalDB(TinyDB):
    """TinyDB's own API over a journal, with transactions."""

    table_class = JournalTable
    _storage: JournalStorage

    def __init__(self, path: Path | str, *, sync: Sync = "always", compact_at: int = COMPACT_AT) -> None:
        """Open the ledger whose snapshot is `path`, or make it. Raises `LedgerInUse` and `NewerLedger`.

        With `sync="never"` a commit survives the end of the process, but not that of the machine.
        """
        super().__init__(path, storage=JournalStorage, sync=sync, compact_at=compact_at)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes in here, to any tables, are one line; or nothing, if an exception leaves the block."""
        with self._storage.transaction():
            yield

    def documents(self, table: str) -> Documents:
        """A live view of a table, without copying."""
        return Documents(self._storage, table)

    def put(self, table: str, doc_id: int, document: Mapping[str, Any]) -> bytes:
        """Set one document, whether it is there or not. It as JSON."""
        found = packed(document)
        self._storage.put(table, doc_id, found)
        return found

    def delete(self, table: str, doc_id: int) -> bool:
        """Remove one document. False if there is none."""
        with self._storage.transaction():
            if self._storage.packed(table, doc_id) is None:
                return False
            with self._storage.statement(table) as draft:
                del draft[doc_id]
            return True

    def compact(self) -> None:
        """Write a snapshot now. Other threads may go on writing meanwhile. Raises OSError."""
        self._storage.compact()

    @property
    def stats(self) -> Stats:
        return self._storage.stats

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the files had suffered when they were opened, and what is lost by it. Empty is the rule."""
        return self._storage.warnings

    def table(self, name: str, **kwargs: Any) -> Table:
        with self._storage.lock:
            return super().table(name, **kwargs)

    def tables(self) -> set[str]:
        return self._storage.names()

    def drop_table(self, name: str) -> None:
        with self._storage.lock:
            self._tables.pop(name, None)
            self._storage.drop(name)

    def drop_tables(self) -> None:
        with self._storage.transaction():
            self._tables.clear()
            for name in self.tables():
                self._storage.drop(name)
