"""Draw the README's picture of the demo: play it, and write what it showed as an SVG."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.tree import Tree

from watchrender.cli import demo

TARGET = Path(__file__).parent / "images" / "demo.svg"


def draw(home: Path) -> str:
    """The table of jobs as it stood at the end, and the folders."""
    root = home / "hot-folder"
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print("[bold]$ watchrender demo[/]\n")
    console.print(demo.jobs_table(demo.statuses(root)))
    console.print()
    tree = Tree("hot-folder/")
    demo.branch(tree, root, without=("projects", "status"))
    console.print(tree)
    # Without the fonts that rich would have fetched from elsewhere: the reader's own will do.
    svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="watchrender"), flags=re.DOTALL)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="watchrender-picture-") as folder:
        home = Path(folder) / "demo"
        code = demo.play(keep=home, serve=False)
        if code == 0:
            TARGET.parent.mkdir(exist_ok=True)
            TARGET.write_text(draw(home), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
