"""The Manhattan adapter against the simulated warehouse: every order once, every fact kept."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crossdock.fulfillment.v1 import (
    fulfillment_events_pb2,
    fulfillment_pb2,
    fulfillment_service_pb2,
)
from crossdock.label.v1 import label_events_pb2, label_pb2
from crossdock.location.v1 import location_pb2
from crossdock.shipment.v1 import shipment_service_pb2
from crossdock_adapters.manhattan import adapter, conformance
from crossdock_adapters.manhattan.client import ManhattanClient
from crossdock_adapters.manhattan.sandbox import ManhattanSandbox
from crossdock_adapters.sdk import exchange, vendor_json
from crossdock_adapters.sdk.mappings import Code, Meaning, Told, Topic
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.work import HeldPayload, Poll, Work
from fixtures_nats import PATIENCE_SECONDS
from manhattan_hub import SmallHub
from manhattan_world import (
    FACILITY,
    LOCATION,
    OTHER_FACILITY,
    OTHER_LOCATION,
    STILL,
    checked_settings,
    fulfillment_request,
    sandbox_config,
)
from sdk_waiting import until

Pick = fulfillment_service_pb2.ReportPickRequest
Packed = fulfillment_service_pb2.ReportPackedRequest
Manifest = shipment_service_pb2.ManifestShipmentRequest


class World:
    """One simulated warehouse, one small hub, the adapter's client between them."""

    def __init__(self, sandbox: ManhattanSandbox, tmp_path: Path, **changes: Any) -> None:
        self.sandbox = sandbox
        self.hub: Any = SmallHub()
        self.hub.add_items("A-1", "B-2")
        self.settings, self.secrets = checked_settings(sandbox, tmp_path, **changes)
        self.client = ManhattanClient(self.settings, self.secrets)

    def work(self, operation: str, event: Any) -> Work:
        async def no_numbers(kind: str, numbers: Any) -> dict[str, str]:
            return {}

        return Work(
            delivery_id=str(uuid.uuid4()),
            endpoint="manhattan",
            operation=operation,
            item="",
            reference="A" * 20,
            attempt=1,
            event=event,
            settings=self.settings,
            hub=self.hub,
            look_up_numbers=no_numbers,
        )

    def poll(self, name: str = "messages") -> Poll:
        async def no_cursor(value: bytes) -> None:
            raise AssertionError("Pub/Sub keeps the position; there is no cursor")

        return Poll(name, "manhattan", b"", self.settings, self.hub, no_cursor, self.hub.hold)

    async def hear(self, done: Any, seconds: float = PATIENCE_SECONDS) -> None:
        """Run the message poll as the runner does, until the condition holds."""

        async def once() -> bool:
            try:
                await adapter.poll_messages(self.poll(), self.client)
            except Exception as error:
                self.last_trouble = error
            return bool(done())

        await until(once, seconds=seconds)

    def all_acknowledged(self) -> bool:
        pending = self.sandbox.books()["subscriptions"].values()
        return all(each["waiting"] + each["outstanding"] == 0 for each in pending)

    def released(
        self, request: fulfillment_pb2.FulfillmentRequest
    ) -> fulfillment_events_pb2.FulfillmentRequested:
        return fulfillment_events_pb2.FulfillmentRequested(fulfillment_request=request)

    async def release(self, request: fulfillment_pb2.FulfillmentRequest) -> Confirmed:
        work = self.work("release_order", self.released(request))
        return await adapter.release_order(work, self.client)

    async def print_all(self) -> None:
        """Label every package the hub heard of, as the carrier's labels would."""
        for packed in self.hub.of(Packed):
            for package in packed.packages:
                await self.print(package.number, f"1Z{package.number}")

    async def print(self, olpn: str, tracking: str, location: str = LOCATION) -> Confirmed:
        label = label_pb2.Label(
            package_number=olpn,
            tracking_number=tracking,
            ship_from_location_number=location,
            format=label_pb2.LABEL_FORMAT_ZPL,
            image=b"^XA^FDinvented^FS^XZ",
        )
        event = label_events_pb2.LabelCreated(label=label)
        return await adapter.print_label(self.work("print_label", event), self.client)

    def originals(self) -> dict[str, dict[str, Any]]:
        books = self.sandbox.books()["original_orders"]
        return {f"{each['Location']}/{each['OriginalOrderId']}": each for each in books}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with ManhattanSandbox(sandbox_config()) as sandbox:
        made = World(sandbox, tmp_path)  # type: ignore[arg-type]
        yield made
        await made.client.close()


@pytest.fixture
async def still(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose floor does not move."""
    async with ManhattanSandbox(sandbox_config(**STILL)) as sandbox:
        made = World(sandbox, tmp_path)  # type: ignore[arg-type]
        yield made
        await made.client.close()


def many(count: int) -> list[fulfillment_pb2.FulfillmentRequest]:
    return [
        fulfillment_request(
            number=f"SO-{number}-1",
            lines=((1, "A-1", str(number + 1)), (2, "B-2", "60")),
            request_id=str(uuid.UUID(int=number + 1, version=4)),
        )
        for number in range(count)
    ]


async def ship_all(world: World, count: int) -> None:
    """Hear picks and packs, label everything, hear the ship confirms."""
    await world.hear(lambda: len(world.hub.of(Packed)) == count)
    await world.print_all()
    await world.hear(lambda: len(world.hub.of(Manifest)) == count)


def agree(world: World, count: int) -> None:
    """The hub's facts and the warehouse's own books tell the same."""
    hub, books = world.hub, world.sandbox.books()
    assert [len(hub.of(kind)) for kind in (Pick, Packed, Manifest)] == [count] * 3
    assert hub.held == {}
    told = {
        package.number: sum(float(content.quantity.value) for content in package.contents)
        for packed in hub.of(Packed)
        for package in packed.packages
    }
    kept = {
        olpn["OlpnId"]: float(sum(detail["Quantity"] for detail in olpn["OlpnDetail"]))
        for olpn in books["olpns"]
    }
    assert told == kept
    assert {fact.shipment_number for fact in hub.of(Manifest)} == {
        shipment["ShipmentId"] for shipment in books["shipments"]
    }
    assert all(olpn["TrackingNumber"] == f"1Z{olpn['OlpnId']}" for olpn in books["olpns"])


async def test_orders_go_out_and_come_back_shipped(world: World) -> None:
    """Released, picked, packed into cartons, labelled, manifested: hub and books agree."""
    for request in many(6):
        result = await world.release(request)
        assert [each.value for each in result.references] == [request.number]
    await ship_all(world, 6)
    agree(world, 6)
    shipment = world.hub.of(Manifest)[0]
    assert shipment.manifest_time.HasField("instant") and shipment.bill_of_lading
    assert len(world.sandbox.books()["olpns"]) > 6, "bigger orders take several cartons"
    await world.hear(world.all_acknowledged)


async def test_duplicates_and_retriggers_change_nothing(world: World) -> None:
    """Doubled, late and re-sent messages are the same facts again."""
    world.sandbox.faults.add({"kind": "duplicate_webhooks"})
    world.sandbox.faults.add({"kind": "late_webhooks", "delay_seconds": 0.1, "rate": 0.5})
    for request in many(4):
        await world.release(request)
    await ship_all(world, 4)
    heard = world.hub.heard
    again = await world.sandbox._command_retrigger({})
    assert again["sent"] == 12
    await world.hear(lambda: world.hub.heard >= heard + 12)
    agree(world, 4)


async def test_nothing_is_acknowledged_before_the_hub_has_it(world: World) -> None:
    """While the hub is overloaded messages stay in Pub/Sub; afterwards all of them arrive."""
    world.hub.away = 0
    for request in many(3):
        await world.release(request)
    world.hub.away = 7
    await ship_all(world, 3)
    agree(world, 3)
    redelivered = world.sandbox.books()["subscriptions"].values()
    assert sum(each["redelivered"] for each in redelivered) >= 5


async def test_pub_sub_trouble_costs_no_message(world: World) -> None:
    """Lost answers to pulls and acks, 5xx, 429, expired tokens: at least once, told once."""
    for request in many(4):
        await world.release(request)
    for spec in (
        {"kind": "reply_lost", "operation": "pubsub_pull", "count": 2},
        {"kind": "reply_lost", "operation": "pubsub_acknowledge", "count": 2},
        {"kind": "error_before", "operation": "pubsub_pull", "count": 2, "status": 503},
        {"kind": "throttle", "operation": "pubsub_acknowledge", "count": 1},
    ):
        world.sandbox.faults.add(spec)
    await world.sandbox._command_expire_tokens({})
    await ship_all(world, 4)
    agree(world, 4)


async def test_a_warehouse_that_is_down_is_heard_again(world: World) -> None:
    """A refused connection ends the poll with a retry; when it is back the facts come."""
    await world.release(many(1)[0])
    world.sandbox.faults.add({"kind": "down"})
    await world.sandbox.apply_outage()
    await world.client.close()
    with pytest.raises(Retry):
        await adapter.poll_messages(world.poll(), world.client)
    world.sandbox.faults.clear()
    await world.sandbox.apply_outage()
    await ship_all(world, 1)
    agree(world, 1)


async def test_what_nobody_can_read_is_kept_raw(world: World) -> None:
    """Unknown types, broken JSON and refused facts become dead letters, each once, all acked."""
    world.sandbox.faults.add({"kind": "unknown_status", "count": 1})
    await world.release(many(1)[0])
    say = world.sandbox._command_message
    for _ in range(2):
        await say({"subscription": "host-pack", "text": "not json"})
    await say({"subscription": "host-pack", "data": "%%%"})
    await world.hear(lambda: len(world.hub.held) == 3)
    reasons = " ".join(reason for _, reason in world.hub.held.values())
    assert "OlpnAuditEvent" in reasons
    world.hub.refuse = True
    await world.sandbox._command_retrigger({})
    await world.hear(lambda: len(world.hub.held) == 5)
    await world.hear(world.all_acknowledged)
    # The hub takes them now: what was kept is translated into the facts that it would have been.
    world.hub.refuse = False
    kept = dict(world.hub.held)
    world.hub.held.clear()
    for payload, _ in kept.values():
        held = HeldPayload("", "poll:messages", payload, "application/json", asked=False)
        await adapter.translate_message(world.poll(), held, world.client)
    assert len(world.hub.held) == 3, "what nobody can read is held again, with its reason"
    assert len(world.hub.facts) == 2


async def test_a_message_with_a_new_unit_waits_for_its_row(world: World) -> None:
    """A unit without a row is no guess and no loss: once it has one, the message is told in it."""
    text = vendor_json.dumps({**conformance.pick("TOTE"), "FacilityId": FACILITY}).decode()
    await world.sandbox._command_message({"subscription": "host-pick", "text": text})
    await world.hear(lambda: len(world.hub.held) == 1)
    ((payload, reason),) = world.hub.held.values()
    assert "'TOTE' has no row" in reason and world.hub.facts == {}
    mappings = world.client.names.mappings
    row = Told(Topic.UNIT, Code("", "TOTE"), Meaning("H87"), by_deployment=True)
    mappings.replace([*mappings.of_file(), row])
    held = HeldPayload("", "poll:messages", payload, "application/json", asked=True)
    await adapter.translate_message(world.poll(), held, world.client)
    (fact,) = world.hub.facts.values()
    assert [line.quantity.unit for line in fact.picked] == ["H87"]


async def test_a_message_that_reads_otherwise_by_now_is_told_once_more(world: World) -> None:
    """Proves that a pick which was told without the zone of its facility is told once more with it
    and kept nowhere raw, each reading once; and that where it reads as before nothing is new."""
    await adapter.poll_messages(world.poll(), world.client)
    sites = world.client.sites
    known, unknown = dict(sites.zones), dict.fromkeys(sites.zones)
    payload = vendor_json.dumps({**conformance.pick("UNIT"), "FacilityId": FACILITY})
    held = HeldPayload("", "poll:messages", payload, "application/json", asked=False)
    for zones, readings in ((unknown, 1), (unknown, 1), (known, 2), (known, 2), (unknown, 2)):
        sites.zones = zones
        await adapter.translate_message(world.poll(), held, world.client)
        assert (len(world.hub.of(Pick)), world.hub.held) == (readings, {})
    assert [each.pick_time.HasField("instant") for each in world.hub.of(Pick)] == [False, True]


async def test_another_endpoints_facility_is_not_ours(world: World, tmp_path: Path) -> None:
    """A shared subscription brings other sites' messages: kept for a person, never told as ours."""
    await world.release(fulfillment_request(location=OTHER_LOCATION, lines=((1, "A-1", "1"),)))
    other = World(world.sandbox, tmp_path, facilities={LOCATION: FACILITY})
    await other.hear(lambda: len(other.hub.held) == 2)
    assert other.hub.facts == {}
    await other.client.close()


async def test_messages_without_our_id_are_resolved_at_the_hub(
    world: World, tmp_path: Path
) -> None:
    """A tenant without extension fields is told apart by the request's number."""
    plain = World(world.sandbox, tmp_path, fields={"order.host_id": "Note"})
    request = many(1)[0]
    plain.hub.requests[request.number] = request
    await plain.release(request)
    await plain.hear(lambda: len(plain.hub.of(Packed)) == 1)
    assert plain.hub.of(Packed)[0].fulfillment_request_id == request.id
    await plain.client.close()


async def test_each_site_gets_its_own_orders(still: World) -> None:
    """The location decides the header; a location without a facility sends nothing at all."""
    await still.release(fulfillment_request(number="SO-1-1"))
    await still.release(fulfillment_request(number="SO-1-2", location=OTHER_LOCATION))
    assert set(still.originals()) == {f"{FACILITY}/SO-1-1", f"{OTHER_FACILITY}/SO-1-2"}
    calls = len(still.sandbox.calls)
    with pytest.raises(Untranslatable, match="300"):
        await still.release(fulfillment_request(location="300"))
    assert len(still.sandbox.calls) == calls


async def test_items_are_told_before_the_order_and_once(still: World) -> None:
    """The warehouse refuses unknown items, so they go first; known ones cost no call."""
    await still.release(fulfillment_request(number="SO-1-1"))
    await still.release(fulfillment_request(number="SO-2-1"))
    operations = [call.operation for call in still.sandbox.calls if "oauth" not in call.operation]
    assert operations == ["item_bulk_import", "original_order_save", "original_order_save"]
    assert still.hub.item_reads == 2
    with pytest.raises(Untranslatable, match="C-3"):
        await still.release(fulfillment_request(number="SO-3-1", lines=((1, "C-3", "1"),)))


async def test_a_hub_that_is_away_while_items_are_read_is_a_retry(still: World) -> None:
    """Nothing left for the warehouse, so the delivery may simply come again."""
    still.hub.away = 1
    with pytest.raises(Retry):
        await still.release(fulfillment_request(lines=((1, "A-1", "1"),)))
    assert still.originals() == {}


@pytest.mark.parametrize(
    ("kind", "there"), [("reply_lost", True), ("error_after", True), ("error_before", False)]
)
async def test_an_unknown_release_is_looked_up(still: World, kind: str, there: bool) -> None:
    """After a lost answer the search says whether the order is there; nothing is sent blindly."""
    request = fulfillment_request()
    await still.release(fulfillment_request(number="SO-0-1"))
    still.sandbox.faults.add({"kind": kind, "operation": "original_order_save", "count": 1})
    with exchange.recording() as record, pytest.raises(OutcomeUnknown):
        await still.release(request)
    assert record.effect_left
    work = still.work("release_order", still.released(request))
    found = await adapter.find_released_order(work, still.client)
    assert isinstance(found, Confirmed if there else NotFound)
    if not there:
        await still.release(request)
    assert still.originals()[f"{FACILITY}/{request.number}"]["saves"] == 1


async def test_an_item_import_in_trouble_leaves_nothing_unknown(still: World) -> None:
    """Telling items twice changes nothing, so a failure there is a plain retry."""
    still.sandbox.faults.add({"kind": "reply_lost", "operation": "item_bulk_import", "count": 1})
    with exchange.recording() as record, pytest.raises(Retry):
        await still.release(fulfillment_request())
    assert not record.effect_left and still.originals() == {}


async def test_a_repeat_after_the_freeze_is_recognised(world: World) -> None:
    """ "Too late" for a release means that an earlier call got through: adopted, not rejected."""
    request = many(1)[0]
    await world.release(request)
    await world.hear(lambda: len(world.hub.of(Packed)) == 1)
    result = await world.release(request)
    assert "found" in result.note
    assert world.originals()[f"{FACILITY}/{request.number}"]["saves"] == 1


async def test_somebody_elses_order_under_our_number_needs_a_person(still: World) -> None:
    """The same number sent for another request is a collision, never adopted."""
    request = fulfillment_request()
    await still.release(request)
    other = fulfillment_request(request_id=str(uuid.uuid4()))
    with pytest.raises(NeedsPerson):
        await adapter.find_released_order(
            still.work("release_order", still.released(other)), still.client
        )


async def test_a_label_repeats_without_effect_even_after_shipping(world: World) -> None:
    """The same number again is fine at any time; another one on a shipped oLPN is refused."""
    await world.release(many(1)[0])
    await ship_all(world, 1)
    olpn = world.hub.of(Packed)[0].packages[0].number
    await world.print(olpn, f"1Z{olpn}")
    books = {each["OlpnId"]: each for each in world.sandbox.books()["olpns"]}
    assert books[olpn]["label_prints"] == 1 and books[olpn]["saves"] == 2
    with pytest.raises(Reject):
        await world.print(olpn, "1ZANOTHER")


async def test_time_zones_reach_the_locations(world: World) -> None:
    """Each location gets its zone once; one the ERP has not told yet gets it later."""
    hub = world.hub
    hub.places[LOCATION] = location_pb2.Location(number=LOCATION, revision=3)
    await adapter.poll_facilities(world.poll("facilities"), world.client)
    await adapter.poll_facilities(world.poll("facilities"), world.client)
    assert hub.places[LOCATION].time_zone == "America/New_York" and hub.location_writes == 1
    hub.places[OTHER_LOCATION] = location_pb2.Location(number=OTHER_LOCATION, revision=1)
    await adapter.poll_messages(world.poll(), world.client)
    assert hub.places[OTHER_LOCATION].time_zone == "America/Los_Angeles"
    assert hub.location_writes == 2


async def test_secrets_stay_out_of_excerpts(world: World) -> None:
    """Neither tokens nor passwords nor the private key show in what an attempt records."""
    with exchange.recording() as record:
        await world.release(many(1)[0])
        await world.client.subscriptions.pull("host-pick", 1)
    told = record.request_excerpt() + record.response_excerpt()
    for secret in ("sandbox-client-secret", "sandbox-user-password", "PRIVATE KEY", "Bearer ey"):
        assert secret not in told


async def test_two_pollers_share_the_subscriptions(world: World) -> None:
    """Two processes of one endpoint pull side by side: every fact still once."""
    for request in many(5):
        await world.release(request)
    second = ManhattanClient(world.settings, world.secrets)
    try:

        async def both() -> bool:
            await asyncio.gather(
                adapter.poll_messages(world.poll(), world.client),
                adapter.poll_messages(world.poll(), second),
            )
            return len(world.hub.of(Packed)) == 5

        await until(both)
        await world.print_all()
        await world.hear(lambda: len(world.hub.of(Manifest)) == 5)
        agree(world, 5)
    finally:
        await second.close()


@pytest.fixture
async def holding(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose service holds a pull of nothing for much longer than a test takes."""
    settings = sandbox_config(pull_wait_seconds=10 * PATIENCE_SECONDS)
    async with ManhattanSandbox(settings) as sandbox:
        made = World(sandbox, tmp_path)  # type: ignore[arg-type]
        yield made
        await made.client.close()


async def test_no_subscription_waits_for_the_answer_of_another(holding: World) -> None:
    """Proves that orders are heard through to their ship confirms while pulls of nothing are held,
    and that a pull which a run leaves is not asked again."""
    for count, request in enumerate(many(2), 1):
        await holding.release(request)
        await ship_all(holding, count)
    agree(holding, 2)
    pulls = [each for each in holding.sandbox.calls if each.operation == "pubsub_pull"]
    assert sum(not each.effect for each in pulls) <= len(holding.settings.texts("subscriptions"))


async def test_a_run_that_ends_well_has_heard_the_service(holding: World) -> None:
    """Proves that a run goes on beyond its time until one pull is answered: one that ended without
    any would say of a service that hangs that it is there."""
    run = asyncio.create_task(adapter.poll_messages(holding.poll(), holding.client))
    assert not (await asyncio.wait({run}, timeout=1.0))[0], "it ended, and nobody had answered"
    await holding.sandbox._command_message({"subscription": "host-pack", "text": "{}"})
    await asyncio.wait_for(run, PATIENCE_SECONDS)
