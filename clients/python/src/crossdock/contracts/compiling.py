"""Compiles the options of an image into rules, and refuses a contract whose rules do not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from crossdock.contracts.image import Image
from crossdock.contracts.rules import Event, FieldRule, Method, Resource, Target

ROLE_PREFIX = "SYSTEM_ROLE_"
_IDEMPOTENCY = ("UNKNOWN", "NO_SIDE_EFFECTS", "IDEMPOTENT")


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything compiled from an image, before it is checked."""

    image: Image
    resources: Mapping[str, Resource]
    events: Mapping[str, Event]
    methods: Mapping[str, Method]
    roles: Mapping[str, int]


def compile_rules(image: Image) -> Rules:
    """Reads every option once. Raises nothing: what is wrong is found by `checks.findings`.

    resources are keyed by message name here, because a kind may be missing or given twice.
    """
    resources: dict[str, Resource] = {}
    events: dict[str, Event] = {}
    for kind in image.messages():
        if image.option(kind, "resource") is not None:
            resources[kind.full_name] = _resource(image, kind)
    for kind in image.messages():
        if image.option(kind, "event") is not None:
            events[kind.full_name] = _event(image, kind, resources)
    methods = {
        method.full_name: method
        for file in image.files
        for service in file.services_by_name.values()
        for method in (_method(image, entry, resources) for entry in service.methods)
    }
    roles = image.pool.FindEnumTypeByName("crossdock.options.v1.SystemRole")
    numbers = {value.name.removeprefix(ROLE_PREFIX): value.number for value in roles.values}
    return Rules(
        image=image,
        resources=MappingProxyType(resources),
        events=MappingProxyType(events),
        methods=MappingProxyType(methods),
        roles=MappingProxyType(numbers),
    )


def field_rule(image: Image, field: FieldDescriptor, default_owner: str = "") -> FieldRule:
    """The rule of one field; `default_owner` is the resource's, for first-level fields."""
    owner = image.option(field, "owner")
    scope = image.option(field, "scope") or 0
    return FieldRule(
        name=field.name,
        number=field.number,
        owner=default_owner if owner is None else _role(image, owner),
        sensitive=bool(image.option(field, "sensitive")),
        refers_to=image.option(field, "refers_to") or "",
        scope=image.enum_name("ScopeDimension", scope, "SCOPE_DIMENSION_"),
        repeated=field.is_repeated,
        position=image.position(field.full_name),
    )


def _role(image: Image, number: int) -> str:
    return image.enum_name("SystemRole", number, ROLE_PREFIX)


def _resource(image: Image, kind: Descriptor) -> Resource:
    option = image.option(kind, "resource")
    owner = _role(image, option.owner)
    fields = {field.name: field_rule(image, field, owner) for field in kind.fields}
    return Resource(
        message_name=kind.full_name,
        kind=option.kind,
        owner=owner,
        business_owner=option.business_owner,
        master_data=option.master_data,
        fields=MappingProxyType(fields),
        position=image.position(kind.full_name),
    )


def _event(image: Image, kind: Descriptor, resources: Mapping[str, Resource]) -> Event:
    option = image.option(kind, "event")
    version = kind.file.package.rsplit(".", 1)[-1]
    held = _resource_fields(kind, resources)
    return Event(
        type=kind.full_name,
        stem=option.subject,
        version=version,
        cloud_event_type=f"dev.crossdock.{option.subject}.{version}",
        producers=frozenset(_role(image, number) for number in option.producers),
        targets=tuple(_target(image, target) for target in option.targets),
        business_owner=option.business_owner,
        latency_class=image.enum_name("LatencyClass", option.latency_class, "LATENCY_CLASS_"),
        criticality=image.enum_name("Criticality", option.criticality, "CRITICALITY_"),
        milestone=option.milestone,
        retention=timedelta(
            seconds=option.retention.seconds, microseconds=option.retention.nanos // 1000
        ),
        replay_policy=image.enum_name("ReplayPolicy", option.replay_policy, "REPLAY_POLICY_"),
        object_field=held[0] if held else "",
        position=image.position(kind.full_name),
    )


def _target(image: Image, target: Any) -> Target:
    return Target(
        role=_role(image, target.role),
        operation=target.operation,
        ordering_key=target.ordering_key,
        requires=tuple(target.requires),
        on_reject=image.enum_name("OnReject", target.on_reject, "ON_REJECT_") or "BLOCK",
        supersedes=tuple(target.supersedes),
        item=target.item,
        optional=target.optional,
        # An image of before the option says nothing about it.
        own_fact=getattr(target, "own_fact", False),
    )


def _method(image: Image, entry: MethodDescriptor, resources: Mapping[str, Resource]) -> Method:
    service = entry.containing_service.full_name
    request = entry.input_type
    entries_field, write = _write(request)
    fields = write.fields_by_name
    callers = image.option(entry, "callers") or ()
    options: Any = image.options(entry)
    held = _resource_fields(write, resources)
    return Method(
        full_name=f"/{service}/{entry.name}",
        service=service,
        name=entry.name,
        request_type=request.full_name,
        response_type=entry.output_type.full_name,
        write_type=write.full_name,
        entries_field=entries_field,
        callers=frozenset(_role(image, number) for number in callers),
        fact=bool(image.option(entry, "fact")),
        mutating="request_id" in fields,
        has_update_mask="update_mask" in fields,
        has_expected_revision="expected_revision" in fields,
        resource_field=held[0] if held else "",
        client_streaming=entry.client_streaming,
        server_streaming=entry.server_streaming,
        idempotency=_IDEMPOTENCY[options.idempotency_level],
        position=image.position(entry.full_name),
    )


def _write(request: Descriptor) -> tuple[str, Descriptor]:
    """The message that carries request_id, and the list it is in where it is not the request."""
    if "request_id" not in request.fields_by_name:
        for field in request.fields:
            entry = field.message_type
            if field.is_repeated and entry is not None and "request_id" in entry.fields_by_name:
                return field.name, entry
    return "", request


def _resource_fields(kind: Descriptor, resources: Mapping[str, Resource]) -> list[str]:
    return [
        field.name
        for field in kind.fields
        if field.message_type is not None and field.message_type.full_name in resources
    ]
