"""Which file of a job is given out, and which part of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from watchrender.config.model import Folders as Names
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.spool.folders import Folders
from watchrender.web import films
from watchrender.web.answers import Problem

FOUND = films.Found(path=Path("x.mp4"), size=1000, modified_ns=1_700_000_000_000_000_000)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-9", range(10)), ("bytes=990-", range(990, 1000)), ("bytes=-10", range(990, 1000)),
        ("bytes=0-99999", range(1000)), ("bytes=-99999", range(1000)), ("bytes = 5 - 5", range(5, 6)),
        ("bytes=9-5", None), ("bytes=-", None), ("bytes=0-1,5-6", None), ("items=0-1", None), ("", None),
        ("bytes=a-b", None), ("bytes=0-" + "9" * 30, range(1000)), ("bytes=-" + "9" * 30, range(1000)),
    ],
)  # fmt: skip
def test_a_range_is_a_part_or_the_whole(asked: str, part: range | None) -> None:
    assert films.range_of(Headers({"range": asked} if asked else {}), FOUND) == part


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", f"bytes={'9' * 30}-"])
def test_a_range_outside_is_told_with_the_size(asked: str) -> None:
    with pytest.raises(Problem) as told:
        films.range_of(Headers({"range": asked}), FOUND)

    assert told.value.status == 416
    assert told.value.headers["content-range"] == "bytes */1000"


def test_a_range_of_another_version_is_the_whole() -> None:
    assert films.range_of(Headers({"range": "bytes=0-9", "if-range": FOUND.tag}), FOUND) == range(10)
    assert films.range_of(Headers({"range": "bytes=0-9", "if-range": '"old"'}), FOUND) is None
    assert films.range_of(Headers({"range": "bytes=0-9", "if-range": FOUND.modified}), FOUND) == range(10)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, False), ({"if-none-match": FOUND.tag}, True), ({"if-none-match": f'"old", W/{FOUND.tag}'}, True),
        ({"if-none-match": "*"}, True), ({"if-none-match": '"old"'}, False),
        ({"if-modified-since": FOUND.modified}, True), ({"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": FOUND.modified, "if-none-match": '"a"'}, False),
    ],
)  # fmt: skip
def test_who_has_this_version_already_is_sent_nothing(headers: dict[str, str], known: bool) -> None:
    assert films.is_known(Headers(headers), FOUND) == known


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "root").mkdir()
    made = Folders(tmp_path / "root", Names())
    made.prepare()
    (made.done / "spot" / "frames").mkdir(parents=True)
    return made


def _job(*paths: str, **more: Any) -> Job:
    outputs = tuple({"path": path, "bytes": 1, "sha256": None} | more for path in paths)
    return Job(id="x", serial=1, arrival=1, name="spot", state=State.COMPLETED, folder="done/spot", outputs=outputs)


def test_a_film_beside_its_status_is_found(folders: Folders) -> None:
    assert films.output_path(folders, _job("spot.mp4"), 0, None) == Path(
        os.path.realpath(folders.done / "spot/spot.mp4")
    )


def test_a_frame_of_a_sequence_is_found_by_its_number(folders: Folders) -> None:
    job = _job("frames/spot_[00010-00019].png", frames=10)

    assert films.output_path(folders, job, 0, 12).name == "spot_00012.png"
    assert films.output_path(folders, job, 0, None).name == "spot_00010.png"
    with pytest.raises(Problem, match="frames 10 to 19"):
        films.output_path(folders, job, 0, 20)


def test_brackets_in_the_name_of_a_job_are_no_frames(folders: Folders) -> None:
    film, frames = _job("shot_[1-2].mp4"), _job("frames/shot [3-4]_[00010-00019].png", frames=10)

    assert films.output_path(folders, film, 0, None).name == "shot_[1-2].mp4"
    assert films.output_path(folders, frames, 0, 12).name == "shot [3-4]_00012.png"
    with pytest.raises(Problem, match="this output is one file"):
        films.output_path(folders, film, 0, 1)


def test_previews_are_found_by_the_place_of_their_film(folders: Folders) -> None:
    job = _job("spot.mp4", "/elsewhere/small.mp4")

    names = [
        films.preview_path(folders, job, kind, number).name for number in (0, 1) for kind in ("thumbnail", "contact")
    ]

    assert names == ["spot.thumbnail.jpg", "spot.contact.jpg", "spot.2.thumbnail.jpg", "spot.2.contact.jpg"]


def test_a_film_that_was_delivered_elsewhere_is_given_out_and_nothing_else_from_there(
    folders: Folders, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    assert films.output_path(folders, _job(str(elsewhere / "spot.mov")), 0, None).name == "spot.mov"
    for path in (
        str(elsewhere / "passwd"),
        "/etc/shadow",
        "../../../etc/passwd",
        "../other/spot.mp4",
        "a/../../x.html",
    ):
        with pytest.raises(Problem) as told:
            films.output_path(folders, _job(path), 0, None)
        assert told.value.status == 403


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need rights on Windows")
def test_a_link_out_of_the_folder_is_not_followed(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folders.done / "spot" / "spot.txt").symlink_to(tmp_path / "secret")

    with pytest.raises(Problem) as told:
        films.output_path(folders, _job("spot.txt"), 0, None)
    assert told.value.status == 403


def test_an_output_that_is_not_there_is_none(folders: Folders) -> None:
    with pytest.raises(Problem, match="has 1 output, numbered from 0"):
        films.output_path(folders, _job("spot.mp4"), 1, None)


def test_a_file_that_changes_while_it_is_sent_ends_the_answer(tmp_path: Path) -> None:
    film = tmp_path / "x.mp4"
    film.write_bytes(b"0123456789")
    found = films.look(film)
    assert films.read(found, range(2, 5)) == b"234"

    film.write_bytes(b"another film")
    with pytest.raises(films.Gone):
        films.read(found, range(2, 5))
    film.unlink()
    with pytest.raises(films.Gone):
        films.look(film)
    with pytest.raises(films.Gone):
        films.look(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", "video/mp4"),
        ("A.MOV", "video/quicktime"),
        ("a.exr", "image/x-exr"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_film_says_what_it_is(name: str, kind: str) -> None:
    assert films.media_type(Path(name)) == kind
