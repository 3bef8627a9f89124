"""kill -9 at random moments of the real service with the real nexrender, while jobs flow; and with the record deleted
between. Afterwards: nothing lost, each film delivered once, folders and record agree, nothing and nobody left over.

WATCHRENDER_KILLS_SEED repeats a run, as far as moments can be repeated; WATCHRENDER_KILLS_MORE multiplies the kills.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harm import figures
from tests.harm.kit import until
from tests.harm.real import Command, RealHarmed
from watchrender.render.nexrender import Nexrender

MORE = int(os.environ.get("WATCHRENDER_KILLS_MORE", "1"))
KILLS, KILLS_WITHOUT_RECORD = 50 * MORE, 30 * MORE
#: After so many kills each the record is deleted.
LOSE_EVERY = 3
#: A service, or a queue of jobs, may take so long on a machine that has much else to do.
PATIENCE = 240.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.nexrender,
    pytest.mark.timeout(900 * MORE),
    pytest.mark.skipif(os.name == "nt", reason="kills by POSIX signals"),
]


def _is_up(harmed: RealHarmed) -> bool:
    return not harmed.running() or harmed.service().get("pid") == harmed._pid


def _live_a_while(harmed: RealHarmed, chance: random.Random) -> str:
    """Until a moment that nobody has chosen. What the killed service was at, in a word."""
    if chance.random() < 0.25:
        time.sleep(chance.uniform(0.1, 0.9))  # while it starts, and clears up after the one before it
    else:
        until(lambda: _is_up(harmed), PATIENCE)
        time.sleep(chance.uniform(0.0, 1.6))
    assert harmed.running(), f"it ended by itself: {harmed.log.read_text(errors='replace')[-3000:]}"
    if not _is_up(harmed):
        return "starting"
    states = {record.get("state") for record in harmed.records().values()}
    return "rendering" if "rendering" in states else "waiting"


@pytest.mark.parametrize("record", ["kept", "lost"])
def test_nothing_is_lost_and_nothing_doubled_by_kill_9_at_any_moment(
    record: str, tmp_path: Path, nexrender_set: Nexrender, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nexrender_set.root is not None
    seed = int(os.environ.get("WATCHRENDER_KILLS_SEED") or random.randrange(10**6))
    kills = KILLS if record == "kept" else KILLS_WITHOUT_RECORD
    words = f"{kills} kills, the record {record}, WATCHRENDER_KILLS_SEED={seed}"
    with capsys.disabled():
        print(f"\n{words}", flush=True)
    chance = random.Random(f"{seed} {record}")
    harmed = RealHarmed(home=tmp_path / "home", forge=Command(nexrender_set.root.parent))  # type: ignore[arg-type]
    found: dict[str, Any] = {"starting": 0, "waiting": 0, "rendering": 0}
    lost = 0
    began = time.monotonic()
    try:
        for number in range(1, kills + 1):
            if number % 3 != 0:
                harmed.drop_next(chance)
            harmed.start()
            found[_live_a_while(harmed, chance)] += 1
            harmed.kill()
            if record == "lost" and number % LOSE_EVERY == 0:
                harmed.lose_record()
                lost += 1
        amid = sum(1 for path in (harmed.root / "done").rglob("*.status.json") if path.parent.name != "before")
        harmed.start()
        until(lambda: harmed.all_over(harmed.expected) or not harmed.running(), PATIENCE, tick=0.2)
        code = harmed.stop()

        faults = harmed.faults(harmed.expected)
    finally:
        harmed.end()

    seconds = round(time.monotonic() - began)
    told = {"kills": kills, "records_lost": lost, "jobs": len(harmed.expected), "done_amid_kills": amid, **found}
    figures.keep(f"kills-record-{record}", seed=seed, seconds=seconds, faults=faults, **told)
    with capsys.disabled():
        print(f"{words}: {told}, {seconds} s", flush=True)
    assert code == 0
    assert not faults, "\n".join([words, *faults])
