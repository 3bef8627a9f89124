"""How the simulated aerender shall behave: every way of failing and of speaking that the real one is known for.

Asked for by name, by fields, or both (`{"mode": "crash", "frame": 3}`). The places it may be asked from, the later
stronger: `behaviour.json` beside aerender, the project, the composition, the variable WATCHRENDER_SIM_BEHAVIOUR.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from watchrender.render.simulator.stop import AE_RUNTIME, AERENDER_RUNTIME, BAD_REQUEST, FAILED, OK, SYNTAX_ERROR, Stop

#: The steps of a render, in order. `frame` is in the middle of it unless `frame` says which.
STEPS = ("start", "launch", "open", "script", "queue", "frame", "finished", "elapsed")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What to do differently from a render that goes well. The defaults are that render."""

    # pace
    launch_seconds: float = 0.0
    seconds_per_frame: float = 0.0
    # how it ends
    fails: str = ""  # a row of FAULTS
    exits: int | None = None  # ends at once with this status at `at`, without a word
    signal: str = ""  # ends by this signal at `at` (SEGV, KILL, ABRT …)
    hangs: str = ""  # a step of STEPS at which it stands still
    at: str = "frame"  # the step at which `exits` and `signal` happen
    frame: int | None = None  # the frame for `fails`, `exits`, `signal` and `hangs`, counted from 1
    #: whole | canned | half (its frames) | cut (its bytes) | zeros | zero_tail | text (and no pictures) | byte | none
    film: str = "whole"
    extension: str = ""  # what After Effects makes of the file's suffix, whatever was asked for
    hang_seconds: float = 3600.0  # nothing of ours stands still for ever
    works_while_hanging: bool = False  # uses a processor instead of sleeping
    ignores_signals: bool = False  # SIGTERM, SIGINT, SIGHUP
    ignores_closed_pipe: bool = False  # renders on when nobody reads (as on Windows)
    grandchild: str = ""  # stdout | session | daemon: who outlives it, holding its output
    grandchild_seconds: float = 60.0
    pids: str = ""  # a file that gets a line `NAME PID` for each process
    fail_times: int = 0  # so many tries end as `failing` says, then it goes well
    failing: Any = "crash"
    tries_file: str = ""  # where tries are counted; a hidden file beside the project if not given
    missing_footage: str = "warn"  # warn | fail
    sees: str = ""  # a file that gets what the script puts into each layer: {"layer": SHA-256 of the footage}
    # how it speaks
    banner: str = "first"  # first | last | device (a driver's words inside it) | none
    language: str = "en"  # en | de | fr
    display: str = "timecode"  # timecode | drop | frames | feet
    progress: str = "all"  # all | none
    fields: bool = False  # each frame as upper and lower field
    skipped: tuple[int, ...] = ()  # frames that it reports as skipped
    out_of_order: bool = False  # as multi-frame rendering does
    twice: bool = False  # each frame line two times
    newline: str = "lf"  # lf | crlf
    cut_lines: bool = False  # lines arrive in two pieces
    garbage: bool = False  # bytes that are no text
    flood_bytes: int = 0  # so many bytes of noise
    warnings: tuple[str, ...] = ()  # rows of WARNINGS


#: What it says and how it ends. `{output}` and `{script}` are filled in. Those marked * are not known from a real log.
FAULTS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "comp": ("queue", AERENDER_RUNTIME, ("aerender ERROR: No comp was found with the given name.",)),
    "output_module": (
        "queue",
        AERENDER_RUNTIME,
        ("aerender ERROR: No output module template was found with the given name.",),
    ),
    "render_settings": (
        "queue",
        AERENDER_RUNTIME,
        ("aerender ERROR: No render settings template was found with the given name.",),
    ),
    "layer": (
        "script",
        AE_RUNTIME,
        (
            "aerender ERROR: Error executing script: {script}",
            "Error: nexrender: Couldn't find any layers by provided name (P_img) inside a composition: *",
            "aerender ERROR: Runtime error in After Effects.",
        ),
    ),
    "script": (
        "script",
        AE_RUNTIME,
        (
            "aerender ERROR: Error executing script: {script}",
            "ReferenceError: Function thisIsNotThere is undefined",
            "aerender ERROR: Runtime error in After Effects.",
        ),
    ),
    "damaged": ("open", AE_RUNTIME, ("aerender Error: After Effects error: file is damaged.",)),
    "modal": (
        "launch",
        FAILED,
        (
            (
                "aerender ERROR: After Effects can not render for aerender. Another instance of aerender, or another "
                "script, may be running; or, AE may be waiting for response from a modal dialog, or for a render to "
                "complete. "
                "Try running aerender without the -reuse flag to invoke a separate instance of After Effects"
            ),
        ),
    ),
    "unpatched": ("launch", SYNTAX_ERROR, ("aerender SYNTAX ERROR: Illegal argument flag: -r",)),
    "apple_event": ("frame", FAILED, ("aerender ERROR -1712: AESend failed to send apple event at line 909",)),
    "apple_param": ("frame", FAILED, ("aerender ERROR -1701: AEGetParamPt failed at line 780",)),
    "connection": (
        "frame",
        FAILED,
        ("aerender ERROR An existing connection was forcibly closed by the remote host",),
    ),
    "folder": (
        "queue",
        AE_RUNTIME,
        (
            (
                "aerender Error: After Effects error: Error in output for render queue item 1, output module 1. "
                "Can not create a file in directory {folder}. Try checking write permissions."
            ),
        ),
    ),
    "codec": (
        "frame",
        AE_RUNTIME,
        ("Error: After Effects error: The source compression type is not supported.", "INFO: Render aborted."),
    ),
    "disk_full": (  # *
        "frame",
        AE_RUNTIME,
        (
            (
                "aerender Error: After Effects error: Rendering error while writing to file {output}. "
                "There is not enough space on the disk."
            ),
            "INFO: Render aborted.",
        ),
    ),
    "licence": (  # *
        "launch",
        FAILED,
        ("aerender ERROR: After Effects can not start: your license has expired. Renew your subscription.",),
    ),
    "oem_text": ("launch", FAILED, ("aerender Error: After Effects\udcb4\udced\udcce\udcf3: \udcfcc\udca1\udcb6S",)),
    "source": ("frame", OK, ("Could not read from source. Please check the settings and try again. ( 86 :: 2 )",)),
    "silent": ("launch", OK, ()),  # gone after "Launching", with nothing said and nothing made
    "error_but_ok": ("frame", OK, ("aerender Error: After Effects error: Unexpected error.",)),
}

_SPAN = (
    "WARNING:After Effects warning: timeSpanStart of -0,87 seconds will cause render to have frames outside of range "
    "defined by comp displayStartTime (0,87) and end of comp duration (26,63). Render will succeed, but may have blank "
    "frames."
)
_DEPENDENCY = (
    "WARNING:After Effects warning: Grouped_Message_{some layers have missing dependencies. Press Ctrl-C to copy this "
    "list.|||a layer has missing dependencies.###@0 dependencies are missing:}Text Layer: Font family: Bebas, Font "
    "style: Regular"
)

#: name → (step, line): what it complains about while the render goes on.
WARNINGS: dict[str, tuple[str, str]] = {
    "fonts": ("open", "WARNING:After Effects warning: Project has missing fonts."),
    "dependencies": ("open", _DEPENDENCY),
    "converted": ("open", "INFO:After Effects: this project must be converted from version 11.0."),
    "span": ("queue", _SPAN),
    "footage": (
        "finished",
        (
            "WARNING:After Effects warning: logged one error  error: Unable to Render: File Not Found "
            "C:\\clips\\Platzhalter Bild.jpg"
        ),
    ),
    "errors": (
        "finished",
        (
            'WARNING: After Effects warning: logged 10 errors, please check log. First error was "error: Unable to '
            "Render: File Not Found"
        ),
    ),
    "no_errors": ("finished", "INFO: After Effects logged 0 errors."),
    "write": (
        "finished",
        (
            "WARNING:After Effects warning: logged one error  error: Rendering error while writing to file {output}. "
            "An output module failed. The file may be damaged or corrupted."
        ),
    ),
}

#: Names for what is asked for most. Each is a set of fields, and may be combined: `{"mode": ["crlf", "german"]}`.
MODES: dict[str, dict[str, Any]] = {
    "good": {},
    # an error line, and the end
    "comp_not_found": {"fails": "comp"},
    "output_module_not_found": {"fails": "output_module"},
    "render_settings_not_found": {"fails": "render_settings"},
    "layer_not_found": {"fails": "layer"},
    "script_error": {"fails": "script"},
    "damaged": {"fails": "damaged"},
    "modal": {"fails": "modal"},
    "unpatched": {"fails": "unpatched"},
    "apple_event": {"fails": "apple_event"},
    "apple_param": {"fails": "apple_param"},
    "connection_closed": {"fails": "connection"},
    "output_folder": {"fails": "folder"},
    "codec": {"fails": "codec"},
    "disk_full": {"fails": "disk_full"},
    "licence": {"fails": "licence"},
    "oem_text": {"fails": "oem_text"},
    # the end without an error line
    "crash": {"signal": "SEGV"},
    "killed": {"signal": "KILL"},
    "exit_1": {"exits": 1},
    "exit_1_at_launch": {"exits": 1, "at": "launch", "banner": "none"},
    "exit_after_film": {"exits": 1, "at": "elapsed"},
    # exit 0 is not success
    "no_film": {"film": "none"},
    "half_film": {"film": "half"},
    "cut_film": {"film": "cut"},
    "zeros_film": {"film": "zeros"},
    "zero_tail_film": {"film": "zero_tail"},
    "text_film": {"film": "text"},
    "one_byte": {"film": "byte"},
    "no_frames": {"film": "none"},
    "early_exit_0": {"exits": 0},
    "source_error": {"fails": "source"},
    "silent_exit_0": {"fails": "silent"},
    "error_but_ok": {"fails": "error_but_ok"},
    "canned": {"film": "canned"},
    # standing still
    "hang_at_start": {"hangs": "start"},
    "hang_at_launch": {"hangs": "launch"},
    "licence_dialog": {"hangs": "launch"},
    "hang_in_script": {"hangs": "script"},
    "hang_mid_render": {"hangs": "frame"},
    "hang_after_finished": {"hangs": "finished"},
    "hang_after_elapsed": {"hangs": "elapsed"},
    "busy_hang": {"hangs": "frame", "works_while_hanging": True},
    "stubborn": {"hangs": "frame", "ignores_signals": True, "ignores_closed_pipe": True},
    "grandchild_stdout": {"grandchild": "stdout"},
    "grandchild_session": {"grandchild": "session"},
    "grandchild_daemon": {"grandchild": "daemon"},
    "slow_frames": {"seconds_per_frame": 2.0},
    # how it speaks
    "buffered": {"banner": "last"},
    "device_noise": {"banner": "device"},
    "german": {"language": "de"},
    "french": {"language": "fr"},
    "no_progress": {"progress": "none"},
    "frames": {"display": "frames"},
    "feet": {"display": "feet"},
    "drop_frame": {"display": "drop"},
    "fields": {"fields": True},
    "skipped": {"skipped": (2, 3)},
    "multi_frame": {"out_of_order": True},
    "twice": {"twice": True},
    "crlf": {"newline": "crlf"},
    "cut_lines": {"cut_lines": True},
    "garbage": {"garbage": True},
    "flood": {"flood_bytes": 8_000_000},
    "missing_fonts": {"warnings": ("fonts",)},
    "missing_dependencies": {"warnings": ("dependencies",)},
    "missing_footage": {"warnings": ("footage",)},
    "logged_errors": {"warnings": ("errors",)},
    "no_errors": {"warnings": ("no_errors",)},
    "time_span": {"warnings": ("span",)},
    "converted": {"warnings": ("converted",)},
    "write_error": {"warnings": ("write",), "film": "half"},
}

_KNOWN = {found.name: found for found in fields(Behaviour)}
_CHOICES: dict[str, tuple[str, ...]] = {
    "fails": ("", *FAULTS),
    "hangs": ("", *STEPS),
    "at": STEPS,
    "film": ("whole", "canned", "half", "cut", "zeros", "zero_tail", "text", "byte", "none"),
    "grandchild": ("", "stdout", "session", "daemon"),
    "missing_footage": ("warn", "fail"),
    "banner": ("first", "last", "device", "none"),
    "language": ("en", "de", "fr"),
    "display": ("timecode", "drop", "frames", "feet"),
    "progress": ("all", "none"),
    "newline": ("lf", "crlf"),
}


def merge(base: Behaviour, asked: object) -> Behaviour:
    """The behaviour with what was asked for on top: a mode's name, several, or a table of fields."""
    if asked is None:
        return base
    if isinstance(asked, str):
        return _with_modes(base, asked.split(","))
    if isinstance(asked, (list, tuple)):
        return _with_modes(base, asked)
    if not isinstance(asked, Mapping):
        raise _fault(f"behaviour is {asked!r}; write a mode's name or a table of fields")
    found = merge(base, asked.get("mode"))
    return replace(found, **{name: _value(name, value) for name, value in asked.items() if name != "mode"})


def merge_text(base: Behaviour, text: str) -> Behaviour:
    """The same for a text: JSON, or modes with commas between."""
    return merge(base, json.loads(text) if text.lstrip().startswith(("{", "[")) else text)


def _with_modes(base: Behaviour, names: Any) -> Behaviour:
    for name in names:
        mode = MODES.get(str(name).strip())
        if mode is None:
            raise _fault(f"there is no mode {name!r}; there are {', '.join(MODES)}")
        base = replace(base, **mode)
    return base


def _value(name: str, value: Any) -> Any:
    if name not in _KNOWN:
        raise _fault(f"behaviour has no field {name!r}; there are {', '.join(_KNOWN)}")
    if name == "warnings" or name == "skipped":
        value = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if name == "warnings" and not set(value) <= set(WARNINGS):
        raise _fault(f"warnings are {value}; there are {', '.join(WARNINGS)}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise _fault(f"{name} is {value!r}; it may be {', '.join(_CHOICES[name])}")
    return value


def _fault(text: str) -> Stop:
    return Stop(BAD_REQUEST, f"simulator: {text}")
