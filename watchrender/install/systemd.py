"""systemd: a unit of the user, or of the system under a user of its own.

`Type=notify`: the service says when it serves and that it is alive. At the end SIGTERM goes to the service alone
(`KillMode=mixed`): it ends the render itself and puts the job back; had the renderer been ended under its hands, that
would have been a failed try. The folder of temporary files is not made private: the lock that keeps two services off
one root lies there, and has to be seen by all.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from watchrender.install.plan import Plan, Standing
from watchrender.install.run import ask

#: What a user's own manager can do as well.
_FENCES = (
    "NoNewPrivileges=yes",
    "RestrictSUIDSGID=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
)
_SYSTEM_FENCES = (
    "ProtectSystem=full",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "CapabilityBoundingSet=",
)


class Systemd:
    """One of the two managers: the user's, or the system's."""

    name = "systemd"

    def __init__(self, *, system: bool = False, home: Path | None = None) -> None:
        self.system = system
        self._home = home or Path.home()

    def file(self, plan_name: str) -> Path:
        if self.system:
            return Path("/etc/systemd/system") / f"{plan_name}.service"
        config = Path(os.environ.get("XDG_CONFIG_HOME") or self._home / ".config")
        return config / "systemd" / "user" / f"{plan_name}.service"

    def text(self, plan: Plan) -> bytes:
        return "\n".join([*self._unit(plan), "", *self._service(plan), "", *self._install(), ""]).encode()

    def _unit(self, plan: Plan) -> list[str]:
        lines = ["[Unit]", f"Description={_escaped(plan.description)}", "StartLimitIntervalSec=0"]
        if self.system:
            lines += ["Wants=network-online.target", "After=network-online.target remote-fs.target"]
            lines.append(f"RequiresMountsFor={_quoted(str(plan.root))}")
        return lines

    def _service(self, plan: Plan) -> list[str]:
        stop = "infinity" if plan.stop_seconds is None else f"{plan.stop_seconds}s"
        folder = "/etc/watchrender" if self.system else "%h/.config/watchrender"
        lines = [
            "[Service]",
            "Type=notify",
            f"ExecStart={' '.join(_quoted(word.replace('$', '$$')) for word in plan.command)}",
            f"WorkingDirectory={_escaped(str(plan.folder))}",
            *(f"Environment={_quoted(f'{name}={value}')}" for name, value in plan.variables.items()),
            "# Tokens and secrets, as WATCHRENDER_SERVER__TOKEN=…; readable for this user alone.",
            f"EnvironmentFile=-{folder}/{plan.name}.env",
            "Restart=on-failure",
            "RestartSec=10s",
            "# 4: another service serves this root.",
            "RestartPreventExitStatus=4",
            "# A share that is not there yet is waited for.",
            "TimeoutStartSec=infinity",
            f"TimeoutStopSec={stop}",
            f"WatchdogSec={plan.watchdog_seconds}s",
            "KillMode=mixed",
        ]
        if self.system:
            lines.append(f"User={plan.user or 'watchrender'}")
        return [*lines, *_FENCES, *(_SYSTEM_FENCES if self.system else ())]

    def _install(self) -> list[str]:
        return ["[Install]", f"WantedBy={'multi-user.target' if self.system else 'default.target'}"]

    def install_commands(self, name: str) -> list[list[str]]:
        return [
            self._ctl("daemon-reload"),
            self._ctl("enable", f"{name}.service"),
            self._ctl("restart", f"{name}.service"),
        ]

    def uninstall_commands(self, name: str) -> list[list[str]]:
        return [self._ctl("disable", "--now", f"{name}.service")]

    def after_uninstall(self, name: str) -> list[list[str]]:
        # One that had failed is listed as such for ever, although its file is gone.
        return [self._ctl("daemon-reload"), self._ctl("reset-failed", f"{name}.service")]

    def standing(self, name: str) -> Standing:
        installed = self.file(name).is_file()
        enabled = ask(self._ctl("is-enabled", f"{name}.service"))
        active = ask(self._ctl("is-active", f"{name}.service"))
        return Standing(
            installed=installed,
            starts_by_itself=None if enabled is None else enabled == "enabled",
            running=None if active is None else active in ("active", "reloading", "activating"),
            words=active or "",
        )

    def hints(self, name: str) -> list[str]:
        journal = f"journalctl {'' if self.system else '--user '}-u {name} -f"
        found = [f"its log: {journal}"]
        if not self.system:
            found.append("to keep it running when nobody is logged in: loginctl enable-linger")
        return found

    def _ctl(self, *words: str) -> list[str]:
        return ["systemctl", *([] if self.system else ["--user"]), *words]


def _escaped(text: str) -> str:
    """For systemd a percent sign begins a specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """One word of a command line or list, whatever is in it."""
    text = _escaped(word)
    if re.fullmatch(r"[\w@%+=:,./$-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
