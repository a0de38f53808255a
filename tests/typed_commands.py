"""Commands as an operator types them, against a running hub."""

from __future__ import annotations

import asyncio

from crossdock.cli import app
from crossdock.cli.problems import CommandError
from fixtures_hub import RunningHub
from typer.testing import CliRunner


async def typed(hub: RunningHub, *words: str, code: int = 0) -> str:
    """What a command prints; of one that fails, its error."""
    environment = {
        "CROSSDOCK_ADDRESS": hub.address,
        "CROSSDOCK_TOKEN_FILE": str(hub.token_file("operator")),
    }
    done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
    if isinstance(done.exception, CommandError):
        assert done.exception.exit_code == code, done.exception
        return str(done.exception)
    assert done.exit_code == code, (done.output, done.exception)
    return done.output
