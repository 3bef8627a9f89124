"""The clock is set by hours while the real service runs, forwards and backwards: nothing is lost, late or early by more
than its own durations say. Only the service's own wall clock is moved; durations come from another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.line import until
from tests.real import Real

#: A wall clock that is off by as many seconds as a file says; the monotonic clock is left alone. (libfaketime would do,
#: but as Debian ships it, it breaks every sleep of Python.)
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);

static long off(void) {
    long seconds = 0;
    const char *path = getenv("TEST_CLOCK");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t which, struct timespec *found) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(which, found);
    if (done == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) found->tv_sec += off();
    return done;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
"""

HOUR = 3600
COMPILER = shutil.which("cc")
pytestmark = [
    pytest.mark.nexrender,
    pytest.mark.skipif(sys.platform != "linux" or COMPILER is None, reason="needs Linux and a C compiler"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What gives one process a clock of its own."""
    assert COMPILER is not None
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(made), "-ldl"], input=CLOCK.encode(), check=True
    )
    return made


@pytest.fixture
def real(real: Real, library: Path) -> Real:
    real.environment |= {"LD_PRELOAD": str(library), "TEST_CLOCK": str(real.home / "clock")}
    set_clock(real, 0)
    return real


def set_clock(real: Real, seconds: int) -> None:
    """The service's clock is off by so much from now on."""
    file = real.home / "clock"
    file.with_suffix(".new").write_text(f"{seconds}\n")
    file.with_suffix(".new").rename(file)


def hour_of(stamp: str) -> str:
    return stamp[:13]


@pytest.mark.parametrize("by", [7 * HOUR, -7 * HOUR])
def test_a_clock_that_jumps_in_the_middle_of_everything_delays_nothing(real: Real, by: int) -> None:
    real.settings["retry"] = {"max_retries": 2, "first_wait": "3s", "max_wait": "3s"}
    real.settings["watch"] = {"scan_interval": "200ms", "settle": "500ms"}
    real.drop("running.json", real.project("slow", behaviour={"seconds_per_frame": 0.2}))
    real.drop("p90_again.json", real.project("again", behaviour={"fail_times": 1, "failing": "exit_1_at_launch"}))
    real.start()
    until(lambda: real.status("again").get("not_before"), 60)
    real.rendering("running")
    before = real.status("running")["started_at"]

    began = time.monotonic()
    set_clock(real, by)
    real.put("settling.yaml", f"template: {real.project('spot')}\ncomposition: Main\next: mp4\n")
    real.drop("future.json", real.project("spot"))
    os.utime(real.root / "inbox" / "future.json", (time.time() + 9e4, time.time() + 9e4))
    names = ("running", "again", "settling", "future")
    ended = {name: real.wait(name, "completed", "failed") for name in names}
    took = time.monotonic() - began
    beat = real.overview("service")["beat"]
    until(lambda: real.overview("service")["beat"] > beat, 60)

    assert {name: (status["state"], len(status["attempts"])) for name, status in ended.items()} == {
        "running": ("completed", 1), "again": ("completed", 2), "settling": ("completed", 1),
        "future": ("completed", 1),
    }  # fmt: skip
    assert took < 60
    assert hour_of(ended["running"]["finished_at"]) != hour_of(before)  # the clock did jump
    assert 0 <= ended["running"]["progress"]["fps"] < 100
    assert real.end() == 0
    assert real.stray() == []


def test_a_restart_after_the_clock_was_set_back_waits_no_longer_than_the_longest_wait(real: Real) -> None:
    real.settings["retry"] = {"max_retries": 2, "first_wait": "2s", "max_wait": "2s"}
    set_clock(real, 7 * HOUR)
    project = real.project("again", behaviour={"fail_times": 1, "failing": "exit_1_at_launch"})
    real.drop("again.json", project)
    real.start()
    until(lambda: real.status("again").get("not_before"), 60)
    assert real.end() == 0

    set_clock(real, -7 * HOUR)
    real.start()
    status = real.wait("again", "completed", "failed")

    assert (status["state"], len(status["attempts"])) == ("completed", 2)
    assert real.end() == 0


def test_files_of_the_future_do_not_stall_a_job(real: Real) -> None:
    """Footage and projects that another machine with a wrong clock has written, as far as they keep still."""
    real.settings["watch"] = {"settle": "500ms"}
    project = real.project("tomorrow")
    tomorrow = time.time() + 86400
    os.utime(project, (tomorrow, tomorrow))
    (real.root / "inbox" / "bundle").mkdir()
    for name, text in (("job.yaml", "template: spot.aep\ncomposition: Main\next: mp4\n"),):
        (real.root / "inbox" / "bundle" / name).write_text(text)
    shutil.copy(real.project("spot"), real.root / "inbox" / "bundle" / "spot.aep")
    for path in (*(real.root / "inbox" / "bundle").iterdir(), real.root / "inbox" / "bundle"):
        os.utime(path, (tomorrow, tomorrow))
    real.drop("spot.json", project)
    real.start()

    ended = [real.wait(name, "completed", "failed")["state"] for name in ("spot", "bundle")]

    assert ended == ["completed", "completed"]
    assert real.end() == 0


def test_the_clock_can_be_moved_here(real: Real) -> None:
    """The means of these tests works: else they would pass for the wrong reason."""
    set_clock(real, 7 * HOUR)
    said = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=real.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert float(said.stdout) - time.time() > 6 * HOUR
