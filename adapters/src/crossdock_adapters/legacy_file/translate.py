"""Between the contract and the rows of the ERP's files: pure functions, no clock, no disk.

Orders and goods issues become documents with a line for each of theirs; what the ERP says about
documents and lines becomes an outcome. Which letter and code means what is data, `answers.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_adapters.sdk.layout_files import Row
from crossdock_adapters.sdk.layout_values import Value
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    Reference,
    Reject,
    Untranslatable,
)

BOOK, CHANGE, TAKE_BACK = "I", "U", "D"
WHOLE_DOCUMENT: Final = 0
SPLIT_ADDRESS: Final = 2
MAX_SAID: Final = 5
RECEIPT_WORDS: Final = frozenset({"taken", "held", "again", "person"})
RESULT_WORDS: Final = frozenset({"accepted", "rejected", "along", "known", "person"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment decided. zone: of the ERP's days; None: unknown, days are left blank.

    units: unit code of the contract to the ERP's own. warehouses: location number to the ERP's own;
    a number that is not in it is the ERP's already.
    """

    sender: str
    receiver: str
    zone: ZoneInfo | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    warehouses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """What the ERP says about one line of a document; line 0 is the document as a whole."""

    line: int
    status: str
    code: str = ""
    text: str = ""
    erp_document: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """The table of answers: a word for each letter and code."""

    receipts: Mapping[str, str]
    results: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Document:
    """How one operation is said: in which file, by which action, as which rows, answered for which
    lines. kind: what the ERP's document is called as a reference."""

    layout: str
    action: str
    kind: str
    rows: Callable[[Any, str, str, Rules], list[Row]]
    lines: Callable[[Any], frozenset[int]]


def answers_table(text: str, source: str) -> Answers:
    """A checked table. ValueError names every row that has no known word or no source."""
    data = tomllib.loads(text)
    problems = []
    found: dict[str, dict[str, str]] = {"receipts": {}, "results": {}}
    for table, words in (("receipts", RECEIPT_WORDS), ("results", RESULT_WORDS)):
        for code, row in data.get(table, {}).items():
            if row.get("word") not in words or not row.get("source") or not row.get("meaning"):
                problems.append(
                    f"{table}.{code} needs meaning, source, and a word of {sorted(words)}"
                )
            found[table][code] = str(row.get("word"))
    if problems:
        raise ValueError(f"{source}: " + "; ".join(problems))
    return Answers(found["receipts"], found["results"])


def head(sequence: int, created: datetime, rules: Rules) -> Row:
    """The first record of a file; created: UTC, as its name says too."""
    said: dict[str, Value] = {
        "sequence": sequence,
        "created": created.astimezone(UTC).replace(tzinfo=None),
    }
    return Row("head", {**said, "sender": rules.sender, "receiver": rules.receiver})


def order_rows(event: Any, action: str, reference: str, rules: Rules) -> list[Row]:
    """A sales order in full; of a cancelled one the document alone."""
    order: order_pb2.Order = event.order
    document = Row(
        "document",
        {
            "reference": reference,
            "action": action,
            "document": order.number,
            "company": order.business_unit,
            "customer": order.customer_number,
            "customer_reference": order.customer_reference,
            "ordered": _day(order.order_time if order.HasField("order_time") else None, rules.zone),
            "promised": _promised(order, rules.zone),
            "carrier": order.carrier_code,
            "service": order.service_code,
            "currency": _currency(order),
        },
    )
    if action == TAKE_BACK:
        return [document]
    return [
        document,
        _ship_to(order.ship_to, reference),
        *(_order_line(line, reference, rules) for line in order.lines),
    ]


def issue_rows(event: Any, action: str, reference: str, rules: Rules) -> list[Row]:
    """What left with the shipment's last departure; of a voided one the document alone."""
    shipment: shipment_pb2.Shipment = event.shipment
    left = shipment.departures[-1] if shipment.departures else None
    moment = left.manifest_time if left else shipment.manifest_time
    document = Row(
        "document",
        {
            "reference": reference,
            "action": action,
            "document": issue_number(shipment, action),
            "order": shipment.order_number,
            "warehouse": rules.warehouses.get(
                shipment.ship_from_location_number, shipment.ship_from_location_number
            ),
            "shipped": _source_day(moment, rules.zone),
            "carrier": shipment.carrier_code,
            "service": shipment.service_code,
            "tracking_number": shipment.tracking_number,
            "bill_of_lading": (left.bill_of_lading if left else "") or shipment.bill_of_lading,
        },
    )
    if action == TAKE_BACK:
        return [document]
    packages = _packages_that_left(shipment)
    rows = [document, *(_package(each, shipment, reference) for each in packages)]
    for number, quantity in sorted(_shipped(shipment).items()):
        contents = [
            (package, content)
            for package in packages
            for content in package.contents
            if content.line_number == number
        ]
        rows += _issue_line(number, quantity, contents, reference, rules)
    return rows


def issue_number(shipment: shipment_pb2.Shipment, action: str) -> str:
    """The business key of a goods issue: each departure of a shipment has its own.

    A reversal names the shipment: it takes back all that left with it.
    """
    count = len(shipment.departures)
    return f"{shipment.number}-{count}" if action == BOOK and count > 1 else shipment.number


def _of_order(event: Any) -> frozenset[int]:
    return frozenset(line.line_number for line in event.order.lines)


def _of_issue(event: Any) -> frozenset[int]:
    return frozenset(_shipped(event.shipment))


def _whole(_: Any) -> frozenset[int]:
    return frozenset({WHOLE_DOCUMENT})


DOCUMENTS: Final[Mapping[str, Document]] = {
    "create_sales_order": Document("sales_orders", BOOK, "sales_order", order_rows, _of_order),
    "change_order": Document("sales_orders", CHANGE, "sales_order", order_rows, _of_order),
    "cancel_order": Document("sales_orders", TAKE_BACK, "sales_order", order_rows, _whole),
    "post_goods_issue": Document("goods_issues", BOOK, "goods_issue", issue_rows, _of_issue),
    "reverse_goods_issue": Document("goods_issues", TAKE_BACK, "reversal", issue_rows, _whole),
}


def verdict(
    document: Document, event: Any, said: Sequence[Said], answers: Answers
) -> Confirmed | None:
    """What the ERP's words about a document come to; None: it has not said enough yet.

    Raises Reject when it refused the whole, NeedsPerson when it did a part, contradicts itself, or
    says something that the table does not know.
    """
    words: dict[int, set[str]] = {}
    for each in said:
        words.setdefault(each.line, set()).add(_word(each, answers))
    lines = document.lines(event)
    if "person" in {word for found in words.values() for word in found}:
        raise NeedsPerson(f"the ERP cannot go on: {_told(said)}")
    settled = {line: _settled(line, found, said) for line, found in words.items()}
    whole = settled.pop(WHOLE_DOCUMENT, None)
    if whole is not None:
        settled = {**dict.fromkeys(lines, whole), **settled}
    if not lines <= set(settled):
        return None
    refused = sorted(line for line, accepted in settled.items() if not accepted)
    if not refused:
        return _confirmed(document, event, said)
    if len(refused) == len(settled):
        own = [each for each in said if _word(each, answers) == "rejected"] or list(said)
        first = next((each for each in own if each.code), own[0])
        raise Reject(first.code or first.status, _told([*own, *said]))
    numbers = ", ".join(map(str, refused))
    raise NeedsPerson(
        f"the ERP posted the document ({_number(said) or 'number unknown'}) without lines "
        f"{numbers}: {_told(said)}"
    )


def _word(said: Said, answers: Answers) -> str:
    """By its code where the table has it, else by its letter; what it has neither of is raised."""
    word = answers.results.get(said.code) or answers.results.get(said.status)
    if word is None:
        raise NeedsPerson(
            f"the ERP's status {said.status!r}, code {said.code!r} is not in the table of answers"
        )
    return word


def _settled(line: int, words: set[str], said: Sequence[Said]) -> bool:
    """Whether a line is posted: a repeated answer says the same, and what is known is posted."""
    posted, refused = words & {"accepted", "known"}, words & {"rejected", "along"}
    if posted and refused:
        raise NeedsPerson(f"the ERP accepted line {line} and refused it: {_told(said)}")
    return bool(posted)


def _confirmed(document: Document, event: Any, said: Sequence[Said]) -> Confirmed:
    number = _number(said)
    facts = []
    if document.action == BOOK and document.kind == "sales_order" and number:
        facts.append(sales_document(event.order.id, number))
    warnings = [each for each in said if each.code or each.text]
    references = [Reference(document.kind, number)] if number else []
    return Confirmed(references, facts, note=_told(warnings) if warnings else "")


def _number(said: Iterable[Said]) -> str:
    return next((each.erp_document for each in said if each.erp_document), "")


def _told(said: Sequence[Said]) -> str:
    """The ERP's own words, each once, the first few."""
    once = dict.fromkeys(
        f"line {each.line}: {each.code or each.status} {each.text}".strip() for each in said
    )
    more = f" and {len(once) - MAX_SAID} more" if len(once) > MAX_SAID else ""
    return "; ".join(list(once)[:MAX_SAID]) + more


def sales_document(order_id: str, number: str) -> order_service_pb2.UpdateOrderRequest:
    """The fact that the ERP booked the order under a number."""
    request = order_service_pb2.UpdateOrderRequest()
    request.order.id = order_id
    request.order.sales_document = number
    request.update_mask.paths.append("sales_document")
    return request


def _order_line(line: order_pb2.OrderLine, reference: str, rules: Rules) -> Row:
    warehouse = line.ship_from_location_number
    price = Decimal(line.unit_price.amount) if line.HasField("unit_price") else None
    return Row(
        "line",
        {
            "reference": reference,
            "line": line.line_number,
            "item": line.item_number,
            "quantity": Decimal(line.quantity.value),
            "unit": _unit(line.quantity.unit, rules),
            "warehouse": rules.warehouses.get(warehouse, warehouse),
            "price": price,
        },
    )


def _ship_to(party: types_pb2.Party, reference: str) -> Row:
    place = party.address
    lines = list(place.lines)
    return Row(
        "ship_to",
        {
            "reference": reference,
            "name": _one_line(party.name),
            "company": _one_line(party.company),
            "street": _one_line(" ".join(lines[: SPLIT_ADDRESS - 1])),
            "street_2": _one_line(" ".join(lines[SPLIT_ADDRESS - 1 :])),
            "city": _one_line(place.city),
            "state": _one_line(place.state),
            "postal_code": _one_line(place.postal_code),
            "country": place.country_code,
        },
    )


def _package(package: shipment_pb2.Package, shipment: shipment_pb2.Shipment, reference: str) -> Row:
    tracking = {entry.package_id: entry.tracking_number for entry in shipment.progress}
    return Row(
        "package",
        {
            "reference": reference,
            "package": package.number,
            "tracking_number": tracking.get(package.id, ""),
            "weight": Decimal(package.weight.value),
            "weight_unit": package.weight.unit,
        },
    )


def _issue_line(
    number: int,
    quantity: types_pb2.Quantity,
    contents: Sequence[tuple[shipment_pb2.Package, shipment_pb2.PackageContent]],
    reference: str,
    rules: Rules,
) -> list[Row]:
    if not contents:
        raise Untranslatable(f"line {number} left, and no package that left holds it")
    key: dict[str, Value] = {"reference": reference, "line": number}
    line: dict[str, Value] = {
        "item": contents[0][1].item_number,
        "quantity": Decimal(quantity.value),
        "unit": _unit(quantity.unit, rules),
    }
    rows = [Row("line", {**key, **line})]
    for package, content in contents:
        if not (content.lot or content.serial_numbers):
            continue
        detail: dict[str, Value] = {**key, "package": package.number, "lot": content.lot}
        serials = content.serial_numbers or [""]
        # A serial number is one piece; without them the quantity is the lot's.
        each = Decimal(1) if content.serial_numbers else Decimal(content.quantity.value)
        rows += [
            Row("detail", {**detail, "serial_number": serial, "quantity": each})
            for serial in serials
        ]
    return rows


def _shipped(shipment: shipment_pb2.Shipment) -> dict[int, types_pb2.Quantity]:
    """What left by line: the ship confirm's word, and without one what was packed."""
    rows: Iterable[Any] = (
        shipment.departures[-1].shipped
        if shipment.departures
        else (content for package in shipment.packages for content in package.contents)
    )
    found: dict[int, types_pb2.Quantity] = {}
    for row in rows:
        before = found.get(row.line_number)
        if before is not None and before.unit != row.quantity.unit:
            raise Untranslatable(f"line {row.line_number} left in two units")
        value = Decimal(row.quantity.value) + (Decimal(before.value) if before else Decimal(0))
        found[row.line_number] = types_pb2.Quantity(value=f"{value:f}", unit=row.quantity.unit)
    return {number: each for number, each in found.items() if Decimal(each.value)}


def _packages_that_left(shipment: shipment_pb2.Shipment) -> list[shipment_pb2.Package]:
    if not shipment.departures:
        return list(shipment.packages)
    left = set(shipment.departures[-1].package_numbers)
    return [package for package in shipment.packages if package.number in left]


def _currency(order: order_pb2.Order) -> str:
    codes = {line.unit_price.currency for line in order.lines if line.HasField("unit_price")}
    if len(codes) > 1:
        raise Untranslatable("a sales order has one currency here, this one has several")
    return codes.pop() if codes else ""


def _unit(unit: str, rules: Rules) -> str:
    if unit not in rules.units:
        raise Untranslatable(f"unit {unit!r} has no unit of the ERP in the setting units")
    return rules.units[unit]


def _promised(order: order_pb2.Order, zone: ZoneInfo | None) -> date | None:
    window = order.promised
    return _day(window.end if window.HasField("end") else None, zone)


def _day(moment: Timestamp | None, zone: ZoneInfo | None) -> date | None:
    """The ERP's day of a moment; without its zone, nobody knows which day it was there."""
    if moment is None or zone is None:
        return None
    instant: datetime = moment.ToDatetime(tzinfo=UTC)
    return instant.astimezone(zone).date()


def _source_day(moment: types_pb2.SourceTime, zone: ZoneInfo | None) -> date | None:
    """The ERP's day of a moment of the warehouse; else the day that the dock itself wrote."""
    if moment.HasField("instant") and zone is not None:
        return _day(moment.instant, zone)
    try:
        return date.fromisoformat(moment.local[:10])
    except ValueError:
        return None


def _one_line(text: str) -> str:
    return " ".join(text.split())
