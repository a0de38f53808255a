"""Adapters below a service manager that waits for their word."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from crossdock import supervision
from fixtures_supervision import WORD_SECONDS, Manager, ups_adapter_file


async def test_adapters_are_ready_while_their_hub_is_away(manager: Manager, tmp_path: Path) -> None:
    """Proves that adapters whose hub is away say READY and give signs of life, so that nobody ends
    them for it, and STOPPING at SIGTERM."""
    file = ups_adapter_file(tmp_path / "adapters.toml", tmp_path / "secret")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crossdock_adapters", "run", "--config", str(file),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert await asyncio.to_thread(manager.heard) == supervision.READY
        assert await asyncio.to_thread(manager.heard) == supervision.ALIVE
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(manager.heard_after_signs_of_life) == supervision.STOPPING
        await asyncio.wait_for(process.wait(), WORD_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
