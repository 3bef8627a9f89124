"""A full inbox: how long until all is queued, what does lying there cost, how soon is the next picked?"""

from __future__ import annotations

import json
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import Figure, middle
from benchmarks.stand import Stand, free_port, timed, wait_until

_METHOD = (
    "N job files are moved into the inbox of a running, paused service at once, on a local disk, settings as they are. "
    "Queued: until queue.json says so (it is written every 2 s at most). Memory and CPU: of the service's process, "
    "while all lie there and nothing happens, {idle} s long. Page: `GET /jobs?limit=100`, the middle of ten, and the "
    "slowest. Picked: from taking `_PAUSE` away to aerender's start, the middle of five. The page and the API are "
    "served meanwhile."
)


def measure(*, quick: bool) -> list[Figure]:
    sizes = (200, 1000) if quick else (1000, 10_000, 50_000)
    idle = 5.0 if quick else 60.0
    found = {size: _one(size, idle) for size in sizes}
    rows = [("jobs", "all queued", "the last one alone", "memory", "peak", "idle CPU", "one scan", "page", "picked")]
    for size, seen in found.items():
        rows.append(
            (
                f"{size:,}",
                f"{seen['queued']:.1f} s",
                f"{seen['one']:.2f} s",
                f"{seen['memory']:.0f} MiB",
                f"{seen['peak']:.0f} MiB",
                f"{seen['cpu']:.2f} %",
                f"{seen['scan'] * 1000:.1f} ms",
                f"{seen['page'] * 1000:.0f} ms ({seen['slowest page'] * 1000:.0f})",
                f"{seen['picked'] * 1000:.0f} ms",
            )
        )
    return [
        Figure(name="inbox", title="A full inbox", method=_METHOD.format(idle=idle), rows=rows, goals=_goals(found))
    ]


def _goals(found: dict[int, dict[str, float]]) -> list[tuple[str, str, bool]]:
    goals = []
    if 10_000 in found:
        seen = found[10_000]
        goals.append(("10 000 queued within 15 s", f"{seen['queued']:.1f} s", seen["queued"] <= 15))
        goals.append(("10 000 waiting cost ≤ 1 % of a core", f"{seen['cpu']:.2f} %", seen["cpu"] <= 1))
    if 50_000 in found:
        peak = found[50_000]["peak"]
        goals.append(("50 000 waiting stay within 250 MiB, at the peak", f"{peak:.0f} MiB", peak <= 250))
    few, many = min(found), max(found)
    for name, what in (("queued", "queued"), ("memory", "memory"), ("cpu", "idle CPU")):
        growth = found[many][name] / found[few][name] / (many / few)
        words = f"growth at most linear from {few:,} to {many:,}: {what}"
        goals.append((words, f"{growth:.2f} × linear", growth <= 1.0))
    for some, more in pairwise(sorted(found)):  # a thousand names fit into a processor's own memory, fifty do not
        growth = found[more]["scan"] / found[some]["scan"] / (more / some)
        goals.append((f"… from {some:,} to {more:,}: one scan", f"{growth:.2f} × linear", growth <= 1.5))
    for name, most in (("page", 0.02), ("picked", 0.1)):
        more = found[many][name] - found[few][name]
        goals.append((f"flat from {few:,} to {many:,}: {name}", f"{more * 1000:+.0f} ms", more <= most))
    return goals


def _one(size: int, idle: float) -> dict[str, float]:
    with Stand(settings={"server": {"enabled": True, "port": free_port()}}) as stand:
        project = stand.project()
        stand.start()
        (stand.inbox / "_PAUSE").touch()
        wait_until(lambda: _reads(stand.root / "status" / "service.json").get("paused") is True, 30, what="the pause")
        text = json.dumps(stand.job(project))
        hidden = [stand.inbox / f".sh{number}.tmp" for number in range(size)]
        for path in hidden:
            path.write_text(text)
        seen: dict[str, float] = {"queued": _drop_all(stand, hidden, size)}
        began = time.monotonic()
        stand.drop("p99_one", json.loads(text))
        status = stand.root / "status" / "one.status.json"
        wait_until(lambda: _reads(status).get("state") == "queued", 60, what="one more")
        seen["one"] = time.monotonic() - began
        seen |= _quiet(stand, idle) | _page(stand)
        return seen | {"picked": middle([_picked(stand) for _ in range(5)])}


def _picked(stand: Stand) -> float:
    """From the end of a pause to the start of a render; paused again, and quiet, after it."""
    before, began_at = len(stand.started()), time.time()
    (stand.inbox / "_PAUSE").unlink()
    wait_until(lambda: len(stand.started()) > before, 60, what="a start")
    (stand.inbox / "_PAUSE").touch()
    told = stand.root / "status" / "service.json"
    wait_until(lambda: _reads(told).get("paused") is True and not _reads(told).get("rendering"), 60, what="a pause")
    time.sleep(1.0)
    return stand.started()[before] - began_at


def _drop_all(stand: Stand, hidden: list[Path], size: int) -> float:
    began = time.monotonic()
    for path in hidden:
        path.rename(stand.inbox / f"{path.name[1:-4]}.json")
    queue = stand.root / "status" / "queue.json"
    wait_until(lambda: _reads(queue).get("total", 0) >= size, 600, 0.1, what="the queue")
    return time.monotonic() - began


def _quiet(stand: Stand, seconds: float) -> dict[str, float]:
    service = psutil.Process(stand.pid)
    stand.wait_for_quiet()
    before = sum(service.cpu_times()[:2])
    time.sleep(seconds)
    cpu = (sum(service.cpu_times()[:2]) - before) / seconds * 100
    health = _reads(stand.root / "status" / "service.json").get("health", {})
    peak = next(
        (int(line.split()[1]) / 1024 for line in _lines(f"/proc/{stand.pid}/status") if line.startswith("VmHWM")), 0.0
    )
    return {"cpu": cpu, "memory": service.memory_info().rss / 2**20, "peak": peak, "scan": health["scan_seconds"]}


def _page(stand: Stand) -> dict[str, float]:
    """How long the API needs for a page of jobs."""
    address = f"http://127.0.0.1:{stand.settings['server']['port']}/api/v1/jobs?limit=100"
    found = []
    for _ in range(10):
        with timed() as took, urllib.request.urlopen(address, timeout=60) as answer:
            jobs = json.load(answer)["jobs"]
        assert len(jobs) == 100
        found += took
    return {"page": middle(found), "slowest page": max(found)}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _reads(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
