"""Commands that run the service: run, demo, init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from watchrender.cli.common import ConfigOption, Exit, UnusedConfigOption, leave, load_config


def add_to(app: typer.Typer) -> None:
    for command in (run, demo, init):
        app.command()(command)


def run(context: typer.Context, config: ConfigOption = None) -> None:
    """Serve the hot folder, in the foreground, until stopped."""
    _leave_when_asked()
    loaded = load_config(context, config)
    from watchrender.service import CannotStart, Service

    try:
        code = Service(loaded, say=lambda words: typer.echo(words, err=True)).run()
    except CannotStart as error:
        leave(Exit.FIX, str(error))
    raise typer.Exit(code)


def _leave_when_asked() -> None:
    """Until the service has taken over the signals there is nothing to put back: a stop is simply the end."""
    import signal

    def leave_now(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave_now)


def demo(
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Leave everything in this folder.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Stay up with the page when the jobs are done.")] = False,
    config: UnusedConfigOption = None,
) -> None:
    """Watch sample jobs go through: a temporary hot folder, real nexrender, a simulated After Effects."""
    from watchrender.cli.demo import play

    raise typer.Exit(play(keep=keep, serve=serve))


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The hot folder to make.")],
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="The configuration file to write.", show_default=False)
    ] = None,
) -> None:
    """Make a hot folder: its six folders and a configuration file beside them."""
    from watchrender.config import FILE_NAME, Folders

    root = folder.expanduser().absolute()
    file = (config or Path(FILE_NAME)).expanduser().absolute()
    names = Folders()
    try:
        for name in (names.inbox, names.active, names.done, names.failed, names.cancelled, names.status):
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        leave(Exit.FIX, f"{root} cannot be made: {error.strerror}")
    typer.echo(f"hot folder: {root}")
    if file.exists():
        typer.echo(f"{file} is there already and stays as it is; set root: {root} in it")
        return
    try:
        file.write_text(_first_config(root), encoding="utf-8")
    except OSError as error:
        leave(Exit.FIX, f"{file} cannot be written: {error.strerror}")
    typer.echo(f"settings:   {file}")
    typer.echo("\nNext:\n  watchrender nexrender install\n  watchrender check\n  watchrender run")


def _first_config(root: Path) -> str:
    quoted = str(root).replace("'", "''")
    return (
        "# Settings of this watchrender. `watchrender check` shows all of them with their defaults.\n"
        f"root: '{quoted}'\n"
        "\n"
        "# After Effects is looked for by itself; name it here to choose one:\n"
        "# nexrender: {aerender: 'C:\\Program Files\\Adobe\\Adobe After Effects 2025\\Support Files\\aerender.exe'}\n"
    )
