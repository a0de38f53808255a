"""The legacy ERP by SOAP: what it may have done is in doubt, and found again, however often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from crossdock.order.v1 import order_events_pb2
from crossdock_adapters.legacy_soap import adapter, translate
from crossdock_adapters.legacy_soap.translate import Result
from crossdock_adapters.sdk import soap, vendor_xml
from crossdock_adapters.sdk.conformance.erp_order import order
from crossdock_adapters.sdk.erp_answers import Said
from crossdock_adapters.sdk.erp_documents import DOCUMENTS
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
    VendorOutcome,
)
from legacy_soap_world import REFERENCE, Desk, Hub, running, tell

CREATE = "create_sales_order"
SOLD = order_events_pb2.OrderApproved(order=order())
POSTED = [Reference("sales_order", "700001")]


async def _unknown_then_for_a_person(desk: Desk) -> None:
    """The attempt is unknown; the look-up parks it, which keeps the doubt."""
    with pytest.raises(OutcomeUnknown, match="the ERP has it; then: "):
        await desk.do(CREATE, SOLD)
    with pytest.raises(NeedsPerson):
        await desk.look(CREATE, SOLD)
    assert len(desk.asked()) == 1


@pytest.mark.parametrize("kind", ["no_number", "unknown_status", "parks"])
async def test_what_the_erp_took_is_never_told_as_not_done(tmp_path: Path, kind: str) -> None:
    """Proves that a document which the ERP took, and of which only a person can say what became
    (posted without a number, a status without a row, parked where the ERP lets it go on), is
    unknown: the word for a person after a call would tell the hub that nothing was left there."""
    async with running(tmp_path) as desk:
        await desk.misbehave(kind, 9)
        await _unknown_then_for_a_person(desk)


async def test_a_refused_question_after_a_taken_document_is_unknown(tmp_path: Path) -> None:
    """Proves the same where the ERP queued the document, and then refuses the question about it."""
    async with running(tmp_path) as desk:
        await desk.misbehave("silence")
        desk.sandbox.show("documents", soap.fault("", "its words"), 500)
        await _unknown_then_for_a_person(desk)


@pytest.mark.parametrize("version", soap.VERSIONS)
async def test_a_code_of_the_erps_own_that_has_no_row_is_unknown(
    tmp_path: Path, version: str
) -> None:
    """Proves that a fault which blames us, with a code that nobody has said the meaning of, proves
    nothing about the document: the ERP's own code ran. As an answer to a question it parks."""
    async with running(tmp_path, soap_version=version) as desk:
        body = soap.fault("E999", "its words", version=version)
        for operation in ("sales-orders", "documents"):
            desk.sandbox.show(operation, body, 500)
        with pytest.raises(OutcomeUnknown, match="E999"):
            await desk.do(CREATE, SOLD)
        with pytest.raises(NeedsPerson, match="E999"):
            await desk.look(CREATE, SOLD)


async def test_a_refusal_parks_clean_and_says_which_word_helps(tmp_path: Path) -> None:
    """Proves that the ERP's own word for "not posted" leaves no doubt, and that its reason, like
    that of a refusal which a repeat meets again under the same message id, says `resubmit`."""
    async with running(tmp_path) as desk:
        await desk.misbehave("period_closed")
        for _ in range(2):
            with pytest.raises(NeedsPerson, match=r"E130 .*: resubmit it") as parked:
                await desk.do(CREATE, SOLD)
            assert not isinstance(parked.value, OutcomeUnknown)
        assert len(desk.asked()) == 1
        assert (await desk.do(CREATE, SOLD, "B" * 20)).references == POSTED
    async with running(tmp_path, customers=["CUST-1"]) as desk:
        with pytest.raises(Reject) as first:
            await desk.do(CREATE, SOLD)
        desk.sandbox.erp.customers = frozenset([SOLD.order.customer_number])
        with pytest.raises(Reject, match=r"E101 .*: resubmit it") as again:
            await desk.do(CREATE, SOLD)
        assert first.value.code == again.value.code == "E101"
        assert "resubmit" not in first.value.reason
        assert (await desk.do(CREATE, SOLD, "B" * 20)).references == POSTED


async def test_a_page_of_unreadable_items_does_not_stop_the_cursor(tmp_path: Path) -> None:
    """Proves that a whole page of items that nobody can read is held, one by one, and passed: what
    changed after them is told."""
    poll: Any = Hub()
    async with running(tmp_path) as desk:
        await tell(desk, *(f"SKU-{number}" for number in range(adapter.PAGE_ITEMS)), Weight="much")
        await tell(desk, "SKU-LAST")
        await adapter.take_items(poll, desk.vendor)
        assert len(poll.held) == adapter.PAGE_ITEMS
        assert (poll.cursor, poll.told) == (b"101", ["SKU-LAST"])


async def test_a_second_document_is_adopted_by_nobody_and_told(tmp_path: Path) -> None:
    """Proves that once the ERP forgot a message id and took a document again under our reference,
    the oldest one is confirmed, the other is told as a duplicate, and a refusal of the second, or
    its waiting, does not hide that the first is posted."""
    async with running(tmp_path) as desk:
        await desk.do(CREATE, SOLD)
        await desk.command("forget_messages")
        await desk.misbehave("takes_doubles")
        assert (await desk.do(CREATE, SOLD)).references == [Reference("sales_order", "700002")]
        found = await desk.look(CREATE, SOLD)
        assert (found.references, found.found_by) == (POSTED, REFERENCE)
        assert found.duplicates == [Reference("sales_order", "700002")]
        await desk.command("forget_messages")
        with pytest.raises(NeedsPerson, match="E110"):
            await desk.do(CREATE, SOLD)
        assert (await desk.look(CREATE, SOLD)).references == POSTED
        assert [each["status"] for each in desk.asked()] == ["POSTED", "POSTED", "REFUSED"]


ERRORS, ANSWERS = adapter.loaded_errors(""), adapter.loaded_answers("")
LAYOUT = adapter.loaded_layouts("")["result"]


def said(status: str, number: str = "", day: int = 0, code: str = "") -> Result:
    received = datetime(2026, 3, day, tzinfo=UTC) if day else None
    return Result(REFERENCE, status, number, received, [Said(code)] if code else [])


@pytest.mark.parametrize(
    ("results", "ends"),
    [
        ([said("POSTED", "8"), said("POSTED", "7")], (["8"], ["7"])),
        ([said("POSTED", "7"), said("POSTED", "7")], (["7"], [])),
        ([said("REFUSED", code="E101"), said("POSTED", "7")], (["7"], [])),
        ([said("REFUSED", code="E130"), said("POSTED", "7")], (["7"], [])),
        ([said("NOT_FOUND"), said("POSTED", "7")], (["7"], [])),
        ([said("POSTED", "7"), said("QUEUED")], None),
        ([said("REFUSED", code="E130"), said("QUEUED")], None),
        ([said("POSTED", "7"), said("PARKED")], NeedsPerson),
        ([said("POSTED", "7"), said("POSTED")], NeedsPerson),
        ([said("REFUSED", code="E101"), said("NOT_FOUND")], NeedsPerson),
        ([said("REFUSED", code="E101"), said("REFUSED", code="E130")], translate.NotPosted),
        ([said("REFUSED", code="E101"), said("REFUSED", code="E102")], FoundRejected),
        ([said("NOT_FOUND"), said("NOT_FOUND")], NotFound),
    ],
)
def test_several_results_have_one_end(results: list[Result], ends: Any) -> None:
    """Proves the table of several results under one reference: posted if any is, refused or absent
    only if all are, and nothing before the last has its end."""
    arguments = (DOCUMENTS[CREATE], SOLD, results, ANSWERS, ERRORS)
    if isinstance(ends, type) and issubclass(ends, NeedsPerson):
        with pytest.raises(ends) as parked:
            translate.verdict(*arguments)
        assert type(parked.value) is ends
        return
    ended = translate.verdict(*arguments)
    if isinstance(ends, tuple):
        assert isinstance(ended, Confirmed)
        adopted = [each.value for each in ended.references]
        assert (adopted, [each.value for each in ended.duplicates]) == ends
    else:
        assert ended is None if ends is None else isinstance(ended, ends)


def test_the_oldest_result_comes_first() -> None:
    """Proves that several results are told by when the ERP received them, in whatever order they
    stand, and in its own order where one of them has no time."""
    spoken = [said("POSTED", "8", day=9), said("POSTED", "7", day=2)]
    assert [each.number for each in _read(spoken)] == ["7", "8"]
    assert [each.number for each in _read([*spoken, said("REFUSED")])] == ["8", "7", ""]


def _read(spoken: list[Result]) -> list[Result]:
    """Results as they come out of an answer that says them in this order."""
    return _answered([
        {
            "Reference": each.reference,
            "Status": each.status,
            "DocumentNumber": each.number or None,
            "Received": each.received.isoformat() if each.received else None,
        }
        for each in spoken
    ])  # fmt: skip


def _answered(content: list[dict[str, Any]], zone: ZoneInfo | None = None) -> list[Result]:
    made = vendor_xml.build("GetDocumentResponse", {"Result": content}, "urn:documents")
    return translate.results(LAYOUT, vendor_xml.loads(vendor_xml.dumps(made)), zone)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("<faultcode>s:Client.BadOrder</faultcode>", OutcomeUnknown),
        ("<faultcode>s:Server.Busy</faultcode>", OutcomeUnknown),
        ("<faultcode>s:MustUnderstand.Header</faultcode>", NeedsPerson),
        ("<faultcode>wsse:InvalidSecurity.Nonce</faultcode>", Retry),
        ("<faultcode>s:Client.E101.Customer</faultcode>", OutcomeUnknown),
    ],
)
async def test_a_code_with_dots_is_one_of_what_is_before_them(
    tmp_path: Path, fault: str, word: type
) -> None:
    """Proves that a code of SOAP 1.1 with dots has the meaning of what is before them where it has
    no row itself, and that after a Client fault nothing else is taken for a code of ours."""
    inside = f"<s:Fault>{fault}<faultstring>no</faultstring></s:Fault>"
    body = f'<s:Envelope xmlns:s="{soap.ENVELOPE}"><s:Body>{inside}</s:Body></s:Envelope>'
    async with running(tmp_path) as desk:
        desk.sandbox.show("sales-orders", body.encode(), 500)
        with pytest.raises(word) as said:
            await desk.do(CREATE, SOLD)
        assert type(said.value) is word


async def test_a_subcode_that_has_a_row_counts_at_any_depth(tmp_path: Path) -> None:
    """Proves in SOAP 1.2 that a subcode with a row is found above a deeper one that has none."""
    codes = (
        "<s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>e:FailedAuthentication</s:Value>"
        "<s:Subcode><s:Value>e:Locked-Out</s:Value></s:Subcode></s:Subcode></s:Code>"
    )
    inside = f"<s:Fault>{codes}<s:Reason><s:Text>no</s:Text></s:Reason></s:Fault>"
    body = f'<s:Envelope xmlns:s="{soap.ENVELOPE_12}"><s:Body>{inside}</s:Body></s:Envelope>'
    async with running(tmp_path, soap_version="1.2") as desk:
        desk.sandbox.show("sales-orders", body.encode(), 500)
        with pytest.raises(Retry, match="Locked-Out"):
            await desk.do(CREATE, SOLD)


@pytest.mark.parametrize(
    ("told", "number"), [("0", ""), ("00000000", ""), ("0000000000", ""), ("0000070", "0000070")]
)
def test_nothing_but_zeros_is_no_number(told: str, number: str) -> None:
    """Proves that a document number of zeros alone is none, however long the ERP's field is."""
    row = {"Reference": REFERENCE, "Status": "POSTED", "DocumentNumber": told}
    assert [each.number for each in _answered([row])] == [number]


@pytest.mark.parametrize(
    ("told", "zone", "moment"),
    [
        ("2026-03-05T02:00:01-05:00", "", "2026-03-05T07:00:01+00:00"),
        ("2026-03-05T02:00:01-05:00", "Europe/Berlin", "2026-03-05T07:00:01+00:00"),
        ("2026-03-05T02:00:01", "America/New_York", "2026-03-05T07:00:01+00:00"),
        ("2026-11-01T01:30:00", "America/New_York", "2026-11-01T06:30:00+00:00"),
        ("2026-03-05T02:00:01", "", None),
        ("yesterday", "America/New_York", None),
        ("", "America/New_York", None),
        ("0001-01-01T00:00:00", "Europe/Berlin", None),
        ("0001-01-01T00:00:00", "America/New_York", None),
        ("0001-01-01T00:00:00+01:00", "", None),
        ("0001-01-01T00:00:00Z", "", None),
        ("9999-12-31T23:59:59", "America/New_York", None),
        ("9999-12-31T23:59:59-05:00", "", None),
    ],
)
def test_a_time_without_its_zone_is_of_the_deployments(
    told: str, zone: str, moment: str | None
) -> None:
    """Proves that a time of the ERP's is read by its own zone, else by the setting time_zone, of an
    hour that comes twice as the second, and by no other; and that the first and the last day of the
    calendar, which programs write for none, are none."""
    row = {"Reference": REFERENCE, "Status": "QUEUED", "Received": told or None}
    (result,) = _answered([row], ZoneInfo(zone) if zone else None)
    assert result.received == (datetime.fromisoformat(moment) if moment else None)


async def test_a_document_is_overdue_by_the_deployments_zone(tmp_path: Path) -> None:
    """Proves at an ERP that tells its times without a zone that a document which waits too long is
    told as overdue, and waits on without the setting, or where the ERP writes the first day of the
    calendar for no time at all."""
    space = adapter.loaded_layouts("")["look_up"].namespace
    for told, zone, silent in (
        ("2026-03-05T02:00:01", "America/New_York", True),
        ("2026-03-05T02:00:01", "", False),
        ("0001-01-01T00:00:00", "America/New_York", False),
        ("0001-01-01T00:00:00", "Europe/Berlin", False),
    ):
        row = {"Reference": REFERENCE, "Status": "QUEUED", "Received": told}
        made = vendor_xml.build("GetDocumentResponse", {"Result": row}, space)
        async with running(tmp_path, answer_wait_seconds=0, time_zone=zone) as desk:
            desk.sandbox.show("documents", soap.envelope(made))
            with pytest.raises(OutcomeUnknown) as ended:
                await desk.look(CREATE, SOLD)
            assert ended.value.reason.startswith("SILENT") == silent
            assert isinstance(ended.value, AnswerLater) != silent


async def test_a_question_asked_again_for_the_clock_is_another_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a look-up which is made again with the ERP's time has a message id of its own,
    for a service may know the first by now, while a post keeps that of its work."""
    ids: list[str] = []
    written = soap.envelope

    def seen(*given: Any, **also: Any) -> bytes:
        # What the sandbox writes has none.
        if also.get("message_id"):
            ids.append(also["message_id"])
        return written(*given, **also)

    monkeypatch.setattr(soap, "envelope", seen)
    for again, different in ((Desk.look, 2), (Desk.do, 1)):
        async with running(tmp_path) as desk:
            await desk.misbehave("clock_ahead")
            ids.clear()
            await again(desk, CREATE, SOLD)
            assert (len(ids), len(set(ids))) == (2, different)


@pytest.mark.parametrize("code", ["", "E101", "Locked", "DuplicateMessage", "TooManyCalls"])
async def test_a_clock_is_followed_only_after_a_refusal_of_the_header(
    tmp_path: Path, code: str
) -> None:
    """Proves that a fault which is not about our security header moves no clock, though it tells
    the ERP's own, and that no call is made again for it."""
    async with running(tmp_path) as desk:
        ahead = datetime.now(UTC) + timedelta(minutes=10)
        desk.sandbox.show("sales-orders", soap.fault(code, "no", created=ahead), 500)
        with pytest.raises(VendorOutcome):
            await desk.do(CREATE, SOLD)
        # What is known already is asked about at once.
        asked = ["documents"] if code == "DuplicateMessage" else []
        assert isinstance(await desk.look(CREATE, SOLD), NotFound)
        called = [call.operation for call in desk.sandbox.calls]
        assert called == ["documents", "sales-orders", *asked, "documents"]
