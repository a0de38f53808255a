"""What codes mean: told by adapters as defaults, added and changed by operators."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

from crossdock.errors import Violation
from crossdock.mapping.v1 import mapping_pb2
from crossdock.mapping.v1 import mapping_service_pb2 as service_pb2

from crossdock_hub.objects.mapping_kinds import (
    MappingKindRecord,
    holding,
    newer_version,
    refuse_stranger,
)
from crossdock_hub.objects.mappings import (
    ARRIVED,
    Code,
    decided,
    row_id,
    topic_name,
    why_no_meaning,
)
from crossdock_hub.objects.resources import stamp
from crossdock_hub.objects.unsent_words import sendable
from crossdock_hub.reading.mapping_messages import row_message
from crossdock_hub.records import MappingRecord, OperatorWordRecord
from crossdock_hub.refusals import invalid, not_found, stale, transition
from crossdock_hub.unit import Refused, Unit
from crossdock_hub.verbs.endpoints import known_endpoint, own_endpoint
from crossdock_hub.verbs.registering import decides, expected

SERVICE = "mapping.v1.MappingService"
MAPPED, NOTHING = "MAPPED", "UNMAPPED"


@decides(f"{SERVICE}/PublishDefaultMappings")
def publish_default_mappings(
    unit: Unit, request: service_pb2.PublishDefaultMappingsRequest
) -> service_pb2.PublishDefaultMappingsResponse:
    """Take a data file: its rows are the defaults of the kind, others' defaults end."""
    own_endpoint(unit, request.endpoint)
    if not known_endpoint(unit, request.endpoint).manifest:
        raise transition("endpoint", "EXPECTED", "PublishDefaultMappings", ["registered"])
    if not request.rows:
        raise _refused("rows", "a data file without a row would end every default of its kind")
    kind = unit.endpoint_kind
    unit.require((("mapping_kind", kind), ("mapping_ids", kind)))
    known: MappingKindRecord | None = unit.get(("mapping_kind", kind))
    refuse_stranger(known, kind, unit.caller)
    told = _told_rows(kind, request)
    newer = newer_version(known, request.defaults_version, unit.caller.older_defaults)
    answer = service_pb2.PublishDefaultMappingsResponse(endpoint_kind=kind, newer_version=newer)
    if not newer:
        after = holding(known, kind, unit.caller, request.defaults_version)
        if after != known:
            unit.put(("mapping_kind", kind), after)
        answer.changed = _take(unit, kind, told, request.defaults_version)
    return answer


def _told_rows(
    kind: str, request: service_pb2.PublishDefaultMappingsRequest
) -> dict[str, mapping_pb2.DefaultMapping]:
    told: dict[str, mapping_pb2.DefaultMapping] = {}
    for index, row in enumerate(request.rows):
        _check_meaning(topic_name(row.topic), row.meaning, f"rows[{index}].meaning")
        key = row_id(kind, topic_name(row.topic), Code.of(row.native))
        if key in told:
            raise _refused(f"rows[{index}].native", f"{Code.of(row.native)} stands there twice")
        told[key] = row
    return told


def _take(unit: Unit, kind: str, told: dict[str, mapping_pb2.DefaultMapping], version: str) -> int:
    """Make these the defaults of a kind; how many rows are not as they were."""
    before: tuple[str, ...] = unit.get(("mapping_ids", kind))
    unit.require(("mapping_row", key) for key in {*told, *before})
    changed = 0
    for key in sorted({*told, *before}):
        record = unit.get(("mapping_row", key))
        if record is None:
            record = _new(kind, topic_name(told[key].topic), Code.of(told[key].native))
        default = told.get(key)
        shipped = b"" if default is None else default.SerializeToString(deterministic=True)
        if shipped != record.shipped:
            shipped_version = version if shipped else ""
            _keep(unit, replace(record, shipped=shipped, shipped_version=shipped_version))
            changed += 1
    return changed


@decides(f"{SERVICE}/SetMapping")
def set_mapping(
    unit: Unit, request: service_pb2.SetMappingRequest
) -> service_pb2.SetMappingResponse:
    """Say what a code means here; it goes before the default."""
    _check_meaning(topic_name(request.topic), request.meaning, "meaning")
    record = _record(unit, request)
    said = mapping_pb2.DeploymentMapping(
        meaning=request.meaning, reason=request.reason, operator=unit.caller.endpoint
    )
    stamp(said.set_time, unit.now)
    encoded = said.SerializeToString(deterministic=True)
    after = _keep(unit, replace(record, deployment=encoded))
    _word(unit, record, after, "MAP", request.reason)
    return service_pb2.SetMappingResponse(row=row_message(after))


@decides(f"{SERVICE}/ResetMapping")
def reset_mapping(
    unit: Unit, request: service_pb2.ResetMappingRequest
) -> service_pb2.ResetMappingResponse:
    """Take back what the deployment said; facts that were written by it stay as they are."""
    record = _record(unit, request)
    if not record.deployment:
        raise not_found("deployment mapping", record.id)
    after = _keep(unit, replace(record, deployment=b""))
    _word(unit, record, after, "UNMAP", request.reason)
    return service_pb2.ResetMappingResponse(row=row_message(after))


def _record(unit: Unit, request: Any) -> MappingRecord:
    topic, code = topic_name(request.topic), Code.of(request.native)
    found: MappingRecord | None = unit.get(
        ("mapping_row", row_id(request.endpoint_kind, topic, code))
    )
    record = _new(request.endpoint_kind, topic, code) if found is None else found
    wanted = expected(request)
    if wanted is not None and wanted != record.revision:
        raise stale("mapping", wanted, record.revision, _standing(record))
    return record


def _standing(record: MappingRecord) -> str:
    """What a code means now and who said so, for the one who had not read that."""
    if record.deployment:
        said = mapping_pb2.DeploymentMapping.FromString(record.deployment)
        when = said.set_time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"{_said(record)}, said by {said.operator} on {when}, {said.reason!r}"
    if record.shipped:
        return f"{_said(record)} by the adapter's default of version {record.shipped_version}"
    return _said(record)


def _new(kind: str, topic: str, code: Code) -> MappingRecord:
    key = row_id(kind, topic, code)
    return MappingRecord(key, kind, topic, code.type, code.code, "", "", False, b"", "", b"", 0)


def _keep(unit: Unit, record: MappingRecord) -> MappingRecord:
    """Store a row as its default and the deployment decide it, and tell what waits for it."""
    after = decided(replace(record, revision=record.revision + 1))
    unit.put(("mapping_row", after.id), after)
    # The facts of the same batch are read by it already.
    unit.put(("mapping", after.id), after)
    if after.canonical:
        unit.satisfy(f"{ARRIVED}{after.id}")
    if told := sendable(after):
        unit.satisfy(told)
    return after


def _word(
    unit: Unit, before: MappingRecord, after: MappingRecord, verb: str, reason: str
) -> OperatorWordRecord:
    word = OperatorWordRecord(
        id=unit.new_id(),
        subject_id=after.id,
        verb=verb,
        operator=unit.caller.endpoint,
        said_at=unit.now,
        reason=reason,
        state_before=MAPPED if before.canonical else NOTHING,
        state_after=MAPPED if after.canonical else NOTHING,
        change=f"from {_said(before)} to {_said(after)}, revision {after.revision}",
    )
    unit.put(("operator_word", word.id), word)
    return word


def _said(record: MappingRecord) -> str:
    parts = (record.canonical, record.exception_reason, "preferred" if record.preferred else "")
    return " ".join(part for part in parts if part) or "no meaning"


def _check_meaning(topic: str, meaning: mapping_pb2.Meaning, field: str) -> None:
    problem = why_no_meaning(topic, meaning)
    if problem:
        raise _refused(field, problem)


def _refused(field: str, problem: str) -> Refused:
    return invalid([Violation(field, problem, "mapping")])
