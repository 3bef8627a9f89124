"""The documents of all tables in memory, the transactions that change them, and the journal that keeps them.

* A document in memory is JSON, never changed in place: a change makes a new one. So a snapshot is a shallow copy, taken
  in a moment, and written by a thread while commits go on in the next journal.
* Memory changes only after the line is on the disk, and by what the line says. If that fails, nothing has happened.
* One lock guards it all. A transaction holds it from its first word until its line is on the disk, so an open
  transaction is seen by its own thread alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from tinydb.storages import Storage

from watchrender import disk
from watchrender.ledger import journal, reading
from watchrender.ledger.draft import Draft
from watchrender.ledger.journal import FORMAT, Changes, Files, Journal, Raw, Rows, Snapshot, Tables, loads

#: Bytes of journal that are worth a snapshot; or twice the last snapshot, so that writing them stays a small share.
COMPACT_AT = 4 * 1024 * 1024

Sync = Literal["always", "never"]


class LedgerInUse(Exception):
    """Another process writes here, or another `JournalDB` of this one."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use: only one process at a time may write to it")


@dataclass(frozen=True, kw_only=True)
class Stats:
    """How large the ledger is."""

    documents: int
    transactions: int  # since the ledger was made
    generation: int  # of the journal that is written to
    journal_bytes: int  # not yet in a snapshot
    snapshot_bytes: int
    compaction_error: str | None  # why the last compaction in the background failed; it will be tried again


class JournalStorage(Storage):
    """A storage that TinyDB can use as any other, and that `JournalTable` uses document by document."""

    _tables: Tables
    _journal: Journal
    _generation: int  # of this journal
    _sequence: int  # of the last transaction
    _pending_bytes: int  # of journal that no snapshot holds
    _snapshot_generation: int
    _snapshot_bytes: int
    _compact_due: int  # when `_pending_bytes` reaches it

    def __init__(self, path: Path | str, *, sync: Sync = "always", compact_at: int = COMPACT_AT) -> None:
        self.lock = threading.RLock()
        self.next_ids: dict[str, int] = {}  # by table, where it is known; forgotten when anything fails
        self.warnings: tuple[str, ...] = ()
        self._files = Files(snapshot=Path(path).absolute())
        self._durable = sync == "always"
        self._compact_at = compact_at
        self._layers: list[dict[str, Draft]] = []  # one for each transaction that is open, the innermost last
        self._closed = False
        self._compacting = threading.Lock()  # taken before `lock`, never after it
        self._compactor: threading.Thread | None = None
        self._compaction_error: str | None = None
        disk.mkdirs(self._files.snapshot.parent)
        self._hold = _claimed(self._files)
        try:
            self._open()
        except BaseException:
            self._hold.release()
            raise

    def read(self) -> dict[str, dict[str, Any]]:
        """All of it, copied, as TinyDB asks for it."""
        with self.lock:
            return {name: {str(doc_id): raw for doc_id, raw in self.items(name)} for name in self.names()}

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """All of it anew."""
        with self.transaction():
            for name in self.names() - set(data):
                self.drop(name)
            for name, rows in data.items():
                with self.statement(name) as draft:
                    draft.clear()
                    draft.update({int(key): dict(document) for key, document in rows.items()})

    def close(self) -> None:
        """Wait for a compaction that runs, and let the files go."""
        with self.lock:
            if self._layers:
                raise RuntimeError("the ledger cannot be closed inside a transaction")
            if self._closed:
                return
            self._closed = True
        with self._compacting:
            self._journal.close()
        self._hold.release()

    # --- looking ---

    def names(self) -> set[str]:
        with self.lock:
            drafted = {name for layer in self._layers for name in layer}
            return {name for name in drafted | set(self._tables) if self._rows(name) is not None}

    def get(self, name: str, doc_id: int) -> Raw | None:
        """One document, read anew."""
        found = self.packed(name, doc_id)
        return None if found is None else loads(found)

    def packed(self, name: str, doc_id: int) -> bytes | None:
        """One document as JSON."""
        with self.lock:
            rows = self._rows(name)
            return None if rows is None else rows.packed(doc_id)

    def items(self, name: str) -> Iterator[tuple[int, Raw]]:
        """All documents of this moment, each read when its turn comes."""
        return ((doc_id, loads(found)) for doc_id, found in self.all_packed(name))

    def all_packed(self, name: str) -> list[tuple[int, bytes]]:
        """All documents of this moment, as JSON."""
        with self.lock:
            rows = self._rows(name)
            if rows is None:
                return []
            return [(doc_id, found) for doc_id in rows if (found := rows.packed(doc_id)) is not None]

    def count(self, name: str) -> int:
        with self.lock:
            return len(self._rows(name) or {})

    @property
    def stats(self) -> Stats:
        with self.lock:
            return Stats(
                documents=sum(map(len, self._tables.values())),
                transactions=self._sequence,
                generation=self._generation,
                journal_bytes=self._pending_bytes,
                snapshot_bytes=self._snapshot_bytes,
                compaction_error=self._compaction_error,
            )

    def _rows(self, name: str) -> Rows | Draft | None:
        for layer in reversed(self._layers):
            if name in layer:
                return layer[name] if layer[name].exists else None
        return self._tables.get(name)

    # --- changing ---

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. One inside another becomes a part of it, and may fail alone."""
        with self.lock:
            self._refuse_if_closed()
            layer: dict[str, Draft] = {}
            self._layers.append(layer)
            try:
                try:
                    yield
                finally:
                    self._layers.pop()
                self._keep(layer)
            except BaseException:
                self.next_ids.clear()
                raise

    @contextmanager
    def statement(self, name: str) -> Iterator[Draft]:
        """One change of one table, a transaction of its own."""
        with self.transaction():
            draft = self._draft(name)
            draft.exists = True
            yield draft
            draft.settle()
            if draft.added and name in self.next_ids:
                self.next_ids[name] = max(self.next_ids[name], *(doc_id + 1 for doc_id in draft.added))

    def put(self, name: str, doc_id: int, found: bytes) -> None:
        """Set one document that is JSON already."""
        with self.lock:
            self._refuse_if_closed()
            if name in self.next_ids:
                self.next_ids[name] = max(self.next_ids[name], doc_id + 1)
            if self._layers:
                draft = self._draft(name)
                draft.exists = True
                draft.put(doc_id, found)
            elif name == "_journal":
                raise ValueError("_journal is the ledger's own table")
            else:
                try:
                    self._commit({name: journal.Change(put={doc_id: found})})
                except BaseException:
                    self.next_ids.clear()
                    raise

    def drop(self, name: str) -> None:
        """Remove a table with all that is in it."""
        with self.transaction():
            if self._rows(name) is not None:
                draft = self._draft(name)
                draft.clear()
                draft.exists = False
            self.next_ids.pop(name, None)

    def _draft(self, name: str) -> Draft:
        if name == "_journal":
            raise ValueError("_journal is the ledger's own table")
        layer = self._layers[-1]
        if name not in layer:
            layer[name] = Draft(self._rows(name))
        return layer[name]

    def _keep(self, layer: Mapping[str, Draft]) -> None:
        if self._layers:
            for name, draft in layer.items():
                draft.merge_into(self._draft(name))
        elif changes := {name: draft.change() for name, draft in layer.items() if not draft.is_empty()}:
            self._commit(changes)

    def _commit(self, changes: Changes) -> None:
        line = journal.line(self._generation, self._sequence + 1, changes)
        self._journal.append(line)
        journal.apply(self._tables, changes)
        self._sequence += 1
        self._pending_bytes += len(line)
        self._compact_if_due()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ValueError(f"{self._files.snapshot} is closed")

    # --- compacting ---

    def compact(self) -> None:
        """Write a snapshot now. Other threads may go on writing meanwhile. Raises OSError."""
        with self.lock:
            self._refuse_if_closed()
            if self._layers:
                raise RuntimeError("the ledger cannot be compacted inside a transaction")
        self._write_snapshot()

    def _write_snapshot(self, *, into_next_journal: bool = True) -> None:
        with self._compacting:
            with self.lock:
                if self._closed:
                    return
                if into_next_journal:
                    self._change_journals()
                tables = {name: rows.copy() for name, rows in self._tables.items()}
                generation, sequence, pending = self._generation, self._sequence, self._pending_bytes
            snapshot = Snapshot(tables=tables, generation=generation, sequence=sequence, version=FORMAT)
            size = journal.write_snapshot(self._files, snapshot)
            with self.lock:
                before, self._snapshot_generation = self._snapshot_generation, generation
                self._pending_bytes -= pending
                self._snapshot_bytes = size
                self._compact_due = max(self._compact_at, 2 * size)
                self._compaction_error = None
            journal.sweep(self._files, oldest=before)

    def _change_journals(self) -> None:
        before = self._journal
        before.mend()  # nothing may follow a torn line, not even in another file
        self._journal = self._begun_journal()
        before.close()

    def _begun_journal(self) -> Journal:
        generation = max([self._generation, *self._files.journals()]) + 1
        begun = Journal.begin(self._files, generation, self._sequence, durable=self._durable)
        self._generation = generation
        return begun

    def _compact_if_due(self) -> None:
        if self._pending_bytes < self._compact_due or (self._compactor and self._compactor.is_alive()):
            return
        self._compactor = threading.Thread(target=self._compact_quietly, name="ledger-compaction", daemon=True)
        with suppress(RuntimeError):  # no thread to be had, or the interpreter is ending: the next commit asks again
            self._compactor.start()

    def _compact_quietly(self) -> None:
        try:
            self._write_snapshot()
        except OSError as error:
            with self.lock:
                self._compaction_error = str(error)
                self._compact_due = self._pending_bytes + self._compact_at

    # --- opening ---

    def _open(self) -> None:
        for path in self._files.litter():
            disk.remove(path)
        loaded = reading.load(self._files.snapshot)
        self._keep_evidence(loaded)
        if loaded.source == self._files.next:  # cut off between the two renames of a snapshot
            journal.patiently(disk.replace, self._files.next, self._files.snapshot)
        self._tables = reading.migrated(loaded)
        self._sequence = loaded.sequence
        self._generation = loaded.generation
        self._pending_bytes = loaded.journal_bytes
        self._snapshot_bytes = loaded.snapshot_bytes
        self._snapshot_generation = loaded.snapshot_generation
        self._compact_due = max(self._compact_at, 2 * loaded.snapshot_bytes)
        self.warnings = tuple(loaded.warnings)
        last = self._files.journal(loaded.generation)
        usable = loaded.format == FORMAT and last.exists()
        self._journal = (
            Journal(last, length=loaded.good_bytes, durable=self._durable) if usable else self._begun_journal()
        )
        if not (usable and loaded.is_sound(self._files)):
            self._renew(must=not usable)

    def _renew(self, *, must: bool) -> None:
        """Leave behind what is new, old or damaged. A full disk may put it off if there is a journal to go on with."""
        try:
            self._write_snapshot(into_next_journal=not must)
        except OSError as error:
            if must:
                raise
            self.warnings += (f"the damaged files could not be replaced yet: {error}",)

    def _keep_evidence(self, loaded: reading.Loaded) -> None:
        if loaded.format < FORMAT and loaded.source:
            evidence = Snapshot(
                tables=loaded.tables,
                generation=loaded.generation,
                sequence=loaded.sequence,
                version=loaded.format,
            )
            disk.write(self._files.free(f"format-{loaded.format}.json"), evidence)
        for path in loaded.spoiled:
            with suppress(OSError):  # it is worth less than a start
                kept = self._files.free(f"damaged.{path.name.removeprefix(self._files.snapshot.stem + '.')}")
                (disk.rename if path == self._files.snapshot else disk.copy)(path, kept)


def _claimed(files: Files) -> FileLock:
    # The system's own lock: it ends with the process, however that ends. Any thread may give it back.
    lock = FileLock(files.lock, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise LedgerInUse(files.snapshot) from None
    return lock
