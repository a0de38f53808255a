"""An operator's replays over the wire, for tests: plan, start, watch, and what became of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from crossdock.client import HubClient
from crossdock.replay.v1 import replay_pb2, replay_service_pb2
from fixtures_nats import eventually
from story import request_id

PLAN_SECONDS = 60.0


def verdict(name: str) -> Any:
    return replay_pb2.ReplayVerdict.Value(f"REPLAY_VERDICT_{name}")


def word(enum: Any, value: int) -> str:
    """The name of a value without the prefix of its enumeration."""
    prefix = enum.DESCRIPTOR.values[0].name.removesuffix("UNSPECIFIED")
    name: str = enum.Name(value)
    return name.removeprefix(prefix)


class Desk:
    """What an operator does with replays to one endpoint."""

    def __init__(self, operator: HubClient, endpoint: str) -> None:
        self.operator = operator
        self.endpoint = endpoint

    async def plan(self, wanted_set: str = "FAILED", **selection: Any) -> replay_pb2.Replay:
        """A plan, once it is made or has failed; the selection is empty when nothing is given."""
        return await self.planned(await self.ask(wanted_set, **selection))

    async def ask(self, wanted_set: str = "FAILED", **selection: Any) -> replay_pb2.Replay:
        """Ask for a plan, and return at once."""
        request = replay_service_pb2.PlanReplayRequest(
            request_id=request_id(),
            endpoint=self.endpoint,
            set=replay_pb2.ReplaySet.Value(f"REPLAY_SET_{wanted_set}"),
            selection=replay_pb2.ReplaySelection(**selection),
        )
        answer = await self.operator.replays.PlanReplay(request, timeout=PLAN_SECONDS)
        asked: replay_pb2.Replay = answer.replay
        return asked

    async def planned(
        self, plan: replay_pb2.Replay, within_seconds: float = PLAN_SECONDS
    ) -> replay_pb2.Replay:
        """The plan once nobody makes it any more."""
        found = plan

        async def is_made() -> bool:
            nonlocal found
            found = await self.read(plan)
            return word(replay_pb2.ReplayState, found.state) != "PLANNING"

        await eventually(is_made, "the plan is made", within_seconds)
        return found

    async def start(self, plan: replay_pb2.Replay, items_per_second: int = 0) -> replay_pb2.Replay:
        request = replay_service_pb2.StartReplayRequest(
            request_id=request_id(),
            replay_id=plan.id,
            reason="the vendor lost them",
            items_per_second=items_per_second,
        )
        started: replay_pb2.Replay = (await self.operator.replays.StartReplay(request)).replay
        return started

    async def steer(self, verb: str, plan: replay_pb2.Replay) -> replay_pb2.Replay:
        """Pause, Resume or Abort."""
        request_type = getattr(replay_service_pb2, f"{verb}ReplayRequest")
        request = request_type(request_id=request_id(), replay_id=plan.id, reason=f"{verb} it")
        answer = await getattr(self.operator.replays, f"{verb}Replay")(request)
        steered: replay_pb2.Replay = answer.replay
        return steered

    async def read(self, plan: replay_pb2.Replay) -> replay_pb2.Replay:
        request = replay_service_pb2.GetReplayRequest(id=plan.id)
        found: replay_pb2.Replay = (await self.operator.replays.GetReplay(request)).replay
        return found

    async def items(
        self, plan: replay_pb2.Replay, size: int = 100, **filters: Any
    ) -> list[replay_pb2.ReplayItem]:
        """All items, page by page."""
        request = replay_service_pb2.ListReplayItemsRequest(
            replay_id=plan.id, page_size=size, **filters
        )
        found: list[replay_pb2.ReplayItem] = []
        while True:
            page = await self.operator.replays.ListReplayItems(request)
            found += page.items
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def state(self, plan: replay_pb2.Replay) -> str:
        return word(replay_pb2.ReplayState, (await self.read(plan)).state)

    async def outcomes(self, plan: replay_pb2.Replay) -> dict[str, int]:
        found = await self.read(plan)
        return {word(replay_pb2.ReplayOutcome, c.outcome): c.count for c in found.outcomes}

    async def done(self, plan: replay_pb2.Replay, within_seconds: float = PLAN_SECONDS) -> None:
        """Return once every item is decided."""

        async def is_done() -> bool:
            return await self.state(plan) == "DONE"

        await eventually(is_done, "the replay is done", within_seconds)

    async def settled(self, plan: replay_pb2.Replay, within_seconds: float = PLAN_SECONDS) -> None:
        """Return once nothing of it waits or is under way."""

        async def is_settled() -> bool:
            outcomes = await self.outcomes(plan)
            return not outcomes.keys() & {"WAITING", "UNDER_WAY"}

        await eventually(is_settled, "the replay has settled", within_seconds)


def planned(replay: replay_pb2.Replay) -> dict[str, int]:
    """The counts of a plan, by verdict."""
    return {word(replay_pb2.ReplayVerdict, c.verdict): c.count for c in replay.planned}


def preview(items: list[replay_pb2.ReplayItem]) -> Counter[str]:
    """The items' planned verdicts, counted."""
    return Counter(word(replay_pb2.ReplayVerdict, item.planned_verdict) for item in items)
