"""Write what is derived from the code: `make docs`. The tests say when it was forgotten."""

from __future__ import annotations

import re
from pathlib import Path

from watchrender import config
from watchrender.core import states

HERE = Path(__file__).parent


def between(text: str, name: str, block: str) -> str:
    """The text with what stands between `<!-- name -->` and `<!-- /name -->` replaced."""
    marks = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(marks, lambda found: f"{found[1]}{block}{found[2]}", text, flags=re.DOTALL)


def generated() -> dict[Path, str]:
    """Each derived file and what should stand in it."""
    found = {HERE.parent / "config.example.yaml": config.example()}
    architecture = HERE / "ARCHITECTURE.md"
    if architecture.exists():
        diagram = f"```mermaid\n{states.diagram()}```\n"
        found[architecture] = between(architecture.read_text(encoding="utf-8"), "states", diagram)
    return found


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(HERE.parent))
