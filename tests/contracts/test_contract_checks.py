"""The contract holds, and each rule that lint cannot check is refused with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from crossdock import contracts, errors
from google.protobuf import descriptor_pb2

Spoil = Callable[[str, str, str], tuple[str, ...]]

ORDER = "order/v1/order.proto"
ORDER_EVENTS = "order/v1/order_events.proto"
ORDER_SERVICE = "order/v1/order_service.proto"
SHIPMENT_EVENTS = "shipment/v1/shipment_events.proto"

SPOILED = [
    # file, what stands there, what the test writes, what has to be said
    (ORDER, "    owner: SYSTEM_ROLE_OMS\n", "", "Order has no owner"),
    (ORDER, '    business_owner: "order-desk"\n', "", "Order has no business_owner"),
    (ORDER, '    kind: "order"\n', '    kind: "shipment"\n', "repeats kind 'shipment'"),
    (ORDER, '    kind: "order"\n', '    kind: "An Order"\n', "a lower-case word is needed"),
    (
        ORDER,
        "string id = 1 [(crossdock.options.v1.owner) = SYSTEM_ROLE_HUB];",
        "string id = 1;",
        "Order.id needs owner HUB",
    ),
    (
        ORDER,
        '(crossdock.options.v1.refers_to) = "customer"',
        '(crossdock.options.v1.refers_to) = "client"',
        "refers to 'client', which is no resource",
    ),
    (
        ORDER,
        '(crossdock.options.v1.refers_to) = "customer"',
        '(crossdock.options.v1.refers_to) = "shipment"',
        "refers to 'shipment' by number, but that is no master data",
    ),
    (
        ORDER,
        "crossdock.types.v1.Quantity quantity = 3 [\n",
        "crossdock.types.v1.Quantity quantity = 3 [(crossdock.options.v1.owner) = "
        "SYSTEM_ROLE_OMS,\n",
        "only first-level fields of a resource are owned",
    ),
    (ORDER_EVENTS, '    subject: "order.approved"\n', "", "has subject ''"),
    (
        ORDER_EVENTS,
        'subject: "order.released"',
        'subject: "order.approved"',
        "shares subject 'order.approved' with crossdock.order.v1.OrderApproved",
    ),
    (ORDER_EVENTS, "    producers: [SYSTEM_ROLE_OMS]\n", "", "needs producers"),
    (
        ORDER_EVENTS,
        "producers: [SYSTEM_ROLE_OMS]",
        "producers: [SYSTEM_ROLE_ANALYTICS]",
        "names producer ANALYTICS, which owns no field of crossdock.order.v1.Order",
    ),
    (ORDER_EVENTS, "    latency_class: LATENCY_CLASS_REAL_TIME\n", "", "has no latency_class"),
    (ORDER_EVENTS, "    criticality: CRITICALITY_HIGH\n", "", "has no criticality"),
    (ORDER_EVENTS, "    retention: {seconds: 34560000}\n", "", "has no retention"),
    (
        ORDER_EVENTS,
        "    replay_policy: REPLAY_POLICY_UNCONFIRMED_ONLY\n",
        "",
        "has no replay_policy",
    ),
    (ORDER_EVENTS, "    milestone: true\n", "", "targets an ERP without being a milestone"),
    (
        ORDER_EVENTS,
        'ordering_key: "order.id"',
        'ordering_key: "order.lines.item_number"',
        "ordering_key 'order.lines.item_number', which names no single string",
    ),
    (
        ORDER_EVENTS,
        'operation: "create_sales_order"',
        'operation: "Create"',
        "needs an operation, a lower-case word",
    ),
    (
        ORDER_EVENTS,
        'requires: ["create_sales_order"]',
        'requires: ["create_order"]',
        "requires 'create_order', which no event asks of ERP",
    ),
    (
        SHIPMENT_EVENTS,
        'supersedes: ["post_goods_issue"]',
        'supersedes: ["post_goods"]',
        "supersedes 'post_goods', which no event asks of ERP",
    ),
    (
        SHIPMENT_EVENTS,
        'item: "shipment.packages"',
        'item: "shipment.postings"',
        "item 'shipment.postings', which names no list of messages with an id",
    ),
    (
        ORDER_EVENTS,
        "crossdock.event.v1.EventMetadata metadata = 1;",
        "crossdock.event.v1.EventMetadata metadata = 9;",
        "needs EventMetadata as field 1",
    ),
    (
        ORDER_SERVICE,
        "    option idempotency_level = IDEMPOTENT;\n",
        "",
        "has no idempotency_level",
    ),
    (
        ORDER_SERVICE,
        "    option (crossdock.options.v1.callers) = SYSTEM_ROLE_OMS;\n  }",
        "  }",
        "has no callers",
    ),
    (
        ORDER_SERVICE,
        "string request_id = 1 [(buf.validate.field).string.uuid = true];",
        "string request_id = 1;",
        "request_id needs the rule string.uuid",
    ),
    (
        ORDER_SERVICE,
        "string request_id = 1 [(buf.validate.field).string.uuid = true];",
        "string id = 1 [(buf.validate.field).string.uuid = true];",
        "changes something, but has no request_id",
    ),
    (
        ORDER_SERVICE,
        "google.protobuf.FieldMask update_mask = 3;",
        "repeated string update_mask = 3;",
        "needs update_mask, a google.protobuf.FieldMask",
    ),
    (
        ORDER_SERVICE,
        "optional int64 expected_revision = 4;",
        "int64 expected_revision = 4;",
        "needs optional int64 expected_revision",
    ),
    (
        ORDER_SERVICE,
        "Order order = 2 [(buf.validate.field).ignore = IGNORE_ALWAYS];",
        "Order order = 2;",
        "is merged before it is validated: IGNORE_ALWAYS",
    ),
]


def test_the_contract_holds(contract: contracts.Contract) -> None:
    """Proves that proto/ compiles into rules without a finding, validation expressions included."""
    contract.warm()
    assert set(contract.resources) >= {"order", "shipment", "label", "item", "customer", "location"}
    assert len(contract.events) >= 17


@pytest.mark.parametrize(("file", "old", "new", "said"), SPOILED, ids=[row[3] for row in SPOILED])
def test_a_wrong_option_is_refused_with_file_and_line(
    findings_after: Spoil, file: str, old: str, new: str, said: str
) -> None:
    """Proves that a wrong or missing option stops the build and says where."""
    found = [finding for finding in findings_after(file, old, new) if said in finding]
    assert found, f"nobody said {said!r}"
    assert re.match(rf"proto/crossdock/{re.escape(file)}:\d+: ", found[0])


def test_every_finding_is_told_at_once(proto_tree, findings_after: Spoil) -> None:
    """Proves that one run names all mistakes, at the exact lines."""
    proto_tree.replace(ORDER_EVENTS, "    milestone: true\n", "")
    found = findings_after(ORDER, '(crossdock.options.v1.refers_to) = "item"', _NO_KIND)
    assert len(found) == 2
    line = proto_tree.line_of(ORDER, "string item_number = 2")
    assert found[0].startswith(f"proto/crossdock/{ORDER}:{line}: ")


_NO_KIND = '(crossdock.options.v1.refers_to) = "article"'


def test_a_validation_expression_that_does_not_compile_is_named(proto_tree) -> None:
    """Proves that warming refuses broken CEL with file and line of the message."""
    proto_tree.replace(ORDER, "this.lines.map(l, l.line_number).unique()", "this.nothing.unique()")
    broken = contracts.Contract(proto_tree.compile())
    with pytest.raises(contracts.ContractError, match=rf"proto/crossdock/{ORDER}:\d+: "):
        broken.warm()


def test_positions_come_from_the_side_file_too(image: bytes, contract: contracts.Contract) -> None:
    """Proves that an image without source info quotes the same lines through its positions."""
    stripped = descriptor_pb2.FileDescriptorSet.FromString(image)
    for file in stripped.file:
        file.ClearField("source_code_info")
    positions = contracts.positions_in(image)
    bare = contracts.Contract(stripped.SerializeToString(), positions)
    name = "crossdock.order.v1.Order.carrier_code"
    assert bare.position(name) == contract.position(name)
    assert re.fullmatch(r"proto/crossdock/order/v1/order\.proto:\d+", bare.position(name))


def test_the_packaged_contract_is_the_one_in_proto(contract: contracts.Contract) -> None:
    """Proves that the image shipped with the client says what proto/ says."""
    assert contracts.diff(contracts.load().image.data, contract.image.data) == []


def test_each_error_reason_has_its_code(image: bytes) -> None:
    """Proves that the code table and the comments of error_reason.proto agree."""
    files = descriptor_pb2.FileDescriptorSet.FromString(image).file
    file = next(f for f in files if f.name == "crossdock/error/v1/error_reason.proto")
    comments = {tuple(p.path): p.leading_comments for p in file.source_code_info.location}
    codes = {}
    for index, value in enumerate(file.enum_type[0].value):
        if value.number:
            comment = comments[5, 0, 2, index].strip()
            codes[value.name.removeprefix("ERROR_REASON_")] = re.split(r"[.\s]", comment)[0]
    assert {reason: code.name for reason, code in errors.CODES.items()} == codes
