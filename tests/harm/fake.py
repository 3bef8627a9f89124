"""A stand-in for nexrender-cli that starts in a moment. What it does is said by the composition of its job:

    Main         a good film                     Crash        ends in the middle, status 1
    CrashOnce    the same, then good             CrashCancel  the same, and lays a NAME.cancel into the inbox
    Cancel       lays a NAME.cancel into the inbox and renders on
    Withdraw     takes withdrawn.json out of the inbox, then a good film
    NoComp       After Effects' own words for a missing composition
    Settings     lays a NAME.yaml into the inbox and renders on, then, started again, a good film
    Film         a good film that can be played

Every start is a line in the file that FAKE_STARTS names.
"""

import json
import os
import sys
import time


def say(*lines):
    os.write(1, "".join(f"{line}\n" for line in lines).encode())


def playable(mark):
    """A film with the mark in a box at its end that players skip."""
    with open(os.environ["FAKE_FILM"], "rb") as file:
        return file.read() + (len(mark) + 8).to_bytes(4, "big") + b"free" + mark


def main():
    with open(sys.argv[sys.argv.index("--file") + 1], encoding="utf-8") as file:
        job = json.load(file)
    composition, output, uid = job["template"]["composition"], job["output"], job["uid"]
    name = os.path.basename(output).rpartition(".")[0].partition("_[")[0]
    starts, inbox = os.environ["FAKE_STARTS"], os.environ["FAKE_INBOX"]
    descriptor = os.open(starts, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    before = os.read(descriptor, 1 << 20).decode().split("\n")
    before = [line for line in before if line.startswith(f"{name} ")]
    os.write(descriptor, f"{name} {uid}\n".encode())
    os.close(descriptor)
    say("> starting nexrender-cli", f"[{uid}] setting up job...", f"[{uid}] rendering job...")
    say("spawning aerender process: aerender", "PROGRESS: Launching After Effects...")
    say("PROGRESS: ...After Effects successfully launched")
    if composition == "NoComp":
        say("aerender ERROR: No comp was found with the given name.")
        return 1
    say("PROGRESS:  Start: 0:00:00:00", "PROGRESS:  Duration: 0:00:00:04", "PROGRESS:  Frame Rate: 25.00 (comp)")
    if composition in ("Cancel", "CrashCancel"):
        with open(os.path.join(inbox, f"{name}.cancel"), "wb"):
            pass
    if composition == "Settings" and not before:
        hidden = os.path.join(inbox, f".{name}.tmp")
        with open(hidden, "wb") as file:
            file.write(b"priority: 71\n")
        os.rename(hidden, os.path.join(inbox, f"{name}.yaml"))
        time.sleep(60)
    if composition == "Withdraw" and os.path.exists(os.path.join(inbox, "withdrawn.json")):
        os.unlink(os.path.join(inbox, "withdrawn.json"))
    for frame in range(1, 5):
        say(f"PROGRESS:  0:00:00:{frame - 1:02} ({frame}): 0 Seconds")
        if frame == 2 and (composition in ("Crash", "CrashCancel") or (composition == "CrashOnce" and not before)):
            with open(output, "wb") as file:
                file.write(b"half a film" * 200)
            return 1
    if composition == "Cancel":
        time.sleep(60)
    for number in range(4) if "[#####]" in output else [None]:
        path = output if number is None else output.replace("[#####]", f"{number:05}")
        mark = f"a film of {uid} {number}\n".encode()
        with open(path, "wb") as file:
            file.write(playable(mark) if composition == "Film" else mark * 100)
    say("PROGRESS:  1/1/2026 1:00:00 AM: Finished composition “Main”.", "PROGRESS:  Total Time Elapsed: 1 Seconds")
    say(f"[{uid}] rendering took ~1 sec.", "> job rendering successfully finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
