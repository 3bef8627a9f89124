"""One table as an open transaction sees it: its own changes over what lies below. Pure."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, MutableMapping

from watchrender.ledger.journal import Raw, copied


class Draft(MutableMapping[int, Raw]):
    """What lies below is never touched; what is changed is a copy.

    It keeps TinyDB's order: a changed document stays in its place, a new one comes last.
    """

    def __init__(self, below: Mapping[int, Raw] | None) -> None:
        self._below: Mapping[int, Raw] = below if below is not None else {}
        self._existed = below is not None
        self.exists = self._existed
        self.cleared = False
        self.removed: dict[int, None] = {}  # of those below, as a set that keeps its order
        self.changed: dict[int, Raw] = {}  # of those below
        self.added: dict[int, Raw] = {}

    def __getitem__(self, doc_id: int) -> Raw:
        for rows in (self.added, self.changed):
            if doc_id in rows:
                return rows[doc_id]
        if doc_id in self.removed:
            raise KeyError(doc_id)
        return self._below[doc_id]

    def __setitem__(self, doc_id: int, document: Raw) -> None:
        rows = self.changed if doc_id in self._below and doc_id not in self.removed else self.added
        rows[int(doc_id)] = document

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

    def items(self) -> ItemsView[int, Raw]:
        # a query over a large table comes this way first: at the speed of a dict as long as nothing is changed
        is_touched = self.removed or self.changed or self.added
        return super().items() if is_touched else self._below.items()

    def clear(self) -> None:
        self._below, self.removed, self.changed, self.added = {}, {}, {}, {}
        self.cleared = True

    def touch(self, doc_id: int) -> Raw:
        """The document, to be changed in place: a copy, unless it is this draft's already."""
        if doc_id not in self.added and doc_id not in self.changed:
            self.changed[doc_id] = copied(self[doc_id])
        return self[doc_id]

    def settle(self) -> None:
        """Let go of what the caller may still hold, and find out here, not later, what JSON has no word for."""
        for rows in (self.changed, self.added):
            rows.update((doc_id, copied(document)) for doc_id, document in rows.items())

    def merge_into(self, lower: Draft) -> None:
        """Do all this to the transaction around this one."""
        if self.cleared:
            lower.clear()
        for doc_id in self.removed:
            del lower[doc_id]
        lower.update(self.changed)
        lower.update(self.added)
        lower.exists = self.exists

    def is_empty(self) -> bool:
        """Has nothing been changed?"""
        return self.exists == self._existed and not (self.cleared or self.removed or self.changed or self.added)

    def change(self) -> Raw | None:
        """What a line says about this table (`journal.apply` reads it); None: it is dropped."""
        if not self.exists:
            return None
        parts = {"clear": self.cleared, "remove": list(self.removed), "put": {**self.changed, **self.added}}
        return {word: part for word, part in parts.items() if part}


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
