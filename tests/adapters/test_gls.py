"""The GLS adapter against the simulated GLS: labels, look-ups, cancellations, scans, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from crossdock.label.v1 import label_pb2
from crossdock.shipment.v1 import shipment_pb2
from crossdock_adapters.gls import adapter, client, conformance, translate
from crossdock_adapters.gls.adapter import ADAPTER
from crossdock_adapters.gls.client import Parcel
from crossdock_adapters.gls.sandbox import GlsSandbox
from crossdock_adapters.gls.sandbox_books import LOCAL
from crossdock_adapters.sdk.conformance import packed_parcel
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    NotTried,
    OutcomeUnknown,
    Reject,
    Retry,
    Throttled,
    Untranslatable,
)
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.sdk.settings import SettingsError, check
from crossdock_adapters.sdk.work import HeldPayload
from gls_world import PAYLOADS, REFERENCE, SANDBOX_SETTINGS, World, labels_of, running
from sdk_waiting import until


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


def test_manifest_and_functions_agree() -> None:
    """Proves that every declared operation, look-up and poll is wired, and nothing else."""
    ADAPTER.check()
    assert ADAPTER.manifest.role == "CARRIER"


async def test_all_packages_are_one_shipment(world: World) -> None:
    """Proves that one call makes a parcel for each package, under our references, with weights to
    the digit, and that each package gets the label of its own parcel."""
    labels = await world.bought(packages=2)
    ((first, second),) = world.shipments()
    assert [each["unit_references"] for each in (first, second)] == [
        [f"{REFERENCE}-1"],
        [f"{REFERENCE}-2"],
    ]
    assert first["references"] == [REFERENCE] and first["product"] == "PARCEL"
    assert [Decimal(each["weight"]) for each in (first, second)] == [
        Decimal("1.25"),
        Decimal("2.25"),
    ]
    assert [label.tracking_number for label in labels] == [first["track_id"], second["track_id"]]
    assert [label.package_id for label in labels] == [
        conformance.PACKAGE_ID,
        conformance.SECOND_PACKAGE_ID,
    ]
    assert labels[0].carrier_shipment_number == first["number"]
    assert labels[0].purchase_reference == REFERENCE and not labels[0].HasField("price")
    for label in labels:
        assert label.image.startswith(b"^XA") and label.tracking_number.encode() in label.image
        assert label.format == label_pb2.LABEL_FORMAT_ZPL


async def test_the_other_packages_wait_for_the_first(world: World) -> None:
    """Proves that the second package's delivery makes no shipment: it waits, then has its number,
    and asks for a person where the first one never comes; and that the first one has its own number
    alone: two of one delivery would say that it was bought twice."""
    second = conformance.SECOND_PACKAGE_ID
    with pytest.raises(NotTried):
        await adapter.buy_label(world.packed(2, second), world.client)
    assert isinstance(await adapter.find_label(world.packed(2, second), world.client), NotFound)
    with pytest.raises(NeedsPerson, match="CARTON-1"):
        await adapter.buy_label(world.packed(2, second, attempt=331), world.client)
    labels = await world.bought(packages=2)
    for ask in (adapter.buy_label, adapter.find_label):
        done = await ask(world.packed(2, second), world.client)
        assert isinstance(done, Confirmed)
        assert [each.value for each in done.references] == [labels[1].tracking_number]
        assert not done.facts
    found = await adapter.find_label(world.packed(2), world.client)
    assert isinstance(found, Confirmed)
    assert [each.value for each in found.references] == [labels[0].tracking_number]
    assert len(world.shipments()) == 1


async def test_one_sheet_for_all_labels_is_the_first_ones(world: World) -> None:
    """Proves that a document with all labels goes with the first parcel, and a note says so."""
    await world.misbehave("one_sheet")
    done = await adapter.buy_label(world.packed(2), world.client)
    first, second = labels_of(done)
    assert second.tracking_number.encode() in first.image and not second.image
    assert f"{second.tracking_number}: printed with {first.tracking_number}" in done.note


async def test_another_installation_has_other_names() -> None:
    """Proves that an installation which spells its fields in another way refuses ours, and takes
    them once the deployment names them."""
    names = {"ZIPCode": "Zipcode", "eMail": "Email"}
    async with running({"field_names": names}) as world:
        with pytest.raises(Reject, match="ZIPCode"):
            await adapter.buy_label(world.packed(), world.client)
    async with running({"field_names": names}, field_names=names) as world:
        await world.bought()


async def test_after_a_lost_answer_all_parcels_are_found(world: World) -> None:
    """Proves that a look-up by reference adopts every parcel of the shipment with its label, each
    for its own package, and makes nothing."""
    bought = await world.bought(packages=2)
    found = await adapter.find_label(world.packed(2), world.client)
    assert isinstance(found, Confirmed)
    labels = labels_of(found)
    assert [label.tracking_number for label in labels] == [b.tracking_number for b in bought]
    assert [label.image for label in labels] == [label.image for label in bought]
    assert found.found_by == REFERENCE and not found.duplicates
    assert len(world.shipments()) == 1


@pytest.mark.parametrize("shows_units", [True, False])
async def test_a_second_shipment_is_told_as_duplicates(world: World, shows_units: bool) -> None:
    """Proves that of two shipments under one reference the first is adopted whole, with or without
    GLS's word for whose parcel is whose, and that every parcel of the other is a duplicate."""
    if not shows_units:
        await world.misbehave("no_units")
    for _ in range(2):
        await adapter.buy_label(world.packed(2), world.client)
    first, second = world.shipments()
    found = await adapter.find_label(world.packed(2), world.client)
    assert isinstance(found, Confirmed)
    assert [label.tracking_number for label in labels_of(found)] == [p["track_id"] for p in first]
    assert [each.value for each in found.duplicates] == [p["track_id"] for p in second]
    assert "cancel by hand" in found.note


async def test_a_search_that_shows_half_is_no_find(world: World) -> None:
    """Proves that one parcel of two is neither adopted nor "not found": it is asked again, nothing
    is printed for it, and in the end a person gets its number."""
    await world.bought(packages=2)
    await world.misbehave("half_search")
    with pytest.raises(OutcomeUnknown, match="1 parcels for 2 packages"):
        await adapter.find_label(world.packed(2), world.client)
    shown = world.shipments()[0][0]["number"]
    with pytest.raises(NeedsPerson, match=f"1 parcels for 2 packages.*{shown}"):
        await adapter.find_label(world.packed(2, attempt=10), world.client)
    assert "reprint" not in [call.operation for call in world.sandbox.calls]


async def test_not_found_is_only_what_gls_calls_so(world: World) -> None:
    """Proves that E_404_01 for our reference, and nothing but cancelled parcels, are "not found",
    and that a code which no setting names, a refusal or a spent quota is none: of itself the
    adapter takes no code for it, and in the end a person is asked."""
    assert isinstance(await adapter.find_label(world.packed(), world.client), NotFound)
    assert ADAPTER.manifest.settings["not_found_codes"].default == []
    async with running(not_found_codes=[]) as strict:
        with pytest.raises(OutcomeUnknown, match="E_404_01"):
            await adapter.find_label(strict.packed(), strict.client)
        with pytest.raises(NeedsPerson, match=r"E_404_01.*not_found_codes"):
            await adapter.find_label(strict.packed(attempt=10), strict.client)
    await world.misbehave("quota", 1)
    with pytest.raises(Retry) as told:
        await adapter.find_label(world.packed(), world.client)
    # Of tracking alone: buying labels is not held back.
    assert not isinstance(told.value, Throttled) and told.value.after_seconds == 60
    await world.bought()
    await adapter.void_label(world.voided(), world.client)
    assert isinstance(await adapter.find_label(world.packed(), world.client), NotFound)


async def test_an_empty_list_is_no_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves that a search which lists nothing, as one of a stale index, is not "not found", which
    twice would buy a second label."""

    async def stale(*_: str) -> Any:
        return Answer(200, {}, b'{"parcels": []}')

    monkeypatch.setattr(world.client, "_track", stale)
    with pytest.raises(OutcomeUnknown, match="lists nothing"):
        await adapter.find_label(world.packed(), world.client)


async def test_a_parcel_of_somebody_else_is_not_adopted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a parcel which GLS itself shows under another reference is neither adopted nor
    printed, whatever the search was for."""
    await world.bought()
    reprint = world.client.reprint

    async def of_another(*asked: Any) -> Parcel:
        return replace(await reprint(*asked), shipment=("OTHER",), units=())

    monkeypatch.setattr(world.client, "reprint", of_another)
    with pytest.raises(OutcomeUnknown, match="of OTHER as well"):
        await adapter.find_label(world.packed(attempt=9), world.client)
    with pytest.raises(NeedsPerson, match="of OTHER as well"):
        await adapter.find_label(world.packed(attempt=10), world.client)


async def test_a_parcel_of_before_the_purchase_is_not_printed(world: World) -> None:
    """Proves that a parcel which is older than the event that asked for it is neither adopted nor
    printed again, which would end the label on it; one of the same day is adopted."""
    await world.bought()
    work = world.packed(attempt=9)
    work.event.metadata.record_time.FromDatetime(datetime.now(UTC) + timedelta(days=3))
    with pytest.raises(OutcomeUnknown, match="already"):
        await adapter.find_label(work, world.client)
    with pytest.raises(NeedsPerson, match=f"already, under {REFERENCE}: look at GLS"):
        await adapter.find_label(replace(work, attempt=10), world.client)
    assert "reprint" not in [call.operation for call in world.sandbox.calls]
    work.event.metadata.record_time.FromDatetime(datetime.now(UTC))
    assert isinstance(await adapter.find_label(work, world.client), Confirmed)


async def test_a_parcel_beside_an_older_one_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a look-up which an older parcel stops names the one beside it too, which may be
    ours, for whoever resolves the delivery."""
    await world.bought()
    find = world.client.find
    older = {"unitno": "4711", "status": "INTRANSIT", "statusDateTime": "2024-01-02T08:00:00"}

    async def with_an_older(*asked: Any) -> list[dict[str, Any]]:
        return [older, *await find(*asked)]

    monkeypatch.setattr(world.client, "find", with_an_older)
    work = world.packed(attempt=10)
    work.event.metadata.record_time.FromDatetime(datetime.now(UTC))
    (ours,) = [each["unitno"] for each in await find(work.reference, work.cursors)]
    named = f"parcel 4711 of 2024-01-02 already, beside {ours}, which may be ours, under"
    with pytest.raises(NeedsPerson, match=named):
        await adapter.find_label(work, world.client)


async def test_parcels_that_never_fit_are_for_a_person(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that parcels which tracking shows and that fit no package are looked for again, and
    parked after ten attempts."""
    await world.bought(2)
    reprint = world.client.reprint

    async def of_nobody(*asked: Any) -> Parcel:
        return replace(await reprint(*asked), units=("NOBODYS-1",))

    monkeypatch.setattr(world.client, "reprint", of_nobody)
    with pytest.raises(OutcomeUnknown, match="so far"):
        await adapter.find_label(world.packed(2, attempt=9), world.client)
    with pytest.raises(NeedsPerson, match="look at GLS, then resolve"):
        await adapter.find_label(world.packed(2, attempt=10), world.client)


def test_a_gateway_that_is_away_rejects_nothing() -> None:
    """Proves that a fault of the gateway which no row names, and an error page of a server in
    between, are no word about the request, where the same status from the service is a refusal."""
    fault = {"fault": {"faultstring": "no proxy", "detail": {"errorcode": "ApplicationNotFound"}}}
    page = {"status": 400, "error": "Bad Request", "path": "/shipit-farm/v1/backend"}
    problem = {"title": "Bad Request", "detail": "no such product"}
    refused = Answer(400, {}, b"")
    for body in (fault, page):
        assert isinstance(client._meaning(refused, body, effect=True), OutcomeUnknown)
    assert isinstance(client._meaning(refused, problem, effect=True), Reject)


async def test_a_wrong_way_to_gls_rejects_no_label(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a 404 to a new shipment, which names nothing that could be missing, is no word
    about it, whoever wrote it: a wrong path would reject every label of the day."""

    async def missing(*_: Any, **__: Any) -> Answer:
        return Answer(404, {}, b'{"title": "Not Found", "detail": "no such resource"}')

    monkeypatch.setattr(world.client._http, "post", missing)
    with pytest.raises(OutcomeUnknown, match="no such resource"):
        await world.client.create({})
    with pytest.raises(Reject, match="no such resource"):
        await world.client.cancel("00A1B2C3")


async def test_a_label_that_is_never_printed_again_is_for_a_person(world: World) -> None:
    """Proves that a parcel whose label cannot be had is asked for again, and in the end parked with
    its number, for whoever waits at the printer."""
    await world.bought()
    await world.misbehave("no_reprint")
    with pytest.raises(OutcomeUnknown, match="INVALID_SHIPMENT_ID"):
        await adapter.find_label(world.packed(), world.client)
    ((parcel,),) = world.shipments()
    with pytest.raises(NeedsPerson, match=parcel["number"]):
        await adapter.find_label(world.packed(attempt=10), world.client)


@pytest.mark.parametrize(
    ("changes", "raised", "words"),
    [
        ({"client_secret": "env:GLS_TEST_OTHER"}, Retry, "invalid_client"),
        ({"contact_id": "1"}, NeedsPerson, "ContactID"),
        ({"always_services": ["flexdelivery"]}, Reject, "ServiceName"),
        ({"services": {"INTL_GROUND": "TURBO"}}, Reject, "Product"),
        ({"label_template": "D_4000"}, Reject, "TemplateSet"),
        ({"shipit_path": "/elsewhere"}, OutcomeUnknown, "without a word of GLS"),
    ],
)
async def test_refusals_are_told_as_what_they_are(
    changes: dict[str, Any], raised: type[Exception], words: str
) -> None:
    """Proves that credentials, contacts, rules and a page of nobody are told apart by the table."""
    async with running(**changes) as world:
        with pytest.raises(raised, match=words):
            await adapter.buy_label(world.packed(), world.client)
        assert world.sandbox.books()["labels_sold"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_zone", "Berlin"),
        ("cancel_results", {"CANCELLED": "yes"}),
        ("end_of_day_time", "7:30"),
    ],
)
async def test_a_misspelt_setting_is_refused_before_anything_is_sent(name: str, value: Any) -> None:
    """Proves that a zone or a word that nobody knows does not become a guess at the first call."""
    async with running(**{name: value}) as world:
        with pytest.raises(SettingsError, match=name):
            await adapter.connect(world.settings, world.secrets)


async def test_the_zone_of_the_docks_is_asked_for_and_decides_the_day(world: World) -> None:
    """Proves that nobody ships without saying where, and that GLS refuses a shipping date that is
    over at its place, as the day of a zone behind it may be."""
    given = {name: value for name, value in world.given.items() if name != "time_zone"}
    with pytest.raises(SettingsError, match="time_zone"):
        check(ADAPTER.manifest.settings, given)
    day = datetime.now(LOCAL).date()
    rules = adapter.ship_rules(world.settings, world.packed().event.shipment)
    for shipping, over in ((day - timedelta(days=1), True), (day, False)):
        request = translate.shipment_request(
            world.packed().event.shipment, REFERENCE, shipping.isoformat(), rules
        )
        if over:
            with pytest.raises(Reject, match="in the past"):
                await world.client.create(request)
        else:
            await world.client.create(request)


async def test_a_token_that_ended_is_renewed_once(world: World) -> None:
    """Proves that a token which ends in mid-run costs one more token, and no label."""
    await world.client.test()
    await world.command("expire_tokens")
    await world.bought()
    assert world.sandbox.books()["tokens_issued"] == 2
    assert len(world.shipments()) == 1


async def test_too_many_calls_are_the_gateways_fault(world: World) -> None:
    """Proves that the gateway's quota, in its own shape, is a rest and makes nothing."""
    world.sandbox.faults.add({"kind": "throttle", "operation": "create", "count": 1})
    with pytest.raises(Throttled, match="QuotaViolation") as told:
        await adapter.buy_label(world.packed(), world.client)
    assert told.value.after_seconds == 60 and not world.shipments()


async def test_a_journey_is_told_once(world: World) -> None:
    """Proves that scans polled again and again are told once, each with its offset."""
    (label,) = await world.bought()
    await world.command("handover")
    await until(lambda: world.sandbox.books()["delivered"] == 1)
    for _ in range(3):
        await adapter.poll_tracking(world.poll(), world.client)
    milestones = world.hub.milestones(label.tracking_number)
    assert milestones == [
        shipment_pb2.MILESTONE_LABEL_CREATED,
        shipment_pb2.MILESTONE_CARRIER_ACCEPTED,
        shipment_pb2.MILESTONE_IN_TRANSIT,
        shipment_pb2.MILESTONE_OUT_FOR_DELIVERY,
        shipment_pb2.MILESTONE_DELIVERED,
    ]
    assert world.hub.heard == 3 * len(milestones)
    for scan in world.hub.scans.values():
        assert scan.event_time.utc_offset == "+01:00" and scan.place.country_code == "FR"
    assert not world.hub.held


@pytest.mark.parametrize(
    ("ending", "milestones"),
    [
        ("shop", [shipment_pb2.MILESTONE_READY_FOR_COLLECTION, shipment_pb2.MILESTONE_DELIVERED]),
        (
            "not_collected",
            [shipment_pb2.MILESTONE_IN_TRANSIT, shipment_pb2.MILESTONE_DELIVERED],
        ),
        ("final", [shipment_pb2.MILESTONE_OUT_FOR_DELIVERY, shipment_pb2.MILESTONE_DELIVERED]),
    ],
)
async def test_how_a_journey_ends(world: World, ending: str, milestones: list[int]) -> None:
    """Proves that a parcel at a shop is not delivered, whether it is collected or goes back to its
    sender, and that FINAL is what its last event says."""
    (label,) = await world.bought()
    await world.misbehave(ending)
    await world.command("handover")
    wanted = {"final": 5, "shop": 6, "not_collected": 7}[ending]
    await until(lambda: len(world.shipments()[0][0]["events"]) == wanted)
    await adapter.poll_tracking(world.poll(), world.client)
    assert world.hub.milestones(label.tracking_number)[-2:] == milestones
    went_back = ending == "not_collected"
    assert [scan.return_leg for scan in world.hub.scans.values()][-2:] == [False, went_back]
    assert world.sandbox.books()["delivered"] == (0 if went_back else 1)


async def test_a_parcel_that_tracking_does_not_know_costs_no_other() -> None:
    """Proves that E_404_01 for one parcel is nothing to tell yet, and the others are told."""
    async with running() as world:
        (label,) = await world.bought()
        world.hub.stored.append(packed_parcel.label("GLS", "00NOBODY"))
        await adapter.poll_tracking(world.poll(), world.client)
        assert world.hub.milestones(label.tracking_number) == [shipment_pb2.MILESTONE_LABEL_CREATED]
        assert not world.hub.held


async def test_what_cannot_be_read_is_held_and_read_again(world: World) -> None:
    """Proves that a broken event is held with its place while the others are told, that a status
    which nobody documented is neither guessed nor dropped, and that the held answer, given back
    when it can be read, becomes the facts that were missing."""
    broken = (PAYLOADS / "tracking_broken.json").read_bytes()
    world.hub.stored = [packed_parcel.label("GLS", f"00DEMO0{n}") for n in (1, 2)]
    world.sandbox.show("00DEMO01", broken)
    await adapter.poll_tracking(world.poll(), world.client)
    ((raw, reason),) = world.hub.held
    assert "/parcels/0/events/0/eventDateTime" in reason and b"00DEMO02" not in raw
    assert world.hub.milestones("00DEMO01") == [shipment_pb2.MILESTONE_CARRIER_ACCEPTED]
    assert world.hub.milestones("00DEMO02") == [shipment_pb2.MILESTONE_UNKNOWN]
    mended = raw.replace(b"this morning", b"2026-03-05T07:00:00+0100")
    held = HeldPayload("id", "poll:tracking", mended, "application/json", False)
    await adapter.translate_parcels(world.poll(), held, world.client)
    assert world.hub.milestones("00DEMO01")[-1] == shipment_pb2.MILESTONE_OUT_FOR_DELIVERY


async def test_an_answer_about_another_parcel_is_not_believed(world: World) -> None:
    """Proves that scans of a number that was not asked for are held, not told."""
    world.hub.stored = [packed_parcel.label("GLS", "00DEMO01")]
    world.sandbox.show("00DEMO01", conformance.tracked("DELIVERED", conformance.DELIVERED))
    await adapter.poll_tracking(world.poll(), world.client)
    ((_, reason),) = world.hub.held
    assert reason.startswith("/parcels/0/requested") and not world.hub.scans


async def test_what_cannot_be_said_to_gls_is_not_sent(world: World) -> None:
    """Proves that a service without a product, a package without a weight and more packages than
    travel together are told before any call."""
    spoils: list[tuple[Callable[[Any], Any], str]] = [
        (lambda shipment: setattr(shipment, "service_code", "CARRIER_PIGEON"), "map set gls"),
        (lambda shipment: shipment.packages[0].ClearField("weight"), "''"),
        (lambda shipment: [shipment.packages.add(id=str(n)) for n in range(50)], "at most 50"),
    ]
    for spoil, words in spoils:
        work = world.packed()
        spoil(work.event.shipment)
        with pytest.raises(Untranslatable, match=words):
            await adapter.buy_label(work, world.client)
    assert not world.sandbox.calls


async def test_the_vendors_books_outlive_its_process(tmp_path: Path) -> None:
    """Proves that a simulated GLS that is stopped and started again, as a developer's is, knows its
    parcels, their scans and what became of them."""
    settings = {**SANDBOX_SETTINGS, "auto_handover_seconds": 0}
    config = SandboxConfig("gls", tick_seconds=0.01, settings=settings, state_file=tmp_path / "b")
    async with GlsSandbox(config) as sandbox:
        world = World(sandbox)
        (label,) = await world.bought()
        await until(lambda: sandbox.books()["delivered"] == 1)
        before = sandbox.books()["shipments"]
        await world.client.close()
    async with GlsSandbox(config) as sandbox:
        assert sandbox.books()["shipments"] == before
        world = World(sandbox)
        (found,) = labels_of(await adapter.find_label(world.packed(), world.client))
        await world.client.close()
    assert found.tracking_number == label.tracking_number
