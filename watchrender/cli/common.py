"""What all commands share: the config, exit codes, and how things are printed."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from watchrender.config import Config


class Exit(IntEnum):
    """Exit codes, part of the contract with scripts."""

    DONE = 0
    NO = 1
    FIX = 2
    NO_SERVICE = 3
    TAKEN = 4
    INTERRUPTED = 130


@dataclass(kw_only=True)
class Given:
    """What was given before the command's own words."""

    config: Path | None = None


ConfigOption = Annotated[
    Path | None, typer.Option("-c", "--config", help="The configuration file.", show_default=False)
]
#: `-c FILE` may stand anywhere, also after a command that has no use for it.
UnusedConfigOption = Annotated[Path | None, typer.Option("-c", "--config", hidden=True)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def leave(code: Exit, words: str = "") -> NoReturn:
    """Say why and end with this exit code."""
    if words:
        typer.echo(words, err=True)
    raise typer.Exit(int(code))


def print_json(value: Any, *, lines: bool = False) -> None:
    """One document; `lines`: one of many, each in a line of its own.

    What this terminal or pipe has no letters for is escaped: it is valid JSON everywhere, and nothing is lost."""
    indent = None if lines else 2
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    typer.echo(text)


def config_path(context: typer.Context, config: Path | None) -> Path | None:
    from watchrender.config import find_config

    given: Given = context.obj or Given()
    return find_config(config or given.config, os.environ, Path.cwd())


def as_given(context: typer.Context, config: Path | None, path: Path) -> str:
    """The configuration's file as whoever asks would write it: `watchrender.yaml` in the folder they are in."""
    given: Given = context.obj or Given()
    named = config or given.config or os.environ.get("WATCHRENDER_CONFIG", "").strip()
    if named and Path(named).expanduser().is_absolute():
        return str(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def config_to_write(context: typer.Context, config: Path | None) -> Path:
    """Where a first configuration goes: as named, else beside whoever asks, where every command looks."""
    from watchrender.config import FILE_NAME

    given: Given = context.obj or Given()
    named = config or given.config or os.environ.get("WATCHRENDER_CONFIG", "").strip() or FILE_NAME
    return Path(named).expanduser().absolute()


def is_found(file: Path) -> bool:
    """Will the next command find this file by itself?"""
    from watchrender.config import find_config

    return find_config(None, os.environ, Path.cwd()) == file


def load_config(context: typer.Context, config: Path | None, *, as_json: bool = False) -> Config:
    """The config that is meant, or exit 2 with every fault; `as_json`: programs are told on stdout too."""
    from watchrender.config import ConfigError, decode, load

    path = config_path(context, config)
    if path is None and not os.environ.get("WATCHRENDER_ROOT"):
        leave(
            Exit.FIX,
            "no configuration found: give one with -c FILE, set WATCHRENDER_CONFIG,"
            " or make one with `watchrender init DIR`",
        )
    text = ""
    faults: list[Any] = []
    source = "environment" if path is None else as_given(context, config, path)
    if path is not None:
        try:
            text, faults = decode(path.read_bytes(), source)
        except OSError as error:
            leave(Exit.FIX, f"{source}: cannot be read: {error.strerror or error}")
    if not faults:
        try:
            return load(text, source, os.environ)
        except ConfigError as error:
            faults = list(error.faults)
    words = [str(fault) for fault in faults]
    if as_json:
        print_json({"config": source, "ok": False, "faults": words})
    leave(Exit.FIX, "\n".join(words))


def remember(context: typer.Context, config: Path | None) -> None:
    """`-c FILE` between the words of a group of commands, such as `notify -c FILE test`."""
    if config is not None:
        context.obj = Given(config=config)


def is_terminal() -> bool:
    return sys.stdout.isatty()
