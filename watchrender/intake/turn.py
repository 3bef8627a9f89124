"""One look at the inbox after another: what came, what went, what is due.

What is quiet costs nothing: a turn looks at what came, what went, what is `restless` and due, and at a few others in
rotation. Looking, reading and judging may take as long as a share likes, so they are done without the ledger's lock and
aside from whoever asked for the turn; what follows from them is recorded together.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.control import Control
from watchrender.core import letters, naming
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Job
from watchrender.core.states import Event, State
from watchrender.gate import Gate
from watchrender.intake.admission import Admission
from watchrender.intake.arrivals import TOGETHER, Arrivals
from watchrender.intake.beside import Beside
from watchrender.intake.orders import Orders
from watchrender.intake.projects import Projects
from watchrender.intake.room import Desk
from watchrender.intake.settling import Settling
from watchrender.intake.sidecars import Sidecars
from watchrender.intake.watch import Pace, Watch
from watchrender.judge import Judge
from watchrender.ledger.ledger import Change, Ledger
from watchrender.spool.folders import Folders, before_name
from watchrender.spool.inbox import Entry, Role
from watchrender.spool.watcher import Aside, Hung, Listing, Scanner

#: Quiet entries are looked at again in rotation, so many a turn: a save that no event told of is found.
LOOKS_A_TURN = 400
#: So much is read before what follows is recorded.
BYTES_TOGETHER = 2 * 1024 * 1024
#: Reading and judging go on for so long before the next turn begins.
TURN_SECONDS = 1.0
#: How long an event may come after the scan that found the same thing.
HEARD_WITHIN_SECONDS = 1.5


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
        is_told: Callable[[Job], bool] = lambda _job: True,
        clock: Callable[[], float] = time.monotonic,
        limit: float = 20.0,
        dated: bool = False,
    ) -> None:
        """`dated`: a folder of the inbox tells by its own time that nothing came or went in it."""
        self._ledger = ledger
        self._gate = gate
        self._closer = closer
        self._aside = Aside("inbox", limit=limit)
        watch = self._watch = Watch(
            folders=folders, pace=pace, clock=clock, alive=self._aside.alive, max_job_size=judge.max_job_size
        )
        self._inbox = watch.inbox
        self._folders = watch.folders
        self._pace = watch.pace
        self._clock = watch.clock
        self._beside = Beside(watch)
        desk = Desk(
            watch=watch, ledger=ledger, judge=judge, gate=gate, control=control, closer=closer, beside=self._beside
        )
        self._projects = Projects(desk)
        self._arrivals = Arrivals(desk, projects=self._projects, ignore=ignore)
        self._orders = Orders(desk, unsure=lambda: self._arrivals.unseen_subs, is_told=is_told)
        self._sidecars = Sidecars(desk, put_back=put_back, started_at=started_at)
        self._admission = Admission(desk, sidecars=self._sidecars, meet_namesakes=self._arrivals.meet_namesakes)
        self._settling = Settling(desk, arrivals=self._arrivals, admission=self._admission, projects=self._projects)
        self._scanner = Scanner(folders.inbox, dated=dated)
        self._agreed: tuple[Listing, int] | None = None  # a listing that the inbox, in this edition, agreed with
        self._rotation: Iterator[Entry] = iter(())
        self._hinted: set[str] = set()
        self._heard_jobs: dict[str, bool] = {}  # whatever the ledger told of since the last turn: does it wait here?
        self._handed = threading.Lock()
        self.ignored = watch.ignored
        self.events_missed = 0  # things that no event told of, since one was heard
        self.scanned_at: float | None = None
        self._know_again()
        ledger.listen(self._heard)

    def announce(self, sub: str, name: str) -> Job:
        """Record a job whose file is about to be written (POST /jobs): its id is known before the file is there."""
        return self._arrivals.announce(sub, name)

    def is_free_key(self, sub: str, name: str) -> bool:
        """Would a file of this name get the key that it asks for?"""
        return self._arrivals.is_free_key(sub, name)

    def expect_sub(self, sub: str) -> None:
        """A file is about to be written into this sub-folder: it is one from now on, and no bundle, even where the
        first thing in it is a `job.json`. Raises ValueError where a job has its name."""
        parts = sub.split("/") if sub else []
        for place in ("/".join(parts[: number + 1]) for number in range(len(parts))):
            if (other := self._settling.clash(place)) is not None:
                raise ValueError(f"{other} has the name {place!r} already; take another sub-folder")
            self._arrivals.expect_sub(place)

    @property
    def scan_seconds(self) -> float:
        """How long it took to read the names in the inbox."""
        return self._scanner.seconds

    def hurry(self) -> None:
        """The service ends: a turn that shows no sign of life is not waited for. May be called by a signal handler."""
        self._aside.hurry()

    def close(self) -> None:
        self._aside.stop()

    def _heard(self, change: Change) -> None:
        """The ledger tells of a change, on any thread: remembered until the next turn."""
        if change.progress:
            return
        job = change.job
        self._heard_jobs[job.id] = not (job.begun or job.over or job.state is State.RENDERING)
        if job.marked_hold:
            self._orders.marked.add(job.id)
        else:
            self._orders.marked.discard(job.id)

    def _know_again(self) -> None:
        """At start: what the record says lies in the inbox. Its files are looked for like any others."""
        for job in self._ledger.live():
            parts = job.sub.split("/") if job.sub else []
            self._arrivals.subs |= {"/".join(parts[: depth + 1]) for depth in range(len(parts))}
            if not job.begun:
                self._arrivals.expect(job)
                self._sidecars.know_again(job)

    def turn(self, hinted: Iterable[str] = ()) -> float:
        """Look once, do what is due. Returns seconds until the next turn is due. Raises nothing."""
        with self._handed:
            self._hinted.update(hinted)
        try:
            return float(self._aside.do(self._turn))
        except Hung as hung:
            if self._aside.hurried:
                return self._pace.scan  # whoever asked ends anyway
            self._offline(fail(Code.SHARE_OFFLINE, f"{self._folders.inbox} hangs: {hung.strerror}"))
            return self._pace.scan

    def _turn(self) -> float:
        try:
            away = any(known.code is Code.SHARE_OFFLINE for known in self._gate.waiting())
            offline = self._folders.health(proven=away)
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
        listing = self._scanner.scan(self._is_sub, self._aside.alive)
        now = self.scanned_at = self._clock()
        self._arrivals.unseen_subs = False
        self._watch.next_look = None
        with self._handed:
            hinted, self._hinted = self._hinted, set()
        self._recall(hinted, listing, now)
        self._jobs_changed()
        fresh = self._compare(listing, now)
        if fresh:
            self._arrivals.arrive(fresh, now)
        elif not self._inbox.crowd:
            self._arrivals.rest()
        if self._agreed != (listing, self._inbox.edition) and self._inbox.agrees_with(listing):
            self._agreed = (listing, self._inbox.edition)
        self._look_around(now)
        if self._inbox.controls or self._orders.marked:
            self._orders.marks()  # before anything is accepted: a mark that came with its job must not be late
        self._settle(now)
        for entry, job, failure in self._sidecars.turn(now):
            self._admission.reject(entry, job, failure)
        self._projects.answered()
        if self._inbox.changed or self._inbox.controls or self._orders.marked:
            self._arrivals.meet_who_is_meant(now)
            self._inbox.changed = False
            self._orders.marks()
            self._orders.turn(now)
        self._withdraw(now)
        self._admission.close_rejected()
        self._count_unheard(now)
        self._arrivals.first = False
        return min(
            self._pace.scan,
            max(0.02, (self._watch.next_look or now + self._pace.scan) - self._clock()),
        )

    def _is_sub(self, sub: str) -> bool:
        return sub in self._arrivals.subs

    def _recall(self, hinted: Iterable[str], listing: Listing, now: float) -> None:
        """What the events named is looked at again."""
        root = f"{self._folders.inbox}{os.sep}"
        self._arrivals.told_of.clear()
        for path in hinted:
            if not path.startswith(root):
                continue
            place = path[len(root) :].replace(os.sep, "/")
            self._arrivals.told_of.add(place)
            sub, _, name = place.rpartition("/")
            if name in listing.subs.get(sub, ()):  # else it may be our own claim: that is heard on every share
                self.events_missed = 0
                self._arrivals.unheard.pop(place, None)
            parts = place.split("/")
            for depth in range(len(parts)):
                entry = self._inbox.get("/".join(parts[:depth]), parts[depth])
                if entry is not None and entry.role in (Role.NEW, Role.JOB, Role.SIDECAR, Role.LETTER):
                    entry.due = min(entry.due, now)
                    self._inbox.restless[entry] = None

    def _count_unheard(self, now: float) -> None:
        """Does anybody tell us of changes here? What only scans find says that nobody does."""
        for place, found in list(self._arrivals.unheard.items()):
            if now - found >= HEARD_WITHIN_SECONDS:
                del self._arrivals.unheard[place]
                self.events_missed += 1

    def _jobs_changed(self) -> None:
        """Whatever others did to jobs since the last turn: started, cancelled, closed, put back."""
        heard, self._heard_jobs = self._heard_jobs, {}
        for job_id, waits in list(heard.items()):
            entry = self._inbox.by_job.get(job_id)
            if waits and entry is not None:  # most: what we have just read, or judged
                self._sidecars.beside_changed(entry.sub, entry.name, is_dir=entry.is_dir)
                continue
            job = self._ledger.get(job_id)
            if job is None or job.begun or (job.over and self._closer.is_closed(job)):
                self._inbox.forget_job(job_id)
            elif not (job.over or job.state is State.RENDERING or job_id in self._inbox.by_job):
                self._lost_sight_of(job)
            if job is not None:
                self._sidecars.job_changed(job)
                if job.over:
                    self._admission.waits.pop(job_id, None)
        if heard:
            self._inbox.changed = True

    def _lost_sight_of(self, job: Job) -> None:
        """Put back before it was claimed: its file should lie in the inbox."""
        if self._inbox.get(job.sub, job.file) is None:
            self._arrivals.expect(job)

    def _compare(self, listing: Listing, now: float) -> list[Entry]:
        """New names become entries; names that are missing are marked gone, after a direct look."""
        fresh = [] if self._agreed == (listing, self._inbox.edition) else self._compare_names(listing, now)
        for entry in [entry for entry in self._inbox.gone if entry.name in listing.subs.get(entry.sub, ())]:
            if self._inbox.get(entry.sub, entry.name) is entry and entry.is_still(self._watch.look(entry)):
                entry.gone_at = None
                self._inbox.gone.pop(entry, None)
                self._watch.again(entry, now)
        self._subs_gone(listing)
        for sub in listing.refused:
            self.ignored[sub] = letters.UNREADABLE_FOLDER
        return sorted(fresh, key=lambda entry: (naming.natural_key(entry.sub), naming.natural_key(entry.name)))

    def _compare_names(self, listing: Listing, now: float) -> list[Entry]:
        fresh: list[Entry] = []
        stamp = self._ledger.stamp()
        for sub, names in listing.subs.items():
            known, folders = self._inbox.subs.get(sub, {}), listing.folders[sub]
            if folders != self._inbox.folders.get(sub, set()):
                for name in [name for name in known if name in names and known[name].is_dir != (name in folders)]:
                    self._is_another(known[name], now)
                known = self._inbox.subs.get(sub, {})
            if known.keys() == names:
                continue
            new = names - known.keys() - self._inbox.crowd.names(sub)
            fresh += [Entry(sub=sub, name=name, is_dir=name in folders, seen_at=now, created_at=stamp) for name in new]
            folded = {naming.fold(name) for name in new} if len(new) < 50 else set()
            for name in known.keys() - names:
                self._missed(known[name], now, renamed=naming.fold(name) in folded)
        for sub in [sub for sub in self._inbox.subs if sub not in listing.subs]:
            for entry in list(self._inbox.subs[sub].values()):
                self._missed(entry, now)
        return fresh

    def _subs_gone(self, listing: Listing) -> None:
        if not self._arrivals.first:
            self._arrivals.forget_subs(listing.subs.keys())
        for sub in [sub for sub, why in self.ignored.items() if why == letters.UNREADABLE_FOLDER]:
            if sub not in listing.refused:
                del self.ignored[sub]

    def _is_another(self, entry: Entry, now: float) -> None:
        """A folder lies where a file lay, or the other way round: what lay there is gone."""
        job = self._ledger.get(entry.job_id or "") if entry.role is Role.JOB else None
        if job is None or job.begun or job.over or job.state is State.RENDERING:
            self._forget(entry)
            return
        self._watch.trees.pop(entry, None)
        self._inbox.set_aside(entry)
        self._watch.gone(entry, now)

    def _missed(self, entry: Entry, now: float, *, renamed: bool = False) -> None:
        """A name that the listing does not have. `renamed`: it has one that differs by case only."""
        self.ignored.pop(entry.place, None)
        if entry.role is Role.JOB and entry.job_id is not None:
            job = self._ledger.get(entry.job_id)
            if job is not None and not job.begun and not (job.over and self._closer.is_closed(job)):
                # Over or rendering: its files are on their way out of the inbox.
                is_ours = job.over or job.state is State.RENDERING
                if not is_ours and entry.gone_at is None and (renamed or self._watch.look(entry) is None):
                    self._watch.gone(entry, now)
                return
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self.ignored.pop(entry.place, None)
        self._watch.trees.pop(entry, None)
        self._inbox.drop(entry)
        if entry.role is Role.SIDECAR:
            self._sidecars.gone(entry)
        elif entry.role is Role.LETTER:
            self._projects.waiting.pop(entry, None)
            self._beside.remove(entry)
        elif entry in self._settling.clashes:
            self._settling.clash_over(entry)

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
                self._settling.look_at(quiet, now)

    def _settle(self, now: float) -> None:
        """Read what is complete: what may be settings, then jobs that have not been read, the crowd, and jobs that have
        been read before, each in the order of arrival, and some of each in every turn. What is not complete yet is
        looked at again when it may be."""
        ends = self._clock() + TURN_SECONDS
        due = sorted((entry for entry in self._inbox.restless if entry.due <= now), key=lambda entry: entry.arrival)
        others = [entry for entry in due if entry.role is not Role.JOB]  # some may be settings that jobs wait for
        unread = [entry for entry in due if entry.role is Role.JOB and entry.read_at is None]
        read_before = [entry for entry in due if entry.role is Role.JOB and entry.read_at is not None]
        self._read_and_judge(others, now, ends)
        self._read_and_judge(unread, now, ends)
        while self._inbox.crowd:
            met = self._arrivals.meet_some(now)
            self._read_and_judge([entry for entry in met if entry in self._inbox.restless], now, ends, met=True)
            if self._clock() > ends:
                break
        self._read_and_judge(read_before, now, ends)
        if self._inbox.crowd:
            self._watch.soon(now)
        for entry in self._inbox.restless:
            self._watch.soon(entry.due)

    def _read_and_judge(self, entries: list[Entry], now: float, ends: float, *, met: bool = False) -> None:
        """A portion at least, and more until then. `met`: they have just been looked at."""
        for portion in _portions(entries):
            steps = [step for entry in portion for step in self._settling.steps(entry, now, met=met)]
            with self._ledger.together():
                for step in steps:
                    step()
            if self._clock() > ends:
                break

    def _withdraw(self, now: float) -> None:
        """Gone by a direct look in two scans at least `settle` apart, the inbox healthy: its owner took it back."""
        for entry in list(self._inbox.gone):
            job = self._ledger.get(entry.job_id or "")
            if job is None or job.over or job.begun or job.state is State.RENDERING or entry.gone_at is None:
                self._inbox.gone.pop(entry, None)
                continue
            if now - entry.gone_at < self._pace.settle:
                self._watch.soon(entry.gone_at + self._pace.settle + 0.01)
                continue
            found = self._watch.look(entry)
            if entry.is_still(found) and self._inbox.get(entry.sub, entry.name) is entry:
                entry.gone_at = None
                self._inbox.gone.pop(entry, None)
                self._watch.again(entry, now)
                continue
            if self._folders.health() is not None:
                return  # it went while we looked, and everything with it
            self._inbox.forget_job(job.id)
            self._put_before_away(job)
            self._ledger.apply(
                job.id,
                Event.CANCEL,
                f"withdrawn: {entry.name} {'was taken out of the inbox' if found is None else 'is something else now'}",
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


def _portions(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Those that are read and judged before what follows is recorded: what was read is in memory until then."""
    portion: list[Entry] = []
    size = 0
    for entry in entries:
        portion.append(entry)
        size += entry.stamp[0] if entry.stamp is not None else 0
        if len(portion) >= TOGETHER or size >= BYTES_TOGETHER:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
