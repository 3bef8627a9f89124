"""What every room of intake works with: the inbox as it is watched, the record, the judge, the gate, and who closes.

All of it is used on intake's thread alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from watchrender.closing import Closer
from watchrender.control import Control, Denied
from watchrender.core.job import Job
from watchrender.gate import Gate
from watchrender.intake.beside import Beside
from watchrender.intake.watch import Watch
from watchrender.judge import Judge
from watchrender.ledger.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The same for all rooms."""

    watch: Watch
    ledger: Ledger
    judge: Judge
    gate: Gate
    control: Control
    closer: Closer
    beside: Beside


class Room:
    """One room of intake."""

    def __init__(self, desk: Desk) -> None:
        self._watch = desk.watch
        self._inbox = desk.watch.inbox
        self._folders = desk.watch.folders
        self._pace = desk.watch.pace
        self._clock = desk.watch.clock
        self._ignored = desk.watch.ignored
        self._ledger = desk.ledger
        self._judge = desk.judge
        self._gate = desk.gate
        self._control = desk.control
        self._closer = desk.closer
        self._beside = desk.beside

    def _supersede(self, job: Job) -> None:
        """Cancel what this job takes the place of."""
        for old in self._judge.superseded(job):
            why = f"superseded by {job.key} ({job.id})"
            try:
                self._control.cancel(old.id, by="a newer drop", superseded_by=job.id, why=why)
            except (Denied, KeyError):
                continue
