"""What several test files stand on: the real nexrender, installed once for all runs, a simulated After Effects, and hot
folders that the real command serves with both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, settings
from loguru import logger

from tests.line import Line
from tests.process import Lived
from tests.real import Real, Watched
from tests.turns import Hand
from watchrender import conclude, worker
from watchrender.core.failure import Failure
from watchrender.ledger.ledger import Ledger
from watchrender.render import nexrender
from watchrender.render.simulator import install_simulator

# How quickly examples come says something about a busy machine, and nothing about us.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def nexrender_set() -> nexrender.Nexrender:
    """The set of nexrender that watchrender installs, from npm. Kept in the user's cache under the name of its
    versions, so that only the first run fetches it; `nexrender_set.root.parent` will do as WATCHRENDER_DATA_DIR."""
    cache = Path(platformdirs.user_cache_dir("watchrender-tests", appauthor=False)) / nexrender.lock_hash()
    found = nexrender.install(print, into=cache / "nexrender")  # several at once (xdist) wait for each other
    if isinstance(found, Failure):
        pytest.fail(f"nexrender cannot be installed: {found.message} {found.cure}")
    return found.nexrender


@pytest.fixture
def simulator(tmp_path: Path) -> Path:
    """The aerender of a simulated After Effects that nexrender has never touched."""
    return install_simulator(tmp_path / "Applications")


@pytest.fixture
def real(tmp_path: Path, nexrender_set: nexrender.Nexrender, simulator: Path) -> Iterator[Real]:
    """A hot folder for the real command; what was started there is ended."""
    assert nexrender_set.root is not None
    made = Real(tmp_path, nexrender_set.root.parent, simulator)
    yield made
    made.kill()


@pytest.fixture
def watched(tmp_path: Path, nexrender_set: nexrender.Nexrender, simulator: Path) -> Iterator[Watched]:
    """The same with its page."""
    assert nexrender_set.root is not None
    made = Watched(tmp_path, nexrender_set.root.parent, simulator)
    yield made
    made.kill()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A hot folder whose service is a thread of this process."""
    made = Line(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    """The same with a service that is a process; whoever starts it ends it."""
    return Lived(tmp_path)


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    """A hot folder whose time only moves when it is told to. No turn may meet a fault of our own: what the catch-all
    logged fails the test."""
    faults: list[str] = []
    sink = logger.add(lambda message: faults.append(str(message)), level="ERROR")
    made = Hand(tmp_path)
    yield made
    made.close()
    logger.remove(sink)
    assert not faults


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty record."""
    made = Ledger(tmp_path / "ledger", sync="never")
    yield made
    made.close()


@pytest.fixture
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused for now is tried again soon."""
    monkeypatch.setattr(worker, "BUSY_SECONDS", 0.3)
    monkeypatch.setattr(worker, "REST_SECONDS", 0.3)
    monkeypatch.setattr(conclude, "REST_SECONDS", 0.3)
