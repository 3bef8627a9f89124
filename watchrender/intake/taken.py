"""Which names are taken in our own folders. Asked for each job that comes, of folders in which a hundred thousand films
may lie, and so mostly answered from what was read a while ago.

That may be old: a name of it counts as taken only if it is still there by a direct look. One that came since is found
by its exact name, which is looked at, too, or by the record, where it is that of a job that ended here. What is left is
a folder that somebody else has just put into done/, and whose name differs by case only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from watchrender.core import naming
from watchrender.ledger.ledger import Ledger
from watchrender.spool.folders import Folders, is_subfolder

#: Names are believed so many times as long as it took to read them, and so long at least and at most, in seconds. Those
#: in done/, which is large and of which the record knows most, longer than others.
_TIMES, _TIMES_OF_DONE, _AT_LEAST, _AT_MOST, _AT_MOST_OF_DONE = 50, 2000, 0.02, 2.0, 300.0
#: Read again after so long, or so many times as long as it took, though a folder's time has not moved: on some it does
#: not.
_TRUSTED_SECONDS, _TRUSTED_TIMES = 30.0, 3000


class _Names:
    """The names in a folder at a time of it. `due`: when, by the monotonic clock, it is asked whether
    its time has moved; `doubted`: when they are read again all the same."""

    def __init__(self, at: int, names: Iterable[str]) -> None:
        self.at = at
        self.due = self.doubted = 0.0
        self.folded: set[str] = set()
        self.otherwise: dict[str, list[str]] = {}  # how else a name is written: most are written as they are compared
        for name in names:
            folded = naming.fold(name)
            self.folded.add(folded)
            if folded != name:
                self.otherwise.setdefault(folded, []).append(name)

    def alike(self, folded: str) -> Iterator[str]:
        """The names that differ from this one by case or spelling only, and itself."""
        if folded in self.folded:
            yield from (folded, *self.otherwise.get(folded, ()))


class Taken:
    """What lies in done/, failed/, cancelled/, active/ and status/."""

    def __init__(self, folders: Folders, ledger: Ledger) -> None:
        self._folders = folders
        self._ledger = ledger
        self._names: dict[Path, _Names] = {}

    def is_taken(self, sub: str, name: str) -> bool:
        """Is this key's place taken: by something in done/ or active/, or by a sub-folder of this name anywhere?"""
        folders, folded = self._folders, naming.fold(name)
        if folders.is_told_of(sub, name) or self._is_delivered(sub, name):
            return True
        for top in (folders.done, folders.active):
            if any(os.path.lexists(top / sub / found) for found in self._in(top, sub).alike(folded)):
                return True
        return any(
            is_subfolder(top / sub / found)
            for top in (folders.failed, folders.cancelled)
            for found in self._in(top, sub).alike(folded)
        )

    def _is_delivered(self, sub: str, name: str) -> bool:
        """Does the newest job of this name that is over lie in done/, however its name is written?"""
        old = self._ledger.newest_over(f"{sub}/{name}" if sub else name)
        if old is None or not old.folder:
            return False
        place = self._folders.absolute(old.folder)
        return place.is_relative_to(self._folders.done) and os.path.lexists(place)

    def look_again(self) -> None:
        """Read what is due, while nobody waits for it."""
        for folder in list(self._names) or (self._folders.done, self._folders.failed, self._folders.cancelled):
            self._read(folder)

    def _in(self, top: Path, sub: str) -> _Names:
        return self._read(top / sub if sub else top)

    def _read(self, folder: Path) -> _Names:
        """Its names; read again when it is due and the folder's time moved."""
        began, known = time.monotonic(), self._names.get(folder)
        if known is not None and began < known.due:
            return known
        try:
            at = os.stat(folder).st_mtime_ns
            if known is None or known.at != at or began >= known.doubted:
                known = self._names[folder] = _Names(at, os.listdir(folder))
                known.doubted = began + max(_TRUSTED_SECONDS, _TRUSTED_TIMES * (time.monotonic() - began))
        except (FileNotFoundError, NotADirectoryError):
            known = self._names[folder] = _Names(0, ())
        except OSError:
            return known or _Names(0, ())  # believed for no longer than this answer
        ended = time.monotonic()
        is_done = folder.is_relative_to(self._folders.done)
        times, most = (_TIMES_OF_DONE, _AT_MOST_OF_DONE) if is_done else (_TIMES, _AT_MOST)
        known.due = ended + min(most, max(_AT_LEAST, times * (ended - began)))
        return known
