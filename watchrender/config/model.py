"""Every setting: its name, kind, default and why. `config.example.yaml` and the JSON schema are written from here.

Defaults are given as a person would write them. A setting with nothing behind it (`null`) has its default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from watchrender.config import kinds
from watchrender.config.kinds import Exact, NotEmpty, Off

VERSION = 1


def _key(default: Any, why: str, *, secret: bool = False, **bounds: Any) -> Any:
    extra: dict[str, Any] = {"json_schema_extra": {"writeOnly": True}, "repr": False} if secret else {}
    return Field(default=default, description=why, **extra, **bounds)


class Section(BaseModel):
    """A group of settings. Frozen; an unknown name is a fault."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, found: Any) -> Any:
        if not isinstance(found, dict):
            return found
        known = cls.model_fields.keys() | {field.alias for field in cls.model_fields.values()}
        return {name: value for name, value in found.items() if value is not None or name not in known}


class PathRule(Section):
    """The same place under two names: what a job says, and what this machine says."""

    from_: kinds.Filled = Field(alias="from", description="The leading folders as other machines write them.")
    to: kinds.Filled = Field(description="The same place as this machine sees it.")


class Folders(Section):
    """The folders under root."""

    inbox: kinds.FolderName = _key("inbox", "Where people and tools drop jobs; it is the queue.")
    active: kinds.FolderName = _key("active", "The job that renders, and those that wait for another try.")
    done: kinds.FolderNameOrPath = _key("done", "Finished jobs; a full path may put them on another volume.")
    failed: kinds.FolderName = _key("failed", "Jobs that could not be rendered, each with a WHY.txt.")
    cancelled: kinds.FolderName = _key("cancelled", "Jobs that somebody withdrew after they had begun.")
    status: kinds.FolderName = _key("status", "Status files and the page that needs no server.")


class Watch(Section):
    """How dropped files are noticed, and when they are complete."""

    events: kinds.Flag = _key(True, "Listen to the system's file events; they only hurry the scan, which is the truth.")
    scan_interval: kinds.AutoOrSomeSeconds = _key("auto", "Between two looks; auto: 2s on a local disk, 5s on a share.")
    settle: kinds.AutoOrSeconds = _key("auto", "Unchanged this long is complete; auto: 2s local, 12s on a share.")
    cut_off: kinds.Seconds = _key("20s", "A JSON job that breaks off at its end may still be arriving this long.")
    assets_deadline: kinds.Seconds = _key("30m", "A job whose footage is missing or growing waits this long.")
    ignore: tuple[kinds.Filled, ...] = _key([], "More names to leave alone, as patterns, such as '*.bak'.")
    max_job_size: kinds.Bytes = _key("5MiB", "A larger job file is refused: data belongs into footage files.", ge=1)


class Queue(Section):
    """Who goes first."""

    default_priority: kinds.Whole = _key(50, "For jobs that say nothing: 0 to 100, higher first.", ge=0, le=100)
    folder_priorities: Annotated[dict[str, Annotated[kinds.Whole, Field(ge=0, le=100)]], kinds.SubFolders] = _key(
        {}, "For each sub-folder of the inbox, such as {clientA: 70}."
    )
    supersede: Annotated[Literal["off", "same-job", "same-project"], Exact, Off] = _key(
        "off", "A newer drop replaces an older one: off, same-job (by name) or same-project."
    )


class Nexrender(Section):
    """Where nexrender and After Effects are, and how they are called."""

    command: kinds.Command | None = _key(
        None, "null: the set that `watchrender nexrender install` made, then PATH; else a full path or [node, bin.js]."
    )
    aerender: kinds.Versions | None = _key(
        None, "null: nexrender looks for it; else a full path, or one for each version: {'2025': path}."
    )
    work_dir: kinds.FolderPath | None = _key(
        None, "nexrender's own copies while it renders, on a local disk with room; null: in state_dir."
    )
    render_to: Annotated[Literal["auto", "active", "work_dir"], Exact] = _key(
        "auto", "Films grow in active, or in work_dir where root is a share (auto); or always in the one named."
    )
    ffmpeg: kinds.ProgramPath | None = _key(None, "Full path of ffmpeg for action-encode; null: nexrender's own way.")
    args: tuple[kinds.Text, ...] = _key([], "More arguments for nexrender-cli.")
    env: Annotated[dict[str, kinds.Text], kinds.Variables] = _key(
        {}, "Added to the clean environment that nexrender gets."
    )
    keep_failed_work: kinds.Whole = _key(2, "Work folders of failed attempts kept for study, the newest.", ge=0)


class NexrenderServer(Section):
    """Settings of `engine: nexrender-server`."""

    url: kinds.HttpUrl | None = _key(None, "Address of nexrender-server, such as http://farm:3050.")
    secret: kinds.Secret | None = _key(
        None, "Its secret; better kept in WATCHRENDER_NEXRENDER_SERVER__SECRET.", secret=True
    )
    max_in_flight: kinds.Whole = _key(4, "Jobs handed over at once; few, so that a late urgent one goes first.", ge=1)
    poll_interval: kinds.SomeSeconds = _key("2s", "Between two questions how the jobs stand.")
    tags: tuple[kinds.Filled, ...] = _key([], "Given to every job, for servers newer than 1.38 that go by tags.")
    path_map: tuple[PathRule, ...] = _key([], "From this machine's paths to the workers': [{from: /mnt/r, to: 'R:/'}].")


class Retry(Section):
    """Failures that may pass are tried again."""

    max_retries: kinds.Whole = _key(3, "More tries after the first; 0 is none.", ge=0, le=1000)
    first_wait: kinds.SomeSeconds = _key("30s", "Before the first of them; doubled each time.")
    max_wait: kinds.SomeSeconds = _key("10m", "Never longer than this.")
    jitter: kinds.Fraction = _key(
        0.2, "Spread of the waits, as a share of them, so that machines do not march in step.", ge=0, le=1
    )


class Limits(Section):
    """How long things may take, and how much disk must be free."""

    render: kinds.SomeSeconds = _key("24h", "One attempt, from start to end.")
    startup: kinds.SomeSeconds = _key("5m", "After Effects started and said nothing: a dialog waits for somebody.")
    stall: kinds.SomeSeconds = _key("10m", "No line, no growing file and no work for this long.")
    finish_grace: kinds.Seconds = _key("60s", "After Effects said it is finished, and does not end.")
    terminate_grace: kinds.Seconds = _key("10s", "Between the polite end of a process and the hard one.")
    min_free_disk: kinds.Bytes = _key("2GiB", "With less free space the queue waits.")


class Verify(Section):
    """When a film is good."""

    min_bytes: kinds.BytesOrCount = _key(1000, "A smaller output is no film.", ge=0)
    frames: kinds.Flag = _key(True, "All frames that After Effects announced must have been rendered.")
    probe: Annotated[Literal["auto", "off"], Exact, Off] = _key(
        "auto", "Decode the last frame, where the extra `media` is installed."
    )
    missing_footage: Annotated[Literal["fail", "warn"], Exact] = _key(
        "fail", "After Effects rendered colour bars for footage it did not find."
    )
    missing_fonts: Annotated[Literal["fail", "warn"], Exact] = _key("warn", "After Effects rendered with another font.")


class Delivery(Section):
    """How films reach their place."""

    on_exists: Annotated[Literal["version", "replace", "fail"], Exact] = _key(
        "version", "Where `output:` names a file that is there: make a version, replace it, or fail."
    )
    checksum: kinds.Flag = _key(True, "Write each film's SHA-256 into its status.")
    previews: Annotated[Literal["auto", "off"], Exact, Off] = _key(
        "auto", "A thumbnail and a contact sheet, where the extra `media` is installed."
    )


class Policy(Section):
    """What a job may do here. The inbox is shared, and a job is code."""

    actions: tuple[kinds.ModuleName, ...] = _key([], "Action modules that jobs may use, by name.")
    roots: tuple[kinds.FolderPath, ...] | None = _key(
        None, "null: sources from any disk here, deliveries under root; a list: only there."
    )
    schemes: tuple[Annotated[Literal["file", "http", "https", "data"], Exact], ...] = _key(
        ["file", "http", "https", "data"], "Kinds of address that sources may have."
    )
    hosts: tuple[kinds.Host, ...] = _key([], "Servers that sources may come from besides public http(s) ones.")
    scripts: kinds.Scripts = _key("off", "Folders whose scripts jobs may run inside After Effects, or off.")


class Server(Section):
    """The page and the API."""

    enabled: kinds.Flag = _key(True, "off: no port is opened; the folders and the command line do it all.")
    host: kinds.Host = _key("127.0.0.1", "Where to listen; anything but this machine itself needs a token.")
    port: kinds.Whole = _key(8790, "0 takes any free one.", ge=0, le=65535)
    token: kinds.Secret | None = _key(
        None, "What callers must show; better kept in WATCHRENDER_SERVER__TOKEN.", secret=True
    )
    allowed_hosts: tuple[kinds.Host, ...] = _key([], "More names this server is called by, such as behind a proxy.")


class Target(Section):
    """Somebody to be told."""

    url: kinds.Url = Field(
        description="An https webhook (Slack and Teams included), or any address apprise knows.", repr=False
    )
    on: Annotated[
        tuple[
            Annotated[Literal["started", "completed", "failed", "cancelled", "environment", "queue-empty"], Exact], ...
        ],
        NotEmpty,
    ] = _key(["failed", "environment"], "What to tell.")
    secret: kinds.Secret | None = _key(None, "Signs webhooks (Standard Webhooks).", secret=True)


class Retention(Section):
    """How long things are kept. A job that is not over is never removed."""

    history: kinds.SomeSeconds = _key("7d", "Finished jobs in the record and on the page.")
    status: kinds.SomeSeconds = _key("24h", "Status files of finished jobs in status/.")
    done: kinds.SomeSeconds | None = _key(None, "Finished job folders, films included; null: for ever.")
    failed: kinds.SomeSeconds | None = _key(None, "Failed and cancelled job folders; null: for ever.")
    logs: kinds.SomeSeconds = _key("14d", "The service's own logs.")


class Log(Section):
    """What the service writes about itself."""

    level: kinds.Level = _key("INFO", "DEBUG, INFO, WARNING or ERROR.")
    json_: kinds.Flag = _key(False, "One JSON object a line, for log collectors.", alias="json")
    rotation: kinds.Bytes = _key("10MiB", "A log file that grows beyond this is followed by a new one.", ge=1024)


class Given(NamedTuple):
    """A setting that somebody wrote: what, and where."""

    value: Any
    where: str


class Config(Section):
    """The whole configuration of one service."""

    version: kinds.Whole = _key(VERSION, "The format of this file.", ge=1)
    root: kinds.FolderPath = Field(
        description="The hot folder, local or on a share; a relative path starts at this file's folder. Required."
    )
    folders: Folders = Field(default_factory=Folders)
    state_dir: kinds.FolderPath | None = _key(
        None, "The record, logs and locks, on a local disk outside root; null: the user's state folder."
    )
    node: kinds.Filled | None = _key(None, "This machine's name in statuses; null: its host name.")
    path_map: tuple[PathRule, ...] = _key(
        [], "What jobs from other machines call a place → what it is here: [{from: /Volumes/Media, to: 'M:/'}]."
    )
    watch: Watch = Field(default_factory=Watch)
    queue: Queue = Field(default_factory=Queue)
    nexrender: Nexrender = Field(default_factory=Nexrender)
    engine: Annotated[Literal["nexrender-cli", "nexrender-server"], Exact] = _key(
        "nexrender-cli", "nexrender-cli renders here; nexrender-server hands the queue to a farm."
    )
    nexrender_server: NexrenderServer = Field(default_factory=NexrenderServer)
    retry: Retry = Field(default_factory=Retry)
    limits: Limits = Field(default_factory=Limits)
    verify: Verify = Field(default_factory=Verify)
    delivery: Delivery = Field(default_factory=Delivery)
    policy: Policy = Field(default_factory=Policy)
    server: Server = Field(default_factory=Server)
    notify: dict[str, Target] = _key(
        {}, "Whom to tell, by a name of your choice: {ops: {url: …, on: [failed, environment]}}."
    )
    shutdown: Annotated[Literal["requeue", "finish"], Exact] = _key(
        "requeue", "When asked to stop: put the running job back, or finish it first."
    )
    retention: Retention = Field(default_factory=Retention)
    log: Log = Field(default_factory=Log)

    _given: dict[str, Given] = PrivateAttr(default_factory=dict)

    @property
    def given(self) -> dict[str, Given]:
        """What was written, by the setting's full name; the rest are defaults."""
        return self._given
