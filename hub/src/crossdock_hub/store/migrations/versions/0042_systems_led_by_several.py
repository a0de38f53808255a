"""Which of several hubs leads which system, and how far the ledger of each of them is"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables, which stay empty while one hub leads everything."""
    op.create_table(
        "bus_tie_parts",
        sa.Column("part", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("part"),
    )
    op.create_table(
        "system_leads",
        sa.Column("system", text_of(), nullable=False),
        sa.Column("seat", sa.Integer()),
        sa.Column("seat_term", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("system"),
    )
