"""The way back of a return: its parcels lead to it, and scans of the sold label move it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from crossdock.returns.v1 import return_pb2

from crossdock_hub.objects import lifecycle, receipts, resources
from crossdock_hub.objects.references import carrier_system
from crossdock_hub.records import ObjectRecord, ParcelRecord, ReferenceRecord
from crossdock_hub.refusals import taken
from crossdock_hub.unit import Key, Unit
from crossdock_hub.verbs.retracing import is_coming_back, scans_key

KIND = "customer_return"
PARCEL_REFERENCE = "return_tracking_number"
# As many as return.proto lets a return name.
PARCELS_MAX = 200
_TAKEN_ADVICE = (
    "scans of it would move that one: have the carrier sell a label with a number of its own"
)
_TAKEN_PARCEL_ADVICE = "a parcel brings returns of one order: say whose parcel this one is"


def check_carriers(unit: Unit, parcels: Iterable[return_pb2.ReturnParcel]) -> None:
    """A carrier speaks of its own parcels alone. Raises Refused with OUT_OF_SCOPE."""
    for parcel in parcels:
        resources.check_carrier(unit, parcel.carrier_code)


def check_parcels(
    unit: Unit, record: ObjectRecord, parcels: Sequence[return_pb2.ReturnParcel], field: str
) -> None:
    """Parcels that are new to a return are of its order. field: the list that they are in.

    Raises Refused with REFERENCE_TAKEN: one left with another order, or brings another order's
    return that is under way.
    """
    keys: list[Key] = [("parcel", each.carrier_code, each.tracking_number) for each in parcels]
    numbers = [each.tracking_number for each in parcels]
    leads: list[Key] = [("reference", *_reference(each)) for each in parcels]
    unit.require([*keys, *leads])
    known: list[ReferenceRecord | None] = [unit.get(lead) for lead in leads]
    unit.require(("object", KIND, each.object_id) for each in known if each is not None)
    for number, key, reference in zip(numbers, keys, known, strict=True):
        parcel: ParcelRecord | None = unit.get(key)
        other = None if reference is None else unit.object(KIND, reference.object_id)
        if parcel is not None and parcel.order_id != record.root_id:
            kind, owner = KIND if parcel.comes_back else "shipment", parcel.shipment_id
        elif parcel is None and other is not None and _is_anothers(other, record):
            kind, owner = KIND, other.id
        else:
            continue
        raise taken(kind, f"{field}.tracking_number", number, owner, _TAKEN_PARCEL_ADVICE)


def _is_anothers(other: ObjectRecord, record: ObjectRecord) -> bool:
    """Whether a return is of another order, and not ended: carriers use numbers again."""
    return other.root_id != record.root_id and other.state not in lifecycle.ENDED_RETURNS


def found_by(
    unit: Unit, record: ObjectRecord, parcels: Sequence[return_pb2.ReturnParcel]
) -> ObjectRecord:
    """Let the numbers of parcels lead to the return, but for those that lead to another one: of the
    same box, or of years ago, as carriers use numbers again. One that is on its way back by now
    brings the return at once, unless the one that its number leads to is still to come."""
    keys = [_reference(each) for each in parcels]
    unit.require(("reference", *key) for key in keys)
    leads: list[ReferenceRecord | None] = [unit.get(("reference", *key)) for key in keys]
    unit.require(("object", KIND, each.object_id) for each in leads if each is not None)
    free, its = [], []
    for key, known, parcel in zip(keys, leads, parcels, strict=True):
        own = known is None or known.object_id == record.id
        if own:
            free.append(key)
        if own or _has_ended(unit, known):
            its.append(parcel)
    after = resources.with_references(unit, record, free)
    return _bring(unit, after, _coming(unit, after, its))


def _has_ended(unit: Unit, known: ReferenceRecord | None) -> bool:
    """Whether a number leads to a return that nothing brings any more."""
    other = None if known is None else unit.object(KIND, known.object_id)
    return other is not None and other.state in lifecycle.ENDED_RETURNS


def _coming(
    unit: Unit, record: ObjectRecord, parcels: Sequence[return_pb2.ReturnParcel]
) -> list[return_pb2.ReturnParcel]:
    """Those of a return's parcels that left with its order, are on their way back, and would
    change the return."""
    message: Any = record.message
    if record.state != "INITIATED":
        parcels = receipts.unknown_parcels(message, parcels)
    keys: list[Key] = [("parcel", each.carrier_code, each.tracking_number) for each in parcels]
    unit.require(keys)
    left: list[tuple[return_pb2.ReturnParcel, ParcelRecord]] = []
    for parcel, key in zip(parcels, keys, strict=True):
        known: ParcelRecord | None = unit.get(key)
        if known is not None and not known.comes_back and known.order_id == record.root_id:
            left.append((parcel, known))
    unit.require(scans_key(known) for _, known in left)
    return [parcel for parcel, known in left if is_coming_back(unit, known)]


def note(unit: Unit, before: ObjectRecord, after: ObjectRecord) -> ObjectRecord:
    """A label was sold, corrected or taken back: its number leads to the return, and its scans move
    it, but for the number of a parcel that is known: that of the way out may bring it back.

    Raises Refused with OUT_OF_SCOPE: another carrier's; with REFERENCE_TAKEN: its number is that of
    a parcel of another return or order.
    """
    labels = [_parcel_of(record) for record in (before, after)]
    check_carriers(unit, [each for each in labels if each is not None])
    sold = labels[1]
    if sold is None:
        return after
    key = ("parcel", sold.carrier_code, sold.tracking_number)
    if sold != labels[0]:
        _check_free(unit, after, sold, unit.get(key))
    if unit.get(key) is None:
        unit.put(key, _scanned(unit, after, sold))
        unit.satisfy(f"parcel:{sold.carrier_code}/{sold.tracking_number}")
    return found_by(unit, after, [sold])


def _check_free(
    unit: Unit, record: ObjectRecord, sold: return_pb2.ReturnParcel, parcel: ParcelRecord | None
) -> None:
    """A number is the return's own, or that of its order's way out. parcel: that has it by now."""
    if parcel is None:
        known: ReferenceRecord | None = unit.get(("reference", *_reference(sold)))
        other = None if known is None else unit.object(KIND, known.object_id)
        # Carriers use numbers again: what a return had that has ended is free.
        if other is None or other.id == record.id or other.state in lifecycle.ENDED_RETURNS:
            return
        kind, owner = KIND, other.id
    elif parcel.comes_back:
        if parcel.shipment_id == record.id:
            return
        kind, owner = KIND, parcel.shipment_id
    elif parcel.order_id != record.root_id:
        kind, owner = "shipment", parcel.shipment_id
    else:
        return
    field, number = f"{KIND}.label.tracking_number", sold.tracking_number
    raise taken(kind, field, number, owner, _TAKEN_ADVICE)


def void(unit: Unit, parcel: ParcelRecord) -> bool:
    """The carrier took the label of a return's parcel back. False: that is known, or the return has
    another label by now. Raises Refused with OUT_OF_SCOPE: another carrier's."""
    resources.check_carrier(unit, parcel.carrier_code)
    unit.require(moved_keys(parcel))
    record = resources.fetch_for_fact(unit, KIND, parcel.shipment_id)
    message: Any = record.message
    label = message.label
    number = label.carrier_code, label.tracking_number
    if label.voided or number != (parcel.carrier_code, parcel.tracking_number):
        return False

    def edit(after: return_pb2.Return) -> None:
        after.label.voided = True

    resources.change(unit, record, edit)
    return True


def _parcel_of(record: ObjectRecord) -> return_pb2.ReturnParcel | None:
    message: Any = record.message
    if not message.HasField("label"):
        return None
    label = message.label
    return return_pb2.ReturnParcel(
        carrier_code=label.carrier_code, tracking_number=label.tracking_number
    )


def _scanned(unit: Unit, record: ObjectRecord, sold: return_pb2.ReturnParcel) -> ParcelRecord:
    return ParcelRecord(
        carrier_code=sold.carrier_code,
        tracking_number=sold.tracking_number,
        label_id="",
        shipment_id=record.id,
        package_id="",
        order_id=record.root_id,
        partition=record.partition,
        milestone="LABEL_CREATED",
        milestone_time=None,
        exception_open=False,
        heard_at=unit.now,
    )


def moved_keys(parcel: ParcelRecord) -> set[Key]:
    """What has to be read of the return that a scan moves."""
    return {("object", KIND, parcel.shipment_id), ("flow", parcel.order_id)}


def move(unit: Unit, parcels: Sequence[ParcelRecord]) -> None:
    """Scans moved these parcels of one return: what its carrier has is in transit. What is said
    after the goods came moves nothing back. A label that was voided or replaced moves its return
    all the same: the customer used what was printed, and the goods do come."""
    brought = [
        return_pb2.ReturnParcel(
            carrier_code=each.carrier_code, tracking_number=each.tracking_number
        )
        for each in parcels
        if lifecycle.is_with_carrier(each.milestone)
    ]
    if brought:
        record = unit.object(KIND, parcels[0].shipment_id)
        if record is not None:
            _bring(unit, record, brought)


def _reference(parcel: return_pb2.ReturnParcel | ParcelRecord) -> tuple[str, str, str]:
    """By which a parcel leads to its return, whoever told of it: carriers may use one number."""
    return carrier_system(parcel.carrier_code), PARCEL_REFERENCE, parcel.tracking_number


def way_back_key(parcel: ParcelRecord) -> Key:
    """By which a parcel that had left leads to its return."""
    return ("reference", *_reference(parcel))


def way_back_keys(unit: Unit, parcel: ParcelRecord) -> set[Key]:
    """What has to be read to move the return that a parcel comes back with, as far as it is known
    by now: a report asks with all of its parcels at once, and again for what they lead to."""
    leads = way_back_key(parcel)
    if not unit.knows(leads):
        return {leads}
    known: ReferenceRecord | None = unit.get(leads)
    if known is None or known.kind != KIND:
        return set()
    keys: set[Key] = {("object", KIND, known.object_id), ("flow", parcel.order_id)}
    if all(map(unit.knows, keys)) and _has_ended(unit, known):
        keys.add(("children", KIND, parcel.order_id))
    return keys


def move_on_the_way_back(unit: Unit, parcel: ParcelRecord) -> None:
    """A parcel that had left is coming back: the return that its number leads to, if any, is in
    transit with it; where that has ended, the oldest open one of its order that names the parcel.

    A number leads to one return for good, as every key of another system does."""
    unit.require(way_back_keys(unit, parcel))
    known: ReferenceRecord | None = unit.get(way_back_key(parcel))
    if known is None or known.kind != KIND:
        return
    own = return_pb2.ReturnParcel(
        carrier_code=parcel.carrier_code, tracking_number=parcel.tracking_number
    )
    record = unit.object(KIND, known.object_id)
    if _has_ended(unit, known):
        unit.require([("children", KIND, parcel.order_id)])
        others = (each for each in unit.children(KIND, parcel.order_id) if _names(each, own))
        record = next(others, record)
    if record is not None and record.root_id == parcel.order_id:
        _bring(unit, record, [own])


def _names(record: ObjectRecord, parcel: return_pb2.ReturnParcel) -> bool:
    """Whether an open return says that this parcel brings it."""
    message: Any = record.message
    known = [*message.parcels, *filter(None, [_parcel_of(record)])]
    wanted = parcel.carrier_code, parcel.tracking_number
    named = any((each.carrier_code, each.tracking_number) == wanted for each in known)
    return named and record.state not in lifecycle.ENDED_RETURNS


def _bring(
    unit: Unit, record: ObjectRecord, parcels: Sequence[return_pb2.ReturnParcel]
) -> ObjectRecord:
    """The return in transit with these parcels, as far as it has room for them; none: as it is."""
    if not parcels:
        return record
    message: Any = record.message
    room = PARCELS_MAX - len(message.parcels)
    fresh = receipts.unknown_parcels(message, parcels)[:room]
    state = lifecycle.advance(KIND, record.state, "IN_TRANSIT")
    if not fresh and state == record.state:
        return record

    def edit(after: return_pb2.Return) -> None:
        after.parcels.extend(fresh)
        resources.set_state(after, state)

    return resources.change(unit, record, edit)
