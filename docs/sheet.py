"""`docs/artists.md` as one sheet of paper: `docs/artists.html`, to open in a browser and print. Knows as much of
Markdown as that page uses, and refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

_STYLE = """
@page { margin: 10mm }
body { font: 13px/1.3 "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #111; max-width: 190mm; margin: 0 auto }
h1 { font-size: 20px; margin: 0 0 6px }
h2 { font-size: 14px; margin: 10px 0 4px }
p, ul, pre, table { margin: 4px 0 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: 2px 8px 2px 0; border-bottom: 1px solid #ccc }
pre { background: #f0f0f0; padding: 4px 8px }
code { font: 12px/1.3 Consolas, Menlo, "DejaVu Sans Mono", monospace }
ul { padding-left: 16px }
""".strip()


def sheet(markdown: str) -> str:
    """The whole document."""
    title = markdown.split("\n", 1)[0].removeprefix("# ")
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
    note = "<!-- Written from artists.md by `make docs`; what is changed here by hand is lost. -->\n"
    return f"{head}{note}<style>\n{_STYLE}\n</style>\n" + "\n".join(_blocks(markdown)) + "\n</html>\n"


def _blocks(markdown: str) -> Iterator[str]:
    for block in re.findall(r"```.*?\n.*?```|(?:[^\n]+\n?)+", markdown.strip() + "\n", flags=re.DOTALL):
        yield from _block(block.rstrip("\n"))


def _block(block: str) -> Iterator[str]:
    lines = block.split("\n")
    if block.startswith("```"):
        yield f"<pre><code>{escape(chr(10).join(lines[1:-1]))}</code></pre>"
    elif found := re.fullmatch(r"(#{1,2}) (.+)", block):
        yield f"<h{len(found[1])}>{_words(found[2])}</h{len(found[1])}>"
    elif block.startswith("| "):
        yield from _table(lines)
    elif block.startswith("* "):
        items = re.split(r"(?:^|\n)\* ", block)[1:]
        yield "\n".join(["<ul>", *(f"<li>{_words(item)}</li>" for item in items), "</ul>"])
    elif block[0] in "#>-+|<":
        raise ValueError(f"docs/artists.md: {lines[0]!r} is of a kind that docs/sheet.py does not know")
    else:
        yield f"<p>{_words(block)}</p>"


def _table(lines: list[str]) -> Iterator[str]:
    yield "<table>"
    for number, line in enumerate(lines):
        if number == 1:
            continue  # the line of dashes
        cell = "th" if number == 0 else "td"
        cells = [found.strip() for found in line.strip("|").split("|")]
        yield "<tr>" + "".join(f"<{cell}>{_words(found)}</{cell}>" for found in cells) + "</tr>"
    yield "</table>"


def _words(text: str) -> str:
    found = escape(re.sub(r"\s+", " ", text), quote=False)
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", found)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", found)
