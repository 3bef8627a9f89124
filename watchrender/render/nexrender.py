"""nexrender on this machine: find it, and build its command line and its environment.

The door to what stands behind it: `nexrender_install` (npm), `aftereffects` (aerender), `node`. Nothing here starts a
render. A failure of the machine is a value (`Failure`), never an exception: whoever asks decides whether the queue
waits for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from watchrender.core.failure import Code, Failure, fail
from watchrender.render.aftereffects import find_aerender, patch_failure
from watchrender.render.node import CURE as _NODE_CURE
from watchrender.render.node import node_of_wheel, node_on_path

__all__ = [
    "ACTIONS",
    "CLI_VERSION",
    "CORE_VERSION",
    "Installed",
    "Nexrender",
    "command_line",
    "data_dir",
    "environment",
    "find",
    "find_aerender",
    "install",
    "lock_hash",
    "module_installed",
    "patch_failure",
    "trouble",
]

CLI_VERSION = "1.46.5"
CORE_VERSION = "1.62.2"
ACTIONS = ("@nexrender/action-copy", "@nexrender/action-encode")

#: These cannot fetch a source that has no `name` of its own (they look for it in a folder that is never made).
CORES_THAT_CANNOT_FETCH = ("1.63.2", "1.63.3")

SET = Path(__file__).with_name("nexrender_set")
STAMP = "watchrender-set.json"

_PRELOAD = SET / "preload.cjs"
_SCRIPTS = (".js", ".cjs", ".mjs")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Nexrender:
    """A nexrender that can be started: the words before its first option, and where it is installed."""

    command: tuple[str, ...]
    root: Path | None  # the folder with its node_modules; None where that cannot be seen (a single-file program)
    cli_version: str | None
    core_version: str | None


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What `install` left behind; `changed` is False where everything was there already."""

    nexrender: Nexrender
    path: Path
    changed: bool


# ---------------------------------------------------------------------------------------------------------------- find


def data_dir() -> Path:
    """Where watchrender keeps what it installs for this user."""
    chosen = os.environ.get("WATCHRENDER_DATA_DIR")
    return (
        Path(chosen).expanduser().absolute()
        if chosen
        else Path(platformdirs.user_data_dir("watchrender", appauthor=False))
    )


def find(command: str | Sequence[str] | None) -> Nexrender | Failure:
    """The nexrender to use: as configured, else the installed set, else `nexrender-cli` on PATH. Starts nothing."""
    if command is None:
        return find_set(data_dir() / "nexrender") or _find_on_path()
    words = [command] if isinstance(command, str) else list(command)
    if not words:
        return fail(Code.NEXRENDER_NOT_FOUND, "nexrender.command is an empty list.")
    return _find_command(words)


def find_set(root: Path) -> Nexrender | Failure | None:
    """The set that `install` made; None where there is none."""
    if not root.is_dir():
        return None
    script = cli_script(root)
    if not script.is_file() or _version_in(root / "node_modules" / "@nexrender" / "core") is None:
        return fail(Code.NEXRENDER_BROKEN, f"The nexrender in {root} is not whole: {script} or its core is missing.")
    node = _recorded_node(root) or node_on_path() or node_of_wheel()
    if node is None:
        return fail(
            Code.NEXRENDER_BROKEN, f"nexrender is installed in {root}, but there is no node to run it.", cure=_NODE_CURE
        )
    return describe((str(node), str(script)), script)


def _find_on_path() -> Nexrender | Failure:
    found = shutil.which("nexrender-cli")
    if found is None:
        return fail(
            Code.NEXRENDER_NOT_FOUND,
            f"There is no nexrender in {data_dir() / 'nexrender'}, and no nexrender-cli on PATH.",
        )
    return _without_shim(Path(found)) or describe((found,), Path(found))


def _find_command(words: Sequence[str]) -> Nexrender | Failure:
    program = shutil.which(words[0]) if not os.path.isabs(words[0]) else words[0]
    if program is None or not Path(program).is_file():
        return fail(Code.NEXRENDER_NOT_FOUND, f"nexrender.command names {words[0]}, and there is no such program.")
    for word in words[1:]:
        if word.lower().endswith(_SCRIPTS) and os.path.isabs(word) and not Path(word).is_file():
            return fail(Code.NEXRENDER_NOT_FOUND, f"nexrender.command names {word}, and there is no such file.")
    if len(words) == 1:
        # A script or a Windows shim cannot be started by itself: node runs it, without a shell in between.
        shimless = _without_shim(Path(program)) if _needs_node(Path(program)) else None
        return shimless or describe((program,), Path(program))
    scripts = [Path(word) for word in words[1:] if word.lower().endswith(_SCRIPTS)]
    return describe((program, *words[1:]), scripts[0] if scripts else Path(program))


def _needs_node(program: Path) -> bool:
    return program.suffix.lower() in (*_SCRIPTS, ".cmd", ".bat", ".ps1")


def _without_shim(program: Path) -> Nexrender | None:
    """The same nexrender as `node …/bin.js`; None where node or the script behind the name is missing."""
    node = node_on_path() or node_of_wheel()
    if node is None:
        return None
    cli = Path("@nexrender", "cli", "src", "bin.js")
    real = program.resolve()
    for script in (real, program.parent / "node_modules" / cli, program.parent.parent / cli):
        if script.suffix.lower() in _SCRIPTS and script.is_file():
            return describe((str(node), str(script)), script)
    return None


def describe(command: tuple[str, ...], program: Path) -> Nexrender:
    """What can be told of a nexrender by reading the files around its program."""
    real = program.resolve()
    cli = next((folder for folder in real.parents if folder.parts[-2:] == ("@nexrender", "cli")), None)
    modules = cli.parent.parent if cli is not None else None
    core = _find_upward(cli, "@nexrender/core") if cli is not None else None
    return Nexrender(
        command=command,
        root=modules.parent if modules is not None and modules.name == "node_modules" else modules,
        cli_version=_version_in(cli) if cli is not None else None,
        core_version=_version_in(core) if core is not None else None,
    )


def _find_upward(start: Path, name: str) -> Path | None:
    """The folder of a package as node would find it from here: in the node_modules of each folder upward."""
    for folder in (start, *start.parents):
        if folder.name != "node_modules" and (folder / "node_modules" / name / "package.json").is_file():
            return folder / "node_modules" / name
    return None


def _version_in(package: Path) -> str | None:
    try:
        version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None


def cli_script(root: Path) -> Path:
    return root / "node_modules" / "@nexrender" / "cli" / "src" / "bin.js"


def install(say: Say, *, force: bool = False, into: Path | None = None) -> Installed | Failure:
    """Put the known set of nexrender packages into place, and prove it by running it."""
    from watchrender.render import nexrender_install  # it stands on this file, and rendering needs nothing of it

    return nexrender_install.install(say, force=force, into=into)


def module_installed(nexrender: Nexrender, name: str, *, env: Mapping[str, str] | None = None) -> bool:
    """Can nexrender load this action module? Looks where nexrender looks, in the environment it will be given.

    Where its modules cannot be seen (a single-file program brings its own) the answer is yes: only a run can tell.
    """
    if nexrender.root is None:
        return True
    given = os.environ if env is None else env
    return any(_is_module(folder / name) for folder in _module_folders(nexrender.root, given))


def _module_folders(root: Path, env: Mapping[str, str]) -> Iterator[Path]:
    modules = root / "node_modules" if (root / "node_modules").is_dir() else root
    yield modules
    for folder in root.parents:
        yield folder / "node_modules"
    for word in env.get("NODE_PATH", "").split(os.pathsep):
        if word:
            yield Path(word)
    home = env.get("USERPROFILE" if os.name == "nt" else "HOME")
    if home:
        yield Path(home) / "node_modules"


def _is_module(path: Path) -> bool:
    return (
        any((path / name).is_file() for name in ("package.json", "index.js"))
        or path.with_name(path.name + ".js").is_file()
    )


def trouble(nexrender: Nexrender) -> str | None:
    """What a person should know about these versions, or None."""
    if nexrender.core_version in CORES_THAT_CANNOT_FETCH:
        return (
            f"nexrender's core {nexrender.core_version} cannot fetch sources that have no name of their own; "
            f"watchrender names each one, but {CORE_VERSION} is the version it is tried with"
        )
    return None


def lock_hash() -> str:
    """What names this set: it changes with any package in it."""
    found = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        found.update((SET / name).read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()[:16]


def read_stamp(root: Path) -> dict[str, Any]:
    try:
        found = json.loads((root / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _recorded_node(root: Path) -> Path | None:
    node = read_stamp(root).get("node")
    return Path(node) if isinstance(node, str) and Path(node).is_file() else None


# --------------------------------------------------------------------------------------------------- how it is started


def command_line(
    nexrender: Nexrender, aerender: Path, job_file: Path, workpath: Path, extra: Sequence[str] = ()
) -> list[str]:
    """The words that start one attempt. --debug is what makes nexrender pass aerender's own lines on."""
    words = ["--file", str(job_file), "--binary", str(aerender), "--workpath", str(workpath)]
    return [*nexrender.command, *words, "--debug", "--no-analytics", "--no-license", *extra]


#: What the system and After Effects need to run. All else stays behind: nexrender expands `$NAME` in paths from its
#: environment, actions read it, and the service's own holds tokens.
# fmt: off
_KEPT = frozenset(
    {
        "PATH", "PATHEXT", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "OS",
        "HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "APPDATA", "LOCALAPPDATA",
        "PUBLIC", "PROGRAMDATA", "ALLUSERSPROFILE", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432",
        "COMMONPROGRAMFILES", "COMMONPROGRAMFILES(X86)", "COMMONPROGRAMW6432",
        "USERNAME", "USERDOMAIN", "COMPUTERNAME", "SESSIONNAME", "USER", "LOGNAME", "SHELL",
        "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "PROCESSOR_IDENTIFIER",
        "PROCESSOR_LEVEL", "PROCESSOR_REVISION",
        "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "__CF_USER_TEXT_ENCODING",
        "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR",
    }
)
# fmt: on

#: Seconds without a line after which nexrender gives up; the limits are ours to keep, and 0 would mean at once.
_NEVER_STALLED = 86_400 * 30
#: Milliseconds for one download. Not more: a timer of node that is longer than 24.8 days fires at once.
_LONG_DOWNLOAD = 86_400_000


def environment(
    *,
    home: Path,
    scratch: Path,
    extra: Mapping[str, str] | None = None,
    ffmpeg: str | None = None,
    marker: Mapping[str, str] | None = None,
    compile_cache: Path | None = None,
    linux: bool | None = None,
    source: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of one attempt, made of little: what the system needs, what we set, what the config adds.

    `home` is the user's own on Windows and macOS, where After Effects keeps licence and preferences under it.
    `marker` says whose processes these are and cannot be overridden; `source` is the environment to choose from.
    """
    given = os.environ if source is None else source
    found = {name: value for name, value in given.items() if _is_kept(name)}
    found["USERPROFILE" if os.name == "nt" else "HOME"] = str(home)
    found |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    found |= {
        "NEXRENDER_MAX_UPDATE_TIMEOUT": str(_NEVER_STALLED),
        "NEXRENDER_DOWNLOAD_TIMEOUT": str(_LONG_DOWNLOAD),
        "NEXRENDER_ENABLE_AELOG_PROJECT_FOLDER": "1",
    }
    if ffmpeg is not None:
        found["NEXRENDER_FFMPEG"] = ffmpeg
    if compile_cache is not None:
        found["NODE_COMPILE_CACHE"] = str(compile_cache)
    found |= extra or {}
    if sys.platform == "linux" if linux is None else linux:
        options = (found.get("NODE_OPTIONS", ""), preload_option(_PRELOAD))
        found["NODE_OPTIONS"] = " ".join(word for word in options if word)
    return found | dict(marker or {})


def _is_kept(name: str) -> bool:
    return name.upper() in _KEPT or name.upper().startswith("LC_")


def preload_option(path: Path) -> str:
    """The preload as NODE_OPTIONS wants it: in double quotes, backslash before quote and backslash."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'--require "{escaped}"'
