"""Labels of UPS for the way back: sold once whatever gets lost, told, and taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from carrier_hub import SmallHub, check
from crossdock.label.v1 import label_pb2
from crossdock.returns.v1 import return_events_pb2, return_pb2
from crossdock_adapters.sdk import proving, return_labels
from crossdock_adapters.sdk.conformance import returned_parcel
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound, OutcomeUnknown, Reject
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.work import Poll, Work
from crossdock_adapters.ups import adapter, conformance, translate
from crossdock_adapters.ups.sandbox import UpsSandbox
from sdk_waiting import until
from ups_world import SANDBOX_SETTINGS, checked_settings, client_for

REFERENCE = "R5ABCDEFGHIJKLMNOPQR"


class World:
    """One simulated UPS, a small hub that knows the goods, the adapter's client between them."""

    def __init__(self, sandbox: UpsSandbox) -> None:
        self.sandbox = sandbox
        self.hub: Any = SmallHub()
        self.hub.learn(*returned_parcel.known(conformance.WAREHOUSE))
        self.client = client_for(sandbox)
        self.settings, _ = checked_settings(sandbox.vendor_url)

    def work(self, operation: str, event: Any) -> Work:
        async def no_numbers(kind: str, numbers: Any) -> dict[str, str]:
            return {}

        return Work(
            delivery_id="0190f7a2-0000-7e5f-8a6b-00000000000c",
            endpoint="ups",
            operation=operation,
            item="",
            reference=REFERENCE,
            attempt=1,
            event=event,
            settings=self.settings,
            hub=self.hub,
            look_up_numbers=no_numbers,
        )

    def initiated(self, carrier_code: str = "UPS") -> Work:
        wanted = returned_parcel.customer_return(carrier_code, conformance.CUSTOMER)
        event = return_events_pb2.ReturnInitiated(customer_return=wanted)
        return self.work("buy_return_label", event)

    def given_up(self) -> Work:
        wanted = returned_parcel.customer_return("UPS", conformance.CUSTOMER)
        event = return_events_pb2.ReturnCancelled(customer_return=wanted)
        return self.work("void_return_label", event)

    def told(self, done: Confirmed | NotFound) -> return_pb2.ReturnLabel:
        """The label that the hub is told of, and keeps."""
        assert isinstance(done, Confirmed)
        fact: Any = done.facts[0]
        check(fact)
        self.hub.note_return(fact)
        label: return_pb2.ReturnLabel = fact.customer_return.label
        return label

    def poll(self) -> Poll:
        async def keep(raw: bytes) -> None:
            return None

        return Poll("tracking", "ups", b"", self.settings, self.hub, keep, self.hub.hold)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    config = SandboxConfig("ups", seed=5, tick_seconds=0.01, settings=SANDBOX_SETTINGS)
    async with UpsSandbox(config) as sandbox:
        made = World(sandbox)
        yield made
        await made.client.close()


async def test_a_return_label_is_sold_under_our_reference(world: World) -> None:
    """Proves what the fact of a sold label says, and that UPS sold it as one for the way back."""
    label = world.told(await adapter.buy_return_label(world.initiated(), world.client))
    (sold,) = world.sandbox.books()["shipments"]
    assert sold["comes_back"]
    assert [each["tracking_number"] for each in sold["parcels"]] == [label.tracking_number]
    assert label.format == label_pb2.LABEL_FORMAT_GIF
    assert label.image.startswith(b"GIF8")
    assert (label.purchase_reference, label.service_code) == (REFERENCE, "GROUND")
    assert label.price.currency == "USD"


async def test_ups_is_asked_for_the_way_back(world: World) -> None:
    """Proves that a return goes from the customer to the warehouse, which is the shipper that pays,
    with the service by which the label is printed here, and a description."""
    shipment = await return_labels.shipment_back(world.initiated())
    rules = adapter.ship_rules(world.settings)
    body = translate.return_request(shipment, REFERENCE, rules)["ShipmentRequest"]["Shipment"]
    assert body["ShipFrom"]["Address"]["PostalCode"] == "972051234"
    assert body["ShipTo"]["Address"]["PostalCode"] == "89502"
    assert body["Shipper"]["Address"] == body["ShipTo"]["Address"]
    assert body["ReturnService"] == {"Code": "9"}
    assert body["Description"] == f"Return {returned_parcel.NUMBER}"


@pytest.mark.parametrize("kind", ["reply_lost", "error_after"])
async def test_a_lost_answer_is_found_by_the_reference(world: World, kind: str) -> None:
    """Proves that a label whose answer was lost is found and adopted for its return, in the format
    that the customer prints."""
    world.sandbox.faults.add({"kind": kind, "operation": "ship", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.buy_return_label(world.initiated(), world.client)
    label = world.told(await adapter.find_return_label(world.initiated(), world.client))
    (sold,) = world.sandbox.books()["shipments"]
    assert label.tracking_number == sold["parcels"][0]["tracking_number"]
    assert label.image.startswith(b"GIF") and label.format == label_pb2.LABEL_FORMAT_GIF


async def test_one_of_two_labels_is_found_as_the_customer_prints_it(world: World) -> None:
    """Proves that where recovery names two labels without showing them the one that is adopted is
    asked for in the format of returns."""
    for _ in range(2):
        await adapter.buy_return_label(world.initiated(), world.client)
    label = world.told(await adapter.find_return_label(world.initiated(), world.client))
    assert label.image.startswith(b"GIF") and label.format == label_pb2.LABEL_FORMAT_GIF


@pytest.mark.parametrize("fault", proving.SILENT_FAULTS)
async def test_the_class_holds_for_returns(world: World, fault: str) -> None:
    """Proves the declared class with the SDK's own trial."""
    trial = proving.Trial(
        adapter.ADAPTER,
        "buy_return_label",
        world.client,
        world.sandbox,
        world.initiated,
        lambda: len(world.sandbox.books()["shipments"]),
        "ship",
        settle_seconds=0.0,
    )
    assert await proving.class_problems(trial, fault) == []


@pytest.mark.parametrize("carrier_code", ["", "FEDEX"])
async def test_a_return_for_nobody_or_another_carrier_buys_nothing(
    world: World, carrier_code: str
) -> None:
    """Proves that a return without a carrier, or for another one, is done without a call."""
    done = await adapter.buy_return_label(world.initiated(carrier_code), world.client)
    assert not done.facts and "nothing bought" in done.note
    assert not world.sandbox.calls


async def test_voiding_a_return_label_twice_is_one(world: World) -> None:
    """Proves that the label of a return that was given up is void at UPS and told so, that a repeat
    changes nothing, and that a return without one needs no call."""
    nothing = await adapter.void_return_label(world.given_up(), world.client)
    assert "nothing to void" in nothing.note and not world.sandbox.calls
    world.told(await adapter.buy_return_label(world.initiated(), world.client))
    for _ in range(2):
        done = await adapter.void_return_label(world.given_up(), world.client)
        assert world.told(done).voided
    assert world.sandbox.books()["labels_valid"] == 0


async def test_the_label_of_another_carrier_is_not_voided_here(world: World) -> None:
    """Proves that a return which another carrier sold a label for, as its own adapter or a desk
    does, is done without a call when it is given up, and that label stays as it is."""
    world.told(await adapter.buy_return_label(world.initiated(), world.client))
    (known,) = world.hub.returns_known.values()
    known.label.carrier_code = "FEDEX"
    done = await adapter.void_return_label(world.given_up(), world.client)
    assert "nothing to void" in done.note and not done.facts
    assert world.sandbox.books()["labels_valid"] == 1


async def test_a_return_label_in_use_is_followed_and_not_taken_back(world: World) -> None:
    """Proves that the tracking poll follows the parcel of a return, and that after its first scan
    UPS's no to a void is a rejection."""
    label = world.told(await adapter.buy_return_label(world.initiated(), world.client))
    await world.sandbox.commands()["handover"]({})
    await until(lambda: world.sandbox.books()["delivered"] > 0)
    await adapter.poll_tracking(world.poll(), world.client)
    assert world.hub.milestones(label.tracking_number)
    with pytest.raises(Reject):
        await adapter.void_return_label(world.given_up(), world.client)
