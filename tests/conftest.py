"""What several test files stand on: the real nexrender, installed once for all runs, and a simulated After Effects."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from watchrender.core.failure import Failure
from watchrender.render import nexrender
from watchrender.render.simulator import install_simulator


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
