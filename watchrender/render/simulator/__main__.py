"""`python -m watchrender.render.simulator …`: the simulated aerender."""

from __future__ import annotations

import os
import signal
import sys

from watchrender.render.simulator.render import perform
from watchrender.render.simulator.stop import Unheard


def main() -> int:
    """Render, with the words of the command line."""
    # nexrender ends it with SIGINT, and Python's own trace of that would be no line of aerender's.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    home = os.environ.pop("WATCHRENDER_SIM_HOME", "") or os.getcwd()
    try:
        return perform(sys.argv[1:], home)
    except Unheard:
        return 1  # nobody reads any more: it ends, as any program does


if __name__ == "__main__":
    # At once: nothing is buffered, and a closed pipe must not be complained about.
    os._exit(main())
