"""A1: bytes that are no request get a documented refusal from every method, and leave no trace."""

from __future__ import annotations

import asyncio
from pathlib import Path

from abuse.malformed import measure, naive
from crossdock import contracts
from fixtures_hub import RunningHub

# `make abuse` throws 10,000 at each method.
PER_METHOD, WARM_UP = 24, 8
# In a short run the allocator's own steps weigh more than any leak; the full one allows 5 %.
GROWTH_MAX = 0.10


def test_malformed_bytes_get_documented_refusals_from_every_method(tmp_path: Path) -> None:
    """Proves for each method of the contract that malformed bytes get an answer or a reason of the
    contract, never UNKNOWN, INTERNAL or an exception's text, and that the hub does not grow of it;
    a stock servicer answers the same bytes with UNKNOWN and the exception."""
    hub = RunningHub(tmp_path / "hub").start()
    try:
        found = asyncio.run(measure(hub, PER_METHOD, warm_up=WARM_UP))
        log = hub.log()
    finally:
        hub.kill()
    stock = asyncio.run(naive(PER_METHOD, "1"))
    assert found.methods == len(contracts.load().methods)
    assert found.tally.faults == 0, "\n".join(found.tally.examples)
    assert found.tally.sent == found.methods * (PER_METHOD + WARM_UP), found.tally.document()
    assert found.tally.codes["INVALID_ARGUMENT"] > found.tally.sent * 0.6, found.tally.document()
    assert found.growth < GROWTH_MAX, found.document()
    assert "fault in a" not in log, log[-4000:]
    # The baseline shows that these bytes do find what there is to find.
    assert stock.codes["UNKNOWN"] > PER_METHOD / 2, stock.document()
    assert stock.exception_texts > PER_METHOD / 2, stock.document()
