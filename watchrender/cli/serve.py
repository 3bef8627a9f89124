"""Commands that run the service: run, demo, init."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from watchrender.cli.common import (
    ConfigOption,
    Exit,
    JsonOption,
    UnusedConfigOption,
    config_path,
    config_to_write,
    is_found,
    leave,
    load_config,
    print_json,
)

#: Between a crash and the next life.
_AGAIN_SECONDS = 10.0


def add_to(app: typer.Typer) -> None:
    for command in (run, demo, init):
        app.command()(command)


def run(
    context: typer.Context,
    config: ConfigOption = None,
    again: Annotated[bool, typer.Option("--again", hidden=True)] = False,
) -> None:
    """Serve the hot folder, in the foreground, until stopped."""
    if again:
        raise typer.Exit(_again_after_crashes(lambda: _run_as_child(config_path(context, config))))
    _leave_when_asked()
    loaded = load_config(context, config)
    from watchrender.service import CannotStart, Service

    try:
        code = Service(loaded, say=lambda words: typer.echo(words, err=True)).run()
    except CannotStart as error:
        leave(Exit.FIX, str(error))
    finally:
        _hear_no_more()
    raise typer.Exit(code)


def _again_after_crashes(life: Callable[[], int], wait: Callable[[float], None] = time.sleep) -> int:
    """One life after the other, until one ends by itself: Task Scheduler starts nothing anew that has crashed (its
    "restart on failure" is for what could not be started)."""
    ends = {int(code) for code in Exit}
    while (code := life()) not in ends or code == Exit.NO:
        wait(_AGAIN_SECONDS)
    return code


def _run_as_child(config: Path | None) -> int:
    words = [sys.executable, "-m", "watchrender", "run", *(["--config", str(config)] if config is not None else [])]
    if sys.platform != "win32":
        return subprocess.run(words, check=False).returncode
    from watchrender.render.process_windows import CREATE_NO_WINDOW, Job

    hold = Job()  # it goes with us, also when we are killed
    try:
        with subprocess.Popen(words, creationflags=CREATE_NO_WINDOW) as child:
            hold.take(child)
            return child.wait()
    finally:
        hold.close()


def _leave_when_asked() -> None:
    """Until the service has taken over the signals there is nothing to put back: a stop is simply the end."""
    import signal

    def leave_now(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave_now)


def _hear_no_more() -> None:
    """All is put away. Python gives the signals back to the system while it ends: another one in that moment would end
    us by it, and what is over in good order would be told as killed."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def demo(
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Leave everything in this folder.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Stay up with the page when the jobs are done.")] = False,
    config: UnusedConfigOption = None,
) -> None:
    """Watch sample jobs go through: a temporary hot folder, real nexrender, a simulated After Effects."""
    from watchrender.cli.demo import play

    raise typer.Exit(play(keep=keep, serve=serve))


def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The hot folder to make.")],
    config: Annotated[
        Path | None,
        typer.Option(
            "-c", "--config", help="The configuration file to write; else watchrender.yaml here.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a hot folder: its six folders in DIR, and watchrender.yaml here, where the commands look for it.

    The settings do not lie in DIR: that is the share, and each machine has its own.
    """
    from watchrender.config import Folders

    root = folder.expanduser().absolute()
    file = config_to_write(context, config)
    stands = _stands_for(file, root)
    names = Folders()
    try:
        for name in (names.inbox, names.active, names.done, names.failed, names.cancelled, names.status):
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        leave(Exit.FIX, f"{root} cannot be made: {error.strerror}")
    try:
        if not stands:
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "x", encoding="utf-8") as fresh:
                fresh.write(_first_config(root))
    except OSError as error:
        leave(Exit.FIX, f"{file} cannot be written: {error.strerror}; name another file with -c FILE")
    if as_json:
        print_json({"root": str(root), "config": str(file), "written": not stands})
        return
    typer.echo(f"hot folder: {root}")
    typer.echo(f"settings:   {file}{' (there already, and it stays as it is)' if stands else ''}")
    named = "" if is_found(file) else f" -c {_as_word(str(file), windows=os.name == 'nt')}"
    typer.echo(f"\nNext:\n  watchrender nexrender install\n  watchrender check{named}\n  watchrender run{named}")


def _stands_for(file: Path, root: Path) -> bool:
    """Is this file there, for this root? Ends with exit 2 where it is another's: two hot folders need two files."""
    from watchrender.config import ConfigError, decode, load

    if not file.exists():
        return False
    try:
        text, faults = decode(file.read_bytes(), str(file))
        theirs = None if faults else load(text, str(file), {}).root
    except (OSError, ConfigError):
        theirs = None
    if theirs is None or os.path.realpath(theirs) != os.path.realpath(root):
        said = "`watchrender check` says what is wrong with it" if theirs is None else f"it is for {theirs}"
        leave(
            Exit.FIX, f"{file} is there already, and {said}; set root: {root} in it, or name another file with -c FILE"
        )
    return True


def _as_word(text: str, *, windows: bool) -> str:
    """One word of a command, to be pasted into a shell. Windows' own knows no single quotes."""
    if not windows:
        return shlex.quote(text)
    return f'"{text}"' if re.search(r"[^\w:\\/.~-]", text) else text


def _first_config(root: Path) -> str:
    quoted = str(root).replace("'", "''")
    return (
        "# Settings of this watchrender. `watchrender check` shows all of them with their defaults.\n"
        f"root: '{quoted}'\n"
        "\n"
        "# After Effects is looked for by itself; name it here to choose one:\n"
        "# nexrender: {aerender: 'C:\\Program Files\\Adobe\\Adobe After Effects 2025\\Support Files\\aerender.exe'}\n"
    )
