"""An evening of the full network: what is placed, what goes wrong meanwhile, and what all say of it
at the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crossdock.cli.demo.views import HubView, read_objects
from crossdock.cli.installation import Installation, all_serving
from crossdock.cli.names import delivery_state
from crossdock.cli.network import FULL, salesforce
from crossdock.cli.network.vendor import BUSINESS_UNIT, CarrierAccount, SandboxPace
from crossdock.cli.orders import draw_order, place_orders, read_catalogue
from crossdock.delivery.v1 import delivery_pb2
from crossdock.label.v1 import label_pb2, label_service_pb2
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2
from crossdock.order.v1 import order_pb2
from crossdock.shipment.v1 import shipment_pb2, shipment_service_pb2
from fixtures_nats import eventually

SEED = 11
WAIT_SECONDS = 120.0
# Faults come one after the other to the same order, and what a killed process had begun is taken up
# when its lease is over.
WAIT_IN_TROUBLE_SECONDS = 420.0
RESTART_SECONDS = 60.0
ORDER, GOODS_ISSUE = "create_sales_order", "post_goods_issue"
MAXIMUM_DRAWN = 1_000
PAGE = 500
PACE = SandboxPace(
    floor_seconds=0.1, handover_seconds=0.3, scan_seconds=0.1, poll_seconds=5.0, seed=SEED
)
ERPS = {
    unit: vendor
    for vendor in FULL.vendors
    if vendor.role == "ERP"
    for unit in vendor.scope["business_units"]
}
CARRIERS = {
    account.carrier_code: vendor.endpoint
    for vendor in FULL.vendors
    for account in vendor.carrier_accounts
}
ACCOUNTS = {account.carrier_code: account for account in FULL.carrier_accounts}


@dataclass(frozen=True)
class Trouble:
    """A fault that one sandbox shows once."""

    endpoint: str
    kind: str
    operation: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)


def _troubles(endpoint: str, *each: tuple[str, str | None, dict[str, Any]]) -> list[Trouble]:
    return [Trouble(endpoint, *one) for one in each]


# Of each endpoint: an answer that is lost after the commit, too many calls with a time to wait, a
# 503, and a commit that comes after everybody stopped waiting, where its protocol has these.
THROTTLED = {"retry_after_seconds": 1}
GATEWAY = {"status": 503}
# Longer than `timeout_seconds` and `statement_seconds` of the two legacy ERPs, four seconds.
COMES_LATE = {"delay_seconds": 4.5}
TROUBLES = [
    *_troubles(
        "netsuite",
        ("reply_lost", "upsert", {}),
        ("throttle", "upsert", THROTTLED),
        ("error_after", "transform", GATEWAY),
    ),
    *_troubles(
        "sap",
        ("reply_lost", "create_sales_order", {}),
        ("throttle", "query_sales_orders", THROTTLED),
        ("error_after", "post_goods_issue", GATEWAY),
    ),
    *_troubles(
        "legacy-file",
        ("reply_lost", "rename", {}),
        ("error_before", "put", {}),
        ("throttle", "list", {}),
    ),
    *_troubles(
        "legacy-soap",
        ("slow", "sales-orders", COMES_LATE),
        ("throttle", "goods-issues", THROTTLED),
        ("reply_lost", "goods-issues", {}),
    ),
    *_troubles(
        "legacy-table",
        ("slow", "commit", COMES_LATE),
        ("reply_lost", "commit", {}),
        ("error_before", "write", {}),
    ),
    *_troubles(
        "manhattan",
        ("reply_lost", "original_order_save", {}),
        ("throttle", "original_order_save", THROTTLED),
        ("error_before", "olpn_save", GATEWAY),
    ),
    *_troubles(
        "ups",
        ("reply_lost", "ship", {}),
        ("throttle", "ship", THROTTLED),
        ("error_before", "ship", GATEWAY),
        ("duplicate_webhooks", None, {}),
    ),
    *_troubles(
        "fedex",
        ("throttle", "create", THROTTLED),
        ("error_after", "create", GATEWAY),
        ("reply_lost", "confirm", {}),
        ("duplicate_webhooks", None, {}),
    ),
    *_troubles(
        "gls",
        ("reply_lost", "create", {}),
        ("throttle", "create", THROTTLED),
        ("error_before", "search", GATEWAY),
    ),
    *_troubles(
        "canada-post",
        ("reply_lost", "create", {}),
        ("throttle", "create", {}),
        ("error_before", "artifact", GATEWAY),
        ("reply_lost", "transmit", {}),
    ),
    *_troubles(
        "ltl-freight",
        ("reply_lost", "create", {}),
        ("throttle", "create", THROTTLED),
        ("error_before", "create", GATEWAY),
    ),
    *_troubles(
        "salesforce",
        ("reply_lost", "create_invoice", {}),
        ("throttle", "upsert_shipment", THROTTLED),
        ("error_before", "update_fulfillment_order", GATEWAY),
    ),
]


@dataclass(frozen=True)
class Placed:
    """An order by our number, and who books and carries it."""

    number: str
    business_unit: str
    carrier_code: str


@dataclass(frozen=True)
class Evening:
    """What was placed, and what the hub and every vendor say of it at the end. left: faults that
    struck nobody, by endpoint; kills: how often the adapters' process died. data: its directory."""

    data: Path
    began: datetime
    drawn: dict[str, Placed]
    lineages: dict[str, lineage_pb2.Lineage]
    view: HubView
    shipments: list[shipment_pb2.Shipment]
    labels: list[label_pb2.Label]
    books: dict[str, dict[str, Any]]
    in_trouble: bool
    left: dict[str, list[str]]
    kills: int

    def of_unit(self, unit: str) -> list[str]:
        """Ids of a business unit's orders."""
        return [each for each, order in self.drawn.items() if order.business_unit == unit]


def books_for(unit: str, account: CarrierAccount) -> bool:
    """Whether an order of a business unit may leave from every dock of a carrier's account."""
    places = ERPS[unit].scope.get("location_numbers", list(FULL.docks))
    return set(account.docks) <= set(places)


async def spend(installation: Installation, in_trouble: bool) -> Evening:
    """From the first order to the last parcel."""
    began = datetime.now(UTC)
    if in_trouble:
        for each in TROUBLES:
            await installation.sandbox(each.endpoint).fault(
                each.kind, operation=each.operation, count=1, **each.fields
            )
    placed = await from_the_oms(installation)
    kills = 0
    if in_trouble:
        # In the middle of booking and releasing, and in the middle of labels and goods issues.
        kills += await kill_adapters(installation)
    placed |= await from_salesforce(installation)
    if in_trouble:
        await until_labelled(installation, len(placed) // 3)
        kills += await kill_adapters(installation)
    told = await lineages(installation, placed, in_trouble)
    async with installation.client("operator") as operator:
        view = await read_objects(operator)
        shipped = await operator.shipments.ListShipments(
            shipment_service_pb2.ListShipmentsRequest(page_size=PAGE)
        )
        bought = await operator.labels.ListLabels(
            label_service_pb2.ListLabelsRequest(page_size=PAGE)
        )
    sandboxes = {each: installation.sandbox(each) for each in FULL.vendor_ids}
    left = {
        name: [f"{each['kind']} {each['operation']}" for each in await sandbox.faults()]
        for name, sandbox in sandboxes.items()
    }
    books = {name: await sandbox.books() for name, sandbox in sandboxes.items()}
    return Evening(
        data=installation.workplace.directory,
        began=began,
        drawn=placed,
        lineages=told,
        view=view,
        shipments=list(shipped.shipments),
        labels=list(bought.labels),
        books=books,
        in_trouble=in_trouble,
        left=left,
        kills=kills,
    )


def draw(catalogue: Any) -> list[order_pb2.Order]:
    """An order for every pair of a business unit and a carrier that can have one."""
    now = datetime.now(UTC).replace(microsecond=0)
    found: dict[tuple[str, str], order_pb2.Order] = {}
    for number in range(MAXIMUM_DRAWN):
        order = draw_order(f"NET-{number:03}", catalogue, SEED, now)
        found.setdefault((order.business_unit, order.carrier_code), order)
    assert set(found) == {
        (unit, code)
        for unit in ERPS
        for code, account in ACCOUNTS.items()
        if books_for(unit, account)
    }
    return list(found.values())


async def from_the_oms(installation: Installation) -> dict[str, Placed]:
    """Orders that the OMS places, by their ids."""
    async with installation.client("oms") as oms:
        drawn = {order.number: order for order in draw(await read_catalogue(oms))}
        placed = await place_orders(oms, list(drawn.values()))
    return {
        each.id: Placed(each.number, order.business_unit, order.carrier_code)
        for each in placed
        for order in [drawn[each.number]]
    }


async def from_salesforce(installation: Installation) -> dict[str, Placed]:
    """Orders that people place in Salesforce, one for each way of delivery, once the hub has
    them."""
    wanted: dict[str, Placed] = {}
    for index, (method, ordered) in enumerate(salesforce.DELIVERY_METHODS.items(), 1):
        given = {"number": f"{index:04}", "delivery_method": method}
        await installation.sandbox("salesforce").command("fulfillment_order", given)
        number = f"{salesforce.NUMBER_PREFIX}{index:04}"
        wanted[number] = Placed(number, BUSINESS_UNIT, ordered.partition("/")[0])
    found: dict[str, Placed] = {}

    async def arrived() -> bool:
        async with installation.client("operator") as operator:
            view = await read_objects(operator)
        found.update(
            {each.id: wanted[each.number] for each in view.orders if each.number in wanted}
        )
        return len(found) == len(wanted)

    await eventually(arrived, "the orders of Salesforce are at the hub", WAIT_SECONDS)
    return found


async def kill_adapters(installation: Installation) -> int:
    """End the adapters' process without a word, and wait until a new one serves."""
    adapters = installation.adapters
    before, pid = adapters.restarts, adapters.pid
    os.kill(pid, signal.SIGKILL)

    def serves_again() -> bool:
        document = adapters.document()
        return adapters.restarts > before and document is not None and all_serving(document)

    await eventually(serves_again, "the adapters serve again", RESTART_SECONDS)
    assert adapters.pid != pid
    return 1


async def until_labelled(installation: Installation, count: int) -> None:
    """Until so many packages have a label."""

    async def labelled() -> bool:
        async with installation.client("operator") as operator:
            view = await read_objects(operator)
        return sum(bool(package.tracking_number) for package in view.packages) >= count

    await eventually(labelled, f"{count} packages have a label", WAIT_IN_TROUBLE_SECONDS)


async def lineages(
    installation: Installation, placed: Mapping[str, Placed], in_trouble: bool
) -> dict[str, lineage_pb2.Lineage]:
    """What became of each order, once all of it is complete."""
    found: dict[str, lineage_pb2.Lineage] = {}
    waiting: dict[str, str] = {}

    async def complete() -> bool:
        async with installation.client("operator") as operator:
            for order_id in set(placed) - set(found):
                request = lineage_service_pb2.TraceRequest(id=order_id)
                lineage = (await operator.lineage.Trace(request)).lineage
                waiting[order_id] = _told(placed[order_id], lineage)
                if is_over(lineage):
                    found[order_id] = lineage
        return len(found) == len(placed)

    seconds = WAIT_IN_TROUBLE_SECONDS if in_trouble else WAIT_SECONDS
    try:
        await eventually(complete, "every order is complete", seconds)
    except AssertionError:
        pytest.fail("\n".join(waiting[each] for each in sorted(set(placed) - set(found))))
    return found


def is_over(lineage: lineage_pb2.Lineage) -> bool:
    """Whether an order is complete and every shipment of it is booked as gone.

    The verdict is not taken at its word: while the adapters are dead, a parcel may be at its door
    before anybody has heard from the warehouse that it left, and then nothing is open for a moment.
    """
    shipments = {node.id for node in lineage.nodes if node.kind == "shipment"}
    booked = {each.object_id for each in lineage.postings if each.operation == GOODS_ISSUE}
    complete = lineage.verdict == lineage_pb2.VERDICT_COMPLETE
    return complete and bool(shipments) and shipments <= booked


def _told(order: Placed, lineage: lineage_pb2.Lineage) -> str:
    """Why an order is not complete, with its deliveries that are open."""
    endings = [
        f"  {each.endpoint} {each.operation}: {delivery_state(each.state)}, "
        + "; ".join(attempt.reason for attempt in each.attempt_log if attempt.reason)
        for each in lineage.deliveries
        if each.state != delivery_pb2.DELIVERY_STATE_CONFIRMED
    ]
    return "\n".join([f"{order.number} ({order.business_unit}): {lineage.sentence}", *endings])
