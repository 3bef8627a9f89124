"""The catalogue of what can go wrong: code → kind, message, cure. Pure.

The kind alone decides what happens next, and it says who must act: the person who dropped the job (`job`),
the machine by trying again (`transient`), or the operator of this machine (`environment`).
Everything that may be written as `error.code` is a row below.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Who must act."""

    JOB = "job"
    TRANSIENT = "transient"
    ENVIRONMENT = "environment"


class Code(StrEnum):
    """What went wrong, in one word that tools may rely on."""

    JOB_UNREADABLE = "JOB_UNREADABLE"
    JOB_INVALID = "JOB_INVALID"
    JOB_TOO_LARGE = "JOB_TOO_LARGE"
    SIDECAR_INVALID = "SIDECAR_INVALID"
    POLICY_DENIED = "POLICY_DENIED"
    TEMPLATE_MISSING = "TEMPLATE_MISSING"
    ASSET_MISSING = "ASSET_MISSING"
    ACTION_MISSING = "ACTION_MISSING"
    COMPOSITION_NOT_FOUND = "COMPOSITION_NOT_FOUND"
    OUTPUT_MODULE_NOT_FOUND = "OUTPUT_MODULE_NOT_FOUND"
    LAYER_NOT_FOUND = "LAYER_NOT_FOUND"
    SCRIPT_ERROR = "SCRIPT_ERROR"
    PROJECT_DAMAGED = "PROJECT_DAMAGED"
    OUTPUT_EXISTS = "OUTPUT_EXISTS"
    FOOTAGE_MISSING = "FOOTAGE_MISSING"
    FONTS_MISSING = "FONTS_MISSING"
    OUTPUT_UNEXPECTED = "OUTPUT_UNEXPECTED"

    RENDER_CRASHED = "RENDER_CRASHED"
    RENDER_FAILED = "RENDER_FAILED"
    RENDER_STALLED = "RENDER_STALLED"
    RENDER_TIMEOUT = "RENDER_TIMEOUT"
    STARTUP_TIMEOUT = "STARTUP_TIMEOUT"
    OUTPUT_MISSING = "OUTPUT_MISSING"
    OUTPUT_TRUNCATED = "OUTPUT_TRUNCATED"
    DOWNLOAD_FAILED = "DOWNLOAD_FAILED"
    ACTION_FAILED = "ACTION_FAILED"

    NEXRENDER_NOT_FOUND = "NEXRENDER_NOT_FOUND"
    NEXRENDER_BROKEN = "NEXRENDER_BROKEN"
    NEXRENDER_SERVER_UNREACHABLE = "NEXRENDER_SERVER_UNREACHABLE"
    AERENDER_NOT_FOUND = "AERENDER_NOT_FOUND"
    AERENDER_NOT_PATCHED = "AERENDER_NOT_PATCHED"
    LICENSE = "LICENSE"
    DISK_FULL = "DISK_FULL"
    SHARE_OFFLINE = "SHARE_OFFLINE"
    RENDERS_KEEP_FAILING = "RENDERS_KEEP_FAILING"
    SERVICE_NOT_RUNNING = "SERVICE_NOT_RUNNING"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the catalogue: what the code means and what a person can do about it."""

    kind: Kind
    meaning: str
    cure: str
    retries: int | None = None  # fewer tries than configured: a render that ran into its limit gets one more


J, T, E = Kind.JOB, Kind.TRANSIENT, Kind.ENVIRONMENT

CATALOGUE: dict[Code, Entry] = {
    Code.JOB_UNREADABLE: Entry(
        kind=J,
        meaning="The job file is not readable as JSON or YAML.",
        cure="Mend the file at the place named and drop it again.",
    ),
    Code.JOB_INVALID: Entry(
        kind=J,
        meaning="The job file can be read, but it is not a job.",
        cure="Correct the field named and drop the job again; `watchrender check FILE` tries it without rendering.",
    ),
    Code.JOB_TOO_LARGE: Entry(
        kind=J,
        meaning="The job file is larger than a job may be.",
        cure="Put data into footage files beside the job, or raise watch.max_job_size.",
    ),
    Code.SIDECAR_INVALID: Entry(
        kind=J,
        meaning="The settings file of this job cannot be used.",
        cure="Correct the sidecar at the place named and drop job and sidecar again.",
    ),
    Code.POLICY_DENIED: Entry(
        kind=J,
        meaning="The job asks for something this machine does not allow.",
        cure="Take it out of the job, or ask the operator to allow it with the setting named.",
    ),
    Code.TEMPLATE_MISSING: Entry(
        kind=J,
        meaning="The After Effects project that the job names is not there.",
        cure="Copy the project to the path named, or correct template.src, and drop the job again.",
    ),
    Code.ASSET_MISSING: Entry(
        kind=J,
        meaning="Footage that the job names is not there.",
        cure="Copy the footage to the path named, or correct its src, and drop the job again.",
    ),
    Code.ACTION_MISSING: Entry(
        kind=J,
        meaning="The job names an action module that is not installed.",
        cure="Install the module beside nexrender, or take the action out of the job.",
    ),
    Code.COMPOSITION_NOT_FOUND: Entry(
        kind=J,
        meaning="The project has no composition of that name.",
        cure="Write the composition's name in the job exactly as it stands in the project, capitals included.",
    ),
    Code.OUTPUT_MODULE_NOT_FOUND: Entry(
        kind=J,
        meaning="This After Effects has no output module or render settings template of that name.",
        cure="Make the template in After Effects on the render machine, or name one that is there.",
    ),
    Code.LAYER_NOT_FOUND: Entry(
        kind=J,
        meaning="The composition has no layer of that name.",
        cure="Write layerName in the job exactly as it stands in the composition.",
    ),
    Code.SCRIPT_ERROR: Entry(
        kind=J,
        meaning="A script of the job failed inside After Effects.",
        cure="Read the error line, correct the asset or script that it names, and drop the job again.",
    ),
    Code.PROJECT_DAMAGED: Entry(
        kind=J,
        meaning="After Effects cannot open the project.",
        cure="Open the project in After Effects, save it anew (in its version or older), and drop the job again.",
    ),
    Code.OUTPUT_EXISTS: Entry(
        kind=J,
        meaning="The place the film should go to is taken, and on_exists is fail.",
        cure="Move the old file away, choose another output, or set on_exists to version.",
    ),
    Code.FOOTAGE_MISSING: Entry(
        kind=J,
        meaning="After Effects rendered without footage that the project uses.",
        cure="Collect the project's files beside it and drop the job again, or set verify.missing_footage to warn.",
    ),
    Code.FONTS_MISSING: Entry(
        kind=J,
        meaning="After Effects rendered without fonts that the project uses.",
        cure="Install the fonts for all users of the render machine, or set verify.missing_fonts to warn.",
    ),
    Code.OUTPUT_UNEXPECTED: Entry(
        kind=J,
        meaning="The film is whole, but longer than expect says.",
        cure="Correct expect in the job's settings, or the job's frames or the composition's work area; drop it again.",
    ),
    Code.RENDER_CRASHED: Entry(
        kind=T,
        meaning="After Effects ended in the middle of the render.",
        cure="If it crashes at the same frame each time, open the project there; the log has the last lines.",
    ),
    Code.RENDER_FAILED: Entry(
        kind=T,
        meaning="The render ended with an error.",
        cure="Read the error line in the log; it comes from After Effects or nexrender.",
    ),
    Code.RENDER_STALLED: Entry(
        kind=T,
        meaning="The render stood still: no line, no growing file, no work.",
        cure="Look for a dialog on the render machine; if frames take that long, raise limits.stall or stall_timeout.",
    ),
    Code.RENDER_TIMEOUT: Entry(
        kind=T,
        meaning="The render took longer than it may.",
        cure="Raise limits.render or the job's render_timeout, or render fewer frames.",
        retries=1,
    ),
    Code.STARTUP_TIMEOUT: Entry(
        kind=T,
        meaning="After Effects was started and said nothing.",
        cure="Look for a sign-in, licence or crash dialog on the render machine; start After Effects once by hand.",
    ),
    Code.OUTPUT_MISSING: Entry(
        kind=T,
        meaning="The render ended well, but there is no film.",
        cure="See the log; an output module whose format differs from the job's extension is the usual cause.",
    ),
    Code.OUTPUT_TRUNCATED: Entry(
        kind=T,
        meaning="There is a film, but it is not whole.",
        cure="See the log for the last frame; free disk space and missing footage are the usual causes.",
    ),
    Code.DOWNLOAD_FAILED: Entry(
        kind=T,
        meaning="A source of the job could not be downloaded.",
        cure="Open the address in a browser on the render machine; correct it if it does not open.",
    ),
    Code.ACTION_FAILED: Entry(
        kind=T,
        meaning="An action of the job failed before or after the render.",
        cure="See the log for the action's own words.",
    ),
    Code.NEXRENDER_NOT_FOUND: Entry(
        kind=E,
        meaning="nexrender is not installed where watchrender looks for it.",
        cure="Run `watchrender nexrender install`, or set nexrender.command.",
    ),
    Code.NEXRENDER_BROKEN: Entry(
        kind=E,
        meaning="nexrender is there but does not run.",
        cure="Run `watchrender nexrender install` again, and `watchrender doctor` to see what it says.",
    ),
    Code.NEXRENDER_SERVER_UNREACHABLE: Entry(
        kind=E,
        meaning="nexrender-server cannot be reached, or does not answer as it should.",
        cure="Start it, and see that nexrender_server.url and its secret are right; the queue goes on by itself.",
    ),
    Code.AERENDER_NOT_FOUND: Entry(
        kind=E,
        meaning="After Effects' aerender is not where it should be.",
        cure="Install After Effects, or set nexrender.aerender to the full path of aerender.",
    ),
    Code.AERENDER_NOT_PATCHED: Entry(
        kind=E,
        meaning="nexrender's mark is missing from After Effects' command-line script, and we may not write it.",
        cure='Run `nexrender-cli "{}" --force-patch --binary AERENDER` once as an administrator.',
    ),
    Code.LICENSE: Entry(
        kind=E,
        meaning="After Effects is not licensed on this machine.",
        cure="Start After Effects by hand on the render machine, sign in, and close what dialogs it shows.",
    ),
    Code.DISK_FULL: Entry(
        kind=E,
        meaning="A disk that the render needs is full.",
        cure="Free space on the volume named; the queue goes on by itself.",
    ),
    Code.SHARE_OFFLINE: Entry(
        kind=E,
        meaning="The hot folder cannot be reached.",
        cure="Bring the share back; the queue goes on by itself and nothing is lost.",
    ),
    Code.RENDERS_KEEP_FAILING: Entry(
        kind=E,
        meaning="Different jobs fail one after the other with the same words, so it is the machine.",
        cure="Read the error line and mend the machine; one job is tried now and then, a success opens the queue.",
    ),
    Code.SERVICE_NOT_RUNNING: Entry(
        kind=E,
        meaning="The service is starting, draining or stopping; only /readyz says so.",
        cure="Wait until it has started, or start it again: watchrender run.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One thing that went wrong: what and where (`message`), and what to do next (`cure`)."""

    code: Code
    message: str
    cure: str
    path: str | None = None  # JSON path in the job, where there is one
    line: int | None = None
    column: int | None = None

    @property
    def kind(self) -> Kind:
        return CATALOGUE[self.code].kind

    def to_dict(self) -> dict[str, Any]:
        """The error object of status files and the API."""
        found: dict[str, Any] = {
            "code": str(self.code),
            "kind": str(self.kind),
            "message": self.message,
            "cure": self.cure,
        }
        where = {"path": self.path, "line": self.line, "column": self.column}
        return found | {name: value for name, value in where.items() if value is not None}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Failure:
        """The failure that an error object tells of; an unknown code reads as RENDER_FAILED."""
        code = Code(found["code"]) if found.get("code") in Code.__members__ else Code.RENDER_FAILED
        return cls(
            code=code,
            message=str(found.get("message", "")),
            cure=str(found.get("cure", CATALOGUE[code].cure)),
            path=found.get("path"),
            line=found.get("line"),
            column=found.get("column"),
        )


def fail(
    code: Code,
    message: str | None = None,
    *,
    cure: str | None = None,
    path: str | None = None,
    line: int | None = None,
    column: int | None = None,
) -> Failure:
    """A failure of this code, with the catalogue's words where none are given."""
    entry = CATALOGUE[code]
    return Failure(
        code=code, message=message or entry.meaning, cure=cure or entry.cure, path=path, line=line, column=column
    )
