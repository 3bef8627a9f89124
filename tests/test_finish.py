"""What follows a render: the film in its place, wherever that is, and what the status says of it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.line import FILM, Line, serving, until
from watchrender import disk, finish
from watchrender.core.job import Job
from watchrender.core.settings import fill_in
from watchrender.elsewhere import deliver_elsewhere
from watchrender.finish import make_previews
from watchrender.render.outputs import find

pytestmark = pytest.mark.usefixtures("short_rests")


def test_an_image_sequence_is_one_output(line: Line) -> None:
    line.drop("job.json", line.job(template={"outputExt": "png"}))

    with serving(line):
        status = line.wait("job", "completed")

    assert status["outputs"] == [
        {"path": "frames/job_[00000-00024].png", "frames": 25, "bytes": 25 * 2004, "sha256": None}
    ]
    assert len(list((line.root / "done/job/frames").iterdir())) == 25


def test_a_film_goes_where_its_settings_say_and_nothing_there_is_overwritten(line: Line) -> None:
    target = line.root / "deliver" / "spot-Main.mp4"
    target.parent.mkdir()
    target.write_text("somebody's", encoding="utf-8")
    line.drop("spot.json", line.job() | {"watchrender": {"output": "deliver/{job}-{composition}.{ext}"}})

    with serving(line):
        status = line.wait("spot", "completed")

    assert target.read_text(encoding="utf-8") == "somebody's"
    assert status["outputs"][0]["path"] == str(target.with_name("spot-Main~2.mp4"))
    assert Path(status["outputs"][0]["path"]).stat().st_size > 1000
    assert (target.parent / "spot-Main~2.status.json").is_file()
    assert "spot/spot.mp4" not in line.files("done")


def test_a_film_replaces_the_old_one_only_where_it_is_asked_to(line: Line) -> None:
    target = line.root / "deliver" / "spot.mp4"
    target.parent.mkdir()
    target.write_text("the old one", encoding="utf-8")
    settings = {"output": "deliver/", "on_exists": "replace"}
    line.drop("spot.json", line.job() | {"watchrender": settings})

    with serving(line):
        line.wait("spot", "completed")

    assert target.stat().st_size > 1000


@pytest.mark.parametrize("output", ["deliver/spot.mp4", "deliver/", "deliver", "deliver/{job}.{ext}"])
def test_a_place_that_is_taken_fails_the_job_where_it_is_asked_to_before_it_renders(line: Line, output: str) -> None:
    target = line.root / "deliver" / "spot.mp4"
    target.parent.mkdir()
    target.write_text("the old one", encoding="utf-8")
    line.drop("spot.json", line.job() | {"watchrender": {"output": output, "on_exists": "fail"}})

    with serving(line):
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "OUTPUT_EXISTS"
    assert status["started_at"] is None
    assert target.read_text(encoding="utf-8") == "the old one"


def test_a_place_that_is_taken_while_it_renders_fails_the_job_at_its_end(line: Line) -> None:
    target = line.root / "deliver" / "spot.mp4"
    target.parent.mkdir()
    line.drop("spot.json", line.job("Slow") | {"watchrender": {"output": "deliver/spot.mp4", "on_exists": "fail"}})

    with serving(line):
        line.wait("spot", "rendering")
        target.write_text("somebody was quicker", encoding="utf-8")
        status = line.wait("spot", "failed")

    assert status["error"]["code"] == "OUTPUT_EXISTS"
    assert target.read_text(encoding="utf-8") == "somebody was quicker"


def test_the_jobs_own_copy_action_is_the_weakest_delivery(line: Line) -> None:
    copy = {"module": "@nexrender/action-copy", "output": str(line.root / "copies" / "film.mp4")}
    line.drop("spot.json", line.job() | {"actions": {"postrender": [copy]}})

    with serving(line):
        status = line.wait("spot", "completed")

    assert status["outputs"][0]["path"] == str(line.root / "copies" / "film.mp4")


def test_done_may_lie_on_another_volume(line: Line, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == line.root.stat().st_dev:
        pytest.skip("there is no second volume here")
    done = other / f"watchrender-test-{line.home.name}-{id(line)}"
    line.change(folders={"done": str(done)})
    line.drop("spot.json")

    try:
        with serving(line):
            status = line.wait("spot", "completed")

        assert status["folder"] == str(done / "spot")
        assert {path.name for path in (done / "spot").iterdir()} >= {"spot.mp4", "spot.json", "spot.status.json"}
        assert line.files("active") == []
    finally:
        shutil.rmtree(done, ignore_errors=True)


def taken(path: Path, text: str = "somebody's") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_film_that_is_not_what_its_place_is_called_keeps_its_own_extension(line: Line) -> None:
    line.drop("spot.json", line.job() | {"watchrender": {"output": "deliver/spot.mov"}})

    with serving(line):
        status = line.wait("spot", "completed")

    assert status["outputs"][0]["path"] == str(line.root / "deliver" / "spot.mp4")
    assert "delivered as spot.mp4 and not as spot.mov" in status["warnings"][0]


def test_the_words_in_braces_are_filled_in_and_nothing_in_them_leads_elsewhere(line: Line) -> None:
    settings = {"output": "deliver/{sub}/{date}/{composition}-{job}.{ext}"}
    line.drop("spot.json", line.job("A/..: C?", project="spot") | {"watchrender": settings}, sub="clientA/show")

    with serving(line):
        status = line.wait("clientA/show/spot", "completed")

    day = datetime.now().strftime("%Y-%m-%d")
    expected = line.root / "deliver" / "clientA" / "show" / day / "A_.._ C_-spot.mp4"
    assert status["outputs"][0]["path"] == str(expected)
    assert expected.is_file()


def test_two_films_for_one_place_both_arrive(line: Line) -> None:
    for name in ("one", "two"):
        line.drop(f"{name}.json", line.job() | {"watchrender": {"output": "deliver/film.mp4"}})

    with serving(line):
        outputs = {line.wait(name, "completed")["outputs"][0]["path"] for name in ("one", "two")}

    assert outputs == {str(line.root / "deliver" / name) for name in ("film.mp4", "film~2.mp4")}
    assert all(Path(path).stat().st_size > 1000 for path in outputs)


def test_the_status_lies_beside_a_film_that_went_elsewhere_and_is_the_final_one(line: Line) -> None:
    line.drop("spot.json", line.job() | {"watchrender": {"output": "deliver/"}})

    with serving(line):
        line.wait("spot", "completed")

    beside = json.loads((line.root / "deliver" / "spot.status.json").read_bytes())
    inside = json.loads((line.root / "done" / "spot" / "spot.status.json").read_bytes())
    assert beside == inside
    assert (beside["state"], beside["folder"]) == ("completed", "done/spot")


def test_an_image_sequence_goes_elsewhere_as_a_folder_and_may_replace_the_old_one(line: Line) -> None:
    old = taken(line.root / "deliver" / "job" / "old.png")
    settings = {"output": "deliver/", "on_exists": "replace"}
    line.drop("job.json", line.job(template={"outputExt": "png"}) | {"watchrender": settings})

    with serving(line):
        status = line.wait("job", "completed")

    folder = line.root / "deliver" / "job"
    assert status["outputs"][0]["path"] == str(folder / "job_[00000-00024].png")
    assert len(list(folder.iterdir())) == 25
    assert not old.exists()
    assert line.files("done") == ["job/job.json", "job/job.log", "job/job.status.json"]
    assert [path.name for path in (line.root / "deliver").iterdir() if path.name.startswith(".")] == []


def test_what_an_encode_makes_is_a_further_output_and_may_go_elsewhere(line: Line) -> None:
    actions = [
        {"module": "@nexrender/action-encode", "preset": "mp4", "output": "small.mp4"},
        {"module": "@nexrender/action-copy", "input": "small.mp4", "output": str(line.root / "web" / "small.mp4")},
    ]
    line.drop("spot.json", line.job() | {"actions": {"postrender": actions}})

    with serving(line):
        status = line.wait("spot", "completed")

    assert [output["path"] for output in status["outputs"]] == ["spot.mp4", str(line.root / "web" / "small.mp4")]
    assert len(status["outputs"][1]["sha256"]) == 64
    assert (line.root / "web" / "small.mp4").stat().st_size == FILM.stat().st_size
    assert "spot/spot.mp4" in line.files("done")


def test_the_settings_place_is_stronger_than_the_jobs_own_copy(line: Line) -> None:
    copy = {"module": "@nexrender/action-copy", "output": str(line.root / "copies" / "film.mp4")}
    job = line.job() | {"actions": {"postrender": [copy]}, "watchrender": {"output": "deliver/film.mp4"}}
    line.drop("spot.json", job)

    with serving(line):
        status = line.wait("spot", "completed")

    assert status["outputs"][0]["path"] == str(line.root / "deliver" / "film.mp4")
    assert not (line.root / "copies").exists()


def test_a_place_that_refuses_for_long_leaves_the_film_in_done_and_delays_nobody(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "ELSEWHERE_SECONDS", 1.5)
    taken(line.root / "deliver", "a file where the folder should be")
    line.drop("p90_spot.json", line.job() | {"watchrender": {"output": "deliver/spot.mp4"}})
    line.drop("other.json")

    with serving(line):
        waiting = until(lambda: (s := line.status("spot")).get("waiting_for") and s)
        line.wait("other", "completed")
        assert line.status("spot")["state"] == "rendering"
        assert line.waits_for() == []
        status = line.wait("spot", "completed")

    assert waiting["progress"]["stage"] == "delivering"
    assert status["outputs"][0]["path"] == "spot.mp4"
    assert "could not be delivered to" in status["warnings"][0]
    assert "spot/spot.mp4" in line.files("done")
    assert json.loads((line.root / "done/spot/spot.status.json").read_bytes())["outputs"] == status["outputs"]


def test_of_two_deliveries_the_one_that_went_is_told_as_gone(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finish, "ELSEWHERE_SECONDS", 0.0)
    taken(line.root / "web", "a file where the folder should be")
    actions = [
        {"module": "@nexrender/action-copy", "output": str(line.root / "deliver" / "film.mp4")},
        {"module": "@nexrender/action-encode", "preset": "mp4", "output": "small.mp4"},
        {"module": "@nexrender/action-copy", "input": "small.mp4", "output": str(line.root / "web" / "small.mp4")},
    ]
    line.drop("spot.json", line.job() | {"actions": {"postrender": actions}})

    with serving(line):
        status = line.wait("spot", "completed")

    beside = json.loads((line.root / "deliver" / "film.status.json").read_bytes())
    assert [output["path"] for output in status["outputs"]] == [str(line.root / "deliver" / "film.mp4"), "small.mp4"]
    assert beside["outputs"] == status["outputs"]
    assert "spot/small.mp4" in line.files("done")
    assert "spot/spot.mp4" not in line.files("done")


def test_a_name_that_somebody_took_in_the_last_moment_is_not_overwritten(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = line.root / "deliver" / "spot.mp4"
    copy = disk.copy

    def snatched(source: Path, to: Path) -> None:
        copy(source, to)
        if to.parent == target.parent and not target.exists():
            target.write_text("somebody's", encoding="utf-8")

    monkeypatch.setattr(disk, "copy", snatched)
    monkeypatch.setattr(finish, "ELSEWHERE_SECONDS", 0.5)
    line.drop("spot.json", line.job() | {"watchrender": {"output": "deliver/spot.mp4"}})

    with serving(line):
        status = line.wait("spot", "completed")

    assert target.read_text(encoding="utf-8") == "somebody's"
    film = Path(line.root / status["folder"], status["outputs"][0]["path"])
    assert film.stat().st_size == FILM.stat().st_size


def test_checksums_can_be_left_out(line: Line) -> None:
    line.change(delivery={"checksum": False})
    line.drop("spot.json")

    with serving(line):
        assert line.wait("spot", "completed")["outputs"][0]["sha256"] is None


def test_previews_lie_beside_the_film(line: Line) -> None:
    pytest.importorskip("av")
    line.change(delivery={"previews": "auto"}, verify={"probe": "auto"})
    line.drop("spot.json")

    with serving(line):
        line.wait("spot", "completed", 30)

    assert {"spot/spot.contact.jpg", "spot/spot.thumbnail.jpg"} <= set(line.files("done"))


def test_every_film_has_its_previews_from_the_moment_its_folder_is_there(line: Line) -> None:
    pytest.importorskip("av")
    line.change(delivery={"previews": "auto"})
    encodes = [
        {"module": "@nexrender/action-encode", "preset": "mp4", "output": name} for name in ("small.mp4", "tiny.mp4")
    ]
    line.drop("spot.json", line.job() | {"actions": {"postrender": encodes}})
    done = line.root / "done" / "spot"

    with serving(line):
        until(done.is_dir, 60)
        at_first = {path.name for path in done.iterdir()}
        status = line.wait("spot", "completed", 60)

    assert [output["path"] for output in status["outputs"]] == ["spot.mp4", "small.mp4", "tiny.mp4"]
    wanted = {f"{name}.{kind}.jpg" for name in ("spot", "spot.2", "spot.3") for kind in ("thumbnail", "contact")}
    assert {name for name in at_first if name.endswith(".jpg")} == wanted
    assert {path.name for path in done.iterdir()} == at_first
    assert all((done / name).read_bytes().startswith(b"\xff\xd8") for name in wanted)


def test_a_sequence_beside_a_film_has_previews_too_and_notes_have_none(tmp_path: Path) -> None:
    pytest.importorskip("av")
    image = pytest.importorskip("PIL.Image")
    shutil.copy(FILM, tmp_path / "spot.mp4")
    (tmp_path / "spot.xmp").write_text("a note", encoding="utf-8")
    (tmp_path / "matte").mkdir()
    for number in range(6):
        image.new("RGB", (64, 48), (number * 30, 90, 90)).save(tmp_path / "matte" / f"matte_{number:05}.png")
    found = find(tmp_path, "spot", False, ext="mp4")
    (tmp_path / "thumbnail.jpg").write_text("somebody's", encoding="utf-8")

    make_previews(job(), list(found), tmp_path)

    names = [output.path.name for output in found]
    place = names.index("matte_[00000-00005].png") + 1
    assert names[0] == "spot.mp4" and place > 1
    assert {path.name for path in tmp_path.glob("*.jpg")} == {
        "thumbnail.jpg", "spot.thumbnail.jpg", "spot.contact.jpg", f"spot.{place}.thumbnail.jpg",
        f"spot.{place}.contact.jpg",
    }  # fmt: skip
    assert (tmp_path / "thumbnail.jpg").read_text(encoding="utf-8") == "somebody's"


def test_the_time_for_previews_is_that_of_all_films_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr(finish.probe, "previews", lambda _source, _folder, left, **_: asked.append(left))
    for name in ("spot.mp4", "a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"x")

    make_previews(job(), list(find(tmp_path, "spot", False)), tmp_path, clock=lambda: float(next(clock)))

    assert asked == [35.0, 10.0]


# -- by itself -------------------------------------------------------------------------------------------------------


def job(**changes: Any) -> Job:
    return Job(**({"id": "x", "serial": 1, "arrival": 1, "name": "spot", "sub": "a/b"} | changes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{job}.{ext}", "spot.mp4"),
        ("{sub}/{date}/{job}", "a/b/2026-11-24/spot"),
        ("{composition}", "Main _ 2"),
        ("{other} {} {job", "{other} {} {job"),
        ("{{job}}", "{spot}"),
    ],
)
def test_words_in_braces(text: str, expected: str) -> None:
    assert fill_in(text, job(composition="Main / 2"), "mp4", datetime(2026, 11, 24)) == expected


def test_a_word_that_was_filled_in_is_not_filled_in_again() -> None:
    assert fill_in("{job}", job(name="{sub}{ext}"), "mp4", datetime(2026, 11, 24)) == "{sub}{ext}"


@pytest.mark.parametrize("composition", ["..", "   ", "", None, "///"])
def test_a_composition_is_never_a_way_out(composition: str | None) -> None:
    found = fill_in("{composition}", job(composition=composition), "mp4", datetime(2026, 11, 24))

    assert found and found not in (".", "..") and "/" not in found


def test_a_delivery_that_was_cut_off_at_any_step_is_completed_by_the_next(tmp_path: Path) -> None:
    folder, target = tmp_path / "job", tmp_path / "deliver" / "film.mp4"
    folder.mkdir()
    entry = {"from": "spot.mp4", "to": str(target), "replace": False}
    (folder / "spot.status.json").write_text("{}")
    target.parent.mkdir()
    (target.parent / ".film.mp4.watchrender-part").write_text("half of it")
    shutil.copy(FILM, folder / "spot.mp4")

    deliver_elsewhere(folder, [entry])
    shutil.copy(FILM, folder / "spot.mp4")  # as if the cut had come before the original was removed
    deliver_elsewhere(folder, [entry])
    deliver_elsewhere(folder, [entry])

    assert sorted(path.name for path in target.parent.iterdir()) == ["film.mp4", "film.status.json"]
    assert target.read_bytes() == FILM.read_bytes()
    assert not (folder / "spot.mp4").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked to be cut off")
@pytest.mark.parametrize("there", [None, 2, 9])
def test_a_delivery_of_frames_that_is_cut_off_at_any_effect_is_completed_by_the_next(
    tmp_path: Path, there: int | None
) -> None:
    """`there`: so many frames of an older film at that place, which the new one replaces."""
    passed = tmp_path / "points"
    cut_at = ["none of these"]
    for number in itertools.count():
        folder, target = tmp_path / f"{number}" / "job", tmp_path / f"{number}" / "deliver" / "film"
        entry = {"from": "frames/spot_[0-4].png", "to": str(target), "replace": there is not None}
        frames(folder / "frames", 5, "new")
        (folder / "spot.status.json").write_text("{}")
        if there is not None:
            frames(target, there, "new" if there == 9 else "old")  # those of the older one may be the same
        _cut(lambda folder=folder, entry=entry: deliver_elsewhere(folder, [entry]), passed, cut_at[number])
        if number == 0:
            cut_at += passed.read_text(encoding="utf-8").splitlines()
            continue

        disk.sweep_beside(target.with_suffix(".status.json"))  # as every start does
        deliver_elsewhere(folder, [entry])

        assert sorted(path.name for path in target.iterdir()) == [f"spot_{frame}.png" for frame in range(5)], cut_at
        assert {path.read_text()[:3] for path in target.iterdir()} == {"new"}
        assert sorted(path.name for path in target.parent.iterdir()) == ["film", "film.status.json"]
        left = {path.name for path in folder.iterdir()} - {".attempt-delivered"}  # which every start removes
        assert left == {"spot.status.json"}, cut_at[number]
        if number == len(cut_at) - 1:
            break
    assert len(cut_at) > 20


def frames(folder: Path, count: int, age: str) -> None:
    folder.mkdir(parents=True)
    for frame in range(count):
        (folder / f"spot_{frame}.png").write_text(f"{age} frame {frame}")


def _cut(what: Callable[[], None], passed: Path, point: str) -> None:
    """Do it in a process of its own, which ends at this point."""
    pid = os.fork()
    if pid == 0:
        try:
            disk.listen_to({"WATCHRENDER_POINTS": str(passed), "WATCHRENDER_DIE_AT": point})
            what()
        finally:
            os._exit(0)  # also where it fails: what comes after is the parent's
    os.waitpid(pid, 0)


@pytest.mark.parametrize("name", ["x" * 250, "名" * 83, "\U0001f3ac" * 62])
def test_a_film_arrives_under_a_name_at_the_disks_limit_and_its_status_too(tmp_path: Path, name: str) -> None:
    folder, target = tmp_path / "spot", tmp_path / "films" / f"{name}.mp4"
    folder.mkdir()
    (folder / "spot.mp4").write_text("a film")
    (folder / "spot.status.json").write_text("{}")
    deliver_elsewhere(folder, [{"from": "spot.mp4", "to": str(target), "replace": False}])

    assert target.read_text() == "a film"
    assert sorted(path.suffix for path in target.parent.iterdir()) == [".json", ".mp4"]


def test_a_place_with_another_film_refuses(tmp_path: Path) -> None:
    folder, target = tmp_path / "job", tmp_path / "deliver" / "film.mp4"
    folder.mkdir()
    shutil.copy(FILM, folder / "spot.mp4")
    taken(target)

    with pytest.raises(FileExistsError):
        deliver_elsewhere(folder, [{"from": "spot.mp4", "to": str(target), "replace": False}])

    assert target.read_text() == "somebody's"
    assert (folder / "spot.mp4").is_file()


def test_what_is_no_delivery_is_passed_over(tmp_path: Path) -> None:
    deliver_elsewhere(tmp_path, [None, {}, {"from": 1, "to": 2}, {"from": "gone.mp4", "to": str(tmp_path / "x")}])

    assert list(tmp_path.iterdir()) == []
