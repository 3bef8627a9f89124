"""What a name in the inbox says: kind, job name, mark, key, control file. Pure.

The tables below are all that names mean. Whatever they do not say is part of the job's name, never an error.
Names are compared NFC and case-folded (`fold`), because a share has readers that do either.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache
from itertools import count

#: Names that are nobody's job: hidden and half-copied files, what systems leave behind.
IGNORED = (
    ".*", "~*", "*.tmp", "*.part", "*.partial", "*.crdownload", "*.lnk",
    "thumbs.db", "desktop.ini", ".ds_store", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "__macosx",
    "system volume information", "lost+found",
)  # fmt: skip
#: Files that a system lays into every folder that somebody looks at.
LITTER = (".ds_store", "._*", "thumbs.db", "desktop.ini")
#: Files we write ourselves. A folder may be called so.
OURS = ("*.status.json", "*.log", "why.txt", "*.why.txt")

#: The bytes that the longest name made from a job's name may have, and that longest name's ending.
LONGEST = 240
_LONGEST_ENDING = "~99.status.json"
_LONGEST_ON_DISK = 255
_HASH_DIGITS = 8

WORDS = {"urgent": 90, "high": 70, "normal": 50, "low": 20}

_JOB_SUFFIXES = (".json", ".yaml", ".yml", ".zip")
_NUMBER = "([0-9]{2}|100)"  # two digits or 100 only: `p1_intro` and `p720_spot` are names
_PREFIX = re.compile(rf"p{_NUMBER}[_-](.+)", re.IGNORECASE | re.DOTALL)
_SUFFIX = re.compile(rf"(.+)\.p{_NUMBER}", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(rf"(.+)@({'|'.join(WORDS)})", re.IGNORECASE | re.DOTALL)


class Kind(StrEnum):
    """What a file or folder in the inbox is, by its name alone."""

    IGNORED = "ignored"
    CONTROL = "control"
    JOB = "job"  # .json
    YAML = "yaml"  # a job or a sidecar: its content tells
    ZIP = "zip"
    FOLDER = "folder"  # a bundle, a sub-folder or a returned job: its content tells
    LETTER = "letter"  # an After Effects project alone: its owner gets a letter with what to write
    OTHER = "other"


class MarkKind(StrEnum):
    """How a priority was written into a name."""

    PREFIX = "prefix"  # p80_spot
    SUFFIX = "suffix"  # spot.p80
    WORD = "word"  # spot@urgent


@dataclass(frozen=True, kw_only=True)
class Named:
    """A job's name, and the priority mark that was taken off it."""

    name: str
    priority: int | None = None
    mark: MarkKind | None = None


class Order(StrEnum):
    """What a control file asks for."""

    HOLD = "hold"
    CANCEL = "cancel"
    PRIORITIZE = "prioritize"
    PAUSE = "pause"
    DRAIN = "drain"
    STOP = "stop"
    RELEASE = "release"
    CANCEL_ALL = "cancel all"


#: Marks that work while they lie there; all others are orders, removed when done.
STANDING = frozenset({Order.HOLD, Order.PAUSE})
_TOP = {
    "_pause": Order.PAUSE,
    "_drain": Order.DRAIN,
    "_stop": Order.STOP,
    "_cancel_all": Order.CANCEL_ALL,
}
_TARGETED = {".hold": Order.HOLD, ".cancel": Order.CANCEL, ".release": Order.RELEASE}


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control file: what it asks for, and of which job (by its name or its file's name)."""

    order: Order
    target: str | None = None
    priority: int | None = None
    only_if_empty: bool = False  # a folder `spot.p80` with something in it is a bundle with a mark

    @property
    def top_only(self) -> bool:
        """Does it mean something at the top of the inbox only?"""
        return self.target is None

    @property
    def standing(self) -> bool:
        return self.order in STANDING


def classify(name: str, *, is_dir: bool, extra_ignore: Sequence[str] = ()) -> Kind:
    """What an entry of the inbox is. A folder `spot.p80` is `FOLDER`; ask `control` too once it proves empty."""
    if is_ignored(name, is_dir=is_dir):
        return Kind.IGNORED
    # Before watch.ignore: a pattern like `_*` or `*.txt` must not take the brakes away.
    asked = control(name, is_dir=is_dir)
    if asked is not None and not asked.only_if_empty:
        return Kind.CONTROL
    if _matches(name, extra_ignore):
        return Kind.IGNORED
    return Kind.FOLDER if is_dir else _file_kind(name)


def is_ignored(name: str, *, is_dir: bool) -> bool:
    """Is it nobody's job on any machine (watch.ignore aside)?"""
    return _matches(name, IGNORED) or (not is_dir and _matches(name, OURS))


def is_litter(name: str) -> bool:
    """Has a system laid it there by itself? A folder with nothing else in it is empty to whoever made it."""
    return _matches(name, LITTER)


@lru_cache(maxsize=4096)
def parse_name(name: str, *, is_dir: bool = False) -> Named:
    """The job's name and priority from a file, zip or folder name: the suffix and one mark taken off."""
    stem = stem_of(name, is_dir=is_dir)
    for found in _marks(stem):
        if _is_usable(found.name):
            return found
    return Named(name=stem)


@lru_cache(maxsize=4096)
def stem_of(name: str, *, is_dir: bool = False) -> str:
    """A file's name without `.json`, `.yaml`, `.yml` or `.zip`; a folder's name as it is."""
    if is_dir:
        return name
    suffix = next((end for end in _JOB_SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(suffix)] or name


def fold(key: str) -> str:
    """A name or key as it is compared: `Spot`, `spot` and both spellings of `é` are one."""
    if key.isascii():
        return key.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", key).casefold())


def last_of(key: str, sub: str) -> str:
    """The last part of a key: how the job's folder is called, and its files without their endings."""
    return key.removeprefix(f"{sub}/") if sub else key


def preview_prefix(last: str, number: int) -> str:
    """What stands before `thumbnail.jpg` and `contact.jpg` of an output: `spot.`, of the second one `spot.2.`."""
    return f"{last}." if number == 0 else f"{last}.{number + 1}."


def natural_key(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """A sort key by which `sh2` comes before `sh10`. Total: two different names never compare equal."""
    parts = re.split(r"([0-9]+)", fold(name))
    # Numbers are compared as (digits, text): no limit to their length, no int().
    keyed = ((len(number := part.lstrip("0")), number) if odd % 2 else (0, part) for odd, part in enumerate(parts))
    return tuple(keyed), name


def fit(name: str) -> str:
    """The name unchanged if everything we make from it fits the disk, else cut, with eight digits of its hash.

    Cut names are NFC, and the hash is that of the folded name: one key has one cut form on every file system."""
    room = LONGEST - len(_LONGEST_ENDING)
    if len(_bytes(name)) <= room:
        return name
    digest = hashlib.sha256(_bytes(fold(name))).hexdigest()[:_HASH_DIGITS]
    return f"{_cut(unicodedata.normalize('NFC', name), room - _HASH_DIGITS - 1)}-{digest}"


def candidates(name: str) -> Iterator[str]:
    """`spot`, `spot~2`, `spot~3`, … without end."""
    yield name
    for number in count(2):
        yield f"{name}~{number}"


def stem_candidates(stem: str) -> Iterator[str]:
    """The same for a file's name without its suffix: a mark stays one, as in `spot~2@urgent`."""
    named = parse_name(stem, is_dir=True)
    place = len(stem) - len(named.name) if named.mark is MarkKind.PREFIX else 0
    before, after = stem[:place], stem[place + len(named.name) :]
    return (f"{before}{found}{after}" for found in candidates(fit(named.name)))


def file_candidates(name: str, *, is_dir: bool = False) -> Iterator[str]:
    """The same for a whole file's or folder's name, first of all unchanged: `spot.v2` and `spot~2@urgent.json` too."""
    yield name
    stem = stem_of(name, is_dir=is_dir)
    yield from (f"{found}{name[len(stem) :]}" for found in stem_candidates(stem))


def is_candidate(found: str, name: str) -> bool:
    """Is `found` one of the candidates for `name`?"""
    found, wanted = fold(found), fold(name)
    return found == wanted or (found.startswith(f"{wanted}~") and found[len(wanted) + 1 :].isdigit())


def control(name: str, *, is_dir: bool = False) -> Control | None:
    """What a control file or folder asks for; None if it is none. Any case, and a trailing `.txt`, count."""
    bare = name[:-4] if name.lower().endswith(".txt") else name
    if order := _TOP.get(bare.lower()):
        return Control(order=order)
    for ending, order in _TARGETED.items():
        if bare.lower().endswith(ending) and len(bare) > len(ending):
            return Control(order=order, target=bare[: -len(ending)])
    if found := _SUFFIX.fullmatch(bare):
        priority = int(found[2])
        return Control(order=Order.PRIORITIZE, target=found[1], priority=priority, only_if_empty=is_dir)
    return None


def target_matches(target: str, job_name: str, file_names: Iterable[str]) -> bool:
    """Does a control file's NAME mean this job? It may be the last part of its key, a file's whole name, that without
    the suffix, or that without the mark (`spot` for `p80_spot.json`, also where the key is `spot~2` or was cut)."""
    wanted = fold(target)
    files = tuple(file_names)
    bare = (parse_name(name).name for name in files)
    return wanted in {fold(name) for name in (job_name, *files, *map(stem_of, files), *bare)}


def sidecar_owner(sidecar: str, jobs: Iterable[tuple[str, bool]]) -> str | None:
    """Which of the jobs of one folder, given as (name, is it a folder), a sidecar belongs to; None if to none.

    By exact stem, else by job name with the marks taken off on both sides. Where several fit, the one of just the same
    spelling goes before `Spot` beside `spot`, then the first in natural order: two looks never disagree."""
    written = {stem_of(sidecar), parse_name(sidecar).name}

    def is_other(job: str, is_dir: bool) -> bool:
        return not written & {stem_of(job, is_dir=is_dir), parse_name(job, is_dir=is_dir).name}

    ordered = sorted(jobs, key=lambda job: (is_other(*job), natural_key(job[0])))
    stem, name = fold(stem_of(sidecar)), fold(parse_name(sidecar).name)
    exact = (job for job, is_dir in ordered if fold(stem_of(job, is_dir=is_dir)) == stem)
    named = (job for job, is_dir in ordered if fold(parse_name(job, is_dir=is_dir).name) == name)
    return next(exact, None) or next(named, None)


def settings_name(sidecar: str, job: str, others: Iterable[tuple[str, bool]], *, is_dir: bool = False) -> str:
    """How a sidecar is called beside its job where that is dropped anew as `job`, among `others`: as it was where that
    still names this job, else by the job's own stem. It must not become the settings of somebody else."""
    if sidecar_owner(sidecar, [(job, is_dir), *others]) == job:
        return sidecar
    found = f"{stem_of(job, is_dir=is_dir)}{sidecar[sidecar.rfind('.') :]}"
    return found if len(_bytes(found)) <= _LONGEST_ON_DISK else sidecar


def not_for_windows(name: str) -> str | None:
    """Why Windows could not hold a file of this name, in words; None if it could."""
    if found := re.search(f"[{_NOT_ON_WINDOWS}]", name):
        return f"it has {found[0]!r} in it"
    if name.endswith((".", " ")):
        return "it ends with a dot or a blank"
    if re.fullmatch(rf"({_DEVICES})\s*(\..*)?", name, re.IGNORECASE | re.DOTALL):
        return "Windows keeps that name for a device"
    return None


_NOT_ON_WINDOWS = r'<>:"|?*\\/\u0000-\u001f'
_DEVICES = r"con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]"


# -- what a program may call its job ---------------------------------------------------------------------------


def not_for_a_job(name: str, extra_ignore: Sequence[str] = ()) -> str | None:
    """Why NAME.json in the inbox would be no job, in words; None if it would be one."""
    if classify(f"{name}.json", is_dir=False, extra_ignore=extra_ignore) is not Kind.JOB:
        return f"{name!r} is a name that watchrender leaves alone"
    why = not_for_windows(name)
    return None if why is None else f"{name!r} is no name for a job: {why}"


def not_for_a_sub(sub: str, extra_ignore: Sequence[str] = ()) -> str | None:
    """Why this can be no sub-folder of the inbox, in words; None if it can, or is the inbox itself."""
    for part in sub.split("/") if sub else ():
        if part in ("", ".", ".."):  # `/a`, joined to the inbox, would be a folder of the whole disk
            return f"{sub!r} is no sub-folder of the inbox; write it like clientA or clientA/show"
        kind = classify(part, is_dir=True, extra_ignore=extra_ignore)
        if kind is not Kind.FOLDER:
            what = "is an order there" if kind is Kind.CONTROL else "is a name that watchrender leaves alone"
            return f"{part!r} is no sub-folder of the inbox: it {what}"
        if why := not_for_windows(part):
            return f"{part!r} is no name for a folder: {why}"
        if not re.fullmatch("|".join(f"{letters}{{1,{most}}}" for letters, most in _ROOM), part):
            return f"{part!r} is too long for a folder"
    return None


#: Letters without a slash, and how many of them are 240 bytes at most: an expression counts letters, not bytes.
_ROOM = ((r"[\u0000-.0-\u007f]", 240), (r"[\u0000-.0-\u07ff]", 120), (r"[\u0000-.0-\uffff]", 80), ("[^/]", 60))


def job_pattern() -> str:
    """What `not_for_a_job` lets pass, as an expression of JSON Schema."""
    status = _in_any_case(".status")
    return rf"^(?![.~])(?!.*{status}$)(?!{_device_pattern()}$){_LETTER}*{_LAST_LETTER}$"


def sub_pattern() -> str:
    """What `not_for_a_sub` lets pass, as an expression of JSON Schema."""
    end = "(?:/|$)"
    ignored = "|".join(map(_in_any_case, IGNORED))
    orders = "|".join([*map(_in_any_case, _TOP), *(f"[^/]+{_in_any_case(ending)}" for ending in _TARGETED)])
    refused = rf"(?:{ignored}|(?:{orders})(?:{_in_any_case('.txt')})?|{_device_pattern()})"
    room = "|".join(f"{letters}{{1,{most}}}{end}" for letters, most in _ROOM)
    part = rf"(?!{refused}{end})(?={room}){_LETTER}*{_LAST_LETTER}"
    return rf"^(?:{part}(?:/{part})*)?$"


_LETTER, _LAST_LETTER = rf"[^{_NOT_ON_WINDOWS}]", rf"[^{_NOT_ON_WINDOWS}. ]"


def _device_pattern() -> str:
    devices = "|".join(map(_in_any_case, ("con", "prn", "aux", "nul", "conin$", "conout$")))
    ports = "|".join(f"{_in_any_case(port)}[0-9¹²³]" for port in ("com", "lpt"))
    return rf"(?:{devices}|{ports})\s*(?:\.[^/]*)?"


def _in_any_case(pattern: str) -> str:
    """A name or pattern as an expression that needs no flag for upper and lower case."""
    signs = {"*": "[^/]*", ".": r"\.", "$": r"\$", "+": r"\+"}
    return "".join(f"[{sign}{sign.upper()}]" if sign.isalpha() else signs.get(sign, sign) for sign in pattern)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return _pattern(tuple(patterns)).match(fold(name)) is not None


@lru_cache(maxsize=64)
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(fold(pattern)) for pattern in patterns) or r"(?!)")


def _file_kind(name: str) -> Kind:
    lower = name.lower()
    if lower.endswith(".json"):
        return Kind.JOB
    if lower.endswith((".yaml", ".yml")):
        return Kind.YAML
    if lower.endswith(".zip"):
        return Kind.ZIP
    return Kind.LETTER if lower.endswith((".aep", ".aepx")) else Kind.OTHER


def _marks(stem: str) -> Iterator[Named]:
    if found := _PREFIX.fullmatch(stem):
        yield Named(name=found[2], priority=int(found[1]), mark=MarkKind.PREFIX)
    if found := _SUFFIX.fullmatch(stem):
        yield Named(name=found[1], priority=int(found[2]), mark=MarkKind.SUFFIX)
    if found := _WORD.fullmatch(stem):
        yield Named(name=found[1], priority=WORDS[found[2].lower()], mark=MarkKind.WORD)


def _is_usable(name: str) -> bool:
    # `p80_..json` must not make a job called `.`: a name that leaves the folder, or that would be
    # hidden, keeps its mark.
    return bool(name.strip()) and not name.startswith((".", "~"))


def _bytes(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, which NTFS allows
        return name.encode("utf-8", "surrogatepass")


def _cut(name: str, room: int) -> str:
    end, used = 0, 0
    for character in name:
        used += len(_bytes(character))
        if used > room:
            break
        end += 1
    while end and unicodedata.combining(name[end : end + 1] or "x"):
        end -= 1  # an accent stays with its letter
    return name[:end].rstrip(" .")
