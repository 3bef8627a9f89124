"""What may a job use, and where may its films go? Pure: one path or address, and what is known of this machine.

Asked of each source and each delivery a job names (`policy.py` walks through the job), and again of the very file that
is about to be written. Each objection names the place in the job and the setting that would allow it, or says that none
does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from watchrender.core import hosts, paths
from watchrender.core.failure import Code, Failure, fail
from watchrender.core.paths import Kind, Rule, Source
from watchrender.core.textual import quoted

#: What policy.schemes can name (`config/model.py`).
SCHEMES = ("file", "http", "https", "data")
NO_SETTING = "No setting allows this."


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What the operator allows (`policy:` in the configuration)."""

    actions: tuple[str, ...] = ()  # modules by name
    roots: tuple[str, ...] | None = None  # None: this machine's disks and root's server
    schemes: tuple[str, ...] = SCHEMES
    hosts: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()  # folders; empty: off


def _installed(_module: str) -> bool:
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What has to be known of this machine and of where the job lies, to judge it."""

    root: str
    base: str  # the folder that the job's relative paths start from
    windows: bool
    realpath: Callable[[str], str]  # links resolved, also where the end of the path is not there yet
    module_installed: Callable[[str], bool] = _installed
    root_server: str | None = None  # of the share that holds root, if it is named by one
    rules: tuple[Rule, ...] = ()  # path_map
    own: str | None = None  # the bundle's folder: what was dropped with the job is the job's
    reserved: tuple[str, ...] = ()  # folders of ours that no delivery may go into


def source_objection(src: str, *, path: str, facts: Facts, policy: Policy) -> Failure | None:
    """Why this source may not be used: its scheme, host, server or folder."""
    source = paths.read_source(src, base=facts.base, windows=facts.windows, rules=facts.rules)
    match source.kind:
        case Kind.BROKEN:
            return invalid(path, f"{path}: {said(src)} cannot be read: {source.text}.")
        case Kind.HTTP:
            return hosts.link_objection(source.text, path=path, schemes=policy.schemes, hosts=policy.hosts)
        case Kind.OTHER:
            return _scheme_objection(source.text, path=path, policy=policy)
        case Kind.DATA:
            return _scheme_objection("data", path=path, policy=policy)
        case _:
            return _scheme_objection("file", path=path, policy=policy) or _place_objection(source, path, facts, policy)


def delivery_target(text: str, *, path: str, facts: Facts, policy: Policy) -> str | Failure:
    """Where an `output:` leads on this machine (with a slash at its end if it was written so), or why it may not.

    Relative ones start from root. To be asked again when placeholders are filled in: they may hold slashes.
    """
    source = paths.read_source(text, base=facts.root, windows=facts.windows, rules=facts.rules)
    if source.kind not in (Kind.LOCAL, Kind.FOREIGN):
        why = source.text if source.kind is Kind.BROKEN else "films are delivered to folders"
        return denied(path, f"{path}: nothing can be delivered to {said(text)}: {why}.", "Write a path under the root.")
    if source.kind is Kind.FOREIGN:
        return denied(
            path,
            f"{path}: {said(text)} is a path of another machine.",
            "Write this machine's path, or ask the operator for a rule in path_map.",
        )
    refused = _server_objection(source, path, facts, policy) or target_objection(
        source.text, path=path, facts=facts, policy=policy
    )
    slash = ("\\" if facts.windows else "/") if text.rstrip().endswith(("/", "\\")) else ""
    return refused or source.text + slash


def target_objection(target: str, *, path: str, facts: Facts, policy: Policy) -> Failure | None:
    """Why nothing may be delivered to this full path of this machine. To be asked of the very file or folder that will
    be written: an extension taken off, or a name put behind it, makes another place of the one that was asked for."""
    allowed = (facts.root,) if policy.roots is None else policy.roots
    if not is_within(target, allowed, facts):
        return denied(
            path,
            f"{path}: {said(target)} is not in a folder that films may be delivered to.",
            "Write a path under the root, or ask the operator to add its folder to policy.roots.",
        )
    if is_within(target, facts.reserved, facts):
        return denied(
            path,
            f"{path}: {said(target)} is in a folder that watchrender keeps for itself.",
            f"Deliver to another folder. {NO_SETTING}",
        )
    return None


def said(value: object, limit: int = 120) -> str:
    """A value of the job as it may stand in a message: short, on one line, with letters that every file can hold."""
    text = quoted(value).replace("\u2028", "?").replace("\u2029", "?")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _scheme_objection(scheme: str, *, path: str, policy: Policy) -> Failure | None:
    if scheme in policy.schemes:
        return None
    to_allow = (
        f"Use a file on the share, or ask the operator to add {scheme} to policy.schemes."
        if scheme in SCHEMES
        else f"Use a file on the share: policy.schemes can allow {', '.join(SCHEMES)} and nothing else."
    )
    return denied(path, f"{path}: {scheme}: sources are not allowed here.", to_allow)


def _place_objection(source: Source, path: str, facts: Facts, policy: Policy) -> Failure | None:
    # The server first: to resolve links on a foreign server is to log in to it.
    refused = _server_objection(source, path, facts, policy)
    if refused or source.kind is Kind.FOREIGN:
        return refused or _foreign(source, path)
    if policy.roots is None:
        return None
    allowed = (*policy.roots, facts.own) if facts.own else policy.roots
    if is_within(source.text, allowed, facts):
        return None
    return denied(
        path,
        f"{path}: {said(source.text)} is not in a folder that sources may come from.",
        "Use a file from there, or ask the operator to add its folder to policy.roots.",
    )


def _foreign(source: Source, path: str) -> Failure:
    """Nothing to wait for: no file of this machine can ever have that path."""
    return fail(
        Code.TEMPLATE_MISSING if path.startswith("template") else Code.ASSET_MISSING,
        f"{path}: {said(source.text)} is a path of another machine.",
        path=path,
        cure="Write the path that this machine knows, or ask the operator for a rule in path_map.",
    )


def _server_objection(source: Source, path: str, facts: Facts, policy: Policy) -> Failure | None:
    if source.server is None or source.server == (facts.root_server or "").lower():
        return None
    listed = {paths.server_of(root) for root in policy.roots or ()} | {entry.lower() for entry in policy.hosts}
    if source.server in listed:
        return None
    mapped = "" if source.kind is Kind.LOCAL else " or for a rule in path_map"
    return denied(
        path,
        f'{path}: the server "{source.server}" is not the one that holds the hot folder.',
        f'Use a file on the share, or ask the operator to add "{source.server}" to policy.hosts{mapped}.',
    )


def is_within(path: str, folders: tuple[str, ...], facts: Facts) -> bool:
    """Is the path in one of the folders, with the links in both resolved?"""
    real = facts.realpath(path)
    return any(paths.is_under(real, facts.realpath(folder), windows=facts.windows) for folder in folders)


def denied(path: str, message: str, cure: str) -> Failure:
    return fail(Code.POLICY_DENIED, message, path=path, cure=cure)


def invalid(path: str, message: str) -> Failure:
    return fail(Code.JOB_INVALID, message, path=path)
