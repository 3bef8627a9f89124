"""JSON text → document, strictly, and where everything in it stands. Pure.

The standard library's parser, which is fast, reads what is right. Whatever it stumbles over, and whatever JSON allows
but nobody can mean (a key twice, NaN, two hundred thousand brackets), is found again by the scanner below, which knows
line and column, recurses nowhere, and can tell a text that is wrong from one that is only not all there yet.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from watchrender.core.textual import BACKSLASH_HINT, DEEPEST, JsonPath, Unreadable, line_column, short

# Possessive throughout: a text of quotes and backslashes costs one pass, whatever it holds.
_BLANK = re.compile(r"[ \t\r\n]*+")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_NUMBER = re.compile(r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][-+]?+[0-9]++)?+")
_NUMBER_BEGUN = re.compile(r"-?(?:0|[1-9][0-9]*)?(?:(?<=[0-9])\.[0-9]*)?(?:(?<=[0-9])[eE][-+]?[0-9]*)?")
_ESCAPE_BEGUN = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_WORD = re.compile(r"[A-Za-z_$-][\w$-]*+")
_BRACKETS_AND_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+"?+|[\[\]{}]', re.DOTALL)
_VALUES_AND_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+"?+|[,\[{]', re.DOTALL)
_LITERALS = ("true", "false", "null")
_NOT_JSON = {"NaN", "Infinity", "-Infinity"}

#: A document takes up to a hundred times the memory of its text, by the number of values in it.
MOST_VALUES = 500_000


def parse(text: str) -> Any:
    """The document in a JSON text. Raises `Unreadable`."""
    if _is_too_deep(text):
        raise _first_fault(text)
    if (offset := _one_too_many(text)) is not None:
        place = line_column(text, offset)
        raise Unreadable(f"this has more than {MOST_VALUES} values; a job may have so many", *place, syntax=False)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite,
                          parse_int=_bounded)  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise _first_fault(text, error) from None


def is_complete_object(text: str) -> bool:
    """Does the text parse as an object? Only that: not whether everything in it may stand there."""
    return _parser_stops_at(text) is None


def is_cut_off(text: str) -> bool:
    """Is the text right so far, so that more of it could make an object?"""
    begun = text.lstrip(" \t\r\n")
    if begun[:1] not in ("", "{"):
        return False
    stop = _parser_stops_at(text)
    # An unfinished number, word or escape is short; only an unfinished text reaches from far back to the end.
    if stop is None or (stop + 20 < len(text.rstrip()) and text[stop] != '"'):
        return False
    try:
        _scan(text)
    except Unreadable as fault:
        return fault.cut_off
    return False


def places(text: str, paths: Iterable[JsonPath]) -> dict[JsonPath, tuple[int, int]]:
    """Line and column of the value at each path, or of the nearest thing above it that is there. One pass for all."""
    paths = tuple(paths)
    trail = _Trail(paths)
    with suppress(Unreadable, _AllFound):  # asked of texts that were read; else the nearest is still a help
        _scan(text, trail)
    return {path: line_column(text, trail.nearest(path)) for path in paths}


def _parser_stops_at(text: str) -> int | None:
    """Where the standard parser stumbles; None if the text is an object."""
    try:
        # What is in it is not kept: a text may hold more than the memory would.
        return None if json.loads(text, parse_int=float, object_pairs_hook=_an_object) is _OBJECT else 0
    except json.JSONDecodeError as error:
        return error.pos
    except (ValueError, RecursionError):
        return 0


_OBJECT = object()


def _an_object(_pairs: list[tuple[str, Any]]) -> object:
    return _OBJECT


class _Refused(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused
    return found


def _no_constant(_name: str) -> float:
    raise _Refused


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Refused
    return number


def _bounded(digits: str) -> int:
    if len(digits) > 300:  # nexrender reads numbers as doubles, which end at 309 digits
        raise _Refused
    return int(digits)


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth = 0
    for token in _BRACKETS_AND_STRINGS.finditer(text):
        first = text[token.start()]
        depth += (first in "[{") - (first in "]}")
        if depth > DEEPEST:
            return True
    return False


def _one_too_many(text: str) -> int | None:
    """Where the first value stands that is more than a job may have."""
    if text.count(",") + text.count("[") + text.count("{") <= MOST_VALUES:
        return None
    marks = (token.start() for token in _VALUES_AND_STRINGS.finditer(text) if text[token.start()] != '"')
    return next(islice(marks, MOST_VALUES, None), None)


def _first_fault(text: str, error: Exception | None = None) -> Unreadable:
    try:
        _scan(text)
    except Unreadable as fault:
        return fault
    # The scanner found nothing: say what the parser said.
    offset = error.pos if isinstance(error, json.JSONDecodeError) else 0
    words = error.msg if isinstance(error, json.JSONDecodeError) else "this cannot be read as JSON"
    return Unreadable(words, *line_column(text, offset))


class _AllFound(Exception):
    pass


class _Trail:
    """Keeps, while the scanner walks, the offsets of what lies on the way to some paths."""

    def __init__(self, paths: Iterable[JsonPath]) -> None:
        self._wanted = {path[:length] for path in paths for length in range(len(path) + 1)}
        self._offsets: dict[JsonPath, int] = {}

    def meet(self, stack: list[_Open], offset: int) -> JsonPath | None:
        """A value begins. Its path, if it is on the way to one of ours."""
        here: JsonPath = ()
        if stack:
            if stack[-1].path is None:
                return None
            here = (*stack[-1].path, stack[-1].part)
        if here not in self._wanted:
            return None
        self._offsets[here] = offset
        if len(self._offsets) == len(self._wanted):
            raise _AllFound
        return here

    def nearest(self, path: JsonPath) -> int:
        known = (path[:length] for length in range(len(path), -1, -1) if path[:length] in self._offsets)
        return self._offsets.get(next(known, ()), 0)


@dataclass(slots=True)
class _Open:
    """An object or list that is not closed yet."""

    keys: dict[str, int] | None  # None: a list
    path: JsonPath | None  # where it stands, if the trail leads through it
    part: str | int = 0


def _scan(text: str, trail: _Trail | None = None) -> None:
    """Walk over the whole text without recursion. Raises `Unreadable` at the first fault."""
    stack: list[_Open] = []
    offset = _skip(text, 0)
    while True:
        if stack and stack[-1].keys is not None:
            offset = _key(text, offset, stack[-1])
        path = trail.meet(stack, offset) if trail else None
        first = text[offset : offset + 1]
        if first and first in "{[":
            if len(stack) == DEEPEST:
                raise _fault(text, offset, f"nested deeper than {DEEPEST} levels", syntax=False)
            stack.append(_Open(keys={} if first == "{" else None, path=path))
            offset = _skip(text, offset + 1)
            if not _closes(text, offset, stack[-1]):
                continue
        else:
            offset = _skip(text, _scalar(text, offset, bool(stack)))
        while stack and _closes(text, offset, stack[-1]):
            stack.pop()
            offset = _skip(text, offset + 1)
        if not stack:
            if offset < len(text):
                raise _fault(text, offset, "there is more after the end of the job")
            return
        offset = _comma(text, offset, stack[-1])


def _key(text: str, offset: int, item: _Open) -> int:
    assert item.keys is not None
    if text[offset : offset + 1] != '"':
        if text[offset : offset + 1] == "'":
            raise _fault(text, offset, "names stand in double quotes, not single ones")
        raise _fault(text, offset, 'a name in double quotes, like "template", should stand here')
    end = _string(text, offset)
    key = json.loads(text[offset:end]) if "\\" in text[offset:end] else text[offset + 1 : end - 1]
    if key in item.keys:
        first = line_column(text, item.keys[key])[0]
        raise _fault(text, offset, f'"{short(key)}" is set twice; first in line {first}', syntax=False)
    item.keys[key] = offset
    item.part = key
    offset = _skip(text, end)
    if text[offset : offset + 1] != ":":
        raise _fault(text, offset, f'a colon should stand after "{short(key)}"')
    return _skip(text, offset + 1)


def _comma(text: str, offset: int, item: _Open) -> int:
    closing = "]" if item.keys is None else "}"
    if text[offset : offset + 1] != ",":
        raise _fault(text, offset, f"a comma or {closing} should stand here")
    after = _skip(text, offset + 1)
    if text[after : after + 1] == closing:
        raise _fault(text, offset, f"a comma stands before {closing}; take it out")
    if isinstance(item.part, int):
        item.part += 1
    return after


def _closes(text: str, offset: int, item: _Open) -> bool:
    return text[offset : offset + 1] == ("]" if item.keys is None else "}")


def _scalar(text: str, offset: int, inside: bool) -> int:
    first = text[offset : offset + 1]
    if first == '"':
        return _string(text, offset)
    word = _WORD.match(text, offset) if first and first not in "0123456789" else None
    if word:
        if word[0] in _LITERALS:
            return word.end()
        if word[0] in _NOT_JSON:
            raise _fault(text, offset, f"{word[0]} is not a number that JSON has")
        if word.end() == len(text) and any(literal.startswith(word[0]) for literal in _LITERALS):
            raise _fault(text, len(text), "the job ends here, in the middle of a word")
    number = _NUMBER.match(text, offset)
    begun = _NUMBER_BEGUN.match(text, offset)
    if begun and begun[0] and begun.end() == len(text) and (inside or not number or begun.end() != number.end()):
        raise _fault(text, len(text), "the job ends here, in the middle of a number")
    if number:
        if len(number[0]) > 300 or not math.isfinite(float(number[0])):
            raise _fault(text, offset, "this number is larger than any program can hold", syntax=False)
        return number.end()
    if first == "'":
        raise _fault(text, offset, "texts stand in double quotes, not single ones")
    if first == "/" and text[offset + 1 : offset + 2] in ("/", "*"):
        raise _fault(text, offset, "JSON has no comments; take it out")
    if word:
        raise _fault(
            text, offset, f"{short(word[0])} is neither a text in double quotes nor true, false, null or a number"
        )
    raise _fault(text, offset, "a value should stand here")


def _string(text: str, offset: int) -> int:
    end = _string_end(text, offset)
    if text[end : end + 1] == '"':
        return end + 1
    if end == len(text):
        raise _fault(text, end, f"the text that begins in line {line_column(text, offset)[0]} has no closing quote")
    if text[end] == "\\":
        begun = _ESCAPE_BEGUN.match(text, end)
        if begun and begun.end() == len(text):
            raise _fault(text, len(text), "the job ends here, in the middle of a text")
        raise _fault(text, end, f"{short(text[end : end + 2])} is no escape; {BACKSLASH_HINT}")
    raise _fault(text, end, "a text may not go over the end of its line or hold control characters; write \\n")


def _skip(text: str, offset: int) -> int:
    if text[offset : offset + 1] > " ":
        return offset
    found = _BLANK.match(text, offset)
    return found.end() if found else offset


def _string_end(text: str, offset: int) -> int:
    found = _STRING.match(text, offset)
    return found.end() if found else offset


def _fault(text: str, offset: int, problem: str, *, syntax: bool = True) -> Unreadable:
    at_end = offset >= len(text)
    if at_end and syntax and "should stand" in problem:
        problem = f"the job ends here, but {problem}"
    return Unreadable(problem, *line_column(text, min(offset, len(text))), syntax=syntax, cut_off=at_end and syntax)
