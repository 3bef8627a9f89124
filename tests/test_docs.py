"""The documentation tells the truth: what is written from the code is fresh, links lead somewhere, commands and
settings that are named exist, and examples are read without a fault."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
import yaml

from watchrender.cli.app import app
from watchrender.config import load
from watchrender.config.shape import kind_at
from watchrender.core import settings, status
from watchrender.core.failure import CATALOGUE
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.spool import jobfile

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "deploy" / "README.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def generate() -> ModuleType:
    """docs/generate.py, which is no package."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        found = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


def test_what_is_written_from_the_code_is_fresh() -> None:
    stale = [path.name for path, data in generate().generated_bytes().items() if path.read_bytes() != data]

    assert stale == [], "run: make docs"


def test_every_error_code_is_explained() -> None:
    explained = text_of("docs/troubleshooting.md")

    assert [code for code in CATALOGUE if f"### `{code}`" not in explained] == []


def test_every_field_of_a_status_is_explained_and_no_other() -> None:
    references = sys.modules["references"] if "references" in sys.modules else generate() and sys.modules["references"]
    job = Job(id="1" * 26, serial=1, arrival=1, name="spot", state=State.PENDING)

    assert set(references.STATUS) == set(status.schema_status()["properties"]) == set(status.document(job))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    broken = []
    for target in re.findall(r"\]\((?!https?://|mailto:)([^)\s]+)\)", text_of(name)):
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)

    assert broken == []


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_named_exist_with_their_options(name: str) -> None:
    wrong = []
    for words in commands(name):
        wrong += [f"watchrender {words}: {fault}" for fault in faults_of_command(words.split())]

    assert wrong == []


def commands(name: str) -> list[str]:
    """What follows `watchrender`, in the text and in examples for a shell."""
    shells = "\n".join(blocks(name, "sh") + blocks(name, "powershell"))
    inline = re.findall(r"`watchrender ([a-z][^`\n]*)`", text_of(name))
    return inline + re.findall(r"(?m)^watchrender ([a-z][^#\n|]*)", shells)


def faults_of_command(words: list[str]) -> list[str]:
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands"):
        return ["there is no such command"] if words else []
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = [word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)]
    return [f"{option} is no option of it" for option in given if option not in known | {"-c", "--config", "--help"}]


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_are_named_exist(name: str) -> None:
    sections = (
        r"watch|queue|nexrender|nexrender_server|retry|limits|verify|delivery|policy|server|retention|log|folders"
    )
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", text_of(name)))
    files = {"nexrender_server.py", "policy.py", "retention.py", "server.py", "log.py", "queue.json"}

    assert [found for found in sorted(named - files) if kind_at(found.split(".")) is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_variables_that_are_named_are_settings(name: str) -> None:
    text = text_of(name)
    named = set(re.findall(r"WATCHRENDER_[A-Z_]*[A-Z]", text))
    ours = {"WATCHRENDER_DATA_DIR", "WATCHRENDER_CONFIG", "WATCHRENDER_KILLS", "WATCHRENDER_POINTS"}
    ours |= {"WATCHRENDER_DIE_AT", "WATCHRENDER_FAULTS"}
    unknown = [found for found in sorted(named - ours) if kind_at(found[12:].lower().split("__")) is None]

    assert unknown == []


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(name), flags=re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_yaml_are_read_without_a_fault(name: str) -> None:
    for block in blocks(name, "yaml"):
        document = yaml.load(block, Loader=yaml.BaseLoader)
        if "template" in document:
            assert not hasattr(jobfile.read(block.encode(), "spot.yaml", 2**20), "code"), block
        elif {"priority", "expect"} & set(document):
            assert settings.parse(yaml.safe_load(block))[1] == [], block
        else:
            load(("" if "root" in document else "root: /mnt/renders\n") + block, "watchrender.yaml", {})


def test_the_page_for_artists_fits_on_one_sheet() -> None:
    assert len(text_of("docs/artists.md").splitlines()) <= 60
