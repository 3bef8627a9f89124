"""How the simulated aerender ends before its time: a status and the lines it says last."""

from __future__ import annotations

# The exit codes of After Effects' command-line script.
OK = 0
FAILED = 1
SHOW_USAGE = 2
SYNTAX_ERROR = 3
AERENDER_RUNTIME = 7
AE_RUNTIME = 9

#: Not After Effects' own: the simulator was asked for something it does not know.
BAD_REQUEST = 64

#: With a -log file of the user's, each of these is one higher.
_ONE_HIGHER_WITH_LOG = (SYNTAX_ERROR, AERENDER_RUNTIME, AE_RUNTIME)


class Stop(Exception):
    """The render ends here, with these last lines and this status."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__(status, lines)
        self.status = status
        self.lines = lines


def exit_code(status: int, *, has_log: bool) -> int:
    """The status as the caller sees it."""
    return status + 1 if has_log and status in _ONE_HIGHER_WITH_LOG else status


class Unheard(Exception):
    """Nobody reads what is said any more."""
