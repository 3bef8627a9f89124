"""Hold a coverage report to what pyproject.toml asks for: `gates.py build/coverage.json`. Exit 1 below it."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any


def main(report: Path) -> int:
    """Print each asked-for figure and the whole; 1 if one is missed."""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    found = json.loads(report.read_text(encoding="utf-8"))
    missed = 0
    for name, asked in settings["tool"]["watchrender"]["coverage"].items():
        summary = summed(found["files"], name)
        for what, least in asked.items():
            share = percent(summary, what)
            missed += share < least
            print(f"{'ok  ' if share >= least else 'MISS'} {name}: {share:.1f} % of {what}, {least} % asked for")
    print(f"     all: {percent(found['totals'], 'lines'):.1f} % of lines")
    return 1 if missed else 0


def summed(files: dict[str, Any], name: str) -> dict[str, int] | None:
    """The figures of a file, or of all files of a folder (its name ends in a slash) put together."""
    summaries = [
        found["summary"] for file, found in files.items() if file == name or (name[-1] == "/" and file.startswith(name))
    ]
    if not summaries:
        return None
    keys = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    return {key: sum(summary.get(key, 0) for summary in summaries) for key in keys}


def percent(summary: dict[str, Any] | None, what: str) -> float:
    """The share that was run. A file that is not in the report was not run at all."""
    if summary is None:
        return 0.0
    run, all_of_them = {
        "lines": (summary["covered_lines"], summary["num_statements"]),
        "branches": (summary.get("covered_branches", 0), summary.get("num_branches", 0)),
    }[what]
    return 100.0 * run / all_of_them if all_of_them else 100.0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
