"""Replays, their items, and the replay that a delivery belongs to"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of replays; mark deliveries that one made."""
    op.add_column(
        "deliveries",
        sa.Column("replay_id", text_of(36), nullable=False, server_default=""),
    )
    op.create_index(
        "deliveries_replay",
        "deliveries",
        ["replay_id"],
        unique=False,
        sqlite_where=sa.text("replay_id <> ''"),
        postgresql_where=sa.text("replay_id <> ''"),
    )
    _replays()
    _replay_items()


def _replays() -> None:
    op.create_table(
        "replays",
        sa.Column("id", text_of(36), nullable=False),
        sa.Column("endpoint", text_of(64), nullable=False),
        sa.Column("wanted_set", text_of(16), nullable=False),
        sa.Column("selection", sa.LargeBinary(), nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("items", sa.BigInteger(), nullable=False),
        sa.Column("approvals", sa.BigInteger(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("items_per_second", sa.Integer(), nullable=False),
        sa.Column("note", text_of(), nullable=False),
        sa.Column("acts", text_of(), nullable=False),
        sa.Column("traceparent", text_of(64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "replays_running",
        "replays",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'RUNNING'"),
        postgresql_where=sa.text("state = 'RUNNING'"),
    )


def _replay_items() -> None:
    op.create_table(
        "replay_items",
        sa.Column("replay_id", text_of(36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("flow", sa.BigInteger(), nullable=False),
        sa.Column("event_id", text_of(36), nullable=False),
        sa.Column("event_type", text_of(200), nullable=False),
        sa.Column("object_id", text_of(36), nullable=False),
        sa.Column("root_id", text_of(36), nullable=False),
        sa.Column("operation", text_of(64), nullable=False),
        sa.Column("item", text_of(36), nullable=False),
        sa.Column("earlier", text_of(36), nullable=False),
        sa.Column("verdict", text_of(24), nullable=False),
        sa.Column("why", text_of(), nullable=False),
        sa.Column("approved_verdict", text_of(24), nullable=False),
        sa.Column("approved_why", text_of(), nullable=False),
        sa.Column("found_verdict", text_of(24), nullable=False),
        sa.Column("found_why", text_of(), nullable=False),
        sa.Column("delivery_id", text_of(36), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("replay_id", "number"),
    )
    op.create_index(
        "replay_items_waiting",
        "replay_items",
        ["replay_id", "number"],
        unique=False,
        sqlite_where=sa.text("decided_at IS NULL"),
        postgresql_where=sa.text("decided_at IS NULL"),
    )
