"""The words aerender was started with, read as After Effects' own command-line script reads them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from watchrender.render.simulator.stop import SHOW_USAGE, SYNTAX_ERROR, Stop

#: flag → how many words follow it. The last three are for aerender itself and never reach the script.
_FLAGS = {
    "-port": 1,
    "-project": 1,
    "-teamproject": 1,
    "-comp": 1,
    "-rqindex": 1,
    "-RStemplate": 1,
    "-OMtemplate": 1,
    "-renderSettings": 1,
    "-outputSettings": 1,
    "-output": 1,
    "-log": 1,
    "-s": 1,
    "-e": 1,
    "-i": 1,
    "-mem_usage": 2,
    "-mfr": 2,
    "-v": 1,
    "-r": 1,
    "-close": 1,
    "-sound": 1,
    "-doSavePrefsOnQuit": 0,
    "-continueOnMissingFootage": 0,
    "-reuse": 0,
    "-mp": 0,
    "-version": 0,
}

_ALLOWED = {
    "-v": ("ERRORS", "ERRORS_AND_PROGRESS"),
    "-close": ("DO_NOT_CLOSE", "DO_NOT_SAVE_CHANGES", "SAVE_CHANGES"),
    "-sound": ("ON", "OFF", "on", "off"),
    "-mfr": ("ON", "OFF", "on", "off"),
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What was asked for; a flag that was not given has no entry."""

    given: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __contains__(self, flag: str) -> bool:
        return flag in self.given

    def value(self, flag: str) -> str | None:
        """The word after the flag; None where the flag was not given."""
        words = self.given.get(flag)
        return words[0] if words else None

    def number(self, flag: str) -> int | None:
        """The word after the flag as a number, as `parseInt` takes it; None where there is none to take."""
        word = (self.value(flag) or "").strip()
        sign, digits = ("-", word[1:]) if word.startswith("-") else ("", word)
        while digits and not digits.isdigit():
            digits = digits[:-1]
        return int(sign + digits) if digits else None


def parse(words: Sequence[str], *, patched: bool = True) -> Arguments:
    """Read the words. `-r` is nexrender's own flag: an After Effects without its patch does not know it."""
    if not words or "-help" in words:
        raise Stop(SHOW_USAGE, "aerender USAGE: ", *_USAGE)
    given: dict[str, tuple[str, ...]] = {}
    at = 0
    while at < len(words):
        flag = words[at]
        count = _FLAGS.get(flag)
        if count is None or (flag == "-r" and not patched):
            raise Stop(SYNTAX_ERROR, f"aerender SYNTAX ERROR: Illegal argument flag: {flag}")
        following = tuple(words[at + 1 : at + 1 + count])
        if len(following) < count or "" in following:
            raise Stop(SYNTAX_ERROR, f"aerender SYNTAX ERROR: no value given for flag: {flag}")
        given[flag] = tuple(_unquoted(word) for word in following)
        at += 1 + count
    return Arguments(given=given)


def check_values(arguments: Arguments) -> None:
    """The values that After Effects looks at before it opens the project."""
    for flag, allowed in _ALLOWED.items():
        value = arguments.value(flag)
        if value is not None and value not in allowed:
            name = "-verbose" if flag == "-v" else flag
            raise Stop(SYNTAX_ERROR, f"aerender SYNTAX ERROR: Bad value for {name}.")


def check_increment(arguments: Arguments) -> int:
    """How many frames from one rendered frame to the next."""
    if "-i" not in arguments:
        return 1
    increment = arguments.number("-i")
    if increment is None or not 1 <= increment <= 100:
        raise Stop(
            SYNTAX_ERROR,
            "aerender SYNTAX ERROR: Bad value for -increment. Must be between 1 and 100, inclusive.",
        )
    return increment


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word


_USAGE = (
    "aerender renders After Effects comps (this one is watchrender's simulator of it).",
    "  -project PATH -comp NAME -output PATH   what to render, and to where",
    "  -s FRAME -e FRAME -i STEP               which frames, both ends included",
    "  -RStemplate NAME -OMtemplate NAME -renderSettings TEXT -outputSettings TEXT",
    "  -r SCRIPT (with nexrender's patch)  -log PATH  -v ERRORS|ERRORS_AND_PROGRESS  -continueOnMissingFootage",
    "  -mfr ON|OFF PERCENT  -mem_usage CACHE MEM  -mp  -reuse  -close MODE  -sound ON|OFF",
)
