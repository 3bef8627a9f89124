"""The whole service in this process, in a thread, on a real folder: the kit of the tests of the flows.

The renderer is a real program (`fake_nexrender.py`), After Effects a folder that looks like one. Everything else is the
service as it is: real files, real ledger, real processes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.waiting import PATIENCE, until
from watchrender.config import load
from watchrender.render import simulator
from watchrender.service import Service

FAKE = Path(__file__).with_name("fake_nexrender.py")
FILM = Path(simulator.__file__).with_name("canned.mp4")


class Line:
    """A hot folder and its service."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self.root = home / "root"
        self.projects = home / "projects"
        for folder in (self.root / "inbox", self.projects):
            folder.mkdir(parents=True)
        self.project("spot")
        self.starts_file, self.sick_file = home / "starts", home / "sick"
        aerender = simulator.install_simulator(home / "Applications", patched=True)
        self.settings: dict[str, Any] = {
            "root": str(self.root),
            "state_dir": str(home / "state"),
            "node": "render-01",
            "watch": {"scan_interval": "100ms", "settle": "200ms", "cut_off": "600ms", "assets_deadline": "1s"},
            "nexrender": {
                "command": [sys.executable, "-S", str(FAKE)],
                "aerender": str(aerender),
                "env": {
                    "FAKE_STARTS": str(self.starts_file),
                    "FAKE_SICK": str(self.sick_file),
                    "FAKE_FILM": str(FILM),
                },
            },
            "retry": {"first_wait": "50ms", "max_wait": "100ms", "jitter": "0"},
            "limits": {"min_free_disk": "1MiB", "terminate_grace": "300ms", "finish_grace": "500ms"},
            "verify": {"probe": "off"},
            "delivery": {"previews": "off"},
            "server": {"enabled": False},
        }
        self.change(**settings)
        self.service: Service | None = None
        self.code: int | None = None
        self._thread: threading.Thread | None = None

    def change(self, **settings: Any) -> None:
        """Settings over the ones so far, section by section."""
        for name, value in settings.items():
            known = self.settings.get(name)
            self.settings[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value

    def project(self, name: str, folder: Path | None = None) -> Path:
        """A project that was saved long ago, so that nobody waits for it to settle."""
        path = (folder or self.projects) / f"{name}.aep"
        path.write_text("a project", encoding="utf-8")
        self.age(path)
        return path

    @staticmethod
    def age(path: Path) -> None:
        os.utime(path, (time.time() - 3600, time.time() - 3600))

    # -- the service ----------------------------------------------------------------------------------------

    def start(self) -> Line:
        config = load(yaml.safe_dump(self.settings), str(self.home / "watchrender.yaml"), {})
        self.service = service = Service(config, say=lambda _words: None)
        self.fault: BaseException | None = None

        def live() -> None:
            try:
                self.code = service.run()
            except BaseException as fault:
                self.fault = fault

        self._thread = threading.Thread(target=live, daemon=True)
        self._thread.start()
        until(lambda: self.fault or not self._thread or not self._thread.is_alive() or self._is_up())
        if self.fault is not None:
            raise self.fault
        return self

    def _is_up(self) -> bool:
        reports = getattr(self.service, "reports", None)
        return reports is not None and reports.state == "running"

    def mark(self, name: str) -> None:
        """Lay a control file into the inbox."""
        (self.root / "inbox" / name).touch()

    def overview(self) -> dict[str, Any]:
        """What service.json says; empty where there is none (yet)."""
        try:
            found: dict[str, Any] = json.loads((self.root / "status" / "service.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def waits_for(self) -> list[str]:
        """The codes that the queue waits for."""
        return [found["code"] for found in self.overview().get("waiting", [])]

    def stop(self) -> None:
        if self.service is not None and self._thread is not None:
            self.service.request_stop()
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive(), "the service did not stop"
        self.service = None

    # -- the folder -----------------------------------------------------------------------------------------

    def job(self, composition: str = "Main", project: str = "spot", **more: Any) -> dict[str, Any]:
        template = {"src": str(self.projects / f"{project}.aep"), "composition": composition, "outputExt": "mp4"}
        return {"template": template | more.pop("template", {}), **more}

    def drop(self, name: str, content: Any = None, sub: str = "") -> Path:
        """Put something into the inbox as a careful program does: whole from its first moment."""
        path = self.root / "inbox" / sub / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, (str, bytes)) else json.dumps(self.job() if content is None else content)
        hidden = path.with_name(f".{path.name}.tmp")
        hidden.write_bytes(data.encode() if isinstance(data, str) else data)
        hidden.rename(path)
        return path

    def status(self, key: str) -> dict[str, Any]:
        """What the status file says; empty where there is none (yet)."""
        try:
            found: dict[str, Any] = json.loads((self.root / "status" / f"{key}.status.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def wait(self, key: str, state: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The status of a job once it is in this state."""
        try:
            found: dict[str, Any] = until(lambda: (s := self.status(key)).get("state") == state and s, seconds)
        except AssertionError:
            raise AssertionError(f"{key} is not {state}: {json.dumps(self.status(key), indent=1)}") from None
        return found

    def starts(self) -> list[str]:
        """The compositions that were rendered, in order."""
        try:
            return [line.split()[0] for line in self.starts_file.read_text(encoding="utf-8").splitlines()]
        except OSError:
            return []

    def files(self, *parts: str) -> list[str]:
        """All files below a folder of the root, relative to it."""
        top = self.root.joinpath(*parts)
        while True:
            try:
                return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())
            except FileNotFoundError:
                pass  # a folder went away between its listing and the look into it

    def whys(self, key: str) -> list[str]:
        return [line["why"] for line in self.status(key).get("history", [])]


@contextmanager
def serving(line: Line) -> Iterator[Line]:
    """The service runs inside, and is stopped whatever happens."""
    try:
        yield line.start()
    finally:
        line.stop()
