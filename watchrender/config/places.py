"""Where things of one service are on this machine: its configuration and its state."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from watchrender.config.model import Config

FILE_NAME = "watchrender.yaml"


def find_config(option: Path | str | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The configuration file that is meant: the option, the variable, the current folder, the user's own.

    The first two are taken at their word; whether the file is there is for the reader of it to find out.
    """
    named = option or environ.get("WATCHRENDER_CONFIG", "").strip()
    if named:
        return cwd / Path(named).expanduser()
    places = (cwd / FILE_NAME, platformdirs.user_config_path("watchrender", appauthor=False) / FILE_NAME)
    return next((path for path in places if path.is_file()), None)


def root_hash(root: Path) -> str:
    """One name for one root on this machine, whatever link or mapped drive it was reached by."""
    return hashlib.sha256(os.path.normcase(os.path.realpath(root)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def default_state_dir(root: Path, config: Config | None = None) -> Path:
    """The folder of the record, the logs and the lock: as configured, or the user's state folder, one for each root."""
    if config is not None and config.state_dir is not None:
        return config.state_dir
    return platformdirs.user_state_path("watchrender", appauthor=False) / root_hash(root)
