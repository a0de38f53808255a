"""Several labels under one reference at UPS: one is adopted, whatever order UPS names them in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from crossdock_adapters.sdk.carrier_labels import LabelImage
from crossdock_adapters.sdk.outcomes import Confirmed, NotFound, OutcomeUnknown, Reject
from crossdock_adapters.sdk.sandbox import SandboxConfig
from crossdock_adapters.ups import adapter, adoption
from crossdock_adapters.ups.sandbox import UpsSandbox
from test_ups_adapter import World, number_of
from ups_world import ACCOUNT, SANDBOX_SETTINGS, ship_request


@pytest.fixture
async def world() -> AsyncIterator[World]:
    config = SandboxConfig("ups", seed=3, tick_seconds=0.01, settings=SANDBOX_SETTINGS)
    async with UpsSandbox(config) as sandbox:
        made = World(sandbox)
        yield made
        await made.client.close()


async def two_labels(world: World) -> tuple[str, str]:
    """Two labels of one delivery, as a call that somebody repeated by hand leaves them."""
    first = number_of(await adapter.buy_label(world.packed(), world.client))
    return first, number_of(await adapter.buy_label(world.packed(), world.client))


async def command(world: World, name: str, **arguments: Any) -> None:
    await world.sandbox.commands()[name](arguments)


async def look_up(world: World) -> Confirmed:
    done = await adapter.find_label(world.packed(), world.client)
    assert isinstance(done, Confirmed)
    return done


def duplicates(done: Confirmed) -> list[str]:
    return [duplicate.value for duplicate in done.duplicates]


def voided(world: World) -> set[str]:
    shipments = world.sandbox.books()["shipments"]
    parcels = [parcel for shipment in shipments for parcel in shipment["parcels"]]
    return {parcel["tracking_number"] for parcel in parcels if parcel["voided"]}


@pytest.mark.parametrize("untracked", ["none", "first", "second", "both"])
async def test_two_look_ups_never_void_both_labels(world: World, untracked: str) -> None:
    """Proves that look-ups adopt the same label although UPS names the candidates in another order
    each time, and goes on naming what is void, whichever of them tracking does not know yet."""
    first, second = await two_labels(world)
    hidden = {"none": [], "first": [first], "second": [second], "both": [first, second]}
    await command(world, "hide", untracked=hidden[untracked])
    await command(world, "name_voided")
    adopted = [number_of(await look_up(world)) for _ in range(4)]
    assert len(set(adopted)) == 1
    assert adopted[0] not in voided(world)


async def test_a_candidate_that_tracking_knows_to_be_void_is_not_adopted(world: World) -> None:
    """Proves that tracking is asked by number: a voided label that recovery still names, and that
    is not found by its reference, is neither adopted nor kept beside another one."""
    first, second = await two_labels(world)
    await world.client.void(first)
    await command(world, "name_voided")

    async def nothing(*_: str) -> list[Any]:
        return []

    world.client.track_by_reference = nothing  # type: ignore[method-assign]
    done = await look_up(world)
    assert number_of(done) == second and not duplicates(done)
    await world.client.void(second)
    assert isinstance(await adapter.find_label(world.packed(), world.client), NotFound)


async def test_a_candidate_without_a_label_does_not_block_the_good_one(world: World) -> None:
    """Proves that where the label of one candidate cannot be had the next one is adopted; the
    first, which tracking does not know, as one voided by hand, is left and told to a person."""
    first, second = await two_labels(world)
    await command(world, "hide", untracked=[first], without_label=[first])
    done = await look_up(world)
    assert number_of(done) == second and duplicates(done) == [first]
    assert first in done.note and "by hand" in done.note
    assert not voided(world)


@pytest.mark.parametrize("tracked", [True, False])
async def test_a_label_that_shows_late_does_not_take_back_the_adopted_one(
    world: World, tracked: bool
) -> None:
    """Proves that an adopted label stays valid once recovery shows the older one too."""
    first, second = await two_labels(world)
    untracked = [] if tracked else [first]
    await command(world, "hide", untracked=untracked, without_label=[first])
    assert number_of(await look_up(world)) == second
    await command(world, "hide", untracked=untracked)
    assert number_of(await look_up(world)) == second
    assert second not in voided(world)


async def test_a_label_that_tracking_knows_late_does_not_take_back_the_adopted_one(
    world: World,
) -> None:
    """Proves that an adopted label stays adopted once tracking knows the older one too, which is
    voided then."""
    first, second = await two_labels(world)
    await command(world, "hide", untracked=[first], without_label=[first])
    assert number_of(await look_up(world)) == second
    await command(world, "hide")
    done = await look_up(world)
    assert number_of(done) == second and voided(world) == {first}
    assert number_of(await look_up(world)) == second


async def test_an_adopted_label_whose_image_goes_away_is_not_voided(world: World) -> None:
    """Proves that a label that was adopted before is left where another one has to be printed."""
    first, second = await two_labels(world)
    await command(world, "hide", untracked=[second])
    assert number_of(await look_up(world)) == first
    await command(world, "hide", without_label=[first])
    done = await look_up(world)
    assert number_of(done) == second and duplicates(done) == [first]
    assert not voided(world)


async def test_labels_that_cannot_be_had_are_all_named(world: World) -> None:
    """Proves that where no candidate's label can be had the reason names each of them."""
    numbers = await two_labels(world)
    await command(world, "hide", without_label=numbers)
    with pytest.raises(OutcomeUnknown) as unknown:
        await adapter.find_label(world.packed(), world.client)
    assert all(number in unknown.value.reason for number in numbers)
    assert not voided(world)


@pytest.mark.parametrize("shown", [[], [{"type": "REF", "number": "SOMEBODY-ELSES"}]])
async def test_only_what_carries_our_reference_is_voided(
    world: World, shown: list[dict[str, str]]
) -> None:
    """Proves that a candidate that tracking shows without our exact reference is not voided on
    recovery's word alone, and is told to a person."""
    first, second = await two_labels(world)
    (package,) = await world.client.track(second)
    await command(
        world, "show", tracking_number=second, package={**package, "referenceNumber": shown}
    )
    done = await look_up(world)
    assert number_of(done) == first and duplicates(done) == [second]
    assert second in done.note and "by hand" in done.note
    assert not voided(world)


async def test_nothing_is_voided_for_a_label_that_is_not_known_to_be_ours(world: World) -> None:
    """Proves that beside an adopted label that tracking does not confirm a confirmed one stays."""
    first, second = await two_labels(world)
    await command(world, "hide", untracked=[second], without_label=[first])
    done = await look_up(world)
    assert number_of(done) == second and duplicates(done) == [first]
    assert not voided(world)


async def test_recovery_names_candidates_in_another_order_each_time(world: World) -> None:
    """Proves that the simulated UPS names candidates in no fixed order, hides what is void unless
    told to name it, and shows no label that it is told to keep back."""
    client = world.client
    numbers = [(await client.ship(ship_request("REF1"))).shipment_number for _ in range(2)]
    orders = []
    for _ in range(2):
        named = await client.recover_by_reference("REF1", ACCOUNT, "ZPL")
        orders.append([label.tracking_number for label in named])
    assert orders == [numbers, numbers[::-1]]
    await client.void(numbers[0])
    (left,) = await client.recover_by_reference("REF1", ACCOUNT, "ZPL")
    assert left.tracking_number == numbers[1]
    await command(world, "name_voided")
    assert len(await client.recover_by_reference("REF1", ACCOUNT, "ZPL")) == 2
    await command(world, "hide", without_label=numbers)
    assert await client.recover(numbers[1], "ZPL") is None


async def test_recovery_draws_pdf_although_ship_does_not(world: World) -> None:
    """Proves that the simulated UPS shows a label again in PDF, which it does not sell."""
    number = (await world.client.ship(ship_request("REF1"))).shipment_number
    label = await world.client.recover(number, "PDF")
    assert label is not None and label.format == "PDF" and label.image.startswith(b"%PDF")
    with pytest.raises(Reject) as refused:
        await world.client.ship(ship_request("REF2", "PDF"))
    assert refused.value.code == "120802"


async def test_the_stock_size_of_the_label_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves what recovery is asked for: format and stock size, which count for thermal labels, and
    the container that UPS demands."""
    number = (await world.client.ship(ship_request("REF1"))).shipment_number
    asked: list[dict[str, Any]] = []
    call = world.client._call

    async def noted(method: str, path: str, **options: Any) -> Any:
        asked.append(options["json"]["LabelRecoveryRequest"])
        return await call(method, path, **options)

    monkeypatch.setattr(world.client, "_call", noted)
    await world.client.recover(number, "ZPL")
    (request,) = asked
    assert request["LabelSpecification"]["LabelImageFormat"] == {"Code": "ZPL"}
    assert request["LabelSpecification"]["LabelStockSize"] == {"Height": "6", "Width": "4"}
    assert request["Request"]


async def test_a_number_that_tracking_refuses_costs_no_other(world: World) -> None:
    """Proves that a candidate that UPS refuses to be asked about keeps the label that is there from
    being told neither for the moment nor for ever, and voids nothing."""
    first, second = await two_labels(world)
    track = world.client.track

    async def refusing(number: str) -> Any:
        if number == first:
            raise OutcomeUnknown("400 TV1002")
        return await track(number)

    world.client.track = refusing  # type: ignore[method-assign]
    done = await look_up(world)
    assert number_of(done) == second and duplicates(done) == [first]
    assert not voided(world)


def test_what_is_void_is_so_whatever_it_carries() -> None:
    """Proves that a candidate that tracking by its number shows as void is none, also where it is
    said to carry another reference; and that it stays one where it is not void."""
    image = LabelImage("1ZA", "ZPL", b"label")
    void = {"date": "20260131", "time": "120000", "status": {"type": "MV", "code": "VP"}}
    package = {
        "trackingNumber": "1ZA",
        "referenceNumber": [{"type": "PACKAGE", "number": "OTHER"}],
        "activity": [void],
    }
    table = adapter.statuses()
    assert adoption.candidates("abc", [image], [], [package], table) == []
    (kept,) = adoption.candidates("abc", [image], [], [{**package, "activity": []}], table)
    assert not kept.confirmed
