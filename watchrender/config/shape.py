"""The shape of the configuration, read off its model: which names there are, and what stands beneath each. Pure."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from watchrender.config.model import Config, Section


class Beneath(Enum):
    """What stands beneath a setting that is no section."""

    NOTHING = "one value, or a list"
    FREE_NAMES = "names of the writer's choice"


def names_of(section: type[Section]) -> dict[str, Any]:
    """The names of a section's settings, as they are written, and the kind of each."""
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def beneath(kind: Any) -> type[Section] | Beneath:
    """What stands beneath a setting of this kind."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind
    return Beneath.FREE_NAMES if _map_in(kind) else Beneath.NOTHING


def kind_within(kind: Any, name: str | int) -> Any:
    """The kind of what stands under `name` in a value of this kind; None if nothing can stand there."""
    below = beneath(kind)
    if isinstance(below, type):
        return names_of(below).get(str(name))
    if isinstance(name, int):
        return next(_sections_in(kind), None)
    found = _map_in(kind)
    return typing.get_args(found)[1] if found else None


def kind_at(path: Iterable[str | int]) -> Any:
    """The kind of the setting of that path; None if there is no such setting."""
    kind: Any = Config
    for part in path:
        kind = kind_within(kind, part)
        if kind is None:
            return None
    return kind


def all_names(section: type[Section] = Config, before: str = "") -> Iterator[str]:
    """The full names of all settings, `server.port` and the like, in their order, sections first."""
    for name, kind in names_of(section).items():
        yield before + name
        below = beneath(kind)
        if isinstance(below, type):
            yield from all_names(below, f"{before}{name}.")


def _map_in(kind: Any) -> Any:
    """The map among the kinds that a value may have."""
    if typing.get_origin(kind) is dict:
        return kind
    if typing.get_origin(kind) is tuple:
        return None
    return next((found for part in typing.get_args(kind) if (found := _map_in(part))), None)


def _sections_in(kind: Any) -> Iterator[type[Section]]:
    if isinstance(kind, type) and issubclass(kind, Section):
        yield kind
    for part in typing.get_args(kind):
        yield from _sections_in(part)
