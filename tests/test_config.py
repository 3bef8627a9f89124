"""The configuration: text and variables in, a frozen value or every fault at once out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchrender import config as configs
from watchrender.config import Config, ConfigError, find_config, load
from watchrender.config.kinds import full_path


def faults(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, "watchrender.yaml", environ)
    return caught.value.faults


def good(text: str = "", **environ: str) -> Config:
    return load(f"root: /mnt/renders\n{text}", "watchrender.yaml", environ)


# ------------------------------------------------------------------ what a good file gives


def test_only_root_is_required_and_the_defaults_are_those_of_the_contract() -> None:
    config = good()

    assert config.root == Path("/mnt/renders")
    assert config.folders.model_dump() == {
        name: name for name in ("inbox", "active", "done", "failed", "cancelled", "status")
    }
    assert config.watch.model_dump() == {
        "events": True,
        "scan_interval": "auto",
        "settle": "auto",
        "cut_off": 20.0,
        "assets_deadline": 1800.0,
        "ignore": (),
        "max_job_size": 5 * 1024 * 1024,
    }
    assert config.queue.model_dump() == {"default_priority": 50, "folder_priorities": {}, "supersede": "off"}
    assert config.retry.model_dump() == {"max_retries": 3, "first_wait": 30.0, "max_wait": 600.0, "jitter": 0.2}
    assert config.limits.model_dump() == {
        "render": 86400.0,
        "startup": 300.0,
        "stall": 600.0,
        "finish_grace": 60.0,
        "terminate_grace": 10.0,
        "min_free_disk": 2 * 1024**3,
    }
    assert config.verify.model_dump() == {
        "min_bytes": 1000,
        "frames": True,
        "probe": "auto",
        "missing_footage": "fail",
        "missing_fonts": "warn",
    }
    assert config.nexrender.model_dump() == {
        "command": None,
        "aerender": None,
        "work_dir": None,
        "render_to": "auto",
        "ffmpeg": None,
        "args": (),
        "env": {},
        "keep_failed_work": 2,
    }
    assert config.delivery.model_dump() == {"on_exists": "version", "checksum": True, "previews": "auto"}
    assert config.policy.model_dump() == {
        "actions": (),
        "roots": None,
        "schemes": ("file", "http", "https", "data"),
        "hosts": (),
        "scripts": "off",
    }
    assert config.server.model_dump() == {
        "enabled": True,
        "host": "127.0.0.1",
        "port": 8790,
        "token": None,
        "allowed_hosts": (),
    }
    assert config.retention.model_dump() == {
        "history": 7 * 86400.0,
        "status": 86400.0,
        "done": None,
        "failed": None,
        "logs": 14 * 86400.0,
    }
    assert config.log.model_dump(by_alias=True) == {"level": "INFO", "json": False, "rotation": 10 * 1024 * 1024}
    assert (config.engine, config.shutdown, config.node, config.state_dir) == ("nexrender-cli", "requeue", None, None)
    assert (config.path_map, config.notify) == ((), {})


def test_durations_and_sizes_become_seconds_and_bytes() -> None:
    config = good("limits: {stall: 500ms, render: 7d, startup: 4h, min_free_disk: 512KiB}")

    assert (config.limits.stall, config.limits.render, config.limits.startup) == (0.5, 604800.0, 14400.0)
    assert config.limits.min_free_disk == 512 * 1024


def test_auto_stays_a_word_and_a_duration_is_taken_in_its_place() -> None:
    assert good("watch: {settle: auto}").watch.settle == "auto"
    assert good("watch: {settle: 0s, scan_interval: 1s}").watch.settle == 0.0


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        good().server.port = 1


def test_a_setting_or_section_with_nothing_behind_it_has_its_default() -> None:
    config = good("server:\nlimits:\n  stall:\nnotify: ~\nwatch: {ignore: null}\n")

    assert config.server.port == 8790
    assert config.limits.stall == 600.0
    assert (config.notify, config.watch.ignore) == ({}, ())


def test_json_is_accepted_with_tabs_escapes_and_emoji() -> None:
    text = json.dumps(
        {"root": "/mnt/renders", "node": "kammer 🎬", "server": {"port": 8800, "enabled": False}}, indent="\t"
    )

    config = load(text, "watchrender.json", {})

    assert (config.node, config.server.port, config.server.enabled) == ("kammer 🎬", 8800, False)


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_file_may_be_saved_as_editors_on_windows_do(coding: str) -> None:
    text, found = configs.decode("root: /mnt/é\r\n".encode(coding), "w.yaml")

    assert found == []
    assert load(text, "w.yaml", {}).root == Path("/mnt/é")


def test_a_byte_order_mark_in_the_text_is_passed_over() -> None:
    assert load("\ufeffroot: /mnt/renders", "w.yaml", {}).root == Path("/mnt/renders")


def test_bytes_that_are_no_utf8_are_named_with_their_place() -> None:
    _, found = configs.decode("root: /x\nnode: é\n".encode("latin-1"), "w.yaml")

    assert [str(fault) for fault in found] == ["w.yaml:2:7: byte 0xe9 is not UTF-8; save the file as UTF-8"]


@pytest.mark.parametrize(
    ("written", "meant"), [("on", True), ("yes", True), ("True", True), ("off", False), ("no", False)]
)
def test_yes_and_no_are_understood_where_one_of_them_is_meant(written: str, meant: bool) -> None:
    assert good(f"server: {{enabled: {written}}}").server.enabled is meant


def test_words_that_older_yaml_turns_into_something_else_stay_what_they_are() -> None:
    config = good("node: 2026-11-24\nqueue: {supersede: off}\npolicy: {scripts: off}\nverify: {probe: off}\n")

    assert config.node == "2026-11-24"
    assert (config.queue.supersede, config.policy.scripts, config.verify.probe) == ("off", "off", "off")
    assert good("node: 0123").node == "0123"
    assert good("nexrender: {env: {A: 1, B: yes, C: 1.10}}").nexrender.env == {"A": "1", "B": "yes", "C": "1.10"}


def test_aerender_is_one_path_or_one_for_each_version() -> None:
    assert good("nexrender: {aerender: /opt/ae/aerender}").nexrender.aerender == Path("/opt/ae/aerender")
    assert good("nexrender: {aerender: {2025: /a/aerender}}").nexrender.aerender == {"2025": Path("/a/aerender")}


def test_the_command_is_a_list_or_one_full_path() -> None:
    assert good("nexrender: {command: [node, /abs/bin.js]}").nexrender.command == ("node", "/abs/bin.js")
    assert good("nexrender: {command: /abs/nexrender-cli}").nexrender.command == ("/abs/nexrender-cli",)
    assert "relative path" in faults("root: /x\nnexrender: {command: nexrender-cli}")[0]
    assert "empty list" in faults("root: /x\nnexrender: {command: []}")[0]


def test_path_map_has_from_and_to() -> None:
    rule = good("path_map: [{from: /Volumes/Media, to: 'M:/'}]").path_map[0]

    assert (rule.from_, rule.to) == ("/Volumes/Media", "M:/")


def test_priorities_of_sub_folders_have_the_names_that_keys_have() -> None:
    config = good("queue: {folder_priorities: {clientA/: 70, 'b\\c': 0}}")

    assert config.queue.folder_priorities == {"clientA": 70, "b/c": 0}


def test_a_program_may_hand_in_plain_values() -> None:
    config = Config.model_validate({"root": "/x", "limits": {"stall": 0.2, "min_free_disk": 0}, "server": {"port": 0}})

    assert (config.limits.stall, config.limits.min_free_disk, config.server.port) == (0.2, 0, 0)


# ------------------------------------------------------------------ paths


def test_a_relative_path_starts_at_the_folder_of_the_file(tmp_path: Path) -> None:
    config = load("root: renders\nstate_dir: ../state", str(tmp_path / "etc" / "watchrender.yaml"), {})

    assert config.root == tmp_path / "etc" / "renders"
    assert config.state_dir == tmp_path / "state"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/kim")

    assert load("root: ~/renders", "w.yaml", {}).root == Path("/home/kim/renders")


def test_done_may_be_a_full_path_elsewhere() -> None:
    assert good("folders: {done: /mnt/films}").folders.done == str(Path("/mnt/films"))


@pytest.mark.parametrize("text", ["a/b", "..", ".", "a\\b", "CON", "nul.txt", "x.", "' x'", "''", "a:b", ".hidden"])
def test_a_folder_is_one_plain_name(text: str) -> None:
    found = faults(f"root: /x\nfolders: {{failed: {text if text.startswith(chr(39)) else repr(text)}}}")

    assert [line.partition(" ")[2].startswith("folders.failed: ") for line in found] == [True]


@pytest.mark.parametrize("folder", ["inbox", "active", "failed", "cancelled", "status"])
def test_only_done_may_lie_elsewhere_and_the_fault_says_so(folder: str) -> None:
    found = faults(f"root: /x\nfolders: {{{folder}: /mnt/films}}")

    assert "on one volume" in found[0]
    assert "only done may be a path" in found[0]


def test_two_folders_cannot_be_one() -> None:
    assert faults("root: /x\nfolders:\n  done: Inbox\n") == [
        'watchrender.yaml:3:9: folders.done: "Inbox" is the folder of inbox too; each needs its own'
    ]


@pytest.mark.parametrize("done", ["/", "/mnt", "/mnt/renders", "/mnt/renders/inbox", "/mnt/renders/active/x"])
def test_done_cannot_lie_across_the_hot_folder(done: str) -> None:
    assert "overlaps the hot folder" in faults(f"root: /mnt/renders\nfolders: {{done: {done}}}")[0]


@pytest.mark.parametrize("state_dir", ["/mnt/renders", "/mnt/renders/.state", "/mnt", "/mnt/x/../renders/s"])
def test_state_dir_is_outside_root(state_dir: str) -> None:
    assert "must be outside root" in faults(f"root: /mnt/renders\nstate_dir: {state_dir}")[0]


def test_root_cannot_hold_the_users_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/home/kim/.local/state")
    monkeypatch.setenv("HOME", "/home/kim")

    if os.name == "posix" and os.uname().sysname == "Linux":
        assert "choose a folder of its own" in faults("root: /home/kim")[0]
    assert load("root: /home/kim/renders", "w.yaml", {}).root == Path("/home/kim/renders")


def test_work_dir_cannot_lie_in_a_folder_that_is_watched() -> None:
    assert "lies in the hot folder" in faults("root: /r\nnexrender: {work_dir: /r/inbox/w}")[0]
    assert good("nexrender: {work_dir: /tmp/w}").nexrender.work_dir == Path("/tmp/w")


def test_windows_paths_are_judged_by_the_rules_of_windows() -> None:
    assert "is a path of Windows" in faults("root: 'C:\\renders'")[0]
    assert "is a path of Windows" in faults("root: '\\\\server\\share'")[0]
    for text in ("C:\\renders", "\\\\server\\share\\x", "D:/renders"):
        assert full_path(text, None, windows=True)
    with pytest.raises(ValueError, match="has no drive"):
        full_path("\\server\\share", None, windows=True)
    with pytest.raises(ValueError, match="current folder"):
        full_path("C:renders", None, windows=True)


def test_a_line_break_that_a_backslash_made_is_refused() -> None:
    found = faults('root: "C:\\new"')

    assert found[0].startswith("watchrender.yaml:1:7: root: ")
    assert "in double quotes a backslash is an escape" in found[0]


# ------------------------------------------------------------------ faults


def test_every_fault_is_told_at_once_with_line_and_column() -> None:
    text = """\
rot: /x
limits:
  stall: "10 mins"
  render: 10
watch: {max_job_size: 5M, evnts: on}
folders:
  done: inbox
server:
  port: 70000
  host: 0.0.0.0
  port: 4
queue: {supersede: same_job, default_priority: 010}
port: 3
retry: {jitter: 2, max_retries: 1_000}
log: {json: maybe, level: debugg}
engine: nexrender-server
"""

    found = faults(text)

    places = "1:1 1:1 3:10 4:11 5:23 5:27 7:9 9:9 10:9 11:3 12:20 12:48 13:1 14:17 14:33 15:13 15:27 16:9"
    assert [line.partition(": ")[0] for line in found] == [f"watchrender.yaml:{place}" for place in places.split()]
    for words in (
        "root: is required",
        "rot: unknown setting; did you mean root?",
        'limits.stall: "10 mins" is not a duration (write 10m)',
        'limits.render: "10" is not a duration (write 10s)',
        'watch.max_job_size: "5M" is not a size (write 5MiB)',
        "watch.evnts: unknown setting; did you mean events?",
        'folders.done: "inbox" is the folder of inbox too; each needs its own',
        "server.port: 70000 is out of range; at most 65535",
        'server.host: "0.0.0.0" lets other machines in; set server.token, or listen on 127.0.0.1',
        "server.port: set twice; first in line 9",
        'queue.supersede: "same_job" is not one of off, same-job, same-project; did you mean same-job?',
        'queue.default_priority: "010" is not a whole number (write 10)',
        "port: unknown setting; did you mean server.port?",
        "retry.jitter: 2 is out of range; at most 1",
        'retry.max_retries: "1_000" is not a whole number (write 1000)',
        'log.json: "maybe" is neither true nor false',
        'log.level: "DEBUGG" is not one of TRACE, DEBUG, INFO, WARNING, ERROR; did you mean DEBUG?',
        "engine: needs nexrender_server.url",
    ):
        assert any(line.endswith(words) for line in found), words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('root: "C:\\Users\\x"', "in double quotes a backslash is an escape"),
        ('root: "C:\\dir"', "in double quotes a backslash is an escape"),
        ("root: /x\n\tnode: a", "a tab cannot stand here"),
        ("watch: {ignore: [*.bak]}", "must be in quotes"),
        ("watch: {ignore: [*bak]}", "must be in quotes"),
        ("policy: {actions: [@nexrender/action-copy]}", "put the value in quotes"),
        ("root: /x\nnode: a: b", "in quotes, or look at the indent"),
        ("root: [1", "is not closed"),
        ("root: /x\n---\nroot: /y", "one configuration"),
        ("root: /x\nserver:\n  port: 1\n host: a", "begin in the same column"),
        ("root: !!int 3", "tags such as"),
        ("root: !x 3", "tags such as"),
        ("<<: {a: 1}\nroot: /x", "merging with <<"),
        ("? [a]\n: 1\nroot: /x", "must be plain text"),
        ("root: &a [*a]", "cannot contain itself"),
        ("- root", "settings are expected"),
        ("just words", "settings are expected"),
        ("root: /x\x01", "U+0001"),
        ("[" * 5_000, "nested too deeply"),
        ("", "root: is required"),
        ("root:", "root: is required"),
        ("root: ''", "root: is empty"),
        ("root: [/x]", "takes one value, and here is a list"),
        ("root: {a: 1}", "takes one value, and here are settings"),
        ("root: /x\nserver: 8790", "where a group of settings is expected"),
        ("root: /x\nserver: [a]", "where a group of settings is expected"),
        ("root: /x\nwatch: {ignore: .bak}", "must be a list; write [.bak]"),
        ("root: /x\nwatch: {settle: 2}", "(write 2s)"),
        ("root: /x\nwatch: {scan_interval: 0s}", "must be longer than 0s"),
        ("root: /x\nverify: {min_bytes: -1}", "is not a size"),
        ("root: /x\npath_map: [{from: /a, too: b}]", "too: unknown setting; did you mean to?"),
        ("root: /x\npath_map: [{from: /a}]", "path_map.0.to: is required"),
        ("root: /x\nnexrender: {aerender: {2025: aerender}}", "nexrender.aerender.2025: "),
        ("root: /x\nnexrender: {ffmpeg: ffmpeg}", "write the full path"),
        ("root: /x\npolicy: {actions: [./evil.js]}", "a path is never allowed"),
        ("root: /x\npolicy: {actions: [../evil]}", "a path is never allowed"),
        ("root: /x\npolicy: {scripts: on}", "write off, or a list of folders"),
        ("root: /x\npolicy: {schemes: [ftp]}", 'policy.schemes.0: "ftp" is not one of'),
        ("root: /x\npolicy: {hosts: ['http://a']}", "is not a host name"),
        ("root: /x\nnotify: {ops: {url: example}}", "is not an address"),
        ("root: /x\nnotify: {ops: {url: 'https://a', on: []}}", "name at least one"),
        ("root: /x\nnotify: {ops: {url: 'https://a', on: [failled]}}", "did you mean failed?"),
        ("root: /x\nnotify: {ops: {on: [failed]}}", "notify.ops.url: is required"),
        ("root: /x\nnotify: {'a b': {url: 'https://a'}}", "only letters, digits"),
        ("root: /x\nserver: {token: a b}", "visible ASCII"),
        ("root: /x\nserver: {token: ''}", "server.token: is empty"),
        ("root: /x\nnexrender: {env: {A=B: 1}}", "is no name of a variable"),
        ("root: /x\nnexrender: {env: {'': 1}}", "is no name of a variable"),
        ("root: /x\nqueue: {folder_priorities: {a: 101}}", "at most 100"),
        ("root: /x\nqueue: {folder_priorities: {'../a': 10}}", "is not a folder name"),
        ("root: /x\nnexrender_server: {url: farm}", "such as http://farm:3050"),
        ("root: /x\nnexrender_server: {url: 'http://farm:3050?a=b'}", "such as http://farm:3050"),
        ("root: /x\nnexrender_server: {url: 'http://farm:99999'}", "has no port from 1 to 65535"),
        ("root: /x\nnexrender_server: {url: 'http://farm:x'}", "has no port from 1 to 65535"),
        ("root: /x\nnexrender_server: {url: 'http://me:word@farm:0'}", "url: this has no port"),
        ("root: /x\nlimits: {render: 99999999d}", "too long"),
    ],
)
def test_a_slip_is_told_with_what_to_write(text: str, words: str) -> None:
    found = faults(text)

    assert any(words in line for line in found), found
    assert all(line.startswith("watchrender.yaml:") for line in found)


def test_a_wrong_value_is_told_once() -> None:
    assert len(faults("root: /x\nnotify: {ops: {url: 'https://a', on: [failled]}}")) == 1
    assert len(faults("root: /x\nnexrender: {aerender: x}")) == 1
    assert len(faults("root: /x\nwatch: {settle: soon}")) == 1


def test_aliases_that_explode_are_refused_in_no_time() -> None:
    lines = ["root: /x", "a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    start = time.monotonic()
    found = faults("\n".join(lines))

    assert any("this is no configuration" in line for line in found)
    assert time.monotonic() - start < 20


def test_secrets_are_not_repeated_in_faults_or_shown() -> None:
    text = "root: /x\nserver: {token: 'geh eim'}\nnotify: {a: {url: 'geheim', secret: 'ge heim'}}"

    assert not any("heim" in line.replace("visible", "") for line in faults(text))
    config = good("server: {token: geheim}\nnotify: {a: {url: 'https://h/geheim', secret: geheim}}")
    assert "geheim" not in repr(config)
    assert "geheim" not in str(configs.settings_table(config))
    assert set(configs.secrets(config)) == {"geheim", "https://h/geheim"}


def test_a_newer_config_is_refused_with_one_clear_word() -> None:
    assert faults("version: 2\nroots: /x") == [
        "watchrender.yaml:1:10: version: 2 is of a newer watchrender; this one reads version 1, so update it"
    ]
    assert good("version: 1").version == 1
    assert "out of range; at least 1" in faults("root: /x\nversion: 0")[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert good(f"server: {{host: '{host}'}}").server.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "render-01", "localhost.example.com"])
def test_listening_to_others_needs_a_token(host: str) -> None:
    assert "set server.token" in faults(f"root: /x\nserver: {{host: '{host}'}}")[0]
    assert good(f"server: {{host: '{host}', token: abc}}").server.token == "abc"
    assert good(f"server: {{host: '{host}', enabled: off}}").server.enabled is False


def test_limits_that_can_never_act_are_cautions() -> None:
    assert configs.cautions(good()) == []
    assert configs.cautions(good("limits: {render: 5m}")) == [
        "limits.startup: has no effect, because limits.render is not longer",
        "limits.stall: has no effect, because limits.render is not longer",
    ]
    assert configs.cautions(good("retry: {first_wait: 1h}")) == [
        "watchrender.yaml:2: retry.first_wait: has no effect, because retry.max_wait is not longer"
    ]
    assert configs.cautions(good("retry: {first_wait: 10m}")) == []


def test_secrets_that_are_handed_on_to_nexrender_are_known_by_their_names() -> None:
    variables = "{AWS_SECRET_ACCESS_KEY: abcd1234, FTP_PASS: efgh5678, AWS_KEY: ijkl9012, LANG: de_DE, MONKEY: Bonzo}"
    config = good(f"nexrender: {{env: {variables}}}")
    rows = {row.key: row for row in configs.settings_table(config)}

    assert set(configs.secrets(config)) == {"abcd1234", "efgh5678", "ijkl9012"}
    shown = rows["nexrender.env"].value
    assert not any(secret in shown for secret in configs.secrets(config))
    assert "LANG: de_DE" in shown and "MONKEY: Bonzo" in shown
    assert config.nexrender.env["FTP_PASS"] == "efgh5678"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("limits: {startup: 15m}", "limits.startup"),
        ("watch: {assets_deadline: 5s, settle: 10s}", "watch.assets_deadline"),
        ("watch: {assets_deadline: 1s}", "watch.assets_deadline"),
    ],
)
def test_a_limit_that_comes_too_late_to_say_what_it_is_for_is_a_caution(text: str, name: str) -> None:
    (found,) = configs.cautions(good(text))

    assert found.startswith(f"watchrender.yaml:2: {name}: ")


# ------------------------------------------------------------------ the environment


def test_every_setting_can_be_overridden_by_a_variable() -> None:
    config = good(
        "server: {port: 1, host: localhost}",
        WATCHRENDER_SERVER__PORT="8800",
        WATCHRENDER_SERVER__TOKEN="@a#b%c: d".replace(" ", ""),
        WATCHRENDER_STATE_DIR="/var/lib/w",
        WATCHRENDER_ROOT="/mnt/other",
        WATCHRENDER_LIMITS__STALL="3m",
        WATCHRENDER_POLICY__ACTIONS="['@nexrender/action-encode']",
        WATCHRENDER_WATCH="{settle: 3s}",
        WATCHRENDER_NODE='"quoted"',
    )

    assert (config.server.port, config.server.host, config.server.token) == (8800, "localhost", "@a#b%c:d")
    assert (config.root, config.state_dir) == (Path("/mnt/other"), Path("/var/lib/w"))
    assert (config.limits.stall, config.watch.settle, config.node) == (180.0, 3.0, "quoted")
    assert config.policy.actions == ("@nexrender/action-encode",)


def test_an_empty_file_may_be_filled_by_variables_alone() -> None:
    assert load("", "environment", {"WATCHRENDER_ROOT": "/mnt/renders"}).root == Path("/mnt/renders")


def test_a_section_in_a_variable_changes_only_what_it_names_and_a_single_setting_beats_it() -> None:
    config = good(
        "server: {port: 1, host: localhost}",
        WATCHRENDER_SERVER="{port: 2, enabled: off}",
        WATCHRENDER_SERVER__PORT="3",
    )

    assert (config.server.port, config.server.host, config.server.enabled) == (3, "localhost", False)


def test_names_of_the_writers_choice_are_found_whatever_their_case() -> None:
    config = good(
        "notify: {Ops: {url: 'https://a'}}\nqueue: {folder_priorities: {clientA: 1}}",
        WATCHRENDER_NOTIFY__OPS__SECRET="s",
        WATCHRENDER_NOTIFY__DESK__URL="https://b",
        WATCHRENDER_QUEUE__FOLDER_PRIORITIES__CLIENTA="9",
        WATCHRENDER_NEXRENDER__ENV__LANG="C",
    )

    assert {name: target.secret for name, target in config.notify.items()} == {"Ops": "s", "desk": None}
    assert config.queue.folder_priorities == {"clientA": 9}
    assert config.nexrender.env == {"LANG": "C"}


def test_an_empty_variable_counts_as_not_set() -> None:
    assert good("server: {port: 5}", WATCHRENDER_SERVER__PORT=" ").server.port == 5


def test_an_unknown_variable_is_a_fault_that_names_it() -> None:
    assert faults("root: /x", WATCHRENDER_SERVR__PORT="1", WATCHRENDER_SERVER_HOST="a", WATCHRENDER_SERVER__="1") == [
        "WATCHRENDER_SERVER_HOST: unknown setting; did you mean WATCHRENDER_SERVER__HOST?",
        "WATCHRENDER_SERVER__: unknown setting; did you mean WATCHRENDER_SERVER?",
        "WATCHRENDER_SERVR__PORT: unknown setting; did you mean WATCHRENDER_SERVER__PORT?",
    ]


def test_a_fault_in_a_variable_names_the_variable_and_comes_after_those_of_the_file() -> None:
    found = faults("root: /x\nretry: {jitter: x}", WATCHRENDER_LIMITS__STALL="soon", WATCHRENDER_POLICY__ROOTS="[a")

    assert [line.partition(": ")[0] for line in found] == [
        "watchrender.yaml:2:17",
        "WATCHRENDER_LIMITS__STALL",
        "WATCHRENDER_POLICY__ROOTS",
    ]
    assert found[1].startswith("WATCHRENDER_LIMITS__STALL: limits.stall: ")


def test_a_relative_path_in_a_variable_is_refused_because_it_starts_nowhere() -> None:
    assert faults("", WATCHRENDER_ROOT="renders") == [
        'WATCHRENDER_ROOT: root: "renders" is a relative path; write the full path'
    ]


def test_variables_that_are_no_settings_are_passed_over() -> None:
    names = ("CONFIG", "DATA_DIR", "POINTS", "DIE_AT", "FAULTS", "TREE", "ATTEMPT", "KILLS", "SIM_FAIL", "TEST_X")

    assert good("", **{f"WATCHRENDER_{name}": "x" for name in names}).root == Path("/mnt/renders")


# ------------------------------------------------------------------ where it is, and what it says


def test_the_option_comes_first_then_the_variable_then_the_folder_then_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    here, own = tmp_path / "here", configs.find_config(None, {}, tmp_path)
    here.mkdir()

    assert own is None
    users = next(iter([tmp_path / "home" / "watchrender"]))
    if os.uname().sysname == "Linux":
        users.mkdir(parents=True)
        (users / "watchrender.yaml").touch()
        assert find_config(None, {}, here) == users / "watchrender.yaml"
    (here / "watchrender.yaml").touch()
    assert find_config(None, {}, here) == here / "watchrender.yaml"
    assert find_config(None, {"WATCHRENDER_CONFIG": ""}, here) == here / "watchrender.yaml"
    assert find_config(None, {"WATCHRENDER_CONFIG": "x.yaml"}, here) == here / "x.yaml"
    assert find_config(Path("/o.yaml"), {"WATCHRENDER_CONFIG": "x.yaml"}, here) == Path("/o.yaml")


def test_the_state_folder_is_one_for_each_root_whatever_name_it_is_reached_by(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    one = configs.default_state_dir(tmp_path / "real", None)

    assert configs.default_state_dir(tmp_path / "link", None) == one
    assert configs.default_state_dir(tmp_path / "other", None) != one
    assert configs.default_state_dir(tmp_path, good("state_dir: /s")) == Path("/s")


def test_the_table_says_what_is_in_force_and_who_says_so() -> None:
    rows = {
        row.key: row
        for row in configs.settings_table(
            good(
                "limits: {stall: 3m}\npolicy: {actions: ['@a/b']}\nnotify: {ops: {url: 'https://a'}}",
                WATCHRENDER_SERVER__PORT="1",
            )
        )
    }

    assert rows["root"][1:] == ("/mnt/renders", "", "watchrender.yaml:1")
    assert rows["limits.stall"][1:] == ("3m", "10m", "watchrender.yaml:2")
    assert rows["limits.render"][1:] == ("24h", "24h", "default")
    assert rows["policy.actions"][1:] == ("['@a/b']", "[]", "watchrender.yaml:3")
    assert rows["server.port"][1:] == ("1", "8790", "WATCHRENDER_SERVER__PORT")
    assert rows["notify.ops.url"].value == "***"
    assert rows["notify.ops.on"].where == "default"
    assert rows["log.json"].value == "false"


def test_the_schema_is_of_json_and_knows_every_section() -> None:
    schema = configs.schema()

    assert json.loads(json.dumps(schema)) == schema
    assert schema["required"] == ["root"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Config.model_fields)


# ------------------------------------------------------------------ anything at all


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_text_makes_it_stumble(text: str) -> None:
    try:
        load(text, "w.yaml", {})
    except ConfigError as error:
        assert error.faults


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["auto", "10m"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from([*Config.model_fields])


@given(
    st.dictionaries(_names, _values | st.dictionaries(st.sampled_from(["port", "env", "done", "on", "url"]), _values))
)
@settings(max_examples=150, deadline=None)
def test_no_value_at_any_setting_makes_it_stumble(found: dict[str, object]) -> None:
    try:
        load(json.dumps(found), "w.json", {})
    except ConfigError as error:
        assert error.faults
        assert all(line.startswith("w.json") for line in error.faults)
