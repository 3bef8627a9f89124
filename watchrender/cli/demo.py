"""`watchrender demo`: a hot folder in a temporary place, real nexrender, a simulated After Effects, sample jobs.

Runs the real service in a process of its own, drops jobs as a person would, and shows what the status files say.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import typer

from watchrender.cli.common import Exit
from watchrender.config.variables import without_settings
from watchrender.core.failure import Failure
from watchrender.render import nexrender
from watchrender.render.simulator import install_simulator, write_project

_OVER = ("completed", "failed", "cancelled")
_PATIENCE = 240.0


def play(*, keep: Path | None, serve: bool) -> int:
    """Run the demo. Returns the exit code: 0 if all went as it should."""
    installed = nexrender.install(typer.echo)
    if isinstance(installed, Failure):
        typer.echo(f"{installed.message}\n{installed.cure}", err=True)
        return int(Exit.NO)
    home = _home(keep)
    if home is None:
        return int(Exit.FIX)
    _leave_when_asked()
    config, root = _lay_out(home, serve)
    typer.echo(f"\nhot folder: {root}\n")
    service = _start(config, home)
    try:
        _drop_jobs(root, home)
        good = _follow(root, service)
        _show_end(root)
        if serve and good:
            _stay(config, service)
        return int(Exit.DONE if good else Exit.NO)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    finally:
        _end(service)


def _leave_when_asked() -> None:
    """The service is a process of its own: whatever ends us has to end it too, not Ctrl-C alone."""

    def leave(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)


def _home(keep: Path | None) -> Path | None:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="watchrender-demo-"))
    home = keep.expanduser().absolute()
    if home.exists() and any(home.iterdir()):
        typer.echo(f"--keep {home}: this folder is not empty; name a new one", err=True)
        return None
    home.mkdir(parents=True, exist_ok=True)
    return home


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _lay_out(home: Path, serve: bool) -> tuple[Path, Path]:
    """The folders, the stand-in, the projects and the config of the demo."""
    root = home / "hot-folder"
    for name in ("inbox", "projects"):
        (root / name).mkdir(parents=True)
    projects = root / "projects"
    pace = {"launch_seconds": 0.4, "seconds_per_frame": 0.02}
    write_project(projects / "title.aep", composition="Title", frames=50, layers=["headline"], behaviour=pace)
    write_project(
        projects / "teaser.aep",
        composition="Teaser",
        frames=50,
        layers=["headline"],
        behaviour=pace | {"fail_times": 2, "failing": {"mode": "crash", "frame": 20}},
    )
    write_project(projects / "credits.aep", composition="Credits", frames=75, layers=["headline"], behaviour=pace)
    aerender = install_simulator(home / "After Effects (simulated)")
    config = home / "watchrender.yaml"
    settings = {
        "root": str(root),
        "state_dir": str(home / "state"),
        "nexrender": {"aerender": str(aerender)},
        "retry": {"first_wait": "1s", "max_wait": "2s"},
        "limits": {"min_free_disk": "50MiB"},
        "server": {"enabled": serve, "port": 8790 if _is_free(8790) else _free_port()},
    }
    config.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return config, root


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _start(config: Path, home: Path) -> subprocess.Popen[bytes]:
    with open(home / "service.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "watchrender", "run", "-c", str(config)],
            stdout=log,
            stderr=log,
            env=without_settings(os.environ),
        )


def _job(project: str, composition: str, text: str) -> dict[str, Any]:
    return {
        "template": {"src": project, "composition": composition, "outputExt": "mp4"},
        "assets": [{"type": "data", "layerName": "headline", "property": "Source Text", "value": text}],
    }


def _drop_jobs(root: Path, home: Path) -> None:
    """Three jobs with different priorities, one of which fails twice first, and one that is refused."""
    projects = (root / "projects").as_posix()
    jobs: dict[str, Any] = {
        "credits.json": _job(f"{projects}/credits.aep", "Credits", "Thank you"),
        "teaser@high.json": _job(f"{projects}/teaser.aep", "Teaser", "Coming soon"),
        "p90_title.json": _job(f"{projects}/title.aep", "Title", "Good morning"),
        "stranger.json": _job(f"{projects}/title.aep", "Title", "Let me in")
        | {"actions": {"postrender": [{"module": (home / "not-yours.js").as_posix()}]}},
    }
    for name, job in jobs.items():
        hidden = root / "inbox" / f".{name}.tmp"
        hidden.write_text(json.dumps(job, indent=2), encoding="utf-8")
        hidden.rename(root / "inbox" / name)


def statuses(root: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted((root / "status").glob("*.status.json")):
        try:
            found.append(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            continue
    return found


def _follow(root: Path, service: subprocess.Popen[bytes]) -> bool:
    """Show the jobs until all are over. True if they ended as they should."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    deadline = time.monotonic() + _PATIENCE
    said: dict[str, str] = {}
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        while time.monotonic() < deadline and service.poll() is None:
            jobs = statuses(root)
            if console.is_terminal:
                live.update(jobs_table(jobs))
            else:
                _say_changes(jobs, said)
            if len(jobs) == 4 and all(job["state"] in _OVER for job in jobs):
                break
            time.sleep(0.15)
    ended = {job["name"]: job["state"] for job in statuses(root)}
    expected = {"title": "completed", "teaser": "completed", "credits": "completed", "stranger": "failed"}
    if ended != expected:
        typer.echo(f"the demo did not end as it should: {ended}; see service.log in {root.parent}", err=True)
    return ended == expected


def _say_changes(jobs: list[dict[str, Any]], said: dict[str, str]) -> None:
    for job in jobs:
        progress = job.get("progress") or {}
        percent = progress.get("percent")
        step = "" if percent is None or job["state"] != "rendering" else f" {percent // 10 * 10:.0f} %"
        line = f"{job['name']}: {job['state']}{step}" + (f", try {job['attempt']}" if job.get("attempt", 0) > 1 else "")
        if said.get(job["name"]) != line:
            said[job["name"]] = line
            typer.echo(line)


def jobs_table(jobs: list[dict[str, Any]]) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("JOB", "PRIORITY", "STATE", "", "FRAME", "TRY", "WHY"):
        table.add_column(title)
    colours = {"completed": "green", "failed": "red", "rendering": "cyan"}
    for job in sorted(jobs, key=lambda job: -job["priority"]):
        progress = job.get("progress") or {}
        frame = f"{progress['frame']}/{progress['frames']}" if progress.get("frame") and progress.get("frames") else ""
        error = job.get("error") or {}
        table.add_row(
            job["name"],
            f"{job['priority']} ({job['priority_from']})",
            f"[{colours.get(job['state'], 'white')}]{job['state']}[/]",
            ProgressBar(total=100, completed=progress.get("percent") or 0, width=24),
            frame,
            f"{job['attempt']}/{job['max_attempts']}" if job["attempt"] else "",
            str(error.get("code", "")) if job["state"] != "completed" else "",
        )
    return table


def _show_end(root: Path) -> None:
    from rich.console import Console
    from rich.tree import Tree

    tree = Tree(f"{root.name}/")
    branch(tree, root)
    Console(soft_wrap=True).print(tree)
    typer.echo("\nfilms:")
    for film in sorted((root / "done").rglob("*.mp4")):
        typer.echo(f"  {film}  ({film.stat().st_size} bytes)")
    for letter in sorted((root / "failed").rglob("WHY.txt")):
        typer.echo(f"\nwhy {letter.parent.name} was refused: {letter}")


def branch(tree: Any, folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Add what is in a folder to a tree."""
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name)):
        if path.name.startswith(".") or path.name in without:
            continue
        twig = tree.add(path.name + ("/" if path.is_dir() else ""))
        if path.is_dir():
            branch(twig, path)


def _stay(config: Path, service: subprocess.Popen[bytes]) -> None:
    port = json.loads(config.read_text(encoding="utf-8"))["server"]["port"]
    typer.echo(f"\nthe page: http://127.0.0.1:{port}/   (Ctrl-C ends it)")
    while service.poll() is None:
        time.sleep(0.5)


def _end(service: subprocess.Popen[bytes]) -> None:
    if service.poll() is None:
        service.send_signal(signal.SIGINT if os.name != "nt" else signal.SIGTERM)
        try:
            service.wait(30)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()
