"""What the model says about a configuration → words for the person who wrote it, each at its place. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic_core import ErrorDetails

from watchrender.config.shape import all_names, kind_at, names_of
from watchrender.config.text import Fault, Node, Place
from watchrender.core.settings import nearest
from watchrender.core.textual import quoted

Path = list[str | int]


class ConfigError(Exception):
    """The configuration cannot be used. It names every fault, each with its place."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        ordered = sorted(set(faults), key=_order)
        self.faults = [str(fault) for fault in ordered]
        super().__init__("\n".join(self.faults))


def _order(fault: Fault) -> tuple[bool, int, int, str]:
    """Down the file; what stands in no line of it comes last."""
    place = fault.place
    return not place.line, place.line, place.column, str(fault)


def fault_of(error: ErrorDetails, tree: Node) -> tuple[Fault, Path]:
    """The fault, and the path of the value that has it."""
    path, node = _locate(error["loc"], tree)
    kind = error["type"]
    place = node.name_place or node.place if kind == "extra_forbidden" else node.place
    name = ".".join(str(part) for part in path)
    words = _WORDS.get(kind, _as_said)(error, path)
    return Fault(place=place, words=f"{name}: {words}" if name else words), path


def place_of(tree: Node, path: Iterable[str]) -> Place:
    """Where the value of that path was written, or the nearest thing above it that was."""
    node = tree
    for part in path:
        if not isinstance(node.value, dict) or part not in node.value:
            break
        node = node.value[part]
    return node.place


def _locate(loc: tuple[int | str, ...], tree: Node) -> tuple[Path, Node]:
    """Follow the model's location; its parts that name no value (the branch of a union) are left out."""
    path: Path = []
    node = tree
    for number, part in enumerate(loc):
        value = node.value
        if isinstance(value, dict) and part in value:
            node = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            node = value[part]
        elif not (isinstance(value, dict) and number == len(loc) - 1 and part != "[key]"):
            continue
        path.append(part)
    return path, node


def _unknown(_error: ErrorDetails, path: Path) -> str:
    section, name = kind_at(path[:-1]), str(path[-1])
    # At the top, `port` is meant for server.port and is no slip for `root`.
    known = nearest(name, names_of(section)) if section else None
    meant = _elsewhere(name) or known if len(path) == 1 else known or _elsewhere(name)
    return f"unknown setting; did you mean {meant}?" if meant else "unknown setting"


def _elsewhere(name: str) -> str | None:
    """A setting of that very name in another section."""
    return next((found for found in all_names() if found.split(".")[-1] == name), None)


def _choice(error: ErrorDetails, _path: Path) -> str:
    choices = str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    written = error["input"]
    meant = nearest(written, choices) if isinstance(written, str) else None
    return f"{_shown(error)} is not one of {', '.join(choices)}" + (f"; did you mean {meant}?" if meant else "")


def _bound(phrase: str, key: str) -> Callable[[ErrorDetails, Path], str]:
    return lambda error, _path: f"{_shown(error)} is out of range; {phrase} {error['ctx'][key]:g}"


def _shown(error: ErrorDetails) -> str:
    value = error["input"]
    if isinstance(value, float):
        return f"{value:g}"
    return quoted(value) if isinstance(value, str | int) else "this"


def _as_said(error: ErrorDetails, _path: Path) -> str:
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}"


def _one_value(error: ErrorDetails, _path: Path) -> str:
    if isinstance(error["input"], dict):
        return "takes one value, and here are settings beneath it"
    return "takes one value, and here is a list" if isinstance(error["input"], list) else "needs a value"


def _group(error: ErrorDetails, _path: Path) -> str:
    return f"{_shown(error)} stands where a group of settings is expected, one a line and indented"


def _list(error: ErrorDetails, _path: Path) -> str:
    written: Any = error["input"]
    return f"must be a list; write [{written}]" if isinstance(written, str) else "must be a list"


_WORDS: dict[str, Callable[[ErrorDetails, Path], str]] = {
    "missing": lambda _error, _path: "is required",
    "extra_forbidden": _unknown,
    "value_error": lambda error, _path: str(error["ctx"]["error"]),
    "literal_error": _choice,
    "greater_than_equal": _bound("at least", "ge"),
    "less_than_equal": _bound("at most", "le"),
    "model_type": _group,
    "dict_type": _group,
    "tuple_type": _list,
    **dict.fromkeys(("string_type", "path_type", "int_type", "float_type", "bool_type"), _one_value),
}
