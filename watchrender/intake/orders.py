"""Control files: what a person who has only the folder may ask, and the answers.

Part of intake, on its thread. Standing marks work while they lie there; orders are done, then removed; one that names
no job becomes a letter. An order never overtakes the file it came with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from loguru import logger

from watchrender import disk
from watchrender.control import Denied, is_meant
from watchrender.core import letters, naming
from watchrender.core.job import Job
from watchrender.core.naming import Order
from watchrender.core.states import State
from watchrender.intake.room import Desk, Room
from watchrender.spool.folders import remove_empty
from watchrender.spool.inbox import Entry, Role
from watchrender.spool.watcher import look, read

_AGAIN_SECONDS = 2.0
#: An order that is done lies there until status/ tells of it, but no longer than this.
_TOLD_SECONDS = 60.0
_LOOK_SECONDS = 0.05
#: The writer of status/ is quick: so long a turn stands still for it, so that an order goes when its answer comes.
_STILL_SECONDS = 0.3
#: So many jobs of other sub-folders are asked whether an order that names none here may mean them.
_MOST_ELSEWHERE = 2000


class Orders(Room):
    """The control files of the inbox."""

    def __init__(self, desk: Desk, *, unsure: Callable[[], bool], is_told: Callable[[Job], bool]) -> None:
        super().__init__(desk)
        self._unsure = unsure  # may something still come to light that was dropped before?
        self._is_told = is_told  # does the job's file in status/ tell of its newest change?
        self._untold: dict[Entry, tuple[float, list[str]]] = {}  # done orders: until when they may wait, for which jobs
        self._still_until = 0.0
        self.marked = {job.id for job in desk.ledger.live() if job.marked_hold}

    def _lies(self, path: Path) -> bool:
        try:
            return look(path) is not None
        except OSError:
            return True

    def _controls(self) -> list[tuple[Entry, naming.Control]]:
        found = []
        for entry in list(self._inbox.controls):
            control = naming.control(entry.name, is_dir=entry.is_dir)
            if control is not None:
                found.append((entry, control))
        return found

    # -- standing marks -------------------------------------------------------------------------------------

    def marks(self) -> None:
        """_PAUSE and NAME.hold. A mark that a command laid or took away since the scan counts as it lies now."""
        controls = self._controls()
        pauses = [entry for entry, control in controls if control.order is Order.PAUSE and not entry.sub]
        if self._gate.paused:
            paused = any(map(self._lies, map(self._watch.path, pauses))) or self._lies(self._folders.inbox / "_PAUSE")
        else:
            paused = any(map(self._lies, map(self._watch.path, pauses)))
        self._gate.pause(paused)
        held: dict[str, Path] = {}
        for entry, control in controls:
            if control.order is Order.HOLD:
                meant = self._meant(entry.sub, control.target or "")
                held |= {job.id: self._watch.path(entry) for job in meant}
                self._tell_of_idle(entry, bool(meant))
        for job_id in set(held) - self.marked:
            self._hold(job_id, held[job_id])
        for job_id in self.marked - set(held):
            self._let_go(job_id)

    def _tell_of_idle(self, entry: Entry, works: bool) -> None:
        """A mark may lie there before its job comes, and after it has gone: that is no fault, but worth a word."""
        if not works:
            self._ignored[entry.place] = letters.IDLE_HOLD
        elif self._ignored.get(entry.place) == letters.IDLE_HOLD:
            del self._ignored[entry.place]

    def _hold(self, job_id: str, mark: Path) -> None:
        job = self._ledger.get(job_id)
        if job is not None and not job.over and job.state is not State.RENDERING and self._lies(mark):
            self._ledger.note(job_id, f"held: {mark.name} lies in the inbox", marked_hold=True)

    def _let_go(self, job_id: str) -> None:
        job = self._ledger.get(job_id)
        if job is None or job.over:
            self.marked.discard(job_id)
        elif not self._lies(self._folders.inbox_folder(job.sub) / f"{job.name}.hold"):
            self._ledger.note(job_id, "the hold mark is gone", marked_hold=False)
            self._gate.wake.set()

    # -- orders ---------------------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Do the orders that lie there."""
        self._still_until = time.monotonic() + _STILL_SECONDS
        for entry, control in self._controls():
            if control.top_only and entry.sub:
                self._ignored[entry.place] = f"{entry.name} works only at the top of the inbox"
            elif not control.standing and (entry.obeyed or not self._waits(entry, control, now)):
                self._carry_out(entry, control, now)

    def _waits(self, entry: Entry, control: naming.Control, now: float) -> bool:
        """Has what it names not become a job yet, though it may?"""
        if now - entry.seen_at >= 3 * self._pace.settle or control.order in (Order.DRAIN, Order.STOP):
            return False
        if control.order is Order.CANCEL_ALL:
            waits = self._unsure() or any(
                other.role is Role.NEW and other.seen_at <= entry.seen_at for other in self._inbox.restless
            )
        else:
            target = control.target or ""
            words = (naming.fold(target), naming.fold(naming.stem_of(target)))
            new = any(other.role is Role.NEW for other in self._inbox.called(entry.sub, *words))
            waits = new or (now - entry.seen_at < self._pace.settle and not self._meant(entry.sub, target))
        if waits:
            self._watch.soon(now + min(self._pace.settle, 0.5))
        return waits

    def _carry_out(self, entry: Entry, control: naming.Control, now: float) -> None:
        if entry.obeyed:
            if now >= entry.due:
                self._put_away(entry, now)
            return
        asked = self._asked(entry, control)
        answer = self._obey(entry, control)
        if answer is not None:  # before the order goes: whoever cuts us off in between must not take the answer with it
            self._write(self._watch.path(entry).with_name(f"{_bare(entry.name)}.WHY.txt"), answer)
        entry.obeyed = True
        self._untold[entry] = (now + _TOLD_SECONDS, asked)
        self._put_away(entry, now)

    def _asked(self, entry: Entry, control: naming.Control) -> list[str]:
        """The jobs that an order is about."""
        if control.order is Order.CANCEL_ALL:
            return [job.id for job in self._ledger.live() if not job.begun]
        return [job.id for job in self._meant(entry.sub, control.target)] if control.target else []

    def _put_away(self, entry: Entry, now: float) -> None:
        """Remove an order that is done. Until the folder tells of it, it lies there: if the record is lost in between,
        the order is all that is left of what a person asked for."""
        until, asked = self._untold.get(entry, (0.0, []))
        jobs = [job for job_id in asked if (job := self._ledger.get(job_id)) is not None]
        if now < until and not self._are_told(jobs):
            entry.due = now + _LOOK_SECONDS
            self._watch.soon(entry.due)
            return
        self._untold.pop(entry, None)
        self._remove(entry, now)

    def _are_told(self, jobs: list[Job]) -> bool:
        while not all(map(self._is_told, jobs)):
            if time.monotonic() >= self._still_until:
                return False
            time.sleep(0.002)
        return True

    def _obey(self, entry: Entry, control: naming.Control) -> str | None:
        """Do what an order says. Returns the letter to write where it cannot be done."""
        if control.order is Order.DRAIN:
            self._control.drain()
        elif control.order is Order.STOP:
            self._control.stop(now=self._says_now(entry))
        elif control.order is Order.CANCEL_ALL:
            self._control.cancel_all(by=f"the control file {entry.name}")
        else:
            return self._obey_for_jobs(entry, control)
        return None

    def _says_now(self, entry: Entry) -> bool:
        """`_STOP` with the one word "now" in it: no time for the running render to end by itself."""
        try:
            found = read(self._watch.path(entry), 64) if not entry.is_dir else None
        except OSError:
            return False
        return found is not None and found[0].strip().lower() == b"now"

    def _obey_for_jobs(self, entry: Entry, control: naming.Control) -> str | None:
        jobs = self._meant(entry.sub, control.target or "")
        if not jobs:
            return self._answer_nobody(entry, control.target or "")
        by = f"the control file {entry.name}"
        denials = []
        for job in jobs:
            try:
                if control.order is Order.CANCEL:
                    self._cancel(job, by)
                elif control.order is Order.RELEASE:
                    self._control.release(job.id, by=by)
                elif control.priority is not None:
                    self._control.prioritize(job.id, control.priority, by=by)
            except Denied as denied:
                denials.append(str(denied))
        return letters.order_denied(entry.name, "; ".join(denials)) if denials else None

    def _cancel(self, job: Job, by: str) -> None:
        self._control.cancel(job.id, by=by)
        current = self._ledger.get(job.id)
        if current is not None and current.state is State.CANCELLED:
            self._closer.cancelled(current)  # now: what is told of it, and the order gone, should find it in its place

    def _answer_nobody(self, entry: Entry, target: str) -> str | None:
        place = f"{entry.sub}/{target}" if entry.sub else target
        bare = naming.parse_name(target).name  # the order may name the file
        over = self._ledger.newest_over(place) or self._ledger.newest_over(f"{place[: -len(target)]}{bare}")
        if over is not None and over.history and f"the control file {entry.name}" in str(over.history[-1].get("why")):
            return None  # it was done, and the service ended before it could be put away
        names = [job.name for job in self._ledger.live_in(entry.sub)]
        some = islice(self._ledger.live(), _MOST_ELSEWHERE)
        subs = sorted({job.sub for job in some if is_meant(target, job)}) if over is None else []
        return letters.no_such_job(entry.name, target, over, names, subs[:3])

    def _remove(self, entry: Entry, now: float) -> None:
        path = self._watch.path(entry)
        try:
            # A folder with something in it is somebody's: the order is done, and the folder stays.
            remove_empty(path) if entry.is_dir else disk.remove(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            if entry.place not in self._ignored:
                self._ignored[entry.place] = f"an order that was done, and cannot be removed: {error.strerror or error}"
                logger.warning("{} could not be removed: {}", str(path), error.strerror or str(error))
            entry.due = now + _AGAIN_SECONDS
            self._watch.soon(entry.due)
            return
        self._ignored.pop(entry.place, None)
        self._inbox.drop(entry)

    def _write(self, path: Path, text: str) -> None:
        try:
            disk.write(path, text, durable=False)
        except OSError as error:
            logger.warning("{} could not be written: {}", str(path), error.strerror or str(error))

    def _meant(self, sub: str, target: str) -> list[Job]:
        """The jobs not over that a control file in this folder names."""
        by_key = self._ledger.live_by_key(f"{sub}/{target}" if sub else target)
        if by_key is not None:
            return [by_key]
        words = (naming.fold(target), naming.fold(naming.stem_of(target)))
        waiting = [entry.job_id for entry in self._inbox.called(sub, *words) if entry.job_id is not None]
        jobs = [job for job_id in waiting if (job := self._ledger.get(job_id)) is not None and not job.over]
        jobs += [job for job in self._ledger.begun() if job.sub == sub]
        return [job for job in {job.id: job for job in jobs}.values() if is_meant(target, job)]


def _bare(name: str) -> str:
    return name[:-4] if name.lower().endswith(".txt") else name
