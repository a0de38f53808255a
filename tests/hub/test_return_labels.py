"""Labels for the way back, as pure decisions: kept with the return, which their scans move."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from crossdock.confirmation.v1 import confirmation_service_pb2
from crossdock.label.v1 import label_pb2
from crossdock.returns.v1 import return_pb2, return_service_pb2
from crossdock.tracking.v1 import tracking_pb2
from crossdock.types.v1 import types_pb2
from crossdock_hub.identity import Caller, Scope
from decisions import CARRIER, outcome, refusal_of, request_id
from first_flow import CONFIRMATIONS, at, scan, seconds
from returned_flow import RETURNS, ReturnedFlow, customer_return

BACK = "1ZBACK"
BACKWARDS = {"RETURNING", "RETURNED"}
OTHER_CARRIER = Caller("fedex", "CARRIER", Scope(carrier_codes=frozenset({"FDXG"})))


@pytest.fixture
def flow() -> ReturnedFlow:
    return ReturnedFlow()


def sell(
    flow: ReturnedFlow, made: Any, number: str = BACK, caller: Any = CARRIER, **more: Any
) -> return_pb2.Return:
    """The carrier writes the label that it sold."""
    change = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    change.customer_return.id = made.id
    change.customer_return.label.CopyFrom(
        return_pb2.ReturnLabel(
            carrier_code="UPSN",
            tracking_number=number,
            format=label_pb2.LABEL_FORMAT_PDF,
            image=b"%PDF",
            **more,
        )
    )
    change.update_mask.paths.append("label")
    after: return_pb2.Return = flow.call(f"{RETURNS}/UpdateReturn", change, caller).customer_return
    return after


def name_parcel(flow: ReturnedFlow, made: Any, *numbers: str) -> None:
    """The carrier writes which parcels the return comes in."""
    change = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    change.customer_return.id = made.id
    for number in numbers:
        change.customer_return.parcels.add(carrier_code="UPSN", tracking_number=number)
    change.update_mask.paths.append("parcels")
    flow.call(f"{RETURNS}/UpdateReturn", change, CARRIER)


def heard(flow: ReturnedFlow, milestone: str) -> str:
    """What became of a scan on the way back."""
    return outcome(flow.report(scan(milestone, flow.now, number=BACK))[0])


def test_scans_of_a_return_label_move_its_return(flow: ReturnedFlow) -> None:
    """Proves that the number of a sold label leads to its return, that the sale moves nothing, nor
    does what is scanned before the carrier has the parcel, and that its first scan then puts the
    return in transit, once and with the parcel, while order and shipment stay as they are."""
    order_id = flow.shipped()
    made = flow.initiate(customer_return(order_id))
    order, shipment = flow.object("order", order_id), flow.all("shipment")
    after = sell(flow, made)
    assert [(each.type, each.value) for each in after.references] == [
        ("return_tracking_number", BACK)
    ]
    assert flow.state("customer_return", made.id) == "INITIATED"
    for milestone in ("INFORMATION", "LABEL_CREATED", "EXCEPTION"):
        assert heard(flow, milestone) == "APPLIED"
        assert flow.state("customer_return", made.id) == "INITIATED"
    for milestone in ("CARRIER_ACCEPTED", "IN_TRANSIT", "DELIVERED"):
        assert heard(flow, milestone) == "APPLIED"
    back = flow.object("customer_return", made.id)
    assert [(each.carrier_code, each.tracking_number) for each in back.parcels] == [("UPSN", BACK)]
    assert flow.state("customer_return", made.id) == "IN_TRANSIT"
    assert flow.object("order", order_id) == order
    assert flow.all("shipment") == shipment
    assert not flow.held()


def test_a_scan_before_its_return_label_waits_for_it(flow: ReturnedFlow) -> None:
    """Proves that a scan that overtakes the word of the sale is held, and moves the return then."""
    made = flow.initiate(customer_return(flow.shipped()))
    assert heard(flow, "IN_TRANSIT") == "HELD"
    sell(flow, made)
    flow.drive()
    assert flow.state("customer_return", made.id) == "IN_TRANSIT"


def test_the_number_of_the_way_out_brings_a_return_back(flow: ReturnedFlow) -> None:
    """Proves that where the carrier uses the number of the way out again, its scans stay with the
    shipment, and those of the way back put the return in transit; others do not."""
    made = flow.initiate(customer_return(flow.shipped()))
    sell(flow, made, "1Z-SO-1")
    flow.report(scan("IN_TRANSIT", flow.now, number="1Z-SO-1"))
    assert flow.state("customer_return", made.id) == "INITIATED"
    flow.report(scan("RETURNING", flow.now, number="1Z-SO-1", return_leg=True))
    assert flow.state("customer_return", made.id) == "IN_TRANSIT"
    (parcel,) = flow.object("customer_return", made.id).parcels
    assert parcel.tracking_number == "1Z-SO-1"


STEPS = ("named", "DELIVERED", "RETURNING", "RETURNED")


@pytest.mark.parametrize("by", ["label", "parcels"])
@pytest.mark.parametrize("story", list(permutations(STEPS)))
def test_a_return_is_brought_in_whatever_order_it_is_told(
    flow: ReturnedFlow, story: tuple[str, ...], by: str
) -> None:
    """Proves that a return whose parcel comes back under the number of the way out is in transit
    with it after the first scan of the way back and the word of the number, whichever is first."""
    made = flow.initiate(customer_return(flow.shipped()))
    start = flow.now
    for place, step in enumerate(story, start=1):
        if step != "named":
            after = seconds(STEPS.index(step))
            flow.report(scan(step, start + after, number="1Z-SO-1", return_leg=step in BACKWARDS))
        elif by == "label":
            sell(flow, made, "1Z-SO-1")
        else:
            name_parcel(flow, made, "1Z-SO-1")
        known = {"named", *BACKWARDS} & set(story[:place])
        under_way = "named" in known and len(known) > 1
        assert flow.state("customer_return", made.id) == (
            "IN_TRANSIT" if under_way else "INITIATED"
        )
    (parcel,) = flow.object("customer_return", made.id).parcels
    assert parcel.tracking_number == "1Z-SO-1"


def test_the_way_back_of_another_order_brings_no_return(flow: ReturnedFlow) -> None:
    """Proves that another order's parcel, which is on its way back, is refused for a return, and
    puts nothing in transit."""
    made = flow.initiate(customer_return(flow.shipped()))
    flow.shipped(number="SO-2")
    flow.report(scan("RETURNING", flow.now, number="1Z-SO-2", return_leg=True))
    assert refusal_of(lambda: name_parcel(flow, made, "1Z-SO-2")).reason == "REFERENCE_TAKEN"
    assert flow.state("customer_return", made.id) == "INITIATED"


def test_a_full_list_of_parcels_is_not_written_anew(flow: ReturnedFlow) -> None:
    """Proves that scans of a parcel for which a return has no room left still put it in transit,
    and write no revision of it once it is."""
    made = flow.initiate(customer_return(flow.shipped()))
    sell(flow, made)
    name_parcel(flow, made, *(f"1ZFULL{index}" for index in range(200)))
    assert heard(flow, "CARRIER_ACCEPTED") == "APPLIED"
    full = flow.object("customer_return", made.id)
    assert (flow.state("customer_return", made.id), len(full.parcels)) == ("IN_TRANSIT", 200)
    assert heard(flow, "OUT_FOR_DELIVERY") == "APPLIED"
    assert flow.object("customer_return", made.id) == full


@pytest.mark.parametrize("scanned", [False, True])
def test_a_proof_of_the_way_back_is_kept_as_its_scan(flow: ReturnedFlow, scanned: bool) -> None:
    """Proves that a proof for the parcel of a return confirms no delivery, and that who signed and
    where it was left is kept with the scans of the parcel, once, and moves the return; a scan that
    names who signed is enough where the proof says no more."""
    made = flow.initiate(customer_return(flow.shipped()))
    sell(flow, made)
    before = len(flow.scans)
    if scanned:
        delivered = scan("DELIVERED", flow.now, number=BACK)
        delivered.signed_by = "DOCK 4"
        flow.report(delivered)
    proof = confirmation_service_pb2.CreateDeliveryConfirmationRequest(request_id=request_id())
    proof.delivery_confirmation.carrier_code = "UPSN"
    proof.delivery_confirmation.tracking_number = BACK
    proof.delivery_confirmation.signed_by = "DOCK 4"
    proof.delivery_confirmation.left_at = "" if scanned else "gate"
    proof.delivery_confirmation.delivered_time.CopyFrom(at(flow.now))
    told = []
    for _ in range(2):
        proof.request_id = request_id()
        answer = flow.call(f"{CONFIRMATIONS}/CreateDeliveryConfirmation", proof, CARRIER)
        told.append(outcome(answer.receipt))
    assert told == ["ALREADY_KNOWN" if scanned else "APPLIED", "ALREADY_KNOWN"]
    (record,) = flow.scans[before:]
    kept = tracking_pb2.TrackingEvent.FromString(record.body)
    assert (kept.signed_by, record.milestone) == ("DOCK 4", "DELIVERED")
    assert kept.description == ("" if scanned else "gate")
    assert not flow.all("delivery_confirmation")
    assert not flow.held()
    assert flow.state("customer_return", made.id) == "IN_TRANSIT"
    time = flow.now
    for more in ({"signed_by": "DOCK 5"}, {"signed_by": "DOCK 4", "left_at": "ramp"}):
        for receipt in ("APPLIED", "ALREADY_KNOWN"):
            assert outcome(flow.prove(BACK, time, **more).receipt) == receipt


@pytest.mark.parametrize("known_first", [False, True])
def test_a_proof_told_again_with_its_zone_is_kept_once(
    flow: ReturnedFlow, known_first: bool
) -> None:
    """Proves that a proof is the same when only one of its tellings says in which zone its local
    time is, and another one where the local times, or the instants of both, differ."""
    sell(flow, flow.initiate(customer_return(flow.shipped())))
    before = len(flow.scans)
    local = types_pb2.SourceTime(
        local="2025-06-01T10:00:00",
        precision=types_pb2.TIME_PRECISION_SECOND,
        zone=types_pb2.TIME_ZONE_SOURCE_UNKNOWN,
    )
    zoned = at(flow.now)
    zoned.local = local.local
    other = at(flow.now + 3_600_000_000)
    other.local = local.local
    later = types_pb2.SourceTime()
    later.CopyFrom(local)
    later.local = "2025-06-01T10:00:01"
    times = [zoned, local] if known_first else [local, zoned]
    told = []
    for time in [*times, later, other]:
        proof = confirmation_service_pb2.CreateDeliveryConfirmationRequest(request_id=request_id())
        said = proof.delivery_confirmation
        said.carrier_code, said.tracking_number, said.signed_by = "UPSN", BACK, "DOCK 4"
        said.delivered_time.CopyFrom(time)
        answer = flow.call(f"{CONFIRMATIONS}/CreateDeliveryConfirmation", proof, CARRIER)
        told.append(outcome(answer.receipt))
    assert told[:3] == ["APPLIED", "ALREADY_KNOWN", "APPLIED"]
    # Beside a telling that has no zone nobody can say that another instant is another proof.
    assert told[3] == ("APPLIED" if known_first else "ALREADY_KNOWN")
    assert len(flow.scans) - before == told.count("APPLIED")


def test_what_is_said_of_a_label_after_the_end_is_kept(flow: ReturnedFlow) -> None:
    """Proves that the label of a cancelled return is still written down, so that it can be taken
    back, that its scans do not revive the return, and that the word of that is kept."""
    made = flow.initiate(customer_return(flow.shipped()))
    flow.end("CancelReturn", made.id)
    sell(flow, made)
    flow.report(scan("IN_TRANSIT", flow.now, number=BACK))
    assert flow.state("customer_return", made.id) == "CANCELLED"
    assert sell(flow, made, voided=True).label.voided


def test_a_carrier_writes_its_own_label_only(flow: ReturnedFlow) -> None:
    """Proves that another carrier can neither put its name on a label nor replace one."""
    made = flow.initiate(customer_return(flow.shipped()))
    assert refusal_of(lambda: sell(flow, made, caller=OTHER_CARRIER)).reason == "OUT_OF_SCOPE"
    sell(flow, made)
    assert refusal_of(lambda: sell(flow, made, "2", OTHER_CARRIER)).reason == "OUT_OF_SCOPE"
    assert flow.object("customer_return", made.id).label.tracking_number == BACK
