"""The simulated carrier's bills of lading: who may make one, what is in it, what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

UNIT_TYPES: Final = frozenset({
    "PAT", "SKD", "BOX", "CTN", "CRT", "DRM", "BDL", "ROL", "REL", "COL", "CYL", "TBN", "GLD",
    "INT", "PAL", "PCS", "LSE", "SLP", "BAG", "BAL", "BBL", "CAS", "TBE", "TRK", "UNT", "OTH",
    "MXD",
})  # fmt: skip
CLASSES: Final = frozenset({
    "50", "55", "60", "65", "70", "77.5", "85", "92.5", "100", "110", "125", "150", "175", "200",
    "250", "300", "400", "500",
})  # fmt: skip
COUNTRIES: Final = frozenset({"USA", "CAN", "MEX"})
_PICKUP: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}", re.ASCII)
_POSTAL_CODES: Final = {
    "USA": re.compile(r"\d{5}(-\d{4})?", re.ASCII),
    "CAN": re.compile(r"[A-Z]\d[A-Z]\d[A-Z]\d?", re.ASCII),
    "MEX": re.compile(r"\d{5}", re.ASCII),
}
BOOKED, CANCELLED, MOVING, DELIVERED = "booked", "cancelled", "moving", "delivered"


class Refusal(Exception):
    """The carrier says no: the HTTP status and its own code."""

    def __init__(self, status: int, code: str, message: str, resolution: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.resolution = resolution


@dataclass(slots=True)
class Bol:
    """One bill of lading. `city`, `state`: of its two ends."""

    pro: str
    shipment_id: str
    bol: str
    po: str
    units: int
    weight: int
    accessorials: list[str]
    origin: tuple[str, str]
    destination: tuple[str, str]
    made_at: datetime
    confirmation: str
    state: str = BOOKED
    events: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As the books show it."""
        return asdict(self)


class Bols:
    """All bills of lading by PRO; one that was cancelled still has its number."""

    def __init__(
        self, duplicate_code: str, unique_po: bool, range_: tuple[int, int] | None
    ) -> None:
        self.by_pro: dict[str, Bol] = {}
        self._duplicate_code = duplicate_code
        self._unique_po = unique_po
        self._range = range_

    def make(self, body: Any, now: datetime) -> Bol:
        """A new one. Refusal: it is not what the standard wants, or its PRO, or its purchase order
        where the carrier minds, is taken."""
        checked = _checked(body)
        numbers = checked["referenceNumbers"]
        pro = _text(numbers, "pro", "referenceNumbers")
        po = str((numbers.get("po") or [{}])[0].get("number", ""))
        alive = (each for each in self.by_pro.values() if each.state != CANCELLED)
        if self._unique_po and any(each.po == po for each in alive):
            raise Refusal(409, "1700", f"purchase order {po} has a bill of lading")
        if pro in self.by_pro:
            raise Refusal(409, self._duplicate_code, f"PRO {pro} is used already")
        if self._range is not None and not (
            pro.isdigit() and self._range[0] <= int(pro) <= self._range[1]
        ):
            raise Refusal(422, "500", f"PRO {pro} is not of your range")
        units = checked["commodities"]["handlingUnits"]
        bol = Bol(
            pro=pro,
            shipment_id=str(numbers.get("shipmentId", "")),
            bol=str((numbers.get("bol") or [""])[0]),
            po=po,
            units=sum(unit["count"] for unit in units),
            weight=sum(unit["weight"] for unit in units),
            accessorials=list(checked.get("accessorials", {}).get("codes", [])),
            origin=_place(checked["origin"]),
            destination=_place(checked["destination"]),
            made_at=now,
            confirmation=f"C{len(self.by_pro) + 1:07}",
        )
        self.by_pro[pro] = bol
        return bol

    def cancel(self, pro: str) -> Bol:
        """Refusal: there is none, it is cancelled already, or it was picked up."""
        bol = self.by_pro.get(pro)
        if bol is None or bol.state == CANCELLED:
            raise Refusal(404, "300", f"no bill of lading has PRO {pro}")
        if bol.state != BOOKED:
            raise Refusal(422, "500", f"PRO {pro} was picked up")
        bol.state = CANCELLED
        return bol


def _checked(body: Any) -> dict[str, Any]:
    """The request, looked at as the standard wants it."""
    if not isinstance(body, dict):
        raise Refusal(400, "400", "the request is no JSON object")
    for name in ("bol", "referenceNumbers", "payment", "commodities", "origin", "destination"):
        if not isinstance(body.get(name), dict):
            raise Refusal(400, "400", f"{name} is missing")
    if body.get("version") != "2.1.0":
        raise Refusal(400, "400", "version must be 2.1.0")
    if body["bol"].get("function") != "Create":
        raise Refusal(400, "400", "bol.function must be Create")
    if not _PICKUP.fullmatch(str(body["bol"].get("requestedPickupDate"))):
        raise Refusal(400, "400", "bol.requestedPickupDate must be YYYY-MM-DDTHH:mm:ss.sss")
    if body["payment"].get("terms") not in ("Prepaid", "Collect", "Third Party"):
        raise Refusal(422, "300", "payment.terms is none of Prepaid, Collect, Third Party")
    units = body["commodities"].get("handlingUnits")
    if not isinstance(units, list) or not units:
        raise Refusal(422, "300", "commodities.handlingUnits is empty")
    if not isinstance(body["commodities"].get("lineItems"), list):
        raise Refusal(400, "400", "commodities.lineItems is missing")
    for at, unit in enumerate(units):
        _check_unit(unit, f"commodities.handlingUnits[{at}]")
    for role in ("origin", "destination"):
        _check_party(body[role], role)
    return body


def _check_unit(unit: Mapping[str, Any], place: str) -> None:
    for name in ("count", "weight"):
        _whole(unit, name, place)
    for name in ("length", "width", "height"):
        if name in unit:
            _whole(unit, name, place)
    if unit.get("type") not in UNIT_TYPES:
        raise Refusal(422, "300", f"{place}.type is no handling unit code")
    if unit.get("weightUnit") not in ("Pounds", "Kilograms"):
        raise Refusal(422, "300", f"{place}.weightUnit is none of Pounds, Kilograms")
    items = unit.get("lineItems")
    if not isinstance(items, list) or not items:
        raise Refusal(422, "300", f"{place}.lineItems is empty")
    for at, item in enumerate(items):
        where = f"{place}.lineItems[{at}]"
        for name in ("pieces", "weight"):
            _whole(item, name, where)
        if not isinstance(item.get("stackable"), bool):
            raise Refusal(400, "400", f"{where}.stackable is missing")
        if item.get("classification") not in CLASSES:
            raise Refusal(422, "300", f"{where}.classification is no freight class")
        if item.get("packagingType") not in UNIT_TYPES:
            raise Refusal(422, "1100", f"{where}.packagingType is no packaging code")


def _check_party(party: Mapping[str, Any], role: str) -> None:
    for name in ("name", "address1", "city", "stateProvince", "postalCode"):
        _text(party, name, role)
    if party.get("country") not in COUNTRIES:
        raise Refusal(422, "300", f"{role}.country must be USA, CAN or MEX")
    if not _POSTAL_CODES[party["country"]].fullmatch(party["postalCode"]):
        raise Refusal(422, "300", f"{role}.postalCode is none of {party['country']}")
    phone = party.get("contact", {}).get("phone", "")
    if phone and (len(phone) != 10 or not phone.isdigit()):
        raise Refusal(422, "300", f"{role}.contact.phone must have ten digits")


def _whole(content: Mapping[str, Any], name: str, place: str) -> None:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise Refusal(422, "300", f"{place}.{name} must be a whole number above 0")


def _text(content: Mapping[str, Any], name: str, place: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(422, "300", f"{place}.{name} is missing")
    return value


def _place(party: Mapping[str, Any]) -> tuple[str, str]:
    return str(party["city"]).upper(), str(party["stateProvince"])
