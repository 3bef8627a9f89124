"""What `doctor` can tell of a farm from here: the server, our secret, and whether the root has a name over there."""

from __future__ import annotations

from collections.abc import Iterator

from watchrender.config import Config
from watchrender.core import paths
from watchrender.install.report import Line, bad, ok, warn
from watchrender.render.server import server_failure

_NAME = "nexrender-server"


def server(config: Config) -> Iterator[Line]:
    """Is it there, does it take our secret, and does it answer as it should?"""
    settings = config.nexrender_server
    failure = server_failure(config)
    if failure is not None:
        yield bad(_NAME, failure.message, failure.cure)
    else:
        yield ok(_NAME, f"{settings.url} answers as it should; After Effects and nexrender are its workers'")
    if settings.secret is None:
        words = "no secret: whoever reaches the server can hand its workers a job, and a job is code"
        yield warn(_NAME, words, "Start it with --secret, and set nexrender_server.secret.")
    if settings.tags:
        words = f"jobs carry the tags {', '.join(settings.tags)}, which nexrender-server 1.38 heeds no more than others"
        yield warn(_NAME, words, "Only a newer server, and workers with --tag-selector, go by tags: docs/farm.md.")


def paths_of_the_workers(config: Config) -> Iterator[Line]:
    """How the workers call the root."""
    rules = tuple(paths.Rule(origin=rule.from_, target=rule.to) for rule in config.nexrender_server.path_map)
    root = str(config.root)
    seen = paths.map_path(root, rules)
    if rules and seen == root:
        cure = f"Add {{from: {root}, to: …}}: films are rendered into the root, and projects may lie there."
        yield warn("path_map", f"no rule of nexrender_server.path_map is about the root {root}", cure)
    else:
        yield ok("path_map", f"the workers call the root {seen}" + ("" if rules else ", as this machine does"))
