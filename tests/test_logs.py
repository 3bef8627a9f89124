"""The service's own words: where they go, what they look like, and what they never hold."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from loguru import logger

from watchrender import logs


@pytest.fixture(autouse=True)
def quiet_afterwards() -> Iterator[None]:
    """Leave loguru, the stdlib's loggers and the hooks as they were."""
    root, hooks = logging.getLogger(), (threading.excepthook, sys.excepthook)
    before, level, secrets = root.handlers[:], root.level, logs._secrets[:]
    yield
    logs.close()
    root.handlers[:] = before
    root.setLevel(level)
    logs._secrets[:] = secrets
    threading.excepthook, sys.excepthook = hooks


def service_log(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("watchrender_*.log")))


# ------------------------------------------------------------------ what a line looks like


def test_a_line_on_the_terminal_has_time_level_message_and_bound_values() -> None:
    terminal = io.StringIO()
    logs.setup(terminal=terminal)

    with logger.contextualize(job="01JD"):
        logger.bind(frames=12).info("{} starts", "clientA/spot")

    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    clientA/spot starts  frames=12\n", terminal.getvalue())


def test_a_line_in_the_file_has_its_job_and_zone(tmp_path: Path) -> None:
    logs.setup(folder=tmp_path)

    with logger.contextualize(job="01JD"):
        logger.warning("look")

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d WARNING look  job=01JD\n", service_log(tmp_path)
    )


def test_a_text_with_braces_and_signs_is_no_format() -> None:
    terminal = io.StringIO()
    logs.setup(terminal=terminal)

    logger.bind(path="C:/{x}/<red>").info("{}", "{job} <level> %s {")

    assert "{job} <level> %s {  path=C:/{x}/<red>" in terminal.getvalue()


def test_a_name_with_a_line_break_or_an_escape_makes_no_second_line() -> None:
    terminal = io.StringIO()
    logs.setup(terminal=terminal)

    logger.info("{} starts", "spot\n12:00:00 ERROR forged\x1b[31m")

    assert terminal.getvalue().count("\n") == 1
    assert "spot\\n12:00:00 ERROR forged\\x1b[31m starts" in terminal.getvalue()


def test_json_is_one_compact_object_a_line(tmp_path: Path) -> None:
    logs.setup(folder=tmp_path, json=True)

    logger.bind(job="01JD", frame=3, path=Path("/x")).info("é {}", '"quoted"')

    found = json.loads(service_log(tmp_path))
    assert found["at"].endswith("Z")
    assert found | {"at": None} == {
        "at": None,
        "level": "INFO",
        "message": 'é "quoted"',
        "job": "01JD",
        "frame": 3,
        "path": "/x",
        "where": found["where"],
    }


def test_a_trace_is_there_without_the_values_of_variables(tmp_path: Path) -> None:
    logs.setup(folder=tmp_path)
    password = "geheimnis"

    try:
        int("x" + password[:0])
    except ValueError:
        logger.exception("a fault")

    assert "ValueError: invalid literal" in service_log(tmp_path)
    assert "geheimnis" not in service_log(tmp_path).replace('password = "geheimnis"', "")


def test_one_endless_message_is_cut(tmp_path: Path) -> None:
    logs.setup(folder=tmp_path)

    logger.info("{}", "x" * 1_000_000)

    assert len(service_log(tmp_path)) < 9000
    assert "(1000000 characters)" in service_log(tmp_path)


def test_what_other_packages_say_of_their_own_insides_does_not_drown_ours() -> None:
    found = {}
    for level in ("DEBUG", "TRACE"):
        terminal = io.StringIO()
        logs.setup(terminal=terminal, level=level)
        logging.getLogger("watchdog.observers.inotify_buffer").debug("in-event")
        logging.getLogger("watchdog").warning("gone")
        logging.getLogger("another.package").debug("theirs")
        found[level] = terminal.getvalue()

    assert "in-event" not in found["DEBUG"] and "in-event" in found["TRACE"]
    assert all("gone" in said and "theirs" in said for said in found.values())


def test_what_is_below_the_level_is_not_said() -> None:
    terminal = io.StringIO()
    logs.setup(terminal=terminal, level="WARNING")

    logger.info("a")
    logger.warning("b")
    logging.getLogger("x").info("c")
    logging.getLogger("x").warning("d")

    assert [line.split()[-1] for line in terminal.getvalue().splitlines()] == ["b", "d"]


def test_lines_of_other_packages_come_here_with_their_place(tmp_path: Path) -> None:
    logs.setup(folder=tmp_path, json=True)

    logging.getLogger("uvicorn.error").warning("%s of {braces}", 5)
    logging.getLogger("odd").log(35, "between")

    first, second = (json.loads(line) for line in service_log(tmp_path).splitlines())
    assert (first["level"], first["message"]) == ("WARNING", "5 of {braces}")
    assert first["where"].startswith("uvicorn.error:")
    assert second["message"] == "between"


def test_a_thread_that_dies_says_so(tmp_path: Path) -> None:
    logs.setup(folder=tmp_path)
    logs.log_uncaught()

    def die() -> None:
        raise RuntimeError("boom")

    thread = threading.Thread(target=die, name="finish")
    thread.start()
    thread.join(10)

    assert "the thread finish ended by a fault in watchrender itself" in service_log(tmp_path)
    assert "RuntimeError: boom" in service_log(tmp_path)


def test_a_terminal_that_is_gone_or_has_few_signs_is_no_fault(tmp_path: Path) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    logs.setup(terminal=narrow, folder=tmp_path)

    logger.info("é → 🎬")
    narrow.flush()
    shown = narrow.buffer.getvalue()
    narrow.close()
    logger.info("after")

    assert "é \\u2192 \\U0001f3ac".encode("cp1252") in shown
    assert "after" in service_log(tmp_path)


# ------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer geheimnis",
        "{'authorization': 'Bearer geheimnis'}",
        '"Authorization": "Basic geheimnis"',
        "nexrender-secret: geheimnis",
        "GET /api/v1/events?job=1&token=geheimnis HTTP/1.1",
        "https://host/x?X-Amz-Signature=geheimnis&b=1",
        "mailto://kim:geheimnis@example.com",
        "whsec_geheimnis",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert "geheimnis" not in logs.masked(text)
    assert "***" in logs.masked(text)


def test_registered_secrets_are_masked_everywhere(tmp_path: Path) -> None:
    terminal = io.StringIO()
    jobs = logs.JobLogs(tmp_path / "jobs")
    logs.setup(terminal=terminal, folder=tmp_path, json=True, jobs=jobs)
    logs.mask("s3cret/+x", None, "", "ab")
    jobs.begin("j1")
    jobs.append("j1", "raw s3cret/+x")

    try:
        raise ValueError("no s3cret/+x")
    except ValueError:
        logger.bind(job="j1", url="https://h/?a=s3cret%2F%2Bx", path=Path("s3cret/+x")).exception(
            "said {}", "s3cret/+x"
        )

    for text in (terminal.getvalue(), service_log(tmp_path), jobs.path("j1").read_text()):
        assert "***" in text
        assert "s3cret" not in text.replace('ValueError("no s3cret/+x")', "")
    assert logs.masked("about ab") == "about ab"


def test_masking_a_long_line_takes_no_time() -> None:
    start = time.monotonic()

    for text in ("a." * 50_000, "authorization " * 10_000, "://" * 50_000, "?token" * 20_000):
        logs.masked(text)

    assert time.monotonic() - start < 5


# ------------------------------------------------------------------ files


def test_a_file_that_has_grown_is_followed_by_a_new_one_and_none_is_renamed(tmp_path: Path) -> None:
    logs.setup(folder=tmp_path, rotation=2000)
    seen: dict[int, str] = {}

    for number in range(100):
        logger.info("line {}", number)
        for entry in os.scandir(tmp_path):
            assert seen.setdefault(entry.inode(), entry.name) == entry.name

    assert len(seen) > 2
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    today = date.today().isoformat()
    assert {f"watchrender_{today}.log", f"watchrender_{today}.2.log"} <= {path.name for path in tmp_path.iterdir()}
    said = "".join(path.read_text() for path in sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns))
    assert [int(line.split()[-1]) for line in said.splitlines()] == [*range(100)]


def test_the_next_start_goes_on_in_the_newest_file_that_has_room(tmp_path: Path) -> None:
    files = logs._Files(tmp_path, 100, lambda record: record["message"], lambda: date(2026, 11, 24))
    files.put("a" * 80)
    files.put("b" * 80)
    files.stop()

    again = logs._Files(tmp_path, 100, lambda record: record["message"], lambda: date(2026, 11, 24))
    again.put("c" * 10)
    again.put("d" * 80)
    again.stop()

    assert {path.name: path.read_text()[0] + path.read_text()[-2] for path in tmp_path.iterdir()} == {
        "watchrender_2026-11-24.log": "aa",
        "watchrender_2026-11-24.2.log": "bc",
        "watchrender_2026-11-24.3.log": "dd",
    }


def test_a_new_day_has_a_new_file(tmp_path: Path) -> None:
    today = [date(2026, 11, 24)]
    files = logs._Files(tmp_path, 1000, lambda record: record["message"], lambda: today[-1])

    files.put("old")
    today.append(date(2026, 11, 25))
    files.put("new")
    files.stop()

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "watchrender_2026-11-24.log",
        "watchrender_2026-11-25.log",
    ]


def test_lines_that_could_not_be_written_are_counted_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.write_text("in the way")
    logs.setup(folder=folder)

    logger.info("one")
    logger.info("two")
    folder.unlink()
    logger.info("three")

    assert re.search(r"\(2 lines are missing here.*\n.* INFO    three\n", service_log(folder))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    today = date.today().isoformat()
    (tmp_path / f"watchrender_{today}.log").symlink_to("/dev/full")
    jobs = logs.JobLogs(tmp_path / "jobs")
    jobs.begin("a").unlink()
    jobs.path("a").symlink_to("/dev/full")
    logs.setup(folder=tmp_path, jobs=jobs)

    logger.bind(job="a").info("one")
    (tmp_path / f"watchrender_{today}.log").unlink()
    logger.info("two")

    assert "1 lines are missing" in service_log(tmp_path)
    assert "two" in service_log(tmp_path)


def test_old_logs_are_named_by_age_and_others_left_alone(tmp_path: Path) -> None:
    for name, age in (("watchrender_2026-01-01.log", 90), ("watchrender_2026-01-01.2.log", 50), ("notes.log", 99)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))

    def names(seconds: float) -> list[str]:
        return [path.name for path in logs.service_logs(tmp_path, older_than=seconds, now=1000)]

    assert names(60) == ["watchrender_2026-01-01.log"]
    assert names(10) == ["watchrender_2026-01-01.log", "watchrender_2026-01-01.2.log"]
    assert logs.service_logs(tmp_path / "none", older_than=0, now=0) == []


# ------------------------------------------------------------------ the log of a job


def test_a_jobs_lines_go_to_its_log_while_it_is_there(tmp_path: Path) -> None:
    jobs = logs.JobLogs(tmp_path / "jobs")
    logs.setup(folder=tmp_path, jobs=jobs)
    jobs.begin("01JD")

    with logger.contextualize(job="01JD"):
        logger.bind(attempt=1).info("starts")
        jobs.append("01JD", "PROGRESS:  0:00:00:01 (2)\r\n")
    logger.info("of nobody")
    logger.bind(job="other").info("of another")
    text = jobs.path("01JD").read_text()
    jobs.end("01JD")
    logger.bind(job="01JD").info("after the end")

    assert re.fullmatch(r"\S+ INFO    starts  attempt=1\nPROGRESS:  0:00:00:01 \(2\)\n", text)
    assert list((tmp_path / "jobs").iterdir()) == []
    assert "after the end" in service_log(tmp_path)


def test_a_job_log_begun_twice_keeps_its_lines(tmp_path: Path) -> None:
    jobs = logs.JobLogs(tmp_path)
    jobs.begin("a")
    jobs.append("a", "first try \udcff")
    jobs.begin("a")

    assert jobs.path("a").read_text() == "first try \\udcff\n"


def test_no_job_id_leads_out_of_the_folder(tmp_path: Path) -> None:
    assert logs.JobLogs(tmp_path).path("../../x").parent == tmp_path


def test_two_threads_lose_no_line_of_a_job(tmp_path: Path) -> None:
    jobs = logs.JobLogs(tmp_path)
    jobs.begin("a")

    def write(name: str) -> None:
        for number in range(200):
            jobs.append("a", f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    found = jobs.path("a").read_text().splitlines()
    assert sorted(found) == sorted(f"{name} {number}" for name in "xy" for number in range(200))
