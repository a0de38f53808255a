"""Every change of meaning is seen by our diff, every change on the wire by buf."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from crossdock import contracts

ORDER = "order/v1/order.proto"
ORDER_EVENTS = "order/v1/order_events.proto"
ORDER_SERVICE = "order/v1/order_service.proto"
TYPES = "types/v1/types.proto"
CALLER = "    option (crossdock.options.v1.callers) = SYSTEM_ROLE_OMS;\n"

BREAKING = [
    # file, what stands there, what it becomes, element, kind of change
    (
        ORDER,
        "(crossdock.options.v1.owner) = SYSTEM_ROLE_ERP,",
        "(crossdock.options.v1.owner) = SYSTEM_ROLE_OMS,",
        "Order.sales_document",
        "owner_changed",
    ),
    (
        ORDER,
        "    owner: SYSTEM_ROLE_OMS\n",
        "    owner: SYSTEM_ROLE_MARKETPLACE\n",
        "Order.number",
        "owner_changed",
    ),
    (ORDER, "max_len: 64", "max_len: 32", "OrderLine.item_number", "validation_changed"),
    (ORDER, "max_items: 500", "max_items: 400", "Order.lines", "validation_changed"),
    (
        ORDER,
        "string cancel_reason = 21 [",
        "string cancel_reason = 21 [(buf.validate.field).string.max_len = 9,",
        "Order.cancel_reason",
        "validation_added",
    ),
    (
        ORDER,
        '(crossdock.options.v1.refers_to) = "customer",\n',
        "",
        "Order.customer_number",
        "refers_to_removed",
    ),
    (
        TYPES,
        "(crossdock.options.v1.sensitive) = true,",
        "(crossdock.options.v1.sensitive) = false,",
        "types.v1.Address.lines",
        "sensitive_changed",
    ),
    (
        ORDER_EVENTS,
        'subject: "order.approved"',
        'subject: "order.accepted"',
        "OrderApproved",
        "subject_changed",
    ),
    (
        ORDER_EVENTS,
        "producers: [SYSTEM_ROLE_OMS]",
        "producers: [SYSTEM_ROLE_HUB]",
        "OrderApproved",
        "producers_changed",
    ),
    (
        ORDER_EVENTS,
        "LATENCY_CLASS_REAL_TIME",
        "LATENCY_CLASS_SCHEDULED",
        "OrderApproved",
        "latency_class_changed",
    ),
    (
        ORDER_EVENTS,
        "REPLAY_POLICY_UNCONFIRMED_ONLY",
        "REPLAY_POLICY_FREE",
        "OrderApproved",
        "replay_policy_changed",
    ),
    (
        ORDER_EVENTS,
        "retention: {seconds: 34560000}",
        "retention: {seconds: 34559999}",
        "OrderApproved",
        "retention_seconds_changed",
    ),
    (
        ORDER_EVENTS,
        'operation: "record_approval"',
        'operation: "note_approval"',
        "OrderApproved",
        "target_removed",
    ),
    (
        ORDER_EVENTS,
        'ordering_key: "order.id"',
        'ordering_key: "order.number"',
        "OrderApproved",
        "ordering_key_changed",
    ),
    (
        ORDER_EVENTS,
        "on_reject: ON_REJECT_BLOCK",
        "on_reject: ON_REJECT_CONTINUE",
        "OrderApproved",
        "on_reject_changed",
    ),
    (
        ORDER_SERVICE,
        CALLER,
        CALLER.replace("OMS", "CRM"),
        "OrderService.CreateOrder",
        "callers_changed",
    ),
    (
        ORDER_SERVICE,
        "  // The order's keys in other systems.\n",
        "  // Demanded.\n  string desk = 9 [(buf.validate.field).string.min_len = 1];\n"
        "  // The order's keys in other systems.\n",
        "CreateOrderRequest.desk",
        "required_field_added",
    ),
]

REPORTED = [
    (ORDER_EVENTS, "CRITICALITY_HIGH", "CRITICALITY_LOW", "criticality_changed"),
    (ORDER_EVENTS, '"order-desk"', '"order-office"', "business_owner_changed"),
    (ORDER_EVENTS, "seconds: 34560000", "seconds: 34560001", "retention_seconds_changed"),
    (ORDER_EVENTS, "[SYSTEM_ROLE_OMS]", "[SYSTEM_ROLE_OMS, SYSTEM_ROLE_ERP]", "producers_changed"),
    (
        ORDER_SERVICE,
        "  // The order's keys in other systems.\n",
        "  // Optional.\n  string desk = 9 [(buf.validate.field).string.max_len = 9];\n"
        "  // The order's keys in other systems.\n",
        "element_added",
    ),
]

ON_THE_WIRE = [
    (ORDER, "optional string channel = 14", "optional string channel = 44"),
    (ORDER, "optional string channel = 14", "optional string sold_at = 14"),
    (ORDER, "optional string block = 17", "optional int64 block = 17"),
    (ORDER, "  ORDER_STATE_CANCELLED = 7;", "  ORDER_STATE_CALLED_OFF = 7;"),
    (ORDER_SERVICE, "rpc CancelOrder(", "rpc CallOff("),
]


def _kinds(changes: list[contracts.Change], breaking: bool) -> set[tuple[str, str]]:
    return {(change.element, change.kind) for change in changes if change.breaking is breaking}


@pytest.mark.parametrize(
    ("file", "old", "new", "element", "kind"), BREAKING, ids=[f"{r[3]}-{r[4]}" for r in BREAKING]
)
def test_a_change_of_meaning_is_refused(
    proto_tree, image: bytes, file: str, old: str, new: str, element: str, kind: str
) -> None:
    """Proves that what others rely on cannot change without a waiver."""
    proto_tree.replace(file, old, new)
    changes = contracts.diff(image, proto_tree.compile())
    found = {(name.removeprefix("crossdock."), what) for name, what in _kinds(changes, True)}
    assert any(name.endswith(element) and what == kind for name, what in found), found
    assert all(change.position.startswith("proto/crossdock/") for change in changes)


@pytest.mark.parametrize(("file", "old", "new", "kind"), REPORTED)
def test_a_harmless_change_is_only_reported(
    proto_tree, image: bytes, file: str, old: str, new: str, kind: str
) -> None:
    """Proves that additions and what only informs do not break anybody."""
    proto_tree.replace(file, old, new)
    changes = contracts.diff(image, proto_tree.compile())
    assert not _kinds(changes, True)
    assert kind in {what for _, what in _kinds(changes, False)}


def test_nothing_changed_is_no_change(image: bytes) -> None:
    """Proves that the diff of an image with itself is empty."""
    assert contracts.diff(image, image) == []


def test_a_removed_event_is_refused_once(proto_tree, image: bytes) -> None:
    """Proves that an element that went is one change, not one for each of its options."""
    path = proto_tree.root / "proto" / "crossdock" / ORDER_EVENTS
    path.write_text(path.read_text().replace("OrderChanged", "OrderAmended"))
    changes = contracts.diff(image, proto_tree.compile())
    gone = [change for change in changes if change.element == "crossdock.order.v1.OrderChanged"]
    assert [(change.kind, change.breaking) for change in gone] == [("element_removed", True)]


def test_a_waiver_lets_one_change_pass_and_grows_obsolete(proto_tree, image: bytes) -> None:
    """Proves that a waiver counts for its element and change only, and is told when unused."""
    proto_tree.replace(ORDER, "max_len: 64", "max_len: 32")
    changes = contracts.diff(image, proto_tree.compile())
    (change,) = changes
    row = f"| 2026-11-23 | `{change.element}` | {change.kind} | shorter labels | all |"
    other = "| 2026-11-23 | `crossdock.order.v1.Order.block` | owner_changed | moved | finance |"
    head = "# Waivers\n| Date | Element | Change | Reason | Teams told |\n|---|---|---|---|---|\n"
    waivers = contracts.read_waivers(f"{head}{row}\n{other}\n")
    verdict = contracts.judge(changes, waivers)
    assert (verdict.refused, verdict.waived) == ((), (change,))
    assert [waiver.element for waiver in verdict.obsolete] == ["crossdock.order.v1.Order.block"]
    assert contracts.judge(changes, waivers[1:]).refused == (change,)


@pytest.mark.parametrize("row", ["| soon | e | c | r | t |", "| 2026-01-01 | e | c |  | t |"])
def test_a_waiver_without_date_or_reason_is_refused(row: str) -> None:
    """Proves that a waiver has to say since when, why, and who was told."""
    with pytest.raises(contracts.ContractError, match=r"^proto/README.md:2: "):
        contracts.read_waivers(f"## Waivers\n{row}\n")


def _buf_breaking(tree: Path, against: Path) -> subprocess.CompletedProcess[str]:
    config = (
        "version: v2\nmodules:\n  - path: proto\n  - path: third_party\n"
        "breaking: {use: [FILE], ignore_unstable_packages: true}\n"
    )
    (tree / "buf.yaml").write_text(config)
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), "breaking", "proto", "--exclude-imports", "--against", str(against)]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize(("file", "old", "new"), ON_THE_WIRE, ids=[row[2] for row in ON_THE_WIRE])
def test_buf_refuses_a_change_on_the_wire(
    proto_tree, image: bytes, tmp_path: Path, file: str, old: str, new: str
) -> None:
    """Proves that renamed, renumbered, retyped and removed elements are refused."""
    released = tmp_path / "released.binpb"
    released.write_bytes(image)
    assert _buf_breaking(tmp_path, released).returncode == 0
    proto_tree.replace(file, old, new)
    result = _buf_breaking(tmp_path, released)
    assert result.returncode == 100, result.stderr
    assert f"proto/crossdock/{file}:" in result.stdout


def test_buf_does_not_see_meaning(proto_tree, image: bytes, tmp_path: Path) -> None:
    """Proves that our own diff is needed: buf lets a changed owner pass."""
    released = tmp_path / "released.binpb"
    released.write_bytes(image)
    proto_tree.replace(ORDER, BREAKING[0][1], BREAKING[0][2])
    assert _buf_breaking(tmp_path, released).returncode == 0
