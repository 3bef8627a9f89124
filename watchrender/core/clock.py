"""Times as text and back: ISO 8601 in UTC with milliseconds, which sorts as it reads. Pure.

A *stamp* is such a text. Wall-clock times go into records and files; durations come from the monotonic clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def stamp(moment: datetime) -> str:
    """`2026-11-24T12:52:33.120Z` for a moment that carries a zone."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The moment a stamp tells. Raises ValueError for anything that is not ISO 8601 with a zone."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return found.astimezone(UTC)


def later(text: str, seconds: float) -> str:
    """The stamp so many seconds after another."""
    return stamp(moment(text) + timedelta(seconds=seconds))


def seconds_between(earlier: str, after: str) -> float:
    """Wall-clock seconds from one stamp to another; negative if the clock went back between them."""
    return (moment(after) - moment(earlier)).total_seconds()
