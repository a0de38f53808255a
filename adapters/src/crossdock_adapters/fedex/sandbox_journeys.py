"""How a simulated FedEx parcel travels: a seeded script of scans from hand-over to the doorstep."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from crossdock_adapters.sdk.sandbox_parcels import RECEIVERS, Place

UNKNOWN_EVENT = "QZ"
HUB = Place("MEMPHIS", "TN", "38116", "US", -360)
# How a time is written: with its offset, without one, or as a day.
WITH_OFFSET, WITHOUT_OFFSET, DAY_ONLY = "offset", "local", "day"


@dataclass(frozen=True, slots=True)
class Step:
    """One scan to come, in the vendor's codes."""

    event: str
    derived: str
    description: str
    place: Place
    exception_code: str = ""
    exception: str = ""
    delay: str = ""
    written: str = WITH_OFFSET
    received_by: str = ""


@dataclass(frozen=True, slots=True)
class Odds:
    """How often journeys are disturbed and times incomplete, as shares between 0 and 1."""

    delay: float = 0.10
    attempt: float = 0.05
    missing_offset: float = 0.05
    day_only: float = 0.02


def plan(random: Random, origin: Place, destination: Place, odds: Odds) -> tuple[Step, ...]:
    """All scans of one parcel in order; the same random state gives the same journey."""
    steps = [
        Step("PU", "PU", "Picked up", origin),
        Step("DP", "IT", "Left FedEx origin facility", origin),
        Step("EA", "IT", "En route to airport", origin),
        Step("AR", "IT", "Arrived at FedEx hub", HUB),
    ]
    if random.random() < odds.delay:
        steps.append(Step("DY", "DY", "Delay", HUB, "", "Severe weather", "WEATHER"))
    steps += [
        Step("DP", "IT", "Departed FedEx hub", HUB),
        Step("FD", "IT", "At destination sort facility", destination),
        Step("OD", "IT", "On FedEx vehicle for delivery", destination),
    ]
    if random.random() < odds.attempt:
        closed = "Customer not available or business closed"
        steps.append(Step("DE", "DE", "Delivery exception", destination, "08", closed))
        steps.append(Step("AF", "IT", "At local FedEx facility", destination))
    receiver = random.choice(RECEIVERS)
    delivered = Step("DL", "DL", "Delivered", destination, received_by=receiver)
    return (*(_written(random, step, odds) for step in steps), delivered)


def unknown_step(place: Place) -> Step:
    """A status that no code table lists."""
    return Step(UNKNOWN_EVENT, "", "Drone relay hand-off", place)


def cancelled_step(place: Place) -> Step:
    """What a cancelled shipment shows."""
    return Step("CA", "CA", "Shipment cancelled by sender", place)


def _written(random: Random, step: Step, odds: Odds) -> Step:
    drawn = random.random()
    if drawn >= odds.missing_offset + odds.day_only:
        return step
    written = WITHOUT_OFFSET if drawn < odds.missing_offset else DAY_ONLY
    return Step(
        step.event,
        step.derived,
        step.description,
        step.place,
        step.exception_code,
        step.exception,
        step.delay,
        written,
    )
