"""What people with only the folder may do, at its edges: the real command as a process, a renderer that starts quickly.

Nothing here looks into the service. Each test has a sub-folder of one hot folder for itself, so that one service serves
them all.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.line import FAKE, FILM, until
from tests.real import Real
from watchrender.render import simulator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")

LONG = "x" * 236


class Outside(Real):
    """A hot folder of the real command whose renderer is `fake_nexrender.py`."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, home / "data", simulator.install_simulator(home / "Applications", patched=True))
        self.settings["watch"] = {"scan_interval": "200ms", "settle": "300ms", "cut_off": "2s", "assets_deadline": "3s"}
        self.settings["nexrender"] |= {
            "command": [sys.executable, "-S", str(FAKE)],
            "env": {"FAKE_FILM": str(FILM), "FAKE_STARTS": str(home / "starts")},
        }
        self.settings |= {"verify": {"probe": "off"}, "delivery": {"previews": "off"}}
        self.spot = self.project("spot")

    def lay(self, place: str, text: str = "") -> Path:
        """A mark, an order or a settings file, as a person makes one."""
        path = self.root / "inbox" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def becomes(self, key: str, **fields: Any) -> dict[str, Any]:
        """The status once these fields of it say so."""
        found: dict[str, Any] = {}

        def says() -> bool:
            found.update(self.status(key))
            return all(found.get(name) == value for name, value in fields.items())

        try:
            until(says, 60)
        except AssertionError:
            shown = {name: found.get(name) for name in ("state", *fields)}
            raise AssertionError(f"{key} does not become {fields}; it is {shown}") from None
        return found

    def key_in(self, sub: str) -> str:
        """The key of the one job that a sub-folder has."""
        files = until(lambda: list((self.root / "status" / sub).glob("*.status.json")), 60)
        return f"{sub}/{files[0].name.removesuffix('.status.json')}"

    def again(self, key: str, than: dict[str, Any]) -> dict[str, Any]:
        """The end of the next job of this key."""
        found: dict[str, Any] = until(
            lambda: (now := self.status(key)) and now["id"] != than["id"] and now["finished_at"] and now, 60
        )
        return found


def _served(tmp_path_factory: pytest.TempPathFactory, name: str, *, paused: bool) -> Iterator[Outside]:
    made = Outside(tmp_path_factory.mktemp(name))
    if paused:
        made.lay("_PAUSE")
    made.start()
    yield made
    assert made.process is not None
    made.process.kill()
    made.process.wait()


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """A hot folder whose queue is paused."""
    yield from _served(tmp_path_factory, "waiting", paused=True)


@pytest.fixture(scope="module")
def rendering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    yield from _served(tmp_path_factory, "rendering", paused=False)


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_name_is_told_whole_whatever_its_key(waiting: Outside) -> None:
    waiting.drop(f"long/p80_{LONG}.json", waiting.spot)
    (waiting.root / "done/taken/spot").mkdir(parents=True)
    waiting.drop("taken/p80_spot.json", waiting.spot)

    cut = waiting.becomes(waiting.key_in("long"), state="queued")
    numbered = waiting.becomes("taken/spot~2", state="queued")

    assert cut["name"] == LONG
    assert cut["job"] != f"long/{LONG}"
    assert numbered["name"] == "spot"


def test_orders_and_marks_find_a_job_by_its_name_where_its_key_is_another(waiting: Outside) -> None:
    (waiting.root / "done/orders/spot").mkdir(parents=True)
    waiting.drop("orders/p80_spot.json", waiting.spot)
    waiting.drop(f"orders-long/p80_{LONG}.json", waiting.spot)
    cut = waiting.key_in("orders-long")

    waiting.becomes("orders/spot~2", state="queued")
    waiting.lay("orders/spot.p33")
    waiting.lay(f"orders-long/{LONG}.p34")
    hold = waiting.lay("orders/SPOT.hold.txt")

    waiting.becomes("orders/spot~2", priority=33, priority_from="request", hold=True)
    waiting.becomes(cut, priority=34)
    hold.unlink()
    waiting.lay("orders/spot.cancel")
    waiting.becomes("orders/spot~2", state="cancelled", hold=False)


def test_a_mark_belongs_to_who_has_just_this_name(waiting: Outside) -> None:
    waiting.drop("marks/spot.json", waiting.spot)
    waiting.becomes("marks/spot", state="queued")
    waiting.put("marks/spot.yml", f"template: {waiting.spot}\ncomposition: Main\n")
    waiting.becomes("marks/spot~2", state="queued")
    mark = waiting.lay("marks/spot.hold")
    waiting.becomes("marks/spot", hold=True)
    waiting.lay("marks/spot~2.hold")
    waiting.becomes("marks/spot~2", hold=True)

    assert waiting.call("release", "marks/spot~2").returncode == 0

    waiting.becomes("marks/spot~2", hold=False)
    assert mark.exists()
    assert waiting.status("marks/spot")["hold"]


def test_an_order_in_the_wrong_folder_is_told_where_its_job_is(waiting: Outside) -> None:
    waiting.drop("wrong/show/lost.json", waiting.spot)
    waiting.becomes("wrong/show/lost", state="queued")

    waiting.lay("wrong/lost.cancel")

    letter = waiting.root / "inbox/wrong/lost.cancel.WHY.txt"
    until(letter.exists, 60)
    until(lambda: "There is one in wrong/show: lay lost.cancel there." in letter.read_text(), 60)
    assert waiting.status("wrong/show/lost")["state"] == "queued"


def test_a_mark_that_came_with_its_job_holds_it_from_the_first_moment(rendering: Outside) -> None:
    keys = [f"together{number}/spot" for number in range(8)]
    for key in keys:
        sub = key.partition("/")[0]
        hidden = rendering.root / f".{sub}"
        hidden.mkdir()
        (hidden / "spot.hold").touch()
        (hidden / "spot.json").write_text(json.dumps(rendering.job(rendering.spot)))
        hidden.rename(rendering.root / "inbox" / sub)

    for key in keys:
        found = rendering.becomes(key, hold=True)
        assert (found["state"], found["attempt"]) in (("pending", 0), ("validating", 0), ("queued", 0))
        assert rendering.wait(key, "queued", "completed")["state"] == "queued"


def test_a_file_that_takes_the_place_of_another_under_a_new_mark_is_the_same_job(waiting: Outside) -> None:
    waiting.drop("marked/spot.json", waiting.spot)
    before = waiting.becomes("marked/spot", state="queued")

    (waiting.root / "inbox/marked/spot.json").unlink()
    waiting.drop("marked/p90_spot.json", waiting.spot, composition="Other")

    after = waiting.becomes("marked/spot", priority=90, composition="Other", state="queued")
    assert after["id"] == before["id"]
    assert [path.name for path in (waiting.root / "status/marked").glob("*")] == ["spot.status.json"]


# -- settings ---------------------------------------------------------------------------------------------------------


def test_settings_beside_names_that_differ_by_case_only_go_by_the_spelling(waiting: Outside) -> None:
    if waiting.lay("cases/probe.tmp").with_name("PROBE.TMP").exists():
        pytest.skip("this disk takes Spot and spot for one")
    for name, tag in (("Spot", "large"), ("spot", "small")):
        waiting.lay(f"cases/{name}.yaml", f"tags: [{tag}]\n")
        waiting.drop(f"cases/{name}.json", waiting.spot)

    found = [waiting.wait(f"cases/{key}", "queued", "failed") for key in ("Spot", "spot~2")]

    assert {job["files"]["job"]: (job["tags"], job["files"]["sidecar"]) for job in found} == {
        "Spot.json": (["large"], "Spot.yaml"),
        "spot.json": (["small"], "spot.yaml"),
    }


def test_a_release_beats_the_hold_there_was_and_not_one_that_is_written_afterwards(waiting: Outside) -> None:
    waiting.drop("holds/spot.json", waiting.spot)
    waiting.lay("holds/spot.yaml", "hold: true\n")
    waiting.becomes("holds/spot", hold=True)

    assert waiting.call("release", "holds/spot").returncode == 0
    waiting.becomes("holds/spot", hold=False)
    waiting.lay("holds/spot.yaml", "hold: true\ntags: [other]\n")
    assert waiting.becomes("holds/spot", tags=["other"])["hold"] is False

    waiting.lay("holds/spot.yaml", "tags: [free]\n")
    waiting.becomes("holds/spot", tags=["free"])
    waiting.lay("holds/spot.yaml", "hold: true\ntags: [held]\n")
    assert waiting.becomes("holds/spot", tags=["held"])["hold"] is True


def test_a_letter_about_a_setting_names_the_file_that_it_stands_in(waiting: Outside) -> None:
    for name, settings in (("beside", "output: /elsewhere/\n"), ("broken", "tags: [a]\npriority: 500\n")):
        waiting.lay(f"letters/{name}.yaml", settings)
        waiting.drop(f"letters/{name}.json", waiting.spot)
    waiting.drop("letters/inside.json", waiting.spot, watchrender={"output": "/elsewhere/"})

    wheres = {}
    for name in ("beside", "broken", "inside"):
        waiting.wait(f"letters/{name}", "failed")
        letter = (waiting.root / "failed/letters" / name / "WHY.txt").read_text(encoding="utf-8")
        wheres[name] = letter.partition("Where\n")[2].partition("\n\n")[0].strip()

    assert wheres["beside"] == "beside.yaml: output"
    assert wheres["broken"] == "broken.yaml: line 2, column 1, priority"
    assert wheres["inside"].startswith("inside.json: line 1, column ")
    assert wheres["inside"].endswith("watchrender.output")
    assert "column 1," not in wheres["inside"]


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("litter", [(), ("note.txt",)])
def test_a_folder_in_failed_is_in_the_way_of_a_folder_and_not_of_a_key(rendering: Outside, litter: list[str]) -> None:
    sub = f"litter{len(litter)}"
    (rendering.root / "failed" / sub / "spot").mkdir(parents=True)
    for name in litter:
        (rendering.root / "failed" / sub / "spot" / name).touch()

    rendering.put(f"{sub}/spot.json", '{"template": 4}')

    assert rendering.wait(f"{sub}/spot", "failed")["folder"] == f"failed/{sub}/spot~2"
    assert [path.name for path in (rendering.root / "failed" / sub / "spot").iterdir()] == list(litter)


@pytest.mark.parametrize(("composition", "top"), [("Main", "done"), ("NoComp", "failed")])
def test_the_status_in_a_jobs_folder_is_the_one_in_status(rendering: Outside, composition: str, top: str) -> None:
    rendering.drop(f"twice/p60_{top}.json", rendering.spot, composition=composition)

    told = rendering.wait(f"twice/{top}", "completed", "failed")

    assert json.loads((rendering.root / top / "twice" / top / f"{top}.status.json").read_bytes()) == told


# -- coming back ------------------------------------------------------------------------------------------------------

RETURNS: dict[str, tuple[str, Callable[[Outside, str], None]]] = {
    "numbered": ("spot.json", lambda out, sub: (out.root / "done" / sub / "spot").mkdir(parents=True)),
    "numbered-marked": ("p80_spot.json", lambda out, sub: (out.root / "done" / sub / "spot").mkdir(parents=True)),
    "cut": (f"{LONG}.json", lambda out, sub: None),
}


@pytest.mark.parametrize("case", RETURNS)
def test_a_lone_file_is_a_retry_whatever_its_key_was(rendering: Outside, case: str) -> None:
    file, before = RETURNS[case]
    before(rendering, case)
    rendering.drop(f"{case}/{file}", rendering.spot, composition="NoComp")
    key = rendering.key_in(case)
    first = rendering.wait(key, "failed")

    (rendering.root / first["folder"] / file).rename(rendering.root / "inbox" / case / file)

    second = rendering.again(key, first)
    assert (second["retry_of"], second["folder"]) == (first["id"], f"failed/{key}~2")


def test_of_a_returned_status_file_an_id_and_files_are_enough(rendering: Outside) -> None:
    folder = rendering.root / "inbox/brought/anything"
    hidden = rendering.root / ".brought"
    hidden.mkdir()
    (hidden / "spot.json").write_text(json.dumps(rendering.job(rendering.spot)))
    said = {"schema": "watchrender.status/1", "id": "01JD" + "0" * 22, "files": {"job": "spot.json"}}
    (hidden / "spot.status.json").write_text(json.dumps(said))
    folder.parent.mkdir()
    shutil.move(hidden, folder)

    ended = rendering.wait("brought/spot", "completed", "failed")

    assert (ended["state"], ended["retry_of"]) == ("completed", said["id"])
