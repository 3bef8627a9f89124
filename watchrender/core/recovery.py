"""What to put right after a crash: (where the job's files lie, recorded state) → repair. Pure.

At start the service looks once where each job of the record really lies and asks this table. Every repair is a row
of the state table, and every cell below has a test. Nothing here deletes a user's file.
"""

from __future__ import annotations

from enum import StrEnum

from watchrender.core.states import State, is_over


class Place(StrEnum):
    """Where a job's files were found."""

    INBOX = "inbox"
    ACTIVE = "active"  # in its folder in active/, nothing decided
    CLOSING = "closing"  # a folder with its final status already written: only moves are missing
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOWHERE = "nowhere"  # it never began, and its file is not in the inbox
    VANISHED = "vanished"  # it had begun, and its folder is in none of our folders


class Repair(StrEnum):
    """What the start does about it."""

    NOTHING = "nothing"
    JUDGE_AGAIN = "judge again"  # validating → pending: the reading was cut off
    PUT_BACK = "put back"  # rendering → queued, no try used
    CLAIMED = "claimed"  # the claim's rename happened before its record: queued, begun
    CLOSE = "close"  # finish the closing that was cut off, as the final status says
    RECORD = "record"  # the folder has arrived: record what its status file says
    NOTE = "note"  # over and in its place: only where that is was not recorded
    CLEAR = "clear"  # over and arrived as a copy: the original was not removed yet
    WITHDRAWN = "withdrawn"  # the file was taken away while we were down: cancelled after two looks
    LOST = "lost"  # a begun job's folder is gone: failed, and it says so


_LIVE = tuple(state for state in State if not is_over(state))
_OVER = tuple(state for state in State if is_over(state))

TABLE: dict[tuple[Place, State], Repair] = {
    (Place.INBOX, State.PENDING): Repair.NOTHING,
    (Place.INBOX, State.VALIDATING): Repair.JUDGE_AGAIN,
    (Place.INBOX, State.QUEUED): Repair.NOTHING,
    (Place.INBOX, State.RENDERING): Repair.PUT_BACK,  # recorded, not moved yet
    (Place.ACTIVE, State.PENDING): Repair.CLAIMED,  # moved there by hand, or a record older than the folders
    (Place.ACTIVE, State.VALIDATING): Repair.CLAIMED,
    (Place.ACTIVE, State.QUEUED): Repair.CLAIMED,
    (Place.ACTIVE, State.RENDERING): Repair.PUT_BACK,
    (Place.NOWHERE, State.PENDING): Repair.WITHDRAWN,
    (Place.NOWHERE, State.VALIDATING): Repair.JUDGE_AGAIN,  # and withdrawn then
    (Place.NOWHERE, State.QUEUED): Repair.WITHDRAWN,
    (Place.NOWHERE, State.RENDERING): Repair.PUT_BACK,  # taken away between the record and the claim; withdrawn then
}
TABLE |= {(Place.VANISHED, state): Repair.LOST for state in _LIVE}
TABLE |= {(Place.CLOSING, state): Repair.CLOSE for state in _LIVE}
TABLE |= {(place, state): Repair.RECORD for place in (Place.DONE, Place.FAILED, Place.CANCELLED) for state in _LIVE}
# A job that is over is where people left it: they may take films away, and its folder is theirs.
TABLE |= {(place, state): Repair.NOTHING for place in Place for state in _OVER}
TABLE |= {(Place.CLOSING, state): Repair.CLEAR for state in _OVER}
# Cancelling a waiting job is recorded first and moved then, so the move may be missing, or its record.
TABLE |= {(place, State.CANCELLED): Repair.CLOSE for place in (Place.INBOX, Place.ACTIVE, Place.CLOSING)}
TABLE |= {(place, State.CANCELLED): Repair.NOTE for place in (Place.CANCELLED, Place.NOWHERE, Place.VANISHED)}


def repair(place: Place, state: State) -> Repair:
    """What to put right for a job found there and recorded so. Every pair has an answer."""
    return TABLE[place, state]
