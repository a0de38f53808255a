"""One packed parcel as a carrier is told of it, for the conformance of carriers: the events that
buy its label and void it, the label of another one under way, and what their settings need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.sdk.conformance.stage import until
from crossdock_adapters.sdk.conformance.subject import Case, Deliver, Delivered, World

SHIPMENT_ID: Final = "0190f7a2-3c4d-7e5f-8a6b-000000000001"
PACKAGE_ID: Final = "0190f7a2-3c4d-7e5f-8a6b-000000000002"
OTHER_SHIPMENT_ID: Final = "0190f7a2-3c4d-7e5f-8a6b-000000000003"
# A poll that was under way when an answer changed may have seen the old one.
POLLS_THAT_PROVE = 3


def secret_files(folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
    """Settings of an endpoint whose secrets lie in files of the folder."""
    for name, value in secrets.items():
        (folder / name).write_text(value)
    return {name: f"file:{folder / name}" for name in secrets}


def party(
    name: str, line: str, city: str, state: str, postal_code: str, country: str, phone: str
) -> types_pb2.Party:
    """Who sends a parcel or gets it."""
    address = types_pb2.Address(
        lines=[line], city=city, state=state, postal_code=postal_code, country_code=country
    )
    return types_pb2.Party(name=name, address=address, phone=phone)


def shipment(
    carrier_code: str, service_code: str, number: str, ship_from: types_pb2.Party,
    ship_to: types_pb2.Party,
) -> shipment_pb2.Shipment:  # fmt: skip
    """Without its packages, as the hub tells it after packing; its dock is called as its city."""
    return shipment_pb2.Shipment(
        id=SHIPMENT_ID,
        number=f"S-{number}",
        order_number=f"SO-{number}",
        ship_from_location_number=ship_from.address.city.upper(),
        carrier_code=carrier_code,
        service_code=service_code,
        ship_from=ship_from,
        ship_to=ship_to,
    )


def pack(
    packed: shipment_pb2.Shipment, number: str, weight: tuple[str, str],
    sides: tuple[str, str, str] | None = None, unit: str = "CMT", package_id: str = PACKAGE_ID,
) -> shipment_pb2.Package:  # fmt: skip
    """One package of it: its weight with its unit, and length, width and height."""
    package = packed.packages.add(id=package_id, number=number)
    package.weight.CopyFrom(types_pb2.Quantity(value=weight[0], unit=weight[1]))
    for side, value in zip(("length", "width", "height"), sides or (), strict=False):
        getattr(package, side).CopyFrom(types_pb2.Quantity(value=value, unit=unit))
    return package


def label(carrier_code: str, number: str, shipment_id: str = OTHER_SHIPMENT_ID) -> label_pb2.Label:
    """A label as the hub stores it: of a parcel under way, or of the shipment of the cases."""
    return label_pb2.Label(
        shipment_id=shipment_id,
        package_id=PACKAGE_ID,
        carrier_code=carrier_code,
        tracking_number=number,
    )


def cases(
    packed: Callable[[], shipment_pb2.Shipment],
    bought: Callable[[Mapping[str, Any]], int],
    voided: Callable[[Mapping[str, Any]], int],
) -> list[Case]:
    """Its label is bought, and voided. bought, voided: how often, by the vendor's books."""
    return [
        Case(
            "buy_label",
            event=lambda _: fulfillment_events_pb2.FulfillmentPacked(shipment=packed()),
            item=PACKAGE_ID,
            made=bought,
        ),
        Case(
            "void_label",
            event=lambda _: shipment_events_pb2.ShipmentVoided(shipment=packed()),
            item=PACKAGE_ID,
            after=["buy_label"],
            made=voided,
        ),
    ]


def shown(number: str) -> Deliver:
    """Delivers what tracking is to show of a number: returns once a poll that saw it has ended."""

    async def deliver(world: World, payload: bytes) -> Delivered:
        def asked() -> int:
            return sum(call.operation == "track" for call in world.sandbox.calls)

        world.sandbox.show(number, payload)
        seen = asked()
        await until(lambda: asked() >= seen + POLLS_THAT_PROVE, "the tracking poll asks again")
        return Delivered()

    return deliver


async def expire_tokens(sandbox: Any) -> None:
    """The vendor forgets every token that it gave."""
    await sandbox.commands()["expire_tokens"]({})
