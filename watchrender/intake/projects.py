"""A project that lies alone in the inbox: nobody can render it, so its owner gets the lines to write."""

from __future__ import annotations

import os

from watchrender.core import letters, naming
from watchrender.intake.room import Desk, Room
from watchrender.intake.watch import Step
from watchrender.spool.inbox import Entry, Role

#: Among so many of the newest jobs that are over, one that used the project is looked for.
REMEMBERED = 1000


class Projects(Room):
    """The letters beside lone projects."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.waiting: dict[Entry, None] = {}  # projects that no job has taken

    def settle(self, entry: Entry, now: float) -> Step | None:
        """A lone project: nobody can render it, so its owner gets the lines to write."""
        if not self._watch.is_settled(entry, now):
            return None
        if self._inbox.crowd or any(
            other.role is Role.NEW and other.sub == entry.sub and other.seen_at >= entry.seen_at
            for other in self._inbox.restless
        ):
            self._watch.again(entry, now + self._pace.settle)
            return None
        self._watch.rest(entry)
        if self._is_mentioned(entry):
            self._beside.remove(entry)
            self._ignored.pop(entry.place, None)
            return None
        self._beside.write(entry, letters.lone_project(entry.name))
        self._ignored[entry.place] = letters.LONE_PROJECT
        return None

    def _is_mentioned(self, entry: Entry) -> bool:
        path = naming.fold(os.path.normcase(str(self._watch.path(entry))))
        paths = {job.template_path for job in self._ledger.live()}
        for number, job in enumerate(self._ledger.over()):
            if number >= REMEMBERED:
                break
            paths.add(job.template_path)
        return any(naming.fold(os.path.normcase(found)) == path for found in paths if found)

    def answered(self) -> None:
        """A letter goes when a job comes to refer to its project."""
        if not self.waiting or not self._inbox.changed:
            return
        answered = [entry for entry in self.waiting if self._ignored.get(entry.place) == letters.LONE_PROJECT]
        if answered:
            wanted = {os.path.normcase(job.template_path) for job in self._ledger.live() if job.template_path}
            for entry in answered:
                if os.path.normcase(str(self._watch.path(entry))) in wanted:
                    self._ignored.pop(entry.place, None)
                    self._beside.remove(entry)
