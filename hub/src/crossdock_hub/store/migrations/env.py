"""Runs migrations on the connection that the hub hands over."""

from __future__ import annotations

from alembic import context

from crossdock_hub.store.schema import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, transactional_ddl=False)
context.run_migrations()
