"""How the simulated Gateway writes documents and errors, and what it understands of a query."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import unquote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from crossdock_adapters.sap import odata
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.sandbox import VendorError, json_response

Fields = dict[str, Any]

# Of a row in the sandbox's books, what the vendor does not show.
_INTERNAL: Final = frozenset({"picked", "serials", "prices", "posted"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONDITION: Final = re.compile(
    r"(?P<name>\w+) (?P<how>eq|ge|gt) (?P<kind>datetimeoffset|datetime|)'(?P<value>(?:[^']|'')*)'"
)
_PAIR: Final = re.compile(r"(\w+)='((?:[^']|'')*)'")


def refusal(
    status: int,
    code: str,
    text: str,
    *,
    details: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> VendorError:
    """An error as OData V2 has it: a general head, the cause in the details."""
    listed = [
        {"code": each, "message": said, "propertyref": "", "severity": "error", "target": ""}
        for each, said in details
    ]
    body = {
        "error": {
            "code": code,
            "message": {"lang": "en", "value": text},
            "innererror": {
                "application": {"component_id": "LE-SHP", "service_version": "0002"},
                "transactionid": "0000000000000000",
                "timestamp": "",
                "Error_Resolution": {"SAP_Transaction": "", "SAP_Note": ""},
                "errordetails": listed,
            },
        }
    }
    return VendorError(status, body, headers)


def shown(entity: str, key: str, etag: str, fields: Mapping[str, Any]) -> Fields:
    """A document as JSON: decimals as strings, dates in milliseconds, its metadata first."""
    metadata = {"id": f"{entity}{key}", "uri": f"{entity}{key}", "type": f"SAP.{entity}Type"}
    if etag:
        metadata["etag"] = etag
    return {"__metadata": metadata, **{name: _value(value) for name, value in fields.items()}}


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return f"/Date({(value - _EPOCH) // timedelta(milliseconds=1)}+0000)/"
    if isinstance(value, date):
        return odata.day(value)
    return value


def selected(request: Request, rows: Iterable[Fields]) -> list[Fields]:
    """The rows that `$filter` asks for, in the order of `$orderby`. VendorError: not understood."""
    found = list(rows)
    for condition in filter(None, request.query_params.get("$filter", "").split(" and ")):
        match = _CONDITION.fullmatch(condition.strip())
        if match is None:
            raise refusal(400, "/IWBEP/CM_MGW_RT/176", f"Invalid filter: {condition}")
        found = [row for row in found if _holds(row, match)]
    for name in reversed(request.query_params.get("$orderby", "").split(",")):
        if name:
            plain, _, direction = name.strip().partition(" ")
            found.sort(key=lambda row: _sortable(row, plain), reverse=direction == "desc")
    return found


def refuse_sorted(request: Request) -> None:
    """VendorError: rows of this kind are asked for in an order, and none of them is sortable."""
    if "$orderby" in request.query_params:
        raise refusal(400, "/IWBEP/CM_MGW_RT/176", "Properties of this entity are not sortable")


def _sortable(row: Fields, name: str) -> Any:
    if name not in row:
        raise refusal(400, "/IWBEP/CM_MGW_RT/176", f"Property {name} not found")
    return row[name]


def _holds(row: Fields, match: re.Match[str]) -> bool:
    name = match["name"]
    if name not in row:
        raise refusal(400, "/IWBEP/CM_MGW_RT/176", f"Property {name} not found")
    wanted: Any = match["value"].replace("''", "'")
    held = row[name]
    if match["kind"]:
        wanted = datetime.fromisoformat(wanted.replace("Z", "+00:00")).replace(tzinfo=UTC)
        if held is None:
            return False
        if not isinstance(held, datetime):
            wanted = wanted.date()
    if match["how"] == "eq":
        return bool(held == wanted)
    return bool(held >= wanted if match["how"] == "ge" else held > wanted)


def page(request: Request, rows: Sequence[Fields], size: int, address: str) -> Fields:
    """One page of a feed, and where the next one is; clients follow `__next` as it is."""
    params = dict(request.query_params)
    start = int(params.pop("$skiptoken", "0"))
    body: Fields = {"results": list(rows[start : start + size])}
    if start + size < len(rows):
        body["__next"] = f"{address}?{urlencode({**params, '$skiptoken': str(start + size)})}"
    return body


def feed(
    request: Request,
    rows: Iterable[Fields],
    show: Callable[[Fields], Fields],
    size: int,
    host: str,
) -> Response:
    """The answer to a query of an entity set: the rows asked for, as `show` shows them."""
    found = selected(request, rows)
    if top := request.query_params.get("$top"):
        found = found[: int(top)]
    address = f"{host}{request.url.path}"
    return json_response({"d": page(request, [show(row) for row in found], size, address)})


def key_of(path_key: str) -> dict[str, str]:
    """The properties of a key predicate; a single one without a name is under ""."""
    plain = unquote(path_key)
    pairs = dict(_PAIR.findall(plain))
    if pairs:
        return {name: value.replace("''", "'") for name, value in pairs.items()}
    if len(plain) >= 2 and plain[0] == plain[-1] == "'":
        return {"": plain[1:-1].replace("''", "'")}
    raise refusal(400, "/IWBEP/CM_MGW_RT/020", "Malformed key predicate")


def parameter(request: Request, name: str) -> str:
    """A parameter of a function import: a literal in the query. VendorError: it is missing."""
    raw = request.query_params.get(name)
    if raw is None:
        raise refusal(400, "/IWBEP/CM_MGW_RT/021", f"Mandatory parameter {name} is missing")
    match = re.fullmatch(r"(?:datetime)?'((?:[^']|'')*)'|([0-9.]+)[mM]", raw)
    if match is None:
        raise refusal(400, "/IWBEP/CM_MGW_RT/022", f"Invalid literal for parameter {name}")
    return (match[1] if match[1] is not None else match[2]).replace("''", "'")


async def body_of(request: Request) -> Fields:
    """The body of a create or change. VendorError: it is no object of JSON."""
    try:
        content = vendor_json.loads(await request.body())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise refusal(400, "/IWBEP/CM_MGW_RT/079", "Malformed request body")
    return content


def quantity(value: Any, name: str) -> Decimal:
    """A decimal property: a string in JSON. VendorError: a number, or none."""
    if not isinstance(value, str):
        raise refusal(400, "/IWBEP/CM_MGW_RT/080", f"Property {name}: Edm.Decimal is a string")
    try:
        return odata.number(value)
    except ValueError:
        raise refusal(
            400, "/IWBEP/CM_MGW_RT/080", f"Property {name} has an invalid value"
        ) from None


def calendar_day(value: Any, name: str) -> date:
    """An Edm.DateTime property or parameter as a day. VendorError: it is none."""
    try:
        text = str(value)
        if text.startswith("/Date("):
            found = odata.moment(text)
            if found is None:
                raise ValueError("the initial date is no day")
            return found.date()
        return date.fromisoformat(text[:10])
    except ValueError:
        raise refusal(
            400, "/IWBEP/CM_MGW_RT/080", f"Property {name} has an invalid value"
        ) from None


def fits(request: Request, etag: str) -> None:
    """A change names the version that it changes: 428 without, 412 with another."""
    given = request.headers.get("if-match", "")
    if not given:
        raise refusal(428, "/IWBEP/CM_COS/005", "If-Match is required for this request")
    if given != etag:
        raise refusal(412, "/IWBEP/CM_COS/006", "Precondition failed: the document was changed")


def single_key(request: Request) -> str:
    """The only property of the key predicate in a path."""
    return next(iter(key_of(request.path_params["key"]).values()))


def bared(row: Mapping[str, Any], *names: str) -> Fields:
    """A row with these numbers of items as SAP's sales documents show them: without zeros."""
    return {**row, **{name: odata.bare(str(row[name])) for name in names}}


def plain(row: Mapping[str, Any]) -> Fields:
    """A row as the vendor shows it."""
    found = {name: value for name, value in row.items() if name not in _INTERNAL}
    if "serials" in row:
        found["NumberOfSerialNumbers"] = len(row["serials"])
    return found
