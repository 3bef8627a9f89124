"""A machine of its own for systemd itself: namespaces in which it is the first process, with next to no units."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.line import until

SYSTEMD = next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if os.path.exists(path)), None)
booting = pytest.mark.skipif(
    not (sys.platform == "linux" and os.geteuid() == 0 and SYSTEMD and shutil.which("nsenter")),
    reason="needs Linux, root rights, systemd and nsenter",
)
#: What every unit stands on by default. Without these nothing starts; with Debian's own, half a machine would.
_TARGETS = ("sysinit", "basic", "multi-user", "default", "shutdown", "umount")
_BOOT = """
set -e
echo $$ > {cgroup}/cgroup.procs
exec unshare --pid --fork --kill-child --mount --mount-proc --cgroup --uts sh -c '
  set -e
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  mkdir -p /run/systemd/system
  mount -t tmpfs tmpfs /etc/systemd/system
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  for target in {targets}; do echo "[Unit]" > /etc/systemd/system/$target.target; done
  exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH=/etc/systemd/system {systemd} --system \
    --log-target=console --show-status=no
'
"""


class Machine:
    """It runs from `Machine(…)` to `close()`. Only pids, mounts, cgroup and host name are its own; disks are ours."""

    units = "/etc/systemd/system"

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / "console"
        self._cgroup = _unified() / f"watchrender-{uuid.uuid4().hex[:8]}"
        self._cgroup.mkdir()
        script = _BOOT.format(cgroup=self._cgroup, targets=" ".join(_TARGETS), systemd=SYSTEMD)
        with open(self._log, "wb") as said:
            self._outer = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        until(lambda: self._outer.poll() is not None or self._first() is not None, 60)
        if self._outer.poll() is not None:
            self.close()
            pytest.skip(f"systemd cannot be booted here: {self._log.read_text(errors='replace')[-500:]}")
        until(lambda: self._outer.poll() is not None or self.does("systemctl", "is-active", "default.target"), 60)

    def _first(self) -> int | None:
        """The pid of the machine's systemd as we see it."""
        with suppress(psutil.Error):
            for child in psutil.Process(self._outer.pid).children():
                if child.name() == "systemd":
                    return child.pid
        return None

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command within it."""
        command = ["nsenter", "-t", str(self._first()), "--mount", "--pid", "--cgroup", "--uts", "--", *words]
        env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"), **environment}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)

    def log_in(self, home: Path) -> User:
        """The user's own systemd, as a log-in starts it."""
        user = User(self, home)
        runtime, unit = user.environment["XDG_RUNTIME_DIR"], "\\n".join([
            "[Service]", "Type=notify", "Delegate=yes", f"ExecStart={SYSTEMD} --user",
            *(f'Environment="{name}={text}"' for name, text in user.environment.items()),
        ])  # fmt: skip
        self.run("sh", "-c", f"mkdir -p {runtime} && printf '{unit}' > /etc/systemd/system/user.service")
        assert self.does("systemctl", "daemon-reload") and self.does("systemctl", "start", "user.service"), self.said()
        return user

    def does(self, *words: str) -> bool:
        return self.run(*words).returncode == 0

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", *words)

    def show(self, unit: str, name: str) -> str:
        return self.ctl("show", unit, "--property", name, "--value").stdout.strip()

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Its first process dies, and all of it with it."""
        self._outer.kill()
        self._outer.wait()

        def gone() -> bool:
            for folder, _folders, _files in os.walk(self._cgroup, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)
            return not self._cgroup.exists()

        until(gone, 60)


class User:
    """Somebody who is logged in to a machine, and what systemd does for them alone."""

    units = "$XDG_CONFIG_HOME/systemd/user"

    def __init__(self, machine: Machine, home: Path) -> None:
        self._machine = machine
        self.environment = {
            "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "XDG_RUNTIME_DIR": "/run/user/0",
        }  # fmt: skip

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self._machine.run(*words, **self.environment, **environment)

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--user", *words)

    def show(self, unit: str, name: str) -> str:
        return self.ctl("show", unit, "--property", name, "--value").stdout.strip()

    def said(self) -> str:
        return self._machine.said()


def _unified() -> Path:
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        kind, place = line.split()[2], line.split()[1]
        if kind == "cgroup2":
            return Path(place)
    pytest.skip("needs cgroup v2")
