"""A hot folder that is to be harmed, served by the real command with the real nexrender: `watchrender run`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.harm.kit import REPOSITORY, Expected, Harmed, key_of
from watchrender.render.simulator import write_project

#: How long a service may take to end by itself, on a machine that has much else to do.
ENDS_WITHIN = 120.0


class Command:
    """Starts the real command; the same questions as to a `Forge`."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, config: Path, env: Mapping[str, str], log: Path) -> int:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("WATCHRENDER_")}
        environ |= {"WATCHRENDER_DATA_DIR": str(self._data), "PYTHONPATH": str(REPOSITORY), **env}
        with open(log, "ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "watchrender", "run", "-c", str(config)],
                cwd=config.parent,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._started[process.pid] = process
        return process.pid

    def signal(self, pid: int, number: int) -> None:
        self._started[pid].send_signal(number)  # nothing happens if it has ended

    def code(self, pid: int) -> int | None:
        return self._started[pid].poll()

    def wait(self, pid: int, seconds: float = ENDS_WITHIN) -> int:
        return self._started[pid].wait(max(seconds, ENDS_WITHIN))


@dataclass(kw_only=True)
class RealHarmed(Harmed):
    """Jobs that flow, each in another form, and what must have become of each."""

    expected: dict[str, Expected] = field(default_factory=dict)

    def configure(self) -> None:
        super().configure()
        del self.settings["nexrender"]["command"], self.settings["nexrender"]["env"]
        self.settings |= {
            "watch": {"scan_interval": "200ms", "settle": "300ms", "cut_off": "500ms"},
            "limits": {"min_free_disk": "1MiB", "terminate_grace": "2s"},
            "verify": {"probe": "auto"},
        }
        self.config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")

    def drop_next(self, chance: random.Random) -> str:
        """Drop one more job, in one of the ways that people know. Its key."""
        name = f"job{len(self.expected):02}"
        ways = [self._plain, self._plain, self._in_a_sub_folder, self._bundle, self._elsewhere, self._flaky]
        ways += [self._failing, self._cancelled]
        key, expected = chance.choice(ways)(name)
        self.expected[key] = expected
        return key

    def _written(self, name: str, **more: Any) -> Path:
        path = write_project(self.projects / f"{name}.aep", frames=8, width=64, height=36, **more)
        os.utime(path, (1.7e9, 1.7e9))
        return path

    def _document(self, name: str, composition: str = "Main", **project: Any) -> bytes:
        src = str(self._written(name, **project))
        template = {"src": src, "composition": composition, "outputExt": "mp4"}
        return json.dumps({"template": template, "name": name}).encode()

    def _whole(self, path: str, data: bytes) -> None:
        """Lay a file into the inbox that is whole from its first moment."""
        place = self.inbox / path
        place.parent.mkdir(parents=True, exist_ok=True)
        hidden = place.with_name(f".{place.name}.tmp")
        hidden.write_bytes(data)
        self.payloads[f"inbox/{path}"] = data
        hidden.rename(place)

    def _plain(self, name: str) -> tuple[str, Expected]:
        self._whole(f"{name}.yaml", f"tags: [{name}]\n".encode())
        self._whole(f"p80_{name}.json", self._document(name))
        return name, Expected()

    def _in_a_sub_folder(self, name: str) -> tuple[str, Expected]:
        self._whole(f"client/{name}.json", self._document(name))
        return f"client/{name}", Expected()

    def _bundle(self, name: str) -> tuple[str, Expected]:
        hidden = self.inbox / f".{name}.tmp"
        hidden.mkdir()
        document = {"template": {"src": "spot.aep", "composition": "Main", "outputExt": "mp4"}, "name": name}
        (hidden / "job.json").write_text(json.dumps(document), encoding="utf-8")
        self._written(name).rename(hidden / "spot.aep")
        self.payloads[f"inbox/{name}/job.json"] = (hidden / "job.json").read_bytes()
        hidden.rename(self.inbox / name)
        return name, Expected()

    def _elsewhere(self, name: str) -> tuple[str, Expected]:
        self._whole(f"{name}.yaml", f"output: {self.root}/films/{{job}}.mp4  # {name}\n".encode())
        self._whole(f"{name}.json", self._document(name))
        return name, Expected()

    def _flaky(self, name: str) -> tuple[str, Expected]:
        behaviour = {"fail_times": 1, "failing": {"mode": "crash", "frame": 5}}
        self._whole(f"{name}.json", self._document(name, behaviour=behaviour))
        return name, Expected()

    def _failing(self, name: str) -> tuple[str, Expected]:
        self._whole(f"{name}.json", self._document(name, composition="Wrong"))
        return name, Expected(states=("failed",))

    def _cancelled(self, name: str) -> tuple[str, Expected]:
        self._whole(f"{name}.json", self._document(name))
        (self.inbox / f"{name}.cancel").touch()
        return name, Expected(states=("cancelled", "completed"))  # whichever comes first

    # -- what must hold -------------------------------------------------------------------------------------

    def films_of(self, name: str) -> list[Path]:
        """Every film of this job, whole or not, wherever it lies."""
        return [path for path in self.root.rglob(f"*{name}*.mp4") if path.is_file()]

    def _films(self, record: Mapping[str, Any]) -> list[Path]:
        return self.films_of(str(record["name"]))

    def faults(self, expected: Mapping[str, Expected]) -> list[str]:
        found = super().faults(expected)
        for record in self.records().values():
            films = self.films_of(str(record["name"]))
            if record["state"] != "completed" and films:
                found.append(f"{key_of(record)} is {record['state']}, and there is {films[0]}")
        return found
