"""A signal may come at any moment of the main thread, also where it holds a lock."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
import yaml

from tests.line import until
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
