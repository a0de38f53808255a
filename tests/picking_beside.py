"""The picker's real decisions and a model of them, taken through the same batches one by one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from crossdock.endpoint.v1 import endpoint_pb2
from crossdock_hub.config import SECOND, Limits
from crossdock_hub.delivery import pacing
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.delivery.registry import compile_endpoint
from crossdock_hub.records import DeliveryRecord, EndpointRecord
from crossdock_hub.unit import View
from decisions import START
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from picking_model import LANES, Endpoint, PickingModel, Work
from simulation.hub import NO_CONNECTION, MemoryWork
from simulation.virtual_time import at_once

STEPS = 40
# Small, so that few steps reach what they bound; the margin is exact in binary.
LIMITS = Limits(lane_run_max=2, dispatch_slice=4, rate_margin_seconds=0.0625)
# Two endpoints of one system, and one that is alone with a rate.
NAMES = ("north", "south", "east")
SYSTEMS = {"north": "shared", "south": "shared", "east": "alone"}


class Tick:
    """A clock that the machine moves, in quarters of a second."""

    def __init__(self) -> None:
        self.quarters = 0

    def __call__(self) -> float:
        return self.quarters / 4

    @property
    def micros(self) -> int:
        """The store's time."""
        return START + self.quarters * SECOND // 4


class PickingBeside(RuleBasedStateMachine):
    """Everything that happens happens to both."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.tick = Tick()
        self.rows: dict[Any, Any] = {}

    @initialize(
        slots=st.lists(st.integers(1, 6), min_size=3, max_size=3),
        rate=st.sampled_from(("", "5", "1.5", "0.4")),
    )
    def employ(self, slots: list[int], rate: str) -> None:
        """The endpoints register, and the hub starts."""
        rates = {"north": "", "south": "", "east": rate}
        self.health = {n: _row(n, s, rates[n]) for n, s in zip(NAMES, slots, strict=True)}
        self.model = PickingModel(
            [Endpoint(n, SYSTEMS[n], s, rates[n]) for n, s in zip(NAMES, slots, strict=True)],
            LIMITS.lane_run_max,
            LIMITS.dispatch_slice,
            Fraction(LIMITS.rate_margin_seconds),
        )
        self.start()

    @rule()
    def start(self) -> None:
        """The hub dies and starts: what was not begun is taken back."""
        self.stored = MemoryWork(lambda: self.rows)
        for key, record in list(self.rows.items()):
            if record.state == "DISPATCHED":
                self.rows[key] = replace(record, state="READY", pending=True)
            self.stored.note(self.rows[key])
        self.picker = Picker(LIMITS, self.tick, self.stored)
        at_once(self.picker.restore(NO_CONNECTION))
        self.model.start()

    @property
    def endpoints(self) -> list[Any]:
        """As the hub has them, compiled from their rows."""
        return [compile_endpoint(self.health[name], LIMITS) for name in NAMES]

    def of_state(self, *states: str) -> list[Work]:
        """Work of these states, as the model knows it."""
        return [work for work in self.model.works if work.state in states]

    @rule(
        asked=st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(LANES)), min_size=1, max_size=9
        )
    )
    def more(self, asked: list[tuple[str, int]]) -> None:
        """An event, or many, for some endpoints."""
        fresh = []
        for name, lane in asked:
            self.made += 1
            fresh.append(Work(f"{name}-{self.made:04d}", name, lane, self.made))
        self.batch(fresh=fresh)

    @rule(data=st.data())
    @precondition(lambda self: self.of_state("OUT"))
    def begin(self, data: Any) -> None:
        """Adapters begin some of what is out."""
        self.batch(begun=self.some(data, "OUT"))

    @rule(data=st.data())
    @precondition(lambda self: self.of_state("OUT", "BEGUN"))
    def end(self, data: Any) -> None:
        """Some calls are done, or what was dispatched became pointless."""
        self.batch(ended=self.some(data, "OUT", "BEGUN"))

    @rule(data=st.data())
    @precondition(lambda self: self.of_state("OUT"))
    def give_back(self, data: Any) -> None:
        """A begin was refused, and its delivery waits to be dispatched again."""
        work = self.some(data, "OUT")[0]
        work.state = "WAITS"
        work.stored = False
        self.batch(fresh=[work])

    def some(self, data: Any, *states: str) -> list[Work]:
        """A few of these states."""
        found = {work.name: work for work in self.of_state(*states)}
        names = st.lists(st.sampled_from(sorted(found)), min_size=1, max_size=4, unique=True)
        return [found[name] for name in data.draw(names, label="which")]

    @rule(quarters=st.sampled_from((1, 1, 2, 4, 5, 9, 40, 200)))
    def pass_time(self, quarters: int) -> None:
        """Time goes by, and the hub looks whether anything may go."""
        self.tick.quarters += quarters
        self.model.now = Fraction(self.tick.quarters, 4)
        self.batch()

    @rule(name=st.sampled_from(("north", "south")), retry_after=st.sampled_from((0, 0, 2, 90)))
    def throttle(self, name: str, retry_after: int) -> None:
        """The system says that there are too many calls."""
        row = self.health[name]
        self.health[name] = pacing.throttled(row, float(retry_after), self.tick.micros, LIMITS)
        self.model.throttle(self.known(name), retry_after)

    @rule(name=st.sampled_from(NAMES))
    def pause_or_resume(self, name: str) -> None:
        """An operator pauses an endpoint, or lets it go on."""
        takes_work = not self.known(name).takes_work
        state = "ACTIVE" if takes_work else "PAUSED"
        self.health[name] = replace(self.health[name], state=state)
        self.known(name).takes_work = takes_work

    def known(self, name: str) -> Endpoint:
        """An endpoint, as the model has it."""
        return self.model.endpoints[NAMES.index(name)]

    def batch(self, fresh: list[Work] | None = None, begun: Any = (), ended: Any = ()) -> None:
        """One commit of both: they send out the same."""
        view = View()
        changes = [_ready(work) for work in fresh or []]
        until = self.tick.micros + 600 * SECOND
        for work, state in [(w, "IN_FLIGHT") for w in begun] + [(w, "CONFIRMED") for w in ended]:
            leased = until if state == "IN_FLIGHT" else None
            changes.append(replace(self.row(work), state=state, lease_until=leased))
        for record in changes:
            view.changes.records["delivery", record.id] = record
        new = self.picker.pick_new(view, self.endpoints, self.tick.micros)
        for record in view.changes.records.values():
            self.keep(record)
        stored = at_once(
            self.picker.pick_stored(NO_CONNECTION, view, self.endpoints, self.tick.micros)
        )
        for one in stored:
            self.keep(one.record)
        real = {one.record.id for one in (*new, *stored)}
        assert len(real) == len(new) + len(stored), "sent twice in one commit"
        assert real == self.model.batch(list(fresh or []), list(begun), list(ended))

    def row(self, work: Work) -> DeliveryRecord:
        """Its row."""
        found: DeliveryRecord = self.rows["delivery", work.name]
        return found

    def keep(self, record: DeliveryRecord) -> None:
        """It is stored."""
        self.rows["delivery", record.id] = record
        self.stored.note(record)

    @invariant()
    def they_agree(self) -> None:
        """What is out, what may follow, and whether anything waits for nothing are the same."""
        if not hasattr(self, "model"):
            return
        now, endpoints = self.tick.micros, self.endpoints
        for real, known in zip(endpoints, self.model.endpoints, strict=True):
            assert self.picker.in_use(real.id) == self.model.in_use(known)
            assert self.picker.free(real, endpoints, now) == self.model.free(known), real.id
        assert self.picker.can_pick(endpoints, now) == self.model.could_send()


def _row(name: str, slots: int, rate: str) -> EndpointRecord:
    manifest = endpoint_pb2.Manifest(
        adapter=name, system=SYSTEMS[name], max_concurrency=slots, max_rate_per_second=rate
    )
    manifest.operations.add(name="book")
    return EndpointRecord(name, "ERP", (), (), (), "ACTIVE", manifest.SerializeToString())


def _ready(work: Work) -> DeliveryRecord:
    return DeliveryRecord(
        id=work.name,
        event_id=f"event-{work.name}",
        event_type="crossdock.order.v1.OrderApproved",
        endpoint=work.endpoint,
        operation="book",
        item="",
        ordering_key=work.name,
        state="READY",
        created_at=START,
        updated_at=START,
        kind="order",
        object_id=work.name,
        root_id=work.name,
        vendor_reference="A" * 20,
        sequence=f"{work.place:05d}",
        priority=work.lane,
        pending=True,
    )
