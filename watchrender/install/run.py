"""Run a manager's own command, and say in words what it said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

_SECONDS = 120.0


class CommandFailed(Exception):
    """A command of the system's did not do what was asked; the words are its own."""


def run(command: Sequence[str], *, seconds: float = _SECONDS) -> str:
    """What it printed. Raises `CommandFailed`."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
            creationflags=0x08000000 if os.name == "nt" else 0,
        )
    except FileNotFoundError:
        raise CommandFailed(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"`{shown}` did not end within {seconds:g} s") from None
    except OSError as error:
        raise CommandFailed(f"`{shown}` cannot be started: {error.strerror or error}") from None
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise CommandFailed(f"`{shown}` says: {' '.join(said.split()) or f'nothing (exit {done.returncode})'}")
    return said


def ask(command: Sequence[str]) -> str | None:
    """What it answers, also where its exit code is a no (`systemctl is-active`); None where it cannot be asked."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30.0,
            check=False,
            creationflags=0x08000000 if os.name == "nt" else 0,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.decode("utf-8", "replace").strip()
    return said or None
