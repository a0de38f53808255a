"""G14 for the usual consumer: its calls are one pool, and a silent vendor holds them all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from fixtures_nats import eventually

from tests.faults.trials.naive_round import Left, naive_round, nothing
from tests.faults.trials.round import Round
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.site import Plan, mix_of

MODE = "shared-pool"
# Seven times as long as a call may take.
PATIENCE_SECONDS = 180.0


async def naive_g14(
    piece: Piece,
    healthy: str,
    ill: str,
    sick: Mapping[str, float],
    pace_seconds: float,
) -> Result:
    """The same orders with two vendors that are well, and with one that has fallen silent.

    healthy, ill: the classes whose orders go to the one and to the other. sick: what strikes there.
    """
    vendor = f"{MODE}-{healthy}"
    plan = Plan(
        piece.seed,
        classes=(healthy, ill),
        mix=mix_of("well"),
        naive=(MODE,),
        pace_seconds=pace_seconds,
    )
    wanted = -(-piece.size.orders // len(plan.classes))

    async def end(round_: Round) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS

        async def over() -> bool:
            effects = (await round_.site.books())["effects"]
            sold = {e["subject"] for e in effects if e["endpoint"] == vendor}
            return len(sold) >= wanted or time.monotonic() > deadline

        await eventually(over, "the end of the round", 2 * PATIENCE_SECONDS)

    measured, unsold = {}, 0
    for name, each in (("calm", plan), ("beside the sick", replace(plan, mixes={ill: sick}))):
        own = replace(piece, directory=piece.directory / name.replace(" ", "-"))
        async with naive_round(own, each, nothing, end) as left:
            measured[f"{MODE}: s to sell, {name}"] = _seconds(left, vendor)
            unsold = wanted - len(left.sold(vendor))
    counts = {
        "orders of the healthy vendor, a round": wanted,
        f"{MODE}: of them not sold after {PATIENCE_SECONDS:g} s beside the sick": unsold,
    }
    return Result(counts, measured=measured)


def _seconds(left: Left, vendor: str) -> list[float]:
    """From the answer to each approval to its first sale."""
    made: dict[str, int] = {}
    for effect in sorted(left.effects, key=lambda e: e.made_at):
        if effect.endpoint == vendor:
            made.setdefault(effect.subject, effect.made_at)
    return sorted(max(0.0, (at - left.approved[n]) / 1e6) for n, at in made.items())
