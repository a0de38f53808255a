"""A Salesforce org with Order Management, simulated: REST, Connect actions, OAuth, event bus.

It refuses what Salesforce refuses, in its words: sessions that ended, direct writes to managed
orders, a second invoice, a day's requests used up. Successes may carry errors, and events are lost
or unreadable, as misbehaviours.
"""

from __future__ import annotations

import base64
import copy
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from grpc import StatusCode
from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.salesforce import avro, sandbox_returns, sandbox_schemas, sandbox_shipments
from crossdock_adapters.salesforce.names import SHIPMENT_ITEM
from crossdock_adapters.salesforce.sandbox_access import (
    Access,
    DailyRequests,
    app_key,
    private_key_pem,
)
from crossdock_adapters.salesforce.sandbox_answers import (
    Refusing,
    RefusingAction,
    halted,
    object_of,
    part_result,
    refused_by,
    together,
)
from crossdock_adapters.salesforce.sandbox_pubsub import Bus, House, OrgPort, Service, Topic
from crossdock_adapters.salesforce.sandbox_records import (
    EXTERNAL_ID_FIELD,
    Records,
    Refusal,
    StatusChange,
)
from crossdock_adapters.salesforce.stubs import pubsub_api_pb2
from crossdock_adapters.sdk.faults import Fault
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    SandboxConfig,
    VendorRoute,
    json_response,
)
from crossdock_adapters.sdk.sandbox_misbehaving import Misbehaving
from crossdock_adapters.sdk.sandbox_server import Listener

STATUS_TOPIC = "/event/FOStatusChangedEvent"
CHANGE_TOPIC = "/data/FulfillmentOrderChangeEvent"
# Objects besides shipments that are upserted by their external id.
KEYED = {
    **dict.fromkeys(sandbox_returns.FIELDS, sandbox_returns.upsert),
    SHIPMENT_ITEM: sandbox_shipments.upsert_item,
}
MAX_PARTS = 25
MAX_RECORDS = 200
ROOT = "/services/data/v{version}"
ACTIONS = f"{ROOT}/commerce/fulfillment/fulfillment-orders/{{order_id}}/actions"
SUMMARIES = f"{ROOT}/commerce/order-management/order-summaries"
SUBMIT_RETURN = f"{SUMMARIES}/{{summary_id}}/actions/submit-return"


class SalesforceSandbox(Misbehaving):
    """One org.

    Settings: organization_id, client_id, username, audience, private_key_file (PEM; written with a
    new key when it does not exist; absent: a key of the process), session_seconds, daily_requests,
    pubsub_port, keepalive_seconds, events_in_response, session_status, schemas, fulfillment_orders,
    shipments (by their key).
    """

    name = "salesforce"
    other_operations = frozenset({"get_topic", "get_schema", "subscribe"})
    kept = ("_misbehaves", "_records", "_bus.topics", "_bus.schemas", "_access.sessions")
    # lock_row, errors_in_success, multiple_matches: of the next write; replay_lost: of the next
    # subscription behind a replay id; stream_ends: in order, the next one on which something
    # happens; silent: no events; british: "Cancelled" for "Canceled".
    misbehaviours: ClassVar[frozenset[str]] = frozenset({
        "lock_row", "errors_in_success", "multiple_matches", "replay_lost", "stream_ends", "silent",
        "british",
    })  # fmt: skip

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        given = config.settings
        self.organization = str(given.get("organization_id", "00D5f000000ORGAAA1"))
        self._records = Records()
        self._requests = DailyRequests(int(given.get("daily_requests", 100_000)))
        key_file = given.get("private_key_file")
        self._access = Access(
            key=app_key(None if key_file is None else Path(key_file)),
            client_id=str(given.get("client_id", "sandbox-consumer-key")),
            username=str(given.get("username", "hub@acme.example")),
            audience=str(given.get("audience", "https://login.salesforce.com")),
            session_seconds=float(given.get("session_seconds", 7200)),
            random=self.random,
            now=lambda: self.now().timestamp(),
        )
        self._bus = Bus(self.random)
        self._bus.schemas |= {**sandbox_schemas.SCHEMAS, **given.get("schemas", {})}
        for topic, schema_id in (
            (STATUS_TOPIC, sandbox_schemas.STATUS_ID),
            (CHANGE_TOPIC, sandbox_schemas.CHANGE_ID),
        ):
            self._bus.topics[topic] = Topic(topic, schema_id)
        self._port: OrgPort | None = None
        for order in given.get("fulfillment_orders", []):
            self._records.add_order(order, self.now())
        for key, row in given.get("shipments", {}).items():
            self._records.upsert_shipment(key, row)

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        return {"fulfillment_orders": []}

    def vendor_port(self) -> OrgPort:
        house = House(
            bus=self._bus,
            is_open=self._access.is_open,
            organization=self.organization,
            instance_url=lambda: self.vendor_url,
            keepalive_seconds=float(self.settings.get("keepalive_seconds", 270)),
            events_in_response=int(self.settings.get("events_in_response", 50)),
            loses_replay=lambda: self.struck("replay_lost"),
            ends_stream=lambda: self.struck("stream_ends"),
            refuses_with=StatusCode[str(self.settings.get("session_status", "UNAUTHENTICATED"))],
        )
        listener = Listener(self._vendor_app(), self.config.host, self.config.vendor_port)
        wanted_port = int(self.settings.get("pubsub_port", 0))
        self._port = OrgPort(listener, Service(self, house), self.config.host, wanted_port)
        return self._port

    @property
    def pubsub_url(self) -> str:
        """Where the Pub/Sub API is."""
        if self._port is None:
            raise RuntimeError("the sandbox is not started")
        return f"http://{self.config.host}:{self._port.pubsub_port}"

    def private_key(self) -> str:
        """The key that the connected app knows, as PEM."""
        return private_key_pem(self._access.key)

    def routes(self) -> Sequence[VendorRoute]:
        field = EXTERNAL_ID_FIELD
        return [
            VendorRoute("POST", "/services/oauth2/token", self._token, "oauth_token"),
            VendorRoute("GET", f"{ROOT}/query", self._query, "query"),
            VendorRoute("GET", f"{ROOT}/query/{{locator}}", self._query_more, "query"),
            VendorRoute("GET", f"{ROOT}/limits", self._limits, "limits"),
            VendorRoute("POST", f"{ROOT}/composite", self._composite, "composite", effect=True),
            VendorRoute(
                "PATCH", f"{ROOT}/composite/sobjects", self._collection, "update_lines", effect=True
            ),
            VendorRoute(
                "PATCH", f"{ROOT}/sobjects/FulfillmentOrder/{{order_id}}", self._update_order,
                "update_fulfillment_order", effect=True,
            ),
            VendorRoute(
                "PATCH", f"{ROOT}/sobjects/Shipment/{field}/{{key}}", self._upsert_shipment,
                "upsert_shipment", effect=True,
            ),
            VendorRoute(
                "DELETE", f"{ROOT}/sobjects/Shipment/{{record_id}}", self._delete_shipment,
                "delete_shipment", effect=True,
            ),
            VendorRoute(
                "POST", f"{ACTIONS}/create-invoice", self._create_invoice, "create_invoice",
                effect=True,
            ),
            VendorRoute(
                "POST", f"{ACTIONS}/cancel-item", self._cancel_item, "cancel_item", effect=True
            ),
            VendorRoute("POST", SUBMIT_RETURN, self._submit_return, "submit_return", effect=True),
        ]  # fmt: skip

    def books(self) -> dict[str, Any]:
        return {
            **self._records.as_json(),
            "tokens_given": self._access.given,
            "requests_used": self._requests.used,
            "topics": {
                topic.name: {"events": len(topic.events), "schema_id": topic.schema_id}
                for topic in self._bus.topics.values()
            },
        }

    def commands(self) -> dict[str, Command]:
        return {
            **super().commands(),
            "fulfillment_order": self._command_order,
            "status": self._command_status,
            "change_event": self._command_change_event,
            "publish": self._command_publish,
            "schema": self._command_schema,
            "forget_events": self._command_forget,
            "expire_tokens": self._command_expire,
            "use_requests": self._command_use_requests,
        }

    def throttled(self, fault: Fault) -> Response:
        body = Refusal(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.").as_json()
        return json_response(body, 403, {"Retry-After": f"{fault.retry_after_seconds:g}"})

    def failed(self, fault: Fault) -> Response:
        text = "An unexpected error occurred. Please include this ErrorId"
        return json_response([{"errorCode": "UNKNOWN_EXCEPTION", "message": text}], fault.status)

    # Access

    async def _token(self, request: Request, call: Call) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        return json_response(self._access.token_answer(form, self.vendor_url, self.organization))

    def _enter(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self._access.is_open(token):
            raise refused_by(Refusal(401, "INVALID_SESSION_ID", "Session expired or invalid"))
        if not self._requests.take():
            refusal = Refusal(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            raise refused_by(refusal)

    def _answer(self, body: Any, status: int = 200) -> Response:
        headers = {"Sforce-Limit-Info": self._requests.header}
        if status == 204:
            return Response(status_code=204, headers=headers)
        return json_response(body, status, headers)

    # Records

    async def _query(self, request: Request, call: Call) -> Response:
        self._enter(request)
        with Refusing():
            return self._answer(self._found(request.query_params.get("q", "")))

    async def _query_more(self, request: Request, call: Call) -> Response:
        self._enter(request)
        with Refusing():
            page = self._records.page(request.path_params["locator"])
        return self._answer(self._with_place(page, request.path_params["version"]))

    async def _limits(self, request: Request, call: Call) -> Response:
        self._enter(request)
        left = self._requests.most - self._requests.used
        return self._answer({"DailyApiRequests": {"Max": self._requests.most, "Remaining": left}})

    def _found(self, query: str, version: str = "62.0") -> dict[str, Any]:
        return self._with_place(self._records.query(query), version)

    def _with_place(self, page: dict[str, Any], version: str) -> dict[str, Any]:
        if "nextRecordsUrl" in page:
            place = f"/services/data/v{version}/query/{page['nextRecordsUrl']}"
            page = {**page, "nextRecordsUrl": place}
        return page

    async def _update_order(self, request: Request, call: Call) -> Response:
        self._enter(request)
        body = await object_of(request)
        call.key = request.path_params["order_id"]
        with Refusing():
            self._lock()
            change = self._records.update_order(call.key, body, self.now())
        call.effect = change is not None
        self._tell(change)
        return self._answer(None, 204)

    async def _upsert_shipment(self, request: Request, call: Call) -> Response:
        self._enter(request)
        call.key = request.path_params["key"]
        with Refusing():
            status, body, call.effect = self._upsert(call.key, await object_of(request))
        return self._answer(body, status)

    async def _delete_shipment(self, request: Request, call: Call) -> Response:
        self._enter(request)
        call.key = request.path_params["record_id"]
        with Refusing():
            self._lock()
            sandbox_shipments.by_id(self._records, "DELETE", call.key, {})
        return self._answer(None, 204)

    def _upsert(self, key: str, body: Mapping[str, Any]) -> tuple[int, Any, bool]:
        self._lock()
        if self.struck("multiple_matches"):
            root = "/services/data/v62.0/sobjects/Shipment"
            return 300, [f"{root}/0OB5f0000000001AAA", f"{root}/0OB5f0000000002AAA"], False
        is_new = key not in self._records.shipments
        row, changed = self._records.upsert_shipment(key, body)
        answer = {"id": row["Id"], "success": True, "errors": [], "created": is_new}
        return (201 if is_new else 200), answer, changed

    async def _collection(self, request: Request, call: Call) -> Response:
        """200 whatever happens to single records."""
        self._enter(request)
        body = await object_of(request)
        records = body.get("records")
        if not isinstance(records, list) or len(records) > MAX_RECORDS or not body.get("allOrNone"):
            raise refused_by(Refusal(400, "INVALID_INPUT", f"at most {MAX_RECORDS} records"))
        before = copy.deepcopy(self._records)
        results: list[dict[str, Any]] = []
        call.effect = False
        for record in records:
            line_id = str(record.get("id"))
            try:
                self._lock()
                quantity = Decimal(str(record["Quantity"]))
                call.effect = self._records.set_quantity(line_id, quantity) or call.effect
                results.append({"id": line_id, "success": True, "errors": []})
            except Refusal as refused:
                error = {"statusCode": refused.code, "message": refused.message, "fields": []}
                results.append({"id": line_id, "success": False, "errors": [error]})
        if not all(each["success"] for each in results):
            self._records, call.effect = before, False
        return self._answer(together(results))

    # Composite

    async def _composite(self, request: Request, call: Call) -> Response:
        self._enter(request)
        body = await object_of(request)
        parts = body.get("compositeRequest")
        if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_PARTS:
            raise refused_by(Refusal(400, "INVALID_INPUT", f"1 to {MAX_PARTS} subrequests"))
        before = copy.deepcopy(self._records)
        changes: list[StatusChange] = []
        results, call.effect = [], False
        for part in parts:
            status, content, changed = self._part(part, changes)
            call.effect = call.effect or changed
            results.append(part_result(part, status, content))
        if body.get("allOrNone") and any(each["httpStatusCode"] >= 300 for each in results):
            self._records, call.effect, changes = before, False, []
            results = [halted(each) for each in results]
        for change in changes:
            self._tell(change)
        return self._answer({"compositeResponse": results})

    def _part(self, part: Mapping[str, Any], changes: list[StatusChange]) -> tuple[int, Any, bool]:
        """(status, body, whether something changed) of one subrequest."""
        place = urlsplit(str(part.get("url", "")))
        way = [unquote(each) for each in place.path.split("/")][4:]
        content = part.get("body")
        body: dict[str, Any] = dict(content) if isinstance(content, dict) else {}
        try:
            match part.get("method"), way:
                case "GET", ["query"]:
                    return 200, self._found(dict(parse_qsl(place.query)).get("q", "")), False
                case "PATCH", ["sobjects", "Shipment", field, key] if field == EXTERNAL_ID_FIELD:
                    return self._upsert(key, body)
                case "PATCH", ["sobjects", kind, field, key] if (
                    kind in KEYED and field == EXTERNAL_ID_FIELD
                ):
                    self._lock()
                    return KEYED[kind](self._records, kind, field, key, body)
                case "DELETE" | "PATCH" as method, ["sobjects", "Shipment", record_id]:
                    self._lock()
                    return sandbox_shipments.by_id(self._records, method, record_id, body)
                case "PATCH", ["sobjects", "FulfillmentOrder", order_id]:
                    self._lock()
                    change = self._records.update_order(order_id, body, self.now())
                    changes += [change] if change is not None else []
                    return 204, None, change is not None
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")
        except Refusal as refused:
            return refused.status, refused.as_json(), False

    # Actions

    async def _create_invoice(self, request: Request, call: Call) -> Response:
        self._enter(request)
        call.key = request.path_params["order_id"]
        if self.struck("errors_in_success"):
            call.effect = False
            error = {"errorCode": "INVALID_INPUT", "message": "No tax was calculated"}
            return self._answer({"success": False, "errors": [error], "invoiceId": None}, 201)
        with RefusingAction():
            self._lock()
            invoice = self._records.create_invoice(call.key)
        return self._answer({"success": True, "errors": [], "invoiceId": invoice}, 201)

    async def _cancel_item(self, request: Request, call: Call) -> Response:
        self._enter(request)
        body = await object_of(request)
        call.key = request.path_params["order_id"]
        items = body.get("fulfillmentOrderLineItemsToCancel")
        with RefusingAction():
            self._lock()
            self._records.cancel_items(call.key, items if isinstance(items, list) else [])
        return self._answer({"success": True, "errors": []}, 201)

    async def _submit_return(self, request: Request, call: Call) -> Response:
        self._enter(request)
        body = await object_of(request)
        call.key = request.path_params["summary_id"]
        with RefusingAction():
            self._lock()
            change = sandbox_returns.submit(self._records, call.key, body.get("changeItems"))
        return self._answer({"success": True, "errors": [], "changeOrderId": change}, 201)

    def _lock(self) -> None:
        if self.struck("lock_row"):
            raise Refusal(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to it")

    # Events

    def _tell(self, change: StatusChange | None) -> None:
        if change is None or self.misbehaves("silent"):
            return
        order = change.order
        category = order["StatusCategory"]
        if self.misbehaves("british") and category == "Canceled":
            category = order["StatusCategory"] = "Cancelled"
        record = sandbox_schemas.status_record(
            order, change.old_status, change.old_category, category, self._uuid(), self.now()
        )
        self._publish(STATUS_TOPIC, record, record["EventUuid"])

    def _publish(self, topic: str, record: Mapping[str, Any], event_id: str) -> bytes:
        schema_id = self._bus.topics[topic].schema_id
        schema = avro.schema_of(self._bus.schemas[schema_id])
        event = pubsub_api_pb2.ProducerEvent(
            id=event_id, schema_id=schema_id, payload=avro.encode(schema, record)
        )
        return self._bus.publish(topic, event, self.now())

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    # Commands

    async def _command_order(self, arguments: dict[str, Any]) -> Any:
        """{"number", "status"?, "life_cycle"?, "lines"?, …}: allocated, with its event."""
        order = self._records.add_order(arguments, self.now())
        self._tell(StatusChange(order, "Draft", "Draft"))
        return {"id": order["Id"]}

    async def _command_status(self, arguments: dict[str, Any]) -> Any:
        """{"id", "status"}: as somebody writes it by hand."""
        change = self._records.update_order(
            str(arguments["id"]), {"Status": str(arguments["status"])}, self.now()
        )
        self._tell(change)
        return {"changed": change is not None}

    async def _command_change_event(self, arguments: dict[str, Any]) -> Any:
        """{"change_type", "ids"?, "entity"?}: of Change Data Capture."""
        record = sandbox_schemas.change_record(
            str(arguments["change_type"]),
            [str(each) for each in arguments.get("ids", [])],
            str(arguments.get("entity", "FulfillmentOrder")),
            self.now(),
        )
        return {"replay_id": self._publish(CHANGE_TOPIC, record, self._uuid()).hex()}

    async def _command_publish(self, arguments: dict[str, Any]) -> Any:
        """{"topic"?, "event": base64 of a ProducerEvent}: anything at all."""
        event = pubsub_api_pb2.ProducerEvent.FromString(base64.b64decode(arguments["event"]))
        topic = str(arguments.get("topic", STATUS_TOPIC))
        return {"replay_id": self._bus.publish(topic, event, self.now()).hex()}

    async def _command_schema(self, arguments: dict[str, Any]) -> Any:
        """{"id", "schema": text, "topic"?}: a definition, from now on the topic's where named."""
        schema_id = str(arguments["id"])
        self._bus.schemas[schema_id] = str(arguments["schema"])
        if "topic" in arguments:
            self._bus.topics[str(arguments["topic"])].schema_id = schema_id
        return {"schemas": len(self._bus.schemas)}

    async def _command_forget(self, arguments: dict[str, Any]) -> Any:
        """{"topic"?}: what was published is not retained any more, as after 72 hours."""
        topic = self._bus.topics[str(arguments.get("topic", STATUS_TOPIC))]
        topic.forget(datetime.max.replace(tzinfo=self.now().tzinfo))
        topic.newest += 1
        topic.oldest = topic.newest
        return {"oldest": topic.oldest}

    async def _command_expire(self, _: dict[str, Any]) -> Any:
        ended = self._access.end_all()
        self._bus.wake()
        return {"expired": ended}

    async def _command_use_requests(self, arguments: dict[str, Any]) -> Any:
        """{"used"}: so many of the day's requests are used now."""
        self._requests.used = int(arguments["used"])
        return {"used": self._requests.used}


SANDBOX = SalesforceSandbox
