"""The copy of the job that nexrender gets: own uid and output, right URIs, safe names. Pure.

By construction: an action without an allowance of `core.policy` is not in it, a source that was not brought to this
machine is an error, and whatever nexrender would make a path of is written here. All else passes unchanged.

Where the project is used. In place, so that it finds its relative footage. Except where the job has `static` assets:
their only purpose is to lie beside the project's copy in the work folder, so there the project is copied too, as plain
nexrender does; a job that wants both says `"useOriginal": true` in its template.

Which extension the film gets: `template.outputExt`, else that of the job's own `output`, else what the output module's
name tells, else `mov` on macOS and `avi` elsewhere (nexrender's own default). After Effects may choose another one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from watchrender.core import paths
from watchrender.core.jobform import list_in, object_in
from watchrender.core.policy import FOOTAGE_TYPES, PHASES, Aim, Allowance, Spot, Use, whole_number

#: One file for each frame. nexrender knows some of them; the rest has to be told.
SEQUENCES = frozenset(
    {
        "bmp",
        "cin",
        "dpx",
        "exr",
        "hdr",
        "iff",
        "jpeg",
        "jpg",
        "pct",
        "pic",
        "png",
        "psd",
        "rpf",
        "sgi",
        "tga",
        "tif",
        "tiff",
    }
)

_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")
_EXTENSION = re.compile(r"[A-Za-z0-9]{1,8}")
_STATIC_NAME = re.compile(r"[^\W_][\w .+=@&(),-]{0,79}")
_UNSAFE_IN_STEM = re.compile(r"[^A-Za-z0-9._-]")
_NUMBERED = re.compile(r"\[#+\]")

#: Written by us, set by nexrender, or meant for programs that embed it. `__proto__` would replace the job's prototype.
_DROPPED = re.compile(
    "uid|output|workpath|resultname|scriptfile|state|timings|params|actions|watchrender|onChange|onRenderProgress|"
    "onRenderError|renderProgress|error|executor|creator|createdAt|updatedAt|startedAt|finishedAt|errorAt|__proto__"
)
_DROPPED_INSIDE = re.compile("params|dest|output|name|extension|useOriginal|onChange|__proto__")
_NEVER = "__proto__"

#: Output modules by the names that After Effects and people give them; the first that fits tells the extension.
_MODULES = tuple(
    (re.compile(pattern, re.IGNORECASE), ext)
    for pattern, ext in (
        (r"\bpng\b", "png"),
        (r"\btiff?\b", "tif"),
        (r"\bjpe?g\b", "jpg"),
        (r"\b(open)?exr\b", "exr"),
        (r"\b(photoshop|psd)\b", "psd"),
        (r"\b(targa|tga)\b", "tga"),
        (r"\b(dpx|cineon)\b", "dpx"),
        (r"\b(wave?)\b", "wav"),
        (r"\bmp3\b", "mp3"),
        (r"\baiff?\b", "aif"),
        (r"\b(pro ?res|quicktime|mov|animation|dnxh[dr]|cineform)\b", "mov"),
        (r"\b(h\.? ?26[45]|hevc|mp4|mpeg-?4|match render settings)\b", "mp4"),
        (r"\bwebm\b", "webm"),
        (r"\bavi\b", "avi"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A place that the job itself wants its film in: weaker than any `output:` of its settings."""

    path: str  # where the job says so
    to: str  # a folder if it ends with a slash
    of: str | None = None  # the further output meant; None: the film


@dataclass(frozen=True, kw_only=True)
class Built:
    """What nexrender gets, and what is to be expected from it."""

    document: dict[str, Any]
    output: str  # the path given to aerender, `…_[#####].png` for a sequence
    stem: str  # what the film's file is called, before the extension or number
    ext: str
    sequence: bool
    frames: range | None  # their numbers, where the job tells first and last
    further: tuple[str, ...] = ()  # names of other files that will lie in the output folder
    deliveries: tuple[Delivery, ...] = ()


def build(
    document: Mapping[str, Any],
    *,
    uid: str,
    output_dir: str,
    stem: str,
    ext: str,
    resolved: Mapping[str, str],
    windows: bool,
    allowances: Iterable[Allowance] = (),
    environment: Collection[str] | None = None,
) -> Built:
    """Our copy of an admitted job. `resolved` tells, by the JSON path of each `src`, the file on this machine.

    Raises ValueError where the caller forgot a step: a source that was not fetched or handed over, an unfit uid.
    """
    granted = tuple(allowances)
    further = tuple(found.of for found in granted if found.use is Use.FURTHER and found.of)
    builder = _Builder(document, resolved, windows=windows, environment=environment)
    sequence = is_sequence(document, ext)
    stem = _safe_stem(stem, further)
    place = _Place(folder=output_dir, windows=windows)
    output = place.path(f"{stem}_[#####].{ext}" if sequence else f"{stem}.{ext}")
    if not _UID.fullmatch(uid) or not _EXTENSION.fullmatch(ext):
        raise ValueError(f"uid {uid!r} or extension {ext!r} is not safe as part of a path")
    copy = {name: _plain(value) for name, value in document.items() if not _DROPPED.fullmatch(name)}
    copy |= {"uid": uid, "output": output}
    copy["template"] = builder.template() | {"outputExt": ext, "imageSequence": sequence}
    copy["assets"] = builder.assets()
    copy["actions"] = _actions(document, granted, place, output)
    return Built(
        document=copy,
        output=output,
        stem=stem,
        ext=ext,
        sequence=sequence,
        frames=frames(document),
        further=further,
        deliveries=tuple(
            Delivery(path=found.path, to=found.to, of=found.of)
            for found in granted
            if found.use is Use.DELIVERY and found.to
        ),
    )


def film_ext(document: Mapping[str, Any], *, platform: str) -> str:
    """The extension to ask for (`platform` as in `sys.platform`)."""
    template = object_in(document, "template")
    for given in (template.get("outputExt"), _suffix(template.get("output")), _suffix(document.get("output"))):
        if isinstance(given, str) and _EXTENSION.fullmatch(given.lstrip(".")):
            return given.lstrip(".").lower()
    module = template.get("outputModule")
    words = re.sub(r"[_]", " ", module) if isinstance(module, str) else ""
    guess = next((ext for pattern, ext in _MODULES if pattern.search(words)), None)
    return guess or ("mov" if platform == "darwin" else "avi")


def is_sequence(document: Mapping[str, Any], ext: str) -> bool:
    """Will there be one file for each frame? Told by the extension; for one nobody knows, by the job."""
    template = object_in(document, "template")
    if ext.lower() in SEQUENCES:
        return True
    given = (template.get("output"), document.get("output"))
    numbered = any(isinstance(text, str) and _NUMBERED.search(text) for text in given)
    return (template.get("imageSequence") is True or numbered) and ext.lower() not in _FILMS


_FILMS = frozenset({"avi", "mov", "mp4", "m4v", "mkv", "webm", "mxf", "wmv", "gif", "wav", "mp3", "aif", "aiff", "m4a"})


def frames(document: Mapping[str, Any]) -> range | None:
    """The numbers of the frames that will be rendered; None if the job leaves that to the composition."""
    template = object_in(document, "template")
    first, last = whole_number(template.get("frameStart")), whole_number(template.get("frameEnd"))
    step = whole_number(template.get("incrementFrame")) or 1
    return None if first is None or last is None or last < first else range(first, last + 1, max(1, step))


def is_in_place(document: Mapping[str, Any]) -> bool:
    """Is the project opened where it lies (see the top of this file)?"""
    if object_in(document, "template").get("useOriginal") is True:
        return True
    return not any(_is_type(asset, "static") for asset in list_in(document, "assets"))


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The private folder that the film is rendered into."""

    folder: str
    windows: bool

    def path(self, name: str) -> str:
        return f"{self.folder.rstrip('/' + chr(92))}{chr(92) if self.windows else '/'}{name}"


class _Builder:
    """Writes template and assets anew, with names that no two share."""

    def __init__(
        self,
        document: Mapping[str, Any],
        resolved: Mapping[str, str],
        *,
        windows: bool,
        environment: Collection[str] | None,
    ) -> None:
        self.document, self.resolved = document, resolved
        self.windows, self.environment = windows, environment
        self.names: set[str] = set()

    def template(self) -> dict[str, Any]:
        template = object_in(self.document, "template")
        copy = _inside(template) | self.source("template.src", template, stem="t", in_place=is_in_place(self.document))
        for name in ("frameStart", "frameEnd", "incrementFrame"):
            if name in copy:
                copy[name] = whole_number(copy[name])
        return copy

    def assets(self) -> list[dict[str, Any]]:
        numbered = enumerate(list_in(self.document, "assets"))
        return [self.asset(number, asset) for number, asset in numbered if isinstance(asset, Mapping)]

    def asset(self, number: int, asset: Mapping[str, Any]) -> dict[str, Any]:
        copy = _inside(asset)
        if "layerIndex" in copy:
            copy["layerIndex"] = whole_number(copy["layerIndex"])
        if _is_type(asset, "data"):
            copy.pop("src", None)
            return copy
        in_place = not _is_type(asset, "static")
        return copy | self.source(f"assets[{number}].src", asset, stem=f"a{number:02d}", in_place=in_place)

    def source(self, path: str, holder: Mapping[str, Any], *, stem: str, in_place: bool) -> dict[str, Any]:
        local = self.resolved.get(path)
        if local is None:
            raise ValueError(f"{path}: this source was not brought to this machine")
        why = paths.needs_copy(
            local,
            windows=self.windows,
            environment=self.environment,
            in_script=holder.get("type") in FOOTAGE_TYPES,
        )
        if why:
            raise ValueError(f"{path}: {local!r} has to be handed over under another name: {why}")
        found = {"src": paths.to_uri(local, windows=self.windows), "name": self.name(holder, stem, local)}
        return found | ({"useOriginal": True} if in_place else {})

    def name(self, holder: Mapping[str, Any], stem: str, local: str) -> str:
        """The file's name in the work folder: a static file's own where it is safe, else a short one."""
        given, extra = holder.get("name"), holder.get("extension")
        if _is_type(holder, "static") and isinstance(given, str):
            given = re.split(r"[\\/]", given)[-1] + (
                f".{extra.lstrip('.')}" if isinstance(extra, str) and extra else ""
            )
            fits = _STATIC_NAME.fullmatch(given) and not given.endswith((" ", ".")) and not paths.is_device(given)
            if fits and self.take(given):
                return given
        ending = next((ext for ext in (extra, _suffix(given), _suffix(local)) if _is_ext(ext)), None)
        name = f"{stem}.{str(ending).lstrip('.')}" if ending else stem
        return name if self.take(name) else f"{stem}-{len(self.names)}.{ending or 'x'}"

    def take(self, name: str) -> bool:
        folded = name.casefold()
        if folded in self.names:
            return False
        self.names.add(folded)
        return True


def _actions(
    document: Mapping[str, Any], granted: tuple[Allowance, ...], place: _Place, output: str
) -> dict[str, list[dict[str, Any]]]:
    """Every phase as a list, with the actions that are allowed to run."""
    runs = {found.path: found for found in granted if found.use in (Use.FURTHER, Use.ACTION)}
    return {
        phase: [
            _action(action, runs[path].aims, place, output)
            for path, action in _numbered(f"actions.{phase}", list_in(object_in(document, "actions"), phase))
            if path in runs
        ]
        for phase in PHASES
    }


def _action(action: Mapping[str, Any], aims: tuple[Aim, ...], place: _Place, output: str) -> dict[str, Any]:
    copy = {name: _plain(value) for name, value in action.items() if name != _NEVER}
    if not any(aim.field == "input" for aim in aims):
        copy.pop("input", None)  # it names the film, which actions take by themselves
    for aim in aims:
        copy[aim.field] = _aimed(aim, place, output)
    if "input" not in copy and _NUMBERED.search(output) and any(aim.spot is Spot.FURTHER for aim in aims):
        copy["input"] = _for_ffmpeg(output)
    return copy


def _aimed(aim: Aim, place: _Place, output: str) -> str:
    if aim.spot is Spot.RESULT:
        return output
    return place.path(aim.text) if aim.spot is Spot.FURTHER else aim.text


def _for_ffmpeg(output: str) -> str:
    """How ffmpeg writes the frames of a sequence (those that start near zero)."""
    return output.replace("%", "%%").replace("[#####]", "%05d")


def _numbered(path: str, found: list[Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    return ((f"{path}[{number}]", action) for number, action in enumerate(found) if isinstance(action, Mapping))


def _safe_stem(stem: str, further: tuple[str, ...]) -> str:
    safe = _UNSAFE_IN_STEM.sub("_", stem).strip("._-")[:80] or "film"
    taken = {name.rpartition(".")[0].casefold() for name in further}
    return f"{safe}-film" if safe.casefold() in taken else safe


def _inside(holder: Mapping[str, Any]) -> dict[str, Any]:
    """A template or asset without what is ours to write. A null is left out: nexrender takes it for a value."""
    kept = {name: _plain(value) for name, value in holder.items() if not _DROPPED_INSIDE.fullmatch(name)}
    return {name: value for name, value in kept.items() if value is not None or name == "value"}


def _plain(value: Any) -> Any:
    """A copy of a JSON value, without keys that JavaScript takes for more than keys."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items() if name != _NEVER}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _suffix(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    name = re.split(r"[\\/]", text)[-1]
    return name.rpartition(".")[2] if "." in name.lstrip(".") else None


def _is_ext(text: object) -> bool:
    return isinstance(text, str) and _EXTENSION.fullmatch(text.lstrip(".")) is not None


def _is_type(asset: object, kind: str) -> bool:
    return isinstance(asset, Mapping) and asset.get("type") == kind
