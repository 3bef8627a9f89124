"""`watchrender doctor`: is this machine fit to serve this hot folder? Each finding is ok, warn or fail, with its cure.

It changes nothing but for hidden trial files that it removes again, and needs no service; one that runs is not
disturbed. Every part has a time limit, because what is examined may hang.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil

from watchrender import __version__, disk
from watchrender.config import Config, cautions, default_state_dir, is_loopback
from watchrender.core import clock
from watchrender.core.failure import CATALOGUE, Code
from watchrender.core.states import OVER
from watchrender.install import farm, machine
from watchrender.install.presence import alive
from watchrender.install.report import Line, bad, hung, ok, warn, within
from watchrender.install.share import Measured, measure, trial_folder
from watchrender.ledger.journal import FORMAT
from watchrender.ledger.reading import load, migrated
from watchrender.ledger.storage import NewerLedger, read
from watchrender.retention import expired, in_words
from watchrender.spool.folders import Folders
from watchrender.spool.volume import Volume, free_bytes, volume_of

PATIENCE = 60.0
_SLOW = 0.25  # seconds for one small file
_SKEW = 2.0
_SHORT_TOKEN = 16
_SHORT_SETTLE = 5.0  # seconds; on a share, listings and sizes may be that old


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is examined."""

    config: Config
    source: Path | None  # the file of the configuration; None: the environment alone

    @property
    def root(self) -> Path:
        return Path(self.config.root)

    @property
    def folders(self) -> Folders:
        return Folders(self.root, self.config.folders)

    @property
    def state_dir(self) -> Path:
        return default_state_dir(self.root, self.config)

    @property
    def work_dir(self) -> Path:
        return Path(self.config.nexrender.work_dir) if self.config.nexrender.work_dir else self.state_dir / "work"

    def service(self) -> dict[str, Any] | None:
        return alive(self.folders.status / "service.json")


def examine(
    config: Config | None, faults: Sequence[Line] = (), *, source: Path | None = None, patience: float = PATIENCE
) -> Iterator[Line]:
    """All findings, one after the other. Without a configuration the machine alone is examined."""
    for name, look in _of_the_machine(config):
        yield from within(patience, name, look)
    yield from faults
    if config is None:
        return
    case = Case(config=config, source=source)
    for name, look in _of_the_case(case):
        found = within(patience, name, look)
        yield from found
        if hung(found):  # what follows would hang as well, a minute for each part
            yield warn("rest", "not looked at: it would hang too", "Run the doctor again when that disk answers.")
            return
        if name == "root" and not any(line.level == "ok" for line in found):
            return  # without it there is nothing more to look at


def _of_the_machine(config: Config | None) -> list[tuple[str, Callable[[], Iterator[Line]]]]:
    lengths = partial(machine.path_lengths, None if config is None else Path(config.root))
    if config is not None and config.engine == "nexrender-server":
        # Nothing renders here: nexrender, After Effects and their session are the workers' own.
        return [
            ("python", machine.python),
            ("path length", lengths),
            ("nexrender-server", partial(farm.server, config)),
            ("path_map", partial(farm.paths_of_the_workers, config)),
            ("extras", partial(machine.extras, config)),
        ]
    looks: list[tuple[str, Callable[[], Iterator[Line]]]] = [
        ("python", machine.python),
        ("path length", lengths),
        ("session", machine.session),
        ("nexrender", partial(machine.node_and_nexrender, config)),
        ("licence", machine.licence),
        ("extras", partial(machine.extras, config)),
    ]
    if config is not None:
        looks.insert(4, ("aerender", partial(machine.after_effects, config)))
    return looks


def _of_the_case(case: Case) -> list[tuple[str, Callable[[], Iterator[Line]]]]:
    looks = (settings, token, notify, state, work, root, folders, renames, share, space, keeping, service)
    return [(look.__name__, partial(look, case)) for look in looks]


# ------------------------------------------------------------------------------------------------------------ settings


def settings(case: Case) -> Iterator[Line]:
    """Settings that cannot act, or that will act otherwise than somebody hopes."""
    contrary, hasty = cautions(case.config), list(_hasty(case))
    for words in contrary:
        yield warn("settings", words, "Change one of the two; `watchrender check` shows what is in force.")
    for words in hasty:
        yield warn("settings", words, "Write a longer time, or leave it out for the default.")
    if not contrary and not hasty:
        yield ok("settings", f"{case.source or 'the environment'}: no two contradict each other")


def _hasty(case: Case) -> Iterator[str]:
    watch, limits, keep = case.config.watch, case.config.limits, case.config.retention
    settle = watch.settle if isinstance(watch.settle, float | int) else None
    if settle is not None and settle < _SHORT_SETTLE and case.root.is_dir() and volume_of(case.root).is_share:
        yield f"watch.settle: {settle:g}s is short for a share, whose sizes may be that old; auto is 12s"
    if limits.stall < 60:
        yield f"limits.stall: {limits.stall:g}s ends renders that merely load a large project; 60s is short already"
    if keep.history < keep.status:
        yield "retention.history: is shorter than retention.status: status files outlive the record they tell of"


def token(case: Case) -> Iterator[Line]:
    server = case.config.server
    if not server.enabled:
        yield ok("token", "not needed: the server is off")
        return
    if server.token is None and server.allowed_hosts:
        words = f"none, and {', '.join(server.allowed_hosts)} (a proxy?) lets others in without one"
        yield warn("token", words, "Set server.token: for watchrender it is always the proxy's machine that asks.")
    elif server.token is None:
        yield ok("token", f"none, and none is needed: only this machine can reach {server.host}")
    elif len(server.token) < _SHORT_TOKEN:
        cure = 'Take a longer one: `python -c "import secrets; print(secrets.token_urlsafe(24))"`.'
        yield warn("token", f"server.token has {len(server.token)} characters, which can be guessed", cure)
    else:
        reach = "this machine" if is_loopback(server.host) else "other machines"
        yield ok("token", f"server.token is set; {reach} can reach {server.host}")
    yield from _told_to_all(case)


def _told_to_all(case: Case) -> Iterator[Line]:
    """A file with a secret in it that every user of the machine may read."""
    if case.source is None or os.name == "nt" or not case.source.is_file():
        return
    given = case.config.given
    secret = [name for name in given if name.endswith((".token", ".secret")) or _is_address_of_notify(name)]
    named = [name for name in secret if given[name].where not in os.environ]
    if named and case.source.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        cure = f"chmod 600 {case.source}, or keep secrets in the environment."
        yield warn("token", f"{case.source} holds {', '.join(named)}, and other users may read it", cure)


def _is_address_of_notify(name: str) -> bool:
    return name.startswith("notify.") and name.endswith(".url")


def notify(case: Case) -> Iterator[Line]:
    from watchrender.notify import trouble

    for name, target in case.config.notify.items():
        wrong = trouble(target.url, target.secret)
        words = f"{name} is told of {', '.join(target.on)}"
        yield bad(f"notify {name}", *wrong) if wrong else ok(f"notify {name}", words)


# -------------------------------------------------------------------------------------------------------------- places


def state(case: Case) -> Iterator[Line]:
    """The record, on a local disk, writable, and of a format that this version reads."""
    standing = _standing(case.state_dir)
    volume = volume_of(standing)
    if volume.is_share:
        cure = "Set state_dir to a folder on a disk of this machine."
        yield bad("state_dir", f"{case.state_dir} lies on a share ({volume.kind})", cure)
    elif why := _unwritable(standing):
        yield bad("state_dir", f"{case.state_dir}: {why}", f"Give this user the right to write in {standing}.")
    else:
        yield ok("state_dir", f"{case.state_dir} ({volume.kind})")
    yield from _ledger(case.state_dir / "ledger" / "state.json")


def _ledger(path: Path) -> Iterator[Line]:
    if not path.parent.is_dir():
        yield ok("ledger", "none yet: the first start makes it")
        return
    try:
        loaded = load(path)
    except NewerLedger as newer:
        yield bad("ledger", str(newer), "Use the newer watchrender, or another state_dir.")
        return
    for words in loaded.warnings:
        yield warn("ledger", words, "Keep the damaged file for study; what is in the folders is not lost.")
    count = len(migrated(loaded).get("jobs", {}))
    older = "" if loaded.format == FORMAT else f", of format {loaded.format}: the next start brings it to {FORMAT}"
    yield ok("ledger", f"{count} job{'s' if count != 1 else ''} in the record{older}")


def work(case: Case) -> Iterator[Line]:
    """Where nexrender works, if that has a place of its own."""
    if case.config.nexrender.work_dir is None:
        return
    standing = _standing(case.work_dir)
    volume = volume_of(standing)
    if why := _unwritable(standing):
        yield bad("work_dir", f"{case.work_dir}: {why}", f"Give this user the right to write in {standing}.")
    elif volume.is_share:
        cure = "Set nexrender.work_dir to a folder on a disk of this machine, with room for a film and its footage."
        yield warn("work_dir", f"{case.work_dir} is {_kind(volume)}: nexrender's own copies cross the network", cure)
    else:
        yield ok("work_dir", f"{case.work_dir} is {_kind(volume)}")


def root(case: Case) -> Iterator[Line]:
    if case.root.is_file():
        yield bad("root", f"{case.root} is no folder", "Set root to the path of a folder.")
        return
    if not case.root.is_dir():
        cure = f"Make it (`watchrender init {case.root}`), or mount the share; a root is never made by the service."
        yield bad("root", f"{case.root} is not there", cure)
        return
    volume = volume_of(case.root)
    yield ok("root", f"{case.root} is {_kind(volume)}")
    if sys.platform == "win32" and volume.is_share and not str(case.root).startswith("\\\\"):
        cure = r"Write the root as \\server\share\…, which every session knows."
        yield warn("root", f"{case.root} is a drive letter of this log-on, which other sessions do not have", cure)


def _kind(volume: Volume) -> str:
    names = {"cifs": "SMB", "smb2": "SMB", "smb3": "SMB", "smbfs": "SMB", "nfs": "NFS", "nfs4": "NFS"}
    if not volume.is_share:
        return f"on a local disk ({volume.kind})"
    return f"on a share ({names.get(volume.kind, volume.kind)})"


def folders(case: Case) -> Iterator[Line]:
    """May this user read and write in each of the six?"""
    places = case.folders
    missing: list[str] = []
    refused: dict[Path, str] = {}
    for place in (places.inbox, places.active, places.done, places.failed, places.cancelled, places.status):
        if not place.is_dir():
            missing.append(place.name)
            place = _standing(place)
        if place not in refused and (why := _unwritable(place)):
            refused[place] = why
    for place, why in refused.items():
        yield bad("folders", f"{place}: {why}", f"Give this user the right to read and write in {place}.")
    if not refused:
        later = f"; made at the first start: {', '.join(missing)}" if missing else ""
        yield ok("folders", f"may be read and written{later}")


def renames(case: Case) -> Iterator[Line]:
    """A job moves between the folders by one rename, of a file and of a folder: tried."""
    places = case.folders
    if not places.inbox.is_dir():
        yield ok("renames", "tried at the first start, when the folders are there")
        return
    for other in (places.active, places.failed, places.cancelled, places.status):
        if other.is_dir() and (error := _refused(places.inbox, other)):
            cure = "Give this user the right to write, rename and delete in both."
            if error.errno == errno.EXDEV:
                cure = "Put all but done on one volume: do not mount or link one of them from elsewhere."
            yield bad("renames", f"from {places.inbox} to {other}: {error.strerror or error}", cure)
            return
    elsewhere = places.done.is_dir() and os.stat(places.done).st_dev != os.stat(places.inbox).st_dev
    kind = f"; done is {_kind(volume_of(places.done))} of its own: films are copied there" if elsewhere else ""
    yield ok("renames", f"jobs move by one rename{kind}")


def share(case: Case) -> Iterator[Line]:
    """What the root's disk really does, measured."""
    place = next((one for one in (case.folders.status, case.folders.inbox) if one.is_dir()), case.root)
    found = measure(place)
    yield _latency(found)
    if found.torn_reads or not found.mkdir_wins:
        words = "a file that is renamed over is seen half or not at all" if found.torn_reads else "mkdir wins twice"
        cure = "Mount the share by SMB 3 or NFS 4 without a synchronising client between, or use another disk."
        yield bad("atomicity", words, cure)
    else:
        yield ok("atomicity", "a reader met a whole file each time while it was replaced")
    folds = "folds case" if found.folds_case else "tells capitals from small letters"
    yield ok("names", f"the disk {folds}{' and the two ways to write é' if found.folds_accents else ''}")
    yield _clock(found)
    if found.left_behind:
        yield warn("share", f"files in {place} could not be removed again", "Give this user the right to delete there.")


def _latency(found: Measured) -> Line:
    words = f"{found.latency * 1000:.1f} ms for one small file, written, flushed and renamed"
    if found.latency < _SLOW:
        return ok("latency", words)
    cure = "Look at the network and the server; until then status files and claims are slow."
    return warn("latency", words, cure)


def _clock(found: Measured) -> Line:
    if abs(found.skew) <= _SKEW:
        return ok("clock", "the disk's clock and ours agree")
    side = "ahead of" if found.skew > 0 else "behind"
    words = f"the disk's clock is {abs(found.skew):.0f} s {side} ours: footage looks newer or older than it is"
    return warn("clock", words, "Let both machines follow one time server (NTP).")


def space(case: Case) -> Iterator[Line]:
    need = case.config.limits.min_free_disk
    places = (case.root, case.folders.done, case.work_dir, case.state_dir)
    seen: dict[int, str] = {}
    for place in (_standing(place) for place in places):
        device = os.stat(place).st_dev
        if device in seen:
            continue
        seen[device] = str(place)
        free = free_bytes(place)
        if free is None:
            continue
        words = f"{_gib(free)} free on the disk of {place}"
        if free < need:
            yield bad("space", f"{words}; limits.min_free_disk wants {_gib(need)}", CATALOGUE[Code.DISK_FULL].cure)
        elif free < 3 * need:
            yield warn("space", f"{words}; below {_gib(need)} the queue waits", "Free some, or set retention.done.")
        else:
            yield ok("space", words)


def keeping(case: Case) -> Iterator[Line]:
    """What the terms of `retention` would remove now: a dry run."""
    keep, places = case.config.retention, case.folders
    live = _live_ids(case.state_dir / "ledger" / "state.json")
    terms = (("done", keep.done, (places.done,)), ("failed", keep.failed, (places.failed, places.cancelled)))
    for name, seconds, tops in terms:
        if seconds is None:
            continue
        before = clock.stamp(datetime.now(UTC) - timedelta(seconds=seconds))
        found = list(expired(tops, before, live.__contains__))
        words = f"would remove {in_words(found)}" if found else "removes nothing now"
        yield ok("retention", f"retention.{name} {words}")
    if keep.done is None and keep.failed is None:
        yield ok("retention", "job folders are kept for ever; films are for people to move or remove")


def _live_ids(path: Path) -> set[str]:
    """The jobs that are not over, as the record tells."""
    if not path.parent.is_dir():
        return set()
    over = {str(state) for state in OVER}
    return {str(record["id"]) for record in read(path).get("jobs", {}).values() if record.get("state") not in over}


# ------------------------------------------------------------------------------------------------------------- service


def service(case: Case) -> Iterator[Line]:
    """The service that runs, if one does, or whether one could have its port."""
    beat = case.service()
    if beat is None:
        yield ok("service", "none runs now")
        yield from _port_is_free(case)
        return
    who = f"watchrender {beat.get('version')} on {beat.get('host')}, process {beat.get('pid')}, {beat.get('state')}"
    if beat.get("version") != __version__:
        yield warn("service", f"{who}; this is {__version__}", "Start the service anew, so that it is the new version.")
    else:
        yield ok("service", who)
    for waiting in beat.get("waiting") or ():
        yield bad("queue", f"waits: {waiting.get('message')}", str(waiting.get("cure")))
    health = beat.get("health") or {}
    if refused := health.get("status_refused"):
        yield warn("status files", str(refused), "Look at the rights of the service's user in the status folder.")
    for warning in (health.get("ledger") or {}).get("warnings") or ():
        yield warn("ledger", str(warning), "Keep the damaged file for study; what is in the folders is not lost.")
    yield from _port_answers(case, beat)


def _port_is_free(case: Case) -> Iterator[Line]:
    server = case.config.server
    if not server.enabled or server.port == 0:
        yield ok("port", "the server is off" if not server.enabled else "any free one is taken")
        return
    try:
        family = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family[0], socket.SOCK_STREAM) as sock:
            if os.name != "nt":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(family[4])
    except OSError as error:
        words = f"{server.host}:{server.port}: {error.strerror or error}{_who_has(server.port)}"
        yield bad("port", words, _cure_of_port(error))
        return
    yield ok("port", f"{server.host}:{server.port} is free")


def _cure_of_port(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Set server.host to a name or address that this machine has, such as 127.0.0.1."
    if error.errno == errno.EACCES:
        return "Set server.port to one above 1023; the others are the administrator's (a proxy can listen there)."
    return "End that program, or set server.port to another."


def _who_has(port: int) -> str:
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f" ({psutil.Process(found.pid).name()}, process {found.pid}, has it)"
    except (psutil.Error, OSError):
        pass  # not allowed to ask: macOS tells only root
    return ""


def _port_answers(case: Case, beat: dict[str, Any]) -> Iterator[Line]:
    server = case.config.server
    if not server.enabled or beat.get("host") != socket.gethostname():
        return
    host, port = beat.get("address") or (server.host, server.port)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/healthz"
    try:
        answer = httpx2.get(url, timeout=5.0, trust_env=False)
        well, said = answer.status_code == 200, f"answers {answer.status_code}"
    except httpx2.HTTPError as error:
        well, said = False, str(error) or type(error).__name__
    cure = "Look into the service's log; start it anew if it does not answer."
    yield ok("port", f"{host}:{port} answers") if well else bad("port", f"{url}: {said}", cure)


# ------------------------------------------------------------------------------------------------------------- helpers


def _standing(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    found = (place for place in (path, *path.parents) if place.is_dir())
    return next(found, Path(path.anchor or "."))  # a drive that is not there has no folder above it


def _unwritable(folder: Path) -> str | None:
    """Why this user cannot read and write here: tried, because rights on shares are not told by asking."""
    try:
        os.scandir(folder).close()
        with trial_folder(folder) as trial:
            disk.write(trial / "trial", b"", durable=False)
    except OSError as error:
        return str(error.strerror or error)
    return None


def _refused(one: Path, other: Path) -> OSError | None:
    try:
        with trial_folder(one) as here, trial_folder(other) as there:
            disk.write(here / "file", b"", durable=False)
            disk.rename(here / "file", there / "file")
            disk.mkdir(here / "folder")
            disk.rename(here / "folder", there / "folder")
    except OSError as error:
        return error
    return None


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count // 2**20} MiB"
