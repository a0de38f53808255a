"""Endpoints: registration, heartbeat, pause and resume, cursors, untranslatable payloads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossdock import bus
from crossdock.endpoint.v1 import endpoint_pb2, endpoint_service_pb2, held_fact_pb2
from crossdock.errors import Refusal
from crossdock.options.v1 import options_pb2

from crossdock_hub.delivery.registry import RegisteredEndpoint, bolder, compile_endpoint
from crossdock_hub.delivery.removal import REMOVED, is_gone
from crossdock_hub.objects import held as holding
from crossdock_hub.objects.held import applied, source_of, still_held, why_untranslated
from crossdock_hub.objects.resources import stamp
from crossdock_hub.reading.presenting import held_fact_message
from crossdock_hub.records import CursorRecord, EndpointRecord, HeldFactRecord
from crossdock_hub.refusals import not_found, transition
from crossdock_hub.unit import Refused, Unit
from crossdock_hub.verbs.registering import decides


def own_endpoint(unit: Unit, endpoint: str) -> None:
    """Refuse a call in another endpoint's name."""
    if endpoint != unit.caller.endpoint:
        raise Refused(
            Refusal(
                "OUT_OF_SCOPE",
                f"endpoint {endpoint!r} is not the caller {unit.caller.endpoint!r}; "
                "an endpoint speaks for itself only",
                {"scope": "endpoint"},
            )
        )


def known_endpoint(unit: Unit, endpoint: str) -> EndpointRecord:
    """An endpoint's row. Raises Refused with OBJECT_NOT_FOUND."""
    record: EndpointRecord | None = unit.get(("endpoint", endpoint))
    if record is None:
        raise not_found("endpoint", endpoint)
    return record


def describe(record: EndpointRecord) -> endpoint_pb2.Endpoint:
    """An endpoint's row as a message, without its figures."""
    message = endpoint_pb2.Endpoint(
        id=record.id,
        role=options_pb2.SystemRole.Value(f"SYSTEM_ROLE_{record.role}"),
        scope=endpoint_pb2.Scope(
            business_units=record.business_units,
            location_numbers=record.location_numbers,
            carrier_codes=record.carrier_codes,
        ),
        state=endpoint_pb2.EndpointState.Value(f"ENDPOINT_STATE_{record.state}"),
        pause_reason=record.pause_reason,
        paused_by=record.paused_by,
        trouble=record.trouble,
        revision=record.revision,
    )
    if record.manifest:
        message.manifest.ParseFromString(record.manifest)
    if record.heartbeat_at is not None:
        stamp(message.heartbeat_time, record.heartbeat_at)
    if record.progress_at is not None:
        stamp(message.progress_time, record.progress_at)
    return message


@decides("endpoint.v1.EndpointService/RegisterEndpoint")
def register_endpoint(
    unit: Unit, request: endpoint_service_pb2.RegisterEndpointRequest
) -> endpoint_service_pb2.RegisterEndpointResponse:
    """Take an endpoint's manifest; the deployment decides role and scope, the manifest the rest."""
    own_endpoint(unit, request.endpoint)
    record = known_endpoint(unit, request.endpoint)
    _refuse_other_adapter(unit, request.manifest.adapter)
    changed = replace(
        record,
        manifest=request.manifest.SerializeToString(deterministic=True),
        state="ACTIVE" if record.state == "EXPECTED" else record.state,
        heartbeat_at=unit.now,
        revision=record.revision + 1,
    )
    _refuse_bolder(unit, record, changed)
    _refuse_twin(unit, changed)
    unit.put(("endpoint", record.id), changed)
    return endpoint_service_pb2.RegisterEndpointResponse(
        endpoint=describe(changed),
        delivery_stream=bus.delivery_stream(record.id),
        delivery_consumer=record.id,
        delivery_subject=bus.delivery_subject(record.id),
    )


def _refuse_other_adapter(unit: Unit, adapter: str) -> None:
    """An adapter's name decides whose codes its facts are read by: an operator may have said it."""
    caller = unit.caller
    if caller.adapter and adapter != caller.adapter:
        raise Refused(
            Refusal(
                "MANIFEST_REFUSED",
                f"{caller.endpoint} registers as adapter {adapter!r}, and the hub's endpoints file "
                f"says {caller.adapter!r}; run that adapter, or change the file and start the hub "
                "anew",
                {"endpoint": caller.endpoint, "operation": ""},
            )
        )


def _refuse_bolder(unit: Unit, record: EndpointRecord, changed: EndpointRecord) -> None:
    old = compile_endpoint(record, unit.limits).operations
    for name, spec in compile_endpoint(changed, unit.limits).operations.items():
        if name in unit.caller.bolder_operations:
            continue
        if name in old and bolder(old[name], spec):
            raise Refused(
                Refusal(
                    "MANIFEST_REFUSED",
                    f"{record.id} declared {name} as {old[name].operation_class} and now as "
                    f"{spec.operation_class}, which repeats on less evidence; where the vendor "
                    f"allows it, name {name} in bolder_operations of {record.id} in the hub's "
                    "endpoints file and start the hub anew",
                    {"endpoint": record.id, "operation": name},
                )
            )


def _refuse_twin(unit: Unit, changed: EndpointRecord) -> None:
    """Two endpoints that must both do the same work for the same objects would do it twice."""
    mine = compile_endpoint(changed, unit.limits)
    required = {
        (target.role, target.operation)
        for event in unit.contract.events.values()
        for target in event.targets
        if not target.optional
    }
    others: tuple[RegisteredEndpoint, ...] = unit.get(("endpoints",))
    for other in others:
        if other.id == mine.id or other.role != mine.role or not mine.scope.meets(other.scope):
            continue
        for name in sorted(set(mine.operations) & set(other.operations)):
            if (mine.role, name) in required:
                raise Refused(
                    Refusal(
                        "MANIFEST_REFUSED",
                        f"{mine.id} and {other.id} would both do {name} for the same objects; "
                        "give them scopes that do not meet",
                        {"endpoint": mine.id, "operation": name},
                    )
                )


@decides("endpoint.v1.EndpointService/Heartbeat")
def heartbeat(
    unit: Unit, request: endpoint_service_pb2.HeartbeatRequest
) -> endpoint_service_pb2.HeartbeatResponse:
    """The endpoint lives."""
    own_endpoint(unit, request.endpoint)
    record = known_endpoint(unit, request.endpoint)
    changed = replace(record, heartbeat_at=unit.now, trouble=request.trouble)
    unit.put(("endpoint", record.id), changed)
    return endpoint_service_pb2.HeartbeatResponse(
        state=describe(changed).state,
        mapping_version=unit.get(("mapping_version", unit.endpoint_kind)),
    )


def _steer(unit: Unit, endpoint: str, **changes: Any) -> endpoint_pb2.Endpoint:
    record = known_endpoint(unit, endpoint)
    if record.state == REMOVED:
        raise Refused(
            Refusal(
                "STATE_TRANSITION",
                f"{is_gone(endpoint)}; it gets no work meanwhile",
                {"state": REMOVED, "verb": "PAUSE, RESUME", "allowed": "none"},
            )
        )
    changed = replace(record, revision=record.revision + 1, **changes)
    unit.put(("endpoint", record.id), changed)
    return describe(changed)


@decides("endpoint.v1.EndpointService/PauseEndpoint")
def pause_endpoint(
    unit: Unit, request: endpoint_service_pb2.PauseEndpointRequest
) -> endpoint_service_pb2.PauseEndpointResponse:
    """No more work; what is dispatched and not begun is refused at its begin and waits."""
    endpoint = _steer(
        unit,
        request.endpoint,
        state="PAUSED",
        pause_reason=request.reason,
        paused_by=unit.caller.endpoint,
    )
    return endpoint_service_pb2.PauseEndpointResponse(endpoint=endpoint)


@decides("endpoint.v1.EndpointService/ResumeEndpoint")
def resume_endpoint(
    unit: Unit, request: endpoint_service_pb2.ResumeEndpointRequest
) -> endpoint_service_pb2.ResumeEndpointResponse:
    """Work again, in order."""
    record = known_endpoint(unit, request.endpoint)
    state = "ACTIVE" if record.manifest else "EXPECTED"
    endpoint = _steer(unit, request.endpoint, state=state, pause_reason="", paused_by="")
    return endpoint_service_pb2.ResumeEndpointResponse(endpoint=endpoint)


@decides("endpoint.v1.EndpointService/PutCursor")
def put_cursor(
    unit: Unit, request: endpoint_service_pb2.PutCursorRequest
) -> endpoint_service_pb2.PutCursorResponse:
    """Move a cursor by compare-and-set."""
    key = ("cursor", unit.caller.endpoint, request.name)
    known: CursorRecord | None = unit.get(key)
    version = known.version if known else 0
    if version != request.expected_version:
        raise Refused(
            Refusal(
                "CURSOR_MOVED",
                f"cursor {request.name!r} is at version {version}, not {request.expected_version}; "
                "read it again",
                {"expected": str(request.expected_version), "actual": str(version)},
            )
        )
    unit.put(key, CursorRecord(unit.caller.endpoint, request.name, request.value, version + 1))
    return endpoint_service_pb2.PutCursorResponse(version=version + 1)


@decides("endpoint.v1.EndpointService/HoldPayload")
def hold_payload(
    unit: Unit, request: held_fact_pb2.HoldPayloadRequest
) -> held_fact_pb2.HoldPayloadResponse:
    """Keep a payload raw; a person drives it, a better translation, or a row for its code."""
    receipt = holding.hold_payload(unit, request)
    return held_fact_pb2.HoldPayloadResponse(receipt=receipt)


@decides("endpoint.v1.EndpointService/ReportHeldPayload")
def report_held_payload(
    unit: Unit, request: held_fact_pb2.ReportHeldPayloadRequest
) -> held_fact_pb2.ReportHeldPayloadResponse:
    """Close a payload that its adapter translated, or keep why it still could not."""
    if not request.translated and not request.reason:
        raise Refused(
            Refusal(
                "INVALID_FIELD",
                "reason is empty: say why the payload still cannot be translated, or set "
                "translated once its facts are in the hub",
                {"field": "reason"},
            )
        )
    held: HeldFactRecord | None = unit.get(("held_fact", request.held_fact_id))
    if held is None:
        raise not_found("held payload", request.held_fact_id)
    own_endpoint(unit, held.endpoint)
    if held.method:
        raise transition("held fact", held.state, "ReportHeldPayload", ["HELD without a method"])
    if held.state != "HELD":
        raise transition("held payload", held.state, "ReportHeldPayload", ["HELD"])
    after = (
        applied(held, unit.now)
        if request.translated
        else still_held(held, why_untranslated(unit, source_of(held), request))
    )
    unit.put(("held_fact", held.id), after)
    if request.translated:
        unit.count("driven", held.endpoint)
    message = held_fact_message(after)
    # The caller has just had them; without them the answer is small, and no secret is logged.
    message.ClearField("payload")
    return held_fact_pb2.ReportHeldPayloadResponse(held_fact=message)
