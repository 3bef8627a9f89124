"""Was an attempt a success? Every way a render ends, and the code it gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchrender.core.failure import Code
from watchrender.render.outputs import Kind, Numbering, Output, Outputs
from watchrender.render.probe import Probed
from watchrender.render.transcript import Transcript
from watchrender.render.verdict import Ended, Exit, Expect, Rule, Verdict, Verify, judge

BEGIN = (
    "> starting nexrender-cli",
    "checking After Effects command line renderer patch...",
    "[u1] setting up job...",
    "[u1] applying predownload actions...",
)
DOWNLOAD = (
    *BEGIN,
    "[u1] downloading assets...",
    "[u1] > Downloading asset file:///srv/spot.aep...",
    "[u1] > Downloading asset file:///srv/logo.png...",
)
SCRIPT = (
    *DOWNLOAD,
    "[u1] applying postdownload actions...",
    "[u1] applying prerender actions...",
    "[u1] running script assemble...",
)
LAUNCH = (
    *SCRIPT,
    "[u1] rendering job...",
    "[u1] spawning aerender process: /ae/aerender -project /srv/spot.aep -comp main",
    "aerender version 24.6x2",
    "PROGRESS: Launching After Effects...",
)
HEADER = (
    *LAUNCH,
    "PROGRESS: ...After Effects successfully launched",
    "PROGRESS: Adding specified comp to Render Queue",
    "PROGRESS:  3/17/2024 9:05:12 AM: Starting composition main.",
    "PROGRESS:  Start: 0:00:00:00",
    "PROGRESS:  End: 0:00:04:19",
    "PROGRESS:  Duration: 0:00:04:20",
    "PROGRESS:  Frame Rate: 25.00 (comp)",
)
ALL = tuple(f"PROGRESS:  0:00:{n // 25:02}:{n % 25:02} ({n + 1}): 0 Seconds" for n in range(120))
HALF = (*HEADER, *ALL[:51])
FINISHED = (*HEADER, *ALL, "PROGRESS:  3/17/2024 9:05:40 AM: Finished composition main.")
ELAPSED = (*FINISHED, "PROGRESS:  Total Time Elapsed: 28 Seconds")
RENDERED = (*ELAPSED, "[u1] rendering took ~30.1 sec.")
ACTIONS = (*RENDERED, "[u1] applying postrender actions...")
DONE = (*ACTIONS, "[u1] cleaning up...", "> job rendering successfully finished")
EARLY_DONE = (*HALF, *DONE[len(ELAPSED) :])  # exit 0 after half the frames

FILM = Output(path=Path("/out/spot.mov"), bytes=5_000_000)
GOOD = Probed(duration=4.8, fps=25.0, frames=120, width=1920, height=1080, codec="prores", last_frame_decodes=True)
WHOLE = Outputs(main=FILM)
NOTHING = Outputs()
OK, FAILED = Exit(code=0), Exit(code=1)


def told(*lines: str, frames: int | None = None) -> Transcript:
    transcript = Transcript(uid="u1", frames=frames)
    for at, line in enumerate(lines):
        transcript.feed(line, float(at))
    return transcript


def frames(count: int, *, first: int = 0, missing: tuple[int, ...] = (), empty: tuple[int, ...] = ()) -> Outputs:
    numbers = tuple(number for number in range(first, first + count) if number not in missing)
    numbering = Numbering(before="spot_", after=".png", width=5, numbers=numbers)
    path = Path("/out") / numbering.pattern
    output = Output(
        path=path,
        kind=Kind.SEQUENCE,
        bytes=1000 * count,
        numbering=numbering,
        missing=missing,
        missing_count=len(missing),
        empty=empty,
    )
    return Outputs(main=output)


def code_of(verdict: Verdict) -> Code | None:
    return verdict.failure.code if verdict.failure else None


# --- a film that is whole ---------------------------------------------------------------------------------------------


def test_a_whole_film_and_exit_0_is_a_success() -> None:
    assert judge(OK, told(*DONE), WHOLE, probed=GOOD) == Verdict(film_is_whole=True)
    assert judge(OK, told(*DONE), WHOLE) == Verdict(film_is_whole=True)
    assert judge(OK, told(*DONE), frames(120), expect=Expect(first=0, last=119)) == Verdict(film_is_whole=True)


def test_no_progress_information_at_all_is_no_fault() -> None:
    quiet = [line for line in DONE if not line.startswith("PROGRESS")]

    assert judge(OK, told(*quiet), WHOLE, probed=GOOD) == Verdict(film_is_whole=True)
    assert judge(OK, told(), WHOLE) == Verdict(film_is_whole=True)


def test_weak_lines_do_not_fail_a_good_film() -> None:
    lines = (
        *DONE,
        "WARNING:After Effects warning: timeSpanStart of -0,87 seconds will cause render to have blank frames.",
        "WARNING:After Effects warning: logged one error  error: expression disabled",
        "INFO: Render aborted.",
        "Unable to read VR Path Registry",
        "Error: something that an action said",
    )

    verdict = judge(OK, told(*lines), WHOLE, probed=GOOD)

    assert verdict.failure is None
    assert verdict.warnings == (
        "After Effects logged 1 error",
        "After Effects says that the render was aborted",
        "After Effects: timeSpanStart of -0,87 seconds will cause render to have blank frames.",
    )


# --- exit 0 is not success --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "found", "probed", "code", "words"),
    [
        (EARLY_DONE, WHOLE, None, Code.OUTPUT_TRUNCATED, "reported 51 of 120 frames"),
        (EARLY_DONE, WHOLE, replace(GOOD, frames=51, duration=2.04), Code.OUTPUT_TRUNCATED, "has 51 of 120 frames"),
        (DONE, WHOLE, replace(GOOD, frames=119, duration=4.76), Code.OUTPUT_TRUNCATED, "has 119 of 120 frames"),
        (DONE, NOTHING, None, Code.OUTPUT_MISSING, "there is no film"),
        (DONE, Outputs(further=(FILM,)), None, Code.OUTPUT_MISSING, "There is only spot.mov"),
        (DONE, Outputs(main=replace(FILM, bytes=1)), None, Code.OUTPUT_TRUNCATED, "has 1 bytes; verify.min_bytes"),
        (DONE, Outputs(main=replace(FILM, bytes=0)), None, Code.OUTPUT_TRUNCATED, "has 0 bytes"),
        (
            DONE,
            WHOLE,
            Probed(last_frame_decodes=False, detail="it ends after 4,000 of 9,000 bytes"),
            Code.OUTPUT_TRUNCATED,
            "spot.mov is not whole: it ends after 4,000 of 9,000 bytes",
        ),
        (DONE, frames(51), None, Code.OUTPUT_TRUNCATED, "spot_[00000-00050].png has 51 of 120 frames"),
        (DONE, frames(120, missing=(7, 8)), None, Code.OUTPUT_TRUNCATED, "2 frames are missing"),
        (DONE, frames(120, empty=(119,)), None, Code.OUTPUT_TRUNCATED, "frames without a byte in them: 119"),
        (DONE, frames(120), Probed(last_frame_decodes=False), Code.OUTPUT_TRUNCATED, "spot_00119.png is not whole"),
        ((*DONE, "aerender ERROR: x"), WHOLE, GOOD, Code.RENDER_FAILED, "After Effects failed, at frame 120 of 120"),
        (
            (*DONE, "Could not read from source. Please check the settings and try again. ( 86 :: 2 )"),
            WHOLE,
            GOOD,
            Code.RENDER_FAILED,
            "Could not read from source",
        ),
        (
            (
                *DONE,
                "WARNING:After Effects warning: logged one error  error: Rendering error while writing to file"
                " D:\\out\\spot.mov. An output module failed. The file may be damaged or corrupted.",
            ),
            WHOLE,
            GOOD,
            Code.OUTPUT_TRUNCATED,
            "could not write the film to its end",
        ),
    ],
)
def test_exit_0_is_not_success(
    lines: tuple[str, ...], found: Outputs, probed: Probed | None, code: Code, words: str
) -> None:
    verdict = judge(OK, told(*lines), found, probed=probed)

    assert verdict.failure is not None
    assert (verdict.failure.code, verdict.film_is_whole) == (code, code is Code.RENDER_FAILED or "write the" in words)
    assert words in verdict.failure.message


def test_frames_act_only_where_they_are_verified_and_were_reported() -> None:
    off = Verify(frames=False)

    assert judge(OK, told(*EARLY_DONE), WHOLE, verify=off).failure is None
    assert judge(OK, told(*HEADER, *DONE[len(ELAPSED) :]), WHOLE).failure is None
    assert code_of(judge(OK, told(*EARLY_DONE), WHOLE, verify=off, expect=Expect(frames=120), probed=GOOD)) is None


def test_a_film_of_all_its_frames_is_none_where_after_effects_stopped_long_before_the_last() -> None:
    stopped = judge(OK, told(*EARLY_DONE), WHOLE, probed=GOOD)
    cut_line = judge(OK, told(*(line for line in DONE if " (120):" not in line)), WHOLE, probed=GOOD)

    assert code_of(stopped) is Code.OUTPUT_TRUNCATED
    assert stopped.failure is not None and "reported 51 of 120 frames" in stopped.failure.message
    assert cut_line.failure is None
    assert cut_line.warnings == ("After Effects reported 119 of 120 frames; the film has all of them",)


def test_the_line_that_is_told_is_the_error_and_not_the_stack_behind_it() -> None:
    stack = ("    at Object.<anonymous> (/opt/nexrender/bin.js:12:9)", "    at node:internal/main/run_main:28:49 {")
    fields = ("  errno: -2,", "  code: 'ENOENT',", "  requireStack: [", "    '/opt/nexrender/bin.js'", "  ]", "}", "")
    behind = (*stack, *fields, "Node.js v22.11.0")
    stalled = judge(Exit(ended_by=Ended.STALL), told(*HALF, "the driver has gone away", *behind), NOTHING)
    never = judge(FAILED, told("Something nobody knows", *behind), NOTHING)
    once = judge(FAILED, told(*LAUNCH, "Error: it broke", *behind), NOTHING)

    assert stalled.failure is not None and "Its last line: the driver has gone away" in stalled.failure.message
    assert never.failure is not None and never.failure.message.endswith(": Something nobody knows")
    assert once.failure is not None and once.failure.message.count("Error: it broke") == 1
    assert "at Object" not in once.failure.message and "Node.js" not in once.failure.message


def test_a_film_of_more_frames_than_announced_is_warned_of() -> None:
    verdict = judge(OK, told(*DONE), WHOLE, probed=replace(GOOD, frames=150, duration=6.0))

    assert verdict.failure is None
    assert verdict.warnings == ("spot.mov has 150 frames, more than the 120 that After Effects announced",)


def test_a_few_lost_lines_are_no_missing_frames_but_many_are() -> None:
    few = [line for line in DONE if not any(f" ({n}):" in line for n in (7, 30, 31))]
    many = [line for line in DONE if not any(f" ({n}):" in line for n in range(20, 80))]
    not_finished = [line for line in many if "Finished" not in line]

    assert judge(OK, told(*few), WHOLE).failure is None
    assert judge(OK, told(*many), WHOLE).failure is None
    assert code_of(judge(OK, told(*not_finished), WHOLE)) is Code.OUTPUT_TRUNCATED


def test_pictures_at_another_rate_are_judged_by_the_length() -> None:
    lines = tuple(line.replace("25.00 (comp)", "30.00 (comp)") for line in DONE if " (1" not in line)
    slower = replace(GOOD, frames=100, fps=24.0, duration=4.17)

    assert judge(OK, told(*lines), WHOLE, probed=replace(slower, duration=5.0)).failure is None
    assert code_of(judge(OK, told(*lines), WHOLE, probed=replace(slower, duration=3.0))) is Code.OUTPUT_TRUNCATED
    assert code_of(judge(OK, told(*lines), WHOLE, probed=replace(slower, duration=None))) is Code.OUTPUT_TRUNCATED


def test_at_an_odd_rate_one_frame_more_or_less_is_not_certain() -> None:
    lines = tuple(line.replace("25.00 (comp)", "12.50 (comp)") for line in DONE)
    transcript = told(*lines)
    assert transcript.frames is None  # reckoned in thirteens, and overtaken by the frames that came

    lines = tuple(line for line in lines if not any(f" ({n}):" in line for n in range(72, 121)))
    transcript = told(*lines)

    assert transcript.frames == 72
    assert judge(OK, transcript, WHOLE, probed=replace(GOOD, frames=71, fps=12.5)).failure is None
    assert code_of(judge(OK, transcript, WHOLE, probed=replace(GOOD, frames=70, fps=12.5))) is Code.OUTPUT_TRUNCATED


# --- what the job expects ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "found", "probed", "words"),
    [
        (Expect(frames=121), WHOLE, GOOD, "has 120 of 121 frames"),
        (Expect(first=0, last=120), frames(120), None, "has 120 of 121 frames"),
        (Expect(first=0, last=999, step=5), frames(120), None, "has 120 of 200 frames"),
        (Expect(min_bytes=9_000_000), WHOLE, GOOD, "expect.min_bytes wants 9,000,000"),
        (Expect(duration=10.0), WHOLE, GOOD, "lasts 4.80 s; expect.duration wants 10.00 s"),
        (Expect(duration=10.0), frames(120), None, "lasts 4.80 s; expect.duration wants 10.00 s"),
    ],
)
def test_a_film_that_is_less_than_expected_is_not_whole(
    expect: Expect, found: Outputs, probed: Probed | None, words: str
) -> None:
    verdict = judge(OK, told(*DONE), found, expect=expect, probed=probed)

    assert verdict.failure is not None
    assert (verdict.failure.code, verdict.film_is_whole) == (Code.OUTPUT_TRUNCATED, False)
    assert words in verdict.failure.message


@pytest.mark.parametrize(
    ("expect", "found", "probed", "words"),
    [
        (Expect(frames=100), WHOLE, GOOD, "spot.mov has 120 frames; expect.frames wants 100"),
        (Expect(frames=119), frames(120), None, "has 120 frames; expect.frames wants 119"),
        (Expect(frames=100), WHOLE, None, "has 120 frames; expect.frames wants 100"),  # as After Effects told
        (Expect(duration=4.0), WHOLE, GOOD, "lasts 4.80 s; expect.duration wants 4.00 s"),
        (Expect(duration=4.0), frames(120), None, "lasts 4.80 s; expect.duration wants 4.00 s"),
    ],
)
def test_a_film_that_is_more_than_expected_is_not_the_one_that_is_wanted(
    expect: Expect, found: Outputs, probed: Probed | None, words: str
) -> None:
    verdict = judge(OK, told(*DONE), found, expect=expect, probed=probed)

    assert code_of(verdict) is Code.OUTPUT_UNEXPECTED
    assert verdict.failure is not None and words in verdict.failure.message
    assert verdict.failure.kind == "job"  # another try would make the same film


def test_a_film_is_as_expected_where_only_its_container_counts_otherwise() -> None:
    at_50 = replace(GOOD, frames=240, fps=50.0)

    more = judge(OK, told(*DONE), WHOLE, expect=Expect(frames=120), probed=replace(GOOD, frames=121))
    assert judge(OK, told(*DONE), WHOLE, expect=Expect(duration=4.83), probed=GOOD).warnings == ()
    assert judge(OK, told(*DONE), WHOLE, expect=Expect(first=9, last=3), probed=GOOD).failure is None
    assert judge(OK, told(*DONE), WHOLE, expect=Expect(frames=120), probed=at_50).failure is None
    silent = told(*(line for line in DONE if "):" not in line))
    assert judge(OK, silent, WHOLE, expect=Expect(frames=120), probed=at_50).failure is None
    assert code_of(judge(OK, silent, WHOLE, expect=Expect(frames=60), probed=at_50)) is Code.OUTPUT_UNEXPECTED
    unknown = judge(OK, told(*DONE), WHOLE, expect=Expect(duration=4.8))

    assert more.failure is None
    assert more.warnings == ("spot.mov has 121 frames, more than the 120 expected",)
    assert unknown.warnings == ("expect.duration could not be checked: the film's length is not known",)


def test_frames_that_are_not_whole_are_named() -> None:
    found = frames(120)
    assert found.main is not None
    cut = replace(found, main=replace(found.main, damaged=(7, 30), damaged_count=2, damage="it has no end (IEND)"))
    late = replace(found, main=replace(found.main, unseen=20))

    verdict = judge(OK, told(*DONE), cut)

    assert verdict.failure is not None and verdict.failure.code is Code.OUTPUT_TRUNCATED
    assert "2 frames are not whole: 7, 30. Of 7: it has no end (IEND)." in verdict.failure.message
    assert judge(OK, told(*DONE), late).warnings == (
        "spot_[00000-00119].png: there was no time to look at 20 of its 120 frames",
    )


def test_a_film_that_could_not_be_looked_into_is_worth_a_warning() -> None:
    verdict = judge(OK, told(*DONE), WHOLE, probed=Probed(detail="the look into it took longer than 60 s"))

    assert verdict.failure is None
    assert verdict.warnings == ("spot.mov could not be looked into: the look into it took longer than 60 s",)


def test_min_bytes_of_zero_still_wants_one_byte() -> None:
    empty = Outputs(main=replace(FILM, bytes=0))

    assert code_of(judge(OK, told(*DONE), empty, verify=Verify(min_bytes=0))) is Code.OUTPUT_TRUNCATED


# --- missing footage and fonts ----------------------------------------------------------------------------------------

FOOTAGE = "WARNING:After Effects warning: logged one error  error: Unable to Render: File Not Found D:\\a\\Bild 1.jpg"
FONTS = "WARNING:After Effects warning: Project has missing fonts."


@pytest.mark.parametrize("rule", list(Rule))
def test_missing_footage_and_fonts_are_as_configured(rule: Rule) -> None:
    verify = Verify(missing_footage=rule, missing_fonts=rule)

    footage = judge(OK, told(*DONE, FOOTAGE), WHOLE, verify=verify)
    fonts = judge(OK, told(*DONE, FONTS), WHOLE, verify=verify)

    assert code_of(footage) == (Code.FOOTAGE_MISSING if rule is Rule.FAIL else None)
    assert code_of(fonts) == (Code.FONTS_MISSING if rule is Rule.FAIL else None)
    assert (footage.warnings, fonts.warnings) == (
        (
            ("footage is missing: D:\\a\\Bild 1.jpg",),
            ("fonts are missing on the render machine; After Effects took others",),
        )
        if rule is Rule.WARN
        else ((), ())
    )
    assert footage.film_is_whole


@pytest.mark.parametrize(
    ("end", "lines", "found"),
    [
        (FAILED, (*HALF, FOOTAGE), NOTHING),
        (Exit(ended_by=Ended.STALL), (*HALF, FOOTAGE), NOTHING),
        (OK, (*DONE, FOOTAGE), NOTHING),
        (OK, (*EARLY_DONE, FOOTAGE), WHOLE),
    ],
)
def test_missing_footage_is_the_reason_of_what_it_leads_to(end: Exit, lines: tuple[str, ...], found: Outputs) -> None:
    assert code_of(judge(end, told(*lines), found)) is Code.FOOTAGE_MISSING
    assert (
        code_of(judge(end, told(*lines), found, verify=Verify(missing_footage=Rule.WARN))) is not Code.FOOTAGE_MISSING
    )


# --- every error line -------------------------------------------------------------------------------------------------

AFTER_EFFECTS = [
    ("aerender ERROR: No comp was found with the given name.", Code.COMPOSITION_NOT_FOUND),
    ("Error: nexrender: Couldn't find any compositions by provided name (Intro)", Code.COMPOSITION_NOT_FOUND),
    ("aerender ERROR: No output module template was found with the given name.", Code.OUTPUT_MODULE_NOT_FOUND),
    ("aerender ERROR: No render settings template was found with the given name.", Code.OUTPUT_MODULE_NOT_FOUND),
    (
        "Error: nexrender: Couldn't find any layers by provided name (P_img) inside a composition: *",
        Code.LAYER_NOT_FOUND,
    ),
    ("Error: nexrender: Couldn't find any layers by provided index (9) inside a composition: *", Code.LAYER_NOT_FOUND),
    (
        "Error: nexrender: Can't find a property sequence Sauce.Text for key: Textwithin layer: headline",
        Code.SCRIPT_ERROR,
    ),
    (
        "Error: nexrender: Trying to create a file replacement for an unknown file: D:\\a.png",
        Code.ASSET_MISSING,
    ),
    ("aerender ERROR: Error executing script: /w/u1/nexrender-u1-script.jsx", Code.SCRIPT_ERROR),
    ("aerender ERROR: Can not open script file. Make sure path is correct: /w/x.jsx", Code.SCRIPT_ERROR),
    ("aerender Error: After Effects error: file is damaged.", Code.PROJECT_DAMAGED),
    ("aerender Fehler: After Effects-Fehler: Datei ist beschädigt.", Code.PROJECT_DAMAGED),
    (
        "aerender Error: After Effects error: This project was created with a newer version of After Effects.",
        Code.PROJECT_DAMAGED,
    ),
    ("aerender ERROR: After Effects can not start: your license has expired.", Code.LICENSE),
    ("aerender Error: After Effects error: trial has expired", Code.LICENSE),
    ("aerender ERROR: After Effects error: Unable to obtain a license.", Code.LICENSE),
    ("aerender ERROR: No valid license was found.", Code.LICENSE),
    ("aerender ERROR: Could not check out an After Effects license from the server.", Code.LICENSE),
    ("aerender ERROR: invalid license", Code.LICENSE),
    (
        "Error: nexrender: Couldn't find any layers by provided name (no license) inside a composition: *",
        Code.LAYER_NOT_FOUND,
    ),
    (
        "aerender Error: After Effects error: Rendering error while writing to file D:\\out\\spot.mov."
        " There is not enough space on the disk.",
        Code.DISK_FULL,
    ),
    ("aerender Error: After Effects error: The disk is full.", Code.DISK_FULL),
    ("aerender SYNTAX ERROR: Illegal argument flag: -r", Code.AERENDER_NOT_PATCHED),
    ("aerender SYNTAX ERROR: Bad value for -mfr.", Code.JOB_INVALID),
    ("aerender ERROR -1712: AESend failed to send apple event at line 909", Code.RENDER_CRASHED),
    ("aerender ERROR -1701: AEGetParamPt failed at line 780", Code.RENDER_CRASHED),
    ("aerender ERROR An existing connection was forcibly closed by the remote host", Code.RENDER_CRASHED),
    ("aerender ERROR: After Effects can not render for aerender. Another instance of aerender", Code.RENDER_FAILED),
    (
        "aerender Error: After Effects error: Error in output for render queue item 1, output module 1."
        " Can not create a file in directory /x. Try checking write permissions.",
        Code.RENDER_FAILED,
    ),
    ("aerender ERROR: Can not open socket.", Code.RENDER_FAILED),
    ("aerender ERROR: Runtime error in After Effects.", Code.RENDER_FAILED),
    ("Error: After Effects error: The source compression type is not supported.", Code.RENDER_FAILED),
    ("Error: After Effects error: File Not Found D:\\a.mov", Code.FOOTAGE_MISSING),
]


@pytest.mark.parametrize(("line", "code"), AFTER_EFFECTS)
def test_each_error_line_of_after_effects_has_its_code(line: str, code: Code) -> None:
    verdict = judge(FAILED, told(*HALF, line, f"Error: {line}"), NOTHING)

    assert verdict.failure is not None
    assert verdict.failure.code is code
    assert line[:200] in verdict.failure.message


@pytest.mark.parametrize(
    ("line", "code"), [(line, code) for line, code in AFTER_EFFECTS if code not in (Code.DISK_FULL,)]
)
@pytest.mark.parametrize("ended_by", [None, *Ended])
def test_an_error_line_counts_however_it_ended(line: str, code: Code, ended_by: Ended | None) -> None:
    verdict = judge(Exit(code=0, ended_by=ended_by), told(*DONE, line), WHOLE, probed=GOOD)

    assert code_of(verdict) is code
    assert verdict.film_is_whole


NEXRENDER = [
    (SCRIPT, "Error: Error starting aerender process: Error: spawn /ae/aerender EACCES", Code.AERENDER_NOT_FOUND),
    (LAUNCH, "Error: Error starting aerender process: Error: spawn /ae/aerender ENOENT", Code.AERENDER_NOT_FOUND),
    ((), 'Error: you should provide a proper path to After Effects\' "aerender" binary', Code.AERENDER_NOT_FOUND),
    (
        (),
        "Error: ENOENT: no such file or directory, open '/usr/bin/Scripts/Startup/commandLineRenderer.jsx'",
        Code.AERENDER_NOT_FOUND,
    ),
    (
        (),
        "Error: EACCES: permission denied, open '/ae/Scripts/Startup/commandLineRenderer.jsx'",
        Code.AERENDER_NOT_PATCHED,
    ),
    ((), "Error: EACCES: permission denied, mkdir '/ae/Backup.Scripts'", Code.AERENDER_NOT_PATCHED),
    ((), "you need to run application with admin priviledges once", Code.AERENDER_NOT_PATCHED),
    ((), "couldn't parse json job format, make sure your json is enclosed by 'quotes'", Code.JOB_INVALID),
    (
        BEGIN[:2],
        "Error: Error veryifing job: AssertionError [ERR_ASSERTION]: job must have template.src defined",
        Code.JOB_INVALID,
    ),
    ((), "TypeError: Cannot read properties of null (reading 'length')", Code.NEXRENDER_BROKEN),
    ((), "Error: Cannot find module '@nexrender/core'", Code.NEXRENDER_BROKEN),
    ((), "Error: Unknown or unexpected option: --x", Code.NEXRENDER_BROKEN),
    ((), "Error: EACCES: permission denied, mkdir '/home/render/.nexrender'", Code.NEXRENDER_BROKEN),
    ((), "no error line at all", Code.NEXRENDER_BROKEN),
    (DOWNLOAD, "[Error: ENOENT: no such file or directory, open '/srv/spot.aep'] {", Code.TEMPLATE_MISSING),
    (DOWNLOAD, "[Error: ENOENT: no such file or directory, open '/srv/SPOT'] {", Code.ASSET_MISSING),
    (DOWNLOAD, "[Error: ENOENT: no such file or directory, open '/srv/logo.png'] {", Code.ASSET_MISSING),
    (DOWNLOAD, "[Error: EACCES: permission denied, open '/srv/logo.png'] {", Code.ASSET_MISSING),
    (DOWNLOAD, "Error: Unable to download file http://x/logo.png", Code.DOWNLOAD_FAILED),
    (DOWNLOAD, "FetchError: request to http://x/ failed, reason: connect ECONNREFUSED 1.2.3.4", Code.DOWNLOAD_FAILED),
    (DOWNLOAD, "Error: Download timed out for asset http://x/logo.png", Code.DOWNLOAD_FAILED),
    (DOWNLOAD, "Error: something else", Code.DOWNLOAD_FAILED),
    (DOWNLOAD, "TypeError: Invalid URL", Code.JOB_INVALID),
    (DOWNLOAD, "URIError: URI malformed", Code.JOB_INVALID),
    (DOWNLOAD, "Error: Couldn't find module @nexrender/provider-c, Unknown protocol provided.", Code.JOB_INVALID),
    (DOWNLOAD, "Error: ENOSPC: no space left on device, write", Code.DISK_FULL),
    (BEGIN, "Error: Error loading predownload module /x/a.js: Error: my action broke", Code.ACTION_FAILED),
    (BEGIN, "Error: my action broke", Code.ACTION_FAILED),
    (BEGIN, "NestedError: Could not require module 'no-such-module'", Code.ACTION_MISSING),
    (BEGIN, "TypeError: requireg(...)(...).catch is not a function", Code.ACTION_FAILED),
    (SCRIPT, "TypeError: x is not a function", Code.RENDER_FAILED),
    (SCRIPT, "no error line at all", Code.RENDER_FAILED),
    (LAUNCH, "Error: No update from aerender for 60 seconds", Code.RENDER_STALLED),
    (HALF, "Error: No update from aerender for 60 seconds", Code.RENDER_STALLED),
    (HALF, "Error: Maximum rendering time exceeded", Code.RENDER_TIMEOUT),
    (HALF, "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", Code.RENDER_FAILED),
    (HALF, "Error: aerender version 24.6x2", Code.RENDER_CRASHED),
    (
        HALF,
        "Error: aerender.exe failed to render the output into the file due to an unknown reason",
        Code.RENDER_CRASHED,
    ),
    (HEADER, "", Code.RENDER_CRASHED),
    (LAUNCH, "", Code.RENDER_FAILED),
    (RENDERED, "Error: Couldn't find a result file: /out/spot.mov", Code.OUTPUT_MISSING),
    (RENDERED, "Error: ENOSPC: no space left on device, write", Code.DISK_FULL),
    (ACTIONS, "Error: Error loading postrender module x: Error: broke", Code.OUTPUT_MISSING),
]


@pytest.mark.parametrize(("lines", "line", "code"), NEXRENDER)
def test_each_way_nexrender_fails_has_its_code(lines: tuple[str, ...], line: str, code: Code) -> None:
    verdict = judge(FAILED, told(*lines, line), NOTHING)

    assert code_of(verdict) is code
    assert not verdict.film_is_whole


def test_every_code_of_a_render_is_reached_by_some_row() -> None:
    reached = {code for _, code in AFTER_EFFECTS} | {code for _, _, code in NEXRENDER}

    assert reached >= {
        Code.COMPOSITION_NOT_FOUND,
        Code.OUTPUT_MODULE_NOT_FOUND,
        Code.LAYER_NOT_FOUND,
        Code.SCRIPT_ERROR,
        Code.PROJECT_DAMAGED,
        Code.LICENSE,
        Code.DISK_FULL,
        Code.AERENDER_NOT_FOUND,
        Code.AERENDER_NOT_PATCHED,
        Code.NEXRENDER_BROKEN,
        Code.DOWNLOAD_FAILED,
        Code.ACTION_MISSING,
        Code.ACTION_FAILED,
        Code.TEMPLATE_MISSING,
        Code.ASSET_MISSING,
        Code.JOB_INVALID,
        Code.RENDER_CRASHED,
        Code.RENDER_FAILED,
        Code.RENDER_STALLED,
        Code.RENDER_TIMEOUT,
        Code.OUTPUT_MISSING,
    }


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_missing_composition_is_named_with_the_one_that_was_meant() -> None:
    line = "aerender ERROR: No comp was found with the given name."
    project = ("Main", "Intro", *(f"part {n}" for n in range(10)))

    close = judge(FAILED, told(*LAUNCH, line), NOTHING, expect=Expect(composition="mian"), known_compositions=project)
    far = judge(FAILED, told(*LAUNCH, line), NOTHING, expect=Expect(composition="zzz"), known_compositions=("Main",))
    unknown = judge(FAILED, told(*LAUNCH, line), NOTHING)

    assert close.failure is not None and far.failure is not None and unknown.failure is not None
    assert "“mian”" in close.failure.message
    assert close.failure.cure.startswith("Write “Main” if that was meant; the project has: Main, Intro, part 0,")
    assert close.failure.cure.endswith("and 2 more.")
    assert far.failure.cure == "Write one of the compositions that the project has: Main."
    assert unknown.failure.message.startswith("The project has no composition of that name.")


def test_messages_name_what_and_where() -> None:
    def message(end: Exit, *lines: str) -> str:
        failure = judge(end, told(*lines), NOTHING).failure
        assert failure is not None
        return failure.message

    script = "aerender ERROR: Error executing script: /w/x.jsx", "ReferenceError: foo is undefined"
    layer = "Error: nexrender: Couldn't find any layers by provided name (P_img) inside a composition: *"
    full = "Error: ENOSPC: no space left on device, open '/out/spot.mov'"
    on_windows = (
        "aerender Error: After Effects error: Rendering error while writing to file D:\\out\\spot 1.mov."
        " There is not enough space on the disk."
    )

    assert "failed in After Effects: ReferenceError: foo is undefined." in message(FAILED, *LAUNCH, *script)
    assert "name “P_img”" in message(FAILED, *LAUNCH, *script, layer)
    assert "(writing /out/spot.mov)" in message(FAILED, *HALF, full)
    assert "(writing D:\\out\\spot 1.mov)" in message(FAILED, *HALF, on_windows)
    assert "at frame 51 of 120 without saying why (exit status 1)" in message(FAILED, *HALF)
    assert "(signal 9)" in message(Exit(signal=9), *HALF)
    assert "(exit status 0xc0000005)" in message(Exit(code=0xC0000005), *HALF)
    assert "(no exit status): it said nothing" in message(Exit())
    assert "before its first line of the render" in message(FAILED, *LAUNCH)
    assert message(FAILED, *DOWNLOAD, "[Error: EACCES: permission denied, open '/srv/logo.png'] {") == (
        "The footage /srv/logo.png cannot be read (EACCES)."
    )


def test_a_killed_nexrender_is_a_crash_of_the_render() -> None:
    assert code_of(judge(Exit(signal=9), told(*HALF), NOTHING)) is Code.RENDER_CRASHED
    assert code_of(judge(Exit(signal=9), told(*LAUNCH), NOTHING)) is Code.RENDER_CRASHED
    assert code_of(judge(Exit(signal=9), told(*DOWNLOAD), NOTHING)) is Code.DOWNLOAD_FAILED


def test_the_project_is_known_by_its_name_too() -> None:
    line = "[Error: ENOENT: no such file or directory, open 'C:\\work\\T'] {"

    assert code_of(judge(FAILED, told(*BEGIN, line), NOTHING)) is Code.ASSET_MISSING
    assert (
        code_of(judge(FAILED, told(*BEGIN, line), NOTHING, expect=Expect(template="/srv/t"))) is Code.TEMPLATE_MISSING
    )


# --- ended by us ------------------------------------------------------------------------------------------------------


def test_a_start_without_a_word_is_a_startup_timeout_or_the_licence() -> None:
    end = Exit(signal=9, ended_by=Ended.STARTUP)

    silent = judge(end, told(*LAUNCH), NOTHING)
    earlier = judge(end, told(*DOWNLOAD), NOTHING)
    licence = judge(end, told(*LAUNCH, "Your trial has expired. Sign in to continue."), NOTHING)
    script = judge(end, told(*LAUNCH, "aerender ERROR: Error executing script: /w/x.jsx"), NOTHING)

    assert silent.failure is not None and earlier.failure is not None
    assert silent.failure.code is earlier.failure.code is Code.STARTUP_TIMEOUT
    assert "PROGRESS: Launching After Effects..." in silent.failure.message
    assert "it was at download" in earlier.failure.message
    assert code_of(licence) is Code.LICENSE
    assert code_of(script) is Code.SCRIPT_ERROR


@pytest.mark.parametrize(
    "line",
    [
        "Your trial has expired.",
        "WARNING: After Effects is not licensed on this machine",
        "Adobe licensing error 150:30: licensing for this product has stopped working",
        "Failed to acquire license",
        "This product requires a valid license.",
        "You need to sign in to continue",
    ],
)
@pytest.mark.parametrize("lines", [LAUNCH, (*LAUNCH, "PROGRESS: ...After Effects successfully launched")])
def test_a_word_about_the_licence_counts_where_nothing_was_rendered(line: str, lines: tuple[str, ...]) -> None:
    ended_badly = judge(FAILED, told(*lines, line, "Error: aerender.exe failed to render"), NOTHING)
    ended_well = judge(FAILED, told(*lines, line, "[u1] rendering took ~1.2 sec.", "Error: no output"), NOTHING)
    said_and_rendered = judge(OK, told(*lines, line, *DONE[len(LAUNCH) :]), WHOLE, probed=GOOD)
    crashed_later = judge(FAILED, told(*lines, line, *HALF[len(LAUNCH) :]), NOTHING)

    assert (code_of(ended_badly), code_of(ended_well)) == (Code.LICENSE, Code.LICENSE)
    assert said_and_rendered.failure is None
    assert code_of(crashed_later) is Code.RENDER_CRASHED


@pytest.mark.parametrize(
    ("ended_by", "code"), [(Ended.STALL, Code.RENDER_STALLED), (Ended.RENDER, Code.RENDER_TIMEOUT)]
)
def test_a_limit_in_mid_render_has_its_code_and_place(ended_by: Ended, code: Code) -> None:
    end = Exit(signal=15, ended_by=ended_by)

    verdict = judge(end, told(*HALF), WHOLE)

    assert verdict.failure is not None
    assert verdict.failure.code is code
    assert "at frame 51 of 120" in verdict.failure.message
    assert code_of(judge(end, told(*HALF), NOTHING)) is code


@pytest.mark.parametrize(
    ("ended_by", "lines"),
    [
        (Ended.FINISH_GRACE, ELAPSED),
        (Ended.STALL, FINISHED),
        (Ended.STALL, ELAPSED),
        (Ended.STALL, ACTIONS),
        (Ended.RENDER, ELAPSED),
    ],
)
def test_a_render_that_was_over_and_did_not_end_is_judged_by_its_film(ended_by: Ended, lines: tuple[str, ...]) -> None:
    end = Exit(signal=9, ended_by=ended_by)

    good = judge(end, told(*lines), WHOLE, probed=GOOD)
    half = judge(end, told(*lines), WHOLE, probed=replace(GOOD, frames=60, duration=2.4))
    none = judge(end, told(*lines), NOTHING)
    with_actions = judge(end, told(*lines), WHOLE, probed=GOOD, expect=Expect(postrender=("@nexrender/action-encode",)))

    assert good.failure is None
    who = "nexrender" if lines is ACTIONS else "After Effects"
    assert good.warnings == (f"{who} had finished and did not end by itself; it was ended",)
    assert code_of(half) is Code.OUTPUT_TRUNCATED
    assert code_of(none) is Code.OUTPUT_MISSING
    assert (code_of(with_actions), with_actions.film_is_whole) == (Code.ACTION_FAILED, True)


def test_a_render_ended_on_request_is_no_success_unless_it_had_ended_well() -> None:
    for ended_by in (Ended.STOP, Ended.CANCEL):
        stopped = judge(Exit(signal=15, ended_by=ended_by), told(*DONE[:-1]), WHOLE, probed=GOOD)
        too_late = judge(Exit(code=0, ended_by=ended_by), told(*DONE), WHOLE, probed=GOOD)
        cut_short = judge(Exit(code=0, ended_by=ended_by), told(*DONE[:-1]), WHOLE, probed=GOOD)

        assert code_of(stopped) is code_of(cut_short) is Code.RENDER_FAILED
        assert too_late.failure is None


# --- salvage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("NestedError: Could not require module 'no-such'", Code.ACTION_MISSING, "action module no-such is not"),
        ("Error: Error loading postrender module /x/a.js: Error: broke", Code.ACTION_FAILED, "action /x/a.js failed"),
        ("Error: broke", Code.ACTION_FAILED, "action mod-a, mod-b failed: Error: broke"),
        ("TypeError: requireg(...)(...).catch is not a function", Code.ACTION_FAILED, "requireg"),
        ("[Error: ENOENT: no such file or directory, open 'result_[#####].png'] {", Code.ACTION_FAILED, "ENOENT"),
    ],
)
def test_an_action_that_fails_after_a_good_render_leaves_a_whole_film(line: str, code: Code, words: str) -> None:
    expect = Expect(postrender=("mod-a", "mod-b"))

    verdict = judge(FAILED, told(*ACTIONS, "[u1] cleaning up...", line), WHOLE, probed=GOOD, expect=expect)

    assert verdict.failure is not None
    assert (verdict.failure.code, verdict.film_is_whole) == (code, True)
    assert words in verdict.failure.message
    assert verdict.failure.message.endswith("The film itself is whole: spot.mov.")


def test_an_action_without_a_name_is_still_told() -> None:
    failure = judge(FAILED, told(*ACTIONS, "Error: broke"), WHOLE, probed=GOOD).failure

    assert failure is not None
    assert failure.message == "The action after the render failed: Error: broke. The film itself is whole: spot.mov."


def test_a_full_disk_during_an_action_makes_the_queue_wait() -> None:
    line = "Error: ENOSPC: no space left on device, write"

    assert code_of(judge(FAILED, told(*ACTIONS, line), WHOLE, probed=GOOD)) is Code.DISK_FULL


def test_a_work_folder_that_cannot_be_removed_costs_nothing() -> None:
    line = "[Error: EBUSY: resource busy or locked, rmdir 'C:\\w\\u1'] {"

    verdict = judge(FAILED, told(*ACTIONS, line), WHOLE, probed=GOOD, expect=Expect(postrender=("mod-a",)))

    assert verdict.failure is None
    assert verdict.warnings == (f"nexrender ended with an error (exit status 1) after the film was finished: {line}",)


def test_a_film_under_another_extension_is_a_film() -> None:
    line = "Error: Couldn't find a result file: /out/spot.mov"
    wmv = Outputs(main=replace(FILM, path=Path("/out/spot.wmv")))

    assert judge(FAILED, told(*RENDERED, line), wmv).failure is None
    assert code_of(judge(FAILED, told(*RENDERED, line), wmv, expect=Expect(postrender=("a",)))) is Code.ACTION_FAILED


def test_after_effects_that_crashes_when_it_quits_has_lost_nothing() -> None:
    lines = (*ELAPSED, "Error: aerender version 24.6x2")

    good = judge(FAILED, told(*lines), WHOLE, probed=GOOD)
    not_proven = judge(FAILED, told(*HEADER, *FINISHED[-1:]), WHOLE)
    broken = judge(FAILED, told(*lines), WHOLE, probed=Probed(last_frame_decodes=False))
    with_actions = judge(FAILED, told(*lines), WHOLE, probed=GOOD, expect=Expect(postrender=("a",)))

    assert good.failure is None
    assert good.warnings == ("After Effects ended with an error (exit status 1) after the film was finished",)
    assert code_of(not_proven) is Code.RENDER_CRASHED
    assert code_of(broken) is Code.RENDER_CRASHED
    assert code_of(with_actions) is Code.ACTION_FAILED


def test_actions_that_never_came_to_their_end_are_told_at_exit_0_too() -> None:
    expect = Expect(postrender=("a",))

    assert code_of(judge(OK, told(*ACTIONS), WHOLE, probed=GOOD, expect=expect)) is Code.ACTION_FAILED
    assert judge(OK, told(*DONE), WHOLE, probed=GOOD, expect=expect).failure is None
    assert judge(OK, told(), WHOLE, probed=GOOD, expect=expect).failure is None  # an engine that tells no lines


def test_only_a_few_of_many_warnings_are_repeated() -> None:
    lines = (f"WARNING:After Effects warning: number {n}" for n in range(100))

    verdict = judge(OK, told(*DONE, *lines), WHOLE, probed=GOOD)

    assert len(verdict.warnings) == 10


# --- whatever comes ---------------------------------------------------------------------------------------------------

ANY_LINE = st.one_of(
    st.sampled_from([line for line, _ in AFTER_EFFECTS] + [line for _, line, _ in NEXRENDER] + list(DONE)),
    st.text(max_size=80),
)
ANY_END = st.builds(
    Exit,
    code=st.one_of(st.none(), st.integers(-1, 300)),
    signal=st.one_of(st.none(), st.integers(1, 15)),
    ended_by=st.one_of(st.none(), st.sampled_from(Ended)),
)
ANY_PROBED = st.one_of(
    st.none(),
    st.builds(
        Probed,
        duration=st.one_of(st.none(), st.floats(0.01, 100)),
        fps=st.one_of(st.none(), st.floats(1, 120)),
        frames=st.one_of(st.none(), st.integers(1, 200)),
        last_frame_decodes=st.one_of(st.none(), st.booleans()),
    ),
)
ANY_EXPECT = st.builds(
    Expect,
    frames=st.one_of(st.none(), st.integers(1, 200)),
    duration=st.one_of(st.none(), st.floats(0.1, 100)),
    step=st.integers(1, 5),
    postrender=st.sampled_from([(), ("a",)]),
)


@settings(max_examples=300, deadline=None)
@given(
    end=ANY_END,
    lines=st.lists(ANY_LINE, max_size=15),
    found=st.sampled_from([NOTHING, WHOLE, frames(120), frames(9, missing=(3,))]),
    probed=ANY_PROBED,
    expect=ANY_EXPECT,
)
def test_whatever_comes_there_is_a_verdict_and_success_has_a_film(
    end: Exit, lines: list[str], found: Outputs, probed: Probed | None, expect: Expect
) -> None:
    transcript = told(*lines)

    verdict = judge(end, transcript, found, expect=expect, probed=probed, known_compositions=("main",))

    if verdict.failure is None:
        assert found.main is not None
        assert verdict.film_is_whole
        assert not transcript.errors
        assert probed is None or probed.last_frame_decodes is not False
        assert (
            end.code == 0
            or transcript.finished_seen
            or transcript.rendered_seen
            or transcript.elapsed_seen
            or (end.ended_by is Ended.FINISH_GRACE)
        )
    else:
        assert verdict.failure.message
        assert verdict.failure.cure
        assert len(verdict.failure.message) < 3000
