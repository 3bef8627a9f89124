"""Write what the tests of harm have counted into reliability.md, between its marks: `make kill-matrix` ends with it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("reliability.md")
sys.path.insert(0, str(PAGE.parents[1]))

from tests.harm.figures import kept  # noqa: E402

KINDS = {
    "start": "a start and stop with one file",
    "life": "a life",
    "lost": "a life; then `state_dir` deleted",
    "recovery": "what only the starts after these deaths do, twice in a row",
    "recovery without record": "the same, with `state_dir` deleted before it",
}


def table() -> str:
    """All that was counted, as a piece of Markdown."""
    found = kept()
    matrix = [one for name, one in found.items() if name.startswith("matrix-")]
    lines = [
        "| ended at each effect on disk of | lives | points passed | ended there | not reached | came out wrong |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(words, [one for one in matrix if one["kind"] == kind]) for kind, words in KINDS.items()]
    lines += ["", *_kills(found), "", _when(found.values(), matrix)]
    return "\n".join(lines) + "\n"


def _row(words: str, ones: list[dict[str, Any]]) -> str:
    sums = [sum(one[name] for one in ones) for name in ("points", "cut", "missed")]
    wrong = sum(len(one["faults"]) for one in ones)
    return f"| {words} | {len(ones)} | {' | '.join(f'{number:,}' for number in sums)} | {wrong} |"


def _kills(found: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "| kill -9 of the real service at random moments | kills | jobs | record deleted | amid a render | wrong |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, words in (("kept", "with its record"), ("lost", "the record deleted now and then")):
        one = found.get(f"kills-record-{name}")
        if one is not None:
            lines.append(
                f"| {words} | {one['kills']} | {one['jobs']} | {one['records_lost']} times | {one['rendering']} "
                f"| {len(one['faults'])} |"
            )
    if (one := found.get("record-kills")) is not None:
        lines += [
            "",
            f"The record alone: {one['kills']} kills of a writer, {one['transactions']:,} transactions, "
            f"{one['compactions']} kills amid a compaction, {one['torn']} torn lines; no acknowledged write lost.",
        ]
    return lines


def _when(ones: Iterable[dict[str, Any]], matrix: list[dict[str, Any]]) -> str:
    last = max(ones, key=lambda one: str(one["at"]))
    parts = [words for kind, words in KINDS.items() if not all(one["whole"] for one in matrix if one["kind"] == kind)]
    told = f"all points, but a part only, as in CI, of: {'; '.join(parts)}" if parts else "all points"
    return f"Counted on {last['at'][:10]} ({told}), on {last['machine']}."


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    made = re.sub(
        r"(<!-- figures -->\n).*?(<!-- /figures -->)", lambda found: f"{found[1]}{table()}{found[2]}", text, flags=re.S
    )
    PAGE.write_text(made, encoding="utf-8")
