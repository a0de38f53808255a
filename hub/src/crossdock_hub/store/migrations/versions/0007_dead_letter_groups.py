"""Causes of dead letters that people dealt with, and who looks after them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; groups themselves are derived from the ledger."""
    op.create_table(
        "dead_letter_groups",
        sa.Column("id", text_of(32), nullable=False),
        sa.Column("endpoint", text_of(64), nullable=False),
        sa.Column("what", text_of(200), nullable=False),
        sa.Column("event_type", text_of(200), nullable=False),
        sa.Column("classification", text_of(16), nullable=False),
        sa.Column("code", text_of(64), nullable=False),
        sa.Column("reason", text_of(), nullable=False),
        sa.Column("operator", text_of(64), nullable=False),
        sa.Column("assignee", text_of(100), nullable=False),
        sa.Column("note", text_of(), nullable=False),
        sa.Column("marked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
    )
