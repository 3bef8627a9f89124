"""The page on how it is built: every room is on it, on the floor that import-linter holds it to."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HOME = Path(__file__).parent.parent
PACKAGE = HOME / "watchrender"
#: Floors as the page calls them, from the top; `logs` and `disk` are the lowest of the edges.
FLOORS = ("mouth", "mouth", "life", "life", "views", "flow", "step", "step", "edge", "edge", "base", "base")


def rooms() -> dict[str, str]:
    """Each room in the table, with its floor."""
    text = (HOME / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = {}
    for names, floor in re.findall(r"^\| (`.+?) \| .+ \| (\w+) \|$", text, flags=re.MULTILINE):
        found |= {name.removesuffix("/").removesuffix(".py"): floor for name in re.findall(r"`([^`]+)`", names)}
    return found


def test_every_room_is_told_of_and_no_other() -> None:
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}

    assert rooms().keys() == there - {"__init__", "__main__"}


def test_the_floors_of_the_page_are_those_that_are_held() -> None:
    settings = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(found for found in settings["tool"]["importlinter"]["contracts"] if found["type"] == "layers")
    layers = [re.findall(r"\w+", layer) for layer in contract["layers"] if "__main__" not in layer]

    held = {name: floor for layer, floor in zip(layers, FLOORS, strict=True) for name in layer}

    assert rooms() == held


def test_every_decision_is_listed() -> None:
    folder = HOME / "docs" / "decisions"
    pages = {path.name for path in folder.glob("[0-9]*.md")}

    assert set(re.findall(r"\(([0-9]{4}-[^)]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))) == pages
