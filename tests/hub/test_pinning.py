"""What a purge has to ask: an event stays while any delivery of it is not settled."""

from __future__ import annotations

from crossdock_hub import ledger
from crossdock_hub.store.pinning import pinned_events
from first_flow import Flow
from stored_flow import Books, books

__all__ = ["books"]


async def test_events_are_pinned_by_their_unsettled_deliveries_alone(books: Books) -> None:
    """Proves that query and rule agree on every event of a flow, with work in each kind of state,
    and that a settled event of the same order is free."""
    flow = Flow()
    _, (part,) = flow.released()
    booking = flow.delivery("netsuite", "create_sales_order")
    flow.settle(booking, references=[("sales_order", "1")])
    flow.pack(part)
    flow.settle(flow.delivery("ups", "buy_label"), "UNKNOWN")
    flow.settle(flow.delivery("manhattan", "release_order"), "PARKED")
    await books.keep(flow)
    ids = [event.id for event in flow.events]
    async with books.store.read() as connection:
        pinned = await pinned_events(connection, ids)
        assert await pinned_events(connection, []) == set()
    by_rule = {record.event_id for record in flow.deliveries() if ledger.pins_event(record)}
    assert pinned == by_rule
    assert booking.event_id not in pinned
    assert {flow.delivery("ups", "buy_label").event_id} <= pinned < set(ids)
