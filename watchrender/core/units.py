"""Durations and sizes as people write them: `500ms 2s 10m 4h 7d`, `5MiB`. Pure.

A fault says what to write instead, because it is read by the person who wrote it.
"""

from __future__ import annotations

import re
from decimal import Decimal

_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_BYTES = {"B": 1} | {
    f"{letter}{ending}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for ending, base in (("B", 1000), ("iB", 1024))
}
_NUMBER = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([^\W\d_]*)\s*", re.ASCII)

#: Nothing here is waited for longer than this; a longer text is a slip of the hand.
LONGEST = Decimal(3650 * 86400)
LARGEST = 1024**5


def parse_duration(text: str) -> float:
    """The seconds that a text like `10m` means. Raises ValueError, whose words say what to write."""
    number, unit = _split(text)
    if number is None or unit not in _SECONDS:
        raise ValueError(f'"{_short(text)}" is not a duration ({_guess_duration(number, unit)})')
    seconds = number * _SECONDS[unit]
    if seconds > LONGEST:
        raise ValueError(f'"{_short(text)}" is too long (write at most {LONGEST // 86400}d)')
    return float(seconds)


def parse_size(text: str) -> int:
    """The bytes that a text like `5MiB` (or `5242880`) means. Raises ValueError, whose words say what to write."""
    number, unit = _split(text)
    factor = _BYTES.get(_size_unit(unit)) if number is not None else None
    if number is None or factor is None:
        raise ValueError(f'"{_short(text)}" is not a size ({_guess_size(number, unit)})')
    if number * factor > LARGEST:
        raise ValueError(f'"{_short(text)}" is too large (write at most 1024TiB)')
    return int(number * factor)


def format_duration(seconds: float) -> str:
    """A duration as `parse_duration` reads it back: in the largest unit that needs no fraction."""
    exact = Decimal(repr(float(seconds)))
    for unit in ("d", "h", "m", "s"):
        if exact and exact % _SECONDS[unit] == 0:
            return f"{exact / _SECONDS[unit]:.0f}{unit}"
    if not exact:
        return "0s"
    if exact >= 10:
        return f"{_plain(exact)}s"
    return f"{_plain(exact * 1000)}ms"


def format_size(count: int) -> str:
    """A size for people: in the largest binary unit below it, one decimal at most."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count >= _BYTES[unit]:
            return f"{count / _BYTES[unit]:.1f}".removesuffix(".0") + unit
    return f"{count}B"


def _split(text: str) -> tuple[Decimal | None, str]:
    found = _NUMBER.fullmatch(text)
    return (Decimal(found[1]), found[2]) if found else (None, "")


def _plain(number: Decimal) -> str:
    text = f"{number:.9f}"
    return text.rstrip("0").rstrip(".")


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def _size_unit(written: str) -> str:
    if not written:
        return "B"
    return next((unit for unit in _BYTES if unit.casefold() == written.casefold()), "")


def _guess_duration(number: Decimal | None, unit: str) -> str:
    if number is None:
        return "write for example 30s, 10m or 2h"
    unit = unit.casefold()
    if unit.startswith(("ms", "mil")):
        return f"write {_plain(number)}ms"
    if unit.startswith("w"):
        return f"write {_plain(number * 7)}d"
    if unit[:2] == "mo" or (unit and unit[:1] not in _SECONDS):
        return "write for example 30s, 10m or 2h"
    return f"write {_plain(number)}{unit[:1] or 's'}"


def _guess_size(number: Decimal | None, unit: str) -> str:
    if number is None:
        return "write for example 500KiB, 5MiB or 2GiB"
    letter = unit[:1].upper()
    return f"write {_plain(number)}{letter}iB" if letter in set("KMGT") else "write for example 500KiB, 5MiB or 2GiB"
