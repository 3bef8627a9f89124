"""A link of so many bytes a second, shared by all who use it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass
class Line:
    """Whoever sends over it waits until what they send has passed."""

    rate: float  # bytes a second
    free_at: float = 0.0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def wait(self, size: int) -> None:
        with self._lock:
            self.free_at = max(self.free_at, time.monotonic() - 0.05) + size / self.rate
            at = self.free_at
        time.sleep(max(0.0, at - time.monotonic()))
