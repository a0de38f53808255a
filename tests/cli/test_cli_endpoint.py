"""`crossdock endpoint pause` and `resume` against a running hub."""

from __future__ import annotations

from fixtures_hub import Lane, RunningHub
from played_endpoint import ERP_OPERATIONS, PlayedEndpoint
from story import Story
from typed_commands import typed


async def test_a_pause_says_how_much_waits(hub: RunningHub, lane: Lane) -> None:
    """Proves that who pauses an endpoint, or lets it go on, is told how many deliveries wait there:
    the answer to the call itself does not count them."""
    async with PlayedEndpoint(hub, lane.erp, ERP_OPERATIONS) as erp, Story(hub, lane) as story:
        await story.approved()
        await erp.take()
        said = await typed(hub, "endpoint", "pause", lane.erp, "--reason", "a look", "--yes")
        assert said == f"{lane.erp} paused; 1 deliveries wait there\n"
        said = await typed(hub, "endpoint", "resume", lane.erp, "--yes")
        assert said == f"{lane.erp} resumed; 1 deliveries wait there\n"
