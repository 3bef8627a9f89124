"""Bytes of a job file or sidecar → document and settings, or a failure that names line and column. Opens no file.

Nothing that lies in the inbox may hurt us: size is judged before anything is read, encodings and syntax are strict,
depth is bounded, and what cannot be read is a value like any other answer.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from watchrender.core import jobform, jsontext, settings, yamltext
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.jobform import OWN_KEY, Reporter, schema_job
from watchrender.core.settings import Settings, schema_sidecar
from watchrender.core.settle import Completeness
from watchrender.core.textual import Fault, JsonPath, Unreadable, line_column, short, shown, written
from watchrender.core.units import format_size

__all__ = [
    "JobText",
    "as_written",
    "completeness",
    "is_yaml",
    "is_yaml_job",
    "read",
    "read_sidecar",
    "schema_job",
    "schema_sidecar",
    "too_large",
]

#: A sidecar is a few lines; a larger file is something else.
LARGEST_SIDECAR = 256 * 1024
#: A message lists this many faults; the rest is counted.
_MOST_FAULTS = 8


@dataclass(frozen=True, kw_only=True)
class JobText:
    """A job that was read: nexrender's document (without `watchrender:`), the job's own settings, where each stands."""

    filename: str
    document: dict[str, Any]
    settings: Settings
    short: bool = False  # it was written in the short form
    warnings: tuple[str, ...] = ()
    _text: str = field(repr=False, default="")
    _yaml: yamltext.YamlDocument | None = field(repr=False, default=None)

    @property
    def priority(self) -> int | None:
        """nexrender's own priority, from 1 to 100; its 0 means "not given"."""
        return self.document.get("priority") or None

    def place(self, path: JsonPath) -> tuple[int, int]:
        """Line and column, in the file, of the value at a path of `document` (or of the nearest thing above it)."""
        here = jobform.origin(path, short=self.short)
        return self._yaml.place(here) if self._yaml else jsontext.places(self._text, [here])[here]

    def name(self, path: JsonPath) -> str:
        """A path of `document` as the author of the file wrote it: `template.src`, or `template` in the short form."""
        return written(jobform.origin(path, short=self.short))

    def at(self, path: JsonPath) -> str:
        """`spot.json:4:17`, for messages."""
        line, column = self.place(path)
        return f"{short(self.filename, 250)}:{line}:{column}"


def read(data: bytes, filename: str, max_size: int) -> JobText | Failure:
    """The job in a file's bytes, or everything that is wrong with it."""
    if failure := too_large(len(data), filename, max_size):
        return failure
    decoded = _decoded(data)
    if isinstance(decoded, Unreadable):
        return _unreadable(filename, decoded)
    if not decoded.text.strip():
        return fail(
            Code.JOB_UNREADABLE, f"{short(filename, 250)} is empty", cure="Write the job into it and drop it again."
        )
    try:
        if is_yaml(filename):
            return _read_yaml(decoded.text, filename)
        return _read_json(decoded.text, filename)
    except Unreadable as fault:
        return _unreadable(filename, fault)


def as_written(data: bytes, filename: str) -> dict[str, Any] | None:
    """The document of a job as it stands there, right or wrong, without what is ours in it. None: it has none."""
    decoded = _decoded(data)
    if isinstance(decoded, Unreadable):
        return None
    try:
        found = yamltext.parse(decoded.text).value if is_yaml(filename) else jsontext.parse(decoded.text)
    except Unreadable:
        return None
    return {key: value for key, value in found.items() if key != OWN_KEY} if isinstance(found, dict) else None


def read_sidecar(data: bytes, filename: str) -> Settings | Failure:
    """The settings in a sidecar's bytes, or everything that is wrong with it."""
    if len(data) > LARGEST_SIDECAR:
        size, most = format_size(len(data)), format_size(LARGEST_SIDECAR)
        return fail(Code.SIDECAR_INVALID, f"{short(filename, 250)} has {size}; a settings file has at most {most}")
    decoded = _decoded(data)
    if isinstance(decoded, Unreadable):
        return _unreadable(filename, decoded, Code.SIDECAR_INVALID)
    try:
        document = yamltext.parse(decoded.text)
    except Unreadable as fault:
        return _unreadable(filename, fault, Code.SIDECAR_INVALID)
    mapping = _as_texts(document, ((key,) for key in settings.TEXT_KEYS))
    found, faults = settings.parse(mapping)
    return _failed(filename, faults, document.place, Code.SIDECAR_INVALID, columns=False) if faults else found


def completeness(data: bytes, filename: str) -> Completeness:
    """Is a file all there, as far as its content tells? JSON tells; YAML never does."""
    if not data:
        return Completeness.CUT_OFF
    if is_yaml(filename):
        return Completeness.OPAQUE
    decoded = _decoded(data)
    if isinstance(decoded, Unreadable):
        return Completeness.CUT_OFF if decoded.cut_off else Completeness.BROKEN
    if jsontext.is_complete_object(decoded.text):
        # Zeros after the end: the file was given its room first, and the writer is not done with it.
        return Completeness.CUT_OFF if decoded.zeros else Completeness.COMPLETE
    return Completeness.CUT_OFF if jsontext.is_cut_off(decoded.text) else Completeness.BROKEN


def too_large(size: int, filename: str, max_size: int) -> Failure | None:
    """The refusal of a job file by its size alone, before a byte of it is read."""
    if size <= max_size:
        return None
    most = format_size(max_size)
    found = format_size(size) if format_size(size) != most else f"{size} bytes"
    return fail(Code.JOB_TOO_LARGE, f"{short(filename, 250)} has {found}; a job may have {most}")


def is_yaml(filename: str) -> bool:
    """Is it YAML by its name?"""
    return filename.lower().endswith((".yaml", ".yml"))


def is_yaml_job(data: bytes) -> bool:
    """Is a YAML file a job, and not a sidecar? One that cannot be read is a job if a line begins with `template:`."""
    decoded = _decoded(data)
    # Bytes that are no UTF-8 still show their lines when read one by one.
    text = data.decode("latin-1") if isinstance(decoded, Unreadable) else decoded.text
    if "template" not in text:
        return False
    begins = re.search(r"^template\s*:", text, re.MULTILINE) is not None
    if isinstance(decoded, Unreadable) or len(data) > LARGEST_SIDECAR:
        return begins
    try:
        value = yamltext.parse(text).value
    except Unreadable:
        return begins
    return isinstance(value, dict) and "template" in value


# -- the two languages ------------------------------------------------------------------------------------------


def _read_json(text: str, filename: str) -> JobText | Failure:
    document = jsontext.parse(text)
    if not isinstance(document, dict):
        return _not_an_object(document, filename, jsontext.places(text, [()])[()])
    reporter = Reporter()
    if "\\" in text or "__proto__" in text:
        jobform.check_texts(document, reporter)
    own, faults = settings.parse(document.pop(OWN_KEY, None), at=(OWN_KEY,), source="job")
    checked = jobform.check(document, reporter)
    if faults := reporter.faults + faults:
        places = jsontext.places(text, [fault.path for fault in faults])
        return _failed(filename, faults, places.__getitem__, Code.JOB_INVALID)
    return JobText(filename=filename, document=checked, settings=own, warnings=tuple(reporter.warnings), _text=text)


def _read_yaml(text: str, filename: str) -> JobText | Failure:
    source = yamltext.parse(text)
    if not isinstance(source.value, dict):
        return _not_an_object(source.value, filename, source.place(()))
    document = _as_texts(source, [*jobform.text_paths(source.value), *((OWN_KEY, key) for key in settings.TEXT_KEYS)])
    short = jobform.is_short(document)
    as_written, reporter = Reporter(), Reporter(short=short)
    if "\\" in text or "__proto__" in text:
        jobform.check_texts(document, as_written)
    own, faults = settings.parse(document.pop(OWN_KEY, None), at=(OWN_KEY,), source="job")
    checked = jobform.check(jobform.from_short(document, reporter) if short else document, reporter)
    if faults := as_written.faults + reporter.faults + faults:
        return _failed(filename, faults, source.place, Code.JOB_INVALID)
    return JobText(
        filename=filename, document=checked, settings=own, short=short, warnings=tuple(reporter.warnings), _yaml=source
    )


def _as_texts(source: yamltext.YamlDocument, paths: Iterable[JsonPath]) -> Any:
    """The document, with the fields at these paths as they were written: `composition: 2026` is a text."""
    for path in paths:
        parent = _at(source.value, path[:-1])
        text = source.as_written(path)
        if text is not None and _has(parent, path[-1]) and parent[path[-1]] is not None:
            parent[path[-1]] = text
    return source.value


def _at(value: Any, path: JsonPath) -> Any:
    for part in path:
        value = value[part] if _has(value, part) else None
    return value


def _has(value: Any, part: str | int) -> bool:
    return part in value if isinstance(value, dict) else isinstance(value, list) and part in range(len(value))


def _not_an_object(document: Any, filename: str, place: tuple[int, int]) -> Failure:
    line, column = place
    kind = "; one file is one job" if isinstance(document, list) else ""
    message = (
        f"{short(filename, 250)}:{line}:{column}: the job is {shown(document)}, not an object with a template{kind}"
    )
    return fail(Code.JOB_INVALID, message, line=line, column=column)


# -- bytes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    text: str
    zeros: bool  # NULs stood behind it


_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _decoded(data: bytes) -> _Decoded | Unreadable:
    if data and any(mark.startswith(data) and mark != data for mark, _ in _MARKS):
        return Unreadable("the file ends in the middle of its first character", 1, 1, cut_off=True)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", ""))
    encoding = encoding or _guessed(data)
    data = data[len(mark) :]
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        text = decoder.decode(data)
    except UnicodeDecodeError as error:
        return _undecodable(data, error, encoding, len(mark))
    rest, _ = decoder.getstate()
    bare = text.rstrip("\x00")
    if rest.strip(b"\x00"):
        at = line_column(text, len(text))
        return Unreadable("the file ends in the middle of a character; save it whole, as UTF-8", *at, cut_off=True)
    return _Decoded(text=bare, zeros=len(bare) < len(text) or bool(rest))


def _guessed(data: bytes) -> str:
    """UTF-16 without a mark shows by the zero beside its first character."""
    first, second = (*data[:2], 1, 1)[:2]
    if first and not second and data[2:3] != b"\x00":
        return "utf-16-le"
    return "utf-16-be" if second and not first else "utf-8"


def _undecodable(data: bytes, error: UnicodeDecodeError, encoding: str, skipped: int) -> Unreadable:
    before = data[: error.start].decode(encoding, "replace")
    line, column = line_column(before, len(before))
    wrong = f"byte 0x{data[error.start]:02X} (at offset {skipped + error.start}) is not {encoding.upper()}"
    return Unreadable(f"{wrong}; save the file as UTF-8", line, column)


# -- words ------------------------------------------------------------------------------------------------------


def _unreadable(filename: str, fault: Unreadable, code: Code | None = None) -> Failure:
    code = code or (Code.JOB_UNREADABLE if fault.syntax else Code.JOB_INVALID)
    message = f"{short(filename, 250)}:{fault.line}:{fault.column}: {fault.problem}"
    return fail(code, message, line=fault.line, column=fault.column)


def _failed(filename: str, faults: list[Fault], place: settings.Place, code: Code, *, columns: bool = True) -> Failure:
    """One failure that tells all faults, in the order in which they stand."""
    placed = sorted(((*place(fault.path), fault) for fault in faults), key=lambda found: found[:2])
    lines = [
        f"{short(filename, 250)}:{line}:{f'{column}:' if columns else ''} {fault.message}"
        for line, column, fault in placed[:_MOST_FAULTS]
    ]
    if len(placed) > _MOST_FAULTS:
        lines.append(f"and {len(placed) - _MOST_FAULTS} more")
    line, column, first = placed[0]
    return fail(code, "\n".join(lines), path=written(first.path) or None, line=line, column=column)
