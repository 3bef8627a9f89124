"""The queue handed to nexrender-server: up to `max_in_flight` jobs at once are with its workers.

Beside `worker.py`, and the same line: jobs are taken, claimed and prepared as there, and what comes back is judged and
delivered as there. In between, instead of one aerender, a job is posted and followed by polls. One thread hands over,
one follows, one finishes.

Nothing that server or worker say is the end of a job: finished means our own verdict on the file. Whatever goes wrong
on the way there (a worker that died, a server that forgot, two workers with one job) ends the uid, never the job: the
uid is removed from the server, its folder is removed from the share, and the job gets another one. So whatever a lost
worker still does, it does to nobody.

    line.py       from the queue to the done folder: life, handing over, and what an earlier life handed over
    follower.py   what the server says of what is with it, by polls
    landings.py   what the server calls finished, until the verdict
    ends.py       the end of a uid, and what is left of it on server and share
    flights.py    what is with the farm, and what is back: one list that all of them share

Every rule that needs no server is in `core/standing.py`.
"""

from watchrender.farm.line import Farm

__all__ = ["Farm"]
