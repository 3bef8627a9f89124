"""Tells people and programs what happened: a listener of the ledger and the gate, with a thread of its own.

A listener never blocks: what is heard goes on a list, the thread puts it into the outbox and sends it. What was heard
and not yet in the outbox when the process ended is found at the next start by the mark that the outbox keeps: every end
of a job is told at least once, with an id by which a receiver knows a repetition.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from loguru import logger
from tenacity import RetryCallState, Retrying, wait_exponential_jitter

from watchrender.config import Config
from watchrender.core import clock as clocks
from watchrender.core.failure import Failure
from watchrender.core.job import Job, new_id
from watchrender.core.states import State
from watchrender.judge import merged_settings
from watchrender.ledger.ledger import Change, Ledger
from watchrender.logs import mask
from watchrender.notify import message as messages
from watchrender.notify.address import Way, shown, way
from watchrender.notify.message import ENDS, Event, Message
from watchrender.notify.outbox import Outbox, Row
from watchrender.notify.send import Recipient, Send, send

#: The same trouble of the machine is told again after this long at the earliest.
ENVIRONMENT_SECONDS = 600.0
#: What ended longer ago than this is no news after a restart.
CATCH_UP_SECONDS = 86_400.0
#: Up to where was heard is kept this often while nobody is told anything.
KEEP_SECONDS = 60.0
#: So many messages for a person at once become one.
DIGEST_FROM = 5
MOST_ADDRESSES = 10  # of one job

_BACKOFF = wait_exponential_jitter(multiplier=2, max=600, jitter=5)


class Notifier:
    """`heard` and `environment` may be called from any thread and never block."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        *,
        node: str,
        send: Send = send,
        clock: Callable[[], float] = time.monotonic,
        backoff: Callable[[int], float] | None = None,
    ) -> None:
        self._targets = config.notify
        self._hosts = tuple(config.policy.hosts)
        self._ledger = ledger
        self._node = node
        self._send = send
        self._clock = clock
        self._backoff = backoff or _wait
        self._outbox = Outbox(ledger.db)
        self._lock = threading.Lock()
        self._news: list[Job] = []
        self._waiting: dict[str, Failure] = {}
        self._told: dict[str, float] = {}  # code of a trouble that somebody was told of → when
        self._told_waits: set[str] = set()
        self._heard_until: str | None = None  # not kept yet
        self._kept_at = clock()
        self._behind = False  # what ended before this start is still to be looked for
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)

    # -- for the service ------------------------------------------------------------------------------------

    def start(self) -> None:
        self._behind = True
        with suppress(OSError):  # a full disk keeps nobody from starting: the thread tries again
            self._catch_up()
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Keep what was heard; what is not sent by then is sent after the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def heard(self, change: Change) -> None:
        """A listener of the ledger."""
        if change.progress or not change.of_state or change.before is None:
            return
        if change.job.over or change.job.state is State.RENDERING:
            with self._lock:
                self._news.append(change.job)
            self._wake.set()

    def environment(self, waiting: Iterable[Failure]) -> None:
        """What the queue waits for now."""
        with self._lock:
            self._waiting = {str(failure.code): failure for failure in waiting}
        self._wake.set()

    def pending(self) -> int:
        """How many messages are still to be sent."""
        return len(self._outbox) + len(self._news)

    # -- the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._wake.wait(self._pause())
            self._wake.clear()
            stopping = self._stopping
            try:
                self.turn(sending=not stopping)
            except Exception:
                # One of the few catch-alls: a fault in telling must never keep anybody from rendering.
                logger.exception("a fault in watchrender itself; notifications go on")
                time.sleep(1.0)
            if stopping:
                return

    def turn(self, *, sending: bool = True) -> None:
        """Take in what was heard, then send what is due: one message for each target, again and again."""
        if self._behind:
            self._catch_up()
        self._take_in()
        if self._heard_until is not None and (not sending or self._clock() - self._kept_at >= KEEP_SECONDS):
            self._keep([])
        if not sending:
            return
        for to, count in self._outbox.drop_old(self._ledger.stamp()).items():
            logger.warning("{} notifications for {} are given up after a day", count, self._named(to))
        while not self._stopping and (due := list(self._outbox.due(self._clock()))):
            for to in due:
                if self._stopping:
                    return
                self._tell(to)
            self._take_in()

    def _pause(self) -> float:
        next_due = self._outbox.next_due()
        wait = 60.0 if next_due is None else next_due - self._clock()
        late = self._told and any(code not in self._told_waits for code in self._waiting)
        return max(0.0, min(wait, 5.0 if late else 60.0))

    # -- what there is to tell ------------------------------------------------------------------------------

    def _take_in(self) -> None:
        with self._lock:
            news, self._news = self._news, []
            waiting = dict(self._waiting)
        found = [pair for job in news for pair in self._of_job(job)]
        found += self._of_environment(waiting)
        found += self._of_empty_queue(news)
        if news:
            self._heard_until = _moment(news[-1])
        if found:
            self._keep(found)

    def _keep(self, found: list[tuple[str, Message]]) -> None:
        """Into the outbox, and with it up to where was heard. Where nobody is told anything that mark alone is no
        reason to flush: it is kept now and then, and what is heard again after a crash is told to nobody again."""
        until, self._heard_until = self._heard_until, None
        self._kept_at = self._clock()
        self._outbox.add(found, until)

    def _of_job(self, job: Job) -> Iterator[tuple[str, Message]]:
        message = messages.of_job(job, node=self._node, at=_moment(job))
        if message is None:
            return
        names = [name for name, target in self._targets.items() if str(message.event) in target.on]
        if message.event in ENDS.values():
            names += self._asked_for(job)
        for to in dict.fromkeys(names):
            yield to, message

    def _asked_for(self, job: Job) -> list[str]:
        """Whom the job itself wants to be told of its end."""
        found = list(merged_settings(job.settings).notify or ())[:MOST_ADDRESSES]
        return [to for to in found if to in self._targets or to.lower().startswith("https://")]

    def _of_environment(self, waiting: dict[str, Failure]) -> Iterator[tuple[str, Message]]:
        """News of the machine. A trouble that comes and goes is told once in ten minutes; its end, if it was told."""
        now = self._clock()
        fresh = [
            failure
            for code, failure in waiting.items()
            if code not in self._told_waits and now - self._told.get(code, -1e9) >= ENVIRONMENT_SECONDS
        ]
        over = sorted(self._told_waits - set(waiting))
        if not fresh and not over:
            return
        self._told_waits.difference_update(over)
        for failure in fresh:
            self._told[str(failure.code)] = now
            self._told_waits.add(str(failure.code))
        message = messages.of_environment(
            fresh, over, list(waiting), message_id=self._new_id(), node=self._node, at=self._ledger.stamp()
        )
        yield from self._for_all(message)

    def _of_empty_queue(self, news: list[Job]) -> Iterator[tuple[str, Message]]:
        """A job that had rendered is over, and none is left but those that are held."""
        ended = [job for job in news if job.over and job.launches]
        if not ended or not any(str(Event.QUEUE_EMPTY) in target.on for target in self._targets.values()):
            return
        left = self._ledger.live()
        if all(job.hold for job in left):
            yield from self._for_all(
                messages.of_empty_queue(
                    ended[-1], len(left), message_id=self._new_id(), node=self._node, at=self._ledger.stamp()
                )
            )

    def _for_all(self, message: Message) -> Iterator[tuple[str, Message]]:
        for name, target in self._targets.items():
            if str(message.event) in target.on:
                yield name, message

    def _new_id(self) -> str:
        return new_id(int(self._ledger.now().timestamp() * 1000))

    def _catch_up(self) -> None:
        """Jobs that ended after the mark: heard by nobody, or not kept, because the process ended too early."""
        mark, now = self._outbox.heard, self._ledger.stamp()
        oldest = clocks.later(now, -CATCH_UP_SECONDS)
        if mark is None:  # the first start of all: nothing before it is news
            self._outbox.add((), now)
            mark = now
        self._behind = False
        missed = [job for job in self._ledger.ended(since=max(mark, oldest)) if _moment(job) > max(mark, oldest)]
        with self._lock:
            heard = {job.id for job in self._news if job.over}
            self._news = sorted((job for job in missed if job.id not in heard), key=_moment) + self._news
        self._wake.set()

    # -- sending --------------------------------------------------------------------------------------------

    def _tell(self, to: str) -> None:
        recipient = self._recipient(to)
        if recipient is None:
            count = self._outbox.drop_all(to)
            logger.warning("{} notifications for {} are dropped: it is not configured any more", count, to)
            return
        rows, message = self._next(to, recipient)
        refusal = self._send(recipient, message)
        if refusal is None:
            self._outbox.sent(to, rows)
            return
        if refusal.gone:
            count = self._outbox.drop_all(to)
            logger.warning("{} notifications for {} are dropped: {}", count, self._named(to), refusal.words)
            return
        wait = max(refusal.again_in or 0.0, self._backoff(self._outbox.tries(to) + 1))
        if self._outbox.tries(to) == 0:
            logger.warning("{} cannot be notified: {}; tried again", self._named(to), refusal.words)
        if self._outbox.refused(to, rows[0], ours=refusal.ours, wait=wait, now=self._clock()):
            logger.warning("the notification {!r} for {} is given up", message.title, self._named(to))

    def _next(self, to: str, recipient: Recipient) -> tuple[list[Row], Message]:
        """The next message of a target: its first, or many in one where people read them."""
        rows = self._outbox.rows(to)
        if len(rows) < DIGEST_FROM or way(recipient.url) is Way.WEBHOOK:
            return rows[:1], rows[0].message
        return rows, messages.digest([row.message for row in rows])

    def _recipient(self, to: str) -> Recipient | None:
        target = self._targets.get(to)
        if target is not None:
            return Recipient(url=target.url, secret=target.secret)
        if not to.lower().startswith("https://"):
            return None
        mask(to)
        return Recipient(url=to, hosts=self._hosts)

    def _named(self, to: str) -> str:
        return to if to in self._targets else shown(to)


def _moment(job: Job) -> str:
    """When a job came into its state."""
    lines: Any = [line for line in job.history if line.get("from") != line.get("to")]
    return str(lines[-1]["at"]) if lines else job.updated_at


def _wait(tries: int) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = tries
    return float(_BACKOFF(state))
