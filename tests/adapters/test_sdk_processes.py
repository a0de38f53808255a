"""The processes as they are started: what they print, what they write, how they end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from crossdock_adapters.sdk import registry

# How long a process may take to start, or to end, on a slow machine.
PROCESS_SECONDS = 90.0


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "crossdock_adapters",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def write_sandboxes(folder: Path) -> Path:
    """All registered sandboxes in one file, each with what it needs to start by itself."""
    lines = ["[process]", f'ready_file = "{folder / "ready.json"}"']
    for name in registry.names():
        lines += [f"[sandboxes.{name}]", "vendor_port = 0", f"[sandboxes.{name}.settings]"]
        for key, value in registry.sandbox(name).example_settings(folder).items():
            lines.append(f"{key} = {json.dumps(value)}")
    path = folder / "sandboxes.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


async def test_one_process_hosts_all_sandboxes(tmp_path: Path) -> None:
    """It says where each one listens, they answer, and SIGTERM ends it at once with status 0."""
    process = await start("sandbox", "--config", str(write_sandboxes(tmp_path)))
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), PROCESS_SECONDS)
    status: dict[str, Any] = json.loads(line)
    assert json.loads((tmp_path / "ready.json").read_text()) == status
    assert sorted(status["sandboxes"]) == registry.names()
    async with aiohttp.ClientSession() as session:
        for place in status["sandboxes"].values():
            async with session.get(f"{place['control_url']}/health") as answer:
                assert answer.status == 200
                assert (await answer.json())["vendor_url"] == place["vendor_url"]
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), PROCESS_SECONDS) == 0
    assert time.monotonic() - began < 15


async def test_a_wrong_configuration_is_status_78(tmp_path: Path) -> None:
    """Every problem is named on standard error; nothing was started."""
    path = tmp_path / "adapters.toml"
    path.write_text("[hub]\n[endpoints.ups]\ncolour = 'red'\n")
    process = await start("run", "--config", str(path))
    _, errors = await asyncio.wait_for(process.communicate(), PROCESS_SECONDS)
    assert process.returncode == 78
    text = errors.decode()
    assert "address must be text" in text and "colour is not known" in text


async def test_unknown_endpoints_are_named(tmp_path: Path) -> None:
    """Asking for an endpoint the file does not have says which ones it has."""
    token = tmp_path / "token"
    token.write_text("t")
    path = tmp_path / "adapters.toml"
    path.write_text(
        '[hub]\naddress = "127.0.0.1:1"\n[bus]\nurl = "nats://127.0.0.1:1"\n'
        f'[endpoints.ups]\ntoken_file = "{token}"\nwebhook_port = 0\n'
    )
    process = await start("run", "--config", str(path), "fedex")
    _, errors = await asyncio.wait_for(process.communicate(), PROCESS_SECONDS)
    assert process.returncode == 78
    assert "not configured: fedex; there are: ups" in errors.decode()
    process = await start("run", "--config", str(path))
    _, errors = await asyncio.wait_for(process.communicate(), PROCESS_SECONDS)
    assert process.returncode == 78
    assert "base_url is required" in errors.decode()
