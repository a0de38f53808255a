"""Makes plans: reads what a selection means, decides each piece as a run would, stores the items.

Nothing is posted. The items are stored slice by slice as bulk work, so that other calls pass
between; the plan exists with its last command, which is also the answer to its request id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from crossdock.contracts import Contract, digest
from crossdock.delivery.v1 import delivery_pb2
from crossdock.errors import Refusal
from crossdock.replay.v1 import replay_pb2, replay_service_pb2
from crossdock.telemetry import trace_carrier

from crossdock_hub.commands import Command
from crossdock_hub.committer import Committer
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import flows
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import OperationSpec, RegisteredEndpoint
from crossdock_hub.identity import HUB, Caller
from crossdock_hub.reading.event_scope import scope_of
from crossdock_hub.records import DeliveryRecord, EventRecord
from crossdock_hub.refusals import not_found
from crossdock_hub.replay import decisions
from crossdock_hub.replay.candidates import candidates
from crossdock_hub.replay.decisions import Candidate, Decision, Terms
from crossdock_hub.replay.presenting import replay_message
from crossdock_hub.replay.records import Act, ReplayItemRecord, ReplayRecord, with_act
from crossdock_hub.stepping import Steps, in_turns
from crossdock_hub.store.replay_reading import EventFilter, ReplayReader
from crossdock_hub.unit import Identifiers, Refused, Unit

PLAN = "/crossdock.replay.v1.ReplayService/PlanReplay"


@dataclass(slots=True)
class Draft:
    """A plan on its way: what was asked for, the items so far, and the counts of their verdicts."""

    terms: Terms
    record: ReplayRecord
    endpoint: RegisteredEndpoint
    states: frozenset[str]
    code: str
    operation: str
    number: int = 0
    flow: int = 0
    approvals: int = 0


class Planner:
    """Answers PlanReplay; one plan is made at a time. clock: microseconds UTC."""

    def __init__(
        self,
        reader: ReplayReader,
        committer: Committer,
        contract: Contract,
        limits: Limits,
        clock: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._committer = committer
        self._contract = contract
        self._limits = limits
        self._clock = clock
        self._identifiers = Identifiers()
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, caller: Caller, request: Any, _context: Any) -> Any:
        """Plan and store. Raises Refused, StoreFailure, Stopped."""
        async with self._one_at_a_time:
            if await self._reader.is_answered(request.request_id):
                return await self._finish(caller, request, None, {})
            draft = self._draft(caller, request)
            chosen = await self._reader.event_ids(
                self._filter(draft, request.selection), self._limits.replay_events_max + 1
            )
            if len(chosen) > self._limits.replay_events_max:
                raise _too_many(self._limits.replay_events_max)
            await self._store(draft.record)
            planned: dict[str, int] = {}
            async for items in self._items(draft, chosen):
                for item in items:
                    planned[item.verdict] = planned.get(item.verdict, 0) + 1
                await self._store(draft.record, items)
            return await self._finish(caller, request, draft, planned)

    def _draft(self, caller: Caller, request: replay_service_pb2.PlanReplayRequest) -> Draft:
        found = {e.id: e for e in self._committer.endpoints}.get(request.endpoint)
        if found is None:
            raise not_found("endpoint", request.endpoint)
        selection = request.selection
        scope_of(self._contract, selection, "selection.")
        now = self._clock()
        wanted_set = replay_pb2.ReplaySet.Name(request.set).removeprefix("REPLAY_SET_")
        record = ReplayRecord(
            id=self._identifiers.next(now),
            endpoint=request.endpoint,
            wanted_set=wanted_set,
            selection=selection.SerializeToString(deterministic=True),
            state="PLANNING",
            created_at=now,
            expires_at=now + int(self._limits.replay_plan_seconds * SECOND),
        )
        states: frozenset[str] = frozenset()
        if selection.HasField("failure"):
            names = (delivery_pb2.DeliveryState.Name(s) for s in selection.failure.states)
            states = frozenset(name.removeprefix("DELIVERY_STATE_") for name in names)
            states = states or decisions.FAILED_STATES
        return Draft(
            Terms(record.id, request.endpoint, wanted_set, approved=False),
            with_act(record, Act("plan", caller.endpoint, "", now)),
            found,
            states,
            selection.failure.code,
            selection.operation,
        )

    def _filter(self, draft: Draft, selection: replay_pb2.ReplaySelection) -> EventFilter:
        failed = draft.states
        if draft.terms.wanted_set == "FAILED":
            failed = failed or decisions.FAILED_STATES
        scope = scope_of(self._contract, selection, "selection.")
        return EventFilter(
            first_id=scope.first_id,
            end_id=scope.end_id,
            types=scope.types or self._types_of(draft.endpoint),
            object_id=selection.object_id,
            endpoint=draft.endpoint.id,
            failed_states=tuple(sorted(failed)),
        )

    def _types_of(self, endpoint: RegisteredEndpoint) -> tuple[str, ...]:
        """The events that anybody of the endpoint's role has to act on."""
        return tuple(
            name
            for name, rule in self._contract.events.items()
            if any(target.role == endpoint.role for target in rule.targets)
        )

    async def _items(
        self, draft: Draft, chosen: Sequence[tuple[str, str]]
    ) -> AsyncIterator[list[ReplayItemRecord]]:
        """The items of the selected events, flow by flow, a slice at a time."""
        for slice_ in slices(chosen, self._limits.replay_slice_items):
            ids = [event_id for events in slice_.values() for event_id in events]
            events, books = await self._reader.flows(ids, slice_)
            by_root: dict[str, list[EventRecord]] = {root: [] for root in slice_}
            for event in events:
                by_root[event.root_id].append(event)
            codes = await self._codes(draft, books)
            items: list[ReplayItemRecord] = []
            for root, stored in by_root.items():
                steps = self._flow_items(draft, root, stored, books[root], codes)
                items += await in_turns(steps, self._limits.turn_seconds)
            if items:
                yield items

    async def _codes(self, draft: Draft, books: dict[str, list[DeliveryRecord]]) -> dict[str, str]:
        if not draft.code:
            return {}
        failed = [
            record.id
            for flow in books.values()
            for record in flow
            if record.endpoint == draft.endpoint.id and record.state in draft.states
        ]
        return await self._reader.failure_codes(failed)

    def _flow_items(
        self,
        draft: Draft,
        root_id: str,
        events: Sequence[EventRecord],
        deliveries: Sequence[DeliveryRecord],
        codes: dict[str, str],
    ) -> Steps[list[ReplayItemRecord]]:
        """The items of one flow, decided together, with and without a second person's word."""
        flow = IndexedFlow(deliveries)
        now = self._clock()
        types = {event.id: event.type for event in events}
        work: list[Candidate] = []
        for event in events:
            work += [
                candidate
                for candidate in candidates(self._contract, event, draft.endpoint, flow, now)
                if self._is_wanted(draft, candidate, flow, codes)
            ]
            if len(work) > self._limits.replay_flow_items_max:
                # They are decided together, and handed over in one transaction.
                raise _too_large(root_id, self._limits.replay_flow_items_max)
            yield
        if not work:
            return []
        specs = partial(spec_at, draft.endpoint, limits=self._limits)
        decide = decisions.decide_in_steps
        plain = yield from decide(draft.terms, work, flow, specs, now, self._limits)
        approved = plain
        if any(candidate.policy == "APPROVAL" for candidate in work):
            terms = replace(draft.terms, approved=True)
            approved = yield from decide(terms, work, flow, specs, now, self._limits)
        draft.flow += 1
        items = []
        for one, other in zip(plain, approved, strict=True):
            draft.number += 1
            draft.approvals += one.verdict != other.verdict
            items.append(_item(draft, root_id, types[one.candidate.event_id], one, other))
        return items

    def _is_wanted(
        self,
        draft: Draft,
        candidate: Candidate,
        flow: IndexedFlow,
        codes: dict[str, str],
    ) -> bool:
        if draft.operation and candidate.operation != draft.operation:
            return False
        same = [
            record
            for record in flow.under(decisions.by_identity, candidate.identity)
            if record.endpoint == draft.endpoint.id
        ]
        there = decisions.standing(same)
        fits = not draft.code or (there is not None and codes.get(there.id) == draft.code)
        return decisions.wanted(draft.terms, same, draft.states, code_fits=fits)

    async def _store(self, record: ReplayRecord, items: Sequence[ReplayItemRecord] = ()) -> None:
        def put(unit: Unit) -> None:
            unit.put(("replay", record.id), record)
            for item in items:
                unit.put(("replay_item", item.replay_id, item.number), item)

        loop = asyncio.get_running_loop()
        command = Command(
            PLAN, HUB, put, loop.create_future(), bulk=True, weight=max(1, len(items))
        )
        await asyncio.shield(self._committer.submit(command))

    async def _finish(
        self, caller: Caller, request: Any, draft: Draft | None, planned: dict[str, int]
    ) -> Any:
        """The plan may be started from here on; a request id that is known gets its answer."""

        def put(unit: Unit) -> Any:
            assert draft is not None, "the request id was answered before"
            note = "" if draft.number else _nothing(draft)
            record = replace(
                draft.record,
                state="PLANNED",
                items=draft.number,
                approvals=draft.approvals,
                note=note,
            )
            unit.put(("replay", record.id), record)
            message = replay_message(record, unit.now, planned=planned)
            return replay_service_pb2.PlanReplayResponse(replay=message)

        command = Command(
            PLAN,
            caller,
            put,
            asyncio.get_running_loop().create_future(),
            request_id=request.request_id,
            digest=digest(request),
            response_type=replay_service_pb2.PlanReplayResponse,
            traceparent=trace_carrier().get("traceparent", ""),
            keys=frozenset({("request", request.request_id)}),
        )
        return await asyncio.shield(self._committer.submit(command))


def spec_at(endpoint: RegisteredEndpoint, operation: str, *, limits: Limits) -> OperationSpec:
    """What an endpoint declared about an operation; the careful defaults when it did not."""
    return endpoint.operations.get(operation) or flows.default_spec(operation, limits)


def slices(chosen: Sequence[tuple[str, str]], most: int) -> Iterator[dict[str, list[str]]]:
    """Event ids by root object, in the order of each root's first event, `most` events or so."""
    by_root: dict[str, list[str]] = {}
    for event_id, root_id in chosen:
        by_root.setdefault(root_id, []).append(event_id)
    now: dict[str, list[str]] = {}
    count = 0
    for root_id, events in by_root.items():
        if now and count + len(events) > most:
            yield now
            now, count = {}, 0
        now[root_id] = events
        count += len(events)
    if now:
        yield now


def _item(
    draft: Draft, root_id: str, event_type: str, plain: Decision, approved: Decision
) -> ReplayItemRecord:
    candidate = plain.candidate
    return ReplayItemRecord(
        replay_id=draft.terms.replay_id,
        number=draft.number,
        flow=draft.flow,
        event_id=candidate.event_id,
        event_type=event_type,
        object_id=candidate.object_id,
        root_id=root_id,
        operation=candidate.operation,
        item=candidate.item,
        earlier=plain.earlier,
        verdict=plain.verdict,
        why=plain.why,
        approved_verdict=approved.verdict,
        approved_why=approved.why,
    )


def _nothing(draft: Draft) -> str:
    what = {"FAILED": "failed", "MISSING": "missing"}.get(draft.terms.wanted_set, "known")
    return f"nothing that was selected is {what} at {draft.endpoint.id}: there is nothing to replay"


def _too_large(root_id: str, most: int) -> Refused:
    return Refused(
        Refusal(
            "LIMIT_EXCEEDED",
            f"{root_id} alone has more than {most} items in this selection, which have to be "
            "decided together; narrow it by time, event type or operation and replay one part "
            "after the other",
            {"limit": str(most), "value": f"more than {most}"},
        )
    )


def _too_many(most: int) -> Refused:
    return Refused(
        Refusal(
            "LIMIT_EXCEEDED",
            f"the selection has more than {most} events; narrow it by time or event type and "
            "replay one part after the other",
            {"limit": str(most), "value": f"more than {most}"},
        )
    )
