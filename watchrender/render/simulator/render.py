"""One render of the simulated aerender, step by step as After Effects takes them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from watchrender.render.simulator import lines
from watchrender.render.simulator.arguments import Arguments, check_increment, check_values, parse
from watchrender.render.simulator.behaviour import FAULTS, WARNINGS, Behaviour, merge, merge_text
from watchrender.render.simulator.lines import Speech
from watchrender.render.simulator.project import Composition, Project, read_project
from watchrender.render.simulator.stop import AE_RUNTIME, AERENDER_RUNTIME, BAD_REQUEST, OK, Stop, exit_code
from watchrender.render.simulator.voice import Voice

if TYPE_CHECKING:
    from watchrender.render.simulator.film import Film
    from watchrender.render.simulator.script import Edit

_RANGE = "aerender Error: After Effects error: Value out of range: the render has no frames."  # not from a real log


def perform(words: Sequence[str], home: str) -> int:
    """Render as the words say, in the After Effects folder `home`; returns the exit status."""
    voice = Voice()
    try:
        render = Render(words, home, voice)
        status, last = render.run(), tuple[str, ...]()
    except Stop as stop:
        status, last = stop.status, stop.lines
    for line in last:
        voice.say(line)
    if status != BAD_REQUEST:
        render.say_goodbye()
    return exit_code(status, has_log=voice.has_log)


class Render:
    """One run. Each step may be where it fails, stands still, or is gone, as its behaviour says."""

    def __init__(self, words: Sequence[str], home: str, voice: Voice) -> None:
        self._words = words
        self._home = home
        self._voice = voice
        self._behaviour = _from_folder(home)
        self._output = ""
        self._script = ""
        self._texts: list[str] = []
        self._film: Film

    def run(self) -> int:
        """All steps of a render that goes well."""
        if "-version" in self._words:
            self._voice.say(f"aerender version {self._version()}")
            return OK
        project = self._foresee()
        self._voice.behaviour = self._behaviour
        self._prepare()
        self._step("start")
        self._launch()
        arguments = parse(self._words, patched=_is_patched(self._home))
        self._set_up(arguments)
        project = self._open(arguments, project)
        self._run_script(arguments, project)
        speech = self._queue(arguments, project)
        seconds = self._render(arguments, project, speech)
        self._voice.say(speech.total(seconds))
        self._step("elapsed")
        return OK

    # ---------------------------------------------------------------------------------------------------- before it

    def _foresee(self) -> Project | None:
        """Read the project before its time: how it behaves from its first moment on is written in there."""
        project: Project | None = None
        composition: Composition | None = None
        try:
            arguments = parse(self._words)
            project = read_project(arguments.value("-project") or "")
            composition = project.composition(arguments.value("-comp") or "")
            self._output = arguments.value("-output") or ""
            self._script = arguments.value("-r") or ""
        except Stop as stop:
            if stop.status == BAD_REQUEST:
                raise
        if project is not None:
            self._behaviour = merge(self._behaviour, project.behaviour)
        if composition is not None:
            self._behaviour = merge(self._behaviour, composition.behaviour)
        self._behaviour = merge_text(self._behaviour, os.environ.get("WATCHRENDER_SIM_BEHAVIOUR", "good"))
        if self._behaviour.fail_times and project is not None and composition is not None:
            self._behaviour = _counted(self._behaviour, project, composition)
        return project

    def _prepare(self) -> None:
        if self._behaviour.ignores_signals:
            for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_IGN)
        self._note("aerender", os.getpid())
        if self._behaviour.grandchild:
            from watchrender.render.simulator.grandchild import start

            self._note("grandchild", start(self._behaviour.grandchild, self._behaviour.grandchild_seconds))

    def _note(self, name: str, pid: int) -> None:
        if self._behaviour.pids:
            with open(self._behaviour.pids, "a", encoding="utf-8") as file:
                file.write(f"{name} {pid}\n")

    def _launch(self) -> None:
        if self._behaviour.banner == "first":
            self._voice.say(f"aerender version {self._version()}")
        elif self._behaviour.banner == "device":
            for line in lines.DEVICE:
                self._voice.say(line)
        if self._behaviour.banner in ("first", "device"):
            self._voice.say(lines.LAUNCHING)
        self._step("launch")
        time.sleep(self._behaviour.launch_seconds)
        if self._behaviour.banner in ("first", "device"):
            self._voice.say(lines.LAUNCHED)

    def say_goodbye(self) -> None:
        """What a buffered aerender says first and its reader hears last."""
        if self._behaviour.banner == "last":
            for line in (f"aerender version {self._version()}", lines.LAUNCHING, lines.LAUNCHED):
                self._voice.say(line)

    def _version(self) -> str:
        years = re.findall(r"20\d\d", self._home)
        return lines.version(years[-1] if years else "")

    # ------------------------------------------------------------------------------------------------ in After Effects

    def _set_up(self, arguments: Arguments) -> None:
        log = arguments.value("-log")
        if log is not None:
            if not os.path.isdir(os.path.dirname(os.path.abspath(log))):
                self._voice.say(f"aerender ERROR: Directory specified for log file does not exist: {log}")
                raise Stop(AE_RUNTIME, "aerender ERROR: Runtime error in After Effects.")
            self._voice.log_to(log)
        check_values(arguments)
        self._voice.is_quiet = arguments.value("-v") == "ERRORS"

    def _open(self, arguments: Arguments, project: Project | None) -> Project:
        path = arguments.value("-project")
        if path is None:
            raise Stop(AERENDER_RUNTIME, "aerender ERROR: No project provided and no project open.")
        project = project or read_project(path)
        self._step("open")
        if project.fonts_missing:
            self._voice.say(WARNINGS["fonts"][1])
        return project

    def _run_script(self, arguments: Arguments, project: Project) -> None:
        path = arguments.value("-r")
        if path is None:
            return
        from watchrender.render.simulator.script import read_script, script_error

        self._voice.say(f"Running Script: {path}")
        self._step("script")
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                script = read_script(file.read())
        except OSError:
            self._voice.say(f"aerender ERROR: Can not open script file. Make sure path is correct: {path}")
            raise Stop(AE_RUNTIME, "aerender ERROR: Runtime error in After Effects.") from None
        error = script_error(script, project, os.path.exists)
        if error is not None:
            self._voice.say(f"aerender ERROR: Error executing script: {path}")
            self._voice.say(error)
            raise Stop(AE_RUNTIME, "aerender ERROR: Runtime error in After Effects.")
        self._texts = script.texts()
        if self._behaviour.sees:
            _tell_of_footage(script.edits, self._behaviour.sees)

    def _queue(self, arguments: Arguments, project: Project) -> Speech:
        name = arguments.value("-comp")
        composition = project.composition(name) if name is not None else _only(project)
        if composition is None:
            raise Stop(AERENDER_RUNTIME, *FAULTS["comp"][2])
        self._voice.say(lines.ADDING)
        module = arguments.value("-OMtemplate")
        if module is not None and project.output_modules is not None and module not in project.output_modules:
            raise Stop(AERENDER_RUNTIME, *FAULTS["output_module"][2])
        if not self._output:
            raise Stop(
                AERENDER_RUNTIME, "aerender ERROR: Specified render queue item needs output file but none provided."
            )
        self._step("queue")
        speech = self._range(arguments, composition)
        if not os.path.isdir(os.path.dirname(os.path.abspath(self._output))):
            raise Stop(AE_RUNTIME, *(self._filled(line) for line in FAULTS["folder"][2]))
        return speech

    def _range(self, arguments: Arguments, composition: Composition) -> Speech:
        start, end, step = arguments.number("-s"), arguments.number("-e"), check_increment(arguments)
        first = 0 if start is None else start - composition.start_frame
        last = composition.frames - 1 if end is None else end - composition.start_frame
        if last < first:
            raise Stop(AE_RUNTIME, _RANGE)
        if first < 0 or last >= composition.frames:
            self._voice.say(WARNINGS["span"][1])
        count = (last - first) // step + 1
        return Speech(behaviour=self._behaviour, composition=composition, first=first, count=count, step=step)

    def _render(self, arguments: Arguments, project: Project, speech: Speech) -> float:
        from watchrender.render.simulator.film import FilmError

        try:
            return self._make_film(arguments, project, speech)
        except FilmError as error:
            fault = "disk_full" if error.is_full else "folder"
            raise Stop(AE_RUNTIME, *(self._filled(line) for line in FAULTS[fault][2])) from error

    def _make_film(self, arguments: Arguments, project: Project, speech: Speech) -> float:
        from watchrender.render.simulator.film import open_film

        module = arguments.value("-OMtemplate") or "Lossless"
        self._film = open_film(
            self._output,
            speech,
            texts=self._texts,
            kind=self._behaviour.film,
            output_module=arguments.value("-OMtemplate"),
            extension=self._behaviour.extension,
            start=arguments.number("-s") or speech.composition.start_frame,
        )
        began = time.monotonic()
        for line in speech.header(_now(), self._film.path, module):
            self._voice.say(line)
        missing = project.missing_footage()
        if missing and self._behaviour.missing_footage == "fail" and "-continueOnMissingFootage" not in arguments:
            raise Stop(AE_RUNTIME, *FAULTS["source"][2])
        self._frames(speech)
        self._film.close()
        self._voice.say(speech.finished(_now()))
        self._complain(missing)
        self._step("finished")
        self._voice.say("")
        return time.monotonic() - began

    def _frames(self, speech: Speech) -> None:
        order = list(range(1, speech.count + 1))
        told = lines.in_multi_frame_order(speech.count) if self._behaviour.out_of_order else order
        turning = min(self._behaviour.frame or (speech.count + 1) // 2, speech.count)
        for done, number in zip(order, told, strict=True):
            began = time.monotonic()
            self._film.frame(done)
            if self._behaviour.seconds_per_frame:
                time.sleep(max(0.0, self._behaviour.seconds_per_frame - (time.monotonic() - began)))
            if done == turning:
                self._step("frame")
            self._tell(speech, number, int(time.monotonic() - began))

    def _tell(self, speech: Speech, number: int, seconds: int) -> None:
        if self._behaviour.progress == "none":
            return
        for _ in range(2 if self._behaviour.twice else 1):
            for line in speech.frame(number, seconds):
                self._voice.say(line)

    def _complain(self, missing: Sequence[str]) -> None:
        """What After Effects logged while it rendered: it says so at the end, and calls it a warning."""
        head = "WARNING:After Effects warning: logged"
        if len(missing) == 1:
            self._voice.say(f"{head} one error  error: Unable to Render: File Not Found {missing[0]}")
        elif missing:
            self._voice.say(
                f"{head} {len(missing)} errors, please check log. "
                f'First error was "error: Unable to Render: File Not Found {missing[0]}'
            )

    # ------------------------------------------------------------------------------------------- where it may go wrong

    def _step(self, name: str) -> None:
        """A step is reached: warn, make noise, fail, be gone or stand still, as the behaviour says."""
        asked = self._behaviour
        for warning in asked.warnings:
            if WARNINGS[warning][0] == name:
                self._voice.say(self._filled(WARNINGS[warning][1]))
        if name == "frame":
            self._make_noise()
        if asked.fails and FAULTS[asked.fails][0] == name:
            self._fail(asked.fails)
        if asked.at == name and asked.signal:
            _die_of(asked.signal)
        if asked.at == name and asked.exits is not None:
            os._exit(asked.exits)
        if asked.hangs == name:
            self._hang()

    def _fail(self, fault: str) -> None:
        _, status, said = FAULTS[fault]
        raise Stop(status, *(self._filled(line) for line in said))

    def _filled(self, line: str) -> str:
        folder = os.path.dirname(self._output)
        for name, value in (("{output}", self._output), ("{script}", self._script), ("{folder}", folder)):
            line = line.replace(name, value)
        return line

    def _make_noise(self) -> None:
        if self._behaviour.garbage:
            self._voice.write(lines.GARBAGE + b"\n")
        noise = (lines.NOISE + "\n").encode() * 64
        for _ in range(self._behaviour.flood_bytes // len(noise)):
            self._voice.write(noise)

    def _hang(self) -> None:
        until = time.monotonic() + self._behaviour.hang_seconds
        while time.monotonic() < until:
            if not self._behaviour.works_while_hanging:
                time.sleep(min(1.0, self._behaviour.hang_seconds))


def _from_folder(home: str) -> Behaviour:
    try:
        with open(os.path.join(home, "behaviour.json"), encoding="utf-8") as file:
            return merge_text(Behaviour(), file.read())
    except FileNotFoundError:
        return Behaviour()


def _is_patched(home: str) -> bool:
    """Does this After Effects have nexrender's command-line script? Only then it knows -r."""
    try:
        with open(os.path.join(home, "Scripts", "Startup", "commandLineRenderer.jsx"), "rb") as file:
            return b"nexrender-patch" in file.read(4096)
    except OSError:
        return True  # started by itself, outside of any After Effects


def _counted(behaviour: Behaviour, project: Project, composition: Composition) -> Behaviour:
    """The behaviour of this try: the tries before it are counted in a small file."""
    plain = re.sub(r"[^\w-]", "_", composition.name)
    name = f".{os.path.basename(project.path)}.{plain}.tries"
    path = behaviour.tries_file or os.path.join(os.path.dirname(os.path.abspath(project.path)), name)
    try:
        with open(path, encoding="ascii") as file:
            before = int(file.read() or 0)
    except (OSError, ValueError):
        before = 0
    with open(path, "w", encoding="ascii") as file:
        file.write(str(before + 1))
    return merge(behaviour, behaviour.failing) if before < behaviour.fail_times else behaviour


def _tell_of_footage(edits: Sequence[Edit], record: str) -> None:
    import hashlib
    import json

    found = {}
    for edit in edits:
        if edit.file is not None:
            with open(edit.file, "rb") as footage:
                found[str(edit.layer)] = hashlib.sha256(footage.read()).hexdigest()
    with open(record, "w", encoding="utf-8") as file:
        json.dump(found, file)


def _only(project: Project) -> Composition | None:
    """Without -comp what lies in the render queue is rendered: here the first composition."""
    return next(iter((project.compositions or {}).values()), None)


def _die_of(name: str) -> None:
    if sys.platform == "win32":
        os._exit(0xC0000005 - 2**32)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number = getattr(signal, f"SIG{name.removeprefix('SIG')}")
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(10)


def _now() -> str:
    """The date as an American Windows writes it."""
    now = time.localtime()
    half = "AM" if now.tm_hour < 12 else "PM"
    clock = f"{(now.tm_hour + 11) % 12 + 1}:{now.tm_min:02d}:{now.tm_sec:02d} {half}"
    return f"{now.tm_mon}/{now.tm_mday}/{now.tm_year} {clock}"
