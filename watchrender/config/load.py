"""Text and environment → a frozen `Config`, or every fault at once. Reads no file.

The text becomes a tree with places, variables are laid over it, the model judges. What the model finds wrong is taken
out and the rest judged again, so that settings which contradict each other are found in the same run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from watchrender.config import text as texts
from watchrender.config.contradictions import contradictions
from watchrender.config.faults import ConfigError, fault_of, place_of
from watchrender.config.model import VERSION, Config, Given, Section
from watchrender.config.shape import Beneath, beneath, kind_within
from watchrender.config.text import Fault, Node
from watchrender.config.variables import lay_over

_Paths = list[list[str | int]]


def load(text: str, source: str, environ: Mapping[str, str]) -> Config:
    """The configuration that `text` (YAML or JSON, from the file `source`) and the variables describe."""
    reading = texts.read(text, source, Path(source).absolute().parent)
    tree = reading.tree
    if tree is None:
        raise ConfigError([*reading.faults, *lay_over(Node(value={}, place=texts.Place(source=source)), environ)])
    if not isinstance(tree.value, dict):
        raise ConfigError([*reading.faults, Fault(place=tree.place, words="settings are expected: root: /mnt/renders")])
    _refuse_newer(tree)
    return _judged(tree, reading.faults + lay_over(tree, environ))


def _judged(tree: Node, faults: list[Fault]) -> Config:
    config, found, wrong = _validated(texts.plain(tree), tree)
    rest = config or _validated(_without(texts.plain(tree), wrong), tree)[0]
    faults = [*faults, *found, *(_contradictions(rest, tree, wrong) if rest else ())]
    if faults or config is None:
        raise ConfigError(faults)
    config.given.update(_given(tree))
    return config


def _validated(settings: Any, tree: Node) -> tuple[Config | None, list[Fault], _Paths]:
    try:
        return Config.model_validate(settings), [], []
    except ValidationError as error:
        found = [fault_of(one, tree) for one in error.errors(include_url=False)]
        return None, [fault for fault, _ in found], [path for _, path in found]


def _without(settings: Any, wrong: _Paths) -> Any:
    """The same settings less the wrong ones; each takes with it all that lies beneath its second name."""
    for path in wrong:
        if len(path) > 1 and isinstance(settings.get(path[0]), dict):
            settings[path[0]].pop(path[1], None)
        elif path:
            settings.pop(path[0], None)
    return {"root": Path("root").absolute()} | settings


def _contradictions(config: Config, tree: Node, wrong: _Paths) -> Iterator[Fault]:
    """The contradictions among settings that are right by themselves."""
    known_wrong = {".".join(map(str, path[:length])) for path in wrong for length in (1, 2)}
    for found in contradictions(config):
        if not known_wrong & {*found.between}:
            place = place_of(tree, found.between[0].split("."))
            yield Fault(place=place, words=f"{found.between[0]}: {found.words}")


def _refuse_newer(tree: Node) -> None:
    written = tree.value.get("version") if isinstance(tree.value, dict) else None
    number = written.value if written else None
    if written and isinstance(number, str) and re.fullmatch(r"[1-9][0-9]{0,8}", number) and int(number) > VERSION:
        words = f"version: {number} is of a newer watchrender; this one reads version {VERSION}, so update it"
        raise ConfigError([Fault(place=written.place, words=words)])


def _given(node: Node, name: str = "", kind: Any = Config) -> Iterator[tuple[str, Given]]:
    """What was written, setting by setting; a list, or a map of plain values, is one."""
    below = beneath(kind)
    has_settings = isinstance(below, type) or (below is Beneath.FREE_NAMES and _holds_sections(kind))
    if has_settings and isinstance(node.value, dict):
        for part, found in node.value.items():
            yield from _given(found, f"{name}.{part}" if name else part, kind_within(kind, part))
    elif node.value is not None:
        where = f"{node.place.source}:{node.place.line}" if node.place.line else node.place.source
        yield name, Given(value=texts.plain(node), where=where)


def _holds_sections(kind: Any) -> bool:
    within = kind_within(kind, "")
    return isinstance(within, type) and issubclass(within, Section)
