"""The conformance kit sees what a poll does wrong, at a poll with that very fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossdock_adapters.sdk.conformance import checks_inbound, conforming
from crossdock_adapters.sdk.conformance.report import Result
from sdk_tiny_polls import polling

LOST = [
    ("advances_first", "facts are missing"),
    ("advances_long_before", "facts are missing"),
    ("goes_on", "facts are missing"),
    ("forgets_unread", "was dropped"),
]


async def test_a_poll_without_faults_conforms(tmp_path: Path) -> None:
    """Proves that a poll that tells first and moves its cursor then passes, with the hub away."""
    report = await conforming.conform(polling(), tmp_path, only=["arrives", "hub_away"])
    assert report.conforms, report.as_text()
    assert [finding.result for finding in report.findings] == [Result.PASSED] * 2


@pytest.mark.parametrize(("name", "drains"), [("CONFORMANCE", True), ("NEVER_STOPS", False)])
async def test_a_poll_that_does_not_end_is_seen(
    name: str, drains: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a process is drained with its polls at work: one whose poll does not end when it
    is told to does not conform."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    place = f"sdk_tiny_polls:{name}"
    report = await conforming.conform(polling(), tmp_path, place=place, only=["drain"])
    assert report.conforms == drains, report.as_text()
    # It runs on, or is given up by the loop just before that, and says so by its status.
    said = [failure.said for failure in report.failures]
    assert all("it runs on 10 s" in each or "it ended with 1 after" in each for each in said)


@pytest.mark.parametrize(("fault", "said"), LOST)
async def test_what_a_poll_loses_while_the_hub_is_away_is_seen(
    fault: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves that a poll that loses what came while the hub took nothing does not conform."""
    monkeypatch.setattr(checks_inbound, "COMES_BACK_SECONDS", 2.0)
    report = await conforming.conform(polling(fault), tmp_path, only=["hub_away"])
    (failure,) = report.failures
    assert said in failure.said, report.as_text()
