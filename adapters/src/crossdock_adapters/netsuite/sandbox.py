"""Oracle NetSuite simulated: REST record API, transforms, SuiteQL, OAuth 2.0 and governance.

What it enforces is what the vendor documents (or, marked so in the fact sheet, what integrations
report): see the modules beside it. Every request takes part in one concurrency limit for the whole
account, and saving a record takes time, because scripts run inside a save.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.netsuite import sandbox_inventory, sandbox_suiteql, sandbox_views
from crossdock_adapters.netsuite.sandbox_auth import LoginRefused, TokenDesk, public_key
from crossdock_adapters.netsuite.sandbox_fulfillment import (
    change_fulfillment,
    delete_fulfillment,
    fulfill_order,
)
from crossdock_adapters.netsuite.sandbox_master_data import HOME, seed
from crossdock_adapters.netsuite.sandbox_records import (
    CLOSED,
    CUSTOMER,
    ITEM,
    ITEM_FULFILLMENT,
    LOCATION,
    SALES_ORDER,
    AccountRules,
    Books,
    Fields,
    Record,
    VendorRefusal,
    check_names,
    save_sales_order,
)
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import Fault
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Sandbox,
    SandboxConfig,
    VendorError,
    VendorRoute,
    json_response,
)

TOKEN_PATH = "/services/rest/auth/oauth2/v1/token"
RECORD_PATH = "/services/rest/record/v1/{record_type}"
SUITEQL_PATH = "/services/rest/query/v1/suiteql"
LIMITS_PATH = "/services/rest/system/v1/governanceLimits"

SUITEQL_PAGE_LIMIT = 1000
SUITEQL_ROW_LIMIT = 100_000
DEFAULT_CLIENT_ID = "crossdock-integration"
DEFAULT_CERTIFICATE_ID = "crossdock-certificate-1"
DEFAULT_CONCURRENCY = 5
DEFAULT_CONCURRENCY_STATUS, DEFAULT_CHANGED_STATUS = 429, 409
DEFAULT_TOKEN_SECONDS = 3600
DEFAULT_SAVE_SECONDS = (0.005, 0.03)
DEFAULT_TIME_ZONE = "America/Los_Angeles"

_ERROR_TYPE = "application/vnd.oracle.resource+json; type=error"
_RECORD_TYPE = "application/vnd.oracle.resource+json; type=singular"
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    429: "Too Many Requests",
}


class NetSuiteSandbox(Sandbox):
    """One NetSuite account.

    Settings: client_id, certificate_id, client_key_file (PEM; written with a new key when it does
    not exist, as if an administrator had mapped the certificate), token_seconds, concurrency_limit,
    concurrency_status (429, or 400 as RESTlets answer), changed_status (409, or 400: USER_ERROR),
    save_seconds_min, save_seconds_max, account_time_zone, custom_fields, countries (where it has
    locations and customers: US, DE, CA), lots and serials (by item number, those on hand in the
    first location: 1000 of each lot), skipped_numbers (so that an account begun anew does not
    repeat document numbers).
    """

    name: ClassVar[str] = "netsuite"
    kept = ("_books",)

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        settings = self.settings
        custom = settings.get("custom_fields", AccountRules.custom_fields)
        self._books = Books(
            AccountRules(
                clock=self.now,
                custom_fields=frozenset(custom),
                integrated_ship_methods=dict(settings.get("integrated_ship_methods", {})),
                written_statuses=frozenset(settings.get("order_statuses", "AB")),
            )
        )
        self._countries = tuple(settings.get("countries", (HOME,)))
        seed(self._books, self._countries)
        sandbox_inventory.track_items(self._books, self.settings)
        self._books.skip_numbers(int(settings.get("skipped_numbers", 0)))
        self._desk = TokenDesk(
            str(settings.get("client_id", DEFAULT_CLIENT_ID)),
            str(settings.get("certificate_id", DEFAULT_CERTIFICATE_ID)),
            public_key(_mapped_certificate(settings.get("client_key_file"))),
            life_seconds=int(settings.get("token_seconds", DEFAULT_TOKEN_SECONDS)),
            random=self.random,
            now=lambda: self.now().timestamp(),
        )
        self._concurrency_limit = int(settings.get("concurrency_limit", DEFAULT_CONCURRENCY))
        self._concurrency_status = int(
            settings.get("concurrency_status", DEFAULT_CONCURRENCY_STATUS)
        )
        self._in_flight = 0
        self._most_in_flight = 0
        self._refused_for_concurrency = 0
        self._zone = ZoneInfo(str(settings.get("account_time_zone", DEFAULT_TIME_ZONE)))

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        """A key file of its own; everything else has defaults."""
        return {"client_key_file": str(folder / "netsuite-client-key.pem")}

    async def opened(self) -> None:
        """Books that were kept may be of an account with fewer countries, and without lots."""
        seed(self._books, self._countries)
        sandbox_inventory.track_items(self._books, self.settings)

    def routes(self) -> Sequence[VendorRoute]:
        record = RECORD_PATH + "/{key}"
        return (
            VendorRoute("POST", TOKEN_PATH, self._token, "token"),
            VendorRoute("POST", SUITEQL_PATH, self._suiteql, "suiteql"),
            VendorRoute("GET", LIMITS_PATH, self._limits, "governance_limits"),
            VendorRoute("POST", RECORD_PATH, self._create, "create", effect=True),
            VendorRoute("PUT", record, self._upsert, "upsert", effect=True),
            VendorRoute("GET", record, self._read, "read"),
            VendorRoute("PATCH", record, self._update, "update", effect=True),
            VendorRoute("DELETE", record, self._delete, "delete", effect=True),
            VendorRoute(
                "POST", record + "/!transform/{target}", self._transform, "transform", effect=True
            ),
            VendorRoute("GET", record + "/{sublist}", self._read_sublist, "read"),
        )

    def books(self) -> dict[str, Any]:
        return {
            **sandbox_views.proof(self._books),
            "governance": {
                "limit": self._concurrency_limit,
                "most_in_flight": self._most_in_flight,
                "refused": self._refused_for_concurrency,
            },
        }

    def commands(self) -> dict[str, Command]:
        """What people do in the account's own screens.

        edit_record {type, key, fields}; close_order {key}; close_period {through};
        change_master_data {type, number, fields}; receive {item, location, numbers: {number:
        quantity}}, of an item with lots or serial numbers; set_concurrency {limit}; revoke_tokens.
        `key` is an internal id or "eid:<external id>".
        """
        return {
            "edit_record": self._edit_record,
            "close_order": self._close_order,
            "close_period": self._close_period,
            "change_master_data": self._change_master_data,
            "receive": self._receive,
            "set_concurrency": self._set_concurrency,
            "revoke_tokens": self._revoke_tokens,
        }

    def throttled(self, fault: Fault) -> Response:
        said = "Concurrent request limit exceeded. Request blocked."
        answer = _error(429, "CONCURRENCY_LIMIT_EXCEEDED", said)
        answer.headers["Retry-After"] = f"{fault.retry_after_seconds:g}"
        return answer

    def failed(self, fault: Fault) -> Response:
        if fault.status < 500:
            return _error(fault.status, "USER_ERROR", "A script of the account refuses it.")
        return _error(fault.status, "UNEXPECTED_ERROR", "An unexpected error occurred. Error ID: 0")

    async def _token(self, request: Request, call: Call) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            return json_response(self._desk.issue(form, self.vendor_url + TOKEN_PATH))
        except LoginRefused as refused:
            return json_response(
                {"error": refused.error}, 401 if "client" in refused.error else 400
            )

    async def _suiteql(self, request: Request, call: Call) -> Response:
        async with self._governed(request):
            if "transient" not in request.headers.get("prefer", ""):
                raise _vendor_error(
                    400, "INVALID_HEADER", "The Prefer: transient header is required."
                )
            limit = _count(request, "limit", SUITEQL_PAGE_LIMIT, 1, SUITEQL_PAGE_LIMIT)
            offset = _count(request, "offset", 0, 0, SUITEQL_ROW_LIMIT)
            text = (await _body(request)).get("q")
            if not isinstance(text, str):
                raise _vendor_error(400, "INVALID_PARAMETER", "The query is missing.", "q")
            try:
                query = sandbox_suiteql.parse(text, sandbox_views.columns())
                held = sandbox_views.rows(self._books, query.table, self._zone)
                found = sandbox_suiteql.run(query, held, self.random)[:SUITEQL_ROW_LIMIT]
            except sandbox_suiteql.QueryRefused as refused:
                detail = f"Invalid search query. Detailed description follows. {refused}"
                raise _vendor_error(400, "INVALID_PARAMETER", detail) from None
            page = found[offset : offset + limit]
            return json_response(
                {
                    "links": [],
                    "count": len(page),
                    "hasMore": offset + len(page) < len(found),
                    "items": [sandbox_views.suiteql_item(row) for row in page],
                    "offset": offset,
                    "totalResults": len(found),
                }
            )

    async def _limits(self, request: Request, call: Call) -> Response:
        async with self._governed(request):
            return json_response(
                {
                    "accountConcurrencyLimit": self._concurrency_limit,
                    "accountUnallocatedConcurrencyLimit": self._concurrency_limit,
                    "limitType": "_account",
                }
            )

    async def _create(self, request: Request, call: Call) -> Response:
        body, record_type = await _body(request), request.path_params["record_type"]
        call.key = str(body.get("externalId", ""))
        _only_orders(record_type)

        def save() -> Record:
            self._books.refuse_taken(record_type, call.key or None)
            return self._save_order(request, None, call.key or None, body)

        return await self._saved(request, save)

    async def _upsert(self, request: Request, call: Call) -> Response:
        record_type, key = request.path_params["record_type"], request.path_params["key"]
        _only_orders(record_type)
        if not key.startswith("eid:") or len(key) == len("eid:"):
            raise _vendor_error(405, "METHOD_NOT_ALLOWED", "PUT needs an external id (eid:).")
        body, call.key = await _body(request), key[4:]
        return await self._saved(
            request,
            lambda: self._save_order(request, self._books.find(record_type, key), key[4:], body),
        )

    async def _update(self, request: Request, call: Call) -> Response:
        record_type, call.key = request.path_params["record_type"], request.path_params["key"]
        body = await _body(request)
        version = self._version(record_type, call.key)

        def save() -> Record:
            record = self._books.get(record_type, call.key)
            if version != self._version(record_type, call.key):
                status = int(self.settings.get("changed_status", DEFAULT_CHANGED_STATUS))
                code = "USER_ERROR" if status == 400 else "RCRD_HAS_BEEN_CHANGED"
                raise VendorRefusal(status, code, "Record has been changed.")
            if record_type == ITEM_FULFILLMENT:
                names = check_names(self._books, record_type, body, refuse=_strict(request))
                change_fulfillment(self._books, record, names)
                return record
            _only_orders(record_type)
            return self._save_order(request, record, record.external_id, body)

        return await self._saved(request, save)

    async def _delete(self, request: Request, call: Call) -> Response:
        record_type, call.key = request.path_params["record_type"], request.path_params["key"]

        def save() -> Record:
            record = self._books.get(record_type, call.key)
            if record_type == ITEM_FULFILLMENT:
                delete_fulfillment(self._books, record)
            else:
                _only_orders(record_type)
                self._books.delete(record)
            return record

        answer = await self._saved(request, save)
        del answer.headers["location"]
        return answer

    async def _transform(self, request: Request, call: Call) -> Response:
        path, body = request.path_params, await _body(request)
        call.key = str(body.get("externalId", ""))
        if (path["record_type"], path["target"]) != (SALES_ORDER, ITEM_FULFILLMENT):
            raise _vendor_error(400, "INVALID_CONTENT", "This transformation is not available.")

        def save() -> Record:
            order = self._books.get(SALES_ORDER, path["key"])
            names = check_names(self._books, ITEM_FULFILLMENT, body, refuse=_strict(request))
            return fulfill_order(self._books, order, call.key or None, names)

        return await self._saved(request, save)

    async def _read(self, request: Request, call: Call) -> Response:
        async with self._governed(request):
            answer = self._shown(request, call, expand=_flag(request, "expandSubResources"))
            return json_response(answer, headers={"content-type": _RECORD_TYPE})

    async def _read_sublist(self, request: Request, call: Call) -> Response:
        async with self._governed(request):
            answer = self._shown(request, call, expand=True).get(request.path_params["sublist"])
            if not isinstance(answer, dict):
                raise _vendor_error(404, "NONEXISTENT_ID", "There is no such sublist.")
            return json_response(answer)

    def _shown(self, request: Request, call: Call, expand: bool) -> dict[str, Any]:
        path, call.key = request.path_params, request.path_params["key"]
        only = [name for name in request.query_params.get("fields", "").split(",") if name]
        try:
            record = self._books.get(path["record_type"], call.key)
        except VendorRefusal as refusal:
            raise _from_refusal(refusal) from None
        return sandbox_views.record_answer(self._books, record, self.vendor_url, only, expand)

    def _save_order(
        self, request: Request, record: Record | None, external_id: str | None, body: Fields
    ) -> Record:
        names = check_names(self._books, SALES_ORDER, body, refuse=_strict(request))
        replaced = frozenset(request.query_params.get("replace", "").split(","))
        return save_sales_order(self._books, record, external_id, names, replaced)

    async def _saved(self, request: Request, save: Callable[[], Record]) -> Response:
        """Save inside the governed slot; the effect happens at once, at the end of the save."""
        async with self._governed(request):
            await asyncio.sleep(self._save_seconds())
            try:
                record = save()
            except VendorRefusal as refusal:
                raise _from_refusal(refusal) from None
            path = f"/services/rest/record/v1/{record.type}/{record.internal_id}"
            return Response(status_code=204, headers={"Location": self.vendor_url + path})

    @asynccontextmanager
    async def _governed(self, request: Request) -> AsyncIterator[None]:
        if not self._desk.accepts(request.headers.get("authorization", "")):
            raise _vendor_error(401, "INVALID_LOGIN", "Invalid login attempt.")
        if self._in_flight >= self._concurrency_limit:
            self._refused_for_concurrency += 1
            detail = "Concurrent request limit exceeded. Request blocked."
            raise _vendor_error(self._concurrency_status, "SSS_REQUEST_LIMIT_EXCEEDED", detail)
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1

    def _save_seconds(self) -> float:
        least, most = DEFAULT_SAVE_SECONDS
        return self.random.uniform(
            float(self.settings.get("save_seconds_min", least)),
            float(self.settings.get("save_seconds_max", most)),
        )

    def _version(self, record_type: str, key: str) -> int | None:
        record = self._books.find(record_type, key)
        return None if record is None else record.times_updated

    async def _edit_record(self, arguments: dict[str, Any]) -> Any:
        record = self._record(str(arguments["type"]), str(arguments["key"]))
        fields = dict(arguments["fields"])
        record.edited_by_people.append(fields)
        record.fields.update(fields)
        record.modified = self.now()
        return {"internal_id": record.internal_id}

    async def _close_order(self, arguments: dict[str, Any]) -> Any:
        record = self._record(SALES_ORDER, str(arguments["key"]))
        record.fields["orderStatus"] = CLOSED
        record.edited_by_people.append({"orderStatus": CLOSED})
        record.modified = self.now()
        return {"internal_id": record.internal_id}

    async def _close_period(self, arguments: dict[str, Any]) -> Any:
        through = arguments.get("through")
        self._books.rules.closed_through = date.fromisoformat(through) if through else None
        return {"closed_through": through}

    async def _change_master_data(self, arguments: dict[str, Any]) -> Any:
        record_type = {"item": ITEM, "customer": CUSTOMER, "location": LOCATION}[arguments["type"]]
        number = str(arguments["number"])
        record = self._books.find(record_type, f"eid:{number}")
        if record is None:
            record = self._books.add(record_type, number, {"isinactive": False})
        record.fields.update(arguments["fields"])
        record.modified = arguments.get("modified") or self.now()
        return {"internal_id": record.internal_id}

    async def _receive(self, arguments: dict[str, Any]) -> Any:
        return sandbox_inventory.received(self._books, arguments)

    async def _set_concurrency(self, arguments: dict[str, Any]) -> Any:
        self._concurrency_limit = int(arguments["limit"])
        return {"limit": self._concurrency_limit}

    async def _revoke_tokens(self, arguments: dict[str, Any]) -> Any:
        return {"revoked": self._desk.revoke_all()}

    def _record(self, record_type: str, key: str) -> Record:
        record = self._books.find(record_type, key)
        if record is None:
            raise ValueError(f"no {record_type} {key}")
        return record


SANDBOX = NetSuiteSandbox


def _mapped_certificate(place: object) -> bytes:
    """The PEM of the integration's key; a new one, readable by its owner only, where none is."""
    if not isinstance(place, str) or not place:
        raise ValueError("the netsuite sandbox needs the setting client_key_file")
    path = Path(place)
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    return path.read_bytes()


def _error_body(status: int, code: str, detail: str, path: str) -> dict[str, Any]:
    problem = {"detail": detail, "o:errorCode": code}
    if path:
        problem["o:errorPath"] = path
    title = _TITLES.get(status, "Internal Server Error")
    return {"type": "about:blank", "title": title, "status": status, "o:errorDetails": [problem]}


def _error(status: int, code: str, detail: str) -> Response:
    body = _error_body(status, code, detail, "")
    return json_response(body, status, {"content-type": _ERROR_TYPE})


def _vendor_error(status: int, code: str, detail: str, path: str = "") -> VendorError:
    headers: Mapping[str, str] = {"content-type": _ERROR_TYPE}
    return VendorError(status, _error_body(status, code, detail, path), headers)


def _from_refusal(refusal: VendorRefusal) -> VendorError:
    return _vendor_error(refusal.status, refusal.code, refusal.detail, refusal.path)


def _only_orders(record_type: str) -> None:
    if record_type != SALES_ORDER:
        raise _vendor_error(403, "INSUFFICIENT_PERMISSION", "Your role may not write this record.")


async def _body(request: Request) -> Fields:
    raw = await request.body()
    try:
        body = vendor_json.loads(raw) if raw else {}
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _vendor_error(400, "INVALID_CONTENT", "Invalid content in the request body.")
    return body


def _strict(request: Request) -> bool:
    wanted = request.headers.get("x-netsuite-propertynamevalidation", "Ignore")
    return wanted.lower() == "error"


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "false").lower() == "true"


def _count(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdigit() or not least <= int(text) <= most:
        raise _vendor_error(400, "INVALID_PARAMETER", f"Invalid query parameter {name}.")
    return int(text)
