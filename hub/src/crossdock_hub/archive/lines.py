"""One flow as lines of JSON and back, with every column of every row; pure.

The first line says what the flow is known by, then there is one for each row. Bytes that are a
message of the contract are its canonical JSON; where that does not say everything (fields of a
later contract), the bytes stand beside it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from crossdock.contracts import Contract
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message

from crossdock_hub.archive.records import FlowRows, WrittenFlow, fingerprint_of, plain

SCAN: Final = "crossdock.tracking.v1.TrackingEvent"
# Tables whose rows a flow has, in the order in which they stand in a file.
TABLES: Final = (
    "objects", "external_references", "requests", "events", "deliveries", "delivery_contents",
    "attempts", "operator_words", "parcels", "scans",
)  # fmt: skip
# Columns by which somebody may ask for a flow.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "objects": ("id", "number"),
    "external_references": ("value",),
    "requests": ("request_id",),
    "events": ("id", "trace_id"),
    "deliveries": ("id", "item", "vendor_reference"),
    "parcels": ("tracking_number", "package_id"),
}
# Columns of bytes that hold a message; other bytes are digests.
_CARRYING: Final = frozenset({"message", "body", "response"})


def names_of(rows: FlowRows, contract: Contract) -> list[str]:
    """Every id and number that the flow is known by, sorted."""
    names: set[str] = set()
    for table, columns in _NAMES.items():
        names |= {row[column] for row in rows[table] for column in columns}
    for row in rows["deliveries"]:
        names |= {value for _, value in orjson.loads(row["vendor_references"])}
    for row in rows["objects"]:
        if row["kind"] == "shipment":
            shipment: Any = _message(contract, "shipment", row["message"])
            names |= {name for each in shipment.packages for name in (each.id, each.number)}
    return sorted(name for name in names if name)


def flow_of(rows: FlowRows, contract: Contract) -> WrittenFlow:
    """What is told of a flow in front of its rows."""
    root = next(row for row in rows["objects"] if row["id"] == row["root_id"])
    numbers = [(row["kind"], row["number"]) for row in rows["objects"] if row["number"]]
    return WrittenFlow(root["id"], fingerprint_of(rows), names_of(rows, contract), numbers)


def lines_of(rows: FlowRows, contract: Contract) -> bytes:
    """The flow as lines. Reading them back gives the very rows: each message was tried."""
    flow = flow_of(rows, contract)
    head = {
        "flow": flow.root_id,
        "rows": sum(len(rows[table]) for table in TABLES),
        "fingerprint": flow.fingerprint,
        "numbers": flow.numbers,
        "ids": flow.ids,
    }
    types = {row["id"]: row["event_type"] for row in rows["deliveries"]}
    lines = [orjson.dumps(head)]
    for table in TABLES:
        for row in rows[table]:
            name = _type_of(contract, table, row, types)
            told = {
                column: _told(contract, name if column in _CARRYING else "", value)
                for column, value in row.items()
            }
            # Keys of maps may be numbers.
            line = {"table": table, "row": told}
            lines.append(orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS))
    return b"\n".join(lines) + b"\n"


def head_of(line: bytes) -> WrittenFlow | None:
    """The flow that begins with this line; None: it is the line of a row."""
    if not line.startswith(b'{"flow"'):
        return None
    head = orjson.loads(line)
    numbers = [(kind, number) for kind, number in head["numbers"]]
    return WrittenFlow(head["flow"], head["fingerprint"], head["ids"], numbers)


def rows_from(lines: Iterable[bytes], contract: Contract) -> dict[str, list[dict[str, Any]]]:
    """The rows of one flow's lines, as they were in the database."""
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    for line in lines:
        if line.strip() and head_of(line) is None:
            told = orjson.loads(line)
            row = {name: _back(contract, value) for name, value in told["row"].items()}
            rows[told["table"]].append(row)
    return rows


def _type_of(
    contract: Contract, table: str, row: Mapping[str, Any], types: Mapping[str, str]
) -> str:
    """The full name of the message that a row carries; "" for none."""
    if table == "objects":
        return contract.resources[row["kind"]].message_name
    if table == "events":
        return str(row["type"])
    if table == "delivery_contents":
        return types.get(row["delivery_id"], "")
    if table == "requests" and row["method"] in contract.methods:
        return contract.methods[row["method"]].response_type
    return SCAN if table == "scans" else ""


def _told(contract: Contract, name: str, value: Any) -> Any:
    value = plain(value)
    if not isinstance(value, bytes):
        return value
    coded = {"base64": base64.b64encode(value).decode()}
    if not name or not value:
        return coded
    try:
        message = _parsed(contract, name, value)
        content = MessageToDict(message, preserving_proto_field_name=True)
        again = ParseDict(content, type(message)())
    except (DecodeError, ParseError, KeyError, ValueError, TypeError):
        # A type that this contract does not know, or what no JSON can say.
        return coded
    told = {"type": name, "json": content}
    same = again.SerializeToString(deterministic=True) == value
    return told if same else told | coded


def _back(contract: Contract, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "base64" in value:
        return base64.b64decode(value["base64"])
    message = ParseDict(value["json"], contract.generated_class(value["type"])())
    return message.SerializeToString(deterministic=True)


def _message(contract: Contract, kind: str, value: Any) -> Message:
    return _parsed(contract, contract.resources[kind].message_name, plain(value))


def _parsed(contract: Contract, name: str, value: bytes) -> Message:
    return contract.generated_class(name).FromString(value)
