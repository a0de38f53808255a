"""What the NetSuite client makes of every answer: done, refused, not processed, or unknown."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.netsuite.client import (
    ERRORS,
    DuplicateRecord,
    RecordMissing,
    eid,
    judge,
    problem_of,
)
from crossdock_adapters.sdk import exchange
from crossdock_adapters.sdk.error_table import ANY_CODE
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject, Retry, Throttled
from netsuite_account import Account, client_of, running_account
from sdk_waiting import until

PAYLOADS = Path(__file__).parent / "payloads" / "netsuite"


def recorded(name: str, status: int | None = None, headers: dict[str, str] | None = None) -> Answer:
    body = (PAYLOADS / f"{name}.json").read_bytes()
    return Answer(status or json.loads(body)["status"], headers or {}, body)


@pytest.mark.parametrize(
    ("name", "effect", "expected"),
    [
        ("error_invalid_login", True, Retry),
        ("error_permission", True, NeedsPerson),
        ("error_invalid_content", True, Reject),
        ("error_order_closed", True, Reject),
        ("error_period_closed", True, Reject),
        ("error_idempotency", True, OutcomeUnknown),
        ("error_duplicate_external_id", True, DuplicateRecord),
        ("error_not_found", True, RecordMissing),
        ("error_not_found", False, RecordMissing),
        ("error_record_changed", True, Retry),
        ("error_concurrency_429", True, Retry),
        ("error_concurrency_restlet_400", True, Retry),
        ("error_concurrency_500", True, Retry),
        ("error_request_blocked_403", True, Retry),
        ("error_unexpected", True, OutcomeUnknown),
        ("error_unexpected", False, Retry),
    ],
)
def test_each_documented_error_means_one_thing(
    name: str, effect: bool, expected: type[Exception]
) -> None:
    """The error table of the vendor sheet, answer by answer."""
    with pytest.raises(expected):
        judge(recorded(name), effect=effect, earlier_effect=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("error_duplicate_external_id", DuplicateRecord), ("error_not_found", RecordMissing)],
)
def test_an_error_may_stand_in_no_list(name: str, expected: type[Exception]) -> None:
    """Proves that one error as an object in place of the list, or by itself, means the same."""
    body = json.loads(recorded(name).body)
    (detail,) = body.pop("o:errorDetails")
    for shape in ({**body, "o:errorDetails": detail}, {**body, **detail}):
        said = Answer(recorded(name).status, {}, json.dumps(shape).encode())
        with pytest.raises(expected):
            judge(said, effect=True, earlier_effect=False)


@pytest.mark.parametrize(
    "name", ["error_concurrency_429", "error_unexpected", "error_invalid_login"]
)
def test_after_an_effect_nothing_is_called_unprocessed(name: str) -> None:
    """A read that fails after a write in the same attempt leaves the attempt unknown."""
    with pytest.raises(OutcomeUnknown):
        judge(recorded(name), effect=False, earlier_effect=True)


def test_after_an_effect_a_missing_record_is_no_proof() -> None:
    """Proves that a read that finds nothing after a write leaves it unknown, and that of several
    deletions one may find nothing."""
    with pytest.raises(OutcomeUnknown):
        judge(recorded("error_not_found"), effect=False, earlier_effect=True)
    with pytest.raises(RecordMissing):
        judge(recorded("error_not_found"), effect=True, earlier_effect=True)


def test_each_detail_of_an_error_counts() -> None:
    """Proves that an answer with several details is judged by the one that has a row, that all are
    said, and that a place in the address is told as one in the body is."""
    details = [
        {"detail": "The record was not saved.", "o:errorCode": "INVALID_CONTENT"},
        {"detail": "Blocked.", "o:errorCode": "CONCURRENCY_LIMIT_EXCEEDED", "o:urlPath": None},
    ]
    body = json.dumps({"title": "Bad Request", "status": 400, "o:errorDetails": details})
    with pytest.raises(Throttled, match=r"not saved\.; Blocked"):
        judge(Answer(400, {}, body.encode()), effect=True, earlier_effect=False)
    place = {"detail": "No such record.", "o:errorCode": "X", "o:urlPath": "salesOrders"}
    told = problem_of(Answer(400, {}, json.dumps({"o:errorDetails": [place]}).encode()))
    assert str(told) == "400 X at salesOrders: No such record."


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"code": "SSS_REQUEST_LIMIT_EXCEEDED", "message": "Blocked."}}',
        "error code: WS_REQUEST_BLOCKED",
    ],
)
def test_a_limit_in_the_shape_of_another_interface_is_a_limit(body: str) -> None:
    """Proves that the code of a limit counts in a body without the record API's details, too: such
    a call was refused before it did anything, and is no failure of which nobody knows."""
    for status in (400, 403, 500):
        with pytest.raises(Throttled):
            judge(Answer(status, {}, body.encode()), effect=True, earlier_effect=False)


def test_a_limit_in_broken_words_is_a_limit() -> None:
    """Proves that status 429 is enough, whatever of the body can be read."""
    with pytest.raises(Throttled):
        judge(Answer(429, {}, b'{"status": 429 "x"'), effect=True, earlier_effect=False)


def test_retry_after_is_obeyed() -> None:
    """The vendor's own pause wins over ours."""
    answer = recorded("error_concurrency_429", headers={"Retry-After": "7"})
    with pytest.raises(Retry) as raised:
        judge(answer, effect=True, earlier_effect=False)
    assert raised.value.after_seconds == 7


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"o:errorDetails":[]}', b'{"a":1}'])
def test_a_gateway_error_page_is_unknown_for_a_write(body: bytes) -> None:
    """An answer that is not NetSuite's proves nothing: unknown after a write."""
    answer = Answer(502, {}, body)
    assert problem_of(answer).code == ""
    with pytest.raises(OutcomeUnknown):
        judge(answer, effect=True, earlier_effect=False)


def explained(status: int, code: str, detail: str) -> Answer:
    told = {"status": status, "o:errorDetails": [{"detail": detail, "o:errorCode": code}]}
    return Answer(status, {}, json.dumps(told).encode())


@pytest.mark.parametrize(
    ("status", "code", "detail", "expected"),
    [
        (409, "RCRD_HAS_BEEN_CHANGED", "Record has been changed.", Retry),
        (400, "RCRD_HAS_BEEN_CHANGED", "Record has been changed.", OutcomeUnknown),
        (400, "USER_ERROR", '{"name":"RCRD_HAS_BEEN_CHANGED","cause":"script"}', OutcomeUnknown),
        (400, "INVALID_CONTENT", "RCRD_HAS_BEEN_CHANGED", OutcomeUnknown),
        (500, "SSS_UNKNOWN", "afterSubmit: RCRD_HAS_BEEN_CHANGED", OutcomeUnknown),
        (400, "USER_ERROR", "Record has been changed by another user.", OutcomeUnknown),
        (400, "USER_ERROR", "The record has been changed since approval: submit it again.", Reject),
        (400, "INVALID_CONTENT", "Record has been changed.", Reject),
        (500, "USER_ERROR", "Record has been changed.", OutcomeUnknown),
        (500, "UNEXPECTED_ERROR", "Record has been changed.", OutcomeUnknown),
        (500, "UNEXPECTED_ERROR", "RCRD_HAS_BEEN_CHANGED", OutcomeUnknown),
        (400, "SSS_TIME_LIMIT_EXCEEDED", "afterSubmit: Record has been changed", OutcomeUnknown),
        (400, "SSS_TIME_LIMIT_EXCEEDED", "afterSubmit: RCRD_HAS_BEEN_CHANGED", OutcomeUnknown),
    ],
)
def test_a_record_changed_meanwhile(
    status: int, code: str, detail: str, expected: type[Exception]
) -> None:
    """Proves that only a 409 for a save that lost to another says that nothing was saved: its code
    and its words elsewhere leave it unknown, a business's own text refuses, a failure is one."""
    with pytest.raises(expected) as raised:
        judge(explained(status, code, detail), effect=True, earlier_effect=False)
    assert raised.type is expected


# Every text that a row of errors.toml knows, and names of things that sound like one.
SOUNDS = [
    *(code for _, code in ERRORS.rows if code not in ("", ANY_CODE)),
    "DUPLICATE KEY RING",
    "This record already exists",
    "A record with two covers already exists",
    "Concurrent request limit exceeded",
    "Request limit exceeded",
    "Record has been changed",
]


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize(
    "form", ["Item '{}' is inactive.", 'The memo "{}" isn\'t allowed.', "“{}”."]
)
def test_what_people_wrote_between_marks_is_no_word_of_netsuites(name: str, form: str) -> None:
    """Proves that the name of an item, which sounds like an error, changes no refusal: none counts
    as booked before, as a limit, as unknown or as lots that lack."""
    name = name.removeprefix("* ")
    with pytest.raises(Reject):
        judge(explained(400, "USER_ERROR", form.format(name)), effect=True, earlier_effect=False)


@pytest.mark.parametrize(
    "text",
    [
        "DUPLICATE KEY RING is inactive.",
        "Item DUPLICATE KEY RING is inactive.",
        "The customer KEEPS WHAT ALREADY EXISTS LTD is on hold.",
        "Please raise the request limit of the customer.",
        "Only a concurrent request of the same customer may be approved.",
        "Invalid sales order. This record already exists in an earlier period.",
        "A record with a locked period: what already exists cannot be changed.",
    ],
)
def test_what_people_wrote_without_marks_is_no_phrase_of_netsuites(text: str) -> None:
    """Proves that words of a refusal are no duplicate and no limit unless NetSuite's phrase begins
    the text, whatever the record API puts in front of it."""
    for opening in ("", "Error while accessing a resource. ", "Error while accessing resource: "):
        with pytest.raises(Reject):
            judge(explained(400, "USER_ERROR", opening + text), effect=True, earlier_effect=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This record already exists.", DuplicateRecord),
        ("Error while accessing a resource. This entity already exists.", DuplicateRecord),
        ("Error while accessing a resource. This record already exists.", DuplicateRecord),
        ("This record already exists: 'DUPLICATE KEY RING'.", DuplicateRecord),
        ("A record with the order number 'SSS_REQUEST_LIMIT' already exists.", DuplicateRecord),
        ("Concurrent request limit exceeded. Request blocked.", Throttled),
        ("SuiteTalk concurrent request limit exceeded. Request blocked.", Throttled),
        ("Request limit exceeded: 'THIS RECORD ALREADY EXISTS'.", Throttled),
        ("The inventory detail of 'DUPLICATE KEY RING' is missing.", NeedsPerson),
        (
            "Invalid value for the resource or sub-resource field 'issueInventoryNumber'. Provide "
            "a valid value.",
            NeedsPerson,
        ),
        ('{\\"name\\":\\"SSS_TIME_LIMIT_EXCEEDED\\",\\"message\\":\\"x\\"}', OutcomeUnknown),
    ],
)
def test_what_people_wrote_hides_no_word_of_netsuites(text: str, expected: type[Exception]) -> None:
    """Proves that a name between marks does not keep NetSuite's own words from being understood."""
    with pytest.raises(expected) as raised:
        judge(explained(400, "USER_ERROR", text), effect=True, earlier_effect=False)
    assert raised.type is expected


def test_a_code_is_a_duplicate_only_where_it_says_so_of_a_record() -> None:
    """Proves that a code with the word in it, such as that of a serial number, is a refusal."""
    text = "This number is in use."
    for code, expected in (("DUP_RCRD", DuplicateRecord), ("DUPLICATE_INVENTORY_NUM", Reject)):
        with pytest.raises(expected):
            judge(explained(400, code, text), effect=True, earlier_effect=False)


def test_a_phrase_is_of_the_detail_that_has_its_code() -> None:
    """Proves that an answer's code in one detail makes no phrase of the text of another one."""
    details = [
        {"detail": "The order is closed.", "o:errorCode": "USER_ERROR"},
        {"detail": "This record already exists.", "o:errorCode": "INVALID_CONTENT"},
    ]
    body = json.dumps({"status": 400, "o:errorDetails": details})
    with pytest.raises(Reject):
        judge(Answer(400, {}, body.encode()), effect=True, earlier_effect=False)


@pytest.mark.parametrize("code", ["UNEXPECTED_ERROR", "SSS_TIME_LIMIT_EXCEEDED"])
def test_a_failure_that_comes_as_a_400_rejects_nothing(code: str) -> None:
    """Proves that a code which says that NetSuite failed is one under the status of a refusal."""
    body = json.dumps({"status": 400, "o:errorDetails": [{"detail": "x", "o:errorCode": code}]})
    with pytest.raises(OutcomeUnknown):
        judge(Answer(400, {}, body.encode()), effect=True, earlier_effect=False)


def test_a_gateways_400_rejects_no_order() -> None:
    """A page of something in between is no word of NetSuite's about the order: unknown."""
    with pytest.raises(OutcomeUnknown):
        judge(Answer(400, {}, b"<html>bad request</html>"), effect=True, earlier_effect=False)


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("body", [b"", b"<html>no such page</html>", b'{"o:errorDetails":[]}'])
def test_a_gateways_404_is_no_word_about_a_record(effect: bool, body: bytes) -> None:
    """Proves that only NetSuite's own word says that a record is not there: by a page of something
    in between nothing is cancelled, reversed or looked for in vain."""
    with pytest.raises(OutcomeUnknown if effect else Retry):
        judge(Answer(404, {}, body), effect=effect, earlier_effect=False)


def test_a_refused_question_rejects_no_order() -> None:
    """What NetSuite does not tell says nothing of the work that it was asked for."""
    with pytest.raises(OutcomeUnknown, match="question"):
        judge(recorded("error_invalid_content"), effect=False, earlier_effect=False)


@pytest_asyncio.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    async with running_account(tmp_path) as running:
        yield running


def body_for(account: Account) -> dict[str, Any]:
    return {
        "entity": {"id": account.id_of("customer", "CUST-1001")},
        "orderStatus": {"id": "B"},
        "item": {
            "items": [{"item": {"id": account.id_of("inventoryItem", "SKU-1001")}, "quantity": 1}]
        },
    }


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "expected", "orders"),
    [
        ("throttle", Retry, 0),
        ("error_before", OutcomeUnknown, 0),
        ("error_after", OutcomeUnknown, 1),
        ("reply_lost", OutcomeUnknown, 1),
        ("down", Retry, 0),
    ],
)
async def test_each_fault_on_a_write(
    account: Account, kind: str, expected: type[Exception], orders: int
) -> None:
    """Refused connections and 429 are proven unprocessed; a 5xx or a lost reply is unknown."""
    await account.client.test()
    body = body_for(account)
    account.fault(kind, **({"seconds": 60} if kind == "down" else {"operation": "upsert"}))
    await account.sandbox.apply_outage()
    if kind == "down":
        # The first call finds the pooled connection cut: only then is the next one refused.
        with contextlib.suppress(Retry):
            await account.client.test()
    with exchange.recording(), pytest.raises(expected):
        await account.client.upsert("salesOrder", "o-1", body)
    assert len(account.orders()) == orders


@pytest.mark.asyncio
async def test_a_slow_save_is_unknown_and_may_still_happen(account: Account) -> None:
    """A time-out on a write says nothing: the save goes on at the vendor."""
    impatient = client_of(account.sandbox.vendor_url, account.key_file, timeout_seconds=2)
    await impatient.test()
    account.fault("slow", operation="upsert", delay_seconds=6, count=1)
    with pytest.raises(OutcomeUnknown):
        await impatient.upsert("salesOrder", "o-1", body_for(account))
    await impatient.close()
    await until(lambda: len(account.orders()) == 1)


@pytest.mark.asyncio
async def test_reading_is_never_unknown(account: Account) -> None:
    """A failed read alone changes nothing, so it is retried."""
    await account.client.test()
    account.fault("error_before", operation="read", count=1)
    with exchange.recording(), pytest.raises(Retry):
        await account.client.read("salesOrder", eid("o-1"))


@pytest.mark.asyncio
async def test_a_refused_login_sends_nothing(account: Account, tmp_path: Path) -> None:
    """With a wrong certificate every call is a retry, and no secret is in its reason."""
    other = tmp_path / "other"
    other.mkdir()
    async with running_account(other) as stranger:
        client = client_of(account.sandbox.vendor_url, stranger.key_file)
        with exchange.recording() as record, pytest.raises(Retry) as raised:
            await client.upsert("salesOrder", "o-1", {})
        await client.close()
    assert "invalid_client" in raised.value.reason
    shown = raised.value.reason + record.request_excerpt() + record.response_excerpt()
    assert "eyJ" not in shown
    assert not record.effect_left


@pytest.mark.asyncio
async def test_no_more_requests_than_its_share_are_open(account: Account) -> None:
    """The client keeps to its share of the account's concurrency, however much is asked at once."""
    body = body_for(account)
    await asyncio.gather(*(account.client.upsert("salesOrder", f"o-{n}", body) for n in range(24)))
    governance = account.sandbox.books()["governance"]
    assert governance["most_in_flight"] <= 3
    assert governance["refused"] == 0
