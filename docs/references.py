"""The pages that are written from the code: settings, jobs, statuses, the API, troubleshooting."""

# ruff: noqa: E501 — this is prose

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from watchrender.config import schema as config_schema
from watchrender.config.model import Config, Section
from watchrender.config.show import flow
from watchrender.core import jobform, settings, status
from watchrender.core.failure import CATALOGUE, Code, Kind
from watchrender.web import openapi

_WRITTEN = "<!-- Written from the code by `make docs`; what is changed here by hand is lost. -->\n"


def page(title: str, *parts: str) -> str:
    return "\n".join([f"# {title}", "", _WRITTEN, "\n\n".join(part.strip("\n") for part in parts), ""])


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *([_cell(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# ------------------------------------------------------------------------------------------------------------ settings


def config() -> str:
    """Every setting, by section."""
    parts = [
        "All of `watchrender.yaml`. Only `root` is required. The same with every default, to copy from:"
        " [`config.example.yaml`](../config.example.yaml). The JSON schema for editors: `watchrender schema config`.",
        "Durations are `500ms 2s 10m 4h 7d`, sizes `512KiB 5MiB 2GiB`. A variable beats the file:"
        " `WATCHRENDER_SERVER__PORT=8800` is `server.port`. `watchrender check` shows what is in force and where it comes"
        " from; all faults are told at once, each with its line.",
    ]
    single = [(name, field) for name, field in Config.model_fields.items() if not _is_section(field.annotation)]
    parts.append("## At the top\n\n" + _settings(single))
    for name, field in Config.model_fields.items():
        kind = field.annotation
        if _is_section(kind) and isinstance(kind, type) and issubclass(kind, Section):
            parts.append(f"## `{name}`\n\n{kind.__doc__}\n\n" + _settings(kind.model_fields.items(), f"{name}."))
    target = config_schema()["$defs"]["Target"]["properties"]
    rows = [(f"`{name}`", str(found.get("description", ""))) for name, found in target.items()]
    parts.append("## A target of `notify`\n\n" + table(("key", "what it is"), rows))
    return page("Every setting", *parts)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _settings(fields: Iterable[tuple[str, Any]], before: str = "") -> str:
    rows = []
    for name, field in fields:
        default = "required" if field.is_required() else f"`{flow(field.default)}`"
        rows.append((f"`{before}{field.alias or name}`", default, field.description or ""))
    return table(("setting", "default", "what it does"), rows)


# ----------------------------------------------------------------------------------------------------------------- job


def job() -> str:
    """What a job and its sidecar may say."""
    definitions = jobform.schema_job()["$defs"]
    return page(
        "Jobs and sidecars",
        "A job is a nexrender job: `NAME.json`, or `NAME.yaml` with a `template:` at its top. Schemas for editors:"
        " `watchrender schema job` and `watchrender schema sidecar`. `watchrender check FILE` says what would happen to"
        " one, and nothing runs.",
        "## The shortest job\n\n```yaml\ntemplate: spot.aep          # beside this file, or a full path\ncomposition: Main\n```",
        "The same in nexrender's own form:\n\n```json\n"
        + json.dumps({"template": {"src": "spot.aep", "composition": "Main", "outputExt": "mp4"}}, indent=2)
        + "\n```",
        "## The short form\n\n" + _fields(definitions["short"]["properties"]),
        "## `template`\n\n" + _described(jobform.TEMPLATE),
        "## Each of `assets`\n\n" + _described(jobform.ASSET),
        _SIDECAR,
        _fields(settings.schema_sidecar()["properties"]),
        "## `expect`\n\n" + _fields(settings.schema_sidecar()["properties"]["expect"]["properties"]),
        _NAMES,
    )


_SIDECAR = """## Sidecar: settings for one job

`NAME.yaml` beside `NAME.json` (or beside a bundle or zip), without `template:`. The same keys may stand in the job itself,
under `watchrender:`; where both speak, the sidecar counts. An unknown key is an error that names the nearest known one.

```yaml
priority: 80
not_before: "18:30"
notify: [ops, https://studio.example/hook]
expect: {frames: 250}
```
"""

_NAMES = """## Priority in a name

Higher goes first, 0 to 100, 50 is the default. `p80_spot.json`, `p80-spot.json`, `spot.p80.json` (two digits, or 100), or
a word: `spot@urgent.json` (90), `@high` (70), `@normal` (50), `@low` (20). The mark is not part of the job's name.
Strongest first: what somebody asked last (page, command, an empty `spot.p90` file), the sidecar, the job's
`watchrender:`, the name, nexrender's own `priority`, the folder (`queue.folder_priorities`), the default.
"""


def _described(fields: Mapping[str, Any]) -> str:
    return table(
        ("field", "kind", "what it is"), ((f"`{name}`", found.type, found.meaning) for name, found in fields.items())
    )


def _fields(properties: Mapping[str, Any]) -> str:
    rows = ((f"`{name}`", _kind(found), str(found.get("description", ""))) for name, found in properties.items())
    return table(("key", "value", "what it is"), rows)


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join("nothing" if one == "null" else str(one) for one in kind)
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if "(ms|s|m|h|d)" in str(schema.get("pattern", "")):
        return "duration"
    return {"array": "list", "boolean": "true or false", "object": "keys below it"}.get(str(kind), str(kind))


# -------------------------------------------------------------------------------------------------------------- status

STATUS = {
    "schema": "The form of this document.",
    "id": "Sortable by time; a job keeps it from its drop to its end.",
    "job": "Its key: sub-folder and name. Unique among jobs that are not over.",
    "name": "Its name, without marks and suffix.",
    "sub": "The sub-folder it was dropped into.",
    "retry_of": "The id of the job that this one tries again.",
    "superseded_by": "The id of the newer job that took its place.",
    "state": "Where it stands.",
    "folder": "Where its files lie now, below the root.",
    "form": "A file, a bundle (a folder) or a zip.",
    "files": "The names of the job file and of its sidecar.",
    "priority": "Higher goes first.",
    "priority_from": "Who said so: request, sidecar, job, filename, nexrender, folder or default.",
    "position": "1 is the next one. Known for the first twenty.",
    "hold": "It waits for a release.",
    "held_because": "Why the service itself holds it.",
    "cancel_requested": "The render is being ended.",
    "attempt": "The try that runs, or ran last.",
    "max_attempts": "Tries in all.",
    "not_before": "It does not start earlier: the backoff, or the sidecar's wish.",
    "waiting_for": "What it waits for, in words.",
    "warnings": "What somebody should know, though it goes on.",
    "progress": "`percent`, `frame`, `frames`, `fps`, `stage`.",
    "eta": "`starts_at`, `done_at`, `low`, `high`, and what that stands on (`basis`).",
    "created_at": "Seen first.",
    "queued_at": "Accepted.",
    "started_at": "The start of the last try.",
    "finished_at": "Over.",
    "updated_at": "This document.",
    "template": "The project's name.",
    "composition": "What is rendered.",
    "tags": "Words to find it by.",
    "node": "The machine that rendered.",
    "outputs": "Each film: `path`, `bytes`, `sha256`; of an image sequence the pattern, `frames` and `bytes`.",
    "attempts": "Tries that ended and count: `number`, times, `exit_code`, `error`.",
    "history": "Every change of its state: `at`, `from`, `to`, `why`.",
    "error": "`code`, `kind`, `message`, `cure`, and the place (`path`, `line`, `column`).",
    "record": "What a rebuild of a lost record needs; no tool should rely on it.",
}


def statuses() -> str:
    """What a status file holds."""
    found = status.schema_status()
    properties = found["properties"]
    rows = [(f"`{name}`", _kind(properties[name]), meaning) for name, meaning in STATUS.items()]
    return page(
        "Status files",
        "`status/<sub>/<job>.status.json` for every job that is not over, and for `retention.status` after; the same"
        " document lies in the job's folder, is what the API gives, and what `job` messages of the stream carry. Written"
        " beside and renamed over: a reader never sees half of one. Times are ISO 8601 in UTC. The schema:"
        " `watchrender schema status`.",
        table(("field", "value", "what it tells"), rows),
        "`progress.percent` is 100 when completed, and nothing when it is not known. A path in `outputs` is relative to"
        " the status file where the film lies beside it, and absolute where it was delivered elsewhere. `attempts` lists"
        " tries that count; what was ended by the machine or by us stands in `history`, with why.",
        "`queue.json` and `service.json` beside them tell of the queue and of the service: `waiting` says what it waits"
        " for, `ignored` which files of the inbox are no jobs.",
    )


# ----------------------------------------------------------------------------------------------------------------- API


def api() -> str:
    """Every route, from the OpenAPI document."""
    document = openapi.document(with_token=True)
    rows = []
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            query = [found["name"] for found in operation.get("parameters", ()) if found["in"] == "query"]
            shown = path + (f"?{'&'.join(f'{name}=' for name in query)}" if query else "")
            answers = ", ".join(code for code in operation["responses"] if code[0] in "12")
            rows.append((f"`{verb.upper()} {shown}`", str(operation["summary"]), answers))
    return page("The API", _API, table(("", "what it does", "answers"), rows), _API_MORE)


_API = """The server listens on `127.0.0.1:8790` (`server.host`, `server.port`). The whole document, for tools:
`GET /openapi.json`. Errors are problem documents (RFC 9457, `application/problem+json`): `detail` says what and what to do.

With `server.token` set, every route but `/healthz` wants `Authorization: Bearer …`. A `Host` that is not one of ours, and
a change asked for by a foreign page (`Origin`), gets 403, token or not: see [security](security.md).

```sh
curl -s localhost:8790/api/v1/status
curl -s localhost:8790/api/v1/jobs -H 'content-type: application/json' -H 'idempotency-key: order-4711' \\
     -d '{"name": "spot", "sub": "clientA", "job": {"template": {"src": "/mnt/spot.aep", "composition": "Main"}},
          "settings": {"priority": 80}}'
curl -s -X POST localhost:8790/api/v1/jobs/01JD…/cancel
curl -N localhost:8790/api/v1/events
```
"""

_API_MORE = """## Pages of jobs

`GET /api/v1/jobs` gives `{"jobs": […], "next": "…"}`: those that render, the queue in its order, those that arrive, then
those over, newest first. Send `next` as `cursor` for the next page, until it is null. Every job that was there at the
first page comes exactly once, in the state it has by then, however they move meanwhile; a page costs the same at any depth.
`state` takes several, with commas; `q` wants all its words somewhere in key, id, template, composition, tags or error code.
A search in a long history comes in pieces: a page may have few jobs or none, and a `next`.

## Orders

One job: `POST …/cancel`, `/retry`, `/hold`, `/release`, `PATCH` with `{"priority": 80}`. The answer is the job as it is
afterwards; 202 where a render is being ended, and 409 with the reason where its state forbids it. `/retry` answers with the
new job, which says `retry_of`. Many: the same word under `/api/v1/jobs/`, with `{"ids": […]}` or with a filter, such as
`{"state": "failed", "q": "spot"}`, and `/api/v1/jobs/priority` with a `priority` beside it; the answer says of each job
what a single order would have said. An empty filter is refused: it would mean all.

A job that is sent with an `Idempotency-Key` is dropped once: the same key with the same job answers with the same id, after
a restart too (the last thousand keys are known); with another job it is 409.

`/outputs/{n}` is the film itself, with ranges; `frame=` chooses one of an image sequence; `/thumbnail` and `/contact` after
it are its pictures (of the first output also without `/outputs/0`). 410: it was there, and somebody
has taken it away.

## The stream

`/api/v1/events` (Server-Sent Events) and `/api/v1/ws` (WebSocket) carry the same messages:

```json
{"id": 1732453953121, "type": "job", "at": "2026-11-24T12:52:33.120Z", "data": {"state": "rendering"}}
```

| type | when | data |
| --- | --- | --- |
| `snapshot` | first, where there is nothing to resume | `{service, counts, jobs}`; `gap: true` where messages were missed |
| `job` | at every change of a state; none is ever left out | the status document |
| `progress` | while a job renders | `{id, job, progress, eta}` |
| `queue` | the order or the numbers changed | counts, what waits |
| `service` | paused, waiting, healthy again | the service |

Ids rise by one. Who was away sends the last one it saw (`Last-Event-ID`, or `?last_event_id=`) and gets what was missed;
where that is too long ago, a `snapshot` with `gap: true` comes first. `?job=ID` follows one job. A reader that does not
read is closed, never waited for: connect again with the last id.

A stream is a connection, and a connection an open file. Half of those that the system lets the service have may be
streams (`ulimit -n`; `LimitNOFILE=` of systemd; 1,024 are usual on Linux, 256 on macOS), never more than 2,000; on Windows
it is 400. Who comes then gets 503 with `Retry-After`, over WebSocket too. `watchrender_stream_readers` in `/metrics` counts
those that are open.

## Webhooks

What [`notify`](reference-config.md#a-target-of-notify) sends to an https address is a post of
`{"type": "job.failed", "timestamp": …, "data": …}`, signed as [Standard Webhooks](https://www.standardwebhooks.com) has it
where the target has a `secret`: headers `webhook-id`, `webhook-timestamp`, `webhook-signature`. Any 2xx is a receipt; all
else is sent again with growing waits, for a day. The id stays the same, so that a repetition is known by it.

| type | data |
| --- | --- |
| `job.started` `job.completed` `job.failed` `job.cancelled` | the job's status, without its history |
| `service.environment` | `waiting`: new troubles of the machine; `over`: those that have passed; `still`: what the queue waits for now |
| `service.queue-empty` | `last`: the job that ended; `held`: how many are held |
| `service.test` | sent by `watchrender notify test` |
"""


# ----------------------------------------------------------------------------------------------------- troubleshooting


def troubleshooting() -> str:
    """Every error code: what it means, what to do, what happens by itself."""
    parts = [_HELP]
    for kind, words in _KINDS.items():
        rows = [code for code in Code if CATALOGUE[code].kind is kind]
        parts.append(words + "\n\n" + "\n\n".join(_entry(code) for code in rows))
    parts.append(_QUESTIONS)
    return page("When something goes wrong", *parts)


def _entry(code: Code) -> str:
    entry = CATALOGUE[code]
    fewer = "\n\nTried once more only." if entry.retries == 1 else ""
    return f"### `{code}`\n\n{entry.meaning}\n\n**What to do:** {entry.cure}{fewer}"


_KINDS = {
    Kind.JOB: """## The job is at fault

It is not tried again: the same job would end the same way. Its folder is in `failed/`, with a `WHY.txt` that names the
place. Correct it and drop it again, or drag the folder back into the inbox.""",
    Kind.TRANSIENT: """## It may pass

Tried again by itself, `retry.max_retries` times, with growing waits; other jobs go first meanwhile. Only when the last
try has failed the job goes to `failed/`.""",
    Kind.ENVIRONMENT: """## The machine is at fault

The queue waits, no job loses a try, and it goes on by itself when the trouble is over. `watchrender doctor` looks at
everything at once.""",
}

_HELP = """Every error has a code, says what and where, and what to do. It stands in the job's `WHY.txt`, in its status
file, on the page and in the log.

| | |
| --- | --- |
| Is this machine fit? | `watchrender doctor` |
| What would happen to this job? | `watchrender check FILE` |
| Why does nothing render? | `why` in `status/service.json`, or the page |
| What did After Effects say? | `watchrender logs JOB`, or `JOB.log` in its folder |
| Which files in the inbox are no jobs? | `ignored` in `status/service.json` |
"""

_QUESTIONS = """## Questions without a code

**A job stays `pending`.** Its file still changes, or was written less than `watch.settle` ago; on a share sizes arrive
late. Broken JSON waits `watch.cut_off` for its end.

**A job stays `validating`.** Footage or project is missing or still grows: `waiting_for` in its status names the files.

**A job stays `queued` and others go first.** It is held (`hold`), too early (`not_before`), or waits after a failed try.
`watchrender show JOB` tells.

**A file is ignored.** Names that begin with a dot or `~`, end in `.tmp` or `.part`, and the like are left alone, and so is
a settings file that no job belongs to. `status/service.json` lists them.

**The film is good and the job failed.** After Effects said that frames, footage or fonts were missing: see the log. What
counts as good is set under [`verify`](reference-config.md#verify).

**The service does not start.** Exit code 2: it says what to correct. Exit code 4: another service serves this root; on a
share it may be on another machine, which `status/service.json` names.

**After Effects' window is grey and cannot be worked in.** A file `ae_render_only_node.txt` lies in this user's Documents:
it makes a render-only node of the machine. watchrender never writes it.

**Renders hang when nobody is logged in.** After Effects needs its user's own session; see
[installation](operator.md#start-it-by-itself).
"""
