"""SAP Gateway's protocol: tokens, cookies, logins, ETags, errors, messages, pages, literals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.sap import answers, client, odata
from crossdock_adapters.sap.adapter import ADAPTER, loaded_answers
from crossdock_adapters.sap.answers import Problem
from crossdock_adapters.sap.client import RecordMissing, Stale
from crossdock_adapters.sap.orders import ORDERS
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, Retry
from crossdock_adapters.sdk.settings import SettingsError
from multidict import CIMultiDict
from sap_world import Desk, approved, running

PAYLOADS = Path(__file__).parent / "payloads" / "sap"
DELIVERIES = "API_OUTBOUND_DELIVERY_SRV;v=0002"
ANSWERS = loaded_answers("")


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path) as found:
        yield found


def answer(status: int, file: str = "", **headers: str) -> Answer:
    """An answer with a recorded body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = (PAYLOADS / file).read_bytes() if file else b""
    return Answer(status, CIMultiDict(named), body)


async def test_each_seat_has_a_session_of_its_own_for_each_service(desk: Desk) -> None:
    """Proves that parallel writers fetch one token each, and then no more."""
    event = approved({})

    async def book(number: int) -> None:
        made: Any = approved({})
        made.order.number = f"SO-{number}"
        await desk.do("create_sales_order", made)

    await asyncio.gather(*(book(number) for number in range(12)))
    assert len(desk.orders()) == 12
    given = desk.sandbox.books()["tokens"]["given"]
    assert 1 <= given <= ADAPTER.manifest.concurrency
    before = given
    await desk.do("create_sales_order", event)
    assert desk.sandbox.books()["tokens"]["given"] <= before + 1


async def test_a_forgotten_session_is_renewed_once_within_the_call(desk: Desk) -> None:
    """Proves that the refusal is known by its header, and that the write is done once."""
    await desk.do("create_sales_order", approved({}))
    await desk.command("forget_sessions")
    event: Any = approved({})
    event.order.number = "SO-2"
    await desk.do("create_sales_order", event)
    assert len(desk.orders()) == 2
    assert desk.sandbox.books()["tokens"]["refused"] == 1
    statuses = [
        call.status for call in desk.sandbox.calls if call.operation == "create_sales_order"
    ]
    assert statuses == [201, 403, 201]


async def test_a_refused_password_is_not_tried_until_it_changes(desk: Desk) -> None:
    """Proves that the technical user is not locked by us, and that a new password goes at once."""
    right = desk.password_file.read_text()
    desk.password_file.write_text("an old password")
    for _ in range(20):
        with pytest.raises(Retry) as caught:
            await desk.do("create_sales_order", approved({}))
        assert caught.value.after_seconds > 200
    assert desk.sandbox.books()["tokens"]["failed_logins"] == 1
    desk.password_file.write_text(right)
    await desk.do("create_sales_order", approved({}))
    assert len(desk.orders()) == 1


async def test_a_change_needs_the_etag_of_what_was_read(desk: Desk) -> None:
    """Proves that the sandbox enforces 428 and 412, and what the client makes of them."""
    await desk.do("create_sales_order", approved({}))
    number = desk.orders()[0]["SalesOrder"]
    path = f"A_SalesOrder{odata.key(SalesOrder=number)}"
    read = await desk.vendor.read(ORDERS, path)
    await desk.vendor.change(ORDERS, path, {"ShippingCondition": "02"}, read.etag)
    with pytest.raises(Stale):
        await desk.vendor.change(ORDERS, path, {"ShippingCondition": "03"}, read.etag)
    with pytest.raises(NeedsPerson, match="defect of this adapter"):
        await desk.vendor.change(ORDERS, path, {"ShippingCondition": "03"}, "")
    with pytest.raises(RecordMissing):
        await desk.vendor.read(ORDERS, f"A_SalesOrder{odata.key(SalesOrder='404')}")
    assert desk.orders()[0]["ShippingCondition"] == "02"


async def test_a_new_item_has_no_etag_of_its_own(desk: Desk) -> None:
    """Proves that the simulated order's ETag is not given out as one of the item that is added."""
    await desk.do("create_sales_order", approved({}))
    number = desk.orders()[0]["SalesOrder"]
    path = f"A_SalesOrder{odata.key(SalesOrder=number)}/to_Item"
    item = {"SalesOrderItem": "70", "Material": "SKU-1001", "RequestedQuantity": "1"}
    item |= {"RequestedQuantityUnit": "EA", "ProductionPlant": "1010"}
    assert (await desk.vendor.create(ORDERS, path, item)).etag == ""


async def test_every_page_is_read(tmp_path: Path) -> None:
    """Proves that `__next` is followed to its end, by path and query alone."""
    async with running(tmp_path, page_size=2) as desk:
        for number in range(5):
            event: Any = approved({})
            event.order.number = f"SO {number}'s & more"
            await desk.do("create_sales_order", event)
        rows = await desk.vendor.query(ORDERS, "A_SalesOrder", {"$orderby": "SalesOrder"})
        assert [row["SalesOrder"] for row in rows] == ["1", "2", "3", "4", "5"]
        assert desk.calls("query_sales_orders") == 5 + 3


async def test_a_service_that_is_not_arranged_is_for_a_person(desk: Desk) -> None:
    """Proves that the code, and not the status, tells a missing arrangement from a document."""
    with pytest.raises(NeedsPerson, match="not arranged"):
        await desk.vendor.read("API_NOBODY_SRV", "A_Thing('1')")


@pytest.mark.parametrize(
    ("status", "file", "word"),
    [
        (400, "error_locked.json", "retry"),
        (400, "error_period_closed.json", "person"),
        (403, "error_not_arranged.json", "person"),
        (404, "error_not_arranged.json", "person"),
        (404, "", "missing"),
        (412, "", "stale"),
        (409, "", "stale"),
        (428, "", "person"),
        (429, "error_page.html", "throttled"),
        (401, "", "login"),
        (302, "", "person"),
        (500, "error_locked.json", "retry"),
        (500, "error_page.html", "unknown"),
        (502, "error_page.html", "unknown"),
        (503, "", "unknown"),
        (504, "", "unknown"),
        (400, "", "person"),
        (422, "error_page.html", "person"),
        (418, "", "person"),
    ],
)
def test_what_an_answer_means(status: int, file: str, word: str) -> None:
    """Proves the table row by row, on bodies as SAP and gateways write them."""
    assert ANSWERS.verdict(client.problem_of(answer(status, file))).word == word


def test_the_cause_is_in_the_details() -> None:
    """Proves that the telling code is that of a detail, and that all of it is said."""
    problem = client.problem_of(answer(400, "error_period_closed.json"))
    assert problem.code == "M7/053"
    assert "An exception was raised" in str(problem)
    assert "company code 1010" in str(problem)


@pytest.mark.parametrize("shape", ["in an errordetail", "bare", "beside one that is none"])
def test_details_that_are_no_list_keep_their_codes(shape: str) -> None:
    """Proves that a single message, and what stands where a message should, hide no code."""
    detail = {"code": "M7/021", "message": "Deficit of stock", "severity": "error"}
    shapes: dict[str, Any] = {
        "in an errordetail": {"errordetail": [detail]},
        "bare": detail,
        "beside one that is none": [None, "cut", detail],
    }
    inner = {"errordetails": shapes[shape]}
    error = {"code": "SY/530", "message": {"value": "Error"}, "innererror": inner}
    problem = client.problem_of(Answer(400, CIMultiDict(), vendor_json.dumps({"error": error})))
    assert problem.code == "M7/021"
    assert ANSWERS.verdict(problem).word == "rejected"
    said = vendor_json.dumps({"code": "V1/311", "message": "Saved", "details": shapes[shape]})
    told = client.told_in(answer(201, "", sap_message=said.decode()))
    assert [each.code for each in told] == ["V1/311", "M7/021"]


@pytest.mark.parametrize(
    ("status", "code", "text", "word"),
    [
        (404, "/IWFND/MED/170", "No service found", "person"),
        (400, "VL/046", "Lieferung in Arbeit", "retry"),
        (422, "M7/053", "Periode zu", "person"),
    ],
)
@pytest.mark.parametrize("head", ["", "\ufeff<?xml version='1.0' encoding='utf-8'?>\n"])
def test_an_error_in_xml_says_the_same(
    status: int, code: str, text: str, word: str, head: str
) -> None:
    """Proves of an error as XML, which SAP Gateway writes of a service that is not active whatever
    is accepted, that its code and those of its details are read: it is not taken for a document
    that is not there, nor a lock for a person's. What is XML and no error is told as it is."""
    namespace = "http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"
    said = f"<code>{{}}</code><message xml:lang='de'>{text}</message>"
    detail = f"<errordetail>{said.format(code)}<severity>error</severity></errordetail>"
    for own, details in ((code, ""), ("SY/530", f"<errordetails>{detail}</errordetails>")):
        inner = f"<innererror><transactionid>7</transactionid>{details}</innererror>"
        body = f"{head}<error xmlns='{namespace}'>{said.format(own)}{inner}</error>".encode()
        problem = client.problem_of(Answer(status, CIMultiDict(), body))
        assert (ANSWERS.verdict(problem).word, problem.code) == (word, code)
        assert text in str(problem) and "<" not in str(problem)
    feed = client.problem_of(Answer(status, CIMultiDict(), b"<feed><code>V1/1</code></feed>"))
    assert (feed.code, str(feed)) == ("", f"{status} no code: <feed><code>V1/1</code></feed>")


def test_a_detail_may_say_its_language() -> None:
    """Proves that the text of a detail which stands beside its language, as that of the head does,
    is that text."""
    told = {"lang": "en", "value": "Material is locked by user B"}
    detail = {"code": "400", "message": told, "severity": "error"}
    error = {"code": "400", "message": told, "innererror": {"errordetails": [detail]}}
    problem = client.problem_of(Answer(400, CIMultiDict(), vendor_json.dumps({"error": error})))
    assert (ANSWERS.verdict(problem).word, str(problem)) == ("retry", f"400 400: {told['value']}")


def test_null_is_no_word_of_a_message() -> None:
    """Proves that what SAP leaves null of an error, its details, a header or a report is empty, and
    that a detail without a severity counts as the error that it stands in."""
    nothing = dict.fromkeys(("code", "message", "severity", "target", "propertyref"))
    lock = {**nothing, "code": "ME/006", "message": "User MUELLER already processing"}
    warning = {**nothing, "code": "V1/600", "severity": "warning"}
    heads: list[dict[str, Any]] = [nothing, {**nothing, "message": {"value": None}}]
    for head in heads:
        error = {**head, "innererror": {"errordetails": [warning, lock, nothing]}}
        problem = client.problem_of(Answer(400, CIMultiDict(), vendor_json.dumps({"error": error})))
        assert (ANSWERS.verdict(problem).word, problem.code) == ("retry", "ME/006")
        assert "none" not in str(problem).lower()
    (told,) = client.told_in(answer(201, "", sap_message=vendor_json.dumps(nothing).decode()))
    assert (told.code, told.text, told.severity, told.target) == ("", "", "", "")
    reported = client._reported({
        "SystemMessageType": "E", "SystemMessageIdentification": None,
        "SystemMessageNumber": None, "SystemMessageText": None, "SystemMessageVariable1": None,
    }, ANSWERS)  # fmt: skip
    assert (reported.code, reported.text) == ("", "")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("ME/006", "User already processing"),
        ("XX/000", "Sales order 17 is already being processed by user MUELLER"),
        ("MC/601", "Object requested is in use"),
        ("XX/000", "The document is currently locked by another session"),
    ],
)
def test_words_of_a_lock_are_retries(code: str, text: str) -> None:
    """Proves that locks of other parts of SAP wait, too, and park nothing."""
    error = {"code": code, "message": {"value": text}}
    problem = client.problem_of(Answer(400, CIMultiDict(), vendor_json.dumps({"error": error})))
    assert ANSWERS.verdict(problem).word == "retry"


@pytest.mark.parametrize(("code", "word"), [("XX/000", "person"), ("VL/150", "rejected")])
@pytest.mark.parametrize(
    "text",
    [
        "Item 10 is already being processed in delivery 80000017",
        "Delivery 80000017 is already processing item 10",
    ],
)
def test_what_another_document_has_is_no_lock(code: str, word: str, text: str) -> None:
    """Proves that a refusal for what follows a document, which no waiting ends, is not repeated."""
    error = {"code": code, "message": {"value": text}}
    problem = client.problem_of(Answer(400, CIMultiDict(), vendor_json.dumps({"error": error})))
    assert ANSWERS.verdict(problem).word == word


def test_a_warning_beside_an_error_is_no_reason() -> None:
    """Proves that what was said of the same document, and not against the call, neither rejects it
    nor makes it a retry."""
    details = [
        {"code": "V1/600", "message": "Item 20 is rejected", "severity": "warning"},
        {"code": "V1/311", "message": "It is locked by nobody", "severity": "info"},
        {"code": "ZZ/007", "message": "Not now", "severity": "error"},
    ]
    error = {"code": "SY/530", "message": {"value": "Error"}, "innererror": {}}
    error["innererror"] = {"errordetails": details}
    problem = client.problem_of(Answer(400, CIMultiDict(), vendor_json.dumps({"error": error})))
    assert ANSWERS.verdict(problem).word == "person"
    details[2]["code"] = "M7/021"
    problem = client.problem_of(Answer(400, CIMultiDict(), vendor_json.dumps({"error": error})))
    assert (ANSWERS.verdict(problem).word, problem.code) == ("rejected", "M7/021")


def test_messages_of_a_call_that_worked() -> None:
    """Proves that warnings of the header are found, and that what is no JSON is kept as it is."""
    header = (PAYLOADS / "sap_message.json").read_text().strip()
    told = client.told_in(answer(201, "", sap_message=header))
    assert [each.severity for each in told] == ["success", "warning"]
    assert "The route was redetermined" in client.warnings(told)
    (raw,) = client.told_in(answer(201, "", sap_message="<notification>cut o"))
    assert raw.text == "<notification>cut o"
    assert client.told_in(answer(201)) == ()


def test_a_report_that_failed_at_status_200() -> None:
    """Proves that E and A are errors, W is not, and that a type nobody documented is an error."""
    content = answer(200, "post_goods_issue_failed.json").json()["d"]
    told = [client._reported(row, ANSWERS) for row in odata.rows(content)]
    errors = tuple(each for each in told if each.severity == "error")
    assert [each.code for each in errors] == ["M7/021"]
    assert ANSWERS.verdict(Problem(200, errors)).word == "rejected"
    for kind, severity in (("A", "error"), ("Q", "error"), ("W", "warning")):
        assert client._reported({"SystemMessageType": kind}, ANSWERS).severity == severity


def test_values_as_sap_writes_them() -> None:
    """Proves that dates never pass through a local zone, and that decimals stay exact."""
    content = answer(200, "sales_order_page.json").json()["d"]
    (row,) = odata.rows(content)
    created = odata.moment(row["CreationDate"])
    assert created == datetime(2026, 3, 5, tzinfo=UTC)
    assert odata.moment(row["LastChangeDateTime"]) == datetime(2026, 3, 5, 12, tzinfo=UTC)
    assert odata.day(date(2026, 3, 5)) == row["CreationDate"]
    assert str(odata.number(row["TotalNetAmount"])) == "10.000"
    assert odata.decimal_text(Decimal("10.000")) == "10"
    assert odata.decimal_text(Decimal("100")) == "100"
    assert odata.decimal(Decimal("2.50")) == "2.50M"
    assert odata.moment("") is None
    summer = timezone(timedelta(hours=2))
    late = datetime(2026, 7, 1, 1, 30, tzinfo=summer)
    assert odata.offset_literal(late) == "datetimeoffset'2026-06-30T23:30:00Z'"
    for wrong in ("1E+999999999", "NaN", "two"):
        with pytest.raises(ValueError, match="decimal"):
            odata.number(wrong)
    with pytest.raises(ValueError, match="no date"):
        odata.moment("2026-03-05")
    for absurd in ("/Date(-62135769600001)/", "/Date(999999999999999)/"):
        with pytest.raises(ValueError, match="no day of the years 1 to 9999"):
            odata.moment(absurd)
    for initial in ("/Date(-62135769600000)/", "/Date(-62135596800000)/"):
        assert odata.moment(initial) is None


def test_addresses_carry_what_they_are_given() -> None:
    """Proves that quotes are doubled, blanks are %20, and that a slash or plus cannot break out."""
    assert odata.key(SalesOrder="1/2") == "('1%2F2')"
    assert odata.key(A="x'y", B="2") == "(A='x''y',B='2')"
    query = odata.query({"$filter": odata.equals("Name", "a&b+c's")})
    assert query == "$filter=Name%20eq%20'a%26b%2Bc''s'"


def test_a_table_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    """Proves that every row needs a word, a meaning and a source, and that all of it is told."""
    own = resources.files("crossdock_adapters.sap").joinpath("answers.toml").read_text("utf-8")
    broken = own.replace('word = "login"', 'word = "guess"').replace(
        'source = "http"', 'source = "hearsay"'
    )
    with pytest.raises(ValueError, match=r"answer 2: word .*'guess'; answer 5: source"):
        answers.read(broken, "answers.toml")
    file = tmp_path / "answers.toml"
    for text, said in (
        ("[[answer]]\nstatus = []\n", "status has to be a list"),
        ('[[answer]]\nstatus = [400]\npause_seconds = "soon"\n', "pause_seconds must be 0 or more"),
        ("[goods_movement]\nA = { word = 'shut' }\n", "goods_movement A: word must be one of"),
        ("[picking]\nA = { word = 'half' }\n", "picking A: word must be one of done, open, part"),
        ("[message_type]\n", r"\[message_type\] has no rows: leave it out for those of the ad"),
        ("[pickings]\n", "pickings is not known here"),
        ("][", "not TOML"),
    ):
        file.write_text(text)
        with pytest.raises(SettingsError, match=f"answers_file: .*{said}"):
            loaded_answers(str(file))


def test_a_table_of_before_starts_after_an_upgrade(tmp_path: Path) -> None:
    """Proves that a deployment's own file, written before the adapter had tables of codes, is read
    with the adapter's, and that one which it names is its own alone."""
    own = resources.files("crossdock_adapters.sap").joinpath("answers.toml").read_text("utf-8")
    before = own[: own.index("[goods_movement]")].replace("[200, 201, 400]", "[499]", 1)
    file = tmp_path / "answers.toml"
    file.write_text(before, "utf-8")
    assert loaded_answers(str(file)).codes == ANSWERS.codes
    assert loaded_answers(str(file)).rows != ANSWERS.rows
    row = '[picking]\nZ = { word = "done", meaning = "picked", source = "sheet" }\n'
    file.write_text(before + row, "utf-8")
    read = loaded_answers(str(file))
    assert (read.word("picking", "Z"), read.word("picking", "A")) == ("done", "")
    assert read.codes["message_type"] == ANSWERS.codes["message_type"]


async def test_the_connection_is_proven_by_a_token(desk: Desk) -> None:
    """Proves that the test fetches a token of the delivery service, and needs no document."""
    await desk.vendor.test()
    assert [call.operation for call in desk.sandbox.calls] == ["service_root"]
    assert DELIVERIES in desk.sandbox.calls[0].path
