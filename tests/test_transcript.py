"""What the lines of a render tell, in every form After Effects and nexrender print them."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchrender.render.lines import Lines
from watchrender.render.simulator import write_project
from watchrender.render.transcript import Stage, Transcript

SAMPLES = [
    tuple(line.split("|", 1))
    for line in (Path(__file__).parent / "data" / "aerender-lines.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def fed(*lines: str, frames: int | None = None, step: int = 1, first_frame: int | None = None) -> Transcript:
    """A transcript that has heard these lines, one each second."""
    transcript = Transcript(frames=frames, step=step, first_frame=first_frame, uid="u1")
    for at, line in enumerate(lines):
        transcript.feed(line, float(at))
    return transcript


HEADER = (
    "PROGRESS:  Start: 0:00:00:00",
    "PROGRESS:  End: 0:00:04:19",
    "PROGRESS:  Duration: 0:00:04:20",
    "PROGRESS:  Frame Rate: 25,00 (comp)",
)


def frame_lines(count: int, first: int = 1) -> list[str]:
    return [f"PROGRESS:  0:00:{n // 25:02}:{n % 25:02} ({n + 1}): 0 Seconds" for n in range(first - 1, count)]


# --- every sample line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "line"), SAMPLES)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_each_form_of_line_is_read_as_what_it_is(kind: str, line: str, ending: str) -> None:
    lines = Lines()
    transcript = Transcript()

    for text in lines.feed((line + ending).encode()):
        transcript.feed(text, 0.0)

    what, _, number = kind.partition(" ")
    assert transcript.frame == (int(number) if number else None)
    assert bool(transcript.errors) == (what == "error")
    assert bool(transcript.missing_footage) == (what == "footage")
    assert transcript.missing_fonts == (what == "font")
    assert transcript.finished_seen == (what == "end")
    assert transcript.elapsed_seen == (what == "elapsed")
    assert bool(transcript.warnings) == line.startswith("WARNING:")
    assert transcript.render_started == ((line.startswith("PROGRESS:") and what != "launch") or what == "frame")
    if what == "error":
        assert transcript.errors == (line,)
        assert transcript.last_error_line == line


def test_there_are_enough_samples() -> None:
    assert len(SAMPLES) > 50
    assert {kind.split()[0] for kind, _ in SAMPLES} >= {"frame", "error", "footage", "font", "end", "elapsed", "launch"}


# --- a whole render ---------------------------------------------------------------------------------------------------

WHOLE = [
    "> starting nexrender-cli",
    "checking After Effects command line renderer patch...",
    "command line patch already is in place",
    "[u1] setting up job...",
    "[u1] applying predownload actions...",
    "[u1] downloading assets...",
    "[u1] > Downloading asset file:///srv/templates/spot.aep...",
    "[u1] > Downloading asset file:///srv/footage/logo.png...",
    "[u1] applying postdownload actions...",
    "[u1] running script assemble...",
    "[u1] rendering job...",
    '[u1] AE language not set, defaulting to "en"',
    "[u1] spawning aerender process: /ae/aerender -project /srv/spot.aep -comp main -output /out/spot.mov -r x.jsx",
    "aerender version 24.6x2",
    "",
    "PROGRESS: Launching After Effects...",
    "PROGRESS: ...After Effects successfully launched",
    "PROGRESS: Adding specified comp to Render Queue",
    "PROGRESS:  3/17/2024 9:05:12 AM: Starting composition main.",
    *HEADER,
    *frame_lines(120),
    "PROGRESS:  3/17/2024 9:05:40 AM: Finished composition main.",
    "",
    "PROGRESS:  Total Time Elapsed: 28 Seconds",
    "[u1] rendering took ~30.1 sec.",
    "[u1] applying postrender actions...",
    "[u1] cleaning up...",
    "> job rendering successfully finished",
]


def test_a_whole_render_tells_its_story() -> None:
    transcript = Transcript(uid="u1")
    stages = []

    for at, line in enumerate(WHOLE):
        transcript.feed(line, float(at))
        stages.append(transcript.stage)

    assert list(dict.fromkeys(stages)) == list(Stage)
    assert (transcript.frame, transcript.frames, transcript.seen_count) == (120, 120, 120)
    assert transcript.percent == 99.9
    assert transcript.fps == pytest.approx(1.0)
    assert transcript.aerender_started and transcript.render_started and transcript.rendered_seen
    assert transcript.finished_seen and transcript.elapsed_seen and transcript.nexrender_finished
    assert transcript.errors == transcript.nexrender_errors == transcript.warnings == ()
    assert transcript.template_source == "file:///srv/templates/spot.aep"
    assert transcript.where == "frame 120 of 120"
    assert transcript.last_lines(2) == ("[u1] cleaning up...", "> job rendering successfully finished")
    assert transcript.last_lines(0) == ()


def test_without_progress_lines_percent_is_not_known_and_that_is_normal() -> None:
    quiet = [line for line in WHOLE if not line.startswith("PROGRESS")]

    transcript = fed(*quiet)

    assert transcript.percent is transcript.frame is transcript.frames is transcript.fps is None
    assert transcript.nexrender_finished
    assert transcript.where == "before the first frame"
    assert fed(HEADER[0]).where == "with no frame reported"


def test_launching_is_not_rendering_and_a_banner_may_come_last() -> None:
    launched = fed(*WHOLE[:17])
    buffered = fed(*WHOLE[:13], *WHOLE[17:50], *WHOLE[13:17])

    assert (launched.stage, launched.aerender_started, launched.render_started) == (Stage.LAUNCHING, True, False)
    assert (buffered.stage, buffered.render_started) == (Stage.RENDERING, True)
    assert not fed("PROGRESS: Launch", "ing After Effects...").render_started


def test_each_of_nexrenders_steps_has_its_stage_and_phase() -> None:
    def after(line: str) -> tuple[str, str]:
        transcript = fed(f"[u1] {line}")
        return transcript.stage, transcript.phase

    assert after("applying predownload actions...") == ("setup", "predownload")
    assert after("> Downloading asset http://x/y.png...") == ("downloading", "download")
    assert after("applying postdownload actions...") == ("scripting", "postdownload")
    assert after("applying prerender actions...") == ("scripting", "prerender")
    assert after("running script assemble...") == ("scripting", "script")
    assert after("rendering job...") == ("launching", "render")
    assert after("rendering took ~4.057 sec.") == ("finishing", "rendered")
    assert after("applying postrender actions...") == ("finishing", "postrender")
    assert after("applying other actions...") == ("setup", "other")


# --- how many frames --------------------------------------------------------------------------------------------------


def test_the_number_of_frames_is_what_the_job_asks_for() -> None:
    assert fed(*HEADER, frames=50).frames == 50
    assert fed(frames=50).frames == 50
    assert fed(frames=0).frames is None


def test_the_number_of_frames_comes_from_duration_and_rate_in_either_order() -> None:
    assert fed(*HEADER).frames == 120
    assert fed(*reversed(HEADER)).frames == 120
    assert fed(*HEADER[:3]).frames is None
    assert fed(*HEADER, step=25).frames == 5


def test_the_number_of_frames_is_told_by_form_in_a_language_not_known() -> None:
    french = fed("PROGRESS:  Durée\u00a0: 0:00:04:20", "PROGRESS:  Fréquence d’images : 25,00 (comp.)")
    other = fed(
        "PROGRESS:  Breite: 1920",
        "PROGRESS:  Početak: 0:00:01:00",
        "PROGRESS:  Kraj: 0:00:05:19",
        "PROGRESS:  Trajanje: 0:00:04:20",
        "PROGRESS:  Brzina：25,00",
    )
    at_odds = fed("PROGRESS:  A: 0:00:01:00", "PROGRESS:  B: 0:00:05:19", "PROGRESS:  C: 0:00:04:21", HEADER[3])

    assert french.frames == 120
    assert other.frames == 120
    assert at_odds.frames is None


def test_the_number_of_frames_is_read_in_the_frames_and_feet_displays() -> None:
    frames = fed("PROGRESS:  Start: 00000", "PROGRESS:  End: 00119", "PROGRESS:  Duration: 00120")
    feet = fed("PROGRESS:  Start: 0000+00", "PROGRESS:  End: 0007+07", "PROGRESS:  Duration: 0007+08")
    narrow = fed("PROGRESS:  Start: 0000+00", "PROGRESS:  End: 0002+39", "PROGRESS:  Duration: 0003+00")

    assert (frames.frames, feet.frames, narrow.frames) == (120, 120, 120)


def test_a_number_of_frames_that_the_render_overtakes_was_none() -> None:
    transcript = fed("PROGRESS:  Duration: 00003", *frame_lines(4))

    assert transcript.frames is None
    assert transcript.percent == 99.9
    assert transcript.where == "frame 4"


def test_a_number_reckoned_at_an_odd_rate_is_not_exact() -> None:
    assert fed(*HEADER).frames_are_exact
    assert fed("PROGRESS:  Frame Rate: 12,50 (comp)").frames_are_exact is False
    assert fed("PROGRESS:  Frame Rate: 12,50 (comp)", frames=9).frames_are_exact
    assert fed("PROGRESS:  Frame Rate: 29.97 (comp)").frames_are_exact
    assert fed("PROGRESS:  Frame Rate: 0.00 (comp)").rate is None


# --- frames and percent -----------------------------------------------------------------------------------------------


def test_frames_out_of_order_and_repeated_are_counted_once() -> None:
    lines = frame_lines(10)
    transcript = fed(*lines[5:], *lines[:5], *lines, frames=20)

    assert (transcript.frame, transcript.seen_count, transcript.percent) == (10, 10, 50.0)


def test_both_fields_of_a_frame_are_one_frame() -> None:
    transcript = fed("PROGRESS:  0:00:00:00 (1U): 0 Seconds", "PROGRESS:  0:00:00:00 (1L): 0 Seconds", frames=4)

    assert (transcript.frame, transcript.seen_count, transcript.percent) == (1, 1, 25.0)


def test_a_line_cut_in_two_at_any_place_is_put_together_again() -> None:
    line = "PROGRESS:  0:00:00:20 (21): 0 Seconds"

    for cut in range(1, len(line)):
        transcript = fed(line[:cut], "[u1] rendering progress 16%...", line[cut:])
        assert (transcript.frame, transcript.seen_count) == (21, 1), (line[:cut], line[cut:])


@pytest.mark.parametrize(
    "line",
    ["aerender ERROR: No comp was found.", *HEADER[2:], "WARNING:After Effects warning: Project has missing fonts."],
)
def test_other_lines_cut_in_two_are_put_together_too(line: str) -> None:
    for cut in range(1, 9):
        transcript = fed(line[:cut], line[cut:])
        assert transcript.errors or transcript.rate or transcript._times or transcript.missing_fonts, line[:cut]


def test_a_line_cut_twice_is_put_together_and_garbage_is_not() -> None:
    assert fed("PROGRESS:  0:00:", "00:20", " (21): 0 Seconds").frame == 21
    assert fed("PROGRESS: x", *["garbage " * 60] * 5, " (21): 0 Seconds").errors == ()


def test_a_bare_second_half_is_taken_for_its_frame() -> None:
    assert fed("(6): 0 Seconds").frame == 6
    assert fed("0:05 (6): 0 Seconds").frame == 6
    assert fed("(6) of many").frame is None


def test_after_the_render_what_encoders_print_is_no_progress() -> None:
    transcript = fed(*WHOLE[:40], "[u1] rendering took ~30.1 sec.", "  Duration: 00:00:09.00, start: 0", "7 (99): 1 x")

    assert transcript.frame == 17
    assert transcript.frames == 120


def test_percent_does_not_fall_when_there_turn_out_to_be_more_frames() -> None:
    by_form = "PROGRESS:  A: 00000", "PROGRESS:  B: 00047", "PROGRESS:  C: 00048"
    transcript = fed(*by_form, *frame_lines(12))
    assert (transcript.frames, transcript.percent) == (48, 25.0)

    transcript.feed("PROGRESS:  Dauer: 00120", 20.0)
    assert (transcript.frames, transcript.percent) == (120, 25.0)


def test_before_the_first_frame_percent_is_not_known() -> None:
    assert fed(*HEADER).percent is None


def test_a_number_that_is_no_frame_is_left_out() -> None:
    assert fed("PROGRESS:  0:00:00:00 (0): 0 Seconds").frame is None
    assert fed("PROGRESS:  0:00:00:00 (999999999): 0 Seconds").frame is None
    assert fed(f"PROGRESS:  0:00:00:00 ({'9' * 5000}): 0 Seconds").frame is None


def test_where_it_stands_is_said_in_words() -> None:
    transcript = fed(*frame_lines(51), frames=120, first_frame=100)

    assert transcript.where == "frame 51 of 120 (number 150 in the composition)"


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_end_is_seen_in_a_language_not_known() -> None:
    lines = [
        "PROGRESS:  17.03.2024 09:05:12: Komposition „main“ wird gestartet.",
        "PROGRESS:  Farbtiefe: 8 Bit",
        "PROGRESS:  0:00:00:00 (1): 0 Sekunden",
        "PROGRESS:  17.03.2024 09:05:40: Komposition „main“ fertiggestellt.",
    ]

    before = fed(*lines[:3], lines[0])
    after = fed(*lines)
    over = fed(*lines, "PROGRESS:  Insgesamt verstrichene Zeit: 1 Min., 28 Sek.")

    assert (before.finished_seen, before.elapsed_seen) == (False, False)
    assert (after.finished_seen, after.elapsed_seen) == (True, False)
    assert over.elapsed_seen and over.stage is Stage.FINISHING


def test_a_header_that_looks_like_an_elapsed_time_does_not_end_the_render() -> None:
    transcript = fed("PROGRESS:  17.03.2024 09:05:12: Komposition gestartet.", "PROGRESS:  Farbtiefe: 8 Bit")

    assert not transcript.elapsed_seen


# --- errors and warnings ----------------------------------------------------------------------------------------------


def test_what_nexrender_says_of_an_error_counts_only_where_the_line_itself_did_not_come() -> None:
    echo = "[u1] rendering reached an error: No comp was found with the given name."
    line = "aerender ERROR: No comp was found with the given name."

    assert fed(echo, line).errors == (line,)
    assert fed(line, echo, line).errors == (line,)
    assert fed(echo).errors == ("No comp was found with the given name.",)


def test_the_whole_output_repeated_as_an_error_is_no_error() -> None:
    transcript = fed(
        "Error: aerender version 24.6x2", "PROGRESS: Launching After Effects...", "    at ChildProcess.<anonymous>"
    )
    failed = fed("Error: aerender ERROR: No comp was found with the given name.")

    assert transcript.errors == transcript.nexrender_errors == ()
    assert failed.errors == ("aerender ERROR: No comp was found with the given name.",)


@pytest.mark.parametrize(
    "line",
    [
        "Error: Couldn't find a result file: /out/spot.mov",
        "[Error: ENOENT: no such file or directory, open '/srv/nope.aep'] {",
        "FetchError: request to http://x/ failed, reason: connect ECONNREFUSED",
        "NestedError: Could not require module 'no-such-module'",
        "Uncaught TypeError [ERR_INVALID_URL]: Invalid URL",
        "couldn't parse json job format, make sure your json is enclosed by 'quotes'",
        "you need to run application with admin priviledges once",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
    ],
)
def test_complaints_of_nexrender_are_kept_apart(line: str) -> None:
    transcript = fed(line)

    assert transcript.nexrender_errors == (line,)
    assert transcript.errors == ()
    assert transcript.last_error_line == line


def test_the_module_of_an_action_is_named() -> None:
    failed = fed("Error: Error loading postrender module C:\\my actions\\a.js: Error: it broke")
    missing = fed("NestedError: Could not require module '@nexrender/action-none'")

    assert failed.action_failed == "C:\\my actions\\a.js"
    assert missing.action_missing == "@nexrender/action-none"
    assert fed().action_failed is fed().action_missing is None


def test_weak_words_are_no_errors() -> None:
    transcript = fed("Unable to read VR Path Registry", "aerender ERROR: 0 errors", "INFO: Render aborted.", "0 errors")

    assert transcript.errors == ()
    assert transcript.aborted


def test_logged_errors_and_missing_files_are_counted_and_named() -> None:
    transcript = fed(
        "WARNING:After Effects warning: logged one error  error: Unable to Render: File Not Found D:\\a\\Bild 1.jpg",
        'WARNING: After Effects warning: logged 10 errors, please check log. First error was "x',
        "WARNING:After Effects warning: 3 files are missing since you last saved this project.",
        "INFO:After Effects: Footage fehlt",
    )

    assert transcript.logged_errors == 10
    assert transcript.missing_footage == [
        "D:\\a\\Bild 1.jpg",
        "3 files are missing since you last saved this project.",
        "Footage fehlt",
    ]
    assert len(transcript.warnings) == 3


@pytest.mark.parametrize(
    "words",
    ["Projekt enthält fehlende Schriftarten", "フォントが見つかりません", "Fonts substituted: the font Foo is missing"],
)
def test_missing_fonts_are_seen_in_other_languages(words: str) -> None:
    assert fed(f"WARNING:After Effects-Warnung: {words}").missing_fonts


def test_the_last_error_line_is_the_same_for_each_attempt_at_the_same_fault() -> None:
    transcript = fed("aerender ERROR: Error executing script: /w/u1/nexrender-u1-script.jsx")

    assert transcript.last_error_line == "aerender ERROR: Error executing script: /w/…/nexrender-…-script.jsx"
    assert Transcript().last_error_line == ""


def test_escapes_and_nul_bytes_do_not_hide_a_line() -> None:
    assert fed("\x1b[31maerender ERROR:\x1b[0m No comp\x00").errors == ("aerender ERROR: No comp",)


# --- as it is spoken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode",
    [
        "good",
        "buffered",
        "device_noise",
        "german",
        "french",
        "frames",
        "feet",
        "drop_frame",
        "fields",
        "skipped",
        "multi_frame",
        "twice",
        "crlf",
        "cut_lines",
        "garbage",
    ],
)
def test_every_way_of_speaking_is_understood(mode: str, simulator: Path, tmp_path: Path) -> None:
    """The simulated aerender speaks; each read gets a line end behind it, as nexrender's log does to it."""
    project = write_project(tmp_path / "spot.aep", frames=40, width=32, height=18, behaviour=mode)
    command = [str(simulator), "-project", str(project), "-comp", "Main", "-output", str(tmp_path / "spot.mov")]
    lines, transcript = Lines(), Transcript()

    with subprocess.Popen(command, env={}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as aerender:
        assert aerender.stdout is not None
        while chunk := os.read(aerender.stdout.fileno(), 65536):
            for line in lines.feed(chunk + b"\n"):
                transcript.feed(line, time.monotonic())

    assert aerender.returncode == 0
    assert (transcript.frame, transcript.frames, transcript.seen_count, transcript.percent) == (40, 40, 40, 99.9)
    assert transcript.finished_seen and transcript.elapsed_seen
    assert transcript.errors == ()


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        " " * 8000,
        "(" * 8000,
        "( " * 4000,
        "1 a" * 2700,
        "x: " + "1a," * 2700,
        "1/1/1 1:11:11" + " :" * 4000,
        "a:\t" + "\u3000" * 7000,
        "a " * 4000,
        "0:" * 4000,
        "missing dependenc" * 480,
        "Error loading postrender module " + "a: " * 2500,
    ],
)
def test_no_garbage_takes_long(garbage: str) -> None:
    transcript = Transcript()
    began = time.process_time()

    for head in ("", "PROGRESS: ", "WARNING: ", "aerender ", "Error: "):
        transcript.feed((head + garbage)[:8192], 0.0)

    assert time.process_time() - began < 0.5


def test_a_flood_of_different_errors_keeps_the_first_and_the_last() -> None:
    transcript = fed(*(f"aerender ERROR: number {n}" for n in range(5000)))

    assert len(transcript.errors) == 40
    assert transcript.errors[0] == "aerender ERROR: number 0"
    assert transcript.errors[-1] == "aerender ERROR: number 4999"


# --- whatever comes ---------------------------------------------------------------------------------------------------

pieces = st.one_of(
    st.sampled_from([line for _, line in SAMPLES]),
    st.sampled_from(WHOLE),
    st.text(max_size=60),
)


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(pieces, max_size=60), cuts=st.randoms(use_true_random=False))
def test_whatever_is_fed_it_never_raises_and_percent_never_falls(lines: list[str], cuts: random.Random) -> None:
    data = "\n".join(lines).encode()
    at = sorted(cuts.sample(range(len(data) + 1), k=min(8, len(data) + 1)))
    reader, transcript = Lines(), Transcript(uid="u1")
    percent, stage = 0.0, 0

    # as nexrender prints it: each read ends in a line end, also in the middle of a line
    for begin, end in zip([0, *at], [*at, len(data)], strict=True):
        for line in reader.feed(data[begin:end] + b"\n"):
            transcript.feed(line, cuts.random() * 100)
            assert transcript.percent is None or percent <= transcript.percent < 100
            assert transcript.fps is None or transcript.fps > 0
            assert list(Stage).index(transcript.stage) >= stage
            percent, stage = transcript.percent or 0.0, list(Stage).index(transcript.stage)
            assert isinstance(transcript.where, str)
            assert transcript.frames is None or transcript.seen_count <= transcript.frames


@settings(max_examples=150, deadline=None)
@given(shuffled=st.permutations(SAMPLES), junk=st.lists(st.text(max_size=30), max_size=10))
def test_whole_error_lines_are_never_lost_in_any_order(shuffled: list[tuple[str, str]], junk: list[str]) -> None:
    lines = [line for _, line in shuffled]
    for number, text in enumerate(junk):
        lines.insert((number * 7) % len(lines), text)

    transcript = fed(*lines)

    errors = [line for kind, line in SAMPLES if kind == "error"]
    assert set(errors) <= set(transcript.errors)
    assert transcript.elapsed_seen and transcript.finished_seen and transcript.missing_fonts
    assert transcript.seen_count == len({kind for kind, _ in SAMPLES if kind.startswith("frame")})
