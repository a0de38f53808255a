"""Create, update and upsert: mask algebra, merged validation, clearing, scope; generated."""

from __future__ import annotations

from typing import Any

from crossdock.carrier.v1 import carrier_service_pb2
from crossdock.item.v1 import item_service_pb2
from crossdock.location.v1 import location_service_pb2
from crossdock.unit.v1 import unit_service_pb2
from crossdock_hub.identity import Caller, Scope
from crossdock_hub.objects import resources
from decisions import CARRIER, CONTRACT, ERP, OMS, TMS, WMS, outcome, refusal_of, request_id
from first_flow import Flow, order, package
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

RESOURCES = sorted(CONTRACT.resources)
TEXT = st.text(max_size=4)
PLAIN: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=4),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: st.integers(-3, 3),
    FieldDescriptor.TYPE_INT64: st.integers(-3, 3),
}


@st.composite
def messages(draw: Any, name: str, depth: int = 2) -> Any:
    """Any message of a type: fields set, unset, set to their defaults."""
    message: Any = CONTRACT.generated_class(name)()
    for field in message.DESCRIPTOR.fields:
        if draw(st.booleans()):
            _fill(draw, message, field, depth)
    return message


def _fill(draw: Any, message: Any, field: Any, depth: int) -> None:
    target = getattr(message, field.name)
    if field.message_type is not None:
        if depth == 0 or field.message_type.GetOptions().map_entry:
            return
        value = draw(messages(field.message_type.full_name, depth - 1))
        if field.is_repeated:
            target.add().CopyFrom(value)
        else:
            target.CopyFrom(value)
        return
    values = PLAIN.get(field.type, st.just(1))
    if field.enum_type is not None:
        values = st.sampled_from([v.number for v in field.enum_type.values])
    if field.is_repeated:
        target.extend(draw(st.lists(values, max_size=2)))
    else:
        setattr(message, field.name, draw(values))


@st.composite
def patches(draw: Any) -> tuple[Any, Any, list[str]]:
    """A stored object, a patch for it, and a mask."""
    resource = CONTRACT.resources[draw(st.sampled_from(RESOURCES))]
    stored, patch = (draw(messages(resource.message_name)) for _ in range(2))
    fields = draw(st.lists(st.sampled_from(sorted(resource.fields)), unique=True, max_size=6))
    return stored, patch, fields


def field_of(message: Any, name: str) -> tuple[bool, bytes]:
    """Presence and content of a field, to compare."""
    alone = type(message)()
    alone.CopyFrom(message)
    for descriptor, _ in message.ListFields():
        if descriptor.name != name:
            alone.ClearField(descriptor.name)
    encoded = alone.SerializeToString(deterministic=True)
    return bool(encoded), encoded


@given(patches())
@settings(max_examples=150, deadline=None)
def test_a_mask_writes_what_it_names_and_nothing_else(case: tuple[Any, Any, list[str]]) -> None:
    """Proves that masked fields become the patch's, unset ones included, and the others stay."""
    stored, patch, fields = case
    merged = resources.clone(stored)
    resources.apply_mask(merged, patch, fields)
    for descriptor in stored.DESCRIPTOR.fields:
        source = patch if descriptor.name in fields else stored
        assert field_of(merged, descriptor.name) == field_of(source, descriptor.name)


@given(patches())
@settings(max_examples=75, deadline=None)
def test_a_mask_applied_twice_is_applied_once(case: tuple[Any, Any, list[str]]) -> None:
    """Proves that a repeated write changes nothing, and that the patch is left alone."""
    stored, patch, fields = case
    sent = patch.SerializeToString(deterministic=True)
    once = resources.clone(stored)
    resources.apply_mask(once, patch, fields)
    twice = resources.clone(once)
    resources.apply_mask(twice, patch, fields)
    assert twice == once
    assert patch.SerializeToString(deterministic=True) == sent


@given(patches(), st.data())
@settings(max_examples=75, deadline=None)
def test_masks_that_do_not_meet_can_be_applied_in_any_order(
    case: tuple[Any, Any, list[str]], data: Any
) -> None:
    """Proves that two owners who write their own fields never overwrite each other."""
    stored, patch, fields = case
    other = data.draw(messages(stored.DESCRIPTOR.full_name))
    mine, theirs = fields[::2], fields[1::2]
    left, right = resources.clone(stored), resources.clone(stored)
    resources.apply_mask(left, patch, mine)
    resources.apply_mask(left, other, theirs)
    resources.apply_mask(right, other, theirs)
    resources.apply_mask(right, patch, mine)
    assert left == right


# Updates


def test_the_merged_object_is_validated() -> None:
    """Proves that a patch which is fine alone is refused when the whole would break a rule."""
    flow = Flow()
    made = flow.create(order(lines=2))
    patch = order()
    patch.id = made.id
    patch.lines[0].quantity.value = "many"
    refusal = refusal_of(lambda: flow.update_order(patch, "lines"))
    assert refusal.reason == "INVALID_FIELD"
    assert refusal.violations[0].field.startswith("order.lines[0].quantity")
    assert flow.object("order", made.id).revision == 1


def test_a_masked_unset_field_is_cleared() -> None:
    """Proves that clearing is a write like any other, and that required fields can't be cleared."""
    flow = Flow()
    message = order()
    message.customer_reference = "PO-1"
    made = flow.create(message)
    patch = type(message)(id=made.id)
    after = flow.update_order(patch, "customer_reference").order
    assert not after.HasField("customer_reference")
    assert after.number == "SO-1"
    assert refusal_of(lambda: flow.update_order(patch, "ship_to")).reason == "INVALID_FIELD"


def test_an_update_that_changes_nothing_is_none() -> None:
    """Proves that no revision grows and nobody is told when every value was there already."""
    flow = Flow()
    made = flow.create()
    flow.approve(made.id)
    patch = order()
    patch.id = made.id
    after = flow.update_order(patch, "lines", "carrier_code", "ship_to").order
    assert after.revision == 2
    assert flow.told() == ["order.approved"]


def test_a_stale_revision_is_refused() -> None:
    """Proves that who decided on an old state is told to decide again."""
    flow = Flow()
    made = flow.create()
    flow.approve(made.id)
    patch = type(made)(id=made.id, channel="web")
    refusal = refusal_of(lambda: flow.update_order(patch, "channel", revision=1))
    assert (refusal.reason, refusal.metadata["actual"]) == ("STALE_REVISION", "2")
    assert flow.update_order(patch, "channel", revision=2).order.channel == "web"


def test_order_content_is_closed_once_the_warehouses_have_it() -> None:
    """Proves that the OMS changes an order until its release, the ERP its own fields always."""
    flow = Flow()
    order_id, _ = flow.released()
    patch = order()
    patch.id, patch.channel = order_id, "web"
    refusal = refusal_of(lambda: flow.update_order(patch, "channel"))
    assert refusal.reason == "STATE_TRANSITION"
    booked = type(patch)(id=order_id, sales_document="4711")
    assert flow.update_order(booked, "sales_document", caller=ERP).order.sales_document == "4711"


def test_packages_keep_their_ids_when_the_warehouse_corrects_them() -> None:
    """Proves that ids are the hub's: a corrected weight does not orphan label and progress."""
    flow = Flow()
    shipment = flow.labelled()
    patch = type(shipment)(id=shipment.id)
    heavier = patch.packages.add()
    heavier.CopyFrom(package())
    heavier.id, heavier.weight.value = "forged", "2.5"
    after = flow.update_shipment(patch, "packages").shipment
    assert after.packages[0].id == shipment.packages[0].id
    assert after.packages[0].weight.value == "2.5"


def test_a_packed_shipment_gets_no_other_packages() -> None:
    """Proves that a carton nobody buys a label for can't slip in: void, then pack again."""
    flow = Flow()
    shipment = flow.labelled()
    patch = type(shipment)(id=shipment.id)
    patch.packages.add().CopyFrom(package("LPN-9"))
    refusal = refusal_of(lambda: flow.update_shipment(patch, "packages"))
    assert refusal.reason == "STATE_TRANSITION"
    assert "pack again" in refusal.message


def test_a_manifest_is_reported_and_not_slipped_in() -> None:
    """Proves that the time of departure can be corrected, but first set by its report alone."""
    flow = Flow()
    shipment = flow.labelled()
    patch = type(shipment)(id=shipment.id)
    patch.manifest_time.local = "2025-06-01T10:00:00"
    refusal = refusal_of(lambda: flow.update_shipment(patch, "manifest_time"))
    assert refusal.reason == "STATE_TRANSITION"
    assert outcome(flow.manifest().receipt) == "APPLIED"
    assert "shipment.manifested" in flow.told()
    flow.update_shipment(patch, "manifest_time")


# Creates and scopes


def test_a_number_names_one_object() -> None:
    """Proves that a second order of a number is refused with the first one's id."""
    flow = Flow()
    made = flow.create()
    refusal = refusal_of(flow.create)
    assert refusal.reason == "REFERENCE_TAKEN"
    assert refusal.metadata["object_id"] == made.id


def test_nobody_writes_outside_its_scope() -> None:
    """Proves that a caller for one business unit neither creates nor moves objects into another."""
    flow = Flow()
    eu = Caller("oms-eu", "OMS", Scope(business_units=frozenset({"retail-eu"})))
    flow.employ(eu, {})
    refusal = refusal_of(lambda: flow.create(caller=eu))
    assert (refusal.reason, refusal.metadata["scope"]) == ("OUT_OF_SCOPE", "BUSINESS_UNIT")
    message = order("SO-2")
    message.business_unit = "retail-eu"
    made = flow.create(message, caller=eu)
    patch = type(made)(id=made.id, business_unit="retail-us")
    refused = refusal_of(lambda: flow.update_order(patch, "business_unit", caller=eu))
    assert refused.reason == "OUT_OF_SCOPE"


def test_what_is_outside_the_scope_does_not_exist() -> None:
    """Proves that a foreign id is answered like an unknown one."""
    flow = Flow()
    made = flow.create()
    eu = Caller("oms-eu", "OMS", Scope(business_units=frozenset({"retail-eu"})))
    flow.employ(eu, {})
    foreign = refusal_of(
        lambda: flow.update_order(type(made)(id=made.id, channel="x"), "channel", caller=eu)
    )
    ghost = request_id()
    unknown = refusal_of(
        lambda: flow.update_order(type(made)(id=ghost, channel="x"), "channel", caller=eu)
    )
    assert foreign.reason == unknown.reason == "OBJECT_NOT_FOUND"
    assert foreign.message.replace(made.id, ghost) == unknown.message


# Upserts


def upsert_item(flow: Flow, caller: Caller, number: str, *paths: str, **values: Any) -> Any:
    """One entry of UpsertItems."""
    entry = item_service_pb2.ItemEntry(request_id=request_id())
    entry.item.number = number
    for name, value in values.items():
        if hasattr(value, "CopyFrom"):
            getattr(entry.item, name).CopyFrom(value)
        else:
            setattr(entry.item, name, value)
    entry.update_mask.paths.extend(paths)
    request = item_service_pb2.UpsertItemsRequest(entries=[entry])
    return flow.call("item.v1.ItemService/UpsertItems", request, caller)[0]


def test_an_upsert_creates_once_and_then_changes() -> None:
    """Proves that the same master data again is no change."""
    flow = Flow(master_data=False)
    made = upsert_item(flow, ERP, "SKU-9", "description", description="a")
    assert (made.created, made.changed, made.revision) == (True, True, 1)
    same = upsert_item(flow, ERP, "SKU-9", "description", description="a")
    assert (same.created, same.changed, same.revision, same.id) == (False, False, 1, made.id)
    other = upsert_item(flow, ERP, "SKU-9", "description", description="b")
    assert (other.created, other.changed, other.revision) == (False, True, 2)


def test_an_upsert_takes_the_masked_fields_only() -> None:
    """Proves that values beside the mask are not written, also on a create."""
    flow = Flow(master_data=False)
    upsert_item(flow, ERP, "SKU-9", "description", description="a", tax_class="T")
    (item,) = flow.all("item")
    assert (item.description, item.tax_class) == ("a", "")


def test_a_measurement_of_an_unknown_item_is_held_until_the_erp_tells_of_it() -> None:
    """Proves that the warehouse's fact waits for the item, whoever is first."""
    flow = Flow(master_data=False)
    measured = item_service_pb2.ItemEntry().item.measured
    measured.weight.value, measured.weight.unit = "1.5", "KGM"
    held = upsert_item(flow, WMS, "SKU-9", "measured", measured=measured)
    assert held.held_fact_id
    assert flow.all("item") == []
    upsert_item(flow, ERP, "SKU-9", "description", description="a")
    assert flow.drive() == [held.held_fact_id]
    (item,) = flow.all("item")
    assert (item.description, item.measured.weight.value) == ("a", "1.5")


def test_a_stranger_to_a_field_is_refused_and_not_held() -> None:
    """Proves that holding is for owners: what another role owns is refused at once."""
    flow = Flow(master_data=False)
    refusal = refusal_of(lambda: upsert_item(flow, WMS, "SKU-9", "description", description="a"))
    assert refusal.reason == "FIELD_NOT_OWNED"
    assert flow.held() == []


def test_a_conversion_waits_for_its_item() -> None:
    """Proves that master data which refers to missing master data is held, not refused."""
    flow = Flow(master_data=False)
    entry = unit_service_pb2.UnitConversionEntry(request_id=request_id())
    conversion = entry.unit_conversion
    conversion.number, conversion.item_number = "SKU-9:CS:EA", "SKU-9"
    conversion.from_unit, conversion.to_unit = "CS", "EA"
    conversion.numerator, conversion.denominator = "12", "1"
    paths = ("item_number", "from_unit", "to_unit", "numerator", "denominator")
    entry.update_mask.paths.extend(paths)
    request = unit_service_pb2.UpsertUnitConversionsRequest(entries=[entry])
    (held,) = flow.call("unit.v1.UnitService/UpsertUnitConversions", request, ERP)
    assert held.held_fact_id
    upsert_item(flow, ERP, "SKU-9", "description", description="a")
    assert flow.drive() == [held.held_fact_id]
    assert flow.all("unit_conversion")[0].item_number == "SKU-9"


def test_a_change_of_master_data_waits_for_what_it_refers_to() -> None:
    """Proves that a known account with a new, unknown location is held like a new one."""
    flow = Flow(master_data=False)
    account(flow, "carrier_code", "account_number")
    held = account(flow, "ship_from_location_numbers", location="DC9")
    assert held.held_fact_id
    flow.learn_location("DC9")
    assert flow.drive() == [held.held_fact_id]
    assert flow.all("carrier_account")[0].ship_from_location_numbers == ["DC9"]


def account(flow: Flow, *paths: str, location: str = "") -> Any:
    """One entry of UpsertCarrierAccounts."""
    entry = carrier_service_pb2.CarrierAccountEntry(request_id=request_id())
    entry.carrier_account.number = "A-1"
    entry.carrier_account.carrier_code = "UPSN"
    entry.carrier_account.account_number = "1X2Y3Z"
    if location:
        entry.carrier_account.ship_from_location_numbers.append(location)
    entry.update_mask.paths.extend(paths)
    request = carrier_service_pb2.UpsertCarrierAccountsRequest(entries=[entry])
    return flow.call("carrier.v1.CarrierService/UpsertCarrierAccounts", request, TMS)[0]


def test_master_data_has_a_scope_too() -> None:
    """Proves that a warehouse of one location writes no other."""
    flow = Flow()
    flow.learn_location("DC2")
    entry = location_service_pb2.LocationEntry(request_id=request_id())
    entry.location.number, entry.location.time_zone = "DC2", "America/Denver"
    entry.update_mask.paths.append("time_zone")
    request = location_service_pb2.UpsertLocationsRequest(entries=[entry])
    method = "location.v1.LocationService/UpsertLocations"
    assert refusal_of(lambda: flow.call(method, request, WMS)).reason == "OBJECT_NOT_FOUND"


def test_a_carrier_reports_no_scans_of_another() -> None:
    """Proves that a batch with one foreign scan is refused whole, with nothing kept."""
    from first_flow import scan

    flow = Flow()
    flow.labelled()
    foreign = scan("IN_TRANSIT", flow.now)
    foreign.carrier_code = "FDEG"
    refusal = refusal_of(lambda: flow.report(scan("IN_TRANSIT", flow.now), foreign, caller=CARRIER))
    assert refusal.reason == "OUT_OF_SCOPE"
    assert flow.scans == []


def test_states_and_times_are_read_without_their_prefixes() -> None:
    """Proves the small conversions everything else leans on."""
    message = order()
    assert resources.state_name(message) == "UNSPECIFIED"
    for state in ("CREATED", "RELEASED", "CANCELLED"):
        resources.set_state(message, state)
        assert resources.state_name(message) == state
    item: Any = CONTRACT.generated_class("crossdock.item.v1.Item")()
    assert resources.state_name(item) == ""


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_microseconds_survive_a_timestamp(moment: int) -> None:
    """Proves that stored times are exact, before 1970 too."""
    message = order()
    resources.stamp(message.order_time, moment)
    assert resources.microseconds(message.order_time) == moment
    assert 0 <= message.order_time.nanos < 1_000_000_000


def test_only_the_oms_creates_orders() -> None:
    """Proves that a create counts every populated field as written."""
    flow = Flow()
    message = order()
    message.sales_document = "4711"
    assert refusal_of(lambda: flow.create(message, caller=OMS)).reason == "FIELD_NOT_OWNED"
