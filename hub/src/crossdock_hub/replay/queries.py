"""The reading methods of replays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from crossdock.replay.v1 import replay_pb2, replay_service_pb2

from crossdock_hub.config import Limits
from crossdock_hub.identity import Caller
from crossdock_hub.reading.paging import next_token, page_size, position_of
from crossdock_hub.reading.presenting import enum_name
from crossdock_hub.refusals import not_found
from crossdock_hub.replay.clearing import tally_of
from crossdock_hub.replay.presenting import item_message, replay_message
from crossdock_hub.replay.records import ReplayRecord, kept_tally
from crossdock_hub.store.replay_reading import ReplayReader

Answer = Callable[[Caller, Any, Any], Awaitable[Any]]

SERVICE = "/crossdock.replay.v1.ReplayService/"


class ReplayQueries:
    """Answers GetReplay, ListReplays and ListReplayItems. clock: microseconds UTC."""

    def __init__(self, reader: ReplayReader, limits: Limits, clock: Callable[[], int]) -> None:
        self._reader = reader
        self._limits = limits
        self._clock = clock

    def answers(self) -> dict[str, Answer]:
        """Method -> async (caller, request, gRPC context) -> response."""
        return {
            f"{SERVICE}GetReplay": self.get,
            f"{SERVICE}ListReplays": self.list,
            f"{SERVICE}ListReplayItems": self.items,
        }

    async def get(self, _caller: Caller, request: Any, _context: Any) -> Any:
        """One replay with its counts."""
        record = await self._known(request.id)
        tally = kept_tally(record)
        if tally is None:
            # While it is planned, counting its items anew each time would slow it down.
            made = record.state != "PLANNING"
            tally = tally_of(record, await self._reader.counts(record.id) if made else [])
        message = replay_message(
            record,
            self._clock(),
            decided=tally.decided,
            planned=tally.planned,
            outcomes=tally.outcomes,
        )
        return replay_service_pb2.GetReplayResponse(replay=message)

    async def list(self, _caller: Caller, request: Any, _context: Any) -> Any:
        """A page of replays, newest first."""
        size = page_size(request, self._limits)
        before = position_of(request)
        found = await self._reader.replay_page(size + 1, before=before, endpoint=request.endpoint)
        decided = await self._reader.decided([record.id for record in found[:size]])
        kept = ((record.id, kept_tally(record)) for record in found[:size])
        decided |= {replay_id: tally.decided for replay_id, tally in kept if tally is not None}
        now = self._clock()
        response = replay_service_pb2.ListReplaysResponse(
            replays=[replay_message(r, now, decided=decided.get(r.id, 0)) for r in found[:size]]
        )
        if len(found) > size:
            response.next_page_token = next_token(request, found[size - 1].id)
        return response

    async def items(self, _caller: Caller, request: Any, _context: Any) -> Any:
        """A page of a replay's items, in the order of the run."""
        record = await self._known(request.replay_id)
        size = page_size(request, self._limits)
        position = position_of(request)
        found = await self._reader.item_page(
            record,
            size + 1,
            after=int(position) if position.isdecimal() else 0,
            verdict=enum_name(replay_pb2.ReplayVerdict, request.planned_verdict),
            changed_only=request.changed_only,
        )
        response = replay_service_pb2.ListReplayItemsResponse(
            items=[item_message(record, item, state) for item, state in found[:size]]
        )
        if len(found) > size:
            response.next_page_token = next_token(request, str(found[size - 1][0].number))
        return response

    async def _known(self, replay_id: str) -> ReplayRecord:
        record = await self._reader.replay(replay_id)
        if record is None:
            raise not_found("replay", replay_id)
        return record
