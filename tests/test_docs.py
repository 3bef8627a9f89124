"""The documentation tells the truth: what is written from the code is fresh, links lead somewhere, commands and
settings that are named exist, and examples are read without a fault."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
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
from watchrender.web import metrics, openapi

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "deploy" / "README.md"])
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIDES = ("top", "right", "bottom", "left")
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


def test_every_page_can_be_reached_from_the_first_one() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        if page.suffix == ".md":
            targets = re.findall(r"\]\((?!https?://|mailto:)([^)\s#]+)", page.read_text(encoding="utf-8"))
            ahead += [(page.parent / target).resolve() for target in targets]

    assert [page for page in PAGES if page.resolve() not in reached] == []


@pytest.mark.parametrize("name", NAMES)
def test_files_of_ours_that_are_named_exist(name: str) -> None:
    named = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|md|yml|conf|plist|xml|toml|example\.yaml))`", text_of(name)))
    named -= {"pylock.toml", "NNNN-in-a-few-words.md"}  # nobody's yet
    places = [ROOT, ROOT / "watchrender", (ROOT / name).parent, ROOT / "benchmarks", ROOT / "deploy" / "prometheus"]

    assert [file for file in sorted(named) if not any((place / file).exists() for place in places)] == []


@pytest.mark.parametrize("name", NAMES)
def test_addresses_of_ours_that_are_named_exist(name: str) -> None:
    """As the API's own document has them: an id or a number may stand for what is in braces."""
    known = [re.sub(r"\{\w+\}", r"[^/\\s]+", route) for route in openapi.document(with_token=True)["paths"]]
    named = re.findall(r"(?<![\w.}])(/(?:api/v1|healthz|readyz|metrics|openapi\.json)[\w/{}.…-]*)", text_of(name))
    named = [address.rstrip(".") for address in named if "…" not in address and not address.endswith(("/v1", "/"))]

    assert [found for found in named if not any(re.fullmatch(route, found) for route in known)] == []


@pytest.mark.parametrize("name", NAMES)
def test_metrics_that_are_named_exist(name: str) -> None:
    ours = Path(metrics.__file__).read_text(encoding="utf-8")
    named = set(re.findall(r"`(watchrender_[a-z_]+)`", text_of(name)))

    assert [found for found in sorted(named) if f'"{found}' not in ours] == []


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


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")
@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_page_for_artists_is_printed_on_one_sheet(paper: str) -> None:
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page()
        page.goto((ROOT / "docs" / "artists.html").as_uri())
        printed = page.pdf(format=paper, prefer_css_page_size=False, margin=dict.fromkeys(SIDES, "10mm"))
        browser.close()

    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
