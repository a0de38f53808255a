"""What ties database and bus together, and what was found to differ between them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crossdock_hub.store.column_types import text_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the tie and of differences."""
    op.create_table(
        "bus_tie",
        sa.Column("database", text_of(36), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("database"),
    )
    op.create_table(
        "bus_differences",
        sa.Column("kind", text_of(64), nullable=False),
        sa.Column("sentence", text_of(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind"),
    )
