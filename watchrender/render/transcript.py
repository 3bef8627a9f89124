"""Lines of a render's output → stage, frames, errors, warnings. Pure: time is an argument.

nexrender (with `--debug`) prints its own lines and, in between, the raw chunks of After Effects' aerender. So a line
may be cut in two, with lines of nexrender between the halves; frames come out of order or twice (multi-frame
rendering, field rendering); words are in the language of After Effects, and a chunk need not be UTF-8. What is read
here is therefore the structure of a line first and its words second, and no number is believed because of one line
alone. Having no progress information at all is a normal state.

Memory is bounded whatever is fed (`memory.py`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from watchrender.core.timecode import RATES, count_frames, feet_of
from watchrender.render.lines import LINE_LIMIT
from watchrender.render.memory import Frames, Kept, Pace, shortened

LAST_LINES = 50


class Stage(StrEnum):
    """How far a render has come; it never goes back."""

    SETUP = "setup"
    DOWNLOADING = "downloading"
    SCRIPTING = "scripting"
    LAUNCHING = "launching"
    RENDERING = "rendering"
    FINISHING = "finishing"


# --- what lines look like ---------------------------------------------------------------------------------------------
# Numbers have a greatest length everywhere: a line of eight thousand digits is garbage, not a number.

_TIME = r"-?[0-9]{1,3}[:;][0-9]{2}[:;][0-9]{2}[:;.][0-9]{2,3}|-?[0-9]{1,6}\+[0-9]{2}|-?[0-9]{1,8}"
_FRAME = re.compile(
    rf"^(?:PROGRESS:)?\s*(?:\((?:[^0-9()]{{0,40}}\s)?)?(?:{_TIME})\)?\s+\((?P<n>[0-9]{{1,9}})[UL]?\)\s*[:：]"
)
#: The second half of a cut frame line: `(6): 0 Seconds`, or a little more of it.
_FRAME_TAIL = re.compile(r"^[0-9:;.+)\s]{0,20}\((?P<n>[0-9]{1,9})[UL]?\)\s*[:：]\s*[0-9]{1,9}\s*[^\W\d]")
_HEADER_TIME = re.compile(rf"^PROGRESS:\s+(?P<label>[^\s:：0-9][^:：0-9]{{0,39}}?)\s*[:：]\s*(?P<time>{_TIME})\s*$")
#: `Frame Rate: 25,00 (comp)`: two decimals and perhaps a note; no other header line has this form.
_RATE = re.compile(
    r"^PROGRESS:\s+[^\s:：0-9][^:：0-9]{0,39}[:：]\s*(?P<rate>[0-9]{1,4}[.,][0-9]{2,3})(?:\s*\([^)]*\))?\s*$"
)
#: `19.05.2022 15:23:11: Starting composition “render”.`, in any language: a date, a time, a colon, words.
_DATED = re.compile(
    r"^PROGRESS:\s+[0-9]{1,4}[./-]\s?[0-9]{1,2}[./-]\s?[0-9]{1,4}[^0-9]{1,12}[0-9]{1,2}[:.][0-9]{2}[:.][0-9]{2}"
    r"[^:：]{0,30}[:：]\s*(?P<words>\D.*)$"
)
_ELAPSED = re.compile(r"^PROGRESS:\s+Total Time Elapsed\b", re.IGNORECASE)
_ELAPSED_ANY = re.compile(
    r"^PROGRESS:\s+[^\s:：0-9][^:：0-9]{1,60}[:：]\s*[0-9]{1,6}\s*[^\W\d]+\.?(?:,?\s*[0-9]{1,6}\s*[^\W\d]+\.?)*\s*$"
)
_LAUNCHING = re.compile(r"^PROGRESS:\s*(?:(?:\.\.\.|…)|.*(?:\.\.\.|…)\s*$)")
_LAUNCH_WORDS = "Launching After Effects..."
_PROGRESS = re.compile(r"^PROGRESS:\s*(?P<text>\S.*)$", re.DOTALL)

#: After Effects' own words for Duration; in other languages it is the third of three times that agree.
_DURATION = frozenset(
    {
        "duration",
        "dauer",
        "durée",
        "duración",
        "durata",
        "duração",
        "デュレーション",
        "持续时间",
        "持續時間",
        "지속 시간",
        "длительность",
    }
)

#: Lines that mean failure whatever the exit code says. A colon need not be there, and the words may be in any language:
#: `aerender` followed by anything but its version is a complaint.
_ERROR = re.compile(
    r"^(?:aerender\s+(?:(?:SYNTAX|USAGE)\s+)?ERROR\b"
    r"|aerender\s+(?!version\b|renders\b)[^0-9:：]{1,40}[:：]"
    r"|(?:Error|Fehler|Erreur|Errore|Erro|Ошибка|エラー|错误|錯誤|오류)\s?[:：]\s*(?:nexrender:|After Effects)"
    r"|After Effects error:)",
    re.IGNORECASE,
)
#: `… try again. ( 86 :: 2 )`: the text of a dialog of After Effects, printed bare and even at exit status 0.
_DIALOG = re.compile(r"\(\s*[0-9]{1,6}\s*::\s*[0-9]{1,6}\s*\)\s*$")
#: A warning that is an error: the film on the disk is not whole.
_OUTPUT_BROKEN = re.compile(
    r"output module failed|may be damaged or corrupted|Rendering error while writing", re.IGNORECASE
)
_NO_ERRORS = re.compile(r"\b(?:0|no) errors\b", re.IGNORECASE)
_WARNING = re.compile(r"^(?:WARNING|INFO):\s*(?:After Effects[^:：]{0,20}[:：]\s*)?(?P<text>.*)$", re.DOTALL)
_LOGGED = re.compile(r"\blogged (?P<count>one|[0-9]{1,9}) errors?\b", re.IGNORECASE)
_FOOTAGE = re.compile(
    r"File Not Found:?\s*(?P<file>[^\"”]*)"
    r"|\b(?:files?|footage)\b.{0,40}\b(?:missing|not found)\b|\bmissing\b.{0,20}\bfootage\b"
    r"|Footage\w* feh(?:lt|len)|fehlende\w* (?:Footage|Dateien)|métrage\w* manquant|material de archivo.{0,20}falta",
    re.IGNORECASE,
)
#: `Font family: Bebas` stands in the list of missing dependencies of newer versions.
_FONTS = re.compile(
    r"missing fonts?|fonts?\b.{0,60}\b(?:missing|substitut|not (?:found|available))|missing dependenc.*Font family"
    r"|Schriftart|polices? .{0,30}manqu|fuentes|フォント|字体|字體|글꼴|шрифт",
    re.IGNORECASE,
)

_OWN = re.compile(r"^\[(?P<uid>[A-Za-z0-9_-]{1,64})\] (?P<text>.*)$", re.DOTALL)
_TOLD_ERROR = re.compile(r"^rendering reached an error: *(?P<text>\S.*)$", re.DOTALL)
_DOWNLOAD = re.compile(r"^> Downloading asset (?P<src>.+?)(?:\.\.\.)?$", re.DOTALL)
_ACTIONS = re.compile(r"^applying (?P<phase>\w{1,20}) actions\b")
_NODE_ERROR = re.compile(r"^\[?(?:Uncaught )?(?:[A-Za-z]{0,40})Error(?: \[\w{1,60}\])?: *(?P<text>\S.*)$", re.DOTALL)
_NODE_WORDS = re.compile(
    r"^(?:couldn't parse json|you need to run application with admin|FATAL ERROR:|(?:\S*/)?node(?:\.exe)?: )",
    re.IGNORECASE,
)
_ACTION_FAILED = re.compile(r"Error loading (?P<phase>pre\w{1,12}|post\w{1,12}) module (?P<module>.{1,300}?): ")
_ACTION_MISSING = re.compile(r"Could not require module '(?P<module>[^']{1,300})'")

#: What node prints around an error and that says nothing by itself: its stack, where it stood, the error's fields.
_STACK = re.compile(
    r"\s*(?:at\s\S.*|\^+|[\[\](){},;\s]+|Node\.js v[0-9].*|Require stack:|- \S.*|'[^']*',?|\(Use `node .*"
    r"|node:\S+:[0-9]+|(?:file://)?(?:/|[A-Za-z]:[\\/]).*\.[cm]?js:[0-9]+"
    r"|\[?(?:errno|code|syscall|path|dest|address|port|stack|cause|requireStack|generatedMessage|actual|expected|operator)"
    r"\]?:\s.*)",
    re.DOTALL,
)

_HEADS = ("PROGRESS:", "aerender ", "WARNING:", "INFO:", "Error: ", "After Effects error:", "Running Script:")
_JOIN_LIMIT = 600  # characters of a line put together from its pieces
#: A long run of blanks says no more than a short one, and would cost a pattern with several `\\s*` a long time.
_BLANKS = re.compile(r"\s{17,}")
_MANY_BLANKS = " " * 16
_ESCAPES = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")

_STEPS: tuple[tuple[str, Stage, str], ...] = (
    ("setting up job", Stage.SETUP, "setup"),
    ("downloading assets", Stage.DOWNLOADING, "download"),
    ("running script assemble", Stage.SCRIPTING, "script"),
    ("rendering job", Stage.LAUNCHING, "render"),
    ("spawning aerender", Stage.LAUNCHING, "render"),
    ("rendering took", Stage.FINISHING, "rendered"),
)
_ACTION_STAGES = {
    "predownload": Stage.SETUP,
    "postdownload": Stage.SCRIPTING,
    "prerender": Stage.SCRIPTING,
    "postrender": Stage.FINISHING,
}
_ORDER = {stage: number for number, stage in enumerate(Stage)}


class Transcript:
    """What the lines of one attempt have told so far. Feed it; read it at any time."""

    def __init__(
        self, *, frames: int | None = None, first_frame: int | None = None, step: int = 1, uid: str | None = None
    ) -> None:
        """`frames`: how many the job asks for, where it gives a range; `uid`: the attempt's, not for error lines."""
        self.stage = Stage.SETUP
        self.phase = "setup"  # nexrender's own step: setup, predownload, download, …, render, rendered, postrender
        self.job_started = False  # nexrender runs and has begun with the job
        self.aerender_started = False  # nexrender has started aerender
        self.render_started = False  # After Effects is past its launch
        self.finished_seen = False  # "Finished composition": the film is written
        self.elapsed_seen = False  # "Total Time Elapsed": After Effects has nothing left to do
        self.rendered_seen = False  # nexrender has seen aerender end
        self.nexrender_finished = False
        self.aborted = False  # "INFO: Render aborted."
        self.template_source: str | None = None  # the first download is the project
        self.action_failed: str | None = None  # the module
        self.action_missing: str | None = None
        self.missing_fonts = False
        self.logged_errors = 0

        self._asked = frames if frames and frames > 0 else None
        self._first_frame = first_frame
        self._step = max(1, step)
        self._uid = uid
        self._seen = Frames()
        self._pace = Pace()
        self._percent: float | None = None
        self._total_asked_again = True
        self._total: int | None = None
        self._times: dict[str, str] = {}
        self._rate: float | None = None
        self._begin_words: str | None = None
        self._cut = ""
        self._errors = Kept()
        self._told_errors = Kept()
        self._nexrender_errors = Kept()
        self._warnings = Kept()
        self._footage = Kept()
        self._last_error = ""
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    # --- reading it ---------------------------------------------------------------------------------------------------

    @property
    def frame(self) -> int | None:
        """The highest frame seen, counted from 1 within the rendered range."""
        return self._seen.highest or None

    @property
    def seen_count(self) -> int:
        """How many different frames were seen."""
        return self._seen.count

    @property
    def frames(self) -> int | None:
        """How many there will be. A number that the render itself has overtaken was none."""
        if self._total_asked_again:
            self._total_asked_again = False
            self._total = self._asked or self._told_frames()
        return self._total if self._total and self._seen.count <= self._total else None

    @property
    def frames_are_exact(self) -> bool:
        """Is `frames` beyond doubt? It is not where it was reckoned from a duration at an odd frame rate."""
        rate = self._rate
        return self._asked is not None or rate is None or min(abs(rate - known) for known in RATES) < 0.02

    @property
    def rate(self) -> float | None:
        """Frames per second of the film, where After Effects has told it."""
        return self._rate

    @property
    def fps(self) -> float | None:
        """Frames rendered per second of late; None when not known."""
        return self._pace.fps

    @property
    def percent(self) -> float | None:
        """Of the frames, how many are done; None when not known, never falling, never 100 (only a verified film is)."""
        return self._percent

    @property
    def errors(self) -> tuple[str, ...]:
        """Lines of After Effects that mean failure even at exit status 0: the first ones and the last ones."""
        # nexrender repeats the first error in its own words; that counts where the line itself came in pieces
        said = [error.replace(";", ":") for error in self._errors]
        return (*self._errors, *(told for told in self._told_errors if not any(line.endswith(told) for line in said)))

    @property
    def nexrender_errors(self) -> tuple[str, ...]:
        """What nexrender, node or an action complained about; it counts where the exit status agrees."""
        return tuple(self._nexrender_errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    @property
    def missing_footage(self) -> list[str]:
        """Files that After Effects did not find, or its words where it names none."""
        return list(self._footage)

    @property
    def last_error_line(self) -> str:
        """The last error line without what differs from attempt to attempt; empty where there was none."""
        return self._last_error.replace(self._uid, "…") if self._uid else self._last_error

    def last_lines(self, count: int = LAST_LINES) -> tuple[str, ...]:
        """The last lines that say something."""
        return tuple(self._last)[-count:] if count > 0 else ()

    @property
    def telling_line(self) -> str:
        """The last line that tells what happened: behind an error stands the stack of it, which tells nobody anything.
        Empty where nothing was said."""
        lines = reversed(self._last)
        return next((line for line in lines if not _STACK.fullmatch(line)), next(iter(self.last_lines(1)), ""))

    @property
    def where(self) -> str:
        """How far it came, in words: `frame 51 of 120`."""
        if not self.frame:
            return "before the first frame" if not self.render_started else "with no frame reported"
        words = f"frame {self.frame}" + (f" of {self.frames}" if self.frames else "")
        if self._first_frame:
            words += f" (number {self._first_frame + (self.frame - 1) * self._step} in the composition)"
        return words

    # --- feeding it ---------------------------------------------------------------------------------------------------

    def feed(self, line: str, at: float) -> None:
        """One line without its end; `at` is monotonic time in seconds."""
        line = _BLANKS.sub(_MANY_BLANKS, _ESCAPES.sub("", line[:LINE_LIMIT]))
        if not line.strip():
            return
        self._last.append(shortened(line.rstrip(), 2000))
        if self._own_line(line):
            return
        if self._read(line, at):
            self._cut = ""
            return
        self._progress_line(line)
        self._cut = self._join(line, at)

    def _join(self, line: str, at: float) -> str:
        """Put a line that tells nothing to what came before it; what is left may still be going on."""
        joined = self._cut + line
        if line.startswith(_HEADS):
            return line
        if self._cut and self._read(joined, at):
            return ""
        if any(head.startswith(line) for head in _HEADS):
            return line
        return joined if self._cut and len(joined) <= _JOIN_LIMIT else ""

    def _read(self, line: str, at: float) -> bool:
        """Take what this line tells. False where it tells nothing, and may be half a line."""
        return any(reader(self, line, at) for reader in _READERS)

    def _own_line(self, line: str) -> bool:
        """A line of nexrender's own. These are whole, and may stand between the halves of another."""
        found = _OWN.match(line)
        if not found:
            return self._plain_own_line(line)
        text = found["text"]
        self.job_started = True
        if told := _TOLD_ERROR.match(text):
            self._told_errors.add(told["text"])
            self._last_error = shortened(told["text"].strip())
        elif download := _DOWNLOAD.match(text):
            self._reach(Stage.DOWNLOADING, "download")
            self.template_source = self.template_source or download["src"][:4000]
        elif actions := _ACTIONS.match(text):
            self._reach(_ACTION_STAGES.get(actions["phase"], Stage.SETUP), actions["phase"])
        else:
            self._own_step(text)
        return True

    def _own_step(self, text: str) -> None:
        for words, stage, phase in _STEPS:
            if text.startswith(words):
                self._reach(stage, phase)
                self.aerender_started |= phase == "render"
                self.rendered_seen |= phase == "rendered"
                return

    def _plain_own_line(self, line: str) -> bool:
        if line.startswith("> job rendering successfully finished"):
            self.nexrender_finished = True
            self._reach(Stage.FINISHING, "")
            return True
        return line.startswith(("> ", "checking After Effects command line", "command line patch"))

    def _reach(self, stage: Stage, phase: str) -> None:
        self.stage = max(self.stage, stage, key=_ORDER.__getitem__)
        self.phase = phase or self.phase

    def _frame_line(self, line: str, at: float) -> bool:
        found = _FRAME.match(line) or _FRAME_TAIL.match(line)
        if not found:
            return False
        if not self.rendered_seen:
            self._start_rendering()
            self._count(int(found["n"]), at)
        return True

    def _count(self, number: int, at: float) -> None:
        if self._seen.add(number):
            self._pace.add(at, self._seen.count)
            self._reckon()

    def _reckon(self) -> None:
        if self.frames and self._seen.count:
            percent = min(99.9, round(100 * self._seen.count / self.frames, 1))
            self._percent = max(self._percent or 0.0, percent)

    def _dated_line(self, line: str, at: float) -> bool:
        """The lines that begin and end a composition; in a language not known, the second other one is the end."""
        found = _DATED.match(line)
        if not found:
            return False
        self._start_rendering()
        words = found["words"].strip()
        if words.startswith("Starting composition"):
            self._begin_words = words
        elif words.startswith("Finished composition"):
            self.finished_seen = True
        elif self._begin_words is None:
            self._begin_words = words
        elif words != self._begin_words:
            self.finished_seen = True
        return True

    def _elapsed_line(self, line: str, at: float) -> bool:
        # The guess by form alone is believed only after the composition is finished: it lets the tree be ended.
        if not (_ELAPSED.match(line) or (self.finished_seen and _ELAPSED_ANY.match(line))):
            return False
        self._start_rendering()
        self.elapsed_seen = True
        self._reach(Stage.FINISHING, "")
        return True

    def _header_line(self, line: str, at: float) -> bool:
        if found := _RATE.match(line):
            rate = float(found["rate"].replace(",", "."))
            self._rate = self._rate or (rate if 0 < rate <= 1000 else None)
        elif found := _HEADER_TIME.match(line):
            if len(self._times) < 16:
                self._times.setdefault(found["label"].strip().casefold(), found["time"])
        else:
            return False
        self._start_rendering()
        self._total_asked_again = True
        self._reckon()
        return True

    def _told_frames(self) -> int | None:
        """The number of frames that After Effects' header tells."""
        times = list(self._times.values())
        for label, time in self._times.items():
            if label in _DURATION:
                return self._stepped(count_frames(time, self._rate, feet_of(times)))
        counts = [count_frames(time, self._rate, feet_of(times)) for time in times]
        for start, end, duration in zip(counts, counts[1:], counts[2:], strict=False):
            if start is not None and end is not None and end - start + 1 == duration:
                return self._stepped(duration)
        return None

    def _stepped(self, frames: int | None) -> int | None:
        return -(-frames // self._step) if frames and frames > 0 else None

    def _start_rendering(self) -> None:
        self.render_started = True
        self._reach(Stage.RENDERING, "")

    def _progress_line(self, line: str) -> None:
        """Any other progress line, or the first half of one, tells that After Effects is past its launch."""
        found = _PROGRESS.match(line)
        if found and not _LAUNCHING.match(line) and not _LAUNCH_WORDS.startswith(found["text"]):
            self._start_rendering()

    def _error_line(self, line: str, at: float) -> bool:
        if line.startswith(("WARNING:", "INFO:", "PROGRESS:")):
            return False
        if not (_ERROR.match(line) or _DIALOG.search(line)):
            return False
        if not _NO_ERRORS.search(line):
            self._add_error(line)
        return True

    def _add_error(self, line: str) -> None:
        self._errors.add(line)
        self._last_error = shortened(line.strip())

    def _warning_line(self, line: str, at: float) -> bool:
        found = _WARNING.match(line)
        if not found:
            return False
        text = found["text"].strip()
        if line.startswith("WARNING:"):
            self._warnings.add(text)
        self.aborted |= text.startswith("Render aborted")
        self._note_logged(text)
        self._note_missing(text)
        if _OUTPUT_BROKEN.search(text):
            self._add_error(line)
        return bool(text)

    def _note_logged(self, text: str) -> None:
        if found := _LOGGED.search(text):
            self.logged_errors = max(self.logged_errors, 1 if found["count"].lower() == "one" else int(found["count"]))

    def _note_missing(self, text: str) -> None:
        if _FONTS.search(text):
            self.missing_fonts = True
        elif found := _FOOTAGE.search(text):
            self._footage.add((found["file"] or "").strip(" .") or text)

    def _nexrender_error(self, line: str, at: float) -> bool:
        found = _NODE_ERROR.match(line)
        if found and _is_of_aerender(found["text"]):
            return self._read(found["text"], at)  # "Error: " and then the whole output of aerender
        if not found and not _NODE_WORDS.match(line):
            return False
        self._nexrender_errors.add(line)
        self._last_error = shortened(line.strip())
        self._note_action(line)
        return True

    def _note_action(self, line: str) -> None:
        if missing := _ACTION_MISSING.search(line):
            self.action_missing = self.action_missing or missing["module"]
        elif failed := _ACTION_FAILED.search(line):
            self.action_failed = self.action_failed or failed["module"]


#: In this order: what is most frequent and most certain first.
_READERS: tuple[Callable[[Transcript, str, float], bool], ...] = (
    Transcript._frame_line,
    Transcript._elapsed_line,
    Transcript._dated_line,
    Transcript._header_line,
    Transcript._error_line,
    Transcript._warning_line,
    Transcript._nexrender_error,
)


def _is_of_aerender(text: str) -> bool:
    return text.startswith(("aerender ", "PROGRESS:", "WARNING:", "INFO:", "Running Script:", "After Effects"))
