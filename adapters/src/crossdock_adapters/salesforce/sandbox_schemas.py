"""Definitions of the simulated org's events, as the Pub/Sub API gives them, and records of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

STATUS_ID: Final = "Qx5f0000000000000000A1"
STATUS_GROWN_ID: Final = "Qx5f0000000000000000A2"
CHANGE_ID: Final = "Cx5f0000000000000000A1"
USER: Final = "0055f0000000001AAA"
NAMESPACE: Final = "com.sforce.eventbus"
CHANGE_TYPES: Final = (
    "CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE",
    "GAP_UNDELETE", "GAP_OVERFLOW", "SNAPSHOT",
)  # fmt: skip
_TEXTS: Final = (
    "EventUuid", "FulfillmentOrderId", "OrderSummaryId", "OldStatus", "NewStatus",
    "OldStatusCategory", "NewStatusCategory",
)  # fmt: skip


def _optional(name: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", "string"], "default": None}


def _record(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": NAMESPACE, "fields": fields}


_CREATED: Final[list[dict[str, Any]]] = [
    {"name": "CreatedDate", "type": "long"},
    {"name": "CreatedById", "type": "string"},
]
STATUS: Final = _record("FOStatusChangedEvent", [*_CREATED, *(_optional(name) for name in _TEXTS)])
# The same event once somebody has added to it.
STATUS_GROWN: Final = _record(
    "FOStatusChangedEvent",
    [
        *STATUS["fields"],
        _optional("nobodyDocumentedThis"),
        {
            "name": "Kind",
            "type": {"type": "enum", "name": "Kind", "symbols": ["NEW", "NEWER"]},
        },
    ],
)
_HEADER: Final = _record(
    "ChangeEventHeader",
    [
        {"name": "entityName", "type": "string"},
        {"name": "recordIds", "type": {"type": "array", "items": "string"}},
        {
            "name": "changeType",
            "type": {"type": "enum", "name": "ChangeType", "symbols": list(CHANGE_TYPES)},
        },
        {"name": "changeOrigin", "type": "string"},
        {"name": "transactionKey", "type": "string"},
        {"name": "sequenceNumber", "type": "int"},
        {"name": "commitTimestamp", "type": "long"},
        {"name": "changedFields", "type": {"type": "array", "items": "string"}},
    ],
)
CHANGE: Final = _record(
    "FulfillmentOrderChangeEvent",
    [{"name": "ChangeEventHeader", "type": _HEADER}, _optional("Status")],
)
SCHEMAS: Final[Mapping[str, str]] = {
    STATUS_ID: json.dumps(STATUS),
    STATUS_GROWN_ID: json.dumps(STATUS_GROWN),
    CHANGE_ID: json.dumps(CHANGE),
}


def status_record(
    order: Mapping[str, Any],
    old_status: str,
    old_category: str,
    category: str,
    event_uuid: str,
    now: datetime,
) -> dict[str, Any]:
    """What FOStatusChangedEvent says."""
    return {
        "CreatedDate": int(now.timestamp() * 1000),
        "CreatedById": USER,
        "EventUuid": event_uuid,
        "FulfillmentOrderId": order["Id"],
        "OrderSummaryId": order["OrderSummaryId"],
        "OldStatus": old_status,
        "NewStatus": order["Status"],
        "OldStatusCategory": old_category,
        "NewStatusCategory": category,
    }


def change_record(change_type: str, ids: list[str], entity: str, now: datetime) -> dict[str, Any]:
    """What a change event says; those of gaps have no fields."""
    header = {
        "entityName": entity,
        "recordIds": ids,
        "changeType": change_type,
        "changeOrigin": "",
        "transactionKey": "000fa1",
        "sequenceNumber": 1,
        "commitTimestamp": int(now.timestamp() * 1000),
        "changedFields": [],
    }
    return {"ChangeEventHeader": header, "Status": None}
