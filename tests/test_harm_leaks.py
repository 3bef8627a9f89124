"""Many jobs in a row through the real service, some of them failing: what it holds at the end is what it held near the
beginning, and dead attempts leave nothing but the few that are kept for study. The renderer is a real program that is
done at once."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.line import until
from tests.process import Lived, living

#: As many as the issue asks for; fewer where somebody is in a hurry.
JOBS = int(os.environ.get("WATCHRENDER_TEST_JOBS", "500"))
WARM = JOBS // 5
KEPT = 2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process holds, and what lies about."""

    mebibytes: float
    threads: int
    descriptors: int
    temporary: int
    working: int
    failed: int

    @classmethod
    def by(cls, lived: Lived) -> Held:
        process = psutil.Process(lived.process_id)
        state = lived.home / "state" / "work"
        return cls(
            mebibytes=process.memory_info().rss / 2**20,
            threads=process.num_threads(),
            descriptors=process.num_fds(),
            temporary=_entries(lived.home / "tmp"),
            working=_entries(state / "attempts") + _entries(state / "zip"),
            failed=_entries(state / "failed"),
        )

    def is_quiet(self, before: Held) -> bool:
        """Nothing is at work any more, and no more is held than was before."""
        return (
            self.working == 0
            and self.threads <= before.threads
            and self.descriptors <= before.descriptors + 1
            and self.temporary <= before.temporary
        )


def _entries(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def counts(lived: Lived) -> dict[str, int]:
    found: dict[str, int] = lived.said().get("counts", {})
    return found


@pytest.mark.timeout(300)
def test_hundreds_of_jobs_in_a_row_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lived = Lived(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    lived.change(
        retry={"max_retries": 1, "first_wait": "1ms", "max_wait": "1ms"},
        nexrender={"keep_failed_work": KEPT},
        log={"level": "WARNING"},
    )

    def put(first: int, end: int) -> None:
        for number in range(first, end):
            # Two in ten end without a good film, twice each; never five different ones in a row.
            bad = {3: "NoOutput", 7: "Tiny"}.get(number % 10, "Main")
            lived.drop(f"j{number:04}.json", lived.job(bad))

    def over(number: int) -> bool:
        told = counts(lived)
        return told.get("completed", 0) + told.get("failed", 0) >= number

    with living(lived):
        put(0, WARM)
        until(lambda: over(WARM), 120)
        before = Held.by(lived)
        put(WARM, JOBS)
        until(lambda: over(JOBS), 240)
        until(lambda: Held.by(lived).is_quiet(before), 60)  # what is being written just now is held for a moment
        after = Held.by(lived)
        told = counts(lived)
        assert lived.terminate() == 0

    print(f"after {WARM} jobs: {before}\nafter {JOBS} jobs: {after}")
    assert (told["completed"], told["failed"]) == (JOBS * 8 // 10, JOBS * 2 // 10)
    assert len(lived.starts()) == JOBS * 12 // 10
    # A job that is over stays in the record for `retention.history`: some KiB each, and that is all that may grow.
    assert after.mebibytes - before.mebibytes < 4 + (JOBS - WARM) * 0.02, (before, after)
    assert after.failed == KEPT
    hidden = [path for top in ("active", "done", "failed") for path in (lived.root / top).rglob(".*")]
    assert hidden == []
    assert list((lived.root / "active").iterdir()) == []
    words = [" ".join(found.info["cmdline"] or ()) for found in psutil.process_iter(["cmdline"])]
    assert not [line for line in words if str(tmp_path) in line]
