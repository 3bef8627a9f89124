"""Tell one target one message, now: a webhook by a post of our own, the rest by apprise. Blocks, for seconds at most.

A target that the operator configured is trusted with its address. One that a job names is not: its address is judged at
the moment of the connection, like that of a source (`core/hosts`), no redirect is followed, and no proxy is used.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from watchrender import __version__
from watchrender.logs import masked
from watchrender.notify import signature
from watchrender.notify.address import Way, has_apprise, trouble, way
from watchrender.notify.message import Message
from watchrender.render.fetch import AddressRefused, Resolve, checked_client, resolve_host
from watchrender.render.wire import CLIENT_ERRORS

SECONDS = 15.0
_LONGEST_RETRY_AFTER = 3600.0
#: Answers that will be the same for the same message, most of the time; any other refusal may pass.
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Where to send. `hosts` is None for a configured target, else the servers allowed besides public ones."""

    url: str
    secret: str | None = None
    hosts: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """It did not arrive. `ours`: the receiver says that the message is wrong; `gone`: that there is nobody any more."""

    words: str
    ours: bool = False
    gone: bool = False
    again_in: float | None = None  # seconds that the receiver asked for


Send = Callable[[Recipient, Message], Refusal | None]


def send(recipient: Recipient, message: Message, *, resolve: Resolve = resolve_host) -> Refusal | None:
    """Tell it. None: it arrived."""
    wrong = trouble(recipient.url, recipient.secret)
    if wrong is not None:
        return Refusal(words=f"{wrong[0]}. {wrong[1]}")
    if way(recipient.url) is Way.APPRISE:
        return _by_apprise(recipient, message)
    return _by_post(recipient, message, resolve)


def _by_post(recipient: Recipient, message: Message, resolve: Resolve) -> Refusal | None:
    body = json.dumps(message.payload(), ensure_ascii=False).encode("utf-8", "replace")
    headers = {
        "content-type": "application/json",
        "user-agent": f"watchrender/{__version__}",
        **signature.headers(message_id=message.id, at=int(time.time()), body=body, secret=recipient.secret),
    }
    try:
        with _client(recipient, resolve) as client:
            answer = client.post(recipient.url, content=body, headers=headers)
    except AddressRefused as refused:
        return Refusal(words=str(refused), gone=True)
    except (*CLIENT_ERRORS, OSError) as error:
        return Refusal(words=masked(str(error)) or type(error).__name__)
    return _judged(answer)


def _client(recipient: Recipient, resolve: Resolve) -> httpx2.Client:
    if recipient.hosts is None:
        return httpx2.Client(timeout=SECONDS, follow_redirects=False)
    return checked_client(recipient.hosts, seconds=SECONDS, resolve=resolve)


def _judged(answer: httpx2.Response) -> Refusal | None:
    code = answer.status_code
    if 200 <= code < 300:
        return None
    said = re.sub(r"\s+", " ", answer.text[:200]).strip()
    words = masked(f"answers {code} {answer.reason_phrase}{f': {said}' if said else ''}")
    if 300 <= code < 400:
        return Refusal(words=f"{words}; redirects are not followed, write the address it leads to", ours=True)
    return Refusal(
        words=words, ours=400 <= code < 500 and code not in _PASSING, gone=code == 410, again_in=_again_in(answer)
    )


def _again_in(answer: httpx2.Response) -> float | None:
    said = answer.headers.get("retry-after", "")
    return min(float(said), _LONGEST_RETRY_AFTER) if said.isdigit() and len(said) < 10 else None


def _by_apprise(recipient: Recipient, message: Message) -> Refusal | None:
    assert has_apprise()
    import apprise

    asset = apprise.AppriseAsset(app_id="watchrender", app_desc="watchrender", app_url="")
    service = apprise.Apprise.instantiate(recipient.url, asset=asset)
    if service is None:
        return Refusal(words="apprise does not understand this address")
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as told:  # type: ignore[no-untyped-call]
        try:
            arrived = bool(service.notify(body=message.text, title=message.title, notify_type=str(message.tone)))
        except Exception as error:  # a plugin's own fault must not end the thread that tells everybody
            return Refusal(words=masked(f"apprise: {error}"))
        said = re.sub(r"\s+", " ", told.getvalue())[-300:].strip()
    return None if arrived else Refusal(words=masked(f"apprise: {said or 'it was not sent'}"))
