"""Commands for whoever sets a machine up: doctor, notify test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watchrender.cli.common import (
    ConfigOption,
    Exit,
    JsonOption,
    config_path,
    is_terminal,
    leave,
    load_config,
    print_json,
)

if TYPE_CHECKING:
    from watchrender.config import Config
    from watchrender.install.report import Line


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)
    app.add_typer(_notify, name="notify")


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


def _config_or_faults(context: typer.Context, config: Path | None) -> tuple[Config | None, list[str], Path | None]:
    """The configuration; or why there is none, as findings: the rest of the machine is examined all the same."""
    from watchrender.config import ConfigError, decode, load

    path = config_path(context, config)
    if path is None and not os.environ.get("WATCHRENDER_ROOT"):
        return None, ["no configuration found: give one with -c FILE, or make one with `watchrender init DIR`"], None
    text, source = "", "environment" if path is None else str(path)
    try:
        if path is not None:
            text, faults = decode(path.read_bytes(), source)
            if faults:
                return None, [str(fault) for fault in faults], path
        return load(text, source, os.environ), [], path
    except OSError as error:
        leave(Exit.FIX, f"{path}: cannot be read: {error.strerror or error}")
    except ConfigError as error:
        return None, list(error.faults), path


def _show(line: Line) -> None:
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    level = f"{line.level!s:<4}"
    shown = typer.style(level, fg=colours[str(line.level)]) if is_terminal() else level
    typer.echo(f"{shown}  {line.name:<14} {line.words}")
    if line.cure is not None:
        typer.echo(f"{'':<21}-> {line.cure}")


_notify = typer.Typer(help="Whom the service tells what happened.", no_args_is_help=True)


@_notify.callback()
def _notify_group() -> None:
    """Whom the service tells what happened."""


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
