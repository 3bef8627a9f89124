"""Those outside whom a service talks to: a render farm, somebody who wants to be told, a program that sends jobs. They
live in the test's own process, so the end of a service is none of theirs."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: A farm's worker takes a job when it has been asked about so often, and is done with it so many questions later.
_TAKEN, _DONE = 2, 4


class _Server:
    """An HTTP server of this process."""

    def __init__(self) -> None:
        neighbour = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_words: object) -> None: ...

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                said = neighbour.answer(self.command, self.path, body)
                self.send_response(200 if said else 204)
                if said:
                    self.send_header("content-length", str(len(said)))
                self.end_headers()
                with suppress(OSError):  # whoever asked was ended meanwhile
                    self.wfile.write(said)

            do_GET = do_POST = do_PUT = do_DELETE = _any

            def handle(self) -> None:
                with suppress(OSError):
                    super().handle()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads, self._http.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        """What it answers; nothing is 204."""
        raise NotImplementedError

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class Farm(_Server):
    """A nexrender-server and its worker. A job called Cancel is cancelled by somebody while the worker has it, and the
    worker never comes to an end with it."""

    def __init__(self, home: Path) -> None:
        self._starts, self._inbox = home / "starts", home / "root" / "inbox"
        self._jobs: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, int] = {}
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()
        super().__init__()

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        with self._lock:
            words = path.strip("/").split("/")[2:]
            if words == ["health"]:
                return b"ok"
            if method == "POST":
                job = json.loads(body)
                self._jobs[job["uid"]] = job | {"state": "queued"}
                return json.dumps(self._jobs[job["uid"]]).encode()
            if method == "DELETE":
                self._jobs.pop(words[1], None)
                return b""
            if words == ["jobs", "status"]:
                for job in self._jobs.values():
                    self._work_on(job)
                return json.dumps([self._standing(job) for job in self._jobs.values()]).encode()
            found = self._jobs.get(words[1])
            return b"" if found is None else json.dumps(found).encode()

    @staticmethod
    def _standing(job: dict[str, Any]) -> dict[str, Any]:
        return {"uid": job["uid"], "state": job["state"], "jobExecutor": "127.0.0.1", "renderProgress": 50}

    def _work_on(self, job: dict[str, Any]) -> None:
        asked = self._asked[job["uid"]] = self._asked.get(job["uid"], 0) + 1
        output = Path(job["output"])
        if asked == _TAKEN:
            job["state"] = "started"
            with open(self._starts, "a", encoding="utf-8") as file:
                file.write(f"{output.stem} {job['uid']}\n")
            if job["template"]["composition"] == "Cancel" and output.stem not in self._cancelled:
                self._cancelled.add(output.stem)  # once: an order that comes after the end names nobody
                (self._inbox / f"{output.stem}.cancel").touch()
        elif asked == _DONE and job["template"]["composition"] != "Cancel":
            try:
                output.write_bytes(f"a film of {job['uid']} {None}\n".encode() * 100)
                job["state"] = "finished"
            except OSError:
                job["state"] = "error"  # its folder is gone: nobody waits for it any more


class Hook(_Server):
    """Wants to be told, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        super().__init__()

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        self.told.append(json.loads(body))
        return b""

    def ends_told(self) -> set[str]:
        return {str(said["data"].get("job")) for said in self.told if said["type"] == "job.completed"}


class Program(threading.Thread):
    """Sends a job over HTTP until it has been taken, always under the same key, as programs are to."""

    def __init__(self, address: Callable[[], Any], body: dict[str, Any], key: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._body = json.dumps(body).encode()
        self._key = key
        self._leaves = threading.Event()
        self.taken: str | None = None  # the id that it was given
        self.start()

    def run(self) -> None:
        while self.taken is None and not self._leaves.is_set():
            address = self._address()
            if address:
                # An answer that breaks off in the middle is none: whoever killed the service did so while it was sent.
                with suppress(OSError, ValueError, http.client.HTTPException):
                    self._send(f"http://{address[0]}:{address[1]}/api/v1/jobs")
            time.sleep(0.02)

    def _send(self, url: str) -> None:
        headers = {"content-type": "application/json", "Idempotency-Key": self._key}
        request = urllib.request.Request(url, self._body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            self.taken = json.loads(answer.read())["id"]

    def close(self) -> None:
        self._leaves.set()
        self.join()
