"""The six folders: made, proven, claimed from, and told apart from a share that is away."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from watchrender import disk
from watchrender.core.failure import Code
from watchrender.core.job import Form, Job
from watchrender.core.states import State
from watchrender.spool.folders import Busy, ClaimLost, Folders, Prober, Unfit

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@dataclass
class Names:
    inbox: str = "inbox"
    active: str = "active"
    done: str = "done"
    failed: str = "failed"
    cancelled: str = "cancelled"
    status: str = "status"


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    (tmp_path / "root").mkdir()
    made = Folders(tmp_path / "root", Names())
    made.prepare()
    made.instances = {"ours"}
    (made.status / "service.json").write_text(json.dumps({"instance": "ours", "beat": 1}))
    yield made
    made.end_watch()
    disk.listen_to({})


def _job(name: str = "spot", sub: str = "", **fields: Any) -> Job:
    known = {"file": f"{name}.json", "folder": f"inbox/{sub}" if sub else "inbox"}
    return Job(id="01HF7YAT008R86GB50PNZC84M6", serial=1, arrival=1, name=name, sub=sub, **{**known, **fields})


def _write(path: Path, content: str = "content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def _fault(tmp_path: Path, *lines: str) -> None:
    (tmp_path / "faults").write_text("\n".join(lines))
    disk.listen_to({"WATCHRENDER_FAULTS": str(tmp_path / "faults")})


# -- making them --------------------------------------------------------------------------------------------


def test_what_is_missing_below_the_root_is_made_and_never_the_root(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "root", Names())

    with pytest.raises(Unfit, match="is not there"):
        folders.prepare()
    assert not (tmp_path / "root").exists()

    (tmp_path / "root").mkdir()
    folders.prepare()
    assert sorted(os.listdir(tmp_path / "root")) == ["active", "cancelled", "done", "failed", "inbox", "status"]
    assert not [path for path in (tmp_path / "root").rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("effect", ["rename:*/active/.trial-*", "rename:*/status/.trial-*", "rename:*/failed/.trial-*"])
def test_folders_that_cannot_be_moved_between_are_named(tmp_path: Path, effect: str) -> None:
    (tmp_path / "root").mkdir()
    _fault(tmp_path, f"EXDEV {effect}")
    folders = Folders(tmp_path / "root", Names())

    with pytest.raises(Unfit) as refused:
        folders.prepare()

    disk.listen_to({})
    assert "inbox" in str(refused.value) and effect.split("/")[1] in str(refused.value)
    assert not list((tmp_path / "root").rglob(".trial-*"))


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="mounting needs root rights")
def test_a_folder_on_another_volume_is_refused_by_a_trial_and_done_may_be_there(tmp_path: Path) -> None:
    for name in ("root/inbox", "root/failed", "films"):
        (tmp_path / name).mkdir(parents=True)
    with _tmpfs(tmp_path / "films"):
        Folders(tmp_path / "root", Names(done=str(tmp_path / "films" / "done"))).prepare()
        assert (tmp_path / "films" / "done").is_dir()
    with _tmpfs(tmp_path / "root" / "failed"), pytest.raises(Unfit, match="failed"):
        Folders(tmp_path / "root", Names()).prepare()


def test_what_a_trial_left_that_was_cut_off_is_removed(folders: Folders) -> None:
    (folders.inbox / ".trial-12345678").touch()
    (folders.active / ".trial-12345678").mkdir()

    folders.prepare()

    assert not list(folders.root.rglob(".trial-*"))


def test_an_empty_root_looks_lost_and_one_with_an_inbox_does_not(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    folders = Folders(tmp_path / "root", Names())

    assert folders.looks_lost()
    folders.inbox.mkdir()
    assert not folders.looks_lost()


# -- gone is not empty --------------------------------------------------------------------------------------


def _offline(folders: Folders) -> str:
    failure = folders.health()
    if failure is None:
        return ""
    assert failure.code is Code.SHARE_OFFLINE
    return failure.message


def test_a_healthy_root_is_healthy(folders: Folders) -> None:
    assert folders.health() is None


def test_a_root_that_is_gone_is_offline_and_comes_back(folders: Folders) -> None:
    folders.root.rename(folders.root.with_name("elsewhere"))
    assert "cannot be reached" in _offline(folders)

    folders.root.with_name("elsewhere").rename(folders.root)
    assert folders.health() is None


def test_an_empty_folder_in_its_place_is_not_the_root(folders: Folders) -> None:
    folders.root.rename(folders.root.with_name("elsewhere"))
    folders.root.mkdir()

    assert "empty mount point" in _offline(folders)


def test_another_hot_folder_in_its_place_is_not_the_root(folders: Folders) -> None:
    folders.root.rename(folders.root.with_name("elsewhere"))
    for name in ("inbox", "active", "status"):
        (folders.root / name).mkdir(parents=True)
    (folders.status / "service.json").write_text(json.dumps({"instance": "somebody"}))

    assert "not the folder it was" in _offline(folders)


def test_the_same_root_under_another_number_is_the_root(folders: Folders) -> None:
    folders.root.rename(folders.root.with_name("elsewhere"))
    shutil.copytree(folders.root.with_name("elsewhere"), folders.root)  # as a share that is mounted anew

    assert folders.health() is None


@pytest.mark.parametrize("name", ["inbox", "active", "status"])
def test_a_root_that_lacks_one_of_its_folders_is_offline(folders: Folders, name: str) -> None:
    (folders.root / name).rename(folders.root / "away")

    assert name in _offline(folders)


def test_nothing_is_made_in_the_place_of_a_root_that_is_away(folders: Folders) -> None:
    folders.keep_watch()
    _write(folders.inbox / "spot.json")
    folders.root.rename(folders.root.with_name("elsewhere"))

    for effect in (
        lambda: disk.mkdirs(folders.active / "spot"),
        lambda: disk.write(folders.status / "spot.status.json", b"{}"),
        lambda: folders.target(State.FAILED, "clientA", "spot"),
        lambda: folders.open_closing(_job()),
    ):
        with pytest.raises(disk.Away):
            effect()
    assert not folders.root.exists()

    folders.root.mkdir()
    with pytest.raises(disk.Away):
        disk.mkdirs(folders.active / "spot")
    assert os.listdir(folders.root) == []
    folders.root.rmdir()
    folders.root.with_name("elsewhere").rename(folders.root)
    assert folders.claim(_job()).is_dir()


def test_nothing_is_done_while_another_host_serves_the_root(folders: Folders) -> None:
    rival: list[str] = []
    folders.keep_watch(lambda: rival[0] if rival else None)
    disk.mkdirs(folders.active / "one")

    rival.append("watchrender on render-02 serves this root now")
    with pytest.raises(disk.Away, match="render-02"):
        disk.mkdirs(folders.active / "two")


@pytest.mark.root
@pytest.mark.skipif(not IS_ROOT, reason="mounting needs root rights")
def test_done_on_a_disk_that_was_taken_away_is_offline_and_nothing_is_written_to_its_mount_point(
    tmp_path: Path,
) -> None:
    for name in ("root", "films"):
        (tmp_path / name).mkdir()
    folders = Folders(tmp_path / "root", Names(done=str(tmp_path / "films" / "done")))
    with _tmpfs(tmp_path / "films"):
        folders.prepare()
        folders.keep_watch()
        assert folders.health() is None
    try:
        assert "films" in _offline(folders)
        (tmp_path / "films" / "done").mkdir()
        assert "the disk that was mounted there" in _offline(folders)
        with pytest.raises(disk.Away):
            folders.target(State.COMPLETED, "clientA", "spot")
        (tmp_path / "films" / "done").rmdir()
        with _tmpfs(tmp_path / "films"):
            (tmp_path / "films" / "done").mkdir()
            assert folders.health() is None
            assert folders.target(State.COMPLETED, "", "spot").parent.is_dir()
    finally:
        folders.end_watch()


class _tmpfs:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __enter__(self) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(self.place)], check=True)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.place)], check=True)


def test_a_root_that_hangs_is_offline_and_nobody_waits_for_it_twice(folders: Folders, monkeypatch: Any) -> None:
    hangs, asked = threading.Event(), []
    trouble = folders._trouble

    def slow() -> str | None:
        asked.append(1)
        if len(asked) == 1:
            hangs.wait(20)
        return trouble()

    monkeypatch.setattr(folders, "_trouble", slow)
    folders._prober.limit = 0.1

    assert "hangs" in _offline(folders)
    for _ in range(3):
        assert "hangs" in _offline(folders)
    assert len(asked) == 1
    hangs.set()
    for _ in range(100):
        if folders.health() is None:
            break
    assert folders.health() is None


def test_an_answer_to_an_older_question_is_not_taken_for_the_one_asked() -> None:
    prober, hangs = Prober(0.1), threading.Event()

    def slow() -> str:
        hangs.wait(20)
        return "old"

    with pytest.raises(TimeoutError):
        prober.ask(slow)
    hangs.set()

    assert prober.ask(lambda: "new") == "new"
    prober.stop()


# -- claims -------------------------------------------------------------------------------------------------


def test_a_claim_is_one_rename_and_the_sidecar_follows(folders: Folders) -> None:
    _write(folders.inbox / "clientA" / "p80_spot.json")
    _write(folders.inbox / "clientA" / "spot.yaml")
    _write(folders.inbox / "clientA" / ".before-p80_spot.json" / "old.mp4")

    folder = folders.claim(_job(sub="clientA", file="p80_spot.json", sidecar="spot.yaml"))

    assert folder == folders.active / "clientA" / "spot"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert names == ["before", "before/old.mp4", "p80_spot.json", "spot.yaml"]
    assert os.listdir(folders.inbox / "clientA") == []


def test_a_bundle_moves_as_a_whole(folders: Folders) -> None:
    _write(folders.inbox / "p80_spot" / "job.json")

    folder = folders.claim(_job(file="p80_spot", form=Form.BUNDLE))

    assert (folder / "bundle" / "job.json").is_file()


def test_a_folder_of_that_name_is_never_used_unless_we_made_it_and_it_is_empty(folders: Folders) -> None:
    _write(folders.inbox / "spot.json")
    _write(folders.active / "spot" / "theirs.txt")
    (folders.active / "spot~2").mkdir()

    assert folders.claim(_job()).name == "spot~2"


def test_a_claim_that_comes_too_late_leaves_nothing(folders: Folders) -> None:
    with pytest.raises(ClaimLost):
        folders.claim(_job())

    assert os.listdir(folders.active) == []


def test_a_claim_of_a_file_that_is_held_open_leaves_it_and_no_folder(folders: Folders, tmp_path: Path) -> None:
    _write(folders.inbox / "spot.json")
    _fault(tmp_path, "EBUSY rename:*/active/spot/spot.json 1")

    with pytest.raises(Busy, match="somebody has it open"):
        folders.claim(_job())
    assert os.listdir(folders.active) == []
    assert folders.claim(_job()).is_dir()


def test_a_sidecar_that_is_held_open_comes_later(folders: Folders, tmp_path: Path) -> None:
    _write(folders.inbox / "spot.json")
    _write(folders.inbox / "spot.yaml")
    _fault(tmp_path, "EACCES rename:*/spot.yaml 1")
    job = _job(sidecar="spot.yaml")

    folder = folders.claim(job)
    assert os.listdir(folder) == ["spot.json"]
    assert folders.bring_sidecar(job, folder)
    assert sorted(os.listdir(folder)) == ["spot.json", "spot.yaml"]


# -- closing ------------------------------------------------------------------------------------------------


def test_another_volume_is_reached_by_a_copy_that_appears_whole(folders: Folders, tmp_path: Path) -> None:
    folder = folders.active / "spot"
    _write(folder / "frames" / "a.png")
    target = folders.done / "spot"
    _fault(tmp_path, f"EXDEV rename:{target} 1")
    job_id = _job().id

    assert folders.close(folder, target, job_id) is True

    assert (target / "frames" / "a.png").is_file()
    assert not folder.exists()
    assert os.listdir(folders.done) == ["spot"]


def test_a_copy_that_fails_halfway_leaves_the_original_and_the_next_one_begins_anew(
    folders: Folders, tmp_path: Path
) -> None:
    folder, target = folders.active / "spot", folders.done / "spot"
    _write(folder / "a.mp4")
    _write(folder / "b.mp4")
    _fault(tmp_path, f"EXDEV rename:{target} 2", "ENOSPC copy:*/b.mp4 1")

    with pytest.raises(OSError, match="No space"):
        folders.close(folder, target, _job().id)
    assert sorted(os.listdir(folder)) == ["a.mp4", "b.mp4"] and not target.exists()
    folders.close(folder, target, _job().id)

    assert sorted(os.listdir(target)) == ["a.mp4", "b.mp4"]
    assert os.listdir(folders.done) == ["spot"]


def test_a_network_server_that_reports_an_error_for_what_it_did_is_believed_by_its_folder(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(folders.active / "spot" / "a.mp4")
    rename = os.rename

    def done_and_refused(source: Any, target: Any) -> None:
        rename(source, target)
        raise OSError(errno.ENOENT, "the request was repeated")

    monkeypatch.setattr(os, "rename", done_and_refused)

    assert folders.close(folders.active / "spot", folders.done / "spot", _job().id) is True


def test_a_place_is_taken_by_films_by_sub_folders_and_by_what_is_in_work(folders: Folders) -> None:
    for place in ("done/film", "active/work", "status/sub", "failed/client/old", "cancelled/client/old"):
        (folders.root / place).mkdir(parents=True)
    (folders.root / "failed" / "over").mkdir()
    _write(folders.root / "failed" / "over" / "over.status.json")

    taken = {name: folders.taken("", name) for name in ("film", "work", "sub", "client", "over", "free")}
    assert taken == {"film": True, "work": True, "sub": True, "client": True, "over": False, "free": False}


# -- looking around -----------------------------------------------------------------------------------------


def test_jobs_in_active_are_told_from_sub_folders_however_they_look(folders: Folders) -> None:
    for path in (
        "plain/plain.json",
        "clientA/.DS_Store",
        "clientA/deep/zip/x.zip",
        "clientA/film/bundle/job.yaml",
        "clientA/film/bundle/inner/other.json",
        "bundle/spot/spot.json",  # a sub-folder that somebody called bundle
        "closing/closing.status.json",
        ".closing-01HF7YAT008R86GB50PNZC84M6/spot.log",
        "attempt/.attempt-1/x.mp4",
    ):
        _write(folders.active / path)

    found = sorted(path.relative_to(folders.active).as_posix() for path, _ in folders.jobs_in_active())

    assert found == [
        ".closing-01HF7YAT008R86GB50PNZC84M6",
        "attempt",
        "bundle/spot",
        "clientA/deep/zip",
        "clientA/film",
        "closing",
        "plain",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="a system of case-insensitive names")
def test_a_status_file_that_is_no_status_is_none(folders: Folders) -> None:
    folder = folders.active / "spot"
    for content in (b"", b"{", b"[]", b'{"schema": "other"}', b'{"schema": "watchrender.status/1", "id": 3}'):
        _write(folder / "spot.status.json").write_bytes(content)
        assert folders.closings() == []
