"""The UPS adapter against the simulated UPS: one label per package whatever gets lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from carrier_hub import SmallHub, check
from crossdock.fulfillment.v1 import fulfillment_events_pb2
from crossdock.label.v1 import label_events_pb2, label_pb2, label_service_pb2
from crossdock.shipment.v1 import shipment_events_pb2, shipment_pb2
from crossdock_adapters.sdk import carrier_labels, vendor_json
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NotFound,
    OutcomeUnknown,
    Reject,
    Retry,
    Untranslatable,
)
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.sandbox_server import Listener
from crossdock_adapters.sdk.work import Poll, Refused, Webhook, Work
from crossdock_adapters.ups import adapter
from crossdock_adapters.ups.client import UpsClient
from crossdock_adapters.ups.sandbox import UpsSandbox
from sdk_waiting import until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from ups_world import (
    CALLBACK_CREDENTIAL,
    PACKAGE_ID,
    SANDBOX_SETTINGS,
    SHIPMENT_ID,
    checked_settings,
    client_for,
    packed_shipment,
)

DELIVERY_ID = "0190f7a2-0000-7e5f-8a6b-00000000000a"


def reference_of(delivery_id: str) -> str:
    """Twenty base32 characters per delivery, as the hub derives them."""
    digest = hashlib.sha256(delivery_id.encode()).digest()
    return base64.b32encode(digest).decode()[:20]


class World:
    """One simulated UPS, one small hub, the adapter's client between them."""

    def __init__(self, sandbox: UpsSandbox, **changes: Any) -> None:
        self.sandbox = sandbox
        self.hub: Any = SmallHub()
        self.client: UpsClient = client_for(sandbox, **changes)
        self.settings, self.secrets = checked_settings(sandbox.vendor_url, **changes)

    def work(self, operation: str, event: Any, delivery_id: str = DELIVERY_ID) -> Work:
        async def no_numbers(kind: str, numbers: Any) -> dict[str, str]:
            return {}

        return Work(
            delivery_id=delivery_id,
            endpoint="ups",
            operation=operation,
            item=PACKAGE_ID,
            reference=reference_of(delivery_id),
            attempt=1,
            event=event,
            settings=self.settings,
            hub=self.hub,
            look_up_numbers=no_numbers,
        )

    def packed(self, delivery_id: str = DELIVERY_ID) -> Work:
        event = fulfillment_events_pb2.FulfillmentPacked(shipment=packed_shipment())
        return self.work("buy_label", event, delivery_id)

    def voided(self, number: str = "") -> Work:
        shipment = packed_shipment()
        if number:
            shipment.progress.add(package_id=PACKAGE_ID, tracking_number=number)
        return self.work("void_label", shipment_events_pb2.ShipmentVoided(shipment=shipment))

    def bought(self, number: str) -> Work:
        label = label_pb2.Label(tracking_number=number, shipment_id=SHIPMENT_ID)
        return self.work("subscribe_tracking", label_events_pb2.LabelCreated(label=label))

    def poll(self, name: str, cursor: bytes = b"") -> Poll:
        async def keep(raw: bytes) -> None:
            self.cursor = raw

        return Poll(name, "ups", cursor, self.settings, self.hub, keep, self.hub.hold)

    def hook(self, body: bytes, authorization: str = f"Bearer {CALLBACK_CREDENTIAL}") -> Webhook:
        return Webhook(
            "/ups/track-alert",
            "ups",
            body,
            {"authorization": authorization, "content-type": "application/json"},
            {},
            self.settings,
            self.secrets,
            self.hub,
            self.hub.hold,
        )

    def labels(self, reference: str) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.books()["labels_by_reference"].get(reference, {})
        return found

    async def sell(self, count: int) -> list[str]:
        """Labels the hub knows of, each bought by its own delivery."""
        numbers = []
        for position in range(count):
            done = await adapter.buy_label(self.packed(f"delivery-{position}"), self.client)
            label = label_of(done)
            self.hub.stored.append(label)
            numbers.append(label.tracking_number)
        return numbers


@pytest.fixture
async def world() -> AsyncIterator[World]:
    config = SandboxConfig("ups", seed=3, tick_seconds=0.01, settings=SANDBOX_SETTINGS)
    async with UpsSandbox(config) as sandbox:
        assert isinstance(sandbox, UpsSandbox)
        made = World(sandbox)
        yield made
        await made.client.close()


def label_of(done: Confirmed | NotFound) -> label_pb2.Label:
    """The label a purchase or a look-up reports, proved to fit the contract."""
    assert isinstance(done, Confirmed)
    (fact,) = done.facts
    assert isinstance(fact, label_service_pb2.CreateLabelRequest)
    check(fact)
    return fact.label


def number_of(done: Confirmed | NotFound) -> str:
    return label_of(done).tracking_number


def test_manifest_and_functions_agree() -> None:
    """Every declared operation, look-up and poll is wired, and nothing else."""
    adapter.ADAPTER.check()
    assert adapter.ADAPTER.manifest.role == "CARRIER"


async def test_a_label_is_bought_under_our_reference(world: World) -> None:
    """The fact carries number, image, price and reference; the books know one label."""
    work = world.packed()
    done = await adapter.buy_label(work, world.client)
    label = label_of(done)
    assert world.labels(work.reference)["tracking_numbers"] == [label.tracking_number]
    assert label.image.startswith(b"^XA")
    assert label.purchase_reference == work.reference
    assert label.price.currency == "USD"
    assert float(label.price.amount) > 0
    assert label.purchase_time.HasField("instant")


async def test_a_label_too_large_to_keep_says_that_nothing_prints(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The label counts as bought, and note and log say why the printer stays silent."""
    monkeypatch.setattr(carrier_labels, "MAX_LABEL_BYTES", 10)
    done = await adapter.buy_label(world.packed(), world.client)
    assert label_of(done).image == b""
    for told in (done.note, caplog.text):
        assert "nothing to print" in told and "the hub takes 10" in told


@pytest.mark.parametrize("kind", ["reply_lost", "error_after"])
async def test_a_lost_answer_is_found_and_never_bought_again(world: World, kind: str) -> None:
    """After UPS booked and the answer got lost, the look-up adopts that very label."""
    work = world.packed()
    world.sandbox.faults.add({"kind": kind, "operation": "ship", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.buy_label(work, world.client)
    done = await adapter.find_label(work, world.client)
    assert world.labels(work.reference)["tracking_numbers"] == [number_of(done)]
    assert label_of(done).image.startswith(b"^XA")


async def test_nothing_booked_is_not_found(world: World) -> None:
    """An error before the work leaves nothing; the look-up says so, by exact reference only."""
    work = world.packed()
    await adapter.buy_label(world.packed("another-delivery"), world.client)
    world.sandbox.faults.add({"kind": "error_before", "operation": "ship", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.buy_label(work, world.client)
    assert isinstance(await adapter.find_label(work, world.client), NotFound)


async def test_a_booking_that_shows_late_is_found_later() -> None:
    """Before it is visible the look-up finds nothing, afterwards the one label."""
    settings = {**SANDBOX_SETTINGS, "booking_visible_after_seconds": 3}
    config = SandboxConfig("ups", seed=3, tick_seconds=0.01, settings=settings)
    async with UpsSandbox(config) as sandbox:
        assert isinstance(sandbox, UpsSandbox)
        late = World(sandbox)
        work = late.packed()
        sandbox.faults.add({"kind": "reply_lost", "operation": "ship", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await adapter.buy_label(work, late.client)
        assert isinstance(await adapter.find_label(work, late.client), NotFound)

        async def found() -> bool:
            return isinstance(await adapter.find_label(work, late.client), Confirmed)

        await until(found)
        assert late.labels(work.reference)["bought"] == 1
        await late.client.close()


async def test_a_second_label_that_ups_does_not_void_is_told_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the carrier keeps beside the adopted label is a duplicate for the hub to raise."""
    work = world.packed()
    first = number_of(await adapter.buy_label(work, world.client))
    second = number_of(await adapter.buy_label(work, world.client))

    async def refuse(number: str) -> Any:
        raise Reject("190117", "the shipment was scanned")

    monkeypatch.setattr(world.client, "void", refuse)
    done = await adapter.find_label(work, world.client)
    assert isinstance(done, Confirmed) and number_of(done) == first
    assert [duplicate.value for duplicate in done.duplicates] == [second]


async def test_of_two_labels_the_oldest_is_kept_and_the_other_voided(world: World) -> None:
    """Two labels under one reference end as one valid label, and the note names the other."""
    work = world.packed()
    first = number_of(await adapter.buy_label(work, world.client))
    second = number_of(await adapter.buy_label(work, world.client))
    done = await adapter.find_label(work, world.client)
    assert number_of(done) == first
    assert f"second label {second} voided" in done.note
    assert isinstance(done, Confirmed) and not done.duplicates
    assert world.labels(work.reference)["valid"] == 1
    assert number_of(await adapter.find_label(work, world.client)) == first


async def test_a_voided_label_is_not_adopted(world: World) -> None:
    """A label that was voided is no label."""
    work = world.packed()
    number = number_of(await adapter.buy_label(work, world.client))
    await adapter.void_label(world.voided(number), world.client)
    assert isinstance(await adapter.find_label(work, world.client), NotFound)


async def test_a_failed_look_up_is_no_answer(world: World) -> None:
    """Throttled or down, the look-up raises: it never says not found."""
    for fault in ({"kind": "throttle"}, {"kind": "error_before"}):
        for operation in ("recovery", "track_reference"):
            world.sandbox.faults.add({**fault, "operation": operation, "count": 1})
            with pytest.raises(Retry):
                await adapter.find_label(world.packed(), world.client)


async def test_voiding_twice_is_one_void(world: World) -> None:
    """Both calls confirm with the same fact; the books see one void."""
    number = (await world.sell(1))[0]
    first = await adapter.void_label(world.voided(number), world.client)
    second = await adapter.void_label(world.voided(number), world.client)
    assert first.facts == second.facts
    check(first.facts[0])
    assert [c.effect for c in world.sandbox.calls if c.operation == "void"] == [True, False]


async def test_voiding_finds_the_number_in_the_hub_or_has_nothing_to_do(world: World) -> None:
    """Without progress in the event the hub is asked; without a label nothing is called."""
    done = await adapter.void_label(world.voided(), world.client)
    assert done.facts == ()
    number = (await world.sell(1))[0]
    done = await adapter.void_label(world.voided(), world.client)
    assert done.references[0].value == number


async def test_voiding_a_scanned_parcel_is_refused(world: World) -> None:
    """Once it moves, UPS refuses with its code."""
    number = (await world.sell(1))[0]
    await world.sandbox.commands()["handover"]({})
    await until(lambda: world.sandbox.books()["delivered"] == 1)
    with pytest.raises(Reject) as refused:
        await adapter.void_label(world.voided(number), world.client)
    assert refused.value.code == "190117"


async def test_an_order_that_does_not_fit_is_never_sent(world: World) -> None:
    """What cannot be put into UPS's words needs a person, and no call was made."""
    work = world.packed()
    work.event.shipment.service_code = "PIGEON"
    with pytest.raises(Untranslatable):
        await adapter.buy_label(work, world.client)
    assert not world.sandbox.calls


async def test_subscriptions_by_package_and_by_account(world: World) -> None:
    """Each parcel is subscribed; by account one call serves all."""
    number = (await world.sell(1))[0]
    await adapter.subscribe_tracking(world.bought(number), world.client)
    assert number in world.sandbox.books()["subscriptions"]["packages"]
    with pytest.raises(Reject):
        await adapter.subscribe_tracking(world.bought("1ZNONSENSE"), world.client)
    whole = World(world.sandbox, subscription="account")
    for _ in range(3):
        await adapter.subscribe_tracking(whole.bought(number), whole.client)
    await whole.client.close()
    calls = [c for c in world.sandbox.calls if c.operation == "subscribe_account"]
    assert len(calls) == 1


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", CALLBACK_CREDENTIAL])
async def test_callbacks_without_the_credential_are_refused(
    world: World, authorization: str
) -> None:
    """Nothing of a stranger's callback reaches the hub."""
    hook = world.hook(b"{}", authorization)
    with pytest.raises(Refused) as refused:
        await adapter.check_credential(hook, world.client)
    assert refused.value.status == 401
    assert adapter.ADAPTER.webhooks[hook.path].check is adapter.check_credential
    assert not world.hub.held


@pytest.mark.parametrize("body", [b"", b"no json", b"{}", b"[" * 5000])
async def test_callbacks_that_are_no_scan_are_held_raw(world: World, body: bytes) -> None:
    """The payload is kept as it came; UPS is answered that it arrived."""
    await adapter.track_alert(world.hook(body), world.client)
    assert world.hub.held[0][0] == body


async def test_a_scan_the_hub_refuses_is_held_raw(world: World) -> None:
    """A fact is never lost because one field breaks a rule."""
    number = (await world.sell(1))[0]
    world.hub.refuse_scans = True
    await adapter.track_alert(world.hook(alert(number)), world.client)
    assert len(world.hub.held) == 1


def alert(number: str) -> bytes:
    status = {"type": "I", "code": "AR", "description": "Arrived", "descriptionCode": "010"}
    payload = {
        "trackingNumber": number,
        "localActivityDate": "20260305",
        "localActivityTime": "080000",
        "activityStatus": status,
    }
    return vendor_json.dumps(payload)


async def test_pushed_and_polled_histories_are_one_history(world: World) -> None:
    """With callbacks doubled, late and out of order, hub and UPS's books agree scan by scan."""

    async def receive(request: Request) -> Response:
        hook = world.hook(await request.body(), request.headers.get("authorization", ""))
        await adapter.track_alert(hook, world.client)
        return Response(status_code=200)

    app = Starlette(routes=[Route("/ups/track-alert", receive, methods=["POST"])])
    listener = Listener(app, "127.0.0.1", 0)
    await listener.start()
    url = f"http://127.0.0.1:{listener.port}/ups/track-alert"
    portal = {"callback_url": url, "callback_credential": CALLBACK_CREDENTIAL}
    await world.sandbox.commands()["portal"](portal)
    world.sandbox.faults.add({"kind": "duplicate_webhooks", "rate": 0.5})
    world.sandbox.faults.add({"kind": "late_webhooks", "rate": 0.5, "delay_seconds": 0.1})
    numbers = await world.sell(10)
    for number in numbers:
        await adapter.subscribe_tracking(world.bought(number), world.client)
    await world.sandbox.commands()["handover"]({})
    await until(lambda: world.sandbox.books()["delivered"] == len(numbers))
    await until(lambda: all(sent["answered"] for sent in world.sandbox.webhook_log()))
    await listener.stop()
    pushed = world.hub.heard
    await adapter.poll_tracking(world.poll("tracking"), world.client)
    scans = sum(
        len(parcel["scans"])
        for shipment in world.sandbox.books()["shipments"]
        for parcel in shipment["parcels"]
    )
    assert pushed > scans - len(numbers)  # labels were made before anybody subscribed
    assert len(world.hub.scans) == scans
    assert len(world.hub.proofs) == len(numbers)
    assert not world.hub.held


async def test_polling_alone_brings_every_parcel_home(world: World) -> None:
    """Without a single callback the poll reports all scans and proofs."""
    numbers = await world.sell(5)
    await world.sandbox.commands()["handover"]({})
    await until(lambda: world.sandbox.books()["delivered"] == len(numbers))
    await adapter.poll_tracking(world.poll("tracking"), world.client)
    for number in numbers:
        assert world.hub.milestones(number)[-1] == shipment_pb2.MILESTONE_DELIVERED
    assert len(world.hub.proofs) == len(numbers)


async def test_a_poll_is_bounded_and_the_next_one_goes_on(world: World) -> None:
    """Three parcels a run, the cursor remembers where."""
    await world.sell(7)
    small = World(world.sandbox, tracking_parcels_per_poll=3)
    small.hub.stored = world.hub.stored
    cursor = b""
    for expected in (b"3", b"6", b""):
        await adapter.poll_tracking(small.poll("tracking", cursor), small.client)
        cursor = small.cursor
        assert cursor == expected
    assert len(small.hub.scans) == 7
    await small.client.close()


async def test_a_throttled_poll_keeps_its_place(world: World) -> None:
    """429 ends the run; what was not asked is asked again."""
    await world.sell(3)
    world.cursor = b"untouched"
    world.sandbox.faults.add({"kind": "throttle", "operation": "track", "count": 1})
    with pytest.raises(Retry):
        await adapter.poll_tracking(world.poll("tracking"), world.client)
    assert world.cursor == b"untouched"
    await adapter.poll_tracking(world.poll("tracking"), world.client)
    assert len(world.hub.scans) == 3


async def test_a_lost_place_starts_over(world: World) -> None:
    """A page token the hub no longer knows does not stop polling for ever."""
    await adapter.poll_tracking(world.poll("tracking", b"lost"), world.client)
    assert world.cursor == b""


async def test_unknown_codes_arrive_as_unknown_with_their_raw_code(world: World) -> None:
    """A status nobody documented is kept, moves nothing and stops nothing."""
    world.sandbox.faults.add({"kind": "unknown_status"})
    number = (await world.sell(1))[0]
    await world.sandbox.commands()["handover"]({})
    await until(lambda: world.sandbox.books()["delivered"] == 1)
    await adapter.poll_tracking(world.poll("tracking"), world.client)
    unknown = [
        event
        for event in world.hub.scans.values()
        if event.milestone == shipment_pb2.MILESTONE_UNKNOWN
    ]
    assert {event.status_code for event in unknown} == {"QZ/911"}
    assert shipment_pb2.MILESTONE_DELIVERED in world.hub.milestones(number)


async def test_subscriptions_are_renewed_before_they_end(world: World) -> None:
    """Only parcels under way for long are subscribed again."""
    old, young = await world.sell(2)
    world.hub.stored[0].create_time.FromJsonString("2026-01-01T00:00:00Z")
    world.hub.stored[1].create_time.GetCurrentTime()
    await adapter.renew_subscriptions(world.poll("renew_subscriptions"), world.client)
    subscribed = world.sandbox.books()["subscriptions"]["packages"]
    assert old in subscribed
    assert young not in subscribed


async def test_many_lost_answers_end_in_one_label_each(world: World) -> None:
    """Under random losses every package ends with exactly one valid label."""
    world.sandbox.faults.add({"kind": "reply_lost", "operation": "ship", "rate": 0.3})
    world.sandbox.faults.add({"kind": "error_before", "operation": "ship", "rate": 0.2})
    works = [world.packed(f"delivery-{position}") for position in range(40)]

    async def settle(work: Work) -> None:
        for _ in range(30):
            try:
                await adapter.buy_label(work, world.client)
                return
            except OutcomeUnknown:
                if isinstance(await adapter.find_label(work, world.client), Confirmed):
                    return
        raise AssertionError("no end in sight")

    await asyncio.gather(*map(settle, works))
    assert all(world.labels(work.reference)["bought"] == 1 for work in works)
