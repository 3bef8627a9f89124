"""A stand-in for After Effects' aerender: speaks and fails as the real one, and makes real films.

For the demo and the tests. `install_simulator` makes an After Effects folder with it, `write_project` a project for it
(`project` says what may stand in one, `behaviour` how it can be made to fail).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchrender.render.simulator.folder import install_simulator
    from watchrender.render.simulator.project import write_project

__all__ = ["install_simulator", "write_project"]


def __getattr__(name: str) -> object:
    # Loaded when asked for: every simulated render starts by importing this package.
    if name == "install_simulator":
        from watchrender.render.simulator.folder import install_simulator

        return install_simulator
    if name == "write_project":
        from watchrender.render.simulator.project import write_project

        return write_project
    raise AttributeError(name)
