"""Commands for the operator: pause, resume, drain, stop, nexrender install."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from watchrender.cli.common import (
    ConfigOption,
    Exit,
    JsonOption,
    UnusedConfigOption,
    leave,
    load_config,
    print_json,
    remember,
)


def add_to(app: typer.Typer) -> None:
    for command in (pause, resume, drain, stop):
        app.command()(command)
    app.add_typer(_nexrender, name="nexrender")


def _queue(context: typer.Context, config: Path | None, verb: str, as_json: bool, *, now: bool = False) -> None:
    from watchrender.cli.reach import Reach, Refused

    reach = Reach(load_config(context, config))
    if not reach.folders.inbox.is_dir():
        leave(Exit.FIX, f"{reach.folders.inbox} is not there; mount the share, or make it with `watchrender init`")
    runs = reach.beat() is not None
    try:
        said = reach.queue(verb, now=now)
    except Refused as no:
        leave(Exit.NO, str(no))
    if as_json:
        print_json({"asked": verb, "service": runs, "said": said})
    else:
        typer.echo(said)


def pause(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Start no more jobs; what renders goes on."""
    _queue(context, config, "pause", as_json)


def resume(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Start jobs again."""
    _queue(context, config, "resume", as_json)


def drain(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Finish the running render, then end the service."""
    _queue(context, config, "drain", as_json)


def stop(
    context: typer.Context,
    now: Annotated[bool, typer.Option("--now", help="Give the running render no time to end.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """End the service: the running render is put back in the queue, which stays paused."""
    _queue(context, config, "stop", as_json, now=now)


_nexrender = typer.Typer(help="The nexrender that renders.", no_args_is_help=True)


@_nexrender.callback()
def _group(context: typer.Context, config: ConfigOption = None) -> None:
    """The nexrender that renders."""
    remember(context, config)


@_nexrender.command()
def install(
    force: Annotated[bool, typer.Option("--force", help="Install anew even if it is there.")] = False,
    as_json: JsonOption = False,
    config: UnusedConfigOption = None,
) -> None:
    """Install the nexrender that watchrender is tried with, and prove that it runs."""
    from watchrender.core.failure import Failure
    from watchrender.render import nexrender

    done = nexrender.install(lambda line: typer.echo(line, err=as_json), force=force)
    if isinstance(done, Failure):
        leave(Exit.NO, f"{done.message}\n{done.cure}")
    if as_json:
        print_json(
            {
                "path": str(done.path),
                "cli": done.nexrender.cli_version,
                "core": done.nexrender.core_version,
                "changed": done.changed,
            }
        )
