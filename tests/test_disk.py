"""The effects on a disk: what they promise, and the hooks by which the kill matrix reaches each of them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from watchrender import disk
from watchrender.spool import bundle, watcher


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    yield
    disk.listen_to({})


def _points(tmp_path: Path) -> list[str]:
    return (tmp_path / "points").read_text().splitlines()


def test_a_point_is_named_by_who_causes_the_effect_and_numbered_by_its_name(tmp_path: Path) -> None:
    disk.listen_to({"WATCHRENDER_POINTS": str(tmp_path / "points")})

    disk.mkdir(tmp_path / "a")
    disk.mkdir(tmp_path / "b")
    disk.write(tmp_path / "a" / "x.json", b"1")

    name = "test_disk.test_a_point_is_named_by_who_causes_the_effect_and_numbered_by_its_name"
    assert _points(tmp_path) == [
        f"before:{name}:mkdir#1",
        f"after:{name}:mkdir#1",
        f"before:{name}:mkdir#2",
        f"after:{name}:mkdir#2",
        f"before:{name}:write:x.json#1",
        f"within:{name}:write:x.json#1",
        f"after:{name}:write:x.json#1",
    ]


def test_the_process_ends_at_the_point_that_is_named(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        disk.listen_to({"WATCHRENDER_DIE_AT": "within:test_disk.killed:write#2"})

        def killed() -> None:
            disk.write(tmp_path / "one", b"1")
            disk.write(tmp_path / "two", b"2")
            disk.write(tmp_path / "three", b"3")

        killed()
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == disk.DIED
    names = os.listdir(tmp_path)
    assert "one" in names and "two" not in names and "three" not in names
    left = [name for name in names if disk.is_half_written(name)]
    assert len(left) == 1

    disk.sweep_beside(tmp_path / "two")

    assert os.listdir(tmp_path) == ["one"]


def test_sweeping_beside_a_file_leaves_what_belongs_to_others(tmp_path: Path) -> None:
    for name in (".two.0123abcd.tmp", ".other.0123abcd.tmp", ".two.notes.tmp", "two", ".two.0123abcd"):
        (tmp_path / name).touch()

    disk.sweep_beside(tmp_path / "two")

    assert sorted(os.listdir(tmp_path)) == [".other.0123abcd.tmp", ".two.0123abcd", ".two.notes.tmp", "two"]


def test_a_fault_is_given_as_often_as_its_line_says(tmp_path: Path) -> None:
    (tmp_path / "faults").write_text("EACCES rename:*/target 2\nENOSPC */full\n")
    disk.listen_to({"WATCHRENDER_FAULTS": str(tmp_path / "faults")})
    (tmp_path / "source").touch()

    for _ in range(2):
        with pytest.raises(PermissionError):
            disk.rename(tmp_path / "source", tmp_path / "target")
    disk.rename(tmp_path / "source", tmp_path / "target")

    for _ in range(3):
        with pytest.raises(OSError, match="No space left") as refused:
            disk.write(tmp_path / "full", b"x")
        assert disk.is_full(refused.value)
    disk.write(tmp_path / "target", b"x")  # another effect on the same path


def test_nothing_is_done_below_a_folder_whose_guard_objects(tmp_path: Path) -> None:
    root = tmp_path / "share"

    def check() -> None:
        if not root.is_dir():
            raise disk.Away(errno.ENODEV, "the share is away", str(root))

    disk.guard(root, check)
    try:
        with pytest.raises(disk.Away):
            disk.mkdirs(root / "active" / "spot")
        with pytest.raises(disk.Away):
            disk.write(root / "status.json", b"x")
        assert not root.exists()
        assert not disk.is_busy(disk.Away(errno.EACCES, "away"))

        root.mkdir()
        disk.mkdirs(root / "active" / "spot")
        assert (root / "active" / "spot").is_dir()
    finally:
        disk.unguard(root)


def test_a_folder_on_a_share_that_is_away_is_removed_later(tmp_path: Path) -> None:
    (tmp_path / "share" / "old").mkdir(parents=True)

    def away() -> None:
        raise disk.Away(errno.ENODEV, "the share is away")

    disk.guard(tmp_path / "share", away)
    try:
        assert disk.remove_tree(tmp_path / "share" / "old") is False
    finally:
        disk.unguard(tmp_path / "share")
    assert disk.remove_tree(tmp_path / "share" / "old") is True


def test_a_name_at_the_disks_limit_is_written_whatever_its_letters_are(tmp_path: Path) -> None:
    for name in ("x" * 250, "名" * 84, "\U0001f3ac" * 63):
        disk.write(tmp_path / name, b"said")
        disk.write_new(tmp_path / f"n{name}", b"said")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"said"] * 6


def test_nothing_that_exists_is_replaced_by_a_rename_or_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")

    with pytest.raises(FileExistsError):
        disk.rename(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileExistsError):
        disk.write_new(tmp_path / "b", b"c")

    assert (tmp_path / "b").read_text() == "b"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_refusal_says_where(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as refused, disk.effect("append", tmp_path / "journal"):
        raise OSError(errno.ENOSPC, "full")  # as a write to a full disk does: without a name

    assert refused.value.filename == str(tmp_path / "journal")


#: Windows' words for a folder: a junction, a volume that Data Deduplication has been at, a folder of a cloud's.
TAGS = [(0xA0000003, True), (0x80000013, False), (0x9000601A, False), (0, False)]


def as_windows_tells(tag: int) -> Any:
    mode = stat.S_IFDIR | 0o777
    return SimpleNamespace(st_mode=mode, st_reparse_tag=tag, st_size=0, st_mtime_ns=1, st_ino=2)


class Listed:
    """A folder as a listing of Windows has it."""

    def __init__(self, tag: int) -> None:
        self._tag = tag

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return not follow_symlinks

    def stat(self, *, follow_symlinks: bool) -> Any:
        assert not follow_symlinks
        return as_windows_tells(self._tag)


@pytest.mark.parametrize(("tag", "is_junction"), TAGS)
def test_a_junction_is_a_link_and_no_folder(tag: int, is_junction: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_HAS_JUNCTIONS", True)
    listed: Any = Listed(tag)
    assert disk.is_folder(listed) is not is_junction
    assert disk.is_link(as_windows_tells(tag)) is is_junction

    monkeypatch.setattr(os, "lstat", lambda _path: as_windows_tells(tag))

    found = watcher.look("inbox/client")
    assert found is not None and (found.is_dir, found.regular) == (not is_junction, not is_junction)
    assert bundle._measure(Path("inbox/client"), open_it=True)[2] is not is_junction


def test_what_is_too_long_for_windows_is_not_said_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "longest_path", lambda: len(str(tmp_path)) + 60)
    file, long = tmp_path / "spot.json", tmp_path / ("n" * 80)
    file.write_bytes(b"{}")
    rename = os.rename

    def as_windows_does(source: Path, target: Path) -> None:
        if len(str(target)) > len(str(tmp_path)) + 60:
            raise FileNotFoundError(errno.ENOENT, "The system cannot find the path specified", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", as_windows_does)

    with pytest.raises(OSError, match="too many for Windows") as refused:
        disk.rename(file, long)
    assert refused.value.errno == errno.ENAMETOOLONG

    with pytest.raises(FileNotFoundError):  # of a path that is short enough it is believed
        disk.rename(tmp_path / "gone.json", tmp_path / "there.json")
    disk.rename(file, tmp_path / "there.json")
