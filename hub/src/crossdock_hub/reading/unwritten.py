"""What a flow's facts say that could not be written yet: who or what they wait for; pure.

While goods are on their way such a fact may be all that keeps them from going on. Once all of them
have arrived it holds nothing up: the list of what is held has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from crossdock.types.v1 import types_pb2

from crossdock_hub.objects.lifecycle import ENDED_RETURNS
from crossdock_hub.reading.chain import Chain
from crossdock_hub.reading.progress import Judgement
from crossdock_hub.records import HeldFactRecord
from crossdock_hub.wording import duration

# States of an order in which a fact that was not written no longer holds anything up.
OVER = frozenset({"DELIVERED", "CANCELLED"})


def judge_stuck(chain: Chain, now: int) -> Judgement | None:
    """The verdict where a fact waits for nothing that may come. now: microseconds UTC."""
    stuck = [fact for fact in chain.held if not fact.awaits]
    if not stuck or is_over(chain):
        return None
    drive = f"crossdock dead-letters drive {stuck[0].id} --reason …, or discard it"
    return Judgement("NEEDS_PERSON", f"A person has to look: {_told(stuck, now)}; {drive}.")


def judge_waiting(chain: Chain, now: int) -> Judgement | None:
    """The verdict where a fact waits for what it names, or for a row of a code."""
    waiting = [fact for fact in chain.held if fact.awaits]
    if not waiting or is_over(chain):
        return None
    return Judgement("WAITING", f"Waiting: {_told(waiting, now)}.")


def is_over(chain: Chain) -> bool:
    """Whether the order has arrived or is cancelled, and nothing of it is on its way back."""
    returns = [r for r in chain.objects if r.kind == "customer_return"]
    return any(r.kind == "order" and r.state in OVER for r in chain.objects) and all(
        r.state in ENDED_RETURNS for r in returns
    )


def _told(facts: Sequence[HeldFactRecord], now: int) -> str:
    first = facts[0]
    refusal = types_pb2.Refusal.FromString(first.refusal)
    more = f" ({len(facts) - 1} more as well)" if len(facts) > 1 else ""
    return (
        f"what {first.endpoint} reported by {first.method.rpartition('/')[2]} is not written since "
        f"{duration(now - first.created_at)}{more}: {refusal.message.rstrip('.')}"
    )
