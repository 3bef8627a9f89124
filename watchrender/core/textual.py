"""Where things stand in a text, and what a reader of texts says when it stops. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

#: A place inside a document: keys and list numbers from the top.
JsonPath = tuple[str | int, ...]

#: Deeper documents are refused: no job needs it, and readers further down the line recurse.
DEEPEST = 64

#: Of one document this many faults are collected; a file of millions must not fill the memory with words about it.
MOST_FAULTS = 100

#: For texts with a backslash that was meant as part of a Windows path.
BACKSLASH_HINT = r"a backslash in double quotes begins an escape; write paths with / or with \\"


class Unreadable(Exception):
    """A text cannot be read. The words say what is wrong at which line and column (both from 1)."""

    def __init__(self, problem: str, line: int, column: int, *, syntax: bool = True, cut_off: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column
        self.syntax = syntax  # False: it can be read, but may not stand here (a key twice, nested too deep)
        self.cut_off = cut_off  # right so far: more bytes could mend it


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a document that could be read. `message` begins with the path as a person writes it."""

    path: JsonPath
    message: str
    line: int | None = None
    column: int | None = None


def line_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1 and counted in characters, of an offset into a text."""
    line = text.count("\n", 0, offset) + 1
    return line, offset - (text.rfind("\n", 0, offset) + 1) + 1


def written(path: JsonPath) -> str:
    """A path as people write it: `assets[2].src`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{short(part)}" for part in path)
    return text.removeprefix(".")


def short(text: str, most: int = 60) -> str:
    """Somebody's text as a message may hold it: on one line, of bounded length, and writable as UTF-8."""
    cut = text[:most]
    if not cut.isprintable():  # half surrogates are not printable either
        cut = cut.encode("unicode_escape", "backslashreplace").decode()
    return f"{cut}…" if len(text) > most else cut


def quoted(value: object) -> str:
    """A value as JSON writes it, whole, for a message: half a pair of surrogates, which no file can hold, as a question
    mark."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode("utf-8")


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return f'"{short(value)}"'
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return f"{value!r:.40}"
