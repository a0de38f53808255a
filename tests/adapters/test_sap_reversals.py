"""What a void of a posted departure tells of SAP: the reversal's own material document."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from crossdock.shipment.v1 import shipment_events_pb2
from crossdock_adapters.sap import conformance, sandbox_deliveries
from crossdock_adapters.sap.adapter import ADAPTER
from crossdock_adapters.sap.delivery import OUTBOUND
from crossdock_adapters.sap.material_documents import (
    DocumentRules,
    MaterialDocuments,
    Movement,
    Posting,
    paired,
)
from crossdock_adapters.sdk.outcomes import (
    AnswerLater,
    Confirmed,
    NeedsPerson,
    OutcomeUnknown,
    Retry,
)
from sap_world import Desk, approved, depart, manifested, running, voided

PACKED_AGAIN = "0190f7a2-3c4d-7e5f-8a6b-0000000000aa"
# Whatever asks SAP.
CALLS = ("query", "read", "call", "change", "create")
FIRST, AGAIN = conformance.SHIPMENT_ID, PACKED_AGAIN


def void(shipment_id: str = FIRST) -> shipment_events_pb2.ShipmentVoided:
    event: Any = voided({})
    event.shipment.id = shipment_id
    return event


def documents(desk: Desk, movement: str) -> list[str]:
    """Material documents of a movement type in the tenant's books, oldest first."""
    rows = [each for each in desk.documents() if each["GoodsMovementType"] == movement]
    return list(
        dict.fromkeys(f"{row['MaterialDocumentYear']}/{row['MaterialDocument']}" for row in rows)
    )


def told(done: Confirmed) -> list[tuple[str, str]]:
    return [(each.type, each.value) for each in done.references]


def shows_after(desk: Desk, seconds: float) -> None:
    """From now on a material document shows so long after its posting."""
    desk.sandbox._document_delay = timedelta(seconds=seconds)


def grow_old(desk: Desk) -> None:
    """What is posted by now shows, whatever the delay."""
    for row in desk.sandbox._books.material_documents:
        row["posted"] -= timedelta(days=1)


async def posted(desk: Desk, shipment_id: str = FIRST) -> Confirmed:
    """A shipment's goods issue, which the hub hears of."""
    event = manifested(shipment_id=shipment_id)
    done = await desk.do("post_goods_issue", event)
    desk.learn(event, "post_goods_issue", done)
    return done


async def two_departures(desk: Desk) -> shipment_events_pb2.ShipmentVoided:
    """An order whose goods left twice and are posted so, which the hub heard of: its void."""
    await desk.do("create_sales_order", approved({}))
    event = manifested()
    for lines in (((10, "2"), (20, "3")), ((20, "2"),)):
        depart(event, *lines)
        desk.learn(event, "post_goods_issue", await desk.do("post_goods_issue", event))
    undo = void()
    undo.shipment.CopyFrom(event.shipment)
    return undo


async def reversed_(desk: Desk, shipment_id: str = FIRST) -> Confirmed:
    """A shipment's void, which the hub hears of."""
    done = await desk.do("reverse_goods_issue", void(shipment_id))
    desk.learn(void(shipment_id), "reverse_goods_issue", done)
    return done


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("by", ["delivery", "document_flow"])
async def test_a_reversal_tells_its_own_document(tmp_path: Path, by: str, names: bool) -> None:
    """Proves that the reversal's document is found afterwards as the goods issue's is, the same at
    each redelivery, whether SAP says which document one reverses or only its movement type."""
    async with running(tmp_path, documents_by=by, names_reversed=names) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        done = await reversed_(desk)
        ((year, _, number),) = [each.partition("/") for each in documents(desk, "602")]
        (delivery,) = desk.deliveries()
        expected = [
            ("material_document", number if by == "document_flow" else f"{year}/{number}"),
            ("reversed_delivery", delivery["DeliveryDocument"]),
        ]
        assert told(done) == expected
        assert told(await desk.do("reverse_goods_issue", void())) == expected
        assert desk.calls("reverse_goods_issue") == 1


@pytest.mark.parametrize("known", [False, True])
async def test_a_lost_reply_ends_in_one_reversal_with_its_document(
    tmp_path: Path, known: bool
) -> None:
    """Proves that a reversal of which nobody heard is found by the repeat, with its document,
    whether the hub knows the goods issue's or not."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        issue = await desk.do("post_goods_issue", manifested())
        if known:
            desk.learn(manifested(), "post_goods_issue", issue)
        desk.fault("reply_lost", operation="reverse_goods_issue", count=1)
        with pytest.raises(OutcomeUnknown):
            await desk.do("reverse_goods_issue", void())
        done = await desk.do("reverse_goods_issue", void())
        assert told(done)[0] == ("material_document", *documents(desk, "602"))
        assert desk.calls("reverse_goods_issue") == 1


async def test_a_document_that_is_not_visible_yet_keeps_the_delivery(tmp_path: Path) -> None:
    """Proves that nothing is reversed before the goods issue's document shows, that a reversal is
    not confirmed before its own does, and that nobody else takes the delivery until then."""
    async with running(tmp_path, document_seconds=0) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        shows_after(desk, 600)
        with pytest.raises(Retry, match="is reversed once it is"):
            await desk.do("reverse_goods_issue", void())
        assert documents(desk, "602") == []
        grow_old(desk)
        for _ in range(2):
            with pytest.raises(AnswerLater, match="is reversed"):
                await desk.do("reverse_goods_issue", void())
        (delivery,) = desk.deliveries()
        assert delivery["DeliveryDocumentBySupplier"].startswith("2222")
        shows_after(desk, 0)
        done = await desk.do("reverse_goods_issue", void())
        assert told(done)[0] == ("material_document", *documents(desk, "602"))
        (delivery,) = desk.deliveries()
        assert delivery["DeliveryDocumentBySupplier"].startswith("V222")
        assert desk.calls("reverse_goods_issue") == 1


async def test_an_earlier_reversal_is_never_told_as_a_later_one(tmp_path: Path) -> None:
    """Proves that neither the goods issue nor the void of what is packed again on the delivery of
    a voided shipment takes the documents of that one for its own, and that the first one's void,
    asked again after all that, tells its own."""
    async with running(tmp_path, document_seconds=0) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        first = await reversed_(desk)
        grow_old(desk)
        shows_after(desk, 600)
        with pytest.raises(AnswerLater, match="is posted"):
            await desk.do("post_goods_issue", manifested(shipment_id=AGAIN))
        grow_old(desk)
        issue = await posted(desk, AGAIN)
        assert told(issue)[0][1] == documents(desk, "601")[1]
        with pytest.raises(AnswerLater, match="is reversed"):
            await desk.do("reverse_goods_issue", void(AGAIN))
        again = await desk.do("reverse_goods_issue", void())
        assert told(again) == told(first)
        grow_old(desk)
        second = await reversed_(desk, AGAIN)
        assert [told(each)[0][1] for each in (first, second)] == documents(desk, "602")
        assert desk.calls("reverse_goods_issue") == 2


async def test_a_void_of_what_never_left_tells_no_document_of_another(tmp_path: Path) -> None:
    """Proves that a shipment which took over a delivery and was never posted is voided without a
    document, though its delivery has a reversal: that of the shipment before it."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        await reversed_(desk)
        desk.fault("error_before", operation="post_goods_issue", count=1)
        with pytest.raises(OutcomeUnknown):
            await desk.do("post_goods_issue", manifested(shipment_id=AGAIN))
        done = await desk.do("reverse_goods_issue", void(AGAIN))
        assert (told(done), done.note) == ([], "nothing is posted: nothing to do")
        assert len(documents(desk, "602")) == 1


async def test_a_reversal_that_commits_late_is_not_repeated(tmp_path: Path) -> None:
    """Proves that a call which SAP finishes between the repeat's reading and its own call ends as
    one reversal: the version that the repeat read is refused, and the document is that one's."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        read = desk.vendor.call
        (document,) = desk.sandbox._books.deliveries.values()

        async def after_another(service: str, function: str, *given: Any) -> Any:
            desk.vendor.call = read  # type: ignore[method-assign]
            day = conformance.CHANGED_AT[:10]
            sandbox_deliveries.reverse_goods_issue(
                desk.sandbox._books, document, date.fromisoformat(day)
            )
            return await read(service, function, *given)

        desk.vendor.call = after_another  # type: ignore[method-assign]
        done = await desk.do("reverse_goods_issue", void())
        assert told(done)[0] == ("material_document", *documents(desk, "602"))


@pytest.mark.parametrize("known", [False, True])
async def test_what_is_posted_after_it_was_let_go_is_not_reversed(
    tmp_path: Path, known: bool
) -> None:
    """Proves that a redelivered void leaves alone what somebody posted on the delivery that it let
    go: it tells its own reversal where the hub knows the goods issue, else a person decides."""
    async with running(tmp_path) as desk:
        await desk.do("create_sales_order", approved({}))
        issue = await desk.do("post_goods_issue", manifested())
        if known:
            desk.learn(manifested(), "post_goods_issue", issue)
        first = await desk.do("reverse_goods_issue", void())
        (document,) = desk.sandbox._books.deliveries.values()
        sandbox_deliveries.post_goods_issue(desk.sandbox._books, document)
        if known:
            assert told(await desk.do("reverse_goods_issue", void())) == told(first)
        else:
            with pytest.raises(NeedsPerson, match="let it go"):
                await desk.do("reverse_goods_issue", void())
        assert desk.calls("reverse_goods_issue") == 1


async def test_every_departure_tells_its_own_reversal(tmp_path: Path) -> None:
    """Proves that a void of two departures reverses both deliveries and tells both documents."""
    async with running(tmp_path) as desk:
        undo = await two_departures(desk)
        done = await desk.do("reverse_goods_issue", undo)
        said = [value for kind, value in told(done) if kind == "material_document"]
        assert said == documents(desk, "602") and len(said) == 2
        assert told(await desk.do("reverse_goods_issue", undo)) == told(done)


async def test_a_document_that_is_waited_for_holds_up_no_other_departure(tmp_path: Path) -> None:
    """Proves that every departure's delivery is reversed at once, though the document of the first
    one's reversal does not show: goods that came back are on the books again."""
    async with running(tmp_path, document_seconds=0) as desk:
        undo = await two_departures(desk)
        grow_old(desk)
        shows_after(desk, 600)
        with pytest.raises(AnswerLater, match="is reversed"):
            await desk.do("reverse_goods_issue", undo)
        assert desk.calls("reverse_goods_issue") == 2
        grow_old(desk)
        done = await desk.do("reverse_goods_issue", undo)
        said = [value for kind, value in told(done) if kind == "material_document"]
        assert said == documents(desk, "602") and len(said) == 2


class Killed(BaseException):
    """The process is gone."""


def die_after(desk: Desk, calls: int) -> Callable[[], bool]:
    """The process ends with so many more answers of SAP; what the returned function says is whether
    it came to that. It lives on when that is asked."""
    asked, whole = 0, {name: getattr(desk.vendor, name) for name in CALLS}

    def dying(name: str) -> Any:
        async def call(*given: Any, **named: Any) -> Any:
            nonlocal asked
            asked += 1
            answer = await whole[name](*given, **named)
            if asked == calls:
                raise Killed
            return answer

        return call

    for name in CALLS:
        setattr(desk.vendor, name, dying(name))

    def died() -> bool:
        for name, call in whole.items():
            setattr(desk.vendor, name, call)
        return asked >= calls

    return died


@pytest.mark.parametrize("taken", [False, True])
async def test_a_void_that_dies_after_any_answer_ends_as_one_that_does_not(
    tmp_path: Path, taken: bool
) -> None:
    """Proves that a void of two departures which ends after any of SAP's answers is finished by its
    repeat, with one reversal for each delivery and the documents of both, also where what is packed
    again takes a delivery in between that was let go by then."""
    ended, calls = False, 0
    while not ended:
        calls += 1
        async with running(tmp_path, document_seconds=0) as desk:
            undo = await two_departures(desk)
            died = die_after(desk, calls)
            with contextlib.suppress(Killed):
                await desk.do("reverse_goods_issue", undo)
            ended = not died()
            first, _ = desk.deliveries()
            if taken and first["DeliveryDocumentBySupplier"].startswith("V"):
                again = manifested(shipment_id=AGAIN)
                depart(again, (10, "2"), (20, "3"))
                desk.learn(again, "post_goods_issue", await desk.do("post_goods_issue", again))
            done = await desk.do("reverse_goods_issue", undo)
            said = [value for kind, value in told(done) if kind == "material_document"]
            assert sorted(said) == documents(desk, "602") and len(said) == 2, calls
            assert desk.calls("reverse_goods_issue") == 2
    assert calls > 8


async def test_a_departure_that_lost_its_key_is_not_taken_for_reversed(tmp_path: Path) -> None:
    """Proves that a void of two departures is for a person where somebody edited the key of one of
    their deliveries, which is posted: the other one's reversal is not told as all of it."""
    async with running(tmp_path) as desk:
        undo = await two_departures(desk)
        (first, _) = desk.sandbox._books.deliveries.values()
        first.fields["DeliveryDocumentBySupplier"] = "BY HAND"
        with pytest.raises(NeedsPerson, match="is posted, and no delivery of sales order"):
            await desk.do("reverse_goods_issue", undo)
        assert len(documents(desk, "602")) == 1


async def test_a_reversal_of_a_movement_that_nobody_named_is_waited_for(tmp_path: Path) -> None:
    """Proves that a tenant's own movement type is not guessed to be a reversal, and is told once
    the setting names it."""
    own = {"reversal_movements": ["999"], "document_seconds": 0}
    async with running(tmp_path, **own) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        with pytest.raises(AnswerLater, match="reversal_movements"):
            await desk.do("reverse_goods_issue", void())
    async with running(tmp_path, **{**own, "reversal_movements": ["999", "602"]}) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        assert len(told(await desk.do("reverse_goods_issue", void()))) == 2


async def test_a_reversal_that_cannot_be_read_back_is_in_doubt(tmp_path: Path) -> None:
    """Proves that trouble in reading the document refuses no reversal: it is done."""
    async with running(tmp_path, document_seconds=0) as desk:
        await desk.do("create_sales_order", approved({}))
        await posted(desk)
        call = desk.vendor.call

        async def then_forbidden(*given: Any) -> Any:
            reply = await call(*given)
            desk.fault("error_before", operation="query_material_documents", status=403, count=1)
            return reply

        desk.vendor.call = then_forbidden  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnknown, match="is reversed, its document cannot be read"):
            await desk.do("reverse_goods_issue", void())
        desk.vendor.call = call  # type: ignore[method-assign]
        done = await desk.do("reverse_goods_issue", void())
        assert told(done)[0] == ("material_document", *documents(desk, "602"))


@pytest.mark.parametrize("seed", range(20))
def test_a_reversal_is_paired_with_what_it_reversed(seed: int) -> None:
    """Proves, by histories of postings and reversals of one delivery of which the newest may not
    show yet, that each reversal stands beside its own posting, named or not, in whatever order
    SAP lists the items."""
    chance = random.Random(seed)
    rounds, names = chance.randint(0, 5), chance.random() < 0.5
    history: list[Movement] = []
    for each in range(rounds):
        issue = f"2026/{4900000000 + 2 * each}"
        reversal = f"2026/{4900000001 + 2 * each}"
        items = chance.randint(1, 3)
        history += [Movement(issue, False)] * items
        history += [Movement(reversal, True, issue if names else "")] * items
    shown = history[: chance.randint(0, len(history))]
    seen = {each.document for each in shown}
    chance.shuffle(shown)
    expected = [
        (issue, reversal if reversal in seen else "")
        for issue, reversal in (
            (f"2026/{4900000000 + 2 * each}", f"2026/{4900000001 + 2 * each}")
            for each in range(rounds)
        )
        if issue in seen
    ]
    assert [(each.document, each.reversal) for each in paired(shown)] == expected


@pytest.mark.parametrize(
    "reversal",
    [
        [Movement("2026/49002", True), Movement("2026/49002", False)],
        [Movement("2026/49002", False), Movement("2026/49002", True)],
        [Movement("2026/49002", True, "2026/49001"), Movement("2026/49002", True)],
        [Movement("2026/49002", True, "2026/0000049001")],
        [Movement("2026/49002", True, "/49001")],
        [Movement("2026/49002", True, "0000/49001")],
    ],
)
def test_one_item_says_what_a_document_is(reversal: list[Movement]) -> None:
    """Proves that a document of which one item alone says that it reverses, or what, is a reversal
    and no posting that stands, and that zeros and a year that is not said tell no two documents
    apart."""
    first = [Movement("2026/49001", False)]
    again = [Movement("2026/49003", False)]
    pair = Posting("2026/49001", "2026/49002")
    assert paired([*first, *reversal]) == [pair]
    assert paired([*first, *reversal, *again]) == [pair, Posting("2026/49003")]


def test_a_year_that_is_said_tells_documents_apart() -> None:
    """Proves that a number given again in another year is another document."""
    moved = [Movement("2025/49001", False), Movement("2026/49001", False)]
    told_of = Movement("2026/49002", True, "2026/49001")
    assert paired([*moved, told_of]) == [
        Posting("2025/49001"), Posting("2026/49001", "2026/49002"),
    ]  # fmt: skip


@pytest.mark.parametrize("moved", ["601", "651", "653", "655", "657"])
async def test_the_reversals_of_goods_issues_and_receipts_are_known(moved: str) -> None:
    """Proves that by the settings' defaults the next movement type reverses each of those that SAP
    posts sales orders and customer returns by, and that none of those reverses another."""
    rows = [
        {"MaterialDocumentYear": "2026", "MaterialDocument": number, "GoodsMovementType": kind}
        for number, kind in (("49001", moved), ("49002", str(int(moved) + 1)))
    ]

    async def query(*_: object) -> Any:
        return rows

    known = frozenset(ADAPTER.manifest.settings["reversal_movements"].default)
    vendor: Any = SimpleNamespace(query=query)
    documents = MaterialDocuments(vendor, "", DocumentRules("delivery", 0, known, "h"), OUTBOUND)
    delivery: Any = SimpleNamespace(number="80001")
    assert await documents.postings(delivery) == [Posting("2026/49001", "2026/49002")]
