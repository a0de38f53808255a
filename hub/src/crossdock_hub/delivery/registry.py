"""Endpoints as routing, ledger and dispatcher see them: configuration and manifest, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from crossdock.delivery.v1 import delivery_pb2
from crossdock.endpoint.v1 import endpoint_pb2
from google.protobuf.duration_pb2 import Duration

from crossdock_hub.config import Limits
from crossdock_hub.identity import Scope
from crossdock_hub.records import EndpointRecord

# What may follow an unknown outcome, from the most careful to the boldest: a class further right
# repeats on less evidence, so moving right needs an operator's word.
CARE = ("NONE", "SEARCHABLE", "KEYED", "TWO_STEP", "NATURAL")


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """What an endpoint declared about one operation, with the hub's defaults filled in. Seconds.

    max_per_root: purchases for one order before the spending guard stops; 0: no guard.
    """

    name: str
    operation_class: str
    settle_seconds: float
    call_seconds: float
    calls_max: int
    prerequisite_seconds: float
    key_life_seconds: float
    retry_seconds_first: float
    retry_seconds_max: float
    max_per_root: int = 0


@dataclass(frozen=True, slots=True)
class RegisteredEndpoint:
    """An endpoint: who it is, what it offers, what its system can take, and how that is now.

    health: its row, for breaker and pace; see breaking.py and pacing.py. kind: whose codes it
    speaks, the adapter's name; before it registered its id.
    """

    id: str
    role: str
    scope: Scope
    state: str
    system: str
    max_concurrency: int
    max_rate_per_second: Decimal | None
    operations: Mapping[str, OperationSpec]
    health: EndpointRecord
    kind: str = ""

    @property
    def takes_work(self) -> bool:
        """True when work may be dispatched to it."""
        return self.state == "ACTIVE"


def class_name(value: delivery_pb2.OperationClass.ValueType) -> str:
    """The name of an OperationClass without prefix; unspecified counts as NONE."""
    name = delivery_pb2.OperationClass.Name(value).removeprefix("OPERATION_CLASS_")
    return "NONE" if name == "UNSPECIFIED" else name


def budget_of(record: EndpointRecord, limits: Limits) -> tuple[str, int]:
    """Of an endpoint its system, and how many calls at once it says that this takes."""
    return _budget(record.id, endpoint_pb2.Manifest.FromString(record.manifest), limits)


def _budget(endpoint: str, manifest: endpoint_pb2.Manifest, limits: Limits) -> tuple[str, int]:
    return manifest.system or endpoint, manifest.max_concurrency or limits.concurrency_default


def compile_endpoint(record: EndpointRecord, limits: Limits) -> RegisteredEndpoint:
    """An endpoint's row with its manifest decoded."""
    manifest = endpoint_pb2.Manifest.FromString(record.manifest)
    system, max_concurrency = _budget(record.id, manifest, limits)
    rate = Decimal(manifest.max_rate_per_second) if manifest.max_rate_per_second else None
    return RegisteredEndpoint(
        record.id,
        record.role,
        Scope(
            frozenset(record.business_units),
            frozenset(record.location_numbers),
            frozenset(record.carrier_codes),
        ),
        record.state,
        system,
        max_concurrency,
        rate if rate else None,
        {operation.name: _spec(operation, limits) for operation in manifest.operations},
        record,
        manifest.adapter or record.id,
    )


def _spec(operation: endpoint_pb2.Operation, limits: Limits) -> OperationSpec:
    return OperationSpec(
        operation.name,
        class_name(operation.operation_class),
        _seconds(operation.settle_after, limits.settle_seconds_default),
        _seconds(operation.call_timeout, limits.lease_seconds_default),
        operation.max_attempts or limits.calls_max_default,
        _seconds(operation.prerequisite_limit, limits.prerequisite_seconds_default),
        _seconds(operation.key_life, limits.key_life_seconds_default),
        _seconds(operation.retry_first, limits.retry_seconds_first),
        _seconds(operation.retry_max, limits.retry_seconds_max),
        operation.max_per_root,
    )


def _seconds(duration: Duration, default: float) -> float:
    seconds = duration.ToMicroseconds() / 1_000_000
    return seconds if seconds > 0 else default


def bolder(old: OperationSpec, new: OperationSpec) -> bool:
    """True when the new class would repeat on less evidence than the old one."""
    return CARE.index(new.operation_class) > CARE.index(old.operation_class)
