"""Paths as people write them in jobs, and the URI that nexrender reads back. Pure.

A job comes from any machine: `file://` URIs (encoded by a library, or raw as in nexrender's own examples), plain
absolute paths (`C:\\x.aep`, `/mnt/x.aep`, `\\\\server\\share\\x.aep`) and relative ones. `read_source` brings them all
to one form, lets `path_map` move them between machines, and says whether this machine can open the result.

How percent signs are read: all of `%XX` is decoded, so `Path.as_uri()` (`%23` for `#`) and raw URIs (`#` itself) name
the same file; a `%` without two hex digits behind it is a percent sign. nexrender's decoder leaves `%23` alone, which
no longer matters: it is handed the URI that `to_uri` writes.
Nothing is expanded: `$NAME` and `~` are letters of a name. nexrender does expand `$NAME`, hence `needs_copy`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import unquote_to_bytes


class Kind(StrEnum):
    """What a `src` is."""

    LOCAL = "local"  # a path that this machine can open
    FOREIGN = "foreign"  # a path of another machine that no rule of path_map brings here
    HTTP = "http"
    DATA = "data"
    OTHER = "other"  # a scheme that only a provider of nexrender's could fetch (s3, ftp, …): never allowed
    BROKEN = "broken"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A `src`, read: its kind, and the path, URL, scheme (OTHER) or fault (BROKEN) that goes with it."""

    kind: Kind
    text: str
    server: str | None = None  # of a network path


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One row of `path_map`: paths that begin with the components of `origin` begin with `target` here."""

    origin: str
    target: str


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/]|$)")
_DRIVE_IN_URI = re.compile(r"/*([A-Za-z])[:|](?=/|\\|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ .]*(\..*)?", re.IGNORECASE)
_PLAIN_SERVER = re.compile(
    r"(?!localhost$)(\d{1,3}(\.\d{1,3}){3}|[A-Za-z0-9_.-]*[A-Za-z_-][A-Za-z0-9_-]*)", re.IGNORECASE
)
_FILLED_IN = re.compile(r"\$.[A-Za-z0-9_]*")
_ENVIRONMENT_NAME = re.compile(r"[^\W\d]\w*")
#: Windows programs of After Effects' age cannot open longer paths.
_WINDOWS_LIMIT = 259
#: What a `src` means is remembered up to this length.
_REMEMBERED = 500


def read_source(src: str, *, base: str, windows: bool, rules: Iterable[Rule] = ()) -> Source:
    """What a `src` of a job means here. `base` is the folder that relative paths start from."""
    if len(src) <= _REMEMBERED:  # else it holds its file's own bytes
        return _remembered(src, base, windows, tuple(rules))
    return _read_source(src, base, windows, tuple(rules))


def _read_source(src: str, base: str, windows: bool, rules: tuple[Rule, ...]) -> Source:
    text = src.strip(" \t\r\n")
    scheme = _SCHEME.match(text)
    name = scheme[1].lower() if scheme else ""
    if name == "data":
        return Source(kind=Kind.DATA, text=text)
    if not text or _CONTROL.search(text):
        return _broken("it is empty" if not text else "it contains a line break or another control character")
    if name in ("http", "https"):
        return Source(kind=Kind.HTTP, text=text)
    if name and name != "file":
        return Source(kind=Kind.OTHER, text=name)
    plain = _path_of_uri(text[5:], windows=windows) if name == "file" else text
    return plain if isinstance(plain, Source) else read_path(plain, base=base, windows=windows, rules=rules)


#: A job's sources are asked for several times while it is judged, and many jobs name the same.
_remembered = lru_cache(maxsize=1024)(_read_source)


def read_path(text: str, *, base: str, windows: bool, rules: Iterable[Rule] = ()) -> Source:
    """What a plain path means here: mapped, absolute, without `.` and `..`, in this machine's own form."""
    if _CONTROL.search(text):
        return _broken("it contains a line break or another control character")
    found = _slashed(text, windows=windows)
    if isinstance(found, Source):
        return found
    if not _is_absolute(found):
        found = f"{_slashed(base, windows=windows)}/{found}"
    return _here(_normal(map_path(_normal(found), rules)), windows=windows)


def map_path(path: str, rules: Iterable[Rule]) -> str:
    """The path after `path_map`: the longest rule whose leading components are the path's own, or unchanged.

    Slashes of both kinds are the same, and drive letters have no case; where the rule is written for Windows (a drive
    or a server), neither have the names behind it, as on that machine. A `file:` URI becomes a plain path first.
    """
    if path[:5].lower() == "file:":
        plain = _path_of_uri(path[5:], windows=False)
        path = path if isinstance(plain, Source) else plain
    parts = _parts(path)
    for rule in sorted(rules, key=lambda rule: len(_parts(rule.origin)), reverse=True):
        origin = _parts(rule.origin)
        if origin and _folded(parts[: len(origin)], like=origin) == _folded(origin, like=origin):
            return _joined([*_parts(rule.target), *parts[len(origin) :]])
    return path


def to_uri(path: str, *, windows: bool) -> str:
    """The `file:` URI that nexrender (file-uri-to-path with decodeURI) reads back as exactly this path.

    Only `%` is encoded. Four slashes where the decoder would take a colon for a drive, or `localhost` for no server.
    """
    text = path.replace("%", "%25")
    if not windows:
        return f"file:///{text}" if ":" in text else f"file://{text}"
    text = text.replace("\\", "/")
    if not text.startswith("//"):
        return f"file:///{text}"
    plain = _PLAIN_SERVER.fullmatch(text[2:].partition("/")[0])
    return f"file:{text}" if plain else f"file://{text}"


def needs_copy(
    path: str, *, windows: bool, environment: Collection[str] | None = None, in_script: bool = False
) -> str | None:
    """Why this file has to be handed to nexrender under another name, or None where it can be used in place.

    `environment` are the names of the variables that nexrender will have (None: any). `in_script` is true for footage,
    whose path nexrender pastes between quotes into its script and escapes only the first quote of.
    """
    if _UNFIT.search(path):
        return "its path has letters that a URI cannot carry"
    if _is_filled_in(path, environment):
        return "nexrender would fill in the $NAME in its path from the environment"
    if in_script and path.count("'") > 1:
        return "nexrender escapes only the first apostrophe of a path"
    if not windows and "|" in path:
        return "nexrender reads | in a path as a colon"
    if windows and len(path) > _WINDOWS_LIMIT:
        return "its path is longer than After Effects can open"
    return None


def is_under(path: str, folder: str, *, windows: bool) -> bool:
    """Is this path the folder or something in it? Compared as they stand: resolve links before."""
    inner, outer = _parts(path), _parts(folder)
    if windows:
        inner, outer = [part.casefold() for part in inner], [part.casefold() for part in outer]
    return inner[: len(outer)] == outer


def server_of(path: str) -> str | None:
    """The server of a network path (`\\\\server\\share\\…`), in small letters; None for any other path."""
    text = path.replace("\\", "/")
    return text[2:].partition("/")[0].lower() or None if text.startswith("//") else None


def is_device(name: str) -> bool:
    """Does Windows take this name for a device (`NUL`, `con.mp4`)?"""
    return _DEVICE.fullmatch(name) is not None


def _broken(why: str) -> Source:
    return Source(kind=Kind.BROKEN, text=why)


def _path_of_uri(rest: str, *, windows: bool) -> str | Source:
    """What stands behind `file:`, as a plain path."""
    if rest.startswith("//$"):
        name = rest[2:].partition("/")[0]
        return _broken(f"{name} is not filled in from the environment; write the whole path")
    path = _decoded(rest)
    drive = _DRIVE_IN_URI.match(path)
    if drive:
        return f"{drive[1]}:{path[drive.end() :] or '/'}"
    if path.lower().startswith("//localhost/"):
        return path[11:]
    if path.startswith("////"):
        return ("//" if windows else "/") + path.lstrip("/")
    if path.startswith("///"):
        return path[2:]
    if path.startswith("//") and "/" not in path[2:]:
        return path[2:]  # file://spot.aep: meant as a file beside the job
    if path.startswith("//./"):
        return path[2:]
    return path


def _decoded(text: str) -> str:
    # Bytes that are no UTF-8 stay what they are (POSIX names may have them); Windows has no such names and finds none.
    return unquote_to_bytes(_LONE_PERCENT.sub("%25", text)).decode("utf-8", "surrogateescape")


def _slashed(text: str, *, windows: bool) -> str | Source:
    """The path with `/` only. On POSIX a backslash in an absolute path is a letter; elsewhere it came from Windows."""
    if not windows and text.startswith("/") and (not text.startswith("//") or text.startswith("///")):
        return "/" + text.lstrip("/")
    text = text.replace("\\", "/")
    if text.lower().startswith("//?/unc/"):
        return f"//{text[8:]}"
    if text.startswith("//?/") and _DRIVE.match(text[4:]):
        return text[4:]
    if text.startswith(("//?/", "//./")):
        return _broken("device paths are not files")
    if text[1:2] == ":" and not _DRIVE.match(text):
        return _broken(f"{text[:2]} without a slash depends on where a program stands; write {text[:2]}/{text[2:]}")
    return text


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or _DRIVE.match(path) is not None


def _normal(path: str) -> str:
    """The path with `/`, without empty parts, `.` and `..`. Done before anything looks at it, so that the path that is
    judged is the path that is opened."""
    parts = _parts(path)
    fixed = 3 if parts[0] == "//" else 1
    kept = parts[:fixed]
    for part in parts[fixed:]:
        if part == "..":
            del kept[max(fixed, len(kept) - 1) :]
        elif part != ".":
            kept.append(part)
    return _joined(kept)


def _parts(path: str) -> list[str]:
    """The components. The first tells what an absolute path hangs on: `/`, `C:`, or `//` with server and share next."""
    if path.startswith("/") and not path.startswith("//"):
        return ["/", *filter(None, path.split("/"))]
    text = path.replace("\\", "/")
    names = [part for part in text.split("/") if part]
    return ["//", *names] if text.startswith("//") else ["/", *names] if text.startswith("/") else names


def _joined(parts: list[str]) -> str:
    if parts[0] in ("/", "//"):
        return parts[0] + "/".join(parts[1:])
    return f"{parts[0]}/{'/'.join(parts[1:])}"


def _folded(parts: list[str], *, like: list[str]) -> list[str]:
    return parts if like[0] == "/" else [part.casefold() for part in parts]


def _here(path: str, *, windows: bool) -> Source:
    server = server_of(path)
    drive = _DRIVE.match(path) is not None
    if windows and (fault := _windows_fault(path)):
        return _broken(fault)
    if windows and (server or drive):
        return Source(kind=Kind.LOCAL, text=path.replace("/", "\\"), server=server)
    if not windows and not server and not drive and path.startswith("/"):
        return Source(kind=Kind.LOCAL, text=path)
    return Source(kind=Kind.FOREIGN, text=path, server=server)


def _windows_fault(path: str) -> str | None:
    """Names that Windows reads as something else: devices, streams of a file, names with their tail cut off."""
    for part in _parts(path)[1:]:
        if is_device(part):
            return f"{part} is a device on Windows, not a file"
        if _NOT_ON_WINDOWS.search(part) or part != part.rstrip(" ."):
            return f"{part} is not a name that a file on Windows can have"
    return None


def _is_filled_in(path: str, environment: Collection[str] | None) -> bool:
    names = [found.replace("$", "", 1) for found in _FILLED_IN.findall(path)]
    if environment is None:
        return any(_ENVIRONMENT_NAME.match(name) for name in names)
    known = {name.upper() for name in environment}  # Windows' variables have no case; a copy too many does no harm
    return any(name.upper() in known for name in names)
