"""What people and jobs do in the simulated tenant: the commands of the control port.

lock {document, user}; unlock {document}; close_period {through}; bill {delivery};
set_stock {item, plant, quantity}; edit_delivery {delivery}; forget_sessions; unlock_user;
change {kind, key, fields, at} of a Product or BusinessPartner: of a product also packs, which are
all its alternative units, as {"CV": ["12", "1"]}: 12 of the base unit are one case; block_order
{order, reason, credit}: a delivery block, and the status of its credit check, A where none is
given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from crossdock_adapters.sap.sandbox_access import Gate
from crossdock_adapters.sap.sandbox_books import Books, changed
from crossdock_adapters.sap.sandbox_master_data import MasterData
from crossdock_adapters.sdk.sandbox import Command

Given = dict[str, Any]
# Kind, key and action of a business event.
Publish = Callable[[str, str, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class People:
    """Everybody who works in the tenant beside the adapter."""

    books: Books
    gate: Gate
    master: MasterData
    now: Callable[[], datetime]
    publish: Publish

    def commands(self) -> dict[str, Command]:
        """Each by its name."""
        return {
            "lock": self._lock,
            "unlock": self._unlock,
            "close_period": self._close_period,
            "bill": self._bill,
            "set_stock": self._set_stock,
            "edit_delivery": self._edit_delivery,
            "forget_sessions": self._forget_sessions,
            "unlock_user": self._unlock_user,
            "change": self._change,
            "block_order": self._block_order,
        }

    async def _lock(self, given: Given) -> Any:
        self.books.locked[str(given["document"])] = str(given.get("user", "MUELLER"))
        return {}

    async def _unlock(self, given: Given) -> Any:
        self.books.locked.pop(str(given["document"]), None)
        return {}

    async def _close_period(self, given: Given) -> Any:
        through = given.get("through")
        self.books.closed_through = date.fromisoformat(str(through)) if through else None
        return {}

    async def _bill(self, given: Given) -> Any:
        document = self.books.deliveries[str(given["delivery"])]
        document.fields["OverallDelivReltdBillgStatus"] = "C"
        changed(self.books, document)
        return {}

    async def _set_stock(self, given: Given) -> Any:
        place = (str(given["item"]), str(given["plant"]))
        self.books.stock[place] = Decimal(str(given["quantity"]))
        return {}

    async def _edit_delivery(self, given: Given) -> Any:
        changed(self.books, self.books.deliveries[str(given["delivery"])])
        return {}

    async def _forget_sessions(self, given: Given) -> Any:
        return {"forgotten": self.gate.forget()}

    async def _unlock_user(self, given: Given) -> Any:
        self.gate.failures = 0
        return {}

    async def _change(self, given: Given) -> Any:
        kind, key, at = str(given["kind"]), str(given["key"]), given.get("at")
        moment = datetime.fromisoformat(str(at)) if at else self.now()
        if self.master.change(kind, key, given["fields"], moment):
            await self.publish(kind, key, "Changed")
        return {}

    async def _block_order(self, given: Given) -> Any:
        document = self.books.orders[str(given["order"])]
        document.fields["DeliveryBlockReason"] = str(given.get("reason", ""))
        document.fields["TotalCreditCheckStatus"] = str(given.get("credit", "A"))
        changed(self.books, document)
        await self.publish("SalesOrder", document.fields["SalesOrder"], "Changed")
        return {}
