"""The whole line from outside: the real command, real nexrender, the simulator, and nothing but the contract.

Many jobs share a service here, because each render costs a second; what they have in common is told by a table.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.line import until
from tests.real import Real

pytestmark = [pytest.mark.nexrender, pytest.mark.skipif(os.name == "nt", reason="drives the service by POSIX signals")]

OVER = ("completed", "failed", "cancelled")


class Witness:
    """Somebody who watches done/ all the time, as another program would."""

    def __init__(self, done: Path, expected: int) -> None:
        self.done, self.expected = done, expected
        self.first: dict[str, list[str]] = {}
        self.changed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        sizes: dict[str, dict[str, int]] = {}
        last = False
        while not last:
            last = self._stop.is_set()  # what came just before the end is looked at, too
            for folder in self.done.glob("*") if self.done.is_dir() else ():
                found = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
                known = sizes.setdefault(folder.name, found)
                self.first.setdefault(folder.name, sorted(found))
                if known != found:
                    self.changed.append(f"{folder.name}: {known} -> {found}")
            time.sleep(0.001)


# -- the way to done/ -------------------------------------------------------------------------------------------------


def test_jobs_of_every_form_arrive_in_done_complete_at_once_and_in_their_order(real: Real) -> None:
    project = real.project("spot", behaviour={"seconds_per_frame": 0.01})
    (real.root / "inbox" / "_PAUSE").touch()
    real.drop("later@low.json", project)
    real.drop("p90_first.json", project, watchrender={"tags": ["a"]})
    real.put("short.yaml", f"template: {project}\ncomposition: Main\nframes: 0-9\next: mp4\n")
    real.put("sided.json", json.dumps(real.job(project)))
    real.put("sided.yaml", "priority: 80\n")
    bundle = real.root / "inbox" / "bundle"
    bundle.mkdir()
    (bundle / "spot.aep").write_bytes(project.read_bytes())
    (bundle / "job.json").write_text(json.dumps(real.job(Path("spot.aep"))))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("packed/job.yaml", "template: spot.aep\ncomposition: Main\next: mp4\n")
        made.write(project, "packed/spot.aep")
    real.put("p60_packed.zip", packed.getvalue())
    real.put("sequence.json", json.dumps(real.job(project) | {"template": {
        "src": str(project), "composition": "Main", "outputExt": "png", "frameStart": 0, "frameEnd": 4}}))  # fmt: skip
    names = ("first", "sided", "packed", "short", "bundle", "sequence", "later")

    real.start()
    for name in names:
        real.wait(name, "queued")
    until(lambda: real.overview("queue").get("total") == len(names), 10)
    # Places are kept fresh, not exact at every moment: each status is written by itself, and while the last ones queue
    # two may tell of the same place.
    until(lambda: sorted(real.status(name)["position"] or 0 for name in names) == list(range(1, len(names) + 1)), 30)
    queue = real.overview("queue")
    (real.root / "inbox" / "_PAUSE").unlink()
    with Witness(real.root / "done", len(names)) as witness:
        ended = {name: real.wait(name, *OVER) for name in names}

    assert {name: status["state"] for name, status in ended.items()} == dict.fromkeys(names, "completed")
    assert witness.changed == []
    assert all(f"{name}.status.json" in witness.first[name] for name in names)
    assert witness.first["sided"] == sorted(
        ["sided.json", "sided.yaml", "sided.mp4", "sided.log", "sided.status.json", *_previews("sided")]
    )
    assert (real.root / "done/bundle/bundle/job.json").is_file()
    assert (real.root / "done/packed/p60_packed.zip").is_file()
    assert ended["sequence"]["outputs"][0] | {"bytes": 0} == {
        "path": "frames/sequence_[00000-00004].png", "frames": 5, "bytes": 0, "sha256": None,
    }  # fmt: skip
    started = sorted(names, key=lambda name: ended[name]["started_at"])
    assert (started[0], started[1], started[2], started[-1]) == ("first", "sided", "packed", "later")
    assert {name: (ended[name]["priority"], ended[name]["priority_from"]) for name in names} == {
        "first": (90, "filename"), "sided": (80, "sidecar"), "packed": (60, "filename"), "short": (50, "default"),
        "bundle": (50, "default"), "sequence": (50, "default"), "later": (20, "filename"),
    }  # fmt: skip
    assert ended["short"]["progress"]["frames"] == 10
    assert [job["job"] for job in queue["queue"]][:3] == ["first", "sided", "packed"]
    assert list((real.root / "inbox").iterdir()) == []
    assert list((real.root / "active").iterdir()) == []
    assert real.end() == 0
    assert real.stray() == []


def _previews(name: str) -> list[str]:
    try:
        import av  # noqa: F401
    except ImportError:
        return []
    return [f"{name}.contact.jpg", f"{name}.thumbnail.jpg"]


# -- the way to failed/ -----------------------------------------------------------------------------------------------


#: Dropped name → (what is in it, what the status says in the end, how many tries, a word of the letter).
REFUSED: dict[str, tuple[str | dict[str, Any], str, int, str]] = {
    "broken.json": ('{"template": {"src": "x.aep",\n "composition": oops}}', "JOB_UNREADABLE", 0, "line 2"),
    "list.json": ("[1, 2]", "JOB_INVALID", 0, "object"),
    "nothing.json": ('{"template": {}}', "JOB_INVALID", 0, "template"),
    "huge.json": ('{"template": "' + "x" * 200_000 + '"}', "JOB_TOO_LARGE", 0, "watch.max_job_size"),
    "sided.json": ({"composition": "Main"}, "SIDECAR_INVALID", 0, "priority"),
    "stranger.json": ({"actions": {"postrender": [{"module": "/tmp/evil.js"}]}}, "POLICY_DENIED", 0, "module"),
    "missing.json": ({"src": "nowhere.aep"}, "TEMPLATE_MISSING", 0, "nowhere.aep"),
    "gone.json": ({"assets": [{"type": "image", "layerName": "a", "src": "gone.png"}]}, "ASSET_MISSING", 0, "gone.png"),
    "crashes.json": ({"behaviour": {"mode": "crash", "frame": 5}}, "RENDER_CRASHED", 2, "frame"),
    "fails.json": ({"behaviour": "codec"}, "RENDER_FAILED", 2, "compression"),
    "filmless.json": ({"behaviour": "no_film"}, "OUTPUT_MISSING", 2, "film"),
    "stalls.json": ({"behaviour": "hang_mid_render"}, "RENDER_STALLED", 2, "stood still"),
    "late.json": ({"behaviour": "busy_hang", "watchrender": {"render_timeout": "2s"}}, "RENDER_TIMEOUT", 2, "longer"),
    "mute.json": ({"behaviour": "hang_at_launch"}, "STARTUP_TIMEOUT", 2, "dialog"),
}  # fmt: skip


def test_every_kind_of_failure_ends_in_failed_with_its_code_its_cure_and_a_letter(real: Real) -> None:
    real.settings |= {
        "watch": {"max_job_size": "100KiB", "assets_deadline": "1s", "settle": "300ms"},
        "limits": real.settings["limits"] | {"stall": "3s", "startup": "2s"},
        "retry": {"max_retries": 1, "first_wait": "100ms", "max_wait": "200ms"},
    }
    real.put("sided.yaml", "priority: 5000\n")
    for name, (content, *_) in REFUSED.items():
        real.put(name, content if isinstance(content, str) else json.dumps(_job(real, name, content)))
    real.start()

    ended = {name: real.wait(name.removesuffix(".json"), *OVER) for name in REFUSED}

    assert {name: status["state"] for name, status in ended.items()} == dict.fromkeys(REFUSED, "failed")
    assert {name: status["error"]["code"] for name, status in ended.items()} == {
        name: code for name, (_, code, _, _) in REFUSED.items()
    }
    assert {name: len(status["attempts"]) for name, status in ended.items()} == {
        name: tries for name, (_, _, tries, _) in REFUSED.items()
    }
    for name, (_, code, _, word) in REFUSED.items():
        folder = real.root / "failed" / name.removesuffix(".json")
        letter = (folder / "WHY.txt").read_text(encoding="utf-8")
        assert word in letter, letter
        assert code in letter and "What to do" in letter
        assert {path.name for path in folder.iterdir()} >= {name, "WHY.txt", f"{folder.name}.log"}
        assert ended[name]["error"]["cure"]
        assert ended[name]["error"]["kind"] == ("transient" if len(ended[name]["attempts"]) else "job")
    assert not list((real.root / "done").iterdir())
    assert real.end() == 0
    assert real.stray() == []


def _job(real: Real, name: str, content: dict[str, Any]) -> dict[str, Any]:
    """A job of which one thing is wrong."""
    said = dict(content)
    project = real.project(name.removesuffix(".json"), behaviour=said.pop("behaviour", None))
    job = real.job(Path(said.pop("src", str(project))), said.pop("composition", "Main"))
    return job | said


def test_a_good_film_is_a_success_whatever_after_effects_does_then(real: Real) -> None:
    real.settings["limits"] |= {"finish_grace": "1s"}
    real.drop("hangs.json", real.project("hangs", behaviour="hang_after_elapsed"))
    real.drop("fonts.json", real.project("fonts", behaviour="missing_fonts", fonts_missing=["Bebas"]))
    real.start()

    hangs, fonts = real.wait("hangs", *OVER), real.wait("fonts", *OVER)

    assert (hangs["state"], fonts["state"]) == ("completed", "completed")
    assert any("font" in warning.lower() for warning in fonts["warnings"])
    assert real.end() == 0
    assert real.stray() == []


@pytest.mark.parametrize(("configured", "state"), [("fail", "failed"), ("warn", "completed")])
def test_missing_fonts_and_footage_mean_what_is_configured(real: Real, configured: str, state: str) -> None:
    real.settings["verify"] = {"missing_fonts": configured, "missing_footage": configured}
    real.settings["retry"] |= {"max_retries": 0}
    real.drop("fonts.json", real.project("fonts", behaviour="missing_fonts", fonts_missing=["Bebas"]))
    real.drop("footage.json", real.project("footage", footage=["logo.png"]))
    real.start()

    assert (real.wait("fonts", *OVER)["state"], real.wait("footage", *OVER)["state"]) == (state, state)


@pytest.mark.parametrize(
    ("behaviour", "code"), [("licence", "LICENSE"), ("disk_full", "DISK_FULL"), (None, "AERENDER_NOT_FOUND")]
)
def test_the_environment_stops_the_queue_and_takes_no_try_and_it_goes_on_by_itself(
    real: Real, behaviour: str | None, code: str
) -> None:
    gone = real.aerender.with_name("away")
    sick = real.aerender.with_name("behaviour.json")
    if behaviour is None:
        real.aerender.rename(gone)
    else:
        sick.write_text(json.dumps({"mode": behaviour}))
    real.drop("spot.json", real.project("spot"))
    real.start()

    until(lambda: code in [found["code"] for found in real.overview("service").get("waiting", [])], 30)
    waiting = real.wait("spot", "queued")
    gone.rename(real.aerender) if behaviour is None else sick.unlink()
    done = real.wait("spot", *OVER)

    assert (waiting["attempts"], waiting["state"]) == ([], "queued")
    assert (done["state"], len(done["attempts"])) == ("completed", 1)
    until(lambda: real.overview("service")["waiting"] == [])


# -- what arrives while nobody looks, or not at once ------------------------------------------------------------------


def test_a_half_copied_file_is_never_taken(real: Real) -> None:
    real.settings["watch"] = {"settle": "500ms", "cut_off": "20s"}
    project = real.project("spot")
    data = json.dumps(real.job(project)).encode()
    target = real.root / "inbox" / "slow.json"
    real.start()

    with open(target, "wb") as file:
        for place in range(0, len(data), 20):  # a slow network: five pieces in a second
            file.write(data[place : place + 20])
            file.flush()
            assert real.status("slow").get("state", "pending") == "pending"
            time.sleep(0.15)
    status = real.wait("slow", *OVER)

    assert status["state"] == "completed"
    assert [line["to"] for line in status["history"]] == ["pending", "validating", "queued", "rendering", "completed"]


def test_files_dropped_while_it_was_down_are_found_and_a_restart_goes_on(real: Real) -> None:
    slow = real.project("slow", behaviour={"seconds_per_frame": 0.1})
    real.drop("running.json", slow)
    real.start()
    real.rendering("running")
    real.drop("waiting.json", real.project("quick"))
    real.wait("waiting", "queued")
    assert real.end() == 0

    stopped = real.status("running")
    (real.root / "inbox" / "waiting.json").rename(real.root / "inbox" / "waiting.p99.json")
    real.drop("new.json", real.project("quick"))
    real.start()
    ended = {name: real.wait(name, *OVER) for name in ("running", "waiting", "new")}

    assert (stopped["state"], stopped["folder"], stopped["attempts"]) == ("queued", "active/running", [])
    assert {status["state"] for status in ended.values()} == {"completed"}
    assert [len(status["attempts"]) for status in ended.values()] == [1, 1, 1]
    assert ended["waiting"]["priority"] == 99
    assert ended["waiting"]["started_at"] < ended["running"]["finished_at"]


def test_a_sidecar_that_comes_late_is_heard(real: Real) -> None:
    real.settings["watch"] = {"settle": "300ms", "scan_interval": "200ms"}
    slow = real.project("slow", behaviour={"seconds_per_frame": 0.1})
    real.drop("p90_running.json", slow)
    real.drop("waiting.json", slow)
    real.start()
    real.rendering("running")

    real.put("waiting.yaml", "priority: 7\ntags: [late]\n")
    real.put("running.yaml", "not_before: 2099-01-01T00:00:00Z\n")
    running = until(lambda: (s := real.status("running")).get("not_before") and s["state"] == "queued" and s, 20)
    waiting = until(lambda: (s := real.status("waiting")).get("tags") and s, 20)

    assert (running["state"], running["attempts"], running["folder"]) == ("queued", [], "active/running")
    assert (waiting["priority"], waiting["priority_from"]) == (7, "sidecar")
    assert real.wait("waiting", *OVER)["state"] == "completed"
    assert (real.root / "active" / "running" / "running.yaml").is_file()


# -- progress, and people with nothing but the folder -----------------------------------------------------------------


def test_progress_is_live_and_written_at_most_once_a_second(real: Real) -> None:
    real.drop("slow.json", real.project("slow", behaviour={"seconds_per_frame": 0.16}))
    real.start()
    real.rendering("slow")
    path = real.root / "status" / "slow.status.json"

    seen: dict[int, float] = {}
    percents: list[float] = []
    while (status := real.status("slow"))["state"] == "rendering" and status["progress"]["stage"] == "rendering":
        seen.setdefault(path.stat().st_ino, time.monotonic())
        percents.append(status["progress"]["percent"])
        time.sleep(0.01)
    gaps = [later - earlier for earlier, later in itertools.pairwise(seen.values())]
    status = real.wait("slow", *OVER)

    assert len(gaps) >= 2
    assert min(gaps) > 0.9
    assert percents == sorted(percents)
    assert len(set(percents)) >= 3
    assert status["progress"] | {"fps": 0} == {
        "percent": 100, "frame": 25, "frames": 25, "fps": 0, "stage": "completed",
    }  # fmt: skip
    beat = real.overview("service")["beat"]
    until(lambda: real.overview("service")["beat"] > beat, 10)


def test_pause_and_cancel_by_file(real: Real) -> None:
    slow = real.project("slow", behaviour={"seconds_per_frame": 0.2, "ignores_signals": True})
    (real.root / "inbox" / "_PAUSE").touch()
    real.drop("running.json", slow)
    real.drop("waiting.json", slow)
    real.start()
    real.wait("waiting", "queued")
    until(lambda: real.overview("service")["paused"])
    assert real.status("running")["started_at"] is None

    (real.root / "inbox" / "_PAUSE").unlink()
    real.rendering("running")
    for name in ("waiting", "running"):
        (real.root / "inbox" / f"{name}.CANCEL.txt").touch()
    ended = {name: real.wait(name, *OVER) for name in ("running", "waiting")}

    assert {status["state"] for status in ended.values()} == {"cancelled"}
    until(lambda: all((real.root / "cancelled" / name / "WHY.txt").is_file() for name in ended))
    until(lambda: list((real.root / "inbox").iterdir()) == [])
    until(lambda: real.stray() == [], 10)
    assert real.places("running") == real.places("waiting") == ["cancelled"]


# -- the command ------------------------------------------------------------------------------------------------------


def test_commands_tell_the_same_with_the_service_up_and_down(real: Real) -> None:
    project = real.project("spot")
    good, bad = real.home / "good.json", real.home / "bad.json"
    good.write_text(json.dumps(real.job(project)))
    bad.write_text(json.dumps(real.job(project) | {"actions": {"predownload": [{"module": "rm"}]}}))

    said = real.call("check", str(good), "--json")
    answer = json.loads(said.stdout)
    assert (said.returncode, answer["accepted"], answer["priority"], answer["position"]) == (0, True, 50, 1)
    assert answer["paths"] == {"template.src": str(project)}
    refused = real.call("check", str(bad), str(real.home / "none.json"))
    assert refused.returncode == 1
    assert "actions.predownload[0].module" in refused.stdout and "none.json is not there" in refused.stdout
    assert real.call("submit", str(good), "--priority", "77", "--sub", "clientA").returncode == 0

    real.start()
    status = real.wait("clientA/good", *OVER)
    up = json.loads(real.call("show", "clientA/good", "--json").stdout)
    assert real.end() == 0
    down = json.loads(real.call("show", status["id"][:12], "--json").stdout)
    listed = json.loads(real.call("list", "--json").stdout)

    assert up == down
    assert [job["job"] for job in listed] == ["clientA/good"]
    assert (down["state"], down["priority"], down["priority_from"]) == ("completed", 77, "filename")
    assert real.call("show", "nobody").returncode == 1
    assert real.call("top").returncode == 3
    for what in ("job", "sidecar", "config", "status"):
        assert "json-schema.org" in json.loads(real.call("schema", what).stdout)["$schema"]


def test_what_the_operator_must_fix_is_told_at_once_and_exits_with_2(real: Real) -> None:
    real.settings |= {"limits": {"stall": "10 mins"}, "sever": {}, "queue": {"default_priority": 500}}
    told = real.call("run")
    assert told.returncode == 2
    for word in ("limits.stall", "sever", "queue.default_priority"):
        assert any(word in line and ".yaml:" in line for line in told.stderr.splitlines()), told.stderr

    real.settings = {"root": str(real.home / "nowhere")}
    told = real.call("run")
    assert (told.returncode, "is not there" in told.stderr) == (2, True)
    assert not (real.home / "nowhere").exists()


# -- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shutdown", ["requeue", "finish"])
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_at_any_moment_of_a_render_and_loses_nothing(
    real: Real, shutdown: str, sign: signal.Signals
) -> None:
    real.settings["shutdown"] = shutdown
    real.settings["limits"] |= {"finish_grace": "500ms"}  # who outlives After Effects holds its output: nexrender waits
    project = real.project(
        "spot", behaviour={"launch_seconds": 0.3, "seconds_per_frame": 0.02, "grandchild": "session"}
    )
    moments = [0.0, 0.15, 0.5, 0.9, 1.4, 1.9]
    for number, moment in enumerate(moments):
        real.drop(f"j{number}.json", project)
        real.start()
        waited = time.monotonic() + moment
        until(lambda waited=waited: time.monotonic() >= waited)

        assert real.end(sign) == 0

        assert real.stray() == [], f"after {moment} s"
        for known in range(number + 1):
            places, status = real.places(f"j{known}"), real.status(f"j{known}")
            assert len(places) == 1, (moment, known, places)
            assert status.get("state") in (None, "pending", "validating", "queued", "completed"), status
            assert (status.get("state") == "completed") == (places == ["done"])
            if shutdown == "finish":
                assert places != ["active"]
            if status.get("state") != "completed":
                assert status.get("attempts", []) == []
    real.start()
    ended = [real.wait(f"j{number}", *OVER) for number in range(len(moments))]

    assert [status["state"] for status in ended] == ["completed"] * len(moments)
    assert [len(status["attempts"]) for status in ended] == [1] * len(moments)
    assert real.end(sign) == 0


@pytest.mark.parametrize("shutdown", ["requeue", "finish"])
def test_two_signals_end_at_once_and_leave_no_process(real: Real, shutdown: str) -> None:
    real.settings["shutdown"] = shutdown
    real.settings["limits"] |= {"terminate_grace": "60s"}
    stubborn = {"seconds_per_frame": 0.3, "ignores_signals": True, "ignores_closed_pipe": True, "grandchild": "daemon"}
    real.drop("spot.json", real.project("spot", behaviour=stubborn))
    process = real.start()
    real.rendering("spot")

    process.send_signal(signal.SIGINT)
    until(lambda: real.overview("service")["state"] != "running" or "stopping" in real.said(), 10)
    began = time.monotonic()

    assert real.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 15
    until(lambda: real.stray() == [], 5)
    assert (real.status("spot")["state"], real.status("spot")["attempts"]) == ("queued", [])
    assert real.places("spot") == ["active"]


def test_settings_come_from_variables_too(real: Real) -> None:
    real.environment |= {"WATCHRENDER_NODE": "render-07", "WATCHRENDER_ROOT": str(real.root)}
    real.drop("spot.json", real.project("spot"))
    real.start()

    assert real.wait("spot", *OVER)["node"] == "render-07"
    assert yaml.safe_load(real.config.read_text())["root"] == str(real.root)
