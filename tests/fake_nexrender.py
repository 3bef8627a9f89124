"""A stand-in for nexrender-cli that starts quickly: does what the composition of its job says.

    Main            a good film              Crash       ends in the middle, status 1
    CrashTwice      twice that, then good    NoOutput    ends well, without a film
    Tiny            a film of one byte       Half        frames missing, status 0
    Slow, Slower    a frame each 0.1, 0.5 s  Hang        says nothing after its first frame
    HangAtStart     aerender says nothing    HangAtEnd   never ends after its last word
    NoComp          After Effects' own words for a missing composition
    Full            the words of a full disk License     the words of a missing licence
    Stubborn        as Slow, and ignores SIGTERM
Every start is a line in the file that FAKE_STARTS names. While the file that FAKE_SICK names is there, all
compositions are the one it names: the machine itself is at fault.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    job = json.loads(Path(sys.argv[sys.argv.index("--file") + 1]).read_text(encoding="utf-8"))
    composition, output, uid = job["template"]["composition"], Path(job["output"]), job["uid"]
    starts = os.environ.get("FAKE_STARTS")
    before = 0
    if starts:
        with open(starts, "a+", encoding="utf-8") as file:
            file.seek(0)
            before = sum(line.split()[0] == composition for line in file)
            file.write(f"{composition} {uid} {job['template']['src']}\n")
    sick = Path(os.environ.get("FAKE_SICK", ""))
    if sick.is_file():
        composition = sick.read_text(encoding="utf-8")
    say("> starting nexrender-cli")
    say(f"[{uid}] setting up job...")
    say(f"[{uid}] downloading assets...")
    say(f"[{uid}] running script assemble...")
    say(f"[{uid}] rendering job...")
    say("spawning aerender process: aerender")
    if composition == "License":
        say("aerender ERROR: After Effects can not start: your license has expired. Renew your subscription.")
        return 1
    if composition == "HangAtStart":
        time.sleep(600)
    say("PROGRESS: Launching After Effects...")
    say("PROGRESS: ...After Effects successfully launched")
    if composition == "NoComp":
        say("aerender ERROR: No comp was found with the given name.")
        return 1
    if composition == "Full":
        say("Error: ENOSPC: no space left on device, write")
        return 1
    if composition == "Stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("PROGRESS:  Start: 0:00:00:00")
    say("PROGRESS:  Duration: 0:00:01:00")
    say("PROGRESS:  Frame Rate: 25.00 (comp)")
    crashes = composition == "Crash" or (composition == "CrashTwice" and before < 2)
    for frame in range(1, 26):
        if composition in ("Slow", "Stubborn"):
            time.sleep(0.1)
        if composition == "Slower":
            time.sleep(0.5)
        say(f"PROGRESS:  0:00:00:{frame - 1:02} ({frame}): 0 Seconds")
        if composition == "Hang" and frame == 3:
            time.sleep(600)
        if crashes and frame == 5:
            output.write_bytes(b"half a film" * 200)
            return 1
        if composition == "Half" and frame == 12:
            break
    film(composition, output, job)
    say("PROGRESS:  1/1/2026 1:00:00 AM: Finished composition “Main”.")
    say("PROGRESS:  Total Time Elapsed: 1 Seconds")
    if composition == "HangAtEnd":
        time.sleep(600)
    say(f"[{uid}] rendering took ~1 sec.")
    say("> job rendering successfully finished")
    return 0


def film(composition: str, output: Path, job: dict[str, object]) -> None:
    canned = Path(os.environ["FAKE_FILM"])
    if composition == "NoOutput":
        return
    if composition == "Tiny":
        output.write_bytes(b"x")
    elif "[#####]" in output.name:
        for number in range(25):
            output.with_name(output.name.replace("[#####]", f"{number:05}")).write_bytes(b"\x89PNG" + b"x" * 2000)
    else:
        shutil.copy(canned, output)
    actions = job["actions"]["postrender"]  # type: ignore[index]
    for action in actions:
        shutil.copy(canned, action["output"])


sys.exit(main())
