"""The real command, the real nexrender from npm, a simulated After Effects: the kit of the tests from outside.

Nothing here looks into the service: what is known of it is what its folder, its exit codes and its words tell.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.line import until
from watchrender.render.simulator import write_project


class Real:
    """A hot folder served by the real command."""

    def __init__(self, home: Path, data: Path, aerender: Path) -> None:
        self.home, self.root, self.projects = home, home / "root", home / "projects"
        self.aerender = aerender
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("WATCHRENDER_")}
        self.environment |= {"WATCHRENDER_DATA_DIR": str(data), "HOME": str(home)}
        (self.root / "inbox").mkdir(parents=True)
        self.projects.mkdir()
        self.config = home / "watchrender.yaml"
        self.settings: dict[str, Any] = {
            "root": str(self.root),
            "state_dir": str(home / "state"),
            "nexrender": {"aerender": str(aerender)},
            "retry": {"first_wait": "200ms", "max_wait": "400ms"},
            "limits": {"min_free_disk": "1MiB", "terminate_grace": "2s"},
            "server": {"enabled": False},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        self.config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return [sys.executable, "-m", "watchrender", *words, "-c", str(self.config)]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *, up: bool = True) -> subprocess.Popen[bytes]:
        """Start the service; `up`: and wait until it says that it is there."""
        log = open(self.home / "service.log", "ab")  # noqa: SIM115  (the child has it)
        self.process = subprocess.Popen(
            self.command("run"), env=self.environment, cwd=self.home, stdout=log, stderr=log
        )
        log.close()
        if up:
            until(
                lambda: self.process.poll() is not None or self.overview("service").get("pid") == self.process.pid, 40
            )
        return self.process

    def said(self) -> str:
        return (self.home / "service.log").read_text(encoding="utf-8", errors="replace")

    def end(self, sign: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sign)
        return self.process.wait(30)

    def kill(self) -> None:
        """It is gone, if it was there."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def project(self, name: str, **more: Any) -> Path:
        path = write_project(self.projects / f"{name}.aep", frames=25, layers=["headline"], **more)
        os.utime(path, (time.time() - 3600, time.time() - 3600))
        return path

    def job(self, project: Path, composition: str = "Main", **more: Any) -> dict[str, Any]:
        return {"template": {"src": str(project), "composition": composition, "outputExt": "mp4"}, **more}

    def drop(self, name: str, project: Path, composition: str = "Main", **more: Any) -> None:
        self.put(name, json.dumps(self.job(project, composition, **more)))

    def put(self, name: str, text: str | bytes) -> None:
        """Lay a file into the inbox, whole from its first moment."""
        hidden = (self.root / "inbox" / name).with_name(f".{Path(name).name}.tmp")
        hidden.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_bytes(text.encode() if isinstance(text, str) else text)
        hidden.rename(self.root / "inbox" / name)

    def status(self, key: str) -> dict[str, Any]:
        return self.overview(f"{key}.status")

    def overview(self, name: str) -> dict[str, Any]:
        """What a file in status/ says; empty where there is none (yet)."""
        try:
            found: dict[str, Any] = json.loads((self.root / "status" / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found  # a file that is there is whole: a ValueError would be the finding

    def wait(self, key: str, *states: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = until(lambda: (s := self.status(key)).get("state") in states and s, 60)
        except AssertionError:
            raise AssertionError(f"{key} is not {states}: {json.dumps(self.status(key), indent=1)}") from None
        return found

    def rendering(self, key: str) -> dict[str, Any]:
        """The status of a job once frames of it are rendered."""
        found: dict[str, Any] = until(lambda: (s := self.status(key)).get("progress", {}).get("percent") and s, 60)
        return found

    def places(self, key: str) -> list[str]:
        """Every folder that holds the files of this job."""
        name = key.rpartition("/")[2]
        found = []
        for top in ("inbox", "active", "done", "failed", "cancelled"):
            for path in (self.root / top).rglob(f"*{name}*.json"):
                if not path.name.endswith(".status.json") and not path.name.startswith("."):
                    found.append(top)
        return found

    def stray(self) -> list[str]:
        """What still runs of the renders of this folder."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if str(self.home) in words and "watchrender run" not in words:
                found.append(words)
        return found


class Watched(Real):
    """A real service with its page, on a root that can be taken away."""

    def __init__(self, home: Path, data: Path, aerender: Path) -> None:
        super().__init__(home, data, aerender)
        self.settings["server"] = {"enabled": True, "port": 0}
        self.settings["watch"] = {"scan_interval": "200ms", "settle": "500ms"}

    def up(self) -> None:
        self.start()
        self.address = until(lambda: self.overview("service").get("address"), 60)

    def ask(self, path: str) -> tuple[int, Any]:
        """The answer of the running service to a question over HTTP."""
        url = f"http://127.0.0.1:{self.address[1]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def waits_for(self) -> list[str]:
        """What /readyz says that the queue waits for."""
        code, answer = self.ask("/readyz")
        return [] if code == 200 else [found["code"] for found in answer["waiting"]]

    def goes_offline(self) -> None:
        until(lambda: self.waits_for() == ["SHARE_OFFLINE"], 60)

    def comes_back(self) -> None:
        until(lambda: self.ask("/readyz")[0] == 200, 60)

    def stray(self) -> list[str]:
        return [words for words in super().stray() if not words.startswith("bindfs")]

    def stray_renders(self) -> list[str]:
        """The renders that run: nexrender, aerender, and what they started, but nobody who only waits to be used."""
        return [words for words in self.stray() if "--file" in words or "aerender" in words]

    def times_said(self, words: str) -> int:
        return sum(words in line for line in self.said().splitlines())
