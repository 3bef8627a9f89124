"""YAML text → document, strictly, and where everything in it stands. Pure.

Only the scanner of PyYAML is used, never its constructors: the document is built here from the stream of events,
without recursion. So an alias cannot explode, a tag cannot build an object, and YAML 1.1 has no surprises: `off`,
`no`, `010`, `1_000`, dates and `18:30` are texts, and a key set twice is a fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from watchrender.core.textual import DEEPEST, JsonPath, Unreadable, line_column, short

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 20 times as fast, and not on every machine

#: Each value costs half a kilobyte here, because it knows its place.
MOST_VALUES = 100_000

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,15})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,15})\.[0-9]{1,17}(?:[eE][-+]?[0-9]{1,2})?")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip

_QUOTED = "in double quotes a backslash begins an escape; write the path in single quotes or with /"
_TAB = "YAML is indented with blanks, not with tabs"


@dataclass(frozen=True, kw_only=True)
class YamlDocument:
    """A document that was read, the place of each value, and each plain scalar as it was written."""

    value: Any
    _places: dict[JsonPath, tuple[int, int]]
    _plain: dict[JsonPath, str]

    def place(self, path: JsonPath) -> tuple[int, int]:
        """Line and column of the value at a path (of its key, in a mapping), or of the nearest thing above it."""
        for length in range(len(path), -1, -1):
            if found := self._places.get(path[:length]):
                return found
        return 1, 1

    def as_written(self, path: JsonPath) -> str | None:
        """The text of a scalar that stands there without quotes: `1.50` where the value is 1.5."""
        return self._plain.get(path)


def parse(text: str, *, loader: Any = None) -> YamlDocument:
    """The one document in a YAML text; the value of an empty one is None. Raises `Unreadable`."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=loader or _LOADER):
            builder.take(event)
    except yaml.reader.ReaderError as error:
        # Its position counts characters in some versions and bytes in others: look for the character itself.
        found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
        offset = found.start() if found else 0
        character = f"U+{ord(found[0]):04X}" if found else "a character"
        raise Unreadable(f"{character} may not stand in YAML ({error.reason})", *line_column(text, offset)) from None
    except yaml.MarkedYAMLError as error:
        raise _translated(error) from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise Unreadable(f"this cannot be read as YAML ({error!s:.100})", 1, 1) from None
    return YamlDocument(value=builder.value, _places=builder.places, _plain=builder.plain)


def _translated(error: yaml.MarkedYAMLError) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    words = str(error.problem or error.context or error)
    context = error.context or ""
    if "tab character" in words or "'\\t'" in words:
        words = f"{words}; {_TAB}"
    elif "quoted scalar" in context and ("escape" in words or "decimal" in words):
        words = f"{words}; {_QUOTED}"
    elif "mapping values are not allowed" in words:
        words = f"{words}; put a text with a colon and a blank in it into quotes"
    elif context and context != words:
        words = f"{words}, {context}"
    return Unreadable(short(words, 300), line, column)  # they may quote the text


@dataclass
class _Open:
    """A mapping or list that is not closed yet."""

    value: Any
    path: JsonPath
    key: str | None = None  # of a mapping: its key is read, its value comes next
    key_lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Builds the document from events."""

    def __init__(self) -> None:
        self.value: Any = None
        self.places: dict[JsonPath, tuple[int, int]] = {}
        self.plain: dict[JsonPath, str] = {}
        self._stack: list[_Open] = []
        self._documents = 0
        self._values = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _refusal(event, "a second document begins here; one file is one job")
        elif isinstance(event, yaml.AliasEvent):
            raise _refusal(event, f"*{short(event.anchor or '')} repeats something by reference; write it out")
        elif isinstance(event, yaml.ScalarEvent):
            self._check(event)
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check(event)
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _check(self, event: Any) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            raise _refusal(event, f"this has more than {MOST_VALUES} values; write a job of that size as JSON")
        if event.anchor:
            raise _refusal(event, f"&{short(event.anchor)} names something for repeating; take it out")
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:str"):
            raise _refusal(
                event, f"the tag {short(event.tag)} is not allowed; write a plain text, number, list or mapping"
            )

    def _open(self, event: Any) -> None:
        if len(self._stack) == DEEPEST:
            raise _refusal(event, f"nested deeper than {DEEPEST} levels")
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        path = self._add(event, value)
        self._stack.append(_Open(value=value, path=path))

    def _scalar(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(event, top)
            return
        is_plain = event.implicit[0] and not event.style
        path = self._add(event, _plain_value(event.value) if is_plain else event.value)
        if is_plain:
            self.plain[path] = event.value

    def _key(self, event: Any, top: _Open) -> None:
        key, line = event.value, event.start_mark.line + 1
        if key in top.value:
            raise _refusal(event, f"{short(key)} is set twice; first in line {top.key_lines[key]}")
        if key == "<<" and not event.style:
            raise _refusal(event, "<< merges by reference; write it out")
        top.key = key
        top.key_lines[key] = line
        self.places[(*top.path, key)] = (line, event.start_mark.column + 1)

    def _add(self, event: Any, value: Any) -> JsonPath:
        """Put a value where it belongs. Answers its path."""
        place = event.start_mark.line + 1, event.start_mark.column + 1
        if not self._stack:
            self.value = value
            self.places[()] = place
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            path: JsonPath = (*top.path, len(top.value))
            top.value.append(value)
            self.places[path] = place
            return path
        if top.key is None:
            raise _refusal(event, "a name should stand here, not a list or a mapping")
        path = (*top.path, top.key)
        top.value[top.key] = value
        top.key = None
        return path


def _refusal(event: Any, problem: str) -> Unreadable:
    return Unreadable(problem, event.start_mark.line + 1, event.start_mark.column + 1, syntax=False)


def _plain_value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
