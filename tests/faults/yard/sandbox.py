"""The vendor's process: `python -m tests.faults.yard.sandbox READY_FILE SEED MIXES_AS_JSON`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from crossdock_adapters.sdk import logs
from crossdock_adapters.sdk.sandbox import SandboxConfig

from tests.faults.yard.vendor import Yard


async def main(ready: Path, seed: int, mixes: str) -> None:
    """Serve until SIGTERM; the ready file says where."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    config = SandboxConfig("yard", seed=seed, tick_seconds=1.0, settings=json.loads(mixes))
    async with Yard(config) as yard:
        told = {"vendor_url": yard.vendor_url, "control_url": yard.control_url}
        fresh = ready.with_suffix(".new")
        fresh.write_text(json.dumps(told))
        fresh.replace(ready)
        await stopping.wait()


if __name__ == "__main__":
    logs.start()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
