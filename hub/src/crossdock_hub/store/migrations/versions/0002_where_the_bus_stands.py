"""Where the bus stands: how far each stream has come, and how far its outside consumers have"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of positions."""
    op.create_table(
        "bus_positions",
        sa.Column("stream", text_of(64), nullable=False),
        sa.Column("stream_sequence", sa.BigInteger(), nullable=False),
        sa.Column("record_sequence", sa.BigInteger(), nullable=False),
        sa.Column("complete_since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream"),
    )
    op.create_table(
        "bus_consumers",
        sa.Column("stream", text_of(64), nullable=False),
        sa.Column("name", text_of(200), nullable=False),
        sa.Column("configuration", text_of(), nullable=False),
        sa.Column("stream_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "name"),
    )
