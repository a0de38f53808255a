"""A plan on its way: the items of the selected events, decided flow by flow as a run would."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from crossdock.contracts import Contract
from crossdock.delivery.v1 import delivery_pb2
from crossdock.errors import Refusal
from crossdock.replay.v1 import replay_pb2

from crossdock_hub.config import Limits
from crossdock_hub.delivery import flows
from crossdock_hub.delivery.indexed_flow import IndexedFlow
from crossdock_hub.delivery.registry import OperationSpec, RegisteredEndpoint
from crossdock_hub.reading.event_scope import scope_of
from crossdock_hub.records import DeliveryRecord, EventRecord
from crossdock_hub.replay import decisions
from crossdock_hub.replay.candidates import candidates
from crossdock_hub.replay.decisions import Candidate, Decision, Terms
from crossdock_hub.replay.records import ReplayItemRecord, ReplayRecord
from crossdock_hub.stepping import Steps
from crossdock_hub.store.replay_reading import EventFilter
from crossdock_hub.unit import Refused


@dataclass(frozen=True, slots=True)
class Parts:
    """What every plan is made with. clock: microseconds UTC."""

    contract: Contract
    limits: Limits
    clock: Callable[[], int]


@dataclass(slots=True)
class Draft:
    """A plan on its way: what was asked for, and the counts so far."""

    record: ReplayRecord
    terms: Terms
    endpoint: RegisteredEndpoint
    selection: replay_pb2.ReplaySelection
    states: frozenset[str]
    number: int = 0
    flow: int = 0
    approvals: int = 0

    @property
    def code(self) -> str:
        """Of the failure group that was asked for; "": any."""
        return self.selection.failure.code

    @property
    def group_id(self) -> str:
        """The dead letter group that was asked for; "": none."""
        return self.selection.group_id


def draft_of(record: ReplayRecord, endpoint: RegisteredEndpoint) -> Draft:
    """The beginning of a plan, as it was asked for."""
    selection = replay_pb2.ReplaySelection.FromString(record.selection)
    states: frozenset[str] = frozenset()
    if selection.HasField("failure"):
        names = (delivery_pb2.DeliveryState.Name(s) for s in selection.failure.states)
        states = frozenset(name.removeprefix("DELIVERY_STATE_") for name in names)
        states = states or decisions.FAILED_STATES
    terms = Terms(record.id, record.endpoint, record.wanted_set, approved=False)
    return Draft(record, terms, endpoint, selection, states)


def filter_of(draft: Draft, contract: Contract) -> EventFilter:
    """Which events a plan is about: what was recorded before it was asked for."""
    failed = draft.states
    if draft.terms.wanted_set == "FAILED":
        failed = failed or decisions.FAILED_STATES
    scope = scope_of(contract, draft.selection, "selection.")
    # Ids are given in order: made again after a restart, it is about the same events.
    end_id = min(scope.end_id or draft.record.id, draft.record.id)
    return EventFilter(
        first_id=scope.first_id,
        end_id=end_id,
        # What waits in a group may be of an event that means nothing there today: it is shown.
        types=scope.types or (() if draft.group_id else _types_of(draft.endpoint, contract)),
        object_id=draft.selection.object_id,
        endpoint=draft.endpoint.id,
        failed_states=tuple(sorted(failed)),
    )


def _types_of(endpoint: RegisteredEndpoint, contract: Contract) -> tuple[str, ...]:
    """The events that anybody of the endpoint's role has to act on."""
    return tuple(
        name
        for name, rule in contract.events.items()
        if any(target.role == endpoint.role for target in rule.targets)
    )


def slice_items(
    parts: Parts,
    draft: Draft,
    events: Sequence[EventRecord],
    books: dict[str, list[DeliveryRecord]],
    fitting: frozenset[str] | None,
) -> Steps[list[ReplayItemRecord]]:
    """The items of whole flows, by their root objects. Raises Refused.

    fitting: ids of the deliveries that failed as was asked for; None: it does not matter how.
    """
    by_root: dict[str, list[EventRecord]] = {root: [] for root in books}
    for event in events:
        by_root[event.root_id].append(event)
    items: list[ReplayItemRecord] = []
    for root, stored in by_root.items():
        items += yield from flow_items(parts, draft, root, stored, books[root], fitting)
    return items


def flow_items(
    parts: Parts,
    draft: Draft,
    root_id: str,
    events: Sequence[EventRecord],
    deliveries: Sequence[DeliveryRecord],
    fitting: frozenset[str] | None,
) -> Steps[list[ReplayItemRecord]]:
    """The items of one flow, decided together, with and without a second person's word."""
    flow = IndexedFlow(deliveries)
    now = parts.clock()
    types = {event.id: event.type for event in events}
    work: list[Candidate] = []
    for event in events:
        work += [
            candidate
            for candidate in candidates(parts.contract, event, draft.endpoint, flow, now)
            if _is_wanted(draft, candidate, flow, fitting)
        ]
        if len(work) > parts.limits.replay_flow_items_max:
            # They are decided together, and handed over in one transaction.
            raise _too_large(root_id, parts.limits.replay_flow_items_max)
        yield
    if not work:
        return []
    specs = partial(spec_at, draft.endpoint, limits=parts.limits)
    decide = decisions.decide_in_steps
    plain = yield from decide(draft.terms, work, flow, specs, now, parts.limits)
    approved = plain
    if any(candidate.policy == "APPROVAL" for candidate in work):
        terms = replace(draft.terms, approved=True)
        approved = yield from decide(terms, work, flow, specs, now, parts.limits)
    draft.flow += 1
    items = []
    for one, other in zip(plain, approved, strict=True):
        draft.number += 1
        draft.approvals += one.verdict != other.verdict
        items.append(_item(draft, root_id, types[one.candidate.event_id], one, other))
    return items


def _is_wanted(
    draft: Draft,
    candidate: Candidate,
    flow: IndexedFlow,
    fitting: frozenset[str] | None,
) -> bool:
    if draft.selection.operation and candidate.operation != draft.selection.operation:
        return False
    same = [
        record
        for record in flow.under(decisions.by_identity, candidate.identity)
        if record.endpoint == draft.endpoint.id
    ]
    there = decisions.standing(same)
    fits = fitting is None or (there is not None and there.id in fitting)
    return decisions.wanted(draft.terms, same, draft.states, fits=fits)


def spec_at(endpoint: RegisteredEndpoint, operation: str, *, limits: Limits) -> OperationSpec:
    """What an endpoint declared about an operation; the careful defaults when it did not."""
    return endpoint.operations.get(operation) or flows.default_spec(operation, limits)


def slices(by_root: Mapping[str, list[str]], most: int) -> Iterator[dict[str, list[str]]]:
    """Whole flows of event ids, `most` events or so at once."""
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


def nothing(draft: Draft) -> str:
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


def too_many(most: int) -> Refused:
    return Refused(
        Refusal(
            "LIMIT_EXCEEDED",
            f"the selection has more than {most} events; narrow it by time or event type and "
            "replay one part after the other",
            {"limit": str(most), "value": f"more than {most}"},
        )
    )
