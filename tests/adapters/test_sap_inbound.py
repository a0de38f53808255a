"""What SAP tells: business events that carry keys, delta polling, and what waits for a mapping."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import pytest_asyncio
from crossdock.customer.v1 import customer_service_pb2
from crossdock.errors import NotFoundError, Refusal
from crossdock.item.v1 import item_pb2, item_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock_adapters.sap import (
    adapter,
    conformance,
    inbound,
    sandbox_odata,
    translate_facts,
)
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry
from crossdock_adapters.sdk.places import Unreadable
from crossdock_adapters.sdk.settings import SettingsError
from crossdock_adapters.sdk.work import HeldPayload, Poll, Webhook
from sap_world import Desk, approved, running

KEYS = {"Product": "Product", "SalesOrder": "SalesOrder"}


class Notebook:
    """A hub that keeps what it is told of items, customers and one order."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self.request_ids: set[str] = set()
        self.held: list[tuple[bytes, str, str]] = []
        self.codes: list[Any] = []
        self.cursor = b""
        self.order = order_pb2.Order(id=conformance.ORDER_ID, number="SO-1")
        self.updates: list[order_service_pb2.UpdateOrderRequest] = []
        self.items = SimpleNamespace(UpsertItems=self._items)
        self.customers = SimpleNamespace(UpsertCustomers=self._customers)
        self.orders = SimpleNamespace(GetOrder=self._get, UpdateOrder=self._update)

    def poll(self, desk: Desk) -> Poll:
        async def put(cursor: bytes) -> None:
            self.cursor = cursor

        return Poll("changes", "sap", self.cursor, desk.settings, self._hub(), put, self._hold)

    def hook(self, desk: Desk, body: bytes) -> Webhook:
        return Webhook(
            "/sap/events", "sap", body, {}, {}, desk.settings, None, self._hub(), self._hold
        )

    def _hub(self) -> Any:
        return self

    async def _hold(
        self, payload: bytes, content_type: str, reason: str, key: str, codes: Any = None
    ) -> None:
        self.held.append((payload, reason, key))
        self.codes.append(codes)

    async def _items(self, request: Any) -> Any:
        (entry,) = request.entries
        self.entries[entry.item.number] = entry.item
        self.request_ids.add(entry.request_id)
        return item_service_pb2.UpsertItemsResponse(results=[item_service_pb2.ItemResult()])

    async def _customers(self, request: Any) -> Any:
        (entry,) = request.entries
        self.entries[entry.customer.number] = entry.customer
        self.request_ids.add(entry.request_id)
        results = [customer_service_pb2.CustomerResult()]
        return customer_service_pb2.UpsertCustomersResponse(results=results)

    async def _get(self, request: Any) -> Any:
        if request.number != self.order.number:
            raise NotFoundError(Refusal("OBJECT_NOT_FOUND", "none"), grpc.StatusCode.NOT_FOUND)
        return order_service_pb2.GetOrderResponse(order=self.order)

    async def _update(self, request: Any) -> Any:
        self.updates.append(request)
        self.order.block = request.order.block
        return order_service_pb2.UpdateOrderResponse(order=self.order)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


async def pull(desk: Desk, hub: Notebook) -> None:
    await adapter.pull_changes(hub.poll(desk), desk.vendor)


async def test_a_round_tells_every_product_and_customer(desk: Desk) -> None:
    """Proves what becomes of a product and a partner, and that a supplier is no customer."""
    hub = Notebook()
    await pull(desk, hub)
    item = hub.entries["SKU-1011"]
    assert (item.base_unit, item.description) == ("EA", "Article SKU-1011")
    assert (item.weight.value, item.weight.unit) == ("1.25", "KGM")
    assert (item.lot_controlled, item.serial_controlled) == (True, False)
    assert hub.entries["SKU-1012"].serial_controlled
    assert item.status == item_pb2.ITEM_STATUS_ACTIVE
    assert hub.entries["CUST-1001"].legal_name == "Company CUST-1001"
    assert len(hub.entries) == 24
    assert hub.held == []
    told = len(hub.request_ids)
    await pull(desk, hub)
    assert len(hub.request_ids) == told, "the same state is another fact"


async def test_what_an_event_missed_is_found_by_the_next_round(tmp_path: Path) -> None:
    """Proves that a round asks for changes only, and that a changed document is a new fact."""
    async with running(tmp_path, changes_overlap_seconds=60) as desk:
        hub = Notebook()
        await pull(desk, hub)
        hub.entries.clear()
        fields = {"IsMarkedForDeletion": True, "CrossPlantStatus": "01"}
        await desk.command("change", kind="Product", key="SKU-1002", fields=fields)
        fields = {"BusinessPartnerFullName": "Another name"}
        await desk.command("change", kind="BusinessPartner", key="CUST-1002", fields=fields)
        await pull(desk, hub)
        assert set(hub.entries) == {"SKU-1002", "CUST-1002"}
        item = hub.entries["SKU-1002"]
        assert (item.status, item.status_code) == (item_pb2.ITEM_STATUS_INACTIVE, "deletion")


async def test_a_kind_that_cannot_be_read_starves_no_other(desk: Desk) -> None:
    """Proves that the kinds after one that needs a person are read, and that the person is told."""
    desk.fault("error_before", operation="query_products", status=403, count=1)
    hub = Notebook()
    with pytest.raises(NeedsPerson):
        await pull(desk, hub)
    assert {key[:4] for key in hub.entries} == {"CUST"}


async def test_a_day_of_change_may_be_the_one_before(desk: Desk) -> None:
    """Proves that a day in SAP's own zone, which lags behind UTC, is asked for too."""
    kind = inbound.KINDS["BusinessPartner"]
    moment = datetime(2026, 3, 6, 2, 0, tzinfo=UTC)
    cursor = {"BusinessPartner": moment.isoformat()}
    asked: list[str] = []

    async def query(service: str, path: str, options: Any) -> list[Any]:
        asked.append(options["$filter"])
        return []

    vendor: Any = SimpleNamespace(query=query, telling=desk.vendor.telling)
    poll = Notebook().poll(desk)
    nobody: Any = None
    await inbound._pull_kind(poll, vendor, nobody, "BusinessPartner", kind, cursor, timedelta(0))
    assert asked == ["LastChangeDate ge datetime'2026-03-05T00:00:00'"]


async def test_documents_without_a_day_of_change_are_read_to_their_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that pages of partners that nobody ever changed, and of one mass change, hide none."""
    monkeypatch.setattr(inbound, "PAGE", 2)
    for row in desk.sandbox._master._rows["BusinessPartner"].values():
        row["LastChangeDate"] = None
    hub = Notebook()
    await pull(desk, hub)
    assert len(hub.entries) == 24
    assert set(json.loads(hub.cursor)) == {*inbound.KINDS, "Product expand"}


async def test_a_reading_that_was_cut_short_goes_on_where_it_ended(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that no page is read anew, and that the next round begins where the first began."""
    monkeypatch.setattr(inbound, "PAGE", 2)
    hub = Notebook()

    async def items(request: Any) -> Any:
        if len(hub.entries) == 3:
            desk.fault("error_before", operation="query_products", status=503, count=1)
        return await hub._items(request)

    hub.items = SimpleNamespace(UpsertItems=items)
    with pytest.raises(Retry):
        await pull(desk, hub)
    first = json.loads(hub.cursor)
    assert "Product" not in first
    hub.items = SimpleNamespace(UpsertItems=hub._items)
    told, hub.entries = set(hub.entries), {}
    await pull(desk, hub)
    assert not told & set(hub.entries)
    assert json.loads(hub.cursor)["Product"] == first["Product begun"]


async def test_a_tenant_that_gives_one_page_again_is_for_a_person(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a page that is not after the last one ends the reading."""
    monkeypatch.setattr(inbound, "PAGE", 1)

    async def query(service: str, path: str, options: Any) -> list[Any]:
        return [{"BusinessPartner": "SUPP-1", "Customer": ""}]

    vendor: Any = SimpleNamespace(query=query, telling=desk.vendor.telling)
    hub: Any = Notebook()
    rules = adapter.booking_rules(desk.settings)
    facts = inbound.Facts(hub, "sap", lambda code: code, rules, ADAPTER.mappings)
    with pytest.raises(NeedsPerson, match="BusinessPartner 'SUPP-1' came after 'SUPP-1'"):
        await inbound.pull(hub.poll(desk), vendor, facts, ["BusinessPartner"], timedelta(0))


async def test_a_tenant_that_does_not_sort_hides_no_document(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a page whose keys do not rise is for a person, who hears what to do, instead of
    a place behind it that leaves out what it does not have."""
    monkeypatch.setattr(inbound, "PAGE", 2)
    real = sandbox_odata.selected

    def unsorted(request: Any, rows: Any) -> list[Any]:
        # As the tenant made them, the last first.
        kept = real(request, rows)
        return sorted(kept, key=lambda row: str(row.get("Product", "")), reverse=True)

    monkeypatch.setattr(sandbox_odata, "selected", unsorted)
    hub = Notebook()
    with pytest.raises(NeedsPerson, match=r"Product 'SKU-1011' came after 'SKU-1012'.*\$orderby"):
        await pull(desk, hub)
    assert "Product" not in json.loads(hub.cursor)
    assert "CUST-1012" in hub.entries


async def test_numbers_are_sorted_as_texts_or_as_numbers(desk: Desk) -> None:
    """Proves that both orders in which tenants give numbers are taken, and no third one."""
    kind = inbound.KINDS["Product"]
    for rising in (["9", "10", "A1"], ["10", "9", "A1"]):
        rows = [{"Product": key} for key in rising]
        assert inbound._last_key(kind, rows, "") == "A1"
    for fallen, after in ((["9", "10", "9"], ""), (["10", ""], ""), (["9", "A1"], "A2")):
        with pytest.raises(NeedsPerson, match="left out or read for ever"):
            inbound._last_key(kind, [{"Product": key} for key in fallen], after)


@pytest.mark.parametrize(("kind", "rising"), [
    ("BusinessPartner", ["50000001", "50000002", "3PL-NORTH", "9980000005", "USCU_S01"]),
    ("SalesOrder", ["9", "10", "4711A", "5000000001"]),
    ("Product", ["9", "10", "000000000000A1", "900000000000000005", "A1"]),
    ("Product", ["10", "0" * 30 + "A", "9" * 18, "A1"]),
])  # fmt: skip
async def test_keys_rise_as_sap_keeps_them(kind: str, rising: list[str]) -> None:
    """Proves that numbers between names stand where the zeros of their own field put them."""
    found = inbound.KINDS[kind]
    rows = [{found.key: key} for key in rising]
    assert inbound._last_key(found, rows, "") == rising[-1]
    with pytest.raises(NeedsPerson, match="left out or read for ever"):
        inbound._last_key(found, rows[::-1], "")


@pytest.mark.parametrize(("rising", "before", "then"), [
    (["9", "10", "9"], "10", "9"),
    (["10", "9", "A1", "9A"], "A1", "9A"),
    (["50000001", "3PL", "9980000005", "9A", "USCU", "USCU"], "USCU", "USCU"),
])  # fmt: skip
async def test_the_pair_that_fell_is_named(rising: list[str], before: str, then: str) -> None:
    """Proves that a person reads the pair that no order has, and that events of the kind are told
    only as long as it is heard."""
    kind = inbound.KINDS["BusinessPartner"]
    named = rf"BusinessPartner '{then}' came after '{before}'.*events of it are told, as long as it"
    with pytest.raises(NeedsPerson, match=named):
        inbound._last_key(kind, [{kind.key: key} for key in rising], "")


async def test_null_is_no_description_and_no_id_of_an_event() -> None:
    """Proves that a text that SAP leaves null describes nothing, where another language's does, and
    that events without an id are not one event."""
    english = {"Language": "EN", "ProductDescription": None}
    row: dict[str, Any] = {"Product": "9", "BaseUnit": "EA", "to_Description": [english]}
    entry: Any = translate_facts.item_entry(row, "", "sap", lambda code: code)
    assert (entry.item.HasField("description"), list(entry.update_mask.paths)) == (
        False, ["base_unit", "status", "status_code", "lot_controlled", "serial_controlled"],
    )  # fmt: skip
    row["to_Description"].append({"Language": "DE", "ProductDescription": "Flasche"})
    entry = translate_facts.item_entry(row, "", "sap", lambda code: code)
    assert entry.item.description == "Flasche"
    event = json.loads(conformance.happened("Product", "SKU-1001"))
    assert translate_facts.event_of({**event, "id": None}, KEYS).event_id == ""


async def test_a_round_has_an_end_and_the_next_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a reading of many pages leaves other kinds their turn, and is gone on with."""
    monkeypatch.setattr(inbound, "PAGE", 2)
    monkeypatch.setattr(inbound, "MAX_PAGES_A_ROUND", 4)
    hub = Notebook()
    await pull(desk, hub)
    assert len(hub.entries) == 16
    place = json.loads(hub.cursor)
    assert (place["Product after"], "Product" in place) == ("SKU-1008", False)
    await pull(desk, hub)
    assert len(hub.entries) == 24
    assert json.loads(hub.cursor)["Product"] == place["Product begun"]


async def test_a_unit_without_a_row_waits_for_it(desk: Desk) -> None:
    """Proves that only the key is kept, and that the document as it is then goes on."""
    fields = {"BaseUnit": "FTM"}
    await desk.command("change", kind="Product", key="SKU-1001", fields=fields)
    hub = Notebook()
    await adapter.receive_event(
        hub.hook(desk, conformance.happened("Product", "SKU-1001")), desk.vendor
    )
    await pull(desk, hub)
    assert "SKU-1001" not in hub.entries
    event, row = hub.held
    assert "/BaseUnit: unit 'FTM' has no row" in event[1]
    assert json.loads(row[0]) == {"kind": "Product", "key": "SKU-1001"}
    rows = [Told(Topic.UNIT, Code("", code), Meaning(word), True)
            for code, word in (("FTM", "LF"), ("KG", "KGM"))]  # fmt: skip
    before = list(ADAPTER.mappings.told().values())
    ADAPTER.mappings.replace(rows)
    try:
        held = HeldPayload("1", "poll:changes", row[0], "application/json", asked=True)
        await adapter.tell_held(hub.poll(desk), held, desk.vendor)
    finally:
        ADAPTER.mappings.replace(before)
    assert hub.entries["SKU-1001"].base_unit == "LF"


async def test_a_block_is_told_when_it_comes_and_when_it_goes(desk: Desk) -> None:
    """Proves that an order without a block is not written, and that foreign orders are left out."""
    await desk.do("create_sales_order", approved({}))
    foreign: Any = approved({})
    foreign.order.number = "FOREIGN-1"
    await desk.do("create_sales_order", foreign)
    hub = Notebook()
    await pull(desk, hub)
    assert hub.updates == []
    number = desk.orders()[0]["SalesOrder"]
    for reason in ("01", "01", ""):
        await desk.command("block_order", order=number, reason=reason)
        await adapter.receive_event(
            hub.hook(desk, conformance.happened("SalesOrder", number)), desk.vendor
        )
    assert [each.order.block for each in hub.updates] == [
        "delivery block 01", "delivery block 01", "",
    ]  # fmt: skip
    assert all(list(each.update_mask.paths) == ["block"] for each in hub.updates)
    desk.sandbox._books.orders[number].fields["TotalCreditCheckStatus"] = "B"
    await pull(desk, hub)
    assert hub.order.block == "credit check status B"


@pytest.mark.parametrize(
    ("status", "block"),
    [
        ("", ""), ("A", ""), ("B", "credit check status B"), ("C", "credit check status C"),
        ("D", ""), ("X", None),
    ],
)  # fmt: skip
async def test_a_credit_status_means_what_its_row_says(
    desk: Desk, status: str, block: str | None
) -> None:
    """Proves that a status of the credit check blocks an order by its row, and that one without a
    row is neither told nor dropped: the key of the order waits for exactly that code."""
    await desk.do("create_sales_order", approved({}))
    (order,) = desk.sandbox._books.orders.values()
    order.fields["TotalCreditCheckStatus"] = status
    hub = Notebook()
    await pull(desk, hub)
    assert [each.order.block for each in hub.updates] == ([block] if block else [])
    if block is None:
        ((payload, reason, _),) = hub.held
        assert json.loads(payload) == {"kind": "SalesOrder", "key": order.fields["SalesOrder"]}
        assert "/TotalCreditCheckStatus: 'X' has no row" in reason
        waits_for = hub.codes[0]
        assert (waits_for.topic, waits_for.codes) == (
            Topic.CREDIT_STATUS, (Code("TotalCreditCheckStatus", "X"),),
        )  # fmt: skip
    else:
        assert hub.held == []


@pytest.mark.parametrize(("word", "block"), [("REVIEW", "credit check status A"), ("GOOD", "")])
async def test_a_deployment_says_what_a_credit_status_means(
    desk: Desk, word: str, block: str
) -> None:
    """Proves that a row of the deployment's goes before that of the file, and that a delivery
    block is told whatever the credit check ended with."""
    await desk.do("create_sales_order", approved({}))
    (order,) = desk.sandbox._books.orders.values()
    hub = Notebook()
    code = Code("TotalCreditCheckStatus", "A")
    before = list(ADAPTER.mappings.told().values())
    row = Told(Topic.CREDIT_STATUS, code, Meaning(word), True, 1)
    ADAPTER.mappings.replace([*before, row])
    try:
        await pull(desk, hub)
        assert [each.order.block for each in hub.updates] == ([block] if block else [])
        order.fields["DeliveryBlockReason"] = "Z9"
        order.fields["TotalCreditCheckStatus"] = "X"
        await pull(desk, hub)
    finally:
        ADAPTER.mappings.replace(before)
    assert (hub.order.block, hub.held) == ("delivery block Z9", [])


@pytest.mark.parametrize("known", [True, False])
async def test_a_sales_order_of_somebody_else_blocks_nothing(desk: Desk, known: bool) -> None:
    """Proves that a sales order which carries our order's number and is another one, by its number
    or by its type, neither blocks the order nor lifts its block: the reference is free text."""
    await desk.do("create_sales_order", approved({}))
    foreign: Any = approved({})
    foreign.order.number = "FOREIGN-1"
    await desk.do("create_sales_order", foreign)
    hub = Notebook()
    ours, theirs = (str(each["SalesOrder"]) for each in desk.orders())
    hub.order.sales_document = ours if known else ""
    fields = desk.sandbox._books.orders[theirs].fields
    fields["PurchaseOrderByCustomer"] = hub.order.number
    if not known:
        fields["SalesOrderType"] = "ZRE"
    for reason, before in (("01", ""), ("", "credit check status B")):
        hub.order.block = before
        await desk.command("block_order", order=theirs, reason=reason)
        event = conformance.happened("SalesOrder", theirs)
        await adapter.receive_event(hub.hook(desk, event), desk.vendor)
    assert hub.updates == []
    await desk.command("block_order", order=ours, reason="02")
    await adapter.receive_event(
        hub.hook(desk, conformance.happened("SalesOrder", ours)), desk.vendor
    )
    assert [each.order.block for each in hub.updates] == ["delivery block 02"]


async def test_an_event_about_what_is_gone_is_kept(desk: Desk) -> None:
    """Proves that nothing is dropped when the document behind a key is not there."""
    hub = Notebook()
    await adapter.receive_event(
        hub.hook(desk, conformance.happened("Product", "GONE-1")), desk.vendor
    )
    assert "GONE-1" in hub.held[0][1]


async def test_sap_away_leaves_the_event_with_the_broker(desk: Desk) -> None:
    """Proves that trouble with reading is no held payload: the broker sends it again."""
    desk.fault("error_before", operation="read_product", status=503, count=1)
    hub = Notebook()
    hook = hub.hook(desk, conformance.happened("Product", "SKU-1001"))
    with pytest.raises(Retry):
        await adapter.receive_event(hook, desk.vendor)
    assert hub.held == []


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("sap.s4.beh.product.v1.Product.Exploded.v1", "nobody has said what"),
        ("sap.s4.beh.billingdocument.v1.BillingDocument.Created.v1", "nobody has said what"),
        ("com.example.Product.Changed", "is no type of a business event"),
    ],
)
def test_a_type_without_a_meaning_is_not_guessed(type_: str, said: str) -> None:
    """Proves that only Created and Changed of what is read become a reading."""
    with pytest.raises(Unreadable, match=said) as caught:
        translate_facts.event_of({"type": type_, "data": {"Product": "X"}}, KEYS)
    assert caught.value.place == "/type"


async def test_kinds_that_nobody_reads_are_refused_at_the_start(tmp_path: Path) -> None:
    """Proves that a misspelt kind starts nothing."""
    with pytest.raises(SettingsError, match="hears: Plant"):
        async with running(tmp_path, hears=["Plant"]):
            pass
