"""One return as a carrier is told of it, for the conformance of carriers: the events that buy its
label and take it back, and what the hub knows of the goods and of where they go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from crossdock.item.v1 import item_pb2
from crossdock.location.v1 import location_pb2
from crossdock.returns.v1 import return_events_pb2, return_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_adapters.sdk.conformance.subject import Case

RETURN_ID: Final = "0190f7a2-3c4d-7e5f-8a6b-000000000004"
ORDER_ID: Final = "0190f7a2-3c4d-7e5f-8a6b-000000000005"
NUMBER: Final = "RMA-1001"
LOCATION: Final = "RENO"
ITEM: Final = "SKU-1001"


def customer_return(carrier_code: str, customer: types_pb2.Party) -> return_pb2.Return:
    """One piece of one line comes back, by this carrier."""
    line = return_pb2.ReturnLine(line_number=1, item_number=ITEM, reason_code="DAMAGED")
    line.quantity.CopyFrom(types_pb2.Quantity(value="1", unit="EA"))
    return return_pb2.Return(
        id=RETURN_ID,
        number=NUMBER,
        order_id=ORDER_ID,
        order_number="SO-1001",
        return_to_location_number=LOCATION,
        authorised_by="returns desk",
        carrier_code=carrier_code,
        service_code="GROUND",
        ship_from=customer,
        lines=[line],
    )


def known(warehouse: types_pb2.Party) -> Sequence[Message]:
    """Where it goes, and what a piece of it weighs."""
    weight = types_pb2.Quantity(value="1.9", unit="KGM")
    return [
        location_pb2.Location(number=LOCATION, address=warehouse),
        item_pb2.Item(number=ITEM, base_unit="EA", weight=weight),
    ]


def cases(
    initiated: Callable[[], return_pb2.Return],
    bought: Callable[[Mapping[str, Any]], int],
    voided: Callable[[Mapping[str, Any]], int],
) -> list[Case]:
    """Its label is bought, and taken back. bought, voided: how often, by the vendor's books."""
    return [
        Case(
            "buy_return_label",
            event=lambda _: return_events_pb2.ReturnInitiated(customer_return=initiated()),
            made=bought,
        ),
        Case(
            "void_return_label",
            event=lambda _: return_events_pb2.ReturnCancelled(customer_return=initiated()),
            after=["buy_return_label"],
            made=voided,
        ),
    ]
