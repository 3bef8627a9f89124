"""What a thing turns out to be once it has been quiet: a job, settings, a bundle, a returned job, a sub-folder."""

from __future__ import annotations

from loguru import logger

from watchrender.core import letters, naming
from watchrender.core.failure import Failure
from watchrender.core.job import Form
from watchrender.core.states import State
from watchrender.intake.admission import Admission
from watchrender.intake.arrivals import Arrivals
from watchrender.intake.projects import Projects
from watchrender.intake.room import Desk, Room
from watchrender.intake.watch import Step
from watchrender.spool import bundle, returned
from watchrender.spool.folders import holds_nothing
from watchrender.spool.inbox import Entry, Role, aliases
from watchrender.spool.watcher import DEEPEST, Look, look


class Settling(Room):
    """Looks again at what is restless, and says what follows."""

    def __init__(self, desk: Desk, *, arrivals: Arrivals, admission: Admission, projects: Projects) -> None:
        super().__init__(desk)
        self._arrivals = arrivals
        self._admission = admission
        self._projects = projects
        self.clashes: dict[Entry, float] = {}  # folders that cannot be sub-folders, and when that was last seen

    def steps(self, entry: Entry, now: float, *, met: bool = False) -> list[Step]:
        """Look, read and judge; what follows for the record, to be done together with others. `met`: it has just been
        looked at, when it came."""
        try:
            step = self.consider(entry, now, met=met)
        except OSError as error:
            if self._folders.health() is not None:
                raise
            step = self._admission.troubled(entry, now, error)
        except Exception as fault:
            logger.exception("a fault in watchrender itself, over {}", entry.place)
            step = self._admission.own_fault(entry, fault)
        return [] if step is None else [step]

    def consider(self, entry: Entry, now: float, *, met: bool = False) -> Step | None:
        # Reading a job's file is a look, too.
        is_seen = met and entry.role is Role.JOB and entry.stamp is not None and entry.stamp[0] > 0
        if not is_seen and not self.look_at(entry, now):
            if entry in self._inbox.restless:
                self._watch.again(entry, now + min(self._pace.scan, 0.5))
            return None
        if entry.role is Role.JOB:
            return self._admission.settle(entry, now)
        if entry.role is Role.LETTER:
            return self._projects.settle(entry, now)
        if entry.is_dir and entry.role is Role.NEW:
            return self._settle_folder(entry, now)
        if entry.role in (Role.NEW, Role.SIDECAR):
            return self._settle_yaml(entry, now)
        self._watch.rest(entry)
        return None

    def look_at(self, entry: Entry, now: float) -> bool:
        """A look at one entry. False: it is not there; the next listing tells."""
        if self._inbox.get(entry.sub, entry.name) is not entry:
            return False
        found = self._watch.look(entry)
        if found is None:
            return False
        if not found.regular and entry.role is not Role.JOB:
            if entry.role is Role.SIDECAR:
                self._admission.settings_gone(entry)
            self._watch.ignore(entry, letters.NOT_PLAIN)
            return False
        if entry.role is Role.JOB and not entry.is_still(found):
            self._replaced(entry, now)
            return False
        if entry.is_dir and entry.role is Role.JOB:
            found = self._look_at_bundle(entry, found)
        if entry.saw(found, now):
            entry.due = min(entry.due, now)
            self._changed(entry, now)
        return True

    def _replaced(self, entry: Entry, now: float) -> None:
        """A link, a pipe or the like lies where a job's file lay: the file is gone."""
        job = self._ledger.get(entry.job_id or "")
        waits = job is not None and not (job.over or job.begun or job.state is State.RENDERING)
        if waits and entry.gone_at is None:
            self._watch.gone(entry, now)

    def _look_at_bundle(self, entry: Entry, found: Look) -> Look:
        """A bundle looks like its job file, with the folder's own inode: that is what a save changes."""
        name = bundle.job_name(self._watch.path(entry))
        inner = look(self._watch.path(entry) / name) if isinstance(name, str) else None
        if inner is None:
            return Look(size=0, mtime_ns=0, inode=found.inode, is_dir=True, regular=True)
        return Look(size=inner.size, mtime_ns=inner.mtime_ns, inode=found.inode, is_dir=True, regular=True)

    def _changed(self, entry: Entry, now: float) -> None:
        """It has been saved again: a job is judged anew, at its old place in the queue."""
        if entry.role is Role.SIDECAR:
            self._inbox.loose[entry] = None
            self._watch.again(entry, now)  # it may be a job now, which is found out before it is applied
            return
        job = self._ledger.get(entry.job_id or "")
        if job is None or job.over or job.begun:
            return
        is_other = entry.stamp is None or job.stamp is None or job.stamp[:2] != entry.stamp[:2]
        if job.state in (State.QUEUED, State.VALIDATING) and is_other:
            self._admission.save_again(entry, job)
            self._watch.again(entry, now)

    def _settle_yaml(self, entry: Entry, now: float) -> Step | None:
        """A job from the moment its `template:` can be seen; a sidecar only when it has settled without one."""
        data = self._watch.read(entry)
        if isinstance(data, Failure):
            return self._admission.unreadable(entry, data, now)
        if data is None:
            self._watch.again(entry, now + 0.2)
            return None
        if self._judge.is_yaml_job(data):
            self._arrivals.meet_namesakes(entry.sub, entry.name, now)
            return self._yaml_is_a_job(entry, now)
        if len(data) > self._judge.max_job_size and not self._inbox_has_job(entry):
            if self._inbox.crowd.called(entry.sub, entry.name):  # its job is not known yet
                self._watch.again(entry, now + 0.2)
                return None
            self._watch.ignore(entry, "too large for a settings file, and no line in it begins with template:")
            return None
        is_empty_for_good = not data and entry.unchanged_for(now) >= self._pace.cut_off
        if is_empty_for_good or self._watch.is_settled(entry, now):
            self._is_sidecar(entry)
        return None

    def _is_sidecar(self, entry: Entry) -> None:
        self._watch.rest(entry)
        entry.role = Role.SIDECAR
        self._inbox.loose[entry] = None
        for other in self._inbox.called(entry.sub, *aliases(entry.name)):
            if other.role is Role.JOB and other in self._inbox.restless:
                other.due = 0.0  # it waited for these settings
                self._watch.soon(self._clock())

    def _inbox_has_job(self, entry: Entry) -> bool:
        return any(other.role is Role.JOB for other in self._inbox.called(entry.sub, *aliases(entry.name)))

    def _yaml_is_a_job(self, entry: Entry, now: float) -> Step:
        found = self._watch.look(entry)

        def meet() -> None:
            if found is not None and self._inbox.get(entry.sub, entry.name) is entry and entry.role is not Role.JOB:
                if entry.role is Role.SIDECAR:
                    self._admission.settings_gone(entry)
                self._arrivals.meet_job(entry, Form.FILE, found)
                self._watch.again(entry, now)

        return meet

    def _settle_folder(self, entry: Entry, now: float) -> Step | None:
        """A folder not seen before: when its whole tree has been quiet, it is a bundle, a returned job or a
        sub-folder, for good."""
        if entry.place in self._arrivals.subs:
            self.clash_over(entry)
            return lambda: self._arrivals.become_sub(entry)  # POST /jobs has just made it one
        try:
            tree = self._watch.sighting(entry, now)
        except PermissionError as error:
            self._ignored[entry.place] = f"cannot be read: {error.strerror or error}"
            self._watch.again(entry, now + self._pace.scan)
            return None
        if tree is None:
            return None
        self._ignored.pop(entry.place, None)
        step = self._turn_out(entry, tree.files, now)
        if self.clashes.get(entry) != now:
            self.clash_over(entry)
        return step

    def _turn_out(self, entry: Entry, files: int, now: float) -> Step | None:
        path = self._watch.path(entry)
        control = naming.control(entry.name, is_dir=True)
        if control is not None and (files == 0 or holds_nothing(path)):
            entry.role = Role.CONTROL
            self._watch.rest(entry)
            self._inbox.controls[entry] = None
            self._inbox.changed = True
            return None
        back = returned.read(path)
        if back is not None:
            return lambda: self._take_back(entry, back)
        shape = bundle.look(bundle.plain_files(path))
        if isinstance(shape, Failure) or shape.is_bundle:
            self._arrivals.meet_namesakes(entry.sub, f"{entry.name}.json", now)
            return lambda: self._arrivals.meet_bundle(entry, now)
        if returned.is_ours(path, shape.status_files):
            self._watch.ignore(entry, letters.EMPTY_RETURN)
        elif (other := self.clash(entry.place)) is not None:
            why = f"{other} has this name already; give the folder another one"
            self._not_taken_up(entry, why, letters.folder_named_like(entry.name, other), now)
        elif control is not None and not control.only_if_empty:
            self._not_taken_up(entry, letters.FULL_ORDER, letters.full_order(entry.name), now)
        elif entry.place.count("/") >= DEEPEST:
            self._watch.ignore(entry, letters.TOO_DEEP)
        else:
            return lambda: self._arrivals.become_sub(entry)
        return None

    def _not_taken_up(self, entry: Entry, why: str, letter: str, now: float) -> None:
        """It cannot be a sub-folder as things stand: said beside it, and looked at again."""
        self._ignored[entry.place] = why
        self._beside.write(entry, letter)
        self.clashes[entry] = now
        self._watch.again(entry, now + 5 * self._pace.scan)

    def clash_over(self, entry: Entry) -> None:
        """The folder has gone, or it is something else, or nothing is in its way any more."""
        if self.clashes.pop(entry, None) is not None:
            self._beside.remove(entry)

    def clash(self, place: str) -> str | None:
        """The job that a sub-folder of this name would share its folders with."""
        job = self._ledger.live_by_key(place)
        if job is not None:
            return f"the job {job.key}"
        sub, _, name = place.rpartition("/")
        if found := self._inbox.crowd.called(sub, f"{name}.json"):
            return f"the job that {found[0].name} becomes"
        for top in (self._folders.done, self._folders.failed, self._folders.cancelled):
            if returned.is_ours(top / place):
                return f"the job in {self._folders.relative(top / place)}"
        return None

    def _take_back(self, entry: Entry, back: returned.Returned) -> None:
        """A job folder dragged back into the inbox: its files become a new job."""
        old = self._ledger.get(back.id)
        sub = old.sub if old is not None else entry.sub
        name = old.file if old is not None else entry.name
        try:
            dropped = returned.unpack(self._watch.path(entry), back, self._folders.inbox_folder(sub), bundle_name=name)
        except OSError as error:
            self._ignored[entry.place] = f"a returned job that cannot be unpacked: {error.strerror or error}"
            self._watch.again(entry, self._clock() + self._pace.scan)
            return
        self._inbox.drop(entry)
        place = f"{sub}/{dropped}" if sub else dropped
        self._ledger.know(retries={**self._ledger.facts().get("retries", {}), place: back.id})
        self._watch.soon(self._clock())
