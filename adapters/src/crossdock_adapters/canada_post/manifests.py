"""Transmits what has left the dock, so that its labels become paid mail, and has the manifest made.

Each shipment of the hub has a group of its own at Canada Post. Its departure transmits that group,
but for the parcels that stay; the next departure transmits those. Nothing is transmitted twice: a
shipment that was is in no group any more. One that the warehouse voided meanwhile is not sent:
what is not can be voided, and of what is the price has to be asked back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_pb2

from crossdock_adapters.canada_post import translate
from crossdock_adapters.canada_post.client import (
    CREATED,
    EMPTY_MANIFEST,
    TRANSMITTED,
    CanadaPostClient,
    ShipmentInfo,
)
from crossdock_adapters.canada_post.translate import ShipRules
from crossdock_adapters.sdk.carrier_reports import MAX_LABELS_OF_A_SHIPMENT
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Retry,
    VendorOutcome,
)
from crossdock_adapters.sdk.voided_shipments import is_voided
from crossdock_adapters.sdk.work import Work

# Manifests that a look-up asks for, newest first, to have its own one made.
MANIFESTS_ASKED_MAX = 50
# Parcels that a reason names.
NAMED_MAX = 10
# So often a group that Canada Post does not know yet is asked for again, so far apart.
ATTEMPTS_FOR_GROUP = 10
GROUP_PAUSE_SECONDS = 30.0
# Canada Post's days are those of its own zone, behind UTC; and work may wait over midnight.
DAYS_LOOKED_BACK = 2
VOIDED_BEFORE = (
    "voided by the warehouse before it was transmitted: nothing is transmitted, and void_label can "
    "still void it, which costs nothing"
)
OTHERWISE = {
    translate.AT_CREATION: "transmitted when it was made: nothing to transmit",
    translate.MANIFEST: "transmission is manifest: its group is transmitted elsewhere",
}


@dataclass(frozen=True, slots=True)
class Leaving:
    """Of one departure, the labels that were bought here: of what left, and of what stays."""

    left: Sequence[label_pb2.Label]
    staying: Sequence[label_pb2.Label]


async def close(work: Work, vendor: CanadaPostClient, rules: ShipRules) -> Confirmed:
    """Transmits what left with the last departure of a shipment."""
    if rules.transmission in OTHERWISE:
        return Confirmed(note=OTHERWISE[rules.transmission])
    leaving = await _leaving(work)
    if not leaving.left:
        return Confirmed(note="no label of what left was bought here: nothing to transmit")
    if await is_voided(work):
        return Confirmed(note=VOIDED_BEFORE)
    staying = [label.carrier_shipment_number for label in leaving.staying]
    document = translate.transmit_document(work.event.shipment, staying, rules)
    links = await vendor.transmit(document)
    if links is None:
        return await _transmitted_before(work, vendor, leaving)
    if not links:
        raise OutcomeUnknown("Canada Post takes the transmission and names no manifest")
    try:
        numbers = [await vendor.manifest(link) for link in links]
    except VendorOutcome as outcome:
        wish: float = getattr(outcome, "after_seconds", 0.0)
        said = f"transmitted, its manifest not seen: {outcome.reason}"
        raise OutcomeUnknown(said, wish) from outcome
    if EMPTY_MANIFEST in numbers:
        raise OutcomeUnknown("Canada Post takes the transmission, and its manifest is empty")
    return Confirmed(_references(numbers), note=f"transmitted {_named(_pins(leaving.left))}")


async def find(work: Work, vendor: CanadaPostClient) -> Confirmed | NotFound:
    """Whether what left is transmitted, as each of its shipments says of itself."""
    leaving = await _leaving(work)
    if not leaving.left:
        return Confirmed(note="no label of what left is valid any more: nothing to transmit")
    found = await _shown(vendor, leaving.left)
    waiting = [info.tracking_pin for info in found if info.status == CREATED]
    if waiting:
        return NotFound(f"{_named(waiting)} not transmitted")
    return await _confirmed(vendor, leaving.left, found)


async def _transmitted_before(work: Work, vendor: CanadaPostClient, leaving: Leaving) -> Confirmed:
    """What it means that there is nothing to transmit: that it was done, by us or by somebody; or
    that the group cannot be seen yet; or that a shipment waits in another one."""
    found = await _shown(vendor, leaving.left)
    waiting = [info.tracking_pin for info in found if info.status == CREATED]
    if not waiting:
        return await _confirmed(vendor, leaving.left, found)
    if work.attempt < ATTEMPTS_FOR_GROUP:
        raise Retry(GROUP_PAUSE_SECONDS, f"Canada Post shows no group of {_named(waiting)} yet")
    raise NeedsPerson(
        f"{_named(waiting)} left and waits in no group of this shipment: it was bought under "
        "another setting of transmission or group; transmit its group at Canada Post"
    )


async def _leaving(work: Work) -> Leaving:
    shipment: shipment_pb2.Shipment = work.event.shipment
    request = label_service_pb2.ListLabelsRequest(
        page_size=MAX_LABELS_OF_A_SHIPMENT, shipment_id=shipment.id
    )
    listed = (await work.hub.labels.ListLabels(request)).labels
    carrier = work.settings.text("carrier_code")
    ours = [
        label
        for label in listed
        if label.carrier_code == carrier
        and label.carrier_shipment_number
        and label.state != label_pb2.LABEL_STATE_VOIDED
    ]
    gone = _departed(shipment)
    return Leaving(
        [label for label in ours if label.package_id in gone[-1]],
        [label for label in ours if not any(label.package_id in each for each in gone)],
    )


def _departed(shipment: shipment_pb2.Shipment) -> list[set[str]]:
    """Ids of the packages of each departure, oldest first."""
    ids = {package.number: package.id for package in shipment.packages}
    departures = [
        {ids[number] for number in each.package_numbers if number in ids}
        for each in shipment.departures
    ]
    return departures or [set(ids.values())]


async def _shown(vendor: CanadaPostClient, labels: Sequence[label_pb2.Label]) -> list[ShipmentInfo]:
    """The shipments of labels as Canada Post shows them now. OutcomeUnknown: it shows one not."""
    found = []
    for label in labels:
        info = await vendor.shipment(label.carrier_shipment_number)
        if info is None:
            raise OutcomeUnknown(
                f"Canada Post shows no shipment {label.carrier_shipment_number} of parcel "
                f"{label.tracking_number}: look there whether it was voided or transmitted"
            )
        found.append(info)
    return found


async def _confirmed(
    vendor: CanadaPostClient, labels: Sequence[label_pb2.Label], found: Sequence[ShipmentInfo]
) -> Confirmed:
    """Proof that all of them are transmitted, once their manifests are made."""
    strange = [info for info in found if info.status != TRANSMITTED]
    if strange:
        told = _named([f"{e.tracking_pin} is {e.status or 'without a status'}" for e in strange])
        raise NeedsPerson(f"what left is not all transmitted: {told}; see to it at Canada Post")
    numbers = sorted({info.manifest for info in found if info.manifest})
    missing = set(numbers)
    day = (datetime.now(UTC) - timedelta(days=DAYS_LOOKED_BACK)).date()
    links = await vendor.manifests_since(day) if missing else []
    for link in reversed(links[-MANIFESTS_ASKED_MAX:]):
        missing.discard(await vendor.manifest(link))
        if not missing:
            break
    unseen = f"; manifest {', '.join(sorted(missing))} not seen" if missing else ""
    if not numbers:
        unseen = "; which manifest it is on, Canada Post does not say"
    said = f"{_named(_pins(labels))} transmitted before{unseen}"
    return Confirmed(_references(numbers), note=said)


def _named(numbers: Sequence[str]) -> str:
    """The first of them: what follows in a sentence must not be cut off."""
    more = len(numbers) - NAMED_MAX
    return ", ".join(numbers[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _pins(labels: Sequence[label_pb2.Label]) -> list[str]:
    return [label.tracking_number for label in labels]


def _references(numbers: Sequence[str]) -> list[Reference]:
    """One of a type each: two of one type would be two transmissions of the same thing. Parcels
    that differ in who pays come on manifests of their own."""
    types = ["manifest", *(f"manifest_{place}" for place in range(2, len(numbers) + 1))]
    return [Reference(*pair) for pair in zip(types, numbers, strict=False)]
