"""How much memory this process had at most since somebody began to look."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def forget_the_peak() -> None:
    """Begin anew. Where the system cannot, the peak is that of the whole life of the process, and
    what stays below it is not seen."""
    if _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")


def peak_bytes() -> int:
    """The most that was resident since then."""
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
