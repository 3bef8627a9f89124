"""A node that waits warm for its job: it fits or the attempt starts cold, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from watchrender.render.engine import Attempt, Limits
from watchrender.render.process import Tree, TreeRecord, reap, stray
from watchrender.render.warm import WarmNode

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node")

_CLI = """
const core = require('@nexrender/core')
const said = {argv: process.argv.slice(2), cwd: process.cwd(), home: process.env.HOME, extra: process.env.EXTRA || null,
  mark: process.env.WATCHRENDER_TREE, input: require('fs').readFileSync(0).length, main: require.main === module,
  loaded: core.loaded}
console.log(JSON.stringify(said))
if (process.argv.includes('--wait')) setTimeout(() => {}, 60000)
else process.exit(process.argv.includes('--fail') ? 3 : 0)
"""
_CORE = "require('fs').appendFileSync(process.env.LOADS, 'x'); module.exports = {loaded: process.uptime()}"


class Bench:
    """A small nexrender of ours, and a node that waits for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = self._file("node_modules/@nexrender/cli/src/bin.js", _CLI)
        self._file("node_modules/@nexrender/cli/package.json", "{}")
        self.core = self._file("node_modules/@nexrender/core/index.js", _CORE)
        self.loads = folder / "loads"
        self.marker = f"watchrender-test-warm-{os.getpid()}-{time.monotonic_ns()}"
        self.records: dict[str, TreeRecord] = {}
        self.number = 0
        self.warm = WarmNode(
            marker=self.marker,
            folder=folder,
            recorded=lambda record: self.records.__setitem__(record.marker, record),
            forgotten=lambda marker: self.records.pop(marker, None) and None,
        )

    def _file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def attempt(self, *words: str, env: dict[str, str] | None = None) -> Attempt:
        assert NODE is not None
        self.number += 1
        own = self.folder / f"attempt-{self.number}"
        own.mkdir()
        given = {"PATH": os.environ["PATH"], "HOME": str(own), "LOADS": str(self.loads)} | (env or {})
        limits = Limits(render=60, startup=60, stall=60, finish_grace=60, terminate_grace=1)
        return Attempt(
            marker=f"{self.marker}.{self.number}",
            command=(NODE, str(self.script), *words),
            env=given,
            cwd=own,
            watch=(),
            log=own / "log",
            limits=limits,
        )

    def run(self, attempt: Attempt) -> tuple[dict[str, object], int | None, str]:
        """What the attempt said, its exit code, and the marker it ran under."""
        with self.warm.start(attempt, lambda record: self.records.__setitem__(record.marker, record)) as tree:
            output = read_all(tree)
            code = tree.wait(20)
            marker = tree.marker
        return json.loads(output), code, marker

    def wait_ready(self) -> None:
        until(self.warm.ready)


def read_all(tree: Tree) -> bytes:
    output, deadline = b"", time.monotonic() + 20
    while not tree.drained and time.monotonic() < deadline:
        output += tree.chunk(0.1) or b""
    return output


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.warm.close()
    assert stray(found.marker) == []


def test_the_second_attempt_is_started_warm_and_sees_what_a_cold_one_sees(bench: Bench) -> None:
    cold, _, _ = bench.run(bench.attempt("--file", "a b"))
    bench.wait_ready()

    attempt = bench.attempt("--file", "a b")
    warm, code, marker = bench.run(attempt)

    assert bench.warm.used == 1
    assert code == 0
    assert warm["cwd"] == str(attempt.cwd)
    assert warm["home"] == attempt.env["HOME"]
    assert warm["mark"] == marker
    own = ("cwd", "home", "mark", "loaded")
    assert {name: said for name, said in warm.items() if name not in own} == {
        name: said for name, said in cold.items() if name not in own
    }
    assert warm["input"] == 0 and warm["main"] is True


def test_an_exit_code_comes_through(bench: Bench) -> None:
    bench.run(bench.attempt())
    bench.wait_ready()

    _, code, _ = bench.run(bench.attempt("--fail"))

    assert bench.warm.used == 1
    assert code == 3


def test_a_waiting_node_is_recorded_before_it_is_started_and_found_by_its_marker(bench: Bench) -> None:
    bench.run(bench.attempt())
    bench.wait_ready()

    found = [record for record in stray(bench.marker) if record.marker in bench.records]

    assert [record.pid for record in found] == [bench.records[found[0].marker].pid]
    assert ".warm-" in found[0].marker


def test_an_attempt_in_another_environment_is_started_cold(bench: Bench) -> None:
    bench.run(bench.attempt())
    bench.wait_ready()

    said, _, _ = bench.run(bench.attempt(env={"EXTRA": "1"}))

    assert bench.warm.used == 0
    assert said["extra"] == "1"


def test_nexrender_installed_anew_is_not_run_from_memory(bench: Bench) -> None:
    bench.run(bench.attempt())
    bench.wait_ready()
    bench.script.write_text(_CLI.replace("loaded: core.loaded", "loaded: 'anew'"))

    said, _, _ = bench.run(bench.attempt())

    assert bench.warm.used == 0
    assert said["loaded"] == "anew"


def test_a_waiting_node_that_was_killed_costs_no_attempt(bench: Bench) -> None:
    bench.run(bench.attempt())
    bench.wait_ready()
    (waiting,) = stray(bench.marker)
    reap(waiting, 0)

    _, code, _ = bench.run(bench.attempt())

    assert bench.warm.used == 0
    assert code == 0


def test_what_cannot_be_loaded_is_left_to_the_cold_start_and_not_tried_again_and_again(bench: Bench) -> None:
    bench.core.write_text(
        "require('fs').appendFileSync(process.env.LOADS, 'x'); if (require.main.filename.endsWith('warm.cjs')) throw 1;"
        "module.exports = {loaded: 0}"
    )
    for _ in range(4):
        _, code, _ = bench.run(bench.attempt())
        assert code == 0

    time_for_another = time.monotonic() + 1
    until(lambda: time.monotonic() > time_for_another)
    assert bench.warm.used == 0
    assert len(bench.loads.read_text()) == 5


def test_a_program_that_is_not_nexrenders_own_script_is_started_as_it_is(bench: Bench) -> None:
    attempt = bench.attempt()
    other = bench.folder / "other.js"
    other.write_text("console.log('{}')")
    changed = Attempt(**{**attempt.__dict__, "command": (attempt.command[0], str(other))})

    bench.run(changed)
    bench.run(bench.attempt())

    assert bench.warm.used == 0


def test_nobody_waits_any_more_when_the_service_is_killed(bench: Bench) -> None:
    code = (
        "import sys, time; sys.path[:0] = sys.argv[1:3]; from pathlib import Path; from test_warm import Bench\n"
        "b = Bench(Path(sys.argv[3])); b.run(b.attempt()); b.wait_ready(); print(b.marker, flush=True); time.sleep(60)"
    )
    other = bench.folder / "killed"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(Path(__file__).parent.parent), str(other)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        marker = service.stdout.readline().decode().strip()
        assert len(stray(marker)) == 1
        service.kill()

    until(lambda: stray(marker) == [])


def test_a_close_ends_the_one_that_waits(bench: Bench) -> None:
    bench.run(bench.attempt())
    bench.wait_ready()

    bench.warm.close()

    assert stray(bench.marker) == []
    assert not any(".warm-" in marker for marker in bench.records)
