"""What aerender says: its lines, in the forms and languages they are known in. Pure.

English is as real logs have it; of German and French only the words nexrender or a public log name are certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from watchrender.render.simulator.behaviour import Behaviour
from watchrender.render.simulator.project import Composition

LAUNCHING = "PROGRESS: Launching After Effects..."
LAUNCHED = "PROGRESS: ...After Effects successfully launched"
ADDING = "PROGRESS: Adding specified comp to Render Queue"

#: A driver's words that land inside the banner's line.
DEVICE = (
    'aerender version Using DXGI: Device: "NVIDIA GeForce GTX 1650" has dedicated video RAM (MB): 3962',
    "24.6x2",
)
NOISE = (
    "ERROR *** IVCAutoReleasePool: Object 0000000022FD8270 of class vcfoundation::data::DataWrapper autoreleased with "
    "no pool in place - just leaking"
)
GARBAGE = bytes(range(256)) * 64 + b"\x1b[31m\x00\xff\xfe\xc3(" * 32

_WORDS = {
    "en": {
        "start": "Start",
        "end": "End",
        "duration": "Duration",
        "rate": "Frame Rate",
        "starting": "Starting composition",
        "finished": "Finished composition",
        "total": "Total Time Elapsed:",
        "seconds": "Seconds",
        "skipping": "Skipping",
    },
    "de": {
        "start": "Anfang",
        "end": "Ende",
        "duration": "Dauer",
        "rate": "Framerate",
        "starting": "Komposition wird gestartet:",
        "finished": "Komposition fertig gestellt:",
        "total": "Verstrichene Gesamtzeit:",
        "seconds": "Sekunden",
        "skipping": "Überspringen",
    },
    "fr": {
        "start": "Début",
        "end": "Fin",
        "duration": "Durée",
        "rate": "Fréquence d'images",
        "starting": "Début de la composition",
        "finished": "Composition terminée",
        "total": "Temps total écoulé :",
        "seconds": "Secondes",
        "skipping": "Ignorer",
    },
}


def version(year: str) -> str:
    """The version an After Effects of this year calls itself."""
    return f"{int(year) % 100}.6x2" if year.isdigit() else "24.6x2"


@dataclass(frozen=True, kw_only=True)
class Speech:
    """The lines of one render."""

    behaviour: Behaviour
    composition: Composition
    first: int  # the first frame, as the composition counts
    count: int
    step: int = 1

    def header(self, when: str, output: str, output_module: str) -> Iterator[str]:
        """Everything before the first frame."""
        word, last = self._words, self.first + (self.count - 1) * self.step
        decimal = "." if self.behaviour.language == "en" else ","
        rate = f"{self.composition.fps:.2f}".replace(".", decimal)
        yield f"PROGRESS:  {when}: {word['starting']} “{self.composition.name}”."
        yield "PROGRESS:  Render Settings: Best Settings"
        yield "PROGRESS:  Quality: Best"
        yield "PROGRESS:  Resolution: Full"
        yield f"PROGRESS:  Size: {self.composition.width} x {self.composition.height}"
        yield "PROGRESS:  Proxy Use: Use No Proxies"
        yield "PROGRESS:  Time Span: Work Area"
        yield f"PROGRESS:  {word['start']}: {self.time(self.first)}"
        yield f"PROGRESS:  {word['end']}: {self.time(last)}"
        yield f"PROGRESS:  {word['duration']}: {self.time(last - self.first + self.step, is_length=True)}"
        yield f"PROGRESS:  {word['rate']}: {rate} (comp)"
        yield "PROGRESS:  Guide Layers: All Off"
        yield "PROGRESS:  Skip Existing Files: Off"
        yield "PROGRESS:  "
        yield f"PROGRESS:  Output Module: {output_module}"
        yield f"PROGRESS:  Output To: {output}"
        yield "PROGRESS:  Format: QuickTime"
        yield "PROGRESS:  Post-Render Action: None"
        yield "PROGRESS:  "

    def frame(self, number: int, seconds: int) -> Iterator[str]:
        """The lines of the frame that is the number-th of this render, counted from 1."""
        time = self.time(self.first + (number - 1) * self.step)
        if number in self.behaviour.skipped:
            blank = " " if self.behaviour.display == "feet" else "  "
            yield f"PROGRESS:{blank}({self._words['skipping']} {time}) ({number}): 0 {self._words['seconds']}"
            return
        for field in ("U", "L") if self.behaviour.fields else ("",):
            yield f"PROGRESS:  {time} ({number}{field}): {seconds} {self._words['seconds']}"

    def finished(self, when: str) -> str:
        """The line after the last frame."""
        return f"PROGRESS:  {when}: {self._words['finished']} “{self.composition.name}”."

    def total(self, seconds: float) -> str:
        """The line with the time it took: the last one of a render that went well."""
        whole = int(seconds)
        if self.behaviour.language != "en" or whole < 60:
            return f"PROGRESS:  {self._words['total']} {whole} {self._words['seconds']}"
        if whole < 3600:
            return f"PROGRESS:  {self._words['total']} {whole // 60} Min, {whole % 60} Sec"
        return f"PROGRESS:  {self._words['total']} {whole // 3600} Hr, {whole % 3600 // 60} Min"

    def time(self, frame: int, *, is_length: bool = False) -> str:
        """A frame's time in the project's display; a length is not moved by where the project starts to count."""
        display, base = self.behaviour.display, max(1, round(self.composition.fps))
        frame = frame if is_length else frame + self.composition.start_frame
        if display == "frames":
            return f"{frame:05d}"
        if display == "feet":
            return f"{frame // 16:03d}+{frame % 16:02d}"
        if display == "drop":
            return _timecode(_with_dropped(frame, base), base, ";")
        return _timecode(frame, base, ":")

    @property
    def _words(self) -> dict[str, str]:
        return _WORDS[self.behaviour.language]


def _timecode(frame: int, base: int, sign: str) -> str:
    seconds, frames = divmod(frame, base)
    return sign.join((str(seconds // 3600), f"{seconds // 60 % 60:02d}", f"{seconds % 60:02d}", f"{frames:02d}"))


def _with_dropped(frame: int, base: int) -> int:
    """Drop-frame counts on past two numbers (four at 60) each minute but the tenth."""
    dropped = 2 * max(1, base // 30)
    tens, rest = divmod(frame, base * 600 - 9 * dropped)
    minutes = max(0, rest - dropped) // (base * 60 - dropped)
    return frame + dropped * (9 * tens + minutes)


def in_multi_frame_order(count: int) -> list[int]:
    """The order in which frames are told of when several are rendered at once: near the right one, never quite."""
    order: list[int] = []
    for start in range(1, count + 1, 4):
        block = list(range(start, min(start + 4, count + 1)))
        order += block[1::2] + block[::2]
    return order
