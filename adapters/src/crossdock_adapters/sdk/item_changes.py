"""Of an ERP that tells items by numbered changes: whether one that was held is the newest still.

No older change of an item may come after a newer one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from crossdock_adapters.sdk.outcomes import Retry

# Of one look; the next one goes on behind them.
MAX_PAGES_AT_ONCE: Final = 50
# Of items that are remembered; 100 bytes each.
MAX_ITEMS: Final = 200_000
# Of the changes of one item that could not be read, each of which is asked for anew.
MAX_UNREAD_OF_ITEM: Final = 50

# (the number of a change, the item's number, whether it can be read by the rows that hold)
Change = tuple[int, str, bool]


class ItemChanges:
    """What the ERP says changed behind the oldest change that was asked about, read once.

    Only what could not be read is asked for again: its code may have a row by now.
    """

    def __init__(self, page_behind: Callable[[int], Awaitable[Sequence[Change]]]) -> None:
        self._page_behind = page_behind
        self._since: int | None = None
        self._until = 0
        self._newest: dict[str, int] = {}
        self._unread: dict[str, set[int]] = {}

    async def newer(self, item: str, change: int) -> int:
        """The number of a newer change of an item than this one, which the ERP told or will tell; 0
        when there is none.

        A newer one that cannot be read does not count: it is held itself, and comes after this one.
        Retry: there is more to read than one look does.
        """
        if self._since is None or change < self._since:
            self._since, self._until = change, change
            self._newest.clear()
            self._unread.clear()
        for _ in range(MAX_PAGES_AT_ONCE):
            page = await self._page_behind(self._until)
            self._keep(page)
            newest = max((self._until, *(number for number, _, _ in page)))
            if newest == self._until:
                return await self._newer(item, change)
            self._until = newest
            if len(self._newest) + len(self._unread) > MAX_ITEMS:
                self._since = None
                raise Retry(0.0, f"more than {MAX_ITEMS} items changed since {item} was held")
        raise Retry(0.0, f"reading what changed since {item} was held: at change {self._until}")

    def _keep(self, page: Sequence[Change]) -> None:
        for number, of, can_be_read in page:
            if can_be_read:
                self._newest[of] = max(number, self._newest.get(of, 0))
                self._unread.get(of, set()).discard(number)
            else:
                self._unread.setdefault(of, set()).add(number)

    async def _newer(self, item: str, change: int) -> int:
        """Newest first, so that a heap of them ends with the first that has its row by now."""
        behind = sorted(
            (each for each in self._unread.get(item, ()) if each > change), reverse=True
        )
        for number in behind[:MAX_UNREAD_OF_ITEM]:
            if self._newest.get(item, change) > change:
                break
            self._keep(await self._page_behind(number - 1))
        newest = self._newest.get(item, change)
        if newest > change:
            return newest
        if len(behind) > MAX_UNREAD_OF_ITEM:
            raise Retry(
                0.0,
                f"{len(behind)} newer changes of {item} cannot be read, and one look asks for "
                f"{MAX_UNREAD_OF_ITEM} of them again: give their codes rows (crossdock map set)",
            )
        return 0
