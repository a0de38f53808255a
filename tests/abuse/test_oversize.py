"""A5: too many bytes, items or headers are refused by code, at once and without memory for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from abuse.oversize import MEBIBYTE, attacks, measure
from fixtures_hub import RunningHub

PEAK_GROWTH_MAX = 50 * MEBIBYTE
# The hub works on one request at a time: a refusal that takes long holds everybody up.
SECONDS_MAX = 5.0
REFUSALS = {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"}


def test_too_much_is_refused_without_memory_for_it(tmp_path: Path) -> None:
    """Proves for oversized requests, frames and headers, a gzip bomb and a million items that each
    is refused by code and reason, soon, while the hub's peak grows by less than 50 MiB."""
    hub = RunningHub(tmp_path / "hub").start()
    try:
        outcomes = asyncio.run(measure(hub, attacks()))
        log = hub.log()
    finally:
        hub.kill()
    for outcome in outcomes:
        told = outcome.document()
        assert outcome.code in REFUSALS, told
        assert outcome.reason in {"LIMIT_EXCEEDED", "INVALID_FIELD", "UNKNOWN_FIELD"}, told
        assert outcome.grown < PEAK_GROWTH_MAX, told
        assert outcome.seconds < SECONDS_MAX, told
    counted = [o for o in outcomes if "in 1 MiB" in o.attack and "unknown" not in o.attack]
    assert {o.reason for o in counted} == {"LIMIT_EXCEEDED"}, counted
    assert "fault in a" not in log, log[-4000:]
    # The baseline: no limit on a request but the library's, and an exception's text for the rest.
    naive = {o.attack: o.naive_code for o in outcomes if o.naive_code}
    assert naive["1 byte over the request limit"] == "UNKNOWN", naive
