"""What comes back to the simulated tenant: customer returns given up, and returns deliveries.

A returns delivery is created of items of a customer return, and its goods receipt posted, by the
rules of outbound deliveries. Message numbers are the sandbox's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sap import odata, sandbox_deliveries
from crossdock_adapters.sap.sandbox_bills import RETURNS
from crossdock_adapters.sap.sandbox_books import SEVEN_DIGITS, Books, Document, changed, missing
from crossdock_adapters.sap.sandbox_deliveries import delivery_etag
from crossdock_adapters.sap.sandbox_master_data import Feed
from crossdock_adapters.sap.sandbox_odata import (
    Fields,
    bared,
    body_of,
    fits,
    key_of,
    parameter,
    plain,
    quantity,
    refusal,
    refuse_sorted,
    shown,
    single_key,
)
from crossdock_adapters.sdk.sandbox import Call, Handler, json_response

RETURN_DELIVERIES: Final = "API_CUSTOMER_RETURNS_DELIVERY_SRV;v=0002"
HEADER, ITEM = "A_ReturnsDeliveryHeader", "A_ReturnsDeliveryItem"
FIRST_DELIVERY: Final = 84_000_000
GOODS_RECEIPT: Final = "653"
_ITEM_NUMBERS: Final = ("CustomerReturnItem", "ReferenceSDDocumentItem")
Routes = list[tuple[str, str, Handler]]


@dataclass(slots=True)
class Returned:
    """Customer returns, which are opened at the bills' service, and their deliveries.

    put_away_first: no goods receipt before the goods are put away.
    """

    books: Books
    returns: list[Fields]
    deliveries: dict[str, Document] = field(default_factory=dict)
    put_away_first: bool = False

    def routes(self, feed: Feed) -> tuple[Routes, Routes, Routes]:
        """GET, POST and PATCH: path, operation in the call log, handler."""

        async def items(request: Request, call: Call) -> Response:
            rows = [row for each in self.deliveries.values() for row in each.items.values()]
            return feed(request, rows, self._shown_item)

        async def flow(request: Request, call: Call) -> Response:
            refuse_sorted(request)
            _, item = self._item(request)
            rows = [
                {
                    "PrecedingDocument": item["DeliveryDocument"],
                    "PrecedingDocumentItem": item["DeliveryDocumentItem"],
                    "SubsequentDocumentCategory": "R",
                    "Subsequentdocument": each["MaterialDocument"],
                }
                for each in self.books.material_documents
                if (each["Delivery"], each["DeliveryItem"])
                == (item["DeliveryDocument"], item["DeliveryDocumentItem"])
            ]
            return feed(request, rows, lambda row: shown("A_ReturnsDeliveryDocFlow", "", "", row))

        returns, deliveries = f"{odata.ROOT}/{RETURNS}", f"{odata.ROOT}/{RETURN_DELIVERIES}"
        gets: Routes = [
            (f"{returns}/A_CustomerReturn({{key}})", "read_return", self._read_return),
            (f"{deliveries}/{ITEM}", "query_return_delivery_items", items),
            (f"{deliveries}/{HEADER}({{key}})", "read_return_delivery", self._read),
            (f"{deliveries}/{ITEM}({{key}})/to_DocumentFlow", "read_return_flow", flow),
        ]
        posts: Routes = [
            (f"{deliveries}/{HEADER}", "create_return_delivery", self._create),
            (f"{deliveries}/PutawayAllItems", "put_away_all_items", self._put_away),
            (f"{deliveries}/ConfirmPutawayAllItems", "confirm_put_away", self._put_away),
            (f"{deliveries}/PostGoodsReceipt", "post_goods_receipt", self._post),
        ]
        patches: Routes = [
            (f"{returns}/A_CustomerReturnItem({{key}})", "change_return_item", self._reject),
            (f"{deliveries}/{HEADER}({{key}})", "change_return_delivery", self._change_header),
            (f"{deliveries}/{ITEM}({{key}})", "change_return_delivery_item", self._change_item),
        ]
        return gets, posts, patches

    # Customer returns

    async def _read_return(self, request: Request, call: Call) -> Response:
        row = self._return(single_key(request))
        etag = _return_etag(row)
        body = shown("A_CustomerReturn", "", etag, _head(row))
        if "to_Item" in request.query_params.get("$expand", ""):
            lines = [{"SalesDocumentRjcnReason": "", **line} for line in row["lines"]]
            bare = [bared(each, *_ITEM_NUMBERS) for each in lines]
            items = [shown("A_CustomerReturnItem", "", "", line) for line in bare]
            body["to_Item"] = {"results": items}
        return json_response({"d": body}, headers={"ETag": etag})

    async def _reject(self, request: Request, call: Call) -> Response:
        """An item that will not come back. VendorError: some of it came."""
        keys = key_of(request.path_params["key"])
        row = self._return(keys.get("CustomerReturn", ""))
        place = odata.item_number(keys.get("CustomerReturnItem"))
        fits(request, _return_etag(row))
        body = await body_of(request)
        if set(body) != {"SalesDocumentRjcnReason"}:
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", "Only the reason for rejection is updatable")
        line = _line_of(row, place)
        if line is None:
            raise missing("A_CustomerReturnItem")
        if self._delivered(row["CustomerReturn"], place):
            raise refusal(400, "V1/501", f"Item {place} has a returns delivery")
        line["SalesDocumentRjcnReason"] = body["SalesDocumentRjcnReason"]
        row["LastChangeDateTime"] = max(
            self.books.clock(), row["LastChangeDateTime"] + SEVEN_DIGITS
        )
        call.key = row["PurchaseOrderByCustomer"]
        return Response(status_code=204)

    def _return(self, number: str) -> Fields:
        row = next((each for each in self.returns if each["CustomerReturn"] == number), None)
        if row is None:
            raise missing("A_CustomerReturn")
        return row

    # Returns deliveries

    async def _read(self, request: Request, call: Call) -> Response:
        document = self._delivery(single_key(request))
        etag = delivery_etag(document)
        body = shown(HEADER, "", etag, plain(document.fields))
        if "to_DeliveryDocumentItem" in request.query_params.get("$expand", ""):
            items = [self._shown_item(item) for item in document.items.values()]
            body["to_DeliveryDocumentItem"] = {"results": items}
        return json_response({"d": body}, headers={"ETag": etag})

    async def _create(self, request: Request, call: Call) -> Response:
        body = await body_of(request)
        if set(body) - {"ShippingPoint", "to_DeliveryDocumentItem"}:
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", "A property is not creatable")
        items = [self._item_from(each) for each in odata.inner(body, "to_DeliveryDocumentItem")]
        if not items:
            raise refusal(400, "VL/001", "A delivery needs an item")
        number = self.books.next_number("return_delivery", FIRST_DELIVERY)
        moment = self.books.clock()
        document = Document(
            {
                "DeliveryDocument": number, "DeliveryDocumentBySupplier": "", "BillOfLading": "",
                "ActualGoodsMovementDate": None, "OverallGoodsMovementStatus": "A",
                "OverallPickingStatus": "A" if self.put_away_first else "",
                "OverallPickingConfStatus": "",
                "LastChangeDateTime": moment,
            }
        )  # fmt: skip
        for index, item in enumerate(items, start=1):
            place = f"{index * 10:06d}"
            document.items[place] = {
                "DeliveryDocument": number, "DeliveryDocumentItem": place, **item,
            }  # fmt: skip
        self.deliveries[number] = document
        call.key = number
        return json_response(
            {"d": shown(HEADER, "", delivery_etag(document), plain(document.fields))}, 201
        )

    def _item_from(self, body: Mapping[str, Any]) -> Fields:
        row = self._return(str(body.get("ReferenceSDDocument")))
        place = odata.item_number(body.get("ReferenceSDDocumentItem"))
        line = _line_of(row, place)
        if line is None or line.get("SalesDocumentRjcnReason"):
            raise refusal(400, "VL/110", "The preceding item does not exist or is rejected")
        wanted = quantity(body.get("ActualDeliveryQuantity"), "ActualDeliveryQuantity")
        self._refuse_more(row["CustomerReturn"], line, wanted)
        if body.get("DeliveryQuantityUnit") != line["RequestedQuantityUnit"]:
            raise refusal(400, "VL/451", "The unit does not fit the item's")
        ordered = self.books.orders[row["ReferenceSDDocument"]].items[
            odata.item_number(line["ReferenceSDDocumentItem"])
        ]
        return {
            "ReferenceSDDocument": row["CustomerReturn"], "ReferenceSDDocumentItem": place,
            "Material": line["Material"], "Plant": ordered["ProductionPlant"],
            "ActualDeliveryQuantity": wanted, "DeliveryQuantityUnit": line["RequestedQuantityUnit"],
            "Batch": str(body.get("Batch", "")), "HigherLvlItmOfBatSpltItm": "000000",
            "serials": [each["SerialNumber"] for each in odata.inner(line, "to_SerialNumber")],
            "picked": Decimal(0),
        }  # fmt: skip

    def _refuse_more(self, number: str, line: Mapping[str, Any], wanted: Decimal) -> None:
        open_quantity = quantity(line["RequestedQuantity"], "RequestedQuantity") - self._delivered(
            number, odata.item_number(line["CustomerReturnItem"])
        )
        if not 0 <= wanted <= open_quantity:
            raise refusal(400, "VL/150", "More comes back than the return is open for")

    def _delivered(self, number: str, place: str) -> Decimal:
        return sum(
            (
                item["ActualDeliveryQuantity"]
                for document in self.deliveries.values()
                for item in document.items.values()
                if (item["ReferenceSDDocument"], item["ReferenceSDDocumentItem"]) == (number, place)
            ),
            Decimal(0),
        )

    async def _change_header(self, request: Request, call: Call) -> Response:
        document = self._delivery(single_key(request))
        fits(request, delivery_etag(document))
        sandbox_deliveries.change_delivery(self.books, document, await body_of(request))
        return Response(status_code=204)

    async def _change_item(self, request: Request, call: Call) -> Response:
        document, item = self._item(request)
        fits(request, delivery_etag(document))
        body = await body_of(request)
        if set(body) - {"ActualDeliveryQuantity", "Batch"}:
            raise refusal(400, "/IWBEP/CM_MGW_RT/088", "A property is not updatable")
        self._refuse_posted(document)
        if "ActualDeliveryQuantity" in body:
            wanted = quantity(body["ActualDeliveryQuantity"], "ActualDeliveryQuantity")
            row = self._return(item["ReferenceSDDocument"])
            line = _line_of(row, item["ReferenceSDDocumentItem"])
            assert line is not None
            more = max(Decimal(0), wanted - item["ActualDeliveryQuantity"])
            self._refuse_more(row["CustomerReturn"], line, more)
            item["ActualDeliveryQuantity"] = wanted
        item["Batch"] = str(body.get("Batch", item["Batch"]))
        changed(self.books, document)
        return Response(status_code=204)

    async def _put_away(self, request: Request, call: Call) -> Response:
        """Take the delivery quantity of each item as put away."""
        document = self._delivery(parameter(request, "DeliveryDocument"))
        call.key = document.fields["DeliveryDocumentBySupplier"]
        fits(request, delivery_etag(document))
        sandbox_deliveries.pick_all(self.books, document)
        return json_response({"d": {"results": []}})

    async def _post(self, request: Request, call: Call) -> Response:
        document = self._delivery(parameter(request, "DeliveryDocument"))
        call.key = document.fields["DeliveryDocumentBySupplier"]
        fits(request, delivery_etag(document))
        self._refuse_posted(document)
        if document.fields["OverallPickingStatus"] in ("A", "B"):
            raise refusal(400, "VL/019", "The goods are not put away")
        day = document.fields["ActualGoodsMovementDate"] or self.books.clock().date()
        self.books.refuse_closed(day)
        moving = [item for item in document.items.values() if item["ActualDeliveryQuantity"] > 0]
        errors = sandbox_deliveries.unnamed(self.books, moving)
        if errors or not moving:
            call.effect = False
            none = [sandbox_deliveries.report("E", "VL", "363", "No quantity to post")]
            return json_response({"d": {"results": errors or none}})
        document.fields["ActualGoodsMovementDate"] = day
        document.fields["OverallGoodsMovementStatus"] = "C"
        sandbox_deliveries.move_goods(self.books, document, moving, GOODS_RECEIPT, day)
        changed(self.books, document)
        number = document.fields["DeliveryDocument"]
        return json_response(
            {"d": {"results": [sandbox_deliveries.report("S", "VL", "311", number)]}}
        )

    def _refuse_posted(self, document: Document) -> None:
        self.books.refuse_locked(document.fields["DeliveryDocument"])
        if document.fields["OverallGoodsMovementStatus"] != "A":
            raise refusal(400, "VL/602", "Goods movement is posted already: no changes")

    def _delivery(self, number: str) -> Document:
        document = self.deliveries.get(number)
        if document is None:
            raise missing(HEADER)
        return document

    def _item(self, request: Request) -> tuple[Document, Fields]:
        keys = key_of(request.path_params["key"])
        document = self._delivery(keys.get("DeliveryDocument", ""))
        return document, sandbox_deliveries.item_of(document, keys.get("DeliveryDocumentItem", ""))

    def _shown_item(self, row: Fields) -> Fields:
        etag = delivery_etag(self.deliveries[row["DeliveryDocument"]])
        return shown(ITEM, "", etag, plain(row))


def _line_of(row: Fields, place: str) -> Fields | None:
    """The line of a customer return by its number of six digits."""
    lines: list[Fields] = row["lines"]
    return next((e for e in lines if odata.item_number(e["CustomerReturnItem"]) == place), None)


def _head(row: Fields) -> Fields:
    return {name: value for name, value in row.items() if name != "lines"}


def _return_etag(row: Fields) -> str:
    moment = row["LastChangeDateTime"]
    return f"W/\"datetimeoffset'{moment:%Y-%m-%dT%H:%M:%S.%f}0Z'\""
