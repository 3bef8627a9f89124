"""What is found in an attempt's output folder."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from watchrender.render.outputs import Kind, Output, Outputs, describe, find, sha256


def put(folder: Path, *names: str, size: int = 10) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def main_of(found: Outputs) -> Output:
    assert found.main is not None
    return found.main


def test_a_film_is_found_under_the_extension_it_really_got(tmp_path: Path) -> None:
    put(tmp_path, "spot.mp4", size=1234)

    found = find(tmp_path, "spot", sequence=False)

    assert main_of(found) == Output(path=tmp_path / "spot.mp4", bytes=1234)
    assert main_of(found).frames is main_of(found).first is main_of(found).last is None
    assert main_of(found).last_file == tmp_path / "spot.mp4"
    assert found.further == ()
    assert list(found) == [found.main]


def test_an_empty_or_missing_folder_holds_nothing(tmp_path: Path) -> None:
    assert find(tmp_path, "spot", sequence=False) == Outputs()
    assert find(tmp_path / "nowhere", "spot", sequence=False) == Outputs()
    assert list(Outputs()) == []


def test_of_several_files_of_one_stem_the_asked_one_is_the_film(tmp_path: Path) -> None:
    put(tmp_path, "spot.mov", "spot.mp4", "spot.wav", "spot.xmp")
    put(tmp_path, "spot.m4v", size=99999)

    assert main_of(find(tmp_path, "spot", sequence=False)).path.name == "spot.mov"
    assert main_of(find(tmp_path, "spot", sequence=False, ext="mp4")).path.name == "spot.mp4"
    assert main_of(find(tmp_path, "spot", sequence=False, ext=".WAV")).path.name == "spot.wav"


def test_further_outputs_are_listed_and_notes_are_never_the_film(tmp_path: Path) -> None:
    put(tmp_path, "spot.mov", "preview.mp4", "hls/index.m3u8", "poster_01.png", "spot.XMP")

    found = find(tmp_path, "spot", sequence=False)

    assert main_of(found).path.name == "spot.mov"
    names = [output.path.relative_to(tmp_path).as_posix() for output in found.further]
    assert names == ["poster_01.png", "preview.mp4", "spot.XMP", "hls/index.m3u8"]
    assert {output.kind for output in found} == {Kind.FILM}
    assert find(tmp_path, "other", sequence=False).main is None


def test_a_stem_with_dots_and_capitals_is_found(tmp_path: Path) -> None:
    put(tmp_path, "Spot.v2.final.MOV")

    assert main_of(find(tmp_path, "spot.v2.final", sequence=False)).path.name == "Spot.v2.final.MOV"
    assert find(tmp_path, "spot.v2", sequence=False).main is None


def test_hidden_and_unfinished_files_do_not_count(tmp_path: Path) -> None:
    put(tmp_path, ".spot.mov", "~spot.mov", "spot.mov.part", "spot.tmp", ".hidden/spot.mov")

    assert find(tmp_path, "spot", sequence=False) == Outputs()


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
def test_links_and_pipes_are_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "secret.mov", "spot_00000.png")
    folder = tmp_path / "attempt"
    folder.mkdir()
    (folder / "spot.mov").symlink_to(outside / "secret.mov")
    (folder / "frames").symlink_to(outside)
    os.mkfifo(folder / "spot.mp4")

    assert find(folder, "spot", sequence=False) == Outputs()
    with pytest.raises(OSError):
        sha256(folder / "spot.mov")


def test_a_sequence_is_counted_with_its_first_and_last_number(tmp_path: Path) -> None:
    put(tmp_path, *(f"frames/spot_{n:05}.png" for n in range(120)))

    output = main_of(find(tmp_path, "spot", sequence=True))

    assert output.path == tmp_path / "frames" / "spot_[00000-00119].png"
    assert (output.kind, output.frames, output.first, output.last) == (Kind.SEQUENCE, 120, 0, 119)
    assert (output.bytes, output.missing, output.missing_count, output.empty) == (1200, (), 0, ())
    assert output.last_file == tmp_path / "frames" / "spot_00119.png"
    assert list(output.files())[:2] == [tmp_path / "frames" / f"spot_0000{n}.png" for n in (0, 1)]
    assert all(path.is_file() for path in output.files())


def test_gaps_and_empty_frames_are_named(tmp_path: Path) -> None:
    put(tmp_path, *(f"spot_{n:05}.png" for n in (3, 4, 7, 9)))
    (tmp_path / "spot_00007.png").write_bytes(b"")

    output = main_of(find(tmp_path, "spot", sequence=True))

    assert (output.missing, output.missing_count, output.empty) == ((5, 6, 8), 3, (7,))


def test_of_many_gaps_a_hundred_are_named_and_all_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "spot_00000.png", "spot_05000.png", "spot_05002.png")

    output = main_of(find(tmp_path, "spot", sequence=True))

    assert (len(output.missing), output.missing_count) == (100, 5000)


def test_with_a_step_frames_are_numbered_by_the_step_or_one_by_one(tmp_path: Path) -> None:
    put(tmp_path / "a", *(f"spot_{n:05}.png" for n in (10, 15, 25)))
    put(tmp_path / "b", *(f"spot_{n:05}.png" for n in (0, 1, 3)))

    assert main_of(find(tmp_path / "a", "spot", True, step=5)).missing == (20,)
    assert main_of(find(tmp_path / "b", "spot", True, step=5)).missing == (2,)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["spot_-0002.png", "spot_-0001.png", "spot_0000.png"], "spot_[-0002-0000].png"),
        (["spot-0001.png", "spot-0002.png"], "spot-[0001-0002].png"),
        (["spot.0001.exr", "spot.0002.exr"], "spot.[0001-0002].exr"),
        (["spot_99999.tif", "spot_100000.tif"], "spot_[99999-100000].tif"),
        (["spot00000.png"], "spot[00000-00000].png"),
    ],
)
def test_every_way_of_numbering_is_understood(tmp_path: Path, names: list[str], pattern: str) -> None:
    put(tmp_path, *names)

    output = main_of(find(tmp_path, "spot", sequence=True))

    assert output.path.name == pattern
    assert [path.name for path in output.files()] == names
    assert output.missing == ()


def test_a_still_whose_name_ends_in_a_number_is_one_file(tmp_path: Path) -> None:
    put(tmp_path, "spot_2024.png")

    output = main_of(find(tmp_path, "spot_2024", sequence=False))

    assert (output.kind, output.path.name) == (Kind.FILM, "spot_2024.png")


def test_a_sequence_is_taken_where_a_film_was_asked_for_and_the_other_way_round(tmp_path: Path) -> None:
    put(tmp_path / "a", "spot_00000.png", "spot_00001.png")
    put(tmp_path / "b", "spot.mov")
    put(tmp_path / "c", "spot_00000.png", "spot.mov")

    assert main_of(find(tmp_path / "a", "spot", sequence=False)).kind is Kind.SEQUENCE
    assert main_of(find(tmp_path / "b", "spot", sequence=True)).kind is Kind.FILM
    assert main_of(find(tmp_path / "c", "spot", sequence=True)).kind is Kind.SEQUENCE
    assert main_of(find(tmp_path / "c", "spot", sequence=False)).kind is Kind.FILM


def test_an_output_is_described_beside_its_status_file_and_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, "spot.mov", "frames/spot_00000.png", "frames/spot_00001.png")
    found = find(tmp_path, "spot", sequence=False)
    film, frames = main_of(found), found.further[0]
    elsewhere = tmp_path / "deliveries"

    assert describe(film, beside=tmp_path, sha256="ab") == {"path": "spot.mov", "bytes": 10, "sha256": "ab"}
    assert describe(frames, beside=tmp_path, sha256="ab") == {
        "path": "frames/spot_[00000-00001].png",
        "frames": 2,
        "bytes": 20,
        "sha256": None,
    }
    assert describe(film.moved(elsewhere), beside=tmp_path / "done")["path"] == str(elsewhere / "spot.mov")


def test_a_digest_is_that_of_the_bytes_and_tells_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "spot.mov"
    path.write_bytes(os.urandom(3_000_000))
    heard: list[int] = []

    found = sha256(path, heard.append)

    assert found == hashlib.sha256(path.read_bytes()).hexdigest() == sha256(path)
    assert sum(heard) == 3_000_000
