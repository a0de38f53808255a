"""Watches placed orders until they are delivered, and ends with their documents."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import typer

from crossdock.cli.hub_access import Place, open_hub
from crossdock.cli.names import order_state
from crossdock.cli.orders import PlacedOrder
from crossdock.cli.output import print_json_line
from crossdock.cli.problems import EXIT_WAITING, CommandError
from crossdock.cli.progress import ProgressLine
from crossdock.cli.tail import entry_json, entry_line
from crossdock.client import HubClient
from crossdock.ending import end_tasks
from crossdock.lineage.v1 import lineage_pb2, lineage_service_pb2
from crossdock.order.v1 import order_pb2, order_service_pb2

FOLLOW_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.5
PAGE: Final = 500
MAXIMUM_PAGES: Final = 200
TRACED_ORDERS: Final = 5
_ENDS: Final = frozenset({order_pb2.ORDER_STATE_DELIVERED, order_pb2.ORDER_STATE_CANCELLED})


async def follow(
    place: Place, placed: Sequence[PlacedOrder], timeout_seconds: float, as_json: bool
) -> None:
    """One order: every event and delivery. Many: a progress line. CommandError: not in time."""
    async with open_hub(place) as hub:
        wanted = {order.id for order in placed}
        if len(placed) == 1:
            reading = asyncio.create_task(_print_entries(hub, placed[0].id, as_json))
            try:
                states = await _wait(hub, wanted, timeout_seconds, ProgressLine(quiet=True))
            finally:
                await end_tasks([reading])
        else:
            states = await _wait(hub, wanted, timeout_seconds, ProgressLine(beside_result=as_json))
        for order in placed[:TRACED_ORDERS]:
            answer = await hub.lineage.Trace(lineage_service_pb2.TraceRequest(id=order.id))
            _print_end(answer.lineage, order, as_json)
        open_orders = [order for order in placed if states.get(order.id) not in _ENDS]
        if open_orders:
            raise CommandError(
                f"{len(open_orders)} of {len(placed)} orders are not delivered after "
                f"{timeout_seconds:g} s",
                next_step=f"crossdock trace {open_orders[0].number}",
                exit_code=EXIT_WAITING,
            )


async def order_states(hub: HubClient, wanted: set[str]) -> dict[str, int]:
    """States of the wanted orders, by id; bounded pages, newest orders included."""
    states: dict[str, int] = {}
    token = ""
    for _ in range(MAXIMUM_PAGES):
        page = await hub.orders.ListOrders(
            order_service_pb2.ListOrdersRequest(page_size=PAGE, page_token=token)
        )
        states.update({order.id: order.state for order in page.orders if order.id in wanted})
        token = page.next_page_token
        if not token or len(states) == len(wanted):
            break
    return states


async def _wait(
    hub: HubClient, wanted: set[str], timeout_seconds: float, line: ProgressLine
) -> dict[str, int]:
    deadline = time.monotonic() + timeout_seconds
    while True:
        states = await _states(hub, wanted)
        line.show(f"{len(wanted)} orders: {counted(states)}")
        done = sum(state in _ENDS for state in states.values())
        if done == len(wanted) and await _settled(hub, wanted):
            line.end()
            return states
        if time.monotonic() > deadline:
            line.end()
            return states
        await asyncio.sleep(POLL_SECONDS)


async def _states(hub: HubClient, wanted: set[str]) -> dict[str, int]:
    if len(wanted) > 1:
        return await order_states(hub, wanted)
    order_id = next(iter(wanted))
    answer = await hub.orders.GetOrder(order_service_pb2.GetOrderRequest(id=order_id))
    return {order_id: answer.order.state}


async def _settled(hub: HubClient, wanted: set[str]) -> bool:
    """For one order: whether the documents are there too; many are judged by state alone."""
    if len(wanted) > 1:
        return True
    request = lineage_service_pb2.TraceRequest(id=next(iter(wanted)))
    answer = await hub.lineage.Trace(request)
    return answer.lineage.verdict not in (
        lineage_pb2.VERDICT_UNDER_WAY,
        lineage_pb2.VERDICT_WAITING,
        lineage_pb2.VERDICT_IN_DOUBT,
    )


async def _print_entries(hub: HubClient, order_id: str, as_json: bool) -> None:
    request = lineage_service_pb2.TailRequest(correlation_id=order_id, backlog=100)
    async for entry in hub.lineage.Tail(request):
        if as_json:
            print_json_line(entry_json(entry))
        else:
            typer.echo(entry_line(entry))


def counted(states: dict[str, int]) -> str:
    """States with their numbers, in the order of an order's life."""
    found = Counter(states.values())
    return ", ".join(
        f"{found[state]} {order_state(state).lower().replace('_', ' ')}" for state in sorted(found)
    )


def _print_end(lineage: lineage_pb2.Lineage, order: PlacedOrder, as_json: bool) -> None:
    if as_json:
        print_json_line({"order": order.number, "verdict": lineage.sentence})
        return
    documents = sorted({
        f"{reference.type} {reference.value}"
        for posting in lineage.postings
        for reference in posting.vendor_references
        if not reference.type.endswith("_id")
    })  # fmt: skip
    typer.echo(f"{order.number}: {lineage.sentence}")
    if documents:
        typer.echo(f"  {', '.join(documents)}")
