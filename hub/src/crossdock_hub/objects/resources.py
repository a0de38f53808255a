"""Create, update and upsert, the same for every canonical object; pure.

The verbs in orders.py, shipments.py and their like build on these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossdock.bus import partition_of
from crossdock.contracts import Resource
from crossdock.types.v1 import types_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from crossdock_hub.archive.records import number_key
from crossdock_hub.objects.ownership import HUB_ROLE, check_owner, check_written, mask_fields
from crossdock_hub.objects.references import add_references, check_references
from crossdock_hub.records import ObjectRecord
from crossdock_hub.refusals import archived, invalid, not_found, out_of_scope, stale, taken
from crossdock_hub.replacing import replace
from crossdock_hub.unit import Key, NotYet, Refused, Unit


@dataclass(frozen=True, slots=True)
class Kind:
    """How an object is kept. root_field: the field that names the order it belongs to, or ""."""

    name: str
    first_state: str = ""
    root_field: str = ""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("order", "CREATED"),
        Kind("inventory_reservation", "CREATED", "order_id"),
        Kind("fulfillment_request", "REQUESTED", "order_id"),
        Kind("shipment", "PACKED", "order_id"),
        Kind("label", "CREATED", "order_id"),
        Kind("customer_return", "INITIATED", "order_id"),
        Kind("delivery_confirmation", "REPORTED", "order_id"),
        Kind("freight_charge", "ESTIMATED", "order_id"),
        Kind("item"),
        Kind("customer"),
        Kind("location"),
        Kind("carrier_account"),
        Kind("unit_conversion"),
    )
}
# What everything else refers to: it has no states, belongs to nothing, and never goes away.
MASTER_DATA = frozenset(
    kind.name for kind in KINDS.values() if not (kind.first_state or kind.root_field)
)
# What belongs to an order, or to nothing.
_OF_ROOTS = tuple(kind.name for kind in KINDS.values() if kind.root_field)


def stamp(target: Timestamp, microseconds: int) -> None:
    """Write microseconds since the epoch into a Timestamp."""
    target.seconds, rest = divmod(microseconds, 1_000_000)
    target.nanos = rest * 1000


def microseconds(time: Timestamp) -> int:
    """Microseconds since the epoch of a Timestamp."""
    return time.seconds * 1_000_000 + time.nanos // 1000


def instant_of(time: types_pb2.SourceTime) -> int | None:
    """The instant of a source's time in microseconds; None when it is not known."""
    return microseconds(time.instant) if time.HasField("instant") else None


def is_older(time: types_pb2.SourceTime, known: types_pb2.SourceTime | None) -> bool:
    """True when both say when they were, and the first was before the second: by their instants, or
    by the clock of the place where one of them has none."""
    if known is None:
        return False
    reported, newest = instant_of(time), instant_of(known)
    if reported is not None and newest is not None:
        return reported < newest
    return _is_one_clock(time, known) and time.local < known.local


def is_same_time(one: types_pb2.SourceTime, other: types_pb2.SourceTime) -> bool:
    """Whether two times are one: by their instants, or by the clock of the place where one of them
    has none; also where neither says when."""
    first, second = instant_of(one), instant_of(other)
    if first is not None and second is not None:
        return first == second
    unsaid = first is None and second is None and not (one.local or other.local)
    return unsaid or (_is_one_clock(one, other) and one.local == other.local)


def _is_one_clock(one: types_pb2.SourceTime, other: types_pb2.SourceTime) -> bool:
    """Whether both tell local time of a place, whose zone is found or not; what a source gave with
    an offset may be of another clock, such as that of UTC."""
    times = (one, other)
    return all(each.local and each.zone != types_pb2.TIME_ZONE_SOURCE_GIVEN for each in times)


@dataclass(frozen=True, slots=True)
class _States:
    """The states of a message type without their enum's prefix."""

    names: Mapping[int, str]
    numbers: Mapping[str, int]


# Asked for with each write; what a descriptor is asked is made anew each time.
_STATES: dict[type[Message], _States | None] = {}


def _states(message: Message) -> _States | None:
    """The states of a message's type; None: it has none."""
    kind = type(message)
    if kind not in _STATES:
        _STATES[kind] = _states_of(message.DESCRIPTOR.fields_by_name.get("state"))
    return _STATES[kind]


def _states_of(field: Any) -> _States | None:
    if field is None or field.enum_type is None:
        return None
    values = field.enum_type.values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    names = {value.number: value.name.removeprefix(prefix) for value in values}
    return _States(names, {name: number for number, name in names.items()})


def state_name(message: Any) -> str:
    """The state of an object without its enum's prefix; "" for objects without states."""
    states = _states(message)
    return "" if states is None else states.names[message.state]


def set_state(message: Any, state: str) -> None:
    """Set the state of an object by its name without prefix."""
    states = _states(message)
    if states is None:
        raise TypeError(f"{message.DESCRIPTOR.full_name} has no states")
    message.state = states.numbers[state]


def clone(message: Any) -> Any:
    """A copy that may be changed; stored messages are shared and must not be."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def read_family(unit: Unit, root_id: str, *also: Key) -> None:
    """Ask at once for all that most decisions about an order's objects need, and for `also`."""
    wanted: list[Key] = [("flow", root_id), ("object", "order", root_id), *also]
    wanted += [("children", kind, root_id) for kind in ("fulfillment_request", "shipment")]
    unit.require(wanted)


def in_scope(unit: Unit, message: Message) -> bool:
    """True when the caller's scope covers the object."""
    return unit.caller.scope.covers(unit.contract.scopes(message))


def check_scope(unit: Unit, message: Message) -> None:
    """Refuse what the caller would write outside its scope. Raises Refused with OUT_OF_SCOPE."""
    scope = unit.caller.scope
    if scope.is_everything:
        return
    for dimension, values in unit.contract.scopes(message).items():
        if not scope.covers({dimension: values}):
            raise out_of_scope(dimension, min(values))


def check_carrier(unit: Unit, carrier_code: str) -> None:
    """Refuse what is said for a carrier outside the caller's scope, before anything is held.

    Raises Refused with OUT_OF_SCOPE.
    """
    carriers = unit.caller.scope.carrier_codes
    if carriers and carrier_code not in carriers:
        raise out_of_scope("CARRIER", carrier_code)


def fetch(unit: Unit, kind: str, object_id: str) -> ObjectRecord:
    """An object that the caller may see. Raises Refused with OBJECT_NOT_FOUND."""
    record = unit.object(kind, object_id)
    if record is None or not in_scope(unit, record.message):
        raise not_found(kind, object_id)
    return record


def fetch_for_fact(unit: Unit, kind: str, object_id: str, *, number: str = "") -> ObjectRecord:
    """An object that a fact is about, by id or by number.

    Raises NotYet when it does not exist: the fact is held until it does. Outside the caller's
    scope it is as if it did not exist, and is refused.
    """
    record = unit.object(kind, object_id) if object_id else unit.by_number(kind, number)
    value = object_id or number
    if record is None:
        raise NotYet(not_found(kind, value).refusal, f"{kind}:{value}")
    if not in_scope(unit, record.message):
        raise not_found(kind, value)
    return record


def create(
    unit: Unit,
    kind: str,
    message: Any,
    *,
    prefix: str,
    references: Sequence[types_pb2.ExternalReference] = (),
    fact: bool = False,
    fill: Callable[[Any], None] | None = None,
    state: str = "",
) -> ObjectRecord:
    """Store a new object: owners, references, number, then the hub's own fields.

    fill: sets what the hub derives, after ownership was checked on what the caller sent. state: in
    which it begins; "": in the first of its kind.
    """
    resource = unit.contract.resources[kind]
    check_written(resource, message, unit.caller, prefix)
    stored = clone(message)
    if fill is not None:
        fill(stored)
    check_scope(unit, stored)
    number = number_of(resource, stored)
    also: list[Key] = [("reference", r.system, r.type, r.value) for r in references]
    by_number: list[Key] = []
    if number is not None:
        by_number = [("number", kind, number), ("archived", number_key(kind, number))]
    check_references(unit, stored, prefix, fact=fact, also=[*also, *by_number])
    if number is not None:
        known, part = map(unit.get, by_number)
        if known is not None:
            raise taken(kind, "number", number, known)
        if part is not None:
            raise archived(f"{kind.replace('_', ' ')} {number}", part)
    stored.id = unit.new_id()
    _add_reference_list(unit, kind, stored, references)
    return _first_record(unit, resource, stored, number, state or KINDS[kind].first_state)


def _first_record(
    unit: Unit, resource: Resource, stored: Any, number: str | None, state: str
) -> ObjectRecord:
    """Revision 1 of an object, with the hub's own fields, kept."""
    kind = resource.kind
    spec = KINDS[kind]
    if state:
        set_state(stored, state)
    root_id = getattr(stored, spec.root_field, "") if spec.root_field else ""
    root_id = root_id or stored.id
    record = ObjectRecord(
        kind,
        stored.id,
        stored,
        revision=1,
        state=state,
        number=number,
        root_id=root_id,
        partition=partition_of(root_id),
        created_at=unit.now,
        updated_at=unit.now,
    )
    stored.revision = 1
    stamp(stored.create_time, unit.now)
    stamp(stored.update_time, unit.now)
    if root_id == stored.id:
        _know_no_family(unit, stored.id)
    unit.put_object(record)
    return record


def _know_no_family(unit: Unit, root_id: str) -> None:
    """A new root has no children and no deliveries; saying so saves the batch a read."""
    stored: dict[Key, Any] = {("children", kind, root_id): () for kind in _OF_ROOTS}
    stored["flow", root_id] = ()
    unit.learn(stored)


def change(unit: Unit, record: ObjectRecord, edit: Callable[[Any], None]) -> ObjectRecord:
    """A changed copy of an object with the next revision, stored. `edit` changes the copy."""
    message = clone(record.message)
    edit(message)
    message.revision = record.revision + 1
    stamp(message.update_time, unit.now)
    changed = replace(
        record,
        message=message,
        revision=record.revision + 1,
        state=state_name(message),
        updated_at=unit.now,
    )
    unit.put_object(changed)
    return changed


def update(
    unit: Unit,
    kind: str,
    patch: Any,
    mask: Sequence[str],
    expected_revision: int | None,
    *,
    prefix: str,
    fact: bool = False,
) -> tuple[ObjectRecord, ObjectRecord, list[str]]:
    """Change the masked fields of an object. Returns (before, after, changed fields).

    The merged object is validated, not the patch. Nothing changes, not even the revision, when
    every masked field already has its value. fact: held, not refused, for a missing reference.
    """
    resource = unit.contract.resources[kind]
    fields = mask_fields(resource, mask)
    check_owner(resource, fields, unit.caller, prefix)
    before = fetch(unit, kind, patch.id)
    if expected_revision is not None and expected_revision != before.revision:
        raise stale(kind, expected_revision, before.revision)
    merged = clone(before.message)
    apply_mask(merged, patch, fields)
    changed = [name for name in fields if not _same_field(merged, before.message, name)]
    if not changed:
        return before, before, []
    check_valid(unit, resource, merged, prefix)
    check_scope(unit, merged)
    check_references(unit, merged, prefix, fact=fact, fields=set(changed))
    after = change(unit, before, lambda message: apply_mask(message, patch, changed))
    return before, after, changed


def apply_mask(target: Any, patch: Any, fields: Sequence[str]) -> None:
    """Copy the named first-level fields; what is unset in the patch is cleared."""
    for name in fields:
        target.ClearField(name)
    part = type(patch)()
    part.CopyFrom(patch)
    for descriptor, _ in patch.ListFields():
        if descriptor.name not in fields:
            part.ClearField(descriptor.name)
    target.MergeFrom(part)


def _same_field(left: Message, right: Message, name: str) -> bool:
    field = left.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and left.HasField(name) != right.HasField(name):
        return False
    return bool(getattr(left, name) == getattr(right, name))


def check_valid(unit: Unit, resource: Resource, message: Message, prefix: str) -> None:
    """Validate a merged object by the contract's rules. Raises Refused with INVALID_FIELD."""
    violations = unit.contract.validate(resource.message_name, message.SerializeToString())
    if violations:
        raise invalid(
            [replace(v, field=f"{prefix}.{v.field}" if v.field else prefix) for v in violations]
        )


def number_of(resource: Resource, message: Any) -> str | None:
    """The object's natural number; None when the kind has none or it is unset."""
    return (message.number or None) if "number" in resource.fields else None


def upsert(
    unit: Unit,
    kind: str,
    patch: Any,
    mask: Sequence[str],
    references: Sequence[types_pb2.ExternalReference],
    expected_revision: int | None,
    *,
    prefix: str,
) -> tuple[ObjectRecord, bool, bool]:
    """Create master data by its number, or change the masked fields: (record, created, changed).

    On a create only the masked fields are taken; the number always is. Raises NotYet when the
    caller knows something about an object that its owner has not told of yet.
    """
    resource = unit.contract.resources[kind]
    known = unit.by_number(kind, patch.number)
    if known is None:
        fields = mask_fields(resource, mask)
        check_owner(resource, fields, unit.caller, prefix)
        if unit.caller.role not in (resource.fields["number"].owner, HUB_ROLE):
            raise NotYet(not_found(kind, patch.number).refusal, f"{kind}:{patch.number}")
        message = type(patch)()
        apply_mask(message, patch, [*fields, "number"])
        check_valid(unit, resource, message, prefix)
        record = create(unit, kind, message, prefix=prefix, references=references, fact=True)
        return record, True, True
    target = clone(patch)
    target.id = known.id
    _, after, changed = update(
        unit, kind, target, mask, expected_revision, prefix=prefix, fact=True
    )
    fresh = [r for r in references if not _has_reference(after.message, r)]
    if fresh:
        after = change(unit, after, lambda m: _add_reference_list(unit, kind, m, fresh))
    return after, False, bool(changed or fresh)


def _has_reference(message: Any, reference: types_pb2.ExternalReference) -> bool:
    return any(known == reference for known in message.references)


def _add_reference_list(
    unit: Unit, kind: str, message: Any, references: Sequence[types_pb2.ExternalReference]
) -> None:
    keys = [(r.system, r.type, r.value) for r in references]
    if keys:
        add_references(unit, kind, message.id, keys)
    for reference in references:
        if not _has_reference(message, reference):
            message.references.append(reference)


def with_references(
    unit: Unit, record: ObjectRecord, keys: Sequence[tuple[str, str, str]]
) -> ObjectRecord:
    """Add (system, type, value) keys to an object, in the cross reference and on the object.

    Raises Refused with REFERENCE_TAKEN. An object that has them all already is not changed.
    """
    references = [types_pb2.ExternalReference(system=s, type=t, value=v) for s, t, v in keys]
    fresh = [r for r in references if not _has_reference(record.message, r)]
    if not fresh:
        return record
    return change(
        unit, record, lambda message: _add_reference_list(unit, record.kind, message, fresh)
    )


__all__ = [
    "KINDS",
    "Refused",
    "apply_mask",
    "change",
    "check_valid",
    "clone",
    "create",
    "fetch",
    "fetch_for_fact",
    "in_scope",
    "instant_of",
    "microseconds",
    "set_state",
    "stamp",
    "state_name",
    "update",
    "upsert",
    "with_references",
]
