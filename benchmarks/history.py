"""What a long history costs: each job's own share of time, system calls to the disk and the start of the service."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from benchmarks.report import Figure, middle, ms, sec
from benchmarks.stand import INSTANT, Stand, wait_until
from watchrender.core.clock import stamp
from watchrender.core.job import new_id
from watchrender.ledger.ledger import JOBS
from watchrender.ledger.storage import JournalDB

FILM = Path(__file__).parent.parent / "watchrender" / "render" / "simulator" / "canned.mp4"
_METHOD = (
    "A ledger with so many finished jobs of the last six days, then {jobs} jobs through a renderer that takes no time, "
    "{rounds} rounds, alternating. A job's cost is the CPU time of the service (its children apart) and the wall time, "
    "both divided by the jobs. Start-up: from the start of the command to the state `running` in `service.json`."
)


def measure(*, quick: bool) -> list[Figure]:
    sizes = (100, 2_000, 10_000) if quick else (100, 10_000, 100_000)
    jobs, rounds = (10, 1) if quick else (40, 3)
    found: dict[int, list[tuple[float, float, float, float]]] = {size: [] for size in sizes}
    with contextlib.ExitStack() as stack:
        stands = {size: stack.enter_context(_stand(size)) for size in sizes}
        for number in range(rounds):
            for size, stand in stands.items():
                found[size].append(_round(stand, jobs, number))
    base = [cpu for _, cpu, _, _ in found[sizes[0]]]
    rows = [("finished jobs", "start-up", "CPU a job", "wall a job", "CPU ratio", "memory")]
    for size in sizes:
        starts, cpus, walls, memory = zip(*found[size], strict=True)
        rows.append(
            (
                f"{size:,}", sec(starts), ms(cpus), ms(walls), f"{middle(cpus) / middle(base):.2f}",
                f"{middle(memory) / 2**20:.0f} MiB",
            )
        )  # fmt: skip
    ratio = middle([cpu for _, cpu, _, _ in found[sizes[-1]]]) / middle(base)
    walls = middle([one[2] for one in found[sizes[-1]]]) / middle([one[2] for one in found[sizes[0]]])
    start = middle([one[0] for one in found[sizes[-1]]])
    goals = [
        (f"CPU a job at {sizes[-1]:,} ≤ 1.10 × that at {sizes[0]}", f"{ratio:.2f}", ratio <= 1.1),
        (f"wall a job at {sizes[-1]:,} ≤ 1.10 × that at {sizes[0]}", f"{walls:.2f}", walls <= 1.1),
        (f"start-up with {sizes[-1]:,} ≤ 3 s", f"{start:.2f} s", start <= 3),
    ]
    method = _METHOD.format(jobs=jobs, rounds=rounds)
    return [Figure(name="history", title="Scale of history", method=method, rows=rows, goals=goals)]


def instant(stand: Stand) -> None:
    """Let a renderer that takes no time stand in for nexrender and After Effects."""
    stand.settings["nexrender"] = {
        "command": ["/usr/bin/python3", "-S", str(INSTANT)],
        "env": {"BENCH_STARTS": str(stand.starts), "BENCH_FILM": str(FILM)},
    }
    stand.settings |= {"delivery": {"previews": "off"}, "verify": {"probe": "off"}}


def fill(stand: Stand, count: int) -> None:
    """A ledger as it is after so many jobs. The records are those of a real one, the ids and times apart."""
    example = _example(stand)
    now = datetime.now(UTC)
    db = JournalDB(stand.state / "ledger" / "state.json", sync="never")
    known = max(db.documents(JOBS), default=0)
    with db.transaction():
        for number in range(1, count + 1):
            at = now - timedelta(days=6) * (1 - number / (count + 1))
            times = {name: stamp(at) for name in ("created_at", "queued_at", "started_at", "finished_at", "updated_at")}
            own = {"id": new_id(int(at.timestamp() * 1000)), "serial": known + number, "arrival": known + number}
            name = {"name": f"old{number}", "file": f"old{number}.json", "folder": f"done/old{number}"}
            db.put(JOBS, known + number, example | times | own | name)
    db._storage.compact()  # type: ignore[attr-defined]
    db.close()


def _example(stand: Stand) -> dict[str, object]:
    """One job's record, made by running it."""
    project = stand.project()
    stand.start()
    before = stand.done()
    stand.drop("example", stand.job(project))
    wait_until(lambda: stand.done() > before, 60, what="an example")
    stand.stop()
    db = JournalDB(stand.state / "ledger" / "state.json", sync="never")
    found = dict(max(db.documents(JOBS).values(), key=lambda record: record["arrival"]))
    db.close()
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def _stand(size: int) -> Stand:
    stand = Stand()
    instant(stand)
    fill(stand, size)
    return stand


def _round(stand: Stand, jobs: int, number: int) -> tuple[float, float, float, float]:
    """Start-up, CPU and wall time of one job, memory."""
    project = stand.project()
    started = stand.start()
    stand.wait_for_quiet()
    service, before = psutil.Process(stand.pid), stand.done()
    first, began = service.cpu_times(), time.monotonic()
    for index in range(jobs):
        stand.drop(f"r{number}-{index}", stand.job(project))
    wait_until(lambda: stand.done() == before + jobs, 120, what="films")
    wall, last = time.monotonic() - began, service.cpu_times()
    cpu = last.user + last.system - first.user - first.system
    memory = service.memory_info().rss
    stand.stop()
    return started, cpu / jobs, wall / jobs, float(memory)
