"""Looking into films: real ones, cut ones, and everything that is none."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watchrender.render import probe as probing
from watchrender.render import probe_child
from watchrender.render.probe import Probed, previews, probe

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")

WIDTH, HEIGHT, FRAMES, RATE = 160, 120, 50, 25

#: name → codec, pixel format, options of the file
FILMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "faststart.mp4": ("libx264", "yuv420p", {"movflags": "faststart"}),
    "late.mp4": ("libx264", "yuv420p", {}),
    "prores.mov": ("prores_ks", "yuv422p10le", {}),
    "animation.mov": ("qtrle", "rgb24", {}),
    "old.avi": ("mpeg4", "yuv420p", {}),
    "matroska.mkv": ("libx264", "yuv420p", {}),
    "web.webm": ("libvpx-vp9", "yuv420p", {}),
    "broadcast.mxf": ("mpeg2video", "yuv420p", {}),
    "moving.gif": ("gif", "rgb8", {}),
    "stream.ts": ("libx264", "yuv420p", {}),
}
#: These tell nowhere how long they should be; that they are cut is seen by their frames only.
WITHOUT_LENGTH = {"stream.ts"}


def make_film(path: Path, frames: int = FRAMES, *, black: int = 0, sound: bool = False) -> Path:
    """A film whose pictures get lighter; the first `black` ones are black."""
    codec, pixels, options = FILMS.get(path.name, ("libx264", "yuv420p", {}))
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        audio = container.add_stream("aac", rate=48000) if sound else None
        for number in range(frames):
            frame = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
            light = 0 if number < black else 60 + number * 195 // frames
            frame.planes[0].update(bytes([light]) * frame.planes[0].buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
            if audio is not None:
                container.mux(_sound(audio, number))
        container.mux(stream.encode())
        if audio is not None:
            container.mux(audio.encode())
    return path


def _sound(stream: Any, number: int) -> Any:
    samples = 48000 // RATE
    frame = av.AudioFrame(format="fltp", layout="stereo", samples=samples)
    frame.sample_rate, frame.pts = 48000, number * samples
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return stream.encode(frame)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name in FILMS:
        make_film(folder / name)
    make_film(folder / "sound.mp4", sound=True)
    return folder


def look(path: Path) -> dict[str, Any]:
    """What the child would answer, without a process of its own."""
    return probe_child.probe(str(path), time.monotonic() + 30)


# --- whole films ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FILMS, "sound.mp4"])
def test_a_whole_film_is_whole_in_every_format(films: Path, name: str) -> None:
    found = look(films / name)

    assert (found["last_frame_decodes"], found["frames"], found["fps"]) == (True, FRAMES, RATE)
    assert (found["width"], found["height"]) == (WIDTH, HEIGHT)
    assert found["duration"] == pytest.approx(FRAMES / RATE, abs=0.05)
    assert found.get("detail", "") == ""


def test_the_child_answers_the_same(films: Path) -> None:
    assert probe(films / "prores.mov") == Probed(
        duration=2.0, fps=25.0, frames=50, width=160, height=120, codec="prores", last_frame_decodes=True
    )


def test_a_film_of_one_frame_and_one_of_sound_alone_are_whole(tmp_path: Path) -> None:
    one = make_film(tmp_path / "one.mp4", frames=1)
    wav = tmp_path / "sound.wav"
    with av.open(str(wav), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=48000)
        frame.sample_rate = 48000
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())

    assert look(one)["last_frame_decodes"] is True
    assert (look(wav)["last_frame_decodes"], look(wav)["duration"], look(wav).get("frames")) == (True, 1.0, None)
    wav.write_bytes(wav.read_bytes()[:50_000])
    assert look(wav)["last_frame_decodes"] is False


# --- films that are not whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FILMS, "sound.mp4"])
def test_a_film_cut_at_any_place_is_never_taken_for_whole(films: Path, tmp_path: Path, name: str) -> None:
    data = (films / name).read_bytes()
    cut = tmp_path / f"cut{Path(name).suffix}"
    places = sorted({len(data) * part // 40 for part in range(40)} | {len(data) - 1, len(data) - 20, 1, 7, 20})

    for length in places:
        cut.write_bytes(data[:length])
        found = look(cut)
        has_all = found.get("frames") == FRAMES
        if name == "broadcast.mxf" and has_all and length > len(data) * 9 // 10:
            continue  # only a piece of the index at its end is gone
        is_whole = found.get("last_frame_decodes") is not False
        assert not (is_whole and (name not in WITHOUT_LENGTH or has_all)), (length, len(data), found)


def test_a_cut_film_whose_index_stands_first_still_opens_and_is_detected(films: Path, tmp_path: Path) -> None:
    data = (films / "faststart.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[:4000])

    found = probe(cut)

    assert found is not None
    assert (found.last_frame_decodes, found.frames, found.duration) == (False, FRAMES, 2.0)
    assert found.detail == f"it ends after 4,000 of {len(data):,} bytes"


@pytest.mark.parametrize("name", ["faststart.mp4", "prores.mov", "animation.mov", "old.avi"])
def test_a_film_whose_end_is_zeros_is_not_whole(films: Path, tmp_path: Path, name: str) -> None:
    """As a share leaves it that lost its connection: the size is right, the bytes are not."""
    data = (films / name).read_bytes()
    torn = tmp_path / name

    for part in (50, 70, 90):
        length = len(data) * part // 100
        torn.write_bytes(data[:length] + bytes(len(data) - length))
        assert look(torn)["last_frame_decodes"] is False, (part, look(torn))


@pytest.mark.parametrize("name", ["faststart.mp4", "prores.mov", "animation.mov", "old.avi", "matroska.mkv"])
def test_a_cut_is_seen_by_decoding_too(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the container's own word for its size: not every container has one."""
    monkeypatch.setattr(probe_child, "_cut_off", lambda path: "")
    data = (films / name).read_bytes()
    cut = tmp_path / name

    for part in range(5, 96, 5):
        cut.write_bytes(data[: len(data) * part // 100])
        found = look(cut)
        assert found.get("last_frame_decodes") is False or found["codec"] is None, (part, found)


def test_the_place_of_the_last_good_frame_is_told(films: Path, tmp_path: Path) -> None:
    data = (films / "faststart.mp4").read_bytes()
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(data[:3500] + bytes(len(data) - 3500))

    assert " of 50" in look(torn)["detail"]


@pytest.mark.parametrize(
    "data", [b"", b"x", b"no film at all" * 100, bytes(5000), b"RIFF", b"\x1a\x45\xdf\xa3", b"GIF8"]
)
def test_what_is_no_film_is_broken_under_a_films_name_and_unknown_under_another(tmp_path: Path, data: bytes) -> None:
    film, other = tmp_path / "x.mov", tmp_path / "x.aep"
    film.write_bytes(data)
    other.write_bytes(data)

    assert look(film)["last_frame_decodes"] is False
    assert look(film)["detail"]
    assert "unknown" in look(other) or look(other)["last_frame_decodes"] is False
    if data.startswith(b"no film"):
        assert probe(other) is None


def test_a_playlist_that_names_another_file_is_not_followed(films: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "x.mov"
    playlist.write_text(f"ffconcat version 1.0\nfile '{films / 'late.mp4'}'\n", encoding="utf-8")

    assert look(playlist)["last_frame_decodes"] is False


# --- images -----------------------------------------------------------------------------------------------------------


def test_an_image_is_whole_or_cut(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".tif", ".tga", ".bmp"):
        path = tmp_path / f"frame_00000{suffix}"
        Image.effect_noise((64, 48), 50).convert("RGB").save(path)
        whole = look(path)
        assert (whole["last_frame_decodes"], whole["width"], whole["height"], whole["frames"]) == (True, 64, 48, 1)

        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        assert look(path)["last_frame_decodes"] is False, suffix


def test_what_is_no_image_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "frame_00000.png"
    path.write_bytes(b"no image" * 10)

    assert look(path) == {"last_frame_decodes": False, "detail": "it is not an image"}


def test_an_image_that_pillow_does_not_know_is_looked_into_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "frame_00000.exr"
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("exr", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gbrpf32le"
        container.mux(stream.encode(av.VideoFrame(64, 48, "rgb24").reformat(format="gbrpf32le")))
        container.mux(stream.encode())

    assert look(path)["last_frame_decodes"] is True
    path.write_bytes(b"no image")
    assert "unknown" in look(path)


# --- the process ------------------------------------------------------------------------------------------------------


def test_without_the_file_or_through_a_link_nothing_is_known(films: Path, tmp_path: Path) -> None:
    assert probe(tmp_path / "nowhere.mov") is None
    assert probe(tmp_path) is None
    if sys.platform != "win32":
        (tmp_path / "link.mov").symlink_to(films / "prores.mov")
        assert probe(tmp_path / "link.mov") is None


def test_without_pyav_nothing_is_known(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "is_available", lambda: False)

    assert probe(films / "prores.mov") is None
    assert previews(films / "prores.mov", tmp_path) == []


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Another child program in the place of the real one."""

    def put(text: str) -> None:
        path = tmp_path / "child.py"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(probing, "_CHILD", path)

    yield put


def test_a_look_that_takes_too_long_is_ended_and_says_nothing_against_the_film(films: Path, child: Any) -> None:
    child("import time; time.sleep(60)")
    began = time.monotonic()

    found = probe(films / "prores.mov", timeout=0.3)

    assert found == Probed(detail="the look into it took longer than 0.3 s")
    assert time.monotonic() - began < 10


def test_a_look_that_is_not_wanted_any_more_is_ended(films: Path, child: Any) -> None:
    child("import time; time.sleep(60)")
    began = time.monotonic()

    found = probe(films / "prores.mov", timeout=50, should_stop=lambda: time.monotonic() > began + 0.2)

    assert found == Probed(detail="the look into it was stopped")
    assert time.monotonic() - began < 10


def test_a_decoder_that_crashes_says_nothing_against_the_film(films: Path, child: Any) -> None:
    child("import os; os.abort()")
    found = probe(films / "prores.mov")
    assert found is not None
    assert found.last_frame_decodes is None
    assert found.detail.startswith("the look into it crashed (status ")

    child("")
    assert probe(films / "prores.mov") == Probed(detail="the look into it brought nothing")
    child("raise SystemExit(3)")
    assert probe(films / "prores.mov") == Probed(detail="the look into it took too long")


def test_a_decoder_that_takes_all_memory_is_ended(films: Path, child: Any) -> None:
    child("import time\nx = b'x' * 300_000_000\ntime.sleep(60)")

    assert probe(films / "prores.mov", memory=100 << 20) == Probed(detail="the look into it needed too much memory")


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own limit")
def test_the_child_limits_its_own_memory(films: Path) -> None:
    found = probe(films / "prores.mov", memory=60 << 20)

    assert found is None or found.last_frame_decodes is not True


@pytest.mark.parametrize(
    "answer",
    [
        '{"duration": "long", "fps": true, "frames": -1, "width": 1e99, "codec": 7, "last_frame_decodes": "yes"}',
        '{"duration": NaN, "fps": Infinity, "frames": 1.5, "height": 99999999999, "detail": ""}',
        "[1]\n{}",
        '{"cut":\n{}',
    ],
)
def test_an_answer_is_never_trusted(films: Path, child: Any, answer: str) -> None:
    child(f"print({answer!r})")

    assert probe(films / "prores.mov") == Probed()


def test_a_flood_of_an_answer_is_cut(films: Path, child: Any) -> None:
    child("print('x' * 30_000_000)")

    assert probe(films / "prores.mov") == Probed(detail="the look into it brought nothing")


def test_the_child_is_gone_by_itself_when_nobody_ends_it(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"do": "probe", "path": str(films / "prores.mov"), "seconds": 30, "memory": 8 << 30}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request)))
    told = io.StringIO()
    monkeypatch.setattr(sys, "stdout", told)
    limits: list[tuple[float, int]] = []
    monkeypatch.setattr(probe_child, "_limit", lambda *asked: limits.append(asked) or threading.Timer(0, print))

    probe_child.main()

    answer, end = told.getvalue().splitlines()
    assert json.loads(answer)["last_frame_decodes"] is True
    assert json.loads(end) == "done"
    assert limits == [(30.0, 8 << 30)]


# --- previews ---------------------------------------------------------------------------------------------------------


def test_a_film_gets_a_thumbnail_and_a_contact_sheet(films: Path, tmp_path: Path) -> None:
    written = previews(films / "prores.mov", tmp_path)

    assert written == [tmp_path / "thumbnail.jpg", tmp_path / "contact.jpg"]
    with Image.open(written[0]) as thumbnail, Image.open(written[1]) as contact:
        assert thumbnail.size == (WIDTH, HEIGHT)
        assert thumbnail.getpixel((80, 60))[0] == pytest.approx(60 + 195 // 3, abs=12)
        assert contact.size == (4 * (WIDTH + 8) + 8, 3 * (HEIGHT + 22 + 8) + 8)
        assert contact.getpixel((20, 20))[0] < contact.getpixel((600, 320))[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contact.jpg", "thumbnail.jpg"]


def test_a_thumbnail_is_not_black_where_there_is_anything_else(tmp_path: Path) -> None:
    film = make_film(tmp_path / "dark.mp4", black=40)
    all_black = make_film(tmp_path / "black.mp4", black=50)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    thumbnail = previews(film, tmp_path / "a")[0]

    with Image.open(thumbnail) as image:
        assert image.getpixel((80, 60))[0] > 100
    assert len(previews(all_black, tmp_path / "b")) == 2


def test_a_sequence_gets_previews_with_its_numbers(tmp_path: Path) -> None:
    frames = [tmp_path / f"spot_{number:05}.png" for number in range(30)]
    for number, path in enumerate(frames):
        Image.new("RGBA", (1280, 720), (number * 8, 90, 90, 255)).save(path)
    folder = tmp_path / "previews"
    folder.mkdir()

    written = previews(frames, folder)

    with Image.open(written[0]) as thumbnail, Image.open(written[1]) as contact:
        assert thumbnail.size == (640, 360)
        assert contact.size == (4 * 328 + 8, 3 * (180 + 22 + 8) + 8)


def test_a_still_gets_a_thumbnail_alone_and_transparency_is_black(tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    Image.new("RGBA", (64, 48), (255, 255, 255, 0)).save(still)
    deep = tmp_path / "deep.png"
    Image.new("I;16", (64, 48), 32768).save(deep)

    written = previews(still, tmp_path)

    assert [path.name for path in written] == ["thumbnail.jpg"]
    with Image.open(written[0]) as image:
        assert max(image.getpixel((5, 5))) < 10
    (tmp_path / "other").mkdir()
    with Image.open(previews(deep, tmp_path / "other")[0]) as image:
        assert image.getpixel((5, 5))[0] == pytest.approx(128, abs=3)


def test_what_has_no_picture_gets_no_preview(tmp_path: Path) -> None:
    wav = tmp_path / "sound.wav"
    with av.open(str(wav), "w") as container:
        container.mux(container.add_stream("pcm_s16le", rate=48000).encode())
    junk = tmp_path / "junk.mov"
    junk.write_bytes(b"x" * 1000)

    assert previews(wav, tmp_path) == previews(junk, tmp_path) == previews([], tmp_path) == []
    assert previews(tmp_path / "nowhere.mov", tmp_path) == []


def test_what_is_done_before_the_time_is_over_is_kept(films: Path, tmp_path: Path, child: Any) -> None:
    child('print(\'{"name": "thumbnail.jpg", "data": "/9j/"}\', flush=True)\nimport time; time.sleep(60)')

    assert previews(films / "prores.mov", tmp_path, timeout=1) == [tmp_path / "thumbnail.jpg"]
    assert (tmp_path / "thumbnail.jpg").read_bytes() == b"\xff\xd8\xff"


@pytest.mark.parametrize("name", ["../x.jpg", "spot.mov", "contact.jpg"])
def test_a_preview_is_written_under_its_name_only_and_only_if_it_is_one(
    films: Path, tmp_path: Path, child: Any, name: str
) -> None:
    answers = [{"name": name, "data": "Zm9v"}, {"name": name, "data": "%"}, {"name": name}, {"data": 1}]
    child(f"print({chr(10).join(map(json.dumps, answers))!r})")
    folder = tmp_path / "previews"
    folder.mkdir()

    assert previews(films / "prores.mov", folder) == []
    assert list(folder.iterdir()) == []


def test_a_preview_takes_no_name_that_is_taken(films: Path, tmp_path: Path) -> None:
    (tmp_path / "spot.2.thumbnail.jpg").write_text("somebody's output")

    written = previews(films / "prores.mov", tmp_path, prefix="spot.2.")

    assert written == [tmp_path / "spot.2.contact.jpg"]
    assert (tmp_path / "spot.2.thumbnail.jpg").read_text() == "somebody's output"


# --- containers that tell their size ----------------------------------------------------------------------------------


def cut_off(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "x"
    path.write_bytes(data)
    return probe_child._cut_off(str(path))


def test_boxes_of_every_kind_of_length_are_walked(tmp_path: Path) -> None:
    head = b"\0\0\0\x10ftypqt  \0\0\0\0"

    def box(length: int, size: int) -> bytes:
        return length.to_bytes(4, "big") + b"mdat" + bytes(size)

    long = b"\0\0\0\x01mdat" + (1000).to_bytes(8, "big")
    assert cut_off(tmp_path, head + box(100, 92)) == ""
    assert cut_off(tmp_path, head + box(100, 91)) == "it ends after 115 of 116 bytes"
    assert cut_off(tmp_path, head + box(0, 50)) == ""  # to the end of the file
    assert cut_off(tmp_path, head + long + bytes(984)) == ""
    assert cut_off(tmp_path, head + long + bytes(983)) == "it ends after 1,015 of 1,016 bytes"
    assert cut_off(tmp_path, head + box(100, 92) + b"\0\0\0\x05junk") == ""
    assert cut_off(tmp_path, head + box(100, 92) + b"\0\0") == ""


def test_riff_and_matroska_lengths_are_read(tmp_path: Path) -> None:
    def riff(length: int, size: int) -> bytes:
        return b"RIFF" + length.to_bytes(4, "little") + b"AVI " + bytes(size)

    assert cut_off(tmp_path, riff(101, 98) + riff(50, 46)) == ""
    assert cut_off(tmp_path, riff(100, 96) + riff(50, 40)) == "it ends after 160 of 166 bytes"
    assert cut_off(tmp_path, riff(0, 50)) == cut_off(tmp_path, riff(0xFFFFFFFF, 50)) == ""
    segment = b"\x1a\x45\xdf\xa3\x81x\x18\x53\x80\x67"
    assert cut_off(tmp_path, segment + b"\x85" + bytes(5)) == ""
    assert cut_off(tmp_path, segment + b"\x85" + bytes(4)) == "it ends after 15 of 16 bytes"
    assert cut_off(tmp_path, segment + b"\xff" + bytes(4)) == ""  # not known: made for a stream
    assert cut_off(tmp_path, b"\x1a\x45\xdf\xa3\x81x????") == cut_off(tmp_path, b"\x1a\x45\xdf\xa3\0") == ""
    assert cut_off(tmp_path, b"\x06\x0e\x2b\x34") == ""


def test_the_environment_of_the_child_has_none_of_our_switches(
    films: Path, child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHRENDER_DIE_AT", "1")
    child("import os, json; print(json.dumps({'codec': os.environ.get('WATCHRENDER_DIE_AT', 'none')}))")

    assert probe(films / "prores.mov") == Probed(codec="none")
    assert os.environ["WATCHRENDER_DIE_AT"] == "1"


def test_one_child_serves_many_films_and_is_replaced_when_it_dies(films: Path) -> None:
    probe(films / "prores.mov")
    first = probing._Child._idle
    probe(films / "prores.mov")
    assert first is not None
    assert probing._Child._idle is first

    first._process.kill()
    first._process.wait()
    found = probe(films / "prores.mov")

    assert found is not None
    assert found.last_frame_decodes is True
    assert probing._Child._idle is not first
