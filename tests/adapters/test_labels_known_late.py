"""Parcels whose label the hub had late, or whose number another parcel had before them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.fedex import adapter as fedex_adapter
from crossdock_adapters.fedex import conformance as fedex_conformance
from crossdock_adapters.sdk import carrier_reports, vendor_json
from crossdock_adapters.sdk.outcomes import OutcomeUnknown
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.ups import adapter as ups_adapter
from crossdock_adapters.ups.sandbox import UpsSandbox
from fedex_world import fedex
from test_ups_adapter import World as UpsWorld
from ups_world import SANDBOX_SETTINGS

NOW = datetime.now(UTC)
DELIVERED = shipment_pb2.MILESTONE_DELIVERED


def label_of(
    number: str, carrier: str, known_days_ago: int, bought_days_ago: int | None = None
) -> label_pb2.Label:
    """A label that the hub has since then; bought_days_ago None: nobody said when it was bought."""
    found = label_pb2.Label(tracking_number=number, carrier_code=carrier)
    found.create_time.FromDatetime(NOW - timedelta(days=known_days_ago))
    if bought_days_ago is not None:
        found.purchase_time.instant.FromDatetime(NOW - timedelta(days=bought_days_ago))
    return found


def fedex_result(number: str, days_ago: int) -> bytes:
    """A parcel of this number, delivered so many days ago."""
    day = f"{NOW - timedelta(days=days_ago):%Y-%m-%d}"
    scan = fedex_conformance.scan("DL", "DL", f"{day}T14:12:03-07:00")
    body = vendor_json.loads(fedex_conformance.result(scan))
    body["trackingNumberInfo"]["trackingNumber"] = number
    return vendor_json.dumps(body)


def ups_package(number: str, days_ago: int) -> bytes:
    """The same at UPS."""
    status = {"type": "D", "description": "DELIVERED", "code": "KM", "statusCode": "011"}
    day = f"{NOW - timedelta(days=days_ago):%Y%m%d}"
    activity = {"status": status, "date": day, "time": "141203", "gmtOffset": "-07:00"}
    return vendor_json.dumps({"trackingNumber": number, "activity": [activity]})


@pytest.mark.parametrize(
    ("known", "bought", "first"),
    [
        (1, 1, 2),
        (1, 9, 10),
        # By a clock that goes ahead.
        (1, -3, 2),
        # Found after a lost answer, or told by hand after the parcel left.
        (1, None, 31),
    ],
)
def test_a_parcel_is_looked_for_from_its_purchase_on(
    known: int, bought: int | None, first: int
) -> None:
    """Proves that the first day is that of the purchase, and long before the hub had the label
    where nobody said when that was."""
    label = label_of("794", "FEDEX", known, bought)
    expected: date = (NOW - timedelta(days=first)).date()
    assert carrier_reports.first_day(label) == expected
    assert carrier_reports.first_day(label_pb2.Label(tracking_number="794")) is None


def inquiries_of(world: Any) -> list[Any]:
    """What FedEx is asked about from now on, while it is asked."""
    asked: list[Any] = []
    track = world.client.track

    async def noting(inquiries: Any) -> Any:
        asked.extend(inquiries)
        return await track(inquiries)

    world.client.track = noting
    return asked


async def test_a_fedex_label_that_came_late_is_followed(tmp_path: Path) -> None:
    """Proves that a parcel which was delivered before a person told the hub its number is told as
    delivered: its ship date is within what FedEx is asked for, and its scans are not too old."""
    async with fedex(tmp_path) as world:
        asked = inquiries_of(world)
        number = "794600000017"
        world.sandbox.show(number, fedex_result(number, days_ago=4))
        world.hub.stored[:] = [label_of(number, "FEDEX", known_days_ago=0)]
        await fedex_adapter.poll_tracking(world.poll(), world.client)
        assert world.hub.milestones(number) == [DELIVERED]
    shipped = (NOW - timedelta(days=6)).date().isoformat()
    assert asked[0]["shipDateBegin"] <= shipped <= asked[0]["shipDateEnd"]


@pytest.mark.parametrize(("known", "bought"), [(150, 150), (70, None)])
async def test_a_parcel_that_is_sent_long_after_its_label_is_followed(
    tmp_path: Path, known: int, bought: int | None
) -> None:
    """Proves that FedEx is asked about a ship date of today as long as the hub has the parcel asked
    about: a customer may send a return months after its label was sold."""
    async with fedex(tmp_path) as world:
        asked = inquiries_of(world)
        world.hub.stored[:] = [label_of("794600000017", "FEDEX", known, bought)]
        await fedex_adapter.poll_tracking(world.poll(), world.client)
    assert asked[0]["shipDateEnd"] >= NOW.date().isoformat()


@pytest.mark.parametrize(
    ("begins", "ends", "known"), [(-1, 1, True), (1, 30, False), (-9, -1, False)]
)
async def test_the_simulated_fedex_minds_the_ship_date(
    tmp_path: Path, begins: int, ends: int, known: bool
) -> None:
    """Proves that a question with the wrong dates finds nothing, as at FedEx: one that never minded
    them hid the fault."""
    async with fedex(tmp_path) as world:
        done = await world.buy(world.packed())
        (number,) = [each.value for each in done.references if each.type == "tracking_number"]
        asked = {
            "trackingNumberInfo": {"trackingNumber": number},
            "shipDateBegin": (NOW + timedelta(days=begins)).date().isoformat(),
            "shipDateEnd": (NOW + timedelta(days=ends)).date().isoformat(),
        }
        (shown,) = await world.client.track([asked])
    assert ("error" not in shown) is known


@pytest.mark.parametrize("shows", ["labels", "request"])
async def test_a_fedex_label_that_is_found_has_no_time_of_purchase(
    tmp_path: Path, shows: str
) -> None:
    """Proves that a label which an earlier call bought is not told as bought now."""
    async with fedex(tmp_path, {"after_confirmation": shows}) as world:
        work = world.packed()
        draft = await fedex_adapter.open_shipment(work, world.client)
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "confirm", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await world.buy(work, draft)
        (fact,) = (await world.buy(work, draft)).facts
    assert not fact.label.HasField("purchase_time")


@pytest.mark.parametrize(("delivered", "told"), [(400, []), (4, [DELIVERED])])
async def test_what_ups_shows_of_an_earlier_use_of_a_number_is_not_told(
    delivered: int, told: list[int]
) -> None:
    """Proves that a number which was another parcel's before is not told as delivered, while UPS
    shows nothing else of it; and that of a label which came late everything is told."""
    config = SandboxConfig("ups", seed=3, tick_seconds=0.01, settings=SANDBOX_SETTINGS)
    async with UpsSandbox(config) as sandbox:
        world = UpsWorld(sandbox)
        number = "1ZA1B2C30300000017"
        sandbox.show(number, ups_package(number, delivered))
        world.hub.stored[:] = [label_of(number, "UPS", known_days_ago=0)]
        await ups_adapter.poll_tracking(world.poll("tracking"), world.client)
        assert world.hub.milestones(number) == told
        await world.client.close()
