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
        _forget_the_interrupt()
        sys.exit(130)
    except SystemExit as end:
        if end.code == 130:
            _forget_the_interrupt()
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        # A folder that may not be written, a share that has just gone: what and where, and no stack of ours.
        words = f"{error.filename}: {error.strerror or error}; see that it is there, and that you may read and write it"
        print(words, file=sys.stderr)
        sys.exit(2)


def _forget_the_interrupt() -> None:
    """CPython remembers an interrupt that came amid an `exec` of the standard library (which makes a data class, say,
    while something is imported) as one that nobody has caught, and `python -m` then ends by the signal, whatever exit
    code was asked for. The next `exec` forgets it."""
    exec("")
