"""How long a thread took of its own: by the clock, without the time in which others had the processors."""

import time
from pathlib import Path


class OwnTime:
    """Seconds since this was made in which a thread computed, or waited for something else than a processor.

    Who sleeps for an hour is found out as by a clock, and nobody is late because a machine is busy. Where the system
    does not say how long a thread waited for a processor (all but Linux), these are seconds by the clock.

    Parameters
    ----------
    thread : int
        The system's number of the thread, or of a process, which stands for its first thread.
    """

    def __init__(self, thread: int):
        self._place = Path(f"/proc/{thread}/schedstat")
        self._start, self._kept = time.monotonic(), self._waited()

    def seconds(self) -> float:
        """Its seconds until now; by the clock, once the thread has ended."""
        return time.monotonic() - self._start - max(0.0, self._waited() - self._kept)

    def _waited(self) -> float:
        """Seconds that it could have run and did not, https://docs.kernel.org/scheduler/sched-stats.html."""
        try:
            return int(self._place.read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0
