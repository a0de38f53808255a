"""The legacy ERP by SOAP: what is posted, what each answer means, and what becomes of doubt."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from crossdock.order.v1 import order_events_pb2
from crossdock_adapters.legacy_soap import adapter, translate
from crossdock_adapters.legacy_soap.adapter import ADAPTER
from crossdock_adapters.legacy_soap.translate import Result
from crossdock_adapters.sdk import soap, xml_layout
from crossdock_adapters.sdk.conformance.erp_order import order
from crossdock_adapters.sdk.erp_answers import Said
from crossdock_adapters.sdk.erp_documents import DOCUMENTS
from crossdock_adapters.sdk.mappings import Code, Topic, UnreadCodes
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
    Throttled,
    Untranslatable,
)
from crossdock_adapters.sdk.settings import SettingsError
from legacy_file_world import RULES, approved, shipped
from legacy_soap_world import PASSWORD, REFERENCE, Hub, running, tell

CREATE = "create_sales_order"
SOLD = order_events_pb2.OrderApproved(order=order())
PAYLOADS = Path(__file__).parent / "payloads" / "legacy-soap"
LAYOUTS = adapter.loaded_layouts("")
ERRORS, ANSWERS = adapter.loaded_errors(""), adapter.loaded_answers("")
POSTED = [Reference("sales_order", "700001")]


@pytest.mark.parametrize(
    ("operation", "event", "file"),
    [(CREATE, approved(), "sales_order.xml"), ("post_goods_issue", shipped(), "goods_issue.xml")],
)
def test_documents_stand_as_they_were_described(operation: str, event: Any, file: str) -> None:
    """Proves against messages written by hand what the ERP gets, element by element in their order:
    exact decimals, days in the ERP's zone, nil and left out, lots and serial numbers."""
    document = DOCUMENTS[operation]
    rows = document.rows(event, document.action, REFERENCE, RULES)
    made = ElementTree.tostring(xml_layout.written(LAYOUTS[document.layout], rows))
    wanted = (PAYLOADS / file).read_text("utf-8")
    assert ElementTree.canonicalize(made.decode(), strip_text=True) == ElementTree.canonicalize(
        wanted, strip_text=True
    )


@pytest.mark.parametrize("version", soap.VERSIONS)
@pytest.mark.parametrize("password_type", ["digest", "text"])
async def test_an_orders_life_in_both_versions(
    tmp_path: Path, version: str, password_type: str
) -> None:
    """Proves in SOAP 1.1 and 1.2, with both kinds of password, that an order is booked, leaves and
    comes back at an ERP that checks schema, action, media type, digest, nonce and times."""
    given = {"soap_version": version, "password_type": password_type}
    async with running(tmp_path, **given) as desk:
        done = await desk.do(CREATE, approved())
        assert done.references == POSTED
        (fact,) = done.facts
        assert fact.order.sales_document == "700001"  # type: ignore[attr-defined]
        left = await desk.do("post_goods_issue", shipped(), "B" * 20)
        assert left.references == [Reference("goods_issue", "700002")]
        back = await desk.do("reverse_goods_issue", shipped(), "C" * 20)
        assert back.references == [Reference("reversal", "700002")]
        assert len(desk.sandbox._door.nonces) == len(desk.sandbox.calls) == 4


@pytest.mark.parametrize("fault", ["reply_lost", "error_after"])
async def test_a_lost_answer_is_unknown_and_found(tmp_path: Path, fault: str) -> None:
    """Proves that no answer, and a Server fault that came after the work, are unknown and never a
    retry; that a look-up adopts the document; and that a repeat has the same message id, which the
    ERP refuses, so that the first one is adopted, too."""
    async with running(tmp_path) as desk:
        desk.sandbox.faults.add({"kind": fault, "operation": "sales-orders", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await desk.do(CREATE, SOLD)
        for found in (await desk.look(CREATE, SOLD), await desk.do(CREATE, SOLD)):
            assert found.references == POSTED
            assert found.found_by == REFERENCE
        assert len(desk.asked()) == len(desk.sandbox.books()["messages"]) == 1


async def test_once_message_ids_are_forgotten_the_look_up_stands_alone(tmp_path: Path) -> None:
    """Proves that when the ERP's time for detecting doubles is over, a look-up still finds the
    document, which is all that keeps it from being posted again: a repeat is, under the same id,
    and a look-up then tells the second one, too."""
    async with running(tmp_path) as desk:
        for posted in (1, 2):
            desk.sandbox.faults.add({"kind": "reply_lost", "operation": "sales-orders", "count": 1})
            await desk.misbehave("takes_doubles")
            with pytest.raises(OutcomeUnknown):
                await desk.do(CREATE, SOLD)
            messages = desk.sandbox.books()["messages"]
            await desk.command("forget_messages")
            found = await desk.look(CREATE, SOLD)
            assert (found.references, len(found.duplicates)) == (POSTED, posted - 1)
            assert len(desk.asked()) == len(desk.sandbox.books()["documents"]) == posted
        assert len(messages) == 1


async def test_known_and_not_found_is_unknown(tmp_path: Path) -> None:
    """Proves that an ERP which had our message id and does not find our reference has neither done
    nor refused it: the call that it knows of may still be at work."""
    async with running(tmp_path) as desk:
        await desk.do(CREATE, SOLD)
        await desk.misbehave("loses_documents")
        with pytest.raises(OutcomeUnknown, match=r"does not find it; it said .*DuplicateMessage"):
            await desk.do(CREATE, SOLD)
        assert isinstance(await desk.look(CREATE, SOLD), NotFound)


async def test_a_clock_that_the_erp_refuses_is_corrected(tmp_path: Path) -> None:
    """Proves that a call refused for its time is made again at once, with a new nonce and the ERP's
    time, and that later calls have it from the start; without a correction it is a retry."""
    async with running(tmp_path) as desk:
        await desk.misbehave("clock_ahead")
        assert (await desk.do(CREATE, SOLD)).references == POSTED
        assert [call.operation for call in desk.sandbox.calls[1:]] == ["sales-orders"] * 2
        await desk.look(CREATE, SOLD)
        assert len(desk.sandbox.calls) == 4
    async with running(tmp_path, clock_correction_seconds=60) as desk:
        await desk.misbehave("clock_ahead")
        with pytest.raises(Retry, match="MessageExpired"):
            await desk.do(CREATE, SOLD)
        assert desk.asked() == []


def envelope(inside: str) -> bytes:
    return f'<s:Envelope xmlns:s="{soap.ENVELOPE}"><s:Body>{inside}</s:Body></s:Envelope>'.encode()


def told(code: str, blames: str = "Client") -> bytes:
    return soap.fault(code, "its words", blames=blames)


PAGE = b"<!DOCTYPE html><html><body>502 Bad Gateway<br></body></html>"
LAUGHS = b'<!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'
LARGE = b"<a>" + b"x" * 1_100_000 + b"</a>"


@pytest.mark.parametrize(
    ("status", "body", "word", "question"),
    [
        (500, told("", "Server"), OutcomeUnknown, Retry),
        (500, told("E999", "Server"), OutcomeUnknown, Retry),
        (200, told("", "Server"), OutcomeUnknown, Retry),
        (500, told(""), NeedsPerson, NeedsPerson),
        (500, told("E999"), OutcomeUnknown, NeedsPerson),
        (500, told("", "VersionMismatch"), NeedsPerson, NeedsPerson),
        (500, told("", "MustUnderstand"), NeedsPerson, NeedsPerson),
        (500, told("E101"), Reject, OutcomeUnknown),
        (200, told("E101"), Reject, OutcomeUnknown),
        (500, told("Locked", "Server"), Retry, Retry),
        (500, told("TooManyCalls", "Server"), Throttled, Throttled),
        (500, told("", "wsse:FailedAuthentication"), Retry, Retry),
        (429, PAGE, Throttled, Throttled),
        (401, PAGE, Retry, Retry),
        (502, PAGE, OutcomeUnknown, Retry),
        (503, PAGE, OutcomeUnknown, Retry),
        (404, PAGE, OutcomeUnknown, Retry),
        (200, PAGE, OutcomeUnknown, Retry),
        (200, LAUGHS, OutcomeUnknown, Retry),
        (200, LARGE, OutcomeUnknown, Retry),
        (200, b"", OutcomeUnknown, Retry),
        (200, envelope("<a/>"), OutcomeUnknown, Retry),
        (200, envelope("<a/><b/>"), OutcomeUnknown, Retry),
        (202, b"", OutcomeUnknown, Retry),
    ],
)
async def test_every_answer_has_its_meaning(
    tmp_path: Path, status: int, body: bytes, word: type, question: type
) -> None:
    """Proves what each fault, page and broken answer means after a post, and after a question:
    never done and never refused unless the table says so, and "not found" by nothing but the ERP's
    word for it."""
    async with running(tmp_path) as desk:
        for operation in ("sales-orders", "documents"):
            desk.sandbox.show(operation, body, status)
        with pytest.raises(word) as said:
            await desk.do(CREATE, SOLD)
        assert type(said.value) is word
        with pytest.raises(question) as said:
            await desk.look(CREATE, SOLD)
        assert type(said.value) is question
        assert desk.asked() == []


async def test_a_page_of_a_gateway_after_the_work_is_unknown(tmp_path: Path) -> None:
    """Proves that a proxy's error page, and a success about somebody else's reference, are unknown
    though the document is posted, and are settled by a look-up."""
    for kind in ("proxy_page", "other_reference"):
        async with running(tmp_path) as desk:
            await desk.misbehave(kind)
            with pytest.raises(OutcomeUnknown):
                await desk.do(CREATE, SOLD)
            assert (await desk.look(CREATE, SOLD)).references == POSTED
            assert len(desk.asked()) == 1


async def test_an_answer_to_another_message_is_unknown(tmp_path: Path) -> None:
    """Proves that a success which relates to another message id is not taken for ours."""
    result = f"<Reference>{REFERENCE}</Reference><Status>POSTED</Status>"
    space = LAYOUTS["sales_orders"].namespace
    inside = f"<Result>{result}<DocumentNumber>1</DocumentNumber></Result>"
    made = ElementTree.fromstring(
        f'<PostSalesOrderResponse xmlns="{space}">{inside}</PostSalesOrderResponse>'
    )
    async with running(tmp_path) as desk:
        desk.sandbox.show("sales-orders", soap.envelope(made))
        assert isinstance(await desk.do(CREATE, SOLD), Confirmed)
        desk.sandbox.show("sales-orders", soap.envelope(made, relates_to="urn:uuid:other"))
        with pytest.raises(OutcomeUnknown, match="relates to another message"):
            await desk.do(CREATE, SOLD)


async def test_a_queued_document_is_awaited_and_overdue(tmp_path: Path) -> None:
    """Proves that a document which is queued is not yet posted: the delivery waits, is confirmed by
    its number later, and is told as silence when its time is over."""
    async with running(tmp_path, answer_wait_seconds=0.05) as desk:
        await desk.misbehave("silence")
        with pytest.raises(AnswerLater, match="QUEUED"):
            await desk.do(CREATE, SOLD)
        await desk.command("behave")
        assert (await desk.settled(CREATE, SOLD)).references == POSTED
        assert len(desk.asked()) == 1
    async with running(tmp_path, answer_wait_seconds=0, result_silence_seconds=0) as desk:
        await desk.misbehave("silence")
        with pytest.raises(OutcomeUnknown, match="SILENT") as said:
            await desk.do(CREATE, SOLD)
        assert not isinstance(said.value, AnswerLater)


async def test_a_refused_document_is_a_rejection_both_ways(tmp_path: Path) -> None:
    """Proves that a business failure in a 200 ends as rejected with its code and words, from an
    attempt and from a look-up, and that a refusal which is not the document's parks."""
    async with running(tmp_path, customers=["CUST-1"]) as desk:
        with pytest.raises(Reject) as said:
            await desk.do(CREATE, SOLD)
        assert (said.value.code, said.value.reason) == ("E101", "E101 the customer is not known")
        found = await desk.look(CREATE, SOLD)
        assert found == FoundRejected("E101", "E101 the customer is not known")
    async with running(tmp_path) as desk:
        await desk.misbehave("period_closed")
        with pytest.raises(NeedsPerson):
            await desk.do(CREATE, SOLD)


async def test_a_locked_document_is_a_retry_with_the_same_message_id(tmp_path: Path) -> None:
    """Proves that what the ERP refused as locked was not taken, and is taken the next time."""
    async with running(tmp_path) as desk:
        await desk.misbehave("locked")
        with pytest.raises(Retry, match="Locked") as said:
            await desk.do(CREATE, SOLD)
        assert said.value.after_seconds == 10
        assert (await desk.do(CREATE, SOLD)).references == POSTED


@pytest.mark.parametrize("password_type", ["digest", "text"])
async def test_the_password_is_nowhere(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    password_type: str,
) -> None:
    """Proves that neither excerpts, reasons nor logs show the password, even where it travels as
    text and the ERP repeats it in a fault, nor its digest, by which passwords can be tried."""
    caplog.set_level("DEBUG")
    secrets, token_of = [PASSWORD], soap.username_token

    def remembered(*given: Any, **also: Any) -> soap.UsernameToken:
        made = token_of(*given, **also)
        secrets.append(made.digest)
        return made

    monkeypatch.setattr(soap, "username_token", remembered)
    async with running(tmp_path, password_type=password_type) as desk:
        await desk.misbehave("repeats_password")
        with pytest.raises(Retry) as said:
            await desk.do(CREATE, SOLD)
        shown = [desk.record.request_excerpt(), desk.record.response_excerpt()]
        shown += [said.value.reason, caplog.text, repr(desk.vendor)]
        assert "PostSalesOrder" in shown[0] and "are not wanted" in shown[1] + shown[2]
        assert len(secrets) > 2
        assert not [each for each in shown for secret in secrets if secret in each]


async def test_items_are_told_from_the_cursor_on_and_what_is_wrong_is_held(tmp_path: Path) -> None:
    """Proves that pages follow one another, that an item nobody can read is held for itself and
    holds back no other, and that the cursor moves only once the hub has what came before."""
    poll: Any = Hub()
    async with running(tmp_path) as desk:
        await tell(desk, *(f"SKU-{number}" for number in range(120)))
        await tell(desk, "SKU-BAD", Unit="??")
        await tell(desk, "SKU-STOPPED", Status="Z")
        await tell(desk, "SKU-LAST")
        await adapter.take_items(poll, desk.vendor)
        assert poll.told == [*(f"SKU-{number}" for number in range(120)), "SKU-LAST"]
        assert poll.cursor == b"123"
        (content, problem, _), (stopped, why, _) = poll.held
        assert b"SKU-BAD" in content and b"SKU-LAST" not in content
        assert "unit '??' of the ERP" in problem
        # A row that an operator gives a code is found by the code, whichever topic it is of.
        assert b"SKU-STOPPED" in stopped and "map set legacy-soap ITEM_STATUS" in why
        assert poll.unread == [
            UnreadCodes(Topic.UNIT, (Code("", "??"),)),
            UnreadCodes(Topic.ITEM_STATUS, (Code("", "Z"),)),
        ]
        await adapter.take_items(poll, desk.vendor)
        assert len(poll.told) == 121

        async def away(request: Any) -> Any:
            raise Retry(0.0, "the hub is away")

        await tell(desk, "SKU-NEW")
        poll.UpsertItems = away
        with pytest.raises(Retry):
            await adapter.take_items(poll, desk.vendor)
        assert poll.cursor == b"123"


async def test_a_page_that_nobody_can_read_is_held_and_asked_for_again(tmp_path: Path) -> None:
    """Proves that a broken page and a document type are held as they came without moving the
    cursor, each once, and that a gateway's page of HTML is neither held nor taken for the end."""
    poll: Any = Hub(b"7")
    async with running(tmp_path) as desk:
        await tell(desk, *(f"SKU-{number}" for number in range(9)))
        for body in (LAUGHS, LAUGHS, envelope("<a>")):
            desk.sandbox.show("items", body)
            await adapter.take_items(poll, desk.vendor)
        first, same, other = poll.held
        assert first == same != other and first[0] == LAUGHS
        desk.sandbox.show("items", PAGE, media="text/html")
        with pytest.raises(Retry, match="no SOAP answer"):
            await adapter.take_items(poll, desk.vendor)
        assert (poll.cursor, poll.told, len(poll.held)) == (b"7", [], 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"soap_version": "1.3"}, "soap_version must be one of"),
        ({"password_type": "plain"}, "password_type must be one of"),
        ({"message_id": "urn:one-for-all"}, "message_id must hold"),
        ({"message_id": "{reference}-{other}"}, "message_id must hold"),
        ({"errors_file": "/nowhere.toml"}, "errors_file: "),
        ({"answers_file": "/nowhere.toml"}, "answers_file: "),
    ],
)
async def test_settings_that_would_double_work_are_refused(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    """Proves that a message id which is the same for all documents, a call that outlasts the time
    after which a look-up is believed, and a missing table are refused at the start."""
    with pytest.raises(SettingsError, match=said):
        async with running(tmp_path, **given):
            pass


@pytest.mark.parametrize(
    ("theirs", "code"),
    [({"soap_version": "1.2"}, "VersionMismatch"), ({"username": "other"}, "FailedAuthentication")],
)
async def test_who_speaks_wrongly_does_not_serve(
    tmp_path: Path, theirs: dict[str, str], code: str
) -> None:
    """Proves that a service of the other version, which answers in its own, and one that does not
    know our user, fail the connection test with the code of their fault."""
    with pytest.raises((NeedsPerson, Retry), match=code):
        async with running(tmp_path, theirs=theirs):
            pass


async def test_an_erp_that_cannot_say_not_found_does_not_serve(tmp_path: Path) -> None:
    """Proves that the connection test fails where the ERP's word for "no such document" has no row,
    because then a look-up could never end."""
    text = Path(adapter.__file__).with_name("answers.toml").read_text("utf-8")
    file = tmp_path / "answers.toml"
    file.write_text(text.replace("NOT_FOUND = ", "OTHER = "))
    with pytest.raises(NeedsPerson, match='the meaning "absent"'):
        async with running(tmp_path, answers_file=str(file)):
            pass


async def test_what_does_not_fit_is_told_before_anything_leaves(tmp_path: Path) -> None:
    """Proves that a value which its element cannot hold parks with element and rule, unsent."""
    async with running(tmp_path) as desk:
        event = order_events_pb2.OrderApproved(order=order())
        event.order.customer_number = "C" * 21
        with pytest.raises(Untranslatable, match=r"sales_orders: document\.Customer .* 20"):
            await desk.do(CREATE, event)
        assert len(desk.sandbox.calls) == 1


async def test_a_deployments_own_files_count(tmp_path: Path) -> None:
    """Proves that a table of errors and a layout of the deployment's take the place of ours, alone,
    and that a misbehaviour which nobody plays is refused."""
    own = Path(adapter.__file__).parent
    errors = (own / "errors.toml").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(
        errors.replace('code = "E130"\nmeans = "person"', 'code = "E130"\nmeans = "rejected"')
    )
    layout = (own / "layouts" / "sales_orders.toml").read_text("utf-8")
    company = '  { element = "Company", name = "company", length = 20, blank = true },\n'
    assert company in layout
    (tmp_path / "sales_orders.toml").write_text(layout.replace(company, ""))
    given = {"errors_file": str(tmp_path / "mine.toml"), "layouts_directory": str(tmp_path)}
    async with running(tmp_path, **given) as desk:
        await desk.misbehave("period_closed")
        with pytest.raises(Reject) as refused:
            await desk.do(CREATE, SOLD)
        assert refused.value.code == "E130"
        assert "<Company>" not in desk.record.request_excerpt()
        assert "<Customer>" in desk.record.request_excerpt()
        with pytest.raises(ValueError, match="kind must be one of clock_ahead, "):
            await desk.misbehave("sulks")


def said(status: str, number: str = "", *codes: str) -> Result:
    return Result(REFERENCE, status, number, None, [Said(code) for code in codes])


@pytest.mark.parametrize(
    ("result", "ends"),
    [
        (said("QUEUED"), None),
        (said("NOT_FOUND"), NotFound),
        (said("POSTED", "7"), ["7"]),
        (said("WARNING", "7", "E101"), ["7"]),
        (said("POSTED"), NeedsPerson),
        (said("REFUSED", "", "E101", "E102"), FoundRejected),
        (said("REFUSED", "7", "E101"), FoundRejected),
        (said("REFUSED", "", "E101", "E130"), NeedsPerson),
        (said("REFUSED", "", "E999"), NeedsPerson),
        (said("REFUSED", "", "Locked"), NeedsPerson),
        (said("REFUSED"), NeedsPerson),
        (said("PARKED"), NeedsPerson),
        (said("posted", "7"), NeedsPerson),
    ],
)
def test_every_status_has_its_end(result: Result, ends: Any) -> None:
    """Proves the whole table: the status decides, codes only explain a refusal, a booking without a
    number is nobody's success, and what has no row is for a person."""
    arguments = (DOCUMENTS[CREATE], SOLD, [result], ANSWERS, ERRORS)
    if ends is NeedsPerson:
        with pytest.raises(NeedsPerson):
            translate.verdict(*arguments)
        return
    ended = translate.verdict(*arguments)
    if isinstance(ends, list):
        assert isinstance(ended, Confirmed)
        assert [each.value for each in ended.references] == ends
    else:
        assert ended is None if ends is None else isinstance(ended, ends)


def test_a_cancellation_needs_no_number() -> None:
    """Proves that only a booking has to have a number of its own."""
    done = translate.verdict(DOCUMENTS["cancel_order"], SOLD, [said("POSTED")], ANSWERS, ERRORS)
    assert isinstance(done, Confirmed)
    assert done.note == "the ERP told no document number"


def test_a_refusal_in_a_200_is_read_whole() -> None:
    """Proves by a message written by hand, with prefixes of its own, that zeros are no number, that
    line 0 is the document, and that a time has its zone."""
    answer = soap.read((PAYLOADS / "refused.xml").read_bytes())
    assert not isinstance(answer, soap.Fault)
    (result,) = translate.results(LAYOUTS["result"], answer, None)
    assert (result.number, result.status) == ("", "REFUSED")
    assert result.received is not None and result.received.isoformat() == (
        "2026-03-05T07:00:01+00:00"
    )
    assert [(each.line, each.code) for each in result.messages] == [("10", "E102"), ("", "E101")]


async def test_the_message_id_is_the_references(tmp_path: Path) -> None:
    """Proves that the message id is the same in another process, and in the form that is set."""
    seen = []
    for form in ("urn:uuid:{uuid}", "urn:uuid:{uuid}", "urn:hub:{reference}"):
        async with running(tmp_path, message_id=form) as desk:
            await desk.do(CREATE, SOLD)
            seen += desk.sandbox.books()["messages"]
    assert seen[0] == seen[1] and seen[0].startswith("urn:uuid:")
    assert seen[2] == f"urn:hub:{REFERENCE}"
    assert set(ADAPTER.operations) == set(DOCUMENTS)
