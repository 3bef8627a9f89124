"""A project that lies alone in the inbox: nobody can render it, so its owner gets the lines to write."""

from __future__ import annotations

import os
from pathlib import Path

from loguru import logger

from watchrender import disk
from watchrender.core import letters, naming
from watchrender.intake.watch import Step, Watch
from watchrender.ledger.ledger import Ledger
from watchrender.spool.inbox import Entry, Role
from watchrender.spool.watcher import read

#: Among so many of the newest jobs that are over, one that used the project is looked for.
REMEMBERED = 1000


class Projects:
    """The letters beside lone projects."""

    def __init__(self, *, watch: Watch, ledger: Ledger) -> None:
        self._watch = watch
        self._inbox = watch.inbox
        self._pace = watch.pace
        self._ignored = watch.ignored
        self._ledger = ledger
        self.waiting: dict[Entry, None] = {}  # projects that no job has taken

    def settle(self, entry: Entry, now: float) -> Step | None:
        """A lone project: nobody can render it, so its owner gets the lines to write."""
        if not self._watch.is_settled(entry, now):
            return None
        if any(
            other.role is Role.NEW and other.sub == entry.sub and other.seen_at >= entry.seen_at
            for other in self._inbox.restless
        ):
            self._watch.again(entry, now + self._pace.settle)
            return None
        self._watch.rest(entry)
        if self._is_mentioned(entry):
            self.remove(entry)
            self._ignored.pop(entry.place, None)
            return None
        path = self._letter_path(entry)
        if not os.path.lexists(path):
            self._write_letter(path, letters.lone_project(entry.name))
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
                    self.remove(entry)

    def left_behind(self, entry: Entry) -> None:
        """At start: a letter of ours whose project has gone meanwhile."""
        project = entry.name[: -len(".WHY.txt")]
        path = self._watch.path(entry)
        if entry.name.lower().endswith(".why.txt") and not os.path.lexists(path.with_name(project)):
            self._remove_if_ours(path, project)

    def _letter_path(self, entry: Entry) -> Path:
        return self._watch.path(entry).with_name(f"{entry.name}.WHY.txt")

    def remove(self, entry: Entry) -> None:
        self._remove_if_ours(self._letter_path(entry), entry.name)

    def _remove_if_ours(self, path: Path, project: str) -> None:
        text = letters.lone_project(project).encode("utf-8", "surrogateescape")
        try:
            found = read(path, len(text) + 1)
            if found is not None and found[0] == text:
                disk.remove(path)
        except OSError:
            pass  # it stays: a letter too much hurts nobody

    def _write_letter(self, path: Path, text: str) -> None:
        try:
            disk.write(path, text.encode("utf-8", "surrogateescape"), durable=False)
        except OSError as error:
            logger.warning("{} could not be written: {}", str(path), error.strerror or str(error))
