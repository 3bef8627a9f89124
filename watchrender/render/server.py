"""nexrender-server's REST API. Every answer is looked at before it is believed.

What the server is known for: an unknown job is a 200 with nothing in it, or a 500 where its status is asked; an
unknown address is a 204; a job that is posted twice is there twice; `removed: true` is also said of what was never
there; after a restart it may know less than before, or more. So nothing is posted again under the same uid, a job
counts as gone only where a good answer lacks it, and an answer of another form than expected is no answer.
"""

from __future__ import annotations

import json
import logging
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlsplit

import httpcore2
import httpx2

from watchrender.config.model import Config, NexrenderServer
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.standing import Standing, Standings
from watchrender.core.textual import short
from watchrender.render.wire import CLIENT_ERRORS, BoundedBackend, PoolTransport

#: One request, from the first byte sent to the last one read.
_DEADLINE_SECONDS = 30.0
#: No more of an answer is read.
_ANSWER_LIMIT = 64 * 1024 * 1024
#: A list with so many jobs of others for each of ours costs more than asking for ours one by one.
_STRANGERS_PER_JOB = 20
_STRANGERS_ANYWAY = 500
#: Then so many polls are singles, before the list is tried again.
_SINGLES = 100
_WORDS = 4000  # characters of an error that are kept
_DEEPEST = 5  # lists in lists of errors
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: A line for each poll tells nobody anything.
logging.getLogger("httpx2").setLevel(logging.WARNING)
_ERRORS = (*CLIENT_ERRORS, OSError)
#: What a server says of a job that it has taken; nexrender-server itself says 200.
_TAKEN = frozenset({200, 201, 202})
_REFUSED = frozenset({401, 403, 407})
_NO_SUCH_ADDRESS = frozenset({204, 404, 405, 501})  # nexrender-server itself says 204
_LIGHT_LIST, _WHOLE_LIST = "/jobs/status", "/jobs"


class Server:
    """One nexrender-server. Thread-safe: every request stands for itself."""

    def __init__(
        self,
        url: str,
        secret: str | None = None,
        *,
        deadline: float = _DEADLINE_SECONDS,
        limit: int = _ANSWER_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        base = url.rstrip("/")
        self._base = base if base.endswith("/api/v1") else f"{base}/api/v1"
        self._shown = _shown(url)
        self._deadline = deadline
        self._limit = limit
        self._clock = clock
        self._singles = 0
        self._list = _LIGHT_LIST
        self._list_is_bad = False
        headers = {"user-agent": "watchrender", "accept": "application/json", "accept-encoding": "identity"}
        if secret:
            headers["nexrender-secret"] = secret
        timeout = httpx2.Timeout(min(10.0, deadline), connect=min(5.0, deadline))
        # Not by the proxy of the environment: the farm is on our own network. And each time by a fresh connection: one
        # that died with the server's last life would leave open whether a job has arrived. So the connection's deadline
        # is the request's.
        self._wire = BoundedBackend(deadline)
        pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(), max_keepalive_connections=0, network_backend=self._wire
        )
        self._client = httpx2.Client(headers=headers, timeout=timeout, transport=PoolTransport(pool), trust_env=False)

    def close(self) -> None:
        self._client.close()

    def hang_up(self) -> None:
        """Who waits for an answer now waits no longer: we are told to end, and the server hangs."""
        self._wire.hang_up()

    # -- what can be asked ----------------------------------------------------------------------------------

    def failure(self) -> Failure | None:
        """Is it there, does it take our secret, and does it answer as a nexrender-server does?"""
        answer = self._ask("GET", "/health")
        if isinstance(answer, Failure):
            return answer
        if answer.status != 200 or answer.body.strip().strip(b'"').lower() != b"ok":
            return self._rubbish("asked for its health", answer, cure="Let nexrender_server.url name nexrender-server.")
        if self._list_is_bad:
            found = self.standings(())
            return found if isinstance(found, Failure) else None
        known = self._is_known(f"watchrender-{secrets.token_hex(4)}")
        if not isinstance(known, Failure):
            return None
        # Perhaps it says "unknown" by a 500 here too, as it does of a status: its list tells whether it is well.
        found = self.standings(())
        return found if isinstance(found, Failure) else None

    def post(self, document: Mapping[str, Any]) -> Failure | None:
        """Hand over one job. A failure of the environment leaves open whether it arrived; any other means it did not.

        Never call it twice with one uid: the server would have the job twice.
        """
        answer = self._ask("POST", "/jobs", document)
        if isinstance(answer, Failure):
            return answer
        if answer.status == 413:
            return fail(Code.JOB_TOO_LARGE, f"{self._shown} does not take a job of this size.")
        # A page says that something stands between us and the server, "Invalid JSON" that something spoiled what we
        # sent (it was JSON), and neither says anything of the job.
        if answer.status == 400 and not answer.is_page and not answer.body.startswith(b"Invalid JSON"):
            return fail(Code.JOB_INVALID, f"{self._shown} does not take this job: {answer.words}")
        told = answer.json()
        if answer.status not in _TAKEN or not isinstance(told, dict) or told.get("uid") != document.get("uid"):
            return self._rubbish("handed a job", answer)
        return None

    def standings(self, uids: Collection[str]) -> Standings | Failure:
        """How these jobs stand: by one request, or one for each where the server's list is mostly of others."""
        if self._singles > 0 and uids:
            self._singles -= 1
            return self._one_by_one(uids)
        found = self._listed(uids)
        self._list_is_bad = isinstance(found, Failure)
        if isinstance(found, Standings) and len(found.strangers) > _STRANGERS_ANYWAY + _STRANGERS_PER_JOB * len(uids):
            self._singles = _SINGLES
        return found

    def delete(self, uid: str) -> Failure | None:
        """Take a job away. That it is gone only a later answer shows: it is said of unknown jobs too."""
        answer = self._ask("DELETE", f"/jobs/{quote(uid, safe='')}")
        if isinstance(answer, Failure):
            return answer
        return None if answer.status in (200, 204, 404) else self._rubbish("told to remove a job", answer)

    # -- answers --------------------------------------------------------------------------------------------

    def _listed(self, uids: Collection[str]) -> Standings | Failure:
        answer = self._ask("GET", self._list)
        if isinstance(answer, _Answer) and answer.status in _NO_SUCH_ADDRESS and self._list == _LIGHT_LIST:
            # A server without the light list: the whole one says the same, with every job's document.
            answer = self._ask("GET", _WHOLE_LIST)
            if isinstance(answer, _Answer) and isinstance(answer.json(), list):
                self._list = _WHOLE_LIST
        if isinstance(answer, Failure):
            return answer
        listed = answer.json()
        if answer.status != 200 or not isinstance(listed, list):
            return self._rubbish("asked how the jobs stand", answer)
        asked = set(uids)
        found: dict[str, Standing] = {}
        counted: Counter[str] = Counter()
        for entry in listed:
            standing = _read(entry)
            if standing is None and _is_of_others(entry, asked):
                continue  # whatever they have done to their job, ours are told of
            if standing is None:
                # Who is not in a list with holes may be in one of the holes.
                return self._rubbish("asked how the jobs stand", answer)
            found[standing.uid] = standing
            counted[standing.uid] += 1
        return Standings(
            jobs={uid: replace(found[uid], copies=counted[uid]) for uid in asked & found.keys()},
            strangers=tuple(uid for uid in found if uid not in asked),
        )

    def _one_by_one(self, uids: Collection[str]) -> Standings | Failure:
        jobs = {}
        for uid in uids:
            found = self._single(uid)
            if isinstance(found, Failure):
                return found
            if found is None:
                # Nothing, with a 200 or a 204, is also how one says "no" who knows nothing of nexrender: only a list
                # that lacks a job says that it is gone.
                return self._listed(uids)
            jobs[uid] = found
        return Standings(jobs=jobs)

    def _single(self, uid: str) -> Standing | Failure | None:
        answer = self._ask("GET", f"/jobs/{quote(uid, safe='')}/status")
        if isinstance(answer, Failure):
            return answer
        standing = _read(answer.json()) if answer.status == 200 else None
        if standing is not None and standing.uid == uid:
            return standing
        # A 500 is how it says that it does not know the job, and also how anything says that it is broken.
        known = self._is_known(uid)
        if known is True:
            return self._rubbish("asked how a job stands", answer)
        return known or None

    def _is_known(self, uid: str) -> bool | Failure:
        answer = self._ask("GET", f"/jobs/{quote(uid, safe='')}")
        if isinstance(answer, Failure):
            return answer
        if answer.status in (200, 204, 404) and not answer.body.strip():
            return False
        told = answer.json()
        if answer.status == 200 and isinstance(told, dict) and told.get("uid") == uid:
            return True
        if (answer.status == 200 and told in (None, {})) or (answer.status == 404 and not answer.is_page):
            return False
        return self._rubbish("asked for a job", answer)

    # -- one request ----------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> _Answer | Failure:
        until = self._clock() + self._deadline
        body = None if document is None else json.dumps(document, ensure_ascii=True).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            with self._client.stream(method, f"{self._base}{path}", content=body, headers=headers) as response:
                read = bytearray()
                for chunk in response.iter_bytes():
                    read += chunk
                    if len(read) > self._limit:
                        return self._trouble(f"answers with more than {self._limit} bytes")
                    if self._clock() > until:
                        return self._trouble(f"is too slow: an answer took more than {self._deadline:g} s")
                leads_to = response.headers.get("location", "")
                answer = _Answer(status=response.status_code, body=bytes(read), leads_to=leads_to)
        except _ERRORS as error:
            return self._trouble(_in_words(error))
        if answer.status in _REFUSED:
            return self._trouble(
                f"refuses our secret ({answer.status})",
                cure="Set nexrender_server.secret to what nexrender-server was started with (--secret).",
            )
        if 300 <= answer.status < 400:
            return self._trouble(
                f"sends us elsewhere ({answer.status}{f' to {where}' if (where := _shown(answer.leads_to)) else ''})",
                cure="Set nexrender_server.url to the address of nexrender-server itself.",
            )
        return answer

    def _rubbish(self, when: str, answer: _Answer, *, cure: str | None = None) -> Failure:
        said = f": {answer.words}" if answer.words else ", nothing"
        return self._trouble(f"answers in a way that is not understood when {when} ({answer.status}{said})", cure=cure)

    def _trouble(self, words: str, *, cure: str | None = None) -> Failure:
        return fail(Code.NEXRENDER_SERVER_UNREACHABLE, f"nexrender-server at {self._shown} {words}.", cure=cure)


def server_failure(config: Config) -> Failure | None:
    """What is wrong with the configured server now; None where another engine renders."""
    if config.engine != "nexrender-server":
        return None
    server = of_settings(config.nexrender_server)
    try:
        return server.failure()
    finally:
        server.close()


def of_settings(settings: NexrenderServer) -> Server:
    """The server that the config names."""
    return Server(str(settings.url), settings.secret)


# --- reading ----------------------------------------------------------------------------------------------------------

_NO_JSON = object()


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    body: bytes = field(repr=False)
    leads_to: str = ""

    def json(self) -> Any:
        """The document, or something that equals nothing."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return _NO_JSON

    @property
    def is_page(self) -> bool:
        return self.body.lstrip()[:15].lower().startswith((b"<!doctype", b"<html"))

    @property
    def words(self) -> str:
        text = _clean(" ".join(self.body[:2000].decode("utf-8", "replace").split()))
        return text[:200] + ("…" if len(text) > 200 else "")


def _read(entry: Any) -> Standing | None:
    """One entry of the light form; None where it is none."""
    if not isinstance(entry, dict) or not isinstance(entry.get("uid"), str) or not isinstance(entry.get("state"), str):
        return None
    executor, updated = entry.get("jobExecutor", entry.get("executor")), entry.get("updatedAt")
    return Standing(
        uid=entry["uid"],
        state=short(entry["state"]),
        percent=_percent(entry.get("renderProgress")),
        error=_clean(_error(entry.get("error"))),
        executor=short(executor.removeprefix("::ffff:"), 200) if isinstance(executor, str) and executor else None,
        updated=updated if isinstance(updated, str) else None,
        seconds=_seconds(entry.get("timings")),
    )


def _is_of_others(entry: Any, asked: Collection[str]) -> bool:
    uid = entry.get("uid") if isinstance(entry, dict) else None
    return isinstance(uid, str) and bool(uid) and uid not in asked


def _percent(value: Any) -> float | None:
    found = _number(value)
    return None if found is None else min(100.0, max(0.0, found))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _error(value: Any, depth: int = 0) -> str:
    """An error in words. Old workers send an Error as JSON: its words are lost, what is left are node's own fields."""
    if isinstance(value, str):
        return value.strip()[-_WORDS:]
    if depth >= _DEEPEST:
        return ""
    if isinstance(value, Sequence):
        return "\n".join(filter(None, (_error(found, depth + 1) for found in value)))[-_WORDS:]
    if not isinstance(value, Mapping):
        return ""
    if isinstance(value.get("message"), str):
        return str(value["message"])[-_WORDS:]
    if isinstance(value.get("code"), str) and isinstance(value.get("path"), str):
        return f"Error: {value['code']}: {value.get('syscall') or 'open'} '{value['path']}'"[-_WORDS:]
    try:
        return json.dumps(value, ensure_ascii=False)[:_WORDS] if value else ""
    except RecursionError:
        return ""


def _clean(text: str) -> str:
    """What may stand in a message and in a file of UTF-8."""
    return _CONTROLS.sub(" ", text.encode("utf-8", "replace").decode())


def _seconds(timings: Any) -> float | None:
    if not isinstance(timings, Mapping):
        return None
    begin, end = _number(timings.get("render:dorender")), _number(timings.get("render:postrender"))
    return (end - begin) / 1000 if begin is not None and end is not None and 0 < end - begin < 1e10 else None


def _shown(url: str) -> str:
    """The address without what may stand before an @, or after the path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    where = parts.netloc.rpartition("@")[2]
    return (f"{parts.scheme}://{where}" if where else "") + parts.path.rstrip("/")[:200]


def _in_words(error: Exception) -> str:
    if isinstance(error, httpcore2.ConnectTimeout | httpcore2.PoolTimeout | httpx2.ConnectTimeout):
        return "cannot be reached (no connection in time)"
    if isinstance(error, httpcore2.TimeoutException | httpx2.TimeoutException):
        return "is too slow: it did not answer in time"
    if isinstance(error, httpcore2.ConnectError | httpx2.ConnectError):
        return f"cannot be reached ({error or 'no connection'})"
    return f"broke off its answer ({error or type(error).__name__})"
