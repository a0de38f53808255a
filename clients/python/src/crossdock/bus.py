"""The rules of the bus: subjects, partitions, message ids, headers. Pure; imports no NATS client.

Headers are derived from the event and serve filters and foreign tools; a subscriber that wants to
know something reads the event.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

import crossdock
from crossdock import contracts

if TYPE_CHECKING:
    from crossdock.event.v1.event_pb2 import EventMetadata

PARTITIONS: Final = 64
"""Fixed for life: another number would move objects to other partitions, out of order."""

EVENT_STREAM: Final = "CROSSDOCK_V1_EVENT"
SCAN_STREAM: Final = "CROSSDOCK_V1_SCAN"
MESSAGE_ID_HEADER: Final = "Nats-Msg-Id"
TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")
REPLAY_HEADER: Final = "ce-crossdockreplayid"

VENDOR_REFERENCE_CHARACTERS: Final = 20
_TEMPLATES: Final = {
    "event": "{event}.{partition}",
    "scan": "{partition}",
    "delivery": "{endpoint}",
    "ask": "{endpoint}.{operation}",
}
_CACHED_KEYS: Final = 65_536
# "0192e4a1-7c3b": the 48 bits of a UUIDv7 that are its time.
_MILLISECONDS_CHARACTERS: Final = 13
_DELIVERY_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "crossdock:delivery")
_FNV_OFFSET, _FNV_PRIME, _FNV_MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
_TOKEN: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
# Everything but printable ASCII without space, quotation mark and percent sign.
_ENCODED: Final = re.compile(r"[^\x21\x23\x24\x26-\x7e]")
_UNTOUCHED: Final = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


# Subjects


def event_subject(stem: str, partition: int, version: str = "v1") -> str:
    """ "crossdock.v1.event.order.approved.17": every event of a kind, one copy."""
    if not 0 <= partition < PARTITIONS:
        raise ValueError(f"partition {partition} is not within 0 to {PARTITIONS - 1}")
    return f"crossdock.{version}.event.{stem}.{partition}"


def scan_subject(partition: int) -> str:
    """ "crossdock.v1.scan.17": high-frequency scans, several per message."""
    if not 0 <= partition < PARTITIONS:
        raise ValueError(f"partition {partition} is not within 0 to {PARTITIONS - 1}")
    return f"crossdock.v1.scan.{partition}"


def delivery_subject(endpoint: str) -> str:
    """ "crossdock.v1.delivery.netsuite": the work of one endpoint."""
    return f"crossdock.v1.delivery.{_token(endpoint)}"


def delivery_stream(endpoint: str) -> str:
    """Name of the stream behind `delivery_subject`: "CROSSDOCK_V1_DELIVERY_netsuite"."""
    return f"CROSSDOCK_V1_DELIVERY_{_token(endpoint)}"


def subject_template(subject: str) -> str:
    """A subject with its variable parts named, "crossdock.v1.delivery.{endpoint}": for spans."""
    words = subject.split(".", 3)
    variable = _TEMPLATES.get(words[2]) if len(words) == 4 else None
    return ".".join([*words[:3], variable]) if variable else subject


def ask_subject(endpoint: str, operation: str) -> str:
    """ "crossdock.v1.ask.ups.rates": questions that change nothing."""
    return f"crossdock.v1.ask.{_token(endpoint)}.{_token(operation)}"


def _token(name: str) -> str:
    """Refuses what would change the shape of a subject: dots, wildcards, blanks."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} cannot stand in a subject: lower-case letters, digits, - and _")
    return name


@lru_cache(maxsize=_CACHED_KEYS)
def partition_of(key: str) -> int:
    """The partition of a root object's id: FNV-1a (32 bits) over its UTF-8 bytes, modulo 64."""
    value = _FNV_OFFSET
    for byte in key.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _FNV_MASK
    return value % PARTITIONS


# Ids


def delivery_id(event_id: str, endpoint: str, operation: str, item: str = "") -> str:
    """The id of a delivery: the same event never makes a second one of the same kind.

    A UUIDv8 (RFC 9562, section 5.8): the milliseconds of the event's id, a UUIDv7, in front, so
    that what is kept by deliveries' ids grows at its end, however much is stored; behind them 74
    bits of the UUIDv5 of all that makes the delivery what it is.
    """
    named = uuid.uuid5(_DELIVERY_NAMESPACE, "\0".join((event_id, endpoint, operation, item)))
    return f"{event_id[:_MILLISECONDS_CHARACTERS]}-8{str(named)[_MILLISECONDS_CHARACTERS + 2 :]}"


def delivery_message_id(delivery_id: str, dispatch_number: int) -> str:
    """The message id of one dispatch of a delivery; a repeat of the dispatch has the same."""
    return f"{delivery_id}.{dispatch_number}"


def vendor_reference(delivery_id: str) -> str:
    """The reference under which vendors know a delivery: 20 characters of base32, A-Z and 2-7.

    Short enough for every carrier's reference field; 100 bits, so two deliveries never share it.
    """
    seen = hashlib.sha256(uuid.UUID(delivery_id).bytes).digest()
    return base64.b32encode(seen)[:VENDOR_REFERENCE_CHARACTERS].decode()


# Headers


def headers_for(
    metadata: EventMetadata,
    *,
    trace: Mapping[str, str] | None = None,
    replay_id: str = "",
    contract_version: str = crossdock.__version__,
) -> dict[str, str]:
    """The headers of an event in CloudEvents binary mode, with the message id JetStream knows.

    trace: traceparent, tracestate and baggage of this hop; other keys are left out. replay_id: only
    on replays. KeyError: metadata.type is no event of the contract.
    """
    event = contracts.load().events[metadata.type]
    event_id, root = metadata.id, metadata.correlation_id
    headers = {
        MESSAGE_ID_HEADER: event_id,
        "ce-id": event_id,
        "ce-specversion": "1.0",
        "ce-source": f"/crossdock/endpoints/{metadata.producer}",
        "ce-type": event.cloud_event_type,
        "ce-subject": metadata.object_id,
        "ce-recordedtime": _time(metadata.record_time),
        "ce-datacontenttype": "application/protobuf",
        "ce-dataschema": f"urn:crossdock:contract:{contract_version}:{metadata.type}",
        "ce-correlationid": root,
        "ce-causationid": metadata.causation_id,
        "ce-partitionkey": root or metadata.object_id,
        "ce-sequence": str(metadata.revision),
    }
    if metadata.HasField("event_time"):
        headers["ce-time"] = _time(metadata.event_time)
    if replay_id:
        headers[REPLAY_HEADER] = replay_id
    encoded = {name: value for name, value in headers.items() if value}
    if _ENCODED.search("".join(encoded.values())):
        encoded = {name: encode_header(value) for name, value in encoded.items()}
    return encoded | trace_headers(trace) if trace else encoded


def trace_headers(carrier: Mapping[str, str]) -> dict[str, str]:
    """The trace context in a carrier or in headers of any case, by its lower-case names."""
    return {
        name: carrier[key]
        for key, name in ((key, key.lower()) for key in carrier)
        if name in TRACE_HEADERS and carrier[key]
    }


def header(headers: Mapping[str, str] | None, name: str) -> str:
    """A header whatever its case, decoded; "" where it is missing. NATS keys know case."""
    wanted = name.lower()
    for key, value in (headers or {}).items():
        if key.lower() == wanted:
            return unquote(value)
    return ""


def encode_header(value: str) -> str:
    """Percent-encodes space, quotation mark, percent sign, control and non-ASCII characters."""
    return quote(value, safe=_UNTOUCHED) if _ENCODED.search(value) else value


def _time(value: Timestamp) -> str:
    """RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second, as the JSON of protobuf writes it."""
    text = datetime.fromtimestamp(value.seconds, UTC).isoformat()[:19]
    nanos = value.nanos
    if not nanos:
        return f"{text}Z"
    digits = f"{nanos:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{text}.{digits}Z"


# Messages


@dataclass(frozen=True, slots=True)
class Received:
    """An event as a subscriber gets it.

    event: the typed message; None where this contract does not know the type, which is no error for
    a subscriber. replay_id: "" unless the event was sent again on purpose. trace: of the hop.
    """

    metadata: EventMetadata
    event: Message | None
    replay_id: str = ""
    trace: Mapping[str, str] = field(default_factory=dict)


def decode(data: bytes, headers: Mapping[str, str] | None = None) -> Received:
    """Reads an event. Its type comes from its own metadata, never from a header.

    ValueError: the bytes are no event.
    """
    from crossdock.event.v1.event_pb2 import AnyEvent

    try:
        metadata = AnyEvent.FromString(data).metadata
        if not metadata.type:
            raise ValueError("the bytes are no event: metadata.type is missing")
        contract = contracts.load()
        event = None
        if metadata.type in contract.events:
            event = contract.generated_class(metadata.type).FromString(data)
    except DecodeError as error:
        raise ValueError("the bytes are no event") from error
    replay_id = header(headers, REPLAY_HEADER)
    return Received(metadata, event, replay_id, trace_headers(headers or {}))
