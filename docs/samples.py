"""The files under deploy/ that are written from the code: what `watchrender service install` would write elsewhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from watchrender.install.launchd import Launchd
from watchrender.install.plan import Plan
from watchrender.install.systemd import Systemd
from watchrender.install.taskscheduler import TaskScheduler

_RUN = ("-m", "watchrender", "run", "--config")

_USER = Plan(
    name="watchrender",
    command=("/home/render/watchrender/bin/python", *_RUN, "/home/render/watchrender.yaml"),
    root=PurePosixPath("/mnt/renders"),
    state_dir=PurePosixPath("/home/render/.local/state/watchrender"),
    folder=PurePosixPath("/home/render"),
    variables={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    stop_seconds=70,
)
_SYSTEM = Plan(
    name="watchrender",
    command=("/opt/watchrender/bin/python", *_RUN, "/etc/watchrender/watchrender.yaml"),
    root=PurePosixPath("/mnt/renders"),
    state_dir=PurePosixPath("/var/lib/watchrender"),
    folder=PurePosixPath("/etc/watchrender"),
    variables={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    stop_seconds=70,
    user="render",
)
_MAC = Plan(
    name="watchrender",
    command=("/Users/render/watchrender/bin/python", *_RUN, "/Users/render/watchrender.yaml"),
    root=PurePosixPath("/Volumes/renders"),
    state_dir=PurePosixPath("/Users/render/Library/Application Support/watchrender"),
    folder=PurePosixPath("/Users/render"),
    variables={"PATH": "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin"},
    stop_seconds=70,
)
_WINDOWS = Plan(
    name="watchrender",
    command=(r"C:\watchrender\Scripts\pythonw.exe", *_RUN, r"C:\watchrender\watchrender.yaml"),
    root=PureWindowsPath(r"\\nas\renders"),
    state_dir=PureWindowsPath(r"C:\Users\render\AppData\Local\watchrender"),
    folder=PureWindowsPath(r"C:\watchrender"),
)


def samples(deploy: Path) -> dict[Path, bytes]:
    """Each file and its bytes."""
    home = Path("/home/render")
    return {
        deploy / "systemd" / "watchrender.service": Systemd(home=home).text(_USER),
        deploy / "systemd" / "watchrender-system.service": Systemd(system=True, home=home).text(_SYSTEM),
        deploy / "launchd" / "local.watchrender.plist": Launchd(home=home, uid=501).text(_MAC),
        deploy / "windows" / "watchrender.task.xml": TaskScheduler(home=home, user=r"STUDIO\render").text(_WINDOWS),
    }
