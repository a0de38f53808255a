"""Databases of PostgreSQL for tests, beside the server that `fixtures_postgres` starts."""

from __future__ import annotations

import pytest
from databases import ServerDatabase, migrated_template
from fixtures_postgres import PostgresProcess


@pytest.fixture
def database(postgres_server: PostgresProcess) -> ServerDatabase:
    """A database of the test's own with every table, on the server of the session; it has been a
    hub's before."""
    return ServerDatabase(postgres_server, migrated_template())
