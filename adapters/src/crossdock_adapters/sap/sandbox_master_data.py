"""Products and business partners of the simulated tenant, and its business events."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.sandbox_odata import Fields, key_of, refusal, shown
from crossdock_adapters.sdk.sandbox import Call, Handler, json_response

PRODUCTS, PARTNERS = "API_PRODUCT_SRV", "API_BUSINESS_PARTNER"
NAVIGATIONS: Final = ("to_Description", "to_ProductUnitsOfMeasure")
# Of a product in the sandbox's books, what is in tables of their own.
_BESIDE: Final = frozenset({"Description", "packs"})
Feed = Callable[[Request, Sequence[Fields], Callable[[Fields], Fields]], Response]

# Everything is as old as this until somebody changes it.
MADE: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVENT_TYPES: Final[Mapping[str, str]] = {
    "Product": "sap.s4.beh.product.v1.Product.{action}.v1",
    "BusinessPartner": "sap.s4.beh.businesspartner.v1.BusinessPartner.{action}.v1",
    "SalesOrder": "sap.s4.beh.salesorder.v1.SalesOrder.{action}.v1",
}


def products(
    items: Iterable[str], batches: Iterable[str], serials: Iterable[str]
) -> dict[str, Fields]:
    """The tenant's products by number. packs: numerator and denominator of alternative units."""
    by_batch, by_serial = set(batches), set(serials)
    return {
        item: {
            "Product": item, "ProductType": "HAWA", "BaseUnit": "EA", "GrossWeight": "1.250",
            "WeightUnit": "KG", "CrossPlantStatus": "", "IsMarkedForDeletion": False,
            "IsBatchManagementRequired": item in by_batch,
            "SerialNumberProfile": "0001" if item in by_serial else "",
            "Description": f"Article {item}", "LastChangeDateTime": MADE, "packs": {},
        }
        for item in items
    }  # fmt: skip


def partners(customers: Iterable[str]) -> dict[str, Fields]:
    """The tenant's business partners by number: each is a customer, and one a supplier only."""
    found: dict[str, Fields] = {
        number: {
            "BusinessPartner": number, "Customer": number, "BusinessPartnerFullName":
            f"Company {number}", "LastChangeDate": MADE.date(), "changed": MADE,
        }
        for number in customers
    }  # fmt: skip
    found["SUPP-1"] = {
        "BusinessPartner": "SUPP-1", "Customer": "", "BusinessPartnerFullName": "A supplier",
        "LastChangeDate": MADE.date(), "changed": MADE,
    }  # fmt: skip
    return found


def change(row: Fields, fields: Mapping[str, Any], now: datetime) -> bool:
    """Change a record as a person does; what is the same already changes nothing."""
    if all(name in row and row[name] == value for name, value in fields.items()):
        return False
    row.update(fields)
    if "LastChangeDateTime" in row:
        row["LastChangeDateTime"] = now
    else:
        row["LastChangeDate"], row["changed"] = date(now.year, now.month, now.day), now
    return True


def etag(row: Mapping[str, Any]) -> str:
    moment: datetime = row.get("LastChangeDateTime") or row["changed"]
    return f"W/\"datetimeoffset'{moment:%Y-%m-%dT%H:%M:%S.%f}0Z'\""


def shown_product(row: Mapping[str, Any], expanded: Collection[str]) -> Fields:
    """A product, its descriptions and units beside it or as links."""
    key = odata.key(Product=row["Product"])
    plain = {name: value for name, value in row.items() if name not in _BESIDE}
    body = shown("A_Product", key, etag(row), plain)
    text = {"Product": row["Product"], "Language": "EN", "ProductDescription": row["Description"]}
    for name, rows in zip(NAVIGATIONS, ([text], _units(row)), strict=True):
        link = {"__deferred": {"uri": f"A_Product{key}/{name}"}}
        body[name] = {"results": rows} if name in expanded else link
    return body


def _units(row: Mapping[str, Any]) -> list[Fields]:
    """The base unit, which each product has among its units, and the alternative ones."""
    said = {row["BaseUnit"]: ("1", "1"), **row.get("packs", {})}
    return [
        {
            "Product": row["Product"], "AlternativeUnit": unit, "QuantityNumerator": numerator,
            "QuantityDenominator": denominator, "BaseUnit": row["BaseUnit"],
        }
        for unit, (numerator, denominator) in said.items()
    ]  # fmt: skip


def shown_partner(row: Mapping[str, Any]) -> Fields:
    key = odata.key(BusinessPartner=row["BusinessPartner"])
    plain = {name: value for name, value in row.items() if name != "changed"}
    return shown("A_BusinessPartner", key, etag(row), plain)


class MasterData:
    """Products and business partners, and how they are read."""

    def __init__(
        self,
        items: Iterable[str],
        customers: Iterable[str],
        batches: Iterable[str],
        serials: Iterable[str],
    ) -> None:
        self._rows = {
            "Product": products(items, batches, serials),
            "BusinessPartner": partners(customers),
        }

    def routes(self, feed: Feed) -> list[tuple[str, str, Handler]]:
        """Path, operation in the call log, handler."""

        async def query_products(request: Request, call: Call) -> Response:
            rows, expanded = list(self._rows["Product"].values()), _expanded(request)
            return feed(request, rows, lambda row: shown_product(row, expanded))

        async def read_product(request: Request, call: Call) -> Response:
            row = self._row("Product", request)
            return _single(shown_product(row, _expanded(request)), row)

        async def query_partners(request: Request, call: Call) -> Response:
            return feed(request, list(self._rows["BusinessPartner"].values()), shown_partner)

        async def read_partner(request: Request, call: Call) -> Response:
            row = self._row("BusinessPartner", request)
            return _single(shown_partner(row), row)

        product, partner = f"{odata.ROOT}/{PRODUCTS}/A_Product", f"{odata.ROOT}/{PARTNERS}"
        return [
            (product, "query_products", query_products),
            (f"{product}({{key}})", "read_product", read_product),
            (f"{partner}/A_BusinessPartner", "query_partners", query_partners),
            (f"{partner}/A_BusinessPartner({{key}})", "read_partner", read_partner),
        ]

    def change(self, kind: str, key: str, fields: Mapping[str, Any], now: datetime) -> bool:
        """Change a record as a person does; False: it was like that. KeyError: there is none."""
        return change(self._rows[kind][key], fields, now)

    def _row(self, kind: str, request: Request) -> Fields:
        number = next(iter(key_of(request.path_params["key"]).values()))
        if number not in self._rows[kind]:
            raise refusal(404, "/IWBEP/CM_MGW_RT/101", f"Resource not found for {kind}")
        return self._rows[kind][number]


def _expanded(request: Request) -> Collection[str]:
    """The navigations that `$expand` names. VendorError: one that a product has not."""
    names = [each for each in request.query_params.get("$expand", "").split(",") if each]
    for name in names:
        if name not in NAVIGATIONS:
            raise refusal(400, "/IWBEP/CM_MGW_RT/176", f"Navigation property {name} not found")
    return names


def _single(body: Fields, row: Fields) -> Response:
    return json_response({"d": body}, headers={"ETag": etag(row)})


def event(kind: str, key: str, action: str, event_id: str, now: datetime) -> Fields:
    """A business event: what it is about, and not a word of its content."""
    return {
        "specversion": "1.0", "type": EVENT_TYPES[kind].format(action=action),
        "source": "/default/sap.s4.beh/244572008", "id": event_id,
        "time": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "datacontenttype": "application/json", "data": {kind: key},
    }  # fmt: skip
