"""Starts services in a moment: a process that has imported everything, and forks one service for each request.

Requests and answers are lines of JSON: `{"config": PATH, "env": {…}, "log": PATH}` → `{"pid": N}`, and when it has
ended `{"pid": N, "code": C}`. `{"kill": N, "signal": S}` signals one of them: only who has not waited for a process
yet can be sure that its number is still its own. Each service is the main thread of a process of its own, as after
`watchrender run`.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil  # noqa: F401  (imported here so that no child has to)

from watchrender import disk
from watchrender.config import load
from watchrender.service import CannotStart, Service

TICK_SECONDS = 0.005


def serve(asked: dict[str, Any]) -> int:
    """One service from start to end, in this process. Its exit code."""
    os.setsid()
    out = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    faulthandler.enable()  # where every thread is, for one that is aborted because it does not end
    os.environ.update(asked["env"])
    disk.listen_to(os.environ)
    path = Path(asked["config"])
    os.chdir(path.parent)
    try:
        return Service(load(path.read_text(encoding="utf-8"), str(path), {}), say=lambda words: print(words)).run()
    except CannotStart as error:
        print(error, flush=True)
        return 2


def main() -> None:
    assert threading.active_count() == 1, "a process with threads must not be forked"
    children: set[int] = set()
    try:
        attend(children)
    except BrokenPipeError:
        pass  # nobody is there any more who would listen
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def attend(children: set[int]) -> None:
    """Start what is asked for and tell what has ended, until nobody asks any more."""
    waiting = b""
    while True:
        ready, _, _ = select.select([0], [], [], TICK_SECONDS if children else None)
        if ready:
            read = os.read(0, 65536)
            if not read:
                return
            *lines, waiting = (waiting + read).split(b"\n")
            for asked in map(json.loads, lines):
                if "kill" in asked:
                    if asked["kill"] in children:
                        os.kill(asked["kill"], asked["signal"])
                    continue
                pid = start(asked)
                children.add(pid)
                print(json.dumps({"pid": pid}), flush=True)
        for pid in list(children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                children.discard(pid)
                print(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}), flush=True)


def start(asked: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = serve(asked)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
