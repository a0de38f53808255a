"""Master data comes from NetSuite whole, once, resumably, and with only the ERP's own fields."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from crossdock import contracts
from crossdock.customer.v1 import customer_pb2
from crossdock.item.v1 import item_pb2
from crossdock_adapters.netsuite import (
    adapter,
    master_data_sweep,
    statuses,
    translate_master_data,
)
from crossdock_adapters.netsuite.adapter import ADAPTER
from crossdock_adapters.netsuite.client import NetSuiteClient
from crossdock_adapters.netsuite.master_data_sweep import Cursor, Position, Sweep
from crossdock_adapters.netsuite.translate_master_data import MasterDataRules
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.manifest import ManifestError
from crossdock_adapters.sdk.mappings import (
    Code,
    Mappings,
    Meaning,
    Told,
    Topic,
    UnreadCodes,
    file_of,
)
from crossdock_adapters.sdk.outcomes import Retry
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.work import HeldPayload
from hypothesis import given
from hypothesis import strategies as st
from netsuite_account import Account, running_account
from netsuite_hub import HubNotebook, settings_for

PAYLOADS = Path(__file__).parent / "payloads" / "netsuite"
ZONE = ZoneInfo("America/Los_Angeles")
ROWS = file_of("crossdock_adapters.netsuite")
RULES = MasterDataRules("netsuite", Mappings(ROWS), base_units={"1": "EA"})
moments = st.datetimes(
    min_value=datetime(2020, 1, 1), max_value=datetime(2035, 1, 1), timezones=st.just(UTC)
)


def rows(name: str) -> list[dict[str, str]]:
    """Rows of a SuiteQL answer as the client hands them on."""
    items = json.loads((PAYLOADS / f"suiteql_{name}.json").read_text())["items"]
    return [{key: value for key, value in item.items() if key != "links"} for item in items]


def test_items_become_items() -> None:
    """A recorded page: weight, dimensions, hazard, status; Oracle's '.5' is 0.5."""
    columns = ADAPTER.manifest.settings["item_columns"].default
    plain, hazardous, inactive = [
        translate_master_data.complete(
            translate_master_data.item_entry(row, RULES), "item", row, columns, RULES
        )
        for row in rows("items")
    ]
    item = plain.item  # type: ignore[union-attr]
    assert (item.number, item.base_unit, item.weight.value, item.weight.unit) == (
        "TENT-2P",
        "EA",
        "0.5",
        "LBR",
    )
    assert item.HasField("hazardous_material") and not item.hazardous_material.hazardous
    assert hazardous.item.hazardous_material.un_number == "UN3480"  # type: ignore[union-attr]
    assert inactive.item.status == item_pb2.ITEM_STATUS_INACTIVE  # type: ignore[union-attr]
    assert [(r.system, r.type, r.value) for r in plain.references] == [("netsuite", "item", "1205")]
    assert "listing" not in plain.update_mask.paths and "measured" not in plain.update_mask.paths


def test_masks_hold_only_fields_the_erp_owns() -> None:
    """No mask path of any table belongs to another role or to the hub."""
    contract = contracts.load()
    for kind, message in (
        ("item", "crossdock.item.v1.Item"),
        ("customer", "crossdock.customer.v1.Customer"),
        ("location", "crossdock.location.v1.Location"),
        ("unit_conversion", "crossdock.unit.v1.UnitConversion"),
    ):
        paths = set(translate_master_data._FIELDS[kind])
        assert not paths & set(contract.foreign_fields(message, "ERP"))


def test_customers_become_customers() -> None:
    """Credit hold is a row of the mapping service; without a code NetSuite checks each order."""
    told = [
        row | ({"credit_hold": ""} if row.get("credit_hold") == "LATER" else {})
        for row in rows("customers")
    ]
    made = [translate_master_data.customer_entry(row, RULES).customer for row in told]
    assert [customer.credit_status for customer in made] == [
        customer_pb2.CREDIT_STATUS_REVIEW,
        customer_pb2.CREDIT_STATUS_HOLD,
        customer_pb2.CREDIT_STATUS_REVIEW,
        customer_pb2.CREDIT_STATUS_HOLD,
    ]
    assert [customer.credit_status_code for customer in made] == ["AUTO", "ON", "", "inactive"]
    assert made[0].credit_limit.amount == "25000"


def test_a_code_of_credit_without_a_row_is_not_guessed() -> None:
    """Proves that a customer whose code of credit has no row waits for one, by code, and is read by
    it once a deployment says what the code means."""
    (row,) = (row for row in rows("customers") if row.get("credit_hold") == "LATER")
    with pytest.raises(Unreadable, match="map set netsuite CREDIT_STATUS") as waits:
        translate_master_data.customer_entry(row, RULES)
    assert waits.value.codes == UnreadCodes(Topic.CREDIT_STATUS, (Code("", "LATER"),))
    said = Mappings(ROWS)
    said.replace(
        [*said.of_file(), Told("CREDIT_STATUS", Code("", "LATER"), Meaning("PREPAID"), True, 1)]
    )
    found = translate_master_data.customer_entry(row, MasterDataRules("netsuite", said)).customer
    assert found.credit_status == customer_pb2.CREDIT_STATUS_PREPAID
    assert found.credit_status_code == "LATER"


def test_a_column_the_account_lacks_is_left_alone() -> None:
    """Without a hazard column the mask does not name the hazard, so nothing is cleared."""
    columns = {"number", "description", "inactive"}
    row = {"id": "1", "number": "A", "description": "x"}
    entry = translate_master_data.complete(
        translate_master_data.item_entry(row, RULES), "item", row, columns, RULES
    )
    assert list(entry.update_mask.paths) == ["description", "status", "status_code"]


def test_a_customer_has_its_currency_where_the_account_has_a_column_for_it() -> None:
    """Proves that the ISO code is told and in the mask, that a currency's name is refused with its
    place, and that without the column nothing is said of the currency."""
    row = {"id": "7", "number": "CUST-2001", "currency": "EUR"}
    columns = {"number", "currency"}
    entry = translate_master_data.complete(
        translate_master_data.customer_entry(row, RULES), "customer", row, columns, RULES
    )
    assert entry.customer.currency == "EUR"  # type: ignore[union-attr]
    assert list(entry.update_mask.paths) == ["currency"]
    with pytest.raises(Unreadable, match="/currency"):
        translate_master_data.customer_entry({**row, "currency": "US Dollar"}, RULES)
    silent = translate_master_data.customer_entry({"id": "7", "number": "CUST-2001"}, RULES)
    assert not silent.customer.HasField("currency")


@pytest.mark.parametrize(
    "row",
    [
        {"id": "1"},
        {"id": "1", "number": "A", "weight": "2"},
        {"id": "1", "number": "A", "weight": "heavy", "weight_unit": "lb"},
        {"id": "1", "number": "A", "unit": "Fathom"},
        {"id": "1", "number": "A", "hazardous": "T", "un_number": "3480"},
    ],
)
def test_rows_that_say_nothing_sure_are_refused(row: dict[str, str]) -> None:
    """A missing number, an unknown unit, a malformed hazard: held, not guessed."""
    with pytest.raises(Unreadable):
        translate_master_data.item_entry(row, RULES)


def test_request_ids_follow_the_version() -> None:
    """The same row has the same id; a later change, or other content, has another."""

    def id_of(**changes: str) -> str:
        row = {"id": "1", "number": "A", "modified": "2026-01-01 10:00:00", **changes}
        entry = translate_master_data.item_entry(row, RULES)
        return translate_master_data.complete(entry, "item", row, ["number"], RULES).request_id

    assert id_of() == id_of()
    assert len({id_of(), id_of(modified="2026-01-01 10:00:01"), id_of(description="new")}) == 3


@given(moments, st.floats(0, 500_000), st.floats(0, 90_000), st.floats(0, 1))
def test_no_moment_since_shows_an_earlier_wall_clock(
    since: datetime, span: float, extra: float, share: float
) -> None:
    """Also across the hour that repeats in autumn, the filter is early enough."""
    now = since + timedelta(seconds=span + extra)
    changed = since + share * (now - since)
    start = master_data_sweep.since_wall_clock(since, now, ZONE)
    shown = changed.astimezone(ZONE).replace(tzinfo=None)
    assert shown.strftime(master_data_sweep.WALL_CLOCK) >= start


def test_the_repeated_hour_of_autumn_is_covered() -> None:
    """01:30 before the clock goes back: a change at 01:10 after it is still asked for."""
    since = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    now = datetime(2026, 11, 1, 9, 20, tzinfo=UTC)
    assert master_data_sweep.since_wall_clock(since, now, ZONE) == "2026-11-01 00:30:00"


@given(
    st.dictionaries(
        st.sampled_from(["item", "customer", "location"]),
        st.builds(
            Position,
            st.none() | moments,
            st.none() | st.builds(Sweep, st.sampled_from(["", "2026-01-01 00:00:00"]), moments),
        ),
    )
)
def test_cursors_survive_being_kept(positions: dict[str, Position]) -> None:
    """What the hub keeps decodes to what was meant."""
    cursor = Cursor(positions)
    assert master_data_sweep.decode(cursor.encode().encode()) == cursor
    assert master_data_sweep.decode(b"") == Cursor()


class Place:
    """An account, a client and a hub for one test."""

    def __init__(self, account: Account, vendor: NetSuiteClient, **given_settings: Any) -> None:
        self.account, self.vendor, self.hub = account, vendor, HubNotebook()
        self.settings, _ = settings_for(account, **given_settings)

    async def pull(self) -> None:
        await adapter.pull_master_data(self.hub.poll(self.settings), self.vendor)

    def queries(self) -> int:
        return sum(call.operation == "suiteql" for call in self.account.sandbox.calls)


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with running_account(tmp_path) as account:
        vendor = await adapter.connect(*settings_for(account))
        try:
            yield Place(account, vendor, master_data_page=5)
        finally:
            await vendor.close()


@pytest.mark.asyncio
async def test_a_pull_brings_everything_once(place: Place) -> None:
    """Paged by five, each record of each table reaches the hub exactly once."""
    await place.pull()
    known = {kind: len(entries) for kind, entries in place.hub.known.items()}
    assert known == {"location": 2, "customer": 12, "unit_conversion": 3, "item": 24}
    assert set(place.hub.request_ids.values()) == {1}
    assert place.hub.held == []
    east = place.hub.known["location"]["WH-EAST"].location
    assert (east.address.address.city, east.address.address.country_code) == ("Edison", "US")
    case = place.hub.known["unit_conversion"]["*:CS:EA"].unit_conversion
    assert (case.numerator, case.denominator) == ("24", "1")
    hazard = place.hub.known["item"]["SKU-1006"].item.hazardous_material
    assert (hazard.hazardous, hazard.un_number) == (True, "UN3480")


@pytest.mark.asyncio
async def test_what_is_pulled_holds_to_the_contract(place: Place) -> None:
    """Every entry, and the object in it, passes the contract's own rules."""
    contract = contracts.load()
    await place.pull()
    for kind, entries in place.hub.known.items():
        for entry in entries.values():
            for message in (entry, getattr(entry, kind)):
                name = message.DESCRIPTOR.full_name
                assert contract.validate(name, message.SerializeToString()) == []


@pytest.mark.asyncio
async def test_the_next_pull_brings_what_changed(place: Place) -> None:
    """An unchanged account costs one query a table; a changed item comes again, under a new id."""
    await place.pull()
    before, ids = place.queries(), dict(place.hub.request_ids)
    await place.account.sandbox.commands()["change_master_data"](
        {"type": "item", "number": "SKU-1002", "fields": {"displayname": "Blue mug"}}
    )
    await place.pull()
    assert place.queries() - before == 4
    assert place.hub.known["item"]["SKU-1002"].item.description == "Blue mug"
    new = set(place.hub.request_ids) - set(ids)
    assert len(new) == 1


@pytest.mark.asyncio
async def test_an_interrupted_pull_goes_on_where_it_was(place: Place) -> None:
    """After a failure in the middle the cursor resumes the sweep: nothing is skipped."""
    place.account.fault("error_before", operation="suiteql", rate=0.4)
    for _ in range(60):
        try:
            await place.pull()
            break
        except Retry:
            continue
    known = {kind: len(entries) for kind, entries in place.hub.known.items()}
    assert known == {"location": 2, "customer": 12, "unit_conversion": 3, "item": 24}
    # Only the table without a date of change is read whole by every run.
    whole = {entry.request_id for entry in place.hub.known["unit_conversion"].values()}
    again = {name for name, count in place.hub.request_ids.items() if count > 1}
    assert again <= whole, "a page that was stored is not sent again"


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["poison", "unbearable"])
async def test_one_bad_row_costs_no_other(place: Place, way: str) -> None:
    """A refused row is held raw with its reason; its neighbours arrive, and it is held once."""
    getattr(place.hub, way).add("SKU-1003")
    await place.pull()
    await place.pull()
    assert len(place.hub.known["item"]) == 23
    assert len({key for _, _, key in place.hub.held}) == 1
    payload, reason, key = place.hub.held[0]
    assert b"SKU-1003" in payload and key.startswith("item/") and reason.startswith("item:")


@pytest.mark.asyncio
async def test_an_untranslatable_row_is_held(place: Place) -> None:
    """A unit nobody mapped holds the item and says which unit."""
    await place.account.sandbox.commands()["change_master_data"](
        {"type": "item", "number": "SKU-1004", "fields": {"stockunit": "Fathom"}}
    )
    await place.pull()
    ((_, reason, _),) = place.hub.held
    assert "Fathom" in reason
    assert "SKU-1004" not in place.hub.known["item"]


@pytest.mark.asyncio
async def test_a_held_row_is_read_anew_once_its_unit_has_a_row(place: Place) -> None:
    """Proves that an operator's row ends the wait, and that nothing old is told: the record comes
    as it is now, and one that is gone, or of nobody knows which table, does no harm."""
    change = place.account.sandbox.commands()["change_master_data"]
    await change({"type": "item", "number": "SKU-1004", "fields": {"stockunit": "Fathom"}})
    await place.pull()
    ((payload, _, _),) = place.hub.held
    await change({"type": "item", "number": "SKU-1004", "fields": {"displayname": "Newer"}})
    row = Told(Topic.UNIT, Code("", "Fathom"), Meaning("AK"), by_deployment=True)
    poll = place.hub.poll(place.settings)

    async def drive(text: bytes) -> None:
        held = HeldPayload("", "poll:master_data", text, "application/json", asked=True)
        await adapter.read_anew(poll, held, place.vendor)

    await drive(payload)
    assert len(place.hub.held) == 2 and "SKU-1004" not in place.hub.known["item"]
    ADAPTER.mappings.replace([*ADAPTER.mappings.of_file(), row])
    try:
        await drive(payload)
    finally:
        ADAPTER.mappings.replace(ADAPTER.mappings.of_file())
    item = place.hub.known["item"]["SKU-1004"].item
    assert (item.base_unit, item.description) == ("AK", "Newer")
    await drive(vendor_json.dumps({"table": "item", "id": "99999999"}))
    assert len(place.hub.held) == 2
    for strange in (vendor_json.dumps({"id": "1", "number": "SKU-1004"}), payload[:40], b"[]"):
        await drive(strange)
        assert place.hub.held[-1][0] == strange and "which record" in place.hub.held[-1][1]


def test_what_the_setting_says_of_a_unit_goes_before_its_row() -> None:
    """Proves the order, and that weights have a list of their own: NetSuite's g is no unit name."""
    rules = MasterDataRules("netsuite", Mappings(ROWS), units={"Each": "H87"})
    assert (rules.unit("Each", "/unit"), rules.unit("Case", "/unit")) == ("H87", "CS")
    assert rules.unit("g", "/weight_unit", "weight") == "GRM"
    with pytest.raises(Unreadable, match="'g' has no row"):
        rules.unit("g", "/unit")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('[ship_status]\nA = { word = "gone", meaning = "x", source = "s" }', "ship_status A"),
        ('[ship_status]\nA = { word = "open", meaning = "x", source = "-" }', "source must be"),
        ("[order_status]", r"\[order_status\] is no table"),
    ],
)
def test_a_wrong_row_of_a_status_is_named(row: str, problem: str) -> None:
    """Proves that a code without a word of ours or a source stops the start, by its name."""
    with pytest.raises(ManifestError, match=problem):
        statuses.read(f'[sources]\ns = "the schema"\n{row}\n')
