"""A committer of a test's own, over an empty SQLite database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crossdock_hub.committer import Committer
from crossdock_hub.config import Limits
from crossdock_hub.delivery.dispatching import Picker
from crossdock_hub.store import Store
from databases import open_store
from decisions import CONTRACT


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def committer(store: Store) -> AsyncIterator[Committer]:
    limits = Limits()
    running = Committer(store, CONTRACT, limits, Picker(limits))
    running.start([])
    yield running
    await running.stop()
