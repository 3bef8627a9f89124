"""From a dropped file to the queue: settle → read → judge → queue.

One `turn` looks at the inbox and does what is due; the service calls it when something was heard, and at intervals.
Files of jobs never begun stay in the inbox: the inbox is the queue. Everything known of a name between two turns is an
`Entry` (spool/inbox.py); every decision is made by a pure function in core/ or by the judge.

    turn        one look after another: what came, what went, what is due
    room        what all of these work with
    watch       what lies there, how it looked last, when it is due again
    arrivals    a new name: its role; a new job, a known one, one renamed
    taken       the names that a new job cannot have
    settling    what a quiet thing turns out to be
    admission   a job: complete, read, judged; queued, refused, or waiting for footage
    sidecars    settings beside jobs
    orders      control files
    projects    who needs the letter beside a lone project
    beside      letters that lie in the inbox
"""

from watchrender.intake.turn import Intake
from watchrender.intake.watch import Pace

__all__ = ["Intake", "Pace"]
