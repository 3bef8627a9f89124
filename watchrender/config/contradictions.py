"""Settings that are right by themselves and cannot stand together. Pure.

A contradiction is a fault: the service would do something else than was asked. A caution lets it start: one setting
can never act because of another.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from watchrender.config.kinds import folder_name
from watchrender.config.model import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Contradiction:
    """Two or more settings that do not go together; the first is the one to change."""

    between: tuple[str, ...]
    words: str


def contradictions(config: Config) -> Iterator[Contradiction]:
    """What cannot stand together."""
    yield from _folders(config)
    yield from _places(config)
    yield from _names(config)
    yield from _server(config)
    yield from _engine(config)


def cautions(config: Config) -> list[str]:
    """What can never act because of another setting, for `check` and `doctor`."""
    limits, retry = config.limits, config.retry
    pairs = (
        ("limits.startup", limits.startup, "limits.render", limits.render),
        ("limits.stall", limits.stall, "limits.render", limits.render),
        ("limits.finish_grace", limits.finish_grace, "limits.render", limits.render),
        ("retry.first_wait", retry.first_wait, "retry.max_wait", retry.max_wait),
    )
    found = [
        f"{_where(config, name)}{name}: has no effect, because {other} is not longer"
        for name, seconds, other, most in pairs
        if seconds >= most and not (name == "retry.first_wait" and seconds == most)
    ]
    return [*found, *_overtaken(config)]


def _overtaken(config: Config) -> Iterator[str]:
    """Where the one limit comes before the other could say what it is for."""
    limits, watch = config.limits, config.watch
    if limits.stall <= limits.startup < limits.render:
        name = "limits.startup"
        yield f"{_where(config, name)}{name}: limits.stall ends a start that hangs before, because it is not longer"
    settle = watch.settle if isinstance(watch.settle, float | int) else 2.0
    if watch.assets_deadline <= settle:
        name = "watch.assets_deadline"
        words = "fresh footage is refused before it can count as complete, because watch.settle is not shorter"
        yield f"{_where(config, name)}{name}: {words}"


def is_loopback(host: str) -> bool:
    """Can only this machine itself reach that address?"""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _where(config: Config, name: str) -> str:
    return f"{config.given[name].where}: " if name in config.given else ""


def _folders(config: Config) -> Iterator[Contradiction]:
    """Two folders of one name are one folder on Windows, macOS and most shares, whatever the case."""
    seen: dict[str, str] = {}
    for role in type(config.folders).model_fields:
        name = str(getattr(config.folders, role))
        first = seen.setdefault(name.casefold(), role)
        if first != role:
            names = (f"folders.{role}", f"folders.{first}")
            yield Contradiction(between=names, words=f'"{name}" is the folder of {first} too; each needs its own')


def _places(config: Config) -> Iterator[Contradiction]:
    root, done, work_dir = config.root, Path(config.folders.done), config.nexrender.work_dir
    roles = {role: root / getattr(config.folders, role) for role in type(config.folders).model_fields}
    users_own = platformdirs.user_state_path("watchrender", appauthor=False)
    if config.state_dir and _overlap(config.state_dir, root):
        words = f"must be outside root ({root}), on a disk of this machine"
        yield Contradiction(between=("state_dir", "root"), words=words)
    if not config.state_dir and _holds(root, users_own):
        words = f"holds the record of this service ({users_own}); choose a folder of its own, or set state_dir"
        yield Contradiction(between=("root", "state_dir"), words=words)
    if work_dir and (work_dir == root or any(_holds(folder, work_dir) for folder in roles.values())):
        words = "lies in the hot folder; choose a folder outside root"
        yield Contradiction(between=("nexrender.work_dir", "root"), words=words)
    others = [folder for role, folder in roles.items() if role != "done"]
    if done.is_absolute() and (_holds(done, root) or any(_overlap(done, folder) for folder in others)):
        words = "overlaps the hot folder; write a plain name, or a folder elsewhere"
        yield Contradiction(between=("folders.done", "root"), words=words)


def _names(config: Config) -> Iterator[Contradiction]:
    for name in config.notify:
        if not re.fullmatch(r"[\w-]+", name):
            yield Contradiction(between=(f"notify.{name}",), words="a name has only letters, digits, - and _")
    for sub in config.queue.folder_priorities:
        try:
            for part in sub.split("/"):
                folder_name(part)
        except ValueError as error:
            yield Contradiction(between=("queue.folder_priorities",), words=str(error))


def _server(config: Config) -> Iterator[Contradiction]:
    server = config.server
    if server.enabled and not server.token and not is_loopback(server.host):
        words = f'"{server.host}" lets other machines in; set server.token, or listen on 127.0.0.1'
        yield Contradiction(between=("server.host", "server.token"), words=words)


def _engine(config: Config) -> Iterator[Contradiction]:
    if config.engine == "nexrender-server" and not config.nexrender_server.url:
        yield Contradiction(between=("engine", "nexrender_server.url"), words="needs nexrender_server.url")


def _overlap(one: Path, other: Path) -> bool:
    return _holds(one, other) or _holds(other, one)


def _holds(folder: Path, other: Path) -> bool:
    """Is `other` that folder, or in it? By name alone: links are looked at when the service starts."""
    one, two = (Path(os.path.normcase(path)) for path in (folder, other))
    return one == two or one in two.parents
