"""What has just come into the inbox: its role, and whether it is a new job, a known one, or an old one renamed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.core import letters, naming
from watchrender.core.job import Form, Job
from watchrender.core.naming import Kind, Order
from watchrender.intake.projects import Projects
from watchrender.intake.room import Desk, Room
from watchrender.intake.taken import Taken
from watchrender.spool.folders import before_name, holds_nothing
from watchrender.spool.inbox import Entry, Role
from watchrender.spool.watcher import Look

#: So many are looked at before what follows is recorded.
TOGETHER = 200
#: A sub-folder that was announced and has not been seen for so long was never made.
EXPECTED_SECONDS = 60.0


class Arrivals(Room):
    """New names in the inbox."""

    def __init__(self, desk: Desk, *, projects: Projects, ignore: tuple[str, ...]) -> None:
        super().__init__(desk)
        self._projects = projects
        self._ignore = ignore
        self._taken = Taken(desk.watch.folders, desk.ledger)
        self.subs: frozenset[str] = frozenset(desk.ledger.facts().get("subs", ()))
        self._expected: dict[str, float] = {}  # those that are about to be made, and since when
        self._naming = threading.Lock()  # of sub-folders: by the scan, and by POST /jobs on a thread of its own
        self.first = True  # the first turn of this life: what is found then was there before
        self.unseen_subs = False  # a sub-folder has just been found: what is in it comes with the next scan
        self.told_of: set[str] = set()  # by events, before this turn
        self.unheard: dict[str, float] = {}  # found by the scan alone, so far

    def expect(self, job: Job) -> Entry:
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
        free = self._free_names(entry)
        # A file of the crowd was there before, though nobody has given it a name yet.
        own = next(found for found in free if not self._inbox.crowd.called(sub, f"{found}.json"))
        return self.record(entry, Form.FILE, name=own)

    def rest(self) -> None:
        """Nothing came: what is known of our own folders is looked at, so that nobody has to wait for it later."""
        self._taken.look_again()

    def arrive(self, fresh: list[Entry], now: float) -> None:
        """Number new names in natural order, `sh2` before `sh10`, and give each that may say something of others
        (settings, marks, orders, folders) its role. Jobs join the crowd: they are met a portion at a time, or all at
        once where something in the inbox may be about one of them."""
        others: dict[Entry, Kind] = {}
        jobs: dict[Entry, Kind] = {}
        for entry in fresh:
            kind = naming.classify(entry.name, is_dir=entry.is_dir, extra_ignore=self._ignore)
            entry.arrival = self._ledger.take_arrival()
            if kind is not Kind.IGNORED and not self.first and entry.place not in self.told_of:
                self.unheard.setdefault(entry.place, now)
            (jobs if kind in (Kind.JOB, Kind.ZIP) else others)[entry] = kind
        for number in range(0, len(others), TOGETHER):
            self._meet(dict(islice(others.items(), number, number + TOGETHER)), now)
        # What may take the place of an older job is judged after it.
        self._inbox.crowd.join(jobs, in_front=not self._judge.replaces)
        self.meet_who_is_meant(now)

    def meet_who_is_meant(self, now: float) -> None:
        """All of the crowd, where something in the inbox may be about one of them, or one of them may be a job that has
        another name now."""
        controls = (naming.control(entry.name, is_dir=entry.is_dir) for entry in self._inbox.controls)
        if self._inbox.gone or any(found is not None and found.order is not Order.PAUSE for found in controls):
            while self._inbox.crowd:
                self.meet_some(now)

    def meet_some(self, now: float) -> list[Entry]:
        """Record the next jobs of the crowd."""
        portion = self._inbox.crowd.next(TOGETHER)
        self._meet(portion, now)
        return list(portion)

    def meet_namesakes(self, sub: str, file: str, now: float) -> None:
        """Record those of the crowd that become a job of the name that this file's would have: they came before it was
        known what this is, or are meant by it."""
        if found := self._inbox.crowd.called(sub, file):
            self._meet(self._inbox.crowd.kinds(found), now)

    def _meet(self, portion: Mapping[Entry, Kind], now: float) -> None:
        looked = [
            (entry, kind, None if kind is Kind.IGNORED else self._watch.look(entry)) for entry, kind in portion.items()
        ]
        self._inbox.crowd.leave(portion)  # not before: a share that refuses a look must not change the order
        with self._ledger.together():
            for entry, kind, found in looked:
                self._classify(entry, kind, found, now)

    def _classify(self, entry: Entry, kind: Kind, found: Look | None, now: float) -> None:
        if kind is Kind.IGNORED:
            entry.role = Role.OTHER
            self._inbox.add(entry)
            if self.first:
                self._beside.left_behind(entry)
            return
        if found is None or found.is_dir != entry.is_dir:
            self.unheard.pop(entry.place, None)
            return  # gone already, or another thing, which the next listing tells
        self._inbox.add(entry)
        entry.saw(found, now)
        if not found.regular:
            self._watch.ignore(entry, letters.NOT_PLAIN)
        elif kind is Kind.CONTROL and self._is_control(entry):
            entry.role = Role.CONTROL
            self._inbox.controls[entry] = None
        elif kind in (Kind.FOLDER, Kind.CONTROL):
            self._meet_folder(entry, found, now)
        elif kind is Kind.LETTER:
            entry.role = Role.LETTER
            self._projects.waiting[entry] = None
            self._watch.again(entry, now + self._pace.settle)
        elif kind in (Kind.JOB, Kind.ZIP):
            self.meet_job(entry, Form.ZIP if kind is Kind.ZIP else Form.FILE, found)
            self._watch.again(entry, now)
        elif kind is Kind.YAML:
            self._inbox.call(entry)
            self._watch.again(entry, now)  # a job or a sidecar: its content tells
        else:
            self._watch.ignore(entry, letters.NO_JOB_FILE)

    def _is_control(self, entry: Entry) -> bool:
        """A file always; a folder if nothing is in it (somebody's folder is never taken away), or if it only stands."""
        control = naming.control(entry.name, is_dir=entry.is_dir)
        if not entry.is_dir or (control is not None and control.standing and entry.place not in self.subs):
            return True
        try:
            return holds_nothing(self._watch.path(entry))
        except OSError:
            return False

    def _meet_folder(self, entry: Entry, found: Look, now: float) -> None:
        renamed = self._renamed(entry, found)
        if renamed is not None:
            self._reattach(entry, renamed, f"renamed to {entry.name}")
        elif (known := self._known(entry)) is not None:
            self._reattach(entry, known, None)
        elif entry.place in self.subs:
            entry.role = Role.SUB
        elif self.first and not self._ledger.facts().get("subs") and (self._folders.status / entry.place).is_dir():
            self.become_sub(entry)  # the record is lost, but this was a sub-folder before
        else:
            self._inbox.call(entry)
            self._watch.again(entry, now)

    def become_sub(self, entry: Entry) -> None:
        entry.role = Role.SUB
        self._watch.rest(entry)
        self.know_sub(entry.place)
        self.unseen_subs = True
        self._watch.soon(self._clock())

    def know_sub(self, place: str) -> None:
        """This is a sub-folder, for good."""
        with self._naming:
            if place not in self.subs:
                self.subs = self.subs | {place}  # others read it meanwhile: a set is never changed, there is a new one
                self._ledger.know(subs=sorted(self.subs))

    def expect_sub(self, place: str) -> None:
        """It is about to be made. A listing that began before does not have it, which says nothing."""
        with self._naming:
            self._expected = {**self._expected, place: self._clock()}
        self.know_sub(place)

    def forget_subs(self, there: Collection[str]) -> None:
        """All that are not there."""
        with self._naming:
            now = self._clock()
            self._expected = {
                place: at for place, at in self._expected.items() if place not in there and now - at < EXPECTED_SECONDS
            }
            gone = self.subs - set(there) - self._expected.keys()
            if gone:
                self.subs = self.subs - gone
                self._ledger.know(subs=sorted(self.subs))

    def meet_job(self, entry: Entry, form: Form, found: Look) -> Job:
        """A new job, an old one under a new name, or one that the record already knows."""
        renamed = self._renamed(entry, found)
        if renamed is not None:
            return self._reattach(entry, renamed, f"renamed to {entry.name}")
        known = self._replaced(entry) if form is Form.FILE else None
        if known is not None:
            entry.read_at = float("-inf")  # what is in it may be new too: it is read again, and judged if so
            return self._reattach(entry, known, f"another file came for it, {entry.name}")
        known = self._known(entry)
        if known is not None:
            return self._reattach(entry, known, None)
        return self.record(entry, form)

    def meet_bundle(self, entry: Entry, now: float) -> None:
        if self._inbox.get(entry.sub, entry.name) is entry:
            self.record(entry, Form.BUNDLE)
            entry.read_at = now  # it has just been quiet
            self._watch.again(entry, now)

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

    def _replaced(self, entry: Entry) -> Job | None:
        """The job whose file went away while one of the same name, with another mark, came: renamed and saved."""
        name = naming.fold(naming.parse_name(entry.name).name)
        for other in self._inbox.gone:
            job = self._ledger.get(other.job_id or "")
            if other.sub != entry.sub or job is None or job.form is not Form.FILE or job.over or job.begun:
                continue
            if naming.fold(naming.parse_name(other.name).name) == name:
                return job
        return None

    def _same_content(self, entry: Entry, job: Job) -> bool:
        data = self._watch.read(entry)
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

    def record(self, entry: Entry, form: Form, **extra: Any) -> Job:
        with self._ledger.together():
            name = extra.pop("name", None) or next(self._free_names(entry))
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

    def _free_names(self, entry: Entry) -> Iterator[str]:
        """What may be the key's last part: free among jobs not over, in done/, and not a sub-folder's name."""
        base = naming.fit(naming.parse_name(entry.name, is_dir=entry.is_dir).name)
        return (name for name in naming.candidates(base) if self._is_free(entry.sub, name))

    def is_free_key(self, sub: str, name: str) -> bool:
        """Would a file of this name get the key that it asks for?"""
        return self._is_free(sub, naming.fit(naming.parse_name(name).name))

    def _is_free(self, sub: str, name: str) -> bool:
        key = f"{sub}/{name}" if sub else name
        return not (self._ledger.has_live(key) or self._is_a_sub(key) or self._taken.is_taken(sub, name))

    def _is_a_sub(self, key: str) -> bool:
        if key in self.subs:
            return True
        folded = naming.fold(key)
        return any(naming.fold(sub) == folded for sub in self.subs)
