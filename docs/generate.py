"""Write what is derived from the code: `make docs`. The tests say when it was forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import references
import samples
import sheet

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
    return found | {
        HERE / "reference-config.md": references.config(),
        HERE / "reference-job.md": references.job(),
        HERE / "reference-status.md": references.statuses(),
        HERE / "api.md": references.api(),
        HERE / "troubleshooting.md": references.troubleshooting(),
        HERE / "artists.html": sheet.sheet((HERE / "artists.md").read_text(encoding="utf-8")),
    }


def generated_bytes() -> dict[Path, bytes]:
    """All of them as they lie on the disk, whatever the system."""
    texts = {path: text.encode("utf-8") for path, text in generated().items()}
    return texts | samples.samples(HERE.parent / "deploy")


if __name__ == "__main__":
    for path, data in generated_bytes().items():
        path.write_bytes(data)
        print(path.relative_to(HERE.parent))
