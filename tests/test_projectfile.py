"""The compositions of a project are told by its file, whatever is in it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.line import Line, serving, until
from watchrender.render.projectfile import compositions

FOLDER, COMPOSITION, FOOTAGE = 1, 4, 7


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">4sI", name, len(content)) + content + b"\0" * (len(content) % 2)


def items(name: bytes, *parts: bytes) -> bytes:
    return chunk(b"LIST", name + b"".join(parts))


def item(kind: int, name: str, *more: bytes) -> bytes:
    return items(b"Item", chunk(b"idta", struct.pack(">H", kind) + b"\0" * 20), chunk(b"Utf8", name.encode()), *more)


def project(*parts: bytes) -> bytes:
    content = b"Egg!" + chunk(b"head", b"\0" * 11) + items(b"Fold", *parts)
    return struct.pack(">4sI", b"RIFX", len(content)) + content


WHOLE = project(
    item(COMPOSITION, "Main", chunk(b"cdta", b"x" * 33), items(b"Layr", chunk(b"Utf8", b"no name of an item"))),
    item(FOLDER, "precomps", items(b"Sfdr", item(COMPOSITION, "Größe 🎬"), item(FOOTAGE, "clip.mov"))),
    item(FOOTAGE, "logo.png"),
    item(COMPOSITION, "a line\nbreak"),
)
XML = b"""<?xml version="1.0"?><AfterEffectsProject><Fold><Item><idta bdata="00040000"/><string>Main &amp; more</string>
</Item><Item><idta bdata="00070000"/><string>clip.mov</string></Item></Fold></AfterEffectsProject>"""


def test_compositions_are_told_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "spot.aep").write_bytes(WHOLE + b"<?xpacket?>")
    (tmp_path / "spot.aepx").write_bytes(XML)

    assert compositions(tmp_path / "spot.aep") == ("Main", "Größe 🎬")
    assert compositions(tmp_path / "spot.aepx") == ("Main & more",)


@pytest.mark.skipif(os.name == "nt", reason="a pipe as POSIX has them")
def test_what_is_no_project_tells_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.aep")
    (tmp_path / "text.aep").write_text("a project")

    for name in ("pipe.aep", "text.aep", "nothing.aep", "."):
        assert compositions(tmp_path / name) == ()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE)), st.binary(max_size=8), st.integers(0, 8))
def test_a_project_damaged_anywhere_is_no_fault(
    tmp_path_factory: pytest.TempPathFactory, at: int, damage: bytes, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.aep"
    path.write_bytes(WHOLE[:at] + damage + WHOLE[at + length :])

    assert all(name.isprintable() for name in compositions(path))


def test_the_letter_about_a_missing_composition_tells_what_the_project_has_and_what_was_rendered_from_it(
    tmp_path: Path,
) -> None:
    line = Line(tmp_path)
    (line.projects / "spot.aep").write_bytes(WHOLE)
    Line.age(line.projects / "spot.aep")
    with serving(line):
        line.drop("first.json", line.job("NoComp"))
        first = line.wait("first", "failed", 60)
        line.drop("good.json", line.job("NoCompo"))
        line.wait("good", "completed", 60)
        line.drop("second.json", line.job("NoComp"))
        second = line.wait("second", "failed", 60)
        letter = until((line.root / "failed/second/WHY.txt").read_text)

    assert first["error"]["cure"].endswith("the project has: Main, Größe 🎬.")
    assert second["error"]["cure"] == "Write “NoCompo” if that was meant; the project has: Main, Größe 🎬, NoCompo."
    assert "Write “NoCompo” if that was meant" in letter
