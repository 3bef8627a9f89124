"""Commands on jobs: submit, list, show, logs, cancel, retry, prioritize, hold, release."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from watchrender.cli.common import ConfigOption, Exit, JsonOption, is_terminal, leave, load_config, print_json

_OVER = ("completed", "failed", "cancelled")
JobWords = Annotated[list[str] | None, typer.Argument(metavar="JOB…", help="id, beginning of an id, or name")]


def add_to(app: typer.Typer) -> None:
    for command in (submit, show, logs, cancel, retry, prioritize, hold, release):
        app.command()(command)
    app.command("list")(list_jobs)


def _reach(context: typer.Context, config: Path | None) -> Any:
    from watchrender.cli.reach import Reach

    loaded = load_config(context, config)
    reach = Reach(loaded)
    if reach.folders.root.is_file():
        leave(Exit.FIX, f"root: {reach.folders.root} is no folder; write the path of one")
    if not reach.folders.root.is_dir():
        leave(Exit.FIX, f"root: {reach.folders.root} is not there; mount the share, or make it with `watchrender init`")
    return reach


def submit(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Job files, bundle folders or zips.")],
    priority: Annotated[int | None, typer.Option(min=0, max=100, help="0 to 100, higher first.")] = None,
    sub: Annotated[str, typer.Option(help="Sub-folder of the inbox.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit 1 if a job fails.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Drop jobs into the inbox."""
    from watchrender.core import naming

    reach = _reach(context, config)
    sub = sub.strip("/").replace("\\", "/")
    if fault := naming.not_for_a_sub(sub, reach.config.watch.ignore):
        leave(Exit.FIX, f"--sub: {fault}")
    drops = _with_their_settings(files)
    if wait and reach.beat() is None:
        leave(Exit.NO_SERVICE, "--wait needs a running service, and none answers; start it with `watchrender run`")
    since = time.time()
    dropped = [_drop(reach, drop, sub, priority) for drop in drops]
    if not wait:
        paths = [path for paths in dropped for path in paths]
        if as_json:
            print_json([str(path) for path in paths])
        else:
            for path in paths:
                typer.echo(f"dropped {path}")
        return
    jobs = [paths[0] for paths, drop in zip(dropped, drops, strict=True) if not _is_sidecar(drop.file)]
    results = _wait_for(reach, jobs, sub, since, quiet=as_json)
    if as_json:
        print_json(results)
    if any(result["state"] != "completed" for result in results):
        raise typer.Exit(int(Exit.NO))


class _Drop(NamedTuple):
    """A file to drop, and the settings that go with it."""

    file: Path
    sidecar: Path | None = None


def _drop(reach: Any, drop: _Drop, sub: str, priority: int | None) -> list[Path]:
    """Where it lies now, the job first."""
    try:
        insists = priority is not None and _says_its_priority(reach, drop)
        dropped: list[Path] = reach.drop(drop.file, sub=sub, priority=priority, sidecar=drop.sidecar)
        if insists:
            reach.insist(dropped[0], priority)
        return dropped
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, str(drop.file)) else ""
        leave(Exit.FIX, f"{drop.file} cannot be dropped: {where}{error.strerror or error}")


def _says_its_priority(reach: Any, drop: _Drop) -> bool:
    """Does the job itself, or its settings, say a priority, which would beat the one in its file name?"""
    from watchrender.cli.explain import explain
    from watchrender.core.failure import Failure
    from watchrender.spool import jobfile
    from watchrender.spool.plain import read_plain

    if explain(reach.config, drop.file).get("priority_from") in ("job", "sidecar"):
        return True
    if drop.sidecar is None:
        return False
    said = jobfile.read_sidecar(read_plain(drop.sidecar.resolve(), jobfile.LARGEST_SIDECAR), drop.sidecar.name)
    return not isinstance(said, Failure) and said.priority is not None


def _with_their_settings(files: list[Path]) -> list[_Drop]:
    """Each job with its sidecar: one that is given too, else the one that lies beside it, as `check` and the inbox see
    it. Settings without a job go alone, and first: a job that finds its settings there waits for them."""
    _all_fit(files)
    sidecars = [file for file in files if _is_sidecar(file)]
    jobs = [file for file in files if file not in sidecars]
    owned = {file: _owner(file, jobs) for file in sidecars}
    drops = [_Drop(file) for file in sidecars if owned[file] is None]
    for job in jobs:
        mine = [file for file in sidecars if owned[file] == job]
        if len(mine) > 1:
            leave(Exit.FIX, f"{' and '.join(map(str, mine))} are both settings of {job}; give one of them")
        drops.append(_Drop(job, mine[0] if mine else _beside(job)))
    return drops


def _owner(sidecar: Path, jobs: list[Path]) -> Path | None:
    """The job among these that the settings belong to; one of the same folder, where several have the name."""
    from watchrender.core import naming

    for some in ([job for job in jobs if job.absolute().parent == sidecar.absolute().parent], jobs):
        name = naming.sidecar_owner(sidecar.name, [(job.name, job.is_dir()) for job in some])
        if name is not None:
            return next(job for job in some if job.name == name)
    return None


def _beside(job: Path) -> Path | None:
    from watchrender.cli.explain import sidecar_beside
    from watchrender.core.failure import Failure
    from watchrender.spool import jobfile

    found = sidecar_beside(job.absolute(), jobfile.LARGEST_SIDECAR)
    if isinstance(found, Failure):
        leave(Exit.FIX, f"{job} cannot be dropped: {found.message}")
    return None if found is None else job.absolute().with_name(found.name)


def _all_fit(files: list[Path]) -> None:
    """Ends with exit 2 where one is nothing that can be dropped."""
    from watchrender.core import naming
    from watchrender.spool import bundle, returned

    fit = (naming.Kind.JOB, naming.Kind.YAML, naming.Kind.ZIP, naming.Kind.FOLDER)

    for file in files:
        if not file.exists():
            leave(Exit.FIX, f"{file} is not there")
        if not (file.is_file() or file.is_dir()):
            leave(Exit.FIX, f"{file} is a pipe, a socket or a device; give a file or a folder")
        if naming.classify(file.name, is_dir=file.is_dir()) not in fit:
            leave(Exit.FIX, f"{file} is no job; give a .json, .yaml or .zip, or a folder with job.json in it")
        if file.is_file() and not file.stat().st_size:
            leave(Exit.FIX, f"{file} is empty, and would never be taken; write the job first")
        if file.is_dir() and not bundle.is_bundle(file) and not returned.is_ours(file):
            leave(
                Exit.FIX, f"{file} is no bundle: no {', '.join(bundle.JOB_FILES)} at its top; give its jobs one by one"
            )


def _is_sidecar(file: Path) -> bool:
    from watchrender.spool import jobfile
    from watchrender.spool.plain import read_plain

    if file.suffix.lower() not in (".yaml", ".yml") or file.is_dir():
        return False
    try:
        # A link of the person's own is followed. A sidecar is small; what a larger file is, its beginning tells.
        data = read_plain(file.resolve(), 4 * jobfile.LARGEST_SIDECAR)
    except OSError as error:
        leave(Exit.FIX, f"{file} cannot be read: {error.strerror or error}")
    return not jobfile.is_yaml_job(data)


def _wait_for(reach: Any, dropped: list[Path], sub: str, since: float, *, quiet: bool) -> list[dict[str, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, quiet=quiet)
    found: dict[Path, dict[str, Any]] = {}
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %  {task.fields[state]}"),
        console=console, transient=False,
    ) as progress:  # fmt: skip
        bars = {path: progress.add_task(path.name, total=100, state="pending") for path in dropped}
        while True:
            for path in dropped:
                if path in found and found[path]["state"] in _OVER:
                    continue
                status = reach.status_of_drop(path, sub, since)
                if status is not None:
                    found[path] = status
                    percent = (status.get("progress") or {}).get("percent") or 0
                    progress.update(bars[path], completed=percent, state=_with_reason(status))
            if all(path in found and found[path]["state"] in _OVER for path in dropped):
                break
            if reach.beat() is None:
                leave(Exit.NO_SERVICE, "the service has gone; the jobs lie in the folder and go on when it is back")
            time.sleep(0.2)
    for path in dropped:
        status = found[path]
        if not quiet:
            typer.echo(f"{status['job']}: {_with_reason(status)}  {status['folder']}")
    return [found[path] for path in dropped]


def _with_reason(status: dict[str, Any]) -> str:
    error = status.get("error") or {}
    if status["state"] != "failed":
        return str(status["state"])
    return f"failed: {error.get('message')} ({error.get('code')})"


def list_jobs(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The queue in its order, what renders, and what is over."""
    from watchrender.core.states import State

    if state is not None:
        _check_state(state, [str(known) for known in State])
    jobs = [job for job in _reach(context, config).jobs() if state is None or job["state"] == state]
    if as_json:
        print_json(jobs)
        return
    _print_table(jobs)


def _print_table(jobs: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not jobs:
        typer.echo("no jobs")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("JOB", "STATE", "PRIORITY", "PROGRESS", "TRIES", "WHY", "ID"):
        table.add_column(title, overflow="fold")
    for job in jobs:
        percent = (job.get("progress") or {}).get("percent")
        table.add_row(
            *(Text(cell) for cell in (
                job["job"],
                job["state"] + (" (held)" if job.get("hold") else ""),
                f"{job['priority']} {job['priority_from']}",
                "" if percent is None else f"{percent:.0f} %",
                f"{job.get('attempt', 0)}/{job.get('max_attempts', '')}",
                _why(job),
                job["id"],
            ))
        )  # fmt: skip
    Console(width=None if is_terminal() else 200).print(table)


def _why(job: dict[str, Any]) -> str:
    if job.get("error") and job["state"] != "completed":
        return str(job["error"].get("code"))
    if job.get("waiting_for"):
        return f"waits for {job['waiting_for'][0]}"
    return f"not before {job['not_before']}" if job.get("not_before") and job["state"] == "queued" else ""


def show(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """All there is to know of one job."""
    found = _find(_reach(context, config), job)
    if as_json:
        print_json(found)
        return
    for name in (
        "job",
        "id",
        "state",
        "folder",
        "priority",
        "attempt",
        "template",
        "composition",
        "created_at",
        "started_at",
        "finished_at",
    ):
        if found.get(name) is not None:
            typer.echo(f"{name:12} {found[name]}")
    for line in found.get("waiting_for") or ():
        typer.echo(f"{'waits for':12} {line}")
    for output in found.get("outputs") or ():
        typer.echo(f"{'output':12} {output['path']} ({output['bytes']} bytes)")
    for warning in found.get("warnings") or ():
        typer.echo(f"{'warning':12} {warning}")
    if found.get("error") and found["state"] != "completed":
        typer.echo(
            f"{'error':12} {found['error']['code']}: {found['error']['message']}\n{'cure':12} {found['error']['cure']}"
        )
    typer.echo("history")
    for line in found.get("history") or ():
        typer.echo(f"  {line['at']}  {line['to']:10}  {line['why']}")


def _find(reach: Any, word: str) -> dict[str, Any]:
    from watchrender.cli.reach import Unknown

    try:
        found: dict[str, Any] = reach.find(word)
    except Unknown as unknown:
        leave(Exit.NO, str(unknown))
    return found


def _again(reach: Any, job: dict[str, Any]) -> dict[str, Any]:
    from watchrender.cli.reach import Unknown

    try:
        found: dict[str, Any] = reach.again(job)
    except Unknown as unknown:
        leave(Exit.NO, str(unknown))
    return found


def logs(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job is over.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What the renders of a job have said."""
    reach = _reach(context, config)
    found = _find(reach, job)
    client = reach.http()
    if follow and reach.beat() is None:
        leave(Exit.NO_SERVICE, "-f needs a running service, and none answers; without -f you see what there is")
    read = _log_over_http(client, found) if client is not None else _log_on_disk(reach, found)
    shown = 0
    while True:
        over = not follow or _again(reach, found)["state"] in _OVER
        fresh = read(shown)
        if fresh is None and not follow:
            leave(Exit.NO, f"{found['job']} has no log yet in {found['folder']} or on this machine")
        if not as_json:
            _write_bytes(fresh or b"")
        elif fresh or not follow:
            told = {"id": found["id"], "job": found["job"], "from": shown}
            print_json(told | {"log": (fresh or b"").decode(errors="replace")}, lines=follow)
        shown += len(fresh or b"")
        if over:
            return
        if reach.beat() is None:
            leave(Exit.NO_SERVICE, "the service has gone; the log goes on when it is back")
        time.sleep(0.5)


#: The log of a job from a byte on; None: there is none, or nobody answers.
_Read = Callable[[int], bytes | None]


def _write_bytes(fresh: bytes) -> None:
    """As they come: what was cut in the middle of a letter goes on with the next."""
    out = typer.get_binary_stream("stdout")
    out.write(fresh)
    out.flush()


def _log_over_http(client: Any, job: dict[str, Any]) -> _Read:
    import httpx2

    def read(after: int) -> bytes | None:
        try:
            answer = client.get(f"/jobs/{job['id']}/log", params={"after": after})
        except (httpx2.HTTPError, OSError):
            return None  # whether it has gone, its heartbeat tells
        return bytes(answer.content) if answer.is_success else None

    return read


def _log_on_disk(reach: Any, job: dict[str, Any]) -> _Read:
    """The log in the job's folder once it is over, else the one that grows on the machine that renders; who began with
    that one stays with it, for the other begins with the history."""
    from watchrender.config import default_state_dir
    from watchrender.core import naming
    from watchrender.spool.plain import read_plain

    growing = default_state_dir(reach.folders.root, reach.config) / "logs" / "jobs" / f"{job['id']}.log"

    def read(after: int) -> bytes | None:
        now = reach.again(job)
        in_folder = reach.folders.absolute(now["folder"]) / f"{naming.last_of(now['job'], now['sub'])}.log"
        for path in (growing, in_folder) if after else (in_folder, growing):
            try:
                return read_plain(path)[after:]
            except OSError:
                continue
        return None

    return read


def _order(
    reach: Any, jobs: list[dict[str, Any]], verb: str, said: str, *, priority: int | None = None, as_json: bool = False
) -> None:
    """Give one order for several jobs; exit 1 if any was refused."""
    from watchrender.cli.reach import Refused

    refused = False
    answers = []
    if not jobs and not as_json:
        typer.echo("there is no such job")
    for job in {job["id"] or job["job"]: job for job in jobs}.values():  # one may be named twice
        try:
            answer = reach.order(job, verb, priority=priority)
        except Refused as no:
            typer.echo(str(no), err=True)
            refused = True
            continue
        answers.append(answer or job)
        if not as_json:
            later = "" if answer is not None or reach.beat() is not None else " (when the service runs again)"
            typer.echo(f"{job['job']}: {said}{later}")
    if as_json:
        print_json(answers)
    if refused:
        raise typer.Exit(int(Exit.NO))


def cancel(
    context: typer.Context,
    jobs: JobWords = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every job that has not begun.")] = False,
    state: Annotated[str | None, typer.Option(help="Every job in this state.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take jobs out of the queue, or end a running render."""
    reach = _reach(context, config)
    if all_of_them:
        if not reach.folders.inbox.is_dir():
            leave(Exit.FIX, f"{reach.folders.inbox} is not there; mount the share, or make it with `watchrender init`")
        count = reach.cancel_all()
        later = "" if reach.beat() is not None else " (when the service runs again)"
        if as_json:
            print_json({"asked": "cancel all", "jobs": count, "service": reach.beat() is not None})
        else:
            typer.echo(f"{count} job{'' if count == 1 else 's'} that had not begun: cancelled{later}")
        return
    if state is not None:
        _check_state(state, ("pending", "validating", "queued", "rendering"))
    _order(reach, _chosen(reach, jobs, state), "cancel", "cancelled", as_json=as_json)


def _check_state(state: str, known: Iterable[str]) -> None:
    if state not in known:
        leave(Exit.FIX, f"--state {state}: the states are {', '.join(known)}")


def _chosen(reach: Any, words: list[str] | None, state: str | None) -> list[dict[str, Any]]:
    if state is not None:
        return [job for job in reach.jobs() if job["state"] == state]
    if not words:
        leave(Exit.FIX, "name a job, or choose many with an option (see --help)")
    return [_find(reach, word) for word in words]


def retry(
    context: typer.Context,
    jobs: JobWords = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every failed job.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="With --failed: only of the last 2h, 1d, …; or since a time, such as 2026-03-01T08:00."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Try jobs that are over again, as new jobs."""
    reach = _reach(context, config)
    if not failed:
        _order(reach, _chosen(reach, jobs, None), "retry", "will be tried again", as_json=as_json)
        return
    earliest = "" if since is None else _since(since)
    everything = [*reach.jobs(), *reach.closed()]  # of a job in both, its folder knows best where it lies
    known = {job["id"]: job for job in everything if job["state"] == "failed"}
    retried = {job.get("retry_of") for job in everything}
    chosen = [
        job for job in known.values() if str(job.get("finished_at") or "") >= earliest and job["id"] not in retried
    ]
    _order(reach, chosen, "retry", "will be tried again", as_json=as_json)


def _since(text: str) -> str:
    """The moment that `--since` means, as statuses write it: so long ago, or since then (local without a zone)."""
    from watchrender.core.clock import stamp
    from watchrender.core.units import parse_duration

    try:
        return stamp(datetime.now(UTC) - timedelta(seconds=parse_duration(text)))
    except ValueError as error:
        try:
            return stamp(datetime.fromisoformat(text).astimezone(UTC))
        except (ValueError, OverflowError, OSError):
            leave(Exit.FIX, f"--since: {error}, and no time such as 2026-03-01T08:00 either")


def prioritize(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB")],
    priority: Annotated[int, typer.Argument(metavar="N", help="0 to 100, higher first")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Give a job another priority."""
    if not 0 <= priority <= 100:
        leave(Exit.FIX, f"priority {priority} is out of range; write a number from 0 to 100")
    reach = _reach(context, config)
    _order(reach, [_find(reach, job)], "prioritize", f"priority {priority}", priority=priority, as_json=as_json)


def hold(
    context: typer.Context, jobs: JobWords = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Keep jobs from starting."""
    reach = _reach(context, config)
    _order(reach, _chosen(reach, jobs, None), "hold", "held", as_json=as_json)


def release(
    context: typer.Context, jobs: JobWords = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let held jobs start; beats the hold of a settings file too."""
    reach = _reach(context, config)
    _order(reach, _chosen(reach, jobs, None), "release", "released", as_json=as_json)
