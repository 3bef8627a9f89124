"""Put the known set of nexrender packages into place, with npm, and prove it by running it.

Made in a folder beside and renamed when proven, so that a half-finished one is never found. Several at once wait for
each other; one that is there and right is left as it is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import filelock

from watchrender import disk
from watchrender.core.failure import Code, Failure, fail
from watchrender.render import node as nodes
from watchrender.render.nexrender import (
    ACTIONS,
    CLI_VERSION,
    CORE_VERSION,
    SET,
    STAMP,
    Installed,
    Nexrender,
    Say,
    cli_script,
    data_dir,
    describe,
    environment,
    find_set,
    lock_hash,
    module_installed,
    read_stamp,
)


def install(say: Say, *, force: bool = False, into: Path | None = None) -> Installed | Failure:
    """Install, or find it installed; `say` gets a line for each step and for npm's own progress."""
    target = into or data_dir() / "nexrender"
    try:
        disk.mkdirs(target.parent)
        with _hold(target, say):
            found = _present(target)
            if found is not None and not force:
                say(f"nexrender {found.cli_version} (core {found.core_version}) is already in {target}")
                return Installed(nexrender=found, path=target, changed=False)
            return _install(target, say)
    except OSError as error:
        return _disk_failure(error, target)


def _hold(target: Path, say: Say) -> AbstractContextManager[object]:
    lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        say("another installation is under way; waiting for it")
        return lock.acquire()


def _present(target: Path) -> Nexrender | None:
    if read_stamp(target).get("lock") != lock_hash():
        return None
    found = find_set(target)
    return found if isinstance(found, Nexrender) else None


def _install(target: Path, say: Say) -> Installed | Failure:
    _sweep(target)
    node = nodes.good_node()
    if isinstance(node, Failure):
        return node
    npm = nodes.npm_command(node[0])
    if isinstance(npm, Failure):
        return npm
    say(f"node {node[1]} is {node[0]}")
    fresh = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}.part")
    try:
        failure = _fill(fresh, npm, say) or _prove(fresh, node[0], say)
        if failure is not None:
            return failure
        stamp = {"lock": lock_hash(), "node": str(node[0]), "cli": CLI_VERSION, "core": CORE_VERSION}
        disk.write(fresh / STAMP, json.dumps(stamp, indent=2) + "\n")
        _put_in_place(fresh, target)
    finally:
        disk.remove_tree(fresh)
    say(f"nexrender {CLI_VERSION} (core {CORE_VERSION}) is in {target}")
    nexrender = describe((str(node[0]), str(cli_script(target))), cli_script(target))
    return Installed(nexrender=nexrender, path=target, changed=True)


def _sweep(target: Path) -> None:
    """Put right what an installation that was cut off left behind. Only ever called under the lock."""
    for old in sorted(target.parent.glob(f".{target.name}-*.old")):
        if not target.exists():
            disk.rename(old, target)  # it was cut off between the two renames
        else:
            disk.remove_tree(old)
    for part in target.parent.glob(f".{target.name}-*.part"):
        disk.remove_tree(part)


def _fill(fresh: Path, npm: Sequence[str], say: Say) -> Failure | None:
    disk.mkdir(fresh)
    for name in ("package.json", "package-lock.json"):
        disk.write(fresh / name, (SET / name).read_bytes())
    total = (SET / "package-lock.json").read_bytes().count(b'"integrity"')
    say(f"fetching {total} packages with npm")
    words = ["ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=http"]
    try:
        status, told = _run_npm([*npm, *words], fresh, total, say)
    except OSError as error:
        return fail(Code.NEXRENDER_NOT_FOUND, f"npm cannot be started ({npm[0]}): {error}.", cure=nodes.CURE)
    return None if status == 0 else _npm_failure(status, told)


def _run_npm(command: Sequence[str], folder: Path, total: int, say: Say) -> tuple[int, list[str]]:
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_npm_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as npm_process:
        try:
            told = list(_follow(npm_process, total, say))
            return npm_process.wait(), told
        except BaseException:
            npm_process.kill()  # Ctrl-C: nobody waits for it any more
            raise


def _npm_environment() -> dict[str, str]:
    """The user's own environment, so that npm's configuration holds; only what is ours stays out of it."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("WATCHRENDER_")}


def _follow(npm_process: subprocess.Popen[bytes], total: int, say: Say) -> Iterator[str]:
    """Pass npm's words on as they come: downloads as a count, once a second, and whatever it says besides."""
    assert npm_process.stdout is not None
    fetched, told_at = 0, time.monotonic()
    for raw in npm_process.stdout:
        line = raw.decode("utf-8", "replace").rstrip()
        if line.startswith("npm http "):
            fetched += ".tgz" in line
            if fetched and time.monotonic() - told_at >= 1:
                told_at = time.monotonic()
                say(f"npm: {fetched} of {total} packages")
        elif line and not line.lower().startswith("npm warn"):
            say(f"npm: {line}" if not line.startswith("npm") else line)
        yield line


_NPM_ERROR = re.compile(r"npm (?:error|ERR!)(.*)")
_NETWORK = re.compile(
    r"ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|CERT|SSL",
    re.IGNORECASE,
)


def _npm_failure(status: int, told: Sequence[str]) -> Failure:
    errors = [found[1].strip() for line in told if (found := _NPM_ERROR.match(line)) and "complete log" not in line]
    said = " / ".join(line for line in errors[:6] if line) or "it said nothing"
    if any("ENOSPC" in line for line in errors):
        return fail(Code.DISK_FULL, f"npm could not install nexrender, the disk is full: {said}.")
    if any(_NETWORK.search(line) for line in errors):
        return fail(
            Code.NEXRENDER_NOT_FOUND,
            f"npm could not reach its registry: {said}.",
            cure="Check the network and npm's settings (`npm config list`: registry, proxy, cafile), then try again.",
        )
    return fail(
        Code.NEXRENDER_NOT_FOUND,
        f"npm could not install nexrender (exit {status}): {said}.",
        cure="Mend what npm names, then run `watchrender nexrender install` again.",
    )


def _prove(root: Path, node: Path, say: Say) -> Failure | None:
    """Run what was installed: its version, its core, and on Linux that the preload carries it past its own check."""
    say("trying it")
    nexrender = describe((str(node), str(cli_script(root))), cli_script(root))
    version = _run_to_prove(nexrender.command, "--version")
    if CLI_VERSION not in version.split():
        return fail(Code.NEXRENDER_BROKEN, f"nexrender-cli --version says {version[-400:]!r}, not {CLI_VERSION}.")
    if nexrender.core_version != CORE_VERSION:
        return fail(
            Code.NEXRENDER_BROKEN, f"npm installed nexrender's core {nexrender.core_version}, not {CORE_VERSION}."
        )
    missing = [name for name in ACTIONS if not module_installed(nexrender, name, env={})]
    if missing:
        return fail(Code.NEXRENDER_BROKEN, f"npm left out {', '.join(missing)}.")
    return _prove_core(root, node, nexrender)


def _prove_core(root: Path, node: Path, nexrender: Nexrender) -> Failure | None:
    if sys.platform == "linux":
        # No job and no such aerender: it must get as far as missing the program, which touches nothing.
        nowhere = str(root / "no-aerender")
        said = _run_to_prove(nexrender.command, "{}", "--binary", nowhere, "--no-analytics")
        proven = "provide a proper path" in said or "WSL" in said
    else:
        # Elsewhere a made-up --binary would make it take (and patch) the After Effects it finds by itself.
        said = _run_to_prove(
            (str(node), "-e", "require(process.argv[1]);console.log('loaded')"),
            str(root / "node_modules" / "@nexrender" / "core"),
        )
        proven = "loaded" in said
    return None if proven else fail(Code.NEXRENDER_BROKEN, f"The nexrender just installed does not run: {said[-800:]}")


def _run_to_prove(command: Sequence[str], *words: str) -> str:
    env = environment(home=Path.home(), scratch=Path(tempfile.gettempdir()))
    try:
        run = subprocess.run(
            [*command, *words],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return run.stdout.decode("utf-8", "replace").strip()


def _put_in_place(fresh: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}.old")
    if os.path.lexists(target):
        disk.rename(target, old)
    try:
        disk.rename(fresh, target)
    except OSError:
        if old.exists():
            disk.rename(old, target)
        raise
    disk.remove_tree(old)


def _disk_failure(error: OSError, target: Path) -> Failure:
    if disk.is_full(error):
        return fail(Code.DISK_FULL, f"The disk of {target} is full: {error}.")
    cure = f"Make {target.parent} writable for this user, or set WATCHRENDER_DATA_DIR to a folder that is."
    if os.name == "nt" and disk.is_busy(error):
        cure = "Wait until no render runs (Windows holds the files of a running nexrender), then try again."
    return fail(Code.NEXRENDER_NOT_FOUND, f"nexrender cannot be put into {target}: {error}.", cure=cure)
