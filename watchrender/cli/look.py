"""Commands that look and change nothing: check, schema, top."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from watchrender.cli.common import (
    ConfigOption,
    Exit,
    JsonOption,
    UnusedConfigOption,
    as_given,
    config_path,
    leave,
    load_config,
    print_json,
)


def add_to(app: typer.Typer) -> None:
    for command in (check, schema, top):
        app.command()(command)


def check(
    context: typer.Context,
    jobs: Annotated[
        list[Path] | None, typer.Argument(metavar="JOB…", help="Job files to judge; none: the config.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check the configuration, or tell what would happen to a job and why. Nothing runs and nothing is moved."""
    loaded = load_config(context, config, as_json=as_json)
    if jobs:
        _check_jobs(loaded, jobs, as_json)
        return
    from watchrender.config import cautions, settings_table

    rows = settings_table(loaded)
    warnings = [str(caution) for caution in cautions(loaded)]
    if loaded.root.is_file():
        warnings.append(f"root: {loaded.root} is no folder; write the path of one")
    elif not loaded.root.is_dir():
        warnings.append(f"root: {loaded.root} is not there; make it, or mount the share (`watchrender run` never does)")
    if as_json:
        print_json(
            {
                "config": str(config_path(context, config) or "environment"),
                "settings": [row._asdict() for row in rows],
                "warnings": warnings,
                "ok": True,
            }
        )
        return
    path = config_path(context, config)
    typer.echo(f"{as_given(context, config, path) if path else 'environment'}: good")
    for row in rows:
        typer.echo(f"  {row.key} = {row.value}{f'   ({row.where})' if row.where else ''}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")


def _check_jobs(config: Any, jobs: list[Path], as_json: bool) -> None:
    from watchrender.cli.explain import explain

    answers = [explain(config, job) for job in jobs]
    if as_json:
        print_json(answers if len(answers) > 1 else answers[0])
    else:
        for answer in answers:
            typer.echo(answer["text"], nl=False)
    if not all(answer["accepted"] for answer in answers):
        raise typer.Exit(int(Exit.NO))


class Schema(StrEnum):
    """What a JSON schema can be printed of."""

    JOB = "job"
    SIDECAR = "sidecar"
    CONFIG = "config"
    STATUS = "status"


def schema(
    what: Annotated[Schema, typer.Argument(help="job, sidecar, config or status")],
    as_json: JsonOption = True,  # it is JSON either way
    config: UnusedConfigOption = None,
) -> None:
    """The JSON schema of a file, for editors and tools."""
    from watchrender import config as configuration
    from watchrender.core import jobform, settings, status

    documents = {
        Schema.JOB: jobform.schema_job,
        Schema.SIDECAR: settings.schema_sidecar,
        Schema.CONFIG: configuration.schema,
        Schema.STATUS: status.schema_status,
    }
    print_json(documents[what]())


def top(context: typer.Context, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """What renders, what waits and what is over, live. Into a pipe: the view once, then a line for each change; with
    --json: how it is now, once."""
    from watchrender.cli.live import follow, once
    from watchrender.cli.reach import Reach

    loaded = load_config(context, config)
    client = Reach(loaded).http()
    if client is None:
        why = "and none answers" if loaded.server.enabled else "with HTTP, and server.enabled is false"
        leave(Exit.NO_SERVICE, f"top needs a running service, {why}; `watchrender list` reads the folder")
    if as_json:
        print_json(once(client))
        return
    follow(client)
