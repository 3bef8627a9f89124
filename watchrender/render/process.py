"""Start a process tree and end all of it, whatever its members do to get away: POSIX and Windows.

A process belongs to a tree when one of these says so, and nothing else is ever signalled:

* the marker: `WATCHRENDER_TREE=<marker>` in its environment, inherited by every child and readable from outside;
* the session (POSIX) or the job object (Windows) that the tree was started in;
* a parent that belongs to the tree;
* it was seen to belong before (pid and start time): a member that cleans its environment stays one.

We ourselves and those above us are never members. A zombie is over: it does not count.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from watchrender.render.process_hold import MARKER, Hold, Seen

if sys.platform == "win32":
    from watchrender.render import process_windows as system
else:
    from watchrender.render import process_posix as system

_KILL_SECONDS = 10.0  # how long to go on killing: a process stuck in the kernel may outlast anybody's patience
_SAME_START_SECONDS = 2.0  # the recorded start is a wall time made from the boot time, which the system rounds anew
_POSIX = os.name != "nt"
_CHUNK = 64 * 1024
_CHUNKS_WAITING = 32  # with _CHUNK: what may wait in memory; a child that prints faster waits in its write
_ABOVE_SECONDS = 1.0  # how old the answer to "who is above us?" may be: asking costs more than a whole look
_FULL_LOOK_EVERY = 10  # cpu_seconds(): look at every process of the machine each n-th time, else only at new ones


@dataclass(frozen=True, kw_only=True)
class TreeRecord:
    """What is kept on disk about a tree, so that the next life of the service can end it.

    It is made before the start, with the marker alone, and completed after it: a crash between the two leaves a
    process that its marker finds.
    """

    marker: str
    pid: int | None = None
    started: float | None = None  # seconds since the epoch, as the system tells it
    pgid: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> TreeRecord:
        return cls(
            marker=str(found["marker"]), pid=found.get("pid"), started=found.get("started"), pgid=found.get("pgid")
        )


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """How a stop went."""

    ended: int  # processes that lived when it began, or were born meanwhile, and are gone
    killed: int  # those of them that had to be killed
    left: tuple[int, ...]  # pids that would not go, not even for SIGKILL
    seconds: float


class Tree:
    """One process, all that it starts, and the output of all of them in one stream."""

    def __init__(self, marker: str, child: subprocess.Popen[bytes], hold: Hold) -> None:
        self.marker = marker
        self.pid = child.pid
        self._child = child
        self._hold = hold
        self._code: int | None = None
        self._known: dict[int, psutil.Process] = {}
        self._strangers: set[int] = set()
        self._looks = 0
        self._is_gone = False  # a stop has seen nobody left, and the dead start nobody
        self._cpu_seen = 0.0
        self._cpu_told = 0.0
        self._reader = _Reader(child)

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        marker: str,
        recorded: Callable[[TreeRecord], None],
        listening: bool = False,
    ) -> Tree:
        """Start `argv` as the first of a new tree. Raises OSError when the system refuses.

        `recorded` is called twice, with the marker before the start and with everything after it; if it raises,
        nothing is left running. `listening`: it will be told something (`tell`); its input ends when we do.
        """
        if not marker:
            raise ValueError("a tree needs a marker")
        recorded(TreeRecord(marker=marker))
        hold = system.new_hold()
        try:
            child = subprocess.Popen(
                list(argv),
                env={**env, MARKER: marker},
                cwd=cwd,
                stdin=subprocess.PIPE if listening else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                **hold.options(),
            )
        except BaseException:
            hold.close()
            raise
        tree = cls(marker, child, hold)
        try:
            hold.take(child)
            recorded(tree.record())
        except BaseException:
            tree.stop(0)
            tree.close()
            raise
        return tree

    def record(self) -> TreeRecord:
        """What to keep on disk."""
        started = None
        with suppress(psutil.Error):
            started = psutil.Process(self.pid).create_time()
        return TreeRecord(marker=self.marker, pid=self.pid, started=started, pgid=self.pid if _POSIX else None)

    def tell(self, words: bytes) -> None:
        """All that a listening first process will ever be told: its input ends after it. Raises OSError."""
        assert self._child.stdin is not None
        rest = memoryview(words)
        while rest:
            rest = rest[self._child.stdin.write(rest) or 0 :]
        self._child.stdin.close()

    def chunk(self, timeout: float) -> bytes | None:
        """The next piece of output, at most 64 KiB; None if none came in time, b"" once at the end."""
        try:
            return self._reader.chunks.get(timeout=timeout) if timeout > 0 else self._reader.chunks.get_nowait()
        except queue.Empty:
            return None

    @property
    def drained(self) -> bool:
        """Has everything been read that will ever be printed?"""
        return self._reader.ended.is_set() and self._reader.chunks.empty()

    def poll(self) -> int | None:
        """How the first process ended: its exit code, or minus its signal; None while it runs."""
        if self._code is None:
            self._code = system.exit_of(self._child)
        return self._code

    def wait(self, timeout: float) -> int | None:
        """Wait for the first process, not for the tree."""
        deadline = time.monotonic() + timeout
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(min(0.02, timeout))
        return self._code

    def processes(self) -> list[psutil.Process]:
        """All living members."""
        return _living(self._members())

    def alive(self) -> bool:
        """Does any member live?"""
        return bool(self.processes())

    def cpu_seconds(self) -> float:
        """The CPU time of all members since the start. It never falls; what short-lived members used may be missed."""
        exact = self._hold.cpu_seconds()
        if exact is not None:
            return exact
        quick = self._looks % _FULL_LOOK_EVERY != 0
        self._looks += 1
        now = sum(_cpu_of(member) for member in self._members(quick=quick))
        # The time of a dead member is in its parent's account when that one waited for it, and lost when not: only what
        # has been added since the last look is told.
        self._cpu_told += max(0.0, now - self._cpu_seen)
        self._cpu_seen = now
        return self._cpu_told

    def stop(self, grace: float | Callable[[], float], meanwhile: Callable[[], None] = lambda: None) -> Stopped:
        """End every member: ask, wait `grace` seconds, kill, and look again until none is left.

        `grace` may be asked anew while waiting (a second Ctrl-C makes it 0). `meanwhile` is called while waiting:
        who reads the output goes on reading it there, so that nobody hangs in a write.
        """
        stopped = _end(self._look, self._hold, grace if callable(grace) else lambda: grace, meanwhile)
        self._is_gone = not stopped.left
        return stopped

    def close(self) -> None:
        """Leave nothing behind: no process, no thread, no descriptor. Safe to call twice."""
        if self._reader.closed:
            return
        if not self._is_gone and self.alive():
            self.stop(0)
        if self._child.stdin is not None:
            with suppress(OSError):
                self._child.stdin.close()
        self._hold.close()
        self._reader.close()
        self.poll()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _members(self, *, quick: bool = False) -> list[psutil.Process]:
        return self._look(self._strangers if quick else frozenset()).members

    def _look(self, skipped: Collection[int] = frozenset()) -> _Sight:
        listed, session, known = self._hold.pids(), self._hold.session(), self._known

        def is_mine(seen: Seen) -> bool:
            if seen.marker == self.marker or seen.pid in listed or (session is not None and seen.session == session):
                return True
            return seen.pid in known and known[seen.pid].is_running()

        sight = _look(is_mine, skipped)
        self._known = {member.pid: member for member in sight.members}
        self._strangers = (sight.looked_at | set(skipped)) - self._known.keys()
        return sight


def reap(record: TreeRecord, grace: float) -> int:
    """End what is left of a tree that another process started (the service before it crashed). How many were ended?"""
    return _end(lambda: _look_for(record), _NoHold(), lambda: grace, lambda: None).ended


def stray(prefix: str) -> list[TreeRecord]:
    """Every living process whose marker begins with `prefix`; each can be given to `reap`."""
    if not prefix:
        raise ValueError("an empty prefix would name the trees of every service on this machine")
    found: list[TreeRecord] = []

    def is_one(seen: Seen) -> bool:
        return seen.marker is not None and seen.marker.startswith(prefix)

    for member in _living(_look(is_one).members):
        seen = system.look_at(member.pid)
        if seen and seen.marker and is_one(seen):  # else it descends from one: `reap` finds it from there
            with suppress(psutil.Error):
                found.append(
                    TreeRecord(marker=seen.marker, pid=seen.pid, started=member.create_time(), pgid=seen.group)
                )
    return found


# --- who belongs to it


@dataclass(kw_only=True)
class _Sight:
    """What one look at the processes of this machine has shown."""

    members: list[psutil.Process]  # zombies too
    groups: set[int]  # their process groups; ours are never among them
    looked_at: set[int]
    is_sure: bool  # nobody went away before it could be asked who it is
    lived: bool = False  # one of them did when it was looked at; in a chain of processes it is dead a moment later


def _look(is_mine: Callable[[Seen], bool], skipped: Collection[int] = frozenset()) -> _Sight:
    """All that `is_mine` names, and all that descend from them."""
    # The newest first: those that live for milliseconds only are among them.
    pids = sorted((pid for pid in psutil.pids() if pid not in skipped), reverse=True)
    seen = {pid: found for pid in pids if (found := system.look_at(pid))}
    named = [found for found in seen.values() if is_mine(found)]
    sight = _Sight(members=[], groups=set(), looked_at=set(pids), is_sure=len(seen) == len(pids))
    if named:
        _gather(named, seen, sight)
    return sight


def _gather(named: list[Seen], seen: Mapping[int, Seen], sight: _Sight) -> None:
    children: dict[int, list[Seen]] = {}
    for found in seen.values():
        children.setdefault(found.parent, []).append(found)
    ourselves, not_groups = _above_us()
    done = set(ourselves)
    while named:
        found = named.pop()
        if found.pid in done:
            continue
        done.add(found.pid)
        if found.group is not None and found.group > 1 and found.group not in not_groups:
            sight.groups.add(found.group)
        try:
            member = psutil.Process(found.pid)
        except psutil.Error:
            sight.is_sure = False
            continue
        sight.members.append(member)
        sight.lived = sight.lived or not found.is_zombie
        named.extend(child for child in children.get(found.pid, ()) if _is_child(child, member))


def _is_child(child: Seen, parent: psutil.Process) -> bool:
    # Windows never corrects the parent's pid of an orphan: it may name somebody younger that got the number since.
    if _POSIX:
        return True
    try:
        return psutil.Process(child.pid).create_time() >= parent.create_time()
    except psutil.Error:
        return False


_above: tuple[float, int, set[int], set[int | None]] = (float("-inf"), 0, set(), set())


def _above_us() -> tuple[set[int], set[int | None]]:
    """Ourselves and those above us, and their process groups."""
    global _above
    at, me = time.monotonic(), os.getpid()
    known = _above
    if at - known[0] > _ABOVE_SECONDS or known[1] != me:
        known = _above = (at, me, _ourselves(), system.groups_above_us())
    return known[2], known[3]


def _ourselves() -> set[int]:
    never = {0, 1, os.getpid()}
    with suppress(psutil.Error):
        never |= {above.pid for above in psutil.Process().parents()}
    return never


def _living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _look_for(record: TreeRecord) -> _Sight:
    sight = _look(lambda seen: _is_recorded(seen, record))
    if record.pgid is None or record.pgid not in sight.groups:
        return sight
    # A process group keeps its number while anybody is in it: one true member in it proves that it is still the
    # tree's, and so is the session of the same number.
    return _look(lambda seen: seen.session == record.pgid or _is_recorded(seen, record))


def _is_recorded(seen: Seen, record: TreeRecord) -> bool:
    if seen.marker is not None:
        return seen.marker == record.marker
    # Its environment is hidden or empty. Then pid and start time together prove it, and neither alone does.
    return seen.pid == record.pid and record.started is not None and _started_at(seen.pid, record.started)


def _started_at(pid: int, recorded: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - recorded) < _SAME_START_SECONDS
    except psutil.Error:
        return False


def _cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    below: float = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + below)


# --- ending it


def _end(look: Callable[[], _Sight], hold: Hold, grace: Callable[[], float], meanwhile: Callable[[], None]) -> Stopped:
    began = time.monotonic()
    seen: dict[int, psutil.Process] = {}
    sight = look()
    members = _living(sight.members)
    if members and grace() > 0 and hold.ask():
        _wait_for_them(look, members, seen, lambda: time.monotonic() - began < grace(), meanwhile)
    seen |= {member.pid: member for member in members}
    killed = _kill_all(look, hold, seen, meanwhile, quiet=1.0 if sight.is_sure and not sight.lived else 0.0)
    left = tuple(sorted(member.pid for member in seen.values() if _lives(member)))
    return Stopped(
        ended=len(seen) - len(left),
        killed=len(killed.difference(left)),
        left=left,
        seconds=time.monotonic() - began,
    )


def _wait_for_them(
    look: Callable[[], _Sight],
    members: list[psutil.Process],
    seen: dict[int, psutil.Process],
    has_time: Callable[[], bool],
    meanwhile: Callable[[], None],
) -> None:
    """Ask each member once, also those that come to light meanwhile, and wait until all are gone or time is up."""
    while members and has_time():
        for member in members:
            if seen.get(member.pid) != member:
                system.ask(member)
                seen[member.pid] = member
        meanwhile()
        time.sleep(0.02)
        # A look at all processes of the machine costs much more than one at those we know.
        members = _living(members) or _living(look().members)


def _kill_all(
    look: Callable[[], _Sight],
    hold: Hold,
    seen: dict[int, psutil.Process],
    meanwhile: Callable[[], None],
    *,
    quiet: float,
) -> set[int]:
    """Kill and look again until nobody is left; the pids of those that were killed. `quiet`: looks that found nobody
    just before."""
    killed: set[int] = set()
    deadline = time.monotonic() + _KILL_SECONDS
    if quiet:
        time.sleep(0.005)
    # Two looks in a row must find nobody: in a single one a process can hide between its fork and its exec. A look
    # that somebody slipped through counts little: it may have been one link of a chain that forks on and on.
    while quiet < 2 and time.monotonic() < deadline:
        sight = look()
        members = _living(sight.members)
        if sight.members or not sight.is_sure:  # the dead name their group, which may have others in it by now
            hold.kill()
            system.kill_groups(sight.groups)
        for member in members:
            with suppress(psutil.Error):
                member.kill()
            seen[member.pid] = member
            killed.add(member.pid)
        quiet = 0.0 if sight.lived else quiet + (1.0 if sight.is_sure else 0.1)
        meanwhile()
        if quiet < 2:
            time.sleep(0.005)
    return killed


class _NoHold:
    """A tree of an earlier life: nothing but its members' own marks to hold it by."""

    def options(self) -> dict[str, Any]:
        return {}

    def take(self, child: subprocess.Popen[bytes]) -> None:
        pass

    def session(self) -> int | None:
        return None

    def pids(self) -> Container[int]:
        return ()

    def ask(self) -> bool:
        return _POSIX

    def kill(self) -> None:
        pass

    def cpu_seconds(self) -> float | None:
        return None

    def close(self) -> None:
        pass


# --- its output


class _Reader:
    """Reads the output in a thread of its own, as fast as it is taken and no faster: memory stays bounded."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self.chunks: queue.Queue[bytes] = queue.Queue(maxsize=_CHUNKS_WAITING)
        self.ended = threading.Event()
        self._pipe = child.stdout
        self._closing = threading.Event()
        # A daemon: somebody outside the tree may hold the other end for ever, and must not hold us.
        self._thread = threading.Thread(target=self._read, name=f"output of {child.pid}", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(timeout=1)

    def _read(self) -> None:
        try:
            while not self._closing.is_set():
                chunk = self._next()
                if chunk is not None:
                    self._hand_over(chunk)
                if chunk == b"":
                    return
        finally:
            self._pipe.close()  # here and not in close(): a number closed under a read could be another file's by then
            self.ended.set()

    def _next(self) -> bytes | None:
        try:
            return os.read(self._pipe.fileno(), _CHUNK) if system.is_readable(self._pipe.fileno()) else None
        except OSError:
            return b""

    def _hand_over(self, chunk: bytes) -> None:
        while not self._closing.is_set():
            with suppress(queue.Full):
                return self.chunks.put(chunk, timeout=0.1)
