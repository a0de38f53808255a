"""The Canada Post adapter against the simulated Canada Post: labels, voids, refusals, scans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from canada_post_world import REFERENCE, SANDBOX_SETTINGS, World, label_of, running
from carrier_hub import check as fits_the_contract
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.canada_post import adapter, conformance
from crossdock_adapters.canada_post.adapter import ADAPTER
from crossdock_adapters.canada_post.sandbox import CanadaPostSandbox
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
)
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.work import HeldPayload
from sdk_waiting import until


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


def test_manifest_and_functions_agree() -> None:
    """Proves that every declared operation, look-up and poll is wired, and nothing else."""
    ADAPTER.check()
    assert ADAPTER.manifest.role == "CARRIER"


async def test_a_label_is_bought_under_our_reference(world: World) -> None:
    """Proves that the fact has number, image, price and reference, and the books one shipment."""
    label = await world.bought()
    (shipment,) = world.sandbox.books()["shipments"]
    assert world.sold()["tracking_numbers"] == [label.tracking_number]
    assert label.carrier_shipment_number == shipment["shipment_id"]
    assert label.image.startswith(b"^XA") and label.format == label_pb2.LABEL_FORMAT_ZPL
    assert label.price.currency == "CAD"
    with_tax = Decimal(shipment["price"]) * Decimal("1.13")
    assert Decimal(label.price.amount) == with_tax.quantize(Decimal("0.01"))
    assert label.purchase_reference == REFERENCE
    assert (shipment["group"], shipment["status"]) == ("S-2001", "created")


async def test_a_page_is_fetched_where_no_label_printer_is() -> None:
    """Proves that PDF on a page is asked for and told as what it is."""
    async with running(label_encoding="PDF", label_format="8.5x11") as world:
        label = await world.bought()
        assert label.image.startswith(b"%PDF-") and label.format == label_pb2.LABEL_FORMAT_PDF


async def test_each_package_is_a_shipment_of_its_own_in_one_group(world: World) -> None:
    """Proves that two packages are two shipments in the group of the shipment that they leave
    with."""
    await world.two_bought()
    made = world.sandbox.books()["shipments"]
    assert [(each["group"], each["weight"]) for each in made] == [
        ("S-2001", "1.9"),
        ("S-2001", "0.5"),
    ]


async def test_a_label_without_its_media_type_is_known_by_how_it_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a gateway which calls a label something else does not cost it."""
    monkeypatch.setattr("crossdock_adapters.canada_post.client.FORMATS", {})
    assert (await world.bought()).format == label_pb2.LABEL_FORMAT_ZPL


async def test_a_void_is_one_void_however_often_it_is_asked_for(world: World) -> None:
    """Proves that a shipment is voided by its id, and that a second void is the same one."""
    label = await world.bought()
    for _ in range(2):
        done = await adapter.void_label(world.voided(), world.client)
        (fact,) = done.facts
        fits_the_contract(fact)
        assert fact.tracking_number == label.tracking_number  # type: ignore[attr-defined]
    assert world.sold()["valid"] == 0
    assert sum(bool(call.effect) for call in world.sandbox.calls if call.operation == "void") == 1


async def test_a_void_of_the_wrong_number_is_no_void(world: World) -> None:
    """Proves that "not there" is "voided before" only where the parcel is not listed any more."""
    label = await world.bought()
    label.carrier_shipment_number = "999999999999999999"
    with pytest.raises(OutcomeUnknown, match="is listed"):
        await adapter.void_label(world.voided(), world.client)
    assert world.sold()["valid"] == 1


async def test_a_parcel_that_cannot_be_found_needs_a_person(world: World) -> None:
    """Proves that neither "voided" nor "refused" is said of a parcel that no search finds."""
    label = await world.bought()
    await adapter.void_label(world.voided(), world.client)
    label.carrier_shipment_number = ""
    with pytest.raises(NeedsPerson, match="is it voided"):
        await adapter.void_label(world.voided(), world.client)


async def test_without_a_shipment_number_the_parcel_is_searched_for(world: World) -> None:
    """Proves that a label of which the hub has the number alone is voided all the same."""
    label = await world.bought()
    label.carrier_shipment_number = ""
    await adapter.void_label(world.voided(), world.client)
    assert world.sold()["valid"] == 0


async def test_after_a_transmission_the_price_is_asked_for(world: World) -> None:
    """Proves that a transmitted shipment is refunded by ticket, and that asking twice is once."""
    await world.bought()
    await world.command("transmit")
    first = await adapter.void_label(world.voided(), world.client)
    assert [each.type for each in first.references] == ["voided_tracking_number", "refund_ticket"]
    again = await adapter.void_label(world.voided(), world.client)
    assert "had been asked for before" in again.note
    assert world.sandbox.books()["refunds"] == 1


async def test_shipments_without_a_manifest_are_transmitted_at_once() -> None:
    """Proves the other kind of customer: no group, and a refund is all that is left."""
    async with running(transmission="at_creation") as world:
        await world.bought()
        (shipment,) = world.sandbox.books()["shipments"]
        assert (shipment["group"], shipment["status"]) == ("", "transmitted")
        await adapter.void_label(world.voided(), world.client)
        assert world.sandbox.books()["refunds"] == 1


async def test_a_refund_without_an_address_needs_a_person() -> None:
    """Proves that nobody's address is made up: a person asks for the refund."""
    async with running(transmission="at_creation", refund_email="") as world:
        await world.bought()
        with pytest.raises(NeedsPerson, match="refund_email"):
            await adapter.void_label(world.voided(), world.client)


async def test_nothing_bought_is_nothing_to_void(world: World) -> None:
    """Proves that a package without a label is confirmed without a call."""
    done = await adapter.void_label(world.voided(), world.client)
    assert "nothing to void" in done.note and not world.sandbox.calls


async def test_too_many_calls_rest_as_long_as_a_key_is_blocked(world: World) -> None:
    """Proves that "Rejected by SLM Monitor", which says no time, is a minute's rest."""
    world.sandbox.faults.add({"kind": "throttle", "operation": "create", "count": 1})
    with pytest.raises(Throttled) as told:
        await adapter.buy_label(world.packed(), world.client)
    assert told.value.after_seconds == 60
    assert world.sandbox.books()["labels_sold"] == 0


@pytest.mark.parametrize(
    ("changes", "raised", "words"),
    [
        ({"api_password": "env:CANADA_POST_TEST_OTHER"}, Retry, "E002"),
        ({"customer_number": "0000000009"}, NeedsPerson, "AA003"),
        ({"mailed_on_behalf_of": "0000000009"}, NeedsPerson, "AA004"),
        ({"language": "de-DE"}, NeedsPerson, "406"),
        ({"paid_by": "1234567"}, Reject, "1702"),
        ({"options": ["SO", "LAD"]}, Reject, "3002"),
        ({"services": {"GROUND": "DOM.NONE"}}, Reject, "10028"),
        ({"cost_centre": "x", "contract_id": "not a number"}, Reject, "cvc-"),
    ],
)
async def test_refusals_are_told_as_what_they_are(
    changes: dict[str, Any], raised: type[Exception], words: str
) -> None:
    """Proves that keys, customers, versions, rules and schema are told apart by the table."""
    async with running(**changes) as world:
        with pytest.raises(raised, match=words):
            await adapter.buy_label(world.packed(), world.client)
        assert world.sandbox.books()["labels_sold"] == 0


@pytest.mark.parametrize("name", sorted(adapter.WORDS))
async def test_a_misspelt_setting_is_refused_before_anything_is_sent(name: str) -> None:
    """Proves that a word nobody knows is no other word: "manifests" would transmit at once."""
    misspelt: Any = {name: "manifests"}
    async with running(**misspelt) as world:
        with pytest.raises(SettingsError, match=f"{name} is 'manifests': give "):
            await adapter.connect(world.settings, world.secrets)


async def test_the_connection_test_needs_key_and_customer() -> None:
    """Proves that a wrong customer number is noticed before any work is taken."""
    async with running() as world:
        await world.client.test()
    async with running(customer_number="0000000009") as world:
        with pytest.raises(NeedsPerson, match="AA003"):
            await world.client.test()


async def test_a_journey_is_told_once_whatever_its_zeros(world: World) -> None:
    """Proves that scans polled again and again, with and without zeros in front, are told once,
    with a proof of delivery."""
    label = await world.bought()
    await world.command("transmit")
    await world.command("handover")
    await until(lambda: world.sandbox.books()["delivered"] == 1)
    for _ in range(3):
        await adapter.poll_tracking(world.poll(), world.client)
    steps = world.sandbox.books()["shipments"][0]["scans"]
    # Who signed is a scan of its own.
    assert world.hub.heard == 3 * (len(steps) + 1)
    assert len(world.hub.scans) == len(steps) + 1
    milestones = world.hub.milestones(label.tracking_number)
    assert milestones[0] == shipment_pb2.MILESTONE_CARRIER_ACCEPTED
    assert milestones[-1] == shipment_pb2.MILESTONE_DELIVERED
    (proof,) = world.hub.proofs.values()
    assert proof.delivery_confirmation.signed_by
    (delivered,) = [
        scan for scan in world.hub.scans.values()
        if scan.milestone == shipment_pb2.MILESTONE_DELIVERED
    ]  # fmt: skip
    assert delivered.event_time.utc_offset in ("-04:00", "-03:00")
    assert delivered.place.city == "HALIFAX" and delivered.place.country_code == "CA"


async def test_the_parcel_of_a_return_is_followed(world: World) -> None:
    """Proves that scans of a return's label, which a desk had sold, are told as of any other."""
    label = await world.bought()
    world.hub.give_back(label)
    await world.command("transmit")
    await world.command("handover")
    await until(lambda: world.sandbox.books()["delivered"] == 1)
    await adapter.poll_tracking(world.poll(), world.client)
    assert world.hub.milestones(label.tracking_number)[-1] == shipment_pb2.MILESTONE_DELIVERED


async def test_before_the_first_scan_there_is_nothing_to_tell(world: World) -> None:
    """Proves that "004" is no history yet: nothing is told, nothing held."""
    await world.bought()
    await adapter.poll_tracking(world.poll(), world.client)
    assert not world.hub.scans and not world.hub.held


async def test_what_cannot_be_read_is_held_and_read_again(world: World) -> None:
    """Proves that a broken scan is held with its place while the others are told, and that the
    held answer, given back when it can be read, becomes the same facts."""
    label = await world.bought()
    good = conformance.detail(
        conformance.occurrence("174", "11:05:00", "Item out for delivery"),
        conformance.occurrence("1402", "09:00:00", "Item accepted"),
    ).replace(conformance.PIN.encode(), label.tracking_number.encode())
    world.sandbox.show(label.tracking_number, good.replace(b"11:05:00", b"eleven"))
    await adapter.poll_tracking(world.poll(), world.client)
    ((_, reason),) = world.hub.held
    assert "/tracking-detail/significant-events/occurrence/event-time (line 2, column" in reason
    assert len(world.hub.scans) == 1
    held = HeldPayload("id", "poll:tracking", good, "application/xml", False)
    await adapter.translate_detail(world.poll(), held, world.client)
    assert len(world.hub.scans) == 2


async def test_an_answer_about_another_parcel_is_not_believed(world: World) -> None:
    """Proves that scans of a number that was not asked for are held, not told."""
    label = await world.bought()
    accepted = conformance.occurrence("1402", "09:00:00", "Item accepted")
    world.sandbox.show(label.tracking_number, conformance.detail(accepted))
    await adapter.poll_tracking(world.poll(), world.client)
    ((_, reason),) = world.hub.held
    assert reason.startswith("/tracking-detail/pin") and not world.hub.scans


async def test_the_vendors_books_outlive_its_process(tmp_path: Path) -> None:
    """Proves that a simulated Canada Post that is stopped and started again, as a developer's is,
    knows its shipments, their scans and what became of them."""
    settings = {**SANDBOX_SETTINGS, "auto_handover_seconds": 0}
    config = SandboxConfig(
        "canada-post", tick_seconds=0.01, settings=settings, state_file=tmp_path / "books"
    )
    async with CanadaPostSandbox(config) as sandbox:
        world = World(sandbox)
        label = await world.bought()
        await until(lambda: sandbox.books()["delivered"] == 1)
        before = sandbox.books()
        await world.client.close()
    async with CanadaPostSandbox(config) as sandbox:
        assert sandbox.books() == before
        world = World(sandbox)
        found = label_of(await adapter.find_label(world.packed(), world.client))
        await world.client.close()
    assert found.tracking_number == label.tracking_number
