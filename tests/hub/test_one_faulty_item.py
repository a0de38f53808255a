"""Calls of several attempts with one that the hub has a fault with: the others are decided."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock_hub.verbs import DECISIONS
from databases import ServerDatabase
from first_flow import LABELS, Flow
from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint, duration
from story import Story, request_id, unique

FAULT = "INTERNAL_FAULT"


def write(hub: RunningHub, statement: str, *values: Any) -> None:
    """Change a row of the hub's database behind its back."""
    if isinstance(hub.database, ServerDatabase):
        hub.query(statement, *values)
        return
    path = hub.data / "crossdock.db"
    with contextlib.closing(sqlite3.connect(path, timeout=10.0)) as connection, connection:
        connection.execute(statement, values)


@contextlib.contextmanager
def damaged(hub: RunningHub, delivery_id: str) -> Iterator[None]:
    """A delivery whose row no decision can read, as a fault of the disk may leave it."""
    ((sound,),) = hub.query("SELECT refers_to FROM deliveries WHERE id = ?", delivery_id)
    write(hub, "UPDATE deliveries SET refers_to = '[\"' WHERE id = ?", delivery_id)
    try:
        yield
    finally:
        write(hub, "UPDATE deliveries SET refers_to = ? WHERE id = ?", sound, delivery_id)


def reasons(results: Any) -> list[str]:
    return [result.refusal.reason for result in results]


def begins_of(endpoint: str, works: list[Any]) -> Any:
    """One call that begins all of them."""
    request = delivery_service_pb2.BeginAttemptsRequest(endpoint=endpoint, instance="test")
    for work in works:
        request.begins.add(
            delivery_id=work.delivery_id,
            dispatch_number=work.dispatch_number,
            attempt_id=request_id(),
            lease=duration(60.0),
        )
    return request


async def test_one_faulty_item_is_its_own_answer(own_hub: RunningHub) -> None:
    """Proves, for begins, renewals and completions that share a call, that the item whose decision
    fails is told so with an incident, that the other one is durable, that nothing of the faulty one
    was written, and that it can be repeated once it is mended."""
    lane = Lane(1)
    async with (
        Story(own_hub, lane) as story,
        PlayedEndpoint(own_hub, lane.erp, ERP_OPERATIONS) as erp,
    ):
        for _ in range(2):
            await story.approved()
        works = [await erp.take(), await erp.take()]
        bad = works[0].delivery_id
        begins = begins_of(lane.erp, works)
        with damaged(own_hub, bad):
            begun = (await erp.client.deliveries.BeginAttempts(begins)).results
        assert reasons(begun) == [FAULT, ""]
        assert begun[0].delivery_id == bad and begun[0].refusal.metadata["incident"]
        assert own_hub.count("attempts") == 1
        begun = (await erp.client.deliveries.BeginAttempts(begins)).results
        assert reasons(begun) == ["", ""]
        tokens = {result.delivery_id: result.token for result in begun}

        renewals = delivery_service_pb2.RenewLeasesRequest(endpoint=lane.erp)
        completions = delivery_service_pb2.CompleteAttemptsRequest(endpoint=lane.erp)
        for delivery_id, token in tokens.items():
            renewals.renewals.add(delivery_id=delivery_id, token=token, lease=duration(60.0))
            completion = completions.completions.add(
                delivery_id=delivery_id,
                token=token,
                outcome=delivery_pb2.ATTEMPT_OUTCOME_CONFIRMED,
            )
            completion.vendor_references.add(type="sales_order", value=unique("SO"))
        with damaged(own_hub, bad):
            calls = await asyncio.gather(
                erp.client.deliveries.RenewLeases(renewals),
                erp.client.deliveries.CompleteAttempts(completions),
            )
        assert [reasons(answer.results)[0] for answer in calls] == [FAULT, FAULT]
        assert calls[1].results[1].state == delivery_pb2.DELIVERY_STATE_CONFIRMED
        states = own_hub.query("SELECT id, state FROM deliveries WHERE endpoint = ?", lane.erp)
        assert dict(states)[bad] == "IN_FLIGHT"
        again = (await erp.client.deliveries.CompleteAttempts(completions)).results
        assert [result.state for result in again] == [delivery_pb2.DELIVERY_STATE_CONFIRMED] * 2


def test_a_fault_with_a_fact_does_not_take_the_outcome_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Proves that a fact whose decision has a fault is quarantined with an incident, without a word
    of the exception, and costs neither the outcome, nor the references, nor the other facts."""
    flow = Flow()
    _, (part,) = flow.released()
    shipment = flow.pack(part).shipment
    package_id = shipment.packages[0].id
    good = flow.label_request(shipment.id, package_id)
    poison = flow.label_request(shipment.id, package_id, "1Z2")
    method = f"{LABELS}/CreateLabel"
    sound = DECISIONS[f"/crossdock.{method}"]

    def faulty(unit: Any, request: Any) -> Any:
        if request == poison:
            raise ZeroDivisionError("a secret")
        return sound(unit, request)

    monkeypatch.setitem(DECISIONS, f"/crossdock.{method}", faulty)
    bought = flow.delivery("ups", "buy_label")
    answer = flow.settle(
        bought,
        references=[("tracking_number", "1Z1")],
        facts=[(method, poison), (method, good)],
    )
    assert flow.fresh(bought).state == "CONFIRMED"
    assert flow.fresh(bought).vendor_references
    (kept,) = answer.quarantined
    assert kept.refusal.reason == "INTERNAL_FAULT"
    assert kept.refusal.metadata["incident"] and "secret" not in str(kept.refusal)
    assert [label.tracking_number for label in flow.all("label")] == ["1Z1"]
