"""Sandboxes of tests end at once: nobody waits for the calls that a fault keeps open."""

from __future__ import annotations

import pytest
from crossdock_adapters.sdk import sandbox_server

CLOSE_GRACE_SECONDS = 0.2


@pytest.fixture(autouse=True)
def _quick_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped grace is for callers; these are tests that are over."""
    monkeypatch.setattr(sandbox_server, "CLOSE_GRACE_SECONDS", CLOSE_GRACE_SECONDS)
