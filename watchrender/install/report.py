"""What an examination says: lines with ok, warn or fail, each trouble with its cure. Pure but for `within`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_NO_ANSWER = "no answer within"


class Level(StrEnum):
    """How a thing stands."""

    OK = "ok"
    WARN = "warn"  # it works, and somebody should know
    FAIL = "fail"  # nothing will render, or something will break


@dataclass(frozen=True, kw_only=True)
class Line:
    """One finding."""

    name: str
    level: Level
    words: str
    cure: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "level": str(self.level), "message": self.words, "cure": self.cure}


def ok(name: str, words: str) -> Line:
    return Line(name=name, level=Level.OK, words=words)


def warn(name: str, words: str, cure: str) -> Line:
    return Line(name=name, level=Level.WARN, words=words, cure=cure)


def bad(name: str, words: str, cure: str) -> Line:
    return Line(name=name, level=Level.FAIL, words=words, cure=cure)


def is_well(lines: Iterable[Line]) -> bool:
    """Is there nothing that somebody must mend first?"""
    return all(line.level is not Level.FAIL for line in lines)


def within(seconds: float, name: str, examine: Callable[[], Iterator[Line]]) -> list[Line]:
    """What an examination finds; one that does not come back in time (a dead share blocks for minutes) is a finding.

    Its thread is left behind: nothing can end a call that waits for a server.
    """
    found: list[Line] = []

    def work() -> None:
        try:
            found.extend(examine())
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            words = f"could not be looked at: {error.strerror or error}{where}"
            found.append(bad(name, words, "Look at the disk or share named, and at the rights of this user there."))
        except Exception as error:  # a fault of our own: untold, the line would be missing and all would look well
            words = f"could not be looked at: {type(error).__name__}: {error}"
            found.append(bad(name, words, "This is a fault in watchrender: please report it with this line."))

    thread = threading.Thread(target=work, name=f"doctor-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not thread.is_alive():
        return found
    cure = "Look whether the disk or share is alive; a share that hangs blocks every program."
    return [*found, bad(name, f"{_NO_ANSWER} {seconds:g} s", cure)]


def hung(lines: Iterable[Line]) -> bool:
    """Has what was examined not come back?"""
    return any(line.words.startswith(_NO_ANSWER) for line in lines)
