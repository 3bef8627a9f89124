"""The lives of jobs that the kill matrix cuts off at every effect on disk: what is dropped, and what comes of it."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harm.kit import Expected, Harmed
from tests.harm.neighbours import Farm, Hook, Program

#: A volume of memory: another one than that of the tests' folders, and there without root rights.
OTHER_VOLUME = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One life."""

    name: str
    lay: Callable[[Harmed], None]
    expected: dict[str, Expected]
    changes: dict[str, Any] = field(default_factory=dict)
    other_volume: str = ""  # the setting that is to lie on another volume
    rests: Callable[[Harmed], bool] = lambda _home: True  # besides its jobs, is all done that is to be done?
    needs_record: bool = False  # what is promised here is kept in the record alone


def _file(home: Harmed) -> None:
    home.drop("p80_spot.json")


def _sidecar(home: Harmed) -> None:
    home.drop("spot.json")
    home.drop("spot.yaml", "priority: 83\ntags: [x]\n")


def _in_a_sub_folder(home: Harmed) -> None:
    home.drop("clientA/spot.json")


def _two_at_once(home: Harmed) -> None:
    home.drop("one.json")
    home.drop("two.json")


def _bundle_in(home: Harmed, folder: Path) -> None:
    folder.mkdir(parents=True)
    document = {"template": {"src": "spot.aep", "composition": "Main", "outputExt": "mp4"}}
    home.lay(folder / "job.json", json.dumps(document).encode())
    home.lay(folder / "spot.aep", b"a project in a bundle")
    home.lay(folder / "footage" / "clip.mov", b"footage in a bundle")
    for path in folder.rglob("*"):
        if path.suffix == ".aep":
            home.project(path)
    home.payloads[(folder / "spot.aep").relative_to(home.root).as_posix()] = (folder / "spot.aep").read_bytes()


def _bundle(home: Harmed) -> None:
    _bundle_in(home, home.inbox / "spot")


def _zip(home: Harmed) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        document = {"template": {"src": "spot.aep", "composition": "Main", "outputExt": "mp4"}}
        file.writestr("job.json", json.dumps(document))
        file.writestr("spot.aep", "a project in a zip")
    home.drop("spot.zip", packed.getvalue())


def _returned(home: Harmed) -> None:
    folder = home.inbox / "clientA" / "spot"
    status = {
        "schema": "watchrender.status/1",
        "id": "01HF7YAT008R86GB50PNZC84M6",
        "job": "clientA/spot",
        "name": "spot",
        "sub": "clientA",
        "state": "failed",
        "files": {"job": "spot.json", "sidecar": "spot.yaml"},
        "outputs": [],
    }
    (home.root / "status" / "clientA").mkdir(parents=True)
    home.lay(folder / "spot.json", json.dumps(home.job()).encode())
    home.lay(folder / "spot.yaml", b"priority: 84\n")
    home.lay(folder / "spot.log", b"the log of the first life\n")
    home.lay(folder / "spot.status.json", json.dumps(status).encode())


def _retry(home: Harmed) -> None:
    home.drop("spot.json", home.job("CrashOnce"))


def _last_try(home: Harmed) -> None:
    home.drop("spot.json", home.job("Crash") | {"watchrender": {"max_retries": 1}})


def _failure(home: Harmed) -> None:
    home.drop("spot.json", home.job("NoComp"))
    home.drop("spot.yaml", "tags: [y]\n")


def _rejected(home: Harmed) -> None:
    home.drop("broken.json", '{"template": oops}')
    home.drop("denied.json", home.job(actions={"postrender": [{"module": "/tmp/evil.js"}]}))


def _rejected_bundle(home: Harmed) -> None:
    home.lay(home.inbox / "spot" / "job.json", b'{"template": oops in a bundle}')
    home.lay(home.inbox / "spot" / "clip.mov", b"footage of a bundle that does not pass")


def _cancelled_waiting(home: Harmed) -> None:
    home.drop("spot.json")
    home.drop("spot.yaml", "hold: true\n")
    home.lay(home.inbox / "spot.cancel", b"")


def _cancelled_running(home: Harmed) -> None:
    home.drop("spot.json", home.job("Cancel"))


def _cancelled_between_tries(home: Harmed) -> None:
    home.drop("spot.json", home.job("CrashCancel"))


def _withdrawn(home: Harmed) -> None:
    home.drop("withdrawn.json")
    home.lay(home.inbox / "withdrawn.hold", b"")
    home.drop("p90_spot.json", home.job("Withdraw"))


def _elsewhere(home: Harmed) -> None:
    home.drop("spot.json")
    home.drop("spot.yaml", f"output: {home.root}/films/{{job}}.mp4\n")


def _prioritized(home: Harmed) -> None:
    home.drop("spot.json")
    home.lay(home.inbox / "spot.p91", b"")


def _frames(home: Harmed) -> None:
    home.drop("spot.json", home.job(template={"outputExt": "png"}))


def _frames_elsewhere(home: Harmed) -> None:
    """Frames that take the place of older ones, where they are wanted."""
    home.drop("spot.json", home.job(template={"outputExt": "png"}))
    home.drop("spot.yaml", f"output: {home.root}/films/{{job}}\non_exists: replace\n")
    for number in range(6):
        older = home.root / "films" / "spot" / f"older_{number}.png"
        older.parent.mkdir(parents=True, exist_ok=True)
        older.write_bytes(b"an older frame")


def _superseded(home: Harmed) -> None:
    home.drop("first.json", home.job() | {"watchrender": {"hold": True}})
    home.drop("later.json", home.job() | {"watchrender": {"supersedes": "first"}})


def _cancel_all(home: Harmed) -> None:
    for name in ("one", "two"):
        home.drop(f"{name}.json", home.job() | {"watchrender": {"hold": True}})
    home.lay(home.inbox / "_CANCEL_ALL", b"")


def _new_settings(home: Harmed) -> None:
    home.drop("spot.json", home.job("Settings"))


def _playable(home: Harmed) -> None:
    home.drop("spot.json", home.job("Film"))


def _letters(home: Harmed) -> None:
    """A project without a job, an order that names nobody, and a file that is nobody's business."""
    os.utime(home.lay(home.inbox / "lone.aep", b"a project without a job"), (1.7e9, 1.7e9))
    home.lay(home.inbox / "nobody.cancel", b"")
    home.lay(home.inbox / "notes.txt", b"notes of somebody")
    home.drop("spot.json")


def _letters_lie_there(home: Harmed) -> bool:
    wanted = [home.inbox / "lone.aep.WHY.txt", home.inbox / "nobody.cancel.WHY.txt"]
    return all(path.is_file() for path in wanted) and not (home.inbox / "nobody.cancel").exists()


def _through_a_farm(home: Harmed, composition: str = "Main") -> None:
    farm = Farm(home.home)
    home.closers.append(farm.close)
    home.changes |= {
        "engine": "nexrender-server",
        "nexrender_server": {"url": farm.url, "poll_interval": "30ms", "max_in_flight": 2},
    }
    home.configure()
    home.drop("spot.json", home.job(composition))


def _cancelled_on_a_farm(home: Harmed) -> None:
    _through_a_farm(home, "Cancel")


def _farm_is_tidy(home: Harmed) -> bool:
    return not list((home.root / ".farm").glob("*"))


def _told(home: Harmed) -> None:
    hook = Hook()
    home.closers.append(hook.close)
    home.hook = hook
    home.changes |= {"notify": {"ops": {"url": f"{hook.url}/hook", "on": ["completed"]}}}
    home.configure()
    home.drop("spot.json")


def _end_is_told(home: Harmed) -> bool:
    assert home.hook is not None
    return home.lost or "spot" in home.hook.ends_told()


def _sent(home: Harmed) -> None:
    home.changes |= {"server": {"enabled": True, "port": 0}}
    home.configure()
    job = home.job() | {"name": "sent by a program"}
    home.payloads["inbox/spot.json"] = json.dumps(job, ensure_ascii=False, indent=1).encode()
    home.program = Program(lambda: home.service().get("address"), {"name": "spot", "job": job}, "order-4711")
    home.closers.append(home.program.close)


def _sent_is_known(home: Harmed) -> bool:
    """The program has an id by now, and it is that of the job."""
    assert home.program is not None
    return home.program.taken is not None and home.program.taken == home.status("spot").get("id")


DONE, FAILED, CANCELLED = ("completed",), ("failed",), ("cancelled",)

SCENARIOS = [
    Scenario(name="a file", lay=_file, expected={"spot": Expected()}),
    Scenario(name="a file and its settings", lay=_sidecar, expected={"spot": Expected()}),
    Scenario(name="a file in a sub-folder", lay=_in_a_sub_folder, expected={"clientA/spot": Expected()}),
    Scenario(name="two files", lay=_two_at_once, expected={"one": Expected(), "two": Expected()}),
    Scenario(name="a bundle", lay=_bundle, expected={"spot": Expected()}),
    Scenario(name="a zip", lay=_zip, expected={"spot": Expected()}),
    Scenario(name="a returned job", lay=_returned, expected={"clientA/spot": Expected()}),
    Scenario(name="a second try", lay=_retry, expected={"spot": Expected(starts=2)}),
    Scenario(name="the last try", lay=_last_try, expected={"spot": Expected(states=FAILED, starts=2)}),
    Scenario(name="a failure", lay=_failure, expected={"spot": Expected(states=FAILED)}),
    Scenario(
        name="jobs that do not pass",
        lay=_rejected,
        expected={"broken": Expected(states=FAILED, starts=0), "denied": Expected(states=FAILED, starts=0)},
    ),
    Scenario(
        name="a bundle that does not pass",
        lay=_rejected_bundle,
        expected={"spot": Expected(states=FAILED, starts=0)},
    ),
    Scenario(
        name="a waiting job is cancelled",
        lay=_cancelled_waiting,
        expected={"spot": Expected(states=CANCELLED, starts=0)},
    ),
    Scenario(name="a running job is cancelled", lay=_cancelled_running, expected={"spot": Expected(states=CANCELLED)}),
    Scenario(
        name="a job is cancelled between two tries",
        lay=_cancelled_between_tries,
        expected={"spot": Expected(states=CANCELLED, starts=2)},
        changes={"retry": {"first_wait": "2s", "max_wait": "2s"}},
    ),
    Scenario(
        name="a job is withdrawn",
        lay=_withdrawn,
        expected={"spot": Expected(), "withdrawn": Expected(states=CANCELLED, folder=False, starts=0)},
    ),
    Scenario(name="a film for elsewhere", lay=_elsewhere, expected={"spot": Expected()}),
    Scenario(name="a priority asked for", lay=_prioritized, expected={"spot": Expected()}),
    Scenario(name="single frames", lay=_frames, expected={"spot": Expected(films=4)}),
    Scenario(name="single frames for elsewhere", lay=_frames_elsewhere, expected={"spot": Expected(films=4)}),
    Scenario(
        name="a newer job takes the place of an older",
        lay=_superseded,
        expected={"first": Expected(states=CANCELLED, starts=0), "later": Expected()},
    ),
    Scenario(
        name="all that wait are cancelled",
        lay=_cancel_all,
        expected={name: Expected(states=CANCELLED, starts=0) for name in ("one", "two")},
    ),
    Scenario(name="settings that come after the start", lay=_new_settings, expected={"spot": Expected(starts=2)}),
    Scenario(
        name="a film with previews",
        lay=_playable,
        expected={"spot": Expected()},
        changes={"delivery": {"previews": "auto"}},
    ),
    Scenario(
        name="letters to who dropped something else",
        lay=_letters,
        expected={"spot": Expected()},
        rests=_letters_lie_there,
    ),
    Scenario(name="through a farm", lay=_through_a_farm, expected={"spot": Expected()}, rests=_farm_is_tidy),
    Scenario(
        name="cancelled on a farm",
        lay=_cancelled_on_a_farm,
        expected={"spot": Expected(states=CANCELLED)},
        rests=_farm_is_tidy,
    ),
    Scenario(name="somebody is told", lay=_told, expected={"spot": Expected()}, rests=_end_is_told),
    Scenario(
        name="sent over HTTP",
        lay=_sent,
        expected={"spot": Expected()},
        rests=_sent_is_known,
        needs_record=True,
    ),
    Scenario(name="done on another volume", lay=_sidecar, expected={"spot": Expected()}, other_volume="folders.done"),
    Scenario(
        name="rendered on another volume",
        lay=_file,
        expected={"spot": Expected()},
        changes={"nexrender": {"render_to": "work_dir"}},
        other_volume="nexrender.work_dir",
    ),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
