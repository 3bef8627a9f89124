"""The output goes into the job's log as it came, whole lines at a time, and a disk that refuses is no reason to end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchrender.render.rawlog import RawLog


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_output_is_appended_once_a_second(tmp_path: Path) -> None:
    file, clock = tmp_path / "logs" / "spot.log", Clock()
    log = RawLog(file, clock)

    log.add(b"one\r\n\xff\n")
    log.tick()
    assert not file.exists()
    clock.at = 1.0
    log.tick()

    assert file.read_bytes() == b"one\r\n\xff\n"


def test_only_whole_lines_are_written_so_that_others_may_write_between(tmp_path: Path) -> None:
    file = tmp_path / "spot.log"
    log = RawLog(file, Clock())

    log.add(b"one\ntw")
    log.flush()
    with open(file, "ab") as other:
        other.write(b"OTHER\n")
    log.add(b"o\nthree")
    log.close()

    assert file.read_bytes() == b"one\nOTHER\ntwo\nthree\n"


def test_a_line_without_end_is_written_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "spot.log"
    log = RawLog(file, Clock())

    log.add(b"x" * 3_000_000)

    assert file.stat().st_size == 3_000_000


def test_beyond_its_size_only_the_last_lines_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "spot.log"
    log = RawLog(file, Clock(), cap=10)

    log.add(b"12345\n")
    log.add(b"67890\n")
    log.add(b"more\n")
    log.note("ours")
    log.close(["the last line"])

    assert file.read_text().splitlines() == [
        "12345",
        "6789",
        "[watchrender] ours",
        "[watchrender] the log of this attempt is cut at 10 bytes; 7 bytes are left out, then:",
        "the last line",
    ]


def test_what_could_not_be_written_is_counted_and_said_later(tmp_path: Path) -> None:
    file = tmp_path / "spot.log"
    file.mkdir()  # no file can be opened there
    log = RawLog(file, Clock())
    log.add(b"lost\n")
    log.flush()

    file.rmdir()
    log.add(b"kept\n")
    log.flush()
    log.close()

    first, second = file.read_text().splitlines()
    assert first.startswith("[watchrender] 5 bytes of output could not be written here: ")
    assert second == "kept"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_takes_no_memory(tmp_path: Path) -> None:
    log = RawLog(Path("/dev/full"), Clock())
    for _ in range(50):
        log.add(b"x" * 99_999 + b"\n")

    log.flush()
    log.close()

    assert len(log._buffer) == 0


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "spot.log"
    log = RawLog(file, Clock())
    log.add(b"one\n")
    log.flush()
    file.rename(tmp_path / "moved.log")

    log.add(b"two\n")
    log.close()

    assert file.read_bytes() == b"two\n"


def test_our_own_words_are_marked_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "spot.log"
    log = RawLog(file, Clock())

    log.add(b"half a line")
    log.note("one\ntwo")
    log.close()

    assert file.read_text() == "half a line\n[watchrender] one\n[watchrender] two\n"
