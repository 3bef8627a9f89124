"""The life of the service: recover, start, run, keep house, stop.

Signals set a flag. The main thread turns the inbox; the worker has two threads, status writer and page one each.
"""

from __future__ import annotations

import _thread
import gc
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil
from loguru import logger

from watchrender import __version__, disk, logs
from watchrender.config import Config, default_state_dir, secrets
from watchrender.core import clock as clocks
from watchrender.core.failure import Code, fail
from watchrender.core.job import Job
from watchrender.core.states import State
from watchrender.handover import abandon, in_flight
from watchrender.ledger.ledger import Change, Ledger, utc_now
from watchrender.ledger.storage import LedgerInUse, NewerLedger
from watchrender.parts import Parts
from watchrender.recover import Recovery, delivery_check, import_history
from watchrender.render.process import TreeRecord, reap, stray
from watchrender.reports import document_of, log_of
from watchrender.spool.folders import Busy, Folders, Unfit
from watchrender.spool.lock import PATIENCE_SECONDS, RootLock, Taken, read_beat, wait_for_foreign
from watchrender.spool.volume import volume_of
from watchrender.spool.watcher import Aside, Hints, Hung

#: What a disk refused, or a fault of our own cut off, is begun anew after so long.
AGAIN_SECONDS = 2.0
#: How long a second signal waits for what it has ended.
AT_ONCE_SECONDS = 15.0
#: So many beats of a service that we have taken over from are its last; one that has more lives.
LAST_GASPS = 3
#: A stop that comes while something is begun that a share holds up waits for it so long.
STOP_SECONDS = 1.0
#: What takes longer than this at a start is told.
SLOW_SECONDS = 5.0


#: On Windows Python hears a signal only when the main thread comes out of its wait; elsewhere the signal ends the wait.
_HEARS_SECONDS = 0.25 if sys.platform == "win32" else math.inf

_Found = TypeVar("_Found")


class CannotStart(Exception):
    """The operator must fix something first: exit code 2."""


class _StoppedEarly(Exception):
    """A stop was asked for before the service had begun."""


class Service:
    """One service of one root."""

    def __init__(self, config: Config, *, say: Callable[[str], None] = print) -> None:
        self.config = config
        self._say = say
        self.root = Path(config.root)
        self.node = config.node or socket.gethostname()
        self._signals = 0
        self._ousted: str | None = None
        self._wake = threading.Event()
        self._house_due = 0.0
        self._checked_beat = (0.0, 0.0)
        self._gasps: set[str] = set()  # beats of the service before us, that which it had when we took over among them
        self._orphans: list[tuple[str, str]] = []
        self._closing = Aside("closing")
        self._hearing = Aside("events")
        self._waits = False  # has it been said what this start waits for?
        self._left_behind = False  # something that a share holds up goes on, though we end
        self.web: Any = None

    # -- life -----------------------------------------------------------------------------------------------

    def run(self) -> int:
        """The whole life. Returns the exit code: 0, or 4 where another service serves this root. Raises
        `CannotStart`."""
        self._catch_signals()  # a stop that comes while we start is a stop, too
        try:
            return self._run()
        except _StoppedEarly:
            self._say("stopped before it had begun")
            return 0

    def _run(self) -> int:
        self.folders = Folders(self.root, self.config.folders)
        lock = self._lock = self._patiently(self._look_at_root, f"{self.root} to answer: its share hangs, or is slow")
        try:
            lock.take()
            self._patiently(self._wait_for_others, f"{self.root}: does another service serve it, which still lives?")
            return self._serve()
        except Taken as taken:
            self._say(str(taken))
            return 4
        finally:
            if not self._left_behind:  # else it is free when this process is gone
                lock.free()

    def _look_at_root(self) -> RootLock:
        """What the root is, and where what belongs to it is kept."""
        self._find_root()
        self.volume = volume_of(self.root)
        self.state_dir = default_state_dir(self.root, self.config)
        self._check_places()
        return RootLock(self.root)

    def _find_root(self) -> None:
        """A share that is away for now (its server does not run, a connection was lost) is waited for."""
        while not self._signals:
            try:
                with os.scandir(self.root) as entries:  # a look at the folder alone may be answered from memory
                    next(entries, None)
                return
            except OSError as error:
                if not disk.is_unreachable(error):
                    self._refuse(error)
                self._say_wait(f"{self.root}: it cannot be reached ({error.strerror or error})")
                self._wake.wait(AGAIN_SECONDS)

    def _refuse(self, error: OSError) -> None:
        """A root that is not there, or not ours to use, is for the operator to mend; any other is waited for."""
        if isinstance(error, PermissionError):
            raise CannotStart(f"root: {self.root} may not be read by this user; give it the rights") from None
        if isinstance(error, NotADirectoryError):
            raise CannotStart(f"root: {self.root} is no folder; write the path of one") from None
        if isinstance(error, FileNotFoundError):
            raise CannotStart(
                f"root: {self.root} is not there; make it, or mount the share, then start again"
            ) from None

    def _wait_for_others(self) -> None:
        beat = self.folders.status / "service.json"

        def pause(seconds: float) -> None:
            self._wake.wait(seconds)
            if self._signals:
                raise _StoppedEarly

        if self.volume.is_share or read_beat(beat) is not None:
            wait_for_foreign(beat, socket.gethostname(), sleep=pause)

    def _patiently(self, work: Callable[[], _Found], what: str) -> _Found:
        """Do a part of the start that a share may hold up, or that takes its time, aside: a stop is heard meanwhile,
        and what there is to wait for is said once."""
        found: list[_Found] = []
        faults: list[BaseException] = []
        done = threading.Event()

        def do() -> None:
            try:
                found.append(work())
            except BaseException as fault:
                faults.append(fault)
            finally:
                done.set()

        self._waits = False
        threading.Thread(target=do, name="start", daemon=True).start()
        began = time.monotonic()
        while not done.wait(0.1):
            if self._signals:
                if done.wait(STOP_SECONDS):
                    break
                self._left_behind = True
                raise _StoppedEarly
            if time.monotonic() - began > SLOW_SECONDS:
                self._say_wait(what)
        if self._signals:
            raise _StoppedEarly
        if faults:
            raise faults[0]
        if self._waits:
            self._say("going on")
        return found[0]

    def _say_wait(self, what: str) -> None:
        if not self._waits:
            self._waits = True
            self._say(f"waiting for {what}")

    def _check_places(self) -> None:
        root, state = os.path.realpath(self.root), os.path.realpath(self.state_dir)
        if state == root or state.startswith(root + os.sep):
            raise CannotStart(f"state_dir: {self.state_dir} lies inside root; choose a folder outside {self.root}")
        try:
            disk.mkdirs(self.state_dir)
        except OSError as error:
            raise CannotStart(f"state_dir: {self.state_dir} cannot be made: {error.strerror}") from None

    def _serve(self) -> int:
        self._set_up_logs()
        try:
            self.ledger = self._open_ledger()
        except (NewerLedger, OSError) as refused:
            raise CannotStart(f"state_dir: {refused}") from None
        except LedgerInUse as used:
            self._say(str(used))
            return 4
        # The history is a million small values that stay: a full collection that walks them stands everything still for
        # half a second (measured with a hundred thousand jobs), and would find nothing.
        gc.freeze()
        logs.log_uncaught()
        for warning in self.ledger.db.warnings:
            logger.warning("the record: {}", warning)
        try:
            self._patiently(self._make_all_ready, f"{self.root}: what the last run left there is being cleared up")
            self._start_views()
        except BaseException:
            if not self._left_behind:  # else it is closed when this process is gone: each change is on the disk
                self.ledger.close()
            raise
        try:
            self._loop(self._start())
        finally:
            self._stop()
        return 4 if self._ousted else 0

    def _open_ledger(self) -> Ledger:
        """The record. One that a dying process still holds, for a moment, is waited for."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return Ledger(self.state_dir / "ledger")
            except LedgerInUse:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _set_up_logs(self) -> None:
        said = self.config.log
        logs.mask(*secrets(self.config))
        logs.setup(
            level=said.level,
            json=said.json_,
            folder=self.state_dir / "logs",
            rotation=said.rotation,
            terminal=sys.stderr,
            jobs=logs.JobLogs(self.state_dir / "logs" / "jobs"),
        )

    def _build(self) -> None:
        self.parts = Parts(
            self.config,
            folders=self.folders,
            ledger=self.ledger,
            volume=self.volume,
            state_dir=self.state_dir,
            node=self.node,
            look=self._wake.set,
            is_online=self._is_online,
            may_beat=self._may_beat,
        )
        self.gate, self.worker, self.reports = self.parts.gate, self.parts.worker, self.parts.reports
        self.parts.closer.refused = self._closing_refused

    def _make_all_ready(self) -> None:
        self._build()
        self._make_ready()

    def _make_ready(self) -> None:
        """The folders, and all that an earlier life left undone. A disk that refuses is waited for."""
        if self.ledger.facts().get("served") and self.folders.looks_lost():
            raise CannotStart(
                f"root: {self.root} is empty, and it was not when it was served last: mount the share first;"
                f" if it was emptied on purpose, make {self.folders.inbox} in it"
            )
        self._prepare_folders()
        before = read_beat(self.folders.status / "service.json")
        self.folders.instances = {self.reports.instance, *([before["instance"]] if before is not None else [])}
        self.folders.keep_watch(self._rival)
        self.ledger.listen(self._heard)
        self.ledger.listen(self.parts.ahead.heard)
        self.gate.listen(self._gate_changed)
        self.ledger.listen(self.parts.notifier.heard)
        self.gate.listen(lambda: self.parts.notifier.environment(self.gate.waiting()))
        while not self._signals:
            try:
                self._recover()
                return
            except OSError as error:
                self._disk_refused(error, "the last run could not be cleared up yet")
                self._wake.clear()  # the gate's own news
                if not self._signals:
                    self._wake.wait(AGAIN_SECONDS)
        raise _StoppedEarly

    def _prepare_folders(self) -> None:
        """A folder that cannot be used is for a person to mend; one in which somebody holds a file open is waited
        for."""
        told = False
        while not self._signals:
            try:
                self.folders.prepare()
                return
            except Unfit as unfit:
                raise CannotStart(str(unfit)) from None
            except Busy as busy:
                if not told:
                    logger.warning("{}; watchrender tries again until it may begin", str(busy))
                told = True
                self._wake.clear()
                if not self._signals:
                    self._wake.wait(AGAIN_SECONDS)
        raise _StoppedEarly

    def _disk_refused(self, error: OSError, what: str) -> None:
        """A disk refused something that is not about one job: the queue waits."""
        where = f" ({error.filename})" if error.filename else ""
        code = Code.DISK_FULL if disk.is_full(error) else Code.SHARE_OFFLINE
        self.gate.wait_for(fail(code, f"{what}: {error.strerror or error}{where}"))

    def _closing_refused(self, error: OSError) -> None:
        if disk.is_full(error) or isinstance(error, disk.Away):  # else it may be about this one job's names
            self._disk_refused(error, "a job could not be closed")

    def _recover(self) -> None:
        rebooted = self._has_rebooted()
        ended = sum(reap(TreeRecord.from_dict(found), 2.0) for found in self.ledger.facts().get("trees", {}).values())
        ended += sum(reap(found, 2.0) for found in stray(self.parts.marker))
        if ended:
            logger.warning("{} processes left by an earlier life of this service were ended", ended)
        self.ledger.know(trees={})
        for left in ("attempts", "zip"):
            disk.remove_tree(self.parts.places.work_dir / left)
        fresh = not self.ledger.facts().get("known")
        recovery = Recovery(
            folders=self.folders,
            ledger=self.ledger,
            closer=self.parts.closer,
            judge=self.parts.judge,
            may_deliver=delivery_check(self.config, self.folders),
            rebooted=rebooted,
            is_new=fresh,
            max_attempts=self.config.retry.max_retries + 1,
            shown_since=self._shown_since(),
            in_flight=self._in_flight(),
        )
        recovery.run()
        for job in recovery.outdated:
            self.parts.status_writer.changed(job, progress=False)
        self._orphans = recovery.orphans
        self.ledger.know(served=True, boot=round(psutil.boot_time()), boot_id=_boot_id())
        if fresh:
            threading.Thread(target=self._import_history, name="history", daemon=True).start()

    def _in_flight(self) -> frozenset[str]:
        """The jobs that are with a farm, and stay there."""
        if self.parts.farm_server is not None:
            return in_flight(self.ledger)
        abandon(self.ledger, self.folders)
        return frozenset()

    def _import_history(self) -> None:
        may_deliver = delivery_check(self.config, self.folders)
        try:
            count = import_history(self.folders, self.ledger, lambda: self.gate.stopping, may_deliver)
            if not self.gate.stopping:
                self.ledger.know(known=True)
        except (OSError, ValueError) as error:  # a disk refused, or the service has ended: the next start goes on
            logger.warning("the jobs that are over could not all be brought back yet: {}", str(error))
            return
        if count:
            logger.info("{} jobs that are over were brought back from the folders", count)

    def _has_rebooted(self) -> bool:
        """Has the machine itself started anew since this service last began?"""
        facts = self.ledger.facts()
        # The clock may be set between two looks, and boot time moves with it: the system's own boot id decides.
        boot_id, known_id = _boot_id(), facts.get("boot_id")
        if boot_id is not None and known_id is not None:
            return bool(boot_id != known_id)
        known = facts.get("boot")
        return known is not None and abs(round(psutil.boot_time()) - int(known)) > 60

    def _start_views(self) -> None:
        if not self.config.server.enabled:
            return
        from watchrender.web.server import PortTaken, WebServer

        self.web = WebServer(
            config=self.config.server,
            ledger=self.ledger,
            control=self.parts.control,
            gate=self.gate,
            folders=self.folders,
            service_document=self.reports.service_document,
            queue_document=self.reports.queue_document,
            etas=self.parts.forecast.queue,
            log_of=partial(log_of, self.parts.places, growing=True),
            drop=self.parts.drops.drop,
            document_of=partial(document_of, self.folders, self.parts.judge),
            ready=self.reports.not_ready,
            most_bytes=self.config.watch.max_job_size,
            defaults={
                "max_retries": self.config.retry.max_retries,
                "render_timeout": self.config.limits.render,
                "stall_timeout": self.config.limits.stall,
                "on_exists": str(self.config.delivery.on_exists),
            },
        )
        try:
            self.web.start()
            self.reports.address = lambda: list(self.web.address)
        except PortTaken as taken:
            raise CannotStart(str(taken)) from None

    def _start(self) -> float:
        """The first look, then everything that works by itself. Returns seconds until the next look is due."""
        self.hints = Hints(self.folders.inbox, self._wake)
        self._was_online, self._listening_to = True, self.folders.identity
        self.intake = self.parts.new_intake()
        self._listen()
        for job in self.ledger.live():
            self.parts.status_writer.changed(job, progress=False)
        wait = self._turn()
        self.reports.state = "running"
        self.parts.status_writer.start()
        self.worker.start()
        self.parts.ahead.start()
        self.parts.notifier.start()
        logger.info("watchrender {} serves {} ({})", __version__, str(self.root), self.volume.kind)
        if self.web is not None:
            host, port = self.web.address
            logger.info("page and API: http://{}:{}/", host, port)
        self._tell_systemd("READY=1")
        return wait

    def _loop(self, wait: float) -> None:
        while not self.gate.stopping:
            if self._wait(wait):
                self._wake.clear()
            if self._signals:
                self._asked_to_stop()
                break
            wait = self._turn()
            self._tell_systemd("WATCHDOG=1")
            if self.gate.draining and self.worker.idle() and not self.parts.closer.pending():
                logger.info("drained")
                break
            if self.gate.draining:
                wait = min(wait, 0.2)

    def _wait(self, seconds: float) -> bool:
        """Wait for news, a signal or the time. Is there news?"""
        until = time.monotonic() + seconds
        while not self._wake.wait(max(0.0, min(until - time.monotonic(), _HEARS_SECONDS))):
            if self._signals or time.monotonic() >= until:
                return False
        return True

    def _turn(self) -> float:
        """All that the main thread does, once. Returns seconds until the next turn is due."""
        try:
            wait = self.intake.turn(self.hints.take())
            self._listen_again()
            self._close_what_waits()
            self._keep_house()
            return wait
        except OSError as error:
            self._disk_refused(error, "the inbox could not be worked on")
        except Exception:
            # The one catch-all: a fault in one file must not end the service in the night, and must not hide.
            logger.exception("a fault in watchrender itself; the line goes on")
        # What the turn has begun is in the record, or it is not: begin anew from there.
        self.intake.close()
        self.intake = self.parts.new_intake()
        return AGAIN_SECONDS

    def _close_what_waits(self) -> None:
        """Moves are made aside: a share that hangs in the middle of one must not hang who hears the signals."""
        try:
            self._closing.do(self.parts.closer.turn)
        except Hung as hung:
            if not self._signals:
                self.gate.wait_for(fail(Code.SHARE_OFFLINE, f"{self.root} hangs: {hung.strerror}"))

    def _listen_again(self) -> None:
        """Events of a root that went away and came back are events of a folder that is not there any more."""
        online = self._is_online()
        came_back = online and (not self._was_online or self.folders.identity != self._listening_to)
        self._was_online = online
        if came_back:
            self._listening_to = self.folders.identity
            self._listen()

    def _listen(self) -> None:
        """Begin to hear of changes. Aside: a share that hangs keeps also that who wants to be told."""
        if not self.config.watch.events:
            return
        try:
            self.reports.hears = bool(self._hearing.do(self.hints.start))
        except Hung:
            self.reports.hears = False  # scans find what comes; it is tried again with the next look at the house

    # -- stopping -------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        names = ["SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"]
        for name in names:
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: object) -> None:
        # This interrupts the main thread anywhere: also where it holds the lock of `_wake`, which it would then wait
        # for from here for ever. Another thread can wait for it; this way of starting one takes no lock of Python's.
        self._signals += 1
        _thread.start_new_thread(self._hurry, ())

    def _hurry(self) -> None:
        self._closing.hurry()
        self._hearing.hurry()
        if (intake := getattr(self, "intake", None)) is not None:
            intake.hurry()
        self._wake.set()

    def request_stop(self) -> None:
        """As a first signal would (for tests and for service managers that call instead of signalling)."""
        self._signals += 1
        self._hurry()

    def _asked_to_stop(self) -> None:
        finish = self.config.shutdown == "finish"
        put_back = "is put back in the queue" if self.parts.farm_server is None else "stays with the farm"
        logger.info("stopping: the running render {}", "is finished first" if finish else put_back)

    def _stop(self) -> None:
        self.reports.state = "stopping"
        _notify_systemd("STOPPING=1", "STATUS=stopping")
        self.gate.stop()
        self.hints.stop()
        lets_finish = self.config.shutdown == "finish" and not self.gate.put_back
        patience = 10 * 86400.0 if lets_finish else self.config.limits.terminate_grace + 30
        deadline = time.monotonic() + patience
        at_once = False
        while not self.worker.stop(0.2) and time.monotonic() < deadline:
            self._look_for_foreign()
            if self._signals >= 2 and not at_once:
                logger.warning("ending at once")
                self.worker.end_at_once()
                deadline = min(deadline, time.monotonic() + AT_ONCE_SECONDS)
                at_once = True
        self.parts.ahead.stop()
        self.parts.warm.close()
        self._close_what_waits()
        self.parts.notifier.stop()
        self.parts.retention.stop()
        if self.web is not None:
            self.web.stop(seconds=1.0)
        self.reports.state = "stopped"
        self.parts.status_writer.stop(AT_ONCE_SECONDS if self._signals < 2 and self._is_online() else 1.0)
        self._closing.stop()
        self._hearing.stop()
        self.intake.close()
        self.folders.end_watch()
        self.ledger.close()
        logger.info("stopped")
        logs.close()

    # -- keeping house --------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        now = time.monotonic()
        self._look_for_foreign()
        if now < self._house_due:
            return
        self._house_due = now + self.parts.retention.turn_seconds
        self._lock.refresh()
        self._expire()
        if self.config.watch.events and not self.reports.hears and self._is_online():
            self._listen()

    def _rival(self) -> str | None:
        """Who has taken this root from us, in words. Asked before each effect on it: after a sleep of the machine, or
        of this process, another host may serve it, and nothing of ours may come in between."""
        self._look_for_foreign()
        return f"watchrender on {self._ousted} serves this root now" if self._ousted is not None else None

    def _may_beat(self) -> bool:
        """Asked right before our own beat is written: it must not wipe out another's, which nobody would see then."""
        self._look_for_foreign(at_once=True)
        return self._ousted is None

    def _look_for_foreign(self, *, at_once: bool = False) -> None:
        """Who reads a foreign instance in service.json has been ousted: it stops, ends its attempt, and leaves."""
        now = time.monotonic(), time.time()  # the first does not count a sleep of the machine, the second may be set
        is_fresh = all(abs(one - other) < 2.0 for one, other in zip(now, self._checked_beat, strict=True))
        if self._ousted or (is_fresh and not at_once):
            return
        self._checked_beat = now
        found = self.folders.beat()
        if found is None or found["instance"] == self.reports.instance or self._is_last_gasp(found):
            return
        self._ousted = str(found.get("host"))
        logger.error("watchrender on {} has taken over this root; this one leaves", self._ousted)
        self.gate.stop()

    def _is_last_gasp(self, found: dict[str, Any]) -> bool:
        """Whom we have taken over from may have been stopped amid a beat, and end it now; who goes on beating lives."""
        if found["instance"] not in self.folders.instances:
            return False
        self._gasps.add(str(found.get("beat")))
        return len(self._gasps) <= LAST_GASPS

    def _is_past_showing(self, job: Job) -> bool:
        return (job.finished_at or "") <= self._shown_since()

    def _shown_since(self) -> str:
        """Jobs that ended after this moment have a file in status/."""
        return clocks.stamp(utc_now() - timedelta(seconds=self.config.retention.status))

    def _expire(self) -> None:
        """What is kept long enough goes (`retention.py`); so do status files that recovery could make no use of."""
        self.parts.retention.turn()
        shown = self._shown_since()
        for key, ended in self._orphans:
            if ended <= shown and self.ledger.newest_over(key) is None and not self.ledger.has_live(key):
                self.parts.status_writer.gone(key)
        self._orphans = [(key, ended) for key, ended in self._orphans if ended > shown]

    # -- listeners ------------------------------------------------------------------------------------------

    def _heard(self, change: Change) -> None:
        if change.before is None and change.job.over and self._is_past_showing(change.job):
            return  # brought back from done/ into a new record
        if not change.progress:
            self.parts.forecast.changed()
        self.parts.status_writer.changed(change.job, progress=change.progress)
        if not change.progress and change.job.state is State.QUEUED:
            self.gate.wake.set()
        if change.of_state and change.job.state is State.RENDERING:
            self.parts.forecast.start(change.job.id)
        if change.job.over and change.before is not None and not change.before.over:
            self._wake.set()
            if change.job.state is State.CANCELLED and not self.parts.closer.is_closed(change.job):
                self.parts.closer.soon(change.job)

    def _gate_changed(self) -> None:
        self.parts.forecast.changed()
        self.parts.status_writer.beat_now()
        self._wake.set()
        if self.web is not None:
            self.web.service_changed()

    def _tell_systemd(self, word: str) -> None:
        """The word, and how the queue is in one line: `systemctl status` shows it."""
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        rendering = [job.key for job in self.ledger.begun() if job.state is State.RENDERING]
        queued = self.ledger.counts[State.QUEUED]
        now = self.gate.why() or (f"renders {', '.join(rendering)}" if rendering else "ready")
        _notify_systemd(word, f"STATUS={' '.join(now.split())} ({queued} queued)")

    def _is_online(self) -> bool:
        if any(failure.code is Code.SHARE_OFFLINE for failure in self.gate.waiting()):
            return False
        return self._rival() is None


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _notify_systemd(*states: str) -> None:
    """Tell systemd how the service is (Type=notify); nothing where it was not started by systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or sys.platform == "win32":
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5.0)  # who does not read is not waited for
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall("\n".join(states).encode("utf-8", "replace"))
    except OSError:
        pass
