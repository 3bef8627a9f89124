"""What a person may ask for one job, in a sidecar or under `watchrender:` in the job. Pure.

The table `KEYS` is all there is: how each key is read, and what the published schema says of it. Every fault is told,
not the first only, each with the words of what to write instead.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from watchrender.core.job import Job
from watchrender.core.naming import WORDS
from watchrender.core.textual import MOST_FAULTS, Fault, JsonPath, shown, written
from watchrender.core.units import format_duration, parse_duration, parse_size

#: Where a value stands: path → line and column.
Place = Callable[[JsonPath], tuple[int, int]]

#: The keys whose value is a text whatever it looks like: `aerender: 2024` is a name.
TEXT_KEYS = ("not_before", "output", "supersedes", "aerender")

#: What `output:` may hold in braces.
PLACEHOLDERS = ("job", "sub", "date", "composition", "ext")


class OnExists(StrEnum):
    """What a delivery does where its place is taken."""

    VERSION = "version"
    REPLACE = "replace"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What the film has to be, else it is not accepted."""

    frames: int | None = None
    duration: float | None = None  # seconds
    min_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for one job. None: nothing was. Times in seconds."""

    priority: int | None = None
    hold: bool | None = None
    not_before: str | None = None  # as written; `resolve_not_before` makes a moment of it
    max_retries: int | None = None
    render_timeout: float | None = None
    stall_timeout: float | None = None
    output: str | None = None
    on_exists: OnExists | None = None
    notify: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    expect: Expect | None = None
    supersedes: str | None = None
    aerender: str | None = None
    sources: tuple[tuple[str, str], ...] = ()  # (key, where it came from) of every key that was given

    def source_of(self, key: str) -> str | None:
        """Where a setting came from (`sidecar`, `job`), if it was given."""
        return dict(self.sources).get(key)

    def to_dict(self) -> dict[str, Any]:
        """The settings as a sidecar would hold them: `parse` reads them back to the same."""
        return {
            key: _as_written(key, value)
            for key in KEYS
            if (value := getattr(self, key)) is not None and value != Expect()
        }


def parse(
    mapping: Any, place: Place | None = None, *, at: JsonPath = (), source: str = "sidecar"
) -> tuple[Settings, list[Fault]]:
    """The settings in a mapping, and everything that is wrong with it. `at` is where it stands in its document."""
    reading = _Reading(place)
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        subject = written(at) or "the settings file"
        reading.wrong(at, f"{subject} is {shown(mapping)}; write settings as lines like priority: 80")
        return Settings(), reading.faults
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if key not in KEYS:
            reading.unknown((*at, key), key, KEYS)
        elif value is not None:
            found[key] = KEYS[key].read(reading, (*at, key), value)
    given = {key: value for key, value in found.items() if value is not None}
    return Settings(**given, sources=tuple((key, source) for key in given)), reading.faults


def fill_in(text: str, job: Job, ext: str, now: datetime) -> str:
    """`{job} {sub} {date} {composition} {ext}` filled in; braces with other words stay."""
    values = {
        "job": job.name,
        "sub": job.sub,
        "date": now.strftime("%Y-%m-%d"),
        "composition": _one_part(job.composition or ""),
        "ext": ext,
    }
    return re.sub("|".join(rf"\{{{name}\}}" for name in values), lambda found: values[found[0][1:-1]], text)


def names_folder(output: str, *, is_folder: bool) -> bool:
    """Does a filled-in `output:` name a folder to deliver into, not the film itself? By the slash at its end, by what
    lies there now (`is_folder`), or by having no extension."""
    return is_folder or output.endswith(("/", "\\")) or not PurePath(output).suffix


def _one_part(text: str) -> str:
    """A composition's name as one part of a path: it may hold anything, slashes too."""
    return (
        "".join("_" if sign in '<>:"/\\|?*' or ord(sign) < 32 else sign for sign in text).strip(". ") or "composition"
    )


def merge(job: Settings, sidecar: Settings) -> Settings:
    """What counts where both speak: the sidecar, key by key."""
    chosen = {key: _chosen(getattr(job, key), getattr(sidecar, key)) for key in KEYS}
    return Settings(**chosen, sources=tuple((dict(job.sources) | dict(sidecar.sources)).items()))


def resolve_not_before(text: str, *, now: datetime, zone: tzinfo) -> datetime:
    """The moment (UTC) that a `not_before` means. `HH:MM` is the next time the clock in `zone` shows it; the running
    minute counts as now. Raises ValueError, whose words say what to write."""
    if clock := _CLOCK.fullmatch(text.strip()):
        local = now.astimezone(zone)
        wanted = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0, fold=0)
        if wanted.replace(tzinfo=None) < local.replace(second=0, microsecond=0, tzinfo=None):
            wanted += timedelta(days=1)
        return wanted.astimezone(UTC)
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"is {shown(text)}; write a time like 18:30, or 2026-12-24T18:30:00+01:00") from None
    if found.tzinfo is None:
        raise ValueError(
            f"is {shown(text)}, without a zone; write it like {found.isoformat()}+01:00, or with Z for UTC"
        )
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"is {shown(text)}, which no clock will show; write a year of this century") from None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant."""
    if len(word) > 60:
        return None
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def schema_sidecar() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a sidecar, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "watchrender sidecar",
        "description": "Settings for one job: NAME.yaml beside NAME.json, or the same keys below watchrender: in it.",
        **settings_schema(),
    }


def settings_schema() -> dict[str, Any]:
    """The part of a schema that describes the settings themselves."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"description": key.meaning, **key.schema} for name, key in KEYS.items()},
    }


_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_BRACES = re.compile(r"\{([^{}]*)\}")
_MAX_TEXT = 2000


class _Reading:
    """Collects the faults of one reading."""

    def __init__(self, place: Place | None) -> None:
        self.faults: list[Fault] = []
        self._place = place

    def wrong(self, path: JsonPath, message: str) -> None:
        if len(self.faults) >= MOST_FAULTS:
            return
        line, column = self._place(path) if self._place else (None, None)
        self.faults.append(Fault(path=path, message=message, line=line, column=column))

    def unknown(self, path: JsonPath, key: Any, known: Iterable[str]) -> None:
        known = tuple(known)
        meant = nearest(str(key), known)
        hint = f"did you mean {meant}?" if meant else f"the settings are {', '.join(known)}"
        self.wrong(path, f"{written(path)} is not a setting; {hint}")


_Read = Callable[[_Reading, JsonPath, Any], Any]


@dataclass(frozen=True, kw_only=True)
class _Key:
    read: _Read
    schema: dict[str, Any]
    meaning: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _priority(reading: _Reading, path: JsonPath, value: Any) -> int | None:
    if _is_number(value) and 0 <= value <= 100:
        return int(value)
    if isinstance(value, str) and value.lower() in WORDS:
        return WORDS[value.lower()]
    meant = nearest(value, WORDS) if isinstance(value, str) else None
    hint = f"did you mean {meant}? Otherwise write" if meant else "write"
    reading.wrong(path, f"{written(path)} is {shown(value)}; {hint} a number from 0 to 100, or {', '.join(WORDS)}")
    return None


def _boolean(reading: _Reading, path: JsonPath, value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    reading.wrong(path, f"{written(path)} is {shown(value)}; write true or false")
    return None


def _integer(lowest: int, highest: int) -> _Read:
    def read(reading: _Reading, path: JsonPath, value: Any) -> int | None:
        if _is_number(value) and lowest <= value <= highest:
            return int(value)
        reading.wrong(path, f"{written(path)} is {shown(value)}; write a whole number from {lowest} to {highest}")
        return None

    return read


def _duration(reading: _Reading, path: JsonPath, value: Any) -> float | None:
    try:
        seconds = parse_duration(_plain_text(value))
    except ValueError as wrong:
        reading.wrong(path, f"{written(path)}: {wrong}")
        return None
    if seconds == 0:
        reading.wrong(path, f"{written(path)} is {shown(value)}; write a duration above 0, or leave the line out")
        return None
    return seconds


def _film_length(reading: _Reading, path: JsonPath, value: Any) -> float | None:
    """A bare number is seconds: that is how films are measured, by ffprobe and by After Effects."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{value}s"
    return _duration(reading, path, value)


def _size(reading: _Reading, path: JsonPath, value: Any) -> int | None:
    try:
        return parse_size(_plain_text(value))
    except ValueError as wrong:
        reading.wrong(path, f"{written(path)}: {wrong}")
        return None


def _plain_text(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _text(reading: _Reading, path: JsonPath, value: Any) -> str | None:
    # `aerender: 2024` is a name, even though YAML and JSON call it a number.
    text = str(value) if _is_number(value) else value
    if not isinstance(text, str) or not text.strip():
        reading.wrong(path, f"{written(path)} is {shown(value)}; write a text")
    elif len(text) > _MAX_TEXT:
        reading.wrong(path, f"{written(path)} has {len(text)} characters; write at most {_MAX_TEXT}")
    elif control := re.search(r"[\x00-\x1f\x7f]", text):
        reading.wrong(
            path,
            f"{written(path)} has the control character {control[0]!r} in it; in double quotes a backslash begins an"
            " escape, so write paths in single quotes or with /",
        )
    else:
        return text
    return None


def _output(reading: _Reading, path: JsonPath, value: Any) -> str | None:
    text = _text(reading, path, value)
    unknown = [name for name in _BRACES.findall(text or "") if name not in PLACEHOLDERS]
    for name in unknown:
        meant = nearest(name, PLACEHOLDERS)
        hint = (
            f"did you mean {{{meant}}}?" if meant else f"known are {' '.join(f'{{{known}}}' for known in PLACEHOLDERS)}"
        )
        reading.wrong(path, f"{written(path)} holds {{{name}}}; {hint}")
    return None if unknown else text


def _on_exists(reading: _Reading, path: JsonPath, value: Any) -> OnExists | None:
    if isinstance(value, str) and value.lower() in set(OnExists):
        return OnExists(value.lower())
    reading.wrong(path, f"{written(path)} is {shown(value)}; write version, replace or fail")
    return None


def _not_before(reading: _Reading, path: JsonPath, value: Any) -> str | None:
    text = _text(reading, path, value)
    if text is None:
        return None
    try:
        resolve_not_before(text, now=datetime(2026, 1, 1, tzinfo=UTC), zone=UTC)
    except ValueError as wrong:
        reading.wrong(path, f"{written(path)} {wrong}")
        return None
    return text.strip()


def _texts(reading: _Reading, path: JsonPath, value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        one = _text(reading, path, value)
        return None if one is None else tuple(part.strip() for part in one.split(",") if part.strip())
    if len(value) > 100:
        reading.wrong(path, f"{written(path)} has {len(value)} entries; write at most 100")
        return None
    found = [_text(reading, (*path, number), entry) for number, entry in enumerate(value)]
    return tuple(text for text in found if text is not None)


def _notify(reading: _Reading, path: JsonPath, value: Any) -> tuple[str, ...] | None:
    targets = _texts(reading, path, [value] if isinstance(value, str) else value)
    for target in targets or ():
        if "://" in target and not target.lower().startswith("https://"):
            reading.wrong(
                path, f"{written(path)} holds {shown(target)}; write a configured target's name or an https URL"
            )
    return targets


def _expect(reading: _Reading, path: JsonPath, value: Any) -> Expect | None:
    if not isinstance(value, Mapping):
        reading.wrong(path, f"{written(path)} is {shown(value)}; write frames, duration or min_bytes below it")
        return None
    found: dict[str, Any] = {}
    for key, entry in value.items():
        if key not in _EXPECT:
            reading.unknown((*path, key), key, _EXPECT)
        elif entry is not None:
            found[key] = _EXPECT[key].read(reading, (*path, key), entry)
    return Expect(**found)


_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"anyOf": [_TEXT, {"type": "array", "maxItems": 100, "items": {"type": ["string", "integer"]}}]}
_DURATION = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*$"}
_NAME = {"type": ["string", "integer"]}

_EXPECT: dict[str, _Key] = {
    "frames": _Key(
        read=_integer(1, 10_000_000),
        schema={"type": "integer", "minimum": 1, "maximum": 10_000_000},
        meaning="The number of frames the film must have.",
    ),
    "duration": _Key(
        read=_film_length,
        schema={"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _DURATION]},
        meaning="How long the film must be: 4.8s, or 4.8 for seconds.",
    ),
    "min_bytes": _Key(
        read=_size,
        schema={"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]},
        meaning="The smallest size that counts as a film: bytes, or 5MiB.",
    ),
}

KEYS: dict[str, _Key] = {
    "priority": _Key(
        read=_priority,
        schema={"anyOf": [{"type": "integer", "minimum": 0, "maximum": 100}, {"enum": list(WORDS)}]},
        meaning="Higher is rendered first; 50 is the default.",
    ),
    "hold": _Key(read=_boolean, schema={"type": "boolean"}, meaning="Wait until somebody releases it."),
    "not_before": _Key(
        read=_not_before,
        schema=_TEXT,
        meaning="Not before this moment: local HH:MM, or ISO 8601 with a zone.",
    ),
    "max_retries": _Key(
        read=_integer(0, 100),
        schema={"type": "integer", "minimum": 0, "maximum": 100},
        meaning="How many more tries after a failure that may pass.",
    ),
    "render_timeout": _Key(read=_duration, schema=_DURATION, meaning="The longest one try may take."),
    "stall_timeout": _Key(read=_duration, schema=_DURATION, meaning="How long a render may stand still."),
    "output": _Key(
        read=_output,
        schema=_TEXT,
        meaning="File or folder to deliver to, with {job} {sub} {date} {composition} {ext}.",
    ),
    "on_exists": _Key(
        read=_on_exists,
        schema={"enum": [str(choice) for choice in OnExists]},
        meaning="What to do where that place is taken.",
    ),
    "notify": _Key(read=_notify, schema=_TEXTS, meaning="Names of configured targets, or https URLs."),
    "tags": _Key(read=_texts, schema=_TEXTS, meaning="Words to find the job by."),
    "expect": _Key(
        read=_expect,
        schema={
            "type": "object",
            "additionalProperties": False,
            "properties": {name: {"description": key.meaning, **key.schema} for name, key in _EXPECT.items()},
        },
        meaning="What the film must be.",
    ),
    "supersedes": _Key(read=_text, schema=_NAME, meaning="The key of a job that this one replaces."),
    "aerender": _Key(read=_text, schema=_NAME, meaning="The name of a configured After Effects version."),
}


def _as_written(key: str, value: Any) -> Any:
    if isinstance(value, Expect):
        return {
            item.name: _as_written(item.name, found)
            for item in fields(Expect)
            if (found := getattr(value, item.name)) is not None
        }
    if key in ("render_timeout", "stall_timeout", "duration"):
        return format_duration(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, OnExists) else value


def _chosen(job: Any, sidecar: Any) -> Any:
    if isinstance(job, Expect) and isinstance(sidecar, Expect):
        changes = {item.name: found for item in fields(Expect) if (found := getattr(sidecar, item.name)) is not None}
        return replace(job, **changes)
    return job if sidecar is None else sidecar
