"""One table as an open transaction sees it: its own changes over what lies below. Pure."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from watchrender.ledger.journal import Change, Raw, Rows, copied, loads, packed


class Draft(MutableMapping[int, Raw]):
    """What lies below is never touched; what is changed is a copy, and is kept as JSON once it is settled.

    It keeps TinyDB's order: a changed document stays in its place, a new one comes last.
    """

    def __init__(self, below: Rows | Draft | None) -> None:
        self._below: Rows | Draft = below if below is not None else Rows()
        self._existed = below is not None
        self.exists = self._existed
        self.cleared = False
        self.removed: dict[int, None] = {}  # of those below, as a set that keeps its order
        self.changed: dict[int, Raw | bytes] = {}  # of those below
        self.added: dict[int, Raw | bytes] = {}

    def __getitem__(self, doc_id: int) -> Raw:
        for rows in (self.added, self.changed):
            if doc_id in rows:
                found = rows[doc_id]
                return loads(found) if isinstance(found, bytes) else found
        if doc_id in self.removed:
            raise KeyError(doc_id)
        return self._below[doc_id]

    def __setitem__(self, doc_id: int, document: Raw) -> None:
        self.put(int(doc_id), document)

    def put(self, doc_id: int, document: Raw | bytes) -> None:
        rows = self.changed if doc_id in self._below and doc_id not in self.removed else self.added
        rows[doc_id] = document

    def __delitem__(self, doc_id: int) -> None:
        if doc_id not in self:
            raise KeyError(doc_id)
        if doc_id in self.added:
            del self.added[doc_id]
        else:
            self.changed.pop(doc_id, None)
            self.removed[doc_id] = None

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self.added or (doc_id in self._below and doc_id not in self.removed)

    def __iter__(self) -> Iterator[int]:
        yield from (doc_id for doc_id in self._below if doc_id not in self.removed)
        yield from self.added

    def __len__(self) -> int:
        return len(self._below) - len(self.removed) + len(self.added)

    def packed(self, doc_id: int) -> bytes | None:
        """A document as JSON; None if there is none."""
        for rows in (self.added, self.changed):
            if doc_id in rows:
                found = rows[doc_id]
                return found if isinstance(found, bytes) else packed(found)
        return None if doc_id in self.removed else self._below.packed(doc_id)

    def clear(self) -> None:
        self._below, self.removed, self.changed, self.added = Rows(), {}, {}, {}
        self.cleared = True

    def touch(self, doc_id: int) -> Raw:
        """The document, to be changed in place: a copy, unless it is this draft's already."""
        rows = self.added if doc_id in self.added else self.changed
        found = rows.get(doc_id)
        if found is None or isinstance(found, bytes):
            found = rows[doc_id] = copied(self[doc_id])
        return found

    def settle(self) -> None:
        """Let go of what the caller may still hold, and find out here, not later, what JSON has no word for."""
        for rows in (self.changed, self.added):
            for doc_id, document in rows.items():
                if not isinstance(document, bytes):
                    rows[doc_id] = packed(document)

    def merge_into(self, lower: Draft) -> None:
        """Do all this to the transaction around this one."""
        if self.cleared:
            lower.clear()
        for doc_id in self.removed:
            del lower[doc_id]
        for rows in (self.changed, self.added):
            for doc_id, document in rows.items():
                lower.put(doc_id, document)
        lower.exists = self.exists

    def is_empty(self) -> bool:
        """Has nothing been changed?"""
        return self.exists == self._existed and not (self.cleared or self.removed or self.changed or self.added)

    def change(self) -> Change | None:
        """What a line says about this table (`journal.apply` does it); None: it is dropped. Only of a settled one."""
        if not self.exists:
            return None
        put = {doc_id: found for doc_id, found in {**self.changed, **self.added}.items() if isinstance(found, bytes)}
        return Change(clear=self.cleared, remove=tuple(self.removed), put=put)


class Touching(MutableMapping[int, Raw]):
    """A draft for code that changes documents in place, as TinyDB's does: whatever it looks at becomes a copy."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def __getitem__(self, doc_id: int) -> Raw:
        return self._draft.touch(doc_id)

    def __setitem__(self, doc_id: int, document: Raw) -> None:
        self._draft[doc_id] = document

    def __delitem__(self, doc_id: int) -> None:
        del self._draft[doc_id]

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._draft

    def __iter__(self) -> Iterator[int]:
        return iter(self._draft)

    def __len__(self) -> int:
        return len(self._draft)

    def clear(self) -> None:
        self._draft.clear()
