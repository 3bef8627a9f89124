"""The kinds of value a setting may have: text → value, or a sentence that says what to write. Pure.

A value that is no text (a default, or one that a program hands in) passes as it is: seconds, bytes, paths.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Discriminator, Tag, WithJsonSchema

from watchrender.config.text import Written
from watchrender.core.textual import quoted
from watchrender.core.units import parse_duration, parse_size

_WINDOWS = os.name == "nt"
_WORDS_OF_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WINDOWS_NAMES = {"CON", "PRN", "AUX", "NUL"} | {f"{name}{n}" for name in ("COM", "LPT") for n in range(1, 10)}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str):
        return value
    if found := _CONTROL.search(value):
        raise ValueError(
            f"{quoted(value)} contains the control character U+{ord(found[0]):04X}"
            " (in double quotes a backslash is an escape: write a path in single quotes, or with /)"
        )
    return str(value)


def _word(value: Any) -> Any:
    """Text, or a number written without quotes where text is meant."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else _text(value)


def _filled(value: Any) -> Any:
    value = _word(value)
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty")
    return value


def _flag(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() not in _WORDS_OF_TRUTH:
        raise ValueError(f"{quoted(value)} is neither true nor false")
    return _WORDS_OF_TRUTH[value.lower()]


def _whole(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{quoted(value)} is not a whole number")
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", value) and len(value) < 20:
        return int(value)
    digits = value.replace("_", "").lstrip("0")
    hint = f" (write {digits})" if digits.isascii() and digits.isdigit() and len(digits) < 20 else ""
    raise ValueError(f"{quoted(value)} is not a whole number{hint}")


def _fraction(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"[-+]?[0-9]{1,15}(\.[0-9]{1,15})?", value):
        return float(value)
    raise ValueError(f"{quoted(value)} is not a number (write for example 0.2)")


def _seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _some_seconds(value: Any) -> Any:
    seconds = _seconds(value)
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds <= 0:
        raise ValueError(f"{quoted(value)} is too short; it must be longer than 0s")
    return seconds


def _auto_or_seconds(value: Any) -> Any:
    return "auto" if value == "auto" else _seconds(value)


def _auto_or_some_seconds(value: Any) -> Any:
    return "auto" if value == "auto" else _some_seconds(value)


def _bytes(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _bytes_or_count(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value) else _bytes(value)


def folder_name(text: str) -> str:
    """One plain name that every system allows as a folder. Raises ValueError with the sentence."""
    if not text.strip() or text in (".", ".."):
        raise ValueError(f"{quoted(text)} is not a folder name")
    if re.search(r'[<>:"/\\|?*]', text):
        raise ValueError(f'{quoted(text)} is not one plain folder name (none of < > : " / \\ | ? * in it)')
    if text != text.strip() or text.endswith("."):
        raise ValueError(f"{quoted(text)} begins or ends with a blank or a dot, which Windows drops")
    if text.startswith("."):
        raise ValueError(f"{quoted(text)} is a hidden folder; write a name that people see")
    if text.split(".")[0].upper() in _WINDOWS_NAMES:
        raise ValueError(f"{quoted(text)} is a device name on Windows; write another")
    return text


def _folder_name(value: Any) -> Any:
    value = _word(value)
    if isinstance(value, str) and _is_path(value):
        raise ValueError(
            f"{quoted(value)} is a path: inbox, active, failed, cancelled and status lie under root, on one volume, "
            "because jobs move between them by renames; write a name (only done may be a path)"
        )
    return folder_name(value) if isinstance(value, str) else value


def _is_path(text: str) -> bool:
    return text.startswith(("~", "/", "\\")) or bool(PureWindowsPath(text).drive)


def _folder_name_or_path(value: Any) -> Any:
    text = _word(value)
    if not isinstance(text, str):
        return text
    return str(full_path(text, None)) if _is_path(text) else folder_name(text)


def full_path(text: str, base: Path | None, *, windows: bool = _WINDOWS) -> Path:
    """The absolute path that is meant. Raises ValueError with the sentence.

    `base` is the folder a relative path starts from; without one a relative path is refused.
    """
    if not text.strip():
        raise ValueError("is empty; write a path")
    if text.startswith("~"):
        return _home_path(text)
    if not windows and (PureWindowsPath(text).drive or text.startswith("\\")):
        raise ValueError(f"{quoted(text)} is a path of Windows, and this machine is not Windows")
    if windows and PureWindowsPath(text).root and not PureWindowsPath(text).drive:
        raise ValueError(f"{quoted(text)} has no drive; write C:\\… or \\\\server\\share\\… (in single quotes)")
    if windows and PureWindowsPath(text).drive and not PureWindowsPath(text).root:
        raise ValueError(f"{quoted(text)} is relative to the drive's current folder; write a \\ after the colon")
    absolute = PureWindowsPath(text).is_absolute() if windows else PurePosixPath(text).is_absolute()
    if not absolute and base is None:
        raise ValueError(f"{quoted(text)} is a relative path; write the full path")
    return Path(os.path.normpath(text if absolute or base is None else os.path.join(base, text)))


def _home_path(text: str) -> Path:
    found = Path(os.path.normpath(os.path.expanduser(text)))
    if not found.is_absolute():
        raise ValueError(f"{quoted(text)}: the home folder is not known; write the full path")
    return found


def _path(value: Any) -> Any:
    base = value.base if isinstance(value, Written) else None
    text = _text(str(value)) if isinstance(value, Path) else _word(value)
    return full_path(text, base) if isinstance(text, str) else text


def _program(value: Any) -> Any:
    """A program is named by its full path: a bare name would be searched in a PATH that a service does not have."""
    text = _text(str(value) if isinstance(value, Path) else value)
    return full_path(text, None) if isinstance(text, str) else text


def _command(value: Any) -> Any:
    if isinstance(value, str):
        return (str(_program(value)),)
    return _not_empty(value)


def _off(value: Any) -> Any:
    """Programs that write YAML 1.1 or JSON (Ansible, say) take `off` for a truth value, and write false."""
    return "off" if str(value).lower() in ("false", "no") else value


def _scripts(value: Any) -> Any:
    value = _off(value)
    if isinstance(value, str) and value != "off":
        raise ValueError(f"{quoted(value)} is not allowed here; write off, or a list of folders")
    return str(value) if isinstance(value, str) else value


def _module_name(value: Any) -> Any:
    text = _word(value)
    if isinstance(text, str) and not re.fullmatch(r"(@[\w~-][\w.~-]*/)?[\w~-][\w.~-]*", text, re.ASCII):
        raise ValueError(f"{quoted(text)} is not the name of a module (a path is never allowed)")
    return text


def _host(value: Any) -> Any:
    text = _filled(value)
    if isinstance(text, str) and (re.search(r"[\s/\\@?#]", text)):
        raise ValueError(f"{quoted(text)} is not a host name or address (without http:// and path)")
    return text


def _url(value: Any) -> Any:
    text = _filled(value)
    # The address itself may hold a secret, so it is not repeated.
    if isinstance(text, str) and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", text):
        raise ValueError("is not an address such as https://host/path or mailto://…")
    return text


def _http_url(value: Any) -> Any:
    text = _filled(value)
    if not isinstance(text, str):
        return text
    shown = quoted(text) if "@" not in text else "this"  # before an @ may stand a password
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", text):
        raise ValueError(f"{shown} is not an address such as http://farm:3050")
    if not _has_good_port(text):
        raise ValueError(f"{shown} has no port from 1 to 65535; write it as in http://farm:3050")
    return text.rstrip("/")


def _has_good_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:  # no number, too large, or an address in brackets that are not closed
        return False


def _secret(value: Any) -> Any:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        return text
    if not text:
        raise ValueError("is empty; write one, or null for none")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("may hold only visible ASCII characters, and no blank")
    return str(text)


def _not_empty(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("is an empty list; name at least one")
    return value


def _level(value: Any) -> Any:
    return str(value).upper() if isinstance(value, str) else value


def _variables(value: Any) -> Any:
    """Variables of a process: a name that no system takes would be found out at the first render only."""
    for name in value if isinstance(value, dict) else ():
        if not name or re.search(r"[=\x00-\x20\x7f]", str(name)):
            raise ValueError(f"{quoted(name)} is no name of a variable; write it without = and blanks")
    return value


def _sub_folders(value: Any) -> Any:
    """Sub-folder → priority, with the names as keys have them: forward slashes, none at the ends."""
    if not isinstance(value, dict):
        return value
    return {str(name).replace("\\", "/").strip("/"): found for name, found in value.items()}


_DURATION_SCHEMA = {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$", "examples": ["500ms", "30s", "10m"]}
_SIZE_SCHEMA = {"type": "string", "pattern": r"^\d+(\.\d+)?([KMGT]i?)?B$", "examples": ["512KiB", "5MiB"]}

Text = Annotated[str, BeforeValidator(_word)]
Filled = Annotated[str, BeforeValidator(_filled)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Whole = Annotated[int, BeforeValidator(_whole)]
Fraction = Annotated[float, BeforeValidator(_fraction)]
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_DURATION_SCHEMA)]
SomeSeconds = Annotated[float, BeforeValidator(_some_seconds), WithJsonSchema(_DURATION_SCHEMA)]
AutoOrSeconds = Annotated[
    float | Literal["auto"],
    BeforeValidator(_auto_or_seconds),
    WithJsonSchema({"anyOf": [{"const": "auto"}, _DURATION_SCHEMA]}),
]
AutoOrSomeSeconds = Annotated[
    float | Literal["auto"],
    BeforeValidator(_auto_or_some_seconds),
    WithJsonSchema({"anyOf": [{"const": "auto"}, _DURATION_SCHEMA]}),
]
Bytes = Annotated[int, BeforeValidator(_bytes), WithJsonSchema(_SIZE_SCHEMA)]
BytesOrCount = Annotated[
    int, BeforeValidator(_bytes_or_count), WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _SIZE_SCHEMA]})
]
FolderName = Annotated[str, BeforeValidator(_folder_name)]
FolderNameOrPath = Annotated[str, BeforeValidator(_folder_name_or_path)]
FolderPath = Annotated[Path, BeforeValidator(_path), WithJsonSchema({"type": "string"})]
ProgramPath = Annotated[Path, BeforeValidator(_program), WithJsonSchema({"type": "string"})]
Command = Annotated[
    tuple[Text, ...],
    BeforeValidator(_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
Versions = Annotated[
    Annotated[ProgramPath, Tag("path")] | Annotated[dict[str, ProgramPath], Tag("versions")],
    Discriminator(lambda value: "versions" if isinstance(value, dict) else "path"),
]
Scripts = Annotated[Literal["off"] | tuple[FolderPath, ...], BeforeValidator(_scripts)]
ModuleName = Annotated[str, BeforeValidator(_module_name)]
Host = Annotated[str, BeforeValidator(_host)]
Url = Annotated[str, BeforeValidator(_url)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
Secret = Annotated[str, BeforeValidator(_secret)]
Exact = BeforeValidator(_text)  # before a Literal
Off = BeforeValidator(_off)  # before a Literal that has `off`
NotEmpty = BeforeValidator(_not_empty)
Level = Annotated[Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_level)]
Variables = BeforeValidator(_variables)
SubFolders = BeforeValidator(_sub_folders)
