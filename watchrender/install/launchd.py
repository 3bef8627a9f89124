"""launchd: an agent of the user's own session, because After Effects needs its windows. Never a daemon.

`KeepAlive` on failure only, so that `watchrender stop` and `drain` end it for good; `ProcessType=Interactive`, else
macOS slows it down as a background task.
"""

from __future__ import annotations

import os
import plistlib
from pathlib import Path
from typing import Any

from watchrender.install.plan import Plan, Standing
from watchrender.install.run import ask
from watchrender.logs import LAUNCHD

#: launchd sends SIGKILL after so many seconds at the latest; a day stands for "however long it takes".
_LONGEST_STOP = 86_400


class Launchd:
    """The user's own launchd."""

    name = "launchd"

    def __init__(self, *, home: Path | None = None, uid: int | None = None) -> None:
        self._home = home or Path.home()
        self._domain = f"gui/{_uid() if uid is None else uid}"

    def label(self, name: str) -> str:
        return f"local.{name}"

    def file(self, plan_name: str) -> Path:
        return self._home / "Library" / "LaunchAgents" / f"{self.label(plan_name)}.plist"

    def text(self, plan: Plan) -> bytes:
        said = str(plan.state_dir / LAUNCHD)
        agent: dict[str, Any] = {
            "Label": self.label(plan.name),
            "ProgramArguments": list(plan.command),
            "WorkingDirectory": str(plan.folder),
            "EnvironmentVariables": dict(plan.variables),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ProcessType": "Interactive",
            "LimitLoadToSessionType": "Aqua",
            "ExitTimeOut": plan.stop_seconds or _LONGEST_STOP,
            "StandardOutPath": said,
            "StandardErrorPath": said,
        }
        return plistlib.dumps(agent, sort_keys=False)

    def install_commands(self, name: str) -> list[list[str]]:
        target = f"{self._domain}/{self.label(name)}"
        return [
            ["launchctl", "enable", target],
            ["launchctl", "bootstrap", self._domain, str(self.file(name))],
            ["launchctl", "kickstart", target],
        ]

    def uninstall_commands(self, name: str) -> list[list[str]]:
        return [["launchctl", "bootout", f"{self._domain}/{self.label(name)}"]]

    def after_uninstall(self, name: str) -> list[list[str]]:
        return []

    def standing(self, name: str) -> Standing:
        installed = self.file(name).is_file()
        said = ask(["launchctl", "print", f"{self._domain}/{self.label(name)}"])
        if said is None:
            return Standing(installed=installed, starts_by_itself=False, running=False, words="not loaded")
        running = "state = running" in said
        return Standing(
            installed=installed, starts_by_itself=True, running=running, words="running" if running else "ended"
        )

    def hints(self, name: str) -> list[str]:
        return ["it runs while this user is logged in: let the machine log in by itself after a restart"]


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
