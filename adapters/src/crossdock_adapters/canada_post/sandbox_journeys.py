"""How a simulated parcel travels, and how Canada Post writes its scans down, in local times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from .sandbox_documents import TRACK_NAMESPACE, ShipOrder, document

UNKNOWN_CODE = "9321"
SIGNATURE_CODE = "20"
ZONES = {
    "AB": "America/Edmonton", "BC": "America/Vancouver", "MB": "America/Winnipeg",
    "NB": "America/Halifax", "NL": "America/St_Johns", "NS": "America/Halifax",
    "NT": "America/Edmonton", "NU": "America/Toronto", "ON": "America/Toronto",
    "PE": "America/Halifax", "QC": "America/Toronto", "SK": "America/Regina",
    "YT": "America/Whitehorse",
}  # fmt: skip
DEFAULT_ZONE = "America/Toronto"
RECEIVERS = ("N. TREMBLAY", "A. SINGH", "RECEPTION", "M. MACLEOD", "J. LI")


@dataclass(frozen=True, slots=True)
class Step:
    """One scan to come. signatory: who signs; a scan of its own tells it, at the same time."""

    code: str
    description: str
    city: str
    province: str
    signatory: str = ""
    delivers: bool = False


@dataclass(frozen=True, slots=True)
class Odds:
    """How often journeys are disturbed, as shares between 0 and 1."""

    delay: float = 0.10
    collection: float = 0.10


def plan(random: Random, order: ShipOrder, odds: Odds) -> tuple[Step, ...]:
    """All scans of one parcel in order; the same random state gives the same journey."""
    origin = (order.sender_city.upper(), order.sender_province)
    there = (order.city.upper(), order.province)
    steps = [Step("1302", "Item accepted at the Post Office", *origin)]
    if random.random() < odds.delay:
        steps.append(Step("160", "Item delayed; please check again", *origin))
    steps.append(Step("174", "Item out for delivery", *there))
    if random.random() < odds.collection:
        text = "Notice card left indicating where and when to pick up item"
        steps.append(Step("1479", text, *there))
    receiver = random.choice(RECEIVERS)
    steps.append(Step("1496", "Item delivered", *there, receiver, True))
    return tuple(steps)


def unknown_step(step: Step) -> Step:
    """A scan with an identifier that no table lists."""
    return Step(UNKNOWN_CODE, "Item handed to a drone", step.city, step.province)


def detail(
    pin: str, scans: Sequence[tuple[datetime, Step]], order: ShipOrder, padded: bool
) -> bytes:
    """The answer of Get Tracking Details, newest scan first."""
    occurrences = [each for at, step in reversed(scans) for each in _occurrences(at, step, padded)]
    content = {
        "pin": pin,
        "active-exists": "1",
        "changed-expected-date": "",
        "destination-postal-id": "",
        "service-name": order.service,
        "customer-ref-1": order.request_id,
        "return-pin": "",
        "signature-image-exists": any(step.signatory for _, step in scans),
        "significant-events": {"occurrence": occurrences},
    }
    return document("tracking-detail", content, TRACK_NAMESPACE)


def _occurrences(at: datetime, step: Step, padded: bool) -> list[dict[str, Any]]:
    local = at.astimezone(ZoneInfo(ZONES.get(step.province, DEFAULT_ZONE)))
    told: dict[str, Any] = {
        "event-identifier": step.code.zfill(4) if padded else step.code,
        "event-date": f"{local:%Y-%m-%d}",
        "event-time": f"{local:%H:%M:%S}",
        "event-time-zone": local.tzname(),
        "event-description": step.description,
        "signatory-name": "",
        "event-site": step.city,
        "event-province": step.province,
        "event-retail-location-id": "",
        "event-retail-name": "",
    }
    if not step.signatory:
        return [told]
    signed = {
        **told,
        "event-identifier": SIGNATURE_CODE.zfill(4) if padded else SIGNATURE_CODE,
        "event-description": "Signature available",
        "signatory-name": step.signatory,
    }
    return [told, signed]
