"""What the tests of harm have counted: kept as files of JSON in build/harm, read by `docs/reliability.py`."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from typing import Any

from tests.harm.kit import REPOSITORY

FOLDER = REPOSITORY / "build" / "harm"


def keep(name: str, **figures: Any) -> None:
    """Keep the figures of one test, over those of an earlier run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    machine = (
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} processors"
    )
    found = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, **figures}
    beside = FOLDER / f".{name}.{os.getpid()}"
    beside.write_text(json.dumps(found, indent=1), encoding="utf-8")
    beside.replace(FOLDER / f"{name}.json")


def kept() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}


if __name__ == "__main__":
    json.dump(kept(), sys.stdout, indent=1)
