"""What is remembered of a render's output: texts, frames, pace. Bounded, whatever is fed. Pure.

Texts are kept from both ends, and the frames seen are one bit each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

TEXT_LIMIT = 500  # characters of one error or warning that are kept


def shortened(text: str, limit: int = TEXT_LIMIT) -> str:
    """The text, its middle left out where it is too long."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]} … {text[-half:]}"


class Kept:
    """The first and the last of many texts, each once and cut to a length."""

    def __init__(self, first: int = 20, last: int = 20) -> None:
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=last)
        self._room = first

    def add(self, text: str) -> None:
        text = shortened(text.strip())
        if text in self:
            return
        if len(self._first) < self._room:
            self._first.append(text)
        else:
            self._last.append(text)

    def __contains__(self, text: object) -> bool:
        return text in self._first or text in self._last

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        yield from self._last

    def __len__(self) -> int:
        return len(self._first) + len(self._last)


class Frames:
    """Which frames were seen: one bit each, so ten million frames take 1.2 MB and a wrong number at most 2 MB."""

    LIMIT = 1 << 24  # six days at 30 frames a second: a greater number is no frame

    def __init__(self) -> None:
        self._bits = bytearray()
        self.count = 0
        self.highest = 0

    def add(self, number: int) -> bool:
        """Take note of a frame; False where it is none, or was seen before."""
        if not 1 <= number < self.LIMIT:
            return False
        place, bit = divmod(number, 8)
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        if self._bits[place] & 1 << bit:
            return False
        self._bits[place] |= 1 << bit
        self.count += 1
        self.highest = max(self.highest, number)
        return True


class Pace:
    """Frames a second of late: over the last half minute, or over the last few frames where each takes longer."""

    WINDOW = 30.0
    LEAST = 5

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=256)

    def add(self, at: float, count: int) -> None:
        if self._seen and at - self._seen[-1][0] < 0.2:
            self._seen[-1] = (self._seen[-1][0], count)  # many lines of one read are one sample
            return
        self._seen.append((at, count))
        while len(self._seen) > self.LEAST and at - self._seen[0][0] > self.WINDOW:
            self._seen.popleft()

    @property
    def fps(self) -> float | None:
        if len(self._seen) < 2:
            return None
        (begin, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - begin) if after > before else None
