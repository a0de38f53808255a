"""What the parcel of a return left in the database goes to the archive with its order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_house import DAYS, House
from crossdock.returns.v1 import return_service_pb2
from databases import KINDS
from decisions import CARRIER, OMS, request_id
from first_flow import scan
from returned_flow import RETURNS, customer_return

BACK = "1ZBACK"


@pytest.fixture(params=KINDS)
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    with House(tmp_path / "data", kind=request.param) as made:
        yield made


def given_up(house: House, order_id: str) -> None:
    """A return of the order whose labelled parcel was scanned, and which was cancelled then."""
    made: Any = house.call(
        f"{RETURNS}/InitiateReturn",
        return_service_pb2.InitiateReturnRequest(
            request_id=request_id(), customer_return=customer_return(order_id)
        ),
        OMS,
    ).customer_return
    change = return_service_pb2.UpdateReturnRequest(request_id=request_id())
    change.customer_return.id = made.id
    change.customer_return.label.carrier_code = "UPSN"
    change.customer_return.label.tracking_number = BACK
    change.update_mask.paths.append("label")
    house.call(f"{RETURNS}/UpdateReturn", change, CARRIER)
    house.report(scan("IN_TRANSIT", house.now, number=BACK))
    cancel = return_service_pb2.CancelReturnRequest(
        request_id=request_id(), customer_return_id=made.id, reason="the customer keeps it"
    )
    house.call(f"{RETURNS}/CancelReturn", cancel, OMS)
    house.settle_all()
    house.publish()


def test_the_parcel_of_a_return_is_archived_with_its_order(house: House) -> None:
    """Proves that neither the parcel of a return label nor its scans stay behind when the order
    leaves the database, and that both are there before."""
    order_id = house.delivered("1")
    given_up(house, order_id)
    assert set(house.rows_about(BACK)) >= {"parcels", "scans"}
    house.days_pass(DAYS["order"] + 1)
    house.delivered("2")
    assert house.archive().flows == 1
    assert not house.rows_about(BACK), house.rows_about(BACK)
