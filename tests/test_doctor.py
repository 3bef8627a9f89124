"""`watchrender doctor`: every trouble has a line and a cure, and a machine that is well says so."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.farm import SECRET, Answering, Pretended
from tests.line import Line, serving
from tests.mounts import Share, hanging
from watchrender.config import load
from watchrender.core.failure import CATALOGUE
from watchrender.install import doctor, machine
from watchrender.install import session as sessions
from watchrender.install.presence import alive
from watchrender.install.report import Level, within
from watchrender.install.report import Line as Finding
from watchrender.install.session import Session
from watchrender.install.share import Measured, measure
from watchrender.render import nexrender as renderers
from watchrender.render.nexrender import Nexrender
from watchrender.spool.volume import Volume


def case(line: Line, source: Path | None = None) -> doctor.Case:
    name = str(source or line.home / "watchrender.yaml")
    return doctor.Case(config=load(yaml.safe_dump(line.settings), name, {}), source=source)


def by_name(lines: Iterator[Finding] | list[Finding]) -> dict[str, Finding]:
    return {line.name: line for line in lines}


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("WATCHRENDER_")} | environment
    command = [sys.executable, "-m", "watchrender", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)


# ---------------------------------------------------------------------------------------------------------- all is well


@pytest.mark.nexrender
def test_a_machine_that_is_well_says_so(line: Line, nexrender_set: Nexrender) -> None:
    line.change(nexrender={"command": list(nexrender_set.command)})

    found = list(doctor.examine(case(line).config))

    assert [finding for finding in found if finding.level is Level.FAIL] == []
    assert {"python", "node", "nexrender", "aerender", "patch", "licence", "extra media", "settings", "token",
            "state_dir", "root", "folders", "renames", "latency", "atomicity", "names", "clock", "space",
            "service", "port"} <= set(by_name(found))  # fmt: skip
    assert f"core {nexrender_set.core_version}" in by_name(found)["nexrender"].words


def test_every_trouble_has_a_cure_and_nothing_is_left_behind(line: Line) -> None:
    before = sorted(path for path in line.home.rglob("*"))

    found = list(doctor.examine(case(line).config))

    assert all(finding.cure for finding in found if finding.level is not Level.OK)
    assert sorted(path for path in line.home.rglob("*")) == before


def test_the_command_prints_json_and_ends_with_1_where_something_fails(line: Line) -> None:
    line.settings["nexrender"]["aerender"] = str(line.home / "nowhere" / "aerender")
    (line.home / "watchrender.yaml").write_text(yaml.safe_dump(line.settings), encoding="utf-8")

    done = run("doctor", "--json", cwd=line.home)
    told = json.loads(done.stdout)

    assert (done.returncode, told["ok"]) == (1, False)
    wrong = next(check for check in told["checks"] if check["name"] == "aerender")
    assert wrong["level"] == "fail"
    assert "nexrender.aerender" in wrong["cure"]


def test_for_people_each_line_begins_with_its_level(line: Line) -> None:
    (line.home / "watchrender.yaml").write_text(yaml.safe_dump(line.settings), encoding="utf-8")

    done = run("doctor", cwd=line.home)

    assert all(text[:4] in ("ok  ", "warn", "fail", "    ") for text in done.stdout.splitlines())
    assert "-> " in done.stdout  # the stand-in for nexrender knows no --version


def test_a_configuration_with_faults_is_a_finding_and_the_machine_is_examined_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "watchrender.yaml").write_text("root: /mnt/r\nlimits: {stall: 10 mins}\nsever: {}\n", encoding="utf-8")

    done = run("doctor", "--json", cwd=tmp_path)
    checks = json.loads(done.stdout)["checks"]

    assert done.returncode == 1
    assert [check["message"].split(": ", 1)[1][:12] for check in checks if check["name"] == "config"] == [
        "limits.stall",
        "sever: unkno",
    ]
    assert checks[0]["name"] == "python"


def test_without_a_configuration_it_says_how_to_make_one(tmp_path: Path) -> None:
    done = run("doctor", cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path), HOME=str(tmp_path))

    assert done.returncode == 1
    assert "watchrender init" in done.stdout


def test_a_configuration_that_is_not_there_is_a_finding_too(tmp_path: Path) -> None:
    done = run("doctor", "--json", "-c", str(tmp_path / "gone.yaml"), cwd=tmp_path)
    told = json.loads(done.stdout)

    assert (done.returncode, told["ok"]) == (1, False)
    assert told["checks"][0]["name"] == "python"
    assert "gone.yaml" in told["checks"][-1]["message"]
    assert "its name" in told["checks"][-1]["cure"]


def test_what_an_examination_stumbles_over_is_told_and_not_left_out() -> None:
    def look() -> Iterator[Finding]:
        yield Finding(name="first", level=Level.OK, words="well")
        raise RuntimeError("no such drive")

    found = within(30, "root", look)

    assert [finding.level for finding in found] == [Level.OK, Level.FAIL]
    assert "no such drive" in found[-1].words and found[-1].cure


# ---------------------------------------------------------------------------------------------------------------- farm


def test_where_a_farm_renders_its_server_is_asked_and_no_after_effects(line: Line) -> None:
    server = Answering()
    server.answer = lambda _method, path: (200, b"ok") if path.endswith("/health") else (200, b"")
    line.change(
        engine="nexrender-server",
        nexrender_server={"url": server.url, "secret": "quiet"},
        nexrender={"command": str(line.home / "gone"), "aerender": str(line.home / "gone")},
    )
    there = by_name(doctor.examine(case(line).config))
    server.answer = lambda _method, _path: (403, b"")
    refused = by_name(doctor.examine(case(line).config))
    server.stop()
    gone = by_name(doctor.examine(case(line).config))

    assert not {"node", "nexrender", "aerender", "patch", "licence"} & set(there)
    assert [name for name, finding in there.items() if finding.level is Level.FAIL] == []
    assert there["nexrender-server"].level is Level.OK
    assert "nexrender_server.secret" in str(refused["nexrender-server"].cure)
    assert gone["nexrender-server"].level is Level.FAIL


# ------------------------------------------------------------------------------------------------------------ machine


def fake_set(root: Path, core: str) -> list[str]:
    for name, version in (("cli", "1.46.5"), ("core", core)):
        package = root / "node_modules" / "@nexrender" / name
        (package / "src").mkdir(parents=True)
        (package / "package.json").write_text(json.dumps({"version": version}), encoding="utf-8")
    script = renderers.cli_script(root)
    script.write_text("print('1.46.5')", encoding="utf-8")
    return [sys.executable, str(script)]


def test_versions_of_nexrender_that_cannot_fetch_are_warned_of(line: Line) -> None:
    line.settings["nexrender"]["command"] = fake_set(line.home / "set", "1.63.3")

    found = by_name(machine.node_and_nexrender(case(line).config))["nexrender"]

    assert found.level is Level.WARN
    assert "1.63.3" in found.words
    assert "nexrender install" in str(found.cure)


def test_the_version_it_is_tried_with_is_well(line: Line) -> None:
    line.settings["nexrender"]["command"] = fake_set(line.home / "set", "1.62.2")

    assert by_name(machine.node_and_nexrender(case(line).config))["nexrender"].level is Level.OK


def test_a_nexrender_that_does_not_run_fails_with_its_own_words(line: Line) -> None:
    line.settings["nexrender"]["command"] = [sys.executable, "-c", "print('Cannot find module x')"]

    found = by_name(machine.node_and_nexrender(case(line).config))["nexrender"]

    assert found.level is Level.FAIL
    assert "Cannot find module x" in found.words


def test_each_version_of_after_effects_is_looked_at(line: Line) -> None:
    good = line.settings["nexrender"]["aerender"]
    line.settings["nexrender"]["aerender"] = {"2024": good, "2025": str(line.home / "gone")}

    found = by_name(machine.after_effects(case(line).config))

    assert found["aerender 2024"].level is Level.OK
    assert found["patch 2024"].words == "nexrender's script is in its place"
    assert found["aerender 2025"].level is Level.FAIL


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user for whom rights count")
def test_a_script_that_may_not_be_written_fails(line: Line, simulator: Path) -> None:
    line.settings["nexrender"]["aerender"] = str(simulator)
    script = simulator.parent / "Scripts" / "Startup" / "commandLineRenderer.jsx"
    script.chmod(0o444)

    assert by_name(machine.after_effects(case(line).config))["patch"].level is Level.FAIL


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (Session(platform="win32", number=0), "session 0"),
        (Session(platform="win32", number=1), None),
        (Session(platform="darwin", manager="Background"), "no windows"),
        (Session(platform="darwin", manager="Aqua"), None),
        (Session(platform="darwin", manager="Aqua", is_root=True), "root"),
        (Session(platform="linux", is_root=True), "root"),
        (Session(platform="linux"), None),
    ],
)
def test_after_effects_wants_its_users_own_session(session: Session, words: str | None) -> None:
    found = sessions.trouble(session)

    assert (found is None) == (words is None)
    assert words is None or (found is not None and words in found[0])


def test_the_licence_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    without = next(machine.licence()).words
    (tmp_path / "Documents").mkdir()
    (tmp_path / "Documents" / machine.LICENCE).touch()

    assert without.startswith("no ae_render_only_node.txt")
    assert str(tmp_path) in next(machine.licence()).words


def test_a_missing_extra_says_what_is_not_done(monkeypatch: pytest.MonkeyPatch, line: Line) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda _name: None)
    line.settings["verify"]["probe"] = "auto"

    found = by_name(machine.extras(case(line).config))["extra media"]

    assert found.level is Level.WARN
    assert "watchrender[media]" in str(found.cure)


# -------------------------------------------------------------------------------------------------------------- a farm


@pytest.fixture
def farm() -> Iterator[Pretended]:
    found = Pretended()
    yield found
    found.stop()


def test_of_a_farm_the_server_is_asked_and_after_effects_is_the_workers_own(line: Line, farm: Pretended) -> None:
    line.settings["nexrender"] = {"command": str(line.home / "nowhere"), "aerender": str(line.home / "nowhere")}
    server = {"url": farm.url, "secret": SECRET, "path_map": [{"from": str(line.root), "to": "R:/"}]}
    line.change(engine="nexrender-server", nexrender_server=server)

    found = list(doctor.examine(case(line).config))

    assert [finding for finding in found if finding.level is Level.FAIL] == []
    assert by_name(found)["nexrender-server"].level is Level.OK
    assert "R:/" in by_name(found)["path_map"].words
    assert not {"nexrender", "aerender", "session", "licence"} & set(by_name(found))
    assert farm.posts == [] and farm.jobs == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"secret": "another"}, "secret"), ({"secret": SECRET, "url": "http://127.0.0.1:9"}, "cannot be reached")],
)
def test_a_server_that_cannot_be_used_fails_with_its_cure(
    line: Line, farm: Pretended, settings: dict[str, Any], words: str
) -> None:
    line.change(engine="nexrender-server", nexrender_server={"url": farm.url, **settings})

    finding = by_name(doctor.examine(case(line).config))["nexrender-server"]

    assert finding.level is Level.FAIL and words in finding.words and finding.cure


def test_what_will_not_work_on_a_farm_as_somebody_hopes_is_warned_of(
    line: Line, farm: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [{"from": "/somewhere/else", "to": "R:/"}]
    line.change(
        engine="nexrender-server",
        nexrender_server={"url": farm.url, "secret": SECRET, "tags": ["gpu"], "path_map": rules},
    )
    warned = [finding for finding in doctor.examine(case(line).config) if finding.level is Level.WARN]
    assert {"nexrender-server", "path_map"} <= {finding.name for finding in warned}
    assert any("gpu" in finding.words for finding in warned)

    farm.odd = lambda asked: farm.answer(asked)  # it wants no secret
    line.change(nexrender_server={"secret": None, "tags": [], "path_map": []})
    (finding,) = [
        found for found in doctor.examine(case(line).config) if found.name == "nexrender-server" and found.cure
    ]
    assert finding.level is Level.WARN and "--secret" in finding.cure


# ----------------------------------------------------------------------------------------------------------- settings


def test_time_outs_that_contradict_each_other_are_told(line: Line) -> None:
    line.change(limits={"render": "5m", "stall": "10m"}, retention={"history": "1h", "status": "24h"})

    found = [finding.words for finding in doctor.settings(case(line))]

    assert any("limits.stall: has no effect, because limits.render" in words for words in found)
    assert any("retention.history" in words for words in found)


def test_a_short_token_can_be_guessed(line: Line) -> None:
    line.change(server={"enabled": True, "host": "0.0.0.0", "token": "abc123"})

    found = by_name(doctor.token(case(line)))["token"]

    assert found.level is Level.WARN
    assert "abc123" not in found.words


def test_a_proxy_without_a_token_is_warned_of(line: Line) -> None:
    line.change(server={"enabled": True, "allowed_hosts": ["render.example.com"]})

    assert next(doctor.token(case(line))).level is Level.WARN


@pytest.mark.skipif(os.name == "nt", reason="rights of other users are told otherwise there")
def test_a_file_with_a_secret_that_others_may_read_is_told(line: Line) -> None:
    file = line.home / "watchrender.yaml"
    line.change(server={"enabled": True, "token": "t" * 30})
    file.write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    file.chmod(0o644)
    open_to_all = [finding.level for finding in doctor.token(case(line, file))]
    file.chmod(0o600)
    its_owner_s = [finding.level for finding in doctor.token(case(line, file))]
    line.change(nexrender_server={"url": "http://farm:3050"}, server={"enabled": False})
    file.write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    file.chmod(0o644)
    no_secret = [finding.level for finding in doctor.token(case(line, file))]

    assert (open_to_all, its_owner_s, no_secret) == ([Level.OK, Level.WARN], [Level.OK], [Level.OK])


def test_a_notification_target_that_cannot_work_fails(line: Line) -> None:
    line.change(notify={"ops": {"url": "foo://x"}, "hook": {"url": "https://studio.example/x"}})

    found = by_name(doctor.notify(case(line)))

    assert found["notify ops"].level is Level.FAIL
    assert found["notify hook"].level is Level.OK


# ------------------------------------------------------------------------------------------------------------- places


def test_a_root_that_is_not_there_fails_and_is_not_made(tmp_path: Path, line: Line) -> None:
    line.settings["root"] = str(tmp_path / "not-mounted")

    found = list(doctor.examine(case(line).config))

    assert found[-1].name == "root"
    assert found[-1].level is Level.FAIL
    assert "watchrender init" in str(found[-1].cure)
    assert not (tmp_path / "not-mounted").exists()


def test_a_folder_that_refuses_to_be_written_fails(line: Line) -> None:
    told = with_fault(line, "EACCES */inbox/.trial*")

    assert told["folders"]["level"] == "fail"
    assert "inbox" in told["folders"]["cure"]


def test_each_folder_that_refuses_is_named(line: Line) -> None:
    for name in ("inbox", "done", "failed"):
        (line.root / name).mkdir(exist_ok=True)
    (line.home / "watchrender.yaml").write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    (line.home / "faults").write_text("EROFS */done/.trial*\nEACCES */failed/.trial*\n", encoding="utf-8")

    done = run("doctor", "--json", cwd=line.home, WATCHRENDER_FAULTS=str(line.home / "faults"))

    found = [check["message"] for check in json.loads(done.stdout)["checks"] if check["name"] == "folders"]
    assert [message.rpartition(": ")[0] for message in found] == [str(line.root / "done"), str(line.root / "failed")]


def test_a_work_folder_of_its_own_is_looked_at(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.change(nexrender={"work_dir": str(line.home / "work")})
    good = next(doctor.work(case(line)))
    monkeypatch.setattr(doctor, "volume_of", lambda _path: Volume(kind="cifs", is_share=True, mount="/m"))
    slow = next(doctor.work(case(line)))

    assert (good.level, slow.level) == (Level.OK, Level.WARN)
    assert "SMB" in slow.words and "nexrender.work_dir" in str(slow.cure)


def test_a_done_folder_elsewhere_is_told_with_its_kind(line: Line) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == line.root.stat().st_dev:
        pytest.skip("needs a second disk: /dev/shm")
    line.change(folders={"done": str(elsewhere)})

    assert "done is on a local disk (tmpfs) of its own" in by_name(doctor.renames(case(line)))["renames"].words


@hanging
@pytest.mark.root
def test_a_share_that_hangs_hangs_no_doctor(line: Line, tmp_path: Path) -> None:
    share = Share(tmp_path / "served", tmp_path / "mount")
    line.settings["root"] = str(share.place)
    script = (
        "import sys, yaml\nfrom watchrender.config import load\nfrom watchrender.install import doctor\n"
        "config = load(open(sys.argv[1]).read(), 'w.yaml', {})\n"
        "for found in doctor.examine(config, patience=2):\n"
        "    print(f'{found.level} {found.name}: {found.words}')\n"
    )
    (line.home / "w.yaml").write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    try:
        share.hang()
        done = subprocess.run(
            [sys.executable, "-c", script, str(line.home / "w.yaml")], capture_output=True, text=True, timeout=90,
            check=False,
        )  # fmt: skip
    finally:
        share.answer()
        share.close()

    assert done.returncode == 0, done.stderr
    assert "ok python: " in done.stdout
    said = done.stdout.splitlines()
    assert said[-2].startswith("fail ") and said[-2].endswith(": no answer within 2 s")
    assert said[-1].startswith("warn rest: not looked at")
    assert len([found for found in said if "no answer" in found]) == 1  # a minute for each would be long


def test_a_rename_that_is_refused_fails(line: Line) -> None:
    (line.root / "active").mkdir()

    told = with_fault(line, "EXDEV */active/.trial*/file")

    assert told["renames"]["level"] == "fail"
    assert "one volume" in told["renames"]["cure"]


def test_a_rename_that_is_forbidden_has_another_cure(line: Line) -> None:
    (line.root / "active").mkdir()

    assert "the right to" in with_fault(line, "EROFS */active/.trial*/file")["renames"]["cure"]


def with_fault(line: Line, fault: str) -> dict[str, Any]:
    """What the doctor says where the disk refuses something."""
    (line.home / "watchrender.yaml").write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    (line.home / "faults").write_text(f"{fault}\n", encoding="utf-8")
    done = run("doctor", "--json", cwd=line.home, WATCHRENDER_FAULTS=str(line.home / "faults"))
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_too_little_room_fails_and_little_room_warns(line: Line) -> None:
    line.change(limits={"min_free_disk": "900TiB"})

    assert next(doctor.space(case(line))).level is Level.FAIL


def test_what_retention_would_remove_is_told_and_stays(line: Line) -> None:
    line.change(retention={"done": "1d"})
    folder = line.root / "done" / "old"
    folder.mkdir(parents=True)
    said = {
        "schema": "watchrender.status/1",
        "id": "1" * 26,
        "state": "completed",
        "finished_at": "2020-01-01T00:00:00Z",
    }
    (folder / "old.status.json").write_text(json.dumps(said), encoding="utf-8")
    for path in (folder / "old.status.json", folder):
        os.utime(path, (0, 0))

    assert "would remove 1 job folder" in by_name(doctor.keeping(case(line)))["retention"].words
    assert folder.is_dir()


def test_a_ledger_of_a_newer_version_fails_and_is_left_alone(line: Line) -> None:
    folder = line.home / "state" / "ledger"
    folder.mkdir(parents=True)
    journal = folder / "state.00000001.journal"
    from watchrender.ledger import journal as files

    text = files.header(1, 0).replace(b'"format":1', b'"format":9')
    body = text.partition(b" ")[2].rstrip(b"\n")
    import zlib

    journal.write_bytes(b"%08x %s\n" % (zlib.crc32(body), body))

    found = by_name(doctor.state(case(line)))["ledger"]

    assert found.level is Level.FAIL
    assert "format 9" in found.words


def test_a_damaged_record_is_told(line: Line) -> None:
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "completed")
    for file in (line.home / "state" / "ledger").glob("*.journal"):
        data = file.read_bytes().splitlines(keepends=True)
        assert len(data) > 3
        file.write_bytes(b"".join([*data[:2], b"0" * 20 + b"\n", *data[3:]]))

    found = list(doctor.state(case(line)))

    assert next(finding.level for finding in found if finding.name == "ledger") is Level.WARN
    assert found[-1].words.startswith("1 job")


def test_an_older_record_is_told(line: Line) -> None:
    folder = line.home / "state" / "ledger"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"jobs": {"1": {"name": "spot"}}}), encoding="utf-8")

    assert "of format 0: the next start brings it to 1" in by_name(doctor.state(case(line)))["ledger"].words


def test_shares_are_called_by_their_names() -> None:
    assert doctor._kind(Volume(kind="cifs", is_share=True, mount="/m")) == "on a share (SMB)"
    assert doctor._kind(Volume(kind="nfs4", is_share=True, mount="/m")) == "on a share (NFS)"
    assert doctor._kind(Volume(kind="ext4", is_share=False, mount="/")) == "on a local disk (ext4)"


GOOD = Measured(latency=0.004, folds_case=False, folds_accents=False, torn_reads=0, mkdir_wins=True, skew=0.0)


def test_a_local_disk_is_measured_as_it_is(tmp_path: Path) -> None:
    found = measure(tmp_path)

    assert 0 < found.latency < 5
    assert (found.torn_reads, found.mkdir_wins, found.left_behind) == (0, True, False)
    assert abs(found.skew) < 2
    assert found.folds_case == (tmp_path / "X").exists() or not found.folds_case
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_meets_half_a_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchrender.install import share

    def in_place(path: Path, data: bytes, *, durable: bool = True) -> None:  # a disk whose rename is no rename
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(0.002)
            file.write(data[len(data) // 2 :])

    monkeypatch.setattr(share.disk, "write", in_place)

    assert measure(tmp_path).torn_reads > 0


@pytest.mark.parametrize(("latency", "level"), [(0.01, Level.OK), (0.9, Level.WARN)])
def test_a_slow_disk_is_warned_of(latency: float, level: Level) -> None:
    assert doctor._latency(Measured(**{**vars(GOOD), "latency": latency})).level is level


@pytest.mark.parametrize(("skew", "words"), [(7200.0, "ahead of"), (-60.0, "behind"), (0.5, "agree")])
def test_a_clock_that_goes_wrong_is_told(skew: float, words: str) -> None:
    assert words in doctor._clock(Measured(**{**vars(GOOD), "skew": skew})).words


def test_what_hangs_is_a_finding_and_the_rest_is_examined() -> None:
    never = threading.Event()

    def look() -> Iterator[Finding]:
        yield Finding(name="first", level=Level.OK, words="well")
        never.wait()

    started = time.monotonic()
    found = within(0.2, "share", look)

    assert time.monotonic() - started < 2
    assert found[-1].level is Level.FAIL
    assert "no answer" in found[-1].words
    never.set()


# ------------------------------------------------------------------------------------------------------------ service


def test_beside_a_running_service_it_tells_of_it_and_disturbs_nothing(line: Line) -> None:
    line.change(server={"enabled": True, "port": 0})
    with serving(line):
        line.drop("spot.json")
        line.wait("spot", "completed")
        found = by_name(doctor.examine(case(line).config))
        line.drop("next.json")
        line.wait("next", "completed")

    assert f"process {os.getpid()}" in found["service"].words
    assert found["port"].words.endswith("answers")
    assert line.files("failed") == []


def test_what_the_queue_waits_for_is_a_failure_with_its_cure(line: Line) -> None:
    line.change(nexrender={"aerender": str(line.home / "gone")})
    with serving(line):
        line.drop("spot.json")
        from tests.line import until

        until(lambda: (beat := alive(line.root / "status" / "service.json")) and beat["waiting"])
        found = by_name(doctor.service(case(line)))

    assert found["queue"].level is Level.FAIL
    assert "nexrender.aerender" in str(found["queue"].cure)


def test_a_port_that_somebody_has_fails_and_says_who(line: Line) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line.change(server={"enabled": True, "port": taken.getsockname()[1]})

        found = by_name(doctor.service(case(line)))["port"]

    assert found.level is Level.FAIL
    assert "server.port" in str(found.cure)
    assert str(os.getpid()) in found.words


@pytest.mark.parametrize(
    ("host", "port", "cure"),
    [("192.0.2.1", 8790, "server.host"), ("no-such-host.invalid", 8790, "server.host")],
)
def test_an_address_that_is_not_ours_fails_with_its_own_cure(line: Line, host: str, port: int, cure: str) -> None:
    line.change(server={"enabled": True, "host": host, "port": port, "token": "t" * 30})

    found = by_name(doctor.service(case(line)))["port"]

    assert found.level is Level.FAIL
    assert cure in str(found.cure)


def test_a_port_of_the_administrator_s_has_its_own_cure() -> None:
    assert "above 1023" in doctor._cure_of_port(PermissionError(errno.EACCES, "Permission denied"))


def test_a_service_that_was_killed_is_not_alive(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file = tmp_path / "service.json"
    file.write_text(
        json.dumps({"instance": "x", "host": socket.gethostname(), "pid": ended.pid, "beat": 1, "state": "running"}),
        encoding="utf-8",
    )

    assert alive(file) is None


def test_a_service_elsewhere_is_alive_while_its_beat_rises(tmp_path: Path) -> None:
    file = tmp_path / "service.json"

    def beat(number: int) -> None:
        said = {"instance": "x", "host": "another", "pid": 1, "beat": number, "state": "running"}
        file.write_text(json.dumps(said), encoding="utf-8")
        os.utime(file, (0, 0))  # the disk's clock is of no use

    beat(1)
    still = alive(file, watch=0.3)
    rises = alive(file, sleep=lambda _seconds: beat(2))

    assert still is None
    assert rises is not None and rises["beat"] == 2


def test_a_command_to_be_pasted_has_no_single_quotes_for_windows_knows_none() -> None:
    told = {code: entry.cure for code, entry in CATALOGUE.items()} | {"extra": machine._pip("media")}

    assert {name: cure for name, cure in told.items() if re.search(r"`[^`]*'[^`]*`", cure)} == {}


def test_a_folder_on_a_drive_that_is_not_there_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _path: False)  # nothing of it, not even the top

    assert doctor._standing(tmp_path / "work") == Path(tmp_path.anchor)


def test_how_long_names_may_be_is_told_where_windows_allows_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchrender.disk.longest_path", lambda: 259)
    (found,) = machine.path_lengths(Path("/srv/renders"))
    assert found.level is Level.WARN and "about 86" in found.words

    monkeypatch.setattr("watchrender.disk.longest_path", lambda: None)
    assert list(machine.path_lengths(Path("/srv/renders"))) == []
