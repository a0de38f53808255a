"""The Manhattan client: three grants, what an answer means, bulk answers, Pub/Sub pulls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crossdock_adapters.manhattan import names as naming
from crossdock_adapters.manhattan.client import read_bulk
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.manhattan.subscription import read_key_file
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject, Retry, Throttled
from crossdock_adapters.sdk.settings import SettingsError
from manhattan_world import (
    FACILITY,
    OTHER_FACILITY,
    STILL,
    client_for,
    order_content,
    sandbox_config,
)

# What was pulled is not sent again before a test has acknowledged it.
PATIENT = {**STILL, "ack_deadline_seconds": 60}


@pytest.fixture
async def sandbox() -> AsyncIterator[ManhattanSandbox]:
    async with ManhattanSandbox(sandbox_config(**PATIENT)) as running:
        assert isinstance(running, ManhattanSandbox)
        yield running


def orders(sandbox: ManhattanSandbox) -> dict[tuple[str, str], dict[str, Any]]:
    books = sandbox.books()["original_orders"]
    return {(each["Location"], each["OriginalOrderId"]): each for each in books}


@pytest.mark.parametrize("grant", ["password", "realm_password", "client_credentials"])
async def test_every_grant_shape_gets_a_token(grant: str, tmp_path: Path) -> None:
    """The same client logs in by Basic and user, by realm and user, or as a client alone."""
    async with ManhattanSandbox(sandbox_config(grant=grant)) as running:
        client = client_for(running, tmp_path, grant=grant)  # type: ignore[arg-type]
        try:
            await client.test()
            other = "password" if grant != "password" else "client_credentials"
            wrong = client_for(running, tmp_path, grant=other)  # type: ignore[arg-type]
            with pytest.raises(Retry):
                await wrong.test()
            await wrong.close()
        finally:
            await client.close()


async def test_wrong_credentials_are_an_outage_not_a_rejection(
    sandbox: ManhattanSandbox, tmp_path: Path
) -> None:
    """A password that changed at the vendor costs no delivery: everything waits."""
    client = client_for(sandbox, tmp_path, password="env:MANHATTAN_TEST_WRONG")
    try:
        with pytest.raises(Retry) as refused:
            await client.save_original_order(FACILITY, order_content("SO-1"))
        assert "somebody" not in str(refused.value)
    finally:
        await client.close()


@pytest.fixture
async def client(sandbox: ManhattanSandbox, tmp_path: Path) -> AsyncIterator[Any]:
    made = client_for(sandbox, tmp_path, timeout_seconds=4)
    assert await made.import_items(FACILITY, [{"ItemId": "A-1"}]) == {}
    yield made
    await made.close()


async def test_a_save_goes_to_the_site_of_its_header(
    sandbox: ManhattanSandbox, client: Any
) -> None:
    """The facility is part of every call: another one neither sees nor touches the order."""
    await client.save_original_order(FACILITY, order_content("SO-1"))
    assert set(orders(sandbox)) == {(FACILITY, "SO-1")}
    assert await client.find_original_order(FACILITY, "SO-1") is not None
    assert await client.find_original_order(OTHER_FACILITY, "SO-1") is None


async def test_a_search_asks_for_what_is_read_in_a_stable_order(
    sandbox: ManhattanSandbox, client: Any
) -> None:
    """Only the fields that are read come back, nested ones too; every page has the same sort."""
    content = {**order_content("SO-1"), "Extended": {"HostRequestId": "r", "Note": "x"}}
    await client.save_original_order(FACILITY, content)
    asked: list[Any] = []
    call = client._call

    async def listening(path: str, facility: str, body: Any, **options: Any) -> Any:
        asked.append(body)
        return await call(path, facility, body, **options)

    client._call = listening
    assert await client.find_original_order(FACILITY, "SO-1") == {
        "OriginalOrderId": "SO-1",
        "Extended": {"HostRequestId": "r"},
        "IsCancelled": False,
    }
    assert [body["Sort"] for body in asked] == [
        [{"attribute": "OriginalOrderId", "direction": "asc"}]
    ]


async def test_an_expired_token_is_renewed_in_the_same_call(
    sandbox: ManhattanSandbox, client: Any
) -> None:
    """A 401 is refused at the door: one new token, and the call goes through once."""
    sandbox._tokens.expire_all()
    await client.save_original_order(FACILITY, order_content("SO-1"))
    assert orders(sandbox)[FACILITY, "SO-1"]["saves"] == 1
    assert sandbox.books()["tokens_issued"] == 2


@pytest.mark.parametrize(
    ("fault", "outcome", "stored"),
    [
        ({"kind": "down"}, Retry, False),
        ({"kind": "throttle", "retry_after_seconds": 7}, Retry, False),
        ({"kind": "error_before"}, OutcomeUnknown, False),
        ({"kind": "error_after"}, OutcomeUnknown, True),
        ({"kind": "reply_lost"}, OutcomeUnknown, True),
        ({"kind": "slow", "delay_seconds": 30}, OutcomeUnknown, False),
    ],
)
async def test_what_a_fault_means_for_a_save(
    sandbox: ManhattanSandbox,
    client: Any,
    fault: dict[str, Any],
    outcome: type[Exception],
    stored: bool,
) -> None:
    """Only what is proven unprocessed may be retried; the rest is unknown, done or not."""
    # Without pooled connections: one cut while idle can't be told from one cut after sending.
    await client.close()
    sandbox.faults.add(fault)
    await sandbox.apply_outage()
    with pytest.raises(outcome) as raised:
        await client.save_original_order(FACILITY, order_content("SO-1"))
    if fault["kind"] == "throttle":
        assert isinstance(raised.value, Retry) and raised.value.after_seconds == 7
    assert ((FACILITY, "SO-1") in orders(sandbox)) is stored


async def test_a_search_that_fails_is_a_retry(sandbox: ManhattanSandbox, client: Any) -> None:
    """Reading has no effect, so even a 5xx of it leaves nothing unknown."""
    sandbox.faults.add({"kind": "error_before", "operation": "original_order_search"})
    with pytest.raises(Retry):
        await client.find_original_order(FACILITY, "SO-1")


async def test_a_business_refusal_carries_the_vendors_code(client: Any) -> None:
    """Proves that what the platform refuses of a record is a rejection, in its words."""
    with pytest.raises(Reject) as refused:
        await client.save_original_order(FACILITY, order_content("SO-1", item="NOT-THERE"))
    assert refused.value.code == "ITEM_NOT_FOUND"
    with pytest.raises(Reject):
        await client.save_olpn(FACILITY, {"OlpnId": "404", "TrackingNumber": "1Z"})


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (200, "ORDER_FROZEN", Reject),
        (200, "", OutcomeUnknown),
        (302, "", NeedsPerson),
        (400, "ITEM_NOT_FOUND", Reject),
        (400, "", NeedsPerson),
        (401, "", Retry),
        (404, "", NeedsPerson),
        (408, "", OutcomeUnknown),
        (409, "X", OutcomeUnknown),
        (422, "ORDER_FROZEN", Reject),
        (429, "", Throttled),
        (500, "", OutcomeUnknown),
        (503, "X", OutcomeUnknown),
    ],
)
async def test_errors_of_a_call_with_an_effect(
    client: Any, status: int, code: str, word: type[Exception]
) -> None:
    """Proves what the table makes of each kind of answer; what no row names is unknown, also a
    408 of something in between, which says nothing of what the platform did."""
    exceptions = [{"messageKey": code, "message": "m"}] if code else []
    body = vendor_json.dumps({"success": False, "exceptions": exceptions})
    with pytest.raises(word) as raised:
        client._checked(Answer(status, {}, body), effect=True)
    assert raised.type is word


def told(kind: str, code: str = "DOM::7", text: str = "Order is on a wave.") -> dict[str, str]:
    return {"Type": kind, "Code": code, "Description": text}


def opaque(*messages: dict[str, str], **more: Any) -> bytes:
    """An envelope that says why in its messages alone."""
    said = {"message": "error.400", "messageKey": "error.400", "exceptions": [], "errors": []}
    return vendor_json.dumps({**said, "messages": {"Message": list(messages)}, **more})


@pytest.mark.parametrize("status", [200, 400, 422])
async def test_a_refusal_in_the_messages_is_read(client: Any, status: int) -> None:
    """Proves that code and words are read where the exceptions are empty and a warning is first."""
    warning = told("WARNING", "DOM::1", "Ship date has passed.")
    body = opaque(warning, told("ERROR"), success=False)
    with pytest.raises(Reject, match=r"Order is on a wave") as refused:
        client._checked(Answer(status, {}, body), effect=True)
    assert refused.value.code == "DOM::7"


@pytest.mark.parametrize("name", ["exceptions", "errors"])
async def test_one_exception_may_stand_in_no_list(client: Any, name: str) -> None:
    """Proves that a single exception in place of a list is read, and that an empty one, or none,
    is no refusal."""
    body = vendor_json.dumps({"success": False, name: told("ERROR")})
    with pytest.raises(Reject, match=r"Order is on a wave"):
        client._checked(Answer(400, {}, body), effect=True)
    empty: list[Any] = [{}, None, []]
    for nothing in empty:
        body = vendor_json.dumps({"success": True, name: nothing, "data": None})
        assert client._checked(Answer(200, {}, body), effect=True)["success"] is True


SAVED = {"Code": "ORD::100", "Description": "Order saved"}
FROZEN = told("ERROR", "ORDER_FROZEN", "Past its freeze status.")


async def test_an_error_without_a_word_of_success_is_looked_up(client: Any) -> None:
    """Proves that a 200 which tells an error, and of success nothing, is unknown, a search asked
    again, and that a project's own code for an error refuses."""
    for body in (opaque(told("Error")), opaque(exceptions=[{"messageKey": "X"}])):
        with pytest.raises(OutcomeUnknown):
            client._checked(Answer(200, {}, body), effect=True)
        with pytest.raises(Retry):
            client._checked(Answer(200, {}, body), effect=False)
    with pytest.raises(Reject, match="freeze status"):
        client._checked(Answer(200, {}, opaque(FROZEN)), effect=True)
    with pytest.raises(OutcomeUnknown):
        frozen = opaque(told("WARNING", "ORDER_FROZEN"))
        client._checked(Answer(200, {}, frozen), effect=True)


@pytest.mark.parametrize("effect", [True, False])
async def test_what_is_said_beside_a_success_is_none_of_a_failure(
    client: Any, effect: bool
) -> None:
    """Proves that a message without a type is no error, with a word of success or without one, in
    whatever shape that comes, and that a word of success goes before an error."""
    for body in (
        opaque(SAVED),
        opaque({**SAVED, "Category": "ORDER"}),
        opaque(SAVED, success="true"),
        opaque(told("WARNING")),
        opaque(told("Information")),
        opaque(exceptions=[{"messageKey": "LATE", "Category": "WARNING"}]),
        opaque(told("ERROR"), success=True),
        opaque(told("ERROR"), success="true"),
    ):
        answer = Answer(200, {}, body)
        assert client._checked(answer, effect=effect)["messages"]
    with pytest.raises(Reject if effect else OutcomeUnknown, match="Order saved"):
        client._checked(Answer(200, {}, opaque(SAVED, success="false")), effect=effect)


@pytest.mark.parametrize("kind", ["VALIDATION", "BUSINESS", "FATAL", "SEVERE", "Exception", "E"])
async def test_what_is_not_named_a_warning_is_an_error(client: Any, kind: str) -> None:
    """Proves that an unknown severity is one of an error, in exceptions and in messages."""
    exception = {"messageKey": "ITEM_NOT_FOUND", "Category": kind}
    for body in (opaque(told(kind)), opaque(exceptions=[exception])):
        with pytest.raises(Reject):
            client._checked(Answer(422, {}, body), effect=True)


@pytest.mark.parametrize("name", ["exceptions", "errors", "messages"])
async def test_an_error_goes_before_a_warning_in_each_list(client: Any, name: str) -> None:
    """Proves that the order of a list decides nothing, and that a warning among the exceptions
    explains a refusal and softens none."""
    listed = [told("WARNING", "DOM::1"), told("ERROR")]
    given = {"messages": {"Message": listed}} if name == "messages" else {name: listed}
    body = opaque(**given)
    with pytest.raises(Reject) as refused:
        client._checked(Answer(422, {}, body), effect=True)
    assert refused.value.code == "DOM::7"
    with pytest.raises(OutcomeUnknown, match="DOM::7"):
        client._checked(Answer(200, {}, body), effect=True)
    if name != "messages":
        with pytest.raises(Reject):
            client._checked(Answer(422, {}, opaque(**{name: listed[:1]})), effect=True)


async def test_a_code_of_the_settings_goes_before_other_errors(client: Any) -> None:
    """Proves that what means too late decides wherever it stands, and that a warning of what is not
    held refuses no cancel that has an error of its own."""
    general = told("ERROR", "GEN", "The request failed.")
    lost = told("ERROR", "ORDER_NOT_FOUND", "No such order.")
    for body, code in (
        (opaque(general, FROZEN), "ORDER_FROZEN"),
        (opaque(FROZEN, exceptions=[general]), "ORDER_FROZEN"),
        (opaque(general, {**FROZEN, "Type": "WARNING"}), "ORDER_FROZEN"),
        (opaque(lost, FROZEN), "ORDER_FROZEN"),
        (opaque(general, lost), "ORDER_NOT_FOUND"),
        (opaque({**lost, "Type": "WARNING"}, general), "GEN"),
    ):
        with pytest.raises(Reject) as refused:
            client._checked(Answer(400, {}, body), effect=True)
        assert refused.value.code == code


async def test_a_search_that_finds_nothing_and_says_so_is_answered(client: Any) -> None:
    """Proves that a code of the settings is of a save, and no refusal of the question."""
    answer = Answer(200, {}, opaque(told("INFO", "ORDER_NOT_FOUND"), data=[]))
    assert client._checked(answer, effect=False)["data"] == []


@pytest.mark.parametrize("status", [200, 400, 422])
async def test_nothing_but_a_warning_rejects_nothing(client: Any, status: int) -> None:
    """Proves that a failure which only warns is looked up: such calls were booked all the same."""
    answer = Answer(status, {}, opaque(told("WARNING"), success=False))
    with pytest.raises(OutcomeUnknown, match="DOM::7 Order is on a wave"):
        client._checked(answer, effect=True)


async def test_a_warning_that_the_settings_name_is_a_refusal(
    sandbox: ManhattanSandbox, tmp_path: Path
) -> None:
    """Proves that a project's own code counts whatever its type."""
    client = client_for(sandbox, tmp_path, too_late_codes=["DOM::7"])
    try:
        with pytest.raises(Reject) as refused:
            client._checked(Answer(400, {}, opaque(told("WARNING"))), effect=True)
        assert refused.value.code == "DOM::7"
    finally:
        await client.close()


async def test_a_refused_search_refuses_no_order(client: Any) -> None:
    """Proves that the refusal of a question is none of the work that it was asked for."""
    body = vendor_json.dumps({"success": False, "exceptions": [{"messageKey": "BAD_QUERY"}]})
    for status in (200, 400):
        with pytest.raises(OutcomeUnknown):
            client._checked(Answer(status, {}, body), effect=False)


async def test_a_wrong_organisation_needs_a_person(
    sandbox: ManhattanSandbox, tmp_path: Path
) -> None:
    """403 is neither the record's fault nor time's: configuration has to change."""
    client = client_for(sandbox, tmp_path, organization="OTHER")
    try:
        with pytest.raises(NeedsPerson):
            await client.find_facilities(FACILITY)
    finally:
        await client.close()


async def test_a_bulk_import_is_read_by_business_key(client: Any) -> None:
    """HTTP 200 is no success: the refused record is named, the others are in."""
    refused = await client.import_items(
        FACILITY,
        [{"ItemId": "OK-1"}, {"ItemId": "BAD", "ItemPackage": [{"WeightUomId": "STONE"}]}],
    )
    assert list(refused) == ["BAD"] and "unit" in refused["BAD"]
    assert len(await client.find_facilities(FACILITY)) == 2


def test_a_bulk_answer_that_does_not_add_up_is_no_success() -> None:
    """A record neither counted nor refused was perhaps not imported: ask again."""
    with pytest.raises(Retry):
        read_bulk({"data": {"SuccessCount": 1, "FailedRecords": []}}, "ItemId", ["A", "B"])
    with pytest.raises(Retry):
        read_bulk({"success": True}, "ItemId", ["A"])


def test_a_bulk_refusal_says_why_in_either_shape() -> None:
    """Proves that the reason of a record is read from a list and from an object of messages."""
    for messages in ([told("ERROR")], {"Message": [told("ERROR")]}, {"Message": told("ERROR")}):
        data = {"SuccessCount": 0, "FailedRecords": [{"ItemId": "A", "Messages": messages}]}
        assert read_bulk({"data": data}, "ItemId", ["A"]) == {"A": "Order is on a wave."}


async def test_search_reads_every_page(sandbox: ManhattanSandbox, client: Any) -> None:
    """Pages are read until a short one."""
    for number in range(230):
        await client.save_original_order(FACILITY, order_content(f"SO-{number}"))
    found = await client.search(
        "original_order_search", FACILITY, "OriginalOrderId ~ 'SO-%'", ["order.id"]
    )
    assert len({each["OriginalOrderId"] for each in found}) == 230


async def test_pull_acknowledge_and_give_back(sandbox: ManhattanSandbox, client: Any) -> None:
    """What is given back comes again at once; what is acknowledged never does."""
    for text in ("one", "two"):
        await sandbox._command_message({"subscription": "host-pick", "text": text})
    subscriptions = client.subscriptions
    first, second = await subscriptions.pull("host-pick", 10)
    assert {first.data, second.data} == {b"one", b"two"} and first.attempt == 1
    await subscriptions.acknowledge("host-pick", [first.ack_id])
    await subscriptions.give_back("host-pick", [second.ack_id], 0)
    (again,) = await subscriptions.pull("host-pick", 10)
    assert again.data == second.data and again.attempt == 2
    await subscriptions.acknowledge("host-pick", [again.ack_id])
    assert await subscriptions.pull("host-pick", 10) == []


async def test_a_rotated_key_file_is_read_without_a_restart(
    sandbox: ManhattanSandbox, tmp_path: Path
) -> None:
    """The key file is read for each token: a bad one fails, the right one in its place works."""
    client = client_for(sandbox, tmp_path)
    try:
        key_file = tmp_path / "service-account.json"
        good = key_file.read_text()
        key_file.write_text(good.replace(read_key_file(good).key_id, "0" * 40))
        with pytest.raises(Retry):
            await client.subscriptions.pull("host-pick", 1)
        key_file.write_text(good)
        assert await client.subscriptions.pull("host-pick", 1) == []
    finally:
        await client.close()


async def test_a_subscription_that_is_not_there_needs_a_person(client: Any) -> None:
    """404 of Pub/Sub is configuration, and says which subscription."""
    with pytest.raises(NeedsPerson, match="host-nothing"):
        await client.subscriptions.pull("host-nothing", 1)


def test_a_key_file_without_its_fields_names_them_and_no_value() -> None:
    """A broken key file is explained without a word of its content."""
    with pytest.raises(SettingsError) as error:
        read_key_file('{"private_key": "very-secret"}')
    assert "client_email" in str(error.value) and "very-secret" not in str(error.value)


def test_a_key_file_with_a_token_server_in_clear_is_refused(sandbox: ManhattanSandbox) -> None:
    """The assertion that buys a token goes to an encrypted or local server only."""
    given = {**sandbox.service_account(), "token_uri": "http://tokens.example/token"}
    text = vendor_json.dumps(given).decode()
    with pytest.raises(SettingsError, match=r"service_account: token_uri: http://tokens\.example"):
        read_key_file(text)
    assert read_key_file(text, allow_plaintext=True).token_uri == given["token_uri"]


def test_an_override_of_no_known_name_is_refused() -> None:
    """A typing error in `fields` would silently read nothing: it stops the start instead."""
    with pytest.raises(SettingsError, match=r"message\.wieght"):
        naming.names(fields={"message.wieght": "Weight"})
    changed = naming.names(fields={"message.weight": "Extended.ScaleWeight"}, units={"BX": "CT"})
    assert changed.get({"Extended": {"ScaleWeight": 4}}, "message.weight") == 4
    assert changed.unit_out("CT") == "BX" and changed.unit_out("EA") == "UNIT"
