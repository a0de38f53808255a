"""What a compiler of protobuf cannot check: whether the rules of the contract make sense together.

Each check yields findings, "proto/…/x.proto:12: what is wrong and what to do", so that one run of
the build names all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from crossdock.contracts.compiling import Rules
from crossdock.contracts.image import EVENT_METADATA
from crossdock.contracts.paths import field_at
from crossdock.contracts.rules import Event, Method, Resource, Target

# Their writes are fenced by tokens, attempt ids and compare-and-set instead of request ids.
FENCED_PACKAGES = frozenset({"crossdock.delivery.v1", "crossdock.endpoint.v1"})

_RULES = "buf.validate.field"
_IGNORE_ALWAYS = 3
_STEM = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_WORD = re.compile(r"[a-z][a-z0-9_]*")
_HUB = "HUB"


def findings(rules: Rules) -> tuple[str, ...]:
    """Everything wrong with the rules, in the order of the files; empty: they hold."""
    found = [
        *_resource_findings(rules),
        *_field_findings(rules),
        *_event_findings(rules),
        *_method_findings(rules),
    ]
    return tuple(dict.fromkeys(found))


def _resource_findings(rules: Rules) -> Iterator[str]:
    kinds: dict[str, Resource] = {}
    for resource in rules.resources.values():
        at = f"{resource.position}: {resource.message_name}"
        if not resource.owner:
            yield f"{at} has no owner; give its resource option a role"
        if not resource.business_owner:
            yield f"{at} has no business_owner"
        if not _WORD.fullmatch(resource.kind):
            yield f"{at} has kind {resource.kind!r}; a lower-case word is needed"
        elif resource.kind in kinds:
            first = kinds[resource.kind]
            yield f"{at} repeats kind {resource.kind!r} of {first.message_name}, {first.position}"
        kinds.setdefault(resource.kind, resource)
        needed = ["id", *(["number"] if resource.master_data else [])]
        for name in needed:
            if name not in resource.fields:
                yield f"{at} has no field {name!r}"
        for name in ("id", "revision"):
            rule = resource.fields.get(name)
            if rule is not None and rule.owner != _HUB:
                yield f"{rule.position}: {resource.message_name}.{name} needs owner HUB, its maker"


def _field_findings(rules: Rules) -> Iterator[str]:
    image = rules.image
    kinds = {resource.kind: resource for resource in rules.resources.values()}
    for kind in image.messages():
        for field in kind.fields:
            at = f"{image.position(field.full_name)}: {field.full_name}"
            owner = image.option(field, "owner")
            if owner is not None and kind.full_name not in rules.resources:
                yield f"{at} has an owner, but only first-level fields of a resource are owned"
            if owner is not None and not image.enum_name("SystemRole", owner, ""):
                yield f"{at} has an owner that is no role"
            if image.option(field, "scope") is not None and not _is_text(field):
                yield f"{at} decides a scope, but is not a string"
            refers_to = image.option(field, "refers_to")
            if refers_to is not None:
                yield from _reference_findings(at, field, refers_to, kinds)


def _reference_findings(
    at: str, field: FieldDescriptor, kind: str, kinds: dict[str, Resource]
) -> Iterator[str]:
    if kind not in kinds:
        yield f"{at} refers to {kind!r}, which is no resource; known: {', '.join(sorted(kinds))}"
    elif reference_by(field) == "number" and not kinds[kind].master_data:
        yield f"{at} refers to {kind!r} by number, but that is no master data"
    if not reference_by(field) or not _is_text(field):
        yield f"{at} refers to {kind!r}: it has to be a string named …_number or …_id"


def reference_by(field: FieldDescriptor) -> str:
    """How a field names another object: "number", "id", or "" when its name does not say."""
    for by in ("number", "id"):
        if field.name in (by, f"{by}s") or field.name.endswith((f"_{by}", f"_{by}s")):
            return by
    return ""


def _is_text(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING


def _event_findings(rules: Rules) -> Iterator[str]:
    image = rules.image
    stems: dict[str, Event] = {}
    for kind in image.messages():
        event = rules.events.get(kind.full_name)
        first = kind.fields_by_number.get(1)
        carries = (
            first is not None
            and first.message_type is not None
            and first.message_type.full_name == EVENT_METADATA
        )
        at = f"{image.position(kind.full_name)}: {kind.full_name}"
        events_file = kind.file.name.endswith("_events.proto") and kind.containing_type is None
        if event is None:
            if events_file:
                yield f"{at} is in a file of events, but has no event option"
            continue
        if not carries:
            yield f"{at} needs EventMetadata as field 1"
        if event.stem in stems:
            other = stems[event.stem]
            yield f"{at} shares subject {event.stem!r} with {other.type}, {other.position}"
        stems.setdefault(event.stem, event)
        yield from _event_option_findings(at, event)
        yield from _producer_findings(rules, at, event, kind)
        for target in event.targets:
            yield from _target_findings(rules, at, event, target, kind)


def _event_option_findings(at: str, event: Event) -> Iterator[str]:
    if not _STEM.fullmatch(event.stem):
        yield f"{at} has subject {event.stem!r}; '<object>.<event>' in lower case is needed"
    for name in ("business_owner", "latency_class", "criticality", "replay_policy"):
        if not getattr(event, name):
            yield f"{at} has no {name}"
    if event.retention.total_seconds() <= 0:
        yield f"{at} has no retention"
    if not event.producers or "" in event.producers:
        yield f"{at} needs producers, each a role"
    offered = [(target.role, target.operation) for target in event.targets]
    for role, operation in sorted({pair for pair in offered if offered.count(pair) > 1}):
        yield f"{at} targets {role} {operation!r} twice"
    if not event.milestone and any(target.role == "ERP" for target in event.targets):
        yield f"{at} targets an ERP without being a milestone"


def _producer_findings(rules: Rules, at: str, event: Event, kind: Descriptor) -> Iterator[str]:
    held = [
        rules.resources[field.message_type.full_name]
        for field in kind.fields
        if field.message_type is not None and field.message_type.full_name in rules.resources
    ]
    if not held:
        yield f"{at} holds no resource: an event carries the object it is about"
        return
    owners = {rule.owner for resource in held for rule in resource.fields.values()}
    for role in sorted(event.producers - owners - {_HUB, ""}):
        yield f"{at} names producer {role}, which owns no field of {held[0].message_name}"


def _target_findings(
    rules: Rules, at: str, event: Event, target: Target, kind: Descriptor
) -> Iterator[str]:
    where = f"{at}: target {target.role or '(no role)'} {target.operation!r}"
    if not target.role:
        yield f"{where} has no role"
    if not _WORD.fullmatch(target.operation):
        yield f"{where} needs an operation, a lower-case word"
    key = field_at(kind, target.ordering_key)
    if not key or not _is_text(key[-1]) or any(field.is_repeated for field in key):
        yield f"{where} has ordering_key {target.ordering_key!r}, which names no single string"
    if target.item:
        item = field_at(kind, target.item)
        if not item or not _is_item_list(item):
            yield f"{where} has item {target.item!r}, which names no list of messages with an id"
    known = {
        other.operation
        for each in rules.events.values()
        for other in each.targets
        if other.role == target.role
    }
    for word, operations in (("requires", target.requires), ("supersedes", target.supersedes)):
        for operation in operations:
            if operation not in known:
                yield f"{where} {word} {operation!r}, which no event asks of {target.role}"
            elif operation == target.operation:
                yield f"{where} {word} itself"


def _is_item_list(path: tuple[FieldDescriptor, ...]) -> bool:
    *way, last = path
    return (
        last.is_repeated
        and last.message_type is not None
        and "id" in last.message_type.fields_by_name
        and not any(field.is_repeated for field in way)
    )


def _method_findings(rules: Rules) -> Iterator[str]:
    for method in rules.methods.values():
        at = f"{method.position}: {method.service}.{method.name}"
        if not method.callers or "" in method.callers:
            yield f"{at} has no callers; name each role that may call it"
        if method.idempotency == "UNKNOWN":
            yield f"{at} has no idempotency_level"
        if method.fact and not method.mutating and method.idempotency == "NO_SIDE_EFFECTS":
            yield f"{at} reports a fact, but has no side effects"
        yield from _request_findings(rules, at, method)


def _request_findings(rules: Rules, at: str, method: Method) -> Iterator[str]:
    fields = rules.image.pool.FindMessageTypeByName(method.write_type).fields_by_name
    package = method.service.rsplit(".", 1)[0]
    writes = method.idempotency != "NO_SIDE_EFFECTS"
    if writes and "request_id" not in fields and package not in FENCED_PACKAGES:
        yield f"{at}: {method.request_type} changes something, but has no request_id"
    if not writes and "request_id" in fields:
        yield f"{at}: {method.request_type} has request_id, but the method has no side effects"
    if "request_id" in fields:
        constraint = rules.image.extension(fields["request_id"], _RULES)
        if constraint is None or not constraint.string.uuid:
            position = rules.image.position(f"{method.write_type}.request_id")
            yield f"{position}: {method.write_type}.request_id needs the rule string.uuid"
    if method.name.startswith("Update") or method.has_update_mask:
        yield from _update_findings(rules, at, method)


def _update_findings(rules: Rules, at: str, method: Method) -> Iterator[str]:
    request = rules.image.pool.FindMessageTypeByName(method.write_type)
    mask = request.fields_by_name.get("update_mask")
    full_name = "google.protobuf.FieldMask"
    if mask is None or mask.message_type is None or mask.message_type.full_name != full_name:
        yield f"{at}: {method.write_type} needs update_mask, a {full_name}"
    revision = request.fields_by_name.get("expected_revision")
    if revision is None or not revision.has_presence:
        yield f"{at}: {method.write_type} needs optional int64 expected_revision"
    if not method.resource_field:
        yield f"{at}: {method.write_type} holds no resource to update"
        return
    field = request.fields_by_name[method.resource_field]
    constraint = rules.image.extension(field, _RULES)
    if constraint is None or constraint.ignore != _IGNORE_ALWAYS:
        position = rules.image.position(field.full_name)
        yield f"{position}: {field.full_name} is merged before it is validated: IGNORE_ALWAYS"
