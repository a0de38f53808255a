"""Translation between the contract and NetSuite holds for every order, weight and day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock.types.v1 import types_pb2
from crossdock_adapters.netsuite import translate
from crossdock_adapters.netsuite.translate import BookingRules, InternalIds, OpenLine
from crossdock_adapters.netsuite.translate_cancellation import cancellation
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.outcomes import Reject, Untranslatable
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

ZONE = ZoneInfo("America/Los_Angeles")
RULES = BookingRules(zone=ZONE)
ITEMS = {f"SKU-{n}": str(1000 + n) for n in range(10)}
IDS = InternalIds({"C-1": "77"}, ITEMS, {"WH-EAST": "5"})

decimals = st.decimals(
    min_value=Decimal("0.001"), max_value=Decimal("99999999"), places=3, allow_nan=False
)
line_numbers = st.lists(st.integers(1, 9999), min_size=1, max_size=12, unique=True)


def an_order(numbers: list[int], quantities: list[Decimal]) -> order_pb2.Order:
    order = order_pb2.Order(id="o", number="N", customer_number="C-1")
    order.ship_to.address.country_code = "US"
    for place, number in enumerate(numbers):
        line = order.lines.add(line_number=number, item_number=f"SKU-{place % 10}")
        line.quantity.value = format(quantities[place % len(quantities)], "f")
        line.quantity.unit = "EA"
        line.ship_from_location_number = "WH-EAST"
    return order


@given(line_numbers, st.lists(decimals, min_size=1, max_size=12))
def test_lines_keep_number_item_and_quantity(numbers: list[int], quantities: list[Decimal]) -> None:
    """Each line goes out with its number, its item's id and its exact quantity, as JSON too."""
    order = an_order(numbers, quantities)
    body = vendor_json.loads(vendor_json.dumps(translate.sales_order(order, IDS, RULES, "R")))
    for sent, line in zip(body["item"]["items"], order.lines, strict=True):
        assert sent["custcol_crossdock_line"] == line.line_number
        assert sent["item"]["id"] == ITEMS[line.item_number]
        assert Decimal(sent["quantity"]) == Decimal(line.quantity.value)


@given(line_numbers, st.data())
def test_what_is_packed_is_what_is_fulfilled(numbers: list[int], data: st.DataObject) -> None:
    """Over any split into packages, quantities per line add up and the rest is left open."""
    held = [
        OpenLine(
            key=900 + place, line_number=number, item_id=ITEMS[f"SKU-{place % 10}"], unit_id=""
        )
        for place, number in enumerate(numbers)
    ]
    shipment = shipment_pb2.Shipment(id="s", ship_from_location_number="WH-EAST")
    packed: dict[int, Decimal] = {}
    for package_number in range(data.draw(st.integers(1, 4))):
        package = shipment.packages.add(id=str(package_number), number=str(package_number))
        package.weight.value, package.weight.unit = "1", "KGM"
        for place in data.draw(st.lists(st.integers(0, len(numbers) - 1), min_size=1, max_size=5)):
            quantity = data.draw(decimals)
            content = package.contents.add(line_number=numbers[place], item_number="SKU-0")
            content.quantity.value, content.quantity.unit = format(quantity, "f"), "EA"
            packed[900 + place] = packed.get(900 + place, Decimal(0)) + quantity
    body = translate.item_fulfillment(shipment, held, IDS, RULES, "R", Timestamp())
    lines = body["item"]["items"]
    assert [line["orderLine"] for line in lines] == [line.key for line in held]
    for line in lines:
        if line["orderLine"] in packed:
            assert line["quantity"] == packed[line["orderLine"]]
            assert line["itemReceive"] is True
        else:
            assert line["itemReceive"] is False


GRAMS = {"KGM": "1000", "GRM": "1", "LBR": "453.59237", "ONZ": "28.349523125", "TNE": "1000000"}


@given(decimals, st.sampled_from(sorted(GRAMS)), st.integers(2, 6))
def test_pounds_are_the_exact_weight_rounded_once(value: Decimal, unit: str, places: int) -> None:
    """The error is at most half a unit in the last place, and pounds stay what they are."""
    weight = types_pb2.Quantity(value=format(value, "f"), unit=unit)
    exact = Fraction(value) * Fraction(GRAMS[unit]) / Fraction(GRAMS["LBR"])
    try:
        found = translate.pounds(weight, places)
    except Untranslatable:
        assert exact <= Fraction(1, 2 * 10**places)
        return
    assert abs(Fraction(found) - exact) <= Fraction(1, 2 * 10**places)
    if unit == "LBR" and places >= 3:
        assert found == value


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("1", "KGM", "2.2046"),
        ("453.59237", "GRM", "1.0000"),
        ("16", "ONZ", "1.0000"),
        ("0.00005", "LBR", None),
        ("0.00015", "LBR", "0.0002"),
        ("0.00025", "LBR", "0.0002"),
        ("0", "KGM", None),
        ("-1", "KGM", None),
        ("1", "H87", None),
        ("1", "LTR", None),
        ("NaN", "KGM", None),
        ("x", "KGM", None),
    ],
)
def test_known_weights(value: str, unit: str, expected: str | None) -> None:
    """Halves go to even; weights that are nothing, negative or no weight are refused."""
    weight = types_pb2.Quantity(value=value, unit=unit)
    if expected is None:
        with pytest.raises(Untranslatable):
            translate.pounds(weight, 4)
    else:
        assert translate.pounds(weight, 4) == Decimal(expected)


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2090, 1, 1)))
def test_the_accounting_day_is_the_accounts_own(moment: datetime) -> None:
    """Whatever the instant, the document is dated by the account's calendar."""
    instant = moment.replace(tzinfo=UTC, microsecond=0)
    when = types_pb2.SourceTime()
    when.instant.FromDatetime(instant)
    assert (
        translate.ship_day(when, Timestamp(), ZONE) == instant.astimezone(ZONE).date().isoformat()
    )


def test_a_day_without_an_instant_is_taken_as_written() -> None:
    """A local time of an unknown zone keeps its own day; no time at all takes the posting's."""
    posted = Timestamp()
    posted.FromDatetime(datetime(2026, 3, 6, 3, tzinfo=UTC))
    local = types_pb2.SourceTime(
        local="2026-03-09T23:30:00", zone=types_pb2.TIME_ZONE_SOURCE_UNKNOWN
    )
    assert translate.ship_day(local, posted, ZONE) == "2026-03-09"
    assert translate.ship_day(types_pb2.SourceTime(), posted, ZONE) == "2026-03-05"
    assert translate.ship_day(types_pb2.SourceTime(local="soon"), posted, ZONE) == "2026-03-05"


def content(item: str, unit: str = "EA") -> shipment_pb2.Shipment:
    shipment = shipment_pb2.Shipment(id="s", ship_from_location_number="WH-EAST")
    line = shipment.packages.add().contents.add(line_number=1, item_number=item)
    line.quantity.value, line.quantity.unit = "1", unit
    return shipment


def test_without_a_line_field_the_only_line_of_the_item_is_meant() -> None:
    """Two lines of one item without numbers cannot be told apart, and are not guessed."""
    one = [OpenLine(7, None, "1001", ""), OpenLine(8, None, "1002", "")]
    shipped = translate.shipped_by_line(content("SKU-1"), one, IDS, RULES)
    assert {key: [left.quantity for left in each] for key, each in shipped.items()} == {
        7: [Decimal(1)]
    }
    two = [OpenLine(7, None, "1001", ""), OpenLine(8, None, "1001", "")]
    for held in (two, []):
        with pytest.raises(Untranslatable, match="lines of the sales order"):
            translate.shipped_by_line(content("SKU-1"), held, IDS, RULES)


@pytest.mark.parametrize(
    ("shown", "refused"), [("5", True), ({"id": "5"}, True), ("1", False), (None, False)]
)
def test_a_line_in_another_unit_is_seen_however_it_is_written(shown: object, refused: bool) -> None:
    """Proves that units, which a line has as text, are compared with those of what left, and that
    the item's own stock unit, which has an id in NetSuite and none here, is no other one."""
    rules = BookingRules(zone=ZONE, line_units={"EA": "", "DZN": "5"})
    line = {"line": 1, "item": {"id": 1001}, "custcol_crossdock_line": 10, "units": shown}
    held = translate.open_lines({"item": {"items": [line]}}, rules)
    assert held[0].item_id == "1001"
    shipment = shipment_pb2.Shipment(id="s", ship_from_location_number="WH-EAST")
    content = shipment.packages.add(id="p", number="p").contents.add(
        line_number=10, item_number="SKU-1"
    )
    content.quantity.value, content.quantity.unit = "2", "EA"
    if refused:
        with pytest.raises(Untranslatable, match="another unit"):
            translate.shipped_by_line(shipment, held, IDS, rules)
    else:
        assert list(translate.shipped_by_line(shipment, held, IDS, rules)) == [1]


@pytest.mark.parametrize("shown", ["B", {"id": "B"}, {"id": "B", "refName": "Packed"}])
def test_an_enumeration_is_read_in_both_formats(shown: object) -> None:
    """Proves that a status which NetSuite writes as its id alone is that status, and not none."""
    assert translate.status_of({"shipStatus": shown}, "shipStatus") == "B"
    assert translate.status_of({"shipStatus": None}, "shipStatus") == ""


def test_units_without_a_mapping_and_mixed_currencies_are_refused() -> None:
    """Nothing is guessed about units or money."""
    with pytest.raises(Untranslatable, match="line_units"):
        translate.shipped_by_line(content("SKU-1", "CS"), [OpenLine(7, 1, "1001", "")], IDS, RULES)
    order = an_order([1, 2], [Decimal(1)])
    for line, currency in zip(order.lines, ("USD", "EUR"), strict=True):
        line.unit_price.amount, line.unit_price.currency = "1", currency
    with pytest.raises(Untranslatable, match="one currency"):
        translate.sales_order(order, IDS, BookingRules(ZONE, currencies={"USD": "1"}), "R")


def test_settings_decide_what_accounts_differ_in() -> None:
    """Subsidiary, currency, ship method, unit, status and field ids come from settings."""
    order = an_order([1], [Decimal("1.50")])
    order.business_unit, order.carrier_code, order.service_code = "retail", "UPS", "03"
    order.lines[0].unit_price.amount, order.lines[0].unit_price.currency = "2.50", "USD"
    rules = BookingRules(
        ZONE,
        line_field="",
        order_field="",
        approved_status="A",
        price_level="",
        line_units={"EA": "3"},
        ship_methods={"UPS/03": "41", "UPS": "40"},
        subsidiaries={"retail": "2"},
        currencies={"USD": "1"},
    )
    body = translate.sales_order(order, IDS, rules, "R")
    assert (body["subsidiary"], body["currency"]) == ({"id": "2"}, {"id": "1"})
    assert (body["shipMethod"], body["orderStatus"]) == ({"id": "41"}, {"id": "A"})
    (line,) = body["item"]["items"]
    assert line == {
        "item": {"id": "1000"},
        "quantity": Decimal("1.5"),
        "location": {"id": "5"},
        "units": "3",
        "rate": Decimal("2.5"),
    }


@given(st.text(alphabet="0123456789.-+eEnaNif", max_size=30))
def test_no_number_text_breaks_the_translation(text: str) -> None:
    """Any text is an exact decimal or refused."""
    try:
        found = translate.amount(text)
    except Untranslatable:
        return
    assert found.is_finite()


def test_address_lines_beyond_three_are_joined() -> None:
    """NetSuite has three address lines; the fourth is not lost."""
    party = types_pb2.Party(name="Pat", company="Doe Ltd")
    party.address.lines.extend(["a", "b", "c", "d"])
    written = translate.address(party)
    assert [written[f"addr{n}"] for n in (1, 2, 3)] == ["a", "b", "c, d"]
    assert (written["addressee"], written["attention"]) == ("Doe Ltd", "Pat")


def test_the_hour_before_midnight_belongs_to_its_own_day() -> None:
    """One second decides the day, in the account's zone."""
    midnight = datetime(2026, 7, 1, tzinfo=ZONE)
    days = []
    for moment in (midnight - timedelta(seconds=1), midnight):
        when = types_pb2.SourceTime()
        when.instant.FromDatetime(moment.astimezone(UTC))
        days.append(translate.ship_day(when, Timestamp(), ZONE))
    assert days == ["2026-06-30", "2026-07-01"]


def test_a_package_without_a_label_gets_no_other_parcels_number() -> None:
    """The shipment's number stands for a package only where there is no other package."""
    shipment = shipment_pb2.Shipment(id="s", tracking_number="1Z1")
    for number in ("1", "2"):
        package = shipment.packages.add(id=number, number=number)
        package.weight.value, package.weight.unit = "1", "KGM"
    shipment.progress.add(package_id="1", tracking_number="1Z1")
    first, second = translate.packages(shipment, RULES)
    assert first["packageTrackingNumber"] == "1Z1"
    assert "packageTrackingNumber" not in second
    del shipment.packages[1], shipment.progress[:]
    (alone,) = translate.packages(shipment, RULES)
    assert alone["packageTrackingNumber"] == "1Z1"


def a_sales_order(*lines: object, status: str = "B") -> dict[str, object]:
    return {"tranId": "SO1", "orderStatus": {"id": status}, "item": {"items": list(lines)}}


def test_an_order_of_which_not_all_lines_are_told_is_nobodys_guess() -> None:
    """Proves that a page of an order's lines is neither shipped, which would ship the others whole,
    nor closed, which would leave the others open."""
    for told in ({"hasMore": True}, {"totalResults": 2}):
        record: Any = a_sales_order({"line": 1, "quantity": 1})
        assert len(translate.open_lines(record, RULES)) == 1
        record["item"] |= told
        with pytest.raises(Untranslatable, match="of them at once"):
            translate.open_lines(record, RULES)
        with pytest.raises(Untranslatable, match="of them at once"):
            cancellation(record, "")


def test_what_left_of_an_order_is_not_cancelled_by_whoever_closed_the_rest() -> None:
    """Proves that an order of which something moved is refused, closed or not, that one which was
    cancelled already is done, and that one without lines, or with a broken one, is neither."""
    left = {"line": 1, "quantity": 10, "quantityFulfilled": 4, "isClosed": True}
    untouched = {"line": 1, "quantity": 10, "quantityFulfilled": 0, "isClosed": False}
    with pytest.raises(Reject, match="line 1 of sales order SO1"):
        cancellation(a_sales_order(left), "")
    assert cancellation(a_sales_order(untouched | {"isClosed": True}), "") == {}
    assert cancellation(a_sales_order(untouched, status="C"), "") == {}
    with pytest.raises(Reject, match="line 1 of sales order SO1"):
        cancellation(a_sales_order({"line": 1, "quantityPicked": 1}), "C")
    assert cancellation(a_sales_order(untouched), "C") == {"orderStatus": {"id": "C"}}
    assert cancellation(a_sales_order(untouched, status="C"), "C") == {}
    closed = {"item": {"items": [{"line": 1, "isClosed": True}]}}
    assert cancellation(a_sales_order(untouched), "") == closed
    for broken in ([], [None], [{"quantity": 1}]):
        with pytest.raises(Untranslatable):
            cancellation(a_sales_order(*broken), "")
