"""Facts that do not fit yet: held with their request, driven again when what they await arrives."""

from __future__ import annotations

import hashlib
from typing import Any

from crossdock.endpoint.v1 import held_fact_pb2
from crossdock.errors import Refusal, to_message
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message

from crossdock_hub.objects.flows_named import flow_named
from crossdock_hub.objects.mappings import Code, Unmapped, awaits_of, topic_name, unmapped_of
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Key, NotYet, Unit

# What a raw payload waits for, where it is no code: a better translation of its source; or, once an
# operator asked or its code has a row, its adapter, which looks for these every so often.
TRANSLATION = "translation"
RETRANSLATION = "retranslation"


def hold(
    unit: Unit, method: str, request: Message, why: NotYet, identity: str = ""
) -> types_pb2.FactReceipt:
    """Keep a fact until "kind:value" arrives; the receipt is as durable as a written one.

    identity: by which the same is found again while it is held, and not kept a second time.
    """
    identity = identity or why.identity
    kept = _open_fact(unit, unit.get(("held_payload", identity))) if identity else None
    if kept is not None:
        if not kept.root_id:
            # It may have come before what it names; told again, it may find that.
            _note_flow(unit, kept, flow_named(unit, request))
        receipt = types_pb2.FactReceipt(outcome=types_pb2.FACT_OUTCOME_HELD, held_fact_id=kept.id)
        receipt.held_because.ParseFromString(kept.refusal)
        return receipt
    refusal = to_message(why.refusal)
    record = HeldFactRecord(
        id=unit.new_id(),
        endpoint=unit.caller.endpoint,
        method=method,
        payload=request.SerializeToString(),
        content_type="application/protobuf",
        refusal=refusal.SerializeToString(),
        state="HELD",
        awaits=why.awaits,
        request_id=getattr(request, "request_id", ""),
        created_at=unit.now,
        traceparent=unit.traceparent,
        identity=identity,
        root_id=flow_named(unit, request),
    )
    unit.put(("held_fact", record.id), record)
    if identity:
        unit.put(("held_payload", identity), record.id)
    unit.count("held", unit.caller.endpoint, why.refusal.reason)
    unmapped = unmapped_of(why.awaits)
    if unmapped is not None:
        unit.count("unmapped_fact", unit.caller.endpoint, unmapped.topic)
    return types_pb2.FactReceipt(
        outcome=types_pb2.FACT_OUTCOME_HELD, held_fact_id=record.id, held_because=refusal
    )


def hold_payload(unit: Unit, request: held_fact_pb2.HoldPayloadRequest) -> types_pb2.FactReceipt:
    """Keep a raw payload, unless the same is held: closed ones do not count, they are looked at."""
    identity = payload_identity(unit.caller.endpoint, request)
    return hold(unit, "", request, why_untranslated(unit, request.source, request), identity)


def _note_flow(unit: Unit, kept: HeldFactRecord, root_id: str) -> None:
    if root_id:
        unit.put(("held_fact", kept.id), replace(kept, root_id=root_id))


def _open_fact(unit: Unit, fact_id: str | None) -> HeldFactRecord | None:
    record: HeldFactRecord | None = None if fact_id is None else unit.get(("held_fact", fact_id))
    return record if record is not None and record.state == "HELD" else None


def payload_identity(endpoint: str, request: held_fact_pb2.HoldPayloadRequest) -> str:
    """What a raw payload is known by: its endpoint, its source, and its key or else its bytes."""
    what = (b"key", request.key.encode()) if request.key else (b"bytes", request.payload)
    parts = (endpoint.encode(), request.source.encode(), *what)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def receipt_response(
    response_type: type[Any], receipt: types_pb2.FactReceipt, request_id: str = ""
) -> Any:
    """The answer of a fact's method when the fact is held."""
    if "receipt" in response_type.DESCRIPTOR.fields_by_name:
        return response_type(receipt=receipt)
    if "request_id" in response_type.DESCRIPTOR.fields_by_name:
        return response_type(request_id=request_id, receipts=[receipt])
    if "receipts" in response_type.DESCRIPTOR.fields_by_name:
        return response_type(receipts=[receipt])
    return response_type(refusal=receipt.held_because, held_fact_id=receipt.held_fact_id)


def applied(record: HeldFactRecord, now: int, root_id: str = "") -> HeldFactRecord:
    """The fact was written. root_id: in which flow; "" where it changed none."""
    drives, root_id = record.drives + 1, root_id or record.root_id
    return replace(record, state="APPLIED", applied_at=now, drives=drives, root_id=root_id)


def source_of(record: HeldFactRecord) -> str:
    """Where a raw payload came in."""
    kind, _, value = record.awaits.partition(":")
    if kind in (TRANSLATION, RETRANSLATION):
        return value
    return held_fact_pb2.HoldPayloadRequest.FromString(record.payload).source


def asked_again(record: HeldFactRecord) -> HeldFactRecord:
    """The adapter is to translate a raw payload again."""
    return replace(record, awaits=f"{RETRANSLATION}:{source_of(record)}")


def why_untranslated(
    unit: Unit,
    source: str,
    told: held_fact_pb2.HoldPayloadRequest | held_fact_pb2.ReportHeldPayloadRequest,
) -> NotYet:
    """Why a raw payload waits, and for what: for its codes where its adapter read it by the rows
    that hold now. Where they are others by now, the row came between its reading and this word, or
    went: nobody would tell the payload of it, so the adapter is asked at once."""
    if not told.HasField("unread_codes"):
        refusal = Refusal("INVALID_FIELD", told.reason, {"source": source})
        return NotYet(refusal, f"{TRANSLATION}:{source}")
    unread = told.unread_codes
    codes = tuple(map(Code.of, unread.native_codes))
    unmapped = Unmapped(unit.endpoint_kind, topic_name(unread.topic), codes)
    refusal = Refusal(
        "UNMAPPED_CODE",
        told.reason,
        {
            "endpoint_kind": unmapped.endpoint_kind,
            "topic": unmapped.topic,
            "type": codes[0].type,
            "code": codes[0].code,
            "source": source,
        },
    )
    revision = rows_revision(unit, unmapped)
    if revision and revision != unread.rows_revision:
        return NotYet(refusal, f"{RETRANSLATION}:{source}")
    return NotYet(refusal, awaits_of(unmapped))


def rows_revision(unit: Unit, unmapped: Unmapped) -> int:
    """The sum of the revisions of the rows that these codes have; 0: none has one."""
    keys: list[Key] = [("mapping", row) for row in unmapped.row_ids()]
    unit.require(keys)
    rows = [unit.get(key) for key in dict.fromkeys(keys)]
    return sum(row.revision for row in rows if row is not None and row.canonical)


def still_held(record: HeldFactRecord, why: NotYet, root_id: str = "") -> HeldFactRecord:
    """The fact was driven and now waits for something else, or for the same again.

    root_id: the flow that it names by now.
    """
    return replace(
        record,
        awaits=why.awaits,
        refusal=to_message(why.refusal).SerializeToString(),
        drives=record.drives + 1,
        root_id=root_id or record.root_id,
    )
