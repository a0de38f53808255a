"""What leaves the dock is transmitted to Canada Post once, whatever becomes of an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from canada_post_world import World, running
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.canada_post import adapter, conformance, manifests, translate
from crossdock_adapters.canada_post.translate import ShipRules
from crossdock_adapters.sdk import vendor_xml
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import SettingsError

FIRST, SECOND = "OLPN-1", "OLPN-2"
MADE = ["P000000001"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


def manifest_numbers(done: Confirmed | NotFound) -> list[str]:
    assert isinstance(done, Confirmed)
    return [each.value for each in done.references if each.type == "manifest"]


def statuses(world: World) -> list[str]:
    return [each["status"] for each in world.sandbox.books()["shipments"]]


async def test_what_left_is_transmitted_and_its_manifest_made(world: World) -> None:
    """Proves that all parcels of a shipment are on one manifest, which was asked for, as it has to
    be to be made, and that its number and theirs are told."""
    labels = await world.two_bought()
    done = await adapter.close_manifest(world.left(FIRST, SECOND), world.client)
    assert manifest_numbers(done) == MADE
    assert all(label.tracking_number in done.note for label in labels)
    books = world.sandbox.books()
    ids = [each["shipment_id"] for each in books["shipments"]]
    assert books["manifests"] == {MADE[0]: ids} and books["manifests_made"] == MADE
    assert statuses(world) == ["transmitted", "transmitted"]


async def test_what_stays_on_the_dock_goes_with_the_next_departure(world: World) -> None:
    """Proves that a parcel which stays is not transmitted, can be voided until it leaves, and is
    transmitted with its own departure and once."""
    await world.two_bought()
    await adapter.close_manifest(world.left(SECOND), world.client)
    assert statuses(world) == ["created", "transmitted"]
    done = await adapter.close_manifest(world.left(FIRST, before=[SECOND]), world.client)
    assert manifest_numbers(done) == ["P000000002"]
    assert [len(each) for each in world.sandbox.books()["manifests"].values()] == [1, 1]


async def test_what_was_voided_before_it_was_transmitted_is_voided_and_not_refunded(
    world: World,
) -> None:
    """Proves that a shipment which the warehouse voids after it left, before Canada Post took its
    transmission, is never transmitted, also where nobody knew, so that each label is voided."""
    await world.two_bought()
    left = world.left(FIRST, SECOND)
    world.sandbox.faults.add({"kind": "error_before", "operation": "transmit", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.close_manifest(left, world.client)
    world.hub.voided.add(left.event.shipment.id)
    assert isinstance(await adapter.find_manifest(left, world.client), NotFound)
    done = await adapter.close_manifest(left, world.client)
    assert manifest_numbers(done) == [] and "nothing is transmitted" in done.note
    for item in (conformance.PACKAGE_ID, world.shipment().packages[1].id):
        voided = replace(world.voided(), item=item)
        assert (await adapter.void_label(voided, world.client)).note == "voided"
    books = world.sandbox.books()
    assert [each["voided"] for each in books["shipments"]] == [True, True]
    assert (books["manifests"], books["refunds"]) == ({}, 0)


async def test_what_was_transmitted_before_it_was_voided_is_refunded(world: World) -> None:
    """Proves that a void which comes after a transmission whose answer got lost changes nothing of
    it: the look-up finds it, and the price is asked back."""
    await world.two_bought()
    left = world.left(FIRST, SECOND)
    world.sandbox.faults.add({"kind": "reply_lost", "operation": "transmit", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.close_manifest(left, world.client)
    world.hub.voided.add(left.event.shipment.id)
    assert manifest_numbers(await adapter.find_manifest(left, world.client)) == MADE
    done = await adapter.void_label(world.voided(), world.client)
    assert done.note.startswith("transmitted already: refund asked for")
    assert world.sandbox.books()["refunds"] == 1


async def test_other_shipments_are_in_groups_of_their_own(world: World) -> None:
    """Proves that a departure takes no other shipment of its dock along."""
    other = conformance.shipment()
    other.number, other.id = "S-2002", world.shipment().id.replace("1", "7")
    work = world.packed("OTHER-REFERENCE")
    work.event.shipment.CopyFrom(other)
    await adapter.buy_label(work, world.client)
    await world.two_bought()
    await adapter.close_manifest(world.left(FIRST, SECOND), world.client)
    assert statuses(world) == ["created", "transmitted", "transmitted"]


@pytest.mark.parametrize("kind", ["reply_lost", "error_after"])
async def test_a_lost_answer_is_found_and_its_manifest_made(world: World, kind: str) -> None:
    """Proves that after an answer got lost the shipments say that they are transmitted, and that
    the manifest, which nobody had asked for, is made all the same; nothing is sent again."""
    await world.two_bought()
    world.sandbox.faults.add({"kind": kind, "operation": "transmit", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.close_manifest(world.left(FIRST, SECOND), world.client)
    assert world.sandbox.books()["manifests_made"] == []
    done = await adapter.find_manifest(world.left(FIRST, SECOND), world.client)
    assert manifest_numbers(done) == MADE
    assert world.sandbox.books()["manifests_made"] == MADE
    again = await adapter.close_manifest(world.left(FIRST, SECOND), world.client)
    assert manifest_numbers(again) == MADE and "transmitted before" in again.note
    assert list(world.sandbox.books()["manifests"]) == MADE


async def test_a_manifest_that_is_not_shown_is_no_reason_to_transmit_again(world: World) -> None:
    """Proves that whatever fails after the transmission is unknown, and found by the look-up."""
    await world.two_bought()
    world.sandbox.faults.add({"kind": "error_before", "operation": "manifest", "count": 1})
    with pytest.raises(OutcomeUnknown, match="transmitted, its manifest not seen"):
        await adapter.close_manifest(world.left(FIRST, SECOND), world.client)
    done = await adapter.find_manifest(world.left(FIRST, SECOND), world.client)
    assert manifest_numbers(done) == MADE


async def test_a_transmission_that_never_came_is_not_found(world: World) -> None:
    """Proves that a shipment which still waits proves that nothing was transmitted; half of them
    is not all of them."""
    numbers = [label.tracking_number for label in await world.two_bought()]
    done = await adapter.find_manifest(world.left(FIRST, SECOND), world.client)
    assert isinstance(done, NotFound) and done.note == f"{', '.join(numbers)} not transmitted"
    await adapter.close_manifest(world.left(SECOND), world.client)
    done = await adapter.find_manifest(world.left(FIRST, SECOND), world.client)
    assert isinstance(done, NotFound) and done.note == f"{numbers[0]} not transmitted"


async def test_trouble_is_never_not_found(world: World) -> None:
    """Proves that a look-up that fails says nothing, and that a shipment which Canada Post does not
    show is neither transmitted nor waiting."""
    await world.two_bought()
    world.sandbox.faults.add({"kind": "error_before", "operation": "get", "count": 1})
    with pytest.raises(Retry):
        await adapter.find_manifest(world.left(FIRST, SECOND), world.client)
    world.hub.stored[0].carrier_shipment_number = "999999999999999999"
    with pytest.raises(OutcomeUnknown, match="voided or transmitted"):
        await adapter.find_manifest(world.left(FIRST, SECOND), world.client)


async def test_a_group_that_is_not_there_waits_and_then_needs_a_person() -> None:
    """Proves that a parcel in another group is asked for again for a while, and that a person is
    told then which parcel to transmit by hand."""
    async with running(transmission="manifest", group="DAY") as world:
        labels = await world.two_bought()
        rules = replace(adapter.ship_rules(world.settings), transmission=translate.AT_DEPARTURE)
        work = world.left(FIRST, SECOND)
        with pytest.raises(Retry) as told:
            await manifests.close(work, world.client, rules)
        assert told.value.after_seconds == manifests.GROUP_PAUSE_SECONDS
        work = replace(work, attempt=manifests.ATTEMPTS_FOR_GROUP)
        with pytest.raises(NeedsPerson, match=labels[0].tracking_number):
            await manifests.close(work, world.client, rules)
        assert world.sandbox.books()["manifests"] == {}


@pytest.mark.parametrize("mode", ["at_creation", "manifest"])
async def test_other_ways_to_transmit_need_no_departure(mode: str) -> None:
    """Proves that nothing is sent where shipments are transmitted at creation, or by others."""
    async with running(transmission=mode) as world:
        await world.two_bought()
        calls = len(world.sandbox.calls)
        done = await adapter.close_manifest(world.left(FIRST, SECOND), world.client)
        assert not done.references and "transmi" in done.note
        assert len(world.sandbox.calls) == calls


async def test_labels_that_are_void_or_of_others_are_not_transmitted(world: World) -> None:
    """Proves that only valid labels that were bought here count; without one nothing is sent."""
    for label in await world.two_bought():
        label.state = label_pb2.LABEL_STATE_VOIDED
    calls = len(world.sandbox.calls)
    done = await adapter.close_manifest(world.left(FIRST, SECOND), world.client)
    assert "nothing to transmit" in done.note
    found = await adapter.find_manifest(world.left(FIRST, SECOND), world.client)
    assert isinstance(found, Confirmed) and "nothing to transmit" in found.note
    assert len(world.sandbox.calls) == calls


@pytest.mark.parametrize(
    ("changes", "raised", "words"),
    [
        ({"customer_number": "0000000009"}, NeedsPerson, "AA003"),
        ({"language": "de-DE"}, NeedsPerson, "406"),
        ({"api_password": "env:CANADA_POST_TEST_OTHER"}, Retry, "E002"),
        ({"shipping_point": "nowhere"}, Untranslatable, "postal code"),
    ],
)
async def test_refusals_are_told_as_what_they_are(
    world: World, changes: dict[str, Any], raised: type[Exception], words: str
) -> None:
    """Proves that what is refused is told by the table, and that nothing is transmitted then."""
    await world.two_bought()
    other = World(world.sandbox, **changes)
    other.hub = world.hub
    try:
        with pytest.raises(raised, match=words):
            await adapter.close_manifest(other.left(FIRST, SECOND), other.client)
    finally:
        await other.client.close()
    assert world.sandbox.books()["manifests"] == {}


async def test_a_document_that_breaks_the_schema_is_a_rejection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that the sandbox reads the whole document, and that its refusal is no unknown."""
    await world.two_bought()

    def strange(*_: object) -> bytes:
        content = {"group-ids": {"group-id": "S-2001"}, "when": "now"}
        made = vendor_xml.build("transmit-set", content, translate.MANIFEST_NAMESPACE)
        return vendor_xml.dumps(made)

    monkeypatch.setattr(translate, "transmit_document", strange)
    with pytest.raises(Reject, match="cvc-"):
        await adapter.close_manifest(world.left(FIRST, SECOND), world.client)


def test_each_shipment_has_a_group_that_fits() -> None:
    """Proves that the group is the shipment's number where it fits, else its id, never cut off; and
    that a group of many that does not fit is refused."""
    rules = ShipRules("0008880001")
    shipment = conformance.shipment()
    assert translate.group_of(shipment, rules) == "S-2001"
    shipment.number = "N" * 33
    assert translate.group_of(shipment, rules) == shipment.id.replace("-", "")
    assert len(translate.group_of(shipment, rules)) == 32
    assert translate.group_of(shipment, replace(rules, transmission="at_creation")) == ""
    by_hand = replace(rules, transmission="manifest")
    assert translate.group_of(shipment, by_hand) == "OTTAWA"
    assert translate.group_of(shipment, replace(by_hand, group="DAY")) == "DAY"
    shipment.ship_from_location_number = "OTTAWA-" * 5
    with pytest.raises(Untranslatable, match=r"group .* more than 32 characters; set group"):
        translate.group_of(shipment, by_hand)


def test_a_transmission_says_what_the_schema_wants() -> None:
    """Proves each element of the request: group, place, payment, the address that is printed, our
    number where it fits, and what is left out."""
    shipment: shipment_pb2.Shipment = conformance.shipment()
    rules = ShipRules("0008880001", collected=True, shipping_point="K2B 8J6")
    root = vendor_xml.loads(translate.transmit_document(shipment, ["111", "222"], rules))
    assert (root.name, root.namespace) == ("transmit-set", translate.MANIFEST_NAMESPACE)
    told = {child.name: child.text for child in root.children if not child.children}
    assert told == {
        "cpc-pickup-indicator": "true",
        "requested-shipping-point": "K2B8J6",
        "detailed-manifests": "true",
        "method-of-payment": "Account",
        "customer-reference": "S-2001",
    }
    assert root.text_of("group-ids/group-id") == "S-2001"
    assert root.text_of("manifest-address/manifest-company") == "Northwind Outfitters"
    assert root.text_of("manifest-address/address-details/postal-zip-code") == "K1A0B1"
    assert [each.text for each in root.all("excluded-shipments/shipment-id")] == ["111", "222"]
    shipment.number = "N" * 13
    root = vendor_xml.loads(translate.transmit_document(shipment, [], rules))
    assert root.find("customer-reference") is None and root.find("excluded-shipments") is None


async def test_a_group_belongs_to_one_way_to_transmit() -> None:
    """Proves that a group for many shipments is refused where each leaves for itself: it would not
    be used, and somebody might wait for it."""
    async with running(group="DAY") as world:
        with pytest.raises(SettingsError, match="group is given and transmission is at_departure"):
            await adapter.connect(world.settings, world.secrets)
