"""A stand-in for systemctl: keeps what it is told, starts the unit's command under the notify protocol, ends it.

Called as `systemctl …` with the folder of its memory in FAKE_MANAGER.
"""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_MANAGER"])


def unit_lines(name: str, key: str) -> list[str]:
    unit = Path(os.environ["XDG_CONFIG_HOME"], "systemd", "user", name).read_text(encoding="utf-8")
    return [line.split("=", 1)[1] for line in unit.splitlines() if line.startswith(f"{key}=")]


def alive(name: str) -> int | None:
    try:
        pid = int((HOME / f"{name}.pid").read_text(encoding="ascii"))
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        return pid if state != "Z" else None
    except (OSError, ValueError):
        return None


def stop(name: str) -> None:
    pid = alive(name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    while alive(name) is not None:
        time.sleep(0.05)


def start(name: str) -> int:
    """As systemd does for Type=notify: it has started when it says so."""
    address = str(HOME / "notify")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(30)
        variables = dict(shlex.split(line)[0].split("=", 1) for line in unit_lines(name, "Environment"))
        with open(HOME / "journal", "ab") as journal:
            process = subprocess.Popen(
                shlex.split(unit_lines(name, "ExecStart")[0].replace("$$", "$").replace("%%", "%")),
                cwd=unit_lines(name, "WorkingDirectory")[0],
                env={"HOME": os.environ["HOME"], "NOTIFY_SOCKET": address, **variables},
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
                start_new_session=True,
            )
        (HOME / f"{name}.pid").write_text(str(process.pid), encoding="ascii")
        while b"READY=1" not in listening.recv(4096):
            pass
    return 0


def main() -> int:
    words = [word for word in sys.argv[1:] if word not in ("--user", "--now")]
    with open(HOME / "told", "a", encoding="utf-8") as file:
        file.write(json.dumps(sys.argv[1:]) + "\n")
    verb, name = words[0], words[-1]
    enabled = HOME / f"{name}.enabled"
    if verb == "enable":
        enabled.touch()
    elif verb == "restart":
        stop(name)
        return start(name)
    elif verb == "disable":
        enabled.unlink(missing_ok=True)
        stop(name)
    elif verb == "is-enabled":
        print("enabled" if enabled.exists() else "disabled")
    elif verb == "is-active":
        print("active" if alive(name) else "inactive")
    return 0


if __name__ == "__main__":
    sys.exit(main())
