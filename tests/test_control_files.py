"""What a person can ask who has only the folder: a real service process, HTTP off, files and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.line import until
from tests.process import Lived, living


def _order(lived: Lived, name: str, content: bytes = b"") -> Path:
    path = lived.root / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_pause_hold_prioritize_and_cancel_by_files(lived: Lived) -> None:
    pause = _order(lived, "_Pause.txt", b"please")
    with living(lived):
        for name in ("a", "b", "c", "d"):
            lived.drop(f"{name}.json", lived.job(f"Comp{name}"))
        lived.wait("d", "queued")
        hold = _order(lived, "A.HOLD")
        orders = [_order(lived, "d.json.p90"), _order(lived, "c.cancel.txt", b"not this one")]
        until(lambda: lived.status("a").get("hold") and lived.status("d").get("priority") == 90)
        lived.wait("c", "cancelled")
        until(lambda: not any(path.exists() for path in orders))
        assert lived.starts() == []
        assert lived.status("d")["priority_from"] == "request"
        assert (lived.root / "cancelled/c/WHY.txt").read_text().startswith("c was cancelled. Nothing is wrong")

        pause.unlink()
        lived.wait("b", "completed")
        assert lived.starts() == ["Compd", "Compb"]
        assert lived.status("a")["state"] == "queued"

        hold.unlink()
        lived.wait("a", "completed")


def test_who_reads_that_a_job_is_cancelled_finds_it_in_cancelled(lived: Lived) -> None:
    _order(lived, "_PAUSE")
    names = [f"job{number}" for number in range(6)]
    with living(lived):
        for name in names:
            lived.drop(f"{name}.json", lived.job())
        for name in names:
            lived.wait(name, "queued")
        for name in names:
            _order(lived, f"{name}.cancel")
            while (told := lived.status(name))["state"] != "cancelled":
                pass
            assert (lived.root / "cancelled" / name / "WHY.txt").exists()
            assert told["folder"] == f"cancelled/{name}"


def test_a_folder_is_an_order_too_and_orders_for_nobody_are_answered(lived: Lived) -> None:
    _order(lived, "_PAUSE")
    with living(lived):
        lived.drop("spot.json", sub="clientA")
        lived.wait("clientA/spot", "queued")
        (lived.root / "inbox/clientA/spot.cancel").mkdir()
        _order(lived, "spto.cancel")
        lived.wait("clientA/spot", "cancelled")
        letter = lived.root / "inbox/spto.cancel.WHY.txt"
        until(letter.exists)
        until(lambda: not (lived.root / "inbox/clientA/spot.cancel").exists())

    assert "there is no job called spto" in letter.read_text(encoding="utf-8")


def test_a_running_render_is_cancelled_by_a_file(lived: Lived) -> None:
    with living(lived):
        lived.drop("spot.json", lived.job("Slower"))
        lived.wait("spot", "rendering")
        _order(lived, "spot.cancel")
        lived.wait("spot", "cancelled")
        until(lambda: lived.children() == [])
        assert lived.files("cancelled/spot") == ["WHY.txt", "spot.json", "spot.log", "spot.status.json"]


def test_drain_finishes_the_running_render_then_ends(lived: Lived) -> None:
    with living(lived):
        lived.drop("one.json", lived.job("Slow"))
        lived.wait("one", "rendering")
        lived.drop("two.json")
        lived.wait("two", "queued")
        order = _order(lived, "_DRAIN")

        assert lived.ends() == 0
        assert lived.status("one")["state"] == "completed"
        assert lived.status("two")["state"] == "queued"
        assert not order.exists()
        assert not (lived.root / "inbox/_PAUSE").exists()


@pytest.mark.parametrize("shutdown", ["requeue", "finish"])
def test_stop_puts_the_running_render_back_and_leaves_a_pause(lived: Lived, shutdown: str) -> None:
    lived.change(shutdown=shutdown)
    with living(lived):
        lived.drop("spot.json", lived.job("Slower"))
        lived.wait("spot", "rendering")
        order = _order(lived, "_stop")

        assert lived.ends(20) == 0
        assert lived.status("spot")["state"] == "queued"
        assert lived.status("spot")["attempts"] == []
        assert not order.exists()
        assert (lived.root / "inbox/_PAUSE").exists()

    with living(lived):
        until(lambda: lived.said().get("paused"))
        (lived.root / "inbox/_PAUSE").unlink()
        lived.wait("spot", "rendering")


def test_stop_now_gives_a_render_that_will_not_end_no_time(lived: Lived) -> None:
    lived.change(limits={"terminate_grace": "30s"})
    with living(lived):
        lived.drop("spot.json", lived.job("Stubborn"))
        lived.wait("spot", "rendering")
        until(lambda: lived.starts())
        _order(lived, "_STOP.txt", b"now\r\n")

        assert lived.ends(15) == 0
        assert lived.status("spot")["state"] == "queued"


def test_cancel_all_takes_what_has_not_begun(lived: Lived) -> None:
    with living(lived):
        lived.drop("running.json", lived.job("Slower"))
        lived.wait("running", "rendering")
        for number in range(30):
            lived.drop(f"sh{number}.json")
        lived.wait("sh29", "queued")
        _order(lived, "_cancel_all")
        for number in range(30):
            lived.wait(f"sh{number}", "cancelled")
        until(lambda: (lived.root / "cancelled/sh29").is_dir())

        assert lived.status("running")["state"] == "rendering"


def test_a_late_sidecar_puts_a_real_render_back(lived: Lived) -> None:
    with living(lived):
        lived.drop("spot.json", lived.job("Slower"))
        lived.wait("spot", "rendering")
        lived.drop("spot.yaml", b"hold: true\n")
        status = lived.wait("spot", "queued")

    assert (status["hold"], status["attempts"], status["files"]["sidecar"]) == (True, [], "spot.yaml")
    assert any("came just after the start and changes hold" in why for why in lived.whys("spot"))
