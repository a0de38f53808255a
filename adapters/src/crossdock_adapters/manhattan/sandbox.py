"""Manhattan Active Warehouse Management as a seeded simulator, with its Pub/Sub channel.

Paths, fields and message types are those seen in customers' public code where there are any;
the rest is invented in their style. Requests go to `/<component>/api/<component>/<entity>/<verb>`
with organisation and location in headers; what happens on the floor comes back as messages on
Google Cloud Pub/Sub subscriptions, at least once, in facility-local time without an offset.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.faults import Fault, FaultKind
from crossdock_adapters.sdk.sandbox import (
    Call,
    Command,
    Sandbox,
    SandboxConfig,
    VendorError,
    VendorRoute,
    json_response,
)

from . import sandbox_messages as messages
from .sandbox_access import GRANTS, AccessRefusal, Credentials, ServiceAccount, Tokens
from .sandbox_channel import Channel
from .sandbox_records import Facility, OutMessage, WarehouseRefusal
from .sandbox_search import search
from .sandbox_warehouse import Pace, Warehouse

TOKEN_SECONDS = 3600
MAX_BULK_RECORDS = 500
DEFAULT_PROJECT = "wm-sandbox"
DEFAULT_ORGANIZATION = "ACME"
DEFAULT_FACILITIES = (
    {"id": "DC-EAST", "name": "East", "zone": "America/New_York"},
    {"id": "DC-WEST", "name": "West", "zone": "America/Los_Angeles"},
)
COMPONENTS = (
    ("dcorder", "originalOrder", "save", "original_order_save"),
    ("dcorder", "originalOrder", "bulkImport", "original_order_bulk_import"),
    ("dcorder", "originalOrder", "search", "original_order_search"),
    ("pickpack", "olpn", "save", "olpn_save"),
    ("pickpack", "olpn", "search", "olpn_search"),
    ("facility", "facility", "search", "facility_search"),
    ("item-master", "item", "bulkImport", "item_bulk_import"),
    ("item-master", "item", "search", "item_search"),
)


class ManhattanSandbox(Sandbox):
    """One simulated environment.

    Settings: organization, facilities (list of {id, name, zone, metric}), grant (password,
    realm_password, client_credentials), client_id, client_secret, username, password,
    token_seconds, project, service_account_file (written at start, mode 0600), subscriptions
    (message type to subscription name), ack_deadline_seconds, pull_wait_seconds, duplicate_rate,
    pick_seconds, pack_seconds, manifest_seconds, short_rate, split_rate, freeze_status, items
    (list of item import records known from the start).
    """

    name = "manhattan"
    other_operations = frozenset({"message"})
    kept = ("_warehouse", "_channel._subscriptions", "_channel._message_number")

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        given = self.settings
        self._organization = str(given.get("organization", DEFAULT_ORGANIZATION))
        self._facilities = [
            Facility(
                str(each["id"]), str(each.get("name", each["id"])),
                str(each["zone"]), bool(each.get("metric", False)),
            )
            for each in given.get("facilities", DEFAULT_FACILITIES)
        ]  # fmt: skip
        self._warehouse = Warehouse(config.seed, _pace(given), self._facilities, self._emit)
        for item in given.get("items", ()):
            self._warehouse.import_item(self._organization, item)
        self._credentials = _credentials(given)
        lifetime = float(given.get("token_seconds", TOKEN_SECONDS))
        self._tokens = Tokens(lifetime)
        self._account = ServiceAccount.create(str(given.get("project", DEFAULT_PROJECT)))
        self._channel = Channel(self, self._account, Tokens(lifetime))

    @classmethod
    def example_settings(cls, folder: Path) -> dict[str, Any]:
        """A key file for the host; everything else has defaults."""
        return {"service_account_file": str(folder / "manhattan-service-account.json")}

    # The frame's side.

    def routes(self) -> Sequence[VendorRoute]:
        platform: dict[str, Callable[[Request, Call], Any]] = {
            "original_order_save": self._original_order_save,
            "original_order_bulk_import": self._original_order_bulk_import,
            "original_order_search": self._original_order_search,
            "olpn_save": self._olpn_save,
            "olpn_search": self._olpn_search,
            "facility_search": self._facility_search,
            "item_bulk_import": self._item_bulk_import,
            "item_search": self._item_search,
        }
        return [
            VendorRoute("POST", "/oauth/token", self._token, "oauth_token"),
            VendorRoute(
                "POST",
                "/auth/realms/{realm}/protocol/openid-connect/token",
                self._realm_token,
                "oauth_token",
            ),
            *(
                VendorRoute(
                    "POST", f"/{component}/api/{component}/{entity}/{verb}", platform[operation],
                    operation, effect=verb != "search",
                )
                for component, entity, verb, operation in COMPONENTS
            ),
            *self._channel.routes(),
        ]  # fmt: skip

    async def opened(self) -> None:
        # A warehouse that was kept may have had fewer sites.
        self._warehouse.facilities |= {each.id: each for each in self._facilities}
        path = self.settings.get("service_account_file")
        if path:
            self._account.write(Path(str(path)), self.token_uri)

    async def tick(self) -> None:
        self._warehouse.step(self.now())
        self._channel.tick()

    def books(self) -> dict[str, Any]:
        warehouse = self._warehouse
        return {
            "original_orders": [_original_json(each) for each in warehouse.originals.values()],
            "olpns": [
                {
                    **messages.olpn_json(olpn, warehouse.facilities[olpn.facility_id]),
                    "label_prints": olpn.label_prints,
                    "saves": olpn.saves,
                }
                for olpn in warehouse.olpns.values()
            ],
            "shipments": [
                {
                    "ShipmentId": each.id,
                    "FacilityId": each.facility_id,
                    "OriginalOrderId": each.original_order_id,
                    "OlpnIds": each.olpn_ids,
                    "BillOfLadingNumber": each.bill_of_lading,
                    "ShipDateTime": each.ship_local,
                    "instant": each.ship_time,
                }
                for each in warehouse.shipments
            ],
            "messages": [
                {
                    "sequence": each.sequence,
                    "type": each.type,
                    "business_key": each.business_key,
                    "original_order_id": each.original_order_id,
                    "sent": each.sent,
                }
                for each in warehouse.sent
            ],
            "subscriptions": self._channel.as_json(),
            "items": sorted(item_id for _, item_id in warehouse.items),
            "tokens_issued": self._tokens.issued,
        }

    def commands(self) -> dict[str, Command]:
        return {
            "retrigger": self._command_retrigger,
            "expire_tokens": self._command_expire_tokens,
            "message": self._command_message,
            "leave_behind": self._command_leave_behind,
            "ship_rest": self._command_ship_rest,
            "service_account": self._command_service_account,
        }

    def throttled(self, fault: Fault) -> Response:
        body = _envelope(False, None, [_exception("TOO_MANY_REQUESTS", "rate limit exceeded")])
        return json_response(body, 429, {"Retry-After": f"{fault.retry_after_seconds:g}"})

    def failed(self, fault: Fault) -> Response:
        body = _envelope(False, None, [_exception("INTERNAL_ERROR", "please try again")])
        return json_response(body, fault.status)

    @property
    def token_uri(self) -> str:
        """Where the service account gets its tokens; also the audience of its assertions."""
        return f"{self.vendor_url}/token"

    def service_account(self) -> dict[str, str]:
        """The content of the service-account key file."""
        return self._account.as_json(self.token_uri)

    # Access.

    async def _token(self, request: Request, call: Call) -> Response:
        return await self._issue(request, realm=False)

    async def _realm_token(self, request: Request, call: Call) -> Response:
        return await self._issue(request, realm=True)

    async def _issue(self, request: Request, realm: bool) -> Response:
        form = await _form(request)
        try:
            self._credentials.check(realm, form, request.headers.get("authorization", ""))
        except AccessRefusal as refused:
            raise VendorError(refused.status, refused.body) from None
        return json_response(self._tokens.answer(self.now()))

    # The platform.

    async def _original_order_save(self, request: Request, call: Call) -> Response:
        organization, location = self._site(request)
        content = await _object(request)
        call.key = str(content.get("OriginalOrderId", ""))
        with _Refusing():
            original, call.effect = self._warehouse.save_original(
                organization, location, content, self.now()
            )
        if self.fault(FaultKind.UNKNOWN_STATUS, "message") is not None:
            self._warehouse.send_unknown(original, original.orders[0], self.now())
        return json_response(_envelope(True, original.as_json()))

    async def _original_order_bulk_import(self, request: Request, call: Call) -> Response:
        organization, location = self._site(request)

        def take(record: Mapping[str, Any]) -> bool:
            now = self.now()
            return self._warehouse.save_original(organization, location, record, now)[1]

        return await self._bulk(request, call, "OriginalOrderId", take)

    async def _item_bulk_import(self, request: Request, call: Call) -> Response:
        organization, _ = self._site(request)

        def take(record: Mapping[str, Any]) -> bool:
            self._warehouse.import_item(organization, record)
            return True

        return await self._bulk(request, call, "ItemId", take)

    async def _bulk(
        self, request: Request, call: Call, key: str, take: Callable[[Mapping[str, Any]], bool]
    ) -> Response:
        """HTTP 200 whatever happens to single records: they fail by business key inside."""
        body = await _object(request)
        records = body.get("Data")
        if not isinstance(records, list) or len(records) > MAX_BULK_RECORDS:
            raise _bad_request("DATA_INVALID", f"Data must be a list of at most {MAX_BULK_RECORDS}")
        failed = []
        call.effect = False
        for record in records:
            business_key = str(record.get(key, "")) if isinstance(record, dict) else ""
            try:
                if not isinstance(record, dict):
                    raise WarehouseRefusal("RECORD_INVALID", "a record is not an object")
                call.effect = take(record) or call.effect
            except WarehouseRefusal as refused:
                told = _exception(refused.key, refused.text)
                failed.append({key: business_key, "Messages": [told]})
        call.key = ",".join(str(r.get(key, "")) for r in records if isinstance(r, dict))[:200]
        data = {
            "TotalCount": len(records),
            "SuccessCount": len(records) - len(failed),
            "FailedCount": len(failed),
            "FailedRecords": failed,
        }
        return json_response(_envelope(not failed, data))

    async def _original_order_search(self, request: Request, call: Call) -> Response:
        organization, location = self._site(request)
        found = [
            each.as_json()
            for (org, site, _), each in self._warehouse.originals.items()
            if org == organization and site == location
        ]
        return await self._found(request, found)

    async def _olpn_save(self, request: Request, call: Call) -> Response:
        organization, location = self._site(request)
        content = await _object(request)
        call.key = str(content.get("OlpnId", ""))
        with _Refusing():
            olpn, call.effect = self._warehouse.save_olpn(
                organization, location, content, self.now()
            )
        facility = self._warehouse.facilities[olpn.facility_id]
        return json_response(_envelope(True, messages.olpn_json(olpn, facility)))

    async def _olpn_search(self, request: Request, call: Call) -> Response:
        organization, location = self._site(request)
        found = [
            messages.olpn_json(olpn, self._warehouse.facilities[olpn.facility_id])
            for (org, site, _), olpn in self._warehouse.olpns.items()
            if org == organization and site == location
        ]
        return await self._found(request, found)

    async def _facility_search(self, request: Request, call: Call) -> Response:
        self._site(request)
        return await self._found(
            request, [each.as_json() for each in self._warehouse.facilities.values()]
        )

    async def _item_search(self, request: Request, call: Call) -> Response:
        organization, _ = self._site(request)
        found = [
            dict(item.content)
            for (org, _), item in self._warehouse.items.items()
            if org == organization
        ]
        return await self._found(request, found)

    async def _found(self, request: Request, records: Sequence[Mapping[str, Any]]) -> Response:
        with _Refusing():
            page, total = search(await _object(request), records)
        return json_response({**_envelope(True, page), "header": {"totalCount": total}})

    def _site(self, request: Request) -> tuple[str, str]:
        """Organisation and location of the headers; the platform believes them blindly."""
        if not self._tokens.valid(request.headers.get("authorization", ""), self.now()):
            raise VendorError(401, {"error": "invalid_token", "error_description": "expired"})
        organization = request.headers.get("selectedorganization", "")
        location = request.headers.get("selectedlocation", "")
        if not organization or not location:
            raise _bad_request("HEADER_MISSING", "SelectedOrganization and SelectedLocation")
        if organization != self._organization:
            raise VendorError(403, {"error": "access_denied", "error_description": "organization"})
        return organization, location

    def _emit(self, message: OutMessage, now: datetime) -> None:
        self._channel.publish(message, now)

    # Commands.

    async def _command_retrigger(self, arguments: dict[str, Any]) -> Any:
        """{"type"?, "original_order_id"?}: send matching messages again, as users do by hand."""
        count = self._warehouse.send_again(
            arguments.get("type"), arguments.get("original_order_id"), self.now()
        )
        return {"sent": count}

    async def _command_expire_tokens(self, arguments: dict[str, Any]) -> Any:
        return {"expired": self._tokens.expire_all() + self._channel.expire_tokens()}

    async def _command_message(self, arguments: dict[str, Any]) -> Any:
        """{"subscription", "data": base64 or "text", "attributes"?}: publish anything at all."""
        data = arguments.get("data")
        if data is None:
            data = base64.b64encode(str(arguments.get("text", "")).encode()).decode()
        attributes = {str(k): str(v) for k, v in dict(arguments.get("attributes", {})).items()}
        name = str(arguments["subscription"])
        return {"message_id": self._channel.publish_raw(name, str(data), attributes)}

    async def _command_leave_behind(self, arguments: dict[str, Any]) -> Any:
        """{"original_order_id", "cartons"?, "cancel"?}: they stay on the dock at its next ship."""
        cartons, cancel = int(arguments.get("cartons", 1)), bool(arguments.get("cancel", False))
        self._warehouse.leave_behind(str(arguments["original_order_id"]), cartons, cancel)
        return {"cartons": cartons, "cancel": cancel}

    async def _command_ship_rest(self, arguments: dict[str, Any]) -> Any:
        """{"original_order_id"}: what was left on the dock leaves too."""
        order = str(arguments["original_order_id"])
        return {"cartons": self._warehouse.ship_rest(order, self.now())}

    async def _command_service_account(self, arguments: dict[str, Any]) -> Any:
        """{"path"}: write the key file there."""
        self._account.write(Path(str(arguments["path"])), self.token_uri)
        return {"written": str(arguments["path"])}


class _Refusing:
    """Turns a business refusal into the platform's 400, which says why in its messages alone."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, WarehouseRefusal):
            told = {"Type": "ERROR", "Code": error.key, "Description": error.text}
            opaque = {"message": "error.400", "messageKey": "error.400"}
            body = {**_envelope(False, None), **opaque, "messages": {"Message": [told]}}
            raise VendorError(400, body) from None


def _envelope(
    success: bool, data: Any, exceptions: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    return {
        "success": success,
        "header": {"totalCount": 1 if data else 0},
        "data": data,
        "messages": {"Message": []},
        "errors": [],
        "exceptions": list(exceptions),
        "statusCode": "OK" if success else "ERROR",
    }


def _exception(key: str, text: str) -> dict[str, str]:
    return {"messageKey": key, "message": text, "exceptionType": "BUSINESS"}


def _bad_request(key: str, text: str) -> VendorError:
    return VendorError(400, _envelope(False, None, [_exception(key, text)]))


async def _object(request: Request) -> dict[str, Any]:
    try:
        body = vendor_json.loads(await request.body() or b"{}")
    except ValueError:
        raise _bad_request("JSON_INVALID", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise _bad_request("JSON_INVALID", "the body is not an object")
    return {str(name): value for name, value in body.items()}


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace")))


def _pace(given: Mapping[str, Any]) -> Pace:
    return Pace(
        pick_seconds=float(given.get("pick_seconds", 0.4)),
        pack_seconds=float(given.get("pack_seconds", 0.4)),
        manifest_seconds=float(given.get("manifest_seconds", 0.4)),
        short_rate=float(given.get("short_rate", 0.0)),
        split_rate=float(given.get("split_rate", 0.0)),
        freeze_status=int(given.get("freeze_status", Pace().freeze_status)),
    )


def _credentials(given: Mapping[str, Any]) -> Credentials:
    grant = str(given.get("grant", "password"))
    if grant not in GRANTS:
        raise ValueError(f"grant must be one of {', '.join(GRANTS)}")
    return Credentials(
        grant,
        str(given.get("client_id", "omnicomponent")),
        str(given.get("client_secret", "sandbox-client-secret")),
        str(given.get("username", "host@acme")),
        str(given.get("password", "sandbox-user-password")),
    )


def _original_json(original: Any) -> dict[str, Any]:
    return {
        **original.as_json(),
        "Organization": original.organization,
        "Location": original.location,
        "created": original.created,
        "saves": original.saves,
        "changes": original.changes,
    }


SANDBOX = ManhattanSandbox
