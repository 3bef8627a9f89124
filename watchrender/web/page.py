"""The page: the dashboard at `/`, its files, the form to sign in, and the same page for a folder without a server.

There is no build. The browser gets the modules as they lie in `static/`; the page in the folder has to be one file
(a browser opens no module from a disk), so there the same modules stand one after the other in one script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from watchrender.web.answers import Problem
from watchrender.web.site import Site

STATIC = Path(__file__).parent / "static"
#: In the order of their imports: each needs only those before it.
MODULES = ("vendor/preact.mjs", "vendor/hooks.mjs", "vendor/htm.mjs", "html.js", "words.js", "jobs.js", "views.js")
FOLDER_QUEUE = 100  # jobs of the queue in the folder's page
STALE_SECONDS = 30

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


# -- the dashboard ------------------------------------------------------------------------------------------


async def dashboard(site: Site, _request: Request) -> ASGIApp:
    base = f"assets/{assets_version()}"
    signed_in = ' data-signed-in="yes"' if site.sessions is not None else ""
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>watchrender</title>
<link rel="icon" href="{base}/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{base}/page.css">
<script type="module" src="{base}/live.js"></script>
</head>
<body{signed_in}>
<div id="page"><main><h1>watchrender</h1><noscript><p>This page needs JavaScript. Without it: the same is told by
the files in the folder <code>status</code>, by <code>watchrender list</code>, and by <code>/api/v1/jobs</code>.</p>
</noscript></main></div>
</body>
</html>
"""
    return Response(
        text, media_type="text/html", headers={"content-security-policy": _POLICY, "cache-control": "no-store"}
    )


async def asset(_site: Site, request: Request) -> ASGIApp:
    """A file of the page. Its address holds the hash of all of them, so it is never asked for twice."""
    name = request.path_params["name"]
    found = assets().get(name)
    if found is None or request.path_params["version"] != assets_version():
        raise Problem(404, f"there is no file {name[:100]} of this version of the page; load the page again")
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return Response(found, media_type=_TYPES[Path(name).suffix], headers=headers)


@cache
def assets() -> dict[str, bytes]:
    """The page's files by name; vendored ones lie flat beside ours, as their imports say."""
    places = [*STATIC.iterdir(), *(STATIC / "vendor").iterdir()]
    return {path.name: path.read_bytes() for path in sorted(places) if path.suffix in _TYPES}


@cache
def assets_version() -> str:
    whole = hashlib.sha256()
    for name, data in assets().items():
        whole.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return whole.hexdigest()[:16]


# -- signing in ---------------------------------------------------------------------------------------------


def sign_in(problem: Problem, wrong: bool) -> Response:
    """What a browser without a session gets: it can load nothing else from here, so all is in this one answer."""
    style = (STATIC / "signin.css").read_text(encoding="utf-8")
    said = '<p class="wrong" role="alert">That was not the token.</p>' if wrong else ""
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sign in · watchrender</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>watchrender</h1>
{said}
<form method="post" action="/api/v1/session">
<label for="token">Token of this server</label>
<input id="token" name="token" type="password" required autocomplete="current-password" autofocus>
<button>Sign in</button>
</form>
<p>It is the value of <code>server.token</code> in the configuration.</p>
</main>
</body>
</html>
"""
    policy = (
        f"default-src 'none'; style-src '{_hash_of(style)}';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = problem.headers | {"content-security-policy": policy, "cache-control": "no-store"}
    return Response(text, problem.status, media_type="text/html", headers=headers)


def _hash_of(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


# -- without a server ---------------------------------------------------------------------------------------


def standalone(queue: Mapping[str, Any], service: Mapping[str, Any], *, stale_seconds: int = STALE_SECONDS) -> str:
    """`status/index.html`: the page as of now, with all it shows inside. It loads itself again, and says when what it
    shows has not been written anew for `stale_seconds`."""
    shown = dict(queue) | {"queue": list(queue.get("queue") or ())[:FOLDER_QUEUE]}
    told = dict(service) | {"ignored": list(service.get("ignored") or ())[:20]}
    return standalone_page().replace(
        "{{data}}", _in_script({"queue": shown, "service": told, "stale_seconds": stale_seconds}), 1
    )


@cache
def standalone_page() -> str:
    """The folder's page without its data (`{{data}}` stands for it)."""
    style = (STATIC / "page.css").read_text(encoding="utf-8")
    script = _one_script((*MODULES, "folder.js"))
    policy = (
        f"default-src 'none'; script-src '{_hash_of(script)}'; style-src '{_hash_of(style)}';"
        " img-src 'self' file: data:;"
        " media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="content-security-policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>watchrender</title>
<style>{style}</style>
<noscript><meta http-equiv="refresh" content="10"></noscript>
</head>
<body>
<div id="page"><main><h1>watchrender</h1><noscript><p>This page needs JavaScript. Without it: the same is told by
<a href="queue.json">queue.json</a> and <a href="service.json">service.json</a>.</p></noscript></main></div>
<script type="application/json" id="data">{{{{data}}}}</script>
<script>{script}</script>
</body>
</html>
"""


def _in_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _one_script(names: tuple[str, ...]) -> str:
    """Modules as one script: each a function that gives what it exports, called with what it imports."""
    parts = [f"const {_variable(name)} = (() => {{\n{_as_function(name)}\n}})();" for name in names]
    return '"use strict";\n' + "\n".join(parts).replace("</script", "<\\/script")


def _as_function(name: str) -> str:
    text = (STATIC / name).read_text(encoding="utf-8")
    text = re.sub(r"//# sourceMappingURL=.*", "", text)
    text = _IMPORT.sub(lambda found: f"const {{{found[1].replace(' as ', ': ')}}} = {_variable(found[2])};", text)
    given: dict[str, str] = {}

    def exported(found: re.Match[str]) -> str:
        given[found[2]] = found[2]
        return f"{found[1]} {found[2]}"

    def listed(found: re.Match[str]) -> str:
        for pair in filter(None, map(str.strip, found[1].split(","))):
            inside, _, outside = pair.partition(" as ")
            given[outside or inside] = inside
        return ""

    text = _EXPORT.sub(exported, text)
    text = _EXPORT_LIST.sub(listed, text)
    if "export default " in text:
        text = text.replace("export default ", "const standard = ", 1)
        given["default"] = "standard"
    pairs = ", ".join(f"{outside}: {inside}" for outside, inside in given.items())
    return f"{text}\nreturn {{ {pairs} }};"


_IMPORT = re.compile(r"import\s*\{([^}]*)\}\s*from\s*[\"']\./([\w.-]+)[\"'];?")
_EXPORT = re.compile(r"^export\s+(async function|function|const|class)\s+(\w+)", re.MULTILINE)
_EXPORT_LIST = re.compile(r"export\s*\{([^}]*)\};?")


def _variable(name: str) -> str:
    return "m_" + re.sub(r"\W", "_", Path(name).name)
