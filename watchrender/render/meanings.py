"""What an error line means: the words of After Effects, nexrender, node and actions → a failure with its code. Pure.

Each table is in the order of what tells most: one fault brings several lines, and the first row that any of them fits
names it. A row may have better words than the catalogue's for what happened and for what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from watchrender.core.failure import Code, Failure, fail
from watchrender.render.memory import shortened


@dataclass(frozen=True, kw_only=True)
class Around:
    """What is known beside the lines."""

    at: str = ""  # how far the render came, in words: `at frame 51 of 120`
    composition: str | None = None
    compositions: tuple[str, ...] = ()  # those of the project, where they are known
    template: str | None = None  # the project's path or address
    script_error: str | None = None  # the script's own words, where a script failed


Words = str | Callable[["re.Match[str]", Around], str | None]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """A form of error line and what it means."""

    pattern: re.Pattern[str]
    code: Code
    what: Words = ""
    cure: Words = ""

    def read(self, lines: Sequence[str], around: Around) -> Failure | None:
        """The failure that the first fitting line tells of."""
        for line in lines:
            if found := self.pattern.search(line):
                what, cure = _said(self.what, found, around), _said(self.cure, found, around)
                return fail(self.code, f"{what or 'The render failed.'} It said: {shortened(line, 300)}", cure=cure)
        return None


def of_after_effects(lines: Sequence[str], around: Around) -> Failure | None:
    """What the error lines of After Effects mean; every one means something. None: there are none."""
    return _first(_AFTER_EFFECTS, lines, around)


def of_nexrender(lines: Sequence[str], around: Around) -> Failure | None:
    """What lines of nexrender, node or an action mean. None: nothing that is known."""
    return _first(_NEXRENDER, lines, around)


def of_full_disk(lines: Sequence[str], around: Around) -> Failure | None:
    """Does any line say that a disk is full?"""
    return _first(_FULL_DISK, lines, around)


def of_source(lines: Sequence[str], around: Around) -> Failure | None:
    """A file that could not be opened before the render is a source of the job: the project or its footage."""
    for line in lines:
        if found := _NO_FILE.search(line):
            is_template = _is_template(found["path"], around)
            code, what = (Code.TEMPLATE_MISSING, "project") if is_template else (Code.ASSET_MISSING, "footage")
            state = "is not there" if found["why"] == "ENOENT" else f"cannot be read ({found['why']})"
            return fail(code, f"The {what} {found['path']} {state}.")
    return None


def is_about_licence(line: str) -> bool:
    """Does this line say that After Effects is not licensed?"""
    return bool(_LICENCE.search(line))


def is_about_tidying(line: str) -> bool:
    """Did only the removal of nexrender's own work folder fail?"""
    return bool(_TIDYING.search(line))


# --- how the tables are read ------------------------------------------------------------------------------------------


def _first(table: Sequence[Meaning], lines: Sequence[str], around: Around) -> Failure | None:
    return next((failure for meaning in table if (failure := meaning.read(lines, around))), None)


def _said(words: Words, found: re.Match[str], around: Around) -> str | None:
    if not isinstance(words, str):
        return words(found, around)
    groups = {name: value or "" for name, value in found.groupdict().items()}
    return words.format(at=around.at, **groups)


def _says(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


def _no_composition(found: re.Match[str], around: Around) -> str:
    name = found["name"] or around.composition
    return f"The project has no composition “{name}”." if name else "The project has no composition of that name."


def _did_you_mean(found: re.Match[str], around: Around) -> str | None:
    name = found["name"] or around.composition
    if not around.compositions or not name:
        return None
    folded = {known.casefold(): known for known in around.compositions}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    has = f"the project has: {listed(around.compositions, most=10)}."
    if close:
        return f"Write “{folded[close[0]]}” if that was meant; {has}"
    return f"Write one of the compositions that {has}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few of many, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _script_failed(found: re.Match[str], around: Around) -> str:
    why = f": {around.script_error}" if around.script_error else ""
    return f"A script of the job failed in After Effects{why}."


def _full_disk(found: re.Match[str], around: Around) -> str:
    place = _PLACE.search(found.string)
    where = f" (writing {place[1] or place[2]})" if place else ""
    return f"A disk is full{where}, {around.at}."


def _is_template(path: str, around: Around) -> bool:
    if path.lower().endswith((".aep", ".aepx", ".aet")):
        return True
    return around.template is not None and _base_name(around.template) == _base_name(path)


def _base_name(path: str) -> str:
    return re.split(r"[/\\]", path)[-1].casefold()


# --- the tables -------------------------------------------------------------------------------------------------------

#: `open '/srv/x.mov'`, `to file D:\out\spot.mov.`: the place, for a message.
_PLACE = re.compile(
    r"['\"“]((?:/|[A-Za-z]:[\\/]|\\\\)[^'\"”]{1,300})['\"”]"
    r"|\bfile ((?:/|[A-Za-z]:[\\/]|\\\\)[^'\"”]{1,300}?)(?:\.\s|\.?$)"
)
_NO_FILE = re.compile(r"\b(?P<why>ENOENT|EACCES|EPERM|EISDIR)\b[^']{0,200}'(?P<path>[^']{1,1000})'")
_TIDYING = _says(r"\b(?:EBUSY|ENOTEMPTY|EPERM|EACCES)\b.{0,80}\b(?:rmdir|unlink|rm|lstat|scandir)\b")
#: What stands before the word in "a valid After Effects license", and what a program could not do with one.
_KIND_OF = r"(?:(?:an?|the|your|any|its|this|valid|active|adobe|after effects|product|user|node|floating)\s+){0,4}"
_DO_WITH = r"(?:obtain|acquire|check ?out|find|get|verify|validate|load|read|locate|activate|contact|retrieve|confirm)"
_LICENCE = _says(
    r"\blicen[sc](?:e|es|ed|ing)\b.{0,60}(?:expired|invalid|not|missing|required|fail|problem|error|stopped|denied)",
    r"\bnot licen[sc]ed|\bunlicen[sc]ed|trial (?:version |period )?(?:has |is )?(?:expired|over|ended)",
    rf"\b(?:unable to|failed to|could ?n[o']t|can(?:not|'t)) {_DO_WITH} {_KIND_OF}licen[sc]",
    rf"\b(?:no|without|invalid|expired|missing|needs?|requires?) {_KIND_OF}licen[sc](?:e|ing)\b",
    r"subscription (?:has )?(?:expired|ended|lapsed)|renew your subscription|sign in to (?:continue|your)",
    r"not (?:been )?activated|activation (?:is )?required|only be activated on|Lizenz",
)

_FULL_DISK: tuple[Meaning, ...] = (
    Meaning(
        pattern=_says(
            r"\bENOSPC\b|\bEDQUOT\b|no space left on device|quota exceeded",
            r"(?:disk|drive|volume)\b.{0,20}\bis full|\bdisk full|out of disk space",
            r"not enough (?:free )?(?:disk )?space|insufficient (?:disk )?space",
            r"(?:nicht genügend|zu wenig) Speicherplatz|espace (?:disque )?insuffisant",
        ),
        code=Code.DISK_FULL,
        what=_full_disk,
    ),
)

_AFTER_EFFECTS: tuple[Meaning, ...] = (
    Meaning(
        pattern=_says(r"Illegal argument flag: -r\b"),
        code=Code.AERENDER_NOT_PATCHED,
        what="After Effects' command-line script lacks nexrender's mark; an update of After Effects takes it away.",
    ),
    Meaning(
        pattern=_says(r"No comp was found|Couldn't find any compositions by provided name \((?P<name>.{1,300}?)\)"),
        code=Code.COMPOSITION_NOT_FOUND,
        what=_no_composition,
        cure=_did_you_mean,
    ),
    Meaning(
        pattern=_says(r"No (?P<name>output module|render settings) template was found"),
        code=Code.OUTPUT_MODULE_NOT_FOUND,
        what="This After Effects has no {name} template of the name that the job gives.",
    ),
    Meaning(
        pattern=_says(r"Couldn't find any layers by provided (?P<by>\w{1,20}) ?\((?P<name>.{1,300}?)\) inside"),
        code=Code.LAYER_NOT_FOUND,
        what="No layer with the {by} “{name}” is in the composition.",
    ),
    Meaning(
        pattern=_says(r"Can't find a property sequence (?P<name>\S{1,300})"),
        code=Code.SCRIPT_ERROR,
        what="The layer has no property “{name}”.",
        cure="Write the property in the job as scripts of After Effects name it: Source Text, transform.position.",
    ),
    Meaning(
        pattern=_says(r"file replacement for an unknown file: (?P<name>.{1,300})"),
        code=Code.ASSET_MISSING,
        what="Footage of the job is not there for After Effects: {name}.",
    ),
    # Behind those that quote a name of the job: a layer may be called “no license”.
    Meaning(pattern=_LICENCE, code=Code.LICENSE, what="After Effects is not licensed on this machine."),
    Meaning(
        pattern=_says(r"output module failed|may be damaged or corrupted|Rendering error while writing"),
        code=Code.OUTPUT_TRUNCATED,
        what="After Effects could not write the film to its end, {at}.",
    ),
    Meaning(
        pattern=_says(
            r"file is damaged|project (?:file )?(?:is |appears )?(?:damaged|corrupt)|missing data in file",
            r"beschädigt|endommagé|(?:newer|later) version of (?:Adobe )?After Effects",
            r"(?:unable to|can(?:not|['’]t)) open (?:the )?project",
        ),
        code=Code.PROJECT_DAMAGED,
        what="After Effects cannot open the project.",
    ),
    Meaning(
        pattern=_says(r"File Not Found|missing footage|footage.{0,30}(?:missing|not found)"),
        code=Code.FOOTAGE_MISSING,
        what="After Effects did not find footage.",
    ),
    Meaning(
        pattern=_says(r"Error executing script|Can not open script file|^(?:Error|Fehler): nexrender:"),
        code=Code.SCRIPT_ERROR,
        what=_script_failed,
    ),
    Meaning(
        pattern=_says(
            r"AESend failed|AEGetParamPt failed|forcibly closed|connection (?:reset|was lost)",
            r"unexpectedly (?:quit|closed|ended)|has crashed|internal verification failure|access violation",
        ),
        code=Code.RENDER_CRASHED,
        what="After Effects crashed, {at}.",
    ),
    Meaning(
        pattern=_says(r"Another instance of aerender|modal dialog"),
        code=Code.RENDER_FAILED,
        what="Another After Effects, or a dialog of it, is in the way.",
        cure="Close every After Effects on the render machine, and look for a dialog that waits for an answer.",
    ),
    Meaning(
        pattern=_says(r"Can not create a file in directory|write (?:permission|protection)"),
        code=Code.RENDER_FAILED,
        what="After Effects may not write into the attempt's output folder.",
        cure="Let the user that watchrender runs as write into the hot folder and into nexrender.work_dir.",
    ),
    Meaning(
        pattern=_says(r"\b(?:USAGE|SYNTAX) ERROR|Bad value for -|no value given for flag"),
        code=Code.JOB_INVALID,
        what="aerender does not take an option that it was given.",
        cure="Correct the template settings of the job (range, step, templates), or nexrender.args in the config.",
    ),
    Meaning(
        pattern=_says(r"Can not open socket"),
        code=Code.RENDER_FAILED,
        what="aerender cannot talk to After Effects.",
        cure="Let the two talk over this machine's own network; a firewall is the usual cause.",
    ),
    Meaning(pattern=_says(r""), code=Code.RENDER_FAILED, what="After Effects failed, {at}."),
)

_NEXRENDER: tuple[Meaning, ...] = (
    Meaning(
        pattern=_says(
            r"(?:EACCES|EPERM|EROFS).{0,400}(?:commandLineRenderer|Backup\.Scripts)", r"run application with admin"
        ),
        code=Code.AERENDER_NOT_PATCHED,
        what="nexrender's mark is missing from After Effects' command-line script, and we may not write it.",
    ),
    Meaning(
        pattern=_says(r"ENOENT.{0,400}commandLineRenderer"),
        code=Code.AERENDER_NOT_FOUND,
        what="The aerender that was given does not lie in a folder of After Effects.",
        cure="Set nexrender.aerender to the aerender in After Effects' own folder, not to a script elsewhere.",
    ),
    Meaning(
        pattern=_says(r"Error starting aerender process.{0,300}(?:EACCES|EPERM)"),
        code=Code.AERENDER_NOT_FOUND,
        what="aerender may not be run.",
        cure="Let the user that watchrender runs as execute the aerender named in nexrender.aerender.",
    ),
    Meaning(
        pattern=_says(r"proper path to After Effects|Error starting aerender process"),
        code=Code.AERENDER_NOT_FOUND,
        what="After Effects' aerender is not where it should be.",
    ),
    Meaning(
        pattern=_says(r"couldn't parse json|Error verif?[yi]+ng job|job must have|unknown job asset type"),
        code=Code.JOB_INVALID,
        what="nexrender does not take the job.",
    ),
    Meaning(
        pattern=_says(r"Could not require module '(?P<name>[^']{1,300})'"),
        code=Code.ACTION_MISSING,
        what="The action module {name} is not installed.",
    ),
    Meaning(
        pattern=_says(r"Couldn't find module @nexrender/provider-(?P<name>[\w.-]{1,60})"),
        code=Code.JOB_INVALID,
        what="A source begins with {name}:, and nexrender cannot fetch that.",
        cure="Give the source as a path, a file: URI or an http(s) address, or install that provider beside nexrender.",
    ),
    Meaning(
        pattern=_says(r"Error loading (?P<phase>(?:pre|post)\w{1,12}) module (?P<name>.{1,300}?): "),
        code=Code.ACTION_FAILED,
        what="The {phase} action {name} failed.",
    ),
    Meaning(
        pattern=_says(r"requireg\(|action-\w{1,40} module"),
        code=Code.ACTION_FAILED,
        what="An action of the job failed.",
    ),
    Meaning(
        pattern=_says(
            r"Unable to download|Download timed out|FetchError|certificate",
            r"\b(?:ECONNREFUSED|ECONNRESET|ENOTFOUND|ETIMEDOUT|EAI_AGAIN)\b",
        ),
        code=Code.DOWNLOAD_FAILED,
        what="A source of the job could not be downloaded.",
    ),
    Meaning(
        pattern=_says(r"Invalid URL|URI malformed"),
        code=Code.JOB_INVALID,
        what="A source of the job is no address that can be read.",
        cure="Correct the src: a path, a file: URI or an http(s) address.",
    ),
    Meaning(
        pattern=_says(r"Couldn't find a result file"),
        code=Code.OUTPUT_MISSING,
        what="The render ended, and there is no film.",
    ),
    Meaning(pattern=_says(r"No update from aerender"), code=Code.RENDER_STALLED, what="The render stood still, {at}."),
    Meaning(
        pattern=_says(r"Maximum rendering time exceeded"),
        code=Code.RENDER_TIMEOUT,
        what="The render took longer than it may, and was ended {at}.",
    ),
    Meaning(
        pattern=_says(r"heap out of memory|Reached heap limit"),
        code=Code.RENDER_FAILED,
        what="nexrender ran out of memory.",
        cure="Close other programs on the render machine, or give it more memory.",
    ),
)
