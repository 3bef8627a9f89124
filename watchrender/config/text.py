"""Text of a configuration → a tree in which every value knows where it was written. Pure.

Only the shape is taken from YAML: a plain value stays the text that stands there, and the setting it is for decides
what it means. So `off` is a word and no truth value, `010` never becomes an 8, and nothing turns into a date.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from watchrender.core.textual import line_column

_STRING, _LIST, _MAP = (f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_MOST_VALUES = 20_000  # a configuration has some hundred; more is a file of something else, or aliases that explode

_ESCAPE_HINT = "in double quotes a backslash is an escape: write the path in single quotes, or with /"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something was written: a line of a file, or a variable of the environment."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is wrong with a configuration, and where."""

    place: Place
    words: str

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"


class Written(str):
    """A value as it was written; `base` is the folder that relative paths in it start from, if there is one."""

    __slots__ = ("base",)
    base: Path | None


@dataclass(kw_only=True, slots=True)
class Node:
    """A value with its place, and the place of its name where it has one."""

    value: Written | list[Node] | dict[str, Node] | None
    place: Place
    name_place: Place | None = None


@dataclass(kw_only=True, slots=True)
class Reading:
    """What came of reading a text: a tree, or none if it is no YAML at all, and the faults met on the way."""

    tree: Node | None
    faults: list[Fault] = field(default_factory=list)


def decode(data: bytes, source: str) -> tuple[str, list[Fault]]:
    """The text of a configuration file: UTF-8, or UTF-16 with its mark, as editors on Windows save it."""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig"), []
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        place = _place(source, before, len(before))
        return "", [Fault(place=place, words=f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")]


def read(text: str, source: str, base: Path | None) -> Reading:
    """The tree of a YAML or JSON text. A text that is neither has one fault, at the place where reading stopped."""
    text = _yaml_of_json(text.removeprefix("\ufeff"))
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        return Reading(tree=None, faults=[_syntax_fault(error, source)])
    except yaml.reader.ReaderError as error:
        return Reading(tree=None, faults=[_character_fault(error, text, source)])
    except RecursionError:
        return Reading(tree=None, faults=[Fault(place=Place(source=source), words="is nested too deeply")])
    return _Builder(source, base).build(root)


def read_variable(name: str, text: str) -> Reading:
    """The tree of an environment variable: YAML where it begins with a bracket or a quote, else the bare text.

    Bare, because a token or a Windows path in a variable is meant as it stands, with its `#`, `@` and `\\`.
    """
    text = text.strip()
    place = Place(source=name)
    if not text.startswith(("[", "{", '"', "'")):
        return Reading(tree=Node(value=None if text in _NULL else _written(text, None), place=place))
    reading = read(text, name, None)
    faults = [Fault(place=place, words=fault.words) for fault in reading.faults]
    return Reading(tree=_placed(reading.tree, place), faults=faults)


def plain(node: Node) -> Any:
    """The bare values of a tree."""
    if isinstance(node.value, dict):
        return {name: plain(found) for name, found in node.value.items()}
    if isinstance(node.value, list):
        return [plain(found) for found in node.value]
    return node.value


class _Loader(yaml.SafeLoader):
    """PyYAML's reader without its guesses at what a plain value means."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (PyYAML's own attribute)


class _Builder:
    """Turns PyYAML's nodes into ours and collects what is wrong on the way."""

    def __init__(self, source: str, base: Path | None) -> None:
        self.source, self.base = source, base
        self.faults: list[Fault] = []
        self.open: set[int] = set()
        self.count = 0

    def build(self, root: yaml.Node | None) -> Reading:
        if root is None:
            return Reading(tree=Node(value={}, place=Place(source=self.source, line=1, column=1)))
        tree = self._node(root, "")
        return Reading(tree=tree, faults=self.faults)

    def _node(self, node: yaml.Node, name: str) -> Node:
        place = self._place(node)
        self.count += 1
        if id(node) in self.open:
            return self._refuse(place, "a value cannot contain itself")
        if self.count > _MOST_VALUES:
            return self._refuse(place, f"more than {_MOST_VALUES} values; this is no configuration")
        if node.tag not in (_STRING, _LIST, _MAP):
            return self._refuse(place, f"tags such as {node.tag} have no meaning here; write the bare value")
        if isinstance(node, yaml.ScalarNode):
            is_null = node.style is None and node.value in _NULL
            return Node(value=None if is_null else _written(node.value, self.base), place=place)
        return self._collection(node, place, name)

    def _collection(self, node: yaml.Node, place: Place, name: str) -> Node:
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return Node(value=self._mapping(node, name), place=place)
            return Node(
                value=[self._node(item, f"{name}{number}.") for number, item in enumerate(node.value)], place=place
            )
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, above: str) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for name_node, value_node in node.value:
            place = self._place(name_node)
            if not isinstance(name_node, yaml.ScalarNode):
                self._refuse(place, "the name of a setting must be plain text")
                continue
            name = name_node.value
            if name == "<<":
                self._refuse(place, "merging with << is not supported; write the settings out")
            elif name in found:
                first = found[name].name_place
                self._refuse(place, f"{above}{name}: set twice; first in line {first.line if first else '?'}")
            else:
                found[name] = self._node(value_node, f"{above}{name}.")
                found[name].name_place = place
        return found

    def _place(self, node: yaml.Node) -> Place:
        mark = node.start_mark
        return Place(source=self.source, line=mark.line + 1, column=mark.column + 1)

    def _refuse(self, place: Place, words: str) -> Node:
        if self.count <= _MOST_VALUES + 1:
            self.faults.append(Fault(place=place, words=words))
        return Node(value=None, place=place)


def _written(text: str, base: Path | None) -> Written:
    if any("\ud800" <= char <= "\udfff" for char in text):  # JSON writes an emoji as two halves
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    written = Written(text)
    written.base = base
    return written


def _placed(node: Node | None, place: Place) -> Node | None:
    """The same tree, all of it at one place: columns inside a variable help nobody."""
    if node is None:
        return None
    value = node.value
    if isinstance(value, dict):
        value = {name: _placed(found, place) or found for name, found in value.items()}
    elif isinstance(value, list):
        value = [_placed(found, place) or found for found in value]
    return Node(value=value, place=place, name_place=place)


def _yaml_of_json(text: str) -> str:
    """JSON may be indented with tabs, YAML may not. In valid JSON no tab stands inside a string."""
    if "\t" not in text or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


#: What PyYAML says → what to do about it. The first that matches.
_CURES: tuple[tuple[str, str], ...] = (
    (r"unknown escape character|escape sequence of", _ESCAPE_HINT),
    (r"character '\\t'", "indent with blanks; a tab cannot stand here"),
    (r"character '(.)' that cannot start", "put the value in quotes"),
    (r"undefined alias|expected alphabetic or numeric character", "a value that begins with * or & must be in quotes"),
    (
        r"mapping values are not allowed",
        "put a value that contains a colon and a blank in quotes, or look at the indent",
    ),
    (r"could not find expected ':'", "a line reads name, colon, blank, value"),
    (r"expected <block end>", "settings of one section begin in the same column"),
    (r"unexpected end of stream|expected ',' or", "a quote or bracket is not closed"),
    (r"but found another document", "one file holds one configuration; take out the line ---"),
    (r"could not determine a constructor|undefined tag", "tags have no meaning here"),
)


def _place(source: str, text: str, offset: int) -> Place:
    line, column = line_column(text, offset)
    return Place(source=source, line=line, column=column)


def _syntax_fault(error: yaml.MarkedYAMLError, source: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    place = Place(source=source, line=mark.line + 1, column=mark.column + 1) if mark else Place(source=source)
    problem = error.problem or error.context or "cannot be read as YAML"
    said = f"{problem} {error.context or ''}"
    cure = next((words for pattern, words in _CURES if re.search(pattern, said)), None)
    return Fault(place=place, words=f"{problem} ({cure})" if cure else problem)


def _character_fault(error: yaml.reader.ReaderError, text: str, source: str) -> Fault:
    place = _place(source, text, error.position)
    code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
    return Fault(place=place, words=f"the character U+{code:04X} cannot stand in a configuration; take it out")
