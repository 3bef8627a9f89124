"""Started by itself from now on: systemd, launchd, Task Scheduler; refused where After Effects could not render."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from unittest.mock import ANY

import pytest
import yaml
from typer.testing import CliRunner

from tests.farm import Answering
from tests.line import Line, serving, until
from watchrender.cli.app import app
from watchrender.config import Config, load
from watchrender.install import installer, selftest
from watchrender.install import session as sessions
from watchrender.install.launchd import Launchd
from watchrender.install.plan import Manager, Plan, Standing, check_name, left_behind, make_plan
from watchrender.install.presence import alive
from watchrender.install.report import Level
from watchrender.install.run import CommandFailed, ask, run
from watchrender.install.session import Session
from watchrender.install.systemd import Systemd
from watchrender.install.taskscheduler import TaskScheduler
from watchrender.render.nexrender import Nexrender
from watchrender.spool.folders import Folders

PLAN = Plan(
    name="watchrender",
    command=("/opt/watch render/bin/python", "-m", "watchrender", "run", "--config", "/etc/50%/it's.yaml"),
    root=PurePosixPath("/mnt/renders"),
    state_dir=PurePosixPath("/var/lib/watchrender"),
    folder=PurePosixPath("/etc/50%"),
    variables={"PATH": "/usr/bin:/bin", "WATCHRENDER_DATA_DIR": "/srv/$data"},
)


# ------------------------------------------------------------------------------------------------------------ systemd


def unit(plan: Plan = PLAN, *, system: bool = False) -> str:
    return Systemd(system=system).text(plan).decode()


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path, system: bool) -> None:
    plan = replace(PLAN, command=(sys.executable, *PLAN.command[1:]), folder=PurePosixPath("/"), user="daemon")
    file = tmp_path / "watchrender.service"
    file.write_text(unit(plan, system=system), encoding="utf-8")

    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    said = [found for found in done.stderr.splitlines() if "watchrender" in found]
    broken = tmp_path / "broken.service"
    broken.write_text(unit(plan, system=system).replace("Type=notify", "Type=notifi"), encoding="utf-8")
    wrong = subprocess.run(["systemd-analyze", "verify", str(broken)], capture_output=True, text=True, check=False)

    assert said == []
    assert "broken.service" in wrong.stderr  # it would have said so


def test_the_unit_says_what_months_of_running_need() -> None:
    text = unit()

    for needed in ("Type=notify", "Restart=on-failure", "KillMode=mixed", "WatchdogSec=300s", "TimeoutStopSec=60s",
                   "RestartPreventExitStatus=4", "StartLimitIntervalSec=0", "NoNewPrivileges=yes"):  # fmt: skip
        assert needed in text.splitlines()
    assert "PrivateTmp" not in text  # the lock among services lies in /tmp
    assert "MemoryDenyWriteExecute" not in text  # node compiles while it runs


def test_words_with_blanks_quotes_and_percent_signs_reach_the_service_as_they_are() -> None:
    text = unit()

    assert 'ExecStart="/opt/watch render/bin/python" -m watchrender run --config "/etc/50%%/it\'s.yaml"' in text
    assert "WorkingDirectory=/etc/50%%" in text
    assert "Environment=WATCHRENDER_DATA_DIR=/srv/$data" in text


def test_a_unit_of_the_system_renders_as_a_user_of_its_own_and_waits_for_the_share() -> None:
    text = unit(replace(PLAN, user="render"), system=True)

    assert "User=render" in text
    assert "RequiresMountsFor=/mnt/renders" in text
    assert "ProtectSystem=full" in text
    assert "WantedBy=multi-user.target" in text


def test_a_service_that_finishes_its_render_is_given_all_the_time_it_needs(tmp_path: Path) -> None:
    config = load("root: /mnt/r\nshutdown: finish\n", "w.yaml", {})

    assert "TimeoutStopSec=infinity" in unit(make_plan(config, tmp_path / "w.yaml", name="w"))


def test_a_slow_scan_does_not_look_like_a_hang(tmp_path: Path) -> None:
    config = load("root: /mnt/r\nwatch: {scan_interval: 10m}\n", "w.yaml", {})

    assert make_plan(config, tmp_path / "w.yaml", name="w").watchdog_seconds == 2400


class Systemds:
    """What systemd is for a service: a socket that it tells how it is."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.socket.settimeout(60)

    def hear(self, word: str) -> list[str]:
        """Wait for a message with a line that begins so; the message."""
        while True:
            said = self.socket.recv(4096).decode().splitlines()
            if any(line.startswith(word) for line in said):
                return said

    def silent(self) -> bool:
        """Is nothing said for a while, beyond what was said already?"""
        self.socket.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)
        self.socket.settimeout(3)  # a scan of these tests comes every tenth of a second
        try:
            self.socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(60)
        return False


@pytest.mark.skipif(os.name == "nt", reason="no systemd there")
def test_a_real_start_under_the_notify_protocol(line: Line, tmp_path: Path) -> None:
    manager = Systemds(tmp_path / "notify")
    config = line.home / "watchrender.yaml"
    config.write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    plan = make_plan(load(config.read_text(encoding="utf-8"), str(config), {}), config, name="w")
    env = {**plan.variables, "HOME": str(tmp_path), "NOTIFY_SOCKET": manager.address}
    line.drop("slow.json", line.job("Slow"))

    with subprocess.Popen(plan.command, env=env, cwd=plan.folder, stderr=subprocess.DEVNULL) as service:
        try:
            ready = manager.hear("READY=1")
            line.wait("slow", "rendering", 60)
            for _ in range(3):
                fed = manager.hear("WATCHDOG=1")
            rendering = manager.hear("STATUS=renders slow")
            service.send_signal(signal.SIGTERM)
            manager.hear("STOPPING=1")
            code = service.wait(60)
        finally:
            service.kill()
            manager.socket.close()

    assert code == 0
    assert [len(said) for said in (ready, fed, rendering)] == [2, 2, 2]  # each tells how the queue is
    assert "WATCHDOG=1" in rendering
    assert line.status("slow")["state"] == "queued"
    assert line.status("slow")["attempts"] == []


@pytest.mark.skipif(os.name == "nt", reason="no systemd there")
def test_the_watchdog_is_fed_while_the_line_goes_round_and_not_while_it_stands(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Systemds(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    stands, begun = threading.Event(), threading.Event()
    with serving(line):
        assert line.service is not None
        manager.hear("WATCHDOG=1")
        turn = line.service.intake.turn

        def stand(*words: Any) -> float:
            begun.set()
            stands.wait(60)
            return turn(*words)

        monkeypatch.setattr(line.service.intake, "turn", stand)
        begun.wait(60)
        silent = manager.silent()
        stands.set()
        fed_again = manager.hear("WATCHDOG=1")
        manager.socket.close()

    assert silent
    assert fed_again


@pytest.mark.skipif(os.name == "nt", reason="no systemd there")
def test_systemd_is_told_what_the_queue_waits_for(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Systemds(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    line.mark("_PAUSE")
    with serving(line):
        paused = manager.hear("STATUS=paused")
        manager.socket.close()

    assert "watchrender resume" in " ".join(paused)


# ------------------------------------------------------------------------------------------------------------ launchd


def test_the_agent_lives_in_the_users_session_and_is_not_slowed_down(tmp_path: Path) -> None:
    agent = plistlib.loads(Launchd(home=tmp_path, uid=501).text(PLAN))

    assert agent["ProgramArguments"] == list(PLAN.command)
    assert agent["EnvironmentVariables"]["PATH"] == "/usr/bin:/bin"
    assert agent["LimitLoadToSessionType"] == "Aqua"
    assert agent["ProcessType"] == "Interactive"
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["ExitTimeOut"] == 60
    assert Launchd(home=tmp_path, uid=501).file("watchrender").parent == tmp_path / "Library" / "LaunchAgents"


def test_its_keys_are_keys_that_launchd_knows_and_of_the_right_kind(tmp_path: Path) -> None:
    known = {
        "Label": str, "ProgramArguments": list, "WorkingDirectory": str, "EnvironmentVariables": dict,
        "RunAtLoad": bool, "KeepAlive": dict, "ThrottleInterval": int, "ProcessType": str,
        "LimitLoadToSessionType": str,
        "ExitTimeOut": int, "StandardOutPath": str, "StandardErrorPath": str,
    }  # fmt: skip

    agent = plistlib.loads(Launchd(home=tmp_path, uid=501).text(PLAN))

    assert {key: type(value) for key, value in agent.items()} == known


def test_launchd_is_told_in_its_own_words(tmp_path: Path) -> None:
    manager = Launchd(home=tmp_path, uid=501)

    assert manager.install_commands("watchrender")[1][:3] == ["launchctl", "bootstrap", "gui/501"]
    assert manager.uninstall_commands("watchrender") == [["launchctl", "bootout", "gui/501/local.watchrender"]]


# ----------------------------------------------------------------------------------------------------- Task Scheduler

NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
BOOLEAN, TEXT, DURATION = "true|false", ".+", r"P(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?"
#: What may stand in a task, after the published schema: `all` in any order, each at most once; a list is a sequence.
SCHEMA: dict[str, Any] = {
    "Task": {"RegistrationInfo", "Triggers", "Settings", "Data", "Principals", "Actions"},
    "RegistrationInfo": {"URI", "Source", "Date", "Author", "Version", "Description", "Documentation"},
    "Triggers": {"LogonTrigger"},
    "LogonTrigger": ["Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit", "UserId", "Delay"],
    "Principals": {"Principal"},
    "Principal": {"UserId", "LogonType", "GroupId", "DisplayName", "RunLevel"},
    "Settings": {
        "AllowStartOnDemand", "RestartOnFailure", "MultipleInstancesPolicy", "DisallowStartIfOnBatteries",
        "StopIfGoingOnBatteries", "AllowHardTerminate", "StartWhenAvailable", "NetworkProfileName",
        "RunOnlyIfNetworkAvailable", "WakeToRun", "Enabled", "Hidden", "DeleteExpiredTaskAfter", "IdleSettings",
        "NetworkSettings", "ExecutionTimeLimit", "Priority", "RunOnlyIfIdle",
    },
    "IdleSettings": {"Duration", "WaitTimeout", "StopOnIdleEnd", "RestartOnIdle"},
    "RestartOnFailure": {"Interval", "Count"},
    "Actions": {"Exec"},
    "Exec": {"Command", "Arguments", "WorkingDirectory"},
    "MultipleInstancesPolicy": "Parallel|Queue|IgnoreNew|StopExisting",
    "LogonType": "S4U|Password|InteractiveToken|InteractiveTokenOrPassword",
    "RunLevel": "LeastPrivilege|HighestAvailable",
    "Priority": r"10|\d",
    "Count": r"[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-5]",
    **dict.fromkeys(("Interval", "Delay", "ExecutionTimeLimit"), DURATION),
    **dict.fromkeys(("Description", "URI", "UserId", "Command", "Arguments", "WorkingDirectory"), TEXT),
    **dict.fromkeys(
        ("Enabled", "Hidden", "AllowStartOnDemand", "DisallowStartIfOnBatteries", "StopIfGoingOnBatteries",
         "AllowHardTerminate", "StartWhenAvailable", "RunOnlyIfNetworkAvailable", "WakeToRun", "RunOnlyIfIdle",
         "StopOnIdleEnd", "RestartOnIdle"),
        BOOLEAN,
    ),
}  # fmt: skip


def against_the_schema(element: ET.Element) -> list[str]:
    """What the schema would object to."""
    name = element.tag.removeprefix(NAMESPACE)
    allowed = SCHEMA.get(name)
    inner = [child.tag.removeprefix(NAMESPACE) for child in element]
    found = []
    if allowed is None or not element.tag.startswith(NAMESPACE):
        found.append(f"{name} is not known")
    elif isinstance(allowed, str):
        found += [] if re.fullmatch(allowed, element.text or "") else [f"{name} is {element.text!r}"]
    else:
        found += [f"{child} in {name}" for child in inner if child not in allowed]
        found += [f"{child} twice in {name}" for child in set(inner) if inner.count(child) > 1]
        if isinstance(allowed, list) and [child for child in allowed if child in inner] != inner:
            found.append(f"the order in {name}")
    return found + [fault for child in element for fault in against_the_schema(child)]


WINDOWS = replace(
    PLAN,
    command=(
        r"C:\Program Files\Python\pythonw.exe",
        "-m",
        "watchrender",
        "run",
        "--config",
        r"C:\R & D\watchrender.yaml",
    ),
    root=PureWindowsPath(r"\\nas\renders"),
    folder=PureWindowsPath(r"C:\R & D"),
)


def task(plan: Plan = WINDOWS) -> ET.Element:
    return ET.fromstring(TaskScheduler(user=r"STUDIO\render").text(plan))


def said(name: str) -> str | None:
    return task().findtext(f".//{NAMESPACE}{name}")


def test_the_task_holds_to_the_schema() -> None:
    broken = task()
    next(broken.iter(f"{NAMESPACE}Count")).text = "999"

    assert against_the_schema(task()) == []
    assert against_the_schema(broken) == ["Count is '999'"]


def test_the_task_runs_for_months_in_its_users_session() -> None:
    assert said("ExecutionTimeLimit") == "PT0S"
    assert said("LogonType") == "InteractiveToken"
    assert said("MultipleInstancesPolicy") == "IgnoreNew"
    assert said("StopIfGoingOnBatteries") == "false"
    assert int(said("Priority") or 9) <= 6
    assert task().find(f".//{NAMESPACE}LogonTrigger") is not None
    assert task().find(f".//{NAMESPACE}BootTrigger") is None


def test_the_task_starts_without_a_window_and_paths_with_blanks_are_whole() -> None:
    assert said("Command") == r"C:\Program Files\Python\pythonw.exe"
    assert said("Arguments") == r'-m watchrender run --config "C:\R & D\watchrender.yaml" --again'


def test_the_file_is_in_the_encoding_that_schtasks_reads() -> None:
    data = TaskScheduler(user="x").text(WINDOWS)

    assert data[:2] in (b"\xff\xfe", b"\xfe\xff")
    assert b"U\x00T\x00F\x00-\x001\x006" in data


def test_task_scheduler_is_told_in_its_own_words(tmp_path: Path) -> None:
    manager = TaskScheduler(home=tmp_path, user="x")

    create, start = manager.install_commands("watchrender")
    assert create == ["schtasks", "/Create", "/TN", "watchrender", "/XML", str(manager.file("watchrender")), "/F"]
    assert start[1] == "/Run"


# ------------------------------------------------------------------------------------ what is installed, again and gone


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """launchd's and Task Scheduler's commands of tests/managers.py are the ones on PATH. The folder of their memory."""
    home = tmp_path / "managers"
    (home / "bin").mkdir(parents=True)
    text = f"#!{sys.executable}\n" + Path(__file__).with_name("managers.py").read_text(encoding="utf-8")
    for name in ("launchctl", "schtasks", "powershell"):
        (home / "bin" / name).write_text(text, encoding="utf-8")
        (home / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("MANAGERS_HOME", str(home))
    return home


def written(line: Line) -> tuple[Config, Plan, Folders]:
    file = line.home / "watchrender.yaml"
    file.write_text(yaml.safe_dump(line.settings, allow_unicode=True), encoding="utf-8")
    config = load(file.read_text(encoding="utf-8"), str(file), {})
    return config, make_plan(config, file, name="w"), Folders(line.root, config.folders)


def test_a_task_that_is_not_there_is_not_taken_for_one(tmp_path: Path, stand_ins: Path) -> None:
    found = TaskScheduler(home=tmp_path / "home", user="x").standing("w")

    assert found == Standing(installed=False, starts_by_itself=None, running=False)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stand-ins need /proc")
@pytest.mark.parametrize("kind", [Launchd, TaskScheduler])
def test_installed_again_in_the_middle_of_a_render_it_costs_no_try_and_leaves_nothing_when_it_goes(
    line: Line, tmp_path: Path, stand_ins: Path, kind: Callable[..., Manager]
) -> None:
    manager = kind(home=tmp_path / "home")
    _config, plan, folders = written(line)
    said: list[str] = []
    line.drop("slow.json", line.job("Slow"))

    installer.install(manager, plan, folders, said.append)
    try:
        line.wait("slow", "rendering", 60)
        first = line.overview()["pid"]
        assert manager.standing("w") == Standing(installed=True, starts_by_itself=True, running=True, words=ANY)
        installer.install(manager, plan, folders, said.append)
        until(lambda: line.overview().get("pid") != first and line.overview().get("state") == "running", 60)
        line.wait("slow", "rendering", 60)
    finally:
        removed = installer.uninstall(manager, "w", folders, said.append)

    until(lambda: alive(line.root / "status" / "service.json") is None, 60)
    assert removed and not installer.uninstall(manager, "w", folders, said.append)
    assert not manager.file("w").exists()
    assert not manager.standing("w").installed
    assert not (stand_ins / "killed").exists()  # Task Scheduler knows no other end
    assert line.status("slow")["attempts"] == []
    assert line.status("slow")["state"] == "queued"
    assert [path.name for path in (line.root / "inbox").iterdir()] == []  # not left paused


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("session", "system", "user", "words"),
    [
        (Session(platform="win32", number=0), False, None, "session 0"),
        (Session(platform="win32", number=2), False, None, None),
        (Session(platform="win32", number=2), True, None, "--system"),
        (Session(platform="darwin", manager="Background"), False, None, "no windows"),
        (Session(platform="darwin", manager="Aqua"), False, None, None),
        (Session(platform="darwin", manager="Aqua"), True, None, "--system"),
        (Session(platform="linux"), False, None, None),
        (Session(platform="linux"), True, "render", "run it as root"),
        (Session(platform="linux", is_root=True), False, None, "as root"),
        (Session(platform="linux", is_root=True), True, None, "--user NAME"),
        (Session(platform="linux", is_root=True), True, "root", "--user NAME"),
        (Session(platform="linux", is_root=True), True, "no-such-user-here", "no such user"),
        (Session(platform="linux", is_root=True), True, "daemon", None),
    ],
)
def test_what_cannot_render_is_refused(session: Session, system: bool, user: str | None, words: str | None) -> None:
    found = installer.objections(session, system=system, user=user)

    assert bool(found) == (words is not None)
    assert words is None or words in found[0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stand-ins need /proc")
def test_in_session_0_the_command_refuses_unless_it_is_forced(
    line: Line, tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = TaskScheduler(home=tmp_path / "home")
    monkeypatch.setattr(sessions, "this_session", lambda: Session(platform="win32", number=0))
    monkeypatch.setattr(installer, "manager_of", lambda **_more: manager)
    written(line)

    def service(*words: str) -> Any:
        return CliRunner().invoke(app, ["service", *words, "--name", "w", "-c", str(line.home / "watchrender.yaml")])

    refused = service("install")
    nothing = list(stand_ins.glob("*.task")), manager.file("w").exists()
    forced = service("install", "--force", "--no-test")
    try:
        until(lambda: service("status").exit_code == 0, 60)
        told = json.loads(service("status", "--json").stdout)
    finally:
        removed = service("uninstall")

    assert refused.exit_code == 2
    assert "session 0" in refused.stderr and "--force" in refused.stderr
    assert nothing == ([], False)
    assert forced.exit_code == 0, forced.output
    assert "watchrender stop" in forced.stdout  # how it ends
    assert (told["manager"], told["running"], told["serving"]["state"]) == ("Task Scheduler", True, "running")
    assert removed.exit_code == 0
    assert not (stand_ins / "killed").exists()
    assert service("status").exit_code == 1


def test_a_name_is_one_word() -> None:
    assert check_name("watchrender-2") is None
    for wrong in ("", "a b", "../x", "-x", "x.service"):
        assert check_name(wrong) is not None


def test_settings_of_the_shell_that_will_be_missing_are_named() -> None:
    shell = {"WATCHRENDER_SERVER__TOKEN": "t", "WATCHRENDER_CONFIG": "c", "WATCHRENDER_DATA_DIR": "d", "PATH": "p"}

    assert left_behind(shell) == ["WATCHRENDER_SERVER__TOKEN"]


def test_the_plan_carries_full_paths_only(tmp_path: Path) -> None:
    config = load("root: /mnt/r\n", str(tmp_path / "w.yaml"), {})

    plan = make_plan(config, tmp_path / "w.yaml", name="w", environ={"PATH": ".:bin:/opt/node/bin", "OTHER": "x"})

    assert plan.variables["PATH"].split(":")[0] == "/opt/node/bin"
    assert "OTHER" not in plan.variables
    assert Path(plan.command[0]).is_absolute()
    assert plan.command[-1] == str(tmp_path / "w.yaml")


def test_a_manager_that_is_not_there_is_said_in_words() -> None:
    with pytest.raises(CommandFailed, match="no-such-program is not on this machine"):
        run(["no-such-program"])
    with pytest.raises(CommandFailed, match="says: no such unit"):
        run([sys.executable, "-c", "print('no such unit'); raise SystemExit(5)"])
    assert ask(["no-such-program"]) is None


# ----------------------------------------------------------------------------------------------------------- self-test


def test_the_line_is_tried_with_a_job_that_leaves_nothing(line: Line) -> None:
    config = load(yaml.safe_dump(line.settings), str(line.home / "w.yaml"), {})
    with serving(line):
        assert line.service is not None
        serves = selftest.service_serves(line.service.folders)
        tried = selftest.line_works(config, line.service.folders, seconds=15)

    assert (serves.level, tried.level) == (Level.OK, Level.OK), tried
    assert line.starts() == []
    assert [line.files(top) for top in ("inbox", "active", "done", "failed", "cancelled")] == [[]] * 5


def test_a_service_that_does_not_look_is_noticed(line: Line) -> None:
    config = load(yaml.safe_dump(line.settings), str(line.home / "w.yaml"), {})
    folders = Folders(line.root, config.folders)
    tried = selftest.line_works(config, folders, seconds=0.3)
    serves = selftest.service_serves(folders, seconds=0.3)

    assert (tried.level, serves.level) == (Level.FAIL, Level.FAIL)
    assert line.files("inbox") == []


def test_a_job_of_ones_own_is_rendered_as_the_test(line: Line) -> None:
    good, bad = line.home / "good.json", line.home / "bad.json"
    good.write_text(json.dumps(line.job()), encoding="utf-8")
    bad.write_text(json.dumps(line.job("NoComp")), encoding="utf-8")
    with serving(line):
        assert line.service is not None
        film = selftest.job_renders(line.service.folders, good, seconds=20)
        none = selftest.job_renders(line.service.folders, bad, seconds=20)

    assert film.level is Level.OK
    assert "done/self-test-" in film.words
    assert (none.level, none.cure) == (Level.FAIL, "Write one of the compositions that the project has: Main.")


@pytest.mark.nexrender
def test_the_render_is_tried_with_the_real_nexrender(line: Line, nexrender_set: Nexrender) -> None:
    line.change(nexrender={"command": list(nexrender_set.command)})
    config = load(yaml.safe_dump(line.settings), str(line.home / "w.yaml"), {})

    found = selftest.renders(config)

    assert found.level is Level.OK, found


def test_a_service_that_serves_and_cannot_render_is_noticed(line: Line) -> None:
    line.change(nexrender={"aerender": str(line.home / "gone")})
    with serving(line):
        assert line.service is not None
        line.drop("spot.json")
        until(lambda: line.waits_for() == ["AERENDER_NOT_FOUND"], 60)
        found = selftest.service_serves(line.service.folders)

    assert found.level is Level.FAIL
    assert "cannot render" in found.words and "nexrender.aerender" in str(found.cure)


def test_where_a_farm_renders_its_server_is_asked(line: Line) -> None:
    server = Answering()
    server.answer = lambda _method, path: (200, b"ok") if path.endswith("/health") else (200, b"")
    line.change(engine="nexrender-server", nexrender_server={"url": server.url})
    config = load(yaml.safe_dump(line.settings), str(line.home / "w.yaml"), {})
    there = selftest.farm_answers(config)
    server.stop()

    assert there.level is Level.OK
    assert selftest.farm_answers(config).level is Level.FAIL


def test_a_nexrender_that_does_not_render_is_noticed(line: Line) -> None:
    line.change(nexrender={"command": [sys.executable, "-c", "raise SystemExit('no module')"]})
    config = load(yaml.safe_dump(line.settings), str(line.home / "w.yaml"), {})

    found = selftest.renders(config, seconds=4)

    assert found.level is Level.FAIL
    assert found.cure


def test_a_service_of_task_scheduler_is_ended_softly_and_not_left_paused(line: Line) -> None:
    with serving(line):
        line.drop("slow.json", line.job("Slow"))
        line.wait("slow", "rendering")
        assert line.service is not None

        ended = installer.end_softly(line.service.folders, lambda _words: None, seconds=20)

    assert ended
    assert [path.name for path in (line.root / "inbox").iterdir()] == []
    assert line.status("slow")["state"] == "queued"


# ---------------------------------------------------------------------------------------------------------- all of it


@pytest.mark.nexrender
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the stand-in is one for systemd")
def test_install_status_and_uninstall_from_the_command_line(
    line: Line, tmp_path: Path, nexrender_set: Nexrender, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    systemctl = bin_folder / "systemctl"
    systemctl.write_text(f"#!{sys.executable}\n" + Path(__file__).with_name("manager.py").read_text(encoding="utf-8"))
    systemctl.chmod(0o755)
    line.change(nexrender={"command": list(nexrender_set.command)}, watch={"settle": "100ms"})
    file = line.home / "watchrender.yaml"
    file.write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    env = {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "FAKE_MANAGER": str(tmp_path),
    }

    def watchrender(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "watchrender", "service", *words, "-c", str(file)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=110, check=False)

    before = watchrender("status", "--json")
    installed = watchrender("install", "--force")
    try:
        again = watchrender("install", "--force", "--no-test")
        status = watchrender("status", "--json")
        line.drop("spot.json")
        line.wait("spot", "completed")
    finally:
        removed = watchrender("uninstall")
    after = watchrender("status", "--json")

    assert (before.returncode, json.loads(before.stdout)["installed"]) == (1, False)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert "held job was seen" in installed.stdout
    assert "rendered a film" in installed.stdout
    assert again.returncode == 0, again.stdout + again.stderr
    told = json.loads(status.stdout)
    assert (status.returncode, told["installed"], told["running"], told["starts_by_itself"]) == (0, True, True, True)
    assert removed.returncode == 0, removed.stderr
    assert (after.returncode, json.loads(after.stdout)["installed"]) == (1, False)
    assert line.status("spot")["state"] == "completed"


def test_print_shows_all_and_does_nothing(line: Line, tmp_path: Path) -> None:
    file = line.home / "watchrender.yaml"
    file.write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))

    done = subprocess.run(
        [sys.executable, "-m", "watchrender", "service", "install", "--print", "-c", str(file)],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert str(file) in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_beside_a_service_in_a_terminal_nothing_is_installed(line: Line, tmp_path: Path) -> None:
    file = line.home / "watchrender.yaml"
    file.write_text(yaml.safe_dump(line.settings), encoding="utf-8")
    with serving(line):
        until(lambda: (line.root / "status" / "service.json").exists())
        done = subprocess.run(
            [sys.executable, "-m", "watchrender", "service", "install", "--force", "-c", str(file)],
            env={**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 4, done.stdout
    assert "watchrender stop" in done.stderr
