"""One hub for all streams: numbers what happens, keeps the last of it, and tells the readers.

Ids rise by one. Messages are kept once, in a ring that all readers share: a reader is a place in it, so one that does
not read costs what its connection holds (`CHUNK_BYTES`) and no more; one that the ring has moved on past starts over
with a snapshot, one that takes nothing for a while is closed. A message is written out only when somebody reads it, and
then once for all. A reader that has all there is and waits is handed the next message at once: with a thousand of them,
waking a task for each costs more than the message.

`publish` is for any thread and never blocks; everything else belongs to the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from watchrender.core import status
from watchrender.core.job import Job
from watchrender.core.streams import MOST
from watchrender.ledger.ledger import Change
from watchrender.web.answers import encode
from watchrender.web.picture import Eta, Picture

#: What the ring holds at most: messages, and bytes as estimated before they are written out.
RING_MESSAGES = 10_000
RING_BYTES = 24 * 1024 * 1024
#: A snapshot is written at most this often; who comes in between gets it and what followed.
SNAPSHOT_SECONDS = 1.0
#: What is handed to a connection at once, and what waits in it at most beside that: all that a reader which does not
#: read costs of our memory.
CHUNK_BYTES = 16 * 1024
#: More than this is left to the readers' own tasks, which see to it that the loop has its turns in between.
AT_ONCE_MESSAGES = 20
#: What a reader is given in one go.
BATCH_MESSAGES = 500
#: A reader this far behind, whose connection is not empty either, gets only the newest progress of each job.
SLOW_MESSAGES = 500

JOB, PROGRESS, QUEUE, SERVICE = "job", "progress", "queue", "service"


@dataclass(eq=False, slots=True)
class Message:
    """One message. `job` is the id of the job it is about."""

    id: int
    type: str
    at: str
    job: str | None
    make: Callable[[], Any] | None
    cost: int
    _frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The message as a Server-Sent Event, written out when it is first read."""
        if self._frame is None:
            assert self.make is not None
            text = encode({"id": self.id, "type": self.type, "at": self.at, "data": self.make()})
            self._frame = b"id: %d\nevent: %s\ndata: %s\n\n" % (self.id, self.type.encode(), text)
            self.make = None
        return self._frame

    @property
    def text(self) -> bytes:
        """The message as JSON alone."""
        return self.frame[self.frame.index(b"data: ") + 6 : -2]


@dataclass(eq=False)
class Reader:
    """Somebody who follows: all, or one job."""

    cursor: int  # the id of the last message it has
    job: str | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False  # nothing more is for it: gone, fallen behind, or the end of the service
    hand: Callable[[bytes], None] | None = None  # while it waits for the next message: gives it that at once
    sending_since: float | None = None
    given: int = 0  # bytes that its connection was given, of those
    taken: int = 0  # bytes that it had taken when it last took any, and when that was seen
    took_at: float = 0.0
    waiting: Callable[[], int] = lambda: 0  # bytes that its connection holds for it
    cut: Callable[[], None] = lambda: None

    def takes_at_once(self, head: int) -> bool:
        """Does it want all, has it all up to `head`, and is its connection empty?"""
        return self.job is None and self.cursor == head and not self.wake.is_set() and not self.waiting()

    def is_stuck(self, now: float, seconds: float) -> bool:
        """Has it not taken anything for so long, or less than a chunk?"""
        waiting = self.waiting()
        if not waiting or self.given - waiting > self.taken:
            self.taken, self.took_at = self.given - waiting, now
        since = self.took_at if self.sending_since is None else min(self.took_at, self.sending_since)
        return now - since > seconds

    def wants(self, message: Message) -> bool:
        return self.job is None or message.job == self.job or message.type == SERVICE


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """What was told to the hub, before the loop has it."""

    id: int
    type: str
    at: str
    data: Any  # a Change for job and progress


class Hub:
    """The ring, the readers, and the picture that snapshots are taken of."""

    def __init__(
        self,
        *,
        first_id: int,
        stamp: Callable[[], str],
        eta: Eta = lambda _job: None,
        most_readers: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stamp = stamp
        self._eta = eta
        self._clock = clock
        self.most_readers = most_readers
        self._lock = threading.Lock()
        self._heard: deque[_Heard] = deque()
        self._first_id = first_id
        self._next_id = first_id + 1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._called = False  # the loop will look at what was heard
        self._ring: deque[Message] = deque()
        self._ring_cost = 0
        self.head = first_id  # the id of the last message in the ring, or before its first
        self._readers: set[Reader] = set()
        self._snapshot: tuple[float, int, bytes, bytes] | None = None
        self.picture = Picture((), (), {})
        self.service: dict[str, Any] = {}
        self._included = first_id
        self.closed = False
        self.dropped_readers = 0

    # -- from any thread ------------------------------------------------------------------------------------

    def heard(self, change: Change) -> None:
        """A listener of the ledger."""
        self.publish(PROGRESS if change.progress else JOB, change)

    def publish(self, kind: str, data: Any) -> None:
        """Number a message and let the loop have it. Never blocks."""
        with self._lock:
            if self.closed:
                return
            self._heard.append(_Heard(id=self._next_id, type=kind, at=self._stamp(), data=data))
            self._next_id += 1
            if self._called or self._loop is None:
                return
            self._called = True
            loop = self._loop
        try:
            loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            pass  # the loop has ended

    # -- the loop's own -------------------------------------------------------------------------------------

    @property
    def told(self) -> int:
        """How many messages there were."""
        return self.newest - self._first_id

    @property
    def newest(self) -> int:
        """The id of the last message that was numbered, delivered or not."""
        return self._next_id - 1

    def begin(self, picture: Picture, included: int) -> None:
        """The loop runs: from here on messages are delivered. The picture holds those up to `included` already."""
        self.picture = picture
        self._included = included
        with self._lock:
            self._loop = asyncio.get_running_loop()
        self._deliver()

    def _deliver(self) -> None:
        """Take what was heard into the picture and the ring, and wake whom it concerns."""
        with self._lock:
            heard, self._heard, self._called = self._heard, deque(), False
        fresh, head = [self._message(found) for found in heard], self.head
        for message in fresh:
            self._keep(message)
        if not fresh:
            return
        at_once = self._at_once(fresh)
        for reader in self._readers:
            if at_once and reader.hand is not None and reader.takes_at_once(head):
                reader.cursor = self.head
                reader.hand(at_once)
                continue
            if not reader.wake.is_set() and (reader.job is None or any(map(reader.wants, fresh))):
                reader.wake.set()

    def _at_once(self, fresh: list[Message]) -> bytes:
        """These messages in one piece, where there are readers, and they can be given them whole."""
        if not self._readers or len(fresh) > AT_ONCE_MESSAGES:
            return b""
        frames = b"".join(message.frame for message in fresh)
        return frames if len(frames) <= CHUNK_BYTES else b""

    def _message(self, found: _Heard) -> Message:
        data = found.data
        if not isinstance(data, Change):
            if found.type == SERVICE:
                self.service = data
                self.picture.recount(data.get("counts") or self.picture.counts)
            return Message(found.id, found.type, found.at, None, lambda: data, 4000)
        job = data.job
        if data.progress:
            self.picture.take_progress(job)
            return Message(found.id, PROGRESS, found.at, job.id, lambda: progress_data(job), 500)
        if found.id > self._included:
            self.picture.take(job, data.before.state if data.before is not None else None, data.record)
        position = self.picture.position(job)

        def document() -> dict[str, Any]:
            return status.document(job, position=position, eta=self._eta(job))

        return Message(found.id, JOB, found.at, job.id, document, _cost(job))

    def _keep(self, message: Message) -> None:
        self._ring.append(message)
        self._ring_cost += message.cost
        self.head = message.id
        while len(self._ring) > RING_MESSAGES or (self._ring_cost > RING_BYTES and len(self._ring) > 1):
            self._ring_cost -= self._ring.popleft().cost

    # -- readers --------------------------------------------------------------------------------------------

    def join(self, reader: Reader) -> bool:
        """Count a reader in. False: there are as many as there may be, or the end has come."""
        if self.closed or len(self._readers) >= self.most_readers:
            return False
        reader.took_at = self._clock()
        self._readers.add(reader)
        return True

    def refusal(self) -> str:
        """Why nobody more is let in."""
        if self.closed:
            return "the service stops"
        return f"there are {len(self._readers)} streams already, as many as this service bears; close some"

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)

    @property
    def readers(self) -> int:
        return len(self._readers)

    @property
    def oldest(self) -> int:
        """The id that a reader must have at least to miss nothing."""
        return self._ring[0].id - 1 if self._ring else self.head

    def can_resume(self, last_id: int) -> bool:
        return self.oldest <= last_id <= self.head

    def since(self, reader: Reader, *, behind: bool) -> list[Message] | None:
        """What a reader lacks, a batch at most, and mark it as had. None: the ring has moved on, it cannot follow.

        `behind` tells that its connection is not empty: progress is then merged, the newest of each job stays.
        """
        if reader.cursor < self.oldest:
            return None
        count = self.head - reader.cursor  # ids rise by one: it lacks the last so many of the ring
        missed = list(islice(reversed(self._ring), count))[::-1]
        if reader.job is not None:
            missed = merged([message for message in missed if reader.wants(message)])
        elif behind and count > SLOW_MESSAGES:
            missed = merged(missed)
        batch = missed[:BATCH_MESSAGES]
        reader.cursor = self.head if len(batch) == len(missed) else batch[-1].id
        return batch

    def cut_the_stuck(self, seconds: float) -> None:
        """Close readers that have not taken anything for so long."""
        now = self._clock()
        for reader in list(self._readers):
            if reader.is_stuck(now, seconds):
                self.dropped_readers += 1
                reader.over = True
                reader.cut()

    def now(self) -> float:
        return self._clock()

    def close(self) -> None:
        """The end: every reader is woken, says goodbye, and leaves."""
        with self._lock:
            self.closed = True
        for reader in self._readers:
            reader.over = True
            reader.wake.set()

    def goodbye(self) -> bytes:
        """The last words. It takes no id of its own: who comes back asks for what follows the last one."""
        return encode({"id": self.head, "type": "bye", "at": self._stamp(), "data": {}})

    # -- snapshots ------------------------------------------------------------------------------------------

    def snapshot(self, *, gap: bool) -> tuple[int, bytes]:
        """A snapshot as JSON, and the id of the last message it includes; it may be a second old."""
        known = self._snapshot
        if known is None or self._clock() - known[0] > SNAPSHOT_SECONDS or not self.can_resume(known[1]):
            data = self._pictured(self.picture.documents(self._eta))
            plain, with_gap = snapshot_text(self.head, self._stamp(), data)
            known = self._snapshot = (self._clock(), self.head, plain, with_gap)
        return known[1], known[3] if gap else known[2]

    def snapshot_of(self, job: Job, *, gap: bool) -> tuple[int, bytes]:
        """A snapshot for who follows one job."""
        data = self._pictured([self.picture.document(job, self._eta)])
        return self.head, snapshot_text(self.head, self._stamp(), data)[gap]

    def _pictured(self, jobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"service": self.service, "counts": dict(self.picture.counts), "jobs": jobs}


def snapshot_text(last_id: int, at: str, data: dict[str, Any]) -> tuple[bytes, bytes]:
    """A snapshot without and with its mark of a gap."""
    head = b'{"id":%d,"type":"snapshot","at":%s,"data":{' % (last_id, encode(at))
    rest = encode(data)[1:] + b"}"
    return head + rest, head + b'"gap":true,' + rest


def snapshot_frame(last_id: int, text: bytes) -> Iterable[bytes]:
    """A snapshot as a Server-Sent Event, in parts: its text is one for all who come within a second."""
    return (b"id: %d\nevent: snapshot\ndata: " % last_id, text, b"\n\n")


def progress_data(job: Job) -> dict[str, Any]:
    whole = status.document(job)
    return {"id": job.id, "job": job.key, "progress": whole["progress"], "eta": whole["eta"]}


def merged(messages: list[Message]) -> list[Message]:
    """The same, with only the newest progress of each job."""
    newest = {message.job: message.id for message in messages if message.type == PROGRESS}
    return [message for message in messages if message.type != PROGRESS or newest[message.job] == message.id]


def chunks(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Frames joined, and cut into what a connection is given at once. Each is made when it is asked for: what a reader
    has not taken yet is not kept for it a second time."""
    held: list[bytes] = []
    size = 0
    for frame in frames:
        for start in range(0, len(frame), CHUNK_BYTES):
            piece = frame[start : start + CHUNK_BYTES]
            if held and size + len(piece) > CHUNK_BYTES:
                yield b"".join(held)
                held, size = [], 0
            held.append(piece)
            size += len(piece)
    if held:
        yield b"".join(held)


def _cost(job: Job) -> int:
    lines = len(job.history) + len(job.attempts) + len(job.outputs) + len(job.warnings) + len(job.waiting_for)
    return 3000 + 350 * lines
