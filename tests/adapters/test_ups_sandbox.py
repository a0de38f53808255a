"""The simulated UPS keeps the vendor's rules: what it sells, refuses, loses, reports."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from crossdock_adapters.sdk import vendor_json
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import NeedsPerson, OutcomeUnknown, Reject, Retry, Throttled
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.sandbox_parcels import Place
from crossdock_adapters.ups import tracking_number
from crossdock_adapters.ups.client import UpsClient
from crossdock_adapters.ups.sandbox import UpsSandbox
from crossdock_adapters.ups.sandbox_alerts import Subscriptions
from crossdock_adapters.ups.sandbox_books import Scan
from crossdock_adapters.ups.sandbox_journeys import Step
from crossdock_adapters.ups.sandbox_ship import VendorRefusal
from sdk_waiting import until
from ups_world import ACCOUNT, SANDBOX_SETTINGS, client_for, ship_request


@pytest.fixture
async def sandbox() -> AsyncIterator[UpsSandbox]:
    config = SandboxConfig("ups", seed=7, tick_seconds=0.01, settings=SANDBOX_SETTINGS)
    async with UpsSandbox(config) as started:
        assert isinstance(started, UpsSandbox)
        yield started


@pytest.fixture
async def client(sandbox: UpsSandbox) -> AsyncIterator[UpsClient]:
    found = client_for(sandbox)
    yield found
    await found.close()


async def test_the_same_order_twice_sells_two_labels(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """A repeated booking is a second, valid 1Z number under the same reference."""
    first = await client.ship(ship_request("REF1"))
    second = await client.ship(ship_request("REF1"))
    assert first.shipment_number != second.shipment_number
    assert all(tracking_number.is_valid(b.shipment_number) for b in (first, second))
    assert sandbox.books()["labels_by_reference"]["REF1"]["bought"] == 2


async def test_a_call_is_known_by_the_reference_of_whoever_sent_it(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """Proves that the log names a label call by its first reference, the delivery's own, and not by
    the order number that several parcels share and that sorts before it."""
    request = ship_request("UC6EZRAHJIFRBYEZ33FC")
    (package,) = request["ShipmentRequest"]["Shipment"]["Package"]
    package["ReferenceNumber"].append({"Code": "PO", "Value": "ONE-002"})
    await client.ship(request)
    assert [c.key for c in sandbox.calls if c.operation == "ship"] == ["UC6EZRAHJIFRBYEZ33FC"]


async def test_token_values_are_text_and_one_token_serves_all(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """Seconds come as text, and twenty concurrent calls share one token."""
    credentials = base64.b64encode(b"client-7:not-a-real-secret").decode()
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Basic {credentials}"}
        form = {"grant_type": "client_credentials"}
        url = f"{sandbox.vendor_url}/security/v1/oauth/token"
        async with session.post(url, data=form, headers=headers) as answer:
            body = await answer.json()
    assert body["expires_in"] == "14399"
    assert body["issued_at"].isdigit()
    await asyncio.gather(*(client.track("1Z0000000000000000") for _ in range(20)))
    assert sandbox.books()["tokens_issued"] == 2


async def test_expired_token_is_renewed_once_and_the_call_goes_through(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """A token that ends early costs one renewal and no label."""
    await client.ship(ship_request("REF1"))
    await sandbox.commands()["expire_tokens"]({})
    await client.ship(ship_request("REF2"))
    books = sandbox.books()
    assert books["labels_sold"] == 2
    assert books["tokens_issued"] == 2


async def test_wrong_secret_is_no_business_refusal(sandbox: UpsSandbox) -> None:
    """Bad credentials wait for a person to mend them; no delivery is rejected."""
    stranger = client_for(sandbox, client_secret="UPS_TEST_OTHER_SECRET")
    with pytest.raises(Retry):
        await stranger.ship(ship_request("REF1"))
    await stranger.close()
    assert sandbox.books()["labels_sold"] == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Service": {"Code": "99"}}, "121210"),
        ({"ReferenceNumber": [{"Code": "PO", "Value": "X"}]}, "120541"),
        ({"ShipTo": {"Name": "A"}}, "120202"),
        ({"Package": []}, "120602"),
    ],
)
async def test_business_refusals_carry_the_code(
    sandbox: UpsSandbox, client: UpsClient, change: dict[str, Any], code: str
) -> None:
    """What UPS documents as a refusal is a Reject with UPS's own code, and sells nothing."""
    request = ship_request("REF1")
    request["ShipmentRequest"]["Shipment"].update(change)
    with pytest.raises(Reject) as refused:
        await client.ship(request)
    assert refused.value.code == code
    assert sandbox.books()["labels_sold"] == 0


@pytest.mark.parametrize(
    ("weight", "unit", "code"),
    [
        ("0", "LBS", "120612"),
        ("151", "LBS", "120613"),
        ("1", "STN", "120611"),
        ("x", "LBS", "120612"),
    ],
)
async def test_weights_are_checked(client: UpsClient, weight: str, unit: str, code: str) -> None:
    """Zero, too heavy, unknown unit and no number are refused."""
    request = ship_request("REF1")
    package = request["ShipmentRequest"]["Shipment"]["Package"][0]
    package["PackageWeight"] = {"UnitOfMeasurement": {"Code": unit}, "Weight": weight}
    with pytest.raises(Reject) as refused:
        await client.ship(request)
    assert refused.value.code == code


@pytest.mark.parametrize(("image_format", "start"), [("GIF", b"GIF89a"), ("ZPL", b"^XA")])
async def test_labels_are_real_images(client: UpsClient, image_format: str, start: bytes) -> None:
    """GIF and ZPL come as bytes a viewer or printer reads."""
    booking = await client.ship(ship_request("REF1", image_format))
    assert booking.labels[0].image.startswith(start)
    assert booking.labels[0].format == image_format
    assert booking.amount is not None and booking.amount > 0


async def test_old_versions_render_one_package_as_an_object(sandbox: UpsSandbox) -> None:
    """A path version before v2403 gives bare objects, and the client reads both."""
    old = client_for(sandbox, ship_version="v1801")
    booking = await old.ship(ship_request("REF1"))
    await old.close()
    assert len(booking.labels) == 1


async def test_pdf_is_refused(client: UpsClient) -> None:
    """There is no PDF when booking."""
    with pytest.raises(Reject) as refused:
        await client.ship(ship_request("REF1", "PDF"))
    assert refused.value.code == "120802"


async def test_throttling_has_the_code_and_no_retry_after(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """429 means not processed; without Retry-After the back-off is ours."""
    sandbox.faults.add({"kind": "throttle", "operation": "ship", "count": 1})
    with pytest.raises(Retry) as told:
        await client.ship(ship_request("REF1"))
    assert told.value.after_seconds == 0
    assert sandbox.books()["labels_sold"] == 0


@pytest.mark.parametrize("kind", ["error_after", "reply_lost"])
async def test_lost_bookings_are_unknown_and_found_by_reference(
    sandbox: UpsSandbox, client: UpsClient, kind: str
) -> None:
    """After a booking without an answer the label is found by its reference."""
    sandbox.faults.add({"kind": kind, "operation": "ship", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await client.ship(ship_request("REF1"))
    found = await client.recover_by_reference("REF1", ACCOUNT, "ZPL")
    assert [label.format for label in found] == ["ZPL"]
    assert sandbox.books()["labels_by_reference"]["REF1"]["bought"] == 1


async def test_error_before_is_unknown_too_and_nothing_is_found(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """A 5xx proves nothing; the look-up shows that nothing was booked."""
    sandbox.faults.add({"kind": "error_before", "operation": "ship", "count": 1, "status": 503})
    with pytest.raises(OutcomeUnknown):
        await client.ship(ship_request("REF1"))
    assert await client.recover_by_reference("REF1", ACCOUNT, "ZPL") == []
    assert await client.track_by_reference("REF1", ACCOUNT) == []


async def test_closed_port_is_a_retry(sandbox: UpsSandbox, client: UpsClient) -> None:
    """A refused connection proves that nothing was processed."""
    sandbox.faults.add({"kind": "down"})
    await sandbox.apply_outage()
    with pytest.raises(Retry):
        await client.ship(ship_request("REF1"))


async def test_void_twice_says_voided_twice_and_after_a_scan_refuses(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """Void is idempotent; once the parcel moves it is a business error."""
    voided = (await client.ship(ship_request("REF1"))).shipment_number
    for _ in range(2):
        assert (await client.void(voided)).voided == {voided: True}
    effects = [call.effect for call in sandbox.calls if call.operation == "void"]
    assert effects == [True, False]
    moving = (await client.ship(ship_request("REF2"))).shipment_number
    await sandbox.commands()["handover"]({"tracking_numbers": [moving]})

    async def scanned() -> bool:
        return len((await client.track(moving))[0]["activity"]) > 1

    await until(scanned)
    with pytest.raises(Reject) as refused:
        await client.void(moving)
    assert refused.value.code == "190117"


async def test_unknown_numbers_are_not_found_in_both_ways(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """Not found comes as a warning in a 200 and as a 404; both read as nothing."""
    numbers = [f"1Z999AA1012345678{digit}" for digit in range(10)]
    assert [await client.track(number) for number in numbers] == [[]] * 10
    assert {call.status for call in sandbox.calls if call.operation == "track"} == {200, 404}


async def test_recovery_shows_one_label_and_names_several(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """Of one parcel with the reference recovery shows the label; several it names as candidates,
    whose labels are had by their numbers."""
    first = (await client.ship(ship_request("REF1"))).shipment_number
    (shown,) = await client.recover_by_reference("REF1", ACCOUNT, "ZPL")
    assert (shown.tracking_number, shown.format) == (first, "ZPL") and shown.image
    second = (await client.ship(ship_request("REF1"))).shipment_number
    named = await client.recover_by_reference("REF1", ACCOUNT, "ZPL")
    assert {label.tracking_number: label.image for label in named} == {first: b"", second: b""}
    again = await client.recover(second, "GIF")
    assert again is not None and again.image.startswith(b"GIF")


async def test_bookings_become_visible_late_when_told_so() -> None:
    """A booking can stay invisible by reference for a while although its number works."""
    settings = {**SANDBOX_SETTINGS, "booking_visible_after_seconds": 3}
    config = SandboxConfig("ups", seed=7, tick_seconds=0.01, settings=settings)
    async with UpsSandbox(config) as sandbox:
        assert isinstance(sandbox, UpsSandbox)
        client = client_for(sandbox)
        booking = await client.ship(ship_request("REF1"))
        assert await client.recover_by_reference("REF1", ACCOUNT, "ZPL") == []
        assert len(await client.track(booking.shipment_number)) == 1

        async def visible() -> bool:
            return bool(await client.recover_by_reference("REF1", ACCOUNT, "ZPL"))

        await until(visible)
        found = await client.recover_by_reference("REF1", ACCOUNT, "ZPL")
        assert found[0].tracking_number == booking.shipment_number
        await client.close()


async def test_parcels_travel_to_the_door(sandbox: UpsSandbox, client: UpsClient) -> None:
    """After hand-over every parcel is scanned along and ends delivered, with a receiver."""
    numbers = [(await client.ship(ship_request(f"R{n}"))).shipment_number for n in range(20)]
    await sandbox.commands()["handover"]({})

    async def all_delivered() -> bool:
        return bool(sandbox.books()["delivered"] == len(numbers))

    await until(all_delivered)
    package = (await client.track(numbers[0]))[0]
    assert package["deliveryInformation"]["receivedBy"]
    assert package["activity"][0]["status"]["type"] == "D"
    assert package["activity"][-1]["status"]["type"] == "M"


async def test_same_seed_same_journeys() -> None:
    """Two runs with one seed sell the same numbers and scan the same scans."""
    histories = []
    for _ in range(2):
        config = SandboxConfig("ups", seed=11, tick_seconds=0.01, settings=SANDBOX_SETTINGS)
        async with UpsSandbox(config) as sandbox:
            assert isinstance(sandbox, UpsSandbox)
            client = client_for(sandbox)
            for number in range(5):
                await client.ship(ship_request(f"R{number}"))
            await sandbox.commands()["handover"]({})

            async def done(sandbox: UpsSandbox = sandbox) -> bool:
                return bool(sandbox.books()["delivered"] == 5)

            await until(done)
            histories.append(
                [
                    (parcel["tracking_number"], [(s["type"], s["code"]) for s in parcel["scans"]])
                    for shipment in sandbox.books()["shipments"]
                    for parcel in shipment["parcels"]
                ]
            )
            await client.close()
    assert histories[0] == histories[1]


async def test_subscription_takes_the_valid_numbers_and_names_the_others(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """Partial acceptance is normal."""
    booking = await client.ship(ship_request("REF1"))
    valid, invalid = await client.subscribe([booking.shipment_number, "1ZNONSENSE"])
    assert valid == [booking.shipment_number]
    assert invalid == ["1ZNONSENSE"]
    assert booking.shipment_number in sandbox.books()["subscriptions"]["packages"]


async def test_permanent_refusal_of_credentials_needs_a_person(
    sandbox: UpsSandbox, client: UpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid licence is nothing that time mends."""

    def refuse(*_: Any, **__: Any) -> None:
        raise VendorRefusal(401, "250003", "Invalid Access License")

    monkeypatch.setattr(sandbox, "_authorize", refuse)
    with pytest.raises(NeedsPerson):
        await client.ship(ship_request("REF1"))


@pytest.mark.parametrize(
    ("status", "codes", "word"),
    [
        (400, ["120202"], Reject),
        (400, ["9370701", "10429"], Throttled),
        (400, [], OutcomeUnknown),
        (401, [], Retry),
        (401, ["10401"], Retry),
        (403, ["250002"], Retry),
        (403, ["10403"], NeedsPerson),
        (403, ["110971"], Reject),
        (403, [], OutcomeUnknown),
        (404, ["190102"], Reject),
        (404, [], OutcomeUnknown),
        (408, ["10408"], OutcomeUnknown),
        (429, [], Throttled),
        (500, ["10500"], OutcomeUnknown),
        (503, [], OutcomeUnknown),
    ],
)
def test_errors_of_a_call_with_an_effect(
    client: UpsClient, status: int, codes: list[str], word: type[Exception]
) -> None:
    """Proves what the table makes of each kind of error; what no row names is unknown."""
    errors = [{"code": code, "message": "m"} for code in codes]
    body = vendor_json.dumps({"response": {"errors": errors}}) if codes else b"<html>"
    assert type(client._meaning(Answer(status, {}, body), effect=True)) is word


async def test_a_refused_token_rejects_no_delivery(
    sandbox: UpsSandbox, client: UpsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a refusal of the token service's, whatever its status, is no one of the order."""

    def refuse(_: str) -> bool:
        raise VendorRefusal(400, "10400", "Invalid/Missing Authorization Header")

    monkeypatch.setattr(sandbox, "_is_client", refuse)
    with pytest.raises(Retry, match="token"):
        await client.ship(ship_request("REF1"))


async def test_the_applications_own_limit_answers_429() -> None:
    """More calls than the application may make are not processed."""
    settings = {**SANDBOX_SETTINGS, "calls_per_second": 3}
    config = SandboxConfig("ups", seed=7, settings=settings)
    async with UpsSandbox(config) as sandbox:
        assert isinstance(sandbox, UpsSandbox)
        client = client_for(sandbox)
        with pytest.raises(Retry):
            for number in range(50):
                await client.ship(ship_request(f"R{number}"))
        await client.close()
        sold = sum(call.effect is True for call in sandbox.calls)
        assert sandbox.books()["labels_sold"] == sold


NUMBER = tracking_number.build(ACCOUNT, "03", 1)
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


def scan_at(moment: datetime, kind: str = "I") -> Scan:
    place = Place("Reno", "NV", "89502", "US", -480)
    return Scan(NUMBER, 1, moment, Step(kind, "AR", "010", "Arrived", place))


def test_package_subscriptions_end_after_fourteen_days() -> None:
    """Day 13 is told, day 14 is not, and renewal moves the end."""
    subscriptions = Subscriptions()
    subscriptions.add_packages([NUMBER], None, True, MONDAY)
    assert subscriptions.wants(scan_at(MONDAY + timedelta(days=13)))
    assert not subscriptions.wants(scan_at(MONDAY + timedelta(days=14)))
    subscriptions.add_packages([NUMBER], None, True, MONDAY + timedelta(days=12))
    assert subscriptions.wants(scan_at(MONDAY + timedelta(days=25)))


def test_subscriptions_know_preferences_and_limits() -> None:
    """Only the kinds asked for are told, and a request has at most 100 numbers."""
    subscriptions = Subscriptions()
    subscriptions.add_packages([NUMBER], ["D"], True, MONDAY)
    assert subscriptions.wants(scan_at(MONDAY, "D"))
    assert not subscriptions.wants(scan_at(MONDAY, "X"))
    with pytest.raises(VendorRefusal) as refused:
        subscriptions.add_packages([NUMBER] * 101, None, True, MONDAY)
    assert refused.value.code == "VSS120"


def test_account_subscriptions_stay_until_they_are_removed() -> None:
    """They have no end of their own and cover every parcel of the account."""
    subscriptions = Subscriptions()
    subscriptions.add_account(ACCOUNT, "ours", MONDAY)
    assert subscriptions.wants(scan_at(MONDAY + timedelta(days=400)))
    subscriptions.remove_account(ACCOUNT, "ours")
    assert not subscriptions.wants(scan_at(MONDAY))
    with pytest.raises(VendorRefusal):
        subscriptions.remove_account(ACCOUNT, "ours")


async def test_a_voided_label_that_travels_anyway_is_scanned(
    sandbox: UpsSandbox, client: UpsClient
) -> None:
    """A void is paper: the parcel can still be handed over, and UPS will bill it."""
    number = (await client.ship(ship_request("REF1"))).shipment_number
    await client.void(number)
    command = sandbox.commands()["handover"]
    assert (await command({"tracking_numbers": [number]}))["started"] == 0
    assert (await command({"tracking_numbers": [number], "even_voided": True}))["started"] == 1
    await until(lambda: sandbox.books()["delivered"] == 1)
