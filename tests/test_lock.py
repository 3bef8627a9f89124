"""One service for each root: the lock of this machine, and the heartbeat among machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from watchrender.spool.lock import RootLock, Taken, read_beat, wait_for_foreign

_HOLD = """
import sys, time
from pathlib import Path
from watchrender.spool.lock import RootLock
lock = RootLock(Path(sys.argv[1]), Path(sys.argv[2]))
lock.take()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "locks").mkdir()
    return tmp_path / "root"


@pytest.fixture
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the root."""
    command = [sys.executable, "-c", _HOLD, str(root), str(root.parent / "locks")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def _take(path: Path, patience: float = 0.1) -> RootLock:
    lock = RootLock(path, path.parent / "locks")
    lock.take(patience)
    return lock


def test_a_second_service_of_this_machine_is_refused(root: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Taken, match="another watchrender of this machine"):
        _take(root)


def test_another_path_to_the_same_root_does_not_get_past_it(root: Path, holder: subprocess.Popen[str]) -> None:
    link = root.parent / "link"
    link.symlink_to(root)

    with pytest.raises(Taken):
        _take(link)
    with pytest.raises(Taken):
        RootLock(root / ".." / "root", root.parent / "locks").take(0.1)


@pytest.mark.root
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root rights")
def test_a_bind_mount_of_the_root_does_not_get_past_it(root: Path, holder: subprocess.Popen[str]) -> None:
    other = root.parent / "other"
    other.mkdir()
    subprocess.run(["mount", "--bind", str(root), str(other)], check=True)
    try:
        with pytest.raises(Taken):
            _take(other)
    finally:
        subprocess.run(["umount", str(other)], check=True)


def test_it_is_free_the_moment_its_holder_is_killed(root: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    _take(root, 0.0).free()


def test_a_holder_that_is_about_to_end_is_waited_for(root: Path) -> None:
    first = _take(root)

    first.free()
    second = _take(root)
    with pytest.raises(Taken):
        _take(root, 0.2)
    second.free()


def test_a_root_in_another_place_is_another_root(root: Path, holder: subprocess.Popen[str]) -> None:
    (root.parent / "other").mkdir()

    _take(root.parent / "other").free()


def test_its_files_are_kept_young(root: Path) -> None:
    lock = _take(root)
    files = list((root.parent / "locks").iterdir())
    for file in files:
        os.utime(file, (1, 1))

    lock.refresh()

    assert len(files) == 2
    assert all(time.time() - file.stat().st_mtime < 60 for file in files)
    lock.free()


# -- the heartbeat ------------------------------------------------------------------------------------------


class Share:
    """A service.json, and a clock that somebody else lives by too."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "service.json"
        self.now = 50.0
        self.lives: Callable[[], None] = lambda: None

    def say(self, instance: str = "theirs", host: str = "render-02", beat: int = 1, **more: object) -> None:
        self.file.write_text(json.dumps({"instance": instance, "host": host, "pid": 7, "beat": beat, **more}))

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.lives()

    def wait(self) -> float:
        """Seconds it took to find out that the root is free."""
        began = self.now
        wait_for_foreign(self.file, "render-01", clock=lambda: self.now, sleep=self._sleep)
        return self.now - began


@pytest.fixture
def share(tmp_path: Path) -> Share:
    return Share(tmp_path)


def test_a_heartbeat_that_rises_keeps_another_host_away(share: Share) -> None:
    share.say(beat=1)
    share.lives = lambda: share.say(beat=int(share.now - 50) // 2 + 1)

    with pytest.raises(Taken, match="render-02"):
        share.wait()


def test_a_heartbeat_that_stands_still_for_fifteen_seconds_is_a_dead_one(share: Share) -> None:
    share.say()

    assert share.wait() == pytest.approx(15, abs=0.5)


def test_nobody_is_waited_for_who_was_never_there_or_has_said_goodbye(share: Share) -> None:
    assert share.wait() == 0
    for content in (b"", b"{", b"[]", b'{"instance": 3}', b"\xff"):
        share.file.write_bytes(content)
        assert share.wait() == 0
    share.say(state="stopped")
    assert share.wait() == 0


def test_one_who_says_goodbye_meanwhile_is_not_waited_for_longer(share: Share) -> None:
    share.say()
    share.lives = lambda: share.say(beat=2, state="stopped") if share.now > 55 else None

    assert share.wait() < 6


def test_one_of_this_machine_is_waited_for_only_if_its_process_lives(share: Share) -> None:
    share.say(host="render-01", pid=2**22 - 1)
    assert share.wait() == 0
    share.say(host="render-01", pid=os.getpid())  # after a restart of a container
    assert share.wait() == 0
    share.say(host="render-01", pid="x")
    assert share.wait() == 0

    share.say(host="render-01", pid=os.getppid())
    share.lives = lambda: share.say(host="render-01", pid=os.getppid(), beat=int(share.now))
    with pytest.raises(Taken):
        share.wait()


def test_a_beat_is_read_from_a_whole_file_only(share: Share) -> None:
    assert read_beat(share.file) is None
    share.say(beat=4)
    found = read_beat(share.file)
    assert found is not None and (found["instance"], found["beat"]) == ("theirs", 4)
