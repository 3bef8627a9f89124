"""Stand-ins for launchd's and Task Scheduler's own commands, called by their names.

They keep what they are told in the folder MANAGERS_HOME and really start and end the program, with the habits that
matter to an installer: launchctl answers `bootout` before the program has ended, takes nothing of a name that it still
ends, and starts nothing whose log it cannot open; schtasks can only kill.
"""

import json
import os
import plistlib
import shlex
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

HOME = Path(os.environ["MANAGERS_HOME"])
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def living(name: str) -> int | None:
    try:
        pid = int((HOME / f"{name}.pid").read_text(encoding="ascii"))
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        return pid if state != "Z" else None
    except (OSError, ValueError):
        return None


def start(name: str, command: list[str], folder: str, said: str, more: dict[str, str]) -> None:
    variables = {key: text for key, text in os.environ.items() if not key.startswith(("WATCHRENDER_", "MANAGERS_"))}
    with open(said, "ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=variables | more, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    (HOME / f"{name}.pid").write_text(str(process.pid), encoding="ascii")


def launchctl(verb: str, *words: str) -> int:
    label = words[0].rpartition("/")[2] if verb != "bootstrap" else Path(words[1]).stem
    loaded = HOME / f"{label}.plist"
    if verb == "bootout":
        if not loaded.exists():
            return no("Boot-out failed: 3: No such process", 3)
        (HOME / f"{label}.ends").touch()
        if (pid := living(label)) is not None:
            os.kill(pid, signal.SIGTERM)
        return 0
    if (HOME / f"{label}.ends").exists() and living(label) is None:
        (HOME / f"{label}.ends").unlink()
        loaded.unlink()
    if verb == "print":
        if not loaded.exists():
            return no("Could not find service in domain", 113)
        print(f"{words[0]} = {{\n\tstate = {'running' if living(label) else 'not running'}\n}}")
    elif verb == "bootstrap":
        if loaded.exists():
            return no("Bootstrap failed: 5: Input/output error", 5)
        loaded.write_bytes(Path(words[1]).read_bytes())
        agent = plistlib.loads(loaded.read_bytes())
        if not Path(agent["StandardOutPath"]).parent.is_dir():
            return 0  # it starts nothing, and says so nowhere
        start(label, agent["ProgramArguments"], agent["WorkingDirectory"], agent["StandardOutPath"],
              agent["EnvironmentVariables"])  # fmt: skip
    return 0


def schtasks(verb: str, *words: str) -> int:
    given = dict(zip(words[::2], words[1::2], strict=False))
    name = given["/TN"]
    task = HOME / f"{name}.task"
    if verb == "/Create":
        task.write_bytes(Path(given["/XML"]).read_bytes())
    elif not task.exists():
        return no("ERROR: The system cannot find the file specified.", 1)
    elif verb == "/Run":
        found = ET.fromstring(task.read_bytes())
        words_of = {
            key: found.findtext(f".//{TASK}{key}") or "" for key in ("Command", "Arguments", "WorkingDirectory")
        }
        command = [words_of["Command"], *shlex.split(words_of["Arguments"])]
        start(name, command, words_of["WorkingDirectory"], str(HOME / "said"), {})
    elif verb == "/End" and (pid := living(name)) is not None:
        (HOME / "killed").touch()
        os.killpg(pid, signal.SIGKILL)
    elif verb == "/Delete":
        task.unlink()
    return 0


def powershell(*words: str) -> int:
    name = words[-1].split("'")[1]
    if (HOME / f"{name}.task").exists():
        print("4\n267009" if living(name) is not None else "3\n0")
    elif "if ($t)" not in words[-1]:
        print("0")  # [int]$null
    return 0


def no(words: str, code: int) -> int:
    print(words, file=sys.stderr)
    return code


if __name__ == "__main__":
    with open(HOME / "told", "a", encoding="utf-8") as file:
        file.write(json.dumps([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\n")
    called = {"launchctl": launchctl, "schtasks": schtasks, "powershell": powershell}[Path(sys.argv[0]).name]
    sys.exit(called(*sys.argv[1:]))
