"""The configuration as text: the example file, the JSON schema, and the table that `check` prints. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from watchrender.config.model import Config, Section

_WIDTH = 118
_HIDDEN = "***"


class Row(NamedTuple):
    """One setting: what it is, what it would be, and who says so."""

    key: str
    value: str
    default: str
    where: str


def schema() -> dict[str, Any]:
    """JSON schema of a configuration file, for editors."""
    found = _off_as_false(Config.model_json_schema(by_alias=True, mode="validation"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "watchrender.yaml"}


def _off_as_false(found: Any) -> Any:
    """Where `off` may stand: for readers of YAML 1.1 it is false, and we take it so as well."""
    if isinstance(found, list):
        return [_off_as_false(one) for one in found]
    if not isinstance(found, dict):
        return found
    words = found.get("enum") or ([found["const"]] if "const" in found else [])
    if "off" in words:
        rest = {name: value for name, value in found.items() if name not in ("enum", "const", "type")}
        return {**rest, "enum": [*words, False]}
    return {name: _off_as_false(value) for name, value in found.items()}


def settings_table(config: Config) -> list[Row]:
    """Every setting in its order. Secrets are not shown."""
    return list(_rows(config, ""))


def secrets(config: Config) -> list[str]:
    """What must never appear in a log: tokens, secrets, and the addresses of webhooks, which are secrets too."""
    targets = [text for target in config.notify.values() for text in (target.url, target.secret)]
    handed_on = [text for name, text in config.nexrender.env.items() if _is_secret(name)]
    found = [config.server.token, config.nexrender_server.secret, *targets, *handed_on]
    return [text for text in found if text]


def _is_secret(name: str) -> bool:
    """Is a variable's value one that nobody should read? Told by its name, as AWS_SECRET_ACCESS_KEY."""
    return bool(re.search(r"secret|token|passw|credential|(^|_)(pass|pw|key)(_|$)|api_?key", name, re.IGNORECASE))


def example(root: str = "/mnt/renders") -> str:
    """A configuration file with every setting, its default and why it is there."""
    lines = [
        "# watchrender.yaml: every setting with its default. Only root is required; leave out what you do not change.",
        "# Durations: 500ms 2s 10m 4h 7d. Sizes: 512KiB 5MiB 2GiB. A setting with nothing behind it has its default.",
        "# A variable beats the file: WATCHRENDER_SERVER__PORT=8800. `watchrender check` shows what is in force.",
        "# Windows paths go in single quotes ('D:\\renders') or with / (D:/renders).",
        "",
    ]
    for name, field in Config.model_fields.items():
        found = list(_example_lines(name, field, root))
        if len(found) > 2 and lines[-1]:
            lines.append("")
        lines += found
    return "\n".join(lines).rstrip() + "\n"


def flow(value: Any) -> str:
    """A value in one line, as it could stand in the file."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(str(name))}: {flow(found)}" for name, found in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(found) for found in value) + "]"
    if isinstance(value, Section):
        return flow(value.model_dump(by_alias=True))
    text = str(value)
    is_plain = re.fullmatch(r"[\w./~][\w./~+@ -]*", text) and text == text.strip()
    return text if is_plain else "'" + text.replace("'", "''") + "'"


def _example_lines(name: str, field: FieldInfo, root: str) -> Iterator[str]:
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, Section):
        yield from (f"# {kind.__doc__}", f"{name}:")
        for inner, below in kind.model_fields.items():
            yield from _setting_lines(f"  {below.alias or inner}: {flow(below.default)}", below.description or "")
        yield ""
    else:
        default = root if field.is_required() else field.default
        yield from _setting_lines(f"{name}: {flow(default)}", field.description or "")


def _setting_lines(setting: str, why: str) -> Iterator[str]:
    """The setting with its why behind it, or above it where the line would grow too long."""
    line = f"{setting:<32} # {why}"
    if len(line) <= _WIDTH:
        yield line
        return
    indent = setting[: len(setting) - len(setting.lstrip())]
    yield from textwrap.wrap(why, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    yield setting


def _rows(section: Section, before: str, given: dict[str, Any] | None = None) -> Iterator[Row]:
    given = section.given if isinstance(section, Config) else given or {}
    for name, field in type(section).model_fields.items():
        key, value = before + (field.alias or name), getattr(section, name)
        if isinstance(value, Section):
            yield from _rows(value, f"{key}.", given)
        elif isinstance(value, dict) and any(isinstance(found, Section) for found in value.values()):
            for inner, found in value.items():
                yield from _rows(found, f"{key}.{inner}.", given)
        else:
            yield _row(key, value, field, given)


def _row(key: str, value: Any, field: FieldInfo, given: dict[str, Any]) -> Row:
    default = "" if field.is_required() else flow(field.default)
    if key not in given:
        return Row(key, flow(value) if field.is_required() else default, default, "default")
    # A path is shown as it is understood; all else as it was written.
    shown = given[key].value if not key.endswith(("root", "_dir")) else value
    if key == "nexrender.env":
        shown = {name: _HIDDEN if _is_secret(name) else text for name, text in value.items()}
    return Row(key, _HIDDEN if field.repr is False else flow(shown), default, given[key].where)
