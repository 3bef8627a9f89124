"""Jobs whose render takes no time: how long until all films are delivered, beside a shell loop and task-spooler?"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

from benchmarks.report import Figure, middle, sec
from benchmarks.stand import Stand, bare, bare_environment, bare_job, needs, timed, wait_until

_METHOD = (
    "{jobs} jobs of one frame with real nexrender and a simulated After Effects that is done at once, {rounds} rounds, "
    "alternating. The loop is `for f in *.json; do nexrender-cli -f $f; done`, task-spooler the same commands queued "
    "with `tsp` (one slot); neither verifies, hashes, previews or records anything. Time: from the first drop (or "
    "command) to the last film in its place."
)


def measure(*, quick: bool) -> list[Figure]:
    jobs, rounds = (12, 1) if quick else (60, 3)
    needs("tsp", "task-spooler")
    ours: list[float] = []
    loop: list[float] = []
    spooled: list[float] = []
    for _ in range(rounds):
        ours.append(_ours(jobs))
        loop.append(_loop(jobs))
        spooled.append(_spooled(jobs))
    ratio, to_spooler = middle(ours) / middle(loop), middle(ours) / middle(spooled)
    rows = [
        ("", f"{jobs} jobs", "one job", "ratio"),
        ("watchrender", sec(ours), f"{middle(ours) / jobs * 1000:.0f} ms", ""),
        ("shell loop", sec(loop), f"{middle(loop) / jobs * 1000:.0f} ms", f"{ratio:.2f}"),
        ("task-spooler", sec(spooled), f"{middle(spooled) / jobs * 1000:.0f} ms", f"{to_spooler:.2f}"),
    ]
    goals = [
        ("wall time ≤ 1.00 × the loop", f"{ratio:.2f}", ratio <= 1.0),
        ("wall time ≤ 1.00 × task-spooler", f"{to_spooler:.2f}", to_spooler <= 1.0),
    ]
    method = _METHOD.format(jobs=jobs, rounds=rounds)
    return [Figure(name="throughput", title="Throughput", method=method, rows=rows, goals=goals)]


def _ours(jobs: int) -> float:
    with Stand() as stand:
        project = stand.project()
        stand.start()
        time.sleep(1.0)
        with timed() as took:
            for number in range(jobs):
                stand.drop(f"j{number}", stand.job(project))
            wait_until(lambda: stand.done() == jobs, 120, what="our films")
        return took[0]


def _loop(jobs: int) -> float:
    with Stand() as stand:
        _jobs, script = _prepared(stand, jobs, "{command} > /dev/null 2>&1\n")
        with timed() as took:
            subprocess.run(["sh", script], env=bare_environment(stand), check=True)
        _check(stand, jobs)
        return took[0]


def _spooled(jobs: int) -> float:
    with Stand() as stand:
        _jobs, script = _prepared(stand, jobs, "tsp -n {command} > /dev/null\n")
        socket = {"TS_SOCKET": str(stand.folder / "tsp"), "TS_SAVELIST": "", "TS_MAXFINISHED": "2"}
        environment = bare_environment(stand) | socket
        try:
            with timed() as took:
                subprocess.run(["sh", script], env=environment, check=True)
                wait_until(lambda: len(_films(stand)) == jobs, 120, what="the spooler's films")
        finally:
            subprocess.run(["tsp", "-K"], env=environment, check=False)
        return took[0]


def _prepared(stand: Stand, jobs: int, line: str) -> tuple[list[Path], Path]:
    project = stand.project()
    files = [bare_job(stand, project, number) for number in range(jobs)]
    script = stand.folder / "loop.sh"
    words = (shlex.join(bare(stand, file, number)) for number, file in enumerate(files))
    script.write_text("".join(line.format(command=command) for command in words))
    return files, script


def _films(stand: Stand) -> list[str]:
    return os.listdir(stand.folder / "bare-done")


def _check(stand: Stand, jobs: int) -> None:
    if len(_films(stand)) != jobs:
        raise AssertionError(f"the loop made {len(_films(stand))} films of {jobs}")
