"""A real SMB server for tests: Debian's smbd with a config, a port and a user database of its own, on loopback; and
clients of it that speak the protocol themselves (smbprotocol), each over a connection of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.stand import end_process
from tests.waiting import free_port, until

SHARE, PASSWORD = "renders", "a password for tests"
_PLACES = ("private", "lock", "state", "cache", "pid", "ncalrpc")


def cannot_serve() -> str | None:
    """Why there can be no SMB server here; None: there can."""
    if not sys.platform.startswith("linux"):
        return "Samba is tried on Linux"
    if os.geteuid() != 0:
        return "smbd needs root rights to let its users in"
    if shutil.which("smbd") is None or shutil.which("smbpasswd") is None:
        return "there is no Samba server program"
    try:
        import smbclient  # noqa: F401
    except ImportError:
        return "smbprotocol is not installed"
    return None


class SmbServer:
    """`folder`, exported as a share."""

    def __init__(self, folder: Path) -> None:
        self.user = getpass.getuser()
        # Sockets of smbd lie in these folders: their paths must be short.
        self._home = Path(tempfile.mkdtemp(prefix="smb-"))
        self.port = free_port()
        self._config = self._home / "smb.conf"
        for name in _PLACES:
            (self._home / name).mkdir()
        self._config.write_text(self._words(folder), encoding="utf-8")
        self._run("smbpasswd", "-c", str(self._config), "-a", "-s", self.user, said=f"{PASSWORD}\n{PASSWORD}\n")
        with open(self._home / "smbd.log", "ab") as log:
            self._process = subprocess.Popen(
                ["smbd", "--foreground", "--no-process-group", f"--configfile={self._config}", "--debug-stdout"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,  # at its end it ends its whole process group
            )  # fmt: skip
        try:
            until(lambda: self._process.poll() is not None or _answers(self.port), 60)
            assert self._process.poll() is None, (self._home / "smbd.log").read_text(errors="replace")
        except BaseException:
            self.end()
            raise

    def _words(self, folder: Path) -> str:
        places = "\n".join(f"{name} directory = {self._home / name}" for name in _PLACES[:-2])
        return f"""
[global]
server role = standalone server
netbios name = watchtest
disable netbios = yes
smb ports = {self.port}
bind interfaces only = yes
interfaces = lo
{places}
pid directory = {self._home / "pid"}
ncalrpc dir = {self._home / "ncalrpc"}
passdb backend = tdbsam:{self._home / "private" / "passdb.tdb"}
log level = 1
load printers = no
printing = bsd
printcap name = /dev/null
# As a Windows server does: a folder in which anybody has a file open is not renamed.
strict rename = yes
kernel oplocks = no

[{SHARE}]
path = {folder}
read only = no
force user = {self.user}
"""

    def _run(self, *words: str, said: str) -> None:
        done = subprocess.run(words, input=said, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def client(self) -> SmbClient:
        return SmbClient(self.port, self.user)

    def end(self) -> None:
        end_process(self._process, 10)
        shutil.rmtree(self._home, ignore_errors=True)


class SmbClient:
    """Another machine that uses the share: it opens files there, and keeps them open."""

    def __init__(self, port: int, user: str) -> None:
        self._with: dict[str, Any] = {
            "username": user, "password": PASSWORD, "port": port, "connection_cache": {},
        }  # fmt: skip

    def path(self, place: str) -> str:
        return rf"\\127.0.0.1\{SHARE}" + "\\" + place.replace("/", "\\")

    def open(self, place: str, *, shared: str = "r") -> Any:
        """A file that is open until it is closed. `shared`: what others may do meanwhile (r, w, d)."""
        import smbclient

        return smbclient.open_file(self.path(place), mode="rb", share_access=shared, buffering=0, **self._with)

    def write(self, place: str, data: bytes) -> None:
        import smbclient

        with smbclient.open_file(self.path(place), mode="wb", share_access="rwd", **self._with) as file:
            file.write(data)

    def rename(self, place: str, to: str) -> None:
        import smbclient

        smbclient.rename(self.path(place), self.path(to), **self._with)

    def listing(self, place: str) -> list[str]:
        import smbclient

        return list(smbclient.listdir(self.path(place), **self._with))

    def close(self) -> None:
        import smbclient

        smbclient.reset_connection_cache(fail_on_error=False, connection_cache=self._with["connection_cache"])


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
