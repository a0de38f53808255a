"""What somebody should know of an endpoint that serves: said once, shown, told, over in time."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest
from crossdock_adapters.sdk.adapter import Adapter, PollSpec
from crossdock_adapters.sdk.alerts import Alerts
from crossdock_adapters.sdk.inbound import Inbound
from crossdock_adapters.sdk.telemetry import Telemetry


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(telemetry: Telemetry, name: str) -> float | None:
    return telemetry.registry.get_sample_value(
        "crossdock_endpoint_alerts", {"endpoint": "pigeon", "alert": name}
    )


def test_an_alert_is_logged_once_and_shown_until_it_is_lifted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Proves that saying it again changes words and no log, and lifting shows 0 and is said."""
    telemetry = Telemetry()
    alerts = Alerts("pigeon", telemetry.alerts)
    with caplog.at_level(logging.WARNING):
        alerts.sound("lost", "3 letters")
        alerts.sound("lost", "4 letters")
    assert [each.levelname for each in caplog.records] == ["ERROR"]
    assert (alerts.told(), shown(telemetry, "lost")) == ("4 letters", 1)
    alerts.lift("lost")
    alerts.lift("lost")
    assert (alerts.told(), shown(telemetry, "lost")) == ("", 0)
    assert len(caplog.records) == 2


def test_an_alert_ends_by_itself_at_its_time() -> None:
    """Proves that one with a time is over then, and others stay."""
    clock, telemetry = Clock(), Telemetry()
    alerts = Alerts("pigeon", telemetry.alerts, clock)
    alerts.sound("lost", "lost", seconds=60)
    alerts.sound("late", "late")
    assert alerts.told() == "lost; late"
    clock.now = 60
    assert alerts.told() == "late"
    assert (shown(telemetry, "lost"), shown(telemetry, "late")) == (0, 1)


async def test_a_poll_is_given_the_alerts_of_its_endpoint() -> None:
    """Proves that what a poll says is what the heartbeat tells, from one run to the next."""

    class Link:
        hub = None

        async def get_cursor(self, _: str) -> tuple[bytes, int]:
            return b"", 0

    nothing: Any = None
    alerts = Alerts("pigeon")
    inbound = Inbound(
        "pigeon", cast("Adapter", nothing), nothing, nothing, nothing, cast("Any", Link()),
        nothing, nothing, nothing, alerts=alerts,
    )  # fmt: skip
    for _ in range(2):
        poll = await inbound.poll_of(PollSpec("letters", nothing, "interval"), nothing)
        assert poll.alerts is alerts
