"""Which machines may an http(s) source be fetched from? Pure: nothing is looked up here.

A URL is judged twice: by its words here, before the job is queued, and by the address at the moment of the connection
(`may_connect`), because a name can lead anywhere and somewhere else a second later. Only addresses of the public
internet are allowed; what is inside (this machine, its network, the metadata service of a cloud) has to be listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from watchrender.core.failure import Code, Failure, fail

_URL = re.compile(r"(https?)://([^/?#\\]*)([/?#].*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\x00-\x1f\x7f:\[\]%]+)(?::([0-9]{0,5}))?")
_HOST = re.compile(r"[a-z0-9_.:-]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_INSIDE = ("local", "localhost", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa")

_NOT_PUBLIC = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this machine, on Linux
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers, VPNs, one cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # one cloud's own host, behind an address that looks public
        "169.254.0.0/16",  # link-local, the other clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo and other special blocks: they carry an IPv4 address, or lead nowhere
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries an IPv4 address
        "3fff::/20",
    )
)
_TRANSLATED = IPv6Network("64:ff9b::/96")  # how a network without IPv4 reaches the public one


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """The parts of an http(s) URL that decide where it leads."""

    scheme: str
    host: str  # small ASCII letters, without a dot at the end; an IPv6 address without brackets
    port: int


def read_link(url: str) -> Link | str:
    """The parts of a URL, or what is wrong with it. Stricter than browsers: no two readers may differ about it."""
    found = _URL.fullmatch(url)
    if not found:
        return "it is not an http(s) address"
    scheme, authority = found[1].lower(), found[2]
    if "@" in authority:
        return "it carries a user name or password"
    parts = _AUTHORITY.fullmatch(authority)
    if not parts:
        return "its host cannot be read"
    host = _ascii(parts[1].strip("[]"))
    port = int(parts[2]) if parts[2] else 443 if scheme == "https" else 80
    if host is None or not 0 < port < 65536:
        return "its host or port cannot be read"
    if _is_odd_number(host):
        return "its host is a number; write it as a name or as four numbers with dots"
    return Link(scheme=scheme, host=host, port=port)


_A_FILE = "Use a file on the share"


def link_objection(
    url: str, *, path: str, schemes: Iterable[str], hosts: Iterable[str], instead: str = _A_FILE
) -> Failure | None:
    """Why this URL may not be used, from its words alone. `instead`: what its author could do without the operator."""
    link = read_link(url)
    if isinstance(link, str):
        return _denied(
            path,
            f"{path}: this address cannot be used: {link}.",
            "Write it as https://host/path; a host that is not public has to be in policy.hosts as well.",
        )
    if link.scheme not in schemes:
        return _denied(
            path,
            f"{path}: {link.scheme} sources are not allowed here.",
            f"{instead}, or ask the operator to add {link.scheme} to policy.schemes.",
        )
    address = _address(link.host)
    refused = not may_connect(link, address, hosts) if address else is_inside(link) and not is_listed(link, hosts)
    return host_denied(link, path=path, instead=instead) if refused else None


def host_denied(link: Link, *, path: str, address: str | None = None, instead: str = _A_FILE) -> Failure:
    """The refusal of a host that is not public and not listed."""
    leads = f" leads to {address}, which" if address and address != link.host else ""
    return _denied(
        path,
        f"{path}: {link.host}{leads} is not a machine of the public internet.",
        f'{instead}, or ask the operator to add "{link.host}" to policy.hosts.',
    )


def may_connect(link: Link, address: str, hosts: Iterable[str]) -> bool:
    """May we connect to this address for this host? It is public, or listed by name, address or network."""
    return address_allowed(address) or is_listed(link, hosts) or _in_networks(address, hosts)


def is_listed(link: Link, hosts: Iterable[str]) -> bool:
    """Is the host in `policy.hosts`: its name, `name:port`, or `*.name` for all below it?"""
    for entry in (entry.strip().strip("[]").rstrip(".").lower() for entry in hosts):
        below = entry.startswith("*.") and link.host.endswith(entry[1:])
        if below or entry in (link.host, f"{link.host}:{link.port}"):
            return True
    return False


def is_inside(link: Link) -> bool:
    """Is this a name that only a private network or the machine itself can know?"""
    single = "." not in link.host and ":" not in link.host
    return single or link.host.endswith(tuple(f".{name}" for name in _INSIDE))


def address_allowed(text: str) -> bool:
    """Is this an address of the public internet? Addresses that carry another one are judged by that, or refused."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    if address.scope_id is not None:
        return False
    inner = address.ipv4_mapped or (_last_four(address) if address in _TRANSLATED else None)
    if inner is not None:
        return address_allowed(str(inner))
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def _denied(path: str, message: str, cure: str) -> Failure:
    return fail(Code.POLICY_DENIED, message, path=path, cure=cure)


def _last_four(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)


def _ascii(host: str) -> str | None:
    try:
        found = host.lower().rstrip(".").encode("ascii" if host.isascii() else "idna").decode("ascii")
    except UnicodeError:
        return None
    return found if _HOST.fullmatch(found) else None  # some letters turn into signs that end a host


def _is_odd_number(host: str) -> bool:
    """`2130706433`, `0x7f.1`, `0177.0.0.1`, `127.1`: other programs take these for addresses."""
    return bool(_NUMBER.fullmatch(host.rpartition(".")[2])) and _address(host) is None


def _address(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _in_networks(address: str, hosts: Iterable[str]) -> bool:
    found = ip_address(address)
    networks: list[IPv4Network | IPv6Network] = []
    for entry in hosts:
        try:
            networks.append(ip_network(entry.strip().strip("[]"), strict=False))
        except ValueError:
            continue
    return any(found in network for network in networks)
