"""What follows a lost answer of Canada Post: one shipment per package, whatever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from canada_post_world import REFERENCE, World, label_of, running
from crossdock.label.v1 import label_pb2
from crossdock_adapters.canada_post import adapter
from crossdock_adapters.canada_post.client import MAX_DOCUMENT_BYTES, Reply
from crossdock_adapters.canada_post.sandbox_documents import SHIPMENT_NAMESPACE as NAMESPACE
from crossdock_adapters.canada_post.sandbox_documents import SHIPMENT_TYPE, VendorRefusal
from crossdock_adapters.sdk.http import Answer
from crossdock_adapters.sdk.outcomes import (
    Confirmed,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    Retry,
)
from starlette.responses import Response


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as made:
        yield made


@pytest.mark.parametrize("kind", ["reply_lost", "error_after"])
async def test_a_lost_answer_is_found_and_never_made_again(world: World, kind: str) -> None:
    """Proves that after an answer got lost the look-up adopts that very shipment, price too."""
    world.sandbox.faults.add({"kind": kind, "operation": "create", "count": 1})
    with pytest.raises(OutcomeUnknown):
        await adapter.buy_label(world.packed(), world.client)
    done = await adapter.find_label(world.packed(), world.client)
    label = label_of(done)
    assert world.sold()["tracking_numbers"] == [label.tracking_number]
    assert label.image.startswith(b"^XA") and Decimal(label.price.amount) > 0
    assert isinstance(done, Confirmed) and done.found_by == REFERENCE


@pytest.mark.parametrize("kind", ["throttle", "error_before"])
async def test_a_label_that_cannot_be_fetched_is_no_reason_to_buy_another(
    world: World, kind: str
) -> None:
    """Proves that whatever fails after the shipment was made is unknown, never "try again"."""
    world.sandbox.faults.add({"kind": kind, "operation": "artifact", "count": 1})
    with pytest.raises(OutcomeUnknown, match=r"is made, its label not fetched"):
        await adapter.buy_label(world.packed(), world.client)
    label = label_of(await adapter.find_label(world.packed(), world.client))
    assert world.sold()["tracking_numbers"] == [label.tracking_number]


async def test_a_wish_to_be_left_alone_goes_with_what_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a Retry-After is kept, of a purchase that nobody knows the end of and of a label
    that cannot be had yet."""
    async with running({"retry_after_header": True}) as world:
        fault = {"kind": "throttle", "operation": "artifact", "count": 1, "retry_after_seconds": 7}
        world.sandbox.faults.add(fault)
        with pytest.raises(OutcomeUnknown) as told:
            await adapter.buy_label(world.packed(), world.client)
        assert told.value.after_seconds == 7
        busy = Answer(503, {"Retry-After": "9"}, b"<html></html>")
        monkeypatch.setattr(world.client, "_call", lambda *_, **__: _soon(busy))
        with pytest.raises(OutcomeUnknown) as told:
            await adapter.buy_label(world.packed(), world.client)
        assert told.value.after_seconds == 9


async def test_a_label_that_is_not_drawn_yet_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that 202 is waited for a bounded while, and then left to the look-up."""
    monkeypatch.setattr("crossdock_adapters.canada_post.client.ARTIFACT_PAUSE_SECONDS", 0.01)
    async with running({"label_ready_after_seconds": 3600}) as slow:
        with pytest.raises(OutcomeUnknown, match="not drawn yet"):
            await adapter.buy_label(slow.packed(), slow.client)
        assert sum(call.operation == "artifact" for call in slow.sandbox.calls) == 3


async def test_a_label_that_can_never_be_had_holds_no_order_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a shipment whose label is gone is adopted without it, with a word for whoever
    prints, and never bought again."""

    def gone(*_: Any) -> bool:
        raise VendorRefusal(404)

    monkeypatch.setattr(world.sandbox._books, "label_ready", gone)
    with pytest.raises(OutcomeUnknown, match="does not show it"):
        await adapter.buy_label(world.packed(), world.client)
    done = await adapter.find_label(world.packed(), world.client)
    assert label_of(done).tracking_number == world.sold()["tracking_numbers"][0]
    assert isinstance(done, Confirmed) and "print it from Canada Post" in done.note
    assert label_of(done).format == label_pb2.LABEL_FORMAT_UNSPECIFIED


async def test_a_label_that_is_never_drawn_is_given_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a look-up waits for a label through some attempts, and adopts the shipment
    without it then: the order goes on, and a person prints it."""
    monkeypatch.setattr("crossdock_adapters.canada_post.client.ARTIFACT_PAUSE_SECONDS", 0.01)
    async with running({"label_ready_after_seconds": 3600}) as world:
        with pytest.raises(OutcomeUnknown):
            await adapter.buy_label(world.packed(), world.client)
        early = replace(world.packed(), attempt=adapter.ATTEMPTS_FOR_LABEL - 1)
        with pytest.raises(OutcomeUnknown, match="not drawn yet"):
            await adapter.find_label(early, world.client)
        late = replace(world.packed(), attempt=adapter.ATTEMPTS_FOR_LABEL)
        done = await adapter.find_label(late, world.client)
        assert isinstance(done, Confirmed) and "print it from Canada Post" in done.note


@pytest.mark.parametrize("says", ["empty", "404"])
async def test_nothing_made_is_not_found(says: str) -> None:
    """Proves that both ways to say "none" are understood, and that only our reference counts."""
    async with running({"search_finds_none": says}, search_404_is_none=says == "404") as world:
        await world.bought("ANOTHERREFERENCE")
        world.sandbox.faults.add({"kind": "error_before", "operation": "create", "count": 1})
        with pytest.raises(OutcomeUnknown):
            await adapter.buy_label(world.packed(), world.client)
        assert isinstance(await adapter.find_label(world.packed(), world.client), NotFound)


async def test_a_shipment_that_is_listed_and_not_shown_is_not_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a link which leads to nothing is a failed look-up, never "make it again"."""
    await world.bought()

    def gone(shipment_id: str) -> Any:
        raise VendorRefusal(404)

    monkeypatch.setattr(world.sandbox._books, "shipment", gone)
    with pytest.raises(Retry, match="lists 1 shipments and shows none"):
        await adapter.find_label(world.packed(), world.client)


async def test_a_404_is_a_failed_search_unless_a_deployment_says_otherwise() -> None:
    """Proves that 404, which is not published to mean "none", is trouble by default."""
    async with running({"search_finds_none": "404"}) as world:
        with pytest.raises(NeedsPerson, match="404"):
            await adapter.find_label(world.packed(), world.client)


ANSWERS_OF_A_SEARCH = {
    "another's": (200, f"<shipments xmlns='{NAMESPACE}'>{{other}}</shipments>"),
    "nobody's": (200, f"<shipments xmlns='{NAMESPACE}'>{{nameless}}</shipments>"),
    "wrapped": (200, f"<shipments xmlns='{NAMESPACE}'><links>{{ours}}</links></shipments>"),
    "foreign": (200, "<shipments xmlns='urn:else'/>"),
    "told why": (404, "<messages><message><code>004</code></message></messages>"),
}


@pytest.mark.parametrize("shape", sorted(ANSWERS_OF_A_SEARCH))
async def test_only_an_empty_list_says_that_nothing_was_made(
    monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    """Proves that a search which lists what is not ours, has another shape, or says 404 with a
    message is a failed one: two of them read as "not found" would buy a second label."""
    status, text = ANSWERS_OF_A_SEARCH[shape]
    ids = "<shipment-id>1</shipment-id><tracking-pin>2</tracking-pin>"
    info = f"<shipment-info>{{}}{ids}</shipment-info>"
    named = "<customer-request-id>{}</customer-request-id>"
    body = text.format(
        other=info.format(named.format("SOMEBODY")),
        nameless=info.format(""),
        ours=info.format(named.format(REFERENCE)),
    )

    async def answered(*_: Any, **__: Any) -> Reply:
        return Reply(Answer(status, {}, body.encode()))

    async with running(search_404_is_none=True) as world:
        monkeypatch.setattr(world.client, "_call", answered)
        with pytest.raises((OutcomeUnknown, Retry, NeedsPerson)):
            await adapter.find_label(world.packed(), world.client)
        nothing = f"<shipments xmlns='{NAMESPACE}'/>".encode()
        monkeypatch.setattr(world.client, "_call", lambda *_, **__: _soon(Answer(200, {}, nothing)))
        assert isinstance(await adapter.find_label(world.packed(), world.client), NotFound)


async def _soon(answer: Answer) -> Reply:
    return Reply(answer)


async def test_a_document_without_end_is_not_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that what is no label is read up to its limit and no further, and that such an answer
    to a purchase leaves it unknown."""
    long = b"<shipment-info>" + b" " * MAX_DOCUMENT_BYTES + b"</shipment-info>"
    monkeypatch.setattr(
        world.sandbox, "_info", lambda *_, **__: Response(long, media_type=SHIPMENT_TYPE)
    )
    with pytest.raises(OutcomeUnknown, match="larger than"):
        await adapter.buy_label(world.packed(), world.client)
    assert world.sandbox.books()["labels_sold"] == 1


@pytest.mark.parametrize("kind", ["error_before", "throttle", "down"])
async def test_trouble_is_never_not_found(world: World, kind: str) -> None:
    """Proves that a look-up which fails raises, so that nothing is made again for it."""
    world.sandbox.faults.add({"kind": kind, **({} if kind == "down" else {"operation": "search"})})
    await world.sandbox.apply_outage()
    with pytest.raises((Retry, OutcomeUnknown)):
        await adapter.find_label(world.packed(), world.client)


async def bought_twice(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two shipments of one reference, as the books have them: the lower number first."""
    await adapter.buy_label(world.packed(), world.client)
    await adapter.buy_label(world.packed(), world.client)
    first, second = sorted(
        world.sandbox.books()["shipments"], key=lambda each: int(each["shipment_id"])
    )
    return first, second


@pytest.mark.parametrize("turned", [False, True])
async def test_of_several_found_one_is_kept_and_the_others_are_raised(
    world: World, monkeypatch: pytest.MonkeyPatch, turned: bool
) -> None:
    """Proves that of two shipments of one reference the one with the lower number stays, in
    whatever order they are listed, so that a look-up that is repeated keeps the same; and that it
    voids nothing: the call that made the other may still say that it is done."""
    kept, second = await bought_twice(world)
    search = world.sandbox._books.search
    monkeypatch.setattr(
        world.sandbox._books,
        "search",
        lambda *given, **named: search(*given, **named)[:: -1 if turned else 1],
    )
    done = await adapter.find_label(world.packed(), world.client)
    assert label_of(done).tracking_number == kept["tracking_number"]
    assert isinstance(done, Confirmed) and "void by hand" in done.note
    assert [each.value for each in done.duplicates] == [second["tracking_number"]]
    assert (world.sold()["bought"], world.sold()["valid"]) == (2, 2)


async def test_a_label_whose_price_was_asked_back_is_never_adopted() -> None:
    """Proves that of two shipments the one that may still be used is adopted, and that where none
    is left a person decides: its label is spoiled, and another one costs money."""
    async with running(refund_email="") as world:
        spoiled, usable = await bought_twice(world)
        await world.command("transmit")
        world.sandbox._books.refund(spoiled["shipment_id"])
        done = await adapter.find_label(world.packed(), world.client)
        assert label_of(done).tracking_number == usable["tracking_number"]
        assert isinstance(done, Confirmed) and not done.duplicates
        world.sandbox._books.refund(usable["shipment_id"])
        with pytest.raises(NeedsPerson, match="no label to use"):
            await adapter.find_label(world.packed(), world.client)


async def test_a_suspended_shipment_is_no_label(world: World) -> None:
    """Proves that a shipment which Canada Post suspended is neither bought nor adopted."""
    await world.bought()
    (parcel,) = world.sandbox._books.search(world.sandbox.now())
    parcel.status = "suspended"
    with pytest.raises(NeedsPerson, match="is suspended"):
        await adapter.find_label(world.packed(), world.client)
