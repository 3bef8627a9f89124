"""Every key of config.example.yaml changes what happens: one proof for each, and none without a proof.

Most run the whole service on a real folder, with the key at one value and at another; what only judges is asked
directly.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.farm import Answering
from tests.line import FAKE, FILM, Line, serving, until
from tests.test_retention import NOW, House
from tests.waiting import free_port
from watchrender.cli.explain import explain
from watchrender.config import Config, ConfigError, load
from watchrender.config.shape import all_names, beneath, kind_at
from watchrender.core import retry
from watchrender.core.failure import Code, fail
from watchrender.ledger.ledger import JOBS

Proof = Callable[[Path], None]
PROOFS: dict[str, Proof] = {}


def proves(*keys: str) -> Callable[[Proof], Proof]:
    def keep(proof: Proof) -> Proof:
        assert not set(keys) & set(PROOFS)
        PROOFS.update(dict.fromkeys(keys, proof))
        return proof

    return keep


def keys() -> list[str]:
    """The settings that hold a value, in their order."""
    return [name for name in all_names() if not isinstance(beneath(kind_at(name.split("."))), type)]


# ------------------------------------------------------------------------------------------------------------ helpers


def section(key: str, value: Any) -> dict[str, Any]:
    name, _, rest = key.partition(".")
    return {name: {rest: value} if rest else value}


@contextmanager
def served(home: Path, key: str = "", value: Any = None, **settings: Any) -> Iterator[Line]:
    """The service with a key at this value."""
    line = Line(home / f"run{sum(1 for _ in home.iterdir()) if home.is_dir() else 0}", **settings)
    if key:
        line.change(**section(key, value))
    with serving(line):
        yield line


def ended(home: Path, key: str, value: Any, composition: str = "Main", **settings: Any) -> dict[str, Any]:
    """How one job ends with a key at this value."""
    with served(home, key, value, **{"retry": {"max_retries": 0}, **settings}) as line:
        line.drop("spot.json", line.job(composition))
        return until(lambda: (status := line.status("spot")).get("state") in ("completed", "failed") and status)  # type: ignore[no-any-return]


def code(status: dict[str, Any]) -> str | None:
    return (status.get("error") or {}).get("code")


def stays(so: Callable[[], bool], seconds: float = 0.7) -> bool:
    """Is it so all the time?"""
    until_then = time.monotonic() + seconds
    while time.monotonic() < until_then:
        if not so():
            return False
        time.sleep(0.02)
    return True


def config(home: Path, **settings: Any) -> Config:
    root = home / "root"
    (root / "inbox").mkdir(parents=True, exist_ok=True)
    return load(yaml.safe_dump({"root": str(root), "state_dir": str(home / "state"), **settings}), "w.yaml", {})


def judged(home: Path, job: dict[str, Any] | None = None, sub: str = "", **settings: Any) -> dict[str, Any]:
    """What would happen to a job: the same judge as intake."""
    project = home / "spot.aep"
    project.write_text("a project", encoding="utf-8")
    Line.age(project)
    template = {"src": str(project), "composition": "Main"}
    found = config(home, **settings)
    file = home / "root" / "inbox" / sub / "spot.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"template": template, **(job or {})}), encoding="utf-8")
    return explain(found, file)


def refused(answer: dict[str, Any]) -> str:
    return str((answer["error"] or {}).get("code", ""))


# ---------------------------------------------------------------------------------------------- where things are, names


@proves("version")
def version(_home: Path) -> None:
    assert load("version: 1\nroot: /mnt/r\n", "w.yaml", {}).version == 1
    with pytest.raises(ConfigError, match="newer watchrender"):
        load("version: 2\nroot: /mnt/r\n", "w.yaml", {})


NAMES = {name: f"the {name}" for name in ("inbox", "active", "done", "failed", "cancelled", "status")}


@proves("root", "state_dir", "node", *(f"folders.{name}" for name in NAMES))
def places(home: Path) -> None:
    line = Line(home / "line", folders=NAMES, node="render-77", retry={"max_retries": 0})
    line.change(root=str(home / "elsewhere"), state_dir=str(home / "record"))
    line.root = home / "elsewhere"
    inbox = line.root / NAMES["inbox"]
    inbox.mkdir(parents=True)

    def drop(name: str, composition: str) -> None:
        (inbox / f"{name}.json").write_text(json.dumps(line.job(composition)), encoding="utf-8")

    def stands(name: str) -> str:
        file = line.root / NAMES["status"] / f"{name}.status.json"
        return str(json.loads(file.read_text(encoding="utf-8"))["state"]) if file.is_file() else ""

    with serving(line):
        drop("slow", "Slow")
        until(lambda: (line.root / NAMES["active"] / "slow" / "slow.json").is_file() and stands("slow") == "rendering")
        (inbox / "slow.cancel").touch()
        drop("good", "Main")
        drop("bad", "NoComp")
        until(lambda: (stands("good"), stands("bad"), stands("slow")) == ("completed", "failed", "cancelled"))

    assert sorted(path.name for path in line.root.iterdir() if not path.name.startswith(".")) == sorted(NAMES.values())
    assert (line.root / NAMES["done"] / "good" / "good.mp4").is_file()
    assert (line.root / NAMES["failed"] / "bad" / "WHY.txt").is_file()
    assert (line.root / NAMES["cancelled"] / "slow" / "slow.json").is_file()
    assert (home / "record" / "ledger").is_dir()
    said = json.loads((line.root / NAMES["done"] / "good" / "good.status.json").read_text(encoding="utf-8"))
    assert said["node"] == "render-77"


@proves("path_map")
def path_map(home: Path) -> None:
    job = {"template": {"src": "/Volumes/Media/spot.aep", "composition": "Main"}}
    rule = [{"from": "/Volumes/Media", "to": str(home)}]

    assert judged(home, job)["waiting_for"]
    assert judged(home, job, path_map=rule)["paths"]["template.src"] == str(home / "spot.aep")


# ------------------------------------------------------------------------------------------------------------ watching


@proves("watch.events", "watch.scan_interval")
def events(home: Path) -> None:
    slow, quick = {"scan_interval": "30s"}, {"scan_interval": "100ms"}
    with served(home, "watch.events", True, watch=slow) as line:
        line.drop("spot.json")
        line.wait("spot", "completed")  # long before the next scan
    with served(home, "watch.events", False, watch=slow) as line:
        line.drop("spot.json")
        assert stays(lambda: not line.status("spot"))
    with served(home, "watch.events", False, watch=quick) as line:
        line.drop("spot.json")
        line.wait("spot", "completed")


def in_yaml(line: Line) -> str:
    return f"template: {line.projects / 'spot.aep'}\ncomposition: Main\next: mp4\n"


@proves("watch.settle")
def settle(home: Path) -> None:
    with served(home, "watch.settle", "50ms") as line:
        line.drop("spot.yaml", in_yaml(line))
        line.wait("spot", "completed")
    with served(home, "watch.settle", "30s") as line:
        line.drop("spot.yaml", in_yaml(line))
        line.wait("spot", "pending")
        assert stays(lambda: line.status("spot")["state"] == "pending")


@proves("watch.cut_off")
def cut_off(home: Path) -> None:
    with served(home, "watch.cut_off", "200ms") as line:
        line.drop("spot.json", '{"template": {"src": ')
        line.wait("spot", "failed")
    with served(home, "watch.cut_off", "30s") as line:
        line.drop("spot.json", '{"template": {"src": ')
        line.wait("spot", "pending")
        assert stays(lambda: line.status("spot")["state"] == "pending")


@proves("watch.assets_deadline")
def assets_deadline(home: Path) -> None:
    with served(home, "watch.assets_deadline", "200ms") as line:
        line.drop("spot.json", line.job(project="missing"))
        assert code(line.wait("spot", "failed")) == "TEMPLATE_MISSING"
    with served(home, "watch.assets_deadline", "30m") as line:
        line.drop("spot.json", line.job(project="missing"))
        line.wait("spot", "validating")
        assert stays(lambda: line.status("spot")["state"] == "validating")


@proves("watch.ignore")
def ignore(home: Path) -> None:
    with served(home, "watch.ignore", ["draft*"]) as line:
        line.drop("draft1.json")
        line.drop("spot.json")
        line.wait("spot", "completed")
        assert not line.status("draft1")
        assert line.files("inbox") == ["draft1.json"]


@proves("watch.max_job_size")
def max_job_size(home: Path) -> None:
    long = {"tags": "x" * 3000}

    assert judged(home, long)["accepted"]
    assert refused(judged(home, long, watch={"max_job_size": "2KiB"})) == "JOB_TOO_LARGE"


# --------------------------------------------------------------------------------------------------------------- queue


@proves("queue.default_priority", "queue.folder_priorities")
def priorities(home: Path) -> None:
    asked = {"default_priority": 7, "folder_priorities": {"clientA": 70}}

    assert judged(home, queue=asked)["priority"] == 7
    assert judged(home, sub="clientA", queue=asked)["priority"] == 70
    assert judged(home, sub="clientA")["priority"] == 50


@proves("queue.supersede")
def supersede(home: Path) -> None:
    for value, state in (("same-job", "cancelled"), ("off", "queued")):
        with served(home, "queue.supersede", value) as line:
            (line.root / "inbox" / "_PAUSE").touch()
            until(lambda line=line: line.service.gate.paused)
            line.drop("spot.json")
            line.wait("spot", "queued")
            line.drop("p90_spot.json")
            line.wait("spot~2", "queued")
            assert line.wait("spot", state)


# ----------------------------------------------------------------------------------------------------------- nexrender

SPY = """
import json, os, runpy, sys
print(os.environ.get("SPY_SAYS", ""))
with open(os.environ["SPY_FILE"], "w") as file:
    job = json.load(open(sys.argv[sys.argv.index("--file") + 1]))
    json.dump({"argv": sys.argv, "env": dict(os.environ), "job": job}, file)
sys.argv[0] = os.environ["SPY_FAKE"]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@contextmanager
def spied(home: Path, says: str = "", **settings: Any) -> Iterator[tuple[Line, Callable[[], dict[str, Any]]]]:
    """The service with a nexrender that writes down how it was called."""
    home.mkdir(parents=True, exist_ok=True)
    script, file = home / "spy.py", home / "spied.json"
    script.write_text(SPY, encoding="utf-8")
    env = {"SPY_FILE": str(file), "SPY_FAKE": str(FAKE), "SPY_SAYS": says, "FAKE_FILM": str(FILM)}
    own = settings.pop("nexrender", {})
    command = {"command": [sys.executable, str(script)], **own, "env": {**env, **own.get("env", {})}}
    with served(home, retry={"max_retries": 0}, nexrender=command, **settings) as line:
        yield line, lambda: json.loads(file.read_text(encoding="utf-8"))


def called(home: Path, **settings: Any) -> dict[str, Any]:
    with spied(home, **settings) as (line, seen):
        line.drop("spot.json")
        line.wait("spot", "completed")
        return seen()


@proves("nexrender.command")
def command(home: Path) -> None:
    with served(home, "nexrender.command", str(home / "gone")) as line:
        line.drop("spot.json")
        until(lambda: line.service and [found.code for found in line.service.gate.waiting()] == ["NEXRENDER_NOT_FOUND"])
        assert line.starts() == []
    with served(home) as line:
        line.drop("spot.json")
        line.wait("spot", "completed")
        assert line.starts() == ["Main"]


@proves("nexrender.aerender")
def aerender(home: Path) -> None:
    seen = called(home)
    binary = seen["argv"][seen["argv"].index("--binary") + 1]
    assert Path(binary).is_file()
    with served(home, "nexrender.aerender", str(home / "gone")) as line:
        line.drop("spot.json")
        until(lambda: line.service and [found.code for found in line.service.gate.waiting()] == ["AERENDER_NOT_FOUND"])


@proves("nexrender.work_dir", "nexrender.render_to", "nexrender.ffmpeg", "nexrender.args", "nexrender.env")
def how_it_is_called(home: Path) -> None:
    work, ffmpeg = home / "work", str(home / "ffmpeg")
    asked = {"work_dir": str(work), "render_to": "work_dir", "ffmpeg": ffmpeg, "args": ["--multi-frames"]}
    plain = called(home / "plain")
    seen = called(home / "asked", nexrender={**asked, "env": {"MINE": "yes"}})

    def place(found: dict[str, Any]) -> str:
        return str(found["argv"][found["argv"].index("--workpath") + 1])

    assert place(seen).startswith(str(work)) and not place(plain).startswith(str(work))
    assert seen["job"]["output"].startswith(str(work)) and "/active/" in Path(plain["job"]["output"]).as_posix()
    assert (seen["env"].get("NEXRENDER_FFMPEG"), plain["env"].get("NEXRENDER_FFMPEG")) == (ffmpeg, None)
    assert "--multi-frames" in seen["argv"] and "--multi-frames" not in plain["argv"]
    assert (seen["env"].get("MINE"), plain["env"].get("MINE")) == ("yes", None)


@proves("nexrender.keep_failed_work")
def keep_failed_work(home: Path) -> None:
    for keep in (0, 1):
        with served(home, "nexrender.keep_failed_work", keep, retry={"max_retries": 1}) as line:
            line.drop("spot.json", line.job("Crash"))
            line.wait("spot", "failed")
            kept = line.home / "state" / "work" / "failed"
            assert len(list(kept.iterdir()) if kept.is_dir() else []) == keep


@proves(
    "engine", "nexrender_server.url", "nexrender_server.secret", "nexrender_server.max_in_flight",
    "nexrender_server.poll_interval", "nexrender_server.tags", "nexrender_server.path_map",
)  # fmt: skip
def farm(home: Path) -> None:
    server = Answering()
    posted: list[dict[str, Any]] = []

    def answer(method: str, path: str) -> tuple[int, bytes]:
        if method == "POST":
            bodies = [body for asked, _, _, body in server.asked if asked == "POST"]  # a GET may come in between
            posted.append(json.loads(bodies[-1]))
            return 200, json.dumps(posted[-1]).encode()
        if path.endswith("/jobs/status"):
            return 200, json.dumps([{"uid": job["uid"], "state": "queued"} for job in posted]).encode()
        return (200, b"ok") if path.endswith("/health") else (404, b"")

    server.answer = answer
    line = Line(
        home / "line",
        engine="nexrender-server",
        nexrender_server={
            "url": server.url,
            "secret": "quiet",
            "tags": ["fast"],
            "max_in_flight": 2,
            "poll_interval": "50ms",
            "path_map": [{"from": str(home), "to": "R:/"}],
        },
    )
    try:
        with serving(line):
            for name in ("one", "two", "three"):
                line.drop(f"{name}.json")
            until(lambda: len(posted) == 2)
            asked = len(server.asked)
            assert stays(lambda: len(posted) == 2, 0.5)  # max_in_flight
            assert len(server.asked) - asked >= 4  # poll_interval
            assert line.starts() == []  # engine: nothing renders here
    finally:
        server.stop()
    assert {headers.get("nexrender-secret") for _, _, headers, _ in server.asked} == {"quiet"}
    assert all("fast" in str(job.get("tags")) for job in posted)
    assert all("R:/" in str(job["template"]["src"]) for job in posted)


# -------------------------------------------------------------------------------------------------------------- retries


@proves("retry.max_retries")
def max_retries(home: Path) -> None:
    assert len(ended(home, "retry.max_retries", 0, "Crash")["attempts"]) == 1
    assert len(ended(home, "retry.max_retries", 2, "Crash")["attempts"]) == 3


@proves("retry.first_wait", "retry.max_wait", "retry.jitter")
def waits(home: Path) -> None:
    def wait(number: int, **settings: Any) -> float:
        found = config(home, retry={"jitter": 0, **settings}).retry
        return retry.wait_before_next(found, 9, number, fail(Code.RENDER_CRASHED)) or 0.0

    assert (wait(1, first_wait="5s"), wait(1, first_wait="7s")) == (5, 7)
    assert (wait(9, first_wait="5s", max_wait="20s"), wait(9, first_wait="5s", max_wait="40s")) == (20, 40)
    assert len({wait(1, jitter="0.5") for _ in range(20)}) > 1
    assert len({wait(1, jitter="0") for _ in range(20)}) == 1


# --------------------------------------------------------------------------------------------------------------- limits


@proves("limits.render")
def limit_render(home: Path) -> None:
    assert code(ended(home, "limits.render", "600ms", "Slow")) == "RENDER_TIMEOUT"
    assert ended(home, "limits.render", "1h", "Slow")["state"] == "completed"


@proves("limits.startup")
def limit_startup(home: Path) -> None:
    assert code(ended(home, "limits.startup", "400ms", "HangAtStart")) == "STARTUP_TIMEOUT"


@proves("limits.stall")
def limit_stall(home: Path) -> None:
    assert code(ended(home, "limits.stall", "700ms", "Hang")) == "RENDER_STALLED"


@proves("limits.finish_grace")
def finish_grace(home: Path) -> None:
    assert ended(home, "limits.finish_grace", "100ms", "HangAtEnd")["state"] == "completed"
    with served(home, "limits.finish_grace", "60s") as line:
        line.drop("spot.json", line.job("HangAtEnd"))
        line.wait("spot", "rendering")
        assert stays(lambda: line.status("spot")["state"] == "rendering", 1.2)


@proves("limits.terminate_grace")
def terminate_grace(home: Path) -> None:
    def seconds(grace: str) -> float:
        """How long the end of a render takes that hears no polite word."""
        with served(home, "limits.terminate_grace", grace) as line:
            line.drop("spot.json", line.job("Stubborn"))
            until(lambda: (line.status("spot").get("progress") or {}).get("frame"))
            began = time.monotonic()
            (line.root / "inbox" / "spot.cancel").touch()
            line.wait("spot", "cancelled")
            return time.monotonic() - began

    assert any(seconds("100ms") < 1.4 for _ in range(5))  # more than once: the machine may be busy
    assert seconds("2s") >= 1.5


@proves("limits.min_free_disk")
def min_free_disk(home: Path) -> None:
    with served(home, "limits.min_free_disk", "900TiB") as line:
        line.drop("spot.json")
        until(lambda: line.service and [found.code for found in line.service.gate.waiting()] == ["DISK_FULL"])
        assert line.wait("spot", "queued")["attempts"] == []  # the disk was looked at before the job was there


# ------------------------------------------------------------------------------------------------- what a good film is


@proves("verify.min_bytes")
def min_bytes(home: Path) -> None:
    assert ended(home, "verify.min_bytes", 1000, "Tiny")["state"] == "failed"
    assert ended(home, "verify.min_bytes", 1, "Tiny")["state"] == "completed"


@proves("verify.frames")
def frames(home: Path) -> None:
    assert code(ended(home, "verify.frames", True, "Half")) == "OUTPUT_TRUNCATED"
    assert ended(home, "verify.frames", False, "Half")["state"] == "completed"


@proves("verify.probe")
def probe(home: Path) -> None:
    home.mkdir(exist_ok=True)
    broken = home / "broken.mp4"
    broken.write_bytes(FILM.read_bytes()[: FILM.stat().st_size // 2])
    film = {"env": {"FAKE_FILM": str(broken)}}

    assert code(ended(home, "verify.probe", "auto", nexrender=film)) == "OUTPUT_TRUNCATED"
    assert ended(home, "verify.probe", "off", nexrender=film)["state"] == "completed"


def ended_saying(home: Path, says: str, **settings: Any) -> dict[str, Any]:
    with spied(home, says, **settings) as (line, _):
        line.drop("spot.json")
        return until(lambda: (status := line.status("spot")).get("state") in ("completed", "failed") and status)  # type: ignore[no-any-return]


@proves("verify.missing_footage")
def missing_footage(home: Path) -> None:
    says = "WARNING:After Effects warning: 3 files are missing since you last saved this project."

    assert code(ended_saying(home / "a", says, verify={"missing_footage": "fail"})) == "FOOTAGE_MISSING"
    warned = ended_saying(home / "b", says, verify={"missing_footage": "warn"})
    assert warned["state"] == "completed"
    assert "3 files are missing" in " ".join(warned["warnings"])


@proves("verify.missing_fonts")
def missing_fonts(home: Path) -> None:
    says = "WARNING:After Effects warning: Project has missing fonts."

    assert ended_saying(home / "a", says, verify={"missing_fonts": "warn"})["state"] == "completed"
    assert code(ended_saying(home / "b", says, verify={"missing_fonts": "fail"})) == "FONTS_MISSING"


# ------------------------------------------------------------------------------------------------------------- delivery


@proves("delivery.on_exists")
def on_exists(home: Path) -> None:
    for value, state, there in (("version", "completed", 2), ("replace", "completed", 1), ("fail", "failed", 1)):
        with served(home, "delivery.on_exists", value, retry={"max_retries": 0}) as line:
            target = line.root / "out" / "film.mp4"
            target.parent.mkdir()
            target.write_bytes(b"older")
            line.drop("spot.json", line.job() | {"watchrender": {"output": str(target)}})
            line.wait("spot", state)
            assert len(list(target.parent.glob("*.mp4"))) == there
            assert (target.read_bytes() == b"older") == (value != "replace")


@proves("delivery.checksum")
def checksum(home: Path) -> None:
    assert ended(home, "delivery.checksum", True)["outputs"][0]["sha256"]
    assert ended(home, "delivery.checksum", False)["outputs"][0]["sha256"] is None


@proves("delivery.previews")
def previews(home: Path) -> None:
    for value in ("auto", "off"):
        with served(home, "delivery.previews", value) as line:
            line.drop("spot.json")
            line.wait("spot", "completed")
            pictures = [name for name in line.files("done") if name.endswith((".jpg", ".png", ".webp"))]
            assert bool(pictures) == (value == "auto"), line.files("done")


# --------------------------------------------------------------------------------------------------------------- policy


@proves("policy.actions")
def actions(home: Path) -> None:
    job = {"actions": {"postrender": [{"module": "my-action"}]}}
    own = {"nexrender": {"command": sys.executable}}

    assert refused(judged(home, job, **own)) == "POLICY_DENIED"
    assert judged(home, job, policy={"actions": ["my-action"]}, **own)["accepted"]


@proves("policy.roots")
def roots(home: Path) -> None:
    assert judged(home)["accepted"]
    assert refused(judged(home, policy={"roots": ["/somewhere/else"]})) == "POLICY_DENIED"
    assert judged(home, policy={"roots": [str(home)]})["accepted"]


PICTURE = {"assets": [{"type": "image", "layerName": "logo", "src": "https://images.example.org/logo.png"}]}


@proves("policy.schemes")
def schemes(home: Path) -> None:
    assert judged(home, PICTURE)["accepted"]
    assert refused(judged(home, PICTURE, policy={"schemes": ["file"]})) == "POLICY_DENIED"


@proves("policy.hosts")
def hosts(home: Path) -> None:
    job = {"assets": [{"type": "image", "layerName": "logo", "src": "http://10.1.2.3/logo.png"}]}

    assert refused(judged(home, job)) == "POLICY_DENIED"
    assert judged(home, job, policy={"hosts": ["10.1.2.3"]})["accepted"]


@proves("policy.scripts")
def scripts(home: Path) -> None:
    (home / "scripts").mkdir()
    script = home / "scripts" / "tint.jsx"
    script.write_text("// tint", encoding="utf-8")
    Line.age(script)
    job = {"assets": [{"type": "script", "src": str(script)}]}

    assert refused(judged(home, job)) == "POLICY_DENIED"
    assert judged(home, job, policy={"scripts": [str(home / "scripts")]})["accepted"]


# --------------------------------------------------------------------------------------------------------------- server


@proves("server.enabled", "server.host", "server.port", "server.token", "server.allowed_hosts")
def server(home: Path) -> None:
    port, token = free_port(), "a-token-that-nobody-guesses"
    asked = {"enabled": True, "host": "0.0.0.0", "port": port, "token": token, "allowed_hosts": ["render.example.com"]}
    url = f"http://127.0.0.1:{port}/api/v1/status"
    known = {"Authorization": f"Bearer {token}"}
    with served(home, server=asked) as line, httpx2.Client(trust_env=False) as client:
        assert line.service is not None
        assert line.service.web.address[0] == "0.0.0.0"
        assert client.get(url).status_code == 401
        assert client.get(url, headers=known).status_code == 200
        assert client.get(url, headers=known | {"Host": "render.example.com"}).status_code == 200
        assert client.get(url, headers=known | {"Host": "other.example.com"}).status_code == 403
    with served(home, server={"enabled": False}) as line:
        assert line.service is not None and line.service.web is None


# --------------------------------------------------------------------------------------------------- telling and ending


@proves("notify")
def notify(home: Path) -> None:
    job = {"watchrender": {"notify": "ops"}}

    assert refused(judged(home, job)) == "SIDECAR_INVALID"
    assert judged(home, job, notify={"ops": {"url": "https://studio.example/hook"}})["accepted"]


@proves("shutdown")
def shutdown(home: Path) -> None:
    for value, state in (("finish", "completed"), ("requeue", "queued")):
        with served(home, "shutdown", value) as line:
            line.drop("spot.json", line.job("Slow"))
            line.wait("spot", "rendering")
        assert line.status("spot")["state"] == state


# ------------------------------------------------------------------------------------------------------------ retention


@proves("retention.history", "retention.status", "retention.done", "retention.failed", "retention.logs")
def retention(home: Path) -> None:
    short = {"history": "3d", "status": "6h", "done": "2d", "failed": "2d", "logs": "1d"}
    left: dict[str, Any] = {}
    for name, terms in (("short", short), ("plain", {})):
        house = House(home / name, retention=terms)
        logs = house.home / "state" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "watchrender_2026-01-01.log").touch()
        os.utime(logs / "watchrender_2026-01-01.log", (time.time() - 2 * 86400,) * 2)
        house.over("film", days=4)
        house.over("bad", days=4, to="failed")
        house.over("fresh", days=0)
        house.round()
        house.now = NOW + timedelta(hours=7)
        house.retention.turn()
        house.round()
        left[name] = (
            {record["name"] for record in house.ledger.db.documents(JOBS).values()},
            house.names("done"),
            house.names("failed"),
            "fresh" in house.gone,
            sorted(path.name for path in logs.glob("*.log")),
        )
        house.ledger.close()

    assert left["short"] == ({"fresh"}, ["fresh"], [], True, [])
    assert left["plain"] == (
        {"film", "bad", "fresh"}, ["film", "fresh"], ["bad"], False, ["watchrender_2026-01-01.log"]
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- logs


def logged(home: Path, **settings: Any) -> list[list[str]]:
    """The lines of the service's log files, after one job that was tried again."""
    with served(home, log=settings) as line:
        line.drop("spot.json", line.job("CrashTwice"))
        line.wait("spot", "completed")
    files = sorted((line.home / "state" / "logs").glob("watchrender_*.log"))
    return [file.read_text(encoding="utf-8").splitlines() for file in files]


@proves("log.level")
def level(home: Path) -> None:
    everything = " ".join(line for file in logged(home, level="INFO") for line in file)
    warnings = " ".join(line for file in logged(home, level="WARNING") for line in file)

    assert "INFO" in everything and "try 1 failed" in everything
    assert "INFO" not in warnings and "try 1 failed" in warnings


@proves("log.json", "log.rotation")
def log_files(home: Path) -> None:
    plain = logged(home)
    found = logged(home, json=True, rotation="1KiB")

    assert (len(plain), len(found) > 1) == (1, True)
    assert all(json.loads(line)["message"] for file in found for line in file)
    assert not plain[0][0].startswith("{")


# -------------------------------------------------------------------------------------------------- all of them


def test_the_list_of_proofs_is_complete() -> None:
    assert set(PROOFS) == set(keys())


# Keys that are proven by one and the same run are proven once.
@pytest.mark.parametrize("key", keys())
def test_it_changes_what_happens(key: str, tmp_path: Path) -> None:
    proof = PROOFS[key]
    if next(found for found, other in PROOFS.items() if other is proof) == key:
        proof(tmp_path)
