"""The service as a process of its own, as people run it: `watchrender run -c FILE`, and commands beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.line import Line, until


class Lived(Line):
    """A hot folder whose service is a real process. HTTP is off."""

    process: subprocess.Popen[bytes] | None = None

    @property
    def config_file(self) -> Path:
        path = self.home / "watchrender.yaml"
        path.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return path

    def run(self, *, ready: bool = True, through: Sequence[str] = (), **more: Any) -> subprocess.Popen[bytes]:
        """Start it (`through` another command), and wait until it has looked once."""
        command = [*through, sys.executable, "-m", "watchrender", "run", "-c", str(self.config_file)]
        with open(self.home / "service.out", "ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **more)
        if ready:
            until(lambda: self.said().get("pid") == self.process_id and self.said().get("state") != "starting", 60)
        return self.process

    @property
    def process_id(self) -> int:
        assert self.process is not None
        return self.process.pid

    def said(self) -> dict[str, Any]:
        """What service.json says."""
        try:
            found: dict[str, Any] = json.loads((self.root / "status" / "service.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def output(self) -> str:
        return (self.home / "service.out").read_text(encoding="utf-8", errors="replace")

    def ends(self, seconds: float = 60) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the service did not end: {self.output()[-3000:]}") from None

    def terminate(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.ends()

    def peak_mebibytes(self) -> float:
        """The most memory it ever had."""
        text = Path(f"/proc/{self.process_id}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM"))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process_id).children(recursive=True)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command beside it. Its words and exit code."""
        return subprocess.run(
            [sys.executable, "-m", "watchrender", *words],
            env={**os.environ, "WATCHRENDER_CONFIG": str(self.config_file), "NO_COLOR": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@contextmanager
def living(lived: Lived) -> Iterator[Lived]:
    """It runs inside, and is ended whatever happens."""
    try:
        lived.run()
        yield lived
    finally:
        if lived.process is not None and lived.process.poll() is None:
            lived.process.kill()
            lived.process.wait()
