"""Everything hostile, broken or merely odd that a shared folder may be given, at a real service: it lives, says what it
makes of each thing, hurts no good job, and stays small."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
import time
import unicodedata
import urllib.request
from pathlib import Path

import pytest

from tests.line import until
from tests.process import Lived, living

MEMORY_MEBIBYTES = 300
_GOOD = "good-at-the-end"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names, pipes and memory as Linux has them")


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    made = Lived(tmp_path)
    (made.root / "inbox" / "_PAUSE").touch()
    return made


def _good(lived: Lived, seconds: float = 60) -> None:
    """A good job dropped after all that is still taken."""
    lived.drop(f"{_GOOD}.json")
    lived.wait(_GOOD, "queued", seconds)


def _broken(lived: Lived) -> dict[str, tuple[bytes, str]]:
    """Content of a job file → the state it ends in."""
    good = json.dumps(lived.job())
    template = json.dumps(lived.job()["template"])
    return {
        "empty": (b"", "pending"),
        "cut": (good[:50].encode(), "failed"),
        "binary": (os.urandom(5000), "failed"),
        "bom": (b"\xef\xbb\xbf" + good.encode(), "queued"),
        "utf16": (good.encode("utf-16"), "queued"),
        "latin1": (good.replace("Main", "Präsentation").encode("latin-1"), "failed"),
        "brackets": (b"[" * 200_000, "failed"),
        "objects": (b'{"a":' * 200_000, "failed"),
        "closed-brackets": (b'{"template":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "failed"),
        "huge-number": (b'{"template":' + template.encode() + b',"priority":' + b"9" * 100_000 + b"}", "failed"),
        "exponent": (b'{"template":' + template.encode() + b',"priority":1e999999}', "failed"),
        "nan": (b'{"template":' + template.encode() + b',"priority":NaN}', "failed"),
        "twice": (b'{"template":1,"template":' + template.encode() + b"}", "failed"),
        "array": (b"[" + good.encode() + b"]", "failed"),
        "text": (b'"spot"', "failed"),
        "null": (b"null", "failed"),
        "zeros": (good.encode() + b"\0" * 4000, "queued"),  # taken when it has kept still for watch.cut_off
        "large": (b'{"a":"' + b"x" * (30 * 2**20) + b'"}', "failed"),
        "surrogate": (good.replace("Main", "\\ud800").encode(), "failed"),
        "nul": (good.replace("Main", "a\\u0000b").encode(), "failed"),
        "wrong-types": (b'{"template":[],"assets":{},"actions":7}', "failed"),
    }


def _broken_yaml(lived: Lived) -> dict[str, tuple[bytes, str]]:
    src = str(lived.projects / "spot.aep").encode()
    laughs = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)
    )
    return {
        "laughs": (b"template: x.aep\n" + laughs, "failed"),
        "tag": (b"template: !!python/object/apply:os.system ['touch /tmp/pwned']\n", "failed"),
        "deep": (b"template: " + b"[" * 50_000 + b"\n", "failed"),
        "unparsable": (b"template: x.aep\n\tcomposition: {\n", "failed"),
        "large-yaml": (b"template: x.aep\n#" + b"x" * (30 * 2**20), "failed"),
        "good-yaml": (b"template: " + src + b"\ncomposition: Main\n", "queued"),
    }


def test_broken_and_hostile_content(lived: Lived) -> None:
    cases = _broken(lived)
    yamls = _broken_yaml(lived)
    for name, (data, _) in cases.items():
        lived.drop(f"{name}.json", data)
    for name, (data, _) in yamls.items():
        lived.drop(f"{name}.yaml", data)
    for name, text in {"bad1": "prioritty: 8", "bad2": "- a", "bad3": "priority: [", "bad4": "a: &x [*x]"}.items():
        lived.drop(f"{name}.json")
        lived.drop(f"{name}.yaml", text)

    with living(lived):
        for name, (_, state) in (cases | yamls).items():
            lived.wait(name, state, 60)
        for number in range(1, 5):
            assert lived.wait(f"bad{number}", "failed")["error"]["code"] == "SIDECAR_INVALID"
        for name, (_, state) in (cases | yamls).items():
            if state == "failed":
                error = lived.status(name)["error"]
                assert error["kind"] == "job" and error["message"] and error["cure"], name
                until(lambda name=name: (lived.root / "failed" / name / "WHY.txt").is_file())
        _good(lived)
        assert lived.peak_mebibytes() < MEMORY_MEBIBYTES
        assert "a fault in watchrender itself" not in lived.output()
        assert not Path("/tmp/pwned").exists()
        assert lived.terminate() == 0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_many_jobs_of_the_largest_size_at_once(lived: Lived) -> None:
    """What has been read of one is let go before the next ones are read."""
    good = json.dumps(lived.job())[:-1]
    for number in range(5):
        lived.drop(f"large{number}.json", good + ',"x":[' + '"1234567",' * 450_000 + "0]}")
        lived.drop(f"many{number}.json", good + ',"x":[' + "{}," * 1_500_000 + "{}]}")

    with living(lived):
        for number in range(5):
            lived.wait(f"large{number}", "queued", 200)
            error = lived.wait(f"many{number}", "failed", 200)["error"]
            assert "more than 500000 values" in error["message"]
        assert lived.said()["waiting"] == []
        _good(lived)
        assert lived.peak_mebibytes() < MEMORY_MEBIBYTES
        assert lived.terminate() == 0


_NAMES = [
    "with 'quotes' and \"more\".json",
    "new\nline.json",
    "tab\tand \x07bell.json",
    "$(touch pwned).json",
    "`touch pwned`; rm -rf ..json",
    "-rf.json",
    "--help.json",
    "CON.json",
    "nul.json",
    "trailing dot..json",
    "trailing blank .json",
    "Case.json",
    "case.json",
    unicodedata.normalize("NFC", "café.json"),
    unicodedata.normalize("NFD", "café.json"),
    "percent%20 and #hash?.json",
    "emoji 🎬.json",
    "x" * 250 + ".json"[:5],
    "é" * 120 + ".json",
    "🎬" * 60 + ".json",
    "a\\b.json",
    "c:d.json",
    "<script>alert(1)</script>".replace("/", "∕") + ".json",
]


def test_names_of_every_kind(lived: Lived) -> None:
    inbox = lived.root / "inbox"
    data = json.dumps(lived.job())
    for name in _NAMES:
        (inbox / name).write_text(data, encoding="utf-8")
    Path(os.fsdecode(os.fsencode(inbox) + b"/latin\xe9.json")).write_text(data, encoding="utf-8")
    total = len(_NAMES) + 1

    with living(lived):
        until(lambda: lived.said().get("counts", {}).get("queued") == total, 60)
        keys = [json.loads(path.read_bytes())["job"] for path in (lived.root / "status").rglob("*.status.json")]
        assert len(set(keys)) == total
        folded = {unicodedata.normalize("NFC", key).casefold() for key in keys}
        assert len(folded) == total
        _good(lived)
        (inbox / "_PAUSE").unlink()
        until(lambda: lived.said().get("counts", {}).get("completed") == total + 1, 100)
        assert not list(Path.cwd().glob("pwned")) and not list(lived.root.rglob("pwned"))
        assert "a fault in watchrender itself" not in lived.output()
        assert lived.terminate() == 0


def test_links_pipes_sockets_devices_and_closed_doors_are_never_opened(lived: Lived) -> None:
    inbox = lived.root / "inbox"
    secret = lived.home / "secret.json"
    secret.write_text(json.dumps(lived.job()), encoding="utf-8")
    (inbox / "link.json").symlink_to(secret)
    (inbox / "dangling.json").symlink_to("nowhere")
    (inbox / "loop").symlink_to(".")
    (inbox / "outside").symlink_to(lived.projects)
    os.mkfifo(inbox / "pipe.json")
    os.mkfifo(inbox / "pipe.yaml")
    os.mkfifo(inbox / "spot.cancel")
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    try:
        os.chdir(inbox)
        listener.bind("sock.json")
    finally:
        os.chdir(here)
    bundle = inbox / "bundle"
    bundle.mkdir()
    (bundle / "job.json").symlink_to(secret)
    os.mkfifo(bundle / "footage.mov")
    if os.geteuid() == 0:
        os.mknod(inbox / "device.json", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero

    with living(lived):
        _good(lived)
        names = {"link.json", "dangling.json", "loop", "outside", "pipe.json", "pipe.yaml", "sock.json", "spot.cancel"}
        if os.geteuid() == 0:
            names.add("device.json")
        until(lambda: names <= {found["path"] for found in lived.said().get("ignored", [])})
        until(lambda: (lived.root / "inbox").is_dir() and _settled(lived))
        assert list(lived.status("bundle")) == []  # a sub-folder: its job.json is a link
        assert all(os.path.lexists(inbox / name) for name in names)
        assert lived.terminate() == 0
    listener.close()
    assert secret.exists()


def _settled(lived: Lived) -> bool:
    return any(found["path"].startswith("bundle/") for found in lived.said().get("ignored", []))


def test_what_the_services_user_may_not_read(lived: Lived) -> None:
    """An unreadable job is refused after a while, an unreadable folder or settings file is named."""
    command = _without_override()
    inbox = lived.root / "inbox"
    closed = [lived.drop("closed.json"), lived.drop("side.yaml", b"hold: true\n"), lived.drop("closed.zip", b"PK")]
    lived.drop("side.json")
    (inbox / "private").mkdir()
    (inbox / "private" / "job.json").write_text("{}", encoding="utf-8")
    for path in (*closed, inbox / "private"):
        path.chmod(0)
    try:
        lived.run(through=command)
        status = lived.wait("closed", "failed", 30)
        assert status["error"]["code"] == "JOB_UNREADABLE"
        assert "cannot be opened" in status["error"]["message"]
        lived.wait("closed~2", "failed", 30)
        until(lambda: {"private", "side.yaml"} <= {found["path"] for found in lived.said().get("ignored", [])}, 30)
        _good(lived)
        assert lived.terminate() == 0
        assert "a fault in watchrender itself" not in lived.output()
    finally:
        (inbox / "private").chmod(0o700)
        if lived.process is not None and lived.process.poll() is None:
            lived.process.kill()
            lived.process.wait()


def _without_override() -> list[str]:
    """What makes rights count for root too."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may read everything, and there is no setpriv to change that")
    without = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={without}", f"--inh-caps={without}"]


#: What bad files hold, and the code of the refusal that is said of it.
_BAD = {
    b'{"template": oops}': "JOB_UNREADABLE",
    b"[" * 1000: "JOB_INVALID",
    b"\xff\xfe{": "JOB_UNREADABLE",
    b'{"template": {"src": 7}}': "JOB_INVALID",
    b"{}": "JOB_INVALID",
    b"null": "JOB_INVALID",
}


class _Pulse(threading.Thread):
    """Asks /healthz all the time. The longest that an answer took, and what else it said."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._url = f"http://127.0.0.1:{port}/healthz"
        self.over = threading.Event()
        self.asked, self.longest, self.wrong = 0, 0.0, list[str]()

    def run(self) -> None:
        while not self.over.wait(0.1):
            began = time.monotonic()
            try:
                with urllib.request.urlopen(self._url, timeout=60) as answer:
                    if answer.status != 200:
                        self.wrong.append(str(answer.status))
            except OSError as error:
                self.wrong.append(str(error))
            self.asked += 1
            self.longest = max(self.longest, time.monotonic() - began)


@pytest.mark.timeout(900)
def test_ten_thousand_bad_files_at_once(lived: Lived) -> None:
    """Nine thousand broken jobs and a thousand other files, with good jobs before, among and behind them: those render
    meanwhile, each bad one has its letter, each other file is named once, and the service answers all the while."""
    inbox = lived.root / "inbox"
    (inbox / "_PAUSE").unlink()
    lived.change(server={"enabled": True, "port": 0})
    contents = list(_BAD)
    hidden = []
    for number in range(10_000):
        path = inbox / f".bad{number}"
        path.write_bytes(contents[number % len(contents)] if number % 10 else b"not a job")
        hidden.append(path)

    with living(lived):
        pulse = _Pulse(until(lambda: lived.said().get("address"), 60)[1])
        pulse.start()
        lived.drop("good-before.json")
        for number, path in enumerate(hidden):
            path.rename(inbox / (f"bad{number}.json" if number % 10 else f"bad{number}.txt"))
            if number == 5000:
                lived.drop("good-among.json")
        lived.drop(f"{_GOOD}.json")
        for name in ("good-before", "good-among", _GOOD):
            lived.wait(name, "completed", 300)
        until(lambda: lived.said().get("counts", {}).get("failed", 0) >= 9000, 300)
        until(lambda: sum(_is_named(found) for found in lived.said()["ignored"]) == 1000, 60)
        pulse.over.set()
        pulse.join(60)
        assert lived.peak_mebibytes() < MEMORY_MEBIBYTES
        assert "a fault in watchrender itself" not in lived.output()
        assert lived.terminate() == 0

    assert (pulse.wrong, pulse.asked > 20) == ([], True)
    assert pulse.longest < 10, f"an answer took {pulse.longest:.1f} s"
    for number in range(10_000):
        if number % 10 == 0:
            assert (inbox / f"bad{number}.txt").is_file()
            continue
        folder = lived.root / "failed" / f"bad{number}"
        letter = (folder / "WHY.txt").read_text(encoding="utf-8")
        code = _BAD[contents[number % len(contents)]]
        assert letter.startswith(f"bad{number} was not rendered.") and code in letter, letter
        assert (folder / f"bad{number}.json").read_bytes() == contents[number % len(contents)]
    assert sorted(path.name for path in inbox.iterdir()) == sorted(
        f"bad{number}.txt" for number in range(0, 10_000, 10)
    )


def _is_named(found: dict[str, str]) -> bool:
    return found["path"].endswith(".txt") and "not a job file" in found["why"]
