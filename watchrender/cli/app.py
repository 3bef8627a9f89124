"""The command line's tree of words; each group of commands is a file beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from watchrender.cli.common import Given

app = typer.Typer(
    name="watchrender",
    help="The hot folder for After Effects: drop a job, get a verified film, or a note that says why not.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        from watchrender import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="The configuration file.")] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = Given(config=config)


def _load() -> None:
    from watchrender.cli import install, jobs, look, operate, serve

    for group in (serve, look, jobs, operate, install):
        group.add_to(app)


_load()
