"""May this job run here? A job file is code, and the inbox is shared. Pure: document + facts → objections.

Everything a job may do is allowed by a line below; what has no line is refused or, where `render.document` writes its
own, dropped. Each objection names the place in the job and the setting that would allow it, or says that none does.

What nexrender 1.62 does with a job's values, read in its source, decides what is checked here:

* pasted raw into the script that After Effects runs: `template.composition` (between quotes, and by a replacement that
  knows `$'`), `layerIndex`, `template.continueOnMissing`, a script's `keyword`, `defaults`, and the `key` and any
  function-like `value` of its `parameters`; and footage paths, with their first quote escaped only (`paths.needs_copy`)
* escaped as JSON, so any text is safe: `layerName`, `property`, `value`, `expression`, an asset's `composition`
* `expression` is given to After Effects' own sandbox where `property` names a property; where it names an attribute of
  the scripting model (`enabled`, `Source Text.text`, `Position->0`) nexrender *evaluates* it as script. So expressions
  are allowed where every name can only be a property. Older projects may run them in the legacy engine, which can load
  a file by `$.evalFile`; words like that are refused too: a second fence, not the wall.
* `uid`, `name`, `extension`, `output`, `dest` become paths; `params` go to the downloader; `$NAME` is expanded
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from watchrender.core import paths
from watchrender.core.access import (
    NO_SETTING,
    Facts,
    Policy,
    delivery_target,
    denied,
    invalid,
    is_within,
    said,
    source_objection,
)
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.jobform import list_in, object_in
from watchrender.core.paths import Kind, Source

PHASES = ("predownload", "postdownload", "prerender", "postrender")
ASSET_TYPES = ("image", "audio", "video", "data", "script", "static")
FOOTAGE_TYPES = ("image", "audio", "video")
COPY, ENCODE = "@nexrender/action-copy", "@nexrender/action-encode"
#: What ffmpeg is allowed to make without being asked about: the presets of action-encode, and files that fit them.
PRESETS = ("mp4", "ogg", "webm", "mp3", "m4a", "gif")
ENCODED = frozenset({"mp4", "m4v", "mov", "mkv", "ogg", "ogv", "webm", "mp3", "m4a", "aac", "gif", "avi", "wav"})


class Use(StrEnum):
    """What becomes of an action, or of another wish of the job."""

    DELIVERY = "delivery"  # we deliver there ourselves; weaker than every other `output:`
    FURTHER = "further"  # runs, and what it makes is a further output
    ACTION = "action"  # runs as it stands, the operator trusts the module
    LEFT_OUT = "left out"


class Spot(StrEnum):
    """What a path in an action leads to."""

    RESULT = "result"  # the film of this job
    FURTHER = "further"  # what an earlier encode made
    WORK = "work"  # inside nexrender's work folder
    PLACE = "place"  # a path on this machine, judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """Where one path field of an action leads."""

    field: str
    spot: Spot
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """One wish of the job that was judged and granted, in full or not; an action without one does not run."""

    path: str
    use: Use
    of: str | None = None  # DELIVERY: the further output meant; None: the film. FURTHER: its name
    to: str | None = None  # DELIVERY: where to; a folder if it ends with a slash
    aims: tuple[Aim, ...] = ()
    warning: str | None = None


def objections(document: Mapping[str, Any], facts: Facts, policy: Policy) -> tuple[list[Failure], list[Allowance]]:
    """All that stands against this job here, and what is made of the wishes that are granted."""
    judge = _Judge(document, facts, policy)
    judge.template()
    judge.assets()
    judge.actions()
    judge.output()
    return judge.failures, judge.allowances


def sources_of(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Each thing the job loads: JSON path of its `src`, the `src`, and the template or asset it stands in."""
    template = document.get("template")
    if isinstance(template, Mapping) and isinstance(template.get("src"), str):
        yield "template.src", template["src"], template
    for number, asset in enumerate(list_in(document, "assets")):
        if isinstance(asset, Mapping) and asset.get("type") != "data" and isinstance(asset.get("src"), str):
            yield f"assets[{number}].src", asset["src"], asset


_RAW = re.compile(r"['\\\x00-\x1f\x7f\u2028\u2029]|\$[$&`']|/\*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_EXTENSION = re.compile(r"\.?[A-Za-z0-9]{1,8}")
_WHOLE = re.compile(r"-?[0-9]{1,9}")
_MODULE = re.compile(r"(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
_RESULT = re.compile(r"result(_\[#+\])?\.[a-z0-9]{1,8}", re.IGNORECASE)
_BARE = re.compile(r"[^\W_][^<>:\"/\\|?*\x00-\x1f\x7f\u2028\u2029]{0,150}\.([A-Za-z0-9]{2,4})")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")
_KEY = re.compile(r"[A-Za-z0-9._-]{1,100}")
_FUNCTION = re.compile(r"function|=>")
_PARAMETER_TYPES = ("string", "number", "array", "boolean", "object", "null")
_ESCAPES = re.compile(
    r"\$\s*[.\[]|evalFile|callSystem|#\s*include|new\s+(File|Folder|Socket|ExternalObject)\b|\beval\b"
)
#: Names that lead from a layer to the scripting engine itself, from where all globals could be set.
_ENGINE = re.compile(r"__.*|constructor|prototype|reflect|watch|unwatch")
#: A property is known by a capital, a blank or a letter beyond ASCII: no attribute of the scripting model has them.
_PROPERTY = re.compile(r"[A-Z].*|.*[^\x00-\x7f].*|\S+ .*\S", re.DOTALL)


class _Judge:
    """Walks through one job and collects what is to be said about it."""

    def __init__(self, document: Mapping[str, Any], facts: Facts, policy: Policy) -> None:
        self.document, self.facts, self.policy = document, facts, policy
        self.failures: list[Failure] = []
        self.allowances: list[Allowance] = []
        self.made: list[str] = []  # names of further outputs, in the order they are made

    def deny(self, path: str, what: str, cure: str) -> None:
        self.failures.append(denied(path, f"{path}: {what}", cure))

    def invalid(self, path: str, what: str) -> None:
        self.failures.append(invalid(path, f"{path}: {what}"))

    # -- the project ---------------------------------------------------------------------------------------------------

    def template(self) -> None:
        template = self.document.get("template")
        if not isinstance(template, Mapping):
            self.invalid("template", "a job has a template with src and composition.")
            return
        self.source("template.src", template.get("src"))
        if _is_data(template.get("src")):
            self.deny("template.src", "a project cannot come from a data: URI.", f"Drop it as a bundle. {NO_SETTING}")
        self.pasted_name("template.composition", template.get("composition"))
        self.boolean("template.continueOnMissing", template.get("continueOnMissing"))
        for name in ("frameStart", "frameEnd", "incrementFrame"):
            self.whole(f"template.{name}", template.get(name))
        self.extension("template.outputExt", template.get("outputExt"))
        for name in ("outputModule", "settingsTemplate", "renderSettings", "outputSettings"):
            self.text(f"template.{name}", template.get(name))
        if template.get("frameIncrement") is not None and template.get("incrementFrame") is None:
            self.warn(
                "template.frameIncrement", "template.frameIncrement means nothing to nexrender; write incrementFrame"
            )
        self.dropped("template", template)

    def pasted_name(self, path: str, value: object) -> None:
        if not isinstance(value, str) or not value:
            self.invalid(path, "write the composition's name, as it stands in the project.")
            return
        found = _RAW.search(value)
        if found:
            self.deny(
                path,
                f"{said(value)} contains {said(found[0])}, which nexrender pastes into its script as code.",
                f"Rename the composition in the project, without quotes, backslashes and $ signs. {NO_SETTING}",
            )

    # -- what is loaded ------------------------------------------------------------------------------------------------

    def assets(self) -> None:
        if not isinstance(self.document.get("assets", []), list):
            self.invalid("assets", "assets is a list.")
        for number, asset in enumerate(list_in(self.document, "assets")):
            self.asset(f"assets[{number}]", asset)

    def asset(self, path: str, asset: object) -> None:
        if not isinstance(asset, Mapping):
            self.invalid(path, "an asset is an object with a type.")
            return
        kind = asset.get("type")
        if kind not in ASSET_TYPES:
            self.invalid(f"{path}.type", f"{said(kind)} is no asset type; there are {', '.join(ASSET_TYPES)}.")
            return
        if kind != "data":
            self.source(f"{path}.src", asset.get("src"))
        if _is_data(asset.get("src")) and kind != "data":
            self.data_source(f"{path}.src", kind)
        if kind == "script":
            self.script(path, asset)
        if kind == "data":
            self.keypath(path, asset)
        self.layer(path, asset)
        self.extension(f"{path}.extension", asset.get("extension"))
        self.dropped(path, asset)

    def source(self, path: str, src: object) -> None:
        if not isinstance(src, str):
            self.invalid(path, "write where the file is.")
            return
        objection = source_objection(src, path=path, facts=self.facts, policy=self.policy)
        if objection:
            self.failures.append(objection)

    def data_source(self, path: str, kind: str) -> None:
        if kind == "script":
            return  # it is no file of an allowed folder, which is said there
        if any(list_in(object_in(self.document, "actions"), "postdownload")):
            self.deny(
                path,
                "a data: source beside a postdownload action is how a job brings its own program.",
                f"Put the file on the share, or take the action out. {NO_SETTING}",
            )

    def layer(self, path: str, asset: Mapping[str, Any]) -> None:
        for name in ("composition", "layerName", "property"):
            if asset.get(name) is not None and not isinstance(asset[name], str):
                self.invalid(f"{path}.{name}", f"{said(asset[name])} is no text.")
        index = asset.get("layerIndex")
        if index is not None and (whole_number(index) or 0) < 1:
            self.deny(
                f"{path}.layerIndex",
                f"{said(index)} is not a whole number from 1 up, and nexrender pastes it into its script as code.",
                f"Write the layer's number, or its layerName. {NO_SETTING}",
            )

    def keypath(self, path: str, asset: Mapping[str, Any]) -> None:
        written = asset.get("property")
        if not isinstance(written, str):
            return
        names = written.split("->") if "->" in written else written.split(".")
        engine = [name for name in names if _ENGINE.fullmatch(name.strip())]
        if engine:
            self.deny(
                f"{path}.property",
                f"{said(engine[0])} leads from the layer into the scripting engine.",
                f"Name a property of the layer. {NO_SETTING}",
            )
        elif asset.get("expression") is not None:
            self.expression(f"{path}.expression", asset["expression"], names)

    def expression(self, path: str, expression: object, names: list[str]) -> None:
        if not isinstance(expression, str):
            self.invalid(path, "an expression is text.")
            return
        attributes = [name for name in names if not _PROPERTY.fullmatch(name)]
        outside = _ESCAPES.search(expression)
        if attributes:
            self.deny(
                path,
                f"{said(attributes[0])} may be no animated property, and then nexrender runs the expression as script.",
                f"Write the property as After Effects shows it (Opacity, Source Text), or give a value. {NO_SETTING}",
            )
        elif outside:
            self.deny(
                path,
                f"the expression reaches outside of After Effects ({said(outside[0])}).",
                f"Compute the value without it. {NO_SETTING}",
            )

    def script(self, path: str, asset: Mapping[str, Any]) -> None:
        if not self.policy.scripts:
            self.deny(
                f"{path}.type",
                "scripts run with all rights of After Effects, and they are off here.",
                "Take the script out, or ask the operator to name its folder in policy.scripts.",
            )
            return
        source = self.read(asset.get("src"))
        if source.kind is Kind.LOCAL and not self.within(source.text, self.policy.scripts):
            self.deny(
                f"{path}.src",
                f"{said(source.text)} is not in a folder for scripts.",
                "Use a script from there, or ask the operator to add its folder to policy.scripts.",
            )
        elif source.kind is not Kind.LOCAL:
            self.deny(f"{path}.src", "a script has to be a file of a folder in policy.scripts.", NO_SETTING)
        self.script_values(path, asset)

    def script_values(self, path: str, asset: Mapping[str, Any]) -> None:
        if asset.get("defaults") is not None:
            self.deny(f"{path}.defaults", "nexrender pastes them into the script as code.", NO_SETTING)
        keyword = asset.get("keyword")
        if keyword is not None and not (isinstance(keyword, str) and _IDENTIFIER.fullmatch(keyword)):
            self.deny(f"{path}.keyword", f"{said(keyword)} is no identifier.", f"Write letters only. {NO_SETTING}")
        parameters = asset.get("parameters")
        if parameters is not None and not isinstance(parameters, list):
            self.invalid(f"{path}.parameters", "write a list of objects with key and value.")
            return
        for number, parameter in enumerate(parameters or []):
            self.script_parameter(f"{path}.parameters[{number}]", parameter)

    def script_parameter(self, path: str, parameter: object) -> None:
        if not isinstance(parameter, Mapping) or not isinstance(parameter.get("key"), str):
            self.invalid(path, "write an object with key and value.")
            return
        value = parameter.get("value")
        if not _KEY.fullmatch(parameter["key"]):
            self.deny(
                f"{path}.key", f"{said(parameter['key'])} is pasted as code.", f"Write a plain word. {NO_SETTING}"
            )
        is_code = isinstance(value, str) and _FUNCTION.search(value) is not None
        if is_code or parameter.get("arguments") is not None:
            self.deny(
                f"{path}.value", "nexrender pastes functions into the script as code.", f"Give data. {NO_SETTING}"
            )
        if parameter.get("type") is not None and parameter["type"] not in _PARAMETER_TYPES:
            self.deny(f"{path}.type", f"{said(parameter['type'])} is no type of data.", NO_SETTING)

    # -- what is run ---------------------------------------------------------------------------------------------------

    def actions(self) -> None:
        actions = self.document.get("actions")
        if actions is None:
            return
        if not isinstance(actions, Mapping):
            self.invalid("actions", "actions is an object with a list for each phase.")
            return
        for phase in PHASES:
            if actions.get(phase) is not None and not isinstance(actions[phase], list):
                self.invalid(f"actions.{phase}", "write a list of actions.")
            for number, action in enumerate(list_in(actions, phase)):
                self.action(f"actions.{phase}[{number}]", phase, action)

    def action(self, path: str, phase: str, action: object) -> None:
        if not isinstance(action, Mapping) or not isinstance(action.get("module"), str):
            self.invalid(path, "an action is an object with a module.")
            return
        module = action["module"]
        if phase == "postrender" and module == COPY and self.copy(path, action):
            return
        if phase == "postrender" and module == ENCODE and self.encode(path, action):
            return
        if not _MODULE.fullmatch(module):
            self.deny(
                f"{path}.module",
                f"{said(module)} is not the name of a module; modules are never taken by path.",
                "Have it installed beside nexrender, write its name, and ask the operator to add that to"
                " policy.actions. No setting allows a path.",
            )
            return
        if module not in self.policy.actions:
            self.deny(f"{path}.module", self.not_allowed(module, phase), self.how_to_allow(module))
            return
        self.trusted(path, action)

    def not_allowed(self, module: str, phase: str) -> str:
        if module == COPY:
            return f"{said(module)} is allowed only to copy the result to a folder after the render."
        if module == ENCODE:
            return f"{said(module)} is allowed only after the render, with a preset and a bare output name."
        return f'{said(module)} is not allowed here (in "{phase}").'

    def how_to_allow(self, module: str) -> str:
        near = difflib.get_close_matches(module, [COPY, ENCODE, *self.policy.actions], n=1, cutoff=0.8)
        meant = f"Did you mean {near[0]}? " if near and near[0] != module else ""
        return f"{meant}Take the action out, or ask the operator to add {said(module)} to policy.actions."

    def copy(self, path: str, action: Mapping[str, Any]) -> bool:
        """A copy of the result is a delivery, and we do that ourselves: complete, flushed, never over something."""
        given, output = action.get("input"), action.get("output")
        known = set(action) <= {"module", "input", "output", "useJobId"}
        if not known or not isinstance(output, str) or not output or not self.is_made(given):
            return False
        self.deliver(f"{path}.output", output, of=given if given in self.made else None, action=path)
        return True

    def encode(self, path: str, action: Mapping[str, Any]) -> bool:
        """An encode of the result into a file beside it: nothing else is read or written."""
        given, output, preset = action.get("input"), action.get("output"), action.get("preset")
        known = set(action) <= {"module", "preset", "input", "output"}
        if not isinstance(output, str) or not known or preset not in PRESETS or not self.may_make(output):
            return False
        if not self.is_made(given):
            return False
        if self.has_module(path, ENCODE):
            aims = [Aim(field="output", spot=Spot.FURTHER, text=output)]
            if given in self.made:
                aims.append(Aim(field="input", spot=Spot.FURTHER, text=str(given)))
            self.allowances.append(Allowance(path=path, use=Use.FURTHER, of=output, aims=tuple(aims)))
        self.made.append(output)
        return True

    def may_make(self, name: str) -> bool:
        """Is this a bare name for a film or sound, and not taken by an earlier action?"""
        bare = _BARE.fullmatch(name)
        if not bare or bare[1].lower() not in ENCODED or paths.is_device(name):
            return False
        return name.casefold() not in (made.casefold() for made in self.made)

    def trusted(self, path: str, action: Mapping[str, Any]) -> None:
        """A module that the operator allows: it runs with its own fields, its paths confined like the job's."""
        if not self.has_module(path, str(action["module"])):
            return
        aims: list[Aim] = []
        for field in ("input", "output"):
            aim = self.aim(f"{path}.{field}", field, action.get(field))
            aims += [aim] if aim else []
        params = action.get("params")
        inputs = params.get("-i") if isinstance(params, Mapping) else None
        for given in inputs if isinstance(inputs, list) else [inputs]:
            self.aim(f"{path}.params.-i", "input", given)
        self.allowances.append(Allowance(path=path, use=Use.ACTION, aims=tuple(aims)))

    def aim(self, path: str, field: str, value: object) -> Aim | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.invalid(path, f"{said(value)} is no path.")
            return None
        if field == "input" and (self.is_result(value) or value in self.made):
            spot = Spot.FURTHER if value in self.made else Spot.RESULT
            return Aim(field=field, spot=spot, text=value)
        if not _is_absolute(value):
            return self.work_aim(path, field, value)
        return self.place_aim(path, field, value)

    def work_aim(self, path: str, field: str, value: str) -> Aim | None:
        if ".." in re.split(r"[\\/]", value) or ":" in value or _CONTROL.search(value):
            self.deny(path, f"{said(value)} leads out of the job's work folder.", f"Write a plain name. {NO_SETTING}")
            return None
        return Aim(field=field, spot=Spot.WORK, text=value)

    def place_aim(self, path: str, field: str, value: str) -> Aim | None:
        if field == "output":
            found = delivery_target(value, path=path, facts=self.facts, policy=self.policy)
        else:
            source = self.read(value)
            found = source_objection(value, path=path, facts=self.facts, policy=self.policy) or source.text
            if source.kind is not Kind.LOCAL and isinstance(found, str):
                found = denied(path, f"{path}: {said(value)} is no file of this machine.", "Name a file that is here.")
        if isinstance(found, Failure):
            self.failures.append(found)
            return None
        return Aim(field=field, spot=Spot.PLACE, text=found)

    def has_module(self, path: str, module: str) -> bool:
        if self.facts.module_installed(module):
            return True
        self.failures.append(
            fail(
                Code.ACTION_MISSING,
                f"{path}.module: {said(module)} is not installed beside nexrender.",
                path=f"{path}.module",
            )
        )
        return False

    def is_made(self, given: object) -> bool:
        """Does this name something that this job makes?"""
        return self.is_result(given) or given in self.made

    def is_result(self, given: object) -> bool:
        """Does this name the film itself? Nothing given, nexrender's own name for it, or the job's own output."""
        if given is None or given == "":
            return True
        own = (self.document.get("output"), object_in(self.document, "template").get("output"))
        return isinstance(given, str) and (bool(_RESULT.fullmatch(given)) or given in own)

    # -- where it goes -------------------------------------------------------------------------------------------------

    def output(self) -> None:
        path, output = "template.output", object_in(self.document, "template").get("output")
        if not output:
            path, output = "output", self.document.get("output")
        if not output:
            return
        if not isinstance(output, str):
            self.invalid(path, f"{said(output)} is no path.")
            return
        if re.search(r"[\\/]", output):
            self.deliver(path, output)  # a bare name only tells the format: the film lies in done/ anyway

    def deliver(self, path: str, text: str, *, of: str | None = None, action: str | None = None) -> None:
        target = delivery_target(text, path=path, facts=self.facts, policy=self.policy)
        if isinstance(target, Failure):
            self.warn(action or path, f"left out: {target.message} {target.cure}")
        elif re.search(r"[\\/]", text):
            self.allowances.append(Allowance(path=action or path, use=Use.DELIVERY, of=of, to=target))
        else:
            self.warn(action or path, f"left out: {path}: {said(text)} is in a work folder that goes after the render")

    # -- values of one kind --------------------------------------------------------------------------------------------

    def boolean(self, path: str, value: object) -> None:
        if value is not None and not isinstance(value, bool):
            self.deny(
                path,
                f"{said(value)} is neither true nor false, and nexrender pastes it into its script as code.",
                f"Write true or false, without quotes. {NO_SETTING}",
            )

    def whole(self, path: str, value: object) -> None:
        if value is not None and whole_number(value) is None:
            self.invalid(path, f"{said(value)} is not a whole number.")

    def extension(self, path: str, value: object) -> None:
        if value is not None and value != "" and not (isinstance(value, str) and _EXTENSION.fullmatch(value)):
            self.deny(path, f"{said(value)} is not a file extension.", f"Write mp4, mov, png, … {NO_SETTING}")

    def text(self, path: str, value: object) -> None:
        if value is not None and not isinstance(value, str):
            self.invalid(path, f"{said(value)} is no text.")
        elif isinstance(value, str) and _CONTROL.search(value):
            self.deny(path, f"{said(value)} contains a control character.", f"Take it out. {NO_SETTING}")

    def dropped(self, path: str, holder: Mapping[str, Any]) -> None:
        if holder.get("params"):
            self.warn(f"{path}.params", f"{path}.params is left out: sources are fetched without options")

    def warn(self, path: str, warning: str) -> None:
        self.allowances.append(Allowance(path=path, use=Use.LEFT_OUT, warning=warning))

    def read(self, src: object) -> Source:
        return paths.read_source(str(src), base=self.facts.base, windows=self.facts.windows, rules=self.facts.rules)

    def within(self, path: str, folders: tuple[str, ...]) -> bool:
        return is_within(path, folders, self.facts)


def whole_number(value: object) -> int | None:
    """The integer that a job means by `3`, `3.0` or `"3"`; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e9 else None
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    return value if isinstance(value, int) and abs(value) < 10**9 else None


def _is_absolute(text: str) -> bool:
    return bool(re.match(r"[\\/]|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]+:", text))


def _is_data(src: object) -> bool:
    return isinstance(src, str) and src.lstrip()[:5].lower() == "data:"
