"""Whether a hub may start on the database: not while it is being filled, and not after it moved"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of the mark, which has one row at most."""
    op.create_table(
        "moves",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("state", text_of(16), nullable=False),
        sa.Column("move_id", text_of(36), nullable=False),
        sa.Column("place", text_of(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
