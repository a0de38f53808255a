"""The FedEx adapter against the simulated FedEx: one purchase whatever gets lost, honest times."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.fedex import adapter, conformance, translate
from crossdock_adapters.fedex.adapter import ADAPTER
from crossdock_adapters.fedex.client import FedexClient
from crossdock_adapters.sdk import proving, settings, vendor_json
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotTried,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    Untranslatable,
)
from crossdock_adapters.sdk.work import Refused
from fedex_world import SECOND_PACKAGE, World, fedex

TODAY = datetime.now(UTC)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with fedex(tmp_path) as made:
        yield made


def labels(done: Confirmed) -> list[label_pb2.Label]:
    return [fact.label for fact in done.facts if hasattr(fact, "label")]


# Two steps


async def test_opening_buys_nothing_and_confirming_buys_once(world: World) -> None:
    """Proves that the draft is our reference and harmless, and what the fact of a purchase says."""
    work = world.packed()
    draft = await adapter.open_shipment(work, world.client)
    assert (draft, world.books["labels_sold"]) == (work.reference, 0)
    done = await world.buy(work, draft)
    (label,) = labels(done)
    assert label.image.startswith(b"^XA")
    assert label.format == label_pb2.LABEL_FORMAT_ZPL
    assert (label.price.currency, label.purchase_reference) == ("USD", work.reference)
    assert float(label.price.amount) > 0
    assert world.books["labels_by_reference"][work.reference]["bought"] == 1
    assert world.calls("retrieve") == 1, "a draft that was just made is not asked about again"


@pytest.mark.parametrize("shows", ["labels", "request", "gone"])
@pytest.mark.parametrize("kind", ["reply_lost", "error_after"])
async def test_a_lost_confirmation_is_adopted_whatever_an_index_shows_then(
    tmp_path: Path, shows: str, kind: str
) -> None:
    """Proves that whichever of the undocumented answers FedEx gives about a confirmed index, a
    confirmation that nobody heard of ends with that label, and no second one."""
    async with fedex(tmp_path, {"after_confirmation": shows}) as world:
        work = world.packed()
        draft = await adapter.open_shipment(work, world.client)
        world.sandbox.faults.add({"kind": kind, "operation": "confirm", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await world.buy(work, draft)
        (label,) = labels(await world.buy(work, draft))
        known = world.books["labels_by_reference"][work.reference]
        assert known["tracking_numbers"] == [label.tracking_number]
        assert bool(label.image) == (shows == "labels"), "tracking shows no image"


@pytest.mark.parametrize("operation", ["retrieve", "confirm"])
async def test_a_refusal_after_a_lost_confirmation_is_no_proof(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Proves that once a label may be bought, a refused question and a refused repetition with a
    code that nobody knows leave it in doubt: a rejection would forget a label that is paid."""
    work = world.packed()
    draft = await adapter.open_shipment(work, world.client)
    world.sandbox.faults.add({"kind": "reply_lost", "operation": "confirm", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await world.buy(work, draft)
    refusal = Answer(400, {}, b'{"errors": [{"code": "NOBODY.KNOWS", "message": "no"}]}')
    post = world.client._post

    async def refused(path: str, body: Any, effect: bool = False) -> Answer:
        asks = path.endswith("/retrieve")
        if operation == "confirm" and asks:
            return Answer(200, {}, b'{"output": {"requestedShipment": {}}}')
        return refusal if asks or operation == "confirm" else await post(path, body, effect)

    monkeypatch.setattr(world.client, "_post", refused)

    async def nothing(information: Any) -> list[dict[str, Any]]:
        return []

    monkeypatch.setattr(world.client, "track_by_reference", nothing)
    with pytest.raises(OutcomeUnknown):
        await world.buy(work, draft)
    assert world.books["labels_sold"] == 1


async def test_a_draft_of_an_earlier_attempt_is_asked_about(world: World) -> None:
    """Proves that a process which made a draft does not confirm it blindly in a later attempt:
    another one may have confirmed it between."""
    work = world.packed()
    draft = await adapter.open_shipment(work, world.client)
    asked = world.calls("retrieve")
    await world.buy(replace(work, attempt=work.attempt + 2), draft)
    assert world.calls("retrieve") == asked + 1


async def test_a_package_does_not_wait_for_ever_for_the_first(world: World) -> None:
    """Proves that a package whose shipment is not bought ends at a person after named attempts,
    and that these last longer than an outage of its carrier may."""
    work = world.packed()
    second = work.event.shipment.packages.add(number="LPN-LATER")
    second.CopyFrom(work.event.shipment.packages[0])
    second.id = "second-package"
    work = replace(work, item=second.id)
    with pytest.raises(NotTried):
        await adapter.open_shipment(work, world.client)
    most = world.settings.integer("wait_for_first_attempts_max")
    waits = []
    for attempt in range(1, most + 1):
        with pytest.raises(NotTried) as ended:
            await adapter.open_shipment(replace(work, attempt=attempt), world.client)
        waits.append(ended.value.after_seconds)
    assert waits[0] == 1 and max(waits) <= 900
    assert sum(waits) > 3 * 86_400, "an outage of a long weekend parks no package"
    work = replace(work, attempt=most + 1)
    with pytest.raises(NeedsPerson, match="first package"):
        await adapter.open_shipment(work, world.client)


async def test_an_index_that_is_gone_and_not_tracked_proves_nothing(tmp_path: Path) -> None:
    """Proves that between confirmation and tracking nothing is bought again and nothing is told
    as missing; a purged draft looks the same, and a person decides in the end."""
    late = {"after_confirmation": "gone", "tracking_visible_after_seconds": 3600}
    async with fedex(tmp_path, late) as world:
        work = world.packed()
        draft = await adapter.open_shipment(work, world.client)
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "confirm", "count": 1})
        for _ in range(3):
            with pytest.raises(OutcomeUnknown):
                await world.buy(work, draft)
        assert world.books["labels_sold"] == 1


@pytest.mark.parametrize("second", ["refused", "replaces"])
async def test_a_lost_opening_is_found_by_its_index(tmp_path: Path, second: str) -> None:
    """Proves that a draft whose answer was lost is found, so that what FedEx does with a second of
    the same index (nobody published it) never matters."""
    async with fedex(tmp_path, {"second_create": second}) as world:
        work = world.packed()
        world.sandbox.faults.add({"kind": "reply_lost", "operation": "create", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await adapter.open_shipment(work, world.client)
        await world.buy(work)
        assert (world.books["shipments_opened"], world.books["labels_sold"]) == (1, 1)


async def test_an_index_in_use_is_looked_up_and_no_refusal(world: World) -> None:
    """Proves that a creation that came through late, after it was not found, is found then."""
    work = world.packed()
    shipment = work.event.shipment
    requested = translate.requested_shipment(
        shipment, list(shipment.packages), work.reference, adapter.ship_rules(world.settings)
    )
    await world.client.open(work.reference, conformance.ACCOUNT, requested)
    with pytest.raises(OutcomeUnknown):
        await world.client.open(work.reference, conformance.ACCOUNT, requested)
    await world.buy(work)
    assert (world.books["shipments_opened"], world.books["labels_sold"]) == (1, 1)


@pytest.mark.parametrize("fault", proving.SILENT_FAULTS)
@pytest.mark.parametrize("strikes", ["create", "confirm"])
async def test_the_class_holds_at_either_step(world: World, strikes: str, fault: str) -> None:
    """Proves the declared class with the SDK's own trial, whichever of the two answers is lost."""
    trial = proving.Trial(
        ADAPTER,
        "buy_label",
        world.client,
        world.sandbox,
        world.packed,
        lambda: world.books["shipments_confirmed"],
        strikes,
        settle_seconds=0.0,
    )
    assert await proving.class_problems(trial, fault) == []


async def test_packages_of_a_shipment_are_bought_together(world: World) -> None:
    """Proves that one FedEx shipment has all packages, each with its own label under the master
    number, that the other package's delivery waits, makes nothing and says whose it is, and that
    each has one tracking number: two of one delivery would say that it was bought twice."""
    other = world.packed("two", SECOND_PACKAGE, packages=2)
    with pytest.raises(NotTried, match="not yet"):
        await adapter.open_shipment(other, world.client)
    done = await world.buy(world.packed(packages=2))
    first, second = labels(done)
    assert [first.package_id, second.package_id] == [conformance.PACKAGE_ID, SECOND_PACKAGE]
    assert second.carrier_shipment_number == first.tracking_number
    assert not first.HasField("carrier_shipment_number")
    numbers = [each.value for each in done.references if each.type == "tracking_number"]
    assert numbers == [first.tracking_number]
    followed = await world.buy(other)
    assert followed.facts == ()
    assert [each.value for each in followed.references] == [second.tracking_number]
    assert (world.books["shipments_opened"], world.books["labels_sold"]) == (1, 2)


async def test_packages_can_be_bought_each_on_its_own(tmp_path: Path) -> None:
    """Proves that the setting makes a FedEx shipment of each package."""
    async with fedex(tmp_path, multi_piece=False) as world:
        await world.buy(world.packed(packages=2))
        await world.buy(world.packed("two", SECOND_PACKAGE, packages=2))
        assert world.books["shipments_confirmed"] == 2


@pytest.mark.parametrize(
    ("label_format", "begins"),
    [("ZPL", b"^XA"), ("EPL", b"N\n"), ("PDF", b"%PDF"), ("PNG", b"\x89PNG")],
)
async def test_each_label_format_comes_with_its_stock(
    tmp_path: Path, label_format: str, begins: bytes
) -> None:
    """Proves that FedEx gets the stock that goes with a format, and the hub the right one."""
    async with fedex(tmp_path, label_format=label_format) as world:
        (label,) = labels(await world.buy(world.packed()))
        assert label.image.startswith(begins)
        assert label_pb2.LabelFormat.Name(label.format) == f"LABEL_FORMAT_{label_format}"


async def test_any_service_type_that_fedex_publishes_can_be_ordered(world: World) -> None:
    """Proves that a service type passes as it is, also one that no word of the contract means
    alone, and that words still become the preferred one."""
    rules, shipment = adapter.ship_rules(world.settings), conformance.shipment()
    for ordered in ("FEDEX_REGIONAL_ECONOMY", "SAME_DAY_CITY", "FEDEX_ECONOMY_SELECT"):
        shipment.service_code = ordered
        assert translate.service_type(shipment, rules.services) == ordered
    shipment.service_code = "INTL_ECONOMY"
    assert translate.service_type(shipment, rules.services) == "FEDEX_INTERNATIONAL_CONNECT_PLUS"


# Errors


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        (400, "SERVICETYPE.NOT.ALLOWED", Reject),
        (422, "SHIPMENT.USER.UNAUTHORIZED", Reject),
        (400, "SYSTEM.UNEXPECTED.ERROR", OutcomeUnknown),
        (401, "NOT.AUTHORIZED.ERROR", Retry),
        (403, "FORBIDDEN.ERROR", NeedsPerson),
        (429, "", Throttled),
        (404, "", OutcomeUnknown),
        (500, "INTERNAL.SERVER.ERROR", OutcomeUnknown),
        (503, "SERVICE.UNAVAILABLE.ERROR", OutcomeUnknown),
        (418, "TEAPOT", OutcomeUnknown),
    ],
)
def test_errors_of_a_call_with_an_effect(
    world_settings: tuple[Any, Any], status: int, code: str, word: type[Exception]
) -> None:
    """Proves what the table makes of each kind of error; what no row names is unknown."""
    body = vendor_json.dumps({"errors": [{"code": code, "message": "m"}]}) if code else b"<html>"
    client = FedexClient(*world_settings)
    found = client._meaning(Answer(status, {"Retry-After": "9"}, body), True, client._shipping)
    assert type(found) is word
    if isinstance(found, OutcomeUnknown):
        assert found.after_seconds == 9


@pytest.fixture
def world_settings(tmp_path: Path) -> tuple[Any, Any]:
    """Settings and secrets of an endpoint that nobody calls."""

    class Nowhere:
        vendor_url = "http://127.0.0.1:9"

    given = conformance.settings(Nowhere(), tmp_path)  # type: ignore[arg-type]
    return settings.check(ADAPTER.manifest.settings, given)


async def test_a_block_after_successes_is_a_rest_and_not_a_missing_right(world: World) -> None:
    """Proves that 403 after a success slows everything down for ten minutes, and parks nothing."""
    await world.buy(world.packed())
    await world.sandbox.commands()["block"]({"seconds": 60})
    with pytest.raises(Throttled) as blocked:
        await adapter.open_shipment(world.packed("two"), world.client)
    assert blocked.value.after_seconds == 600


async def test_a_project_without_the_product_needs_a_person(world: World, tmp_path: Path) -> None:
    """Proves that keys of the tracking project do not ship: 403 on first use is for a person."""
    given = dict(conformance.settings(world.sandbox, tmp_path))
    given["client_id"], given["client_secret"] = (
        given["track_client_id"],
        given["track_client_secret"],
    )
    client = FedexClient(*settings.check(ADAPTER.manifest.settings, given))
    with pytest.raises(NeedsPerson, match="not entitled"):
        await client.find("X", conformance.ACCOUNT)
    await client.close()


async def test_a_token_that_ends_in_mid_run_is_renewed(world: World) -> None:
    """Proves that the call goes through, with one more token and no person."""
    await world.client.test()
    issued = world.books["tokens_issued"]
    await world.sandbox.commands()["expire_tokens"]({})
    await world.buy(world.packed())
    assert world.books["tokens_issued"] == issued + 1


async def test_answers_may_be_packed(tmp_path: Path) -> None:
    """Proves that gzip that nobody asked for is read."""
    async with fedex(tmp_path, {"gzip": True}) as world:
        assert labels(await world.buy(world.packed()))


async def test_a_refused_shipment_says_why(world: World) -> None:
    """Proves that a business refusal is a rejection with FedEx's own code, and nothing is open."""
    work = world.packed()
    work.event.shipment.ship_to.address.country_code = "DE"
    work.event.shipment.service_code = "INTL_EXPRESS"
    with pytest.raises(Reject) as refused:
        await adapter.open_shipment(work, world.client)
    assert refused.value.code == "CUSTOMSCLEARANCEDETAIL.REQUIRED"
    assert world.books["shipments_opened"] == 0


async def test_what_fedex_cannot_be_told_is_never_sent(world: World) -> None:
    """Proves that a service without a row and a party without a phone wait for a person."""
    for name, value in (("service_code", "PIGEON"), ("ship_to.phone", "")):
        work = world.packed()
        holder: Any = work.event.shipment
        *way, field = name.split(".")
        for part in way:
            holder = getattr(holder, part)
        setattr(holder, field, value)
        with pytest.raises(Untranslatable):
            await adapter.open_shipment(work, world.client)
    assert world.calls("create") == 0


# Tracking


async def test_parcels_are_followed_to_their_proof(world: World) -> None:
    """Proves that polling tells every scan once and who received the parcel."""
    (label,) = labels(await world.buy(world.packed()))
    await world.handed_over()
    for _ in range(2):
        await adapter.poll_tracking(world.poll(), world.client)
    reached = world.hub.milestones(label.tracking_number)
    assert reached[0] == shipment_pb2.MILESTONE_CARRIER_ACCEPTED
    assert reached[-1] == shipment_pb2.MILESTONE_DELIVERED
    assert len(world.hub.proofs) == 1


async def test_a_label_without_scans_is_no_silence(world: World) -> None:
    """Proves that a parcel that nobody has scanned is told as a label that was made."""
    (label,) = labels(await world.buy(world.packed()))
    await adapter.poll_tracking(world.poll(), world.client)
    assert world.hub.milestones(label.tracking_number) == [shipment_pb2.MILESTONE_LABEL_CREATED]


async def test_one_unknown_number_does_not_cost_the_others(world: World) -> None:
    """Proves that of thirty in a call the known ones are told, and no call is made for each."""
    (label,) = labels(await world.buy(world.packed()))
    unknown = [
        label_pb2.Label(tracking_number=f"79999999{n:04d}", carrier_code="FEDEX") for n in range(29)
    ]
    world.hub.stored[:] = [*unknown, label]
    await adapter.poll_tracking(world.poll(), world.client)
    assert world.hub.milestones(label.tracking_number)
    assert (world.calls("track"), world.hub.held) == (1, [])


async def test_a_number_used_again_is_told_apart_by_its_date(world: World) -> None:
    """Proves that what happened to a number years before we bought it is not our parcel's."""
    (label,) = labels(await world.buy(world.packed()))
    label.create_time.FromDatetime(TODAY)
    old = conformance.scan("DL", "DL", "2019-05-05T14:12:03-08:00")
    body = vendor_json.loads(conformance.result(old))
    body["trackingNumberInfo"]["trackingNumber"] = label.tracking_number
    world.sandbox.show(label.tracking_number, vendor_json.dumps(body))
    world.hub.stored[:] = [label]
    await adapter.poll_tracking(world.poll(), world.client)
    assert world.hub.milestones(label.tracking_number) == []


# The signed callback


@pytest.mark.parametrize("style", ["base64", "hex"])
async def test_a_signed_callback_is_taken_in_both_spellings(tmp_path: Path, style: str) -> None:
    """Proves that FedEx's two ways to write its signature are taken, and become the same fact."""
    async with fedex(tmp_path, {"signature": style}, replay_window_days=14) as world:
        (label,) = labels(await world.buy(world.packed()))
        await world.handed_over()
        parcel = world.sandbox._books.parcel(label.tracking_number)
        for scan in parcel.scans:
            body, headers = world.sandbox.callback(scan)
            hook = world.hook(body, **headers)
            await adapter.check_signature(hook, world.client)
            await adapter.tracking_callback(hook, world.client)
        pushed = len(world.hub.scans)
        await adapter.poll_tracking(world.poll(), world.client)
        assert len(world.hub.scans) == pushed == len(parcel.scans)
        assert len(world.hub.proofs) == 1


@pytest.mark.parametrize("given", ["", "bm90IHRoZSBzaWduYXR1cmU=", "00" * 32, "é"])
async def test_a_callback_that_is_not_signed_is_refused(world: World, given: str) -> None:
    """Proves that no signature, another's and nonsense are refused before the body is read."""
    with pytest.raises(Refused) as refused:
        await adapter.check_signature(
            world.hook(b"\xff not json", **{"fdx-signature": given}), world.client
        )
    assert refused.value.status == 401


async def test_one_changed_byte_breaks_the_signature(world: World) -> None:
    """Proves that the signature is over the raw bytes: a space more is another payload."""
    body = conformance.result(conformance.scan("PU", "PU", "2026-03-05T09:00:00-08:00"))
    headers = conformance.signed(world.secrets, body)
    await adapter.check_signature(world.hook(body, **headers), world.client)
    with pytest.raises(Refused):
        await adapter.check_signature(world.hook(body + b" ", **headers), world.client)


@pytest.mark.parametrize(("days", "taken"), [(0, True), (14, True), (16, False), (400, False)])
async def test_a_replay_of_long_ago_is_refused(tmp_path: Path, days: int, taken: bool) -> None:
    """Proves that a callback which FedEx would no longer send is refused, however well signed."""
    async with fedex(tmp_path, replay_window_days=14) as world:
        when = f"{TODAY - timedelta(days=days):%Y-%m-%dT%H:%M:%S}+00:00"
        body = conformance.result(conformance.scan("PU", "PU", when))
        hook = world.hook(body, **conformance.signed(world.secrets, body))
        if taken:
            await adapter.check_signature(hook, world.client)
            return
        with pytest.raises(Refused) as refused:
            await adapter.check_signature(hook, world.client)
        assert refused.value.status == 403
