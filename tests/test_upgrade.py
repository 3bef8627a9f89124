"""Another version of watchrender on the same folders: an older record is taken over and kept, a newer one left
alone."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from tests.line import Line, serving
from tests.test_doctor import run
from watchrender import config as configs
from watchrender.cli.app import app
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.ledger import journal, reading, transactions
from watchrender.ledger.ledger import Ledger
from watchrender.ledger.storage import NewerLedger
from watchrender.service import CannotStart


def old_record(line: Line) -> Path:
    """The record of a version that kept a plain TinyDB file: one job that waits in the inbox, one that is over."""
    line.drop("waits.json")
    jobs = [
        Job(id="1" * 26, serial=1, arrival=1, name="over", state=State.COMPLETED, folder="done/over",
            finished_at="2999-01-01T00:00:00.000Z", history=({"at": "2999-01-01T00:00:00.000Z"},)),
        Job(id="2" * 26, serial=2, arrival=2, name="waits", state=State.QUEUED, folder="inbox", file="waits.json",
            asked_priority=77, priority=77, priority_from="request"),
    ]  # fmt: skip
    path = line.home / "state" / "ledger" / "state.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"jobs": {str(job.serial): job.to_record() for job in jobs}}), encoding="utf-8")
    return path


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_an_older_record_is_taken_over_with_its_jobs_and_a_copy_is_kept(line: Line) -> None:
    path = old_record(line)
    before = json.loads(path.read_bytes())

    with serving(line):
        status = line.wait("waits", "completed")
        assert line.service is not None
        over = line.service.ledger.get("1" * 26)

    assert (status["id"], status["priority"], status["priority_from"]) == ("2" * 26, 77, "request")
    assert over is not None and over.state is State.COMPLETED
    assert json.loads((path.parent / "state.format-0.json").read_bytes())["jobs"] == before["jobs"]


def test_each_format_between_is_passed_through_and_the_old_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Ledger(tmp_path)
    before.add(why="dropped", name="spot")
    before.close()
    for module in (journal, reading, transactions):  # the next version, which calls a field by another name
        monkeypatch.setattr(module, "FORMAT", 2)
    monkeypatch.setitem(
        reading.MIGRATIONS,
        1,
        lambda tables: {
            **tables,
            "jobs": {number: {**record, "tags": ("new",)} for number, record in tables["jobs"].items()},
        },
    )

    after = Ledger(tmp_path)

    assert [job.tags for job in after.live()] == [("new",)]
    kept = json.loads((tmp_path / "state.format-1.json").read_bytes())
    assert kept["_journal"]["1"]["format"] == 1
    assert [(job["name"], "tags" in job) for job in kept["jobs"].values()] == [("spot", False)]
    after.close()


def newer_record(line: Line) -> Path:
    folder = line.home / "state" / "ledger"
    folder.mkdir(parents=True)
    body = journal.header(1, 0).partition(b" ")[2].rstrip(b"\n").replace(b'"format":1', b'"format":7')
    (folder / "state.00000001.journal").write_bytes(b"%08x %s\n" % (zlib.crc32(body), body))
    return folder


def test_a_newer_record_is_refused_in_words_and_nothing_is_touched(line: Line) -> None:
    folder = newer_record(line)
    line.drop("spot.json")
    before = digest(folder), digest(line.root)

    with pytest.raises(CannotStart, match="has format 7; this version reads up to 1: use the newer watchrender"):
        line.start()

    assert (digest(folder), digest(line.root)) == before


def test_the_command_says_so_with_exit_code_2(line: Line) -> None:
    newer_record(line)
    (line.home / "watchrender.yaml").write_text(yaml.safe_dump(line.settings), encoding="utf-8")

    done = run("run", cwd=line.home)

    assert done.returncode == 2
    assert "use the newer watchrender" in done.stderr


def test_a_newer_configuration_is_refused_in_one_clear_word(line: Line) -> None:
    settings = line.settings | {"version": configs.VERSION + 1, "something_new": True}
    (line.home / "watchrender.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    done = run("run", cwd=line.home)

    assert done.returncode == 2
    assert "is of a newer watchrender" in done.stderr
    assert "something_new" not in done.stderr  # of course it does not know that


#: Every command that reads a configuration, with words that it would do something by.
COMMANDS = (
    "run", "check", "check spot.json", "submit spot.json", "list", "show spot", "logs spot", "top", "cancel spot",
    "retry spot", "prioritize spot 5", "hold spot", "release spot", "pause", "resume", "drain", "stop", "notify test",
    "service install", "service uninstall", "service status",
)  # fmt: skip
NEED_NONE = {"init", "demo", "schema", "nexrender install"}


@pytest.mark.parametrize("words", COMMANDS)
def test_no_command_goes_by_a_newer_configuration(line: Line, words: str) -> None:
    file = line.home / "watchrender.yaml"
    file.write_text(yaml.safe_dump(line.settings | {"version": configs.VERSION + 1, "new": 1}), encoding="utf-8")
    before = digest(line.root)

    done = CliRunner().invoke(app, [*words.split(), "-c", str(file)])

    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert "is of a newer watchrender; this one reads version 1, so update it" in done.stderr
    assert digest(line.root) == before


def test_that_is_every_command() -> None:
    known = {words for given in COMMANDS for words in (given, given.split()[0])}
    tells = {"doctor"}  # to it a newer one is a finding, after those of the machine

    assert [name for name in every_command(typer.main.get_command(app)) if name not in known | NEED_NONE | tells] == []


def every_command(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


@pytest.mark.parametrize("version", ["version: 1\n", ""])
def test_a_configuration_of_this_version_or_without_one_is_read(version: str) -> None:
    assert configs.load(f"{version}root: /mnt/r\n", "watchrender.yaml", {}).version == configs.VERSION


def test_going_back_is_possible_with_the_copy_that_was_kept(line: Line, tmp_path: Path) -> None:
    path = old_record(line)
    with serving(line):
        line.wait("waits", "completed")
    kept = path.parent / "state.format-0.json"

    older = tmp_path / "older" / "ledger"
    older.mkdir(parents=True)
    (older / "state.json").write_bytes(kept.read_bytes())

    assert {record["name"] for record in reading.read(older / "state.json")["jobs"].values()} == {"over", "waits"}


def test_reading_a_newer_record_beside_its_service_says_so(line: Line) -> None:
    folder = newer_record(line)

    with pytest.raises(NewerLedger):
        reading.read(folder / "state.json")
