"""A link or a pipe put in the place of a plain file, after somebody has looked at it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.line import Line, serving, until
from watchrender.spool.bundle import inspect_zip
from watchrender.spool.folders import read_any_status
from watchrender.spool.lock import read_beat
from watchrender.spool.plain import NotPlain, read_plain

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes and links as POSIX has them")


def _link(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text(json.dumps({"instance": "evil", "schema": "watchrender.status/1", "id": "evil"}))
    path.symlink_to(secret)


SWAPS = [pytest.param(os.mkfifo, id="pipe"), pytest.param(_link, id="link")]


def test_a_plain_file_is_read_as_far_as_asked(tmp_path: Path) -> None:
    (tmp_path / "spot").write_bytes(b"12345")

    assert read_plain(tmp_path / "spot") == b"12345"
    assert read_plain(tmp_path / "spot", 2) == b"12"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("swap", SWAPS)
def test_nothing_but_a_plain_file_is_opened_and_nobody_waits(tmp_path: Path, swap: Callable[[Path], None]) -> None:
    path = tmp_path / "spot"
    swap(path)

    with pytest.raises(NotPlain):
        read_plain(path)
    with pytest.raises(NotPlain):
        inspect_zip(path)
    assert read_any_status(path) is None
    assert read_beat(path) is None


def test_a_folder_is_no_plain_file(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_plain(tmp_path)


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("form", ["file", "zip"])
def test_a_begun_job_whose_file_becomes_something_else_fails_with_the_reason_and_the_next_one_renders(
    tmp_path: Path, swap: Callable[[Path], None], form: str
) -> None:
    line = Line(tmp_path, retry={"first_wait": "2s", "max_wait": "2s"})
    line.project("spot")
    if form == "file":
        line.drop("spot.json", line.job("Crash"))
    else:
        with zipfile.ZipFile(packed := io.BytesIO(), "w") as made:
            made.writestr("job.json", json.dumps(line.job("Crash")))
        line.drop("spot.zip", packed.getvalue())
    try:
        with serving(line):
            until(lambda: (seen := line.status("spot")).get("attempts") and seen["state"] == "queued")
            file = line.root / "active" / "spot" / f"spot.{'json' if form == 'file' else 'zip'}"
            file.unlink()
            swap(file)
            error = line.wait("spot", "failed")["error"]
            line.drop("good.json")
            line.wait("good", "completed")
    finally:
        line.stop()

    assert error["code"] == "JOB_UNREADABLE"
    assert "link" in error["message"] or "plain file" in error["message"]
