"""Intake turn by turn on real folders and a real ledger, with a clock that stands still between turns."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from watchrender.closing import Closer
from watchrender.config import load
from watchrender.control import Control
from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.gate import Gate
from watchrender.intake import Intake, Pace
from watchrender.judge import Judge
from watchrender.ledger.ledger import Ledger
from watchrender.render.footage import Footage
from watchrender.spool.folders import Folders

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Hand:
    """A hot folder whose time only moves when it is told to. No service, no renderer."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self.root = home / "root"
        self.inbox = self.root / "inbox"
        self.projects = home / "projects"
        for folder in (self.inbox, self.projects):
            folder.mkdir(parents=True, exist_ok=True)
        self.settings = {"root": str(self.root), **settings}
        self.seconds = 1000.0
        self.put_back: list[tuple[str, str]] = []
        self.started: dict[str, float] = {}
        self.project("spot")
        self.open()

    def open(self) -> None:
        """As a start of the service does."""
        config = load(yaml.safe_dump(self.settings), "watchrender.yaml", {})
        self.config = config
        self.folders = Folders(self.root, config.folders)
        self.folders.prepare()
        self.ledger = Ledger(self.home / "ledger", now=self.now, sync="never")
        self.gate = Gate(stamp=self.ledger.stamp, clock=self.clock)
        self.closer = Closer(folders=self.folders, ledger=self.ledger, log_of=lambda _job: b"", clock=self.clock)
        self.control = Control(ledger=self.ledger, folders=self.folders, gate=self.gate, look=lambda: None)
        self.judge = judge = Judge(
            config=config,
            folders=self.folders,
            ledger=self.ledger,
            footage=Footage(self.home / "work", clock=self.clock),
            module_installed=lambda _name: True,
            now=self.now,
            settle_seconds=2.0,
        )
        self.intake = Intake(
            folders=self.folders,
            ledger=self.ledger,
            gate=self.gate,
            judge=judge,
            control=self.control,
            closer=self.closer,
            pace=Pace(scan=2.0, settle=2.0, cut_off=20.0, assets_deadline=60.0),
            ignore=tuple(config.watch.ignore),
            put_back=lambda job_id, why: self.put_back.append((job_id, why)),
            started_at=self.started.get,
            clock=self.clock,
            limit=3.0,
        )
        self.ledger.listen(
            lambda change: (
                self.closer.soon(change.job)
                if change.job.state is State.CANCELLED and not self.closer.is_closed(change.job)
                else None
            )
        )

    def close(self) -> None:
        self.intake.close()
        self.ledger.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    # -- time -----------------------------------------------------------------------------------------------

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def turn(self, *paths: Path) -> float:
        """One turn; `paths` are what events told of."""
        wait = self.intake.turn([str(path) for path in paths])
        self.closer.turn()
        return wait

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Turns, so many seconds long."""
        self.turn()
        for _ in range(round(seconds / step)):
            self.seconds += step
            self.turn()

    # -- the folder -----------------------------------------------------------------------------------------

    def project(self, name: str, folder: Path | None = None) -> Path:
        """A project that was saved long ago."""
        path = (folder or self.projects) / f"{name}.aep"
        path.write_text("a project", encoding="utf-8")
        os.utime(path, (time.time() - 3600, time.time() - 3600))
        return path

    def document(self, composition: str = "Main", **more: Any) -> dict[str, Any]:
        return {"template": {"src": str(self.projects / "spot.aep"), "composition": composition}, **more}

    def drop(self, name: str, content: Any = None) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, (str, bytes)) else json.dumps(content or self.document())
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def sidecar(self, name: str, **said: Any) -> Path:
        return self.drop(name, yaml.safe_dump(said))

    # -- what became of it ----------------------------------------------------------------------------------

    def job(self, key: str) -> Job:
        found = self.ledger.live_by_key(key) or self.ledger.newest_over(key)
        assert found is not None, f"no job {key}; there are {self.keys()}"
        return found

    def keys(self) -> list[str]:
        return [job.key for job in sorted(self.ledger.live(), key=lambda job: job.arrival)]

    def queue(self) -> list[str]:
        return [job.key for job in self.ledger.queue()]

    def start(self, key: str) -> Job:
        """As the worker does: recorded, then claimed."""
        job = self.ledger.apply(self.job(key).id, Event.START, "next in the queue", started_at=self.ledger.stamp())
        folder = self.folders.claim(job)
        self.started[job.id] = self.seconds
        return self.ledger.note(job.id, begun=True, folder=self.folders.relative(folder))

    def fail(self, key: str) -> Job:
        """The job renders no more, and lies in failed/."""
        from watchrender.core.failure import Code, fail

        failure = fail(Code.RENDER_FAILED, "it did not render")
        return self.closer.close(self.job(key), Event.GIVE_UP, failure.message, error=failure.to_dict())

    def finish(self, key: str) -> Job:
        return self.closer.close(self.job(key), Event.FINISH, "rendered")

    def whys(self, key: str) -> list[str]:
        return [str(line["why"]) for line in self.job(key).history]

    def lies(self, *parts: str) -> bool:
        return os.path.lexists(self.root.joinpath(*parts))
