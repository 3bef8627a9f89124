"""The film that the simulated render makes: a real one with PyAV, a small canned one without.

The pictures show the composition's name, the texts that the job put into its layers, and the frame's number. Frames
reach the disk as they are rendered, so that the file grows as a real one does. PyAV and Pillow are loaded only when a
film is begun: a render that fails before costs nothing.
"""

from __future__ import annotations

import os
import re
import struct
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from watchrender.render.simulator.lines import Speech

if TYPE_CHECKING:
    from PIL.Image import Image

_CANNED = os.path.join(os.path.dirname(__file__), "canned.mp4")

#: suffix → FFmpeg's container, encoder, pixels, and the options that make it quick. What is not here becomes mp4.
_MOVIES: dict[str, tuple[str, str, str, dict[str, str]]] = {
    ".mp4": ("mp4", "libx264", "yuv420p", {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}),
    ".mov": ("mov", "libx264", "yuv420p", {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}),
    ".mkv": ("matroska", "libx264", "yuv420p", {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}),
    ".avi": ("avi", "mpeg4", "yuv420p", {"q": "6"}),
    ".webm": ("webm", "libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "b": "500k"}),
    ".gif": ("gif", "gif", "rgb8", {}),
    ".wmv": ("asf", "wmv2", "yuv420p", {"q": "6"}),
}

#: A still format; the ones Pillow cannot write become PNG under that name.
_STILLS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".tga", ".bmp", ".exr", ".psd", ".dpx", ".cin", ".sgi"})

#: What the output modules that come with After Effects make of a movie's suffix, from 2022 on.
_MODULES = (
    (re.compile(r"^(h\.?26[45])\b", re.IGNORECASE), ".mp4"),
    (re.compile(r"^(lossless|high quality|apple prores|prores)\b", re.IGNORECASE), ".mov"),
)


class FilmError(Exception):
    """The film cannot be written; `is_full` where the disk is at fault."""

    def __init__(self, reason: str, *, is_full: bool) -> None:
        super().__init__(reason)
        self.is_full = is_full


class Film(Protocol):
    """Something that takes frames, counted from 1."""

    path: str

    def frame(self, number: int) -> None: ...

    def close(self) -> None: ...

    def file_of(self, number: int) -> str:
        """The file that holds this frame."""
        return self.path


def open_film(
    output: str,
    speech: Speech,
    *,
    texts: Sequence[str] = (),
    kind: str = "whole",
    output_module: str | None = None,
    extension: str = "",
    start: int = 0,
) -> Film:
    """Begin the film at `output`, in the kind that was asked for. `start` numbers the first file of a sequence."""
    path = _path(output, output_module, extension)
    is_sequence = "[#" in os.path.basename(path) or os.path.splitext(path)[1].lower() in _STILLS
    if kind == "none":
        return _Nothing(path)
    if kind == "byte":
        return _OneByte(path)
    pictures = _pictures(speech, texts)
    if is_sequence:
        film: Film = _Sequence(_pattern(path), pictures, first=start, step=speech.step)
    elif kind == "canned" or not _has_av():
        film = _Canned(path, speech.count)
    else:
        film = _Movie(path, pictures, _rate(speech.composition.fps) / speech.step)
    if kind == "half":
        return _Half(film, speech.count)
    return _Spoiled(film, kind, (speech.count + 1) // 2) if kind in SPOILS else film


def _path(output: str, output_module: str | None, extension: str) -> str:
    """Where the film really goes: the output module decides on a movie's suffix, not the name asked for."""
    stem, suffix = os.path.splitext(output)
    if extension:
        return stem + extension
    if suffix.lower() not in _STILLS and "[#" not in os.path.basename(output):
        for module, forced in _MODULES:
            if output_module and module.match(output_module):
                return stem + forced
    return output


def _pattern(path: str) -> str:
    """The path of a sequence's files, with `%` for the number. Without [###] After Effects adds one to the name."""
    folder, name = os.path.split(path.replace("%", "%%"))
    found = re.search(r"\[(#+)\]", name)
    if found is None:
        stem, suffix = os.path.splitext(name)
        return os.path.join(folder, f"{stem}%05d{suffix}")
    return os.path.join(folder, f"{name[: found.start()]}%0{len(found[1])}d{name[found.end() :]}")


def _rate(fps: float) -> Fraction:
    """The exact rate: 29.97 means 30000/1001."""
    near = round(fps * 1.001)
    if abs(fps - near / 1.001) < 0.004 and abs(fps - round(fps)) > 0.004:
        return Fraction(near * 1000, 1001)
    return Fraction(fps).limit_denominator(1000)


def _has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------------ pictures


class _Pictures(Protocol):
    width: int
    height: int

    def image(self, number: int) -> Image | None:
        """The frame as Pillow has it; None where there is no Pillow."""

    def pixels(self, number: int) -> bytes:
        """The frame as rows of red, green, blue."""


def _pictures(speech: Speech, texts: Sequence[str]) -> _Pictures:
    try:
        return _Painted(speech, texts)
    except ImportError:
        return _Blocks(speech)


def _size(speech: Speech) -> tuple[int, int]:
    """Even, as most encoders want it, and not too small for them."""
    return max(32, speech.composition.width & ~1), max(32, speech.composition.height & ~1)


class _Painted:
    """Pictures with words, by Pillow."""

    def __init__(self, speech: Speech, texts: Sequence[str]) -> None:
        from PIL import Image, ImageDraw

        self._speech = speech
        self._draw_on = ImageDraw.Draw
        self.width, self.height = _size(speech)
        unit = max(8, self.height // 12)
        self._large, _ = _font(unit * 2)
        small, shown = _font(unit)
        self._unit = unit
        self._still = Image.new("RGB", (self.width, self.height), (24, 32, 48))
        pen = ImageDraw.Draw(self._still)
        pen.text((unit, unit // 2), shown(speech.composition.name), font=small, fill=(255, 196, 64))
        for row, line in enumerate("\n".join(texts).splitlines()[:6]):
            pen.text((unit, unit * 2 + row * unit * 5 // 4), shown(line), font=small, fill=(236, 236, 236))
        pen.text((unit, self.height - unit * 3 // 2), "simulated", font=small, fill=(96, 112, 136))

    def image(self, number: int) -> Image:
        found = self._still.copy()
        pen = self._draw_on(found)
        shown = str(self._speech.first + self._speech.composition.start_frame + (number - 1) * self._speech.step)
        edge = (self.width - self._unit, self.height - self._unit // 2)
        pen.text(edge, shown, font=self._large, fill=(255, 255, 255), anchor="rs")
        done = self.width * number // max(1, self._speech.count)
        pen.rectangle((0, 0, done, max(2, self._unit // 4)), fill=(255, 196, 64))
        return found

    def pixels(self, number: int) -> bytes:
        return self.image(number).tobytes()


def _font(size: int) -> tuple[Any, Callable[[str], str]]:
    """A font, and what turns a text into one that it can show: Pillow's own has little more than ASCII."""
    from PIL import ImageFont

    for name in ("DejaVuSans.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc", "LiberationSans-Regular.ttf"):
        try:
            return ImageFont.truetype(name, size), str
        except OSError:
            continue
    return ImageFont.load_default(size), _plain


def _plain(text: str) -> str:
    """The text without accents, and `?` for what is not Latin at all."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).encode("ascii", "replace").decode()


class _Blocks:
    """Pictures without Pillow: the frame's number in blocks, and how far the film is."""

    _ROWS = (  # of 3 x 5, one digit a line
        "111101101101111",
        "010110010010111",
        "111001111100111",
        "111001111001111",
        "101101111001001",
        "111100111001111",
        "111100111101111",
        "111001001001001",
        "111101111101111",
        "111101111001111",
    )

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self.width, self.height = _size(speech)

    def image(self, number: int) -> None:
        return None

    def pixels(self, number: int) -> bytes:
        rows = [bytearray(b"\x18\x20\x30" * self.width) for _ in range(self.height)]
        done = self.width * number // max(1, self._speech.count)
        for row in rows[: max(1, self.height // 40)]:
            row[: done * 3] = b"\xff\xc4\x40" * done
        self._write(rows, str(self._speech.first + (number - 1) * self._speech.step))
        return b"".join(rows)

    def _write(self, rows: list[bytearray], word: str) -> None:
        block = max(1, min(self.height // 12, self.width // (4 * len(word) + 2)))
        for place, digit in enumerate(word):
            for spot, is_set in enumerate(self._ROWS[int(digit)]):
                left = (place * 4 + spot % 3 + 1) * block * 3
                top = self.height // 3 + spot // 3 * block
                for row in rows[top : top + block] if is_set == "1" else ():
                    row[left : left + block * 3] = b"\xff\xff\xff" * block


# --------------------------------------------------------------------------------------------------------------- films


class _Movie(Film):
    """One file, by PyAV."""

    def __init__(self, path: str, pictures: _Pictures, rate: Fraction) -> None:
        import av

        self.path = path
        self._av = av
        self._pictures = pictures
        suffix = os.path.splitext(path)[1].lower()
        container, encoder, pixels, options = _MOVIES.get(suffix, _MOVIES[".mp4"])
        moving = {"movflags": "+faststart"} if container in ("mp4", "mov") else {}
        try:
            self._file = av.open(path, "w", format=container, options={"flush_packets": "1", **moving})
            stream: Any = self._file.add_stream(_encoder(encoder), rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = pictures.width, pictures.height, pixels
        except (av.FFmpegError, OSError) as error:
            raise _film_error(error) from error
        self._stream, self._tick = stream, 1 / rate

    def frame(self, number: int) -> None:
        image = self._pictures.image(number)
        make: Any = self._av.VideoFrame.from_image
        frame = make(image) if image is not None else self._from_pixels(number)
        frame.pts, frame.time_base = number - 1, self._tick
        self._write(frame)

    def close(self) -> None:
        self._write(None)
        try:
            self._file.close()
        except (self._av.FFmpegError, OSError) as error:
            raise _film_error(error) from error

    def _write(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._file.mux(packet)
        except (self._av.FFmpegError, OSError) as error:
            raise _film_error(error) from error

    def _from_pixels(self, number: int) -> Any:
        frame = self._av.VideoFrame(self._pictures.width, self._pictures.height, "rgb24")
        plane, length = frame.planes[0], self._pictures.width * 3
        data, padding = self._pictures.pixels(number), bytes(plane.line_size - length)
        rows = (data[at : at + length] + padding for at in range(0, len(data), length))
        plane.update(b"".join(rows).ljust(plane.buffer_size, b"\0"))
        return frame


def _encoder(name: str) -> str:
    """The encoder, or one that every FFmpeg has."""
    import av

    return name if name in av.codecs_available else "mpeg4"


class _Sequence(Film):
    """One file a frame."""

    def __init__(self, pattern: str, pictures: _Pictures, *, first: int, step: int) -> None:
        self._pattern, self._pictures, self._first, self._step = pattern, pictures, first, step
        self.path = pattern % first

    def file_of(self, number: int) -> str:
        return self._pattern % (self._first + (number - 1) * self._step)

    def frame(self, number: int) -> None:
        path = self.file_of(number)
        image = self._pictures.image(number)
        try:
            if image is not None and os.path.splitext(path)[1].lower() in _BY_PILLOW:
                image.save(path)
            else:
                with open(path, "wb") as file:
                    file.write(_png(self._pictures, number))
        except OSError as error:
            raise _film_error(error) from error

    def close(self) -> None:
        pass


_BY_PILLOW = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".tga", ".bmp", ".sgi"})


def _png(pictures: _Pictures, number: int) -> bytes:
    """A PNG with nothing but zlib."""
    data, length = pictures.pixels(number), pictures.width * 3
    rows = b"".join(b"\0" + data[at : at + length] for at in range(0, len(data), length))
    head = struct.pack(">IIBBBBB", pictures.width, pictures.height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


class _Canned(Film):
    """The film that comes with the package, under the name asked for; it grows with the frames."""

    def __init__(self, path: str, count: int) -> None:
        with open(_CANNED, "rb") as file:
            self._data = file.read()
        self.path, self._count, self._written = path, count, 0
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115  # open as long as the render
        except OSError as error:
            raise _film_error(error) from error

    def frame(self, number: int) -> None:
        until = len(self._data) * number // self._count
        try:
            self._file.write(self._data[self._written : until])
        except OSError as error:
            raise _film_error(error) from error
        self._written = until

    def close(self) -> None:
        self._file.close()


class _Nothing(Film):
    """No film at all."""

    def __init__(self, path: str) -> None:
        self.path = path

    def frame(self, number: int) -> None:
        pass

    def close(self) -> None:
        pass


class _OneByte(_Nothing):
    """A file of one byte."""

    def close(self) -> None:
        with open(self.path, "wb") as file:
            file.write(b"\0")


class _Half(Film):
    """A film that is well closed and has half its frames."""

    def __init__(self, film: Film, count: int) -> None:
        self.path, self._film, self._count = film.path, film, count

    def frame(self, number: int) -> None:
        if number <= (self._count + 1) // 2:
            self._film.frame(number)

    def close(self) -> None:
        self._film.close()


class _Spoiled(Film):
    """A film that something happened to after it was written; of a sequence, to a frame in its middle."""

    def __init__(self, film: Film, kind: str, number: int) -> None:
        self.path, self._film, self._spoil, self._number = film.path, film, SPOILS[kind], number

    def frame(self, number: int) -> None:
        self._film.frame(number)

    def file_of(self, number: int) -> str:
        return self._film.file_of(number)

    def close(self) -> None:
        self._film.close()
        path = self.file_of(self._number)
        with open(path, "r+b") as file:
            self._spoil(file, os.path.getsize(path))


def _cut(file: BinaryIO, size: int) -> None:
    """The second half of the bytes is missing. A film still opens: its index comes first."""
    file.truncate(size // 2)


def _zeros(file: BinaryIO, size: int) -> None:
    """As large as it should be, and nothing in it: what a share leaves that lost the writes."""
    file.write(bytes(size))


def _zero_tail(file: BinaryIO, size: int) -> None:
    file.seek(size // 2)
    file.write(bytes(size - size // 2))


def _text(file: BinaryIO, size: int) -> None:
    file.write((b"This is no picture. " * (size // 20 + 1))[:size])


#: kind → what happens to the file.
SPOILS: dict[str, Callable[[BinaryIO, int], None]] = {
    "cut": _cut,
    "zeros": _zeros,
    "zero_tail": _zero_tail,
    "text": _text,
}


def _film_error(error: Exception) -> FilmError:
    import errno

    full = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
    return FilmError(str(error), is_full=getattr(error, "errno", None) in full)
