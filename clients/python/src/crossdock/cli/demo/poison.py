"""Act 7, poison: what no repetition mends is parked with its reason, passed by, and mended by a
person.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from statistics import median
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask

from crossdock.cli.demo import poison_proofs as proofs
from crossdock.cli.demo.books import Call
from crossdock.cli.demo.poison_proofs import DeadGroup, Mended, Pace
from crossdock.cli.demo.stage import Stage
from crossdock.cli.demo.views import HubView
from crossdock.cli.names import name_of
from crossdock.cli.posted import read_postings
from crossdock.cli.problems import CommandError
from crossdock.dead_letter.v1 import dead_letter_pb2, dead_letter_service_pb2
from crossdock.delivery.v1 import (
    delivery_operations_service_pb2,
    delivery_pb2,
    delivery_service_pb2,
)
from crossdock.lineage.v1 import posting_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2
from crossdock.request_ids import new_request_id

WAIT_SECONDS: Final = 40.0
POLL_SECONDS: Final = 0.2
POSTING: Final = "create_sales_order"
# Cartons: a unit of UN/ECE Recommendation 20 for which the ERP's settings have no name.
UNNAMED_UNIT: Final = "CT"
PIECES: Final = "EA"
UNREADABLE: Final = b'{"trackingNumber": "1Z'
REFUSED_STATUS: Final = 400
REASONS: Final = {
    "resubmit": "the OMS put the order into pieces",
    "retry": "the script in the ERP that refused it is corrected",
    "discard": "the carrier's test page sent half a message",
}


@dataclass(frozen=True, slots=True)
class PoisonCast:
    """How many orders nobody can translate, how many the ERP refuses, how many are sound."""

    unsayable: int
    refused: int
    sound: int


async def play_poison(stage: Stage, cast: PoisonCast) -> None:
    """Begins and ends with nothing left to do at any vendor."""
    report = stage.report
    act = report.begin(
        7,
        "poison",
        f"{cast.unsayable} orders in a unit that the ERP has no word for, {cast.refused} that it "
        f"refuses, half a webhook; {cast.sound} sound orders come behind them",
    )
    without = await _pace(stage, await stage.place(cast.sound))
    unsayable = await _place_unsayable(stage, cast.unsayable)
    refused = await _place_refused(stage, cast.refused)
    await asyncio.to_thread(_send_half_a_webhook, stage)
    wanted = {"PARKED": cast.unsayable, "REJECTED": cast.refused, "HELD_PAYLOAD": 1}
    stopped = await _groups_when(stage, "what stopped", lambda g: _counts(g) == wanted)
    sound = await stage.place(cast.sound)
    with_poison = await _pace(stage, sound)
    erp, calls = await asyncio.gather(stage.erp_books(), stage.erp.calls())
    report.prove(
        act, proofs.parked_by_cause(stopped, unsayable, refused, erp, Call.read_all(calls))
    )
    report.prove(act, proofs.others_pass(without, with_poison))
    await _mend(stage, unsayable, stopped)
    closed = await _groups_when(stage, "the dead letters", lambda g: not _counts(g), closed=True)
    mended = [await _mended(stage, order_id) for order_id in (*unsayable, *refused)]
    report.prove(act, proofs.mended_once(stopped, closed, mended, await stage.erp_books()))


# What goes wrong


async def _place_unsayable(stage: Stage, count: int) -> list[str]:
    """Orders in a unit that no setting translates: approved, so that the ERP has to book them."""
    ids = []
    for order in stage.draw(count):
        order.lines[0].quantity.unit = UNNAMED_UNIT
        request = order_service_pb2.CreateOrderRequest(request_id=new_request_id(), order=order)
        made = (await stage.oms.orders.CreateOrder(request)).order
        await stage.oms.orders.ApproveOrder(
            order_service_pb2.ApproveOrderRequest(request_id=new_request_id(), order_id=made.id)
        )
        stage.placed[order.number] = made.id
        ids.append(made.id)
    return ids


async def _place_refused(stage: Stage, count: int) -> list[str]:
    """Orders that the ERP refuses. Nobody else asks it for anything until it has."""
    await stage.erp.fault("error_before", operation="upsert", status=REFUSED_STATUS, count=count)
    ids = await stage.place(count)
    await _groups_when(stage, "the refusals", lambda g: _counts(g).get("REJECTED", 0) == count)
    return ids


def _send_half_a_webhook(stage: Stage) -> None:
    """What the carrier calls, with its credential, and a body that ends in the middle."""
    workplace = stage.installation.workplace
    port = workplace.ports["ups-webhook"]
    secret = workplace.secret_file("ups-callback-credential").read_text("ascii").strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/ups/track-alert",
        data=UNREADABLE,
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=WAIT_SECONDS) as answer:
            answer.read()
    except OSError as error:
        raise CommandError("the adapter did not keep half a webhook", str(error)) from None


# What people do about it


async def _mend(stage: Stage, unsayable: Sequence[str], stopped: Sequence[DeadGroup]) -> None:
    for order_id in unsayable:
        answer = await stage.oms.orders.GetOrder(order_service_pb2.GetOrderRequest(id=order_id))
        change = order_pb2.Order(id=order_id, lines=answer.order.lines)
        for line in change.lines:
            line.quantity.unit = PIECES
        await stage.oms.orders.UpdateOrder(
            order_service_pb2.UpdateOrderRequest(
                request_id=new_request_id(),
                order=change,
                update_mask=FieldMask(paths=["lines"]),
            )
        )
    operations = stage.operator.delivery_operations
    for group in stopped:
        for member in group.members:
            if group.kind == "PARKED":
                await operations.ResubmitDelivery(
                    delivery_operations_service_pb2.ResubmitDeliveryRequest(
                        request_id=new_request_id(), delivery_id=member, reason=REASONS["resubmit"]
                    )
                )
            elif group.kind == "REJECTED":
                await operations.RetryDelivery(
                    delivery_operations_service_pb2.RetryDeliveryRequest(
                        request_id=new_request_id(), delivery_id=member, reason=REASONS["retry"]
                    )
                )
            else:
                await stage.operator.dead_letters.DiscardHeldFact(
                    dead_letter_service_pb2.DiscardHeldFactRequest(
                        request_id=new_request_id(),
                        held_fact_id=member,
                        reason=REASONS["discard"],
                    )
                )


# What is read


async def _groups_when(
    stage: Stage,
    what: str,
    holds: Callable[[Sequence[DeadGroup]], bool],
    *,
    closed: bool = False,
) -> list[DeadGroup]:
    """The groups of dead letters as soon as they are so. CommandError: they are not in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = await read_groups(stage, closed=closed)
        if holds(found):
            return found
        if time.monotonic() > deadline:
            told = "; ".join(f"{g.open} {g.kind} at {g.endpoint}: {g.reason}" for g in found)
            raise CommandError(
                f"{what}: not as expected after {WAIT_SECONDS:.0f} s",
                told or "there are no dead letters",
                "crossdock dead-letters list",
            )
        await asyncio.sleep(POLL_SECONDS)


async def read_groups(stage: Stage, *, closed: bool = False) -> list[DeadGroup]:
    """Dead letters by cause, with the ids of their open members."""
    service = stage.operator.dead_letters
    answer = await service.ListDeadLetters(
        dead_letter_service_pb2.ListDeadLettersRequest(include_closed=closed)
    )
    found = []
    for group in answer.groups:
        members: Any = await service.GetDeadLetters(
            dead_letter_service_pb2.GetDeadLettersRequest(group_id=group.id, page_size=100)
        )
        found.append(
            DeadGroup(
                id=group.id,
                kind=name_of(dead_letter_pb2.DeadLetterKind, group.kind),
                state=name_of(dead_letter_pb2.DeadLetterState, group.state),
                endpoint=group.endpoint,
                reason=" ".join(part for part in (group.code, group.reason) if part),
                open=group.open_count,
                members=tuple(
                    each.delivery.id or each.held_fact.id for each in members.members if each.open
                ),
                object_ids=frozenset(group.object_ids),
            )
        )
    return found


def _counts(groups: Sequence[DeadGroup]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for group in groups:
        if group.open:
            counts[group.kind] = counts.get(group.kind, 0) + group.open
    return counts


async def _pace(stage: Stage, ids: Sequence[str]) -> Pace:
    """How long the ERP's document took for each of these orders, once all have one."""

    def booked(view: HubView) -> bool:
        return len(view.orders) == len(ids) and all(each.sales_document for each in view.orders)

    await stage.wait_until(f"{len(ids)} sales orders", ids, booked, WAIT_SECONDS)
    took, calls = [], 0
    for order_id in ids:
        delivery = await _posting(stage, order_id)
        calls = max(calls, delivery.attempts)
        made = delivery.create_time.ToDatetime(tzinfo=UTC)
        end = delivery.attempt_log[-1].end_time.ToDatetime(tzinfo=UTC)
        took.append((end - made) / timedelta(seconds=1))
    return Pace(len(ids), median(took), max(took), calls)


async def _posting(stage: Stage, order_id: str) -> delivery_pb2.Delivery:
    request = delivery_service_pb2.ListDeliveriesRequest(
        object_id=order_id, endpoint=stage.erp.name, operation=POSTING, with_attempts=True
    )
    answer = await stage.operator.deliveries.ListDeliveries(request)
    return answer.deliveries[-1]


async def _mended(stage: Stage, order_id: str) -> Mended:
    """What the ERP got for an order, as `crossdock posted` says it."""
    answer = await read_postings(stage.operator, order_id, stage.erp.name)
    posting = next(each for each in answer.postings if each.operation == POSTING)
    words = [word.reason for each in posting.deliveries for word in each.operator_words]
    numbers = [each.value for each in posting.vendor_references if each.type == "sales_order"]
    return Mended(
        order_id,
        name_of(posting_pb2.PostingVerdict, posting.verdict),
        posting.sentence,
        tuple(numbers),
        tuple(words),
    )


__all__ = ["PoisonCast", "play_poison", "read_groups"]
