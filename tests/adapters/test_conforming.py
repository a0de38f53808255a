"""Every registered adapter conforms, found by entry point: there is no list to maintain."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_adapters.sdk import registry
from crossdock_adapters.sdk.conformance import conforming
from crossdock_adapters.sdk.conformance.report import Result
from crossdock_adapters.sdk.conformance.subject import load

DECLARED_CLASS = "declared_class"


# An adapter of files with five operations waits through each fault five times.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", registry.names())
async def test_it_conforms(name: str, tmp_path: Path) -> None:
    """Proves that nothing of the conformance kit fails, as `crossdock adapter conform NAME` runs
    it, and that the class of every operation was tried, whatever the manifest excuses."""
    report = await conforming.conform(load(name), tmp_path)
    assert report.conforms, "\n".join(map(str, report.failures))
    tried = {
        finding.about
        for finding in report.findings
        if finding.check == DECLARED_CLASS and finding.result is Result.PASSED
    }
    assert tried == set(registry.adapter(name).manifest.operations)
