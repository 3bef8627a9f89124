"""The words on the command line: read them, call one function, exit code.

0 done · 1 a job failed, or the answer is no · 2 you must fix something · 3 needs a live service and none answers ·
4 another instance serves this root · 130 interrupted
"""

from __future__ import annotations

import sys


def main() -> None:
    """What the `watchrender` command runs."""
    from watchrender.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a console of another code page must not end a command
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
