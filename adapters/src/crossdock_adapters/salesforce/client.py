"""Salesforce's REST protocol: tokens by assertion, queries, composite and Connect calls; no orders.

A 2xx is no success by itself: the parts of a composite call, the records of a collection and the
answers of Connect actions carry their own errors, and each is looked at. What an error means is in
`errors.toml`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote
from weakref import WeakValueDictionary

from crossdock_adapters.salesforce.answers import MAX_SAID, error_of, output_of, says_failure
from crossdock_adapters.salesforce.names import (
    FIELDS,
    LINE,
    ORDER,
    SHIPMENT,
    SHIPMENT_ITEM,
    STATE,
    names_from,
)
from crossdock_adapters.salesforce.pubsub import Door, PubSub, Seen
from crossdock_adapters.salesforce.translate import Found
from crossdock_adapters.salesforce.translate_events import is_id
from crossdock_adapters.sdk.auth import Token, TokenCache, client_assertion
from crossdock_adapters.sdk.error_table import ErrorTable
from crossdock_adapters.sdk.http import Answer, VendorHttp
from crossdock_adapters.sdk.measures import plain
from crossdock_adapters.sdk.outcomes import (
    NeedsPerson,
    OutcomeUnknown,
    Reject,
    Retry,
    VendorOutcome,
)
from crossdock_adapters.sdk.settings import Secrets, Settings, SettingsError

log = logging.getLogger(__name__)

ERRORS: Final = ErrorTable.load(__package__)
# Also of a field that is there, for a user who may not see it.
NO_SUCH_FIELD: Final = "INVALID_FIELD"
HIDDEN_FIELD: Final = (
    'let the integration user read the field (field-level security), or name another, or "", in '
    "the setting fields"
)
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_PATH: Final = "/services/oauth2/token"
# Assertions that live longer than this are refused.
ASSERTION_SECONDS: Final = 180
AUTH_RETRY_SECONDS: Final = 5.0
MAX_PARTS: Final = 25
MAX_RECORDS: Final = 200
MAX_PAGES: Final = 500
LOCK_CODE: Final = "UNABLE_TO_LOCK_ROW"
# Codes under which a failed trigger tells its own error in the text, and how a text says that a
# trigger failed: without it the first is a missing permission.
ACTIVATE_CODE: Final = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
TRIGGER_CODES: Final = frozenset({ACTIVATE_CODE, "CANNOT_EXECUTE_FLOW_TRIGGER"})
TRIGGER_WORDS: Final = "execution of"
# Of a part of a composite call, and of a record of a collection, that another's error took back.
ROLLED_BACK: Final = frozenset({"PROCESSING_HALTED", "ALL_OR_NONE_OPERATION_ROLLED_BACK"})
# The time of a record's last change, by whoever made it, the platform included.
CHANGED: Final = "SystemModstamp"
_USAGE: Final = re.compile(r"api-usage=(\d{1,12})/(\d{1,12})")


class RecordMissing(Exception):
    """A record that is asked for by its id is not there; the text says which."""


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a composite call; path: below the version's root."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Budget:
    """How much of the org's API requests of 24 hours is used, as the last answer said."""

    used: int = 0
    most: int = 0

    def note(self, header: str) -> None:
        """Read the header Sforce-Limit-Info; one that says something else says nothing."""
        found = _USAGE.search(header)
        if found and int(found[2]):
            self.used, self.most = int(found[1]), int(found[2])

    def alert(self, percent: Decimal) -> str:
        """What to say once this share is used; "": less is."""
        if not self.most or self.used * 100 < percent * self.most:
            return ""
        return f"{self.used} of {self.most} API requests of 24 hours are used"


class SalesforceClient:
    """One org by one integration user: REST here, the event bus in `pubsub`."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self.names = names_from(settings)
        self.organization = settings.text("organization_id")
        if not is_id(self.organization):
            raise SettingsError("organization_id must be the org's id, of 15 or 18 characters")
        self.external_id_field = settings.text("external_id_field")
        self.return_status = settings.text("return_order_status")
        self._settings = settings
        self._secrets = secrets
        timeout_seconds = settings.seconds("timeout_seconds")
        self._base_url = settings.text("base_url").rstrip("/")
        self._root = f"/services/data/v{settings.text('api_version')}"
        self._http = VendorHttp(self._base_url, timeout_seconds=timeout_seconds)
        self._login = VendorHttp(settings.text("login_url"), timeout_seconds=timeout_seconds)
        self._instance_url = self._base_url
        self._tokens = TokenCache(self._fetch_token)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.budget = Budget()
        # Of the event bus: what is told already, from one run of the poll to the next.
        self.seen = Seen()
        door = Door(
            url=settings.text("pubsub_url"),
            organization=self.organization,
            tokens=self._tokens,
            instance_url=lambda: self._instance_url,
            errors=ERRORS,
            lost_codes=frozenset(settings.texts("lost_replay_codes")),
            session_codes=frozenset(settings.texts("lost_session_codes")),
            timeout_seconds=timeout_seconds,
            keepalive_seconds=settings.seconds("keepalive_seconds"),
            silence_seconds=settings.seconds("silence_seconds"),
        )
        self.pubsub = PubSub(door)

    async def test(self) -> None:
        """Prove that the org takes our assertion, and that each topic may be subscribed to."""
        await self._tokens.get()
        for topic in self._settings.texts("topics"):
            await self.pubsub.topic(topic)

    async def close(self) -> None:
        """End the streams and close the connection pools."""
        await self.pubsub.close()
        await self._http.close()
        await self._login.close()

    def turn(self, summary: str) -> asyncio.Lock:
        """Writes to one order summary go one after another: they lock its row."""
        return self._turns.setdefault(summary, asyncio.Lock())

    async def fulfillment_order(self, order_id: str) -> Found:
        """A fulfillment order and its rows, in one call. RecordMissing: there is none."""
        return await self._found(order_id, FIELDS)

    async def state_of(self, order_id: str) -> Found:
        """What operations need of it: statuses and quantities. RecordMissing: there is none."""
        return await self._found(order_id, STATE)

    async def _found(self, order_id: str, only: Collection[str]) -> Found:
        key = soql_id(order_id)
        names = self.names
        order = f"SELECT {_fields(names.of('order.', only))} FROM {ORDER} WHERE Id = {key}"
        rows = (
            f"SELECT {_fields(names.of('line.', only))} FROM {LINE} "
            f"WHERE FulfillmentOrderId = {key} ORDER BY Id"
        )
        parts = [Part("GET", f"/query?q={_quoted(query)}") for query in (order, rows)]
        orders, lines = await self.composite(parts, effect=False)
        found = records_of(orders)
        if not found:
            raise RecordMissing(f"there is no fulfillment order {order_id}")
        return Found(found[0], await self._rest_of(lines))

    async def changed(self, since: str, until: str) -> AsyncIterator[list[tuple[str, str]]]:
        """(id, time of the change) of fulfillment orders that changed between these times, oldest
        change first, page by page."""
        query = (
            f"SELECT Id, {CHANGED} FROM {ORDER} WHERE {CHANGED} >= {since} "
            f"AND {CHANGED} <= {until} ORDER BY {CHANGED}, Id"
        )
        answer = await self._call("GET", f"/query?q={_quoted(query)}", effect=False)
        async for page in self._pages(answer):
            yield [(str(row.get("Id")), str(row.get(CHANGED))) for row in page]

    async def query(self, text: str) -> list[dict[str, Any]]:
        """All records that a query finds."""
        answer = await self._call("GET", f"/query?q={_quoted(text)}", effect=False)
        return await self._rest_of(answer)

    async def set_status(self, order_id: str, status: str) -> None:
        """Write a fulfillment order's status; the same again changes nothing."""
        path = f"/sobjects/{ORDER}/{order_id}"
        body = {self.names.fields["order.status"]: status}
        await self._call("PATCH", path, body=body, effect=True)

    async def write_shipments(
        self,
        rows: Mapping[str, Mapping[str, Any]],
        items: Mapping[str, Mapping[str, Any]],
        order_id: str,
        status: str,
    ) -> None:
        """Upsert shipments and their items by our keys, and set the fulfillment order's status if
        one is given. An item keeps its shipment, which only a create may say.

        All or nothing of each 25, the status with the last: one call for all but large shipments.
        NeedsPerson: several rows have our key, so the field is not unique.
        """
        field = self.external_id_field
        there = await self._items_of(order_id) if items else frozenset[str]()
        items = {
            key: _without(row, SHIPMENT) if key in there else row for key, row in items.items()
        }
        parts = [
            Part("PATCH", f"/sobjects/{kind}/{field}/{_quoted(key)}", row)
            for kind, keyed in ((SHIPMENT, rows), (SHIPMENT_ITEM, items))
            for key, row in keyed.items()
        ]
        if status:
            body = {self.names.fields["order.status"]: status}
            parts.append(Part("PATCH", f"/sobjects/{ORDER}/{order_id}", body))
        if len(parts) == 1:
            content = await self._call("PATCH", parts[0].path, body=parts[0].body, effect=True)
            if says_failure(content):
                raise self._failed(200, content)
            return
        for start in range(0, len(parts), MAX_PARTS):
            await self.composite(parts[start : start + MAX_PARTS], effect=True)

    async def shipments_of(self, order_id: str) -> dict[str, str]:
        """The ids of a fulfillment order's shipments, by our key; without those of others."""
        field, order = self.external_id_field, self.names.fields["shipment.order"]
        query = (
            f"SELECT Id, {field} FROM {SHIPMENT} WHERE {order} = {soql_id(order_id)} ORDER BY Id"
        )
        return {str(row[field]): str(row["Id"]) for row in await self.query(query) if row[field]}

    async def _items_of(self, order_id: str) -> frozenset[str]:
        """Our keys of the items of a fulfillment order's shipments."""
        field, order = self.external_id_field, self.names.fields["shipment.order"]
        query = (
            f"SELECT Id, {field} FROM {SHIPMENT_ITEM} "
            f"WHERE {SHIPMENT}.{order} = {soql_id(order_id)} ORDER BY Id"
        )
        return frozenset(str(row[field]) for row in await self.query(query) if row[field])

    async def take_back(self, shipment_ids: Sequence[str], status: str) -> None:
        """Delete shipments, and their items with them, or give them a status if there is one."""
        body = {self.names.fields["shipment.status"]: status} if status else None
        method = "PATCH" if status else "DELETE"
        parts = [Part(method, f"/sobjects/{SHIPMENT}/{each}", body) for each in shipment_ids]
        if len(parts) == 1 and not status:
            await self._call(method, parts[0].path, effect=True)
            return
        for start in range(0, len(parts), MAX_PARTS):
            await self.composite(parts[start : start + MAX_PARTS], effect=True)

    async def create_invoice(self, order_id: str) -> str:
        """The invoice of a fulfillment order that has none yet; its id."""
        path = f"/commerce/fulfillment/fulfillment-orders/{order_id}/actions/create-invoice"
        answer = await self._action(path, {})
        invoice = answer.get("invoiceId")
        if not isinstance(invoice, str) or not invoice:
            raise OutcomeUnknown("create-invoice: the answer names no invoice")
        return invoice

    async def cancel_items(self, order_id: str, rows: Mapping[str, Decimal]) -> None:
        """Take quantities out of a managed fulfillment order. Not to be repeated unread."""
        path = f"/commerce/fulfillment/fulfillment-orders/{order_id}/actions/cancel-item"
        items = [
            {"fulfillmentOrderLineItemId": row_id, "quantity": quantity}
            for row_id, quantity in rows.items()
        ]
        await self._action(path, {"fulfillmentOrderLineItemsToCancel": items})

    async def submit_return(self, summary_id: str, items: Sequence[Mapping[str, Any]]) -> str:
        """Return items of a managed order, all or none; the id of the change order. Not to be
        repeated unread."""
        root = "/commerce/order-management/order-summaries"
        path = f"{root}/{summary_id}/actions/submit-return"
        answer = await self._action(path, {"changeItems": list(items)})
        change = answer.get("changeOrderId")
        if not isinstance(change, str) or not change:
            raise OutcomeUnknown("submit-return: the answer names no change order")
        return change

    async def set_quantities(self, rows: Mapping[str, Decimal]) -> None:
        """Write quantities of rows of an unmanaged fulfillment order, all or nothing."""
        field = self.names.fields["line.quantity"]
        records = [
            {"attributes": {"type": LINE}, "id": row_id, field: quantity}
            for row_id, quantity in rows.items()
        ]
        if len(records) > MAX_RECORDS:
            raise NeedsPerson(f"{len(records)} rows were short; at most {MAX_RECORDS} in one call")
        body = {"allOrNone": True, "records": records}
        answer = await self._call("PATCH", "/composite/sobjects", body=body, effect=True)
        results = answer if isinstance(answer, list) else []
        failed = [each for each in results if not _is_success(each)]
        if failed:
            telling = [each for each in failed if error_of(each)[0] not in ROLLED_BACK]
            raise self._failed(200, (telling or failed)[0])
        if len(results) != len(records):
            raise OutcomeUnknown("the answer does not account for every row")

    async def composite(self, parts: Sequence[Part], *, effect: bool) -> list[Any]:
        """The bodies of up to 25 requests in one call, all or nothing; raises what the first part
        that failed means."""
        requests = [
            {
                "method": part.method,
                "url": self._root + part.path,
                "referenceId": f"part{position}",
                **({} if part.body is None else {"body": part.body}),
            }
            for position, part in enumerate(parts)
        ]
        body = {"allOrNone": True, "compositeRequest": requests}
        answer = await self._call("POST", "/composite", body=body, effect=effect)
        results = answer.get("compositeResponse") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(parts):
            raise self._unclear("the answer does not account for every part", effect)
        statuses = [_status(each) for each in results]
        bodies = [each.get("body") if isinstance(each, dict) else None for each in results]
        bad = [
            (status, content)
            for status, content in zip(statuses, bodies, strict=True)
            if not 200 <= status < 300 or says_failure(content)
        ]
        if bad:
            telling = [each for each in bad if error_of(each[1])[0] not in ROLLED_BACK]
            status, content = (telling or bad)[0]
            raise self._meaning(status, content, effect=effect)
        return bodies

    async def _action(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self._call("POST", path, body=body, effect=True)
        if not isinstance(answer, dict):
            raise OutcomeUnknown("the answer of an action is no object")
        if says_failure(answer):
            raise self._failed(200, answer)
        return answer

    async def _rest_of(self, answer: Any) -> list[dict[str, Any]]:
        """The records of a query's answer and of the pages behind it."""
        return [row async for page in self._pages(answer) for row in page]

    async def _pages(self, answer: Any) -> AsyncIterator[list[dict[str, Any]]]:
        """The records of a query's answer, and of each page behind it."""
        yield records_of(answer)
        for _ in range(MAX_PAGES):
            following = answer.get("nextRecordsUrl") if isinstance(answer, dict) else None
            if not following:
                return
            if not str(following).startswith(f"{self._root}/query/"):
                raise NeedsPerson("a query's next page is outside of the API")
            answer = await self._call("GET", str(following)[len(self._root) :], effect=False)
            yield records_of(answer)
        raise NeedsPerson(f"a query has more than {MAX_PAGES} pages")

    async def _call(
        self, method: str, path: str, *, effect: bool, body: Mapping[str, Any] | None = None
    ) -> Any:
        answer = await self._http.request(
            method, self._root + path, json=body, auth=self._tokens, effect=effect
        )
        self.budget.note(answer.headers.get("Sforce-Limit-Info", ""))
        content = _json(answer)
        if not answer.ok:
            if effect and answer.status < 500 and says_failure(output_of(content)):
                raise self._failed(answer.status, content)
            raise self._meaning(
                answer.status, content, effect=effect, wish=self._wish_seconds(answer, content)
            )
        if answer.status != 204 and content is None:
            raise answer.unclear(f"{method} {path[:80]}: the answer is no JSON", effect=effect)
        return content

    def _wish_seconds(self, answer: Answer, content: Any) -> float | None:
        """How long to be quiet; None: the vendor says nothing. It does not when the day's requests
        are used: then as long as the setting says."""
        wish = answer.wish_seconds()
        if wish is None and error_of(content)[0] == "REQUEST_LIMIT_EXCEEDED":
            return self._settings.seconds("limit_pause_seconds")
        return wish

    def _meaning(
        self, status: int, content: Any, *, effect: bool, wish: float | None = None
    ) -> VendorOutcome:
        code, said = error_of(content)
        if code in TRIGGER_CODES and LOCK_CODE in said:
            code = LOCK_CODE
        elif code == ACTIVATE_CODE and TRIGGER_WORDS in said:
            code = f"{code} {TRIGGER_WORDS}"
        if code == NO_SUCH_FIELD:
            said = f"{HIDDEN_FIELD}: {said}"
        known = status if ERRORS.names(status, code) or not ERRORS.names(0, code) else 0
        return ERRORS.meaning(known, code, said, effect=effect, wish_seconds=wish)

    def _failed(self, status: int, content: Any) -> VendorOutcome:
        """A success that says it is none: the work was not done, whatever the code."""
        code, said = error_of(content)
        if ERRORS.names(0, code) or code in TRIGGER_CODES:
            return self._meaning(status, content, effect=True)
        return Reject(code or "REFUSED", f"{code} {said}".strip()[:MAX_SAID])

    def _unclear(self, reason: str, effect: bool) -> VendorOutcome:
        return OutcomeUnknown(reason) if effect else Retry(0.0, reason)

    async def _fetch_token(self) -> Token:
        try:
            assertion = client_assertion(
                self._secrets.text("private_key"),
                key_id="",
                issuer=self._secrets.text("client_id"),
                audience=self._settings.text("audience"),
                algorithm="RS256",
                lifetime_seconds=ASSERTION_SECONDS,
                claims={"sub": self._settings.text("username")},
            )
        except ValueError:
            raise SettingsError("private_key: it is no RSA key in PEM") from None
        form = {"grant_type": JWT_BEARER, "assertion": assertion}
        answer = await self._login.post(TOKEN_PATH, form=form, effect=False)
        content = _json(answer)
        content = content if isinstance(content, dict) else {}
        value, instance = content.get("access_token"), content.get("instance_url")
        if not answer.ok or not isinstance(value, str) or not value:
            code = str(content.get("error", ""))[:64]
            reason = f"Salesforce gives no token ({answer.status} {code})".replace(" )", ")")
            raise Retry(answer.retry_after_seconds(AUTH_RETRY_SECONDS), reason)
        if isinstance(instance, str) and instance:
            self._instance_url = instance
        # The answer does not say how long it lives; the org's session settings do.
        return Token(value, self._settings.seconds("session_seconds"))


def records_of(answer: Any) -> list[dict[str, Any]]:
    """The records of one page of a query's answer. Retry: it is none."""
    found = answer.get("records") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Retry(0.0, "the answer of a query has no records")
    return list(found)


def soql_id(value: str) -> str:
    """An id as a literal. ValueError: it is none, and could be anything."""
    if not is_id(value):
        raise ValueError(f"{value[:32]!r} is no record id")
    return f"'{value}'"


def row_quantities(rows: Mapping[str, Decimal]) -> str:
    """Rows and quantities for people."""
    return ", ".join(f"{plain(quantity)} of {row}" for row, quantity in rows.items())


def _without(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in row.items() if each != name}


def _fields(paths: Sequence[str]) -> str:
    return ", ".join(["Id", *dict.fromkeys(path for path in paths if path != "Id")])


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _status(result: Any) -> int:
    status = result.get("httpStatusCode") if isinstance(result, dict) else None
    return status if isinstance(status, int) else 0


def _is_success(result: Any) -> bool:
    return isinstance(result, dict) and result.get("success") is True


def _json(answer: Answer) -> Any:
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None
