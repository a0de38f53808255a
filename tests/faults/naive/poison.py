"""G13 for the usual consumer that keeps the order: what can't be translated stops all the rest."""

from __future__ import annotations

from tests.faults.trials.naive_round import naive_round, nothing
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.load import is_poisoned
from tests.faults.yard.site import Plan, mix_of

MODE = "one-at-a-time"


async def naive_g13(piece: Piece) -> Result:
    """The trial's orders, as many of them poisoned; one message at a time, so that none overtakes
    another."""
    poisoned, orders = piece.size.faults, piece.size.orders
    plan = Plan(
        piece.seed,
        classes=("searchable",),
        mix=mix_of("well"),
        naive=(MODE,),
        poisoned=poisoned,
    )
    async with naive_round(piece, plan, nothing) as left:
        sold = left.sold(MODE)
    others = {number for number in left.approved if not is_poisoned(number, poisoned, orders)}
    counts = {
        "orders": len(left.approved),
        "poisoned": poisoned,
        f"{MODE}: others that were never sold": len(others - set(sold)),
    }
    return Result(counts)
