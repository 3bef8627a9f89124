"""`python -m benchmarks [--quick] [NAME…]`: measure, say it, and write docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks import report
from benchmarks.stand import CannotMeasure

NAMES = ("pickup", "throughput", "footage", "inbox", "history", "stream", "server", "farm")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter renders: does it all still run?")
    parser.add_argument("--no-page", action="store_true", help="do not write docs/performance.md")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in NAMES]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(NAMES)}")
    found: list[report.Figure] = []
    failed = False
    for name in asked.names or NAMES:
        print(f"== {name}", flush=True)
        try:
            module = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"benchmarks.{name}":
                raise
            print("  not there yet", flush=True)
            continue
        try:
            figures = module.measure(quick=asked.quick)
        except CannotMeasure as error:
            print(f"  not measured: {error}", flush=True)
            failed = True
            continue
        for figure in figures:
            print(figure.plain(), flush=True)
        found += figures
    if found and not asked.no_page:
        report.write(found, quick=asked.quick)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
