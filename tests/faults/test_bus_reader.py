"""The runner's own look at a bus that it takes away is no noise in its report."""

from __future__ import annotations

import logging

import pytest
from fixtures_nats import NatsProcess, eventually

from tests.faults.trials.bus_losses import logged_in


async def test_a_bus_that_goes_away_prints_nothing(
    own_nats_server: NatsProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves that who reads the bus under test says nothing when that is killed and comes back: no
    traceback of nats-py stands in what a fault test prints, as if hub or adapter had said it."""
    with caplog.at_level(logging.DEBUG, "nats"):
        async with logged_in(own_nats_server.address) as client:
            own_nats_server.kill()
            await eventually(lambda: not client.is_connected, "a lost connection")
            own_nats_server.start()
            await eventually(lambda: client.is_connected, "a new connection")
    assert [record.getMessage() for record in caplog.records if record.levelno > 10] == []
