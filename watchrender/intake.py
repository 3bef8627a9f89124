"""From a dropped file to the queue: settle → read → judge → queue.

One `turn` looks at the inbox and does what is due; the service calls it when something was heard, and at intervals.
Files of jobs never begun stay in the inbox: the inbox is the queue. Everything known of a name between two turns is an
`Entry` (spool/inbox.py); every decision is made by a pure function in core/ or by the judge.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from watchrender import disk
from watchrender.closing import Closer
from watchrender.control import Control, Denied, is_meant
from watchrender.core import letters, naming, settle
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.job import Form, Job
from watchrender.core.naming import Kind, Order
from watchrender.core.states import Event, State
from watchrender.gate import Gate
from watchrender.judge import Judge, Judged, Sidecar
from watchrender.ledger.ledger import Ledger
from watchrender.spool import bundle, returned
from watchrender.spool.folders import Folders
from watchrender.spool.inbox import Entry, Inbox, Role
from watchrender.spool.watcher import Listing, Look, Scanner, look

#: How long after the start a sidecar that comes late still ends the attempt and puts the job back.
LATE_SIDECAR_SECONDS = 10.0
#: How often footage that a job waits for is looked for.
FOOTAGE_SECONDS = 1.0
#: Known, quiet entries are looked at again in rotation, so many a turn: a save that no event told of is found.
LOOKS_A_TURN = 400


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds, resolved for this root (a share needs longer)."""

    scan: float
    settle: float
    cut_off: float
    assets_deadline: float


class Intake:
    """The inbox, turn by turn. Lives on the main thread."""

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
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._gate = gate
        self._judge = judge
        self._control = control
        self._closer = closer
        self._started_at = started_at  # monotonic start of a job's running attempt
        self._pace = pace
        self._ignore = ignore
        self._put_back = put_back  # end a running attempt and queue its job again: (job id, why)
        self._clock = clock
        self._inbox = Inbox()
        self._subs: set[str] = set(ledger.facts().get("subs", ()))
        self._scanner = Scanner(folders.inbox, lambda sub: sub in self._subs)
        self._rotation: Iterator[Entry] = iter(())
        self._footage_due: dict[str, float] = {}
        self._applied_sidecars: dict[str, tuple[Any, ...]] = {}  # job id → name and stamp of the sidecar last applied
        self._trees: dict[tuple[str, str], settle.Settle] = {}
        self._next_look: float | None = None
        self._rejected: list[tuple[Job, Failure]] = []
        self.ignored: dict[str, str] = {}  # path → why, for service.json
        self.scanned_at: float | None = None
        self.scan_seconds = 0.0
        self._know_again()

    def close(self) -> None:
        self._scanner.stop()

    def _know_again(self) -> None:
        """At start: what the record says lies in the inbox. Its files are looked for like any others."""
        now = self._clock()
        for job in self._ledger.live():
            if job.begun:
                continue
            entry = Entry(
                sub=job.sub,
                name=job.file,
                is_dir=job.form is Form.BUNDLE,
                role=Role.JOB,
                job_id=job.id,
                seen_at=now,
                stamp=job.stamp,
                changed_at=now,
            )
            entry.done = job.state is State.QUEUED and job.stamp is not None
            self._inbox.add(entry)

    def announce(self, sub: str, name: str) -> Job:
        """Record a job whose file is about to be written (POST /jobs): its id is known before the file is there."""
        entry = Entry(sub=sub, name=name, is_dir=False, role=Role.JOB, seen_at=self._clock())
        return self._record(entry, Form.FILE)

    # -- one turn -------------------------------------------------------------------------------------------

    def turn(self, hinted: Iterable[str] = ()) -> float:
        """Look once, do what is due. Returns seconds until the next turn is due. Raises nothing but bugs."""
        offline = self._folders.health()
        if offline is None:
            try:
                listing = self._scanner.scan()
            except OSError as error:
                offline = fail(Code.SHARE_OFFLINE, f"{self._folders.inbox} cannot be read: {error.strerror or error}")
        self._gate.looked({Code.SHARE_OFFLINE: offline} if offline else {}, frozenset({Code.SHARE_OFFLINE}))
        if offline is not None:
            return self._pace.scan
        now = self._clock()
        self.scanned_at, self.scan_seconds = now, self._clock() - now
        self._next_look = None
        self._recall(hinted)
        fresh = self._compare(listing, now)
        self._arrive(fresh, now)
        self._look_around(now)
        self._settle(now)
        self._sidecars(now)
        self._standing_marks()
        self._orders()
        self._footage(now)
        self._withdraw(now)
        self._close_rejected()
        return min(self._pace.scan, max(0.02, (self._next_look or now + self._pace.scan) - self._clock()))

    def _soon(self, at: float) -> None:
        """Something is due at this moment of the monotonic clock: the next turn must not be later."""
        self._next_look = at if self._next_look is None else min(self._next_look, at)

    def _recall(self, hinted: Iterable[str]) -> None:
        """What the events named is looked at again."""
        root = f"{self._folders.inbox}{os.sep}"
        for path in hinted:
            if not path.startswith(root):
                continue
            parts = path[len(root) :].replace(os.sep, "/").split("/")
            for depth in range(len(parts)):
                entry = self._inbox.get("/".join(parts[:depth]), parts[depth])
                if entry is not None:
                    entry.looked_at = 0.0

    # -- names ----------------------------------------------------------------------------------------------

    def _compare(self, listing: Listing, now: float) -> list[Entry]:
        """New names become entries; names that are missing are marked gone, after a direct look."""
        fresh: list[Entry] = []
        for sub, names in listing.subs.items():
            known = self._inbox.subs.get(sub, {})
            for name, is_dir in names.items():
                entry = known.get(name)
                if entry is None:
                    fresh.append(Entry(sub=sub, name=name, is_dir=is_dir, seen_at=now))
                elif entry.is_dir != is_dir:
                    self._forget(entry)
                    fresh.append(Entry(sub=sub, name=name, is_dir=is_dir, seen_at=now))
            for name in [name for name in known if name not in names]:
                self._missed(known[name], now)
        for sub in [sub for sub in self._inbox.subs if sub not in listing.subs and sub not in listing.refused]:
            for entry in list(self._inbox.subs[sub].values()):
                self._missed(entry, now)
            if sub in self._subs:
                self._subs.discard(sub)
                self._ledger.know(subs=sorted(self._subs))
        for sub in listing.refused:
            self.ignored[sub] = "this folder may not be read by the service's user"
        return sorted(fresh, key=lambda entry: (naming.natural_key(entry.sub), naming.natural_key(entry.name)))

    def _missed(self, entry: Entry, now: float) -> None:
        self.ignored.pop(self._shown(entry), None)
        if entry.role is Role.JOB and entry.job_id is not None:
            job = self._ledger.get(entry.job_id)
            if job is not None and not job.over and not job.begun:
                if job.state is not State.RENDERING and entry.gone_at is None and self._look(entry) is None:
                    entry.gone_at = now
                return
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self.ignored.pop(self._shown(entry), None)
        self._trees.pop(entry.place, None)
        self._inbox.drop(entry)

    def _shown(self, entry: Entry) -> str:
        return f"{entry.sub}/{entry.name}" if entry.sub else entry.name

    def _path(self, entry: Entry) -> Path:
        return self._folders.inbox_folder(entry.sub) / entry.name

    def _look(self, entry: Entry) -> Look | None:
        try:
            return look(self._path(entry))
        except OSError:
            return None

    # -- arrivals -------------------------------------------------------------------------------------------

    def _arrive(self, fresh: list[Entry], now: float) -> None:
        """Give each new name its role; jobs are recorded in natural order, so `sh2` comes before `sh10`."""
        if not fresh:
            return
        with self._ledger.together():
            for entry in fresh:
                self._inbox.add(entry)
                self._classify(entry, now)

    def _classify(self, entry: Entry, now: float) -> None:
        kind = naming.classify(entry.name, is_dir=entry.is_dir, extra_ignore=self._ignore)
        if kind is Kind.IGNORED:
            entry.role = Role.OTHER
            return
        found = self._look(entry)
        if found is None:
            self._inbox.drop(entry)
            return
        entry.saw(found, now)
        if not found.regular:
            self._ignore_entry(entry, "a link, pipe, socket or device; watchrender opens only plain files and folders")
        elif kind is Kind.CONTROL:
            entry.role = Role.CONTROL
        elif kind is Kind.FOLDER:
            self._meet_folder(entry, now)
        elif kind is Kind.LETTER:
            entry.role = Role.LETTER
            self._soon(now + self._pace.settle)
        elif kind in (Kind.JOB, Kind.ZIP):
            self._meet_job(entry, Form.ZIP if kind is Kind.ZIP else Form.FILE, found)
        elif kind is Kind.YAML:
            self._soon(now + self._pace.settle)  # a job or a sidecar: its content tells, once it is settled
        else:
            self._ignore_entry(entry, "not a job file (.json, .yaml, .zip or a folder with job.json)")

    def _ignore_entry(self, entry: Entry, why: str) -> None:
        entry.role, entry.why = Role.OTHER, why
        self.ignored[self._shown(entry)] = why

    def _meet_folder(self, entry: Entry, now: float) -> None:
        below = self._shown(entry)
        if below in self._subs:
            entry.role = Role.SUB
        elif (self._folders.status / below).is_dir():
            self._become_sub(entry)  # the record is lost, but this was a sub-folder before
        else:
            self._soon(now + self._pace.settle)

    def _become_sub(self, entry: Entry) -> None:
        entry.role = Role.SUB
        self._subs.add(self._shown(entry))
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
        """The job whose file went away while a file with the same size, time and inode appeared beside it."""
        for other in self._inbox.subs.get(entry.sub, {}).values():
            if other.gone_at is not None and other.job_id is not None and other.stamp == found.stamp:
                return self._ledger.get(other.job_id)
        return None

    def _known(self, entry: Entry) -> Job | None:
        """At start: the job that the record says this file is."""
        job = self._ledger.live_by_file(entry.sub, entry.name)
        return job if job is not None and not job.begun and job.id not in self._inbox.by_job else None

    def _reattach(self, entry: Entry, job: Job, why: str | None) -> Job:
        old = self._inbox.by_job.get(job.id)
        if old is not None and old is not entry:
            old.job_id = None
            self._inbox.drop(old)
        self._inbox.own(entry, job.id)
        if why is not None:
            job = self._ledger.note(job.id, why, file=entry.name, **self._named_priority(job, entry.name))
        return job

    def _named_priority(self, job: Job, name: str) -> dict[str, Any]:
        return self._judge.priority_of(job, name)

    def _record(self, entry: Entry, form: Form, **extra: Any) -> Job:
        name = self._free_name(entry)
        retry_of = extra.pop("retry_of", None) or self._retry_of(entry)
        why = f"seen in the inbox as {entry.name}" if retry_of is None else f"another try of {retry_of}"
        job = self._ledger.add(
            why=why,
            name=name,
            sub=entry.sub,
            form=form,
            file=entry.name,
            folder=self._folders.relative(self._folders.inbox_folder(entry.sub)),
            retry_of=retry_of,
            **self._judge.first_priority(entry.sub, entry.name),
            **extra,
        )
        if entry.stamp is not None:
            self._inbox.own(entry, job.id)
        return job

    def _retry_of(self, entry: Entry) -> str | None:
        retries = dict(self._ledger.facts().get("retries", {}))
        found = retries.pop(self._shown(entry), None)
        if found is not None:
            self._ledger.know(retries=retries)
        return str(found) if found is not None else None

    def _free_name(self, entry: Entry) -> str:
        """The key's last part: free among jobs not over, in done/, and not a sub-folder's name."""
        base = naming.fit(naming.parse_name(entry.name, is_dir=entry.is_dir).name)
        for name in naming.candidates(base):
            key = f"{entry.sub}/{name}" if entry.sub else name
            if self._ledger.live_by_key(key) is None and key not in self._subs and not self._folders.taken(entry.sub, name):
                return name
        raise AssertionError("candidates never end")

    # -- looking again --------------------------------------------------------------------------------------

    def _look_around(self, now: float) -> None:
        """Look at what settles, at what events named, and at some quiet entries in rotation."""
        budget = LOOKS_A_TURN
        for entry in self._inbox:
            if entry.role in (Role.OTHER, Role.SUB, Role.CONTROL) or entry.gone_at is not None:
                continue
            restless = entry.looked_at == 0.0 or (not entry.done and entry.looked_at < now)
            if not restless:
                continue
            self._look_at(entry, now)
        while budget > 0:
            quiet = next(self._rotation, None)
            if quiet is None:
                self._rotation = iter(self._inbox)
                return
            budget -= 1
            if quiet.role in (Role.JOB, Role.SIDECAR) and quiet.looked_at < now:
                self._look_at(quiet, now)

    def _look_at(self, entry: Entry, now: float) -> None:
        if entry.is_dir and entry.role is not Role.JOB:
            return
        found = self._look(entry)
        if found is None:
            return  # the next listing tells
        changed = entry.saw(found, now)
        if changed and entry.job_id is not None and not entry.is_dir:
            self._changed(entry)

    def _changed(self, entry: Entry) -> None:
        """A file that was read already has been saved again: judge it anew, at its old place in the queue."""
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun:
            return
        if job.state in (State.QUEUED, State.VALIDATING) and job.stamp != entry.stamp:
            self._ledger.apply(job.id, Event.CHANGE, "its file was saved again", waiting_for=())

    # -- settling and judging -------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Read what is complete, in the order of arrival; what is not yet is looked at again when it may be."""
        due = [entry for entry in self._inbox if not entry.done and entry.gone_at is None]
        with self._ledger.together():
            for entry in sorted(due, key=self._arrival):
                if entry.role is Role.NEW:
                    self._settle_new(entry, now)
                elif entry.role is Role.LETTER:
                    self._settle_letter(entry, now)
                elif entry.role is Role.JOB:
                    self._settle_job(entry, now)

    def _arrival(self, entry: Entry) -> tuple[int, int]:
        job = self._ledger.get(entry.job_id) if entry.job_id is not None else None
        return (0, 0) if job is None else (1, job.arrival)

    def _settle_new(self, entry: Entry, now: float) -> None:
        if entry.is_dir:
            self._settle_folder(entry, now)
        elif self._is_settled(entry, now):
            self._settle_yaml(entry, now)

    def _is_settled(self, entry: Entry, now: float) -> bool:
        """Has this file kept its size and time for `settle`, and is there anything in it?"""
        quiet = entry.unchanged_for(now)
        if quiet >= self._pace.settle and entry.stamp is not None and entry.stamp[0] > 0:
            return True
        self._soon(entry.changed_at + self._pace.settle + 0.01)
        return False

    def _settle_yaml(self, entry: Entry, now: float) -> None:
        data = self._read(entry)
        if isinstance(data, Failure) or data is None:
            return
        entry.done = True
        if self._judge.is_yaml_job(data):
            found = self._look(entry)
            if found is not None:
                self._meet_job(entry, Form.FILE, found)
                entry.done = False
                self._settle_job(entry, now)
            return
        entry.role = Role.SIDECAR

    def _settle_folder(self, entry: Entry, now: float) -> None:
        """A folder not seen before: when its whole tree has been quiet, it is a bundle, a returned job or a
        sub-folder, for good."""
        path = self._path(entry)
        control = naming.control(entry.name, is_dir=True)
        try:
            tree = settle.TreeSighting.of(bundle.bundle_listing(path), at=now)
        except OSError as error:
            self.ignored[self._shown(entry)] = f"cannot be read: {error.strerror or error}"
            return
        known = self._trees.get(entry.place)
        seen = self._trees[entry.place] = settle.Settle.first(tree) if known is None else known.see(tree)
        if control is not None and tree.files == 0:
            entry.role = Role.CONTROL
            return
        if not seen.settled(self._pace.settle):
            self._soon(max(now + 0.05, seen.since + self._pace.settle + 0.01))
            return
        del self._trees[entry.place]
        self.ignored.pop(self._shown(entry), None)
        back = returned.read(path)
        if back is not None:
            self._take_back(entry, back)
        elif bundle.is_bundle(path):
            self._record(entry, Form.BUNDLE)
            self._settle_job(entry, now)
        else:
            self._become_sub(entry)

    def _take_back(self, entry: Entry, back: returned.Returned) -> None:
        """A job folder dragged back into the inbox: its files become a new job."""
        old = self._ledger.get(back.id)
        sub = old.sub if old is not None else entry.sub
        try:
            names = returned.unpack(
                self._path(entry), back, self._folders.inbox_folder(sub), bundle_name=old.file if old else entry.name
            )
        except OSError as error:
            self.ignored[self._shown(entry)] = f"a returned job that cannot be unpacked: {error.strerror or error}"
            return
        self._inbox.drop(entry)
        place = f"{sub}/{names}" if sub else names
        self._ledger.know(retries={**self._ledger.facts().get("retries", {}), place: back.id})
        self._soon(self._clock())

    def _settle_letter(self, entry: Entry, now: float) -> None:
        """A lone project: nobody can render it, so its owner gets the lines to write."""
        if not self._is_settled(entry, now):
            return
        entry.done = True
        path = self._path(entry)
        mentioned = any(
            not job.over and (job.template_path == str(path) or job.state is State.PENDING) and job.sub == entry.sub
            for job in self._ledger.live()
        )
        if mentioned:
            entry.done = False
            self._soon(now + self._pace.settle)
            return
        self._write_letter(path.with_name(f"{path.name}.WHY.txt"), letters.lone_project(entry.name))
        self.ignored[self._shown(entry)] = "a project without a job: see the WHY.txt beside it"

    def _write_letter(self, path: Path, text: str) -> None:
        try:
            disk.write(path, text, durable=False)
        except OSError as error:
            logger.warning("{} could not be written: {}", str(path), error.strerror or str(error))

    def _settle_job(self, entry: Entry, now: float) -> None:
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun or job.state is not State.PENDING:
            entry.done = True
            return
        if self._sidecar_settles(job, now):
            return
        if job.form is Form.FILE:
            self._settle_file(entry, job, now)
        elif job.form is Form.BUNDLE:
            self._judge_now(entry, job, None)
        elif self._is_settled(entry, now):
            self._judge_now(entry, job, None)

    def _settle_file(self, entry: Entry, job: Job, now: float) -> None:
        """A job file: JSON that parses is complete, all else waits."""
        size = entry.stamp[0] if entry.stamp is not None else 0
        if size == 0:
            self._waits_for(job, ("the file is empty: it is still being written, or has nothing in it",))
            return
        if size > self._judge.max_job_size:
            if self._is_settled(entry, now):
                self._reject(entry, job, self._judge.too_large(job.file, size))
            return
        data = self._read(entry)
        if data is None:
            return
        if isinstance(data, Failure):
            if entry.unchanged_for(now) >= self._pace.cut_off:
                self._reject(entry, job, data)
            else:
                self._waits_for(job, (data.message,))
                self._soon(now + 0.5)
            return
        ready = settle.ready(
            self._judge.completeness(data, job.file),
            unchanged_for=entry.unchanged_for(now),
            settle=self._pace.settle,
            cut_off=self._pace.cut_off,
        )
        if ready.verdict is settle.Verdict.WAIT:
            self._soon(now + max(ready.wait_seconds, 0.05))
            return
        self._judge_now(entry, job, data)

    def _read(self, entry: Entry) -> bytes | Failure | None:
        """The bytes of a file, by open and fstat; None if it changes or is gone; a failure if it may not be read."""
        try:
            with open(self._path(entry), "rb", opener=_nofollow) as file:
                before = os.fstat(file.fileno())
                data = file.read(self._judge.max_job_size + 1)
                after = os.fstat(file.fileno())
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            return fail(
                Code.JOB_UNREADABLE,
                f"{entry.name} cannot be opened: {error.strerror or error}",
                cure="Give the service's user the right to read it, or close the program that holds it, and drop it again.",
            )
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
            entry.changed_at = self._clock()
            return None
        stamp = (after.st_size, after.st_mtime_ns, after.st_ino)
        if stamp != entry.stamp:
            entry.stamp, entry.changed_at = stamp, self._clock()
        return data

    def _waits_for(self, job: Job, what: tuple[str, ...]) -> None:
        if job.waiting_for != what:
            self._ledger.note(job.id, waiting_for=what)

    def _judge_now(self, entry: Entry, job: Job, data: bytes | None) -> None:
        """Read and judge: into the queue, into failed/, or waiting for footage."""
        entry.done = True
        if job.state is State.PENDING:
            job = self._ledger.apply(job.id, Event.CHECK, "complete", waiting_for=(), stamp=entry.stamp)
        sidecar, failure = self._sidecar_of(job)
        judged = failure or self._judge.judge(job, self._path(entry), data, sidecar)
        self._decide(entry, job, judged)

    def _decide(self, entry: Entry, job: Job, judged: Judged | Failure) -> None:
        if isinstance(judged, Failure):
            self._reject(entry, job, judged)
            return
        if judged.failure is not None:
            self._reject(entry, self._ledger.note(job.id, **judged.fields), judged.failure)
            return
        if judged.waiting_for:
            self._wait_for_footage(entry, job, judged)
            return
        self._footage_due.pop(job.id, None)
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
        self._supersede(queued, judged)
        self._gate.wake.set()

    def _wait_for_footage(self, entry: Entry, job: Job, judged: Judged) -> None:
        since = job.waiting_since or self._ledger.stamp()
        started = self._footage_due.get(job.id)
        if started is None:
            self._footage_due[job.id] = started = self._clock()
        if self._clock() - started >= self._pace.assets_deadline and judged.missing is not None:
            self._footage_due.pop(job.id, None)
            self._reject(entry, self._ledger.note(job.id, **judged.fields), judged.missing)
            return
        if job.waiting_for != judged.waiting_for or job.waiting_since is None:
            self._ledger.note(job.id, waiting_for=judged.waiting_for, waiting_since=since, **judged.fields)
        self._soon(self._clock() + FOOTAGE_SECONDS)

    def _footage(self, now: float) -> None:
        """Jobs whose footage is missing or growing are judged again, until their deadline."""
        with self._ledger.together():  # those that came together are taken in their order, not in ours
            for job_id in list(self._footage_due):
                job, entry = self._ledger.get(job_id), self._inbox.by_job.get(job_id)
                if job is None or entry is None or job.state is not State.VALIDATING:
                    self._footage_due.pop(job_id, None)
                    continue
                self._judge_again(entry, job)

    def _judge_again(self, entry: Entry, job: Job) -> None:
        data = self._read(entry) if job.form is Form.FILE else None
        if isinstance(data, Failure) or (data is None and job.form is Form.FILE):
            return
        sidecar, failure = self._sidecar_of(job)
        self._decide(entry, job, failure or self._judge.judge(job, self._path(entry), data, sidecar))

    def _reject(self, entry: Entry, job: Job, failure: Failure) -> None:
        """It does not pass: its end is recorded once its files lie in failed/ (the closer moves them)."""
        if job.state is State.PENDING:
            job = self._ledger.apply(job.id, Event.CHECK, "judged as it is", waiting_for=(), stamp=entry.stamp)
        entry.done = True
        owned = self._owned(job)
        if job.sidecar is None and owned:  # a settings file that cannot be used goes with its job all the same
            job = self._ledger.note(job.id, sidecar=owned[0].name)
        logger.bind(job=job.id).info("{} refused: {}", job.key, failure.message)
        self._rejected.append((job, failure))

    def _close_rejected(self) -> None:
        """Moves come last: whoever waits for the record must not wait for a slow share."""
        rejected, self._rejected = self._rejected, []
        for job, failure in rejected:
            self._closer.reject(job, failure)

    # -- sidecars -------------------------------------------------------------------------------------------

    def _sidecar_settles(self, job: Job, now: float) -> bool:
        """Is there a YAML beside that may become this job's sidecar and is not settled yet?"""
        for entry in self._yaml_beside(job):
            if entry.role is Role.NEW or (entry.role is Role.SIDECAR and not self._is_settled(entry, now)):
                self._soon(entry.changed_at + self._pace.settle + 0.01)
                return True
        return False

    def _yaml_beside(self, job: Job) -> list[Entry]:
        names = self._inbox.subs.get(job.sub, {})
        stem = naming.stem_of(job.file, is_dir=job.form is Form.BUNDLE)
        wanted = {naming.fold(stem), naming.fold(naming.parse_name(job.file, is_dir=job.form is Form.BUNDLE).name)}
        found = []
        for entry in names.values():
            if entry.role in (Role.NEW, Role.SIDECAR) and not entry.is_dir and entry.name != job.file:
                if entry.name.lower().endswith((".yaml", ".yml")) and (
                    naming.fold(naming.stem_of(entry.name)) in wanted
                    or naming.fold(naming.parse_name(entry.name).name) in wanted
                ):
                    found.append(entry)
        return found

    def _owned(self, job: Job) -> list[Entry]:
        """The settled sidecars that belong to this job: by exact stem, else by name."""
        beside = [entry for entry in self._yaml_beside(job) if entry.role is Role.SIDECAR]
        if not beside:
            return []
        jobs = [
            (other.file, other.form is Form.BUNDLE)
            for name_entry in self._inbox.subs.get(job.sub, {}).values()
            if name_entry.job_id is not None and (other := self._ledger.get(name_entry.job_id)) is not None and not other.over
        ]
        if (job.file, job.form is Form.BUNDLE) not in jobs:
            jobs.append((job.file, job.form is Form.BUNDLE))
        return [entry for entry in beside if naming.sidecar_owner(entry.name, jobs) == job.file]

    def _sidecar_of(self, job: Job) -> tuple[Sidecar | None, Failure | None]:
        """The one sidecar of a job, read; or why there cannot be one."""
        owned = self._owned(job)
        exact = [entry for entry in owned if naming.fold(naming.stem_of(entry.name)) == naming.fold(naming.stem_of(job.file, is_dir=job.form is Form.BUNDLE))]
        chosen = exact or owned
        if len(chosen) > 1 or (exact and len(owned) > 1):
            names = " and ".join(sorted(entry.name for entry in owned))
            return None, fail(
                Code.SIDECAR_INVALID,
                f"two settings files for one job: {names}",
                cure="Keep one of them, take the other away, and drop the job again.",
            )
        if not chosen:
            self._applied_sidecars[job.id] = ()
            return None, None
        entry = chosen[0]
        data = self._read(entry)
        if isinstance(data, Failure):
            return None, data
        if data is None:
            return None, None
        self._applied_sidecars[job.id] = (entry.name, entry.stamp)
        return Sidecar(name=entry.name, data=data), None

    def _sidecars(self, now: float) -> None:
        """Sidecars that came, changed or went while their job waits are applied at once; one that comes just after
        the start puts the job back if it changes what the start depended on."""
        lonely: list[Entry] = []
        for names in list(self._inbox.subs.values()):
            sidecars = [entry for entry in names.values() if entry.role is Role.SIDECAR]
            for entry in sidecars:
                if not self._belongs(entry, now):
                    lonely.append(entry)
        shown = {self._shown(entry) for entry in lonely}
        for path, why in list(self.ignored.items()):
            if why == letters.LONELY_SIDECAR and path not in shown:
                del self.ignored[path]
        for path in shown:
            self.ignored[path] = letters.LONELY_SIDECAR
        self._sidecars_gone()

    def _belongs(self, entry: Entry, now: float) -> bool:
        for job in self._jobs_beside(entry):
            if entry not in self._owned(job):
                continue
            if job.state is State.QUEUED and not job.begun:
                if self._applied_sidecars.get(job.id) != (entry.name, entry.stamp) and self._is_settled(entry, now):
                    self._apply_sidecar(job)
                return True
            if not job.begun and job.state is not State.RENDERING:
                return True
            if self._late_sidecar(job, entry, now):
                return True
        return False

    def _jobs_beside(self, entry: Entry) -> list[Job]:
        name = naming.parse_name(entry.name).name
        found = []
        for other in self._inbox.subs.get(entry.sub, {}).values():
            if other.job_id is not None and (job := self._ledger.get(other.job_id)) is not None and not job.over:
                found.append(job)
        for job in self._ledger.begun():
            if job.sub == entry.sub and naming.target_matches(name, job.name, [job.file]):
                found.append(job)
        return found

    def _apply_sidecar(self, job: Job) -> None:
        entry = self._inbox.by_job.get(job.id)
        if entry is None:
            return
        sidecar, failure = self._sidecar_of(job)
        settled = failure or self._judge.settle_settings(job, sidecar)
        if isinstance(settled, Failure):
            self._reject(entry, job, settled)
            return
        self._ledger.note(job.id, "its settings file was read again" if sidecar else "its settings file is gone", **settled)
        self._gate.wake.set()

    def _sidecars_gone(self) -> None:
        for job_id, applied in list(self._applied_sidecars.items()):
            job = self._ledger.get(job_id)
            if job is None or job.over or job.begun or job.state is State.RENDERING:
                self._applied_sidecars.pop(job_id, None)
            elif applied and job.state is State.QUEUED and self._inbox.get(job.sub, str(applied[0])) is None:
                self._apply_sidecar(job)

    def _late_sidecar(self, job: Job, entry: Entry, now: float) -> bool:
        """A sidecar for a job that has begun: True if it was taken."""
        if not self._is_settled_quickly(entry, now):
            return True
        if job.state is State.RENDERING and not self._started_just_now(job, entry):
            return False
        data = self._read(entry)
        if not isinstance(data, bytes):
            return True
        settled = self._judge.settle_settings(job, Sidecar(name=entry.name, data=data))
        if isinstance(settled, Failure):
            self.ignored[self._shown(entry)] = settled.message
            return True
        changes = self._judge.changes_start(job, settled)
        job = self._ledger.note(job.id, "a settings file came after the start", **settled)
        if self._folders.bring_sidecar(job, self._folders.absolute(job.folder)):
            self._inbox.drop(entry)
        if changes and job.state is State.RENDERING:
            self._put_back(job.id, f"{entry.name} came just after the start and changes {changes}")
        return True

    def _is_settled_quickly(self, entry: Entry, now: float) -> bool:
        return self._is_settled(entry, now)

    def _started_just_now(self, job: Job, entry: Entry) -> bool:
        """Was the sidecar first seen within ten seconds after the start? Told by the monotonic clock."""
        started = self._started_at(job.id)
        return started is not None and entry.seen_at - started <= LATE_SIDECAR_SECONDS

    # -- control files --------------------------------------------------------------------------------------

    def _standing_marks(self) -> None:
        """_PAUSE and NAME.hold work while they lie there."""
        paused = False
        held: set[str] = set()
        for entry, control in self._controls():
            if control.order is Order.PAUSE and not entry.sub:
                paused = True
            elif control.order is Order.HOLD:
                held.update(job.id for job in self._meant(entry.sub, control.target or ""))
        self._gate.pause(paused)
        for job in self._ledger.live():
            if job.marked_hold != (job.id in held) and job.state is not State.RENDERING:
                lies = job.id in held
                self._ledger.note(job.id, "a hold mark lies in the inbox" if lies else "the hold mark is gone", marked_hold=lies)
                self._gate.wake.set()

    def _controls(self) -> list[tuple[Entry, naming.Control]]:
        found = []
        for entry in self._inbox:
            if entry.role is Role.CONTROL:
                control = naming.control(entry.name, is_dir=entry.is_dir)
                if control is not None:
                    found.append((entry, control))
        return found

    def _meant(self, sub: str, target: str) -> list[Job]:
        """The jobs not over that a control file in this folder names."""
        by_key = self._ledger.live_by_key(f"{sub}/{target}" if sub else target)
        if by_key is not None:
            return [by_key]
        return [job for job in self._ledger.live_in(sub) if is_meant(target, job)]

    def _orders(self) -> None:
        """Orders are done, then removed; one that names no job is answered by a letter."""
        for entry, control in self._controls():
            if control.standing or (control.top_only and entry.sub):
                continue
            answer = self._obey(entry, control)
            self._remove_order(entry)
            if answer is not None:
                self._write_letter(self._path(entry).with_name(f"{entry.name}.WHY.txt"), answer)

    def _obey(self, entry: Entry, control: naming.Control) -> str | None:
        """Do what an order says. Returns the letter to write where it cannot be done."""
        if control.order is Order.DRAIN:
            self._control.drain()
        elif control.order is Order.STOP:
            self._control.stop()
        elif control.order is Order.CANCEL_ALL:
            self._control.cancel_all(by=f"the control file {entry.name}")
        else:
            return self._obey_for_job(entry, control)
        return None

    def _obey_for_job(self, entry: Entry, control: naming.Control) -> str | None:
        jobs = self._meant(entry.sub, control.target or "")
        if not jobs:
            over = self._ledger.newest_over(f"{entry.sub}/{control.target}" if entry.sub else control.target or "")
            return letters.no_such_job(entry.name, control.target or "", None if over is None else str(over.state))
        by = f"the control file {entry.name}"
        for job in jobs:
            try:
                if control.order is Order.CANCEL:
                    self._control.cancel(job.id, by=by)
                elif control.order is Order.RELEASE:
                    self._control.release(job.id, by=by)
                elif control.priority is not None:
                    self._control.prioritize(job.id, control.priority, by=by)
            except Denied as denied:
                return f"{denied}\n"
        return None

    def _remove_order(self, entry: Entry) -> None:
        path = self._path(entry)
        try:
            # A folder with something in it is somebody's: the order is done, and the folder stays.
            disk.rmdir(path) if entry.is_dir else disk.remove(path)
        except OSError as error:
            if entry.is_dir:
                self._ignore_entry(entry, "an order that was done; the folder is not empty, so it stays")
                return
            logger.warning("{} could not be removed: {}", str(path), error.strerror or str(error))
            return
        self._inbox.drop(entry)

    # -- leaving the inbox ----------------------------------------------------------------------------------

    def _withdraw(self, now: float) -> None:
        """Gone by a direct look in two scans at least `settle` apart, the inbox healthy: its owner took it back."""
        for entry in list(self._inbox.by_job.values()):
            job = self._ledger.get(entry.job_id or "")
            if job is None or job.begun or (job.over and self._closer.is_closed(job)):
                self._inbox.forget_job(entry.job_id or "")
                continue
            if job.over or job.state is State.RENDERING:
                continue  # its files are on their way out of the inbox: what lies there still is no new job
            if entry.gone_at is None:
                continue
            if self._look(entry) is not None:
                entry.gone_at = None
                entry.looked_at = 0.0
                continue
            if now - entry.gone_at < self._pace.settle:
                self._soon(entry.gone_at + self._pace.settle + 0.01)
                continue
            self._inbox.forget_job(job.id)
            self._ledger.apply(
                job.id,
                Event.CANCEL,
                f"withdrawn: {entry.name} was taken out of the inbox",
                finished_at=self._ledger.stamp(),
                folder="",
                waiting_for=(),
            )

    def _supersede(self, job: Job, judged: Judged) -> None:
        for old in self._judge.superseded(job, judged):
            try:
                self._control.cancel(
                    old.id, by="a newer drop", superseded_by=job.id, why=f"superseded by {job.key} ({job.id})"
                )
            except (Denied, KeyError):
                continue


def _nofollow(path: str, flags: int) -> int:
    """Open for reading, never through a link, and never waiting on a pipe that took the file's place."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
