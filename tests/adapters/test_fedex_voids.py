"""Cancelling shipments at the simulated FedEx: once, and every label that goes with it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crossdock.label.v1 import label_pb2
from crossdock_adapters.fedex import adapter
from crossdock_adapters.sdk.outcomes import Reject
from fedex_world import SECOND_PACKAGE, World, fedex


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with fedex(tmp_path) as made:
        yield made


async def test_cancelling_twice_is_one_and_after_a_scan_none(world: World) -> None:
    """Proves that a repeated cancellation succeeds, and that a success which says "not cancelled"
    is a refusal."""
    await world.buy(world.packed())
    for _ in range(2):
        done = await adapter.void_label(world.voided(), world.client)
        assert [each.type for each in done.references] == ["voided_tracking_number"]
    assert world.books["shipments_cancelled"] == 1
    world.hub.stored.clear()
    await world.buy(world.packed("another"))
    await world.handed_over()
    with pytest.raises(Reject) as refused:
        await adapter.void_label(world.voided(), world.client)
    assert refused.value.code == "not_cancelled"


async def test_cancelling_one_package_tells_every_label_of_its_shipment(world: World) -> None:
    """Proves that the labels which FedEx cancels with that of the first package are void at the hub
    too, though the deliveries of the other packages may be dropped, that a label of another
    purchase stays, and that the void of a package whose label is void by then asks nothing."""
    first = await world.buy(world.packed(packages=2))
    await world.buy(world.packed("other"))
    numbers = [fact.label.tracking_number for fact in first.facts]  # type: ignore[attr-defined]
    assert len(numbers) == 2 and len(world.hub.stored) == 3
    done = await adapter.void_label(world.voided(), world.client)
    told = [fact.tracking_number for fact in done.facts]  # type: ignore[attr-defined]
    assert told == numbers
    assert [each.value for each in done.references] == numbers[:1]
    assert world.books["shipments_cancelled"] == 1
    for label in world.hub.stored[:2]:
        label.state = label_pb2.LABEL_STATE_VOIDED
    cancels = world.calls("cancel")
    again = await adapter.void_label(world.voided(SECOND_PACKAGE), world.client)
    assert [each.value for each in again.references] == numbers[1:]
    assert world.calls("cancel") == cancels


async def test_a_second_label_is_cancelled_though_the_first_one_is_void(world: World) -> None:
    """Proves that a package whose first label is void and whose second one the hub holds, so that
    its shipment alone has the number, has that one cancelled; and that the number of a label that
    the hub has as void needs no call."""
    await world.buy(world.packed())
    await adapter.void_label(world.voided(), world.client)
    (first,) = world.hub.stored
    first.state = label_pb2.LABEL_STATE_VOIDED
    second = (await world.buy(world.packed("again"))).references[0].value
    world.hub.stored.pop()
    void = world.voided()
    package = void.event.shipment.progress.add(package_id=void.item)
    for number, calls in ((first.tracking_number, 1), (second, 2)):
        package.tracking_number = number
        done = await adapter.void_label(void, world.client)
        assert [each.value for each in done.references] == [number]
        assert world.calls("cancel") == calls
    assert [fact.tracking_number for fact in done.facts] == [second]  # type: ignore[attr-defined]
    assert world.books["shipments_cancelled"] == 2


async def test_cancelled_before_is_known_by_tracking_too(tmp_path: Path) -> None:
    """Proves that an unknown word for "cancelled before" is no refusal when tracking says so."""
    async with fedex(tmp_path, already_cancelled_codes=["SOMETHING.ELSE"]) as world:
        await world.buy(world.packed())
        for _ in range(2):
            await adapter.void_label(world.voided(), world.client)
        assert world.books["shipments_cancelled"] == 1


async def test_nothing_bought_is_nothing_to_cancel(world: World) -> None:
    """Proves that a package without a label needs no call."""
    done = await adapter.void_label(world.voided(), world.client)
    assert (done.facts, world.calls("cancel")) == ((), 0)
