"""The legacy ERP by staging tables: what becomes of documents, at its sandbox and by its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crossdock.order.v1 import order_events_pb2, order_service_pb2
from crossdock_adapters.legacy_table import adapter, translate
from crossdock_adapters.sdk import table_layout, testing
from crossdock_adapters.sdk.conformance.erp_order import order
from crossdock_adapters.sdk.erp_answers import Said
from crossdock_adapters.sdk.erp_documents import DOCUMENTS, Rules
from crossdock_adapters.sdk.erp_units import ErpUnits
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    FoundRejected,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reference,
    Reject,
    Retry,
)
from crossdock_adapters.sdk.settings import Secrets
from crossdock_adapters.sdk.table_layout import Found, Place
from fixtures_nats import eventually
from legacy_file_world import approved, shipped
from legacy_table_world import REFERENCE, running
from source_files import ROOT

CREATE = "create_sales_order"
LAYOUTS = adapter.loaded_layouts("")
ANSWERS = adapter.loaded_answers("")
SOLD = order_events_pb2.OrderApproved(order=order())


async def test_rows_stand_as_they_were_agreed(tmp_path: Path) -> None:
    """Proves by raw SQL what the ERP gets of an order and of a goods issue: our reference in each
    row, thousandths and ten-thousandths, the day in the ERP's zone as number, lots and serials."""
    async with running(tmp_path) as desk:
        await desk.misbehave("silence")
        for operation, event, reference in (
            (CREATE, approved(), REFERENCE),
            ("post_goods_issue", shipped(), "B" * 20),
        ):
            with pytest.raises(AnswerLater):
                await desk.do(operation, event, reference)
        head = "SELECT RTRIM(EXT_REF), ACTION, ORDER_NO, ORDER_DATE, RTRIM(STATUS) FROM {}"
        assert desk.run(head.format("XD_ORDER_HEADER")) == [
            (REFERENCE, "I", "SO-1", 20260304, "NEW")
        ]
        lines = "SELECT RTRIM(EXT_REF), LINE_NO, RTRIM(ITEM), QUANTITY, PRICE FROM XD_ORDER_LINE"
        assert desk.run(lines) == [
            (REFERENCE, 10, "SKU-1001", 2_000, 199_500), (REFERENCE, 20, "SKU-1002", 5_500, 199_500)
        ]  # fmt: skip
        assert desk.run("SELECT NAME, STREET, STREET_2 FROM XD_ORDER_SHIP_TO") == [
            ("Zoë Doe", "1 Main Street", "Suite 5 Back door")
        ]
        issue = "SELECT SHIPMENT_NO, DEPARTURE, SHIP_DATE FROM XD_ISSUE_HEADER"
        assert desk.run(issue) == [("SHP-1", 1, 126064)]
        details = "SELECT PACKAGE_NO, LOT, SERIAL_NO, QUANTITY FROM XD_ISSUE_DETAIL"
        assert desk.run(details) == [
            ("CARTON-1", "L-7", "SN-1", 1_000), ("CARTON-1", "L-7", "SN-2", 1_000)
        ]  # fmt: skip


async def test_a_result_that_comes_late_is_awaited(tmp_path: Path) -> None:
    """Proves that a written row is not a posted document: the delivery waits, and is confirmed by
    the ERP's number once it is there, with one document."""
    async with running(tmp_path, result_seconds=0.4, answer_wait_seconds=0.05) as desk:
        await desk.misbehave("silence")
        with pytest.raises(AnswerLater, match="accepted for processing"):
            await desk.do(CREATE, SOLD)
        await desk.behave()
        done = await desk.settled(CREATE, SOLD)
        assert isinstance(done, Confirmed)
        assert done.references == [Reference("sales_order", "T500001")]
        (fact,) = done.facts
        assert isinstance(fact, order_service_pb2.UpdateOrderRequest)
        assert (fact.order.id, fact.order.sales_document) == (SOLD.order.id, "T500001")
        assert len(desk.sandbox.books()["asked"]) == 1


async def test_error_rows_are_a_rejection_with_code_and_words(tmp_path: Path) -> None:
    """Proves that what the ERP refused ends as rejected, from an attempt and from a look-up, with
    the code and text of the table of errors."""
    async with running(tmp_path, customers=["CUST-1"]) as desk:
        with pytest.raises(Reject) as told:
            await desk.do(CREATE, SOLD)
        assert (told.value.code, told.value.reason) == ("E101", "E101 the customer is not known")
        found = await desk.look(CREATE, SOLD)
        assert found == FoundRejected("E101", "E101 the customer is not known")


async def test_a_stale_error_does_not_outrank_a_document(tmp_path: Path) -> None:
    """Proves that codes from before a row was mended do not reject what was posted."""
    async with running(tmp_path) as desk:
        await desk.misbehave("stale_errors")
        done = await desk.settled(CREATE, SOLD)
        assert done.references == [Reference("sales_order", "T500001")]
        assert desk.run("SELECT ERROR_CODE FROM XD_ORDER_HEADER") == [("E102",)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("unknown_status", "the status '???' of the ERP has no row in the layout"),
        ("period_closed", "E130 the posting period is closed"),
    ],
)
async def test_what_nobody_said_the_meaning_of_parks(tmp_path: Path, kind: str, words: str) -> None:
    """Proves that an unknown status and a refusal that is not the document's are for a person."""
    async with running(tmp_path) as desk:
        await desk.misbehave(kind)
        with pytest.raises(NeedsPerson) as told:
            await desk.settled(CREATE, SOLD)
        assert words in told.value.reason


async def test_a_row_that_the_erp_deleted_is_found_in_its_books(tmp_path: Path) -> None:
    """Proves that a deleted row is no reason to post again: the ERP's document has our reference,
    and neither a look-up nor another call writes a second row."""
    async with running(tmp_path) as desk:
        await desk.misbehave("deletes_rows")
        done = await desk.settled(CREATE, SOLD)
        assert desk.run("SELECT COUNT(*) FROM XD_ORDER_HEADER") == [(0,)]
        for again in (await desk.look(CREATE, SOLD), await desk.do(CREATE, SOLD)):
            assert again.references == done.references == [Reference("sales_order", "T500001")]
        assert len(desk.sandbox.books()["asked"]) == 1


async def test_a_row_that_vanished_is_for_a_person_and_never_written_again(tmp_path: Path) -> None:
    """Proves that a row which left no trace but our ledger's is waited for, then parks with what to
    do, and that neither a look-up nor a call takes its absence for proof that it never was."""
    async with running(tmp_path, vanished_wait_seconds=0, answer_wait_seconds=0.1) as desk:
        await desk.misbehave("loses_rows")
        for attempt in (desk.settled, desk.do, desk.look):
            with pytest.raises(NeedsPerson, match="it may have been posted"):
                await attempt(CREATE, SOLD)
        assert len(desk.sandbox.books()["asked"]) == 1
    async with running(tmp_path, vanished_wait_seconds=60, answer_wait_seconds=0.1) as desk:
        await desk.misbehave("loses_rows")
        with pytest.raises(AnswerLater):
            await desk.do(CREATE, SOLD)
        await eventually(lambda: not desk.run("SELECT * FROM XD_ORDER_HEADER"), "it is gone")
        with pytest.raises(AnswerLater, match="its document is awaited"):
            await desk.look(CREATE, SOLD)


async def test_without_a_ledger_absence_proves_nothing(tmp_path: Path) -> None:
    """Proves that where the ERP removes rows and nothing else remembers, a look-up that finds none
    parks; that a table which is never emptied is proof; and so is the ledger."""
    text = Path(adapter.__file__).with_name("layouts").joinpath("sales_orders.toml").read_text()
    ledger = text[text.index("[ledger]") : text.index("[books]")]
    bare = text.replace(ledger, "")
    for layout, ends in ((bare, None), (f"kept = true\n{bare}", NotFound), (text, NotFound)):
        (tmp_path / "sales_orders.toml").write_text(layout)
        async with running(tmp_path, layouts_directory=str(tmp_path)) as desk:
            if ends is None:
                with pytest.raises(NeedsPerson, match="look for its document"):
                    await desk.look(CREATE, SOLD)
            else:
                assert isinstance(await desk.look(CREATE, SOLD), ends)
            assert isinstance(await desk.settled(CREATE, SOLD), Confirmed)


@pytest.mark.parametrize("fault", ["reply_lost", "error_after"])
async def test_a_commit_without_an_answer_is_unknown_and_found(tmp_path: Path, fault: str) -> None:
    """Proves that a lost answer to the commit is never a retry, and that the row is adopted."""
    async with running(tmp_path) as desk:
        desk.sandbox.faults.add({"kind": fault, "operation": "commit", "count": 1})
        with pytest.raises(OutcomeUnknown, match="the answer to the commit is lost"):
            await desk.do(CREATE, SOLD)
        assert isinstance(await desk.look(CREATE, SOLD), Confirmed)
        assert len(desk.sandbox.books()["asked"]) == 1


@pytest.mark.parametrize("operation", ["query", "write"])
async def test_trouble_before_the_commit_is_a_retry(tmp_path: Path, operation: str) -> None:
    """Proves that what fails before the commit is proven unprocessed: no row, and a second attempt
    writes it once."""
    async with running(tmp_path) as desk:
        fault = {"kind": "error_before", "operation": operation, "count": 1, "status": 500}
        desk.sandbox.faults.add(fault)
        with pytest.raises(Retry):
            await desk.do(CREATE, SOLD)
        assert desk.run("SELECT COUNT(*) FROM XD_ORDER_LINE") == [(0,)]
        assert isinstance(await desk.settled(CREATE, SOLD), Confirmed)
        assert len(desk.sandbox.books()["asked"]) == 1


async def test_silence_is_told_and_a_slow_result_is_overdue(tmp_path: Path) -> None:
    """Proves both timers: nobody takes rows, and a row that was taken has no result."""
    async with running(tmp_path, pick_silence_seconds=0, answer_wait_seconds=0) as desk:
        await desk.misbehave("silence")
        with pytest.raises(OutcomeUnknown, match="SILENT: the ERP has taken nothing") as told:
            await desk.do(CREATE, SOLD)
        assert not isinstance(told.value, AnswerLater)
    async with running(tmp_path, result_silence_seconds=0, answer_wait_seconds=0.3) as desk:
        await desk.misbehave("stays_picked")
        with pytest.raises(OutcomeUnknown, match=r"SILENT: staging, .* no result within"):
            await desk.do(CREATE, SOLD)


async def test_the_address_of_the_database_is_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that a wrong password, and a server that is away, say neither password nor address."""
    async with running(tmp_path) as desk:
        secret = desk.sandbox.settings["password"]
        file = tmp_path / "address"
        file.write_text(desk.sandbox.database_url().replace(secret, "wrong-one"))
        other = await adapter.connect(desk.settings, Secrets({"database_url": f"file:{file}"}))
        said = []
        for vendor in (other, desk.vendor):
            if vendor is desk.vendor:
                desk.sandbox.faults.add({"kind": "down"})
                await desk.sandbox.apply_outage()
            with pytest.raises(Retry) as told:
                await adapter.deliver(desk.work(CREATE, SOLD), vendor)
            said.append(told.value.reason)
        await other.close()
    everything = " ".join(said) + caplog.text
    assert "no connection to the database" in said[0] and "no connection" in said[1]
    for hidden in (secret, "wrong-one", "127.0.0.1", desk.sandbox.vendor_url):
        assert hidden not in everything


HEAD = Found(Place.STAGING)
E101, E130, E999 = Said("E101", "no customer"), Said("E130", "closed"), Said("E999", "?")


@pytest.mark.parametrize(
    ("found", "ends"),
    [
        (replace(HEAD, status="NEW"), None),
        (replace(HEAD, status="PICKED"), None),
        (replace(HEAD, status="NEW", errors=[E101]), None),
        (replace(HEAD, status="DONE", number="7", errors=[E101, E999]), ["7"]),
        (replace(HEAD, status="WARNING", number="7"), ["7"]),
        (replace(HEAD, status="DONE"), []),
        (replace(HEAD, status="ERROR", errors=[E101]), FoundRejected("E101", "E101 no customer")),
        (replace(HEAD, status="ERROR", errors=[E101, E130]), NeedsPerson),
        (replace(HEAD, status="ERROR", errors=[E999]), NeedsPerson),
        (replace(HEAD, status="ERROR"), NeedsPerson),
        (replace(HEAD, status="HOLD"), NeedsPerson),
        (replace(HEAD, status=""), NeedsPerson),
        (replace(HEAD, status="done"), NeedsPerson),
        (Found(Place.ARCHIVE, status="DONE", number="8"), ["8"]),
        (Found(Place.BOOKS, number="9"), ["9"]),
        (Found(Place.LEDGER), None),
    ],
)
def test_every_state_has_its_end(found: Found, ends: Any) -> None:
    """Proves the whole table: the status decides, codes only explain a refusal, and what has no row
    is for a person."""
    arguments = (LAYOUTS["sales_orders"], DOCUMENTS[CREATE], SOLD, found, ANSWERS)
    if ends is NeedsPerson:
        with pytest.raises(NeedsPerson):
            translate.verdict(*arguments)
        return
    ended = translate.verdict(*arguments)
    if isinstance(ends, list):
        assert isinstance(ended, Confirmed)
        assert [each.value for each in ended.references] == ends
    else:
        assert ended == ends


def test_the_layout_of_jd_edwards_fills_its_tables() -> None:
    """Proves for the example of the Z tables what stands in each column: the reference, CYYDDD,
    implied decimals, a business unit filled at the left, and the flag that says "not processed"."""
    folder = Path(adapter.__file__).parent / "layouts" / "jde"
    layout = table_layout.parse((folder / "sales_orders.toml").read_text("utf-8"), "jde")
    rules = Rules(units=ErpUnits({"EA": "EA"}))
    event = approved()
    event.order.promised.Clear()
    document = DOCUMENTS[CREATE]
    rows = table_layout.rows_of(layout, document.rows(event, document.action, REFERENCE, rules))
    head, first = rows[0][1], rows[1][1]
    assert [record.table for record, _ in rows] == ["f47011", "f47012", "f47012"]
    assert (head["syvr01"], head["symcu"], head["sytrdj"]) == (REFERENCE, "        EAST", 0)
    assert (first["szedln"], first["szuorg"], first["szuprc"]) == (10_000, 200, 199_500)
    words = layout.status.words
    assert (layout.status.ready, words[""], words["Y"], words["1"]) == (
        "N", "waiting", "done", "done",
    )  # fmt: skip


def test_documents_are_pure() -> None:
    """Proves that what two adapters make their documents with reads no clock and no disk."""
    source = ROOT / "adapters/src/crossdock_adapters/sdk/erp_documents.py"
    assert testing.impurities(source.read_text("utf-8")) == []


async def test_a_row_that_fails_again_otherwise_is_held_again(tmp_path: Path) -> None:
    """Proves that a row which is mended and wrong in another way is another held payload, and that
    one which is wrong in the same way is the same."""

    class Holding:
        def __init__(self) -> None:
            self.endpoint = "erp"
            self.keys: list[str] = []

        async def hold(
            self, content: bytes, problem: str, media: str, key: str, **_: object
        ) -> None:
            self.keys.append(key)

        async def catch_up(self) -> None:
            """There are no rows but those of the file."""

    poll: Any = Holding()
    async with running(tmp_path) as desk:
        row = {"ITEM": "SKU-9".ljust(30), "CHANGE_NO": 1, "DESCRIPTION": "Lamp", "UNIT": "?? "}
        await desk.sandbox.commands()["tell_item"](row)
        for unit in ("?? ", "?? ", "!! "):
            desk.run("UPDATE ERP_ITEM_OUT SET STATUS = ?, UNIT = ?", "NEW".ljust(8), unit)
            await adapter.take_items(poll, desk.vendor)
    first, same, other = poll.keys
    assert first == same != other
