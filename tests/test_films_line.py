"""Every way that a film may be broken, through the service with real nexrender: none is ever called done, and what is
whole always is. After Effects says each time that all went well."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.real import Real

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")]

MOVIES = ("mp4", "mov", "avi", "webm", "gif")
STILLS = ("png", "jpg", "tif", "tga", "bmp")
#: What happened to the film, by what it is. Of a sequence it happened to one frame in its middle.
BROKEN = [
    *(("mp4", mode) for mode in ("half_film", "cut_film", "zeros_film", "zero_tail_film", "text_film", "one_byte")),
    *(("mov", mode) for mode in ("cut_film", "early_exit_0")),
    *(("avi", mode) for mode in ("cut_film", "zeros_film", "text_film")),
    ("webm", "cut_film"),
    ("gif", "zero_tail_film"),
    *(("png", mode) for mode in ("half_film", "cut_film", "zeros_film", "zero_tail_film", "text_film")),
    *(("jpg", mode) for mode in ("cut_film", "zero_tail_film")),
    *(("tif", mode) for mode in ("cut_film", "zeros_film")),
    ("tga", "zeros_film"),
    ("bmp", "cut_film"),
]
MISSING = [("mp4", "no_film"), ("png", "no_film")]
WHOLE = [(suffix, "good") for suffix in (*MOVIES, *STILLS)] + [("mp4", "canned")]


@pytest.mark.timeout(300)
def test_a_broken_film_is_never_called_done_and_a_whole_one_always(real: Real) -> None:
    (real.root / "inbox" / "_PAUSE").touch()
    bad, good = [*BROKEN, *MISSING], list(WHOLE)
    order: list[tuple[str, str]] = []
    for at in range(0, len(bad), 3):  # five of a kind in a row would be the machine's fault
        order += [*bad[at : at + 3], good.pop() if good else ("mp4", "good")]
    names = [f"f{number:02}-{suffix}-{mode}" for number, (suffix, mode) in enumerate([*order, *good])]
    for name in names:
        _, suffix, mode = name.split("-")
        project = real.project(name, behaviour=mode, width=64, height=48)
        template: dict[str, Any] = {"src": str(project), "composition": "Main", "outputExt": suffix}
        if suffix in STILLS:
            template |= {"frameStart": 0, "frameEnd": 9}
        real.drop(f"{name}.json", project, template=template, watchrender={"max_retries": 0})
    real.start()
    for name in names:
        real.wait(name, "queued")
    (real.root / "inbox" / "_PAUSE").unlink()

    ended = {name: real.wait(name, "completed", "failed") for name in names}

    wanted = {name: "completed" if name.endswith(("-good", "-canned")) else "failed" for name in names}
    assert {name: status["state"] for name, status in ended.items()} == wanted
    for name, status in ended.items():
        code = (status["error"] or {}).get("code")
        missing = name.endswith("-no_film")
        assert code == (None if wanted[name] == "completed" else f"OUTPUT_{'MISSING' if missing else 'TRUNCATED'}"), (
            name
        )
        assert (real.root / "done" / name).exists() is (wanted[name] == "completed"), name
        assert (real.root / "failed" / name / "WHY.txt").exists() is (wanted[name] == "failed"), name
