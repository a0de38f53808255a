"""The legacy ERP by flat file: adapter and sandbox over SFTP and over a folder both sides see."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from crossdock.order.v1 import order_events_pb2, order_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.legacy_file import adapter
from crossdock_adapters.legacy_file.adapter import ADAPTER, Erp
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.proving import SILENT_FAULTS, Trial, class_problems
from crossdock_adapters.sdk.settings import SettingsError, check
from crossdock_adapters.sdk.work import Poll
from legacy_file_world import ANSWERS, ORDER_ID, approved, file_of, order, running, shipped
from sdk_waiting import until


@pytest.mark.parametrize("local", [False, True])
async def test_an_order_is_booked_shipped_and_taken_back(tmp_path: Path, local: bool) -> None:
    """Proves the whole life of an order at the ERP, over SFTP and over a shared folder: booked with
    its number as a fact, changed, shipped, reversed, cancelled."""
    async with running(tmp_path, local) as desk:
        booked = await desk.settled("create_sales_order", approved(), "A" * 20)
        (held,) = desk.orders()
        assert (booked.references[0].type, booked.references[0].value) == (
            "sales_order",
            held["number"],
        )
        (fact,) = booked.facts
        assert isinstance(fact, order_service_pb2.UpdateOrderRequest)
        assert (fact.order.id, fact.order.sales_document) == (ORDER_ID, held["number"])
        longer = order((10, "SKU-1001", "2"), (20, "SKU-1002", "5.5"), (30, "SKU-1003", "1"))
        changed = order_events_pb2.OrderChanged(order=longer)
        await desk.settled("change_order", changed, "B" * 20)
        assert (desk.orders()[0]["versions"], len(desk.orders()[0]["lines"])) == (2, 3)
        issued = await desk.settled("post_goods_issue", shipped(), "C" * 20)
        assert issued.references[0].type == "goods_issue"
        assert set(desk.orders()[0]["open"].values()) == {0, 1}
        voided = shipment_events_pb2.ShipmentVoided(shipment=shipped().shipment)
        await desk.settled("reverse_goods_issue", voided, "D" * 20)
        assert desk.issues()[0]["taken_back"]
        cancelled = order_events_pb2.OrderCancelled(order=longer)
        await desk.settled("cancel_order", cancelled, "E" * 20)
        assert desk.orders()[0]["taken_back"]
        assert desk.sandbox.tick_error == ""


EVENTS: dict[str, Any] = {
    "create_sales_order": approved(),
    "change_order": order_events_pb2.OrderChanged(order=order((10, "SKU-1001", "3"))),
    "cancel_order": order_events_pb2.OrderCancelled(order=order()),
    "post_goods_issue": shipped(),
    "reverse_goods_issue": shipment_events_pb2.ShipmentVoided(shipment=shipped().shipment),
}


@pytest.mark.parametrize("fault", SILENT_FAULTS)
@pytest.mark.parametrize("operation", EVENTS)
async def test_each_operation_is_of_its_class(tmp_path: Path, operation: str, fault: str) -> None:
    """Proves two steps for all five: whichever answer is lost, the ERP has read one file."""
    async with running(tmp_path) as desk:
        before = {"create_sales_order": ()}.get(operation, ("create_sales_order",))
        if operation == "reverse_goods_issue":
            before = (*before, "post_goods_issue")
        for number, first in enumerate(before):
            await desk.settled(first, EVENTS[first], f"{number}" * 20)
        trial = Trial(
            ADAPTER,
            operation,
            desk.vendor,
            desk.sandbox,
            lambda: desk.work(operation, EVENTS[operation], "Z" * 20),
            lambda: sum(row["status"] == "A" for row in desk.sandbox.books()["receipts"]),
        )
        assert await class_problems(trial, fault) == []
        assert len(desk.orders()) == 1


async def test_a_lost_answer_between_file_and_marker_is_made_good(tmp_path: Path) -> None:
    """Proves that after a death behind the rename the marker follows, and no second file."""
    async with running(tmp_path) as desk:
        desk.sandbox.faults.add({"kind": "reply_lost", "operation": "rename", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await desk.do("create_sales_order", approved())
        (lonely,) = (Path(desk.sandbox.settings["folder"]) / "inbound").glob("*.dat")
        assert lonely.name == desk.drafts["A" * 20]
        await desk.settled("create_sales_order", approved())
        assert len(desk.orders()) == 1


@pytest.mark.parametrize("kind", ["late_results", "duplicate_answers"])
async def test_late_and_double_answers_are_one_answer(tmp_path: Path, kind: str) -> None:
    """Proves that a result which is late leaves the delivery waiting, and one that comes twice is
    the same answer."""
    async with running(tmp_path, answer_wait_seconds=0.3, late_seconds=6) as desk:
        await desk.misbehave(kind, 4)
        if kind == "late_results":
            await desk.told(AnswerLater, "waits for its result", "create_sales_order", approved())
        result = await desk.settled("create_sales_order", approved())
        assert result.references[0].value == desk.orders()[0]["number"]
        assert len(desk.orders()) == 1
        folder = Path(desk.sandbox.settings["folder"])
        again = [path.name for path in folder.rglob("*again*")]
        assert bool(again) == (kind == "duplicate_answers"), again


@pytest.mark.parametrize("kind", ["half_written", "wrong_totals"])
async def test_an_answer_that_breaks_its_layout_is_held_and_believed_by_nobody(
    tmp_path: Path, kind: str
) -> None:
    """Proves that half a file and wrong totals reach the hub raw, with their place, once."""
    held: list[tuple[bytes, str, str]] = []
    async with running(tmp_path) as desk:
        await desk.misbehave(kind, 2)
        await desk.settled("create_sales_order", approved())

        async def hold(
            payload: bytes, content_type: str, reason: str, key: str, *_: object
        ) -> None:
            held.append((payload, reason, key))

        async def put(cursor: bytes) -> None: ...

        nobody: Any = None
        poll = Poll("answers", "legacy-file", b"", desk.settings, nobody, put, hold)
        for _ in range(2):
            await ADAPTER.polls["answers"].pull(poll, desk.vendor)
        places = sorted(reason.partition("/")[0] for _, reason, _ in held)
        assert places == ["ack", "result"], held
        assert all("line" in reason or "cut off" in reason for _, reason, _ in held)


async def test_silence_is_waited_for_and_then_told(tmp_path: Path) -> None:
    """Proves that a file which nobody takes waits quietly until its time is over; then the ERP
    counts as silent, for whatever delivery asks, and everything goes on when it is back."""
    # Long enough for the first question on a machine that is busy with something else.
    limits = {"receipt_silence_seconds": 6, "answer_wait_seconds": 0.1}
    async with running(tmp_path, **limits) as desk:
        await desk.misbehave("silence")
        with pytest.raises(AnswerLater, match="waits for its receipt"):
            await desk.do("create_sales_order", approved())
        async with asyncio.timeout(60):
            while True:
                try:
                    await desk.do("create_sales_order", approved())
                except AnswerLater:
                    continue
                except OutcomeUnknown as silent:
                    assert str(silent).startswith("SILENT: the ERP has taken no file since")
                    break
        with pytest.raises(OutcomeUnknown, match="SILENT"):
            await desk.do("create_sales_order", approved(), "B" * 20)
        await desk.sandbox.commands()["behave"]({})
        await desk.settled("create_sales_order", approved())


async def test_results_that_are_overdue_are_told(tmp_path: Path) -> None:
    """Proves the second timer: a file was received, and a day later nothing is said about it."""
    async with running(tmp_path, result_silence_seconds=0, result_seconds=60) as desk:
        silent = "SILENT: no result for CROSSDOCK_sales-orders"
        await desk.told(OutcomeUnknown, silent, "create_sales_order", approved())


async def test_a_full_disk_holds_nothing_but_the_file(tmp_path: Path) -> None:
    """Proves that nothing was published, the number stays, and the file goes out under it later."""
    async with running(tmp_path) as desk:
        await desk.misbehave("disk_full")
        with pytest.raises(Retry, match="put inbound"):
            await desk.do("create_sales_order", approved())
        await desk.sandbox.commands()["behave"]({})
        await desk.settled("create_sales_order", approved())
        assert [row["status"] for row in desk.sandbox.books()["receipts"]] == ["A"]


async def test_a_file_that_the_erp_could_not_read_goes_again_by_its_number(tmp_path: Path) -> None:
    """Proves that a damaged file is sent again unchanged, and after three times a person looks."""
    async with running(tmp_path) as desk:
        await desk.misbehave("unreadable", 2)
        await desk.settled("create_sales_order", approved())
        codes = [row["code"] for row in desk.sandbox.books()["receipts"]]
        assert codes == ["F002", "F002", ""]
        assert len(desk.orders()) == 1
        await desk.misbehave("unreadable", 9)
        with pytest.raises(NeedsPerson, match="could not read"):
            await desk.settled("create_sales_order", approved(order(number="SO-2")), "B" * 20)


async def test_the_erp_refuses_a_number_twice(tmp_path: Path) -> None:
    """Proves the ERP's own guard: the same file again changes nothing, another under its number is
    set aside, and neither makes a second document."""
    async with running(tmp_path) as desk:
        await desk.settled("create_sales_order", approved())
        root, name = Path(desk.sandbox.settings["folder"]), desk.drafts["A" * 20]
        data = (root / "archive" / name).read_bytes()
        other = file_of("create_sales_order", approved(order(number="SO-9")))
        for number, content in enumerate((data, other), start=2):
            (root / "archive" / name).unlink(missing_ok=True)
            await desk.vendor.drop(name, content, 1)
            await until(lambda count=number: len(desk.sandbox.books()["receipts"]) == count)
        told = [(row["status"], row["code"]) for row in desk.sandbox.books()["receipts"]]
        assert told == [("A", ""), ("D", ""), ("R", "F003")]
        assert len(desk.orders()) == 1


async def test_a_gap_holds_later_files_until_it_is_filled(tmp_path: Path) -> None:
    """Proves that a file whose number was taken, and that is not out yet, holds the next one at the
    ERP, which says so; when it comes, both are posted."""
    async with running(tmp_path, answer_wait_seconds=0.5) as desk:
        await desk.draft("create_sales_order", approved())
        second = approved(order(number="SO-2"))
        gap = "is held by the ERP: number 1 is missing"
        await desk.told(AnswerLater, gap, "create_sales_order", second, "B" * 20)
        await desk.settled("create_sales_order", approved())
        await desk.settled("create_sales_order", second, "B" * 20)
        assert [each["key"] for each in desk.orders()] == ["SO-1", "SO-2"]


async def test_a_process_that_died_after_taking_a_number_takes_it_again(tmp_path: Path) -> None:
    """Proves that a draft nobody heard of leaves no gap: the same number, name and time."""
    async with running(tmp_path) as desk:
        first = await desk.draft("create_sales_order", approved())
        assert await desk.draft("create_sales_order", approved()) == first
        assert first.endswith("_00000001.dat")
        await desk.settled("create_sales_order", approved())
        assert (await desk.draft("create_sales_order", approved(), "B" * 20)).endswith("2.dat")


async def test_a_new_process_finds_the_answers_again(tmp_path: Path) -> None:
    """Proves that nothing that matters is in memory: a restarted adapter confirms by the draft."""
    async with running(tmp_path) as desk:
        first = await desk.settled("create_sales_order", approved())
        again = Erp(
            desk.vendor._folder, desk.vendor.conventions, dict(desk.vendor.layouts), ANSWERS,
            desk.settings,
        )  # fmt: skip
        desk.vendor = again
        assert await desk.do("create_sales_order", approved()) == first
        assert len(desk.orders()) == 1


@pytest.mark.parametrize("commit", ["document", "line"])
async def test_refusals_come_back_line_by_line(tmp_path: Path, commit: str) -> None:
    """Proves that an all-or-nothing ERP is a rejection that names each line, and that an ERP which
    posted a part of it is a person's matter, with the number of what it posted."""
    wrong = approved(order((10, "SKU-1001", "2"), (20, "NO-SUCH", "1"), (30, "SKU-1002", "1")))
    async with running(tmp_path, commit=commit) as desk:
        if commit == "document":
            with pytest.raises(Reject, match=r"^line 20: E102 the item is not known") as refused:
                await desk.settled("create_sales_order", wrong)
            assert refused.value.code == "E102"
            assert desk.orders() == []
        else:
            with pytest.raises(NeedsPerson, match=r"without lines 20: .*E102") as partly:
                await desk.settled("create_sales_order", wrong)
            assert desk.orders()[0]["number"] in str(partly.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("period_closed", "E130 the posting period is closed"), ("unknown_status", r"status '\?'")],
)
async def test_what_is_nobodys_fault_or_not_in_the_table_needs_a_person(
    tmp_path: Path, kind: str, words: str
) -> None:
    """Proves that a closed period is no rejection of the order, and an unknown letter no guess."""
    async with running(tmp_path) as desk:
        await desk.misbehave(kind, 9)
        with pytest.raises(NeedsPerson, match=words):
            await desk.settled("create_sales_order", approved())


async def test_a_document_that_the_erp_has_is_adopted(tmp_path: Path) -> None:
    """Proves that a resubmitted delivery, with a file and reference of its own, meets the same
    document by its business key."""
    async with running(tmp_path) as desk:
        first = await desk.settled("create_sales_order", approved(), "A" * 20)
        second = await desk.settled("create_sales_order", approved(), "B" * 20)
        assert first.references[0] == second.references[0]
        assert "E110" in second.note and len(desk.orders()) == 1


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("ftp://a@b/c", "sftp://user@host"),
        ("sftp://host/path", "sftp://user@host"),
        ("sftp://user:word@host/path", "must not hold a password"),
        ("sftp://user@host/path", "host_key is needed"),
    ],
)
async def test_a_wrong_place_is_refused_at_the_start(location: str, problem: str) -> None:
    """Proves that a place without a pinned host key, or with a password in it, never connects."""
    settings, secrets = check(ADAPTER.manifest.settings, {"location": location})
    with pytest.raises(SettingsError, match=problem):
        await adapter.connect(settings, secrets)


async def test_what_cannot_be_said_takes_no_number(tmp_path: Path) -> None:
    """Proves that an order whose unit the ERP does not know is parked before a number is spent."""
    event = approved()
    event.order.lines[0].quantity.unit = "PF"
    async with running(tmp_path) as desk:
        with pytest.raises(Untranslatable, match=r"unit 'PF' .*map set legacy-file UNIT"):
            await desk.do("create_sales_order", event)
        assert desk.cursors.values == {}
