"""Every registered adapter conforms, found by entry point: there is no list to maintain."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.conformance import conforming
from crossdock_adapters.sdk.conformance.bench import CHECKS, Scope
from crossdock_adapters.sdk.conformance.subject import load


# A file with five operations waits through each fault five times.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("name", registry.names())
async def test_it_conforms(name: str, scope: Scope, tmp_path: Path) -> None:
    """Proves that nothing of the conformance kit fails: `crossdock adapter conform NAME`."""
    checks = [check.name for check in CHECKS.values() if check.scope is scope]
    report = await conforming.conform(load(name), tmp_path, only=checks)
    assert report.conforms, "\n".join(map(str, report.failures))
