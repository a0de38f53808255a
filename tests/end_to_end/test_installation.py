"""One installation as `crossdock dev` runs it, hub, sandboxes and adapters, for what only all of
them together can prove: the caller's word, the vendors' own books, and kill -9 in between."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from crossdock.cli import installation as installations
from crossdock.cli.demo.books import CarrierBooks, ErpBooks
from crossdock.cli.demo.views import DeliveryView, HubView, read_deliveries, read_objects
from crossdock.cli.installation import Installation
from crossdock.cli.network.netsuite import ERP_ID_PREFIX
from crossdock.cli.network.vendor import SandboxPace
from crossdock.cli.orders import PlacedOrder, draw_order, place_orders, read_catalogue
from crossdock.cli.processes import Child
from crossdock.cli.workplace import Workplace
from crossdock.cli.workplace_configs import hub_variables
from crossdock.errors import CallError
from crossdock.label.v1 import label_service_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from fixtures_nats import eventually
from otlp_receiver import Collector, Seen, collecting

SEED = 7
WAIT_SECONDS = 120.0
PACE = SandboxPace(
    floor_seconds=0.1, handover_seconds=0.3, scan_seconds=0.1, poll_seconds=5.0, seed=SEED
)
# A lease of a minute, cut so that the doubt after a kill is settled in seconds.
LIMITS = {
    "lease_seconds_max": 6.0,
    "restart_grace_seconds": 2.0,
    "dispatch_seconds": 4.0,
    "retry_seconds_max": 2.0,
    "look_up_retry_seconds_max": 2.0,
}
ANSWER_SECONDS = 20.0
# Within the lease, so that nothing depends on a renewal in time.
LABEL_SECONDS = 4.0
ORDERS_UNDER_LOAD = 4
APPROVING = "/crossdock.order.v1.OrderService/ApproveOrder"
COMPLETING = "/crossdock.delivery.v1.DeliveryService/CompleteAttempts"
EVENT_SENT = "publish crossdock.v1.event.{event}.{partition}"
WORK_SENT = "publish crossdock.v1.delivery.{endpoint}"
ATTEMPT = "process crossdock.v1.delivery.{endpoint}"
# What a trace has of each process, from the approval of an order to its booking.
EACH_SAYS = {
    ("crossdock-oms", APPROVING),
    *(("crossdock-hub", name) for name in (APPROVING, EVENT_SENT, WORK_SENT, COMPLETING)),
    *(("crossdock-adapters", name) for name in (ATTEMPT, "PUT", COMPLETING)),
}
_NUMBERS = itertools.count(1)
pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where every process of the installation exports its spans."""
    with collecting() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installed(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> AsyncIterator[Installation]:
    """The processes of `crossdock dev`, with a hub whose leases are short, and every trace kept."""

    def short(workplace: Workplace) -> dict[str, str]:
        return {**hub_variables(workplace), "CROSSDOCK_LIMITS": json.dumps(LIMITS)}

    directory = tmp_path_factory.mktemp("installation") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installations, "hub_variables", short)
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        running = Installation(Workplace(directory), PACE, print)
        try:
            await running.start()
            yield running
        finally:
            await running.stop()


async def place(installation: Installation, count: int = 1) -> list[PlacedOrder]:
    """The OMS places orders; each call is repeated until the hub has answered."""
    async with installation.client("operator") as operator:
        catalogue = await read_catalogue(operator)
    now = datetime.now(UTC).replace(microsecond=0)
    drawn = [draw_order(f"ONE-{next(_NUMBERS):03}", catalogue, SEED, now) for _ in range(count)]
    async with installation.client("oms") as oms:
        return await place_orders(oms, drawn)


def kill_9(child: Child) -> None:
    """End exactly this process."""
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)


async def read_all(installation: Installation) -> tuple[HubView, list[DeliveryView]]:
    """The hub's objects, and every delivery with its attempts."""
    async with installation.client("operator") as operator:
        view = await read_objects(operator)
        return view, [
            each
            for endpoint in installation.workplace.network.vendor_ids
            for each in await read_deliveries(operator, endpoint, with_attempts=True)
        ]


async def all_done(installation: Installation) -> tuple[HubView, list[DeliveryView]]:
    """What the hub says once every order is delivered and every delivery is confirmed."""
    found: tuple[HubView, list[DeliveryView]] | None = None

    async def done() -> bool:
        nonlocal found
        try:
            found = view, work = await read_all(installation)
        except CallError:
            return False
        # A parcel whose label was found late is delivered before its warehouse says it has left.
        posted = sum(each.operation == "post_goods_issue" for each in work)
        return (
            all(order.state == "DELIVERED" for order in view.orders)
            and posted == len(view.shipments)
            and all(each.state == "CONFIRMED" for each in work)
        )

    await eventually(done, "every order delivered and all work confirmed", WAIT_SECONDS)
    assert found is not None
    return found


async def assert_once(installation: Installation, placed: list[PlacedOrder]) -> list[DeliveryView]:
    """One label a package, one sales order an order, one item fulfillment a shipment."""
    view, work = await all_done(installation)
    assert {order.id for order in placed} <= {order.id for order in view.orders}
    ups = CarrierBooks.read(await installation.sandbox("ups").books())
    numbers = [package.tracking_number for package in view.packages]
    assert sorted(ups.parcels) == sorted(numbers), "a second label, or one nobody knows"
    erp = ErpBooks.read(await installation.sandbox("netsuite").books(), ERP_ID_PREFIX)
    assert set(erp.sales_orders) == {order.id for order in view.orders}
    assert set(erp.fulfillments) == {shipment.id for shipment in view.shipments}
    assert set(erp.made.values()) == {1}, erp.made
    return work


async def label_calls(
    installation: Installation, wanted: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """The label calls in the carrier's own log of which this holds, as soon as there are some."""
    found: list[dict[str, Any]] = []

    async def seen() -> bool:
        calls = await installation.sandbox("ups").calls(operation="ship")
        found[:] = filter(wanted, calls)
        return bool(found)

    await eventually(seen, "a label call", WAIT_SECONDS)
    return found


async def crossdock(installation: Installation, *arguments: str) -> Any:
    """What a command prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crossdock.cli", *arguments, "--json",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "CROSSDOCK_DATA": str(installation.workplace.directory)},
    )  # fmt: skip
    printed, complaint = await process.communicate()
    assert process.returncode == 0, f"{arguments}: {complaint.decode()}"
    return json.loads(printed)


def documents(lineage: dict[str, Any]) -> dict[str, str]:
    """The numbers that vendors gave, by their type."""
    return {
        reference["type"]: reference["value"]
        for posting in lineage["postings"]
        for reference in posting.get("vendor_references", [])
    }


async def test_a_packing_station_gets_the_label_that_ups_sold(installed: Installation) -> None:
    """Proves that AwaitLabel, asked before UPS has sold the label, answers with it as soon as
    UPS has, long before its deadline, and that the number is the one in UPS's books."""
    ups = installed.sandbox("ups")
    await ups.fault("slow", operation="ship", count=1, delay_seconds=LABEL_SECONDS)
    sold_before = set(CarrierBooks.read(await ups.books()).parcels)
    (order,) = await place(installed)
    packages: list[str] = []

    asked_about = shipment_service_pb2.ListShipmentsRequest(order_id=order.id)
    async with installed.client("manhattan") as station:

        async def packed() -> bool:
            shipments = (await station.shipments.ListShipments(asked_about)).shipments
            packages[:] = [package.id for each in shipments for package in each.packages]
            return bool(packages)

        await eventually(packed, "a packed shipment", WAIT_SECONDS)
        asked = label_service_pb2.AwaitLabelRequest(package_id=packages[0])
        waiting = asyncio.ensure_future(
            station.labels.AwaitLabel(asked, timeout=ANSWER_SECONDS)  # type: ignore[call-arg]
        )
        await label_calls(installed, lambda call: call["end"] is None)
        assert not waiting.done(), "nothing is sold yet"
        answer = await waiting
    assert answer.WhichOneof("result") == "label", answer
    assert answer.label.package_id == packages[0]
    sold = set(CarrierBooks.read(await ups.books()).parcels) - sold_before
    assert answer.label.tracking_number in sold
    await assert_once(installed, [order])


async def test_every_id_leads_to_the_same_chain(installed: Installation) -> None:
    """Proves that `crossdock trace` leads from each id that anybody has of an order, ours and the
    vendors', to the same chain and verdict."""
    (order,) = await place(installed)
    await assert_once(installed, [order])
    chain = await crossdock(installed, "trace", order.number)
    assert chain["verdict"] == "VERDICT_COMPLETE"
    assert chain["root_id"] == order.id
    numbers = documents(chain)
    shipment = next(node for node in chain["nodes"] if node["kind"] == "shipment")
    keys = {
        "order id": order.id,
        "fulfillment request": order.fulfillment_request_ids[0],
        "shipment id": shipment["id"],
        "shipment number": shipment["number"],
        "tracking number": numbers["tracking_number"],
        "sales order of the ERP": numbers["sales_order"],
        "item fulfillment of the ERP": numbers["item_fulfillment"],
        "delivery id": chain["deliveries"][0]["id"],
        "event id": chain["events"][0]["id"],
        "trace id": chain["trace_id"],
    }
    for what, key in keys.items():
        found = await crossdock(installed, "trace", key)
        assert (found["root_id"], found["verdict"]) == (order.id, chain["verdict"]), what


def is_whole(spans: list[Seen]) -> bool:
    """Whether each process has exported what it has to say: each its own, when it comes to that."""
    rpcs = {each.id for each in spans if each.name == COMPLETING}
    if not any(each.name == "commit" and each.parent in rpcs for each in spans):
        return False
    known = {each.id for each in spans}
    loose = [each for each in spans if each.parent not in known]
    return len(loose) == 1 and {(each.service, each.name) for each in spans} >= EACH_SAYS


async def spans_of_work(collector: Collector, work: dict[str, Any]) -> list[Seen]:
    """The spans of a delivery's trace, once all have come."""
    found: list[Seen] = []

    async def completed() -> bool:
        found[:] = collector.of(work["trace_id"])
        return is_whole(found)

    try:
        await eventually(completed, f"the whole of trace {work['trace_id']}", WAIT_SECONDS)
    except AssertionError as late:
        raise AssertionError("\n".join([str(late), *map(str, found)])) from None
    return found


def below(spans: list[Seen], parent: Seen | None, service: str, name: str) -> Seen:
    """The one span of a name whose parent this is; None: the root."""
    parent_id = parent.id if parent else ""
    wanted = (f"crossdock-{service}", name, parent_id)
    (found,) = (each for each in spans if (each.service, each.name, each.parent) == wanted)
    assert found.start <= found.end
    assert parent is None or parent.start <= found.start
    assert not found.failed, found
    return found


async def test_one_trace_from_the_rpc_to_its_completion(
    installed: Installation, collector: Collector
) -> None:
    """Proves that what caller, hub and adapters export of an approved order is one trace, each span
    below the one that caused it: the caller's RPC, the hub's, commit, publish, the adapter's
    attempt, its HTTP call as the vendor got it, its completion, and the commit of that."""
    placed = await crossdock(installed, "trigger", "order")
    number = placed["orders"][0]["number"]
    chain: dict[str, Any] = {}

    async def booked() -> bool:
        chain.update(await crossdock(installed, "trace", number))
        return "sales_order" in documents(chain)

    await eventually(booked, "a sales order", WAIT_SECONDS)
    # The id that a person is told is a trace that comes.
    await eventually(lambda: collector.of(chain["trace_id"]), "the trace", WAIT_SECONDS)
    work = next(each for each in chain["deliveries"] if each["operation"] == "create_sales_order")
    spans = await spans_of_work(collector, work)
    caller = below(spans, None, "oms", APPROVING)
    rpc = below(spans, caller, "hub", APPROVING)
    commit = below(spans, rpc, "hub", "commit")
    assert commit.attributes["crossdock.batch.commands"] >= 1
    assert commit.attributes["crossdock.refused"] is False
    event = below(spans, rpc, "hub", EVENT_SENT)
    assert event.attributes["messaging.operation.type"] == "send"
    sent = below(spans, rpc, "hub", WORK_SENT)
    assert sent.attributes["messaging.destination.name"] == "crossdock.v1.delivery.netsuite"
    assert commit.end <= min(event.start, sent.start), "nothing leaves before it is durable"
    attempt = below(spans, sent, "adapters", ATTEMPT)
    said = {
        "crossdock.delivery.id": work["id"],
        "crossdock.order.id": chain["root_id"],
        "crossdock.order.number": number,
        "crossdock.event.type": "crossdock.order.v1.OrderApproved",
        "crossdock.decision": "CONFIRMED",
    }
    assert {name: attempt.attributes[name] for name in said} == said
    given = attempt.attributes["crossdock.vendor.references"]
    assert f"sales_order={documents(chain)['sales_order']}" in given
    call = below(spans, attempt, "adapters", "PUT")
    got = await installed.sandbox("netsuite").calls()
    place = ["00", work["trace_id"], call.id]
    assert place in [each["traceparent"].split("-")[:3] for each in got]
    completion = below(spans, attempt, "adapters", COMPLETING)
    assert call.end <= completion.start
    below(spans, below(spans, completion, "hub", COMPLETING), "hub", "commit")
    known = {each.id for each in spans}
    assert [each for each in spans if each.parent not in known] == [caller], "nothing hangs loose"


def track_alert(installation: Installation, body: bytes, authorization: str) -> int:
    """Call the adapter's inbound side as UPS does: the status of its answer."""
    port = installation.workplace.ports["ups-webhook"]
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as door:
        door.request("POST", "/ups/track-alert", body, headers)
        return door.getresponse().status


def kept(installation: Installation) -> dict[str, int]:
    """Rows in the tables of the hub that a webhook could end in."""
    uri = f"file:{installation.workplace.hub_directory / 'crossdock.db'}?mode=ro"
    tables = ("scans", "held_facts", "events", "objects", "dead_letter_groups")
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in tables
        }


async def test_a_webhook_without_the_right_credential_leaves_nothing(
    installed: Installation,
) -> None:
    """Proves that the running adapter answers 401 to a callback whose credential is wrong or
    missing, sound or unreadable, that the hub then holds nothing of it, and that the same bytes
    with the right credential are a scan: nothing else was wrong with them."""
    (order,) = await place(installed)
    await assert_once(installed, [order])
    view, _ = await read_all(installed)
    number = view.of({order.id}).packages[0].tracking_number
    scan = {
        "trackingNumber": number,
        "localActivityDate": "20260102",
        "localActivityTime": "030405",
        "activityStatus": {"type": "I", "code": "DP", "description": "Departed from Facility"},
    }
    body = json.dumps(scan).encode()
    before = kept(installed)
    for forged in ("", "Bearer ", "Bearer not-the-credential", "Basic Zm9yZ2VkOmZvcmdlZA=="):
        for sent in (body, b"{not JSON", b""):
            assert await asyncio.to_thread(track_alert, installed, sent, forged) == 401, forged
    assert kept(installed) == before
    secret = installed.workplace.secret_file("ups-callback-credential").read_text().strip()
    assert await asyncio.to_thread(track_alert, installed, body, f"Bearer {secret}") == 200
    await eventually(lambda: kept(installed)["scans"] == before["scans"] + 1, "the scan")


async def test_kill_9_of_the_adapters_after_ups_has_booked(installed: Installation) -> None:
    """Proves that adapters killed while they wait for the answer about a label that UPS has booked
    already find it by its reference: one label call, one label, a look-up that confirms it."""
    restarts = installed.adapters.restarts
    ups = installed.sandbox("ups")
    await ups.fault("slow_after", operation="ship", count=1, delay_seconds=ANSWER_SECONDS)
    placed = await place(installed, 2)

    def booked(call: dict[str, Any]) -> bool:
        return call["end"] is None and bool(call["effect"])

    (caught,) = await label_calls(installed, booked)
    kill_9(installed.adapters)
    work = await assert_once(installed, placed)
    assert installed.adapters.restarts == restarts + 1
    asked = Counter(call["key"] for call in await ups.calls(operation="ship"))
    assert set(asked.values()) == {1}, asked
    found = CarrierBooks.read(await ups.books()).by_reference[caught["key"]]
    (label,) = (each for each in work if each.document("tracking_number") in found)
    assert [each.kind for each in label.attempts] == ["CALL", "LOOK_UP"], label
    assert [each.outcome for each in label.attempts] == ["LEASE_EXPIRED", "CONFIRMED"], label


async def test_kill_9_of_the_hub_under_load(installed: Installation) -> None:
    """Proves that a hub killed while orders flow through three vendors delivers all of them, and
    that no vendor holds anything twice."""
    restarts = installed.hub.restarts
    before = len(await installed.sandbox("ups").calls(operation="ship"))
    placed = await place(installed, ORDERS_UNDER_LOAD)

    async def labels_are_bought() -> bool:
        return len(await installed.sandbox("ups").calls(operation="ship")) > before

    await eventually(labels_are_bought, "a label call", WAIT_SECONDS)
    kill_9(installed.hub)
    await assert_once(installed, placed)
    assert installed.hub.restarts == restarts + 1
