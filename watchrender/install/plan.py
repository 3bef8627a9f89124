"""What is to be started at boot or log-on: the words, the variables, the times. The same for all three systems."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Protocol

from watchrender.config import Config, default_state_dir

#: Reads of a share may hang this long without the service being ill.
_WATCHDOG_SECONDS = 300
_STOP_SECONDS = 60
#: Ours, and still no settings: where the set of nexrender is.
_CARRIED = ("WATCHRENDER_DATA_DIR",)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One service to be installed."""

    name: str
    command: tuple[str, ...]
    root: PurePath
    state_dir: PurePath
    folder: PurePath  # where it is started
    variables: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: int | None = _STOP_SECONDS  # None: a render is finished first, however long that takes
    watchdog_seconds: int = _WATCHDOG_SECONDS
    user: str | None = None  # of a unit of the system; None: the user who installs

    @property
    def description(self) -> str:
        return f"watchrender: the hot folder {self.root}"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an installed service stands with its manager."""

    installed: bool
    starts_by_itself: bool | None = None  # None: cannot be told
    running: bool | None = None
    words: str = ""


class Manager(Protocol):
    """systemd, launchd, or Task Scheduler: where its file lies, and the words that make it take it."""

    name: str

    def file(self, plan_name: str) -> Path:
        """Where the definition is written."""
        ...

    def text(self, plan: Plan) -> bytes:
        """The definition."""
        ...

    def install_commands(self, name: str) -> list[list[str]]:
        """What makes the manager start it now and from now on."""
        ...

    def uninstall_commands(self, name: str) -> list[list[str]]:
        """What ends it and makes the manager forget it, while its file is still there."""
        ...

    def after_uninstall(self, name: str) -> list[list[str]]:
        """What is left to do when its file is gone."""
        ...

    def standing(self, name: str) -> Standing:
        """Ask the manager."""
        ...

    def hints(self, name: str) -> list[str]:
        """What a person should know after an installation."""
        ...


def make_plan(
    config: Config,
    source: Path,
    *,
    name: str,
    user: str | None = None,
    environ: Mapping[str, str] | None = None,
    python: str | None = None,
) -> Plan:
    """The plan for a configuration file."""
    given = os.environ if environ is None else environ
    variables = {found: given[found] for found in _CARRIED if given.get(found)}
    if os.name != "nt":
        variables["PATH"] = _path(given.get("PATH", ""))
    scan = config.watch.scan_interval
    return Plan(
        name=name,
        command=(python or _python(), "-m", "watchrender", "run", "--config", str(source.absolute())),
        root=config.root,
        state_dir=default_state_dir(config.root, config),
        folder=source.absolute().parent,
        variables=variables,
        stop_seconds=None if config.shutdown == "finish" else _STOP_SECONDS + round(config.limits.terminate_grace),
        watchdog_seconds=max(_WATCHDOG_SECONDS, 4 * round(scan) if isinstance(scan, float) else 0),
        user=user,
    )


def left_behind(environ: Mapping[str, str]) -> list[str]:
    """Settings that come from this shell's variables and will not be there when the service is started."""
    others = {"WATCHRENDER_CONFIG", *_CARRIED}
    return sorted(name for name in environ if name.startswith("WATCHRENDER_") and name not in others)


def check_name(name: str) -> str | None:
    """What is wrong with a service's name."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}", name):
        return None
    return f"{name!r} is no name for a service: letters, digits, - and _ are"


def _python() -> str:
    """This Python; on Windows the one without a console window."""
    windowless = Path(sys.executable).with_name("pythonw.exe")
    return str(windowless) if os.name == "nt" and windowless.is_file() else sys.executable


def _path(path: str) -> str:
    """Where programs are: what this shell knows, and where people's node usually is. Only full paths."""
    usual = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
    if sys.platform == "darwin":
        usual.insert(0, "/opt/homebrew/bin")
    return ":".join(dict.fromkeys(part for part in [*path.split(":"), *usual] if part.startswith("/")))
