"""The rules of the contract, compiled: what the hub and the SDK look up on every message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

# Roles are the names of crossdock.options.v1.SystemRole without the prefix: "OMS", "ERP", "HUB".
# The other enums are shortened in the same way: "REAL_TIME", "HIGH", "UNCONFIRMED_ONLY", "BLOCK".


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What the contract says about one field.

    owner: role that may write it; "" below the first level of a resource, where nothing is owned.
    sensitive: masked in logs, traces, dead letters. refers_to: kind of the object it names, or "".
    scope: "BUSINESS_UNIT", "LOCATION", "CARRIER" or "". position: "proto/…/order.proto:77".
    """

    name: str
    number: int
    owner: str
    sensitive: bool
    refers_to: str
    scope: str
    repeated: bool
    position: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A canonical object. fields: every first-level field by name."""

    message_name: str
    kind: str
    owner: str
    business_owner: str
    master_data: bool
    fields: Mapping[str, FieldRule]
    position: str


@dataclass(frozen=True, slots=True)
class Target:
    """A role that has to act on an event. Paths are relative to the event message.

    own_fact: a later event does not replace this one; otherwise the last one wins.
    """

    role: str
    operation: str
    ordering_key: str
    requires: tuple[str, ...]
    on_reject: str
    supersedes: tuple[str, ...]
    item: str
    optional: bool
    own_fact: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A business event. type: full message name; stem: "order.approved"; version: "v1".

    cloud_event_type: "dev.crossdock.order.approved.v1". object_field: the event's field that holds
    the resource it is about ("order"), or "".
    """

    type: str
    stem: str
    version: str
    cloud_event_type: str
    producers: frozenset[str]
    targets: tuple[Target, ...]
    business_owner: str
    latency_class: str
    criticality: str
    milestone: bool
    retention: timedelta
    replay_policy: str
    object_field: str
    position: str


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. full_name: "/crossdock.order.v1.OrderService/CreateOrder".

    fact: reports something that has happened.
    write_type: message that carries request_id: the request, or where it has a list of writes
        ("entries", entries_field) the element of that list. mutating: there is a request_id.
    has_update_mask, has_expected_revision, resource_field: of the write_type; resource_field is the
        field that holds the resource written (or the list of them), or "".
    idempotency: "IDEMPOTENT", "NO_SIDE_EFFECTS" or "UNKNOWN".
    """

    full_name: str
    service: str
    name: str
    request_type: str
    response_type: str
    write_type: str
    entries_field: str
    callers: frozenset[str]
    fact: bool
    mutating: bool
    has_update_mask: bool
    has_expected_revision: bool
    resource_field: str
    client_streaming: bool
    server_streaming: bool
    idempotency: str
    position: str


@dataclass(frozen=True, slots=True)
class ReferencePath:
    """A field that names another object: path "order.lines.item_number", by "number" or "id"."""

    path: str
    kind: str
    by: str


class FoundReference(NamedTuple):
    """A reference found in a message: path "order.lines[2].item_number", never an empty value."""

    path: str
    kind: str
    by: str
    value: str


@dataclass(frozen=True, slots=True)
class Change:
    """A difference of meaning between two images.

    element: full name of what changed. kind: "owner_changed", "field_removed", … breaking: refused
    unless waived. description: one sentence with old and new value. position: in the new contract.
    """

    element: str
    kind: str
    breaking: bool
    description: str
    position: str
