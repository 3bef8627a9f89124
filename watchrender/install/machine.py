"""The programs that a render needs, and the session it runs in: Python, node, nexrender, After Effects, extras."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from watchrender import __version__, disk
from watchrender.config import Config
from watchrender.core.failure import Failure
from watchrender.install import session as sessions
from watchrender.install.report import Line, bad, ok, warn
from watchrender.render import nexrender as renderers
from watchrender.render import node as nodes
from watchrender.render.aftereffects import find_aerender, patch_failure
from watchrender.render.nexrender import Nexrender

#: Two programs are asked within the minute that the doctor gives to one finding.
_RUN_SECONDS = 25.0
#: What stands around a job's name, twice in one path: `active/`, `.attempt-` and its uid, `out/`, the film's ending.
_AROUND_A_NAME = 75
LICENCE = "ae_render_only_node.txt"


def python() -> Iterator[Line]:
    version = ".".join(map(str, sys.version_info[:3]))
    words = f"{version} ({sys.executable}), watchrender {__version__}"
    if struct.calcsize("P") < 8:
        yield warn("python", f"{words}, 32 bits", "Install a Python of 64 bits: films are larger than 2 GiB.")
    else:
        yield ok("python", words)


def path_lengths(root: Path | None) -> Iterator[Line]:
    """How long may a path be? A word only where that is less than a disk takes."""
    longest = disk.longest_path()
    if longest is None:
        return
    room = max(0, (longest - len(str(root or "")) - _AROUND_A_NAME) // 2)
    words = f"Windows takes paths of {longest} characters here: names of jobs may have about {room} below this root"
    cure = "Keep the root short; as an administrator set LongPathsEnabled (docs/operator.md), then start anew."
    yield warn("path length", words, cure)


def session() -> Iterator[Line]:
    trouble = sessions.trouble(sessions.this_session())
    yield warn("session", *trouble) if trouble else ok("session", "a session that After Effects can render in")


def node_and_nexrender(config: Config | None) -> Iterator[Line]:
    """The nexrender that would be used is run once, with the node it would be run by."""
    engine = renderers.find(_command(config))
    yield from _node(engine)
    if isinstance(engine, Failure):
        yield bad("nexrender", engine.message, engine.cure)
        return
    told = _run([*engine.command, "--version"])
    version = re.search(r"\d+\.\d+\.\d+\S*", told)
    if version is None:
        cure = "Run `watchrender nexrender install --force`, or correct nexrender.command."
        yield bad("nexrender", f"{' '.join(engine.command)} --version says: {told[-300:] or 'nothing'}", cure)
        return
    words = f"cli {version[0]}, core {engine.core_version or 'not known'} ({engine.root or engine.command[0]})"
    trouble = renderers.trouble(engine)
    cure = "Run `watchrender nexrender install` and leave nexrender.command unset."
    yield warn("nexrender", f"{words}: {trouble}", cure) if trouble else ok("nexrender", words)


def _node(engine: Nexrender | Failure) -> Iterator[Line]:
    if not isinstance(engine, Failure) and not _is_node(engine.command[0]):
        yield ok("node", "not needed: nexrender.command is a program by itself")
        return
    if not isinstance(engine, Failure):
        told = _run([engine.command[0], "--version"])
        major = re.match(r"v(\d+)\.", told)
        if major and int(major[1]) >= 18:
            yield ok("node", f"{told} ({engine.command[0]})")
            return
        yield bad("node", f"{engine.command[0]} --version says: {told[-300:] or 'nothing'}", nodes.CURE)
        return
    found = nodes.good_node()
    yield (
        bad("node", found.message, found.cure) if isinstance(found, Failure) else ok("node", f"{found[1]} ({found[0]})")
    )


def _is_node(program: str) -> bool:
    return Path(program).stem.lower() in ("node", "nodejs")


def after_effects(config: Config) -> Iterator[Line]:
    """Each configured aerender: there, executable, and nexrender's script in it or to be put into it."""
    engine = renderers.find(_command(config))
    for name, setting, version in _aerenders(config):
        found = find_aerender(setting, version)
        if isinstance(found, Failure):
            yield bad(name, found.message, found.cure)
            continue
        yield ok(name, str(found))
        unpatched = patch_failure(found, None if isinstance(engine, Failure) else engine)
        label = name.replace("aerender", "patch", 1)
        if unpatched is not None:
            yield bad(label, unpatched.message, unpatched.cure)
        else:
            yield ok(label, _patch_state(found))


def _aerenders(config: Config) -> Iterator[tuple[str, str | dict[str, str] | None, str | None]]:
    setting = config.nexrender.aerender
    if isinstance(setting, Mapping):
        versions = {str(version): str(path) for version, path in setting.items()}
        yield from ((f"aerender {version}", versions, version) for version in versions)
    else:
        yield "aerender", None if setting is None else str(setting), None


def _patch_state(aerender: Path) -> str:
    script = aerender.parent / "Scripts" / "Startup" / "commandLineRenderer.jsx"
    if b"nexrender-patch" in script.read_bytes():
        return "nexrender's script is in its place"
    return "the first render puts nexrender's script into its place, which this user may"


def licence() -> Iterator[Line]:
    """The file that makes After Effects a render-only node: no seat is needed, and its window stays grey."""
    found = next((place / LICENCE for place in _licence_places() if (place / LICENCE).is_file()), None)
    if found is None:
        yield ok("licence", f"no {LICENCE}: After Effects renders with the sign-in of this user")
    else:
        yield ok("licence", f"{found}: After Effects only renders on this machine, and cannot be worked in")


def _licence_places() -> list[Path]:
    home = Path.home()
    own = [home / "Documents", home / "Documents" / "Adobe"]
    if sys.platform == "win32":
        return [*own, Path(os.environ.get("PUBLIC", r"C:\Users\Public")) / "Documents" / "Adobe"]
    return [*own, Path("/Users/Shared/Adobe")]


def extras(config: Config | None) -> Iterator[Line]:
    """Packages that may be there or not, and what is not done without them."""
    has_av, has_pillow = find_spec("av") is not None, find_spec("PIL") is not None
    wants = config is None or config.verify.probe == "auto" or config.delivery.previews == "auto"
    if has_av and has_pillow:
        yield ok("extra media", "films are looked into, and get previews")
    elif wants:
        words = "not installed: the last frame of a film is not tried, and there are no previews"
        yield warn("extra media", words, _pip("media"))
    else:
        yield ok("extra media", "not installed, and not asked for")
    if find_spec("apprise") is not None:
        yield ok("extra notify", "Slack, Teams, e-mail and the like can be told")
    else:
        yield ok("extra notify", "not installed: only webhooks can be told")


def _pip(extra: str) -> str:
    return f'`{sys.executable} -m pip install "watchrender[{extra}]"`'


def _command(config: Config | None) -> str | list[str] | None:
    command = None if config is None else config.nexrender.command
    return command if command is None or isinstance(command, str) else [str(word) for word in command]


def _run(command: Sequence[str]) -> str:
    """What a program says of itself, started as a render would be: with little in its environment."""
    with tempfile.TemporaryDirectory(prefix="watchrender-doctor-") as scratch:
        env = renderers.environment(
            home=Path(scratch) if sys.platform == "linux" else Path.home(), scratch=Path(scratch)
        )
        try:
            run = subprocess.run(
                list(command),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_RUN_SECONDS,
                check=False,
                creationflags=0x08000000 if sys.platform == "win32" else 0,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_RUN_SECONDS:g} s"
        except OSError as error:
            return str(error.strerror or error)
    return " ".join(run.stdout.decode("utf-8", "replace").split())
