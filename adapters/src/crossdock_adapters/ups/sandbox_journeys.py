"""How a simulated parcel travels: a seeded script of scans from hand-over to the doorstep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from crossdock_adapters.sdk.sandbox_parcels import RECEIVERS, Place

UNKNOWN_STATUS_CODE = "911"
UNKNOWN_PAIR_CODE = "QZ"


@dataclass(frozen=True, slots=True)
class Step:
    """One scan to come: the status as the vendor writes it and what is left out of it."""

    kind: str
    code: str
    status_code: str
    description: str
    place: Place
    shows_status_code: bool = True
    shows_gmt: bool = True
    received_by: str = ""


@dataclass(frozen=True, slots=True)
class Odds:
    """How often journeys are disturbed and scans incomplete, as shares between 0 and 1."""

    delay: float = 0.10
    attempt: float = 0.05
    clearance_contact: float = 0.03
    missing_status_code: float = 0.10
    missing_gmt: float = 0.10


HUB = Place("Louisville", "KY", "40213", "US", -300)


def label_step(origin: Place) -> Step:
    """The entry that exists as soon as a label is bought: data only, no parcel yet. Its location
    is the country alone, as real ones are."""
    nowhere = replace(origin, city="", state="", postal_code="")
    text = "Shipper created a label, UPS has not received the package yet. "
    return Step("M", "MP", "003", text, nowhere)


def void_step(origin: Place) -> Step:
    """The entry a voided label leaves behind."""
    nowhere = replace(origin, city="", state="", postal_code="")
    return Step("MV", "VP", "007", "Shipment information voided", nowhere)


def unknown_step(place: Place) -> Step:
    """A status that no code table lists."""
    return Step("I", UNKNOWN_PAIR_CODE, UNKNOWN_STATUS_CODE, "Drone relay hand-off", place)


def plan(random: Random, origin: Place, destination: Place, odds: Odds) -> tuple[Step, ...]:
    """All scans of one parcel in order; the same random state gives the same journey."""
    steps = [
        Step("I", "PU", "038", "Pickup Scan ", origin),
        Step("I", "OR", "005", "Origin Scan", origin),
        Step("I", "DP", "005", "Departed from Facility", origin),
        Step("I", "AR", "010", "Arrived at Facility", HUB),
    ]
    steps += _disturbance(random, odds)
    steps += [
        Step("I", "DP", "005", "Departed from Facility", HUB),
        Step("I", "DS", "010", "Destination Scan", destination),
        Step("I", "OD", "072", "Loaded on Delivery Vehicle ", destination),
        Step("I", "OT", "021", "Out For Delivery Today", destination),
    ]
    if random.random() < odds.attempt:
        text = "The receiver was not available; we will make a second attempt."
        steps.append(Step("X", "48", "022", text, destination))
        # Another code than the first time: at a compressed pace both may share one second.
        steps.append(Step("I", "OF", "021", "Out For Delivery Today", destination))
    receiver = random.choice(RECEIVERS)
    steps.append(Step("D", "FS", "011", "DELIVERED ", destination, received_by=receiver))
    return tuple(_thin(random, steps, odds))


def _disturbance(random: Random, odds: Odds) -> list[Step]:
    drawn = random.random()
    if drawn < odds.clearance_contact:
        text = "The receiver's clearance contact must be confirmed."
        contact = Step("X", "OT", "", text, HUB, shows_status_code=False)
        return [contact, Step("I", "UL", "010", "Processing at Facility", HUB)]
    if drawn < odds.clearance_contact + odds.delay:
        code, status, text = random.choice(
            (
                ("RH", "046", "A late trailer arrival has delayed delivery."),
                ("WX", "051", "Severe weather conditions have delayed delivery."),
            )
        )
        return [
            Step("X", code, status, text, HUB),
            Step("I", "UL", "010", "Processing at Facility", HUB),
        ]
    return []


def _thin(random: Random, steps: Sequence[Step], odds: Odds) -> list[Step]:
    """Leaves out what real replies leave out; the delivery itself stays complete."""
    thinned: list[Step] = []
    for step in steps:
        drops_status, drops_gmt = random.random(), random.random()
        if step.kind == "D":
            thinned.append(step)
            continue
        shows_status = step.shows_status_code and (
            step.kind != "I" or drops_status >= odds.missing_status_code
        )
        shows_gmt = drops_gmt >= odds.missing_gmt
        thinned.append(replace(step, shows_status_code=shows_status, shows_gmt=shows_gmt))
    return thinned
