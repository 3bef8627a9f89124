"""What the service makes of a job, and what `watchrender check` says of it: the same words, for every attack, every
broken file and every way to write a path; and what only comes to light when a job is taken, its letter tells."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.line import Line, serving
from tests.test_policy import EXPECTED
from tests.website import Web, answer, website
from watchrender.cli.explain import explain
from watchrender.config import load
from watchrender.spool.jobfile import is_yaml_job

CORPUS = Path(__file__).parent / "corpus"
_PATIENCE = 90.0
_FIELDS = ("code", "kind", "message", "cure", "path", "line", "column")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="paths as POSIX writes them")


def _check(line: Line, file: Path) -> dict[str, Any]:
    return explain(load(yaml.safe_dump(line.settings), "watchrender.yaml", {}), file)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _says_the_same(line: Line, key: str, checked: dict[str, Any]) -> None:
    """The end of a refused job: status, letter and check agree on what, where, and what to do."""
    error = line.wait(key, "failed", _PATIENCE)["error"]
    assert {name: error.get(name) for name in _FIELDS} == {name: checked["error"].get(name) for name in _FIELDS}, key
    letter = _flat((line.root / "failed" / key / "WHY.txt").read_text(encoding="utf-8"))
    for text in (error["message"], error["cure"]):
        assert _flat(text) in letter, f"{key}: {letter}"
        assert _flat(text) in _flat(checked["text"]), f"{key}: {checked['text']}"


def _agrees(line: Line, key: str, checked: dict[str, Any]) -> None:
    """What check said comes true: refused, queued with its warnings, or footage that it would wait for is missed."""
    if checked["error"] is not None:
        _says_the_same(line, key, checked)
    elif checked["waiting_for"]:
        error = line.wait(key, "failed", _PATIENCE)["error"]
        assert all(words in error["message"] for words in checked["waiting_for"]), key
    else:
        assert line.wait(key, "queued", _PATIENCE)["warnings"] == checked["warnings"], key


# -- attacks ----------------------------------------------------------------------------------------------------------


def test_every_attack_is_refused_by_the_service_in_the_words_of_check(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.mark("_PAUSE")
    inbox = line.root / "inbox" / "attacks"
    inbox.mkdir()
    line.project("spot", inbox)
    answers = {}
    for file in sorted((CORPUS / "attacks").glob("*.json")):
        (inbox / file.name).write_bytes(file.read_bytes())
        answers[file.stem] = _check(line, inbox / file.name)

    with serving(line):
        for name, (code, path, setting) in EXPECTED.items():
            _says_the_same(line, f"attacks/{name}", answers[name])
            error = line.status(f"attacks/{name}")["error"]
            # Some are no jobs for the reader already, before anybody asks the policy.
            assert error["code"] in (code, "JOB_INVALID"), name
            if error["code"] == code:
                assert path in error["message"] and setting in error["cure"], name
        for name in answers.keys() - EXPECTED.keys():
            _agrees(line, f"attacks/{name}", answers[name])


def test_every_broken_file_is_refused_in_the_words_of_check(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.mark("_PAUSE")
    answers, files = {}, {}
    for number, file in enumerate(sorted((CORPUS / "jobfile").iterdir())):
        inbox = line.root / "inbox" / f"n{number}"
        inbox.mkdir()
        (inbox / file.name).write_bytes(file.read_bytes())
        answers[f"n{number}/{file.stem}"] = _check(line, inbox / file.name)
        files[f"n{number}/{file.stem}"] = file

    with serving(line):
        for key, checked in answers.items():
            file = files[key]
            if file.suffix != ".json" and not is_yaml_job(file.read_bytes()):  # settings of a job that is not there
                if checked["error"]["code"] == "JOB_INVALID":
                    assert "settings without a job" in checked["error"]["message"]
                else:
                    assert checked["error"]["code"] == "SIDECAR_INVALID"
            elif file.name == "empty.json":
                assert "empty" in line.wait(key, "pending", _PATIENCE)["waiting_for"][0]
            else:
                _agrees(line, key, checked)


# -- paths ------------------------------------------------------------------------------------------------------------


def test_a_path_means_the_same_to_check_and_to_the_service_however_it_is_written(tmp_path: Path) -> None:
    media = tmp_path / "projects"
    line = Line(
        tmp_path,
        path_map=[
            {"from": "M:/media", "to": str(media)},
            {"from": "//nas/media", "to": str(media)},
            {"from": "/Volumes/Media", "to": str(media)},
            {"from": "/Volumes/Media/other", "to": "/nowhere"},
        ],
    )
    spot = str(line.projects / "spot.aep")
    up = "/".join([".."] * 3)
    good = {
        "plain": spot,
        "dots": f"{media}/x/../spot.aep",
        "uri": f"file://{spot}",
        "uri-of-localhost": f"file://localhost{spot}",
        "relative": f"{up}/projects/spot.aep",
        "relative-backslashes": f"{up}/projects/spot.aep".replace("/", "\\"),
        "drive": "M:\\media\\spot.aep",
        "drive-small": "m:/Media/spot.aep",
        "drive-uri": "file:///M:/media/spot.aep",
        "unc": "\\\\NAS\\media\\spot.aep",
        "unc-uri": "file://nas/media/spot.aep",
        "unc-slashes": "//nas/media/spot.aep",
        "unc-long": "\\\\?\\UNC\\nas\\media\\spot.aep",
        "mac": "/Volumes/Media/spot.aep",
    }
    bad = {
        "other-drive": ("D:\\media\\spot.aep", "TEMPLATE_MISSING", "path_map"),
        "other-server": ("\\\\other\\media\\spot.aep", "POLICY_DENIED", "policy.hosts"),
        "half-a-drive": ("M:spot.aep", "JOB_INVALID", ""),
        "device": ("\\\\.\\C:\\spot.aep", "JOB_INVALID", ""),
        "half-a-rule": ("/Volumes/Media2/spot.aep", "TEMPLATE_MISSING", ""),
        "longest-rule": ("/Volumes/Media/other/spot.aep", "TEMPLATE_MISSING", ""),
        "environment": ("file://$HOME/spot.aep", "JOB_INVALID", ""),
        "shell": ("$HOME/spot.aep", "TEMPLATE_MISSING", ""),
        "tilde": ("~/spot.aep", "TEMPLATE_MISSING", ""),
    }
    sub = line.root / "inbox" / "paths"
    sub.mkdir()
    answers = {}
    for name, src in [*good.items(), *((name, src) for name, (src, _, _) in bad.items())]:
        file = sub / f"{name}.json"
        file.write_text(json.dumps(line.job(template={"src": src})), encoding="utf-8")
        answers[name] = _check(line, file)

    with serving(line):
        for name in good:
            assert answers[name]["paths"]["template.src"] == spot, name
            line.wait(f"paths/{name}", "completed", _PATIENCE)
        for name, (_, code, setting) in bad.items():
            error = line.wait(f"paths/{name}", "failed", _PATIENCE)["error"]
            assert error["code"] == code and setting in error["cure"], name
            if answers[name]["error"] is not None:
                _says_the_same(line, f"paths/{name}", answers[name])
            else:  # it may still come: check says what would be waited for, in the words of the end
                assert all(words in error["message"] for words in answers[name]["waiting_for"]), name

    seen = line.starts_file.read_text(encoding="utf-8").splitlines()
    assert [row.split(" ", 2)[2] for row in seen] == [f"file://{spot}"] * len(good)


def test_a_link_under_the_allowed_roots_leads_nowhere_else_however_late_it_comes(tmp_path: Path) -> None:
    line = Line(tmp_path, policy={"roots": [str(tmp_path / "projects")]})
    line.mark("_PAUSE")
    outside = tmp_path / "outside"
    outside.mkdir()
    line.project("secret", outside)
    (line.projects / "file.aep").symlink_to(outside / "secret.aep")
    (line.projects / "folder").symlink_to(outside)
    (line.projects / "dots").mkdir()
    (line.projects / "inner.aep").symlink_to("spot.aep")
    line.project("late")
    cases = {"file": "file.aep", "folder": "folder/secret.aep", "up": "dots/../../outside/secret.aep"}
    answers = {}
    for name, src in cases.items():
        path = line.drop(f"{name}.json", line.job(template={"src": f"{line.projects}/{src}"}))
        answers[name] = _check(line, path)
    for name in ("inner", "late"):
        line.drop(f"{name}.json", line.job(project=name))

    with serving(line):
        for name in cases:
            assert "policy.roots" in answers[name]["error"]["cure"]
            _says_the_same(line, name, answers[name])
        for name in ("inner", "late"):
            line.wait(name, "queued", _PATIENCE)
        (line.projects / "late.aep").unlink()
        (line.projects / "late.aep").symlink_to(outside / "secret.aep")
        (line.root / "inbox" / "_PAUSE").unlink()
        line.wait("inner", "completed", _PATIENCE)
        error = line.wait("late", "failed", _PATIENCE)["error"]

    assert (error["code"], error["path"]) == ("POLICY_DENIED", "template.src")
    assert "policy.roots" in error["cure"]
    assert "secret" not in line.starts_file.read_text(encoding="utf-8")


# -- links to other machines ------------------------------------------------------------------------------------------

#: Names of the public kind, and the addresses inside that they lead to.
_NAMES = {
    "v4.example.net": ["127.0.0.1"],
    "v6.example.net": ["::1"],
    "mapped.example.net": ["::ffff:127.0.0.1"],
    "translated.example.net": ["64:ff9b::7f00:1"],
    "metadata.example.net": ["169.254.169.254"],
    "unique-local.example.net": ["fd00:ec2::254"],
    "link-local.example.net": ["fe80::1"],
    "any.example.net": ["0.0.0.0"],
    "mixed.example.net": ["93.184.215.14", "10.0.0.1"],
    "site.example.org": ["127.0.0.1"],  # the one that is allowed
}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server of this machine, and names that lead to it and elsewhere inside."""
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in _NAMES:
            return real(host, port, *more, **named)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in _NAMES[name]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with website() as made:
        yield made


def test_no_name_and_no_redirect_leads_inside(tmp_path: Path, web: Web) -> None:
    port = web.port
    line = Line(tmp_path, policy={"hosts": ["site.example.org"]}, retry={"max_retries": 0})
    web.answers["/good.png"] = answer(b"a picture")
    web.answers["/secret"] = answer(b"a secret")
    web.answers["/there"] = answer(status=302, Location="/good.png")
    direct = {name.partition(".")[0]: f"http://{name}:{port}/secret" for name in _NAMES if name != "site.example.org"}
    targets = {
        "to-this-machine": f"http://127.0.0.1:{port}/secret",
        "to-localhost": f"http://localhost:{port}/secret",
        "to-v6": f"http://[::1]:{port}/secret",
        "to-mapped": f"http://[::ffff:127.0.0.1]:{port}/secret",
        "to-mapped-hex": f"http://[::ffff:7f00:1]:{port}/secret",
        "to-decimal": f"http://2130706433:{port}/secret",
        "to-hex": f"http://0x7f000001:{port}/secret",
        "to-octal": f"http://0177.0.0.1:{port}/secret",
        "to-short": f"http://127.1:{port}/secret",
        "to-metadata": "http://169.254.169.254/latest/meta-data/",
        "to-a-name": f"http://v4.example.net:{port}/secret",
        "to-the-same-scheme": f"//127.0.0.1:{port}/secret",
        "to-a-user": f"http://site.example.org@127.0.0.1:{port}/secret",
        "to-a-file": "file:///etc/passwd",
        "to-ftp": f"ftp://127.0.0.1:{port}/secret",
        "to-data": "data:text/plain,secret",
        "to-wide-digits": f"http://１２７.0.0.1:{port}/secret",
        "to-a-dotted-name": f"http://v4.example.net.:{port}/secret",
    }
    redirects = {}
    for name, target in targets.items():
        web.answers[f"/{name}"] = answer(status=307, Location=target.encode().decode("latin-1"))
        redirects[name] = f"http://site.example.org:{port}/{name}"
    for name, src in {**direct, **redirects, "there": f"http://site.example.org:{port}/there"}.items():
        line.drop(f"{name}.json", line.job(assets=[{"type": "image", "layerName": "a", "src": src}]))

    with serving(line):
        line.wait("there", "completed", _PATIENCE)
        for name in (*direct, *redirects):
            status = line.wait(name, "failed", _PATIENCE)
            error = status["error"]
            assert error["code"] in ("POLICY_DENIED", "DOWNLOAD_FAILED"), f"{name}: {error}"
            assert error["path"] == "assets[0].src", f"{name}: {error}"
            letter = _flat((line.root / "failed" / name / "WHY.txt").read_text(encoding="utf-8"))
            assert _flat(error["message"]) in letter and _flat(error["cure"]) in letter
            if error["code"] == "POLICY_DENIED":
                assert len(status["attempts"]) <= 1
                assert any(word in error["cure"] for word in ("policy.", "Write it as https://")), f"{name}: {error}"
            if name in direct:
                assert "policy.hosts" in error["cure"], f"{name}: {error}"

    assert "/secret" not in [path for path, _ in web.asked]
    assert not any("secret" in row for row in line.starts())
