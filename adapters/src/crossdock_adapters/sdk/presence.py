"""Says once that something is gone and once that it is back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

DOUBTS_IN_A_ROW = 3
# For so long after a call that succeeded began, the failure of one that began before is no news.
# Longer not: of a poll or a wait for the pace that took a minute, it may be of this moment.
NEWS_AFTER_SECONDS = 5.0


class Presence:
    """The state of one thing we depend on, such as the hub or a vendor."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self.clock = clock
        self.trouble = ""
        self._gone_since = 0.0
        self._here_at = float("-inf")
        self._doubts = 0

    @property
    def here(self) -> bool:
        return not self.trouble

    def gone(self, reason: str, asked_at: float | None = None) -> None:
        """Note a failure; only the first one since it was here is logged.

        asked_at: when the call began, on `clock`. One that began before one that succeeded, and
        fails within `NEWS_AFTER_SECONDS` of that, tells how things were. None: it began now.
        """
        if self._is_old(asked_at):
            return
        if not self.trouble:
            self._gone_since = self.clock()
            log.warning("%s is gone: %s", self.what, reason)
        self.trouble = reason or "gone"

    def doubt(self, reason: str, asked_at: float | None = None) -> None:
        """Note a failure that may be the call's own; several in a row mean gone."""
        if self._is_old(asked_at):
            return
        self._doubts += 1
        if self._doubts >= DOUBTS_IN_A_ROW:
            self.gone(reason, asked_at)

    def _is_old(self, asked_at: float | None) -> bool:
        if asked_at is None or asked_at >= self._here_at:
            return False
        return self.clock() < self._here_at + NEWS_AFTER_SECONDS

    def back(self, asked_at: float | None = None) -> None:
        """Note a success; only the first one since it was gone is logged.

        asked_at: when the call began, on `clock`. One that began before the first failure
        and ends after it tells how things were, not how they are. None: it began now.
        """
        if self.trouble and asked_at is not None and asked_at < self._gone_since:
            return
        self._here_at = max(self._here_at, self.clock() if asked_at is None else asked_at)
        self._doubts = 0
        if self.trouble:
            away = self.clock() - self._gone_since
            self.trouble = ""
            log.warning("%s is back after %.1f s", self.what, away)
