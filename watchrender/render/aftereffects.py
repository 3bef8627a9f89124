"""After Effects on this machine: its aerender, and whether nexrender may put its script into it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from watchrender.core.failure import Code, Failure, fail

if TYPE_CHECKING:
    from watchrender.render.nexrender import Nexrender

_YEAR = re.compile(r"20\d\d")


def find_aerender(
    setting: str | Path | Mapping[str, str] | None, version: str | None = None, *, platform: str = sys.platform
) -> Path | Failure:
    """The aerender to use: the one configured, else that of the newest After Effects here."""
    if setting is None:
        return _newest_aerender(version, platform)
    if isinstance(setting, Mapping):
        return _configured_version(setting, version)
    if version is not None:
        return fail(
            Code.AERENDER_NOT_FOUND,
            f"The job asks for After Effects {version}, but nexrender.aerender names one program and no versions.",
            cure='Write nexrender.aerender as {"2024": PATH, "2025": PATH}, or take aerender out of the sidecar.',
        )
    return _checked(Path(setting), "nexrender.aerender")


def _configured_version(setting: Mapping[str, str], version: str | None) -> Path | Failure:
    if not setting:
        return fail(Code.AERENDER_NOT_FOUND, "nexrender.aerender is an empty table.")
    # The newest is meant where none is asked for: by number, so that "2024" beats "24.6" and "9" does not beat "24".
    chosen = version if version is not None else max(setting, key=_by_number)
    if chosen not in setting:
        known = ", ".join(sorted(setting, key=_by_number))
        return fail(
            Code.AERENDER_NOT_FOUND,
            f"The job asks for After Effects {chosen}; configured are {known}.",
            cure=f"Write one of {known} as aerender in the sidecar, or add {chosen} to nexrender.aerender.",
        )
    return _checked(Path(setting[chosen]), f"nexrender.aerender.{chosen}")


def _by_number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _checked(path: Path, key: str) -> Path | Failure:
    if not path.is_absolute():
        return fail(Code.AERENDER_NOT_FOUND, f"{key} is {path}, which is not a full path.")
    if path.is_dir():
        inside = next((found for found in _inside(path) if found.is_file()), None)
        hint = f"; write {inside}" if inside else ""
        return fail(Code.AERENDER_NOT_FOUND, f"{key} is {path}, which is a folder, not aerender itself{hint}.")
    if not path.is_file():
        return fail(Code.AERENDER_NOT_FOUND, f"{key} is {path}, and there is no such file.")
    if not os.access(path, os.X_OK):
        return fail(
            Code.AERENDER_NOT_FOUND,
            f"{key} is {path}, which this user may not execute.",
            cure=f"Give this user the right to execute {path}.",
        )
    return path


def _inside(folder: Path) -> list[Path]:
    return [folder / "aerender", folder / "aerender.exe", folder / "Support Files" / "aerender.exe"]


def _newest_aerender(version: str | None, platform: str) -> Path | Failure:
    found = [path for path in _candidates(platform) if path.is_file() and os.access(path, os.X_OK)]
    if version is not None:
        found = [path for path in found if version in _YEAR.findall(str(path))]
    if found:
        return max(found, key=_age)
    named = f"After Effects {version}" if version else "No After Effects"
    where = {"win32": r"C:\Program Files\Adobe", "darwin": "/Applications"}.get(platform)
    if where is None:
        return fail(
            Code.AERENDER_NOT_FOUND,
            "nexrender.aerender is not set, and After Effects is never found by itself on this system.",
            cure="Set nexrender.aerender to the full path of aerender.",
        )
    return fail(Code.AERENDER_NOT_FOUND, f"{named} was {'not ' if version else ''}found in {where}.")


def _candidates(platform: str) -> list[Path]:
    if platform == "win32":
        programs = Path(os.environ.get("PROGRAMW6432") or os.environ.get("PROGRAMFILES") or r"C:\Program Files")
        return [path / "Support Files" / "aerender.exe" for path in (programs / "Adobe").glob("Adobe After Effects*")]
    if platform == "darwin":
        return [path / "aerender" for path in Path("/Applications").glob("Adobe After Effects*")]
    return []


def _age(aerender: Path) -> tuple[int, bool]:
    """Newest last; of one year the released one before its beta."""
    years = _YEAR.findall(str(aerender))
    return int(years[-1]) if years else 0, "beta" not in str(aerender).lower()


def patch_failure(aerender: Path, nexrender: Nexrender | None = None) -> Failure | None:
    """Would nexrender have to write into this After Effects, and not be able to?

    nexrender puts its own command-line script into After Effects before the first render, and again whenever the mark
    in it is not the one of its version.
    """
    script = aerender.parent / "Scripts" / "Startup" / "commandLineRenderer.jsx"
    try:
        mark = _mark(script.read_bytes())
    except OSError as error:
        if isinstance(error, FileNotFoundError) and nexrender is not None and nexrender.root is None:
            return None  # a program of its own in nexrender's place: what it needs is not for us to say
        return fail(
            Code.AERENDER_NOT_FOUND,
            f"{aerender} is not inside an After Effects: {script} cannot be read ({error.strerror or error}).",
            cure="Set nexrender.aerender to the aerender inside the After Effects folder, not to a copy or a link.",
        )
    wanted = _wanted_mark(aerender, nexrender)
    if mark is not None and wanted in (None, mark):
        return None
    blocked = _unwritable(script, aerender.parent, first=mark is None)
    if blocked is None:
        return None
    state = "does not have nexrender's mark" if mark is None else f"has nexrender's mark {mark} instead of {wanted}"
    return fail(
        Code.AERENDER_NOT_PATCHED,
        f"{script} {state}, and {blocked} cannot be written by this user.",
        cure=f'Run `nexrender-cli "{{}}" --force-patch --binary "{aerender}"` once as an administrator.',
    )


def _mark(script: bytes) -> str | None:
    """nexrender's mark in its command-line script: the version of the patch."""
    found = re.search(rb"nexrender-patch-v([0-9.]+)", script)
    return found[1].decode("ascii").rstrip(".") if found else None


def _wanted_mark(aerender: Path, nexrender: Nexrender | None) -> str | None:
    """The mark this nexrender writes for this After Effects, where its own copy can be read."""
    if nexrender is None or nexrender.root is None:
        return None
    years = _YEAR.findall(str(aerender.parent))
    kind = "2022" if years and years[0] >= "2022" else "default"  # its own rule, by the first year in the path
    modules = nexrender.root / "node_modules" if (nexrender.root / "node_modules").is_dir() else nexrender.root
    asset = modules / "@nexrender" / "core" / "src" / "assets" / f"commandLineRenderer-{kind}.jsx"
    try:
        with open(asset, "rb") as file:
            return _mark(file.read(400))
    except OSError:
        return None


def _unwritable(script: Path, folder: Path, *, first: bool) -> Path | None:
    """The first thing nexrender would have to write and cannot. Opened, not asked: Windows' answers are no use."""
    try:
        with open(script, "r+b"):
            pass
    except OSError:
        return script
    backup = folder / "Backup.Scripts" / "Startup"
    standing = next(place for place in (backup, *backup.parents) if place.exists())
    if first and not os.access(standing, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return standing
    if sys.platform != "win32" and first and os.stat(script).st_uid != os.geteuid() and os.geteuid() != 0:
        return script  # nexrender changes its mode first, which only the owner may
    return None
