"""G4 for the usual consumer: a fetch that hears nothing of a dead bus, and sleeps its time out."""

from __future__ import annotations

from fixtures_nats import eventually

from tests.faults.trials.naive_round import naive_round
from tests.faults.trials.round import Round, moments, reached
from tests.faults.trials.trial import Piece, Result
from tests.faults.yard.noting import now
from tests.faults.yard.site import Plan, mix_of

MODES = ("fetch-for-5-s", "fetch-for-10-s")
# Orders come all the time, so that there is work whenever the bus is back; and between two kills
# there is time for the longest fetch.
PACE_SECONDS = 2.0
BACK_SECONDS = 60.0
PAUSE_SECONDS_MAX = 0.3


async def naive_g4(piece: Piece) -> Result:
    """kill -9 of nats-server, which its hub starts again; when each consumer sells once more."""
    back: list[int] = []

    async def kill(round_: Round) -> None:
        for moment in moments(piece, "kills", PAUSE_SECONDS_MAX):
            await reached(round_, moment)
            back.append(await _killed_and_back(round_))

    plan = Plan(
        piece.seed,
        classes=("searchable",),
        mix=mix_of("well"),
        naive=MODES,
        pace_seconds=PACE_SECONDS,
    )
    stalls = {}
    async with naive_round(piece, plan, kill) as left:
        counts = {"orders": len(left.approved), "nats kills": len(back)}
        for mode in MODES:
            made = sorted(e.made_at for e in left.effects if e.endpoint == mode)
            resumed = [next((at for at in made if at > moment), 0) for moment in back]
            stalls[f"{mode}: s from the bus being back to a sale"] = [
                (at - moment) / 1e6 for at, moment in zip(resumed, back, strict=True) if at
            ]
            counts[f"{mode}: lost"] = len(set(left.approved) - set(left.sold(mode)))
    return Result(counts, measured=stalls)


async def _killed_and_back(round_: Round) -> int:
    """Kill the bus; when there was one again, in microseconds."""
    old = round_.site.hub.nats_pid
    round_.site.kill_nats()
    hub = round_.site.hub
    await eventually(lambda: hub.nats_pid not in (0, old), "a new nats-server", BACK_SECONDS)
    return now()
