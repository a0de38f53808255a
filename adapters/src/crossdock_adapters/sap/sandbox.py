"""SAP S/4HANA Cloud simulated: OData V2 services behind SAP Gateway's rules for writing.

Every request needs the technical user; every write a session's token with its cookies, and every
change the ETag of what it changes. See the modules beside it for who may write, how documents and
errors look, and what the tenant's documents allow.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sap import odata, sandbox_books, sandbox_deliveries
from crossdock_adapters.sap.sandbox_access import CONTEXT_COOKIE, SESSION_COOKIE, Gate
from crossdock_adapters.sap.sandbox_bills import INVOICES, RETURNS, Bills
from crossdock_adapters.sap.sandbox_books import Books, Document, missing, order_etag
from crossdock_adapters.sap.sandbox_commands import People
from crossdock_adapters.sap.sandbox_deliveries import delivery_etag, item_of
from crossdock_adapters.sap.sandbox_functions import FUNCTIONS, Function
from crossdock_adapters.sap.sandbox_master_data import PARTNERS, PRODUCTS, MasterData, event
from crossdock_adapters.sap.sandbox_odata import (
    Fields,
    bared,
    body_of,
    feed,
    fits,
    key_of,
    parameter,
    plain,
    refusal,
    refuse_sorted,
    shown,
    single_key,
)
from crossdock_adapters.sap.sandbox_returns import RETURN_DELIVERIES, Returned
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import Fault
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Handler,
    Sandbox,
    SandboxConfig,
    VendorRoute,
    json_response,
)

ORDERS: Final = "API_SALES_ORDER_SRV"
DELIVERIES: Final = "API_OUTBOUND_DELIVERY_SRV;v=0002"
MATERIAL_DOCUMENTS: Final = "API_MATERIAL_DOCUMENT_SRV"
SERIALS: Final = "to_SerialDeliveryItem"
SERVICES: Final = (
    ORDERS, DELIVERIES, MATERIAL_DOCUMENTS, PRODUCTS, PARTNERS, INVOICES, RETURNS,
    RETURN_DELIVERIES,
)  # fmt: skip
DEFAULT_USER, DEFAULT_PASSWORD = "CROSSDOCK", "sandbox-technical-user-password"
DEFAULT_SESSION_SECONDS: Final = 1_800
DEFAULT_PAGE: Final = 50
DEFAULT_STOCK: Final = 1_000_000
ITEMS: Final = tuple(f"SKU-{number}" for number in range(1001, 1013))
BATCH_ITEMS, SERIAL_ITEMS = ("SKU-1011",), ("SKU-1012",)
CUSTOMERS: Final = tuple(f"CUST-{number}" for number in range(1001, 1013))
PLANTS: Final = ("1010", "1020")


class SapSandbox(Sandbox):
    """One tenant.

    Settings: user, password, session_seconds, page_size, items, customers, plants, batch_items,
    serial_items, stock (of each item in each plant), document_delay_seconds (until a material
    document is visible), names_reversed (whether the material document of a reversal names the one
    that it reverses), creates_deliveries (as the tenant's own background job does),
    put_away_first (what comes back, before its goods receipt), events_user, events_password.
    """

    name: ClassVar[str] = "sap"
    other_operations = frozenset({"webhook"})
    kept = ("_books", "_master", "_bills", "_returned", "_subscriber", "_events_sent")

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        given = self.settings
        items, plants = given.get("items", ITEMS), given.get("plants", PLANTS)
        stock = Decimal(str(given.get("stock", DEFAULT_STOCK)))
        self._books = Books(
            clock=self.now,
            materials=frozenset(items),
            customers=frozenset(given.get("customers", CUSTOMERS)),
            plants=frozenset(plants),
            batch_materials=frozenset(given.get("batch_items", BATCH_ITEMS)),
            serial_materials=frozenset(given.get("serial_items", SERIAL_ITEMS)),
            stock={(item, plant): stock for item in items for plant in plants},
            names_reversed=bool(given.get("names_reversed", False)),
        )
        self._gate = Gate(
            str(given.get("user", DEFAULT_USER)),
            str(given.get("password", DEFAULT_PASSWORD)),
            float(given.get("session_seconds", DEFAULT_SESSION_SECONDS)),
            self.random,
            lambda: self.now().timestamp(),
        )
        self._master = MasterData(
            items, given.get("customers", CUSTOMERS), self._books.batch_materials,
            self._books.serial_materials,
        )  # fmt: skip
        self._bills = Bills(self._books)
        first = bool(given.get("put_away_first", False))
        self._returned = Returned(self._books, self._bills.returns, put_away_first=first)
        self._subscriber = ""
        self._events_sent = 0
        self._page_size = int(given.get("page_size", DEFAULT_PAGE))
        delay = float(given.get("document_delay_seconds", 0))
        self._document_delay = timedelta(seconds=delay)
        self._creates_deliveries = bool(given.get("creates_deliveries", False))

    def routes(self) -> Sequence[VendorRoute]:
        orders, deliveries, documents = (
            f"{odata.ROOT}/{service}" for service in (ORDERS, DELIVERIES, MATERIAL_DOCUMENTS)
        )
        bill_gets, bill_posts = self._bills.routes(self._feed)
        back_gets, back_posts, back_patches = self._returned.routes(self._feed)
        gets: list[tuple[str, str, Handler]] = [
            (f"{odata.ROOT}/{{service}}/", "service_root", self._root),
            (f"{orders}/A_SalesOrder", "query_sales_orders", self._query_orders),
            (f"{orders}/A_SalesOrder({{key}})", "read_sales_order", self._read_order),
            (f"{deliveries}/A_OutbDeliveryItem", "query_delivery_items", self._query_items),
            (f"{deliveries}/A_OutbDeliveryHeader({{key}})", "read_delivery", self._read_delivery),
            (f"{deliveries}/A_OutbDeliveryItem({{key}})/to_DocumentFlow", "read_flow", self._flow),
            (f"{deliveries}/A_OutbDeliveryItem({{key}})/{SERIALS}", "read_serials", self._serials),
            (f"{documents}/A_MaterialDocumentItem", "query_material_documents", self._documents),
            *self._master.routes(self._feed),
            *bill_gets,
            *back_gets,
            (f"{odata.ROOT}/{{service}}/{{rest:path}}", "unknown_path", self._unknown),
        ]
        posts: list[tuple[str, str, Handler]] = [
            (f"{orders}/A_SalesOrder", "create_sales_order", self._create_order),
            (f"{orders}/A_SalesOrder({{key}})/to_Item", "add_order_item", self._add_item),
            (f"{deliveries}/A_OutbDeliveryHeader", "create_delivery", self._create_delivery),
            *(
                (f"{deliveries}/{name}", operation, self._function(function))
                for name, operation, function in FUNCTIONS
            ),
            *bill_posts,
            *back_posts,
        ]
        patches: list[tuple[str, str, Handler]] = [
            (f"{orders}/A_SalesOrder({{key}})", "change_sales_order", self._change_order),
            (f"{orders}/A_SalesOrderItem({{key}})", "change_order_item", self._change_order_item),
            (f"{deliveries}/A_OutbDeliveryHeader({{key}})", "change_delivery", self._change_header),
            (
                f"{deliveries}/A_OutbDeliveryItem({{key}})",
                "change_delivery_item",
                self._change_item,
            ),
            *back_patches,
        ]
        return [
            VendorRoute(method, path, self._guarded(handler), operation, effect=method != "GET")
            for method, routes in (("GET", gets), ("POST", posts), ("PATCH", patches))
            for path, operation, handler in routes
        ]

    def books(self) -> dict[str, Any]:
        return {
            "sales_orders": [_proof(each) for each in self._books.orders.values()],
            "deliveries": [_proof(each) for each in self._books.deliveries.values()],
            "return_deliveries": [_proof(each) for each in self._returned.deliveries.values()],
            "material_documents": [plain(each) for each in self._books.material_documents],
            "supplier_invoices": self._bills.invoices,
            "customer_returns": self._bills.returns,
            "events_sent": self._events_sent,
            "stock": {
                f"{item}/{plant}": str(held) for (item, plant), held in self._books.stock.items()
            },
            "tokens": {
                "given": self._gate.tokens_given,
                "refused": self._gate.tokens_refused,
                "failed_logins": self._gate.failures,
            },
        }

    def commands(self) -> dict[str, Command]:
        """What people and jobs do in the tenant, see sandbox_commands.py; subscribe {url}: where
        business events go, with the settings events_user and events_password."""
        people = People(self._books, self._gate, self._master, self.now, self._publish)
        return {**people.commands(), "subscribe": self._subscribe}

    async def tick(self) -> None:
        """The tenant's background job that creates deliveries of what is open."""
        if not self._creates_deliveries:
            return
        for document in self._books.orders.values():
            number = document.fields["SalesOrder"]
            wanted = [
                {"ReferenceSDDocument": number, "ReferenceSDDocumentItem": place}
                for place, item in document.items.items()
                if not item["SalesDocumentRjcnReason"]
                and sandbox_books.delivered(self._books, item) < item["RequestedQuantity"]
            ]
            if wanted:
                body = {"to_DeliveryDocumentItem": {"results": wanted}}
                sandbox_deliveries.create_delivery(self._books, body)

    def throttled(self, fault: Fault) -> Response:
        error = refusal(429, "", "Too many requests")
        headers = {"Retry-After": f"{fault.retry_after_seconds:g}"}
        return json_response(error.body, error.status, headers)

    def failed(self, fault: Fault) -> Response:
        error = refusal(fault.status, "SY/530", "An exception was raised")
        return json_response(error.body, error.status)

    # Reading

    async def _root(self, request: Request, call: Call) -> Response:
        return json_response({"d": {"EntitySets": []}})

    async def _unknown(self, request: Request, call: Call) -> Response:
        raise missing(request.path_params["rest"])

    async def _query_orders(self, request: Request, call: Call) -> Response:
        orders = self._books.orders
        rows = [each.fields for each in orders.values()]
        return self._feed(request, rows, lambda row: _shown_order(orders[row["SalesOrder"]]))

    async def _read_order(self, request: Request, call: Call) -> Response:
        document = self._order(request)
        body = _shown_order(document)
        if "to_Item" in request.query_params.get("$expand", ""):
            items = [_shown_order_item(item) for item in document.items.values()]
            body["to_Item"] = {"results": items}
        return json_response({"d": body}, headers={"ETag": order_etag(document)})

    async def _query_items(self, request: Request, call: Call) -> Response:
        documents = self._books.deliveries.values()
        rows = [item for each in documents for item in each.items.values()]

        def show(row: Fields) -> Fields:
            etag = delivery_etag(self._books.deliveries[row["DeliveryDocument"]])
            return shown("A_OutbDeliveryItem", _item_key(row), etag, plain(row))

        return self._feed(request, rows, show)

    async def _read_delivery(self, request: Request, call: Call) -> Response:
        document = self._delivery(single_key(request))
        etag = delivery_etag(document)
        key = odata.key(DeliveryDocument=document.fields["DeliveryDocument"])
        body = shown("A_OutbDeliveryHeader", key, etag, plain(document.fields))
        if "to_DeliveryDocumentItem" in request.query_params.get("$expand", ""):
            items = [
                shown("A_OutbDeliveryItem", _item_key(item), etag, plain(item))
                for item in document.items.values()
            ]
            body["to_DeliveryDocumentItem"] = {"results": items}
        return json_response({"d": body}, headers={"ETag": etag})

    async def _flow(self, request: Request, call: Call) -> Response:
        refuse_sorted(request)
        document, item = self._item(request)
        number, place = document.fields["DeliveryDocument"], item["DeliveryDocumentItem"]
        rows = [
            {
                "PrecedingDocument": number,
                "PrecedingDocumentItem": place,
                "SubsequentDocumentCategory": sandbox_deliveries.flow_category(each),
                "Subsequentdocument": each["MaterialDocument"],
            }
            for each in self._visible_documents()
            if each["Delivery"] == number and each["DeliveryItem"] == place
        ]
        return self._feed(request, rows, lambda row: shown("A_OutbDeliveryDocFlow", "", "", row))

    async def _serials(self, request: Request, call: Call) -> Response:
        """The list of an item's serial numbers: one, or none and so not found."""
        document, item = self._item(request)
        if not item["serials"]:
            raise missing("A_SerialNmbrDelivery")
        body = shown("A_SerialNmbrDelivery", "", "", {
            "DeliveryDocument": document.fields["DeliveryDocument"],
            "DeliveryDocumentItem": item["DeliveryDocumentItem"], "SDDocumentCategory": "J",
            "MaintenanceItemObjectList": "42",
        })  # fmt: skip
        listed = [{"SerialNumber": each, "Material": item["Material"]} for each in item["serials"]]
        if request.query_params.get("$expand") == "to_MaintenanceItemObject":
            body["to_MaintenanceItemObject"] = {"results": listed}
        return json_response({"d": body})

    async def _documents(self, request: Request, call: Call) -> Response:
        def show(row: Fields) -> Fields:
            return shown("A_MaterialDocumentItem", "", "", plain(row))

        return self._feed(request, self._visible_documents(), show)

    def _visible_documents(self) -> list[Fields]:
        """A posting shows in other services once its update has run."""
        now = self.now()
        return [
            each
            for each in self._books.material_documents
            if each["posted"] + self._document_delay <= now
        ]

    # Writing

    async def _create_order(self, request: Request, call: Call) -> Response:
        body = await body_of(request)
        call.key = str(body.get("PurchaseOrderByCustomer", ""))
        document = sandbox_books.create_order(self._books, body)
        await self._publish("SalesOrder", document.fields["SalesOrder"], "Created")
        return _created(_shown_order(document), order_etag(document))

    async def _add_item(self, request: Request, call: Call) -> Response:
        document = self._order(request)
        item = sandbox_books.add_item(self._books, document, await body_of(request))
        return _created(_shown_order_item(item), "")

    async def _change_order(self, request: Request, call: Call) -> Response:
        document = self._order(request)
        fits(request, order_etag(document))
        sandbox_books.change_order(self._books, document, await body_of(request))
        return Response(status_code=204)

    async def _change_order_item(self, request: Request, call: Call) -> Response:
        keys = key_of(request.path_params["key"])
        document = self._books.orders.get(keys.get("SalesOrder", ""))
        place = odata.item_number(keys.get("SalesOrderItem"))
        if document is None or place not in document.items:
            raise missing("A_SalesOrderItem")
        fits(request, order_etag(document))
        item = document.items[place]
        sandbox_books.change_order_item(self._books, document, item, await body_of(request))
        return Response(status_code=204)

    async def _create_delivery(self, request: Request, call: Call) -> Response:
        document = sandbox_deliveries.create_delivery(self._books, await body_of(request))
        call.key = document.fields["DeliveryDocument"]
        body = shown("A_OutbDeliveryHeader", "", delivery_etag(document), plain(document.fields))
        return _created(body, delivery_etag(document))

    async def _change_header(self, request: Request, call: Call) -> Response:
        document = self._delivery(single_key(request))
        fits(request, delivery_etag(document))
        sandbox_deliveries.change_delivery(self._books, document, await body_of(request))
        return Response(status_code=204)

    async def _change_item(self, request: Request, call: Call) -> Response:
        document, item = self._item(request)
        fits(request, delivery_etag(document))
        sandbox_deliveries.change_item(self._books, document, item, await body_of(request))
        return Response(status_code=204)

    def _function(self, function: Function) -> Handler:
        async def run(request: Request, call: Call) -> Response:
            document = self._delivery(parameter(request, "DeliveryDocument"))
            call.key = document.fields["DeliveryDocumentBySupplier"]
            fits(request, delivery_etag(document))
            report = function(self._books, request, document)
            call.effect = not any(row["SystemMessageType"] in "EA" for row in report)
            return json_response({"d": {"results": report}})

        return run

    def _guarded(self, handler: Handler) -> Handler:
        """Login, token and format, before anything else is looked at."""

        async def handle(request: Request, call: Call) -> Response:
            self._gate.enter(request)
            service = request.url.path.removeprefix(f"{odata.ROOT}/").partition("/")[0]
            if service not in SERVICES:
                raise refusal(403, "/IWFND/MED/170", f"No service found for {service}")
            if request.method != "GET":
                self._gate.check(request, service)
            wanted = request.query_params.get("$format") or request.headers.get("accept", "")
            if "json" not in wanted:
                return Response("<feed/>", media_type="application/atom+xml")
            fetched = self._gate.fetch(request, service) if request.method == "GET" else {}
            response = await handler(request, call)
            if fetched:
                response.headers["x-csrf-token"] = fetched["x-csrf-token"]
                response.set_cookie(SESSION_COOKIE, fetched["session"], httponly=True)
                response.set_cookie(CONTEXT_COOKIE, "sap-language=EN&sap-client=100")
            return response

        return handle

    def _feed(
        self, request: Request, rows: Sequence[Fields], show: Callable[[Fields], Fields]
    ) -> Response:
        return feed(request, rows, show, self._page_size, self.vendor_url)

    def _order(self, request: Request) -> Document:
        document = self._books.orders.get(single_key(request))
        if document is None:
            raise missing("A_SalesOrder")
        return document

    def _delivery(self, number: str) -> Document:
        document = self._books.deliveries.get(number)
        if document is None:
            raise missing("A_OutbDeliveryHeader")
        return document

    def _item(self, request: Request) -> tuple[Document, Fields]:
        keys = key_of(request.path_params["key"])
        document = self._delivery(keys.get("DeliveryDocument", ""))
        return document, item_of(document, keys.get("DeliveryDocumentItem", ""))

    # Business events

    async def _subscribe(self, given: dict[str, Any]) -> Any:
        self._subscriber = str(given["url"])
        return {}

    async def _publish(self, kind: str, key: str, action: str) -> None:
        """A business event, as the broker pushes it: at least once, its content is a key."""
        if not self._subscriber:
            return
        self._events_sent += 1
        event_id = f"{self.random.getrandbits(128):032x}"
        pair = ":".join(
            str(self.settings.get(f"events_{each}", "")) for each in ("user", "password")
        )
        headers = {
            "Authorization": f"Basic {b64encode(pair.encode()).decode()}",
            "Content-Type": "application/cloudevents+json",
        }
        body = event(kind, key, action, event_id, self.now())
        await self.webhook(self._subscriber, body, headers, key=f"{kind}/{key}")


def _created(body: Mapping[str, Any], etag: str) -> Response:
    message = {
        "code": "V1/311", "message": "Document saved", "severity": "success", "target": "",
        "details": [],
    }  # fmt: skip
    headers = {"ETag": etag} if etag else {}
    headers["sap-message"] = vendor_json.dumps(message).decode()
    return json_response({"d": body}, 201, headers)


def _shown_order(document: Document) -> Fields:
    key = odata.key(SalesOrder=document.fields["SalesOrder"])
    return shown("A_SalesOrder", key, order_etag(document), plain(document.fields))


def _shown_order_item(item: Fields) -> Fields:
    """Without an ETag: only the order has one, which the published metadata says."""
    body = bared(plain(item), "SalesOrderItem")
    key = odata.key(SalesOrder=body["SalesOrder"], SalesOrderItem=body["SalesOrderItem"])
    return shown("A_SalesOrderItem", key, "", body)


def _item_key(row: Mapping[str, Any]) -> str:
    return odata.key(
        DeliveryDocument=row["DeliveryDocument"], DeliveryDocumentItem=row["DeliveryDocumentItem"]
    )


def _proof(document: Document) -> Fields:
    """A document with all that the books know of it."""
    return {**document.fields, "version": document.version, "items": list(document.items.values())}


SANDBOX = SapSandbox
