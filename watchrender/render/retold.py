"""The little that a nexrender-server tells of a render, in the words of a transcript."""

from __future__ import annotations

from watchrender.core.standing import Phase, Standing
from watchrender.render import meanings
from watchrender.render.transcript import Transcript


def retell(transcript: Transcript, standing: Standing, at: float) -> None:
    """Say to the transcript what nexrender and aerender would have said on this machine."""
    uid, lines = standing.uid, standing.error.splitlines()
    transcript.feed(f"[{uid}] setting up job...", at)
    if standing.phase is Phase.FINISHED or any(_is_of_the_render(line) for line in lines):
        transcript.feed(f"[{uid}] rendering job...", at)
    for line in lines:
        told = line.removeprefix("Error: ")
        known = meanings.of_nexrender([line], meanings.Around()) or meanings.of_source([line], meanings.Around())
        is_after_effects = told != line and known is None
        transcript.feed(f"[{uid}] rendering reached an error: {told}" if is_after_effects else line, at)


def _is_of_the_render(line: str) -> bool:
    return "aerender" in line or "result file" in line or "PROGRESS:" in line
