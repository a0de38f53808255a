"""Work that came before its endpoint: routed when the endpoint registers, in its old place."""

from __future__ import annotations

from fixtures_hub import Lane, RunningHub
from played_endpoint import PlayedEndpoint
from story import Story, approve_order

OPERATIONS = {"create_sales_order": "SEARCHABLE"}


async def test_work_from_before_a_registration_is_done(own_hub: RunningHub) -> None:
    """Proves that orders approved before the ERP ever registered reach it once, in their order, and
    that what stood for them while nobody served them says where it went."""
    lane = Lane(1)
    async with Story(own_hub, lane) as story:
        ids = []
        for _ in range(3):
            made = await story.create()
            await story.oms.orders.ApproveOrder(approve_order(made.id))
            ids.append(made.id)
        assert own_hub.count("deliveries", "state = 'UNROUTED'") == 3
        async with PlayedEndpoint(own_hub, lane.erp, OPERATIONS) as erp:
            for _ in ids:
                await erp.work("CONFIRMED")
    confirmed = "state = 'CONFIRMED' AND operation = 'create_sales_order'"
    assert own_hub.count("deliveries", confirmed) == 3
    assert own_hub.count("deliveries", "state = 'UNROUTED'") == 0
    replaced = own_hub.query(
        "SELECT waiting_on FROM deliveries WHERE endpoint = '' AND state = 'SUPERSEDED'"
    )
    assert [text for (text,) in replaced] == [f"routed to {lane.erp} once it was there"] * 3
