"""When the endpoints of one process tell the hub that they live."""

from __future__ import annotations

from crossdock_adapters.sdk.runner import HEARTBEAT_SECONDS, beat_pause_seconds
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(min_value=0.0, max_value=1e7), st.floats(min_value=0.0, max_value=0.04))
def test_endpoints_of_a_process_tell_their_heartbeats_together(
    running_seconds: float, late_seconds: float
) -> None:
    """Proves that whenever a heartbeat was told, and however late, the next one comes within a
    hundredth of the period of its end at the latest, and at a moment that all endpoints of the
    process share: a whole number of periods after its beginning."""
    told_at = running_seconds + late_seconds
    pause = beat_pause_seconds(told_at)
    assert 0.01 * HEARTBEAT_SECONDS < pause <= 1.01 * HEARTBEAT_SECONDS + 1e-6
    beats = (told_at + pause) / HEARTBEAT_SECONDS
    assert abs(beats - round(beats)) < 1e-6
