"""Install, uninstall, and ask: one way for systemd, launchd and Task Scheduler."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from watchrender import disk
from watchrender.core import naming
from watchrender.install.launchd import Launchd
from watchrender.install.plan import Manager, Plan
from watchrender.install.presence import alive
from watchrender.install.run import CommandFailed, run
from watchrender.install.session import Session, trouble
from watchrender.install.systemd import Systemd
from watchrender.install.taskscheduler import TaskScheduler
from watchrender.spool.folders import Folders

_END_SECONDS = 120.0
_GONE_SECONDS = 30.0
Say = Callable[[str], None]

_ROOTS_OWN = (
    "this is root, whose own services would render as root: install it as the user who renders, or give --system"
    " --user NAME."
)


def manager_of(platform: str = sys.platform, *, system: bool = False) -> Manager:
    """Who starts programs on this machine."""
    if platform == "win32":
        return TaskScheduler()
    return Launchd() if platform == "darwin" else Systemd(system=system)


def objections(session: Session, *, system: bool, user: str | None) -> list[str]:
    """Why this should not be installed from here, or in this way. `--force` is the answer to all of them."""
    if session.platform in ("win32", "darwin"):
        found = trouble(session)
        refused = [f"{found[0]}. {found[1]}"] if found else []
        if system:
            refused.append("--system: After Effects does not render without the session of its user; leave it out.")
        return refused
    if not system:
        return [_ROOTS_OWN] if session.is_root else []
    refused = [] if session.is_root else ["--system writes below /etc: run it as root (sudo)."]
    if user in (None, "root", "0"):
        refused.append("--system without --user NAME would render as root: name a user who may read the projects.")
    elif user is not None and not is_user(user):
        refused.append(f"--user {user}: this machine has no such user.")
    return refused


def is_user(name: str) -> bool:
    """Does this machine know a user of this name or number?"""
    if sys.platform == "win32":
        return True  # who renders is never named there
    import pwd

    try:
        pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def install(manager: Manager, plan: Plan, folders: Folders, say: Say) -> None:
    """Write the definition and start it; what runs already by that name is ended first. Raises `CommandFailed`."""
    file = manager.file(plan.name)
    if not isinstance(manager, Systemd):  # which ends it by itself, when it is told to start it anew
        _end_before(manager, plan.name, folders, say)
    try:
        disk.mkdirs(file.parent)
        if isinstance(manager, Launchd):
            disk.mkdirs(Path(plan.state_dir))  # launchd starts nothing whose log it cannot open, and makes no folder
        disk.write(file, manager.text(plan))
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror or error}") from None
    say(f"written: {file}")
    for command in manager.install_commands(plan.name):
        say(" ".join(command))
        run(command)


def _end_before(manager: Manager, name: str, folders: Folders, say: Say) -> None:
    """End what an earlier installation started, the running render put back in the queue."""
    standing = manager.standing(name)
    if not manager.file(name).is_file() and not standing.installed:
        return
    if isinstance(manager, TaskScheduler) and standing.running:
        _end_task(manager, name, folders, say)
    _quietly(manager.uninstall_commands(name))
    # launchd answers before it is done, and takes nothing of a name that it is still ending.
    until = time.monotonic() + _END_SECONDS
    while ((left := manager.standing(name)).running or left.starts_by_itself) and time.monotonic() < until:
        time.sleep(0.25)


def uninstall(manager: Manager, name: str, folders: Folders, say: Say) -> bool:
    """End it, the running render put back, and make the manager forget it. False if it was not installed."""
    file = manager.file(name)
    standing = manager.standing(name)
    if not file.is_file() and not standing.installed:
        return False
    if isinstance(manager, TaskScheduler) and standing.running:
        _end_task(manager, name, folders, say)
    failed = None
    for command in manager.uninstall_commands(name):
        say(" ".join(command))
        try:
            run(command)
        except CommandFailed as error:
            failed = error
    if failed is not None and manager.standing(name).running:
        raise failed
    disk.remove(file)
    say(f"removed: {file}")
    _quietly(manager.after_uninstall(name))
    return True


def _end_task(manager: Manager, name: str, folders: Folders, say: Say) -> None:
    """Ask, and wait until nothing of it runs: its processes are gone a moment after its last word, and what follows
    would kill them."""
    if not end_softly(folders, say):
        return
    until = time.monotonic() + _GONE_SECONDS
    while manager.standing(name).running and time.monotonic() < until:
        time.sleep(0.25)


def end_softly(folders: Folders, say: Say, *, seconds: float = _END_SECONDS) -> bool:
    """Ask the service through its folder to stop, wait for it, and take away the pause that this leaves. True if it
    has ended."""
    service_json = folders.status / "service.json"
    if alive(service_json) is None:
        return True
    try:
        was_paused = _pause_mark(folders) is not None
        disk.write_new(folders.inbox / "_STOP", b"")
    except FileExistsError:
        pass  # somebody has asked already
    except OSError as error:
        say(f"the service cannot be asked to stop: {folders.inbox}: {error.strerror or error}")
        return False
    say("the service is asked to stop")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if alive(service_json) is None:
            mark = _pause_mark(folders)
            if mark is not None and not was_paused:
                disk.remove(mark)
            return True
        time.sleep(0.25)
    return False


def _pause_mark(folders: Folders) -> Path | None:
    for entry in folders.inbox.iterdir() if folders.inbox.is_dir() else ():
        control = naming.control(entry.name, is_dir=entry.is_dir())
        if control is not None and control.order is naming.Order.PAUSE:
            return entry
    return None


def _quietly(commands: list[list[str]]) -> None:
    """What may fail because there is nothing to do."""
    for command in commands:
        try:
            run(command)
        except CommandFailed:
            continue
