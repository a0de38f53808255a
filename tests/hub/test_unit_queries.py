"""ConvertQuantity over gRPC: what is said of the item, of every item, and everywhere."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from crossdock.client import HubClient
from crossdock.errors import (
    InvalidRequestError,
    NotFoundError,
    PreconditionError,
)
from crossdock.item.v1 import item_service_pb2
from crossdock.quantities import CONVERSIONS_MAX
from crossdock.unit.v1 import unit_service_pb2 as service_pb2
from crossdock_hub.objects import unit_rules
from crossdock_hub.objects.unit_rules import TooManyConversions
from fixtures_hub import Lane, RunningHub
from story import item_entry, request_id, unique

UP = service_pb2.QUANTITY_ROUNDING_UP
ORIGINS = service_pb2.ConversionOrigin
# Of which nobody else who writes to the shared hub says anything for every item.
CRATE, BASKET = "XCR", "XBK"


def said(item: str, from_unit: str, to_unit: str, numerator: str, denominator: str = "1") -> Any:
    """A unit conversion; item: a number, or "*" for every item."""
    entry = service_pb2.UnitConversionEntry(request_id=request_id())
    told = entry.unit_conversion
    told.number = f"{item}:{from_unit}:{to_unit}"
    if item != "*":
        told.item_number = item
        entry.update_mask.paths.append("item_number")
    told.from_unit, told.to_unit = from_unit, to_unit
    told.numerator, told.denominator = numerator, denominator
    entry.update_mask.paths.extend(("from_unit", "to_unit", "numerator", "denominator"))
    return entry


async def tell(erp: HubClient, *entries: Any) -> None:
    request = service_pb2.UpsertUnitConversionsRequest(entries=entries)
    answer = await erp.units.UpsertUnitConversions(request)
    assert not any(result.HasField("refusal") for result in answer.results), answer


async def ask(
    hub: HubClient, value: str, from_unit: str, to_unit: str, item: str = "", **options: Any
) -> Any:
    request = service_pb2.ConvertQuantityRequest(to_unit=to_unit, item_number=item, **options)
    request.quantity.value, request.quantity.unit = value, from_unit
    return await hub.units.ConvertQuantity(request)


async def new_item(erp: HubClient, suffix: str = "") -> str:
    number = unique("sku") + suffix
    request = item_service_pb2.UpsertItemsRequest(entries=[item_entry(number)])
    answer = await erp.items.UpsertItems(request)
    assert answer.results[0].created, answer
    return number


async def test_what_the_master_data_says_of_an_item_is_used(hub: RunningHub, lane: Lane) -> None:
    """Proves that packs, the table and both directions meet in one exact answer, with its rules."""
    async with hub.client(lane.erp) as erp, hub.client(lane.wms) as wms:
        sku = await new_item(erp)
        await tell(erp, said(sku, "PF", "CS", "40"), said(sku, "EA", "CS", "1", "12"))
        answer = await ask(wms, "2.5", "PF", "DZN", sku)
        assert (answer.quantity.value, answer.quantity.unit, answer.exact) == ("100", "DZN", True)
        assert (answer.numerator, answer.denominator) == ("40", "1")
        assert [(step.number, ORIGINS.Name(step.origin)) for step in answer.steps] == [
            (f"{sku}:PF:CS", "CONVERSION_ORIGIN_ITEM"),
            (f"{sku}:EA:CS", "CONVERSION_ORIGIN_ITEM"),
            ("", "CONVERSION_ORIGIN_STANDARD"),
        ]
        step = answer.steps[1]
        assert (step.from_unit, step.to_unit, step.numerator) == ("CS", "EA", "12")


async def test_the_item_goes_before_what_holds_for_every_item(hub: RunningHub, lane: Lane) -> None:
    """Proves that one item's tray of nine is nobody else's, and that others have the common one."""
    async with hub.client(lane.erp) as erp:
        mine, other = await new_item(erp), await new_item(erp)
        await tell(erp, said("*", "XTR", "EA", "6"), said(mine, "XTR", "EA", "9"))
        assert (await ask(erp, "2", "XTR", "EA", mine)).quantity.value == "18"
        assert (await ask(erp, "2", "XTR", "EA", other)).quantity.value == "12"
        assert (await ask(erp, "2", "XTR", "EA")).quantity.value == "12"


async def test_an_item_whose_number_begins_like_anothers_is_another(
    hub: RunningHub, lane: Lane
) -> None:
    """Proves that a colon in an item's number lends nobody its conversions."""
    async with hub.client(lane.erp) as erp:
        longer = await new_item(erp, ":A")
        shorter = longer.removesuffix(":A")
        request = item_service_pb2.UpsertItemsRequest(entries=[item_entry(shorter)])
        await erp.items.UpsertItems(request)
        await tell(erp, said(longer, CRATE, "EA", "7"))
        assert (await ask(erp, "1", CRATE, "EA", longer)).quantity.value == "7"
        with pytest.raises(PreconditionError):
            await ask(erp, "1", CRATE, "EA", shorter)


async def test_an_item_is_not_refused_for_its_variants(hub: RunningHub, lane: Lane) -> None:
    """Proves that conversions of items whose number goes on after a colon are no limit of the item,
    that none is written of an item beyond what anybody follows, and that those before it count."""
    async with hub.client(lane.erp) as erp:
        sku = await new_item(erp)
        variant = f"{sku}:A"
        request = item_service_pb2.UpsertItemsRequest(entries=[item_entry(variant)])
        await erp.items.UpsertItems(request)
        units = [f"{letter}{digit}" for letter in "ABCDEFGHIJK" for digit in range(10)]
        every = [said(variant, unit, "EA", "2") for unit in units]
        await tell(erp, *every[:CONVERSIONS_MAX])
        too_many = service_pb2.UpsertUnitConversionsRequest(entries=every[CONVERSIONS_MAX:])
        beyond = (await erp.units.UpsertUnitConversions(too_many)).results
        assert {each.refusal.reason for each in beyond} == {"LIMIT_EXCEEDED"}
        assert f"would have {CONVERSIONS_MAX + 1} unit conv" in beyond[0].refusal.message
        await tell(erp, said(sku, "CS", "EA", "12"))
        assert (await ask(erp, "1", "CS", "EA", sku)).quantity.value == "12"
        assert (await ask(erp, "1", "A0", "J9", variant)).quantity.value == "1"


def test_more_than_anybody_follows_is_no_rule() -> None:
    """Proves that what was stored of an item, or of every item, before their number was limited is
    not read in part."""
    units = [f"{letter}{digit}" for letter in "ABCDEFGHIJK" for digit in range(10)]
    for item, name in (("SKU-1", "item 'SKU-1' has 110"), ("*", "every item has 110")):
        many = [said(item, unit, "EA", "2").unit_conversion for unit in units]
        with pytest.raises(TooManyConversions, match=name):
            unit_rules.rules(many, "SKU-1")
        assert len(unit_rules.rules(many[:CONVERSIONS_MAX], "SKU-1")) == CONVERSIONS_MAX


async def test_what_has_no_exact_decimal_says_so(hub: RunningHub, lane: Lane) -> None:
    """Proves that nothing is rounded unasked: a fraction alone, or a rounded value that says so."""
    async with hub.client(lane.wms) as wms:
        answer = await ask(wms, "2", "EA", "DZN")
        assert not answer.HasField("quantity")
        assert not answer.exact
        assert (answer.numerator, answer.denominator) == ("1", "12")
        answer = await ask(wms, "2", "EA", "DZN", rounding=UP, digits=3)
        assert (answer.quantity.value, answer.exact) == ("0.167", False)
        answer = await ask(wms, "6", "EA", "DZN", rounding=UP, digits=3)
        assert (answer.quantity.value, answer.exact) == ("0.5", True)
        answer = await ask(wms, "-4.5", "EA", "EA")
        assert (answer.quantity.value, answer.exact, len(answer.steps)) == ("-4.5", True, 0)


async def test_what_nobody_says_is_not_guessed(hub: RunningHub, lane: Lane) -> None:
    """Proves that unknown units, contradictions and results too great are refused by name."""
    async with hub.client(lane.erp) as erp:
        sku = await new_item(erp)
        with pytest.raises(PreconditionError) as no:
            await ask(erp, "1", BASKET, "EA", sku)
        refusal = no.value.refusal
        assert refusal.reason == "UNITS_NOT_CONVERTIBLE"
        assert refusal.metadata == {"from_unit": BASKET, "to_unit": "EA", "item": sku}
        assert refusal.message.endswith(f"add a unit conversion for {sku}")
        await tell(erp, said(sku, BASKET, "XBL", "4"))
        await tell(erp, said("*", "XBL", "EA", "3"), said("*", BASKET, "EA", "10"))
        with pytest.raises(PreconditionError, match="is 10 EA, but one XBK is 12 EA over XBL"):
            await ask(erp, "1", BASKET, "EA", sku)
        with pytest.raises(PreconditionError, match="use a greater unit"):
            await ask(erp, "9" * 18, "TNE", "MGM", rounding=UP)
        assert not (await ask(erp, "9" * 18, "TNE", "MGM")).HasField("quantity")


async def test_an_item_that_nobody_knows_is_not_found(hub: RunningHub, lane: Lane) -> None:
    """Proves that a mistyped item is no item without conversions, and fields are checked."""
    async with hub.client(lane.erp) as erp:
        with pytest.raises(NotFoundError):
            await ask(erp, "1", "CS", "EA", unique("nothing"))
        with pytest.raises(InvalidRequestError):
            await ask(erp, "1", "CS", "each")
        with pytest.raises(InvalidRequestError):
            await ask(erp, "1.5 kg", "CS", "EA")


async def test_bags_and_pounds(hub: RunningHub, lane: Lane) -> None:
    """Proves that an item's bag of 25 kg is 25,000 grams, and that in pounds, of which a kilogram
    is no decimal number, it is told as a fraction only; that 7 pieces are no decimal part of a case
    of 12, and 480 are one pallet."""
    async with hub.client(lane.erp) as erp:
        sku = await new_item(erp)
        await tell(erp, said(sku, "BG", "KGM", "25"), said(sku, "PF", "CS", "40"))
        await tell(erp, said(sku, "CS", "EA", "12"))
        grams = await ask(erp, "1", "BG", "GRM", sku)
        assert (grams.quantity.value, grams.exact) == ("25000", True)
        pounds = await ask(erp, "1", "BG", "LBR", sku)
        assert not pounds.HasField("quantity") and not pounds.exact
        assert Fraction(int(pounds.numerator), int(pounds.denominator)) == 25 / Fraction(
            "0.45359237"
        )
        assert (await ask(erp, "1", "PF", "EA", sku)).quantity.value == "480"
        assert (await ask(erp, "480", "EA", "PF", sku)).quantity.value == "1"
        assert not (await ask(erp, "7", "EA", "CS", sku)).HasField("quantity")
