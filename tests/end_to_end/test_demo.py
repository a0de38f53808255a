"""The demo, small, with all its real processes: every proof holds and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

DEMO_SECONDS = 540.0


@pytest.mark.timeout(600)
async def test_a_small_demo_proves_all_eight_acts(tmp_path: Path) -> None:
    """Eight orders and all faults: the exit status is 0, and the report names each proof."""
    report_file = tmp_path / "report.json"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crossdock.cli", "demo",
        "--orders", "8", "--outage-seconds", "2", "--day-seconds", "4",
        "--report", str(report_file),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEMO_SECONDS):
            raw, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    output = raw.decode()
    assert process.returncode == 0, output
    report = json.loads(report_file.read_text())
    assert report["passed"]
    assert [act["act"] for act in report["acts"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    claims = {act["act"]: [proof["claim"] for proof in act["proofs"]] for act in report["acts"]}
    assert all(claims.values())
    assert "lost 0, twice 0" in claims[2]
    assert "others are not slowed" in claims[7]
    assert {"dead letters 0", "lost 0, twice 0"} <= set(claims[8])
    assert "proof" in output
    assert "\x1b" not in output, "no colour and no moving line in a pipe"
    # The data directory is gone with the success, and no process holds anything open in it.
    assert list(tmp_path.glob("crossdock-demo-*")) == []
    assert "passed: 15 of 15 proofs hold" in output
