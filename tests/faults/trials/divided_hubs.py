"""G31: one of two hubs that divide the systems of a database is lost, the one with the office or
the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fixtures_hub import RunningHub
from fixtures_nats import eventually

from tests.faults.history.records import Attempt, Delivery, Rpc
from tests.faults.trials.round import WRITE, Round, played, progress, write_seconds
from tests.faults.trials.trial import Piece, Result, Size, Trial, judged
from tests.faults.yard.adapter import adapter_name
from tests.faults.yard.noting import now
from tests.faults.yard.pair import DividedPair
from tests.faults.yard.site import Plan, mix_of

WRITERS = 12
PACE_SECONDS = 0.2
# Longer than any piece lasts: the faults end the load.
ORDERS_MAX = 100_000
ORDERS_BETWEEN = 25
# Longer than a lead lasts without a renewal.
STOPPED_SECONDS = 8.0
BACK_SECONDS = 60.0
KILLED, STOPPED = "hubs killed", "hubs stopped in their tracks"
OFFICE, OTHER = "of them with the office", "of them without it"
# In this order each is done to either kind: the office is at the other hub after each loss of it.
HUBS, HOW = (0, 0, 1, 1), (KILLED, STOPPED, STOPPED, KILLED)
TAKEN_OVER = "s from losing a hub until another one leads its systems"
WORKS = {
    KILLED: "s from killing a hub until each of its systems has begun a call",
    # Adapters that are connected to it notice by their keepalive, after 40 s, or when it is back.
    STOPPED: "s from stopping a hub until each of its systems has begun a call",
}
# Systems, and where the hub that leads each of them is reached.
LED = """
SELECT s.system, l.address FROM system_leads s
JOIN leadership l ON l.task = 'seat ' || s.seat AND l.term = s.seat_term
WHERE s.wanted = s.seat
AND l.expires_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
"""
BEGUN = """
SELECT d.endpoint, min(a.begun_at) FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
WHERE a.begun_at > ? GROUP BY d.endpoint
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """A hub that was lost. systems: what it led. at, taken_over: in microseconds."""

    how: str
    had_the_office: bool
    systems: frozenset[str]
    at: int
    taken_over: int


class Division:
    """Who leads what at a site."""

    def __init__(self, round_: Round) -> None:
        self._round = round_
        assert isinstance(round_.site, DividedPair)
        self.site = round_.site

    def own_address(self, hub: RunningHub) -> str:
        """Where the other hub reaches it."""
        told = json.loads((hub.directory / "address.json").read_text())
        return str(told["grpc_of_this_hub"])

    def led_at(self, hub: RunningHub) -> frozenset[str]:
        """The systems that a hub leads."""
        address = self.own_address(hub)
        return frozenset(system for system, at in self._round.site.hub.query(LED) if at == address)

    def is_even(self) -> bool:
        """Whether both lead some, and every system is led."""
        shares = [self.led_at(hub) for hub in self.site.hubs.hubs]
        return all(shares) and sum(map(len, shares)) == len(self.site.endpoints)


async def lose(division: Division, hub: RunningHub, how: str) -> Loss:
    """Kill a hub, or stop it for long, until the other one leads all that it led; bring it back."""
    site = division.site
    had_the_office = site.hubs.leader()[1] == division.own_address(hub)
    (other,) = [each for each in site.hubs.hubs if each is not hub]
    systems = division.led_at(hub)
    site.note("kill -9" if how == KILLED else "SIGSTOP", f"hub {hub.directory.name}")
    at = now()
    if how == KILLED:
        hub.kill()
    else:
        hub.freeze()
    await eventually(lambda: systems <= division.led_at(other), "a take-over", BACK_SECONDS)
    loss = Loss(how, had_the_office, systems, at, now())
    if how == KILLED:
        await site.start_one(hub)
    else:
        await asyncio.sleep(max(0.0, STOPPED_SECONDS - (now() - at) / 1e6))
        site.note("SIGCONT", f"hub {hub.directory.name}")
        hub.thaw()
    return loss


def works_seconds(round_: Round, loss: Loss) -> list[float]:
    """Seconds from a loss until the first call at each system of the lost hub."""
    system_of = {name: adapter_name(kind) for name, kind in round_.site.endpoints.items()}
    first = {system_of[name]: int(at) for name, at in round_.site.hub.query(BEGUN, loss.at)}
    return [(first[each] - loss.at) / 1e6 for each in sorted(loss.systems)]


async def run_g31(piece: Piece) -> Result:
    """The load goes on until every hub is back, and both lead some systems again."""
    losses: list[Loss] = []

    async def lose_hubs(round_: Round) -> None:
        division = Division(round_)
        for number in range(piece.size.faults):
            await eventually(division.is_even, "systems that both lead", BACK_SECONDS)
            await progress(round_, round_.load.done + ORDERS_BETWEEN)
            turn = number % len(HUBS)
            hub = division.site.hubs.hubs[HUBS[turn]]
            losses.append(await lose(division, hub, HOW[turn]))
        await eventually(division.is_even, "systems that both lead", BACK_SECONDS)
        await progress(round_, round_.load.done + ORDERS_BETWEEN)
        round_.load.enough()

    plan = Plan(piece.seed, mix=mix_of("carrier"), pace_seconds=PACE_SECONDS)
    endless = replace(piece, size=replace(piece.size, orders=ORDERS_MAX))
    async with played(
        endless, plan, [lose_hubs], writers=WRITERS, site_of=DividedPair
    ) as round_:  # fmt: skip
        history = await round_.history()
        works = [(each.how, max(works_seconds(round_, each))) for each in losses]
    counts = _counts(losses) | {
        "orders": round_.load.done,
        "writes": len({call.request_id for call in history.of(Rpc)}),
        "deliveries": len(history.of(Delivery)),
        "attempts": len(history.of(Attempt)),
    }
    taken_over = [(each.taken_over - each.at) / 1e6 for each in losses]
    worked = {WORKS[how]: [seconds for each, seconds in works if each == how] for how in WORKS}
    measured = {TAKEN_OVER: taken_over, **worked, WRITE: write_seconds(history)}
    return judged(history, piece.directory / "history.jsonl", counts, measured)


def _counts(losses: Sequence[Loss]) -> dict[str, int]:
    how = [each.how for each in losses]
    office = sum(each.had_the_office for each in losses)
    return {
        KILLED: how.count(KILLED),
        STOPPED: how.count(STOPPED),
        OFFICE: office,
        OTHER: len(losses) - office,
    }


G31 = Trial(
    "G31",
    "kill -9, or SIGSTOP for 8 s, of one of two hubs that divide the systems of a PostgreSQL"
    " database, the one with the office or the other",
    "as G3; another hub leads the systems of the lost one <= 5 s; they begin calls again <= 5 s"
    " after a kill",
    run_g31,
    Size(1, faults=4),
    Size(5, faults=8),
    {KILLED: 20, STOPPED: 20},
    bounds={TAKEN_OVER: 5.0, WORKS[KILLED]: 5.0},
)
