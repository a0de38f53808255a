"""From the alternative units of a product to unit conversions of the item: pure.

So many of an alternative unit (QuantityDenominator) are so many of the product's base unit
(QuantityNumerator): in the published metadata of A_ProductUnitsOfMeasure the first one's unit is
AlternativeUnit and the other one's BaseUnit. Both have five digits and no decimals, so that a rate
between two units of measure is often a rounded one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from crossdock.client import request_id
from crossdock.quantities import NotConvertible, conversion
from crossdock.unit.v1 import unit_pb2, unit_service_pb2

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.translate_facts import MAX_CODE, Row, UnitMeaning, unit_of, version
from crossdock_adapters.sdk.mappings import MAX_CODES, Topic, UnreadCodes
from crossdock_adapters.sdk.places import Unreadable, inside, pointer

NAVIGATION: Final = "to_ProductUnitsOfMeasure"
PATHS: Final = ("item_number", "from_unit", "to_unit", "numerator", "denominator")
# Of a number in a conversion of the contract.
MAX_DIGITS: Final = 18
# From here on, what a whole number was rounded from is within half a percent of it.
ROUNDED_FROM: Final = 100


@dataclass(frozen=True, slots=True)
class Packs:
    """The unit conversions of one product, and why others of its units are none."""

    entries: Sequence[unit_service_pb2.UnitConversionEntry]
    unread: Sequence[Unreadable]

    @property
    def codes(self) -> UnreadCodes | None:
        """The codes that have no row; a row for any of them is reason to read the product again.
        None: all have."""
        found = [code for each in self.unread if each.codes for code in each.codes.codes]
        return UnreadCodes(Topic.UNIT, tuple(dict.fromkeys(found))[:MAX_CODES]) if found else None


def packs_of(product: Row, etag: str, endpoint: str, unit: UnitMeaning) -> Packs:
    """What a product says of its alternative units. One that cannot be read stops no other; a
    product without the list says nothing. Unreadable: the list or the base unit is none."""
    number, base = odata.said(product, "Product"), unit_of(product, "BaseUnit", unit)
    # The base unit's own row, and another code for it, are no conversion, and no other quantity.
    said: dict[str, list[Fraction]] = {base: [Fraction(1)]}
    unread: list[Unreadable] = []
    for index, row in enumerate(_rows(product)):
        try:
            with inside(pointer(NAVIGATION, "results", index)):
                word = unit_of(row, "AlternativeUnit", unit)
                said.setdefault(word, []).append(_ratio(row, word, base))
        except Unreadable as problem:
            unread.append(problem)
    unread += _ambiguous(said, base)
    entries = [
        _entry(number, word, base, ratios[0], etag, endpoint)
        for word, ratios in said.items()
        if word != base and len(set(ratios)) == 1
    ]
    return Packs(entries, unread)


def _rows(product: Row) -> Sequence[Mapping[str, Any]]:
    listed = product.get(NAVIGATION)
    if listed is None or (isinstance(listed, Mapping) and "__deferred" in listed):
        return []
    found = odata.feed(listed)
    if found is None:
        raise Unreadable("is no list of units", pointer(NAVIGATION))
    return found


def _ratio(row: Row, word: str, base: str) -> Fraction:
    """How much of the base unit one alternative unit is: what the standard table says, where SAP
    says that as exactly as it can."""
    numerator, denominator = _count(row, "QuantityNumerator"), _count(row, "QuantityDenominator")
    said = Fraction(numerator, denominator)
    try:
        exact = conversion(word, base).ratio
    except NotConvertible:
        return said
    is_rounded = (numerator >= ROUNDED_FROM and round(exact * denominator) == numerator) or (
        denominator >= ROUNDED_FROM and round(numerator / exact) == denominator
    )
    return exact if is_rounded else said


def _count(row: Row, name: str) -> int:
    said = odata.said(row, name)
    try:
        value = odata.number(said)
    except ValueError:
        value = Decimal(0)
    if value <= 0 or value != value.to_integral_value() or value.adjusted() >= MAX_DIGITS:
        problem = f"{said[:MAX_CODE]!r} is no whole number greater than zero"
        raise Unreadable(f"{problem} of at most {MAX_DIGITS} digits", pointer(name))
    return int(value)


def _ambiguous(said: Mapping[str, Sequence[Fraction]], base: str) -> Iterable[Unreadable]:
    """Units that several codes mean, each another quantity: nobody knows which one it is."""
    for word, ratios in said.items():
        if len(set(ratios)) > 1:
            each = " and ".join(f"{ratio} {base}" for ratio in dict.fromkeys(ratios))
            yield Unreadable(
                f"several of its units mean {word}, which would be {each}: give one of the codes "
                "another meaning with crossdock map set sap UNIT CODE --means WORD --reason …",
                pointer(NAVIGATION),
            )


def _entry(
    item: str, word: str, base: str, ratio: Fraction, etag: str, endpoint: str
) -> unit_service_pb2.UnitConversionEntry:
    told = unit_pb2.UnitConversion(
        number=f"{item}:{word}:{base}", item_number=item, from_unit=word, to_unit=base,
        numerator=str(ratio.numerator), denominator=str(ratio.denominator),
    )  # fmt: skip
    entry = unit_service_pb2.UnitConversionEntry(unit_conversion=told)
    entry.update_mask.paths.extend(PATHS)
    entry.request_id = request_id(endpoint, f"unit_conversion/{told.number}", version(entry, etag))
    return entry
