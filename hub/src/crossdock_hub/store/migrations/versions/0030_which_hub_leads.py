"""Which of several hubs on a database leads, and what it writes with"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, which has one row at most; a hub that has a database alone writes none."""
    op.create_table(
        "leadership",
        sa.Column("task", text_of(64), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("holder", text_of(), nullable=False),
        sa.Column("address", text_of(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("writer_pid", sa.Integer(), nullable=False),
        sa.Column("writer_began", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task"),
    )
