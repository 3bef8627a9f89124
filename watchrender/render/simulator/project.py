"""A simulated After Effects project: a small text, JSON or YAML, that says what a real one would hold.

    {"compositions": {"Main": {"frames": 100, "fps": 25, "width": 640, "height": 360, "layers": ["title"]}},
     "footage": ["clips/city.mp4"], "fonts_missing": ["Bebas"], "output_modules": ["h264"], "behaviour": "crash"}

Only `compositions` is needed. Footage is looked for beside the project, as After Effects does. A composition with
`layers` has those and no others; without, it has any. A real project, or any other bytes, is taken for one that has
every composition, 50 frames long: so that whatever others use as a stand-in renders.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from watchrender.render.simulator.stop import AE_RUNTIME, BAD_REQUEST, Stop

if TYPE_CHECKING:
    from pathlib import Path

DAMAGED = "aerender Error: After Effects error: file is damaged."


@dataclass(frozen=True, kw_only=True)
class Composition:
    """One composition of a project."""

    name: str
    frames: int = 50
    fps: float = 25.0
    width: int = 640
    height: int = 360
    start_frame: int = 0
    layers: tuple[str, ...] | None = None
    behaviour: Any = None


@dataclass(frozen=True, kw_only=True)
class Project:
    """What After Effects would find in the file; `compositions` is None where any name will do."""

    path: str
    compositions: dict[str, Composition] | None = None
    footage: tuple[str, ...] = ()
    fonts_missing: tuple[str, ...] = ()
    output_modules: tuple[str, ...] | None = None
    behaviour: Any = None

    def composition(self, name: str) -> Composition | None:
        if self.compositions is None:
            return Composition(name=name)
        return self.compositions.get(name)

    def missing_footage(self) -> list[str]:
        """The full paths of footage that is not where the project says."""
        folder = os.path.dirname(os.path.abspath(self.path))
        paths = [os.path.normpath(os.path.join(folder, name.replace("\\", "/"))) for name in self.footage]
        return [path for path in paths if not os.path.exists(path)]


def write_project(
    path: Path,
    *,
    composition: str = "Main",
    frames: int = 50,
    fps: float = 25,
    width: int = 640,
    height: int = 360,
    layers: tuple[str, ...] | list[str] | None = None,
    compositions: Mapping[str, Mapping[str, Any]] | None = None,
    footage: tuple[str, ...] | list[str] = (),
    fonts_missing: tuple[str, ...] | list[str] = (),
    output_modules: tuple[str, ...] | list[str] | None = None,
    behaviour: Any = None,
) -> Path:
    """Write a simulated project, with one composition as given or with all of `compositions`. Footage is only named."""
    one: dict[str, Any] = {"frames": frames, "fps": fps, "width": width, "height": height}
    if layers is not None:
        one["layers"] = list(layers)
    found: dict[str, Any] = {"compositions": {composition: one} if compositions is None else dict(compositions)}
    found |= {"footage": list(footage)} if footage else {}
    found |= {"fonts_missing": list(fonts_missing)} if fonts_missing else {}
    found |= {"output_modules": list(output_modules)} if output_modules is not None else {}
    found |= {"behaviour": behaviour} if behaviour is not None else {}
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_project(path: str) -> Project:
    """The project as After Effects would open it."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        # Not known from a real log: nexrender looks for the project before it starts aerender.
        raise Stop(
            AE_RUNTIME, f"aerender Error: After Effects error: Unable to open {path} ({error.strerror})."
        ) from error
    found = _document(data)
    return Project(path=path) if found is None else _from_document(path, found)


def _document(data: bytes) -> Mapping[str, Any] | None:
    """The text's table; None where it is no text of ours."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if not re.search(r"^[\s{]*[\"']?compositions[\"']?\s*:", text, re.MULTILINE):
        return None
    try:
        found = _load(text)
    except ValueError as error:
        raise Stop(AE_RUNTIME, DAMAGED) from error  # ours, and cut off
    return found if isinstance(found, Mapping) and isinstance(found.get("compositions"), Mapping) else None


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        import yaml  # it costs as much as all else here, and JSON needs none of it

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error


def _from_document(path: str, found: Mapping[str, Any]) -> Project:
    try:
        modules = found.get("output_modules")
        return Project(
            path=path,
            compositions={str(name): _composition(str(name), one or {}) for name, one in found["compositions"].items()},
            footage=tuple(map(str, found.get("footage") or ())),
            fonts_missing=tuple(map(str, found.get("fonts_missing") or ())),
            output_modules=None if modules is None else tuple(map(str, modules)),
            behaviour=found.get("behaviour"),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise Stop(BAD_REQUEST, f"simulator: {path} is not a simulated project: {error}") from error


def _composition(name: str, found: Mapping[str, Any]) -> Composition:
    layers = found.get("layers")
    return Composition(
        name=name,
        frames=int(found.get("frames", 50)),
        fps=float(found.get("fps", 25)),
        width=int(found.get("width", 640)),
        height=int(found.get("height", 360)),
        start_frame=int(found.get("start_frame", 0)),
        layers=None if layers is None else tuple(map(str, layers)),
        behaviour=found.get("behaviour"),
    )
