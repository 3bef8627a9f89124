"""A hot folder that is to be harmed, the services on it, and the questions that are asked afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.harm.neighbours import Hook, Program
from tests.waiting import PATIENCE, until
from watchrender.config import root_hash
from watchrender.disk import is_half_written
from watchrender.ledger import reading
from watchrender.render import simulator
from watchrender.render.process import reap, stray

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE = Path(__file__).with_name("fake.py")
FILM = Path(simulator.__file__).with_name("canned.mp4")
#: Names that are ours alone, and that nobody should ever see when all is done.
_OURS = (".closing-", ".attempt-", ".trial-", ".retry-", ".before-")
_HALVES = (".watchrender-part", ".watchrender-old", ".part")


class Forge:
    """Forked services, from a process that has imported everything already."""

    def __init__(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("WATCHRENDER_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harm.forge"],
            cwd=REPOSITORY,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        self._heard = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            with self._heard:
                if "code" in said:
                    self._codes[said["pid"]] = said["code"]
                else:
                    self._codes.pop(said["pid"], None)  # pids come back
                    self._started.append(said["pid"])
                self._heard.notify_all()

    def start(self, config: Path, env: Mapping[str, str], log: Path) -> int:
        """Fork one service. Its pid."""
        with self._heard:
            self._started.clear()
            self._ask(config=str(config), env=dict(env), log=str(log))
            assert self._heard.wait_for(lambda: self._started, PATIENCE)
            return self._started.pop()

    def _ask(self, **asked: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to a service; nothing happens if it has ended."""
        self._ask(kill=pid, signal=int(number))

    def code(self, pid: int) -> int | None:
        return self._codes.get(pid)

    def wait(self, pid: int, seconds: float = PATIENCE) -> int:
        with self._heard:
            if not self._heard.wait_for(lambda: pid in self._codes, seconds):
                self.signal(pid, signal.SIGABRT)
                raise AssertionError("the service does not end")
            return self._codes[pid]

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._listener.join(PATIENCE)
        self._process.stdout.close()


@dataclass(kw_only=True)
class Expected:
    """What must have become of one job in the end."""

    states: tuple[str, ...] = ("completed",)
    films: int = 1  # where it is completed
    folder: bool = True  # False: withdrawn, and without a folder
    starts: int = 1  # of a renderer, where nobody is killed


@dataclass(kw_only=True)
class Harmed:
    """One hot folder of a test."""

    home: Path
    forge: Forge
    changes: dict[str, Any] = field(default_factory=dict)
    payloads: dict[str, bytes] = field(default_factory=dict)  # what people dropped, by a name for the test's words
    kills: int = 0
    lost: bool = False  # the record was deleted
    closers: list[Callable[[], None]] = field(default_factory=list)  # of those outside whom the service talks to
    hook: Hook | None = None
    program: Program | None = None
    _pid: int | None = None

    def __post_init__(self) -> None:
        self.root = self.home / "root"
        self.inbox = self.root / "inbox"
        self.state = self.home / "state"
        self.log = self.home / "service.log"
        self.projects = self.home / "projects"
        for folder in (self.inbox, self.projects, self.home / "trap"):
            folder.mkdir(parents=True)
        self.project(self.projects / "spot.aep")
        self.aerender = self.home / "Adobe After Effects 2024" / "aerender"
        self._after_effects()
        self.configure()

    def _after_effects(self) -> None:
        installed = simulator.install_simulator(self.home / "Applications", patched=True)
        self.aerender = Path(installed)

    @staticmethod
    def project(path: Path) -> None:
        path.write_text("a project", encoding="utf-8")
        os.utime(path, (time.time() - 3600, time.time() - 3600))

    def configure(self) -> None:
        settings: dict[str, Any] = {
            "root": str(self.root),
            "state_dir": str(self.state),
            "node": "render-01",
            "watch": {"scan_interval": "50ms", "settle": "50ms", "cut_off": "100ms", "assets_deadline": "1s"},
            "nexrender": {
                "command": [sys.executable, "-S", "-E", str(FAKE)],
                "aerender": str(self.aerender),
                "env": {
                    "FAKE_STARTS": str(self.home / "starts"),
                    "FAKE_INBOX": str(self.inbox),
                    "FAKE_FILM": str(FILM),
                },
            },
            "retry": {"first_wait": "20ms", "max_wait": "50ms", "jitter": "0"},
            "limits": {"min_free_disk": "1MiB", "terminate_grace": "300ms", "finish_grace": "500ms"},
            "verify": {"probe": "off"},
            "delivery": {"previews": "off"},
            "server": {"enabled": False},
        }
        for name, value in self.changes.items():
            known = settings.get(name)
            settings[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
        self.config = self.home / "watchrender.yaml"
        self.config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.settings = settings

    # -- what people do -------------------------------------------------------------------------------------

    def job(self, composition: str = "Main", **more: Any) -> dict[str, Any]:
        template = {"src": str(self.projects / "spot.aep"), "composition": composition, "outputExt": "mp4"}
        return {"template": {**template, **more.pop("template", {})}, **more}

    def drop(self, path: str, content: Any = None) -> Path:
        """Lay a file into the inbox; its content is unique, so that it can be found again."""
        if content is None or isinstance(content, dict):
            content = json.dumps({**(content or self.job()), "name": path})
        data = content.encode() if isinstance(content, str) else content
        return self.lay(self.inbox / path, data)

    def lay(self, path: Path, data: bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if data:
            assert data not in self.payloads.values(), "each payload must be unique"
            self.payloads[path.relative_to(self.root).as_posix()] = data
        return path

    # -- the service ----------------------------------------------------------------------------------------

    def start(self, **hooks: str) -> int:
        self._pid = self.forge.start(
            self.config, {f"WATCHRENDER_{name}": value for name, value in hooks.items()}, self.log
        )
        return self._pid

    def stop(self) -> int:
        """End the service as a person does. Its exit code."""
        assert self._pid is not None
        pid, self._pid = self._pid, None
        self.forge.signal(pid, signal.SIGTERM)
        try:
            return self.forge.wait(pid)
        except AssertionError as never:
            until(lambda: self.forge.code(pid) is not None)
            said = self.log.read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"{never}: {said[-12_000:]}") from None

    def wait(self) -> int:
        """Wait until the service has ended by itself."""
        assert self._pid is not None
        pid, self._pid = self._pid, None
        return self.forge.wait(pid)

    def kill(self) -> None:
        assert self._pid is not None
        self.forge.signal(self._pid, signal.SIGKILL)
        self.forge.wait(self._pid)
        self._pid = None
        self.kills += 1

    def end(self) -> None:
        if self._pid is not None:
            self.kill()
        for found in stray(self.marker):
            reap(found, 0)
        while self.closers:
            self.closers.pop()()

    def running(self) -> bool:
        return self._pid is not None and self.forge.code(self._pid) is None

    @property
    def marker(self) -> str:
        return f"watchrender-{root_hash(self.root)}"

    # -- what can be seen -----------------------------------------------------------------------------------

    def records(self) -> dict[str, dict[str, Any]]:
        """All jobs of the record by id, read while the service may be writing."""
        try:
            tables = reading.read(self.state / "ledger" / "state.json")
        except FileNotFoundError:
            return {}
        return {str(record["id"]): record for record in tables.get("jobs", {}).values()}

    def status(self, key: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.root / "status" / f"{key}.status.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def service(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.root / "status" / "service.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def starts(self) -> Counter[str]:
        try:
            lines = (self.home / "starts").read_text(encoding="utf-8").splitlines()
        except OSError:
            return Counter()
        return Counter(line.split()[0] for line in lines)

    def done(self) -> Path:
        return self.root / self.settings.get("folders", {}).get("done", "done")

    def tops(self) -> list[Path]:
        return [self.inbox, self.root / "active", self.done(), self.root / "failed", self.root / "cancelled"]

    def trees(self) -> list[Path]:
        """All that is ours below the root, and done/ where it lies elsewhere."""
        done = self.done()
        return [self.root] if done.is_relative_to(self.root) else [self.root, done]

    def all_over(self, expected: Mapping[str, Expected]) -> bool:
        """Is every expected job over, its files moved, and its status file up to date?"""
        service = self.service()
        if service.get("pid") != self._pid or service.get("state") in ("starting", "stopping", "stopped"):
            return False
        records = {key_of(record): record for record in self.records().values()}
        for key in expected:
            record = records.get(key)
            if record is None or record.get("state") not in ("completed", "failed", "cancelled"):
                return False
            if record.get("folder", "").startswith(("inbox", "active")):
                return False
            said = self.status(key)
            if (said.get("state"), said.get("folder", "")) != (record["state"], record.get("folder", "")):
                return False
        return True

    # -- what must hold -------------------------------------------------------------------------------------

    def faults(self, expected: Mapping[str, Expected]) -> list[str]:
        """Everything that is wrong after the service has come to rest and was stopped: nothing, that is."""
        records = self.records()
        found = [
            *self._wrong_records(records, expected),
            *self._wrong_folders(records),
            *self._wrong_payloads(expected),
        ]
        found += [*self._left_over(), *self._wrong_starts(expected), *self._said_in_the_log()]
        return [*found, *(f"process {left.pid} was left" for left in stray(self.marker))]

    def _wrong_records(self, records: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Expected]) -> list[str]:
        found = []
        by_key: dict[str, list[Mapping[str, Any]]] = {}
        for record in records.values():
            by_key.setdefault(key_of(record), []).append(record)
        found += [
            f"nobody knows {key}, in state {jobs[0].get('state', 'pending')}"
            for key, jobs in by_key.items()
            if key not in expected
        ]
        for key, wish in expected.items():
            jobs = by_key.get(key, [])
            if len(jobs) != 1:
                found.append(f"{key} is in the record {len(jobs)} times")
                continue
            state, said = jobs[0].get("state"), self.status(key)
            if state not in wish.states:
                found.append(f"{key} is {state}, not {' or '.join(wish.states)}: {jobs[0].get('error')}")
            if (said.get("state"), said.get("folder")) != (state, jobs[0].get("folder", "")):
                found.append(f"status/ says {key} is {said.get('state')} in {said.get('folder')}, the record {state}")
            films = len(self._films(jobs[0]))
            if state == "completed" and films != wish.films:
                found.append(f"{key} has {films} films")
            if bool(jobs[0].get("folder")) != wish.folder and state == "cancelled":
                found.append(f"{key} lies in {jobs[0].get('folder')!r}")
        return found

    def _films(self, record: Mapping[str, Any]) -> list[Path]:
        """The films that came out of this job's attempts, wherever they lie below the home."""
        mark = f"a film of {record['id']}".encode()
        films = []
        for top in self.trees():
            films += [path for path in top.rglob("*") if path.is_file() and _is_marked(path.read_bytes(), mark)]
        return films

    def _wrong_folders(self, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Each job in exactly one folder, which says the same as the record."""
        found: list[str] = []
        places: dict[str, list[Path]] = {}
        for top in self.tops():
            for path in top.rglob("*.status.json"):
                said = json.loads(path.read_bytes())
                if "before" not in path.parts:
                    places.setdefault(said["id"], []).append(path.parent)
                record = records.get(said["id"])
                if record is not None and said["state"] != record["state"]:
                    found.append(f"{path} says {said['state']}, the record {record['state']}")
                if record is not None and (self.root / record.get("folder", "")) != path.parent:
                    found.append(f"{path.parent} is recorded as {record.get('folder')}")
                found += self._wrong_outputs(path, said)
        for job_id, record in records.items():
            folder, lies = record.get("folder", ""), places.get(job_id, [])
            if folder and len(lies) != 1:
                found.append(f"{key_of(record)} lies in {len(lies)} folders: {', '.join(map(str, lies))}")
        return found

    def _wrong_outputs(self, status: Path, said: Mapping[str, Any]) -> list[str]:
        found = []
        for output in said["outputs"]:
            path = status.parent / output["path"]
            if output.get("frames"):
                if len(list(path.parent.glob("*.png"))) != output["frames"]:
                    found.append(f"{path} has not {output['frames']} frames")
            elif not path.is_file() or path.stat().st_size != output["bytes"]:
                found.append(f"{path} is not there whole")
            elif output["sha256"] and hashlib.sha256(path.read_bytes()).hexdigest() != output["sha256"]:
                found.append(f"{path} is not what was rendered")
        return found

    def _wrong_payloads(self, expected: Mapping[str, Expected]) -> list[str]:
        """Nothing that people dropped is lost, changed or doubled."""
        counted = Counter(
            path.read_bytes()
            for top in self.trees()
            for path in top.rglob("*")
            if path.is_file() and not path.is_symlink()
        )
        withdrawn = {key for key, wish in expected.items() if not wish.folder}
        return [
            f"{name} is there {counted[data]} times"
            for name, data in self.payloads.items()
            if counted[data] != (Path(name).stem not in withdrawn)
        ]

    def _left_over(self) -> list[str]:
        found = []
        for top in (*self.tops(), self.root / "status", self.state):
            for path in top.rglob("*"):
                if is_half_written(path.name) or path.name.startswith(_OURS) or path.name.endswith(_HALVES):
                    found.append(f"{path} was left")
        found += [f"{path} was left" for path in (self.root / "active").rglob("*") if path.is_file()]
        for name in ("attempts", "zip"):
            work = Path(self.settings["nexrender"].get("work_dir") or self.state / "work")
            for folder in work.rglob(name):
                found += [f"{path} was left" for path in folder.iterdir()]
        found += [f"{path} was left" for path in (self.root / "films").glob(".*")]
        found += [f"{path} was left" for path in (self.root / ".farm").glob("*")]
        return found

    def _wrong_starts(self, expected: Mapping[str, Expected]) -> list[str]:
        starts = self.starts()
        return [
            f"{key} was started {starts[Path(key).name]} times, {wish.starts} wanted and {self.kills} kills"
            for key, wish in expected.items()
            if starts[Path(key).name] > wish.starts + self.kills
        ]

    def _said_in_the_log(self) -> list[str]:
        try:
            said = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [f"the log holds a {word}" for word in ("Traceback", "fault in watchrender itself") if word in said]

    def lose_record(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)
        self.lost = True


def _is_marked(data: bytes, mark: bytes) -> bool:
    """A film of the stand-in begins with its mark; one that can be played ends with it."""
    return data.startswith(mark) or mark in data[-200:]


def key_of(record: Mapping[str, Any]) -> str:
    sub = record.get("sub", "")
    return f"{sub}/{record['name']}" if sub else str(record["name"])
