"""LTL freight and the words beside a status: remarks, and who signed."""

from __future__ import annotations

import pytest
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.ltl_freight import conformance
from crossdock_adapters.sdk import carrier_scans
from test_ltl_freight_translate import told


def only(body: bytes) -> tuple[str, str]:
    """Description and signer of the one scan of a payload."""
    ((event,),) = [found.events for found in told(body)]
    return event.description, event.signed_by


@pytest.mark.parametrize(
    ("remark", "signer"),
    [
        ("K1*SIGNED BY J SMITH", "J SMITH"),
        ("K1*Signed for by: J Smith", "J Smith"),
        ("K1*LEFT AT DOCK*POD: J SMITH", "J SMITH"),
        ("K1*RCVD BY J SMITH", "J SMITH"),
        ("K1*SIGNATURE ON FILE", ""),
        ("K1*POD AVAILABLE ONLINE", ""),
        ("K1*DESIGNED BY NOBODY", ""),
        ("K1*SIGNED BY WILL NOTTING", "WILL NOTTING"),
        ("K1*NOT SIGNED BY CONSIGNEE", ""),
        ("K1*SIGNATURE: NOT OBTAINED", ""),
        ("K1*SIGNATURE: N/A", ""),
        ("K1*POD: PENDING", ""),
        ("K1*POD: UNAVAILABLE", ""),
        ("K1*TO BE RECEIVED BY CONSIGNEE", ""),
        ("K1*WILL BE SIGNED BY J DOE", ""),
        ("K1*RECEIVED BY 1700", ""),
        ("K1*SIGNED BY DRIVER, NO ONE PRESENT", ""),
        ("K1*REFUSED, NOT SIGNED BY J DOE", ""),
        ("K1*POD: 10/12 14:33 J DOE", ""),
        ("K1*POD: --", ""),
        ("K1*POD: PENDING*SIGNED BY J SMITH", "J SMITH"),
    ],
)
def test_who_signed_is_read_where_words_say_so(remark: str, signer: str) -> None:
    """Proves that a delivery is told with who signed where a remark names one, which is a proof of
    delivery, that a remark of something else, or that nobody signed, names nobody, and that each
    remark is told as it is."""
    body = conformance.status(1, "D1", "1350", more=f"{remark}~")
    description, signed_by = only(body)
    assert signed_by == signer
    assert description == f"reason NS; {remark.removeprefix('K1*').replace('*', '; ')}"
    ((event,),) = [found.events for found in told(body)]
    assert (carrier_scans.confirmation_request("ltl", event) is not None) is bool(signer)


def test_only_a_delivery_is_signed_for() -> None:
    """Proves that who signed at the pick-up is no recipient."""
    told_at_pick_up = only(conformance.status(1, "AF", "0905", more="K1*SIGNED BY J SMITH~"))
    assert told_at_pick_up == ("reason NS; SIGNED BY J SMITH", "")


def test_a_remark_belongs_to_the_status_before_it() -> None:
    """Proves that each scan has its own remarks, that one in front of a single status is about it,
    and in front of several about none; and that what is wrong in one costs no scan."""
    second = "K1*DOCK 4~LX*2~AT7*D1*NS***20260305*1655*PS~MS1*PORTLAND*OR*US~K1*POD: A B~"
    (found,) = told(conformance.status(1, "X1", "1350", more=second))
    assert [(each.description, each.signed_by) for each in found.events] == [
        ("reason NS; DOCK 4", ""), ("reason NS; POD: A B", "A B"),
    ]  # fmt: skip
    early = conformance.status(1, "AF", "0905").replace(b"LX*1~", b"K1*CALL\x07 AHEAD~LX*1~")
    assert only(early.replace(b"SE*7*", b"SE*8*"))[0] == "reason NS; CALL AHEAD"
    both = conformance.status(1, "X1", "1350", more=second).replace(b"LX*1~", b"K1*MAYBE~LX*1~")
    (found,) = told(both)
    assert "MAYBE" not in "".join(each.description for each in found.events)


def test_codes_may_be_written_small() -> None:
    """Proves that the case of a code says nothing."""
    ((event,),) = [found.events for found in told(conformance.status(1, "d1", "1350"))]
    assert (event.status_code, event.milestone) == ("D1", shipment_pb2.MILESTONE_DELIVERED)
