"""Numbers to words: medians, spread, ratios, and docs/performance.md."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_BEGIN, _END = "<!-- measured: {} -->", "<!-- end: {} -->"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one benchmark found."""

    name: str  # of its module
    title: str
    method: str
    rows: Sequence[Sequence[str]]  # the first is the head
    goals: Sequence[tuple[str, str, bool]] = field(default_factory=tuple)  # what, found, reached?

    def markdown(self) -> str:
        head, *body = self.rows
        lines = [f"### {self.title}", "", self.method, "", _row(head), _row(["---"] * len(head)), *map(_row, body)]
        if self.goals:
            lines += ["", "| goal | found | |", "| --- | --- | --- |"]
            lines += [_row((what, found, "reached" if ok else "**missed**")) for what, found, ok in self.goals]
        return "\n".join(lines)

    def plain(self) -> str:
        lines = [f"{self.title}", *("  " + "  |  ".join(row) for row in self.rows)]
        lines += [f"  {'ok    ' if ok else 'MISSED'} {what}: {found}" for what, found, ok in self.goals]
        return "\n".join(lines)


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def part(values: Sequence[float], share: float) -> float:
    """The value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def ms(values: Sequence[float]) -> str:
    """Median, and the range of the middle nine tenths."""
    return f"{middle(values) * 1000:.1f} ms ({part(values, 0.05) * 1000:.1f} – {part(values, 0.95) * 1000:.1f})"


def sec(values: Sequence[float]) -> str:
    return f"{middle(values):.2f} s ({min(values):.2f} – {max(values):.2f})"


def write(figures: Sequence[Figure], *, quick: bool) -> None:
    """Put what was measured into the page; each figure has its place, and all words around them stay."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# How fast it is\n"
    stamp = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}{', the quick variant' if quick else ''}."
    for figure in figures:
        text = _placed(text, figure.name, f"{figure.markdown()}\n\n{stamp}")
    PAGE.write_text(text, encoding="utf-8")


def _placed(text: str, name: str, body: str) -> str:
    begin, end = _BEGIN.format(name), _END.format(name)
    block = f"{begin}\n{body}\n{end}"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: block, text)
    return text.rstrip() + f"\n\n{block}\n"


def machine() -> str:
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{os.cpu_count()} × {_processor()}, {system}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return re.sub(r"\s+", " ", found[1]).strip() if found else platform.machine()


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
