"""What was sent with an Idempotency-Key: the same key with another job is a mistake of the sender."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

_MOST = 1000


class Keys:
    """The last keys and what came with them. `lock` is held from the look until the job has its id."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._sent: OrderedDict[str, str] = OrderedDict()

    def agrees(self, key: str, body: bytes) -> bool:
        """Is this the first time, or the same job again?"""
        digest = hashlib.sha256(body).hexdigest()
        known = self._sent.setdefault(key, digest)
        while len(self._sent) > _MOST:
            self._sent.popitem(last=False)
        return known == digest
