"""The clock of leases: it also runs while the machine is suspended, because the hub's does.

A process that wakes up from a suspended machine has to see that its lease is over. The ordinary
monotonic clock stands still meanwhile; where the system has one that does not, that one counts.
"""

from __future__ import annotations

import time

_BOOT_TIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds on a clock that never goes back and never stands still."""
    return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)
