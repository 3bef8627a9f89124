"""What the farm gets: paths, tags, slips that survive, and what belongs to deploying one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.farm import SECRET, farm_set
from tests.line import until
from tests.waiting import free_port
from watchrender.config import load
from watchrender.core.failure import Failure
from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.handover import Slips, abandon, in_flight, is_windows, job_of, private_folder
from watchrender.ledger.ledger import Ledger
from watchrender.render import node
from watchrender.render.document import Built, Delivery
from watchrender.render.server import Server
from watchrender.spool.folders import Folders

DEPLOY = Path(__file__).parents[1] / "deploy" / "farm"


class Handed:
    """As much of a prepared attempt as a slip takes note of."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.built = Built(
            document={
                "uid": uid,
                "template": {"composition": "Main", "src": "file:///a.aep"},
                "actions": {"postrender": [{"module": "@nexrender/action-encode"}]},
            },
            output="R:\\.farm\\x\\out\\spot.mp4",
            stem="spot",
            ext="mp4",
            sequence=False,
            frames=range(0, 100, 2),
            further=("spot.webm",),
            deliveries=(Delivery(path="actions.postrender[0]", to="/mnt/out/", of="spot.webm"),),
        )


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    made = Ledger(tmp_path / "ledger")
    yield made
    made.close()


def rendering(ledger: Ledger, name: str = "spot") -> Job:
    job = ledger.add(why="test", name=name, file=f"{name}.json", state=State.QUEUED, folder="inbox")
    return ledger.apply(job.id, Event.START, "test", begun=True, folder=f"active/{name}")


def test_a_slip_is_found_again_with_all_that_judging_and_delivering_needs(ledger: Ledger) -> None:
    job = rendering(ledger)
    handed = Handed(f"{job.id}-0123abcd")

    Slips(ledger).add(job, handed)  # type: ignore[arg-type]

    (slip,) = Slips(ledger).all()
    built = slip.built()
    assert (slip.uid, slip.job, slip.doomed) == (handed.uid, job.id, False)
    assert (built.output, built.stem, built.ext, built.sequence, built.frames, built.further, built.deliveries) == (
        handed.built.output, "spot", "mp4", False, range(0, 100, 2), ("spot.webm",), handed.built.deliveries,
    )  # fmt: skip
    assert built.document["template"]["composition"] == "Main"
    assert built.document["actions"]["postrender"] == [{"module": "@nexrender/action-encode"}]


def test_a_doomed_slip_stays_until_the_server_has_forgotten_it(ledger: Ledger) -> None:
    job = rendering(ledger)
    slips = Slips(ledger)
    slips.add(job, Handed("A-1"))  # type: ignore[arg-type]

    slips.doom("A-1")
    assert Slips(ledger).doomed() == ["A-1"]
    assert "A-1" in Slips(ledger)

    slips.drop("A-1")
    assert Slips(ledger).all() == [] and "A-1" not in slips


def test_slips_made_after_a_restart_do_not_take_the_numbers_of_older_ones(ledger: Ledger) -> None:
    job = rendering(ledger)
    Slips(ledger).add(job, Handed("A-1"))  # type: ignore[arg-type]
    Slips(ledger).add(job, Handed("A-2"))  # type: ignore[arg-type]

    assert [slip.uid for slip in Slips(ledger).all()] == ["A-1", "A-2"]


def test_only_a_job_that_renders_and_is_waited_for_is_in_flight(ledger: Ledger) -> None:
    jobs = {name: rendering(ledger, name) for name in ("flies", "doomed", "back")}
    slips = Slips(ledger)
    for name, job in jobs.items():
        slips.add(job, Handed(f"{name}-1"))  # type: ignore[arg-type]
    slips.doom("doomed-1")
    ledger.apply(jobs["back"].id, Event.RESTORE, "test")

    assert in_flight(ledger) == {jobs["flies"].id}


def test_another_engine_dooms_every_slip_and_takes_its_folder_away(ledger: Ledger, tmp_path: Path) -> None:
    config = load(yaml.safe_dump({"root": str(tmp_path / "root")}), "test", {})
    folders = Folders(tmp_path / "root", config.folders)
    Slips(ledger).add(rendering(ledger), Handed("A-1"))  # type: ignore[arg-type]
    private_folder(folders, "A-1").mkdir(parents=True)

    abandon(ledger, folders)

    assert Slips(ledger).doomed() == ["A-1"]
    assert not private_folder(folders, "A-1").exists()


@pytest.mark.parametrize(
    ("uid", "ours"),
    [
        ("01M8713XJKKV8BS70XGF647PAC-c9f51d47", True),
        ("01M8713XJKKV8BS70XGF647PAC", False),
        ("01M8713XJKKV8BS70XGF647PAC-c9f51d47-x", False),
        ("V1StGXR8_Z5jdHi6B-myT", False),
        ("", False),
    ],
)
def test_a_uid_of_ours_names_its_job_and_nobody_elses_does(uid: str, ours: bool) -> None:
    assert job_of(uid) == ("01M8713XJKKV8BS70XGF647PAC" if ours else None)


@pytest.mark.parametrize(
    ("path", "windows"),
    [
        ("R:/x", True),
        ("R:\\x", True),
        ("R:", True),
        ("//server/x", True),
        ("\\\\server\\x", True),
        ("/mnt/R:/x", False),
    ],
)
def test_the_form_of_a_path_tells_the_system_of_the_workers(path: str, windows: bool) -> None:
    assert is_windows(path) is windows


def test_the_config_that_is_deployed_is_one() -> None:
    environ = {"WATCHRENDER_SERVER__TOKEN": "t" * 24, "WATCHRENDER_NEXRENDER_SERVER__SECRET": "s"}
    config = load((DEPLOY / "watchrender.yaml").read_text(encoding="utf-8"), "watchrender.yaml", environ)

    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    watchrender, server = compose["services"]["watchrender"], compose["services"]["server"]
    assert set(environ) == set(watchrender["environment"])
    assert config.engine == "nexrender-server"
    assert str(config.nexrender_server.url) == f"http://server:{server['ports'][0].rpartition(':')[2]}"
    assert any(volume.endswith(f":{config.root}") for volume in watchrender["volumes"])
    assert any(volume == f"state:{config.state_dir}" for volume in watchrender["volumes"])


def test_what_is_deployed_opens_its_ports_on_named_addresses_and_never_without_a_secret() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        for port in service["ports"]:
            address = port.rpartition("}:")[0]
            assert address.startswith("${FARM_ADDRESS:?") or address == "${PAGE_ADDRESS:-127.0.0.1"
        for name, value in service["environment"].items():
            assert ("SECRET" in name or "TOKEN" in name) and ":?" in value, name


@pytest.mark.nexrender
@pytest.mark.parametrize("secret", [SECRET, ""])
def test_the_servers_image_starts_a_server_that_wants_the_secret(tmp_path: Path, secret: str) -> None:
    """Its command, in a folder as the image has it."""
    said = next(
        line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith('CMD ["node", "-e"')
    )
    port = free_port()
    script = json.loads(said.removeprefix("CMD "))[2].replace("3050", str(port))
    found = node.good_node()
    assert not isinstance(found, Failure)
    env = {
        "NEXRENDER_SECRET": secret,
        "NEXRENDER_DATABASE": str(tmp_path / "database.json"),
        "PATH": os.environ["PATH"],
    }
    process = subprocess.Popen(
        [str(found[0]), "-e", script], cwd=farm_set(), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        if not secret:
            assert process.wait(60) == 1
            return
        server = Server(f"http://127.0.0.1:{port}", secret)
        until(lambda: process.poll() is not None or server.failure() is None, 60)
        refused = Server(f"http://127.0.0.1:{port}", "another").failure()
    finally:
        process.kill()
        process.wait()
    assert refused is not None and "secret" in refused.message


def test_every_file_that_the_images_copy_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        word
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for word in line.split()[1:-1]
    ]

    assert set(copied) - {"."} <= kept
    assert all((DEPLOY.parents[1] / name).exists() for name in kept)
