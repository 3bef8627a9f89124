"""Threads for what may block: a share that hangs must never hold up the loop, nor the end of the process.

The threads are daemons: one that waits for a dead share is left behind when the service ends, where the loop's own
executor would be waited for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


#: So many calls wait for a thread before the next is refused, and so long one may take.
_MOST_WAITING = 200
_PATIENCE_SECONDS = 30.0


class Overloaded(Exception):
    """Too many calls wait already, or this one has waited too long: something below does not answer."""


class Aside:
    """Runs calls in up to `threads` threads. Thread-safe; awaited from the loop."""

    def __init__(self, name: str, *, threads: int) -> None:
        self._name = name
        self._most_threads = threads
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's answer or its exception. Raises `Overloaded` when it does not come in time."""
        if self._calls.qsize() >= _MOST_WAITING:
            raise Overloaded(self._name)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((loop, future, lambda: call(*args, **kwargs)))
        self._grow()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await future
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the call's own
            raise Overloaded(self._name) from None

    def close(self) -> None:
        """Let idle threads end; one that is stuck is left behind."""
        for _ in self._threads:
            self._calls.put(None)

    def _grow(self) -> None:
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if len(self._threads) < self._most_threads:
                name = f"web-{self._name}-{len(self._threads) + 1}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        while (found := self._calls.get()) is not None:
            loop, future, call = found
            try:
                answer, fault = call(), None
            except BaseException as error:  # whatever it is, it belongs to whoever asked
                answer, fault = None, error
            self._idle.release()
            try:
                loop.call_soon_threadsafe(_settle, future, answer, fault)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more
            del found, future, call, answer, fault


def _settle(future: asyncio.Future[Any], answer: Any, fault: BaseException | None) -> None:
    if future.done():
        return  # whoever asked has left
    if fault is None:
        future.set_result(answer)
    else:
        future.set_exception(fault)
