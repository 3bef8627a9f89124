"""Commands for whoever sets a machine up: doctor, notify test, service install, uninstall and status."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchrender.cli.common import (
    ConfigOption,
    Exit,
    JsonOption,
    as_given,
    config_path,
    is_terminal,
    leave,
    load_config,
    print_json,
    remember,
)

if TYPE_CHECKING:
    from watchrender.config import Config
    from watchrender.install.plan import Manager, Plan
    from watchrender.install.report import Line
    from watchrender.spool.folders import Folders


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)
    app.add_typer(_notify, name="notify")
    app.add_typer(_service, name="service")


def doctor(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Is this machine fit? Each line ok, warn or fail, with what to do. Changes nothing, needs no service."""
    from watchrender.install import doctor as doctors
    from watchrender.install.report import is_well

    loaded, faults, source = _config_or_faults(context, config)
    lines = []
    for line in doctors.examine(loaded, faults, source=source):
        lines.append(line)
        if not as_json:
            _show(line)
    if as_json:
        print_json({"ok": is_well(lines), "checks": [line.to_dict() for line in lines]})
    if not is_well(lines):
        raise typer.Exit(int(Exit.NO))


def _config_or_faults(context: typer.Context, config: Path | None) -> tuple[Config | None, list[Line], Path | None]:
    """The configuration; or why there is none, as findings: the rest of the machine is examined all the same."""
    from watchrender.config import ConfigError, decode, load
    from watchrender.install.report import bad

    def faulty(faults: Iterable[object]) -> list[Line]:
        return [bad("config", str(fault), "Correct it; `watchrender schema config` tells of each.") for fault in faults]

    path = config_path(context, config)
    if path is None and not os.environ.get("WATCHRENDER_ROOT"):
        cure = "Give one with -c FILE, or make one with `watchrender init DIR`."
        return None, [bad("config", "no configuration found, so the machine alone was looked at", cure)], None
    text, source = "", "environment" if path is None else as_given(context, config, path)
    try:
        if path is not None:
            text, faults = decode(path.read_bytes(), source)
            if faults:
                return None, faulty(faults), path
        return load(text, source, os.environ), [], path
    except OSError as error:
        words = f"{source}: cannot be read: {error.strerror or error}"
        return None, [bad("config", words, "Look whether that is its name, and whether this user may read it.")], path
    except ConfigError as error:
        return None, faulty(error.faults), path


def _show(line: Line) -> None:
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    level = f"{line.level!s:<4}"
    shown = typer.style(level, fg=colours[str(line.level)]) if is_terminal() else level
    typer.echo(f"{shown}  {line.name:<14} {line.words}")
    if line.cure is not None:
        typer.echo(f"{'':<21}-> {line.cure}")


_notify = typer.Typer(help="Whom the service tells what happened.", no_args_is_help=True)


@_notify.callback()
def _notify_group(context: typer.Context, config: ConfigOption = None) -> None:
    """Whom the service tells what happened."""
    remember(context, config)


@_notify.command("test")
def notify_test(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="Targets; none: all.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send a test to the configured targets, now, and tell what became of it."""
    import socket
    from datetime import UTC, datetime

    from watchrender.core import clock
    from watchrender.core.job import new_id
    from watchrender.notify import Recipient, of_test, send

    loaded = load_config(context, config)
    if unknown := sorted(set(names or ()) - set(loaded.notify)):
        known = ", ".join(loaded.notify) or "none"
        leave(Exit.FIX, f"notify: there is no target {', '.join(unknown)}; configured are {known}")
    if not loaded.notify:
        leave(Exit.FIX, "notify: no target is configured; write one as notify: {ops: {url: https://…}}")
    now = datetime.now(UTC)
    node = loaded.node or socket.gethostname()
    message = of_test(message_id=new_id(int(now.timestamp() * 1000)), node=node, at=clock.stamp(now))
    answers = []
    for name in names or loaded.notify:
        target = loaded.notify[name]
        refusal = send(Recipient(url=target.url, secret=target.secret), message)
        words = None if refusal is None else refusal.words
        answers.append({"target": name, "ok": refusal is None, "message": words})
        if not as_json:
            typer.echo(f"{name}: {'sent' if words is None else words}")
    if as_json:
        print_json(answers)
    if not all(answer["ok"] for answer in answers):
        raise typer.Exit(int(Exit.NO))


_service = typer.Typer(help="Start the service by itself from now on.", no_args_is_help=True)

NameOption = Annotated[str, typer.Option("--name", help="The service's name; one for each hot folder.")]
SystemOption = Annotated[bool, typer.Option("--system", help="Linux: a unit of the system instead of this user's.")]


@_service.callback()
def _service_group(context: typer.Context, config: ConfigOption = None) -> None:
    """Start the service by itself from now on."""
    remember(context, config)


@_service.command("install")
def service_install(
    context: typer.Context,
    name: NameOption = "watchrender",
    show: Annotated[bool, typer.Option("--print", help="Show what would be written and run; do nothing.")] = False,
    system: SystemOption = False,
    user: Annotated[str | None, typer.Option("--user", help="With --system: who renders.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Install in spite of what speaks against it.")] = False,
    test: Annotated[bool, typer.Option("--test/--no-test", help="End with a test of the whole line.")] = True,
    test_job: Annotated[
        Path | None, typer.Option("--test-job", metavar="FILE", help="A job of your own to render as the test.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Start the service now and at every log-on, in this user's own session, and test it."""
    from watchrender.install import installer, selftest
    from watchrender.install.plan import check_name, left_behind, make_plan
    from watchrender.install.run import CommandFailed
    from watchrender.spool.folders import Folders

    loaded, source = load_config(context, config), config_path(context, config)
    if source is None:
        leave(Exit.FIX, "a service needs a configuration file: make one with `watchrender init DIR`")
    if wrong := check_name(name):
        leave(Exit.FIX, wrong)
    if test_job is not None and not test_job.exists():
        leave(Exit.FIX, f"--test-job: {test_job} is not there")
    manager = installer.manager_of(system=system)
    plan = make_plan(loaded, source, name=name, user=user)
    if show:
        _print_plan(manager, plan)
        return
    folders = Folders(Path(loaded.root), loaded.folders)
    _refuse(loaded, source, manager, plan, folders, system=system, force=force)
    try:
        installer.install(manager, plan, folders, typer.echo)
    except CommandFailed as error:
        leave(Exit.NO, str(error))
    well = True
    for line in selftest.looks(loaded, folders, test_job, seconds=loaded.limits.render) if test else ():
        _show(line)
        well = well and line.cure is None
    for hint in manager.hints(name):
        typer.echo(f"note: {hint}")
    if lost := left_behind(os.environ):
        typer.echo(f"note: the service will not have these variables of your shell: {', '.join(lost)}")
    if test and test_job is None and well:
        typer.echo(
            "note: After Effects itself has not rendered yet: `watchrender submit FILE --wait` with a job of yours"
        )
    if not well:
        raise typer.Exit(int(Exit.NO))


def _print_plan(manager: Manager, plan: Plan) -> None:
    data = manager.text(plan)
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    typer.echo(f"# {manager.file(plan.name)}\n{text.rstrip()}\n")
    for command in manager.install_commands(plan.name):
        typer.echo(f"# {' '.join(command)}")


def _refuse(
    config: Config, source: Path, manager: Manager, plan: Plan, folders: Folders, *, system: bool, force: bool
) -> None:
    """Leave where something speaks against an installation, unless it is forced."""
    from watchrender.install import doctor as doctors
    from watchrender.install import installer
    from watchrender.install.presence import alive
    from watchrender.install.report import Level
    from watchrender.install.session import this_session

    refused = installer.objections(this_session(), system=system, user=plan.user)
    if refused and not force:
        leave(Exit.FIX, "\n".join(refused) + "\n(--force installs it all the same)")
    found = [line for line in doctors.examine(config, source=source) if line.level is not Level.OK]
    for line in found:
        _show(line)
    if any(line.level is Level.FAIL for line in found) and not force:
        leave(Exit.NO, "not installed: mend what fails first (or --force)")
    beat = alive(folders.status / "service.json")
    if beat is not None and not manager.standing(plan.name).running:
        leave(
            Exit.TAKEN,
            f"watchrender on {beat.get('host')} (process {beat.get('pid')}) serves {folders.root} already:"
            " end it with `watchrender stop`, then `watchrender resume` after the installation",
        )


@_service.command("uninstall")
def service_uninstall(
    context: typer.Context, name: NameOption = "watchrender", system: SystemOption = False, config: ConfigOption = None
) -> None:
    """End the service, the running render put back in the queue, and start it no more. Jobs and films stay."""
    from watchrender.install import installer
    from watchrender.install.run import CommandFailed
    from watchrender.spool.folders import Folders

    loaded = load_config(context, config)
    manager = installer.manager_of(system=system)
    try:
        was = installer.uninstall(manager, name, Folders(Path(loaded.root), loaded.folders), typer.echo)
    except CommandFailed as error:
        leave(Exit.NO, str(error))
    if not was:
        leave(Exit.NO, f"{name} is not installed ({manager.file(name)} is not there)")


@_service.command("status")
def service_status(
    context: typer.Context,
    name: NameOption = "watchrender",
    system: SystemOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Is it installed, and does it serve? Exit code 1 if it does not."""
    from watchrender.install import installer
    from watchrender.install.presence import alive
    from watchrender.spool.folders import Folders

    loaded = load_config(context, config)
    manager = installer.manager_of(system=system)
    standing = manager.standing(name)
    beat = alive(Folders(Path(loaded.root), loaded.folders).status / "service.json")
    keys = ("host", "pid", "version", "state", "started_at", "why")
    serving = None if beat is None else {key: beat.get(key) for key in keys}
    if as_json:
        print_json(
            {
                "name": name,
                "manager": manager.name,
                "file": str(manager.file(name)),
                **vars(standing),
                "serving": serving,
            }
        )
    else:
        where = manager.file(name)
        typer.echo(f"installed:  {f'{manager.name}, {where}' if standing.installed else 'no'}")
        if standing.installed:
            typer.echo(f"at log-on:  {'yes' if standing.starts_by_itself else 'no'}")
            typer.echo(f"{manager.name}: {standing.words or 'does not answer'}")
        who = "no" if serving is None else f"{serving['state']}, process {serving['pid']} on {serving['host']}"
        typer.echo(f"serves:     {who}")
        if serving is not None and serving["why"]:
            typer.echo(f"why:        {serving['why']}")
    if serving is None:
        raise typer.Exit(int(Exit.NO))
