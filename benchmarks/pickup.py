"""From the rename into the inbox to the start of aerender, beside `inotifywait` and the same nexrender in a loop; and
the part of it that is watchrender's own, with a long history behind it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable

from benchmarks.history import fill, instant
from benchmarks.report import Figure, middle, ms, part
from benchmarks.stand import Stand, bare, bare_environment, needs, wait_until

_METHOD = (
    "{drops} drops each, by turns, the next when the last is over. The loop is `inotifywait -m -e moved_to inbox | "
    "while read f; do nexrender-cli -f $f; done`, with the same nexrender: it checks, records and retries nothing. The "
    "last row is the part that is ours, from the rename to the start of nexrender's process, with {history:,} finished "
    "jobs in the ledger; there a renderer that takes no time stands in for nexrender, and the start of its interpreter "
    "(python, some 10 ms) is in the figure. Median and middle nine tenths."
)


def measure(*, quick: bool) -> list[Figure]:
    drops, history = (6, 2_000) if quick else (40, 50_000)
    ours, loop = _side_by_side(drops)
    own = _own_part(drops, history)
    ratio = middle(ours) / middle(loop)
    rows = [
        ("from the rename to", "", "p95"),
        ("aerender, watchrender", ms(ours), f"{part(ours, 0.95) * 1000:.0f} ms"),
        ("aerender, inotifywait and a loop", ms(loop), f"{part(loop, 0.95) * 1000:.0f} ms"),
        (f"nexrender, watchrender's own part, {history:,} jobs behind it", ms(own), f"{part(own, 0.95) * 1000:.0f} ms"),
    ]
    goals = [
        ("median ≤ 1.15 × the loop", f"{ratio:.2f}", ratio <= 1.15),
        ("our own part: median ≤ 25 ms", f"{middle(own) * 1000:.1f} ms", middle(own) <= 0.025),
        ("our own part: p95 ≤ 60 ms", f"{part(own, 0.95) * 1000:.1f} ms", part(own, 0.95) <= 0.060),
    ]
    method = _METHOD.format(drops=drops, history=history)
    return [Figure(name="pickup", title="Pick-up", method=method, rows=rows, goals=goals)]


def _side_by_side(drops: int) -> tuple[list[float], list[float]]:
    with Stand() as ours, Stand() as theirs:
        project, other = ours.project(), theirs.project()
        ours.start()
        loop = _start_loop(theirs)
        try:
            found: tuple[list[float], list[float]] = ([], [])
            for number in range(drops + 1):  # the first of each loads files from the disk and is not counted
                found[0].append(_drop(ours, f"j{number}", ours.job(project), lambda n=number: ours.done() > n))
                films = theirs.folder / "bare-done"
                films.mkdir(exist_ok=True)
                film = films / f"j{number}.mp4"
                copy = {"module": "@nexrender/action-copy", "input": "result.mp4", "output": str(film)}
                job = theirs.job(other) | {"uid": f"j{number}", "actions": {"postrender": [copy]}}
                found[1].append(_drop(theirs, f"j{number}", job, film.exists))
        finally:
            os.killpg(loop.pid, signal.SIGTERM)
            loop.wait()
        return found[0][1:], found[1][1:]


def _start_loop(stand: Stand) -> subprocess.Popen[bytes]:
    command = shlex.join(bare(stand, stand.inbox / "F", 0)).replace(shlex.quote(str(stand.inbox / "F")), '"$f"')
    watch = f"{needs('inotifywait', 'inotify-tools')} -q -m -e moved_to --format %w%f {shlex.quote(str(stand.inbox))}"
    script = f"{watch} | while read -r f; do {command} > /dev/null 2>&1; done"
    loop = subprocess.Popen(["sh", "-c", script], env=bare_environment(stand), start_new_session=True)
    time.sleep(1.0)
    return loop


def _own_part(drops: int, history: int) -> list[float]:
    with Stand() as stand:
        instant(stand)
        fill(stand, history)
        project = stand.project()
        stand.start()
        stand.clear()
        time.sleep(2.0)
        before = stand.done()
        return [
            _drop(stand, f"own{number}", stand.job(project), lambda n=number: stand.done() > before + n)
            for number in range(drops)
        ]


def _drop(stand: Stand, name: str, job: dict[str, object], is_over: Callable[[], bool]) -> float:
    """Seconds from the rename to the start; returns when the job is over and the machine quiet again."""
    count = len(stand.started())
    at = stand.drop(name, job)
    wait_until(lambda: len(stand.started()) > count, 30, 0.002, what="a start")
    wait_until(is_over, 30, what="a film")
    time.sleep(0.4)
    return stand.started()[count] - at
