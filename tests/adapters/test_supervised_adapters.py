"""Adapters below a service manager that waits for their word."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from crossdock import supervision
from fixtures_supervision import WORD_SECONDS, Manager

# Where nobody listens: the discard port, which needs a right to be taken.
NOBODY = "127.0.0.1:9"


def config(folder: Path) -> Path:
    """UPS as an endpoint, whose hub is away."""
    secret = folder / "secret"
    secret.write_text("s3cret-s3cret-s3cret")
    path = folder / "adapters.toml"
    path.write_text(
        f'''[hub]
address = "{NOBODY}"
[bus]
url = "nats://{NOBODY}"
[endpoints.ups]
token_file = "{secret}"
webhook_port = 0
[endpoints.ups.settings]
base_url = "http://{NOBODY}"
client_id = "file:{secret}"
client_secret = "file:{secret}"
callback_credential = "file:{secret}"
account_number = "A1B2C3"
'''
    )
    return path


async def test_adapters_are_ready_while_their_hub_is_away(manager: Manager, tmp_path: Path) -> None:
    """Proves that adapters whose hub is away say READY and give signs of life, so that nobody ends
    them for it, and STOPPING at SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crossdock_adapters", "run", "--config", str(config(tmp_path)),
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
