"""The script that nexrender hands to After Effects, read for what it would do. Pure.

nexrender writes one `.jsx` for each job: its own functions, then a piece for each asset. Nothing is executed here; the
pieces have a fixed form, and what they ask for is taken out of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from watchrender.render.simulator.project import Composition, Project

_START, _END = "/* start of custom user script */", "/* end of custom user script */"
_STRING = r"'(?:[^'\\]|\\.)*'"
_PIECE = re.compile(
    rf"nexrender\.selectLayersBy(?P<by>Name|Index)\((?P<comp>null|{_STRING}),\s*(?P<layer>{_STRING}|[^,]*?),"
    r"\s*function\(layer\)\s*\{(?P<body>.*?)\n\s*\}, null, (?P<go_on>[^)]*)\);",
    re.DOTALL,
)
_FOOTAGE = re.compile(rf"nexrender\.replaceFootage\(layer,\s*(?P<file>{_STRING})")
_PARTS = re.compile(r"var parts = (\[.*\]);")
_VALUE = re.compile(r"var value = \{ \"(?P<kind>value|expression)\": (?P<value>.*) \}\s*$", re.MULTILINE)
_COMPOSITION = re.compile(r"^\s*renderCompositionName: '(.*)',\s*$", re.MULTILINE)
_THROW = re.compile(r"^\s*throw\s+(?:new\s+)?Error\(([\"'])(.*?)\1\)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One asset's piece: which layers, and what becomes of them."""

    composition: str | None
    layer: str | int
    property: str
    value: Any
    file: str | None
    goes_on_missing: bool


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the script would do; `fault` is what stops it before it does anything."""

    edits: tuple[Edit, ...] = ()
    fault: str | None = None
    thrown: str | None = None

    def texts(self) -> list[str]:
        """The texts that it puts into the film, as `layer: text`."""
        return [f"{edit.layer}: {edit.value}" for edit in self.edits if _is_text(edit)]


def _is_text(edit: Edit) -> bool:
    return edit.file is None and isinstance(edit.value, str) and "text" in edit.property.lower()


def read_script(text: str) -> Script:
    """Take the script apart."""
    named = _COMPOSITION.search(text)
    if named and "'" in re.sub(r"\\.", "", named[1]):
        return Script(fault="SyntaxError: Expected: }")  # nexrender pastes the name between quotes, unescaped
    start = text.find(_START)
    own = text[start + len(_START) : text.rfind(_END)] if start >= 0 else ""
    thrown = _THROW.search(own)
    return Script(edits=tuple(_edits(own)), thrown=thrown[2] if thrown else None)


def _edits(own: str) -> Iterator[Edit]:
    for piece in _PIECE.finditer(own):
        footage, parts, value = (found.search(piece["body"]) for found in (_FOOTAGE, _PARTS, _VALUE))
        yield Edit(
            composition=None if piece["comp"] == "null" else _string(piece["comp"]),
            layer=_layer(piece["layer"]),
            property=".".join(json.loads(parts[1])) if parts else "",
            value=_literal(value["value"]) if value and value["kind"] == "value" else None,
            file=_string(footage["file"]) if footage else None,
            goes_on_missing=piece["go_on"].strip() == "true",
        )


def _layer(word: str) -> str | int:
    if word.startswith("'"):
        return _string(word)
    return int(word) if word.strip().isdigit() else word


def _string(literal: str) -> str:
    """A single-quoted literal: JSON inside, with `'` escaped."""
    inner = literal[1:-1].replace("\\'", "'")
    try:
        return str(json.loads('"' + inner.replace('"', '\\"').replace('\\\\"', '\\"') + '"', strict=False))
    except ValueError:
        return inner


def _literal(word: str) -> Any:
    if word.startswith("'"):
        return _string(word)
    try:
        return json.loads(word)
    except ValueError:
        return word


def script_error(script: Script, project: Project, exists: Callable[[str], bool]) -> str | None:
    """The error with which the script would end in this project; None if it runs through."""
    if script.fault:
        return script.fault
    for edit in script.edits:
        error = _edit_error(edit, project, exists)
        if error:
            return f"Error: nexrender: {error}"
    return f"Error: {script.thrown}" if script.thrown is not None else None


def _edit_error(edit: Edit, project: Project, exists: Callable[[str], bool]) -> str | None:
    where = edit.composition or "*"
    name = where.rsplit("->", 1)[-1]
    found = _compositions(project, name)
    if not found:
        return f"Couldn't find any compositions by provided name ({name})"
    if not any(_has_layer(composition, edit.layer) for composition in found):
        if edit.goes_on_missing:
            return None
        by = "name" if isinstance(edit.layer, str) else "index"
        return f"Couldn't find any layers by provided {by} ({edit.layer}) inside a composition: {where}"
    if edit.file is not None and not exists(edit.file):
        return f"Trying to create a file replacement for an unknown file: {edit.file}"
    return None


def _compositions(project: Project, name: str) -> list[Composition]:
    if project.compositions is None:
        return [Composition(name=name)]
    return [one for one in project.compositions.values() if name in ("*", one.name)]


def _has_layer(composition: Composition, layer: str | int) -> bool:
    if composition.layers is None:
        return True
    return layer in composition.layers if isinstance(layer, str) else 1 <= layer <= len(composition.layers)
