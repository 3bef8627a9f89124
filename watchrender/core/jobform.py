"""What a job document must look like: nexrender's form, and the short one for people who write YAML. Pure.

The tables below are what nexrender reads; the check, the short form's suggestions and the published schema all come
from them. Fields that are not in a table pass, as they do in nexrender; one that looks like a slip of the hand is a
warning. Whether a job *may* do what it says is policy's question, not this file's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from watchrender.core.settings import KEYS as SETTINGS
from watchrender.core.settings import nearest, settings_schema
from watchrender.core.textual import MOST_FAULTS, Fault, JsonPath, short, shown, written

#: The key under which a job may hold its own settings.
OWN_KEY = "watchrender"


@dataclass(frozen=True, kw_only=True)
class _Field:
    """How one field is checked. A field that is null, or an empty text, is as good as absent."""

    type: str  # text, integer, boolean, object, list, any
    meaning: str
    lowest: int = 0
    highest: int = 0


def _text(meaning: str) -> _Field:
    return _Field(type="text", meaning=meaning)


def _integer(lowest: int, highest: int, meaning: str) -> _Field:
    return _Field(type="integer", meaning=meaning, lowest=lowest, highest=highest)


def _boolean(meaning: str) -> _Field:
    return _Field(type="boolean", meaning=meaning)


_FRAMES = 100_000_000

TEMPLATE: dict[str, _Field] = {
    "src": _text("The After Effects project: a file:// or http(s):// address, or a path."),
    "composition": _text("The composition to render, exactly as it is called in the project."),
    "name": _text("The file name under which nexrender stores the project."),
    "extension": _text("The project's extension, where src has none."),
    "frameStart": _integer(-_FRAMES, _FRAMES, "The first frame."),
    "frameEnd": _integer(-_FRAMES, _FRAMES, "The last frame."),
    "incrementFrame": _integer(1, _FRAMES, "Render each n-th frame only."),
    "outputModule": _text("The output module template."),
    "outputExt": _text("The extension of the film."),
    "output": _text("Where nexrender writes the film; watchrender reads it as a wish to deliver there."),
    "settingsTemplate": _text("The render settings template."),
    "renderSettings": _text("Render settings."),
    "outputSettings": _text("Output settings."),
    "useOriginal": _boolean("Open the project where it lies."),
    "continueOnMissing": _boolean("Render although footage is missing."),
    "imageSequence": _boolean("The output is one file a frame."),
    "params": _Field(type="object", meaning="How to download src."),
}

ASSET: dict[str, _Field] = {
    "type": _text("What the asset is."),
    "src": _text("Where it comes from: a file://, http(s):// or data: address, or a path."),
    "layerName": _text("The layer, exactly as it is called in the composition."),
    "layerIndex": _integer(1, 100_000, "The layer's number, from 1."),
    "composition": _text("The composition the layer is in; * for all."),
    "property": _text("The property to set."),
    "value": _Field(type="any", meaning="What to set it to."),
    "expression": _text("The expression to set it to."),
    "name": _text("The file name under which nexrender stores it."),
    "extension": _text("Its extension, where src has none."),
    "keyword": _text("The name under which a script finds its parameters."),
    "parameters": _Field(type="list", meaning="The parameters of a script."),
    "params": _Field(type="object", meaning="How to download src."),
    "sequence": _boolean("It is an image sequence."),
    "removeOld": _boolean("Remove the footage it replaces."),
    "useOriginal": _boolean("Use it where it lies."),
}

#: type → what an asset of that type cannot do without; a tuple is "one of".
ASSET_NEEDS: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "image": ("src", ("layerName", "layerIndex")),
    "audio": ("src", ("layerName", "layerIndex")),
    "video": ("src", ("layerName", "layerIndex")),
    "data": (("layerName", "layerIndex"), "property", ("value", "expression")),
    "script": ("src",),
    "static": ("src",),
}

PHASES = ("predownload", "postdownload", "prerender", "postrender")

_TOP = ("template", "assets", "actions", "priority", "output", OWN_KEY)

#: The short form: key → where it stands in nexrender's form (frames become two).
SHORT: dict[str, JsonPath] = {
    "template": ("template", "src"),
    "composition": ("template", "composition"),
    "frames": ("template", "frameStart"),
    "output_module": ("template", "outputModule"),
    "ext": ("template", "outputExt"),
    "assets": ("assets",),
    OWN_KEY: (OWN_KEY,),
}
_SHORT_MEANINGS = {
    "frames": "First and last frame, like 0-99; or one frame.",
    "assets": "What to put into the project, as in nexrender's form.",
}

_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:(?:-|\.\.|\u2013)\s*([0-9]{1,9})\s*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_TEXT = 4096
_MOST_ASSETS = 10_000
MOST_WARNINGS = 20


class Reporter:
    """Collects faults and warnings, each with the path as its author wrote it."""

    def __init__(self, *, short: bool = False) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self._short = short

    def wrong(self, path: JsonPath, problem: str) -> None:
        path = origin(path, short=self._short)
        self.wrong_as_written(path, f"{written(path)} {problem}" if path else problem)

    def wrong_as_written(self, path: JsonPath, message: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(path=path, message=message))

    def warn(self, path: JsonPath, problem: str) -> None:
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(f"{written(origin(path, short=self._short))} {problem}")


def origin(path: JsonPath, *, short: bool) -> JsonPath:
    """Where something of nexrender's form stands in the document as its author wrote it."""
    if not short:
        return path
    if path[:2] == ("template", "frameEnd"):
        return ("frames",)
    return next(((key, *path[len(here) :]) for key, here in SHORT.items() if path[: len(here)] == here), ())


def list_in(holder: Mapping[str, Any], name: str) -> list[Any]:
    """A list of the job's; an empty one where it is missing or something else."""
    found = holder.get(name)
    return found if isinstance(found, list) else []


def object_in(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of the job's; an empty one where it is missing or something else."""
    found = holder.get(name)
    return found if isinstance(found, Mapping) else {}


def is_short(document: Any) -> bool:
    """Is it the short form? There `template` is the project itself."""
    return isinstance(document, dict) and not isinstance(document.get("template"), dict)


def text_paths(document: Any) -> Iterator[JsonPath]:
    """The path of every field that is a text whatever it looks like: `composition: 2026` is a name."""
    if not isinstance(document, dict):
        return
    yield from ((key,) for key in ("composition", "output_module", "ext", "frames", "output") if key in document)
    template = document.get("template")
    if isinstance(template, dict):
        yield from (("template", key) for key in template if key in TEMPLATE and TEMPLATE[key].type == "text")
    else:
        yield ("template",)
    assets = document.get("assets")
    for number, asset in enumerate(assets if isinstance(assets, list) else ()):
        if isinstance(asset, dict):
            yield from (("assets", number, key) for key in asset if key in ASSET and ASSET[key].type == "text")


def from_short(document: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """The short form as nexrender's; what is wrong with it goes to the reporter."""
    template: dict[str, Any] = {}
    found: dict[str, Any] = {"template": template}
    for key, value in document.items():
        if key not in SHORT:
            _unknown_short(key, reporter)
        elif key == "frames":
            template |= _frames(value, reporter)
        elif len(SHORT[key]) == 1:
            found[key] = value
        else:
            template[str(SHORT[key][-1])] = value
    if isinstance(template.get("outputExt"), str):
        template["outputExt"] = template["outputExt"].strip().removeprefix(".")
    return found


def check(document: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """The document without absent fields, and with quoted numbers unquoted; every fault goes to the reporter."""
    checked = dict(document)
    checked["template"] = _template(document.get("template"), reporter)
    checked["assets"] = _assets(document.get("assets"), reporter)
    if document.get("actions") is None:
        checked.pop("actions", None)
    else:
        checked["actions"] = _actions(document["actions"], reporter)
    _top(checked, reporter)
    return checked


def check_texts(document: Any, reporter: Reporter) -> None:
    """Refuse what no text and no name in a job may hold: NUL, half characters, and the key that JavaScript obeys."""
    waiting: list[tuple[JsonPath, Any]] = [((), document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*path, key), entry) for key, entry in value.items()]
            for key in value:
                _check_key(key, path, reporter)
        elif isinstance(value, list):
            waiting += [((*path, number), entry) for number, entry in enumerate(value)]
        elif isinstance(value, str) and (odd := _odd_character(value)):
            reporter.wrong(path, f"holds {odd}")


def schema_job() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a job, in either form, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "watchrender job",
        "description": "A nexrender job (JSON or YAML), or its short form (YAML).",
        "anyOf": [{"$ref": "#/$defs/job"}, {"$ref": "#/$defs/short"}],
        "$defs": {
            "settings": settings_schema(),
            "assets": {"type": "array", "items": {"anyOf": [_asset_schema(kind) for kind in ASSET_NEEDS]}},
            "job": _job_schema(),
            "short": _short_schema(),
        },
    }


# -- the parts of a job -----------------------------------------------------------------------------------------


def _template(value: Any, reporter: Reporter) -> dict[str, Any]:
    if value is None:
        reporter.wrong(("template",), 'is missing; write "template": {"src": "spot.aep", "composition": "Main"}')
        return {}
    if not isinstance(value, dict):
        reporter.wrong(("template",), f"is {shown(value)}; write an object with src and composition")
        return {}
    checked = _fields(value, TEMPLATE, ("template",), reporter)
    for key, example in (("src", "spot.aep"), ("composition", "Main")):
        if key not in checked and not _is_wrong(value, key):
            reporter.wrong(("template", key), f"is missing; write for example {example}")
    start, end = checked.get("frameStart"), checked.get("frameEnd")
    if isinstance(start, int) and isinstance(end, int) and start > end:
        reporter.wrong(("template", "frameEnd"), f"is {end}, before the first frame {start}; swap them")
    return checked


def _assets(value: Any, reporter: Reporter) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        reporter.wrong(("assets",), f"is {shown(value)}; write a list")
        return []
    if len(value) > _MOST_ASSETS:
        reporter.wrong(("assets",), f"has {len(value)} entries; a job may have {_MOST_ASSETS}")
        return []
    return [_asset(entry, ("assets", number), reporter) for number, entry in enumerate(value)]


def _asset(value: Any, path: JsonPath, reporter: Reporter) -> Any:
    if not isinstance(value, dict):
        reporter.wrong(path, f"is {shown(value)}; write an object with a type")
        return value
    checked = _fields(value, ASSET, path, reporter)
    kind = checked.get("type")
    if kind is None:
        if not _is_wrong(value, "type"):
            reporter.wrong((*path, "type"), f"is missing; write one of {', '.join(ASSET_NEEDS)}")
        return checked
    if kind not in ASSET_NEEDS:
        meant = nearest(str(kind), ASSET_NEEDS)
        hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(ASSET_NEEDS)}"
        reporter.wrong((*path, "type"), f"is {shown(kind)}; {hint}")
        return checked
    for need in ASSET_NEEDS[kind]:
        keys = (need,) if isinstance(need, str) else need
        if not any(key in checked or _is_wrong(value, key) for key in keys):
            reporter.wrong(path, f"({kind}) needs {' or '.join(keys)}")
    return checked


def _actions(value: Any, reporter: Reporter) -> dict[str, Any]:
    if not isinstance(value, dict):
        reporter.wrong(("actions",), f"is {shown(value)}; write an object with lists like postrender")
        return {}
    checked: dict[str, Any] = {}
    for phase, entries in value.items():
        path: JsonPath = ("actions", phase)
        if phase not in PHASES:
            meant = nearest(phase, PHASES)
            hint = f"did you mean {meant}?" if meant else f"the phases are {', '.join(PHASES)}"
            reporter.wrong(path, f"is not a phase; {hint}")
        elif isinstance(entries, list):
            checked[phase] = entries
            for number, entry in enumerate(entries):
                _action(entry, (*path, number), reporter)
        elif entries is not None:
            reporter.wrong(path, f"is {shown(entries)}; write a list of actions")
    return checked


def _action(value: Any, path: JsonPath, reporter: Reporter) -> None:
    if not isinstance(value, dict):
        reporter.wrong(path, f'is {shown(value)}; write an object like {{"module": "@nexrender/action-copy"}}')
    elif not isinstance(value.get("module"), str) or not value["module"].strip():
        reporter.wrong(path, "needs module, the action's name as a text")
    elif _CONTROL.search(value["module"]):
        reporter.wrong((*path, "module"), "has a control character in it")


def _top(document: dict[str, Any], reporter: Reporter) -> None:
    priority = document.get("priority")
    if priority is None:
        document.pop("priority", None)
    elif not _is_number(priority) or not 0 <= priority <= 100:
        reporter.wrong(("priority",), f"is {shown(priority)}; write a number from 1 to 100 (0 means none is given)")
    output = document.get("output")
    if output is None or output == "":
        document.pop("output", None)
    else:
        _check_field(output, _text(""), ("output",), reporter)
    for key in document:
        _maybe_slip(key, _TOP, (key,), reporter)


def _fields(value: dict[str, Any], table: dict[str, _Field], path: JsonPath, reporter: Reporter) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, entry in value.items():
        field = table.get(key)
        if field is None:
            checked[key] = entry
            _maybe_slip(key, table, (*path, key), reporter)
        elif _is_given(entry, field):
            entry = _unquoted(entry, field)
            if _check_field(entry, field, (*path, key), reporter):
                checked[key] = entry
    return checked


def _is_given(value: Any, field: _Field) -> bool:
    return field.type == "any" or not (value is None or (isinstance(value, str) and not value.strip()))


def _is_wrong(value: dict[str, Any], key: str) -> bool:
    """Is the field there, but as something it cannot be? Then one fault has been told already."""
    found = value.get(key)
    return found is not None and not (isinstance(found, str) and not found.strip())


def _unquoted(value: Any, field: _Field) -> Any:
    if field.type == "integer":
        if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value):
            return int(value)
        if isinstance(value, float) and value.is_integer():
            return int(value)
    return value


def _check_field(value: Any, field: _Field, path: JsonPath, reporter: Reporter) -> bool:
    problem = _problem(value, field, is_src=path[-1] == "src")
    if problem:
        reporter.wrong(path, problem)
    return problem is None


def _problem(value: Any, field: _Field, *, is_src: bool) -> str | None:
    match field.type:
        case "text":
            return _text_problem(value, is_src=is_src)
        case "integer":
            if _is_number(value) and field.lowest <= value <= field.highest:
                return None
            above = f"from {field.lowest} to {field.highest}" if abs(field.lowest) < _FRAMES else "without quotes"
            return f"is {shown(value)}; write a whole number {above}"
        case "boolean":
            return None if isinstance(value, bool) else f"is {shown(value)}; write true or false"
        case "object":
            return None if isinstance(value, dict) else f"is {shown(value)}; write an object"
        case "list":
            return None if isinstance(value, list) else f"is {shown(value)}; write a list"
        case _:
            return None


def _text_problem(value: Any, *, is_src: bool) -> str | None:
    if not isinstance(value, str):
        return f"is {shown(value)}; write a text in quotes"
    if found := _CONTROL.search(value):
        return (
            f"has the control character {found[0]!r} in it; a backslash in double quotes begins an escape, so write"
            r" paths with / or with \\"
        )
    if len(value) > _LONGEST_TEXT and not (is_src and value.startswith("data:")):
        return f"has {len(value)} characters; write at most {_LONGEST_TEXT}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _maybe_slip(key: str, known: Any, path: JsonPath, reporter: Reporter) -> None:
    if key in known:
        return
    # nexrender's own documentation calls it so, its code does not.
    meant = "incrementFrame" if key == "frameIncrement" else _very_near(key, known)
    if meant and meant in known:
        reporter.warn(path, f"means nothing to nexrender; did you mean {meant}?")


def _very_near(key: str, known: Any) -> str | None:
    meant = nearest(key, known)
    if meant is None or abs(len(meant) - len(key)) > 2:
        return None
    return meant if len(set(meant.lower()) ^ set(key.lower())) <= 2 else None


def _unknown_short(key: str, reporter: Reporter) -> None:
    if key in SETTINGS:
        hint = f"it is a setting: write it below {OWN_KEY}:, or in a sidecar"
    elif key == "actions":
        hint = "actions need nexrender's form: write template: with src: and composition: below it"
    else:
        camel = key.replace("-", "_").replace("outputModule", "output_module").replace("outputExt", "ext")
        meant = nearest(camel, SHORT)
        hint = f"did you mean {meant}?" if meant else f"the keys are {', '.join(SHORT)}"
    reporter.wrong_as_written((key,), f"{short(str(key))} is not a key of a job; {hint}")


def _frames(value: Any, reporter: Reporter) -> dict[str, int]:
    if value is None:
        return {}
    text = str(value) if _is_number(value) else value
    found = _RANGE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        reporter.wrong_as_written(("frames",), f"frames is {shown(value)}; write the first and last frame, like 0-99")
        return {}
    return {"frameStart": int(found[1]), "frameEnd": int(found[2] or found[1])}


def _check_key(key: Any, path: JsonPath, reporter: Reporter) -> None:
    if key == "__proto__":
        # JavaScript would take what stands below it for fields of the job itself, past every check.
        reporter.wrong((*path, key), "is a name that JavaScript obeys; take it out")
    elif odd := _odd_character(key):
        reporter.wrong(path or (key,), f"has a name that holds {odd}")


def _odd_character(text: str) -> str | None:
    if "\x00" in text:
        return "the character NUL"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"half a character (\\u{ord(text[error.start]):04x})"
    return None


# -- the published schema ---------------------------------------------------------------------------------------


def _schema(field: _Field) -> dict[str, Any]:
    types: dict[str, dict[str, Any]] = {
        "text": {"type": ["string", "null"]},
        "integer": {"type": ["integer", "null"], "minimum": field.lowest, "maximum": field.highest},
        "boolean": {"type": ["boolean", "null"]},
        "object": {"type": ["object", "null"]},
        "list": {"type": ["array", "null"]},
        "any": {},
    }
    return {"description": field.meaning, **types[field.type]}


def _job_schema() -> dict[str, Any]:
    action = {
        "type": "object",
        "required": ["module"],
        "properties": {"module": {"type": "string", "description": "The action's name, as policy.actions allows it."}},
    }
    template = {name: _schema(field) for name, field in TEMPLATE.items()}
    template |= {name: template[name] | {"type": "string", "minLength": 1} for name in ("src", "composition")}
    return {
        "type": "object",
        "required": ["template"],
        "properties": {
            "template": {"type": "object", "required": ["src", "composition"], "properties": template},
            "assets": {"$ref": "#/$defs/assets"},
            "actions": {
                "type": "object",
                "additionalProperties": False,
                "properties": {phase: {"type": "array", "items": action} for phase in PHASES},
            },
            "priority": {"type": "integer", "minimum": 0, "maximum": 100, "description": "nexrender's own; 0 is none."},
            "output": {"type": "string", "description": "Read as a wish to deliver there."},
            OWN_KEY: {"$ref": "#/$defs/settings"},
        },
    }


def _short_schema() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key, path in SHORT.items():
        meaning = _SHORT_MEANINGS.get(key) or (TEMPLATE[str(path[-1])].meaning if len(path) == 2 else "")
        properties[key] = {"description": meaning, "type": ["string", "integer"]}
    properties |= {"assets": {"$ref": "#/$defs/assets"}, OWN_KEY: {"$ref": "#/$defs/settings"}}
    properties["template"]["type"] = "string"
    properties["frames"]["pattern"] = f"^{_RANGE.pattern}$"
    return {
        "type": "object",
        "required": ["template", "composition"],
        "additionalProperties": False,
        "properties": properties,
    }


def _asset_schema(kind: str) -> dict[str, Any]:
    properties = {name: _schema(field) for name, field in ASSET.items()} | {"type": {"const": kind}}
    needs = ASSET_NEEDS[kind]
    choices = [{"anyOf": [{"required": [key]} for key in need]} for need in needs if not isinstance(need, str)]
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["type", *(need for need in needs if isinstance(need, str))],
        "properties": properties,
    }
    return schema | ({"allOf": choices} if choices else {})
