"""Sources from http(s): fetched by us, so that every address is checked, and size and time are bounded.

A host is looked up once for each connection, all its addresses are judged, and the connection goes to a judged address
(name in the TLS handshake and `Host` stay): a name that leads elsewhere a moment later changes nothing. Each redirect
passes the same checks. Proxies of the environment are not used: behind one, the address could not be judged.

What a server marks with an ETag or a date is kept and asked for again by that mark; a source that changed is fetched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mimetypes
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import httpcore2
import httpx2

from watchrender import disk
from watchrender.core import hosts
from watchrender.core.access import Policy
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.hosts import Link
from watchrender.render.wire import CLIENT_ERRORS, BoundedStream, PoolTransport, left

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_SILENCE_SECONDS = 30.0
_CHUNK = 256 * 1024
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")
_ASKING = {"User-Agent": "watchrender", "Accept": "*/*", "Accept-Encoding": "identity"}
Resolve = Callable[[str, int], list[str]]


def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system knows them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file in the cache, and how to ask whether it is still the same."""

    url: str
    final_url: str
    etag: str | None
    modified: str | None
    bytes: int
    ending: str


class FetchCache:
    """Fetched files by URL, bounded; what was not used for longest goes first."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def find(self, url: str) -> Kept | None:
        """What is kept of this URL, if it is whole."""
        content, notes = self._files(url)
        try:
            kept = Kept(**json.loads(notes.read_bytes()))
            return kept if kept.url == url and content.stat().st_size == kept.bytes else None
        except (OSError, ValueError, TypeError):
            return None

    def take(self, kept: Kept, target: Path) -> bool:
        """Put what is kept at `target`. False if it is gone."""
        content, notes = self._files(kept.url)
        try:
            link_or_copy(content, target)
            os.utime(notes)
            return target.stat().st_size == kept.bytes
        except OSError:
            return False

    def keep(self, kept: Kept, file: Path) -> None:
        """Keep a fetched file. A cache that cannot be written is no fault of the job."""
        content, notes = self._files(kept.url)
        if kept.bytes > self._max_bytes:
            return
        try:
            disk.mkdirs(self._folder)
            # The notes go first and come last: content never lies there with another content's marks.
            disk.remove(notes)
            disk.remove(content)
            link_or_copy(file, content)
            disk.write(notes, json.dumps(asdict(kept)), durable=False)
            self._make_room()
        except OSError:
            return

    def _files(self, url: str) -> tuple[Path, Path]:
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        return self._folder / f"{name}.bin", self._folder / f"{name}.json"

    def _make_room(self) -> None:
        used: list[tuple[float, int, Path]] = []
        for content in self._folder.glob("*.bin"):
            notes = content.with_suffix(".json")
            age = notes.stat().st_mtime if notes.exists() else 0.0
            used.append((age, content.stat().st_size, content))
        over = sum(size for _, size, _ in used) - self._max_bytes
        for _, size, content in sorted(used):
            if over <= 0:
                return
            disk.remove(content.with_suffix(".json"))
            disk.remove(content)
            over -= size


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches sources under one policy."""

    policy: Policy
    cap_bytes: int
    timeout_seconds: float
    cache: FetchCache | None = None
    certificates: ssl.SSLContext | None = None  # None: the system's
    resolve: Resolve = resolve_host
    silence_seconds: float = _SILENCE_SECONDS

    def fetch(
        self, url: str, folder: Path, *, stem: str, path: str, stop: Callable[[], bool] = lambda: False
    ) -> Path | Failure:
        """The file behind a URL, as `folder/stem.ext`, complete. `stop` is asked between two pieces."""
        deadline = time.monotonic() + self.timeout_seconds
        backend = _CheckedBackend(self.policy.hosts, self.resolve, deadline)
        trip = _Trip(fetcher=self, url=url, folder=folder, stem=stem, path=path, stop=stop, deadline=deadline)
        try:
            disk.mkdirs(folder)
            with self._client(backend) as client:
                return trip.run(client)
        except AddressRefused as refused:
            return hosts.host_denied(refused.link, path=path, address=refused.address)
        except CLIENT_ERRORS as error:
            return trip.failed(_in_words(error))
        except OSError as error:
            if disk.is_full(error):
                return fail(Code.DISK_FULL, f"There is no room for {_shown(url)}: {error.strerror}.", path=path)
            return trip.failed(str(error))

    def objection(self, url: str, path: str) -> Failure | None:
        return hosts.link_objection(url, path=path, schemes=self.policy.schemes, hosts=self.policy.hosts)

    def _client(self, backend: _CheckedBackend) -> httpx2.Client:
        return _client_over(backend, self.certificates, self.silence_seconds, _ASKING)


def checked_client(listed: tuple[str, ...], *, seconds: float, resolve: Resolve = resolve_host) -> httpx2.Client:
    """A client for one exchange with an address that a job names: it connects to judged addresses only, and raises
    `AddressRefused` for others; all is over after so many seconds."""
    return _client_over(_CheckedBackend(listed, resolve, time.monotonic() + seconds), None, seconds, {})


def _client_over(
    backend: _CheckedBackend, certificates: ssl.SSLContext | None, silence: float, headers: dict[str, str]
) -> httpx2.Client:
    pool = httpcore2.ConnectionPool(ssl_context=certificates or httpx2.create_ssl_context(), network_backend=backend)
    timeout = httpx2.Timeout(silence)
    return httpx2.Client(transport=PoolTransport(pool), timeout=timeout, trust_env=False, headers=headers)


def link_or_copy(file: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disks know no links. The target must not be there."""
    try:
        with disk.effect("link", target):
            os.link(file, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        disk.copy(file, target)


@dataclass(kw_only=True)
class _Trip:
    """One fetch, through its redirects, to a file."""

    fetcher: Fetcher
    url: str
    folder: Path
    stem: str
    path: str
    stop: Callable[[], bool]
    deadline: float

    def run(self, client: httpx2.Client) -> Path | Failure:
        kept = self.fetcher.cache.find(self.url) if self.fetcher.cache else None
        hop = self.url.partition("#")[0]
        for _ in range(_MOST_REDIRECTS + 1):
            if objection := self.fetcher.objection(hop, self.path):
                return objection
            marks = _marks(kept) if kept and kept.final_url == hop else {}
            with client.stream("GET", hop, headers=marks) as response:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    return self.arrived(client, response, hop, kept if marks else None)
                hop = str(response.url.join(response.headers["location"])).partition("#")[0]
        return self.failed(f"leads on and on (more than {_MOST_REDIRECTS} redirects)")

    def arrived(self, client: httpx2.Client, response: httpx2.Response, hop: str, kept: Kept | None) -> Path | Failure:
        if response.status_code == 304 and kept and self.fetcher.cache:
            target = self.folder / f"{self.stem}{kept.ending}"
            if self.fetcher.cache.take(kept, target):
                return target
            return self.failed("was kept, and is gone from the cache; it is fetched anew the next time")
        if response.status_code != 200:
            return self.failed(f"answered {response.status_code} {response.reason_phrase}".rstrip())
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.fetcher.cap_bytes:
            return self.too_large()
        target = self.folder / f"{self.stem}{_ending(self.url, hop, response)}"
        size = self.write(response, target)
        if isinstance(size, Failure):
            return size
        self.keep(response, hop, target, size)
        return target

    def write(self, response: httpx2.Response, target: Path) -> int | Failure:
        """The body into the file, beside it first: a file of the right name is a whole one."""
        part = target.with_name(f".{target.name}.part")
        size = 0
        try:
            with disk.effect("fetch", target), open(part, "wb") as file:
                for piece in response.iter_bytes(_CHUNK):
                    size += len(piece)
                    if size > self.fetcher.cap_bytes:
                        return self.too_large()
                    if self.stop():
                        return self.failed("was given up, because the job was")
                    if time.monotonic() > self.deadline:
                        return self.failed(f"took longer than {self.fetcher.timeout_seconds:g} seconds")
                    file.write(piece)
            disk.replace(part, target)
            return size
        finally:
            with contextlib.suppress(OSError):
                disk.remove(part)

    def keep(self, response: httpx2.Response, hop: str, target: Path, size: int) -> None:
        etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
        wanted = "no-store" not in response.headers.get("cache-control", "").lower()
        if self.fetcher.cache and wanted and (etag or modified):
            kept = Kept(url=self.url, final_url=hop, etag=etag, modified=modified, bytes=size, ending=target.suffix)
            self.fetcher.cache.keep(kept, target)

    def failed(self, what: str) -> Failure:
        return fail(Code.DOWNLOAD_FAILED, f"{self.path}: {_shown(self.url)} {what}.", path=self.path)

    def too_large(self) -> Failure:
        return fail(
            Code.POLICY_DENIED,
            f"{self.path}: {_shown(self.url)} is larger than the {self.fetcher.cap_bytes} bytes that are fetched.",
            path=self.path,
            cure="Put the file on the share and name it by its path.",
        )


class AddressRefused(Exception):
    """An address that may not be connected to."""

    def __init__(self, link: Link, address: str) -> None:
        super().__init__(f"{link.host} leads to {address}")
        self.link, self.address = link, address


class _CheckedBackend(httpcore2.NetworkBackend):
    """Connects to judged addresses only, and ends every wait at the deadline."""

    def __init__(self, listed: tuple[str, ...], resolve: Resolve, deadline: float) -> None:
        self._listed, self._resolve, self._deadline = listed, resolve, deadline
        self._plain = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        link = Link(scheme="", host=host.lower().rstrip("."), port=port)
        addresses = self._addresses(host, port)
        for address in addresses:
            if not hosts.may_connect(link, address, self._listed):
                raise AddressRefused(link, address)
        error: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                wait = left(self._deadline, timeout)
                stream = self._plain.connect_tcp(address, port, wait, local_address, socket_options)
                return BoundedStream(stream, self._deadline)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as failed:
                error = failed
        raise error

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"its host {host} is not known: {error}") from error


def _marks(kept: Kept) -> dict[str, str]:
    marks = {"If-None-Match": kept.etag, "If-Modified-Since": kept.modified}
    return {name: value for name, value in marks.items() if value}


def _ending(url: str, hop: str, response: httpx2.Response) -> str:
    """The extension by which After Effects knows what a file is: from the address, else from what the server says."""
    for address in (url, hop):
        suffix = Path(re.split(r"[?#]", address)[0].rpartition("/")[2]).suffix
        if _ENDING.fullmatch(suffix):
            return suffix.lower()
    said = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return mimetypes.guess_extension(said) or ""


def _shown(url: str) -> str:
    """The address as it may stand in a message: what follows the `?` may be a key."""
    head, mark, _ = url.partition("?")
    return f"{head[:200]}{'?…' if mark else ''}"


def _in_words(error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException | httpcore2.TimeoutException):
        return "did not answer in time"
    return f"cannot be fetched: {str(error) or type(error).__name__}"
