"""G24 and G26: parking and looking up, while the hub dies and while the vendor's search lies."""

from __future__ import annotations

from crossdock.delivery.v1 import delivery_pb2, delivery_service_pb2
from crossdock.replay.v1 import replay_pb2
from replay_desk import Desk

from tests.faults.history.records import (
    CALL,
    LOOK_UP,
    Attempt,
    Delivery,
    Effect,
    History,
    VendorCall,
)
from tests.faults.naive.advisories import naive_g24
from tests.faults.trials.naive_round import naive, nothing
from tests.faults.trials.round import Round, moments, played, reached
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.adapter import CLASSES
from tests.faults.yard.site import LANES, Plan, mix_of

PAGE = 500
PARKED = delivery_pb2.DELIVERY_STATE_PARKED
PAUSE_SECONDS_MAX = 0.2
# Those that are looked up, and one of each other class beside them.
SEARCHED = ("searchable",) * (len(CLASSES) - 2) + CLASSES
SHOWN = "s from a 500 to UNKNOWN in the ledger"


async def run_g26(piece: Piece) -> Result:
    """A third of the calls end unknown; of the look-ups 40 % fail and 30 % say "not found";
    a tenth of the calls is booked after it was cut, and look-ups show nothing at once."""
    plan = Plan(piece.seed, classes=SEARCHED, mix=mix_of("searched"))
    async with played(piece, plan, []) as round_:
        history = await round_.history()
    looked = [call for call in history.of(VendorCall) if call.kind == LOOK_UP]
    attempts = history.of(Attempt)
    counts = {
        "orders": round_.load.done,
        "deliveries": len(history.of(Delivery)),
        "unknown outcomes": sum(a.outcome == "UNKNOWN" and a.kind == CALL for a in attempts),
        "look-ups": len(looked),
        "look-ups that failed": sum(call.status == 500 for call in looked),
        "look-ups that found nothing": sum(a.outcome == "NOT_FOUND" for a in attempts),
        "booked after their call": _booked_late(history),
    }
    shown = _seconds_to_unknown(history)
    path = piece.directory / "history.jsonl"
    return judged(history, path, counts, {SHOWN: shown})


def _booked_late(history: History) -> int:
    """Things that a vendor did when the call for them was over."""
    cut = {call.delivery_id: call.end for call in history.of(VendorCall)
           if call.kind == CALL and call.status is None and call.end}  # fmt: skip
    return sum(each.made_at > cut.get(each.delivery_id, each.made_at)
               for each in history.of(Effect))  # fmt: skip


def _seconds_to_unknown(history: History) -> list[float]:
    ended = {(a.delivery_id, a.kind, a.number): a.ended_at for a in history.of(Attempt)}
    found = []
    for call in history.of(VendorCall):
        at = ended.get((call.delivery_id, call.kind, call.attempt))
        if call.kind == CALL and call.status == 500 and call.end and at:
            found.append((at - call.end) / 1e6)
    return found


async def run_g24(piece: Piece) -> Result:
    """Half of the calls end unknown and can't be looked up; hub and bus die in turn."""

    async def kill(round_: Round) -> None:
        for number, moment in enumerate(moments(piece, "kills", PAUSE_SECONDS_MAX)):
            await reached(round_, moment)
            if number % 2:
                round_.site.kill_nats()
            else:
                round_.site.kill_hub()
                await round_.site.start_hub()

    plan = Plan(piece.seed, classes=("none",), mix={"failed_after": 0.3, "dropped": 0.2})
    async with played(piece, plan, [kill]) as round_:
        # What an adapter still tells may prove what was parked for want of an answer, and let what
        # waited for it go: books, list and plan have to be of one state.
        await round_.site.stop_adapters()
        await round_.quiet()
        history = await round_.history()
        shown = await _parked(round_)
        replayable = await _replayable(round_)
    rows = {row.id for row in history.of(Delivery) if row.state == "PARKED"}
    counts = {
        "orders": round_.load.done,
        "kills": piece.size.faults,
        "parked": len(rows),
        "parked and shown": len(rows & set(shown)),
        "parked and in the plan of a replay": len(rows & set(replayable)),
    }
    broken = []
    if rows != set(shown):
        broken.append(f"{len(rows ^ set(shown))} parked deliveries are not shown, or not parked")
    if silent := [name for name, reason in shown.items() if not reason]:
        broken.append(f"{len(silent)} parked deliveries are shown without a reason")
    if rows != set(replayable):
        broken.append(f"{len(rows ^ set(replayable))} are parked and no replay has them, or not")
    if silent := [name for name, reason in replayable.items() if not reason]:
        broken.append(f"a replay would leave out {len(silent)} parked deliveries without a reason")
    return judged(history, piece.directory / "history.jsonl", counts, broken=broken)


async def _replayable(round_: Round) -> dict[str, str]:
    """What a replay of all that failed there is about: delivery id -> what would become of it.

    Of class `none` a call in doubt is refused by the plan, in words, until somebody has looked.
    """
    async with round_.site.hub.client("operator") as operator:
        desk = Desk(operator, LANES["none"].erp)
        plan = await desk.plan("FAILED", failure=replay_pb2.FailureGroup(states=[PARKED]))
        items = await desk.items(plan, size=PAGE)
    posted = replay_pb2.REPLAY_VERDICT_WOULD_POST
    return {
        item.earlier_delivery_id: "goes" if item.planned_verdict == posted else item.planned_why
        for item in items
    }


async def _parked(round_: Round) -> dict[str, str]:
    """What an operator is shown as parked: delivery id -> why."""
    found: dict[str, str] = {}
    async with round_.site.hub.client("operator") as operator:
        request = delivery_service_pb2.ListDeliveriesRequest(
            endpoint=LANES["none"].erp,
            states=[PARKED],
            page_size=PAGE,
        )
        while True:
            answer = await operator.deliveries.ListDeliveries(request)
            found |= {each.id: each.waiting_on for each in answer.deliveries}
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token


G24 = Trial(
    "G24",
    "hub and nats-server killed in turn while half of all calls are parked",
    "every parked delivery is shown with its reason, and stands in the plan of a replay",
    run_g24,
    Size(1, orders=120, faults=4),
    Size(20, orders=200, faults=10),
    {"kills": 200},
    baseline=naive_g24,
    baseline_size=Size(1, orders=400, faults=20),
)
G26 = Trial(
    "G26",
    'look-ups that fail (40 %), say "not found" of what is there (30 %, never twice running) or are'
    " stale (0.5 s); 10 % of the bookings come up to 0.6 s late",
    'no repeat without two "not found", each begun 1.2 s after what was before it: 0 doubled;'
    " UNKNOWN is in the ledger <= 1 s (p99)",
    run_g26,
    Size(1, orders=96),
    Size(4, orders=500),
    {"orders": 2_000, "look-ups": 500},
    bounds={SHOWN: 1.0},
    baseline=lambda piece: naive(piece, "searched", nothing, modes=("look-up-first",)),
    baseline_size=Size(1, orders=200),
)
