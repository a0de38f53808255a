"""From a cancelled order to what takes its sales order back: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crossdock_adapters.netsuite.order_lines import lines_of
from crossdock_adapters.netsuite.translate import status_of
from crossdock_adapters.sdk.outcomes import Reject, Untranslatable

# Of a sales order that somebody cancelled in NetSuite, or an earlier version of this adapter did.
CANCELLED: Final = "C"
_MOVED: Final = ("quantityFulfilled", "quantityPicked", "quantityPacked")


def cancellation(record: Mapping[str, Any], status: str) -> dict[str, Any]:
    """What takes back a sales order that was read with its sublists: every line closed, or a status
    where one is given; empty once it is taken back.

    Reject: something of it is picked or shipped. Untranslatable: it was read without its lines.
    """
    lines = lines_of(record)
    if not lines:
        raise Untranslatable("the sales order was read without its lines")
    for place, line in enumerate(lines):
        if not isinstance(line, Mapping) or not isinstance(line.get("line"), int):
            raise Untranslatable(f"the sales order was read with no line at item.items[{place}]")
    # Before it is seen whether it is closed: what left stays sold, whoever closed the rest.
    for line in lines:
        if any(line.get(name) for name in _MOVED):
            raise Reject(
                "FULFILLED",
                f"line {line['line']} of sales order {record.get('tranId')} is picked or shipped: "
                "the order cannot be cancelled",
            )
    if status:
        taken_back = status_of(record, "orderStatus") == status
        return {} if taken_back else {"orderStatus": {"id": status}}
    if all(line.get("isClosed") is True for line in lines):
        return {}
    if status_of(record, "orderStatus") == CANCELLED:
        return {}
    return {"item": {"items": [{"line": line["line"], "isClosed": True} for line in lines]}}
