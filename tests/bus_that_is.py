"""A bus that is there, and says so."""

from __future__ import annotations


class BusThatIs:
    """As a hub sees it."""

    is_away = False
    is_steady = True

    async def answers(self) -> bool:
        return True
