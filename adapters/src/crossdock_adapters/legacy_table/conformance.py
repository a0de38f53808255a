"""What the conformance kit needs to know of the ERP: one order's life, and how items come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossdock_adapters.legacy_table.adapter import ADAPTER
from crossdock_adapters.legacy_table.sandbox import LegacyTableSandbox
from crossdock_adapters.sdk.conformance import erp_order
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import (
    OTHER,
    Delivered,
    Malformed,
    Subject,
    UnknownCode,
    WayIn,
    World,
)

ITEMS_SECONDS = 0.05
CLAIM_SECONDS = 2
OUT_OF_HAND = frozenset({"DONE", "HELD"})


def settings(sandbox: LegacyTableSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint: the sandbox's address, with its password, in a file."""
    address = folder / "legacy-table-url"
    address.write_text(sandbox.database_url())
    return {
        "database_url": f"file:{address}",
        "items_interval_seconds": ITEMS_SECONDS,
        # A row that the hub did not take is free again once its claim is over.
        "claim_seconds": CLAIM_SECONDS,
        "connect_seconds": 2,
    }


def item(**values: Any) -> bytes:
    """A row of the ERP's table of items."""
    plain = {
        "ITEM": "SKU-1001".ljust(30), "CHANGE_NO": 1, "DESCRIPTION": "Lamp", "UNIT": "EA ",
        "STATUS_CODE": "A ", "WEIGHT": 12500, "WEIGHT_UNIT": "KG ",
    }  # fmt: skip
    return json.dumps({**plain, **values}).encode()


async def lay_down(world: World, payload: bytes) -> Delivered:
    """The ERP writes a row, and the adapter has given it its last status."""
    body = json.loads(payload)
    row = (await world.sandbox.commands()["tell_item"](body))["row_id"]

    def taken() -> bool:
        rows = world.sandbox.books()["items"]
        return any(
            each["ROW_ID"] == row and each["STATUS"].rstrip() in OUT_OF_HAND for each in rows
        )

    await until(taken, "the row of the item is dealt with")
    return Delivered()


CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=LegacyTableSandbox,
    settings=settings,
    cases=erp_order.cases(erp_order.asked_in("asked", "INTERFACE", "ACTION")),
    ways_in=[
        WayIn(
            "poll:items",
            payloads=[item(), item(ITEM="SKU-1002", CHANGE_NO=2, WEIGHT=None, WEIGHT_UNIT=None)],
            deliver=lay_down,
            media=OTHER,
            # A column of a later release, which no layout names.
            grown=item(REMARK="seasonal"),
            unknown_code=UnknownCode(item(STATUS_CODE="Q9"), "Q9"),
            malformed=[
                Malformed(item(UNIT="??"), "unit"),
                Malformed(item(ITEM=None), r"erp_item_out\.item"),
                Malformed(item(CHANGE_NO="x"), r"erp_item_out\.change_no"),
                Malformed(item(WEIGHT=1.5), r"erp_item_out\.weight"),
                Malformed(item(WEIGHT_UNIT="ST"), "weight_unit"),
            ],
            oversize=item(DESCRIPTION="x" * 600_000),
            bombs=[item(DESCRIPTION="y" * 2_000_000), item(CHANGE_NO="9" * 1_000_000)],
        ),
    ],
)
