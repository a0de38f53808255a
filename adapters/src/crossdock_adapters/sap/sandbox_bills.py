"""Supplier invoices and customer returns of the simulated tenant.

The check of duplicates is on, as it can be for a supplier: same supplier, number, date and amount.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sap import odata
from crossdock_adapters.sap.sandbox_books import Books, only
from crossdock_adapters.sap.sandbox_master_data import Feed
from crossdock_adapters.sap.sandbox_odata import (
    Fields,
    body_of,
    calendar_day,
    parameter,
    quantity,
    refusal,
    shown,
)
from crossdock_adapters.sdk.sandbox import Call, Handler, json_response

INVOICES, RETURNS = "API_SUPPLIERINVOICE_PROCESS_SRV", "API_CUSTOMER_RETURN_SRV"
FIRST_INVOICE: Final = 5_105_600_000
FIRST_RETURN: Final = 60_000_000
MAX_CARRIER_NUMBER: Final = 16
# What the service's metadata lets a create say, of what anybody here would.
RETURN_CREATABLE: Final = frozenset({
    "CustomerReturnType", "SalesOrganization", "DistributionChannel", "OrganizationDivision",
    "SoldToParty", "PurchaseOrderByCustomer", "CustomerReturnDate", "SDDocumentReason",
    "ReferenceSDDocument", "to_Item",
})  # fmt: skip
RETURN_ITEM_CREATABLE: Final = frozenset({
    "CustomerReturnItem", "Material", "RequestedQuantity", "RequestedQuantityUnit", "ReturnReason",
    "ProductionPlant", "ReferenceSDDocument", "ReferenceSDDocumentItem", "SalesDocumentRjcnReason",
    "CustRetItmFollowUpActivity", "ReturnsRefundType", "ReturnsRefundExtent", "to_SerialNumber",
})  # fmt: skip


@dataclass(slots=True)
class Bills:
    """The two kinds of documents; numbers and periods are those of the books."""

    books: Books
    invoices: list[Fields] = field(default_factory=list)
    returns: list[Fields] = field(default_factory=list)

    def routes(self, feed: Feed) -> tuple[list[tuple[str, str, Handler]], ...]:
        """GET and POST: path, operation in the call log, handler."""

        def queried(rows: Callable[[], list[Fields]], entity: str) -> Handler:
            async def query(request: Request, call: Call) -> Response:
                return feed(request, rows(), lambda row: _shown(entity, row))

            return query

        invoices = f"{odata.ROOT}/{INVOICES}"
        returns = f"{odata.ROOT}/{RETURNS}/A_CustomerReturn"
        gets: list[tuple[str, str, Handler]] = [
            (
                f"{invoices}/A_SupplierInvoice",
                "query_invoices",
                queried(lambda: self.invoices, "A_SupplierInvoice"),
            ),
            (returns, "query_returns", queried(lambda: self.returns, "A_CustomerReturn")),
        ]
        posts: list[tuple[str, str, Handler]] = [
            (f"{invoices}/A_SupplierInvoice", "book_invoice", self._book),
            (f"{invoices}/Cancel", "cancel_invoice", self._cancel),
            (returns, "open_return", self._open),
        ]
        return gets, posts

    async def _book(self, request: Request, call: Call) -> Response:
        body = await body_of(request)
        row = self._invoice(body)
        call.key = row["SupplierInvoiceIDByInvcgParty"]
        self.invoices.append(row)
        return json_response({"d": _shown("A_SupplierInvoice", row)}, 201)

    def _invoice(self, body: Mapping[str, Any]) -> Fields:
        number = str(body.get("SupplierInvoiceIDByInvcgParty", "")).upper()
        if not 0 < len(number) <= MAX_CARRIER_NUMBER:
            raise refusal(400, "/IWBEP/CM_MGW_RT/080", "SupplierInvoiceIDByInvcgParty: too long")
        day = calendar_day(body.get("PostingDate"), "PostingDate")
        self.books.refuse_closed(day)
        gross = quantity(body.get("InvoiceGrossAmount"), "InvoiceGrossAmount")
        lines = odata.inner(body, "to_SupplierInvoiceItemGLAcct")
        net = sum(map(_posted, lines), Decimal(0))
        if not lines or (net != gross and not body.get("TaxIsCalculatedAutomatically")):
            raise refusal(400, "M8/534", "Balance not zero")
        dated = calendar_day(body.get("DocumentDate"), "DocumentDate")
        same = (body.get("InvoicingParty"), number, dated, gross)
        for row in self.invoices:
            known = (
                row["InvoicingParty"],
                row["SupplierInvoiceIDByInvcgParty"],
                row["DocumentDate"],
                row["InvoiceGrossAmount"],
            )
            if known == same and not row["ReverseDocument"]:
                raise refusal(400, "M8/462", f"Check if invoice already entered: {number}")
        return {
            "SupplierInvoice": self.books.next_number("invoice", FIRST_INVOICE),
            "FiscalYear": str(day.year), "CompanyCode": body.get("CompanyCode"),
            "InvoicingParty": body.get("InvoicingParty"), "PostingDate": day,
            "SupplierInvoiceIDByInvcgParty": number, "DocumentDate": dated,
            "DocumentCurrency": body.get("DocumentCurrency"), "InvoiceGrossAmount": gross,
            "SupplierInvoiceIsCreditMemo": body.get("SupplierInvoiceIsCreditMemo", ""),
            "SupplierInvoiceStatus": "5", "ReverseDocument": "",
            "lines": [dict(line) for line in lines],
        }  # fmt: skip

    async def _cancel(self, request: Request, call: Call) -> Response:
        number, year = parameter(request, "SupplierInvoice"), parameter(request, "FiscalYear")
        parameter(request, "ReversalReason")
        self.books.refuse_closed(calendar_day(parameter(request, "PostingDate"), "PostingDate"))
        for row in self.invoices:
            if (row["SupplierInvoice"], row["FiscalYear"]) == (number, year):
                if row["ReverseDocument"]:
                    raise refusal(400, "M8/374", f"Invoice {number} is cancelled already")
                row["ReverseDocument"] = self.books.next_number("invoice", FIRST_INVOICE)
                result = {
                    "ReverseDocument": row["ReverseDocument"], "FiscalYear": year, "Success": True,
                }  # fmt: skip
                return json_response({"d": {"Cancel": result}})
        raise refusal(400, "M8/321", f"Invoice {number} does not exist")

    async def _open(self, request: Request, call: Call) -> Response:
        body = await body_of(request)
        only(body, RETURN_CREATABLE)
        call.key = str(body.get("PurchaseOrderByCustomer", ""))
        order = self.books.orders.get(str(body.get("ReferenceSDDocument")))
        if order is None:
            raise refusal(400, "V1/302", "The preceding sales order does not exist")
        items = odata.inner(body, "to_Item")
        if not items:
            raise refusal(400, "V1/555", "A return needs an item")
        for item in items:
            only(item, RETURN_ITEM_CREATABLE)
            ordered = order.items.get(odata.item_number(item.get("ReferenceSDDocumentItem")))
            wanted = quantity(item.get("RequestedQuantity"), "RequestedQuantity")
            if ordered is None or not 0 < wanted <= ordered["RequestedQuantity"]:
                raise refusal(400, "V1/847", "More comes back than was ordered")
            if not item.get("ReturnReason"):
                raise refusal(400, "V1/556", "Enter a return reason")
        row: Fields = {
            "CustomerReturn": self.books.next_number("return", FIRST_RETURN),
            "PurchaseOrderByCustomer": call.key,
            "CustomerReturnType": body.get("CustomerReturnType"),
            "SoldToParty": body.get("SoldToParty"),
            "ReferenceSDDocument": body.get("ReferenceSDDocument"),
            "RetsMgmtProcessingStatus": "A",
            "LastChangeDateTime": self.books.clock(),
            "lines": [dict(item) for item in items],
        }
        self.returns.append(row)
        return json_response({"d": _shown("A_CustomerReturn", row)}, 201)


def _posted(line: Mapping[str, Any]) -> Decimal:
    """What a line adds to the balance: credits are amounts above nothing, too."""
    amount = quantity(line.get("SupplierInvoiceItemAmount"), "SupplierInvoiceItemAmount")
    side = line.get("DebitCreditCode")
    if amount <= 0 or side not in ("S", "H"):
        raise refusal(
            400, "F5/117", "Enter an amount above zero, and whether it is debit or credit"
        )
    return amount if side == "S" else -amount


def _shown(entity: str, row: Fields) -> Fields:
    plain = {name: value for name, value in row.items() if name != "lines"}
    return shown(entity, "", "", plain)
