"""Letters beside what lies in the inbox and cannot be taken up: `NAME.WHY.txt`, written once, never over a file of
anybody's, and taken away together with what they are about."""

from __future__ import annotations

import os
from pathlib import Path

from loguru import logger

from watchrender import disk
from watchrender.core import letters
from watchrender.intake.watch import Watch
from watchrender.spool.inbox import Entry
from watchrender.spool.watcher import read

_ENDING = ".WHY.txt"
_LONGEST = 64 * 1024


class Beside:
    """The letters that lie in the inbox."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def write(self, entry: Entry, text: str) -> None:
        path = self._path(entry)
        if os.path.lexists(path):
            return
        try:
            disk.write(path, text.encode("utf-8", "surrogateescape"), durable=False)
        except OSError as error:
            logger.warning("{} could not be written: {}", str(path), error.strerror or str(error))

    def remove(self, entry: Entry) -> None:
        self._remove_if_ours(self._path(entry), entry.name)

    def left_behind(self, entry: Entry) -> None:
        """At start: a letter of ours that is about something that has gone meanwhile."""
        path = self._watch.path(entry)
        about = entry.name[: -len(_ENDING)]
        if entry.name.lower().endswith(_ENDING.lower()) and not os.path.lexists(path.with_name(about)):
            self._remove_if_ours(path, about)

    def _path(self, entry: Entry) -> Path:
        return self._watch.path(entry).with_name(f"{entry.name}{_ENDING}")

    def _remove_if_ours(self, path: Path, about: str) -> None:
        try:
            found = read(path, _LONGEST)
            if found is not None and letters.is_beside(found[0].decode("utf-8", "surrogateescape"), about):
                disk.remove(path)
        except OSError:
            pass  # it stays: a letter too much hurts nobody
