"""The stand-in for aerender speaks, fails and makes films as the real one, by itself and under the real nexrender."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import until
from watchrender.render import nexrender
from watchrender.render.nexrender import Nexrender
from watchrender.render.simulator import install_simulator, write_project
from watchrender.render.simulator.behaviour import FAULTS, MODES, STEPS, WARNINGS, Behaviour, merge
from watchrender.render.simulator.film import open_film
from watchrender.render.simulator.lines import Speech, in_multi_frame_order
from watchrender.render.simulator.project import Composition, Project, read_project
from watchrender.render.simulator.script import read_script, script_error
from watchrender.render.simulator.stop import Stop

posix = pytest.mark.skipif(os.name == "nt", reason="uses POSIX signals and sessions")

SMALL = {"frames": 8, "width": 64, "height": 36}


@dataclass(frozen=True)
class Said:
    """What a run of aerender said, and how it ended."""

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def render(
    aerender: Path, project: Path, *more: str, output: Path | None = None, comp: str = "Main", env: Any = None
) -> Said:
    """Run aerender by itself, in an environment with nothing in it."""
    target = output or project.with_suffix(".mp4")
    words = ["-project", str(project), "-comp", comp, "-output", str(target), *more]
    return say(aerender, *words, env=env)


def say(aerender: Path, *words: str, env: Any = None) -> Said:
    run = subprocess.run(
        [str(aerender), *words],
        env=env or {},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    return Said(run.returncode, run.stdout.decode("utf-8", "replace"))


def decoded(path: Path) -> list[Any]:
    """All frames of a film."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as film:
        return list(film.decode(video=0))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "spot.aep", **SMALL)  # type: ignore[arg-type]


def behaving(path: Path, behaviour: Any, **more: Any) -> Path:
    return write_project(path / "spot.aep", **{**SMALL, **more}, behaviour=behaviour)


# ---------------------------------------------------------------------------------------------- a render that goes well


def test_a_render_says_the_lines_of_after_effects_in_their_order(simulator: Path, project: Path) -> None:
    said = render(simulator, project)

    assert said.status == 0
    order = [
        r"aerender version 24\.6x2",
        r"PROGRESS: Launching After Effects\.\.\.",
        r"PROGRESS: \.\.\.After Effects successfully launched",
        r"PROGRESS: Adding specified comp to Render Queue",
        r"PROGRESS:  \d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M: Starting composition “Main”\.",
        r"PROGRESS:  Start: 0:00:00:00",
        r"PROGRESS:  End: 0:00:00:07",
        r"PROGRESS:  Duration: 0:00:00:08",
        r"PROGRESS:  Frame Rate: 25\.00 \(comp\)",
        r"PROGRESS:  Output To: .*spot\.mp4",
        *(rf"PROGRESS:  0:00:00:0{number - 1} \({number}\): \d+ Seconds" for number in range(1, 9)),
        r"PROGRESS:  .*: Finished composition “Main”\.",
        r"PROGRESS:  Total Time Elapsed: \d+ Seconds",
    ]
    lines = iter(said.lines)
    for pattern in order:
        assert any(re.fullmatch(pattern, line) for line in lines), f"{pattern} not in its place in {said.text}"


@pytest.mark.parametrize(
    ("words", "frames", "first", "last"),
    [
        ((), 8, "0:00:00:00 (1)", "0:00:00:07 (8)"),
        (("-s", "2"), 6, "0:00:00:02 (1)", "0:00:00:07 (6)"),
        (("-s", "2", "-e", "5"), 4, "0:00:00:02 (1)", "0:00:00:05 (4)"),
        (("-e", "0"), 1, "0:00:00:00 (1)", "0:00:00:00 (1)"),
        (("-s", "1", "-e", "7", "-i", "3"), 3, "0:00:00:01 (1)", "0:00:00:07 (3)"),
    ],
)
def test_the_film_has_exactly_the_frames_that_were_asked_for(
    words: tuple[str, ...], frames: int, first: str, last: str, simulator: Path, project: Path
) -> None:
    said = render(simulator, project, *words)

    told = re.findall(r"^PROGRESS:  (\d:\d\d:\d\d:\d\d \(\d+\)):", said.text, re.MULTILINE)
    assert (told[0], told[-1], len(told)) == (first, last, frames)
    assert len(decoded(project.with_suffix(".mp4"))) == frames


@pytest.mark.parametrize(
    ("suffix", "container", "codec"),
    [
        (".mp4", "mp4", "h264"),
        (".mov", "mov", "h264"),
        (".avi", "avi", "mpeg4"),
        (".webm", "webm", "vp8"),
        (".mkv", "matroska", "h264"),
    ],
)
def test_the_suffix_decides_the_format(suffix: str, container: str, codec: str, simulator: Path, project: Path) -> None:
    av = pytest.importorskip("av")
    output = project.with_suffix(suffix)

    assert render(simulator, project, output=output).status == 0

    with av.open(str(output)) as film:
        assert container in film.format.name
        assert film.streams.video[0].codec_context.name == codec
        assert len(list(film.decode(video=0))) == 8


@pytest.mark.parametrize(
    ("module", "asked", "made"),
    [
        ("Lossless", "r.avi", "r.mov"),
        ("H.264 - Match Render Settings - 15 Mbps", "r.mov", "r.mp4"),
        ("h264", "r.avi", "r.mp4"),
        ("My own", "r.avi", "r.avi"),
        ("High Quality", "r_[###].png", "r_000.png"),
    ],
)
def test_an_output_module_of_after_effects_forces_its_suffix(
    module: str, asked: str, made: str, simulator: Path, project: Path
) -> None:
    assert render(simulator, project, "-OMtemplate", module, output=project.parent / asked).status == 0

    assert (project.parent / made).exists()
    assert made == asked or not (project.parent / asked).exists()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_sequence_is_numbered_by_the_frames_of_the_composition(
    suffix: str, simulator: Path, project: Path, tmp_path: Path
) -> None:
    said = render(simulator, project, "-s", "3", "-e", "6", "-i", "2", output=tmp_path / f"f_[#####].{suffix}")

    assert said.status == 0
    assert sorted(path.name for path in tmp_path.glob("f_*")) == [f"f_00003.{suffix}", f"f_00005.{suffix}"]
    image = pytest.importorskip("PIL.Image")
    with image.open(tmp_path / f"f_00003.{suffix}") as picture:
        picture.load()
        assert picture.size == (64, 36)


def test_the_pictures_change_with_frame_text_and_composition(tmp_path: Path) -> None:
    pytest.importorskip("av")
    films = {"one": (["title: one"], "Main"), "two": (["title: two"], "Main"), "other": (["title: one"], "Other")}
    shots: dict[str, list[bytes]] = {}
    for name, (texts, comp) in films.items():
        composition = Composition(name=comp, frames=3, width=320, height=180)
        speech = Speech(behaviour=Behaviour(), composition=composition, first=0, count=3)
        film = open_film(str(tmp_path / f"{name}.mp4"), speech, texts=texts)
        for number in (1, 2, 3):
            film.frame(number)
        film.close()
        shots[name] = [bytes(frame.reformat(format="gray").planes[0]) for frame in decoded(tmp_path / f"{name}.mp4")]

    assert len({*shots["one"], *shots["two"], *shots["other"]}) == 9


WITHOUT = """
import sys
hidden = set(sys.argv.pop(1).split(","))
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden: raise ImportError(name)
sys.meta_path.insert(0, Hide())
sys.argv[0] = "aerender"
from watchrender.render.simulator.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(("hidden", "frames"), [("PIL", 8), ("av", 25), ("av,PIL", 25)])
def test_without_the_media_extra_there_is_still_a_film(hidden: str, frames: int, project: Path) -> None:
    output = project.with_suffix(".mp4")
    words = ["-project", str(project), "-comp", "Main", "-output", str(output)]

    run = subprocess.run([sys.executable, "-c", WITHOUT, hidden, *words], check=False, stdout=subprocess.DEVNULL)

    assert run.returncode == 0
    assert 1000 < output.stat().st_size < 12_288
    assert len(decoded(output)) == frames  # 25 are those of the canned one


def test_without_the_media_extra_a_sequence_is_whole_too(project: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    words = ["-project", str(project), "-comp", "Main", "-output", str(tmp_path / "f_[##].png")]

    subprocess.run([sys.executable, "-c", WITHOUT, "av,PIL", *words], check=True, stdout=subprocess.DEVNULL)

    assert len(list(tmp_path.glob("f_*.png"))) == 8
    with image.open(tmp_path / "f_07.png") as picture:
        picture.load()


def test_the_film_grows_while_it_is_rendered(simulator: Path, tmp_path: Path) -> None:
    path = behaving(tmp_path, {"hangs": "frame", "frame": 30}, frames=40, width=320, height=180)
    child = subprocess.Popen(
        [str(simulator), "-project", str(path), "-comp", "Main", "-output", str(tmp_path / "spot.mp4")],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: (tmp_path / "spot.mp4").exists() and (tmp_path / "spot.mp4").stat().st_size > 4000)
    finally:
        child.kill()
        child.wait()


# --------------------------------------------------------------------------------------------------- flags and statuses


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ([], 2, "aerender USAGE: "),
        (["-project", "x", "-help"], 2, "aerender USAGE: "),
        (["-version"], 0, "aerender version 24.6x2"),
        (["-verbose", "x"], 3, "aerender SYNTAX ERROR: Illegal argument flag: -verbose"),
        (["x.aep"], 3, "aerender SYNTAX ERROR: Illegal argument flag: x.aep"),
        (["-comp"], 3, "aerender SYNTAX ERROR: no value given for flag: -comp"),
        (["-mfr", "ON"], 3, "aerender SYNTAX ERROR: no value given for flag: -mfr"),
        (["-comp", "x"], 7, "aerender ERROR: No project provided and no project open."),
        (["-v", "ALL"], 3, "aerender SYNTAX ERROR: Bad value for -verbose."),
        (["-close", "x"], 3, "aerender SYNTAX ERROR: Bad value for -close."),
        (["-sound", "x"], 3, "aerender SYNTAX ERROR: Bad value for -sound."),
        (["-mfr", "yes", "9"], 3, "aerender SYNTAX ERROR: Bad value for -mfr."),
    ],
)
def test_wrong_words_end_it_with_the_status_of_after_effects(
    words: list[str], status: int, line: str, simulator: Path
) -> None:
    said = say(simulator, *words)

    assert (said.status, line in said.lines) == (status, True), said


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["-i", "0"], 3, "aerender SYNTAX ERROR: Bad value for -increment. Must be between 1 and 100, inclusive."),
        (["-i", "101"], 3, "aerender SYNTAX ERROR: Bad value for -increment. Must be between 1 and 100, inclusive."),
        (
            ["-s", "5", "-e", "2"],
            9,
            "aerender Error: After Effects error: Value out of range: the render has no frames.",
        ),
        (["-OMtemplate", "no"], 7, "aerender ERROR: No output module template was found with the given name."),
        (["-log", "/no/such/folder/x.log"], 9, "aerender ERROR: Runtime error in After Effects."),
    ],
)
def test_wrong_values_end_it_with_the_status_of_after_effects(
    words: list[str], status: int, line: str, simulator: Path, tmp_path: Path
) -> None:
    path = write_project(tmp_path / "spot.aep", output_modules=["yes"], **SMALL)  # type: ignore[arg-type]

    said = render(simulator, path, *words)

    assert (said.status, said.lines[-1]) == (status, line)


def test_all_other_flags_of_aerender_are_taken(simulator: Path, project: Path) -> None:
    words = (
        "-RStemplate Best -OMtemplate x -renderSettings a:b -outputSettings c:d -mem_usage 50 50 -mfr ON 90 -mp -reuse"
    )
    more = "-close DO_NOT_CLOSE -sound OFF -continueOnMissingFootage -doSavePrefsOnQuit -v ERRORS_AND_PROGRESS"

    assert render(simulator, project, *words.split(), *more.split()).status == 0


def test_the_script_flag_is_unknown_until_nexrender_has_patched_after_effects(
    simulator: Path, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.jsx").write_text("", encoding="utf-8")
    patched = install_simulator(tmp_path / "patched", patched=True)

    before = render(simulator, project, "-r", str(tmp_path / "x.jsx"))
    after = render(patched, project, "-r", str(tmp_path / "x.jsx"))

    assert (before.status, before.lines[-1]) == (3, "aerender SYNTAX ERROR: Illegal argument flag: -r")
    assert after.status == 0
    assert f"Running Script: {tmp_path / 'x.jsx'}" in after.lines


def test_a_log_file_gets_the_lines_and_errors_count_one_higher(simulator: Path, project: Path, tmp_path: Path) -> None:
    log = tmp_path / "ae.log"

    said = render(simulator, project, "-log", str(log), comp="Nope")

    assert said.status == 8
    assert "No comp was found" not in said.text
    assert "aerender ERROR: No comp was found with the given name." in log.read_text()


def test_errors_only_means_no_progress(simulator: Path, project: Path) -> None:
    said = render(simulator, project, "-v", "ERRORS")

    assert said.status == 0
    assert "(1):" not in said.text


def test_an_output_folder_that_is_not_there_is_told_as_after_effects_tells_it(
    simulator: Path, project: Path, tmp_path: Path
) -> None:
    said = render(simulator, project, output=tmp_path / "no" / "x.mp4")

    assert said.status == 9
    assert f"Can not create a file in directory {tmp_path / 'no'}. Try checking write permissions." in said.text


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_disk_is_told(simulator: Path, project: Path, tmp_path: Path) -> None:
    (tmp_path / "full.mp4").symlink_to("/dev/full")

    said = render(simulator, project, output=tmp_path / "full.mp4")

    assert said.status == 9
    assert "There is not enough space on the disk." in said.text


# ------------------------------------------------------------------------------------------------------------- projects


def test_a_project_with_everything_reads_back(tmp_path: Path) -> None:
    path = write_project(
        tmp_path / "p.aep",
        compositions={"A": {"frames": 3, "layers": ["title"], "behaviour": "crash"}, "Ä": {"fps": 29.97}},
        footage=["clips/a.mp4"],
        fonts_missing=["Bebas"],
        output_modules=["h264"],
        behaviour={"mode": "crlf"},
    )

    found = read_project(str(path))

    assert found.composition("A") == Composition(name="A", frames=3, layers=("title",), behaviour="crash")
    assert found.composition("Ä") == Composition(name="Ä", fps=29.97)
    assert found.composition("a") is None
    assert (found.footage, found.fonts_missing, found.output_modules) == (("clips/a.mp4",), ("Bebas",), ("h264",))
    assert found.missing_footage() == [str(tmp_path / "clips" / "a.mp4")]


def test_a_project_may_be_written_in_yaml(simulator: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.aep"
    path.write_text("# by hand\ncompositions:\n  Main: {frames: 2, width: 64, height: 36}\n", encoding="utf-8")

    assert render(simulator, path).text.count("Seconds") == 3


@pytest.mark.parametrize(
    "data", [b"", b"RIFX\0\0\1\0Egg!", b"not a project", b"\xff\xfe\0", b"<?xml version='1.0'?>", b"[1]"]
)
def test_bytes_that_are_no_project_of_ours_have_every_composition(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.aep").write_bytes(data)

    found = read_project(str(tmp_path / "x.aep"))

    assert found.composition("Anything") == Composition(name="Anything", frames=50)


def test_a_project_of_ours_that_is_cut_off_is_damaged(simulator: Path, project: Path) -> None:
    project.write_bytes(project.read_bytes()[:-9])

    said = render(simulator, project)

    assert (said.status, said.lines[-1]) == (9, "aerender Error: After Effects error: file is damaged.")


def test_missing_footage_is_a_warning_at_the_end_and_the_film_is_made(simulator: Path, tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"")
    one = write_project(tmp_path / "one.aep", footage=["there.mp4", "gone.mp4"], **SMALL)  # type: ignore[arg-type]
    two = write_project(tmp_path / "two.aep", footage=["gone.mp4", "sub/gone.png"], **SMALL)  # type: ignore[arg-type]

    said_one, said_two = render(simulator, one), render(simulator, two)

    gone = tmp_path / "gone.mp4"
    warning = "WARNING:After Effects warning: logged"
    assert f"{warning} one error  error: Unable to Render: File Not Found {gone}" in said_one.lines
    assert (
        f'{warning} 2 errors, please check log. First error was "error: Unable to Render: File Not Found {gone}'
        in said_two.lines
    )
    assert (said_one.status, said_two.status) == (0, 0)
    assert (tmp_path / "one.mp4").stat().st_size > 1000


def test_missing_footage_may_end_the_render(simulator: Path, tmp_path: Path) -> None:
    path = behaving(tmp_path, {"missing_footage": "fail"}, footage=["gone.mp4"])

    assert "Could not read from source." in render(simulator, path).lines[-1]
    assert render(simulator, path, "-continueOnMissingFootage").status == 0


def test_missing_fonts_are_a_warning(simulator: Path, tmp_path: Path) -> None:
    path = write_project(tmp_path / "spot.aep", fonts_missing=["Bebas"], **SMALL)  # type: ignore[arg-type]

    assert "WARNING:After Effects warning: Project has missing fonts." in render(simulator, path).lines


# ------------------------------------------------------------------------------------------------- behaviour by request


def test_the_later_place_to_ask_beats_the_earlier(simulator: Path, tmp_path: Path) -> None:
    asked = {"frames": 2, "width": 64, "height": 36}
    path = write_project(tmp_path / "p.aep", compositions={"Main": asked, "Own": {**asked, "behaviour": {"exits": 13}}})
    (simulator.parent / "behaviour.json").write_text('{"exits": 11}', encoding="utf-8")

    from_folder = render(simulator, path).status
    write_project(path, compositions=json.loads(path.read_text())["compositions"], behaviour={"exits": 12})
    from_project = render(simulator, path).status
    from_composition = render(simulator, path, comp="Own").status
    from_variable = render(simulator, path, comp="Own", env={"WATCHRENDER_SIM_BEHAVIOUR": '{"exits": 14}'}).status

    assert (from_folder, from_project, from_composition, from_variable) == (11, 12, 13, 14)


def test_modes_and_fields_combine() -> None:
    found = merge(Behaviour(), {"mode": ["crlf", "german"], "frame": 3})

    assert (found.newline, found.language, found.frame) == ("crlf", "de", 3)
    assert merge(Behaviour(), "crlf, german") == merge(Behaviour(), ["crlf", "german"])


@pytest.mark.parametrize("asked", ["no_such_mode", {"colour": "red"}, {"hangs": "never"}, {"warnings": ["x"]}, 7])
def test_a_behaviour_that_does_not_exist_is_refused_aloud(asked: Any, simulator: Path, tmp_path: Path) -> None:
    said = render(simulator, behaving(tmp_path, asked))

    assert said.status == 64
    assert said.text.startswith("simulator: ")


def test_it_fails_as_often_as_asked_and_then_renders(simulator: Path, tmp_path: Path) -> None:
    path = behaving(tmp_path, {"fail_times": 2, "failing": {"mode": "exit_1"}})

    assert [render(simulator, path).status for _ in range(4)] == [1, 1, 0, 0]
    assert (tmp_path / ".spot.aep.Main.tries").read_text() == "4"


def test_tries_may_be_counted_elsewhere(simulator: Path, tmp_path: Path) -> None:
    counter = tmp_path / "elsewhere"
    path = behaving(tmp_path, {"fail_times": 1, "tries_file": str(counter), "failing": "comp_not_found"})

    assert [render(simulator, path).status for _ in range(2)] == [7, 0]
    assert counter.read_text() == "2"


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    """A script that does nothing: with it a render has every step."""
    path = tmp_path / "nothing.jsx"
    path.write_text("", encoding="utf-8")
    return path


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_says_its_lines_last_and_ends_with_its_status(fault: str, scripted: Path, tmp_path: Path) -> None:
    aerender = install_simulator(tmp_path, patched=True)

    said = render(aerender, behaving(tmp_path, {"fails": fault}), "-r", str(scripted))

    _, status, lines = FAULTS[fault]
    assert said.status == status
    for line, pattern in zip(said.lines[len(said.lines) - len(lines) :], lines, strict=True):
        known = re.split(r"\{\w+\}|[\udc80-\udcff].*", pattern)[0]  # before what is filled in, or is no text
        assert line.startswith(known)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_ends_as_its_fields_say(mode: str, scripted: Path, tmp_path: Path) -> None:
    aerender = install_simulator(tmp_path, patched=True)
    quick = {"seconds_per_frame": 0, "hang_seconds": 0, "grandchild_seconds": 0}

    said = render(aerender, behaving(tmp_path, {"mode": mode, **quick}), "-r", str(scripted))

    asked = merge(Behaviour(), mode)
    number = -getattr(signal, f"SIG{asked.signal}", 0) if asked.signal else None
    fault = FAULTS[asked.fails][1] if asked.fails else None
    expected = next((found for found in (asked.exits, number, fault) if found is not None), 0)
    assert said.status == expected, said.text


@pytest.mark.parametrize("warning", WARNINGS)
def test_every_warning_is_said_and_the_render_goes_on(warning: str, simulator: Path, tmp_path: Path) -> None:
    said = render(simulator, behaving(tmp_path, {"warnings": [warning]}))

    assert said.status == 0
    assert WARNINGS[warning][1].split("{output}")[0] in said.text
    assert "Total Time Elapsed" in said.text


@posix
@pytest.mark.parametrize(
    ("name", "number"), [("SEGV", signal.SIGSEGV), ("KILL", signal.SIGKILL), ("ABRT", signal.SIGABRT)]
)
def test_it_dies_of_a_signal_in_the_middle(name: str, number: int, simulator: Path, tmp_path: Path) -> None:
    said = render(simulator, behaving(tmp_path, {"signal": name, "frame": 3}))

    assert said.status == -number
    assert "(2):" in said.text
    assert "(3):" not in said.text


@pytest.mark.parametrize(
    ("kind", "frames"), [("whole", 8), ("half", 4), ("canned", 25), ("byte", None), ("none", None), ("cut", None)]
)
def test_a_film_may_be_less_than_the_transcript_says(
    kind: str, frames: int | None, simulator: Path, tmp_path: Path
) -> None:
    said = render(simulator, behaving(tmp_path, {"film": kind}))

    film = tmp_path / "spot.mp4"
    assert said.status == 0
    assert "(8):" in said.text
    if frames:
        assert len(decoded(film)) == frames
    else:
        assert {"byte": film.exists() and film.stat().st_size == 1, "none": not film.exists()}.get(kind, True)


def test_a_cut_film_still_opens_and_does_not_decode_to_its_end(simulator: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    render(simulator, behaving(tmp_path, "cut_film", frames=40, width=160, height=90))

    with av.open(str(tmp_path / "spot.mp4")) as film:
        assert film.streams.video[0].frames == 40
        got = 0
        with pytest.raises(av.FFmpegError):
            for _ in film.decode(video=0):
                got += 1
            assert got == 40
            raise AssertionError("it decoded whole")
    assert got < 40


def test_a_sequence_may_have_no_frames(simulator: Path, tmp_path: Path) -> None:
    assert render(simulator, behaving(tmp_path, "no_frames"), output=tmp_path / "f_[##].png").status == 0
    assert not list(tmp_path.glob("f_*"))


# ------------------------------------------------------------------------------------------------------- standing still


@dataclass
class Running:
    """An aerender that is under way: what it has said so far, and its pids."""

    child: subprocess.Popen[bytes]
    log: Path
    pids: Path

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def pid(self, name: str) -> int:
        found = until(lambda: self.pids.exists() and re.search(rf"^{name} (\d+)$", self.pids.read_text(), re.MULTILINE))
        return int(found[1])


def _has_said(running: Running, word: str) -> bool:
    return word in running.said()


@pytest.fixture
def begin(scripted: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start an aerender with this behaviour; everything it starts is gone after the test."""
    begun: list[Running] = []
    aerender = install_simulator(tmp_path, patched=True)

    def start(behaviour: dict[str, Any]) -> Running:
        path = behaving(tmp_path, {**behaviour, "pids": str(tmp_path / "pids")})
        words = ["-project", str(path), "-comp", "Main", "-output", str(tmp_path / "spot.mp4"), "-r", str(scripted)]
        with open(tmp_path / "log", "wb") as log:
            child = subprocess.Popen([str(aerender), *words], stdout=log, start_new_session=True)
        begun.append(Running(child, tmp_path / "log", tmp_path / "pids"))
        return begun[-1]

    yield start
    for one in begun:
        for line in one.pids.read_text().splitlines() if one.pids.exists() else []:
            try:
                psutil.Process(int(line.split()[1])).kill()
            except psutil.NoSuchProcess:
                pass
        one.child.kill()
        one.child.wait()


LAST_WORDS = {
    "launch": "PROGRESS: Launching After Effects...",
    "open": "PROGRESS: ...After Effects successfully launched",
    "script": "Running Script: ",
    "queue": "PROGRESS: Adding specified comp to Render Queue",
    "frame": "(3):",
    "finished": "Finished composition “Main”.",
    "elapsed": "Total Time Elapsed:",
}


@pytest.mark.parametrize("step", LAST_WORDS)
def test_it_stands_still_where_it_was_asked_to(step: str, begin: Callable[..., Running]) -> None:
    running = begin({"hangs": step})

    until(lambda: LAST_WORDS[step] in "".join(running.said().splitlines()[-1:]))
    with pytest.raises(subprocess.TimeoutExpired):
        running.child.wait(0.2)
    assert LAST_WORDS[step] in running.said().splitlines()[-1]


def test_it_may_stand_still_before_it_has_said_anything(begin: Callable[..., Running]) -> None:
    running = begin({"hangs": "start"})

    running.pid("aerender")
    with pytest.raises(subprocess.TimeoutExpired):
        running.child.wait(0.2)
    assert running.said() == ""
    assert {"start", *LAST_WORDS} == set(STEPS)


def test_nothing_stands_still_for_ever(simulator: Path, tmp_path: Path) -> None:
    assert render(simulator, behaving(tmp_path, {"hangs": "frame", "hang_seconds": 0.1})).status == 0


@posix
def test_a_stubborn_one_survives_sigterm_and_a_closed_pipe(begin: Callable[..., Running]) -> None:
    running = begin({"mode": "stubborn"})
    until(lambda: "(3):" in running.said())

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        running.child.send_signal(number)

    with pytest.raises(subprocess.TimeoutExpired):
        running.child.wait(0.3)


@posix
def test_any_other_ends_at_once_by_sigterm_and_sigint(begin: Callable[..., Running]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        running = begin({"hangs": "frame"})
        until(partial(_has_said, running, "(3):"))

        running.child.send_signal(number)

        assert running.child.wait(5) == -number
        assert "Traceback" not in running.said()


def test_it_ends_when_nobody_reads_any_more(simulator: Path, tmp_path: Path) -> None:
    path = behaving(tmp_path, {"seconds_per_frame": 0.01}, frames=2000)
    words = ["-project", str(path), "-comp", "Main", "-output", str(tmp_path / "spot.mp4")]
    child = subprocess.Popen([str(simulator), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.readline()

    child.stdout.close()

    try:
        assert child.wait(10) == 1
        assert child.stderr.read() == b""
    finally:
        child.kill()
        child.wait()
        child.stderr.close()


def test_a_busy_hang_uses_a_processor(begin: Callable[..., Running]) -> None:
    running = begin({"mode": "busy_hang"})
    until(lambda: "(3):" in running.said())
    one = psutil.Process(running.pid("aerender"))
    before = one.cpu_times().user

    until(lambda: one.cpu_times().user > before + 0.2)


@posix
@pytest.mark.parametrize(
    ("kind", "own_session", "orphan"), [("stdout", False, False), ("session", True, False), ("daemon", True, True)]
)
def test_a_grandchild_outlives_it_and_holds_its_output(
    kind: str, own_session: bool, orphan: bool, begin: Callable[..., Running], tmp_path: Path
) -> None:
    running = begin({"grandchild": kind, "hangs": "frame"})
    until(lambda: "(3):" in running.said())
    grandchild = psutil.Process(running.pid("grandchild"))
    session, parent = os.getsid(grandchild.pid), grandchild.ppid()

    running.child.kill()
    running.child.wait()

    assert grandchild.is_running()
    assert (session != running.child.pid) is own_session
    assert (parent != running.child.pid) is orphan
    if sys.platform == "linux":
        assert os.readlink(f"/proc/{grandchild.pid}/fd/1") == str(tmp_path / "log")


# -------------------------------------------------------------------------------------------------------- how it speaks


def test_a_buffered_banner_comes_last_after_an_error_too(simulator: Path, tmp_path: Path) -> None:
    good = render(simulator, behaving(tmp_path, "buffered"))
    bad = render(simulator, behaving(tmp_path, ["buffered", "comp_not_found"]))

    last = [
        "aerender version 24.6x2",
        "PROGRESS: Launching After Effects...",
        "PROGRESS: ...After Effects successfully launched",
    ]
    assert good.lines[-3:] == bad.lines[-3:] == last
    assert "Total Time Elapsed" in good.lines[-4]
    assert bad.lines[-4] == "aerender ERROR: No comp was found with the given name."


@pytest.mark.parametrize(
    ("mode", "pattern"),
    [
        ("frames", r"PROGRESS:  00002 \(3\): 0 Seconds"),
        ("feet", r"PROGRESS:  000\+02 \(3\): 0 Seconds"),
        ("drop_frame", r"PROGRESS:  0;00;00;02 \(3\): 0 Seconds"),
        ("fields", r"PROGRESS:  0:00:00:02 \(3L\): 0 Seconds"),
        ("skipped", r"PROGRESS:  \(Skipping 0:00:00:02\) \(3\): 0 Seconds"),
        ("german", r"PROGRESS:  0:00:00:02 \(3\): 0 Sekunden"),
        ("german", r"PROGRESS:  Dauer: 0:00:00:08"),
        ("german", r"PROGRESS:  Framerate: 25,00 \(comp\)"),
        ("french", r"PROGRESS:  Durée: 0:00:00:08"),
        ("device_noise", r'aerender version Using DXGI: Device: "NVIDIA .*'),
    ],
)
def test_lines_come_in_the_form_that_was_asked_for(mode: str, pattern: str, simulator: Path, tmp_path: Path) -> None:
    said = render(simulator, behaving(tmp_path, mode))

    assert said.status == 0
    assert any(re.fullmatch(pattern, line) for line in said.lines), said.text


def test_feet_and_frames_of_skipped_frames_have_one_blank(simulator: Path, tmp_path: Path) -> None:
    said = render(simulator, behaving(tmp_path, ["feet", "skipped"]))

    assert "PROGRESS: (Skipping 000+02) (3): 0 Seconds" in said.lines


@pytest.mark.parametrize(
    ("frame", "fps", "time"),
    [
        (0, 29.97, "0;00;00;00"),
        (1799, 29.97, "0;00;59;29"),
        (1800, 29.97, "0;01;00;02"),
        (17981, 29.97, "0;09;59;29"),
        (17982, 29.97, "0;10;00;00"),
        (107892, 29.97, "1;00;00;00"),
        (3600, 59.94, "0;01;00;04"),
        (35964, 59.94, "0;10;00;00"),
    ],
)
def test_drop_frame_time_keeps_step_with_the_clock(frame: int, fps: float, time: str) -> None:
    composition = Composition(name="C", fps=fps)
    speech = Speech(behaviour=Behaviour(display="drop"), composition=composition, first=0, count=1)

    assert speech.time(frame) == time


def test_without_progress_there_is_no_frame_line(simulator: Path, tmp_path: Path) -> None:
    said = render(simulator, behaving(tmp_path, "no_progress"))

    assert "(1):" not in said.text
    assert "Duration: 0:00:00:08" in said.text


@pytest.mark.parametrize("count", [1, 2, 5, 8, 33])
def test_frames_out_of_order_are_all_told_once(count: int) -> None:
    order = in_multi_frame_order(count)

    assert sorted(order) == list(range(1, count + 1))
    assert count == 1 or order != sorted(order)


def raw(simulator: Path, path: Path) -> bytes:
    words = ["-project", str(path), "-comp", "Main", "-output", str(path.with_suffix(".mp4"))]
    return subprocess.run([str(simulator), *words], stdout=subprocess.PIPE, check=True, timeout=60).stdout


def test_windows_lines_end_in_two_bytes(simulator: Path, tmp_path: Path) -> None:
    said = raw(simulator, behaving(tmp_path, "crlf"))

    assert said.count(b"\n") == said.count(b"\r\n") > 10


def test_garbage_is_no_utf_8_and_does_not_end_the_render(simulator: Path, tmp_path: Path) -> None:
    said = raw(simulator, behaving(tmp_path, "garbage"))

    with pytest.raises(UnicodeDecodeError):
        said.decode("utf-8")
    assert b"\0" in said
    assert b"Total Time Elapsed" in said


def test_a_flood_is_as_large_as_asked(simulator: Path, tmp_path: Path) -> None:
    said = raw(simulator, behaving(tmp_path, {"flood_bytes": 1_000_000}))

    assert 990_000 < len(said) < 1_010_000


def test_cut_lines_arrive_in_two_pieces(simulator: Path, tmp_path: Path) -> None:
    path = behaving(tmp_path, "cut_lines")
    words = ["-project", str(path), "-comp", "Main", "-output", str(tmp_path / "spot.mp4")]
    child = subprocess.Popen([str(simulator), *words], stdout=subprocess.PIPE)
    assert child.stdout is not None
    pieces = list(iter(lambda: os.read(child.stdout.fileno(), 65536), b""))  # type: ignore[union-attr]
    child.stdout.close()
    child.wait()

    assert any(piece.startswith(b"(") for piece in pieces)
    assert b"PROGRESS:  0:00:00:02 (3): 0 Seconds\n" in b"".join(pieces)


def test_frames_take_the_time_they_were_given(simulator: Path, tmp_path: Path) -> None:
    path = behaving(tmp_path, {"seconds_per_frame": 0.08, "film": "none"})
    began = time.monotonic()

    render(simulator, path)

    assert 0.64 <= time.monotonic() - began < 10


# ---------------------------------------------------------------------------------------------- the script of nexrender


def generated(*pieces: str, comp: str = "Main") -> str:
    own = "\n".join(pieces)
    return (
        f"var nexrender = {{\n    renderCompositionName: '{comp}',\n}};\n"
        f"/* start of custom user script */\n\n{own}\n\n/* end of custom user script */\n"
    )


def data_piece(
    layer: str, value: str, *, comp: str = "null", parts: str = '["Source Text"]', go_on: str = "undefined"
) -> str:
    by = "Name" if layer.startswith("'") else "Index"
    return (
        f"(function() {{\n    nexrender.selectLayersBy{by}({comp}, {layer}, function(layer) {{\n"
        f'        var parts = {parts};\n        var value = {{ "value": {value} }}\n        \n'
        f"        nexrender.changeValueForKeypath(layer, parts, value);\n    }}, null, {go_on});\n}})();\n"
    )


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("'Hello'", "Hello"),
        (r"'It\'s \"so\"'", 'It\'s "so"'),
        (r"'two\nlines \\ slash'", "two\nlines \\ slash"),
        ("'ünï 漢'", "ünï 漢"),
        (r"'ends in \\'", "ends in \\"),
    ],
)
def test_the_texts_of_a_job_are_read_out_of_the_script(literal: str, text: str) -> None:
    script = read_script(generated(data_piece("'title'", literal), data_piece("2", "[1,2]", parts='["Position"]')))

    assert script.texts() == [f"title: {text}"]
    assert [edit.layer for edit in script.edits] == ["title", 2]


def test_a_quote_in_the_composition_breaks_the_script_as_it_breaks_nexrenders() -> None:
    assert "SyntaxError" in str(read_script(generated(comp="Bob's comp")).fault)


PROJECT = Project(
    path="/p/x.aep",
    compositions={
        "Main": Composition(name="Main", layers=("title",)),
        "Other": Composition(name="Other", layers=("logo", "P_img")),
        "Free": Composition(name="Free"),
    },
)


@pytest.mark.parametrize(
    ("piece", "error"),
    [
        (data_piece("'title'", "'x'", comp="'Main'"), None),
        (data_piece("'logo'", "'x'", comp="'Main->Other'"), None),
        (data_piece("'any'", "'x'", comp="'Free'"), None),
        (data_piece("'any'", "'x'"), None),  # the composition that has any layer is one of them
        (
            data_piece("'gone'", "'x'", comp="'Main'"),
            "Couldn't find any layers by provided name (gone) inside a composition: Main",
        ),
        (data_piece("'gone'", "'x'", comp="'Main'", go_on="true"), None),
        (
            data_piece("3", "'x'", comp="'Main'"),
            "Couldn't find any layers by provided index (3) inside a composition: Main",
        ),
        (data_piece("1", "'x'", comp="'Main'"), None),
        (data_piece("'x'", "'x'", comp="'No'"), "Couldn't find any compositions by provided name (No)"),
    ],
)
def test_the_script_fails_where_nexrenders_own_functions_would(piece: str, error: str | None) -> None:
    found = script_error(read_script(generated(piece)), PROJECT, lambda path: True)

    assert found == (error and f"Error: nexrender: {error}")


def test_a_footage_file_that_is_gone_and_a_script_that_throws_end_it() -> None:
    footage = (
        "(function() {\n    nexrender.selectLayersByName(null, 'logo', function(layer) {\n"
        "        nexrender.replaceFootage(layer, '/p/Bob\\'s \"x\".png', false, false)\n"
        "    }, null, undefined);\n})();\n"
    )

    gone = script_error(read_script(generated(footage)), PROJECT, lambda path: path != '/p/Bob\'s "x".png')
    there = script_error(read_script(generated(footage)), PROJECT, lambda path: True)
    thrown = script_error(read_script(generated('throw new Error("no luck");')), PROJECT, lambda path: True)

    assert gone == 'Error: nexrender: Trying to create a file replacement for an unknown file: /p/Bob\'s "x".png'
    assert there is None
    assert thrown == "Error: no luck"


# ---------------------------------------------------------------------------------------------------- its place on disk


@posix
def test_it_starts_from_anywhere_with_nothing_in_the_environment(tmp_path: Path) -> None:
    aerender = install_simulator(tmp_path / 'it\'s "odd" $HOME')

    said = subprocess.run([str(aerender), "-version"], env={}, cwd="/", capture_output=True, text=True, check=True)

    assert aerender.parent.name == "Adobe After Effects 2024"
    assert (aerender.parent / "Scripts" / "Startup" / "commandLineRenderer.jsx").is_file()
    assert said.stdout == "aerender version 24.6x2\n"


def test_the_year_decides_the_version_and_the_mark(tmp_path: Path) -> None:
    old, new = (install_simulator(tmp_path, year=year, patched=True) for year in ("2020", "2026"))

    assert "20.6x2" in say(old, "-version").text
    assert "26.6x2" in say(new, "-version").text
    marks = [(path.parent / "Scripts" / "Startup" / "commandLineRenderer.jsx").read_text() for path in (old, new)]
    assert ["nexrender-patch-v1.0.3" in marks[0], "nexrender-patch-v1.0.4" in marks[1]] == [True, True]


def test_making_it_again_keeps_what_nexrender_wrote_there(tmp_path: Path) -> None:
    script = install_simulator(tmp_path).parent / "Scripts" / "Startup" / "commandLineRenderer.jsx"
    script.write_text("nexrender's own", encoding="utf-8")

    install_simulator(tmp_path)

    assert script.read_text() == "nexrender's own"


def test_on_windows_it_is_a_program_made_of_pips_launcher(tmp_path: Path) -> None:
    pytest.importorskip("pip")

    aerender = install_simulator(tmp_path, platform="nt")

    data = aerender.read_bytes()
    assert aerender == tmp_path / "Adobe After Effects 2024" / "Support Files" / "aerender.exe"
    assert data.startswith(b"MZ")
    assert f'#!"{sys.executable}" -s\r\n'.encode() in data
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["__main__.py"]
    # The launcher's part cannot run here; what it hands to Python can.
    run = subprocess.run(
        [sys.executable, str(aerender), "-version"], capture_output=True, text=True, check=True, env={}
    )
    assert run.stdout == "aerender version 24.6x2\n"


LOADED = """
import sys
from watchrender.render.simulator.render import perform
status = perform(sys.argv[1:], "/")
heavy = {"av", "PIL", "yaml", "pathlib", "subprocess", "watchrender.disk", "platformdirs"} & set(sys.modules)
sys.stderr.write(f"{status} {sorted(heavy)}")
"""


def test_a_render_that_makes_no_film_loads_nothing_heavy(tmp_path: Path) -> None:
    path = behaving(tmp_path, "comp_not_found")
    words = ["-project", str(path), "-comp", "Main", "-output", str(tmp_path / "x.mp4")]

    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{LOADED}", *words],
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stderr == "7 []"


# ------------------------------------------------------------------------------------------------------ under nexrender


@dataclass(frozen=True)
class Attempt:
    """One run of the real nexrender."""

    status: int
    out: str
    err: str


@pytest.fixture
def attempt(nexrender_set: Nexrender, tmp_path: Path) -> Callable[..., Attempt]:
    aerender = install_simulator(tmp_path / "Applications", patched=True)

    def run(
        project: Path, *, assets: list[dict[str, Any]] | None = None, output: str = "spot.mp4", **template: Any
    ) -> Attempt:
        source = {"src": f"file://{project.as_posix()}", "composition": "Main", "useOriginal": True, **template}
        document = {
            "uid": "t1",
            "template": source,
            "output": str(tmp_path / output),
            "assets": assets or [],
            "actions": {},
        }
        (tmp_path / "job.json").write_text(json.dumps(document), encoding="utf-8")
        command = nexrender.command_line(nexrender_set, aerender, tmp_path / "job.json", tmp_path / "work")
        env = nexrender.environment(home=tmp_path, scratch=tmp_path)
        done = subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)
        return Attempt(done.returncode, *(text.decode("utf-8", "replace") for text in (done.stdout, done.stderr)))

    return run


#: mode → nexrender's status, and what it says.
UNDER_NEXRENDER = {
    "good": (0, "> job rendering successfully finished"),
    "comp_not_found": (1, "rendering reached an error: No comp was found with the given name."),
    "output_module_not_found": (1, "rendering reached an error: No output module template was found"),
    "render_settings_not_found": (1, "No render settings template was found"),
    "layer_not_found": (1, "Couldn't find any layers by provided name (P_img)"),
    "script_error": (1, "rendering reached an error: Error executing script: "),
    "damaged": (1, "rendering reached an error: After Effects error: file is damaged."),
    "modal": (1, "Another instance of aerender, or another script, may be running"),
    "unpatched": (1, "aerender SYNTAX ERROR: Illegal argument flag: -r"),
    "apple_event": (1, "aerender ERROR -1712: AESend failed"),
    "connection_closed": (1, "aerender ERROR An existing connection was forcibly closed"),
    "output_folder": (1, "Can not create a file in directory"),
    "codec": (1, "The source compression type is not supported."),
    "disk_full": (1, "There is not enough space on the disk."),
    "licence": (1, "license has expired"),
    "oem_text": (1, "aerender Error: After Effects\ufffd"),
    "crash": (1, "PROGRESS:  0:00:00:02 (3): 0 Seconds"),
    "exit_1": (1, "PROGRESS:  0:00:00:02 (3): 0 Seconds"),
    "exit_1_at_launch": (1, "aerender.exe failed to render the output into the file due to an unknown reason"),
    "exit_after_film": (1, "Total Time Elapsed"),
    "no_film": (1, "Error: Couldn't find a result file: "),
    "silent_exit_0": (1, "Error: Couldn't find a result file: "),
    "one_byte": (0, "Warning: output file size is less than 1000 bytes (1 bytes)"),
    "half_film": (0, "> job rendering successfully finished"),
    "cut_film": (0, "> job rendering successfully finished"),
    "early_exit_0": (0, "> job rendering successfully finished"),
    "source_error": (0, "Could not read from source."),
    "error_but_ok": (0, "rendering reached an error: After Effects error: Unexpected error."),
    "buffered": (0, "aerender version 24.6x2"),
    "garbage": (0, "> job rendering successfully finished"),
    "flood": (0, "IVCAutoReleasePool"),
    "crlf": (0, "(8): 0 Seconds\r\n"),
    "cut_lines": (0, "\n(8): 0 Seconds"),
    "german": (0, "Verstrichene Gesamtzeit: "),
    "missing_fonts": (0, "WARNING:After Effects warning: Project has missing fonts."),
    "missing_footage": (0, "Unable to Render: File Not Found"),
}


@pytest.mark.nexrender
@pytest.mark.parametrize("mode", UNDER_NEXRENDER)
def test_nexrender_takes_it_for_the_real_one(mode: str, attempt: Callable[..., Attempt], tmp_path: Path) -> None:
    status, needle = UNDER_NEXRENDER[mode]

    found = attempt(behaving(tmp_path, mode))

    assert found.status == status, found
    assert needle in found.out + found.err
    assert ("No update from aerender" in found.err) is False


@pytest.mark.nexrender
def test_the_texts_of_the_job_reach_the_film_through_nexrenders_own_script(
    attempt: Callable[..., Attempt], tmp_path: Path
) -> None:
    path = behaving(tmp_path, None, layers=["title", "logo"])
    (tmp_path / "logo.png").write_bytes(b"x")
    text = 'It\'s "so"\n\\ ünï'
    assets = [
        {"type": "data", "layerName": "title", "property": "Source Text", "value": text},
        {"type": "data", "layerIndex": 2, "property": "Position", "value": [1, 2]},
        {"type": "data", "layerName": "title", "property": "Source Text", "expression": "time * 2"},
        {"type": "image", "layerName": "logo", "src": f"file://{tmp_path}/logo.png", "name": "l.png"},
    ]

    found = attempt(path, assets=[*assets, {"type": "data", "layerName": "no", "property": "x", "value": 1}])
    script = read_script(next((tmp_path / "work").rglob("*-script.jsx")).read_text(encoding="utf-8"))

    assert "Couldn't find any layers by provided name (no) inside a composition: *" in found.err
    assert script.texts() == [f"title: {text}"]
    assert [edit.layer for edit in script.edits] == ["title", 2, "title", "logo", "no"]
    assert str(script.edits[3].file).endswith("l.png")
    assert attempt(path, assets=assets).status == 0
    assert len(decoded(tmp_path / "spot.mp4")) == 8


@pytest.mark.nexrender
def test_a_sequence_of_no_frames_is_a_success_to_nexrender(attempt: Callable[..., Attempt], tmp_path: Path) -> None:
    found = attempt(behaving(tmp_path, "no_frames"), output="f_[#####].png", imageSequence=True)

    assert found.status == 0
    assert not list(tmp_path.glob("f_*"))


@pytest.mark.nexrender
def test_range_and_module_of_a_job_reach_aerender(attempt: Callable[..., Attempt], tmp_path: Path) -> None:
    found = attempt(
        behaving(tmp_path, None, output_modules=["H.264"]),
        frameStart=2,
        frameEnd=5,
        outputModule="H.264",
        outputExt="mp4",
    )

    assert found.status == 0, found.err
    assert len(decoded(tmp_path / "spot.mp4")) == 4


def test_a_stop_has_its_status_and_lines() -> None:
    with pytest.raises(Stop) as caught:
        merge(Behaviour(), "nothing_like_this")

    assert caught.value.status == 64
    assert "there are good, comp_not_found" in caught.value.lines[0]
