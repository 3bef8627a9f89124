"""Windows Task Scheduler: a task at the log-on of its user, in that user's own session. Never a Windows service.

No time limit (the default would end it after three days), no end on batteries, a priority like that of any program
(the default is the one of background tasks). What has crashed is started again by ourselves (`--again`): Task Scheduler
does so only with what could not be started. And it can only kill: `watchrender stop` is how it ends.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

from watchrender.install.plan import Plan, Standing
from watchrender.install.run import ask

_RESTARTS = 255  # the schema's most, one a minute

_XML = """<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{description}</Description>
    <URI>\\{name}</URI>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{user}</UserId>
      <Delay>PT15S</Delay>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{user}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <AllowHardTerminate>true</AllowHardTerminate>
    <StartWhenAvailable>true</StartWhenAvailable>
    <RunOnlyIfNetworkAvailable>false</RunOnlyIfNetworkAvailable>
    <IdleSettings>
      <StopOnIdleEnd>false</StopOnIdleEnd>
      <RestartOnIdle>false</RestartOnIdle>
    </IdleSettings>
    <AllowStartOnDemand>true</AllowStartOnDemand>
    <Enabled>true</Enabled>
    <Hidden>false</Hidden>
    <RunOnlyIfIdle>false</RunOnlyIfIdle>
    <WakeToRun>false</WakeToRun>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>{restarts}</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{program}</Command>
      <Arguments>{arguments}</Arguments>
      <WorkingDirectory>{folder}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""


class TaskScheduler:
    """The scheduler of this machine, for this user."""

    name = "Task Scheduler"

    def __init__(self, *, home: Path | None = None, user: str | None = None) -> None:
        local = os.environ.get("LOCALAPPDATA")
        self._folder = (home / "AppData" / "Local" if home else Path(local) if local else Path.home()) / "watchrender"
        self._user = user or _user()

    def file(self, plan_name: str) -> Path:
        return self._folder / f"{plan_name}.task.xml"

    def text(self, plan: Plan) -> bytes:
        program, *arguments = *plan.command, "--again"
        text = _XML.format(
            description=escape(plan.description),
            name=escape(plan.name),
            user=escape(self._user),
            restarts=_RESTARTS,
            program=escape(program),
            arguments=escape(subprocess.list2cmdline(arguments)),
            folder=escape(str(plan.folder)),
        )
        return text.replace("\n", "\r\n").encode("utf-16")

    def install_commands(self, name: str) -> list[list[str]]:
        return [
            ["schtasks", "/Create", "/TN", name, "/XML", str(self.file(name)), "/F"],
            ["schtasks", "/Run", "/TN", name],
        ]

    def uninstall_commands(self, name: str) -> list[list[str]]:
        # `/End` kills: the service has been asked to stop before (`watchrender stop`), and this only ends a rest.
        return [["schtasks", "/End", "/TN", name], ["schtasks", "/Delete", "/TN", name, "/F"]]

    def after_uninstall(self, name: str) -> list[list[str]]:
        return []

    def standing(self, name: str) -> Standing:
        # PowerShell, because what schtasks prints is in the language of the system. A task that is not there is $null,
        # whose state is 0 there: an answer like that of a task, so it is not asked for.
        quoted = name.replace("'", "''")
        asked = (
            f"$t = Get-ScheduledTask -TaskName '{quoted}' -ErrorAction SilentlyContinue; "
            "if ($t) { [int]$t.State; ($t | Get-ScheduledTaskInfo).LastTaskResult }"
        )
        said = ask(["powershell", "-NoProfile", "-NonInteractive", "-Command", asked])
        numbers = (said or "").split()
        if not numbers or not numbers[0].isdigit():
            return Standing(installed=False, running=False)
        state = int(numbers[0])
        result = f"; ended last with {numbers[1]}" if len(numbers) > 1 and state != 4 else ""
        words = {1: "disabled", 2: "queued", 3: "ready", 4: "running"}.get(state, "unknown")
        return Standing(installed=True, starts_by_itself=state != 1, running=state == 4, words=f"{words}{result}")

    def hints(self, name: str) -> list[str]:
        return [
            "it ends with `watchrender stop`; ending the task kills it in the middle of a render",
            "it runs while this user is logged on (a locked screen is fine): let the machine log on by itself",
            r"write paths as \\server\share, not as drive letters",
        ]


def _user() -> str:
    name, domain = os.environ.get("USERNAME", ""), os.environ.get("USERDOMAIN", "")
    return f"{domain}\\{name}" if domain else name
