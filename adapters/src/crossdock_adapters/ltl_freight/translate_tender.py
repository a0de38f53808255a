"""Load tenders (X12 204) as they go out, and the carrier's responses (990) as they come in; pure.

A tender is known by our reference, which the response repeats (B2-04, B1-02). The PRO that we give
it stands in a reference of its own. A 204 has no element for accessorials: they are notes (NTE) for
carriers that read them, and with others a shipment that needs one is not tendered.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2

from crossdock_adapters.ltl_freight import references, translate
from crossdock_adapters.ltl_freight.pro_numbers import plain
from crossdock_adapters.sdk import measures
from crossdock_adapters.sdk.outcomes import Untranslatable
from crossdock_adapters.sdk.x12.envelopes import TransactionSet, transaction_set
from crossdock_adapters.sdk.x12.segments import BAD_CODE, Delimiters, Segment, segment

# The oldest in which a 204 is what is written here; before it days had no century.
RELEASE: Final = "004010"
TENDER_ID, RESPONSE_ID = "204", "990"
TENDERS, RESPONSES = "SM", "GF"
ORIGINAL, CANCEL = "00", "01"
# What is done with an offer (data element 558). D is "cancelled" by the standard's word, and what
# most carriers decline with; E is "declined".
ACCEPTED: Final = "A"
DECLINED: Final = ("D", "E")
METHODS: Final[Mapping[str, str]] = {"Prepaid": "PP", "Collect": "CC", "Third Party": "TP"}
POUND: Final = Decimal(1)
MAX_NAME, MAX_LINE, MAX_CITY, MAX_REFERENCE = 60, 55, 30, 30
MAX_REASON: Final = 200
# NTE02, and how often a header may have the segment (204 of release 004010).
MAX_NOTE, MAX_NOTES = 80, 10
# Qualifiers: of dates (respond by, requested pick-up) and of references.
RESPOND_BY, PICK_UP = "64", "10"
MUST_RESPOND_BY, PICK_UP_TIME = "1", "Y"
BILL_OF_LADING, PURCHASE_ORDER = "BM", "PO"
LOAD, UNLOAD = "LD", "UL"


@dataclass(frozen=True, slots=True)
class TenderRules:
    """Whom the load is tendered to, how it is paid, and what is asked for beside plain freight.

    services: word of an order to accessorial code; notes: accessorials may be said as notes;
    unit: what a handling unit is called (data element 355); payer: who is named to be billed.
    """

    scac: str
    terms: str = "Prepaid"
    accessorials: Sequence[str] = ()
    services: Mapping[str, str] = field(default_factory=dict)
    special_instructions: str = ""
    notes: bool = False
    unit: str = "PL"
    payer: types_pb2.Party | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a 990 says of a tender. reason: the carrier's words, where it gives any; pro: the number
    that it will report and bill under, where it says one."""

    reference: str
    code: str
    reason: str = ""
    pro: str = ""


def tender(
    shipment: shipment_pb2.Shipment,
    reference: str,
    pro: str,
    respond_by: datetime,
    pick_up: date,
    rules: TenderRules,
    marks: Delimiters,
    number: str = "0001",
) -> TransactionSet:
    """The 204 that offers a shipment: load here, unload there. Untranslatable: it does not fit."""
    pounds = sum(
        (measures.weight_in(each.weight, "LBR", POUND) for each in shipment.packages), Decimal(0)
    )
    weight = measures.plain(pounds)

    def stop(
        place: int, reason: str, role: str, party: types_pb2.Party, *dates: Segment
    ) -> list[Segment]:
        units = str(len(shipment.packages)), rules.unit
        return [
            segment(marks, "S5", str(place), reason, weight, "L", *units),
            *dates,
            *_party(marks, role, party),
        ]

    until = f"{respond_by:%Y%m%d}", MUST_RESPOND_BY, f"{respond_by:%H%M}", "UT"
    try:
        body = [
            segment(marks, "B2", "", rules.scac, "", reference, "", METHODS[rules.terms]),
            segment(marks, "B2A", ORIGINAL),
            segment(marks, "L11", pro, references.CARRIER),
            *_reference(marks, shipment.number, BILL_OF_LADING),
            *_reference(marks, shipment.order_number, PURCHASE_ORDER),
            segment(marks, "G62", RESPOND_BY, *until),
            *_notes(marks, shipment.service_code, rules),
            *(_party(marks, "BT", rules.payer) if rules.payer is not None else ()),
            *stop(
                *(1, LOAD, "SF", shipment.ship_from),
                segment(marks, "G62", PICK_UP, f"{pick_up:%Y%m%d}"),
            ),
            *stop(2, UNLOAD, "ST", shipment.ship_to),
            segment(marks, "L3", weight, "G"),
        ]
    except ValueError as error:
        raise Untranslatable(f"a tender cannot say it: {error}") from error
    return transaction_set(marks, TENDER_ID, number, body)


def cancellation(
    reference: str, rules: TenderRules, marks: Delimiters, number: str = "0001"
) -> TransactionSet:
    """The 204 that takes a tender back. Its stops say where nothing any more: the standard has no
    204 without one (S5)."""
    body = [
        segment(marks, "B2", "", rules.scac, "", reference, "", METHODS[rules.terms]),
        segment(marks, "B2A", CANCEL),
        segment(marks, "S5", "1", LOAD),
        segment(marks, "S5", "2", UNLOAD),
    ]
    return transaction_set(marks, TENDER_ID, number, body)


def response(found: TransactionSet) -> Response:
    """What a 990 says. SegmentError: of no tender, or neither yes nor no."""
    head = next((each for each in found.body if each.id == "B1"), None)
    if head is None:
        raise found.header.lacks("B1")
    code = head.need(4).upper()
    if code not in (ACCEPTED, *DECLINED):
        # Conditional answers are partners' own: a person says what they are worth.
        raise head.error("is none of A, D and E", BAD_CODE, 4)
    # Releases that do not need the element leave the number to a reference.
    reference = head.text(2) or references.text(found.body, references.SHIPPER) or head.need(2)
    pro = plain(references.text(found.body, references.CARRIER))
    return Response(reference, code, _reason(head, found.body), pro[:MAX_REFERENCE])


def _reason(head: Segment, body: Sequence[Segment]) -> str:
    """Why, in the carrier's words (K1), else by its codes (B1-06, V9-08, V9-02)."""
    words = [each.text(element) for each in body if each.id == "K1" for element in (1, 2)]
    events = [each for each in body if each.id == "V9"]
    codes = [head.text(6), *(each.text(8) or each.text(2) for each in events)]
    told = [each for each in words if each] or [each for each in codes if each]
    return "; ".join(told)[:MAX_REASON]


def _reference(marks: Delimiters, value: str, qualifier: str) -> Sequence[Segment]:
    cleaned = marks.clean(value)
    if cleaned != value or len(value) > MAX_REFERENCE:
        raise Untranslatable(f"reference {value!r} cannot be said in X12")
    return [segment(marks, "L11", value, qualifier)] if value else []


def _notes(marks: Delimiters, service: str, rules: TenderRules) -> list[Segment]:
    """Accessorials and special instructions. Untranslatable: they may not, or do not, go in."""
    asked = translate.accessorials(service, rules.accessorials, rules.services)
    if asked and not rules.notes:
        raise Untranslatable(
            f"a tender has no element for {', '.join(asked)}: set tender_notes where the carrier "
            "reads notes (NTE), or book this shipment by an endpoint with booking = rest"
        )
    told = f"ACCESSORIALS {' '.join(asked)}" if asked else ""
    texts = [marks.clean(each) for each in (told, rules.special_instructions)]
    lines = [line for text in texts for line in textwrap.wrap(text, MAX_NOTE)]
    if len(lines) > MAX_NOTES:
        raise Untranslatable(
            f"special_instructions: at most {MAX_NOTES} notes of {MAX_NOTE} characters go into a "
            "tender, with the accessorials: shorten it"
        )
    return [segment(marks, "NTE", "", line) for line in lines]


def _party(marks: Delimiters, role: str, party: types_pb2.Party) -> list[Segment]:
    address = party.address
    name = marks.clean(party.company or party.name)[:MAX_NAME]
    lines = [marks.clean(line)[:MAX_LINE] for line in address.lines if line.strip()]
    state, code = marks.clean(address.state), marks.clean(address.postal_code)
    if not (name and lines and address.city and state and code):
        raise Untranslatable(f"{role}: a stop needs name, street, city, state and postal code")
    city = marks.clean(address.city)[:MAX_CITY]
    return [
        segment(marks, "N1", role, name),
        segment(marks, "N3", *lines[:2]),
        segment(marks, "N4", city, state, code, address.country_code),
    ]
