"""What a start does before anything else: record and folders are made to agree (`core/recovery.py` decides).

start       one start, in its order
places      where a job's files really lie
ends        ends that were decided and cut off
lost        a lost record, made anew from the folders; the history in the background
believed    what is believed of a status file
"""

from watchrender.recover.believed import delivery_check
from watchrender.recover.lost import HISTORY_SERIALS, import_history
from watchrender.recover.start import Recovery

__all__ = ["HISTORY_SERIALS", "Recovery", "delivery_check", "import_history"]
