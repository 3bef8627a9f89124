"""The same jobs on one local runner and on a farm of real nexrender-workers: what does the way over the server cost?"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.report import Figure, middle, sec
from benchmarks.stand import Stand, installed, timed, wait_until
from tests.farm import SECRET, Farm, farm_set

_METHOD = (
    "{jobs} jobs whose render takes {seconds:g} s (the simulated After Effects sleeps between its frames), "
    "{rounds} rounds. The farm is nexrender-server 1.38.0 with nexrender-worker "
    "1.8.16, which asks every 300 ms; watchrender polls every 500 ms and has {extra} jobs more in flight than workers. "
    "Every film is verified, hashed and delivered on both sides. Time: from the first drop to the last film in its "
    "place. Ideal: the renders alone, spread evenly."
)
_FRAMES = 20
_EXTRA = 2


def measure(*, quick: bool) -> list[Figure]:
    installed()
    jobs, seconds, rounds = (8, 1.0, 1) if quick else (24, 3.0, 2)
    rows: list[tuple[str, ...]] = [("", f"{jobs} jobs", "a minute", "ideal", "ratio to ideal")]
    ratios = {}
    for workers in (0, 1, 2, 4):
        took = [_run(jobs, seconds, workers) for _ in range(rounds)]
        ideal = jobs * seconds / max(1, workers)
        ratios[workers] = middle(took) / ideal
        name = "one local runner" if workers == 0 else f"farm, {workers} worker{'s' if workers > 1 else ''}"
        rate = f"{60 * jobs / middle(took):.0f}"
        rows.append((name, sec(took), rate, f"{ideal:.1f} s", f"{ratios[workers]:.2f}"))
    gain = ratios[0] / ratios[2] * 2
    goals = [("two workers ≥ 1.5 × one local runner", f"{gain:.2f} ×", gain >= 1.5)]
    method = _METHOD.format(jobs=jobs, seconds=seconds, rounds=rounds, extra=_EXTRA)
    return [Figure(name="farm", title="A farm beside one local runner", method=method, rows=rows, goals=goals)]


def _run(jobs: int, seconds: float, workers: int) -> float:
    with Stand() as stand, contextlib.ExitStack() as stack:
        if workers:
            farm = stack.enter_context(_farm(stand, workers))
            stand.settings |= _settings(farm, workers)
        project = stand.project(frames=_FRAMES, behaviour={"seconds_per_frame": seconds / _FRAMES})
        stand.start()
        time.sleep(1.0)
        with timed() as took:
            for number in range(jobs):
                stand.drop(f"j{number:02d}", stand.job(project))
            wait_until(lambda: stand.done() == jobs, 60 + 4 * jobs * seconds, 0.02, what="the films")
        return took[0]


def _settings(farm: Farm, workers: int) -> dict[str, Any]:
    server = {"url": farm.url, "secret": SECRET, "poll_interval": "500ms", "max_in_flight": workers + _EXTRA}
    return {"engine": "nexrender-server", "nexrender_server": server}


@contextlib.contextmanager
def _farm(stand: Stand, workers: int) -> Iterator[Farm]:
    farm = Farm(farm_set(), stand.folder / "farm")
    try:
        farm.start_server()
        for number in range(workers):
            farm.start_worker(f"w{number}", stand.aerender)
        yield farm
    finally:
        farm.stop()


if __name__ == "__main__":
    for figure in measure(quick="QUICK" in os.environ):
        print(figure.plain())
