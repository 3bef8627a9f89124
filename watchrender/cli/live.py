"""`watchrender top`: what renders, what waits and what is over, live over the service's stream."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from watchrender.cli.common import Exit, leave

QUEUE_SHOWN, OVER_SHOWN, OVER_KEPT = 12, 8, 50
_OVER = ("completed", "failed", "cancelled")


def messages(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The messages in the lines of a stream of Server-Sent Events."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].lstrip())
        elif not line and data:
            text, data = "\n".join(data), []
            try:
                found = json.loads(text)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found


@dataclass(kw_only=True)
class View:
    """What is known of the service so far, folded from its messages."""

    service: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, message: dict[str, Any]) -> None:
        """Fold one message in; a kind that is not known is passed over."""
        data = message.get("data") or {}
        match message.get("type"):
            case "snapshot":
                self.service = (data.get("service") or {}) | {"counts": data.get("counts") or {}}
                self.jobs = {job["id"]: job for job in data.get("jobs") or ()}
            case "job":
                self.jobs[data["id"]] = data
                self._forget()
            case "queue":
                self.service = self.service | {"counts": data.get("counts") or self.service.get("counts")}
                for place in data.get("queue") or ():
                    if place.get("id") in self.jobs:
                        self.jobs[place["id"]] |= {"position": place.get("position"), "eta": place.get("eta")}
            case "progress" if data.get("id") in self.jobs:
                self.jobs[data["id"]] |= {"progress": data.get("progress"), "eta": data.get("eta")}
            case "service":
                self.service = {"counts": self.service.get("counts")} | data

    def _forget(self) -> None:
        """Somebody may look for weeks: of those that are over only the last are kept."""
        for job in self.over()[OVER_KEPT:]:
            del self.jobs[job["id"]]

    def in_state(self, *states: str) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if job["state"] in states]

    def queue(self) -> list[dict[str, Any]]:
        """The waiting jobs in the order they will be taken, as far as the stream has told of them."""
        waiting = self.in_state("queued", "pending", "validating")
        return sorted(
            waiting,
            key=lambda job: (-job["priority"], (job.get("record") or {}).get("arrival") or 0, job["created_at"]),
        )

    def over(self) -> list[dict[str, Any]]:
        return sorted(self.in_state(*_OVER), key=lambda job: str(job.get("finished_at") or ""), reverse=True)


def follow(client: Any, *, until: Callable[[View], bool] = lambda _view: False) -> None:
    """Show the service until it goes (exit 3) or the reader has seen enough."""
    import httpx2
    from rich.console import Console
    from rich.live import Live

    view = View()
    shown = 0.0
    try:
        with (
            client.stream("GET", "/events", timeout=httpx2.Timeout(10.0, read=45.0)) as answer,
            Live(console=Console(), refresh_per_second=4, screen=Console().is_terminal) as live,
        ):
            for message in messages(answer.iter_lines()):
                view.take(message)
                if time.monotonic() - shown > 0.2 or message.get("type") != "progress":
                    shown = time.monotonic()
                    live.update(picture(view))
                if until(view):
                    return
    except (httpx2.HTTPError, OSError):
        pass
    leave(Exit.NO_SERVICE, "the service has gone; `watchrender list` reads the folder")


def picture(view: View) -> Any:
    """The whole view as it is drawn."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [_headline(view)]
    for failure in view.service.get("waiting") or ():
        parts.append(Text(f"the queue waits: {failure['message']}\n  {failure['cure']}", style="yellow"))
    parts += [_renders(view), _queue(view), _finished(view)]
    return Group(*parts)


def _headline(view: View) -> Any:
    from rich.text import Text

    service = view.service
    counts = service.get("counts") or {}
    told = "  ".join(f"{name} {number}" for name, number in counts.items() if number)
    return Text(f"{service.get('node', '')}  {service.get('state', '')}  {told}", style="bold")


def _renders(view: View) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("RENDERS", "", "FRAME", "FPS", "DONE AT", "TRY"):
        table.add_column(title)
    for job in view.in_state("rendering"):
        progress = job.get("progress") or {}
        frames = f"{progress.get('frame') or '?'}/{progress.get('frames') or '?'}"
        table.add_row(
            _plain(job["job"]),
            ProgressBar(total=100, completed=progress.get("percent") or 0, width=30),
            frames if progress.get("frame") else str(progress.get("stage") or ""),
            str(progress.get("fps") or ""),
            _clock((job.get("eta") or {}).get("done_at")),
            f"{job['attempt']}/{job['max_attempts']}",
        )
    return table


def _queue(view: View) -> Any:
    from rich.table import Table

    queue = view.queue()
    table = Table(box=None, pad_edge=False, title_justify="left")
    for title in (f"QUEUE ({len(queue)})", "PRIORITY", "STATE", "STARTS", "WAITS FOR"):
        table.add_column(title)
    for job in queue[:QUEUE_SHOWN]:
        waits = "held" if job.get("hold") else next(iter(job.get("waiting_for") or ()), "")
        starts = _clock((job.get("eta") or {}).get("starts_at"))
        table.add_row(_plain(job["job"]), str(job["priority"]), job["state"], starts, _plain(waits))
    return table


def _finished(view: View) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("OVER", "STATE", "AT", "WHY"):
        table.add_column(title)
    for job in view.over()[:OVER_SHOWN]:
        error = job.get("error") or {}
        table.add_row(_plain(job["job"]), job["state"], _clock(job.get("finished_at")), str(error.get("code") or ""))
    return table


def _plain(text: str) -> Any:
    """Text of a job, which may look like markup and must not be it."""
    from rich.text import Text

    return Text(str(text))


def _clock(stamp: str | None) -> str:
    """A stamp as this machine's clock shows it."""
    if not stamp:
        return ""
    from watchrender.core.clock import moment

    return moment(stamp).astimezone().strftime("%H:%M:%S")
