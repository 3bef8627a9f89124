"""A signal may come at any moment of the main thread, also where it holds a lock."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.line import Line, until
from tests.process import Lived, living
from watchrender.config import load
from watchrender.service import Service


@pytest.mark.timeout(60)
def test_a_signal_that_comes_while_the_main_thread_wakes_itself_does_not_stand_it_still(tmp_path: Path) -> None:
    config = load(yaml.safe_dump({"root": str(tmp_path)}), str(tmp_path / "watchrender.yaml"), {})
    service = Service(config, say=lambda _words: None)

    def interrupted() -> None:
        with service._wake._cond:  # type: ignore[attr-defined]  # as within `_wake.set()` and `_wake.clear()`
            service._on_signal(15, None)

    main = threading.Thread(target=interrupted, daemon=True)
    main.start()
    main.join(30)

    assert not main.is_alive(), "it waits for a lock that it holds"
    until(service._wake.is_set)
    assert service._signals == 1


@pytest.mark.timeout(120)
def test_signals_that_go_on_until_the_last_moment_do_not_change_how_it_ended(tmp_path: Path) -> None:
    lived = Lived(tmp_path)
    with living(lived):
        assert lived.process is not None
        while lived.process.poll() is None:
            lived.process.send_signal(signal.SIGTERM)
            time.sleep(0.001)

        assert lived.ends() == 0


def test_a_signal_is_heard_soon_where_it_does_not_end_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on Windows: Python runs the handler when the main thread comes out of its wait by itself.
    monkeypatch.setattr("watchrender.service._HEARS_SECONDS", 0.05)
    line = Line(tmp_path, watch={"events": False, "scan_interval": "60s"})
    line.start()
    assert line.service is not None and line._thread is not None
    until(lambda: line.overview().get("state") == "running")

    line.service._signals += 1
    line._thread.join(20)

    assert not line._thread.is_alive()


def test_a_share_that_windows_cannot_reach_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, scandir, refusals = Line(tmp_path), os.scandir, iter([53, 1231, 64])
    monkeypatch.setattr("watchrender.service.AGAIN_SECONDS", 0.05)

    def far_away(path: Any = ".") -> Any:
        if path == line.root and (number := next(refusals, None)) is not None:
            error = FileNotFoundError(2, "The network path was not found", str(path))  # errno as Windows gives it
            error.winerror = number  # type: ignore[attr-defined,unused-ignore]
            raise error
        return scandir(path)

    monkeypatch.setattr("os.scandir", far_away)

    line.start()

    assert line.fault is None and next(refusals, None) is None
    line.stop()
