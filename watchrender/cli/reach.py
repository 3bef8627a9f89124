"""How a command reaches the service: over HTTP where it answers, else through the folder and its control files.

Both ways do the same: an order in the folder is obeyed when the service looks, at once if it runs and at its next start
if it does not.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from watchrender import disk
from watchrender.cli.unseen import unseen
from watchrender.config import Config
from watchrender.control import Denied, is_pause, take_away
from watchrender.core import naming
from watchrender.spool.folders import STATUS_SUFFIX, Folders, read_status
from watchrender.spool.lock import read_beat
from watchrender.spool.plain import read_plain
from watchrender.spool.returned import bare
from watchrender.spool.statusfile import read_statuses

#: A beat older than this belongs to a service that is gone.
STALE_SECONDS = 15.0
#: So long a command waits for a running service to do what it laid into the folder.
OBEY_SECONDS = 10.0
_LETTER_BYTES = 64 * 1024
#: So many jobs are named where a word fits several.
_NAMED = 5
_SAID = {"pause": "paused", "resume": "resumed", "drain": "draining", "stop": "stopping"}
_OVER = ("completed", "failed", "cancelled")


class Unknown(Exception):
    """There is no such job, or the word fits several."""


class Refused(Exception):
    """The service, or the state of the job, says no; the words tell why."""


class Reach:
    """The service of one root, seen from a command."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folders = Folders(Path(config.root), config.folders)
        self._beat = read_beat(self.folders.status / "service.json")
        self._client: Any = None

    # -- is it there? ---------------------------------------------------------------------------------------

    def beat(self) -> dict[str, Any] | None:
        """What the running service says of itself; None where none runs."""
        found = read_beat(self.folders.status / "service.json")
        if found is None or found.get("state") == "stopped":
            return None
        try:
            age = time.time() - (self.folders.status / "service.json").stat().st_mtime
        except OSError:
            return None
        return found if age < STALE_SECONDS else None

    def http(self) -> Any:
        """A client for the service's API, or None where none answers."""
        if self._client is not None:
            return self._client or None
        self._client = self._connect() or False
        return self._client or None

    def _connect(self) -> Any:
        if not self.config.server.enabled:
            return None
        beat = self.beat()
        if beat is None:
            return None
        import httpx2

        address = beat.get("address") or [self.config.server.host, self.config.server.port]
        host = "127.0.0.1" if address[0] in ("0.0.0.0", "::") else address[0]
        host = f"[{host}]" if ":" in str(host) else host
        headers = {"Authorization": f"Bearer {self.config.server.token}"} if self.config.server.token else {}
        client = httpx2.Client(
            base_url=f"http://{host}:{address[1]}/api/v1", headers=headers, timeout=10.0, trust_env=False
        )
        try:
            answer = client.get("/status", timeout=2.0)
            if answer.status_code == 200 and answer.json().get("instance") == beat["instance"]:
                return client
        except (httpx2.HTTPError, OSError, ValueError):
            pass
        client.close()
        return None

    # -- jobs -----------------------------------------------------------------------------------------------

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs that status/ and the inbox tell of, queue order first, over ones last."""
        found = list(read_statuses(self.folders.status).values())
        known = {
            (status["sub"], status["files"]["job"])
            for status in found
            if isinstance(status.get("files"), dict) and status.get("state") not in _OVER
        }
        fresh = unseen(self.config, self.folders)
        found += [status for status in fresh if (status["sub"], status["files"]["job"]) not in known]
        return sorted(found, key=_in_order)

    def find(self, word: str) -> dict[str, Any]:
        """The job that a word means: id, id prefix, or key; the one not over, else the newest. Raises `Unknown`."""
        jobs = self.jobs()
        folded = naming.fold(word.strip("/"))
        matches = [job for job in jobs if job["id"] == word.upper()]
        matches = matches or [job for job in jobs if naming.fold(job["job"]) == folded]
        matches = matches or [job for job in jobs if len(word) >= 4 and job["id"].startswith(word.upper())]
        matches = matches or [
            job for job in self._closed() if job["id"] == word.upper() or naming.fold(job["job"]) == folded
        ]
        matches = matches or [job for job in self._closed() if len(word) >= 4 and job["id"].startswith(word.upper())]
        if not matches:
            raise Unknown(f"there is no job {word}; `watchrender list` shows all")
        live = [job for job in matches if job["state"] not in _OVER]
        ids = {job["id"] for job in matches}
        if len(ids) > 1 and len({job["job"] for job in matches}) > 1:
            some = ", ".join(f"{job['id']} ({job['job']})" for job in matches[:_NAMED])
            more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            raise Unknown(f"{word} fits {len(ids)} jobs: {some}{more}; write more of the id")
        return (live or sorted(matches, key=lambda job: str(job.get("finished_at") or "")))[-1]

    def again(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job that was found, as it is now. Raises `Unknown` where it has gone."""
        now = read_status(self.folders.status / job["sub"] / f"{_last(job)}{STATUS_SUFFIX}")
        if now is not None and job["id"] and now["id"] == job["id"]:
            return now
        return self.find(job["id"] or job["job"])

    def _closed(self) -> Iterator[dict[str, Any]]:
        """Jobs that are over, as their folders tell."""
        for top in (self.folders.done, self.folders.failed, self.folders.cancelled):
            for folder, status in self.folders.job_folders(top):
                yield status | {"folder": self.folders.relative(folder)}

    def closed(self) -> list[dict[str, Any]]:
        return list(self._closed())

    # -- orders ---------------------------------------------------------------------------------------------

    def order(self, job: dict[str, Any], verb: str, *, priority: int | None = None) -> dict[str, Any] | None:
        """Give an order for one job. Returns its new status where a service obeyed, None where the order lies in the
        folder until one runs. Raises `Refused`."""
        client = self.http()
        if client is not None and job["id"]:
            return self._order_over_http(client, job, verb, priority)
        if verb == "retry":
            self._retry_by_folder(job)
            return None
        if job["state"] in _OVER:
            raise Refused(f"{job['job']} is already {job['state']}")
        if verb in ("hold", "release") and job["state"] == "rendering":
            asked = {"hold": "held", "release": "released"}[verb]
            raise Refused(f"{job['job']} is rendering; only a job that waits can be {asked}")
        inbox = self.folders.inbox_folder(job["sub"])
        disk.mkdirs(inbox)
        if verb == "release":
            self._take_hold_marks_away(inbox, job)
        ending = f"p{priority:02d}" if verb == "prioritize" else verb
        mark = inbox / f"{_last(job)}.{ending}"
        self._mark(mark)
        return self._obeyed(job, mark, verb) if self.beat() is not None else None

    def _take_hold_marks_away(self, inbox: Path, job: dict[str, Any]) -> None:
        files = [str(name) for name in (job.get("files") or {}).values() if name]
        for entry in list(os.scandir(inbox)):
            control = naming.control(entry.name, is_dir=entry.is_dir(follow_symlinks=False))
            if control is None or control.order is not naming.Order.HOLD:
                continue
            target = control.target or ""
            if naming.target_matches(target, _last(job), files) and not self._is_of_another(target, job):
                _take_away(Path(entry.path))

    def _is_of_another(self, target: str, job: dict[str, Any]) -> bool:
        """Has another job just this name? Then its mark is not this one's, though the file has the name too."""
        if naming.fold(target) == naming.fold(_last(job)):
            return False
        beside = (other for other in self.jobs() if other["sub"] == job["sub"] and other["state"] not in _OVER)
        return any(naming.fold(target) == naming.fold(_last(other)) for other in beside)

    def _obeyed(self, job: dict[str, Any], mark: Path, verb: str) -> dict[str, Any] | None:
        """Wait until the service has done what lies there. Raises `Refused` with the letter it answered by."""
        letter = mark.with_name(f"{mark.name}.WHY.txt")
        deadline = time.monotonic() + OBEY_SECONDS
        while time.monotonic() < deadline:
            status = read_status(self.folders.status / job["sub"] / f"{_last(job)}{STATUS_SUFFIX}")
            if verb == "hold":
                if status is not None and status.get("hold"):
                    return status
            elif not os.path.lexists(mark):
                words = _letter(letter)
                if words is not None:
                    disk.remove(letter)
                    raise Refused(words)
                return self._settled(job, status)
            time.sleep(0.05)
        return None

    def _settled(self, job: dict[str, Any], status: dict[str, Any] | None) -> dict[str, Any] | None:
        """The status that tells of the order: status files are written a moment after."""
        deadline = time.monotonic() + 1.0
        path = self.folders.status / job["sub"] / f"{_last(job)}{STATUS_SUFFIX}"
        while status is not None and status.get("updated_at") == job.get("updated_at"):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
            status = read_status(path)
        return status

    def _order_over_http(self, client: Any, job: dict[str, Any], verb: str, priority: int | None) -> dict[str, Any]:
        if verb == "prioritize":
            return _asked(lambda: client.patch(f"/jobs/{job['id']}", json={"priority": priority}))
        return _asked(lambda: client.post(f"/jobs/{job['id']}/{verb}"))

    def queue(self, verb: str, *, now: bool = False) -> str:
        """Pause, resume, drain or stop. What has become of it, in words. Raises `Refused`."""
        client = self.http()
        if client is not None and not now:
            _asked(lambda: client.post(f"/queue/{verb}"))
            return _SAID[verb]
        top = self.folders.inbox
        runs = self.beat() is not None
        if verb == "resume":
            for entry in [entry for entry in os.scandir(top) if is_pause(entry)]:
                _take_away(Path(entry.path))
        elif verb == "pause":
            self._mark(top / "_PAUSE")
        elif not runs:
            if verb == "drain":
                return "no service runs: there is nothing to drain"
            self._mark(top / "_PAUSE")
            return "no service runs: the queue is paused for its next start"
        else:
            self._mark(top / f"_{verb.upper()}", b"now\n" if now else b"")
        return _SAID[verb] if runs else f"{_SAID[verb]} (no service runs now; the next start sees it)"

    def cancel_all(self) -> int:
        """Cancel every job that has not begun. How many there were."""
        waiting = [job for job in self.jobs() if job["state"] in ("pending", "validating", "queued")]
        mark = self.folders.inbox / "_CANCEL_ALL"
        self._mark(mark)
        deadline = time.monotonic() + OBEY_SECONDS
        while self.beat() is not None and os.path.lexists(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        begun = [job for job in waiting if str(job.get("folder", "")).startswith(self.config.folders.active)]
        return len(waiting) - len(begun)

    def _mark(self, path: Path, text: bytes = b"") -> None:
        try:
            disk.write_new(path, text)
        except FileExistsError:
            pass

    def _retry_by_folder(self, job: dict[str, Any]) -> None:
        """Without a service: lay a copy of the job's folder into the inbox, as a person would drag it back."""
        if job["state"] not in _OVER:
            raise Refused(f"{job['job']} is {job['state']}; only a job that is over can be tried again")
        source = self.folders.absolute(job["folder"])
        # Of what a status file on the share says, only bare names are believed, and nothing is copied through a link.
        files = job.get("files") or {}
        file = bare(files.get("job")) if job["folder"] and self._is_a_jobs(source) else None
        if file is None or not os.path.lexists(source / file):
            raise Refused(
                f"the files of {job['job']} are not in {job['folder'] or 'any folder'} any more; drop it again"
            )
        hidden = self.folders.inbox / f".retry-{uuid.uuid4().hex[:8]}"
        disk.mkdir(hidden)
        try:
            for name in (file, bare(files.get("sidecar")), bare(f"{_last(job)}{STATUS_SUFFIX}")):
                self._copy_back(source, hidden, name)
        except OSError as error:
            disk.remove_tree(hidden)
            raise Refused(f"{error.filename} cannot be copied: {error.strerror}; drop the job again") from None
        target = next(
            self.folders.inbox / name
            for name in naming.candidates(f"{_last(job)} again")
            if not os.path.lexists(self.folders.inbox / name)
        )
        disk.rename(hidden, target)

    def _is_a_jobs(self, folder: Path) -> bool:
        """Does it lie where jobs that are over lie?"""
        tops = (self.folders.done, self.folders.failed, self.folders.cancelled)
        return any(Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(top)) for top in tops)

    @staticmethod
    def _copy_back(source: Path, hidden: Path, name: str | None) -> None:
        if name is None or not os.path.lexists(source / name):
            return
        if (source / name).is_dir() and not (source / name).is_symlink():
            disk.copy_tree(source / name, hidden / name)
        else:
            disk.copy(source / name, hidden / name, through_links=False)

    # -- drops ----------------------------------------------------------------------------------------------

    def drop(self, source: Path, *, sub: str, priority: int | None, sidecar: Path | None = None) -> list[Path]:
        """Copy a job file, bundle or zip into the inbox, complete from its first moment, after its settings: a job that
        finds them there waits for them. Returns where they lie, the job first."""
        inbox = self.folders.inbox_folder(sub)
        disk.mkdirs(inbox)
        is_dir = source.is_dir()
        suffix = "" if is_dir else source.suffix
        stem = source.name[: len(source.name) - len(suffix)]
        if priority is not None:
            stem = f"p{priority:02d}_{naming.parse_name(source.name, is_dir=is_dir).name}"
        suffixes = [suffix] if sidecar is None else [suffix, ".yaml", ".yml"]
        name = next(
            found
            for number, found in enumerate(naming.stem_candidates(stem))
            if not any(os.path.lexists(inbox / f"{found}{ending}") for ending in suffixes)
            and (number == 0 or self._is_free_key(sub, found))
        )
        drops = [(source, inbox / f"{name}{suffix}")]
        if sidecar is not None:
            drops.append((sidecar, inbox / f"{name}{sidecar.suffix}"))
        for file, target in reversed(drops):
            hidden = inbox / f".drop-{uuid.uuid4().hex[:8]}.tmp"
            disk.copy_tree(file, hidden) if file.is_dir() else disk.copy(file, hidden)
            disk.rename(hidden, target)
        return [target for _, target in drops]

    def insist(self, dropped: Path, priority: int) -> None:
        """A priority that a person asks for beats the one a job gives itself: the order lies beside it."""
        self._mark(dropped.with_name(f"{dropped.name}.p{priority:02d}"))

    def _is_free_key(self, sub: str, stem: str) -> bool:
        """Would a file of this name get the key that it asks for, as far as the folders tell?"""
        name = naming.fit(naming.parse_name(stem, is_dir=True).name)
        said = read_status(self.folders.status / sub / f"{name}{STATUS_SUFFIX}")
        is_live = said is not None and said.get("state") not in _OVER
        return not is_live and not self.folders.taken(sub, name)

    def status_of_drop(self, path: Path, sub: str, since: float) -> dict[str, Any] | None:
        """The status of the job that a dropped file became."""
        top = self.folders.status / sub if sub else self.folders.status
        newest: tuple[float, dict[str, Any]] | None = None
        try:
            entries = [entry for entry in os.scandir(top) if entry.name.endswith(STATUS_SUFFIX)]
        except OSError:
            return None
        for entry in entries:
            try:
                changed = entry.stat().st_mtime
            except OSError:
                continue
            if changed < since - 5:
                continue
            status = read_status(Path(entry.path))
            files = status.get("files") if status is not None else None
            if status is None or not isinstance(files, dict):
                continue
            is_it = files.get("job") in (
                path.name,
                "bundle" if naming.parse_name(path.name, is_dir=True).name == status.get("name") else None,
            )
            if is_it and (newest is None or changed >= newest[0]):
                newest = (changed, status)
        return newest[1] if newest else None


def _letter(path: Path) -> str | None:
    """What a letter says; None where none lies there (a link or a pipe of that name is none)."""
    try:
        return read_plain(path, _LETTER_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return None


def _take_away(mark: Path) -> None:
    try:
        take_away(mark)
    except Denied as denied:
        raise Refused(str(denied)) from None


def _asked(ask: Callable[[], Any]) -> dict[str, Any]:
    """What the service answers. Raises `Refused` where it says no, or has gone between two words."""
    import httpx2

    try:
        return _answered(ask())
    except (httpx2.HTTPError, OSError) as error:
        said = str(error) or type(error).__name__
        raise Refused(f"the service has not answered ({said}); look with `watchrender list`, then ask again") from None


def _answered(answer: Any) -> dict[str, Any]:
    if answer.status_code >= 400:
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        raise Refused(str(problem.get("detail") or problem.get("title") or f"the service says {answer.status_code}"))
    found = answer.json()
    return found if isinstance(found, dict) else {}


def _in_order(job: dict[str, Any]) -> tuple[Any, ...]:
    if job["state"] in _OVER:
        return (2, 0, _reversed(str(job.get("finished_at") or "")), naming.natural_key(job["job"]))
    running = job["state"] == "rendering"
    return (0 if running else 1, *place_in_queue(job))


def place_in_queue(job: dict[str, Any]) -> tuple[Any, ...]:
    """What waiting jobs are sorted by: priority, arrival, and the name of those that no service has seen yet."""
    record = job.get("record")
    arrival = record.get("arrival") if isinstance(record, dict) else None
    return (-int(job.get("priority") or 0), int(arrival or 2**53), naming.natural_key(job["job"]))


def _reversed(stamp: str) -> int:
    digits = "".join(sign for sign in stamp if sign.isdigit())
    return -int(digits or 0)


def _last(job: dict[str, Any]) -> str:
    return naming.last_of(str(job["job"]), str(job["sub"]))
