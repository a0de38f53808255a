"""The simulated NetSuite account keeps the vendor's rules, so that proofs against it count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from crossdock_adapters.netsuite.client import (
    SUITEQL_PATH,
    TOKEN_PATH,
    DuplicateRecord,
    RecordMissing,
    eid,
)
from crossdock_adapters.netsuite.sandbox import DEFAULT_CERTIFICATE_ID, DEFAULT_CLIENT_ID
from crossdock_adapters.sdk.auth import client_assertion
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.outcomes import OutcomeUnknown, Reject, Retry
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from netsuite_account import Account, client_of, running_account

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    async with running_account(tmp_path) as running:
        yield running


def order_body(account: Account, *lines: tuple[str, int, str], status: str = "B") -> dict[str, Any]:
    return {
        "entity": {"id": account.id_of("customer", "CUST-1001")},
        "orderStatus": {"id": status},
        "otherRefNum": "PO-1",
        "item": {
            "items": [
                {
                    "item": {"id": account.id_of("inventoryItem", item)},
                    "quantity": Decimal(quantity),
                    "rate": Decimal("10.10"),
                    "location": {"id": account.id_of("location", location)},
                    "custcol_crossdock_line": number,
                }
                for number, (item, quantity, location) in enumerate(lines, start=1)
            ]
        },
    }


async def two_line_order(account: Account, key: str = "o-1") -> str:
    body = order_body(account, ("SKU-1001", 2, "WH-EAST"), ("SKU-1002", 5, "WH-EAST"))
    return await account.client.upsert("salesOrder", key, body, replace="item")


async def line_keys(account: Account, key: str = "o-1") -> list[int]:
    order = await account.client.read("salesOrder", eid(key), expand=True)
    return [line["line"] for line in order["item"]["items"]]


async def test_upsert_creates_then_updates_one_record(account: Account) -> None:
    """PUT by external id makes one record however often it is sent, and counts the updates."""
    first = await two_line_order(account)
    assert await two_line_order(account) == first
    (order,) = account.orders()
    assert (order["times_updated"], order["fields"]["tranId"]) == (1, "SO10001")
    assert len(order["lines"]) == 2


async def test_sublist_lines_are_added_unless_replaced(account: Account) -> None:
    """Without ?replace=item a second upsert adds its lines: the trap that adapters must avoid."""
    body = order_body(account, ("SKU-1001", 2, "WH-EAST"))
    await account.client.upsert("salesOrder", "o-1", body)
    await account.client.upsert("salesOrder", "o-1", body)
    assert len(account.orders()[0]["lines"]) == 2


async def test_line_keys_are_never_reused(account: Account) -> None:
    """A replaced line gets a new key, so a line's key is not its position."""
    await two_line_order(account)
    before = await line_keys(account)
    await two_line_order(account)
    assert not set(before) & set(await line_keys(account))


async def test_misspelt_fields_are_errors_when_asked(account: Account) -> None:
    """Name validation set to Error refuses an unknown property and says which."""
    body = {**order_body(account, ("SKU-1001", 2, "WH-EAST")), "otherRefNumber": "x"}
    with pytest.raises(Reject, match="otherRefNumber"):
        await account.client.upsert("salesOrder", "o-1", body)
    assert account.orders() == []


async def test_unknown_item_names_its_path(account: Account) -> None:
    """A wrong reference is refused with a JSON path as o:errorPath."""
    body = order_body(account, ("SKU-1001", 2, "WH-EAST"))
    body["item"]["items"][0]["item"] = {"id": "999999"}
    with pytest.raises(Reject, match=r"item\.items\[0\]\.item"):
        await account.client.upsert("salesOrder", "o-1", body)


async def test_transform_takes_every_open_line_by_default(account: Account) -> None:
    """A transform without lines ships the whole order; stock and order status follow."""
    order_id = await two_line_order(account)
    body = {"externalId": "f-1", "shipStatus": {"id": "C"}}
    await account.client.transform("salesOrder", order_id, "itemFulfillment", body)
    (fulfillment,) = account.fulfillments()
    assert [line["quantity"] for line in fulfillment["lines"]] == [2, 5]
    assert account.orders()[0]["fields"]["orderStatus"] == "F"
    read = await account.client.read("itemFulfillment", eid("f-1"), ["tranId", "shipStatus"])
    assert (read["tranId"], read["shipStatus"]["id"]) == ("IF20001", "C")


async def test_item_receive_false_leaves_a_line_open(account: Account) -> None:
    """A line sent with itemReceive false stays open and the order is partially fulfilled."""
    order_id = await two_line_order(account)
    first, second = await line_keys(account)
    lines = [
        {"orderLine": first, "quantity": Decimal(1)},
        {"orderLine": second, "itemReceive": False},
    ]
    body = {"externalId": "f-1", "shipStatus": {"id": "C"}, "item": {"items": lines}}
    await account.client.transform("salesOrder", order_id, "itemFulfillment", body)
    order = await account.client.read("salesOrder", order_id, expand=True)
    assert order["orderStatus"]["id"] == "D"
    assert [line["quantityFulfilled"] for line in order["item"]["items"]] == [1, 0]


async def test_second_transform_with_the_same_external_id_is_refused(account: Account) -> None:
    """The transform is not idempotent; its external id is what refuses the second one."""
    order_id = await two_line_order(account)
    first, second = await line_keys(account)
    lines = [
        {"orderLine": first, "quantity": Decimal(1)},
        {"orderLine": second, "itemReceive": False},
    ]
    body = {"externalId": "f-1", "shipStatus": {"id": "C"}, "item": {"items": lines}}
    await account.client.transform("salesOrder", order_id, "itemFulfillment", body)
    with pytest.raises(DuplicateRecord):
        await account.client.transform("salesOrder", order_id, "itemFulfillment", body)
    assert len(account.fulfillments()) == 1


async def test_lines_of_two_locations_need_two_fulfillments(account: Account) -> None:
    """A fulfillment whose lines lie in two locations is refused."""
    body = order_body(account, ("SKU-1001", 2, "WH-EAST"), ("SKU-1002", 5, "WH-WEST"))
    order_id = await account.client.upsert("salesOrder", "o-1", body)
    with pytest.raises(Reject, match="locations"):
        await account.client.transform("salesOrder", order_id, "itemFulfillment", {})


@pytest.mark.parametrize("status", ["A", "H"])
async def test_only_open_approved_orders_are_fulfilled(account: Account, status: str) -> None:
    """Pending approval and closed orders refuse a transform for good."""
    body = order_body(account, ("SKU-1001", 2, "WH-EAST"), status="A")
    order_id = await account.client.upsert("salesOrder", "o-1", body)
    if status == "H":
        await account.sandbox.commands()["close_order"]({"key": "eid:o-1"})
    with pytest.raises(Reject, match="closed"):
        await account.client.transform("salesOrder", order_id, "itemFulfillment", {})


async def test_deleting_a_fulfillment_opens_the_order_again(account: Account) -> None:
    """Delete gives the stock back, reopens the order and frees the external id."""
    before = account.sandbox.books()["on_hand"]
    order_id = await two_line_order(account)
    body = {"externalId": "f-1", "shipStatus": {"id": "C"}}
    await account.client.transform("salesOrder", order_id, "itemFulfillment", body)
    assert account.sandbox.books()["on_hand"] != before
    await account.client.delete("itemFulfillment", eid("f-1"))
    assert account.sandbox.books()["on_hand"] == before
    assert account.orders()[0]["fields"]["orderStatus"] == "B"
    with pytest.raises(RecordMissing):
        await account.client.read("itemFulfillment", eid("f-1"))


async def test_cancel_is_refused_once_something_is_fulfilled(tmp_path: Path) -> None:
    """An order with a fulfillment cannot be cancelled; a fresh one can, where that is writable."""
    async with running_account(tmp_path, order_statuses="ABC") as account:
        await two_line_order(account, "o-1")
        await account.client.update("salesOrder", eid("o-1"), {"orderStatus": {"id": "C"}})
        order_id = await two_line_order(account, "o-2")
        await account.client.transform("salesOrder", order_id, "itemFulfillment", {})
        with pytest.raises(Reject, match="cannot be cancelled"):
            await account.client.update("salesOrder", eid("o-2"), {"orderStatus": {"id": "C"}})
        assert account.orders()[0]["fields"]["orderStatus"] == "C"


async def test_closed_period_refuses_posting(account: Account) -> None:
    """Nothing posts into a closed accounting period, and nothing is left behind."""
    order_id = await two_line_order(account)
    await account.sandbox.commands()["close_period"]({"through": "2199-12-31"})
    body = {"externalId": "f-1", "shipStatus": {"id": "C"}}
    with pytest.raises(Reject, match="closed accounting period"):
        await account.client.transform("salesOrder", order_id, "itemFulfillment", body)
    assert account.fulfillments() == []


@pytest.mark.parametrize("status", [429, 400])
async def test_concurrency_limit_counts_all_requests(tmp_path: Path, status: int) -> None:
    """Requests above the account's limit are refused, as 429 or as 400, and change nothing."""
    settings = {"save_seconds_min": 1.0, "save_seconds_max": 1.0}
    async with running_account(
        tmp_path, concurrency_limit=2, concurrency_status=status, **settings
    ) as account:
        greedy = client_of(account.sandbox.vendor_url, account.key_file, concurrency=8)
        body = order_body(account, ("SKU-1001", 2, "WH-EAST"))
        sent = [greedy.upsert("salesOrder", f"o-{n}", body) for n in range(8)]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        await greedy.close()
        refused = [outcome for outcome in outcomes if isinstance(outcome, Retry)]
        governance = account.sandbox.books()["governance"]
        assert governance["most_in_flight"] == 2
        assert len(refused) == governance["refused"] > 0
        assert len(account.orders()) == 8 - len(refused)


async def test_revoked_token_is_replaced_without_a_word(account: Account) -> None:
    """A 401 leads to one new assertion, and the call succeeds."""
    await account.client.test()
    await account.sandbox.commands()["revoke_tokens"]({})
    await account.client.test()
    tokens = [call for call in account.sandbox.calls if call.operation == "token"]
    assert len(tokens) == 2


async def login(account: Account, assertion: str) -> Answer:
    http = VendorHttp(account.sandbox.vendor_url)
    try:
        return await http.post(
            TOKEN_PATH,
            form={
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": assertion,
            },
        )
    finally:
        await http.close()


def rsa_key() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(("algorithm", "status"), [("PS256", 200), ("RS256", 401)])
async def test_rsa_assertions_need_pss(tmp_path: Path, algorithm: str, status: int) -> None:
    """PS256 is accepted and RS256 is not, with the same key."""
    pem = rsa_key()
    (tmp_path / "netsuite-key.pem").write_bytes(pem)
    async with running_account(tmp_path) as account:
        assertion = client_assertion(
            pem,
            key_id=DEFAULT_CERTIFICATE_ID,
            issuer=DEFAULT_CLIENT_ID,
            audience=account.sandbox.vendor_url + TOKEN_PATH,
            algorithm=algorithm,
            claims={"scope": "rest_webservices"},
        )
        assert (await login(account, assertion)).status == status


@pytest.mark.parametrize(
    "wrong",
    [
        {"kid": "other"},
        {"iss": "other"},
        {"aud": "https://elsewhere.example/token"},
        {"scope": "restlets"},
        {"exp": int(time.time()) + 7200},
        {"exp": int(time.time()) - 60, "iat": int(time.time()) - 120},
    ],
    ids=lambda wrong: "+".join(wrong),
)
async def test_wrong_assertions_are_refused(account: Account, wrong: dict[str, Any]) -> None:
    """Certificate id, issuer, audience, scope and life of the assertion are all checked."""
    claims = {"scope": "rest_webservices", **wrong}
    assertion = client_assertion(
        account.key_file.read_bytes(),
        key_id=claims.pop("kid", DEFAULT_CERTIFICATE_ID),
        issuer=DEFAULT_CLIENT_ID,
        audience=account.sandbox.vendor_url + TOKEN_PATH,
        algorithm="ES256",
        claims=claims,
    )
    assert (await login(account, assertion)).status in (400, 401)


async def test_calls_without_a_token_are_refused(account: Account) -> None:
    """Every record and query call needs a bearer token."""
    http = VendorHttp(account.sandbox.vendor_url)
    answer = await http.get("/services/rest/record/v1/salesOrder/1")
    await http.close()
    assert (answer.status, answer.json()["o:errorDetails"][0]["o:errorCode"]) == (
        401,
        "INVALID_LOGIN",
    )


async def test_suiteql_needs_prefer_transient(account: Account) -> None:
    """Without Prefer: transient a query is refused."""
    http = VendorHttp(account.sandbox.vendor_url)
    answer = await http.post(
        SUITEQL_PATH, json={"q": "SELECT id FROM item"}, auth=account.client._tokens
    )
    await http.close()
    assert answer.status == 400


async def test_key_file_is_private(account: Account) -> None:
    """The key that the sandbox makes for a new installation is readable by its owner only."""
    assert account.key_file.stat().st_mode & 0o777 == 0o600


async def test_human_edits_are_kept_apart(account: Account) -> None:
    """What a person changes shows in the books beside what integrations did."""
    await two_line_order(account)
    await account.sandbox.commands()["edit_record"](
        {"type": "salesOrder", "key": "eid:o-1", "fields": {"memo": "call first"}}
    )
    (order,) = account.orders()
    assert (order["fields"]["memo"], order["times_updated"]) == ("call first", 0)
    assert order["edited_by_people"] == [{"memo": "call first"}]


@pytest.mark.parametrize(
    ("changed", "meant"), [({}, Retry), ({"changed_status": 400}, OutcomeUnknown)]
)
async def test_a_save_that_loses_to_another_is_refused(
    tmp_path: Path, changed: dict[str, Any], meant: type[Exception]
) -> None:
    """Proves that of two saves at once one is refused as changed meanwhile, with its own code, or
    with the words alone in a USER_ERROR, where the setting says so."""
    slow = {"save_seconds_min": 0.2, "save_seconds_max": 0.2}
    async with running_account(tmp_path, **slow, **changed) as account:
        await two_line_order(account)
        memos = [
            account.client.update("salesOrder", eid("o-1"), {"memo": memo}) for memo in ("a", "b")
        ]
        ended = await asyncio.gather(*memos, return_exceptions=True)
        assert sorted(type(each).__name__ for each in ended) == sorted(["NoneType", meant.__name__])
        assert account.orders()[0]["times_updated"] == 1
