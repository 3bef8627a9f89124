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
_WAITING = ("queued", "validating", "pending")


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
        waiting = self.in_state(*_WAITING)
        return sorted(
            waiting,
            key=lambda job: (-job["priority"], (job.get("record") or {}).get("arrival") or 0, job["created_at"]),
        )

    def over(self) -> list[dict[str, Any]]:
        return sorted(self.in_state(*_OVER), key=lambda job: str(job.get("finished_at") or ""), reverse=True)


def follow(client: Any, *, until: Callable[[View], bool] = lambda _view: False) -> None:
    """Show the service until it goes (exit 3) or the reader has seen enough. On a terminal the view is drawn again and
    again; into a pipe or a file it goes once, and then a line for each change."""
    from rich.console import Console

    console = Console()
    view = View()
    drawn: _Screen | _Lines = _Screen(console) if console.is_terminal else _Lines(console)
    with drawn:
        for message in _heard(client):
            view.take(message)
            drawn.show(view, message)
            if until(view):
                return
    leave(Exit.NO_SERVICE, "the service has gone; `watchrender list` reads the folder")


def once(client: Any) -> dict[str, Any]:
    """The service as it is now, for programs. Ends with 3 where nobody tells."""
    view = View()
    for message in _heard(client):
        view.take(message)
        if view.service:
            return {
                "service": view.service,
                "rendering": view.in_state("rendering"),
                "queue": view.queue(),
                "over": view.over(),
            }
    leave(Exit.NO_SERVICE, "the service has gone; `watchrender list` reads the folder")


def _heard(client: Any) -> Iterator[dict[str, Any]]:
    """The messages of the stream, until it ends or breaks."""
    import httpx2

    try:
        with client.stream("GET", "/events", timeout=httpx2.Timeout(10.0, read=45.0)) as answer:
            yield from messages(answer.iter_lines())
    except (httpx2.HTTPError, OSError):
        pass


class _Screen:
    """A terminal: the whole of it is the view."""

    def __init__(self, console: Any) -> None:
        from rich.live import Live

        self._console = console
        self._live = Live(console=console, refresh_per_second=4, screen=True)
        self._shown = 0.0

    def __enter__(self) -> None:
        self._live.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def show(self, view: View, message: dict[str, Any]) -> None:
        if time.monotonic() - self._shown > 0.2 or message.get("type") != "progress":
            self._shown = time.monotonic()
            self._live.update(picture(view, self._console.height))


class _Lines:
    """A pipe or a file: the view once, then what changes, a line each."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._states: dict[str, str] = {}
        self._service = ""
        self._begun = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: Any) -> None:
        pass

    def show(self, view: View, message: dict[str, Any]) -> None:
        if not self._begun and view.service:
            self._begun = True
            self._console.print(picture(view))
            self._states, self._service = _states(view), _service_words(view.service)
            return
        for words in self._changes(view):
            self._console.print(_plain(f"{_clock(message.get('at'))}  {words}"), soft_wrap=True)

    def _changes(self, view: View) -> Iterator[str]:
        states, service = _states(view), _service_words(view.service)
        if service != self._service:
            yield f"the service: {service}"
        for job_id, state in states.items():
            if self._states.get(job_id) != state:
                yield f"{view.jobs[job_id]['job']}: {state}"
        self._states, self._service = states, service


def _states(view: View) -> dict[str, str]:
    """What is said of each job in a line: its state, and why where it failed."""
    found = {}
    for job in view.jobs.values():
        error = job.get("error") or {}
        why = f" ({error.get('code')}: {error.get('message')})" if job["state"] == "failed" and error else ""
        found[job["id"]] = f"{job['state']}{why}"
    return found


def _service_words(service: dict[str, Any]) -> str:
    waits = "; ".join(str(found.get("message")) for found in service.get("waiting") or ())
    return f"{service.get('state')}: {waits}" if waits else str(service.get("state"))


def picture(view: View, height: int | None = None) -> Any:
    """The whole view as it is drawn: what renders, the queue, what is over; no more lines than there is room for."""
    from rich.console import Group
    from rich.text import Text

    waiting = view.service.get("waiting") or ()
    renders = view.in_state("rendering")
    queue_shown, over_shown = _shares(None if height is None else height - 2 * len(waiting) - max(1, len(renders)))
    parts: list[Any] = [_headline(view)]
    for failure in waiting:
        told = f"the queue waits: {failure['message']}\n  {failure['cure']}"
        parts.append(Text(told, style="yellow", no_wrap=True, overflow="ellipsis"))
    for table in (_renders(renders), _queue(view, queue_shown), _finished(view, over_shown)):
        parts += [Text(), table]
    return Group(*parts)


def _shares(lines: int | None) -> tuple[int, int]:
    """How many jobs of the queue and of those over are shown, with so many lines for all."""
    if lines is None:
        return QUEUE_SHOWN, OVER_SHOWN
    left = max(4, lines - 8)  # the headline, three blank lines and titles, the rest of the queue in words
    over = min(OVER_SHOWN, max(2, left // 3))
    return left - over, over


def _headline(view: View) -> Any:
    from rich.text import Text

    service = view.service
    state = str(service.get("state", ""))
    counts = service.get("counts") or {}
    told = "  ".join(f"{name} {number}" for name, number in counts.items() if number)
    head = Text(f"{service.get('node', '')}  ", style="bold", no_wrap=True, overflow="ellipsis")
    head.append(state, style="green" if state == "running" else "yellow")
    return head.append(f"  {told}", style="not bold")


def _table(name: str, *titles: str) -> Any:
    """Columns of one line each; the name takes what the others leave."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, expand=True, header_style="bold")
    table.add_column(name, ratio=3, no_wrap=True, overflow="ellipsis")
    for title in titles:
        is_number = title in ("%", "FRAME", "FPS", "PRIORITY", "TRY")
        table.add_column(title, no_wrap=True, overflow="ellipsis", justify="right" if is_number else "left")
    return table


def _renders(renders: list[dict[str, Any]]) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    table = _table("RENDERING", "", "%", "FRAME", "FPS", "DONE", "TRY")
    for job in renders:
        progress = job.get("progress") or {}
        percent = progress.get("percent")
        frames = f"{progress.get('frame') or '?'}/{progress.get('frames') or '?'}"
        table.add_row(
            _plain(job["job"]),
            ProgressBar(total=100, completed=percent or 0, width=24),
            "" if percent is None else f"{percent:.0f}",
            frames if progress.get("frame") else str(progress.get("stage") or ""),
            str(progress.get("fps") or ""),
            _clock((job.get("eta") or {}).get("done_at")),
            f"{job['attempt']}/{job['max_attempts']}",
        )
    if not renders:
        table.add_row(Text("nothing", style="dim"))
    return table


def _queue(view: View, most: int) -> Any:
    from rich.text import Text

    queue = view.queue()
    counts = view.service.get("counts") or {}
    total = max(len(queue), sum(counts.get(state) or 0 for state in _WAITING))
    table = _table(f"QUEUE ({total})", "PRIORITY", "STATE", "STARTS", "DONE", "WAITS FOR")
    table.columns[-1].ratio = 2
    for job in queue[:most]:
        waits = "held" if job.get("hold") else next(iter(job.get("waiting_for") or ()), "")
        eta = job.get("eta") or {}
        state = Text(job["state"], style="" if job["state"] == "queued" else "dim")
        times = _clock(eta.get("starts_at")), _clock(eta.get("done_at"))
        table.add_row(_plain(job["job"]), str(job["priority"]), state, *times, Text(waits, style="yellow"))
    if total > most:
        table.add_row(Text(f"and {total - min(most, len(queue))} more", style="dim"))
    return table


_COLOURS = {"completed": "green", "failed": "red"}


def _finished(view: View, most: int) -> Any:
    from rich.text import Text

    table = _table("OVER", "STATE", "AT", "WHY")
    table.columns[-1].ratio = 4
    for job in view.over()[:most]:
        error = job.get("error") or {}
        why = " ".join(str(error[part]) for part in ("code", "message") if error.get(part))
        state = Text(job["state"], style=_COLOURS.get(job["state"], "dim"))
        table.add_row(_plain(job["job"]), state, _clock(job.get("finished_at")), _plain(why))
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
