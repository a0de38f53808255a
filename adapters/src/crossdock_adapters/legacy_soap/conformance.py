"""What the conformance kit needs to know of the ERP: one order's life, and how items come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossdock_adapters.legacy_soap.adapter import ADAPTER
from crossdock_adapters.legacy_soap.sandbox import ITEM_CHANGES, LegacySoapSandbox
from crossdock_adapters.sdk import soap, vendor_xml
from crossdock_adapters.sdk.conformance import erp_order
from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import (
    XML,
    Delivered,
    Malformed,
    Subject,
    UnknownCode,
    WayIn,
    World,
)

ITEMS_SECONDS = 0.05
QUESTION = "items"
# So often it has asked again, what it saw before is dealt with.
QUESTIONS = 3


def settings(sandbox: LegacySoapSandbox, folder: Path) -> Mapping[str, Any]:
    """Of the endpoint; the password lies in a file."""
    password = folder / "legacy-soap-password"
    password.write_text(str(sandbox.settings["password"]))
    return {
        "base_url": sandbox.vendor_url,
        "username": str(sandbox.settings["username"]),
        "password": f"file:{password}",
        "items_interval_seconds": ITEMS_SECONDS,
    }


def page(**values: Any) -> bytes:
    """An answer with one item."""
    plain = {
        "Change": 1, "Number": "SKU-1001", "Description": "Lamp", "Unit": "EA", "Status": "A",
        "Weight": "1.2500", "WeightUnit": "KG",
    }  # fmt: skip
    content = {"Items": {"Item": {**plain, **values}}}
    return soap.envelope(vendor_xml.build("GetItemChangesResponse", content, ITEM_CHANGES))


async def show(world: World, payload: bytes) -> Delivered:
    """The ERP answers so, until a poll that saw it has ended and another began."""
    world.sandbox.show(QUESTION, payload)
    seen = _questions(world)
    await until(lambda: _questions(world) >= seen + QUESTIONS, "the items are asked for again")
    return Delivered()


async def clock_ahead(sandbox: LegacySoapSandbox) -> None:
    """The ERP's clock goes ten minutes ahead: every token of ours is too old for it."""
    await sandbox.commands()["misbehave"]({"kind": "clock_ahead"})


def _questions(world: World) -> int:
    return sum(call.operation == QUESTION for call in world.sandbox.calls)


CONFORMANCE = Subject(
    adapter=ADAPTER,
    sandbox=LegacySoapSandbox,
    settings=settings,
    expire=clock_ahead,
    cases=erp_order.cases(erp_order.asked_in("asked", "kind", "action")),
    ways_in=[
        WayIn(
            "poll:items",
            payloads=[page(), page(Change=2, Number="SKU-1002", Weight=None, WeightUnit=None)],
            deliver=show,
            media=XML,
            content_type="text/xml",
            needed=["/Envelope/Body/GetItemChangesResponse/Items/Item/Change"],
            # An element of a later release, which no layout names.
            grown=page(Remark="seasonal"),
            unknown_code=UnknownCode(page(Status="Q9"), "Q9"),
            malformed=[
                Malformed(page(Unit="??"), "unit"),
                Malformed(page(WeightUnit="ST"), "weight_unit"),
                Malformed(page(Weight="much"), r"/Items/Item/Weight \(line 2"),
                Malformed(page(Number=""), r"/Items/Item/Number \(line 2"),
            ],
        ),
    ],
)
