"""The letters: what a person reads in a WHY.txt. Pure: facts in, text out, in the tone of a colleague.

Every letter says what happened, where exactly, what to do, whether it will be tried again, and how to try again.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Sequence

from watchrender.core.failure import Failure, Kind
from watchrender.core.job import Form, Job
from watchrender.core.states import State

LONELY_SIDECAR = "settings without a job"
EMPTY_SIDECAR = "an empty settings file: it is still being written, or has nothing in it"
LONE_PROJECT = "a project without a job: see the WHY.txt beside it"
NO_JOB_FILE = "not a job file (.json, .yaml, .zip or a folder with job.json)"
NOT_PLAIN = "a link, pipe, socket or device; watchrender opens only plain files and folders"
IDLE_HOLD = "no job of this name waits here; the mark holds one that comes"
FULL_ORDER = "an order that is a folder counts when nothing is in it; see the WHY.txt beside it"
UNREADABLE_FOLDER = "this folder may not be read by the service's user"
TOO_DEEP = "a folder so deep below the inbox is not looked into; put it further up"
EMPTY_RETURN = "a job's folder without its job file; drop the job file itself to render it again"
_WIDTH = 92


def why(job: Job, failure: Failure | None) -> str:
    """The letter in a failed or cancelled job's folder."""
    if job.state is State.CANCELLED:
        return _cancelled(job)
    assert failure is not None
    parts = [
        f"{job.name} was not rendered." if not job.attempts else f"{job.name} could not be rendered.",
        _section("What happened", failure.message),
        _where(job, failure),
        _section("What to do", failure.cure),
        _section("Will it be tried again?", _again(job, failure)),
        _section("How to try again", _how(job)),
        _section(
            "For the operator", f"{failure.code} ({failure.kind}), job {job.id}, log: {job.name}.log in this folder."
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cancelled(job: Job) -> str:
    reason = str(job.history[-1].get("why", "")) if job.history else ""
    parts = [
        f"{job.name} was cancelled. Nothing is wrong with it.",
        _section("What happened", f"{_sentence(reason)} ({job.finished_at})"),
        _section("How to try again", _how(job)),
    ]
    return "\n\n".join(parts) + "\n"


def _where(job: Job, failure: Failure) -> str:
    places = []
    if failure.line is not None:
        column = f", column {failure.column}" if failure.column is not None else ""
        places.append(f"line {failure.line}{column}")
    if failure.path:
        places.append(failure.path)
    name = job.file if job.form is Form.FILE else f"the job file in {job.file}"
    if job.sidecar is not None and failure.message.startswith(f"{job.sidecar}:"):
        name = job.sidecar
    return _section("Where", f"{name}: {', '.join(places)}") if places else ""


def _again(job: Job, failure: Failure) -> str:
    if failure.kind is Kind.JOB:
        return "Not by itself: the same job would end the same way."
    tries = len(job.attempts)
    if tries > 1:
        return f"Not by itself: it was tried {tries} times, and this is what the last try said."
    return "Not by itself."


def _how(job: Job) -> str:
    mended = "" if job.state is State.CANCELLED else " once it is mended"
    what = {Form.FILE: job.file, Form.BUNDLE: "the folder", Form.ZIP: job.file}[job.form] or "the job"
    return (
        f"Drag this whole folder back into the inbox, or drop {what} there again{mended};"
        f" on the command line: watchrender retry {_typed(job)}"
    )


def _typed(job: Job) -> str:
    """The job as it may be copied into a shell: a name like `$(reboot)` must not be, its id may."""
    return job.key if re.fullmatch(r"[\w/.@~+][\w/.@~+-]*", job.key) else job.id


def _section(title: str, text: str) -> str:
    body = "\n".join(
        textwrap.fill(
            line, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for line in text.splitlines()
    )
    return f"{title}\n{body}"


def _sentence(text: str) -> str:
    return (
        text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
        if text
        else "No reason was given."
    )


def lone_project(name: str) -> str:
    """The letter beside an After Effects project that was dropped alone."""
    stem = name.rsplit(".", 1)[0]
    return textwrap.dedent(
        f"""\
        {name} is a project, and watchrender needs to be told what to render from it.

        Write these lines into a text file called {stem}.yaml and put it beside the project:

            template: {_yaml(name)}
            composition: Main

        "Main" is the name of the composition, exactly as it stands in the project. If you like, add

            frames: 0-99
            output_module: Lossless
            ext: mov

        The project's footage must be where the project looks for it: collect the files first
        (File > Dependencies > Collect Files), or put the project, its footage and the lines above
        (as job.yaml) into one folder and drop that. This letter goes away with the project.
        """
    )


_NOT_TAKEN_UP = "What is in the folder {name} has not been taken up:"
_GOES_AWAY = "This letter goes away with that name.\n"


def folder_named_like(name: str, other: str) -> str:
    """The letter beside a sub-folder that has the name of a job. `other`: that job, in words."""
    return (
        f"{_NOT_TAKEN_UP.format(name=name)} {other} has this name already.\n\n"
        "Films of a sub-folder lie in a folder of its name, and that one is the job's: nothing is ever added to it.\n\n"
        f"Give the folder another name, {name}-2 for example, and its jobs are taken up by themselves. If all of\n"
        f"it is one job, call its job file job.json or job.yaml. {_GOES_AWAY}"
    )


def full_order(name: str) -> str:
    """The letter beside a folder that is called like an order and has something in it."""
    return (
        f"{_NOT_TAKEN_UP.format(name=name)} a folder of this name is an order,\n"
        "and an order is removed when it is done. What somebody has put there would go with it.\n\n"
        "Take out what is in it, and the order is done. If it is no order but a folder for jobs, give it a name\n"
        f"that ends differently, and its jobs are taken up by themselves. {_GOES_AWAY}"
    )


def is_beside(text: str, name: str) -> bool:
    """Is this a letter of ours that lies beside `name`, as we wrote it?"""
    begin = _NOT_TAKEN_UP.format(name=name)
    return text == lone_project(name) or (text.startswith(begin) and text.endswith(_GOES_AWAY))


def _yaml(text: str) -> str:
    """A text as YAML reads it back: in quotes where it could be taken for something else."""
    if re.fullmatch(r"[A-Za-z][\w ()-]*\.[A-Za-z]\w*", text):
        return text
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def order_denied(file: str, words: str) -> str:
    """The letter for an order that cannot be done as things stand."""
    return f"{file} did nothing: {words}.\n"


def no_such_job(
    file: str, target: str, over: Job | None, names: Sequence[str] = (), elsewhere: Sequence[str] = ()
) -> str:
    """The letter for an order that names no job. `elsewhere`: the sub-folders where there is one of that name."""
    if over is not None:
        back = "drag its folder back into the inbox" if over.folder else "drop it into the inbox again"
        retry = f", or run: watchrender retry {_typed(over)}" if over.folder else "."
        return f"{file} did nothing: the job {over.key} is already {over.state}.\n\nTo render it again, {back}{retry}\n"
    near = difflib.get_close_matches(target.lower(), by_lower := {name.lower(): name for name in names}, n=1)
    meant = f" Did you mean {by_lower[near[0]]}?" if near else ""
    if elsewhere:
        there = " and ".join(f"in {sub}" if sub else "at the top of the inbox" for sub in elsewhere)
        meant = f"\nThere is one {there}: lay {file} there."
    return (
        f"{file} did nothing: there is no job called {target} here that waits or renders.{meant}\n\n"
        "Write the job's name as it stands in status/ (without .status.json), in the same sub-folder of\n"
        "the inbox that the job was dropped in. `watchrender list` shows all names.\n"
    )
