"""Is every frame of an image sequence there to its end? A good one of any format passes, a cut one is found."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from watchrender.render import frames, outputs
from watchrender.render.outputs import Output

PIL = pytest.importorskip("PIL.Image")


def picture(number: int, mode: str = "RGB") -> PIL.Image:
    """Something that no packing makes small."""
    return PIL.frombytes("RGB", (97, 61), random.Random(number).randbytes(97 * 61 * 3)).convert(mode)


def by_pillow(name: str, mode: str = "RGB", **options: object) -> Callable[[Path, int], None]:
    return lambda path, number: picture(number, mode).save(path, format=name, **options)


def by_ffmpeg(encoder: str, pixels: str, **options: str) -> Callable[[Path, int], None]:
    """One frame, as the encoder of FFmpeg writes it."""
    av = pytest.importorskip("av")

    def write(path: Path, number: int) -> None:
        codec = av.VideoCodecContext.create(encoder, "w")
        codec.width, codec.height, codec.pix_fmt, codec.time_base = 97, 61, pixels, Fraction(1, 25)
        codec.options = options
        frame = av.VideoFrame.from_image(picture(number)).reformat(format=pixels)
        path.write_bytes(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)]))

    return write


def psd(packing: int) -> Callable[[Path, int], None]:
    def write(path: Path, number: int) -> None:
        planes = [band.tobytes() for band in picture(number).split()]
        lines = [plane[at : at + 97] for plane in planes for at in range(0, len(plane), 97)]
        data = b"".join(planes)
        if packing:
            packed = [bytes([len(line) - 1]) + line for line in lines]
            data = b"".join(struct.pack(">H", len(line)) for line in packed) + b"".join(packed)
        head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 61, 97, 8, 3)
        sections = struct.pack(">I", 0) + struct.pack(">I", 4) + b"note" + struct.pack(">I", 0)
        path.write_bytes(head + sections + struct.pack(">H", packing) + data)

    return write


def cineon(path: Path, number: int) -> None:
    data = picture(number).tobytes()
    head = bytearray(2048)
    struct.pack_into(">IIIIII", head, 0, 0x802A5FD7, 2048, 1024, 1024, 0, 2048 + len(data))
    path.write_bytes(bytes(head) + data)


def iff(path: Path, number: int) -> None:
    data = picture(number).tobytes()
    path.write_bytes(b"FOR4" + struct.pack(">I", len(data) + 4) + b"CIMG" + data)


#: What writes a frame, its suffix, and how many bytes may be missing at the end before it shows (None: it never does,
#: unless the head itself is cut).
FORMATS: dict[str, tuple[Callable[[Path, int], None], str, int | None]] = {
    "png": (by_pillow("PNG"), "png", 1),
    "png with alpha": (by_pillow("PNG", "RGBA"), "png", 1),
    "jpeg": (by_pillow("JPEG", quality=95), "jpg", 1),
    "jpeg progressive": (by_pillow("JPEG", progressive=True), "jpg", 1),
    "tiff": (by_pillow("TIFF"), "tif", 1),
    "tiff lzw": (by_pillow("TIFF", compression="tiff_lzw"), "tif", 600),  # libtiff fills its last block up
    "tiff deflate": (by_pillow("TIFF", "RGBA", compression="tiff_adobe_deflate"), "tif", 600),
    "tga": (by_pillow("TGA"), "tga", 200),
    "tga rle": (by_pillow("TGA", compression="tga_rle"), "tga", None),
    "bmp": (by_pillow("BMP"), "bmp", 1),
    "sgi": (by_pillow("SGI"), "sgi", 1),
    "webp": (by_pillow("WEBP", lossless=True), "webp", 1),
    "gif": (by_pillow("GIF"), "gif", 1),
    "exr": (by_ffmpeg("exr", "gbrpf32le", compression="none"), "exr", 1),
    "exr zip": (by_ffmpeg("exr", "gbrpf32le", compression="zip16"), "exr", 1),
    "dpx": (by_ffmpeg("dpx", "rgb24"), "dpx", 1),
    "psd": (psd(0), "psd", 1),
    "psd packed": (psd(1), "psd", None),
    "cineon": (cineon, "cin", 1),
    "iff": (iff, "iff", 1),
}


def sequence(folder: Path, name: str, count: int = 12) -> Output:
    write, suffix, _ = FORMATS[name]
    folder.mkdir(exist_ok=True)
    for number in range(count):
        write(folder / f"spot_{number:05}.{suffix}", number)
    return found(folder)


def found(folder: Path) -> Output:
    output = outputs.find(folder, "spot", True).main
    assert output is not None and output.frames
    return output


def files(output: Output) -> list[Path]:
    return list(output.files())


@pytest.mark.parametrize("name", FORMATS)
def test_a_good_sequence_passes(tmp_path: Path, name: str) -> None:
    output = sequence(tmp_path, name)

    assert frames.looked_at(output) == output
    assert frames.glance(output).looked == 12


@pytest.mark.parametrize("name", FORMATS)
def test_a_frame_of_zeros_in_the_middle_is_found(tmp_path: Path, name: str) -> None:
    output = sequence(tmp_path, name)
    middle = files(output)[6]
    middle.write_bytes(bytes(middle.stat().st_size))

    looked = frames.looked_at(output)

    assert (looked.damaged, looked.damaged_count) == ((6,), 1)
    assert looked.damage == "it begins with nothing but zeros"


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_frame_in_the_middle_is_found(tmp_path: Path, name: str) -> None:
    output = sequence(tmp_path, name)
    middle = files(output)[6]
    least = FORMATS[name][2]
    whole = middle.read_bytes()
    wrongs = [whole[:9]]
    if least is not None:
        wrongs += [whole[: len(whole) // 2], whole[:-least]]
    if name.startswith(("png", "jpeg")):
        wrongs.append(whole[: len(whole) // 3].ljust(len(whole), b"\0"))  # as a share leaves what it made room for
    for wrong in wrongs:
        middle.write_bytes(wrong)

        looked = frames.looked_at(output, last_decodes=True)

        assert looked.damaged == (6,), (len(wrong), len(whole))
        assert looked.damage


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_picture_among_pictures_is_found(tmp_path: Path, name: str) -> None:
    output = sequence(tmp_path, name)
    files(output)[3].write_bytes(b"<html>503 Service Unavailable</html>" * 50)

    assert frames.looked_at(output).damaged == (3,)


def test_an_exr_whose_table_was_never_written_is_not_whole(tmp_path: Path) -> None:
    output = sequence(tmp_path, "exr")
    path = files(output)[6]
    data = bytearray(path.read_bytes())
    found = frames._exr_table(bytes(data))
    assert found is not None
    table = found[1]
    data[table : table + 61 * 8] = bytes(61 * 8)
    path.write_bytes(bytes(data))

    assert "never written" in frames.looked_at(output).damage


def test_a_program_that_ends_its_frames_otherwise_is_believed_where_its_last_one_decodes(tmp_path: Path) -> None:
    output = sequence(tmp_path, "dpx")
    for path in files(output):
        data = bytearray(path.read_bytes())
        struct.pack_into(">I" if data[:4] == b"SDPX" else "<I", data, 16, len(data) * 2)  # a size it does not have
        path.write_bytes(bytes(data))

    assert frames.looked_at(output, last_decodes=True) == output
    assert frames.looked_at(output).damaged_count == 12


def test_formats_that_nobody_here_knows_pass_as_long_as_they_begin_alike(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"spot_{number:05}.rla").write_bytes(b"\0\0\x07\x7f" + bytes([number]) * 3000)
    for number in range(12):
        (tmp_path / f"pict_{number:05}.pct").write_bytes(bytes(512) + bytes([number]) * 3000)

    assert frames.looked_at(found(tmp_path)).damaged == ()
    picts = outputs.find(tmp_path, "pict", True).main
    assert picts is not None and frames.looked_at(picts).damaged == ()


def test_png_under_another_suffix_is_looked_at_as_png(tmp_path: Path) -> None:
    for number in range(12):
        by_pillow("PNG")(tmp_path / f"spot_{number:05}.exr", number)
    output = found(tmp_path)
    assert frames.looked_at(output) == output
    middle = files(output)[5]
    middle.write_bytes(middle.read_bytes()[:-20])

    assert frames.looked_at(output).damage == "it has no end (IEND)"


def test_a_frame_that_went_or_became_a_link_is_not_whole(tmp_path: Path) -> None:
    output = sequence(tmp_path / "frames", "png")
    third, fourth = files(output)[3:5]
    third.unlink()
    fourth.rename(tmp_path / "elsewhere.png")
    fourth.symlink_to(tmp_path / "elsewhere.png")

    looked = frames.looked_at(output)

    assert looked.damaged == (3, 4)
    assert looked.damage.startswith("it cannot be read: ")


def test_a_film_is_left_to_the_probe(tmp_path: Path) -> None:
    film = Output(path=tmp_path / "spot.mov", bytes=5)

    assert frames.looked_at(film) is film


def test_with_no_time_for_all_a_part_is_looked_at_that_is_spread_over_the_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = sequence(tmp_path, "png", 64)
    seen: list[int] = []
    lock = threading.Lock()
    fault_of = frames.fault_of

    def counted(path: Path, like: bytes) -> str:
        with lock:
            seen.append(int(path.stem[-5:]))
        return fault_of(path, like)

    def clock() -> float:
        with lock:
            return float(len(seen))

    monkeypatch.setattr(frames, "fault_of", counted)
    found = frames.glance(output, seconds=8.0, clock=clock)

    assert found.looked == len(seen) and 9 <= len(seen) <= 9 + frames.AT_ONCE
    assert max(after - before for before, after in zip(sorted(seen), sorted(seen)[1:], strict=False)) <= 16
    seen.clear()
    assert frames.looked_at(output, seconds=8.0).unseen == 0


def test_a_frame_costs_an_open_and_a_few_small_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"opened": 0, "read": 0, "bytes": 0}

    class Counted(frames._Frame):
        def at(self, place: int, length: int) -> bytes:
            found = super().at(place, length)
            counts["read"] += 1
            counts["bytes"] += len(found)
            return found

    opened = frames.opened

    def count_opened(path: Path) -> object:
        counts["opened"] += 1
        return opened(path)

    monkeypatch.setattr(frames, "_Frame", Counted)
    monkeypatch.setattr(frames, "opened", count_opened)
    for name in FORMATS:
        output = sequence(tmp_path / name, name, 32)
        counts |= {"opened": 0, "read": 0, "bytes": 0}

        frames.looked_at(output)

        assert counts["opened"] <= 32 + 1, name
        assert counts["read"] <= 32 * 8, name
        assert counts["bytes"] <= 32 * 4096, name
