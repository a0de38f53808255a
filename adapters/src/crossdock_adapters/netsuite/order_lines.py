"""The lines of a sales order as it was read with its sublists: all of them, or none. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossdock_adapters.sdk.outcomes import Untranslatable


def lines_of(record: Mapping[str, Any]) -> list[Any]:
    """All lines. Untranslatable: it was read without them, or with some of them only.

    A line that is not known is shipped whole by a transform, and stays open in a cancellation.
    """
    block = record.get("item")
    items = block.get("items") if isinstance(block, Mapping) else None
    if not isinstance(block, Mapping) or not isinstance(items, list):
        raise Untranslatable("the sales order was read without its lines")
    total = block.get("totalResults", len(items))
    if block.get("hasMore") is True or total != len(items):
        raise Untranslatable(
            f"sales order {record.get('tranId')} has {total} lines, and NetSuite tells "
            f"{len(items)} of them at once: do this in NetSuite, then resolve the delivery"
        )
    return items
