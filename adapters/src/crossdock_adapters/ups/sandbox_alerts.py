"""Who the simulated carrier tells about scans: Track Alert subscriptions and their end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from . import tracking_number
from .sandbox_books import Scan
from .sandbox_ship import VendorRefusal

MAX_NUMBERS = 100
LIFE_DAYS = 14
KINDS = ("D", "I", "M", "X")


class Subscriptions:
    """Package subscriptions end after 14 days and replay nothing; account ones stay."""

    def __init__(self) -> None:
        self._packages: dict[str, tuple[datetime, tuple[str, ...]]] = {}
        self._accounts: dict[tuple[str, str], datetime] = {}

    def add_packages(
        self, numbers: Any, kinds: Any, enhanced: bool, now: datetime
    ) -> dict[str, list[str]]:
        """Subscribes what is valid and names what is not; VendorRefusal for a wrong request."""
        if not isinstance(numbers, list) or not numbers:
            raise VendorRefusal(400, "VSS110", "A tracking number list is needed")
        if len(numbers) > MAX_NUMBERS:
            raise VendorRefusal(400, "VSS120", f"At most {MAX_NUMBERS} tracking numbers")
        wanted = tuple(kinds) if isinstance(kinds, list) and kinds else KINDS
        if enhanced and not set(wanted) <= set(KINDS):
            raise VendorRefusal(400, "VSS130", "Unknown event preference")
        valid = [n for n in numbers if isinstance(n, str) and tracking_number.is_valid(n)]
        invalid = [str(n) for n in numbers if n not in valid]
        if not valid:
            raise VendorRefusal(400, "VSS210", "At least one tracking number has to be valid")
        until = now + timedelta(days=LIFE_DAYS)
        for number in valid:
            self._packages[number] = (until, wanted if enhanced else KINDS)
        return {"validTrackingNumbers": valid, "invalidTrackingNumbers": invalid}

    def add_account(self, account: str, subscription_id: str, now: datetime) -> None:
        """Subscribes everything an account ships from now on."""
        if not subscription_id:
            raise VendorRefusal(400, "VSS210", "A subscription id is needed")
        self._accounts.setdefault((account, subscription_id), now)

    def remove_account(self, account: str, subscription_id: str) -> None:
        """Ends an account subscription; VendorRefusal when there is none."""
        if self._accounts.pop((account, subscription_id), None) is None:
            raise VendorRefusal(404, "VSS220", "No such subscription")

    def wants(self, scan: Scan) -> bool:
        """Whether anybody asked to be told about this scan."""
        account = tracking_number.shipper_account(scan.tracking_number)
        if any(subscribed == account for subscribed, _ in self._accounts):
            return True
        until, kinds = self._packages.get(scan.tracking_number, (None, ()))
        return until is not None and scan.happened_at < until and scan.step.kind[:1] in kinds

    def as_json(self) -> dict[str, Any]:
        """Subscriptions for the books."""
        return {
            "packages": {number: until for number, (until, _) in self._packages.items()},
            "accounts": [{"account": a, "subscription_id": s} for a, s in self._accounts],
        }
