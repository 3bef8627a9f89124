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
from tests.process import Lived
from watchrender import disk
from watchrender.elsewhere import deliver_elsewhere
from watchrender.render import outputs
from watchrender.spool.bundle import inspect_zip
from watchrender.spool.folders import read_any_status
from watchrender.spool.lock import read_beat
from watchrender.spool.plain import NotPlain, read_plain
from watchrender.web import films

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


@pytest.mark.timeout(60)
@pytest.mark.parametrize("swap", SWAPS)
def test_a_film_that_becomes_something_else_is_neither_hashed_nor_sent_nor_copied(
    tmp_path: Path, swap: Callable[[Path], None]
) -> None:
    path = tmp_path / "spot.mp4"
    path.write_bytes(b"a film")
    found = films.look(path)
    path.unlink()
    swap(path)
    (tmp_path / "tree").mkdir()
    swap(tmp_path / "tree" / "frame.png")

    with pytest.raises(OSError):
        outputs.sha256(path)
    with pytest.raises(films.Gone):
        films.read(found, range(3))
    with pytest.raises(OSError):
        disk.copy(path, tmp_path / "copy", through_links=False)
    disk.copy_tree(tmp_path / "tree", tmp_path / "tree-copy")
    assert not (tmp_path / "tree-copy" / "frame.png").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("swap", SWAPS)
def test_a_film_is_delivered_elsewhere_whatever_lies_beside_it_under_a_name_of_ours(
    tmp_path: Path, swap: Callable[[Path], None]
) -> None:
    folder, target = tmp_path / "job", tmp_path / "elsewhere" / "spot.mp4"
    folder.mkdir()
    (folder / "spot.mp4").write_bytes(b"a film")
    (folder / "spot.status.json").write_text("{}")
    swap(folder / "evil.status.json")

    deliver_elsewhere(folder, [{"from": "spot.mp4", "to": str(target)}])

    assert target.read_bytes() == b"a film"
    assert [path.name for path in target.parent.iterdir() if "status" in path.name]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("swap", SWAPS)
def test_commands_open_plain_files_only(tmp_path: Path, swap: Callable[[Path], None]) -> None:
    lived = Lived(tmp_path)
    inbox = lived.root / "inbox"
    for name in ("odd.json", "odd.zip", "side.yaml"):
        swap(inbox / name)
    lived.drop("side.json")

    for name in ("odd.json", "odd.zip"):
        checked = lived.command("check", str(inbox / name))
        assert checked.returncode == 1 and "plain" in checked.stdout, checked.stdout + checked.stderr
    checked = lived.command("check", str(inbox / "side.json"))
    assert checked.returncode == 0, checked.stdout + checked.stderr  # as the service: that is no settings file
    if not (inbox / "odd.json").is_symlink():
        dropped = lived.command("submit", str(inbox / "odd.json"))
        assert dropped.returncode == 2 and "a pipe" in dropped.stderr


def test_what_is_no_job_is_told_by_check_as_by_the_service(tmp_path: Path) -> None:
    lived = Lived(tmp_path)
    large = lived.home / "large.json"
    large.write_bytes(b'{"a": "' + b"x" * (30 * 2**20) + b'"}')
    film = lived.home / "film.mov"
    film.write_bytes(b"x")
    said = {
        path: lived.command("check", str(path))
        for path in (large, film, lived.projects / "spot.aep", lived.home / "nothing.json", Path("/dev/zero"))
    }

    assert all(done.returncode == 1 and "Traceback" not in done.stderr for done in said.values())
    assert "JOB_TOO_LARGE" in said[large].stdout and "30MiB" in said[large].stdout
    assert "not a job file" in said[film].stdout
    assert "template: spot.aep" in said[lived.projects / "spot.aep"].stdout
    assert "is not there" in said[lived.home / "nothing.json"].stdout


def test_a_retry_by_command_believes_of_a_status_file_only_bare_names_of_folders_of_ours(tmp_path: Path) -> None:
    lived = Lived(tmp_path)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "id.json").write_text("a secret")
    (lived.root / "status").mkdir()
    (lived.root / "failed" / "real").mkdir(parents=True)
    (lived.root / "failed" / "real" / "link.json").symlink_to(secret / "id.json")
    lies = {
        "away": (str(secret), "id.json"),
        "dots": ("failed/../../secret", "id.json"),
        "path": ("failed/real", "../../../secret/id.json"),
        "absolute": ("failed/real", str(secret / "id.json")),
        "link": ("failed/real", "link.json"),
    }
    for number, (name, (folder, file)) in enumerate(lies.items()):
        status = {
            "schema": "watchrender.status/1", "id": f"01JD00000000000000000000{number:02}", "job": name, "name": name,
            "sub": "", "state": "failed", "folder": folder, "files": {"job": file, "sidecar": None},
        }  # fmt: skip
        (lived.root / "status" / f"{name}.status.json").write_text(json.dumps(status))

    for name in lies:
        done = lived.command("retry", name)
        assert done.returncode == 1 and "drop" in done.stderr + done.stdout, (name, done.stdout, done.stderr)

    assert lived.files("inbox") == []


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


@pytest.mark.timeout(60)
def test_a_file_that_became_a_pipe_is_not_waited_on_and_one_behind_a_link_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.aep")
    _link(tmp_path / "link.aep")

    with pytest.raises(OSError, match="no plain file"):
        disk.open_regular(tmp_path / "pipe.aep")
    with disk.open_regular(tmp_path / "link.aep") as file:
        assert file.read(1) == b"{"
