"""How many streams may be open at once? Pure: it is told what the system allows.

Each is a connection, and a connection is an open file: half of what a process may have is left to renders, records and
requests. Who needs more gives the service a higher limit (`ulimit -n`, `LimitNOFILE=` of systemd).
"""

from __future__ import annotations

#: What is told in time on one loop, and what memory is reckoned for.
MOST = 2000
#: Windows' selector takes 512 sockets; the rest is for requests.
ON_WINDOWS = 400
#: A few pages and scripts, however little the system allows.
LEAST = 20


def most_streams(*, windows: bool, open_files: int | None) -> int:
    """`open_files`: how many files this process may have open; None: nothing bounds them."""
    if windows:
        return ON_WINDOWS
    if open_files is None:
        return MOST
    return max(LEAST, min(MOST, open_files // 2))
