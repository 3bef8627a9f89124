"""What scripts hold on to: exit codes, JSON on stdout and words on stderr, pipes, terminals of any kind, and the shape
of a status in every state."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.line import until
from tests.process import Lived, living
from watchrender.cli.serve import _again_after_crashes, _as_word
from watchrender.core.status import schema_status

VALID = jsonschema_rs.validator_for(schema_status())


def faults(status: dict[str, Any]) -> list[str]:
    return [f"{status.get('job')}: {list(found.instance_path)}: {found.message}" for found in VALID.iter_errors(status)]


def said(lived: Lived, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = lived.command(*words)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def told(lived: Lived, *words: str, code: int = 0) -> Any:
    return json.loads(said(lived, *words, "--json", code=code).stdout)


# -- jobs that no service has seen -----------------------------------------------------------------------------------


def test_a_job_that_no_service_has_seen_has_a_whole_status(lived: Lived) -> None:
    lived.change(queue={"folder_priorities": {"clientA": 70}, "default_priority": 40}, retry={"max_retries": 5})
    inbox = lived.root / "inbox"
    lived.drop("p80_spot.json")
    lived.drop("plain.json", sub="clientA")
    lived.drop("short.yaml", b"template: x.aep\ncomposition: Main\n")
    lived.drop("long@high.yaml", b"template: x.aep\ncomposition: Main\n")
    lived.drop("spot.yaml", b"hold: true\n")  # settings are no job
    lived.drop(".hidden.json")
    lived.drop("half.json.part")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("job.json", "{}")
    lived.drop("packed.zip", packed.getvalue())
    lived.drop("job.json", sub="p90_bundle")
    lived.drop("nested.json", sub="p90_bundle/footage")

    jobs = told(lived, "list")

    assert [fault for job in jobs for fault in faults(job)] == []
    assert {(job["job"], job["form"], job["priority"], job["priority_from"]) for job in jobs} == {
        ("bundle", "bundle", 90, "filename"),
        ("spot", "file", 80, "filename"),
        ("clientA/plain", "file", 70, "folder"),
        ("long", "file", 70, "filename"),
        ("short", "file", 40, "default"),
        ("packed", "zip", 40, "default"),
    }
    assert {job["state"] for job in jobs} == {"pending"} and {job["max_attempts"] for job in jobs} == {6}
    assert [job["job"] for job in jobs][:2] == ["bundle", "spot"]
    assert {job["folder"] for job in jobs} == {"inbox", "inbox/clientA"}
    shown = told(lived, "show", "spot")
    assert shown == jobs[1] and shown["files"] == {"job": "p80_spot.json", "sidecar": None}
    assert (inbox / "p80_spot.json").exists()


def test_a_file_that_lies_in_the_inbox_is_not_counted_before_itself(lived: Lived) -> None:
    first, second = lived.drop("a.json"), lived.drop("b.json")
    lived.drop("p90_urgent.json")
    elsewhere = lived.home / "c.json"
    elsewhere.write_text(json.dumps(lived.job()))

    places = [told(lived, "check", str(path))["position"] for path in (first, second, elsewhere)]

    assert places == [2, 3, 4]


def test_check_tells_the_place_that_a_queued_job_has(lived: Lived) -> None:
    lived.mark("_PAUSE")
    with living(lived):
        for name in ("a", "b", "c"):
            path = lived.drop(f"{name}.json")
            lived.wait(name, "queued")
        said(lived, "prioritize", "c", "90")
        until(lambda: lived.status("c").get("priority") == 90)

        answer = told(lived, "check", str(path))

    assert (answer["position"], answer["priority"], answer["priority_from"]) == (1, 90, "request")


# -- init -------------------------------------------------------------------------------------------------------------


def init(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: text for name, text in os.environ.items() if not name.startswith("WATCHRENDER_")}
    command = [sys.executable, "-m", "watchrender", *words]
    paths = {"PYTHONPATH": str(Path(__file__).parents[1]), "XDG_CONFIG_HOME": str(home / "config")}
    return subprocess.run(
        command, cwd=home, env={**env, **paths, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def root_in(file: Path) -> str:
    return str(yaml.safe_load(file.read_text(encoding="utf-8"))["root"])


def test_init_makes_folders_there_and_settings_here_and_may_be_called_again(tmp_path: Path) -> None:
    first = init(tmp_path, "init", "renders")
    again = init(tmp_path, "init", "renders")

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert sorted(path.name for path in (tmp_path / "renders").iterdir()) == [
        "active", "cancelled", "done", "failed", "inbox", "status",
    ]  # fmt: skip
    assert root_in(tmp_path / "watchrender.yaml") == str(tmp_path / "renders")
    assert "stays as it is" in again.stdout
    assert init(tmp_path, "check").returncode == 0


def test_faults_name_the_file_as_whoever_asks_would_write_it(tmp_path: Path) -> None:
    (tmp_path / "watchrender.yaml").write_text("root: renders\nlimits:\n  stall: 10 mins\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "my.yaml").write_text("root: /x\nprot: 1\n")
    mine = tmp_path / "other" / "my.yaml"

    found = init(tmp_path, "check")
    relative = init(tmp_path, "check", "-c", "other/my.yaml")
    full = init(tmp_path, "-c", str(mine), "check")
    above = init(tmp_path / "other", "check", "-c", "../watchrender.yaml")

    assert found.returncode == 2
    assert found.stderr == 'watchrender.yaml:3:10: limits.stall: "10 mins" is not a duration (write 10m)\n'
    assert relative.stderr.startswith("other/my.yaml:2:1: prot: ")
    assert full.stderr.startswith(f"{mine}:2:1: prot: ")
    assert "watchrender.yaml:3:10: limits.stall" in above.stderr


def test_check_says_that_the_root_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "watchrender.yaml").write_text("root: renders\n")

    done = init(tmp_path, "check")

    assert done.returncode == 0
    assert f"warning: root: {tmp_path / 'renders'} is not there" in done.stdout


@pytest.mark.parametrize("words", [["check"], ["run"], ["list"], ["doctor"]])
def test_a_root_that_is_a_file_is_called_so(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "watchrender.yaml").write_text("root: renders\n")
    (tmp_path / "renders").touch()

    done = init(tmp_path, *words)

    assert "renders is no folder" in done.stdout + done.stderr
    assert done.returncode == {"check": 0, "doctor": 1}.get(words[0], 2)


def test_init_tells_programs_what_it_made(tmp_path: Path) -> None:
    for written in (True, False):
        made = json.loads(init(tmp_path, "init", "hot", "--json").stdout)

        file = tmp_path / "watchrender.yaml"
        assert made == {"root": str(tmp_path / "hot"), "config": str(file), "written": written}
        assert (tmp_path / "hot" / "inbox").is_dir() and file.is_file()


def test_init_does_not_leave_settings_for_another_folder_behind_as_if_they_were_its_own(tmp_path: Path) -> None:
    assert init(tmp_path, "init", "one").returncode == 0
    before = (tmp_path / "watchrender.yaml").read_bytes()

    other = init(tmp_path, "init", "two")
    named = init(tmp_path, "init", "two", "-c", "two.yaml")
    (tmp_path / "broken.yaml").write_text("root: [")
    broken = init(tmp_path, "init", "three", "-c", "broken.yaml")

    assert other.returncode == 2 and "another file with -c FILE" in other.stderr and "one" in other.stderr
    assert not (tmp_path / "three").exists() and broken.returncode == 2
    assert (tmp_path / "watchrender.yaml").read_bytes() == before
    assert named.returncode == 0 and root_in(tmp_path / "two.yaml") == str(tmp_path / "two")
    assert "check -c" in named.stdout


def test_init_writes_where_it_is_told_to_wherever_that_is_said(tmp_path: Path) -> None:
    before = init(tmp_path, "-c", "before.yaml", "init", "one")
    variable = init(tmp_path, "init", "two", WATCHRENDER_CONFIG=str(tmp_path / "deep" / "variable.yaml"))

    assert (before.returncode, variable.returncode) == (0, 0), before.stderr + variable.stderr
    assert root_in(tmp_path / "before.yaml") == str(tmp_path / "one")
    assert root_in(tmp_path / "deep" / "variable.yaml") == str(tmp_path / "two")
    assert not (tmp_path / "watchrender.yaml").exists()


# -- beside a service -------------------------------------------------------------------------------------------------


@pytest.fixture
def served(lived: Lived) -> Iterator[Lived]:
    """A paused service with HTTP."""
    lived.change(server={"enabled": True, "port": 0})
    lived.mark("_PAUSE")
    with living(lived):
        until(lambda: lived.said().get("address"), 60)
        yield lived


@pytest.mark.timeout(300)
def test_every_command_beside_a_service_answers_in_json_with_its_exit_code(served: Lived) -> None:
    for name in ("a", "b", "c"):
        served.drop(f"{name}.json")
        served.wait(name, "queued")
    for words, code, kind in [
        (("list",), 0, list),
        (("show", "a"), 0, dict),
        (("hold", "a"), 0, list),
        (("release", "a"), 0, list),
        (("prioritize", "b", "77"), 0, list),
        (("cancel", "c"), 0, list),
        (("cancel", "c"), 1, list),  # it is over: the refusal is on stderr, and nothing was done
        (("retry", "c"), 0, list),
        (("retry", "a"), 1, list),
        (("check",), 0, dict),
        (("check", str(served.root / "inbox" / "a.json")), 0, dict),
        (("schema", "job"), 0, dict),
        (("pause",), 0, dict),
        (("cancel", "--all"), 0, dict),
    ]:
        done = said(served, *words, "--json", code=code)
        assert isinstance(json.loads(done.stdout), kind), words
        assert bool(done.stderr) is (code != 0), (words, done.stderr)
        assert "\x1b" not in done.stdout + done.stderr, words
    assert "there is no job ghost" in said(served, "show", "ghost", code=1).stderr
    assert said(served, "show", "ghost", "--json", code=1).stdout == ""
    assert told(served, "drain")["service"] is True
    assert served.ends(60) == 0
    assert told(served, "drain")["service"] is False


@pytest.mark.timeout(300)
def test_whoever_waits_or_follows_is_interrupted_with_130_and_told_when_the_service_goes(served: Lived) -> None:
    file = served.home / "spot.json"
    file.write_text(json.dumps(served.job("Hang")))  # it renders until it is ended
    environment = {**os.environ, "WATCHRENDER_CONFIG": str(served.config_file)}

    def begin(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "watchrender", *words]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Who runs the tests in the background of a shell hands on that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    waits = begin("submit", "--wait", "--json", str(file))
    served.wait("spot", "queued")
    (served.root / "inbox" / "_PAUSE").unlink()
    served.wait("spot", "rendering")
    follows = begin("logs", "-f", "--json", "spot")
    stays = begin("logs", "-f", "--json", "spot")
    assert follows.stdout is not None and stays.stdout is not None
    first = json.loads(follows.stdout.readline())  # a document a line
    for interrupted in (waits, follows):
        interrupted.send_signal(signal.SIGINT)
        _, err = interrupted.communicate(timeout=60)
        assert interrupted.returncode == 130, err
        assert "Traceback" not in err
    assert (first["job"], first["from"]) == ("spot", 0)

    begun = stays.stdout.readline()
    said(served, "stop", "--now")
    rest, err = stays.communicate(timeout=60)
    assert stays.returncode == 3 and "has gone" in err
    pieces = [json.loads(line) for line in [begun, *rest.splitlines()]]
    assert [piece["from"] for piece in pieces] == sorted({piece["from"] for piece in pieces})
    assert all(piece["log"] for piece in pieces)


# -- terminals, pipes and places --------------------------------------------------------------------------------------


def test_output_goes_into_any_pipe_and_any_locale(lived: Lived) -> None:
    for number in range(300):
        lived.drop(f"Grüße-{number:03}-日本.json")
    environment = {**os.environ, "WATCHRENDER_CONFIG": str(lived.config_file)}
    base = [sys.executable, "-m", "watchrender", "list"]
    for words in (base, [*base, "--json"]):
        begun = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert begun.stdout is not None and begun.stderr is not None
        begun.stdout.readline()
        begun.stdout.close()
        assert begun.stderr.read() == b""
        assert begun.wait(60) in (0, 1)
        begun.stderr.close()
    plain = {**environment, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "FORCE_COLOR": ""}
    for words, is_json in ((base, False), ([*base, "--json"], True)):
        done = subprocess.run(words, env=plain, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout
        if is_json:
            assert {job["job"] for job in json.loads(done.stdout)} >= {"Grüße-000-日本", "Grüße-299-日本"}


@pytest.mark.skipif(sys.platform == "win32", reason="names that are no text are Linux's")
def test_a_name_that_is_no_text_is_listed(lived: Lived) -> None:
    os.close(os.open(os.fsencode(lived.root / "inbox") + b"/b\xe4d.json", os.O_CREAT))

    assert [job["name"] for job in told(lived, "list")] == ["b\udce4d"]
    assert "b" in said(lived, "list").stdout


def test_what_is_wrong_with_the_configuration_or_the_place_is_said_in_words(lived: Lived, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    for words, text in [
        (("-c", str(tmp_path / "none.yaml"), "list"), "none.yaml: cannot be read"),
        (("list", "-c", str(tmp_path)), "cannot be read"),
    ]:
        assert text in said(lived, *words, code=2).stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text("rot: /x\nlimits: {stall: 10 mins}\n")
    assert "broken.yaml:1:1" in said(lived, "list", "-c", str(broken), code=2).stderr
    assert "limits.stall" in str(told(lived, "check", "-c", str(broken), code=2)["faults"])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no configuration found" in init(empty, "list").stderr
    bare = tmp_path / "bare"
    bare.mkdir()
    lived.settings["root"] = str(bare)
    for unmade in (("pause",), ("cancel", "--all")):
        assert f"{bare}/inbox is not there" in said(lived, *unmade, code=2).stderr
    assert not list(bare.iterdir())
    lived.settings["root"] = str(gone)
    for command in ("list", "pause", "submit"):
        words = (command, str(broken)) if command == "submit" else (command,)
        assert str(gone) in said(lived, *words, code=2).stderr


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "FILE", "list"),
        ("list", "--config=FILE"),
        ("notify", "-c", "FILE", "test"),
        ("notify", "test", "--config", "FILE"),
        ("service", "-c", "FILE", "status"),
        ("nexrender", "-c", "FILE", "install", "--help"),
        ("schema", "-c", "FILE", "job"),
    ],
    ids=" ".join,
)
def test_the_configuration_may_be_named_anywhere(lived: Lived, tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("rot: /x\n")

    done = lived.command(*(word.replace("FILE", str(file)) for word in words))

    reads_it = words[0] not in ("nexrender", "schema")
    assert ("other.yaml:1:1" in done.stderr) == reads_it, done.stderr
    assert done.returncode == (2 if reads_it else 0)


def test_a_folder_that_may_not_be_written_is_told_and_no_stack(lived: Lived) -> None:
    (lived.root / "inbox" / "sub").write_text("a file where a folder should be")
    file = lived.home / "a.json"
    file.write_text(json.dumps(lived.job()))

    done = said(lived, "submit", str(file), "--sub", "sub", code=2)

    assert str(lived.root / "inbox" / "sub") in done.stderr


# -- a status in every state ------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_status_is_whole_and_valid_in_every_state_whenever_it_is_read(lived: Lived) -> None:
    lived.change(retry={"first_wait": "1s", "max_wait": "1s"}, watch={"assets_deadline": "1h"})
    seen: dict[str, set[str]] = {}
    wrong: list[str] = []
    stop = threading.Event()

    def poll() -> None:
        """As another program does, fifty times a second."""
        while not stop.wait(0.02):
            for path in (lived.root / "status").rglob("*.json"):
                try:
                    document = json.loads(path.read_bytes())
                except FileNotFoundError:
                    continue
                except ValueError as error:
                    wrong.append(f"{path.name} is torn: {error}")
                    continue
                if path.name.endswith(".status.json"):
                    wrong.extend(faults(document))
                    seen.setdefault(document["job"], set()).add(state_of(document))

    def state_of(document: dict[str, Any]) -> str:
        extra = "held" if document["hold"] else "waits" if document["waiting_for"] else ""
        return f"{document['state']} {extra}".strip()

    watcher = threading.Thread(target=poll, daemon=True)
    lived.drop("held.json", lived.job() | {"watchrender": {"hold": True}})
    lived.drop("older.json", lived.job() | {"watchrender": {"hold": True}})
    lived.drop("waits.json", lived.job(assets=[{"type": "image", "layerName": "x", "src": str(lived.home / "no.png")}]))
    with living(lived):
        watcher.start()
        lived.wait("older", "queued")
        lived.drop("newer.json", lived.job() | {"watchrender": {"supersedes": "older"}})
        lived.drop("good.json", lived.job("Slow"))
        lived.drop("again.json", lived.job("CrashTwice"))
        lived.drop("bad.json", lived.job("NoComp"))
        lived.drop("unreadable.json", b'{"template": oops}')
        lived.wait("good", "rendering")
        said(lived, "cancel", "good")
        for key, state in (("good", "cancelled"), ("newer", "completed"), ("again", "completed"), ("bad", "failed")):
            lived.wait(key, state, 60)
        lived.wait("unreadable", "failed")
        lived.wait("waits", "validating")
        until(lambda: "validating waits" in seen.get("waits", ()) and "failed" in seen.get("bad", ()), 60)
        until(lambda: "completed" in seen.get("again", ()) and "cancelled" in seen.get("good", ()), 60)
        stop.set()
        watcher.join()

    assert wrong == []
    assert "queued held" in seen["held"] and "rendering" in seen["good"]
    assert lived.status("older")["superseded_by"] == lived.status("newer")["id"]
    assert {"queued waits", "queued"} & seen["again"]
    assert lived.status("again")["attempts"][0]["error"]["code"] == "RENDER_CRASHED"
    for folder in ("done/newer", "failed/bad", "failed/unreadable", "cancelled/good"):
        name = folder.rpartition("/")[2]
        assert faults(json.loads((lived.root / folder / f"{name}.status.json").read_bytes())) == []


@pytest.mark.parametrize(
    ("text", "windows", "word"),
    [
        (r"D:\farm\watchrender.yaml", True, r"D:\farm\watchrender.yaml"),
        (r"D:\the farm\w.yaml", True, r'"D:\the farm\w.yaml"'),
        (r"D:\R&D\w.yaml", True, r'"D:\R&D\w.yaml"'),
        ("/srv/the farm/w.yaml", False, "'/srv/the farm/w.yaml'"),
    ],
)
def test_a_path_in_a_command_to_paste_is_quoted_as_its_shell_wants(text: str, windows: bool, word: str) -> None:
    assert _as_word(text, windows=windows) == word


@pytest.mark.parametrize(
    ("ends", "code", "waits"),
    [([1, 0xC0000005, -9, 0], 0, 3), ([2], 2, 0), ([4], 4, 0), ([1, 130], 130, 1)],
)
def test_what_has_crashed_is_started_again_and_what_has_ended_is_not(ends: list[int], code: int, waits: int) -> None:
    waited: list[float] = []
    lives = iter(ends)

    assert _again_after_crashes(lambda: next(lives), waited.append) == code
    assert len(waited) == waits and next(lives, None) is None
