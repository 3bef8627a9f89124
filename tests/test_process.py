"""A tree is ended whole, whatever its members do to get away, and nobody else is touched."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import until
from watchrender.render import process, process_windows
from watchrender.render.process import Tree, TreeRecord, reap, stray
from watchrender.render.process_hold import MARKER, Hold

posix = pytest.mark.skipif(os.name == "nt", reason="uses POSIX signals and sessions")

READY = "import os, time; open(f'ready.{os.getpid()}', 'w').close(); time.sleep(600)"
TERM_IGNORING = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"
SETSID = f"import os; os.fork() and os._exit(0); os.setsid(); {READY}"
DOUBLE_FORK = f"import os; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); {READY}"


@pytest.fixture
def marker() -> Iterator[str]:
    name = f"test.{uuid.uuid4().hex}"
    yield name
    for record in stray(name):
        reap(record, 0)


def start(code: str, marker: str, tmp_path: Path, **more: Any) -> Tree:
    env = {**os.environ, **more.pop("env", {})}
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    return Tree.start(argv, env=env, cwd=tmp_path, marker=marker, recorded=more.pop("recorded", lambda _: None))


def family(*codes: str) -> str:
    """A program that starts each of these as a child, says so, and sleeps."""
    return f"""
        import subprocess, sys, time
        for code in {codes!r}:
            subprocess.Popen([sys.executable, "-c", code])
        print("started", flush=True)
        time.sleep(600)
    """


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def read_all(tree: Tree, seconds: float = 10) -> bytes:
    found = b""
    deadline = time.monotonic() + seconds
    while not tree.drained and time.monotonic() < deadline:
        found += tree.chunk(0.05) or b""
    return found


def ready(folder: Path, members: int) -> None:
    """Wait until so many have come to rest (a fork on its way counts for two)."""
    until(lambda: len(list(folder.glob("ready.*"))) == members, 20)


def marked(marker: str) -> list[int]:
    return [record.pid for record in stray(marker) if record.pid]


def test_output_and_exit_code_come_back_in_order(marker: str, tmp_path: Path) -> None:
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); print('end'); sys.exit(3)"

    with start(code, marker, tmp_path) as tree:
        found = read_all(tree)
        code_found = tree.wait(5)

    assert found.split() == [b"out", b"err", b"end"]
    assert code_found == 3


@posix
def test_a_signal_is_told_as_a_negative_code(marker: str, tmp_path: Path) -> None:
    with start("import os; os.kill(os.getpid(), 11)", marker, tmp_path) as tree:
        assert tree.wait(10) == -signal.SIGSEGV


def test_it_reads_nothing_from_us_and_carries_the_marker(marker: str, tmp_path: Path) -> None:
    code = f"import os, sys; print(os.environ[{MARKER!r}], repr(sys.stdin.read()), os.getcwd())"

    with start(code, marker, tmp_path) as tree:
        assert read_all(tree).decode().split() == [marker, "''", str(tmp_path.resolve())]


def test_the_record_is_made_before_the_start_and_completed_after(marker: str, tmp_path: Path) -> None:
    records: list[tuple[TreeRecord, bool]] = []

    def recorded(record: TreeRecord) -> None:
        records.append((record, bool(marked(marker)) if record.pid is None else psutil.pid_exists(record.pid)))

    with start("import time; time.sleep(600)", marker, tmp_path, recorded=recorded) as tree:
        (before, alive_before), (after, alive_after) = records

        assert (before, alive_before) == (TreeRecord(marker=marker), False)
        assert alive_after and after.pid == tree.pid
        assert after.started == pytest.approx(psutil.Process(tree.pid).create_time(), abs=2)
        assert TreeRecord.from_dict(json.loads(json.dumps(after.to_dict()))) == after


def test_nothing_is_started_when_the_record_cannot_be_made(marker: str, tmp_path: Path) -> None:
    def full(record: TreeRecord) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        start("import time; time.sleep(600)", marker, tmp_path, recorded=full)

    assert marked(marker) == []


def test_nothing_is_left_running_when_the_record_cannot_be_completed(marker: str, tmp_path: Path) -> None:
    def full(record: TreeRecord) -> None:
        if record.pid:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        start("import time; time.sleep(600)", marker, tmp_path, recorded=full)

    assert marked(marker) == []


def test_a_program_that_is_not_there_is_an_oserror(marker: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tree.start([str(tmp_path / "no")], env={}, cwd=tmp_path, marker=marker, recorded=lambda _: None)


def test_a_well_behaved_tree_ends_on_request_and_nobody_is_killed(marker: str, tmp_path: Path) -> None:
    with start(family(READY), marker, tmp_path) as tree:
        ready(tmp_path, 1)

        stopped = tree.stop(5)

        assert not tree.alive()
        assert stopped.ended == 2 and stopped.killed == 0 and stopped.left == ()
        assert stopped.seconds < 3


@posix
def test_all_who_resist_are_ended(marker: str, tmp_path: Path) -> None:
    with start(family(TERM_IGNORING, SETSID, DOUBLE_FORK, TERM_IGNORING), marker, tmp_path) as tree:
        ready(tmp_path, 4)
        assert len(marked(marker)) == 5

        stopped = tree.stop(0.3)

        assert marked(marker) == []
        assert stopped.killed >= 2 and stopped.left == ()
        assert 0.3 <= stopped.seconds < 5


@posix
def test_one_that_cleaned_its_environment_is_ended_while_its_session_or_parent_shows_it(
    marker: str, tmp_path: Path
) -> None:
    code = """
        import subprocess, sys, time
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        children = [subprocess.Popen(sleeper, env={}), subprocess.Popen(sleeper, env={}, start_new_session=True)]
        print(*(child.pid for child in children), flush=True)
        time.sleep(600)
    """
    with start(code, marker, tmp_path) as tree:
        pids = [int(pid) for pid in until(lambda: tree.chunk(0.1)).split()]
        until(lambda: all(not psutil.Process(pid).environ() for pid in pids))

        tree.stop(0)

        assert not any(psutil.pid_exists(pid) and lives(psutil.Process(pid)) for pid in pids)


@posix
def test_one_that_was_seen_once_is_remembered(marker: str, tmp_path: Path) -> None:
    code = """
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={}, start_new_session=True)
        print(child.pid, flush=True)
        while not os.path.exists("go"): time.sleep(0.01)
    """
    with start(code, marker, tmp_path) as tree:
        orphan = int(until(lambda: tree.chunk(0.1)))
        assert tree.alive()
        (tmp_path / "go").touch()
        until(lambda: tree.poll() is not None)

        assert tree.alive()
        tree.stop(0)

        assert not psutil.pid_exists(orphan) or not lives(psutil.Process(orphan))


@posix
def test_stopped_processes_are_woken_to_end_and_killed_if_they_do_not(marker: str, tmp_path: Path) -> None:
    with start(family(TERM_IGNORING, READY), marker, tmp_path) as tree:
        ready(tmp_path, 2)
        for member in tree.processes():
            member.suspend()

        stopped = tree.stop(0.5)

        assert marked(marker) == []
        assert stopped.ended == 3 and stopped.killed == 1


@posix
def test_a_swarm_of_short_lived_children_is_ended(marker: str, tmp_path: Path) -> None:
    swarm = """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for n in range(30):
            if os.fork() == 0:
                if n % 3 == 0:
                    os.setsid()
                for link in range(500):            # a chain: each lives for some milliseconds and leaves a child
                    time.sleep(0.01)
                    if os.fork():
                        os._exit(0)
                os._exit(0)
        print("swarm", flush=True)
        time.sleep(600)
    """
    with start(swarm, marker, tmp_path) as tree:
        until(lambda: tree.chunk(0.1))

        stopped = tree.stop(0.1)

        assert stopped.left == ()
    quiet = time.monotonic() + 0.3
    while time.monotonic() < quiet:
        assert marked(marker) == []


@posix
@pytest.mark.parametrize("session", ["", "os.setsid()"])
def test_an_endless_chain_of_processes_is_ended(marker: str, tmp_path: Path, session: str) -> None:
    chain = f"""
        import os, time
        if os.fork():
            os._exit(0)
        {session}
        for link in range(10_000):            # each is dead before a look at all processes is through
            if link == 50:
                open("group.new", "w").write(str(os.getpgrp()))
                os.rename("group.new", "group")
            time.sleep(0.01)
            if os.fork():
                os._exit(0)
    """
    with start(chain, marker, tmp_path) as tree:
        assert tree.wait(20) == 0
        until(lambda: (tmp_path / "group").exists())

        assert tree.stop(0.2).left == ()

    group = int((tmp_path / "group").read_text())
    try:
        until(lambda: not is_there(group), 10)
    finally:
        process.system.kill_groups([group])


def is_there(group: int) -> bool:
    """Is anybody in this process group, dead or alive?"""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@posix
def test_a_stop_can_be_made_immediate_while_it_waits(marker: str, tmp_path: Path) -> None:
    with start(TERM_IGNORING, marker, tmp_path) as tree:
        ready(tmp_path, 1)
        began = time.monotonic()

        stopped = tree.stop(lambda: 60 if time.monotonic() - began < 0.3 else 0)

        assert 0.3 <= stopped.seconds < 3
        assert not tree.alive()


@posix
def test_output_is_taken_while_a_stop_waits(marker: str, tmp_path: Path) -> None:
    talker = """
        import os, signal, sys
        def end(*_):
            sys.stdout.write("x" * 10_000_000); sys.stdout.flush(); sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        os.write(1, b"ready")  # in one piece
        signal.pause()
    """
    taken = []
    with start(talker, marker, tmp_path) as tree:
        until(lambda: tree.chunk(0.1))

        def take() -> None:
            while chunk := tree.chunk(0):
                taken.append(len(chunk))

        stopped = tree.stop(20, meanwhile=take)
        assert tree.poll() == 0
        taken.append(len(read_all(tree)))

    assert stopped.killed == 0 and sum(taken) == 10_000_000


@posix
def test_a_stranger_that_holds_the_output_does_not_hold_us(marker: str, tmp_path: Path) -> None:
    code = """
        import os, subprocess, sys
        if os.fork() == 0:
            os.setsid()
            sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
            child = subprocess.Popen(sleeper, env={}, start_new_session=True)
            print(child.pid, flush=True)
            os._exit(0)
        os.wait()
    """
    threads = threading.active_count()
    tree = start(code, marker, tmp_path)
    escaped = int(until(lambda: tree.chunk(0.1)))
    until(lambda: tree.poll() is not None)

    began = time.monotonic()
    assert not tree.drained
    tree.stop(1)
    tree.close()

    assert time.monotonic() - began < 2
    assert threading.active_count() == threads
    os.kill(escaped, signal.SIGKILL)


def test_a_flood_of_output_waits_in_the_pipe_and_not_in_memory(marker: str, tmp_path: Path) -> None:
    with start("import os\nwhile True: os.write(1, b'x' * 65536)", marker, tmp_path) as tree:
        until(lambda: tree._reader.chunks.full())
        before = psutil.Process().memory_info().rss
        waited = time.monotonic() + 0.5
        until(lambda: time.monotonic() > waited)

        assert psutil.Process().memory_info().rss - before < 10_000_000
        tree.stop(0)
        assert not tree.alive()


@posix
def test_cpu_time_counts_the_whole_tree_and_never_falls(marker: str, tmp_path: Path) -> None:
    burner = """
        import os, psutil, time
        def burn(seconds):
            end = time.process_time() + seconds
            while time.process_time() < end: pass
        ended, living = os.pipe()
        for n in range(2):                       # an orphan: nobody of the tree keeps account of it
            if os.fork() == 0:
                if os.fork() == 0:
                    os.setsid(); burn(0.2); os.write(living, b"%d " % os.getpid()); os._exit(0)
                os._exit(0)
            os.wait()
        os.close(living)
        orphans = os.read(ended, 99).split() + os.read(ended, 99).split()
        while any(psutil.pid_exists(int(pid)) for pid in orphans):   # until they are buried, too
            time.sleep(0.01)
        time.sleep(0.1)
        if os.fork() == 0:
            burn(0.2); os._exit(0)
        os.wait()
        print("burnt", flush=True)
        time.sleep(600)
    """
    with start(burner, marker, tmp_path) as tree:
        seen = [tree.cpu_seconds()]
        burnt = False
        while not burnt or len(tree.processes()) > 1:
            seen.append(tree.cpu_seconds())
            burnt = burnt or bool(tree.chunk(0.02))

        assert seen == sorted(seen)
        assert 0.4 < seen[-1] < 2


def test_twenty_trees_leave_no_thread_and_no_descriptor(marker: str, tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    with start("print(1)", marker, tmp_path) as tree:
        tree.wait(10)
    before = held()
    for _ in range(20):
        with start("print(1)", marker, tmp_path) as tree:
            tree.wait(10)

    assert held() == before


# --- after a crash of the service


SERVICE = """
    import json, os, sys, time
    from pathlib import Path
    from watchrender.render.process import Tree
    record = Path(sys.argv[2])
    tree = Tree.start([sys.executable, "-c", sys.argv[3]], env=dict(os.environ), cwd=Path.cwd(), marker=sys.argv[1],
                      recorded=lambda found: record.write_text(json.dumps(found.to_dict())))
    print("up", flush=True)
    time.sleep(600)
"""


def crashed_service(marker: str, tmp_path: Path, code: str, members: int) -> TreeRecord:
    """What the next life of a killed service finds on disk; the tree lives on."""
    file = tmp_path / "record.json"
    service = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVICE), marker, str(file), textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(process.__file__).parents[2])},
        cwd=tmp_path,
    )
    with service:
        ready(tmp_path, members)
        until(lambda: json.loads(file.read_text() or "{}").get("pid"))
        service.kill()
    return TreeRecord.from_dict(json.loads(file.read_text()))


FAMILY = textwrap.dedent(family(TERM_IGNORING, SETSID, DOUBLE_FORK))


@posix
def test_after_a_crash_the_tree_of_the_earlier_life_is_reaped(marker: str, tmp_path: Path) -> None:
    record = crashed_service(marker, tmp_path, FAMILY, 3)
    assert len(marked(marker)) == 4

    assert reap(record, 0.3) == 4

    assert marked(marker) == []
    assert reap(record, 0.3) == 0


@posix
def test_a_record_that_was_not_completed_still_finds_the_tree(marker: str, tmp_path: Path) -> None:
    crashed_service(marker, tmp_path, FAMILY, 3)

    assert reap(TreeRecord(marker=marker), 0) == 4


@posix
def test_a_member_without_a_marker_is_reaped_when_its_group_is_proven(marker: str, tmp_path: Path) -> None:
    code = """
        import subprocess, sys, time
        subprocess.run(["/bin/sh", "-c", "env -i sleep 600 & echo $! > clean"])
        open("ready.1", "w").close()
        time.sleep(600)
    """
    record = crashed_service(marker, tmp_path, code, 1)
    clean = psutil.Process(int((tmp_path / "clean").read_text()))
    until(lambda: clean.name() == "sleep" and clean.environ() == {})

    reap(record, 0)

    assert not lives(clean)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    found = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    until(lambda: psutil.Process(found.pid).environ())
    yield found
    found.kill()
    found.wait()


def test_a_stranger_that_got_the_pid_is_not_touched(marker: str, stranger: subprocess.Popen[bytes]) -> None:
    started = psutil.Process(stranger.pid).create_time()

    assert reap(TreeRecord(marker=marker, pid=stranger.pid, started=started - 3600, pgid=stranger.pid), 0) == 0
    assert reap(TreeRecord(marker=marker, pid=stranger.pid, started=started, pgid=os.getpgrp()), 0) == 0
    assert reap(TreeRecord(marker=marker, pid=stranger.pid, started=None, pgid=None), 0) == 0

    assert stranger.poll() is None


def test_we_never_end_ourselves_or_those_above_us(marker: str, tmp_path: Path) -> None:
    suicidal = """
        import os, subprocess, sys
        from watchrender.render.process import MARKER, TreeRecord, reap, stray
        me = os.environ[MARKER]
        assert stray(me) == [], stray(me)
        assert reap(TreeRecord(marker=me, pid=os.getpid(), started=None, pgid=os.getpgrp()), 0) == 0
        if len(sys.argv) > 1:
            sys.exit(0)
        sys.exit(subprocess.call([sys.executable, "-c", os.environ["CODE"], "below"]))
    """
    code = textwrap.dedent(suicidal)
    env = {"CODE": code, "PYTHONPATH": str(Path(process.__file__).parents[2])}

    with start(code, marker, tmp_path, env=env) as tree:
        assert (tree.wait(20), read_all(tree)) == (0, b"")


def test_strays_are_found_by_the_beginning_of_their_marker(marker: str, tmp_path: Path) -> None:
    with start("import time; time.sleep(600)", f"{marker}/job.1", tmp_path) as tree:
        until(lambda: marked(marker))

        assert [(record.marker, record.pid) for record in stray(f"{marker}/")] == [(f"{marker}/job.1", tree.pid)]
        assert stray(f"{marker}/other") == []

    with pytest.raises(ValueError, match="every service"):
        stray("")


# --- Windows, with a stand-in for kernel32


class FakeKernel32:
    """Remembers what it was told; `refused` names the calls that fail."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.calls: list[tuple[Any, ...]] = []
        self.members = [10, 11]

    def _say(self, name: str, *told: Any) -> int:
        self.calls.append((name, *told))
        return 0 if name == self.refused else 1

    def CreateJobObjectW(self, attributes: None, name: None) -> int | None:
        return 7 if self._say("create") else None

    def SetInformationJobObject(self, job: int, kind: int, value: Any, size: int) -> int:
        return self._say("limit", job, kind, value._obj.basic.flags, size)

    def QueryInformationJobObject(self, job: int, kind: int, value: Any, size: int, returned: None) -> int:
        if kind == process_windows.JOB_PROCESS_LIST:
            value._obj.listed = len(self.members)
            value._obj.pids[: len(self.members)] = self.members
        else:
            value._obj.user, value._obj.kernel = 12_500_000, 2_500_000
        return self._say("query", job, kind)

    def AssignProcessToJobObject(self, job: int, process: int) -> int:
        return self._say("assign", job, process)

    def TerminateJobObject(self, job: int, code: int) -> int:
        return self._say("terminate", job)

    def GenerateConsoleCtrlEvent(self, event: int, group: int) -> int:
        return self._say("break", event, group)

    def CloseHandle(self, handle: int) -> int:
        return self._say("close", handle)


class WindowsChild:
    pid = 42
    _handle = 99

    def poll(self) -> int | None:
        return None


def job_with_child(kernel32: FakeKernel32) -> process_windows.Job:
    job = process_windows.Job(kernel32)
    job.take(WindowsChild())  # type: ignore[arg-type]
    return job


def test_a_job_object_takes_the_child_and_dies_with_its_handle() -> None:
    kernel32 = FakeKernel32()
    hold: Hold = job_with_child(kernel32)

    hold.kill()
    hold.close()
    hold.close()

    size = 144 if ctypes.sizeof(ctypes.c_void_p) == 8 else 112
    assert kernel32.calls == [
        ("create",),
        ("limit", 7, 9, 0x2000, size),
        ("assign", 7, 99),
        ("terminate", 7),
        ("close", 7),
    ]
    assert hold.options() == {"creationflags": 0x08000200}


def test_a_job_object_knows_its_members_and_their_cpu_time() -> None:
    kernel32 = FakeKernel32()
    job = job_with_child(kernel32)

    assert job.pids() == {10, 11}
    assert job.cpu_seconds() == 1.5
    assert job.ask()
    assert kernel32.calls[-1] == ("break", 1, 42)


@pytest.mark.parametrize("refused", ["create", "limit", "assign"])
def test_without_a_job_the_tree_is_ended_by_taskkill(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(process_windows, "taskkill", killed.append)
    kernel32 = FakeKernel32(refused)
    job = job_with_child(kernel32)

    job.kill()

    assert killed == [42]
    assert job.cpu_seconds() is None
    assert ("terminate", 7) not in kernel32.calls
    assert (("close", 7) in kernel32.calls) == (refused == "limit")


def test_nobody_waits_where_nobody_can_have_heard() -> None:
    assert not job_with_child(FakeKernel32("break")).ask()


def test_taskkill_ends_the_tree_by_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = tmp_path / "System32" / "taskkill.exe"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" > {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))

    process_windows.taskkill(42)

    assert told.read_text().split() == ["/PID", "42", "/T", "/F"]


def test_the_windows_half_offers_what_the_posix_half_offers() -> None:
    wanted = {"new_hold", "ask", "kill_groups", "groups_above_us", "exit_of", "is_readable", "look_at"}

    assert wanted <= set(dir(process_windows))
    if sys.platform != "win32":
        from watchrender.render import process_posix

        assert wanted <= set(dir(process_posix))
    with pytest.raises(OSError, match="Windows only"):
        process_windows.load_kernel32() if sys.platform != "win32" else pytest.skip("has the real one")
