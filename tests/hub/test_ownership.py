"""Who may write what: generated over every resource, role and first-level field of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crossdock.options.v1 import options_pb2
from crossdock_hub.identity import HUB, ROLES, Caller
from crossdock_hub.objects.ownership import (
    check_owner,
    check_written,
    mask_fields,
    populated_fields,
)
from crossdock_hub.unit import Refused
from decisions import CONTRACT, refusal_of
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = sorted(CONTRACT.resources)
EVERY_ROLE = sorted(ROLES)


def cells() -> Iterator[tuple[str, str]]:
    """Every field of every resource."""
    for kind in RESOURCES:
        for field in CONTRACT.resources[kind].fields:
            yield kind, field


@pytest.mark.parametrize("kind", RESOURCES)
def test_only_the_owner_writes_a_field(kind: str) -> None:
    """Proves each cell of the matrix: the owner passes, everybody else is refused."""
    resource = CONTRACT.resources[kind]
    for field, rule in resource.fields.items():
        for role in EVERY_ROLE:
            caller = Caller("somebody", role)
            if role == rule.owner:
                check_owner(resource, [field], caller, kind)
                continue
            refusal = refusal_of(lambda: check_owner(resource, [field], caller, kind))  # noqa: B023
            assert refusal.reason == "FIELD_NOT_OWNED"
            assert refusal.metadata["field"] == f"{kind}.{field}"
            assert refusal.metadata["owner"] == rule.owner
            assert refusal.metadata["writer"] == role
            assert refusal.metadata["endpoint"] == "somebody"
            assert refusal.metadata["rule"] == rule.position
        check_owner(resource, [field], HUB, kind)


@pytest.mark.parametrize(("kind", "field"), list(cells()))
def test_looking_for_foreign_fields_finds_each(kind: str, field: str) -> None:
    """Proves that the short look at a new message refuses exactly what the matrix refuses."""
    resource = CONTRACT.resources[kind]
    message: Any = CONTRACT.generated_class(resource.message_name)()
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    if descriptor.message_type is not None:
        value = getattr(message, field)
        value.add() if descriptor.is_repeated else value.SetInParent()
    elif descriptor.is_repeated:
        getattr(message, field).append("x")
    else:
        values = {descriptor.TYPE_STRING: "x", descriptor.TYPE_BYTES: b"x"}
        setattr(message, field, values.get(descriptor.type, 1))
    assert populated_fields(message) == [field]
    for role in EVERY_ROLE:
        caller = Caller("somebody", role)
        if role == resource.fields[field].owner:
            check_written(resource, message, caller, kind)
        else:
            with pytest.raises(Refused) as raised:
                check_written(resource, message, caller, kind)
            assert raised.value.refusal.metadata["field"] == f"{kind}.{field}"
    check_written(resource, message, HUB, kind)


@pytest.mark.parametrize(("kind", "field"), list(cells()))
def test_the_rule_a_refusal_names_is_there(kind: str, field: str) -> None:
    """Proves that file and line of a refusal lead to the field in proto/."""
    path, _, line = CONTRACT.resources[kind].fields[field].position.rpartition(":")
    text = (ROOT / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert f" {field} = " in text


def test_no_caller_can_be_the_hub() -> None:
    """Proves that output fields stay the hub's: no endpoint can be given its role."""
    assert "HUB" not in ROLES
    assert "UNSPECIFIED" not in ROLES
    assert {"SYSTEM_ROLE_" + role for role in ROLES} < set(options_pb2.SystemRole.keys())


def test_hub_fields_are_called_output_only() -> None:
    """Proves that a caller who sends id, revision or state is told that nobody can."""
    resource = CONTRACT.resources["order"]
    refusal = refusal_of(lambda: check_owner(resource, ["id"], Caller("oms", "OMS"), "order"))
    assert "output only" in refusal.message


def test_every_foreign_field_is_listed() -> None:
    """Proves that one refusal shows all that is wrong, not the first of it."""
    resource = CONTRACT.resources["shipment"]
    fields = ["packages", "tracking_number", "carrier_code", "state"]
    refusal = refusal_of(lambda: check_owner(resource, fields, Caller("wms", "WMS"), "shipment"))
    assert [v.field for v in refusal.violations] == [
        "shipment.tracking_number",
        "shipment.carrier_code",
        "shipment.state",
    ]


@given(st.data())
def test_a_write_of_own_fields_passes_whatever_they_are(data: Any) -> None:
    """Proves that any set of fields passes exactly when the role owns each of them."""
    resource = CONTRACT.resources[data.draw(st.sampled_from(RESOURCES))]
    role = data.draw(st.sampled_from(EVERY_ROLE))
    fields = data.draw(st.lists(st.sampled_from(sorted(resource.fields)), unique=True))
    caller = Caller("somebody", role)
    if all(resource.fields[name].owner == role for name in fields):
        check_owner(resource, fields, caller, "x")
    else:
        assert refusal_of(lambda: check_owner(resource, fields, caller, "x"))


# Masks


@pytest.mark.parametrize("kind", RESOURCES)
@pytest.mark.parametrize("path", ["*", "", "no_such_field", "Number", "id.value", "number.x"])
def test_a_mask_that_cannot_be_used_is_refused(kind: str, path: str) -> None:
    """Proves that everything, nothing, nested and unknown paths are refused by name."""
    refusal = refusal_of(lambda: mask_fields(CONTRACT.resources[kind], [path]))
    assert refusal.reason == "MASK_INVALID"
    assert refusal.metadata == {"field": "update_mask"}


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_mask_keeps_its_order_and_names_each_field_once(kind: str) -> None:
    """Proves that a path given twice is one field."""
    resource = CONTRACT.resources[kind]
    names = list(resource.fields)
    assert mask_fields(resource, [*names[::-1], *names]) == names[::-1]
    assert refusal_of(lambda: mask_fields(resource, [])).reason == "MASK_INVALID"


def test_an_explicit_empty_value_counts_as_written() -> None:
    """Proves that presence, not content, is what a create writes."""
    order: Any = CONTRACT.generated_class("crossdock.order.v1.Order")()
    assert populated_fields(order) == []
    order.sales_document = ""
    order.lines.add()
    assert populated_fields(order) == ["lines", "sales_document"]
