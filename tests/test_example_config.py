"""config.example.yaml shows every setting with its default, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema_rs
import yaml

from watchrender import config as configs
from watchrender.config import Config, load
from watchrender.config.model import Section
from watchrender.config.shape import all_names

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"


def example_text() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


class CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core schema, as editors read it: `off` is a word."""

    yaml_implicit_resolvers: dict[str, list[object]] = {}  # noqa: RUF012


CoreLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^(?:null|~|)$"), None)
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), None)
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("^[-+]?[0-9]+$"), None)
CoreLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+\.[0-9]+$"), None)


def test_it_loads_and_equals_the_defaults() -> None:
    shown = load(example_text(), str(EXAMPLE), {})
    bare = load("root: /mnt/renders", "x.yaml", {})

    assert shown.model_dump() == bare.model_dump()


def test_it_lists_every_setting_and_no_other() -> None:
    document = yaml.load(example_text(), Loader=CoreLoader)

    assert set(names_in(document)) == set(all_names())


def names_in(document: dict[str, object], before: str = "") -> list[str]:
    found = []
    for name, value in document.items():
        found.append(before + name)
        field = Config.model_fields.get(name)
        is_section = field and isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        if not before and is_section and isinstance(value, dict):
            found += names_in(value, f"{name}.")
    return found


def test_every_setting_has_its_default_and_one_line_of_why() -> None:
    for name in all_names():
        last = re.escape(name.split(".")[-1])
        found = re.search(rf"(?m)^ *# .+\n *{last}:|^ *{last}: .+ # .+", example_text())
        assert found, name


def test_it_is_what_the_model_says() -> None:
    assert example_text() == configs.example(), "run: make docs"


def test_it_is_valid_for_editors_that_know_the_schema() -> None:
    validator = jsonschema_rs.validator_for(configs.schema())
    document = yaml.load(example_text(), Loader=CoreLoader)

    assert [error.message for error in validator.iter_errors(document)] == []
    assert not validator.is_valid(document | {"limits": {"stall": 10}})
    assert not validator.is_valid(document | {"prot": 1})


def test_it_is_valid_for_programs_that_read_off_as_false_and_they_may_write_it_so() -> None:
    validator = jsonschema_rs.validator_for(configs.schema())
    document = yaml.safe_load(example_text())
    assert document["policy"]["scripts"] is False

    written = load(yaml.safe_dump(document), "x.yaml", {})

    assert [error.message for error in validator.iter_errors(document)] == []
    assert (written.policy.scripts, written.queue.supersede) == ("off", "off")
    assert not validator.is_valid(document | {"shutdown": False})


def test_no_line_is_too_long_to_read() -> None:
    assert max(len(line) for line in example_text().splitlines()) <= 120
