"""Is every frame of an image sequence there to its end? Told by its first and last bytes; nothing is decoded.

The last frame is decoded by the probe. The thousands before it get a glance: an open, and two to six reads of a few
bytes. What a frame is, its first bytes tell and not its name; where they tell nothing that is known (TGA has none), it
must begin as the last frame does. A format whose end cannot be told without decoding passes: nothing here fails a good
frame.

On a share each read is a journey, so several frames are looked at at once, and all together within a limit, those that
are looked at spread evenly over the sequence.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from watchrender.render.outputs import MISSING_LIMIT, Kind, Output, opened

SECONDS = 60.0
#: A journey to a server and back takes a millisecond or more: eight at once hide most of it.
AT_ONCE = 8
#: So near its end a file must say that it ends. A few bytes may follow: padding, a note of a program.
_TAIL = 1024
_HEAD = 32
_USUAL_HEAD, _LONGEST_HEAD = 1 << 11, 1 << 16


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What a look at all frames brought: the numbers of those that are not whole, why the first is not, how many were
    looked at."""

    damaged: tuple[int, ...] = ()
    why: str = ""
    looked: int = 0


def looked_at(output: Output, *, last_decodes: bool = False, seconds: float = SECONDS) -> Output:
    """The output, with what a look at its frames brought. A film stays as it is: the probe looks into that.

    `last_decodes`: the last frame is known to be whole. Should it not end as its format says, then this program writes
    them otherwise, and no other frame is measured by that."""
    if output.kind is not Kind.SEQUENCE:
        return output
    if last_decodes and fault_of(output.last_file, _head_of(output.last_file)):
        return output
    found = glance(output, seconds=seconds)
    return replace(
        output,
        damaged=found.damaged[:MISSING_LIMIT],
        damaged_count=len(found.damaged),
        damage=found.why,
        unseen=(output.frames or 0) - found.looked,
    )


def glance(output: Output, *, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> Glance:
    """Look at every frame of a sequence, as many as there is time for."""
    assert output.numbering is not None
    numbers, folder = output.numbering.numbers, output.path.parent
    deadline = clock() + seconds
    names = output.numbering.name
    like = _head_of(folder / names(numbers[-1]))
    order = _spread(len(numbers))
    faults: dict[int, str] = {}
    looked = [0] * AT_ONCE

    def look_at_some(worker: int) -> None:
        for place in order[worker::AT_ONCE]:
            if clock() > deadline:
                return
            if fault := fault_of(folder / names(numbers[place]), like):
                faults[numbers[place]] = fault
            looked[worker] += 1

    workers = [threading.Thread(target=look_at_some, args=(number,), daemon=True) for number in range(1, AT_ONCE)]
    for worker in workers:
        worker.start()
    look_at_some(0)
    for worker in workers:
        worker.join()
    damaged = tuple(sorted(faults))
    return Glance(damaged=damaged, why=faults[damaged[0]] if damaged else "", looked=sum(looked))


def _spread(count: int) -> list[int]:
    """All places, in an order whose every beginning is spread evenly: halves, quarters, eighths…"""
    bits = max(1, (count - 1).bit_length())
    turned = (int(f"{place:0{bits}b}"[::-1], 2) for place in range(1 << bits))
    return [place for place in turned if place < count]


def _head_of(path: Path) -> bytes:
    try:
        with opened(path) as file:
            return file.read(_HEAD)
    except OSError:
        return b""


def fault_of(path: Path, like: bytes) -> str:
    """Why this frame is not whole, in words; nothing where it is, as far as its ends tell. `like`: how another frame of
    the sequence begins."""
    try:
        with opened(path) as file:
            file.seek(0, 2)
            frame = _Frame(file, file.tell())
            return _fault(frame, like, path.suffix.lower())
    except (struct.error, IndexError, ValueError):
        return "it ends in the middle of its head"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


class _Frame:
    """One file, read in small pieces."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size
        self.head = self.at(0, _HEAD)

    def at(self, place: int, length: int) -> bytes:
        self._file.seek(place)
        return self._file.read(length)

    def number(self, form: str, place: int) -> int:
        """One whole number; raises struct.error where the file ends before it."""
        return int(struct.unpack(form, self.at(place, struct.calcsize(form)))[0])

    @property
    def tail(self) -> bytes:
        return self.at(max(0, self.size - _TAIL), _TAIL)

    def reaches(self, end: int) -> str:
        return "" if self.size >= end else f"it has {self.size:,} bytes of {end:,}"


def _fault(frame: _Frame, like: bytes, suffix: str) -> str:
    if not frame.head.strip(b"\0") and like.strip(b"\0"):
        return "it begins with nothing but zeros"
    for magic, ends in _FORMATS:
        if frame.head.startswith(magic):
            return ends(frame)
    if any(like.startswith(magic) for magic, _ in _FORMATS) or frame.head[:2] != like[:2]:
        return "it does not begin as the other frames do"
    return _tga(frame, like) if suffix == ".tga" else ""


# --- what the formats say of their own end ----------------------------------------------------------------------------


def _png(frame: _Frame) -> str:
    return "" if b"IEND\xaeB`\x82" in frame.tail else "it has no end (IEND)"


def _jpeg(frame: _Frame) -> str:
    return "" if b"\xff\xd9" in frame.tail else "it has no end (FFD9)"


def _gif(frame: _Frame) -> str:
    return "" if frame.tail.rstrip(b"\0").endswith(b";") else "it has no end"


def _tiff(frame: _Frame) -> str:
    """The directory, and the last strip or tile that it names, must lie within the file."""
    order = "<" if frame.head[:2] == b"II" else ">"
    if struct.unpack(order + "H", frame.head[2:4])[0] != 42:
        return ""  # BigTIFF: as large as that, it is no frame of ours
    directory = int(struct.unpack(order + "I", frame.head[4:8])[0])
    if not 8 <= directory < frame.size:
        return "its directory is missing"
    count = frame.number(order + "H", directory)
    entries = frame.at(directory + 2, 12 * count)
    last: dict[int, int] = {}
    for place in range(0, 12 * count, 12):
        tag, kind, many = struct.unpack(order + "HHI", entries[place : place + 8])
        if tag in (273, 279, 324, 325) and kind in (3, 4) and many:
            last[tag] = _last_of(frame, order, kind, many, entries[place + 8 : place + 12])
    offset, length = last.get(273, last.get(324)), last.get(279, last.get(325))
    return "" if offset is None or length is None else frame.reaches(offset + length)


def _last_of(frame: _Frame, order: str, kind: int, many: int, value: bytes) -> int:
    """The last number of a field of a TIFF: in the entry itself where all of them fit there."""
    form = order + ("H" if kind == 3 else "I")
    width = struct.calcsize(form)
    if many * width <= 4:
        return int(struct.unpack_from(form, value, (many - 1) * width)[0])
    return frame.number(form, int(struct.unpack(order + "I", value)[0]) + (many - 1) * width)


#: Lines in one block of an OpenEXR file, by its compression.
_EXR_LINES = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256)


def _exr(frame: _Frame) -> str:
    """The table of its blocks is written last; the blocks at both ends of it must lie within the file."""
    if frame.number("<I", 4) & 0x1A00:
        return ""  # tiled, deep or of several parts: nothing that After Effects writes
    found = next(filter(None, (_exr_table(frame.at(0, length)) for length in (_USUAL_HEAD, _LONGEST_HEAD))), None)
    if found is None:
        return "" if frame.size > _LONGEST_HEAD else "it ends in the middle of its head"
    blocks, table = found
    begins = [frame.number("<Q", table + 8 * block) for block in {0, blocks - 1}] if blocks > 0 else []
    if not all(begins):
        return "the table of its blocks was never written"
    return next((fault for at in begins if (fault := frame.reaches(at + 8 + frame.number("<I", at + 4)))), "")


def _exr_table(head: bytes) -> tuple[int, int] | None:
    """How many blocks there are, and where their table begins: behind the attributes. None: they go on further."""
    place, found = 8, {b"compression": b"", b"dataWindow": b""}
    try:
        while head[place]:
            name_end = head.index(0, place)
            kind_end = head.index(0, name_end + 1)
            value = kind_end + 5
            end = value + int(struct.unpack_from("<I", head, kind_end + 1)[0])
            found[head[place:name_end]] = head[value:end]
            place = end
        _, top, _, bottom = struct.unpack("<4i", found[b"dataWindow"])
        return -(-(bottom - top + 1) // _EXR_LINES[found[b"compression"][0]]), place + 1
    except (struct.error, IndexError, ValueError):
        return None


def _dpx(frame: _Frame) -> str:
    told = struct.unpack_from(">I" if frame.head[:4] == b"SDPX" else "<I", frame.head, 16)[0]
    return frame.reaches(told) if told < 0xFFFFFFFF else ""


def _cineon(frame: _Frame) -> str:
    told = struct.unpack_from(">I" if frame.head[:1] == b"\x80" else "<I", frame.head, 20)[0]
    return frame.reaches(told) if told < 0xFFFFFFFF else ""


def _bmp(frame: _Frame) -> str:
    return frame.reaches(struct.unpack_from("<I", frame.head, 2)[0])


def _riff(frame: _Frame) -> str:
    return frame.reaches(8 + struct.unpack_from("<I", frame.head, 4)[0])


def _iff(frame: _Frame) -> str:
    return frame.reaches(8 + struct.unpack_from(">I", frame.head, 4)[0])


def _psd(frame: _Frame) -> str:
    """Three sections that tell their length, then the picture: as large as its size says, or lines of any length."""
    version, channels, rows, columns, depth = struct.unpack_from(">H6xHIIH", frame.head, 4)
    place = 26
    for form in (">I", ">I", ">I" if version == 1 else ">Q"):
        place += struct.calcsize(form) + frame.number(form, place)
    packing = frame.number(">H", place)
    pixels = channels * rows * (-(-columns * depth // 8))
    return frame.reaches(place + 2 + (pixels if packing == 0 else 2 * channels * rows if packing == 1 else 1))


def _sgi(frame: _Frame) -> str:
    storage, width, _dimension, columns, rows, channels = struct.unpack_from(">BBHHHH", frame.head, 2)
    return frame.reaches(512 + (width * columns * rows * channels if storage == 0 else 8 * rows * channels))


def _tga(frame: _Frame, like: bytes) -> str:
    """No first bytes tell a TGA; the frames of one sequence have the same head, and plain ones a size that follows."""
    if frame.head[1:18] != like[1:18]:
        return "it does not begin as the other frames do"
    note, map_length, map_bits = frame.head[0], *struct.unpack_from("<HB", frame.head, 5)
    width, height, bits = struct.unpack_from("<HHB", frame.head, 12)
    begin = 18 + note + map_length * -(-map_bits // 8)
    is_plain = frame.head[2] in (1, 2, 3)
    return frame.reaches(begin + (width * height * -(-bits // 8) if is_plain else 1))


_FORMATS: tuple[tuple[bytes, Callable[[_Frame], str]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"\x76\x2f\x31\x01", _exr),
    (b"SDPX", _dpx),
    (b"XPDS", _dpx),
    (b"\x80\x2a\x5f\xd7", _cineon),
    (b"\xd7\x5f\x2a\x80", _cineon),
    (b"8BPS", _psd),
    (b"BM", _bmp),
    (b"GIF8", _gif),
    (b"RIFF", _riff),
    (b"FOR4", _iff),
    (b"\x01\xda", _sgi),
)
