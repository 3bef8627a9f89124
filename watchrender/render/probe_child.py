"""Look into one film or image and tell in JSON. Runs as a process of its own, so that a decoder may crash or hang.

Started by `probe` as a plain file; a line on stdin is a request; it imports nothing of watchrender and writes no file.
Each answer is one line on stdout, so that what is done before a time limit is not lost; the word done ends a request.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO


def _suffixes(words: str) -> frozenset[str]:
    return frozenset("." + word for word in words.split())


#: What is opened as a film; one that does not open is a broken film.
FILMS = _suffixes("mov mp4 m4v avi mkv webm mxf wmv asf mpg mpeg ts m2ts flv gif wav aif aiff mp3 m4a aac ogg flac")
SOUNDS = _suffixes("wav aif aiff mp3 m4a aac ogg flac")
IMAGES = _suffixes("png jpg jpeg tif tiff tga exr psd dpx cin bmp hdr sgi pcx webp jp2")
#: Only formats that carry their pictures themselves: a playlist could name any file or address.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpegts,mpeg,mxf,asf,flv,gif,apng,wav,w64,aiff,mp3,aac,ogg,flac,"
    "png_pipe,jpeg_pipe,tiff_pipe,bmp_pipe,exr_pipe,dpx_pipe,psd_pipe,sgi_pipe,pcx_pipe,webp_pipe,j2k_pipe,hdr_pipe"
)
COUNT_LIMIT = 4 << 30  # bytes up to which frames are counted where the container does not tell
CONTACT = (4, 3)
THUMBNAIL_SIZE, CELL_SIZE = 640, 320
DARK = 18  # of 255, on average


class TooLong(Exception):
    """The time given is over."""


def main() -> None:
    """Answer one request a line, each within its time, until nobody asks any more."""
    for line in sys.stdin:
        request = json.loads(line)
        last = _limit(float(request["seconds"]), int(request["memory"]))
        deadline = time.monotonic() + float(request["seconds"])
        if request["do"] == "probe":
            _tell(probe(request["path"], deadline))
        else:
            for answer in previews(request["paths"], request["labels"], deadline):
                _tell(answer)
        last.cancel()
        _tell("done")


def _tell(answer: dict[str, Any] | str) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _limit(seconds: float, memory: int) -> threading.Timer:
    """Memory and processor time where the system has limits; and an end in any case, should our parent be gone."""
    last = threading.Timer(seconds + 5, os._exit, (3,))
    last.daemon = True
    last.start()
    if sys.platform == "win32":
        return last
    import resource

    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    wishes = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(used + seconds * 4) + 10),
        (resource.RLIMIT_FSIZE, 32 << 20),
    ]
    if sys.platform == "linux":
        wishes.append((resource.RLIMIT_AS, memory))
    for limit, value in wishes:
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    return last


# --- is it whole? -----------------------------------------------------------------------------------------------------


def probe(path: str, deadline: float) -> dict[str, Any]:
    """What is in the file, and does its last frame decode? `{"unknown": …}` where that cannot be told."""
    suffix = Path(path).suffix.lower()
    if suffix in IMAGES:
        return _probe_image(path, deadline)
    return _probe_film(path, suffix, deadline)


def _probe_image(path: str, deadline: float) -> dict[str, Any]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        return _probe_film(path, "", deadline)
    try:
        with Image.open(path) as image:
            image.load()
            width, height = image.size
            return {"codec": image.format, "width": width, "height": height, "frames": 1, "last_frame_decodes": True}
    except UnidentifiedImageError:
        answer = _probe_film(path, "", deadline)  # a format that Pillow does not know, or no image at all
        known = Path(path).suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
        return _broken("it is not an image") if known and "unknown" in answer else answer
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        return _broken(str(error))


def _broken(detail: str) -> dict[str, Any]:
    return {"last_frame_decodes": False, "detail": detail}


def _probe_film(path: str, suffix: str, deadline: float) -> dict[str, Any]:
    try:
        import av
    except ImportError:
        return {"unknown": "PyAV is not installed"}
    short = _cut_off(path)
    try:
        container = _open(path)
    except av.error.FFmpegError as error:
        if suffix in FILMS or short:
            return _broken(short or f"it cannot be opened: {error.strerror}")
        return {"unknown": f"no format that is known: {error.strerror}"}
    try:
        with container:
            answer = _facts(container, path, deadline)
            answer |= _last_frame(container, path, answer, deadline)
    except av.error.FFmpegError as error:
        answer = _broken(f"it cannot be read: {error.strerror}")
    if short:
        answer |= _broken(short)
    return answer


def _open(path: str) -> Any:
    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    return av.open("file:" + path, options=options, metadata_errors="replace")


def _main_stream(container: Any) -> Any:
    """The film's picture (not a cover), else its sound."""
    for stream in container.streams.video:
        if not stream.disposition & type(stream.disposition).attached_pic:
            return stream
    return next(iter(container.streams.audio), None)


def _facts(container: Any, path: str, deadline: float) -> dict[str, Any]:
    stream = _main_stream(container)
    if stream is None:
        return _broken("there is neither picture nor sound in it")
    facts: dict[str, Any] = {"codec": stream.codec_context.name if stream.codec_context else None}
    facts["duration"] = _duration(container, stream)
    if stream.type == "video":
        rate = stream.average_rate or stream.guessed_rate
        facts["fps"] = float(rate) if rate else None
        if stream.codec_context:
            facts |= {"width": stream.width, "height": stream.height}
        facts["frames"] = stream.frames or _counted(path, deadline)
    return facts


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    told = stream.metadata.get("DURATION", "")  # Matroska's own, one for each stream
    with suppress(ValueError):
        hours, minutes, seconds = told.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return container.duration / 1_000_000 if container.duration else None


def _counted(path: str, deadline: float) -> int | None:
    """How many pictures there are, by the packets; not for what would take long to read."""
    if os.stat(path).st_size > COUNT_LIMIT:
        return None
    half = time.monotonic() + (deadline - time.monotonic()) / 2
    with _open(path) as container:
        count = 0
        for packet in container.demux(_main_stream(container)):
            count += bool(packet.size)
            if time.monotonic() > half:
                return None
    return count or None


def _last_frame(container: Any, path: str, facts: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Decode the end of the film, as far back as the last key frame; where that cannot be reached, all of it."""
    import av

    stream = _main_stream(container)
    if stream is None or stream.codec_context is None:
        return {"detail": facts.get("detail", "there is no decoder for it")}
    try:
        end = _decoded_end(container, stream, facts, deadline, near_end=True)
        if end.seconds is None:
            with _open(path) as again:
                end = _decoded_end(again, _main_stream(again), facts, deadline, near_end=False)
    except (av.error.PatchWelcomeError, av.error.DecoderNotFoundError, NotImplementedError):
        return {"detail": f"there is no decoder for {facts['codec']}"}
    except TooLong:
        return {"detail": "it took too long to decode its last frame"}
    return _judged(stream, container, facts, end)


class End:
    """What decoding the end of a film brought; places in seconds from the film's start."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self.seconds: float | None = None  # the last frame that decodes
        self.is_timed = False  # the container tells when frames are shown
        self._error = ""
        self._error_at: float | None = None

    def good(self, at: float | None) -> None:
        self.is_timed |= at is not None
        self.seconds = max(self.seconds or 0.0, 0.0 if at is None else at - self._begin)

    def bad(self, words: str, at: float | None) -> None:
        self._error, self._error_at = words, None if at is None else at - self._begin

    @property
    def error(self) -> str:
        """What is wrong after the last good frame. Frames just after a seek may lack what they build on: no fault."""
        is_before = self._error_at is not None and self.seconds is not None and self._error_at < self.seconds
        return "" if is_before else self._error


def _decoded_end(container: Any, stream: Any, facts: dict[str, Any], deadline: float, *, near_end: bool) -> End:
    import av

    begin = (stream.start_time or 0) * stream.time_base
    end = End(float(begin))
    try:
        if near_end:
            before = max(0.0, (facts["duration"] or 0.0) - 0.5)
            container.seek(int((begin + before) / stream.time_base), stream=stream, backward=True)
        for packet in container.demux(stream):
            if time.monotonic() > deadline:
                raise TooLong
            _decode(packet, end)
    except (av.error.PatchWelcomeError, av.error.DecoderNotFoundError):
        raise
    except av.error.FFmpegError as error:
        end.bad(f"it cannot be read to its end: {error.strerror}", None)
    return end


def _decode(packet: Any, end: End) -> None:
    import av

    at = None if packet.pts is None else float(packet.pts * packet.time_base)
    if packet.is_corrupt:
        end.bad("a frame is cut off", at)
        return
    try:
        frames = packet.decode()
    except (av.error.PatchWelcomeError, av.error.DecoderNotFoundError, av.error.EOFError):
        raise
    except av.error.FFmpegError as error:
        end.bad(f"a frame does not decode: {error.strerror}", at)
        return
    for frame in frames:
        shown = None if frame.pts is None else float(frame.pts * frame.time_base)
        if frame.is_corrupt:
            end.bad("a frame is damaged", shown)
        else:
            end.good(shown)


def _judged(stream: Any, container: Any, facts: dict[str, Any], end: End) -> dict[str, Any]:
    if end.seconds is None:
        return _broken(end.error or "no frame of it decodes")
    if end.error:
        return _broken(f"{end.error}, after {_place(end.seconds, facts)}")
    duration, frame = facts["duration"], 1 / facts["fps"] if facts.get("fps") else 0.1
    if duration and end.is_timed and end.seconds + frame < duration - _slack(stream, container, frame):
        return _broken(f"its last frame that decodes is {_place(end.seconds, facts)}")
    return {"last_frame_decodes": True}


def _slack(stream: Any, container: Any, frame: float) -> float:
    """How far the length that a container tells may be off: a picture's own is exact, another may be its sound's."""
    if stream.type == "audio":
        return 0.5
    is_alone = len(container.streams) == 1
    if stream.duration or "DURATION" in stream.metadata or (is_alone and container.format.name.startswith("matroska")):
        return 0.9 * frame
    return 1.6 * frame + 0.05 if is_alone else 2.0


def _place(seconds: float, facts: dict[str, Any]) -> str:
    if not facts.get("fps"):
        return f"at {seconds:.1f} s of {facts['duration'] or 0:.1f} s"
    of = f" of {facts['frames']}" if facts.get("frames") else ""
    return f"frame {round(seconds * facts['fps']) + 1}{of}"


# --- containers that tell their own size ------------------------------------------------------------------------------


def _cut_off(path: str) -> str:
    """Words where the container says that it goes on beyond the end of the file, else nothing.

    A film whose index stands at its beginning opens and plays although its end is missing.
    """
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
            end = _end_of_boxes(file, size)
        elif head[:4] == b"RIFF":
            end = _end_of_riffs(file, size)
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            end = _end_of_segment(file)
        elif head[:4] == b"\x06\x0e\x2b\x34":
            end = _last_partition(file)
        elif head[:4] == b"GIF8":
            file.seek(-1, os.SEEK_END)
            return "" if file.read(1) == b";" else "its end is missing"
        else:
            end = 0
    return f"it ends after {size:,} of {end:,} bytes" if end > size else ""


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """QuickTime and MP4: boxes one after the other, each with its length first."""
    position = 0
    for _ in range(100_000):
        if position + 8 > size:
            break
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not head[4:8].isalnum():
            break  # zero: to the end of the file; anything else that small is no box
        position += length
    return position


def _end_of_riffs(file: BinaryIO, size: int) -> int:
    """AVI and WAV: a RIFF chunk, and more of them in a long AVI."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            break
        position += 8 + length + (length & 1 if position + 8 + length < size else 0)
    return position


def _end_of_segment(file: BinaryIO) -> int:
    """Matroska and WebM: a header and a segment, each with its length."""
    file.seek(4)
    header = _ebml_length(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    length = _ebml_length(file)
    return 0 if length is None else file.tell() + length


def _last_partition(file: BinaryIO) -> int:
    """MXF: the first partition may tell where the last one begins; at least that must be there."""
    file.seek(16)
    length = (file.read(1) or b"\0")[0]
    file.seek(length & 0x7F if length & 0x80 else 0, os.SEEK_CUR)
    value = file.read(32)
    begin = int.from_bytes(value[24:32], "big")
    return begin + 16 if begin else 0


def _ebml_length(file: BinaryIO) -> int | None:
    """A number whose first byte says how long it is; all ones means: not known."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    number = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + rest, "big")
    return None if number == (1 << 7 * (more + 1)) - 1 or len(rest) < more else number


# --- previews ---------------------------------------------------------------------------------------------------------


def previews(paths: list[str], labels: list[str], deadline: float) -> Iterator[dict[str, Any]]:
    """A thumbnail, then a contact sheet with times, each as a JPEG. One path: a film or still; more: frames."""
    with suppress(TooLong):
        pictures = _Pictures(paths, labels, deadline)
        yield from _thumbnail(pictures)
        sheet = pictures.sheet()
        if len(sheet) > 1:
            yield {"name": "contact.jpg", "data": _jpeg(_contact(sheet))}


class _Pictures:
    """Pictures at given places (0 to 1) of a film or a sequence, each looked up once."""

    def __init__(self, paths: list[str], labels: list[str], deadline: float) -> None:
        self._paths, self._labels, self._deadline = paths, labels, deadline
        self._known: dict[float, tuple[str, Any] | None] = {}
        self._is_film = len(paths) == 1 and Path(paths[0]).suffix.lower() not in IMAGES
        self._container: Any = _open(paths[0]) if self._is_film else None

    def at(self, place: float) -> tuple[str, Any] | None:
        """The label and the picture there, no larger than a thumbnail."""
        if time.monotonic() > self._deadline:
            raise TooLong
        if place not in self._known:
            self._known[place] = self._film_at(place) if self._is_film else self._frame_at(place)
        return self._known[place]

    def sheet(self) -> list[tuple[str, Any]]:
        """Different pictures, evenly over the length."""
        count = CONTACT[0] * CONTACT[1]
        found: dict[str, Any] = {}
        for number in range(count):
            if picture := self.at((number + 0.5) / count):
                found.setdefault(picture[0], picture[1])
        return list(found.items())

    def _frame_at(self, place: float) -> tuple[str, Any]:
        number = min(len(self._paths) - 1, int(place * len(self._paths)))
        return self._labels[number], _still(self._paths[number])

    def _film_at(self, place: float) -> tuple[str, Any] | None:
        import av

        container = self._container
        stream = next((each for each in container.streams.video), None)
        if stream is None:
            return None
        begin = (stream.start_time or 0) * stream.time_base
        target = float(begin) + place * (_duration(container, stream) or 0.0)
        with suppress(av.error.FFmpegError):
            container.seek(int(target / stream.time_base), stream=stream, backward=True)
        frame = None
        with suppress(av.error.FFmpegError):
            for frame in container.decode(stream):
                if time.monotonic() > self._deadline:
                    raise TooLong
                if frame.time is None or frame.time + 1e-6 >= target:
                    break
        return None if frame is None else (_label(frame, stream, float(begin)), _picture(frame, stream))


def _label(frame: Any, stream: Any, begin: float) -> str:
    """The frame's timecode."""
    rate = float(stream.average_rate or 25)
    base = max(1, -int(-(rate - 0.001) // 1))
    number = round(((frame.time or 0.0) - begin) * rate)
    seconds = number // base
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{number % base:02}"


def _picture(frame: Any, stream: Any) -> Any:
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    image = frame.to_image()
    if abs(aspect - 1) > 0.01 and 0.1 < aspect < 10:
        image = image.resize((max(1, round(image.width * aspect)), image.height))
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    return image


def _still(path: str) -> Any:
    """One image, on black where it is transparent."""
    from PIL import Image, UnidentifiedImageError

    try:
        image: Any = Image.open(path)
        image.load()
    except UnidentifiedImageError:
        with _open(path) as container:
            image = next(container.decode(video=0)).to_image()
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 256).convert("L")  # 16 bits
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear).convert("RGB")


def _thumbnail(pictures: _Pictures) -> Iterator[dict[str, Any]]:
    """From a third of the length, or near it where that is dark, or else the brightest."""
    count = CONTACT[0] * CONTACT[1]
    others = sorted(((number + 0.5) / count for number in range(count)), key=lambda place: abs(place - 1 / 3))
    best, light = None, -1.0
    for place in [1 / 3, *others]:
        picture = pictures.at(place)
        if picture and (brightness := _brightness(picture[1])) > light:
            best, light = picture[1], brightness
        if light >= DARK:
            break
    if best is not None:
        yield {"name": "thumbnail.jpg", "data": _jpeg(best)}


def _brightness(image: Any) -> float:
    from PIL import ImageStat

    return float(ImageStat.Stat(image.convert("L")).mean[0])


def _contact(pictures: list[tuple[str, Any]]) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    for _, image in pictures:
        image.thumbnail((CELL_SIZE, CELL_SIZE))
    gap, strip = 8, 22
    columns = min(CONTACT[0], len(pictures))
    rows = -(-len(pictures) // columns)
    width = max(image.width for _, image in pictures)
    height = max(image.height for _, image in pictures) + strip
    size = (columns * (width + gap) + gap, rows * (height + gap) + gap)
    sheet = Image.new("RGB", size, (24, 24, 26))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (label, image) in enumerate(pictures):
        left, top = gap + number % columns * (width + gap), gap + number // columns * (height + gap)
        sheet.paste(image, (left + (width - image.width) // 2, top))
        draw.text((left + 2, top + height - strip + 3), label, fill=(220, 220, 220), font=font)
    return sheet


def _jpeg(image: Any) -> str:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=85)
    return base64.b64encode(data.getvalue()).decode("ascii")


if __name__ == "__main__":
    main()
