"""A vendor that takes every connection and answers nobody, behind adapters that wait long (G14)."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures_nats import eventually

from tests.faults.trials.neighbours import BREAKER_SECONDS_MAX, LONG_LEASES
from tests.faults.trials.round import Round, played
from tests.faults.trials.trial import Piece, Size
from tests.faults.yard.site import LANES, Plan

SEED, ORDERS = 14, 8
# As many as NetSuite takes, and as long as its adapter waits.
CALLS_AT_ONCE, CALL_SECONDS = 3, 25.0
ENDPOINT = LANES["searchable"].erp
OPEN_SECONDS = 60.0
pytestmark = pytest.mark.timeout(600)


async def test_three_silent_calls_are_enough_and_the_rest_is_spared(tmp_path: Path) -> None:
    """Proves on real processes that a vendor which answers none of its three calls is known to be
    silent within 10 seconds, though each call waits 25, and that nothing else was tried by then."""
    told: dict[str, float | str] = {}

    async def watch(round_: Round) -> None:
        hub = round_.site.hub
        breaker = (
            "SELECT breaker_state, breaker_reason, breaker_since,"
            " (SELECT min(begun_at) FROM attempts), (SELECT count(*) FROM attempts)"
            " FROM endpoints WHERE id = ?"
        )

        def is_open() -> bool:
            ((state, reason, since, first, tried),) = hub.query(breaker, ENDPOINT)
            if state != "CLOSED":
                told.update(reason=reason, seconds=(since - first) / 1e6, tried=tried)
            return bool(state != "CLOSED")

        await eventually(is_open, "an open breaker", OPEN_SECONDS)

    piece = Piece("G14", SEED, Size(1, orders=ORDERS), tmp_path)
    plan = Plan(
        SEED,
        classes=("searchable",),
        mix={"silent": 1.0},
        adapters=1,
        limits=LONG_LEASES,
        calls_at_once=CALLS_AT_ONCE,
        call_seconds=CALL_SECONDS,
        patience_seconds=0.0,
    )
    async with played(piece, plan, [watch]) as round_:
        assert float(told["seconds"]) <= BREAKER_SECONDS_MAX, told
        assert told["tried"] == CALLS_AT_ONCE
        assert "no answer yet" in str(told["reason"])
        assert (await round_.site.books())["effects"] == []
