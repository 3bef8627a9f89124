"""Which priority counts, and where it came from. Pure: one order, strongest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchrender.core.naming import fold


def resolve(
    *,
    asked: int | None = None,
    sidecar: int | None = None,
    job: int | None = None,
    filename: int | None = None,
    nexrender: Any = None,
    folder: int | None = None,
    default: int = 50,
) -> tuple[int, str]:
    """The priority (0 to 100, higher first) and the word for its origin, as statuses show it."""
    # nexrender's own field is any number, and 0 is what tools write that mean nothing by it.
    is_number = isinstance(nexrender, int) and not isinstance(nexrender, bool)
    own = nexrender if is_number and 1 <= nexrender <= 100 else None
    sources = (
        (asked, "request"),
        (sidecar, "sidecar"),
        (job, "job"),
        (filename, "filename"),
        (own, "nexrender"),
        (folder, "folder"),
    )
    return next(((value, origin) for value, origin in sources if value is not None), (default, "default"))


def of_folder(sub: str, priorities: Mapping[str, int]) -> int | None:
    """The priority of a sub-folder: its own, else that of the nearest folder above it."""
    known = {fold(name.strip("/")): priority for name, priority in priorities.items()}
    sub = fold(sub)
    while known and sub:
        if sub in known:
            return known[sub]
        sub = sub.rpartition("/")[0]
    return None
