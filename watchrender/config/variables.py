"""Settings from the environment: `WATCHRENDER_SERVER__PORT=8800`, laid over the tree of the file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from watchrender.config import text as texts
from watchrender.config.model import Section
from watchrender.config.shape import Beneath, all_names, beneath, kind_at, kind_within
from watchrender.config.text import Fault, Node, Place
from watchrender.core.settings import nearest

PREFIX = "WATCHRENDER_"

#: Variables of ours that are no settings: where the configuration is, hooks for tests, marks on our child processes.
NOT_SETTINGS = frozenset({"CONFIG", "DATA_DIR", "POINTS", "DIE_AT", "FAULTS", "TREE", "ATTEMPT", "SCREENSHOT", "KILLS"})
NOT_SETTINGS_PREFIXES = ("SIM_", "TEST_", "BENCH_")


def lay_over(tree: Node, environ: Mapping[str, str]) -> list[Fault]:
    """Put what the variables say into the tree, whole sections first. An empty variable counts as not set."""
    faults: list[Fault] = []
    for name in sorted(_candidates(environ), key=lambda found: (found.count("__"), found)):
        path = _path_of(name)
        if path is None:
            faults.append(_unknown(name))
        elif environ[name].strip():
            faults += _lay(tree, path, texts.read_variable(name, environ[name]))
    return faults


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a service that goes by its file alone: nothing of ours, but where its data lies."""
    kept = f"{PREFIX}DATA_DIR"
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX) or name == kept}


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    for name in environ:
        rest = name.removeprefix(PREFIX)
        if rest != name and rest not in NOT_SETTINGS and not rest.startswith(NOT_SETTINGS_PREFIXES):
            yield name


def _path_of(variable: str) -> list[str] | None:
    """`WATCHRENDER_SERVER__PORT` → the path of the setting; None if there is no such setting."""
    path: list[str] = []
    for part in variable.removeprefix(PREFIX).split("__"):
        above = kind_at(path)
        path.append(part.lower() if isinstance(beneath(above), type) else part)
        if not part or kind_within(above, path[-1]) is None:
            return None
    return path


def _unknown(variable: str) -> Fault:
    known = (name.upper().replace(".", "__") for name in all_names())
    meant = nearest(variable.removeprefix(PREFIX), known)
    hint = f"; did you mean {PREFIX}{meant}?" if meant else ""
    return Fault(place=Place(source=variable), words=f"unknown setting{hint}")


def _lay(tree: Node, path: list[str], reading: texts.Reading) -> list[Fault]:
    if reading.tree is None:
        return reading.faults
    node = tree
    for number, part in enumerate(path[:-1]):
        node = _child(node, _name(node, path, number, part), reading.tree.place)
    if isinstance(node.value, dict):
        name = _name(node, path, len(path) - 1, path[-1])
        node.value[name] = _merged(node.value.get(name), reading.tree, path)
    return reading.faults


def _child(node: Node, name: str, place: Place) -> Node:
    if not isinstance(node.value, dict):
        return node
    child = node.value.get(name)
    if child is None or child.value is None:
        child = node.value[name] = Node(value={}, place=place, name_place=place)
    return child


def _name(node: Node, path: list[str], number: int, part: str) -> str:
    """Variables come in capitals. Under free names one that is there is meant whatever its case, and a new one is
    taken in lower case, but for the variables that nexrender is given."""
    if beneath(kind_at(path[:number])) is not Beneath.FREE_NAMES:
        return part
    known = {name.lower(): name for name in node.value} if isinstance(node.value, dict) else {}
    return known.get(part.lower()) or (part if path[:2] == ["nexrender", "env"] else part.lower())


def _merged(old: Node | None, new: Node, path: list[str]) -> Node:
    """A whole section in a variable changes what it names; anything else takes the place of what was there."""
    below = beneath(kind_at(path))
    if not (isinstance(below, type) and issubclass(below, Section) and old and isinstance(old.value, dict)):
        return new
    return Node(value=old.value | new.value, place=new.place) if isinstance(new.value, dict) else new
