"""From a dropped file to the queue: settle → read → judge → queue.

One `turn` looks at the inbox and does what is due; the service calls it when something was heard, and at intervals.
Files of jobs never begun stay in the inbox: the inbox is the queue. Everything known of a name between two turns is an
`Entry` (spool/inbox.py); every decision is made by a pure function in core/ or by the judge. What is quiet costs
nothing: a turn looks at what came, what went, what is `restless` and due, and at a few others in rotation.

Looking, reading and judging may take as long as a share likes, so they are done without the ledger's lock and aside
from whoever asked for the turn; what follows from them is recorded together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.control import Control, Denied
from watchrender.core import clock as clocks
from watchrender.core import letters, naming, settle
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.naming import Kind, Order
from watchrender.core.settle import Completeness, Verdict
from watchrender.core.states import Event, State
from watchrender.gate import Gate
from watchrender.judge import Judge, Judged
from watchrender.ledger.ledger import Change, Ledger
from watchrender.orders import Orders
from watchrender.sidecars import Sidecars
from watchrender.spool import bundle, returned
from watchrender.spool.folders import Folders, before_name
from watchrender.spool.inbox import Entry, Inbox, Role, aliases
from watchrender.spool.watcher import Aside, Hung, Listing, Look, look, read, scan

#: How often footage that a job waits for is looked for; more seldom where many wait.
FOOTAGE_SECONDS = 1.0
FOOTAGE_A_SECOND = 100
#: Quiet entries are looked at again in rotation, so many a turn: a save that no event told of is found.
LOOKS_A_TURN = 400
#: So many are read and judged before what follows is recorded, and for so long before the next turn begins.
TOGETHER = 200
TURN_SECONDS = 1.0
#: A file taken at first sight is read once more: within its time's granularity (FAT: 2 s) a save does not show.
READ_AGAIN_SECONDS = 3.0
#: How long an event may come after the scan that found the same thing.
HEARD_WITHIN_SECONDS = 1.5

Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds, resolved for this root (a share needs longer)."""

    scan: float
    settle: float
    cut_off: float
    assets_deadline: float


class Intake:
    """The inbox, turn by turn. `turn` is called by one thread."""

    def __init__(
        self,
        *,
        folders: Folders,
        ledger: Ledger,
        gate: Gate,
        judge: Judge,
        control: Control,
        closer: Closer,
        pace: Pace,
        ignore: tuple[str, ...] = (),
        put_back: Callable[[str, str], None],
        started_at: Callable[[str], float | None],
        clock: Callable[[], float] = time.monotonic,
        limit: float = 20.0,
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._gate = gate
        self._judge = judge
        self._control = control
        self._closer = closer
        self._pace = pace
        self._ignore = ignore
        self._clock = clock
        self._inbox = Inbox()
        self._subs: set[str] = set(ledger.facts().get("subs", ()))
        self._aside = Aside("inbox", limit=limit)
        self._rotation: Iterator[Entry] = iter(())
        self._trees: dict[Entry, settle.TreeSighting] = {}
        self._waits: dict[str, float] = {}  # job id → since when it waits for footage, monotonic
        self._letters: dict[Entry, None] = {}
        self._done_names: dict[str, tuple[int, set[str]]] = {}  # sub → mtime and folded names of done/<sub>
        self._hinted: set[str] = set()
        self._heard_jobs: set[str] = set()  # whatever the ledger told of since the last turn
        self._handed = threading.Lock()
        self._unheard: dict[str, float] = {}  # found by the scan alone, so far
        self._next_look: float | None = None
        self._rejected: list[tuple[Job, Failure]] = []
        self._first = True
        self._unseen_subs = False  # a sub-folder has just been found: what is in it comes with the next scan
        self._arrival = ledger.arrival
        self.ignored: dict[str, str] = {}  # path → why, for service.json
        self.events_missed = 0  # things that no event told of, since one was heard
        self._told_of: set[str] = set()  # by events, before this turn
        self.scanned_at: float | None = None
        self.scan_seconds = 0.0
        self._orders = Orders(
            inbox=self._inbox, ledger=ledger, control=control, gate=gate, folders=folders, ignored=self.ignored,
            patience=pace.settle, unsure=lambda: self._unseen_subs, soon=self._soon,
        )  # fmt: skip
        self._sidecars = Sidecars(
            inbox=self._inbox, ledger=ledger, judge=judge, folders=folders, ignored=self.ignored, read=self._read,
            quiet=self._is_settled,
            applied=self._supersede, empty_after=pace.cut_off, put_back=put_back, started_at=started_at,
        )  # fmt: skip
        self._know_again()
        ledger.listen(self._heard)

    def close(self) -> None:
        self._aside.stop()

    def _heard(self, change: Change) -> None:
        """The ledger tells of a change, on any thread: remembered until the next turn."""
        if change.progress:
            return
        self._heard_jobs.add(change.job.id)
        if change.job.marked_hold:
            self._orders.marked.add(change.job.id)
        else:
            self._orders.marked.discard(change.job.id)

    def _know_again(self) -> None:
        """At start: what the record says lies in the inbox. Its files are looked for like any others."""
        for job in self._ledger.live():
            parts = job.sub.split("/") if job.sub else []
            self._subs.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))
            if not job.begun:
                self._expect(job)
                self._sidecars.know_again(job)

    def _expect(self, job: Job) -> Entry:
        """An entry for a job whose file should lie in the inbox."""
        now = self._clock()
        entry = Entry(
            sub=job.sub, name=job.file, is_dir=job.form is Form.BUNDLE, role=Role.JOB, job_id=job.id, seen_at=now,
            created_at=job.created_at, arrival=job.arrival, stamp=job.stamp, changed_at=now,
        )  # fmt: skip
        self._inbox.add(entry)
        self._inbox.restless[entry] = None
        return entry

    def announce(self, sub: str, name: str) -> Job:
        """Record a job whose file is about to be written (POST /jobs): its id is known before the file is there."""
        entry = Entry(sub=sub, name=name, is_dir=False, seen_at=self._clock())
        return self._record(entry, Form.FILE)

    # -- one turn -------------------------------------------------------------------------------------------

    def turn(self, hinted: Iterable[str] = ()) -> float:
        """Look once, do what is due. Returns seconds until the next turn is due. Raises nothing."""
        with self._handed:
            self._hinted.update(hinted)
        try:
            return float(self._aside.do(self._turn))
        except Hung as hung:
            self._offline(fail(Code.SHARE_OFFLINE, f"{self._folders.inbox} hangs: {hung.strerror}"))
            return self._pace.scan

    def _turn(self) -> float:
        try:
            offline = self._folders.health()
            if offline is None:
                wait = self._look_once()
                # Only now: a look that is refused again and again must not open and close the gate each time.
                self._gate.looked({}, frozenset({Code.SHARE_OFFLINE}))
                return wait
        except OSError as error:
            if disk.is_full(error):
                raise  # the record's disk, not the inbox: whoever runs us says so and waits for room
            where = error.filename or self._folders.inbox
            offline = fail(Code.SHARE_OFFLINE, f"{where} cannot be read: {error.strerror or error}")
        except Exception:
            # The one catch-all: what one file can do to us must not end the service for all, and must not hide.
            logger.exception("a fault in watchrender itself; the inbox is looked at again")
            return self._pace.scan
        self._offline(offline)
        return self._pace.scan

    def _offline(self, failure: Failure) -> None:
        self._gate.looked({Code.SHARE_OFFLINE: failure}, frozenset({Code.SHARE_OFFLINE}))
        for entry in list(self._inbox.gone):  # gone is only what is gone while all else is there
            entry.gone_at = None
            self._inbox.gone.pop(entry, None)

    def _look_once(self) -> float:
        began = time.perf_counter()
        listing = scan(self._folders.inbox, self._is_sub, self._aside.alive)
        self.scan_seconds = time.perf_counter() - began
        now = self.scanned_at = self._clock()
        self._unseen_subs = False
        self._next_look = None
        with self._handed:
            hinted, self._hinted = self._hinted, set()
        self._recall(hinted, now)
        self._jobs_changed()
        fresh = self._compare(listing, now)
        self._arrive(fresh, now)
        self._look_around(now)
        self._settle(now)
        for entry, job, failure in self._sidecars.turn(now):
            self._reject(entry, job, failure)
        self._letters_gone()
        if self._inbox.changed or self._inbox.controls or self._orders.marked:
            self._inbox.changed = False
            self._orders.marks()
            self._orders.turn(now)
        self._withdraw(now)
        self._close_rejected()
        self._count_unheard(now)
        self._first = False
        return min(self._pace.scan, max(0.02, (self._next_look or now + self._pace.scan) - self._clock()))

    def _is_sub(self, sub: str) -> bool:
        return sub in self._subs

    def _soon(self, at: float) -> None:
        """Something is due at this moment of the monotonic clock: the next turn must not be later."""
        self._next_look = at if self._next_look is None else min(self._next_look, at)

    def _again(self, entry: Entry, at: float) -> None:
        """This entry is to be looked at again then."""
        entry.due = at
        self._inbox.restless[entry] = None
        self._soon(at)

    def _rest(self, entry: Entry) -> None:
        self._inbox.restless.pop(entry, None)

    # -- what was heard -------------------------------------------------------------------------------------

    def _recall(self, hinted: Iterable[str], now: float) -> None:
        """What the events named is looked at again."""
        root = f"{self._folders.inbox}{os.sep}"
        self._told_of.clear()
        for path in hinted:
            if not path.startswith(root):
                continue
            self.events_missed = 0
            place = path[len(root) :].replace(os.sep, "/")
            self._unheard.pop(place, None)
            self._told_of.add(place)
            parts = place.split("/")
            for depth in range(len(parts)):
                entry = self._inbox.get("/".join(parts[:depth]), parts[depth])
                if entry is not None and entry.role in (Role.NEW, Role.JOB, Role.SIDECAR, Role.LETTER):
                    entry.due = min(entry.due, now)
                    self._inbox.restless[entry] = None

    def _count_unheard(self, now: float) -> None:
        """Does anybody tell us of changes here? What only scans find says that nobody does."""
        for place, found in list(self._unheard.items()):
            if now - found >= HEARD_WITHIN_SECONDS:
                del self._unheard[place]
                self.events_missed += 1

    def _jobs_changed(self) -> None:
        """Whatever others did to jobs since the last turn: started, cancelled, closed, put back."""
        heard, self._heard_jobs = self._heard_jobs, set()
        for job_id in heard:
            job = self._ledger.get(job_id)
            if job is None or job.begun or (job.over and self._closer.is_closed(job)):
                self._inbox.forget_job(job_id)
            elif not (job.over or job.state is State.RENDERING or job_id in self._inbox.by_job):
                self._lost_sight_of(job)
            if job is not None:
                self._sidecars.job_changed(job)
                if job.over:
                    self._waits.pop(job_id, None)
        if heard:
            self._inbox.changed = True

    def _lost_sight_of(self, job: Job) -> None:
        """Put back before it was claimed: its file should lie in the inbox."""
        if self._inbox.get(job.sub, job.file) is None:
            self._expect(job)

    # -- names ----------------------------------------------------------------------------------------------

    def _compare(self, listing: Listing, now: float) -> list[Entry]:
        """New names become entries; names that are missing are marked gone, after a direct look."""
        fresh: list[Entry] = []
        stamp = self._ledger.stamp()
        for sub, names in listing.subs.items():
            known, folders = self._inbox.subs.get(sub, {}), listing.folders[sub]
            if folders != self._inbox.folders.get(sub, set()):
                for name in [name for name in known if name in names and known[name].is_dir != (name in folders)]:
                    self._forget(known[name])
                known = self._inbox.subs.get(sub, {})
            if known.keys() == names:
                continue
            new = names - known.keys()
            fresh += [Entry(sub=sub, name=name, is_dir=name in folders, seen_at=now, created_at=stamp) for name in new]
            folded = {naming.fold(name) for name in new} if len(new) < 50 else set()
            for name in known.keys() - names:
                self._missed(known[name], now, renamed=naming.fold(name) in folded)
        for sub in [sub for sub in self._inbox.subs if sub not in listing.subs]:
            for entry in list(self._inbox.subs[sub].values()):
                self._missed(entry, now)
        for entry in [entry for entry in self._inbox.gone if entry.name in listing.subs.get(entry.sub, ())]:
            entry.gone_at = None
            self._inbox.gone.pop(entry, None)
            self._again(entry, now)
        self._subs_gone(listing)
        for sub in listing.refused:
            self.ignored[sub] = letters.UNREADABLE_FOLDER
        return sorted(fresh, key=lambda entry: (naming.natural_key(entry.sub), naming.natural_key(entry.name)))

    def _subs_gone(self, listing: Listing) -> None:
        gone = [sub for sub in self._subs if sub not in listing.subs]
        if gone and not self._first:
            self._subs.difference_update(gone)
            self._ledger.know(subs=sorted(self._subs))
        for sub in [sub for sub, why in self.ignored.items() if why == letters.UNREADABLE_FOLDER]:
            if sub not in listing.refused:
                del self.ignored[sub]

    def _missed(self, entry: Entry, now: float, *, renamed: bool = False) -> None:
        """A name that the listing does not have. `renamed`: it has one that differs by case only."""
        self.ignored.pop(entry.place, None)
        if entry.role is Role.JOB and entry.job_id is not None:
            job = self._ledger.get(entry.job_id)
            if job is not None and not job.begun and not (job.over and self._closer.is_closed(job)):
                # Over or rendering: its files are on their way out of the inbox.
                is_ours = job.over or job.state is State.RENDERING
                if not is_ours and entry.gone_at is None and (renamed or self._look(entry) is None):
                    entry.gone_at = now
                    self._inbox.gone[entry] = None
                    self._soon(now + self._pace.settle + 0.01)
                return
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self.ignored.pop(entry.place, None)
        self._trees.pop(entry, None)
        self._inbox.drop(entry)
        if entry.role is Role.SIDECAR:
            self._sidecars.gone(entry)
        elif entry.role is Role.LETTER:
            self._letters.pop(entry, None)
            self._remove_letter(entry)

    def _path(self, entry: Entry) -> Path:
        return self._folders.inbox_folder(entry.sub) / entry.name

    def _prefix(self, sub: str) -> str:
        return f"{self._folders.inbox}{os.sep}{sub}{os.sep}" if sub else f"{self._folders.inbox}{os.sep}"

    def _look(self, entry: Entry) -> Look | None:
        """A direct look; None only where it is not there. Raises OSError where the share does not answer."""
        self._aside.alive()
        try:
            return look(f"{self._prefix(entry.sub)}{entry.name}")
        except PermissionError:  # its folder is closed to us: that is not gone
            size, mtime_ns, inode = entry.stamp or (0, 0, 0)
            return Look(size=size, mtime_ns=mtime_ns, inode=inode, is_dir=entry.is_dir, regular=True)

    # -- arrivals -------------------------------------------------------------------------------------------

    def _arrive(self, fresh: list[Entry], now: float) -> None:
        """Give each new name its role; jobs are recorded in natural order, so `sh2` comes before `sh10`."""
        for number in range(0, len(fresh), TOGETHER):
            looked = [(entry, *self._meet(entry)) for entry in fresh[number : number + TOGETHER]]
            with self._ledger.together():
                for entry, kind, found in looked:
                    self._classify(entry, kind, found, now)

    def _meet(self, entry: Entry) -> tuple[Kind, Look | None]:
        kind = naming.classify(entry.name, is_dir=entry.is_dir, extra_ignore=self._ignore)
        return kind, None if kind is Kind.IGNORED else self._look(entry)

    def _classify(self, entry: Entry, kind: Kind, found: Look | None, now: float) -> None:
        if kind is Kind.IGNORED:
            entry.role = Role.OTHER
            self._inbox.add(entry)
            if self._first:
                self._left_behind(entry)
            return
        if found is None:
            return  # gone already
        self._inbox.add(entry)
        self._arrival += 1
        entry.arrival = max(self._arrival, self._ledger.arrival + 1)
        self._arrival = entry.arrival
        entry.saw(found, now)
        if not self._first and entry.place not in self._told_of:
            self._unheard.setdefault(entry.place, now)
        if not found.regular:
            self._ignore_entry(entry, letters.NOT_PLAIN)
        elif kind is Kind.CONTROL and self._is_control(entry):
            entry.role = Role.CONTROL
            self._inbox.controls[entry] = None
        elif kind in (Kind.FOLDER, Kind.CONTROL):
            self._meet_folder(entry, found, now)
        elif kind is Kind.LETTER:
            entry.role = Role.LETTER
            self._letters[entry] = None
            self._again(entry, now + self._pace.settle)
        elif kind in (Kind.JOB, Kind.ZIP):
            self._meet_job(entry, Form.ZIP if kind is Kind.ZIP else Form.FILE, found)
            self._again(entry, now)
        elif kind is Kind.YAML:
            self._inbox.call(entry)
            self._again(entry, now)  # a job or a sidecar: its content tells
        else:
            self._ignore_entry(entry, letters.NO_JOB_FILE)

    def _is_control(self, entry: Entry) -> bool:
        """A file always; a folder if nothing is in it (somebody's folder is never taken away), or if it only stands."""
        control = naming.control(entry.name, is_dir=entry.is_dir)
        if not entry.is_dir or (control is not None and control.order is Order.PAUSE):
            return True
        try:
            with os.scandir(self._path(entry)) as entries:
                return next(entries, None) is None
        except OSError:
            return False

    def _ignore_entry(self, entry: Entry, why: str) -> None:
        entry.role = Role.OTHER
        self.ignored[entry.place] = why
        self._rest(entry)

    def _meet_folder(self, entry: Entry, found: Look, now: float) -> None:
        renamed = self._renamed(entry, found)
        if renamed is not None:
            self._reattach(entry, renamed, f"renamed to {entry.name}")
        elif (known := self._known(entry)) is not None:
            self._reattach(entry, known, None)
        elif entry.place in self._subs:
            entry.role = Role.SUB
        elif self._first and not self._ledger.facts().get("subs") and (self._folders.status / entry.place).is_dir():
            self._become_sub(entry)  # the record is lost, but this was a sub-folder before
        else:
            self._inbox.call(entry)
            self._again(entry, now)

    def _become_sub(self, entry: Entry) -> None:
        entry.role = Role.SUB
        self._rest(entry)
        self._subs.add(entry.place)
        self._unseen_subs = True
        self._ledger.know(subs=sorted(self._subs))
        self._soon(self._clock())

    def _meet_job(self, entry: Entry, form: Form, found: Look) -> Job:
        """A new job, an old one under a new name, or one that the record already knows."""
        renamed = self._renamed(entry, found)
        if renamed is not None:
            return self._reattach(entry, renamed, f"renamed to {entry.name}")
        known = self._known(entry)
        if known is not None:
            return self._reattach(entry, known, None)
        return self._record(entry, form)

    def _renamed(self, entry: Entry, found: Look) -> Job | None:
        """The job whose file went away while the same file appeared beside it under another name."""
        for other in self._inbox.gone:
            if other.sub != entry.sub or other.is_dir != entry.is_dir or other.job_id is None or other.stamp is None:
                continue
            job = self._ledger.get(other.job_id)
            if job is None or job.over or job.begun:
                continue
            if other.stamp == found.stamp or (entry.is_dir and other.stamp[2] == found.inode):
                return job
            if other.stamp[:2] == found.stamp[:2] and not entry.is_dir and self._same_content(entry, job):
                return job  # a share that invents a new inode at each look
        return None

    def _same_content(self, entry: Entry, job: Job) -> bool:
        data = self._read(entry)
        return isinstance(data, bytes) and job.digest is not None and self._judge.digest(data) == job.digest

    def _known(self, entry: Entry) -> Job | None:
        """The job that the record says this file is."""
        job = self._ledger.live_by_file(entry.sub, entry.name)
        return job if job is not None and not job.begun and job.id not in self._inbox.by_job else None

    def _reattach(self, entry: Entry, job: Job, why: str | None) -> Job:
        old = self._inbox.by_job.get(job.id)
        if old is not None and old is not entry:
            old.job_id = None
            self._inbox.drop(old)
        entry.arrival, entry.created_at = job.arrival, job.created_at
        self._inbox.own(entry, job.id)
        self._inbox.restless[entry] = None
        if why is not None:
            self._bring_before(job, entry.name)
            job = self._ledger.note(job.id, why, file=entry.name, **self._judge.priority_of(job, entry.name))
            self._gate.wake.set()
        return job

    def _bring_before(self, job: Job, name: str) -> None:
        """What a returned job left before waits hidden under its file's name."""
        folder = self._folders.inbox_folder(job.sub)
        if (folder / before_name(job.file)).is_dir():
            try:
                disk.rename(folder / before_name(job.file), folder / before_name(name))
            except OSError as error:
                logger.warning("{}: what it left before stays hidden: {}", job.key, str(error))

    def _record(self, entry: Entry, form: Form, **extra: Any) -> Job:
        with self._ledger.together():
            name = self._free_name(entry)
            retry_of = extra.pop("retry_of", None) or self._retry_of(entry)
            why = f"seen in the inbox as {entry.name}" if retry_of is None else f"another try of {retry_of}"
            if entry.created_at:
                extra |= {"created_at": entry.created_at, "arrival": entry.arrival}
            job = self._ledger.add(
                why=why,
                name=name,
                sub=entry.sub,
                form=form,
                file=entry.name,
                folder=self._folders.relative(self._folders.inbox_folder(entry.sub)),
                retry_of=retry_of,
                **self._judge.first_priority(entry.sub, entry.name, is_dir=entry.is_dir),
                **extra,
            )
        if entry.stamp is not None:
            self._inbox.own(entry, job.id)
        return job

    def _retry_of(self, entry: Entry) -> str | None:
        retries = dict(self._ledger.facts().get("retries", {}))
        found = retries.pop(entry.place, None)
        if found is not None:
            self._ledger.know(retries=retries)
        return str(found) if found is not None else None

    def _free_name(self, entry: Entry) -> str:
        """The key's last part: free among jobs not over, in done/, and not a sub-folder's name."""
        base = naming.fit(naming.parse_name(entry.name, is_dir=entry.is_dir).name)
        done = self._names_in_done(entry.sub)
        for name in naming.candidates(base):
            key = f"{entry.sub}/{name}" if entry.sub else name
            if self._ledger.live_by_key(key) is not None or naming.fold(name) in done:
                continue
            if not self._is_a_sub(key) and not self._folders.taken(entry.sub, name):
                return name
        raise AssertionError("candidates never end")

    def _names_in_done(self, sub: str) -> set[str]:
        """The names in done/<sub> as they are compared. Read again when the folder's time moved."""
        folder = self._folders.done / sub if sub else self._folders.done
        try:
            at = os.stat(folder).st_mtime_ns
            known = self._done_names.get(sub)
            if known is None or known[0] != at:
                known = self._done_names[sub] = (at, {naming.fold(name) for name in os.listdir(folder)})
        except OSError:
            return set()
        return known[1]

    def _is_a_sub(self, key: str) -> bool:
        if key in self._subs:
            return True
        folded = naming.fold(key)
        return any(naming.fold(sub) == folded for sub in self._subs)

    # -- looking again --------------------------------------------------------------------------------------

    def _look_around(self, now: float) -> None:
        """Look at some quiet entries in rotation: what changed becomes restless."""
        for _ in range(LOOKS_A_TURN):
            quiet = next(self._rotation, None)
            if quiet is None:
                self._rotation = iter(self._inbox)
                quiet = next(self._rotation, None)
            if quiet is None or quiet.looked_at == now:
                return  # once round
            if quiet.gone_at is None and (
                quiet.role in (Role.JOB, Role.SIDECAR) or (quiet.role is Role.NEW and not quiet.is_dir)
            ):
                self._look_at(quiet, now)

    def _look_at(self, entry: Entry, now: float) -> bool:
        """A look at one entry. False: it is not there; the next listing tells."""
        if self._inbox.get(entry.sub, entry.name) is not entry:
            return False
        found = self._look(entry)
        if found is None:
            return False
        if not found.regular and entry.role is not Role.JOB:
            self._ignore_entry(entry, letters.NOT_PLAIN)
            return False
        if entry.is_dir and entry.role is Role.JOB:
            found = self._look_at_bundle(entry, found)
        if entry.saw(found, now):
            entry.due = min(entry.due, now)
            self._changed(entry, now)
        return True

    def _look_at_bundle(self, entry: Entry, found: Look) -> Look:
        """A bundle looks like its job file, with the folder's own inode: that is what a save changes."""
        name = bundle.job_name(self._path(entry))
        inner = look(self._path(entry) / name) if isinstance(name, str) else None
        if inner is None:
            return Look(size=0, mtime_ns=0, inode=found.inode, is_dir=True, regular=True)
        return Look(size=inner.size, mtime_ns=inner.mtime_ns, inode=found.inode, is_dir=True, regular=True)

    def _changed(self, entry: Entry, now: float) -> None:
        """It has been saved again: a job is judged anew, at its old place in the queue."""
        if entry.role is Role.SIDECAR:
            self._inbox.loose[entry] = None
            return
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun:
            return
        is_other = entry.stamp is None or job.stamp is None or job.stamp[:2] != entry.stamp[:2]
        if job.state in (State.QUEUED, State.VALIDATING) and is_other:
            self._save_again(entry, job)
            self._again(entry, now)

    def _save_again(self, entry: Entry, job: Job) -> None:
        self._waits.pop(job.id, None)
        self._trees.pop(entry, None)
        self._ledger.apply(job.id, Event.CHANGE, "its file was saved again", waiting_for=(), waiting_since=None)

    # -- settling and judging -------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Read what is complete, in the order of arrival; what is not yet is looked at again when it may be."""
        due = sorted((entry for entry in self._inbox.restless if entry.due <= now), key=lambda entry: entry.arrival)
        began = self._clock()
        for number in range(0, len(due), TOGETHER):
            if number and self._clock() - began > TURN_SECONDS:
                break
            steps = [step for entry in due[number : number + TOGETHER] for step in self._steps(entry, now)]
            with self._ledger.together():
                for step in steps:
                    step()
        for entry in self._inbox.restless:
            self._soon(entry.due)

    def _steps(self, entry: Entry, now: float) -> list[Step]:
        """Look, read and judge; what follows for the record, to be done together with others."""
        try:
            step = self._consider(entry, now)
        except OSError as error:
            if self._folders.health() is not None:
                raise
            step = self._troubled(entry, now, error)
        except Exception as fault:
            logger.exception("a fault in watchrender itself, over {}", entry.place)
            step = self._own_fault(entry, fault)
        return [] if step is None else [step]

    def _troubled(self, entry: Entry, now: float, error: OSError) -> Step | None:
        """The disk refuses this one file: patience first, then it is refused, or named."""
        if entry.unchanged_for(now) < self._pace.cut_off:
            self._again(entry, now + 0.5)
            return None
        return self._refuse(entry, self._cannot_open(entry, error))

    def _own_fault(self, entry: Entry, fault: Exception) -> Step | None:
        words = f"watchrender stumbled over {entry.name}: {type(fault).__name__}"
        cure = "Please report this with the file and the service's log; other jobs are not touched by it."
        return self._refuse(entry, fail(Code.JOB_INVALID, words, cure=cure))

    def _refuse(self, entry: Entry, failure: Failure) -> Step | None:
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun:
            self._ignore_entry(entry, failure.message)
            return None
        return lambda: self._reject(entry, job, failure)

    def _consider(self, entry: Entry, now: float) -> Step | None:
        if not self._look_at(entry, now):
            if entry in self._inbox.restless:
                self._again(entry, now + min(self._pace.scan, 0.5))
            return None
        if entry.role is Role.JOB:
            return self._settle_job(entry, now)
        if entry.role is Role.LETTER:
            return self._settle_letter(entry, now)
        if entry.is_dir and entry.role is Role.NEW:
            return self._settle_folder(entry, now)
        if entry.role in (Role.NEW, Role.SIDECAR):
            return self._settle_yaml(entry, now)
        self._rest(entry)
        return None

    def _is_settled(self, entry: Entry, now: float) -> bool:
        """Has this file kept its size and time for `settle`, and is there anything in it?"""
        if entry.unchanged_for(now) >= self._pace.settle and entry.stamp is not None and entry.stamp[0] > 0:
            return True
        at = entry.changed_at + self._pace.settle + 0.01
        self._again(entry, at if at > now else now + self._pace.scan)
        return False

    def _settle_yaml(self, entry: Entry, now: float) -> Step | None:
        """A job from the moment its `template:` can be seen; a sidecar only when it has settled without one."""
        data = self._read(entry)
        if isinstance(data, Failure):
            return self._unreadable(entry, data, now)
        if data is None:
            self._again(entry, now + 0.2)
            return None
        if self._judge.is_yaml_job(data):
            return self._yaml_is_a_job(entry, now)
        if len(data) > self._judge.max_job_size and not self._inbox_has_job(entry):
            self._ignore_entry(entry, "too large for a settings file, and no line in it begins with template:")
            return None
        is_empty_for_good = not data and entry.unchanged_for(now) >= self._pace.cut_off
        if is_empty_for_good or self._is_settled(entry, now):
            self._is_sidecar(entry)
        return None

    def _is_sidecar(self, entry: Entry) -> None:
        self._rest(entry)
        entry.role = Role.SIDECAR
        self._inbox.loose[entry] = None
        for other in self._inbox.called(entry.sub, *aliases(entry.name)):
            if other.role is Role.JOB and other in self._inbox.restless:
                other.due = 0.0  # it waited for these settings
                self._soon(self._clock())

    def _inbox_has_job(self, entry: Entry) -> bool:
        return any(other.role is Role.JOB for other in self._inbox.called(entry.sub, *aliases(entry.name)))

    def _yaml_is_a_job(self, entry: Entry, now: float) -> Step:
        found = self._look(entry)

        def meet() -> None:
            if found is not None and self._inbox.get(entry.sub, entry.name) is entry and entry.role is not Role.JOB:
                self._inbox.loose.pop(entry, None)
                self._meet_job(entry, Form.FILE, found)
                self._again(entry, now)

        return meet

    def _unreadable(self, entry: Entry, failure: Failure, now: float) -> Step | None:
        if entry.unchanged_for(now) < self._pace.cut_off:
            self._again(entry, now + 0.5)
            return None
        return self._refuse(entry, failure)

    def _settle_folder(self, entry: Entry, now: float) -> Step | None:
        """A folder not seen before: when its whole tree has been quiet, it is a bundle, a returned job or a
        sub-folder, for good."""
        path = self._path(entry)
        try:
            tree = self._sighting(entry, now)
        except PermissionError as error:
            self.ignored[entry.place] = f"cannot be read: {error.strerror or error}"
            self._again(entry, now + self._pace.scan)
            return None
        if tree is None:
            return None
        self.ignored.pop(entry.place, None)
        control = naming.control(entry.name, is_dir=True)
        if control is not None and tree.files == 0:
            entry.role = Role.CONTROL
            self._rest(entry)
            self._inbox.controls[entry] = None
            return None
        back = returned.read(path)
        if back is not None:
            return lambda: self._take_back(entry, back)
        shape = bundle.look(bundle.plain_files(path))
        if isinstance(shape, Failure) or shape.is_bundle:
            return lambda: self._meet_bundle(entry, now)
        if returned.is_ours(path, shape.status_files):
            self._ignore_entry(entry, letters.EMPTY_RETURN)
        elif (other := self._clash(entry)) is not None:
            self.ignored[entry.place] = f"{other} has this name already; give the folder another one"
            self._again(entry, now + 5 * self._pace.scan)
        else:
            return lambda: self._become_sub(entry)
        return None

    def _sighting(self, entry: Entry, now: float) -> settle.TreeSighting | None:
        """How a tree looks once it has been quiet; two looks, `settle` apart. None: not yet."""
        tree = settle.TreeSighting.of(bundle.bundle_listing(self._path(entry)), at=now)
        known = self._trees.get(entry)
        if known is not None and known.fingerprint == tree.fingerprint and now - known.at >= self._pace.settle:
            del self._trees[entry]
            return tree
        if known is None or known.fingerprint != tree.fingerprint:
            self._trees[entry] = known = tree
        self._again(entry, max(known.at + self._pace.settle + 0.01, now + 0.05))
        return None

    def _meet_bundle(self, entry: Entry, now: float) -> None:
        if self._inbox.get(entry.sub, entry.name) is entry:
            self._record(entry, Form.BUNDLE)
            entry.read_at = now  # it has just been quiet
            self._again(entry, now)

    def _clash(self, entry: Entry) -> str | None:
        """The job that a sub-folder of this name would share its folders with."""
        job = self._ledger.live_by_key(entry.place)
        if job is not None:
            return f"the job {job.key}"
        for top in (self._folders.done, self._folders.failed, self._folders.cancelled):
            if returned.is_ours(top / entry.place):
                return f"the job in {self._folders.relative(top / entry.place)}"
        return None

    def _take_back(self, entry: Entry, back: returned.Returned) -> None:
        """A job folder dragged back into the inbox: its files become a new job."""
        old = self._ledger.get(back.id)
        sub = old.sub if old is not None else entry.sub
        name = old.file if old is not None else entry.name
        try:
            dropped = returned.unpack(self._path(entry), back, self._folders.inbox_folder(sub), bundle_name=name)
        except OSError as error:
            self.ignored[entry.place] = f"a returned job that cannot be unpacked: {error.strerror or error}"
            self._again(entry, self._clock() + self._pace.scan)
            return
        self._inbox.drop(entry)
        place = f"{sub}/{dropped}" if sub else dropped
        self._ledger.know(retries={**self._ledger.facts().get("retries", {}), place: back.id})
        self._soon(self._clock())

    def _left_behind(self, entry: Entry) -> None:
        """At start: a letter of ours whose project has gone meanwhile."""
        project = entry.name[: -len(".WHY.txt")]
        path = self._path(entry)
        if entry.name.lower().endswith(".why.txt") and not os.path.lexists(path.with_name(project)):
            self._remove_if_ours(path, project)

    # -- a lone project -------------------------------------------------------------------------------------

    def _settle_letter(self, entry: Entry, now: float) -> Step | None:
        """A lone project: nobody can render it, so its owner gets the lines to write."""
        if not self._is_settled(entry, now):
            return None
        if any(
            other.role is Role.NEW and other.sub == entry.sub and other.seen_at >= entry.seen_at
            for other in self._inbox.restless
        ):
            self._again(entry, now + self._pace.settle)
            return None
        self._rest(entry)
        if self._is_mentioned(entry):
            self._remove_letter(entry)
            self.ignored.pop(entry.place, None)
            return None
        path = self._letter_path(entry)
        if not os.path.lexists(path):
            self._write_letter(path, letters.lone_project(entry.name))
        self.ignored[entry.place] = letters.LONE_PROJECT
        return None

    def _is_mentioned(self, entry: Entry) -> bool:
        path = naming.fold(os.path.normcase(str(self._path(entry))))
        paths = {job.template_path for job in self._ledger.live()}
        for number, job in enumerate(self._ledger.over()):
            if number >= 1000:
                break
            paths.add(job.template_path)
        return any(naming.fold(os.path.normcase(found)) == path for found in paths if found)

    def _letters_gone(self) -> None:
        """A letter goes when a job comes to refer to its project."""
        if not self._letters or not self._inbox.changed:
            return
        answered = [entry for entry in self._letters if self.ignored.get(entry.place) == letters.LONE_PROJECT]
        if answered:
            wanted = {os.path.normcase(job.template_path) for job in self._ledger.live() if job.template_path}
            for entry in answered:
                if os.path.normcase(str(self._path(entry))) in wanted:
                    self.ignored.pop(entry.place, None)
                    self._remove_letter(entry)

    def _letter_path(self, entry: Entry) -> Path:
        return self._path(entry).with_name(f"{entry.name}.WHY.txt")

    def _remove_letter(self, entry: Entry) -> None:
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

    # -- a job ----------------------------------------------------------------------------------------------

    def _settle_job(self, entry: Entry, now: float) -> Step | None:
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun or job.state is State.RENDERING:
            self._rest(entry)
            return None
        if job.state is State.QUEUED:
            return self._read_once_more(entry, job, now)
        if job.state is State.VALIDATING:
            return self._judge_now(entry, job, now)
        settling = self._sidecars.settling(job, now)
        if settling is not None:
            self._again(entry, now + min(self._pace.settle, 0.5))
            return self._waits_for(job, f"{settling}, its settings, is still being written")
        if job.form is Form.FILE:
            return self._settle_file(entry, job, now)
        if job.form is Form.BUNDLE:
            return self._settle_bundle(entry, job, now)
        return self._settle_zip(entry, job, now)

    def _read_once_more(self, entry: Entry, job: Job, now: float) -> Step | None:
        """A file taken at first sight may have been saved again within the same tick of its time."""
        if job.form is not Form.FILE or entry.read_at is None:
            self._rest(entry)
            return None
        at = entry.read_at + READ_AGAIN_SECONDS
        if now < at:
            entry.due = at
            self._soon(at)
            return None
        entry.read_at = None
        self._rest(entry)
        data = self._read(entry)
        if not isinstance(data, bytes) or job.digest is None or self._judge.digest(data) == job.digest:
            return None

        def save_again() -> None:
            current = self._ledger.get(job.id)
            if current is not None and current.state is State.QUEUED and not current.begun:
                self._save_again(entry, current)
                self._again(entry, now)

        return save_again

    def _settle_bundle(self, entry: Entry, job: Job, now: float) -> Step | None:
        if entry.read_at is None and self._sighting(entry, now) is None:
            return None
        entry.read_at = None
        return self._judge_now(entry, job, now)

    def _settle_zip(self, entry: Entry, job: Job, now: float) -> Step | None:
        if not self._is_settled(entry, now) or self._looks_other_when_opened(entry, now):
            return None
        if bundle.zip_complete(self._path(entry)) is Completeness.CUT_OFF:
            left = self._pace.cut_off - entry.unchanged_for(now)
            if left > 0:
                self._again(entry, now + left + 0.01)
                return None
        return self._judge_now(entry, job, now)

    def _looks_other_when_opened(self, entry: Entry, now: float) -> bool:
        """A share may answer looks from memory; the opened file tells."""
        found = read(self._path(entry), 0)
        if found is not None and not entry.saw(found[1], now):
            return False
        self._again(entry, now + self._pace.settle)
        return True

    def _settle_file(self, entry: Entry, job: Job, now: float) -> Step | None:
        """A job file: JSON that parses is complete, all else waits."""
        size = entry.stamp[0] if entry.stamp is not None else 0
        if size == 0:
            self._again(entry, now + self._pace.scan)
            return self._waits_for(job, "the file is empty: it is still being written, or has nothing in it")
        if size > self._judge.max_job_size:
            if not self._is_settled(entry, now):
                return None
            return self._refuse(entry, self._judge.too_large(job.file, size))
        data = self._read(entry)
        if data is None:
            self._again(entry, now + 0.2)
            return None
        if isinstance(data, Failure):
            return self._unreadable(entry, data, now) or self._waits_for(job, data.message)
        ready = settle.ready(
            self._judge.completeness(data, job.file),
            unchanged_for=entry.unchanged_for(now),
            settle=self._pace.settle,
            cut_off=self._pace.cut_off,
        )
        if ready.verdict is Verdict.WAIT:
            self._again(entry, now + max(ready.wait_seconds + 0.01, 0.05))
            return None
        entry.read_at = now
        return self._judge_now(entry, job, now, data)

    def _read(self, entry: Entry) -> bytes | Failure | None:
        """The bytes of a file, by one open; None if it changes or is gone; a failure if it may not be read."""
        self._aside.alive()
        try:
            found = read(self._path(entry), self._judge.max_job_size + 1)
        except OSError as error:
            if self._folders.health() is not None:
                raise
            return self._cannot_open(entry, error)
        if found is None:
            return None
        data, seen = found
        if entry.stamp is not None and seen.stamp[:2] != entry.stamp[:2]:
            entry.changed_at = self._clock()
        entry.stamp = seen.stamp
        return data

    def _cannot_open(self, entry: Entry, error: OSError) -> Failure:
        return fail(
            Code.JOB_UNREADABLE,
            f"{entry.name} cannot be opened: {error.strerror or error}",
            cure="Give the service's user the right to read it, or close the program that holds it; then drop it anew.",
        )

    def _waits_for(self, job: Job, what: str) -> Step | None:
        if job.waiting_for == (what,):
            return None
        return lambda: self._note(job, waiting_for=(what,))

    def _note(self, job: Job, **changes: Any) -> None:
        current = self._ledger.get(job.id)
        if current is not None and current.state is job.state:
            self._ledger.note(job.id, **changes)

    def _judge_now(self, entry: Entry, job: Job, now: float, data: bytes | None = None) -> Step | None:
        """Read and judge: into the queue, into failed/, or waiting for footage."""
        if job.form is Form.FILE and data is None:
            found = self._read(entry)
            if not isinstance(found, bytes):
                self._again(entry, now + 0.2)
                return None
            data = found
        sidecar, failure, name = self._sidecars.of(job)
        judged = failure or self._judge.judge(job, self._path(entry), data, sidecar)
        stamp = entry.stamp
        self._rest(entry)

        def decide() -> None:
            current = self._ledger.get(job.id)
            if current is None or current.begun or current.state is not job.state:
                return  # cancelled, or taken by a repair, since it was read
            if current.state is State.PENDING:
                current = self._ledger.apply(job.id, Event.CHECK, "complete", waiting_for=(), stamp=stamp)
            self._decide(entry, current, judged, name, now)

        return decide

    def _decide(self, entry: Entry, job: Job, judged: Judged | Failure, sidecar: str | None, now: float) -> None:
        if isinstance(judged, Failure):
            self._reject(entry, self._ledger.note(job.id, sidecar=sidecar), judged)
        elif judged.failure is not None:
            self._reject(entry, self._ledger.note(job.id, **judged.fields), judged.failure)
        elif judged.waiting_for:
            self._wait_for_footage(entry, job, judged, now)
        else:
            self._accept(entry, job, judged, now)

    def _accept(self, entry: Entry, job: Job, judged: Judged, now: float) -> None:
        self._waits.pop(job.id, None)
        queued = self._ledger.apply(
            job.id,
            Event.ACCEPT,
            judged.why,
            queued_at=job.queued_at or self._ledger.stamp(),
            waiting_for=(),
            waiting_since=None,
            **judged.fields,
        )
        logger.bind(job=job.id).info("{} queued, priority {} ({})", queued.key, queued.priority, queued.priority_from)
        if entry.read_at is not None and job.form is Form.FILE:
            self._again(entry, now + READ_AGAIN_SECONDS)
        self._supersede(queued)
        self._gate.wake.set()

    def _wait_for_footage(self, entry: Entry, job: Job, judged: Judged, now: float) -> None:
        since = job.waiting_since or self._ledger.stamp()
        started = self._waits.get(job.id)
        if started is None:
            # What it waited before a restart counts, as far as the wall clock can be believed.
            waited = max(0.0, clocks.seconds_between(since, self._ledger.stamp()))
            started = self._waits[job.id] = now - min(waited, self._pace.assets_deadline)
        if now - started >= self._pace.assets_deadline and judged.missing is not None:
            self._waits.pop(job.id, None)
            self._reject(entry, self._ledger.note(job.id, **judged.fields), judged.missing)
            return
        if job.waiting_for != judged.waiting_for or job.waiting_since is None:
            self._ledger.note(job.id, waiting_for=judged.waiting_for, waiting_since=since, **judged.fields)
        self._again(entry, now + max(FOOTAGE_SECONDS, len(self._waits) / FOOTAGE_A_SECOND))

    def _reject(self, entry: Entry, job: Job, failure: Failure) -> None:
        """It does not pass: its end is recorded once its files lie in failed/ (the closer moves them)."""
        current = self._ledger.get(job.id)
        if current is None or current.over or current.begun:
            return
        if current.state is State.PENDING:
            current = self._ledger.apply(
                job.id, Event.CHECK, "judged as it is", waiting_for=(), stamp=entry.stamp, sidecar=job.sidecar
            )
        self._rest(entry)
        self._waits.pop(job.id, None)
        logger.bind(job=job.id).info("{} refused: {}", current.key, failure.message)
        self._rejected.append((current, failure))

    def _close_rejected(self) -> None:
        """Moves come last: whoever waits for the record must not wait for a slow share."""
        rejected, self._rejected = self._rejected, []
        for job, failure in rejected:
            self._aside.alive()
            self._closer.reject(job, failure)

    # -- leaving the inbox ----------------------------------------------------------------------------------

    def _withdraw(self, now: float) -> None:
        """Gone by a direct look in two scans at least `settle` apart, the inbox healthy: its owner took it back."""
        for entry in list(self._inbox.gone):
            job = self._ledger.get(entry.job_id or "")
            if job is None or job.over or job.begun or job.state is State.RENDERING or entry.gone_at is None:
                self._inbox.gone.pop(entry, None)
                continue
            if now - entry.gone_at < self._pace.settle:
                self._soon(entry.gone_at + self._pace.settle + 0.01)
                continue
            if self._look(entry) is not None:
                entry.gone_at = None
                self._inbox.gone.pop(entry, None)
                self._again(entry, now)
                continue
            if self._folders.health() is not None:
                return  # it went while we looked, and everything with it
            self._inbox.forget_job(job.id)
            self._put_before_away(job)
            self._ledger.apply(
                job.id,
                Event.CANCEL,
                f"withdrawn: {entry.name} was taken out of the inbox",
                finished_at=self._ledger.stamp(),
                folder="",
                waiting_for=(),
            )

    def _put_before_away(self, job: Job) -> None:
        """A returned job that is withdrawn: what lay beside its file is somebody's, and must not stay hidden."""
        rest = self._folders.inbox_folder(job.sub) / before_name(job.file)
        if rest.is_dir():
            try:
                disk.rename(rest, self._folders.target(State.CANCELLED, job.sub, job.name))
            except OSError as error:
                logger.warning("{} stays hidden: {}", str(rest), error.strerror or str(error))

    def _supersede(self, job: Job) -> None:
        for old in self._judge.superseded(job):
            try:
                self._control.cancel(
                    old.id, by="a newer drop", superseded_by=job.id, why=f"superseded by {job.key} ({job.id})"
                )
            except (Denied, KeyError):
                continue
