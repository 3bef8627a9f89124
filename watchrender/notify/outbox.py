"""What is still to be told, kept in the ledger: a restart sends it. One row for each message and target.

Rows of one target go out in their order, so that `completed` never comes before `started`; a target that does not
answer waits by itself, with backoff, and keeps nobody else waiting. A row that could not be sent for a day is dropped,
and so are the oldest when there are too many: both are said in the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from loguru import logger

from watchrender.core import clock as clocks
from watchrender.ledger.ledger import OUTBOX
from watchrender.ledger.storage import JournalDB
from watchrender.notify.message import Message

MOST_ROWS = 10_000
GIVE_UP_SECONDS = 86_400.0
#: A receiver that says so often that the message itself is wrong is believed.
MOST_REFUSALS = 5

_MARK = "notified"  # a table of one document: up to which change the outbox has heard


@dataclass(frozen=True, kw_only=True)
class Row:
    """One message for one target: `to` is its configured name, or the address that a job named."""

    number: int
    to: str
    message: Message
    refusals: int = 0


@dataclass(kw_only=True)
class Queue:
    """The rows of one target, and when it may be told again."""

    rows: deque[Row] = field(default_factory=deque)
    tries: int = 0
    due: float = 0.0  # monotonic


class Outbox:
    """For one thread."""

    def __init__(self, db: JournalDB) -> None:
        self._db = db
        self._queues: dict[str, Queue] = {}
        self._number = 0
        for number, record in sorted(db.documents(OUTBOX).items()):
            self._number = max(self._number, number)
            row = Row(
                number=number,
                to=str(record["to"]),
                message=Message.from_record(record["message"]),
                refusals=int(record.get("refusals", 0)),
            )
            self._queue(row.to).rows.append(row)

    def __len__(self) -> int:
        return sum(len(queue.rows) for queue in list(self._queues.values()))

    @property
    def heard(self) -> str | None:
        """The moment of the last change whose messages are all in here."""
        found = self._db.documents(_MARK).get(1)
        return None if found is None else str(found["at"])

    def add(self, messages: Iterable[tuple[str, Message]], heard: str | None) -> None:
        """Keep messages for their targets, and up to where was heard, in one transaction."""
        rows = []
        with self._db.transaction():
            for to, message in messages:
                self._number += 1
                row = Row(number=self._number, to=to, message=message)
                self._db.put(OUTBOX, row.number, {"to": to, "message": message.to_record()})
                rows.append(row)
            if heard is not None:
                self._db.put(_MARK, 1, {"at": heard})
        for row in rows:
            self._queue(row.to).rows.append(row)
        self._keep_within_bounds()

    def due(self, now: float) -> Iterator[str]:
        """The targets that have something to be told now."""
        return iter([to for to, queue in self._queues.items() if queue.rows and queue.due <= now])

    def next_due(self) -> float | None:
        return min((queue.due for queue in self._queues.values() if queue.rows), default=None)

    def rows(self, to: str) -> list[Row]:
        return list(self._queues[to].rows)

    def sent(self, to: str, rows: Iterable[Row]) -> None:
        queue = self._queues[to]
        queue.tries, queue.due = 0, 0.0
        self._drop(to, rows)

    def refused(self, to: str, row: Row, *, ours: bool, wait: float, now: float) -> bool:
        """It did not arrive: later again. True if this row is given up by it."""
        queue = self._queues[to]
        queue.tries += 1
        queue.due = now + wait
        if not ours:
            return False
        changed = replace(row, refusals=row.refusals + 1)
        if changed.refusals >= MOST_REFUSALS:
            self._drop(to, [row])
            queue.due = now
            return True
        self._db.put(OUTBOX, row.number, {"to": to, "message": row.message.to_record(), "refusals": changed.refusals})
        queue.rows[0] = changed
        return False

    def tries(self, to: str) -> int:
        return self._queues[to].tries

    def drop_all(self, to: str) -> int:
        """Forget what a target was to be told. Returns how much that was."""
        rows = self.rows(to)
        self._drop(to, rows)
        return len(rows)

    def drop_old(self, at: str) -> dict[str, int]:
        """Drop what could not be sent for a day: target → how many."""
        found: dict[str, int] = {}
        for to in list(self._queues):
            old = [row for row in self.rows(to) if clocks.seconds_between(row.message.at, at) > GIVE_UP_SECONDS]
            if old:
                self._drop(to, old)
                found[to] = len(old)
        return found

    def _queue(self, to: str) -> Queue:
        return self._queues.setdefault(to, Queue())

    def _drop(self, to: str, rows: Iterable[Row]) -> None:
        numbers = {row.number for row in rows}
        with self._db.transaction():
            for number in numbers:
                self._db.delete(OUTBOX, number)
        queue = self._queues[to]
        queue.rows = deque(row for row in queue.rows if row.number not in numbers)
        if not queue.rows and not queue.tries:
            del self._queues[to]

    def _keep_within_bounds(self) -> None:
        over = len(self) - MOST_ROWS
        if over <= 0:
            return
        oldest = sorted((row for queue in self._queues.values() for row in queue.rows), key=lambda row: row.number)
        logger.warning("{} notifications are dropped: more than {} wait to be sent", over, MOST_ROWS)
        for row in oldest[:over]:
            self._drop(row.to, [row])
