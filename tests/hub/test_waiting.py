"""Packing stations that wait for a label, and the waking of whoever waits."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from crossdock.label.v1 import label_service_pb2
from crossdock_hub.committer import Committed
from crossdock_hub.identity import Caller, Scope
from crossdock_hub.unit import Changes, Refused
from crossdock_hub.waiting import Waiters
from decisions import CARRIER, TMS, WMS, request_id
from first_flow import LABELS, Flow
from fixtures_nats import eventually
from stored_flow import Books, books

__all__ = ["books"]

AWAIT = "label.v1.LabelService/AwaitLabel"


def packed(flow: Flow) -> tuple[str, str]:
    """A packed shipment: its id and its package's."""
    _, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    return shipment.id, shipment.packages[0].id


def request(package_id: str) -> label_service_pb2.AwaitLabelRequest:
    return label_service_pb2.AwaitLabelRequest(package_id=package_id)


def batch_of(flow: Flow) -> Committed:
    """Everything a company knows, as one commit."""
    return Committed(flow.now, Changes(records=dict(flow.records)))


# Waking


async def test_what_happens_before_the_wait_is_not_missed() -> None:
    """Proves that looking first and waiting then loses no notification in between."""
    waiters = Waiters()
    with waiters.watching("package") as watch:
        waiters.notify(["other", "package"])
        assert await watch.wait(5)
        assert not await watch.wait(0)
    assert len(waiters) == 0


async def test_only_the_named_are_woken() -> None:
    """Proves that a notification wakes all who wait for its key and nobody else."""
    waiters = Waiters()
    first, second = (asyncio.create_task(waiters.wait("a", 30)) for _ in range(2))
    other = asyncio.create_task(waiters.wait("b", 30))
    await eventually(lambda: len(waiters) == 2)
    waiters.notify(["a"])
    assert await first
    assert await second
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    assert len(waiters) == 0


async def test_a_timeout_is_an_answer() -> None:
    """Proves that nobody waits longer than asked."""
    began = time.monotonic()
    assert not await Waiters().wait("a", 0.05)
    assert time.monotonic() - began < 5


async def test_a_commit_wakes_the_packages_it_is_about() -> None:
    """Proves that labels and deliveries of items wake those who wait for the package."""
    flow = Flow()
    shipment_id, package_id = packed(flow)
    waiters = Waiters()
    waiters.committed(batch_of(flow))  # nobody waits: nothing is looked at
    with waiters.watching(package_id) as watch:
        waiters.committed(batch_of(flow))
        assert await watch.wait(0)
    flow.label(shipment_id, package_id)
    record = next(r for k, r in flow.records.items() if k[:2] == ("object", "label"))
    label_only = Committed(flow.now, Changes(records={("object", "label", record.id): record}))
    with waiters.watching(package_id) as watch:
        waiters.committed(label_only)
        assert await watch.wait(0)


async def test_what_another_hub_commits_wakes_by_name_or_everybody() -> None:
    """Proves that packages that another hub names wake those who wait for them and nobody else,
    and that everybody looks where there were more than it could name."""
    waiters = Waiters()
    with waiters.watching("a") as named, waiters.watching("b") as other:
        waiters.heard(["a"], more=False)
        assert await named.wait(0)
        assert not await other.wait(0)
        waiters.heard(["a"], more=True)
        assert await named.wait(0)
        assert await other.wait(0)


# AwaitLabel


async def test_a_label_that_is_there_is_answered_at_once(books: Books) -> None:
    """Proves that a station that asks late does not wait."""
    flow = Flow()
    shipment_id, package_id = packed(flow)
    flow.label(shipment_id, package_id)
    await books.keep(flow)
    answer = await books.ask(AWAIT, request(package_id), WMS, 60)
    assert answer.label.tracking_number == "1Z1"


async def test_a_label_that_comes_while_waiting_is_answered_then(books: Books) -> None:
    """Proves that the commit of the label answers the call, long before its deadline."""
    flow = Flow()
    shipment_id, package_id = packed(flow)
    await books.keep(flow)
    began = time.monotonic()
    asked = asyncio.create_task(books.ask(AWAIT, request(package_id), WMS, 60))
    await eventually(lambda: len(books.waiters) == 1)
    flow.label(shipment_id, package_id)
    await books.keep(flow)
    books.waiters.committed(batch_of(flow))
    answer = await asked
    assert answer.label.package_id == package_id
    assert time.monotonic() - began < 30


async def test_another_hub_s_label_is_found_by_looking_again(books: Books) -> None:
    """Proves that a label is answered even when nobody notifies this process."""
    flow = Flow()
    shipment_id, package_id = packed(flow)
    await books.keep(flow)
    asked = asyncio.create_task(books.ask(AWAIT, request(package_id), WMS, 60))
    await eventually(lambda: len(books.waiters) == 1)
    flow.label(shipment_id, package_id)
    await books.keep(flow)
    assert (await asked).label.package_id == package_id


async def test_pending_is_said_before_the_deadline(books: Books) -> None:
    """Proves that a pending purchase is an answer with its state, not a deadline error."""
    flow = Flow()
    _, package_id = packed(flow)
    flow.take(flow.delivery("ups", "buy_label"))
    await books.keep(flow)
    began = time.monotonic()
    answer = await books.ask(AWAIT, request(package_id), WMS, 5.0)
    assert time.monotonic() - began < 5.0
    assert answer.WhichOneof("result") is None
    assert answer.state == "IN_FLIGHT at ups"


@pytest.mark.parametrize("outcome", ["REJECTED", "PARKED"])
async def test_a_refusal_is_answered_with_its_reason(books: Books, outcome: str) -> None:
    """Proves that the packer is told why there will be no label, at once."""
    flow = Flow()
    _, package_id = packed(flow)
    flow.settle(flow.delivery("ups", "buy_label"), outcome, reason="address is not served")
    await books.keep(flow)
    answer = await books.ask(AWAIT, request(package_id), WMS, 60)
    assert "address is not served" in answer.refusal.message
    assert answer.refusal.metadata["state"] == outcome
    assert answer.refusal.metadata["endpoint"] == "ups"


async def test_a_sold_label_that_the_hub_refused_is_told(books: Books) -> None:
    """Proves that a quarantined label does not look pending for ever."""
    flow = Flow()
    shipment_id, package_id = packed(flow)
    flow.rounds_max = flow.limits.batch_rounds_max
    sold = flow.label_request(shipment_id, package_id)
    sold.label.order_id = request_id()  # the hub's own field
    flow.settle(flow.delivery("ups", "buy_label"), facts=[(f"{LABELS}/CreateLabel", sold)])
    await books.keep(flow)
    answer = await books.ask(AWAIT, request(package_id), WMS, 60)
    assert answer.refusal.reason == "FIELD_NOT_OWNED"


async def test_a_voided_label_must_not_be_used(books: Books) -> None:
    """Proves that a voided label is refused, not handed out."""
    flow = Flow()
    shipment_id, package_id = packed(flow)
    flow.label(shipment_id, package_id)
    voided = label_service_pb2.ReportLabelVoidedRequest(
        request_id=request_id(), tracking_number="1Z1", carrier_code="UPSN"
    )
    flow.call(f"{LABELS}/ReportLabelVoided", voided, CARRIER)
    await books.keep(flow)
    answer = await books.ask(AWAIT, request(package_id), WMS, 60)
    assert answer.refusal.metadata["state"] == "VOIDED"


async def test_an_unknown_package_is_refused_at_once(books: Books) -> None:
    """Proves that nobody waits for what does not exist or is not theirs to see."""
    flow = Flow()
    shipment_id, package_id = packed(flow)
    await books.keep(flow)
    elsewhere = replace(WMS, scope=Scope(location_numbers=frozenset({"DC9"})))
    for caller, asked in ((WMS, request_id()), (elsewhere, package_id)):
        with pytest.raises(Refused) as refused:
            await books.ask(AWAIT, request(asked), caller, 60)
        assert refused.value.refusal.reason == "OBJECT_NOT_FOUND"
    flow.label(shipment_id, package_id)
    await books.keep(flow)
    with pytest.raises(Refused):
        await books.ask(AWAIT, request(package_id), elsewhere, 60)


async def test_a_stopping_hub_answers_what_it_knows(books: Books) -> None:
    """Proves that those who wait get an answer when the hub stops, not a broken call."""
    flow = Flow()
    _, package_id = packed(flow)
    await books.keep(flow)
    caller: Caller = TMS
    asked = asyncio.create_task(books.ask(AWAIT, request(package_id), caller, 60))
    await eventually(lambda: len(books.waiters) == 1)
    books.waiters.close()
    answer = await asked
    assert answer.WhichOneof("result") is None
    assert answer.state.startswith("READY at ups")
