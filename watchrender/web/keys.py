"""What was sent with an Idempotency-Key: the same key with another job is a mistake of the sender."""

from __future__ import annotations

import hashlib
import threading

from watchrender.ledger.ledger import Ledger

_MOST = 1000
_FACT = "sent"
#: Hexadecimal digits of a body's hash: against mistakes, not against malice; and all keys are one document.
_DIGITS = 16


class Keys:
    """The last keys and what came with them, kept in the record: a sender tries again after a restart too. `lock` is
    held from the look until the job has its id."""

    def __init__(self, ledger: Ledger) -> None:
        self.lock = threading.Lock()
        self._ledger = ledger

    def agrees(self, key: str, body: bytes) -> bool:
        """Is this the first time, or the same job again?"""
        digest = hashlib.sha256(body).hexdigest()[:_DIGITS]
        sent = dict(self._ledger.facts().get(_FACT, {}))
        if key not in sent:
            self._ledger.know(**{_FACT: dict([*sent.items(), (key, digest)][-_MOST:])})
            return True
        return bool(sent[key] == digest)
